-- L2: the rows of every event table are attacked by every role, in every replication role, on the
-- parent and on each partition; L7: nobody writes a derived table but the system.
\ir setup.sql
\ir l2_lib.sql
-- harmless, and cannot be run in a transaction
VACUUM (FULL) entrestate.sender_events, entrestate.activity_events;
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();

SELECT isnt_empty(format('SELECT FROM %s', r.name), 'there is something to lose in ' || r.name)
FROM l2.relation r WHERE r.kind = 'events' AND (NOT r.relispartition OR r.relname LIKE '%\_default') ORDER BY r.name;
SELECT cmp_ok((SELECT count(*)::integer FROM l2.relation x WHERE x.root = r.name AND x.relispartition), '>=', 12,
  'there are partitions of several times of ' || r.name)
FROM l2.relation r WHERE r.kind = 'events' AND NOT r.relispartition ORDER BY r.name;

-- what an attacker may have made: ways round that are not on the tables themselves
CREATE TABLE public.l2_bait (i integer);
INSERT INTO public.l2_bait VALUES (1);
GRANT ALL ON public.l2_bait TO PUBLIC;
CREATE FUNCTION public.l2_run(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN EXECUTE statement; END $$;
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT * FROM l2.relation WHERE kind = 'events' LOOP
    EXECUTE format('CREATE VIEW public.l2_view_%s AS SELECT * FROM %s', r.relname, r.name);
    EXECUTE format('GRANT ALL ON public.l2_view_%s TO PUBLIC', r.relname);
    CONTINUE WHEN r.relispartition;
    EXECUTE format('CREATE TABLE public.l2_rule_%s (i integer)', r.relname);
    EXECUTE format('GRANT ALL ON public.l2_rule_%s TO PUBLIC', r.relname);
    EXECUTE format('CREATE RULE way_round AS ON INSERT TO public.l2_rule_%s DO INSTEAD DELETE FROM %s', r.relname, r.name);
  END LOOP;
END
$$;

SELECT l2.digest('{events}') AS before \gset l2_

DO $$
DECLARE
  r l2.relation;
  a l2.attacker;
  m text;
  s record;
BEGIN
  FOR r IN SELECT * FROM l2.relation WHERE kind = 'events' ORDER BY name LOOP
    FOR a IN SELECT * FROM l2.attacker LOOP
      -- who may write at all, may do so in every replication role
      FOREACH m IN ARRAY CASE WHEN a.privileged THEN '{origin,replica,local}' ELSE '{origin}' END::text[] LOOP
        FOR s IN SELECT * FROM (VALUES
          -- what changes or removes rows
          ('UPDATE %1$s SET %2$s = %2$s', '{ZE001}'::text[]),
          ('UPDATE %1$s SET %2$s = %2$s WHERE false', '{ZE001}'),
          ('UPDATE ONLY %1$s SET %2$s = %2$s', '{ZE001}'),
          ('DELETE FROM %1$s', '{ZE001}'),
          ('DELETE FROM %1$s WHERE false', '{ZE001}'),
          ('DELETE FROM ONLY %1$s', '{ZE001}'),
          ('DELETE FROM %1$s x USING %1$s y WHERE %4$s', '{ZE001}'),
          ('WITH gone AS (DELETE FROM %1$s RETURNING *) SELECT count(*) FROM gone', '{ZE001}'),
          ('TRUNCATE %1$s', '{ZE001}'),
          ('TRUNCATE ONLY %1$s', CASE WHEN r.relkind = 'p' THEN '{42809}' ELSE '{ZE001}' END::text[]),
          ('TRUNCATE public.l2_bait, %1$s CASCADE', '{ZE001}'),
          ('TRUNCATE %1$s RESTART IDENTITY', '{ZE001}'),
          ('MERGE INTO %1$s x USING %1$s y ON %4$s WHEN MATCHED THEN UPDATE SET %2$s = y.%2$s', '{ZE001}'),
          ('MERGE INTO %1$s x USING public.l2_bait y ON false WHEN MATCHED THEN DELETE', '{ZE001}'),
          ('MERGE INTO %1$s x USING %1$s y ON %4$s WHEN MATCHED THEN DELETE', '{ZE001}'),
          -- what adds rows that the system did not write
          ('INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s', '{ZE002}'),
          ('INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s ON CONFLICT DO NOTHING', '{ZE002}'),
          ('INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s ON CONFLICT (%3$s) DO UPDATE SET %2$s = excluded.%2$s', '{ZE001,ZE002}'),
          ('MERGE INTO %1$s x USING public.l2_bait y ON false WHEN NOT MATCHED THEN INSERT (tenant_id) VALUES (NULL)', '{ZE002}'),
          -- where the role may not read files that is what it hears
          ('COPY %1$s FROM ''/dev/null''', CASE a.role WHEN current_user THEN '{ZE002}' ELSE '{42501}' END::text[])
          ) v(template, wanted)
        LOOP
          PERFORM l2.attack('rows', a, m, format(s.template, r.name, r.col, r.pk, r.same, r.cols),
            CASE WHEN a.privileged THEN s.wanted
                 -- a role without any right hears of that, or of nothing to truncate
                 ELSE s.wanted[1:0] || '42501'::text || CASE WHEN s.wanted = '{42809}' THEN '{42809}' ELSE '{}' END::text[] END);
        END LOOP;
        -- through what belongs to a superuser, nobody gets further than the superuser
        FOR s IN SELECT format(v.template, 'public.l2_view_' || r.relname, r.col, r.name) AS statement, v.wanted FROM (VALUES
          ('UPDATE %1$s SET %2$s = %2$s', '{ZE001}'::text[]),
          ('DELETE FROM %1$s', '{ZE001}'),
          ('INSERT INTO %1$s SELECT * FROM %1$s LIMIT 0', '{428C9,ZE002}'),
          ('SELECT public.l2_run(''DELETE FROM %3$s'')', '{ZE001}'),
          ('SELECT public.l2_run(''TRUNCATE %3$s'')', '{ZE001}')) v(template, wanted)
        LOOP
          PERFORM l2.attack('through others', a, m, s.statement, s.wanted);
        END LOOP;
        -- a rule is not used in the replica role
        IF NOT r.relispartition AND m <> 'replica' THEN
          PERFORM l2.attack('through others', a, m, format('INSERT INTO public.l2_rule_%s VALUES (1)', r.relname), '{ZE001}');
        END IF;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT l2.report('rows', 5000, 'changing, removing and adding events');
SELECT l2.report('through others', 1000, 'the same through views, rules and functions of a superuser');
SELECT is(l2.digest('{events}'), :'l2_before', 'no event has changed');

-- Cursors, prepared statements and triggers of other tables are one more way to write the same.
PREPARE l2_prepared AS DELETE FROM entrestate.audit_log;
SELECT throws_ok('EXECUTE l2_prepared', 'ZE001', 'DELETE is refused: table "audit_log" is append-only', 'a prepared statement');
SELECT throws_ok($$ DO $do$ DECLARE c CURSOR FOR SELECT * FROM entrestate.audit_log FOR UPDATE; r record;
  BEGIN OPEN c; FETCH c INTO r; DELETE FROM entrestate.audit_log WHERE CURRENT OF c; END $do$ $$,
  'ZE001', NULL, 'a row of a cursor');
CREATE FUNCTION public.l2_reach() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM entrestate.sender_events; RETURN NULL; END $$;
CREATE TRIGGER reach AFTER UPDATE ON public.l2_bait FOR EACH STATEMENT EXECUTE FUNCTION public.l2_reach();
SELECT throws_ok('UPDATE public.l2_bait SET i = 2', 'ZE001', NULL, 'a trigger of another table');

-- A row does not move to another partition, either.
SELECT throws_ok('UPDATE entrestate.sender_events SET recorded_at = recorded_at + interval ''1 month''', 'ZE001', NULL,
  'an update that would move rows to another partition');

-- Even if a foreign key out of an event table were there, its cascade would stop: a superuser can
-- make one by disabling the event triggers.
CREATE TABLE public.l2_tenant (tenant_id uuid PRIMARY KEY);
INSERT INTO public.l2_tenant SELECT tenant_id FROM entrestate.tenants;
ALTER EVENT TRIGGER entrestate_ddl_end DISABLE;
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT name, relname FROM l2.relation WHERE kind = 'events' AND NOT relispartition LOOP
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT l2_cascade FOREIGN KEY (tenant_id) REFERENCES public.l2_tenant ON DELETE CASCADE ON UPDATE CASCADE', r.name);
  END LOOP;
END
$$;
ALTER EVENT TRIGGER entrestate_ddl_end ENABLE ALWAYS;
SELECT throws_ok('DELETE FROM public.l2_tenant', 'ZE001', NULL, 'ON DELETE CASCADE from a referenced table');
SELECT throws_ok('UPDATE public.l2_tenant SET tenant_id = gen_random_uuid()', 'ZE001', NULL, 'ON UPDATE CASCADE from a referenced table');
SELECT throws_ok('TRUNCATE public.l2_tenant CASCADE', 'ZE001', NULL, 'TRUNCATE CASCADE from a referenced table');
SET LOCAL session_replication_role = replica;
SELECT throws_ok('TRUNCATE public.l2_tenant CASCADE', 'ZE001', NULL, 'TRUNCATE CASCADE from a referenced table, as replica');
RESET session_replication_role;
SELECT is(l2.digest('{events}'), :'l2_before', 'still no event has changed');

-- L7, and the tables that only the system writes: whatever their kind.
SELECT l2.digest('{derived,global,catalog}') AS derived \gset l2_
DO $$
DECLARE
  r l2.relation;
  a l2.attacker;
  m text;
  s text;
BEGIN
  FOR r IN SELECT * FROM l2.relation WHERE kind IN ('derived', 'global', 'catalog') ORDER BY name LOOP
    FOR a IN SELECT * FROM l2.attacker LOOP
      FOREACH m IN ARRAY CASE WHEN a.privileged THEN '{origin,replica,local}' ELSE '{origin}' END::text[] LOOP
        FOREACH s IN ARRAY ARRAY[
          'UPDATE %1$s SET %2$s = %2$s',
          'UPDATE %1$s SET %2$s = %2$s WHERE false',
          'DELETE FROM %1$s',
          'DELETE FROM %1$s WHERE false',
          'TRUNCATE %1$s CASCADE',
          'MERGE INTO %1$s x USING %1$s y ON %4$s WHEN MATCHED THEN DELETE',
          'MERGE INTO %1$s x USING %1$s y ON %4$s WHEN NOT MATCHED THEN INSERT (%6$s) VALUES (DEFAULT)',
          'INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s LIMIT 0',
          'INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s ON CONFLICT DO NOTHING',
          'INSERT INTO %1$s (%5$s) OVERRIDING SYSTEM VALUE SELECT %5$s FROM %1$s ON CONFLICT (%3$s) DO UPDATE SET %2$s = excluded.%2$s',
          'COPY %1$s FROM ''/dev/null''']
        LOOP
          PERFORM l2.attack('derived', a, m, format(s, r.name, coalesce(r.col, r.first_col), r.pk, r.same, r.cols, r.first_col),
            CASE WHEN a.role = current_user OR a.privileged AND s NOT LIKE 'COPY%' THEN '{ZE002}' ELSE '{42501}' END::text[]);
        END LOOP;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;
SELECT l2.report('derived', 1000, 'writing what only the system writes');
SELECT is(l2.digest('{derived,global,catalog}'), :'l2_derived', 'no derived row has changed');
SELECT throws_ok('TRUNCATE entrestate.tenants CASCADE', 'ZE002', NULL, 'a TRUNCATE that would reach derived tables');

SELECT * FROM finish();
ROLLBACK;
