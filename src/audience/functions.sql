-- audience: signals in, score, latch and direction out. How: audience/signals.c
-- and audience/score.c. (A10, B9, B11)

CREATE FUNCTION signal_kinds(OUT code smallint, OUT name text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 13 AS 'MODULE_PATHNAME', 'audience_kinds';
COMMENT ON FUNCTION signal_kinds() IS
'Names of intent_signals.kind. cooled and merged mark that a person cooled the lead, or that another lead was merged into it.';

CREATE FUNCTION score_defaults(OUT version integer, OUT score_window interval, OUT hot_threshold integer,
  OUT warming_threshold integer, OUT open integer, OUT click integer, OUT chat_message integer,
  OUT rapid_interaction integer, OUT form_resubmission integer, OUT reply integer, OUT call_request integer,
  OUT visit_request integer)
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'audience_defaults';
COMMENT ON FUNCTION score_defaults() IS
'Weights, window and thresholds of a tenant that has set none: version 0 of score_settings. (B9)';
GRANT EXECUTE ON FUNCTION signal_kinds(), score_defaults() TO entrestate_app, entrestate_auditor, entrestate_worker;

CREATE FUNCTION score_of(weights integer[], score_window bigint, kinds smallint[], occurred_at timestamptz[],
  at timestamptz) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'audience_score';
COMMENT ON FUNCTION score_of(integer[], bigint, smallint[], timestamptz[], timestamptz) IS
'Internal: the score that signals (in order of time) make at an instant; weights are those of kinds 1 to 8, the window is in microseconds. (B9, L7)';

CREATE FUNCTION score_settings_of(tenant uuid, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (
    SELECT jsonb_build_object('version', s.version, 'windowSeconds', extract(epoch FROM s.score_window)::bigint,
      'hotThreshold', s.hot_threshold, 'warmingThreshold', s.warming_threshold, 'weights', jsonb_build_object(
        'open', s.open, 'click', s.click, 'chat_message', s.chat_message, 'rapid_interaction', s.rapid_interaction,
        'form_resubmission', s.form_resubmission, 'reply', s.reply, 'call_request', s.call_request, 'visit_request', s.visit_request))
    FROM (SELECT x.version, x.score_window, x.hot_threshold, x.warming_threshold, x.open, x.click, x.chat_message,
            x.rapid_interaction, x.form_resubmission, x.reply, x.call_request, x.visit_request
          FROM entrestate.score_settings x WHERE x.tenant_id = tenant AND (score_settings_of.version IS NULL OR x.version = score_settings_of.version)
          UNION ALL
          SELECT * FROM entrestate.score_defaults() d WHERE score_settings_of.version IS NULL OR score_settings_of.version = 0
          ORDER BY 1 DESC LIMIT 1) s);
END
$$;
COMMENT ON FUNCTION score_settings_of(uuid, integer) IS
'Internal: a tenant''s score settings of a version, or with NULL those in force. (B9)';

CREATE FUNCTION score_settings_get(version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  s jsonb := entrestate.score_settings_of(entrestate.require('audience.read'), version);
BEGIN
  IF s IS NULL THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such version of the score settings');
  END IF;
  RETURN s;
END
$$;
COMMENT ON FUNCTION score_settings_get(integer) IS
'Weights, window (in seconds) and thresholds of the tenant: those in force, or of a version. Capability: audience.read. Errors: P0002. (B9)';

CREATE FUNCTION score_settings_set(weights jsonb DEFAULT NULL, hot_threshold integer DEFAULT NULL,
  warming_threshold integer DEFAULT NULL, score_window interval DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('audience.manage');
  s jsonb;
  w jsonb;
  k text;
  v integer;
BEGIN
  -- one writer at a time: versions have no gap
  PERFORM FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  s := entrestate.score_settings_of(t);
  w := (s -> 'weights') || entrestate.arg_object('weights', weights, 4096);
  FOR k IN SELECT jsonb_object_keys(w) LOOP
    IF NOT (s -> 'weights') ? k OR jsonb_typeof(w -> k) <> 'number' OR (w -> k)::numeric <> trunc((w -> k)::numeric)
      OR NOT (w -> k)::numeric BETWEEN 0 AND 1000 THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('weights.%s is not a weight', left(k, 40)), NULL,
        format('Write whole numbers from 0 to 1000 for some of: %s.', (SELECT string_agg(x, ', ') FROM jsonb_object_keys(s -> 'weights') x)));
    END IF;
  END LOOP;
  hot_threshold := coalesce(hot_threshold, (s ->> 'hotThreshold')::integer);
  warming_threshold := coalesce(warming_threshold, (s ->> 'warmingThreshold')::integer);
  IF NOT hot_threshold BETWEEN 1 AND 1000000 OR NOT warming_threshold BETWEEN 1 AND hot_threshold THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'the thresholds are not 1 <= warming_threshold <= hot_threshold <= 1000000');
  END IF;
  score_window := coalesce(score_window, make_interval(secs => (s ->> 'windowSeconds')::bigint));
  IF NOT score_window BETWEEN '1 hour' AND '366 days' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'score_window is not from an hour to 366 days');
  END IF;
  v := (s ->> 'version')::integer + 1;
  INSERT INTO entrestate.score_settings (tenant_id, version, score_window, hot_threshold, warming_threshold, open, click,
    chat_message, rapid_interaction, form_resubmission, reply, call_request, visit_request, created_by, created_at)
  VALUES (t, v, score_settings_set.score_window, score_settings_set.hot_threshold, score_settings_set.warming_threshold,
    (w -> 'open')::integer, (w -> 'click')::integer, (w -> 'chat_message')::integer, (w -> 'rapid_interaction')::integer,
    (w -> 'form_resubmission')::integer, (w -> 'reply')::integer, (w -> 'call_request')::integer, (w -> 'visit_request')::integer,
    entrestate.current_actor(), entrestate.clock_now());
  PERFORM entrestate.policy_changed(t);
  PERFORM entrestate.activity_add('audience.settings.updated', 'tenant', t::text, NULL, jsonb_build_object('version', v));
  PERFORM entrestate.audit_add('audience.settings.set', 'tenant', t::text, jsonb_build_object('version', v));
  RETURN v;
END
$$;
COMMENT ON FUNCTION score_settings_set(jsonb, integer, integer, interval) IS
'Sets weights {kind: 0 to 1000}, thresholds and window of the tenant, as a new version, which it returns; NULL leaves one as it is. A lead that is hot stays so; a campaign''s own thresholds hold where they are lower. Capability: audience.manage. Errors: 22023, 54000. (B9)';

-- Signals.

CREATE FUNCTION signals_store(tenant uuid, leads uuid[], kinds text[], occurred_at timestamptz[],
  campaigns uuid[], refs text[], OUT no integer, OUT lead_id uuid, OUT outcome text, OUT score integer,
  OUT hot boolean) RETURNS SETOF record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'audience_signals';
COMMENT ON FUNCTION signals_store(uuid, uuid[], text[], timestamptz[], uuid[], text[]) IS
'Internal: stores signals and keeps score, latch and direction; signals_follow() does what follows.';

CREATE FUNCTION open_is_machine(user_agent text, seconds_after_delivery numeric DEFAULT NULL, method text DEFAULT NULL)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(upper(method) NOT IN ('GET', 'POST'), false)
    OR coalesce(seconds_after_delivery < 2, false)
    -- Apple's privacy proxy loads every message and says no more than this
    OR coalesce(btrim(user_agent) IN ('', 'Mozilla/5.0', 'Mozilla'), false)
    -- Cubot makes telephones
    OR coalesce(user_agent ~* '((?<!cu)bot|crawl|spider|slurp|scanner|preview|prefetch|monitor|headless|phantomjs|puppeteer|playwright|selenium|curl|wget|libwww|python|java/|okhttp|go-http-client|axios|node-fetch|ruby|perl|php/|httpclient|facebookexternalhit|whatsapp|skypeuripreview|barracuda|proofpoint|mimecast|ironport|symantec|trendmicro|forcepoint|fireeye|messagelabs|safelinks|urldefense|office365|microsoft-outlook-protection|yahoomailproxy|mail\.ru proxy)', false)
$$;
COMMENT ON FUNCTION open_is_machine(text, numeric, text) IS
'Whether an open or a click was a machine''s: another method than GET or POST, less than two seconds after delivery, an empty agent or the bare Mozilla/5.0 of privacy proxies, or the name of a robot, scanner, preview or library. Gmail''s image proxy fetches when a person looks, and counts. (B9)';

CREATE FUNCTION reply_is_automatic(headers jsonb, subject text DEFAULT NULL) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (
      SELECT FROM jsonb_each_text(CASE jsonb_typeof(headers) WHEN 'object' THEN headers END) h
      WHERE lower(h.key) = 'auto-submitted' AND lower(btrim(h.value)) <> 'no'  -- RFC 3834
        OR lower(h.key) = 'precedence' AND lower(btrim(h.value)) IN ('bulk', 'junk', 'list', 'auto_reply')
        OR lower(h.key) IN ('x-autoreply', 'x-autorespond', 'x-autoresponder', 'x-auto-response', 'auto-response')
          AND lower(btrim(h.value)) NOT IN ('no', 'false', '0')
        OR lower(h.key) = 'return-path' AND btrim(h.value) IN ('', '<>')
        OR lower(h.key) = 'content-type' AND h.value ILIKE '%report-type=%')
    OR coalesce(subject ~* '^\s*((re|aw|fwd?|tr|rv)\s*:\s*)*(automatic reply|auto(mated|matic)?[ -]?(reply|response)|out of (the )?office|away from (the )?office|on vacation|abwesen|automatische antwort|r[eé]ponse automatique|absence du bureau|respuesta autom[aá]tica|fuera de (la )?oficina|resposta autom[aá]tica|risposta automatica|afwezig|automatisch antwoord|undeliver|delivery (status|failure)|mail delivery|returned mail)', false)
$$;
COMMENT ON FUNCTION reply_is_automatic(jsonb, text) IS
'Whether a reply was an automatic one: Auto-Submitted other than no (RFC 3834), Precedence bulk, junk, list or auto_reply, an autoresponder''s header, an empty Return-Path, a delivery report, or a subject that says so in one of the common languages. Headers: {name: value}. (B9)';

CREATE FUNCTION signals_follow(tenant uuid, hot uuid[], replied uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  l record;
BEGIN
  INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id)
  SELECT tenant, entrestate.clock_now(), entrestate.uuid_v7(), 'lead.hot', x.campaign_id, x.lead_id
  FROM unnest(hot) AS u(id)
  -- OFFSET 0: from the array to the leads by their key, never the other way
  CROSS JOIN LATERAL (SELECT y.campaign_id, y.lead_id FROM entrestate.leads y WHERE y.tenant_id = tenant AND y.lead_id = u.id OFFSET 0) x;
  FOR l IN
    SELECT x.lead_id, x.owner_id, x.campaign_id, x.lead_id = ANY (coalesce(hot, '{}')) AS is_hot
    FROM (SELECT DISTINCT u.id FROM unnest(hot || replied) AS u(id)) d
    CROSS JOIN LATERAL (SELECT * FROM entrestate.leads y WHERE y.tenant_id = tenant AND y.lead_id = d.id OFFSET 0) x ORDER BY x.lead_id
  LOOP
    PERFORM entrestate.activity_add(CASE WHEN l.is_hot THEN 'lead.hot' ELSE 'lead.replied' END, 'lead', l.lead_id::text, l.campaign_id);
    PERFORM entrestate.notification_add(l.owner_id, CASE WHEN l.is_hot THEN 'lead.hot' ELSE 'lead.replied' END, 'lead', l.lead_id::text, l.campaign_id);
  END LOOP;
  PERFORM entrestate.sender_brake(tenant, hot || replied);
END
$$;
COMMENT ON FUNCTION signals_follow(uuid, uuid[], uuid[]) IS
'Internal: what follows in their own transaction from signals that made leads hot or were replies: the brake, the feed and a notification. (B10)';

CREATE FUNCTION signals_add(leads uuid[], kinds text[], occurred_at timestamptz[] DEFAULT NULL,
  campaigns uuid[] DEFAULT NULL, refs text[] DEFAULT NULL)
RETURNS TABLE (no integer, lead_id uuid, outcome text, score integer, hot boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- every row is looked up by its key, whatever the statistics of a table that
-- was just filled say
SET search_path = pg_catalog, pg_temp SET row_security = on
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('audience.signal');
BEGIN
  IF campaigns IS NOT NULL AND EXISTS (SELECT FROM (SELECT DISTINCT u.c FROM unnest(campaigns) AS u(c) WHERE u.c IS NOT NULL) d
      WHERE NOT EXISTS (SELECT FROM entrestate.campaigns k WHERE k.tenant_id = t AND k.campaign_id = d.c)) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'campaigns has one that is not the tenant''s');
  END IF;
  RETURN QUERY
  SELECT s.no, s.lead_id, s.outcome, s.score, s.hot
  FROM entrestate.signals_store(t, leads, kinds, signals_add.occurred_at, campaigns, refs) s;
END
$$;
COMMENT ON FUNCTION signals_add(uuid[], text[], timestamptz[], uuid[], text[]) IS
'Stores up to 10,000 intent signals, one per element of the arrays (kinds: signal_kinds()), keeps score, hot latch and direction, and brakes the leads that turn hot or reply. A signal with a reference counts once per kind and reference, however often it comes; a time in the future is now. One row per signal: counted, machine (stored, weighs nothing), repeated, or unknown (no such lead; nothing stored). Capability: audience.signal. Errors: 22004, 22023, 54000, P0002. (A10, B9)';

CREATE FUNCTION signal_add(lead uuid, kind text, occurred_at timestamptz DEFAULT NULL, campaign uuid DEFAULT NULL,
  reference text DEFAULT NULL, evidence jsonb DEFAULT NULL, OUT outcome text, OUT score integer, OUT hot boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('audience.signal');
  k text := kind;
BEGIN
  PERFORM entrestate.arg_object('evidence', evidence, 65536);
  -- judged and forgotten: no header and no address is stored (L8)
  IF evidence IS NOT NULL THEN
    IF kind IN ('open', 'click') AND entrestate.open_is_machine(evidence ->> 'userAgent',
        CASE jsonb_typeof(evidence -> 'secondsAfterDelivery') WHEN 'number' THEN (evidence ->> 'secondsAfterDelivery')::numeric END,
        evidence ->> 'method') THEN
      k := 'machine_' || kind;
    ELSIF kind = 'reply' AND entrestate.reply_is_automatic(evidence -> 'headers', evidence ->> 'subject') THEN
      k := 'auto_reply';
    END IF;
  END IF;
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  SELECT s.outcome, s.score, s.hot INTO STRICT outcome, score, hot
  FROM entrestate.signals_store(t, ARRAY[lead], ARRAY[k], ARRAY[signal_add.occurred_at], ARRAY[campaign], ARRAY[reference]) s;
  IF outcome = 'unknown' THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
END
$$;
COMMENT ON FUNCTION signal_add(uuid, text, timestamptz, uuid, text, jsonb) IS
'Stores an intent signal of a lead: open, click, chat_message, form_resubmission, reply, call_request or visit_request (or one known to be a machine''s: machine_open, machine_click, auto_reply). reference names the message, chat line or form: the same kind and reference again counts nothing. evidence {userAgent, secondsAfterDelivery, method} or {headers, subject} is judged by open_is_machine() and reply_is_automatic() and not stored. Returns counted, machine or repeated, the lead''s score and whether this signal made it hot: then its runs have ended and its owner is told. Capability: audience.signal. Errors: 22004, 22023, 54000, P0002. (A10, B9)';

CREATE FUNCTION lead_cool(lead uuid, reason text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('lead.cool');
  at timestamptz := entrestate.clock_now();
  l entrestate.leads;
  n integer;
BEGIN
  PERFORM entrestate.arg_text('reason', reason, 500);
  -- lock order: lead_scores, leads
  PERFORM FROM entrestate.lead_scores s WHERE s.tenant_id = t AND s.lead_id = lead FOR NO KEY UPDATE;
  SELECT * INTO l FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  ELSIF l.merged_into IS NOT NULL THEN
    -- its signals count for the other one: what was hot of them is to be cooled there
    PERFORM entrestate.raise('WRONG_STATE', 'the lead was merged into another one',
      format('It is %s now.', l.merged_into), 'Use that lead''s id; lead_get() follows by itself.');
  ELSIF l.handoff_open THEN
    PERFORM entrestate.raise('WRONG_STATE', 'a handoff ticket of the lead is open', NULL,
      'Resolve it with handoff_resolve() first: who has it has not said that the lead has cooled.');
  ELSIF l.hot_at IS NULL THEN
    RETURN false;
  END IF;
  UPDATE entrestate.lead_scores s SET score = 0, score_at = at, expires_at = NULL, signal_count = s.signal_count + 1,
    counted_kinds = '{}', counted_at = '{}', settings_version = (entrestate.score_settings_of(t) ->> 'version')::integer
  WHERE s.tenant_id = t AND s.lead_id = lead RETURNING s.signal_count INTO n;
  INSERT INTO entrestate.intent_signals (tenant_id, lead_id, recorded_at, signal_no, occurred_at, kind, score, settings_version, counted, hot)
  SELECT t, lead, at, n, at, k.code, 0, (entrestate.score_settings_of(t) ->> 'version')::integer, false, false
  FROM entrestate.signal_kinds() k WHERE k.name = 'cooled';
  UPDATE entrestate.leads x SET hot_at = NULL, updated_at = at WHERE x.tenant_id = t AND x.lead_id = lead;
  PERFORM entrestate.lead_direct(t, lead);
  INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id)
  VALUES (t, at, entrestate.uuid_v7(), 'lead.cooled', l.campaign_id, lead);
  PERFORM entrestate.activity_add('lead.cooled', 'lead', lead::text, l.campaign_id);
  PERFORM entrestate.audit_add('lead.cool', 'lead', lead::text, jsonb_build_object('reason', reason));
  RETURN true;
END
$$;
COMMENT ON FUNCTION lead_cool(uuid, text) IS
'Says that a hot lead has cooled: clears the latch, and what the lead did until now counts no more. Its runs stay ended. Not while a handoff ticket is open; returns false when the lead is not hot. Capability: lead.cool. Errors: P0002, 22004, 22023, 54000, 55000. (B9)';

CREATE FUNCTION lead_direct(tenant uuid, lead uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- The lead's row is locked by now: whoever changes the score updates the
  -- lead after it, so the score that is read here is the last one, or its
  -- writer comes after us.
  UPDATE entrestate.leads l SET direction = d.direction, updated_at = entrestate.clock_now()
  FROM entrestate.lead_directions(tenant, ARRAY[lead]) d
  WHERE l.tenant_id = tenant AND l.lead_id = lead AND l.direction <> d.direction;
END
$$;
COMMENT ON FUNCTION lead_direct(uuid, uuid) IS
'Internal: sets a lead''s direction anew, when something besides a signal may have changed it. (B9)';

CREATE FUNCTION lead_directions(tenant uuid, leads uuid[]) RETURNS TABLE (lead_id uuid, direction text)
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY
  SELECT l.lead_id, CASE
    WHEN l.complained_at IS NOT NULL OR l.opted_out_at IS NOT NULL OR EXISTS (SELECT FROM entrestate.lead_contacts c
      WHERE c.tenant_id = tenant AND c.lead_id = l.lead_id AND c.is_primary AND c.unusable_reason = 'hard_bounce') THEN 'RISK'
    WHEN l.hot_at IS NOT NULL OR l.handoff_open THEN 'READY'
    -- as the score: by the settings that it was made with
    WHEN s.score >= coalesce(f.warming_threshold, (SELECT d.warming_threshold FROM entrestate.score_defaults() d)) THEN 'WARMING'
    WHEN cardinality(s.counted_kinds) > 0 THEN 'EXPLORING'
    ELSE 'NOISE' END
  FROM unnest(lead_directions.leads) AS u(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = u.id OFFSET 0) l
  LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_scores x WHERE x.tenant_id = tenant AND x.lead_id = u.id OFFSET 0) s ON true
  LEFT JOIN entrestate.score_settings f ON f.tenant_id = tenant AND f.version = s.settings_version;
END
$$;
COMMENT ON FUNCTION lead_directions(uuid, uuid[]) IS
'Internal: the directions of leads, first match: RISK (complained, opted out, hard bounce), READY (hot or an open handoff), WARMING (score at the warming threshold), EXPLORING (any signal in the window), NOISE. (B9, L7)';

CREATE FUNCTION scores_decay_tenant(tenant uuid, batch integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = ''
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
  s jsonb;
  w integer[];
  win interval;
  done uuid[];
BEGIN
  IF tenant IS NULL OR batch IS NULL OR batch NOT BETWEEN 1 AND 100000 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'tenant is missing, or batch is not a number from 1 to 100000');
  END IF;
  PERFORM entrestate.context_enter_system(tenant);
  s := entrestate.score_settings_of(tenant);
  win := make_interval(secs => (s ->> 'windowSeconds')::bigint);
  w := ARRAY(SELECT coalesce((s -> 'weights' ->> k.name)::integer, 0) FROM entrestate.signal_kinds() k WHERE k.code < 9 ORDER BY k.code);
  WITH due AS MATERIALIZED (
    -- what is read is the row that was locked: another look at the table would
    -- find it as it was when the statement began
    SELECT x.lead_id, x.counted_kinds, x.counted_at FROM entrestate.lead_scores x
    WHERE x.tenant_id = tenant AND x.expires_at <= at
    ORDER BY x.tenant_id, x.expires_at LIMIT batch FOR NO KEY UPDATE SKIP LOCKED
  ), left_in AS (
    SELECT x.lead_id, k.kinds, k.times FROM due x
    CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(u.k ORDER BY u.o), '{}') AS kinds, coalesce(array_agg(u.a ORDER BY u.o), '{}') AS times
      FROM unnest(x.counted_kinds, x.counted_at) WITH ORDINALITY AS u(k, a, o)
      WHERE u.a > at - win) k
  ), aged AS (
    UPDATE entrestate.lead_scores x SET counted_kinds = y.kinds, counted_at = y.times, score_at = at,
      score = entrestate.score_of(w, (s ->> 'windowSeconds')::bigint * 1000000, y.kinds, y.times, at),
      settings_version = (s ->> 'version')::integer, expires_at = y.times[1] + win
    FROM left_in y WHERE x.tenant_id = tenant AND x.lead_id = y.lead_id
    RETURNING x.lead_id)
  SELECT array_agg(aged.lead_id ORDER BY aged.lead_id) INTO done FROM aged;
  PERFORM entrestate.leads_lock(tenant, done);
  UPDATE entrestate.leads l SET direction = d.direction, updated_at = at
  FROM entrestate.lead_directions(tenant, done) d
  WHERE l.tenant_id = tenant AND l.lead_id = d.lead_id AND l.direction <> d.direction;
  RETURN coalesce(cardinality(done), 0);
END
$$;
COMMENT ON FUNCTION scores_decay_tenant(uuid, integer) IS
'Takes signals that have left the window out of at most batch scores of a tenant; returns how many. The latch stays. For entrestate_worker. Errors: 22023. (A20, B9)';

CREATE PROCEDURE scores_decay(batch integer DEFAULT 1000)
LANGUAGE plpgsql
-- PL/pgSQL: it commits per batch, so it can be no definer and pin no search
-- path. INVOKER; its operators say where they are from.
AS $$
DECLARE
  t uuid;
BEGIN
  LOOP
    t := entrestate.tenant_next(t);
    EXIT WHEN t IS NULL;
    LOOP
      EXIT WHEN entrestate.scores_decay_tenant(t, batch) OPERATOR(pg_catalog.<) batch;
      COMMIT;
    END LOOP;
    COMMIT;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE scores_decay(integer) IS
'Lets scores fall as signals leave the window, tenant by tenant, one batch and one commit at a time. For entrestate_worker; pg_cron calls it. Errors: 2D000 inside a transaction, 22023. (A20, B9)';

CREATE FUNCTION lead_score(lead uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('audience.read');
  r jsonb;
BEGIN
  SELECT jsonb_build_object('score', coalesce(s.score, 0), 'at', s.score_at, 'settingsVersion', s.settings_version,
    'direction', l.direction, 'hotAt', l.hot_at, 'expiresAt', s.expires_at, 'signals', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('kind', k.name, 'at', u.a,
        'points', (entrestate.score_settings_of(t, s.settings_version) -> 'weights' ->> k.name)::integer) ORDER BY u.o), '[]')
      FROM unnest(s.counted_kinds, s.counted_at) WITH ORDINALITY AS u(k, a, o) JOIN entrestate.signal_kinds() k ON k.code = u.k))
  INTO r FROM entrestate.leads l LEFT JOIN entrestate.lead_scores s ON s.tenant_id = t AND s.lead_id = lead
  WHERE l.tenant_id = t AND l.lead_id = lead;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  END IF;
  RETURN r || jsonb_build_object('rapidInteraction', (r ->> 'score')::integer
    - (SELECT coalesce(sum((x ->> 'points')::integer), 0) FROM jsonb_array_elements(r -> 'signals') x));
END
$$;
COMMENT ON FUNCTION lead_score(uuid) IS
'A lead''s score with what it is made of: the signals that count, their points, and those for rapid interaction. Capability: audience.read. Errors: P0002. (B9)';

CREATE FUNCTION signals_list(lead uuid, before timestamptz DEFAULT NULL, before_no integer DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (recorded_at timestamptz, signal_no integer, occurred_at timestamptz, kind text, campaign_id uuid,
  reference text, counted boolean, score integer, hot boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('audience.read');
  upto timestamptz := coalesce(before, 'infinity');
  upto_no integer := coalesce(before_no, 0);
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT s.recorded_at, s.signal_no, s.occurred_at, (SELECT k.name FROM entrestate.signal_kinds() k WHERE k.code = s.kind),
    s.campaign_id, s.reference, s.counted, s.score, s.hot
  FROM entrestate.intent_signals s
  WHERE s.tenant_id = t AND s.lead_id = lead AND s.recorded_at <= upto AND (s.recorded_at, s.signal_no) < (upto, upto_no)
  ORDER BY s.tenant_id DESC, s.lead_id DESC, s.recorded_at DESC, s.signal_no DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION signals_list(uuid, timestamptz, integer, integer) IS
'A lead''s signals, last recorded first, each with the score after it; before and before_no: recorded_at and signal_no of the last one of the page before. Capability: audience.read. Errors: 22023. (A10)';

CREATE FUNCTION audience_actions_list(lead uuid DEFAULT NULL, before timestamptz DEFAULT NULL, before_id uuid DEFAULT NULL,
  max_rows integer DEFAULT 50)
RETURNS TABLE (recorded_at timestamptz, id uuid, action jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('audience.read');
  upto timestamptz := coalesce(before, 'infinity');
  upto_id uuid := coalesce(before_id, '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  IF lead IS NULL THEN
    RETURN QUERY
    SELECT a.recorded_at, a.id, jsonb_strip_nulls(jsonb_build_object('type', a.type, 'campaignId', a.campaign_id,
      'leadId', a.lead_id, 'timestamp', a.recorded_at, 'reason', a.detail -> 'reason'))
    FROM entrestate.audience_actions a
    WHERE a.tenant_id = t AND a.recorded_at <= upto AND (a.recorded_at, a.id) < (upto, upto_id)
    ORDER BY a.tenant_id DESC, a.recorded_at DESC, a.id DESC LIMIT max_rows;
  ELSE
    RETURN QUERY
    SELECT a.recorded_at, a.id, jsonb_strip_nulls(jsonb_build_object('type', a.type, 'campaignId', a.campaign_id,
      'leadId', a.lead_id, 'timestamp', a.recorded_at, 'reason', a.detail -> 'reason'))
    FROM entrestate.audience_actions a
    WHERE a.lead_id = lead AND a.tenant_id = t AND a.recorded_at <= upto AND (a.recorded_at, a.id) < (upto, upto_id)
    ORDER BY a.lead_id DESC, a.tenant_id DESC, a.recorded_at DESC, a.id DESC LIMIT max_rows;
  END IF;
END
$$;
COMMENT ON FUNCTION audience_actions_list(uuid, timestamptz, uuid, integer) IS
'Why automation stopped, newest first, of the tenant or of a lead: {type, campaignId, leadId, timestamp, reason}; before and before_id: recorded_at and id of the last row of the page before. Capability: audience.read. Errors: 22023. (B11)';

GRANT EXECUTE ON FUNCTION score_settings_get(integer), score_settings_set(jsonb, integer, integer, interval),
  open_is_machine(text, numeric, text), reply_is_automatic(jsonb, text),
  signals_add(uuid[], text[], timestamptz[], uuid[], text[]),
  signal_add(uuid, text, timestamptz, uuid, text, jsonb), lead_cool(uuid, text), lead_score(uuid),
  signals_list(uuid, timestamptz, integer, integer), audience_actions_list(uuid, timestamptz, uuid, integer) TO entrestate_app;
GRANT EXECUTE ON FUNCTION scores_decay_tenant(uuid, integer) TO entrestate_worker;
GRANT EXECUTE ON PROCEDURE scores_decay(integer) TO entrestate_worker;
