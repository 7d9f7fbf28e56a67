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
    -- up to a hundred of one instant in a row
    INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
    SELECT tenant, x.campaign_id, x.version, 0, x.next_at, array_agg(x.lead_id ORDER BY x.lead_id)
    FROM (SELECT run.*, (row_number() OVER (PARTITION BY run.next_at ORDER BY run.lead_id) - 1) / 100 AS chunk FROM run) x
    GROUP BY x.campaign_id, x.version, x.next_at, x.chunk
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
  -- a minute that is over limits nothing any more
  DELETE FROM entrestate.sender_usage u WHERE u.tenant_id = tenant AND u.budget IN ('channel_minute', 'campaign_minute', 'domain_minute')
    AND u.window_at < entrestate.clock_now() - interval '2 days';
  -- a test that nobody has taken is not expected any longer, and its message,
  -- which may tell of a lead, is not kept for ever
  UPDATE entrestate.sender_tests s SET status = 'failed', message = NULL, final_at = entrestate.clock_now(),
    reason = (SELECT x.code FROM entrestate.sender_reasons() x WHERE x.name = 'too_late')
  WHERE s.tenant_id = tenant AND s.status = 'ready' AND s.created_at < entrestate.clock_now() - interval '3 days';
  RETURN n;
END
$$;
COMMENT ON FUNCTION sender_upkeep_tenant(uuid) IS
'Starts the runs that a race missed: of leads attributed in a transaction that was open while their campaign''s sender became able to start runs; returns how many. Forgets the use of rates of two days ago; a test send that no provider has taken within three days fails as too_late. For entrestate_worker. Errors: 22004. (B8)';

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

CREATE FUNCTION sender_funds(tenant uuid) RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN NULL::integer;
COMMENT ON FUNCTION sender_funds(uuid) IS
'Internal: how many more sends the tenant''s wallet covers; NULL: any number. The hook that the billing room fills; a queue that is not covered is held (insufficient_funds).';

CREATE FUNCTION sender_hold(tenant uuid, campaign uuid, version integer, step smallint, reason smallint) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was entrestate.sender_holds;
BEGIN
  DELETE FROM entrestate.sender_holds h WHERE h.tenant_id = tenant AND h.campaign_id = campaign
    AND h.version = sender_hold.version AND h.step = sender_hold.step RETURNING * INTO was;
  IF FOUND THEN
    PERFORM entrestate.activity_add('sender.queue.released', 'campaign', campaign::text, campaign, jsonb_build_object('version', version, 'step', step,
      'reason', (SELECT x.name FROM entrestate.sender_reasons() x WHERE x.code = was.reason), 'since', was.held_since));
  END IF;
  IF reason IS NOT NULL THEN
    INSERT INTO entrestate.sender_holds (tenant_id, campaign_id, version, step, reason, held_since)
    VALUES (tenant, campaign, sender_hold.version, sender_hold.step, sender_hold.reason, entrestate.clock_now());
    PERFORM entrestate.activity_add('sender.queue.held', 'campaign', campaign::text, campaign, jsonb_build_object('version', version, 'step', step,
      'reason', (SELECT x.name FROM entrestate.sender_reasons() x WHERE x.code = sender_hold.reason)));
  END IF;
END
$$;
COMMENT ON FUNCTION sender_hold(uuid, uuid, integer, smallint, smallint) IS
'Internal: a queue is held for this reason from now on; NULL: for none. Marks begin and end in the feed. (B5)';

CREATE FUNCTION sender_next_tenant(after uuid) RETURNS uuid
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'sender_next_tenant';
COMMENT ON FUNCTION sender_next_tenant(uuid) IS
'The next tenant, by id, with runs that wait; NULL at the end. For entrestate_worker.';

CREATE FUNCTION sender_process_tenant(tenant uuid, batch integer DEFAULT 2000) RETURNS integer
LANGUAGE c VOLATILE STRICT SECURITY DEFINER
-- the session setting is pinned so that the caller's own context comes back
SET search_path = pg_catalog, pg_temp SET row_security = on SET entrestate.session = ''
-- every row is looked up by its key, whatever the statistics of a table that
-- was just filled say
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_process_tenant';
COMMENT ON FUNCTION sender_process_tenant(uuid, integer) IS
'Decides at most batch due runs of a tenant, oldest first, in this transaction; returns how many. 0: nothing is due, the tenant is held, or another session is at it. For entrestate_worker. Errors: 22023, 55000 in another isolation level than READ COMMITTED. (B2, F8)';

CREATE PROCEDURE sender_process(batch integer DEFAULT 2000)
LANGUAGE c AS 'MODULE_PATHNAME', 'sender_process';
COMMENT ON PROCEDURE sender_process(integer) IS
'Decides everything that is due, tenant by tenant in turn, one batch and one commit at a time. Any number may run side by side. For entrestate_worker; pg_cron calls it every minute. Errors: 2D000 inside a transaction, 22023. (A20, B6, F8)';

GRANT EXECUTE ON FUNCTION sender_next_tenant(uuid), sender_process_tenant(uuid, integer) TO entrestate_worker;
GRANT EXECUTE ON PROCEDURE sender_process(integer) TO entrestate_worker;

GRANT EXECUTE ON FUNCTION sender_start(uuid, uuid), campaign_backfill(uuid, timestamptz, boolean) TO entrestate_app;
