-- The demo's own schema: the leads as they were read, and notes.
CREATE EXTENSION pg_cron;
CREATE EXTENSION entrestate;
SELECT entrestate.migrate();

-- a gateway: an application that vouches for its users
CREATE ROLE demo_api LOGIN IN ROLE entrestate_app, entrestate_authenticator;
-- reads all tenants' events, and changes nothing
CREATE ROLE demo_reader LOGIN IN ROLE entrestate_auditor;

CREATE SCHEMA demo;
CREATE TABLE demo.leads (n integer PRIMARY KEY, tenant integer, id text, arrived date, landing text,
  intent text, source text, email text, phone text);
CREATE INDEX ON demo.leads (arrived, tenant);
CREATE TABLE demo.tenants (n integer PRIMARY KEY, tenant_id uuid, name text, member text);
CREATE TABLE demo.campaigns (tenant integer, intent text, campaign_id uuid, PRIMARY KEY (tenant, intent));
CREATE TABLE demo.consumed (batch bigint, tenant_id uuid, lead_id uuid, recorded_at timestamptz, id bigint);
GRANT USAGE ON SCHEMA demo TO demo_api, demo_reader;
GRANT SELECT ON demo.leads, demo.tenants, demo.campaigns TO demo_api;
GRANT INSERT ON demo.consumed TO demo_reader;

CREATE FUNCTION demo.progress() RETURNS text LANGUAGE sql AS $$
  SELECT format('   %s %s %s %s %s', rpad(to_char(entrestate.clock_now(), 'DD Mon YYYY'), 12),
    lpad((SELECT count(*) FROM entrestate.leads)::text, 9), lpad((SELECT count(*) FROM entrestate.sender_runs)::text, 9),
    lpad(count(*) FILTER (WHERE y.name = 'sender.step.sent')::text, 9),
    lpad(count(*) FILTER (WHERE y.name = 'sender.step.skipped')::text, 9))
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
$$;
