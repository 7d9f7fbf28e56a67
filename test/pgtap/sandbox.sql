-- The door by which providers report (delivery_report), type by type, and the sandbox provider that draws what
-- becomes of messages and reports it by that door. SENDER.md sections 5 to 7 in double quotes.
\ir flow_lib.sql
\ir verify_lib.sql

-- Before the transaction, since it commits: a tenant, and the procedure.
DO $$ BEGIN PERFORM flow.make('cron', '{email 0,email 1 day}'), entrestate.sandbox_set(5); END $$;
DO $$ BEGIN PERFORM flow.lead('cron', 'c' || i, format('c%s@example.com', i)) FROM generate_series(1, 40) i; END $$;
SELECT flow.process('cron', '2026-01-05T10:00:01Z') \g /dev/null
SELECT count(*) AS drawn FROM entrestate.sandbox_callbacks WHERE due_at <= '2026-01-20T00:00:00Z' \gset
SELECT flow.at('2026-01-20T00:00:00Z') \g /dev/null
SET ROLE entrestate_worker;
CALL entrestate.sandbox_report(7);
RESET ROLE;

BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

SELECT cmp_ok(:drawn, '>', 40, 'something was drawn for the cron tenant');
SELECT is((SELECT count(*) FROM entrestate.sandbox_callbacks WHERE due_at <= '2026-01-20T00:00:00Z'), 0::bigint, 'sandbox_report(): all that is due, batch after batch');
SELECT is((SELECT count(*) FROM entrestate.sender_events e WHERE e.run_seq IS NULL) + (SELECT count(*) FROM entrestate.intent_signals s WHERE s.kind IN
    (SELECT k.code FROM entrestate.signal_kinds() k WHERE k.name IN ('chat_message', 'form_resubmission', 'call_request', 'auto_reply'))), :drawn::bigint, 'each is an event or a signal');
SELECT throws_ok($$CALL entrestate.sandbox_report()$$, '2D000', NULL, 'not inside a transaction');
SELECT throws_ok($$SELECT entrestate.sandbox_report_tenant(gen_random_uuid(), 100001)$$, '22023', 'batch is a number from 1 to 100000');
SELECT is(entrestate.sandbox_report_tenant(NULL), NULL, 'no tenant, nothing');

CREATE FUNCTION pg_temp.tenant(name text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.tenant FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.campaign(name text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
-- a report of the lead's message of a step
CREATE FUNCTION pg_temp.report(tenant text, name text, type text, detail jsonb DEFAULT NULL, at timestamptz DEFAULT NULL, step integer DEFAULT 0, attempt integer DEFAULT 0)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN entrestate.delivery_report(pg_temp.campaign(tenant), flow.id(tenant, name), step, attempt, type, at, detail);
END
$$;
-- what providers reported of a lead's messages, with when it happened
CREATE FUNCTION pg_temp.reports(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(concat_ws(' ', substr(y.name, 8), e.step || '/' || e.attempt, c.name, m.name, to_char(e.decided_at, 'DD HH24:MI:SS'), x.name), ', ' ORDER BY e.recorded_at, e.id), 'none')
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type JOIN entrestate.sender_modes() m ON m.code = e.mode
  LEFT JOIN entrestate.sender_channels() c ON c.code = e.channel LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
  WHERE e.lead_id = flow.id($1, $2) AND e.run_seq IS NULL $$;
CREATE FUNCTION pg_temp.signals(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(k.name || CASE WHEN s.reference = entrestate.run_id(pg_temp.campaign($1), flow.id($1, $2)) || '/0/0' THEN '' ELSE ' of ' || coalesce(s.reference, 'nothing') END,
    ', ' ORDER BY s.signal_no), 'none') FROM entrestate.intent_signals s JOIN entrestate.signal_kinds() k ON k.code = s.kind WHERE s.lead_id = flow.id($1, $2) AND k.code < 30 $$;
CREATE FUNCTION pg_temp.run(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', r.status, r.cursor, x.name), ', ') FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason WHERE r.lead_id = flow.id($1, $2) $$;
CREATE FUNCTION pg_temp.lead(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(', ', l.direction, CASE WHEN l.hot_at IS NOT NULL THEN 'hot' END, CASE WHEN l.replied_at IS NOT NULL THEN 'replied' END,
    CASE WHEN l.opted_out_at IS NOT NULL THEN 'opted out' END, CASE WHEN l.complained_at IS NOT NULL THEN 'complained' END,
    CASE WHEN l.whatsapp_at IS NOT NULL THEN 'whatsapp ' || to_char(l.whatsapp_at, 'DD HH24:MI') END,
    (SELECT string_agg(c.kind || ' unusable', ', ') FROM entrestate.lead_contacts c WHERE c.lead_id = l.lead_id AND c.unusable_reason = 'hard_bounce'),
    (SELECT string_agg(p.channel || ' suppressed for ' || p.reason, ', ' ORDER BY p.channel) FROM entrestate.suppressions p JOIN entrestate.lead_contacts c
      ON c.tenant_id = p.tenant_id AND c.address_norm = p.address_norm WHERE c.lead_id = l.lead_id))
  FROM entrestate.leads l WHERE l.lead_id = flow.id($1, $2) $$;

-- ---------------------------------------------------------------- the door, type by type, and each twice
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('door', '{email 0,sms 3 days,email 3 days}') \g /dev/null
CREATE TEMP TABLE cases (no serial, name text, type text, detail jsonb, at timestamptz, returned text, reports text, signals text, run text, lead text);
INSERT INTO cases (name, type, detail, at, returned, reports, signals, run, lead) VALUES
  ('delivered', 'delivered', NULL, '2026-01-05T10:00:07Z', 'recorded', 'delivered 0/0 email sandbox 05 10:00:07', 'none', 'running 1', 'NOISE'),
  ('undelivered', 'undelivered', NULL, NULL, 'recorded', 'undelivered 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'NOISE'),
  ('opened', 'opened', NULL, '2026-01-05T11:00:00Z', 'recorded', 'opened 0/0 email sandbox 05 11:00:00', 'open', 'running 1', 'EXPLORING'),
  ('opened by a machine', 'opened', '{"userAgent": "GoogleBot"}', '2026-01-05T11:00:00Z', 'machine', 'none', 'machine_open', 'running 1', 'NOISE'),
  ('opened too soon', 'opened', NULL, '2026-01-05T10:00:02Z', 'machine', 'none', 'machine_open', 'running 1', 'NOISE'),
  ('opened after a delivery', 'opened', '{"secondsAfterDelivery": 1.5}', '2026-01-05T11:00:00Z', 'machine', 'none', 'machine_open', 'running 1', 'NOISE'),
  ('opened soon, but not after its delivery', 'opened', '{"secondsAfterDelivery": 30}', '2026-01-05T10:00:02Z', 'recorded', 'opened 0/0 email sandbox 05 10:00:02', 'open', 'running 1', 'EXPLORING'),
  ('clicked', 'clicked', '{"userAgent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0", "method": "GET"}', NULL, 'recorded', 'clicked 0/0 email sandbox 05 12:00:00', 'click', 'running 1', 'EXPLORING'),
  ('clicked by a machine', 'clicked', '{"method": "HEAD"}', NULL, 'machine', 'none', 'machine_click', 'running 1', 'NOISE'),
  ('replied', 'replied', '{"subject": "Re: Hello", "headers": {"From": "x"}}', NULL, 'recorded', 'replied 0/0 email sandbox 05 12:00:00', 'reply', 'suppressed 1 replied', 'READY, replied'),
  ('replied by a machine', 'replied', '{"subject": "Out of office"}', NULL, 'machine', 'none', 'auto_reply', 'running 1', 'NOISE'),
  ('replied by its headers', 'replied', '{"headers": {"Auto-Submitted": "auto-replied"}}', NULL, 'machine', 'none', 'auto_reply', 'running 1', 'NOISE'),
  ('bounced hard', 'bounced', '{"kind": "hard"}', NULL, 'recorded', 'bounced 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'RISK, email unusable, email suppressed for hard_bounce'),
  ('bounced softly', 'bounced', '{"kind": "soft"}', NULL, 'recorded', 'bounced 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'NOISE'),
  ('bounced elsewhere', 'bounced', '{"kind": "hard", "address": "Somebody@example.com"}', NULL, 'recorded', 'bounced 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'NOISE'),
  ('bounced here', 'bounced', '{"kind": "hard", "address": "BOUNCED.here@Example.com"}', NULL, 'recorded', 'bounced 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'RISK, email unusable, email suppressed for hard_bounce'),
  ('complained', 'complained', NULL, NULL, 'recorded', 'complained 0/0 email sandbox 05 12:00:00', 'none', 'suppressed 1 complained', 'RISK, complained, email suppressed for complaint'),
  ('unsubscribed', 'unsubscribed', NULL, NULL, 'recorded', 'unsubscribed 0/0 email sandbox 05 12:00:00', 'none', 'suppressed 1 opted_out',
    'RISK, opted out, email suppressed for opt_out, sms suppressed for opt_out, whatsapp suppressed for opt_out'),
  ('clocks differ', 'delivered', NULL, '2026-01-06T00:00:00Z', 'recorded', 'delivered 0/0 email sandbox 05 12:00:00', 'none', 'running 1', 'NOISE'),
  ('before it was sent', 'opened', '{"secondsAfterDelivery": 30}', '2026-01-05T09:59:00Z', 'recorded', 'opened 0/0 email sandbox 05 09:59:00', 'open', 'running 1', 'EXPLORING');
SELECT flow.lead('door', name, format('%s@example.com', translate(lower(name), ' ,', '.'))) FROM cases ORDER BY no \g /dev/null
SELECT flow.process('door', '2026-01-05T10:00:01Z') \g /dev/null
SELECT flow.at('2026-01-05T12:00:00Z') \g /dev/null
SELECT is(pg_temp.report('door', name, type, detail, at), returned, format('%s: %s', name, returned)) FROM cases ORDER BY no;
SELECT is(pg_temp.reports('door', name), reports, format('%s: the event', name)) FROM cases ORDER BY no;
SELECT is(pg_temp.signals('door', name), signals, format('%s: the signal, which names the message', name)) FROM cases ORDER BY no;
SELECT is(pg_temp.run('door', name), run, format('%s: the run', name)) FROM cases ORDER BY no;
SELECT is(pg_temp.lead('door', name), lead, format('%s: the lead', name)) FROM cases ORDER BY no;
SELECT flow.digest('door') AS before, (SELECT md5(string_agg(s::text, ',' ORDER BY s::text)) FROM entrestate.intent_signals s) AS signals \gset
SELECT is(pg_temp.report('door', name, type, detail, at), 'repeated', format('%s: once', name)) FROM cases ORDER BY no;
SELECT is((flow.digest('door'), (SELECT md5(string_agg(s::text, ',' ORDER BY s::text)) FROM entrestate.intent_signals s))::text, (:'before', :'signals')::text, 'repeats change nothing');
SELECT is((SELECT string_agg(DISTINCT e.run_seq::text, ',') FROM entrestate.sender_events e WHERE e.tenant_id = pg_temp.tenant('door') AND e.type >= 40), NULL, '"carry the intent''s key, no run_seq"');
-- a machine's fetch does not stand in the way of a person's
SELECT is(pg_temp.report('door', 'opened by a machine', 'opened'), 'recorded', 'a person after a machine');
SELECT is(pg_temp.signals('door', 'opened by a machine'), 'machine_open, open', 'is a signal of its own');
SELECT is(pg_temp.report('door', 'replied by a machine', 'replied'), 'recorded', 'a person after an automatic reply');
SELECT is(pg_temp.run('door', 'replied by a machine'), 'suppressed 1 replied', 'ends the run');
-- out of order: all of them, backwards
SELECT flow.at('2026-01-05T10:00:00Z'), flow.lead('door', 'backwards', 'backwards@example.com') \g /dev/null
SELECT flow.process('door', '2026-01-05T10:00:01Z'), flow.at('2026-01-05T12:00:00Z') \g /dev/null
SELECT is(string_agg(pg_temp.report('door', 'backwards', v.type, v.detail, '2026-01-05T11:00:00Z'::timestamptz - v.o * interval '1 minute'), ' ' ORDER BY o), 'recorded recorded recorded recorded recorded recorded recorded', 'any order will do')
FROM (VALUES (1, 'complained', NULL::jsonb), (2, 'unsubscribed', NULL), (3, 'bounced', '{"kind": "hard"}'), (4, 'replied', NULL), (5, 'clicked', NULL), (6, 'opened', NULL), (7, 'delivered', NULL)) v(o, type, detail);
SELECT is(pg_temp.run('door', 'backwards'), 'suppressed 1 complained', 'the first that brakes ends it');
SELECT is(pg_temp.lead('door', 'backwards'), 'RISK, hot, replied, opted out, complained, email unusable, email suppressed for complaint, sms suppressed for opt_out, whatsapp suppressed for opt_out', 'and all of it is known');
-- an SMS
SELECT flow.at('2026-01-05T10:00:00Z'), flow.lead('door', 'sms', 'sms@example.com'), flow.process('door', '2026-01-05T10:00:01Z'), flow.process('door', '2026-01-08T10:00:01Z') \g /dev/null
SELECT is(pg_temp.report('door', 'sms', 'bounced', '{"kind": "hard"}', step => 1), 'recorded', 'an SMS that cannot be delivered');
SELECT is(pg_temp.lead('door', 'sms'), 'RISK, phone unusable, sms suppressed for hard_bounce', 'marks the number');
SELECT is(pg_temp.reports('door', 'sms'), 'bounced 1/0 sms sandbox 08 10:00:01', 'with its own channel and step');

-- ---------------------------------------------------------------- what is refused
SELECT throws_ok(format('SELECT pg_temp.report(%L, %L, %L, %L, step => %s, attempt => %s)', 'door', 'delivered', 'delivered', '{}', step, attempt), 'P0002', 'there is no such message', format('step %s, attempt %s', step, attempt))
FROM (VALUES (2, 0), (0, 1), (-1, 0), (99, 0), (2147483647, 0), (0, 2147483647)) v(step, attempt);
SELECT throws_ok($$SELECT pg_temp.report('door', 'nobody', 'delivered')$$, '22004', 'lead is missing');
SELECT throws_ok($$SELECT pg_temp.report('door', 'delivered', 'read')$$, '22023', 'type has a value that is not allowed');
SELECT throws_ok($$SELECT pg_temp.report('door', 'delivered', 'bounced')$$, '22004', 'detail.kind is missing');
SELECT throws_ok($$SELECT pg_temp.report('door', 'delivered', 'settled', '{"outcome": "sent"}')$$, '55000', 'there is nothing to settle: the message is sent');
SELECT throws_ok($$SELECT pg_temp.report('door', 'delivered', 'opened', at => 'infinity')$$, '22023', 'occurred_at is not an instant');
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('live', '{email 0,email 1 day}', 'live'), flow.lead('live', 'ready', 'ready@example.com'), flow.lead('live', 'voided', 'voided@example.com'),
  flow.process('live', '2026-01-05T10:00:01Z') \g /dev/null
SELECT flow.enter('live'), entrestate.lead_opt_out(flow.id('live', 'voided'), 'email') \g /dev/null
SELECT throws_ok(format($$SELECT pg_temp.report('live', %L, 'opened')$$, s), '55000', 'the message was never sent: it is ' || s, 'of what was never sent nothing can be reported: ' || s) FROM unnest('{ready,voided}'::text[]) s;
SELECT is(pg_temp.reports('live', s) || pg_temp.signals('live', s), 'nonenone', 'and nothing is') FROM unnest('{ready,voided}'::text[]) s;

-- ---------------------------------------------------------------- "a frozen tenant still records ... callbacks"
SELECT flow.at('2026-01-05T10:00:00Z'), flow.lead('door', 'frozen ' || x, format('frozen.%s@example.com', x)) FROM unnest('{opened,replied,complained,inbound}'::text[]) x \g /dev/null
SELECT flow.process('door', '2026-01-05T10:00:01Z'), flow.at('2026-01-05T12:00:00Z'), flow.enter('door'), entrestate.tenant_freeze('a test') \g /dev/null
SELECT is(pg_temp.report('door', 'frozen ' || x, x), 'recorded', 'frozen: ' || x) FROM unnest('{opened,replied,complained}'::text[]) x;
SELECT is(pg_temp.run('door', 'frozen ' || x), 'suppressed 1 ' || x, 'and its runs end') FROM unnest('{replied,complained}'::text[]) x;
SELECT is(pg_temp.report('door', 'frozen inbound', 'inbound', '{"channel": "sms"}'), 'recorded', 'frozen: inbound');
SELECT flow.enter('door'), entrestate.tenant_unfreeze() \g /dev/null

-- ---------------------------------------------------------------- a message from the lead
SELECT flow.at('2026-01-05T10:00:00Z'), flow.lead('door', n, translate(n, ' ', '.') || '@example.com') FROM unnest('{in whatsapp,in sms,in office}'::text[]) n \g /dev/null
SELECT flow.process('door', '2026-01-05T10:00:01Z'), flow.at('2026-01-05T12:00:00Z') \g /dev/null
SELECT is(pg_temp.report('door', 'in whatsapp', 'inbound', '{"channel": "whatsapp", "id": "wa-1"}', '2026-01-05T11:30:00Z', step => NULL, attempt => NULL), 'recorded', 'by WhatsApp');
SELECT is(pg_temp.lead('door', 'in whatsapp'), 'READY, replied, whatsapp 05 11:30', 'opens the window for free text, and is a reply');
SELECT is(pg_temp.run('door', 'in whatsapp'), 'suppressed 1 replied', 'which ends the run');
SELECT is(pg_temp.report('door', 'in whatsapp', 'inbound', '{"channel": "whatsapp", "id": "wa-1"}', '2026-01-05T11:30:00Z'), 'repeated', 'once');
SELECT is(pg_temp.report('door', 'in whatsapp', 'inbound', '{"channel": "whatsapp", "id": "wa-0"}', '2026-01-05T11:00:00Z'), 'recorded', 'one that comes late');
SELECT is(pg_temp.lead('door', 'in whatsapp'), 'READY, hot, replied, whatsapp 05 11:30', 'does not close it sooner');
SELECT is(pg_temp.signals('door', 'in whatsapp'), 'reply of wa-1, reply of wa-0', 'each is a signal');
SELECT is(pg_temp.report('door', 'in sms', 'inbound', '{"channel": "sms"}'), 'recorded', 'by SMS');
SELECT is(pg_temp.lead('door', 'in sms'), 'READY, replied', 'has no window');
SELECT is(pg_temp.report('door', 'in office', 'inbound', '{"channel": "email", "subject": "Automatic reply: Hello"}'), 'machine', 'an automatic one');
SELECT is(pg_temp.run('door', 'in office'), 'running 1', 'ends nothing');
SELECT is(pg_temp.reports('door', n), 'none', 'it answers no known message: no event') FROM unnest('{in whatsapp,in sms,in office}'::text[]) n;
SELECT throws_ok($$SELECT pg_temp.report('door', 'in sms', 'inbound')$$, '22004', 'detail.channel is missing');
SELECT throws_ok(format($$SELECT entrestate.delivery_report(NULL, %L, NULL, NULL, 'inbound', detail => '{"channel": "sms"}')$$, gen_random_uuid()), 'P0002', 'there is no such lead');
SELECT throws_ok(format($$SELECT entrestate.delivery_report(%L, %L, NULL, NULL, 'inbound', detail => '{"channel": "sms"}')$$, pg_temp.campaign('live'), flow.id('door', 'in sms')), 'P0002', 'there is no such campaign');

-- ---------------------------------------------------------------- merged leads: signals and brakes are the survivor's, the event stays with the run's lead
SELECT flow.at('2026-01-05T10:00:00Z'), flow.lead('door', w || n, w || n || '@example.com') FROM unnest('{open,complain,bounce,bouncehere}'::text[]) n, unnest('{dup,surv}'::text[]) w \g /dev/null
SELECT flow.process('door', '2026-01-05T10:00:01Z'), flow.at('2026-01-05T12:00:00Z'), flow.enter('door') \g /dev/null
SELECT entrestate.lead_merge(flow.id('door', 'dup' || n), flow.id('door', 'surv' || n)) FROM unnest('{open,complain,bounce,bouncehere}'::text[]) n \g /dev/null
SELECT is(pg_temp.report('door', 'dupopen', 'opened'), 'recorded', 'merged: opened');
SELECT is(pg_temp.reports('door', 'dupopen'), 'opened 0/0 email sandbox 05 12:00:00', 'the event stays with the run''s lead');
SELECT is(pg_temp.signals('door', 'dupopen') || ' and ' || split_part(pg_temp.signals('door', 'survopen'), ' of', 1), 'none and open', 'the signal goes to the survivor');
SELECT is(pg_temp.report('door', 'dupopen', 'opened'), 'repeated', 'once');
SELECT is(pg_temp.report('door', 'dupcomplain', 'complained'), 'recorded', 'merged: complained');
SELECT is(pg_temp.run('door', 'survcomplain'), 'suppressed 1 complained', 'brakes the survivor');
SELECT is(pg_temp.report('door', 'dupbounce', 'bounced', '{"kind": "hard"}'), 'recorded', 'merged: bounced, nobody says where');
SELECT is((SELECT count(*) FROM entrestate.lead_contacts c WHERE c.lead_id = flow.id('door', 'survbounce') AND c.unusable_reason IS NOT NULL), 0::bigint, 'no address is guessed');
SELECT is(pg_temp.report('door', 'dupbouncehere', 'bounced', '{"kind": "hard", "address": "dupbouncehere@example.com"}'), 'recorded', 'with its address');
SELECT is((SELECT string_agg(c.address_norm, ',') FROM entrestate.lead_contacts c WHERE c.lead_id = flow.id('door', 'survbouncehere') AND c.unusable_reason IS NOT NULL), 'dupbouncehere@example.com', 'that one is marked');

-- ---------------------------------------------------------------- settings
SELECT flow.enter('live') \g /dev/null
SELECT throws_ok($$SELECT entrestate.sandbox_set(1)$$, '55000', 'the tenant is live', '"The sandbox provider refuses a live tenant"');
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('set', '{email 0,email 1 day,email 1 day}') \g /dev/null
SELECT is(entrestate.sandbox_set(1), entrestate.sandbox_rates(), 'the documented rates');
SELECT is(entrestate.sandbox_set(-9223372036854775808, '{"open": 1, "click": 0.5}'), entrestate.sandbox_rates() || '{"open": 1, "click": 0.5}', 'some of them');
SELECT throws_ok(format('SELECT entrestate.sandbox_set(1, %L)', r), '22023', m, r) FROM (VALUES ('{"opens": 1}', 'rates.opens is not a rate'), ('{"open": "1"}', 'rates.open is not a rate'),
  ('{"open": 1.1}', 'rates.open is not a rate'), ('{"open": -0.1}', 'rates.open is not a rate'), ('{"open": null}', 'rates.open is not a rate'), ('[]', 'rates is not a JSON object'),
  ('{"open": 0.1}', 'the rates do not go together'), ('{"refusal": 0.6, "unknown": 0.5}', 'the rates do not go together')) v(r, m);
SELECT is((SELECT concat_ws(' ', s.seed, s.rates ->> 'open', s.set_by) FROM entrestate.sandbox_settings s WHERE s.tenant_id = pg_temp.tenant('set')), '-9223372036854775808 1 boss', 'what was refused changed nothing');
SELECT is(entrestate.sandbox_set(NULL), NULL, 'none');
SELECT flow.lead('set', 'plain', 'plain@example.com'), flow.process('set', '2026-01-05T10:00:01Z') \g /dev/null
SELECT is(flow.story('set', 'plain'), 'run.started, step.sent 0', 'without settings everything is sent');
SELECT is((SELECT count(*) FROM entrestate.sandbox_callbacks c WHERE c.tenant_id = pg_temp.tenant('set')), 0::bigint, 'and nothing follows');

-- ---------------------------------------------------------------- refused and uncertain
CREATE FUNCTION pg_temp.certain(tenant text, what text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN entrestate.sandbox_set(7, (SELECT jsonb_object_agg(k, CASE WHEN k = what THEN 1 ELSE 0 END) FROM jsonb_object_keys(entrestate.sandbox_rates()) k));
END
$$;
CREATE FUNCTION pg_temp.intent(tenant text, name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', i.step, i.status, x.name), ', ' ORDER BY i.step) FROM entrestate.sender_intents i LEFT JOIN entrestate.sender_reasons() x ON x.code = i.outcome_reason WHERE i.lead_id = flow.id($1, $2) $$;
SELECT flow.at('2026-01-05T10:00:00Z'), pg_temp.certain('set', 'refusal'), flow.lead('set', 'refused', 'refused@example.com'), flow.process('set', '2026-01-05T10:00:01Z') \g /dev/null
SELECT is(flow.story('set', 'refused'), 'run.started, step.failed 0 (refused)', '"failed: the provider refused it"');
SELECT is(pg_temp.intent('set', 'refused'), '0 failed refused', 'so is the intent');
SELECT is(pg_temp.run('set', 'refused'), 'running 1', '"a step that fails never fails the run"');
SELECT is((SELECT coalesce(sum(u.used), 0) FROM entrestate.sender_usage u WHERE u.tenant_id = pg_temp.tenant('set') AND u.budget = 'channel_day'), 1::bigint, '"Failed and voided give it back": only what was sent before counts');
SELECT flow.at('2026-01-05T10:00:00Z'), pg_temp.certain('set', 'unknown'), flow.lead('set', 'unsure' || i, format('unsure%s@example.com', i)) FROM generate_series(1, 8) i \g /dev/null
SELECT flow.process('set', '2026-01-05T10:00:01Z') \g /dev/null
SELECT is(flow.story('set', 'unsure1'), 'run.started, step.unknown 0 (uncertain)', 'an uncertain one');
SELECT is(pg_temp.intent('set', 'unsure1'), '0 unknown uncertain', 'so is the intent');
SELECT is(pg_temp.run('set', 'unsure1'), 'running 1', '"unknown counts as sent for cursor"');
SELECT is((SELECT sum(u.used) FROM entrestate.sender_usage u WHERE u.tenant_id = pg_temp.tenant('set') AND u.budget = 'channel_day'), 9::bigint, 'and for budgets');
SELECT flow.at('2026-01-05T12:00:00Z') \g /dev/null
-- "a later callback settles it (settled)"
SELECT is(pg_temp.report('set', 'unsure1', 'settled', '{"outcome": "sent"}'), 'recorded', 'settled as sent');
SELECT is(pg_temp.intent('set', 'unsure1'), '0 sent uncertain', 'the intent says so');
SELECT is(pg_temp.report('set', 'unsure1', 'settled', '{"outcome": "failed"}'), 'repeated', 'once, whatever the next one says');
SELECT is(pg_temp.report('set', 'unsure2', 'settled', '{"outcome": "failed"}'), 'recorded', 'settled as failed');
SELECT is(pg_temp.intent('set', 'unsure2'), '0 failed refused', 'the intent says so');
SELECT is(pg_temp.reports('set', 'unsure2'), 'settled 0/0 email sandbox 05 12:00:00 refused', 'and the event');
SELECT is(pg_temp.report('set', 'unsure3', 'opened'), 'recorded', 'what is opened was sent');
SELECT is(pg_temp.reports('set', 'unsure3'), 'settled 0/0 email sandbox 05 12:00:00, opened 0/0 email sandbox 05 12:00:00', 'and is settled by it');
SELECT is(pg_temp.report('set', 'unsure3', 'settled', '{"outcome": "failed"}'), 'repeated', 'for good');
SELECT is(pg_temp.run('set', 'unsure' || i), 'running 1', '"never change the cursor"') FROM generate_series(1, 3) i;
SELECT flow.at('2026-01-08T10:00:02Z') \g /dev/null
SELECT throws_ok($$SELECT pg_temp.report('set', 'unsure4', 'settled', '{"outcome": "sent"}')$$, '55000', 'there is nothing to settle: the message is unknown', '"after the provider''s report window (72 h) it stays unknown"');
SELECT is(pg_temp.report('set', 'unsure4', 'delivered'), 'recorded', 'a report that comes later still');
SELECT is(pg_temp.intent('set', 'unsure4'), '0 unknown uncertain', 'settles nothing');
SELECT is(pg_temp.report('set', 'unsure5', 'settled', '{"outcome": "sent"}', '2026-01-08T10:00:01Z'), 'recorded', 'what happened within the window may come late');
-- the provider settles the others by itself: late, but what it reports happened within the window
SELECT entrestate.sandbox_report_tenant(pg_temp.tenant('set')) \g /dev/null
SELECT is((SELECT count(*) FROM entrestate.sender_intents i WHERE i.tenant_id = pg_temp.tenant('set') AND i.status = 'unknown'), 0::bigint, 'all are settled');
SELECT is(string_agg(format('%s %s %s %s %s %s', b.sent, b.failed, b.unknown, b.cancelled, b.open, b.holds), ''), '1 1 8 0 20 t', 'a settled one stays what its step''s outcome was') FROM entrestate.sender_balance(pg_temp.campaign('set')) b;

-- ---------------------------------------------------------------- what is certain to follow
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('sure ' || x, '{email 0,sms 10 days,email 10 days}'), pg_temp.certain('sure ' || x, x), flow.lead('sure ' || x, 'ann', 'ann@example.com')
FROM unnest('{hard_bounce,open,reply,auto_reply,resubmission,chat,call_request,opt_out,complaint}'::text[]) x \g /dev/null
SELECT flow.process('sure ' || x, '2026-01-05T10:00:01Z') FROM unnest('{hard_bounce,open,reply,auto_reply,resubmission,chat,call_request,opt_out,complaint}'::text[]) x \g /dev/null
SELECT flow.at('2026-01-14T10:00:00Z') \g /dev/null
CREATE TEMP TABLE sure AS SELECT x, entrestate.sandbox_report_tenant(pg_temp.tenant('sure ' || x)) AS n FROM unnest('{hard_bounce,open,reply,auto_reply,resubmission,chat,call_request,opt_out,complaint}'::text[]) x;
SELECT is((SELECT n FROM sure WHERE sure.x = v.x) || ': ' || flow.story('sure ' || v.x, 'ann') || '; ' || pg_temp.signals('sure ' || v.x, 'ann') || '; ' || pg_temp.lead('sure ' || v.x, 'ann'), v.says, 'certain: ' || v.x)
FROM (VALUES
  ('hard_bounce', '1: run.started, step.sent 0, bounced 0; none; RISK, email unusable, email suppressed for hard_bounce'),
  ('open', '2: run.started, step.sent 0, delivered 0, opened 0; open; EXPLORING'),
  ('reply', '2: run.started, step.sent 0, suppressed_replied (replied), delivered 0, replied 0; reply; READY, replied'),
  ('auto_reply', '2: run.started, step.sent 0, delivered 0; auto_reply; NOISE'),
  ('resubmission', '2: run.started, step.sent 0, delivered 0; form_resubmission; EXPLORING'),
  ('chat', '2: run.started, step.sent 0, delivered 0; chat_message; EXPLORING'),
  ('call_request', '2: run.started, step.sent 0, suppressed_hot (hot), delivered 0; call_request; READY, hot'),
  ('opt_out', '2: run.started, step.sent 0, suppressed_opt_out (opted_out), delivered 0, unsubscribed 0; none; RISK, opted out, email suppressed for opt_out, sms suppressed for opt_out, whatsapp suppressed for opt_out'),
  ('complaint', '2: run.started, step.sent 0, suppressed_opt_out (complained), delivered 0, complained 0; none; RISK, complained, email suppressed for complaint')) v(x, says);
SELECT is(entrestate.sandbox_report_tenant(pg_temp.tenant('sure open')), 0, 'again: nothing is left');
-- its next step, an SMS, tells nobody that it was read
SELECT flow.process('sure open', '2026-01-15T10:00:01Z') \g /dev/null
SELECT is((SELECT string_agg(c.what, ', ' ORDER BY c.due_at) FROM entrestate.sandbox_callbacks c WHERE c.tenant_id = pg_temp.tenant('sure open')), 'delivered', 'nobody knows whether an SMS was read');
-- a hard bounce is of the address that was written to
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('moved', '{email 0,email 10 days}'), pg_temp.certain('moved', 'hard_bounce'), flow.lead('moved', 'ann', 'old@example.com'), flow.process('moved', '2026-01-05T10:00:01Z') \g /dev/null
SELECT flow.enter('moved'), entrestate.lead_contact_add(flow.id('moved', 'ann'), 'email', 'new@example.com', true), flow.at('2026-01-05T12:00:00Z'), entrestate.sandbox_report_tenant(pg_temp.tenant('moved')) \g /dev/null
SELECT is((SELECT string_agg(c.address_norm || coalesce(' ' || c.unusable_reason, ''), ', ' ORDER BY 1) FROM entrestate.lead_contacts c WHERE c.lead_id = flow.id('moved', 'ann') AND c.kind = 'email'),
  'new@example.com, old@example.com hard_bounce', 'a hard bounce is of the address that was written to');

-- ---------------------------------------------------------------- the rates, over 20,000 messages of one seed
CREATE TEMP TABLE drawn AS SELECT i, f.what, f.due_at, f.due_at - '2026-01-05T10:00:00Z'::timestamptz AS after
FROM generate_series(1, 20000) i, entrestate.sandbox_foretell(42, entrestate.sandbox_odds(entrestate.sandbox_rates()), 'email', format('lead%s@example.com', i), 'Lakeside', i % 3, 0, '2026-01-05T10:00:00Z') f;
SELECT is((SELECT string_agg(format('%s %s', d.what, d.n), ', ' ORDER BY d.n DESC, d.what) FROM (SELECT what, count(*) AS n FROM drawn GROUP BY 1) d), 'sent 19698, delivered 19332, opened 7813, clicked 2983, replied 1573, chat_message 781, form_resubmission 594, auto_replied 590, unsubscribed 418, call_request 404, bounced 366, refused 200, unknown 102, settled_sent 91, complained 27, settled_failed 11', 'what becomes of 20,000 messages of seed 42');
-- within four standard deviations
SELECT ok(abs(c.n - v.rate * v.of) < 4 * sqrt(v.of * v.rate * (1 - v.rate)), format('%s: %s of %s, %s', v.what, c.n, v.of, v.rate))
FROM (SELECT (SELECT count(*) FROM drawn WHERE what = 'sent') AS sent) s CROSS JOIN LATERAL (VALUES ('refused', 20000, 0.01), ('unknown', 20000, 0.005), ('opened', s.sent, 0.40), ('clicked', s.sent, 0.15),
  ('replied', s.sent, 0.08), ('auto_replied', s.sent, 0.03), ('form_resubmission', s.sent, 0.03), ('chat_message', s.sent, 0.04), ('call_request', s.sent, 0.02), ('unsubscribed', s.sent, 0.02),
  ('bounced', s.sent, 0.02), ('complained', s.sent, 0.001), ('delivered', s.sent, 0.98)) v(what, of, rate) CROSS JOIN LATERAL (SELECT count(*) AS n FROM drawn d WHERE d.what = v.what) c;
SELECT is((SELECT count(*) FROM drawn WHERE what NOT IN ('sent', 'refused', 'unknown') AND after < '1 second'), 0::bigint, 'everything follows the send');
SELECT is((SELECT count(*) FROM drawn d JOIN drawn b ON b.i = d.i AND b.what IN ('bounced', 'refused') WHERE d.what NOT IN ('sent', 'bounced', 'refused')), 0::bigint, 'nothing follows a hard bounce or a refusal');
SELECT is((SELECT count(*) FROM drawn c WHERE c.what = 'clicked' AND NOT EXISTS (SELECT FROM drawn o WHERE o.i = c.i AND o.what = 'opened' AND o.due_at < c.due_at)), 0::bigint, 'a click has its open before it');
SELECT is((SELECT count(*) FROM drawn d JOIN drawn o ON o.i = d.i AND o.what IN ('opened', 'clicked') AND o.due_at >= d.due_at WHERE d.what IN ('replied', 'chat_message', 'form_resubmission', 'call_request', 'unsubscribed', 'complained')), 0::bigint,
  'what a person does comes after the open');
SELECT ok((SELECT bool_or(o.i IS NULL) AND bool_or(o.i IS NOT NULL) FROM drawn r LEFT JOIN drawn o ON o.i = r.i AND o.what = 'opened' WHERE r.what = 'replied'), 'a reply comes after an open or without');
SELECT is((SELECT count(*) FROM drawn d WHERE d.what LIKE 'settled%' AND NOT EXISTS (SELECT FROM drawn u WHERE u.i = d.i AND u.what = 'unknown')), 0::bigint, 'only what is unknown is settled');
SELECT is((SELECT count(*) FROM drawn WHERE what LIKE 'settled%' AND after >= '72 hours'), 0::bigint, 'within the report window');
-- a draw depends on everything that a message is by its contents
SELECT is(count(DISTINCT entrestate.sandbox_draw(v.seed, v.address, v.campaign, v.step, v.attempt, v.what)), count(*), 'draws differ by each of their parts')
FROM (VALUES (1::bigint, 'a', 'c', 0, 0, 'opened'), (2, 'a', 'c', 0, 0, 'opened'), (1, 'b', 'c', 0, 0, 'opened'), (1, 'a', 'd', 0, 0, 'opened'), (1, 'a', 'c', 1, 0, 'opened'), (1, 'a', 'c', 0, 1, 'opened'), (1, 'a', 'c', 0, 0, 'clicked'),
  (1, 'ac', '', 0, 0, 'opened'), (1, '', 'ac', 0, 0, 'opened')) v(seed, address, campaign, step, attempt, what);

-- ---------------------------------------------------------------- two tenants with one seed and the same leads
SELECT flow.at('2026-01-05T10:00:00Z') \g /dev/null
CREATE FUNCTION pg_temp.twin(name text, seed bigint, backwards boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.make(name, '{email 0,sms 1 day,email 3 days}'), entrestate.sandbox_set(seed, '{"refusal": 0.05, "unknown": 0.05, "hard_bounce": 0.1, "complaint": 0.02, "opt_out": 0.05}');
  -- ids are in the order of creation, so that the twins' differ in it
  PERFORM entrestate.lead_create('l' || i, format('twin%s@example.com', i), '+1416555' || lpad(i::text, 4, '0'), campaign => pg_temp.campaign(name))
  FROM (SELECT i FROM generate_series(1, 150) i ORDER BY CASE WHEN backwards THEN -i ELSE i END) u;
END
$$;
SELECT pg_temp.twin('castor', 99, false), pg_temp.twin('pollux', 99, true), pg_temp.twin('helen', 100, false) \g /dev/null
DO $$
BEGIN
  FOR i IN 0 .. 20 LOOP
    PERFORM flow.at('2026-01-05T10:00:01Z'::timestamptz + i * interval '12 hours');
    PERFORM entrestate.sandbox_report_tenant(t.tenant), flow.process(t.name) FROM flow.tenant t WHERE t.name IN ('castor', 'pollux', 'helen') ORDER BY t.name;
  END LOOP;
END
$$;
-- a lead's events in their order, without ids and the clock on the wall
CREATE FUNCTION pg_temp.events(name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws('|', l.full_name, x.no, e.recorded_at, y.name, e.run_seq, e.step, e.attempt, e.mode, e.channel, e.reason, e.decided_at, e.next_at, e.score, e.hot), chr(10) ORDER BY l.full_name, x.no)
  FROM entrestate.leads l CROSS JOIN LATERAL (SELECT v.id, row_number() OVER (ORDER BY v.recorded_at, v.id) AS no FROM entrestate.sender_events v WHERE v.tenant_id = l.tenant_id AND v.lead_id = l.lead_id) x
  JOIN entrestate.sender_events e ON e.tenant_id = l.tenant_id AND e.lead_id = l.lead_id AND e.id = x.id JOIN entrestate.sender_event_types() y ON y.code = e.type WHERE l.tenant_id = pg_temp.tenant($1) $$;
CREATE FUNCTION pg_temp.all_signals(name text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws('|', l.full_name, s.signal_no, s.recorded_at, s.occurred_at, s.kind, s.score, s.counted, s.hot), chr(10) ORDER BY l.full_name, s.signal_no)
  FROM entrestate.intent_signals s JOIN entrestate.leads l USING (tenant_id, lead_id) WHERE s.tenant_id = pg_temp.tenant($1) $$;
SELECT cmp_ok(length(pg_temp.events('castor')), '>', 20000, 'the twins have a history');
SELECT is((SELECT count(DISTINCT e.type) FROM entrestate.sender_events e WHERE e.tenant_id = pg_temp.tenant('castor') AND e.type IN (10, 12, 15, 40, 42, 43, 44, 45, 46, 47, 48)), 11::bigint, 'of every kind');
SELECT is(md5(pg_temp.events('pollux')), md5(pg_temp.events('castor')), 'one seed and the same leads: identical events apart from ids');
SELECT is(md5(pg_temp.all_signals('pollux')), md5(pg_temp.all_signals('castor')), 'and signals');
SELECT isnt(md5(pg_temp.events('helen')), md5(pg_temp.events('castor')), 'another seed: others');
SELECT is((SELECT count(*) FROM (SELECT r.campaign_id, r.lead_id FROM entrestate.sender_runs r WHERE r.tenant_id = pg_temp.tenant('castor')) r CROSS JOIN LATERAL (SELECT flow.enter('castor')) x
  WHERE entrestate.sender_replay(r.campaign_id, r.lead_id) -> 'differs' <> '{}'), 0::bigint, 'sender_replay() equals every row');
SELECT flow.enter('castor') \g /dev/null
SELECT ok(bool_and(b.holds) AND min(b.failed) > 0 AND min(b.unknown) > 0, 'the balance is exact') FROM entrestate.sender_balance() b;
-- order per lead: what happened is recorded in its order
SELECT is((SELECT count(*) FROM (SELECT e.decided_at < lag(e.decided_at) OVER (PARTITION BY e.lead_id ORDER BY e.recorded_at, e.id) AS back FROM entrestate.sender_events e
  WHERE e.tenant_id = pg_temp.tenant('castor') AND e.run_seq IS NULL) x WHERE x.back), 0::bigint, 'a lead''s reports come in in their order');
SELECT is((SELECT string_agg(law || ' ' || object || ' ' || detail, E'\n') FROM entrestate.verify() WHERE object !~ '^role '), NULL, 'verify() finds nothing');

-- ---------------------------------------------------------------- and it finds what is wrong with intents and reports
CREATE FUNCTION pg_temp.broken(tenant text, name text, table_name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found text;
BEGIN
  BEGIN
    PERFORM broken.tamper(table_name, replace(statement, 'OWN', format('lead_id = %L', flow.id(tenant, name))));
    SELECT string_agg(replace(v.object, entrestate.run_id(pg_temp.campaign(tenant), flow.id(tenant, name)), 'RUN') || ' ' || v.detail, ', ' ORDER BY 1) INTO found
    FROM entrestate.sender_verify() v WHERE v.law = 'L5';
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    RETURN found;
  END;
END
$$;
SELECT is(pg_temp.broken(tenant, name, tables, statement), found, found) FROM (VALUES
  ('set', 'unsure2', 'sender_events', 'DELETE FROM %s WHERE OWN AND type = 48', 'intent RUN/0/0 an event says that it was unknown, but it is failed'),
  ('set', 'unsure2', 'sender_events', 'UPDATE %s SET reason = NULL WHERE OWN AND type = 48', 'intent RUN/0/0 an event says that it was sent, but it is failed'),
  ('set', 'unsure1', 'sender_intents', 'UPDATE %s SET status = ''unknown'' WHERE OWN', 'intent RUN/0/0 an event says that it was sent, but it is unknown'),
  ('set', 'unsure1', 'sender_intents', 'UPDATE %s SET status = ''voided'' WHERE OWN', 'intent RUN/0/0 an event says that it was sent, but it is voided'),
  ('set', 'refused', 'sender_intents', 'UPDATE %s SET status = ''sent'' WHERE OWN', 'intent RUN/0/0 an event says that it was failed, but it is sent'),
  ('set', 'refused', 'sender_events', 'UPDATE %s SET type = 11 WHERE OWN AND type = 12', 'intent RUN/0/0 is failed, but no event says so'),
  ('door', 'delivered', 'sender_events', 'UPDATE %s SET attempt = 7 WHERE OWN AND type = 40', 'intent RUN/0/7 sender.delivered was reported of a message that was never sent'),
  ('door', 'delivered', 'sender_intents', 'UPDATE %s SET started_at = NULL WHERE OWN', 'intent RUN/0/0 sender.delivered was reported of a message that was never sent'),
  ('door', 'delivered', 'sender_events', 'INSERT INTO %s (tenant_id, lead_id, recorded_at, campaign_id, type, step, attempt, mode) SELECT tenant_id, lead_id, recorded_at, campaign_id, type, step, attempt, mode FROM entrestate.sender_events WHERE OWN AND type = 40',
    'intent RUN/0/0 sender.delivered was reported 2 times')) v(tenant, name, tables, statement, found);
SELECT finish();
ROLLBACK;
