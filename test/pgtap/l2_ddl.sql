-- L2: the DDL that gets round the guards, tried by a superuser and as the owner, on every table,
-- partition and function of the extension; then what a DBA may go on doing.
\ir setup.sql
\ir l2_lib.sql

-- These cannot be run in a transaction.
SELECT name AS child, root FROM l2.relation WHERE relname LIKE 'sender\_events\_p%' ORDER BY name LIMIT 1 \gset l2_
\set ON_ERROR_STOP 0
\set VERBOSITY sqlstate
ALTER TABLE :l2_root DETACH PARTITION :l2_child CONCURRENTLY;
\set l2_concurrently :SQLSTATE
ALTER TABLE :l2_root DETACH PARTITION :l2_child FINALIZE;
\set l2_finalize :SQLSTATE
\set ON_ERROR_STOP 1
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

-- With a default partition PostgreSQL itself does not detach concurrently; with none, the guard would speak.
SELECT ok(:'l2_concurrently' IN ('55000', 'ZE003'), 'DETACH PARTITION CONCURRENTLY');
SELECT ok(:'l2_finalize' IN ('55000', 'ZE003'), 'DETACH PARTITION FINALIZE');
SELECT ok((SELECT relispartition FROM pg_class WHERE oid = :'l2_child'::regclass), 'it is still a partition');

-- what the attacker has ready
CREATE TABLE public.l2_bait (tenant_id uuid PRIMARY KEY);
INSERT INTO public.l2_bait SELECT tenant_id FROM entrestate.tenants;
GRANT ALL ON public.l2_bait TO entrestate_owner;
GRANT CREATE ON SCHEMA public TO entrestate_owner;
CREATE ROLE l2_other;
GRANT entrestate_app TO l2_other;
CREATE FUNCTION public.l2_swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION public.l2_plain() RETURNS integer LANGUAGE sql RETURN 1;

SELECT l2.digest('{tenant,events,derived,global,catalog}') AS before \gset l2_
CREATE VIEW l2.catalog AS
  SELECT concat_ws(' ', 'trigger', t.tgrelid::regclass, t.tgname, t.tgenabled, t.tgtype, t.tgfoid) AS what
  FROM pg_trigger t JOIN l2.relation r ON r.oid = t.tgrelid
  UNION ALL SELECT concat_ws(' ', 'policy', p.polrelid::regclass, p.polname, pg_get_expr(p.polqual, p.polrelid), p.polroles)
  FROM pg_policy p JOIN l2.relation r ON r.oid = p.polrelid
  UNION ALL SELECT concat_ws(' ', 'table', c.oid::regclass, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, c.relispartition)
  FROM pg_class c JOIN l2.relation r ON r.oid = c.oid
  UNION ALL SELECT concat_ws(' ', 'function', p.oid::regprocedure, md5(p::text)) FROM pg_proc p WHERE p.pronamespace = 'entrestate'::regnamespace;
CREATE TABLE l2.catalog_before AS SELECT what FROM l2.catalog;

-- Every table; of the partitions the default one, the oldest and the newest.
DO $$
DECLARE
  r record;
  a l2.attacker;
  m text;
  s record;
BEGIN
  FOR r IN
    SELECT l.*, l.kind = 'events' AS is_events, l.name || ' (' || l.kind || ')' AS label,
      (SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = l.oid AND NOT t.tgisinternal AND (t.tgparentid = 0 OR true) ORDER BY (t.tgparentid <> 0), t.tgname LIMIT 1) AS guard,
      (SELECT t.tgparentid <> 0 FROM pg_trigger t WHERE t.tgrelid = l.oid AND NOT t.tgisinternal ORDER BY (t.tgparentid <> 0), t.tgname LIMIT 1) AS guard_is_clone,
      (SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = l.oid AND NOT t.tgisinternal ORDER BY (t.tgparentid <> 0), t.tgname LIMIT 1) AS guard_is,
      (SELECT p.polname FROM pg_policy p WHERE p.polrelid = l.oid ORDER BY p.polname LIMIT 1) AS policy,
      -- from 18 on NOT NULL is a constraint, too: DROP NOT NULL stands below
      (SELECT c.conname FROM pg_constraint c WHERE c.conrelid = l.oid AND c.conparentid = 0 AND c.contype <> 'n'
        ORDER BY c.contype LIMIT 1) AS own_constraint,
      (SELECT c.conname FROM pg_constraint c WHERE c.conrelid = l.oid AND c.contype = 'f' ORDER BY c.conname LIMIT 1) AS foreign_key,
      -- the last column is no key of any table
      (SELECT quote_ident(b.attname) FROM pg_attribute b WHERE b.attrelid = l.oid AND b.attnum > 0 AND NOT b.attisdropped ORDER BY b.attnum DESC LIMIT 1) AS last_col,
      (SELECT quote_ident(b.attname) FROM pg_attribute b WHERE b.attrelid = l.oid AND b.attnum > 0 AND b.attnotnull AND NOT b.attisdropped ORDER BY b.attnum DESC LIMIT 1) AS notnull_col
    FROM (SELECT x.*, row_number() OVER w AS n,
        count(*) OVER (PARTITION BY x.root, x.relispartition, x.relname LIKE '%\_default') AS of
      FROM l2.relation x
      WINDOW w AS (PARTITION BY x.root, x.relispartition, x.relname LIKE '%\_default' ORDER BY x.name)) l
    WHERE l.n IN (1, l.of) ORDER BY l.name
  LOOP
    FOR a IN SELECT * FROM l2.attacker WHERE privileged LOOP
      FOREACH m IN ARRAY CASE a.role WHEN 'entrestate_owner' THEN '{origin}' ELSE '{origin,replica}' END::text[] LOOP
        FOR s IN SELECT * FROM (VALUES
          -- switches
          ('ALTER TABLE %1$s DISABLE TRIGGER ALL', true, '{ZE003}'::text[]),
          ('ALTER TABLE ONLY %1$s DISABLE TRIGGER ALL', true, '{ZE003}'),
          ('ALTER TABLE %1$s DISABLE TRIGGER USER', true, '{ZE003}'),
          ('ALTER TABLE %1$s ENABLE TRIGGER ALL', true, '{ZE003}'),
          ('ALTER TABLE %1$s ENABLE TRIGGER USER', true, '{ZE003}'),
          ('ALTER TABLE %1$s DISABLE TRIGGER %2$I', true, '{ZE003}'),
          ('ALTER TABLE %1$s ENABLE TRIGGER %2$I', true, '{ZE003}'),
          ('ALTER TABLE %1$s ENABLE REPLICA TRIGGER %2$I', true, '{ZE003}'),
          ('ALTER TABLE %1$s DISABLE ROW LEVEL SECURITY', true, '{ZE003}'),
          ('ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY', true, '{ZE003}'),
          -- an innocent part in front does not help
          ('ALTER TABLE %1$s SET (autovacuum_vacuum_threshold = 51), DISABLE TRIGGER ALL', r.relkind = 'r', '{ZE003}'),
          -- triggers, rules, policies
          ('DROP TRIGGER %2$I ON %1$s', true, CASE WHEN r.guard_is_clone THEN '{2BP01}' ELSE '{ZE003}' END::text[]),
          ('DROP TRIGGER %2$I ON %1$s CASCADE', true, CASE WHEN r.guard_is_clone THEN '{2BP01}' ELSE '{ZE003}' END::text[]),
          ('ALTER TRIGGER %2$I ON %1$s RENAME TO away', true, CASE WHEN r.guard_is_clone THEN '{0A000}' ELSE '{ZE003}' END::text[]),
          ('CREATE OR REPLACE TRIGGER %2$I BEFORE INSERT ON %1$s FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION entrestate.guard_append_only()', NOT r.guard_is_clone AND r.guard_is LIKE '%STATEMENT%', '{ZE003}'),
          ('CREATE OR REPLACE TRIGGER guard_append_only_rows BEFORE UPDATE OR DELETE ON %1$s FOR EACH ROW WHEN (false) EXECUTE FUNCTION entrestate.guard_append_only()', r.is_events AND NOT r.relispartition, '{ZE003}'),
          ('CREATE OR REPLACE TRIGGER guard_tenant_stamp BEFORE UPDATE ON %1$s FOR EACH ROW WHEN (false) EXECUTE FUNCTION entrestate.guard_tenant_stamp()', r.kind IN ('tenant', 'derived'), '{ZE003}'),
          ('CREATE TRIGGER aaa_foreign BEFORE INSERT ON %1$s FOR EACH ROW EXECUTE FUNCTION public.l2_swallow()', r.is_events, '{ZE003}'),
          ('CREATE TRIGGER aaa_foreign AFTER INSERT ON %1$s FOR EACH STATEMENT EXECUTE FUNCTION public.l2_swallow()', r.is_events, '{ZE003}'),
          ('CREATE CONSTRAINT TRIGGER aaa_foreign AFTER INSERT ON %1$s DEFERRABLE FOR EACH ROW EXECUTE FUNCTION public.l2_swallow()', r.is_events AND r.relkind = 'r', '{ZE003}'),
          ('CREATE RULE swallow AS ON INSERT TO %1$s DO INSTEAD NOTHING', true, '{ZE003}'),
          ('CREATE RULE swallow AS ON DELETE TO %1$s DO ALSO SELECT 1', true, '{ZE003}'),
          ('CREATE OR REPLACE RULE swallow AS ON UPDATE TO %1$s DO INSTEAD NOTHING', true, '{ZE003}'),
          ('DROP POLICY %3$I ON %1$s', r.policy IS NOT NULL, '{ZE003}'),
          ('CREATE POLICY everybody ON %1$s USING (true)', true, '{ZE003}'),
          ('CREATE POLICY everybody ON %1$s FOR SELECT TO l2_other USING (tenant_id IS NOT NULL)', r.first_col = 'tenant_id', '{ZE003}'),
          ('ALTER POLICY %3$I ON %1$s TO PUBLIC', r.policy IS NOT NULL, '{ZE003}'),
          ('ALTER POLICY %3$I ON %1$s RENAME TO away', r.policy IS NOT NULL, '{ZE003}'),
          ('ALTER POLICY tenant_isolation ON %1$s USING (true)', r.first_col = 'tenant_id' AND r.kind <> 'global', '{ZE003}'),
          ('ALTER POLICY tenant_isolation ON %1$s WITH CHECK (true)', r.first_col = 'tenant_id' AND r.kind <> 'global', '{ZE003}'),
          -- the table itself
          ('ALTER TABLE %1$s OWNER TO l2_other', true, '{ZE003}'),
          ('ALTER TABLE %1$s OWNER TO CURRENT_USER', a.role <> 'entrestate_owner', '{ZE003}'),
          ('ALTER TABLE %1$s RENAME TO away', true, '{ZE003}'),
          ('ALTER TABLE %1$s SET SCHEMA public', true, '{ZE003}'),
          ('ALTER TABLE %1$s RENAME COLUMN %4$s TO away', NOT r.relispartition, '{ZE003}'),
          ('ALTER TABLE %1$s SET UNLOGGED', r.relkind = 'r', '{ZE003,42P16}'),
          ('DROP TABLE %1$s', true, '{ZE003,2BP01}'),
          ('DROP TABLE %1$s CASCADE', true, '{ZE003}'),
          ('DROP TABLE IF EXISTS public.l2_bait, %1$s CASCADE', true, '{ZE003}'),
          ('ALTER TABLE %1$s DROP COLUMN %4$s', NOT r.relispartition, '{ZE003,42P16}'),
          ('ALTER TABLE %1$s ALTER COLUMN %5$s DROP NOT NULL', NOT r.relispartition, '{ZE003,42P16}'),
          ('ALTER TABLE %1$s ALTER COLUMN actor TYPE varchar(300)', r.relname IN ('audit_log', 'activity_events'), '{ZE003}'),
          ('ALTER TABLE %1$s ALTER COLUMN %4$s TYPE text USING ''changed''', r.is_events AND NOT r.relispartition, '{ZE003,42804}'),
          ('ALTER TABLE %1$s DROP CONSTRAINT %6$I', r.own_constraint IS NOT NULL, '{ZE003,2BP01,42P16}'),
          ('ALTER TABLE %1$s DROP CONSTRAINT %6$I CASCADE', r.own_constraint IS NOT NULL, CASE WHEN r.relispartition THEN '{ZE003,42P16}' ELSE '{ZE003}' END::text[]),
          ('ALTER TABLE %1$s ALTER CONSTRAINT %7$I DEFERRABLE INITIALLY DEFERRED', r.foreign_key IS NOT NULL, '{ZE003}'),
          ('ALTER TABLE %1$s INHERIT public.l2_bait', true, '{ZE003,42809,42804}'),
          ('CREATE TABLE public.l2_heir () INHERITS (%1$s)', NOT r.relispartition AND r.relkind = 'r', '{ZE003}'),
          -- the rows of an append-only table
          ('ALTER TABLE %1$s ADD COLUMN l2 uuid DEFAULT gen_random_uuid()', r.is_events AND NOT r.relispartition, '{ZE003}'),
          ('ALTER TABLE %1$s ADD COLUMN l2 integer GENERATED ALWAYS AS IDENTITY', r.is_events AND NOT r.relispartition, '{ZE003,42P16}'),
          ('ALTER TABLE %1$s ADD COLUMN l2 integer GENERATED ALWAYS AS (epoch + 1) STORED', r.is_events AND NOT r.relispartition, '{ZE003}'),
          ('ALTER TABLE %1$s ADD FOREIGN KEY (tenant_id) REFERENCES public.l2_bait ON DELETE CASCADE', r.is_events, '{ZE003}'),
          ('ALTER TABLE %1$s ADD FOREIGN KEY (tenant_id) REFERENCES entrestate.tenants', r.is_events, '{ZE003}'),
          -- partitions
          ('ALTER TABLE %8$s DETACH PARTITION %1$s', r.relispartition, '{ZE003}'),
          ('CREATE TABLE public.l2_child PARTITION OF %1$s FOR VALUES FROM (''1990-01-01'') TO (''1990-02-01'')', r.relkind = 'p', '{ZE003}'),
          ('CREATE TABLE entrestate.l2_child PARTITION OF %1$s FOR VALUES FROM (''1990-01-01'') TO (''1990-02-01'')', r.relkind = 'p', '{ZE003}')
          ) v(template, applies, wanted) WHERE applies
        LOOP
          PERFORM l2.attack('ddl', a, m, format(s.template, r.name, r.guard, r.policy, r.last_col, r.notnull_col, r.own_constraint, r.foreign_key, r.root),
            -- the owner is not a superuser, and hears so before the guard speaks
            s.wanted || CASE WHEN a.role = 'entrestate_owner' THEN '{42501}' ELSE '{}' END::text[]);
        END LOOP;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT l2.report('ddl', 3000, 'DDL on every table and partition');

-- Rows do not get in by way of a table that becomes a partition, wherever it lies and however they
-- are hidden in it.
CREATE TABLE entrestate.l2_full (LIKE entrestate.audit_log INCLUDING ALL);
INSERT INTO entrestate.l2_full SELECT * FROM entrestate.audit_log LIMIT 1;
ALTER TABLE entrestate.l2_full ADD CHECK (recorded_at < '1990-01-01') NOT VALID;
CREATE TABLE entrestate.l2_hidden (LIKE entrestate.audit_log INCLUDING ALL);
INSERT INTO entrestate.l2_hidden SELECT tenant_id, '1990-01-02', id, action, actor, member_role, login_role, target_type, target_id, detail, epoch, txid
  FROM entrestate.audit_log LIMIT 1;
ALTER TABLE entrestate.l2_hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE entrestate.l2_hidden OWNER TO entrestate_owner;
CREATE TABLE entrestate.l2_deep (LIKE entrestate.audit_log INCLUDING ALL) PARTITION BY LIST (tenant_id);
ALTER EVENT TRIGGER entrestate_ddl_end DISABLE;
CREATE TABLE entrestate.l2_deeper PARTITION OF entrestate.l2_deep DEFAULT;
ALTER EVENT TRIGGER entrestate_ddl_end ENABLE ALWAYS;
INSERT INTO entrestate.l2_deep SELECT * FROM entrestate.l2_hidden;
CREATE TABLE public.l2_outside (LIKE entrestate.audit_log INCLUDING ALL);
CREATE TABLE entrestate.l2_empty (LIKE entrestate.audit_log INCLUDING ALL);
DO $$
DECLARE
  a l2.attacker;
  t text;
BEGIN
  FOR a IN SELECT * FROM l2.attacker WHERE privileged LOOP
    FOREACH t IN ARRAY '{entrestate.l2_hidden,entrestate.l2_deep,public.l2_outside}'::text[] LOOP
      PERFORM l2.attack('attach', a, 'origin', format($q$ALTER TABLE entrestate.audit_log ATTACH PARTITION %s
        FOR VALUES FROM ('1990-01-01') TO ('1990-02-01')$q$, t), '{ZE003}' || CASE WHEN a.role = 'entrestate_owner' THEN '{42501}' ELSE '{}' END::text[]);
    END LOOP;
  END LOOP;
END
$$;
SELECT l2.report('attach', 6, 'attaching a partition with rows, or outside the schema');
SELECT lives_ok($$ ALTER TABLE entrestate.audit_log ATTACH PARTITION entrestate.l2_empty
  FOR VALUES FROM ('1990-01-01') TO ('1990-02-01') $$, 'attaching an empty one is what a restore does');
ALTER EVENT TRIGGER entrestate_drop DISABLE;
ALTER EVENT TRIGGER entrestate_ddl_end DISABLE;
DROP TABLE entrestate.l2_empty, entrestate.l2_full, entrestate.l2_hidden, entrestate.l2_deep, public.l2_outside;
ALTER EVENT TRIGGER entrestate_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER entrestate_drop ENABLE ALWAYS;

-- Every function of the extension, by its signature.
DO $$
DECLARE
  f record;
  s record;
  a l2.attacker;
BEGIN
  SELECT * INTO a FROM l2.attacker WHERE role = current_user;
  FOR f IN
    SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition, p.prokind, e.evtname IS NOT NULL AS is_event_trigger,
      p.proowner::regrole::text AS owner
    FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND x.extname = 'entrestate'
    LEFT JOIN pg_event_trigger e ON e.evtfoid = p.oid
  LOOP
    FOR s IN SELECT * FROM (VALUES
      (f.definition, '{ZE003}'::text[]),
      (format('ALTER ROUTINE %s OWNER TO l2_other', f.name), '{ZE003}'),
      (format('ALTER ROUTINE %s SET row_security = off', f.name), '{ZE003}'),
      (format('ALTER ROUTINE %s RESET ALL', f.name), '{ZE003}'),
      (format('ALTER %s %s SECURITY INVOKER', CASE f.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, f.name), '{ZE003}'),
      (format('ALTER ROUTINE %s RENAME TO away', f.name), '{ZE003}'),
      (format('ALTER ROUTINE %s SET SCHEMA public', f.name), '{ZE003}'),
      (format('DROP ROUTINE %s', f.name), '{2BP01}'),
      (format('DROP ROUTINE %s CASCADE', f.name), '{2BP01,ZE003}'),
      (format('ALTER EXTENSION entrestate DROP ROUTINE %s', f.name), '{ZE003}')) v(statement, wanted)
    LOOP
      PERFORM l2.attack('functions', a, 'origin', s.statement, s.wanted);
    END LOOP;
  END LOOP;
  -- another language, which would do nothing
  PERFORM l2.attack('functions', a, 'origin', 'CREATE OR REPLACE FUNCTION entrestate.guard_append_only() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN OLD; END''', '{ZE003}');
END
$$;
SELECT l2.report('functions', 800, 'every function of the extension');

-- The extension, its schema, its roles; functions planted for the owner role.
DO $$
DECLARE
  a l2.attacker;
  m text;
  s record;
BEGIN
  SELECT * INTO a FROM l2.attacker WHERE role = current_user;
  FOREACH m IN ARRAY '{origin,replica}'::text[] LOOP
    FOR s IN SELECT * FROM (VALUES
      ('DROP EXTENSION entrestate', '{2BP01,ZE003}'::text[]),
      ('DROP EXTENSION entrestate CASCADE', '{ZE003}'),
      ('DROP EXTENSION IF EXISTS entrestate CASCADE', '{ZE003}'),
      ('DROP EXTENSION pgtap, entrestate CASCADE', '{ZE003}'),
      ('DROP SCHEMA entrestate', '{2BP01,ZE003}'),
      ('DROP SCHEMA entrestate CASCADE', '{ZE003}'),
      ('DROP SCHEMA fixture, entrestate CASCADE', '{ZE003}'),
      ('ALTER SCHEMA entrestate RENAME TO away', '{ZE003}'),
      ('ALTER EXTENSION entrestate ADD TABLE entrestate.leads', '{ZE003}'),
      ('ALTER EXTENSION entrestate DROP EVENT TRIGGER entrestate_drop', '{ZE003}'),
      ('ALTER EXTENSION entrestate SET SCHEMA public', '{0A000,ZE003}'),
      ('DROP EVENT TRIGGER entrestate_ddl_end', '{2BP01}'),
      ('DROP EVENT TRIGGER entrestate_drop CASCADE', '{2BP01}'),
      ('DROP OWNED BY entrestate_auditor', '{ZE003}'),
      ('DROP OWNED BY entrestate_owner', '{ZE003,2BP01}'),
      ('DROP OWNED BY entrestate_owner CASCADE', '{ZE003,2BP01}'),
      ('DROP ROLE entrestate_owner', '{2BP01}'),
      ('DROP TYPE entrestate.sender_events', '{2BP01}'),
      ('DROP SEQUENCE entrestate.ticks_tick_id_seq CASCADE', '{2BP01,ZE003}'),
      ('CREATE FUNCTION public.l2_planted() RETURNS integer LANGUAGE sql SECURITY DEFINER AS ''SELECT 1''; ALTER FUNCTION public.l2_planted() OWNER TO entrestate_owner', '{ZE003}'),
      ('ALTER FUNCTION public.l2_plain() OWNER TO entrestate_owner', '{ZE003}'),
      ('SET LOCAL ROLE entrestate_owner; CREATE FUNCTION public.l2_planted() RETURNS integer LANGUAGE sql SECURITY DEFINER AS ''SELECT 1''', '{ZE003}'),
      ('SET LOCAL ROLE entrestate_owner; CREATE PROCEDURE public.l2_planted() LANGUAGE sql SECURITY DEFINER AS ''SELECT 1''', '{ZE003}'),
      -- the door is our own code's
      ('SELECT entrestate.protect(''leads'', ''tenant'')', '{ZE003}'),
      ('SELECT entrestate.partition_make(''audit_log'', ''2040-01-01'')', '{ZE003}'),
      ('SELECT entrestate.partition_upkeep(1, 1)', '{ZE003}'),
      ('SELECT entrestate.guard_dress(''entrestate.leads'', ''global'', NULL, NULL)', '{ZE003,42710}')) v(statement, wanted)
    LOOP
      PERFORM l2.attack('whole', a, m, s.statement, s.wanted);
    END LOOP;
  END LOOP;
END
$$;
SELECT l2.report('whole', 50, 'the extension, its schema, its roles');

SELECT set_eq('SELECT what FROM l2.catalog', 'SELECT what FROM l2.catalog_before',
  'triggers, policies, tables and functions are as they were');
SELECT is(l2.digest('{tenant,events,derived,global,catalog}'), :'l2_before', 'and so are the rows');

-- What a DBA may do stays possible.
SELECT lives_ok(statement, 'allowed: ' || statement) FROM unnest(ARRAY[
  'CREATE INDEX l2_index ON entrestate.audit_log (actor)',
  'DROP INDEX entrestate.l2_index',
  'ALTER TABLE entrestate.leads SET (fillfactor = 70)',
  'ALTER TABLE entrestate.leads ALTER COLUMN full_name SET STATISTICS 500',
  'CREATE STATISTICS public.l2_statistics ON status, direction FROM entrestate.leads',
  'ALTER TABLE entrestate.sender_events REPLICA IDENTITY FULL',
  'CREATE PUBLICATION l2_publication FOR TABLE entrestate.sender_events',
  'DROP PUBLICATION l2_publication',
  'ANALYZE entrestate.leads',
  'REINDEX TABLE entrestate.leads',
  'CLUSTER entrestate.leads USING leads_pkey',
  'COMMENT ON TABLE entrestate.leads IS ''ours''',
  'CREATE TABLE public.l2_own (LIKE entrestate.leads INCLUDING ALL)',
  'ALTER TABLE public.l2_own DISABLE TRIGGER ALL',
  'ALTER TABLE public.l2_own ALTER COLUMN source TYPE varchar(80)',
  'ALTER TABLE public.l2_own DROP COLUMN source',
  'DROP TABLE public.l2_own',
  'CREATE VIEW public.l2_view WITH (security_invoker) AS SELECT * FROM entrestate.leads',
  'DROP VIEW public.l2_view',
  'CREATE TEMP TABLE leads (i integer)',
  'DROP TABLE pg_temp.leads',
  'CREATE OR REPLACE FUNCTION public.l2_plain() RETURNS integer LANGUAGE sql RETURN 2',
  'DROP FUNCTION public.l2_plain()',
  'CREATE OR REPLACE TRIGGER own AFTER INSERT ON public.l2_bait FOR EACH ROW EXECUTE FUNCTION public.l2_swallow()',
  'DROP SCHEMA l2 CASCADE']) statement;

SELECT * FROM finish();
ROLLBACK;
