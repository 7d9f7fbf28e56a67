-- The surface: what there is and who may use it. A change here is a change for users.
SET client_min_messages = warning;
\pset format unaligned
\pset footer off

-- every routine of the extension: security, who may call it, what it pins.
-- "-": nobody but superusers and the roles that own it
SELECT p.oid::regprocedure AS routine,
  CASE p.prokind WHEN 'p' THEN 'procedure ' ELSE '' END || CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END AS security,
  coalesce((SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE replace(a.grantee::regrole::text, 'entrestate_', '') END, ' '
            ORDER BY a.grantee::regrole::text COLLATE "C")
            FROM aclexplode(p.proacl) a WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner), '-') AS callers
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'entrestate'
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- names, defaults and results of what applications, gateways, workers and auditors call
SELECT format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)) AS call, pg_get_function_result(p.oid) AS result
FROM pg_proc p
WHERE p.pronamespace = 'entrestate'::regnamespace AND EXISTS (SELECT FROM aclexplode(p.proacl) a
  WHERE a.grantee IN ('entrestate_app'::regrole, 'entrestate_authenticator'::regrole, 'entrestate_worker'::regrole,
    'entrestate_auditor'::regrole, 'entrestate_anon'::regrole))
ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C";

-- what is pinned beyond search_path and row_security
SELECT p.oid::regprocedure AS routine, c AS setting
FROM pg_proc p, unnest(p.proconfig) c
WHERE p.pronamespace = 'entrestate'::regnamespace
  AND c NOT IN ('search_path=pg_catalog, pg_temp', 'row_security=on')
ORDER BY p.oid::regprocedure::text COLLATE "C", c COLLATE "C";

-- tables: kind, month partitions, state machine, readers; "definition" is verify()'s affair
SELECT t.table_name, t.kind, t.by_month, t.machine, t.machine_column,
  (SELECT string_agg(DISTINCT replace(g.grantee::regrole::text, 'entrestate_', '') || ':' || lower(g.privilege_type), ' ')
   FROM pg_class c, aclexplode(c.relacl) g
   WHERE c.oid = format('entrestate.%I', t.table_name)::regclass AND g.grantee <> c.relowner) AS readers
FROM entrestate.protected_tables t ORDER BY t.table_name;
SELECT c.relname, c.relkind FROM pg_class c
WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM entrestate.protected_tables t WHERE t.table_name = c.relname)
ORDER BY c.relname COLLATE "C";

SELECT * FROM entrestate.error_codes();
SELECT machine, string_agg(format('%s>%s', from_state, to_state), ' ') AS transitions
FROM (SELECT * FROM entrestate.transitions() ORDER BY machine COLLATE "C", from_state COLLATE "C" NULLS FIRST, to_state COLLATE "C") t
GROUP BY machine ORDER BY machine COLLATE "C";
SELECT capability, array_to_string(roles, ' ') AS roles FROM entrestate.capabilities();
SELECT * FROM entrestate.sender_event_types();
SELECT * FROM entrestate.sender_reasons();
SELECT * FROM entrestate.sender_modes();
SELECT * FROM entrestate.sender_channels();
SELECT name, context, vartype, boot_val, min_val, max_val FROM pg_settings
WHERE name LIKE 'entrestate.%' ORDER BY name COLLATE "C";
