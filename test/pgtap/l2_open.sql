-- L2: what PostgreSQL leaves open to a superuser. Each route is taken, verify() tells of it, and it is
-- undone.
\ir setup.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();
SELECT is_empty('SELECT * FROM entrestate.isolation_prove()', 'before, verify() finds nothing');

CREATE SCHEMA l2;
CREATE TABLE public.l2_bait (tenant_id uuid PRIMARY KEY);
INSERT INTO public.l2_bait SELECT tenant_id FROM entrestate.tenants;
CREATE ROLE l2_other;
CREATE FUNCTION public.l2_swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION public.l2_plain() RETURNS integer LANGUAGE sql RETURN 1;

CREATE FUNCTION l2.left_open(route text, statements text[], wanted text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  s text;
  found text;
BEGIN
  BEGIN
    FOREACH s IN ARRAY statements LOOP
      EXECUTE s;
    END LOOP;
    SELECT string_agg(concat_ws(' ', v.law, v.object, v.detail), E'\n') INTO found FROM entrestate.isolation_prove() v;
    RAISE EXCEPTION USING ERRCODE = 'UNDO1';
  EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    RETURN QUERY SELECT matches(coalesce(found, 'nothing'), wanted, 'verify() tells of ' || route);
  END;
END
$$;
CREATE VIEW l2.open AS SELECT ARRAY(SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%') AS off;

SELECT l2.left_open('a disabled event trigger ' || evtname, ARRAY[format('ALTER EVENT TRIGGER %I DISABLE', evtname)], evtname)
FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' ORDER BY evtname;
SELECT l2.left_open('an event trigger that is not ALWAYS: ' || evtname, ARRAY[format('ALTER EVENT TRIGGER %I ENABLE', evtname)], evtname)
FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' ORDER BY evtname;
SELECT l2.left_open(v.route, o.off || v.statements, v.wanted) FROM l2.open o, (VALUES
  ('a disabled guard', ARRAY['ALTER TABLE entrestate.audit_log DISABLE TRIGGER guard_append_only'], 'L2 table audit_log guard guard_append_only is disabled'),
  ('a disabled guard of a partition', ARRAY['ALTER TABLE entrestate.audit_log_default DISABLE TRIGGER guard_append_only_rows'], 'L2 table audit_log_default guard guard_append_only_rows is disabled'),
  ('a guard that fires in one role only', ARRAY['ALTER TABLE entrestate.audit_log ENABLE TRIGGER guard_append_only'], 'L2 table audit_log guard guard_append_only is not the declared one'),
  ('a dropped guard', ARRAY['DROP TRIGGER guard_append_only ON entrestate.audit_log'], 'L2 table audit_log guard guard_append_only is missing'),
  ('a replaced guard', ARRAY['CREATE OR REPLACE TRIGGER guard_append_only BEFORE UPDATE ON entrestate.audit_log FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION entrestate.guard_append_only()'], 'L2 table audit_log guard guard_append_only is not the declared one'),
  ('a guard with another body', ARRAY['CREATE OR REPLACE FUNCTION entrestate.guard_append_only() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN OLD; END'''], 'function entrestate.guard_append_only'),
  ('an event trigger with another body', ARRAY['CREATE OR REPLACE FUNCTION entrestate.guard_drop() RETURNS event_trigger LANGUAGE plpgsql AS ''BEGIN END'''], 'function entrestate.guard_drop'),
  ('a rule', ARRAY['CREATE RULE swallow AS ON INSERT TO entrestate.audit_log DO INSTEAD NOTHING'], 'L2 table audit_log rule swallow'),
  ('a foreign trigger', ARRAY['CREATE TRIGGER aaa BEFORE INSERT ON entrestate.audit_log FOR EACH ROW EXECUTE FUNCTION public.l2_swallow()'], 'L2 table audit_log trigger aaa'),
  ('a dropped policy', ARRAY['DROP POLICY tenant_isolation ON entrestate.audit_log'], 'L1 table audit_log policy tenant_isolation is missing'),
  ('a foreign policy', ARRAY['CREATE POLICY everybody ON entrestate.audit_log USING (true)'], 'L1 table audit_log policy everybody'),
  ('row security that is not forced', ARRAY['ALTER TABLE entrestate.audit_log NO FORCE ROW LEVEL SECURITY'], 'L1 table audit_log row security'),
  ('a detached partition', ARRAY['ALTER TABLE entrestate.audit_log DETACH PARTITION entrestate.audit_log_p202601'], 'audit_log_p202601'),
  ('an attached table without guards', ARRAY['CREATE TABLE entrestate.l2_empty (LIKE entrestate.audit_log INCLUDING ALL)', 'ALTER TABLE entrestate.audit_log ATTACH PARTITION entrestate.l2_empty FOR VALUES FROM (''1990-01-01'') TO (''1990-02-01'')'], 'table l2_empty guard guard_append_only is missing'),
  ('a partition outside the schema', ARRAY['CREATE TABLE public.l2_child PARTITION OF entrestate.audit_log FOR VALUES FROM (''1990-01-01'') TO (''1990-02-01'')'], 'l2_child'),
  ('another owner', ARRAY['ALTER TABLE entrestate.audit_log OWNER TO l2_other'], 'L1 table audit_log belongs to l2_other'),
  ('a table that is not logged', ARRAY['ALTER TABLE entrestate.sender_due SET UNLOGGED'], 'sender_due is not logged'),
  ('an heir', ARRAY['CREATE TABLE public.l2_heir () INHERITS (entrestate.leads)'], 'l2_heir inherits'),
  ('a planted function of the owner', ARRAY['ALTER FUNCTION public.l2_plain() OWNER TO entrestate_owner'], 'l2_plain'),
  ('a cascade into events', ARRAY['ALTER TABLE entrestate.audit_log ADD CONSTRAINT l2_fk FOREIGN KEY (tenant_id) REFERENCES public.l2_bait ON DELETE CASCADE'], 'L2 table audit_log foreign key l2_fk')
  ) v(route, statements, wanted);
SELECT l2.left_open(v.route, v.statements, v.wanted) FROM (VALUES
  ('REASSIGN OWNED, which fires no event trigger', ARRAY['REASSIGN OWNED BY entrestate_owner TO l2_other'], 'belongs to l2_other'),
  ('REASSIGN OWNED to the owner role', ARRAY['ALTER FUNCTION public.l2_plain() OWNER TO l2_other', 'REASSIGN OWNED BY l2_other TO entrestate_owner'], 'l2_plain'),
  ('a change of pg_trigger', ARRAY['SET LOCAL allow_system_table_mods = on', 'UPDATE pg_trigger SET tgenabled = ''D'' WHERE tgrelid = ''entrestate.audit_log''::regclass'], 'L2 table audit_log guard guard_append_only is disabled'),
  ('a change of pg_class', ARRAY['SET LOCAL allow_system_table_mods = on', 'UPDATE pg_class SET relforcerowsecurity = false WHERE oid = ''entrestate.audit_log''::regclass'], 'L1 table audit_log row security'),
  ('a change of pg_event_trigger', ARRAY['SET LOCAL allow_system_table_mods = on', 'UPDATE pg_event_trigger SET evtenabled = ''D'' WHERE evtname = ''entrestate_drop'''], 'entrestate_drop'),
  ('a grant of a table', ARRAY['GRANT DELETE ON entrestate.audit_log TO l2_other'], 'audit_log'),
  ('a grant to PUBLIC', ARRAY['GRANT SELECT ON entrestate.sender_due TO PUBLIC'], 'sender_due'),
  ('a grant of a column', ARRAY['GRANT SELECT (due_at) ON entrestate.sender_due TO l2_other'], 'sender_due'),
  ('a grant of a function', ARRAY['GRANT EXECUTE ON FUNCTION entrestate.tick() TO PUBLIC'], 'tick'),
  ('a grant of the schema', ARRAY['GRANT CREATE ON SCHEMA entrestate TO l2_other'], 'schema'),
  ('policies that lost a role', ARRAY['DROP OWNED BY entrestate_app'], 'policy tenant_isolation'),
  ('a member of the owner role', ARRAY['GRANT entrestate_owner TO l2_other'], 'l2_other'),
  ('an attribute of the owner role', ARRAY['ALTER ROLE entrestate_owner BYPASSRLS'], 'role entrestate_owner'),
  ('an application role that bypasses row security', ARRAY['GRANT entrestate_app TO l2_other', 'ALTER ROLE l2_other BYPASSRLS'], 'l2_other')
  ) v(route, statements, wanted);

SELECT is_empty('SELECT * FROM entrestate.isolation_prove()', 'afterwards, verify() finds nothing again');
SELECT * FROM finish();
ROLLBACK;
