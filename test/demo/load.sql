-- The day's leads, as each tenant's web forms would send them: by the application's role, in the
-- name of a member.
SET ROLE demo_api;
\set n 1
\ir load_tenant.sql
\set n 2
\ir load_tenant.sql
RESET ROLE;
