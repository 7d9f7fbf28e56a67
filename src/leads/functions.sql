-- leads: create, attribute, read. (A7, B3, B8)

CREATE FUNCTION email_normalise(address text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  -- what can be sent to: one @, a dotted domain, no blanks; RFC 5321 lengths
  -- E'': the caller may have standard_conforming_strings off
  SELECT CASE WHEN a ~ E'^[^[:space:]@<>()",;:\\\\]{1,64}@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+([a-z]{2,63}|xn--[a-z0-9-]{1,59})$'
                AND a !~ E'(^\\.)|(\\.\\.)|(\\.@)' AND octet_length(a) <= 254 THEN a END
  FROM (SELECT lower(btrim(address)) AS a) n
$$;
COMMENT ON FUNCTION email_normalise(text) IS
'An email address as it is compared and sent to (trimmed, lower case); NULL when it cannot be one. (A7, E2)';

CREATE FUNCTION phone_normalise(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN n ~ E'^\\+[1-9][0-9]{6,14}$' THEN n END
  FROM (SELECT regexp_replace(regexp_replace(btrim(number), '[[:space:]().-]', '', 'g'), '^00', '+') AS n) p
$$;
COMMENT ON FUNCTION phone_normalise(text) IS
'A phone number in E.164 from an international notation (+ or 00 first); NULL when it cannot be one. (A7)';

CREATE FUNCTION lead_create(full_name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL,
  company text DEFAULT NULL, campaign uuid DEFAULT NULL, attribution jsonb DEFAULT NULL,
  source text DEFAULT 'api', idempotency_key text DEFAULT NULL, custom jsonb DEFAULT NULL,
  time_zone text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.create');
  l uuid := entrestate.uuid_v7();
  at timestamptz := entrestate.clock_now();
  email_norm text := entrestate.email_normalise(email);
  phone_norm text := entrestate.phone_normalise(phone);
BEGIN
  PERFORM entrestate.arg_text('email', email, 320, 0), entrestate.arg_text('phone', phone, 64, 0),
    entrestate.arg_object('attribution', attribution, 16384);
  IF email IS NOT NULL AND email_norm IS NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'email is not an address that can be sent to', NULL,
      'Write local-part@domain.');
  END IF;
  IF phone IS NOT NULL AND phone_norm IS NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'phone is not an international number', NULL,
      'Write it with + and the country code.');
  END IF;
  IF time_zone IS NOT NULL THEN
    PERFORM entrestate.arg_time_zone('time_zone', time_zone);
  END IF;
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c
       WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, company, source, idempotency_key,
    custom, time_zone, created_at, updated_at)
  VALUES (t, l, entrestate.arg_text('full_name', lead_create.full_name, 200, 0),
    entrestate.arg_text('company', lead_create.company, 200, 0),
    entrestate.arg_text('source', lead_create.source, 40),
    CASE WHEN lead_create.idempotency_key IS NOT NULL THEN
      entrestate.arg_text('idempotency_key', lead_create.idempotency_key, 255) END,
    entrestate.arg_object('custom', lead_create.custom), lead_create.time_zone, at, at)
  ON CONFLICT ON CONSTRAINT leads_idempotency DO NOTHING;
  IF NOT FOUND THEN
    -- the same call again: the same lead, and nothing new
    SELECT x.lead_id INTO STRICT l FROM entrestate.leads x
    WHERE x.tenant_id = t AND x.idempotency_key = lead_create.idempotency_key;
    RETURN l;
  END IF;
  INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
  SELECT t, l, v.kind, btrim(v.address), v.norm, true, at
  FROM (VALUES ('email', email, email_norm), ('phone', phone, phone_norm)) v(kind, address, norm)
  WHERE v.norm IS NOT NULL;
  PERFORM entrestate.activity_add('lead.created', 'lead', l::text, campaign,
    jsonb_build_object('source', source));
  IF campaign IS NOT NULL THEN
    PERFORM entrestate.lead_attribute(l, campaign, attribution);
  END IF;
  RETURN l;
END
$$;
COMMENT ON FUNCTION lead_create(text, text, text, text, uuid, jsonb, text, text, jsonb, text) IS
'Records a lead from a form, a chat or the API and attributes it to a campaign, which starts its run; returns its id. The same idempotency_key again returns the same lead and does nothing. attribution: landing_page, referrer, utm, click_ids. Capability: lead.create. Errors: 22004, 22023, 54000, P0002. (A7, B8)';

CREATE FUNCTION lead_attribute(lead uuid, campaign uuid, attribution jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.create');
  at timestamptz := entrestate.clock_now();
  a jsonb := entrestate.arg_object('attribution', attribution, 16384);
BEGIN
  IF lead IS NULL OR campaign IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'lead and campaign are needed');
  END IF;
  PERFORM FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  IF NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at,
    landing_page, referrer, utm, click_ids, resolved_by)
  VALUES (t, lead, campaign, at,
    entrestate.arg_text('attribution.landing_page', a ->> 'landing_page', 2048, 0),
    entrestate.arg_text('attribution.referrer', a ->> 'referrer', 2048, 0),
    entrestate.arg_object('attribution.utm', a -> 'utm'),
    entrestate.arg_object('attribution.click_ids', a -> 'click_ids'), 'campaign_id')
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE entrestate.leads l SET campaign_id = coalesce(l.campaign_id, campaign), updated_at = at
  WHERE l.tenant_id = t AND l.lead_id = lead;
  RETURN entrestate.sender_start_runs(t, campaign, ARRAY[lead]) > 0;
END
$$;
COMMENT ON FUNCTION lead_attribute(uuid, uuid, jsonb) IS
'Attributes a lead to a campaign, once and for ever, and starts its run where the campaign''s sender can; returns whether a run started. Capability: lead.create. Errors: P0002, 22004, 22023. (B3, B8)';

CREATE FUNCTION lead_get(lead uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(l) - 'tenant_id' || jsonb_build_object(
    'contacts', (SELECT coalesce(jsonb_agg(to_jsonb(c) - 'tenant_id' - 'lead_id' ORDER BY c.kind, c.created_at), '[]')
                 FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = lead),
    'attributions', (SELECT coalesce(jsonb_agg(to_jsonb(x) - 'tenant_id' - 'lead_id' ORDER BY x.attributed_at), '[]')
                     FROM entrestate.lead_attributions x WHERE x.tenant_id = t AND x.lead_id = lead))
  INTO r FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION lead_get(uuid) IS
'A lead with its contact points and attributions. Capability: lead.read. Errors: P0002. (A7)';

CREATE FUNCTION lead_list(campaign uuid, before timestamptz DEFAULT NULL, before_lead uuid DEFAULT NULL,
  max_rows integer DEFAULT 50)
RETURNS TABLE (lead_id uuid, full_name text, company text, status text, direction text, score integer,
  hot_at timestamptz, campaign_id uuid, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- the plan must come in the order of the page, however few rows it expects
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  -- variables: row security keeps a coalesce() out of an index condition
  upto timestamptz := coalesce(before, 'infinity');
  upto_lead uuid := coalesce(before_lead, '00000000-0000-0000-0000-000000000000');
BEGIN
  IF campaign IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'campaign is missing');
  END IF;
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT l.lead_id, l.full_name, l.company, l.status, l.direction, l.score, l.hot_at, l.campaign_id,
    l.created_at, l.updated_at
  FROM entrestate.leads l
  WHERE l.tenant_id = t AND l.campaign_id = campaign
    AND l.updated_at <= upto AND (l.updated_at, l.lead_id) < (upto, upto_lead)
  ORDER BY l.campaign_id DESC, l.tenant_id DESC, l.updated_at DESC, l.lead_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION lead_list(uuid, timestamptz, uuid, integer) IS
'A campaign''s leads, last changed first; before and before_lead: updated_at and id of the last one of the page before. Capability: lead.read. Errors: 22004, 22023. (A7)';

GRANT EXECUTE ON FUNCTION email_normalise(text), phone_normalise(text),
  lead_create(text, text, text, text, uuid, jsonb, text, text, jsonb, text),
  lead_attribute(uuid, uuid, jsonb), lead_get(uuid), lead_list(uuid, timestamptz, uuid, integer)
  TO entrestate_app;
