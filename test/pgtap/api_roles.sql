-- Who may call what: every function that applications can call, as each role of the tenant, without a
-- context, and while the tenant is frozen; exactly as role_capabilities says, and nothing is left behind.
\ir setup.sql
\ir api_lib.sql
BEGIN;
SET LOCAL client_min_messages = error;
SELECT no_plan();
SELECT fixture.digest(NULL) AS before \gset

-- what applications can call; the ways in have tests of their own
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
    WHERE p.pronamespace = 'entrestate'::regnamespace AND p.proname NOT IN ('login_jwt', 'login_request')
      AND has_function_privilege('fixture_app', p.oid, 'EXECUTE') AND NOT EXISTS (SELECT FROM api.call c WHERE c.routine = p.proname)),
  NULL, 'every function for applications is in api.call (api_lib.sql): add it there');
SELECT is((SELECT string_agg(c.routine, ', ') FROM api.call c WHERE NOT EXISTS (SELECT FROM pg_proc p
    WHERE p.pronamespace = 'entrestate'::regnamespace AND p.proname = c.routine AND has_function_privilege('fixture_app', p.oid, 'EXECUTE'))),
  NULL, 'every call of api.call is one for applications');
-- the table cannot say less than the code asks: each capability in a function's text is in its rows
SELECT is((SELECT string_agg(format('%s: %s', p.proname, m[1]), ', ')
    FROM pg_proc p, regexp_matches(p.prosrc, 'entrestate\.(?:require|campaign_require|tenant_flag)\((?:campaign, )?''([a-z]+\.[a-z]+)''', 'g') m
    WHERE p.pronamespace = 'entrestate'::regnamespace AND has_function_privilege('fixture_app', p.oid, 'EXECUTE')
      AND NOT EXISTS (SELECT FROM api.call c WHERE c.routine = p.proname AND m[1] = ANY (c.needs))),
  NULL, 'every capability that a function asks for is tried');

SELECT is((SELECT string_agg(format('%s by %s: %s, not %s', c.call, m, t.state, x.expected), E'\n' ORDER BY c.no) FROM api.call c
    CROSS JOIN unnest('{owner,admin,operator,closer,member,viewer}'::text[]) m
    CROSS JOIN LATERAL (SELECT CASE WHEN EXISTS (SELECT FROM unnest(c.needs) n WHERE NOT EXISTS (
        SELECT FROM entrestate.role_capabilities r WHERE r.role = m AND r.capability = n)) THEN '42501' ELSE '00000' END AS expected) x
    CROSS JOIN LATERAL api.try(c.call, m, c.prepare) t
    WHERE t.state <> x.expected),
  NULL, 'each of the six roles may do what role_capabilities says, and nothing else');
SELECT is((SELECT count(DISTINCT (t.message, t.detail, t.hint)) FROM api.call c CROSS JOIN LATERAL api.try(c.call, 'viewer', c.prepare) t
    WHERE t.state = '42501' AND NOT (t.message = 'the role viewer may not do this' AND t.detail LIKE 'The capability % is needed.'
      AND t.hint = 'entrestate.capabilities() lists who may do what.')), 0::bigint, 'and who may not is told what is needed');

SELECT is((SELECT string_agg(format('%s: %s', c.call, t.state), E'\n') FROM api.call c CROSS JOIN LATERAL api.try(c.call, NULL, c.prepare) t
    WHERE t.state <> CASE WHEN c.needs = '{}' THEN '00000' ELSE '28000' END
      OR (t.state = '28000' AND (t.message <> 'there is no tenant context' OR t.detail = '' OR t.hint = ''))),
  NULL, 'without a context: 28000, with what is missing and what to do');

SELECT is((SELECT string_agg(format('%s: %s %s', c.call, t.state, t.message), E'\n') FROM api.call c
    CROSS JOIN LATERAL api.try(c.call, 'owner', concat_ws('; ', c.prepare, 'SELECT entrestate.tenant_freeze(''a test'')')) t
    WHERE t.state <> CASE WHEN c.needs && '{tenant.freeze,lead.restrain,delivery.report}' OR NOT EXISTS (SELECT FROM unnest(c.needs) n WHERE n !~ '\.read$') THEN '00000' ELSE '55000' END
      OR (t.state = '55000' AND NOT (t.message = 'the tenant is frozen' AND t.detail = 'Nothing is written for a frozen tenant.'
        AND t.hint LIKE '%tenant_unfreeze()%'))),
  NULL, 'a frozen tenant is read and unfrozen, records what restrains and what providers report, and nothing else is written');
-- a role that may not is told so first, whatever the tenant's state
SELECT is((SELECT string_agg(format('%s: %s', c.call, t.state), E'\n') FROM api.call c
    CROSS JOIN LATERAL api.try(c.call, 'viewer', concat_ws('; ', c.prepare, 'SELECT entrestate.tenant_freeze(''a test'')')) t
    WHERE t.state = '55000' AND EXISTS (SELECT FROM unnest(c.needs) n WHERE NOT EXISTS (SELECT FROM entrestate.role_capabilities r WHERE r.role = 'viewer' AND r.capability = n))),
  NULL, 'who may not learns nothing of the freeze');

-- roles that do not exist for the tenant
SELECT is((api.try('SELECT entrestate.lead_get({lead})', 'owner', 'SELECT entrestate.member_remove(''user-a-viewer'')')).state, '00000', 'a member goes');
SELECT throws_ok(format('SELECT entrestate.login(%L, %L)', :'a', :'b_owner'), '28000', 'the tenant context does not hold', 'a user of B cannot enter A');
SELECT throws_ok(format('SELECT entrestate.login(%L, %L)', '0198b0de-0000-7000-8000-000000000000', :'a_owner'), '28000', 'the tenant context does not hold', 'nor anybody a tenant that is not there');
SELECT entrestate.logout() AS out \gset api_
SELECT is(fixture.digest(NULL), :'before', 'nothing was left behind');
SELECT finish();
ROLLBACK;
