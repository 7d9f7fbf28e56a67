-- :tenants sandbox tenants with a campaign of twenty steps a day apart and :leads leads each, a hundred of which
-- came at a time; and the sender's tables once more without guards, keys and indexes alike. In a database of
-- its own.
SET client_min_messages = warning;
CREATE EXTENSION pgstattuple;
CREATE EXTENSION entrestate;
SELECT entrestate.migrate() \g /dev/null
SET entrestate.clock = '2026-03-01T08:00:00Z';
SELECT entrestate.upkeep() \g /dev/null
CREATE SCHEMA data;
CREATE TABLE data.tenants (n integer PRIMARY KEY, tenant_id uuid, campaign_id uuid);
CREATE FUNCTION data.make(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid := entrestate.tenant_create('Bench ' || n, 'owner', 'sandbox', (ARRAY['America/Toronto', 'Europe/Berlin', 'Asia/Dubai'])[1 + n % 3]);
  m uuid;
  c uuid;
BEGIN
  PERFORM entrestate.login(t, 'owner'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true);
  m := entrestate.template_create('Hello', 'email', 'Good to meet you.', 'Hello');
  PERFORM entrestate.template_status_set(m, 1, 'approved');
  c := entrestate.campaign_create('Bench');
  PERFORM entrestate.sequence_create(c, (SELECT jsonb_agg(jsonb_build_object('channel', 'email', 'template', m, 'delay', '1 day')) FROM generate_series(1, 20))),
    entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true, runs_on_import => true),
    -- every gate has something to look at
    entrestate.agent_settings_set(c, windows => '[{"from": "00:00", "to": "23:59"}]', caps => '[{"max": 100, "per": "7 days"}]');
  INSERT INTO data.tenants VALUES (n, t, c);
END
$$;
CREATE FUNCTION data.import(tenant integer, part integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r data.tenants;
BEGIN
  SELECT * INTO r FROM data.tenants x WHERE x.n = tenant;
  PERFORM entrestate.login(r.tenant_id, 'owner'), entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'Lead ' || i,
    'email', format('lead%s.%s@example.com', part, i))) FROM generate_series(1, 100) i), r.campaign_id);
END
$$;
SELECT format('BEGIN; SELECT data.make(%s); COMMIT', n) FROM generate_series(1, :tenants) n \gexec
SELECT format('BEGIN; SET LOCAL entrestate.clock = %L; SELECT data.import(%s, %s); COMMIT', timestamptz '2026-03-01T08:00:00Z' + p * interval '1 minute', n, p)
FROM generate_series(1, :leads / 100) p, generate_series(1, :tenants) n \gexec
VACUUM ANALYZE;

CREATE SCHEMA plain;
SELECT format('CREATE TABLE plain.%I (LIKE entrestate.%1$I INCLUDING ALL) %s', t, CASE t WHEN 'sender_events' THEN 'PARTITION BY RANGE (recorded_at)' ELSE w END)
FROM (VALUES ('sender_runs', 'WITH (fillfactor = 45)'), ('sender_due', ''), ('sender_intents', 'WITH (fillfactor = 80)'), ('sender_events', '')) v(t, w) \gexec
SELECT format('CREATE TABLE plain.%I PARTITION OF plain.sender_events %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entrestate.sender_events'::regclass ORDER BY 1 \gexec
CREATE TABLE plain.due_one (tenant_id uuid, campaign_id uuid, due_at timestamptz, lead_id uuid, PRIMARY KEY (tenant_id, campaign_id, due_at, lead_id));
INSERT INTO plain.sender_runs SELECT * FROM entrestate.sender_runs;
INSERT INTO plain.due_one SELECT tenant_id, campaign_id, next_at, lead_id FROM entrestate.sender_runs;
VACUUM ANALYZE plain.sender_runs, plain.due_one;
-- the rows of a batch of a thousand steps and nothing else: no gate, no lock, no guard, no row security
CREATE FUNCTION data.step_plain(tenant uuid, now timestamptz) RETURNS integer LANGUAGE plpgsql
-- each row by its key, once
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  n integer;
BEGIN
  WITH d AS MATERIALIZED (
    DELETE FROM plain.due_one w WHERE w.ctid = ANY (ARRAY(
      SELECT x.ctid FROM plain.due_one x
      WHERE x.tenant_id = tenant AND x.due_at <= now ORDER BY x.campaign_id, x.due_at, x.lead_id LIMIT 1000))
    RETURNING w.*
  ), u AS MATERIALIZED (
    UPDATE plain.sender_runs r SET cursor = r.cursor + 1, status = 'running', next_at = now + interval '1 day', first_due_at = now + interval '1 day',
      run_seq = r.run_seq + 1, sent_steps = r.sent_steps + 1, updated_at = now, last_outcome_at = now
    FROM d WHERE r.tenant_id = tenant AND r.campaign_id = d.campaign_id AND r.lead_id = d.lead_id RETURNING r.*
  ), e AS (
    INSERT INTO plain.sender_events (tenant_id, recorded_at, decided_at, lead_id, campaign_id, epoch, type, run_seq, step, attempt, mode, channel, next_at,
      sequence_version, template_version, policy_version, score, hot, cap_count)
    SELECT tenant, now, now, u.lead_id, u.campaign_id, 1, 10, u.run_seq, u.cursor - 1, 0, 2, 1, u.next_at, 1, 1, 1, 0, false, 0 FROM u
  ), i AS (
    INSERT INTO plain.sender_intents (tenant_id, campaign_id, lead_id, step, attempt, status, provider, template_id, template_version, mode, channel,
      not_before, created_at, started_at, final_at)
    SELECT tenant, u.campaign_id, u.lead_id, u.cursor - 1, 0, 'sent', 'sandbox', tenant, 1, 'sandbox', 'email', now, now, now, now FROM u
  ), q AS (
    INSERT INTO plain.due_one SELECT tenant, u.campaign_id, u.next_at, u.lead_id FROM u
  )
  SELECT count(*) INTO n FROM u;
  RETURN n;
END
$$;
CREATE PROCEDURE data.process_plain(now timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  t uuid;
  n integer;
BEGIN
  LOOP
    n := 0;
    FOR t IN SELECT tenant_id FROM data.tenants ORDER BY 1 LOOP
      n := n + data.step_plain(t, now);
      COMMIT;
    END LOOP;
    EXIT WHEN n = 0;
  END LOOP;
END
$$;
