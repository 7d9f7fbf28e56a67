-- :rounds further campaigns for each tenant, all of whose leads have a run that waits: in a month, so that nothing
-- of it is due. Written past the functions and their guards, which would take an hour.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SET entrestate.clock = '2026-03-01T08:00:00Z';
CREATE FUNCTION data.further(n integer) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  r data.tenants;
  c uuid;
BEGIN
  SELECT * INTO r FROM data.tenants x WHERE x.n = further.n;
  PERFORM entrestate.login(r.tenant_id, 'owner');
  c := entrestate.campaign_create('Waiting');
  PERFORM entrestate.sequence_create(c, (SELECT jsonb_agg(jsonb_build_object('channel', 'email', 'template', x.template_id, 'delay', '60 days')) FROM entrestate.templates x WHERE x.tenant_id = r.tenant_id)),
    entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true);
  RETURN c;
END
$$;
CREATE TABLE data.waiting (tenant_id uuid, campaign_id uuid);
SELECT format('INSERT INTO data.waiting SELECT tenant_id, data.further(n) FROM data.tenants WHERE n = %s', n) FROM data.tenants, generate_series(1, :rounds) \gexec

SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ALTER TABLE entrestate.sender_runs DISABLE TRIGGER USER;
ALTER TABLE entrestate.sender_due DISABLE TRIGGER USER;
SET session_replication_role = replica;
INSERT INTO entrestate.sender_runs (tenant_id, campaign_id, lead_id, version, mode, next_at, first_due_at, created_at, updated_at)
SELECT w.tenant_id, w.campaign_id, l.lead_id, 1, 'sandbox', '2026-04-30 08:00Z', '2026-04-30 08:00Z', '2026-03-01 08:00Z', '2026-03-01 08:00Z'
FROM data.waiting w JOIN entrestate.leads l ON l.tenant_id = w.tenant_id;
INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
SELECT r.tenant_id, r.campaign_id, 1, 0, '2026-04-30 08:00Z', array_agg(r.lead_id ORDER BY r.lead_id)
FROM (SELECT x.*, row_number() OVER (PARTITION BY x.tenant_id, x.campaign_id ORDER BY x.lead_id) AS no FROM entrestate.sender_runs x JOIN data.waiting w USING (tenant_id, campaign_id)) r
GROUP BY r.tenant_id, r.campaign_id, r.no / 100;
RESET session_replication_role;
ALTER TABLE entrestate.sender_runs ENABLE TRIGGER USER;
ALTER TABLE entrestate.sender_due ENABLE TRIGGER USER;
-- they fire always, as guard_triggers() has it
SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard_system_only', t) FROM unnest('{entrestate.sender_runs,entrestate.sender_due}'::regclass[]) t \gexec
SELECT format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
VACUUM ANALYZE entrestate.sender_runs, entrestate.sender_due, entrestate.campaigns;
