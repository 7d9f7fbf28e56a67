-- sender: what operators do to runs. (B7, C10)
--
-- Everybody here locks in the one order: the tenant and its channels, the
-- campaign, the leads, then the runs. Who has the campaign's row keeps the
-- processor from the campaign, so what is due is nobody else's meanwhile.

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
        FROM (SELECT v.id FROM unnest(part) AS v(id) OFFSET 0) u
        WHERE r.tenant_id = t AND r.campaign_id = campaign_resume.campaign AND r.lead_id = u.id
          AND r.status IN ('pending', 'running') AND r.next_at <= entrestate.clock_now();
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

GRANT EXECUTE ON FUNCTION sender_stop(uuid, uuid, text), campaign_resume(uuid, text, integer) TO entrestate_app;
