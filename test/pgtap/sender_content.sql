-- What should happen: templates and their fields, guards, variants, identities, sequences, sender_setup().
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('c', '{email 0,sms 1 day}'), flow.lead('c', 'Ann Lee') \g /dev/null
SELECT campaign AS c, email AS m, sms AS s FROM flow.tenant WHERE name = 'c' \gset
SELECT flow.id('c', 'Ann Lee') AS l \gset

-- ---------------------------------------------------------------- fields and rendering
SELECT is(entrestate.template_fields('{{lead.full_name}} {{ lead.first_name | there }} {{lead.full_name}}{{lead.custom.budget}}'), '{lead.full_name,lead.custom.budget}', 'fields without a default, each once');
SELECT throws_ok(format('SELECT entrestate.template_fields(%L)', x), '22023', format('the text has a field that is none, at character %s', at), replace(x, E'\n', ' '))
FROM (VALUES ('é{{lead}}', 2), ('{{lead.x', 1), ('a{{}}', 2), ('{{user.name}}', 1), ('{{lead..x}}', 1), ('{{lead.x y}}', 1), ('{{lead.{{x}}}}', 1), (E'{{lead.\nx}}', 1), ('{{#each lead.x}}', 1), ('{{lead.a.b.c.d.e.f}}', 1)) v(x, at);
SELECT is(entrestate.template_render(x, '{"lead": {"full_name": "<A & \"B''\u0007\n{{lead.x}}", "score": 3.50, "hot": true, "empty": "  ", "nil": null, "list": [1], "custom": {"a": "b"}}}', html, line), want, replace(x, E'\n', ' '))
FROM (VALUES ('Hi {{lead.full_name}}', true, false, E'Hi &lt;A &amp; &quot;B&#39;\n{{lead.x}}'), ('Hi {{lead.full_name}}', false, true, 'Hi <A & "B''{{lead.x}}'),
  ('{{lead.score}} {{lead.hot}} {{lead.custom.a}}', false, false, '3.50 true b'), ('{{lead.empty}}', false, false, NULL), ('{{lead.empty|x}}', false, false, 'x'),
  ('{{lead.nil}}', false, false, NULL), ('{{lead.list}}', false, false, NULL), ('{{lead.custom}}', false, false, NULL), ('{{lead.nope|}}!', false, false, '!'),
  (E'a\nb', false, true, 'ab'), ('}} {x}', false, false, '}} {x}'), ('{{lead.nope|<b>}}', true, false, '<b>')) v(x, html, line, want);
SELECT is(entrestate.template_render('{{lead.n}}', '{"lead": {"n": "A\r\nBcc: x\u2028\u2029\u0085y\u007f"}}', false, true), 'ABcc: xy', 'a subject has one line');
SELECT is(entrestate.template_render(repeat('{{lead.n}}', 200), jsonb_build_object('lead', jsonb_build_object('n', repeat('x', 6000)))), NULL, 'above 1 MB nothing is rendered');
SELECT is(entrestate.template_missing('{lead.a,lead.b}', '{"lead": {"a": "x"}}'), 'lead.b', 'the first that is missing');
SELECT is(entrestate.template_missing('{lead.a}', '{"lead": {"a": "x"}}'), NULL, 'none is missing');

-- ---------------------------------------------------------------- guards
SELECT is(entrestate.guard_holds(g, '{"lead": {"score": 3, "hot": true}, "steps": [{"opened": false}], "now": 1767607200.5}'), want, g)
FROM (VALUES ('$.lead.score > 2', true), ('$.lead.nope > 2', NULL), ('$.lead.score > 3', false), ('$.steps[0].opened == true', false), ('$.steps[1].opened == true', NULL),
  ('$.now - 1767607200 < 1', true), ('$.lead.score / 0 > 1', NULL), ('$.lead.hot > 1', NULL), ('$.lead.score', NULL)) v(g, want);
SELECT is(entrestate.guard_check('$.lead.score > 2 && !($.lead.hot == true)'), '$.lead.score > 2 && !($.lead.hot == true)', 'a guard');
SELECT throws_ok(format('SELECT entrestate.guard_check(%L)', g), '22023', NULL, 'no guard: ' || left(g, 40))
FROM unnest(ARRAY['', '$.lead.score', '$.a >', '$.a > $x', '$.a[$i] > 1', '$.a ? (@ > $x) == 1', '$.a.datetime() > 1', 'lax $.a > 1', '1', '$.a like_regex "("', '$.a == "' || repeat('x', 4096) || '"']) g;

-- ---------------------------------------------------------------- variants
SELECT is((SELECT count(*) FROM generate_series(0, 99) i CROSS JOIN LATERAL (SELECT substr(sha256(convert_to('run' || i, 'UTF8') || int4send(i % 7)), 1, 8) AS b) h
    CROSS JOIN LATERAL (SELECT sum(get_byte(h.b, k) * 256::numeric ^ (7 - k)) % 6 AS r FROM generate_series(0, 7) k) n
    WHERE entrestate.step_variant('run' || i, i % 7, '{1,2,3}') <> CASE WHEN r < 1 THEN 0 WHEN r < 3 THEN 1 ELSE 2 END), 0::bigint, 'the first 8 bytes of SHA-256 modulo the weights');
SELECT throws_ok(format('SELECT entrestate.step_variant(''r'', 0, %L)', w), '22023', NULL, w) FROM unnest('{"{}","{0}","{1,NULL}"}'::text[]) w;

-- ---------------------------------------------------------------- templates
SELECT flow.enter('c') \g /dev/null
SELECT is(entrestate.template_version_add(:'m', 'Dear {{lead.full_name}}', 'For {{lead.company}}'), 2, 'a new version');
SELECT is(entrestate.template_get(:'m') ->> 'status' || (entrestate.template_get(:'m') ->> 'fields'), 'draft["lead.company", "lead.full_name"]', 'a draft, with its fields');
SELECT is((SELECT string_agg(version || status, ' ') FROM entrestate.template_list() WHERE template_id = :'m'), '2draft 1approved', 'every version is listed');
SELECT is((SELECT count(*) FROM entrestate.template_list(:'m', 2) WHERE template_id = :'m'), 1::bigint, 'the next page');
SELECT throws_ok(format('SELECT entrestate.template_version_add(%L, %L)', :'m', 'x'), '22023', 'an email has a subject, other messages have none', 'a version is of its channel');
SELECT throws_ok($$SELECT entrestate.template_version_add('00000000-0000-0000-0000-000000000000', 'x')$$, 'P0002', 'there is no such template', 'of a template');
SELECT throws_ok($$SELECT entrestate.template_create('x', 'sms', 'x', free_text => true)$$, '22023', 'free_text is for WhatsApp alone', 'free text');
SELECT throws_ok($$SELECT entrestate.template_create('x', 'sms', 'x', html => true)$$, '22023', 'html is for email alone', 'html');
SELECT throws_ok($$SELECT entrestate.template_create('x', 'sms', 'x {{lead')$$, '22023', 'the text has a field that is none, at character 3', 'a field that is none');
SELECT is(entrestate.template_preview(:'m', 2, :'l', :'c'), '{"subject": null, "body": "Dear Ann Lee", "missing": "lead.company"}', 'a preview says what is missing');
SELECT unnest(ARRAY[is(x #> '{lead,first_name}', '"Ann"', 'document: the first name'), is(x -> 'now', '1767607200', 'epoch seconds'), is(x #> '{run,cursor}', '0', 'the run'), is(x -> 'steps', '[]', 'no step yet'),
  is(jsonb_typeof(x #> '{attribution,attributed_at}'), 'number', 'attribution'), is(jsonb_typeof(x #> '{lead,created_at}'), 'number', 'times are numbers')])
FROM (SELECT entrestate.sender_document(tenant, campaign, :'l', entrestate.clock_now()) AS x FROM flow.tenant WHERE name = 'c') d;

-- ---------------------------------------------------------------- what was published stays
SELECT throws_ok(x, '55000', NULL, left(x, 70)) FROM unnest(ARRAY[
  'UPDATE entrestate.sender_steps SET delay = ''1 hour''', 'UPDATE entrestate.sender_steps SET step = step + 50', 'DELETE FROM entrestate.sender_steps',
  'INSERT INTO entrestate.sender_steps SELECT tenant_id, campaign_id, version, 9, channel, template_id, template_version, delay FROM entrestate.sender_steps WHERE step = 0',
  'UPDATE entrestate.sender_sequences SET stop_on_reply = false', 'UPDATE entrestate.sender_sequences SET status = ''archived'', exit_predicate = ''$.a == 1''',
  'UPDATE entrestate.sender_sequences SET published_at = NULL', 'DELETE FROM entrestate.sender_sequences',
  'UPDATE entrestate.templates SET body = ''x'' WHERE version = 1', 'UPDATE entrestate.templates SET status = ''retired'', fields = ''{lead.x}'' WHERE version = 1', 'DELETE FROM entrestate.templates WHERE version = 1']) x;
SET LOCAL session_replication_role = replica;
SELECT throws_ok('UPDATE entrestate.sender_steps SET delay = ''1 hour''', '55000', NULL, 'nor as a replica');
RESET session_replication_role;

-- ---------------------------------------------------------------- sequences
CREATE FUNCTION pg_temp.steps(step jsonb) RETURNS integer LANGUAGE sql AS
  $$ SELECT entrestate.sequence_create(campaign, jsonb_build_array(jsonb_build_object('channel', 'email', 'delay', '0') || step)) FROM flow.tenant WHERE name = 'c' $$;
SELECT throws_ok(format('SELECT pg_temp.steps(%L)', replace(x, '$m', :'m')), state, NULL, x) FROM (VALUES
  ('{"template": "x"}', 'P0002'), ('{}', 'P0002'), ('{"template": "$m", "guard": "$.a"}', '22023'), ('{"template": "$m", "guard": 1}', '22023'), ('{"template": "$m", "window": {}}', '22023'),
  ('{"template": "$m", "window": [{"from": "9", "to": "10"}]}', '22023'), ('{"template": "$m", "variants": [{"template": "$m", "weight": 1}]}', '22023'), ('{"variants": []}', '22023'),
  ('{"variants": [{"template": "$m", "weight": 0}]}', '22023'), ('{"variants": [{"template": "$m", "weight": 1001}]}', '22023'), ('{"variants": [{"template": "$m", "weight": 1.5}]}', '22023'),
  ('{"variants": [{"template": "x", "weight": 1}]}', 'P0002'), ('{"template": "$m", "extra": 1}', '22023')) v(x, state);
SELECT throws_ok(format('SELECT pg_temp.steps(%L)', jsonb_build_object('variants', jsonb_build_array(jsonb_build_object('template', :'s', 'weight', 1)))), '22023', 'steps[0].variants[0].template is for another channel', 'a variant of another channel');
SELECT throws_ok(format('SELECT entrestate.sequence_create(%L, ''[{"channel": "email", "template": "%s", "delay": "0"}]'', exit_predicate => ''$.a'')', :'c', :'m'), '22023', 'exit_predicate cannot be evaluated', 'an exit predicate');
SELECT entrestate.template_create('draft', 'email', 'b', 's') AS d \gset
SELECT pg_temp.steps(jsonb_build_object('variants', jsonb_build_array(jsonb_build_object('template', :'m', 'weight', 2), jsonb_build_object('template', :'d', 'weight', 1)))) AS v \gset
SELECT throws_ok(format('SELECT entrestate.sequence_publish(%L, %s)', :'c', :'v'), '55000', 'the template of step 0 is not approved', 'a variant that is not approved');
SELECT entrestate.template_status_set(:'d', 1, 'approved') \g /dev/null
SELECT is(entrestate.sequence_publish(:'c', :v), 0, 'published');
SELECT is((SELECT template_version || (variants #>> '{0,version}') || (variants #>> '{1,weight}') FROM entrestate.sender_steps WHERE campaign_id = :'c' AND version = :v), '111', 'the newest approved versions are pinned');
SELECT pg_temp.steps(jsonb_build_object('template', :'m', 'window', '[]'::jsonb)) AS v2 \gset
SELECT throws_ok(format('SELECT entrestate.sequence_publish(%L, %s)', :'c', :'v2'), '55000', 'the window of step 0 is empty', 'an empty window');
SELECT entrestate.agent_settings_set(:'c', windows => '[{"days": ["mon"], "from": "09:00", "to": "12:00"}]') \g /dev/null
SELECT pg_temp.steps(jsonb_build_object('template', :'m', 'window', '[{"days": ["tue"], "from": "09:00", "to": "12:00"}]'::jsonb)) AS v3 \gset
SELECT throws_ok(format('SELECT entrestate.sequence_publish(%L, %s)', :'c', :'v3'), '55000', 'step 0 could never be sent', 'windows with nothing in common');
DELETE FROM entrestate.sender_steps WHERE campaign_id = :'c' AND version = :v3;
SELECT throws_ok(format('SELECT entrestate.sequence_publish(%L, %s)', :'c', :'v3'), '55000', 'the sequence has no steps', 'no steps');
SELECT entrestate.campaign_create('other') AS o \gset
SELECT is(entrestate.sequence_copy(:'c', :v, :'o'), 1, 'copied');
SELECT is(entrestate.sequence_get(:'o') -> 'steps', entrestate.sequence_get(:'c', :v) -> 'steps', 'with its steps');
SELECT throws_ok(format('SELECT entrestate.sequence_archive(%L, 1)', :'o'), 'ZE005', NULL, 'a draft is not archived');
SELECT lives_ok(format('SELECT entrestate.sequence_archive(%L, %s)', :'c', :'v'), 'archived');
SELECT flow.lead('c', 'Bo') \g /dev/null
SELECT is((flow.run('c', 'Bo')).status, NULL, 'no new runs');
SELECT is((flow.run('c', 'Ann Lee')).status, 'pending', 'existing runs go on');
SELECT is((SELECT string_agg(version || status, ' ') FROM entrestate.sequence_list(:'c', max_rows => 3)), format('%sdraft %sdraft %sarchived', :'v3', :'v2', :'v'), 'listed');

-- ---------------------------------------------------------------- identities
SELECT entrestate.identity_create('email', 'Hello@Example.com', E'Team\r\nBcc: x') AS i1, entrestate.identity_create('sms', 'ACME') AS i2 \gset
SELECT throws_ok($$SELECT entrestate.identity_create('email', 'hello@example.com')$$, '23505', NULL, 'once per channel');
SELECT throws_ok($$SELECT entrestate.identity_create('whatsapp', 'ACME')$$, '22023', 'address is none of this channel', 'WhatsApp needs a number');
SELECT throws_ok(format('SELECT entrestate.identity_status_set(%L, ''verified'')', :'i1'), 'ZE005', NULL, 'not verified at once');
SELECT is((SELECT x.identity_id FROM flow.tenant, entrestate.sender_identity(tenant, campaign, 'email') x WHERE name = 'c'), NULL, 'none yet');
SELECT entrestate.identity_status_set(:'i1', 'pending'), entrestate.identity_status_set(:'i1', 'verified'), entrestate.identity_default_set(:'i1') \g /dev/null
SELECT is((SELECT x.status || ' ' || x.display_name FROM flow.tenant, entrestate.sender_identity(tenant, campaign, 'email') x WHERE name = 'c'), 'verified Team Bcc: x', 'the default, its name on one line');
SELECT entrestate.identity_create('email', 'own@example.com') AS i3 \gset
SELECT entrestate.campaign_identity_set(:'c', 'email', :'i3') \g /dev/null
SELECT is((SELECT x.identity_id FROM flow.tenant, entrestate.sender_identity(tenant, campaign, 'email') x WHERE name = 'c'), :'i3', 'the campaign''s own first');
SELECT throws_ok(format('SELECT entrestate.campaign_identity_set(%L, ''email'', %L)', :'c', :'i2'), 'P0002', NULL, 'of its channel');
SELECT entrestate.campaign_identity_set(:'c', 'email') \g /dev/null
SELECT is((SELECT string_agg(channel || is_default, ' ') FROM entrestate.identity_list()), 'emailtrue smsfalse emailfalse', 'listed');

-- ---------------------------------------------------------------- prepare follow-up for me
SELECT unnest(ARRAY[is(x ->> 'tone', tone, intent), is(x -> 'published', 'true', intent || ': published')]) FROM (VALUES ('investor', 'gentle'), ('End user', 'structured'), ('other', 'gentle')) v(intent, tone),
  LATERAL entrestate.sender_setup(:'o', intent) x;
SELECT is((SELECT count(*) FROM entrestate.sequence_list(:'o')), 4::bigint, 'each call makes a version');
SELECT is((entrestate.campaign_get(:'o') ->> 'brake_index'), '1', 'email first: the brake begins at 1');
SELECT entrestate.channel_set('email', false) \g /dev/null
SELECT unnest(ARRAY[is(x -> 'channels', '["sms"]', 'what is enabled'), is(x -> 'brakeIndex', '0', 'no email first: the brake begins at 0')]) FROM entrestate.sender_setup(:'o') x;
SELECT is((entrestate.campaign_get(:'o') ->> 'brake_index'), '0', 'and is kept');
SELECT entrestate.member_add('mia', 'member') \g /dev/null
SELECT entrestate.login(tenant, 'mia') FROM flow.tenant WHERE name = 'c' \g /dev/null
SELECT unnest(ARRAY[is(x -> 'published', 'false', 'who cannot approve does not publish'), is(x #>> '{templates,0,status}', 'draft', 'and leaves drafts'), matches(x ->> 'note', 'template.approve', 'which it says')]) FROM entrestate.sender_setup(:'o') x;
-- ---------------------------------------------------------------- what the processor does with it
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('v', '{email 0}') \g /dev/null
SELECT campaign AS vc, email AS vm FROM flow.tenant WHERE name = 'v' \gset
SELECT entrestate.template_create('other', 'email', 'Dear {{lead.custom.nick}}', 's') AS vn FROM flow.enter('v') \gset
SELECT entrestate.template_status_set(:'vn', 1, 'approved'), entrestate.sequence_create(:'vc', jsonb_build_array(jsonb_build_object('channel', 'email', 'delay', '0',
  'variants', jsonb_build_array(jsonb_build_object('template', :'vm', 'weight', 1), jsonb_build_object('template', :'vn', 'weight', 2))))) \g /dev/null
SELECT entrestate.sequence_publish(:'vc', 2) \g /dev/null
SELECT flow.lead('v', 'lead ' || i) FROM generate_series(1, 40) i \g /dev/null
SELECT is(flow.process('v'), 40, 'a step with variants');
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', e.variant, y.name, e.variant = entrestate.step_variant(entrestate.run_id(e.campaign_id, e.lead_id), 0, '{1,2}')), ', ')
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE e.campaign_id = :'vc' AND e.step = 0),
  '0 sender.step.sent t, 1 sender.step.skipped t', 'each run has its own, with the fields that this one needs');
SELECT is((SELECT array_agg(DISTINCT (i.template_id, i.template_version, i.variant)::text) FROM entrestate.sender_intents i WHERE i.campaign_id = :'vc'), ARRAY[format('(%s,1,0)', :'vm')], 'its template is sent');
SELECT entrestate.template_status_set(:'vm', 1, 'retired') FROM flow.enter('v') \g /dev/null
SELECT flow.lead('v', 'late') \g /dev/null
SELECT is(flow.process('v'), 0, 'held while one of them is not approved');
-- who it comes from
SELECT flow.make('w', '{email 0}'), flow.lead('w', 'Ann') \g /dev/null
SELECT entrestate.identity_create('email', 'team@example.com') AS wi FROM flow.enter('w') \gset
SELECT entrestate.identity_default_set(:'wi') \g /dev/null
SELECT is(flow.process('w'), 0, 'held while its identity is not verified');
SELECT entrestate.identity_status_set(:'wi', 'pending'), entrestate.identity_status_set(:'wi', 'verified') FROM flow.enter('w') \g /dev/null
SELECT is(flow.process('w'), 1, 'and not any more');
SELECT flow.make('x', '{email 0}', 'live'), flow.lead('x', 'Ann') \g /dev/null
SELECT entrestate.identity_status_set(i.identity_id, 'revoked') FROM flow.enter('x'), entrestate.identity_list() i \g /dev/null
SELECT is(flow.process('x'), 0, 'a live tenant''s, revoked');

SELECT * FROM finish();
ROLLBACK;
