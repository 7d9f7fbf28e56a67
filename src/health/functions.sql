-- health: verify() checks every law on a live system. (F11)
-- INVOKER functions: an auditor (or a superuser) sees all tenants.

CREATE FUNCTION code_now(OUT object text, OUT digest text) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
-- what PostgreSQL writes of an expression depends on these
SET IntervalStyle = postgres SET DateStyle = ISO SET TimeZone = 'UTC' SET extra_float_digits = 1
SET quote_all_identifiers = off SET standard_conforming_strings = on AS $$
  -- Not the owner, the grants and what is enabled: they are judged by
  -- themselves. Nor the list that is made from this.
  SELECT format('function %s', p.oid::regprocedure), md5(concat_ws(E'\n', l.lanname, p.prosrc, p.probin, pg_get_function_sqlbody(p.oid),
    pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prokind, p.provolatile, p.proparallel, p.prosecdef,
    p.proleakproof, p.proisstrict, array_to_string(p.proconfig, E'\n'), p.prosupport))
  FROM pg_extension e
  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_proc p ON p.oid = d.objid
  JOIN pg_language l ON l.oid = p.prolang
  WHERE e.extname = 'entrestate' AND p.proname <> 'code_shipped'
  UNION ALL
  SELECT format('event trigger %s', t.evtname), md5(concat_ws(E'\n', t.evtevent, t.evtfoid::regprocedure, array_to_string(t.evttags, ',')))
  FROM pg_event_trigger t WHERE t.evtname LIKE 'entrestate\_%'
$$;
COMMENT ON FUNCTION code_now() IS
'Internal: every function of the extension, and its event triggers, with a digest of what it does. code_shipped() is this list as it was when the extension was installed. (F11)';

CREATE FUNCTION isolation_prove() RETURNS TABLE (law text, object text, detail text)
LANGUAGE sql STABLE
-- compiling so long a query takes longer than running it
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET standard_conforming_strings = on SET jit = off AS $$
WITH RECURSIVE ext AS (
  SELECT oid FROM pg_extension WHERE extname = 'entrestate'
), house AS (
  -- not 'entrestate_owner'::regrole, which is an error when the role is gone
  SELECT (SELECT oid FROM pg_roles WHERE rolname = 'entrestate_owner') AS owner
), our AS MATERIALIZED (
  SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
    c.relpersistence, c.relispartition, format('table %I', c.relname) AS label,
    d.table_name AS declared, d.kind, d.machine, d.machine_column, d.by_month, d.definition
  FROM pg_class c
  LEFT JOIN entrestate.protected_tables d ON d.table_name = entrestate.guard_root(c.oid)
  WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p', 'f', 'm')
), tenant_table AS (
  SELECT * FROM our WHERE kind IN ('tenant', 'events', 'derived')
), policy AS MATERIALIZED (
  SELECT k.kind, g.* FROM unnest('{tenant,events,derived,global,catalog}'::text[]) AS k(kind)
  CROSS JOIN LATERAL entrestate.guard_policies(k.kind) g
), guard AS MATERIALIZED (
  SELECT our.oid AS relation, our.label, our.kind, g.*, CASE g.function_name
    WHEN 'guard_append_only' THEN 'L2' WHEN 'guard_tenant_stamp' THEN 'L1'
    WHEN 'guard_transition' THEN 'L3' ELSE 'L7' END AS law,
    -- the columns of UPDATE OF
    coalesce((SELECT a.attnum::text FROM pg_attribute a WHERE a.attrelid = our.oid
      AND a.attname = our.machine_column AND g.function_name = 'guard_transition'), '') AS columns
  FROM our CROSS JOIN LATERAL entrestate.guard_triggers(our.kind, our.machine, our.machine_column, our.relispartition) g
), member AS MATERIALIZED (
  SELECT p.* FROM pg_proc p, ext
  WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
    AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid)
), granted(member, role) AS (
  -- who is a member of what, through any number of grants; superusers are
  -- members of everything and are not meant
  SELECT member, roleid FROM pg_auth_members
  UNION
  SELECT m.member, a.roleid FROM granted m JOIN pg_auth_members a ON a.member = m.role
), in_role AS (
  SELECT a.oid AS member, a.rolname, a.rolsuper, a.rolbypassrls, a.rolcreaterole, a.rolreplication, r.oid AS role_oid,
    r.rolname AS role, r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolreplication AS mighty
  FROM granted m JOIN pg_roles a ON a.oid = m.member JOIN pg_roles r ON r.oid = m.role
), application AS (
  SELECT i.member, i.rolname, i.rolsuper, i.rolsuper OR i.rolbypassrls OR i.rolcreaterole OR i.rolreplication AS mighty, i.role
  FROM in_role i WHERE i.role IN ('entrestate_app', 'entrestate_anon')
  UNION ALL
  SELECT r.oid, r.rolname, r.rolsuper, false, r.rolname  -- its attributes are judged with those of all six
  FROM pg_roles r WHERE r.rolname IN ('entrestate_app', 'entrestate_anon')
), unbound AS (
  -- roles whose views and definer functions see every tenant
  SELECT r.oid, r.rolname FROM pg_roles r
  WHERE r.rolsuper OR r.rolbypassrls OR r.rolname = 'entrestate_auditor'
    OR EXISTS (SELECT FROM in_role i WHERE i.member = r.oid AND i.role = 'entrestate_auditor')
), reads(reader, relation) AS (
  -- A view reads what its query names; a materialized view also what the
  -- invoker views in it name, as its own owner.
  SELECT w.ev_class, our.oid FROM pg_rewrite w
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
  JOIN our ON our.oid = d.refobjid AND our.kind <> 'catalog' AND our.oid <> w.ev_class
  UNION
  SELECT w.ev_class, s.relation FROM reads s
  JOIN pg_class v ON v.oid = s.reader AND v.relkind = 'v'
    AND v.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}'
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
  JOIN pg_rewrite w ON w.oid = d.objid AND w.ev_class <> v.oid
  JOIN pg_class c ON c.oid = w.ev_class AND c.relkind = 'm'
)
-- tables and their guards
SELECT 'L1', our.label, 'is not declared by protect(): it has no guards, or it is a partition that was detached'
FROM our WHERE our.declared IS NULL
UNION ALL
SELECT 'L1', format('table %I', d.table_name), 'is declared but not there'
FROM entrestate.protected_tables d WHERE to_regclass(format('entrestate.%I', d.table_name)) IS NULL
UNION ALL
SELECT 'L1', our.label, 'row security is not enabled and forced'
FROM our WHERE NOT (our.relrowsecurity AND our.relforcerowsecurity)
UNION ALL
SELECT 'L1', our.label, format('belongs to %s', pg_get_userbyid(our.relowner))
FROM our, house WHERE our.relowner IS DISTINCT FROM house.owner
UNION ALL
SELECT 'L5', our.label, 'is not logged: a crash would empty it'
FROM our WHERE our.relpersistence <> 'p'
UNION ALL
SELECT 'L1', our.label, 'is a foreign table or a materialized view, which row security does not reach'
FROM our WHERE our.relkind IN ('f', 'm')
UNION ALL
SELECT 'L1', our.label, format('policy %s is missing', g.policy)
FROM our JOIN policy g ON g.kind = our.kind
WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = our.oid AND p.polname = g.policy)
UNION ALL
SELECT 'L1', our.label, format('policy %s is not the declared one', p.polname)
FROM our JOIN pg_policy p ON p.polrelid = our.oid
WHERE our.declared IS NOT NULL
  -- as guard_policy_is_ours() has it, which would be called for each policy of each partition
  AND NOT EXISTS (SELECT FROM policy g WHERE g.kind = our.kind AND g.policy = p.polname
    AND p.polpermissive AND p.polcmd = g.command
    AND g.roles = (SELECT array_agg(r.rolname ORDER BY r.rolname) FROM unnest(p.polroles) u JOIN pg_roles r ON r.oid = u)
    AND pg_get_expr(p.polqual, p.polrelid) = g.expression
    AND (p.polcmd = 'r' OR pg_get_expr(p.polwithcheck, p.polrelid) = g.expression))
UNION ALL
SELECT g.law, g.label, CASE WHEN t.oid IS NULL THEN format('guard %s is missing', g.trigger_name)
                  WHEN t.tgenabled = 'D' THEN format('guard %s is disabled', g.trigger_name)
                  ELSE format('guard %s is not the declared one (fires %s)', g.trigger_name, t.tgenabled) END
FROM guard g
LEFT JOIN pg_trigger t ON t.tgrelid = g.relation AND t.tgname = g.trigger_name
WHERE t.oid IS NULL OR t.tgenabled <> g.enabled OR t.tgtype <> g.type OR t.tgqual IS NOT NULL
  OR t.tgattr::text <> g.columns
  OR t.tgfoid IS DISTINCT FROM (SELECT m.oid FROM member m WHERE m.proname = g.function_name AND m.pronargs = 0)
  OR encode(t.tgargs, 'escape') <> coalesce((SELECT string_agg(a || '\000', '') FROM unnest(g.arguments) a), '')
UNION ALL
SELECT CASE our.kind WHEN 'events' THEN 'L2' ELSE 'L7' END, our.label, format('trigger %s is not one of entrestate''s', t.tgname)
FROM our JOIN pg_trigger t ON t.tgrelid = our.oid
WHERE NOT t.tgisinternal AND our.kind IN ('events', 'derived', 'global', 'catalog')
  AND NOT EXISTS (SELECT FROM guard g WHERE g.relation = our.oid AND g.trigger_name = t.tgname)
UNION ALL
SELECT 'L2', our.label, format('rule %s can swallow or change writes', r.rulename)
FROM our JOIN pg_rewrite r ON r.ev_class = our.oid WHERE our.relkind <> 'm'
UNION ALL
SELECT 'L2', our.label, format('table %s inherits from it', i.inhrelid::regclass)
FROM our JOIN pg_inherits i ON i.inhparent = our.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE NOT c.relispartition
UNION ALL
SELECT 'L2', our.label, format('partition %s lies outside the schema', c.oid::regclass)
FROM our JOIN pg_inherits i ON i.inhparent = our.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE c.relispartition AND c.relnamespace <> 'entrestate'::regnamespace
UNION ALL
SELECT 'L2', our.label, format('partition %s is half detached: its rows are not seen', i.inhrelid::regclass)
FROM our JOIN pg_inherits i ON i.inhparent = our.oid WHERE i.inhdetachpending
UNION ALL
SELECT 'L2', our.label, 'has no default partition: an insert could fail for want of one'
FROM our WHERE our.by_month AND our.relkind = 'p'
  AND NOT EXISTS (SELECT FROM pg_partitioned_table t WHERE t.partrelid = our.oid AND t.partdefid <> 0)
UNION ALL
SELECT 'L2', our.label, format('foreign key %s can change rows of an append-only table', k.conname)
FROM our JOIN pg_constraint k ON k.conrelid = our.oid
WHERE our.kind = 'events' AND k.contype = 'f' AND k.conparentid = 0
UNION ALL
SELECT 'L2', format('event trigger %s', e.evtname), 'is not enabled always'
FROM pg_event_trigger e WHERE e.evtname LIKE 'entrestate\_%' AND e.evtenabled <> 'A'
UNION ALL
-- grants
SELECT 'L1', our.label, format('%s has %s', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type)
FROM our CROSS JOIN LATERAL aclexplode(our.relacl) a
WHERE a.grantee <> our.relowner
  AND NOT (a.privilege_type = 'SELECT' AND NOT a.is_grantable AND NOT our.relispartition
           AND a.grantee <> 0 AND pg_get_userbyid(a.grantee) = ANY (entrestate.guard_readers(our.kind)))
UNION ALL
SELECT 'L1', format('%s.%I', our.label, t.attname), 'has a grant of its own'
FROM our JOIN pg_attribute t ON t.attrelid = our.oid WHERE t.attacl IS NOT NULL
UNION ALL
SELECT 'L1', format('sequence %I', c.relname), format('%s has %s', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type)
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind = 'S' AND a.grantee <> c.relowner
UNION ALL
SELECT 'L1', 'schema entrestate', format('%s may create objects in it', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'))
FROM house, pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
WHERE n.nspname = 'entrestate' AND a.privilege_type = 'CREATE'
  AND a.grantee <> n.nspowner AND a.grantee IS DISTINCT FROM house.owner
UNION ALL
SELECT 'L1', v.label, format('belongs to %s, who is no superuser', r.rolname)
FROM (SELECT 'schema entrestate', nspowner FROM pg_namespace WHERE nspname = 'entrestate'
  UNION ALL SELECT 'extension entrestate', extowner FROM pg_extension WHERE extname = 'entrestate') AS v(label, owner)
JOIN pg_roles r ON r.oid = v.owner WHERE NOT r.rolsuper
UNION ALL
SELECT 'L1', format('default privileges of %s', a.defaclrole::regrole), format('what it makes %s is open to others',
  CASE a.defaclnamespace WHEN 0 THEN 'anywhere' ELSE 'in schema entrestate' END)
FROM pg_default_acl a, house
WHERE (a.defaclnamespace = 'entrestate'::regnamespace OR a.defaclrole IS NOT DISTINCT FROM house.owner)
  AND EXISTS (SELECT FROM aclexplode(a.defaclacl) x WHERE x.grantee <> a.defaclrole)
UNION ALL
-- keys
SELECT 'L1', f.label, format('foreign key %s does not carry the tenant', k.conname)
FROM pg_constraint k JOIN tenant_table f ON f.oid = k.conrelid JOIN tenant_table p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND (SELECT array_agg(a.attname::text) FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
    JOIN unnest(k.confkey) WITH ORDINALITY v(n, o) USING (o)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n AND a.attname = 'tenant_id'
    JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = v.n AND b.attname = 'tenant_id') IS NULL
UNION ALL
SELECT 'L1', our.label, format('foreign key %s of %s tells whether a row of another tenant exists', k.conname, k.conrelid::regclass)
FROM pg_constraint k JOIN our ON our.oid = k.confrelid
WHERE k.contype = 'f' AND our.kind <> 'catalog' AND k.conrelid NOT IN (SELECT oid FROM our)
UNION ALL
SELECT DISTINCT 'L1', our.label, format('foreign key %s is not enforced: its trigger fires %s', k.conname, t.tgenabled)
FROM our JOIN pg_trigger t ON t.tgrelid = our.oid JOIN pg_constraint k ON k.oid = t.tgconstraint
WHERE t.tgisinternal AND t.tgenabled <> 'O'
UNION ALL
SELECT CASE WHEN x LIKE 'constraint % FOREIGN KEY %' THEN 'L1' ELSE 'schema' END, our.label, format('is missing or was changed: %s', x)
FROM our CROSS JOIN LATERAL (SELECT entrestate.guard_definition(our.oid) AS found OFFSET 0) d CROSS JOIN LATERAL unnest(our.definition) x
WHERE NOT our.relispartition AND our.relkind IN ('r', 'p') AND x <> ALL (d.found)
UNION ALL
SELECT 'L1', t.label, format('unique index %s does not carry the tenant: a conflict would tell of another one''s row', i.indexrelid::regclass)
FROM tenant_table t JOIN pg_index i ON i.indrelid = t.oid
WHERE (i.indisunique OR i.indisexclusion)
  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id'
    AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1]))
UNION ALL
SELECT 'L1', t.label, 'the first column is not tenant_id uuid NOT NULL'
FROM tenant_table t WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = 1
  AND a.attname = 'tenant_id' AND a.atttypid = 'uuid'::regtype AND a.attnotnull)
UNION ALL
-- views
SELECT 'L1', format('view %I', c.relname), 'does not run as its caller (security_invoker), so row security is its owner''s'
FROM pg_class c WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind = 'v'
  AND NOT coalesce(c.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
UNION ALL
SELECT 'L1', format('%s %s', CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, c.oid::regclass),
  format('reads %s and belongs to %s, %s', string_agg(DISTINCT our.relname, ', '), pg_get_userbyid(c.relowner),
    CASE WHEN c.relowner IS NOT DISTINCT FROM house.owner THEN 'with whose rights it writes' ELSE 'whom row security does not bind' END)
FROM reads JOIN pg_class c ON c.oid = reads.reader JOIN our ON our.oid = reads.relation, house
WHERE (c.relowner IN (SELECT oid FROM unbound)
    OR c.relowner IS NOT DISTINCT FROM house.owner AND c.relnamespace <> 'entrestate'::regnamespace)
  AND NOT coalesce(c.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
GROUP BY c.oid, c.relkind, c.relowner, house.owner
UNION ALL
-- functions
SELECT 'L1', format('function %s', m.oid::regprocedure), 'PUBLIC may execute it'
FROM member m WHERE m.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(m.proacl) a WHERE a.grantee = 0)
UNION ALL
SELECT 'L1', format('function %s', m.oid::regprocedure), format('%s may execute it, which entrestate did not grant', a.grantee::regrole)
FROM member m CROSS JOIN LATERAL aclexplode(m.proacl) a, house
WHERE a.grantee NOT IN (0, m.proowner) AND a.grantee IS DISTINCT FROM house.owner
  AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) b
    WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = m.oid AND i.objsubid = 0
      -- what applications may call, a role may call by itself
      AND (b.grantee = a.grantee AND b.is_grantable = a.is_grantable
        OR NOT a.is_grantable AND b.grantee = (SELECT r.oid FROM pg_roles r WHERE r.rolname = 'entrestate_app')))
UNION ALL
SELECT 'L1', format('function %s', m.oid::regprocedure), 'is a definer function that does not pin search_path and row_security, or does not belong to entrestate_owner'
FROM member m, house WHERE m.prosecdef AND (m.proowner IS DISTINCT FROM house.owner
  OR NOT coalesce(m.proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'row_security=on'], false))
UNION ALL
SELECT 'L1', format('function %s', m.oid::regprocedure), format('belongs to %s, who is no superuser and can change it', r.rolname)
FROM member m JOIN pg_roles r ON r.oid = m.proowner WHERE NOT m.prosecdef AND NOT r.rolsuper
UNION ALL
SELECT CASE WHEN object LIKE 'event trigger %' THEN 'L2' ELSE 'L1' END, object, CASE WHEN n.digest IS NULL THEN 'is missing'
  WHEN s.digest IS NULL THEN 'is in the extension and was not shipped with it' ELSE 'is not the one that was shipped' END
FROM entrestate.code_now() n FULL JOIN entrestate.code_shipped() s USING (object)
WHERE n.digest IS DISTINCT FROM s.digest
UNION ALL
SELECT 'L7', format('function %s', p.oid::regprocedure), 'belongs to entrestate_owner and is not entrestate''s: it could write what only the system writes'
FROM pg_proc p, house WHERE p.proowner = house.owner AND NOT EXISTS (SELECT FROM member m WHERE m.oid = p.oid)
UNION ALL
SELECT 'L1', format('function %s', p.oid::regprocedure), 'is a foreign function in schema entrestate'
FROM pg_proc p, house WHERE p.pronamespace = 'entrestate'::regnamespace
  AND p.proowner IS DISTINCT FROM house.owner AND NOT EXISTS (SELECT FROM member m WHERE m.oid = p.oid)
UNION ALL
SELECT 'L1', format('function %s', p.oid::regprocedure), CASE WHEN p.proleakproof
  THEN 'is marked LEAKPROOF: the planner may show it rows that row security hides'
  ELSE format('runs as %s, whom row security does not bind, and names entrestate', u.rolname) END
FROM pg_proc p LEFT JOIN unbound u ON u.oid = p.proowner
WHERE p.oid >= 16384  -- not PostgreSQL's own
  AND (p.proleakproof OR p.prosecdef AND u.oid IS NOT NULL
    AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner))
    AND (p.prosrc ~* '\mentrestate\M' OR EXISTS (SELECT FROM pg_depend d JOIN our ON our.oid = d.refobjid
      WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass)))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
-- roles and settings
SELECT 'L1', format('role %s', n), CASE WHEN r.oid IS NULL THEN 'is missing' ELSE 'has attributes that break the laws' END
FROM unnest('{entrestate_owner,entrestate_app,entrestate_authenticator,entrestate_worker,entrestate_auditor,entrestate_anon}'::name[]) n
LEFT JOIN pg_roles r ON r.rolname = n
WHERE r.oid IS NULL OR r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
  OR (r.rolcanlogin AND n <> 'entrestate_worker')
UNION ALL
SELECT 'L1', format('role %s', i.rolname), 'is a member of entrestate_owner and could act as the system'
FROM in_role i WHERE i.role = 'entrestate_owner'
  AND NOT i.rolsuper  -- who could do anything anyway
UNION ALL
SELECT DISTINCT 'L1', format('role %s', a.rolname), 'is an application role with SUPERUSER, BYPASSRLS, CREATEROLE or REPLICATION: row security does not bind it'
FROM application a WHERE a.mighty
UNION ALL
SELECT 'L1', format('role %s', a.rolname), format('is both %s and %s: its queries get the union of both', a.role, i.role)
FROM application a JOIN in_role i ON i.member = a.member
WHERE i.role IN ('entrestate_auditor', 'entrestate_worker') AND NOT a.rolsuper
UNION ALL
SELECT DISTINCT 'L1', format('role %s', a.rolname), format('is an application role and a member of %s, which reaches past row security', i.role)
FROM application a JOIN in_role i ON i.member = a.member
WHERE NOT a.rolsuper AND (i.mighty OR i.role IN ('pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files',
  'pg_execute_server_program', 'pg_read_all_stats'))
UNION ALL
SELECT CASE WHEN p.parname LIKE 'entrestate.%' THEN 'L1' ELSE 'L7' END, format('parameter %s', p.parname), CASE WHEN p.parname LIKE 'entrestate.%'
  THEN 'was granted to somebody: it moves the clock or the tenant' ELSE 'was granted to somebody: it switches guards off' END
FROM pg_parameter_acl p WHERE p.parname LIKE 'entrestate.%'
  OR p.parname IN ('session_replication_role', 'event_triggers', 'allow_system_table_mods')
UNION ALL
SELECT 'L8', 'database and role settings', 'a session token is kept in them, where everybody can read it'
FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c WHERE c LIKE 'entrestate.session=%' AND c <> 'entrestate.session='
UNION ALL
SELECT v.law, 'settings of ' || concat_ws(' in ', CASE WHEN s.setrole <> 0 THEN format('role %s', s.setrole::regrole) END, 'database ' || quote_ident(d.datname)),
  format('%s=%s takes guards away from whoever connects so', v.name, x.value)
FROM pg_db_role_setting s
LEFT JOIN pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL (SELECT substring(c, '^[^=]+') AS name, substring(c, '=(.*)$') AS value FROM unnest(s.setconfig) AS c) x
JOIN (VALUES ('session_replication_role', 'L7', 'origin', false), ('event_triggers', 'L2', 'on', false),
  ('allow_system_table_mods', 'L2', 'off', false), ('row_security', 'L1', 'on', true),
  ('search_path', 'L1', NULL, true), ('role', 'L1', 'none', true)) AS v(name, law, harmless, of_ours) ON v.name = x.name
WHERE (s.setdatabase = 0 OR d.datname = current_database())
  AND CASE WHEN lower(x.value) IN ('on', 'true', 'yes', '1', 't', 'y') THEN 'on' WHEN lower(x.value) IN ('off', 'false', 'no', '0', 'f', 'n') THEN 'off'
      ELSE lower(x.value) END IS DISTINCT FROM v.harmless
  AND (NOT v.of_ours OR r.rolname LIKE 'entrestate\_%')
UNION ALL
SELECT v.law, 'settings of the server', format('%s=%s takes guards away from everybody', v.name, g.reset_val)
FROM (VALUES ('session_replication_role', 'L7', 'origin'), ('event_triggers', 'L2', 'on'), ('allow_system_table_mods', 'L2', 'off')) AS v(name, law, harmless)
JOIN pg_settings g ON g.name = v.name AND g.reset_val <> v.harmless
WHERE g.source <> 'client'  -- a session's own affair
  AND NOT EXISTS (SELECT FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c
    WHERE c LIKE v.name || '=%' AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
      AND s.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user)))
$$;
COMMENT ON FUNCTION isolation_prove() IS
'Walks the catalog (tables, partitions, guards, policies, grants, keys, views, functions, roles, settings) and says what could leak between tenants or be changed: one row per finding, none when all is well. For entrestate_auditor. (F1, F11)';

CREATE FUNCTION sender_verify() RETURNS TABLE (law text, object text, detail text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
WITH fold AS MATERIALIZED (
  SELECT * FROM entrestate.sender_fold(NULL)
), compared AS (
  SELECT entrestate.run_id(coalesce(r.campaign_id, f.campaign_id), coalesce(r.lead_id, f.lead_id)) AS run,
    r.lead_id AS the_run, f.lead_id AS the_fold, r.run_seq, f.events, f.run_seq AS last, r.status, f.status AS folded, r.next_at, f.in_flight,
    r.tenant_id, r.campaign_id, r.version, r.cursor,
    CASE WHEN r.cursor <> f.cursor THEN format('cursor %s, its events say %s', r.cursor, f.cursor)
      WHEN r.status <> f.status THEN format('status %s, its events say %s', r.status, f.status)
      WHEN r.next_at IS DISTINCT FROM f.next_at THEN 'next_at is not what its last event says'
      WHEN r.sent_steps <> f.sent_steps THEN format('%s steps sent, its events say %s', r.sent_steps, f.sent_steps)
      WHEN r.version <> f.version THEN format('version %s, its events say %s', r.version, f.version)
      WHEN r.mode <> f.mode THEN format('mode %s, its events say %s', r.mode, f.mode)
      WHEN r.attempt <> f.attempt THEN format('attempt %s, its events say %s', r.attempt, f.attempt)
      WHEN r.deferrals <> f.deferrals THEN format('%s deferrals, its events say %s', r.deferrals, f.deferrals)
      WHEN r.reason IS DISTINCT FROM f.reason OR r.ended_at IS DISTINCT FROM f.ended_at
        THEN 'why or when it ended is not what its events say' END AS difference
  FROM entrestate.sender_runs r
  FULL JOIN fold f USING (tenant_id, campaign_id, lead_id)
), balance AS (
  -- what sender_balance() says, of every campaign
  SELECT coalesce(r.campaign_id, o.campaign_id) AS campaign_id, coalesce(r.steps, 0) AS steps, coalesce(r.ended, 0) + coalesce(r.open, 0) AS remain,
    coalesce(o.outcomes, 0) AS outcomes, coalesce(r.beyond, 0) AS beyond
  FROM (SELECT c.tenant_id, c.campaign_id, sum(v.steps) AS steps, count(*) FILTER (WHERE c.cursor > v.steps) AS beyond,
      sum(v.steps - c.cursor) FILTER (WHERE c.status IN ('suppressed', 'failed')) AS ended,
      sum(v.steps - c.cursor) FILTER (WHERE c.status NOT IN ('suppressed', 'failed')) AS open
    FROM compared c
    JOIN (SELECT s.tenant_id, s.campaign_id, s.version, count(*) AS steps FROM entrestate.sender_steps s GROUP BY 1, 2, 3) v
      ON v.tenant_id = c.tenant_id AND v.campaign_id = c.campaign_id AND v.version = c.version
    GROUP BY 1, 2) r
  FULL JOIN (SELECT f.tenant_id, f.campaign_id, sum(f.sent + f.failed + f.unknown + f.skipped + f.simulated) AS outcomes
    FROM fold f GROUP BY 1, 2) o ON o.tenant_id = r.tenant_id AND o.campaign_id = r.campaign_id
)
SELECT 'L3', format('run %s', b.run), CASE
    WHEN b.the_run IS NULL THEN 'has events but no run'
    WHEN b.the_fold IS NULL THEN 'has no events'
    WHEN b.events <> b.last OR b.run_seq <> b.last THEN format('its events have a gap: %s events, last %s, run_seq %s', b.events, b.last, b.run_seq)
    ELSE b.difference END
FROM compared b
WHERE b.the_run IS NULL OR b.the_fold IS NULL OR b.events <> b.last OR b.run_seq <> b.last OR b.difference IS NOT NULL
UNION ALL
SELECT 'L3', format('balance of campaign %s', b.campaign_id),
  CASE WHEN b.steps <> b.outcomes + b.remain
    THEN format('its runs have %s steps, %s of them left or cancelled, but the events have %s outcomes', b.steps, b.remain, b.outcomes)
    ELSE format('%s runs are beyond their last step', b.beyond) END
FROM balance b WHERE b.steps <> b.outcomes + b.remain OR b.beyond > 0
UNION ALL
SELECT 'L5', format('run %s', b.run), 'is open but neither due nor in flight: nothing would move it on'
FROM compared b WHERE b.status IN ('pending', 'running') AND b.next_at IS NULL AND b.in_flight IS NOT TRUE
UNION ALL
-- no guard lets it happen: published content stays
SELECT 'L5', format('run %s', b.run), format('cannot go on: what version %s pins for step %s is gone', b.version, b.cursor)
FROM compared b WHERE b.status IN ('pending', 'running') AND NOT EXISTS (
  SELECT FROM entrestate.sender_steps s WHERE s.tenant_id = b.tenant_id AND s.campaign_id = b.campaign_id AND s.version = b.version AND s.step = b.cursor
    AND NOT EXISTS (SELECT FROM jsonb_array_elements(coalesce(s.variants, jsonb_build_array(jsonb_build_object('template', s.template_id, 'version', s.template_version)))) v
      WHERE NOT EXISTS (SELECT FROM entrestate.templates m WHERE m.tenant_id = s.tenant_id AND m.template_id = (v ->> 'template')::uuid AND m.version = (v ->> 'version')::integer)))
UNION ALL
SELECT 'L5', format('run %s', entrestate.run_id(coalesce(r.campaign_id, d.campaign_id), coalesce(r.lead_id, d.lead_id))),
  CASE WHEN d.lead_id IS NULL THEN 'has a next_at but is not in sender_due: it would never be looked at'
       WHEN d.n > 1 THEN 'is in sender_due more than once'
       ELSE 'is in sender_due but there is no such run' END
-- a run that has ended or moved on may still lie where it waited
FROM (SELECT * FROM entrestate.sender_runs WHERE next_at IS NOT NULL AND NOT awaiting_go_live) r
FULL JOIN (SELECT w.tenant_id, w.campaign_id, w.version, w.step, w.due_at, u.lead_id, count(*) AS n
  FROM entrestate.sender_due w CROSS JOIN LATERAL unnest(w.leads) AS u(lead_id) GROUP BY 1, 2, 3, 4, 5, 6) d
  ON d.tenant_id = r.tenant_id AND d.campaign_id = r.campaign_id AND d.lead_id = r.lead_id AND d.due_at = r.next_at
  AND d.version = r.version AND d.step = r.cursor
WHERE d.lead_id IS NULL OR d.n > 1 AND r.lead_id IS NOT NULL
  OR r.lead_id IS NULL AND NOT EXISTS (SELECT FROM entrestate.sender_runs o WHERE o.tenant_id = d.tenant_id AND o.campaign_id = d.campaign_id AND o.lead_id = d.lead_id)
UNION ALL
SELECT 'L5', format('intent %s/%s/%s', entrestate.run_id(i.campaign_id, i.lead_id), i.step, i.attempt), 'belongs to no run'
FROM entrestate.sender_intents i
WHERE NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = i.tenant_id
  AND r.campaign_id = i.campaign_id AND r.lead_id = i.lead_id)
UNION ALL
-- a retry's intent has a later attempt, and is of a step before
SELECT 'L5', format('intent %s/%s/%s', b.run, i.step, i.attempt), format('is to be sent, but its run is at step %s', b.cursor)
FROM entrestate.sender_intents i
JOIN compared b ON b.tenant_id = i.tenant_id AND b.campaign_id = i.campaign_id AND b.the_run = i.lead_id
WHERE i.status IN ('ready', 'leased', 'started') AND i.attempt = 0 AND i.step <> b.cursor
UNION ALL
SELECT 'L5', format('run %s', entrestate.run_id(e.campaign_id, e.lead_id)),
  format('step %s was sent %s times under one key', e.step, count(*))
FROM entrestate.sender_events e
WHERE e.type = (SELECT k.code FROM entrestate.sender_event_types() k WHERE k.name = 'sender.step.sent')
GROUP BY e.tenant_id, e.campaign_id, e.lead_id, e.step, e.attempt HAVING count(*) > 1
UNION ALL
SELECT 'L5', format('intent %s/%s/%s', entrestate.run_id(coalesce(i.campaign_id, e.campaign_id), coalesce(i.lead_id, e.lead_id)),
    coalesce(i.step, e.step), coalesce(i.attempt, e.attempt)),
  CASE WHEN e.says IS NULL THEN format('is %s, but no event says so', i.status) ELSE format('an event says that it was %s, but it is %s', e.says, coalesce(i.status, 'not there')) END
FROM entrestate.sender_intents i
FULL JOIN (
  -- an outcome that was unknown may have been settled
  SELECT v.tenant_id, v.campaign_id, v.lead_id, v.step, v.attempt,
    CASE WHEN bool_or(k.name = 'sender.step.sent') THEN 'sent' WHEN bool_or(k.name = 'sender.step.failed') THEN 'failed'
         WHEN NOT bool_or(k.name = 'sender.step.unknown') THEN NULL
         WHEN bool_or(k.name = 'sender.settled' AND v.reason IS NOT NULL) THEN 'failed' WHEN bool_or(k.name = 'sender.settled') THEN 'sent' ELSE 'unknown' END AS says
  FROM entrestate.sender_events v JOIN entrestate.sender_event_types() k ON k.code = v.type
  WHERE k.name IN ('sender.step.sent', 'sender.step.failed', 'sender.step.unknown', 'sender.settled') GROUP BY 1, 2, 3, 4, 5) e
  ON e.tenant_id = i.tenant_id AND e.campaign_id = i.campaign_id AND e.lead_id = i.lead_id AND e.step = i.step AND e.attempt = i.attempt
WHERE CASE WHEN i.status IN ('sent', 'failed', 'unknown') THEN i.status END IS DISTINCT FROM e.says
UNION ALL
SELECT 'L5', format('intent %s/%s/%s', entrestate.run_id(e.campaign_id, e.lead_id), e.step, e.attempt),
  CASE WHEN i.lead_id IS NULL THEN format('%s was reported of a message that was never sent', k.name) ELSE format('%s was reported %s times', k.name, e.n) END
FROM (SELECT v.tenant_id, v.campaign_id, v.lead_id, v.step, v.attempt, v.type, count(*) AS n FROM entrestate.sender_events v
  WHERE v.run_seq IS NULL GROUP BY 1, 2, 3, 4, 5, 6) e
JOIN entrestate.sender_event_types() k ON k.code = e.type
LEFT JOIN entrestate.sender_intents i ON i.tenant_id = e.tenant_id AND i.campaign_id = e.campaign_id AND i.lead_id = e.lead_id
  AND i.step = e.step AND i.attempt = e.attempt AND i.started_at IS NOT NULL
WHERE i.lead_id IS NULL OR e.n > 1
$$;
COMMENT ON FUNCTION sender_verify() IS
'Recomputes every run from its events, and what is due and in flight from the runs: one row per difference. For entrestate_auditor. (F11, L3, L5)';

CREATE FUNCTION audience_verify() RETURNS TABLE (law text, object text, detail text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH RECURSIVE settings AS (
  SELECT x.tenant_id, x.version, extract(epoch FROM x.score_window)::bigint AS seconds, x.hot_threshold, x.warming_threshold,
    ARRAY[x.open, x.click, x.chat_message, x.rapid_interaction, x.form_resubmission, x.reply, x.call_request, x.visit_request] AS weights
  FROM entrestate.score_settings x
  UNION ALL
  SELECT t.tenant_id, d.version, extract(epoch FROM d.score_window)::bigint, d.hot_threshold, d.warming_threshold,
    ARRAY[d.open, d.click, d.chat_message, d.rapid_interaction, d.form_resubmission, d.reply, d.call_request, d.visit_request]
  FROM entrestate.tenants t, entrestate.score_defaults() d
), marker AS (
  SELECT s.tenant_id, s.lead_id, max(s.signal_no) AS cooled_no
  FROM entrestate.intent_signals s WHERE s.kind = (SELECT k.code FROM entrestate.signal_kinds() k WHERE k.name = 'cooled') GROUP BY 1, 2
), joined AS (
  SELECT s.tenant_id, s.reference::uuid AS duplicate, s.lead_id, s.signal_no
  FROM entrestate.intent_signals s WHERE s.kind = (SELECT k.code FROM entrestate.signal_kinds() k WHERE k.name = 'merged')
), chain AS (
  SELECT j.* FROM joined j
  UNION ALL
  SELECT c.tenant_id, c.duplicate, j.lead_id, j.signal_no FROM chain c JOIN joined j ON j.tenant_id = c.tenant_id AND j.duplicate = c.lead_id
), cooled_since AS (
  -- merged away, and what it was merged into was cooled after that
  SELECT DISTINCT c.tenant_id, c.duplicate FROM chain c
  JOIN marker m ON m.tenant_id = c.tenant_id AND m.lead_id = c.lead_id AND m.cooled_no > c.signal_no
), signal AS (
  -- with those of the leads that were merged into it, less what was cooled
  SELECT s.tenant_id, coalesce(l.merged_into, l.lead_id) AS lead_id, s.kind, s.occurred_at, s.counted, s.hot
  FROM entrestate.intent_signals s
  JOIN entrestate.leads l ON l.tenant_id = s.tenant_id AND l.lead_id = s.lead_id
  LEFT JOIN marker m ON m.tenant_id = s.tenant_id AND m.lead_id = s.lead_id
  LEFT JOIN cooled_since i ON i.tenant_id = s.tenant_id AND i.duplicate = s.lead_id
  WHERE (m.cooled_no IS NULL OR s.signal_no > m.cooled_no) AND i.duplicate IS NULL
), counting AS (
  SELECT y.tenant_id, y.lead_id, array_agg(y.kind ORDER BY y.occurred_at, y.kind) AS kinds, array_agg(y.occurred_at ORDER BY y.occurred_at, y.kind) AS times
  FROM (SELECT z.tenant_id, z.lead_id, z.kind, z.occurred_at, row_number() OVER (PARTITION BY z.tenant_id, z.lead_id ORDER BY z.occurred_at DESC, z.kind DESC) AS newest
        FROM signal z
        JOIN entrestate.lead_scores c ON c.tenant_id = z.tenant_id AND c.lead_id = z.lead_id
        JOIN settings f ON f.tenant_id = c.tenant_id AND f.version = c.settings_version
        WHERE z.counted AND z.occurred_at > c.score_at - make_interval(secs => f.seconds)) y
  WHERE y.newest <= 1000 GROUP BY 1, 2
), remade AS (
  -- merged on: its signals are where the lead is that they went to
  SELECT c.tenant_id, c.lead_id, c.score, c.score_at, coalesce(o.merged_into, c.merged_into) AS merged_into, l.lead_id AS the_lead, l.merged_into AS lead_merged, f.warming_threshold,
    entrestate.score_of(f.weights, f.seconds * 1000000, coalesce(g.kinds, '{}'), coalesce(g.times, '{}'), c.score_at) AS right_score,
    coalesce(cardinality(g.kinds), 0) AS n
  FROM entrestate.lead_scores c
  JOIN settings f ON f.tenant_id = c.tenant_id AND f.version = c.settings_version
  LEFT JOIN entrestate.leads l ON l.tenant_id = c.tenant_id AND l.lead_id = c.lead_id
  LEFT JOIN entrestate.leads o ON o.tenant_id = c.tenant_id AND o.lead_id = c.merged_into
  LEFT JOIN counting g ON g.tenant_id = c.tenant_id AND g.lead_id = c.lead_id
), latched AS (
  SELECT s.tenant_id, s.lead_id, bool_or(s.hot) AS hot FROM signal s GROUP BY 1, 2
)
SELECT 'L7', format('score of lead %s', r.lead_id), CASE
    WHEN r.the_lead IS NULL THEN 'belongs to no lead'
    WHEN r.merged_into IS DISTINCT FROM r.lead_merged THEN 'and its lead disagree where it was merged'
    ELSE format('is %s, its signals make %s at %s', r.score, r.right_score, r.score_at) END
FROM remade r
WHERE r.the_lead IS NULL OR r.merged_into IS DISTINCT FROM r.lead_merged OR r.merged_into IS NULL AND r.score <> r.right_score
UNION ALL
SELECT 'L7', format('signals of lead %s', lead_id), format('have a gap: %s signals, the last is %s, the score has seen %s', coalesce(s.n, 0), coalesce(s.last, 0), coalesce(c.signal_count, 0))
FROM (SELECT x.tenant_id, x.lead_id, count(*) AS n, max(x.signal_no) AS last FROM entrestate.intent_signals x GROUP BY 1, 2) s
FULL JOIN entrestate.lead_scores c USING (tenant_id, lead_id)
WHERE coalesce(s.n, 0) <> coalesce(s.last, 0) OR coalesce(s.last, 0) <> coalesce(c.signal_count, -1)
UNION ALL
SELECT 'L7', format('lead %s', l.lead_id), CASE WHEN l.hot_at IS NULL THEN 'a signal made it hot, and it is not' ELSE 'is hot, and no signal made it so' END
FROM entrestate.leads l LEFT JOIN latched h ON h.tenant_id = l.tenant_id AND h.lead_id = l.lead_id
WHERE l.merged_into IS NULL AND (l.hot_at IS NOT NULL) <> coalesce(h.hot, false)
UNION ALL
SELECT 'L7', format('lead %s', l.lead_id), format('direction %s, what is known of it says %s', l.direction, d.right_direction)
FROM entrestate.leads l
JOIN (SELECT f.tenant_id, max(f.version) AS version FROM settings f GROUP BY 1) v ON v.tenant_id = l.tenant_id
LEFT JOIN remade r ON r.tenant_id = l.tenant_id AND r.lead_id = l.lead_id
JOIN settings f ON f.tenant_id = l.tenant_id AND f.version = v.version
CROSS JOIN LATERAL (SELECT CASE
    WHEN l.complained_at IS NOT NULL OR l.opted_out_at IS NOT NULL OR EXISTS (SELECT FROM entrestate.lead_contacts c
      WHERE c.tenant_id = l.tenant_id AND c.lead_id = l.lead_id AND c.is_primary AND c.unusable_reason = 'hard_bounce') THEN 'RISK'
    WHEN l.hot_at IS NOT NULL OR l.handoff_open THEN 'READY' WHEN r.right_score >= coalesce(r.warming_threshold, f.warming_threshold) THEN 'WARMING'
    WHEN r.n > 0 THEN 'EXPLORING' ELSE 'NOISE' END AS right_direction) d
WHERE l.merged_into IS NULL AND l.direction <> d.right_direction
UNION ALL
SELECT 'L7', format('lead %s', l.lead_id), format('says of its handoff %s since %s, its tickets say %s since %s', l.handoff_open, l.handoff_at, coalesce(h.open, false), h.last)
FROM entrestate.leads l
LEFT JOIN (SELECT x.tenant_id, x.lead_id, bool_or(x.status <> 'resolved') AS open, max(x.opened_at) AS last FROM entrestate.handoff_tickets x GROUP BY 1, 2) h
  ON h.tenant_id = l.tenant_id AND h.lead_id = l.lead_id
WHERE l.handoff_open <> coalesce(h.open, false) OR l.handoff_at IS DISTINCT FROM h.last
UNION ALL
SELECT 'L4', format('run %s', entrestate.run_id(r.campaign_id, r.lead_id)), format('is open, and its lead is %s', b.why)
FROM entrestate.sender_runs r
JOIN entrestate.leads l ON l.tenant_id = r.tenant_id AND l.lead_id = r.lead_id
JOIN entrestate.campaigns c ON c.tenant_id = r.tenant_id AND c.campaign_id = r.campaign_id
JOIN entrestate.sender_sequences q ON q.tenant_id = r.tenant_id AND q.campaign_id = r.campaign_id AND q.version = r.version
CROSS JOIN LATERAL (SELECT CASE WHEN l.handoff_open OR l.handoff_at >= r.created_at THEN 'handed over'
    WHEN l.status IN ('booked', 'lost') THEN 'closed' WHEN l.merged_into IS NOT NULL THEN 'merged away'
    WHEN l.opted_out_at IS NOT NULL THEN 'opted out' WHEN l.complained_at IS NOT NULL THEN 'complaining' WHEN l.erasure_requested_at IS NOT NULL THEN 'to be erased'
    WHEN l.hot_at IS NOT NULL AND r.cursor >= c.brake_index THEN 'hot' WHEN q.stop_on_reply AND l.replied_at >= r.created_at THEN 'in talks' END AS why) b
WHERE r.status IN ('pending', 'running') AND b.why IS NOT NULL
  AND NOT EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = r.tenant_id AND i.campaign_id = r.campaign_id
    AND i.lead_id = r.lead_id AND i.status = 'started')
UNION ALL
SELECT 'L3', format('campaign %s', c.campaign_id), CASE WHEN p.version IS NULL THEN format('its policy version %s was not kept', c.policy_version)
  ELSE format('its settings are not those of its policy version %s', c.policy_version) END
FROM entrestate.campaigns c
LEFT JOIN entrestate.policy_snapshots p ON p.tenant_id = c.tenant_id AND p.campaign_id = c.campaign_id AND p.version = c.policy_version
WHERE p.version IS NULL OR c.status <> 'archived' AND p.policy <> entrestate.policy_current(c.tenant_id, c.campaign_id)
UNION ALL
SELECT 'L1', format('tenant %s', coalesce(i.tenant_id, t.tenant_id)), CASE WHEN t.tenant_id IS NULL THEN 'is in tenant_ids, and is none'
  ELSE 'is not in tenant_ids: no worker would come' END
FROM entrestate.tenant_ids i FULL JOIN entrestate.tenants t ON t.tenant_id = i.tenant_id WHERE i.tenant_id IS NULL OR t.tenant_id IS NULL
$$;
COMMENT ON FUNCTION audience_verify() IS
'Makes every score and direction again from the signals, at its stored instant; compares the latch, the handoff flags, the open runs and the policy snapshots with what they are derived from: one row per difference. For entrestate_auditor. (F11, L3, L4, L7)';

CREATE FUNCTION verify() RETURNS TABLE (law text, object text, detail text)
LANGUAGE plpgsql STABLE
-- PL/pgSQL: without a schema there is only one thing to say.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF to_regclass('entrestate.schema_version') IS NULL THEN
    RETURN QUERY SELECT 'schema', 'schema entrestate', 'there is none yet: SELECT entrestate.migrate();';
    RETURN;
  END IF;
  RETURN QUERY
  SELECT 'schema', 'schema entrestate', format('the schema has version %s, the library %s, the extension %s: ALTER EXTENSION entrestate UPDATE; SELECT entrestate.migrate();',
    s.version, entrestate.code_version(), e.extversion)
  FROM (SELECT v.version FROM entrestate.schema_version v ORDER BY v.schema_version_id DESC LIMIT 1) s,
    pg_extension e
  WHERE e.extname = 'entrestate' AND (s.version <> entrestate.code_version() OR e.extversion <> entrestate.code_version());
  RETURN QUERY SELECT * FROM entrestate.isolation_prove();
  RETURN QUERY SELECT * FROM entrestate.sender_verify();
  RETURN QUERY SELECT * FROM entrestate.audience_verify();
END
$$;
COMMENT ON FUNCTION verify() IS
'Checks every law on the live system: one row per violation (law, object, detail), none when all is well. For entrestate_auditor. (F11)';

GRANT EXECUTE ON FUNCTION verify(), isolation_prove(), sender_verify(), audience_verify(), score_of(integer[], bigint, smallint[], timestamptz[], timestamptz),
  run_id(uuid, uuid), policy_current(uuid, uuid), score_settings_of(uuid, integer),
  guard_policies(text), guard_triggers(text, text, text, boolean), guard_readers(text),
  guard_policy_is_ours(oid), guard_root(oid), guard_definition(oid), code_now(), error_codes(), schedule_jobs(), schedule_statements()
  TO entrestate_auditor;
