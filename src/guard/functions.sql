-- guard: triggers, event triggers, and the one declaration of a table's
-- protection. How each guard works: guard/triggers.c and guard/ddl.c.

CREATE FUNCTION guard_append_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_append_only';
COMMENT ON FUNCTION guard_append_only() IS
'Trigger: refuses UPDATE, DELETE and TRUNCATE for everybody (ZE001). (L2)';

CREATE FUNCTION guard_system_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_system_only';
COMMENT ON FUNCTION guard_system_only() IS
'Trigger: lets only entrestate''s own definer functions write (ZE002). (L2, L7)';

CREATE FUNCTION guard_tenant_stamp() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_tenant_stamp';
COMMENT ON FUNCTION guard_tenant_stamp() IS
'Trigger: gives a row the context''s tenant and refuses any other (ZE006). (L1)';

CREATE FUNCTION guard_transition() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_transition';
COMMENT ON FUNCTION guard_transition() IS
'Trigger (machine, column): allows only the changes of transitions() (ZE005). (L3)';

CREATE FUNCTION guard_content() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_content';
COMMENT ON FUNCTION guard_content() IS
'Trigger (columns): of a row that is no draft any more only these columns change (55000); without columns, no step of a published sequence changes. (L3, B1)';

CREATE FUNCTION guard_door() RETURNS boolean
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'guard_door';
COMMENT ON FUNCTION guard_door() IS
'Internal: whether migrate() or upkeep() is at work in this transaction.';

CREATE FUNCTION guard_ddl_start() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_ddl_start';
COMMENT ON FUNCTION guard_ddl_start() IS 'Event trigger: refuses DROP ... CASCADE of the extension or its schema (ZE003). (L2)';
CREATE FUNCTION guard_ddl_end() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_ddl_end';
COMMENT ON FUNCTION guard_ddl_end() IS 'Event trigger: refuses DDL that takes a guard away (ZE003). (L1, L2)';
CREATE FUNCTION guard_drop() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_drop';
COMMENT ON FUNCTION guard_drop() IS 'Event trigger: refuses dropping what is protected (ZE003). (L2)';
CREATE FUNCTION guard_rewrite() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'guard_rewrite';
COMMENT ON FUNCTION guard_rewrite() IS 'Event trigger: refuses rewriting an append-only table (ZE003). (L2)';

CREATE EVENT TRIGGER entrestate_ddl_start ON ddl_command_start
  WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'ALTER SCHEMA', 'ALTER EXTENSION')
  EXECUTE FUNCTION guard_ddl_start();
CREATE EVENT TRIGGER entrestate_ddl_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'CREATE TRIGGER', 'ALTER TRIGGER', 'CREATE RULE',
    'ALTER RULE', 'CREATE POLICY', 'ALTER POLICY', 'CREATE FUNCTION', 'ALTER FUNCTION',
    'CREATE PROCEDURE', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'CREATE TABLE', 'CREATE FOREIGN TABLE')
  EXECUTE FUNCTION guard_ddl_end();
CREATE EVENT TRIGGER entrestate_drop ON sql_drop EXECUTE FUNCTION guard_drop();
CREATE EVENT TRIGGER entrestate_rewrite ON table_rewrite EXECUTE FUNCTION guard_rewrite();
ALTER EVENT TRIGGER entrestate_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER entrestate_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER entrestate_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER entrestate_rewrite ENABLE ALWAYS;

CREATE FUNCTION guard_policies(kind text, OUT policy name, OUT command "char", OUT roles name[], OUT expression text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT v.policy::name, v.command::"char", v.roles::name[], v.expression
  FROM (VALUES
    ('{tenant,events,derived}', 'tenant_isolation', '*', '{entrestate_app,entrestate_owner}',
     '(tenant_id = ( SELECT entrestate.current_tenant() AS current_tenant))'),
    ('{tenant,events,derived,global}', 'auditor_reads', 'r', '{entrestate_auditor}', 'true'),
    ('{global,catalog}', 'owner_works', '*', '{entrestate_owner}', 'true'),
    ('{catalog}', 'everybody_reads', 'r',
     '{entrestate_app,entrestate_auditor,entrestate_authenticator,entrestate_worker}', 'true')
  ) AS v(kinds, policy, command, roles, expression)
  WHERE kind = ANY (v.kinds::text[])
$$;
COMMENT ON FUNCTION guard_policies(text) IS
'The row security policies of a kind of table; command is pg_policy.polcmd. (L1)';

CREATE FUNCTION guard_triggers(kind text, machine text, machine_column text, is_partition boolean,
  OUT trigger_name name, OUT function_name name, OUT type smallint, OUT enabled "char",
  OUT arguments text[], OUT per_row boolean, OUT clause text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  -- type is pg_trigger.tgtype: row 1, before 2, insert 4, delete 8, update 16,
  -- truncate 32. Row triggers are cloned to partitions by PostgreSQL.
  SELECT v.n::name, v.f::name, v.t::smallint, v.e::"char", v.a::text[], (v.t & 1) = 1, v.c
  FROM (VALUES
    ('{events}', 'guard_append_only_rows', 'guard_append_only', 27, 'A', '{}', 'BEFORE UPDATE OR DELETE'),
    ('{events}', 'guard_append_only', 'guard_append_only', 58, 'A', '{}', 'BEFORE UPDATE OR DELETE OR TRUNCATE'),
    ('{events}', 'guard_system_only', 'guard_system_only', 6, 'A', '{}', 'BEFORE INSERT'),
    ('{derived,global,catalog}', 'guard_system_only', 'guard_system_only', 62, 'A', '{}', 'BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE'),
    ('{tenant,derived}', 'guard_tenant_stamp', 'guard_tenant_stamp', 23, 'O', '{}', 'BEFORE INSERT OR UPDATE')
  ) AS v(kinds, n, f, t, e, a, c)
  WHERE kind = ANY (v.kinds::text[])
  UNION ALL
  SELECT 'guard_transition', 'guard_transition', 23, 'O', ARRAY[machine, machine_column], true,
    format('BEFORE INSERT OR UPDATE OF %I', machine_column)
  WHERE machine IS NOT NULL AND machine <> 'steps'
  UNION ALL
  SELECT 'guard_content', 'guard_content', v.t::smallint, 'A', v.a::text[], true, v.c
  FROM (VALUES ('sequence', 27, '{status,updated_at}', 'BEFORE UPDATE OR DELETE'), ('template', 27, '{status}', 'BEFORE UPDATE OR DELETE'),
    ('steps', 31, '{}', 'BEFORE INSERT OR UPDATE OR DELETE')) v(m, t, a, c)
  WHERE v.m = machine
$$;
COMMENT ON FUNCTION guard_triggers(text, text, text, boolean) IS
'The guard triggers of a kind of table: name, function, pg_trigger.tgtype, tgenabled, arguments. (L1, L2, L3, L7)';

CREATE FUNCTION guard_readers(kind text) RETURNS name[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE kind
    WHEN 'global' THEN '{entrestate_auditor}'
    WHEN 'catalog' THEN '{entrestate_app,entrestate_auditor,entrestate_authenticator,entrestate_worker}'
    ELSE '{entrestate_app,entrestate_auditor}' END::name[]
$$;
COMMENT ON FUNCTION guard_readers(text) IS
'The roles that may SELECT from a kind of table; nobody but the owner may write to any. (L1)';

CREATE FUNCTION guard_policy_is_ours(policy oid) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT EXISTS (
    SELECT FROM pg_policy p
    JOIN pg_class c ON c.oid = p.polrelid
    CROSS JOIN unnest('{tenant,events,derived,global,catalog}'::text[]) AS k
    JOIN entrestate.guard_policies(k) g ON g.policy = p.polname
    WHERE p.oid = guard_policy_is_ours.policy AND p.polpermissive AND p.polcmd = g.command
      AND g.roles = (SELECT array_agg(r.rolname ORDER BY r.rolname)
                     FROM unnest(p.polroles) u JOIN pg_roles r ON r.oid = u)
      AND pg_get_expr(p.polqual, p.polrelid) = g.expression
      AND (p.polcmd = 'r' OR pg_get_expr(p.polwithcheck, p.polrelid) = g.expression)
      AND coalesce(k = (SELECT t.kind FROM entrestate.protected_tables t
                        WHERE t.table_name = entrestate.guard_root(c.oid)), true))
$$;
COMMENT ON FUNCTION guard_policy_is_ours(oid) IS
'Internal: whether a policy is one that guard_policies() declares for its table. Without a declaration of the table (a restore in the making) any declared policy will do.';

CREATE FUNCTION guard_root(relation oid) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.relname::text FROM pg_class c
  WHERE c.oid = coalesce(pg_partition_root(relation), relation)
$$;
COMMENT ON FUNCTION guard_root(oid) IS
'Internal: name of the partitioned table a partition belongs to, or the table''s own.';

CREATE FUNCTION guard_definition(relation oid) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
-- what PostgreSQL writes of an expression depends on these
SET IntervalStyle = postgres SET DateStyle = ISO SET TimeZone = 'UTC' SET extra_float_digits = 1
SET quote_all_identifiers = off SET standard_conforming_strings = on AS $$
  SELECT array_agg(x ORDER BY x COLLATE "C") FROM (
    SELECT format('column %I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
      CASE WHEN a.attnotnull THEN ' NOT NULL' END, ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    -- from 18 on NOT NULL is a constraint, too: it stands with its column
    SELECT format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint k WHERE k.conrelid = relation AND k.contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = relation AND i.indisunique
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = relation)
  ) AS v(x)
$$;
COMMENT ON FUNCTION guard_definition(oid) IS
'Internal: a table''s columns, constraints and unique indexes, one text each. protect() keeps them and verify() compares.';

CREATE FUNCTION guard_dress(relation regclass, kind text, machine text, machine_column text) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it runs DDL made from the declaration. Caller: protect() and the
-- partition maker, with the door open.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p record;
  child boolean := (SELECT relispartition FROM pg_class WHERE oid = relation);
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
  EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', relation);
  FOR p IN SELECT * FROM entrestate.guard_policies(kind) LOOP
    EXECUTE format('CREATE POLICY %I ON %s FOR %s TO %s USING (%s)%s', p.policy, relation,
      CASE p.command WHEN 'r' THEN 'SELECT' ELSE 'ALL' END,
      (SELECT string_agg(quote_ident(r), ', ') FROM unnest(p.roles) r), p.expression,
      CASE p.command WHEN 'r' THEN '' ELSE format(' WITH CHECK (%s)', p.expression) END);
  END LOOP;
  FOR p IN SELECT * FROM entrestate.guard_triggers(kind, machine, machine_column, child) LOOP
    CONTINUE WHEN child AND p.per_row;  -- PostgreSQL clones these
    EXECUTE format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION entrestate.%I(%s)',
      p.trigger_name, p.clause, relation, CASE WHEN p.per_row THEN 'ROW' ELSE 'STATEMENT' END,
      p.function_name, (SELECT coalesce(string_agg(quote_literal(a), ', '), '') FROM unnest(p.arguments) a));
    IF p.enabled = 'A' THEN
      EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, p.trigger_name);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION guard_dress(regclass, text, text, text) IS
'Internal: puts the row security, policies and triggers of its kind on a table or partition.';

CREATE FUNCTION protect(table_name text, kind text, machine text DEFAULT NULL,
  machine_column text DEFAULT NULL, by_month boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: DDL and checks in order. Run by schema scripts, as a superuser.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rel regclass := format('entrestate.%I', table_name);
  key name;
BEGIN
  IF NOT entrestate.guard_door() THEN
    PERFORM entrestate.raise('GUARDED_DDL', 'tables are declared by schema scripts', NULL,
      'entrestate.migrate() runs them.');
  END IF;
  IF kind IN ('tenant', 'events', 'derived') THEN
    SELECT a.attname INTO key FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attnum = 1 AND a.attnotnull AND a.atttypid = 'uuid'::regtype;
    IF key IS DISTINCT FROM 'tenant_id' THEN
      RAISE EXCEPTION 'table %: the first column of a tenant''s table is tenant_id uuid NOT NULL', table_name;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = rel AND i.indisprimary AND i.indkey[0] = 1) THEN
      RAISE EXCEPTION 'table %: the primary key begins with tenant_id', table_name;
    END IF;
  END IF;
  IF by_month <> (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = rel) THEN
    RAISE EXCEPTION 'table %: by_month goes with PARTITION BY RANGE', table_name;
  END IF;
  EXECUTE format('ALTER TABLE %s OWNER TO entrestate_owner', rel);
  PERFORM entrestate.guard_dress(rel, kind, machine, machine_column);
  EXECUTE format('GRANT SELECT ON %s TO %s', rel,
    (SELECT string_agg(quote_ident(r), ', ') FROM unnest(entrestate.guard_readers(kind)) r));
  -- the door is open: the one time that a row gets in before its guard
  INSERT INTO entrestate.protected_tables VALUES (table_name, kind, machine, machine_column, by_month,
    entrestate.guard_definition(rel));
  IF by_month THEN
    PERFORM entrestate.partition_make(table_name, NULL);
  END IF;
END
$$;
COMMENT ON FUNCTION protect(text, text, text, text, boolean) IS
'Declares a table: its kind decides row security, policies, grants and guards, machine and machine_column its transitions, by_month its partitions (and makes the default one). For schema scripts. (F1, L1, L2, L7)';

CREATE FUNCTION partition_make(table_name text, month date, rows_of text DEFAULT NULL) RETURNS regclass
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: DDL made from a name and a date. month NULL: the default partition.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d entrestate.protected_tables;
  child text := CASE WHEN month IS NULL THEN table_name || '_default'
                     ELSE table_name || to_char(month, '"_p"YYYYMM') END;
  bounds text := CASE WHEN month IS NULL THEN 'DEFAULT'
    ELSE format('FOR VALUES FROM (%L) TO (%L)', to_char(month, 'YYYY-MM-DD "00:00:00+00"'),
                to_char(month + interval '1 month', 'YYYY-MM-DD "00:00:00+00"')) END;
  columns text;
BEGIN
  SELECT * INTO STRICT d FROM entrestate.protected_tables t WHERE t.table_name = partition_make.table_name;
  IF rows_of IS NULL THEN
    EXECUTE format('CREATE TABLE entrestate.%I PARTITION OF entrestate.%I %s', child, table_name, bounds);
    EXECUTE format('ALTER TABLE entrestate.%I OWNER TO entrestate_owner', child);
  ELSE
    -- The rows were published when they were written. They move into a table
    -- of its own, before it is a partition, and one that is not logged, so
    -- that no subscriber, not even of all tables, gets them a second time.
    EXECUTE format('CREATE UNLOGGED TABLE entrestate.%I (LIKE entrestate.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, table_name);
    EXECUTE format('ALTER TABLE entrestate.%I OWNER TO entrestate_owner', child);
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
    FROM pg_attribute a
    WHERE a.attrelid = format('entrestate.%I', table_name)::regclass
      AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    EXECUTE format($q$INSERT INTO entrestate.%1$I (%3$s) SELECT %3$s FROM entrestate.%2$I
                      WHERE date_trunc('month', recorded_at AT TIME ZONE 'UTC') = $1$q$, child, rows_of, columns) USING month::timestamp;
    EXECUTE format('ALTER TABLE entrestate.%I SET LOGGED', child);
    EXECUTE format('ALTER TABLE entrestate.%I ATTACH PARTITION entrestate.%I %s', table_name, child, bounds);
  END IF;
  PERFORM entrestate.guard_dress(format('entrestate.%I', child), d.kind, d.machine, d.machine_column);
  RETURN format('entrestate.%I', child);
END
$$;
COMMENT ON FUNCTION partition_make(text, date, text) IS
'Internal: makes one month''s partition, or with NULL the default one, with its guards; rows_of: a detached default partition whose rows of that month go into it.';

CREATE FUNCTION partition_upkeep(months_back integer, months_ahead integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: DDL in a loop. Called by upkeep() with the door open, as the owner.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d record;
  m date;
  spilled date[];
  made integer := 0;
  tries integer := 0;
BEGIN
  -- The locks first, all or none, and never waited for long (upkeep() sets
  -- lock_timeout): readers and writers queue behind a lock that waits, and a
  -- writer that holds one table and wants the next must not die of a deadlock.
  LOOP
    BEGIN
      FOR d IN SELECT t.table_name FROM entrestate.protected_tables t WHERE t.by_month ORDER BY 1 LOOP
        IF entrestate.guard_any_row(format('entrestate.%I', d.table_name || '_default')) OR EXISTS (
          SELECT FROM generate_series(-months_back, months_ahead) i WHERE to_regclass(format('entrestate.%I', d.table_name
            || to_char(date_trunc('month', entrestate.clock_now() AT TIME ZONE 'UTC') + make_interval(months => i), '"_p"YYYYMM'))) IS NULL)
        THEN
          EXECUTE format('LOCK TABLE entrestate.%I IN ACCESS EXCLUSIVE MODE', d.table_name);
        END IF;
      END LOOP;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      tries := tries + 1;
      IF tries = 10 THEN
        RAISE EXCEPTION 'upkeep did nothing: table "%" is in use', d.table_name
          USING ERRCODE = '55P03', HINT = 'The next call tries again. Months are made long before they are needed.';
      END IF;
    END;
    PERFORM pg_sleep(0.5);
  END LOOP;
  FOR d IN SELECT t.table_name FROM entrestate.protected_tables t WHERE t.by_month ORDER BY 1 LOOP
    -- What came too early or too late lies in the default partition, and a
    -- month's partition cannot be made while it does. No row is deleted (L2):
    -- the default partition is detached, each of its months is made with its
    -- rows in it, then a new default, and the old one is dropped.
    IF entrestate.guard_any_row(format('entrestate.%I', d.table_name || '_default')) THEN
      EXECUTE format('LOCK TABLE entrestate.%I IN ACCESS EXCLUSIVE MODE', d.table_name);
      -- the owner is under row security, too: lifted for this table, in this
      -- transaction, under a lock that nobody passes
      EXECUTE format('ALTER TABLE entrestate.%I NO FORCE ROW LEVEL SECURITY', d.table_name);
      EXECUTE format('ALTER TABLE entrestate.%1$I DETACH PARTITION entrestate.%2$I', d.table_name, d.table_name || '_default');
      EXECUTE format('ALTER TABLE entrestate.%1$I NO FORCE ROW LEVEL SECURITY', d.table_name || '_default');
      EXECUTE format('ALTER TABLE entrestate.%1$I RENAME TO %2$I', d.table_name || '_default', d.table_name || '_spill');
      PERFORM entrestate.partition_free_names(d.table_name || '_spill');
      EXECUTE format($q$SELECT array_agg(DISTINCT date_trunc('month', recorded_at AT TIME ZONE 'UTC')::date)
                        FROM entrestate.%I$q$, d.table_name || '_spill') INTO spilled;
      FOREACH m IN ARRAY spilled LOOP
        PERFORM entrestate.partition_make(d.table_name, m, d.table_name || '_spill');
        made := made + 1;
      END LOOP;
      PERFORM entrestate.partition_make(d.table_name, NULL);
      EXECUTE format('DROP TABLE entrestate.%I', d.table_name || '_spill');
      EXECUTE format('ALTER TABLE entrestate.%I FORCE ROW LEVEL SECURITY', d.table_name);
    END IF;
    FOR i IN -months_back .. months_ahead LOOP
      m := (date_trunc('month', entrestate.clock_now() AT TIME ZONE 'UTC') + make_interval(months => i))::date;
      IF to_regclass(format('entrestate.%I', d.table_name || to_char(m, '"_p"YYYYMM'))) IS NULL THEN
        PERFORM entrestate.partition_make(d.table_name, m);
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;
COMMENT ON FUNCTION partition_upkeep(integer, integer) IS
'Internal: makes the partitions around the current month and moves what lies in default partitions; returns how many were made.';

CREATE FUNCTION partition_free_names(table_name text) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: DDL in a loop.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  i record;
BEGIN
  FOR i IN SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
           WHERE x.indrelid = format('entrestate.%I', table_name)::regclass LOOP
    EXECUTE format('ALTER INDEX entrestate.%I RENAME TO %I', i.relname,
      left(i.relname, 54) || '_' || substr(md5(i.relname || random()::text), 1, 8));
  END LOOP;
END
$$;
COMMENT ON FUNCTION partition_free_names(text) IS
'Internal: frees the index names of a detached default partition for the new one.';

CREATE FUNCTION guard_any_row(relation regclass) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'guard_any_row';
COMMENT ON FUNCTION guard_any_row(regclass) IS
'Internal: whether a table of ours holds a row of any tenant.';

CREATE FUNCTION upkeep(months_back integer DEFAULT 1, months_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET lock_timeout = '200ms'
AS 'MODULE_PATHNAME', 'guard_upkeep';
COMMENT ON FUNCTION upkeep(integer, integer) IS
'Makes each month''s partitions ahead of need and moves what lies in default partitions to its month; returns how many partitions were made, NULL when another session is at it. Gives way to long transactions. For entrestate_worker. Errors: 22023, 25001, 55P03 when a table is in use. (A16)';
GRANT EXECUTE ON FUNCTION upkeep(integer, integer) TO entrestate_worker;
