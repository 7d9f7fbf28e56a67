-- sender: what would have happened under other settings (simulate.c). (B7)

CREATE FUNCTION simulate_overrides(tenant uuid, campaign uuid, overrides jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  o jsonb := entrestate.arg_object('overrides', overrides);
  limits jsonb := jsonb_build_object('hot_threshold', '[1,1000000]'::jsonb, 'warming_threshold', '[1,1000000]'::jsonb, 'brake_index', '[0,100]'::jsonb,
    'rising_deferrals', '[0,3]'::jsonb);
  weights jsonb := (SELECT jsonb_object_agg(k.name, true) FROM entrestate.signal_kinds() k WHERE k.code < 9);
  steps integer;
  k text;
  c text;
  v jsonb;
  e jsonb;
  span interval;
  list jsonb := '[]';
BEGIN
  FOR k, v IN SELECT * FROM jsonb_each(o) LOOP
    IF limits ? k THEN
      IF jsonb_typeof(v) <> 'number' OR v::numeric <> trunc(v::numeric) OR NOT v::numeric BETWEEN (limits -> k ->> 0)::integer AND (limits -> k ->> 1)::integer THEN
        PERFORM entrestate.raise('INVALID_INPUT', format('overrides.%s is not a whole number from %s to %s', k, limits -> k ->> 0, limits -> k ->> 1));
      END IF;
    ELSIF k IN ('dry_run', 'stop_on_reply') THEN
      IF jsonb_typeof(v) <> 'boolean' THEN
        PERFORM entrestate.raise('INVALID_INPUT', format('overrides.%s is not true or false', k));
      END IF;
    ELSIF k IN ('max_lateness', 'score_window') THEN
      span := entrestate.simulate_span(format('overrides.%s', k), v);
      IF k = 'max_lateness' AND NOT span BETWEEN '1 minute' AND '400 days' THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.max_lateness is not an interval from a minute to 400 days');
      ELSIF k = 'score_window' AND NOT span BETWEEN '1 hour' AND '366 days' THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.score_window is not from an hour to 366 days');
      END IF;
      o := jsonb_set(o, ARRAY[k], to_jsonb((extract(epoch FROM span) * 1000000)::bigint));
    ELSIF k = 'per_minute' THEN
      PERFORM entrestate.simulate_limit('overrides.per_minute', v);
    ELSIF k IN ('daily_limit', 'channel_per_minute') THEN
      IF jsonb_typeof(v) <> 'object' THEN
        PERFORM entrestate.raise('INVALID_INPUT', format('overrides.%s is not an object of channels', k), NULL, 'Write {"email": 100}; null is no limit.');
      END IF;
      FOR c, e IN SELECT * FROM jsonb_each(v) LOOP
        IF c <> ALL ('{email,sms,whatsapp}') THEN
          PERFORM entrestate.raise('INVALID_INPUT', format('overrides.%s has a channel that is not known: %s', k, left(c, 40)), NULL, 'One of: email, sms, whatsapp.');
        END IF;
        PERFORM entrestate.simulate_limit(format('overrides.%s.%s', k, c), e);
      END LOOP;
    ELSIF k = 'weights' THEN
      IF jsonb_typeof(v) <> 'object' THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.weights is not an object of weights');
      END IF;
      FOR c, e IN SELECT * FROM jsonb_each(v) LOOP
        IF NOT weights ? c OR jsonb_typeof(e) <> 'number' OR e::numeric <> trunc(e::numeric) OR NOT e::numeric BETWEEN 0 AND 1000 THEN
          PERFORM entrestate.raise('INVALID_INPUT', format('overrides.weights.%s is not a weight', left(c, 40)), NULL,
            format('Write whole numbers from 0 to 1000 for some of: %s.', (SELECT string_agg(x, ', ') FROM jsonb_object_keys(weights) x)));
        END IF;
      END LOOP;
    ELSIF k = 'delays' THEN
      SELECT coalesce(max(x.step) + 1, 0) INTO steps FROM entrestate.sender_steps x WHERE x.tenant_id = tenant AND x.campaign_id = campaign;
      IF jsonb_typeof(v) NOT IN ('object', 'array') THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.delays is not an object or array of delays', NULL, 'Write {"1": "5 days"}: the delay of step 1.');
      ELSIF jsonb_typeof(v) = 'array' THEN
        v := (SELECT coalesce(jsonb_object_agg(x.no - 1, x.it) FILTER (WHERE x.it <> 'null'), '{}') FROM jsonb_array_elements(v) WITH ORDINALITY AS x(it, no));
      END IF;
      FOR c, e IN SELECT * FROM jsonb_each(v) LOOP
        IF c !~ '^(0|[1-9][0-9]?)$' OR c::integer >= steps THEN
          PERFORM entrestate.raise('INVALID_INPUT', format('overrides.delays has a step that the campaign does not have: %s', left(c, 40)));
        END IF;
        span := entrestate.simulate_span(format('overrides.delays.%s', c), e);
        IF NOT span BETWEEN '0' AND '366 days' THEN
          PERFORM entrestate.raise('INVALID_INPUT', format('overrides.delays.%s is not a delay of at most 366 days', c));
        END IF;
      END LOOP;
      FOR i IN 0 .. steps - 1 LOOP
        list := list || coalesce(v -> i::text, 'null');
      END LOOP;
      o := jsonb_set(o, '{delays}', list);
    ELSIF k = 'quiet_hours' THEN
      PERFORM entrestate.arg_windows('overrides.quiet_hours', v);
      IF NOT entrestate.windows_intersect(NULL, NULL, v) THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.quiet_hours leaves nothing of the week');
      END IF;
    ELSIF k = 'windows' THEN
      PERFORM entrestate.arg_windows('overrides.windows', v);
    ELSIF k = 'caps' THEN
      PERFORM entrestate.agent_settings_check(NULL, v, NULL, NULL);
    ELSIF k = 'channels' THEN
      IF jsonb_typeof(v) <> 'array' OR EXISTS (SELECT FROM jsonb_array_elements(v) x WHERE x NOT IN ('"email"', '"sms"', '"whatsapp"')) THEN
        PERFORM entrestate.raise('INVALID_INPUT', 'overrides.channels is not an array of channels', NULL, 'Some of: email, sms, whatsapp.');
      END IF;
    ELSE
      PERFORM entrestate.raise('INVALID_INPUT', format('overrides has a key that is not known: %s', left(k, 40)), NULL,
        'One of: brake_index, caps, channel_per_minute, channels, daily_limit, delays, dry_run, hot_threshold, max_lateness, per_minute, quiet_hours, rising_deferrals, score_window, stop_on_reply, warming_threshold, weights, windows.');
    END IF;
  END LOOP;
  RETURN o;
END
$$;
COMMENT ON FUNCTION simulate_overrides(uuid, uuid, jsonb) IS
'Internal: checks the overrides of a simulation and returns them as simulate.c reads them (spans in microseconds, a delay or null for each step); raises 22023 for what is not known or not allowed, 54000.';

CREATE FUNCTION simulate_span(name text, value jsonb) RETURNS interval
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(value) = 'string' THEN
    BEGIN
      RETURN (value #>> '{}')::interval;
    EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow OR interval_field_overflow THEN
      NULL;
    END;
  END IF;
  PERFORM entrestate.raise('INVALID_INPUT', format('%s is not an interval', name), NULL, 'Write for example "5 days".');
END
$$;
COMMENT ON FUNCTION simulate_span(text, jsonb) IS 'Internal: an interval of a JSON text, or raises 22023.';

CREATE FUNCTION simulate_limit(name text, value jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(value) <> 'null' AND (jsonb_typeof(value) <> 'number' OR value::numeric <> trunc(value::numeric)
      OR NOT value::numeric BETWEEN 1 AND 1000000000) THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is not a number from 1', name), NULL, 'null is no limit.');
  END IF;
END
$$;
COMMENT ON FUNCTION simulate_limit(text, jsonb) IS 'Internal: raises 22023 for a limit that is not a whole number from 1 or null.';

CREATE FUNCTION simulate_require(campaign uuid, since timestamptz, until timestamptz) RETURNS uuid
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  IF since IS NULL OR until IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', format('%s is missing', CASE WHEN since IS NULL THEN 'since' ELSE 'until' END));
  ELSIF NOT isfinite(since) OR NOT isfinite(until) OR since < '1970-01-01 00:00:00Z' OR until > '9999-01-01 00:00:00Z' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'since and until are not between 1970 and 9999');
  ELSIF since >= until THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'since is not before until');
  ELSIF until - since > interval '400 days' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'the period is longer than 400 days');
  ELSIF NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL, 'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  RETURN t;
END
$$;
COMMENT ON FUNCTION simulate_require(uuid, timestamptz, timestamptz) IS
'Internal: checks capability, campaign and period of a simulation; returns the tenant.';

CREATE FUNCTION sender_simulate_rows(tenant uuid, campaign uuid, since timestamptz, until timestamptz, overrides jsonb)
RETURNS TABLE (lead_id uuid, at timestamptz, type text, step integer, channel text, reason text, mode text, next_at timestamptz)
LANGUAGE c STABLE STRICT ROWS 100000
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_sort = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_simulate_rows';
COMMENT ON FUNCTION sender_simulate_rows(uuid, uuid, timestamptz, timestamptz, jsonb) IS
'Internal: sender_simulate() for a tenant, with overrides that simulate_overrides() returned.';

CREATE FUNCTION sender_simulate_counts(tenant uuid, campaign uuid, since timestamptz, until timestamptz, overrides jsonb)
RETURNS TABLE (type smallint, reason smallint, step smallint, n bigint)
LANGUAGE c STABLE STRICT ROWS 100
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_sort = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_simulate_counts';
COMMENT ON FUNCTION sender_simulate_counts(uuid, uuid, timestamptz, timestamptz, jsonb) IS
'Internal: how many decisions sender_simulate() comes to, by codes of type and reason, and step.';

CREATE FUNCTION sender_simulate(campaign uuid, since timestamptz, until timestamptz, overrides jsonb DEFAULT '{}')
RETURNS TABLE (lead_id uuid, at timestamptz, type text, step integer, channel text, reason text, mode text, next_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100000
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.simulate_require(campaign, since, until);
BEGIN
  RETURN QUERY SELECT x.lead_id, x.at, x.type, x.step, x.channel, x.reason, x.mode, x.next_at
  FROM entrestate.sender_simulate_rows(t, campaign, since, until, entrestate.simulate_overrides(t, campaign, overrides)) x;
END
$$;
COMMENT ON FUNCTION sender_simulate(uuid, timestamptz, timestamptz, jsonb) IS
'What the sender would have decided for a campaign from since until (not including) until under other settings, {} for those that were in force: a row for each event that it would have written, a run''s in order of time. What people, leads and providers did stands; what the sender itself did is decided anew; after now nothing new happens. Writes and locks nothing, also on a standby. overrides: hot_threshold, warming_threshold, brake_index, rising_deferrals, weights {kind: n}, score_window, delays {step: interval}, max_lateness, caps, windows, quiet_hours, channels, dry_run, stop_on_reply, daily_limit {channel: n}, channel_per_minute {channel: n}, per_minute (null: no limit); docs/sender.md says more. At most 400 days. Capability: sender.read. Errors: P0002, 22004, 22023, 54000. (B7)';

CREATE FUNCTION sender_what_if(campaign uuid, since timestamptz, until timestamptz, overrides jsonb DEFAULT '{}')
RETURNS TABLE (type text, reason text, step integer, happened bigint, would_have bigint, difference bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET jit = off SET enable_seqscan = off AS $$
DECLARE
  t uuid := entrestate.simulate_require(campaign, since, until);
  given jsonb := entrestate.simulate_overrides(t, campaign, overrides);
BEGIN
  RETURN QUERY
  WITH fact AS (
    SELECT e.type, coalesce(e.reason, 0::smallint) AS reason, coalesce(e.step, -1::smallint) AS step, count(*) AS n
    FROM entrestate.sender_events e WHERE e.campaign_id = campaign AND e.tenant_id = t AND e.recorded_at >= since AND e.recorded_at < until
      AND e.recorded_at <= entrestate.clock_now() AND e.run_seq IS NOT NULL GROUP BY 1, 2, 3
  ), other AS (
    SELECT x.type, coalesce(x.reason, 0::smallint) AS reason, coalesce(x.step, -1::smallint) AS step, x.n
    FROM entrestate.sender_simulate_counts(t, campaign, since, until, given) x
  )
  SELECT y.name, r.name, nullif(b.step, -1)::integer, b.happened, b.would_have, b.would_have - b.happened
  FROM (SELECT u.type, u.reason, u.step, sum(u.happened)::bigint AS happened, sum(u.would_have)::bigint AS would_have
    FROM (SELECT f.type, f.reason, f.step, f.n AS happened, 0 AS would_have FROM fact f
      UNION ALL SELECT o.type, o.reason, o.step, 0, o.n FROM other o) u GROUP BY 1, 2, 3) b
  JOIN entrestate.sender_event_types() y ON y.code = b.type
  LEFT JOIN entrestate.sender_reasons() r ON r.code = b.reason
  ORDER BY b.type, b.step, b.reason;
END
$$;
COMMENT ON FUNCTION sender_what_if(uuid, timestamptz, timestamptz, jsonb) IS
'What happened in a campaign from since until (not including) until beside what would have under other settings: how many events of each type, reason and step there were, how many sender_simulate() comes to with these overrides, and the difference. With {} it shows how near the simulation comes to what happened. Capability: sender.read. Errors: P0002, 22004, 22023, 54000. (B7, B14)';

GRANT EXECUTE ON FUNCTION sender_simulate(uuid, timestamptz, timestamptz, jsonb), sender_what_if(uuid, timestamptz, timestamptz, jsonb) TO entrestate_app;
