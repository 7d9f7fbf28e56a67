-- L1: every relation of the schema, found in pg_class, is attacked by every role that is not
-- meant to see all tenants, in tenant A's context and in none: nothing of tenant B is read,
-- nothing is written.
\ir setup.sql
\ir l1_lib.sql
BEGIN;
-- "no privileges were granted" and its kin are what is expected
SET LOCAL client_min_messages = error;
-- the attacker may make things of their own
GRANT CREATE ON SCHEMA public TO PUBLIC;
SELECT no_plan();

-- ---------------------------------------------------------------- every relation

-- a table: a view on the catalog would be "in use" while DDL is tried
CREATE TABLE attack.relation AS
  SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.reltoastrelid,
    (SELECT d.kind FROM entrestate.protected_tables d WHERE d.table_name = entrestate.guard_root(c.oid)) AS kind,
    EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped) AS of_tenant,
    (SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
       AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = '' ORDER BY a.attnum LIMIT 1) AS col,
    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.o) FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY u(n, o)
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n
     WHERE i.indrelid = c.oid AND i.indisprimary) AS pk
  FROM pg_class c
  WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f');

SELECT isnt_empty(format('SELECT FROM %s x WHERE x.tenant_id = %L', name, fixture.id('b', 'tenant')),
  'the fixtures have rows of B in ' || name)
FROM attack.relation WHERE of_tenant AND relkind IN ('r', 'p') AND name !~ '_(p\d{6}|default)$' ORDER BY name;

-- Reads. Whatever the way, B's rows are not there; without a context none of any tenant's are.
DO $$
DECLARE
  a record;
  r record;
  s text;
  t record;
  b text := fixture.id('b', 'tenant');
BEGIN
  FOR a IN SELECT * FROM attack.attacker LOOP
    FOR r IN SELECT * FROM attack.relation LOOP
      FOREACH s IN ARRAY ARRAY[
        'SELECT x::text FROM %1$s x',
        'SELECT to_jsonb(x) FROM %1$s x WHERE x::text LIKE ''%%zqbeta%%''',
        'SELECT x::text FROM ONLY %1$s x',
        'SELECT x::text FROM %1$s x TABLESAMPLE SYSTEM (100)',
        'SELECT x::text FROM (VALUES (1)) v LEFT JOIN LATERAL (SELECT * FROM %1$s) x ON true',
        'WITH x AS MATERIALIZED (SELECT * FROM %1$s) SELECT x::text FROM x',
        'SELECT query_to_xml(''TABLE %1$s'', true, false, '''')::text',
        'SELECT schema_to_xml(''entrestate'', true, false, '''')::text'
        ] || CASE WHEN r.of_tenant THEN ARRAY[
        'SELECT x::text FROM %1$s x WHERE x.tenant_id = %2$L',
        'SELECT count(*) FROM %1$s x WHERE x.tenant_id = %2$L HAVING count(*) > 0',
        'SELECT max(x::text) FROM %1$s x WHERE x.tenant_id > ''00000000-0000-0000-0000-000000000000'' GROUP BY x.tenant_id',
        'SELECT x.ctid FROM %1$s x WHERE x.tenant_id = %2$L AND x.ctid IS NOT NULL',
        'SELECT 1 FROM %1$s x WHERE (SELECT x.tenant_id) = %2$L'] ELSE '{}' END
      LOOP
        -- once for the whole schema is enough
        CONTINUE WHEN s LIKE '%schema_to_xml%' AND r.name <> 'entrestate.leads';
        t := attack.try(a.role, a.who, format(s, r.name, b));
        INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('read', a.role, a.who, format(s, r.name, b),
          CASE
            -- a view cannot be sampled, and not everything is in a role's reach
            WHEN t.state NOT IN ('00000', '42501', '42809') THEN format('unexpected error %s %s', t.state, t.message)
            WHEN t.leak IS NOT NULL THEN 'it shows ' || t.leak
            WHEN s LIKE '%=%2$L%' AND t.rows > 0 THEN format('%s rows of B', t.rows)
            -- the rows of a LEFT JOIN and an XML document are there also when they hold nothing
            WHEN a.who IS NULL AND r.of_tenant AND t.rows > 0 AND s !~ 'LATERAL|_to_xml' THEN format('%s rows without a context', t.rows)
            WHEN t.state = '00000' AND r.kind = 'global' THEN 'a table across tenants can be read'
            WHEN t.state = '00000' AND a.role IN ('fixture_anon', 'fixture_gateway', 'fixture_nobody') AND s !~ '_to_xml' THEN 'this role should see no table'
          END);
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('read', 2000, 'reading every relation');

-- and that the attack sees what it may
SELECT cmp_ok((attack.try('fixture_app', 'a', format('SELECT x::text FROM %s x', name))).rows, '>', 0::bigint,
  'tenant A sees its own rows of ' || name)
FROM attack.relation WHERE kind IN ('tenant', 'events', 'derived') AND name !~ '_(p\d{6}|default)$' ORDER BY name;

-- Writes, and what would prepare one.
DO $$
DECLARE
  a record;
  r record;
  s text;
  t record;
  b text := fixture.id('b', 'tenant');
BEGIN
  FOR a IN SELECT * FROM attack.attacker UNION ALL SELECT 'fixture_auditor', NULL LOOP
    FOR r IN SELECT * FROM attack.relation LOOP
      FOREACH s IN ARRAY ARRAY[
        'INSERT INTO %1$s SELECT * FROM %1$s',
        'INSERT INTO %1$s DEFAULT VALUES',
        'INSERT INTO %1$s SELECT (jsonb_populate_record(NULL::%1$s, ''{"tenant_id": "%2$s"}'')).* ON CONFLICT DO NOTHING',
        'UPDATE %1$s SET %3$s = %3$s',
        'DELETE FROM %1$s',
        'WITH x AS (DELETE FROM %1$s RETURNING *) SELECT count(*) FROM x',
        'MERGE INTO %1$s t USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE',
        'MERGE INTO %1$s t USING (VALUES (1)) v ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES',
        'TRUNCATE %1$s', 'TRUNCATE %1$s CASCADE',
        'COPY %1$s FROM PROGRAM ''true''', 'COPY %1$s TO PROGRAM ''cat''', 'COPY %1$s FROM ''/dev/null''',
        'SELECT %3$s FROM %1$s FOR UPDATE', 'SELECT %3$s FROM %1$s FOR KEY SHARE',
        'LOCK %1$s IN ACCESS EXCLUSIVE MODE', 'LOCK %1$s IN SHARE MODE',
        'ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY', 'ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY',
        'ALTER TABLE %1$s DISABLE TRIGGER ALL', 'ALTER TABLE %1$s OWNER TO fixture_app',
        'ALTER TABLE %1$s ADD COLUMN x text', 'DROP TABLE %1$s CASCADE', 'COMMENT ON TABLE %1$s IS NULL',
        -- a GRANT of nothing is a warning
        'DO $x$ BEGIN GRANT ALL ON %1$s TO fixture_nobody; IF NOT has_table_privilege(''fixture_nobody'', %1$L, ''SELECT, INSERT, REFERENCES'') THEN RAISE insufficient_privilege; END IF; END $x$',
        'CREATE POLICY p ON %1$s USING (true)',
        'CREATE RULE r AS ON SELECT TO %1$s DO INSTEAD SELECT 1', 'CREATE INDEX ON %1$s ((%3$s))',
        'CREATE TRIGGER t BEFORE INSERT ON %1$s FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        'CREATE STATISTICS pg_temp.s ON %3$s, (%3$s IS NULL) FROM %1$s', 'REINDEX TABLE %1$s',
        'CREATE TABLE public.x () INHERITS (%1$s)', 'CREATE TABLE public.x PARTITION OF %1$s DEFAULT',
        -- a foreign key of one's own would ask whether a key is there
        'CREATE TABLE public.x (LIKE %1$s, FOREIGN KEY (%4$s) REFERENCES %1$s (%4$s))',
        'CREATE PUBLICATION p FOR TABLE %1$s', 'SELECT setval(pg_get_serial_sequence(%1$L, ''id''), 1)']
      LOOP
        -- from 17 on a partition's column is an identity too, but the sequence is its parent's
        CONTINUE WHEN s LIKE '%pg_get_serial_sequence%' AND NOT EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = r.oid
          AND CASE WHEN x.attname = 'id' AND x.attidentity <> '' THEN pg_get_serial_sequence(r.name, x.attname) END IS NOT NULL);
        CONTINUE WHEN s LIKE '%FOREIGN KEY%' AND r.pk IS NULL;
        t := attack.try(a.role, a.who, format(s, r.name, b, r.col, r.pk));
        INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('write', a.role, a.who, format(s, r.name, b, r.col, r.pk),
          CASE
            WHEN t.leak IS NOT NULL THEN 'it shows ' || t.leak
            WHEN t.state = '00000' THEN 'it was done'
            -- refused for want of a privilege, or because the statement cannot be: never for what
            -- a row holds (23xxx) or what a guard of ours found, which would be the last defence
            WHEN t.state NOT IN ('42501', '0A000', '42809', '42P16', '42P17', '42830', '42P01', '428C9', '42704')
              THEN format('refused by another than a missing privilege: %s %s', t.state, t.message)
          END);
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('write', 5000, 'writing to every relation');

-- Sequences and what lies behind the tables.
DO $$
DECLARE
  a record;
  s text;
  t record;
BEGIN
  FOR a IN SELECT * FROM attack.attacker LOOP
    FOR s IN
      SELECT format(v, c.oid::regclass) FROM pg_class c, unnest(ARRAY['SELECT nextval(%L)', 'SELECT setval(%L, 1)',
        'SELECT last_value FROM %s', 'ALTER SEQUENCE %s RESTART']) v
      WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind = 'S'
      UNION ALL
      SELECT format('SELECT chunk_data::text FROM %s', c.reltoastrelid::regclass) FROM pg_class c
      WHERE c.relnamespace = 'entrestate'::regnamespace AND c.reltoastrelid <> 0
      UNION ALL
      -- samples of values are kept by ANALYZE
      SELECT format('SELECT x::text FROM %s x', v) FROM unnest(ARRAY['pg_statistic', 'pg_statistic_ext_data',
        $q$pg_stats x WHERE schemaname = 'entrestate' AND tablename NOT IN (SELECT table_name FROM entrestate.protected_tables WHERE kind = 'catalog') --$q$,
        $q$pg_stats_ext x WHERE schemaname = 'entrestate' --$q$,
        'pg_authid', 'pg_user_mapping', 'pg_subscription', 'pg_file_settings', 'pg_hba_file_rules']) v
    LOOP
      t := attack.try(a.role, a.who, s);
      INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('behind', a.role, a.who, s,
        CASE WHEN t.leak IS NOT NULL THEN 'it shows ' || t.leak
             WHEN t.state = '00000' AND t.rows > 0 THEN format('%s rows', t.rows)
             WHEN t.state NOT IN ('00000', '42501') THEN format('unexpected error %s %s', t.state, t.message) END);
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('behind', 200, 'sequences, TOAST tables and statistics');

-- ---------------------------------------------------------------- what EXPLAIN tells

-- No row of B is among those that a plan says it found, whatever the plan.
DO $$
DECLARE
  r record;
  s text;
  p text;
  t record;
  b text := fixture.id('b', 'tenant');
BEGIN
  FOR r IN SELECT * FROM attack.relation WHERE of_tenant AND kind <> 'global' LOOP
    FOREACH p IN ARRAY '{enable_seqscan,enable_indexscan,enable_bitmapscan}'::text[] LOOP
      FOREACH s IN ARRAY ARRAY['EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) SELECT * FROM %1$s x WHERE x.tenant_id = %2$L',
        'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM %1$s x WHERE x::text LIKE ''%%zqbeta%%'''] LOOP
        t := attack.try('fixture_app', 'a', format(s, r.name, b), NULL, format('SET LOCAL %I = off', p));
        INSERT INTO attack.done (part, role, who, statement, failure)
        SELECT 'explain', 'fixture_app', 'a', format(s, r.name, b), CASE
          -- partitions are nobody's to read
          WHEN t.state = '42501' AND r.name ~ '_(p\d{6}|default)$' THEN NULL
          WHEN t.state <> '00000' THEN format('unexpected error %s %s', t.state, t.message)
          WHEN t.leak IS NOT NULL THEN 'it shows ' || t.leak
          WHEN jsonb_path_exists(t.answer::jsonb, '$[0].Plan."Actual Rows" ? (@ > 0)') THEN 'rows of B were counted: ' || t.answer
        END;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT attack.report('explain', 100, 'EXPLAIN ANALYZE of rows of B');

-- ---------------------------------------------------------------- keys

-- Row by row past privileges, row security and our own triggers, as nobody but a superuser in this
-- transaction can: what is left are the keys themselves.
CREATE FUNCTION attack.bare(tab regclass) RETURNS text LANGUAGE sql AS $$
  SELECT format('ALTER EVENT TRIGGER entrestate_ddl_end DISABLE; ALTER TABLE %s DISABLE TRIGGER USER', tab)
$$;

-- A reference to a row of B: a copy of one of A's rows, each foreign key pointed at a row of B, and
-- at nothing. Both are refused, in the same words.
DO $$
DECLARE
  k record;
  t record;
  t2 record;
  fresh text;
  s text;
  s2 text;
  v text;
BEGIN
  FOR k IN
    SELECT c.conname, c.conrelid, c.conrelid::regclass AS child, c.confrelid::regclass AS parent,
      array_agg(a.attname::text ORDER BY u.o) AS child_cols, array_agg(p.attname::text ORDER BY u.o) AS parent_cols,
      string_agg(format('%L, p.%I', a.attname, p.attname), ', ') FILTER (WHERE a.attname <> 'tenant_id') AS at_b,
      string_agg(format('%L, %s', a.attname, CASE a.atttypid WHEN 'uuid'::regtype THEN 'gen_random_uuid()::text'
        ELSE '1' END), ', ') FILTER (WHERE a.attname <> 'tenant_id') AS at_nothing
    FROM pg_constraint c
    CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY u(n, m, o)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.n
    JOIN pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = u.m
    WHERE c.contype = 'f' AND c.connamespace = 'entrestate'::regnamespace AND c.conparentid = 0
    GROUP BY c.oid
  LOOP
    v := NULL;
    s := 'key ' || k.conname;
    IF NOT 'tenant_id' = ANY (k.child_cols) OR k.child_cols[array_position(k.parent_cols, 'tenant_id')] <> 'tenant_id' THEN
      v := 'the key does not carry the tenant';
    ELSIF array_length(k.child_cols, 1) > 1 THEN
      -- what else must be unique gets a new value
      SELECT string_agg(format(', %L, %s', a.attname, CASE a.atttypid WHEN 'uuid'::regtype THEN 'gen_random_uuid()::text'
          WHEN 'text'::regtype THEN 'left(md5(random()::text), 20)' ELSE '99' END), '') INTO fresh
      FROM (SELECT DISTINCT a.attname, a.atttypid FROM pg_index i JOIN pg_attribute a
              ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::smallint[])
            WHERE i.indrelid = k.conrelid AND i.indisunique AND (i.indpred IS NULL OR i.indexrelid = 'entrestate.leads_idempotency'::regclass)
              AND a.attname <> ALL (k.child_cols) AND a.attname <> 'tenant_id' AND a.attname NOT IN ('kind', 'channel')
              AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = k.conrelid AND f.contype = 'f' AND a.attnum = ANY (f.conkey))
              AND a.atttypid IN ('uuid'::regtype, 'text'::regtype, 'smallint'::regtype, 'integer'::regtype)) a;
      -- a lead has one ticket that is not resolved, and any number that are
      fresh := fresh || CASE WHEN k.conrelid = 'entrestate.handoff_tickets'::regclass THEN ', ''status'', ''resolved'', ''resolved_at'', now()' ELSE '' END;
      -- another campaign of A's, which has no identity yet
      fresh := coalesce(fresh, '') || CASE WHEN k.conrelid = 'entrestate.campaign_identities'::regclass AND k.at_b !~ 'campaign_id'
        THEN format(', ''campaign_id'', %L', fixture.id('a', 'campaign_draft')) ELSE '' END;
      s := format('INSERT INTO %s SELECT (jsonb_populate_record(c, jsonb_build_object(%s%s))).* FROM %s c, %s p WHERE c.tenant_id = %L AND p.tenant_id = %L LIMIT 1',
        k.child, k.at_b, fresh, k.child, k.parent, fixture.id('a', 'tenant'), fixture.id('b', 'tenant'));
      s2 := format('INSERT INTO %s SELECT (jsonb_populate_record(c, jsonb_build_object(%s%s))).* FROM %s c WHERE c.tenant_id = %L LIMIT 1',
        k.child, k.at_nothing, fresh, k.child, fixture.id('a', 'tenant'));
      t := attack.try('postgres', 'a', s, NULL, attack.bare(k.child));
      t2 := attack.try('postgres', 'a', s2, NULL, attack.bare(k.child));
      v := CASE WHEN t.state <> '23503' OR t.message NOT LIKE '%' || k.conname || '%' THEN format('%s %s', t.state, t.message)
        WHEN t2.state <> '23503' THEN format('nothing was found: %s %s', t2.state, t2.message)
        WHEN regexp_replace(t.message, '=\([^)]*\)', '') <> regexp_replace(t2.message, '=\([^)]*\)', '')
          THEN format('other words for what is not there: %s; %s', t.message, t2.message) END;
    END IF;
    INSERT INTO attack.done (part, role, who, statement, failure) VALUES ('foreign', 'postgres', 'a', s, v);
  END LOOP;
END
$$;
-- ... and no reference is without a key. What is written per step or per signal has none, by
-- decision: the processor copies it from a locked run, signals from a locked lead, and verify() looks
-- for orphans. A notification is written like an event, from a row at hand, and tells nobody more
-- than that.
SELECT set_eq($$
  SELECT r.name, a.attname::text FROM attack.relation r JOIN pg_attribute a ON a.attrelid = r.oid
  WHERE r.kind IN ('tenant', 'derived') AND r.name <> 'entrestate.sender_intents' AND NOT a.attisdropped
    AND a.atttypid = 'uuid'::regtype AND a.attname <> 'tenant_id'
    AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = r.oid AND f.contype = 'f' AND a.attnum = ANY (f.conkey))
    -- the row's own id: what others refer to, or what only this table has, last in its key
    AND NOT EXISTS (SELECT FROM pg_constraint f WHERE f.confrelid = r.oid AND f.contype = 'f' AND a.attnum = ANY (f.confkey))
    AND NOT (EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indisprimary AND a.attnum = i.indkey[i.indnkeyatts - 1])
      AND NOT EXISTS (SELECT FROM pg_attribute o JOIN attack.relation x ON x.oid = o.attrelid AND x.kind IN ('tenant', 'derived')
        WHERE o.attname = a.attname AND o.attrelid <> r.oid))
$$, $$VALUES ('entrestate.lead_scores', 'lead_id'), ('entrestate.lead_scores', 'merged_into'), ('entrestate.notifications', 'campaign_id')$$,
  'every id of another row is a foreign key, but these');
SELECT attack.report('foreign', 10, 'no row refers to a row of another tenant');

-- A conflict with a row of B: all of B's rows once more, for a tenant who has none.
DO $$
DECLARE
  r record;
  t record;
  s text;
BEGIN
  FOR r IN SELECT * FROM attack.relation WHERE of_tenant AND relkind IN ('r', 'p') AND name !~ '_(p\d{6}|default)$' LOOP
    s := format('INSERT INTO %1$s OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(x, jsonb_build_object(''tenant_id'', %2$L))).* FROM %1$s x WHERE x.tenant_id = %3$L',
      r.name, gen_random_uuid(), fixture.id('b', 'tenant'));
    t := attack.try('postgres', NULL, s, NULL, 'SET LOCAL session_replication_role = replica; ' || attack.bare(r.name::regclass));
    INSERT INTO attack.done (part, role, statement, failure) VALUES ('unique', 'postgres', s,
      CASE WHEN t.state <> '00000' THEN t.state || ' ' || t.message WHEN t.rows = 0 THEN 'no rows of B' END);
  END LOOP;
END
$$;
SELECT attack.report('unique', 17, 'no row conflicts with a row of another tenant');
SELECT finish();
ROLLBACK;
