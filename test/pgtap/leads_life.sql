-- The life of a lead: forms that come again, contact points, consent, tags, notes, grades, statuses, merge; and what people
-- do with it: agent settings and their policy versions, handoff tickets, notifications. (A4, A7, A9, B8, B9, C7, C8)
-- What stands in double quotes is the specification's.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.as(tenant text, who text) RETURNS void LANGUAGE sql AS $$ SELECT entrestate.login(t.tenant, $2) FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.keep(tenant text, name text, id uuid) RETURNS uuid LANGUAGE sql AS $$ INSERT INTO flow.lead VALUES ($1, $2, $3) RETURNING lead $$;
CREATE FUNCTION pg_temp.got(tenant text, name text) RETURNS entrestate.leads LANGUAGE sql AS $$ SELECT l FROM entrestate.leads l WHERE l.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.contacts(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(c.address_norm || CASE WHEN c.is_primary THEN '*' ELSE '' END || coalesce(' ' || c.unusable_reason, ''), ', ' ORDER BY c.kind, c.address_norm) FROM entrestate.lead_contacts c WHERE c.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.signals(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(k.name, ', ' ORDER BY s.signal_no) FROM entrestate.intent_signals s JOIN entrestate.signal_kinds() k ON k.code = s.kind WHERE s.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.state(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(r.status || coalesce(' ' || x.name, ''), ', ' ORDER BY r.campaign_id) FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason WHERE r.lead_id = flow.id($1, $2) $$;

-- ---------------------------------------------------------------- forms that come again
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('form', '{email 0,sms 1 day}'), flow.make('foe', '{email 0}') \g /dev/null
SELECT entrestate.tenant_update(country => 'CA') FROM flow.enter('form') \g /dev/null
SELECT pg_temp.keep('form', 'ann', entrestate.lead_create('Ann', 'Ann@Example.com', NULL, NULL, pg_temp.campaign('form'), source => 'form', idempotency_key => 'k1', custom => '{"rooms": 2}')) FROM flow.enter('form') \g /dev/null
SELECT is(entrestate.lead_create('Ann', 'Ann@Example.com', NULL, NULL, pg_temp.campaign('form'), source => 'form', idempotency_key => 'k1'), flow.id('form', 'ann'), '"the same form twice is one lead": by its key');
SELECT is(pg_temp.signals('form', 'ann'), NULL, '"one resubmission signal": the same call is none');
SELECT flow.at('2026-01-05T11:00:00Z'), flow.enter('form') \g /dev/null
SELECT is(entrestate.lead_create('Ann B', ' ANN@example.COM ', '(416) 555-0123', 'Ltd', pg_temp.campaign('form'), source => 'form', idempotency_key => 'k2', custom => '{"rooms": 3, "garden": true}', consent => '{sms}'),
  flow.id('form', 'ann'), '"the same form twice is one lead": by its address');
SELECT is(pg_temp.signals('form', 'ann'), 'form_resubmission', '"and one resubmission signal"');
SELECT is(entrestate.lead_create('Ann B', 'ann@example.com', source => 'form', idempotency_key => 'k2'), flow.id('form', 'ann'), 'the second form twice');
SELECT is(pg_temp.signals('form', 'ann'), 'form_resubmission', '"one resubmission signal": not two');
SELECT is((l.full_name, l.company, l.custom, l.source)::text, '(Ann,Ltd,"{""rooms"": 2, ""garden"": true}",form)', 'what the lead lacks is filled in, what it has stays') FROM (SELECT (pg_temp.got('form', 'ann')).*) l;
SELECT is(pg_temp.contacts('form', 'ann'), 'ann@example.com*, +14165550123*', 'the telephone is its first');
SELECT is((SELECT count(*)::int FROM entrestate.lead_attributions WHERE lead_id = flow.id('form', 'ann')), 1, 'attributed once');
SELECT is(pg_temp.state('form', 'ann'), 'pending', '"one per campaign and lead": one run');
SELECT is(entrestate.lead_create(phone => '+14165550123', source => 'chat'), flow.id('form', 'ann'), 'by its telephone');
SELECT is(pg_temp.signals('form', 'ann'), 'form_resubmission', 'from a chat it is no resubmission');
SELECT is(entrestate.lead_create(email => 'ann@example.com', source => 'form'), flow.id('form', 'ann'), 'without a key');
SELECT is(pg_temp.signals('form', 'ann'), 'form_resubmission, form_resubmission', 'each is one');
SELECT isnt(entrestate.lead_create('Ann', source => 'form'), flow.id('form', 'ann'), 'a name is no address');
SELECT isnt(entrestate.lead_create(email => 'ann@example.com', source => 'form'), flow.id('form', 'ann'), 'another tenant''s lead is another') FROM flow.enter('foe');
SELECT isnt(entrestate.lead_create(email => 'x@example.com', idempotency_key => 'k1'), flow.id('form', 'ann'), 'and so is its key');
SELECT flow.enter('form') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.lead_create(%s)', a), s, NULL, 'not a lead: ' || left(a, 60)) FROM (VALUES ('email => ''nonsense''', '22023'), ('phone => ''12''', '22023'), ('''x'', source => NULL', '22004'), ('''x'', source => ''''', '22023'),
  ('''x'', idempotency_key => ''''', '22023'), ('repeat(''x'', 201)', '54000'), ('''x'', time_zone => ''Nowhere/Land''', '22023'), ('''x'', consent => ''{fax}''', '22023'), ('''x'', consent => ''{NULL}''', '22004'),
  ('''x'', campaign => pg_temp.campaign(''foe'')', 'P0002'), ('''x'', custom => ''[]''', '22023'), ('E''\x01''', '22023')) v(a, s);
-- another form for another campaign is another attribution, and another run
SELECT entrestate.campaign_create('second') AS second FROM flow.enter('form') \gset spec_
SELECT is(entrestate.lead_create(email => 'ann@example.com', campaign => :'spec_second', source => 'form', idempotency_key => 'k3'), flow.id('form', 'ann'), 'for another campaign');
SELECT is((SELECT array_agg(a.campaign_id ORDER BY a.attributed_at) FROM entrestate.lead_attributions a WHERE a.lead_id = flow.id('form', 'ann')), ARRAY[pg_temp.campaign('form'), :'spec_second'], 'it is attributed to both');
SELECT is((pg_temp.got('form', 'ann')).campaign_id, pg_temp.campaign('form'), 'and belongs to the first');
SELECT is((SELECT s.campaign_id FROM entrestate.intent_signals s WHERE s.lead_id = flow.id('form', 'ann') AND s.reference = 'key:k3'), :'spec_second'::uuid, 'the resubmission is the second one''s');

-- ---------------------------------------------------------------- contact points
SELECT pg_temp.keep('form', 'bob', entrestate.lead_create('Bob', 'bob@example.com')) \g /dev/null
SELECT is(entrestate.lead_contact_add(flow.id('form', 'bob'), 'email', 'Bob@Work.Example.com'), 'bob@work.example.com', 'one more address');
SELECT is(pg_temp.contacts('form', 'bob'), 'bob@example.com*, bob@work.example.com', '"several per lead, one primary per channel": the first stays primary');
SELECT is(entrestate.lead_contact_add(flow.id('form', 'bob'), 'email', 'bob@work.example.com', true), 'bob@work.example.com', 'made primary');
SELECT is(pg_temp.contacts('form', 'bob'), 'bob@example.com, bob@work.example.com*', '"one primary per channel"');
SELECT is((SELECT address FROM entrestate.lead_contacts WHERE lead_id = flow.id('form', 'bob') AND address_norm = 'bob@work.example.com'), 'Bob@Work.Example.com', '"email kept as given and normalised"');
SELECT is(entrestate.lead_contact_add(flow.id('form', 'bob'), 'phone', '416 555 0124'), '+14165550124', '"phone in E.164 with the country''s rules"');
SELECT is(entrestate.lead_bounced(flow.id('form', 'bob'), 'email', 'BOB@example.com', false), true, 'a soft bounce');
SELECT is(pg_temp.contacts('form', 'bob'), 'bob@example.com, bob@work.example.com*, +14165550124*', 'changes nothing');
SELECT is(entrestate.lead_bounced(flow.id('form', 'bob'), 'email', 'BOB@example.com', true), true, 'a hard one');
SELECT is(pg_temp.contacts('form', 'bob'), 'bob@example.com hard_bounce, bob@work.example.com*, +14165550124*', 'makes it unusable');
SELECT is((pg_temp.got('form', 'bob')).direction, 'NOISE', 'the primary one is another');
SELECT is(entrestate.lead_contact_remove(flow.id('form', 'bob'), 'email', 'bob@work.example.com'), true, 'removed');
SELECT is(pg_temp.contacts('form', 'bob'), 'bob@example.com* hard_bounce, +14165550124*', 'the next is primary');
SELECT is((pg_temp.got('form', 'bob')).direction, 'RISK', '"RISK (... hard bounce)"');
SELECT is(entrestate.lead_contact_remove(flow.id('form', 'bob'), 'email', 'bob@work.example.com'), false, 'once');
SELECT is(entrestate.lead_contact_add(flow.id('form', 'bob'), 'email', 'bob@example.com'), 'bob@example.com', 'given again');
SELECT is((pg_temp.contacts('form', 'bob'), (pg_temp.got('form', 'bob')).direction)::text, '("bob@example.com*, +14165550124*",NOISE)', 'it is usable again');
SELECT is(entrestate.lead_bounced(flow.id('form', 'bob'), 'email', 'nobody@example.com', true), false, 'a bounce of an address that it does not have');
SELECT throws_ok(format('SELECT entrestate.lead_contact_add(%s)', a), s, NULL, 'not a contact point: ' || a) FROM (VALUES ('flow.id(''form'', ''bob''), ''email'', ''ann@example.com''', '23505'), ('flow.id(''form'', ''bob''), ''fax'', ''1''', '22023'),
  ('flow.id(''form'', ''bob''), ''email'', NULL', '22004'), ('flow.id(''form'', ''bob''), ''email'', ''''', '22023'), ('flow.id(''form'', ''bob''), ''email'', ''x''', '22023'), ('NULL, ''email'', ''x@example.com''', '22004'), ('gen_random_uuid(), ''email'', ''x@example.com''', 'P0002')) v(a, s);
SELECT is((SELECT count(*)::int FROM (SELECT c.lead_id, c.kind FROM entrestate.lead_contacts c GROUP BY 1, 2 HAVING count(*) FILTER (WHERE c.is_primary) <> 1) x), 0, '"one primary per channel": of every lead');

-- consent
SELECT is((x -> 'consents' -> 'sms' ->> 'status', x -> 'consents' -> 'sms' ->> 'source')::text, '(granted,form)', '"consent per channel with its source and time": of the form') FROM entrestate.lead_get(flow.id('form', 'ann')) x;
SELECT entrestate.lead_consent(flow.id('form', 'ann'), 'sms', false, 'a call', '2026-01-05T10:30:00Z'), flow.at('2026-01-05T11:30:00Z') \g /dev/null
SELECT entrestate.lead_consent(flow.id('form', 'ann'), 'email', true, 'form') \g /dev/null
SELECT is(x -> 'consents' -> 'sms', '{"status": "withdrawn", "source": "a call", "at": "2026-01-05T10:30:00+00:00"}', 'the last recorded holds') FROM entrestate.lead_get(flow.id('form', 'ann')) x;
SELECT throws_ok(format('SELECT entrestate.lead_consent(flow.id(''form'', ''ann''), %s)', a), s, NULL, 'not a consent: ' || a) FROM (VALUES ('''fax'', true, ''x''', '22023'), ('''sms'', NULL, ''x''', '22004'), ('''sms'', true, NULL', '22004'),
  ('''sms'', true, ''''', '22023'), ('''sms'', true, ''x'', ''2027-01-01''', '22023'), ('''sms'', true, ''x'', ''-infinity''', '22023')) v(a, s);

-- the suppression list
SELECT is((entrestate.suppression_add('email', 'Who@Example.com'), entrestate.suppression_add('email', 'who@example.com', 'complaint'))::text, '(t,f)', '"suppression list by normalised address": once');
SELECT is((SELECT array_agg((address, reason, created_by)::text) FROM entrestate.suppression_list('email') WHERE address LIKE 'who%'), '{"(who@example.com,manual,boss)"}', 'as it was first');
SELECT is((SELECT count(*)::int FROM entrestate.suppression_list('email') WHERE address LIKE 'who%'), 0, 'another tenant has its own') FROM flow.enter('foe');
SELECT is((entrestate.suppression_remove('email', 'WHO@example.com'), entrestate.suppression_remove('email', 'who@example.com'))::text, '(t,f)', 'taken off, once') FROM flow.enter('form');

-- tags, notes, fields
SELECT is(entrestate.lead_tag(flow.id('form', 'ann'), '{ Hot Lead ,VIP,vip}'), '{"hot lead",vip}', 'tags are in lower case, once each');
SELECT is(entrestate.lead_tag(flow.id('form', 'ann'), '{VIP,none}', true), '{"hot lead"}', 'and go');
SELECT is((SELECT array_agg(s.lead_id) FROM entrestate.lead_search(tag => 'Hot Lead') s), ARRAY[flow.id('form', 'ann')], 'found by them');
SELECT throws_ok(format('SELECT entrestate.lead_tag(flow.id(''form'', ''ann''), %s)', a), s, NULL, 'not tags: ' || left(a, 40)) FROM (VALUES ('NULL', '22004'), ('''{}''', '22004'), ('''{NULL}''', '22004'), ('''{""}''', '22023'), ('ARRAY[repeat(''x'', 51)]', '54000'),
  ('(SELECT array_agg(''t'' || i) FROM generate_series(1, 100) i)', '54000')) v(a, s);
SELECT is((SELECT count(*)::int FROM entrestate.lead_tags WHERE lead_id = flow.id('form', 'ann')), 1, 'what was refused left none');
SELECT isnt(entrestate.lead_note_add(flow.id('form', 'ann'), 'called: ' || i), NULL, 'a note') FROM generate_series(1, 3) i;
SELECT is((SELECT array_agg((n.body, n.author)::text) FROM entrestate.lead_notes(flow.id('form', 'ann'), max_rows => 2) n), '{"(\"called: 3\",boss)","(\"called: 2\",boss)"}', 'newest first, by whom');
SELECT is((SELECT array_agg(n.body) FROM entrestate.lead_notes(flow.id('form', 'ann'), max_rows => 2) p, LATERAL (SELECT p.note_id WHERE p.body = 'called: 2') q(id), entrestate.lead_notes(flow.id('form', 'ann'), q.id) n), '{called: 1}', 'and the next page');
SELECT is((SELECT count(*)::int FROM entrestate.lead_notes(flow.id('form', 'ann'))), 0, 'another tenant sees none') FROM flow.enter('foe');
SELECT throws_ok(format('SELECT entrestate.lead_note_add(flow.id(''form'', ''ann''), %s)', a), s, NULL, 'no note: ' || a) FROM flow.enter('form'), (VALUES ('NULL', '22004'), ('''''', '22023'), ('repeat(''x'', 10001)', '54000')) v(a, s);
SELECT entrestate.lead_update(flow.id('form', 'ann'), custom => '{"rooms": 4, "garden": null, "budget": {"max": 1}}', company => '', time_zone => 'Asia/Dubai') \g /dev/null
SELECT is((l.full_name, l.company, l.custom, l.time_zone)::text, '(Ann,,"{""rooms"": 4, ""budget"": {""max"": 1}}",Asia/Dubai)', 'custom fields are merged, a null removes one, an empty text clears') FROM (SELECT (pg_temp.got('form', 'ann')).*) l;
SELECT throws_ok(format('SELECT entrestate.lead_update(flow.id(''form'', ''ann''), %s)', a), s, NULL, 'not a change: ' || a) FROM (VALUES ('owner => ''nobody''', 'P0002'), ('grade => ''D''', '22023'), ('custom => ''3''', '22023'), ('time_zone => ''x''', '22023')) v(a, s);

-- grade (C7)
SELECT entrestate.member_add('olga', 'closer'), entrestate.member_add('vic', 'viewer'), entrestate.member_add('adam', 'admin'), entrestate.member_add('mem', 'member') FROM flow.enter('form') \g /dev/null
SELECT entrestate.lead_update(flow.id('form', 'ann'), grade => 'B'), entrestate.lead_grade_override(flow.id('form', 'ann'), 'A', 'met her') FROM pg_temp.as('form', 'adam') \g /dev/null
SELECT is((l.grade, l.grade_override, l.grade_override_reason, l.grade_override_by, l.grade_override_at)::text, '(B,A,"met her",adam,"2026-01-05 11:30:00+00")', '"grade A/B/C with override and reason"') FROM (SELECT (pg_temp.got('form', 'ann')).*) l;
SELECT throws_ok(format('SELECT entrestate.lead_grade_override(flow.id(''form'', ''ann''), %s)', a), s, NULL, 'no override: ' || a) FROM (VALUES ('''A''', '22004'), ('''A'', ''''', '22023'), ('''D'', ''x''', '22023')) v(a, s);
SELECT throws_ok($$SELECT entrestate.lead_grade_override(flow.id('form', 'ann'), 'C', 'x')$$, '42501', NULL, 'nor by a ' || r) FROM unnest('{olga,mem,vic}'::text[]) r, pg_temp.as('form', r);
SELECT entrestate.lead_grade_override(flow.id('form', 'ann'), NULL) FROM flow.enter('form') \g /dev/null
SELECT is((l.grade, l.grade_override, l.grade_override_reason, l.grade_override_by, l.grade_override_at)::text, '(B,,,,)', 'taken away') FROM (SELECT (pg_temp.got('form', 'ann')).*) l;
SELECT is((SELECT count(*)::int FROM entrestate.audit_log a WHERE a.action = 'lead.grade.override' AND a.target_id = flow.id('form', 'ann')::text), 2, 'both audited');
-- status: every pair
SELECT pg_temp.keep('form', 'st', entrestate.lead_create('st')) \g /dev/null
SELECT is((SELECT count(*)::int FROM entrestate.transitions() x WHERE x.machine = 'lead' AND x.to_state = 'new' AND x.from_state NOT IN ('', 'lost')), 0, 'no way back to new but from lost');
SELECT lives_ok(format('SELECT entrestate.lead_status_set(flow.id(''form'', ''st''), %L)', s), 'status ' || s) FROM unnest('{enriched,drafted,approved,contacted,replied,booked,lost,new,contacted,contacted}'::text[]) WITH ORDINALITY u(s, o) ORDER BY o;
SELECT throws_ok(format('SELECT entrestate.lead_status_set(flow.id(''form'', ''st''), %L)', s), 'ZE005', NULL, 'not from contacted to ' || s) FROM unnest('{new,enriched,drafted,approved}'::text[]) s;
SELECT throws_ok(format('SELECT entrestate.lead_status_set(flow.id(''form'', ''st''), %L)', s), c, NULL, 'no status') FROM (VALUES (NULL, '22004'), ('', '22023'), ('won', '22023')) v(s, c);

-- ---------------------------------------------------------------- merge
-- Each fact on the duplicate, on the survivor, on both: "stricter state wins". What the survivor is then.
SELECT flow.at('2026-01-06T10:00:00Z'), flow.make('merge', '{email 0,sms 1 day}'), entrestate.member_add('olga', 'closer'), entrestate.member_add('vic', 'viewer') \g /dev/null
CREATE TABLE pg_temp.facts (no serial, fact text, make text, holds text);
INSERT INTO pg_temp.facts (fact, make, holds) VALUES
  ('opted out', 'SELECT entrestate.lead_opt_out($1, ''email'')', 'opted_out_at = ''2026-01-06 11:00:00Z'' AND direction = ''RISK'''),
  ('complained', 'SELECT entrestate.lead_complained($1)', 'complained_at = ''2026-01-06 11:00:00Z'' AND direction = ''RISK'''),
  ('erasure', 'SELECT entrestate.lead_erasure_request($1)', 'erasure_requested_at = ''2026-01-06 11:00:00Z'''),
  ('hot', 'SELECT entrestate.signal_add($1, ''call_request'', reference => $1::text)', 'hot_at = ''2026-01-06 11:00:00Z'' AND direction = ''READY'''),
  ('handoff', 'SELECT entrestate.handoff_open($1, ''x'')', 'handoff_open AND handoff_at = ''2026-01-06 11:00:00Z'' AND direction = ''READY'''),
  ('replied', 'SELECT entrestate.signal_add($1, ''reply'', reference => $1::text)', 'replied_at = ''2026-01-06 11:00:00Z'''),
  ('booked', 'SELECT entrestate.lead_status_set($1, ''booked'')', 'status = ''booked'''),
  ('lost', 'SELECT entrestate.lead_status_set($1, ''lost'')', 'status = ''lost'''),
  ('withdrawn', 'SELECT entrestate.lead_consent($1, ''sms'', false, ''x'')',
    '(SELECT c.status FROM entrestate.lead_consents c WHERE c.lead_id = x.lead_id AND c.channel = ''sms'' ORDER BY c.recorded_at DESC LIMIT 1) = ''withdrawn''');
CREATE FUNCTION pg_temp.merged(fact text, make text, on_duplicate boolean, on_survivor boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  n text := concat_ws(' ', fact, CASE WHEN on_duplicate THEN 'd' END, CASE WHEN on_survivor THEN 's' END);
  d uuid;
  s uuid;
BEGIN
  PERFORM flow.enter('merge'), flow.at('2026-01-06T10:00:00Z');
  d := pg_temp.keep('merge', n || ' d', entrestate.lead_create(n, translate(n, ' ', '.') || '.d@example.com'));
  s := pg_temp.keep('merge', n || ' s', entrestate.lead_create(n, translate(n, ' ', '.') || '.s@example.com'));
  PERFORM entrestate.lead_consent(x, 'sms', true, 'form') FROM unnest(ARRAY[d, s]) x;
  PERFORM flow.at('2026-01-06T11:00:00Z');
  IF on_duplicate THEN
    EXECUTE make USING d;
  END IF;
  IF on_survivor THEN
    EXECUTE make USING s;
  END IF;
  PERFORM flow.at('2026-01-06T12:00:00Z');
  PERFORM entrestate.lead_merge(d, s);
END
$$;
CREATE FUNCTION pg_temp.holds(name text, what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  b boolean;
BEGIN
  EXECUTE format('SELECT coalesce(%s, false) FROM entrestate.leads x WHERE x.lead_id = $1', what) INTO b USING flow.id('merge', name);
  RETURN b;
END
$$;
SELECT pg_temp.merged(fact, make, d, s) FROM pg_temp.facts, (VALUES (true, false), (false, true), (true, true), (false, false)) v(d, s) \g /dev/null
SELECT ok(pg_temp.holds(fact || ' ' || w || ' s', holds), format('"merge of duplicates with aliases (stricter state wins)": %s of %s', fact, CASE w WHEN 'd' THEN 'the duplicate' WHEN 's' THEN 'the survivor' ELSE 'both' END))
FROM pg_temp.facts, unnest('{d,s,d s}'::text[]) w ORDER BY no, w;
SELECT ok(NOT pg_temp.holds(fact || ' s', holds), format('"stricter state wins": where neither is so, neither becomes so: %s', fact)) FROM pg_temp.facts ORDER BY no;
SELECT is((SELECT count(*)::int FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('merge', 'handoff d s s') AND h.status <> 'resolved'), 1, 'of two tickets one stays open');
SELECT is((SELECT array_agg(h.outcome) FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('merge', 'handoff d s s') AND h.status = 'resolved'), '{merged}', 'the duplicate''s is resolved');
SELECT is((SELECT count(*)::int FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('merge', 'handoff d s') AND h.status = 'open'), 1, 'the duplicate''s is the survivor''s');
SELECT is((SELECT s.score FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('merge', 'replied d s s')), 24, 'the signals of both make the score');
SELECT isnt((pg_temp.got('merge', 'replied d s s')).hot_at, NULL, '"the transaction whose signal takes the score to the threshold": two replies do, when they are one lead''s');
SELECT is((pg_temp.got('merge', 'replied d s')).hot_at, NULL, 'one does not');
SELECT is((SELECT count(*)::int FROM entrestate.audience_actions a WHERE a.type = 'lead.hot' AND a.lead_id = flow.id('merge', 'replied d s s')), 1, 'and it is told');

-- aliases
SELECT flow.enter('merge') \g /dev/null
SELECT pg_temp.keep('merge', n, entrestate.lead_create(initcap(n), n || '@example.com', source => 'form', idempotency_key => 'key-' || n, custom => jsonb_build_object('of', n, n, true))) FROM unnest('{a,b,c}'::text[]) n \g /dev/null
SELECT entrestate.lead_tag(flow.id('merge', 'a'), '{x,y}'), entrestate.lead_tag(flow.id('merge', 'b'), '{y,z}'), entrestate.lead_note_add(flow.id('merge', 'a'), 'of a'), entrestate.lead_update(flow.id('merge', 'a'), owner => 'olga', company => 'A Ltd', grade => 'C'),
  entrestate.lead_contact_add(flow.id('merge', 'a'), 'phone', '+14165550177') \g /dev/null
SELECT is(entrestate.lead_merge(flow.id('merge', 'a'), flow.id('merge', 'b')), true, 'a into b');
SELECT is(entrestate.lead_merge(flow.id('merge', 'a'), flow.id('merge', 'b')), false, 'twice is once');
SELECT throws_ok(format('SELECT entrestate.lead_merge(flow.id(''merge'', %L), flow.id(''merge'', %L))', d, s), c, NULL, format('not %s into %s', d, s)) FROM (VALUES ('b', 'a', '55000'), ('c', 'a', '55000'), ('a', 'c', '55000'), ('c', 'c', '22023')) v(d, s, c);
SELECT throws_ok(format('SELECT entrestate.lead_merge(%s)', a), c, NULL, 'no merge: ' || a) FROM (VALUES ('NULL, flow.id(''merge'', ''b'')', '22004'), ('flow.id(''merge'', ''b''), NULL', '22004'), ('flow.id(''merge'', ''b''), flow.id(''form'', ''ann'')', 'P0002'),
  ('flow.id(''form'', ''ann''), flow.id(''merge'', ''b'')', 'P0002'), ('gen_random_uuid(), flow.id(''merge'', ''b'')', 'P0002')) v(a, c);
SELECT is((l.full_name, l.company, l.owner_id, l.grade, l.custom)::text, '(B,"A Ltd",olga,C,"{""a"": true, ""b"": true, ""of"": ""b""}")', 'what the survivor has stays, what it lacks comes') FROM (SELECT (pg_temp.got('merge', 'b')).*) l;
SELECT is(pg_temp.contacts('merge', 'b'), 'a@example.com, b@example.com*, +14165550177*', 'contact points move; one is primary');
SELECT is((SELECT array_agg(g.tag ORDER BY g.tag) FROM entrestate.lead_tags g WHERE g.lead_id = flow.id('merge', 'b')), '{x,y,z}', 'and tags');
SELECT is((SELECT array_agg(n.body) FROM entrestate.lead_notes(flow.id('merge', 'b')) n), '{of a}', 'and notes');
SELECT is(entrestate.lead_merge(flow.id('merge', 'b'), flow.id('merge', 'c')), true, 'b into c');
SELECT is((x ->> 'lead_id', x -> 'aliases')::text, (flow.id('merge', 'c'), jsonb_build_array(flow.id('merge', 'a'), flow.id('merge', 'b')))::text, '"aliases": both lead to c, from ' || n) FROM unnest('{a,b,c}'::text[]) n, LATERAL entrestate.lead_get(flow.id('merge', n)) x;
SELECT is(entrestate.lead_create(email => n || '@example.com', source => 'chat'), flow.id('merge', 'c'), '"aliases": the address of ' || n) FROM unnest('{a,b,c}'::text[]) n;
SELECT is(entrestate.lead_create(idempotency_key => 'key-' || n), flow.id('merge', 'c'), '"aliases": the key of ' || n) FROM unnest('{a,b,c}'::text[]) n;
SELECT is((SELECT (s.outcome, s.score)::text FROM entrestate.signal_add(flow.id('merge', 'a'), 'click', reference => 'm') s), '(counted,3)', '"aliases": a signal of a');
SELECT is((SELECT s.score FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('merge', 'c')), 3, 'is c''s');
SELECT is((SELECT (s.lead_id, s.outcome)::text FROM entrestate.signals_add(ARRAY[flow.id('merge', 'b')], '{click}', refs => '{m}') s), format('(%s,repeated)', flow.id('merge', 'c')), '"once per message": and of b the same');
SELECT throws_ok(format('SELECT entrestate.%s', f), '55000', NULL, '"aliases": what changes wants the survivor''s id: ' || f) FROM unnest(ARRAY['lead_update(flow.id(''merge'', ''a''), ''x'')', 'lead_opt_out(flow.id(''merge'', ''a''), ''email'')', 'lead_status_set(flow.id(''merge'', ''a''), ''lost'')',
  'handoff_open(flow.id(''merge'', ''a''), ''x'')', 'lead_note_add(flow.id(''merge'', ''a''), ''x'')', 'lead_tag(flow.id(''merge'', ''a''), ''{x}'')', 'lead_attribute(flow.id(''merge'', ''a''), pg_temp.campaign(''merge''))', 'lead_contact_add(flow.id(''merge'', ''a''), ''email'', ''n@example.com'')']) f;
SELECT is((SELECT array_agg(s.lead_id) FROM entrestate.lead_search('a@example.com') s), ARRAY[flow.id('merge', 'c')], 'found by the address of a, once');
SELECT is((SELECT count(*)::int FROM entrestate.lead_search('Bee') s), 0, 'not by a name that is no more') ;
SELECT throws_ok($$SELECT entrestate.lead_merge(flow.id('merge', 'opted out s s'), flow.id('merge', 'c'))$$, '42501', NULL, 'no merge by a ' || r) FROM unnest('{olga,vic}'::text[]) r, pg_temp.as('merge', r);

-- runs
CREATE FUNCTION pg_temp.lead(name text, attributed boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter('merge');
  PERFORM pg_temp.keep('merge', name, entrestate.lead_create(name, name || '@example.com', campaign => CASE WHEN attributed THEN pg_temp.campaign('merge') END));
END
$$;
SELECT flow.at('2026-01-07T10:00:00Z'), pg_temp.lead('d1', true), pg_temp.lead('s1', true), pg_temp.lead('d2', true), pg_temp.lead('s2', false), pg_temp.lead('d3', true), pg_temp.lead('s3', true) \g /dev/null
SELECT flow.process('merge'), flow.at('2026-01-07T11:00:00Z') \g /dev/null
SELECT entrestate.signal_add(flow.id('merge', 'd3'), 'reply', occurred_at => '2026-01-07T10:59:00Z', reference => 'r') FROM flow.enter('merge') \g /dev/null
SELECT entrestate.lead_merge(flow.id('merge', 'd' || i), flow.id('merge', 's' || i)) FROM flow.enter('merge'), generate_series(1, 3) i \g /dev/null
SELECT is(pg_temp.state('merge', 'd1'), 'suppressed merged', '"lead merged away": the duplicate''s run ends');
SELECT is(pg_temp.state('merge', 's1'), 'running', 'the survivor''s own goes on');
SELECT is(pg_temp.state('merge', 'd2'), 'suppressed merged', 'the only run of the two has ended');
SELECT is((SELECT count(*)::int FROM entrestate.lead_attributions WHERE lead_id = flow.id('merge', 's2')), 1, 'the survivor has its attribution');
SELECT is(pg_temp.state('merge', 's2'), NULL, '"one per campaign and lead": no second run for a person whose duplicate had one');
SELECT is((SELECT array_agg(w.what || ': ' || w.reason) FROM flow.enter('merge'), entrestate.sender_why(flow.id('merge', 's2')) w), '{run not started: merged}', 'and why');
SELECT is(entrestate.lead_attribute(flow.id('merge', 's2'), pg_temp.campaign('merge')), false, 'nor when it is attributed again');
SELECT throws_ok($$SELECT entrestate.sender_start(pg_temp.campaign('merge'), flow.id('merge', 's2'))$$, '55000', NULL, 'nor by a person');
SELECT is((SELECT b.started FROM entrestate.campaign_backfill(pg_temp.campaign('merge'), '2026-01-01', true) b), 0, 'nor by a backfill');
SELECT is(entrestate.sender_upkeep_tenant((SELECT tenant FROM flow.tenant WHERE name = 'merge')), 0, 'nor by upkeep');
SELECT is(pg_temp.state('merge', 's2'), NULL, 'none');
SELECT is(pg_temp.state('merge', 'd3') || ', ' || pg_temp.state('merge', 's3'), 'suppressed replied, suppressed handoff', '"a handoff ticket of the lead": the one that the duplicate''s reply opened is the survivor''s, and ends its run');

-- ---------------------------------------------------------------- agent settings and policy versions (A9)
SELECT flow.at('2026-01-08T10:00:00Z'), flow.make('agent', '{email 0,sms 1 day}'), flow.lead('agent', 'before') \g /dev/null
CREATE TABLE pg_temp.changes (no serial, what text);
INSERT INTO pg_temp.changes (what) VALUES
  ('agent_settings_set($1, behaviour => ''{"tone": 20}'')'), ('agent_settings_set($1, windows => ''[{"days": ["mon"], "from": "09:00", "to": "17:00"}]'')'), ('agent_settings_set($1, caps => ''[{"max": 3, "per": "7 days"}]'')'),
  ('agent_settings_set($1, channels => ''{email}'')'), ('agent_settings_set($1, brake_index => 0)'), ('agent_settings_set($1, hot_threshold => 15)'), ('agent_settings_set($1, warming_threshold => 5)'),
  ('score_settings_set(''{"open": 2}'')'), ('score_settings_set(hot_threshold => 20)'), ('score_settings_set(warming_threshold => 9)'), ('score_settings_set(score_window => ''20 days'')'),
  ('tenant_update(time_zone => ''Asia/Dubai'')'), ('tenant_update(dry_run => true)'), ('tenant_update(dry_run => false)'), ('tenant_update(opt_out_scope => ''channel'')'),
  ('tenant_quiet_hours_set(''[{"from": "21:00", "to": "09:00"}]'')'), ('tenant_quiet_hours_set(NULL)'),
  ('channel_set(''sms'', false)'), ('channel_set(''sms'', true)'), ('channel_set(''sms'', paused => true)'), ('channel_set(''sms'', paused => false)'),
  ('tenant_pause(''x'')'), ('tenant_resume()'), ('tenant_freeze(''x'')'), ('tenant_unfreeze()'),
  ('campaign_status_set($1, ''paused'')'), ('campaign_status_set($1, ''active'')'), ('campaign_update($1, sender_enabled => false)'), ('campaign_update($1, sender_enabled => true)');
CREATE TABLE pg_temp.versions (no integer, was integer, becomes integer, said jsonb, before jsonb, after jsonb);
DO $$
DECLARE
  c record;
  k uuid := pg_temp.campaign('agent');
  w integer;
  b jsonb;
BEGIN
  FOR c IN SELECT * FROM pg_temp.changes ORDER BY no LOOP
    PERFORM flow.enter('agent');
    SELECT policy_version INTO w FROM entrestate.campaigns WHERE campaign_id = k;
    b := entrestate.policy_get(k) -> 'policy';
    EXECUTE 'SELECT entrestate.' || c.what USING k;
    INSERT INTO pg_temp.versions SELECT c.no, w, policy_version, entrestate.policy_get(k), b, entrestate.policy_current(tenant_id, campaign_id) FROM entrestate.campaigns WHERE campaign_id = k;
    -- somebody is decided about under each of them
    PERFORM flow.lead('agent', 'l' || c.no, format('l%s@example.com', c.no), NULL) WHERE c.what NOT LIKE 'tenant_freeze%';
    PERFORM flow.process('agent');
  END LOOP;
END $$;
SELECT ok(v.becomes > v.was, '"versioned as policy snapshots": a new version by ' || c.what) FROM pg_temp.versions v JOIN pg_temp.changes c USING (no) ORDER BY no;
SELECT isnt(v.before, v.after, '"versioned as policy snapshots": and it says what is different: ' || c.what) FROM pg_temp.versions v JOIN pg_temp.changes c USING (no) ORDER BY no;
SELECT is((v.said ->> 'version')::integer, v.becomes, '"that decisions refer to": it is in force after ' || c.what) FROM pg_temp.versions v JOIN pg_temp.changes c USING (no) ORDER BY no;
SELECT is(v.said -> 'policy', v.after, '"policy snapshots": it says what is in force after ' || c.what) FROM pg_temp.versions v JOIN pg_temp.changes c USING (no) ORDER BY no;
SELECT is((SELECT array_agg(p.version ORDER BY p.version) FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('agent')),
  (SELECT array_agg(i) FROM generate_series(1, (SELECT policy_version FROM entrestate.campaigns WHERE campaign_id = pg_temp.campaign('agent'))) i), '"policy snapshots": gapless')
WHERE (SELECT min(p.version) FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('agent')) = 1;
SELECT is((SELECT count(*)::int FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('agent')), (SELECT max(p.version) - min(p.version) + 1 FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('agent')), '"policy snapshots": none is missing');
SELECT is((SELECT count(*)::int FROM entrestate.sender_events e WHERE e.policy_version IS NULL OR NOT EXISTS (SELECT FROM entrestate.policy_snapshots p WHERE p.tenant_id = e.tenant_id AND p.campaign_id = e.campaign_id AND p.version = e.policy_version)), 0,
  '"versioned as policy snapshots that decisions refer to": every event refers to one that is there');
SELECT ok((SELECT count(DISTINCT e.policy_version) FROM entrestate.sender_events e WHERE e.campaign_id = pg_temp.campaign('agent')) >= 20, '"that decisions refer to": to the one of its time');
SELECT is((SELECT p -> 'policy' -> 'agent' -> 'behaviour' ->> 'tone' FROM entrestate.policy_get(pg_temp.campaign('agent'), (SELECT becomes FROM pg_temp.versions WHERE no = 1)) p), '20', 'an old one can be read') FROM flow.enter('agent');
SELECT throws_ok($$SELECT entrestate.policy_get(pg_temp.campaign('agent'), 100000)$$, 'P0002', NULL, 'one that is not there');
SELECT throws_ok($$SELECT entrestate.policy_get(pg_temp.campaign('agent'))$$, 'P0002', NULL, 'another tenant''s') FROM flow.enter('foe');
SELECT throws_ok('UPDATE entrestate.policy_snapshots SET policy = ''{}''', 'ZE002', NULL, '"policy snapshots": one never changes');
-- what a setting may be
SELECT flow.enter('agent') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.agent_settings_set(pg_temp.campaign(''agent''), %s)', a), '22023', NULL, 'not a setting: ' || a) FROM unnest(ARRAY['behaviour => ''{"tone": 101}''', 'behaviour => ''{"tone": -1}''', 'behaviour => ''{"tone": "1"}''', 'behaviour => ''{"Tone": 1}''', 'behaviour => ''[]''',
  'windows => ''{}''', 'windows => ''[{"from": "9:00", "to": "17:00"}]''', 'windows => ''[{"from": "09:00", "to": "09:00"}]''', 'windows => ''[{"from": "09:00", "to": "25:00"}]''', 'windows => ''[{"from": "09:00", "to": "17:00", "days": []}]''', 'windows => ''[{"from": "09:00", "to": "17:00", "days": ["mo"]}]''',
  'windows => ''[{"from": "09:00", "to": "17:00", "zone": "x"}]''', 'windows => ''[1]''', 'windows => ''[{"from": "09:00", "to": "17:00", "days": "mon"}]''', 'caps => ''[{"max": 0, "per": "1 day"}]''', 'caps => ''[{"max": 1.5, "per": "1 day"}]''', 'caps => ''[{"max": 1}]''', 'caps => ''[{"max": 1, "per": "1 second"}]''',
  'caps => ''[{"max": 1, "per": "x"}]''', 'caps => ''[{"max": "1", "per": "1 day"}]''', 'caps => ''[{"max": 1, "per": "1 day", "channel": "fax"}]''', 'caps => ''[null]''', 'channels => ''{fax}''', 'channels => ''{NULL}''']) a;
SELECT is((SELECT policy_version FROM entrestate.campaigns WHERE campaign_id = pg_temp.campaign('agent')), (SELECT max(becomes) FROM pg_temp.versions), 'what was refused made no version');
SELECT lives_ok(format('SELECT entrestate.agent_settings_set(pg_temp.campaign(''agent''), %s)', a), 'a setting: ' || a) FROM unnest(ARRAY['behaviour => ''{"tone": 0, "pace": 100}''', 'windows => ''[{"from": "22:00", "to": "06:00"}, {"from": "00:00", "to": "24:00"}]''', 'windows => ''[]''', 'caps => ''[]''', 'channels => ''{}''',
  'caps => ''[{"max": 1000, "per": "366 days", "channel": "sms"}]''']) a;
SELECT is(x -> 'behaviour', '{"tone": 0, "pace": 100}', 'bars are merged') FROM entrestate.agent_settings_get(pg_temp.campaign('agent')) x;
SELECT entrestate.member_add('vic', 'viewer'), entrestate.member_add('mem', 'member') \g /dev/null
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign('agent'), brake_index => 1)$$, '42501', NULL, 'not by a ' || r) FROM unnest('{vic,mem}'::text[]) r, pg_temp.as('agent', r);
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign('agent'))$$, 'P0002', NULL, 'not another tenant''s') FROM flow.enter('foe');
SELECT throws_ok($$SELECT entrestate.agent_settings_set(NULL)$$, '22004', NULL, 'of which campaign');

-- ---------------------------------------------------------------- tickets (B10, B14), notifications (E9)
SELECT flow.at('2026-01-09T10:00:00Z'), flow.make('desk', '{email 0,sms 1 day}') \g /dev/null
SELECT entrestate.member_add(u, r) FROM flow.enter('desk'), (VALUES ('olga', 'closer'), ('pete', 'closer'), ('adam', 'admin'), ('opal', 'operator'), ('mem', 'member'), ('vic', 'viewer')) v(u, r) \g /dev/null
SELECT pg_temp.keep('desk', n, entrestate.lead_create(n, n || '@example.com', campaign => pg_temp.campaign('desk'))) FROM flow.enter('desk'), unnest('{ann,bob,cyd}'::text[]) n \g /dev/null
SELECT entrestate.lead_update(flow.id('desk', 'bob'), owner => 'pete') \g /dev/null
SELECT is(entrestate.notifications_unread(), 0::bigint, 'nobody was told anything');
SELECT entrestate.handoff_open(flow.id('desk', 'ann'), 'wants a call') AS ann, entrestate.handoff_open(flow.id('desk', 'bob'), ' asks for a visit ', pg_temp.campaign('desk')) AS bob FROM pg_temp.as('desk', 'mem') \gset ticket_
SELECT is(entrestate.handoff_open(flow.id('desk', 'ann'), 'again'), :'ticket_ann'::uuid, 'one is open: it is that one');
SELECT is((SELECT array_agg((h.ticket_id, h.reason, h.opened_by, h.taken_by)::text ORDER BY h.reason) FROM entrestate.handoff_list() h), ARRAY[format('(%s,"asks for a visit",mem,)', :'ticket_bob'), format('(%s,"wants a call",mem,)', :'ticket_ann')], '"tickets (open, taken, resolved, with who and when)": open');
SELECT is((w, entrestate.notifications_unread())::text, (w, u)::text, '"a notifications table with unread counts": ' || w) FROM (VALUES ('pete', 2), ('olga', 1), ('vic', 1), ('boss', 1)) v(w, u), LATERAL pg_temp.as('desk', w) o;
SELECT throws_ok(format('SELECT entrestate.handoff_take(%L)', :'ticket_ann'), '42501', NULL, 'not taken by a ' || w) FROM unnest('{vic,mem}'::text[]) w, pg_temp.as('desk', w);
SELECT throws_ok(format('SELECT entrestate.handoff_take(%L)', :'ticket_ann'), 'P0002', NULL, 'nor from another tenant') FROM flow.enter('foe');
SELECT throws_ok('SELECT entrestate.handoff_take(NULL)', '22004', NULL, 'nor which?');
SELECT flow.at('2026-01-09T10:05:00Z') \g /dev/null
SELECT is(entrestate.handoff_take(:'ticket_ann'), true, 'olga takes ann''s') FROM pg_temp.as('desk', 'olga');
SELECT is(entrestate.handoff_take(:'ticket_ann'), false, 'twice is once') FROM pg_temp.as('desk', 'olga');
SELECT throws_ok(format('SELECT entrestate.handoff_take(%L)', :'ticket_ann'), '55000', NULL, 'nobody else can') FROM pg_temp.as('desk', 'pete');
SELECT is((pg_temp.got('desk', 'ann')).owner_id, 'olga', 'a lead that nobody owns is hers');
SELECT is((SELECT h.first_touch FROM entrestate.handoff_of(flow.id('desk', 'ann')) h), '5 min'::interval, '"first-touch time"');
SELECT is((pg_temp.got('desk', 'ann')).handoff_open, true, 'taken is not resolved');
SELECT flow.at('2026-01-09T10:30:00Z') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.handoff_release(%L)', :'ticket_ann'), '55000', NULL, 'pete cannot give it back') FROM pg_temp.as('desk', 'pete');
SELECT is(entrestate.handoff_release(:'ticket_ann'), true, 'she can') FROM pg_temp.as('desk', 'olga');
SELECT is(entrestate.handoff_release(:'ticket_ann'), false, 'twice is once') FROM pg_temp.as('desk', 'olga');
SELECT is(entrestate.handoff_take(:'ticket_ann'), true, 'pete takes it') FROM pg_temp.as('desk', 'pete');
SELECT is((h.taken_by, h.first_touch)::text, '(pete,00:05:00)', '"first-touch time": the first stays') FROM entrestate.handoff_of(flow.id('desk', 'ann')) h;
SELECT is((pg_temp.got('desk', 'ann')).owner_id, 'olga', 'the lead stays hers');
SELECT is(entrestate.handoff_release(:'ticket_ann'), true, 'an admin can take it away') FROM pg_temp.as('desk', 'adam');
SELECT is(entrestate.handoff_take(:'ticket_ann'), true, 'and take it') FROM pg_temp.as('desk', 'adam');
SELECT flow.at('2026-01-09T11:00:00Z') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.handoff_resolve(%L, %s)', :'ticket_ann', o), s, NULL, 'an outcome is needed') FROM (VALUES ('NULL', '22004'), ('''''', '22023'), ('repeat(''x'', 101)', '54000')) v(o, s), pg_temp.as('desk', 'opal');
SELECT is(entrestate.handoff_resolve(:'ticket_ann', 'visit on Monday'), true, 'resolved') FROM pg_temp.as('desk', 'opal');
SELECT is(entrestate.handoff_resolve(:'ticket_ann', 'again'), false, 'twice is once') FROM pg_temp.as('desk', 'opal');
SELECT throws_ok(format('SELECT entrestate.%s(%L)', f, :'ticket_ann'), '55000', NULL, 'what is resolved stays so: ' || f) FROM unnest('{handoff_take,handoff_release}'::text[]) f, pg_temp.as('desk', 'olga');
SELECT is((h.status, h.resolved_by, h.resolved_at, h.outcome, h.taken_by)::text, '(resolved,opal,"2026-01-09 11:00:00+00","visit on Monday",adam)', '"(open, taken, resolved, with who and when)"') FROM entrestate.handoff_list('resolved') h;
SELECT is((pg_temp.got('desk', 'ann')).handoff_open, false, 'the lead is free');
SELECT isnt(entrestate.handoff_open(flow.id('desk', 'ann'), 'again'), :'ticket_ann'::uuid, 'the next is another') FROM flow.enter('desk');
SELECT is((SELECT count(*)::int FROM entrestate.handoff_of(flow.id('desk', 'ann'))), 2, 'two of the lead');
-- C8: what a campaign's tickets took
SELECT is(x -> 'handoffs', '{"opened": 3, "open": 2, "taken": 0, "resolved": 1, "firstTouchSeconds": 300}', 'the metrics say so') FROM entrestate.campaign_metrics(pg_temp.campaign('desk')) x;
SELECT is(x -> 'leads', '{"attributed": 3, "hot": 0, "optedOut": 0, "complained": 0, "replied": 0}', 'of three leads') FROM entrestate.campaign_metrics(pg_temp.campaign('desk')) x;
SELECT is(x -> 'runs', '{"pending": 1, "suppressed": 2}', 'and three runs') FROM entrestate.campaign_metrics(pg_temp.campaign('desk')) x;
SELECT throws_ok($$SELECT entrestate.campaign_metrics(pg_temp.campaign('desk'))$$, 'P0002', NULL, 'to its tenant alone') FROM flow.enter('foe');
-- unread
SELECT is((entrestate.notifications_unread(), (SELECT count(*) FROM entrestate.notifications_list(true)))::text, '(4,4)', '"unread counts": pete''s and everybody''s') FROM pg_temp.as('desk', 'pete');
SELECT is(entrestate.notifications_read(), 1, 'his own are read') FROM pg_temp.as('desk', 'pete');
SELECT is(entrestate.notifications_unread(), 3::bigint, 'not those for all') FROM pg_temp.as('desk', 'pete');
SELECT is(entrestate.notifications_read((SELECT array_agg(n.notification_id) FROM entrestate.notifications_list() n WHERE n.for_all AND n.type = 'handoff.opened')), 1, 'one of them is, for all') FROM pg_temp.as('desk', 'pete');
SELECT is(entrestate.notifications_unread(), 3::bigint, 'olga has her own and those') FROM pg_temp.as('desk', 'olga');
SELECT is(entrestate.notifications_read((SELECT array_agg(n.notification_id) FROM entrestate.notifications n WHERE n.user_id = 'olga')), 0, 'nobody reads another one''s') FROM pg_temp.as('desk', 'vic');
SELECT is(entrestate.notifications_read('{}'), 0, 'none is none') FROM pg_temp.as('desk', 'vic');
-- who left is told nothing: his leads are everybody's
SELECT entrestate.member_remove('pete') FROM flow.enter('desk') \g /dev/null
SELECT entrestate.handoff_resolve(:'ticket_bob', 'x'), entrestate.signal_add(flow.id('desk', 'bob'), 'reply') FROM flow.enter('desk') \g /dev/null
SELECT is((SELECT array_agg(n.user_id) FROM entrestate.notifications n WHERE n.type = 'lead.replied' AND n.entity_id = flow.id('desk', 'bob')::text), '{""}', '"notifies the owner of the lead": one who has left is not');

-- ---------------------------------------------------------------- bindings, how far a campaign is (A4)
SELECT flow.enter('desk') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.campaign_create(''x'', bindings => %L)', b), s, NULL, 'not bindings: ' || left(b, 40)) FROM (VALUES ('[]', '22023'), ('{"pages": []}', '22023'), ('{"forms": "x"}', '22023'), ('{"forms": [1]}', '22023'), ('{"forms": [""]}', '22023'), ('{"forms": [null]}', '22023'),
  (jsonb_build_object('forms', (SELECT jsonb_agg('f' || i) FROM generate_series(1, 1001) i))::text, '54000')) v(b, s);
SELECT entrestate.campaign_create('way') AS way FROM flow.enter('desk') \gset spec_
SELECT is(x -> 'goLive', '{"state": "blocked", "missing": ["campaign_paused", "sender_disabled", "sequence_missing", "channel_disabled"]}', 'go-live state: what is missing') FROM entrestate.campaign_get(:'spec_way') x;
SELECT is(x -> 'goLive', '{"state": "live", "missing": []}', 'go-live state: live') FROM entrestate.campaign_get(pg_temp.campaign('desk')) x;
SELECT entrestate.tenant_update(dry_run => true) \g /dev/null
SELECT is(x -> 'goLive' ->> 'state', 'rehearsing', 'go-live state: a rehearsal') FROM entrestate.campaign_get(pg_temp.campaign('desk')) x;
SELECT entrestate.tenant_pause('x') \g /dev/null
SELECT is(x -> 'goLive', '{"state": "blocked", "missing": ["tenant_paused"]}', 'go-live state: paused') FROM entrestate.campaign_get(pg_temp.campaign('desk')) x;
SELECT entrestate.campaign_status_set(pg_temp.campaign('desk'), 'completed') \g /dev/null
SELECT is(x -> 'goLive' ->> 'state', 'ended', 'go-live state: ended') FROM entrestate.campaign_get(pg_temp.campaign('desk')) x;

SELECT is(flow.unfolded(), NULL, 'every run is the fold of its events');
SELECT is((SELECT count(*)::int FROM entrestate.verify() v WHERE object !~ '^role '), 0, 'verify() finds nothing');
SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'nothing at all');
SELECT finish();
ROLLBACK;
