-- Corners of the laws that only the processor itself shows: one message on its way at a time, a rehearsal after a message
-- that was refused, content that cannot go, a clock that jumps, changes of the clocks. What stands in double quotes
-- is the specification's.
\ir flow_lib.sql
\ir verify_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.sound(what text) RETURNS text LANGUAGE sql AS $$
  SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.sender_verify() v LIMIT 5) v), NULL, 'verify() finds nothing: ' || what) $$;
-- The messages of a lead: "step/attempt status".
CREATE FUNCTION pg_temp.messages(tenant text, name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(format('%s/%s %s', i.step, i.attempt, i.status), ', ' ORDER BY i.step, i.attempt) FROM entrestate.sender_intents i WHERE i.lead_id = flow.id($1, $2) $$;
-- When steps were decided and are due next, on the clocks of a zone: "step.sent 0 at 07 22:00 -05 next 08 03:00 -04".
CREATE FUNCTION pg_temp.clocks(tenant text, name text, zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', clocks.zone, true);
  RETURN (SELECT string_agg(format('%s %s at %s%s', replace(y.name, 'sender.step.', ''), e.step, to_char(e.decided_at, 'DD HH24:MI OF'), ' next ' || to_char(e.next_at, 'DD HH24:MI OF')), ', ' ORDER BY e.run_seq)
    FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE e.lead_id = flow.id(clocks.tenant, clocks.name) AND e.step IS NOT NULL);
END
$$;

-- ---------------------------------------------------------------- one message at a time
-- Two leads without an email: step 0 is skipped, and retried when there is one; the next step falls due meanwhile.
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('wait', '{email 0,sms 1 day,sms 1 day}', 'live');
  PERFORM flow.lead('wait', n, email => NULL) FROM unnest('{a,b,c}'::text[]) n;
  PERFORM flow.process('wait'), flow.enter('wait');
  PERFORM entrestate.lead_contact_add(flow.id('wait', n), 'email', n || '@example.com'), entrestate.sender_retry(pg_temp.campaign('wait'), flow.id('wait', n), 0) FROM unnest('{a,b}'::text[]) n;
END $$;
SELECT is(pg_temp.messages('wait', 'a'), '0/1 ready', 'a retry''s message waits for its provider');
SELECT is(flow.process('wait', '2026-01-06T15:00:00Z'), 1, 'of three runs whose next step is due, the one without a message goes on');
SELECT is(pg_temp.messages('wait', 'a'), '0/1 ready', '"A run has at most one that is not final": its next step waits for the retry''s outcome');
SELECT is(pg_temp.messages('wait', 'c'), '1/0 ready', 'the other''s does not');
SELECT is(flow.story('wait', 'a'), 'run.started, step.skipped 0 (missing_email), step.retried 0', '"A look that changes nothing writes nothing"');
SELECT is((SELECT string_agg(decision, ',') FROM flow.enter('wait'), entrestate.sender_explain(pg_temp.campaign('wait'), flow.id('wait', 'a'))), 'in_flight', 'sender_explain() says so');
SELECT pg_temp.sound('runs that wait for a retry');
-- a brake does not wait
SELECT entrestate.lead_opt_out(flow.id('wait', 'b'), 'email') FROM flow.enter('wait') \g /dev/null
SELECT is(pg_temp.messages('wait', 'b'), '0/1 voided', 'a brake voids it and ends the run');
-- as delivery will end it
SELECT broken.tamper('sender_intents', format($$UPDATE %%s SET status = 'voided', final_at = entrestate.clock_now() WHERE lead_id = %L$$, flow.id('wait', 'a'))) \g /dev/null
SELECT is(flow.process('wait', '2026-01-06T16:00:00Z'), 1, 'when it is final, the next step goes on');
SELECT is(pg_temp.messages('wait', 'a'), '0/1 voided, 1/0 ready', 'with a message of its own');

-- ---------------------------------------------------------------- a rehearsal after a message that was not sent
-- Everything is refused: the run has an intent and has sent nothing. Then the campaign rehearses.
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('refuse', '{email 0,sms 1 day,sms 1 day}'), flow.enter('refuse'), entrestate.sandbox_set(1, '{"refusal": 1, "unknown": 0}');
  PERFORM flow.lead('refuse', 'on'), flow.lead('refuse', 'end'), flow.process('refuse');
  PERFORM flow.enter('refuse'), entrestate.campaign_rehearse(pg_temp.campaign('refuse')), flow.lead('refuse', 'new');
  PERFORM flow.process('refuse', '2026-01-06T15:00:00Z');
END $$;
SELECT is((flow.run('refuse', 'on')).mode || ' ' || (flow.run('refuse', 'on')).sent_steps || ' ' || pg_temp.messages('refuse', 'on'), 'dry_run 0 0/0 failed', 'rehearsed, nothing sent, one message refused');
SELECT restarted, waiting, ended FROM flow.enter('refuse'), entrestate.campaign_go_live(pg_temp.campaign('refuse'), 'all') \gset go_
SELECT is(concat_ws(' ', :'go_restarted', :'go_waiting', :'go_ended'), '1 0 0', 'the one that was only rehearsed begins again');
SELECT is(flow.story('refuse', 'on'), 'run.started, step.failed 0 (refused), step.simulated 1 (dry_run), run.resumed', 'the others go on where they are: step 0''s key is used');
SELECT is(flow.story('refuse', 'new'), 'run.started, step.simulated 0 (dry_run), run.restarted', 'and the other from step 0');
SELECT pg_temp.sound('after going live');
SELECT flow.process('refuse', '2026-01-07T15:00:00Z'), flow.process('refuse', '2026-01-08T15:00:00Z'), flow.process('refuse', '2026-01-09T15:00:00Z'), flow.process('refuse', '2026-01-10T15:00:00Z') \g /dev/null
SELECT is(flow.story('refuse', 'on'), 'run.started, step.failed 0 (refused), step.simulated 1 (dry_run), run.resumed, step.failed 2 (refused), run.done (completed)', 'to its end');
SELECT is(flow.story('refuse', 'new'), 'run.started, step.simulated 0 (dry_run), run.restarted, step.failed 0 (refused), step.failed 1 (refused), step.failed 2 (refused), run.done (completed)', 'each step once');
-- a live tenant's message that waits for its provider when the rehearsal begins
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('ready', '{email 0,sms 1 day}', 'live'), flow.lead('ready', 'a'), flow.process('ready');
  PERFORM flow.enter('ready'), entrestate.campaign_rehearse(pg_temp.campaign('ready')), flow.process('ready', '2026-01-07T15:00:00Z');
  PERFORM flow.enter('ready'), entrestate.campaign_go_live(pg_temp.campaign('ready'), 'all');
END $$;
SELECT is(flow.story('ready', 'a') || '; ' || (flow.run('ready', 'a')).status || '; ' || pg_temp.messages('ready', 'a'), 'run.started; running; 0/0 ready', 'a run whose message is on its way does not begin again: it has one message');
SELECT pg_temp.sound('a message on its way through a rehearsal');

-- ---------------------------------------------------------------- what a version pins cannot go
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('pin', '{email 0,sms 1 day}'), flow.lead('pin', 'a'), flow.process('pin');
END $$;
SELECT throws_ok(s, '55000', NULL, format('"failed is for a run that cannot go on (what its version pins is gone)": %s is refused', s)) FROM flow.enter('pin'), unnest(ARRAY[
  'DELETE FROM entrestate.sender_steps WHERE campaign_id = pg_temp.campaign(''pin'')', 'UPDATE entrestate.sender_steps SET step = step + 1 WHERE campaign_id = pg_temp.campaign(''pin'')',
  'DELETE FROM entrestate.sender_sequences WHERE campaign_id = pg_temp.campaign(''pin'')',
  'DELETE FROM entrestate.templates WHERE template_id = (SELECT t.sms FROM flow.tenant t WHERE t.name = ''pin'')']) s;
-- a superuser who turns the guards off: verify() says so
SELECT broken.tamper('sender_steps', format('DELETE FROM %%s WHERE campaign_id = %L AND step = 1', pg_temp.campaign('pin'))) \g /dev/null
SELECT is((SELECT string_agg(law || ' ' || detail, ', ') FROM entrestate.verify() WHERE object ~ '^run '), 'L5 cannot go on: what version 1 pins for step 1 is gone', 'who gets past the guard is found by verify()');
SELECT is(flow.process('pin', '2026-01-06T15:00:00Z'), 0, 'and nothing goes out for such a run');
SELECT broken.tamper('sender_steps', format('INSERT INTO %%s (tenant_id, campaign_id, version, step, channel, template_id, template_version, delay) SELECT t.tenant, t.campaign, 1, 1, ''sms'', t.sms, 1, ''1 day'' FROM flow.tenant t WHERE t.name = %L', 'pin')) \g /dev/null
SELECT is(flow.process('pin'), 1, 'until it is there again');

-- ---------------------------------------------------------------- a clock that jumps
-- Batches of three, between which the clock goes to and fro by hours and days; then in order to the end.
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T15:00:00Z'), flow.make('jump', '{email 0,sms 1 day,email 2 days}'), flow.make('still', '{email 0,sms 1 day,email 2 days}');
  PERFORM flow.enter(t), entrestate.agent_settings_set(pg_temp.campaign(t), caps => '[{"max": 2, "per": "4 days"}]', max_lateness => '60 days'), entrestate.channel_limits_set('email', daily_limit => 6), flow.lead(t, 'l' || i)
  FROM unnest('{jump,still}'::text[]) t, generate_series(1, 10) i;
END $$;
DO $$
DECLARE
  instant timestamptz;
BEGIN
  FOREACH instant IN ARRAY '{2026-01-05T15:00Z,2026-01-05T14:00Z,2026-01-05T15:30Z,2026-01-01T00:00Z,2026-01-08T15:00Z,2026-01-05T16:00Z,2026-01-06T15:00Z,2026-01-07T15:00Z,2026-01-06T16:00Z,2025-12-31T23:59Z,2026-01-20T15:00Z,2026-01-09T15:00Z,2026-01-20T15:00Z}'::timestamptz[] LOOP
    PERFORM flow.at(instant), entrestate.sender_process_tenant(t.tenant, 3) FROM flow.tenant t WHERE t.name = 'jump';
  END LOOP;
END $$;
SELECT pg_temp.sound('while it jumps');
SELECT flow.process(t, d::timestamptz) FROM generate_series(timestamp '2026-01-20T15:00', '2026-02-10T15:00', '1 day') d, unnest('{jump,still}'::text[]) t \g /dev/null
SELECT is((SELECT count(*)::int FROM (SELECT FROM entrestate.sender_events e JOIN flow.tenant t ON t.tenant = e.tenant_id AND t.name = 'jump' WHERE e.type BETWEEN 10 AND 15 AND e.type <> 14
  GROUP BY e.lead_id, e.step HAVING count(*) > 1) x), 0, 'a clock that jumps to and fro: nothing is sent twice');
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs r JOIN flow.tenant t ON t.tenant = r.tenant_id AND t.name = 'jump' WHERE r.status = 'done'), 10, 'and nothing is lost');
SELECT is((SELECT max(n)::int FROM (SELECT count(*) AS n FROM entrestate.sender_events e JOIN flow.tenant t ON t.tenant = e.tenant_id AND t.name = 'jump' WHERE e.type = 10 AND e.channel = 1
  GROUP BY date_trunc('day', e.decided_at, 'America/Toronto')) x), 6, 'nor is a day''s limit passed');
SELECT pg_temp.sound('after the jumps');

-- ---------------------------------------------------------------- changes of the clocks, by the processor
-- Toronto leaves an hour out on 8 March at 2:00, and has 1:00 to 2:00 twice on 1 November; Lord Howe half an hour from 2:00
-- on 4 October, and 1:30 to 2:00 twice on 5 April. Each lead has a zone of its own, the tenant is elsewhere. The steps
-- are due at a time of the night that is left out, or comes twice; the processor is called each quarter of an hour.
CREATE FUNCTION pg_temp.nights(name text, zone text, begins text, ends text, steps text[], windows jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', nights.zone, true), flow.at(begins::timestamptz), flow.make(name, steps, zone => 'Asia/Dubai'), flow.enter(name);
  IF windows IS NOT NULL THEN
    PERFORM entrestate.agent_settings_set(pg_temp.campaign(name), windows => nights.windows);
  END IF;
  PERFORM flow.lead(name, 'a', zone => nights.zone);
  FOR k IN 0 .. extract(epoch FROM ends::timestamptz - begins::timestamptz)::integer / 900 LOOP
    PERFORM flow.process(name, begins::timestamptz + k * interval '15 minutes');
  END LOOP;
  RETURN pg_temp.clocks(name, 'a', nights.zone);
END
$$;
SELECT is(pg_temp.nights('ts', 'America/Toronto', '2026-03-07T02:30', '2026-03-09T04:00', '{email 0,sms 1 day,email 1 day,sms 1 hour}'),
  'sent 0 at 07 02:30 -05 next 08 03:00 -04, sent 1 at 08 03:00 -04 next 09 03:00 -04, sent 2 at 09 03:00 -04 next 09 04:00 -04, sent 3 at 09 04:00 -04', '"a local time that is skipped is the first instant after the gap": Toronto');
SELECT is(pg_temp.nights('ta', 'America/Toronto', '2026-10-31T01:30', '2026-11-02T02:00', '{email 0,sms 1 day,email 1 hour,sms 1 day}'),
  'sent 0 at 31 01:30 -04 next 01 01:30 -04, sent 1 at 01 01:30 -04 next 01 01:30 -05, sent 2 at 01 01:30 -05 next 02 01:30 -05, sent 3 at 02 01:30 -05', '"one that occurs twice its first": Toronto');
SELECT is(pg_temp.nights('ls', 'Australia/Lord_Howe', '2026-10-03T02:15', '2026-10-05T03:00', '{email 0,sms 1 day,email 1 day,sms 30 minutes}'),
  'sent 0 at 03 02:15 +10:30 next 04 02:30 +11, sent 1 at 04 02:30 +11 next 05 02:30 +11, sent 2 at 05 02:30 +11 next 05 03:00 +11, sent 3 at 05 03:00 +11', 'half an hour that is skipped: Lord Howe');
SELECT is(pg_temp.nights('la', 'Australia/Lord_Howe', '2026-04-04T01:45', '2026-04-06T02:00', '{email 0,sms 1 day,email 30 minutes,sms 1 day}'),
  'sent 0 at 04 01:45 +11 next 05 01:45 +11, sent 1 at 05 01:45 +11 next 05 01:45 +10:30, sent 2 at 05 01:45 +10:30 next 06 01:45 +10:30, sent 3 at 06 01:45 +10:30', 'half an hour that occurs twice: Lord Howe');
-- windows that open in the gap, and in what comes twice
SELECT is(pg_temp.nights('tw', 'America/Toronto', '2026-03-07T20:00', '2026-03-09T06:00', '{email 0,sms 1 hour}', '[{"from": "02:30", "to": "04:00"}]'),
  'deferred 0 at 07 20:00 -05 next 08 03:00 -04, sent 0 at 08 03:00 -04 next 08 04:00 -04, deferred 1 at 08 04:00 -04 next 09 02:30 -04, sent 1 at 09 02:30 -04', 'a window that begins in the gap opens right after it');
SELECT is(pg_temp.nights('tf', 'America/Toronto', '2026-10-31T20:00', '2026-11-02T06:00', '{email 0,sms 1 hour,email 30 minutes}', '[{"from": "01:00", "to": "02:00"}]'),
  'deferred 0 at 31 20:00 -04 next 01 01:00 -04, sent 0 at 01 01:00 -04 next 01 01:00 -05, sent 1 at 01 01:00 -05 next 01 01:30 -05, sent 2 at 01 01:30 -05', 'one in the hour that comes twice is open both times');
SELECT is(pg_temp.nights('lw', 'Australia/Lord_Howe', '2026-10-03T20:00', '2026-10-05T06:00', '{email 0,sms 1 hour}', '[{"from": "02:00", "to": "02:30"}]'),
  'deferred 0 at 03 20:00 +10:30 next 05 02:00 +11, sent 0 at 05 02:00 +11 next 05 03:00 +11, deferred 1 at 05 03:00 +11 next 06 02:00 +11', 'one that lies wholly in the gap does not open that day');
SELECT set_config('timezone', 'UTC', true) \g /dev/null
SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'verify() finds nothing at all');
SELECT * FROM finish();
ROLLBACK;
