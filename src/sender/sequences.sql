-- sender: sequences, what should happen. (B1, B12, B13)

CREATE FUNCTION step_template(tenant uuid, template text, channel text, name text) RETURNS integer
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v integer;
  of_channel text;
BEGIN
  IF template ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN
    SELECT x.version, x.channel INTO v, of_channel FROM entrestate.templates x
    WHERE x.tenant_id = tenant AND x.template_id = template::uuid ORDER BY x.version DESC LIMIT 1;
  END IF;
  IF v IS NULL THEN
    PERFORM entrestate.raise('NOT_FOUND', format('%s is not a template of the tenant', name));
  ELSIF of_channel <> step_template.channel THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is for another channel', name));
  END IF;
  RETURN v;
END
$$;
COMMENT ON FUNCTION step_template(uuid, text, text, text) IS
'Internal: the newest version of a template that a step names, or raises P0002, or 22023 when it is for another channel.';

CREATE FUNCTION sequence_create(campaign uuid, steps jsonb, name text DEFAULT 'Follow-up',
  stop_on_reply boolean DEFAULT true, exit_predicate text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
  v integer;
  s jsonb;
  i integer := 0;
  delay interval;
  template text;
  template_version integer;
  variants jsonb;
  e jsonb;
  k integer;
BEGIN
  IF steps IS NULL OR jsonb_typeof(steps) <> 'array' OR jsonb_array_length(steps) NOT BETWEEN 1 AND 100 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'steps is not an array of 1 to 100 steps', NULL,
      'Write [{"channel": "email", "template": "<id>", "delay": "0"}, …].');
  END IF;
  SELECT coalesce(max(q.version), 0) + 1 INTO v FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign;
  INSERT INTO entrestate.sender_sequences (tenant_id, campaign_id, version, name, stop_on_reply, exit_predicate,
    created_by, created_at, updated_at)
  VALUES (t, campaign, v, entrestate.arg_text('name', sequence_create.name, 100), coalesce(sequence_create.stop_on_reply, true),
    entrestate.guard_check(sequence_create.exit_predicate, 'exit_predicate'),
    entrestate.current_actor(), entrestate.clock_now(), entrestate.clock_now());
  FOR s IN SELECT x FROM jsonb_array_elements(steps) x LOOP
    IF jsonb_typeof(s) <> 'object' OR s - '{channel,template,delay,guard,window,variants}'::text[] <> '{}' THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s] is not a step', i), NULL,
        'A step is an object with the keys channel, template or variants, delay, and if need be guard and window.');
    END IF;
    PERFORM entrestate.arg_choice(format('steps[%s].channel', i), s ->> 'channel', ARRAY['email', 'sms', 'whatsapp']);
    BEGIN
      delay := (s ->> 'delay')::interval;
      IF delay IS NULL OR delay < '0' OR delay > '400 days'
         OR extract(day FROM delay) < 0 OR extract(month FROM delay) < 0 OR extract(year FROM delay) < 0 THEN
        RAISE invalid_parameter_value;
      END IF;
    EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow OR interval_field_overflow OR invalid_parameter_value THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s].delay is not a delay', i), NULL,
        'Write an interval from 0 to 400 days, such as "3 days" or "5 minutes".');
    END;
    IF coalesce(jsonb_typeof(s -> 'guard'), 'null') NOT IN ('string', 'null') THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s].guard is not a text', i));
    END IF;
    PERFORM entrestate.guard_check(s ->> 'guard', format('steps[%s].guard', i));
    IF coalesce(jsonb_typeof(s -> 'window'), 'null') <> 'null' THEN
      PERFORM entrestate.agent_settings_check(s -> 'window', NULL, NULL, NULL);
    END IF;
    template := s ->> 'template';
    variants := NULL;
    IF coalesce(jsonb_typeof(s -> 'variants'), 'null') <> 'null' THEN
      IF jsonb_typeof(s -> 'variants') <> 'array' OR jsonb_array_length(s -> 'variants') NOT BETWEEN 1 AND 10 OR s ? 'template' THEN
        PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s].variants is not an array of 1 to 10 variants, in the place of template', i), NULL,
          'Write [{"template": "<id>", "weight": 1}, …].');
      END IF;
      variants := '[]';
      k := 0;
      FOR e IN SELECT x FROM jsonb_array_elements(s -> 'variants') x LOOP
        IF jsonb_typeof(e) <> 'object' OR e - '{template,weight}'::text[] <> '{}' OR coalesce(jsonb_typeof(e -> 'weight'), '') <> 'number'
          OR (e ->> 'weight')::numeric NOT BETWEEN 1 AND 1000 OR (e ->> 'weight')::numeric <> trunc((e ->> 'weight')::numeric) THEN
          PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s].variants[%s] is not a variant', i, k), NULL,
            'A variant is an object with a template and a weight from 1 to 1000.');
        END IF;
        template_version := entrestate.step_template(t, e ->> 'template', s ->> 'channel', format('steps[%s].variants[%s].template', i, k));
        variants := variants || jsonb_build_object('template', (e ->> 'template')::uuid, 'version', template_version,
          'weight', (e ->> 'weight')::numeric::integer);
        k := k + 1;
      END LOOP;
      template := variants -> 0 ->> 'template';
    END IF;
    template_version := entrestate.step_template(t, template, s ->> 'channel', format('steps[%s].template', i));
    INSERT INTO entrestate.sender_steps (tenant_id, campaign_id, version, step, channel, template_id, template_version, delay,
      guard, time_window, variants)
    VALUES (t, campaign, v, i, s ->> 'channel', template::uuid, template_version, delay, s ->> 'guard',
      CASE WHEN jsonb_typeof(s -> 'window') <> 'null' THEN s -> 'window' END, variants);
    i := i + 1;
  END LOOP;
  PERFORM entrestate.activity_add('sequence.created', 'sequence', format('%s/%s', campaign, v), campaign,
    jsonb_build_object('steps', i));
  RETURN v;
END
$$;
COMMENT ON FUNCTION sequence_create(uuid, jsonb, text, boolean, text) IS
'Makes a draft version of a campaign''s sequence; returns the version. steps: [{channel, template, delay, guard, window, variants}]: guard is a jsonpath predicate over the lead, attribution, campaign, run, steps and now; window the local hours [{days, from, to}]; variants [{template, weight}] stand in the place of template, at most 10 with weights from 1 to 1000. A reply ends a run unless stop_on_reply is false, and so does exit_predicate. Capability: sequence.manage. Errors: P0002, 22004, 22023, 54000. (B1, B13)';

CREATE FUNCTION sequence_publish(campaign uuid, version integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
  q entrestate.sender_sequences;
  s entrestate.sender_steps;
  windows jsonb;
  quiet jsonb;
  e jsonb;
  pinned integer;
  pins jsonb;
  found_steps integer := 0;
BEGIN
  SELECT x.* INTO q FROM entrestate.sender_sequences x
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sequence_publish.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  ELSIF q.status = 'published' THEN
    RETURN 0;
  END IF;
  IF q.status = 'draft' THEN
    PERFORM entrestate.guard_check(q.exit_predicate, 'exit_predicate');
    SELECT a.windows INTO windows FROM entrestate.campaign_agent_settings a WHERE a.tenant_id = t AND a.campaign_id = campaign;
    SELECT x.quiet_hours INTO quiet FROM entrestate.tenants x WHERE x.tenant_id = t;
    FOR s IN SELECT x.* FROM entrestate.sender_steps x
             WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sequence_publish.version ORDER BY x.step LOOP
      found_steps := found_steps + 1;
      PERFORM entrestate.guard_check(s.guard, format('the guard of step %s', s.step));
      IF s.time_window = '[]' THEN
        PERFORM entrestate.raise('WRONG_STATE', format('the window of step %s is empty', s.step), NULL, 'Leave it out for all hours.');
      ELSIF NOT entrestate.windows_intersect(s.time_window, windows, quiet) THEN
        PERFORM entrestate.raise('WRONG_STATE', format('step %s could never be sent', s.step),
          'Its window, the campaign''s contact rules and the tenant''s quiet hours have no minute of the week in common.');
      END IF;
      -- the newest approved version of each text is pinned
      pins := NULL;
      pinned := NULL;
      IF s.variants IS NULL THEN
        pinned := entrestate.template_approved(t, s.template_id);
      ELSE
        pins := '[]';
        FOR e IN SELECT x FROM jsonb_array_elements(s.variants) x LOOP
          pinned := entrestate.template_approved(t, (e ->> 'template')::uuid);
          EXIT WHEN pinned IS NULL;
          pins := pins || (e || jsonb_build_object('version', pinned));
        END LOOP;
        pinned := CASE WHEN pinned IS NOT NULL THEN (pins -> 0 ->> 'version')::integer END;
      END IF;
      IF pinned IS NULL THEN
        PERFORM entrestate.raise('WRONG_STATE', format('the template of step %s is not approved', s.step), NULL,
          'Approve it with template_status_set().');
      END IF;
      UPDATE entrestate.sender_steps x SET template_version = pinned, variants = pins
      WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sequence_publish.version AND x.step = s.step;
    END LOOP;
    IF found_steps = 0 THEN
      PERFORM entrestate.raise('WRONG_STATE', 'the sequence has no steps');
    END IF;
  END IF;
  UPDATE entrestate.sender_sequences x SET status = 'archived', updated_at = entrestate.clock_now()
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.status = 'published';
  -- one that is archived goes no further: the transition says so
  UPDATE entrestate.sender_sequences x SET status = 'published', updated_at = entrestate.clock_now(),
    published_at = CASE WHEN x.status = 'draft' THEN entrestate.clock_now() ELSE x.published_at END
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sequence_publish.version;
  PERFORM entrestate.activity_add('sequence.published', 'sequence', format('%s/%s', campaign, version), campaign);
  PERFORM entrestate.audit_add('sequence.publish', 'campaign', campaign::text, jsonb_build_object('version', version));
  RETURN entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION sequence_publish(uuid, integer) IS
'Publishes a draft version: it pins the newest approved version of each template and never changes again, runs that begin from now on follow it, the one before is archived; returns how many runs the campaign''s backfill started. Capability: sequence.manage. Errors: P0002, 22004, 22023 for a guard that does not parse, 55000 without steps, when a template is not approved, or when windows and quiet hours leave no hour for a step, ZE005. (B1)';

CREATE FUNCTION template_approved(tenant uuid, template uuid) RETURNS integer
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT m.version FROM entrestate.templates m
          WHERE m.tenant_id = tenant AND m.template_id = template AND m.status = 'approved' ORDER BY m.version DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION template_approved(uuid, uuid) IS
'Internal: the newest approved version of a template; NULL: none.';

CREATE FUNCTION sequence_copy(campaign uuid, version integer, to_campaign uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(to_campaign, 'sequence.manage');
  v integer;
BEGIN
  SELECT coalesce(max(q.version), 0) + 1 INTO v FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = to_campaign;
  INSERT INTO entrestate.sender_sequences (tenant_id, campaign_id, version, name, stop_on_reply, exit_predicate,
    created_by, created_at, updated_at)
  SELECT t, to_campaign, v, q.name, q.stop_on_reply, q.exit_predicate,
    entrestate.current_actor(), entrestate.clock_now(), entrestate.clock_now()
  FROM entrestate.sender_sequences q WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sequence_copy.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  END IF;
  INSERT INTO entrestate.sender_steps (tenant_id, campaign_id, version, step, channel, template_id, template_version, delay,
    guard, time_window, variants)
  SELECT t, to_campaign, v, s.step, s.channel, s.template_id, s.template_version, s.delay, s.guard, s.time_window, s.variants
  FROM entrestate.sender_steps s WHERE s.tenant_id = t AND s.campaign_id = campaign AND s.version = sequence_copy.version;
  PERFORM entrestate.activity_add('sequence.created', 'sequence', format('%s/%s', to_campaign, v), to_campaign,
    jsonb_build_object('from', format('%s/%s', campaign, version)));
  RETURN v;
END
$$;
COMMENT ON FUNCTION sequence_copy(uuid, integer, uuid) IS
'Copies a sequence version, as a draft, to another campaign or its own; returns the new version. Capability: sequence.manage. Errors: P0002, 22004. (B13)';

CREATE FUNCTION sequence_archive(campaign uuid, version integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
BEGIN
  UPDATE entrestate.sender_sequences q SET status = 'archived', updated_at = entrestate.clock_now()
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sequence_archive.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  END IF;
  -- the campaign starts no runs any more, and notes it
  PERFORM entrestate.sender_start_missing(campaign);
  PERFORM entrestate.activity_add('sequence.archived', 'sequence', format('%s/%s', campaign, version), campaign);
  PERFORM entrestate.audit_add('sequence.archive', 'campaign', campaign::text, jsonb_build_object('version', version));
END
$$;
COMMENT ON FUNCTION sequence_archive(uuid, integer) IS
'Takes a published version out of use: no run begins with it, those that have go on. Capability: sequence.manage. Errors: P0002, 22004, ZE005 for a draft. (B1)';

CREATE FUNCTION sequence_get(campaign uuid, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
  r jsonb;
BEGIN
  SELECT to_jsonb(q) - 'tenant_id' || jsonb_build_object('steps', (
    SELECT coalesce(jsonb_agg(to_jsonb(s) - '{tenant_id,campaign_id,version}'::text[] ORDER BY s.step), '[]')
    FROM entrestate.sender_steps s WHERE s.tenant_id = t AND s.campaign_id = campaign AND s.version = q.version))
  INTO r FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND (sequence_get.version IS NULL OR q.version = sequence_get.version)
  ORDER BY q.version DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  END IF;
  RETURN r;
END
$$;
COMMENT ON FUNCTION sequence_get(uuid, integer) IS
'A version of a campaign''s sequence, or its newest, with its steps. Capability: sender.read. Errors: P0002. (B1)';

CREATE FUNCTION sequence_list(campaign uuid, before integer DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (version integer, name text, status text, steps integer, created_by text, created_at timestamptz, published_at timestamptz,
  updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT q.version, q.name, q.status,
    (SELECT count(*)::integer FROM entrestate.sender_steps s WHERE s.tenant_id = t AND s.campaign_id = campaign AND s.version = q.version),
    q.created_by, q.created_at, q.published_at, q.updated_at
  FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND (before IS NULL OR q.version < before)
  ORDER BY q.tenant_id DESC, q.campaign_id DESC, q.version DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION sequence_list(uuid, integer, integer) IS
'The versions of a campaign''s sequence, newest first; the next page begins before the last row''s version. Capability: sender.read. Errors: 22023. (B1)';

CREATE FUNCTION sender_setup(campaign uuid, intent text DEFAULT NULL, publish boolean DEFAULT true) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
  may boolean := entrestate.can('template.approve');
  tone text;
  channels text[];
  other text;
  s record;
  id uuid;
  steps jsonb := '[]';
  templates jsonb := '[]';
  v integer;
  brake smallint;
  started integer;
BEGIN
  PERFORM entrestate.require('template.manage');
  PERFORM entrestate.arg_text('intent', intent, 40, 0);
  SELECT CASE regexp_replace(lower(btrim(coalesce(sender_setup.intent, c.intent))), '[ -]+', '_', 'g')
      WHEN 'end_user' THEN 'structured' ELSE 'gentle' END, c.brake_index
  INTO tone, brake FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign;
  -- what the tenant has enabled and the campaign's contact rules allow
  SELECT coalesce(array_agg(h.channel ORDER BY array_position('{email,whatsapp,sms}'::text[], h.channel::text)), '{email}') INTO channels
  FROM entrestate.tenant_channels h WHERE h.tenant_id = t AND h.enabled
    AND h.channel = ANY (coalesce((SELECT a.channels FROM entrestate.campaign_agent_settings a
      WHERE a.tenant_id = t AND a.campaign_id = campaign), '{email,sms,whatsapp}'));
  -- a step aside goes by another channel, where there is one
  FOR s IN SELECT * FROM (VALUES
      ('gentle', 0, '1 hour', false, 'Thank you for your interest',
       E'Hello {{lead.first_name|there}},\n\nThank you for your interest in {{campaign.name|our offer}}. Take all the time you need; when a question comes up, just reply to this message.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, thank you for your interest in {{campaign.name|our offer}}. If a question comes up, just reply. {{sender.name|Your team}}'),
      ('gentle', 1, '5 days', true, 'If a question came up',
       E'Hello {{lead.first_name|there}},\n\nI hope that what you have seen of {{campaign.name|our offer}} was useful. If figures or documents would help you, tell me which.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, would figures or documents about {{campaign.name|our offer}} help you? Just reply. {{sender.name|Your team}}'),
      ('gentle', 2, '14 days', false, 'Whenever it suits you',
       E'Hello {{lead.first_name|there}},\n\nThis is my last message for now. Whenever it suits you to talk about {{campaign.name|our offer}}, a short reply is enough.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, this is my last message for now. Whenever it suits you, a short reply is enough. {{sender.name|Your team}}'),
      ('structured', 0, '10 minutes', false, 'What you asked for',
       E'Hello {{lead.first_name|there}},\n\nThank you for asking about {{campaign.name|our offer}}. Over the next days you will get: what is available, how it works, and how to visit us. Reply at any time to reach a person.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, thank you for asking about {{campaign.name|our offer}}. Reply at any time to reach a person. {{sender.name|Your team}}'),
      ('structured', 1, '2 days', false, 'What is available',
       E'Hello {{lead.first_name|there}},\n\nHere is what helps most people to choose at {{campaign.name|our offer}}: size, date and budget. Tell me yours, and I will send what fits.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, tell me size, date and budget, and I will send what fits. {{sender.name|Your team}}'),
      ('structured', 2, '3 days', true, 'How it works',
       E'Hello {{lead.first_name|there}},\n\nThe steps are: a visit or a call, an offer in writing, your decision. None of them binds you before you sign.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, the steps are: a visit or a call, an offer in writing, your decision. Questions? Just reply. {{sender.name|Your team}}'),
      ('structured', 3, '5 days', false, 'A visit or a call',
       E'Hello {{lead.first_name|there}},\n\nWould you like to visit us, or shall we talk on the phone? Reply with a day that suits you. This is my last message for now.\n\nKind regards\n{{sender.name|Your team}}',
       'Hello {{lead.first_name|there}}, would you like to visit us, or shall we talk? Reply with a day that suits you. {{sender.name|Your team}}')
    ) x(manner, step, delay, aside, subject, long, short) WHERE x.manner = tone ORDER BY x.step LOOP
    other := CASE WHEN s.aside THEN coalesce(channels[2], channels[1]) ELSE channels[1] END;
    id := entrestate.template_create(format('%s %s', s.subject, s.step + 1), other,
      CASE other WHEN 'email' THEN s.long ELSE s.short END, CASE other WHEN 'email' THEN s.subject END);
    IF may THEN
      PERFORM entrestate.template_status_set(id, 1, 'approved');
    END IF;
    steps := steps || jsonb_build_object('channel', other, 'template', id, 'delay', s.delay);
    templates := templates || jsonb_build_object('template', id, 'version', 1, 'status', CASE WHEN may THEN 'approved' ELSE 'draft' END);
  END LOOP;
  v := entrestate.sequence_create(campaign, steps);
  -- the first message by phone is louder: a hot lead gets not even that
  IF channels[1] <> 'email' AND brake <> 0 THEN
    UPDATE entrestate.campaigns c SET brake_index = 0, updated_at = entrestate.clock_now() WHERE c.tenant_id = t AND c.campaign_id = campaign;
    PERFORM entrestate.policy_changed(t, campaign);
    brake := 0;
  END IF;
  IF may AND coalesce(publish, true) THEN
    started := entrestate.sequence_publish(campaign, v);
  END IF;
  PERFORM entrestate.audit_add('sender.setup', 'campaign', campaign::text, jsonb_build_object('version', v, 'tone', tone, 'published', started IS NOT NULL));
  RETURN jsonb_build_object('campaign', campaign, 'version', v, 'tone', tone, 'channels', to_jsonb(channels), 'steps', steps,
    'templates', templates, 'brakeIndex', brake, 'published', started IS NOT NULL, 'started', coalesce(started, 0),
    'note', CASE WHEN started IS NOT NULL THEN NULL
      WHEN NOT may AND coalesce(publish, true) THEN 'Not published: the templates wait for somebody with template.approve.'
      ELSE 'Not published: sequence_publish() publishes it.' END);
END
$$;
COMMENT ON FUNCTION sender_setup(uuid, text, boolean) IS
'"Prepare follow-up for me": writes templates and a sequence for a campaign''s intent (or the given one), with the channels that the tenant has enabled (email when none), and publishes it: end user is informative and structured, anything else gentle and spaced. Where step 0 is not an email, the brake begins at 0. Without the capability template.approve the templates stay drafts, and nothing is published. Again, it makes a new version. Returns what it made. Capability: sequence.manage and template.manage. Errors: P0002, 22004, 54000, 55000. (B12)';

GRANT EXECUTE ON FUNCTION sequence_create(uuid, jsonb, text, boolean, text), sequence_publish(uuid, integer),
  sequence_copy(uuid, integer, uuid), sequence_archive(uuid, integer), sequence_get(uuid, integer), sequence_list(uuid, integer, integer),
  sender_setup(uuid, text, boolean) TO entrestate_app;
