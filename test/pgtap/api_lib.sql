-- What the api_ and flow_ tests share: \ir api_lib.sql after setup.sql, as superuser.
CREATE SCHEMA api;

-- {lead} is the quoted id of A's lead, {b:lead} of B's, {nobody} an id that nobody has, {é*40} forty é,
-- {NAME} in capitals a character that cannot be typed.
CREATE FUNCTION api.fill(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  m text[];
  v text;
BEGIN
  FOR m IN SELECT DISTINCT regexp_matches(statement, '\{((b):)?([a-z_0-9]+)\}', 'g') LOOP
    v := CASE m[3] WHEN 'nobody' THEN '0198b0de-0000-7000-8000-000000000000' ELSE fixture.id(coalesce(m[2], 'a'), m[3]) END;
    CONTINUE WHEN v IS NULL;
    statement := replace(statement, format('{%s%s}', m[1], m[3]), quote_literal(v));
  END LOOP;
  FOR m IN SELECT DISTINCT regexp_matches(statement, '\{(.)\*([0-9]+)\}', 'g') LOOP
    statement := replace(statement, format('{%s*%s}', m[1], m[2]), repeat(m[1], m[2]::integer));
  END LOOP;
  RETURN replace(replace(replace(statement, '{BEL}', chr(7)), '{DEL}', chr(127)), '{TAB}', chr(9));
END
$$;

-- Runs statements as a login role in the context of a member of A (NULL: in no context), each after the
-- other, says what the last one came to, and undoes all. prepare runs first, as superuser in the owner's context.
CREATE FUNCTION api.try(statement text, member text DEFAULT 'owner', prepare text DEFAULT NULL, role text DEFAULT 'fixture_app',
  OUT state text, OUT message text, OUT detail text, OUT hint text, OUT answer text)
LANGUAGE plpgsql AS $$
BEGIN
  statement := api.fill(statement);
  BEGIN
    IF prepare IS NOT NULL THEN
      PERFORM fixture.enter('a');
      EXECUTE api.fill(prepare);
    END IF;
    IF member IS NULL THEN
      PERFORM entrestate.logout();
    ELSE
      PERFORM fixture.enter('a', member);
    END IF;
    EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', role);
    IF statement ~* '^\s*SELECT' THEN
      EXECUTE format('SELECT string_agg(x::text, chr(10)) FROM (%s) x', statement) INTO answer;
    ELSE
      EXECUTE statement;
    END IF;
    RESET SESSION AUTHORIZATION;
    SET CONSTRAINTS ALL IMMEDIATE;
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION
    WHEN SQLSTATE 'UNDO1' THEN
      state := '00000';
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
  END;
END
$$;

-- Every call of the API that works in the fixtures, with what the caller's role must be able to do;
-- no capability: for everybody, also without a context.
CREATE TABLE api.call (no integer GENERATED ALWAYS AS IDENTITY, routine text, call text, needs text[], prepare text);
INSERT INTO api.call (routine, call, needs, prepare) VALUES
  ('activity_feed', 'SELECT * FROM entrestate.activity_feed()', '{activity.read}', NULL),
  ('agent_settings_get', 'SELECT entrestate.agent_settings_get({campaign})', '{agent.read}', NULL),
  ('agent_settings_set', 'SELECT entrestate.agent_settings_set({campaign}, behaviour => ''{"tone": 30}'')', '{agent.manage}', NULL),
  ('audience_actions_list', 'SELECT * FROM entrestate.audience_actions_list()', '{audience.read}', NULL),
  ('audience_actions_list', 'SELECT * FROM entrestate.audience_actions_list({lead2})', '{audience.read}', NULL),
  ('audit_list', 'SELECT * FROM entrestate.audit_list()', '{audit.read}', NULL),
  ('binding_normalise', 'SELECT entrestate.binding_normalise(''form'', ''x'')', '{}', NULL),
  ('campaign_backfill', 'SELECT * FROM entrestate.campaign_backfill({campaign}, ''2026-01-01'', true)', '{campaign.manage}', NULL),
  ('campaign_create', 'SELECT entrestate.campaign_create(''New'')', '{campaign.create}', NULL),
  ('campaign_get', 'SELECT entrestate.campaign_get({campaign})', '{campaign.read}', NULL),
  ('campaign_identity_set', 'SELECT entrestate.campaign_identity_set({campaign}, ''email'')', '{campaign.manage}', NULL),
  ('campaign_go_live', 'SELECT * FROM entrestate.campaign_go_live({campaign}, ''all'')', '{sender.operate}', 'SELECT entrestate.campaign_rehearse({campaign})'),
  ('campaign_list', 'SELECT * FROM entrestate.campaign_list()', '{campaign.read}', NULL),
  ('campaign_metrics', 'SELECT entrestate.campaign_metrics({campaign})', '{campaign.read}', NULL),
  ('campaign_rehearse', 'SELECT entrestate.campaign_rehearse({campaign})', '{sender.operate}', NULL),
  ('campaign_resume', 'SELECT * FROM entrestate.campaign_resume({campaign})', '{campaign.manage}', 'SELECT entrestate.campaign_status_set({campaign}, ''paused'')'),
  ('campaign_resume', 'SELECT * FROM entrestate.campaign_resume({campaign}, ''skip'')', '{campaign.manage,sender.operate}', 'SELECT entrestate.campaign_status_set({campaign}, ''paused'')'),
  ('campaign_status_set', 'SELECT entrestate.campaign_status_set({campaign}, ''paused'')', '{campaign.manage}', NULL),
  ('campaign_update', 'SELECT entrestate.campaign_update({campaign}, ''Renamed'')', '{campaign.manage}', NULL),
  ('can', 'SELECT entrestate.can(''lead.read'')', '{}', NULL),
  ('capabilities', 'SELECT * FROM entrestate.capabilities()', '{}', NULL),
  ('channel_limits_set', 'SELECT entrestate.channel_limits_set(''email'', 100)', '{safety.manage}', NULL),
  ('channel_set', 'SELECT entrestate.channel_set(''email'', false)', '{safety.manage}', NULL),
  ('clock_moved', 'SELECT entrestate.clock_moved()', '{}', NULL),
  ('clock_now', 'SELECT entrestate.clock_now()', '{}', NULL),
  ('code_version', 'SELECT entrestate.code_version()', '{}', NULL),
  ('context', 'SELECT * FROM entrestate.context()', '{}', NULL),
  ('current_actor', 'SELECT entrestate.current_actor()', '{}', NULL),
  ('current_member_role', 'SELECT entrestate.current_member_role()', '{}', NULL),
  ('current_tenant', 'SELECT entrestate.current_tenant()', '{}', NULL),
  ('delay_add', 'SELECT entrestate.delay_add(now(), ''1 day'', ''UTC'')', '{}', NULL),
  ('delivery_report', 'SELECT entrestate.delivery_report({campaign}, {lead}, 0, 0, ''opened'')', '{delivery.report}', NULL),
  ('email_normalise', 'SELECT entrestate.email_normalise(''A@example.com'')', '{}', NULL),
  ('error_codes', 'SELECT * FROM entrestate.error_codes()', '{}', NULL),
  ('handoff_list', 'SELECT * FROM entrestate.handoff_list()', '{handoff.read}', NULL),
  ('handoff_of', 'SELECT * FROM entrestate.handoff_of({lead2})', '{handoff.read}', NULL),
  ('handoff_open', 'SELECT entrestate.handoff_open({lead}, ''asked'')', '{handoff.open}', NULL),
  ('handoff_release', 'SELECT entrestate.handoff_release({ticket})', '{handoff.take}', NULL),
  ('handoff_resolve', 'SELECT entrestate.handoff_resolve({ticket}, ''called'')', '{handoff.take}', NULL),
  ('handoff_take', 'SELECT entrestate.handoff_take({ticket})', '{handoff.take}', NULL),
  ('identity_create', 'SELECT entrestate.identity_create(''sms'', ''+14165550199'')', '{safety.manage}', NULL),
  ('identity_default_set', 'SELECT entrestate.identity_default_set({identity})', '{safety.manage}', NULL),
  ('identity_list', 'SELECT * FROM entrestate.identity_list()', '{sender.read}', NULL),
  ('identity_status_set', 'SELECT entrestate.identity_status_set({identity}, ''revoked'')', '{safety.manage}', NULL),
  ('lead_attribute', 'SELECT entrestate.lead_attribute({lead4}, {campaign})', '{lead.create}', NULL),
  ('lead_bounced', 'SELECT entrestate.lead_bounced({lead}, ''email'', ''zqalpha.1@example.com'', true)', '{lead.restrain}', NULL),
  ('lead_complained', 'SELECT entrestate.lead_complained({lead})', '{lead.restrain}', NULL),
  ('lead_consent', 'SELECT entrestate.lead_consent({lead}, ''email'', true, ''a form'')', '{lead.restrain}', NULL),
  ('lead_contact_add', 'SELECT entrestate.lead_contact_add({lead}, ''email'', ''second@example.com'', true)', '{lead.update}', NULL),
  ('lead_contact_remove', 'SELECT entrestate.lead_contact_remove({lead}, ''email'', ''zqalpha.1@example.com'')', '{lead.update}', NULL),
  ('lead_cool', 'SELECT entrestate.lead_cool({lead2}, ''a mistake'')', '{lead.cool}', 'SELECT entrestate.handoff_resolve({ticket}, ''called'')'),
  ('lead_create', 'SELECT entrestate.lead_create(''New'', ''new@example.com'')', '{lead.create}', NULL),
  ('lead_erasure_request', 'SELECT entrestate.lead_erasure_request({lead})', '{lead.restrain}', NULL),
  ('lead_get', 'SELECT entrestate.lead_get({lead})', '{lead.read}', NULL),
  ('lead_grade_override', 'SELECT entrestate.lead_grade_override({lead}, ''A'', ''a reason'')', '{lead.grade}', NULL),
  ('lead_import', 'SELECT * FROM entrestate.lead_import(''[{"email": "new@example.com"}]'')', '{lead.import}', NULL),
  ('lead_import_csv', 'SELECT * FROM entrestate.lead_import_csv(''email\012new@example.com'')', '{lead.import}', NULL),
  ('lead_import_get', 'SELECT entrestate.lead_import_get({import})', '{lead.read}', NULL),
  ('lead_list', 'SELECT * FROM entrestate.lead_list({campaign})', '{lead.read}', NULL),
  ('lead_merge', 'SELECT entrestate.lead_merge({lead4}, {lead3})', '{lead.merge}', NULL),
  ('lead_note_add', 'SELECT entrestate.lead_note_add({lead}, ''a note'')', '{lead.update}', NULL),
  ('lead_notes', 'SELECT * FROM entrestate.lead_notes({lead6})', '{lead.read}', NULL),
  ('lead_opt_in', 'SELECT entrestate.lead_opt_in({lead}, ''email'')', '{lead.update}', NULL),
  ('lead_opt_out', 'SELECT entrestate.lead_opt_out({lead}, ''email'')', '{lead.restrain}', NULL),
  ('lead_resolve_again', 'SELECT entrestate.lead_resolve_again()', '{lead.create}', NULL),
  ('lead_score', 'SELECT entrestate.lead_score({lead2})', '{audience.read}', NULL),
  ('lead_search', 'SELECT * FROM entrestate.lead_search(''zqalpha'')', '{lead.read}', NULL),
  ('lead_status_set', 'SELECT entrestate.lead_status_set({lead}, ''enriched'')', '{lead.update}', NULL),
  ('lead_tag', 'SELECT entrestate.lead_tag({lead}, ''{vip}'')', '{lead.update}', NULL),
  ('lead_unresolved', 'SELECT * FROM entrestate.lead_unresolved()', '{lead.read}', NULL),
  ('lead_update', 'SELECT entrestate.lead_update({lead}, ''Renamed'', owner => {closer})', '{lead.update}', NULL),
  ('login_event_types', 'SELECT entrestate.login_event_types()', '{}', NULL),
  ('logout', 'SELECT entrestate.logout()', '{}', NULL),
  ('member_add', 'SELECT entrestate.member_add(''new'')', '{members.manage}', NULL),
  ('member_add', 'SELECT entrestate.member_add(''new'', ''owner'')', '{members.manage,tenant.transfer}', NULL),
  ('member_contact_set', 'SELECT entrestate.member_contact_set(entrestate.current_actor(), ''email'', ''me@example.org'')', '{members.contact}', NULL),
  ('member_contact_set', 'SELECT entrestate.member_contact_set(''other'', ''email'', ''other@example.org'')', '{members.manage}', 'SELECT entrestate.member_add(''other'')'),
  ('member_remove', 'SELECT entrestate.member_remove(''other'')', '{members.manage}', 'SELECT entrestate.member_add(''other'')'),
  ('member_remove', 'SELECT entrestate.member_remove(''other'')', '{members.manage,tenant.transfer}', 'SELECT entrestate.member_add(''other'', ''owner'')'),
  ('member_update', 'SELECT entrestate.member_update(''other'', ''viewer'')', '{members.manage}', 'SELECT entrestate.member_add(''other'')'),
  ('member_update', 'SELECT entrestate.member_update(''other'', ''owner'')', '{members.manage,tenant.transfer}', 'SELECT entrestate.member_add(''other'')'),
  ('notifications_list', 'SELECT * FROM entrestate.notifications_list()', '{activity.read}', NULL),
  ('notifications_read', 'SELECT entrestate.notifications_read(ARRAY[{notification}]::uuid[])', '{activity.read}', NULL),
  ('notifications_unread', 'SELECT entrestate.notifications_unread()', '{activity.read}', NULL),
  ('open_is_machine', 'SELECT entrestate.open_is_machine(''Mozilla/5.0'')', '{}', NULL),
  ('phone_normalise', 'SELECT entrestate.phone_normalise(''+14165550100'')', '{}', NULL),
  ('policy_get', 'SELECT entrestate.policy_get({campaign})', '{agent.read}', NULL),
  ('reply_is_automatic', 'SELECT entrestate.reply_is_automatic(''{}'')', '{}', NULL),
  ('run_id', 'SELECT entrestate.run_id({campaign}, {lead})', '{}', NULL),
  ('sandbox_rates', 'SELECT entrestate.sandbox_rates()', '{}', NULL),
  ('sandbox_set', 'SELECT entrestate.sandbox_set(1)', '{sandbox.manage}', NULL),
  ('score_defaults', 'SELECT * FROM entrestate.score_defaults()', '{}', NULL),
  ('score_settings_get', 'SELECT entrestate.score_settings_get()', '{audience.read}', NULL),
  ('score_settings_set', 'SELECT entrestate.score_settings_set(''{"click": 4}'')', '{audience.manage}', NULL),
  ('sender_balance', 'SELECT * FROM entrestate.sender_balance()', '{sender.read}', NULL),
  ('sender_channels', 'SELECT * FROM entrestate.sender_channels()', '{}', NULL),
  ('sender_event_types', 'SELECT * FROM entrestate.sender_event_types()', '{}', NULL),
  ('sender_events_list', 'SELECT * FROM entrestate.sender_events_list()', '{sender.read}', NULL),
  ('sender_events_list', $$SELECT * FROM entrestate.sender_events_list('sender.run.started')$$, '{sender.read}', NULL),
  ('sender_history', 'SELECT * FROM entrestate.sender_history({lead})', '{sender.read}', NULL),
  ('sender_metrics', 'SELECT entrestate.sender_metrics()', '{sender.read}', NULL),
  ('sender_modes', 'SELECT * FROM entrestate.sender_modes()', '{}', NULL),
  ('sender_queue', 'SELECT * FROM entrestate.sender_queue()', '{sender.read}', NULL),
  ('sender_queue_runs', 'SELECT * FROM entrestate.sender_queue_runs()', '{sender.read}', NULL),
  ('sender_reasons', 'SELECT * FROM entrestate.sender_reasons()', '{}', NULL),
  ('sender_decide', 'SELECT * FROM entrestate.sender_decide(''{}'')', '{}', NULL),
  ('sender_explain', 'SELECT * FROM entrestate.sender_explain({campaign}, {lead})', '{sender.read}', NULL),
  ('sender_replay', 'SELECT entrestate.sender_replay({campaign}, {lead})', '{sender.read}', NULL),
  ('sender_resume', 'SELECT entrestate.sender_resume({campaign}, {lead})', '{sender.operate}', NULL),
  ('sender_retry', 'SELECT entrestate.sender_retry({campaign}, {lead3}, 1)', '{sender.operate}', 'SELECT entrestate.lead_contact_add({lead3}, ''phone'', ''+14165550188'')'),
  ('sender_runs_of', 'SELECT * FROM entrestate.sender_runs_of({lead})', '{sender.read}', NULL),
  ('sender_setup', 'SELECT entrestate.sender_setup({campaign})', '{sequence.manage,template.manage}', NULL),
  ('sender_simulate', 'SELECT * FROM entrestate.sender_simulate({campaign}, ''2026-01-01Z'', ''2026-02-01Z'')', '{sender.read}', NULL),
  ('sender_start', 'SELECT entrestate.sender_start({campaign}, (SELECT l.lead_id FROM entrestate.leads l WHERE l.source = ''for sender_start''))', '{sender.operate}', 'SELECT * FROM entrestate.lead_import(''[{"email": "new@example.com"}]'', {campaign}, ''for sender_start'')'),
  ('sender_stop', 'SELECT entrestate.sender_stop({campaign}, {lead}, ''asked'')', '{sender.operate}', NULL),
  ('sender_story', 'SELECT * FROM entrestate.sender_story({lead2})', '{sender.read,audience.read,handoff.read}', NULL),
  ('sender_test_list', 'SELECT * FROM entrestate.sender_test_list({campaign})', '{sender.read}', NULL),
  ('sender_test_send', 'SELECT * FROM entrestate.sender_test_send({campaign}, 1, 0, {owner})', '{sequence.manage}', NULL),
  ('sender_test_send', 'SELECT * FROM entrestate.sender_test_send({campaign}, 1, 0, {owner}, {lead})', '{sequence.manage,lead.read}', NULL),
  ('sender_upgrade', 'SELECT * FROM entrestate.sender_upgrade({campaign}, 2)', '{sender.operate}', 'SELECT entrestate.sequence_publish({campaign}, 2)'),
  ('sender_what_if', 'SELECT * FROM entrestate.sender_what_if({campaign}, ''2026-01-01Z'', ''2026-02-01Z'')', '{sender.read}', NULL),
  ('sender_why', 'SELECT * FROM entrestate.sender_why({lead2})', '{sender.read}', NULL),
  ('sequence_archive', 'SELECT entrestate.sequence_archive({campaign}, 1)', '{sequence.manage}', NULL),
  ('sequence_copy', 'SELECT entrestate.sequence_copy({campaign}, 1, {campaign_draft})', '{sequence.manage}', NULL),
  ('sequence_create', 'SELECT entrestate.sequence_create({campaign}, jsonb_build_array(jsonb_build_object(''channel'', ''email'', ''template'', {template}, ''delay'', ''1 day'')))', '{sequence.manage}', NULL),
  ('sequence_get', 'SELECT entrestate.sequence_get({campaign})', '{sender.read}', NULL),
  ('sequence_list', 'SELECT * FROM entrestate.sequence_list({campaign})', '{sender.read}', NULL),
  ('sequence_publish', 'SELECT entrestate.sequence_publish({campaign}, 2)', '{sequence.manage}', NULL),
  ('signal_add', 'SELECT * FROM entrestate.signal_add({lead}, ''reply'')', '{audience.signal}', NULL),
  ('signal_kinds', 'SELECT * FROM entrestate.signal_kinds()', '{}', NULL),
  ('signals_add', 'SELECT * FROM entrestate.signals_add(ARRAY[{lead}, {lead3}]::uuid[], ''{click,call_request}'')', '{audience.signal}', NULL),
  ('signals_list', 'SELECT * FROM entrestate.signals_list({lead6})', '{audience.read}', NULL),
  ('suppression_add', 'SELECT entrestate.suppression_add(''email'', ''x@example.com'')', '{lead.restrain}', NULL),
  ('suppression_list', 'SELECT * FROM entrestate.suppression_list(''email'')', '{lead.read}', NULL),
  ('suppression_remove', 'SELECT entrestate.suppression_remove(''email'', ''blocked.zqalpha@example.com'')', '{safety.manage}', NULL),
  ('template_create', 'SELECT entrestate.template_create(''New'', ''sms'', ''Hi'')', '{template.manage}', NULL),
  ('template_fields', 'SELECT entrestate.template_fields(''{{lead.full_name}}'')', '{}', NULL),
  ('template_get', 'SELECT entrestate.template_get({template})', '{sender.read}', NULL),
  ('template_list', 'SELECT * FROM entrestate.template_list()', '{sender.read}', NULL),
  ('template_preview', 'SELECT entrestate.template_preview({template}, 1, {lead}, {campaign})', '{lead.read}', NULL),
  ('template_status_set', 'SELECT entrestate.template_status_set({template}, 1, ''retired'')', '{template.approve}', NULL),
  ('template_version_add', 'SELECT entrestate.template_version_add({template}, ''x'', ''s'')', '{template.manage}', NULL),
  ('tenant_freeze', 'SELECT entrestate.tenant_freeze(''a test'')', '{tenant.freeze}', NULL),
  ('tenant_get', 'SELECT entrestate.tenant_get()', '{tenant.read}', NULL),
  ('tenant_pause', 'SELECT entrestate.tenant_pause(''a test'')', '{safety.manage}', NULL),
  ('tenant_quiet_hours_set', 'SELECT entrestate.tenant_quiet_hours_set(''[{"from": "21:00", "to": "09:00"}]'')', '{tenant.update}', NULL),
  ('tenant_resume', 'SELECT entrestate.tenant_resume()', '{safety.manage}', NULL),
  ('tenant_unfreeze', 'SELECT entrestate.tenant_unfreeze()', '{tenant.freeze}', NULL),
  ('tenant_update', 'SELECT entrestate.tenant_update(''Renamed'')', '{tenant.update}', NULL),
  ('tenant_update', 'SELECT entrestate.tenant_update(dry_run => true)', '{tenant.update,safety.manage}', NULL),
  ('tenant_update', 'SELECT entrestate.tenant_update(plan => ''pro'')', '{tenant.update,billing.manage}', NULL),
  ('tenant_update', 'SELECT entrestate.tenant_update(opt_out_scope => ''channel'')', '{tenant.update,safety.manage}', NULL),
  ('transitions', 'SELECT * FROM entrestate.transitions()', '{}', NULL),
  ('uuid_v7', 'SELECT entrestate.uuid_v7()', '{}', NULL),
  ('window_opening', 'SELECT entrestate.window_opening(now(), ''UTC'', ''[{"from": "09:00", "to": "10:00"}]'')', '{}', NULL);
