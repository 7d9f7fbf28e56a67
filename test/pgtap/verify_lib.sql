-- Breaks a law on purpose, asks verify(), and undoes it: \ir verify_lib.sql as superuser.
CREATE SCHEMA broken;

-- Runs a script, asks verify(), undoes both. Returns NULL when verify() reported what was wanted
-- and nothing else, or what was wrong. A wanted finding is 'law|object|detail', a LIKE pattern:
-- each must match a row, and each row must match one.
--
-- PostgreSQL leaves a superuser these routes, and the script takes them:
--   plain      nothing special
--   unguarded  the event triggers are disabled, and enabled again before verify() looks
--   catalog    allow_system_table_mods, for UPDATEs of the catalog
-- and for rows broken.tamper(), which does the same with a table's triggers.
CREATE FUNCTION broken.judge(route text, script text, wanted text[], as_role text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  found text[];
  extra text[];
  missed text[];
BEGIN
  BEGIN
    IF route = 'unguarded' THEN
      PERFORM broken.event_triggers('DISABLE');
    ELSIF route = 'catalog' THEN
      SET LOCAL allow_system_table_mods = on;
    ELSIF route <> 'plain' THEN
      RAISE 'no such route: %', route;
    END IF;
    EXECUTE script;
    IF route = 'unguarded' THEN
      PERFORM broken.event_triggers('ENABLE ALWAYS');
    END IF;
    SET LOCAL allow_system_table_mods = off;
    IF as_role IS NOT NULL THEN
      EXECUTE format('SET LOCAL ROLE %I', as_role);
    END IF;
    SELECT array_agg(format('%s|%s|%s', law, object, detail)) INTO found FROM entrestate.verify();
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    NULL;
  END;
  SELECT array_agg(f) INTO extra FROM unnest(found) f WHERE NOT EXISTS (SELECT FROM unnest(wanted) w WHERE f LIKE w);
  SELECT array_agg(w) INTO missed FROM unnest(wanted) w WHERE NOT EXISTS (SELECT FROM unnest(found) f WHERE f LIKE w);
  RETURN nullif(concat_ws(E'\n', 'not reported: ' || array_to_string(missed, E'\n  '),
    'reported besides: ' || array_to_string(extra[1:10], E'\n  ')), '');
END
$$;

CREATE FUNCTION broken.event_triggers(how text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  e name;
BEGIN
  FOR e IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrestate\_%' LOOP
    EXECUTE format('ALTER EVENT TRIGGER %I %s', e, how);
  END LOOP;
END
$$;

-- Runs a statement while a table, and all its partitions, have no triggers: '%s' in it is the table.
CREATE FUNCTION broken.tamper(table_name text, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  relations regclass[] := ARRAY(SELECT p.relid FROM pg_partition_tree(format('entrestate.%I', table_name)::regclass) p);
  triggers text[] := ARRAY(SELECT format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.tgrelid::regclass,
    CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE '' END, t.tgname)
    FROM pg_trigger t WHERE t.tgrelid = ANY (relations || ARRAY[format('entrestate.%I', table_name)::regclass]) AND NOT t.tgisinternal);
  r text;
BEGIN
  PERFORM broken.event_triggers('DISABLE');
  FOREACH r IN ARRAY relations || ARRAY[format('entrestate.%I', table_name)::regclass] LOOP
    EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', r);
  END LOOP;
  EXECUTE format(statement, format('entrestate.%I', table_name));
  FOREACH r IN ARRAY triggers LOOP
    EXECUTE r;
  END LOOP;
  PERFORM broken.event_triggers('ENABLE ALWAYS');
END
$$;

-- One test: the break, and what verify() must say of it.
CREATE FUNCTION broken.is_reported(what text, route text, script text, VARIADIC wanted text[]) RETURNS text
LANGUAGE sql AS $$ SELECT is(broken.judge(route, script, wanted), NULL, what) $$;

-- What a foreign trigger and event trigger may do.
CREATE FUNCTION broken.quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(new, old); END $$;
CREATE FUNCTION broken.nothing() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
