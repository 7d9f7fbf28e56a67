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

CREATE FUNCTION sender_events_list(of_type text DEFAULT NULL, campaign uuid DEFAULT NULL, before timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (recorded_at timestamptz, id bigint, campaign_id uuid, lead_id uuid, run_seq integer, type text, step integer,
  attempt integer, channel text, mode text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- planned for what is asked; a thousand events may have one instant, which no index orders further, so the instant
-- that the page goes back to is found first
SET search_path = pg_catalog, pg_temp SET row_security = on
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  upto timestamptz := coalesce(before, 'infinity');
  upto_id bigint := coalesce(before_id, 0);
  wanted smallint := (SELECT y.code FROM entrestate.sender_event_types() y WHERE y.name = of_type);
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  IF of_type IS NOT NULL THEN
    PERFORM entrestate.arg_choice('of_type', of_type, ARRAY(SELECT y.name FROM entrestate.sender_event_types() y));
  END IF;
  IF campaign IS NULL AND of_type <> 'sender.step.sent' THEN
    RETURN QUERY
    WITH page AS MATERIALIZED (SELECT min(x.recorded_at) AS since FROM (
      SELECT e.recorded_at FROM entrestate.sender_events e WHERE e.type = wanted AND e.tenant_id = t
        AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
      ORDER BY e.recorded_at DESC LIMIT max_rows) x)
    SELECT e.recorded_at, e.id, e.campaign_id, e.lead_id, e.run_seq, of_type, e.step::integer, e.attempt::integer, k.name, m.name, r.name
    FROM (SELECT e.* FROM entrestate.sender_events e WHERE e.type = wanted AND e.tenant_id = t
        AND e.recorded_at >= (SELECT p.since FROM page p) AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
      ORDER BY e.recorded_at DESC, e.id DESC LIMIT max_rows) e
    JOIN entrestate.sender_modes() m ON m.code = e.mode
    LEFT JOIN entrestate.sender_channels() k ON k.code = e.channel
    LEFT JOIN entrestate.sender_reasons() r ON r.code = e.reason
    ORDER BY e.recorded_at DESC, e.id DESC;
  ELSE
    RETURN QUERY
    WITH newest AS MATERIALIZED (SELECT c.campaign_id, n.recorded_at FROM entrestate.campaigns c CROSS JOIN LATERAL (
        SELECT e.recorded_at FROM entrestate.sender_events e WHERE e.campaign_id = c.campaign_id AND e.tenant_id = t
          AND (wanted IS NULL OR e.type = wanted) AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
        ORDER BY e.recorded_at DESC LIMIT 1) n
      WHERE c.tenant_id = t AND (sender_events_list.campaign IS NULL OR c.campaign_id = sender_events_list.campaign)),
    -- as many campaigns as the page has rows fill it with what is not older than the newest of each
    filled AS MATERIALIZED (SELECT CASE WHEN count(*) < max_rows THEN '-infinity' ELSE min(x.recorded_at) END AS since
      FROM (SELECT n.recorded_at FROM newest n ORDER BY n.recorded_at DESC LIMIT max_rows) x),
    page AS MATERIALIZED (SELECT min(x.recorded_at) AS since FROM (
      SELECT v.recorded_at FROM newest n CROSS JOIN LATERAL (
        SELECT e.recorded_at FROM entrestate.sender_events e WHERE e.campaign_id = n.campaign_id AND e.tenant_id = t
          AND (wanted IS NULL OR e.type = wanted) AND e.recorded_at >= (SELECT f.since FROM filled f)
          AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
        ORDER BY e.recorded_at DESC LIMIT max_rows) v
      WHERE n.recorded_at >= (SELECT f.since FROM filled f)
      ORDER BY v.recorded_at DESC LIMIT max_rows) x)
    SELECT e.recorded_at, e.id, e.campaign_id, e.lead_id, e.run_seq, y.name, e.step::integer, e.attempt::integer, k.name, m.name, r.name
    FROM (SELECT v.* FROM newest n CROSS JOIN LATERAL (
        SELECT e.* FROM entrestate.sender_events e WHERE e.campaign_id = n.campaign_id AND e.tenant_id = t
          AND (wanted IS NULL OR e.type = wanted) AND e.recorded_at >= (SELECT p.since FROM page p)
          AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id) OFFSET 0) v
      WHERE n.recorded_at >= (SELECT p.since FROM page p)
      ORDER BY v.recorded_at DESC, v.id DESC LIMIT max_rows) e
    JOIN entrestate.sender_event_types() y ON y.code = e.type
    JOIN entrestate.sender_modes() m ON m.code = e.mode
    LEFT JOIN entrestate.sender_channels() k ON k.code = e.channel
    LEFT JOIN entrestate.sender_reasons() r ON r.code = e.reason
    ORDER BY e.recorded_at DESC, e.id DESC;
  END IF;
END
$$;
COMMENT ON FUNCTION sender_events_list(text, uuid, timestamptz, bigint, integer) IS
'What the sender did, newest first, of the tenant or of one campaign, of all types (sender_event_types()) or of one; before and before_id: recorded_at and id of the last row of the page before. Of a campaign a type is looked for among the others, and so is sender.step.sent of the tenant. Capability: sender.read. Errors: 22023. (A8, D)';

CREATE FUNCTION sender_held(tenant uuid) RETURNS TABLE (campaign_id uuid, reason text, since timestamptz)
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- in the order of the gates
  RETURN QUERY
  SELECT c.campaign_id, h.reason, h.since
  FROM entrestate.campaigns c
  JOIN entrestate.tenants s ON s.tenant_id = sender_held.tenant
  CROSS JOIN LATERAL (
    SELECT v.reason, v.since FROM (VALUES
      (1, s.frozen_at IS NOT NULL, 'tenant_frozen', s.frozen_at), (2, s.paused_at IS NOT NULL, 'tenant_paused', s.paused_at),
      (3, c.status IN ('draft', 'paused'), 'campaign_paused', c.updated_at), (4, NOT c.sender_enabled, 'sender_disabled', c.updated_at),
      (5, c.risk_paused_at IS NOT NULL, 'risk_paused', c.risk_paused_at)) AS v(gate, held, reason, since)
    WHERE v.held ORDER BY v.gate LIMIT 1) h
  WHERE c.tenant_id = sender_held.tenant AND c.status NOT IN ('completed', 'archived');
END
$$;
COMMENT ON FUNCTION sender_held(uuid) IS
'Internal: the campaigns of a tenant whose queue gates 1 and 2 hold, why, and since when.';

CREATE FUNCTION sender_queue() RETURNS TABLE (campaign_id uuid, campaign text, pending bigint, running bigint,
  suppressed bigint, failed bigint, done bigint, in_flight bigint, due bigint, held bigint, held_for text, held_since timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  WITH flight AS (
    SELECT i.campaign_id, count(*) AS n FROM entrestate.sender_intents i
    WHERE i.tenant_id = t AND i.status IN ('ready', 'leased', 'started') GROUP BY 1
  ), paused AS MATERIALIZED (
    -- the steps of channels that are paused, and what the processor found besides
    SELECT s.campaign_id, s.version, s.step, x.paused_at, 'channel_paused' AS reason FROM entrestate.tenant_channels x
    JOIN entrestate.sender_steps s ON s.tenant_id = t AND s.channel = x.channel
    WHERE x.tenant_id = t AND x.enabled AND x.paused_at IS NOT NULL
    UNION ALL
    SELECT w.campaign_id, w.version, w.step, w.held_since, y.name FROM entrestate.sender_holds w
    JOIN entrestate.sender_reasons() y ON y.code = w.reason AND y.name <> 'channel_paused' WHERE w.tenant_id = t
  )
  SELECT c.campaign_id, c.name, n.pending, n.running, n.suppressed, n.failed, n.done, coalesce(f.n, 0), n.due,
    CASE WHEN h.reason IS NOT NULL THEN n.due ELSE n.stopped END,
    coalesce(h.reason, n.stopped_for),
    CASE WHEN h.reason IS NOT NULL THEN h.since ELSE n.stopped_at END
  FROM entrestate.campaigns c
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.status = 'pending') AS pending, count(*) FILTER (WHERE r.status = 'running') AS running,
      count(*) FILTER (WHERE r.status = 'suppressed') AS suppressed, count(*) FILTER (WHERE r.status = 'failed') AS failed,
      count(*) FILTER (WHERE r.status = 'done') AS done, count(*) FILTER (WHERE r.due) AS due,
      count(*) FILTER (WHERE r.due AND p.step IS NOT NULL) AS stopped, min(p.paused_at) FILTER (WHERE r.due) AS stopped_at,
      min(p.reason) FILTER (WHERE r.due) AS stopped_for
    FROM (SELECT x.status, x.version, x.cursor, x.status IN ('pending', 'running') AND x.next_at <= entrestate.clock_now() AND NOT x.awaiting_go_live AS due
      FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = c.campaign_id OFFSET 0) r
    LEFT JOIN paused p ON p.campaign_id = c.campaign_id AND p.version = r.version AND p.step = r.cursor) n
  LEFT JOIN flight f ON f.campaign_id = c.campaign_id
  LEFT JOIN entrestate.sender_held(t) h ON h.campaign_id = c.campaign_id
  WHERE c.tenant_id = t ORDER BY c.created_at, c.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_queue() IS
'The tenant''s runs by campaign and status, how many are in flight or due, and how many of the due ones are held, why and since when (for a campaign that is paused or whose sender is off: since it last changed). Capability: sender.read. (B7)';

CREATE FUNCTION sender_queue_runs(campaign uuid DEFAULT NULL, with_status text DEFAULT NULL, after_campaign uuid DEFAULT NULL,
  after_lead uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (run text, campaign_id uuid, lead_id uuid, status text, mode text, next_step integer, channel text, next_at timestamptz,
  in_flight boolean, held_for text, held_since timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- a page of the key, planned for what is asked
SET search_path = pg_catalog, pg_temp SET row_security = on
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  from_campaign uuid := coalesce(after_campaign, campaign, '00000000-0000-0000-0000-000000000000');
  from_lead uuid := coalesce(after_lead, '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  IF with_status IS NOT NULL THEN
    PERFORM entrestate.arg_choice('with_status', with_status, ARRAY['pending', 'running', 'suppressed', 'failed', 'done']);
  END IF;
  RETURN QUERY
  SELECT entrestate.run_id(r.campaign_id, r.lead_id), r.campaign_id, r.lead_id, r.status, r.mode, r.cursor::integer, s.channel, r.next_at,
    f.flying, w.reason, w.since
  FROM (SELECT * FROM entrestate.sender_runs x
    WHERE x.tenant_id = t AND (x.campaign_id, x.lead_id) > (from_campaign, from_lead)
      AND (sender_queue_runs.campaign IS NULL OR x.campaign_id = sender_queue_runs.campaign) AND (with_status IS NULL OR x.status = with_status)
    ORDER BY x.tenant_id, x.campaign_id, x.lead_id LIMIT max_rows) r
  LEFT JOIN LATERAL (SELECT x.channel FROM entrestate.sender_steps x WHERE x.tenant_id = t AND x.campaign_id = r.campaign_id
    AND x.version = r.version AND x.step = r.cursor AND r.status IN ('pending', 'running') OFFSET 0) s ON true
  CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id
    AND i.lead_id = r.lead_id AND i.final_at IS NULL AND i.status <> 'unknown') AS flying) f
  -- only what would go on now can be held
  LEFT JOIN LATERAL (
    SELECT v.reason, v.since FROM (
      SELECT 1 AS gate, h.reason, h.since FROM entrestate.sender_held(t) h WHERE h.campaign_id = r.campaign_id
      UNION ALL
      SELECT 2, 'channel_paused', k.paused_at FROM entrestate.tenant_channels k
      WHERE k.tenant_id = t AND k.channel = s.channel AND k.enabled AND k.paused_at IS NOT NULL
      UNION ALL
      SELECT 3, y.name, o.held_since FROM entrestate.sender_holds o JOIN entrestate.sender_reasons() y ON y.code = o.reason
      WHERE o.tenant_id = t AND o.campaign_id = r.campaign_id AND o.version = r.version AND o.step = r.cursor
      UNION ALL
      SELECT 4, 'awaiting_go_live', r.updated_at WHERE r.awaiting_go_live) v
    WHERE r.status IN ('pending', 'running') AND (f.flying OR r.next_at <= entrestate.clock_now())
    ORDER BY v.gate LIMIT 1) w ON true
  ORDER BY r.campaign_id, r.lead_id;
END
$$;
COMMENT ON FUNCTION sender_queue_runs(uuid, text, uuid, uuid, integer) IS
'The runs of the tenant or of one campaign, in the order of their keys: status, next step, when it is due, whether a message is in flight, and for what would go on now why it is held and since when; after_campaign and after_lead: the key of the last one of the page before. A status that few runs have is looked for among the others. Capability: sender.read. Errors: 22023. (B7)';

CREATE FUNCTION sender_metrics(campaign uuid DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  lower timestamptz := coalesce(since, '-infinity');
  -- the clock's last instant counts
  upper timestamptz := coalesce(until, entrestate.clock_now() + interval '1 microsecond');
  result jsonb;
BEGIN
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL, 'entrestate.campaign_list() lists the tenant''s campaigns.');
  ELSIF lower >= upper THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'since is not before until');
  END IF;
  WITH event AS MATERIALIZED (
    -- each campaign's own slice; a week more, for the step that comes next
    SELECT e.campaign_id, e.lead_id, e.recorded_at, e.id, y.name, x.name AS reason
    FROM entrestate.campaigns c
    CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_events v WHERE v.campaign_id = c.campaign_id AND v.tenant_id = t
      AND v.recorded_at >= lower AND v.recorded_at < upper + interval '7 days' OFFSET 0) e
    JOIN entrestate.sender_event_types() y ON y.code = e.type
    LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
    WHERE c.tenant_id = t AND (sender_metrics.campaign IS NULL OR c.campaign_id = sender_metrics.campaign)
  ), sent AS (
    SELECT e.*, coalesce(lead(e.recorded_at) OVER (PARTITION BY e.campaign_id, e.lead_id ORDER BY e.recorded_at, e.id), 'infinity') AS next_sent
    FROM event e WHERE e.name = 'sender.step.sent'
  ), step AS (
    SELECT s.campaign_id, s.lead_id, s.recorded_at AS at, s.next_sent, s.recorded_at + interval '7 days' AS week
    FROM sent s WHERE s.recorded_at < upper
  ), welcome AS (
    SELECT EXISTS (
        -- a signal that names another campaign answers that one
        SELECT FROM entrestate.intent_signals g JOIN entrestate.signal_kinds() k ON k.code = g.kind
        WHERE g.tenant_id = t AND g.lead_id = s.lead_id AND g.recorded_at > s.at
          AND g.occurred_at > s.at AND g.occurred_at <= s.week AND g.occurred_at < s.next_sent
          AND (g.campaign_id IS NULL OR g.campaign_id = s.campaign_id)
          AND k.name IN ('reply', 'click', 'chat_message', 'call_request', 'visit_request', 'form_resubmission'))
      AND NOT EXISTS (
        SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = s.lead_id
          AND (l.opted_out_at > s.at AND l.opted_out_at <= s.week AND l.opted_out_at < s.next_sent
            OR l.complained_at > s.at AND l.complained_at <= s.week AND l.complained_at < s.next_sent))
      AND NOT EXISTS (
        -- of one channel only, or lifted since
        SELECT FROM entrestate.lead_contacts a JOIN entrestate.suppressions p ON p.tenant_id = t AND p.address_norm = a.address_norm
          AND p.channel = ANY (CASE a.kind WHEN 'email' THEN '{email}'::text[] ELSE '{sms,whatsapp}' END)
        WHERE a.tenant_id = t AND a.lead_id = s.lead_id AND p.reason IN ('opt_out', 'complaint')
          AND p.created_at > s.at AND p.created_at <= s.week AND p.created_at < s.next_sent)
      AND NOT EXISTS (
        SELECT FROM entrestate.sender_events v JOIN entrestate.sender_event_types() y ON y.code = v.type
        LEFT JOIN entrestate.sender_reasons() x ON x.code = v.reason
        WHERE v.tenant_id = t AND v.lead_id = s.lead_id AND v.recorded_at > s.at AND v.recorded_at <= s.week AND v.recorded_at < s.next_sent
          AND (y.name IN ('sender.complained', 'sender.unsubscribed') OR x.name IN ('opted_out', 'complained'))) AS welcomed
    FROM step s
  ), ended AS (
    SELECT e.campaign_id, e.lead_id, e.reason, e.recorded_at AS at, r.created_at,
      (SELECT count(*) FROM entrestate.sender_steps s WHERE s.tenant_id = t AND s.campaign_id = e.campaign_id AND s.version = r.version) - r.cursor AS spared
    FROM event e
    CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = e.campaign_id
      AND x.lead_id = e.lead_id OFFSET 0) r
    WHERE e.name LIKE 'sender.suppressed\_%' AND e.recorded_at < upper
  ), takeover AS (
    SELECT h.ticket_id, h.first_touch_at - h.opened_at AS touch
    FROM ended e
    -- the ticket that stood when the run ended, or was opened while it ran
    CROSS JOIN LATERAL (SELECT * FROM entrestate.handoff_tickets x WHERE x.lead_id = e.lead_id AND x.tenant_id = t
      AND x.opened_at <= e.at AND (x.resolved_at IS NULL OR x.resolved_at >= e.created_at)
      ORDER BY x.opened_at DESC, x.ticket_id DESC LIMIT 1) h
    WHERE e.reason IN ('handoff', 'lead_closed', 'stopped', 'merged', 'hot', 'replied') AND h.first_touch_at IS NOT NULL
  ), touch AS (
    -- a ticket that ended two runs was touched once
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY d.touch) AS median, percentile_cont(0.9) WITHIN GROUP (ORDER BY d.touch) AS p90, count(*) AS tickets
    FROM (SELECT DISTINCT v.ticket_id, v.touch FROM takeover v) d
  ), report AS (
    SELECT e.name, count(*) AS n FROM event e WHERE e.recorded_at < upper GROUP BY 1
  ), base AS (
    SELECT (SELECT count(*) FROM step) AS sent
  )
  SELECT jsonb_build_object(
    'welcomed', (SELECT jsonb_build_object('sent', count(*), 'welcomed', count(*) FILTER (WHERE w.welcomed),
      'rate', round(count(*) FILTER (WHERE w.welcomed)::numeric / nullif(count(*), 0), 4)) FROM welcome w),
    'suppressed_to_avoid_damage', (SELECT jsonb_build_object('runs', count(*), 'steps', coalesce(sum(e.spared), 0)) FROM ended e
      WHERE e.reason NOT IN ('campaign_ended', 'goal_reached')),
    'takeovers', (SELECT jsonb_build_object('runs', (SELECT count(*) FROM takeover), 'tickets', h.tickets,
      'first_touch_median_seconds', round(extract(epoch FROM h.median)), 'first_touch_p90_seconds', round(extract(epoch FROM h.p90))) FROM touch h),
    'suppression_reasons', (SELECT coalesce(jsonb_object_agg(g.reason, jsonb_build_object('runs', g.runs, 'steps', g.steps)), '{}')
      FROM (SELECT e.reason, count(*) AS runs, sum(e.spared) AS steps FROM ended e GROUP BY 1) g),
    'delivery', (SELECT jsonb_object_agg(k.word, coalesce(p.n, 0)) || jsonb_build_object(
        'delivered_rate', round(max(p.n) FILTER (WHERE k.word = 'delivered')::numeric / nullif(b.sent, 0), 4),
        'opened_rate', round(max(p.n) FILTER (WHERE k.word = 'opened')::numeric / nullif(b.sent, 0), 4),
        'clicked_rate', round(max(p.n) FILTER (WHERE k.word = 'clicked')::numeric / nullif(b.sent, 0), 4))
      FROM (VALUES ('sent', 'sender.step.sent'), ('failed', 'sender.step.failed'), ('unknown', 'sender.step.unknown'), ('skipped', 'sender.step.skipped'),
        ('simulated', 'sender.step.simulated'), ('delivered', 'sender.delivered'), ('undelivered', 'sender.undelivered'), ('bounced', 'sender.bounced'),
        ('opened', 'sender.opened'), ('clicked', 'sender.clicked'), ('replied', 'sender.replied'), ('complained', 'sender.complained'),
        ('unsubscribed', 'sender.unsubscribed')) AS k(word, type)
      LEFT JOIN report p ON p.name = k.type CROSS JOIN base b GROUP BY b.sent))
  INTO result;
  RETURN result;
END
$$;
COMMENT ON FUNCTION sender_metrics(uuid, timestamptz, timestamptz) IS
'The decision metrics of a campaign or of all, for what happened from since until (not including) until: welcomed {sent, welcomed, rate}: steps that were sent and then, within 7 days and before the run''s next, answered by a reply, click, chat, request or resubmission of a person, with no opt-out or complaint; suppressed_to_avoid_damage {runs, steps}: what gates 3 to 6 cancelled; takeovers {runs, tickets, first_touch_median_seconds, first_touch_p90_seconds}: runs ended by gates 3, 5 or 6 whose ticket a person took; suppression_reasons {reason: {runs, steps}}; and, of less weight, delivery: reports by type, and their rates of what was sent. NULL: from the beginning, until now. Capability: sender.read. Errors: P0002, 22023. (B14, F4)';

CREATE FUNCTION sender_story(lead uuid) RETURNS TABLE (at timestamptz, story text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  PERFORM entrestate.require('audience.read'), entrestate.require('handoff.read');
  IF NOT EXISTS (SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN QUERY
  WITH line AS (
    -- order: what comes first where several things have one instant
    SELECT l.created_at AS at, 0 AS place, 0::bigint AS no, format('Arrived (%s).', l.source) AS line
    FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead
    UNION ALL
    SELECT a.attributed_at, 1, 0, concat(format('Came to campaign "%s"', c.name), ' by its ', replace(replace(a.resolved_by, '_', ' '), 'campaign id', 'id'),
      CASE WHEN a.imported THEN ', in an import' END, ', on ' || a.landing_page, ', from ' || a.referrer, '.')
    FROM entrestate.lead_attributions a JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = a.campaign_id
    WHERE a.tenant_id = t AND a.lead_id = lead
    UNION ALL
    SELECT a.attributed_at, 2, 0, format('No run in "%s": %s.', c.name, entrestate.sender_words(u.reason))
    FROM entrestate.lead_attributions a JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = a.campaign_id
    CROSS JOIN LATERAL (SELECT entrestate.sender_unstarted(t, a.campaign_id, lead) AS reason OFFSET 0) u
    WHERE a.tenant_id = t AND a.lead_id = lead AND u.reason IS NOT NULL
    UNION ALL
    SELECT a.created_at, 1, 0, CASE a.reason WHEN 'ambiguous' THEN 'Came from where several campaigns could be meant: listed, not guessed.'
      ELSE 'Came from where no campaign is known: listed, not guessed.' END
    FROM entrestate.unresolved_attributions a WHERE a.lead_id = lead AND a.tenant_id = t
    UNION ALL
    SELECT s.recorded_at, 3, s.signal_no, concat(CASE k.name
        WHEN 'open' THEN 'Opened a message' WHEN 'click' THEN 'Clicked a link' WHEN 'chat_message' THEN 'Wrote in the chat'
        WHEN 'rapid_interaction' THEN 'Did several things within minutes' WHEN 'form_resubmission' THEN 'Sent a form again'
        WHEN 'reply' THEN 'Replied' WHEN 'call_request' THEN 'Asked for a call' WHEN 'visit_request' THEN 'Asked for a visit'
        WHEN 'machine_open' THEN 'A machine fetched a message' WHEN 'machine_click' THEN 'A machine followed a link'
        WHEN 'auto_reply' THEN 'An automatic reply came' WHEN 'cooled' THEN 'A person said that the lead has cooled'
        ELSE 'Another record of the same person was merged in' END, format(' (score %s)', s.score), CASE WHEN s.hot THEN ': hot from now on' END, '.')
    FROM entrestate.intent_signals s JOIN entrestate.signal_kinds() k ON k.code = s.kind
    WHERE s.tenant_id = t AND s.lead_id = lead
    UNION ALL
    SELECT v.at, 4, 0, v.line FROM entrestate.leads l CROSS JOIN LATERAL (VALUES
      (l.opted_out_at, 'Opted out of all messages.'), (l.complained_at, 'Complained.'), (l.erasure_requested_at, 'Asked to be erased.')) v(at, line)
    WHERE l.tenant_id = t AND l.lead_id = lead AND v.at IS NOT NULL
    UNION ALL
    SELECT e.recorded_at, 5, e.id, concat(CASE
        WHEN y.name = 'sender.run.started' THEN format('A run began in "%s"', c.name)
        WHEN y.name = 'sender.run.done' THEN format('The run in "%s" is done', c.name)
        WHEN y.name = 'sender.run.failed' THEN format('The run in "%s" cannot go on', c.name)
        WHEN y.name = 'sender.run.resumed' THEN format('The run in "%s" goes on again', c.name)
        WHEN y.name = 'sender.run.restarted' THEN format('The rehearsal in "%s" is over: the run begins again', c.name)
        WHEN y.name = 'sender.run.upgraded' THEN format('The run in "%s" moved to version %s', c.name, e.sequence_version)
        WHEN y.name = 'sender.step.unknown' THEN format('Step %s (%s): sent, or not: nobody knows', e.step, h.name)
        WHEN y.name = 'sender.step.retried' THEN format('Step %s (%s) is tried again by a person', e.step, h.name)
        WHEN y.name = 'sender.step.deferred' THEN format('Step %s (%s) was put off', e.step, h.name)
        WHEN y.name = 'sender.step.simulated' THEN format('Step %s (%s) was rehearsed, not sent', e.step, h.name)
        WHEN y.name LIKE 'sender.step.%' THEN format('Step %s (%s) was %s', e.step, h.name, substr(y.name, 13))
        WHEN y.name LIKE 'sender.suppressed\_%' THEN format('The run in "%s" ended', c.name)
        ELSE format('Step %s (%s) was reported: %s', e.step, h.name, substr(y.name, 8)) END,
      CASE WHEN x.name IS NOT NULL AND x.name NOT IN ('completed', 'dry_run') THEN ': ' || entrestate.sender_words(x.name) END,
      CASE WHEN y.name LIKE 'sender.suppressed\_%' THEN (SELECT format('; %s %s not sent', g.n, CASE g.n WHEN 1 THEN 'step was' ELSE 'steps were' END)
        FROM (SELECT count(*) - max(r.cursor) AS n FROM entrestate.sender_runs r JOIN entrestate.sender_steps s ON s.tenant_id = t
          AND s.campaign_id = r.campaign_id AND s.version = r.version
          WHERE r.tenant_id = t AND r.campaign_id = e.campaign_id AND r.lead_id = lead) g) END, '.')
    FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
    JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = e.campaign_id
    LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
    LEFT JOIN entrestate.sender_channels() h ON h.code = e.channel
    WHERE e.tenant_id = t AND e.lead_id = lead
    UNION ALL
    SELECT v.at, 6, v.no, v.line FROM entrestate.handoff_tickets h CROSS JOIN LATERAL (VALUES
      (h.opened_at, 1::bigint, format('A ticket was opened for a person (%s).', h.reason)),
      (h.first_touch_at, 2, concat(coalesce(h.taken_by, 'Somebody'), ' took it, ', entrestate.interval_words(h.first_touch_at - h.opened_at), ' after it was opened.')),
      (h.resolved_at, 3, concat(coalesce(h.resolved_by, 'Somebody'), ' resolved it', ': ' || h.outcome, '.'))) v(at, no, line)
    WHERE h.lead_id = lead AND h.tenant_id = t AND v.at IS NOT NULL
    UNION ALL
    SELECT l.updated_at, 9, 0, format('Is one with lead %s.', l.merged_into) FROM entrestate.leads l
    WHERE l.tenant_id = t AND l.lead_id = lead AND l.merged_into IS NOT NULL
  )
  SELECT w.at, w.line FROM line w ORDER BY w.at, w.place, w.no, w.line;
END
$$;
COMMENT ON FUNCTION sender_story(uuid) IS
'A lead''s whole story in words, in order of time: where it came from, runs that began or not and why, steps sent, skipped or put off, signals, tickets with the time to first touch, and what ended runs with how many steps were not sent. Capability: sender.read, audience.read and handoff.read. Errors: P0002. (B7, B14, F4)';

CREATE FUNCTION sender_words(reason text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE reason
  WHEN 'campaign_paused' THEN 'the campaign was not active' WHEN 'sender_disabled' THEN 'the campaign''s sender was off'
  WHEN 'sequence_missing' THEN 'the campaign has no published sequence' WHEN 'imported' THEN 'it came by an import'
  WHEN 'before_backfill' THEN 'it came before the sender was ready' WHEN 'may_start' THEN 'nothing is against it now; a person may start it'
  WHEN 'campaign_ended' THEN 'the campaign has ended' WHEN 'handoff' THEN 'a person has taken over' WHEN 'lead_closed' THEN 'the lead is booked or lost'
  WHEN 'stopped' THEN 'a person stopped it' WHEN 'merged' THEN 'the lead was merged' WHEN 'opted_out' THEN 'the lead opted out'
  WHEN 'complained' THEN 'the lead complained' WHEN 'erased' THEN 'the lead asked to be erased' WHEN 'hot' THEN 'the lead is hot, a person should take over'
  WHEN 'replied' THEN 'the lead replied' WHEN 'goal_reached' THEN 'its goal was reached' WHEN 'guard_false' THEN 'its guard says no'
  WHEN 'guard_error' THEN 'its guard gives no answer' WHEN 'missing_email' THEN 'there is no email address' WHEN 'missing_phone' THEN 'there is no phone number'
  WHEN 'invalid_email' THEN 'the email address cannot be used' WHEN 'invalid_phone' THEN 'the phone number cannot be used'
  WHEN 'no_consent' THEN 'there is no consent' WHEN 'address_suppressed' THEN 'the address is on the suppression list'
  WHEN 'missing_field' THEN 'a field of the message is missing' WHEN 'whatsapp_window' THEN 'WhatsApp allows no free text now'
  WHEN 'channel_disabled' THEN 'the channel is off' WHEN 'rising_intent' THEN 'interest is rising, so there is less noise'
  WHEN 'quiet_hours' THEN 'it was outside the hours' WHEN 'frequency_capped' THEN 'the lead has had enough messages for now'
  WHEN 'too_late' THEN 'it was too late' ELSE replace(reason, '_', ' ') END;
COMMENT ON FUNCTION sender_words(text) IS 'Internal: a reason of the sender in plain words.';

CREATE FUNCTION interval_words(span interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN s.n < 60 THEN 'less than a minute' WHEN s.n < 7200 THEN format('%s min', s.n / 60)
    WHEN s.n < 172800 THEN format('%s h %s min', s.n / 3600, s.n % 3600 / 60) ELSE format('%s days', s.n / 86400) END
  FROM (SELECT floor(extract(epoch FROM span))::bigint AS n) s);
COMMENT ON FUNCTION interval_words(interval) IS 'Internal: how long, in words.';

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
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_seqscan = off SET jit = off AS $$
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
-- planned for the campaign that is asked for; the fold inside it is, too
SET search_path = pg_catalog, pg_temp SET row_security = on SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET jit = off AS $$
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
GRANT EXECUTE ON FUNCTION sender_runs_of(uuid), sender_history(uuid, uuid), sender_events_list(text, uuid, timestamptz, bigint, integer),
  sender_queue(), sender_why(uuid), sender_replay(uuid, uuid), sender_balance(uuid), sender_queue_runs(uuid, text, uuid, uuid, integer), sender_metrics(uuid, timestamptz, timestamptz),
  sender_story(uuid) TO entrestate_app;
