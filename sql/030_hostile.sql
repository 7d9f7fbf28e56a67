-- What must never be: every query here returns no rows.
CREATE TEMP VIEW routine AS
  SELECT p.*, p.oid::regprocedure AS sig FROM pg_proc p
  WHERE p.pronamespace = 'entrestate'::regnamespace;
CREATE TEMP VIEW relation AS
  SELECT c.*, c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'entrestate'::regnamespace;

-- a routine in the schema that is not of the extension
SELECT sig FROM routine r WHERE NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'entrestate'
  WHERE d.classid = 'pg_proc'::regclass AND d.objid = r.oid AND d.deptype = 'e');
-- what PUBLIC may do
SELECT sig FROM routine r, aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) a WHERE a.grantee = 0;
SELECT name, a.privilege_type FROM relation r, aclexplode(coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner))) a
WHERE a.grantee = 0 AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S');
SELECT a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'entrestate' AND a.grantee = 0;
-- who but the owner may write a table, or more than read it
SELECT name, a.grantee::regrole, a.privilege_type FROM relation r, aclexplode(r.relacl) a
WHERE a.grantee <> r.relowner AND (a.privilege_type <> 'SELECT' OR a.is_grantable);
SELECT name, attname, a.privilege_type FROM relation r JOIN pg_attribute t ON t.attrelid = r.oid, aclexplode(t.attacl) a;
-- who may make things in the schema
SELECT a.grantee::regrole, a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname = 'entrestate' AND (a.privilege_type <> 'USAGE' OR a.is_grantable)
  AND a.grantee NOT IN (n.nspowner, 'entrestate_owner'::regrole);
-- definer routines that pin too little or belong to somebody mightier than the owner role
SELECT sig, proowner::regrole FROM routine
WHERE prosecdef AND (proowner <> 'entrestate_owner'::regrole OR proconfig IS NULL
  OR NOT proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'row_security=on']);
-- invoker routines in SQL and PL/pgSQL without a search_path, but where the body is parsed at creation;
-- a procedure that commits can pin none, so what it names has its schema: no bare call, no bare operator
SELECT sig FROM routine r JOIN pg_language l ON l.oid = r.prolang
WHERE NOT prosecdef AND l.lanname <> 'c' AND r.prosqlbody IS NULL
  AND NOT coalesce(r.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
  AND NOT (r.prokind = 'p' AND r.prosrc ~ '\mCOMMIT;'
    AND regexp_replace(replace(r.prosrc, ':=', ''), '(OPERATOR\(pg_catalog\.[<>=]+\)|entrestate\.\w+\()', '', 'g') !~ '[-+*/<>=~!@#%^&|`?]|\w\(');
-- tables that do not belong to the owner role, or without row security, the owner's included
SELECT name, relowner::regrole FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relowner <> 'entrestate_owner'::regrole;
SELECT name FROM relation WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity);
-- a tenant table whose key does not begin with the tenant
SELECT name FROM relation r JOIN entrestate.protected_tables t ON t.table_name = r.relname
WHERE t.kind IN ('tenant', 'events', 'derived') AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a
  ON a.attrelid = r.oid AND a.attnum = i.indkey[0] WHERE i.indrelid = r.oid AND i.indisprimary AND a.attname = 'tenant_id');
-- a leakproof function of ours that is not the policies' own
SELECT sig FROM routine WHERE proleakproof AND proname <> 'current_tenant';
-- types that no index can serve under row security: enums
SELECT typname FROM pg_type WHERE typnamespace = 'entrestate'::regnamespace AND typtype = 'e';

-- what has no comment, or one that says nothing
SELECT sig FROM routine WHERE coalesce(char_length(obj_description(oid, 'pg_proc')), 0) < 10;
SELECT name FROM relation WHERE relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
  AND coalesce(char_length(obj_description(oid, 'pg_class')), 0) < 10;
SELECT name, attname FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE r.relkind IN ('r', 'p', 'v', 'm') AND NOT r.relispartition
  AND coalesce(char_length(col_description(r.oid, a.attnum)), 0) < 3;
-- what others may call and raises by itself says so
SELECT sig FROM routine r
WHERE r.prosrc ~ 'entrestate\.raise\(' AND obj_description(r.oid, 'pg_proc') !~ '(Errors: |Internal|raises)'
  AND EXISTS (SELECT FROM aclexplode(r.proacl) a WHERE a.grantee NOT IN (r.proowner, 'entrestate_owner'::regrole));
