-- The thin flow, gate by gate (docs/sender.md): who is held writes nothing and goes on later, who is
-- skipped or rehearsed goes on at once, who is ended says why.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();

-- ---------------------------------------------------------------- from start to end
DO $$ BEGIN
  PERFORM flow.make('plain', '{email 0,sms 3 days,email 4 days}'), flow.patient('plain');
  PERFORM flow.lead('plain', 'ann');
END $$;
SELECT is(flow.story('plain', 'ann'), 'run.started', 'a run begins with its lead');
SELECT is((r.status, r.cursor, r.run_seq, r.mode, r.next_at)::text, '(pending,0,1,sandbox,"2026-01-05 10:00:00+00")', 'and is due at once')
FROM (SELECT (flow.run('plain', 'ann')).*) r, set_config('timezone', 'UTC', true);
SELECT is(flow.process('plain'), 1, 'the first step');
SELECT is(flow.process('plain'), 0, 'no more is due');
SELECT is((r.status, r.cursor, r.next_at)::text, '(running,1,"2026-01-08 10:00:00+00")', 'the second is due by its delay') FROM (SELECT (flow.run('plain', 'ann')).*) r;
SELECT is(flow.process('plain', '2026-01-08T09:59:59.999999Z'), 0, 'a microsecond early is early');
SELECT is(flow.process('plain', '2026-01-08T10:00:00Z'), 1, 'on the instant it is due');
SELECT is(flow.process('plain', '2026-02-01T00:00:00Z'), 1, 'late is caught up');
SELECT is(flow.story('plain', 'ann'), 'run.started, step.sent 0, step.sent 1, step.sent 2, run.done (completed)', 'gate 8: after the last step the run is done');
SELECT is((r.status, r.cursor, r.sent_steps, r.ended_at)::text, '(done,3,3,"2026-02-01 00:00:00+00")', 'and its row says so') FROM (SELECT (flow.run('plain', 'ann')).*) r;
SELECT is((SELECT string_agg(format('%s/%s %s %s %s', i.step, i.attempt, i.channel, i.provider, i.status), ', ' ORDER BY i.step) FROM entrestate.sender_intents i
    WHERE i.lead_id = flow.id('plain', 'ann')), '0/0 email sandbox sent, 1/0 sms sandbox sent, 2/0 email sandbox sent', 'gate 18: an intent for each, to nobody');
SELECT is(flow.process('plain', '2027-01-01T00:00:00Z'), 0, 'nothing comes after the end');

-- ---------------------------------------------------------------- holds: nothing is written, and it goes on
CREATE FUNCTION pg_temp.holds(name text, brake text, release text, why text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  before text;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z');
  PERFORM flow.make(name, '{email 0,sms 1 day}'), flow.patient(name);
  PERFORM flow.lead(name, 'ann');
  PERFORM flow.process(name);
  EXECUTE brake USING (SELECT t.campaign FROM flow.tenant t WHERE t.name = holds.name);
  before := flow.digest(name);
  RETURN NEXT is((SELECT q.held_for FROM entrestate.sender_queue() q), why, why || ': the queue says why it is held');
  RETURN NEXT is(flow.process(name, '2026-01-20T00:00:00Z'), 0, why || ': nothing is decided');
  RETURN NEXT is(flow.digest(name), before, why || ': nothing is written');
  PERFORM flow.enter(name);
  RETURN NEXT is((SELECT (q.running, q.due)::text FROM entrestate.sender_queue() q), '(1,1)', why || ': it stays due');
  EXECUTE release USING (SELECT t.campaign FROM flow.tenant t WHERE t.name = holds.name);
  RETURN NEXT is(flow.process(name), 1, why || ': then it goes on');
  RETURN NEXT is(flow.story(name, 'ann'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', why || ': as if it had not been held');
END
$$;
SELECT pg_temp.holds('frozen', 'SELECT entrestate.tenant_freeze(''x'')', 'SELECT entrestate.tenant_unfreeze()', 'tenant_frozen');
SELECT pg_temp.holds('paused', 'SELECT entrestate.tenant_pause(''x'')', 'SELECT entrestate.tenant_resume()', 'tenant_paused');
SELECT pg_temp.holds('campaign paused', 'SELECT entrestate.campaign_status_set($1, ''paused'')', 'SELECT entrestate.campaign_status_set($1, ''active'')', 'campaign_paused');
SELECT pg_temp.holds('sender off', 'SELECT entrestate.campaign_update($1, sender_enabled => false)', 'SELECT entrestate.campaign_update($1, sender_enabled => true)', 'sender_disabled');
-- risk control is not built yet: its flag is
SELECT pg_temp.holds('risk', 'UPDATE entrestate.campaigns SET risk_paused_at = now(), risk_paused_reason = ''x'' WHERE campaign_id = $1',
  'UPDATE entrestate.campaigns SET risk_paused_at = NULL, risk_paused_reason = NULL WHERE campaign_id = $1', 'risk_paused');

-- two brakes: each must go
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('twice', '{email 0}'), flow.lead('twice', 'ann');
  PERFORM entrestate.tenant_pause('x'), entrestate.tenant_freeze('y');
  PERFORM flow.process('twice');
  PERFORM flow.enter('twice'), entrestate.tenant_unfreeze();
END $$;
SELECT is(flow.process('twice'), 0, 'unfrozen but paused');
SELECT lives_ok($$ SELECT entrestate.tenant_resume() FROM flow.enter('twice') $$, 'resumed');
SELECT is(flow.process('twice'), 1, 'then it goes on');
-- one campaign that is held does not hold another
DO $$
DECLARE
  c uuid;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('two', '{email 0}'), flow.lead('two', 'ann');
  PERFORM entrestate.campaign_status_set((SELECT campaign FROM flow.tenant WHERE name = 'two'), 'paused');
  c := entrestate.campaign_create('second');
  UPDATE flow.tenant SET campaign = c WHERE name = 'two';
  PERFORM flow.sequence('two', '{sms 0}'), entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'),
    entrestate.campaign_update(c, sender_enabled => true), flow.lead('two', 'bob');
END $$;
SELECT is(flow.process('two'), 1, 'a held campaign does not stand in the way');
SELECT is(flow.story('two', 'bob'), 'run.started, step.sent 0, run.done (completed)', 'of another one''s runs');
SELECT is(flow.story('two', 'ann'), 'run.started', 'which wait');

-- ---------------------------------------------------------------- the end of a campaign ends its runs
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('completed', '{email 0,sms 1 day}'), flow.lead('completed', 'ann'), flow.process('completed');
  PERFORM flow.enter('completed'), entrestate.campaign_status_set((SELECT campaign FROM flow.tenant WHERE name = 'completed'), 'completed');
  PERFORM flow.make('archived', '{email 0,sms 1 day}'), flow.lead('archived', 'ann');
  PERFORM entrestate.campaign_status_set((SELECT campaign FROM flow.tenant WHERE name = 'archived'), s) FROM unnest('{completed,archived}'::text[]) s;
END $$;
SELECT is(flow.process('completed', '2026-01-07T10:00:00Z'), 1, 'a completed campaign');
SELECT is(flow.story('completed', 'ann'), 'run.started, step.sent 0, suppressed_campaign_ended (campaign_ended)', 'ends its runs where they are');
SELECT is((r.status, r.cursor, r.next_at, r.ended_at)::text, '(suppressed,1,,"2026-01-07 10:00:00+00")', 'for ever') FROM (SELECT (flow.run('completed', 'ann')).*) r;
SELECT is(flow.process('archived'), 1, 'an archived campaign');
SELECT is(flow.story('archived', 'ann'), 'run.started, suppressed_campaign_ended (campaign_ended)', 'as well, before the first step');
SELECT is((SELECT coalesce(sum(cardinality(d.leads)), 0) FROM entrestate.sender_due d JOIN flow.tenant t ON t.tenant = d.tenant_id AND t.name IN ('completed', 'archived')), 0::bigint, 'nothing is due any more');
SELECT is(flow.process('completed', '2026-02-01T00:00:00Z') + flow.process('archived'), 0, 'and nothing comes after');

-- ---------------------------------------------------------------- skips: the step, not the run
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('skip', '{email 0,sms 1 day,email 1 day}');
  PERFORM flow.lead('skip', 'no email', NULL), flow.lead('skip', 'no phone', 'new', NULL), flow.lead('skip', 'neither', NULL, NULL);
  PERFORM flow.lead('skip', 'bounced'), flow.lead('skip', 'both');
  PERFORM flow.enter('skip');
  UPDATE entrestate.lead_contacts SET unusable_reason = 'hard bounce' WHERE lead_id = flow.id('skip', 'bounced');
END $$;
SELECT is(flow.process('skip', '2026-01-05T10:00:00Z') + flow.process('skip', '2026-01-06T10:00:00Z') + flow.process('skip', '2026-01-07T10:00:00Z'), 15, 'fifteen steps');
SELECT is(flow.story('skip', 'no email'), 'run.started, step.skipped 0 (missing_email), step.sent 1, step.skipped 2 (missing_email), run.done (completed)', 'gate 10: no email address');
SELECT is(flow.story('skip', 'no phone'), 'run.started, step.sent 0, step.skipped 1 (missing_phone), step.sent 2, run.done (completed)', 'gate 10: no telephone');
SELECT is(flow.story('skip', 'neither'), 'run.started, step.skipped 0 (missing_email), step.skipped 1 (missing_phone), step.skipped 2 (missing_email), run.done (completed)', 'gate 10: neither');
SELECT is(flow.story('skip', 'bounced'), 'run.started, step.skipped 0 (invalid_email), step.skipped 1 (invalid_phone), step.skipped 2 (invalid_email), run.done (completed)', 'gate 10: unusable ones');
SELECT is((flow.run('skip', 'neither')).sent_steps, 0::smallint, 'a skip is not a send');
SELECT is((SELECT count(*) FROM entrestate.sender_intents WHERE lead_id = flow.id('skip', 'neither')), 0::bigint, 'and has no intent');

DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('channel', '{email 0,sms 1 day}'), flow.lead('channel', 'ann'), flow.lead('channel', 'bob', NULL);
  PERFORM entrestate.channel_set('email', false), entrestate.channel_set('sms', paused => true);
END $$;
SELECT is(flow.process('channel'), 2, 'gate 11: a channel that is off');
SELECT is(flow.story('channel', 'ann'), 'run.started, step.skipped 0 (channel_disabled)', 'skips');
SELECT is(flow.story('channel', 'bob'), 'run.started, step.skipped 0 (missing_email)', 'but gate 10 comes first');
SELECT is(flow.process('channel', '2026-01-06T10:00:00Z'), 0, 'gate 11: a channel that is paused');
SELECT is((SELECT string_agg(concat_ws(' ', type, payload ->> 'reason'), ', ') FROM entrestate.activity_events WHERE tenant_id = (SELECT tenant FROM flow.tenant WHERE name = 'channel') AND type LIKE 'sender.queue.%'),
  'sender.queue.held channel_paused', 'is noted once');
SELECT flow.digest('channel') AS before \gset
SELECT is(flow.process('channel'), 0, 'then it');
SELECT is(flow.digest('channel'), :'before', 'holds and writes nothing');
SELECT lives_ok($$ SELECT entrestate.channel_set('sms', paused => false) FROM flow.enter('channel') $$, 'the pause ends');
SELECT is(flow.process('channel', '2026-01-09T10:00:00Z'), 2, 'and they go on');
SELECT is(flow.story('channel', 'bob'), 'run.started, step.skipped 0 (missing_email), step.sent 1, run.done (completed)', 'to their end');

-- ---------------------------------------------------------------- dry run, of the tenant or of the campaign
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('dry', '{email 0,sms 1 day}', 'live'), entrestate.tenant_update(dry_run => true), flow.lead('dry', 'ann'), flow.lead('dry', 'bob', NULL);
END $$;
SELECT is(flow.process('dry') + flow.process('dry', '2026-01-06T10:00:00Z'), 4, 'gate 17');
SELECT is(flow.story('dry', 'ann'), 'run.started, step.simulated 0 (dry_run), step.simulated 1 (dry_run), run.done (completed)', 'a dry run rehearses every step');
SELECT is(flow.story('dry', 'bob'), 'run.started, step.skipped 0 (missing_email), step.simulated 1 (dry_run), run.done (completed)', 'with the gates before it');
SELECT is((SELECT count(*) FROM entrestate.sender_intents i JOIN flow.tenant t ON t.tenant = i.tenant_id AND t.name = 'dry'), 0::bigint, 'and sends nothing');
SELECT is((r.mode, r.sent_steps)::text, '(dry_run,0)', 'the run says so') FROM (SELECT (flow.run('dry', 'ann')).*) r;
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('dry campaign', '{email 0,sms 1 day}'), flow.lead('dry campaign', 'ann'), flow.process('dry campaign'), flow.enter('dry campaign');
  -- no function sets this yet; one that changes a setting keeps the policy that holds then
  UPDATE entrestate.campaigns SET dry_run = true WHERE campaign_id = (SELECT campaign FROM flow.tenant WHERE name = 'dry campaign');
  PERFORM entrestate.campaign_update(t.campaign) FROM flow.tenant t WHERE t.name = 'dry campaign';
END $$;
SELECT is(flow.process('dry campaign', '2026-01-06T10:00:00Z'), 1, 'dry run turned on for a campaign between two steps');
SELECT is(flow.story('dry campaign', 'ann'), 'run.started, step.sent 0, step.simulated 1 (dry_run), run.done (completed)', 'holds from then on');
SELECT is((flow.run('dry campaign', 'ann')).mode, 'dry_run', 'and the run and its events say so');
SELECT is((SELECT string_agg(m.name, ',' ORDER BY e.run_seq) FROM entrestate.sender_events e JOIN entrestate.sender_modes() m ON m.code = e.mode WHERE e.lead_id = flow.id('dry campaign', 'ann')),
  'sandbox,sandbox,dry_run,dry_run', 'each as it was then');

-- ---------------------------------------------------------------- a live tenant waits for its provider
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('live', '{email 0,sms 1 day}', 'live'), flow.lead('live', 'ann');
END $$;
SELECT is(flow.process('live'), 1, 'gate 18: a live step is admitted');
SELECT is((SELECT format('%s %s %s %s %s', i.status, i.provider, i.mode, i.channel, i.started_at IS NULL AND i.final_at IS NULL) FROM entrestate.sender_intents i
    WHERE i.lead_id = flow.id('live', 'ann')), 'ready none live email t', 'as a ready intent');
SELECT is(flow.story('live', 'ann'), 'run.started', 'without an outcome');
SELECT is((r.status, r.cursor, r.next_at, r.sent_steps)::text, '(running,0,,0)', 'the run waits') FROM (SELECT (flow.run('live', 'ann')).*) r;
SELECT is((SELECT (r.status, r.in_flight)::text FROM flow.enter('live'), entrestate.sender_runs_of(flow.id('live', 'ann')) r), '(running,t)', 'and is in flight');
SELECT flow.digest('live') AS before \gset
SELECT is(flow.process('live', '2026-03-01T00:00:00Z'), 0, 'it is not decided again');
SELECT is(flow.digest('live'), :'before', 'whatever the time');

-- ---------------------------------------------------------------- laws
SELECT is(flow.unfolded(), NULL, 'L3: every run is the fold of its events, its numbers have no gap, what is due is what the runs say');
SELECT is((SELECT string_agg(v::text, E'\n') FROM entrestate.verify() v WHERE object !~ '^role '), NULL, 'verify() finds nothing');
SELECT finish();
ROLLBACK;
