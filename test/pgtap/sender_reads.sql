-- What people ask of the sender: the specification's section 8 (and the balance and replay of section 6) on histories made
-- by hand. What stands in double quotes is the specification's; expected numbers are worked out by hand.
\ir flow_lib.sql
\ir verify_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.signal(tenant text, name text, kind text, campaign uuid DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  PERFORM entrestate.signal_add(flow.id(tenant, name), kind, campaign => campaign, reference => kind || clock_timestamp());
END
$$;
CREATE FUNCTION pg_temp.balance(tenant text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN (SELECT (b.steps, b.sent, b.failed, b.unknown, b.skipped, b.simulated, b.cancelled, b.open, b.holds)::text
    FROM entrestate.sender_balance(pg_temp.campaign(tenant)) b);
END
$$;
CREATE FUNCTION pg_temp.metrics(tenant text, VARIADIC path text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN entrestate.sender_metrics(pg_temp.campaign(tenant)) #>> path;
END
$$;
CREATE FUNCTION pg_temp.replay(tenant text, name text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN entrestate.sender_replay(pg_temp.campaign(tenant), flow.id(tenant, name));
END
$$;

-- ---------------------------------------------------------------- welcomed
-- Monday 5 January, 10:00: every lead is sent step 0; step 1 is 10 days later, step 2 a day after that.
DO $$ BEGIN
  PERFORM flow.make('w', '{email 0,sms 10 days,email 1 day}');
  PERFORM flow.lead('w', n) FROM unnest('{silent,click,late,edge,chat,machine,open,reply,form,visit,out,elsewhere,nophone}'::text[]) n;
END $$;
SELECT is(pg_temp.balance('w'), '(39,0,0,0,0,0,0,39,t)', 'the balance: 13 runs of 3 steps, all open');
SELECT is(flow.process('w'), 13, 'step 0 is sent to 13');
SELECT is(pg_temp.balance('w'), '(39,13,0,0,0,0,0,26,t)', 'the balance: 13 sent, 26 open');
SELECT is(pg_temp.metrics('w', 'welcomed'), '{"rate": 0.0000, "sent": 13, "welcomed": 0}', 'nobody has answered');
SELECT flow.at('2026-01-06T10:00:00Z') \g /dev/null
SELECT pg_temp.signal('w', 'click', 'click'), pg_temp.signal('w', 'chat', 'chat_message'), pg_temp.signal('w', 'machine', 'machine_click'),
  pg_temp.signal('w', 'machine', 'auto_reply'), pg_temp.signal('w', 'open', 'open'), pg_temp.signal('w', 'reply', 'reply'),
  pg_temp.signal('w', 'form', 'form_resubmission'), pg_temp.signal('w', 'visit', 'visit_request'), pg_temp.signal('w', 'out', 'click') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '6',
  '"a human reply, click, chat, request or resubmission": click, chat, reply, form, visit, and who clicked before the opt-out; no machine, no open');
SELECT entrestate.lead_opt_out(flow.id('w', 'out'), 'email') FROM flow.enter('w') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '5', '"and no opt-out or complaint": not who opted out');
SELECT entrestate.lead_opt_in(flow.id('w', 'out'), 'email') FROM flow.enter('w') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '5', 'nor when it opts in again: it had opted out');
SELECT entrestate.campaign_create('other') AS other FROM flow.enter('w') \gset
SELECT pg_temp.signal('w', 'elsewhere', 'click', :'other') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '5', 'nor who answered another campaign');
SELECT flow.at('2026-01-12T10:00:00Z'), pg_temp.signal('w', 'edge', 'click') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '6', '"within 7 days": to the microsecond');
SELECT flow.at('2026-01-12T10:00:00.000001Z'), pg_temp.signal('w', 'late', 'click') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '6', 'and not one later');

-- ---------------------------------------------------------------- suppressed to avoid damage, reasons
-- replied and visit ended by their intent, out by its opt-out, each with 2 steps left
SELECT is(pg_temp.metrics('w', 'suppressed_to_avoid_damage'), '{"runs": 3, "steps": 6}', '"steps cancelled by gates 3 to 6": two of each of three runs');
SELECT is(pg_temp.metrics('w', 'suppression_reasons'), '{"hot": {"runs": 1, "steps": 2}, "replied": {"runs": 1, "steps": 2}, "opted_out": {"runs": 1, "steps": 2}}',
  '"Suppression reasons"');
SELECT is(pg_temp.balance('w'), '(39,13,0,0,0,0,6,20,t)', '"cancelled = steps − cursor of suppressed and failed runs"');
-- the next step: an answer after it belongs to it alone. One has no phone any more.
SELECT entrestate.lead_contact_remove(flow.id('w', 'nophone'), 'phone', c.address) FROM flow.enter('w'), entrestate.lead_contacts c
  WHERE c.lead_id = flow.id('w', 'nophone') AND c.kind = 'phone' \g /dev/null
SELECT is(flow.process('w', '2026-01-15T10:00:00Z'), 10, 'step 1 is decided for the ten that are left');
SELECT is(pg_temp.balance('w'), '(39,22,0,0,1,0,6,10,t)', 'nine sent, one skipped');
SELECT flow.at('2026-01-15T11:00:00Z'), pg_temp.signal('w', 'silent', 'click') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed', 'welcomed'), '7', 'a click is for the step before it');
SELECT is(flow.process('w', '2026-01-16T10:00:00Z'), 10, 'step 2, a day later');
SELECT flow.at('2026-01-16T11:00:00Z'), pg_temp.signal('w', 'open', 'click') \g /dev/null
SELECT is(pg_temp.metrics('w', 'welcomed'), '{"rate": 0.2500, "sent": 32, "welcomed": 8}',
  '"and before the next": an answer to step 2 is none to step 1, though within 7 days of it');
SELECT is(entrestate.sender_metrics(pg_temp.campaign('w'), until => '2026-01-15T10:00:00Z') #>> '{welcomed}', '{"rate": 0.4615, "sent": 13, "welcomed": 6}', 'a period: without its end')
  FROM flow.enter('w');
SELECT is(entrestate.sender_metrics(pg_temp.campaign('w'), '2026-01-15T10:00:00Z', '2026-01-16T10:00:00Z') #>> '{welcomed}', '{"rate": 0.1111, "sent": 9, "welcomed": 1}',
  'with its beginning; the step that comes next lies behind it') FROM flow.enter('w');
SELECT is(entrestate.sender_metrics() -> 'welcomed', entrestate.sender_metrics(pg_temp.campaign('w')) -> 'welcomed', 'all campaigns: the other has sent nothing') FROM flow.enter('w');
SELECT is(entrestate.sender_metrics(:'other') #>> '{welcomed}', '{"rate": null, "sent": 0, "welcomed": 0}', 'no rate of nothing') FROM flow.enter('w');
SELECT is(pg_temp.balance('w'), '(39,32,0,0,1,0,6,0,t)', 'the balance at the end: nothing is open');
SELECT is((pg_temp.metrics('w', 'delivery', 'sent'), pg_temp.metrics('w', 'delivery', 'skipped'), pg_temp.metrics('w', 'delivery', 'failed'))::text, '(32,1,0)', '"Delivery rates are secondary"');

-- ---------------------------------------------------------------- takeovers
-- Four runs end: two for hot, one by a person's ticket, one by an opt-out. Touched after 60 s, 600 s, and 3600 s by the same
-- person that has had it before (the first touch counts); who opted out has no ticket.
DO $$
DECLARE
  n text;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('k', '{email 0,sms 1 day}');
  FOREACH n IN ARRAY '{a,b,c,d,e}'::text[] LOOP
    PERFORM flow.lead('k', n);
  END LOOP;
  PERFORM flow.process('k'), flow.enter('k'), pg_temp.signal('k', 'a', 'call_request'), pg_temp.signal('k', 'b', 'call_request'), flow.enter('k');
  PERFORM entrestate.handoff_open(flow.id('k', 'c'), 'asked'), entrestate.lead_opt_out(flow.id('k', 'd'), 'email'), pg_temp.signal('k', 'e', 'reply');
END $$;
SELECT is(pg_temp.metrics('k', 'takeovers'), '{"runs": 0, "tickets": 0, "first_touch_p90_seconds": null, "first_touch_median_seconds": null}',
  '"whose ticket a person took": none yet');
CREATE FUNCTION pg_temp.take(name text, at text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.at(at::timestamptz), flow.enter('k');
  PERFORM entrestate.handoff_take(h.ticket_id) FROM entrestate.handoff_of(flow.id('k', name)) h;
END
$$;
SELECT pg_temp.take('a', '2026-01-05T10:01:00Z'), pg_temp.take('b', '2026-01-05T10:10:00Z') \g /dev/null
SELECT entrestate.handoff_release(h.ticket_id) FROM flow.enter('k'), entrestate.handoff_of(flow.id('k', 'b')) h \g /dev/null
SELECT pg_temp.take('b', '2026-01-05T10:50:00Z'), pg_temp.take('c', '2026-01-05T11:00:00Z') \g /dev/null
-- touches of 60, 600 and 3600 s: the median is 600; p90 lies at 0.9 * 2 = 1.8, so 600 + 0.8 * 3000 = 3000
SELECT is(pg_temp.metrics('k', 'takeovers'), '{"runs": 3, "tickets": 3, "first_touch_p90_seconds": 3000, "first_touch_median_seconds": 600}',
  '"a run ended by 3 or 5 or 6 whose ticket a person took, with the time to first touch": not the one that replied and waits');
SELECT is(pg_temp.metrics('k', 'suppressed_to_avoid_damage'), '{"runs": 5, "steps": 5}', 'one step of each was spared');
SELECT is(pg_temp.metrics('k', 'suppression_reasons'),
  '{"hot": {"runs": 2, "steps": 2}, "handoff": {"runs": 1, "steps": 1}, "replied": {"runs": 1, "steps": 1}, "opted_out": {"runs": 1, "steps": 1}}', 'and why');
-- gate 2 ends runs too, but avoids no damage
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('g', '{email 0,sms 1 day}'), flow.lead('g', 'one'), flow.process('g'), flow.enter('g');
  PERFORM entrestate.campaign_status_set(pg_temp.campaign('g'), 'completed'), flow.process('g', '2026-01-06T10:00:00Z');
END $$;
SELECT is(pg_temp.metrics('g', 'suppressed_to_avoid_damage'), '{"runs": 0, "steps": 0}', '"by gates 3 to 6": not by gate 2');
SELECT is(pg_temp.metrics('g', 'suppression_reasons'), '{"campaign_ended": {"runs": 1, "steps": 1}}', 'though it is a reason');

-- ---------------------------------------------------------------- replay
SELECT is((SELECT string_agg(DISTINCT pg_temp.replay(l.tenant, l.name) ->> 'differs', ' ') FROM flow.lead l), '{}', '"rebuilt from its events": every run is');
SELECT is(pg_temp.replay('w', 'silent') -> 'replayed', jsonb_build_object('cursor', 3, 'status', 'done', 'next_at', NULL, 'mode', 'sandbox', 'version', 1, 'attempt', 0,
  'deferrals', 0, 'sent_steps', 3, 'reason', 'completed', 'ended_at', '2026-01-16T10:00:00Z'::timestamptz, 'run_seq', 5), 'one that is done');
SELECT is(pg_temp.replay('w', 'reply') -> 'replayed' ->> 'status', 'suppressed', 'one that was suppressed');

-- What the events to come say, as only a superuser can write them: a history per lead, "type step attempt reason next_at", each an hour later.
CREATE TABLE pg_temp.staged (LIKE entrestate.sender_events);
CREATE FUNCTION pg_temp.history(name text, VARIADIC lines text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  w text[];
  n integer := 1;
BEGIN
  PERFORM flow.lead('h', history.name);
  DELETE FROM pg_temp.staged;
  FOR i IN 1 .. cardinality(lines) LOOP
    w := string_to_array(lines[i], ' ');
    n := n + 1;
    CONTINUE WHEN w[1] = 'none';
    INSERT INTO pg_temp.staged (tenant_id, lead_id, recorded_at, id, campaign_id, epoch, type, txid, run_seq, step, attempt, mode, reason, next_at, sequence_version)
    SELECT t.tenant, flow.id('h', history.name), '2026-01-05T10:00:00Z'::timestamptz + n * interval '1 hour', 0, t.campaign, 1, y.code, '1', n, nullif(w[2], '-')::smallint,
      nullif(w[3], '-')::smallint, CASE WHEN y.name = 'sender.step.simulated' THEN 3 ELSE 2 END, x.code, nullif(w[5], '-')::timestamptz, coalesce(w[6], '1')::integer
    FROM flow.tenant t JOIN entrestate.sender_event_types() y ON y.name = 'sender.' || w[1] LEFT JOIN entrestate.sender_reasons() x ON x.name = w[4]
    WHERE t.name = 'h';
  END LOOP;
  PERFORM broken.tamper('sender_events', 'INSERT INTO %s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, reason, next_at, sequence_version)
    SELECT tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, reason, next_at, sequence_version FROM pg_temp.staged');
  RETURN pg_temp.replay('h', history.name) -> 'replayed';
END
$$;
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('h', '{email 0,sms 1 day,email 1 day}') \g /dev/null
CREATE FUNCTION pg_temp.folds(name text, wanted text, VARIADIC lines text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r jsonb := pg_temp.history(name, VARIADIC lines);
BEGIN
  RETURN is(concat_ws(' ', r ->> 'status', r ->> 'cursor', to_char((r ->> 'next_at')::timestamptz, 'DD"T"HH24'), 'a' || (r ->> 'attempt'), 'd' || (r ->> 'deferrals'),
    's' || (r ->> 'sent_steps'), 'v' || (r ->> 'version'), r ->> 'mode', r ->> 'reason'), wanted, name);
END
$$;
SELECT pg_temp.folds('put off for intent', 'pending 0 06T10 a0 d1 s0 v1 sandbox', 'step.deferred 0 0 rising_intent 2026-01-06T10:00Z');
SELECT pg_temp.folds('put off for the hours', 'pending 0 06T09 a0 d0 s0 v1 sandbox', 'step.deferred 0 0 quiet_hours 2026-01-06T09:00Z');
SELECT pg_temp.folds('put off, then sent', 'running 1 07T10 a0 d0 s1 v1 sandbox', 'step.deferred 0 0 rising_intent 2026-01-06T10:00Z', 'step.sent 0 0 - 2026-01-07T10:00Z');
SELECT pg_temp.folds('put off twice', 'running 1 09T10 a0 d2 s1 v1 sandbox', 'step.sent 0 0 - 2026-01-07T10:00Z', 'step.deferred 1 0 rising_intent 2026-01-08T10:00Z',
  'step.deferred 1 0 frequency_capped 2026-01-08T12:00Z', 'step.deferred 1 0 rising_intent 2026-01-09T10:00Z');
SELECT pg_temp.folds('failed and unknown', 'running 2 08T10 a0 d0 s0 v1 sandbox', 'step.failed 0 0 - 2026-01-07T10:00Z', 'step.unknown 1 0 - 2026-01-08T10:00Z');
SELECT pg_temp.folds('retried', 'running 2 08T10 a0 d0 s1 v1 sandbox', 'step.failed 0 0 - 2026-01-07T10:00Z', 'step.sent 1 0 - 2026-01-08T10:00Z', 'step.retried 0 1 - -');
SELECT pg_temp.folds('retried and sent', 'running 2 08T10 a0 d0 s2 v1 sandbox', 'step.failed 0 0 - 2026-01-07T10:00Z', 'step.sent 1 0 - 2026-01-08T10:00Z',
  'step.retried 0 1 - 2026-01-08T10:00Z', 'step.sent 0 1 - 2026-01-08T10:00Z');
SELECT pg_temp.folds('retried when done', 'done 3 a0 d0 s1 v1 sandbox completed', 'step.failed 0 0 - 2026-01-07T10:00Z', 'step.skipped 1 0 missing_phone 2026-01-08T10:00Z',
  'step.skipped 2 0 missing_email -', 'run.done - - completed -', 'step.retried 0 1 - -', 'step.sent 0 1 - -');
SELECT pg_temp.folds('a run that failed', 'failed 1 a0 d0 s1 v1 sandbox missing_field', 'step.sent 0 0 - 2026-01-07T10:00Z', 'run.failed - - missing_field -');
SELECT pg_temp.folds('resumed', 'running 1 10T10 a0 d0 s1 v1 sandbox', 'step.sent 0 0 - 2026-01-07T10:00Z', 'run.failed - - missing_field -', 'run.resumed - - - 2026-01-10T10:00Z');
SELECT pg_temp.folds('restarted', 'pending 0 10T10 a0 d0 s0 v1 sandbox', 'step.simulated 0 0 dry_run 2026-01-07T10:00Z', 'step.deferred 1 0 rising_intent 2026-01-08T10:00Z',
  'step.simulated 1 0 dry_run 2026-01-09T10:00Z', 'run.restarted - - - 2026-01-10T10:00Z');
SELECT pg_temp.folds('restarted when done', 'running 1 11T10 a0 d0 s1 v1 sandbox', 'step.simulated 0 0 dry_run 2026-01-07T10:00Z', 'step.simulated 1 0 dry_run 2026-01-08T10:00Z',
  'step.skipped 2 0 missing_email -', 'run.done - - completed -', 'run.restarted - - - 2026-01-10T10:00Z', 'step.sent 0 0 - 2026-01-11T10:00Z');
SELECT pg_temp.folds('upgraded', 'running 1 09T10 a0 d0 s1 v2 sandbox', 'step.sent 0 0 - 2026-01-07T10:00Z', 'run.upgraded - - - 2026-01-09T10:00Z 2');
SELECT is(pg_temp.replay('h', 'resumed') -> 'differs' -> 'cursor', '{"stored": 0, "replayed": 1}'::jsonb, 'what the row says otherwise is named');
SELECT is(pg_temp.replay('h', 'resumed') -> 'gaps', '[]'::jsonb, 'no number is missing');
-- by their latest outcome: each step once. Hand count over the histories: sent 1+1+1+2+1+1+1+1+1 (put off, then sent; put off twice; retried;
-- retried and sent; retried when done; a run that failed; resumed; restarted when done; upgraded) = 10; failed: failed and unknown 1, retried 1 = 2;
-- unknown 1; skipped: retried when done 2. What a rehearsal did before it began again is not counted.
SELECT is((SELECT (b.sent, b.failed, b.unknown, b.skipped, b.simulated, b.holds)::text FROM flow.enter('h'), entrestate.sender_balance(pg_temp.campaign('h')) b),
  '(10,2,1,2,0,f)', '"each step counted once by its latest outcome"; and the rows, which nobody moved, do not hold');
SELECT pg_temp.history('gaps', 'none', 'step.skipped 0 0 missing_email 2026-01-07T10:00Z', 'none', 'none', 'step.skipped 1 0 missing_phone 2026-01-08T10:00Z') \g /dev/null
SELECT is(pg_temp.replay('h', 'gaps') -> 'gaps', '[2, 4, 5]'::jsonb, 'missing numbers are named');

-- ---------------------------------------------------------------- the queue
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('q', '{email 0,sms 1 day}');
  PERFORM flow.lead('q', n::text) FROM generate_series(1, 7) n;
  PERFORM flow.process('q'), flow.enter('q'), entrestate.lead_opt_out(flow.id('q', '1'), 'email');
  PERFORM flow.at('2026-01-05T12:00:00Z'), flow.enter('q'), entrestate.channel_set('sms', paused => true);
END $$;
CREATE FUNCTION pg_temp.queue() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter('q');
  RETURN (SELECT concat_ws(' ', q.pending, q.running, q.suppressed, q.failed, q.done, q.in_flight, q.due, q.held, q.held_for, to_char(q.held_since, 'DD"T"HH24')) FROM entrestate.sender_queue() q);
END
$$;
SELECT is(pg_temp.queue(), '0 6 1 0 0 0 0 0', 'a channel that is paused holds nothing that is not due');
SELECT flow.at('2026-01-06T10:00:00Z') \g /dev/null
SELECT is(pg_temp.queue(), '0 6 1 0 0 0 6 6 channel_paused 05T12', '"held (with reason and since when)": the channel');
SELECT flow.at('2026-01-06T11:00:00Z'), entrestate.tenant_pause('x') FROM flow.enter('q') \g /dev/null
SELECT is(pg_temp.queue(), '0 6 1 0 0 0 6 6 tenant_paused 06T11', 'the earlier gate is the reason');
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', r.status, r.next_step, r.channel, r.in_flight, r.held_for, to_char(r.held_since, 'DD"T"HH24')), ', ')
  FROM entrestate.sender_queue_runs(with_status => 'running') r), 'running 1 sms f tenant_paused 06T11', 'and run by run') FROM flow.enter('q');
SELECT is((SELECT concat_ws(' ', r.status, r.next_step, r.channel, r.held_for) FROM entrestate.sender_queue_runs(with_status => 'suppressed') r), 'suppressed 1', 'what has ended is not held')
  FROM flow.enter('q');
-- sender_events_list(): the events of the tenant, or of what is asked for, newest first, page by page, none twice, none left out
CREATE FUNCTION pg_temp.listed(tenant text, of_type text, campaign uuid, size integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  b timestamptz;
  i bigint;
  n integer;
  seen text[] := '{}';
  page text[];
BEGIN
  PERFORM flow.enter(tenant);
  LOOP
    SELECT array_agg(concat_ws(' ', e.recorded_at, e.id, e.lead_id, e.run_seq, e.type, e.step, e.attempt, e.channel, e.mode, e.reason) ORDER BY e.ordinality),
      (array_agg(e.recorded_at ORDER BY e.ordinality DESC))[1], (array_agg(e.id ORDER BY e.ordinality DESC))[1], count(*)
    INTO page, b, i, n FROM entrestate.sender_events_list(of_type, campaign, b, i, size) WITH ORDINALITY e;
    seen := seen || page;
    EXIT WHEN n < size;
  END LOOP;
  RETURN array_to_string(seen, E'\n');
END
$$;
CREATE FUNCTION pg_temp.events(tenant text, of_type text, campaign uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(string_agg(concat_ws(' ', e.recorded_at, e.id, e.lead_id, e.run_seq, y.name, e.step, e.attempt, c.name, m.name, r.name), E'\n' ORDER BY e.recorded_at DESC, e.id DESC), '')
    FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type JOIN entrestate.sender_modes() m ON m.code = e.mode
    LEFT JOIN entrestate.sender_channels() c ON c.code = e.channel LEFT JOIN entrestate.sender_reasons() r ON r.code = e.reason
    WHERE e.tenant_id = (SELECT x.tenant FROM flow.tenant x WHERE x.name = events.tenant) AND (of_type IS NULL OR y.name = of_type) AND (campaign IS NULL OR e.campaign_id = campaign));
END
$$;
-- five campaigns, whose steps are decided at the same instants
DO $$
DECLARE
  t flow.tenant;
  first uuid;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('list', '{email 0,sms 1 day}');
  SELECT * INTO t FROM flow.tenant WHERE name = 'list';
  first := t.campaign;
  FOR c IN 1 .. 5 LOOP
    IF c > 1 THEN
      t.campaign := entrestate.campaign_create('c' || c);
      UPDATE flow.tenant SET campaign = t.campaign WHERE name = 'list';
      PERFORM flow.sequence('list', CASE WHEN c < 5 THEN '{email 0,email 1 day}' ELSE '{email 10 days}' END::text[]), entrestate.sequence_publish(t.campaign, 1),
        entrestate.campaign_status_set(t.campaign, 'active'), entrestate.campaign_update(t.campaign, sender_enabled => true);
    END IF;
    PERFORM flow.lead('list', c || ' ' || n, CASE WHEN n < 4 THEN 'new' END) FROM generate_series(1, 5) n;
  END LOOP;
  UPDATE flow.tenant SET campaign = first WHERE name = 'list';
  PERFORM flow.process('list', '2026-01-05T11:00:00Z'), flow.process('list', '2026-01-06T12:00:00Z'),
    flow.enter('list'), entrestate.lead_opt_out(flow.id('list', '5 2'), 'email'), flow.at('2026-01-05T12:00:00Z');
END $$;
SELECT cmp_ok((SELECT count(*) FROM entrestate.sender_events WHERE tenant_id = (SELECT tenant FROM flow.tenant WHERE name = 'list')), '>', (SELECT 4 * count(DISTINCT recorded_at) FROM entrestate.sender_events
  WHERE tenant_id = (SELECT tenant FROM flow.tenant WHERE name = 'list')), 'there are events, many at one instant');
SELECT is(pg_temp.listed(x.tenant, x.type, x.campaign, x.size), pg_temp.events(x.tenant, x.type, x.campaign), concat_ws(' ', 'events listed:', coalesce(x.type, 'all'), 'of', CASE WHEN x.campaign IS NULL THEN 'all of' ELSE 'a campaign of' END, x.tenant, 'by', x.size))
  FROM (SELECT t.name, y.name, c.campaign_id, size FROM flow.tenant t, (SELECT NULL UNION ALL SELECT name FROM entrestate.sender_event_types() WHERE name IN ('sender.run.started', 'sender.step.sent', 'sender.suppressed_opt_out', 'sender.merged')) y(name),
    LATERAL (SELECT NULL::uuid UNION ALL SELECT pg_temp.campaign(t.name)) c(campaign_id), (VALUES (1), (2), (3), (7), (1000)) s(size) WHERE t.name IN ('q', 'list')) x(tenant, type, campaign, size);
SELECT is((SELECT count(*) FROM flow.enter('h'), entrestate.sender_events_list(campaign => pg_temp.campaign('q')) e), 0::bigint, 'another tenant lists nothing of it');
SELECT is((SELECT pg_get_expr(i.indpred, i.indrelid) FROM pg_index i WHERE i.indexrelid = 'entrestate.sender_events_type'::regclass),
  format('(type <> %s)', (SELECT code FROM entrestate.sender_event_types() WHERE name = 'sender.step.sent')), 'what the type index leaves out is what was sent');
-- "paged by key": pages of 3 are 3, 3 and 1, without a run twice
CREATE FUNCTION pg_temp.pages(campaign uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  c uuid;
  l uuid;
  seen uuid[] := '{}';
  page uuid[];
  sizes text := '';
BEGIN
  PERFORM flow.enter('q');
  LOOP
    SELECT array_agg(r.lead_id), (array_agg(r.campaign_id))[3], (array_agg(r.lead_id))[3] INTO page, c, l FROM entrestate.sender_queue_runs(campaign, NULL, c, l, 3) r;
    sizes := sizes || coalesce(cardinality(page), 0) || ' ';
    seen := seen || page;
    EXIT WHEN coalesce(cardinality(page), 0) < 3;
  END LOOP;
  RETURN sizes || (SELECT count(DISTINCT s) FROM unnest(seen) s);
END
$$;
SELECT is(pg_temp.pages(NULL), '3 3 1 7', '"paged by key"');
SELECT is(pg_temp.pages(pg_temp.campaign('q')), '3 3 1 7', 'of a campaign');
SELECT is(pg_temp.pages(:'other'), '0 0', 'another tenant''s has none');

-- in flight: a live tenant's message waits for its provider
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), set_config('entrestate.clock', '', false), flow.make('l', '{email 0,sms 1 day}', 'live'), flow.lead('l', 'one'), flow.lead('l', 'two');
  PERFORM flow.process('l', NULL, 1000), flow.enter('l');
END $$;
SELECT is((SELECT concat_ws(' ', q.pending, q.running, q.in_flight, q.due, q.held) FROM entrestate.sender_queue() q), '0 2 2 0 0', '"in flight"');
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', r.status, r.next_step, r.channel, r.in_flight, r.next_at, r.held_for), ',') FROM entrestate.sender_queue_runs() r), 'running 0 email t', 'run by run');
SELECT is(pg_temp.replay('l', 'one') -> 'differs', '{}', '"an intent that is not final says that a step is in flight"');
SELECT is(pg_temp.replay('l', 'one') -> 'replayed' ->> 'status', 'running', 'so the run is running, with no event for that');
SELECT is(pg_temp.balance('l'), '(4,0,0,0,0,0,0,4,t)', 'what is in flight is open');
SELECT entrestate.tenant_pause('x') FROM flow.enter('l') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT r.held_for, ',') FROM entrestate.sender_queue_runs() r), 'tenant_paused', 'and held, when the tenant is') FROM flow.enter('l');

-- ---------------------------------------------------------------- the story
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('s', '{email 0,sms 1 day,email 1 day,email 1 day}'), flow.lead('s', 'ines', phone => NULL) \g /dev/null
SELECT flow.process('s', '2026-01-05T10:00:01Z'), flow.process('s', '2026-01-06T10:00:01Z'), flow.at('2026-01-06T12:00:00Z'), pg_temp.signal('s', 'ines', 'click'),
  flow.at('2026-01-06T13:00:00Z'), pg_temp.signal('s', 'ines', 'call_request'), flow.at('2026-01-06T13:25:00Z') \g /dev/null
SELECT entrestate.handoff_take(h.ticket_id) FROM flow.enter('s'), entrestate.handoff_of(flow.id('s', 'ines')) h \g /dev/null
SELECT flow.at('2026-01-07T09:00:00Z') \g /dev/null
SELECT entrestate.handoff_resolve(h.ticket_id, 'viewing booked') FROM flow.enter('s'), entrestate.handoff_of(flow.id('s', 'ines')) h \g /dev/null
SELECT results_eq($$SELECT to_char(s.at, 'DD HH24:MI'), s.story FROM flow.enter('s'), entrestate.sender_story(flow.id('s', 'ines')) s$$, $$VALUES
  ('05 10:00', 'Arrived (api).'),
  ('05 10:00', 'Came to campaign "c" by its id.'),
  ('05 10:00', 'A run began in "c".'),
  ('05 10:00', 'Step 0 (email) was sent.'),
  ('06 10:00', 'Step 1 (sms) was skipped: there is no phone number.'),
  ('06 12:00', 'Clicked a link (score 3).'),
  ('06 13:00', 'Asked for a call (score 24): hot from now on.'),
  ('06 13:00', 'The run in "c" ended: the lead is hot, a person should take over; 2 steps were not sent.'),
  ('06 13:00', 'A ticket was opened for a person (hot).'),
  ('06 13:25', 'boss took it, 25 min after it was opened.'),
  ('07 09:00', 'boss resolved it: viewing booked.')$$, 'a lead''s whole story, in words');
SELECT entrestate.campaign_create('later') AS later FROM flow.enter('s') \gset
SELECT entrestate.lead_attribute(flow.id('s', 'ines'), :'later') FROM flow.enter('s') \g /dev/null
SELECT is((SELECT string_agg(s.story, ' ') FROM entrestate.sender_story(flow.id('s', 'ines')) s WHERE s.story LIKE '%later%'),
  'Came to campaign "later" by its id. No run in "later": the campaign was not active.', 'runs that did not begin, and why') FROM flow.enter('s');

-- ---------------------------------------------------------------- refusals
SELECT throws_ok($$SELECT entrestate.sender_replay(gen_random_uuid(), gen_random_uuid()) FROM flow.enter('s')$$, 'P0002', 'there is no such run', 'no run');
SELECT throws_ok(format($$SELECT entrestate.sender_replay(%L, %L) FROM flow.enter('s')$$, pg_temp.campaign('q'), flow.id('q', '2')), 'P0002', 'there is no such run', 'another tenant''s');
SELECT throws_ok(format($$SELECT * FROM flow.enter('s'), entrestate.sender_balance(%L)$$, pg_temp.campaign('q')), 'P0002', 'there is no such campaign', 'another tenant''s campaign');
SELECT throws_ok($$SELECT entrestate.sender_metrics(since => '2026-01-02', until => '2026-01-02') FROM flow.enter('s')$$, '22023', 'since is not before until', 'an empty period');
SELECT * FROM finish();
ROLLBACK;
