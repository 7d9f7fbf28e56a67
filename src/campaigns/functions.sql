-- campaigns: the spine. (A4)

CREATE FUNCTION campaign_create(name text, intent text DEFAULT 'general', landing jsonb DEFAULT NULL,
  bindings jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('campaign.create');
  c uuid := entrestate.uuid_v7();
BEGIN
  INSERT INTO entrestate.campaigns (tenant_id, campaign_id, name, intent, landing, bindings,
    created_by, created_at, updated_at)
  VALUES (t, c, entrestate.arg_text('name', campaign_create.name, 100),
    entrestate.arg_text('intent', campaign_create.intent, 40),
    entrestate.arg_object('landing', campaign_create.landing),
    entrestate.arg_object('bindings', campaign_create.bindings),
    entrestate.current_actor(), entrestate.clock_now(), entrestate.clock_now());
  PERFORM entrestate.activity_add('campaign.created', 'campaign', c::text, c);
  PERFORM entrestate.audit_add('campaign.create', 'campaign', c::text, '{}');
  RETURN c;
END
$$;
COMMENT ON FUNCTION campaign_create(text, text, jsonb, jsonb) IS
'Makes a campaign in draft; returns its id. Capability: campaign.create. Errors: 22004, 22023, 54000. (A4)';

CREATE FUNCTION campaign_require(campaign uuid, capability text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t uuid := entrestate.require(capability);
BEGIN
  IF campaign IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'campaign is missing');
  END IF;
  -- a brake's row: a send that is about to start holds it in share mode (L4)
  PERFORM FROM entrestate.campaigns c
  WHERE c.tenant_id = t AND c.campaign_id = campaign FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN t;
END
$$;
COMMENT ON FUNCTION campaign_require(uuid, text) IS
'Internal: checks the capability, then locks the campaign, or raises P0002; returns the tenant.';

CREATE FUNCTION campaign_status_set(campaign uuid, status text, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'campaign.manage');
  was text;
BEGIN
  PERFORM entrestate.arg_choice('status', status, ARRAY['active', 'paused', 'completed', 'archived']);
  PERFORM entrestate.arg_text('reason', reason, 500, 0);
  SELECT c.status INTO was FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign;
  IF was = campaign_status_set.status THEN
    RETURN;
  END IF;
  UPDATE entrestate.campaigns c SET
    status = campaign_status_set.status,
    paused_reason = CASE WHEN campaign_status_set.status = 'paused' THEN coalesce(reason, 'by a person') END,
    policy_version = c.policy_version + 1, updated_at = entrestate.clock_now()
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.activity_add(
    CASE status WHEN 'active' THEN 'campaign.activated' ELSE 'campaign.' || status END,
    'campaign', campaign::text, campaign, jsonb_build_object('from', was));
  PERFORM entrestate.audit_add('campaign.status', 'campaign', campaign::text,
    jsonb_strip_nulls(jsonb_build_object('from', was, 'to', status, 'reason', reason)));
  PERFORM entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION campaign_status_set(uuid, text, text) IS
'Activates, pauses, completes or archives a campaign; the same status again does nothing. Capability: campaign.manage. Errors: P0002, 22023, ZE005 for a change that transitions() does not list. (A4)';

CREATE FUNCTION campaign_update(campaign uuid, name text DEFAULT NULL, intent text DEFAULT NULL,
  sender_enabled boolean DEFAULT NULL, landing jsonb DEFAULT NULL, bindings jsonb DEFAULT NULL,
  backfill timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'campaign.manage');
BEGIN
  UPDATE entrestate.campaigns c SET
    name = CASE WHEN campaign_update.name IS NULL THEN c.name
                ELSE entrestate.arg_text('name', campaign_update.name, 100) END,
    intent = CASE WHEN campaign_update.intent IS NULL THEN c.intent
                  ELSE entrestate.arg_text('intent', campaign_update.intent, 40) END,
    sender_enabled = coalesce(campaign_update.sender_enabled, c.sender_enabled),
    landing = CASE WHEN campaign_update.landing IS NULL THEN c.landing
                   ELSE entrestate.arg_object('landing', campaign_update.landing) END,
    bindings = CASE WHEN campaign_update.bindings IS NULL THEN c.bindings
                    ELSE entrestate.arg_object('bindings', campaign_update.bindings) END,
    backfill = coalesce(campaign_update.backfill, c.backfill),
    policy_version = c.policy_version + 1, updated_at = entrestate.clock_now()
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.activity_add('campaign.updated', 'campaign', campaign::text, campaign);
  PERFORM entrestate.audit_add('campaign.update', 'campaign', campaign::text,
    jsonb_strip_nulls(jsonb_build_object('senderEnabled', sender_enabled)));
  PERFORM entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION campaign_update(uuid, text, text, boolean, jsonb, jsonb, timestamptz) IS
'Changes a campaign; NULL leaves a setting as it is. backfill: leads attributed since then get runs when the sender can start. Capability: campaign.manage. Errors: P0002, 22023, 54000. (A4, B13)';

CREATE FUNCTION campaign_get(campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('campaign.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(c) - 'tenant_id' INTO r FROM entrestate.campaigns c
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION campaign_get(uuid) IS
'A campaign with all its settings. Capability: campaign.read. Errors: P0002. (A4)';

CREATE FUNCTION campaign_list(before uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (campaign_id uuid, name text, intent text, status text, sender_enabled boolean,
  created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('campaign.read');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT c.campaign_id, c.name, c.intent, c.status, c.sender_enabled, c.created_at, c.updated_at
  FROM entrestate.campaigns c
  WHERE c.tenant_id = t AND (before IS NULL OR c.campaign_id < before)
  ORDER BY c.tenant_id DESC, c.campaign_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION campaign_list(uuid, integer) IS
'The tenant''s campaigns, newest first; before: id of the last one of the page before. Capability: campaign.read. Errors: 22023. (A4)';

GRANT EXECUTE ON FUNCTION campaign_create(text, text, jsonb, jsonb),
  campaign_status_set(uuid, text, text),
  campaign_update(uuid, text, text, boolean, jsonb, jsonb, timestamptz),
  campaign_get(uuid), campaign_list(uuid, integer) TO entrestate_app;
