-- sender: templates, what they are filled with, guards, and who messages come
-- from. How a text is filled: sender/render.c. (B1)

CREATE FUNCTION template_fields(text text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_template_fields';
COMMENT ON FUNCTION template_fields(text) IS
'The fields of a text that have no default, each once: {{lead.full_name}}, but not {{lead.first_name|there}}. Errors: 22023 for a field that is none, with its place; 54000 for more than 100. (B1)';

CREATE FUNCTION template_render(text text, document jsonb, html boolean DEFAULT false, line boolean DEFAULT false) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_template_render';
COMMENT ON FUNCTION template_render(text, jsonb, boolean, boolean) IS
'Internal: a text with its fields filled in from a document; NULL when a field without default is missing or empty, or the result above 1 MB. html: values are escaped. line: for a subject, without control characters and ends of lines. Raises 22023 for a field that is none.';

CREATE FUNCTION template_missing(fields text[], document jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_template_missing';
COMMENT ON FUNCTION template_missing(text[], jsonb) IS
'Internal: the first of some fields that a document has no value for; NULL: it has all.';

CREATE FUNCTION step_variant(run text, step integer, weights integer[]) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_step_variant';
COMMENT ON FUNCTION step_variant(text, integer, integer[]) IS
'Internal: which variant, from 0, a run gets at a step: the first 8 bytes of SHA-256(run id || step index as 4 bytes, big endian), as a big endian number without sign, modulo the sum of the weights. Raises 22023.';

CREATE FUNCTION guard_flaw(path jsonpath) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_guard_flaw';
COMMENT ON FUNCTION guard_flaw(jsonpath) IS
'Internal: why a path is no guard: it is no predicate, has variables, or reads dates; NULL: it is one.';

CREATE FUNCTION guard_holds(predicate text, document jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.jsonb_path_match(document, ('strict ' || predicate)::pg_catalog.jsonpath, '{}', true);
COMMENT ON FUNCTION guard_holds(text, jsonb) IS
'Internal: whether a guard or exit predicate holds for a document of sender_document(): strict and silent; NULL when it is not evaluable, or neither true nor false.';

CREATE FUNCTION guard_check(predicate text, name text DEFAULT 'the predicate') RETURNS text
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  flaw text;
BEGIN
  IF octet_length(predicate) > 4096 THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is too long', name), 'At most 4096 bytes are allowed.');
  END IF;
  IF predicate IS NOT NULL THEN
    BEGIN
      flaw := entrestate.guard_flaw(('strict ' || predicate)::jsonpath);
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception OR feature_not_supported OR program_limit_exceeded THEN
      flaw := 'it does not parse: ' || SQLERRM;
    END;
    IF flaw IS NOT NULL THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('%s cannot be evaluated', name), flaw,
        'Write a jsonpath predicate such as $.lead.score >= 10 && $.steps[0].opened == true.');
    END IF;
  END IF;
  RETURN predicate;
END
$$;
COMMENT ON FUNCTION guard_check(text, text) IS
'Internal: returns a guard or exit predicate, or raises 22023 for one that does not parse, is no predicate, has variables, reads dates, or has more than 4096 bytes.';

CREATE FUNCTION template_add(tenant uuid, template uuid, version integer, name text, channel text, body text, subject text,
  free_text boolean, html boolean) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it raises, then writes.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (channel = 'email') <> (subject IS NOT NULL) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'an email has a subject, other messages have none');
  ELSIF free_text AND channel <> 'whatsapp' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'free_text is for WhatsApp alone');
  ELSIF html AND channel <> 'email' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'html is for email alone');
  END IF;
  INSERT INTO entrestate.templates (tenant_id, template_id, version, name, channel, subject, body, free_text, html, fields, created_by, created_at)
  VALUES (tenant, template, template_add.version, entrestate.arg_text('name', template_add.name, 100), template_add.channel,
    entrestate.arg_text('subject', template_add.subject, 998, 0),
    entrestate.arg_text('body', template_add.body, 65536), coalesce(template_add.free_text, false), coalesce(template_add.html, false),
    ARRAY(SELECT f FROM unnest(entrestate.template_fields(coalesce(template_add.subject, ''))
      || entrestate.template_fields(coalesce(template_add.body, ''))) WITH ORDINALITY u(f, o) GROUP BY f ORDER BY min(o)),
    entrestate.current_actor(), entrestate.clock_now());
END
$$;
COMMENT ON FUNCTION template_add(uuid, uuid, integer, text, text, text, text, boolean, boolean) IS
'Internal: checks and stores a version of a template, as a draft.';

CREATE FUNCTION template_create(name text, channel text, body text, subject text DEFAULT NULL,
  free_text boolean DEFAULT false, html boolean DEFAULT false) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('template.manage');
  id uuid := entrestate.uuid_v7();
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.template_add(t, id, 1, name, channel, body, subject, free_text, html);
  PERFORM entrestate.activity_add('template.created', 'template', id::text);
  RETURN id;
END
$$;
COMMENT ON FUNCTION template_create(text, text, text, text, boolean, boolean) IS
'Writes a message template (version 1, draft); returns its id. Subject and body may have fields: {{lead.full_name}}, {{lead.first_name|there}} with a default, over lead, lead.custom, attribution, campaign and sender. free_text: a WhatsApp message that is not registered with the provider. html: the body of an email is HTML. Capability: template.manage. Errors: 22004, 22023, 54000. (B1)';

CREATE FUNCTION template_version_add(template uuid, body text, subject text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('template.manage');
  m entrestate.templates;
BEGIN
  -- the first version's row is the template's: two who add wait for each other
  PERFORM FROM entrestate.templates x WHERE x.tenant_id = t AND x.template_id = template AND x.version = 1 FOR NO KEY UPDATE;
  SELECT x.* INTO m FROM entrestate.templates x WHERE x.tenant_id = t AND x.template_id = template ORDER BY x.version DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such template', NULL, 'template_list() lists the tenant''s templates.');
  END IF;
  PERFORM entrestate.template_add(t, template, m.version + 1, m.name, m.channel, body, subject, m.free_text, m.html);
  PERFORM entrestate.activity_add('template.version_added', 'template', template::text, NULL, jsonb_build_object('version', m.version + 1));
  RETURN m.version + 1;
END
$$;
COMMENT ON FUNCTION template_version_add(uuid, text, text) IS
'Writes a new version of a template, a draft with the name and channel of the one before; returns its number. The versions before stay as they are. Capability: template.manage. Errors: P0002, 22004, 22023, 54000. (B1)';

CREATE FUNCTION template_get(template uuid, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(m) - 'tenant_id' INTO r FROM entrestate.templates m
  WHERE m.tenant_id = t AND m.template_id = template AND (template_get.version IS NULL OR m.version = template_get.version)
  ORDER BY m.version DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such template version');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION template_get(uuid, integer) IS
'A version of a template, or its newest, with the fields it needs. Capability: sender.read. Errors: P0002. (B1)';

CREATE FUNCTION template_list(before uuid DEFAULT NULL, before_version integer DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (template_id uuid, version integer, name text, channel text, status text, free_text boolean, html boolean, fields text[],
  created_by text, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT m.template_id, m.version, m.name, m.channel, m.status, m.free_text, m.html, m.fields, m.created_by, m.created_at
  FROM entrestate.templates m
  WHERE m.tenant_id = t AND (before IS NULL OR (m.template_id, m.version) < (before, coalesce(before_version, 0)))
  ORDER BY m.tenant_id DESC, m.template_id DESC, m.version DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION template_list(uuid, integer, integer) IS
'The tenant''s templates, every version, newest first; the next page begins before the last row''s template_id and version. Capability: sender.read. Errors: 22023. (B1)';

CREATE FUNCTION template_status_set(template uuid, version integer, status text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('template.approve');
BEGIN
  PERFORM entrestate.arg_choice('status', status, ARRAY['approved', 'rejected', 'draft', 'retired']);
  -- a brake: a batch has the tenant's row in share mode
  PERFORM FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  UPDATE entrestate.templates s SET status = template_status_set.status
  WHERE s.tenant_id = t AND s.template_id = template AND s.version = template_status_set.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such template version');
  END IF;
  PERFORM entrestate.activity_add('template.' || status, 'template', template::text);
  PERFORM entrestate.audit_add('template.status', 'template', template::text,
    jsonb_build_object('version', version, 'to', status));
END
$$;
COMMENT ON FUNCTION template_status_set(uuid, integer, text) IS
'Approves, rejects or retires a template version. Capability: template.approve. Errors: P0002, 22004, 22023, ZE005. (B1)';

CREATE FUNCTION sender_identity(tenant uuid, campaign uuid, channel text, OUT identity_id uuid, OUT address text,
  OUT display_name text, OUT status text)
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT i.identity_id, i.address, i.display_name, i.status INTO identity_id, address, display_name, status
  FROM entrestate.campaign_identities c
  JOIN entrestate.sender_identities i ON i.tenant_id = tenant AND i.identity_id = c.identity_id
  WHERE c.tenant_id = tenant AND c.campaign_id = campaign AND c.channel = sender_identity.channel;
  IF NOT FOUND THEN
    SELECT i.identity_id, i.address, i.display_name, i.status INTO identity_id, address, display_name, status
    FROM entrestate.sender_identities i
    WHERE i.channel = sender_identity.channel AND i.tenant_id = tenant AND i.is_default;
  END IF;
END
$$;
COMMENT ON FUNCTION sender_identity(uuid, uuid, text) IS
'Internal: whom a campaign''s messages of a channel come from: its own identity, else the tenant''s default; all NULL: none.';

CREATE FUNCTION sender_document(tenant uuid, campaign uuid, lead uuid, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  r entrestate.sender_runs;
  people jsonb;
  source jsonb;
  sender jsonb;
  steps jsonb;
  about jsonb;
  channel text;
BEGIN
  SELECT x.* INTO r FROM entrestate.sender_runs x WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.lead_id = lead;
  SELECT jsonb_build_object('full_name', l.full_name, 'first_name', substring(l.full_name, '^\s*(\S+)'), 'company', l.company,
    'email', e.address, 'phone', p.address, 'status', l.status, 'direction', l.direction, 'grade', coalesce(l.grade_override, l.grade),
    'score', coalesce(g.score, 0), 'hot', l.hot_at IS NOT NULL, 'owner', l.owner_id,
    'tags', ARRAY(SELECT x.tag FROM entrestate.lead_tags x WHERE x.tenant_id = tenant AND x.lead_id = lead ORDER BY x.tag),
    'custom', l.custom, 'time_zone', coalesce(l.time_zone, t.time_zone), 'created_at', extract(epoch FROM l.created_at))
  INTO people
  FROM entrestate.leads l
  JOIN entrestate.tenants t ON t.tenant_id = tenant
  LEFT JOIN entrestate.lead_scores g ON g.tenant_id = tenant AND g.lead_id = lead
  LEFT JOIN entrestate.lead_contacts e ON e.tenant_id = tenant AND e.lead_id = lead AND e.kind = 'email' AND e.is_primary
  LEFT JOIN entrestate.lead_contacts p ON p.tenant_id = tenant AND p.lead_id = lead AND p.kind = 'phone' AND p.is_primary
  WHERE l.tenant_id = tenant AND l.lead_id = lead;
  SELECT jsonb_build_object('form', a.form, 'landing_page', a.landing_page, 'referrer', a.referrer, 'utm', a.utm,
    'click_ids', a.click_ids, 'attributed_at', extract(epoch FROM a.attributed_at))
  INTO source FROM entrestate.lead_attributions a WHERE a.tenant_id = tenant AND a.lead_id = lead AND a.campaign_id = campaign;
  SELECT jsonb_build_object('name', c.name, 'intent', c.intent, 'landing', c.landing) INTO about
  FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = campaign;
  -- who writes the step that is next
  SELECT s.channel INTO channel FROM entrestate.sender_steps s
  WHERE s.tenant_id = tenant AND s.campaign_id = campaign AND s.version = r.version AND s.step = r.cursor;
  SELECT jsonb_build_object('name', i.display_name, 'address', i.address) INTO sender
  FROM entrestate.sender_identity(tenant, campaign, coalesce(channel, 'email')) i;
  IF r.cursor > 0 THEN
    WITH e AS (
      SELECT x.step, y.name, h.name AS channel, x.run_seq, x.recorded_at, x.id,
        -- a rehearsal that began again counts from there
        max(x.recorded_at) FILTER (WHERE y.name = 'sender.run.restarted') OVER () AS restarted_at,
        max(x.run_seq) FILTER (WHERE y.name = 'sender.run.restarted') OVER () AS restarted
      FROM entrestate.sender_events x
      JOIN entrestate.sender_event_types() y ON y.code = x.type
      LEFT JOIN entrestate.sender_channels() h ON h.code = x.channel
      WHERE x.tenant_id = tenant AND x.lead_id = lead AND x.campaign_id = campaign AND x.recorded_at <= at
    ), told AS (
      SELECT e.step, (array_agg(e.channel ORDER BY e.run_seq DESC) FILTER (WHERE o.outcome))[1] AS channel,
        (array_agg(substr(e.name, 13) ORDER BY e.run_seq DESC) FILTER (WHERE o.outcome))[1] AS outcome,
        bool_or(e.name = 'sender.delivered') AS delivered, bool_or(e.name = 'sender.opened') AS opened,
        bool_or(e.name = 'sender.clicked') AS clicked, bool_or(e.name = 'sender.replied') AS replied
      FROM e CROSS JOIN LATERAL (SELECT e.name = ANY ('{sender.step.sent,sender.step.skipped,sender.step.failed,sender.step.simulated,sender.step.unknown}') AS outcome) o
      WHERE e.step IS NOT NULL
        AND (e.restarted IS NULL OR CASE WHEN e.run_seq IS NULL THEN e.recorded_at > e.restarted_at ELSE e.run_seq > e.restarted END)
      GROUP BY e.step
    )
    SELECT jsonb_agg(jsonb_build_object('channel', d.channel, 'outcome', d.outcome, 'delivered', coalesce(d.delivered, false),
      'opened', coalesce(d.opened, false), 'clicked', coalesce(d.clicked, false), 'replied', coalesce(d.replied, false)) ORDER BY i)
    INTO steps FROM generate_series(0, r.cursor - 1) i LEFT JOIN told d ON d.step = i;
  END IF;
  RETURN jsonb_build_object('lead', people, 'attribution', source, 'campaign', about, 'sender', sender,
    'run', CASE WHEN r.tenant_id IS NOT NULL THEN jsonb_build_object('created_at', extract(epoch FROM r.created_at), 'cursor', r.cursor,
      'sent_steps', r.sent_steps, 'status', r.status) END,
    'steps', coalesce(steps, '[]'), 'now', extract(epoch FROM at));
END
$$;
COMMENT ON FUNCTION sender_document(uuid, uuid, uuid, timestamptz) IS
'Internal: what texts are filled from and guards look at: {lead, attribution, campaign, sender, run, steps, now}; every time is a number of epoch seconds. steps[i] is what became of step i; sender is who writes the run''s next step. In the tenant''s context.';

CREATE FUNCTION template_preview(template uuid, version integer, lead uuid, campaign uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.read');
  m entrestate.templates;
  d jsonb;
BEGIN
  SELECT x.* INTO m FROM entrestate.templates x WHERE x.tenant_id = t AND x.template_id = template AND x.version = template_preview.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such template version');
  ELSIF NOT EXISTS (SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  ELSIF NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign');
  END IF;
  d := entrestate.sender_document(t, campaign, lead, entrestate.clock_now());
  SELECT d || jsonb_build_object('sender', jsonb_build_object('name', i.display_name, 'address', i.address)) INTO d
  FROM entrestate.sender_identity(t, campaign, m.channel) i;
  RETURN jsonb_build_object('subject', entrestate.template_render(m.subject, d, false, true),
    'body', entrestate.template_render(m.body, d, m.html), 'missing', entrestate.template_missing(m.fields, d));
END
$$;
COMMENT ON FUNCTION template_preview(uuid, integer, uuid, uuid) IS
'What a lead would read: {subject, body, missing}; missing is the first field without a value, for which the step would be skipped. Capability: lead.read. Errors: P0002. (B1)';

CREATE FUNCTION identity_create(channel text, address text, display_name text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
  id uuid := entrestate.uuid_v7();
  norm text;
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  PERFORM entrestate.arg_text('address', address, 320);
  norm := entrestate.address_norm(CASE channel WHEN 'email' THEN 'email' ELSE 'phone' END, address,
    (SELECT x.country FROM entrestate.tenants x WHERE x.tenant_id = t));
  -- what networks call an alphanumeric sender
  IF norm IS NULL AND channel = 'sms' AND address ~ '^(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}$' THEN
    norm := upper(address);
  END IF;
  IF norm IS NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'address is none of this channel');
  END IF;
  INSERT INTO entrestate.sender_identities (tenant_id, identity_id, channel, address, address_norm, display_name, created_by, created_at)
  VALUES (t, id, identity_create.channel, identity_create.address, norm,
    nullif(btrim(regexp_replace(entrestate.arg_text('display_name', identity_create.display_name, 100, 0), '\s+', ' ', 'g')), ''),
    entrestate.current_actor(), entrestate.clock_now())
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('CONFLICT', 'the tenant has this identity already', NULL, 'identity_list() lists them.');
  END IF;
  PERFORM entrestate.audit_add('identity.create', 'identity', id::text, jsonb_build_object('channel', channel));
  RETURN id;
END
$$;
COMMENT ON FUNCTION identity_create(text, text, text) IS
'Adds an address that messages of a channel may come from, unverified; returns its id. Capability: safety.manage. Errors: 22004, 22023, 23505, 54000. (B1)';

CREATE FUNCTION identity_status_set(identity uuid, status text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
BEGIN
  PERFORM entrestate.arg_choice('status', status, ARRAY['pending', 'verified', 'failed', 'revoked']);
  -- a brake: a batch has the tenant's row in share mode
  PERFORM FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  UPDATE entrestate.sender_identities i SET status = identity_status_set.status,
    verified_by = CASE identity_status_set.status WHEN 'verified' THEN entrestate.current_actor() ELSE i.verified_by END,
    verified_at = CASE identity_status_set.status WHEN 'verified' THEN entrestate.clock_now() ELSE i.verified_at END
  WHERE i.tenant_id = t AND i.identity_id = identity;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such identity', NULL, 'identity_list() lists them.');
  END IF;
  PERFORM entrestate.audit_add('identity.status', 'identity', identity::text, jsonb_build_object('to', status));
END
$$;
COMMENT ON FUNCTION identity_status_set(uuid, text) IS
'Says how far the verification of an identity is. Capability: safety.manage. Errors: P0002, 22004, 22023, ZE005. (B1)';

CREATE FUNCTION identity_default_set(identity uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
  i entrestate.sender_identities;
BEGIN
  -- two who choose wait for each other, and a batch for us or we for it
  PERFORM FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  SELECT x.* INTO i FROM entrestate.sender_identities x WHERE x.tenant_id = t AND x.identity_id = identity;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such identity', NULL, 'identity_list() lists them.');
  END IF;
  UPDATE entrestate.sender_identities x SET is_default = false WHERE x.channel = i.channel AND x.tenant_id = t AND x.is_default;
  UPDATE entrestate.sender_identities x SET is_default = true WHERE x.tenant_id = t AND x.identity_id = identity;
  PERFORM entrestate.audit_add('identity.default', 'identity', identity::text, jsonb_build_object('channel', i.channel));
END
$$;
COMMENT ON FUNCTION identity_default_set(uuid) IS
'Makes an identity its channel''s default, for campaigns without one of their own. Capability: safety.manage. Errors: P0002. (B1)';

CREATE FUNCTION campaign_identity_set(campaign uuid, channel text, identity uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'campaign.manage');
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  IF identity IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.sender_identities i
      WHERE i.tenant_id = t AND i.identity_id = identity AND i.channel = campaign_identity_set.channel) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such identity of this channel', NULL, 'identity_list() lists them.');
  END IF;
  DELETE FROM entrestate.campaign_identities c WHERE c.tenant_id = t AND c.campaign_id = campaign AND c.channel = campaign_identity_set.channel;
  IF identity IS NOT NULL THEN
    INSERT INTO entrestate.campaign_identities (tenant_id, campaign_id, channel, identity_id)
    VALUES (t, campaign, campaign_identity_set.channel, identity);
  END IF;
  PERFORM entrestate.audit_add('campaign.identity', 'campaign', campaign::text,
    jsonb_build_object('channel', channel, 'identity', identity));
END
$$;
COMMENT ON FUNCTION campaign_identity_set(uuid, text, uuid) IS
'Lets a campaign''s messages of a channel come from an identity; NULL: from the tenant''s default again. Capability: campaign.manage. Errors: P0002, 22004, 22023. (B1)';

CREATE FUNCTION identity_list() RETURNS TABLE (identity_id uuid, channel text, address text, display_name text, status text,
  is_default boolean, campaigns uuid[], created_by text, created_at timestamptz, verified_by text, verified_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT i.identity_id, i.channel::text, i.address, i.display_name, i.status, i.is_default,
    ARRAY(SELECT c.campaign_id FROM entrestate.campaign_identities c WHERE c.tenant_id = t AND c.identity_id = i.identity_id ORDER BY 1),
    i.created_by, i.created_at, i.verified_by, i.verified_at
  FROM entrestate.sender_identities i WHERE i.tenant_id = t ORDER BY i.identity_id;
END
$$;
COMMENT ON FUNCTION identity_list() IS
'The tenant''s sender identities, and the campaigns that name each. Capability: sender.read. (B1)';

GRANT EXECUTE ON FUNCTION template_create(text, text, text, text, boolean, boolean), template_version_add(uuid, text, text),
  template_get(uuid, integer), template_list(uuid, integer, integer), template_status_set(uuid, integer, text),
  template_preview(uuid, integer, uuid, uuid), template_fields(text), identity_create(text, text, text),
  identity_status_set(uuid, text), identity_default_set(uuid), campaign_identity_set(uuid, text, uuid), identity_list() TO entrestate_app;
