-- Runs: begun once, whatever is called twice; true to their version; equal to their events.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();

-- ---------------------------------------------------------------- twice is once
DO $$ BEGIN
  PERFORM flow.make('a', '{email 0,sms 1 day}'), flow.make('b', '{email 0}');
  PERFORM flow.enter('a');
END $$;
SELECT (SELECT campaign FROM flow.tenant WHERE name = 'a') AS campaign, (SELECT campaign FROM flow.tenant WHERE name = 'b') AS campaign_b \gset
SELECT entrestate.lead_create('Ann', 'ann@example.com', campaign => :'campaign', idempotency_key => 'k') AS ann \gset
INSERT INTO flow.lead VALUES ('a', 'ann', :'ann');
SELECT flow.digest('a') AS before \gset
SELECT is(entrestate.lead_create('Ann', 'ann@example.com', campaign => :'campaign', idempotency_key => 'k'), :'ann'::uuid, 'the same key is the same lead');
SELECT is(entrestate.lead_create('Somebody else', 'else@example.com', idempotency_key => 'k'), :'ann'::uuid, 'whatever else is said');
SELECT is(flow.digest('a'), :'before', 'and nothing is written');
SELECT is((entrestate.lead_get(:'ann') ->> 'full_name', jsonb_array_length(entrestate.lead_get(:'ann') -> 'contacts'))::text, '(Ann,1)', 'the lead is as it was');
SELECT is(entrestate.lead_attribute(:'ann', :'campaign'), false, 'attributed again');
SELECT is(flow.digest('a'), :'before', 'and nothing is written');
SELECT isnt(entrestate.lead_create('Ann', idempotency_key => 'K'), :'ann'::uuid, 'another key is another lead');
SELECT isnt(entrestate.lead_create('Ann'), entrestate.lead_create('Ann'), 'no key and no address: two leads');
SELECT is(entrestate.lead_create('Ann', 'ann@example.com', idempotency_key => 'L'), :'ann'::uuid, 'but the same address is the same lead, whatever the key');
SELECT is(entrestate.lead_create('Ann', 'ANN@example.com'), :'ann'::uuid, 'and without one');
SELECT is((SELECT count(*) FROM entrestate.sender_runs WHERE lead_id = :'ann'), 1::bigint, 'which has the one run');
SELECT is((SELECT entrestate.lead_create('Ann', idempotency_key => 'k') <> :'ann'::uuid FROM flow.enter('b')), true, 'another tenant''s key is its own');
DO $$ BEGIN PERFORM flow.enter('a'); END $$;
SELECT is(flow.process('a'), 1, 'processed');
SELECT flow.digest('a') AS before \gset
SELECT is(flow.process('a'), 0, 'processed again at the same instant');
SELECT is(flow.digest('a'), :'before', 'changes nothing');

-- a second campaign of the same lead has a run of its own; the first attribution stays
DO $$ BEGIN PERFORM flow.enter('a'); END $$;
SELECT entrestate.campaign_create('second') AS second \gset
SELECT is(entrestate.lead_attribute(:'ann', :'second'), false, 'a campaign in draft begins no run');
SELECT is((SELECT count(*) FROM entrestate.sender_runs WHERE lead_id = :'ann'), 1::bigint, 'so there is one');
SELECT is(entrestate.lead_get(:'ann') ->> 'campaign_id', :'campaign', 'the first attribution stays');
SELECT is(entrestate.run_id(:'campaign', :'ann'), :'campaign' || '__' || :'ann', 'L3: a run''s id is campaignId__leadId');
SELECT is((SELECT run FROM entrestate.sender_runs_of(:'ann')), :'campaign' || '__' || :'ann', 'as it is shown');

-- who opted out, complained, asked to be erased, was merged or is closed gets no run
CREATE FUNCTION pg_temp.refused(what text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
  n integer;
BEGIN
  PERFORM flow.enter('a');
  l := entrestate.lead_create('x');
  -- as nobody but a superuser can, and undone
  EXECUTE format('UPDATE entrestate.leads SET %s WHERE lead_id = $1', what) USING l;
  PERFORM entrestate.lead_attribute(l, (SELECT campaign FROM flow.tenant WHERE name = 'a'));
  n := (SELECT count(*) FROM entrestate.sender_runs r WHERE r.lead_id = l);
  RAISE EXCEPTION USING ERRCODE = 'UNDO1';
EXCEPTION
  WHEN SQLSTATE 'UNDO1' THEN
    RETURN n;
  WHEN object_not_in_prerequisite_state THEN
    -- a lead that was merged away is not attributed either
    RETURN CASE WHEN what LIKE 'merged_into%' THEN 0 END;
END
$$;
SELECT is(pg_temp.refused(w), 0, 'no run begins where ' || w) FROM unnest(ARRAY['opted_out_at = now()', 'complained_at = now()', 'erasure_requested_at = now()',
  'merged_into = ' || quote_literal(:'ann'), 'status = ''booked''', 'status = ''lost''']) w;
SELECT is(pg_temp.refused('company = ''Ltd'''), 1, 'and one where nothing speaks against it');

-- ---------------------------------------------------------------- republishing
DO $$ BEGIN
  PERFORM flow.make('r', '{email 0,sms 1 day,email 1 day}'), flow.lead('r', 'old'), flow.process('r');
  PERFORM flow.enter('r'), flow.sequence('r', '{sms 2 hours}');
END $$;
SELECT is(entrestate.sequence_publish((SELECT campaign FROM flow.tenant WHERE name = 'r'), 2), 0, 'a new version is published');
SELECT is(entrestate.sequence_publish((SELECT campaign FROM flow.tenant WHERE name = 'r'), 2), 0, 'twice is once');
SELECT is((SELECT string_agg(version || ' ' || status, ', ' ORDER BY version) FROM entrestate.sender_sequences s JOIN flow.tenant t ON t.campaign = s.campaign_id AND t.name = 'r'),
  '1 archived, 2 published', 'the one before is archived');
SELECT isnt(flow.lead('r', 'new'), NULL, 'a lead comes after');
SELECT is(flow.process('r', '2026-01-05T12:00:00Z') + flow.process('r', '2026-01-06T10:00:00Z') + flow.process('r', '2026-01-07T10:00:00Z'), 3, 'both go on');
SELECT is(flow.story('r', 'old'), 'run.started, step.sent 0, step.sent 1, step.sent 2, run.done (completed)', 'the old run on its version');
SELECT is(flow.story('r', 'new'), 'run.started, step.sent 0, run.done (completed)', 'the new one on the new');
SELECT is((SELECT string_agg(DISTINCT e.sequence_version::text, ',') FROM entrestate.sender_events e WHERE e.lead_id = flow.id('r', 'old')), '1', 'as its events say');
SELECT is((flow.run('r', 'new')).version, 2, 'and its row');
SELECT throws_ok(format($$ UPDATE entrestate.sender_sequences SET status = 'published' WHERE campaign_id = %L AND version = 1 $$, (SELECT campaign FROM flow.tenant WHERE name = 'r')),
  'ZE005', NULL, 'nobody publishes an archived version again');

-- ---------------------------------------------------------------- backfill
DO $$
DECLARE
  c uuid;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('f', '{email 0}');
  c := entrestate.campaign_create('later');
  UPDATE flow.tenant SET campaign = c WHERE name = 'f';
  PERFORM flow.lead('f', 'early'), flow.at('2026-01-06T10:00:00Z'), flow.lead('f', 'edge'), flow.at('2026-01-07T10:00:00Z'), flow.lead('f', 'late');
  PERFORM flow.at('2026-01-08T10:00:00Z'), flow.enter('f'), flow.sequence('f', '{email 0}'), entrestate.sequence_publish(c, 1), entrestate.campaign_update(c, sender_enabled => true);
  PERFORM entrestate.campaign_status_set(c, 'active');
END $$;
SELECT (SELECT campaign FROM flow.tenant WHERE name = 'f') AS later \gset
SELECT is((SELECT count(*) FROM entrestate.sender_runs WHERE campaign_id = :'later'), 0::bigint, 'without backfill, who came before gets no run');
SELECT lives_ok(format($$ SELECT entrestate.campaign_update(%L, backfill => '2026-01-06T10:00:00Z') FROM flow.enter('f') $$, :'later'), 'backfill from the second lead on');
SELECT is((SELECT string_agg(l.name, ',' ORDER BY l.name) FROM entrestate.sender_runs r JOIN flow.lead l ON l.lead = r.lead_id WHERE r.campaign_id = :'later'), 'edge,late', 'begins the runs since then');
SELECT is((SELECT DISTINCT created_at FROM entrestate.sender_runs WHERE campaign_id = :'later'), '2026-01-08T10:00:00Z'::timestamptz, 'now, not then');
SELECT flow.digest('f') AS before, (SELECT count(*) FROM entrestate.sender_runs WHERE campaign_id = :'later') AS runs \gset
SELECT lives_ok(format($$ SELECT entrestate.campaign_update(%L, backfill => '2026-01-06T10:00:00Z') FROM flow.enter('f') $$, :'later'), 'again');
SELECT is((SELECT count(*) FROM entrestate.sender_runs WHERE campaign_id = :'later'), :runs::bigint, 'begins no more');
-- each of the three things that make a sender able starts it: publish, activate, enable
CREATE FUNCTION pg_temp.starts(last text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  c uuid;
  s text;
BEGIN
  PERFORM flow.enter('f');
  c := entrestate.campaign_create(last);
  UPDATE flow.tenant SET campaign = c WHERE name = 'f';
  PERFORM entrestate.campaign_update(c, backfill => '-infinity'), flow.lead('f', last), flow.sequence('f', '{email 0}');
  FOREACH s IN ARRAY array_remove('{publish,activate,enable}'::text[], last) || last LOOP
    IF (SELECT count(*) FROM entrestate.sender_runs r WHERE r.campaign_id = c) > 0 THEN
      RETURN 'too early';
    END IF;
    CASE s WHEN 'publish' THEN PERFORM entrestate.sequence_publish(c, 1);
      WHEN 'activate' THEN PERFORM entrestate.campaign_status_set(c, 'active');
      ELSE PERFORM entrestate.campaign_update(c, sender_enabled => true); END CASE;
  END LOOP;
  RETURN (SELECT count(*) FROM entrestate.sender_runs r WHERE r.campaign_id = c);
END
$$;
SELECT is(pg_temp.starts(w), '1', w || ' last: the backfill starts') FROM unnest('{publish,activate,enable}'::text[]) w;

-- ---------------------------------------------------------------- many, in small batches
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('many', '{email 0,sms 1 hour,email 1 hour}');
  FOR i IN 1 .. 120 LOOP
    PERFORM flow.lead('many', 'l' || i, CASE WHEN i % 7 <> 0 THEN format('l%s@example.com', i) END, CASE WHEN i % 5 <> 0 THEN 'new' END);
  END LOOP;
END $$;
SELECT is(flow.process('many', '2026-01-05T10:00:00Z', 7), 120, 'seven at a time');
SELECT is(entrestate.sender_process_tenant((SELECT tenant FROM flow.tenant WHERE name = 'many'), 1), 0, 'none left');
SELECT is(flow.process('many', '2026-01-05T11:00:00Z', 1000) + flow.process('many', '2026-01-05T12:00:00Z', 119), 240, 'all the others');
SELECT is((SELECT (q.pending, q.running, q.suppressed, q.failed, q.done, q.in_flight, q.due)::text FROM flow.enter('many'), entrestate.sender_queue() q), '(0,0,0,0,120,0,0)', 'the queue says so');
SELECT is((SELECT count(*) FROM entrestate.sender_events e JOIN flow.tenant t ON t.tenant = e.tenant_id AND t.name = 'many'), 600::bigint, 'five events each');
-- the balance: what began = what ended and what waits; every sent step has an intent, every intent a sent step
SELECT is((SELECT count(*) FROM entrestate.sender_events WHERE type = 1), (SELECT count(*) FROM entrestate.sender_runs), 'as many runs as began');
SELECT is((SELECT count(*) FROM entrestate.sender_runs WHERE next_at IS NOT NULL), (SELECT sum(cardinality(leads)) FROM entrestate.sender_due), 'as many due as wait');
SELECT is((SELECT count(*) FROM (SELECT tenant_id, campaign_id, lead_id, step, attempt FROM entrestate.sender_events WHERE type = 10
    EXCEPT ALL SELECT tenant_id, campaign_id, lead_id, step, attempt FROM entrestate.sender_intents WHERE status = 'sent') x), 0::bigint, 'every sent step has its intent');
SELECT is((SELECT count(*) FROM (SELECT tenant_id, campaign_id, lead_id, step, attempt FROM entrestate.sender_intents WHERE status = 'sent'
    EXCEPT ALL SELECT tenant_id, campaign_id, lead_id, step, attempt FROM entrestate.sender_events WHERE type = 10) x), 0::bigint, 'and the other way round');
SELECT is(flow.unfolded(), NULL, 'L3: every run is the fold of its events, its numbers have no gap');
SELECT is((SELECT string_agg(v::text, E'\n') FROM entrestate.verify() v WHERE object !~ '^role '), NULL, 'verify() finds nothing');
SELECT finish();
ROLLBACK;
