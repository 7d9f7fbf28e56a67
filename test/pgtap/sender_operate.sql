-- What operators do to runs: the specification's sections 1, 3, 4 and 8. What stands in double quotes is the specification's.
\ir flow_lib.sql
\ir verify_lib.sql
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
SELECT is((SELECT p.policy -> 'campaign' ->> 'perMinute' FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('rate') ORDER BY p.version DESC LIMIT 1), '1', 'and in the policy');
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

-- ---------------------------------------------------------------- campaign_go_live
-- A campaign that rehearses: b and a came on the 5th, c a day later, and d is still to begin.
CREATE FUNCTION pg_temp.rehearsed(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make(name, '{email 1 hour,sms 1 day}'), pg_temp.team(name), flow.enter(name);
  PERFORM entrestate.campaign_rehearse(pg_temp.campaign(name)), flow.lead(name, 'b');
  PERFORM flow.at('2026-01-05T10:30:00Z'), flow.lead(name, 'a');
  PERFORM flow.process(name, '2026-01-05T12:00:00Z'), flow.at('2026-01-06T10:00:00Z'), flow.lead(name, 'c');
  PERFORM flow.process(name, '2026-01-06T11:30:00Z'), flow.process(name, '2026-01-06T12:30:00Z'), flow.lead(name, 'd'), flow.enter(name);
END
$$;
SELECT pg_temp.rehearsed(n) FROM unnest('{all,since,new}'::text[]) n \g /dev/null
SELECT is(pg_temp.runs('all'), 'a: done 2 completed, b: done 2 completed, c: running 1 07T11:30, d: pending 0 06T13:30', 'a rehearsal: two are through, one is at step 1, one waits for step 0');
SELECT is((SELECT count(*)::int FROM entrestate.sender_intents i JOIN flow.tenant t ON t.tenant = i.tenant_id WHERE t.name = 'all'), 0, 'nothing was sent');
SELECT is((SELECT string_agg(DISTINCT r.mode, ' ') FROM entrestate.sender_runs r WHERE r.campaign_id = pg_temp.campaign('all')), 'dry_run', '"every run, intent and event carries its mode"');
SELECT pg_temp.sound('a rehearsal');
-- all
SELECT is((SELECT r::text FROM pg_temp.as('all', 'ope'), entrestate.campaign_go_live(pg_temp.campaign('all'), 'all', per_minute => 2) r),
  '(4,0,0,"{""sms"": 4, ""email"": 4}",)', '"campaign_go_live(campaign, leads => all …, per_minute)": how many, and what it would cost');
SELECT is(pg_temp.runs('all'), 'a: pending 0 06T13:30, b: pending 0 06T13:30, c: pending 0 06T13:31, d: pending 0 06T13:31',
  '"A run that has sent nothing restarts from step 0": its delay from now, two a minute, oldest attribution first');
SELECT is(flow.story('all', 'a'), 'run.started, step.simulated 0 (dry_run), step.simulated 1 (dry_run), run.done (completed), run.restarted', 'one event');
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', r.mode, r.attempt, r.deferrals, r.sent_steps, r.awaiting_go_live, r.ended_at), ',') FROM entrestate.sender_runs r WHERE r.campaign_id = pg_temp.campaign('all')),
  'sandbox 0 0 0 f', 'as if it had not been');
SELECT is(pg_temp.audited('all', 'campaign.go_live'), 'ope {"ended": 0, "leads": "all", "waiting": 0, "perMinute": 2, "restarted": 4}', 'audited');
SELECT pg_temp.sound('a campaign that went live');
SELECT is((SELECT r::text FROM pg_temp.as('all', 'ope'), entrestate.campaign_go_live(pg_temp.campaign('all'), 'all') r), '(0,0,0,{},)', 'twice is once');
SELECT is((SELECT count(*)::int FROM entrestate.sender_events e WHERE e.campaign_id = pg_temp.campaign('all') AND e.type = 5), 4, 'nothing begins again twice');
SELECT is(flow.process('all', '2026-01-06T13:30:30Z'), 2, 'now it sends');
SELECT is(flow.process('all', '2026-01-06T13:31:30Z'), 2, 'and the others');
SELECT is((SELECT count(*)::int FROM entrestate.sender_intents i JOIN flow.tenant t ON t.tenant = i.tenant_id WHERE t.name = 'all' AND i.status = 'sent' AND i.step = 0), 4, 'step 0 to all four, for the first time');
SELECT is(flow.process('all', '2026-01-07T14:00:00Z'), 4, 'and on');
SELECT is(pg_temp.runs('all'), 'a: done 2 completed, b: done 2 completed, c: done 2 completed, d: done 2 completed', 'to the end');
SELECT entrestate.campaign_rehearse(pg_temp.campaign('all')) FROM flow.enter('all') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('all'), entrestate.campaign_go_live(pg_temp.campaign('all'), 'all') r), '(0,0,0,{},)', '"done is final once the run has sent anything"');
SELECT pg_temp.sound('gone live twice');
-- since
SELECT is((SELECT r::text FROM flow.at('2026-01-06T12:30:00Z'), flow.enter('since'), entrestate.campaign_go_live(pg_temp.campaign('since'), 'since', '2026-01-06T10:00:00Z') r),
  '(2,2,0,"{""sms"": 2, ""email"": 2}",)', '"since": attributed since; two wait');
SELECT is(pg_temp.runs('since'), 'a: done 2 completed, b: done 2 completed, c: pending 0 06T13:30, d: pending 0 06T13:30', 'all at once without per_minute');
SELECT is((SELECT r::text FROM flow.enter('since'), entrestate.campaign_go_live(pg_temp.campaign('since'), 'all') r), '(2,0,0,"{""sms"": 2, ""email"": 2}",)', '"until then it waits": for another call');
SELECT pg_temp.sound('since');
-- new: nobody
SELECT entrestate.signal_add(flow.id('new', 'c'), 'reply', reference => 'r') FROM flow.at('2026-01-06T12:30:00Z'), flow.enter('new') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('new'), entrestate.campaign_go_live(pg_temp.campaign('new')) r), '(0,3,0,{},)', '"new": nobody begins again; c has replied and ended');
SELECT is((flow.run('new', 'd')).awaiting_go_live, true, '"until then it waits (`awaiting_go_live`)"');
SELECT pg_temp.sound('one that waits');
SELECT is(flow.process('new', '2026-01-08T13:30:00Z'), 0, 'and nothing comes of it');
SELECT is((SELECT string_agg(q.held_for || ' ' || q.run, ',') FROM flow.enter('new'), entrestate.sender_queue_runs() q WHERE q.held_for IS NOT NULL), 'awaiting_go_live ' || entrestate.run_id(pg_temp.campaign('new'), flow.id('new', 'd')), 'the queue says so');
SELECT flow.lead('new', 'fresh') \g /dev/null
SELECT is(flow.process('new', '2026-01-08T15:00:00Z'), 1, 'leads that come now are sent to');
SELECT is(flow.story('new', 'fresh'), 'run.started, step.sent 0', 'as live ones');
SELECT entrestate.lead_opt_out(flow.id('new', 'b'), 'email'), entrestate.signal_add(flow.id('new', 'a'), 'reply', reference => 'a') FROM flow.enter('new') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('new'), entrestate.campaign_go_live(pg_temp.campaign('new'), 'all') r), '(1,0,0,"{""sms"": 1, ""email"": 1}",)',
  'later: who opted out or replied since its rehearsal was done does not begin again, nor what was suppressed');
SELECT is(pg_temp.run('new', 'b') || ', ' || pg_temp.run('new', 'c'), 'done 2 completed, suppressed 1 replied', '"suppressed is final"');
SELECT pg_temp.sound('all the rest');
-- by the tenant's dry run
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('ten', '{email 0,sms 1 day}'), pg_temp.team('ten'), flow.enter('ten');
  PERFORM entrestate.tenant_update(dry_run => true), flow.lead('ten', 'a'), flow.process('ten');
END $$;
SELECT throws_ok($$SELECT entrestate.campaign_go_live(pg_temp.campaign('ten'), 'all')$$, '55000', 'the tenant is in dry run', 'while the tenant rehearses, no campaign goes live') FROM flow.enter('ten');
SELECT entrestate.tenant_update(dry_run => false) FROM flow.enter('ten') \g /dev/null
SELECT flow.process('ten', '2026-01-06T10:00:00Z') \g /dev/null
SELECT is(concat_ws(' ', pg_temp.run('ten', 'a'), (flow.run('ten', 'a')).awaiting_go_live), 'running 1 06T10:00 t', '"A run that has sent nothing … until then it waits"');
SELECT pg_temp.sound('parked');
SELECT is((SELECT r::text FROM flow.enter('ten'), entrestate.campaign_go_live(pg_temp.campaign('ten'), 'all') r), '(1,0,0,"{""sms"": 1, ""email"": 1}",)', 'the campaign''s own dry run was off all the time');
SELECT is(flow.process('ten'), 1, 'step 0 goes out at once');
SELECT is(flow.story('ten', 'a'), 'run.started, step.simulated 0 (dry_run), run.restarted, step.sent 0', 'once rehearsed, once sent');
-- one that has sent something goes on by itself, whatever was rehearsed in between
SELECT entrestate.campaign_rehearse(pg_temp.campaign('ten')) FROM flow.enter('ten') \g /dev/null
SELECT flow.lead('ten', 'z') \g /dev/null
SELECT is(flow.process('ten'), 1, 'a rehearsal in between');
SELECT is((SELECT r::text FROM flow.enter('ten'), entrestate.campaign_go_live(pg_temp.campaign('ten')) r), '(0,1,0,{},)', 'one that has sent something neither begins again nor waits');
SELECT is(flow.process('ten', '2026-01-07T10:00:00Z'), 1, 'it goes on');
SELECT is(pg_temp.run('ten', 'a'), 'done 2 completed', 'to its end');
SELECT pg_temp.sound('a rehearsal in between');
-- refusals
SELECT throws_ok(format('SELECT entrestate.campaign_go_live(%s)', a), s, m, format('campaign_go_live(%s)', a)) FROM flow.enter('new'), (VALUES
  ('NULL', '22004', 'campaign is missing'), ('pg_temp.campaign(''ten'')', 'P0002', 'there is no such campaign'), ('pg_temp.campaign(''new''), ''some''', '22023', NULL),
  ('pg_temp.campaign(''new''), NULL', '22004', NULL), ('pg_temp.campaign(''new''), ''since''', '22004', 'since is missing'), ('pg_temp.campaign(''new''), ''all'', now()', '22023', 'since is given, but leads is not since'),
  ('pg_temp.campaign(''new''), per_minute => 0', '22023', 'per_minute is below 1')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.campaign_go_live(pg_temp.campaign('new'))$$, '42501', NULL, 'not by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('new', w);
SELECT throws_ok($$SELECT entrestate.campaign_rehearse(pg_temp.campaign('new'))$$, '42501', NULL, 'nor rehearsed by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('new', w);
SELECT is(entrestate.campaign_rehearse(pg_temp.campaign('new'))::text || entrestate.campaign_rehearse(pg_temp.campaign('new')), 'truefalse', 'campaign_rehearse: twice is once') FROM flow.enter('new');
SELECT entrestate.campaign_create('empty') AS empty2 FROM flow.enter('new') \gset
SELECT is((SELECT r::text FROM flow.enter('new'), entrestate.campaign_go_live(:'empty2', 'all') r), '(0,0,0,{},)', 'of an empty campaign');

-- ---------------------------------------------------------------- sender_retry
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('try', '{email 0,sms 1 day,email 5 days}'), pg_temp.team('try'), flow.enter('try');
  PERFORM flow.lead('try', n, phone => NULL) FROM unnest('{a,b,done,out}'::text[]) n;
  PERFORM flow.process('try'), flow.process('try', '2026-01-06T10:00:00Z');
END $$;
SELECT is(flow.story('try', 'a'), 'run.started, step.sent 0, step.skipped 1 (missing_phone)', 'a step that was skipped');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), 1)$$, '55000', 'the step cannot be retried: missing_phone', '"It passes the gates with that step''s index": a skip refuses it')
  FROM pg_temp.as('try', 'ope');
SELECT entrestate.lead_contact_add(flow.id('try', n), 'phone', format('+1416555%s', o + 7000)) FROM flow.enter('try'), unnest('{a,b,done,out}'::text[]) WITH ORDINALITY u(n, o) \g /dev/null
SELECT flow.at('2026-01-06T11:00:00Z') \g /dev/null
SELECT is(entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), 1), 'sent', '"a step whose outcome is … skipped, of a run … running"') FROM pg_temp.as('try', 'ope');
SELECT is(flow.story('try', 'a'), 'run.started, step.sent 0, step.skipped 1 (missing_phone), step.retried 1, step.sent 1', 'retried, then its outcome');
SELECT is(pg_temp.run('try', 'a'), 'running 2 11T10:00', '"Cursor and next_at do not move"');
SELECT is((SELECT string_agg(concat_ws(' ', i.step, i.attempt, i.status, i.channel), ', ' ORDER BY i.step) FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('try', 'a')), '0 0 sent email, 1 1 sent sms',
  '"Attempt grows only by an operator''s retry"');
SELECT is((flow.run('try', 'a')).sent_steps, 2::smallint, 'two steps are sent');
SELECT is(pg_temp.audited('try', 'sender.retry'), 'ope {"was": "skipped", "step": 1, "became": "sent", "attempt": 1}', 'audited');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), 1)$$, '55000', 'the step''s outcome is sent', 'twice: it is sent now') FROM flow.enter('try');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), 0)$$, '55000', 'the step''s outcome is sent', 'nor one that was sent') FROM flow.enter('try');
SELECT throws_ok(format($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), %s)$$, n), '55000', 'the step has no outcome yet', 'nor one to come, ' || n) FROM flow.enter('try'), unnest('{2,3,-1,99}'::int[]) n;
SELECT pg_temp.sound('a retried step');
-- "hold, defer or terminate refuses it with the reason"
CREATE FUNCTION pg_temp.refused(prepare text, name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  m text;
BEGIN
  PERFORM flow.enter('try');
  BEGIN
    EXECUTE 'SELECT ' || prepare;
    BEGIN
      m := entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', name), 1);
    EXCEPTION WHEN SQLSTATE '55000' THEN
      m := SQLERRM;
    END;
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    PERFORM flow.enter('try');
    RETURN replace(m, 'the step cannot be retried: ', '');
  END;
END
$$;
SELECT is(pg_temp.refused(p, 'b'), r, format('"hold, defer or terminate refuses it with the reason": %s', r)) FROM (VALUES
  ('entrestate.tenant_pause(''x'')', 'tenant_paused'),
  ('entrestate.campaign_status_set(pg_temp.campaign(''try''), ''paused'')', 'campaign_paused'),
  ('entrestate.campaign_update(pg_temp.campaign(''try''), sender_enabled => false)', 'sender_disabled'),
  ('entrestate.campaign_status_set(pg_temp.campaign(''try''), ''completed'')', 'campaign_ended'),
  ('entrestate.lead_opt_out(flow.id(''try'', ''b''), ''email'')', 'the run is suppressed'),
  ('entrestate.sender_stop(pg_temp.campaign(''try''), flow.id(''try'', ''b''), ''x'')', 'the run is suppressed'),
  ('entrestate.channel_set(''sms'', false)', 'channel_disabled'),
  ('entrestate.channel_set(''sms'', paused => true)', 'channel_paused'),
  ('entrestate.template_status_set((SELECT t.sms FROM flow.tenant t WHERE t.name = ''try''), 1, ''retired'')', 'awaiting_approval'),
  ('entrestate.signal_add(flow.id(''try'', ''b''), ''form_resubmission'', reference => ''f''), entrestate.signal_add(flow.id(''try'', ''b''), ''click'', reference => ''c'')', 'rising_intent'),
  ('entrestate.tenant_quiet_hours_set(''[{"from": "00:00", "to": "23:00"}]'')', 'quiet_hours'),
  ('entrestate.agent_settings_set(pg_temp.campaign(''try''), caps => ''[{"max": 1, "per": "7 days"}]'')', 'frequency_capped'),
  ('entrestate.channel_limits_set(''sms'', daily_limit => 1)', 'daily_limit'),
  ('entrestate.channel_limits_set(''sms'', consent_required => true)', 'no_consent'),
  ('entrestate.campaign_rehearse(pg_temp.campaign(''try''))', 'simulated'),
  ('entrestate.tenant_get()', 'sent')) v(p, r);
SELECT pg_temp.sound('and undone');
-- a retry uses up budget as any other send
SELECT is((SELECT u.used FROM entrestate.sender_usage u JOIN flow.tenant t ON t.tenant = u.tenant_id WHERE t.name = 'try' AND u.budget = 'channel_day' AND u.key = 'sms'), 1, 'a retry counts against the daily limit');
-- dry run: simulated
SELECT entrestate.campaign_rehearse(pg_temp.campaign('try')) FROM flow.enter('try') \g /dev/null
SELECT is(entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'b'), 1), 'simulated', 'a dry run') FROM flow.enter('try');
SELECT is(flow.story('try', 'b'), 'run.started, step.sent 0, step.skipped 1 (missing_phone), step.retried 1, step.simulated 1 (dry_run)', 'is simulated');
SELECT is((SELECT count(*)::int FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('try', 'b')), 1, 'without a message');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'b'), 1)$$, '55000', 'the step''s outcome is simulated', 'which is not retried') FROM flow.enter('try');
SELECT entrestate.campaign_go_live(pg_temp.campaign('try')) FROM flow.enter('try') \g /dev/null
-- a run that is done
SELECT flow.process('try', '2026-01-11T10:00:00Z') \g /dev/null
SELECT is(pg_temp.run('try', 'done'), 'done 3 completed', 'done');
SELECT is(entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'done'), 1), 'sent', '"of a run pending, running or done"') FROM flow.enter('try');
SELECT is(pg_temp.run('try', 'done') || ' ' || (flow.run('try', 'done')).sent_steps, 'done 3 completed 3', 'it stays done');
SELECT entrestate.lead_opt_out(flow.id('try', 'out'), 'email') FROM flow.enter('try') \g /dev/null
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'out'), 1)$$, '55000', 'the step cannot be retried: opted_out', 'a done run of somebody who opted out') FROM flow.enter('try');
SELECT pg_temp.sound('retries');
SELECT is((SELECT string_agg(DISTINCT entrestate.sender_replay(pg_temp.campaign('try'), l.lead) ->> 'differs', ' ') FROM flow.lead l WHERE l.tenant = 'try'), '{}', 'every run is the fold of its events') FROM flow.enter('try');
SELECT is((SELECT (b.steps, b.sent, b.skipped, b.simulated, b.open, b.holds)::text FROM flow.enter('try'), entrestate.sender_balance(pg_temp.campaign('try')) b), '(12,10,1,1,0,t)', '"each step counted once by its latest outcome"');
-- a live tenant: its message waits, and nothing else is retried meanwhile
DO $$ BEGIN
  PERFORM set_config('entrestate.clock', '', false), flow.make('ltry', '{sms 0,sms 0,email 1 day}', 'live'), flow.lead('ltry', 'a', phone => NULL), flow.process('ltry'), flow.enter('ltry');
  PERFORM entrestate.lead_contact_add(flow.id('ltry', 'a'), 'phone', '+14165557999');
END $$;
SELECT is(entrestate.sender_retry(pg_temp.campaign('ltry'), flow.id('ltry', 'a'), 0), 'ready', 'a live tenant''s waits for its provider') FROM flow.enter('ltry');
SELECT is((SELECT string_agg(concat_ws(' ', i.step, i.attempt, i.status, i.mode), ',') FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('ltry', 'a')), '0 1 ready live', 'its message');
SELECT is((SELECT concat_ws(' ', r.status, r.cursor, r.next_at IS NOT NULL, r.sent_steps) FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('ltry', 'a')), 'running 2 t 0', 'the run is where it was');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('ltry'), flow.id('ltry', 'a'), 1)$$, '55000', 'a message of the run is on its way', '"A run has at most one that is not final"') FROM flow.enter('ltry');
SELECT pg_temp.sound('a live retry');
SELECT entrestate.lead_opt_out(flow.id('ltry', 'a'), 'email') FROM flow.enter('ltry') \g /dev/null
SELECT is((SELECT string_agg(i.status, ',') FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('ltry', 'a')), 'voided', 'and a brake voids it like any other');
SELECT pg_temp.sound('a voided retry');
-- what only providers say: failed, undelivered, unknown; so a live tenant's messages are made to have that outcome
DO $$ BEGIN
  PERFORM set_config('entrestate.clock', '', false), flow.make('said', '{email 0,sms 30 days}', 'live'), flow.enter('said');
  PERFORM flow.lead('said', n) FROM unnest('{failed,unknown,sent,undelivered}'::text[]) n;
  PERFORM flow.process('said');
END $$;
CREATE FUNCTION pg_temp.outcome(name text, outcome text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid := flow.id('said', outcome.name);
BEGIN
  PERFORM flow.enter('said');
  PERFORM broken.tamper('sender_intents', format('UPDATE %%s SET status = %L, started_at = entrestate.clock_now(), final_at = entrestate.clock_now() WHERE lead_id = %L', outcome, l));
  PERFORM broken.tamper('sender_runs', format('UPDATE %%s SET cursor = 1, run_seq = 2, sent_steps = %s, next_at = entrestate.clock_now() + interval ''30 days'', last_outcome_at = entrestate.clock_now() WHERE lead_id = %L',
    (outcome = 'sent')::integer, l));
  PERFORM broken.tamper('sender_events', format('INSERT INTO %%s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, channel, next_at, sequence_version)
    SELECT tenant_id, lead_id, entrestate.clock_now(), campaign_id, (SELECT code FROM entrestate.sender_event_types() WHERE name = %L), 2, 0, 0, 1, 1, next_at, version FROM entrestate.sender_runs WHERE lead_id = %L',
    'sender.step.' || outcome, l));
  PERFORM broken.tamper('sender_due', format('INSERT INTO %%s (tenant_id, campaign_id, version, step, due_at, leads) SELECT tenant_id, campaign_id, version, cursor, next_at, ARRAY[lead_id] FROM entrestate.sender_runs WHERE lead_id = %L', l));
  PERFORM flow.enter('said');
END
$$;
SELECT pg_temp.outcome('failed', 'failed'), pg_temp.outcome('unknown', 'unknown'), pg_temp.outcome('sent', 'sent'), pg_temp.outcome('undelivered', 'sent') \g /dev/null
SELECT broken.tamper('sender_events', format('INSERT INTO %%s (tenant_id, lead_id, recorded_at, campaign_id, type, step, attempt, mode, channel) SELECT tenant_id, lead_id, entrestate.clock_now(), campaign_id, 41, 0, 0, 1, 1
  FROM entrestate.sender_runs WHERE lead_id = %L', flow.id('said', 'undelivered'))) \g /dev/null
SELECT pg_temp.sound('outcomes of a provider');
SELECT is(entrestate.sender_retry(pg_temp.campaign('said'), flow.id('said', n), 0), 'ready', format('"a step whose outcome is failed, undelivered or skipped": %s', n)) FROM flow.enter('said'), unnest('{failed,undelivered}'::text[]) n;
SELECT throws_ok(format($$SELECT entrestate.sender_retry(pg_temp.campaign('said'), flow.id('said', %L), 0)$$, n), '55000', 'the step''s outcome is ' || n, '"never unknown", nor sent: ' || n) FROM flow.enter('said'), unnest('{unknown,sent}'::text[]) n;
SELECT is((SELECT string_agg(concat_ws(' ', i.attempt, i.status), ', ' ORDER BY i.attempt) FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('said', n)), w, 'another attempt, under a key of its own: ' || n)
  FROM (VALUES ('failed', '0 failed, 1 ready'), ('undelivered', '0 sent, 1 ready')) v(n, w);
SELECT pg_temp.sound('retries of a provider''s outcomes');
-- refusals
SELECT throws_ok(format('SELECT entrestate.sender_retry(%s)', a), s, m, format('sender_retry(%s)', a)) FROM flow.enter('try'), (VALUES
  ('NULL, flow.id(''try'', ''a''), 0', 'P0002', 'there is no such run'), ('pg_temp.campaign(''try''), NULL, 0', '22004', 'lead is missing'), ('pg_temp.campaign(''try''), flow.id(''try'', ''a''), NULL', '22004', 'step is missing'),
  ('pg_temp.campaign(''all''), flow.id(''all'', ''a''), 0', 'P0002', 'there is no such lead'), ('pg_temp.campaign(''all''), flow.id(''try'', ''a''), 0', 'P0002', 'there is no such run')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('try'), flow.id('try', 'a'), 0)$$, '42501', NULL, 'not by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('try', w);

-- ---------------------------------------------------------------- sender_upgrade
-- far has decided steps 0 and 1, one only step 0, and wait none.
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('up', '{email 0,sms 1 day,email 2 days}'), pg_temp.team('up'), flow.lead('up', 'far'), flow.process('up');
  PERFORM flow.process('up', '2026-01-06T10:00:00Z'), flow.lead('up', 'one'), flow.process('up'), flow.lead('up', 'wait');
  PERFORM flow.at('2026-01-06T12:00:00Z'), flow.enter('up'), flow.sequence('up', '{email 0,sms 3 days}');
END $$;
SELECT throws_ok($$SELECT entrestate.sender_upgrade(pg_temp.campaign('up'), 2)$$, '55000', 'the version is draft', 'not to a draft') FROM flow.enter('up');
SELECT is((SELECT r::text FROM flow.enter('up'), entrestate.sender_upgrade(pg_temp.campaign('up'), 1) r), '(0,0,0)', 'to the version that they follow');
SELECT entrestate.sequence_publish(pg_temp.campaign('up'), 2) FROM flow.enter('up') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT r.version::text, ' ') FROM entrestate.sender_runs r WHERE r.campaign_id = pg_temp.campaign('up')), '1', '"a run stays on its version"');
SELECT throws_ok($$SELECT entrestate.sender_upgrade(pg_temp.campaign('up'), 1)$$, '55000', 'the version is archived', 'nor to one that is archived') FROM flow.enter('up');
SELECT is((SELECT r::text FROM pg_temp.as('up', 'ope'), entrestate.sender_upgrade(pg_temp.campaign('up'), 2) r), '(2,0,1)', '"`sender_upgrade(campaign, version)` moves runs whose decided steps are equal"');
SELECT is(pg_temp.runs('up'), 'far: running 2 08T10:00, one: running 1 09T10:00, wait: pending 0 06T12:00', 'the next step is due its new delay after the outcome before it, and not before now');
SELECT is(flow.story('up', 'one'), 'run.started, step.sent 0, run.upgraded', 'one event');
SELECT is((SELECT string_agg(r.version::text, ' ' ORDER BY l.name) FROM entrestate.sender_runs r JOIN flow.lead l ON l.lead = r.lead_id WHERE l.tenant = 'up'), '1 2 2', 'far stays on its version: its step 1 was another');
SELECT is(pg_temp.audited('up', 'sender.upgrade'), 'ope {"done": 0, "kept": 1, "version": 2, "upgraded": 2}', 'audited');
SELECT pg_temp.sound('upgraded runs');
SELECT flow.digest('up') AS before \gset
SELECT is((SELECT r::text FROM pg_temp.as('up', 'ope'), entrestate.sender_upgrade(pg_temp.campaign('up'), 2) r), '(0,0,1)', 'twice is once');
SELECT is(flow.digest('up'), :'before', 'and writes nothing');
SELECT is(flow.process('up'), 1, 'they go on');
SELECT is(pg_temp.run('up', 'wait'), 'running 1 09T12:00', 'by the new version');
-- a run that has no step left
SELECT flow.sequence('up', '{email 0}'), entrestate.sequence_publish(pg_temp.campaign('up'), 3) FROM flow.enter('up') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('up'), entrestate.sender_upgrade(pg_temp.campaign('up'), 3) r), '(2,2,1)', 'a shorter version');
SELECT is(flow.story('up', 'one'), 'run.started, step.sent 0, run.upgraded, run.upgraded, run.done (completed)', '"no step left: done, completed"');
SELECT pg_temp.sound('done by an upgrade');
-- what counts as equal
DO $$
DECLARE
  steps text;
BEGIN
  PERFORM flow.enter('up');
  FOREACH steps IN ARRAY ARRAY['{email 0,sms 24 hours,email 2 days}', '{sms 0,sms 1 day}', '{email 1 minute,sms 1 day}', '{email 0}'] LOOP
    PERFORM entrestate.sequence_publish(pg_temp.campaign('up'), flow.sequence('up', steps::text[]));
    PERFORM entrestate.sender_upgrade(pg_temp.campaign('up'), (SELECT max(q.version) FROM entrestate.sender_sequences q WHERE q.campaign_id = pg_temp.campaign('up')));
  END LOOP;
END $$;
SELECT is((flow.run('up', 'far')).version, 1, 'a day is not 24 hours; another channel, another delay, no such step');
SELECT flow.sequence('up', '{email 0,sms 1 day,sms 4 days}'), entrestate.sequence_publish(pg_temp.campaign('up'), 8) FROM flow.enter('up') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('up'), entrestate.sender_upgrade(pg_temp.campaign('up'), 8) r), '(1,0,0)', 'steps to come may differ');
SELECT is(pg_temp.run('up', 'far'), 'running 2 10T10:00', 'it is due by its new delay');
SELECT is(flow.process('up', '2026-01-10T10:00:00Z'), 1, 'and go out when they are due');
SELECT is((SELECT string_agg(i.channel, ' ' ORDER BY i.step) FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('up', 'far')), 'email sms sms', 'as the new version says');
SELECT pg_temp.sound('far');
-- a message on its way is a decided step
DO $$ BEGIN
  PERFORM set_config('entrestate.clock', '', false), flow.make('lup', '{email 0,sms 1 day}', 'live'), flow.lead('lup', 'a'), flow.process('lup'), flow.enter('lup');
  PERFORM entrestate.sequence_publish(pg_temp.campaign('lup'), flow.sequence('lup', '{email 1 hour,sms 1 day}'));
END $$;
SELECT is((SELECT r::text FROM flow.enter('lup'), entrestate.sender_upgrade(pg_temp.campaign('lup'), 2) r), '(0,0,1)', 'a step that is in flight is decided');
SELECT entrestate.sequence_publish(pg_temp.campaign('lup'), flow.sequence('lup', '{email 0,sms 3 days}')) FROM flow.enter('lup') \g /dev/null
SELECT is((SELECT r::text FROM flow.enter('lup'), entrestate.sender_upgrade(pg_temp.campaign('lup'), 3) r), '(1,0,0)', 'one that is equal moves');
SELECT is((SELECT concat_ws(' ', r.version, r.status, r.next_at) FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('lup', 'a')), '3 running', 'and still waits on its message');
SELECT pg_temp.sound('an upgrade in flight');
SELECT throws_ok(format('SELECT entrestate.sender_upgrade(%s)', a), s, m, format('sender_upgrade(%s)', a)) FROM flow.enter('up'), (VALUES
  ('NULL, 1', '22004', 'campaign is missing'), ('pg_temp.campaign(''up''), NULL', '22004', 'version is missing'), ('pg_temp.campaign(''lup''), 1', 'P0002', 'there is no such campaign'),
  ('pg_temp.campaign(''up''), 99', 'P0002', 'there is no such sequence version')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.sender_upgrade(pg_temp.campaign('up'), 8)$$, '42501', NULL, 'not by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('up', w);

-- ---------------------------------------------------------------- sender_resume
-- Nothing fails a run of a sandbox, so one is made to.
CREATE FUNCTION pg_temp.fail(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid := flow.id('fail', fail.name);
BEGIN
  PERFORM flow.enter('fail');
  PERFORM broken.tamper('sender_runs', format('UPDATE %%s SET status = ''failed'', run_seq = run_seq + 1, next_at = NULL, ended_at = entrestate.clock_now() WHERE lead_id = %L', l));
  PERFORM broken.tamper('sender_events', format('INSERT INTO %%s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, mode, sequence_version)
    SELECT tenant_id, lead_id, entrestate.clock_now(), campaign_id, 3, run_seq, 2, version FROM entrestate.sender_runs WHERE lead_id = %L', l));
END
$$;
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('fail', '{email 0,sms 1 day}'), pg_temp.team('fail'), flow.enter('fail');
  PERFORM flow.lead('fail', n) FROM unnest('{a,out,now,ok}'::text[]) n;
  PERFORM flow.process('fail');
  PERFORM pg_temp.fail('a'), pg_temp.fail('out');
END $$;
SELECT is(pg_temp.run('fail', 'a'), 'failed 1', 'a run that failed');
SELECT pg_temp.sound('failed runs');
SELECT is(entrestate.sender_stop(pg_temp.campaign('fail'), flow.id('fail', 'a'), 'x'), false, 'is not stopped: it has ended') FROM flow.enter('fail');
SELECT throws_ok($$SELECT entrestate.sender_retry(pg_temp.campaign('fail'), flow.id('fail', 'a'), 0)$$, '55000', 'the run is failed', 'nor a step of it retried') FROM flow.enter('fail');
SELECT flow.at('2026-01-05T12:00:00Z') \g /dev/null
SELECT is(entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'a')), true, '"failed → running by `sender_resume`"') FROM pg_temp.as('fail', 'ope');
SELECT is(pg_temp.run('fail', 'a'), 'running 1 05T12:00', 'its step is due now');
SELECT is(flow.story('fail', 'a'), 'run.started, step.sent 0, run.failed, run.resumed', 'one event');
SELECT is(entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'a')), false, 'twice is once') FROM pg_temp.as('fail', 'ope');
SELECT is(pg_temp.audited('fail', 'sender.resume'), 'ope {}', 'audited, once');
SELECT pg_temp.sound('a resumed run');
SELECT is(flow.process('fail'), 1, 'and it goes on');
SELECT is(pg_temp.run('fail', 'a'), 'done 2 completed', 'to its end');
SELECT throws_ok($$SELECT entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'a'))$$, '55000', 'the run is done', 'one that is done stays so') FROM flow.enter('fail');
SELECT entrestate.lead_opt_out(flow.id('fail', 'out'), 'email') FROM flow.enter('fail') \g /dev/null
SELECT is(entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'out')), true, 'who opted out meanwhile') FROM flow.enter('fail');
SELECT is(flow.story('fail', 'out'), 'run.started, step.sent 0, run.failed, run.resumed, suppressed_opt_out (opted_out)', 'ends at once');
SELECT throws_ok($$SELECT entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'out'))$$, '55000', 'the run is suppressed', '"suppressed is final for ever"') FROM flow.enter('fail');
-- failed and resumed at the instant at which it was due
SELECT flow.at('2026-01-06T10:00:00Z') \g /dev/null
SELECT pg_temp.fail('now') \g /dev/null
SELECT entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'now')) FROM flow.enter('fail') \g /dev/null
SELECT pg_temp.sound('it is due once');
SELECT is(flow.process('fail'), 2, 'with the one that never failed');
SELECT throws_ok(format('SELECT entrestate.sender_resume(%s)', a), s, m, format('sender_resume(%s)', a)) FROM flow.enter('fail'), (VALUES
  ('NULL, flow.id(''fail'', ''a'')', 'P0002', 'there is no such run'), ('pg_temp.campaign(''fail''), NULL', '22004', 'lead is missing'), ('pg_temp.campaign(''up''), flow.id(''up'', ''far'')', 'P0002', 'there is no such lead')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.sender_resume(pg_temp.campaign('fail'), flow.id('fail', 'a'))$$, '42501', NULL, 'not by a ' || w) FROM unnest('{mem,vic,clo}'::text[]) w, pg_temp.as('fail', w);
SELECT pg_temp.sound('resumed runs');

-- ---------------------------------------------------------------- channel_limits_set, and what it holds
CREATE FUNCTION pg_temp.limits(name text, channel text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat_ws(' ', coalesce(c.daily_limit::text, '-'), coalesce(c.per_minute::text, '-'), coalesce(c.warmup::text, '-'), coalesce(c.warmup_from::text, '-'), c.consent_required)
  FROM entrestate.tenant_channels c JOIN flow.tenant t ON t.tenant = c.tenant_id WHERE t.name = $1 AND c.channel = $2 $$;
-- What of a tenant's queues is held, and what the feed says of it.
CREATE FUNCTION pg_temp.held(name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', h.step, x.name, to_char(h.held_since, 'DD"T"HH24:MI')), ', ' ORDER BY h.step) FROM entrestate.sender_holds h
  JOIN flow.tenant t ON t.tenant = h.tenant_id JOIN entrestate.sender_reasons() x ON x.code = h.reason WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.feed(name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', substr(a.type, 14), a.payload ->> 'step', a.payload ->> 'reason', to_char(a.recorded_at, 'DD"T"HH24:MI')), ', ' ORDER BY a.recorded_at, a.id)
  FROM entrestate.activity_events a JOIN flow.tenant t ON t.tenant = a.tenant_id WHERE t.name = $1 AND a.type LIKE 'sender.queue.%' $$;
-- Where the usage of a day is not what its events say.
CREATE FUNCTION pg_temp.misused(name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', u.key, u.window_at, u.used, e.n), ', ') FROM flow.tenant t
  CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_usage x WHERE x.tenant_id = t.tenant AND x.budget = 'channel_day') u
  FULL JOIN (SELECT h.name AS channel, date_trunc('day', v.recorded_at, 'America/Toronto') AS day, count(*) AS n FROM entrestate.sender_events v
    JOIN entrestate.sender_channels() h ON h.code = v.channel JOIN flow.tenant s ON s.tenant = v.tenant_id WHERE s.name = $1 AND v.type = 10 GROUP BY 1, 2) e
    ON e.channel = u.key AND e.day = u.window_at
  WHERE coalesce(t.name, $1) = $1 AND u.used IS DISTINCT FROM e.n $$;
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('lim', '{email 0,sms 30 days}'), pg_temp.team('lim'), flow.enter('lim');
END $$;
SELECT is(pg_temp.limits('lim', 'email'), '- - - - f', 'a channel without limits');
SELECT entrestate.channel_limits_set('email', 3, 100, '{1,2,4}', '2026-02-01', true) FROM flow.enter('lim') \g /dev/null
SELECT is(pg_temp.limits('lim', 'email') || ', ' || pg_temp.limits('lim', 'sms'), '3 100 {1,2,4} 2026-02-01 t, - - - - f', 'with all of them; the others as they were');
SELECT is((SELECT p.policy #> '{tenant,channels,email}' FROM entrestate.policy_snapshots p WHERE p.campaign_id = pg_temp.campaign('lim') ORDER BY p.version DESC LIMIT 1),
  '{"paused": false, "warmup": [1, 2, 4], "enabled": true, "perMinute": 100, "dailyLimit": 3, "warmupFrom": "2026-02-01", "consentRequired": true}', 'a policy version');
SELECT is(pg_temp.audited('lim', 'channel.limits'), 'boss {"warmup": [1, 2, 4], "perMinute": 100, "dailyLimit": 3, "warmupFrom": "2026-02-01", "consentRequired": true}', 'audited');
SELECT entrestate.channel_limits_set('email') FROM flow.enter('lim') \g /dev/null
SELECT is(pg_temp.limits('lim', 'email'), '3 100 {1,2,4} 2026-02-01 t', 'NULL leaves');
SELECT entrestate.channel_limits_set('email', 0, 0, '{}', NULL, false) FROM flow.enter('lim') \g /dev/null
SELECT is(pg_temp.limits('lim', 'email'), '- - - - f', '0 and {} take away');
SELECT entrestate.channel_limits_set('email', warmup => ('[5:6]={1,2}'::integer[])) FROM flow.enter('lim') \g /dev/null
SELECT is(pg_temp.limits('lim', 'email'), '- - {1,2} 2026-01-05 f', 'a warm-up begins today, unless told otherwise');
SELECT entrestate.channel_limits_set('email', warmup => '{}') FROM flow.enter('lim') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.channel_limits_set(%s)', a), s, m, format('channel_limits_set(%s)', a)) FROM flow.enter('lim'), (VALUES
  ('NULL', '22004', NULL), ('''post''', '22023', NULL), ('''sms'', -1', '22023', 'daily_limit is below 0'), ('''sms'', per_minute => -1', '22023', 'per_minute is below 0'),
  ('''sms'', warmup => ''{0}''', '22023', 'warmup is not the sends of 1 to 100 days'), ('''sms'', warmup => ''{1,NULL}''', '22023', 'warmup is not the sends of 1 to 100 days'),
  ('''sms'', warmup => ''{{1,2}}''', '22023', 'warmup is not the sends of 1 to 100 days'), ('''sms'', warmup => array_fill(1, ARRAY[101])', '22023', 'warmup is not the sends of 1 to 100 days'),
  ('''sms'', warmup_from => ''infinity''', '22023', 'warmup_from is not a day')) v(a, s, m);
SELECT throws_ok($$SELECT entrestate.channel_limits_set('sms', 1)$$, '42501', NULL, 'not by a ' || w) FROM unnest('{ope,mem,vic,clo}'::text[]) w, pg_temp.as('lim', w);
-- "daily limit": three of five today, by the tenant's calendar
SELECT entrestate.channel_limits_set('email', daily_limit => 3), flow.lead('lim', n::text) FROM flow.enter('lim'), generate_series(1, 5) n \g /dev/null
SELECT is(flow.process('lim'), 3, '"daily limit": three of five');
SELECT is(pg_temp.held('lim'), '0 daily_limit 05T15:00', '"hold the queue": noted once');
SELECT is(pg_temp.feed('lim'), 'held 0 daily_limit 05T15:00', '"one activity event marks its begin and end": its begin');
SELECT is((SELECT concat_ws(' ', q.due, q.held, q.held_for) FROM flow.enter('lim'), entrestate.sender_queue() q), '2 2 daily_limit', '"`sender_queue` derives the reason"');
SELECT flow.digest('lim') AS before \gset
SELECT is(flow.process('lim', '2026-01-05T20:00:00Z') + flow.process('lim', '2026-01-06T04:59:59Z'), 0, 'no more today: in Toronto it is the 5th still');
SELECT is(flow.digest('lim'), :'before', '"no row and no event is written"');
SELECT is(flow.process('lim', '2026-01-06T05:00:00Z'), 2, 'the others on the next day');
SELECT is(concat_ws('; ', pg_temp.held('lim'), pg_temp.feed('lim')), 'held 0 daily_limit 05T15:00, released 0 daily_limit 06T05:00', 'and its end');
SELECT is(pg_temp.misused('lim'), NULL, 'usage is what the events say');
-- taken away while it holds
SELECT flow.lead('lim', n::text) FROM generate_series(6, 9) n \g /dev/null
SELECT is(flow.process('lim', '2026-01-06T06:00:00Z'), 1, 'one more is left of three');
SELECT entrestate.channel_limits_set('email', daily_limit => 0) FROM flow.enter('lim') \g /dev/null
SELECT is(flow.process('lim', '2026-01-06T07:00:00Z'), 3, 'without a limit the rest goes out');
SELECT is(pg_temp.feed('lim'), 'held 0 daily_limit 05T15:00, released 0 daily_limit 06T05:00, held 0 daily_limit 06T06:00, released 0 daily_limit 06T07:00', 'begin and end again');
SELECT is(pg_temp.misused('lim'), NULL, 'usage is what the events say');
SELECT pg_temp.sound('a daily limit');
-- "rate"
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:30Z'), flow.make('min', '{email 0,sms 30 days}'), flow.enter('min'), entrestate.channel_limits_set('email', per_minute => 2);
  PERFORM flow.lead('min', n::text) FROM generate_series(1, 5) n;
END $$;
SELECT is(concat_ws(' ', flow.process('min'), flow.process('min', '2026-01-05T15:00:59Z')), '2 0', '"rate": two a minute');
SELECT is(pg_temp.held('min'), '0 rate_limited 05T15:00', 'rate_limited');
SELECT is(concat_ws(' ', flow.process('min', '2026-01-05T15:01:00Z'), flow.process('min', '2026-01-05T15:02:00Z'), flow.process('min', '2026-01-05T15:03:00Z')), '2 1 0', 'minute by minute');
SELECT is((SELECT string_agg(u.used::text, ' ' ORDER BY u.window_at) FROM entrestate.sender_usage u JOIN flow.tenant t ON t.tenant = u.tenant_id WHERE t.name = 'min' AND u.budget = 'channel_minute'), '2 2 1', 'usage');
-- "domain rate": twenty of one domain stand before four of another; addresses are of the domain that they end with
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:30Z'), flow.make('dom', '{email 0,sms 30 days}'), flow.enter('dom'), entrestate.channel_limits_set('email', domain_per_minute => 3);
  PERFORM flow.lead('dom', 'a' || n, format('a%s@big.example', n)) FROM generate_series(1, 20) n;
  PERFORM flow.at('2026-01-05T15:00:31Z'), flow.lead('dom', 'b' || n, format('b%s@Small.example', n)) FROM generate_series(1, 4) n;
END $$;
CREATE FUNCTION pg_temp.domains() RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT concat_ws(', ', (SELECT string_agg(format('%s %s', u.key, u.used), ' ' ORDER BY u.window_at, u.key) FROM entrestate.sender_usage u JOIN flow.tenant t ON t.tenant = u.tenant_id
      WHERE t.name = 'dom' AND u.budget = 'domain_minute' AND u.window_at = date_trunc('minute', entrestate.clock_now())),
    (SELECT string_agg(format('%s waits %s', coalesce(d.domain, '-'), d.n), ' ' ORDER BY d.domain) FROM (SELECT d.domain, sum(cardinality(d.leads)) AS n FROM entrestate.sender_due d
      JOIN flow.tenant t ON t.tenant = d.tenant_id WHERE t.name = 'dom' AND d.due_at <= entrestate.clock_now() GROUP BY 1) d)) $$;
SELECT is(flow.process('dom', '2026-01-05T15:00:40Z', 5), 6, '"domain rate": three of each, in batches of five');
SELECT is(pg_temp.domains(), 'big.example 3 small.example 3, big.example waits 17 small.example waits 1', 'usage; who is put back waits under its domain');
SELECT is(flow.process('dom', '2026-01-05T15:00:59Z', 5), 0, 'no more in this minute');
SELECT is((SELECT concat_ws(' ', x.gate, x.decision, x.reason) FROM flow.enter('dom'), entrestate.sender_explain(pg_temp.campaign('dom'), flow.id('dom', 'a19')) x WHERE x.decides), '16 hold rate_limited', 'and sender_explain() says why');
SELECT is(concat_ws(' ', flow.process('dom', '2026-01-05T15:01:00Z', 5), flow.process('dom', '2026-01-05T15:02:00Z', 100), pg_temp.domains()), '4 3 big.example 3, big.example waits 11', 'minute by minute, oldest first');
SELECT is((SELECT count(*)::int FROM entrestate.sender_events e JOIN flow.tenant t ON t.tenant = e.tenant_id WHERE t.name = 'dom' AND e.run_seq = 2), 13, 'what waits writes nothing');
SELECT entrestate.channel_limits_set('email', domain_per_minute => 0) FROM flow.enter('dom') \g /dev/null
SELECT is(flow.process('dom', '2026-01-05T15:02:30Z'), 11, 'without the rate the rest goes out');
SELECT throws_ok(format('SELECT entrestate.channel_limits_set(%s)', a), '22023', m, 'not ' || a) FROM flow.enter('dom'), (VALUES ('''email'', domain_per_minute => -1', 'domain_per_minute is below 0'), ('''sms'', domain_per_minute => 5', 'domain_per_minute is of emails only')) v(a, m);
SELECT entrestate.sender_upkeep_tenant(t.tenant) FROM flow.at('2026-01-07T15:02:00Z'), flow.tenant t WHERE t.name = 'dom' \g /dev/null
SELECT is((SELECT string_agg(u.budget || ' ' || u.key, ', ' ORDER BY u.budget, u.key) FROM entrestate.sender_usage u JOIN flow.tenant t ON t.tenant = u.tenant_id WHERE t.name = 'dom'),
  'channel_day email, domain_minute big.example', 'upkeep forgets the minutes of two days ago');
SELECT pg_temp.sound('a domain''s rate');
-- "warm-up"
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('warm', '{email 0,sms 30 days}'), flow.enter('warm'), entrestate.channel_limits_set('email', warmup => '{1,2,4}');
  PERFORM flow.lead('warm', n::text) FROM generate_series(1, 12) n;
END $$;
SELECT is(concat_ws(' ', flow.process('warm'), flow.process('warm', '2026-01-06T15:00:00Z'), flow.process('warm', '2026-01-07T15:00:00Z'), flow.process('warm', '2026-01-08T15:00:00Z')), '1 2 4 5',
  '"warm-up": its first, second and third day, then without it');
SELECT is(pg_temp.misused('warm'), NULL, 'usage is what the events say');
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('both', '{email 0,sms 30 days}'), flow.enter('both'), entrestate.channel_limits_set('email', 3, warmup => '{2,10}');
  PERFORM flow.lead('both', n::text) FROM generate_series(1, 9) n;
END $$;
SELECT is(concat_ws(' ', flow.process('both'), flow.process('both', '2026-01-06T15:00:00Z')), '2 3', 'the lower of limit and warm-up');
-- "consent for the channel missing"
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('con', '{email 0,sms 1 day}'), flow.enter('con'), entrestate.channel_limits_set('email', consent_required => true);
  PERFORM flow.lead('con', n) FROM unnest('{yes,no,back}'::text[]) n;
  PERFORM entrestate.lead_consent(flow.id('con', 'yes'), 'email', true, 'form'), entrestate.lead_consent(flow.id('con', 'back'), 'email', true, 'form');
  PERFORM flow.at('2026-01-05T15:01:00Z'), flow.enter('con'), entrestate.lead_consent(flow.id('con', 'back'), 'email', false, 'form'), flow.process('con');
END $$;
SELECT is(concat_ws('; ', flow.story('con', 'yes'), flow.story('con', 'no'), flow.story('con', 'back')),
  'run.started, step.sent 0; run.started, step.skipped 0 (no_consent); run.started, step.skipped 0 (no_consent)', '"consent for the channel missing": skip, no_consent');
-- "the lead's frequency cap … over all campaigns", in one batch
DO $$
DECLARE
  c uuid;
BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('cap', '{email 0,sms 30 days}'), flow.enter('cap');
  c := entrestate.campaign_create('second');
  PERFORM entrestate.sequence_publish(c, entrestate.sequence_create(c, jsonb_build_array(jsonb_build_object('channel', 'sms', 'template', t.sms, 'delay', '0')))) FROM flow.tenant t WHERE t.name = 'cap';
  PERFORM entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true);
  PERFORM entrestate.agent_settings_set(x, caps => '[{"max": 1, "per": "1 day"}]') FROM unnest(ARRAY[c, pg_temp.campaign('cap')]) x;
  PERFORM flow.lead('cap', 'a'), flow.lead('cap', 'b');
  PERFORM entrestate.lead_attribute(flow.id('cap', 'a'), c);
END $$;
SELECT is(flow.process('cap'), 3, 'three decisions in one batch');
SELECT is(flow.story('cap', 'a'), 'run.started, step.sent 0, run.started, step.deferred 0 (frequency_capped)', '"the lead''s frequency cap (rolling; over all campaigns and channels …)": the campaign with the lower id first, "within a batch each admission uses up budget before the next"');
SELECT is((SELECT to_char(min(r.next_at), 'DD"T"HH24:MI') FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('cap', 'a') AND r.cursor = 0), '06T15:00', '"defer to when it frees"');
SELECT is(flow.process('cap', '2026-01-06T15:00:00Z'), 1, 'and then');
SELECT is(flow.story('cap', 'a'), 'run.started, step.sent 0, run.started, step.deferred 0 (frequency_capped), step.sent 0, run.done (completed)', 'it goes out');
SELECT pg_temp.sound('budgets');

SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'verify() finds nothing at all');
SELECT * FROM finish();
ROLLBACK;
