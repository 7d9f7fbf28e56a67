-- CREATE EXTENSION installs code, migrate() makes the data; both can be done again.
SET client_min_messages = warning;
CREATE EXTENSION entrestate;

-- before there is a schema, entry points say what to do
\set SHOW_CONTEXT never
SELECT entrestate.login('00000000-0000-7000-8000-000000000000', 'nobody');
SELECT entrestate.tick();
CALL entrestate.sender_process();
SELECT entrestate.current_tenant() IS NULL AS no_tenant, explanation FROM entrestate.context();

SELECT entrestate.migrate() = entrestate.code_version() AS migrated;
SELECT entrestate.migrate() = entrestate.code_version() AS and_again;
SELECT count(*) AS migrations, bool_and(version = entrestate.code_version()) AS to_the_code FROM entrestate.schema_version;
SELECT extversion = entrestate.code_version() AS same_version, extrelocatable FROM pg_extension WHERE extname = 'entrestate';

-- no table is a member: DROP EXTENSION cannot take the data along
SELECT count(*) AS member_tables FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'entrestate'
WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass;
BEGIN;
\set VERBOSITY terse
DROP EXTENSION entrestate;
ROLLBACK;
\set VERBOSITY default

-- partitions: a default and five months of each table that has them, once
SELECT entrestate.upkeep() > 0 AS made;
SELECT entrestate.upkeep() AS made_again;
SELECT p.relname, count(*) AS partitions, count(*) FILTER (WHERE pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT') AS is_default
FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE p.relnamespace = 'entrestate'::regnamespace AND p.relkind = 'p' GROUP BY 1 ORDER BY p.relname COLLATE "C";

-- the roles, whoever made them
SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication
FROM pg_roles WHERE rolname IN ('entrestate_owner', 'entrestate_app', 'entrestate_authenticator',
  'entrestate_worker', 'entrestate_auditor', 'entrestate_anon') ORDER BY rolname COLLATE "C";
SELECT count(*) AS members_of_owner FROM pg_auth_members m
WHERE m.roleid = 'entrestate_owner'::regrole
  AND m.member <> (SELECT extowner FROM pg_extension WHERE extname = 'entrestate');

-- all is well; what the logins of this server are is theirs
SELECT law, object, detail FROM entrestate.verify() WHERE object !~ '^role ';
