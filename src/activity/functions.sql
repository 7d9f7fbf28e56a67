-- activity: the feed (mission control's envelope), the audit log, and how
-- consumers read event tables exactly. Algorithm: activity/ticks.c.

CREATE FUNCTION activity_add(type text, entity_type text, entity_id text,
  campaign_id uuid DEFAULT NULL, payload jsonb DEFAULT '{}', task_id uuid DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session; a SQL function would plan each call.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_id uuid := entrestate.uuid_v7();
BEGIN
  INSERT INTO entrestate.activity_events
    (tenant_id, recorded_at, id, type, entity_type, entity_id, campaign_id, task_id, actor, payload)
  VALUES (entrestate.current_tenant(), entrestate.clock_now(), new_id,
    activity_add.type, activity_add.entity_type, activity_add.entity_id, activity_add.campaign_id,
    activity_add.task_id, entrestate.current_actor(), coalesce(activity_add.payload, '{}'));
  RETURN new_id;
END
$$;
COMMENT ON FUNCTION activity_add(text, text, text, uuid, jsonb, uuid) IS
'Internal: records an event of the feed in the context''s tenant. The payload carries references, never personal data (L8).';

CREATE FUNCTION audit_add(action text, target_type text, target_id text, detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO entrestate.audit_log
    (tenant_id, recorded_at, id, action, actor, member_role, login_role, target_type, target_id, detail)
  VALUES (entrestate.current_tenant(), entrestate.clock_now(), entrestate.uuid_v7(),
    audit_add.action, entrestate.current_actor(), entrestate.current_member_role(), session_user,
    audit_add.target_type, audit_add.target_id, coalesce(audit_add.detail, '{}'));
END
$$;
COMMENT ON FUNCTION audit_add(text, text, text, jsonb) IS
'Internal: records who did what in the context''s tenant.';

-- Pages go by the whole sort key, since rows of one transaction share their
-- instant; the plan must come in that order, however few rows it expects.

CREATE FUNCTION activity_feed(before timestamptz DEFAULT NULL, before_id uuid DEFAULT NULL,
  max_rows integer DEFAULT 50, campaign uuid DEFAULT NULL)
RETURNS TABLE (event jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('activity.read');
  -- variables: row security keeps a coalesce() out of an index condition
  upto timestamptz := coalesce(before, 'infinity');
  upto_id uuid := coalesce(before_id, '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  IF campaign IS NULL THEN
    RETURN QUERY
    SELECT entrestate.activity_envelope(e.id, e.type, e.entity_type, e.entity_id, e.task_id, e.campaign_id,
      e.actor, e.recorded_at, e.payload)
    FROM entrestate.activity_events e
    WHERE e.tenant_id = t AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
    ORDER BY e.tenant_id DESC, e.recorded_at DESC, e.id DESC
    LIMIT max_rows;
  ELSE
    RETURN QUERY
    SELECT entrestate.activity_envelope(e.id, e.type, e.entity_type, e.entity_id, e.task_id, e.campaign_id,
      e.actor, e.recorded_at, e.payload)
    FROM entrestate.activity_events e
    WHERE e.campaign_id = campaign AND e.tenant_id = t
      AND e.recorded_at <= upto AND (e.recorded_at, e.id) < (upto, upto_id)
    ORDER BY e.campaign_id DESC, e.tenant_id DESC, e.recorded_at DESC, e.id DESC
    LIMIT max_rows;
  END IF;
END
$$;
COMMENT ON FUNCTION activity_feed(timestamptz, uuid, integer, uuid) IS
'The tenant''s feed, or a campaign''s, newest first, in mission control''s envelope {id, type, entityType, entityId, taskId, campaignId, timestamp, payload}; before and before_id: timestamp and id of the last event of the page before. Capability: activity.read. Errors: 22023. (C12)';
GRANT EXECUTE ON FUNCTION activity_feed(timestamptz, uuid, integer, uuid) TO entrestate_app;

CREATE FUNCTION activity_envelope(id uuid, type text, entity_type text, entity_id text, task_id uuid,
  campaign_id uuid, actor text, recorded_at timestamptz, payload jsonb) RETURNS jsonb
LANGUAGE sql STABLE
RETURN jsonb_strip_nulls(jsonb_build_object(
  'id', id, 'type', type, 'entityType', entity_type, 'entityId', entity_id, 'taskId', task_id,
  'campaignId', campaign_id, 'actor', actor, 'timestamp', recorded_at, 'payload', payload));
COMMENT ON FUNCTION activity_envelope(uuid, text, text, text, uuid, uuid, text, timestamptz, jsonb) IS
'Internal: an event of the feed in mission control''s envelope. (C12)';

CREATE FUNCTION audit_list(before timestamptz DEFAULT NULL, before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (recorded_at timestamptz, id uuid, action text, actor text, member_role text,
  login_role text, target_type text, target_id text, detail jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('audit.read');
  upto timestamptz := coalesce(before, 'infinity');
  upto_id uuid := coalesce(before_id, '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT a.recorded_at, a.id, a.action, a.actor, a.member_role, a.login_role, a.target_type,
    a.target_id, a.detail
  FROM entrestate.audit_log a
  WHERE a.tenant_id = t AND a.recorded_at <= upto AND (a.recorded_at, a.id) < (upto, upto_id)
  ORDER BY a.tenant_id DESC, a.recorded_at DESC, a.id DESC
  LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION audit_list(timestamptz, uuid, integer) IS
'The tenant''s audit log, newest first; before and before_id: recorded_at and id of the last row of the page before. Capability: audit.read. Errors: 22023. (C11)';
GRANT EXECUTE ON FUNCTION audit_list(timestamptz, uuid, integer) TO entrestate_app;

-- Notifications: written by the transaction in which it happened; the ticker's
-- NOTIFY wakes who listens.

CREATE FUNCTION notification_add(user_id text, type text, entity_type text, entity_id text,
  campaign_id uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO entrestate.notifications (tenant_id, notification_id, user_id, type, entity_type, entity_id,
    campaign_id, created_at)
  VALUES (entrestate.current_tenant(), entrestate.uuid_v7(), coalesce((SELECT m.user_id FROM entrestate.members m
      WHERE m.tenant_id = entrestate.current_tenant() AND m.user_id = notification_add.user_id), ''),
    notification_add.type, notification_add.entity_type, notification_add.entity_id,
    notification_add.campaign_id, entrestate.clock_now());
END
$$;
COMMENT ON FUNCTION notification_add(text, text, text, text, uuid) IS
'Internal: notifies a member; with NULL, or one who has left, whoever works on leads. (E9)';

CREATE FUNCTION notifications_list(unread_only boolean DEFAULT false, before uuid DEFAULT NULL,
  max_rows integer DEFAULT 50)
RETURNS TABLE (notification_id uuid, for_all boolean, type text, entity_type text, entity_id text,
  campaign_id uuid, created_at timestamptz, read_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('activity.read');
  me text := entrestate.current_actor();
  upto uuid := coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
  PERFORM entrestate.arg_rows(max_rows);
  -- one's own and those for all, each from its index
  RETURN QUERY
  SELECT n.* FROM unnest(ARRAY[me, '']) AS u(who) CROSS JOIN LATERAL (
    SELECT x.notification_id, x.user_id = '', x.type, x.entity_type, x.entity_id, x.campaign_id, x.created_at, x.read_at
    FROM entrestate.notifications x
    WHERE x.tenant_id = t AND x.user_id = u.who AND x.notification_id < upto
      AND (NOT coalesce(unread_only, false) OR x.read_at IS NULL)
    ORDER BY x.user_id DESC, x.tenant_id DESC, x.notification_id DESC LIMIT max_rows) n
  ORDER BY n.notification_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION notifications_list(boolean, uuid, integer) IS
'The caller''s notifications and those for whoever works on leads, newest first; before: id of the last one of the page before. Capability: activity.read. Errors: 22023. (E9)';

CREATE FUNCTION notifications_unread() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('activity.read');
  me text := entrestate.current_actor();
BEGIN
  RETURN (SELECT sum(n.count) FROM unnest(ARRAY[me, '']) AS u(who) CROSS JOIN LATERAL (
    SELECT count(*) FROM entrestate.notifications x
    WHERE x.tenant_id = t AND x.user_id = u.who AND x.read_at IS NULL) n);
END
$$;
COMMENT ON FUNCTION notifications_unread() IS
'How many notifications the caller has not read. Capability: activity.read. (E9)';

CREATE FUNCTION notifications_read(notification_ids uuid[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('activity.read');
  me text := entrestate.current_actor();
  n integer;
BEGIN
  IF cardinality(notification_ids) > 1000 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', 'notification_ids has too many ids', 'At most 1000 are allowed.');
  END IF;
  IF notification_ids IS NULL THEN
    UPDATE entrestate.notifications x SET read_at = entrestate.clock_now(), read_by = me
    WHERE x.user_id = me AND x.tenant_id = t AND x.read_at IS NULL;
  ELSE
    UPDATE entrestate.notifications x SET read_at = entrestate.clock_now(), read_by = me
    WHERE x.tenant_id = t AND x.notification_id = ANY (notification_ids) AND x.user_id IN (me, '') AND x.read_at IS NULL;
  END IF;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END
$$;
COMMENT ON FUNCTION notifications_read(uuid[]) IS
'Marks notifications as read, by id; NULL: all that are the caller''s own. One that is for all is read for all. Returns how many were unread. Capability: activity.read. Errors: 54000. (E9)';

GRANT EXECUTE ON FUNCTION notifications_list(boolean, uuid, integer), notifications_unread(),
  notifications_read(uuid[]) TO entrestate_app;

-- Epochs, ticks, consumers.

CREATE FUNCTION current_epoch() RETURNS smallint
LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'activity_current_epoch';
COMMENT ON FUNCTION current_epoch() IS
'Internal: the epoch of this cluster''s transaction ids; opens a new one after a restore into another cluster.';

CREATE FUNCTION event_epoch() RETURNS smallint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'activity_event_epoch';
COMMENT ON FUNCTION event_epoch() IS
'Internal: current_epoch(), remembered by the session; default of the epoch column of event tables.';

CREATE FUNCTION tick() RETURNS bigint
LANGUAGE c VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on
AS 'MODULE_PATHNAME', 'activity_tick';
COMMENT ON FUNCTION tick() IS
'Records the transaction snapshot that ends one batch of every consumer and begins the next, and wakes listeners of the channel entrestate_tick (empty payload); returns the tick. Must be a transaction of its own. For entrestate_worker. Errors: 25001. (C12, A20)';
GRANT EXECUTE ON FUNCTION tick() TO entrestate_worker;

CREATE FUNCTION consumer_create(name text, from_start boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- PL/pgSQL: it checks first.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
  PERFORM entrestate.arg_text('name', name, 100);
  INSERT INTO entrestate.consumers (name, tick_id, finished_epoch, created_at)
  SELECT consumer_create.name, last.tick_id, last.epoch - 1, entrestate.clock_now()
  FROM (VALUES (1)) one
  LEFT JOIN (SELECT * FROM entrestate.ticks t ORDER BY t.tick_id DESC LIMIT 1) last
    ON NOT from_start
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('CONFLICT', 'a consumer of this name exists already');
  END IF;
END
$$;
COMMENT ON FUNCTION consumer_create(text, boolean) IS
'Registers a consumer of the event tables, from the first event or from the last tick on. For entrestate_worker and entrestate_auditor. Errors: 23505, 22004. (C12, D17)';

CREATE FUNCTION consumer_drop(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- PL/pgSQL: it checks.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
  DELETE FROM entrestate.consumers c WHERE c.name = consumer_drop.name;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such consumer');
  END IF;
END
$$;
COMMENT ON FUNCTION consumer_drop(text) IS
'Forgets a consumer. For entrestate_worker and entrestate_auditor. Errors: P0002.';

CREATE FUNCTION consumer_next(name text, max_ticks integer DEFAULT 100)
RETURNS TABLE (batch bigint, epoch smallint, after pg_snapshot, upto pg_snapshot)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- PL/pgSQL: it checks, locks and answers.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  c entrestate.consumers;
  first entrestate.ticks;
  last entrestate.ticks;
  closed smallint;
BEGIN
  IF max_ticks IS NULL OR max_ticks < 1 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'max_ticks is a number from 1 up');
  END IF;
  SELECT * INTO c FROM entrestate.consumers s WHERE s.name = consumer_next.name FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such consumer', NULL,
      'Register it with consumer_create().');
  END IF;
  SELECT * INTO first FROM entrestate.ticks t
  WHERE t.tick_id > coalesce(c.tick_id, 0) ORDER BY t.tick_id LIMIT 1;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  SELECT * INTO last FROM entrestate.ticks t WHERE t.tick_id = c.tick_id;

  -- A batch never spans two epochs: the rest of a closed one comes first, and
  -- by itself (upto NULL; its batch is the epoch's number, negative).
  SELECT min(e.epoch) INTO closed FROM entrestate.epochs e
  WHERE e.epoch < first.epoch AND e.epoch > coalesce(c.finished_epoch, 0);
  IF closed IS NOT NULL THEN
    RETURN QUERY SELECT -closed::bigint, closed,
      CASE WHEN last.epoch = closed THEN last.snapshot END, NULL::pg_snapshot;
    RETURN;
  END IF;
  RETURN QUERY
  SELECT b.tick_id, b.epoch, CASE WHEN last.epoch = b.epoch THEN last.snapshot END, b.snapshot
  FROM (SELECT * FROM entrestate.ticks t
        WHERE t.tick_id >= first.tick_id AND t.epoch = first.epoch
        ORDER BY t.tick_id LIMIT max_ticks) b
  ORDER BY b.tick_id DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION consumer_next(text, integer) IS
'The consumer''s next batch, at most max_ticks ticks long: what became visible between the snapshots after (NULL: from the start) and upto (NULL: the rest of a closed epoch). No row: nothing new. The same batch comes again until consumer_done(). For entrestate_worker and entrestate_auditor. Errors: P0002, 22023. (C12, D17)';

CREATE FUNCTION consumer_done(name text, batch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- PL/pgSQL: it checks, locks and writes.
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  c entrestate.consumers;
BEGIN
  SELECT * INTO c FROM entrestate.consumers s WHERE s.name = consumer_done.name FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such consumer');
  END IF;
  -- a closed epoch is finished once: the next one in turn, with a tick of a later one
  IF batch IS NULL OR NOT (CASE WHEN batch > 0
    THEN EXISTS (SELECT FROM entrestate.ticks t WHERE t.tick_id = batch AND t.tick_id > coalesce(c.tick_id, 0))
    ELSE EXISTS (SELECT FROM entrestate.ticks t WHERE t.tick_id > coalesce(c.tick_id, 0) AND -t.epoch < batch)
      AND batch = (SELECT -min(e.epoch)::bigint FROM entrestate.epochs e WHERE e.epoch > coalesce(c.finished_epoch, 0)) END) THEN
    PERFORM entrestate.raise('WRONG_STATE', 'this batch is not open', NULL,
      'Finish the batch that consumer_next() gave.');
  END IF;
  IF batch > 0 THEN
    UPDATE entrestate.consumers s SET tick_id = batch, updated_at = entrestate.clock_now()
    WHERE s.name = consumer_done.name;
  ELSE
    UPDATE entrestate.consumers s SET updated_at = entrestate.clock_now(), finished_epoch = -batch
    WHERE s.name = consumer_done.name;
  END IF;
END
$$;
COMMENT ON FUNCTION consumer_done(text, bigint) IS
'Marks a batch of consumer_next() as consumed; in the transaction that stores what was made of it, both or neither. For entrestate_worker and entrestate_auditor. Errors: P0002, 55000.';

CREATE FUNCTION consumer_events(like_table anyelement, epoch smallint, after pg_snapshot, upto pg_snapshot)
RETURNS SETOF anyelement
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: the table comes with the call, and with it its row type. INVOKER:
-- what the caller may see is for row security to say. VOLATILE, and never with
-- an old snapshot: while this waits for upkeep(), rows move to their month's
-- partition, and a snapshot from before would miss them.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t text := (SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.reltype = pg_typeof(like_table)::oid AND c.relnamespace = 'entrestate'::regnamespace);
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'consumer_events() must run in READ COMMITTED' USING ERRCODE = '25001',
      DETAIL = 'An old snapshot could miss events that upkeep() moved.';
  END IF;
  IF t IS NULL OR epoch IS NULL THEN
    -- not raise(): that is for definer functions
    RAISE EXCEPTION 'consumer_events() reads an event table of entrestate' USING ERRCODE = '22023',
      HINT = 'Write consumer_events(NULL::entrestate.sender_events, b.epoch, b.after, b.upto).';
  END IF;
  IF upto IS NULL THEN
    -- the rest of a closed epoch: what its last snapshot did not see
    RETURN QUERY EXECUTE format('SELECT * FROM %s e WHERE e.epoch = $1
      AND ($2 IS NULL OR NOT pg_visible_in_snapshot(e.txid, $2))', t) USING epoch, after;
  ELSIF after IS NULL THEN
    RETURN QUERY EXECUTE format('SELECT * FROM %s e WHERE e.epoch = $1
      AND e.txid < pg_snapshot_xmax($2) AND pg_visible_in_snapshot(e.txid, $2)', t) USING epoch, upto;
  ELSE
    -- Never from xmin(after): one old transaction would make it long. What was
    -- under way at the last tick is looked up transaction by transaction.
    RETURN QUERY EXECUTE format('SELECT * FROM %1$s e WHERE e.epoch = $1
      AND e.txid >= pg_snapshot_xmax($2) AND e.txid < pg_snapshot_xmax($3)
      AND pg_visible_in_snapshot(e.txid, $3)
      UNION ALL
      SELECT * FROM %1$s e WHERE e.epoch = $1 AND e.txid = ANY (ARRAY(
        SELECT x FROM pg_snapshot_xip($2) x WHERE pg_visible_in_snapshot(x, $3)))', t) USING epoch, after, upto;
  END IF;
END
$$;
COMMENT ON FUNCTION consumer_events(anyelement, smallint, pg_snapshot, pg_snapshot) IS
'The rows of an event table in a batch of consumer_next(): consumer_events(NULL::entrestate.sender_events, epoch, after, upto). Row security applies: an auditor sees all tenants. Not on a standby, and in READ COMMITTED. Errors: 22023, 25001. (C12, D17)';

GRANT EXECUTE ON FUNCTION consumer_create(text, boolean), consumer_drop(text),
  consumer_next(text, integer), consumer_done(text, bigint),
  consumer_events(anyelement, smallint, pg_snapshot, pg_snapshot)
  TO entrestate_worker, entrestate_auditor;
