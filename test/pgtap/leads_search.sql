-- lead_search() looks in different places for words that few, many and most leads have: whatever it is, a page is the
-- newest leads that have all the words and fit. Of a tenant whose words are too many to be all found and sorted.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT entrestate.tenant_create('Large', 'owner', 'sandbox') AS t, entrestate.tenant_create('Other', 'owner', 'sandbox') AS other \gset
-- the leads as an import would leave them, past the guards, since that takes a minute
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ALTER TABLE entrestate.lead_texts DISABLE TRIGGER guard_system_only;
CREATE TABLE public.made AS
SELECT i, ('01950000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid AS lead_id,
  concat_ws(' ', 'Common', CASE WHEN i % 2 = 0 THEN 'half' END, CASE WHEN i % 30 = 0 THEN 'thirtieth' END, CASE WHEN i % 1000 = 0 THEN 'rare' END,
    CASE WHEN i <= 12000 THEN 'older' END, 'n' || i) AS words,
  CASE WHEN i <= 300 THEN 'booked' WHEN i % 7 = 0 THEN 'lost' ELSE 'new' END AS status,
  CASE WHEN i % 11 = 0 THEN 'owner' END AS owner_id, i % 5000 = 1 AS tagged
FROM generate_series(1, 24000) i;
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, status, owner_id, source, created_at, updated_at)
SELECT t.id::uuid, lead_id, words, status, owner_id, 'form', '2026-02-01Z', '2026-02-01Z' FROM public.made, (VALUES (:'t', 24000), (:'other', 10)) t(id, n) WHERE i <= n;
INSERT INTO entrestate.lead_texts (tenant_id, lead_id, words)
SELECT t.id::uuid, lead_id, entrestate.search_vector(t.id::uuid, entrestate.search_words(words)) FROM public.made, (VALUES (:'t', 24000), (:'other', 10)) t(id, n) WHERE i <= n;
INSERT INTO entrestate.lead_tags (tenant_id, lead_id, tag) SELECT :'t', lead_id, 'seen' FROM public.made WHERE tagged;
COMMIT;
ALTER TABLE entrestate.lead_texts ENABLE ALWAYS TRIGGER guard_system_only;
SELECT format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
ANALYZE;

CREATE TEMP TABLE asked AS
SELECT row_number() OVER () AS no, w.*, s.*, o.*, g.*, b.*, m.*
FROM (VALUES ('common', '{common}'::text[]), ('half', '{half}'), ('thirtieth', '{thirtieth}'), ('rare', '{rare}'), ('older', '{older}'), ('n77', '{n77}'),
    ('older half', '{older,half}'), ('rare older', '{rare,older}'), ('nobody', '{nobody}')) w(query, words),
  (VALUES (NULL), ('booked'), ('lost')) s(status), (VALUES (NULL), ('owner')) o(owner), (VALUES (NULL), ('seen')) g(tag),
  (VALUES (NULL), (1), (500), (13000)) b(before), (VALUES (1), (50), (1000)) m(most);
BEGIN;
SELECT entrestate.login(:'t', 'owner') \g /dev/null
CREATE TEMP TABLE answered AS
SELECT a.no, ARRAY(SELECT s.lead_id FROM entrestate.lead_search(a.query, a.status, NULL, a.tag, a.owner,
  (SELECT m.lead_id FROM public.made m WHERE m.i = a.before), a.most) s) AS page FROM asked a;
COMMIT;
CREATE TEMP TABLE hit AS
SELECT q.query, m.* FROM (SELECT DISTINCT query, words FROM asked) q JOIN public.made m ON (SELECT bool_and(lower(m.words) ~ ('\m' || w)) FROM unnest(q.words) w);
CREATE INDEX ON hit (query, i);
CREATE TEMP TABLE wanted AS
SELECT a.no, ARRAY(SELECT h.lead_id FROM hit h WHERE h.query = a.query AND (a.status IS NULL OR h.status = a.status) AND (a.owner IS NULL OR h.owner_id = a.owner)
    AND (a.tag IS NULL OR h.tagged) AND (a.before IS NULL OR h.i < a.before) ORDER BY h.i DESC LIMIT a.most) AS page FROM asked a;

SELECT plan(5);
SELECT is((SELECT count(*) FROM wanted), 1296::bigint, 'many questions');
SELECT cmp_ok((SELECT count(*) FROM wanted WHERE cardinality(page) BETWEEN 1 AND 999), '>', 200::bigint, 'with answers of which many are short');
SELECT results_eq('SELECT no, page FROM answered ORDER BY no', 'SELECT no, page FROM wanted ORDER BY no', 'each has the page that it should');
BEGIN;
SELECT entrestate.login(:'other', 'owner') \g /dev/null
SELECT is((SELECT count(*) FROM entrestate.lead_search('common', max_rows => 1000)), 10::bigint, 'another tenant finds its own');
SELECT is((SELECT count(*) FROM entrestate.lead_search('rare')), 0::bigint, 'and nothing else');
COMMIT;
SELECT * FROM finish();
