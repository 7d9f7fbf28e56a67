-- campaigns: the spine. (A4)

CREATE FUNCTION binding_normalise(kind text, value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  -- a landing page is its host and path: no scheme, query, fragment or last slash
  SELECT nullif(CASE kind
    WHEN 'landing_page' THEN regexp_replace(lower(substring(v, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?([^/?#]*)'))
      || coalesce(substring(v, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?[^/?#]*(/[^?#]*)'), ''), '/+$', '')
    WHEN 'utm_campaign' THEN lower(v) ELSE v END, '')
  FROM (SELECT btrim(value) AS v) x
$$;
COMMENT ON FUNCTION binding_normalise(text, text) IS
'A form, landing_page, click_id or utm_campaign as bindings and attributions are compared: a landing page without scheme, query, fragment and last slash, its host in lower case; a utm_campaign in lower case. (B8)';

CREATE FUNCTION campaign_bind(tenant uuid, campaign uuid, bindings jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it raises, then writes.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  k text;
  v jsonb;
BEGIN
  PERFORM entrestate.arg_object('bindings', bindings);
  FOR k, v IN SELECT * FROM jsonb_each(bindings) LOOP
    IF k <> ALL ('{forms,landing_pages,click_ids,utm_campaigns}') THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('bindings has a key that is not known: %s', left(k, 40)), NULL,
        'One of: forms, landing_pages, click_ids, utm_campaigns.');
    ELSIF jsonb_typeof(v) <> 'array' OR EXISTS (SELECT FROM jsonb_array_elements(v) e WHERE jsonb_typeof(e) <> 'string'
        OR octet_length(e #>> '{}') > 2048 OR entrestate.binding_normalise(rtrim(k, 's'), e #>> '{}') IS NULL) THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('bindings.%s is not an array of texts', k), NULL,
        'Write ["value", …], each with 1 to 2048 bytes.');
    ELSIF jsonb_array_length(v) > 1000 THEN
      PERFORM entrestate.raise('LIMIT_EXCEEDED', format('bindings.%s has too many values', k), 'At most 1000 are allowed.');
    END IF;
  END LOOP;
  DELETE FROM entrestate.campaign_bindings b WHERE b.tenant_id = tenant AND b.campaign_id = campaign;
  INSERT INTO entrestate.campaign_bindings (tenant_id, kind, value, campaign_id)
  SELECT DISTINCT tenant, rtrim(e.key, 's'), entrestate.binding_normalise(rtrim(e.key, 's'), x.value), campaign
  FROM jsonb_each(bindings) e CROSS JOIN LATERAL jsonb_array_elements_text(e.value) x(value);
  RETURN coalesce(bindings, '{}');
END
$$;
COMMENT ON FUNCTION campaign_bind(uuid, uuid, jsonb) IS
'Internal: checks bindings {forms, landing_pages, click_ids, utm_campaigns} and makes them the campaign''s; returns them. A click id is bound as name:value or, for all of its kind, as name.';

CREATE FUNCTION campaigns_resolve(tenant uuid, attributions jsonb[])
RETURNS TABLE (no integer, campaign_id uuid, resolved_by text, candidates uuid[])
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session; what is joined by value is no nested
-- loop, bindings are looked up by their key.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_nestloop = off SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY
  WITH said AS MATERIALIZED (
    -- what each says, in the order in which it counts
    SELECT u.o, k.rank, k.kind, k.value
    FROM unnest(attributions) WITH ORDINALITY AS u(a, o)
    CROSS JOIN LATERAL (
      SELECT 1 AS rank, 'form' AS kind, u.a ->> 'form' AS value
      UNION ALL
      SELECT 2, 'landing_page', u.a ->> 'landing_page'
      UNION ALL
      SELECT 3, 'click_id', v.value FROM jsonb_each_text(u.a -> 'click_ids') c, unnest(ARRAY[c.key, c.key || ':' || c.value]) AS v(value)
      UNION ALL
      SELECT 4, 'utm_campaign', v.value FROM unnest(ARRAY[u.a -> 'utm' ->> 'utm_campaign', u.a -> 'utm' ->> 'campaign']) AS v(value)) k
    WHERE k.value IS NOT NULL
      -- most tenants bind one kind or two
      AND k.kind = ANY (ARRAY(SELECT u.kind FROM unnest('{form,landing_page,click_id,utm_campaign}'::text[]) AS u(kind)
        WHERE (SELECT true FROM entrestate.campaign_bindings b WHERE b.tenant_id = tenant AND b.kind = u.kind LIMIT 1)))
  ), bound AS MATERIALIZED (
    SELECT d.kind, d.value, b.campaign_id
    FROM (SELECT DISTINCT s.kind, s.value FROM said s) d
    CROSS JOIN LATERAL (SELECT entrestate.binding_normalise(d.kind, d.value) AS value OFFSET 0) n
    CROSS JOIN LATERAL (SELECT x.campaign_id FROM entrestate.campaign_bindings x
      WHERE x.tenant_id = tenant AND x.kind = d.kind AND x.value = n.value OFFSET 0) b
    CROSS JOIN LATERAL (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = b.campaign_id
      AND c.status IN ('draft', 'active', 'paused') OFFSET 0) c
  ), hit AS (
    SELECT DISTINCT ON (s.o) s.o, s.kind, array_agg(DISTINCT b.campaign_id) AS campaigns
    FROM said s JOIN bound b ON b.kind = s.kind AND b.value = s.value
    GROUP BY s.o, s.rank, s.kind ORDER BY s.o, s.rank
  )
  SELECT i, CASE WHEN cardinality(h.campaigns) = 1 THEN h.campaigns[1] END, h.kind, coalesce(h.campaigns, '{}')
  FROM generate_subscripts(attributions, 1) i LEFT JOIN hit h ON h.o = i;
END
$$;
COMMENT ON FUNCTION campaigns_resolve(uuid, jsonb[]) IS
'Internal: for each attribution, by its number, the campaign it leads to, through the first of form, landing_page, click_ids, utm that has a binding at all; none when several campaigns have it (candidates).';

CREATE FUNCTION campaign_resolve(tenant uuid, attribution jsonb, OUT campaign_id uuid, OUT resolved_by text,
  OUT candidates uuid[])
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT r.campaign_id, r.resolved_by, r.candidates INTO campaign_id, resolved_by, candidates
  FROM entrestate.campaigns_resolve(tenant, ARRAY[attribution]) r;
END
$$;
COMMENT ON FUNCTION campaign_resolve(uuid, jsonb) IS
'Internal: the campaign that an attribution leads to by form, landing page, click id, utm_campaign, in this order, through the bindings of campaigns that have not ended; several candidates: ambiguous, and no campaign. (B8)';

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
    entrestate.arg_object('landing', campaign_create.landing), '{}',
    entrestate.current_actor(), entrestate.clock_now(), entrestate.clock_now());
  IF bindings IS NOT NULL THEN
    UPDATE entrestate.campaigns x SET bindings = entrestate.campaign_bind(t, c, campaign_create.bindings)
    WHERE x.tenant_id = t AND x.campaign_id = c;
  END IF;
  PERFORM entrestate.policy_changed(t, c);
  PERFORM entrestate.activity_add('campaign.created', 'campaign', c::text, c);
  PERFORM entrestate.audit_add('campaign.create', 'campaign', c::text, '{}');
  RETURN c;
END
$$;
COMMENT ON FUNCTION campaign_create(text, text, jsonb, jsonb) IS
'Makes a campaign in draft; returns its id. bindings: {forms, landing_pages, click_ids, utm_campaigns}, arrays of texts that lead here. Capability: campaign.create. Errors: 22004, 22023, 54000. (A4)';

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
    updated_at = entrestate.clock_now()
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.policy_changed(t, campaign);
  PERFORM entrestate.activity_add(
    CASE status WHEN 'active' THEN 'campaign.activated' ELSE 'campaign.' || status END,
    'campaign', campaign::text, campaign, jsonb_build_object('from', was));
  PERFORM entrestate.audit_add('campaign.status', 'campaign', campaign::text,
    jsonb_strip_nulls(jsonb_build_object('from', was, 'to', status, 'reason', reason)));
  PERFORM entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION campaign_status_set(uuid, text, text) IS
'Activates, pauses, completes or archives a campaign; the same status again does nothing. Capability: campaign.manage. Errors: P0002, 22004, 22023, 54000, ZE005 for a change that transitions() does not list. (A4)';

CREATE FUNCTION campaign_update(campaign uuid, name text DEFAULT NULL, intent text DEFAULT NULL,
  sender_enabled boolean DEFAULT NULL, landing jsonb DEFAULT NULL, bindings jsonb DEFAULT NULL,
  backfill timestamptz DEFAULT NULL, runs_on_import boolean DEFAULT NULL) RETURNS void
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
                    ELSE entrestate.campaign_bind(t, campaign, campaign_update.bindings) END,
    backfill = coalesce(campaign_update.backfill, c.backfill),
    runs_on_import = coalesce(campaign_update.runs_on_import, c.runs_on_import),
    updated_at = entrestate.clock_now()
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  PERFORM entrestate.policy_changed(t, campaign);
  PERFORM entrestate.activity_add('campaign.updated', 'campaign', campaign::text, campaign);
  PERFORM entrestate.audit_add('campaign.update', 'campaign', campaign::text,
    jsonb_strip_nulls(jsonb_build_object('senderEnabled', sender_enabled, 'backfill', backfill, 'runsOnImport', runs_on_import)));
  PERFORM entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION campaign_update(uuid, text, text, boolean, jsonb, jsonb, timestamptz, boolean) IS
'Changes a campaign; NULL leaves a setting as it is. bindings replace the ones before. backfill: leads attributed since then get runs when the sender can start (campaign_backfill() says how many). runs_on_import: whether imported leads get runs. Capability: campaign.manage. Errors: P0002, 22004, 22023, 54000. (A4, B8, B13)';

CREATE FUNCTION campaign_get(campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('campaign.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(c) - 'tenant_id' || jsonb_build_object('goLive', entrestate.campaign_go_live_state(t, campaign))
  INTO r FROM entrestate.campaigns c
  WHERE c.tenant_id = t AND c.campaign_id = campaign;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION campaign_get(uuid) IS
'A campaign with all its settings, and goLive: {state: ended, blocked, rehearsing or live; missing: what keeps its sender from working}. Capability: campaign.read. Errors: P0002. (A4)';

CREATE FUNCTION campaign_go_live_state(tenant uuid, campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing text[];
  ended boolean;
  rehearsal boolean;
BEGIN
  SELECT array_remove(ARRAY[
      CASE WHEN s.frozen_at IS NOT NULL THEN 'tenant_frozen' END,
      CASE WHEN s.paused_at IS NOT NULL THEN 'tenant_paused' END,
      CASE WHEN c.status IN ('draft', 'paused') THEN 'campaign_paused' END,
      CASE WHEN NOT c.sender_enabled THEN 'sender_disabled' END,
      CASE WHEN c.risk_paused_at IS NOT NULL THEN 'risk_paused' END,
      CASE WHEN q.version IS NULL THEN 'sequence_missing' END,
      CASE WHEN NOT EXISTS (SELECT FROM entrestate.sender_steps x JOIN entrestate.tenant_channels h ON h.tenant_id = tenant
        AND h.channel = x.channel AND h.enabled WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.version = q.version)
        THEN 'channel_disabled' END], NULL),
    c.status IN ('completed', 'archived'), s.dry_run OR c.dry_run
  INTO missing, ended, rehearsal
  FROM entrestate.campaigns c
  JOIN entrestate.tenants s ON s.tenant_id = tenant
  LEFT JOIN entrestate.sender_sequences q ON q.tenant_id = tenant AND q.campaign_id = campaign AND q.status = 'published'
  WHERE c.tenant_id = tenant AND c.campaign_id = campaign;
  RETURN jsonb_build_object('missing', to_jsonb(missing), 'state', CASE WHEN ended THEN 'ended'
    WHEN cardinality(missing) > 0 THEN 'blocked' WHEN rehearsal THEN 'rehearsing' ELSE 'live' END);
END
$$;
COMMENT ON FUNCTION campaign_go_live_state(uuid, uuid) IS
'Internal: how far a campaign is from sending, and what is missing. (A4)';

CREATE FUNCTION campaign_metrics(campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('campaign.read');
BEGIN
  IF NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN jsonb_build_object(
    'leads', (SELECT jsonb_build_object('attributed', count(*), 'hot', count(*) FILTER (WHERE l.hot_at IS NOT NULL),
        'optedOut', count(*) FILTER (WHERE l.opted_out_at IS NOT NULL), 'complained', count(*) FILTER (WHERE l.complained_at IS NOT NULL),
        'replied', count(*) FILTER (WHERE l.replied_at IS NOT NULL))
      FROM entrestate.lead_attributions a
      CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = a.lead_id OFFSET 0) l
      WHERE a.tenant_id = t AND a.campaign_id = campaign AND l.merged_into IS NULL),
    'statuses', (SELECT coalesce(jsonb_object_agg(s.status, s.n), '{}') FROM (SELECT l.status, count(*) AS n FROM entrestate.leads l
      WHERE l.tenant_id = t AND l.campaign_id = campaign AND l.merged_into IS NULL GROUP BY 1) s),
    'directions', (SELECT coalesce(jsonb_object_agg(s.direction, s.n), '{}') FROM (SELECT l.direction, count(*) AS n FROM entrestate.leads l
      WHERE l.tenant_id = t AND l.campaign_id = campaign AND l.merged_into IS NULL GROUP BY 1) s),
    'runs', (SELECT coalesce(jsonb_object_agg(s.status, s.n), '{}') FROM (SELECT r.status, count(*) AS n FROM entrestate.sender_runs r
      WHERE r.tenant_id = t AND r.campaign_id = campaign GROUP BY 1) s),
    'handoffs', (SELECT jsonb_build_object('opened', count(*), 'open', count(*) FILTER (WHERE h.status = 'open'),
        'taken', count(*) FILTER (WHERE h.status = 'taken'), 'resolved', count(*) FILTER (WHERE h.status = 'resolved'),
        'firstTouchSeconds', round(avg(extract(epoch FROM h.first_touch_at - h.opened_at))))
      FROM entrestate.handoff_tickets h WHERE h.tenant_id = t AND h.campaign_id = campaign));
END
$$;
COMMENT ON FUNCTION campaign_metrics(uuid) IS
'Counts of a campaign as they are now: leads {attributed, hot, replied, optedOut, complained}, their statuses and directions, runs by status, handoffs with the mean time to first touch in seconds. Counted when asked, from the campaign''s own rows. Capability: campaign.read. Errors: P0002. (A4, C8)';

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
  campaign_update(uuid, text, text, boolean, jsonb, jsonb, timestamptz, boolean),
  campaign_get(uuid), campaign_metrics(uuid), binding_normalise(text, text), campaign_list(uuid, integer) TO entrestate_app;
