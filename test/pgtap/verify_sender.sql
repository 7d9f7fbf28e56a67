-- Everything that sender_verify() can report is broken on purpose, one row at a time: verify() names
-- the run, under the right law, and nothing else. Before that: a system in use is healthy.
\ir setup.sql
\ir verify_lib.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

SELECT cmp_ok((SELECT count(*)::integer FROM entrestate.sender_runs), '>', 5, 'there are runs');
SELECT is_empty('SELECT * FROM entrestate.verify()', 'after the flow verify() has no findings');
SELECT is(broken.judge('plain', '', '{}', 'entrestate_auditor'), NULL, 'nor when an auditor asks');
SELECT is(broken.judge('plain', 'SELECT fixture.enter(''a'')', '{}', 'entrestate_auditor'), NULL, 'nor in a tenant''s context');
SELECT is(broken.judge('plain', 'SELECT entrestate.upkeep(3, 12)', '{}'), NULL, 'nor with many partitions');
SELECT is(broken.judge('plain', $$SET LOCAL entrestate.clock = '2033-03-03T00:00:00Z';
  SELECT fixture.enter('a'); SELECT entrestate.lead_create('Far Off', 'far@example.com', campaign => fixture.id('a', 'campaign')::uuid);
  SELECT entrestate.logout(); SELECT entrestate.upkeep(0, 0)$$, '{}'), NULL, 'nor when upkeep has emptied a default partition');
SELECT throws_ok($$SET LOCAL ROLE entrestate_app; SELECT * FROM entrestate.verify()$$, '42501', NULL, 'applications may not ask');

-- of tenant A: the first lead was sent two steps, the third one (the other was skipped), the fifth
-- waits for its first; nothing is in flight
CREATE TEMPORARY TABLE run AS SELECT i.name, r.* FROM entrestate.sender_runs r
  JOIN fixture.ids i ON i.id = r.lead_id::text WHERE i.who = 'a';
GRANT SELECT ON run TO PUBLIC;
SELECT results_eq('SELECT name, status, sent_steps::integer, run_seq FROM run WHERE name <> ''lead2'' ORDER BY 1',
  $$VALUES ('lead', 'running', 2, 3), ('lead3', 'running', 1, 3), ('lead5', 'pending', 0, 1)$$, 'the runs to break are there');

-- Each statement is for one of the tables, %s in it; OWN means that a row is the run's, RUN is its id.
CREATE FUNCTION broken.row_is_reported(what text, lead text, table_name text, statement text, VARIADIC wanted text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  r run;
  script text := '';
  t text;
  s text[] := string_to_array(statement, ';');
BEGIN
  SELECT * INTO STRICT r FROM run WHERE name = lead;
  -- one statement for each table
  FOR i IN 1 .. array_length(s, 1) LOOP
    t := split_part(table_name, ',', i);
    -- a run in a due row of its own
    IF t = 'sender_due' THEN
      script := script || $q$SELECT broken.tamper('sender_due', 'INSERT INTO %s (tenant_id, campaign_id, version, step, due_at, leads)
          SELECT tenant_id, campaign_id, version, step, due_at, ARRAY[l] FROM entrestate.sender_due, unnest(leads) l WHERE cardinality(leads) > 1'),
        broken.tamper('sender_due', 'DELETE FROM %s WHERE cardinality(leads) > 1');$q$;
    END IF;
    script := script || format('SELECT broken.tamper(%L, %L);', t,
      replace(s[i], 'OWN', CASE t WHEN 'sender_due' THEN format('campaign_id = %L AND %L = ANY (leads)', r.campaign_id, r.lead_id)
        ELSE format('(campaign_id, lead_id) = (%L::uuid, %L::uuid)', r.campaign_id, r.lead_id) END));
  END LOOP;
  RETURN is(broken.judge('plain', script, ARRAY(SELECT replace(w, 'RUN', entrestate.run_id(r.campaign_id, r.lead_id)) FROM unnest(wanted) w), 'entrestate_auditor'),
    NULL, what);
END
$$;

SELECT broken.row_is_reported(v.what, v.lead, v.tables, v.statements, VARIADIC v.wanted)
FROM (VALUES
  ('a run deleted', 'lead5', 'sender_runs,sender_due', 'DELETE FROM %s WHERE OWN;DELETE FROM %s WHERE OWN', ARRAY['L3|run RUN|has events but no run']),
  ('its due row left', 'lead5', 'sender_runs', 'DELETE FROM %s WHERE OWN', ARRAY['L3|run RUN|has events but no run', 'L5|run RUN|is in sender_due but there is no such run']),
  ('its intents left', 'lead3', 'sender_runs,sender_due', 'DELETE FROM %s WHERE OWN;DELETE FROM %s WHERE OWN',
    ARRAY['L3|run RUN|has events but no run', 'L5|intent RUN/0/0|belongs to no run', 'L3|balance of campaign %|its runs have 9 steps, 5 of them left or cancelled, but the events have 6 outcomes']),
  ('all events deleted', 'lead5', 'sender_events', 'DELETE FROM %s WHERE OWN', ARRAY['L3|run RUN|has no events']),
  ('the first event deleted', 'lead', 'sender_events', 'DELETE FROM %s WHERE OWN AND run_seq = 1', ARRAY['L3|run RUN|its events have a gap: 2 events, last 3, run_seq 3']),
  ('an event in between deleted', 'lead3', 'sender_events', 'DELETE FROM %s WHERE OWN AND run_seq = 2',
    ARRAY['L3|run RUN|its events have a gap: 2 events, last 3, run_seq 3', 'L5|intent RUN/0/0|is sent, but no event says so', 'L3|balance of campaign %|its runs have 12 steps, 6 of them left or cancelled, but the events have 5 outcomes']),
  ('the last event deleted', 'lead3', 'sender_events', 'DELETE FROM %s WHERE OWN AND run_seq = 3', ARRAY['L3|run RUN|its events have a gap: 2 events, last 2, run_seq 3', 'L3|balance of campaign %|its runs have 12 steps, 6 of them left or cancelled, but the events have 5 outcomes']),
  ('a run that counts other events', 'lead', 'sender_runs', 'UPDATE %s SET run_seq = 4 WHERE OWN', ARRAY['L3|run RUN|its events have a gap: 3 events, last 3, run_seq 4']),
  ('an event of another tenant', 'lead5', 'sender_events', 'UPDATE %s SET tenant_id = fixture.id(''b'', ''tenant'')::uuid WHERE OWN',
    ARRAY['L3|run RUN|has no events', 'L3|run RUN|has events but no run']),
  ('an event changed', 'lead3', 'sender_events', 'UPDATE %s SET type = (SELECT code FROM entrestate.sender_event_types() WHERE name = ''sender.step.failed'') WHERE OWN AND run_seq = 2',
    ARRAY['L3|run RUN|1 steps sent, its events say 0', 'L5|intent RUN/0/0|an event says that it was failed, but it is sent']),
  ('an event that ends the run', 'lead3', 'sender_events', 'UPDATE %s SET type = (SELECT code FROM entrestate.sender_event_types() WHERE name = ''sender.suppressed_hot'') WHERE OWN AND run_seq = 1',
    ARRAY['L3|run RUN|status running, its events say suppressed']),
  ('a run set back', 'lead', 'sender_runs', 'UPDATE %s SET cursor = 0 WHERE OWN', ARRAY['L3|run RUN|cursor 0, its events say 2', 'L5|run RUN|has a next_at but is not in sender_due: it would never be looked at', 'L3|balance of campaign %|its runs have 12 steps, 8 of them left or cancelled, but the events have 6 outcomes']),
  ('a run set to done', 'lead', 'sender_runs', 'UPDATE %s SET status = ''done'' WHERE OWN', ARRAY['L3|run RUN|status done, its events say running']),
  ('a run made to run', 'lead5', 'sender_runs', 'UPDATE %s SET status = ''running'' WHERE OWN', ARRAY['L3|run RUN|status running, its events say pending']),
  ('a run put off', 'lead', 'sender_runs,sender_due', 'UPDATE %s SET next_at = next_at + interval ''1 day'' WHERE OWN;UPDATE %s SET due_at = due_at + interval ''1 day'' WHERE OWN',
    ARRAY['L3|run RUN|next_at is not what its last event says']),
  ('a run with another count', 'lead', 'sender_runs', 'UPDATE %s SET sent_steps = 1 WHERE OWN', ARRAY['L3|run RUN|1 steps sent, its events say 2']),
  ('a run that nothing would move on', 'lead', 'sender_runs,sender_due,sender_events',
    'UPDATE %s SET next_at = NULL WHERE OWN;DELETE FROM %s WHERE OWN;UPDATE %s SET next_at = NULL WHERE OWN AND run_seq = 3',
    ARRAY['L5|run RUN|is open but neither due nor in flight: nothing would move it on']),
  ('a due row missing', 'lead', 'sender_due', 'DELETE FROM %s WHERE OWN', ARRAY['L5|run RUN|has a next_at but is not in sender_due: it would never be looked at']),
  ('a due row at another time', 'lead', 'sender_due', 'UPDATE %s SET due_at = due_at - interval ''1 hour'' WHERE OWN',
    ARRAY['L5|run RUN|has a next_at but is not in sender_due: it would never be looked at']),
  ('a due row of another step', 'lead', 'sender_due', 'UPDATE %s SET step = step + 1 WHERE OWN',
    ARRAY['L5|run RUN|has a next_at but is not in sender_due: it would never be looked at']),
  ('one due row more', 'lead', 'sender_due', 'INSERT INTO %s (tenant_id, campaign_id, version, step, due_at, leads) SELECT tenant_id, campaign_id, version, step, due_at, leads FROM entrestate.sender_due WHERE OWN',
    ARRAY['L5|run RUN|is in sender_due more than once']),
  ('an orphan intent', 'lead3', 'sender_intents', 'UPDATE %s SET campaign_id = fixture.id(''a'', ''campaign_draft'')::uuid WHERE OWN',
    ARRAY['L5|intent %|belongs to no run', 'L5|intent %/0/0|is sent, but no event says so', 'L5|intent RUN/0/0|an event says that it was sent, but it is not there']),
  ('a step sent twice', 'lead', 'sender_events,sender_runs',
    'INSERT INTO %s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, next_at)
      SELECT tenant_id, lead_id, recorded_at, campaign_id, type, 4, step, attempt, mode, next_at FROM entrestate.sender_events WHERE OWN AND run_seq = 3;
    UPDATE %s SET run_seq = 4 WHERE OWN',
    ARRAY['L5|run RUN|step 1 was sent 2 times under one key']),
  ('a run beyond its last step', 'lead', 'sender_events,sender_runs',
    'INSERT INTO %s (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, step, attempt, mode, next_at)
      SELECT e.tenant_id, e.lead_id, e.recorded_at, e.campaign_id, y.code, 2 + s, s, 0, e.mode, e.next_at FROM entrestate.sender_events e,
        entrestate.sender_event_types() y, generate_series(2, 3) s WHERE OWN AND e.run_seq = 3 AND y.name = ''sender.step.skipped'';
    UPDATE %s SET run_seq = 5, cursor = 4 WHERE OWN',
    ARRAY['L5|run RUN|has a next_at but is not in sender_due: it would never be looked at', 'L3|balance of campaign %|1 runs are beyond their last step',
      'L5|run RUN|cannot go on: what version 1 pins for step 4 is gone']),
  ('a run of another version', 'lead5', 'sender_events', 'UPDATE %s SET sequence_version = 7 WHERE OWN', ARRAY['L3|run RUN|version 1, its events say 7']),
  ('a run of another mode', 'lead5', 'sender_runs', 'UPDATE %s SET mode = ''live'' WHERE OWN', ARRAY['L3|run RUN|mode live, its events say sandbox']),
  ('a run that is at another attempt', 'lead5', 'sender_runs', 'UPDATE %s SET attempt = 1 WHERE OWN', ARRAY['L3|run RUN|attempt 1, its events say 0']),
  ('a run that was deferred', 'lead5', 'sender_runs', 'UPDATE %s SET deferrals = 2 WHERE OWN', ARRAY['L3|run RUN|2 deferrals, its events say 0']),
  ('a run that ended without an end', 'lead5', 'sender_runs', 'UPDATE %s SET reason = 14 WHERE OWN', ARRAY['L3|run RUN|why or when it ended is not what its events say']),
  ('an intent deleted', 'lead3', 'sender_intents', 'DELETE FROM %s WHERE OWN', ARRAY['L5|intent RUN/0/0|an event says that it was sent, but it is not there']),
  ('an intent sent again', 'lead3', 'sender_intents', 'UPDATE %s SET status = ''ready'', final_at = NULL WHERE OWN',
    ARRAY['L5|intent RUN/0/0|an event says that it was sent, but it is ready', 'L5|intent RUN/0/0|is to be sent, but its run is at step 2']),
  ('an intent sent that nobody knows of', 'lead5', 'sender_intents',
    'INSERT INTO %s (tenant_id, campaign_id, lead_id, step, attempt, status, mode, channel, provider, template_id, template_version, not_before, final_at, created_at)
      SELECT i.tenant_id, i.campaign_id, r.lead_id, 0, 0, i.status, i.mode, i.channel, i.provider, i.template_id, i.template_version, i.not_before, i.final_at, i.created_at
      FROM entrestate.sender_intents i, run r WHERE r.name = ''lead5'' AND i.lead_id = fixture.id(''a'', ''lead3'')::uuid',
    ARRAY['L5|intent RUN/0/0|is sent, but no event says so'])
) AS v(what, lead, tables, statements, wanted);

SELECT is(broken.judge('plain', $$SELECT broken.tamper('sender_runs',
    'UPDATE %s SET cursor = 9 WHERE lead_id::text IN (fixture.id(''a'', ''lead''), fixture.id(''b'', ''lead''))')$$,
  ARRAY(SELECT format('L3|run %s|cursor 9, its events say 2', entrestate.run_id(fixture.id(w, 'campaign')::uuid, fixture.id(w, 'lead')::uuid))
    FROM unnest('{a,b}'::text[]) w) ||
  ARRAY(SELECT format('L5|run %s|has a next_at but is not in sender_due%%', entrestate.run_id(fixture.id(w, 'campaign')::uuid, fixture.id(w, 'lead')::uuid))
    FROM unnest('{a,b}'::text[]) w) ||
  ARRAY(SELECT format('L5|run %s|cannot go on: what version 1 pins for step 9 is gone', entrestate.run_id(fixture.id(w, 'campaign')::uuid, fixture.id(w, 'lead')::uuid))
    FROM unnest('{a,b}'::text[]) w) ||
  ARRAY(SELECT format('L3|balance of campaign %s|its runs have 12 steps%%', fixture.id(w, 'campaign')) FROM unnest('{a,b}'::text[]) w), 'entrestate_auditor'),
  NULL, 'an auditor is told of every tenant');
SELECT is_empty('SELECT * FROM entrestate.verify()', 'everything was undone');
SELECT * FROM finish();
ROLLBACK;
