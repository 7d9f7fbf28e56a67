-- sender: what operators do to runs. (B7, C10)
--
-- Everybody here locks in the one order: the tenant and its channels, the
-- campaign, the leads, then the runs. Who has the campaign's row keeps the
-- processor from the campaign, so what is due is nobody else's meanwhile. Rows
-- are looked up by their keys and updated where they were found, as a batch does:
-- a join by value of a table that is not analyzed yet takes minutes.

CREATE FUNCTION sender_stop(campaign uuid, lead uuid, reason text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'sender.operate');
  r entrestate.sender_runs;
BEGIN
  PERFORM entrestate.arg_text('reason', reason, 500);
  SELECT * INTO r FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such run', NULL, 'sender_runs_of() lists a lead''s.');
  ELSIF r.status NOT IN ('pending', 'running') OR r.stopped_by IS NOT NULL THEN
    RETURN false;
  END IF;
  UPDATE entrestate.sender_runs x SET stopped_by = entrestate.current_actor()
  WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = lead;
  PERFORM entrestate.sender_brake(t, ARRAY[lead]);
  PERFORM entrestate.audit_add('sender.stop', 'run', entrestate.run_id(campaign, lead), jsonb_build_object('reason', btrim(reason)));
  RETURN true;
END
$$;
COMMENT ON FUNCTION sender_stop(uuid, uuid, text) IS
'Stops a run for good: it ends as stopped (gate 3) in this transaction, with its message if that has not started; a message that is on its way ends it with its outcome. The lead''s other runs go on. false when the run has ended or was stopped already. The reason is kept in the audit log. Capability: sender.operate. Errors: P0002, 22004, 22023, 54000, 55000. (B7)';

CREATE FUNCTION sender_skip_overdue(tenant uuid, campaign uuid, leads uuid[]) RETURNS integer
LANGUAGE c VOLATILE STRICT
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_skip_overdue';
COMMENT ON FUNCTION sender_skip_overdue(uuid, uuid, uuid[]) IS
'Internal: skips, as too_late, the overdue step of these leads'' runs, which the caller has locked; returns how many. (B7)';

CREATE FUNCTION sender_overdue(tenant uuid, campaign uuid) RETURNS uuid[]
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  RETURN coalesce((SELECT array_agg(r.lead_id ORDER BY r.next_at, r.lead_id) FROM entrestate.sender_runs r
    WHERE r.tenant_id = tenant AND r.campaign_id = campaign AND r.status IN ('pending', 'running')
      AND r.next_at <= entrestate.clock_now() AND NOT r.awaiting_go_live), '{}');
END
$$;
COMMENT ON FUNCTION sender_overdue(uuid, uuid) IS
'Internal: the leads of a campaign''s runs whose step is due, oldest first.';

CREATE FUNCTION campaign_resume(campaign uuid, overdue text DEFAULT 'continue', per_minute integer DEFAULT NULL,
  OUT overdue_runs integer, OUT skipped integer, OUT stopped integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'campaign.manage');
  was text;
  late uuid[];
  part uuid[];
  n integer;
BEGIN
  PERFORM entrestate.arg_choice('overdue', overdue, ARRAY['continue', 'skip', 'stop']);
  IF overdue <> 'continue' THEN
    PERFORM entrestate.require('sender.operate');
  END IF;
  IF per_minute < 0 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'per_minute is below 0', NULL, '0 takes the campaign''s rate away.');
  END IF;
  SELECT c.status INTO was FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign;
  IF was NOT IN ('paused', 'active') THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the campaign is %s', was), NULL,
      CASE was WHEN 'draft' THEN 'campaign_status_set() activates it.' ELSE 'Copy it to go on.' END);
  END IF;
  overdue_runs := 0;
  skipped := 0;
  stopped := 0;
  IF was = 'active' THEN
    RETURN;
  END IF;
  late := entrestate.sender_overdue(t, campaign);
  overdue_runs := cardinality(late);
  IF overdue <> 'continue' THEN
    -- what is due is looked at again below, now that nobody else can change it
    PERFORM entrestate.leads_lock(t, late);
    FOR i IN 0 .. (overdue_runs - 1) / 5000 LOOP
      part := late[i * 5000 + 1 : (i + 1) * 5000];
      IF overdue = 'skip' THEN
        skipped := skipped + entrestate.sender_skip_overdue(t, campaign, part);
      ELSE
        UPDATE entrestate.sender_runs r SET stopped_by = entrestate.current_actor()
        FROM (SELECT w.it FROM unnest(part) AS v(id)
          CROSS JOIN LATERAL (SELECT x.ctid AS it FROM entrestate.sender_runs x
            WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = v.id OFFSET 0) w OFFSET 0) u
        WHERE r.ctid = u.it AND r.tenant_id = t AND r.status IN ('pending', 'running') AND r.next_at <= entrestate.clock_now();
        GET DIAGNOSTICS n = ROW_COUNT;
        stopped := stopped + n;
        PERFORM entrestate.sender_brake(t, part);
      END IF;
    END LOOP;
  END IF;
  UPDATE entrestate.campaigns c SET per_minute = nullif(campaign_resume.per_minute, 0)
  WHERE c.tenant_id = t AND c.campaign_id = campaign AND campaign_resume.per_minute IS NOT NULL;
  PERFORM entrestate.campaign_status_set(campaign, 'active');
  PERFORM entrestate.audit_add('campaign.resume', 'campaign', campaign::text, jsonb_strip_nulls(jsonb_build_object('overdue', overdue,
    'perMinute', per_minute, 'overdueRuns', overdue_runs, 'skipped', skipped, 'stopped', stopped)));
END
$$;
COMMENT ON FUNCTION campaign_resume(uuid, text, integer) IS
'Lets a paused campaign go on, and says how many runs have a step that is due by now. overdue: continue sends them at the campaign''s rate, oldest first; skip skips each such step (too_late), the next one is due after its delay from now; stop ends those runs as stopped. per_minute: the campaign''s rate from now on, 0 none, NULL leaves it. A campaign that is active stays as it is. Capability: campaign.manage, and sender.operate for skip and stop. Errors: P0002, 22004, 22023, 55000 for one that is not paused. (B7)';

CREATE FUNCTION sender_run_events(tenant uuid, campaign uuid, leads uuid[], type text, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, run_seq, mode, reason,
    decided_at, next_at, sequence_version, policy_version, score, hot)
  SELECT tenant, r.lead_id, entrestate.clock_now(), campaign, y.code, r.run_seq, m.code,
    (SELECT x.code FROM entrestate.sender_reasons() x WHERE x.name = sender_run_events.reason),
    entrestate.clock_now(), r.next_at, r.version, c.policy_version, coalesce(g.score, 0), l.hot_at IS NOT NULL
  FROM unnest(leads) AS u(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.lead_id = u.id OFFSET 0) r
  CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = u.id OFFSET 0) l
  LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_scores x WHERE x.tenant_id = tenant AND x.lead_id = u.id OFFSET 0) g ON true
  CROSS JOIN LATERAL (SELECT * FROM entrestate.campaigns x WHERE x.tenant_id = tenant AND x.campaign_id = campaign OFFSET 0) c
  JOIN entrestate.sender_modes() m ON m.name = r.mode
  JOIN entrestate.sender_event_types() y ON y.name = sender_run_events.type;
END
$$;
COMMENT ON FUNCTION sender_run_events(uuid, uuid, uuid[], text, text) IS
'Internal: records what was just done to runs: an event each, with the number, version, mode and next_at that the run has now. The caller has locked their leads and has counted run_seq up by one.';

CREATE FUNCTION sender_due_again(tenant uuid, campaign uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  -- one statement, so one snapshot: of a run that begins meanwhile neither the
  -- run nor its row is seen
  WITH gone AS (
    DELETE FROM entrestate.sender_due d WHERE d.tenant_id = tenant AND d.campaign_id = campaign
  )
  INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
  SELECT tenant, campaign, x.version, x.cursor, x.next_at, array_agg(x.lead_id ORDER BY x.lead_id)
  FROM (SELECT r.version, r.cursor, r.next_at, r.lead_id,
      (row_number() OVER (PARTITION BY r.version, r.cursor, r.next_at ORDER BY r.lead_id) - 1) / 100 AS chunk
    FROM entrestate.sender_runs r WHERE r.tenant_id = tenant AND r.campaign_id = campaign
      AND r.status IN ('pending', 'running') AND r.next_at IS NOT NULL AND NOT r.awaiting_go_live) x
  GROUP BY x.version, x.cursor, x.next_at, x.chunk;
END
$$;
COMMENT ON FUNCTION sender_due_again(uuid, uuid) IS
'Internal: writes anew what of a campaign is due, from its runs. The caller has the campaign''s row, so the processor is not at it.';

CREATE FUNCTION campaign_go_live(campaign uuid, leads text DEFAULT 'new', since timestamptz DEFAULT NULL, per_minute integer DEFAULT NULL,
  OUT restarted integer, OUT waiting integer, OUT ended integer, OUT messages jsonb, OUT cost numeric)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sender.operate');
  at timestamptz := entrestate.clock_now();
  was entrestate.campaigns;
  s entrestate.tenants;
  rehearsed uuid[];
  able uuid[];
  chosen uuid[];
  on_its_way uuid[];
  messaged smallint[];
BEGIN
  PERFORM entrestate.arg_choice('leads', leads, ARRAY['new', 'since', 'all']);
  IF leads = 'since' AND since IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'since is missing');
  ELSIF leads <> 'since' AND since IS NOT NULL THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'since is given, but leads is not since');
  ELSIF per_minute < 1 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'per_minute is below 1', NULL, 'Leave it out to let all begin at once.');
  END IF;
  SELECT * INTO was FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign;
  SELECT * INTO s FROM entrestate.tenants x WHERE x.tenant_id = t;
  IF was.status IN ('completed', 'archived') THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the campaign is %s', was.status), NULL, 'Copy it to go on.');
  ELSIF s.dry_run THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the tenant is in dry run', NULL,
      'tenant_update(dry_run => false) lets it send; then let the campaign go live.');
  END IF;
  IF was.dry_run THEN
    UPDATE entrestate.campaigns c SET dry_run = false, updated_at = at WHERE c.tenant_id = t AND c.campaign_id = campaign;
    PERFORM entrestate.policy_changed(t, campaign);
    PERFORM entrestate.activity_add('campaign.went_live', 'campaign', campaign::text, campaign);
  END IF;

  -- The rehearsals that have sent nothing. Those that gates 3 to 6 end, end now.
  rehearsed := ARRAY(SELECT r.lead_id FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = campaign
    AND r.mode = 'dry_run' AND r.sent_steps = 0 AND r.status IN ('pending', 'running', 'done'));
  PERFORM entrestate.leads_lock(t, rehearsed);
  SELECT array_agg(r.lead_id) INTO on_its_way FROM unnest(rehearsed) AS u(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = u.id OFFSET 0) r
  WHERE r.status IN ('pending', 'running');
  PERFORM entrestate.sender_brake(t, coalesce(on_its_way, '{}'));
  SELECT count(*) INTO ended FROM unnest(on_its_way) AS u(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = u.id OFFSET 0) r
  WHERE r.status = 'suppressed';

  -- the steps that have a message of anybody
  messaged := ARRAY(SELECT x.step FROM (SELECT DISTINCT d.step FROM entrestate.sender_steps d WHERE d.tenant_id = t AND d.campaign_id = campaign) x
    WHERE EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = campaign AND i.step = x.step));
  -- Who can begin again, oldest attribution first; who is chosen does.
  SELECT coalesce(array_agg(x.lead_id ORDER BY x.at, x.lead_id), '{}'),
    coalesce(array_agg(x.lead_id ORDER BY x.at, x.lead_id) FILTER (WHERE leads = 'all' OR x.attributed_at >= since), '{}')
  INTO able, chosen
  FROM (
    SELECT r.lead_id, a.attributed_at, coalesce(a.attributed_at, r.created_at) AS at
    FROM unnest(rehearsed) AS u(id)
    CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = u.id OFFSET 0) r
    CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = u.id OFFSET 0) l
    CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_sequences x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = r.version OFFSET 0) q
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM unnest(messaged) AS n(step) CROSS JOIN LATERAL (SELECT FROM entrestate.sender_intents i
        WHERE i.tenant_id = t AND i.campaign_id = campaign AND i.step = n.step AND i.lead_id = u.id OFFSET 0) x) AS sent OFFSET 0) m
    LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_attributions x WHERE x.tenant_id = t AND x.lead_id = u.id AND x.campaign_id = campaign OFFSET 0) a ON true
    WHERE r.mode = 'dry_run' AND r.sent_steps = 0 AND r.status IN ('pending', 'running', 'done') AND r.stopped_by IS NULL
      AND entrestate.lead_blocked(l.handoff_open, l.status, l.merged_into, l.opted_out_at, l.complained_at, l.erasure_requested_at, l.hot_at, was.brake_index) IS NULL
      AND NOT coalesce(l.handoff_at >= r.created_at, false) AND NOT (q.stop_on_reply AND coalesce(l.replied_at >= r.created_at, false))
      -- what was refused, or may have gone out, before the rehearsal has its key
      AND NOT m.sent
  ) x;
  UPDATE entrestate.sender_runs r SET cursor = 0, attempt = 0, deferrals = 0, awaiting_go_live = false, mode = s.mode, status = 'pending',
    run_seq = r.run_seq + 1, next_at = u.due_at, first_due_at = u.due_at, last_outcome_at = at, reason = NULL, ended_at = NULL, updated_at = at
  FROM (SELECT w.it, entrestate.delay_add(at, d.delay, coalesce(l.time_zone, s.time_zone))
        + coalesce((v.o - 1) / campaign_go_live.per_minute, 0) * interval '1 minute' AS due_at
    FROM unnest(chosen) WITH ORDINALITY AS v(id, o)
    CROSS JOIN LATERAL (SELECT x.version, x.ctid AS it FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = v.id OFFSET 0) w
    CROSS JOIN LATERAL (SELECT x.delay FROM entrestate.sender_steps x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = w.version AND x.step = 0 OFFSET 0) d
    CROSS JOIN LATERAL (SELECT x.time_zone FROM entrestate.leads x WHERE x.tenant_id = t AND x.lead_id = v.id OFFSET 0) l OFFSET 0) u
  WHERE r.ctid = u.it AND r.tenant_id = t;
  PERFORM entrestate.sender_run_events(t, campaign, chosen, 'sender.run.restarted');
  restarted := cardinality(chosen);
  waiting := cardinality(able) - restarted;
  -- the others wait
  UPDATE entrestate.sender_runs r SET awaiting_go_live = true
  FROM (SELECT w.it FROM unnest(able) AS v(id)
    CROSS JOIN LATERAL (SELECT x.ctid AS it FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = v.id OFFSET 0) w OFFSET 0) u
  WHERE r.ctid = u.it AND r.tenant_id = t AND r.mode = 'dry_run' AND r.status IN ('pending', 'running') AND NOT r.awaiting_go_live;
  -- one that had a message before the rehearsal goes on where it is
  WITH on_again AS (
    UPDATE entrestate.sender_runs r SET mode = s.mode, awaiting_go_live = false, run_seq = r.run_seq + 1, status = 'running', updated_at = at,
      next_at = greatest(r.next_at, at), first_due_at = greatest(r.next_at, at)
    FROM (SELECT w.it FROM unnest(rehearsed) AS v(id)
      CROSS JOIN LATERAL (SELECT x.ctid AS it FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = v.id OFFSET 0) w
      CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM unnest(messaged) AS n(step) CROSS JOIN LATERAL (SELECT FROM entrestate.sender_intents i
        WHERE i.tenant_id = t AND i.campaign_id = campaign AND i.step = n.step AND i.lead_id = v.id OFFSET 0) x) AS sent OFFSET 0) m
      WHERE m.sent OFFSET 0) u
    WHERE r.ctid = u.it AND r.tenant_id = t AND r.mode = 'dry_run' AND r.status IN ('pending', 'running')
    RETURNING r.lead_id)
  SELECT array_agg(o.lead_id) INTO on_its_way FROM on_again o;
  PERFORM entrestate.sender_run_events(t, campaign, coalesce(on_its_way, '{}'), 'sender.run.resumed');
  PERFORM entrestate.sender_due_again(t, campaign);

  SELECT coalesce(jsonb_object_agg(x.channel, x.n), '{}') INTO messages
  FROM (SELECT d.channel, sum(v.n) AS n
    FROM (SELECT w.version, count(*) AS n FROM unnest(chosen) AS u(id)
      CROSS JOIN LATERAL (SELECT y.version FROM entrestate.sender_runs y WHERE y.tenant_id = t AND y.campaign_id = campaign AND y.lead_id = u.id OFFSET 0) w
      GROUP BY 1) v
    JOIN entrestate.sender_steps d ON d.tenant_id = t AND d.campaign_id = campaign AND d.version = v.version GROUP BY 1) x;
  IF was.dry_run OR restarted > 0 OR ended > 0 THEN
    PERFORM entrestate.audit_add('campaign.go_live', 'campaign', campaign::text, jsonb_strip_nulls(jsonb_build_object('leads', leads, 'since', since,
      'perMinute', per_minute, 'restarted', restarted, 'waiting', waiting, 'ended', ended)));
  END IF;
END
$$;
COMMENT ON FUNCTION campaign_go_live(uuid, text, timestamptz, integer) IS
'Ends a campaign''s rehearsal. A rehearsed run that has sent nothing, be it done, begins again with step 0, after that step''s delay from now, for leads: all, since (attributed since an instant) or new (none of them: only leads that come from now on); the others wait for another call, and those that gates 3 to 6 would end at once end. per_minute: how many begin in a minute, oldest attribution first. Says how many restarted, wait and ended, how many messages at most the restarted ones are, by channel, and what those cost (NULL as long as there are no rate cards). Twice is once. Capability: sender.operate. Errors: P0002, 22004, 22023, 55000 while the tenant is in dry run, or when the campaign has ended. (B7, C10)';

CREATE FUNCTION campaign_rehearse(campaign uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sender.operate');
BEGIN
  UPDATE entrestate.campaigns c SET dry_run = true, updated_at = entrestate.clock_now() WHERE c.tenant_id = t AND c.campaign_id = campaign AND NOT c.dry_run;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM entrestate.policy_changed(t, campaign);
  PERFORM entrestate.activity_add('campaign.rehearses', 'campaign', campaign::text, campaign);
  PERFORM entrestate.audit_add('campaign.rehearse', 'campaign', campaign::text, '{}');
  RETURN true;
END
$$;
COMMENT ON FUNCTION campaign_rehearse(uuid) IS
'Turns a campaign''s dry run on: its decisions are made as before, and nothing is sent from this commit on; campaign_go_live() ends it. false when it is on. Capability: sender.operate. Errors: P0002, 22004. (C10)';

CREATE FUNCTION sender_retry_step(tenant uuid, campaign uuid, lead uuid, version integer, step integer, attempt integer, sent_before boolean) RETURNS text
LANGUAGE c VOLATILE STRICT
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_retry_step';
COMMENT ON FUNCTION sender_retry_step(uuid, uuid, uuid, integer, integer, integer, boolean) IS
'Internal: asks the gates for another attempt of a step and carries it out, or raises 55000 with the reason; returns sent, ready or simulated. (B7)';

CREATE FUNCTION sender_retry(campaign uuid, lead uuid, step integer) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.operate');
  r entrestate.sender_runs;
  outcome text;
  tried integer;
  last integer;
  became text;
BEGIN
  IF step IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'step is missing');
  END IF;
  -- As a batch does, in the same order; the tenant's row not in share mode, so
  -- that a batch and a retry do not both take the last of a budget.
  PERFORM FROM entrestate.tenants x WHERE x.tenant_id = t FOR NO KEY UPDATE;
  PERFORM FROM entrestate.tenant_channels x WHERE x.tenant_id = t FOR SHARE;
  PERFORM FROM entrestate.campaigns x WHERE x.tenant_id = t AND x.campaign_id = campaign FOR SHARE;
  PERFORM entrestate.lead_require(lead, 'sender.operate');
  SELECT * INTO r FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such run', NULL, 'sender_runs_of() lists a lead''s.');
  ELSIF r.status IN ('suppressed', 'failed') THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the run is %s', r.status), NULL,
      CASE r.status WHEN 'failed' THEN 'sender_resume() lets it go on.' ELSE 'What was suppressed stays so; copy the campaign.' END);
  ELSIF step < 0 OR step >= r.cursor THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the step has no outcome yet', NULL, 'sender_history() shows what was decided.');
  ELSIF EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id AND i.lead_id = r.lead_id
      AND i.final_at IS NULL AND i.status <> 'unknown') THEN
    PERFORM entrestate.raise('WRONG_STATE', 'a message of the run is on its way', NULL, 'Wait for its outcome.');
  END IF;
  SELECT substr(y.name, 13), coalesce(e.attempt, 0) INTO outcome, last
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
  WHERE e.tenant_id = t AND e.lead_id = r.lead_id AND e.campaign_id = r.campaign_id AND e.step = sender_retry.step AND e.run_seq IS NOT NULL
    AND y.name IN ('sender.step.sent', 'sender.step.failed', 'sender.step.unknown', 'sender.step.skipped', 'sender.step.simulated')
  ORDER BY e.run_seq DESC LIMIT 1;
  IF outcome = 'sent' AND EXISTS (SELECT FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
      WHERE e.tenant_id = t AND e.lead_id = r.lead_id AND e.campaign_id = r.campaign_id AND e.step = sender_retry.step AND e.run_seq IS NULL
        AND coalesce(e.attempt, 0) = last AND y.name = 'sender.undelivered') THEN
    outcome := 'undelivered';
  END IF;
  IF outcome IS NULL OR outcome NOT IN ('failed', 'undelivered', 'skipped') THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the step''s outcome is %s', coalesce(outcome, 'not known')), NULL,
      'Only a step that failed, was not delivered or was skipped can be retried.');
  END IF;
  -- the latest of all attempts
  SELECT max(x.attempt) INTO tried
  FROM (SELECT e.attempt FROM entrestate.sender_events e WHERE e.tenant_id = t AND e.lead_id = r.lead_id
        AND e.campaign_id = r.campaign_id AND e.step = sender_retry.step AND e.run_seq IS NOT NULL
      UNION ALL
      SELECT i.attempt FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id
        AND i.lead_id = r.lead_id AND i.step = sender_retry.step) x;
  became := entrestate.sender_retry_step(t, r.campaign_id, r.lead_id, r.version, step, coalesce(tried, 0) + 1,
    EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = r.campaign_id
      AND i.lead_id = r.lead_id AND i.step = sender_retry.step AND i.status = 'sent'));
  PERFORM entrestate.audit_add('sender.retry', 'run', entrestate.run_id(r.campaign_id, r.lead_id),
    jsonb_build_object('step', step, 'attempt', coalesce(tried, 0) + 1, 'was', outcome, 'became', became));
  RETURN became;
END
$$;
COMMENT ON FUNCTION sender_retry(uuid, uuid, integer) IS
'Tries a step once more whose outcome is failed, undelivered or skipped, of a run that is pending, running or done: another attempt with a message of its own; where the run is and when its next step is due stay. The step passes all gates by itself; what they say other than yes refuses it with the reason. Returns sent (a sandbox), ready (its message waits for its provider) or simulated (a dry run). Capability: sender.operate. Errors: P0002, 22004, 55000 with the reason. (B7)';

CREATE FUNCTION sender_upgrade(campaign uuid, version integer, OUT upgraded integer, OUT done integer, OUT kept integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.campaign_require(campaign, 'sender.operate');
  at timestamptz := entrestate.clock_now();
  was text;
  zone text;
  steps integer;
  others uuid[];
  moved uuid[];
  over uuid[];
BEGIN
  IF version IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'version is missing');
  END IF;
  SELECT q.status INTO was FROM entrestate.sender_sequences q
  WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version = sender_upgrade.version;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such sequence version');
  ELSIF was <> 'published' THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the version is %s', was), NULL, 'Runs move to the version that is published.');
  END IF;
  SELECT x.time_zone INTO zone FROM entrestate.tenants x WHERE x.tenant_id = t;
  SELECT count(*) INTO steps FROM entrestate.sender_steps x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sender_upgrade.version;
  others := ARRAY(SELECT r.lead_id FROM entrestate.sender_runs r WHERE r.tenant_id = t AND r.campaign_id = campaign
    AND r.version <> sender_upgrade.version AND r.status IN ('pending', 'running'));
  PERFORM entrestate.leads_lock(t, others);
  WITH same AS MATERIALIZED (
    -- how many steps each version has in common with the new one, from the first on;
    -- a delay by its words: a day is not 24 hours
    SELECT q.version, coalesce((SELECT min(coalesce(a.step, b.step))
      FROM (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = q.version) a
      FULL JOIN (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.version = sender_upgrade.version) b ON a.step = b.step
      WHERE (a.channel, a.template_id, a.template_version, a.delay::text, a.guard, a.time_window, a.variants)
        IS DISTINCT FROM (b.channel, b.template_id, b.template_version, b.delay::text, b.guard, b.time_window, b.variants)), steps) AS n
    FROM entrestate.sender_sequences q WHERE q.tenant_id = t AND q.campaign_id = campaign AND q.version <> sender_upgrade.version
  ), run AS (
    UPDATE entrestate.sender_runs r SET version = sender_upgrade.version, run_seq = r.run_seq + 1, updated_at = at,
      next_at = u.due_at, first_due_at = u.due_at
    FROM (SELECT x.it, CASE WHEN NOT x.flying AND d.delay IS NOT NULL THEN greatest(entrestate.delay_add(coalesce(x.last_outcome_at, x.created_at), d.delay, coalesce(l.time_zone, zone)), at) END AS due_at
      FROM (SELECT w.*, w.ctid AS it, EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = t AND i.campaign_id = w.campaign_id AND i.lead_id = w.lead_id
            AND i.step = w.cursor AND i.final_at IS NULL AND i.status <> 'unknown') AS flying
          FROM unnest(others) AS v(id)
          CROSS JOIN LATERAL (SELECT y.*, y.ctid FROM entrestate.sender_runs y WHERE y.tenant_id = t AND y.campaign_id = campaign AND y.lead_id = v.id OFFSET 0) w
          WHERE w.status IN ('pending', 'running') OFFSET 0) x
      JOIN same ON same.version = x.version
      CROSS JOIN LATERAL (SELECT y.time_zone FROM entrestate.leads y WHERE y.tenant_id = t AND y.lead_id = x.lead_id OFFSET 0) l
      LEFT JOIN LATERAL (SELECT y.delay FROM entrestate.sender_steps y WHERE y.tenant_id = t AND y.campaign_id = campaign
        AND y.version = sender_upgrade.version AND y.step = x.cursor OFFSET 0) d ON true
      -- a step whose message is on its way is decided
      WHERE x.cursor + x.flying::integer <= same.n OFFSET 0) u
    WHERE r.ctid = u.it AND r.tenant_id = t
    RETURNING r.lead_id, r.cursor)
  SELECT coalesce(array_agg(run.lead_id), '{}'), coalesce(array_agg(run.lead_id) FILTER (WHERE run.cursor >= steps), '{}') INTO moved, over FROM run;
  PERFORM entrestate.sender_run_events(t, campaign, moved, 'sender.run.upgraded');
  -- no step is left
  UPDATE entrestate.sender_runs r SET status = 'done', run_seq = r.run_seq + 1, awaiting_go_live = false, ended_at = at,
    reason = (SELECT x.code FROM entrestate.sender_reasons() x WHERE x.name = 'completed')
  FROM (SELECT w.it FROM unnest(over) AS v(id)
    CROSS JOIN LATERAL (SELECT x.ctid AS it FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = v.id OFFSET 0) w OFFSET 0) u
  WHERE r.ctid = u.it AND r.tenant_id = t;
  PERFORM entrestate.sender_run_events(t, campaign, over, 'sender.run.done', 'completed');
  upgraded := cardinality(moved);
  done := cardinality(over);
  SELECT count(*) INTO kept FROM unnest(others) AS v(id)
  CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs y WHERE y.tenant_id = t AND y.campaign_id = campaign AND y.lead_id = v.id OFFSET 0) r
  WHERE r.status IN ('pending', 'running') AND r.version <> sender_upgrade.version;
  IF upgraded > 0 THEN
    PERFORM entrestate.sender_due_again(t, campaign);
    PERFORM entrestate.audit_add('sender.upgrade', 'campaign', campaign::text,
      jsonb_build_object('version', version, 'upgraded', upgraded, 'done', done, 'kept', kept));
  END IF;
END
$$;
COMMENT ON FUNCTION sender_upgrade(uuid, integer) IS
'Moves the open runs of a campaign''s other versions to its published one, where the steps they have decided are equal in both (channel, template, delay, guard, window, variants); a step whose message is on its way counts as decided. The next step is due after its new delay from the outcome before it, but not before now; a run that has no step left is done. Says how many moved, how many of these are done, and how many stay on their version. Twice is once. Capability: sender.operate. Errors: P0002, 22004, 55000 for a version that is not published. (B1, B7)';

CREATE FUNCTION sender_resume(campaign uuid, lead uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'sender.operate');
  at timestamptz := entrestate.clock_now();
  r entrestate.sender_runs;
BEGIN
  SELECT * INTO r FROM entrestate.sender_runs x WHERE x.tenant_id = t AND x.campaign_id = campaign AND x.lead_id = lead FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such run', NULL, 'sender_runs_of() lists a lead''s.');
  ELSIF r.status IN ('pending', 'running') THEN
    RETURN false;
  ELSIF r.status <> 'failed' THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the run is %s', r.status), NULL, 'Only a run that failed can go on.');
  END IF;
  UPDATE entrestate.sender_runs x SET status = 'running', run_seq = x.run_seq + 1, next_at = at, first_due_at = at, reason = NULL,
    ended_at = NULL, updated_at = at
  WHERE x.tenant_id = t AND x.campaign_id = r.campaign_id AND x.lead_id = r.lead_id;
  -- it may still lie where it waited when it failed
  INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)
  SELECT t, r.campaign_id, r.version, r.cursor, at, ARRAY[r.lead_id]
  WHERE NOT EXISTS (SELECT FROM entrestate.sender_due d WHERE d.tenant_id = t AND d.campaign_id = r.campaign_id AND d.version = r.version
    AND d.step = r.cursor AND d.due_at = at AND r.lead_id = ANY (d.leads));
  PERFORM entrestate.sender_run_events(t, r.campaign_id, ARRAY[r.lead_id], 'sender.run.resumed');
  PERFORM entrestate.sender_brake(t, ARRAY[r.lead_id]);
  PERFORM entrestate.audit_add('sender.resume', 'run', entrestate.run_id(r.campaign_id, r.lead_id), '{}');
  RETURN true;
END
$$;
COMMENT ON FUNCTION sender_resume(uuid, uuid) IS
'Lets a run that failed go on: the step it is at is due now, and passes the gates; where gates 3 to 6 end the run, it ends. false when it goes on already. Capability: sender.operate. Errors: P0002, 22004, 55000. (B7)';

CREATE FUNCTION channel_limits_set(channel text, daily_limit integer DEFAULT NULL, per_minute integer DEFAULT NULL, warmup integer[] DEFAULT NULL,
  warmup_from date DEFAULT NULL, consent_required boolean DEFAULT NULL, domain_per_minute integer DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('safety.manage');
  today date;
  set_to jsonb;
BEGIN
  PERFORM entrestate.arg_choice('channel', channel, ARRAY['email', 'sms', 'whatsapp']);
  IF daily_limit < 0 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'daily_limit is below 0', NULL, '0 takes the limit away.');
  ELSIF per_minute < 0 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'per_minute is below 0', NULL, '0 takes the rate away.');
  ELSIF domain_per_minute < 0 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'domain_per_minute is below 0', NULL, '0 takes the rate away.');
  ELSIF domain_per_minute > 0 AND channel <> 'email' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'domain_per_minute is of emails only');
  ELSIF cardinality(warmup) > 100 OR array_ndims(warmup) > 1 OR array_position(warmup, NULL) IS NOT NULL OR 0 >= ANY (warmup) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'warmup is not the sends of 1 to 100 days', NULL,
      'Write for example {50,100,200,400}: the most sends of its first, second, … day; {} takes it away.');
  ELSIF NOT isfinite(warmup_from) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'warmup_from is not a day');
  END IF;
  SELECT (entrestate.clock_now() AT TIME ZONE x.time_zone)::date INTO today FROM entrestate.tenants x WHERE x.tenant_id = t;
  UPDATE entrestate.tenant_channels c SET
    daily_limit = CASE WHEN channel_limits_set.daily_limit IS NULL THEN c.daily_limit ELSE nullif(channel_limits_set.daily_limit, 0) END,
    per_minute = CASE WHEN channel_limits_set.per_minute IS NULL THEN c.per_minute ELSE nullif(channel_limits_set.per_minute, 0) END,
    domain_per_minute = CASE WHEN channel_limits_set.domain_per_minute IS NULL THEN c.domain_per_minute ELSE nullif(channel_limits_set.domain_per_minute, 0) END,
    -- an array that was sliced may begin elsewhere than at 1
    warmup = CASE WHEN channel_limits_set.warmup IS NULL THEN c.warmup ELSE nullif(ARRAY(SELECT unnest(channel_limits_set.warmup)), '{}') END,
    warmup_from = CASE WHEN channel_limits_set.warmup = '{}' THEN NULL
      ELSE coalesce(channel_limits_set.warmup_from, c.warmup_from, CASE WHEN channel_limits_set.warmup IS NOT NULL THEN today END) END,
    consent_required = coalesce(channel_limits_set.consent_required, c.consent_required)
  WHERE c.tenant_id = t AND c.channel = channel_limits_set.channel;
  PERFORM entrestate.policy_changed(t);
  set_to := jsonb_strip_nulls(jsonb_build_object('channel', channel, 'dailyLimit', daily_limit, 'perMinute', per_minute, 'domainPerMinute', domain_per_minute, 'warmup', warmup,
    'warmupFrom', warmup_from, 'consentRequired', consent_required));
  PERFORM entrestate.activity_add('safety.limits_set', 'tenant', t::text, NULL, set_to);
  PERFORM entrestate.audit_add('channel.limits', 'channel', channel, set_to - 'channel');
END
$$;
COMMENT ON FUNCTION channel_limits_set(text, integer, integer, integer[], date, boolean, integer) IS
'Sets how much is sent on a channel: a limit a calendar day of the tenant, a rate a minute, of emails also a rate a minute for each domain, a warm-up (the most sends of its first, second, … day, from warmup_from, default today), and whether a lead must have granted consent. NULL leaves a setting as it is; 0, or {} for warmup, takes it away. What is over a limit or rate waits in its queue. Capability: safety.manage. Errors: 22004, 22023. (C10)';

GRANT EXECUTE ON FUNCTION sender_stop(uuid, uuid, text), campaign_resume(uuid, text, integer), campaign_go_live(uuid, text, timestamptz, integer),
  campaign_rehearse(uuid), sender_retry(uuid, uuid, integer), sender_upgrade(uuid, integer), sender_resume(uuid, uuid),
  channel_limits_set(text, integer, integer, integer[], date, boolean, integer) TO entrestate_app;
