-- sender: sequences, runs, the processor. The decision: sender/decide.c; the
-- processor and its lock order: sender/process.c.

CREATE FUNCTION sender_event_types(OUT code smallint, OUT name text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 32 AS 'MODULE_PATHNAME', 'sender_codes_event_types';
COMMENT ON FUNCTION sender_event_types() IS 'Names of sender_events.type.';
CREATE FUNCTION sender_reasons(OUT code smallint, OUT name text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 40 AS 'MODULE_PATHNAME', 'sender_codes_reasons';
COMMENT ON FUNCTION sender_reasons() IS 'Names of sender_events.reason.';
CREATE FUNCTION sender_modes(OUT code smallint, OUT name text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'sender_codes_modes';
COMMENT ON FUNCTION sender_modes() IS 'Names of sender_events.mode.';
CREATE FUNCTION sender_channels(OUT code smallint, OUT name text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'sender_codes_channels';
COMMENT ON FUNCTION sender_channels() IS 'Names of sender_events.channel.';
GRANT EXECUTE ON FUNCTION sender_event_types(), sender_reasons(), sender_modes(), sender_channels()
  TO entrestate_app, entrestate_auditor, entrestate_worker;

CREATE FUNCTION template_create(name text, channel text, body text, subject text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('template.manage');
  id uuid := entrestate.uuid_v7();
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  IF (channel = 'email') <> (subject IS NOT NULL) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'an email has a subject, other messages have none');
  END IF;
  INSERT INTO entrestate.templates (tenant_id, template_id, version, name, channel, subject, body, created_by, created_at)
  VALUES (t, id, 1, entrestate.arg_text('name', template_create.name, 100), template_create.channel,
    entrestate.arg_text('subject', template_create.subject, 998, 0),
    entrestate.arg_text('body', template_create.body, 65536),
    entrestate.current_actor(), entrestate.clock_now());
  PERFORM entrestate.activity_add('template.created', 'template', id::text);
  RETURN id;
END
$$;
COMMENT ON FUNCTION template_create(text, text, text, text) IS
'Writes a message template (version 1, draft); returns its id. Capability: template.manage. Errors: 22004, 22023, 54000. (B1)';

CREATE FUNCTION template_status_set(template uuid, version integer, status text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('template.approve');
BEGIN
  PERFORM entrestate.arg_choice('status', status, ARRAY['approved', 'rejected', 'draft', 'retired']);
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

CREATE FUNCTION sender_start_runs(tenant uuid, campaign uuid, leads uuid[]) RETURNS integer
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
-- planned once: it looks rows up by their keys, whatever the values are
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  n integer;
BEGIN
  -- What gates 3 to 6 would end at once does not begin.
  WITH able AS (
    SELECT c.campaign_id, q.version, s.delay, t.time_zone, c.policy_version, c.brake_index,
      CASE WHEN t.dry_run OR c.dry_run THEN 'dry_run' ELSE t.mode END AS mode
    FROM entrestate.campaigns c
    JOIN entrestate.tenants t ON t.tenant_id = tenant
    JOIN entrestate.sender_sequences q ON q.tenant_id = tenant AND q.campaign_id = c.campaign_id AND q.status = 'published'
    JOIN entrestate.sender_steps s ON s.tenant_id = tenant AND s.campaign_id = c.campaign_id
      AND s.version = q.version AND s.step = 0
    WHERE c.tenant_id = tenant AND c.campaign_id = campaign AND c.status = 'active' AND c.sender_enabled
  ), run AS (
    INSERT INTO entrestate.sender_runs (tenant_id, campaign_id, lead_id, version, mode, next_at, first_due_at,
      created_at, updated_at)
    SELECT tenant, able.campaign_id, l.lead_id, able.version, able.mode, d.due_at, d.due_at,
      entrestate.clock_now(), entrestate.clock_now()
    FROM able CROSS JOIN (SELECT DISTINCT v.id FROM unnest(leads) AS v(id) ORDER BY 1) AS u(lead_id)
    -- In share mode: who brakes the lead waits, and finds the run. A query
    -- that locks stays by itself: by its key, whatever the statistics say.
    CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x
      WHERE x.tenant_id = tenant AND x.lead_id = u.lead_id FOR SHARE) l
    CROSS JOIN LATERAL (SELECT entrestate.delay_add(entrestate.clock_now(), able.delay,
      coalesce(l.time_zone, able.time_zone)) AS due_at) d
    WHERE NOT l.handoff_open AND l.status NOT IN ('booked', 'lost') AND l.merged_into IS NULL
      AND l.opted_out_at IS NULL AND l.complained_at IS NULL AND l.erasure_requested_at IS NULL
      AND (l.hot_at IS NULL OR able.brake_index > 0)
      -- nor again for a person whose duplicate had one
      AND NOT EXISTS (SELECT FROM entrestate.leads x JOIN entrestate.sender_runs r ON r.tenant_id = tenant
        AND r.campaign_id = able.campaign_id AND r.lead_id = x.lead_id WHERE x.merged_into = l.lead_id AND x.tenant_id = tenant)
    ON CONFLICT DO NOTHING
    RETURNING campaign_id, lead_id, version, mode, next_at
  ), due AS (
    INSERT INTO entrestate.sender_due (tenant_id, campaign_id, due_at, lead_id)
    SELECT tenant, campaign_id, next_at, lead_id FROM run
  ), event AS (
    INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, mode,
      decided_at, next_at, sequence_version, policy_version)
    SELECT tenant, run.lead_id, entrestate.clock_now(), run.campaign_id,
      (SELECT code FROM entrestate.sender_event_types() WHERE name = 'sender.run.started'), 1,
      (SELECT code FROM entrestate.sender_modes() WHERE name = run.mode),
      entrestate.clock_now(), run.next_at, run.version, able.policy_version
    FROM run, able
  )
  SELECT count(*) INTO n FROM run;
  RETURN n;
END
$$;
COMMENT ON FUNCTION sender_start_runs(uuid, uuid, uuid[]) IS
'Internal: starts the runs of leads attributed to a campaign, where it is active, its sender enabled and a sequence published; returns how many began. (B2, B8)';

CREATE FUNCTION sender_able(tenant uuid, campaign uuid) RETURNS boolean
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = campaign AND c.status = 'active' AND c.sender_enabled)
    AND EXISTS (SELECT FROM entrestate.sender_sequences q WHERE q.tenant_id = tenant AND q.campaign_id = campaign AND q.status = 'published');
END
$$;
COMMENT ON FUNCTION sender_able(uuid, uuid) IS
'Internal: whether a campaign is active, its sender enabled and a sequence published, so that runs can begin. (B8)';

CREATE FUNCTION sender_start_missing(campaign uuid, raced boolean DEFAULT false) RETURNS integer
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it looks, then starts.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t uuid := entrestate.current_tenant();
  able boolean := entrestate.sender_able(t, campaign);
  c entrestate.campaigns;
  leads uuid[];
BEGIN
  UPDATE entrestate.campaigns x SET sender_ready_at = CASE WHEN able THEN entrestate.clock_now() END,
    sender_ready_epoch = CASE WHEN able THEN entrestate.event_epoch() END, sender_ready_snapshot = CASE WHEN able THEN pg_current_snapshot() END
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND able <> (x.sender_ready_at IS NOT NULL);
  SELECT * INTO c FROM entrestate.campaigns x WHERE x.tenant_id = t AND x.campaign_id = campaign;
  IF NOT able OR NOT raced AND c.backfill IS NULL THEN
    RETURN 0;
  END IF;
  -- Missed by a race: it did not see the campaign able, and was not seen when
  -- the campaign became so. What came within two days is looked at; no
  -- transaction should last longer.
  SELECT array_agg(a.lead_id) INTO leads FROM entrestate.lead_attributions a
  WHERE a.campaign_id = campaign AND a.tenant_id = t AND (NOT a.imported OR c.runs_on_import)
    AND a.attributed_at >= CASE WHEN raced THEN entrestate.clock_now() - interval '48 hours' ELSE c.backfill END
    AND (NOT raced OR a.unable AND a.epoch = c.sender_ready_epoch AND NOT pg_visible_in_snapshot(a.txid, c.sender_ready_snapshot))
    AND NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = campaign AND r.lead_id = a.lead_id);
  RETURN CASE WHEN leads IS NULL THEN 0 ELSE entrestate.sender_start_runs(t, campaign, leads) END;
END
$$;
COMMENT ON FUNCTION sender_start_missing(uuid, boolean) IS
'Internal: notes when a campaign''s sender becomes able to start runs, and when it is, starts those of its backfill, or those that a race missed; returns how many. (B8)';

CREATE FUNCTION sender_upkeep_tenant(tenant uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = '' AS $$
DECLARE
  c record;
  n integer := 0;
BEGIN
  IF tenant IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'tenant is missing');
  END IF;
  PERFORM entrestate.context_enter_system(tenant);
  FOR c IN SELECT x.campaign_id FROM entrestate.campaigns x
           WHERE x.tenant_id = tenant AND x.sender_ready_at IS NOT NULL ORDER BY x.campaign_id LOOP
    n := n + entrestate.sender_start_missing(c.campaign_id, true);
  END LOOP;
  RETURN n;
END
$$;
COMMENT ON FUNCTION sender_upkeep_tenant(uuid) IS
'Starts the runs that a race missed: of leads attributed in a transaction that was open while their campaign''s sender became able to start runs; returns how many. For entrestate_worker. Errors: 22004. (B8)';

CREATE PROCEDURE sender_upkeep()
LANGUAGE plpgsql
-- PL/pgSQL: it commits per tenant, so it cannot be a definer. INVOKER.
AS $$
DECLARE
  t uuid;
BEGIN
  LOOP
    t := entrestate.tenant_next(t);
    EXIT WHEN t IS NULL;
    PERFORM entrestate.sender_upkeep_tenant(t);
    COMMIT;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE sender_upkeep() IS
'Starts the runs that a race missed, tenant by tenant, one commit each. For entrestate_worker; pg_cron calls it. Errors: 2D000 inside a transaction. (A20, B8)';
GRANT EXECUTE ON FUNCTION sender_upkeep_tenant(uuid) TO entrestate_worker;
GRANT EXECUTE ON PROCEDURE sender_upkeep() TO entrestate_worker;

CREATE FUNCTION campaign_backfill(campaign uuid, since timestamptz, start boolean DEFAULT false,
  OUT leads integer, OUT messages jsonb, OUT cost numeric, OUT started integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'campaign.manage');
BEGIN
  IF since IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'since is missing');
  END IF;
  SELECT count(*) INTO leads
  FROM entrestate.lead_attributions a JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = campaign
  CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = a.lead_id OFFSET 0) l
  WHERE a.tenant_id = t AND a.campaign_id = campaign AND a.attributed_at >= since AND (NOT a.imported OR c.runs_on_import)
    AND entrestate.lead_blocked(l.handoff_open, l.status, l.merged_into, l.opted_out_at, l.complained_at, l.erasure_requested_at, l.hot_at, c.brake_index) IS NULL
    AND NOT EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = campaign AND r.lead_id = a.lead_id)
    AND NOT EXISTS (SELECT FROM entrestate.leads x JOIN entrestate.sender_runs r ON r.tenant_id = t AND r.campaign_id = campaign
      AND r.lead_id = x.lead_id WHERE x.merged_into = l.lead_id AND x.tenant_id = t);
  SELECT coalesce(jsonb_object_agg(s.channel, s.n * leads), '{}') INTO messages
  FROM (SELECT x.channel, count(*) AS n FROM entrestate.sender_steps x
        JOIN entrestate.sender_sequences q ON q.tenant_id = t AND q.campaign_id = campaign AND q.version = x.version AND q.status = 'published'
        WHERE x.tenant_id = t AND x.campaign_id = campaign GROUP BY 1) s;
  started := 0;
  IF start THEN
    UPDATE entrestate.campaigns c SET backfill = since, updated_at = entrestate.clock_now() WHERE c.tenant_id = t AND c.campaign_id = campaign;
    PERFORM entrestate.audit_add('campaign.backfill', 'campaign', campaign::text, jsonb_build_object('since', since, 'leads', leads));
    started := entrestate.sender_start_missing(campaign);
  END IF;
END
$$;
COMMENT ON FUNCTION campaign_backfill(uuid, timestamptz, boolean) IS
'Says how many leads, attributed since an instant and without a run, would get one, and how many messages at most by channel; cost is NULL as long as there are no rate cards. With start it sets the campaign''s backfill and starts those runs now, or when the campaign''s sender becomes able to. Capability: campaign.manage. Errors: P0002, 22004. (B8)';

CREATE FUNCTION lead_blocked(handoff_open boolean, status text, merged_into uuid, opted_out_at timestamptz, complained_at timestamptz,
  erasure_requested_at timestamptz, hot_at timestamptz, brake_index integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN handoff_open THEN 'handoff' WHEN status IN ('booked', 'lost') THEN 'lead_closed' WHEN merged_into IS NOT NULL THEN 'merged'
  WHEN opted_out_at IS NOT NULL THEN 'opted_out' WHEN complained_at IS NOT NULL THEN 'complained'
  WHEN erasure_requested_at IS NOT NULL THEN 'erased' WHEN hot_at IS NOT NULL AND brake_index = 0 THEN 'hot' END;
COMMENT ON FUNCTION lead_blocked(boolean, text, uuid, timestamptz, timestamptz, timestamptz, timestamptz, integer) IS
'Internal: why gates 3 to 6 would end a run of the lead at once, so that none begins; NULL: they would not. A run that does not exist has had no reply.';

CREATE FUNCTION sender_start(campaign uuid, lead uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.operate');
  reason text;
BEGIN
  PERFORM entrestate.lead_require(lead, 'sender.operate');
  IF NOT EXISTS (SELECT FROM entrestate.lead_attributions a WHERE a.tenant_id = t AND a.campaign_id = campaign AND a.lead_id = lead) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'the lead is not attributed to this campaign', NULL, 'lead_attribute() attributes it.');
  END IF;
  reason := entrestate.sender_unstarted(t, campaign, lead);
  -- what is only not for the sender to begin by itself, a person may begin
  IF reason IS NOT NULL AND reason NOT IN ('before_backfill', 'imported', 'may_start') THEN
    PERFORM entrestate.raise('WRONG_STATE', format('no run can begin: %s', reason), NULL, 'sender_why() says more.');
  ELSIF entrestate.sender_start_runs(t, campaign, ARRAY[lead]) = 0 THEN
    PERFORM entrestate.raise('WRONG_STATE', 'no run can begin: there was one', NULL, 'There is no re-entry; copy the campaign.');
  END IF;
  PERFORM entrestate.audit_add('sender.start', 'run', entrestate.run_id(campaign, lead), '{}');
  RETURN entrestate.run_id(campaign, lead);
END
$$;
COMMENT ON FUNCTION sender_start(uuid, uuid) IS
'Starts the run of a lead that has none in a campaign it is attributed to, where the sender would not by itself (it came before the backfill or by an import, or a ticket was open then). What gates 3 to 6 say cannot be passed. Returns the run''s id. Capability: sender.operate. Errors: P0002, 22004, 55000 with the reason. (B8)';

CREATE FUNCTION sender_unstarted(tenant uuid, campaign uuid, lead uuid) RETURNS text
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT CASE
      WHEN EXISTS (SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = tenant AND r.campaign_id = campaign AND r.lead_id = lead) THEN NULL
      WHEN EXISTS (SELECT FROM entrestate.leads x JOIN entrestate.sender_runs r ON r.tenant_id = tenant AND r.campaign_id = campaign
        AND r.lead_id = x.lead_id WHERE x.merged_into = lead AND x.tenant_id = tenant) THEN 'merged'
      WHEN c.status IN ('completed', 'archived') THEN 'campaign_ended'
      ELSE coalesce(
        entrestate.lead_blocked(l.handoff_open, l.status, l.merged_into, l.opted_out_at, l.complained_at, l.erasure_requested_at, l.hot_at, c.brake_index),
        CASE WHEN c.status <> 'active' THEN 'campaign_paused' WHEN NOT c.sender_enabled THEN 'sender_disabled'
             WHEN NOT EXISTS (SELECT FROM entrestate.sender_sequences q WHERE q.tenant_id = tenant AND q.campaign_id = campaign AND q.status = 'published')
               THEN 'sequence_missing'
             WHEN a.imported AND NOT c.runs_on_import THEN 'imported'
             WHEN a.attributed_at < c.sender_ready_at AND (c.backfill IS NULL OR a.attributed_at < c.backfill) THEN 'before_backfill'
             ELSE 'may_start' END) END
    FROM entrestate.lead_attributions a
    JOIN entrestate.campaigns c ON c.tenant_id = tenant AND c.campaign_id = campaign
    JOIN entrestate.leads l ON l.tenant_id = tenant AND l.lead_id = lead
    WHERE a.tenant_id = tenant AND a.campaign_id = campaign AND a.lead_id = lead);
END
$$;
COMMENT ON FUNCTION sender_unstarted(uuid, uuid, uuid) IS
'Internal: why an attributed lead has no run: a reason of gates 3 to 6, the campaign''s state, imported, before_backfill; may_start: nothing is against it any more; NULL: it has one.';

CREATE FUNCTION sender_why(lead uuid) RETURNS TABLE (campaign_id uuid, campaign text, step integer, channel text, at timestamptz, what text, reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  IF NOT EXISTS (SELECT FROM entrestate.leads l WHERE l.tenant_id = t AND l.lead_id = lead) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN QUERY
  SELECT w.campaign_id, c.name, w.step, w.channel, w.at, w.what, w.reason FROM (
    -- runs that did not start
    SELECT a.campaign_id, NULL::integer AS step, NULL::text AS channel, a.attributed_at AS at, 0::bigint AS id, 'run not started' AS what,
      entrestate.sender_unstarted(t, a.campaign_id, lead) AS reason
    FROM entrestate.lead_attributions a WHERE a.tenant_id = t AND a.lead_id = lead
    UNION ALL
    -- steps that did not go out, or not yet, and what ended a run
    SELECT e.campaign_id, e.step::integer, h.name, e.recorded_at, e.id,
      CASE WHEN y.name LIKE 'sender.step.%' THEN replace(substr(y.name, 13), '_', ' ') || ' step' ELSE 'run ended' END, x.name
    FROM entrestate.sender_events e
    JOIN entrestate.sender_event_types() y ON y.code = e.type
    LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
    LEFT JOIN entrestate.sender_channels() h ON h.code = e.channel
    WHERE e.tenant_id = t AND e.lead_id = lead
      AND (y.name IN ('sender.step.skipped', 'sender.step.failed', 'sender.step.simulated', 'sender.step.deferred', 'sender.step.unknown')
        OR y.name LIKE 'sender.suppressed\_%' OR y.name = 'sender.run.failed')
  ) w JOIN entrestate.campaigns c ON c.tenant_id = t AND c.campaign_id = w.campaign_id
  WHERE w.what <> 'run not started' OR w.reason IS NOT NULL
  ORDER BY w.at, w.id;
END
$$;
COMMENT ON FUNCTION sender_why(uuid) IS
'For every run of a lead that did not start, every step that did not go out or was put off, and every run that ended early: the reason, in order of time. Capability: sender.read. Errors: P0002. (B7, B11)';

CREATE FUNCTION sender_next_tenant(after uuid) RETURNS uuid
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'sender_next_tenant';
COMMENT ON FUNCTION sender_next_tenant(uuid) IS
'The next tenant, by id, with runs that wait; NULL at the end. For entrestate_worker.';

CREATE FUNCTION sender_process_tenant(tenant uuid, batch integer DEFAULT 1000) RETURNS integer
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = ''
-- every row is looked up by its key, whatever the statistics of a table that
-- was just filled say
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_process_tenant';
COMMENT ON FUNCTION sender_process_tenant(uuid, integer) IS
'Decides at most batch due runs of a tenant, oldest first, in this transaction; returns how many. 0: nothing is due, the tenant is held, or another session is at it. For entrestate_worker. Errors: 22023. (B2, F8)';

CREATE PROCEDURE sender_process(batch integer DEFAULT 1000)
LANGUAGE c AS 'MODULE_PATHNAME', 'sender_process';
COMMENT ON PROCEDURE sender_process(integer) IS
'Decides everything that is due, tenant by tenant in turn, one batch and one commit at a time. Any number may run side by side. For entrestate_worker; pg_cron calls it every minute. Errors: 2D000 inside a transaction, 22023. (A20, B6, F8)';

GRANT EXECUTE ON FUNCTION sender_next_tenant(uuid), sender_process_tenant(uuid, integer) TO entrestate_worker;
GRANT EXECUTE ON PROCEDURE sender_process(integer) TO entrestate_worker;

CREATE FUNCTION sender_runs_of(lead uuid) RETURNS TABLE (run text, campaign_id uuid, version integer,
  status text, mode text, next_step integer, next_at timestamptz, reason text, in_flight boolean,
  created_at timestamptz, ended_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT entrestate.run_id(r.campaign_id, r.lead_id), r.campaign_id, r.version, r.status, r.mode,
    r.cursor::integer, r.next_at, x.name,
    EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id
            AND i.lead_id = r.lead_id AND i.final_at IS NULL AND i.status <> 'unknown'),
    r.created_at, r.ended_at
  FROM entrestate.sender_runs r LEFT JOIN entrestate.sender_reasons() x ON x.code = r.reason
  WHERE r.tenant_id = t AND r.lead_id = lead
  ORDER BY r.created_at, r.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_runs_of(uuid) IS
'A lead''s runs with their state. Capability: sender.read. (B2, B7)';

CREATE FUNCTION sender_history(lead uuid, campaign uuid DEFAULT NULL) RETURNS TABLE (recorded_at timestamptz,
  campaign_id uuid, run_seq integer, type text, step integer, attempt integer, channel text, mode text,
  reason text, next_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT e.recorded_at, e.campaign_id, e.run_seq, y.name, e.step::integer, e.attempt::integer, c.name, m.name, x.name, e.next_at
  FROM entrestate.sender_events e
  JOIN entrestate.sender_event_types() y ON y.code = e.type
  JOIN entrestate.sender_modes() m ON m.code = e.mode
  LEFT JOIN entrestate.sender_channels() c ON c.code = e.channel
  LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
  WHERE e.tenant_id = t AND e.lead_id = lead
    AND (campaign IS NULL OR e.campaign_id = campaign)
  ORDER BY e.tenant_id, e.lead_id, e.recorded_at, e.id;
END
$$;
COMMENT ON FUNCTION sender_history(uuid, uuid) IS
'Everything the sender did for a lead, oldest first: the immutable history of its runs. Capability: sender.read. (B2)';

CREATE FUNCTION sender_queue() RETURNS TABLE (campaign_id uuid, campaign text, pending bigint, running bigint,
  suppressed bigint, failed bigint, done bigint, in_flight bigint, due bigint, held_for text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  RETURN QUERY
  SELECT c.campaign_id, c.name, n.pending, n.running, n.suppressed, n.failed, n.done,
    (SELECT count(*) FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = c.campaign_id
       AND i.status IN ('ready', 'leased', 'started')),
    (SELECT count(*) FROM entrestate.sender_due d WHERE d.tenant_id = t AND d.campaign_id = c.campaign_id
       AND d.due_at <= entrestate.clock_now()),
    CASE WHEN s.frozen_at IS NOT NULL THEN 'tenant_frozen' WHEN s.paused_at IS NOT NULL THEN 'tenant_paused'
         WHEN c.status IN ('draft', 'paused') THEN 'campaign_paused' WHEN NOT c.sender_enabled THEN 'sender_disabled'
         WHEN c.risk_paused_at IS NOT NULL THEN 'risk_paused' END
  FROM entrestate.campaigns c
  JOIN entrestate.tenants s ON s.tenant_id = t
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.status = 'pending') AS pending, count(*) FILTER (WHERE r.status = 'running') AS running,
      count(*) FILTER (WHERE r.status = 'suppressed') AS suppressed, count(*) FILTER (WHERE r.status = 'failed') AS failed,
      count(*) FILTER (WHERE r.status = 'done') AS done
    FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = c.campaign_id) n
  WHERE c.tenant_id = t ORDER BY c.created_at, c.campaign_id;
END
$$;
COMMENT ON FUNCTION sender_queue() IS
'The tenant''s runs by campaign and status, how many are in flight or due, and why a queue is held. Capability: sender.read. (B7)';

GRANT EXECUTE ON FUNCTION template_create(text, text, text, text), template_status_set(uuid, integer, text),
  sequence_create(uuid, jsonb, text), sequence_publish(uuid, integer), sender_runs_of(uuid),
  sender_history(uuid, uuid), sender_queue(), sender_start(uuid, uuid), sender_why(uuid),
  campaign_backfill(uuid, timestamptz, boolean) TO entrestate_app;
