-- Much data, the same each time: 100 tenants, one of them with 30 % of the rows, one with 20 %.
--
--   psql -v rows=1000000 -v all=1 -f test/bench/dataset.sql     all=0: leads and sender_events only
--
-- For a new database, as a superuser. The rows do not come from the functions, which would take
-- hours: the event triggers and the guards that ask who writes are off meanwhile, and on again at
-- the end. What the functions promise about the rows (a run equals the fold of its events, say)
-- does not hold.
-- Afterwards data.tenants and data.campaigns say what there is; the clock is 2026-03-01T12:00:00Z.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SET entrestate.clock = '2026-03-01T12:00:00Z';
SELECT entrestate.upkeep(2, 1) AS made \gset
SELECT :all = 1 AS all \gset

CREATE SCHEMA data;
CREATE TABLE data.tenants (n integer PRIMARY KEY, tenant_id uuid NOT NULL, campaigns integer NOT NULL);
CREATE TABLE data.campaigns (n integer, k integer, campaign_id uuid NOT NULL, PRIMARY KEY (n, k));
CREATE TABLE data.templates (n integer PRIMARY KEY, template_id uuid NOT NULL);

-- how row i is spread: tenant, campaign and lead
CREATE FUNCTION data.tenant_of(i bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
  CASE WHEN i * 7919 % 1000 < 300 THEN 1 WHEN i * 7919 % 1000 < 500 THEN 2 ELSE 3 + i % 98 END;
CREATE FUNCTION data.lead(i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
  ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid;
CREATE FUNCTION data.at(i bigint, of bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
  timestamptz '2026-01-01 00:00:00+00' + i * 59.0 / of * interval '1 day';
-- as if many transactions had written them; a new cluster begins above these
CREATE FUNCTION data.txid(i bigint, of bigint) RETURNS xid8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
  (3 + i * 600 / of)::text::xid8;

DO $$
DECLARE
  t uuid;
  m uuid;
  c uuid;
BEGIN
  FOR n IN 1 .. 100 LOOP
    t := entrestate.tenant_create(format('Tenant %s', n), 'owner', 'sandbox');
    PERFORM entrestate.login(t, 'owner');
    PERFORM entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true);
    m := entrestate.template_create('Hello', 'email', 'Text', 'Subject');
    PERFORM entrestate.template_status_set(m, 1, 'approved');
    INSERT INTO data.tenants VALUES (n, t, CASE WHEN n <= 2 THEN 10 ELSE 2 END);
    INSERT INTO data.templates VALUES (n, m);
    FOR k IN 0 .. CASE WHEN n <= 2 THEN 9 ELSE 1 END LOOP
      c := entrestate.campaign_create(format('Campaign %s', k));
      PERFORM entrestate.sequence_publish(c, entrestate.sequence_create(c, (
        SELECT jsonb_agg(jsonb_build_object('channel', 'email', 'template', m, 'delay', '2 days')) FROM generate_series(1, 3))));
      PERFORM entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true);
      INSERT INTO data.campaigns VALUES (n, k, c);
    END LOOP;
  END LOOP;
END
$$;

CREATE VIEW data.rows AS
SELECT i, t.n, t.tenant_id, c.campaign_id, data.lead(i) AS lead_id
FROM generate_series(0, (:rows - 1)::bigint) i
JOIN data.tenants t ON t.n = data.tenant_of(i)
JOIN data.campaigns c ON c.n = t.n AND c.k = i / 7 % t.campaigns;

-- switches the guards of what the system alone writes
CREATE PROCEDURE data.guards(doing text) LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing = 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', r.evtname);
  END LOOP;
  FOR r IN SELECT tgrelid::regclass AS t FROM pg_trigger WHERE tgname = 'guard_system_only'
           AND tgrelid::regclass::text ~ '^entrestate\.(sender_(events|runs|due|intents)|activity_events|audit_log|login_audit)$' LOOP
    EXECUTE format('ALTER TABLE %s %s TRIGGER guard_system_only', r.t, doing);
  END LOOP;
  FOR r IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' AND doing <> 'DISABLE' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', r.evtname);
  END LOOP;
END
$$;
CALL data.guards('DISABLE');
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO entrestate.leads (tenant_id, lead_id, campaign_id, full_name, company, direction, source,
  idempotency_key, created_at, updated_at)
SELECT tenant_id, lead_id, campaign_id, 'Person ' || i, 'Company ' || i % 1000,
  ('{NOISE,NOISE,NOISE,EXPLORING,EXPLORING,WARMING,READY,RISK}'::text[])[1 + i / 3 % 8], 'form',
  'key-' || i, data.at(i, :rows), data.at(i, :rows)
FROM data.rows;

-- four events of every fourth lead
INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt,
  mode, channel, decided_at, next_at, sequence_version, template_version, policy_version, txid)
SELECT r.tenant_id, r.lead_id, data.at(e, :rows), r.campaign_id, y.codes[1 + e % 4], 1 + e % 4,
  nullif(e % 4 - 1, -1), nullif(0, e % 4), 2, nullif(1, e % 4 + 1), data.at(e, :rows), data.at(e, :rows) + '2 days', 1, 1, 1,
  data.txid(e, :rows)
FROM data.rows r CROSS JOIN generate_series(r.i, r.i + 3) e
CROSS JOIN (SELECT array_agg(code ORDER BY code) AS codes FROM entrestate.sender_event_types()) y
WHERE r.i % 4 = 0 ORDER BY e;

\if :all
INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
SELECT tenant_id, lead_id, 'email', a, a, true, data.at(i, :rows)
FROM (SELECT *, 'person.' || i || '@example.com' AS a FROM data.rows) r;

INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at, landing_page, resolved_by)
SELECT tenant_id, lead_id, campaign_id, data.at(i, :rows), 'page', 'campaign_id' FROM data.rows;

-- a tenth of the runs is open, some two thousand of them due
INSERT INTO entrestate.sender_runs (tenant_id, campaign_id, lead_id, version, cursor, status, mode, next_at,
  first_due_at, run_seq, sent_steps, created_at, updated_at, ended_at)
SELECT tenant_id, campaign_id, lead_id, 1, CASE s WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 3 END, s, 'sandbox',
  next_at, next_at, 4, CASE s WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 3 END,
  data.at(i, :rows), data.at(i, :rows), CASE WHEN next_at IS NULL THEN data.at(i, :rows) END
FROM (SELECT *, ('{pending,running,suppressed,failed}'::text[] || array_fill('done'::text, ARRAY[16]))[1 + i % 20] AS s
      FROM data.rows) r
CROSS JOIN LATERAL (SELECT CASE WHEN s IN ('pending', 'running') THEN timestamptz '2026-03-01 12:00:00+00'
  + CASE WHEN i / 20 % greatest(:rows / 20000, 1) = 0 THEN -1 ELSE i % 700 + 1 END * interval '1 hour' END AS next_at) d;

INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
SELECT tenant_id, campaign_id, version, cursor, next_at, array_agg(lead_id ORDER BY lead_id)
FROM (SELECT *, (row_number() OVER (PARTITION BY tenant_id, campaign_id, version, cursor, next_at ORDER BY lead_id) - 1) / 100 AS chunk
      FROM entrestate.sender_runs WHERE next_at IS NOT NULL) r
GROUP BY tenant_id, campaign_id, version, cursor, next_at, chunk;

INSERT INTO entrestate.sender_intents (tenant_id, campaign_id, lead_id, step, attempt, status, mode, channel, provider,
  template_id, template_version, not_before, created_at, started_at, final_at)
SELECT r.tenant_id, r.campaign_id, r.lead_id, 0, 0, CASE WHEN r.i % 200 = 20 THEN 'ready' ELSE 'sent' END, 'sandbox',
  'email', 'sandbox', m.template_id, 1, data.at(i, :rows), data.at(i, :rows),
  CASE WHEN r.i % 200 <> 20 THEN data.at(i, :rows) END, CASE WHEN r.i % 200 <> 20 THEN data.at(i, :rows) END
FROM data.rows r JOIN data.templates m USING (n) WHERE r.i % 2 = 0 AND r.i % 20 > 1;

INSERT INTO entrestate.activity_events (tenant_id, recorded_at, id, type, entity_type, entity_id, campaign_id, actor, payload, txid)
SELECT tenant_id, data.at(i, :rows), entrestate.uuid_v7(), 'lead.created', 'lead', lead_id::text,
  CASE WHEN i % 3 > 0 THEN campaign_id END, 'owner', '{}', data.txid(i, :rows) FROM data.rows;

INSERT INTO entrestate.audit_log (tenant_id, recorded_at, id, action, actor, member_role, login_role, target_type, target_id, detail)
SELECT tenant_id, data.at(i, :rows), entrestate.uuid_v7(), 'lead.update', 'owner', 'owner', 'app', 'lead', lead_id::text, '{}'
FROM data.rows WHERE i % 2 = 0;

INSERT INTO entrestate.login_audit (tenant_id, recorded_at, id, user_id, event)
SELECT tenant_id, data.at(i, :rows), entrestate.uuid_v7(), 'owner', 'login.succeeded' FROM data.rows WHERE i % 4 = 0;
\endif
RESET session_replication_role;
CALL data.guards('ENABLE ALWAYS');
VACUUM ANALYZE;
