-- leads: create, attribute, read, change, restrain, merge, import. (A7, B3, B8)

CREATE FUNCTION leads_lock(tenant uuid, leads uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
-- planned once: each row by its key, whatever the statistics say. A condition
-- with ANY and an order may read all of the tenant's leads.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  PERFORM FROM (SELECT DISTINCT v.id FROM unnest(leads) AS v(id) ORDER BY 1) u
  CROSS JOIN LATERAL (SELECT FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = u.id FOR NO KEY UPDATE) l;
END
$$;
COMMENT ON FUNCTION leads_lock(uuid, uuid[]) IS
'Internal: locks leads, in the order of their ids, as everybody does who changes them or brakes.';

CREATE FUNCTION email_normalise(address text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'leads_email_normalise';
COMMENT ON FUNCTION email_normalise(text) IS
'An email address as it is compared and sent to (trimmed, lower case, form C, the domain in ASCII); NULL when it cannot be sent to. (A7, E2)';

-- STABLE: another version of libphonenumber knows other numbers
CREATE FUNCTION phone_normalise(number text, country text DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE COST 100 AS '$libdir/entrestate_phone', 'leads_phone_normalise';
COMMENT ON FUNCTION phone_normalise(text, text) IS
'A phone number in E.164 without its extension, read by the rules of country (ISO 3166, two letters), which one with + or 00 first needs not; NULL when it cannot be a valid number. (A7)';

CREATE FUNCTION lead_require(lead uuid, capability text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t uuid := entrestate.require(capability);
  into_lead uuid;
BEGIN
  IF lead IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'lead is missing');
  END IF;
  -- a brake's row: what starts for the lead holds it in share mode (L4)
  SELECT l.merged_into INTO into_lead FROM entrestate.leads l
  WHERE l.tenant_id = t AND l.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  ELSIF into_lead IS NOT NULL THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the lead was merged into another one',
      format('It is %s now.', into_lead), 'Use that lead''s id; lead_get() follows by itself.');
  END IF;
  RETURN t;
END
$$;
COMMENT ON FUNCTION lead_require(uuid, text) IS
'Internal: checks the capability, then locks the lead, or raises P0002, or 55000 for a lead that was merged away; returns the tenant.';

CREATE FUNCTION lead_follow(tenant uuid, lead uuid) RETURNS uuid
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT coalesce(l.merged_into, l.lead_id) FROM entrestate.leads l
          WHERE l.tenant_id = tenant AND l.lead_id = lead);
END
$$;
COMMENT ON FUNCTION lead_follow(uuid, uuid) IS
'Internal: the lead itself, or the one it was merged into; NULL: there is none.';

CREATE FUNCTION address_norm(kind text, address text, country text) RETURNS text
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE kind WHEN 'email' THEN entrestate.email_normalise(address)
                   WHEN 'phone' THEN entrestate.phone_normalise(address, country) END;
END
$$;
COMMENT ON FUNCTION address_norm(text, text, text) IS
'Internal: a contact point normalised; NULL when it cannot be one.';

CREATE FUNCTION addresses_lock(tenant uuid, norms text[]) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'leads_addresses_lock';
COMMENT ON FUNCTION addresses_lock(uuid, text[]) IS
'Internal: waits for whoever is placing one of these addresses, with NULL any address of the tenant. Before anything else is locked, and all at once.';

CREATE FUNCTION arg_address(kind text, address text, tenant uuid, country text) RETURNS text
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c text := coalesce(country, (SELECT s.country FROM entrestate.tenants s WHERE s.tenant_id = tenant));
  norm text;
BEGIN
  IF address IS NULL OR btrim(address) = '' THEN
    RETURN NULL;
  END IF;
  PERFORM entrestate.arg_text(kind, address, 320, 0);
  norm := entrestate.address_norm(kind, address, c);
  IF norm IS NULL AND kind = 'email' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'email is not an address that can be sent to', NULL,
      'Write local-part@domain.');
  ELSIF norm IS NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'phone is not a number that can be called',
      CASE WHEN c IS NULL THEN 'Without a country only international numbers are known.' ELSE format('National numbers are read as those of %s.', c) END,
      'Write it with + and the country code, or give the argument country.');
  END IF;
  RETURN norm;
END
$$;
COMMENT ON FUNCTION arg_address(text, text, uuid, text) IS
'Internal: returns a contact point normalised (NULL for nothing), or raises 22023. country goes before the tenant''s.';

-- Text search: words without accents, each after a key of the tenant.

CREATE FUNCTION search_key(tenant uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  -- 15 digits of the id's end, its random part
  SELECT right(replace(tenant::text, '-', ''), 15) || ':'
$$;
COMMENT ON FUNCTION search_key(uuid) IS
'Internal: what stands before each of a tenant''s words in lead_texts.';

CREATE FUNCTION search_words(input text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
-- PL/pgSQL keeps the plan for the session. What separates words is listed:
-- which characters are letters depends on the database's locale.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF input ~ '[^\x01-\x7f]' THEN
    RETURN ARRAY(SELECT DISTINCT left(w, 40)
      FROM regexp_split_to_table(lower(regexp_replace(normalize(input, NFKD), '[\u0300-\u036f]', '', 'g')),
        '[\x01-\x2f\x3a-\x60\x7b-\u00bf\u2000-\u206f\u3000-\u303f]+') w WHERE w <> '');
  END IF;
  RETURN ARRAY(SELECT DISTINCT left(w, 40) FROM regexp_split_to_table(lower(input), '[^a-z0-9]+') w WHERE w <> '');
END
$$;
COMMENT ON FUNCTION search_words(text) IS
'Internal: the words of a text: letters and digits in lower case, without accents, at most 40 characters each.';

CREATE FUNCTION search_vector(tenant uuid, words text[]) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  key text := entrestate.search_key(tenant);
BEGIN
  RETURN array_to_tsvector(ARRAY(SELECT DISTINCT key || w FROM unnest(words) w LIMIT 200));
END
$$;
COMMENT ON FUNCTION search_vector(uuid, text[]) IS
'Internal: words as lead_texts keeps them.';

CREATE FUNCTION leads_index(tenant uuid, leads uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
-- planned once: it looks rows up by their keys, whatever the values are
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  INSERT INTO entrestate.lead_texts AS x (tenant_id, lead_id, words)
  SELECT tenant, l.lead_id, entrestate.search_vector(tenant, entrestate.search_words(concat_ws(' ', l.full_name, l.company, c.addresses)))
  FROM unnest(leads) AS u(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.leads y WHERE y.tenant_id = tenant AND y.lead_id = u.id OFFSET 0) l
  CROSS JOIN LATERAL (SELECT string_agg(k.address_norm, ' ') AS addresses FROM entrestate.lead_contacts k
    WHERE k.tenant_id = tenant AND k.lead_id = l.lead_id) c
  ON CONFLICT ON CONSTRAINT lead_texts_pkey DO UPDATE SET words = EXCLUDED.words WHERE x.words <> EXCLUDED.words;
END
$$;
COMMENT ON FUNCTION leads_index(uuid, uuid[]) IS
'Internal: makes the search words of leads anew.';

-- Attribution.

CREATE FUNCTION arg_attribution(attribution jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  a jsonb := entrestate.arg_object('attribution', attribution, 16384);
  k text;
BEGIN
  FOR k IN SELECT jsonb_object_keys(a) LOOP
    IF k <> ALL ('{campaign_id,form,landing_page,referrer,utm,click_ids}') THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('attribution has a key that is not known: %s', left(k, 40)), NULL,
        'One of: campaign_id, form, landing_page, referrer, utm, click_ids.');
    END IF;
  END LOOP;
  PERFORM entrestate.arg_text('attribution.form', a ->> 'form', 255, 0),
    entrestate.arg_text('attribution.landing_page', a ->> 'landing_page', 2048, 0),
    entrestate.arg_text('attribution.referrer', a ->> 'referrer', 2048, 0),
    entrestate.arg_object('attribution.utm', a -> 'utm'), entrestate.arg_object('attribution.click_ids', a -> 'click_ids');
  IF a ->> 'campaign_id' IS NOT NULL AND a ->> 'campaign_id' !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'attribution.campaign_id is not an id');
  END IF;
  RETURN jsonb_strip_nulls(a);
END
$$;
COMMENT ON FUNCTION arg_attribution(jsonb) IS
'Internal: returns an attribution {campaign_id, form, landing_page, referrer, utm, click_ids}, or raises 22023 or 54000.';

CREATE FUNCTION lead_resolve(tenant uuid, campaign uuid, attribution jsonb, OUT campaign_id uuid, OUT resolved_by text,
  OUT candidates uuid[])
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it looks and raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  campaign_id := coalesce(campaign, (attribution ->> 'campaign_id')::uuid);
  resolved_by := 'campaign_id';
  IF campaign_id IS NULL THEN
    SELECT r.campaign_id, r.resolved_by, r.candidates INTO campaign_id, resolved_by, candidates
    FROM entrestate.campaign_resolve(tenant, attribution) r;
    IF campaign_id IS NULL THEN
      RETURN;
    END IF;
  END IF;
  -- Without a lock: who pauses the campaign must never wait for a lead.
  IF NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = lead_resolve.campaign_id) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
END
$$;
COMMENT ON FUNCTION lead_resolve(uuid, uuid, jsonb) IS
'Internal: the campaign that is named, or that an attribution leads to; none when it is unresolved or ambiguous (candidates). Raises P0002 for one that is not there. (B8)';

CREATE FUNCTION lead_attribute_to(tenant uuid, lead uuid, campaign uuid, attribution jsonb, resolved_by text, candidates uuid[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
BEGIN
  IF campaign IS NULL AND attribution = '{}' THEN
    RETURN false;
  ELSIF campaign IS NULL THEN
    -- listed, never guessed; the same twice is listed once
    INSERT INTO entrestate.unresolved_attributions (tenant_id, attribution_id, lead_id, attribution, reason, resolved_by, candidates, created_at)
    SELECT tenant, entrestate.uuid_v7(), lead, lead_attribute_to.attribution,
      CASE WHEN cardinality(lead_attribute_to.candidates) > 1 THEN 'ambiguous' ELSE 'unresolved' END,
      lead_attribute_to.resolved_by, lead_attribute_to.candidates, at
    WHERE NOT EXISTS (SELECT FROM entrestate.unresolved_attributions u WHERE u.lead_id = lead AND u.tenant_id = tenant
      AND u.settled_at IS NULL AND u.attribution = lead_attribute_to.attribution);
    RETURN NULL;
  ELSIF lead_attribute_to.resolved_by = 'campaign_id' THEN
    -- a person's word settles what was open
    UPDATE entrestate.unresolved_attributions u SET settled_at = at
    WHERE u.lead_id = lead AND u.tenant_id = tenant AND u.settled_at IS NULL;
  END IF;
  INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at,
    form, landing_page, referrer, utm, click_ids, resolved_by, unable)
  VALUES (tenant, lead, campaign, at, attribution ->> 'form', attribution ->> 'landing_page', attribution ->> 'referrer',
    coalesce(attribution -> 'utm', '{}'), coalesce(attribution -> 'click_ids', '{}'), lead_attribute_to.resolved_by,
    NOT entrestate.sender_able(tenant, campaign))
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE entrestate.leads l SET campaign_id = campaign, updated_at = at
  WHERE l.tenant_id = tenant AND l.lead_id = lead AND l.campaign_id IS NULL;
  RETURN entrestate.sender_start_runs(tenant, campaign, ARRAY[lead]) > 0;
END
$$;
COMMENT ON FUNCTION lead_attribute_to(uuid, uuid, uuid, jsonb, text, uuid[]) IS
'Internal: attributes a locked lead to what lead_resolve() said, once and for ever, and starts its run where the campaign''s sender can; returns whether a run began, NULL when it is unresolved or ambiguous, which is listed. (B3, B8)';

CREATE FUNCTION lead_attribute(lead uuid, campaign uuid DEFAULT NULL, attribution jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.create');
  a jsonb := entrestate.arg_attribution(attribution);
  r record;
BEGIN
  IF lead IS NULL OR campaign IS NULL AND a = '{}' THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'lead, and campaign or attribution, are needed');
  END IF;
  r := entrestate.lead_resolve(t, campaign, a);
  PERFORM entrestate.lead_require(lead, 'lead.create');
  RETURN entrestate.lead_attribute_to(t, lead, r.campaign_id, a, r.resolved_by, r.candidates);
END
$$;
COMMENT ON FUNCTION lead_attribute(uuid, uuid, jsonb) IS
'Attributes a lead to a campaign, once and for ever: to the one that is named, else to the one that attribution leads to by form, landing_page, click_ids, utm.utm_campaign, in this order, through the campaigns'' bindings. Starts its run where the campaign''s sender can. Returns whether a run started; NULL: unresolved or ambiguous, see lead_unresolved(). Capability: lead.create. Errors: P0002, 22004, 22023, 54000, 55000. (B3, B8)';

CREATE FUNCTION lead_unresolved(before uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (attribution_id uuid, lead_id uuid, reason text, resolved_by text, candidates uuid[], attribution jsonb, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  upto uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT u.attribution_id, u.lead_id, u.reason, u.resolved_by, u.candidates, u.attribution, u.created_at
  FROM entrestate.unresolved_attributions u
  WHERE u.tenant_id = t AND u.attribution_id < upto AND u.settled_at IS NULL
  ORDER BY u.tenant_id DESC, u.attribution_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION lead_unresolved(uuid, integer) IS
'Attributions that lead to no campaign (unresolved) or to several (ambiguous), newest first; before: id of the last one of the page before. lead_attribute(lead, campaign) settles one, lead_resolve_again() all that new bindings settle. Capability: lead.read. Errors: 22023. (B8)';

CREATE FUNCTION lead_resolve_again(max_rows integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.create');
  ids uuid[];
  u record;
  n integer := 0;
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  ids := ARRAY(SELECT x.attribution_id FROM entrestate.unresolved_attributions x
    WHERE x.tenant_id = t AND x.settled_at IS NULL ORDER BY x.tenant_id, x.attribution_id LIMIT max_rows);
  -- lock order: leads, then what belongs to them, each in order of ids
  PERFORM FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id IN (
    SELECT x.lead_id FROM entrestate.unresolved_attributions x CROSS JOIN LATERAL entrestate.campaign_resolve(t, x.attribution) r
    WHERE x.tenant_id = t AND x.attribution_id = ANY (ids) AND r.campaign_id IS NOT NULL) ORDER BY l.lead_id FOR NO KEY UPDATE;
  -- looked up again: somebody may have settled or moved one while we waited
  FOR u IN SELECT x.attribution_id, l.lead_id, x.attribution, r.campaign_id, r.resolved_by FROM entrestate.unresolved_attributions x
           JOIN entrestate.leads l ON l.tenant_id = t AND l.lead_id = x.lead_id AND l.merged_into IS NULL
           CROSS JOIN LATERAL entrestate.campaign_resolve(t, x.attribution) r
           WHERE x.tenant_id = t AND x.attribution_id = ANY (ids) AND x.settled_at IS NULL AND r.campaign_id IS NOT NULL ORDER BY x.attribution_id LOOP
    PERFORM entrestate.lead_attribute_to(t, u.lead_id, u.campaign_id, u.attribution, u.resolved_by, NULL);
    UPDATE entrestate.unresolved_attributions x SET settled_at = entrestate.clock_now()
    WHERE x.tenant_id = t AND x.attribution_id = u.attribution_id;
    n := n + 1;
  END LOOP;
  RETURN n;
END
$$;
COMMENT ON FUNCTION lead_resolve_again(integer) IS
'Tries the oldest unresolved and ambiguous attributions again, with the bindings as they are now; returns how many were settled. Capability: lead.create. Errors: 22023. (B8)';

-- Create, read, change.

CREATE FUNCTION lead_place(t uuid, full_name text, company text, kinds text[], addresses text[], norms text[], key text,
  custom jsonb, time_zone text, source text, created_at timestamptz, campaign uuid, OUT lead_id uuid, OUT is_new boolean, OUT same_call boolean)
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it looks, writes, and looks again when somebody came first.
-- planned once: it looks rows up by their keys, whatever the values are
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  placed integer;
BEGIN
  same_call := false;
  is_new := false;
  LOOP
    IF key IS NOT NULL THEN
      SELECT coalesce(x.merged_into, x.lead_id) INTO lead_id FROM entrestate.leads x
      WHERE x.idempotency_key = key AND x.tenant_id = t;
      IF FOUND THEN
        same_call := true;
        RETURN;
      END IF;
    END IF;
    -- the same person: an address tells, in the order in which they are given
    SELECT c.lead_id INTO lead_id FROM unnest(kinds, norms) WITH ORDINALITY AS v(kind, norm, o)
    CROSS JOIN LATERAL (SELECT x.lead_id FROM entrestate.lead_contacts x
      WHERE x.address_norm = v.norm AND x.kind = v.kind AND x.tenant_id = t OFFSET 0) c
    ORDER BY v.o LIMIT 1;
    IF FOUND THEN
      RETURN;
    END IF;
    lead_id := entrestate.uuid_v7();
    INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, company, source, idempotency_key, custom, time_zone,
      campaign_id, created_at, updated_at)
    VALUES (t, lead_place.lead_id, lead_place.full_name, lead_place.company, lead_place.source, key, lead_place.custom, lead_place.time_zone,
      campaign, lead_place.created_at, entrestate.clock_now())
    ON CONFLICT (idempotency_key, tenant_id) WHERE idempotency_key IS NOT NULL DO NOTHING;
    CONTINUE WHEN NOT FOUND;
    -- in order of the addresses, so that two who place the same ones never
    -- wait for each other in a circle
    INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
    SELECT t, lead_place.lead_id, v.kind, v.address, v.norm, v.first, entrestate.clock_now()
    FROM (SELECT u.*, row_number() OVER (PARTITION BY u.kind ORDER BY u.o) = 1 AS first
          FROM unnest(kinds, addresses, norms) WITH ORDINALITY AS u(kind, address, norm, o)) v ORDER BY v.norm
    ON CONFLICT ON CONSTRAINT lead_contacts_address DO NOTHING;
    GET DIAGNOSTICS placed = ROW_COUNT;
    IF placed = cardinality(norms) THEN
      is_new := true;
      RETURN;
    END IF;
    -- another one with this address committed while we waited for its row: ours
    -- never was
    DELETE FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = lead_place.lead_id;
    DELETE FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = lead_place.lead_id;
  END LOOP;
END
$$;
COMMENT ON FUNCTION lead_place(uuid, text, text, text[], text[], text[], text, jsonb, text, text, timestamptz, uuid) IS
'Internal: finds the lead that has this idempotency key or one of these addresses, or makes it with its contact points; says whether it is new and whether the key was known (the same call again).';

CREATE FUNCTION lead_create(full_name text DEFAULT NULL, email text DEFAULT NULL, phone text DEFAULT NULL,
  company text DEFAULT NULL, campaign uuid DEFAULT NULL, attribution jsonb DEFAULT NULL,
  source text DEFAULT 'api', idempotency_key text DEFAULT NULL, custom jsonb DEFAULT NULL,
  time_zone text DEFAULT NULL, country text DEFAULT NULL, consent text[] DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.create');
  at timestamptz := entrestate.clock_now();
  a jsonb := entrestate.arg_attribution(attribution);
  email_norm text := entrestate.arg_address('email', email, t, NULL);
  phone_norm text := entrestate.arg_address('phone', phone, t, country);
  fields jsonb := entrestate.arg_object('custom', custom);
  kinds text[];
  addresses text[];
  norms text[];
  p record;
  r record;
  l uuid;
BEGIN
  PERFORM entrestate.arg_text('full_name', full_name, 200, 0), entrestate.arg_text('company', company, 200, 0),
    entrestate.arg_text('source', source, 40);
  IF idempotency_key IS NOT NULL THEN
    PERFORM entrestate.arg_text('idempotency_key', idempotency_key, 255);
    IF octet_length(idempotency_key) > 250 THEN
      PERFORM entrestate.raise('LIMIT_EXCEEDED', 'idempotency_key is too long', 'At most 250 bytes are allowed.');
    END IF;
  END IF;
  IF time_zone IS NOT NULL THEN
    PERFORM entrestate.arg_time_zone('time_zone', time_zone);
  END IF;
  PERFORM entrestate.arg_choice('consent', c, ARRAY['email', 'sms', 'whatsapp']) FROM unnest(consent) c;
  PERFORM entrestate.addresses_lock(t, ARRAY[email_norm, phone_norm]);
  r := entrestate.lead_resolve(t, campaign, a);
  SELECT array_agg(v.kind), array_agg(btrim(v.address)), array_agg(v.norm) INTO kinds, addresses, norms
  FROM (VALUES ('email', email, email_norm), ('phone', phone, phone_norm)) v(kind, address, norm) WHERE v.norm IS NOT NULL;
  SELECT * INTO p FROM entrestate.lead_place(t, full_name, company, coalesce(kinds, '{}'), coalesce(addresses, '{}'), coalesce(norms, '{}'),
    idempotency_key, fields, time_zone, source, at, r.campaign_id);
  l := p.lead_id;
  IF p.same_call THEN
    RETURN l;
  ELSIF NOT p.is_new THEN
    RETURN entrestate.lead_return(t, l, full_name, email, email_norm, phone, phone_norm, company, r.campaign_id, a, r.resolved_by,
      r.candidates, source, idempotency_key, fields, consent);
  END IF;
  PERFORM entrestate.leads_index(t, ARRAY[l]);
  INSERT INTO entrestate.lead_consents (tenant_id, lead_id, channel, recorded_at, status, source, given_at)
  SELECT DISTINCT t, l, c, at, 'granted', lead_create.source, at FROM unnest(consent) c;
  PERFORM entrestate.activity_add('lead.created', 'lead', l::text, r.campaign_id,
    jsonb_build_object('source', source));
  PERFORM entrestate.lead_attribute_to(t, l, r.campaign_id, a, r.resolved_by, r.candidates);
  RETURN l;
END
$$;
COMMENT ON FUNCTION lead_create(text, text, text, text, uuid, jsonb, text, text, jsonb, text, text, text[]) IS
'Records a lead from a form, a chat or the API and attributes it to a campaign (named, or found by attribution {form, landing_page, referrer, utm, click_ids}), which starts its run; returns its id. A lead with this email or phone is that lead: what it lacks is filled in, and from source form it is a resubmission, which is a signal. The same idempotency_key again returns the same lead and does nothing. phone is international or, with country (or the tenant''s), national. consent: channels the person agreed to. Capability: lead.create. Errors: 22004, 22023, 54000, P0002. (A7, B8)';

CREATE FUNCTION lead_return(t uuid, lead uuid, full_name text, email text, email_norm text, phone text, phone_norm text,
  company text, campaign uuid, attribution jsonb, resolved_by text, candidates uuid[], source text, idempotency_key text, custom jsonb,
  consent text[]) RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
  c uuid;
BEGIN
  LOOP
    -- Lock order: a resubmission changes the score, and scores come first; a
    -- row of them, since the first signal may just be coming.
    INSERT INTO entrestate.lead_scores (tenant_id, lead_id, score, score_at, settings_version, signal_count, counted_kinds, counted_at, seen)
    VALUES (t, lead, 0, at, 0, 0, '{}', '{}', '{}')
    ON CONFLICT ON CONSTRAINT lead_scores_pkey DO UPDATE SET score = EXCLUDED.score WHERE false;
    -- merged away while we waited: the address has moved, too
    SELECT l.merged_into INTO c FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead;
    EXIT WHEN c IS NULL;
    lead := c;
  END LOOP;
  PERFORM FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead FOR NO KEY UPDATE;
  INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
  SELECT t, lead, v.kind, btrim(v.address), v.norm,
    NOT EXISTS (SELECT FROM entrestate.lead_contacts x WHERE x.tenant_id = t AND x.lead_id = lead AND x.kind = v.kind AND x.is_primary), at
  FROM (VALUES ('email', email, email_norm), ('phone', phone, phone_norm)) v(kind, address, norm)
  WHERE v.norm IS NOT NULL ORDER BY v.norm
  ON CONFLICT ON CONSTRAINT lead_contacts_address DO NOTHING;
  UPDATE entrestate.leads l SET full_name = coalesce(l.full_name, lead_return.full_name), company = coalesce(l.company, lead_return.company),
    custom = lead_return.custom || l.custom, updated_at = at
  WHERE l.tenant_id = t AND l.lead_id = lead RETURNING l.campaign_id INTO c;
  PERFORM entrestate.leads_index(t, ARRAY[lead]);
  INSERT INTO entrestate.lead_consents (tenant_id, lead_id, channel, recorded_at, status, source, given_at)
  SELECT DISTINCT t, lead, x, at, 'granted', lead_return.source, at FROM unnest(consent) x
  ON CONFLICT ON CONSTRAINT lead_consents_pkey DO NOTHING;
  PERFORM entrestate.lead_attribute_to(t, lead, campaign, attribution, lead_return.resolved_by, lead_return.candidates);
  PERFORM entrestate.activity_add('lead.returned', 'lead', lead::text, coalesce(campaign, c), jsonb_build_object('source', source));
  IF source = 'form' THEN
    PERFORM entrestate.signals_store(t, ARRAY[lead], ARRAY['form_resubmission'], NULL, ARRAY[coalesce(campaign, c)],
      ARRAY['key:' || idempotency_key]);
  END IF;
  RETURN lead;
END
$$;
COMMENT ON FUNCTION lead_return(uuid, uuid, text, text, text, text, text, text, uuid, jsonb, text, uuid[], text, text, jsonb, text[]) IS
'Internal: what lead_create() does with a lead that is there already: fills in what it lacks, attributes it, and counts a form as a resubmission, once per idempotency_key. (A7, B9)';

CREATE FUNCTION lead_get(lead uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  id uuid := entrestate.lead_follow(t, lead);
  r jsonb;
BEGIN
  SELECT to_jsonb(l) - 'tenant_id' || jsonb_build_object(
    'score', coalesce(s.score, 0), 'score_at', s.score_at,
    'aliases', (SELECT coalesce(jsonb_agg(x.lead_id ORDER BY x.lead_id), '[]') FROM entrestate.leads x
                WHERE x.merged_into = id AND x.tenant_id = t),
    'contacts', (SELECT coalesce(jsonb_agg(to_jsonb(c) - 'tenant_id' - 'lead_id' ORDER BY c.kind, c.created_at, c.address_norm), '[]')
                 FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = id),
    'consents', (SELECT coalesce(jsonb_object_agg(c.channel, jsonb_build_object('status', c.status, 'source', c.source, 'at', c.given_at)), '{}')
                 FROM (SELECT DISTINCT ON (x.channel) x.* FROM entrestate.lead_consents x
                       WHERE x.tenant_id = t AND x.lead_id = id ORDER BY x.channel, x.recorded_at DESC) c),
    'tags', (SELECT coalesce(jsonb_agg(g.tag ORDER BY g.tag), '[]') FROM entrestate.lead_tags g WHERE g.tenant_id = t AND g.lead_id = id),
    'attributions', (SELECT coalesce(jsonb_agg(to_jsonb(x) - 'tenant_id' - 'lead_id' ORDER BY x.attributed_at, x.campaign_id), '[]')
                     FROM entrestate.lead_attributions x WHERE x.tenant_id = t AND x.lead_id = id))
  INTO r FROM entrestate.leads l LEFT JOIN entrestate.lead_scores s ON s.tenant_id = t AND s.lead_id = id
  WHERE l.tenant_id = t AND l.lead_id = id;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION lead_get(uuid) IS
'A lead with its score, contact points, consents, tags, attributions and aliases; the id of a lead that was merged away gives the one it was merged into. Capability: lead.read. Errors: P0002. (A7)';

CREATE FUNCTION lead_list(campaign uuid, before timestamptz DEFAULT NULL, before_lead uuid DEFAULT NULL,
  max_rows integer DEFAULT 50)
RETURNS TABLE (lead_id uuid, full_name text, company text, status text, direction text, score integer,
  hot_at timestamptz, campaign_id uuid, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- the plan must come in the order of the page, however few rows it expects
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
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
  SELECT l.lead_id, l.full_name, l.company, l.status, l.direction,
    coalesce((SELECT s.score FROM entrestate.lead_scores s WHERE s.tenant_id = t AND s.lead_id = l.lead_id), 0),
    l.hot_at, l.campaign_id, l.created_at, l.updated_at
  FROM entrestate.leads l
  WHERE l.tenant_id = t AND l.campaign_id = campaign AND l.merged_into IS NULL
    AND l.updated_at <= upto AND (l.updated_at, l.lead_id) < (upto, upto_lead)
  ORDER BY l.campaign_id DESC, l.tenant_id DESC, l.updated_at DESC, l.lead_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION lead_list(uuid, timestamptz, uuid, integer) IS
'A campaign''s leads, last changed first; before and before_lead: updated_at and id of the last one of the page before. Capability: lead.read. Errors: 22004, 22023. (A7)';

CREATE FUNCTION lead_texts_newest(tenant uuid, wanted tsquery, upto uuid, newest integer, most integer) RETURNS uuid[]
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN ARRAY(SELECT x.lead_id FROM (SELECT y.lead_id, y.words FROM entrestate.lead_texts y
      WHERE y.tenant_id = tenant AND y.lead_id < upto ORDER BY y.lead_id DESC LIMIT newest) x
    WHERE x.words @@ wanted LIMIT most);
END
$$;
COMMENT ON FUNCTION lead_texts_newest(uuid, tsquery, uuid, integer, integer) IS
'Internal: of so many of the newest leads before upto those that have the words, newest first, at most so many.';

CREATE FUNCTION leads_fit(tenant uuid, leads uuid[], with_status text, campaign uuid, tag text, owner text, max_rows integer) RETURNS uuid[]
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session. One lead after the other, until there are enough.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN ARRAY(SELECT l.lead_id FROM unnest(leads) i
    CROSS JOIN LATERAL (SELECT * FROM entrestate.leads y WHERE y.tenant_id = tenant AND y.lead_id = i OFFSET 0) l
    WHERE l.merged_into IS NULL AND (with_status IS NULL OR l.status = with_status)
      AND (campaign IS NULL OR l.campaign_id = campaign) AND (owner IS NULL OR l.owner_id = owner)
      AND (leads_fit.tag IS NULL OR EXISTS (SELECT FROM entrestate.lead_tags g WHERE g.tenant_id = tenant AND g.lead_id = l.lead_id AND g.tag = lower(btrim(leads_fit.tag))))
    LIMIT max_rows);
END
$$;
COMMENT ON FUNCTION leads_fit(uuid, uuid[], text, uuid, text, text, integer) IS
'Internal: the first of these leads that have this status, campaign, tag and owner, where given, and were not merged away.';

CREATE FUNCTION lead_search(query text DEFAULT NULL, with_status text DEFAULT NULL, campaign uuid DEFAULT NULL,
  tag text DEFAULT NULL, owner text DEFAULT NULL, before uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (lead_id uuid, full_name text, company text, email text, status text, direction text, campaign_id uuid,
  owner_id text, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  upto uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
  -- variables: row security keeps a function out of an index condition
  as_email text;
  as_phone text;
  words text[];
  wanted tsquery;
  newest CONSTANT integer := 20 * max_rows;
  few CONSTANT integer := 10000;
  -- without conditions each fits
  most CONSTANT integer := CASE WHEN coalesce(with_status, campaign::text, tag, owner) IS NULL THEN max_rows END;
  found uuid[];
  page uuid[];
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  PERFORM entrestate.arg_text('query', query, 200, 0);
  IF with_status IS NOT NULL THEN
    PERFORM entrestate.arg_choice('with_status', with_status, ARRAY['new', 'enriched', 'drafted', 'approved', 'contacted', 'replied', 'booked', 'lost']);
  END IF;
  IF query IS NOT NULL AND btrim(query) <> '' THEN
    -- an address is looked up as such
    as_email := entrestate.email_normalise(query);
    as_phone := entrestate.phone_normalise(query, (SELECT s.country FROM entrestate.tenants s WHERE s.tenant_id = t));
    SELECT array_agg(c.lead_id) INTO found FROM (VALUES ('email', as_email), ('phone', as_phone)) v(kind, norm)
    CROSS JOIN LATERAL (SELECT x.lead_id FROM entrestate.lead_contacts x
      WHERE x.address_norm = v.norm AND x.kind = v.kind AND x.tenant_id = t OFFSET 0) c;
    IF found IS NULL THEN
      words := entrestate.search_words(query);
      IF NOT EXISTS (SELECT FROM unnest(words) w WHERE char_length(w) >= 2) THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'query has no word of two letters or digits');
      END IF;
      -- every word, each as the beginning of one
      wanted := (SELECT string_agg(quote_literal(entrestate.search_key(t) || w) || ':*', ' & ') FROM unnest(words) w)::tsquery;
      -- What most leads have, the newest have a page of. What few have is found by the index of words. What is between
      -- is looked for in more of the newest, since nobody needs the rest found and sorted, unless there is no page of it.
      page := entrestate.leads_fit(t, entrestate.lead_texts_newest(t, wanted, upto, newest, most), with_status, campaign, tag, owner, max_rows);
      IF cardinality(page) < max_rows AND EXISTS (SELECT FROM entrestate.lead_texts x WHERE x.tenant_id = t AND x.lead_id < upto
          ORDER BY x.lead_id DESC OFFSET newest LIMIT 1) THEN
        found := ARRAY(SELECT x.lead_id FROM entrestate.lead_texts x WHERE x.words @@ wanted AND x.tenant_id = t AND x.lead_id < upto LIMIT few + 1);
        IF cardinality(found) > few THEN
          page := entrestate.leads_fit(t, entrestate.lead_texts_newest(t, wanted, upto, 2 * few, most), with_status, campaign, tag, owner, max_rows);
          found := CASE WHEN cardinality(page) < max_rows THEN
            ARRAY(SELECT x.lead_id FROM entrestate.lead_texts x WHERE x.words @@ wanted AND x.tenant_id = t AND x.lead_id < upto) END;
        END IF;
        IF found IS NOT NULL THEN
          page := entrestate.leads_fit(t, ARRAY(SELECT i FROM unnest(found) i ORDER BY i DESC), with_status, campaign, tag, owner, max_rows);
        END IF;
      END IF;
      RETURN QUERY
      SELECT l.lead_id, l.full_name, l.company, (SELECT k.address FROM entrestate.lead_contacts k
          WHERE k.tenant_id = t AND k.lead_id = l.lead_id AND k.kind = 'email' AND k.is_primary),
        l.status, l.direction, l.campaign_id, l.owner_id, l.created_at, l.updated_at
      FROM unnest(page) i
      CROSS JOIN LATERAL (SELECT * FROM entrestate.leads y WHERE y.tenant_id = t AND y.lead_id = i OFFSET 0) l
      ORDER BY l.lead_id DESC;
      RETURN;
    END IF;
  END IF;
  -- no words: from the narrowest of the other conditions
  RETURN QUERY EXECUTE format($q$
    SELECT l.lead_id, l.full_name, l.company, (SELECT k.address FROM entrestate.lead_contacts k
        WHERE k.tenant_id = $1 AND k.lead_id = l.lead_id AND k.kind = 'email' AND k.is_primary),
      l.status, l.direction, l.campaign_id, l.owner_id, l.created_at, l.updated_at
    FROM entrestate.leads l
    WHERE l.tenant_id = $1 AND l.lead_id < $2 AND l.merged_into IS NULL %s %s %s %s %s
    ORDER BY l.lead_id DESC LIMIT $3$q$,
    CASE WHEN found IS NOT NULL THEN 'AND l.lead_id = ANY ($4)' END,
    CASE WHEN with_status IS NOT NULL THEN 'AND l.status = $8' END,
    CASE WHEN campaign IS NOT NULL THEN 'AND l.campaign_id = $5' END,
    CASE WHEN owner IS NOT NULL THEN 'AND l.owner_id = $6' END,
    CASE WHEN tag IS NOT NULL THEN 'AND l.lead_id IN (SELECT g.lead_id FROM entrestate.lead_tags g WHERE g.tag = $7 AND g.tenant_id = $1)' END)
  USING t, upto, max_rows, found, campaign, owner, lower(btrim(tag)), with_status;
END
$$;
COMMENT ON FUNCTION lead_search(text, text, uuid, text, text, uuid, integer) IS
'Leads, newest first, whose name, company or addresses have all the words of query (each as the beginning of a word, accents do not matter) or that have this email or phone; and of this status, campaign, tag and owner, where given. before: id of the last one of the page before. Capability: lead.read. Errors: 22023, 54000. (A7)';

CREATE FUNCTION lead_update(lead uuid, full_name text DEFAULT NULL, company text DEFAULT NULL, owner text DEFAULT NULL,
  time_zone text DEFAULT NULL, custom jsonb DEFAULT NULL, grade text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
  c uuid;
BEGIN
  PERFORM entrestate.arg_text('full_name', full_name, 200, 0), entrestate.arg_text('company', company, 200, 0);
  IF time_zone IS NOT NULL AND time_zone <> '' THEN
    PERFORM entrestate.arg_time_zone('time_zone', time_zone);
  END IF;
  IF grade IS NOT NULL THEN
    PERFORM entrestate.arg_choice('grade', grade, ARRAY['A', 'B', 'C']);
  END IF;
  IF owner IS NOT NULL AND owner <> '' AND NOT EXISTS (SELECT FROM entrestate.members m WHERE m.tenant_id = t AND m.user_id = owner) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'owner is not a member of the tenant', NULL, 'Add the user with member_add().');
  END IF;
  UPDATE entrestate.leads l SET
    full_name = CASE WHEN lead_update.full_name IS NULL THEN l.full_name ELSE nullif(btrim(lead_update.full_name), '') END,
    company = CASE WHEN lead_update.company IS NULL THEN l.company ELSE nullif(btrim(lead_update.company), '') END,
    owner_id = CASE WHEN owner IS NULL THEN l.owner_id ELSE nullif(owner, '') END,
    time_zone = CASE WHEN lead_update.time_zone IS NULL THEN l.time_zone ELSE nullif(lead_update.time_zone, '') END,
    custom = entrestate.arg_object('custom', CASE WHEN lead_update.custom IS NULL THEN l.custom
      ELSE jsonb_strip_nulls(l.custom || entrestate.arg_object('custom', lead_update.custom)) END),
    grade = coalesce(lead_update.grade, l.grade), updated_at = entrestate.clock_now()
  WHERE l.tenant_id = t AND l.lead_id = lead RETURNING l.campaign_id INTO c;
  IF full_name IS NOT NULL OR company IS NOT NULL THEN
    PERFORM entrestate.leads_index(t, ARRAY[lead]);
  END IF;
  PERFORM entrestate.activity_add('lead.updated', 'lead', lead::text, c, jsonb_build_object('fields', array_remove(ARRAY[
    CASE WHEN full_name IS NOT NULL THEN 'full_name' END, CASE WHEN company IS NOT NULL THEN 'company' END,
    CASE WHEN owner IS NOT NULL THEN 'owner' END, CASE WHEN time_zone IS NOT NULL THEN 'time_zone' END,
    CASE WHEN custom IS NOT NULL THEN 'custom' END, CASE WHEN grade IS NOT NULL THEN 'grade' END], NULL)));
END
$$;
COMMENT ON FUNCTION lead_update(uuid, text, text, text, text, jsonb, text) IS
'Changes a lead; NULL leaves a field as it is, an empty text clears it. custom is merged into what is there, a null in it removes the key. owner: a member. grade: A, B or C. Capability: lead.update. Errors: P0002, 22004, 22023, 54000, 55000. (A7)';

CREATE FUNCTION lead_status_set(lead uuid, status text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
  was text;
  c uuid;
BEGIN
  PERFORM entrestate.arg_choice('status', status, ARRAY['new', 'enriched', 'drafted', 'approved', 'contacted', 'replied', 'booked', 'lost']);
  SELECT l.status INTO was FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead;
  IF was = lead_status_set.status THEN
    RETURN;
  END IF;
  UPDATE entrestate.leads l SET status = lead_status_set.status, updated_at = entrestate.clock_now()
  WHERE l.tenant_id = t AND l.lead_id = lead RETURNING l.campaign_id INTO c;
  PERFORM entrestate.activity_add('lead.status.updated', 'lead', lead::text, c, jsonb_build_object('from', was, 'to', status));
  IF status IN ('booked', 'lost') THEN
    PERFORM entrestate.sender_brake(t, ARRAY[lead]);
  END IF;
END
$$;
COMMENT ON FUNCTION lead_status_set(uuid, text) IS
'Changes a lead''s status; booked and lost end its runs. The same status again does nothing. Capability: lead.update. Errors: P0002, 22004, 22023, ZE005 for a change that transitions() does not list, 55000. (A7)';

CREATE FUNCTION lead_grade_override(lead uuid, grade text, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.grade');
  c uuid;
BEGIN
  IF grade IS NOT NULL THEN
    PERFORM entrestate.arg_choice('grade', grade, ARRAY['A', 'B', 'C']);
    PERFORM entrestate.arg_text('reason', reason, 500);
  END IF;
  UPDATE entrestate.leads l SET grade_override = lead_grade_override.grade,
    grade_override_reason = CASE WHEN lead_grade_override.grade IS NOT NULL THEN reason END,
    grade_override_by = CASE WHEN lead_grade_override.grade IS NOT NULL THEN entrestate.current_actor() END,
    grade_override_at = CASE WHEN lead_grade_override.grade IS NOT NULL THEN entrestate.clock_now() END,
    updated_at = entrestate.clock_now()
  WHERE l.tenant_id = t AND l.lead_id = lead RETURNING l.campaign_id INTO c;
  PERFORM entrestate.activity_add('lead.score.overridden', 'lead', lead::text, c, jsonb_build_object('grade', grade));
  PERFORM entrestate.audit_add('lead.grade.override', 'lead', lead::text, jsonb_build_object('grade', grade));
END
$$;
COMMENT ON FUNCTION lead_grade_override(uuid, text, text) IS
'Sets a person''s grade (A, B or C) over the given one, with the reason; NULL takes it away. It enters no gate. Capability: lead.grade. Errors: P0002, 22004, 22023, 54000, 55000. (C7)';

-- Contact points, consent, restraint.

CREATE FUNCTION lead_contact_add(lead uuid, kind text, address text, make_primary boolean DEFAULT false,
  country text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.update');
  norm text;
  other uuid;
  first boolean;
BEGIN
  PERFORM entrestate.arg_choice('kind', kind, ARRAY['email', 'phone']);
  norm := entrestate.arg_address(kind, entrestate.arg_text('address', address, 320), t, country);
  PERFORM entrestate.addresses_lock(t, ARRAY[norm]);
  PERFORM entrestate.lead_require(lead, 'lead.update');
  SELECT c.lead_id INTO other FROM entrestate.lead_contacts c
  WHERE c.address_norm = norm AND c.kind = lead_contact_add.kind AND c.tenant_id = t;
  IF other <> lead THEN
    PERFORM entrestate.raise('CONFLICT', 'another lead has this address', format('It is lead %s.', other),
      'If they are the same person, merge them with lead_merge().');
  END IF;
  IF (SELECT count(*) FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = lead) >= 50 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'the lead has too many contact points', 'At most 50 are allowed.');
  END IF;
  first := NOT EXISTS (SELECT FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = lead
    AND c.kind = lead_contact_add.kind AND c.is_primary);
  IF coalesce(make_primary, false) THEN
    UPDATE entrestate.lead_contacts c SET is_primary = false
    WHERE c.tenant_id = t AND c.lead_id = lead AND c.kind = lead_contact_add.kind AND c.is_primary AND c.address_norm <> norm;
  END IF;
  -- a concurrent one waits at the unique index, and is told by it
  INSERT INTO entrestate.lead_contacts AS c (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
  VALUES (t, lead, lead_contact_add.kind, btrim(lead_contact_add.address), norm, first OR coalesce(make_primary, false), entrestate.clock_now())
  ON CONFLICT ON CONSTRAINT lead_contacts_pkey DO UPDATE SET is_primary = c.is_primary OR EXCLUDED.is_primary, unusable_reason = NULL;
  PERFORM entrestate.leads_index(t, ARRAY[lead]);
  PERFORM entrestate.lead_direct(t, lead);
  PERFORM entrestate.activity_add('lead.updated', 'lead', lead::text, NULL, jsonb_build_object('contact', kind));
  RETURN norm;
END
$$;
COMMENT ON FUNCTION lead_contact_add(uuid, text, text, boolean, text) IS
'Adds an email or phone to a lead, or makes one it has the primary one, which the sender uses; the first of its kind is primary. One that had bounced is usable again. Returns it normalised. Capability: lead.update. Errors: P0002, 22004, 22023, 23505 when another lead has it, 54000, 55000. (A7)';

CREATE FUNCTION address_hash(tenant uuid, kind text, address_norm text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256(convert_to(tenant::text || ' ' || kind || ' ' || address_norm, 'UTF8'));
COMMENT ON FUNCTION address_hash(uuid, text, text) IS
'Internal: how past_contacts names an address. (A7)';

CREATE FUNCTION lead_contact_remove(lead uuid, kind text, address text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
  country text := (SELECT s.country FROM entrestate.tenants s WHERE s.tenant_id = t);
  norm text;
BEGIN
  PERFORM entrestate.arg_choice('kind', kind, ARRAY['email', 'phone']);
  DELETE FROM entrestate.lead_contacts c WHERE c.tenant_id = t AND c.lead_id = lead AND c.kind = lead_contact_remove.kind
    AND c.address_norm = coalesce(entrestate.address_norm(lead_contact_remove.kind, lead_contact_remove.address, country), lead_contact_remove.address)
  RETURNING c.address_norm INTO norm;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO entrestate.past_contacts AS p (tenant_id, address_hash, lead_id, removed_at)
  VALUES (t, entrestate.address_hash(t, kind, norm), lead, entrestate.clock_now())
  ON CONFLICT ON CONSTRAINT past_contacts_pkey DO UPDATE SET removed_at = EXCLUDED.removed_at;
  -- the oldest usable one of the kind is the next primary one
  UPDATE entrestate.lead_contacts c SET is_primary = true
  WHERE c.tenant_id = t AND c.lead_id = lead AND c.kind = lead_contact_remove.kind
    AND NOT EXISTS (SELECT FROM entrestate.lead_contacts x WHERE x.tenant_id = t AND x.lead_id = lead AND x.kind = c.kind AND x.is_primary)
    AND c.address_norm = (SELECT x.address_norm FROM entrestate.lead_contacts x WHERE x.tenant_id = t AND x.lead_id = lead
      AND x.kind = c.kind ORDER BY x.unusable_reason IS NOT NULL, x.created_at, x.address_norm LIMIT 1);
  PERFORM entrestate.leads_index(t, ARRAY[lead]);
  PERFORM entrestate.lead_direct(t, lead);
  PERFORM entrestate.activity_add('lead.updated', 'lead', lead::text, NULL, jsonb_build_object('contact', kind));
  RETURN true;
END
$$;
COMMENT ON FUNCTION lead_contact_remove(uuid, text, text) IS
'Removes a contact point; the oldest usable one of its kind becomes primary. Returns whether the lead had it. Capability: lead.update. Errors: P0002, 22004, 22023, 55000. (A7)';

CREATE FUNCTION lead_consent(lead uuid, channel text, granted boolean, source text, given_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.restrain');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_text('source', source, 100);
  IF granted IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'granted is missing');
  ELSIF given_at > entrestate.clock_now() OR NOT isfinite(given_at) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'given_at has not been yet');
  END IF;
  INSERT INTO entrestate.lead_consents AS c (tenant_id, lead_id, channel, recorded_at, status, source, given_at)
  VALUES (t, lead, lead_consent.channel, entrestate.clock_now(), CASE WHEN granted THEN 'granted' ELSE 'withdrawn' END,
    lead_consent.source, coalesce(lead_consent.given_at, entrestate.clock_now()))
  ON CONFLICT ON CONSTRAINT lead_consents_pkey DO UPDATE SET status = EXCLUDED.status, source = EXCLUDED.source, given_at = EXCLUDED.given_at;
  PERFORM entrestate.activity_add(CASE WHEN granted THEN 'lead.consent.granted' ELSE 'lead.consent.withdrawn' END,
    'lead', lead::text, NULL, jsonb_build_object('channel', channel));
END
$$;
COMMENT ON FUNCTION lead_consent(uuid, text, boolean, text, timestamptz) IS
'Records that a lead gave or withdrew consent for a channel, where (source) and when; the last recorded one holds. Also while the tenant is frozen. Capability: lead.restrain. Errors: P0002, 22004, 22023, 54000, 55000. (A7)';

CREATE FUNCTION lead_restrain(tenant uuid, lead uuid, what text) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
  l entrestate.leads;
BEGIN
  SELECT * INTO l FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = lead;
  -- twice is once
  IF (CASE what WHEN 'opted_out' THEN l.opted_out_at WHEN 'complained' THEN l.complained_at ELSE l.erasure_requested_at END) IS NOT NULL THEN
    RETURN;
  END IF;
  UPDATE entrestate.leads x SET updated_at = at,
    opted_out_at = CASE WHEN what = 'opted_out' THEN coalesce(x.opted_out_at, at) ELSE x.opted_out_at END,
    complained_at = CASE WHEN what = 'complained' THEN coalesce(x.complained_at, at) ELSE x.complained_at END,
    erasure_requested_at = CASE WHEN what = 'erasure.requested' THEN coalesce(x.erasure_requested_at, at) ELSE x.erasure_requested_at END
  WHERE x.tenant_id = tenant AND x.lead_id = lead;
  PERFORM entrestate.lead_direct(tenant, lead);
  PERFORM entrestate.activity_add('lead.' || what, 'lead', lead::text, l.campaign_id);
  PERFORM entrestate.audit_add('lead.' || what, 'lead', lead::text, '{}');
  PERFORM entrestate.notification_add(l.owner_id, 'lead.' || what, 'lead', lead::text, l.campaign_id);
  PERFORM entrestate.sender_brake(tenant, ARRAY[lead]);
END
$$;
COMMENT ON FUNCTION lead_restrain(uuid, uuid, text) IS
'Internal: marks a locked lead as opted_out, complained or erasure.requested, tells its owner and ends its runs.';

CREATE FUNCTION lead_opted_out(tenant uuid, lead uuid, channel text, source text, scope text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  used text := coalesce(scope, (SELECT s.opt_out_scope FROM entrestate.tenants s WHERE s.tenant_id = tenant));
BEGIN
  -- the address is kept from being written to whatever becomes of the lead
  INSERT INTO entrestate.suppressions (tenant_id, channel, address_norm, reason, source, created_by, created_at)
  SELECT tenant, h.channel, c.address_norm, 'opt_out', lead_opted_out.source, entrestate.current_actor(), entrestate.clock_now()
  FROM entrestate.lead_contacts c
  JOIN (VALUES ('email', 'email'), ('sms', 'phone'), ('whatsapp', 'phone')) h(channel, kind) ON h.kind = c.kind
  WHERE c.tenant_id = tenant AND c.lead_id = lead AND (used = 'all' OR h.channel = lead_opted_out.channel)
  ON CONFLICT DO NOTHING;
  IF used = 'all' THEN
    PERFORM entrestate.lead_restrain(tenant, lead, 'opted_out');
  ELSE
    PERFORM entrestate.activity_add('lead.channel.opted_out', 'lead', lead::text, NULL, jsonb_build_object('channel', channel));
    PERFORM entrestate.audit_add('lead.channel.opted_out', 'lead', lead::text, jsonb_build_object('channel', channel));
  END IF;
  RETURN used;
END
$$;
COMMENT ON FUNCTION lead_opted_out(uuid, uuid, text, text, text) IS
'Internal: a locked lead opted out by a channel; scope NULL: the tenant''s. Returns the scope.';

CREATE FUNCTION lead_opt_out(lead uuid, channel text, source text DEFAULT 'api', scope text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.restrain');
  used text := coalesce(scope, (SELECT s.opt_out_scope FROM entrestate.tenants s WHERE s.tenant_id = t));
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_choice('scope', used, ARRAY['all', 'channel']);
  PERFORM entrestate.arg_text('source', source, 100);
  RETURN entrestate.lead_opted_out(t, lead, channel, source, used);
END
$$;
COMMENT ON FUNCTION lead_opt_out(uuid, text, text, text) IS
'Records a STOP or an unsubscribe that came by a channel. Scope all (the default of tenants.opt_out_scope): the lead is opted out of every channel, its addresses are suppressed and its runs end in this transaction; scope channel: that channel''s addresses are suppressed. Also while the tenant is frozen; twice is once. Returns the scope. Capability: lead.restrain. Errors: P0002, 22004, 22023, 54000, 55000. (A7, B10)';

CREATE FUNCTION lead_opt_in(lead uuid, channel text, source text DEFAULT 'api') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_text('source', source, 100);
  DELETE FROM entrestate.suppressions s USING entrestate.lead_contacts c
  WHERE c.tenant_id = t AND c.lead_id = lead AND c.kind = CASE lead_opt_in.channel WHEN 'email' THEN 'email' ELSE 'phone' END
    AND s.tenant_id = t AND s.channel = lead_opt_in.channel AND s.address_norm = c.address_norm AND s.reason = 'opt_out';
  UPDATE entrestate.leads l SET opted_out_at = NULL, updated_at = entrestate.clock_now()
  WHERE l.tenant_id = t AND l.lead_id = lead AND l.opted_out_at IS NOT NULL;
  PERFORM entrestate.lead_direct(t, lead);
  PERFORM entrestate.activity_add('lead.opted_in', 'lead', lead::text, NULL, jsonb_build_object('channel', channel));
  PERFORM entrestate.audit_add('lead.opted_in', 'lead', lead::text, jsonb_build_object('channel', channel, 'source', source));
END
$$;
COMMENT ON FUNCTION lead_opt_in(uuid, text, text) IS
'Records a START: the opt-out ends, for the addresses of the channel by which it came; those of the other channels stay suppressed. Runs that ended stay ended, and what suppressed an address for another reason than an opt-out stays. Capability: lead.update. Errors: P0002, 22004, 22023, 54000, 55000. (A7)';

CREATE FUNCTION lead_complain(tenant uuid, lead uuid, channel text, source text) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO entrestate.suppressions AS s (tenant_id, channel, address_norm, reason, source, created_by, created_at)
  SELECT tenant, lead_complain.channel, c.address_norm, 'complaint', lead_complain.source, entrestate.current_actor(), entrestate.clock_now()
  FROM entrestate.lead_contacts c
  WHERE c.tenant_id = tenant AND c.lead_id = lead AND c.kind = CASE lead_complain.channel WHEN 'email' THEN 'email' ELSE 'phone' END
  ON CONFLICT ON CONSTRAINT suppressions_pkey DO UPDATE SET reason = 'complaint' WHERE s.reason <> 'complaint';
  PERFORM entrestate.lead_restrain(tenant, lead, 'complained');
END
$$;
COMMENT ON FUNCTION lead_complain(uuid, uuid, text, text) IS
'Internal: a locked lead complained about a message of a channel.';

CREATE FUNCTION lead_complained(lead uuid, channel text DEFAULT 'email', source text DEFAULT 'api') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.restrain');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_text('source', source, 100);
  PERFORM entrestate.lead_complain(t, lead, channel, source);
END
$$;
COMMENT ON FUNCTION lead_complained(uuid, text, text) IS
'Records that a lead complained about a message: its addresses of the channel are suppressed and its runs end in this transaction. Also while the tenant is frozen. Capability: lead.restrain. Errors: P0002, 22004, 22023, 54000, 55000. (B10)';

CREATE FUNCTION lead_erasure_request(lead uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.restrain');
BEGIN
  PERFORM entrestate.lead_restrain(t, lead, 'erasure.requested');
END
$$;
COMMENT ON FUNCTION lead_erasure_request(uuid) IS
'Records that a lead asked to be erased: its runs end in this transaction. Also while the tenant is frozen. Capability: lead.restrain. Errors: P0002, 22004, 55000. (E11)';

CREATE FUNCTION lead_bounce(tenant uuid, lead uuid, channel text, norm text, hard boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  k text := CASE channel WHEN 'email' THEN 'email' ELSE 'phone' END;
BEGIN
  IF NOT EXISTS (SELECT FROM entrestate.lead_contacts c WHERE c.tenant_id = tenant AND c.lead_id = lead AND c.kind = k AND c.address_norm = norm) THEN
    RETURN false;
  END IF;
  PERFORM entrestate.activity_add('lead.bounced', 'lead', lead::text, NULL, jsonb_build_object('channel', channel, 'hard', coalesce(hard, false)));
  IF coalesce(hard, false) THEN
    UPDATE entrestate.lead_contacts c SET unusable_reason = 'hard_bounce'
    WHERE c.tenant_id = tenant AND c.lead_id = lead AND c.kind = k AND c.address_norm = norm;
    INSERT INTO entrestate.suppressions (tenant_id, channel, address_norm, reason, source, created_by, created_at)
    VALUES (tenant, lead_bounce.channel, norm, 'hard_bounce', NULL, entrestate.current_actor(), entrestate.clock_now())
    ON CONFLICT DO NOTHING;
    PERFORM entrestate.lead_direct(tenant, lead);
  END IF;
  RETURN true;
END
$$;
COMMENT ON FUNCTION lead_bounce(uuid, uuid, text, text, boolean) IS
'Internal: a message to a normalised address of a locked lead bounced; false: the lead does not have it.';

CREATE FUNCTION lead_bounced(lead uuid, channel text, address text, hard boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.restrain');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  RETURN entrestate.lead_bounce(t, lead, channel, entrestate.arg_address(CASE channel WHEN 'email' THEN 'email' ELSE 'phone' END,
    entrestate.arg_text('address', address, 320), t, NULL), hard);
END
$$;
COMMENT ON FUNCTION lead_bounced(uuid, text, text, boolean) IS
'Records that a message to an address of a lead bounced; a hard bounce makes the address unusable and suppressed. Returns whether the lead has the address. Also while the tenant is frozen. Capability: lead.restrain. Errors: P0002, 22004, 22023, 54000, 55000. (B5, B9)';

CREATE FUNCTION suppression_add(channel text, address text, reason text DEFAULT 'manual') RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.restrain');
  norm text;
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_choice('reason', reason, ARRAY['opt_out', 'complaint', 'hard_bounce', 'manual']);
  norm := entrestate.arg_address(CASE channel WHEN 'email' THEN 'email' ELSE 'phone' END, entrestate.arg_text('address', address, 320), t, NULL);
  -- nobody gives it to a lead meanwhile
  PERFORM entrestate.addresses_lock(t, ARRAY[norm]);
  -- the lead that has the address: what is about to be decided for it waits, or
  -- is waited for
  PERFORM FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id IN (SELECT c.lead_id FROM entrestate.lead_contacts c
    WHERE c.address_norm = norm AND c.tenant_id = t AND c.kind = CASE suppression_add.channel WHEN 'email' THEN 'email' ELSE 'phone' END)
  FOR NO KEY UPDATE;
  INSERT INTO entrestate.suppressions (tenant_id, channel, address_norm, reason, source, created_by, created_at)
  VALUES (t, suppression_add.channel, norm, suppression_add.reason, 'api', entrestate.current_actor(), entrestate.clock_now())
  ON CONFLICT DO NOTHING;
  IF FOUND THEN
    PERFORM entrestate.audit_add('suppression.add', 'channel', channel, jsonb_build_object('reason', reason));
  END IF;
  RETURN FOUND;
END
$$;
COMMENT ON FUNCTION suppression_add(text, text, text) IS
'Puts an address on the suppression list of a channel: it is not written to, whichever lead has it. Returns false when it is there already. Also while the tenant is frozen. Capability: lead.restrain. Errors: 22004, 22023, 54000. (A7)';

CREATE FUNCTION suppression_remove(channel text, address text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
  norm text;
  was text;
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  norm := entrestate.arg_address(CASE channel WHEN 'email' THEN 'email' ELSE 'phone' END, entrestate.arg_text('address', address, 320), t, NULL);
  DELETE FROM entrestate.suppressions s
  WHERE s.tenant_id = t AND s.channel = suppression_remove.channel AND s.address_norm = norm RETURNING s.reason INTO was;
  IF FOUND THEN
    PERFORM entrestate.audit_add('suppression.remove', 'channel', channel, jsonb_build_object('reason', was));
  END IF;
  RETURN was IS NOT NULL;
END
$$;
COMMENT ON FUNCTION suppression_remove(text, text) IS
'Takes an address off the suppression list of a channel; audited. Returns whether it was on it. Capability: safety.manage. Errors: 22004, 22023, 54000. (A7)';

CREATE FUNCTION suppression_list(channel text, after text DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (address text, reason text, source text, created_by text, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  from_address text := coalesce(after, '');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT s.address_norm, s.reason, s.source, s.created_by, s.created_at FROM entrestate.suppressions s
  WHERE s.tenant_id = t AND s.channel = suppression_list.channel AND s.address_norm > from_address COLLATE "C"
  ORDER BY s.tenant_id, s.channel, s.address_norm LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION suppression_list(text, text, integer) IS
'The suppressed addresses of a channel, in order; after: the last one of the page before. Capability: lead.read. Errors: 22004, 22023. (A7)';

-- Notes and tags.

CREATE FUNCTION lead_note_add(lead uuid, body text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
  n uuid := entrestate.uuid_v7();
BEGIN
  INSERT INTO entrestate.leads_notes (tenant_id, lead_id, note_id, body, author, created_at)
  VALUES (t, lead, n, entrestate.arg_text('body', lead_note_add.body, 10000), entrestate.current_actor(), entrestate.clock_now());
  PERFORM entrestate.activity_add('lead.note.added', 'lead', lead::text, NULL, jsonb_build_object('noteId', n));
  RETURN n;
END
$$;
COMMENT ON FUNCTION lead_note_add(uuid, text) IS
'Adds a note to a lead; returns its id. Capability: lead.update. Errors: P0002, 22004, 22023, 54000, 55000. (A7)';

CREATE FUNCTION lead_notes(lead uuid, before uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (note_id uuid, body text, author text, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  upto uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT n.note_id, n.body, n.author, n.created_at FROM entrestate.leads_notes n
  WHERE n.tenant_id = t AND n.lead_id = lead AND n.note_id < upto
  ORDER BY n.tenant_id DESC, n.lead_id DESC, n.note_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION lead_notes(uuid, uuid, integer) IS
'A lead''s notes, newest first; before: id of the last one of the page before. Capability: lead.read. Errors: 22023. (A7)';

CREATE FUNCTION lead_tag(lead uuid, tags text[], remove boolean DEFAULT false) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'lead.update');
  g text;
BEGIN
  IF tags IS NULL OR cardinality(tags) = 0 THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'tags is missing');
  END IF;
  FOREACH g IN ARRAY tags LOOP
    g := lower(btrim(entrestate.arg_text('tags', g, 50)));
    IF coalesce(remove, false) THEN
      DELETE FROM entrestate.lead_tags x WHERE x.tenant_id = t AND x.lead_id = lead AND x.tag = g;
    ELSE
      INSERT INTO entrestate.lead_tags (tenant_id, lead_id, tag) VALUES (t, lead, g) ON CONFLICT DO NOTHING;
    END IF;
  END LOOP;
  tags := ARRAY(SELECT x.tag FROM entrestate.lead_tags x WHERE x.tenant_id = t AND x.lead_id = lead ORDER BY x.tag);
  IF cardinality(tags) > 100 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'the lead has too many tags', 'At most 100 are allowed.');
  END IF;
  PERFORM entrestate.activity_add('lead.updated', 'lead', lead::text, NULL, '{"fields": ["tags"]}');
  RETURN tags;
END
$$;
COMMENT ON FUNCTION lead_tag(uuid, text[], boolean) IS
'Adds tags to a lead, or removes them; returns the lead''s tags. Tags are in lower case, at most 50 characters, at most 100 a lead. Capability: lead.update. Errors: P0002, 22004, 22023, 54000, 55000. (A7)';

-- Merge of duplicates.

CREATE FUNCTION lead_merge(duplicate uuid, survivor uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.merge');
  at timestamptz := entrestate.clock_now();
  d entrestate.leads;
  s entrestate.leads;
  p jsonb;
  k smallint[];
  a timestamptz[];
  total integer;
  threshold integer;
  turned boolean;
  n integer;
BEGIN
  IF duplicate IS NULL OR survivor IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'duplicate and survivor are needed');
  ELSIF duplicate = survivor THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'a lead cannot be merged into itself');
  END IF;
  -- what is merged already is not locked: whoever merges on has it
  SELECT * INTO d FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = duplicate;
  SELECT * INTO s FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = survivor;
  IF d.merged_into = survivor AND s.merged_into IS NULL THEN
    RETURN false;
  ELSIF d.merged_into IS NOT NULL OR s.merged_into IS NOT NULL THEN
    PERFORM entrestate.raise('WRONG_STATE', format('%s was merged into another lead', CASE WHEN d.merged_into IS NOT NULL THEN 'duplicate' ELSE 'survivor' END),
      format('It is %s now.', coalesce(d.merged_into, s.merged_into)), 'Use that lead''s id.');
  END IF;
  -- Lock order: lead_scores, leads, each in order of ids. Both get a row of
  -- scores, so that a signal that comes meanwhile finds where to go; one that
  -- is there is locked in its turn.
  INSERT INTO entrestate.lead_scores (tenant_id, lead_id, score, score_at, settings_version, signal_count, counted_kinds, counted_at, seen)
  SELECT t, x.lead_id, 0, at, 0, 0, '{}', '{}', '{}' FROM entrestate.leads x
  WHERE x.tenant_id = t AND x.lead_id IN (duplicate, survivor) ORDER BY x.lead_id
  ON CONFLICT ON CONSTRAINT lead_scores_pkey DO UPDATE SET score = EXCLUDED.score WHERE false;
  PERFORM FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id IN (duplicate, survivor) ORDER BY x.lead_id FOR NO KEY UPDATE;
  SELECT * INTO d FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = duplicate;
  SELECT * INTO s FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = survivor;
  IF d.lead_id IS NULL OR s.lead_id IS NULL THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  ELSIF d.merged_into = survivor THEN
    RETURN false;
  ELSIF d.merged_into IS NOT NULL OR s.merged_into IS NOT NULL THEN
    PERFORM entrestate.raise('WRONG_STATE', format('%s was merged into another lead', CASE WHEN d.merged_into IS NOT NULL THEN 'duplicate' ELSE 'survivor' END),
      format('It is %s now.', coalesce(d.merged_into, s.merged_into)), 'Use that lead''s id.');
  END IF;

  -- what the duplicate has moves; what it has in common stays with the survivor
  UPDATE entrestate.lead_contacts c SET lead_id = survivor, is_primary = c.is_primary AND NOT EXISTS (
      SELECT FROM entrestate.lead_contacts x WHERE x.tenant_id = t AND x.lead_id = survivor AND x.kind = c.kind AND x.is_primary)
  WHERE c.tenant_id = t AND c.lead_id = duplicate;
  INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at, form, landing_page, referrer, utm, click_ids, resolved_by, imported, unable)
  SELECT t, survivor, x.campaign_id, x.attributed_at, x.form, x.landing_page, x.referrer, x.utm, x.click_ids, x.resolved_by, x.imported, false
  FROM entrestate.lead_attributions x WHERE x.tenant_id = t AND x.lead_id = duplicate
  ON CONFLICT DO NOTHING;
  UPDATE entrestate.unresolved_attributions x SET lead_id = survivor WHERE x.tenant_id = t AND x.lead_id = duplicate;
  UPDATE entrestate.leads_notes x SET lead_id = survivor WHERE x.tenant_id = t AND x.lead_id = duplicate;
  INSERT INTO entrestate.lead_tags (tenant_id, lead_id, tag)
  SELECT t, survivor, x.tag FROM entrestate.lead_tags x WHERE x.tenant_id = t AND x.lead_id = duplicate ON CONFLICT DO NOTHING;
  DELETE FROM entrestate.lead_tags x WHERE x.tenant_id = t AND x.lead_id = duplicate;
  -- consent: withdrawn is the stricter
  WITH now_is AS (
    SELECT DISTINCT ON (c.lead_id, c.channel) c.* FROM entrestate.lead_consents c
    WHERE c.tenant_id = t AND c.lead_id IN (duplicate, survivor) ORDER BY c.lead_id, c.channel, c.recorded_at DESC
  ), stricter AS (
    SELECT DISTINCT ON (c.channel) c.* FROM now_is c ORDER BY c.channel, c.status = 'withdrawn' DESC, c.recorded_at DESC)
  INSERT INTO entrestate.lead_consents AS x (tenant_id, lead_id, channel, recorded_at, status, source, given_at)
  SELECT t, survivor, c.channel, at, c.status, c.source, c.given_at FROM stricter c
  WHERE c.lead_id = duplicate
  ON CONFLICT ON CONSTRAINT lead_consents_pkey DO UPDATE SET status = EXCLUDED.status, source = EXCLUDED.source, given_at = EXCLUDED.given_at;

  -- tickets: one that is open stays open; of two, the duplicate's is resolved
  UPDATE entrestate.handoff_tickets h SET status = 'resolved', resolved_by = entrestate.current_actor(), resolved_at = at, outcome = 'merged'
  WHERE h.tenant_id = t AND h.lead_id = duplicate AND h.status <> 'resolved' AND s.handoff_open;
  UPDATE entrestate.handoff_tickets h SET lead_id = survivor WHERE h.tenant_id = t AND h.lead_id = duplicate;

  -- the signals of both make the survivor's score
  p := entrestate.score_settings_of(t);
  SELECT array_agg(u.k ORDER BY u.a, u.k), array_agg(u.a ORDER BY u.a, u.k) INTO k, a FROM (
    SELECT v.k, v.a FROM entrestate.lead_scores x CROSS JOIN LATERAL unnest(x.counted_kinds, x.counted_at) AS v(k, a)
    WHERE x.tenant_id = t AND x.lead_id IN (duplicate, survivor) AND v.a > at - make_interval(secs => (p ->> 'windowSeconds')::bigint)
    ORDER BY v.a DESC, v.k DESC LIMIT 1000) u;
  total := entrestate.score_of(ARRAY(SELECT (p -> 'weights' ->> g.name)::integer FROM entrestate.signal_kinds() g WHERE g.code < 9 ORDER BY g.code),
    (p ->> 'windowSeconds')::bigint * 1000000, coalesce(k, '{}'), coalesce(a, '{}'), at);
  threshold := least((p ->> 'hotThreshold')::integer, (SELECT min(c.hot_threshold) FROM entrestate.lead_attributions x
    JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = x.campaign_id
    WHERE x.tenant_id = t AND x.lead_id = survivor AND c.status IN ('draft', 'active', 'paused')));
  turned := d.hot_at IS NULL AND s.hot_at IS NULL AND total >= threshold;
  UPDATE entrestate.lead_scores x SET score = total, score_at = at, settings_version = (p ->> 'version')::integer,
    last_signal_at = greatest(x.last_signal_at, y.last_signal_at), signal_count = x.signal_count + 1,
    expires_at = a[1] + make_interval(secs => (p ->> 'windowSeconds')::bigint),
    counted_kinds = coalesce(k, '{}'), counted_at = coalesce(a, '{}'), seen = (y.seen || x.seen)[greatest(1, cardinality(y.seen || x.seen) - 1999):]
  FROM entrestate.lead_scores y
  WHERE x.tenant_id = t AND x.lead_id = survivor AND y.tenant_id = t AND y.lead_id = duplicate
  RETURNING x.signal_count INTO n;
  INSERT INTO entrestate.intent_signals (tenant_id, lead_id, recorded_at, signal_no, occurred_at, kind, score, settings_version, counted, hot, reference)
  SELECT t, survivor, at, n, at, g.code, total, (p ->> 'version')::integer, false, turned OR d.hot_at IS NOT NULL AND s.hot_at IS NULL, duplicate
  FROM entrestate.signal_kinds() g WHERE g.name = 'merged';
  UPDATE entrestate.lead_scores x SET score = 0, score_at = at, expires_at = NULL, counted_kinds = '{}', counted_at = '{}', seen = '{}', merged_into = survivor
  WHERE x.tenant_id = t AND x.lead_id = duplicate;

  -- the stricter state wins
  UPDATE entrestate.leads x SET
    opted_out_at = least(s.opted_out_at, d.opted_out_at), complained_at = least(s.complained_at, d.complained_at),
    erasure_requested_at = least(s.erasure_requested_at, d.erasure_requested_at), replied_at = greatest(s.replied_at, d.replied_at),
    hot_at = least(s.hot_at, d.hot_at, CASE WHEN turned THEN at END),
    handoff_at = greatest(s.handoff_at, d.handoff_at), handoff_open = s.handoff_open OR d.handoff_open,
    status = CASE WHEN s.status IN ('booked', 'lost') OR d.status NOT IN ('booked', 'lost') THEN s.status ELSE d.status END,
    full_name = coalesce(s.full_name, d.full_name), company = coalesce(s.company, d.company), owner_id = coalesce(s.owner_id, d.owner_id),
    time_zone = coalesce(s.time_zone, d.time_zone), campaign_id = coalesce(s.campaign_id, d.campaign_id), grade = coalesce(s.grade, d.grade),
    custom = d.custom || s.custom, created_at = least(s.created_at, d.created_at), updated_at = at
  WHERE x.tenant_id = t AND x.lead_id = survivor;
  UPDATE entrestate.leads x SET merged_into = survivor, handoff_at = NULL, handoff_open = false, updated_at = at
  WHERE x.tenant_id = t AND x.lead_id = duplicate;
  -- Those that were merged into the duplicate before. Not in lead_scores: a
  -- signal that waited there goes on to the duplicate's, and would wait in a circle.
  UPDATE entrestate.leads x SET merged_into = survivor WHERE x.merged_into = duplicate AND x.tenant_id = t;
  DELETE FROM entrestate.lead_texts x WHERE x.tenant_id = t AND x.lead_id = duplicate;
  PERFORM entrestate.leads_index(t, ARRAY[survivor]);
  PERFORM entrestate.lead_direct(t, survivor);
  PERFORM entrestate.activity_add('lead.merged', 'lead', survivor::text, coalesce(s.campaign_id, d.campaign_id), jsonb_build_object('duplicate', duplicate));
  PERFORM entrestate.audit_add('lead.merge', 'lead', survivor::text, jsonb_build_object('duplicate', duplicate));
  IF turned THEN
    INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id)
    VALUES (t, at, entrestate.uuid_v7(), 'lead.hot', coalesce(s.campaign_id, d.campaign_id), survivor);
    PERFORM entrestate.notification_add(coalesce(s.owner_id, d.owner_id), 'lead.hot', 'lead', survivor::text, coalesce(s.campaign_id, d.campaign_id));
  END IF;
  PERFORM entrestate.sender_brake(t, ARRAY[duplicate, survivor]);
  RETURN true;
END
$$;
COMMENT ON FUNCTION lead_merge(uuid, uuid) IS
'Merges a duplicate into the lead that stays: contact points, attributions, notes, tags, tickets and signals are the survivor''s, the stricter state of the two wins (opted out, complained, hot, handoff, booked, lost, consent withdrawn), and the duplicate''s id is an alias from now on. The duplicate''s runs end (merged), and the survivor''s where its state asks for it. Again is false. Capability: lead.merge. Errors: P0002, 22004, 22023, 55000. (A7)';

-- Import.

CREATE TYPE import_row AS (
  row_no integer, reason text, full_name text, company text, kinds text[], addresses text[], norms text[],
  key text, custom jsonb, time_zone text, campaign_id uuid, attribution jsonb, resolved_by text, candidates uuid[], arrived_at timestamptz,
  lead_id uuid, is_new boolean
);
COMMENT ON TYPE import_row IS 'Internal: a row of an import on its way.';

CREATE FUNCTION import_instant(value text, zone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session. What the patterns let through is an
-- instant: an exception block for each row of an import would cost too much.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF value !~ '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ](([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?|24:00(:00(\.0{1,6})?)?)( ?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?))?)?$'
    OR value ~ '^\d{4}-(02-3|(04|06|09|11)-31)' OR value < '0001'
    OR value ~ '^\d{4}-02-29' AND NOT (left(value, 4)::integer % 4 = 0 AND (left(value, 4)::integer % 100 <> 0 OR left(value, 4)::integer % 400 = 0)) THEN
    RETURN NULL;
  ELSIF value ~ ':.*(Z|[+-]\d{2}(:?\d{2})?)$' THEN
    RETURN value::timestamptz;
  END IF;
  RETURN value::timestamp AT TIME ZONE zone;
END
$$;
COMMENT ON FUNCTION import_instant(text, text) IS
'Internal: an ISO 8601 date or instant, in a zone where it names none; NULL when it is none.';

CREATE FUNCTION import_attribution(attribution jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: what is none is NULL, not an error.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- what is short and simple is right; whatever is not is looked at closely
  IF octet_length(attribution::text) <= 255 AND attribution::text !~ '\\' AND jsonb_typeof(attribution) = 'object'
    AND attribution - '{form,landing_page,referrer,utm,click_ids}'::text[] = '{}'
    AND coalesce(jsonb_typeof(attribution -> 'utm') = 'object', true) AND coalesce(jsonb_typeof(attribution -> 'click_ids') = 'object', true) THEN
    RETURN jsonb_strip_nulls(attribution);
  END IF;
  RETURN entrestate.arg_attribution(attribution);
EXCEPTION WHEN SQLSTATE '22023' OR SQLSTATE '54000' THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION import_attribution(jsonb) IS
'Internal: arg_attribution(), NULL where that raises.';

CREATE FUNCTION import_check(tenant uuid, rows jsonb[], row_nos integer[], problems text[], zone text, country text, campaign uuid)
RETURNS SETOF import_row
LANGUAGE plpgsql STABLE
-- All rows at once. OFFSET 0 keeps what is made in one step from being made
-- again in each of the next; the one join by value is no nested loop.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_nestloop = off SET enable_seqscan = off SET jit = off AS $$
BEGIN
  RETURN QUERY
  WITH checked AS MATERIALIZED (
    SELECT u.o, u.no, coalesce(p.reason, d.reason, CASE
        WHEN i.arrived IS NOT NULL AND (i.at IS NULL OR i.at > entrestate.clock_now() OR i.at < '1970-01-01Z') THEN 'invalid_arrived_at'
        WHEN i.named IS NOT NULL AND k.campaign_id IS NULL THEN 'unknown_campaign'
        WHEN i.said IS NOT NULL AND i.attribution IS NULL THEN 'invalid_attribution' END) AS reason,
      f.full_name, f.company, d.kinds, d.addresses, d.norms, f.key, f.custom, f.time_zone,
      coalesce(k.campaign_id, campaign) AS campaign_id, i.attribution, i.at
    FROM unnest(rows, row_nos, problems) WITH ORDINALITY AS u(r, no, problem, o)
    CROSS JOIN LATERAL (
      SELECT nullif(btrim(u.r ->> 'full_name'), '') AS full_name, nullif(btrim(u.r ->> 'company'), '') AS company,
        nullif(u.r ->> 'idempotency_key', '') AS key, nullif(btrim(u.r ->> 'time_zone'), '') AS time_zone,
        coalesce(upper(nullif(btrim(u.r ->> 'country'), '')), import_check.country) AS country,
        nullif(u.r -> 'custom', 'null') AS given, nullif(u.r -> 'attribution', 'null') AS attribution,
        -- the tenant's own fields
        CASE WHEN jsonb_typeof(u.r) <> 'object' THEN NULL
          WHEN u.r - '{full_name,company,email,phone,country,idempotency_key,custom,time_zone,campaign,attribution,arrived_at}'::text[] = '{}' THEN '{}'
          ELSE (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
                FROM jsonb_each(u.r - '{full_name,company,email,phone,country,idempotency_key,custom,time_zone,campaign,attribution,arrived_at}'::text[]) e
                WHERE e.value <> 'null') END AS own
      OFFSET 0) v
    CROSS JOIN LATERAL (
      SELECT v.full_name, v.company, v.key, v.time_zone,
        CASE WHEN jsonb_typeof(v.given) = 'object' THEN v.given || v.own ELSE v.own END AS custom OFFSET 0) f
    CROSS JOIN LATERAL (
      SELECT coalesce(u.problem, CASE
        WHEN jsonb_typeof(u.r) IS DISTINCT FROM 'object' THEN 'not_an_object'
        WHEN jsonb_typeof(v.given) <> 'object' THEN 'custom_not_an_object'
        WHEN jsonb_typeof(v.attribution) <> 'object' THEN 'attribution_not_an_object'
        WHEN jsonb_typeof(u.r -> 'full_name') IN ('object', 'array') THEN 'full_name_not_a_text'
        WHEN jsonb_typeof(u.r -> 'company') IN ('object', 'array') THEN 'company_not_a_text'
        WHEN jsonb_typeof(u.r -> 'email') = 'object' THEN 'email_not_a_text'
        WHEN jsonb_typeof(u.r -> 'phone') = 'object' THEN 'phone_not_a_text'
        WHEN jsonb_typeof(u.r -> 'country') IN ('object', 'array') THEN 'country_not_a_text'
        WHEN jsonb_typeof(u.r -> 'idempotency_key') IN ('object', 'array') THEN 'idempotency_key_not_a_text'
        WHEN jsonb_typeof(u.r -> 'time_zone') IN ('object', 'array') THEN 'time_zone_not_a_text'
        WHEN jsonb_typeof(u.r -> 'campaign') IN ('object', 'array') THEN 'campaign_not_a_text'
        WHEN jsonb_typeof(u.r -> 'arrived_at') IN ('object', 'array') THEN 'arrived_at_not_a_text'
        WHEN char_length(v.full_name) > 200 THEN 'full_name_too_long' WHEN char_length(v.company) > 200 THEN 'company_too_long'
        WHEN octet_length(v.key) > 250 THEN 'idempotency_key_too_long'
        WHEN concat_ws(' ', v.full_name, v.company, v.key) ~ '[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]' THEN 'control_characters'
        WHEN f.custom <> '{}' AND EXISTS (SELECT FROM jsonb_object_keys(f.custom) c WHERE char_length(c) > 100) THEN 'custom_name_too_long'
        WHEN pg_column_size(f.custom) > 65536 THEN 'custom_too_large'
        WHEN f.custom::text ~ '\\u0001' OR v.attribution::text ~ '\\u0001' THEN 'control_characters'
        WHEN v.time_zone IS NOT NULL AND NOT (v.time_zone ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' AND entrestate.zone_known(v.time_zone) OR v.time_zone = 'UTC') THEN 'invalid_time_zone'
        WHEN v.country !~ '^[A-Z]{2}$' THEN 'invalid_country' END) AS reason
      OFFSET 0) p
    CROSS JOIN LATERAL (
      SELECT array_agg(a.kind) AS kinds, array_agg(a.address) AS addresses, array_agg(a.norm) AS norms, CASE
          WHEN count(*) FILTER (WHERE a.kind = 'email') > 20 THEN 'too_many_emails'
          WHEN count(*) FILTER (WHERE a.kind = 'phone') > 20 THEN 'too_many_phones'
          WHEN bool_or(a.kind = 'email' AND a.norm IS NULL) THEN 'invalid_email'
          WHEN bool_or(a.kind = 'phone' AND a.norm IS NULL) THEN 'invalid_phone'
          WHEN count(*) = 0 AND v.full_name IS NULL AND v.key IS NULL THEN 'nothing_to_know_it_by' END AS reason
      FROM (SELECT b.kind, b.address, CASE WHEN octet_length(b.address) > 320 THEN NULL
              WHEN b.kind = 'email' THEN entrestate.email_normalise(b.address) ELSE entrestate.phone_normalise(b.address, v.country) END AS norm
            FROM (SELECT 'email' AS kind, btrim(e) AS address
                  FROM jsonb_array_elements_text(CASE jsonb_typeof(u.r -> 'email') WHEN 'array' THEN u.r -> 'email' ELSE jsonb_build_array(u.r -> 'email') END) e
                  UNION ALL
                  SELECT 'phone', btrim(e)
                  FROM jsonb_array_elements_text(CASE jsonb_typeof(u.r -> 'phone') WHEN 'array' THEN u.r -> 'phone' ELSE jsonb_build_array(u.r -> 'phone') END) e) b
            WHERE b.address <> '' AND p.reason IS NULL OFFSET 0) a
      OFFSET 0) d
    CROSS JOIN LATERAL (
      SELECT z.*, CASE WHEN z.arrived IS NOT NULL THEN entrestate.import_instant(z.arrived, coalesce(v.time_zone, zone)) END AS at,
        CASE WHEN z.said IS NOT NULL THEN entrestate.import_attribution(z.said) END AS attribution
      FROM (SELECT nullif(btrim(u.r ->> 'arrived_at'), '') AS arrived, v.attribution AS said,
              coalesce(nullif(btrim(u.r ->> 'campaign'), ''), v.attribution ->> 'campaign_id') AS named
            WHERE p.reason IS NULL AND d.reason IS NULL
            UNION ALL
            SELECT NULL, NULL, NULL WHERE p.reason IS NOT NULL OR d.reason IS NOT NULL) z
      OFFSET 0) i
    LEFT JOIN LATERAL (
      SELECT c.campaign_id FROM entrestate.campaigns c
      WHERE i.named IS NOT NULL AND c.tenant_id = tenant
        AND c.campaign_id = CASE WHEN i.named ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN i.named::uuid END OFFSET 0) k ON true
  ), said AS MATERIALIZED (
    -- many came the same way
    SELECT array_agg(DISTINCT c.attribution) AS ways FROM checked c
    WHERE c.reason IS NULL AND c.campaign_id IS NULL AND c.attribution <> '{}'
  ), way AS MATERIALIZED (
    SELECT s.ways[r.no] AS attribution, r.campaign_id, r.resolved_by, r.candidates
    FROM said s CROSS JOIN LATERAL entrestate.campaigns_resolve(tenant, s.ways) r
  )
  SELECT c.no, c.reason, c.full_name, c.company, c.kinds, c.addresses, c.norms, c.key, c.custom, c.time_zone,
    coalesce(c.campaign_id, w.campaign_id), c.attribution, CASE WHEN c.campaign_id IS NULL THEN w.resolved_by ELSE 'campaign_id' END,
    CASE WHEN c.campaign_id IS NULL AND w.campaign_id IS NULL THEN w.candidates END, c.at, NULL::uuid, false
  FROM checked c LEFT JOIN way w ON c.campaign_id IS NULL AND c.attribution = w.attribution
  ORDER BY c.o;
END
$$;
COMMENT ON FUNCTION import_check(uuid, jsonb[], integer[], text[], text, text, uuid) IS
'Internal: reads the rows of an import; a row''s reason says why it is refused.';

CREATE FUNCTION lead_import_rows(t uuid, rows jsonb[], row_nos integer[], problems text[], campaign uuid, source text, country text)
RETURNS TABLE (import_id uuid, row_no integer, outcome text, lead_id uuid, reason text)
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: the rows are read as a set, placed one after the other in memory,
-- and written as a set. Every row of a table is looked up by its key, whatever
-- the statistics say.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
DECLARE
  this uuid := entrestate.uuid_v7();
  at timestamptz := entrestate.clock_now();
  checked entrestate.import_row[];
  -- What rows are known by, in their order: a key, addresses. Equal ones have
  -- one number, and owner says whose it is.
  known_row integer[];
  known_number integer[];
  known_kind text[];
  known_address text[];
  known_norm text[];
  known_given uuid[];
  known_old boolean[];
  owner uuid[];
  old_owner boolean[];
  who uuid;
  fresh boolean;
  old boolean;
  first integer;
  n integer;
  new_leads uuid[];
  old_leads uuid[];
  at_lead uuid[];
  at_campaign uuid[];
BEGIN
  -- nobody else gives a lead of the tenant an address or key until we commit
  PERFORM entrestate.addresses_lock(t, NULL);
  SELECT array_agg(x) INTO checked FROM entrestate.tenants s
  CROSS JOIN LATERAL entrestate.import_check(t, rows, row_nos, problems, s.time_zone, coalesce(lead_import_rows.country, s.country), campaign) x
  WHERE s.tenant_id = t;
  LOOP
    WITH known AS MATERIALIZED (
      SELECT x.o, 0 AS p, 'key' AS kind, NULL AS address, x.key AS norm FROM unnest(checked) WITH ORDINALITY AS x(row_no, reason, full_name,
        company, kinds, addresses, norms, key, custom, time_zone, campaign_id, attribution, resolved_by, candidates, arrived_at, lead_id, is_new, o)
      WHERE x.reason IS NULL AND x.key IS NOT NULL
      UNION ALL
      SELECT x.o, a.p, a.kind, a.address, a.norm FROM unnest(checked) WITH ORDINALITY AS x(row_no, reason, full_name,
        company, kinds, addresses, norms, key, custom, time_zone, campaign_id, attribution, resolved_by, candidates, arrived_at, lead_id, is_new, o)
      CROSS JOIN LATERAL unnest(x.kinds, x.addresses, x.norms) WITH ORDINALITY AS a(kind, address, norm, p)
      WHERE x.reason IS NULL
    ), numbered AS MATERIALIZED (
      SELECT k.*, dense_rank() OVER (ORDER BY k.kind COLLATE "C", k.norm COLLATE "C") AS number FROM known k
    )
    SELECT k.o, k.number, k.kind, k.address, k.norm, d.owner, d.old
    INTO known_row, known_number, known_kind, known_address, known_norm, owner, old_owner
    FROM (SELECT array_agg(m.o ORDER BY m.o, m.p) AS o, array_agg(m.number ORDER BY m.o, m.p) AS number, array_agg(m.kind ORDER BY m.o, m.p) AS kind,
            array_agg(m.address ORDER BY m.o, m.p) AS address, array_agg(m.norm ORDER BY m.o, m.p) AS norm FROM numbered m) k
    CROSS JOIN (SELECT array_agg(f.lead ORDER BY f.number) AS owner, array_agg(f.lead IS NOT NULL ORDER BY f.number) AS old
      FROM (SELECT e.number, CASE e.kind
          WHEN 'key' THEN (SELECT coalesce(l.merged_into, l.lead_id) FROM entrestate.leads l WHERE l.idempotency_key = e.norm AND l.tenant_id = t)
          ELSE (SELECT c.lead_id FROM entrestate.lead_contacts c WHERE c.address_norm = e.norm AND c.kind = e.kind AND c.tenant_id = t) END AS lead
        FROM (SELECT DISTINCT m.number, m.kind, m.norm FROM numbered m) e OFFSET 0) f) d;
    known_given := array_fill(NULL::uuid, ARRAY[coalesce(cardinality(known_row), 0)]);
    known_old := array_fill(false, ARRAY[coalesce(cardinality(known_row), 0)]);
    -- A row is the lead of the first thing it is known by that is somebody's;
    -- the rest of its addresses, as far as nobody has them, go to that lead.
    n := 1;
    FOR i IN 1 .. cardinality(checked) LOOP
      CONTINUE WHEN checked[i].reason IS NOT NULL;
      first := n;
      who := NULL;
      WHILE known_row[n] = i LOOP
        IF who IS NULL THEN
          who := owner[known_number[n]];
          old := old_owner[known_number[n]];
        END IF;
        n := n + 1;
      END LOOP;
      fresh := who IS NULL;
      IF fresh THEN
        who := entrestate.uuid_v7();
        old := false;
      END IF;
      checked[i].lead_id := who;
      checked[i].is_new := fresh;
      FOR k IN first .. n - 1 LOOP
        IF owner[known_number[k]] IS NULL AND (fresh OR known_kind[k] <> 'key') THEN
          owner[known_number[k]] := who;
          old_owner[known_number[k]] := old;
          known_given[k] := who;
          known_old[k] := old;
        END IF;
      END LOOP;
    END LOOP;
    new_leads := ARRAY(SELECT x.lead_id FROM unnest(checked) x WHERE x.is_new);
    -- leads that were there and get something
    old_leads := ARRAY(
      SELECT u.id FROM unnest(known_given, known_old) AS u(id, old) WHERE u.old
      UNION
      SELECT x.lead_id FROM unnest(checked) x WHERE x.lead_id IS NOT NULL AND (x.campaign_id IS NOT NULL OR x.attribution <> '{}')
      EXCEPT
      SELECT u.id FROM unnest(new_leads) AS u(id)
      ORDER BY 1);
    -- in order, as everybody
    PERFORM entrestate.leads_lock(t, old_leads);
    -- merged away meanwhile: the other one has its addresses now
    EXIT WHEN NOT EXISTS (SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = ANY (old_leads) AND l.merged_into IS NOT NULL);
  END LOOP;

  INSERT INTO entrestate.leads (tenant_id, lead_id, full_name, company, source, idempotency_key, custom, time_zone,
    campaign_id, created_at, updated_at)
  SELECT t, x.lead_id, x.full_name, x.company, lead_import_rows.source, x.key, x.custom, x.time_zone, x.first_campaign, coalesce(x.arrived_at, at), at
  FROM (SELECT y.*, first_value(y.campaign_id) OVER (PARTITION BY y.lead_id ORDER BY y.campaign_id IS NULL, y.row_no) AS first_campaign
        FROM unnest(checked) y WHERE y.lead_id IS NOT NULL) x
  WHERE x.is_new ORDER BY x.row_no;
  INSERT INTO entrestate.lead_contacts (tenant_id, lead_id, kind, address, address_norm, is_primary, created_at)
  SELECT t, u.id, u.kind, u.address, u.norm, row_number() OVER (PARTITION BY u.id, u.kind ORDER BY u.o) = 1
      AND NOT (u.old AND EXISTS (SELECT FROM entrestate.lead_contacts c
        WHERE c.tenant_id = t AND c.lead_id = u.id AND c.kind = u.kind AND c.is_primary)), at
  FROM unnest(known_given, known_old, known_kind, known_address, known_norm) WITH ORDINALITY AS u(id, old, kind, address, norm, o)
  WHERE u.id IS NOT NULL AND u.kind <> 'key';
  PERFORM entrestate.leads_index(t, ARRAY(SELECT DISTINCT u.id FROM unnest(new_leads || known_given) AS u(id) WHERE u.id IS NOT NULL ORDER BY 1));
  INSERT INTO entrestate.activity_events (tenant_id, recorded_at, id, type, entity_type, entity_id, campaign_id, actor, payload)
  SELECT t, at, entrestate.uuid_v7(), 'lead.created', 'lead', l.lead_id::text, l.campaign_id, entrestate.current_actor(),
    jsonb_build_object('source', lead_import_rows.source, 'importId', this)
  FROM unnest(new_leads) AS u(id)
  CROSS JOIN LATERAL (SELECT y.lead_id, y.campaign_id FROM entrestate.leads y WHERE y.tenant_id = t AND y.lead_id = u.id OFFSET 0) l;

  -- as lead_attribute_to() does it: a campaign that is named settles what was open
  UPDATE entrestate.unresolved_attributions u SET settled_at = at
  FROM (SELECT DISTINCT x.lead_id FROM unnest(checked) x WHERE x.resolved_by = 'campaign_id' AND x.reason IS NULL AND NOT x.is_new) l
  CROSS JOIN LATERAL (SELECT y.attribution_id FROM entrestate.unresolved_attributions y
    WHERE y.lead_id = l.lead_id AND y.tenant_id = t AND y.settled_at IS NULL OFFSET 0) o
  WHERE u.tenant_id = t AND u.attribution_id = o.attribution_id;
  INSERT INTO entrestate.unresolved_attributions (tenant_id, attribution_id, lead_id, attribution, reason, resolved_by, candidates, created_at)
  SELECT t, entrestate.uuid_v7(), x.lead_id, x.attribution, CASE WHEN cardinality(x.candidates) > 1 THEN 'ambiguous' ELSE 'unresolved' END,
    x.resolved_by, x.candidates, at
  FROM (SELECT DISTINCT ON (y.lead_id, y.attribution) y.* FROM unnest(checked) y
        WHERE y.reason IS NULL AND y.campaign_id IS NULL AND y.attribution <> '{}' ORDER BY y.lead_id, y.attribution, y.row_no) x
  WHERE NOT EXISTS (SELECT FROM entrestate.unresolved_attributions u WHERE u.lead_id = x.lead_id AND u.tenant_id = t
    AND u.settled_at IS NULL AND u.attribution = x.attribution OFFSET 0)
  ORDER BY x.row_no;
  WITH attributed AS (
    INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at, form, landing_page, referrer, utm, click_ids, resolved_by, imported, unable)
    SELECT t, x.lead_id, x.campaign_id, coalesce(x.arrived_at, at), x.attribution ->> 'form', x.attribution ->> 'landing_page', x.attribution ->> 'referrer',
      coalesce(x.attribution -> 'utm', '{}'), coalesce(x.attribution -> 'click_ids', '{}'), x.resolved_by, true,
      NOT first_value(CASE WHEN x.nth = 1 THEN entrestate.sender_able(t, x.campaign_id) END) OVER (PARTITION BY x.campaign_id ORDER BY x.nth)
    FROM (SELECT y.*, row_number() OVER (PARTITION BY y.campaign_id ORDER BY y.row_no) AS nth
          FROM unnest(checked) y WHERE y.reason IS NULL AND y.campaign_id IS NOT NULL) x
    ORDER BY x.row_no
    ON CONFLICT DO NOTHING
    RETURNING lead_attributions.campaign_id AS c, lead_attributions.lead_id AS l
  )
  SELECT array_agg(a.c), array_agg(a.l) INTO at_campaign, at_lead FROM attributed a;
  UPDATE entrestate.leads l SET campaign_id = a.c, updated_at = at
  FROM (SELECT DISTINCT ON (u.l) u.l, u.c FROM unnest(at_lead, at_campaign) WITH ORDINALITY AS u(l, c, o)
        CROSS JOIN LATERAL (SELECT FROM entrestate.leads y WHERE y.tenant_id = t AND y.lead_id = u.l AND y.campaign_id IS NULL OFFSET 0) y
        ORDER BY u.l, u.o) a
  WHERE l.tenant_id = t AND l.lead_id = a.l;
  PERFORM entrestate.sender_start_runs(t, g.c, g.leads)
  FROM (SELECT u.c, array_agg(u.l) AS leads FROM unnest(at_lead, at_campaign) AS u(l, c) GROUP BY u.c) g
  JOIN entrestate.campaigns k ON k.tenant_id = t AND k.campaign_id = g.c AND k.runs_on_import;
  RETURN QUERY SELECT this, x.row_no, CASE WHEN x.reason IS NOT NULL THEN 'refused' WHEN x.is_new THEN 'imported' ELSE 'duplicate' END,
    x.lead_id, x.reason FROM unnest(checked) x ORDER BY x.row_no;
END
$$;
COMMENT ON FUNCTION lead_import_rows(uuid, jsonb[], integer[], text[], uuid, text, text) IS
'Internal: imports rows, those with a problem are refused for it; one row of the report each. Runs begin only where the campaign allows it.';

CREATE FUNCTION lead_import_run(t uuid, rows jsonb[], row_nos integer[], problems text[], campaign uuid, source text, country text)
RETURNS TABLE (import_id uuid, row_no integer, outcome text, lead_id uuid, reason text)
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: checks, imports, counts.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ids uuid[];
  nos integer[];
  outcomes text[];
  leads uuid[];
  reasons text[];
BEGIN
  PERFORM entrestate.arg_text('source', source, 40);
  IF country IS NOT NULL AND country !~ '^[A-Z]{2}$' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'country is not an ISO 3166 code', NULL,
      'Write two capital letters such as CA or AE.');
  END IF;
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  IF coalesce(cardinality(rows), 0) = 0 THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'there are no rows to import');
  ELSIF cardinality(rows) > 10000 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'there are too many rows',
      format('There are %s, at most 10000 are allowed in one import.', cardinality(rows)), 'Import them in several parts; nothing of this one was stored.');
  END IF;
  SELECT array_agg(i.import_id), array_agg(i.row_no), array_agg(i.outcome), array_agg(i.lead_id), array_agg(i.reason)
  INTO ids, nos, outcomes, leads, reasons
  FROM entrestate.lead_import_rows(t, rows, row_nos, problems, campaign, source, country) i;
  INSERT INTO entrestate.lead_imports (tenant_id, import_id, source, campaign_id, row_count, imported, duplicate, refused, reasons, created_by, created_at)
  SELECT t, ids[1], lead_import_run.source, campaign, count(*), count(*) FILTER (WHERE u.o = 'imported'), count(*) FILTER (WHERE u.o = 'duplicate'),
    count(*) FILTER (WHERE u.o = 'refused'),
    (SELECT coalesce(jsonb_object_agg(g.r, g.n), '{}') FROM (SELECT v.r, count(*) AS n FROM unnest(reasons) AS v(r) WHERE v.r IS NOT NULL GROUP BY 1) g),
    entrestate.current_actor(), entrestate.clock_now()
  FROM unnest(outcomes) AS u(o);
  PERFORM entrestate.activity_add('leads.imported', 'import', ids[1]::text, campaign, (SELECT jsonb_build_object('rows', i.row_count,
    'imported', i.imported, 'duplicate', i.duplicate, 'refused', i.refused) FROM entrestate.lead_imports i WHERE i.tenant_id = t AND i.import_id = ids[1]));
  PERFORM entrestate.audit_add('leads.import', 'import', ids[1]::text, jsonb_build_object('rows', cardinality(rows)));
  RETURN QUERY SELECT * FROM unnest(ids, nos, outcomes, leads, reasons);
END
$$;
COMMENT ON FUNCTION lead_import_run(uuid, jsonb[], integer[], text[], uuid, text, text) IS
'Internal: checks an import as a whole, runs it and keeps its counts.';

CREATE FUNCTION lead_import(rows jsonb, campaign uuid DEFAULT NULL, source text DEFAULT 'import', country text DEFAULT NULL)
RETURNS TABLE (import_id uuid, row_no integer, outcome text, lead_id uuid, reason text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.import');
  list jsonb[];
BEGIN
  IF rows IS NULL OR jsonb_typeof(rows) <> 'array' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'rows is not a JSON array', NULL,
      'Write [{"full_name": …, "email": …, "phone": …}, …]. From a table of your own: (SELECT jsonb_agg(to_jsonb(x)) FROM my_table x).');
  ELSIF pg_column_size(rows) > 8 * 1024 * 1024 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'rows is too large', 'At most 8 MB are allowed in one import.',
      'Import them in several parts; nothing of this one was stored.');
  ELSIF jsonb_array_length(rows) > 10000 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'there are too many rows',
      format('There are %s, at most 10000 are allowed in one import.', jsonb_array_length(rows)), 'Import them in several parts; nothing of this one was stored.');
  END IF;
  list := ARRAY(SELECT e FROM jsonb_array_elements(rows) e);
  RETURN QUERY SELECT * FROM entrestate.lead_import_run(t, list, ARRAY(SELECT generate_series(1, cardinality(list))),
    array_fill(NULL::text, ARRAY[greatest(cardinality(list), 1)]), campaign, source, country);
END
$$;
COMMENT ON FUNCTION lead_import(jsonb, uuid, text, text) IS
'Imports up to 10,000 leads from an array of objects {full_name, company, email, phone (a text or several), country, idempotency_key, time_zone, campaign, attribution, arrived_at, custom}; other keys become custom fields. A row whose key, email or phone the tenant has already, or that came earlier in the array, is a duplicate. Returns the report: one row each, imported, duplicate or refused and why; lead_import_get() keeps the counts. Runs begin only where the campaign has runs_on_import. Capability: lead.import. Errors: 22004, 22023, 54000, P0002. (A7, E2)';

CREATE FUNCTION csv_rows(file bytea, delimiter text, OUT row_no integer, OUT fields text[], OUT problem text) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'leads_csv_rows';
COMMENT ON FUNCTION csv_rows(bytea, text) IS
'Internal: the rows of a CSV file, the header as number 0; problem: invalid_encoding, too_many_fields or too_few_fields.';

CREATE FUNCTION csv_field(header text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN h = '' THEN NULL
    WHEN h IN ('full_name', 'company', 'email', 'phone', 'country', 'idempotency_key', 'time_zone', 'campaign', 'arrived_at') THEN h
    WHEN h IN ('name', 'fullname', 'contact', 'contact_name', 'lead_name') THEN 'full_name'
    WHEN h IN ('first_name', 'firstname', 'given_name') THEN 'first_name'
    WHEN h IN ('last_name', 'lastname', 'surname', 'family_name') THEN 'last_name'
    WHEN h IN ('company_name', 'organization', 'organisation', 'account') THEN 'company'
    WHEN h IN ('e_mail', 'email_address', 'mail', 'e_mail_address') THEN 'email'
    WHEN h IN ('phone_number', 'mobile', 'mobile_phone', 'telephone', 'tel', 'cell', 'whatsapp') THEN 'phone'
    WHEN h IN ('timezone', 'tz') THEN 'time_zone'
    WHEN h IN ('campaign_id', 'campaignid') THEN 'campaign'
    WHEN h IN ('landing_page', 'landing_page_id', 'referrer', 'form') THEN 'attribution.' || replace(h, '_id', '')
    WHEN h IN ('utm_source', 'utm_medium', 'utm_campaign', 'utm_term', 'utm_content') THEN 'attribution.utm.' || h
    WHEN h IN ('gclid', 'fbclid', 'msclkid', 'ttclid', 'wbraid', 'gbraid', 'li_fat_id') THEN 'attribution.click_ids.' || h
    ELSE 'custom.' || left(h, 100) END
  FROM (SELECT btrim(regexp_replace(lower(header), '[^[:alnum:]]+', '_', 'g'), '_') AS h) x
$$;
COMMENT ON FUNCTION csv_field(text) IS
'Internal: which field of a lead a column of this name holds; what is not known is a custom field.';

CREATE FUNCTION lead_import_csv(file bytea, columns jsonb DEFAULT NULL, delimiter text DEFAULT ',', campaign uuid DEFAULT NULL,
  source text DEFAULT 'import', country text DEFAULT NULL)
RETURNS TABLE (import_id uuid, row_no integer, outcome text, lead_id uuid, reason text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.import');
  header text[];
  targets text[];
  f text;
  rows jsonb[];
  nos integer[];
  problems text[];
BEGIN
  IF file IS NULL OR octet_length(file) = 0 THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'file is missing or empty');
  ELSIF octet_length(file) > 8 * 1024 * 1024 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'file is too large', 'At most 8 MB are allowed in one import.',
      'Import it in several parts; nothing of this one was stored.');
  END IF;
  PERFORM entrestate.arg_text('delimiter', delimiter, 1);
  PERFORM entrestate.arg_object('columns', columns);
  SELECT c.fields INTO header FROM entrestate.csv_rows(file, delimiter) c WHERE c.row_no = 0;
  IF header IS NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'the file has no header', NULL, 'Its first line names the columns.');
  END IF;
  targets := ARRAY(SELECT CASE WHEN coalesce(columns, '{}') ? h THEN nullif(columns ->> h, '') ELSE entrestate.csv_field(h) END
                   FROM unnest(header) WITH ORDINALITY AS u(h, o) ORDER BY o);
  FOREACH f IN ARRAY targets LOOP
    IF f !~ '^(full_name|first_name|last_name|company|email|phone|country|idempotency_key|time_zone|campaign|arrived_at|custom\.[^.]+|attribution\.(form|landing_page|referrer|utm\.[a-z_]+|click_ids\.[a-z_]+))$' THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('columns names a field that is not known: %s', left(f, 60)), NULL,
        'One of: full_name, first_name, last_name, company, email, phone, country, idempotency_key, time_zone, campaign, arrived_at, custom.<name>, attribution.form, attribution.landing_page, attribution.referrer, attribution.utm.<name>, attribution.click_ids.<name>.');
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM jsonb_object_keys(columns) k WHERE k <> ALL (header)) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'columns names a column that the file does not have', NULL,
      format('The file has: %s.', left(array_to_string(header, ', '), 500)));
  END IF;
  WITH cell AS (
    -- the values of a row by field: one column may be there twice
    SELECT c.row_no AS no, u.f, array_agg(u.v ORDER BY u.o) AS vals, count(DISTINCT u.v) AS n
    FROM entrestate.csv_rows(file, delimiter) c
    CROSS JOIN LATERAL unnest(targets, c.fields) WITH ORDINALITY AS u(f, v, o)
    WHERE c.row_no > 0 AND c.problem IS NULL AND u.f IS NOT NULL AND btrim(u.v) <> '' GROUP BY 1, 2
  ), made AS (
    SELECT c.no,
      coalesce(jsonb_object_agg(c.f, c.vals[1]) FILTER (WHERE c.f !~ '[.]' AND c.f NOT IN ('email', 'phone', 'first_name', 'last_name')), '{}')
      || coalesce(jsonb_object_agg(c.f, to_jsonb(c.vals)) FILTER (WHERE c.f IN ('email', 'phone')), '{}')
      || CASE WHEN bool_or(c.f = 'full_name') OR NOT bool_or(c.f IN ('first_name', 'last_name')) THEN '{}' ELSE jsonb_build_object('full_name',
           concat_ws(' ', max(c.vals[1]) FILTER (WHERE c.f = 'first_name'), max(c.vals[1]) FILTER (WHERE c.f = 'last_name'))) END
      || CASE WHEN bool_or(c.f LIKE 'custom.%') THEN jsonb_build_object('custom', jsonb_object_agg(substr(c.f, 8), c.vals[1]) FILTER (WHERE c.f LIKE 'custom.%')) ELSE '{}' END
      || CASE WHEN bool_or(c.f LIKE 'attribution.%') THEN jsonb_build_object('attribution',
           coalesce(jsonb_object_agg(substr(c.f, 13), c.vals[1]) FILTER (WHERE c.f ~ '^attribution\.[a-z_]+$'), '{}')
           || CASE WHEN bool_or(c.f LIKE 'attribution.utm.%') THEN jsonb_build_object('utm', jsonb_object_agg(substr(c.f, 17), c.vals[1]) FILTER (WHERE c.f LIKE 'attribution.utm.%')) ELSE '{}' END
           || CASE WHEN bool_or(c.f LIKE 'attribution.click_ids.%') THEN jsonb_build_object('click_ids', jsonb_object_agg(substr(c.f, 23), c.vals[1]) FILTER (WHERE c.f LIKE 'attribution.click_ids.%')) ELSE '{}' END)
         ELSE '{}' END AS r,
      CASE WHEN bool_or(c.n > 1 AND c.f NOT IN ('email', 'phone')) THEN 'ambiguous_column' END AS p
    FROM cell c GROUP BY 1)
  SELECT array_agg(coalesce(m.r, '{}') ORDER BY c.row_no), array_agg(c.row_no ORDER BY c.row_no), array_agg(coalesce(c.problem, m.p) ORDER BY c.row_no)
  INTO rows, nos, problems
  FROM entrestate.csv_rows(file, delimiter) c LEFT JOIN made m ON m.no = c.row_no WHERE c.row_no > 0;
  RETURN QUERY SELECT * FROM entrestate.lead_import_run(t, rows, nos, problems, campaign, source, country);
END
$$;
COMMENT ON FUNCTION lead_import_csv(bytea, jsonb, text, uuid, text, text) IS
'Imports leads from a CSV file (UTF-8, a header, quoted as COPY has it) of up to 10,000 rows and 8 MB, as lead_import() does. Columns are known by their usual names (name, first name, e-mail, mobile, utm_source, gclid, landing_page, …); columns {"header": "field"} says otherwise, with an empty field to leave one out; others become custom fields. A second column of email or phone holds further contact points; of another field, a row where the two differ is refused. row_no counts from the row after the header. Capability: lead.import. Errors: 22004, 22023, 22P04 when it cannot be read as CSV (nothing is stored), 54000, P0002. (A7, E2)';

CREATE FUNCTION lead_import_get(import uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(i) - 'tenant_id' INTO r FROM entrestate.lead_imports i WHERE i.tenant_id = t AND i.import_id = import;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such import');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION lead_import_get(uuid) IS
'The counts of an import: rows, imported, duplicate, refused, and how many for which reason. Capability: lead.read. Errors: P0002. (A7, E2)';

GRANT EXECUTE ON FUNCTION email_normalise(text), phone_normalise(text, text),
  lead_create(text, text, text, text, uuid, jsonb, text, text, jsonb, text, text, text[]),
  lead_attribute(uuid, uuid, jsonb), lead_unresolved(uuid, integer), lead_resolve_again(integer),
  lead_get(uuid), lead_list(uuid, timestamptz, uuid, integer), lead_search(text, text, uuid, text, text, uuid, integer),
  lead_update(uuid, text, text, text, text, jsonb, text), lead_status_set(uuid, text), lead_grade_override(uuid, text, text),
  lead_contact_add(uuid, text, text, boolean, text), lead_contact_remove(uuid, text, text),
  lead_consent(uuid, text, boolean, text, timestamptz), lead_opt_out(uuid, text, text, text), lead_opt_in(uuid, text, text),
  lead_complained(uuid, text, text), lead_erasure_request(uuid), lead_bounced(uuid, text, text, boolean),
  suppression_add(text, text, text), suppression_remove(text, text), suppression_list(text, text, integer),
  lead_note_add(uuid, text), lead_notes(uuid, uuid, integer), lead_tag(uuid, text[], boolean), lead_merge(uuid, uuid),
  lead_import(jsonb, uuid, text, text), lead_import_csv(bytea, jsonb, text, uuid, text, text), lead_import_get(uuid)
  TO entrestate_app;
