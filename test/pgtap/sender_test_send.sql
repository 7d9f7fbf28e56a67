-- Test sends: "a test send to a member", of the specification's section 8. What stands in double quotes is the specification's.
\ir flow_lib.sql
\ir verify_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.as(tenant text, who text) RETURNS void LANGUAGE sql AS $$ SELECT entrestate.login(t.tenant, $2) FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.sound(what text) RETURNS text LANGUAGE sql AS $$
  SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v LIMIT 5) v), NULL, 'verify() finds nothing: ' || what) $$;
-- What a tenant's leads, runs and scores are made of, and what is counted for caps: a test writes none of it.
CREATE FUNCTION pg_temp.said(tenant text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r text;
  d text;
  everything text := '';
BEGIN
  FOREACH r IN ARRAY '{sender_runs,sender_due,sender_events,sender_intents,sender_holds,intent_signals,lead_scores,leads,lead_contacts,audience_actions,handoff_tickets,notifications,past_contacts,sandbox_callbacks,suppressions}'::text[] LOOP
    EXECUTE format('SELECT md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM entrestate.%I x WHERE tenant_id = (SELECT t.tenant FROM flow.tenant t WHERE t.name = $1)', r) INTO d USING tenant;
    everything := everything || r || ' ' || coalesce(d, 'none') || E'\n';
  END LOOP;
  RETURN everything;
END
$$;
-- A test in short: outcome, subject and body.
CREATE FUNCTION pg_temp.test(campaign uuid, version integer, step integer, member text DEFAULT NULL, lead uuid DEFAULT NULL, variant integer DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' | ', r.outcome, r.channel, r.subject, r.body) FROM entrestate.sender_test_send($1, $2, $3, $4, $5, $6) r $$;
-- The same after something else, what it said or why not; both are undone, and a refusal must have written nothing.
CREATE FUNCTION pg_temp.after(tenant text, prepare text, arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  m text;
  before text;
  d text;
BEGIN
  PERFORM flow.enter(tenant);
  BEGIN
    EXECUTE prepare;
    PERFORM flow.enter(tenant);
    before := (SELECT string_agg(x::text, ',') FROM entrestate.sender_usage x) || (SELECT count(*) FROM entrestate.sender_tests) || flow.digest(tenant);
    BEGIN
      EXECUTE format('SELECT r.outcome FROM entrestate.sender_test_send(%s) r', replace(arguments, 'CAMPAIGN', quote_literal(pg_temp.campaign(tenant)))) INTO m;
    EXCEPTION WHEN SQLSTATE '55000' THEN
      GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
      m := concat_ws(': ', replace(SQLERRM, 'the step cannot be tested: ', ''), nullif(d, ''));
      IF before IS DISTINCT FROM (SELECT string_agg(x::text, ',') FROM entrestate.sender_usage x) || (SELECT count(*) FROM entrestate.sender_tests) || flow.digest(tenant) THEN
        m := m || ', but something was written';
      END IF;
    END;
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    PERFORM flow.enter(tenant);
    RETURN m;
  END;
END
$$;
CREATE FUNCTION pg_temp.used(tenant text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', u.budget, CASE WHEN u.budget = 'campaign_minute' THEN 'c' ELSE u.key END, u.used), ', ' ORDER BY u.budget, u.key) FROM entrestate.sender_usage u JOIN flow.tenant t ON t.tenant = u.tenant_id WHERE t.name = $1 $$;

DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('t', '{email 0,sms 1 day}'), flow.make('other', '{email 0}'), flow.enter('t');
  PERFORM entrestate.member_add(v.u, v.r) FROM (VALUES ('adm', 'admin'), ('ope', 'operator'), ('mem', 'member'), ('clo', 'closer'), ('vic', 'viewer'), ('gone', 'member')) v(u, r);
  PERFORM entrestate.tenant_update(country => 'CA'), flow.lead('t', 'Ann Lee'), flow.lead('other', 'Bo'), flow.process('t');
END $$;

-- ---------------------------------------------------------------- members' addresses
CREATE FUNCTION pg_temp.contacts(tenant text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', c.user_id, c.kind, c.address, c.address_norm, c.set_by), ', ' ORDER BY c.user_id, c.kind) FROM entrestate.member_contacts c JOIN flow.tenant t ON t.tenant = c.tenant_id WHERE t.name = $1 $$;
SELECT entrestate.member_contact_set('vic', 'email', ' Vic@Exämple.com ') FROM pg_temp.as('t', 'vic') \g /dev/null
SELECT is(pg_temp.contacts('t'), 'vic email Vic@Exämple.com vic@xn--exmple-cua.com vic', 'a member, of any role, sets his own; as given, and normalised as a lead''s');
SELECT flow.digest('t') AS before \gset
SELECT entrestate.member_contact_set('vic', 'email', 'Vic@Exämple.com') FROM pg_temp.as('t', 'vic') \g /dev/null
SELECT is(flow.digest('t'), :'before', 'twice is once');
SELECT throws_ok($$SELECT entrestate.member_contact_set('boss', 'email', 'x@example.com')$$, '42501', NULL, 'nobody''s else, as ' || w) FROM unnest('{ope,mem,clo,vic}'::text[]) w, pg_temp.as('t', w);
SELECT entrestate.member_contact_set('ope', 'phone', '416 555 0777'), entrestate.member_contact_set('boss', 'email', 'boss@example.org'), entrestate.member_contact_set('boss', 'phone', '+14165550778'),
  entrestate.member_contact_set('vic', 'email', 'victor@example.org') FROM pg_temp.as('t', 'adm') \g /dev/null
SELECT is(pg_temp.contacts('t'), 'boss email boss@example.org boss@example.org adm, boss phone +14165550778 +14165550778 adm, ope phone 416 555 0777 +14165550777 adm, vic email victor@example.org victor@example.org adm',
  'who manages members sets anybody''s; a national number is of the tenant''s country');
SELECT is((SELECT string_agg(concat_ws(' ', a.actor, a.target_id, a.detail), ', ' ORDER BY a.id) FROM entrestate.audit_log a JOIN flow.tenant t ON t.tenant = a.tenant_id AND t.name = 't' WHERE a.action = 'member.contact' LIMIT 1),
  'vic vic {"kind": "email", "removed": false}, adm ope {"kind": "phone", "removed": false}, adm boss {"kind": "email", "removed": false}, adm boss {"kind": "phone", "removed": false}, adm vic {"kind": "email", "removed": false}', 'audited, without the address');
SELECT is((SELECT count(*)::int FROM (SELECT a::text AS said FROM entrestate.audit_log a UNION ALL SELECT e::text FROM entrestate.activity_events e) x WHERE said ~* 'exämple|example.org|\+1416555077'), 0, 'no event has an address');
SELECT is((SELECT string_agg(a.attname || ' ' || a.attstattarget, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = 'entrestate.member_contacts'::regclass AND a.attname LIKE 'address%'), 'address 0,address_norm 0', 'nor do the planner''s statistics');
SELECT entrestate.member_contact_set('ope', 'phone', NULL) FROM pg_temp.as('t', 'ope') \g /dev/null
SELECT is(pg_temp.contacts('t') ~ 'ope', false, 'NULL takes it away');
SELECT entrestate.member_contact_set('ope', 'phone', NULL) FROM pg_temp.as('t', 'ope') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.member_contact_set(%s)', a), s, m, format('member_contact_set(%s)', a)) FROM flow.enter('t'), (VALUES
  ('''boss'', ''email'', ''nobody''', '22023', 'email is not an address that can be sent to'), ('''boss'', ''phone'', ''12''', '22023', 'phone is not a number that can be called'), ('''boss'', ''email'', '' ''', '22023', 'address is empty'),
  ('''boss'', ''fax'', ''1''', '22023', 'kind has a value that is not allowed'), ('''nobody'', ''email'', ''x@example.com''', 'P0002', 'there is no such member'), ('NULL, ''email'', ''x@example.com''', '22004', 'user_id is missing')) v(a, s, m);
SELECT throws_ok(format($$SELECT entrestate.member_contact_set('boss', 'email', %L)$$, upper(c.address_norm)), '23505', 'a lead has this address', 'a lead''s address is no member''s') FROM flow.enter('t'), entrestate.lead_contacts c
  WHERE c.lead_id = flow.id('t', 'Ann Lee') AND c.kind = 'email';
SELECT lives_ok(format($$SELECT entrestate.member_contact_set('boss', 'email', %L), entrestate.member_contact_set('boss', 'email', 'boss@example.org')$$, c.address_norm), 'another tenant''s lead is nobody here') FROM flow.enter('t'), entrestate.lead_contacts c
  WHERE c.lead_id = flow.id('other', 'Bo') AND c.kind = 'email';

-- ---------------------------------------------------------------- a sandbox: sent, to nobody
SELECT pg_temp.said('t') AS before, pg_temp.used('t') AS used \gset
SELECT is(:'used'::text, 'channel_day email 1', 'the lead''s message is counted');
SELECT * FROM flow.enter('t'), entrestate.sender_test_send(pg_temp.campaign('t'), 1, 0) \gset first_
SELECT is(concat_ws(' | ', :'first_outcome', :'first_channel', :'first_subject', :'first_body'), 'sent | email | [Test] s | b', '"a test send to a member": the caller, and marked');
SELECT is(pg_temp.test(pg_temp.campaign('t'), 1, 1), 'sent | sms | [Test] b', 'without a subject the text is marked') FROM flow.enter('t');
SELECT is(pg_temp.test(pg_temp.campaign('t'), 1, 0, 'vic', flow.id('t', 'Ann Lee')), 'sent | email | [Test] s | b', 'to a colleague, with a lead''s values') FROM pg_temp.as('t', 'mem');
SELECT is(pg_temp.said('t'), :'before', 'no run, event, signal, cap, ticket or callback knows of it');
SELECT is(pg_temp.used('t'), 'channel_day email 3, channel_day sms 1', 'daily limits do');
SELECT is((SELECT string_agg(concat_ws(' ', s.version, s.step, s.variant, s.channel, s.template_version, s.user_id, s.lead_id = flow.id('t', 'Ann Lee'), s.mode, s.status, s.reason, s.requested_by, s.final_at = s.created_at), ', ') FROM entrestate.sender_test_list(pg_temp.campaign('t')) s),
  '1 0 email 1 vic t sandbox sent mem t, 1 1 sms 1 boss sandbox sent boss t, 1 0 email 1 boss sandbox sent boss t', 'listed, newest first') FROM pg_temp.as('t', 'vic');
SELECT is((SELECT string_agg(s.step::text, ' ') FROM entrestate.sender_test_list(pg_temp.campaign('t'), max_rows => 2) s), '0 1', 'a page') FROM flow.enter('t');
SELECT is((SELECT string_agg(s.test_id::text, ' ') FROM entrestate.sender_test_list(pg_temp.campaign('t'), (SELECT min(x.test_id::text)::uuid FROM entrestate.sender_test_list(pg_temp.campaign('t'), max_rows => 2) x)) s), :'first_test_id', 'the next page') FROM flow.enter('t');
SELECT is((SELECT count(*)::int FROM entrestate.sender_test_list(pg_temp.campaign('t')) s), 0, 'another tenant''s campaign has none') FROM flow.enter('other');
SELECT is((SELECT count(*)::int FROM entrestate.sender_tests s WHERE s.message IS NOT NULL), 0, 'no message is kept of what is final');
SELECT is((SELECT string_agg(concat_ws(' ', a.actor, a.target_id = :'first_test_id', a.detail - 'campaign'), ', ' ORDER BY a.id) FROM entrestate.audit_log a WHERE a.action = 'sender.test' AND a.target_id = :'first_test_id'),
  'boss t {"step": 0, "member": "boss", "outcome": "sent", "version": 1}', 'audited');
SELECT is((SELECT string_agg(concat_ws(' ', e.campaign_id = pg_temp.campaign('t'), e.payload), ', ') FROM entrestate.activity_events e WHERE e.type = 'sender.tested' AND e.entity_id = :'first_test_id'),
  't {"step": 0, "channel": "email", "outcome": "sent", "version": 1}', 'and in the feed');
-- a sandbox whose provider refuses everything: of leads' messages
SELECT is(pg_temp.after('t', 'SELECT entrestate.sandbox_set(1, ''{"refusal": 1, "unknown": 0}'')', 'CAMPAIGN, 1, 0'), 'sent', 'what the sandbox provider draws is of leads');

-- ---------------------------------------------------------------- refusals
SELECT is(pg_temp.after('t', p, coalesce(a, 'CAMPAIGN, 1, 0')), r, format('refused: %s', r)) FROM (VALUES
  ('SELECT entrestate.tenant_pause(''x'')', NULL, 'tenant_paused'),
  ('SELECT entrestate.tenant_freeze(''x'')', NULL, 'the tenant is frozen: Nothing is written for a frozen tenant.'),
  ('SELECT entrestate.campaign_status_set(pg_temp.campaign(''t''), ''paused'')', NULL, 'campaign_paused'),
  ('UPDATE entrestate.campaigns SET risk_paused_at = now(), risk_paused_reason = ''x'' WHERE campaign_id = pg_temp.campaign(''t'')', NULL, 'risk_paused'),
  ('SELECT entrestate.campaign_status_set(pg_temp.campaign(''t''), ''completed'')', NULL, 'campaign_ended'),
  ('SELECT entrestate.campaign_status_set(pg_temp.campaign(''t''), ''completed''), entrestate.campaign_status_set(pg_temp.campaign(''t''), ''archived'')', NULL, 'campaign_ended'),
  ('SELECT entrestate.campaign_update(pg_temp.campaign(''t''), sender_enabled => false)', NULL, 'sent'),
  ('SELECT entrestate.channel_set(''email'', false)', NULL, 'channel_disabled'),
  ('SELECT entrestate.agent_settings_set(pg_temp.campaign(''t''), channels => ''{sms}'')', NULL, 'channel_disabled'),
  ('SELECT entrestate.channel_set(''email'', paused => true)', NULL, 'channel_paused'),
  ('SELECT entrestate.channel_set(''email'', paused => true)', 'CAMPAIGN, 1, 1', 'sent'),
  ('SELECT entrestate.template_status_set((SELECT t.email FROM flow.tenant t WHERE t.name = ''t''), 1, ''retired'')', NULL, 'awaiting_approval'),
  ('SELECT entrestate.identity_default_set(entrestate.identity_create(''email'', ''team@example.com''))', NULL, 'sender_unverified'),
  ('SELECT entrestate.channel_limits_set(''email'', daily_limit => 3)', NULL, 'daily_limit'),
  ('SELECT entrestate.channel_limits_set(''email'', daily_limit => 4)', NULL, 'sent'),
  ('SELECT entrestate.channel_limits_set(''email'', warmup => ''{3}'')', NULL, 'daily_limit'),
  -- a minute's use is counted once there is a rate
  ('SELECT entrestate.channel_limits_set(''email'', per_minute => 1), pg_temp.test(pg_temp.campaign(''t''), 1, 0)', NULL, 'rate_limited'),
  ('SELECT entrestate.channel_limits_set(''email'', domain_per_minute => 1), pg_temp.test(pg_temp.campaign(''t''), 1, 0)', NULL, 'rate_limited'),
  ('SELECT entrestate.channel_limits_set(''email'', domain_per_minute => 1), pg_temp.test(pg_temp.campaign(''t''), 1, 0), entrestate.member_contact_set(''vic'', ''email'', ''x@example.net'')', 'CAMPAIGN, 1, 0, ''vic''', 'sent'),
  ('UPDATE entrestate.campaigns SET per_minute = 1 WHERE campaign_id = pg_temp.campaign(''t''); SELECT pg_temp.test(pg_temp.campaign(''t''), 1, 0)', NULL, 'rate_limited'),
  ('SELECT broken.event_triggers(''DISABLE''); CREATE OR REPLACE FUNCTION entrestate.sender_funds(tenant uuid) RETURNS integer LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp RETURN 0', NULL, 'insufficient_funds'),
  ('SELECT', 'CAMPAIGN, 1, 0, ''mem''', 'missing_email'),
  ('SELECT', 'CAMPAIGN, 1, 1, ''vic''', 'missing_phone'),
  ('SELECT entrestate.suppression_add(''email'', ''BOSS@example.org'')', NULL, 'address_suppressed'),
  ('SELECT entrestate.suppression_add(''sms'', ''+14165550778'')', 'CAMPAIGN, 1, 1', 'address_suppressed'),
  ('SELECT entrestate.suppression_add(''whatsapp'', ''+14165550778'')', 'CAMPAIGN, 1, 1', 'sent'),
  -- what belongs to a lead, or to a time, is not asked: a member's consent, quiet hours, caps
  ('SELECT entrestate.channel_limits_set(''email'', consent_required => true), entrestate.tenant_quiet_hours_set(''[{"from": "00:00", "to": "23:00"}]''), entrestate.agent_settings_set(pg_temp.campaign(''t''), caps => ''[{"max": 1, "per": "7 days"}]'')', NULL, 'sent'),
  ('SELECT entrestate.lead_opt_out(flow.id(''t'', ''Ann Lee''), ''email'')', 'CAMPAIGN, 1, 0, NULL, flow.id(''t'', ''Ann Lee'')', 'sent'),
  -- a member may be a lead as well: then the tests do not go there
  ('SELECT entrestate.lead_create(''B'', ''boss@example.org'')', NULL, 'address_of_lead: A lead has the member''s address.'),
  ('SELECT entrestate.lead_create(''B'', phone => ''+14165550778'')', NULL, 'sent'),
  ('SELECT entrestate.lead_create(''B'', phone => ''+14165550778'')', 'CAMPAIGN, 1, 1', 'address_of_lead: A lead has the member''s address.'),
  ('SELECT entrestate.lead_erasure_request(flow.id(''t'', ''Ann Lee''))', 'CAMPAIGN, 1, 0, NULL, flow.id(''t'', ''Ann Lee'')', 'erased: The lead asked for its erasure.'),
  ('SELECT entrestate.sequence_create(pg_temp.campaign(''t''), jsonb_build_array(jsonb_build_object(''channel'', ''email'', ''template'', (SELECT x.email FROM flow.tenant x WHERE x.name = ''t''), ''delay'', ''0''))), entrestate.sequence_publish(pg_temp.campaign(''t''), 2)', NULL, 'the version is archived'),
  ('SELECT', NULL, 'sent')) v(p, a, r);
SELECT is((regexp_match(pg_temp.after('t', format('SELECT entrestate.lead_merge(%L, %L)', x.dup, flow.id('t', 'Ann Lee')), format('CAMPAIGN, 1, 0, NULL, %L', x.dup)), '^[^:]*'))[1], 'the lead was merged into another one', 'a lead that was merged away')
  FROM flow.enter('t'), LATERAL (SELECT entrestate.lead_create('Dup') AS dup OFFSET 0) x;
SELECT throws_ok(replace(format('SELECT entrestate.sender_test_send(%s)', a), 'CAMPAIGN', 'pg_temp.campaign(''t'')'), s, m, format('sender_test_send(%s)', a)) FROM flow.enter('t'), (VALUES
  ('NULL, 1, 0', '22004', 'campaign is missing'), ('CAMPAIGN, NULL, 0', '22004', 'version is missing'), ('CAMPAIGN, 1, NULL', '22004', 'step is missing'),
  ('CAMPAIGN, 1, 2', 'P0002', 'there is no such step'), ('CAMPAIGN, 1, -1', 'P0002', 'there is no such step'), ('CAMPAIGN, 2, 0', 'P0002', 'there is no such step'), ('CAMPAIGN, 1, 100000', 'P0002', 'there is no such step'),
  ('gen_random_uuid(), 1, 0', 'P0002', 'there is no such step'), ('pg_temp.campaign(''other''), 1, 0', 'P0002', 'there is no such step'),
  ('CAMPAIGN, 1, 0, ''nobody''', 'P0002', 'there is no such member'), ('CAMPAIGN, 1, 0, ''''', '22023', 'member is empty'),
  ('CAMPAIGN, 1, 0, NULL, gen_random_uuid()', 'P0002', 'there is no such lead'), ('CAMPAIGN, 1, 0, NULL, flow.id(''other'', ''Bo'')', 'P0002', 'there is no such lead'),
  ('CAMPAIGN, 1, 0, variant => 0', '22023', 'the step has no variants')) v(a, s, m);
-- a member of another tenant; and a lead's address is no member
SELECT entrestate.member_add('far'), entrestate.member_contact_set('far', 'email', 'far@example.org') FROM flow.enter('other') \g /dev/null
SELECT throws_ok(format($$SELECT entrestate.sender_test_send(pg_temp.campaign('t'), 1, 0, %L)$$, x), 'P0002', 'there is no such member', 'to nobody else: ' || left(x, 3)) FROM flow.enter('t'), (
  SELECT 'far' UNION ALL SELECT flow.id('t', 'Ann Lee')::text UNION ALL SELECT 'x1@example.com') v(x);
SELECT throws_ok($$SELECT entrestate.sender_test_send(pg_temp.campaign('t'), 1, 0)$$, '42501', NULL, 'not by a ' || w) FROM unnest('{clo,vic}'::text[]) w, pg_temp.as('t', w);
-- a member who was removed, with his address
SELECT entrestate.member_contact_set('gone', 'email', 'gone@example.org') FROM pg_temp.as('t', 'gone') \g /dev/null
SELECT is(pg_temp.test(pg_temp.campaign('t'), 1, 0, 'gone'), 'sent | email | [Test] s | b', 'as long as he is a member') FROM flow.enter('t');
SELECT entrestate.member_remove('gone') FROM flow.enter('t') \g /dev/null
SELECT is((SELECT count(*)::int FROM entrestate.member_contacts c WHERE c.user_id = 'gone'), 0, 'his address goes with him');
SELECT throws_ok($$SELECT entrestate.sender_test_send(pg_temp.campaign('t'), 1, 0, 'gone')$$, 'P0002', 'there is no such member', 'and he gets no more') FROM flow.enter('t');
SELECT is((SELECT count(*)::int FROM entrestate.sender_test_list(pg_temp.campaign('t')) s WHERE s.user_id = 'gone'), 1, 'what he was sent stays listed') FROM flow.enter('t');
SELECT pg_temp.sound('tests in a sandbox');

-- ---------------------------------------------------------------- what it says
DO $$ DECLARE c uuid; m uuid; x uuid; w uuid; BEGIN
  PERFORM flow.enter('t'), entrestate.channel_set('whatsapp', true);
  c := entrestate.campaign_create('Lake & Side');
  m := entrestate.template_create('m', 'email', '<p>{{lead.first_name|there}}, {{lead.company}}, {{lead.custom.plan}}, {{campaign.name}}, {{attribution.utm.utm_source}}</p>', 'For {{lead.full_name}}', html => true);
  x := entrestate.template_create('x', 'email', 'other', 'Other');
  w := entrestate.template_create('w', 'whatsapp', 'Hi', free_text => true);
  PERFORM entrestate.sequence_create(c, jsonb_build_array(
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '0', 'guard', '$.lead.score > 1000', 'window', '[{"days": ["sun"], "from": "03:00", "to": "03:01"}]'::jsonb),
    jsonb_build_object('channel', 'email', 'delay', '1 day', 'variants', jsonb_build_array(jsonb_build_object('template', m, 'weight', 1), jsonb_build_object('template', x, 'weight', 1))),
    jsonb_build_object('channel', 'whatsapp', 'template', w, 'delay', '1 day'),
    jsonb_build_object('channel', 'whatsapp', 'template', entrestate.template_create('r', 'whatsapp', 'Registered'), 'delay', '1 day'),
    jsonb_build_object('channel', 'email', 'template', entrestate.template_create('c', 'email', '{{campaign.landing.nowhere}}', 's'), 'delay', '1 day'),
    jsonb_build_object('channel', 'email', 'template', entrestate.template_create('d', 'email', '{{lead.custom.plan}} {{lead.custom.plan.name}} {{lead.custom}}', 's'), 'delay', '1 day')));
  INSERT INTO flow.tenant (name, tenant, campaign, email, sms) SELECT 'words', t.tenant, c, m, x FROM flow.tenant t WHERE t.name = 't';
  PERFORM flow.lead('t', 'Eve <E>');
  PERFORM entrestate.lead_update(flow.id('t', 'Eve <E>'), company => 'A & B', custom => '{"plan": "gold"}');
END $$;
SELECT is(pg_temp.test(pg_temp.campaign('words'), 1, 0), 'sent | email | [Test] For [lead.full_name] | <p>there, [lead.company], [lead.custom.plan], Lake &amp; Side, [attribution.utm.utm_source]</p>',
  'a draft of a draft campaign, of a text that is not approved: without a lead its fields'' defaults and samples; guard and window are not asked') FROM flow.enter('words');
SELECT is(pg_temp.after('words', 'SELECT', format('CAMPAIGN, 1, 0, NULL, %L', flow.id('t', 'Eve <E>'))), 'missing_field: Without a value: attribution.utm.utm_source.', 'with a lead, the fields that have no value are named');
SELECT is(pg_temp.after('words', 'SELECT', format('CAMPAIGN, 1, 0, NULL, %L', flow.id('t', 'Ann Lee'))), 'missing_field: Without a value: lead.company, lead.custom.plan, attribution.utm.utm_source.', 'all of them');
SELECT entrestate.lead_attribute(flow.id('t', 'Eve <E>'), pg_temp.campaign('words'), '{"utm": {"utm_source": "news"}}') FROM flow.enter('words') \g /dev/null
SELECT is(pg_temp.test(pg_temp.campaign('words'), 1, 0, NULL, flow.id('t', 'Eve <E>')), 'sent | email | [Test] For Eve <E> | <p>Eve, A &amp; B, gold, Lake &amp; Side, news</p>', 'a lead''s values, escaped in HTML') FROM flow.enter('words');
SELECT is(pg_temp.after('words', 'SELECT', 'CAMPAIGN, 1, 4'), 'missing_field: Without a value: campaign.landing.nowhere.', 'what is the campaign''s has no sample: no lead would have it');
SELECT is(pg_temp.after('words', 'SELECT', 'CAMPAIGN, 1, 5'), 'missing_field: Without a value: lead.custom.plan, lead.custom.plan.name.', 'nor two fields of which one lies in the other');
SELECT is(pg_temp.after('words', 'SELECT', 'CAMPAIGN, 1, 2'), 'whatsapp_window', 'free text by WhatsApp');
SELECT is(pg_temp.test(pg_temp.campaign('words'), 1, 3), 'sent | whatsapp | [Test] Registered', 'a registered text by WhatsApp') FROM flow.enter('words');
-- variants
SELECT is(pg_temp.test(pg_temp.campaign('words'), 1, 1, variant => v), r, format('variant %s', coalesce(v::text, 'of nobody: the first'))) FROM flow.enter('words'), (VALUES
  (NULL, 'sent | email | [Test] For [lead.full_name] | <p>there, [lead.company], [lead.custom.plan], Lake &amp; Side, [attribution.utm.utm_source]</p>'),
  (0, 'sent | email | [Test] For [lead.full_name] | <p>there, [lead.company], [lead.custom.plan], Lake &amp; Side, [attribution.utm.utm_source]</p>'), (1, 'sent | email | [Test] Other | other')) x(v, r);
SELECT throws_ok(format($$SELECT entrestate.sender_test_send(pg_temp.campaign('words'), 1, 1, variant => %s)$$, v), '22023', 'variant is none of the step''s', 'variant ' || v) FROM flow.enter('words'), unnest('{-1,2}'::int[]) v;
CREATE FUNCTION pg_temp.variants() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  c uuid := pg_temp.campaign('words');
  l uuid;
  wrong text;
BEGIN
  FOR i IN 1 .. 12 LOOP
    l := entrestate.lead_create('V', company => 'x', custom => '{"plan": "x"}', campaign => c, attribution => '{"utm": {"utm_source": "x"}}');
    PERFORM pg_temp.test(c, 1, 1, NULL, l);
    wrong := concat_ws(', ', wrong, (SELECT s.variant || ' of ' || l FROM entrestate.sender_test_list(c, max_rows => 1) s
      WHERE s.variant IS DISTINCT FROM entrestate.step_variant(entrestate.run_id(c, l), 1, '{1,1}')));
  END LOOP;
  RETURN wrong;
END
$$;
SELECT is(pg_temp.variants(), '', 'the variant that the lead''s run has') FROM flow.enter('words');
-- which text
SELECT is(pg_temp.after('words', format('SELECT entrestate.template_status_set(%L, 1, ''rejected'')', (SELECT t.email FROM flow.tenant t WHERE t.name = 'words')), 'CAMPAIGN, 1, 0'), 'awaiting_approval', 'a text that was rejected');
SELECT is(pg_temp.after('words', format('SELECT entrestate.template_status_set(%L, 1, ''rejected'')', (SELECT t.email FROM flow.tenant t WHERE t.name = 'words')), 'CAMPAIGN, 1, 1, variant => 1'), 'sent', 'not another variant''s');
SELECT entrestate.template_version_add(x, 'two', 'Two'), entrestate.template_version_add(x, 'three', 'Three'), entrestate.template_status_set(x, 3, 'rejected') FROM flow.enter('words'), LATERAL (SELECT t.sms AS x FROM flow.tenant t WHERE t.name = 'words') t \g /dev/null
SELECT is(pg_temp.test(pg_temp.campaign('words'), 1, 1, variant => 1), 'sent | email | [Test] Two | two', 'of a draft version the newest text that is not rejected') FROM flow.enter('words');
SELECT entrestate.template_status_set(t.email, 1, 'approved'), entrestate.template_status_set(t.sms, 1, 'approved') FROM flow.tenant t, flow.enter('words') WHERE t.name = 'words' \g /dev/null
SELECT entrestate.sequence_create(pg_temp.campaign('words'), jsonb_build_array(jsonb_build_object('channel', 'email', 'template', t.sms, 'delay', '0'))), entrestate.sequence_publish(pg_temp.campaign('words'), 2) FROM flow.tenant t, flow.enter('words') WHERE t.name = 'words' \g /dev/null
SELECT is(pg_temp.test(pg_temp.campaign('words'), 2, 0), 'sent | email | [Test] Other | other', 'of a published version the one that is pinned') FROM flow.enter('words');
SELECT throws_ok(format($$SELECT entrestate.sender_test_send(pg_temp.campaign('words'), 1, 0, NULL, %L)$$, l), '54000', 'the message is too long', 'a message above 1 MB') FROM flow.enter('words'), LATERAL (
  SELECT entrestate.lead_create('Long', company => repeat('x', 200), custom => jsonb_build_object('plan', repeat('&', 60000), 'x', 1), campaign => pg_temp.campaign('words'), attribution => '{"utm": {"utm_source": "x"}}') AS l,
    entrestate.template_version_add(t.email, repeat('{{lead.custom.plan}}', 5), 's') FROM flow.tenant t WHERE t.name = 'words' OFFSET 0) x;
SELECT pg_temp.sound('what it says');

-- ---------------------------------------------------------------- dry run
SELECT pg_temp.used('t') AS used, pg_temp.said('t') AS before FROM flow.enter('t'), entrestate.campaign_rehearse(pg_temp.campaign('t')) \gset
SELECT is(pg_temp.test(pg_temp.campaign('t'), 1, 0), 'simulated | email | [Test] s | b', 'a campaign''s dry run: rendered, and nothing is sent') FROM flow.enter('t');
SELECT is(pg_temp.used('t') || pg_temp.said('t'), :'used' || :'before', 'it uses up nothing');
SELECT is((SELECT concat_ws(' ', s.mode, s.status, s.reason) FROM entrestate.sender_test_list(pg_temp.campaign('t'), max_rows => 1) s), 'dry_run simulated dry_run', 'listed as such') FROM flow.enter('t');
SELECT is(pg_temp.after('t', p, coalesce(a, 'CAMPAIGN, 1, 0')), r, 'in a rehearsal: ' || r) FROM (VALUES ('SELECT entrestate.channel_limits_set(''email'', daily_limit => 1)', NULL, 'simulated'),
  ('SELECT entrestate.channel_set(''email'', paused => true)', NULL, 'channel_paused'), ('SELECT', 'CAMPAIGN, 1, 0, ''mem''', 'missing_email')) v(p, a, r);
SELECT entrestate.campaign_go_live(pg_temp.campaign('t')), entrestate.tenant_update(dry_run => true) FROM flow.enter('t') \g /dev/null
SELECT is(pg_temp.test(pg_temp.campaign('t'), 1, 1), 'simulated | sms | [Test] b', 'the tenant''s dry run') FROM flow.enter('t');
SELECT entrestate.tenant_update(dry_run => false) FROM flow.enter('t') \g /dev/null

-- ---------------------------------------------------------------- at most 50 an hour
SELECT flow.at('2026-01-06T10:00:00Z') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT pg_temp.test(pg_temp.campaign('t'), 1, 0), ',') FROM generate_series(1, 50)), 'sent | email | [Test] s | b', 'fifty') FROM flow.enter('t');
SELECT is(pg_temp.after('t', 'SELECT', 'CAMPAIGN, 1, 1'), 'rate_limited: At most 50 tests an hour are sent.', 'and no more, of whatever step');
SELECT is(pg_temp.after('t', 'SELECT entrestate.tenant_update(dry_run => true)', 'CAMPAIGN, 1, 0'), 'rate_limited: At most 50 tests an hour are sent.', 'nor rehearsed');
SELECT is(pg_temp.test(pg_temp.campaign('other'), 1, 0, 'far'), 'sent | email | [Test] s | b', 'each tenant has its own') FROM flow.enter('other');
SELECT flow.at('2026-01-06T10:59:59Z') \g /dev/null
SELECT is(pg_temp.after('t', 'SELECT', 'CAMPAIGN, 1, 1'), 'rate_limited: At most 50 tests an hour are sent.', 'for an hour');
SELECT flow.at('2026-01-06T11:00:00Z') \g /dev/null
SELECT is(pg_temp.after('t', 'SELECT', 'CAMPAIGN, 1, 1'), 'sent', 'then again');

-- ---------------------------------------------------------------- a live tenant: it waits for its provider
DO $$ BEGIN
  PERFORM set_config('entrestate.clock', '', false), flow.make('live', '{email 0,sms 1 day}', 'live'), flow.enter('live'), entrestate.member_contact_set('boss', 'email', 'boss@example.org');
  PERFORM flow.lead('live', 'Ann Lee');
END $$;
SELECT pg_temp.said('live') AS before \gset
SELECT is(pg_temp.test(pg_temp.campaign('live'), 1, 0), 'ready | email | [Test] s | b', 'ready') FROM flow.enter('live');
SELECT is((SELECT string_agg(concat_ws(' ', s.mode, s.status, s.message, s.final_at), ',') FROM entrestate.sender_tests s JOIN flow.tenant t ON t.tenant = s.tenant_id WHERE t.name = 'live'),
  'live ready {"body": "b", "html": false, "subject": "[Test] s"}', 'with its message, and no address');
SELECT is(pg_temp.said('live'), :'before', 'and nothing else');
SELECT is(pg_temp.used('live'), 'channel_day email 1', 'counted');
SELECT is(pg_temp.after('live', 'UPDATE entrestate.sender_identities SET status = ''revoked''', 'CAMPAIGN, 1, 0'), 'sender_unverified', 'an identity that is not verified');
SELECT is(pg_temp.after('live', 'UPDATE entrestate.sender_identities SET is_default = false', 'CAMPAIGN, 1, 0'), 'sender_unverified', 'or none');
SELECT is(pg_temp.after('live', 'SELECT entrestate.member_remove(''x'') FROM (SELECT entrestate.member_add(''x''), entrestate.member_contact_set(''x'', ''email'', ''x@example.net''), pg_temp.test(pg_temp.campaign(''live''), 1, 0, ''x'') OFFSET 0) y', 'CAMPAIGN, 1, 0'), 'ready', 'a member goes while his waits');
-- the system alone says what becomes of it
SELECT throws_ok('UPDATE entrestate.sender_tests SET status = ''sent'', message = NULL, final_at = now() WHERE status = ''ready''', 'ZE002', NULL, 'nobody else says what became of it') FROM flow.enter('live');
SELECT is((SELECT string_agg(coalesce(x.from_state, '') || '>' || x.to_state, ' ' ORDER BY coalesce(x.from_state, ''), x.to_state) FROM entrestate.transitions() x WHERE x.machine = 'test'),
  '>ready >sent >simulated ready>failed ready>sent ready>unknown unknown>failed unknown>sent', 'its states');
-- one that nobody has taken
SELECT entrestate.sender_upkeep_tenant(t.tenant) FROM flow.tenant t WHERE t.name = 'live' \g /dev/null
SELECT is((SELECT string_agg(s.status, ',') FROM entrestate.sender_test_list(pg_temp.campaign('live')) s), 'ready', 'it waits') FROM flow.enter('live');
SELECT set_config('entrestate.clock', '+71 hours', false), entrestate.sender_upkeep_tenant(t.tenant) FROM flow.tenant t WHERE t.name = 'live' \g /dev/null
SELECT is((SELECT string_agg(s.status, ',') FROM entrestate.sender_test_list(pg_temp.campaign('live')) s), 'ready', 'three days') FROM flow.enter('live');
SELECT set_config('entrestate.clock', '+73 hours', false) \g /dev/null
SELECT entrestate.sender_upkeep_tenant(t.tenant) FROM flow.tenant t WHERE t.name = 'live' \g /dev/null
SELECT is((SELECT string_agg(concat_ws(' ', s.status, s.reason, s.final_at > s.created_at), ',') FROM entrestate.sender_test_list(pg_temp.campaign('live')) s), 'failed too_late t', 'then it fails') FROM flow.enter('live');
SELECT is((SELECT count(*)::int FROM entrestate.sender_tests s WHERE s.message IS NOT NULL), 0, 'and its message goes');
SELECT pg_temp.sound('a live tenant');
SELECT finish();
ROLLBACK;
