-- tenancy: the context and its ways in, tenants, members, capabilities.
-- What the context is, and why it cannot be forged: tenancy/context.c.

CREATE FUNCTION current_tenant() RETURNS uuid
LANGUAGE c STABLE LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_current_tenant';
COMMENT ON FUNCTION current_tenant() IS
'The tenant of this transaction''s context; NULL without one. Every row security policy asks it. (F1)';

CREATE FUNCTION current_actor() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_current_actor';
COMMENT ON FUNCTION current_actor() IS
'The user of this transaction''s context (members.user_id), role:<name> for a bound role, or system; NULL without a context.';

CREATE FUNCTION current_member_role() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_current_member_role';
COMMENT ON FUNCTION current_member_role() IS
'The role within the tenant (owner, admin, operator, closer, member, viewer); NULL without a context. (C1, E1)';

CREATE FUNCTION context(OUT tenant_id uuid, OUT actor text, OUT role text,
  OUT way_in text, OUT expires_at timestamptz, OUT explanation text)
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_context';
COMMENT ON FUNCTION context() IS
'The context of this transaction, or in explanation the reason why there is none.';

CREATE FUNCTION can(capability text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tenancy_can';
COMMENT ON FUNCTION can(text) IS
'Whether the context''s role has a capability; false without a context. (C1)';

GRANT EXECUTE ON FUNCTION current_tenant(), current_actor(), current_member_role(),
  context(), can(text)
  TO entrestate_app, entrestate_authenticator, entrestate_worker, entrestate_auditor, entrestate_anon;

CREATE FUNCTION require(capability text) RETURNS uuid
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'tenancy_require';
COMMENT ON FUNCTION require(text) IS
'Internal: returns the tenant when the context''s role has the capability; raises 28000 without a context, 42501 without the capability, 55000 when the tenant is frozen, ZE004 when code and schema differ.';

CREATE FUNCTION login(tenant uuid, actor text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tenancy_login';
COMMENT ON FUNCTION login(uuid, text) IS
'Enters a tenant for this transaction on behalf of a member: the caller vouches for the user. For entrestate_authenticator. Errors: 28000 when the user is not a member (or there is no such tenant), 22004. (F1)';

CREATE FUNCTION logout() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tenancy_logout';
COMMENT ON FUNCTION logout() IS
'Ends the context before the transaction does.';

CREATE FUNCTION token_mint(tenant uuid, actor text, login_role name DEFAULT session_user,
  ttl interval DEFAULT '5 minutes') RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tenancy_token_mint';
COMMENT ON FUNCTION token_mint(uuid, text, name, interval) IS
'Returns a signed token that sessions of login_role can SET LOCAL entrestate.session to, in this database, for ttl (one second to one hour). For entrestate_authenticator. Errors: 28000 when the user is not a member, 22023, 42704, F0000 when the key file cannot be used. (F1)';

CREATE FUNCTION login_jwt(token text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tenancy_login_jwt';
COMMENT ON FUNCTION login_jwt(text) IS
'Enters a tenant for this transaction with a JSON web token (HS256 or RS256) of the installation''s issuer: claims tenant_id (entrestate.jwt_tenant_claim), sub and exp. Errors: 28000, F0000 when no key is configured. (F1)';

CREATE FUNCTION login_request() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'tenancy_login_request';
COMMENT ON FUNCTION login_request() IS
'PostgREST''s pre-request: enters the tenant of request.jwt.claims, once per transaction; without claims, or with claims that lack tenant, user or expiry, the request is anonymous. The login role must be a member of entrestate_authenticator. Errors: 42501, 28000. (F1)';

GRANT EXECUTE ON FUNCTION logout() TO entrestate_app, entrestate_authenticator;
GRANT EXECUTE ON FUNCTION login(uuid, text), token_mint(uuid, text, name, interval)
  TO entrestate_authenticator;
GRANT EXECUTE ON FUNCTION login_jwt(text), login_request()
  TO entrestate_app, entrestate_authenticator, entrestate_anon;

-- Tenants and members. PL/pgSQL from here on, as in every room's API: these
-- functions check, write and report in several statements that share values.

CREATE FUNCTION tenant_create(name text, owner text, mode text DEFAULT 'live',
  time_zone text DEFAULT 'UTC', currency text DEFAULT 'USD', plan text DEFAULT 'free')
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = '' AS $$
DECLARE
  t uuid := entrestate.uuid_v7();
BEGIN
  PERFORM entrestate.arg_text('name', name, 100);
  PERFORM entrestate.arg_user('owner', owner);
  PERFORM entrestate.arg_choice('mode', mode, ARRAY['live', 'sandbox']);
  PERFORM entrestate.arg_choice('plan', plan, ARRAY['free', 'starter', 'pro', 'enterprise']);
  PERFORM entrestate.arg_time_zone('time_zone', time_zone);
  IF currency IS NULL OR currency !~ '^[A-Z]{3}$' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'currency is not an ISO 4217 code', NULL,
      'Write three capital letters such as USD or CAD.');
  END IF;
  -- the first rows of a tenant are written in its own context, like all others
  PERFORM entrestate.context_enter_system(t);
  INSERT INTO entrestate.tenants (tenant_id, name, mode, time_zone, currency, plan, created_at, updated_at)
  VALUES (t, tenant_create.name, tenant_create.mode, tenant_create.time_zone,
          tenant_create.currency, tenant_create.plan, entrestate.clock_now(), entrestate.clock_now());
  INSERT INTO entrestate.tenant_ids (tenant_id) VALUES (t);
  INSERT INTO entrestate.members (tenant_id, user_id, role, added_by, created_at)
  VALUES (t, owner, 'owner', owner, entrestate.clock_now());
  INSERT INTO entrestate.tenant_channels (tenant_id, channel)
  VALUES (t, 'email'), (t, 'sms'), (t, 'whatsapp');
  PERFORM entrestate.activity_add('tenant.created', 'tenant', t::text, NULL,
    jsonb_build_object('mode', mode, 'plan', plan));
  PERFORM entrestate.audit_add('tenant.create', 'tenant', t::text, '{}');
  RETURN t;
END
$$;
COMMENT ON FUNCTION tenant_create(text, text, text, text, text, text) IS
'Makes a tenant and its first owner (a user id of the outside), in dry run and with every channel off; returns its id. mode (live or sandbox) never changes. For entrestate_authenticator. Errors: 22004, 22023, 54000. (E1, C10)';
GRANT EXECUTE ON FUNCTION tenant_create(text, text, text, text, text, text) TO entrestate_authenticator;

CREATE FUNCTION tenant_next(after uuid DEFAULT NULL) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  -- a tenant's own row is seen in its own context only
  SELECT t.tenant_id FROM entrestate.tenant_ids t
  WHERE t.tenant_id > coalesce(after, '00000000-0000-0000-0000-000000000000') ORDER BY t.tenant_id LIMIT 1
$$;
COMMENT ON FUNCTION tenant_next(uuid) IS
'The next tenant by id; NULL at the end. For entrestate_worker, which works tenant by tenant.';

GRANT EXECUTE ON FUNCTION tenant_next(uuid) TO entrestate_worker;

CREATE FUNCTION context_enter_system(tenant uuid) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'tenancy_enter_system';
COMMENT ON FUNCTION context_enter_system(uuid) IS
'Internal: enters a tenant as the system, for this transaction.';

CREATE FUNCTION tenant_get() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT pg_catalog.to_jsonb(t) FROM entrestate.tenants t
  WHERE t.tenant_id = entrestate.require('tenant.read')
$$;
COMMENT ON FUNCTION tenant_get() IS
'The context''s tenant with its settings and flags. (E1)';

CREATE FUNCTION tenant_update(name text DEFAULT NULL, time_zone text DEFAULT NULL,
  plan text DEFAULT NULL, dry_run boolean DEFAULT NULL, country text DEFAULT NULL,
  opt_out_scope text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('tenant.update');
  was boolean;
BEGIN
  PERFORM entrestate.arg_text('name', name, 100, CASE WHEN name IS NULL THEN 0 ELSE 1 END);
  IF plan IS NOT NULL THEN
    PERFORM entrestate.require('billing.manage');
    PERFORM entrestate.arg_choice('plan', plan, ARRAY['free', 'starter', 'pro', 'enterprise']);
  END IF;
  IF time_zone IS NOT NULL THEN
    PERFORM entrestate.arg_time_zone('time_zone', time_zone);
  END IF;
  IF country IS NOT NULL AND country !~ '^[A-Z]{2}$' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'country is not an ISO 3166 code', NULL,
      'Write two capital letters such as CA or AE.');
  END IF;
  IF opt_out_scope IS NOT NULL THEN
    PERFORM entrestate.require('safety.manage');
    PERFORM entrestate.arg_choice('opt_out_scope', opt_out_scope, ARRAY['all', 'channel']);
  END IF;
  IF dry_run IS NOT NULL THEN
    PERFORM entrestate.require('safety.manage');
  END IF;
  -- a send that is about to start holds this row in share mode (L4)
  SELECT s.dry_run INTO was FROM entrestate.tenants s WHERE s.tenant_id = t FOR NO KEY UPDATE;
  UPDATE entrestate.tenants s
  SET name = coalesce(tenant_update.name, s.name),
      time_zone = coalesce(tenant_update.time_zone, s.time_zone),
      plan = coalesce(tenant_update.plan, s.plan),
      dry_run = coalesce(tenant_update.dry_run, s.dry_run),
      country = coalesce(tenant_update.country, s.country),
      opt_out_scope = coalesce(tenant_update.opt_out_scope, s.opt_out_scope),
      policy_version = s.policy_version + 1,
      updated_at = entrestate.clock_now()
  WHERE s.tenant_id = t;
  PERFORM entrestate.policy_changed(t);
  PERFORM entrestate.activity_add('tenant.updated', 'tenant', t::text);
  IF dry_run IS NOT NULL AND dry_run <> was THEN
    PERFORM entrestate.activity_add('safety.dry_run.toggled', 'tenant', t::text, NULL,
      jsonb_build_object('dryRun', dry_run));
  END IF;
  PERFORM entrestate.audit_add('tenant.update', 'tenant', t::text,
    jsonb_strip_nulls(jsonb_build_object('timeZone', time_zone, 'plan', plan, 'dryRun', dry_run,
      'country', country, 'optOutScope', opt_out_scope)));
END
$$;
COMMENT ON FUNCTION tenant_update(text, text, text, boolean, text, text) IS
'Changes settings of the context''s tenant; NULL leaves one as it is. country: whose rules read national phone numbers. opt_out_scope: whether a STOP ends all channels (all) or its own (channel). Capabilities: tenant.update, and safety.manage for dry_run and opt_out_scope, billing.manage for plan. Errors: 22023, 54000. (E1, C10)';

CREATE FUNCTION tenant_quiet_hours_set(quiet_hours jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('tenant.update');
  quiet jsonb := entrestate.arg_windows('quiet_hours', tenant_quiet_hours_set.quiet_hours);
BEGIN
  IF NOT entrestate.windows_intersect(NULL, NULL, quiet) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'quiet_hours leaves nothing of the week', NULL,
      'entrestate.tenant_pause() stops all sending.');
  END IF;
  -- a send that is about to start holds this row in share mode (L4)
  UPDATE entrestate.tenants s
  SET quiet_hours = quiet, policy_version = s.policy_version + 1, updated_at = entrestate.clock_now()
  WHERE s.tenant_id = t;
  PERFORM entrestate.policy_changed(t);
  PERFORM entrestate.activity_add('tenant.updated', 'tenant', t::text);
  PERFORM entrestate.audit_add('tenant.quiet_hours.set', 'tenant', t::text, jsonb_build_object('quietHours', quiet));
END
$$;
COMMENT ON FUNCTION tenant_quiet_hours_set(jsonb) IS
'Sets the hours [{days, from, to}] in which nothing is sent, by the clocks of the lead''s zone, else the tenant''s; as with windows, days are those on which the hours begin. NULL or [] clears them; hours that leave nothing of the week are refused. Capability: tenant.update. Errors: 22023. (B1, C10)';

CREATE FUNCTION tenant_flag(capability text, what text, reason text, set_it boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require(capability);
  done boolean;
BEGIN
  IF set_it THEN
    PERFORM entrestate.arg_text('reason', reason, 500);
  END IF;
  IF what = 'frozen' THEN
    UPDATE entrestate.tenants SET
      frozen_at = CASE WHEN set_it THEN entrestate.clock_now() END,
      frozen_reason = CASE WHEN set_it THEN reason END,
      policy_version = policy_version + 1, updated_at = entrestate.clock_now()
    WHERE tenant_id = t AND (frozen_at IS NULL) = set_it RETURNING true INTO done;
  ELSE
    UPDATE entrestate.tenants SET
      paused_at = CASE WHEN set_it THEN entrestate.clock_now() END,
      paused_reason = CASE WHEN set_it THEN reason END,
      policy_version = policy_version + 1, updated_at = entrestate.clock_now()
    WHERE tenant_id = t AND (paused_at IS NULL) = set_it RETURNING true INTO done;
  END IF;
  IF done THEN
    PERFORM entrestate.policy_changed(t);
    PERFORM entrestate.activity_add(
      format('tenant.%s', CASE WHEN set_it THEN what WHEN what = 'frozen' THEN 'unfrozen' ELSE 'resumed' END),
      'tenant', t::text);
    PERFORM entrestate.audit_add(format('tenant.%s', CASE WHEN set_it THEN what ELSE 'un' || what END),
      'tenant', t::text, jsonb_strip_nulls(jsonb_build_object('reason', reason)));
  END IF;
END
$$;
COMMENT ON FUNCTION tenant_flag(text, text, text, boolean) IS
'Internal: sets or clears the frozen or paused flag once.';

CREATE FUNCTION tenant_freeze(reason text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT entrestate.tenant_flag('tenant.freeze', 'frozen', reason, true)
$$;
COMMENT ON FUNCTION tenant_freeze(text) IS
'Freezes the tenant: nothing is sent from this commit on, and no transaction that enters the tenant later writes for it (one that is under way may still commit). Twice is once. Capability: tenant.freeze. Errors: 22004, 22023, 54000. (E18)';

CREATE FUNCTION tenant_unfreeze() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT entrestate.tenant_flag('tenant.freeze', 'frozen', NULL, false)
$$;
COMMENT ON FUNCTION tenant_unfreeze() IS
'Ends a freeze. Capability: tenant.freeze. (E18)';

CREATE FUNCTION tenant_pause(reason text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT entrestate.tenant_flag('safety.manage', 'paused', reason, true)
$$;
COMMENT ON FUNCTION tenant_pause(text) IS
'Pauses all automation of the tenant from this commit on; people go on working. Capability: safety.manage. Errors: 22004, 22023, 54000. (C10)';

CREATE FUNCTION tenant_resume() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT entrestate.tenant_flag('safety.manage', 'paused', NULL, false)
$$;
COMMENT ON FUNCTION tenant_resume() IS
'Ends a pause. Capability: safety.manage. (C10)';

CREATE FUNCTION channel_set(channel text, enabled boolean DEFAULT NULL, paused boolean DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  UPDATE entrestate.tenant_channels c SET
    enabled = coalesce(channel_set.enabled, c.enabled),
    paused_at = CASE WHEN paused THEN coalesce(c.paused_at, entrestate.clock_now())
                     WHEN NOT paused THEN NULL ELSE c.paused_at END
  WHERE c.tenant_id = t AND c.channel = channel_set.channel;
  PERFORM entrestate.policy_changed(t);
  PERFORM entrestate.activity_add('safety.channel_toggled', 'tenant', t::text, NULL,
    jsonb_strip_nulls(jsonb_build_object('channel', channel, 'enabled', enabled, 'paused', paused)));
  PERFORM entrestate.audit_add('channel.set', 'channel', channel,
    jsonb_strip_nulls(jsonb_build_object('enabled', enabled, 'paused', paused)));
END
$$;
COMMENT ON FUNCTION channel_set(text, boolean, boolean) IS
'Turns a channel (email, sms, whatsapp) on or off, or pauses it; NULL leaves it. Capability: safety.manage. Errors: 22004, 22023. (C10)';

CREATE FUNCTION member_add(user_id text, role text DEFAULT 'member') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('members.manage');
BEGIN
  PERFORM entrestate.arg_user('user_id', user_id);
  PERFORM entrestate.arg_choice('role', role, ARRAY['owner', 'admin', 'operator', 'closer', 'member', 'viewer']);
  IF role = 'owner' THEN
    PERFORM entrestate.require('tenant.transfer');
  END IF;
  INSERT INTO entrestate.members (tenant_id, user_id, role, added_by, created_at)
  VALUES (t, member_add.user_id, member_add.role, entrestate.current_actor(), entrestate.clock_now())
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('CONFLICT', 'the user is a member already', NULL,
      'Change the role with member_update().');
  END IF;
  PERFORM entrestate.activity_add('member.added', 'member', user_id, NULL, jsonb_build_object('role', role));
  PERFORM entrestate.audit_add('member.add', 'member', user_id, jsonb_build_object('role', role));
END
$$;
COMMENT ON FUNCTION member_add(text, text) IS
'Adds a user of the outside to the tenant. Capability: members.manage; tenant.transfer for an owner. Errors: 22004, 22023, 23505 when a member already, 54000. (E1)';

CREATE FUNCTION member_update(user_id text, role text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('members.manage');
BEGIN
  PERFORM entrestate.arg_user('user_id', user_id);
  IF role IS NOT NULL THEN
    PERFORM entrestate.arg_choice('role', role, ARRAY['owner', 'admin', 'operator', 'closer', 'member', 'viewer']);
  END IF;
  -- One writer of memberships at a time, so that two owners cannot both go. A
  -- row that is only locked would not stop a repeatable read.
  UPDATE entrestate.tenants SET updated_at = entrestate.clock_now() WHERE tenant_id = t;
  IF NOT EXISTS (SELECT FROM entrestate.members m
                 WHERE m.tenant_id = t AND m.user_id = member_update.user_id) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such member', NULL, 'Add the user with member_add().');
  END IF;
  IF role = 'owner' OR EXISTS (SELECT FROM entrestate.members m WHERE m.tenant_id = t
       AND m.user_id = member_update.user_id AND m.role = 'owner') THEN
    PERFORM entrestate.require('tenant.transfer');
  END IF;
  IF role IS DISTINCT FROM 'owner' AND NOT EXISTS (
       SELECT FROM entrestate.members m
       WHERE m.tenant_id = t AND m.role = 'owner' AND m.user_id <> member_update.user_id) THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the tenant would have no owner', NULL,
      'Make another member the owner first.');
  END IF;
  IF role IS NULL THEN
    DELETE FROM entrestate.members m WHERE m.tenant_id = t AND m.user_id = member_update.user_id;
  ELSE
    UPDATE entrestate.members m SET role = member_update.role
    WHERE m.tenant_id = t AND m.user_id = member_update.user_id;
  END IF;
  PERFORM entrestate.activity_add(CASE WHEN role IS NULL THEN 'member.removed' ELSE 'member.updated' END,
    'member', user_id, NULL, jsonb_strip_nulls(jsonb_build_object('role', role)));
  PERFORM entrestate.audit_add(CASE WHEN role IS NULL THEN 'member.remove' ELSE 'member.update' END,
    'member', user_id, jsonb_strip_nulls(jsonb_build_object('role', role)));
END
$$;
COMMENT ON FUNCTION member_update(text, text) IS
'Changes a member''s role, or with NULL removes the member; the last owner stays. Effective for the member''s next transaction. Capability: members.manage; tenant.transfer for an owner. Errors: P0002, 22004, 22023, 54000, 55000. (E1)';

CREATE FUNCTION member_remove(user_id text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT entrestate.member_update(user_id, NULL)
$$;
COMMENT ON FUNCTION member_remove(text) IS
'Removes a member; every token and login of the user for this tenant ends with the transaction that is under way. Capability: members.manage. Errors: P0002, 22004, 55000. (E1)';

CREATE FUNCTION capabilities(OUT capability text, OUT roles text[]) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
  SELECT c.capability, pg_catalog.array_agg(c.role ORDER BY pg_catalog.array_position(
    ARRAY['owner', 'admin', 'operator', 'closer', 'member', 'viewer'], c.role))
  FROM entrestate.role_capabilities c GROUP BY 1 ORDER BY 1
$$;
COMMENT ON FUNCTION capabilities() IS
'Who may do what within a tenant. (C1, E1)';

CREATE FUNCTION login_record(tenant uuid, user_id text, event text, network cidr DEFAULT NULL,
  method text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = '' AS $$
BEGIN
  IF tenant IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'tenant is missing');
  END IF;
  PERFORM entrestate.arg_user('user_id', user_id);
  PERFORM entrestate.arg_choice('event', event, entrestate.login_event_types());
  PERFORM entrestate.arg_text('method', method, 50, 0);
  PERFORM entrestate.context_enter_system(tenant);
  IF NOT EXISTS (SELECT FROM entrestate.tenants t WHERE t.tenant_id = tenant) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such tenant');
  END IF;
  INSERT INTO entrestate.login_audit (tenant_id, recorded_at, id, user_id, event, method, network)
  VALUES (tenant, entrestate.clock_now(), entrestate.uuid_v7(), login_record.user_id,
          login_record.event, login_record.method,
          -- an address is personal data; the network it is in is evidence enough
          CASE WHEN network IS NOT NULL THEN
            set_masklen(network, least(masklen(network), CASE family(network) WHEN 4 THEN 24 ELSE 48 END)) END);
END
$$;
COMMENT ON FUNCTION login_record(uuid, text, text, cidr, text) IS
'Records a sign-in event of the gateway (one of login_event_types()); the network is cut to /24 or /48, since an address is personal data. For entrestate_authenticator. Errors: 22004, 22023, 54000, P0002. (E10)';

CREATE FUNCTION login_event_types() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY['login.succeeded', 'login.failed', 'login.blocked', 'logout', 'session.created',
  'session.expired', 'session.revoked', 'password.changed', 'password.reset.requested',
  'password.reset.completed', 'mfa.enabled', 'mfa.disabled', 'mfa.succeeded', 'mfa.failed',
  'email.changed', 'account.locked', 'account.unlocked', 'suspicious.activity']::pg_catalog.text[];
COMMENT ON FUNCTION login_event_types() IS
'The 18 sign-in events that login_record() takes. (E10)';

GRANT EXECUTE ON FUNCTION tenant_get(), tenant_update(text, text, text, boolean, text, text), tenant_quiet_hours_set(jsonb),
  tenant_freeze(text), tenant_unfreeze(), tenant_pause(text), tenant_resume(),
  channel_set(text, boolean, boolean), member_add(text, text), member_update(text, text),
  member_remove(text), capabilities(), login_event_types()
  TO entrestate_app;
GRANT EXECUTE ON FUNCTION login_record(uuid, text, text, cidr, text), login_event_types()
  TO entrestate_authenticator;
