-- The decision, situation by situation: what somebody could argue about, with the words of the specification
-- where it has some. The first table is about the decision alone and goes through sender_decide(); the situations
-- that need data go through the API and the processor, and there sender_explain() must have said so before.
\ir flow_lib.sql
BEGIN;
SET LOCAL timezone = 'UTC';
SELECT no_plan();

-- ---------------------------------------------------------------- facts
-- It is Monday 2026-01-05, 10:00 UTC, 05:00 in Toronto, unless a row says otherwise. What is not said stands in nobody's
-- way: an active campaign, step 0 of 3 by email, the brake at index 1, one deferral for rising intent, 7 days of lateness.
CREATE TEMP TABLE situation (no integer GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, words text, facts jsonb NOT NULL,
  action text NOT NULL, reason text, until timestamptz);
INSERT INTO situation (name, words, facts, action, reason, until) VALUES
  -- each gate alone
  ('nothing against it', 'otherwise', '{}', 'admit', NULL, NULL),
  ('tenant frozen', 'tenant frozen, or paused', '{"tenant_frozen": true}', 'hold', 'tenant_frozen', NULL),
  ('tenant paused', 'tenant frozen, or paused', '{"tenant_paused": true}', 'hold', 'tenant_paused', NULL),
  ('tenant frozen and paused: what takes more to lift is said', NULL, '{"tenant_frozen": true, "tenant_paused": true}', 'hold', 'tenant_frozen', NULL),
  ('campaign a draft', 'campaign not active', '{"campaign": "draft"}', 'hold', 'campaign_paused', NULL),
  ('campaign paused', 'campaign not active', '{"campaign": "paused"}', 'hold', 'campaign_paused', NULL),
  ('campaign completed', 'campaign completed or archived', '{"campaign": "completed"}', 'terminate', 'campaign_ended', NULL),
  ('campaign archived', 'campaign completed or archived', '{"campaign": "archived"}', 'terminate', 'campaign_ended', NULL),
  ('sender disabled', 'sender disabled', '{"sender_enabled": false}', 'hold', 'sender_disabled', NULL),
  ('paused by risk control', 'paused by risk control', '{"risk_paused": true}', 'hold', 'risk_paused', NULL),
  ('campaign ended with its sender off: it ends', 'campaign completed or archived', '{"campaign": "completed", "sender_enabled": false}', 'terminate', 'campaign_ended', NULL),
  ('campaign ended under risk control: it ends', NULL, '{"campaign": "archived", "risk_paused": true}', 'terminate', 'campaign_ended', NULL),
  ('campaign paused with its sender off', NULL, '{"campaign": "paused", "sender_enabled": false}', 'hold', 'campaign_paused', NULL),
  ('sender off under risk control', NULL, '{"sender_enabled": false, "risk_paused": true}', 'hold', 'sender_disabled', NULL),
  ('a ticket', 'a handoff ticket of the lead, in whatever campaign, is open or was opened since the run was created', '{"lead": {"handoff": true}}', 'terminate', 'handoff', NULL),
  ('booked or lost', 'lead booked or lost', '{"lead": {"closed": true}}', 'terminate', 'lead_closed', NULL),
  ('stopped by a person', 'a person stopped the run', '{"lead": {"stopped": true}}', 'terminate', 'stopped', NULL),
  ('merged away', 'lead merged away', '{"lead": {"merged": true}}', 'terminate', 'merged', NULL),
  ('a ticket of a lead that is booked: the order of the row', 'handoff; lead_closed; stopped; merged', '{"lead": {"handoff": true, "closed": true}}', 'terminate', 'handoff', NULL),
  ('booked and stopped', 'handoff; lead_closed; stopped; merged', '{"lead": {"closed": true, "stopped": true}}', 'terminate', 'lead_closed', NULL),
  ('stopped and merged', 'handoff; lead_closed; stopped; merged', '{"lead": {"stopped": true, "merged": true}}', 'terminate', 'stopped', NULL),
  ('opted out', 'lead opted out of all channels', '{"lead": {"opted_out": true}}', 'terminate', 'opted_out', NULL),
  ('complained', 'complained', '{"lead": {"complained": true}}', 'terminate', 'complained', NULL),
  ('asked to be erased', 'asked for erasure', '{"lead": {"erased": true}}', 'terminate', 'erased', NULL),
  ('opted out, complained and asked to be erased', 'opted_out, complained, erased', '{"lead": {"opted_out": true, "complained": true, "erased": true}}', 'terminate', 'opted_out', NULL),
  ('complained and asked to be erased', 'opted_out, complained, erased', '{"lead": {"complained": true, "erased": true}}', 'terminate', 'complained', NULL),
  -- hot
  ('hot before the first step: it is sent', 'step index ≥ 1', '{"lead": {"hot": true}}', 'admit', NULL, NULL),
  ('hot between the first step and the second: the brake', 'lead is hot **and** step index ≥ 1', '{"lead": {"hot": true}, "cursor": 1}', 'terminate', 'hot', NULL),
  ('hot before the last step', 'lead is hot **and** step index ≥ 1', '{"lead": {"hot": true}, "cursor": 2}', 'terminate', 'hot', NULL),
  ('hot after the last step', 'lead is hot **and** step index ≥ 1', '{"lead": {"hot": true}, "cursor": 3}', 'terminate', 'hot', NULL),
  ('hot before the first step, the brake at 0', 'or the campaign''s earlier brake index', '{"lead": {"hot": true}, "brake_index": 0}', 'terminate', 'hot', NULL),
  ('hot, the brake at 0, at a later step', 'or the campaign''s earlier brake index', '{"lead": {"hot": true}, "brake_index": 0, "cursor": 2}', 'terminate', 'hot', NULL),
  ('not hot, the brake at 0', NULL, '{"brake_index": 0}', 'admit', NULL, NULL),
  ('warming is not hot', NULL, '{"rising": true, "cursor": 2}', 'admit', NULL, NULL),
  ('hot before the first step and replied: who answered gets no first mail', 'lead replied to any message of the tenant since the run was created', '{"lead": {"hot": true, "replied": true}}', 'terminate', 'replied', NULL),
  ('hot before the first step with a goal that is reached', NULL, '{"lead": {"hot": true, "goal": true}}', 'terminate', 'goal_reached', NULL),
  ('hot before the first step outside the window', NULL, '{"lead": {"hot": true}, "opens_at": "2026-01-05T14:00:00Z"}', 'defer', 'quiet_hours', '2026-01-05T14:00:00Z'),
  ('hot before the first step and rising: less noise while intent rises', 'defer, once per step, by the step''s delay again', '{"lead": {"hot": true}, "rising": true, "delay": "2 days"}', 'defer', 'rising_intent', '2026-01-07T10:00:00Z'),
  -- replied, goal
  ('replied', 'lead replied to any message of the tenant since the run was created', '{"lead": {"replied": true}, "cursor": 1}', 'terminate', 'replied', NULL),
  ('replied before the first step', NULL, '{"lead": {"replied": true}}', 'terminate', 'replied', NULL),
  ('goal reached', 'the sequence''s exit predicate holds', '{"lead": {"goal": true}}', 'terminate', 'goal_reached', NULL),
  ('goal reached between steps', 'the sequence''s exit predicate holds', '{"lead": {"goal": true}, "cursor": 2}', 'terminate', 'goal_reached', NULL),
  -- steps and lateness
  ('no step left', 'no step left', '{"cursor": 3}', 'done', 'completed', NULL),
  ('the last step', NULL, '{"cursor": 2}', 'admit', NULL, NULL),
  ('a sequence of one step, before it', NULL, '{"cursor": 0, "steps": 1}', 'admit', NULL, NULL),
  ('a sequence of one step, after it', 'no step left', '{"cursor": 1, "steps": 1}', 'done', 'completed', NULL),
  ('no step left, and late', 'no step left', '{"cursor": 3, "first_due_at": "2025-12-01T10:00:00Z"}', 'done', 'completed', NULL),
  ('late by exactly the limit', 'later than `max_lateness`', '{"first_due_at": "2025-12-29T10:00:00Z"}', 'admit', NULL, NULL),
  ('late by a microsecond more', 'later than `max_lateness`', '{"first_due_at": "2025-12-29T09:59:59.999999Z"}', 'skip', 'too_late', NULL),
  ('late by a year', 'later than `max_lateness`', '{"first_due_at": "2025-01-05T10:00:00Z"}', 'skip', 'too_late', NULL),
  ('lateness of an hour allowed, late by a minute more', '(7 days after first due; a setting)', '{"max_lateness": "1 hour", "first_due_at": "2026-01-05T08:59:00Z"}', 'skip', 'too_late', NULL),
  ('lateness of 30 days allowed, late by ten', '(7 days after first due; a setting)', '{"max_lateness": "30 days", "first_due_at": "2025-12-26T10:00:00Z"}', 'admit', NULL, NULL),
  ('no lateness allowed, on time', NULL, '{"max_lateness": "0", "first_due_at": "2026-01-05T10:00:00Z"}', 'admit', NULL, NULL),
  ('deferred again and again past the limit: first due counts', '7 days after first due', '{"first_due_at": "2025-12-28T10:00:00Z", "opens_at": "2026-01-06T10:00:00Z"}', 'skip', 'too_late', NULL),
  ('a rehearsal of a campaign that is live by now waits', 'until then it waits (`awaiting_go_live`)', '{"awaiting_go_live": true}', 'hold', 'awaiting_go_live', NULL),
  ('and is not skipped for lateness meanwhile', 'until then it waits (`awaiting_go_live`)', '{"awaiting_go_live": true, "first_due_at": "2025-01-05T10:00:00Z"}', 'hold', 'awaiting_go_live', NULL),
  ('a rehearsal that is through is done', 'no step left', '{"awaiting_go_live": true, "cursor": 3}', 'done', 'completed', NULL),
  ('who opts out while a rehearsal waits is out', NULL, '{"awaiting_go_live": true, "lead": {"opted_out": true}}', 'terminate', 'opted_out', NULL),
  -- the guard
  ('a guard that holds', NULL, '{"guard": "true"}', 'admit', NULL, NULL),
  ('no guard', NULL, '{"guard": "none"}', 'admit', NULL, NULL),
  ('a guard that does not hold', 'guard false, or not evaluable', '{"guard": "false"}', 'skip', 'guard_false', NULL),
  ('a guard on a field that is not there', 'Anything but true or false is `guard_error`', '{"guard": "error"}', 'skip', 'guard_error', NULL),
  ('a guard that holds does not make a run late less', NULL, '{"guard": "true", "first_due_at": "2025-01-05T10:00:00Z"}', 'skip', 'too_late', NULL),
  -- somebody to write to
  ('no email address', 'contact point or consent for the channel missing or unusable', '{"contact": "missing"}', 'skip', 'missing_email', NULL),
  ('no telephone for a text', 'contact point or consent for the channel missing or unusable', '{"contact": "missing", "channel": "sms"}', 'skip', 'missing_phone', NULL),
  ('no telephone for WhatsApp', 'contact point or consent for the channel missing or unusable', '{"contact": "missing", "channel": "whatsapp"}', 'skip', 'missing_phone', NULL),
  ('an address that bounced', 'missing or unusable', '{"contact": "unusable"}', 'skip', 'invalid_email', NULL),
  ('a number that is none', 'missing or unusable', '{"contact": "unusable", "channel": "sms"}', 'skip', 'invalid_phone', NULL),
  ('a number that is none, WhatsApp', 'missing or unusable', '{"contact": "unusable", "channel": "whatsapp"}', 'skip', 'invalid_phone', NULL),
  ('no consent', 'consent for the channel missing', '{"no_consent": true}', 'skip', 'no_consent', NULL),
  ('an address on the suppression list', 'address on the suppression list', '{"contact": "suppressed"}', 'skip', 'address_suppressed', NULL),
  ('a number on the suppression list', 'address on the suppression list', '{"contact": "suppressed", "channel": "sms"}', 'skip', 'address_suppressed', NULL),
  ('a field of the template missing', 'template field missing', '{"missing_field": true}', 'skip', 'missing_field', NULL),
  ('WhatsApp free text, a day after the lead''s last message', 'WhatsApp free text outside its window', '{"whatsapp_closed": true, "channel": "whatsapp"}', 'skip', 'whatsapp_window', NULL),
  ('no address and no consent', 'the order of the reasons', '{"contact": "missing", "no_consent": true}', 'skip', 'missing_email', NULL),
  ('a bounced address and no consent', 'the order of the reasons', '{"contact": "unusable", "no_consent": true}', 'skip', 'invalid_email', NULL),
  ('no consent for an address that is suppressed', 'the order of the reasons', '{"contact": "suppressed", "no_consent": true}', 'skip', 'no_consent', NULL),
  ('a suppressed address and a missing field', 'the order of the reasons', '{"contact": "suppressed", "missing_field": true}', 'skip', 'address_suppressed', NULL),
  ('a missing field and WhatsApp''s window', 'the order of the reasons', '{"missing_field": true, "whatsapp_closed": true, "channel": "whatsapp"}', 'skip', 'missing_field', NULL),
  -- the channel, the template, the sender
  ('channel off', 'channel off; channel paused', '{"channel_enabled": false}', 'skip', 'channel_disabled', NULL),
  ('channel paused', 'channel off; channel paused', '{"channel_paused": true}', 'hold', 'channel_paused', NULL),
  ('channel paused, then turned off: nobody waits for it', 'channel off; channel paused', '{"channel_enabled": false, "channel_paused": true}', 'skip', 'channel_disabled', NULL),
  ('template not approved', 'template unapproved', '{"unapproved": true}', 'hold', 'awaiting_approval', NULL),
  ('sender not verified', 'sender identity unverified', '{"unverified": true}', 'hold', 'sender_unverified', NULL),
  ('neither', 'awaiting_approval, sender_unverified', '{"unapproved": true, "unverified": true}', 'hold', 'awaiting_approval', NULL),
  -- rising intent
  ('rising, the first time', 'defer, once per step, by the step''s delay again', '{"rising": true, "delay": "3 days"}', 'defer', 'rising_intent', '2026-01-08T10:00:00Z'),
  ('rising, deferred once already', 'once per step', '{"rising": true, "delay": "3 days", "deferrals": 1}', 'admit', NULL, NULL),
  ('rising, the setting says never', '(0 to 3 times; setting)', '{"rising": true, "delay": "3 days", "max_deferrals": 0}', 'admit', NULL, NULL),
  ('rising, deferred once of two', '(0 to 3 times; setting)', '{"rising": true, "delay": "1 day", "max_deferrals": 2, "deferrals": 1}', 'defer', 'rising_intent', '2026-01-06T10:00:00Z'),
  ('rising, deferred twice of three', '(0 to 3 times; setting)', '{"rising": true, "delay": "1 day", "max_deferrals": 3, "deferrals": 2}', 'defer', 'rising_intent', '2026-01-06T10:00:00Z'),
  ('rising, deferred three times of three', '(0 to 3 times; setting)', '{"rising": true, "delay": "1 day", "max_deferrals": 3, "deferrals": 3}', 'admit', NULL, NULL),
  ('rising, the setting lowered since it was deferred', '(0 to 3 times; setting)', '{"rising": true, "delay": "1 day", "max_deferrals": 1, "deferrals": 3}', 'admit', NULL, NULL),
  ('rising, a step without a delay: it would be put off to now', 'by the step''s delay again', '{"rising": true, "delay": "0"}', 'admit', NULL, NULL),
  ('rising, a delay of a minute', 'by the step''s delay again', '{"rising": true, "delay": "1 minute"}', 'defer', 'rising_intent', '2026-01-05T10:01:00Z'),
  ('not rising', NULL, '{"delay": "3 days"}', 'admit', NULL, NULL),
  ('rising, put off by months', 'days and months are added in the lead''s zone', '{"now": "2026-01-31T12:00:00Z", "rising": true, "delay": "1 month"}', 'defer', 'rising_intent', '2026-02-28T12:00:00Z'),
  ('rising on the eve of Toronto''s gap, at its hour', 'a local time that is skipped is the first instant after the gap', '{"now": "2026-03-07T07:30:00Z", "rising": true, "delay": "1 day", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-03-08T07:00:00Z'),
  ('the same by 24 hours', 'hours and less exactly', '{"now": "2026-03-07T07:30:00Z", "rising": true, "delay": "24 hours", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-03-08T07:30:00Z'),
  ('rising on the eve of Toronto''s gap, in the morning', 'days and months are added in the lead''s zone', '{"now": "2026-03-07T15:00:00Z", "rising": true, "delay": "1 day", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-03-08T14:00:00Z'),
  ('rising on the eve of Toronto''s fold, at its hour', 'one that occurs twice its first', '{"now": "2026-10-31T05:30:00Z", "rising": true, "delay": "1 day", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-11-01T05:30:00Z'),
  ('rising on the eve of Toronto''s fold, in the morning', 'days and months are added in the lead''s zone', '{"now": "2026-10-31T14:00:00Z", "rising": true, "delay": "1 day", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-11-01T15:00:00Z'),
  ('rising in the second of the two hours', 'days and months are added in the lead''s zone', '{"now": "2026-11-01T06:30:00Z", "rising": true, "delay": "1 day", "zone": "America/Toronto"}', 'defer', 'rising_intent', '2026-11-02T06:30:00Z'),
  ('rising on the eve of Lord Howe''s gap of half an hour', 'a local time that is skipped is the first instant after the gap', '{"now": "2026-10-02T15:45:00Z", "rising": true, "delay": "1 day", "zone": "Australia/Lord_Howe"}', 'defer', 'rising_intent', '2026-10-03T15:30:00Z'),
  ('rising on the eve of Lord Howe''s fold of half an hour', 'one that occurs twice its first', '{"now": "2026-04-03T14:45:00Z", "rising": true, "delay": "1 day", "zone": "Australia/Lord_Howe"}', 'defer', 'rising_intent', '2026-04-04T14:45:00Z'),
  ('rising on that eve, half an hour later', 'days and months are added in the lead''s zone', '{"now": "2026-04-03T15:15:00Z", "rising": true, "delay": "1 day", "zone": "Australia/Lord_Howe"}', 'defer', 'rising_intent', '2026-04-04T15:45:00Z'),
  -- windows: 21:00 to 09:00 is quiet where nothing else is said
  ('in the quiet hours, before dawn', 'defer to its opening', '{"zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-05T14:00:00Z'),
  ('the last instant before the quiet hours', 'outside the window', '{"now": "2026-01-06T01:59:59.999999Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'admit', NULL, NULL),
  ('the first of the quiet hours', 'defer to its opening', '{"now": "2026-01-06T02:00:00Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-06T14:00:00Z'),
  ('quiet hours across midnight, a second before it', 'defer to its opening', '{"now": "2026-01-06T04:59:59Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-06T14:00:00Z'),
  ('quiet hours across midnight, at midnight', 'defer to its opening', '{"now": "2026-01-06T05:00:00Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-06T14:00:00Z'),
  ('the last instant of the quiet hours', 'defer to its opening', '{"now": "2026-01-06T13:59:59.999999Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-06T14:00:00Z'),
  ('the end of the quiet hours', 'outside the window', '{"now": "2026-01-06T14:00:00Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'admit', NULL, NULL),
  ('the same instant in Tokyo, where it is evening', 'in the lead''s zone', '{"zone": "Asia/Tokyo", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'admit', NULL, NULL),
  ('and on Lord Howe, where it is 21:00', 'in the lead''s zone', '{"zone": "Australia/Lord_Howe", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-01-05T22:00:00Z'),
  ('weekdays only, on Saturday', 'outside the window', '{"now": "2026-01-10T15:00:00Z", "zone": "America/Toronto", "windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-01-12T14:00:00Z'),
  ('on Friday at five', 'outside the window', '{"now": "2026-01-09T22:00:00Z", "zone": "America/Toronto", "windows": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-01-12T14:00:00Z'),
  ('in the lunch hour of two windows', 'outside the window', '{"now": "2026-01-05T17:30:00Z", "zone": "America/Toronto", "windows": [{"from": "09:00", "to": "12:00"}, {"from": "13:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-01-05T18:00:00Z'),
  ('a step''s mornings, a campaign from ten on, quiet until eleven', 'the intersection of step, campaign contact rules and tenant quiet hours', '{"zone": "America/Toronto", "windows": [{"from": "08:00", "to": "12:00"}], "campaign_windows": [{"from": "10:00", "to": "18:00"}], "quiet": [{"from": "21:00", "to": "11:00"}]}', 'defer', 'quiet_hours', '2026-01-05T16:00:00Z'),
  ('the step''s window open, the campaign''s not', 'the intersection', '{"now": "2026-01-05T14:30:00Z", "zone": "America/Toronto", "windows": [{"from": "08:00", "to": "12:00"}], "campaign_windows": [{"from": "10:00", "to": "18:00"}]}', 'defer', 'quiet_hours', '2026-01-05T15:00:00Z'),
  ('windows that have nothing in common: it looks again when its horizon has passed', NULL, '{"zone": "America/Toronto", "windows": [{"from": "09:00", "to": "10:00"}], "quiet": [{"from": "08:00", "to": "11:00"}]}', 'defer', 'quiet_hours', '2026-01-14T10:00:00Z'),
  ('Toronto''s gap: nine in the morning of that day', 'in the lead''s zone', '{"now": "2026-03-08T05:00:00Z", "zone": "America/Toronto", "windows": [{"from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-03-08T13:00:00Z'),
  ('and of the day before', 'in the lead''s zone', '{"now": "2026-03-07T05:00:00Z", "zone": "America/Toronto", "windows": [{"from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-03-07T14:00:00Z'),
  ('Toronto''s gap: a window that begins in it', NULL, '{"now": "2026-03-08T06:00:00Z", "zone": "America/Toronto", "windows": [{"from": "02:30", "to": "04:00"}]}', 'defer', 'quiet_hours', '2026-03-08T07:00:00Z'),
  ('Toronto''s gap: a window that is in it', NULL, '{"now": "2026-03-08T06:00:00Z", "zone": "America/Toronto", "windows": [{"from": "02:00", "to": "03:00"}]}', 'defer', 'quiet_hours', '2026-03-09T06:00:00Z'),
  ('Toronto''s gap: quiet hours of eleven hours', NULL, '{"now": "2026-03-08T02:00:00Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-03-08T13:00:00Z'),
  ('Toronto''s fold: nine in the morning of that day', 'in the lead''s zone', '{"now": "2026-11-01T04:00:00Z", "zone": "America/Toronto", "windows": [{"from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-11-01T14:00:00Z'),
  ('Toronto''s fold: quiet hours of thirteen hours', NULL, '{"now": "2026-11-01T01:00:00Z", "zone": "America/Toronto", "quiet": [{"from": "21:00", "to": "09:00"}]}', 'defer', 'quiet_hours', '2026-11-01T14:00:00Z'),
  ('Toronto''s fold: an hour''s window, the first time', NULL, '{"now": "2026-11-01T05:30:00Z", "zone": "America/Toronto", "windows": [{"from": "01:00", "to": "02:00"}]}', 'admit', NULL, NULL),
  ('Toronto''s fold: an hour''s window, the second time', NULL, '{"now": "2026-11-01T06:30:00Z", "zone": "America/Toronto", "windows": [{"from": "01:00", "to": "02:00"}]}', 'admit', NULL, NULL),
  ('Toronto''s fold: after both', NULL, '{"now": "2026-11-01T07:00:00Z", "zone": "America/Toronto", "windows": [{"from": "01:00", "to": "02:00"}]}', 'defer', 'quiet_hours', '2026-11-02T06:00:00Z'),
  ('Lord Howe''s gap of half an hour: a window that begins in it', NULL, '{"now": "2026-10-03T15:00:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "02:15", "to": "03:00"}]}', 'defer', 'quiet_hours', '2026-10-03T15:30:00Z'),
  ('Lord Howe''s gap: a window that is in it', NULL, '{"now": "2026-10-03T15:00:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "02:00", "to": "02:30"}]}', 'defer', 'quiet_hours', '2026-10-04T15:00:00Z'),
  ('Lord Howe''s gap: nine in the morning', 'in the lead''s zone', '{"now": "2026-10-03T15:00:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-10-03T22:00:00Z'),
  ('Lord Howe''s fold: half an hour''s window, the first time', NULL, '{"now": "2026-04-04T14:45:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "01:30", "to": "02:00"}]}', 'admit', NULL, NULL),
  ('Lord Howe''s fold: half an hour''s window, the second time', NULL, '{"now": "2026-04-04T15:15:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "01:30", "to": "02:00"}]}', 'admit', NULL, NULL),
  ('Lord Howe''s fold: after both', NULL, '{"now": "2026-04-04T15:30:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "01:30", "to": "02:00"}]}', 'defer', 'quiet_hours', '2026-04-05T15:00:00Z'),
  ('Lord Howe''s fold: nine in the morning', 'in the lead''s zone', '{"now": "2026-04-04T14:00:00Z", "zone": "Australia/Lord_Howe", "windows": [{"from": "09:00", "to": "17:00"}]}', 'defer', 'quiet_hours', '2026-04-04T22:30:00Z'),
  -- frequency caps
  ('a cap and nothing sent', NULL, '{"caps": [{"max": 1, "per": "7 days"}]}', 'admit', NULL, NULL),
  ('one of one a week', 'defer to when it frees', '{"caps": [{"max": 1, "per": "7 days"}], "sends": [{"at": "2026-01-03T10:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-10T10:00:00Z'),
  ('a microsecond before it frees', 'rolling', '{"caps": [{"max": 1, "per": "7 days"}], "sends": [{"at": "2025-12-29T10:00:00.000001Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-05T10:00:00.000001Z'),
  ('exactly when it frees', 'rolling', '{"caps": [{"max": 1, "per": "7 days"}], "sends": [{"at": "2025-12-29T10:00:00Z", "channel": "email"}]}', 'admit', NULL, NULL),
  ('sent this very instant', 'rolling', '{"caps": [{"max": 1, "per": "1 hour"}], "sends": [{"at": "2026-01-05T10:00:00Z", "channel": "sms"}]}', 'defer', 'frequency_capped', '2026-01-05T11:00:00Z'),
  ('two of three a week', NULL, '{"caps": [{"max": 3, "per": "7 days"}], "sends": [{"at": "2026-01-03T10:00:00Z", "channel": "email"}, {"at": "2026-01-04T10:00:00Z", "channel": "sms"}]}', 'admit', NULL, NULL),
  ('three of three: the oldest must leave', 'defer to when it frees', '{"caps": [{"max": 3, "per": "7 days"}], "sends": [{"at": "2026-01-02T10:00:00Z", "channel": "email"}, {"at": "2026-01-03T10:00:00Z", "channel": "sms"}, {"at": "2026-01-04T10:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-09T10:00:00Z'),
  ('four of three, since the cap was lowered: two must leave', 'defer to when it frees', '{"caps": [{"max": 3, "per": "7 days"}], "sends": [{"at": "2026-01-01T10:00:00Z", "channel": "sms"}, {"at": "2026-01-02T10:00:00Z", "channel": "email"}, {"at": "2026-01-03T10:00:00Z", "channel": "sms"}, {"at": "2026-01-04T10:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-09T10:00:00Z'),
  ('three of three, in whatever order they are told', NULL, '{"caps": [{"max": 3, "per": "7 days"}], "sends": [{"at": "2026-01-04T10:00:00Z", "channel": "email"}, {"at": "2026-01-02T10:00:00Z", "channel": "email"}, {"at": "2026-01-03T10:00:00Z", "channel": "sms"}]}', 'defer', 'frequency_capped', '2026-01-09T10:00:00Z'),
  ('an email counts against a text', 'over all campaigns and channels unless a rule names one', '{"channel": "sms", "caps": [{"max": 1, "per": "1 day"}], "sends": [{"at": "2026-01-05T09:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-06T09:00:00Z'),
  ('a rule for texts and a step by email', 'unless a rule names one', '{"caps": [{"max": 1, "per": "7 days", "channel": "sms"}], "sends": [{"at": "2026-01-05T09:00:00Z", "channel": "sms"}]}', 'admit', NULL, NULL),
  ('a rule for texts does not count emails', 'unless a rule names one', '{"channel": "sms", "caps": [{"max": 1, "per": "7 days", "channel": "sms"}], "sends": [{"at": "2026-01-05T09:00:00Z", "channel": "email"}]}', 'admit', NULL, NULL),
  ('a rule for texts counts texts behind emails', 'unless a rule names one', '{"channel": "sms", "caps": [{"max": 1, "per": "7 days", "channel": "sms"}], "sends": [{"at": "2026-01-01T09:00:00Z", "channel": "sms"}, {"at": "2026-01-05T09:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-08T09:00:00Z'),
  ('two rules: the week''s frees last', 'defer to when it frees', '{"caps": [{"max": 1, "per": "1 day"}, {"max": 3, "per": "7 days"}], "sends": [{"at": "2025-12-30T10:00:00Z", "channel": "sms"}, {"at": "2025-12-31T10:00:00Z", "channel": "email"}, {"at": "2026-01-05T08:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-06T10:00:00Z'),
  ('two rules: the day''s frees last', 'defer to when it frees', '{"caps": [{"max": 1, "per": "1 day"}, {"max": 3, "per": "7 days"}], "sends": [{"at": "2025-12-29T11:00:00Z", "channel": "sms"}, {"at": "2026-01-01T10:00:00Z", "channel": "email"}, {"at": "2026-01-05T09:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-06T09:00:00Z'),
  ('two rules, one is met', 'defer to when it frees', '{"caps": [{"max": 1, "per": "1 hour"}, {"max": 2, "per": "7 days"}], "sends": [{"at": "2026-01-03T10:00:00Z", "channel": "email"}, {"at": "2026-01-04T10:00:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-01-10T10:00:00Z'),
  ('two at the same instant', 'rolling', '{"caps": [{"max": 2, "per": "1 day"}], "sends": [{"at": "2026-01-05T09:00:00Z", "channel": "email"}, {"at": "2026-01-05T09:00:00Z", "channel": "sms"}]}', 'defer', 'frequency_capped', '2026-01-06T09:00:00Z'),
  ('a cap''s day is 24 hours when the clocks change', 'rolling', '{"now": "2026-03-08T14:00:00Z", "zone": "America/Toronto", "caps": [{"max": 1, "per": "1 day"}], "sends": [{"at": "2026-03-07T14:30:00Z", "channel": "email"}]}', 'defer', 'frequency_capped', '2026-03-08T14:30:00Z'),
  -- budgets
  ('daily limit', 'daily limit', '{"budget": "daily_limit"}', 'hold', 'daily_limit', NULL),
  ('rate', 'provider or domain rate', '{"budget": "rate_limited"}', 'hold', 'rate_limited', NULL),
  ('wallet', 'wallet', '{"budget": "insufficient_funds"}', 'hold', 'insufficient_funds', NULL),
  ('back-pressure', 'back-pressure', '{"budget": "back_pressure"}', 'hold', 'back_pressure', NULL),
  -- a rehearsal
  ('dry run', 'dry run', '{"dry_run": true}', 'simulate', 'dry_run', NULL),
  ('a rehearsal beyond the daily limit', '16 is only noted', '{"dry_run": true, "budget": "daily_limit"}', 'simulate', 'dry_run', NULL),
  ('a rehearsal with an empty wallet', '16 is only noted', '{"dry_run": true, "budget": "insufficient_funds"}', 'simulate', 'dry_run', NULL),
  ('a rehearsal of a hot lead: the brake', 'every gate decides as it would live', '{"dry_run": true, "lead": {"hot": true}, "cursor": 1}', 'terminate', 'hot', NULL),
  ('a rehearsal with a guard that does not hold', 'every gate decides as it would live', '{"dry_run": true, "guard": "false"}', 'skip', 'guard_false', NULL),
  ('a rehearsal in the quiet hours', 'every gate decides as it would live', '{"dry_run": true, "opens_at": "2026-01-05T14:00:00Z"}', 'defer', 'quiet_hours', '2026-01-05T14:00:00Z'),
  ('a rehearsal that is capped', 'every gate decides as it would live', '{"dry_run": true, "cap_frees_at": "2026-01-05T14:00:00Z"}', 'defer', 'frequency_capped', '2026-01-05T14:00:00Z'),
  ('a rehearsal on a channel that is off', 'every gate decides as it would live', '{"dry_run": true, "channel_enabled": false}', 'skip', 'channel_disabled', NULL),
  ('a rehearsal with a template that is not approved', 'every gate decides as it would live', '{"dry_run": true, "unapproved": true}', 'hold', 'awaiting_approval', NULL),
  ('a rehearsal of a frozen tenant', 'every gate decides as it would live', '{"dry_run": true, "tenant_frozen": true}', 'hold', 'tenant_frozen', NULL),
  -- each gate with the next: the first that matches decides
  ('1 before 2', 'the first that matches decides', '{"tenant_paused": true, "campaign": "completed"}', 'hold', 'tenant_paused', NULL),
  ('2 before 3, held', 'the first that matches decides', '{"sender_enabled": false, "lead": {"handoff": true}}', 'hold', 'sender_disabled', NULL),
  ('2 before 3, ended', 'the first that matches decides', '{"campaign": "archived", "lead": {"merged": true}}', 'terminate', 'campaign_ended', NULL),
  ('3 before 4', 'the first that matches decides', '{"lead": {"merged": true, "opted_out": true}}', 'terminate', 'merged', NULL),
  ('4 before 5', 'the first that matches decides', '{"lead": {"erased": true, "hot": true}, "cursor": 1}', 'terminate', 'erased', NULL),
  ('5 before 6: the reply that made it hot', 'the first that matches decides', '{"lead": {"hot": true, "replied": true}, "cursor": 1}', 'terminate', 'hot', NULL),
  ('6 before 7', 'the first that matches decides', '{"lead": {"replied": true, "goal": true}, "cursor": 1}', 'terminate', 'replied', NULL),
  ('7 before 8', 'the first that matches decides', '{"lead": {"goal": true}, "cursor": 3}', 'terminate', 'goal_reached', NULL),
  ('8 before 9', 'the first that matches decides', '{"cursor": 3, "guard": "error"}', 'done', 'completed', NULL),
  ('8''s lateness before 9', 'the first that matches decides', '{"first_due_at": "2025-01-05T10:00:00Z", "guard": "false"}', 'skip', 'too_late', NULL),
  ('9 before 10', 'the first that matches decides', '{"guard": "error", "contact": "missing"}', 'skip', 'guard_error', NULL),
  ('10 before 11: a step that could not be sent anyway does not wait', 'the first that matches decides', '{"contact": "missing", "channel_paused": true}', 'skip', 'missing_email', NULL),
  ('10 before 11, off', 'the first that matches decides', '{"no_consent": true, "channel_enabled": false}', 'skip', 'no_consent', NULL),
  ('11 before 12', 'the first that matches decides', '{"channel_enabled": false, "unapproved": true}', 'skip', 'channel_disabled', NULL),
  ('11 held before 12', 'the first that matches decides', '{"channel_paused": true, "unverified": true}', 'hold', 'channel_paused', NULL),
  ('12 before 13', 'the first that matches decides', '{"unverified": true, "rising": true, "delay": "1 day"}', 'hold', 'sender_unverified', NULL),
  ('13 before 14', 'the first that matches decides', '{"rising": true, "delay": "1 day", "opens_at": "2026-01-05T14:00:00Z"}', 'defer', 'rising_intent', '2026-01-06T10:00:00Z'),
  ('14 before 15', 'the first that matches decides', '{"opens_at": "2026-01-05T14:00:00Z", "cap_frees_at": "2026-01-09T10:00:00Z"}', 'defer', 'quiet_hours', '2026-01-05T14:00:00Z'),
  ('15 before 16', 'the first that matches decides', '{"cap_frees_at": "2026-01-09T10:00:00Z", "budget": "daily_limit"}', 'defer', 'frequency_capped', '2026-01-09T10:00:00Z'),
  ('16 before 18', 'the first that matches decides', '{"budget": "rate_limited"}', 'hold', 'rate_limited', NULL),
  ('everything against it', 'the first that matches decides', '{"tenant_frozen": true, "tenant_paused": true, "campaign": "archived", "sender_enabled": false, "risk_paused": true, "lead": {"handoff": true, "closed": true, "stopped": true, "merged": true, "opted_out": true, "complained": true, "erased": true, "hot": true, "replied": true, "goal": true}, "cursor": 9, "guard": "error", "contact": "missing", "channel_enabled": false, "unapproved": true, "budget": "daily_limit", "dry_run": true}', 'hold', 'tenant_frozen', NULL);

SELECT cmp_ok(count(*)::integer, '>=', 150, 'there are enough situations') FROM situation;
SELECT is((d.action, d.reason, d.until)::text, (s.action, s.reason, s.until)::text, s.name || coalesce(format(' ("%s")', s.words), ''))
FROM situation s CROSS JOIN LATERAL entrestate.sender_decide('{"now": "2026-01-05T10:00:00Z"}' || s.facts) d ORDER BY s.no;

-- the session's settings play no part
CREATE FUNCTION pg_temp.differ(zone text, style text, intervals text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', zone, true), set_config('datestyle', style, true), set_config('intervalstyle', intervals, true);
  RETURN (SELECT count(*) FROM situation s CROSS JOIN LATERAL entrestate.sender_decide('{"now": "2026-01-05T10:00:00Z"}' || s.facts) d
    WHERE (d.action, d.reason, d.until) IS DISTINCT FROM (s.action, s.reason, s.until));
END
$$;
SELECT is(pg_temp.differ('Australia/Lord_Howe', 'German', 'iso_8601'), 0::bigint, 'the session''s settings play no part');
SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';

-- ---------------------------------------------------------------- data
-- Before each decision of the processor, sender_explain() is asked about every run that is due; what the gate that
-- decides says must be what happens. One run is decided at a time, so that each is asked with what the one before it left.
CREATE TEMP TABLE told (no integer GENERATED ALWAYS AS IDENTITY, tenant text, lead uuid, campaign uuid, at timestamptz, run_seq integer,
  gate integer, says text, until timestamptz, did text, next_at timestamptz);
-- What the gate that decides says: "skip missing_email".
CREATE FUNCTION pg_temp.says(tenant text, name text, instant timestamptz DEFAULT NULL, campaign uuid DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN (SELECT string_agg(concat_ws(' ', x.gate, x.decision, x.reason, x.until), '; ')
    FROM entrestate.sender_explain(coalesce(campaign, (SELECT t.campaign FROM flow.tenant t WHERE t.name = says.tenant)), flow.id(tenant, says.name), instant) x
    WHERE x.decides);
END
$$;
CREATE FUNCTION pg_temp.process(name text, instant timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid := (SELECT x.tenant FROM flow.tenant x WHERE x.name = process.name);
  n integer;
  idle integer := 0;
BEGIN
  PERFORM flow.at(instant);
  -- a row of what is due may name runs that have ended: one that is taken for nothing
  WHILE idle < 4 LOOP
    PERFORM flow.enter(name);
    CREATE TEMP TABLE now_told AS SELECT r.lead_id, r.campaign_id, r.run_seq, r.next_at, x.gate, x.decision, x.reason, x.until
    FROM entrestate.sender_runs r CROSS JOIN LATERAL entrestate.sender_explain(r.campaign_id, r.lead_id) x
    WHERE r.tenant_id = t AND r.status IN ('pending', 'running') AND r.next_at <= instant AND NOT r.awaiting_go_live AND x.decides;
    n := entrestate.sender_process_tenant(t, 1);
    INSERT INTO told (tenant, lead, campaign, at, run_seq, gate, says, until, did, next_at)
    SELECT process.name, w.lead_id, w.campaign_id, instant, w.run_seq, w.gate, concat_ws(' ', w.decision, w.reason), w.until,
      CASE WHEN e.type IS NULL THEN 'nothing' ELSE concat_ws(' ', replace(y.name, 'sender.', ''), x.name) END, e.next_at
    FROM now_told w LEFT JOIN entrestate.sender_events e ON e.tenant_id = t AND e.lead_id = w.lead_id AND e.campaign_id = w.campaign_id AND e.run_seq = w.run_seq + 1
    LEFT JOIN entrestate.sender_event_types() y ON y.code = e.type LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
    -- what was decided, and in the end why nothing else was
    WHERE e.type IS NOT NULL OR idle = 3;
    DROP TABLE now_told;
    idle := CASE WHEN n = 0 THEN idle + 1 ELSE 0 END;
  END LOOP;
END
$$;

-- missing phone, then email; a number comes between
DO $$ BEGIN
  PERFORM flow.make('phone', '{sms 0,email 1 day,sms 1 day}'), flow.lead('phone', 'ann', 'new', NULL), pg_temp.process('phone', '2026-01-05T10:00:00Z'),
    pg_temp.process('phone', '2026-01-06T10:00:00Z');
  PERFORM flow.enter('phone'), entrestate.lead_contact_add(flow.id('phone', 'ann'), 'phone', '+14165550199', true),
    pg_temp.process('phone', '2026-01-07T10:00:00Z');
END $$;
SELECT is(flow.story('phone', 'ann'), 'run.started, step.skipped 0 (missing_phone), step.sent 1, step.sent 2, run.done (completed)', 'missing phone, then email, then a number that came');
SELECT is(pg_temp.says('phone', 'ann'), 'ended completed', 'a run that has ended says so');

-- two campaigns and one cap slot: in order of due time, then campaign id
CREATE TEMP TABLE slot (second uuid);
DO $$
DECLARE
  c uuid;
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('slot', '{email 0}'), flow.lead('slot', 'ann');
  c := entrestate.campaign_create('second');
  INSERT INTO slot VALUES (c);
  PERFORM entrestate.sequence_create(c, jsonb_build_array(jsonb_build_object('channel', 'sms', 'template', t.sms, 'delay', '0'))) FROM flow.tenant t WHERE t.name = 'slot';
  PERFORM entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true),
    entrestate.lead_attribute(flow.id('slot', 'ann'), c);
  PERFORM entrestate.agent_settings_set(x, caps => '[{"max": 1, "per": "7 days"}]') FROM (SELECT campaign FROM flow.tenant WHERE name = 'slot' UNION ALL SELECT c) v(x);
END $$;
SELECT is(pg_temp.says('slot', 'ann'), '18 admit', 'two campaigns and one cap slot: the first');
SELECT is(pg_temp.says('slot', 'ann', NULL, second), '18 admit', 'and the second would be admitted as things are') FROM slot;
SELECT pg_temp.process('slot', '2026-01-05T10:00:00Z');
SELECT is(flow.story('slot', 'ann'), 'run.started, step.sent 0, run.done (completed), run.started, step.deferred 0 (frequency_capped)', 'one takes the slot, the other waits for it');
SELECT is(pg_temp.says('slot', 'ann', '2026-01-12T09:59:59.999999Z', second), '15 defer frequency_capped 2026-01-12 10:00:00+00', 'to the last instant') FROM slot;
SELECT is(pg_temp.says('slot', 'ann', '2026-01-12T10:00:00Z', second), '18 admit', 'then it is free') FROM slot;
SELECT pg_temp.process('slot', '2026-01-12T10:00:00Z');
SELECT is(flow.story('slot', 'ann'), 'run.started, step.sent 0, run.done (completed), run.started, step.deferred 0 (frequency_capped), step.sent 0, run.done (completed)', 'and it goes out');

-- an address that goes from one lead to another; a telephone that stays
DO $$
BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('moves', '{email 0,sms 1 day}'), flow.lead('moves', 'ann', 'one@example.com', '+14165550901');
  PERFORM entrestate.agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = 'moves'), caps => '[{"max": 2, "per": "7 days"}]');
  PERFORM pg_temp.process('moves', '2026-01-05T10:00:00Z'), pg_temp.process('moves', '2026-01-06T10:00:00Z');
  PERFORM flow.enter('moves'), entrestate.lead_contact_remove(flow.id('moves', 'ann'), 'email', 'One@example.com');
  -- the first has what the other one had; the second does not
  PERFORM flow.lead('moves', 'bob', 'one@example.com'), flow.lead('moves', 'cyd', 'other@example.com');
END $$;
SELECT is(pg_temp.says('moves', 'bob'), '18 admit', '"per lead and per normalised address": one email of two; the text did not go to this address');
DO $$ BEGIN
  PERFORM entrestate.agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = 'moves'), caps => '[{"max": 1, "per": "7 days"}]');
END $$;
SELECT is(pg_temp.says('moves', 'bob'), '15 defer frequency_capped 2026-01-12 10:00:00+00', '"per lead and per normalised address": what somebody else was sent there counts');
SELECT is(pg_temp.says('moves', 'cyd'), '18 admit', '"per … normalised address": not of another address');
DO $$ BEGIN
  -- the address comes back, goes again, and then the two are one: what ann was sent counts once
  PERFORM entrestate.lead_contact_remove(flow.id('moves', 'bob'), 'email', 'one@example.com'), entrestate.lead_contact_add(flow.id('moves', 'ann'), 'email', 'one@example.com');
  PERFORM entrestate.lead_contact_remove(flow.id('moves', 'ann'), 'email', 'one@example.com'), entrestate.lead_contact_add(flow.id('moves', 'bob'), 'email', 'one@example.com');
  PERFORM entrestate.lead_merge(flow.id('moves', 'ann'), flow.id('moves', 'bob')), entrestate.agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = 'moves'), caps => '[{"max": 3, "per": "7 days"}]');
END $$;
SELECT is(pg_temp.says('moves', 'bob'), '18 admit', 'an email and a text of a duplicate: two of three');
DO $$ BEGIN
  PERFORM entrestate.agent_settings_set((SELECT campaign FROM flow.tenant WHERE name = 'moves'), caps => '[{"max": 2, "per": "7 days"}]');
END $$;
SELECT is(pg_temp.says('moves', 'bob'), '15 defer frequency_capped 2026-01-12 10:00:00+00', 'and two of two');

-- republished while a run is under way
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('republished', '{email 0,email 2 days}'), flow.lead('republished', 'old'), pg_temp.process('republished', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('republished'), flow.sequence('republished', '{sms 0}');
  PERFORM entrestate.sequence_publish(t.campaign, 2) FROM flow.tenant t WHERE t.name = 'republished';
  PERFORM flow.lead('republished', 'new'), pg_temp.process('republished', '2026-01-05T10:00:00Z'), pg_temp.process('republished', '2026-01-07T10:00:00Z');
END $$;
SELECT is(flow.story('republished', 'old'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', 'republished mid-run: a run stays on its version');
SELECT is(flow.story('republished', 'new'), 'run.started, step.sent 0, run.done (completed)', 'a new one has the new one');

-- STOP, then START
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('stop', '{email 0,sms 1 day,email 1 day}'), flow.lead('stop', 'all'), flow.lead('stop', 'channel'), pg_temp.process('stop', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('stop'), entrestate.lead_opt_out(flow.id('stop', 'all'), 'sms', 'sms'), entrestate.lead_opt_out(flow.id('stop', 'channel'), 'sms', 'sms', 'channel');
END $$;
SELECT is(pg_temp.says('stop', 'all'), 'ended opted_out', 'STOP ends the run');
SELECT is(pg_temp.says('stop', 'channel', '2026-01-06T10:00:00Z'), '10 skip address_suppressed', 'STOP with opt_out_scope = channel suppresses that channel''s addresses instead');
DO $$ BEGIN
  PERFORM pg_temp.process('stop', '2026-01-06T10:00:00Z');
  PERFORM flow.enter('stop'), entrestate.lead_opt_in(flow.id('stop', 'all'), 'sms'), pg_temp.process('stop', '2026-01-07T10:00:00Z');
END $$;
SELECT is(flow.story('stop', 'all'), 'run.started, step.sent 0, suppressed_opt_out (opted_out)', 'START lifts the suppression; ended runs stay ended');
SELECT is(flow.story('stop', 'channel'), 'run.started, step.sent 0, step.skipped 1 (address_suppressed), step.sent 2, run.done (completed)', 'the other channel goes on');

-- the lead's zone changes while it waits for the quiet hours to end
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('zone', '{email 0}'), entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "09:00"}]'), flow.lead('zone', 'ann'),
    pg_temp.process('zone', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('zone'), entrestate.lead_update(flow.id('zone', 'ann'), time_zone => 'Asia/Tokyo');
END $$;
SELECT is(pg_temp.says('zone', 'ann', '2026-01-05T14:00:00Z'), '14 defer quiet_hours 2026-01-06 00:00:00+00', 'zone changed: it is 23:00 in Tokyo');
SELECT pg_temp.process('zone', '2026-01-05T14:00:00Z'), pg_temp.process('zone', '2026-01-06T00:00:00Z');
SELECT is(flow.story('zone', 'ann'), 'run.started, step.deferred 0 (quiet_hours), step.deferred 0 (quiet_hours), step.sent 0, run.done (completed)', 'zone changed: the quiet hours of the place where the lead is');

-- paused for ten days, with twelve overdue: too late, or with more patience all sent
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('ten', '{email 0,sms 1 day,email 1 day}'), flow.lead('ten', 'l' || n) FROM generate_series(1, 12) n WHERE n = 1;
  PERFORM flow.lead('ten', 'l' || n) FROM generate_series(2, 12) n;
  PERFORM pg_temp.process('ten', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('ten'), entrestate.campaign_status_set(t.campaign, 'paused') FROM flow.tenant t WHERE t.name = 'ten';
  PERFORM pg_temp.process('ten', '2026-01-16T10:00:00Z');
END $$;
SELECT is(pg_temp.says('ten', 'l12'), '2 hold campaign_paused', 'paused ten days: held, however late');
DO $$ BEGIN
  PERFORM flow.enter('ten'), entrestate.campaign_status_set(t.campaign, 'active') FROM flow.tenant t WHERE t.name = 'ten';
END $$;
SELECT is(pg_temp.says('ten', 'l12'), '8 skip too_late', 'then ten days late are too late');
SELECT pg_temp.process('ten', '2026-01-16T10:00:00Z'), pg_temp.process('ten', '2026-01-17T10:00:00Z');
SELECT is((SELECT count(*) FROM flow.lead l WHERE l.tenant = 'ten' AND flow.story('ten', l.name) = 'run.started, step.sent 0, step.skipped 1 (too_late), step.sent 2, run.done (completed)'), 12::bigint,
  'paused ten days with twelve overdue: each skips what is too late and goes on with the next');
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('patient', '{email 0,sms 1 day}'), flow.lead('patient', 'ann'), flow.patient('patient');
  PERFORM pg_temp.process('patient', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('patient'), entrestate.campaign_status_set(t.campaign, 'paused') FROM flow.tenant t WHERE t.name = 'patient';
  PERFORM pg_temp.process('patient', '2026-01-16T10:00:00Z');
  PERFORM flow.enter('patient'), entrestate.campaign_status_set(t.campaign, 'active') FROM flow.tenant t WHERE t.name = 'patient';
  PERFORM pg_temp.process('patient', '2026-01-16T10:00:00Z');
END $$;
SELECT is(flow.story('patient', 'ann'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', 'with more patience it is sent late');

-- hot: between steps, before the first, and with the brake at 0
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('hot', '{email 1 day,sms 1 day}'), flow.lead('hot', 'before'), flow.lead('hot', 'between');
  PERFORM flow.enter('hot'), entrestate.signal_add(flow.id('hot', 'before'), 'call_request');
END $$;
SELECT is(pg_temp.says('hot', 'before', '2026-01-06T10:00:00Z'), 'ended handoff', 'a call request is a ticket: the run is over before its first step') WHERE (flow.run('hot', 'before')).status = 'suppressed';
SELECT pg_temp.process('hot', '2026-01-06T10:00:00Z');
SELECT lives_ok($$ SELECT entrestate.signal_add(flow.id('hot', 'between'), 'visit_request') FROM flow.enter('hot') $$, 'hot between steps');
SELECT pg_temp.process('hot', '2026-01-07T10:00:00Z');
SELECT is(flow.story('hot', 'between'), 'run.started, step.sent 0, suppressed_hot (hot)', 'hot between steps: the brake');

-- rising intent: put off once; a step without a delay is not; the setting
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('rising', '{email 0,sms 3 days,email 0}'), flow.lead('rising', 'ann'), pg_temp.process('rising', '2026-01-05T10:00:00Z');
  PERFORM flow.at('2026-01-05T11:00:00Z'), flow.enter('rising'), entrestate.signal_add(flow.id('rising', 'ann'), 'form_resubmission'), entrestate.signal_add(flow.id('rising', 'ann'), 'click', reference => 'r1');
END $$;
SELECT is(pg_temp.says('rising', 'ann', '2026-01-08T10:00:00Z'), '13 defer rising_intent 2026-01-11 10:00:00+00', 'rising intent: by the step''s delay again');
SELECT pg_temp.process('rising', '2026-01-08T10:00:00Z'), pg_temp.process('rising', '2026-01-11T10:00:00Z');
SELECT is(flow.story('rising', 'ann'), 'run.started, step.sent 0, step.deferred 1 (rising_intent), step.sent 1, step.sent 2, run.done (completed)', 'once; and a zero delay cannot be put off');

-- a ticket that was closed before the run began, and one since; a reply a year ago
DO $$
DECLARE
  k uuid;
BEGIN
  PERFORM flow.at('2025-01-05T10:00:00Z'), flow.make('before', '{email 0,sms 1 day}'), flow.enter('before');
  INSERT INTO flow.lead VALUES ('before', 'ticket', entrestate.lead_create('ticket', 'before1@example.com', '+14165550301')),
    ('before', 'reply', entrestate.lead_create('reply', 'before2@example.com', '+14165550302')), ('before', 'since', entrestate.lead_create('since', 'before3@example.com', '+14165550303'));
  PERFORM entrestate.handoff_resolve(entrestate.handoff_open(flow.id('before', 'ticket'), 'called'), 'done'), entrestate.signal_add(flow.id('before', 'reply'), 'reply', reference => 'a');
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.enter('before');
  PERFORM entrestate.lead_attribute(l.lead, t.campaign) FROM flow.lead l JOIN flow.tenant t ON t.name = l.tenant WHERE l.tenant = 'before';
  PERFORM pg_temp.process('before', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('before'), entrestate.handoff_resolve(entrestate.handoff_open(flow.id('before', 'since'), 'called'), 'done');
  PERFORM pg_temp.process('before', '2026-01-06T10:00:00Z');
END $$;
SELECT is(flow.story('before', 'ticket'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', 'ticket closed before the run: it is not of the run');
SELECT is(flow.story('before', 'reply'), 'run.started, step.sent 0, step.sent 1, run.done (completed)', 'a reply a year ago: it is not of the run');
SELECT is(flow.story('before', 'since'), 'run.started, step.sent 0, suppressed_handoff (handoff)', 'a ticket opened since the run began, and closed at once, ended it');

-- erased, merged, complained: at once
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('gone', '{email 0,sms 1 day}'), flow.lead('gone', 'erased'), flow.lead('gone', 'merged'), flow.lead('gone', 'complained'), flow.lead('gone', 'lost'),
    pg_temp.process('gone', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('gone'), entrestate.lead_erasure_request(flow.id('gone', 'erased')), entrestate.lead_complained(flow.id('gone', 'complained')),
    entrestate.lead_merge(flow.id('gone', 'merged'), flow.id('gone', 'lost')), entrestate.lead_status_set(flow.id('gone', 'lost'), 'lost');
END $$;
SELECT is(pg_temp.says('gone', v.name), v.want, 'a run that has ended says why: ' || v.name) FROM (VALUES ('erased', 'ended erased'), ('complained', 'ended complained'), ('merged', 'ended merged'), ('lost', 'ended lead_closed')) v(name, want);

-- channel paused: the queue is held, also for who could not be written to; then off
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('channel', '{email 0,sms 1 day}'), flow.lead('channel', 'ann'), flow.lead('channel', 'bob', NULL), entrestate.channel_set('email', paused => true),
    pg_temp.process('channel', '2026-01-05T10:00:00Z');
END $$;
SELECT is(pg_temp.says('channel', 'ann'), '11 hold channel_paused', 'channel paused');
SELECT is(pg_temp.says('channel', 'bob'), '11 hold channel_paused', 'who has no address waits too: the queue is not looked at run by run');
SELECT is((SELECT x.decision || ' ' || x.reason FROM flow.tenant t, flow.enter('channel'), entrestate.sender_explain(t.campaign, flow.id('channel', 'bob')) x WHERE t.name = 'channel' AND x.gate = 10), 'skip missing_email', 'and his own gate says what comes then');
SELECT pg_temp.process('channel', '2026-01-06T10:00:00Z');
SELECT is(flow.story('channel', 'bob'), 'run.started', 'nothing happens');
DO $$ BEGIN
  PERFORM flow.enter('channel'), entrestate.channel_set('email', false), pg_temp.process('channel', '2026-01-06T10:00:00Z'), pg_temp.process('channel', '2026-01-07T10:00:00Z');
END $$;
SELECT is(flow.story('channel', 'ann'), 'run.started, step.skipped 0 (channel_disabled), step.sent 1, run.done (completed)', 'channel off: skipped');
SELECT is(flow.story('channel', 'bob'), 'run.started, step.skipped 0 (missing_email), step.sent 1, run.done (completed)', 'for his own reason');

-- dry run turned off in the middle
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('dry', '{email 0,sms 1 day}'), entrestate.tenant_update(dry_run => true), flow.lead('dry', 'ann'), pg_temp.process('dry', '2026-01-05T10:00:00Z');
  PERFORM flow.enter('dry'), entrestate.tenant_update(dry_run => false), pg_temp.process('dry', '2026-01-06T10:00:00Z');
END $$;
SELECT is(flow.story('dry', 'ann'), 'run.started, step.simulated 0 (dry_run)', 'dry run off mid-run: the rehearsal does not go on');
SELECT is(pg_temp.says('dry', 'ann'), '8 hold awaiting_go_live', 'it waits for a person, and says so');

-- a daily limit: one goes out, the other waits for the day to end
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('limit', '{email 0}', 'sandbox', 'UTC'), flow.lead('limit', 'ann'), flow.lead('limit', 'bob');
  UPDATE entrestate.tenant_channels c SET daily_limit = 1 FROM flow.tenant t WHERE t.name = 'limit' AND c.tenant_id = t.tenant AND c.channel = 'email';
  PERFORM pg_temp.process('limit', '2026-01-05T10:00:00Z');
END $$;
SELECT is((SELECT array_agg(pg_temp.says('limit', n) ORDER BY pg_temp.says('limit', n)) FROM unnest('{ann,bob}'::text[]) n), '{16 hold daily_limit,ended completed}', 'a daily limit of one');
SELECT is((SELECT count(*) FROM unnest('{ann,bob}'::text[]) n WHERE pg_temp.says('limit', n, '2026-01-06T00:00:00Z') = '18 admit'), 1::bigint, 'tomorrow it is another day');
SELECT pg_temp.process('limit', '2026-01-06T00:00:00Z');
SELECT is(flow.story('limit', 'ann') || ' ' || flow.story('limit', 'bob'), 'run.started, step.sent 0, run.done (completed) run.started, step.sent 0, run.done (completed)', 'and so it is');

-- guards: on a field that is missing, and with times
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('guard', '{email 0}');
  PERFORM flow.enter('guard'), flow.sequence('guard', '{email 0,sms 1 day,email 1 day,sms 0}');
  UPDATE entrestate.sender_steps s SET guard = CASE s.step WHEN 0 THEN '$.lead.custom.budget > 500000' WHEN 1 THEN '$.now - $.run.created_at <= 86400'
    WHEN 2 THEN '$.now - $.run.created_at <= 86400' ELSE '$.steps[1].outcome == "sent"' END FROM flow.tenant t WHERE t.name = 'guard' AND s.campaign_id = t.campaign AND s.version = 2;
  PERFORM entrestate.sequence_publish(t.campaign, 2) FROM flow.tenant t WHERE t.name = 'guard';
  PERFORM flow.lead('guard', 'ann'), flow.lead('guard', 'rich');
  PERFORM entrestate.lead_update(flow.id('guard', 'rich'), custom => '{"budget": 900000}');
  PERFORM pg_temp.process('guard', d::timestamptz) FROM unnest('{2026-01-05T10:00:00Z,2026-01-06T10:00:00Z,2026-01-07T10:00:00Z}'::text[]) d;
END $$;
SELECT is(flow.story('guard', 'ann'), 'run.started, step.skipped 0 (guard_error), step.sent 1, step.skipped 2 (guard_false), step.sent 3, run.done (completed)', 'guard on a missing field, and with times');
SELECT is(flow.story('guard', 'rich'), 'run.started, step.sent 0, step.sent 1, step.skipped 2 (guard_false), step.sent 3, run.done (completed)', 'and on one that is there');

-- what is in flight
DO $$ BEGIN
  PERFORM flow.at('2026-01-05T10:00:00Z'), flow.make('live', '{email 0,sms 1 day}', 'live'), flow.lead('live', 'ann'), flow.process('live');
END $$;
SELECT is(pg_temp.says('live', 'ann'), 'in_flight', 'a message in flight: one row says so');
SELECT is((SELECT count(*) FROM flow.tenant t, flow.enter('live'), entrestate.sender_explain(t.campaign, flow.id('live', 'ann')) x WHERE t.name = 'live'), 1::bigint, 'and no gate is looked at');

-- ---------------------------------------------------------------- the property
SELECT cmp_ok(count(*)::integer, '>=', 80, 'sender_explain() was asked before that many decisions') FROM told;
SELECT is((SELECT string_agg(t::text, E'\n') FROM told t WHERE
    t.did IS DISTINCT FROM CASE WHEN t.says = 'admit' THEN 'step.sent' WHEN t.says LIKE 'hold %' THEN 'nothing'
      WHEN t.says LIKE 'skip %' THEN 'step.skipped' || substr(t.says, 5) WHEN t.says LIKE 'defer %' THEN 'step.deferred' || substr(t.says, 6)
      WHEN t.says = 'simulate dry_run' THEN 'step.simulated dry_run' END
    OR t.says LIKE 'defer %' AND t.next_at IS DISTINCT FROM t.until), NULL, 'what the gate that decides says is what the processor does');
SELECT is((SELECT string_agg(DISTINCT t.gate::text, ',' ORDER BY t.gate::text) FROM told t), '10,11,13,14,15,16,17,18,2,8,9', 'of all these gates');
SELECT is((SELECT array_agg(x.gate ORDER BY x.gate) FROM flow.tenant t, flow.enter('dry'), entrestate.sender_explain(t.campaign, flow.id('dry', 'ann')) x WHERE t.name = 'dry'),
  (SELECT array_agg(n) FROM generate_series(1, 18) n), 'every gate is shown, in its order');
SELECT is((SELECT count(*) FROM flow.tenant t, flow.enter('dry'), entrestate.sender_explain(t.campaign, flow.id('dry', 'ann')) x WHERE t.name = 'dry' AND (x.saw IS NULL OR x.decision IS NULL)), 0::bigint, 'with what it saw');
SELECT flow.digest('dry') AS before \gset
SELECT lives_ok($$ SELECT entrestate.sender_explain(t.campaign, flow.id('dry', 'ann')) FROM flow.tenant t, flow.enter('dry') WHERE t.name = 'dry' $$, 'an explanation');
SELECT is(flow.digest('dry'), :'before', 'writes nothing');

SELECT * FROM finish();
ROLLBACK;
