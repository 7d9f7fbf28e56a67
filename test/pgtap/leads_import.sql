-- Imports: every row is imported, a duplicate, or refused with a reason; nothing is lost on the way.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
DO $$ BEGIN PERFORM flow.make('a', '{email 0}'), flow.make('b', '{email 0}'), flow.enter('a'); END $$;
SELECT campaign AS c, tenant AS t FROM flow.tenant WHERE name = 'a' \gset
SELECT entrestate.tenant_update(country => 'CA') \g /dev/null

-- A report in brief: "1 imported, 2 refused invalid_email"; what is stored must agree with it.
CREATE TABLE public.report (import_id uuid, row_no integer, outcome text, lead_id uuid, reason text);
CREATE FUNCTION pg_temp.brief() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  i jsonb;
BEGIN
  FOR i IN SELECT entrestate.lead_import_get(r.import_id) FROM public.report r GROUP BY r.import_id LOOP
    IF ((i ->> 'row_count')::bigint, (i ->> 'imported')::bigint, (i ->> 'duplicate')::bigint, (i ->> 'refused')::bigint, i -> 'reasons')
        IS DISTINCT FROM (SELECT (count(*), count(*) FILTER (WHERE r.outcome = 'imported'), count(*) FILTER (WHERE r.outcome = 'duplicate'),
          count(*) FILTER (WHERE r.outcome = 'refused'),
          (SELECT coalesce(jsonb_object_agg(s.reason, s.n), '{}') FROM (SELECT x.reason, count(*) AS n FROM public.report x
             WHERE x.reason IS NOT NULL GROUP BY 1) s)) FROM public.report r) THEN
      RETURN 'the counts differ from the report: ' || i;
    ELSIF (i ->> 'row_count')::integer <> (i ->> 'imported')::integer + (i ->> 'duplicate')::integer + (i ->> 'refused')::integer THEN
      RETURN 'the counts do not add up: ' || i;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM public.report r WHERE (r.outcome = 'refused') <> (r.reason IS NOT NULL) OR (r.outcome = 'refused') <> (r.lead_id IS NULL)) THEN
    RETURN 'a row is refused without a reason, or has both a reason and a lead';
  ELSIF (SELECT count(r.lead_id) FROM public.report r) <> (SELECT count(*) FROM public.report r JOIN entrestate.leads l ON l.lead_id = r.lead_id) THEN
    RETURN 'a lead of the report is not there';
  END IF;
  RETURN (SELECT string_agg(format('%s %s', r.row_no, r.outcome) || coalesce(' ' || r.reason, ''), ', ' ORDER BY r.row_no) FROM public.report r);
END
$$;
CREATE FUNCTION pg_temp.json(rows jsonb, campaign uuid DEFAULT NULL, country text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE public.report;
  INSERT INTO public.report SELECT * FROM entrestate.lead_import(rows, campaign, country => country);
  RETURN pg_temp.brief();
END
$$;
CREATE FUNCTION pg_temp.csv(file bytea, columns jsonb DEFAULT NULL, delimiter text DEFAULT ',', country text DEFAULT NULL, campaign uuid DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE public.report;
  INSERT INTO public.report SELECT * FROM entrestate.lead_import_csv(file, columns, delimiter, campaign, country => country);
  RETURN pg_temp.brief();
END
$$;
CREATE FUNCTION pg_temp.csv(file text, columns jsonb DEFAULT NULL, delimiter text DEFAULT ',', country text DEFAULT NULL, campaign uuid DEFAULT NULL) RETURNS text
LANGUAGE sql AS $$ SELECT pg_temp.csv(convert_to(file, 'UTF8'), columns, delimiter, country, campaign) $$;
-- The lead of a row: name, contact points (the primary ones with a star), and what else is asked for.
CREATE FUNCTION pg_temp.lead(no integer) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', l.full_name, (SELECT string_agg(c.address_norm || CASE WHEN c.is_primary THEN '*' ELSE '' END, ' ' ORDER BY c.kind, c.is_primary DESC, c.address_norm)
    FROM entrestate.lead_contacts c WHERE c.lead_id = l.lead_id)) FROM entrestate.leads l JOIN public.report r USING (lead_id) WHERE r.row_no = $1
$$;
CREATE FUNCTION pg_temp.of(no integer) RETURNS entrestate.leads LANGUAGE sql AS $$
  SELECT l FROM entrestate.leads l JOIN public.report r USING (lead_id) WHERE r.row_no = $1
$$;
-- Everything the tenant has but for the imports' own records.
CREATE FUNCTION pg_temp.digest() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t text;
  d text;
  everything text := '';
BEGIN
  FOREACH t IN ARRAY '{leads,lead_contacts,lead_attributions,unresolved_attributions,lead_texts,lead_scores,sender_runs,sender_due,sender_events}'::text[] LOOP
    EXECUTE format('SELECT md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM entrestate.%I x', t) INTO d;
    everything := everything || t || ' ' || coalesce(d, 'none') || E'\n';
  END LOOP;
  RETURN everything || (SELECT count(*) FROM entrestate.activity_events WHERE type <> 'leads.imported');
END
$$;

-- ---------------------------------------------------------------- addresses

SELECT is(pg_temp.json('[{"email": " Ann.Bell@EXAMPLE.Com "}, {"email": "ann.bell@example.com"}, {"email": "Jörg@Bücher.Example"},
  {"email": "JÖRG@xn--bcher-kva.example"}, {"email": "nobody"}, {"email": "a@b@c"}, {"phone": "12"}]'),
  '1 imported, 2 duplicate, 3 imported, 4 duplicate, 5 refused invalid_email, 6 refused invalid_email, 7 refused invalid_phone', 'addresses in any case and script');
SELECT is(pg_temp.lead(1), 'ann.bell@example.com*', 'stored normalised');
SELECT is((SELECT address FROM entrestate.lead_contacts c JOIN public.report r USING (lead_id) WHERE r.row_no = 1), 'Ann.Bell@EXAMPLE.Com', 'and as given');
SELECT is(pg_temp.lead(3), 'jörg@xn--bcher-kva.example*', 'the domain in ASCII');
-- the tenant is Canadian; the call's country goes before, the row's before that, a + before all
SELECT is(pg_temp.json('[{"phone": "(416) 555-0123"}, {"phone": "020 7946 0958", "country": "gb"}, {"phone": "+971 50 123 4567"}, {"phone": "4165550123"}]'),
  '1 imported, 2 imported, 3 imported, 4 duplicate', 'national numbers');
SELECT is(pg_temp.lead(1) || ' ' || pg_temp.lead(2) || ' ' || pg_temp.lead(3), '+14165550123* +442079460958* +971501234567*', 'in E.164');
SELECT is(pg_temp.json('[{"phone": "050 123 4568"}, {"phone": "(416) 555-0124", "country": "CA"}]', country => 'AE'), '1 imported, 2 imported', 'of the call''s country');
SELECT is(pg_temp.lead(1) || ' ' || pg_temp.lead(2), '+971501234568* +14165550124*', 'or the row''s');
SELECT is(pg_temp.json('[{"phone": "+14165550125", "country": "Canada"}, {"phone": "+14165550125", "country": ""}]'), '1 refused invalid_country, 2 imported', 'a country is two letters, or nothing');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import('[{}]', country => 'Canada') $$, '22023', NULL, 'that of the call, too');
SELECT is(pg_temp.json('[{"full_name": "Many", "email": ["m1@example.com", "", "M2@example.com", "m1@example.com", null], "phone": ["+14165550126", "+14165550127"]}]'), '1 imported', 'several addresses');
SELECT is(pg_temp.lead(1), 'Many m1@example.com* m2@example.com +14165550126* +14165550127', 'the first of each kind is primary');
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object('email', (SELECT jsonb_agg('n' || g || '@example.com') FROM generate_series(1, 20) g)),
    jsonb_build_object('email', (SELECT jsonb_agg('o' || g || '@example.com') FROM generate_series(1, 21) g)))), '1 imported, 2 refused too_many_emails', 'at most twenty: none is dropped silently');

-- ---------------------------------------------------------------- rows that are no leads

SELECT is(pg_temp.json('[1, "x", null, [], [{"email": "x@example.com"}], true, {}, {"company": "Ltd"}, {"full_name": "  "}, {"full_name": "Just a name"}, {"idempotency_key": "just-a-key"}]'),
  '1 refused not_an_object, 2 refused not_an_object, 3 refused not_an_object, 4 refused not_an_object, 5 refused not_an_object, 6 refused not_an_object, '
  '7 refused nothing_to_know_it_by, 8 refused nothing_to_know_it_by, 9 refused nothing_to_know_it_by, 10 imported, 11 imported', 'rows that are no objects, or empty');
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object(k, '{"x": 1}'::jsonb, 'idempotency_key', 'nested'))), '1 refused ' || k || '_not_a_text', k || ' is no object')
FROM unnest('{full_name,company,email,phone,country,time_zone,campaign,arrived_at}'::text[]) k;
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object(k, '["x"]'::jsonb, 'email', 'nested@example.com'))), '1 refused ' || k || '_not_a_text', k || ' is no array')
FROM unnest('{full_name,company,country,time_zone,campaign,arrived_at,idempotency_key}'::text[]) k;
SELECT is(pg_temp.json('[{"email": "w@example.com", "custom": 5}, {"email": "w@example.com", "attribution": "x"}, {"email": {"a": 1}}, {"email": [["a@example.com"]]}]'),
  '1 refused custom_not_an_object, 2 refused attribution_not_an_object, 3 refused email_not_a_text, 4 refused invalid_email', 'other types');
SELECT is(pg_temp.json('[{"email": "num@example.com", "full_name": 5, "company": true, "phone": 14165550128, "time_zone": null}]', country => 'CA'), '1 imported', 'numbers and booleans are read as text');
SELECT is(pg_temp.lead(1) || ' ' || (pg_temp.of(1)).company, '5 num@example.com* +14165550128* true', 'as they are written');
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object('email', 'l1@example.com', 'full_name', repeat('é', 200)), jsonb_build_object('email', 'l2@example.com', 'full_name', repeat('é', 201)),
    jsonb_build_object('email', 'l3@example.com', 'company', repeat('x', 201)), jsonb_build_object('idempotency_key', repeat('k', 251)),
    jsonb_build_object('email', repeat('x', 400) || '@example.com'), jsonb_build_object('email', 'l4@example.com', 'notes', repeat('x', 5 * 1024 * 1024)),
    jsonb_build_object('full_name', E'a\x07b'), jsonb_build_object('email', 'l5@example.com', 'note', E'a\x01b'))),
  '1 imported, 2 refused full_name_too_long, 3 refused company_too_long, 4 refused idempotency_key_too_long, 5 refused invalid_email, 6 refused custom_too_large, '
  '7 refused control_characters, 8 refused control_characters', 'what is too long, 5 MB of it, or unprintable');
SELECT is(pg_temp.json('[{"email": "u@example.com", "Budget": 5, "tags": ["a"], "empty": null, "custom": {"Budget": 4, "own": {"x": 1}}}]'), '1 imported', 'other keys');
SELECT is((pg_temp.of(1)).custom, '{"own": {"x": 1}, "tags": ["a"], "Budget": 5}', 'become custom fields');
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object('email', 'u2@example.com', repeat('k', 101), 1))), '1 refused custom_name_too_long', 'of at most 100 characters');
SELECT is(pg_temp.json('[{"email": "z1@example.com", "time_zone": "Asia/Dubai"}, {"email": "z2@example.com", "time_zone": "Mars/Olympus"}, {"email": "z3@example.com", "time_zone": "UTC+3"}, {"email": "z4@example.com", "time_zone": "UTC"}]'),
  '1 imported, 2 refused invalid_time_zone, 3 refused invalid_time_zone, 4 imported', 'time zones');

-- ---------------------------------------------------------------- when they came

CREATE FUNCTION pg_temp.instant(given text, zone text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF pg_temp.json(jsonb_build_array(jsonb_build_object('full_name', 'At', 'arrived_at', given, 'time_zone', zone))) <> '1 imported' THEN
    RETURN (SELECT reason FROM public.report);
  END IF;
  RETURN to_char((pg_temp.of(1)).created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US');
END
$$;
SELECT is(pg_temp.instant(given, zone), wanted, concat_ws(' in ', given, zone)) FROM (VALUES
  ('2026-01-03', NULL, '2026-01-03 05:00:00.000000'), ('2026-01-03', 'Asia/Dubai', '2026-01-02 20:00:00.000000'),
  ('2026-01-03T12:34', NULL, '2026-01-03 17:34:00.000000'), ('2026-01-03 12:34:56', NULL, '2026-01-03 17:34:56.000000'),
  ('2026-01-03T12:34:56.123456', 'UTC', '2026-01-03 12:34:56.123456'), ('2026-01-03T12:34:56Z', 'Asia/Dubai', '2026-01-03 12:34:56.000000'),
  ('2026-01-03T12:34:56+04', NULL, '2026-01-03 08:34:56.000000'), ('2026-01-03T12:34:56 -0330', NULL, '2026-01-03 16:04:56.000000'),
  ('2026-01-03T12:34:56.5+05:45', NULL, '2026-01-03 06:49:56.500000'), ('2025-12-31T24:00:00Z', NULL, '2026-01-01 00:00:00.000000'),
  ('2024-02-29', 'UTC', '2024-02-29 00:00:00.000000'), ('2000-02-29', 'UTC', '2000-02-29 00:00:00.000000'),
  -- Toronto had no 02:30 on that day, and 01:30 twice on the other
  ('2025-03-09T02:30', 'America/Toronto', '2025-03-09 07:30:00.000000'), ('2025-11-02T01:30', 'America/Toronto', '2025-11-02 06:30:00.000000')) v(given, zone, wanted);
SELECT is(pg_temp.instant(given), 'invalid_arrived_at', given) FROM unnest(ARRAY['2026-02-30', '2025-02-29', '1900-02-29', '2025-04-31', '2025-13-01', '2025-00-10', '2025-01-00',
  '2025-01-32', '2025-01-01T25:00', '2025-01-01T23:60', '2025-01-01T23:59:61', '2025-01-01T24:01Z', '2025-01-01T10:00+16', '2025-01-01T10:00+04:99', '01/02/2025', '1.2.2025', '2025-1-2', 'yesterday', 'now', 'epoch',
  'infinity', '-infinity', '1969-12-31T23:59:59Z', '2026-01-05T10:00:01Z', '9999-12-31', '0000-01-01', '2025-01-01T10', '20250101', '1735689600', '2025-01-01Z', '2025-01-01T10:00:00.1234567Z', '2025-W01-1', '12025-01-01', '２０２５-01-01']) given;

-- ---------------------------------------------------------------- where they came from

SELECT entrestate.campaign_create('bound', bindings => '{"forms": ["f1", "both"], "landing_pages": ["https://example.com/A/"], "utm_campaigns": ["Spring"], "click_ids": ["gclid"]}') AS bound,
  entrestate.campaign_create('also', bindings => '{"forms": ["both"]}') AS also \gset
SELECT is(pg_temp.json(format('[{"email": "t1@example.com", "attribution": {"form": "f1"}}, {"email": "t2@example.com", "attribution": {"landing_page": "http://EXAMPLE.com/A?x=1"}},
  {"email": "t3@example.com", "attribution": {"utm": {"utm_campaign": "SPRING"}}}, {"email": "t4@example.com", "attribution": {"click_ids": {"gclid": "x"}, "form": "unknown"}},
  {"email": "t5@example.com", "attribution": {"form": "both", "landing_page": "example.com/A"}}, {"email": "t6@example.com", "attribution": {"form": "nowhere"}},
  {"email": "t7@example.com", "campaign": "%s"}, {"email": "t8@example.com", "campaign": "%s"}, {"email": "t9@example.com", "campaign": "no id"},
  {"email": "t10@example.com", "attribution": {"campaign_id": "%1$s", "form": "both"}}, {"email": "t11@example.com", "attribution": {"foo": 1}},
  {"email": "t12@example.com", "attribution": {"utm": 5}}, {"email": "t13@example.com", "attribution": {}}, {"email": "t14@example.com", "attribution": {"form": null}}]',
  upper(:'also'), gen_random_uuid())::jsonb),
  '1 imported, 2 imported, 3 imported, 4 imported, 5 imported, 6 imported, 7 imported, 8 refused unknown_campaign, 9 refused unknown_campaign, 10 imported, '
  '11 refused invalid_attribution, 12 refused invalid_attribution, 13 imported, 14 imported', 'attributions');
SELECT is((SELECT string_agg(r.row_no || ' ' || CASE a.campaign_id WHEN :'bound' THEN 'bound' ELSE 'also' END || ' by ' || a.resolved_by || CASE WHEN a.imported THEN '' ELSE ' not imported' END, ', ' ORDER BY r.row_no)
  FROM public.report r JOIN entrestate.lead_attributions a USING (lead_id) JOIN entrestate.leads l ON l.lead_id = a.lead_id AND l.campaign_id = a.campaign_id),
  '1 bound by form, 2 bound by landing_page, 3 bound by utm_campaign, 4 bound by click_id, 7 also by campaign_id, 10 also by campaign_id', 'that lead to a campaign');
SELECT is((SELECT string_agg(concat_ws(' ', r.row_no, u.reason, u.resolved_by, cardinality(u.candidates)), ', ' ORDER BY r.row_no) FROM public.report r JOIN entrestate.unresolved_attributions u USING (lead_id)),
  '5 ambiguous form 2, 6 unresolved 0', 'and those that lead to none or several, listed');
SELECT is((SELECT count(*) FROM public.report r JOIN entrestate.leads l USING (lead_id) WHERE l.campaign_id IS NULL), 4::bigint, 'are not guessed');
SELECT is((SELECT string_agg(r.row_no::text, ',' ORDER BY r.row_no) FROM public.report r, jsonb_array_elements('[{"form": "f1"}, {"form": "both"}, {"form": "nowhere"}, {"click_ids": {"gclid": "y"}}]') WITH ORDINALITY AS v(a, o)
    CROSS JOIN LATERAL entrestate.campaign_resolve(:'t', v.a) one
    WHERE r.row_no = (ARRAY[1, 5, 6, 4])[v.o] AND one.campaign_id IS NOT DISTINCT FROM (SELECT l.campaign_id FROM entrestate.leads l WHERE l.lead_id = r.lead_id)), '1,4,5,6', 'one by one they lead to the same');
-- a lead that was there and unresolved: a campaign that is named settles it
SELECT is(pg_temp.json('[{"email": "t6@example.com"}, {"email": "t5@example.com", "attribution": {"form": "both", "landing_page": "example.com/A"}}]', :'c'), '1 duplicate, 2 duplicate', 'again, with a campaign');
SELECT is((SELECT count(*) FROM public.report r JOIN entrestate.leads l USING (lead_id) WHERE l.campaign_id = :'c'), 2::bigint, 'which they have now');
SELECT is((SELECT count(*) FROM public.report r JOIN entrestate.unresolved_attributions u USING (lead_id) WHERE u.settled_at IS NULL), 0::bigint, 'and nothing is open');
SELECT throws_ok(format($$ SELECT * FROM entrestate.lead_import('[{}]', %L) $$, gen_random_uuid()), 'P0002', NULL, 'an unknown campaign of the call');

-- runs: only where the campaign has runs_on_import
SELECT is(pg_temp.json('[{"email": "r1@example.com"}]', :'c'), '1 imported', 'into a campaign that sends');
SELECT is((SELECT count(*) FROM entrestate.sender_runs x JOIN public.report r USING (lead_id)), 0::bigint, 'begins no run');
SELECT entrestate.campaign_update(:'c', runs_on_import => true) \g /dev/null
SELECT is(pg_temp.json('[{"email": "r2@example.com"}, {"email": "R2@example.com"}, {"email": "t7@example.com"}, {"email": "opted@example.com"}]', :'c'),
  '1 imported, 2 duplicate, 3 duplicate, 4 imported', 'where the campaign has runs_on_import');
SELECT is((SELECT count(*) FROM entrestate.sender_runs x WHERE x.campaign_id = :'c' AND x.lead_id IN (SELECT r.lead_id FROM public.report r)), 3::bigint, 'one run a lead');

-- ---------------------------------------------------------------- who is who

SELECT is(pg_temp.json('[{"email": "ca@example.com", "phone": "+14165550130"}, {"email": "cb@example.com", "phone": "+14165550130"}, {"email": "cb@example.com"}, {"email": "cc@example.com", "phone": "+14165550130"}, {"email": "cc@example.com", "full_name": "C"}]'),
  '1 imported, 2 duplicate, 3 duplicate, 4 duplicate, 5 duplicate', 'a chain of addresses');
SELECT is((SELECT count(DISTINCT lead_id) FROM public.report), 1::bigint, 'is one lead');
SELECT is(pg_temp.lead(1), 'ca@example.com* cb@example.com cc@example.com +14165550130*', 'which has them all');
SELECT is(pg_temp.json('[{"email": "d1@example.com"}, {"email": "d2@example.com"}, {"email": ["d1@example.com", "d2@example.com", "d3@example.com"], "phone": "+14165550131"}, {"email": "d3@example.com"}, {"phone": "+14165550131"}]'),
  '1 imported, 2 imported, 3 duplicate, 4 duplicate, 5 duplicate', 'two leads of which a third row knows');
SELECT is(pg_temp.lead(1) || ' / ' || pg_temp.lead(2), 'd1@example.com* d3@example.com +14165550131* / d2@example.com*', 'stay two: it is the first''s, and so is what nobody had');
SELECT is(pg_temp.json('[{"idempotency_key": "k1", "email": "k1@example.com"}, {"idempotency_key": "k1", "email": "k2@example.com"}, {"email": "k2@example.com"}, {"idempotency_key": "k2", "email": "k1@example.com"}, {"idempotency_key": "k2", "email": "k3@example.com"}]'),
  '1 imported, 2 duplicate, 3 duplicate, 4 duplicate, 5 imported', 'a key goes before addresses');
SELECT is(pg_temp.lead(1) || ' / ' || pg_temp.lead(5), 'k1@example.com* k2@example.com / k3@example.com*', 'and what comes with it is kept');
-- the same as one after the other would do it
SELECT entrestate.lead_create('There', 'there@example.com') AS there, entrestate.lead_create('Gone', 'gone@example.com', '+14165550132', idempotency_key => 'gone') AS gone \gset
SELECT is(entrestate.lead_merge(:'gone', :'there'), true, 'merged');
SELECT is(pg_temp.json('[{"email": "gone@example.com"}, {"idempotency_key": "gone"}, {"phone": "+14165550132", "email": "new@example.com"}]'), '1 duplicate, 2 duplicate, 3 duplicate', 'a lead that was merged away');
SELECT is((SELECT array_agg(DISTINCT lead_id) FROM public.report), ARRAY[:'there'::uuid], 'is the one that has it');
SELECT is((SELECT count(*) FROM entrestate.lead_contacts WHERE lead_id = :'there'), 4::bigint, 'which gets what is new');
SELECT is((SELECT count(*) FROM entrestate.lead_contacts WHERE lead_id = :'there' AND is_primary), 2::bigint, 'with one primary a kind');
SELECT is((SELECT lead_id FROM entrestate.lead_search('new@example.com')), :'there'::uuid, 'and is found by it');
SELECT is((SELECT array_agg(lead_id) FROM entrestate.lead_search('cc example')), (SELECT array_agg(lead_id) FROM entrestate.lead_search('ca example')), 'by words, too');
-- another tenant's addresses say nothing here
DO $$ BEGIN PERFORM flow.enter('b'); END $$;
SELECT is(pg_temp.json('[{"email": "there@example.com", "idempotency_key": "k1"}]'), '1 imported', 'what another tenant has is new here');
SELECT throws_ok(format($$ SELECT * FROM entrestate.lead_import('[{"email": "x@example.com"}]', %L) $$, :'c'), 'P0002', NULL, 'and its campaign unknown');
SELECT is(pg_temp.json(jsonb_build_array(jsonb_build_object('email', 'x@example.com', 'campaign', :'c'))), '1 refused unknown_campaign', 'in a row, too');
DO $$ BEGIN PERFORM flow.enter('a'); END $$;

-- ---------------------------------------------------------------- CSV

SELECT is(pg_temp.csv(E'\uFEFFName,E-Mail,Mobile,Budget,Notes\r\n"O''Hara, ""Kit""",kit@example.com,+1 416 555 0140,5,"two\r\nlines"\r\n\r\nJosé,jose@example.com,,,\r\n'), '1 imported, 3 imported', 'a byte order mark, CRLF, quotes, an empty line');
SELECT is(pg_temp.lead(1), 'O''Hara, "Kit" kit@example.com* +14165550140*', 'columns by their usual names');
SELECT is((pg_temp.of(1)).custom, E'{"notes": "two\\r\\nlines", "budget": "5"}'::jsonb, 'others become custom fields');
SELECT is(pg_temp.csv(E'email\rcr1@example.com\rcr2@example.com\r'), '1 imported, 2 imported', 'lines that end with CR');
SELECT is(pg_temp.csv(E'email\nlf1@example.com\nlf2@example.com'), '1 imported, 2 imported', 'the last line without an end');
SELECT is(pg_temp.csv(E'First Name;Surname;e mail\nAda;Lovelace;ada@example.com\n;King;king@example.com', delimiter => ';'), '1 imported, 2 imported', 'semicolons');
SELECT is(pg_temp.lead(1) || ' / ' || pg_temp.lead(2), 'Ada Lovelace ada@example.com* / King king@example.com*', 'first and last name make the name');
SELECT is(pg_temp.csv(E'email,email,phone,mobile\ne1@example.com,e2@example.com,+14165550141,+14165550142\ne3@example.com,E3@example.com,,\n,,,\n'), '1 imported, 2 imported', 'a second column of email or phone');
SELECT is(pg_temp.lead(1) || ' / ' || pg_temp.lead(2), 'e1@example.com* e2@example.com +14165550141* +14165550142 / e3@example.com*', 'holds further contact points');
SELECT is(pg_temp.csv(E'email,name,full name,Budget,budget\nf1@example.com,A,A,1,1\nf2@example.com,A,B,1,1\nf3@example.com,A,,1,2\nf4@example.com,,B,,2\n'),
  '1 imported, 2 refused ambiguous_column, 3 refused ambiguous_column, 4 imported', 'of another field, two that differ are refused');
SELECT is(pg_temp.lead(4), 'B f4@example.com*', 'one alone is taken');
SELECT is(pg_temp.csv(E'email,name\nshort@example.com\ng1@example.com,a\nlong@example.com,a,b\n\n   \n,\n'), '1 refused too_few_fields, 2 imported, 3 refused too_many_fields, 5 refused too_few_fields', 'too few, too many');
SELECT is(pg_temp.csv('email,name'::bytea || '\x0a'::bytea || 'h1@example.com,a'::bytea || '\x00'::bytea || 'b'::bytea || '\x0a'::bytea || 'h2@example.com,'::bytea || '\xff'::bytea || '\x0a'::bytea
    || 'h3@example.com,'::bytea || '\xed a0 80'::bytea || '\x0a'::bytea || 'h4@example.com,ok'::bytea), '1 refused control_characters, 2 refused invalid_encoding, 3 refused invalid_encoding, 4 imported', 'NUL bytes and what is no UTF-8');
SELECT is(pg_temp.csv(convert_to(E'email,notes,utm_source\ni0@example.com,,x', 'UTF8') || '\x00'::bytea || convert_to(E'\ni1@example.com,' || repeat('x', 5 * 1024 * 1024) || E',\ni2@example.com,small,', 'UTF8')),
  '1 refused control_characters, 2 refused custom_too_large, 3 imported', '5 MB in a field');
SELECT throws_like($$ SELECT * FROM entrestate.lead_import_csv('\xfffe65006d00'::bytea) $$, '%UTF-16%', 'UTF-16 is refused');
SELECT throws_like($$ SELECT * FROM entrestate.lead_import_csv('\xfeff0065006d'::bytea) $$, '%UTF-16%', 'in either order');
SELECT pg_temp.digest() AS before \gset
CREATE FUNCTION pg_temp.error(file bytea, columns jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  s text;
  c text;
BEGIN
  PERFORM * FROM entrestate.lead_import_csv(file, columns);
  RETURN 'none';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, c = PG_EXCEPTION_CONTEXT;
  RETURN concat_ws(' ', s, substring(c, 'row \d+ of the file'));
END
$$;
SELECT is(pg_temp.error(convert_to(E'email,name\nq1@example.com,a\nq2@example.com,"never closed\nq3@example.com,b\n', 'UTF8')), '22P04 row 3 of the file', 'a quote that is never closed: the file is refused, and the row named');
SELECT is(pg_temp.error(''), '22004', 'an empty file');
SELECT is(pg_temp.error('\xefbbbf'), '22023', 'only a byte order mark');
SELECT is(pg_temp.error(convert_to(E'\n\n', 'UTF8')), '22023', 'no header');
SELECT is(pg_temp.error(convert_to(E'email,name\n', 'UTF8')), '22004', 'only a header');
SELECT is(pg_temp.error(convert_to(E'email\nx@example.com', 'UTF8'), '{"mail": "email"}'), '22023', 'columns that are not there');
SELECT is(pg_temp.error(convert_to(E'email\nx@example.com', 'UTF8'), '{"email": "password"}'), '22023', 'a field that is not known');
SELECT is(pg_temp.error(convert_to('email' || repeat(E'\n', 10), 'UTF8')), '22004', 'no row with text');
SELECT is(pg_temp.error(convert_to('email,x' || repeat(E'\n,' || repeat('x', 1022), 8192), 'UTF8')), '54000', '8 MB and a little');
SELECT is(pg_temp.digest(), :'before', 'nothing of these is stored');
SELECT is(pg_temp.csv(E'Contact,Who,Skip\nmap@example.com,Mapped,secret', '{"Contact": "email", "Who": "full_name", "Skip": ""}'), '1 imported', 'columns as told');
SELECT is(pg_temp.lead(1) || ' ' || (pg_temp.of(1)).custom, 'Mapped map@example.com* {}', 'one left out');
SELECT is(pg_temp.csv(E'email,landing_page,utm_campaign,gclid,arrived_at,campaign id\na1@example.com,example.com/A/,x,y,2026-01-02T00:00:00Z,\na2@example.com,,,,2026-02-30,\na3@example.com,,,,,nowhere\n'),
  '1 imported, 2 refused invalid_arrived_at, 3 refused unknown_campaign', 'where they came from');
SELECT is((SELECT row(landing_page, utm, click_ids, resolved_by, campaign_id, attributed_at AT TIME ZONE 'UTC')::text FROM entrestate.lead_attributions a JOIN public.report r USING (lead_id)),
  row('example.com/A/', '{"utm_campaign": "x"}'::jsonb, '{"gclid": "y"}'::jsonb, 'landing_page', :'bound'::uuid, timestamp '2026-01-02')::text, 'is their attribution');

-- ---------------------------------------------------------------- limits, and twice

SELECT is((SELECT (count(*) FILTER (WHERE outcome = 'imported'), count(*))::text FROM entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'J' || g)) FROM generate_series(1, 10000) g))), '(10000,10000)', '10,000 rows of JSON');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'J' || g)) FROM generate_series(1, 10001) g)) $$, '54000', NULL, '10,001 are refused');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'J', 'x', repeat('x', 1000))) FROM generate_series(1, 8500) g)) $$, '54000', NULL, 'more than 8 MB, too');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import('{"email": "x@example.com"}') $$, '22023', NULL, 'what is no array');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import(NULL) $$, '22023', NULL, 'or nothing');
SELECT throws_ok($$ SELECT * FROM entrestate.lead_import('[]') $$, '22004', NULL, 'or empty');
SELECT is(pg_temp.error(convert_to('name' || string_agg(E'\nC' || g, '' ORDER BY g), 'UTF8')), '54000', '10,001 rows of CSV') FROM generate_series(1, 10001) g;
-- the middle of the file has what spoils single rows
SELECT set_config('test.file', 'email,name,arrived_at,landing_page' || string_agg(CASE WHEN g % 100 = 7 THEN E'\nbad,x,,' WHEN g % 100 = 8 THEN E'\nfew' WHEN g % 100 = 9 THEN format(E'\nTT%s@example.com,again,,', g - 3)
  ELSE format(E'\ntt%s@example.com,Name %s,2026-01-0%s,example.com/%s', g, g, 1 + g % 4, CASE WHEN g % 2 = 0 THEN 'a' ELSE 'A' END) END, '' ORDER BY g), true) IS NOT NULL FROM generate_series(1, 10000) g \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', outcome, reason, n), ', ' ORDER BY outcome, reason) FROM (SELECT outcome, reason, count(*) AS n FROM entrestate.lead_import_csv(convert_to(current_setting('test.file'), 'UTF8')) GROUP BY 1, 2) x),
  'duplicate 100, imported 9700, refused invalid_email 100, refused too_few_fields 100', '10,000 rows of CSV');
SELECT pg_temp.digest() AS before \gset
SELECT is(pg_temp.csv(current_setting('test.file')) ~ 'imported', false, 'the same again: nothing is imported');
SELECT is((SELECT string_agg(concat_ws(' ', outcome, reason, n), ', ' ORDER BY outcome, reason) FROM (SELECT outcome, reason, count(*) AS n FROM public.report GROUP BY 1, 2) x),
  'duplicate 9800, refused invalid_email 100, refused too_few_fields 100', 'all are duplicates');
SELECT is(pg_temp.digest(), :'before', 'and nothing is changed');
SELECT is((SELECT count(*) FROM entrestate.lead_imports), (SELECT count(*) FROM entrestate.activity_events WHERE type = 'leads.imported'), 'each import is an event');
SELECT is(flow.unfolded(), NULL, 'L3: the runs equal their events');
COMMIT;
SELECT is((SELECT count(*) FROM entrestate.verify()), 0::bigint, 'verify() finds nothing');
SELECT * FROM finish();
