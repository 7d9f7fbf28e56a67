-- sender: what people ask of it. (B7, B11, B14)

CREATE FUNCTION sender_why(lead uuid) RETURNS TABLE (campaign_id uuid, campaign text, step integer, channel text, at timestamptz, what text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  IF NOT EXISTS (SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN QUERY
  SELECT w.campaign_id, c.name, w.step, w.channel, w.at, w.what, w.reason FROM (
    -- runs that did not start
    SELECT a.campaign_id, NULL::integer AS step, NULL::text AS channel, a.attributed_at AS at, 0::bigint AS id, 'run not started' AS what,
      entrestate.sender_unstarted(t, a.campaign_id, lead) AS reason
    FROM entrestate.lead_attributions a WHERE a.tenant_id = t AND a.lead_id = lead
    UNION ALL
    -- steps that did not go out, or not yet, and what ended a run
    SELECT e.campaign_id, e.step::integer, h.name, e.recorded_at, e.id,
      CASE WHEN y.name LIKE 'sender.step.%' THEN replace(substr(y.name, 13), '_', ' ') || ' step' ELSE 'run ended' END, x.name
    FROM entrestate.sender_events e
    JOIN entrestate.sender_event_types() y ON y.code = e.type
    LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
    LEFT JOIN entrestate.sender_channels() h ON h.code = e.channel
    WHERE e.tenant_id = t AND e.lead_id = lead
      AND (y.name IN ('sender.step.skipped', 'sender.step.failed', 'sender.step.simulated', 'sender.step.deferred', 'sender.step.unknown')
        OR y.name LIKE 'sender.suppressed\_%' OR y.name = 'sender.run.failed')
  ) w JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = w.campaign_id
  WHERE w.what <> 'run not started' OR w.reason IS NOT NULL
  ORDER BY w.at, w.id;
END
$$;
COMMENT ON FUNCTION sender_why(uuid) IS
'For every run of a lead that did not start, every step that did not go out or was put off, and every run that ended early: the reason, in order of time. Capability: sender.read. Errors: P0002. (B7, B11)';

CREATE FUNCTION sender_runs_of(lead uuid) RETURNS TABLE (run text, campaign_id uuid, version integer,
  status text, mode text, next_step integer, next_at timestamptz, reason text, in_flight boolean,
  created_at timestamptz, ended_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT entrestate.run_id(r.campaign_id, r.lead_id), r.campaign_id, r.version, r.status, r.mode,
    r.cursor::integer, r.next_at, x.name,
    EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id
            AND i.lead_id = r.lead_id AND i.final_at IS NULL AND i.status <> 'unknown'),
    r.created_at, r.ended_at
  FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason
  WHERE r.tenant_id = t AND r.lead_id = lead
  ORDER BY r.created_at, r.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_runs_of(uuid) IS
'A lead''s runs with their state. Capability: sender.read. (B2, B7)';

CREATE FUNCTION sender_history(lead uuid, campaign uuid DEFAULT NULL) RETURNS TABLE (recorded_at timestamptz,
  campaign_id uuid, run_seq integer, type text, step integer, attempt integer, channel text, mode text,
  reason text, next_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT e.recorded_at, e.campaign_id, e.run_seq, y.name, e.step::integer, e.attempt::integer, c.name, m.name, x.name, e.next_at
  FROM entrestate.sender_events e
  JOIN entrestate.sender_event_types() y ON y.code = e.type
  JOIN entrestate.sender_modes() m ON m.code = e.mode
  LEFT JOIN entrestate.sender_channels() c ON c.code = e.channel
  LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
  WHERE e.tenant_id = t AND e.lead_id = lead
    AND (campaign IS NULL OR e.campaign_id = campaign)
  ORDER BY e.tenant_id, e.lead_id, e.recorded_at, e.id;
END
$$;
COMMENT ON FUNCTION sender_history(uuid, uuid) IS
'Everything the sender did for a lead, oldest first: the immutable history of its runs. Capability: sender.read. (B2)';

CREATE FUNCTION sender_queue() RETURNS TABLE (campaign_id uuid, campaign text, pending bigint, running bigint,
  suppressed bigint, failed bigint, done bigint, in_flight bigint, due bigint, held_for text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT c.campaign_id, c.name, n.pending, n.running, n.suppressed, n.failed, n.done,
    (SELECT count(*) FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = c.campaign_id
       AND i.status IN ('ready', 'leased', 'started')),
    (SELECT count(*) FROM entrestate.sender_due d WHERE d.tenant_id = t AND d.campaign_id = c.campaign_id
       AND d.due_at <= entrestate.clock_now()),
    CASE WHEN s.frozen_at IS NOT NULL THEN 'tenant_frozen' WHEN s.paused_at IS NOT NULL THEN 'tenant_paused'
         WHEN c.status IN ('draft', 'paused') THEN 'campaign_paused' WHEN NOT c.sender_enabled THEN 'sender_disabled'
         WHEN c.risk_paused_at IS NOT NULL THEN 'risk_paused' END
  FROM entrestate.campaigns c
  JOIN entrestate.tenants s ON s.tenant_id = t
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.status = 'pending') AS pending, count(*) FILTER (WHERE r.status = 'running') AS running,
      count(*) FILTER (WHERE r.status = 'suppressed') AS suppressed, count(*) FILTER (WHERE r.status = 'failed') AS failed,
      count(*) FILTER (WHERE r.status = 'done') AS done
    FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = c.campaign_id) n
  WHERE c.tenant_id = t ORDER BY c.created_at, c.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_queue() IS
'The tenant''s runs by campaign and status, how many are in flight or due, and why a queue is held. Capability: sender.read. (B7)';

-- One fold for sender_replay(), sender_balance() and sender_verify(). A NULL
-- argument means all of them, so the plan is made for the values given.
CREATE FUNCTION sender_fold(tenant uuid, campaign uuid DEFAULT NULL, lead uuid DEFAULT NULL)
RETURNS TABLE (tenant_id uuid, campaign_id uuid, lead_id uuid, events bigint, run_seq integer, gaps integer[], version integer,
  cursor integer, status text, mode text, next_at timestamptz, attempt integer, deferrals integer, sent_steps integer,
  reason smallint, ended_at timestamptz, in_flight boolean, sent bigint, failed bigint, unknown bigint, skipped bigint, simulated bigint)
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it can ask for that plan.
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  RETURN QUERY
  WITH kind AS MATERIALIZED (
    SELECT y.code, y.name, y.name IN ('sender.step.sent', 'sender.step.failed', 'sender.step.unknown', 'sender.step.skipped',
        'sender.step.simulated') AS outcome,
      CASE WHEN y.name = 'sender.run.done' THEN 'done' WHEN y.name = 'sender.run.failed' THEN 'failed'
           WHEN y.name = 'sender.run.resumed' THEN 'running' WHEN y.name LIKE 'sender.suppressed\_%' THEN 'suppressed' END AS status
    FROM entrestate.sender_event_types() y
  ), event AS (
    SELECT e.tenant_id, e.campaign_id, e.lead_id, e.run_seq, e.step, e.attempt, e.mode, e.reason, e.next_at, e.recorded_at,
      e.sequence_version, k.name, k.outcome, k.status,
      -- what a rehearsal did counts no more once it begins again
      coalesce(max(e.run_seq) FILTER (WHERE k.name = 'sender.run.restarted') OVER run, 0) AS base,
      -- a step is counted once, by its latest outcome
      max(e.run_seq) FILTER (WHERE k.outcome) OVER step AS decided
    FROM entrestate.sender_events e JOIN kind k ON k.code = e.type
    WHERE e.run_seq IS NOT NULL AND (sender_fold.tenant IS NULL OR e.tenant_id = sender_fold.tenant)
      AND (sender_fold.campaign IS NULL OR e.campaign_id = sender_fold.campaign)
      AND (sender_fold.lead IS NULL OR e.lead_id = sender_fold.lead)
    WINDOW run AS (PARTITION BY e.tenant_id, e.campaign_id, e.lead_id),
      step AS (PARTITION BY e.tenant_id, e.campaign_id, e.lead_id, e.step)
  ), folded AS (
    SELECT e.tenant_id, e.campaign_id, e.lead_id, count(*) AS events, max(e.run_seq) AS last,
      array_agg(e.run_seq) AS seqs,
      (array_agg(e.sequence_version ORDER BY e.run_seq DESC) FILTER (WHERE e.sequence_version IS NOT NULL))[1] AS version,
      (array_agg(e.mode ORDER BY e.run_seq DESC))[1] AS mode,
      -- a retry and its outcome leave next_at as it is
      (array_agg(e.next_at ORDER BY e.run_seq DESC)
        FILTER (WHERE e.name <> 'sender.step.retried' AND NOT (e.outcome AND coalesce(e.attempt, 0) > 0)))[1] AS next_at,
      (array_agg(e.status ORDER BY e.run_seq DESC) FILTER (WHERE e.status IS NOT NULL AND e.run_seq > e.base))[1] AS status,
      (array_agg(e.reason ORDER BY e.run_seq DESC) FILTER (WHERE e.status IS NOT NULL AND e.run_seq > e.base))[1] AS reason,
      (array_agg(e.recorded_at ORDER BY e.run_seq DESC) FILTER (WHERE e.status IS NOT NULL AND e.run_seq > e.base))[1] AS status_at,
      count(DISTINCT e.step) FILTER (WHERE e.name = 'sender.step.sent' AND e.run_seq > e.base) AS sent_steps,
      -- the step at the cursor is the one that has events, but no outcome
      coalesce(max(e.attempt) FILTER (WHERE e.run_seq > e.base AND coalesce(e.decided, 0) <= e.base), 0) AS attempt,
      count(*) FILTER (WHERE e.run_seq > e.base AND coalesce(e.decided, 0) <= e.base AND e.name = 'sender.step.deferred'
        AND e.reason = (SELECT x.code FROM entrestate.sender_reasons() x WHERE x.name = 'rising_intent')) AS deferrals,
      count(*) FILTER (WHERE e.outcome AND e.run_seq = e.decided AND e.decided > e.base) AS cursor,
      count(*) FILTER (WHERE e.name = 'sender.step.sent' AND e.run_seq = e.decided AND e.decided > e.base) AS sent,
      count(*) FILTER (WHERE e.name = 'sender.step.failed' AND e.run_seq = e.decided AND e.decided > e.base) AS failed,
      count(*) FILTER (WHERE e.name = 'sender.step.unknown' AND e.run_seq = e.decided AND e.decided > e.base) AS unknown,
      count(*) FILTER (WHERE e.name = 'sender.step.skipped' AND e.run_seq = e.decided AND e.decided > e.base) AS skipped,
      count(*) FILTER (WHERE e.name = 'sender.step.simulated' AND e.run_seq = e.decided AND e.decided > e.base) AS simulated
    FROM event e GROUP BY 1, 2, 3
  ), flight AS (
    -- an intent of the cursor's step; a retry's is of one before
    SELECT i.tenant_id, i.campaign_id, i.lead_id, i.step, max(i.mode) AS mode
    FROM entrestate.sender_intents i
    WHERE i.status IN ('ready', 'leased', 'started') AND (sender_fold.tenant IS NULL OR i.tenant_id = sender_fold.tenant)
      AND (sender_fold.campaign IS NULL OR i.campaign_id = sender_fold.campaign)
      AND (sender_fold.lead IS NULL OR i.lead_id = sender_fold.lead)
    GROUP BY 1, 2, 3, 4
  )
  SELECT f.tenant_id, f.campaign_id, f.lead_id, f.events, f.last,
    CASE WHEN f.events = f.last THEN '{}'::integer[] ELSE ARRAY(SELECT s FROM generate_series(1, f.last) s WHERE s <> ALL (f.seqs) ORDER BY 1) END,
    f.version, f.cursor::integer, coalesce(f.status, CASE WHEN f.cursor > 0 OR i.step IS NOT NULL THEN 'running' ELSE 'pending' END),
    coalesce(i.mode, m.name), CASE WHEN i.step IS NULL THEN f.next_at END, f.attempt::integer, f.deferrals::integer, f.sent_steps::integer,
    CASE WHEN f.status IN ('suppressed', 'failed', 'done') THEN f.reason END,
    CASE WHEN f.status IN ('suppressed', 'failed', 'done') THEN f.status_at END,
    i.step IS NOT NULL, f.sent, f.failed, f.unknown, f.skipped, f.simulated
  FROM folded f
  JOIN entrestate.sender_modes() m ON m.code = f.mode
  LEFT JOIN flight i ON i.tenant_id = f.tenant_id AND i.campaign_id = f.campaign_id AND i.lead_id = f.lead_id AND i.step = f.cursor;
END
$$;
COMMENT ON FUNCTION sender_fold(uuid, uuid, uuid) IS
'Internal: runs made again from their events alone, in the order of run_seq, and from the intents that say that a step is in flight; gaps: numbers that are missing; sent to simulated: its steps by their latest outcome. NULL: of every tenant, campaign, lead. For entrestate_auditor. (B2, L3)';

CREATE FUNCTION sender_replay(campaign uuid, lead uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  stored jsonb;
  folded jsonb;
  gaps integer[];
  events bigint;
BEGIN
  SELECT jsonb_build_object('cursor', r.cursor, 'status', r.status, 'next_at', r.next_at, 'mode', r.mode, 'version', r.version,
    'attempt', r.attempt, 'deferrals', r.deferrals, 'sent_steps', r.sent_steps, 'reason', x.name, 'ended_at', r.ended_at, 'run_seq', r.run_seq)
  INTO stored
  FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason
  WHERE r.tenant_id = t AND r.campaign_id = campaign AND r.lead_id = lead;
  -- NULL would fold them all
  IF stored IS NULL THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such run', NULL, 'sender_runs_of() lists a lead''s.');
  END IF;
  SELECT jsonb_build_object('cursor', f.cursor, 'status', f.status, 'next_at', f.next_at, 'mode', f.mode, 'version', f.version,
    'attempt', f.attempt, 'deferrals', f.deferrals, 'sent_steps', f.sent_steps, 'reason', x.name, 'ended_at', f.ended_at, 'run_seq', f.run_seq),
    f.gaps, f.events
  INTO folded, gaps, events
  FROM entrestate.sender_fold(t, campaign, lead) f LEFT JOIN entrestate.sender_reasons() x ON x.code = f.reason;
  RETURN jsonb_build_object('run', entrestate.run_id(campaign, lead), 'events', coalesce(events, 0), 'replayed', folded, 'gaps', to_jsonb(coalesce(gaps, '{}')),
    'differs', (SELECT coalesce(jsonb_object_agg(s.key, jsonb_build_object('stored', s.value, 'replayed', folded -> s.key)), '{}')
      FROM jsonb_each(stored) s WHERE s.value IS DISTINCT FROM folded -> s.key));
END
$$;
COMMENT ON FUNCTION sender_replay(uuid, uuid) IS
'A run made again from its events alone {run, events, replayed, gaps, differs}: replayed has cursor, status, next_at, mode, version, attempt, deferrals, sent_steps, reason, ended_at and run_seq; gaps the event numbers that are missing; differs what the stored row says otherwise {field: {stored, replayed}}, empty when they are equal. Capability: sender.read. Errors: P0002. (B2, L3)';

CREATE FUNCTION sender_balance(campaign uuid DEFAULT NULL) RETURNS TABLE (campaign_id uuid, name text, steps bigint, sent bigint, failed bigint,
  unknown bigint, skipped bigint, simulated bigint, cancelled bigint, open bigint, holds boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- planned for the campaign that is asked for
SET search_path = pg_catalog, pg_temp SET row_security = on SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL, 'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  -- one statement, so one snapshot: the fold sees what it sees
  RETURN QUERY
  WITH version AS (
    SELECT s.campaign_id, s.version, count(*) AS steps FROM entrestate.sender_steps s
    WHERE s.tenant_id = t AND (sender_balance.campaign IS NULL OR s.campaign_id = sender_balance.campaign) GROUP BY 1, 2
  ), run AS (
    SELECT r.campaign_id, sum(v.steps)::bigint AS steps,
      coalesce(sum(v.steps - r.cursor) FILTER (WHERE r.status IN ('suppressed', 'failed')), 0)::bigint AS cancelled,
      coalesce(sum(v.steps - r.cursor) FILTER (WHERE r.status NOT IN ('suppressed', 'failed')), 0)::bigint AS open
    FROM entrestate.sender_runs r JOIN version v ON v.campaign_id = r.campaign_id AND v.version = r.version
    WHERE r.tenant_id = t AND (sender_balance.campaign IS NULL OR r.campaign_id = sender_balance.campaign) GROUP BY 1
  ), outcome AS (
    SELECT f.campaign_id, sum(f.sent)::bigint AS sent, sum(f.failed)::bigint AS failed, sum(f.unknown)::bigint AS unknown,
      sum(f.skipped)::bigint AS skipped, sum(f.simulated)::bigint AS simulated
    FROM entrestate.sender_fold(t, sender_balance.campaign) f GROUP BY 1
  )
  SELECT c.campaign_id, c.name, b.steps, b.sent, b.failed, b.unknown, b.skipped, b.simulated, b.cancelled, b.open,
    b.steps = b.sent + b.failed + b.unknown + b.skipped + b.simulated + b.cancelled + b.open
  FROM entrestate.campaigns c
  LEFT JOIN run r ON r.campaign_id = c.campaign_id
  LEFT JOIN outcome o ON o.campaign_id = c.campaign_id
  CROSS JOIN LATERAL (SELECT coalesce(r.steps, 0) AS steps, coalesce(o.sent, 0) AS sent, coalesce(o.failed, 0) AS failed,
    coalesce(o.unknown, 0) AS unknown, coalesce(o.skipped, 0) AS skipped, coalesce(o.simulated, 0) AS simulated,
    coalesce(r.cancelled, 0) AS cancelled, coalesce(r.open, 0) AS open) b
  WHERE c.tenant_id = t AND (sender_balance.campaign IS NULL OR c.campaign_id = sender_balance.campaign)
  ORDER BY c.created_at, c.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_balance(uuid) IS
'By campaign: the steps of its runs'' versions, and where they are: sent, failed, unknown, skipped, simulated (each step once, by its latest outcome, from the events), cancelled (what suppressed and failed runs had left) and open (what the others have left), in one snapshot; holds: they add up. Capability: sender.read. Errors: P0002. (B7)';

GRANT EXECUTE ON FUNCTION sender_fold(uuid, uuid, uuid) TO entrestate_auditor;
GRANT EXECUTE ON FUNCTION sender_runs_of(uuid), sender_history(uuid, uuid), sender_queue(), sender_why(uuid), sender_replay(uuid, uuid),
  sender_balance(uuid) TO entrestate_app;
