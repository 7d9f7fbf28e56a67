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
SELECT * FROM flow.compared;
SELECT * FROM finish();
ROLLBACK;
