-- The demo's own schema: the leads as they were read, what people do and when, and notes. :seed decides
-- everything that is drawn, :step how far the clock moves at a time.
CREATE EXTENSION entrestate;
SELECT entrestate.migrate();

-- a gateway: an application that vouches for its users
SELECT 'CREATE ROLE demo_api LOGIN IN ROLE entrestate_app, entrestate_authenticator'
WHERE to_regrole('demo_api') IS NULL \gexec
-- reads all tenants' events, and changes nothing
SELECT 'CREATE ROLE demo_reader LOGIN IN ROLE entrestate_auditor' WHERE to_regrole('demo_reader') IS NULL \gexec

CREATE SCHEMA demo;
CREATE TABLE demo.settings AS SELECT :'seed'::bigint AS seed, :'step'::interval AS step, NULL::date AS first_day;
CREATE TABLE demo.leads (n integer PRIMARY KEY, tenant integer, id text, arrived timestamp, landing text, intent text, source text,
  name text, email text, phone text, consent text[], budget integer, at timestamptz, lead_id uuid);
CREATE TABLE demo.tenants (n integer PRIMARY KEY, tenant_id uuid, name text, web text, zone text);
CREATE TABLE demo.campaigns (tenant integer, intent text, campaign_id uuid, name text, PRIMARY KEY (tenant, intent));
-- what people do at their time: a day of the demo and an hour of the tenant's
CREATE TABLE demo.calendar (n integer GENERATED ALWAYS AS IDENTITY, tenant integer, day integer, hour time, what text, statement text,
  at timestamptz, said text);
-- reasons that sender_queue() gave for what was held
CREATE TABLE demo.seen (reason text PRIMARY KEY, at timestamptz, runs bigint);
CREATE TABLE demo.consumed (batch bigint, tenant_id uuid, lead_id uuid, recorded_at timestamptz, id bigint);
GRANT USAGE ON SCHEMA demo TO demo_api, demo_reader;
GRANT SELECT ON demo.settings, demo.leads, demo.tenants, demo.campaigns TO demo_api;
GRANT INSERT, SELECT, UPDATE ON demo.seen TO demo_api;
GRANT INSERT ON demo.consumed TO demo_reader;

-- A number from 0 to below 1 for something with a name; the seed decides it.
CREATE FUNCTION demo.chance(what text) RETURNS float8 LANGUAGE sql STABLE AS $$
  SELECT ('x' || substr(md5(s.seed || ' ' || what), 1, 12))::bit(48)::bigint / 281474976710656.0 FROM demo.settings s
$$;
