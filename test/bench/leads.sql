-- One tenant with :rows leads (names of a skewed distribution, a company, an email and their search
-- words), and intent_signals once more without its guards. In a database of its own.
SET client_min_messages = warning;
CREATE EXTENSION entrestate;
SELECT entrestate.migrate() \g /dev/null
SET entrestate.clock = '2026-03-01T12:00:00Z';
SELECT entrestate.upkeep() \g /dev/null
ALTER DATABASE leads SET entrestate.clock = '2026-03-01T12:00:00Z';
CREATE SCHEMA data;
SELECT entrestate.tenant_create('Bench', 'owner', 'sandbox') AS t \gset
CREATE TABLE data.tenant AS SELECT :'t'::uuid AS tenant_id;
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ALTER TABLE entrestate.lead_texts DISABLE TRIGGER guard_system_only;
DROP INDEX entrestate.lead_texts_words;
BEGIN;
SELECT entrestate.login(:'t', 'owner') \g /dev/null
SET LOCAL session_replication_role = replica;
CREATE TABLE data.lead AS
SELECT i, ('01950000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid AS lead_id,
  (ARRAY['Maria','José','Anna','John','Mohammed','Li','Fatima','Ivan','Sofia','Liam','Noah','Olga','Ahmed','Yuki','Chen','Priya',
    'Lucas','Emma','Omar','Zoë'])[1 + floor(20 * power(random(), 2))::int] AS first,
  'Sur' || to_hex(floor(40000 * power(random(), 3))::int) AS last,
  'Firm' || to_hex(floor(20000 * power(random(), 2))::int) AS firm
FROM generate_series(1, :rows) i;
INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, company, source, created_at, updated_at)
SELECT :'t', lead_id, first || ' ' || last, firm || ' Ltd', 'form', '2026-02-01Z'::timestamptz + i * interval '1 second', '2026-02-01Z'::timestamptz + i * interval '1 second'
FROM data.lead;
INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
SELECT :'t', lead_id, 'email', a, a, true, '2026-02-01Z' FROM (SELECT lead_id, lower(last) || '.' || i || '@example.com' AS a FROM data.lead) x;
INSERT INTO entrestate.lead_texts (tenant_id, lead_id, words)
SELECT :'t', lead_id, entrestate.search_vector(:'t', entrestate.search_words(concat_ws(' ', first, last, firm || ' Ltd', lower(last) || '.' || i || '@example.com')))
FROM data.lead;
COMMIT;
CREATE INDEX lead_texts_words ON entrestate.lead_texts USING gin (words);
ALTER TABLE entrestate.lead_texts ENABLE ALWAYS TRIGGER guard_system_only;
ALTER TABLE data.lead ADD PRIMARY KEY (i);

CREATE SCHEMA plain;
CREATE TABLE plain.intent_signals (LIKE entrestate.intent_signals INCLUDING ALL) PARTITION BY RANGE (recorded_at);
SELECT format('CREATE TABLE plain.%I PARTITION OF plain.intent_signals %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entrestate.intent_signals'::regclass ORDER BY 1 \gexec
CREATE TABLE plain.activity_events (LIKE entrestate.activity_events INCLUDING ALL) PARTITION BY RANGE (recorded_at);
SELECT format('CREATE TABLE plain.%I PARTITION OF plain.activity_events %s', c.relname, pg_get_expr(c.relpartbound, c.oid))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'entrestate.activity_events'::regclass ORDER BY 1 \gexec
CREATE TABLE plain.lead_scores (LIKE entrestate.lead_scores INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE plain.leads (LIKE entrestate.leads INCLUDING ALL) WITH (fillfactor = 80);
INSERT INTO plain.leads SELECT * FROM entrestate.leads;
SELECT format('ALTER TABLE %s OWNER TO entrestate_owner', c.oid::regclass)
FROM pg_class c WHERE c.relnamespace = 'plain'::regnamespace AND c.relkind IN ('r', 'p') \gexec
-- the same rows from the same arrays, and nothing else
CREATE FUNCTION data.insert_plain(leads uuid[], kinds text[], refs text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  INSERT INTO plain.intent_signals (tenant_id, lead_id, recorded_at, signal_no, occurred_at, kind, score, settings_version, counted, hot, reference)
  SELECT t.tenant_id, u.l, entrestate.clock_now(), (random() * 2000000000)::integer, entrestate.clock_now(),
    CASE u.k WHEN 'open' THEN 1 WHEN 'click' THEN 2 WHEN 'chat_message' THEN 3 ELSE 6 END, 4, 0, true, false, u.r
  FROM data.tenant t, unnest(leads, kinds, refs) AS u(l, k, r);
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END
$$;
ALTER FUNCTION data.insert_plain(uuid[], text[], text[]) OWNER TO entrestate_owner;
-- and all the rows that a signal writes: the score with what it is made of, the direction, the feed's event;
-- a signal counts whatever is there, and nothing is asked, locked or guarded
CREATE FUNCTION data.write_plain(leads uuid[], kinds text[], refs text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
  t uuid := (SELECT tenant_id FROM data.tenant);
  now timestamptz := entrestate.clock_now();
BEGIN
  PERFORM data.insert_plain(leads, kinds, refs);
  WITH signal AS (
    SELECT u.l, CASE u.k WHEN 'open' THEN 1 WHEN 'click' THEN 2 WHEN 'chat_message' THEN 3 ELSE 6 END::smallint AS kind,
      CASE u.k WHEN 'open' THEN 1 WHEN 'click' THEN 3 WHEN 'chat_message' THEN 4 ELSE 12 END AS weight, hashtextextended(u.r, 1) AS hash
    FROM unnest(leads, kinds, refs) AS u(l, k, r)
  ), stored AS (
    INSERT INTO plain.lead_scores AS c (tenant_id, lead_id, score, score_at, settings_version, last_signal_at, expires_at, signal_count, counted_kinds, counted_at, seen)
    SELECT t, x.l, sum(x.weight), now, 0, now, now + interval '30 days', count(*), array_agg(x.kind), array_agg(now), array_agg(x.hash) FROM signal x GROUP BY x.l
    ON CONFLICT (tenant_id, lead_id) DO UPDATE SET score = c.score + EXCLUDED.score, score_at = now, last_signal_at = now, signal_count = c.signal_count + EXCLUDED.signal_count,
      counted_kinds = c.counted_kinds || EXCLUDED.counted_kinds, counted_at = c.counted_at || EXCLUDED.counted_at, seen = c.seen || EXCLUDED.seen
    RETURNING c.lead_id, c.score)
  UPDATE plain.leads l SET direction = k.direction, updated_at = now
  FROM (SELECT x.ctid AS at, CASE WHEN s.score >= 21 THEN 'READY' WHEN s.score >= 10 THEN 'WARMING' ELSE 'EXPLORING' END AS direction
    FROM stored s CROSS JOIN LATERAL (SELECT y.ctid, y.direction FROM plain.leads y WHERE y.tenant_id = t AND y.lead_id = s.lead_id OFFSET 0) x
    WHERE x.direction <> CASE WHEN s.score >= 21 THEN 'READY' WHEN s.score >= 10 THEN 'WARMING' ELSE 'EXPLORING' END OFFSET 0) k
  WHERE l.ctid = k.at;
  INSERT INTO plain.activity_events (tenant_id, recorded_at, id, type, entity_type, entity_id, actor, payload)
  VALUES (t, now, entrestate.uuid_v7(), 'audience.signal.ingested', 'tenant', t::text, 'owner', jsonb_build_object('signals', cardinality(leads)));
  RETURN cardinality(leads);
END
$$;
ALTER FUNCTION data.write_plain(uuid[], text[], text[]) OWNER TO entrestate_owner;
GRANT USAGE ON SCHEMA data, plain TO bench_app, entrestate_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA data TO bench_app, entrestate_owner;
GRANT EXECUTE ON FUNCTION data.insert_plain(uuid[], text[], text[]), data.write_plain(uuid[], text[], text[]) TO bench_app;
-- 70 % opens, 20 % clicks, 9 % chat messages, 1 % replies
CREATE TABLE data.mix AS SELECT array_agg(CASE WHEN i % 100 < 70 THEN 'open' WHEN i % 100 < 90 THEN 'click' WHEN i % 100 < 99 THEN 'chat_message' ELSE 'reply' END ORDER BY i) AS kinds
FROM generate_series(0, 999) i;
GRANT SELECT ON data.mix TO bench_app;
SELECT format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
VACUUM ANALYZE;
