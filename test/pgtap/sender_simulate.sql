-- sender_simulate() and sender_what_if(). With {} a simulation of what has been must equal it, decision by decision:
-- tenants live through weeks of outcomes, signals, tickets, opt-outs and operators, the processor decides everything
-- at the instant at which it is due, and then the simulation is asked. SENDER.md section 8 in double quotes.
\ir flow_lib.sql

BEGIN;
SELECT no_plan();

-- What is done when, and to whom: statements in the owner's context.
CREATE TABLE flow.script (no serial, tenant text, at timestamptz, statement text, done boolean DEFAULT false);
-- Lets time pass until an instant: what is scripted, what the sandbox provider has to report, and what is due, each
-- at its own instant; after each of them the processor looks at what that released.
CREATE FUNCTION flow.live(tenant text, upto timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid := (SELECT x.tenant FROM flow.tenant x WHERE x.name = live.tenant);
  act flow.script;
  reported timestamptz;
  due timestamptz;
  freed timestamptz;
  next timestamptz;
BEGIN
  LOOP
    SELECT * INTO act FROM flow.script s WHERE s.tenant = live.tenant AND NOT s.done AND s.at < upto ORDER BY s.at, s.no LIMIT 1;
    SELECT min(c.due_at) INTO reported FROM entrestate.sandbox_callbacks c WHERE c.tenant_id = t AND c.due_at < upto;
    -- what was due before waits for something else
    SELECT min(r.next_at) INTO due FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.status IN ('pending', 'running')
      AND r.next_at < upto AND r.next_at > entrestate.clock_now() AND NOT r.awaiting_go_live;
    -- what a limit or a rate holds goes on with the next day or minute
    SELECT min(v.at) INTO freed FROM entrestate.sender_holds h JOIN entrestate.sender_reasons() x ON x.code = h.reason
    JOIN entrestate.tenants z ON z.tenant_id = t
    CROSS JOIN LATERAL (SELECT CASE x.name WHEN 'daily_limit' THEN date_trunc('day', date_trunc('day', entrestate.clock_now(), z.time_zone) + interval '36 hours', z.time_zone)
      WHEN 'rate_limited' THEN date_trunc('minute', entrestate.clock_now()) + interval '1 minute' END AS at) v
    WHERE h.tenant_id = t AND v.at < upto;
    next := least(act.at, reported, due, freed);
    EXIT WHEN next IS NULL;
    PERFORM flow.at(next);
    IF act.at = next THEN
      PERFORM flow.enter(live.tenant);
      EXECUTE act.statement;
      UPDATE flow.script s SET done = true WHERE s.no = act.no;
    ELSIF reported = next THEN
      WHILE entrestate.sandbox_report_tenant(t, 1) > 0 LOOP
      END LOOP;
    END IF;
    PERFORM flow.process(live.tenant);
  END LOOP;
  PERFORM flow.at(upto);
END
$$;
-- What was decided, and what is said to have been: lines to compare.
CREATE FUNCTION flow.happened(campaign uuid, since timestamptz, until timestamptz) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT concat_ws(' ', e.lead_id, to_char(e.recorded_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS.US'), y.name, e.step, h.name, x.name, m.name, '->', to_char(e.next_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS.US'))
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type JOIN entrestate.sender_modes() m ON m.code = e.mode
  LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason LEFT JOIN entrestate.sender_channels() h ON h.code = e.channel
  WHERE e.campaign_id = campaign AND e.run_seq IS NOT NULL AND e.recorded_at >= since AND e.recorded_at < until
$$;
CREATE FUNCTION flow.simulated(campaign uuid, since timestamptz, until timestamptz, overrides jsonb DEFAULT '{}') RETURNS SETOF text LANGUAGE sql STABLE AS $$
  SELECT concat_ws(' ', s.lead_id, to_char(s.at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS.US'), s.type, s.step, s.channel, s.reason, s.mode, '->', to_char(s.next_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS.US'))
  FROM entrestate.sender_simulate(campaign, since, until, overrides) s
$$;
-- Where they differ; nothing when they do not. Also counts what was compared.
CREATE TABLE flow.compared (what text, decisions bigint);
CREATE FUNCTION flow.differs(what text, campaign uuid, since timestamptz, until timestamptz, overrides jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  h text[] := ARRAY(SELECT flow.happened(campaign, since, until));
  s text[] := ARRAY(SELECT flow.simulated(campaign, since, until, overrides));
BEGIN
  INSERT INTO flow.compared VALUES (what, cardinality(h));
  RETURN (SELECT string_agg(d.line, E'\n' ORDER BY d.who, d.line) FROM (
    SELECT left(x, 36) AS who, x || '   happened, not simulated' AS line FROM (SELECT unnest(h) EXCEPT ALL SELECT unnest(s)) a(x)
    UNION ALL
    SELECT left(x, 36), x || '   simulated, did not happen' FROM (SELECT unnest(s) EXCEPT ALL SELECT unnest(h)) b(x)) d);
END
$$;
-- Tries again whatever failed at step 0 and may be tried again.
CREATE FUNCTION flow.retry(campaign uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT i.lead_id FROM entrestate.sender_intents i WHERE i.campaign_id = campaign AND i.status = 'failed' AND i.step = 0 AND i.attempt = 0 ORDER BY 1 LOOP
    BEGIN
      PERFORM entrestate.sender_retry(campaign, r.lead_id, 0);
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
      NULL;
    END;
  END LOOP;
END
$$;
CREATE FUNCTION flow.campaign(name text) RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
-- A script's leads: l1, l2, … of a tenant, one every so often; most with both addresses, unless all have.
CREATE FUNCTION flow.arrive(tenant text, n integer, since timestamptz, every interval, whole boolean DEFAULT false) RETURNS void LANGUAGE sql AS $$
  INSERT INTO flow.script (tenant, at, statement)
  SELECT arrive.tenant, since + i * every, format('SELECT flow.lead(%L, %L%s)', arrive.tenant, 'l' || i,
    CASE CASE WHEN whole THEN 3 ELSE i % 7 END WHEN 0 THEN ', email => NULL' WHEN 1 THEN ', phone => NULL' WHEN 2 THEN $z$, zone => 'Asia/Dubai'$z$ ELSE '' END)
  FROM generate_series(1, n) i
$$;

-- ---------------------------------------------------------------- three weeks with outcomes and people
SELECT flow.make('weeks', '{email 0,email 2 days,sms 3 days,email 5 days}') \g /dev/null
DO $$
DECLARE
  c uuid := flow.campaign('weeks');
  second uuid;
BEGIN
  PERFORM flow.enter('weeks');
  PERFORM entrestate.sandbox_set(42, '{"open": 0.7, "click": 0.3, "reply": 0.1, "chat": 0.15, "resubmission": 0.15, "call_request": 0.05, "opt_out": 0.04, "hard_bounce": 0.06, "complaint": 0.02, "refusal": 0.05, "unknown": 0.04}');
  PERFORM entrestate.agent_settings_set(c, windows => '[{"from": "08:00", "to": "19:00"}]', caps => '[{"max": 2, "per": "4 days"}, {"max": 1, "per": "6 hours", "channel": "email"}]');
  PERFORM entrestate.tenant_quiet_hours_set('[{"days": ["sun"], "from": "00:00", "to": "24:00"}]');
  -- another campaign of the same tenant, whose sends count against the caps and whose tickets end runs here
  second := entrestate.campaign_create('second');
  PERFORM entrestate.sequence_create(second, (SELECT jsonb_build_array(jsonb_build_object('channel', 'email', 'template', t.email, 'delay', '1 hour'),
    jsonb_build_object('channel', 'email', 'template', t.email, 'delay', '4 days')) FROM flow.tenant t WHERE t.name = 'weeks')),
    entrestate.sequence_publish(second, 1), entrestate.campaign_status_set(second, 'active'), entrestate.campaign_update(second, sender_enabled => true);
  INSERT INTO flow.tenant VALUES ('weeks2', (SELECT t.tenant FROM flow.tenant t WHERE t.name = 'weeks'), second);
  PERFORM flow.arrive('weeks', 90, '2026-01-05T10:00:00Z', '97 minutes');
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'weeks', timestamptz '2026-01-05T10:30:00Z' + i * interval '97 minutes', format('SELECT entrestate.lead_attribute(flow.id(%L, %L), %L)', 'weeks', 'l' || i, second)
  FROM generate_series(1, 90, 3) i;
  -- what people do, and what leads do besides
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'weeks', timestamptz '2026-01-06T16:07:03Z' + (i * 5 + 2) * interval '97 minutes' + i * interval '41 minutes', format(s, quote_literal('l' || (i * 5 + 2)), c)
  FROM generate_series(0, 15) i CROSS JOIN LATERAL (SELECT (ARRAY[
    'SELECT entrestate.handoff_open(flow.id(''weeks'', %1$s), ''called in'')',
    'SELECT entrestate.lead_status_set(flow.id(''weeks'', %1$s), ''lost'')',
    'SELECT entrestate.sender_stop(%2$L, flow.id(''weeks'', %1$s), ''by hand'')',
    'SELECT entrestate.lead_erasure_request(flow.id(''weeks'', %1$s))',
    'SELECT entrestate.signal_add(flow.id(''weeks'', %1$s), ''visit_request'')',
    'SELECT entrestate.lead_consent(flow.id(''weeks'', %1$s), ''email'', false, ''phone'')',
    'SELECT entrestate.lead_opt_out(flow.id(''weeks'', %1$s), ''email'', scope => ''channel'')',
    'SELECT entrestate.signals_add(array_fill(flow.id(''weeks'', %1$s), ''{3}''), ''{chat_message,chat_message,click}'')'])[i % 8 + 1] AS s) v;
  -- tickets are resolved, hot leads cool
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'weeks', timestamptz '2026-01-07T08:00:11Z' + i * interval '7 hours', 'SELECT entrestate.handoff_take(ticket_id), entrestate.handoff_resolve(ticket_id, ''done'') FROM entrestate.handoff_list(max_rows => 3)'
  FROM generate_series(0, 40) i;
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'weeks', timestamptz '2026-01-09T08:00:13Z' + i * interval '19 hours', 'SELECT entrestate.lead_cool(l.lead_id, ''asked'') FROM entrestate.leads l WHERE l.tenant_id = (SELECT t.tenant FROM flow.tenant t WHERE t.name = ''weeks'') AND l.hot_at IS NOT NULL AND NOT l.handoff_open AND l.merged_into IS NULL'
  FROM generate_series(0, 12) i;
  INSERT INTO flow.script (tenant, at, statement) VALUES
    ('weeks', '2026-01-09T15:00:01Z', 'SELECT entrestate.score_settings_set(weights => ''{"click": 4}'')'),
    ('weeks', '2026-01-10T12:00:01Z', 'SELECT entrestate.channel_set(''sms'', paused => true)'),
    ('weeks', '2026-01-12T12:00:01Z', 'SELECT entrestate.channel_set(''sms'', paused => false)'),
    ('weeks', '2026-01-12T16:00:01Z', format('SELECT entrestate.campaign_status_set(%L, ''paused'', ''think'')', c)),
    ('weeks', '2026-01-13T17:00:01Z', format('SELECT entrestate.campaign_resume(%L, ''skip'')', c)),
    ('weeks', '2026-01-14T10:00:01Z', format('SELECT entrestate.agent_settings_set(%L, hot_threshold => 18, rising_deferrals => 2)', c)),
    ('weeks', '2026-01-14T16:00:01Z', 'SELECT entrestate.tenant_pause(''lunch'')'),
    ('weeks', '2026-01-14T19:30:01Z', 'SELECT entrestate.tenant_resume()'),
    ('weeks', '2026-01-15T15:00:01Z', 'SELECT entrestate.lead_merge(flow.id(''weeks'', ''l73''), flow.id(''weeks'', ''l74'')), entrestate.lead_merge(flow.id(''weeks'', ''l75''), flow.id(''weeks'', ''l76'')), entrestate.lead_merge(flow.id(''weeks'', ''l59''), flow.id(''weeks'', ''l60''))'),
    ('weeks', '2026-01-15T17:00:01Z', 'SELECT entrestate.lead_merge(flow.id(''weeks'', ''l74''), flow.id(''weeks'', ''l83''))'),
    ('weeks', '2026-01-16T15:00:01Z', format('SELECT entrestate.campaign_status_set(%L, ''paused'', ''think'')', c)),
    ('weeks', '2026-01-16T19:00:01Z', format('SELECT entrestate.campaign_resume(%L, ''continue'')', c)),
    ('weeks', '2026-01-17T15:00:01Z', format('SELECT flow.retry(%L)', c));
END
$$;
SELECT flow.live('weeks', '2026-01-27T00:00:00Z') \g /dev/null
SELECT is(flow.differs('three weeks', flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z'), NULL, 'three weeks, with {}: what happened');
SELECT is(flow.differs('second campaign', flow.campaign('weeks2'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z'), NULL, 'and of the other campaign');
SELECT is(flow.differs('scores made again', flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z', '{"weights": {}}'), NULL, 'and with every score and latch made again from the signals');
SELECT is(flow.differs('from the middle', flow.campaign('weeks'), at, least(at + interval '5 days 3 hours', timestamptz '2026-01-27T00:00:00Z')), NULL, 'from ' || at)
FROM generate_series(timestamptz '2026-01-05T16:00:00Z', '2026-01-24T00:00:00Z', '17 hours 13 minutes') at;

-- ---------------------------------------------------------------- guards, an exit, fields, free text, variants, a rehearsal, an upgrade
SELECT flow.at('2026-02-02T10:00:00Z'), flow.make('rules', '{email 0}', 'sandbox', 'Europe/Berlin') \g /dev/null
DO $$
DECLARE
  c uuid := flow.campaign('rules');
  m uuid := (SELECT t.email FROM flow.tenant t WHERE t.name = 'rules');
  f uuid;
  w uuid;
BEGIN
  PERFORM flow.enter('rules');
  f := entrestate.template_create('f', 'email', 'To {{lead.company}} of {{attribution.utm.source|somewhere}}.', 'Hello {{lead.first_name}}');
  w := entrestate.template_create('w', 'whatsapp', 'Shall we talk?', free_text => true);
  PERFORM entrestate.template_status_set(f, 1, 'approved'), entrestate.template_status_set(w, 1, 'approved'), entrestate.channel_set('whatsapp', true);
  PERFORM entrestate.sandbox_set(3, '{"open": 0.8, "click": 0.6, "reply": 0.02, "chat": 0.2, "resubmission": 0.1, "call_request": 0, "opt_out": 0.02, "hard_bounce": 0.05}');
  CREATE TABLE flow.steps AS SELECT jsonb_build_array(
    jsonb_build_object('channel', 'email', 'delay', '1 hour', 'variants', jsonb_build_array(jsonb_build_object('template', m, 'weight', 2), jsonb_build_object('template', f, 'weight', 1))),
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '1 day', 'guard', '$.steps[0].outcome == "sent" && $.steps[0].opened == true && $.lead.direction != "NOISE"'),
    jsonb_build_object('channel', 'whatsapp', 'template', w, 'delay', '12 hours'),
    jsonb_build_object('channel', 'email', 'template', f, 'delay', '1 day', 'guard', '$.run.sent_steps > 0 && $.now - $.run.created_at > 86400 && $.lead.score >= 1'),
    jsonb_build_object('channel', 'sms', 'template', (SELECT t.sms FROM flow.tenant t WHERE t.name = 'rules'), 'delay', '2 days', 'guard', '$.nothing > 1')) AS steps;
  PERFORM entrestate.sequence_create(c, (SELECT v.steps FROM flow.steps v), exit_predicate => '$.lead.score >= 7 && $.steps[0].clicked == true && $.run.cursor > 1'), entrestate.sequence_publish(c, 2);
  PERFORM entrestate.campaign_rehearse(c);
  PERFORM flow.arrive('rules', 50, '2026-02-02T10:00:00Z', '111 minutes');
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'rules', timestamptz '2026-02-02T10:00:05Z' + i * interval '111 minutes', format('SELECT entrestate.lead_update(flow.id(''rules'', ''l%s''), company => ''Acme'')', i) FROM generate_series(1, 50, 2) i;
  INSERT INTO flow.script (tenant, at, statement)
  SELECT 'rules', timestamptz '2026-02-05T07:00:05Z' + i * interval '3 hours', format('SELECT entrestate.delivery_report(NULL, flow.id(''rules'', ''l%s''), NULL, NULL, ''inbound'', NULL, ''{"channel": "whatsapp", "subject": "Out of office"}'')', i) FROM generate_series(1, 17) i;
  INSERT INTO flow.script (tenant, at, statement) VALUES
    ('rules', '2026-02-04T18:00:01Z', format('SELECT entrestate.campaign_go_live(%L, ''all'', per_minute => 3)', c)),
    ('rules', '2026-02-08T12:00:01Z', format('SELECT entrestate.sequence_create(%1$L, (SELECT v.steps - 4 - 3 FROM flow.steps v), exit_predicate => ''$.lead.score > 15''), entrestate.sequence_publish(%1$L, 3), entrestate.sender_upgrade(%1$L, 3)', c));
END
$$;
SELECT flow.live('rules', '2026-02-16T00:00:00Z') \g /dev/null
SELECT is(flow.differs('rules', flow.campaign('rules'), '2026-02-02T00:00:00Z', '2026-02-16T00:00:00Z'), NULL, 'rules, with {}: what happened');
SELECT is(flow.differs('rules from the middle', flow.campaign('rules'), at, least(at + interval '4 days', timestamptz '2026-02-16T00:00:00Z')), NULL, 'rules from ' || at)
FROM generate_series(timestamptz '2026-02-03T16:00:00Z', '2026-02-15T00:00:00Z', '17 hours 13 minutes') at;
SELECT set_has(format($$SELECT x.name FROM entrestate.sender_events e JOIN entrestate.sender_reasons() x ON x.code = e.reason WHERE e.campaign_id = %L$$, flow.campaign('rules')),
  $$VALUES ('guard_false'), ('guard_error'), ('missing_field'), ('whatsapp_window'), ('goal_reached'), ('dry_run'), ('missing_email')$$, 'there was something of each');
SELECT set_has(format($$SELECT y.name FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE e.campaign_id = %L$$, flow.campaign('rules')),
  $$VALUES ('sender.run.restarted'), ('sender.run.upgraded'), ('sender.step.sent'), ('sender.step.simulated')$$, 'and of these');

-- ---------------------------------------------------------------- limits and rates: all leads in one order
SELECT flow.at('2026-03-02T10:00:00Z'), flow.make('limits', '{email 0,email 1 day,email 12 hours}') \g /dev/null
DO $$
BEGIN
  PERFORM flow.enter('limits'), entrestate.sandbox_set(5, '{"refusal": 0, "open": 0, "click": 0, "reply": 0, "chat": 0, "resubmission": 0, "call_request": 0, "opt_out": 0, "hard_bounce": 0, "complaint": 0}'), entrestate.channel_limits_set('email', daily_limit => 9, warmup => '{4,6}');
  PERFORM flow.arrive('limits', 30, '2026-03-02T10:00:00Z', '61 minutes', true);
END
$$;
SELECT flow.live('limits', '2026-03-15T00:00:00Z') \g /dev/null
SELECT is(flow.differs('daily limit', flow.campaign('limits'), '2026-03-02T00:00:00Z', '2026-03-15T00:00:00Z'), NULL, 'a daily limit and a warm-up, with {}: what happened');
SELECT is(flow.differs('daily limit from the middle', flow.campaign('limits'), '2026-03-05T15:30:00Z', '2026-03-15T00:00:00Z'), NULL, 'and from the middle of a day');
SELECT flow.at('2026-03-16T10:00:00Z'), flow.make('rates', '{email 0,sms 1 hour,email 1 day}') \g /dev/null
DO $$
BEGIN
  PERFORM flow.enter('rates'), entrestate.channel_limits_set('email', per_minute => 2), entrestate.channel_limits_set('sms', per_minute => 3);
  PERFORM entrestate.campaign_status_set(flow.campaign('rates'), 'paused', 'x'), entrestate.campaign_resume(flow.campaign('rates'), per_minute => 4);
  PERFORM flow.arrive('rates', 40, '2026-03-16T10:00:00Z', '7 seconds', true);
END
$$;
SELECT flow.live('rates', '2026-03-18T00:00:00Z') \g /dev/null
SELECT is(flow.differs('rates', flow.campaign('rates'), '2026-03-16T00:00:00Z', '2026-03-18T00:00:00Z'), NULL, 'rates a minute of channels and campaign, with {}: what happened');
SELECT cmp_ok((SELECT sum(c.decisions)::integer FROM flow.compared c), '>', 4000, 'that many decisions were compared');

-- ---------------------------------------------------------------- other settings
SELECT flow.at('2026-04-06T10:00:00Z'), flow.make('small', '{email 0,email 2 days,email 2 days}', 'sandbox', 'UTC') \g /dev/null
DO $$
BEGIN
  PERFORM flow.enter('small'), flow.lead('small', n) FROM unnest('{asks,lost,warm,quiet,replies,gone}'::text[]) n;
  INSERT INTO flow.script (tenant, at, statement) VALUES
    -- hot at 21 by one request; at 25 by a chat two days later
    ('small', '2026-04-07T10:00:01Z', 'SELECT entrestate.signal_add(flow.id(''small'', ''asks''), ''call_request'')'),
    ('small', '2026-04-07T12:00:00Z', 'SELECT entrestate.handoff_take(h.ticket_id), entrestate.handoff_resolve(h.ticket_id, ''called'') FROM entrestate.handoff_of(flow.id(''small'', ''asks'')) h'),
    ('small', '2026-04-09T11:00:00Z', 'SELECT entrestate.signal_add(flow.id(''small'', ''asks''), ''chat_message'')'),
    -- hot as well, and lost when a person had called
    ('small', '2026-04-07T10:00:02Z', 'SELECT entrestate.signal_add(flow.id(''small'', ''lost''), ''visit_request'')'),
    ('small', '2026-04-08T22:00:00Z', 'SELECT entrestate.lead_status_set(flow.id(''small'', ''lost''), ''lost'')'),
    -- 13 points: warming
    ('small', '2026-04-07T15:00:00Z', 'SELECT entrestate.signal_add(flow.id(''small'', ''warm''), k) FROM unnest(''{form_resubmission,chat_message}''::text[]) k'),
    ('small', '2026-04-07T16:00:00Z', 'SELECT entrestate.signal_add(flow.id(''small'', ''replies''), ''reply'')'),
    ('small', '2026-04-09T16:00:00Z', 'SELECT entrestate.lead_opt_out(flow.id(''small'', ''gone''), ''email'')');
END
$$;
SELECT flow.process('small'), flow.live('small', '2026-04-20T00:00:00Z') \g /dev/null
-- a lead's story under other settings
CREATE FUNCTION flow.would(name text, overrides jsonb DEFAULT '{}', since timestamptz DEFAULT '2026-04-06T00:00:00Z', until timestamptz DEFAULT '2026-04-20T00:00:00Z') RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(concat_ws(' ', substr(s.type, 8), s.step, s.reason, '@' || to_char(s.at AT TIME ZONE 'UTC', 'DD HH24')), ', ')
  FROM entrestate.sender_simulate(flow.campaign('small'), since, until, overrides) s WHERE s.lead_id = flow.id('small', would.name) AND s.type <> 'sender.run.started'
$$;
CREATE TABLE flow.cases (no serial, name text, overrides jsonb, story text, what text);
INSERT INTO flow.cases (name, overrides, story, what) VALUES
  ('asks', '{}', 'step.sent 0 @06 10, suppressed_hot hot @07 10', 'a request makes hot'),
  ('asks', '{"hot_threshold": 25}', 'step.sent 0 @06 10, step.deferred 1 rising_intent @08 10, suppressed_hot hot @09 11', 'threshold 25: the ticket that the run opened is not taken as given; a chat makes hot'),
  ('asks', '{"hot_threshold": 26, "rising_deferrals": 0}', 'step.sent 0 @06 10, step.sent 1 @08 10, step.sent 2 @10 10, run.done completed @10 10', 'threshold 26: never hot'),
  ('asks', '{"weights": {"call_request": 3, "chat_message": 18}, "warming_threshold": 22}', 'step.sent 0 @06 10, step.sent 1 @08 10, suppressed_hot hot @09 11', 'other weights'),
  ('asks', '{"hot_threshold": 25, "score_window": "1 day", "rising_deferrals": 0}', 'step.sent 0 @06 10, step.sent 1 @08 10, step.sent 2 @10 10, run.done completed @10 10', 'a window of a day: the request is forgotten'),
  ('asks', '{"brake_index": 3, "rising_deferrals": 0}', 'step.sent 0 @06 10, step.sent 1 @08 10, step.sent 2 @10 10, run.done completed @10 10', 'a brake that begins after the last step'),
  ('lost', '{"hot_threshold": 25, "rising_deferrals": 0}', 'step.sent 0 @06 10, step.sent 1 @08 10, suppressed_closed lead_closed @08 22', 'threshold 25: what a person said stands'),
  ('warm', '{}', 'step.sent 0 @06 10, step.deferred 1 rising_intent @08 10, step.sent 1 @10 10, step.sent 2 @12 10, run.done completed @12 10', 'rising intent'),
  ('warm', '{"hot_threshold": 13}', 'step.sent 0 @06 10, suppressed_hot hot @07 15', 'threshold 13: it opens a ticket of its own'),
  ('warm', '{"warming_threshold": 14}', 'step.sent 0 @06 10, step.sent 1 @08 10, step.sent 2 @10 10, run.done completed @10 10', 'warming later'),
  ('warm', '{"rising_deferrals": 3}', 'step.sent 0 @06 10, step.deferred 1 rising_intent @08 10, step.deferred 1 rising_intent @10 10, step.deferred 1 rising_intent @12 10, step.sent 1 @14 10, step.sent 2 @16 10, run.done completed @16 10', 'three deferrals'),
  ('quiet', '{"delays": {"1": "5 days"}}', 'step.sent 0 @06 10, step.sent 1 @11 10, step.sent 2 @13 10, run.done completed @13 10', 'another delay'),
  ('quiet', '{"delays": ["1 day", null, "3 hours"]}', 'step.sent 0 @07 10, step.sent 1 @09 10, step.sent 2 @09 13, run.done completed @09 13', 'other delays in their order'),
  ('quiet', '{"caps": [{"max": 1, "per": "3 days"}]}', 'step.sent 0 @06 10, step.deferred 1 frequency_capped @08 10, step.sent 1 @09 10, step.deferred 2 frequency_capped @11 10, step.sent 2 @12 10, run.done completed @12 10', 'a cap'),
  ('quiet', '{"quiet_hours": [{"from": "09:00", "to": "11:00"}]}', 'step.deferred 0 quiet_hours @06 10, step.sent 0 @06 11, step.sent 1 @08 11, step.sent 2 @10 11, run.done completed @10 11', 'quiet hours'),
  ('quiet', '{"windows": [{"days": ["thu"], "from": "08:00", "to": "12:00"}], "max_lateness": "1 day"}', 'step.deferred 0 quiet_hours @06 10, step.skipped 0 too_late @09 08, step.deferred 1 quiet_hours @11 08, step.skipped 1 too_late @16 08, step.deferred 2 quiet_hours @18 08', 'windows, and no patience'),
  ('quiet', '{"channels": ["sms"]}', 'step.skipped 0 channel_disabled @06 10, step.skipped 1 channel_disabled @08 10, step.skipped 2 channel_disabled @10 10, run.done completed @10 10', 'no email'),
  ('quiet', '{"dry_run": true}', 'step.simulated 0 dry_run @06 10, step.simulated 1 dry_run @08 10, step.simulated 2 dry_run @10 10, run.done completed @10 10', 'dry run'),
  ('replies', '{}', 'step.sent 0 @06 10, suppressed_replied replied @07 16', 'a reply'),
  ('replies', '{"stop_on_reply": false, "warming_threshold": 20}', 'step.sent 0 @06 10, step.sent 1 @08 10, step.sent 2 @10 10, run.done completed @10 10', 'a reply that does not stop'),
  ('gone', '{"delays": {"1": "5 days"}}', 'step.sent 0 @06 10, suppressed_opt_out opted_out @09 16', 'an opt-out stands');
SELECT is(flow.would(c.name, c.overrides), c.story, c.what) FROM flow.cases c ORDER BY c.no;
-- the run as it is when the period begins
SELECT is(flow.would('asks', '{"hot_threshold": 25}', '2026-04-08T00:00:00Z'), NULL, 'a run that had ended before the period stays ended');
SELECT is(flow.would('warm', '{"hot_threshold": 13}', '2026-04-08T00:00:00Z'), 'suppressed_hot hot @08 00', 'one that would have ended before the period ends with its beginning');
SELECT is(flow.would('quiet', '{"delays": {"2": "4 days"}}', '2026-04-07T00:00:00Z', '2026-04-09T00:00:00Z'), 'step.sent 1 @08 10', 'and the period has an end');
-- limits: five of six leads have a first step at once
SELECT is((SELECT string_agg(s.n || ' @' || s.day, ', ' ORDER BY s.day) FROM (SELECT count(*) AS n, to_char(x.at AT TIME ZONE 'UTC', 'DD') AS day
  FROM entrestate.sender_simulate(flow.campaign('small'), '2026-04-06T00:00:00Z', '2026-04-20T00:00:00Z', '{"daily_limit": {"email": 2}, "rising_deferrals": 0}') x
  WHERE x.type = 'sender.step.sent' AND x.step = 0 GROUP BY 2) s), '2 @06, 2 @07, 1 @08', 'a daily limit: one has been lost meanwhile');
SELECT is((SELECT array_agg(DISTINCT to_char(x.at AT TIME ZONE 'UTC', 'HH24:MI') ORDER BY to_char(x.at AT TIME ZONE 'UTC', 'HH24:MI'))
  FROM entrestate.sender_simulate(flow.campaign('small'), '2026-04-06T00:00:00Z', '2026-04-20T00:00:00Z', '{"per_minute": 2}') x
  WHERE x.type = 'sender.step.sent' AND x.step = 0), '{10:00,10:01,10:02}', 'a rate');
SELECT is((SELECT max(s.n) FROM (SELECT count(*) AS n FROM entrestate.sender_simulate(flow.campaign('small'), '2026-04-06T00:00:00Z', '2026-04-20T00:00:00Z', '{"channel_per_minute": {"email": 1}}') x
  WHERE x.type = 'sender.step.sent' GROUP BY date_trunc('minute', x.at)) s), 1::bigint, 'a rate of a channel');

-- what happened beside what would have
SELECT results_eq($$SELECT w.type, w.reason, w.step, w.happened, w.would_have, w.difference FROM flow.enter('small'), entrestate.sender_what_if(flow.campaign('small'), '2026-04-06T00:00:00Z', '2026-04-20T00:00:00Z', '{"hot_threshold": 25}') w$$,
  $$VALUES ('sender.run.started', NULL, NULL::integer, 6::bigint, 6::bigint, 0::bigint), ('sender.run.done', 'completed', NULL, 2, 2, 0),
    ('sender.step.sent', NULL, 0, 6, 6, 0), ('sender.step.sent', NULL, 1, 3, 3, 0), ('sender.step.sent', NULL, 2, 2, 2, 0),
    ('sender.step.deferred', 'rising_intent', 1, 1, 3, 2), ('sender.suppressed_hot', 'hot', NULL, 2, 1, -1), ('sender.suppressed_opt_out', 'opted_out', NULL, 1, 1, 0),
    ('sender.suppressed_replied', 'replied', NULL, 1, 1, 0), ('sender.suppressed_closed', 'lead_closed', NULL, 0, 1, 1)$$, 'sender_what_if()');
SELECT is((SELECT sum(w.would_have)::bigint FROM flow.enter('weeks'), entrestate.sender_what_if(flow.campaign('weeks'), '2026-01-06T00:00:00Z', '2026-01-20T00:00:00Z', o) w),
  (SELECT count(*) FROM entrestate.sender_simulate(flow.campaign('weeks'), '2026-01-06T00:00:00Z', '2026-01-20T00:00:00Z', o)), 'counts what sender_simulate() returns: ' || o::text)
FROM (VALUES ('{}'::jsonb), ('{"hot_threshold": 12}'), ('{"daily_limit": {"email": 5, "sms": 1}, "caps": []}')) v(o);
SELECT is((SELECT sum(w.happened)::bigint FROM entrestate.sender_what_if(flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z') w),
  (SELECT count(*) FROM entrestate.sender_events e WHERE e.campaign_id = flow.campaign('weeks') AND e.run_seq IS NOT NULL), 'and what happened');
SELECT is((SELECT count(*) FROM entrestate.sender_what_if(flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z') w WHERE w.difference <> 0), 0::bigint, 'with {} they are equal');

-- ---------------------------------------------------------------- what is to come
SELECT flow.at('2026-05-04T10:00:00Z'), flow.make('future', '{email 1 day,sms 2 days,email 3 days}', 'sandbox', 'Australia/Lord_Howe') \g /dev/null
DO $$
BEGIN
  PERFORM flow.enter('future'), flow.lead('future', 'f' || i, phone => CASE WHEN i % 3 > 0 THEN 'new' END) FROM generate_series(1, 9) i;
  PERFORM entrestate.signal_add(flow.id('future', 'f1'), 'form_resubmission'), entrestate.signal_add(flow.id('future', 'f1'), 'chat_message'), entrestate.lead_consent(flow.id('future', 'f2'), 'email', false, 'x');
  PERFORM entrestate.agent_settings_set(flow.campaign('future'), windows => '[{"days": ["mon", "wed", "thu"], "from": "09:00", "to": "17:30"}]', caps => '[{"max": 1, "per": "4 days"}]');
END
$$;
SELECT flow.live('future', '2026-05-06T12:00:00Z') \g /dev/null
CREATE TABLE flow.foretold AS SELECT x AS line FROM flow.enter('future'), flow.simulated(flow.campaign('future'), '2026-05-06T12:00:00Z', '2026-07-01T00:00:00Z') x;
SELECT cmp_ok((SELECT count(*)::integer FROM flow.foretold), '>', 30, 'there is something to come');
SELECT flow.live('future', '2026-07-01T00:00:00Z') \g /dev/null
SELECT set_eq($$SELECT flow.happened(flow.campaign('future'), '2026-05-06T12:00:00Z', '2026-07-01T00:00:00Z')$$, $$SELECT line FROM flow.foretold$$, 'and it comes');

-- ---------------------------------------------------------------- it reads, and nothing else
SELECT flow.enter('weeks') \g /dev/null
SELECT flow.digest('weeks') AS digest, (SELECT count(*) FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.mode <> 'AccessShareLock') AS locks \gset flow_
SAVEPOINT reading;
SET TRANSACTION READ ONLY;
SELECT (SELECT count(*) FROM entrestate.sender_simulate(flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z', '{"hot_threshold": 5, "daily_limit": {"email": 3}}'))
  + (SELECT count(*) FROM entrestate.sender_what_if(flow.campaign('weeks'), '2026-01-05T00:00:00Z', '2026-01-27T00:00:00Z', '{"hot_threshold": 5}')) AS simulated \gset flow_
SELECT count(*) AS locks_then FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.mode <> 'AccessShareLock' \gset flow_
RELEASE reading;
SELECT cmp_ok(:flow_simulated, '>', 100, 'in a read only transaction, as on a standby');
SELECT is(flow.digest('weeks'), :'flow_digest', 'nothing was written');
SELECT is(:flow_locks_then, :flow_locks, 'nothing was locked');

-- a campaign without runs, a tenant that is not ours
SELECT entrestate.campaign_create('empty') AS empty \gset flow_
SELECT is_empty(format('SELECT * FROM entrestate.sender_simulate(%L, %L, %L)', :'flow_empty', '2026-01-05', '2026-02-05'), 'no runs, no rows');
SELECT is_empty(format('SELECT * FROM entrestate.sender_what_if(%L, %L, %L)', :'flow_empty', '2026-01-05', '2026-02-05'), 'and nothing to compare');
SELECT throws_ok(format('SELECT * FROM entrestate.sender_simulate(%L, %L, %L)', flow.campaign('small'), '2026-01-05', '2026-02-05'), 'P0002', 'there is no such campaign', 'another tenant''s');

-- ---------------------------------------------------------------- overrides that cannot be
CREATE TABLE flow.bad (overrides jsonb, message text);
INSERT INTO flow.bad VALUES
  ('[]', 'overrides is not a JSON object'), ('{"threshold": 25}', 'overrides has a key that is not known: threshold'),
  ('{"hot_threshold": "25"}', 'overrides.hot_threshold is not a whole number from 1 to 1000000'), ('{"hot_threshold": 0}', 'overrides.hot_threshold is not a whole number from 1 to 1000000'),
  ('{"hot_threshold": 2.5}', 'overrides.hot_threshold is not a whole number from 1 to 1000000'), ('{"hot_threshold": null}', 'overrides.hot_threshold is not a whole number from 1 to 1000000'),
  ('{"warming_threshold": -1}', 'overrides.warming_threshold is not a whole number from 1 to 1000000'), ('{"brake_index": 101}', 'overrides.brake_index is not a whole number from 0 to 100'),
  ('{"rising_deferrals": 4}', 'overrides.rising_deferrals is not a whole number from 0 to 3'), ('{"dry_run": "yes"}', 'overrides.dry_run is not true or false'),
  ('{"stop_on_reply": 1}', 'overrides.stop_on_reply is not true or false'), ('{"max_lateness": 5}', 'overrides.max_lateness is not an interval'),
  ('{"max_lateness": "soon"}', 'overrides.max_lateness is not an interval'), ('{"max_lateness": "1 second"}', 'overrides.max_lateness is not an interval from a minute to 400 days'),
  ('{"score_window": "367 days"}', 'overrides.score_window is not from an hour to 366 days'), ('{"per_minute": 0}', 'overrides.per_minute is not a number from 1'),
  ('{"daily_limit": 5}', 'overrides.daily_limit is not an object of channels'), ('{"daily_limit": {"fax": 5}}', 'overrides.daily_limit has a channel that is not known: fax'),
  ('{"daily_limit": {"email": 1.5}}', 'overrides.daily_limit.email is not a number from 1'), ('{"channel_per_minute": {"sms": "1"}}', 'overrides.channel_per_minute.sms is not a number from 1'),
  ('{"weights": 3}', 'overrides.weights is not an object of weights'), ('{"weights": {"open": 1001}}', 'overrides.weights.open is not a weight'), ('{"weights": {"cooled": 1}}', 'overrides.weights.cooled is not a weight'),
  ('{"delays": "1 day"}', 'overrides.delays is not an object or array of delays'), ('{"delays": {"4": "1 day"}}', 'overrides.delays has a step that the campaign does not have: 4'),
  ('{"delays": {"x": "1 day"}}', 'overrides.delays has a step that the campaign does not have: x'), ('{"delays": {"1": 5}}', 'overrides.delays.1 is not an interval'),
  ('{"delays": {"1": "-1 day"}}', 'overrides.delays.1 is not a delay of at most 366 days'), ('{"delays": ["1 day", 3]}', 'overrides.delays.1 is not an interval'),
  ('{"quiet_hours": {}}', 'overrides.quiet_hours is not an array of at most 50 windows'), ('{"quiet_hours": [{"from": "00:00", "to": "24:00"}]}', 'overrides.quiet_hours leaves nothing of the week'),
  ('{"windows": [1]}', 'overrides.windows has an entry that is not a window'), ('{"caps": [{"max": 0, "per": "1 day"}]}', 'caps has an entry that is not a cap'),
  ('{"channels": "email"}', 'overrides.channels is not an array of channels'), ('{"channels": ["fax"]}', 'overrides.channels is not an array of channels');
SELECT throws_ok(format('SELECT * FROM entrestate.sender_simulate(%L, %L, %L, %L)', flow.campaign('weeks'), '2026-01-05', '2026-02-05', b.overrides), '22023', b.message, 'refused: ' || b.overrides::text) FROM flow.bad b;
SELECT lives_ok(format('SELECT * FROM entrestate.sender_simulate(%L, %L, %L, %L)', flow.campaign('weeks'), '2026-01-05', '2026-02-05',
  '{"daily_limit": {"email": null, "sms": 3}, "per_minute": null, "delays": [null, null], "weights": {}, "windows": [], "caps": [], "channels": []}'), 'null and empty are none');
SELECT lives_ok(format('SELECT * FROM entrestate.sender_simulate(%L, %L, %L, NULL)', flow.campaign('weeks'), '2026-01-05', '2026-02-05'), 'and no overrides are {}');
SELECT * FROM finish();
ROLLBACK;
