-- The attacker's tools of L2 and L7: \ir l2_lib.sql after setup.sql, as superuser.
--
-- What is attacked comes from the catalog: every table that is declared to hold events, each of
-- its partitions, made before this file and by upkeep() at several moved clocks, so that a new
-- event table is attacked by itself.
CREATE SCHEMA l2;

-- Events of other times: months made ahead of them, months made after them (by way of the default
-- partition), and two that stay in the default partition, too early and too late.
SET client_min_messages = warning;
CREATE FUNCTION l2.some_events(who text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM entrestate.login_record(fixture.id(who, 'tenant')::uuid, fixture.id(who, 'owner'), 'login.succeeded', '203.0.113.0/24', 'sso');
  PERFORM fixture.enter(who);
  PERFORM entrestate.campaign_create('l2 ' || what);
  PERFORM entrestate.signal_add(
    entrestate.lead_create('l2 ' || what, format('l2.%s@example.com', what), campaign => fixture.id(who, 'campaign')::uuid), 'call_request');
END
$$;
SET entrestate.clock = '2031-05-05T10:00:00Z';
SELECT entrestate.upkeep() AS up \gset l2_
DO $$ BEGIN PERFORM l2.some_events('a', 'made.ahead'); END $$;
CALL entrestate.sender_process();
SET entrestate.clock = '2033-12-31T23:59:59Z';
DO $$ BEGIN PERFORM l2.some_events('b', 'made.after'); END $$;
CALL entrestate.sender_process();
SELECT entrestate.upkeep() AS up \gset l2_
SET entrestate.clock = '2002-02-02T10:00:00Z';
DO $$ BEGIN PERFORM l2.some_events('a', 'too.early'); END $$;
CALL entrestate.sender_process();
SET entrestate.clock = '2044-02-29T10:00:00Z';
DO $$ BEGIN PERFORM l2.some_events('b', 'too.late'); END $$;
CALL entrestate.sender_process();
SET entrestate.clock = '2026-01-09T10:00:00Z';

-- Every relation of a kind of table; a table, since a view on the catalog would be in use by DDL.
CREATE TABLE l2.relation AS
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relname, c.relkind, c.relispartition, d.kind,
    format('%I.%I', n.nspname, d.table_name) AS root,
    -- a column that anybody could want to change
    (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 1
       AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = '' ORDER BY a.attnum LIMIT 1) AS col,
    (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1) AS first_col,
    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.o) FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY u(n, o)
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n
     WHERE i.indrelid = c.oid AND i.indisprimary) AS pk,
    (SELECT string_agg(format('x.%1$I = y.%1$I', a.attname), ' AND ') FROM pg_index i
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::smallint[])
     WHERE i.indrelid = c.oid AND i.indisprimary) AS same,
    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS cols
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN entrestate.protected_tables d ON d.table_name = entrestate.guard_root(c.oid)
  WHERE n.nspname = 'entrestate' AND c.relkind IN ('r', 'p');

-- What the rows of a kind of table are, wherever they lie.
CREATE FUNCTION l2.digest(of_kinds text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t record;
  d text;
  everything text := '';
BEGIN
  FOR t IN SELECT p.table_name FROM entrestate.protected_tables p WHERE p.kind = ANY (of_kinds) ORDER BY 1 LOOP
    EXECUTE format('SELECT count(*) || '' '' || coalesce(md5(string_agg(x::text, chr(10) ORDER BY x::text)), ''none'') FROM entrestate.%I x',
      t.table_name) INTO d;
    everything := everything || t.table_name || ' ' || d || E'\n';
  END LOOP;
  RETURN everything;
END
$$;

-- Who attacks; the owner and superusers have every privilege, so that only the guards are left.
CREATE TABLE l2.attacker AS
  SELECT v.role, v.how, v.privileged FROM (VALUES
    ('fixture_app', 'SESSION AUTHORIZATION', false), ('fixture_anon', 'SESSION AUTHORIZATION', false),
    ('fixture_gateway', 'SESSION AUTHORIZATION', false), ('entrestate_authenticator', 'ROLE', false),
    ('entrestate_worker', 'SESSION AUTHORIZATION', false), ('fixture_auditor', 'SESSION AUTHORIZATION', false),
    ('fixture_nobody', 'SESSION AUTHORIZATION', false),
    ('entrestate_owner', 'ROLE', true), (current_user::text, 'ROLE', true)) v(role, how, privileged);

-- Runs one statement as a role, in tenant A's context; what succeeds stays, so that it would show.
CREATE FUNCTION l2.try(attacker l2.attacker, replication_role text, statement text, OUT state text, OUT message text, OUT detail text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM fixture.enter('a');
  PERFORM set_config('session_replication_role', replication_role, true);
  EXECUTE format('SET LOCAL %s %I', attacker.how, attacker.role);
  EXECUTE statement;
  state := '00000';
  RESET SESSION AUTHORIZATION;
  RESET ROLE;
  RESET session_replication_role;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END
$$;

-- Each attempt, with what must come of it: one of these SQLSTATEs, and a message that says why.
CREATE TABLE l2.done (no integer GENERATED ALWAYS AS IDENTITY, part text, role text, replication_role text,
  statement text, state text, failure text);
CREATE FUNCTION l2.attack(part text, attacker l2.attacker, replication_role text, statement text, wanted text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  t record;
BEGIN
  t := l2.try(attacker, replication_role, statement);
  INSERT INTO l2.done (part, role, replication_role, statement, state, failure)
  VALUES (part, attacker.role, replication_role, statement, t.state, CASE
    WHEN t.state = '00000' THEN 'it succeeded'
    WHEN t.state <> ALL (wanted) THEN format('wanted %s, got %s %s', wanted, t.state, t.message)
    WHEN t.state = 'ZE001' AND (t.message !~ '^(UPDATE|DELETE|TRUNCATE) is refused: table "\w+" is append-only$'
      OR t.detail !~ 'evidence.*superusers included') THEN format('the message does not say why: %s', t.message)
    WHEN t.state = 'ZE002' AND (t.message !~ '^(INSERT|UPDATE|DELETE|TRUNCATE) is refused: table "\w+" is written by the system alone$'
      OR t.detail = '') THEN format('the message does not say why: %s', t.message)
    WHEN t.state = 'ZE003' AND (t.message !~ '^.+ is refused on .+$' OR t.detail !~ 'guard')
      AND t.message <> 'tables are declared by schema scripts'
      THEN format('the message does not say why: %s', t.message)
    WHEN t.state = '42501' AND t.message !~ 'permission denied|must be (owner|member|superuser|able)|privileges of'
      THEN format('the message does not say why: %s', t.message) END);
END
$$;

-- A test for each part: none may have succeeded; at most five are shown.
CREATE FUNCTION l2.report(part text, at_least integer, what text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT is((SELECT string_agg(format('%s (%s): %s: %s', x.role, x.replication_role, left(x.statement, 200), x.failure), E'\n' ORDER BY x.no)
    FROM (SELECT * FROM l2.done d WHERE d.part = $1 AND d.failure IS NOT NULL ORDER BY d.no LIMIT 5) x), NULL, what)
  UNION ALL
  -- a generator that finds nothing to try must not pass
  SELECT cmp_ok((SELECT count(*)::integer FROM l2.done d WHERE d.part = $1), '>=', at_least, what || ': enough was tried')
$$;
