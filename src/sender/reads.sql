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
    n.due,
    CASE WHEN s.frozen_at IS NOT NULL THEN 'tenant_frozen' WHEN s.paused_at IS NOT NULL THEN 'tenant_paused'
         WHEN c.status IN ('draft', 'paused') THEN 'campaign_paused' WHEN NOT c.sender_enabled THEN 'sender_disabled'
         WHEN c.risk_paused_at IS NOT NULL THEN 'risk_paused' END
  FROM entrestate.campaigns c
  JOIN entrestate.tenants s ON s.tenant_id = t
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.status = 'pending') AS pending, count(*) FILTER (WHERE r.status = 'running') AS running,
      count(*) FILTER (WHERE r.status = 'suppressed') AS suppressed, count(*) FILTER (WHERE r.status = 'failed') AS failed,
      count(*) FILTER (WHERE r.status = 'done') AS done,
      count(*) FILTER (WHERE r.next_at <= entrestate.clock_now() AND NOT r.awaiting_go_live) AS due
    FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = c.campaign_id) n
  WHERE c.tenant_id = t ORDER BY c.created_at, c.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_queue() IS
'The tenant''s runs by campaign and status, how many are in flight or due, and why a queue is held. Capability: sender.read. (B7)';

GRANT EXECUTE ON FUNCTION sender_runs_of(uuid), sender_history(uuid, uuid), sender_queue(), sender_why(uuid) TO entrestate_app;
