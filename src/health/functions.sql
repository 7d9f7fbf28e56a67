-- health: verify() checks every law on a live system. (F11)
-- INVOKER functions: an auditor (or a superuser) sees all tenants.

CREATE FUNCTION isolation_prove() RETURNS TABLE (law text, object text, detail text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
WITH ext AS (
  SELECT oid FROM pg_extension WHERE extname = 'entrestate'
), our AS (
  SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
    c.relpersistence, c.relispartition, format('table %I', c.relname) AS label,
    d.table_name AS declared, d.kind, d.machine, d.machine_column, d.by_month
  FROM pg_class c
  LEFT JOIN entrestate.protected_tables d ON d.table_name = entrestate.guard_root(c.oid)
  WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p', 'f', 'm')
), tenant_table AS (
  SELECT * FROM our WHERE kind IN ('tenant', 'events', 'derived')
), member AS (
  SELECT p.* FROM pg_proc p, ext
  WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
    AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid)
), in_role AS (
  -- who is a member of what, through any number of grants; superusers are
  -- members of everything and are not meant
  WITH RECURSIVE m(member, role) AS (
    SELECT member, roleid FROM pg_auth_members
    UNION
    SELECT m.member, a.roleid FROM m JOIN pg_auth_members a ON a.member = m.role)
  SELECT a.oid AS member, a.rolname, a.rolsuper, a.rolbypassrls, r.rolname AS role
  FROM m JOIN pg_roles a ON a.oid = m.member JOIN pg_roles r ON r.oid = m.role
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
FROM our WHERE our.relowner <> 'entrestate_owner'::regrole
UNION ALL
SELECT 'L5', our.label, 'is not logged: a crash would empty it'
FROM our WHERE our.relpersistence <> 'p'
UNION ALL
SELECT 'L1', our.label, 'is a foreign table or a materialized view, which row security does not reach'
FROM our WHERE our.relkind IN ('f', 'm')
UNION ALL
SELECT 'L1', our.label, format('policy %s is missing', g.policy)
FROM our CROSS JOIN LATERAL entrestate.guard_policies(our.kind) g
WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = our.oid AND p.polname = g.policy)
UNION ALL
SELECT 'L1', our.label, format('policy %s is not the declared one', p.polname)
FROM our JOIN pg_policy p ON p.polrelid = our.oid
WHERE our.declared IS NOT NULL AND NOT entrestate.guard_policy_is_ours(p.oid)
UNION ALL
SELECT CASE WHEN g.function_name = 'guard_append_only' THEN 'L2' WHEN g.function_name = 'guard_tenant_stamp' THEN 'L1'
            WHEN g.function_name = 'guard_transition' THEN 'L3' ELSE 'L7' END,
  our.label, CASE WHEN t.oid IS NULL THEN format('guard %s is missing', g.trigger_name)
                  WHEN t.tgenabled = 'D' THEN format('guard %s is disabled', g.trigger_name)
                  ELSE format('guard %s is not the declared one (fires %s)', g.trigger_name, t.tgenabled) END
FROM our CROSS JOIN LATERAL entrestate.guard_triggers(our.kind, our.machine, our.machine_column, our.relispartition) g
LEFT JOIN pg_trigger t ON t.tgrelid = our.oid AND t.tgname = g.trigger_name
WHERE t.oid IS NULL OR t.tgenabled <> g.enabled OR t.tgtype <> g.type OR t.tgqual IS NOT NULL
  OR t.tgfoid <> (SELECT m.oid FROM member m WHERE m.proname = g.function_name AND m.pronargs = 0)
  OR encode(t.tgargs, 'escape') <> coalesce((SELECT string_agg(a || '\000', '') FROM unnest(g.arguments) a), '')
UNION ALL
SELECT CASE our.kind WHEN 'events' THEN 'L2' ELSE 'L7' END, our.label, format('trigger %s is not one of entrestate''s', t.tgname)
FROM our JOIN pg_trigger t ON t.tgrelid = our.oid
WHERE NOT t.tgisinternal AND our.kind IN ('events', 'derived', 'global', 'catalog')
  AND NOT EXISTS (SELECT FROM member m WHERE m.oid = t.tgfoid)
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
SELECT 'L2', our.label, 'has no default partition: an insert could fail for want of one'
FROM our WHERE our.by_month AND our.relkind = 'p'
  AND NOT EXISTS (SELECT FROM pg_partitioned_table t WHERE t.partrelid = our.oid AND t.partdefid <> 0)
UNION ALL
SELECT 'L2', our.label, format('foreign key %s can change rows of an append-only table', k.conname)
FROM our JOIN pg_constraint k ON k.conrelid = our.oid WHERE our.kind = 'events' AND k.contype = 'f'
UNION ALL
SELECT 'L2', format('event trigger %s', n), CASE WHEN e.oid IS NULL THEN 'is missing' ELSE 'is not enabled always, or not entrestate''s own' END
FROM unnest('{entrestate_ddl_start,entrestate_ddl_end,entrestate_drop,entrestate_rewrite}'::name[]) n
LEFT JOIN pg_event_trigger e ON e.evtname = n
WHERE e.oid IS NULL OR e.evtenabled <> 'A' OR NOT EXISTS (SELECT FROM member m WHERE m.oid = e.evtfoid)
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
SELECT 'L1', 'schema entrestate', format('%s may create objects in it', coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'))
FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
WHERE n.nspname = 'entrestate' AND a.privilege_type = 'CREATE'
  AND a.grantee NOT IN (n.nspowner, 'entrestate_owner'::regrole)
UNION ALL
-- keys
SELECT 'L1', k.conrelid::regclass::text, format('foreign key %s does not carry the tenant', k.conname)
FROM pg_constraint k JOIN tenant_table f ON f.oid = k.conrelid JOIN tenant_table p ON p.oid = k.confrelid
WHERE k.contype = 'f' AND (SELECT array_agg(a.attname::text) FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
    JOIN unnest(k.confkey) WITH ORDINALITY v(n, o) USING (o)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n AND a.attname = 'tenant_id'
    JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = v.n AND b.attname = 'tenant_id') IS NULL
UNION ALL
SELECT 'L1', t.label, format('unique index %s does not carry the tenant: a conflict would tell of another one''s row', i.indexrelid::regclass)
FROM tenant_table t JOIN pg_index i ON i.indrelid = t.oid
WHERE i.indisunique AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant_id'
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
  format('reads %s and belongs to %s, whom row security does not bind', string_agg(DISTINCT our.relname, ', '), pg_get_userbyid(c.relowner))
FROM pg_class c JOIN pg_rewrite w ON w.ev_class = c.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
JOIN our ON our.oid = d.refobjid
JOIN pg_roles o ON o.oid = c.relowner
WHERE c.relkind IN ('v', 'm') AND (o.rolsuper OR o.rolbypassrls) AND our.kind <> 'catalog'
  AND NOT coalesce(c.reloptions && '{security_invoker=true,security_invoker=on,security_invoker=1}', false)
GROUP BY c.oid, c.relkind, c.relowner
UNION ALL
-- functions
SELECT 'L1', format('function %s', m.oid::regprocedure), 'PUBLIC may execute it'
FROM member m WHERE m.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(m.proacl) a WHERE a.grantee = 0)
UNION ALL
SELECT 'L1', format('function %s', m.oid::regprocedure), 'is a definer function that does not pin search_path and row_security, or does not belong to entrestate_owner'
FROM member m WHERE m.prosecdef AND (m.proowner <> 'entrestate_owner'::regrole
  OR NOT coalesce(m.proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'row_security=on'], false))
UNION ALL
SELECT 'L7', format('function %s', p.oid::regprocedure), 'belongs to entrestate_owner and is not entrestate''s: it could write what only the system writes'
FROM pg_proc p WHERE p.proowner = 'entrestate_owner'::regrole AND NOT EXISTS (SELECT FROM member m WHERE m.oid = p.oid)
UNION ALL
SELECT 'L1', format('function %s', p.oid::regprocedure), 'is a foreign function in schema entrestate'
FROM pg_proc p WHERE p.pronamespace = 'entrestate'::regnamespace
  AND p.proowner <> 'entrestate_owner'::regrole AND NOT EXISTS (SELECT FROM member m WHERE m.oid = p.oid)
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
SELECT 'L1', format('role %s', i.rolname), 'is an application role that row security does not bind (superuser or BYPASSRLS)'
FROM in_role i WHERE i.role IN ('entrestate_app', 'entrestate_anon') AND (i.rolsuper OR i.rolbypassrls)
UNION ALL
SELECT 'L1', format('role %s', i.rolname), format('is both entrestate_app and %s: its queries get the union of both', j.role)
FROM in_role i JOIN in_role j ON j.member = i.member
WHERE i.role = 'entrestate_app' AND j.role IN ('entrestate_auditor', 'entrestate_worker') AND NOT i.rolsuper
UNION ALL
SELECT 'L1', format('parameter %s', p.parname), 'was granted to somebody: it moves the clock or the tenant'
FROM pg_parameter_acl p WHERE p.parname LIKE 'entrestate.%'
UNION ALL
SELECT 'L8', 'database and role settings', 'a session token is kept in them, where everybody can read it'
FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c WHERE c LIKE 'entrestate.session=%' AND c <> 'entrestate.session='
$$;
COMMENT ON FUNCTION isolation_prove() IS
'Walks the catalog (tables, partitions, guards, policies, grants, keys, views, functions, roles, settings) and says what could leak between tenants or be changed: one row per finding, none when all is well. For entrestate_auditor. (F1, F11)';

CREATE FUNCTION sender_verify() RETURNS TABLE (law text, object text, detail text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
WITH kind AS (
  SELECT code, name, name IN ('sender.step.sent', 'sender.step.skipped', 'sender.step.failed',
      'sender.step.simulated', 'sender.step.unknown') AS outcome,
    CASE WHEN name = 'sender.run.done' THEN 'done' WHEN name = 'sender.run.failed' THEN 'failed'
         WHEN name = 'sender.run.resumed' THEN 'running' WHEN name LIKE 'sender.suppressed\_%' THEN 'suppressed' END AS status
  FROM entrestate.sender_event_types()
), fold AS (
  SELECT e.tenant_id, e.campaign_id, e.lead_id, count(*) AS events, max(e.run_seq) AS last,
    count(DISTINCT e.step) FILTER (WHERE k.outcome) AS outcomes,
    count(DISTINCT e.step) FILTER (WHERE k.name = 'sender.step.sent') AS sent,
    (array_agg(k.status ORDER BY e.run_seq DESC) FILTER (WHERE k.status IS NOT NULL))[1] AS status,
    (array_agg(e.next_at ORDER BY e.run_seq DESC))[1] AS next_at
  FROM entrestate.sender_events e JOIN kind k ON k.code = e.type
  WHERE e.run_seq IS NOT NULL
  GROUP BY 1, 2, 3
), open AS (
  SELECT DISTINCT i.tenant_id, i.campaign_id, i.lead_id FROM entrestate.sender_intents i
  WHERE i.status IN ('ready', 'leased', 'started')
), compared AS (
  SELECT entrestate.run_id(coalesce(r.campaign_id, f.campaign_id), coalesce(r.lead_id, f.lead_id)) AS run,
    r.lead_id AS the_run, f.lead_id AS the_fold, r.run_seq, f.events, f.last, r.cursor, f.outcomes, r.status,
    coalesce(f.status, CASE WHEN f.outcomes > 0 OR o.lead_id IS NOT NULL THEN 'running' ELSE 'pending' END) AS folded,
    r.next_at, CASE WHEN o.lead_id IS NULL THEN f.next_at END AS folded_next, r.sent_steps, f.sent, o.lead_id AS in_flight
  FROM entrestate.sender_runs r
  FULL JOIN fold f USING (tenant_id, campaign_id, lead_id)
  LEFT JOIN open o USING (tenant_id, campaign_id, lead_id)
)
SELECT 'L3', format('run %s', b.run), CASE
    WHEN b.the_run IS NULL THEN 'has events but no run'
    WHEN b.the_fold IS NULL THEN 'has no events'
    WHEN b.events <> b.last OR b.run_seq <> b.last THEN format('its events have a gap: %s events, last %s, run_seq %s', b.events, b.last, b.run_seq)
    WHEN b.cursor <> b.outcomes THEN format('cursor %s, its events say %s', b.cursor, b.outcomes)
    WHEN b.status <> b.folded THEN format('status %s, its events say %s', b.status, b.folded)
    WHEN b.next_at IS DISTINCT FROM b.folded_next THEN 'next_at is not what its last event says'
    ELSE format('%s steps sent, its events say %s', b.sent_steps, b.sent) END
FROM compared b
WHERE b.the_run IS NULL OR b.the_fold IS NULL OR b.events <> b.last OR b.run_seq <> b.last OR b.cursor <> b.outcomes
  OR b.status <> b.folded OR b.next_at IS DISTINCT FROM b.folded_next OR b.sent_steps <> b.sent
UNION ALL
SELECT 'L5', format('run %s', b.run), 'is open but neither due nor in flight: nothing would move it on'
FROM compared b WHERE b.status IN ('pending', 'running') AND b.next_at IS NULL AND b.in_flight IS NULL
UNION ALL
SELECT 'L5', format('run %s', entrestate.run_id(coalesce(r.campaign_id, d.campaign_id), coalesce(r.lead_id, d.lead_id))),
  CASE WHEN d.lead_id IS NULL THEN 'has a next_at but is not in sender_due: it would never be looked at'
       ELSE 'is in sender_due but not due then' END
FROM (SELECT * FROM entrestate.sender_runs WHERE next_at IS NOT NULL) r
FULL JOIN entrestate.sender_due d ON d.tenant_id = r.tenant_id AND d.campaign_id = r.campaign_id
  AND d.lead_id = r.lead_id AND d.due_at = r.next_at
WHERE r.lead_id IS NULL OR d.lead_id IS NULL
UNION ALL
SELECT 'L5', format('intent %s/%s/%s', entrestate.run_id(i.campaign_id, i.lead_id), i.step, i.attempt), 'belongs to no run'
FROM entrestate.sender_intents i
WHERE NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = i.tenant_id
  AND r.campaign_id = i.campaign_id AND r.lead_id = i.lead_id)
UNION ALL
SELECT 'L5', format('run %s', entrestate.run_id(e.campaign_id, e.lead_id)),
  format('step %s was sent %s times under one key', e.step, count(*))
FROM entrestate.sender_events e
WHERE e.type = (SELECT k.code FROM kind k WHERE k.name = 'sender.step.sent')
GROUP BY e.tenant_id, e.campaign_id, e.lead_id, e.step, e.attempt HAVING count(*) > 1
$$;
COMMENT ON FUNCTION sender_verify() IS
'Recomputes every run from its events, and what is due and in flight from the runs: one row per difference. For entrestate_auditor. (F11, L3, L5)';

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
END
$$;
COMMENT ON FUNCTION verify() IS
'Checks every law on the live system: one row per violation (law, object, detail), none when all is well. For entrestate_auditor. (F11)';

GRANT EXECUTE ON FUNCTION verify(), isolation_prove(), sender_verify(),
  guard_policies(text), guard_triggers(text, text, text, boolean), guard_readers(text),
  guard_policy_is_ours(oid), guard_root(oid), error_codes(), schedule_jobs(), schedule_statements()
  TO entrestate_auditor;
