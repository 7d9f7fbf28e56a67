-- State machines through the API: every pair of states, against transitions(); and the guard on its own,
-- for every machine, against a superuser's UPDATE.
\ir setup.sql
\ir api_lib.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();
SELECT fixture.digest(NULL) AS before \gset

-- how a campaign or a template gets into a state, from draft
CREATE TEMP TABLE way (machine text, state text, prepare text);
INSERT INTO way VALUES
  ('campaign', 'draft', NULL),
  ('campaign', 'active', 'SELECT entrestate.campaign_status_set({campaign_draft}, ''active'')'),
  ('campaign', 'paused', 'SELECT entrestate.campaign_status_set({campaign_draft}, ''active''); SELECT entrestate.campaign_status_set({campaign_draft}, ''paused'')'),
  ('campaign', 'completed', 'SELECT entrestate.campaign_status_set({campaign_draft}, ''active''); SELECT entrestate.campaign_status_set({campaign_draft}, ''completed'')'),
  ('campaign', 'archived', 'SELECT entrestate.campaign_status_set({campaign_draft}, ''archived'')'),
  ('template', 'approved', NULL),
  ('template', 'retired', 'SELECT entrestate.template_status_set({template}, 1, ''retired'')');
SELECT is(count(*), 0::bigint, 'every state of a campaign is tried') FROM (
  SELECT to_state FROM entrestate.transitions() WHERE machine = 'campaign' EXCEPT SELECT state FROM way WHERE machine = 'campaign') missing;

CREATE TEMP TABLE tried AS
SELECT w.machine, w.state, s.to_state, t.state AS got, t.message, t.hint,
  -- draft is not for callers; the same state again does nothing
  CASE WHEN w.machine = 'campaign' AND s.to_state = 'draft' THEN '22023'
    WHEN w.state = s.to_state OR EXISTS (SELECT FROM entrestate.transitions() x
      WHERE x.machine = w.machine AND x.from_state = w.state AND x.to_state = s.to_state) THEN '00000' ELSE 'ZE005' END AS want
FROM way w
CROSS JOIN LATERAL (SELECT DISTINCT x.to_state FROM entrestate.transitions() x WHERE x.machine = w.machine) s
CROSS JOIN LATERAL api.try(format(CASE w.machine WHEN 'campaign' THEN 'SELECT entrestate.campaign_status_set({campaign_draft}, %L)'
  ELSE 'SELECT entrestate.template_status_set({template}, 1, %L)' END, s.to_state), 'owner', w.prepare) t;
SELECT is(got || coalesce(' ' || nullif(message, ''), ''), want || CASE want WHEN 'ZE005' THEN format(' a %s cannot go from %s to %s', machine, state, to_state)
  WHEN '22023' THEN ' status has a value that is not allowed' ELSE '' END, format('%s: %s to %s', machine, state, to_state))
FROM tried ORDER BY machine, state, to_state;
SELECT is(count(*), 0::bigint, 'the hint names transitions()') FROM tried WHERE got = 'ZE005' AND hint <> 'entrestate.transitions() lists what is allowed.';

-- the same status again writes nothing
SELECT is((api.try('SELECT count(*) FROM entrestate.activity_feed() f WHERE f.event ->> ''type'' = ''campaign.paused''', 'owner',
    'SELECT entrestate.campaign_status_set({campaign}, ''paused''); SELECT entrestate.campaign_status_set({campaign}, ''paused'')')).answer, '(1)', 'a campaign is paused once');
SELECT is((api.try('SELECT count(*) FROM entrestate.audit_list() f WHERE f.action = ''tenant.frozen''', 'owner',
    'SELECT entrestate.tenant_freeze(''x''); SELECT entrestate.tenant_freeze(''y'')')).answer, '(1)', 'a tenant is frozen once');

-- sequences: what was archived or retired does not come back
SELECT is((api.try('SELECT entrestate.sequence_publish({campaign}, 1)', 'owner', 'SELECT entrestate.sequence_publish({campaign}, 2)')).state,
  'ZE005', 'an archived sequence is not published again');
SELECT is((t.state, t.message, t.hint)::text, '(55000,"the template of step 0 is not approved","Approve it with template_status_set().")', 'a sequence needs approved templates')
FROM api.try('SELECT entrestate.sequence_publish({campaign}, 3)', 'owner', $$
  SELECT entrestate.template_status_set({template}, 1, 'retired');
  SELECT entrestate.sequence_create({campaign}, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', {template}, 'delay', '0')))$$) t;
SELECT is((api.try('SELECT entrestate.lead_create(''Late'', ''late@example.com'', campaign => {campaign})', 'owner', 'SELECT entrestate.campaign_status_set({campaign}, ''completed'')')).state,
  '00000', 'a lead may come to a campaign that has ended; no run begins');

-- the guard by itself: every pair of every machine, whoever writes; what the system alone writes is ZE002 before that
CREATE TEMP TABLE guarded AS
SELECT p.table_name, p.machine, p.machine_column, p.kind, f.state AS from_state, s.state AS to_state
FROM entrestate.protected_tables p
CROSS JOIN LATERAL (SELECT DISTINCT x.to_state AS state FROM entrestate.transitions() x WHERE x.machine = p.machine) f
CROSS JOIN LATERAL (SELECT DISTINCT x.to_state AS state FROM entrestate.transitions() x WHERE x.machine = p.machine) s
WHERE p.machine IS NOT NULL AND f.state <> s.state;
CREATE FUNCTION pg_temp.update_state(g guarded) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  n integer;
  -- what a ticket's or an identity's state goes with
  also text := CASE WHEN g.table_name = 'handoff_tickets' THEN ', taken_by = ''x'', resolved_at = CASE WHEN $1 = ''resolved'' THEN now() END'
    WHEN g.table_name = 'sender_identities' THEN ', verified_at = now()' ELSE '' END;
BEGIN
  PERFORM fixture.enter('a');
  -- put there without its guard, to have the state to go from; and undone
  SET LOCAL session_replication_role = replica;
  IF g.kind = 'tenant' THEN
    EXECUTE format('UPDATE entrestate.%I SET %I = $1 %s WHERE tenant_id = $2', g.table_name, g.machine_column, also)
      USING g.from_state, fixture.id('a', 'tenant')::uuid;
  END IF;
  SET LOCAL session_replication_role = origin;
  EXECUTE format('UPDATE entrestate.%I SET %I = $1 %s WHERE tenant_id = $2', g.table_name, g.machine_column, also)
    USING g.to_state, fixture.id('a', 'tenant')::uuid;
  GET DIAGNOSTICS n = ROW_COUNT;
  RAISE EXCEPTION USING ERRCODE = 'UNDO1', MESSAGE = n::text;
EXCEPTION
  WHEN SQLSTATE 'UNDO1' THEN
    RETURN CASE WHEN SQLERRM::integer > 0 THEN '00000' ELSE 'no row' END;
  WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
-- one row of each table will do: a sequence can be published but once
SELECT is((SELECT string_agg(format('%s %s>%s: %s', g.machine, g.from_state, g.to_state, x.got), ', ') FROM guarded g
    CROSS JOIN LATERAL (SELECT pg_temp.update_state(g) AS got) x
    WHERE g.table_name <> 'sender_sequences' AND x.got <> CASE WHEN g.kind = 'derived' THEN 'ZE002'
      WHEN EXISTS (SELECT FROM entrestate.transitions() t WHERE t.machine = g.machine AND t.from_state = g.from_state AND t.to_state = g.to_state) THEN '00000'
      ELSE 'ZE005' END), NULL, 'every change of state of every machine is as transitions() says, also for a superuser');
SELECT cmp_ok((SELECT count(*)::integer FROM guarded WHERE kind = 'tenant'), '>', 80, 'and enough was tried');
SELECT throws_ok(format($$ INSERT INTO entrestate.leads (tenant_id, lead_id, status, source, created_at, updated_at)
  SELECT %L, gen_random_uuid(), 'booked', 'api', now(), now() FROM fixture.enter('a') $$, :'a'), 'ZE005', 'a lead cannot begin as booked', 'nor does a row begin in a later state');

SELECT entrestate.logout() AS out \gset api_
SELECT is(fixture.digest(NULL), :'before', 'nothing was left behind');
SELECT finish();
ROLLBACK;
