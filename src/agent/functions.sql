-- agent: agent settings, and the policy snapshots that decisions refer to. (A9)

CREATE FUNCTION policy_current(tenant uuid, campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT jsonb_strip_nulls(jsonb_build_object(
      'tenant', jsonb_build_object('dryRun', s.dry_run, 'timeZone', s.time_zone, 'quietHours', s.quiet_hours,
        'optOutScope', s.opt_out_scope, 'frozen', s.frozen_at IS NOT NULL, 'paused', s.paused_at IS NOT NULL,
        'channels', (SELECT jsonb_object_agg(h.channel, jsonb_build_object('enabled', h.enabled,
            'paused', h.paused_at IS NOT NULL, 'dailyLimit', h.daily_limit, 'perMinute', h.per_minute, 'domainPerMinute', h.domain_per_minute, 'warmup', h.warmup,
            'warmupFrom', h.warmup_from, 'consentRequired', h.consent_required))
          FROM entrestate.tenant_channels h WHERE h.tenant_id = tenant)),
      'campaign', jsonb_build_object('status', c.status, 'senderEnabled', c.sender_enabled, 'dryRun', c.dry_run,
        'riskPaused', c.risk_paused_at IS NOT NULL, 'brakeIndex', c.brake_index, 'hotThreshold', c.hot_threshold,
        'warmingThreshold', c.warming_threshold, 'risingDeferrals', c.rising_deferrals, 'maxLatenessSeconds', extract(epoch FROM c.max_lateness), 'perMinute', c.per_minute),
      'agent', (SELECT jsonb_build_object('behaviour', a.behaviour, 'windows', a.windows, 'caps', a.caps, 'channels', to_jsonb(a.channels))
        FROM entrestate.campaign_agent_settings a WHERE a.tenant_id = tenant AND a.campaign_id = campaign),
      'score', entrestate.score_settings_of(tenant)))
    FROM entrestate.tenants s JOIN entrestate.campaigns c ON c.tenant_id = tenant AND c.campaign_id = campaign
    WHERE s.tenant_id = tenant);
END
$$;
COMMENT ON FUNCTION policy_current(uuid, uuid) IS
'Internal: everything that a decision for a campaign looks at besides the lead, the run and the sequence. (A9)';

CREATE FUNCTION policy_changed(tenant uuid, campaign uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: lock, then look.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  changed uuid[];
BEGIN
  -- the lock first, in order of ids: a version is made of what is there when
  -- it is given
  PERFORM FROM entrestate.campaigns x WHERE x.tenant_id = tenant
    AND (x.campaign_id = campaign OR campaign IS NULL AND x.status <> 'archived') ORDER BY x.campaign_id FOR NO KEY UPDATE;
  WITH c AS (
    UPDATE entrestate.campaigns x SET policy_version = x.policy_version + 1
    WHERE x.tenant_id = tenant AND (x.campaign_id = campaign OR campaign IS NULL AND x.status <> 'archived')
    RETURNING x.campaign_id)
  SELECT array_agg(c.campaign_id) INTO changed FROM c;
  INSERT INTO entrestate.policy_snapshots (tenant_id, campaign_id, version, policy, taken_by, taken_at)
  SELECT tenant, x.campaign_id, x.policy_version, entrestate.policy_current(tenant, x.campaign_id),
    entrestate.current_actor(), entrestate.clock_now()
  FROM entrestate.campaigns x WHERE x.tenant_id = tenant AND x.campaign_id = ANY (changed);
END
$$;
COMMENT ON FUNCTION policy_changed(uuid, uuid) IS
'Internal: gives a campaign, or with NULL all of the tenant''s that are not archived, the next policy version, and keeps it. After every change of a setting. (A9)';

CREATE FUNCTION agent_settings_check(windows jsonb, caps jsonb, channels text[], behaviour jsonb) RETURNS void
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e jsonb;
  k text;
  per interval;
BEGIN
  PERFORM entrestate.arg_object('behaviour', behaviour, 4096);
  FOR k, e IN SELECT * FROM jsonb_each(behaviour) LOOP
    IF k !~ '^[a-z][a-z_]{0,39}$' OR jsonb_typeof(e) <> 'number' OR NOT (e::numeric BETWEEN 0 AND 100) THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('behaviour.%s is not a bar', left(k, 40)), NULL,
        'A bar is a name in small letters with a number from 0 to 100.');
    END IF;
  END LOOP;
  PERFORM entrestate.arg_windows('windows', windows);
  IF caps IS NOT NULL AND (jsonb_typeof(caps) <> 'array' OR jsonb_array_length(caps) > 10) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'caps is not an array of at most 10 caps', NULL,
      'Write [{"max": 3, "per": "7 days"}].');
  END IF;
  FOR e IN SELECT x FROM jsonb_array_elements(caps) x LOOP
    BEGIN
      per := (e ->> 'per')::interval;
    EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow OR interval_field_overflow THEN
      per := NULL;
    END;
    IF jsonb_typeof(e) <> 'object' OR e - '{max,per,channel}'::text[] <> '{}' OR per IS NULL
      OR NOT per BETWEEN '1 minute' AND '366 days' OR coalesce(jsonb_typeof(e -> 'max'), '') <> 'number'
      OR NOT (e -> 'max')::numeric BETWEEN 1 AND 1000 OR (e -> 'max')::numeric <> trunc((e -> 'max')::numeric)
      OR e ? 'channel' AND (e ->> 'channel') <> ALL ('{email,sms,whatsapp}') THEN
      PERFORM entrestate.raise('INVALID_INPUT', 'caps has an entry that is not a cap', NULL,
        'A cap is {"max": 3, "per": "7 days", "channel": "sms"}: max from 1 to 1000, per from a minute to a year; without channel it is over all.');
    END IF;
  END LOOP;
  IF channels IS NOT NULL AND (cardinality(channels) > 3 OR NOT channels <@ '{email,sms,whatsapp}' OR array_position(channels, NULL) IS NOT NULL) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'channels has a value that is not allowed', NULL, 'Some of: email, sms, whatsapp.');
  END IF;
END
$$;
COMMENT ON FUNCTION agent_settings_check(jsonb, jsonb, text[], jsonb) IS
'Internal: raises 22023 for contact rules or behaviour bars that cannot be.';

CREATE FUNCTION agent_settings_set(campaign uuid, behaviour jsonb DEFAULT NULL, windows jsonb DEFAULT NULL,
  caps jsonb DEFAULT NULL, channels text[] DEFAULT NULL, brake_index integer DEFAULT NULL,
  hot_threshold integer DEFAULT NULL, warming_threshold integer DEFAULT NULL, rising_deferrals integer DEFAULT NULL,
  max_lateness interval DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'agent.manage');
  s jsonb := entrestate.score_settings_of(t);
  v integer;
BEGIN
  PERFORM entrestate.agent_settings_check(windows, caps, channels, behaviour);
  IF brake_index IS NOT NULL AND brake_index NOT IN (0, 1) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'brake_index is 0 or 1', NULL,
      'A campaign may start the brake earlier than step 1, never later.');
  END IF;
  IF hot_threshold IS NOT NULL AND NOT hot_threshold BETWEEN 1 AND (s ->> 'hotThreshold')::integer THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'hot_threshold is not a number from 1 to the tenant''s',
      format('The tenant''s threshold is %s.', s ->> 'hotThreshold'), 'A campaign may lower the threshold, never loosen it.');
  END IF;
  IF warming_threshold IS NOT NULL AND NOT warming_threshold BETWEEN 1 AND (s ->> 'warmingThreshold')::integer THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'warming_threshold is not a number from 1 to the tenant''s',
      format('The tenant''s threshold is %s.', s ->> 'warmingThreshold'), 'A campaign may lower the threshold, never loosen it.');
  END IF;
  IF rising_deferrals IS NOT NULL AND NOT rising_deferrals BETWEEN 0 AND 3 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'rising_deferrals is not a number from 0 to 3');
  END IF;
  IF max_lateness IS NOT NULL AND NOT max_lateness BETWEEN '1 minute' AND '400 days' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'max_lateness is not an interval from a minute to 400 days');
  END IF;
  INSERT INTO entrestate.campaign_agent_settings AS a (tenant_id, campaign_id, behaviour, windows, caps, channels, updated_by, updated_at)
  VALUES (t, campaign, coalesce(agent_settings_set.behaviour, '{}'), coalesce(agent_settings_set.windows, '[]'),
    coalesce(agent_settings_set.caps, '[]'), coalesce(agent_settings_set.channels, '{email,sms,whatsapp}'),
    entrestate.current_actor(), entrestate.clock_now())
  ON CONFLICT ON CONSTRAINT campaign_agent_settings_pkey DO UPDATE SET
    behaviour = a.behaviour || coalesce(agent_settings_set.behaviour, '{}'),
    windows = coalesce(agent_settings_set.windows, a.windows), caps = coalesce(agent_settings_set.caps, a.caps),
    channels = coalesce(agent_settings_set.channels, a.channels), updated_by = EXCLUDED.updated_by, updated_at = EXCLUDED.updated_at;
  UPDATE entrestate.campaigns c SET brake_index = coalesce(agent_settings_set.brake_index, c.brake_index),
    hot_threshold = coalesce(agent_settings_set.hot_threshold, c.hot_threshold),
    warming_threshold = coalesce(agent_settings_set.warming_threshold, c.warming_threshold),
    rising_deferrals = coalesce(agent_settings_set.rising_deferrals, c.rising_deferrals),
    max_lateness = coalesce(agent_settings_set.max_lateness, c.max_lateness), updated_at = entrestate.clock_now()
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.policy_changed(t, campaign);
  SELECT c.policy_version INTO v FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.activity_add('agent.settings.updated', 'campaign', campaign::text, campaign, jsonb_build_object('policyVersion', v));
  PERFORM entrestate.audit_add('agent.settings.set', 'campaign', campaign::text, jsonb_build_object('policyVersion', v));
  RETURN v;
END
$$;
COMMENT ON FUNCTION agent_settings_set(uuid, jsonb, jsonb, jsonb, text[], integer, integer, integer, integer, interval) IS
'Sets how a campaign''s agent behaves and writes: behaviour bars {name: 0 to 100} (merged into the ones before), windows [{days, from, to}] in local time, rolling caps [{max, per, channel}], channels, brake_index (0 or 1), hot_threshold and warming_threshold (at most the tenant''s), rising_deferrals (how often rising intent puts a step off, 0 to 3, at first 1), max_lateness (a step later than this is skipped, at first 7 days). NULL leaves a setting as it is. Returns the policy version that decisions refer to from now on. Capability: agent.manage. Errors: P0002, 22004, 22023, 54000. (A9, B9, B10)';

CREATE FUNCTION agent_settings_get(campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('agent.read');
  r jsonb;
BEGIN
  SELECT jsonb_build_object('behaviour', coalesce(a.behaviour, '{}'), 'windows', coalesce(a.windows, '[]'), 'caps', coalesce(a.caps, '[]'),
    'channels', coalesce(to_jsonb(a.channels), '["email", "sms", "whatsapp"]'), 'brakeIndex', c.brake_index,
    'hotThreshold', c.hot_threshold, 'warmingThreshold', c.warming_threshold, 'risingDeferrals', c.rising_deferrals,
    'maxLatenessSeconds', extract(epoch FROM coalesce(c.max_lateness, '7 days')), 'policyVersion', c.policy_version,
    'updatedBy', a.updated_by, 'updatedAt', a.updated_at)
  INTO r FROM entrestate.campaigns c
  LEFT JOIN entrestate.campaign_agent_settings a ON a.tenant_id = t AND a.campaign_id = campaign
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION agent_settings_get(uuid) IS
'A campaign''s agent settings; a threshold of null is the tenant''s. Capability: agent.read. Errors: P0002. (A9)';

CREATE FUNCTION policy_get(campaign uuid, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('agent.read');
  upto integer := coalesce(policy_get.version, 2147483647);
  r jsonb;
BEGIN
  SELECT jsonb_build_object('version', p.version, 'takenAt', p.taken_at, 'takenBy', p.taken_by, 'policy', p.policy)
  INTO r FROM entrestate.policy_snapshots p
  WHERE p.tenant_id = t AND p.campaign_id = campaign AND p.version <= upto
  ORDER BY p.version DESC LIMIT 1;
  IF NOT FOUND OR (r ->> 'version')::integer <> policy_get.version THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such policy version');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION policy_get(uuid, integer) IS
'The policy snapshot of a campaign that decisions of this version refer to; NULL: the one in force. Capability: agent.read. Errors: P0002. (A9)';

GRANT EXECUTE ON FUNCTION agent_settings_set(uuid, jsonb, jsonb, jsonb, text[], integer, integer, integer, integer, interval),
  agent_settings_get(uuid), policy_get(uuid, integer) TO entrestate_app;
