-- handoff: a person takes a lead over. What it ends: sender/brake.c.

CREATE FUNCTION sender_brake(tenant uuid, leads uuid[]) RETURNS integer
LANGUAGE c VOLATILE STRICT
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_brake';
COMMENT ON FUNCTION sender_brake(uuid, uuid[]) IS
'Internal: ends the open runs of leads for which gates 3 to 6 say so, voids their intents that have not started, and opens the tickets that follow; returns how many runs ended. In the transaction that stored what brakes. (B10)';

CREATE FUNCTION handoff_ensure(tenant uuid, lead uuid, campaign uuid, reason text, opened_by text DEFAULT 'system') RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it looks, then writes.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
  id uuid;
  l entrestate.leads;
BEGIN
  SELECT * INTO l FROM entrestate.leads x WHERE x.tenant_id = tenant AND x.lead_id = lead FOR NO KEY UPDATE;
  IF l.handoff_open THEN
    SELECT h.ticket_id INTO id FROM entrestate.handoff_tickets h
    WHERE h.lead_id = lead AND h.tenant_id = tenant AND h.status <> 'resolved';
    RETURN id;
  END IF;
  id := entrestate.uuid_v7();
  INSERT INTO entrestate.handoff_tickets (tenant_id, ticket_id, lead_id, campaign_id, status, reason, opened_by, opened_at)
  VALUES (tenant, id, lead, coalesce(campaign, l.campaign_id), 'open', handoff_ensure.reason, handoff_ensure.opened_by, at);
  UPDATE entrestate.leads x SET handoff_open = true, handoff_at = at, updated_at = at WHERE x.tenant_id = tenant AND x.lead_id = lead;
  PERFORM entrestate.lead_direct(tenant, lead);
  PERFORM entrestate.activity_add('handoff.opened', 'handoff', id::text, coalesce(campaign, l.campaign_id),
    jsonb_build_object('leadId', lead, 'reason', reason));
  PERFORM entrestate.notification_add(l.owner_id, 'handoff.opened', 'handoff', id::text, coalesce(campaign, l.campaign_id));
  RETURN id;
END
$$;
COMMENT ON FUNCTION handoff_ensure(uuid, uuid, uuid, text, text) IS
'Internal: opens a handoff ticket of a lead unless one is open; returns the one that is. The caller brakes.';

CREATE FUNCTION handoff_open(lead uuid, reason text, campaign uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.lead_require(lead, 'handoff.open');
  id uuid;
BEGIN
  PERFORM entrestate.arg_text('reason', reason, 100);
  IF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = t AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL,
      'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  id := entrestate.handoff_ensure(t, lead, campaign, btrim(reason), entrestate.current_actor());
  PERFORM entrestate.sender_brake(t, ARRAY[lead]);
  RETURN id;
END
$$;
COMMENT ON FUNCTION handoff_open(uuid, text, uuid) IS
'Hands a lead over to a person: opens a ticket, unless one is open, and returns it. The lead''s runs, of all campaigns, end in this transaction, and its owner is told. Capability: handoff.open. Errors: P0002, 22004, 22023, 54000, 55000. (B10)';

CREATE FUNCTION handoff_require(ticket uuid, capability text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t uuid := entrestate.require(capability);
BEGIN
  IF ticket IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'ticket is missing');
  END IF;
  -- lock order: the lead before what belongs to it
  PERFORM FROM entrestate.leads l WHERE l.tenant_id = t
    AND l.lead_id = (SELECT x.lead_id FROM entrestate.handoff_tickets x WHERE x.tenant_id = t AND x.ticket_id = ticket) FOR NO KEY UPDATE;
  PERFORM FROM entrestate.handoff_tickets x WHERE x.tenant_id = t AND x.ticket_id = ticket FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such ticket');
  END IF;
  RETURN t;
END
$$;
COMMENT ON FUNCTION handoff_require(uuid, text) IS
'Internal: checks the capability, then locks a ticket and its lead, or raises P0002; returns the tenant.';

CREATE FUNCTION handoff_take(ticket uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.handoff_require(ticket, 'handoff.take');
  me text := entrestate.current_actor();
  at timestamptz := entrestate.clock_now();
  h entrestate.handoff_tickets;
BEGIN
  SELECT * INTO STRICT h FROM entrestate.handoff_tickets x WHERE x.tenant_id = t AND x.ticket_id = ticket;
  IF h.status = 'taken' AND h.taken_by = me THEN
    RETURN false;
  ELSIF h.status <> 'open' THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the ticket is %s', h.status),
      CASE h.status WHEN 'taken' THEN format('%s has it.', h.taken_by) END,
      CASE h.status WHEN 'taken' THEN 'Who has it can give it back with handoff_release().' END);
  END IF;
  UPDATE entrestate.handoff_tickets x SET status = 'taken', taken_by = me, taken_at = at, first_touch_at = coalesce(x.first_touch_at, at)
  WHERE x.tenant_id = t AND x.ticket_id = ticket;
  -- a lead that nobody owns belongs to who takes it
  UPDATE entrestate.leads l SET owner_id = me, updated_at = at
  WHERE l.tenant_id = t AND l.lead_id = h.lead_id AND l.owner_id IS NULL
    AND EXISTS (SELECT FROM entrestate.members m WHERE m.tenant_id = t AND m.user_id = me);
  PERFORM entrestate.activity_add('handoff.taken', 'handoff', ticket::text, h.campaign_id, jsonb_build_object('leadId', h.lead_id));
  RETURN true;
END
$$;
COMMENT ON FUNCTION handoff_take(uuid) IS
'Takes a ticket: the caller follows the lead up from now on, and owns it when nobody did. Taking one''s own again returns false. Capability: handoff.take. Errors: P0002, 22004, 55000 when somebody else has it or it is resolved. (B14)';

CREATE FUNCTION handoff_release(ticket uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.handoff_require(ticket, 'handoff.take');
  h entrestate.handoff_tickets;
BEGIN
  SELECT * INTO STRICT h FROM entrestate.handoff_tickets x WHERE x.tenant_id = t AND x.ticket_id = ticket;
  IF h.status = 'open' THEN
    RETURN false;
  ELSIF h.status = 'resolved' THEN
    PERFORM entrestate.raise('WRONG_STATE', 'the ticket is resolved', NULL, 'handoff_open() opens another one.');
  ELSIF h.taken_by <> entrestate.current_actor() AND NOT entrestate.can('members.manage') THEN
    PERFORM entrestate.raise('WRONG_STATE', 'somebody else has the ticket', format('%s has it.', h.taken_by), 'An owner or admin can take it away.');
  END IF;
  UPDATE entrestate.handoff_tickets x SET status = 'open', taken_by = NULL, taken_at = NULL WHERE x.tenant_id = t AND x.ticket_id = ticket;
  PERFORM entrestate.activity_add('handoff.released', 'handoff', ticket::text, h.campaign_id, jsonb_build_object('leadId', h.lead_id));
  PERFORM entrestate.notification_add(NULL, 'handoff.released', 'handoff', ticket::text, h.campaign_id);
  RETURN true;
END
$$;
COMMENT ON FUNCTION handoff_release(uuid) IS
'Gives a ticket back, so that somebody else can take it; false when it is open. Capability: handoff.take; an owner or admin for somebody else''s. Errors: P0002, 22004, 55000. (B14)';

CREATE FUNCTION handoff_resolve(ticket uuid, outcome text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.handoff_require(ticket, 'handoff.take');
  at timestamptz := entrestate.clock_now();
  h entrestate.handoff_tickets;
BEGIN
  PERFORM entrestate.arg_text('outcome', outcome, 100);
  SELECT * INTO STRICT h FROM entrestate.handoff_tickets x WHERE x.tenant_id = t AND x.ticket_id = ticket;
  IF h.status = 'resolved' THEN
    RETURN false;
  END IF;
  UPDATE entrestate.handoff_tickets x SET status = 'resolved', resolved_by = entrestate.current_actor(), resolved_at = at,
    outcome = handoff_resolve.outcome WHERE x.tenant_id = t AND x.ticket_id = ticket;
  UPDATE entrestate.leads l SET handoff_open = false, updated_at = at WHERE l.tenant_id = t AND l.lead_id = h.lead_id;
  PERFORM entrestate.lead_direct(t, h.lead_id);
  PERFORM entrestate.activity_add('handoff.resolved', 'handoff', ticket::text, h.campaign_id, jsonb_build_object('leadId', h.lead_id));
  RETURN true;
END
$$;
COMMENT ON FUNCTION handoff_resolve(uuid, text) IS
'Resolves a ticket, with what came of it. Runs that ended stay ended, and the lead stays hot until lead_cool(). Again is false. Capability: handoff.take. Errors: P0002, 22004, 22023, 54000. (B14)';

CREATE FUNCTION handoff_list(with_status text DEFAULT 'open', before timestamptz DEFAULT NULL, before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (ticket_id uuid, lead_id uuid, campaign_id uuid, status text, reason text, opened_by text, opened_at timestamptz,
  taken_by text, taken_at timestamptz, first_touch interval, resolved_by text, resolved_at timestamptz, outcome text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on SET enable_sort = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('handoff.read');
  upto timestamptz := coalesce(before, 'infinity');
  upto_id uuid := coalesce(before_id, '00000000-0000-0000-0000-000000000000');
BEGIN
  PERFORM entrestate.arg_choice('with_status', with_status, ARRAY['open', 'taken', 'resolved']);
  PERFORM entrestate.arg_rows(max_rows);
  RETURN QUERY
  SELECT h.ticket_id, h.lead_id, h.campaign_id, h.status, h.reason, h.opened_by, h.opened_at, h.taken_by, h.taken_at,
    h.first_touch_at - h.opened_at, h.resolved_by, h.resolved_at, h.outcome
  FROM entrestate.handoff_tickets h
  WHERE h.status = with_status AND h.tenant_id = t AND h.opened_at <= upto AND (h.opened_at, h.ticket_id) < (upto, upto_id)
  ORDER BY h.status DESC, h.tenant_id DESC, h.opened_at DESC, h.ticket_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION handoff_list(text, timestamptz, uuid, integer) IS
'The tickets that are open, taken or resolved, last opened first, with the time to first touch; before and before_id: opened_at and id of the last one of the page before. Capability: handoff.read. Errors: 22004, 22023. (B14)';

CREATE FUNCTION handoff_of(lead uuid) RETURNS TABLE (ticket_id uuid, campaign_id uuid, status text, reason text, opened_by text,
  opened_at timestamptz, taken_by text, first_touch interval, resolved_at timestamptz, outcome text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('handoff.read');
BEGIN
  RETURN QUERY
  SELECT h.ticket_id, h.campaign_id, h.status, h.reason, h.opened_by, h.opened_at, h.taken_by, h.first_touch_at - h.opened_at, h.resolved_at, h.outcome
  FROM entrestate.handoff_tickets h WHERE h.lead_id = lead AND h.tenant_id = t ORDER BY h.opened_at, h.ticket_id;
END
$$;
COMMENT ON FUNCTION handoff_of(uuid) IS
'A lead''s tickets, oldest first. Capability: handoff.read. (B14)';

GRANT EXECUTE ON FUNCTION handoff_open(uuid, text, uuid), handoff_take(uuid), handoff_release(uuid), handoff_resolve(uuid, text),
  handoff_list(text, timestamptz, uuid, integer), handoff_of(uuid) TO entrestate_app;
