-- sender: what predicates and templates see of a lead and its run. (B1)

CREATE FUNCTION guard_holds(predicate text, document jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN jsonb_path_match(document, ('strict ' || predicate)::jsonpath, '{}', true);
END
$$;
COMMENT ON FUNCTION guard_holds(text, jsonb) IS
'Internal: whether a jsonpath predicate holds of a document; NULL when it cannot be evaluated or is neither true nor false.';

CREATE FUNCTION guard_check(what text, predicate text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF octet_length(predicate) > 4096 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', format('%s is longer than 4096 bytes', what));
  END IF;
  BEGIN
    PERFORM ('strict ' || predicate)::jsonpath;
  EXCEPTION WHEN OTHERS THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is not a jsonpath predicate', what), SQLERRM,
      'Write for example $.lead.score < 10 && $.lead.direction != "RISK".');
  END;
  -- a path gives what it finds, a predicate true or false
  IF predicate !~ '(==|!=|<>|<|>|&&|\|\||!\s*\(|\mexists\s*\(|\mlike_regex\M|\mstarts\s+with\M|\mis\s+unknown\M)' THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is a path, not a predicate', what), NULL,
      'Write for example $.lead.score < 10 && $.lead.direction != "RISK".');
  END IF;
END
$$;
COMMENT ON FUNCTION guard_check(text, text) IS
'Internal: raises 22023 for a guard or exit predicate that does not parse or is no predicate, 54000 for one of more than 4096 bytes.';

CREATE FUNCTION template_missing(fields text[], document jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT f FROM unnest(fields) WITH ORDINALITY AS u(f, o)
  WHERE coalesce(btrim(document #>> string_to_array(f, '.')), '') = '' ORDER BY o LIMIT 1
$$;
COMMENT ON FUNCTION template_missing(text[], jsonb) IS
'Internal: the first field of a template that a document lacks; NULL: none.';

CREATE FUNCTION sender_document(tenant uuid, campaign uuid, lead uuid, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session; each row is looked up by its key.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN (
    SELECT jsonb_build_object(
      'lead', jsonb_build_object('full_name', l.full_name, 'first_name', split_part(btrim(l.full_name), ' ', 1), 'company', l.company,
        'email', (SELECT k.address FROM entrestate.lead_contacts k WHERE k.tenant_id = tenant AND k.lead_id = lead AND k.kind = 'email' AND k.is_primary),
        'phone', (SELECT k.address_norm FROM entrestate.lead_contacts k WHERE k.tenant_id = tenant AND k.lead_id = lead AND k.kind = 'phone' AND k.is_primary),
        'status', l.status, 'direction', l.direction, 'grade', coalesce(l.grade_override, l.grade), 'score', coalesce(s.score, 0),
        'hot', l.hot_at IS NOT NULL, 'owner', l.owner_id, 'custom', l.custom, 'time_zone', l.time_zone, 'source', l.source,
        'tags', (SELECT coalesce(jsonb_agg(g.tag ORDER BY g.tag), '[]') FROM entrestate.lead_tags g WHERE g.tenant_id = tenant AND g.lead_id = lead),
        'created_at', extract(epoch FROM l.created_at), 'replied_at', extract(epoch FROM l.replied_at)),
      'attribution', (SELECT jsonb_build_object('form', a.form, 'landing_page', a.landing_page, 'referrer', a.referrer, 'utm', a.utm,
          'click_ids', a.click_ids, 'attributed_at', extract(epoch FROM a.attributed_at))
        FROM entrestate.lead_attributions a WHERE a.tenant_id = tenant AND a.lead_id = lead AND a.campaign_id = campaign),
      'campaign', (SELECT jsonb_build_object('name', c.name, 'intent', c.intent, 'landing', c.landing)
        FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = campaign),
      'run', (SELECT jsonb_build_object('created_at', extract(epoch FROM r.created_at), 'step', r.cursor, 'sent_steps', r.sent_steps, 'status', r.status)
        FROM entrestate.sender_runs r WHERE r.tenant_id = tenant AND r.campaign_id = campaign AND r.lead_id = lead),
      -- the last outcome of each step, and what was reported of it
      'steps', (SELECT coalesce(jsonb_agg(x.it ORDER BY x.step), '[]') FROM (
          SELECT e.step, jsonb_build_object(
              'channel', (SELECT h.name FROM entrestate.sender_channels() h WHERE h.code = max(e.channel)),
              'outcome', (SELECT substr(y.name, 13) FROM entrestate.sender_event_types() y
                WHERE y.code = (array_agg(e.type ORDER BY e.run_seq DESC) FILTER (WHERE e.type BETWEEN 10 AND 15 AND e.type <> 14))[1]),
              'at', extract(epoch FROM max(e.recorded_at) FILTER (WHERE e.type BETWEEN 10 AND 15 AND e.type <> 14)),
              'delivered', bool_or(e.type = 40), 'opened', bool_or(e.type = 42), 'clicked', bool_or(e.type = 43), 'replied', bool_or(e.type = 44)) AS it
          FROM entrestate.sender_events e
          WHERE e.tenant_id = tenant AND e.lead_id = lead AND e.campaign_id = campaign AND e.step IS NOT NULL
          GROUP BY e.step HAVING bool_or(e.type BETWEEN 10 AND 15 AND e.type <> 14)) x),
      'now', extract(epoch FROM at))
    FROM entrestate.leads l
    LEFT JOIN entrestate.lead_scores s ON s.tenant_id = tenant AND s.lead_id = lead
    WHERE l.tenant_id = tenant AND l.lead_id = lead);
END
$$;
COMMENT ON FUNCTION sender_document(uuid, uuid, uuid, timestamptz) IS
'Internal: what a guard, an exit predicate and a template see: {lead, attribution, campaign, run, steps, now}; all times are epoch seconds. (B1)';
