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
  ('who opts out while a rehearsal waits is out', NULL, '{"awaiting_go_live": true, "lead": {"opted_out": true}}', 'terminate', 'opted_out', NULL);

SELECT is((d.action, d.reason, d.until)::text, (s.action, s.reason, s.until)::text, s.name || coalesce(format(' ("%s")', s.words), ''))
FROM situation s CROSS JOIN LATERAL entrestate.sender_decide('{"now": "2026-01-05T10:00:00Z"}' || s.facts) d ORDER BY s.no;

SELECT * FROM finish();
ROLLBACK;
