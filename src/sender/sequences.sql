-- sender: sequences, what should happen. (B1, B12, B13)

CREATE FUNCTION sequence_create(campaign uuid, steps jsonb, name text DEFAULT 'Follow-up') RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
  v integer;
  s jsonb;
  i integer := 0;
  delay interval;
  template entrestate.templates;
BEGIN
  IF steps IS NULL OR jsonb_typeof(steps) <> 'array' OR jsonb_array_length(steps) NOT BETWEEN 1 AND 100 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'steps is not an array of 1 to 100 steps', NULL,
      'Write [{"channel": "email", "template": "<id>", "delay": "0"}, …].');
  END IF;
  SELECT coalesce(max(q.version), 0) + 1 INTO v FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign;
  INSERT INTO entrestate.sender_sequences (tenant_id, campaign_id, version, name, created_by, created_at, updated_at)
  VALUES (t, campaign, v, entrestate.arg_text('name', sequence_create.name, 100),
    entrestate.current_actor(), entrestate.clock_now(), entrestate.clock_now());
  FOR s IN SELECT e FROM jsonb_array_elements(steps) e LOOP
    IF jsonb_typeof(s) <> 'object' OR s - '{channel,template,delay}'::text[] <> '{}' THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s] is not a step', i), NULL,
        'A step is an object with the keys channel, template and delay.');
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
    SELECT m.* INTO template FROM entrestate.templates m
    WHERE m.tenant_id = t AND m.template_id::text = s ->> 'template' ORDER BY m.version DESC LIMIT 1;
    IF NOT FOUND THEN
      PERFORM entrestate.raise('NOT_FOUND', format('steps[%s].template is not a template of the tenant', i));
    ELSIF template.channel <> s ->> 'channel' THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('steps[%s].template is for another channel', i));
    END IF;
    INSERT INTO entrestate.sender_steps (tenant_id, campaign_id, version, step, channel, template_id, template_version, delay)
    VALUES (t, campaign, v, i, s ->> 'channel', template.template_id, template.version, delay);
    i := i + 1;
  END LOOP;
  PERFORM entrestate.activity_add('sequence.created', 'sequence', format('%s/%s', campaign, v), campaign,
    jsonb_build_object('steps', i));
  RETURN v;
END
$$;
COMMENT ON FUNCTION sequence_create(uuid, jsonb, text) IS
'Makes a draft version of a campaign''s sequence from steps [{channel, template, delay}]; returns the version. Capability: sequence.manage. Errors: P0002, 22004, 22023, 54000. (B1, B13)';

CREATE FUNCTION sequence_publish(campaign uuid, version integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sequence.manage');
  step integer;
  was text;
BEGIN
  SELECT q.status INTO was FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sequence_publish.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  ELSIF was = 'published' THEN
    RETURN 0;
  END IF;
  SELECT min(s.step) INTO step FROM entrestate.sender_steps s
  JOIN entrestate.templates m ON m.tenant_id = t AND m.template_id = s.template_id AND m.version = s.template_version
  WHERE s.tenant_id = t AND s.campaign_id = campaign AND s.version = sequence_publish.version
    AND m.status <> 'approved';
  IF FOUND AND step IS NOT NULL THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the template of step %s is not approved', step), NULL,
      'Approve it with template_status_set().');
  END IF;
  UPDATE entrestate.sender_sequences q SET status = 'archived', updated_at = entrestate.clock_now()
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.status = 'published';
  UPDATE entrestate.sender_sequences q SET status = 'published',
    published_at = entrestate.clock_now(), updated_at = entrestate.clock_now()
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sequence_publish.version;
  PERFORM entrestate.activity_add('sequence.published', 'sequence', format('%s/%s', campaign, version), campaign);
  PERFORM entrestate.audit_add('sequence.publish', 'campaign', campaign::text, jsonb_build_object('version', version));
  RETURN entrestate.sender_start_missing(campaign);
END
$$;
COMMENT ON FUNCTION sequence_publish(uuid, integer) IS
'Publishes a draft version: it never changes again, runs that begin from now on follow it, the one before is archived; returns how many runs the campaign''s backfill started. Capability: sequence.manage. Errors: P0002, 22004, 55000 when a template is not approved, ZE005. (B1)';

GRANT EXECUTE ON FUNCTION sequence_create(uuid, jsonb, text), sequence_publish(uuid, integer) TO entrestate_app;
