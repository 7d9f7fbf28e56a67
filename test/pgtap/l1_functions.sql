-- L1: every function of the extension, found in pg_proc, is called as an application in tenant A's
-- context and in none, with arguments made from tenant B's ids: nothing of B comes back, nothing
-- of B changes, and what is B's is answered like what is nowhere.
\ir setup.sql
\ir l1_lib.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

CREATE TABLE attack.routine AS
  SELECT p.oid, p.oid::regprocedure::text AS sig, p.proname, p.prokind, p.prorettype,
    -- PostgreSQL lets no STABLE function of SQL or PL/pgSQL write
    p.provolatile = 'v' OR p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AS may_write,
    coalesce(p.proargnames[1:p.pronargs], '{}') AS names, ARRAY(SELECT t FROM unnest(p.proargtypes) WITH ORDINALITY u(t, o) ORDER BY o) AS types
  FROM pg_proc p
  WHERE EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'entrestate'
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

-- Values of an argument, as SQL: A's own first, B's second, then more of B's; NULL where the
-- generator does not know the type. What is a uuid in the first two places of "what" is B's, the
-- last two are nobody's.
CREATE FUNCTION attack.known_choices(name text, type oid) RETURNS text[] LANGUAGE sql AS $$
  SELECT CASE
    WHEN name IN ('exit_predicate', 'predicate') THEN '{''$.lead.score > 1''}'
    WHEN type = 'uuid'::regtype THEN
      ARRAY[coalesce((SELECT quote_literal(i.id) FROM fixture.ids i WHERE i.who = 'a'
               AND i.name = regexp_replace(known_choices.name, '_id$', '')), quote_literal(fixture.id('a', 'lead')))]
      || (SELECT array_agg(quote_literal(i.id) ORDER BY i.name <> regexp_replace(known_choices.name, '_id$', ''), i.name)
          FROM fixture.ids i WHERE i.who = 'b' AND i.kind <> 'user')
    WHEN type IN ('text'::regtype, 'name'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN CASE
      WHEN name IN ('status') THEN '{''approved'',''retired'',''active'',''paused'',''archived'',''enriched'',''booked''}'
      WHEN name = 'with_status' THEN '{''open'',''taken'',''new''}'
      WHEN name IN ('channel') THEN '{''email'',''sms''}'
      WHEN name = 'of_type' THEN '{''sender.step.sent'',''sender.run.started'',NULL}'
      WHEN name IN ('role') THEN '{''viewer'',''admin'',''owner'',NULL}'
      WHEN name IN ('time_zone', 'zone') THEN '{''UTC''}'
      WHEN name IN ('email', 'address') THEN '{''x@example.com'',''zqbeta.1@example.com'',''blocked.zqbeta@example.com''}'
      WHEN name IN ('phone', 'number') THEN '{''+14165559999'',''+14165550112''}'
      WHEN name = 'subject' THEN '{''x'',NULL}'
      WHEN name IN ('plan', 'currency') THEN '{NULL,''free''}'
      WHEN name IN ('capability') THEN '{''lead.read'',''tenant.freeze''}'
      WHEN name = 'kind' THEN '{''email'',''phone'',''call_request'',''reply'',''open''}'
      WHEN name = 'grade' THEN '{''A'',NULL}'
      WHEN name = 'owner' THEN ARRAY[quote_literal(fixture.id('a', 'closer'))]
      WHEN name = 'country' THEN '{''CA'',NULL}'
      WHEN name IN ('scope', 'opt_out_scope') THEN '{''all'',''channel'',NULL}'
      WHEN name = 'reason' THEN '{''manual''}'
      WHEN name = 'delimiter' THEN ARRAY[''',''', ''';''']
      WHEN name = 'tag' THEN '{NULL,''zqbeta vip''}'
      -- B's own key before B's word, as lead_texts has it
      WHEN name = 'query' THEN ARRAY['''zqalpha''', '''zqbeta''', quote_literal(entrestate.search_key(fixture.id('b', 'tenant')::uuid) || 'zqbeta'),
        '''zqbeta.1@example.com''', '''+14165550112''', NULL]
      ELSE '{''x''}' END::text[]
      || (SELECT array_agg(quote_literal(i.id) ORDER BY i.name) FROM fixture.ids i WHERE i.who = 'b' AND i.name IN ('tenant', 'owner', 'viewer'))
      || ARRAY[quote_literal(fixture.id('b', 'campaign') || '__' || fixture.id('b', 'lead')), quote_literal('key-1'), '''zqbeta towers''']
    WHEN type IN ('jsonb'::regtype, 'json'::regtype) AND name IN ('attribution', 'bindings', 'rows', 'weights', 'windows', 'quiet_hours', 'quiet', 'caps', 'behaviour') THEN (
      SELECT array_agg(quote_literal(v)) FROM unnest(CASE name
        WHEN 'attribution' THEN ARRAY['{}', jsonb_build_object('form', 'zqbeta-form', 'landing_page', 'https://zqbeta.example/towers'),
          jsonb_build_object('campaign_id', fixture.id('b', 'campaign'))]
        WHEN 'bindings' THEN ARRAY['{}', jsonb_build_object('forms', jsonb_build_array('zqbeta-form'))]
        WHEN 'rows' THEN ARRAY['[{"full_name": "X"}]', (SELECT jsonb_agg(x) FROM unnest(ARRAY[
            jsonb_build_object('email', 'zqbeta.1@example.com', 'phone', '+14165550122', 'idempotency_key', 'key-1'),
            jsonb_build_object('email', 'late.zqbeta@example.com', 'attribution', jsonb_build_object('form', 'zqbeta-form')),
            jsonb_build_object('full_name', 'zqbeta Six', 'campaign', fixture.id('b', 'campaign')),
            jsonb_build_object('full_name', 'zqbeta Six', 'attribution', jsonb_build_object('campaign_id', fixture.id('b', 'campaign')))]) x)]
        WHEN 'weights' THEN ARRAY['{"open": 3}', '{"zqbeta": 3}']::jsonb[] WHEN 'behaviour' THEN ARRAY['{"tone": 3}', '{"zqbeta": 3}']::jsonb[]
        ELSE ARRAY['[]', '[{"zqbeta": 3}]']::jsonb[] END) v)
    WHEN type IN ('jsonb'::regtype, 'json'::regtype) THEN (
      SELECT array_agg(quote_literal(v)) FROM unnest(ARRAY[
        CASE name WHEN 'steps' THEN jsonb_build_array(jsonb_build_object('channel', 'email', 'template', fixture.id('a', 'template'), 'delay', '0'))
          ELSE '{}' END,
        CASE name WHEN 'steps' THEN jsonb_build_array(jsonb_build_object('channel', 'email', 'template', fixture.id('b', 'template'), 'delay', '0'))
          ELSE (SELECT jsonb_object_agg(i.name || '_id', i.id) || jsonb_object_agg(i.name, i.id) || jsonb_build_object('tenant_id', fixture.id('b', 'tenant'))
                FROM fixture.ids i WHERE i.who = 'b') END,
        (SELECT jsonb_agg(i.id) FROM fixture.ids i WHERE i.who = 'b'),
        to_jsonb(fixture.id('b', 'campaign'))]) v)
    WHEN type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype, 'double precision'::regtype) THEN CASE
      WHEN name = 'version' THEN '{2,1}' WHEN name LIKE 'max\_%' THEN '{1000,1}' ELSE '{1,0,-1,2147483647}' END::text[]
    WHEN type = 'jsonpath'::regtype THEN '{''$.a == 1''}'
    WHEN name IN ('free_text', 'html') THEN '{false,true}'
    WHEN type = 'boolean'::regtype THEN '{true,false}'
    WHEN type IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN '{''2025-01-01'',''infinity'',''-infinity'',NULL}'
    WHEN type = 'interval'::regtype THEN '{''1 day'',''1 second''}'
    WHEN type IN ('inet'::regtype, 'cidr'::regtype) THEN '{''203.0.113.0/24''}'
    WHEN name = 'file' THEN ARRAY['''email\012x@example.com''', '''email,campaign\012zqbeta.1@example.com,' || fixture.id('b', 'campaign') || '''']
    WHEN type = 'bytea'::regtype THEN ARRAY['''\x00''', quote_literal('\x' || replace(fixture.id('b', 'tenant'), '-', ''))]
    WHEN name = 'campaigns' THEN ARRAY[NULL, quote_literal(ARRAY[fixture.id('b', 'campaign')])]
    WHEN type = 'uuid[]'::regtype THEN ARRAY[(SELECT quote_literal(array_agg(i.id)) FROM fixture.ids i WHERE i.who = 'a' AND i.kind = 'lead'),
      (SELECT quote_literal(array_agg(i.id)) FROM fixture.ids i WHERE i.who = 'b' AND i.kind <> 'user')]
    WHEN name IN ('consent', 'channels') THEN ARRAY['''{email}''', '''{email,sms}''']
    -- as many as there are leads in the choices of uuid[]
    WHEN name = 'kinds' AND type = 'text[]'::regtype THEN (SELECT array_agg(quote_literal(array_fill(k, ARRAY[n::integer])) ORDER BY k DESC, w) FROM unnest('{open,call_request}'::text[]) k,
      (SELECT i.who, count(*) FROM fixture.ids i WHERE i.who = 'a' AND i.kind = 'lead' OR i.who = 'b' AND i.kind <> 'user' GROUP BY 1) x(w, n))
    WHEN name = 'refs' THEN ARRAY[NULL, quote_literal(ARRAY['zqbeta-message'])]
    WHEN type = 'integer[]'::regtype THEN ARRAY['''{1,2,3,4,5,6,7,8}''']
    WHEN type = 'smallint[]'::regtype THEN ARRAY['''{1}''']
    WHEN type = 'timestamptz[]'::regtype THEN ARRAY[NULL, '''{2026-01-01}''']
    WHEN type = 'text[]'::regtype THEN ARRAY['''{x}''', (SELECT quote_literal(array_agg(i.id)) FROM fixture.ids i WHERE i.who = 'b')]
    WHEN type = 'pg_snapshot'::regtype THEN '{''1:1000000:'',NULL}'
    WHEN type IN ('oid'::regtype, 'regclass'::regtype) THEN '{''entrestate.leads''::regclass}'
    WHEN type = 'anyelement'::regtype THEN (SELECT array_agg(format('NULL::entrestate.%I', t.table_name)) FROM entrestate.protected_tables t)
  END
$$;

CREATE FUNCTION attack.choices(name text, type oid) RETURNS text[] LANGUAGE sql AS $$
  SELECT coalesce(attack.known_choices(name, type), '{NULL}')
$$;

CREATE FUNCTION attack.call(r attack.routine, args text[]) RETURNS text LANGUAGE sql AS $$
  SELECT CASE WHEN r.prokind = 'p' THEN format('CALL entrestate.%I(%s)', r.proname, v)
    ELSE format('SELECT to_jsonb(q) FROM entrestate.%I(%s) q', r.proname, v) END
  FROM (SELECT coalesce(string_agg(CASE WHEN t IN ('anyelement'::regtype, 'oid'::regtype) THEN a
          ELSE coalesce(a, 'NULL') || '::' || format_type(t, NULL) END, ', ' ORDER BY o), '') AS v
        FROM unnest(args, r.types) WITH ORDINALITY u(a, t, o)) x
$$;

-- Calls of a function: around two bases (all arguments A's, all B's) one argument at a time, and
-- all pairs of what are uuids. attacked is the argument that is B's or nobody's.
CREATE FUNCTION attack.calls(r attack.routine) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  bases text[][];
  c text[];
  base text[];
  n integer := cardinality(r.types);
  choice text[][];
BEGIN
  IF n = 0 THEN
    RETURN NEXT attack.call(r, '{}');
    RETURN;
  END IF;
  FOR b IN 1 .. 2 LOOP
    base := '{}';
    FOR i IN 1 .. n LOOP
      c := attack.choices(r.names[i], r.types[i]);
      base := base || c[least(b, cardinality(c))];
    END LOOP;
    RETURN NEXT attack.call(r, base);
    FOR i IN 1 .. n LOOP
      c := attack.choices(r.names[i], r.types[i]);
      FOR x IN 1 .. cardinality(c) LOOP
        RETURN NEXT attack.call(r, base[:i - 1] || c[x] || base[i + 1:]);
      END LOOP;
      -- what is not given takes its default
      RETURN NEXT attack.call(r, base[:i - 1] || 'NULL'::text || base[i + 1:]);
      FOR j IN i + 1 .. n LOOP
        CONTINUE WHEN r.types[i] <> 'uuid'::regtype OR r.types[j] <> 'uuid'::regtype;
        FOR x IN 1 .. cardinality(c) LOOP
          FOR y IN 1 .. cardinality(c) LOOP
            RETURN NEXT attack.call(r, base[:i - 1] || c[x] || base[i + 1:j - 1] || (attack.choices(r.names[j], r.types[j]))[y] || base[j + 1:]);
          END LOOP;
        END LOOP;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;

SELECT is((SELECT string_agg(r.sig || ': ' || format_type(t, NULL), ', ') FROM attack.routine r, unnest(r.names, r.types) u(n, t)
   WHERE r.prokind IN ('f', 'p') AND (has_function_privilege('fixture_app', r.oid, 'EXECUTE') OR has_function_privilege('fixture_anon', r.oid, 'EXECUTE'))
     AND attack.known_choices(n, t) IS NULL),
  NULL, 'the generator knows every type of argument: add it to attack.known_choices()');

-- ---------------------------------------------------------------- every call

DO $$
DECLARE
  r attack.routine;
  a record;
  s text;
  t record;
  before text;
BEGIN
  FOR a IN SELECT * FROM (VALUES ('fixture_app', 'a', 'owner'), ('fixture_app', NULL, NULL), ('fixture_anon', 'a', 'owner'), ('fixture_anon', NULL, NULL)) v(role, who, member) LOOP
    before := fixture.digest(CASE WHEN a.who IS NOT NULL THEN fixture.id('b', 'tenant')::uuid END);
    FOR r IN SELECT * FROM attack.routine x WHERE has_function_privilege(a.role, x.oid, 'EXECUTE') LOOP
      FOR s IN SELECT DISTINCT c FROM attack.calls(r) c LOOP
        t := attack.try(a.role, a.who, s, CASE WHEN r.may_write THEN before END);
        INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('call', a.role, a.who, s, CASE
          WHEN t.leak IS NOT NULL THEN format('it shows %s: %s', t.leak, t.answer)
          WHEN t.changed THEN 'it changed what is not the caller''s'
          -- a mistake in our own code, or in the generator's
          WHEN t.state LIKE 'XX%' OR t.state IN ('42601', '42883', '42P01', '42703', '42804') THEN format('%s %s', t.state, t.message)
          END);
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('call', 1500, 'every function, with arguments of B');

-- and that calls succeed when all is A's
SELECT is((attack.try('fixture_app', 'a', attack.call(r, ARRAY(SELECT (attack.choices(n, t))[1] FROM unnest(r.names, r.types) WITH ORDINALITY u(n, t, o) ORDER BY o)))).state,
  '00000', 'A may call ' || r.sig)
FROM attack.routine r
WHERE has_function_privilege('fixture_app', r.oid, 'EXECUTE') AND r.proname ~ '^(lead|campaign|sender|activity|audit|tenant)_(get|list|feed|history|runs_of|queue|create|attribute|update|pause|freeze)$' ORDER BY r.sig;


-- ---------------------------------------------------------------- what is B's is like what is nowhere

-- What came back, without what was asked and what is new each time: ids, B's words and numbers.
CREATE FUNCTION attack.bland(t text) RETURNS text LANGUAGE sql AS $$
  SELECT regexp_replace(t, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f-]{36}|user-b-\w+|nobody|zqbeta|zqnone|\+?1416555\d{4}|zqkey', '<id>', 'g')
$$;
DO $$
DECLARE
  r attack.routine;
  args text[];
  seen text[];
  t record;
  nobody text;
  choice text;
BEGIN
  FOR r IN SELECT * FROM attack.routine x WHERE has_function_privilege('fixture_app', x.oid, 'EXECUTE') LOOP
    args := ARRAY(SELECT (attack.choices(n, y))[1] FROM unnest(r.names, r.types) WITH ORDINALITY u(n, y, o) ORDER BY o);
    FOR i IN 1 .. cardinality(r.types) LOOP
      CONTINUE WHEN NOT (r.types[i] IN ('uuid'::regtype, 'jsonb'::regtype, 'bytea'::regtype, 'uuid[]'::regtype)
        OR r.names[i] IN ('user_id', 'owner', 'email', 'phone', 'address', 'query', 'tag', 'idempotency_key'));
      FOREACH choice IN ARRAY (attack.choices(r.names[i], r.types[i]))[2:] LOOP
        CONTINUE WHEN choice IS NULL OR r.names[i] IN ('user_id', 'owner') AND choice NOT LIKE '%user-b%';
        CONTINUE WHEN r.types[i] = 'jsonb'::regtype AND choice NOT LIKE '{%' AND choice NOT LIKE '%zqbeta%' AND choice NOT LIKE '''{%';
        -- the same for somebody who is nowhere
        nobody := replace(replace(regexp_replace(choice, 'user-b-\w+', 'nobody', 'g'), 'zqbeta', 'zqnone'),
          entrestate.search_key(fixture.id('b', 'tenant')::uuid), 'zqkey:');
        nobody := regexp_replace(nobody, '1416555\d{4}', '14165559876', 'g');
        FOR t IN SELECT DISTINCT f.id FROM fixture.ids f WHERE f.who = 'b' AND f.kind <> 'user' AND position(f.id IN nobody) > 0 LOOP
          -- the next one by order: what is paged by ids is cut at the same place
          nobody := replace(nobody, t.id, left(t.id, 33) || translate(right(t.id, 3), '0123456789abcdef', '123456789abcdef0'));
        END LOOP;
        t := attack.try('fixture_app', 'a', attack.call(r, args[:i - 1] || nobody || args[i + 1:]));
        seen := ARRAY[t.state, attack.bland(t.message), CASE t.state WHEN '00000' THEN attack.bland(t.answer) END];
        t := attack.try('fixture_app', 'a', attack.call(r, args[:i - 1] || choice || args[i + 1:]));
        INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('same', 'fixture_app', 'a', attack.call(r, args[:i - 1] || choice || args[i + 1:]),
          CASE WHEN ARRAY[t.state, attack.bland(t.message), CASE t.state WHEN '00000' THEN attack.bland(t.answer) END] IS DISTINCT FROM seen
            THEN format('%s %s %s, but of what is nowhere: %s', t.state, t.message, t.answer, seen) END);
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('same', 400, 'what is B''s is answered like what is nowhere');
SELECT is((attack.try('fixture_app', 'a', 'SELECT count(*) FROM entrestate.lead_search(''zqalpha.1@example.com'')')).answer, '1', 'A finds its own by address');

-- ---------------------------------------------------------------- search

-- Words stand in one index for all tenants, each after its tenant's key: with B's key typed in, by any
-- syntax of a query, nothing of B's is found, and what A writes with B's key B does not find.
SELECT is((SELECT string_agg(format('%s: %s %s', q, t.state, t.answer), E'\n') FROM (
    SELECT replace(replace(v, 'KEY', entrestate.search_key(fixture.id('b', 'tenant')::uuid)), 'BARE', rtrim(entrestate.search_key(fixture.id('b', 'tenant')::uuid), ':')) AS q
    FROM unnest(ARRAY['KEYzqbeta', 'BARE', 'BARE zqbeta', 'KEYzqbeta:*', '''KEYzqbeta''', '''zqalpha'' | ''KEYzqbeta''', 'x | KEYzqbeta', '!x', 'zqalpha | zqbeta',
      'zqbeta:*', 'zq:*', '\zqbeta', 'KEY', 'KEYzq', 'zqbeta six', 'six.zqbeta@example.com', '+1 416 555 0112', '%', '*', 'zqbeta'':* | ''x', $$zqbeta\'$$]) v) x
  CROSS JOIN LATERAL attack.try('fixture_app', 'a', format('SELECT to_jsonb(s) FROM entrestate.lead_search(%L) s', q)) t
  WHERE t.leak IS NOT NULL OR t.answer LIKE '%zqbeta%' OR t.state NOT IN ('00000', '22023')), NULL, 'no query finds what is B''s');
SELECT is((attack.try('fixture_app', 'b', 'SELECT count(*) FROM entrestate.lead_search(''zqplanted'') s', NULL,
    format('RESET SESSION AUTHORIZATION; SELECT fixture.enter(''a''); SET LOCAL SESSION AUTHORIZATION fixture_app; SELECT entrestate.lead_create(%L, company => %L); '
      'RESET SESSION AUTHORIZATION; SELECT fixture.enter(''b''); SET LOCAL SESSION AUTHORIZATION fixture_app',
      entrestate.search_key(fixture.id('b', 'tenant')::uuid) || 'zqplanted', 'zqplanted'))).answer, '0', 'nor does B find what A writes with B''s key');

-- ---------------------------------------------------------------- what is not for applications

DO $$
DECLARE
  a text;
  r attack.routine;
  t record;
  s text;
BEGIN
  FOREACH a IN ARRAY '{fixture_app,fixture_anon,fixture_nobody,fixture_gateway}'::text[] LOOP
    FOR r IN SELECT * FROM attack.routine x WHERE NOT has_function_privilege(a, x.oid, 'EXECUTE')
      AND x.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
    LOOP
      -- no NULL: of a strict function no call would be made
      s := attack.call(r, ARRAY(SELECT coalesce((SELECT c FROM unnest(attack.choices(n, y)) c WHERE c IS NOT NULL LIMIT 1), 'NULL')
        FROM unnest(r.names, r.types) WITH ORDINALITY u(n, y, o) ORDER BY o));
      t := attack.try(a, 'a', s);
      INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('closed', a, 'a', s,
        CASE WHEN t.state <> '42501' THEN format('%s %s', t.state, t.message) END);
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('closed', 100, 'what is not for applications cannot be called');
-- the ways in, and what acts past a context, whatever is granted later
SELECT is((SELECT string_agg(format('%s by %s', r.sig, a), ', ') FROM attack.routine r, unnest('{fixture_app,fixture_anon,fixture_nobody,public}'::text[]) a
  WHERE r.proname IN ('login', 'token_mint', 'context_enter_system', 'require', 'raise', 'migrate', 'tenant_create', 'login_record', 'protect', 'upkeep', 'tick',
      'sender_process', 'sender_process_tenant', 'sender_next_tenant', 'activity_add', 'audit_add', 'tenant_flag', 'guard_any_row', 'consumer_events', 'verify', 'schedule')
    AND has_function_privilege(a, r.oid, 'EXECUTE')), NULL, 'the ways in and the system''s functions are not granted to applications');
-- each trigger function of ours can only be a trigger, also on a table of the attacker's own
SELECT is((attack.try('fixture_app', 'a', format('CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION entrestate.%I()', r.proname), NULL,
    'CREATE TEMP TABLE mine (tenant_id uuid, status text)')).state, '42501', 'an application cannot make a trigger with ' || r.sig)
FROM attack.routine r WHERE r.prorettype = 'trigger'::regtype ORDER BY r.sig;

-- ---------------------------------------------------------------- what an attacker plants

-- Functions, operators and tables of the names that ours use, found first in the search path and in
-- pg_temp: if one of them runs as anybody but the attacker, a definer function of ours called it.
CREATE SCHEMA evil AUTHORIZATION fixture_app;
GRANT USAGE ON SCHEMA attack TO PUBLIC;
GRANT SELECT ON attack.routine TO PUBLIC;
SET LOCAL SESSION AUTHORIZATION fixture_app;
CREATE FUNCTION evil.caught() RETURNS uuid LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  IF current_user <> session_user THEN
    RAISE EXCEPTION 'PLANTED ran as %', current_user;
  END IF;
  RETURN NULL;
END
$$;
DO $$
DECLARE
  plant record;
  n integer := 0;
BEGIN
  FOR plant IN
    SELECT p.proname, p.oid, pg_get_function_identity_arguments(p.oid) AS args, format_type(p.prorettype, NULL) AS returns,
      p.proretset, NULL::name AS oprname, NULL::oid AS l, NULL::oid AS r
    FROM pg_proc p
    WHERE p.prokind = 'f' AND p.prorettype::regtype::text NOT IN ('internal', 'cstring', 'trigger', 'event_trigger', 'record')
      AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
      AND (p.pronamespace = 'entrestate'::regnamespace OR p.pronamespace = 'pg_catalog'::regnamespace AND p.proname::text IN (
        SELECT (regexp_matches(f.prosrc, '\w+', 'g'))[1] FROM attack.routine r JOIN pg_proc f ON f.oid = r.oid))
    UNION ALL
    SELECT 'op_' || o.oid, o.oid, format_type(o.oprleft, NULL) || ', ' || format_type(o.oprright, NULL), format_type(o.oprresult, NULL),
      false, o.oprname, o.oprleft, o.oprright
    FROM pg_operator o
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b' AND o.oprname <> '=>'
      AND o.oprleft IN ('uuid'::regtype, 'text'::regtype, 'timestamptz'::regtype, 'integer'::regtype, 'bigint'::regtype, 'jsonb'::regtype, 'boolean'::regtype, 'smallint'::regtype, 'interval'::regtype)
      AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid IN (o.oprright, o.oprresult) AND t.typtype = 'p')
  LOOP
    BEGIN
      EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS ''BEGIN PERFORM evil.caught(); RETURN%s; END''',
        plant.proname, plant.args, CASE WHEN plant.proretset THEN 'SETOF ' END, plant.returns,
        CASE WHEN plant.proretset OR plant.returns = 'void' THEN '' ELSE ' NULL' END);
      IF plant.oprname IS NOT NULL THEN
        EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.%I, LEFTARG = %s, RIGHTARG = %s)', plant.oprname, plant.proname, format_type(plant.l, NULL), format_type(plant.r, NULL));
      END IF;
      n := n + 1;
    -- of a few, the signature cannot be written again
    EXCEPTION WHEN duplicate_function OR syntax_error OR invalid_function_definition OR insufficient_privilege OR undefined_object THEN NULL;
    END;
  END LOOP;
  ASSERT n > 200, format('only %s things were planted', n);
  FOR plant IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p')
    UNION SELECT unnest('{pg_timezone_names,pg_class,pg_roles,pg_proc}'::name[])
  LOOP
    EXECUTE format('CREATE TEMP VIEW %I AS SELECT evil.caught() AS tenant_id, gen_random_uuid() AS campaign_id', plant.relname);
    EXECUTE format('CREATE VIEW evil.%I AS SELECT evil.caught() AS tenant_id, gen_random_uuid() AS campaign_id', plant.relname);
  END LOOP;
END
$$;
CREATE FUNCTION evil.run(call text) RETURNS text LANGUAGE plpgsql SET search_path = evil, pg_temp, pg_catalog AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE call INTO answer;
  RETURN answer;
END
$$;
RESET SESSION AUTHORIZATION;
-- what the plants are for: a definer function that is careless
CREATE FUNCTION attack.careless() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN char_length('x') = 1; END $$;
CREATE FUNCTION attack.careless2(t uuid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN t = t; END $$;
SELECT matches((attack.try('fixture_app', 'a', format('SELECT evil.run(%L)', c))).message, '^PLANTED ran as postgres', 'a plant is found: ' || c)
FROM unnest(ARRAY['SELECT attack.careless()', format('SELECT attack.careless2(%L)', fixture.id('b', 'tenant'))]) c;
DO $$
DECLARE
  r attack.routine;
  t record;
  s text;
  before text := fixture.digest(fixture.id('b', 'tenant')::uuid);
BEGIN
  FOR r IN SELECT * FROM attack.routine x WHERE has_function_privilege('fixture_app', x.oid, 'EXECUTE') LOOP
    FOR i IN 1 .. 2 LOOP
      s := format('SELECT evil.run(%L)', format('SELECT entrestate.%I(%s)::text', r.proname,
        (SELECT coalesce(string_agg(coalesce(c[least(i, cardinality(c))], 'NULL') || '::' || format_type(y, NULL), ', ' ORDER BY o), '')
         FROM unnest(r.names, r.types) WITH ORDINALITY u(n, y, o) CROSS JOIN LATERAL (SELECT attack.choices(n, y) AS c) x)));
      t := attack.try('fixture_app', 'a', s, before);
      INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('planted', 'fixture_app', 'a', s, CASE
        WHEN t.message LIKE '%PLANTED%' THEN t.message
        WHEN t.leak IS NOT NULL THEN format('it shows %s: %s', t.leak, t.answer)
        WHEN t.changed THEN 'it changed what is not the caller''s'
        WHEN i = 1 AND r.proname ~ '_(get|list|feed|create)$' AND t.state <> '00000' THEN format('%s %s', t.state, t.message) END);
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('planted', 80, 'planted functions, operators and tables are not used by ours');
-- the policies were made with what they mean: nothing planted changes them
SELECT is((attack.try('fixture_app', 'a', format('SELECT evil.run(%L)', 'SELECT pg_catalog.string_agg(DISTINCT m.tenant_id::text, '','') FROM entrestate.members m'))).answer,
  fixture.id('a', 'tenant'), 'nor by row security');
SELECT is((attack.try('fixture_app', NULL, format('SELECT evil.run(%L)', 'SELECT pg_catalog.count(*)::text FROM entrestate.members m'))).answer, '0', '... without a context too');
SELECT finish();
ROLLBACK;
