-- What operators do to runs: the specification's sections 1, 3, 4 and 8. What stands in double quotes is the specification's.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.as(tenant text, who text) RETURNS void LANGUAGE sql AS $$ SELECT entrestate.login(t.tenant, $2) FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.team(tenant text) RETURNS void LANGUAGE sql AS $$
  SELECT entrestate.member_add(v.u, v.r) FROM flow.enter(tenant), (VALUES ('ope', 'operator'), ('mem', 'member'), ('vic', 'viewer'), ('clo', 'closer')) v(u, r) $$;
-- A run in short: status, cursor, when it is next due (UTC), reason.
CREATE FUNCTION pg_temp.run(tenant text, name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat_ws(' ', r.status, r.cursor, to_char(r.next_at, 'DD"T"HH24:MI'), x.name) FROM entrestate.sender_runs r
  LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason WHERE r.lead_id = flow.id($1, $2) AND r.campaign_id = pg_temp.campaign($1) $$;
CREATE FUNCTION pg_temp.runs(tenant text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(format('%s: %s', l.name, pg_temp.run($1, l.name)), ', ' ORDER BY l.name) FROM flow.lead l WHERE l.tenant = $1 $$;
-- What a call does and says, as somebody; NULL: nothing was written for the tenant.
CREATE FUNCTION pg_temp.audited(tenant text, action text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(format('%s %s', a.actor, a.detail), ', ' ORDER BY a.recorded_at, a.id) FROM entrestate.audit_log a
  JOIN flow.tenant t ON t.tenant = a.tenant_id WHERE t.name = $1 AND a.action = $2 $$;
-- verify() of the sender, and every run the fold of its events
CREATE FUNCTION pg_temp.sound(what text) RETURNS text LANGUAGE sql AS $$
  SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.sender_verify() v LIMIT 5) v), NULL, 'verify() finds nothing: ' || what) $$;

-- ---------------------------------------------------------------- sender_stop
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('stop', '{email 0,sms 1 day,email 1 day}'), pg_temp.team('stop');
  PERFORM flow.lead('stop', n) FROM unnest('{a,b,c,gone,done}'::text[]) n;
  PERFORM flow.make('else', '{email 0,sms 1 day}'), flow.lead('else', 'x');
END $$;
SELECT entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'c'), ' Asked by phone ') AS first FROM pg_temp.as('stop', 'ope') \gset
SELECT is(:'first'::text, 't', '"`sender_stop(run, reason)`": it stops');
SELECT is(pg_temp.run('stop', 'c'), 'suppressed 0 stopped', '"a person stopped the run": terminate, stopped');
SELECT is(flow.story('stop', 'c'), 'run.started, suppressed_stopped (stopped)', 'one event');
SELECT is((flow.run('stop', 'c')).stopped_by, 'ope', 'and who did');
SELECT is((SELECT string_agg(a.type || ' ' || (a.detail ->> 'reason'), ',') FROM entrestate.audience_actions a WHERE a.lead_id = flow.id('stop', 'c')), 'sender.suppressed_stopped stopped',
  '"so does every other suppression, under its own type"');
SELECT is(pg_temp.audited('stop', 'sender.stop'), 'ope {"reason": "Asked by phone"}', 'audited with the reason');
SELECT is((SELECT count(*)::int FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('stop', 'c')), 0, 'no ticket: a person has it');
SELECT flow.digest('stop') AS before \gset
SELECT is(entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'c'), 'again'), false, 'twice is once') FROM pg_temp.as('stop', 'ope');
SELECT is(flow.digest('stop'), :'before', 'and writes nothing');
SELECT flow.process('stop') \g /dev/null
SELECT is(pg_temp.run('stop', 'c') || ' ' || (flow.run('stop', 'a')).cursor, 'suppressed 0 stopped 1', 'nothing is sent for it; the others go on');
SELECT entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'b'), 'x') FROM flow.enter('stop') \g /dev/null
SELECT is(pg_temp.run('stop', 'b'), 'suppressed 1 stopped', 'between two steps');
SELECT entrestate.lead_opt_out(flow.id('stop', 'gone'), 'email') FROM flow.enter('stop') \g /dev/null
SELECT is(entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'gone'), 'x'), false, '"suppressed is final for ever": it stays what it ended for') FROM flow.enter('stop');
SELECT is(pg_temp.run('stop', 'gone'), 'suppressed 1 opted_out', 'and its reason too');
SELECT flow.process('stop', '2026-01-07T10:00:01Z'), flow.process('stop', '2026-01-09T10:00:01Z') \g /dev/null
SELECT is(entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'done'), 'x')::text || ' ' || pg_temp.run('stop', 'done'), 'false done 3 completed', '"done is final once the run has sent anything"') FROM flow.enter('stop');
-- two campaigns: only the one
SELECT flow.lead('stop', 'two'), entrestate.campaign_create('second') AS second FROM flow.enter('stop') \gset
SELECT entrestate.sequence_create(:'second', jsonb_build_array(jsonb_build_object('channel', 'email', 'template', t.email, 'delay', '1 day'))), entrestate.sequence_publish(:'second', 1),
  entrestate.campaign_status_set(:'second', 'active'), entrestate.campaign_update(:'second', sender_enabled => true), entrestate.lead_attribute(flow.id('stop', 'two'), :'second')
  FROM flow.tenant t WHERE t.name = 'stop' \g /dev/null
SELECT entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'two'), 'x') FROM flow.enter('stop') \g /dev/null
SELECT is((SELECT string_agg(r.status, ' ' ORDER BY r.campaign_id) FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('stop', 'two')), 'suppressed pending', 'the run, not the lead''s others');
SELECT throws_ok(format('SELECT entrestate.sender_stop(%s, %s, %s)', c, l, r), s, m, format('"`sender_stop`": %s', what)) FROM flow.enter('stop'), (VALUES
  ('pg_temp.campaign(''stop'')', 'NULL', '''x''', '22004', 'lead is missing', 'no lead'),
  ('pg_temp.campaign(''stop'')', 'flow.id(''stop'', ''a'')', 'NULL', '22004', 'reason is missing', 'no reason'),
  ('pg_temp.campaign(''stop'')', 'flow.id(''stop'', ''a'')', ''' ''', '22023', NULL, 'an empty reason'),
  ('NULL', 'flow.id(''stop'', ''a'')', '''x''', 'P0002', 'there is no such run', 'no campaign'),
  (quote_literal(:'second'), 'flow.id(''stop'', ''a'')', '''x''', 'P0002', 'there is no such run', 'no run'),
  ('pg_temp.campaign(''else'')', 'flow.id(''stop'', ''a'')', '''x''', 'P0002', 'there is no such run', 'another tenant''s campaign'),
  ('pg_temp.campaign(''else'')', 'flow.id(''else'', ''x'')', '''x''', 'P0002', 'there is no such lead', 'another tenant''s run')) v(c, l, r, s, m, what);
SELECT throws_ok($$SELECT entrestate.sender_stop(pg_temp.campaign('stop'), flow.id('stop', 'a'), 'x')$$, '42501', NULL, 'not by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('stop', w);
SELECT pg_temp.sound('stopped runs');
-- A live tenant's message that has not started ends with the run; one that has ends it with its outcome.
DO $$ BEGIN
  PERFORM set_config('entrestate.clock', '', false), flow.make('live', '{email 0,sms 1 day}', 'live'), flow.lead('live', 'a'), flow.lead('live', 'b'), flow.process('live');
END $$;
SELECT is((SELECT string_agg(i.status, ' ') FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('live', 'a')), 'ready', 'a message that is to be sent');
SELECT entrestate.sender_stop(pg_temp.campaign('live'), flow.id('live', 'a'), 'x') FROM flow.enter('live') \g /dev/null
SELECT is((SELECT string_agg(i.status, ' ') FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('live', 'a')) || ' ' || pg_temp.run('live', 'a'), 'voided suppressed 0 stopped', '"voids their intents that have not started"');
SELECT pg_temp.sound('a stopped live run');

-- ---------------------------------------------------------------- campaign_resume
-- Three steps a day apart. At noon of the 7th step 1 of three runs is overdue, the fourth came later and is not.
CREATE FUNCTION pg_temp.paused(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make(name, '{email 0,sms 1 day,email 2 days}'), pg_temp.team(name), flow.lead(name, 'a'), flow.process(name);
  PERFORM flow.at('2026-01-05T11:00:00Z'), flow.lead(name, 'b'), flow.lead(name, 'c'), flow.process(name);
  PERFORM flow.at('2026-01-05T12:00:00Z'), flow.enter(name), entrestate.campaign_status_set(pg_temp.campaign(name), 'paused');
  PERFORM flow.at('2026-01-06T20:00:00Z'), flow.enter(name), entrestate.campaign_status_set(pg_temp.campaign(name), 'active');
  PERFORM flow.lead(name, 'late');
  -- it came and was sent to before anything else was
  PERFORM entrestate.sender_stop(pg_temp.campaign(name), flow.id(name, 'late'), 'x'), entrestate.campaign_status_set(pg_temp.campaign(name), 'paused');
  PERFORM flow.at('2026-01-07T12:00:00Z'), flow.enter(name);
END
$$;
SELECT pg_temp.paused(n) FROM unnest('{go,skip,halt,rate}'::text[]) n \g /dev/null
SELECT is(pg_temp.runs('go'), 'a: running 1 06T10:00, b: running 1 06T11:00, c: running 1 06T11:00, late: suppressed 0 stopped', 'three overdue');
-- continue
SELECT is((SELECT r::text FROM pg_temp.as('go', 'mem'), entrestate.campaign_resume(pg_temp.campaign('go')) r), '(3,0,0)', '"campaign_resume(campaign, overdue => continue …)": how many');
SELECT is((SELECT c.status || coalesce(c.per_minute, 0) FROM entrestate.campaigns c WHERE c.campaign_id = pg_temp.campaign('go')), 'active0', 'it is active, without a rate');
SELECT is(pg_temp.audited('go', 'campaign.resume'), 'mem {"overdue": "continue", "skipped": 0, "stopped": 0, "overdueRuns": 3}', 'audited');
SELECT flow.digest('go') AS before \gset
SELECT is((SELECT r::text FROM pg_temp.as('go', 'ope'), entrestate.campaign_resume(pg_temp.campaign('go'), 'stop') r), '(0,0,0)', 'twice: one that is active stays as it is');
SELECT is(flow.digest('go'), :'before', 'and nothing is written');
SELECT is(flow.process('go'), 3, '"continue": what is overdue is sent');
SELECT is(pg_temp.runs('go'), 'a: running 2 09T12:00, b: running 2 09T12:00, c: running 2 09T12:00, late: suppressed 0 stopped', 'and the next step is its delay from now');
-- "at the campaign's rate, oldest first"
SELECT is((SELECT r::text FROM flow.enter('rate'), entrestate.campaign_resume(pg_temp.campaign('rate'), per_minute => 1) r), '(3,0,0)', '"per_minute"');
SELECT is((SELECT c.per_minute FROM entrestate.campaigns c WHERE c.campaign_id = pg_temp.campaign('rate')), 1, 'is stored');
SELECT is((SELECT (p.policy -> 'campaign')::text LIKE '%"perMinute": 1%' FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('rate') ORDER BY p.version DESC LIMIT 1),
  (SELECT (p.policy -> 'campaign') ? 'perMinute' FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('rate') ORDER BY p.version DESC LIMIT 1), 'and in the policy');
SELECT is(flow.process('rate'), 1, '"at the campaign''s rate": one in this minute');
SELECT is(pg_temp.run('rate', 'a'), 'running 2 09T12:00', '"oldest first"');
SELECT is(flow.process('rate'), 0, 'no more in this minute');
SELECT is(flow.process('rate', '2026-01-07T12:01:00Z') + flow.process('rate', '2026-01-07T12:02:00Z') + flow.process('rate', '2026-01-07T12:03:00Z'), 2, 'one a minute');
SELECT entrestate.campaign_status_set(pg_temp.campaign('rate'), 'paused'), entrestate.campaign_resume(pg_temp.campaign('rate'), per_minute => 0) FROM flow.enter('rate') \g /dev/null
SELECT is((SELECT c.per_minute FROM entrestate.campaigns c WHERE c.campaign_id = pg_temp.campaign('rate')), NULL, '0 takes the rate away');
-- skip
SELECT entrestate.lead_opt_out(flow.id('skip', 'c'), 'email') FROM flow.at('2026-01-07T12:00:00Z'), flow.enter('skip') \g /dev/null
SELECT is((SELECT r::text FROM pg_temp.as('skip', 'ope'), entrestate.campaign_resume(pg_temp.campaign('skip'), 'skip') r), '(2,2,0)', '"skip": how many');
SELECT is(flow.story('skip', 'a'), 'run.started, step.sent 0, step.skipped 1 (too_late)', 'one event each: too_late');
SELECT is(pg_temp.runs('skip'), 'a: running 2 09T12:00, b: running 2 09T12:00, c: suppressed 1 opted_out, late: suppressed 0 stopped', 'the next step is due its delay from now');
SELECT is(flow.process('skip'), 0, 'nothing is due');
SELECT is(flow.process('skip', '2026-01-09T12:00:00Z'), 2, 'until the next step is');
SELECT pg_temp.sound('skipped steps');
-- the last step ends the run, and gates 3 to 7 are looked at for the new index
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('last', '{email 0,sms 1 day}'), flow.lead('last', 'a'), flow.process('last');
  PERFORM flow.at('2026-01-06T09:00:00Z'), flow.lead('last', 'hot');
  PERFORM entrestate.signal_add(flow.id('last', 'hot'), 'call_request', reference => 'x');
  PERFORM entrestate.campaign_status_set(pg_temp.campaign('last'), 'paused'), flow.at('2026-01-07T10:00:00Z'), flow.enter('last');
END $$;
SELECT is((SELECT r::text FROM entrestate.campaign_resume(pg_temp.campaign('last'), 'skip') r), '(2,2,0)', 'both are overdue');
SELECT is(flow.story('last', 'a'), 'run.started, step.sent 0, step.skipped 1 (too_late), run.done (completed)', '"The last outcome also ends the run"');
SELECT is(flow.story('last', 'hot'), 'run.started, step.skipped 0 (too_late), suppressed_hot (hot)', '"gates 3 to 7 are looked at for the new index in the same transaction"');
SELECT is((SELECT string_agg(h.reason, ' ') FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('last', 'hot')), 'hot', '"A run ended by `hot` or `replied` opens a handoff ticket"');
-- stop
SELECT is((SELECT r::text FROM pg_temp.as('halt', 'ope'), flow.at('2026-01-07T12:00:00Z'), entrestate.campaign_resume(pg_temp.campaign('halt'), 'stop') r), '(3,0,3)', '"stop": how many');
SELECT is(pg_temp.runs('halt'), 'a: suppressed 1 stopped, b: suppressed 1 stopped, c: suppressed 1 stopped, late: suppressed 0 stopped', 'they end as stopped');
SELECT is(flow.process('halt', '2026-02-01T10:00:00Z'), 0, 'and nothing comes of them');
-- refusals
SELECT throws_ok(format('SELECT entrestate.campaign_resume(%s)', a), s, m, format('campaign_resume(%s)', a)) FROM flow.enter('go'), (VALUES
  ('NULL', '22004', 'campaign is missing'), ('gen_random_uuid()', 'P0002', 'there is no such campaign'), ('pg_temp.campaign(''halt'')', 'P0002', 'there is no such campaign'),
  ('pg_temp.campaign(''go''), NULL', '22004', NULL), ('pg_temp.campaign(''go''), ''later''', '22023', NULL), ('pg_temp.campaign(''go''), per_minute => -1', '22023', 'per_minute is below 0')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.campaign_resume(pg_temp.campaign('go'), 'skip')$$, '42501', NULL, 'to skip or stop is an operator''s') FROM pg_temp.as('go', 'mem');
SELECT throws_ok($$SELECT entrestate.campaign_resume(pg_temp.campaign('go'))$$, '42501', NULL, 'not by a ' || w) FROM unnest('{vic,clo}'::text[]) w, pg_temp.as('go', w);
SELECT entrestate.campaign_create('empty') AS empty FROM flow.enter('go') \gset
SELECT throws_ok(format('SELECT entrestate.campaign_resume(%L)', :'empty'), '55000', 'the campaign is draft', 'a draft was never paused') FROM flow.enter('go');
SELECT entrestate.campaign_status_set(:'empty', 'active'), entrestate.campaign_status_set(:'empty', 'paused') FROM flow.enter('go') \g /dev/null
SELECT is((SELECT string_agg(r::text, ' ') FROM flow.enter('go'), unnest('{skip,continue}'::text[]) o, entrestate.campaign_resume(:'empty', o) r), '(0,0,0) (0,0,0)', 'of an empty campaign');
SELECT entrestate.campaign_status_set(:'empty', 'completed') FROM flow.enter('go') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.campaign_resume(%L)', :'empty'), '55000', 'the campaign is completed', 'what has ended') FROM flow.enter('go');
SELECT pg_temp.sound('resumed campaigns');

SELECT * FROM finish();
ROLLBACK;
