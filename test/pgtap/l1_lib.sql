-- The attacker's tools: \ir l1_lib.sql after setup.sql, as superuser.
CREATE SCHEMA attack;

-- What must never come out: the markers, and every uuid of B's rows.
CREATE TABLE attack.secret (word text PRIMARY KEY);
DO $$
DECLARE
  t regclass;
BEGIN
  FOR t IN SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  LOOP
    EXECUTE format($q$ INSERT INTO attack.secret
      SELECT DISTINCT (regexp_matches(x::text, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g'))[1]
      FROM %s x WHERE x.tenant_id = $1 ON CONFLICT DO NOTHING $q$, t) USING fixture.id('b', 'tenant')::uuid;
  END LOOP;
  INSERT INTO attack.secret VALUES ('zqbeta');
END
$$;

-- The first secret in an answer that was not in the question.
CREATE FUNCTION attack.leak(answer text, question text DEFAULT '') RETURNS text LANGUAGE sql STABLE AS $$
  SELECT s.word FROM attack.secret s
  WHERE position(s.word IN answer) > 0 AND position(s.word IN question) = 0 LIMIT 1
$$;

-- Runs one statement as a login role in a tenant's context (who NULL: in none), looks at what came
-- of it, and undoes it.
--   state    00000 when it ran; then rows says how many it returned or touched
--   message  an error's message, detail, hint and constraint
--   leak     the first of B's secrets in the answer, or in any text of the error
--   changed  whether B's rows (without a context: anybody's) are other than "before", a digest
-- tidy runs first, in the same transaction: what the attacker prepared.
CREATE FUNCTION attack.try(role text, who text, statement text, before text DEFAULT NULL, tidy text DEFAULT NULL,
  OUT state text, OUT message text, OUT rows bigint, OUT answer text, OUT leak text, OUT changed boolean)
LANGUAGE plpgsql AS $$
DECLARE
  m text;
  d text;
  h text;
  c text;
  k text;
  result text;
BEGIN
  BEGIN
    IF who IS NULL THEN
      PERFORM entrestate.logout();
    ELSE
      PERFORM fixture.enter(who);
    END IF;
    EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', role);
    IF tidy IS NOT NULL THEN
      EXECUTE tidy;
    END IF;
    IF statement ~* '^\s*(SELECT|TABLE|WITH|VALUES|EXPLAIN|SHOW|FETCH)' THEN
      rows := 0;
      FOR result IN EXECUTE statement LOOP
        rows := rows + 1;
        answer := concat_ws(E'\n', answer, result);
      END LOOP;
    ELSE
      EXECUTE statement;
      GET DIAGNOSTICS rows = ROW_COUNT;
    END IF;
    RESET SESSION AUTHORIZATION;
    SET CONSTRAINTS ALL IMMEDIATE;
    IF before IS NOT NULL THEN
      changed := fixture.digest(CASE WHEN who IS NOT NULL THEN fixture.id('b', 'tenant')::uuid END) IS DISTINCT FROM before;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION
    WHEN SQLSTATE 'UNDO1' THEN
      state := '00000';
    WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL,
        h = PG_EXCEPTION_HINT, k = CONSTRAINT_NAME, c = PG_EXCEPTION_CONTEXT;
      message := concat_ws(' | ', m, nullif(d, ''), nullif(h, ''), nullif(k, ''));
      answer := concat_ws(' | ', message, c);
  END;
  leak := attack.leak(coalesce(answer, ''), statement);
END
$$;

-- A test for each set of attacks: none may have succeeded; at most five are shown.
CREATE TABLE attack.done (no integer GENERATED ALWAYS AS IDENTITY, part text, role text, who text,
  statement text, failure text);
CREATE FUNCTION attack.report(part text, at_least integer, what text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT is((SELECT string_agg(format(E'%s in %s: %s: %s', x.role, coalesce(x.who, 'no context'),
      left(x.statement, 200), x.failure), E'\n' ORDER BY x.no)
    FROM (SELECT * FROM attack.done d WHERE d.part = $1 AND d.failure IS NOT NULL ORDER BY d.no LIMIT 5) x),
    NULL, what)
  UNION ALL
  -- a generator that finds nothing to try must not pass
  SELECT cmp_ok((SELECT count(*)::integer FROM attack.done d WHERE d.part = $1), '>=', at_least,
    what || ': enough was tried')
$$;

-- Who attacks, and from which context: their own tenant, or none.
CREATE VIEW attack.attacker AS
  SELECT r.role, w.who FROM unnest('{fixture_app,fixture_anon,fixture_gateway,entrestate_authenticator,entrestate_worker,fixture_nobody}'::text[]) r(role)
  CROSS JOIN (VALUES ('a'), (NULL)) w(who);
