-- The specification of the sender, section 7, sentence by sentence: scores, the latch, directions.
-- What stands in double quotes is the specification's; expected numbers are worked out by hand.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

-- A tenant per rule; leads by name; signals as "kind@offset[#reference]", from the instant that the clock shows.
CREATE FUNCTION pg_temp.lead(tenant text, name text) RETURNS uuid LANGUAGE plpgsql AS $$
BEGIN
  RETURN flow.lead(tenant, name, format('%s@example.com', replace(name, ' ', '.')), NULL);
END
$$;
CREATE FUNCTION pg_temp.signal(tenant text, name text, spec text) RETURNS record LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  PERFORM flow.enter(tenant);
  SELECT * INTO r FROM entrestate.signal_add(flow.id(tenant, name), substring(spec, '^[a-z_]+'),
    entrestate.clock_now() + coalesce(substring(spec, '@([^#]*)')::interval, '0'), NULL, substring(spec, '#(.*)'));
  RETURN r;
END
$$;
-- all at once
CREATE FUNCTION pg_temp.batch(tenant text, name text, specs text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  PERFORM entrestate.signals_add(array_agg(flow.id(tenant, name)), array_agg(substring(s, '^[a-z_]+') ORDER BY o),
    array_agg(entrestate.clock_now() + coalesce(substring(s, '@([^#]*)')::interval, '0') ORDER BY o), NULL,
    array_agg(substring(s, '#(.*)') ORDER BY o))
  FROM unnest(specs) WITH ORDINALITY u(s, o);
END
$$;
CREATE FUNCTION pg_temp.score(tenant text, name text) RETURNS integer LANGUAGE sql AS $$
  SELECT s.score FROM entrestate.lead_scores s WHERE s.lead_id = flow.id($1, $2)
$$;
CREATE FUNCTION pg_temp.got(tenant text, name text) RETURNS entrestate.leads LANGUAGE sql AS $$
  SELECT l FROM entrestate.leads l WHERE l.lead_id = flow.id($1, $2)
$$;

-- ---------------------------------------------------------------- the sum
CREATE TABLE pg_temp.sums (no serial, quote text, what text, signals text[], score integer);
INSERT INTO pg_temp.sums (quote, what, signals, score) VALUES
  ('Signals are weighted and summed over a window (30 days)', 'nothing is 0', '{}', NULL),
  ('open 1', 'one', '{open}', 1),
  ('click 3', 'one', '{click}', 3),
  ('chat message 4', 'one', '{chat_message}', 4),
  ('form resubmission 9', 'one', '{form_resubmission}', 9),
  ('reply 12', 'one', '{reply}', 12),
  ('call or visit request 21', 'a call', '{call_request}', 21),
  ('call or visit request 21', 'a visit', '{visit_request}', 21),
  ('Signals are weighted and summed', 'one of each, hours apart: 1 + 3 + 4 + 9 + 12 + 21 + 21',
    '{open@-9 h,click@-8 h,chat_message@-7 h,form_resubmission@-6 h,reply@-5 h,call_request@-4 h,visit_request@-3 h}', 71),
  -- once per message
  ('once per message', 'the same message opened twice', '{open@-2 h#m1,open@-1 h#m1}', 1),
  ('once per message', 'and thrice', '{open@-3 h#m1,open@-2 h#m1,open@-1 h#m1}', 1),
  ('once per message', 'clicked thrice', '{click@-3 h#m1,click@-2 h#m1,click@-1 h#m1}', 3),
  ('once per message', 'two messages opened', '{open@-2 h#m1,open@-1 h#m2}', 2),
  ('once per message', 'an open and a click of one message are two things: 1 + 3', '{open@-2 h#m1,click@-1 h#m1}', 4),
  ('once per message', 'a reference is its bytes', '{open@-2 h#m1,open@-1 h#M1}', 2),
  ('once per message', 'without a reference nobody knows the message', '{open@-2 h,open@-1 h}', 2),
  ('known machine fetches not at all', 'of an open and a click', '{machine_open@-2 h,machine_click@-1 h}', 0),
  ('known machine fetches not at all', 'a machine''s does not keep the person''s from counting', '{machine_open@-2 h#m1,open@-1 h#m1}', 1),
  ('automatic replies 0', 'two of them', '{auto_reply@-2 h,auto_reply@-1 h}', 0),
  -- rapid interaction
  ('rapid interaction 6 (three signals within ten minutes', 'three chats: 12 + 6', '{chat_message@-9 min,chat_message@-5 min,chat_message}', 18),
  ('three signals within ten minutes', 'ten minutes to the microsecond are within', '{chat_message@-10 min,chat_message@-5 min,chat_message}', 18),
  ('three signals within ten minutes', 'a microsecond more is not', '{chat_message@-10 min -0.000001 s,chat_message@-5 min,chat_message}', 12),
  ('three signals within ten minutes', 'two are no burst', '{chat_message@-1 min,chat_message}', 8),
  ('three signals within ten minutes', 'at one instant', '{open#m1,open#m2,open#m3}', 9),
  ('three signals within ten minutes', 'of three kinds: 1 + 3 + 4 + 6', '{open@-3 min#m1,click@-2 min#m1,chat_message}', 14),
  ('three signals within ten minutes', 'four with gaps of six minutes: no three are within ten', '{open@-18 min,open@-12 min,open@-6 min,open}', 4),
  ('three signals within ten minutes', 'the last three of five are, the burst is one: 5 + 6',
    '{open@-20 min,open@-12 min,open@-4 min,open@-2 min,open}', 11),
  ('three signals within ten minutes', 'a machine''s is none of the three', '{chat_message@-5 min,machine_open@-3 min,chat_message}', 8),
  ('three signals within ten minutes', 'nor an automatic reply', '{chat_message@-5 min,auto_reply@-3 min,chat_message}', 8),
  ('three signals within ten minutes', 'nor the same message once more', '{open@-5 min#m1,open@-3 min#m1,open#m1}', 1),
  ('once per burst', 'six opens within six minutes: 6 + 6', '{open@-6 min,open@-5 min,open@-4 min,open@-3 min,open@-2 min,open@-1 min}', 12),
  ('once per burst', 'two bursts, an hour between: 6 + 12', '{open@-66 min,open@-65 min,open@-64 min,open@-6 min,open@-5 min,open@-4 min}', 18),
  ('once per burst', 'ten minutes'' silence do not end a burst: 6 + 6', '{open@-14 min,open@-13 min,open@-12 min,open@-2 min,open@-1 min,open}', 12),
  ('once per burst', 'a second more does: 6 + 12', '{open@-14 min -1 s,open@-13 min -1 s,open@-12 min -1 s,open@-2 min,open@-1 min,open}', 18),
  ('once per burst', 'an hour of opens, two minutes apart, is one burst: 31 + 6',
    (SELECT array_agg(format('open@-%s min', 60 - 2 * i) ORDER BY i) FROM generate_series(0, 30) i), 37),
  -- the window
  ('over a window (30 days)', 'a microsecond within', '{click@-29 days -23:59:59.999999}', 3),
  ('over a window (30 days)', 'thirty days ago to the microsecond is outside', '{click@-30 days}', 0),
  ('over a window (30 days)', 'what comes late counts by when it was', '{click@-31 days,call_request@-400 days}', 0),
  ('over a window (30 days)', 'a burst over the window''s edge is what is within: 2', '{open@-30 days -1 min,open@-29 days -23:59,open@-29 days -23:58}', 2),
  ('over a window (30 days)', 'a burst just within: 3 + 6', '{open@-29 days -23:59,open@-29 days -23:58,open@-29 days -23:57}', 9),
  ('Signals are weighted and summed', 'what has not been yet is now', '{click@1 day}', 3),
  ('Signals are weighted and summed', 'three in the future are a burst now: 9 + 6', '{click@1 day,click@2 days,click@3 days}', 15);
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('sum', '{email 0}') \g /dev/null
SELECT pg_temp.lead('sum', 'l' || no), pg_temp.lead('sum', 'b' || no), pg_temp.lead('sum', 'r' || no) FROM pg_temp.sums \g /dev/null
SELECT pg_temp.signal('sum', 'l' || no, s) FROM pg_temp.sums, unnest(signals) WITH ORDINALITY u(s, o) ORDER BY no, o \g /dev/null
SELECT pg_temp.batch('sum', 'b' || no, signals) FROM pg_temp.sums WHERE signals <> '{}' \g /dev/null
SELECT pg_temp.signal('sum', 'r' || no, s) FROM pg_temp.sums, unnest(signals) WITH ORDINALITY u(s, o) ORDER BY no, o DESC \g /dev/null
SELECT is(pg_temp.score('sum', 'l' || no), score, format('"%s": %s', quote, what)) FROM pg_temp.sums ORDER BY no;
SELECT is(pg_temp.score('sum', 'b' || no), score, format('"%s", in one call: %s', quote, what)) FROM pg_temp.sums ORDER BY no;
SELECT is(pg_temp.score('sum', 'r' || no), score, format('"%s", the last first: %s', quote, what)) FROM pg_temp.sums ORDER BY no;
-- what the API says is the sum too
SELECT is((SELECT (x ->> 'score', x ->> 'rapidInteraction', jsonb_array_length(x -> 'signals'))::text FROM flow.enter('sum'), entrestate.lead_score(l.lead) x),
  '(14,6,3)', '"rapid interaction 6": lead_score() says what the score is made of') FROM flow.lead l WHERE l.tenant = 'sum'
  AND l.name = (SELECT 'l' || no FROM pg_temp.sums WHERE what LIKE 'of three kinds%');

-- more than a page of them
SELECT pg_temp.lead('sum', 'busy') \g /dev/null
SELECT pg_temp.batch('sum', 'busy', array_agg(format('open@-%s h', 40 - i / 30) ORDER BY i)) FROM generate_series(0, 1199) i \g /dev/null
SELECT is(s.score, 1000 + 34 * 6, '"summed": of 1,200 signals in 40 bursts the newest 1,000 count, in the 34 bursts that they have')
FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('sum', 'busy');
SELECT is((s.signal_count, (SELECT count(*) FROM entrestate.intent_signals x WHERE x.lead_id = s.lead_id))::text, '(1200,1200)', 'and all are kept')
FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('sum', 'busy');

-- which are the newest does not depend on who came first
SELECT pg_temp.lead('sum', 'full'), pg_temp.lead('sum', 'ties'), pg_temp.lead('sum', 'sties') \g /dev/null
SELECT pg_temp.batch('sum', 'full', array_agg(format('open@-%s h', 1 + i / 4) ORDER BY i)) FROM generate_series(0, 999) i \g /dev/null
SELECT is(pg_temp.score('sum', 'full'), 1000 + 250 * 6, '"summed": a thousand in 250 bursts');
SELECT pg_temp.signal('sum', 'full', 'call_request@-20 days') \g /dev/null
SELECT is(pg_temp.score('sum', 'full'), 1000 + 250 * 6, '"summed": one that is older than the newest thousand adds nothing');
SELECT pg_temp.batch('sum', 'ties', array_agg(CASE WHEN i % 2 = 0 THEN 'open' ELSE 'chat_message' END ORDER BY i)) FROM generate_series(0, 1199) i \g /dev/null
SELECT pg_temp.batch('sum', 'sties', array_agg(CASE WHEN i < 600 THEN 'chat_message' ELSE 'open' END ORDER BY i)) FROM generate_series(0, 1199) i \g /dev/null
SELECT is((pg_temp.score('sum', 'ties'), pg_temp.score('sum', 'sties'))::text, '(2806,2806)', '"summed": of 1,200 at one instant the last thousand by kind, in whichever order: 600 * 4 + 400 + 6');

-- the function itself, at its edges: kinds in order of time, weights 1 to 8, a window of an hour
SELECT is(entrestate.score_of('{1,2,4,8,16,32,64,128}', 3600000000, k::smallint[], t, '2026-01-31T12:00:00Z'), score, '"the score is a function of (signals, weights version, instant)": ' || what)
FROM (VALUES ('no signals', '{}', '{}'::timestamptz[], 0), ('an hour ago is outside', '{1}', '{2026-01-31T11:00:00Z}', 0), ('a microsecond less is within', '{1}', '{2026-01-31T11:00:00.000001Z}', 1),
  ('each kind its weight', '{1,2,3,5,6,7,8}', '{2026-01-31T11:01Z,2026-01-31T11:10Z,2026-01-31T11:19Z,2026-01-31T11:28Z,2026-01-31T11:37Z,2026-01-31T11:46Z,2026-01-31T11:55Z}', 247),
  ('a burst is of those within', '{1,1,1,1}', '{2026-01-31T11:00Z,2026-01-31T11:00Z,2026-01-31T11:01Z,2026-01-31T11:02Z}', 2),
  ('a burst of four, its first outside', '{1,1,1,1}', '{2026-01-31T11:00Z,2026-01-31T11:01Z,2026-01-31T11:02Z,2026-01-31T11:03Z}', 11)) v(what, k, t, score);

-- ---------------------------------------------------------------- machines
CREATE TABLE pg_temp.agents (agent text, seconds numeric, method text, machine boolean);
INSERT INTO pg_temp.agents VALUES
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36', 30, 'GET', false),
  ('Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148', 30, 'GET', false),
  ('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)', 30, 'GET', false),
  ('Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)', 30, 'GET', false),
  ('Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; Microsoft Outlook 16.0.5134; ms-office; MSOffice 16)', 30, 'GET', false),
  ('Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.9.0', 30, 'GET', false),
  ('Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/20A362 [FBAN/FBIOS;FBAV/385.0.0.24.109]', 30, 'GET', false),
  -- a telephone's name, and a person in an application's own browser
  ('Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/96.0.4664.45 Mobile Safari/537.36', 30, 'GET', false),
  ('Mozilla/5.0 (Linux; Android 13; SM-A536B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Mobile Safari/537.36 Telegram-Android/10.3.2 (Samsung SM-A536B; Android 13; SDK 33; AVERAGE)', 30, 'GET', false),
  (NULL, NULL, NULL, false),
  (NULL, 2, 'POST', false),
  -- each rule
  ('Mozilla/5.0', 30, 'GET', true),
  (' Mozilla/5.0 ', 30, 'GET', true),
  ('', 30, 'GET', true),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 1.999, 'GET', true),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 2, 'GET', false),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 0, 'GET', true),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 30, 'HEAD', true),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 30, 'options', true),
  ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0.0.0 Safari/537.36', 30, 'get', false),
  ('Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)', 30, 'GET', true),
  ('Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)', 30, 'GET', true),
  ('Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b', 30, 'GET', true),
  ('TelegramBot (like TwitterBot)', 30, 'GET', true),
  ('WhatsApp/2.23.20.0 A', 30, 'GET', true),
  ('facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)', 30, 'GET', true),
  ('Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)', 30, 'GET', true),
  ('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/119.0.0.0 Safari/537.36', 30, 'GET', true),
  ('python-requests/2.31.0', 30, 'GET', true),
  ('curl/8.4.0', 30, 'GET', true),
  ('Go-http-client/2.0', 30, 'GET', true),
  ('Java/17.0.8', 30, 'GET', true),
  ('Apache-HttpClient/4.5.14 (Java/11.0.20)', 30, 'GET', true),
  ('Barracuda Sentinel (EE)', 30, 'GET', true),
  ('Mozilla/5.0 (compatible; Proofpoint URL Defense)', 30, 'GET', true),
  ('SkypeUriPreview Preview/0.5', 30, 'GET', true);
SELECT is(entrestate.open_is_machine(agent, seconds, method), machine, format('"known machine fetches not at all": %s, %s s, %s', coalesce(agent, 'no agent'), seconds, method))
FROM pg_temp.agents;

CREATE TABLE pg_temp.headers (headers jsonb, subject text, automatic boolean);
INSERT INTO pg_temp.headers VALUES
  ('{"From": "ann@example.com", "In-Reply-To": "<1@example.com>"}', 'Re: The two bedroom flat', false),
  (NULL, NULL, false),
  ('{}', '', false),
  ('{"Auto-Submitted": "no"}', 'Re: Hello', false),
  ('{"auto-submitted": " No "}', 'Re: Hello', false),
  ('{"Auto-Submitted": "auto-replied"}', 'Re: Hello', true),
  ('{"AUTO-SUBMITTED": "auto-generated; x=y"}', NULL, true),
  ('{"Precedence": "bulk"}', 'Re: Hello', true),
  ('{"Precedence": "auto_reply"}', 'Re: Hello', true),
  ('{"Precedence": "first-class"}', 'Re: Hello', false),
  ('{"X-Autoreply": "yes"}', 'Re: Hello', true),
  ('{"X-Autorespond": ""}', 'Re: Hello', true),
  ('{"X-Autoreply": "no"}', 'Re: Hello', false),
  ('{"Return-Path": "<>"}', 'Re: Hello', true),
  ('{"Return-Path": ""}', 'Re: Hello', true),
  ('{"Return-Path": "<ann@example.com>"}', 'Re: Hello', false),
  ('{"Content-Type": "multipart/report; report-type=delivery-status; boundary=x"}', 'Hello', true),
  ('{"Content-Type": "multipart/alternative; boundary=x"}', 'Hello', false),
  ('{"Auto-Submitted": null}', 'Re: Hello', false),
  ('[]', 'Re: Hello', false),
  ('"Auto-Submitted: auto-replied"', 'Re: Hello', false),
  (NULL, 'Automatic reply: The two bedroom flat', true),
  (NULL, 'Re: Automatic reply: The two bedroom flat', true),
  (NULL, 'Out of Office Re: hello', true),
  (NULL, 'AW: Abwesenheitsnotiz', true),
  (NULL, 'Réponse automatique : bonjour', true),
  (NULL, 'Undeliverable: hello', true),
  (NULL, 'Delivery Status Notification (Failure)', true),
  -- people write such things
  (NULL, 'Re: are you out of the office on Monday?', false),
  (NULL, 'I was out of office, sorry', false),
  (NULL, 'Please reply automatically with the floor plan', false);
SELECT is(entrestate.reply_is_automatic(headers, subject), automatic, format('"automatic replies 0": %s, %s', headers, subject)) FROM pg_temp.headers;

-- the evidence decides, whatever the caller calls it
SELECT pg_temp.lead('sum', 'evidence') \g /dev/null
SELECT flow.enter('sum') \g /dev/null
SELECT is((SELECT (x.outcome, x.score)::text FROM entrestate.signal_add(flow.id('sum', 'evidence'), 'open', evidence => '{"userAgent": "Mozilla/5.0"}') x), '(machine,0)', '"known machine fetches not at all": told by the agent');
SELECT is((SELECT (x.outcome, x.score)::text FROM entrestate.signal_add(flow.id('sum', 'evidence'), 'click', evidence => '{"secondsAfterDelivery": 1}') x), '(machine,0)', '"known machine fetches not at all": told by the time');
SELECT is((SELECT (x.outcome, x.score)::text FROM entrestate.signal_add(flow.id('sum', 'evidence'), 'click', evidence => '{"secondsAfterDelivery": "1"}') x), '(counted,3)', 'a number that is no number is no evidence');
SELECT is((SELECT (x.outcome, x.score)::text FROM entrestate.signal_add(flow.id('sum', 'evidence'), 'reply', evidence => '{"headers": {"Auto-Submitted": "auto-replied"}}') x), '(machine,3)', '"automatic replies 0": told by the header');
SELECT is((pg_temp.got('sum', 'evidence')).replied_at, NULL, '"automatic replies 0": such a one is no reply');

-- ---------------------------------------------------------------- settings
SELECT is((SELECT (s ->> 'version', s ->> 'windowSeconds', s ->> 'hotThreshold', s ->> 'warmingThreshold')::text FROM entrestate.score_settings_get() s), '(0,2592000,21,10)', '"Weights, window and thresholds are settings": until they are set they are version 0');
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('set', '{email 0}'), pg_temp.lead('set', 'ann'), pg_temp.lead('set', 'old'), pg_temp.signal('set', 'ann', 'click@-5 days'), pg_temp.signal('set', 'old', 'chat_message@-5 days') \g /dev/null
SELECT flow.enter('set') \g /dev/null
SELECT is(entrestate.score_settings_set('{"click": 7}'), 1, '"settings, versioned": the first');
SELECT is(entrestate.score_settings_set(warming_threshold => 7), 2, '"settings, versioned": the second');
SELECT is((SELECT (s -> 'weights' ->> 'click', s ->> 'warmingThreshold', s -> 'weights' ->> 'open')::text FROM entrestate.score_settings_get() s), '(7,7,1)', '"Weights, window and thresholds are settings": what is not named stays');
SELECT is((SELECT (s -> 'weights' ->> 'click', s ->> 'warmingThreshold')::text FROM entrestate.score_settings_get(1) s), '(7,10)', '"versioned": an old one can be read');
SELECT is(pg_temp.score('set', 'ann'), 3, '"a function of (signals, weights version, instant), stored with its instant": a score is not made anew by new weights alone');
SELECT is((SELECT (s.settings_version, s.score_at)::text FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('set', 'ann')), '(0,"2026-01-31 12:00:00+00")', '"stored with its instant", and the version it was made with');
SELECT flow.at('2026-02-01T12:00:00Z'), pg_temp.signal('set', 'ann', 'open') \g /dev/null
SELECT is((SELECT (s.score, s.settings_version, s.score_at)::text FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('set', 'ann')), '(8,2,"2026-02-01 12:00:00+00")', '"a function of (signals, weights version, instant)": the next signal makes it by the version in force: 7 + 1');
SELECT is((SELECT array_agg((x.score, x.settings_version)::text ORDER BY x.signal_no) FROM entrestate.intent_signals x WHERE x.lead_id = flow.id('set', 'ann')), '{"(3,0)","(8,2)"}', '"weights version": each signal says which');
SELECT is((pg_temp.got('set', 'ann')).direction, 'WARMING', '"thresholds are settings": 8 is warming where 7 is the threshold');
SELECT flow.enter('set'), entrestate.score_settings_set(score_window => '3 days'), flow.at('2026-02-01T13:00:00Z'), pg_temp.signal('set', 'ann', 'open'), pg_temp.signal('set', 'old', 'open') \g /dev/null
SELECT is((pg_temp.score('set', 'ann'), pg_temp.score('set', 'old'))::text, '(2,1)', '"window ... settings": three days leave the two opens, of the other lead one');
SELECT throws_ok(format('SELECT entrestate.score_settings_set(%s)', a), '22023', NULL, '"settings": not ' || a) FROM unnest(ARRAY[
  '''{"click": -1}''', '''{"click": 1.5}''', '''{"click": "3"}''', '''{"click": null}''', '''{"machine_open": 1}''', '''{"nonsense": 1}''', '''[]''', 'hot_threshold => 0',
  'warming_threshold => 22', 'warming_threshold => 0', 'hot_threshold => 5', 'score_window => ''59 minutes''', 'score_window => ''367 days''']) a;
SELECT is((SELECT max(version) FROM entrestate.score_settings s JOIN flow.tenant t ON t.tenant = s.tenant_id AND t.name = 'set'), 3, '"versioned": what was refused left none');

-- ---------------------------------------------------------------- the latch
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('hot', '{email 0,sms 3 days}'), pg_temp.lead('hot', 'ann'), pg_temp.lead('hot', 'bob'), pg_temp.lead('hot', 'cyd') \g /dev/null
SELECT pg_temp.batch('hot', 'ann', '{form_resubmission@-5 h,form_resubmission@-3 h}'), pg_temp.batch('hot', 'bob', '{form_resubmission@-5 h,form_resubmission@-3 h,open@-2 h}') \g /dev/null
SELECT is((pg_temp.score('hot', 'bob'), (pg_temp.got('hot', 'bob')).hot_at, (pg_temp.got('hot', 'bob')).direction)::text, '(19,,WARMING)', '"`hot_at` is set in the transaction whose signal takes the score to the threshold (21)": not before');
SELECT flow.at('2026-01-31T12:30:00Z') \g /dev/null
SELECT is(pg_temp.signal('hot', 'ann', 'click@-1 min')::text, '(counted,21,t)', '"takes the score to the threshold (21)": 9 + 9 + 3 do');
SELECT is((pg_temp.got('hot', 'ann')).hot_at, '2026-01-31T12:30:00Z', '"`hot_at` is set in the transaction": at its instant, whenever the lead did it');
SELECT is(pg_temp.signal('hot', 'bob', 'open@-1 h')::text, '(counted,20,f)', '"the threshold (21)": 20 is less');
SELECT is((pg_temp.got('hot', 'bob')).hot_at, NULL, '"the threshold (21)": and not hot');
SELECT is(pg_temp.signal('hot', 'bob', 'click@-31 days')::text, '(counted,20,f)', '"takes the score": what is older than the window takes it nowhere');
SELECT is(pg_temp.signal('hot', 'bob', 'machine_click@-1 min')::text, '(machine,20,f)', '"takes the score": nor does a machine');
SELECT is(pg_temp.signal('hot', 'bob', 'open@-45 min')::text, '(counted,21,t)', '"takes the score to the threshold (21)": 21 is enough');
SELECT flow.at('2026-01-31T13:00:00Z') \g /dev/null
SELECT is(pg_temp.signal('hot', 'ann', 'call_request')::text, '(counted,42,f)', '"Hot is a latch": a second time sets nothing');
SELECT is((pg_temp.got('hot', 'ann')).hot_at, '2026-01-31T12:30:00Z', '"Hot is a latch": it stays when it was');
SELECT is((SELECT array_agg(x.signal_no ORDER BY x.signal_no) FROM entrestate.intent_signals x WHERE x.lead_id = flow.id('hot', 'ann') AND x.hot), '{3}', '"whose signal": one signal of the lead says that it was the one');
SELECT is((SELECT count(*)::int FROM entrestate.audience_actions a WHERE a.lead_id = flow.id('hot', 'ann') AND a.type = 'lead.hot'), 1, '"Hot is a latch": one row says so');
-- by one signal of a batch
SELECT pg_temp.batch('hot', 'cyd', '{call_request@-1 h,visit_request@-2 h,reply}') \g /dev/null
SELECT is((SELECT array_agg(x.signal_no ORDER BY x.signal_no) FROM entrestate.intent_signals x WHERE x.lead_id = flow.id('hot', 'cyd') AND x.hot), '{1}', '"whose signal": the first of a batch that takes it there');
-- it stays
SELECT flow.at('2026-03-15T12:00:00Z') \g /dev/null
SELECT is(entrestate.scores_decay_tenant((SELECT tenant FROM flow.tenant WHERE name = 'hot')), 3, '"Decay": three scores fall');
SELECT is((pg_temp.score('hot', 'ann'), (pg_temp.got('hot', 'ann')).hot_at, (pg_temp.got('hot', 'ann')).direction)::text, '(0,"2026-01-31 12:30:00+00",READY)', '"Decay ... do not clear it"');
SELECT is(entrestate.scores_decay_tenant((SELECT tenant FROM flow.tenant WHERE name = 'hot')), 0, '"Decay": once is enough');
SELECT flow.enter('hot'), entrestate.score_settings_set('{"call_request": 0, "form_resubmission": 0}'), pg_temp.signal('hot', 'ann', 'open') \g /dev/null
SELECT isnt((pg_temp.got('hot', 'ann')).hot_at, NULL, '"later weights ... do not clear it"');
SELECT flow.enter('hot'), entrestate.score_settings_set(hot_threshold => 1000), pg_temp.signal('hot', 'ann', 'open') \g /dev/null
SELECT is((pg_temp.got('hot', 'ann')).hot_at, '2026-01-31T12:30:00Z', '"and a higher threshold do not clear it"');
SELECT flow.enter('hot'), entrestate.score_settings_set('{"call_request": 21, "form_resubmission": 9}', 21) \g /dev/null
-- until a person says so. The runs that began are over, and their tickets stand in the way.
SELECT throws_ok($$SELECT entrestate.lead_cool(flow.id('hot', 'cyd'), 'x')$$, '55000', NULL, '"with no ticket open": a ticket is')
FROM flow.enter('hot'), entrestate.handoff_open(flow.id('hot', 'cyd'), 'x');
SELECT throws_ok($$SELECT entrestate.lead_cool(flow.id('hot', 'cyd'), 'x')$$, '55000', NULL, '"with no ticket open": nor one that somebody has')
FROM entrestate.handoff_of(flow.id('hot', 'cyd')) h, entrestate.handoff_take(h.ticket_id) WHERE h.status = 'open';
SELECT entrestate.handoff_resolve(h.ticket_id, 'called') FROM entrestate.handoff_list('open') h \g /dev/null
SELECT entrestate.handoff_resolve(h.ticket_id, 'called') FROM entrestate.handoff_list('taken') h \g /dev/null
SELECT isnt((pg_temp.got('hot', 'cyd')).hot_at, NULL, 'a ticket that is resolved leaves the lead hot');
SELECT entrestate.member_add(r, r) FROM unnest('{admin,operator,closer,member,viewer}'::text[]) r \g /dev/null
CREATE FUNCTION pg_temp.as(who text) RETURNS void LANGUAGE sql AS $$ SELECT entrestate.login(t.tenant, $1) FROM flow.tenant t WHERE t.name = 'hot' $$;
SELECT throws_ok($$SELECT entrestate.lead_cool(flow.id('hot', 'cyd'), 'x')$$, '42501', NULL, '"by a person with that capability": not ' || r) FROM unnest('{operator,member,viewer}'::text[]) r, pg_temp.as(r);
SELECT throws_ok($$SELECT entrestate.lead_cool(flow.id('hot', 'cyd'), 'x')$$, 'P0002', NULL, '"by a person": not of another tenant') FROM flow.enter('sum');
SELECT throws_ok(format('SELECT entrestate.lead_cool(%L, %L)', flow.id('hot', 'cyd'), r), c, NULL, '"`lead_cool(lead, reason)`": a reason is needed') FROM flow.enter('hot'), (VALUES (NULL, '22004'), ('', '22023')) v(r, c);
SELECT is(entrestate.lead_cool(flow.id('hot', 'cyd'), 'wanted a job'), true, '"`lead_cool(lead, reason)` does, by a person with that capability": a closer') FROM pg_temp.as('closer');
SELECT is((pg_temp.score('hot', 'cyd'), (pg_temp.got('hot', 'cyd')).hot_at, (pg_temp.got('hot', 'cyd')).direction)::text, '(0,,NOISE)', '"`lead_cool(lead, reason)` does": the latch is clear');
SELECT is((SELECT (a.actor, a.detail ->> 'reason')::text FROM entrestate.audit_log a WHERE a.action = 'lead.cool' AND a.target_id = flow.id('hot', 'cyd')::text), '(closer,"wanted a job")', '"audited": who, and why');
SELECT is((SELECT count(*)::int FROM entrestate.audience_actions a WHERE a.type = 'lead.cooled' AND a.lead_id = flow.id('hot', 'cyd')), 1, '"audited": and among the actions');
SELECT is(entrestate.lead_cool(flow.id('hot', 'cyd'), 'again'), false, '"`lead_cool`": twice is once') FROM flow.enter('hot');
SELECT is((SELECT count(*)::int FROM entrestate.audit_log a WHERE a.action = 'lead.cool' AND a.target_id = flow.id('hot', 'cyd')::text), 1, '"audited": once');
SELECT flow.at('2026-03-16T12:00:00Z') \g /dev/null
SELECT is(pg_temp.signal('hot', 'cyd', 'reply')::text, '(counted,12,f)', '"`lead_cool`": what was before counts no more');
SELECT is(pg_temp.signal('hot', 'cyd', 'form_resubmission@-1 h')::text, '(counted,21,t)', '"Hot is a latch": it can close again');
SELECT is((SELECT count(*)::int FROM entrestate.intent_signals x WHERE x.lead_id = flow.id('hot', 'cyd') AND x.hot), 2, '"Hot is a latch": by another signal');

-- ---------------------------------------------------------------- a campaign's own
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('own', '{email 0,sms 3 days}'), pg_temp.lead('own', 'ann'), pg_temp.lead('own', 'bob') \g /dev/null
INSERT INTO flow.lead SELECT 'own', 'other', entrestate.lead_create('other', 'other@example.com') FROM flow.enter('own');
SELECT pg_temp.signal('own', n, 'reply') FROM unnest('{ann,other}'::text[]) n \g /dev/null
SELECT flow.enter('own'), flow.at('2026-01-31T13:00:00Z') \g /dev/null
CREATE FUNCTION pg_temp.campaign() RETURNS uuid LANGUAGE sql AS $$ SELECT campaign FROM flow.tenant WHERE name = 'own' $$;
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), hot_threshold => 22)$$, '22023', NULL, '"A campaign may lower the threshold ..., never loosen either": 22 is more than 21');
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), hot_threshold => 0)$$, '22023', NULL, '"lower the threshold": not to nothing');
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), warming_threshold => 11)$$, '22023', NULL, '"never loosen either": nor the warming one');
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), brake_index => 2)$$, '22023', NULL, '"or start the brake earlier, never loosen either": 2 is later than 1');
SELECT throws_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), brake_index => -1)$$, '22023', NULL, '"start the brake earlier": not before the first step');
SELECT lives_ok($$SELECT entrestate.agent_settings_set(pg_temp.campaign(), hot_threshold => 10, brake_index => 0)$$, '"A campaign may lower the threshold or start the brake earlier"');
SELECT is((pg_temp.got('own', 'ann')).hot_at, NULL, '"in the transaction whose signal takes the score to the threshold": a lower threshold alone is no signal');
SELECT is(pg_temp.signal('own', 'other', 'open')::text, '(counted,13,f)', '"A campaign may lower the threshold": not for leads that are not its own');
SELECT is(pg_temp.signal('own', 'ann', 'machine_open')::text, '(machine,12,f)', '"whose signal takes the score": a machine does not');
SELECT is(pg_temp.signal('own', 'ann', 'open')::text, '(counted,13,t)', '"A campaign may lower the threshold": its leads are hot at 10');
SELECT is((SELECT (s.status, s.cursor)::text FROM entrestate.sender_runs s WHERE s.lead_id = flow.id('own', 'bob')), '(pending,0)', 'a run that waits for its first step');
SELECT is(pg_temp.signal('own', 'bob', 'reply@-2 h')::text, '(counted,12,t)', '"lower the threshold": 12 are enough for the other one');
SELECT is((SELECT r.name FROM entrestate.sender_runs s JOIN entrestate.sender_reasons() r ON r.code = s.reason WHERE s.lead_id = flow.id('own', 'bob')), 'hot', '"start the brake earlier": before the first step');
SELECT lives_ok($$SELECT entrestate.score_settings_set(hot_threshold => 10, warming_threshold => 5)$$, 'the tenant goes below the campaign') FROM flow.enter('own');
SELECT lives_ok($$SELECT entrestate.score_settings_set(hot_threshold => 8)$$, 'and further');
SELECT pg_temp.lead('own', 'cyd') \g /dev/null
SELECT is(pg_temp.signal('own', 'cyd', 'form_resubmission')::text, '(counted,9,t)', '"never loosen": a campaign''s 10 does not go before the tenant''s 8');

-- ---------------------------------------------------------------- the grade
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('grade', '{email 0,sms 3 days}') \g /dev/null
SELECT pg_temp.lead('grade', 'g' || i) FROM generate_series(0, 5) i \g /dev/null
SELECT flow.enter('grade') \g /dev/null
SELECT entrestate.lead_update(flow.id('grade', 'g1'), grade => 'A'), entrestate.lead_update(flow.id('grade', 'g2'), grade => 'C'),
  entrestate.lead_grade_override(flow.id('grade', 'g3'), 'A', 'x'), entrestate.lead_grade_override(flow.id('grade', 'g4'), 'C', 'x'),
  entrestate.lead_update(flow.id('grade', 'g5'), grade => 'C'), entrestate.lead_grade_override(flow.id('grade', 'g5'), 'A', 'x') \g /dev/null
SELECT flow.process('grade') \g /dev/null
SELECT flow.process('grade', '2026-02-03T12:00:00Z') \g /dev/null
SELECT is(flow.story('grade', 'g' || i), flow.story('grade', 'g0'), '"The lead grade (A/B/C) and its override enter no gate": ' || i) FROM generate_series(1, 5) i;
SELECT is((SELECT array_agg(DISTINCT l.direction) FROM entrestate.leads l JOIN flow.tenant t ON t.tenant = l.tenant_id WHERE t.name = 'grade'), '{NOISE}', '"enter no gate": nor the direction');
SELECT matches(flow.story('grade', 'g0'), 'step.sent 0, step.skipped 1 \(missing_phone\), run.done', 'they went their way');

-- ---------------------------------------------------------------- directions
SELECT flow.at('2026-01-31T12:00:00Z'), flow.make('way', '{email 0,sms 3 days}') \g /dev/null
-- no campaign: no run, so no ticket that the sender opens
CREATE FUNCTION pg_temp.way(name text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
BEGIN
  PERFORM flow.enter('way');
  l := entrestate.lead_create(name, name || '@example.com');
  INSERT INTO flow.lead VALUES ('way', name, l);
  RETURN l;
END
$$;
CREATE FUNCTION pg_temp.dir(name text) RETURNS text LANGUAGE sql AS $$ SELECT l.direction FROM entrestate.leads l WHERE l.lead_id = flow.id('way', $1) $$;
-- each fact by itself, then every pair: the first of the list wins, in whichever order they come
CREATE FUNCTION pg_temp.do(name text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter('way');
  CASE what
    WHEN 'complained' THEN PERFORM entrestate.lead_complained(flow.id('way', name));
    WHEN 'opted out' THEN PERFORM entrestate.lead_opt_out(flow.id('way', name), 'email');
    WHEN 'hard bounce' THEN PERFORM entrestate.lead_bounced(flow.id('way', name), 'email', name || '@example.com', true);
    WHEN 'hot' THEN PERFORM pg_temp.signal('way', name, 'call_request');
    WHEN 'handoff' THEN PERFORM entrestate.handoff_open(flow.id('way', name), 'x');
    WHEN 'warming' THEN PERFORM pg_temp.signal('way', name, 'reply');
    WHEN 'signal' THEN PERFORM pg_temp.signal('way', name, 'open');
    WHEN 'machine' THEN PERFORM pg_temp.signal('way', name, 'machine_open');
    WHEN 'soft bounce' THEN PERFORM entrestate.lead_bounced(flow.id('way', name), 'email', name || '@example.com', false);
    WHEN 'erasure' THEN PERFORM entrestate.lead_erasure_request(flow.id('way', name));
  END CASE;
END
$$;
CREATE TABLE pg_temp.ways (rank integer, direction text, what text);
INSERT INTO pg_temp.ways VALUES (1, 'RISK', 'complained'), (1, 'RISK', 'opted out'), (1, 'RISK', 'hard bounce'), (2, 'READY', 'hot'), (2, 'READY', 'handoff'),
  (3, 'WARMING', 'warming'), (4, 'EXPLORING', 'signal'), (5, 'NOISE', 'machine'), (5, 'NOISE', 'soft bounce'), (5, 'NOISE', 'erasure');
SELECT pg_temp.way(translate(a.what || '.' || b.what, ' ', '_')), pg_temp.do(translate(a.what || '.' || b.what, ' ', '_'), a.what), pg_temp.do(translate(a.what || '.' || b.what, ' ', '_'), b.what)
FROM pg_temp.ways a, pg_temp.ways b WHERE a.what <> b.what \g /dev/null
SELECT is(pg_temp.dir(translate(a.what || '.' || b.what, ' ', '_')), CASE WHEN a.rank <= b.rank THEN a.direction ELSE b.direction END,
  format('"Direction, first match: RISK (complained, opted out, hard bounce), READY (hot or an open handoff), WARMING (score ≥ 10), EXPLORING (any signal in the window), NOISE": %s, then %s', a.what, b.what))
FROM pg_temp.ways a, pg_temp.ways b WHERE a.what <> b.what ORDER BY a.rank, a.what, b.rank, b.what;
SELECT pg_temp.way('none') \g /dev/null
SELECT is(pg_temp.dir('none'), 'NOISE', '"NOISE": of whom nothing is known');
SELECT pg_temp.way('nine'), pg_temp.signal('way', 'nine', 'form_resubmission') \g /dev/null
SELECT is(pg_temp.dir('nine'), 'EXPLORING', '"WARMING (score ≥ 10)": 9 is not');
SELECT pg_temp.signal('way', 'nine', 'open@-1 h') \g /dev/null
SELECT is(pg_temp.dir('nine'), 'WARMING', '"WARMING (score ≥ 10)": 10 is');
SELECT pg_temp.way('late'), pg_temp.signal('way', 'late', 'click@-31 days') \g /dev/null
SELECT is(pg_temp.dir('late'), 'NOISE', '"EXPLORING (any signal in the window)": one before the window is none');
SELECT pg_temp.way('ticket'), pg_temp.do('ticket', 'handoff') \g /dev/null
SELECT entrestate.handoff_resolve(h.ticket_id, 'x') FROM entrestate.handoff_of(flow.id('way', 'ticket')) h \g /dev/null
SELECT is(pg_temp.dir('ticket'), 'NOISE', '"READY (hot or an open handoff)": one that is resolved is not open');
SELECT pg_temp.way('back'), pg_temp.do('back', 'opted out'), pg_temp.do('back', 'signal') \g /dev/null
SELECT entrestate.lead_opt_in(flow.id('way', 'back'), 'email') \g /dev/null
SELECT is(pg_temp.dir('back'), 'EXPLORING', '"RISK (... opted out ...)": who comes back is what the signals say');
SELECT pg_temp.way('new.address'), pg_temp.do('new.address', 'hard bounce') \g /dev/null
SELECT entrestate.lead_contact_add(flow.id('way', 'new.address'), 'email', 'other.address@example.com', true) \g /dev/null
SELECT is(pg_temp.dir('new.address'), 'NOISE', '"RISK (... hard bounce)": another address is not that one');
-- fading: without and with the keeper of scores
SELECT flow.at('2026-03-02T12:00:00Z'), pg_temp.signal('way', 'signal.machine', 'machine_open') \g /dev/null
SELECT is((pg_temp.score('way', 'signal.machine'), pg_temp.dir('signal.machine'))::text, '(0,NOISE)', '"EXPLORING (any signal in the window)": when a machine comes after the window, what was is over');
SELECT pg_temp.signal('way', 'nine', 'open') \g /dev/null
SELECT is((pg_temp.score('way', 'nine'), pg_temp.dir('nine'))::text, '(1,EXPLORING)', '"in the window": when a person comes, only that');
SELECT entrestate.scores_decay_tenant((SELECT tenant FROM flow.tenant WHERE name = 'way')) \g /dev/null
SELECT is(pg_temp.dir(translate(what || '.machine', ' ', '_')), CASE direction WHEN 'WARMING' THEN 'NOISE' WHEN 'EXPLORING' THEN 'NOISE' ELSE direction END,
  '"Decay": after the window, ' || what) FROM pg_temp.ways WHERE rank < 5;
-- in part
SELECT pg_temp.way('part') \g /dev/null
SELECT flow.at('2026-03-03T12:00:00Z'), pg_temp.batch('way', 'part', '{reply@-20 days,open,open@-1 min,open@-2 min}') \g /dev/null
SELECT is((pg_temp.score('way', 'part'), pg_temp.dir('part'))::text, '(21,READY)', '12 + 3 + 6');
SELECT flow.at('2026-03-13T11:59:59.999999Z') \g /dev/null
SELECT is((SELECT count(*)::int FROM entrestate.lead_scores s WHERE s.lead_id = flow.id('way', 'part') AND s.expires_at <= entrestate.clock_now()), 0, '"Decay": a microsecond before the window''s end nothing is due');
SELECT flow.at('2026-03-13T12:00:00Z'), entrestate.scores_decay_tenant((SELECT tenant FROM flow.tenant WHERE name = 'way')) \g /dev/null
SELECT is((pg_temp.score('way', 'part'), pg_temp.dir('part'))::text, '(9,READY)', '"Decay": at its end the reply is out, the burst remains');
SELECT flow.at('2026-04-02T11:59:00Z'), entrestate.scores_decay_tenant((SELECT tenant FROM flow.tenant WHERE name = 'way')) \g /dev/null
SELECT is(pg_temp.score('way', 'part'), 1, '"Decay": two of the burst are out, so it is none');

-- ---------------------------------------------------------------- who may, and what cannot be
SELECT flow.enter('hot') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.signal_add(%s)', a), code, NULL, 'a signal is not ' || a) FROM (VALUES
  ('NULL, ''open''', 'P0002,22004'), ('flow.id(''hot'', ''ann''), NULL', '22004'), ('flow.id(''hot'', ''ann''), ''nonsense''', '22023'), ('flow.id(''hot'', ''ann''), ''rapid_interaction''', '22023'),
  ('flow.id(''hot'', ''ann''), ''cooled''', '22023'), ('flow.id(''hot'', ''ann''), ''merged''', '22023'), ('flow.id(''hot'', ''ann''), ''open'', ''infinity''', '22023'),
  ('flow.id(''hot'', ''ann''), ''open'', ''-infinity''', '22023'), ('flow.id(''hot'', ''ann''), ''open'', reference => ''''', '54000'),
  ('flow.id(''hot'', ''ann''), ''open'', reference => repeat(''x'', 256)', '54000'), ('flow.id(''sum'', ''l2''), ''open''', 'P0002'),
  ('flow.id(''hot'', ''ann''), ''open'', campaign => (SELECT campaign FROM flow.tenant WHERE name = ''sum'')', 'P0002'),
  ('flow.id(''hot'', ''ann''), ''open'', evidence => ''[]''', '22023')) v(a, codes), LATERAL (SELECT CASE v.codes WHEN 'P0002,22004' THEN '22004' ELSE v.codes END AS code) c;
SELECT is((SELECT count(*) FROM entrestate.signals_add('{}', '{}')), 0::bigint, 'no signals are none');
SELECT throws_ok($$SELECT entrestate.signals_add(NULL, '{open}')$$, '22004', NULL, 'no leads are missing');
SELECT throws_ok($$SELECT entrestate.signals_add(ARRAY[NULL::uuid], '{open}')$$, '22004', NULL, 'nobody is no lead');
SELECT throws_ok($$SELECT entrestate.signals_add(ARRAY[flow.id('hot', 'ann')], '{}')$$, '22023', NULL, 'as many kinds as leads');
SELECT is((SELECT (s.no, s.outcome)::text FROM entrestate.signals_add(ARRAY[flow.id('sum', 'l2')], '{open}') s), '(1,unknown)', 'another tenant''s lead is unknown');
SELECT throws_ok(format('SELECT entrestate.%s', f), '42501', NULL, 'a viewer cannot: ' || f) FROM pg_temp.as('viewer'), unnest(ARRAY['signal_add(flow.id(''hot'', ''ann''), ''open'')',
  'signals_add(''{}'', ''{}'')', 'score_settings_set(''{}'')', 'lead_cool(flow.id(''hot'', ''ann''), ''x'')', 'agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = ''hot''))']) f;
SELECT is(pg_temp.score('sum', 'l2'), 1, 'and nothing of it counted');

SELECT is((SELECT count(*)::int FROM entrestate.verify() v WHERE object !~ '^role '), 0, 'verify() makes every score and direction again, and finds no difference');
SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'nothing at all');
SELECT finish();
ROLLBACK;
