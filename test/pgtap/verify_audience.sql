-- Everything that audience_verify() can report is broken on purpose, one thing at a time: verify()
-- names it, under the right law, and nothing else. Before that: what people do leaves it healthy.
\ir setup.sql
\ir verify_lib.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

-- of tenant A: the second lead is hot and has an open ticket; the sixth has signals, those of the
-- seventh too, which was merged into it, and a ticket that was taken; the first has an open run
SELECT is_empty('SELECT * FROM entrestate.verify()', 'in use, verify() has no findings');
SELECT results_eq($$SELECT i.name, l.direction, l.hot_at IS NOT NULL, l.handoff_open, s.score, s.signal_count, l.merged_into IS NOT NULL
  FROM fixture.ids i JOIN entrestate.leads l ON l.lead_id::text = i.id LEFT JOIN entrestate.lead_scores s USING (tenant_id, lead_id)
  WHERE i.who = 'a' AND i.name IN ('lead', 'lead2', 'lead6', 'lead7') ORDER BY 1$$,
  $$VALUES ('lead', 'NOISE', false, false, NULL, NULL, false), ('lead2', 'READY', true, true, 21, 1, false), ('lead6', 'READY', false, true, 20, 3, false), ('lead7', 'EXPLORING', false, false, 0, 1, true)$$,
  'what is to be broken is there');

-- ---------------------------------------------------------------- what people do

CREATE FUNCTION broken.healthy(what text, VARIADIC statements text[]) RETURNS text LANGUAGE sql AS $$
  SELECT is(broken.judge('plain', 'SELECT fixture.enter(''a''); SELECT ' || (SELECT string_agg(s, '; SELECT ') FROM unnest(statements) s) || '; SELECT entrestate.logout()',
    '{}', 'entrestate_auditor'), NULL, 'healthy: ' || what)
$$;
SELECT broken.healthy('cooled, and warmed again', $$entrestate.handoff_resolve(fixture.id('a', 'ticket')::uuid, 'x')$$,
  $$entrestate.lead_cool(fixture.id('a', 'lead2')::uuid, 'x')$$, $$entrestate.signal_add(fixture.id('a', 'lead2')::uuid, 'reply')$$);
SELECT broken.healthy('a chain of merges, one cooled in between', $$entrestate.lead_merge(fixture.id('a', 'lead6')::uuid, fixture.id('a', 'lead2')::uuid)$$,
  $$entrestate.handoff_resolve(h.ticket_id, 'x') FROM entrestate.handoff_of(fixture.id('a', 'lead2')::uuid) h$$,
  $$entrestate.lead_cool(fixture.id('a', 'lead2')::uuid, 'x')$$, $$entrestate.signal_add(fixture.id('a', 'lead7')::uuid, 'click')$$,
  $$entrestate.lead_merge(fixture.id('a', 'lead2')::uuid, fixture.id('a', 'lead3')::uuid)$$);
CREATE FUNCTION broken.refused(statement text, state text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  got text := '00000';
BEGIN
  BEGIN
    EXECUTE statement;
  EXCEPTION WHEN OTHERS THEN
    got := SQLSTATE;
  END;
  ASSERT got = state, format('%s gave %s', statement, got);
END
$$;
-- the duplicate was hot, and stays so in its own row
SELECT broken.healthy('a person cools the duplicate after the merge, and is told which lead it is now', $$entrestate.lead_merge(fixture.id('a', 'lead6')::uuid, fixture.id('a', 'lead3')::uuid)$$,
  $$broken.refused(format('SELECT entrestate.lead_cool(%L, %L)', fixture.id('a', 'lead6'), 'x'), '55000')$$);
SELECT broken.healthy('other weights, window and thresholds', $$entrestate.score_settings_set('{"form_resubmission": 1}', 30, 2, '2 hours')$$,
  $$entrestate.signal_add(fixture.id('a', 'lead3')::uuid, 'open')$$, $$set_config('entrestate.clock', '2026-01-09T15:00:00Z', true)$$,
  $$entrestate.scores_decay_tenant(fixture.id('a', 'tenant')::uuid)$$);
SELECT broken.healthy('months later', $$set_config('entrestate.clock', '2026-06-09T15:00:00Z', true)$$, $$entrestate.scores_decay_tenant(fixture.id('a', 'tenant')::uuid, 10000)$$);
SELECT broken.healthy('what restrains', $$entrestate.lead_opt_out(fixture.id('a', 'lead')::uuid, 'email')$$, $$entrestate.lead_complained(fixture.id('a', 'lead3')::uuid)$$,
  $$entrestate.lead_erasure_request(fixture.id('a', 'lead5')::uuid)$$, $$entrestate.lead_opt_in(fixture.id('a', 'lead')::uuid, 'email')$$,
  $$entrestate.lead_bounced(fixture.id('a', 'lead6')::uuid, 'email', 'six.zqalpha@example.com', true)$$);

-- ---------------------------------------------------------------- what nobody should

-- One statement for each table, %s in it; {lead} is the id of A's lead.
CREATE FUNCTION broken.row_is_reported(what text, table_name text, statement text, VARIADIC wanted text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  script text := '';
  s text[] := string_to_array(statement, ';');
  i record;
BEGIN
  FOR n IN 1 .. array_length(s, 1) LOOP
    script := script || format('SELECT broken.tamper(%L, %L);', split_part(table_name, ',', n), s[n]);
  END LOOP;
  FOR i IN SELECT * FROM fixture.ids f WHERE f.who = 'a' LOOP
    script := replace(script, format('{%s}', i.name), format('%s', i.id));
    wanted := ARRAY(SELECT replace(w, format('{%s}', i.name), i.id) FROM unnest(wanted) w);
  END LOOP;
  wanted := ARRAY(SELECT replace(replace(w, 'RUN', entrestate.run_id(fixture.id('a', 'campaign')::uuid, fixture.id('a', 'lead')::uuid)), 'NOW', now()::text) FROM unnest(wanted) w);
  RETURN is(broken.judge('plain', script, wanted, 'entrestate_auditor'), NULL, what);
END
$$;

SELECT broken.row_is_reported(v.what, v.tables, v.statements, VARIADIC v.wanted)
FROM (VALUES
  -- scores
  ('a score changed', 'lead_scores', 'UPDATE %s SET score = 5 WHERE lead_id = ''{lead6}''', ARRAY['L7|score of lead {lead6}|is 5, its signals make 20 at %']),
  ('a score at another instant', 'lead_scores', 'UPDATE %s SET score_at = score_at + interval ''40 days'' WHERE lead_id = ''{lead2}''', ARRAY['L7|score of lead {lead2}|is 21, its signals make 0 at %']),
  ('a score of nobody', 'lead_scores', 'UPDATE %s SET lead_id = ''0198b0de-0000-7000-8000-000000000000'' WHERE lead_id = ''{lead2}''',
    ARRAY['L7|score of lead 0198b0de-0000-7000-8000-000000000000|belongs to no lead', 'L7|signals of lead 0198b0de-0000-7000-8000-000000000000|have a gap%',
      'L7|signals of lead {lead2}|have a gap%']),
  ('a score that forgot a merge', 'lead_scores', 'UPDATE %s SET merged_into = NULL WHERE lead_id = ''{lead7}''', ARRAY['L7|score of lead {lead7}|and its lead disagree where it was merged']),
  ('a score that was merged elsewhere', 'lead_scores', 'UPDATE %s SET merged_into = ''{lead2}'' WHERE lead_id = ''{lead7}''', ARRAY['L7|score of lead {lead7}|and its lead disagree where it was merged']),
  ('a score made with other settings', 'lead_scores', 'UPDATE %s SET settings_version = 1 WHERE lead_id = ''{lead6}''', ARRAY['L7|score of lead {lead6}|is 20, its signals make 21 at %']),
  ('settings changed', 'score_settings', 'UPDATE %s SET call_request = 20 WHERE version = 2 AND tenant_id = ''{tenant}''', ARRAY['L7|score of lead {lead2}|is 21, its signals make 20 at %', 'L3|campaign %|its settings are not those of its policy version %']),
  -- signals
  ('a signal deleted', 'intent_signals', 'DELETE FROM %s WHERE lead_id = ''{lead6}'' AND signal_no = 1',
    ARRAY['L7|signals of lead {lead6}|have a gap: 2 signals, the last is 3, the score has seen 3', 'L7|score of lead {lead6}|is 20, its signals make 13 at %']),
  ('the last signal deleted', 'intent_signals', 'DELETE FROM %s WHERE lead_id = ''{lead6}'' AND signal_no = 3',
    ARRAY['L7|signals of lead {lead6}|have a gap: 2 signals, the last is 2, the score has seen 3', 'L7|score of lead {lead6}|is 20, its signals make 5 at %']),
  ('a signal of a merged lead deleted', 'intent_signals', 'DELETE FROM %s WHERE lead_id = ''{lead7}''',
    ARRAY['L7|signals of lead {lead7}|have a gap: % signals, the last is %, the score has seen 1', 'L7|score of lead {lead6}|is 20, its signals make 10 at %']),
  ('a signal changed', 'intent_signals', 'UPDATE %s SET kind = 1 WHERE lead_id = ''{lead6}'' AND signal_no = 3', ARRAY['L7|score of lead {lead6}|is 20, its signals make 12 at %']),
  ('a signal that does not count', 'intent_signals', 'UPDATE %s SET counted = false WHERE lead_id = ''{lead6}'' AND signal_no = 1', ARRAY['L7|score of lead {lead6}|is 20, its signals make 13 at %']),
  ('signals without a score', 'lead_scores', 'DELETE FROM %s WHERE lead_id = ''{lead2}''', ARRAY['L7|signals of lead {lead2}|have a gap: 1 signals, the last is 1, the score has seen %']),
  ('a score that has seen more', 'lead_scores', 'UPDATE %s SET signal_count = 4 WHERE lead_id = ''{lead6}''', ARRAY['L7|signals of lead {lead6}|have a gap: 3 signals, the last is 3, the score has seen 4']),
  -- the latch
  ('a hot lead made cold', 'leads', 'UPDATE %s SET hot_at = NULL WHERE lead_id = ''{lead2}''', ARRAY['L7|lead {lead2}|a signal made it hot, and it is not']),
  ('a cold lead made hot', 'leads', 'UPDATE %s SET hot_at = now() WHERE lead_id = ''{lead6}''', ARRAY['L7|lead {lead6}|is hot, and no signal made it so']),
  ('the signal that made it hot', 'intent_signals', 'UPDATE %s SET hot = false WHERE lead_id = ''{lead2}''', ARRAY['L7|lead {lead2}|is hot, and no signal made it so']),
  -- direction
  ('another direction', 'leads', 'UPDATE %s SET direction = ''NOISE'' WHERE lead_id = ''{lead6}''', ARRAY['L7|lead {lead6}|direction NOISE, what is known of it says READY']),
  ('a direction of one without signals', 'leads', 'UPDATE %s SET direction = ''WARMING'' WHERE lead_id = ''{lead}''', ARRAY['L7|lead {lead}|direction WARMING, what is known of it says NOISE']),
  ('a bounce that nobody judged', 'lead_contacts', 'UPDATE %s SET unusable_reason = ''hard_bounce'' WHERE lead_id = ''{lead3}''', ARRAY['L7|lead {lead3}|direction NOISE, what is known of it says RISK']),
  -- handoff
  ('a ticket resolved', 'handoff_tickets', 'UPDATE %s SET status = ''resolved'', resolved_at = now() WHERE ticket_id = ''{ticket}''', ARRAY['L7|lead {lead2}|says of its handoff t since %, its tickets say f since %']),
  ('a ticket deleted', 'handoff_tickets', 'DELETE FROM %s WHERE ticket_id = ''{ticket}''', ARRAY['L7|lead {lead2}|says of its handoff t since %, its tickets say f since%']),
  ('a ticket of another time', 'handoff_tickets', 'UPDATE %s SET opened_at = opened_at - interval ''1 day'' WHERE ticket_id = ''{ticket}''', ARRAY['L7|lead {lead2}|says of its handoff t since %, its tickets say t since %']),
  ('a flag without a ticket', 'leads', 'UPDATE %s SET handoff_at = ''2020-01-01'' WHERE lead_id = ''{lead3}''', ARRAY['L7|lead {lead3}|says of its handoff f since 2020-01-01 %, its tickets say f since%']),
  -- runs that should have ended
  ('a run of one who opted out', 'leads', 'UPDATE %s SET opted_out_at = now() WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is opted out', 'L7|lead {lead}|direction NOISE, what is known of it says RISK']),
  ('a run of one who complained', 'leads', 'UPDATE %s SET complained_at = now(), direction = ''RISK'' WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is complaining']),
  ('a run of one to be erased', 'leads', 'UPDATE %s SET erasure_requested_at = now() WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is to be erased']),
  ('a run of one who is booked', 'leads', 'UPDATE %s SET status = ''booked'' WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is closed']),
  ('a run of one who was merged away', 'leads', 'UPDATE %s SET merged_into = ''{lead3}'' WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is merged away']),
  ('a run of one who is hot', 'leads', 'UPDATE %s SET hot_at = now(), direction = ''READY'' WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is hot', 'L7|lead {lead}|is hot, and no signal made it so']),
  ('a run of one who replied', 'leads', 'UPDATE %s SET replied_at = ''2026-01-09T10:00:00Z'' WHERE lead_id = ''{lead}''', ARRAY['L4|run RUN|is open, and its lead is in talks']),
  ('a run of one who is handed over', 'leads', 'UPDATE %s SET handoff_at = ''2026-01-09T10:00:00Z'' WHERE lead_id = ''{lead}''',
    ARRAY['L4|run RUN|is open, and its lead is handed over', 'L7|lead {lead}|says of its handoff f since %, its tickets say f since%']),
  -- policies
  ('a policy forgotten', 'policy_snapshots', 'DELETE FROM %s WHERE campaign_id = ''{campaign}'' AND version = (SELECT policy_version FROM entrestate.campaigns WHERE campaign_id = ''{campaign}'')',
    ARRAY['L3|campaign {campaign}|its policy version % was not kept']),
  ('a policy changed', 'policy_snapshots', 'UPDATE %s SET policy = ''{}'' WHERE campaign_id = ''{campaign}''', ARRAY['L3|campaign {campaign}|its settings are not those of its policy version %']),
  ('a setting changed past the functions', 'campaigns', 'UPDATE %s SET brake_index = 0 WHERE campaign_id = ''{campaign_draft}''', ARRAY['L3|campaign {campaign_draft}|its settings are not those of its policy version %']),
  ('contact rules changed past the functions', 'campaign_agent_settings', 'UPDATE %s SET caps = ''[]'' WHERE campaign_id = ''{campaign}''', ARRAY['L3|campaign {campaign}|its settings are not those of its policy version %']),
  -- tenants
  ('a tenant that no worker finds', 'tenant_ids', 'DELETE FROM %s WHERE tenant_id = ''{tenant}''', ARRAY['L1|tenant {tenant}|is not in tenant_ids: no worker would come']),
  ('a tenant that is none', 'tenant_ids', 'INSERT INTO %s VALUES (''0198b0de-0000-7000-8000-000000000000'')', ARRAY['L1|tenant 0198b0de-0000-7000-8000-000000000000|is in tenant_ids, and is none'])
) AS v(what, tables, statements, wanted);

SELECT is_empty('SELECT * FROM entrestate.verify()', 'everything was undone');
SELECT * FROM finish();
ROLLBACK;
