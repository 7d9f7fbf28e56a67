-- What the measurements compare with: the event table without its guards, and two functions that
-- insert, alike but for the table. entrestate lets nobody make a function of entrestate_owner's,
-- so its event triggers are off for a moment; only a superuser can do that, and verify() tells.
SET client_min_messages = warning;
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec

-- the same columns, defaults, indexes and partitions; no row security, no trigger
CREATE SCHEMA plain;
CREATE TABLE plain.sender_events (LIKE entrestate.sender_events INCLUDING ALL) PARTITION BY RANGE (recorded_at);
SELECT format('CREATE TABLE plain.%I PARTITION OF plain.sender_events %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entrestate.sender_events'::regclass
ORDER BY 1 \gexec
-- and the same rows, so that the indexes are as deep
INSERT INTO plain.sender_events OVERRIDING SYSTEM VALUE SELECT * FROM entrestate.sender_events;
SELECT format('ALTER TABLE %s OWNER TO entrestate_owner', c.oid::regclass)
FROM pg_class c WHERE c.relnamespace = 'plain'::regnamespace AND c.relkind IN ('r', 'p') \gexec
GRANT USAGE ON SCHEMA plain, data TO bench_app, entrestate_owner;

CREATE PROCEDURE data.make_inserter(function_name text, target text) LANGUAGE plpgsql AS $make$
BEGIN
  -- rows like the processor's: many runs of one tenant, one instant
  EXECUTE format($f$
    CREATE FUNCTION data.%I(tenant uuid, campaign uuid, first bigint, n integer) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
      INSERT INTO %s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, channel,
        decided_at, next_at, sequence_version, template_version, policy_version)
      SELECT tenant, ('00000000-0000-7000-8000-' || lpad(to_hex(first + i), 12, '0'))::uuid, entrestate.clock_now(),
        campaign, 20::smallint, 5, 1::smallint, 0::smallint, 2::smallint, 1::smallint, entrestate.clock_now(),
        entrestate.clock_now(), 1, 1, 1
      FROM generate_series(1, n) i
    $$ $f$, function_name, target);
  EXECUTE format('ALTER FUNCTION data.%I OWNER TO entrestate_owner', function_name);
  EXECUTE format('GRANT EXECUTE ON FUNCTION data.%I TO bench_app', function_name);
END
$make$;
CALL data.make_inserter('insert_guarded', 'entrestate.sender_events');
CALL data.make_inserter('insert_plain', 'plain.sender_events');

SELECT format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ALTER DATABASE postgres SET entrestate.clock = '2026-03-01T12:00:00Z';
VACUUM ANALYZE;
