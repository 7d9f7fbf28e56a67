-- Everything that isolation_prove() can report is broken on purpose, one thing at a time: verify()
-- names it, under the right law, and nothing else.
\ir verify_lib.sql
SET client_min_messages = warning;
SET entrestate.clock = '2026-01-05T10:00:00Z';
SELECT entrestate.upkeep() AS setup \gset verify_
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();
CREATE ROLE broken_app LOGIN;
GRANT entrestate_app TO broken_app;
CREATE ROLE broken_group;

SELECT is_empty('SELECT * FROM entrestate.verify()', 'a healthy system has no findings');
SELECT is(broken.judge('plain', '', '{}', 'entrestate_auditor'), NULL, 'nor when an auditor asks');
SELECT is(broken.judge('plain', $$SET LOCAL IntervalStyle = postgres_verbose; SET LOCAL DateStyle = 'SQL, DMY'; SET LOCAL TimeZone = 'Asia/Kathmandu';
  SET LOCAL extra_float_digits = -15; SET LOCAL quote_all_identifiers = on; SET LOCAL standard_conforming_strings = off;
  SET LOCAL bytea_output = escape; SET LOCAL search_path = entrestate, public; SET LOCAL lc_monetary = 'C'$$, '{}', 'entrestate_auditor'),
  NULL, 'nor when they write dates, intervals, names and strings otherwise');

-- a caller's settings change no pattern in our functions either
SET LOCAL standard_conforming_strings = off;
SELECT is(entrestate.email_normalise('Ann.B@Example.com'), 'ann.b@example.com', 'an address is one whatever strings conform to');
SELECT is(entrestate.email_normalise('ann@examplecom'), NULL, 'and what is none is none');
SELECT is(entrestate.phone_normalise('+1 416 555 0100'), '+14165550100', 'a number, too');
RESET standard_conforming_strings;

-- ---------------------------------------------------------------- tables

SELECT broken.is_reported('an undeclared table', 'unguarded', 'CREATE TABLE entrestate.stray (x integer)',
  'L1|table stray|is not declared by protect()%', 'L1|table stray|row security is not enabled and forced', 'L1|table stray|belongs to %');
SELECT broken.is_reported('a detached partition', 'unguarded',
  'ALTER TABLE entrestate.audit_log DETACH PARTITION entrestate.audit_log_p202512',
  'L1|table audit_log_p202512|is not declared by protect(): % detached');
SELECT broken.is_reported('a partition that is half detached', 'catalog',
  $$UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'entrestate.audit_log_p202512'::regclass$$,
  'L2|table audit_log|partition entrestate.audit_log_p202512 is half detached%',
  'L1|table audit_log_p202512|is not declared by protect(): % detached');
SELECT broken.is_reported('a dropped table', 'unguarded', 'DROP TABLE entrestate.lead_attributions',
  'L1|table lead_attributions|is declared but not there');
SELECT broken.is_reported('row security disabled', 'unguarded', 'ALTER TABLE entrestate.leads DISABLE ROW LEVEL SECURITY',
  'L1|table leads|row security is not enabled and forced');
SELECT broken.is_reported('row security not forced', 'unguarded', 'ALTER TABLE entrestate.sender_due NO FORCE ROW LEVEL SECURITY',
  'L1|table sender_due|row security is not enabled and forced');
SELECT broken.is_reported('row security of a partition switched off in the catalog', 'catalog',
  $$UPDATE pg_class SET relrowsecurity = false WHERE oid = 'entrestate.sender_events_p202601'::regclass$$,
  'L1|table sender_events_p202601|row security is not enabled and forced');
SELECT broken.is_reported('another owner', 'unguarded', 'ALTER TABLE entrestate.sender_due OWNER TO CURRENT_USER',
  'L1|table sender_due|belongs to %');
SELECT broken.is_reported('another owner of a partition', 'unguarded', 'ALTER TABLE entrestate.audit_log_default OWNER TO broken_app',
  'L1|table audit_log_default|belongs to broken_app');
SELECT broken.is_reported('an unlogged table', 'unguarded', 'ALTER TABLE entrestate.sender_due SET UNLOGGED',
  'L5|table sender_due|is not logged: a crash would empty it');
SELECT broken.is_reported('a materialized view in the schema', 'unguarded',
  'CREATE MATERIALIZED VIEW entrestate.kept AS SELECT * FROM entrestate.leads',
  'L1|table kept|is a foreign table or a materialized view%', 'L1|table kept|is not declared%', 'L1|table kept|row security%',
  'L1|table kept|belongs to %', 'L1|materialized view entrestate.kept|reads leads and belongs to %');
SELECT broken.is_reported('a foreign table in the schema', 'unguarded', $$
  CREATE FOREIGN DATA WRAPPER broken_wrapper;
  CREATE SERVER broken_server FOREIGN DATA WRAPPER broken_wrapper;
  CREATE FOREIGN TABLE entrestate.far (tenant_id uuid) SERVER broken_server$$,
  'L1|table far|is a foreign table or a materialized view%', 'L1|table far|is not declared%', 'L1|table far|row security%', 'L1|table far|belongs to %');
SELECT broken.is_reported('a partition made by hand', 'unguarded', $$
  CREATE TABLE entrestate.audit_log_mine PARTITION OF entrestate.audit_log FOR VALUES FROM ('2040-01-01') TO ('2040-02-01')$$,
  'L1|table audit_log_mine|row security is not enabled and forced', 'L1|table audit_log_mine|belongs to %',
  'L1|table audit_log_mine|policy tenant_isolation is missing', 'L1|table audit_log_mine|policy auditor_reads is missing',
  -- the row guard was cloned by PostgreSQL
  'L2|table audit_log_mine|guard guard_append_only is missing', 'L7|table audit_log_mine|guard guard_system_only is missing');
SELECT broken.is_reported('a partition outside the schema', 'unguarded', $$
  CREATE TABLE public.far PARTITION OF entrestate.audit_log FOR VALUES FROM ('2040-01-01') TO ('2040-02-01')$$,
  'L2|table audit_log|partition public.far lies outside the schema');
SELECT broken.is_reported('no default partition', 'unguarded', $$
  ALTER TABLE entrestate.audit_log DETACH PARTITION entrestate.audit_log_default;
  DROP TABLE entrestate.audit_log_default$$,
  'L2|table audit_log|has no default partition%');
SELECT broken.is_reported('an inheritance child', 'unguarded', 'CREATE TABLE public.child () INHERITS (entrestate.leads)',
  'L2|table leads|table public.child inherits from it');
SELECT broken.is_reported('a rule', 'unguarded', 'CREATE RULE swallow AS ON INSERT TO entrestate.leads DO INSTEAD NOTHING',
  'L2|table leads|rule swallow can swallow or change writes');
SELECT broken.is_reported('a foreign key out of an append-only table', 'unguarded', $$
  ALTER TABLE entrestate.sender_events ADD CONSTRAINT cascades FOREIGN KEY (tenant_id, lead_id)
    REFERENCES entrestate.leads (tenant_id, lead_id) ON DELETE CASCADE$$,
  'L2|table sender_events|foreign key cascades can change rows of an append-only table');

-- ---------------------------------------------------------------- policies

SELECT broken.is_reported('a missing policy', 'unguarded', 'DROP POLICY tenant_isolation ON entrestate.leads',
  'L1|table leads|policy tenant_isolation is missing');
SELECT broken.is_reported('a missing policy of a partition', 'unguarded', 'DROP POLICY auditor_reads ON entrestate.audit_log_p202601',
  'L1|table audit_log_p202601|policy auditor_reads is missing');
SELECT broken.is_reported('one policy more', 'unguarded', 'CREATE POLICY more ON entrestate.leads USING (true)',
  'L1|table leads|policy more is not the declared one');
SELECT broken.is_reported('a policy that lets everything through', 'unguarded',
  'ALTER POLICY tenant_isolation ON entrestate.leads USING (true)',
  'L1|table leads|policy tenant_isolation is not the declared one');
SELECT broken.is_reported('a policy that checks nothing', 'unguarded',
  'ALTER POLICY tenant_isolation ON entrestate.leads WITH CHECK (true)',
  'L1|table leads|policy tenant_isolation is not the declared one');
SELECT broken.is_reported('a policy for everybody', 'unguarded', 'ALTER POLICY auditor_reads ON entrestate.sender_due TO PUBLIC',
  'L1|table sender_due|policy auditor_reads is not the declared one');
SELECT broken.is_reported('a policy for one role more', 'unguarded',
  'ALTER POLICY auditor_reads ON entrestate.leads TO entrestate_auditor, entrestate_app',
  'L1|table leads|policy auditor_reads is not the declared one');
SELECT broken.is_reported('a policy of another kind of table', 'unguarded',
  'CREATE POLICY owner_works ON entrestate.leads TO entrestate_owner USING (true) WITH CHECK (true)',
  'L1|table leads|policy owner_works is not the declared one');
SELECT broken.is_reported('a policy changed in the catalog', 'catalog', $$
  UPDATE pg_policy SET polcmd = '*' WHERE polrelid = 'entrestate.tenants'::regclass AND polname = 'auditor_reads'$$,
  'L1|table tenants|policy auditor_reads is not the declared one');

-- ---------------------------------------------------------------- guards: every one of every kind of table

CREATE TEMPORARY TABLE guard AS
  SELECT DISTINCT ON (d.kind, g.trigger_name) d.table_name, d.machine_column, g.*, CASE g.function_name
    WHEN 'guard_append_only' THEN 'L2' WHEN 'guard_tenant_stamp' THEN 'L1' WHEN 'guard_transition' THEN 'L3' ELSE 'L7' END AS law
  FROM entrestate.protected_tables d
  CROSS JOIN LATERAL entrestate.guard_triggers(d.kind, d.machine, d.machine_column, false) g
  ORDER BY d.kind, g.trigger_name, d.table_name;
SELECT cmp_ok((SELECT count(*)::integer FROM guard), '>=', 10, 'there are guards to break');

-- a row guard's clones on the partitions go with it: hence the %
SELECT broken.is_reported(format('%s of %s dropped', g.trigger_name, g.table_name), 'unguarded',
  format('DROP TRIGGER %I ON entrestate.%I', g.trigger_name, g.table_name),
  format('%s|table %s%%|guard %s is missing', g.law, g.table_name, g.trigger_name))
FROM guard g;
SELECT broken.is_reported(format('%s of %s disabled', g.trigger_name, g.table_name), 'unguarded',
  format('ALTER TABLE entrestate.%I DISABLE TRIGGER %I', g.table_name, g.trigger_name),
  format('%s|table %s%%|guard %s is disabled', g.law, g.table_name, g.trigger_name))
FROM guard g;
SELECT broken.is_reported(format('%s of %s for replicas only', g.trigger_name, g.table_name), 'unguarded',
  format('ALTER TABLE entrestate.%I ENABLE REPLICA TRIGGER %I', g.table_name, g.trigger_name),
  format('%s|table %s%%|guard %s is not the declared one (fires R)', g.law, g.table_name, g.trigger_name))
FROM guard g;
SELECT broken.is_reported(format('%s of %s under another name', g.trigger_name, g.table_name), 'unguarded',
  format('ALTER TRIGGER %I ON entrestate.%I RENAME TO other', g.trigger_name, g.table_name),
  VARIADIC format('%s|table %s%%|guard %s is missing', g.law, g.table_name, g.trigger_name)
    -- more triggers are allowed on a tenant's own tables
    || CASE WHEN g.enabled = 'A' AND g.function_name <> 'guard_content' OR g.function_name = 'guard_system_only' OR EXISTS (SELECT FROM entrestate.protected_tables d
         WHERE d.table_name = g.table_name AND d.kind <> 'tenant')
       THEN ARRAY[format('%%|table %s%%|trigger other is not one of entrestate''s', g.table_name)] ELSE '{}' END)
FROM guard g;
-- a function of the same name in another schema
CREATE SCHEMA broken_guard;
SELECT broken.is_reported(format('%s of %s with another function of that name', g.trigger_name, g.table_name), 'unguarded',
  format('CREATE FUNCTION broken_guard.%1$I() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN coalesce(new, old); END'';
    DROP TRIGGER %2$I ON entrestate.%3$I; CREATE TRIGGER %2$I %4$s ON entrestate.%3$I FOR EACH %5$s EXECUTE FUNCTION broken_guard.%1$I(%6$s);
    ALTER TABLE entrestate.%3$I ENABLE %7$s TRIGGER %2$I',
    g.function_name, g.trigger_name, g.table_name, g.clause, CASE WHEN g.per_row THEN 'ROW' ELSE 'STATEMENT' END,
    (SELECT string_agg(quote_literal(a), ', ') FROM unnest(g.arguments) a), CASE g.enabled WHEN 'A' THEN 'ALWAYS' ELSE '' END),
  format('%s|table %s%%|guard %s is not the declared one (fires %s)', g.law, g.table_name, g.trigger_name, g.enabled))
FROM guard g;
SELECT broken.is_reported(format('%s of %s that fires for fewer statements', g.trigger_name, g.table_name), 'catalog',
  format('UPDATE pg_trigger SET tgtype = tgtype & ~16 WHERE tgrelid = %L::regclass AND tgname = %L', 'entrestate.' || g.table_name, g.trigger_name),
  format('%s|table %s|guard %s is not the declared one %%', g.law, g.table_name, g.trigger_name))
FROM guard g WHERE g.type & 16 <> 0;

SELECT broken.is_reported('a TRUNCATE guard missing on one partition', 'unguarded',
  'DROP TRIGGER guard_append_only ON entrestate.audit_log_p202512',
  'L2|table audit_log_p202512|guard guard_append_only is missing');
SELECT broken.is_reported('a row guard disabled on one partition', 'catalog', $$
  UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'entrestate.sender_events_default'::regclass AND tgname = 'guard_append_only_rows'$$,
  'L2|table sender_events_default|guard guard_append_only_rows is disabled');
SELECT broken.is_reported('ENABLE TRIGGER ALL, as pg_restore --disable-triggers ends', 'unguarded',
  'ALTER TABLE entrestate.audit_log_p202512 DISABLE TRIGGER ALL; ALTER TABLE entrestate.audit_log_p202512 ENABLE TRIGGER ALL',
  'L2|table audit_log_p202512|guard guard_append_only is not the declared one (fires O)',
  'L2|table audit_log_p202512|guard guard_append_only_rows is not the declared one (fires O)',
  'L7|table audit_log_p202512|guard guard_system_only is not the declared one (fires O)');
SELECT broken.is_reported('a guard with a condition', 'unguarded', $$
  DROP TRIGGER guard_tenant_stamp ON entrestate.leads;
  CREATE TRIGGER guard_tenant_stamp BEFORE INSERT OR UPDATE ON entrestate.leads
    FOR EACH ROW WHEN (false) EXECUTE FUNCTION entrestate.guard_tenant_stamp()$$,
  'L1|table leads|guard guard_tenant_stamp is not the declared one %');
SELECT broken.is_reported('a guard with other arguments', 'catalog', $$
  UPDATE pg_trigger SET tgargs = 'campaign\000status\000' WHERE tgrelid = 'entrestate.leads'::regclass AND tgname = 'guard_transition'$$,
  'L3|table leads|guard guard_transition is not the declared one %');
SELECT broken.is_reported('a guard of another column', 'unguarded', $$
  DROP TRIGGER guard_transition ON entrestate.leads;
  CREATE TRIGGER guard_transition BEFORE INSERT OR UPDATE OF full_name ON entrestate.leads
    FOR EACH ROW EXECUTE FUNCTION entrestate.guard_transition('lead', 'status')$$,
  'L3|table leads|guard guard_transition is not the declared one %');
SELECT broken.is_reported('a row guard made a statement guard', 'unguarded', $$
  DROP TRIGGER guard_append_only_rows ON entrestate.audit_log;
  CREATE TRIGGER guard_append_only_rows BEFORE UPDATE OR DELETE ON entrestate.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION entrestate.guard_append_only();
  ALTER TABLE entrestate.audit_log ENABLE ALWAYS TRIGGER guard_append_only_rows$$,
  'L2|table audit_log|guard guard_append_only_rows is not the declared one %',
  'L2|table audit_log_%|guard guard_append_only_rows is missing');
SELECT broken.is_reported('a foreign trigger on an append-only table', 'unguarded', $$
  CREATE TRIGGER strange BEFORE INSERT ON entrestate.audit_log FOR EACH ROW EXECUTE FUNCTION broken.quiet()$$,
  'L2|table audit_log%|trigger strange is not one of entrestate''s');
SELECT broken.is_reported('a foreign trigger on one partition', 'unguarded', $$
  CREATE TRIGGER strange BEFORE INSERT ON entrestate.audit_log_default FOR EACH ROW EXECUTE FUNCTION broken.quiet()$$,
  'L2|table audit_log_default|trigger strange is not one of entrestate''s');
SELECT broken.is_reported('a foreign trigger on derived data', 'unguarded', $$
  CREATE TRIGGER strange AFTER UPDATE ON entrestate.sender_runs FOR EACH ROW EXECUTE FUNCTION broken.quiet()$$,
  'L7|table sender_runs|trigger strange is not one of entrestate''s');
SELECT broken.is_reported('entrestate''s own function where it was not declared', 'unguarded', $$
  CREATE TRIGGER strange BEFORE INSERT ON entrestate.sender_due FOR EACH STATEMENT EXECUTE FUNCTION entrestate.guard_system_only()$$,
  'L7|table sender_due|trigger strange is not one of entrestate''s');
SELECT broken.is_reported('an empty partition attached with another trigger', 'unguarded', $$
  CREATE TABLE entrestate.audit_log_mine (LIKE entrestate.audit_log INCLUDING ALL);
  ALTER TABLE entrestate.audit_log_mine OWNER TO entrestate_owner;
  CREATE TRIGGER strange BEFORE INSERT ON entrestate.audit_log_mine FOR EACH ROW EXECUTE FUNCTION broken.quiet();
  ALTER TABLE entrestate.audit_log ATTACH PARTITION entrestate.audit_log_mine FOR VALUES FROM ('2040-01-01') TO ('2040-02-01')$$,
  'L1|table audit_log_mine|row security is not enabled and forced', 'L1|table audit_log_mine|policy % is missing',
  'L2|table audit_log_mine|guard guard_append_only is missing', 'L7|table audit_log_mine|guard guard_system_only is missing',
  'L2|table audit_log_mine|trigger strange is not one of entrestate''s');

-- ---------------------------------------------------------------- event triggers

SELECT broken.is_reported(format('%s: %s', e, v.what), v.route, format(v.script, e), format('L2|event trigger %s|%s', e, v.detail))
FROM unnest('{entrestate_ddl_start,entrestate_ddl_end,entrestate_drop,entrestate_rewrite}'::text[]) e, (VALUES
  ('disabled', 'plain', 'ALTER EVENT TRIGGER %I DISABLE', 'is not enabled always'),
  ('in the ORIGIN role only', 'plain', 'ALTER EVENT TRIGGER %I ENABLE', 'is not enabled always'),
  ('dropped', 'unguarded', 'ALTER EXTENSION entrestate DROP EVENT TRIGGER %1$I; DROP EVENT TRIGGER %1$I', 'is missing'),
  ('renamed', 'unguarded', 'ALTER EVENT TRIGGER %I RENAME TO other', 'is missing')) AS v(what, route, script, detail);
SELECT broken.is_reported(v.what, 'unguarded', format('ALTER EXTENSION entrestate DROP EVENT TRIGGER %1$I; DROP EVENT TRIGGER %1$I;
    CREATE EVENT TRIGGER %1$I %2$s', v.name, v.made),
  format('L2|event trigger %s|is not the one that was shipped', v.name))
FROM (VALUES
  ('an event trigger with a foreign function', 'entrestate_drop', 'ON sql_drop EXECUTE FUNCTION broken.nothing()'),
  ('an event trigger with another of our functions', 'entrestate_rewrite', 'ON table_rewrite EXECUTE FUNCTION entrestate.guard_ddl_start()'),
  ('an event trigger for fewer commands', 'entrestate_ddl_end', 'ON ddl_command_end WHEN TAG IN (''ALTER VIEW'') EXECUTE FUNCTION entrestate.guard_ddl_end()'),
  ('an event trigger on another event', 'entrestate_ddl_start', 'ON ddl_command_end EXECUTE FUNCTION entrestate.guard_ddl_start()')
) AS v(what, name, made);

-- ---------------------------------------------------------------- grants

SELECT broken.is_reported(v.what, 'unguarded', v.script, v.wanted)
FROM (VALUES
  ('INSERT for applications', 'GRANT INSERT ON entrestate.leads TO entrestate_app', 'L1|table leads|entrestate_app has INSERT'),
  ('TRUNCATE for the worker', 'GRANT TRUNCATE ON entrestate.sender_events TO entrestate_worker', 'L1|table sender_events|entrestate_worker has TRUNCATE'),
  ('REFERENCES for applications', 'GRANT REFERENCES ON entrestate.tenants TO entrestate_app', 'L1|table tenants|entrestate_app has REFERENCES'),
  ('TRIGGER for an application', 'GRANT TRIGGER ON entrestate.leads TO broken_app', 'L1|table leads|broken_app has TRIGGER'),
  ('SELECT for everybody', 'GRANT SELECT ON entrestate.tenants TO PUBLIC', 'L1|table tenants|PUBLIC has SELECT'),
  ('SELECT for a role by itself', 'GRANT SELECT ON entrestate.leads TO broken_app', 'L1|table leads|broken_app has SELECT'),
  ('SELECT for the anonymous role', 'GRANT SELECT ON entrestate.campaigns TO entrestate_anon', 'L1|table campaigns|entrestate_anon has SELECT'),
  ('SELECT on a table across tenants', 'GRANT SELECT ON entrestate.sender_due TO entrestate_app', 'L1|table sender_due|entrestate_app has SELECT'),
  ('SELECT on a partition', 'GRANT SELECT ON entrestate.audit_log_p202601 TO entrestate_app', 'L1|table audit_log_p202601|entrestate_app has SELECT'),
  ('SELECT with grant option', 'GRANT SELECT ON entrestate.leads TO entrestate_app WITH GRANT OPTION', 'L1|table leads|entrestate_app has SELECT'),
  ('a grant on one column', 'GRANT UPDATE (opted_out_at) ON entrestate.leads TO entrestate_app', 'L1|table leads.opted_out_at|has a grant of its own'),
  ('a grant on a sequence', 'GRANT USAGE ON SEQUENCE entrestate.sender_events_id_seq TO entrestate_app', 'L1|sequence sender_events_id_seq|entrestate_app has USAGE'),
  ('CREATE in the schema', 'GRANT CREATE ON SCHEMA entrestate TO entrestate_app', 'L1|schema entrestate|entrestate_app may create objects in it'),
  ('CREATE in the schema for everybody', 'GRANT CREATE ON SCHEMA entrestate TO PUBLIC', 'L1|schema entrestate|PUBLIC may create objects in it'),
  ('another owner of the schema', 'ALTER SCHEMA entrestate OWNER TO broken_app', 'L1|schema entrestate|belongs to broken_app, who is no superuser'),
  ('default privileges in the schema', 'ALTER DEFAULT PRIVILEGES IN SCHEMA entrestate GRANT SELECT ON TABLES TO entrestate_app',
    'L1|default privileges of %|what it makes in schema entrestate is open to others'),
  ('default privileges of the owner role', 'ALTER DEFAULT PRIVILEGES FOR ROLE entrestate_owner GRANT INSERT ON TABLES TO broken_app',
    'L1|default privileges of entrestate_owner|what it makes anywhere is open to others'),
  ('EXECUTE for everybody', 'GRANT EXECUTE ON FUNCTION entrestate.verify() TO PUBLIC', 'L1|function entrestate.verify()|PUBLIC may execute it'),
  ('login() for applications', 'GRANT EXECUTE ON FUNCTION entrestate.login(uuid, text) TO entrestate_app',
    'L1|function entrestate.login(uuid,text)|entrestate_app may execute it, which entrestate did not grant'),
  ('EXECUTE with grant option', 'GRANT EXECUTE ON FUNCTION entrestate.current_tenant() TO entrestate_app WITH GRANT OPTION',
    'L1|function entrestate.current_tenant()|entrestate_app may execute it, which entrestate did not grant'),
  ('upkeep() for a role by itself', 'GRANT EXECUTE ON FUNCTION entrestate.upkeep(integer, integer) TO broken_group',
    'L1|function entrestate.upkeep(integer,integer)|broken_group may execute it, which entrestate did not grant'),
  ('the clock granted', 'GRANT SET ON PARAMETER entrestate.clock TO broken_app', 'L1|parameter entrestate.clock|was granted to somebody%'),
  ('the replication role granted', 'GRANT SET ON PARAMETER session_replication_role TO broken_app', 'L7|parameter session_replication_role|was granted to somebody%')
) AS v(what, script, wanted);
SELECT broken.is_reported('a role that may call one function of the applications is none', 'unguarded',
  'GRANT EXECUTE ON FUNCTION entrestate.current_tenant() TO broken_group', VARIADIC '{}');
SELECT broken.is_reported('another owner of the extension', 'catalog',
  $$UPDATE pg_extension SET extowner = 'broken_app'::regrole WHERE extname = 'entrestate'$$,
  'L1|extension entrestate|belongs to broken_app, who is no superuser');

-- ---------------------------------------------------------------- keys and definitions

SELECT broken.is_reported(v.what, 'unguarded', v.script, v.wanted)
FROM (VALUES
  ('a foreign key without the tenant',
    'ALTER TABLE entrestate.leads ADD CONSTRAINT crossed FOREIGN KEY (lead_id, tenant_id) REFERENCES entrestate.leads (tenant_id, lead_id)',
    'L1|table leads|foreign key crossed does not carry the tenant'),
  ('a foreign key from outside', 'CREATE TABLE public.probe (a uuid, b uuid, CONSTRAINT probes FOREIGN KEY (a, b) REFERENCES entrestate.leads)',
    'L1|table leads|foreign key probes of public.probe tells whether a row of another tenant exists'),
  ('a unique index without the tenant', 'CREATE UNIQUE INDEX oracle ON entrestate.lead_contacts (address_norm)',
    'L1|table lead_contacts|unique index entrestate.oracle does not carry the tenant%'),
  ('a unique index that only includes the tenant', 'CREATE UNIQUE INDEX oracle ON entrestate.lead_contacts (address_norm) INCLUDE (tenant_id)',
    'L1|table lead_contacts|unique index entrestate.oracle does not carry the tenant%'),
  ('a unique index of one partition', 'CREATE UNIQUE INDEX oracle ON entrestate.audit_log_p202601 (id)',
    'L1|table audit_log_p202601|unique index entrestate.oracle does not carry the tenant%'),
  ('an exclusion constraint without the tenant', 'ALTER TABLE entrestate.leads ADD CONSTRAINT oracle EXCLUDE (company WITH =)',
    'L1|table leads|unique index entrestate.oracle does not carry the tenant%'),
  ('a dropped unique index', 'DROP INDEX entrestate.sender_sequences_published',
    'schema|table sender_sequences|is missing or was changed: CREATE UNIQUE INDEX sender_sequences_published %'),
  ('another default', 'ALTER TABLE entrestate.sender_events ALTER COLUMN txid SET DEFAULT ''3''',
    'schema|table sender_events|is missing or was changed: column txid %'),
  ('an identity column by hand', 'ALTER TABLE entrestate.tenants ALTER COLUMN dry_run SET DEFAULT false',
    'schema|table tenants|is missing or was changed: column dry_run %')
) AS v(what, script, wanted);
SELECT broken.is_reported(v.what, 'unguarded', v.script, v.wanted)
FROM (VALUES
  ('a dropped foreign key', 'ALTER TABLE entrestate.lead_contacts DROP CONSTRAINT lead_contacts_tenant_id_lead_id_fkey',
    'L1|table lead_contacts|is missing or was changed: constraint lead_contacts_tenant_id_lead_id_fkey FOREIGN KEY %'),
  ('a foreign key that was not validated', 'ALTER TABLE entrestate.lead_contacts DROP CONSTRAINT lead_contacts_tenant_id_lead_id_fkey,
    ADD CONSTRAINT lead_contacts_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id) NOT VALID',
    'L1|table lead_contacts|is missing or was changed: constraint lead_contacts_tenant_id_lead_id_fkey FOREIGN KEY %'),
  ('a foreign key that cascades', 'ALTER TABLE entrestate.lead_contacts DROP CONSTRAINT lead_contacts_tenant_id_lead_id_fkey,
    ADD CONSTRAINT lead_contacts_tenant_id_lead_id_fkey FOREIGN KEY (tenant_id, lead_id) REFERENCES entrestate.leads (tenant_id, lead_id) ON DELETE CASCADE',
    'L1|table lead_contacts|is missing or was changed: constraint lead_contacts_tenant_id_lead_id_fkey FOREIGN KEY %'),
  ('a dropped CHECK', 'ALTER TABLE entrestate.leads DROP CONSTRAINT leads_status_check',
    'schema|table leads|is missing or was changed: constraint leads_status_check CHECK %'),
  ('a CHECK replaced', 'ALTER TABLE entrestate.leads DROP CONSTRAINT leads_status_check, ADD CONSTRAINT leads_status_check CHECK (status IS NOT NULL)',
    'schema|table leads|is missing or was changed: constraint leads_status_check CHECK %'),
  ('a CHECK that was not validated', 'ALTER TABLE entrestate.leads DROP CONSTRAINT leads_source_check,
    ADD CONSTRAINT leads_source_check CHECK (octet_length(source) >= 1 AND octet_length(source) <= 40) NOT VALID',
    'schema|table leads|is missing or was changed: constraint leads_source_check CHECK %'),
  ('a dropped NOT NULL', 'ALTER TABLE entrestate.leads ALTER COLUMN source DROP NOT NULL',
    'schema|table leads|is missing or was changed: column source text NOT NULL'),
  ('another type', 'ALTER TABLE entrestate.sender_steps ALTER COLUMN template_version TYPE bigint',
    'schema|table sender_steps|is missing or was changed: column template_version integer NOT NULL'),
  ('a dropped column', 'ALTER TABLE entrestate.campaigns DROP COLUMN landing',
    'schema|table campaigns|is missing or was changed: column landing %')
) AS v(what, script, wanted);
SELECT broken.is_reported('a foreign key whose trigger is disabled', 'catalog', $$
  UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'entrestate.lead_contacts'::regclass AND tgisinternal$$,
  'L1|table lead_contacts|foreign key lead_contacts_tenant_id_lead_id_fkey is not enforced: its trigger fires D');
SELECT broken.is_reported('a foreign key whose trigger is disabled where it points to', 'catalog', $$
  UPDATE pg_trigger SET tgenabled = 'R' WHERE tgrelid = 'entrestate.leads'::regclass AND tgisinternal
    AND tgconstraint = (SELECT oid FROM pg_constraint WHERE conname = 'lead_contacts_tenant_id_lead_id_fkey')$$,
  'L1|table leads|foreign key lead_contacts_tenant_id_lead_id_fkey is not enforced: its trigger fires R');
SELECT broken.is_reported('a tenant that may be NULL', 'catalog', $$
  UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'entrestate.lead_contacts'::regclass AND attname = 'tenant_id'$$,
  'L1|table lead_contacts|the first column is not tenant_id uuid NOT NULL',
  'schema|table lead_contacts|is missing or was changed: column tenant_id uuid NOT NULL');

-- ---------------------------------------------------------------- views

SELECT broken.is_reported(v.what, 'unguarded', v.script, VARIADIC v.wanted)
FROM (VALUES
  ('a view in the schema that runs as its owner', 'CREATE VIEW entrestate.all_leads AS SELECT * FROM entrestate.leads',
    ARRAY['L1|view all_leads|does not run as its caller%', 'L1|view entrestate.all_leads|reads leads and belongs to %, whom row security does not bind']),
  ('a view in another schema that runs as a superuser', 'CREATE VIEW public.all_leads AS SELECT l.*, c.address FROM entrestate.leads l JOIN entrestate.lead_contacts c USING (lead_id)',
    ARRAY['L1|view %all_leads|reads lead_contacts, leads and belongs to %, whom row security does not bind']),
  ('a view of a partition', 'CREATE VIEW public.events AS SELECT * FROM entrestate.sender_events_default',
    ARRAY['L1|view %events|reads sender_events_default and belongs to %']),
  ('a view of an auditor', 'CREATE VIEW public.all_leads AS SELECT * FROM entrestate.leads; ALTER VIEW public.all_leads OWNER TO entrestate_auditor',
    ARRAY['L1|view %all_leads|reads leads and belongs to entrestate_auditor, whom row security does not bind']),
  ('a view of the owner role', 'CREATE VIEW public.all_leads AS SELECT * FROM entrestate.leads; ALTER VIEW public.all_leads OWNER TO entrestate_owner',
    ARRAY['L1|view %all_leads|reads leads and belongs to entrestate_owner, with whose rights it writes']),
  ('a materialized view in another schema', 'CREATE MATERIALIZED VIEW public.all_leads AS SELECT * FROM entrestate.leads',
    ARRAY['L1|materialized view %all_leads|reads leads and belongs to %']),
  ('a materialized view of an invoker view', 'CREATE VIEW public.my_leads WITH (security_invoker = true) AS SELECT * FROM entrestate.leads;
    CREATE MATERIALIZED VIEW public.all_leads AS SELECT * FROM public.my_leads',
    ARRAY['L1|materialized view %all_leads|reads leads and belongs to %']),
  ('a view that runs as its caller is none', 'CREATE VIEW public.my_leads WITH (security_invoker = on) AS SELECT * FROM entrestate.leads', '{}'),
  ('nor is one of a role that row security binds', 'CREATE VIEW public.my_leads AS SELECT * FROM entrestate.leads; ALTER VIEW public.my_leads OWNER TO broken_app', '{}')
) AS v(what, script, wanted);

-- ---------------------------------------------------------------- functions

SELECT broken.is_reported(v.what, 'unguarded', v.script, VARIADIC v.wanted)
FROM (VALUES
  ('a guard replaced in place', 'CREATE OR REPLACE FUNCTION entrestate.guard_append_only() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN new; END''',
    ARRAY['L1|function entrestate.guard_append_only()|is not the one that was shipped']),
  ('another body', 'CREATE OR REPLACE FUNCTION entrestate.guard_readers(kind text) RETURNS name[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
      SET search_path = pg_catalog, pg_temp AS $f$SELECT ''{entrestate_app,entrestate_auditor,entrestate_authenticator,entrestate_worker}''::name[]$f$',
    ARRAY['L1|function entrestate.guard_readers(text)|is not the one that was shipped']),
  ('another SQL-standard body', 'CREATE OR REPLACE FUNCTION entrestate.run_id(campaign_id uuid, lead_id uuid) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
      RETURN lead_id::text', ARRAY['L1|function entrestate.run_id(uuid,uuid)|is not the one that was shipped']),
  ('LEAKPROOF', 'ALTER FUNCTION entrestate.clock_now() LEAKPROOF', ARRAY['L1|function entrestate.clock_now()|is not the one that was shipped']),
  ('another volatility', 'ALTER FUNCTION entrestate.current_tenant() IMMUTABLE', ARRAY['L1|function entrestate.current_tenant()|is not the one that was shipped']),
  ('a definer function made an invoker', 'ALTER FUNCTION entrestate.upkeep(integer, integer) SECURITY INVOKER',
    ARRAY['L1|function entrestate.upkeep(integer,integer)|is not the one that was shipped',
      'L1|function entrestate.upkeep(integer,integer)|belongs to entrestate_owner, who is no superuser and can change it']),
  ('an invoker function made a definer', 'ALTER FUNCTION entrestate.verify() SECURITY DEFINER',
    ARRAY['L1|function entrestate.verify()|is a definer function that does not pin%', 'L1|function entrestate.verify()|is not the one that was shipped']),
  ('a definer function that follows the caller''s search path', 'ALTER FUNCTION entrestate.upkeep(integer, integer) RESET search_path',
    ARRAY['L1|function entrestate.upkeep(integer,integer)|is a definer function that does not pin%', 'L1|function entrestate.upkeep(integer,integer)|is not the one that was shipped']),
  ('a definer function without row security', 'ALTER FUNCTION entrestate.upkeep(integer, integer) SET row_security = off',
    ARRAY['L1|function entrestate.upkeep(integer,integer)|is a definer function that does not pin%', 'L1|function entrestate.upkeep(integer,integer)|is not the one that was shipped']),
  ('a definer function of a superuser', 'ALTER FUNCTION entrestate.upkeep(integer, integer) OWNER TO CURRENT_USER',
    ARRAY['L1|function entrestate.upkeep(integer,integer)|is a definer function that does not pin%or does not belong to entrestate_owner']),
  ('a function that an application could change', 'ALTER FUNCTION entrestate.current_tenant() OWNER TO broken_app',
    ARRAY['L1|function entrestate.current_tenant()|belongs to broken_app, who is no superuser and can change it']),
  ('a dropped function', 'ALTER EXTENSION entrestate DROP FUNCTION entrestate.clock_moved(); DROP FUNCTION entrestate.clock_moved()',
    ARRAY['L1|function entrestate.clock_moved()|is missing']),
  ('a function that is no longer the extension''s', 'ALTER EXTENSION entrestate DROP FUNCTION entrestate.guard_transition()',
    ARRAY['L1|function entrestate.guard_transition()|is missing', 'L1|function entrestate.guard_transition()|is a foreign function in schema entrestate',
      'L3|table %|guard guard_transition is not the declared one %']),
  ('a function made the extension''s', 'CREATE FUNCTION broken.evil() RETURNS integer LANGUAGE sql AS ''SELECT 1''; ALTER EXTENSION entrestate ADD FUNCTION broken.evil()',
    ARRAY['L1|function broken.evil()|is in the extension and was not shipped with it', 'L1|function broken.evil()|PUBLIC may execute it']),
  ('a function planted for the owner role', 'CREATE FUNCTION broken.evil() RETURNS integer LANGUAGE sql SECURITY DEFINER AS ''SELECT 1'';
      ALTER FUNCTION broken.evil() OWNER TO entrestate_owner',
    ARRAY['L7|function broken.evil()|belongs to entrestate_owner and is not entrestate''s%'])
) AS v(what, script, wanted);
SELECT broken.is_reported(v.what, 'unguarded', v.script, VARIADIC v.wanted)
FROM (VALUES
  ('a foreign function in the schema', 'CREATE FUNCTION entrestate.evil() RETURNS integer LANGUAGE sql AS ''SELECT 1''',
    ARRAY['L1|function entrestate.evil()|is a foreign function in schema entrestate']),
  ('a LEAKPROOF function', 'CREATE FUNCTION broken.evil(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS ''SELECT true''',
    ARRAY['L1|function broken.evil(text)|is marked LEAKPROOF%']),
  ('a definer function of a superuser that reads our tables',
    'CREATE FUNCTION broken.evil() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS ''BEGIN RETURN (SELECT count(*) FROM entrestate.leads); END''',
    ARRAY['L1|function broken.evil()|runs as %, whom row security does not bind, and names entrestate']),
  ('a definer function of an auditor', 'CREATE FUNCTION broken.evil() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM entrestate.leads; END;
      ALTER FUNCTION broken.evil() OWNER TO entrestate_auditor',
    ARRAY['L1|function broken.evil()|runs as entrestate_auditor, whom row security does not bind, and names entrestate']),
  ('a definer function that nobody else may execute is none',
    'CREATE FUNCTION broken.evil() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS ''BEGIN RETURN (SELECT count(*) FROM entrestate.leads); END'';
      REVOKE ALL ON FUNCTION broken.evil() FROM PUBLIC', '{}'),
  ('nor is one of a role that row security binds',
    'CREATE FUNCTION broken.evil() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS ''BEGIN RETURN (SELECT count(*) FROM entrestate.leads); END'';
      ALTER FUNCTION broken.evil() OWNER TO broken_app', '{}')
) AS v(what, script, wanted);

-- ---------------------------------------------------------------- roles

-- the applications of the cluster; other tests left some
CREATE TEMPORARY VIEW application AS
  SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
  WHERE g.rolname = 'entrestate_app';
SELECT broken.is_reported(format('%s with %s', r, a), 'plain', format('ALTER ROLE %I %s', r, a),
  VARIADIC format('L1|role %s|has attributes that break the laws', r)
    || CASE WHEN r = 'entrestate_app' AND a NOT IN ('LOGIN', 'CREATEDB') THEN ARRAY(
      SELECT format('L1|role %s|is an application role and a member of entrestate_app, which reaches past row security', p.rolname)
      FROM application p) ELSE '{}' END)
FROM unnest('{entrestate_owner,entrestate_app,entrestate_authenticator,entrestate_worker,entrestate_auditor}'::text[]) r,
  unnest('{SUPERUSER,BYPASSRLS,CREATEROLE,CREATEDB,REPLICATION,LOGIN}'::text[]) a
WHERE NOT (r = 'entrestate_worker' AND a = 'LOGIN');
SELECT broken.is_reported('a role that is missing', 'plain', 'ALTER ROLE entrestate_anon RENAME TO entrestate_gone',
  'L1|role entrestate_anon|is missing');

SELECT broken.is_reported(v.what, 'plain', v.script, VARIADIC v.wanted)
FROM (VALUES
  ('a member of the owner role', 'GRANT entrestate_owner TO broken_app', ARRAY['L1|role broken_app|is a member of entrestate_owner and could act as the system']),
  ('a member of the owner role through a group', 'GRANT entrestate_owner TO broken_group; GRANT broken_group TO broken_app',
    ARRAY['L1|role broken_app|is a member of entrestate_owner%', 'L1|role broken_group|is a member of entrestate_owner%']),
  ('a superuser may be a member of the owner role', 'GRANT entrestate_owner TO CURRENT_USER', '{}'),
  ('an application that is a superuser', 'ALTER ROLE broken_app SUPERUSER', ARRAY['L1|role broken_app|is an application role with SUPERUSER%']),
  ('an application with BYPASSRLS', 'ALTER ROLE broken_app BYPASSRLS', ARRAY['L1|role broken_app|is an application role with SUPERUSER, BYPASSRLS%']),
  ('an application that replicates', 'ALTER ROLE broken_app REPLICATION', ARRAY['L1|role broken_app|is an application role with %REPLICATION%']),
  ('an application with CREATEROLE', 'ALTER ROLE broken_app CREATEROLE', ARRAY['L1|role broken_app|is an application role with %CREATEROLE%']),
  ('an anonymous role with BYPASSRLS, through a group', 'GRANT entrestate_anon TO broken_group; CREATE ROLE broken_web IN ROLE broken_group BYPASSRLS',
    ARRAY['L1|role broken_web|is an application role with SUPERUSER, BYPASSRLS%']),
  ('an application that is an auditor', 'GRANT entrestate_auditor TO broken_app',
    ARRAY['L1|role broken_app|is both entrestate_app and entrestate_auditor: its queries get the union of both']),
  ('an application that is a worker', 'GRANT entrestate_worker TO broken_app', ARRAY['L1|role broken_app|is both entrestate_app and entrestate_worker%']),
  ('an anonymous role that is an auditor, through groups', 'GRANT entrestate_anon, entrestate_auditor TO broken_group; CREATE ROLE broken_web IN ROLE broken_group',
    ARRAY['L1|role broken_group|is both entrestate_anon and entrestate_auditor%', 'L1|role broken_web|is both entrestate_anon and entrestate_auditor%']),
  ('an application that writes everything', 'GRANT pg_write_all_data TO broken_app', ARRAY['L1|role broken_app|is an application role and a member of pg_write_all_data%']),
  ('an application that reads the server''s files', 'GRANT pg_read_server_files TO broken_app', ARRAY['L1|role broken_app|is an application role and a member of pg_read_server_files%']),
  ('an application that runs programs', 'GRANT pg_execute_server_program TO broken_app', ARRAY['L1|role broken_app|is an application role and a member of pg_execute_server_program%']),
  ('an application that sees others'' queries', 'GRANT pg_monitor TO broken_app', ARRAY['L1|role broken_app|is an application role and a member of pg_read_all_stats%']),
  ('an application that may become a superuser', 'CREATE ROLE broken_root SUPERUSER; GRANT broken_root TO broken_app',
    ARRAY['L1|role broken_app|is an application role and a member of broken_root, which reaches past row security'])
) AS v(what, script, wanted);
SELECT broken.is_reported('all applications made auditors', 'plain', 'GRANT entrestate_auditor TO entrestate_app',
  VARIADIC 'L1|role entrestate_app|is both entrestate_app and entrestate_auditor%'::text
    || ARRAY(SELECT format('L1|role %s|is both entrestate_app and entrestate_auditor%%', p.rolname) FROM application p));

-- ---------------------------------------------------------------- settings

SELECT entrestate.tenant_create('Acme', 'user_ann', 'sandbox') AS acme \gset
-- ALTER ROLE ... SET refuses it
SELECT broken.is_reported('a session token in a role''s settings', 'catalog',
  $$INSERT INTO pg_db_role_setting VALUES (0, 'broken_app'::regrole, '{entrestate.session=es1.token.mac}')$$,
  'L8|database and role settings|a session token is kept in them%');
SELECT broken.is_reported('a role bound to a tenant is none', 'plain', format('ALTER ROLE broken_app SET entrestate.bound_tenant = %L', :'acme'),
  VARIADIC '{}');
SELECT broken.is_reported(v.what, 'plain', v.script, VARIADIC v.wanted)
FROM (VALUES
  ('guards silent for a role', 'ALTER ROLE broken_app SET session_replication_role = replica',
    ARRAY['L7|settings of role broken_app|session_replication_role=replica takes guards away%']),
  ('guards silent in the database', format('ALTER DATABASE %I SET session_replication_role = local', current_database()),
    ARRAY[format('%%|settings of database %s|session_replication_role=local%%', current_database())]),
  ('guards silent for a role in the database', format('ALTER ROLE broken_app IN DATABASE %I SET session_replication_role = replica', current_database()),
    ARRAY[format('L7|settings of role broken_app in database %s|session_replication_role=replica%%', current_database())]),
  ('catalog open to a role', 'ALTER ROLE broken_app SET allow_system_table_mods = 1', ARRAY['L2|settings of role broken_app|allow_system_table_mods=%']),
  ('a search path for the owner role', 'ALTER ROLE entrestate_owner SET search_path = public', ARRAY['L1|settings of role entrestate_owner|search_path=public%']),
  ('row security off for the auditor', 'ALTER ROLE entrestate_auditor SET row_security = no', ARRAY['L1|settings of role entrestate_auditor|row_security=no%']),
  ('another role for the worker', 'ALTER ROLE entrestate_worker SET role = entrestate_app', ARRAY['L1|settings of role entrestate_worker|role=entrestate_app%']),
  ('harmless settings are none', 'ALTER ROLE entrestate_worker SET work_mem = ''8MB''; ALTER ROLE broken_app SET search_path = public;
    ALTER ROLE broken_app SET session_replication_role = origin; ALTER ROLE entrestate_app SET row_security = on', '{}')
) AS v(what, script, wanted);
-- from 17 on
SELECT CASE WHEN current_setting('event_triggers', true) IS NULL THEN skip('event_triggers is not a setting of this version', 1)
  ELSE broken.is_reported('event triggers off for a role', 'plain', 'ALTER ROLE broken_app SET event_triggers = off',
    'L2|settings of role broken_app|event_triggers=off takes guards away%') END;

-- ---------------------------------------------------------------- versions

SELECT broken.is_reported('a schema of another version', 'plain',
  $$SELECT broken.tamper('schema_version', 'INSERT INTO %s (version) VALUES (''99'')')$$,
  'schema|schema entrestate|the schema has version 99, the library %: ALTER EXTENSION%');
SELECT broken.is_reported('an extension of another version', 'catalog', $$UPDATE pg_extension SET extversion = '99' WHERE extname = 'entrestate'$$,
  'schema|schema entrestate|%, the extension 99: ALTER EXTENSION%');

-- the worst: nothing is where it should be, and verify() still answers
SELECT matches(broken.judge('plain', 'ALTER ROLE entrestate_owner RENAME TO entrestate_gone', '{}'), 'L1\|role entrestate_owner\|is missing|belongs to entrestate_gone',
  'without the owner role verify() still answers');

SELECT is_empty('SELECT * FROM entrestate.verify()', 'everything was undone');

-- ---------------------------------------------------------------- many partitions, and speed

SELECT entrestate.upkeep(12, 24) > 100 AS many \gset
-- The backend's own processor time, in ms, which other work on the machine does not lengthen;
-- where there is no /proc, the clock's.
CREATE FUNCTION broken.busy() RETURNS numeric LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(
    -- fields 14 and 15, in hundredths of a second; what comes before the last ) is a name
    (SELECT (f[12]::numeric + f[13]::numeric) * 10
     FROM string_to_array(regexp_replace(pg_read_file('/proc/self/stat', 0, 4096, true), '^.*[)] ', ''), ' ') AS f),
    extract(epoch FROM clock_timestamp()) * 1000)
$$;
CREATE FUNCTION broken.milliseconds() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
  t numeric;
  best numeric;
BEGIN
  FOR i IN 1 .. 5 LOOP
    t := broken.busy();
    PERFORM * FROM entrestate.isolation_prove();
    best := least(best, broken.busy() - t);
  END LOOP;
  RETURN best;
END
$$;
SELECT is_empty('SELECT * FROM entrestate.verify()', 'three years of partitions are healthy');
SELECT cmp_ok(broken.milliseconds(), '<', 300::numeric, 'the catalog is walked in less than 0.3 s');
SELECT * FROM finish();
ROLLBACK;
