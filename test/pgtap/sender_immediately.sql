-- The specification of the sender: what ends runs at once. Section 4 ("Immediately", "The brake", gates 3 to 6,
-- "The last outcome"), section 3 (what is final), and section 5's paragraph on STOP and START.
-- What stands in double quotes is the specification's.
\ir flow_lib.sql
\ir verify_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.lead(tenant text, name text, owner text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  -- a telephone of its own: a lead that has another one's would be that lead
  PERFORM flow.lead(tenant, name, format('%s@example.com', translate(name, ' ', '.')),
    format('+1416555%s', lpad(((SELECT count(*) FROM flow.lead) % 10000)::text, 4, '0')));
  IF owner IS NOT NULL THEN
    PERFORM entrestate.lead_update(flow.id(tenant, name), owner => owner);
  END IF;
END
$$;
CREATE FUNCTION pg_temp.do(tenant text, name text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  EXECUTE what USING flow.id(tenant, name);
END
$$;
CREATE FUNCTION pg_temp.state(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(r.status || coalesce(' ' || x.name, ''), ', ' ORDER BY r.campaign_id) FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason WHERE r.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.tickets(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', h.status, h.reason, 'by', h.opened_by), ', ' ORDER BY h.opened_at, h.ticket_id), 'none') FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.told(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(DISTINCT n.user_id || ' ' || n.type, ', '), 'nobody') FROM entrestate.notifications n
  WHERE n.tenant_id = (SELECT t.tenant FROM flow.tenant t WHERE t.name = $1) AND (n.entity_id = flow.id($1, $2)::text
    OR n.entity_id IN (SELECT h.ticket_id::text FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id($1, $2))) $$;
CREATE FUNCTION pg_temp.actions(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(a.type || coalesce(' ' || (a.detail ->> 'reason'), ''), ', ' ORDER BY a.recorded_at, a.id), 'none') FROM entrestate.audience_actions a
  WHERE a.lead_id = flow.id($1, $2) AND a.type LIKE 'sender.%' $$;

-- What brakes, the reason, the type of the event, whether a run at step 0 goes on, the ticket that follows, what the owner is told.
CREATE TABLE pg_temp.brakes (no serial, name text, quote text, what text, reason text, type text, spares_first boolean, ticket text, told text);
INSERT INTO pg_temp.brakes (name, quote, what, reason, type, spares_first, ticket, told) VALUES
  ('ticket', 'stores a ticket', 'SELECT entrestate.handoff_open($1, ''wants a call'')', 'handoff', 'sender.suppressed_handoff', false, 'open wants a call by boss', 'handoff.opened'),
  ('opt-out', 'an opt-out', 'SELECT entrestate.lead_opt_out($1, ''sms'', ''STOP'')', 'opted_out', 'sender.suppressed_opt_out', false, 'none', 'lead.opted_out'),
  ('complaint', 'a complaint', 'SELECT entrestate.lead_complained($1)', 'complained', 'sender.suppressed_opt_out', false, 'none', 'lead.complained'),
  ('erasure', 'an erasure request', 'SELECT entrestate.lead_erasure_request($1)', 'erased', 'sender.suppressed_opt_out', false, 'none', 'lead.erasure.requested'),
  ('reply', 'a reply', 'SELECT entrestate.signal_add($1, ''reply'')', 'replied', 'sender.suppressed_replied', false, 'open replied by system', 'lead.replied'),
  ('hot', 'or the signal that makes a lead hot', 'SELECT entrestate.signal_add($1, ''call_request'')', 'hot', 'sender.suppressed_hot', true, 'open hot by system', 'lead.hot'),
  ('booked', 'lead booked or lost', 'SELECT entrestate.lead_status_set($1, ''booked'')', 'lead_closed', 'sender.suppressed_closed', false, 'none', NULL),
  ('lost', 'lead booked or lost', 'SELECT entrestate.lead_status_set($1, ''lost'')', 'lead_closed', 'sender.suppressed_closed', false, 'none', NULL),
  ('merged', 'lead merged away', 'SELECT entrestate.lead_merge($1, entrestate.lead_create(''other''))', 'merged', 'sender.suppressed_merged', false, 'none', NULL);

-- ---------------------------------------------------------------- in the sandbox: a run that waits for its first step, and one for its second
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('now', '{email 0,sms 1 day,email 1 day}'), entrestate.member_add('olga', 'closer') \g /dev/null
SELECT pg_temp.lead('now', 'r ' || name, 'olga') FROM pg_temp.brakes \g /dev/null
SELECT flow.process('now') \g /dev/null
SELECT pg_temp.lead('now', 'p ' || name, 'olga') FROM pg_temp.brakes \g /dev/null
SELECT flow.at('2026-01-05T11:00:00Z'), pg_temp.do('now', x || name, what) FROM pg_temp.brakes, unnest('{"r ","p "}'::text[]) x \g /dev/null
SELECT is(pg_temp.state('now', 'r ' || name), 'suppressed ' || reason, format('"Immediately: the transaction that %s ... also ends that lead''s open runs": %s', quote, name)) FROM pg_temp.brakes;
SELECT is(pg_temp.state('now', 'p ' || name), CASE WHEN spares_first THEN 'pending' ELSE 'suppressed ' || reason END, format('"by the same function (gates 3 to 7)": before the first step, %s', name)) FROM pg_temp.brakes;
SELECT is((r.ended_at, r.next_at, r.cursor)::text, '("2026-01-05 11:00:00+00",,1)', '"also ends": at once, the cursor stays, ' || name) FROM pg_temp.brakes, LATERAL (SELECT (flow.run('now', 'r ' || name)).*) r;
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('now', 'r ' || name) AND r.next_at IS NOT NULL), 0, '"ends": nothing is due, ' || name) FROM pg_temp.brakes;
SELECT is(flow.story('now', 'r ' || name), format('run.started, step.sent 0, %s (%s)', replace(type, 'sender.', ''), reason), '"A decision that changes the run writes exactly one event": ' || name) FROM pg_temp.brakes;
SELECT is((SELECT (e.policy_version, e.hot, e.score)::text FROM entrestate.sender_events e WHERE e.lead_id = flow.id('now', 'r ' || name) AND e.run_seq = 3),
  format('(%s,%s,%s)', (SELECT policy_version FROM entrestate.campaigns WHERE campaign_id = pg_temp.campaign('now')), CASE name WHEN 'hot' THEN 't' ELSE 'f' END, CASE name WHEN 'hot' THEN 21 WHEN 'reply' THEN 12 ELSE 0 END),
  '"and what is needed to decide again (score and hot ...; versions of policy": ' || name) FROM pg_temp.brakes;
SELECT is(pg_temp.actions('now', 'r ' || name), type || ' ' || reason, CASE name WHEN 'hot' THEN '"The brake writes a row in audience_actions {type: sender.suppressed_hot, campaignId, leadId, timestamp}"'
  ELSE '"so does every other suppression, under its own type": ' || name END) FROM pg_temp.brakes;
SELECT is((SELECT a.action FROM flow.enter('now'), entrestate.audience_actions_list(flow.id('now', 'r ' || name)) a WHERE a.action ->> 'type' = type),
  jsonb_build_object('type', type, 'campaignId', pg_temp.campaign('now'), 'leadId', flow.id('now', 'r ' || name), 'timestamp', '2026-01-05T11:00:00+00:00'::timestamptz, 'reason', reason),
  '"{type: sender.suppressed_hot, campaignId, leadId, timestamp}": ' || name) FROM pg_temp.brakes;
SELECT is(pg_temp.tickets('now', 'r ' || name), ticket, CASE WHEN ticket LIKE '%system' THEN '"A run ended by `hot` or `replied` opens a handoff ticket unless one is open": ' || name ELSE name || ' opens none' END)
FROM pg_temp.brakes WHERE name NOT IN ('merged');
SELECT ok(pg_temp.told('now', 'r ' || name) ~ ('\molga ' || told), format('"and notifies the lead''s owner": of %s (%s)', told, pg_temp.told('now', 'r ' || name))) FROM pg_temp.brakes WHERE told IS NOT NULL;
SELECT is((SELECT count(*)::int FROM entrestate.notifications n JOIN flow.tenant t ON t.tenant = n.tenant_id AND t.name = 'now' WHERE n.user_id <> 'olga'), 0, '"notifies the lead''s owner": and nobody else');
SELECT ok((pg_temp.told('now', 'p hot')) ~ 'olga lead.hot', '"notifies the lead''s owner": also where no run ends');
-- twice is once
SELECT flow.at('2026-01-05T12:00:00Z'), pg_temp.do('now', 'r ' || name, what) FROM pg_temp.brakes WHERE name NOT IN ('merged') \g /dev/null
SELECT is(flow.story('now', 'r ' || name), format('run.started, step.sent 0, %s (%s)', replace(type, 'sender.', ''), reason), 'twice is once: ' || name) FROM pg_temp.brakes;
SELECT is((SELECT count(*)::int FROM entrestate.handoff_tickets h WHERE h.lead_id = flow.id('now', 'r ' || name)), 1, '"unless one is open": one ticket, ' || name) FROM pg_temp.brakes WHERE ticket <> 'none';
SELECT is((SELECT count(*)::int FROM entrestate.audit_log a WHERE a.target_id = flow.id('now', 'r ' || name)::text AND a.action IN ('lead.opted_out', 'lead.complained', 'lead.erasure.requested')), 1, 'audited once: ' || name)
FROM pg_temp.brakes WHERE name IN ('opt-out', 'complaint', 'erasure');

-- ---------------------------------------------------------------- "suppressed is final for ever"
SELECT is(flow.process('now', '2026-01-20T00:00:00Z'), 1, 'two weeks later only the hot lead''s first step was due');
SELECT is(pg_temp.state('now', 'r ' || name), 'suppressed ' || reason, '"suppressed is final for ever": ' || name) FROM pg_temp.brakes;
SELECT throws_ok(format($$UPDATE entrestate.sender_runs SET status = 'running', ended_at = NULL WHERE lead_id = %L$$, flow.id('now', 'r reply')), 'ZE002', NULL, '"suppressed is final for ever": nobody writes it');
SELECT is((SELECT count(*)::int FROM entrestate.transitions() x WHERE x.machine = 'run' AND x.from_state = 'suppressed'), 0, '"suppressed is final for ever": nothing follows it');
-- whoever comes back
SELECT flow.enter('now') \g /dev/null
SELECT entrestate.lead_opt_in(flow.id('now', 'r opt-out'), 'sms'), entrestate.lead_status_set(flow.id('now', 'r lost'), 'new') \g /dev/null
SELECT entrestate.handoff_resolve(h.ticket_id, 'x') FROM entrestate.handoff_list('open') h \g /dev/null
SELECT entrestate.lead_cool(flow.id('now', 'r hot'), 'x') \g /dev/null
SELECT is(flow.process('now', '2026-02-20T00:00:00Z'), 0, '"final for ever": nothing begins again');
SELECT throws_ok(format($$SELECT entrestate.sender_start(pg_temp.campaign('now'), %L)$$, flow.id('now', 'r ' || name)), '55000', NULL, '"suppressed is final for ever": not by a person either, ' || name)
FROM flow.enter('now'), pg_temp.brakes WHERE name IN ('opt-out', 'lost', 'hot', 'ticket', 'reply');
SELECT is(entrestate.lead_attribute(flow.id('now', 'r opt-out'), pg_temp.campaign('now')), false, '"final for ever": nor attributed again') FROM flow.enter('now');
SELECT is(entrestate.sender_upkeep_tenant((SELECT tenant FROM flow.tenant WHERE name = 'now')), 0, '"final for ever": nor by upkeep');

-- ---------------------------------------------------------------- live: intents
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('live', '{email 0,sms 1 day}', 'live') \g /dev/null
SELECT pg_temp.lead('live', s || ' ' || name) FROM pg_temp.brakes, unnest('{ready,leased,started}'::text[]) s WHERE name <> 'merged' \g /dev/null
SELECT flow.process('live') \g /dev/null
SELECT is((SELECT array_agg(DISTINCT (r.status, r.cursor, r.next_at)::text) FROM entrestate.sender_runs r JOIN flow.tenant t ON t.tenant = r.tenant_id AND t.name = 'live'), '{"(running,0,)"}',
  '"admit writes the intent; the cursor stays, and the run waits on that intent"');
SELECT is((SELECT array_agg(DISTINCT n) FROM (SELECT count(*) AS n FROM entrestate.sender_intents i JOIN flow.tenant t ON t.tenant = i.tenant_id AND t.name = 'live' WHERE i.final_at IS NULL GROUP BY i.lead_id) x), '{1}', '"A run has at most one that is not final"');
-- as a sender would have taken them
SELECT broken.tamper('sender_intents', $$UPDATE %s i SET status = 'leased', leased_until = '2026-01-05T10:01:00Z' FROM flow.lead l WHERE l.lead = i.lead_id AND l.tenant = 'live' AND l.name ~ '^leased'$$),
  broken.tamper('sender_intents', $$UPDATE %s i SET status = 'started', started_at = '2026-01-05T10:00:01Z' FROM flow.lead l WHERE l.lead = i.lead_id AND l.tenant = 'live' AND l.name ~ '^started'$$) \g /dev/null
SELECT flow.at('2026-01-05T11:00:00Z'), pg_temp.do('live', s || ' ' || name, what) FROM pg_temp.brakes, unnest('{ready,leased,started}'::text[]) s WHERE name <> 'merged' \g /dev/null
SELECT is((SELECT (i.status, i.final_at IS NOT NULL, i.message IS NULL)::text FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('live', s || ' ' || name)), CASE WHEN spares_first THEN format('(%s,f,t)', s) ELSE '(voided,t,t)' END,
  format('"voids their intents that have not started": %s, %s', s, name)) FROM pg_temp.brakes, unnest('{ready,leased}'::text[]) s WHERE name <> 'merged';
SELECT is(pg_temp.state('live', s || ' ' || name), CASE WHEN spares_first THEN 'running' ELSE 'suppressed ' || reason END, format('"also ends that lead''s open runs ..., voids their intents": %s, %s', s, name)) FROM pg_temp.brakes, unnest('{ready,leased}'::text[]) s WHERE name <> 'merged';
SELECT is((SELECT i.status FROM entrestate.sender_intents i WHERE i.lead_id = flow.id('live', 'started ' || name)), 'started', '"that have not started": one that has is on its way, ' || name) FROM pg_temp.brakes WHERE name <> 'merged';
SELECT is(pg_temp.state('live', 'started ' || name), 'running', '"When the step has its outcome ... gates 3 to 7 are looked at": its run is left to that outcome, ' || name) FROM pg_temp.brakes WHERE name <> 'merged';
SELECT is(flow.process('live', '2026-01-06T00:00:00Z'), 0, 'and none is decided meanwhile');

-- ---------------------------------------------------------------- for the new index
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('index', '{email 0,sms 1 day}'), flow.make('one', '{email 0}'), flow.make('skip', '{sms 0,email 1 day}'), flow.make('dry', '{email 0,sms 1 day}') \g /dev/null
SELECT entrestate.tenant_update(dry_run => true) FROM flow.enter('dry') \g /dev/null
SELECT pg_temp.lead('index', 'ann'), pg_temp.lead('one', 'ann'), pg_temp.lead('dry', 'ann'), flow.lead('skip', 'ann', 'ann@example.com', NULL) \g /dev/null
SELECT pg_temp.do(t, 'ann', 'SELECT entrestate.signal_add($1, ''visit_request'')') FROM unnest('{index,one,skip,dry}'::text[]) t \g /dev/null
SELECT is(pg_temp.state(t, 'ann'), 'pending', '"lead is hot **and** step index ≥ 1": at index 0 it is not, ' || t) FROM unnest('{index,one,skip,dry}'::text[]) t;
SELECT is(pg_temp.tickets('index', 'ann'), 'none', '"A run ended by `hot`": none has');
SELECT is(flow.process(t), 1, 'the first step of ' || t) FROM unnest('{index,one,skip,dry}'::text[]) t;
SELECT is(flow.story('index', 'ann'), 'run.started, step.sent 0, suppressed_hot (hot)', '"and gates 3 to 7 are looked at for the new index in the same transaction": sent');
SELECT is(flow.story('skip', 'ann'), 'run.started, step.skipped 0 (missing_phone), suppressed_hot (hot)', '"gates 3 to 7 are looked at for the new index": skipped');
SELECT is(flow.story('dry', 'ann'), 'run.started, step.simulated 0 (dry_run), suppressed_hot (hot)', '"gates 3 to 7 are looked at for the new index": simulated');
SELECT is(flow.story('one', 'ann'), 'run.started, step.sent 0, run.done (completed)', '"The last outcome also ends the run": done, the brake comes too late');
SELECT is((r.cursor, r.sent_steps)::text, '(1,1)', '"When the step has its outcome ... the cursor moves"') FROM (SELECT (flow.run('index', 'ann')).*) r;
SELECT is(pg_temp.tickets('index', 'ann'), 'open hot by system', '"A run ended by `hot` ... opens a handoff ticket"');
SELECT is(pg_temp.tickets('one', 'ann'), 'none', '"A run ended by `hot`": one that is done did not');
SELECT is(pg_temp.actions('index', 'ann'), 'sender.suppressed_hot hot', '"The brake writes a row in audience_actions"');
SELECT is(pg_temp.actions('one', 'ann'), 'none', 'a run that is done was not suppressed');
-- earlier
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('early', '{email 0,sms 1 day}'), pg_temp.lead('early', 'ann'), entrestate.agent_settings_set(pg_temp.campaign('early'), brake_index => 0) \g /dev/null
SELECT pg_temp.do('early', 'ann', 'SELECT entrestate.signal_add($1, ''visit_request'')') \g /dev/null
SELECT is(flow.story('early', 'ann'), 'run.started, suppressed_hot (hot)', '"(or the campaign''s earlier brake index)": at index 0');
-- a lead that was hot before it came, and the campaign brakes earlier afterwards: the next look ends it
SELECT pg_temp.lead('early', 'bob'), entrestate.agent_settings_set(pg_temp.campaign('early'), brake_index => 1) \g /dev/null
SELECT pg_temp.do('early', 'bob', 'SELECT entrestate.signal_add($1, ''visit_request'')'), entrestate.agent_settings_set(pg_temp.campaign('early'), brake_index => 0) \g /dev/null
SELECT is(flow.process('early'), 1, 'a look');
SELECT is(flow.story('early', 'bob'), 'run.started, suppressed_hot (hot)', '"the campaign''s earlier brake index": when its time comes');

-- ---------------------------------------------------------------- a lead's runs of several campaigns
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('many', '{email 0,sms 1 day}'), pg_temp.lead('many', 'ann'), pg_temp.lead('many', 'bob') \g /dev/null
SELECT flow.process('many') \g /dev/null
SELECT entrestate.campaign_create('other') AS other FROM flow.enter('many') \gset spec_
SELECT entrestate.sequence_create(:'spec_other', jsonb_build_array(jsonb_build_object('channel', 'email', 'template', (SELECT email FROM flow.tenant WHERE name = 'many'), 'delay', '0'),
    jsonb_build_object('channel', 'email', 'template', (SELECT email FROM flow.tenant WHERE name = 'many'), 'delay', '1 day'))),
  entrestate.sequence_publish(:'spec_other', 1), entrestate.campaign_status_set(:'spec_other', 'active'), entrestate.campaign_update(:'spec_other', sender_enabled => true) \g /dev/null
SELECT flow.at('2026-01-05T11:00:00Z'), entrestate.lead_attribute(flow.id('many', n), :'spec_other') FROM flow.enter('many'), unnest('{ann,bob}'::text[]) n \g /dev/null
SELECT is(pg_temp.state('many', 'ann'), 'running, pending', 'two runs');
SELECT pg_temp.do('many', 'ann', 'SELECT entrestate.signal_add($1, ''visit_request'')'), pg_temp.do('many', 'bob', 'SELECT entrestate.signal_add($1, ''reply'')') \g /dev/null
SELECT is(pg_temp.state('many', 'ann'), 'suppressed hot, suppressed handoff', '"a handoff ticket of the lead, in whatever campaign": the one that `hot` opened ends the other run, at step 0');
SELECT is(pg_temp.tickets('many', 'ann'), 'open hot by system', '"opens a handoff ticket unless one is open": one for both');
SELECT is((SELECT campaign_id FROM entrestate.handoff_tickets WHERE lead_id = flow.id('many', 'ann')), pg_temp.campaign('many'), 'of the campaign whose run it ended');
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('many', 'bob') AND r.status = 'suppressed'), 2, '"lead replied to any message of the tenant": both runs end');
SELECT is(pg_temp.tickets('many', 'bob'), 'open replied by system', '"unless one is open": one for both');
-- a handoff of another campaign
SELECT pg_temp.lead('many', 'cyd') \g /dev/null
SELECT entrestate.handoff_open(flow.id('many', 'cyd'), 'x', :'spec_other') FROM flow.enter('many') \g /dev/null
SELECT is(pg_temp.state('many', 'cyd'), 'suppressed handoff', '"a handoff ticket of the lead, in whatever campaign, is open"');

-- ---------------------------------------------------------------- since the run was created
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('since', '{email 0,sms 1 day}') \g /dev/null
CREATE FUNCTION pg_temp.later(name text, before text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
  w text;
BEGIN
  PERFORM flow.enter('since'), flow.at('2026-01-05T10:00:00Z');
  l := entrestate.lead_create(name, name || '@example.com');
  INSERT INTO flow.lead VALUES ('since', name, l);
  FOREACH w IN ARRAY before LOOP
    EXECUTE w USING l;
  END LOOP;
  PERFORM flow.at('2026-01-05T11:00:00Z'), entrestate.lead_attribute(l, pg_temp.campaign('since'));
END
$$;
SELECT pg_temp.later('replied', '{"SELECT entrestate.signal_add($1, ''reply'')"}'),
  pg_temp.later('ticket', ARRAY['SELECT entrestate.handoff_resolve(entrestate.handoff_open($1, ''x''), ''y'')']),
  pg_temp.later('late', '{"SELECT 1"}') \g /dev/null
SELECT is(pg_temp.state('since', n), 'pending', '"since the run was created": before that is not since, ' || n) FROM unnest('{replied,ticket}'::text[]) n;
SELECT is(flow.process('since'), 3, 'three first steps');
SELECT is(flow.story('since', n), 'run.started, step.sent 0', '"since the run was created": they went out, ' || n) FROM unnest('{replied,ticket}'::text[]) n;
SELECT pg_temp.do('since', 'late', 'SELECT entrestate.signal_add($1, ''reply'', ''2026-01-05T10:59:59Z'')') \g /dev/null
SELECT is(pg_temp.state('since', 'late'), 'running', '"lead replied ... since the run was created": a reply from before that comes late is not since');
SELECT pg_temp.do('since', 'late', 'SELECT entrestate.signal_add($1, ''auto_reply'')') \g /dev/null
SELECT is(pg_temp.state('since', 'late'), 'running', '"lead replied": an automatic reply is none');
SELECT flow.at('2026-01-05T11:30:00Z'), pg_temp.do('since', 'late', 'SELECT entrestate.handoff_resolve(entrestate.handoff_open($1, ''x''), ''y'')') \g /dev/null
SELECT is(pg_temp.state('since', 'late'), 'suppressed handoff', '"is open or was opened since the run was created": resolved at once, the run has ended');

-- a held queue does not keep a run from ending, nor does a rehearsal
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('held', '{email 0,sms 1 day}') \g /dev/null
SELECT pg_temp.lead('held', n) FROM unnest('{pause,campaign,off,freeze}'::text[]) n \g /dev/null
SELECT entrestate.tenant_pause('x'), pg_temp.do('held', 'pause', 'SELECT entrestate.signal_add($1, ''reply'')'), entrestate.tenant_resume() FROM flow.enter('held') \g /dev/null
SELECT entrestate.campaign_status_set(pg_temp.campaign('held'), 'paused'), pg_temp.do('held', 'campaign', 'SELECT entrestate.signal_add($1, ''reply'')') FROM flow.enter('held') \g /dev/null
SELECT entrestate.campaign_status_set(pg_temp.campaign('held'), 'active'), entrestate.campaign_update(pg_temp.campaign('held'), sender_enabled => false), pg_temp.do('held', 'off', 'SELECT entrestate.signal_add($1, ''reply'')') FROM flow.enter('held') \g /dev/null
SELECT is(pg_temp.state('held', n), 'suppressed replied', '"Immediately": while the queue is held, ' || n) FROM unnest('{pause,campaign,off}'::text[]) n;

-- what is rolled back has not been
SELECT flow.make('back', '{email 0,sms 1 day}'), pg_temp.lead('back', 'ann') \g /dev/null
CREATE FUNCTION pg_temp.undone(tenant text, name text, what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.do(tenant, name, what);
  RAISE EXCEPTION '%', pg_temp.state(tenant, name);
EXCEPTION WHEN raise_exception THEN
  RETURN sqlerrm || ', then ' || pg_temp.state(tenant, name) || ', ' || pg_temp.tickets(tenant, name);
END
$$;
SELECT is(pg_temp.undone('back', 'ann', 'SELECT entrestate.signal_add($1, ''reply'')'), 'suppressed replied, then pending, none', '"the transaction that stores ... also ends": the one with the other');

-- ---------------------------------------------------------------- which gate comes first
-- Facts that no function would leave together with an open run, so they are put there beside it, and taken back.
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('gates', '{email 0,sms 1 day}'), pg_temp.lead('gates', 'ann') \g /dev/null
INSERT INTO flow.lead SELECT 'gates', 'bob', entrestate.lead_create('bob');
SELECT flow.process('gates'), flow.at('2026-01-06T10:00:00Z') \g /dev/null
CREATE TABLE pg_temp.facts (no serial, gate integer, fact text, change text, reason text, decision text);
INSERT INTO pg_temp.facts (gate, fact, change, reason, decision) VALUES
  (1, 'frozen', 'UPDATE entrestate.tenants SET frozen_at = now(), frozen_reason = ''x'' WHERE tenant_id = $2', 'held', 'hold'),
  (1, 'paused', 'UPDATE entrestate.tenants SET paused_at = now(), paused_reason = ''x'' WHERE tenant_id = $2', 'held', 'hold'),
  (2, 'completed', 'UPDATE entrestate.campaigns SET status = ''completed'' WHERE tenant_id = $2', 'campaign_ended', 'end'),
  (2, 'disabled', 'UPDATE entrestate.campaigns SET sender_enabled = false WHERE tenant_id = $2', 'held', 'hold'),
  (3, 'ticket', 'UPDATE entrestate.leads SET handoff_open = true, handoff_at = ''2026-01-06'' WHERE lead_id = $1', 'handoff', 'end'),
  (3, 'lost', 'UPDATE entrestate.leads SET status = ''lost'' WHERE lead_id = $1', 'lead_closed', 'end'),
  (3, 'merged', 'UPDATE entrestate.leads SET merged_into = (SELECT x.lead_id FROM entrestate.leads x WHERE x.lead_id = flow.id(''gates'', ''bob'')) WHERE lead_id = $1', 'merged', 'end'),
  (4, 'opted out', 'UPDATE entrestate.leads SET opted_out_at = ''2026-01-06'' WHERE lead_id = $1', 'opted_out', 'end'),
  (4, 'complained', 'UPDATE entrestate.leads SET complained_at = ''2026-01-06'' WHERE lead_id = $1', 'complained', 'end'),
  (4, 'erased', 'UPDATE entrestate.leads SET erasure_requested_at = ''2026-01-06'' WHERE lead_id = $1', 'erased', 'end'),
  (5, 'hot', 'UPDATE entrestate.leads SET hot_at = ''2026-01-06'' WHERE lead_id = $1', 'hot', 'end'),
  (6, 'replied', 'UPDATE entrestate.leads SET replied_at = ''2026-01-06'' WHERE lead_id = $1', 'replied', 'end'),
  (10, 'no telephone', 'DELETE FROM entrestate.lead_contacts WHERE lead_id = $1', 'missing_phone', 'skip'),
  (11, 'channel off', 'UPDATE entrestate.tenant_channels SET enabled = false WHERE tenant_id = $2 AND channel = ''sms''', 'channel_disabled', 'skip');
CREATE FUNCTION pg_temp.decided(VARIADIC changes text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  c text;
BEGIN
  FOREACH c IN ARRAY changes LOOP
    EXECUTE c USING flow.id('gates', 'ann'), (SELECT t.tenant FROM flow.tenant t WHERE t.name = 'gates');
  END LOOP;
  PERFORM entrestate.sender_process_tenant((SELECT t.tenant FROM flow.tenant t WHERE t.name = 'gates'), 10);
  -- the first event after those of the first step
  RAISE EXCEPTION '%', coalesce((SELECT x.name FROM entrestate.sender_events e JOIN entrestate.sender_reasons() x ON x.code = e.reason WHERE e.lead_id = flow.id('gates', 'ann') AND e.run_seq = 3),
    CASE (flow.run('gates', 'ann')).run_seq WHEN 2 THEN 'held' ELSE 'sent' END);
EXCEPTION WHEN raise_exception THEN
  RETURN sqlerrm;
END
$$;
SELECT is(pg_temp.decided('SELECT $1, $2'), 'sent', 'with nothing against it the step goes out');
SELECT is(pg_temp.decided(change), reason, format('gate %s by itself: %s', gate, fact)) FROM pg_temp.facts;
SELECT is(pg_temp.decided(b.change, a.change), a.reason, format('"The gates, in this order; the first that matches decides": %s (%s) before %s (%s)', a.fact, a.gate, b.fact, b.gate))
FROM pg_temp.facts a JOIN pg_temp.facts b ON b.no > a.no AND (a.gate < b.gate OR a.gate IN (3, 4)) ORDER BY a.no, b.no;
SELECT is(pg_temp.decided('UPDATE entrestate.leads SET replied_at = ''2026-01-05T09:59:59.999999Z'' WHERE lead_id = $1'), 'sent', '"since the run was created": a microsecond before is not');
SELECT is(pg_temp.decided('UPDATE entrestate.leads SET replied_at = ''2026-01-05T10:00:00Z'' WHERE lead_id = $1'), 'replied', '"since the run was created": at that instant is');
SELECT is(pg_temp.decided('UPDATE entrestate.leads SET handoff_at = ''2026-01-05T09:59:59.999999Z'' WHERE lead_id = $1'), 'sent', '"opened since the run was created": a microsecond before is not');
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('goes on', '{email 0,sms 1 day}', stop_on_reply => false), pg_temp.lead('goes on', 'ann') \g /dev/null
-- (a reply is rising intent as well, which would put the step off)
SELECT entrestate.agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = 'goes on'), rising_deferrals => 0) FROM flow.enter('goes on') \g /dev/null
SELECT flow.process('goes on'), flow.at('2026-01-06T09:00:00Z'), entrestate.signal_add(flow.id('goes on', 'ann'), 'reply') FROM flow.enter('goes on') \g /dev/null
SELECT flow.process('goes on', '2026-01-06T10:00:00Z') \g /dev/null
SELECT is(flow.story('goes on', 'ann'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', '"and the sequence stops on reply (default)": one that does not goes on');

-- ---------------------------------------------------------------- section 5: STOP and START
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('stop', '{email 0,sms 1 day,email 1 day}') \g /dev/null
SELECT pg_temp.lead('stop', n) FROM unnest('{all,chan,ask,complain,manual}'::text[]) n \g /dev/null
SELECT flow.process('stop') \g /dev/null
CREATE FUNCTION pg_temp.kept(name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(s.channel || ' ' || s.reason, ', ' ORDER BY s.channel), 'none') FROM entrestate.suppressions s
  JOIN entrestate.lead_contacts c ON c.tenant_id = s.tenant_id AND c.address_norm = s.address_norm WHERE c.lead_id = flow.id('stop', $1) $$;
SELECT is(entrestate.lead_opt_out(flow.id('stop', 'all'), 'sms', 'STOP'), 'all', '"STOP or an unsubscribe link opts the lead out of all channels and ends its runs"') FROM flow.enter('stop');
SELECT is(pg_temp.kept('all'), 'email opt_out, sms opt_out, whatsapp opt_out', '"opts the lead out of all channels": its addresses, too');
SELECT is(pg_temp.state('stop', 'all'), 'suppressed opted_out', '"and ends its runs"');
SELECT entrestate.tenant_update(opt_out_scope => 'channel') FROM flow.enter('stop') \g /dev/null
SELECT is(entrestate.lead_opt_out(flow.id('stop', 'chan'), 'sms', 'STOP'), 'channel', '"with `opt_out_scope = channel` it suppresses that channel''s addresses instead"');
SELECT is(pg_temp.kept('chan'), 'sms opt_out', '"that channel''s addresses": no others');
SELECT is((SELECT (l.opted_out_at, l.direction)::text FROM entrestate.leads l WHERE l.lead_id = flow.id('stop', 'chan')), '(,NOISE)', '"instead": the lead is not opted out');
SELECT is(pg_temp.state('stop', 'chan'), 'running', '"instead": its run goes on');
SELECT is(entrestate.lead_opt_out(flow.id('stop', 'ask'), 'email', 'link', 'all'), 'all', 'a scope that is asked for goes before') FROM flow.enter('stop');
SELECT is(pg_temp.state('stop', 'ask'), 'suppressed opted_out', 'it ends');
SELECT lives_ok($$SELECT entrestate.lead_complained(flow.id('stop', 'complain'), 'sms')$$, 'a complaint') FROM flow.enter('stop');
SELECT is(pg_temp.kept('complain'), 'sms complaint', 'its address is not written to');
SELECT is(entrestate.suppression_add('sms', (SELECT c.address FROM entrestate.lead_contacts c WHERE c.lead_id = flow.id('stop', 'manual') AND c.kind = 'phone')), true, 'one by hand') FROM flow.enter('stop');
SELECT flow.process('stop', '2026-01-06T10:00:00Z') \g /dev/null
SELECT flow.process('stop', '2026-01-07T10:00:00Z') \g /dev/null
SELECT is(flow.story('stop', n), 'run.started, step.sent 0, step.skipped 1 (address_suppressed), step.sent 2, run.done (completed)', '"it suppresses that channel''s addresses instead": the sms is skipped, the email goes out, ' || n) FROM unnest('{chan,manual}'::text[]) n;
-- START
SELECT flow.enter('stop') \g /dev/null
SELECT entrestate.lead_opt_in(flow.id('stop', n), 'sms', 'START') FROM unnest('{all,chan,complain,manual}'::text[]) n \g /dev/null
SELECT is(pg_temp.kept(n), k, '"START lifts the suppression": ' || n) FROM (VALUES ('all', 'email opt_out, whatsapp opt_out'), ('chan', 'none'), ('complain', 'sms complaint'), ('manual', 'sms manual')) v(n, k);
SELECT is((SELECT l.opted_out_at FROM entrestate.leads l WHERE l.lead_id = flow.id('stop', 'all')), NULL, '"START lifts the suppression": the lead is not opted out any more');
SELECT is(flow.process('stop', '2026-02-07T10:00:00Z'), 0, '"ended runs stay ended"');
SELECT is(pg_temp.state('stop', 'all'), 'suppressed opted_out', '"ended runs stay ended"');
SELECT throws_ok(format('SELECT entrestate.lead_opt_out(%s)', a), s, NULL, 'not an opt-out: ' || a) FROM flow.enter('stop'), (VALUES ('NULL, ''sms''', '22004'), ('flow.id(''stop'', ''chan''), NULL', '22004'), ('flow.id(''stop'', ''chan''), ''fax''', '22023'),
  ('flow.id(''stop'', ''chan''), ''sms'', scope => ''some''', '22023'), ('flow.id(''now'', ''r hot''), ''sms''', 'P0002'), ('gen_random_uuid(), ''sms''', 'P0002')) v(a, s);

-- a frozen tenant
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('frozen', '{email 0,sms 1 day}') \g /dev/null
SELECT pg_temp.lead('frozen', n) FROM unnest('{out,complaint,erasure,bounce,else}'::text[]) n \g /dev/null
SELECT entrestate.tenant_freeze('x') FROM flow.enter('frozen') \g /dev/null
SELECT flow.enter('frozen') \g /dev/null
SELECT lives_ok(format('SELECT entrestate.%s', f), '"A frozen tenant still records opt-outs, complaints, callbacks and erasure requests": ' || f) FROM unnest(ARRAY['lead_opt_out(flow.id(''frozen'', ''out''), ''sms'')', 'lead_complained(flow.id(''frozen'', ''complaint''))',
  'lead_erasure_request(flow.id(''frozen'', ''erasure''))', 'lead_bounced(flow.id(''frozen'', ''bounce''), ''email'', ''bounce@example.com'', true)', 'suppression_add(''email'', ''who@example.com'')']) f;
SELECT is(pg_temp.state('frozen', n), s, '"Immediately": in a frozen tenant, too, ' || n) FROM (VALUES ('out', 'suppressed opted_out'), ('complaint', 'suppressed complained'), ('erasure', 'suppressed erased'), ('bounce', 'pending')) v(n, s);
SELECT throws_ok(format('SELECT entrestate.%s', f), '55000', NULL, 'nothing else: ' || f) FROM unnest(ARRAY['lead_opt_in(flow.id(''frozen'', ''out''), ''sms'')', 'lead_update(flow.id(''frozen'', ''else''), ''x'')', 'handoff_open(flow.id(''frozen'', ''else''), ''x'')',
  'sender_start(pg_temp.campaign(''frozen''), flow.id(''frozen'', ''else''))', 'lead_create(''x'')', 'suppression_remove(''email'', ''who@example.com'')']) f;
SELECT is(flow.process('frozen'), 0, '"frozen": nothing goes out');
SELECT is((SELECT count(*)::int FROM entrestate.lead_get(flow.id('frozen', 'out'))), 1, 'and it can be read') FROM flow.enter('frozen');

-- who may
SELECT entrestate.member_add('vic', 'viewer') FROM flow.enter('stop') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.%s', f), '42501', NULL, 'a viewer cannot: ' || f) FROM flow.tenant t, LATERAL entrestate.login(t.tenant, 'vic') o, unnest(ARRAY['lead_opt_out(flow.id(''stop'', ''chan''), ''sms'')', 'lead_opt_in(flow.id(''stop'', ''chan''), ''sms'')',
  'lead_complained(flow.id(''stop'', ''chan''))', 'lead_erasure_request(flow.id(''stop'', ''chan''))', 'lead_bounced(flow.id(''stop'', ''chan''), ''email'', ''x'', true)', 'handoff_open(flow.id(''stop'', ''chan''), ''x'')',
  'suppression_add(''sms'', ''+14165550100'')', 'suppression_remove(''sms'', ''+14165550100'')', 'lead_status_set(flow.id(''stop'', ''chan''), ''lost'')', 'lead_merge(flow.id(''stop'', ''chan''), flow.id(''stop'', ''ask''))']) f WHERE t.name = 'stop';

SELECT is(flow.unfolded(), NULL, 'every run is the fold of its events');
SELECT is((SELECT count(*)::int FROM entrestate.verify() v WHERE object !~ '^role '), 0, 'verify() finds nothing');
SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'nothing at all');
SELECT finish();
ROLLBACK;
