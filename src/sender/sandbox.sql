-- sender: the sandbox provider. How it draws: sender/sandbox.c. (E16)

CREATE FUNCTION sandbox_rates() RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{"open": 0.40, "click": 0.15, "reply": 0.08, "auto_reply": 0.03, "resubmission": 0.03, "chat": 0.04, "call_request": 0.02,
  "opt_out": 0.02, "hard_bounce": 0.02, "complaint": 0.001, "refusal": 0.01, "unknown": 0.005}'::jsonb;
COMMENT ON FUNCTION sandbox_rates() IS
'The documented rates of the sandbox provider: refusal and unknown of what is handed to it, the others of what it sends. (E16)';

CREATE FUNCTION sandbox_odds(rates jsonb) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY[rates ->> 'open', rates ->> 'click', rates ->> 'reply', rates ->> 'auto_reply', rates ->> 'resubmission', rates ->> 'chat',
  rates ->> 'call_request', rates ->> 'opt_out', rates ->> 'hard_bounce', rates ->> 'complaint', rates ->> 'refusal', rates ->> 'unknown']::float8[];
COMMENT ON FUNCTION sandbox_odds(jsonb) IS 'Internal: rates in the order in which sandbox.c has them.';

CREATE FUNCTION sandbox_draw(seed bigint, address text, campaign text, step integer, attempt integer, what text) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_sandbox_draw';
COMMENT ON FUNCTION sandbox_draw(bigint, text, text, integer, integer, text) IS
'Internal: the hash that decides what of a message, which is known by its contents: the address, the campaign''s name, the step, the attempt. (E16)';

CREATE FUNCTION sandbox_foretell(seed bigint, odds float8[], channel text, address text, campaign text, step integer, attempt integer,
  at timestamptz, OUT what text, OUT due_at timestamptz) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'sender_sandbox_foretell';
COMMENT ON FUNCTION sandbox_foretell(bigint, float8[], text, text, text, integer, integer, timestamptz) IS
'Internal: what becomes of a message (sent, refused or unknown), and what follows from it when. (E16)';

CREATE FUNCTION sandbox_set(seed bigint, rates jsonb DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sandbox.manage');
  known jsonb := entrestate.sandbox_rates();
  used jsonb;
  k text;
BEGIN
  -- a batch that sends is before it or after
  IF (SELECT s.mode FROM entrestate.tenants s WHERE s.tenant_id = t FOR NO KEY UPDATE) <> 'sandbox' THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the tenant is live', 'The sandbox provider refuses a live tenant.');
  END IF;
  PERFORM entrestate.arg_object('rates', rates, 4096);
  FOR k IN SELECT jsonb_object_keys(rates) LOOP
    IF NOT known ? k OR jsonb_typeof(rates -> k) <> 'number' OR NOT (rates -> k)::numeric BETWEEN 0 AND 1 THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('rates.%s is not a rate', left(k, 40)), NULL,
        format('Write numbers from 0 to 1 for some of: %s.', (SELECT string_agg(x, ', ') FROM jsonb_object_keys(known) x)));
    END IF;
  END LOOP;
  IF seed IS NULL THEN
    DELETE FROM entrestate.sandbox_settings s WHERE s.tenant_id = t;
  ELSE
    used := known || coalesce(rates, '{}');
    IF (used -> 'click')::numeric > (used -> 'open')::numeric OR (used -> 'refusal')::numeric + (used -> 'unknown')::numeric > 1 THEN
      PERFORM entrestate.raise('INVALID_INPUT', 'the rates do not go together', NULL,
        'A click needs an open: click is at most open. refusal and unknown are together at most 1.');
    END IF;
    INSERT INTO entrestate.sandbox_settings (tenant_id, seed, rates, set_by, set_at)
    VALUES (t, sandbox_set.seed, used, entrestate.current_actor(), entrestate.clock_now())
    ON CONFLICT ON CONSTRAINT sandbox_settings_pkey DO UPDATE SET seed = EXCLUDED.seed, rates = EXCLUDED.rates, set_by = EXCLUDED.set_by,
      set_at = EXCLUDED.set_at;
  END IF;
  PERFORM entrestate.audit_add('sandbox.set', 'tenant', t::text, jsonb_build_object('seed', seed, 'rates', used));
  RETURN used;
END
$$;
COMMENT ON FUNCTION sandbox_set(bigint, jsonb) IS
'Lets the sandbox provider draw what becomes of a sandbox tenant''s messages, by a seed and by rates {name: 0 to 1}, of which those left out are the documented ones of sandbox_rates(): what the same seed meets again, it decides again. Returns the rates. With seed NULL everything is sent and nothing follows, as without it; what was drawn still comes. Capability: sandbox.manage. Errors: 22023, 54000, 55000 for a live tenant. (E16)';

CREATE FUNCTION sandbox_take(tenant uuid, batch integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: in order, one after the other.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  now timestamptz := entrestate.clock_now();
  wanted uuid[];
  busy uuid[];
  free uuid[];
  c record;
  taken integer := 0;
BEGIN
  -- Nobody waits for us and we for nobody: leads that somebody else has come in
  -- the next call, with all that is due of theirs. Locked as everybody does:
  -- lead_scores, leads, in the order of ids.
  SELECT array_agg(DISTINCT v.id ORDER BY v.id) INTO wanted
  FROM (SELECT x.lead_id FROM entrestate.sandbox_callbacks x WHERE x.tenant_id = tenant AND x.due_at <= now ORDER BY x.tenant_id, x.due_at, x.draw LIMIT batch) d
  CROSS JOIN LATERAL (SELECT l.lead_id, l.merged_into FROM entrestate.leads l WHERE l.tenant_id = tenant AND l.lead_id = d.lead_id OFFSET 0) l
  CROSS JOIN LATERAL (VALUES (l.lead_id), (l.merged_into)) AS v(id) WHERE v.id IS NOT NULL;
  IF wanted IS NULL THEN
    RETURN 0;
  END IF;
  SELECT coalesce(array_agg(l.lead_id), '{}') INTO free FROM unnest(wanted) AS u(id)
  CROSS JOIN LATERAL (SELECT x.lead_id FROM entrestate.lead_scores x WHERE x.tenant_id = tenant AND x.lead_id = u.id FOR NO KEY UPDATE SKIP LOCKED) l;
  SELECT coalesce(array_agg(u.id), '{}') INTO busy FROM unnest(wanted) AS u(id)
  WHERE u.id <> ALL (free) AND EXISTS (SELECT FROM entrestate.lead_scores x WHERE x.tenant_id = tenant AND x.lead_id = u.id);
  SELECT coalesce(array_agg(l.lead_id), '{}') INTO free FROM unnest(wanted) AS u(id)
  CROSS JOIN LATERAL (SELECT x.lead_id FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = u.id AND u.id <> ALL (busy) FOR NO KEY UPDATE SKIP LOCKED) l;

  FOR c IN
    SELECT x.*, l.survivor, s.seed, k.name AS campaign, i.channel
    FROM (SELECT * FROM entrestate.sandbox_callbacks y WHERE y.tenant_id = tenant AND y.due_at <= now ORDER BY y.tenant_id, y.due_at, y.draw LIMIT batch) x
    CROSS JOIN LATERAL (SELECT coalesce(y.merged_into, y.lead_id) AS survivor FROM entrestate.leads y WHERE y.tenant_id = tenant AND y.lead_id = x.lead_id OFFSET 0) l
    CROSS JOIN LATERAL (SELECT y.name FROM entrestate.campaigns y WHERE y.tenant_id = tenant AND y.campaign_id = x.campaign_id OFFSET 0) k
    CROSS JOIN LATERAL (SELECT y.channel FROM entrestate.sender_intents y WHERE y.tenant_id = tenant AND y.campaign_id = x.campaign_id
      AND y.lead_id = x.lead_id AND y.step = x.step AND y.attempt = x.attempt OFFSET 0) i
    LEFT JOIN entrestate.sandbox_settings s ON s.tenant_id = tenant
    WHERE x.lead_id = ANY (free) AND l.survivor = ANY (free)
    ORDER BY x.due_at, x.draw
  LOOP
    DELETE FROM entrestate.sandbox_callbacks y WHERE y.tenant_id = tenant AND y.due_at = c.due_at AND y.draw = c.draw AND y.campaign_id = c.campaign_id
      AND y.lead_id = c.lead_id AND y.step = c.step AND y.attempt = c.attempt AND y.what = c.what;
    IF c.what IN ('form_resubmission', 'chat_message', 'call_request') THEN
      PERFORM entrestate.signals_store(tenant, ARRAY[c.survivor], ARRAY[c.what], ARRAY[c.due_at], ARRAY[c.campaign_id],
        ARRAY[format('%s/%s/%s', entrestate.run_id(c.campaign_id, c.lead_id), c.step, c.attempt)]);
    ELSE
      PERFORM entrestate.delivery_take(tenant, c.campaign_id, c.lead_id, c.step, c.attempt,
        CASE c.what WHEN 'auto_replied' THEN 'replied' WHEN 'settled_sent' THEN 'settled' WHEN 'settled_failed' THEN 'settled' ELSE c.what END, c.due_at,
        CASE c.what WHEN 'auto_replied' THEN '{"headers": {"Auto-Submitted": "auto-replied"}}'::jsonb
          WHEN 'settled_sent' THEN '{"outcome": "sent"}' WHEN 'settled_failed' THEN '{"outcome": "failed"}'
          -- the address is the one that the draw was for
          WHEN 'bounced' THEN jsonb_build_object('kind', 'hard') || coalesce((SELECT jsonb_build_object('address', a.address_norm) FROM entrestate.lead_contacts a
            WHERE a.tenant_id = tenant AND a.lead_id = c.survivor AND a.kind = CASE c.channel WHEN 'email' THEN 'email' ELSE 'phone' END
              AND entrestate.sandbox_draw(c.seed, a.address_norm, c.campaign, c.step, c.attempt, 'bounced') = c.draw LIMIT 1), '{}')
          ELSE '{}' END);
    END IF;
    taken := taken + 1;
  END LOOP;
  RETURN taken;
END
$$;
COMMENT ON FUNCTION sandbox_take(uuid, integer) IS
'Internal: takes the sandbox''s callbacks that are due, in order, and enters them by delivery_report()''s door; returns how many.';

CREATE FUNCTION sandbox_report_tenant(tenant uuid, batch integer DEFAULT 2000) RETURNS integer
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = ''
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_sandbox_report_tenant';
COMMENT ON FUNCTION sandbox_report_tenant(uuid, integer) IS
'Reports at most batch of what the sandbox provider has drawn for a tenant and is due by the clock, oldest first, in this transaction; returns how many. 0: nothing is due, or another session or the processor is at the tenant. For entrestate_worker. Errors: 22023. (E16, L3)';

CREATE FUNCTION sandbox_next_tenant(after uuid) RETURNS uuid
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'sender_sandbox_next_tenant';
COMMENT ON FUNCTION sandbox_next_tenant(uuid) IS
'The next tenant, by id, for which the sandbox provider still has something to report; NULL at the end. For entrestate_worker.';

CREATE PROCEDURE sandbox_report(batch integer DEFAULT 2000)
LANGUAGE c AS 'MODULE_PATHNAME', 'sender_sandbox_report';
COMMENT ON PROCEDURE sandbox_report(integer) IS
'Reports what the sandbox provider has drawn and is due, tenant by tenant in turn, one batch and one commit at a time, until nothing is left. For entrestate_worker; pg_cron calls it every minute. Errors: 2D000 inside a transaction, 22023. (A20, E16)';

GRANT EXECUTE ON FUNCTION sandbox_report_tenant(uuid, integer), sandbox_next_tenant(uuid) TO entrestate_worker;
GRANT EXECUTE ON PROCEDURE sandbox_report(integer) TO entrestate_worker;
GRANT EXECUTE ON FUNCTION sandbox_rates(), sandbox_set(bigint, jsonb) TO entrestate_app;
