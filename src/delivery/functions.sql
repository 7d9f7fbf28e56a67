-- delivery: the door by which providers report what became of messages. (B4, E3)

CREATE FUNCTION delivery_reported(tenant uuid, campaign uuid, lead uuid, step integer, attempt integer, code smallint, since timestamptz)
RETURNS boolean
LANGUAGE plpgsql STABLE
-- PL/pgSQL keeps the plan for the session.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  RETURN EXISTS (SELECT FROM entrestate.sender_events e WHERE e.tenant_id = tenant AND e.lead_id = lead AND e.recorded_at >= since
    AND e.type = code AND e.campaign_id = campaign AND e.step = delivery_reported.step AND e.attempt = delivery_reported.attempt);
END
$$;
COMMENT ON FUNCTION delivery_reported(uuid, uuid, uuid, integer, integer, smallint, timestamptz) IS
'Internal: whether an event of this type says something of a message that started at an instant.';

CREATE FUNCTION delivery_signal(tenant uuid, campaign uuid, lead uuid, kind text, occurred_at timestamptz, reference text, evidence jsonb,
  seconds numeric DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: it looks, then stores.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- judged and forgotten: no header and no address is stored (L8)
  IF kind = 'reply' THEN
    IF entrestate.reply_is_automatic(evidence -> 'headers', evidence ->> 'subject') THEN
      kind := 'auto_reply';
    END IF;
  ELSIF entrestate.open_is_machine(evidence ->> 'userAgent',
      CASE jsonb_typeof(evidence -> 'secondsAfterDelivery') WHEN 'number' THEN (evidence ->> 'secondsAfterDelivery')::numeric ELSE seconds END,
      evidence ->> 'method') THEN
    kind := 'machine_' || kind;
  END IF;
  RETURN (SELECT s.outcome FROM entrestate.signals_store(tenant, ARRAY[lead], ARRAY[kind], ARRAY[delivery_signal.occurred_at], ARRAY[campaign], ARRAY[reference]) s);
END
$$;
COMMENT ON FUNCTION delivery_signal(uuid, uuid, uuid, text, timestamptz, text, jsonb, numeric) IS
'Internal: stores an open, a click or a reply as a signal, a machine''s as a machine''s; returns counted, machine, repeated, or unknown for a lead that is not there.';

CREATE FUNCTION delivery_take(tenant uuid, campaign uuid, lead uuid, step integer, attempt integer, type text, occurred_at timestamptz, detail jsonb)
RETURNS text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other. Each row is looked up by its key.
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  -- clocks differ: what has not been yet is now
  at timestamptz := least(coalesce(occurred_at, entrestate.clock_now()), entrestate.clock_now());
  types smallint[] := ARRAY(SELECT y.code FROM entrestate.sender_event_types() y WHERE y.name IN ('sender.' || type, 'sender.settled') ORDER BY y.name = 'sender.settled');
  signal text := CASE type WHEN 'opened' THEN 'open' WHEN 'clicked' THEN 'click' WHEN 'replied' THEN 'reply' END;
  outcome text;
  settles text;
  survivor uuid;
  now_survivor uuid;
  address text;
  i record;
BEGIN
  SELECT x.status, x.channel, x.started_at, m.code AS mode_code, h.code AS channel_code INTO i FROM entrestate.sender_intents x
  JOIN entrestate.sender_modes() m ON m.name = x.mode JOIN entrestate.sender_channels() h ON h.name = x.channel
  WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.lead_id = lead AND x.step = delivery_take.step AND x.attempt = delivery_take.attempt;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such message', NULL,
      'A message''s key is campaign, lead, step and attempt, as sender_history() has them.');
  ELSIF i.started_at IS NULL THEN
    PERFORM entrestate.raise('WRONG_STATE', format('the message was never sent: it is %s', i.status), 'Nothing can be reported of it.');
  END IF;
  survivor := entrestate.lead_follow(tenant, lead);
  -- Signals are serial by the lead's score, which is locked before the lead.
  IF signal IS NOT NULL THEN
    IF entrestate.delivery_reported(tenant, campaign, lead, step, attempt, types[1], i.started_at) THEN
      RETURN 'repeated';
    END IF;
    outcome := entrestate.delivery_signal(tenant, campaign, survivor, signal, at, format('%s/%s/%s', entrestate.run_id(campaign, lead), step, attempt),
      detail, greatest(extract(epoch FROM at - i.started_at), 0));
  END IF;
  PERFORM entrestate.leads_lock(tenant, ARRAY[lead, survivor]);
  now_survivor := entrestate.lead_follow(tenant, lead);
  IF now_survivor <> survivor THEN
    survivor := now_survivor;
    PERFORM entrestate.leads_lock(tenant, ARRAY[survivor]);
  END IF;
  -- What is reported of a message that may not have been accepted settles it.
  SELECT x.status INTO i.status FROM entrestate.sender_intents x
  WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.lead_id = lead AND x.step = delivery_take.step AND x.attempt = delivery_take.attempt FOR NO KEY UPDATE;
  IF i.status = 'unknown' AND at <= i.started_at + interval '72 hours' THEN
    settles := CASE type WHEN 'settled' THEN detail ->> 'outcome' ELSE 'sent' END;
    UPDATE entrestate.sender_intents x SET status = settles, final_at = entrestate.clock_now(),
      outcome_reason = CASE settles WHEN 'failed' THEN (SELECT r.code FROM entrestate.sender_reasons() r WHERE r.name = 'refused') ELSE x.outcome_reason END
    WHERE x.tenant_id = tenant AND x.campaign_id = campaign AND x.lead_id = lead AND x.step = delivery_take.step AND x.attempt = delivery_take.attempt;
    INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, step, attempt, mode, channel, reason, decided_at)
    VALUES (tenant, lead, entrestate.clock_now(), campaign, types[cardinality(types)], delivery_take.step, delivery_take.attempt, i.mode_code, i.channel_code,
      CASE settles WHEN 'failed' THEN (SELECT r.code FROM entrestate.sender_reasons() r WHERE r.name = 'refused') END, at);
  END IF;
  IF type = 'settled' THEN
    IF settles IS NOT NULL THEN
      RETURN 'recorded';
    ELSIF entrestate.delivery_reported(tenant, campaign, lead, step, attempt, types[1], i.started_at) THEN
      RETURN 'repeated';
    END IF;
    PERFORM entrestate.raise('WRONG_STATE', format('there is nothing to settle: the message is %s', i.status),
      CASE i.status WHEN 'unknown' THEN 'Providers report for 72 hours; it stays unknown.' END);
  ELSIF outcome IN ('machine', 'repeated') THEN
    RETURN outcome;
  ELSIF entrestate.delivery_reported(tenant, campaign, lead, step, attempt, types[1], i.started_at) THEN
    RETURN 'repeated';
  END IF;
  INSERT INTO entrestate.sender_events (tenant_id, lead_id, recorded_at, campaign_id, type, step, attempt, mode, channel, decided_at)
  VALUES (tenant, lead, entrestate.clock_now(), campaign, types[1], delivery_take.step, delivery_take.attempt, i.mode_code, i.channel_code, at);
  CASE type
  WHEN 'replied' THEN
    IF i.channel = 'whatsapp' THEN
      UPDATE entrestate.leads l SET whatsapp_at = greatest(l.whatsapp_at, at), updated_at = entrestate.clock_now() WHERE l.tenant_id = tenant AND l.lead_id = survivor;
    END IF;
  WHEN 'bounced' THEN
    -- without the address: the one that the lead is written to, unless that may be another person's
    address := CASE WHEN detail ? 'address' THEN entrestate.address_norm(CASE i.channel WHEN 'email' THEN 'email' ELSE 'phone' END, left(detail ->> 'address', 320), NULL)
      WHEN survivor = lead THEN (SELECT c.address_norm FROM entrestate.lead_contacts c WHERE c.tenant_id = tenant AND c.lead_id = lead
        AND c.is_primary AND c.kind = CASE i.channel WHEN 'email' THEN 'email' ELSE 'phone' END) END;
    PERFORM entrestate.lead_bounce(tenant, survivor, i.channel, address, detail ->> 'kind' = 'hard');
  WHEN 'complained' THEN
    PERFORM entrestate.lead_complain(tenant, survivor, i.channel, 'provider');
  WHEN 'unsubscribed' THEN
    PERFORM entrestate.lead_opted_out(tenant, survivor, i.channel, 'provider');
  ELSE
    NULL;
  END CASE;
  RETURN 'recorded';
END
$$;
COMMENT ON FUNCTION delivery_take(uuid, uuid, uuid, integer, integer, text, timestamptz, jsonb) IS
'Internal: what delivery_report() does with a report whose arguments are in order.';

CREATE FUNCTION delivery_inbound(tenant uuid, campaign uuid, lead uuid, occurred_at timestamptz, detail jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: one after the other.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  at timestamptz := least(coalesce(occurred_at, entrestate.clock_now()), entrestate.clock_now());
  survivor uuid := entrestate.lead_follow(tenant, lead);
  outcome text;
BEGIN
  IF survivor IS NULL THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such lead');
  ELSIF campaign IS NOT NULL AND NOT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = tenant AND c.campaign_id = campaign) THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such campaign', NULL, 'entrestate.campaign_list() lists the tenant''s campaigns.');
  END IF;
  outcome := entrestate.delivery_signal(tenant, campaign, survivor, 'reply', at, detail ->> 'id', detail);
  IF detail ->> 'channel' = 'whatsapp' THEN
    PERFORM entrestate.leads_lock(tenant, ARRAY[survivor]);
    UPDATE entrestate.leads l SET whatsapp_at = at, updated_at = entrestate.clock_now()
    WHERE l.tenant_id = tenant AND l.lead_id = survivor AND (l.whatsapp_at < at OR l.whatsapp_at IS NULL);
  END IF;
  RETURN CASE outcome WHEN 'counted' THEN 'recorded' ELSE outcome END;
END
$$;
COMMENT ON FUNCTION delivery_inbound(uuid, uuid, uuid, timestamptz, jsonb) IS
'Internal: a message from the lead that answers no known message of ours.';

CREATE FUNCTION delivery_report(campaign uuid, lead uuid, step integer, attempt integer, type text, occurred_at timestamptz DEFAULT NULL,
  detail jsonb DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- every row is looked up by its key, whatever the statistics of a table that
-- was just filled say
SET search_path = pg_catalog, pg_temp SET row_security = on
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off AS $$
DECLARE
  t uuid := entrestate.require('delivery.report');
BEGIN
  PERFORM entrestate.arg_choice('type', type, ARRAY['delivered', 'undelivered', 'opened', 'clicked', 'replied', 'bounced', 'complained',
    'unsubscribed', 'settled', 'inbound']);
  detail := entrestate.arg_object('detail', detail, 65536);
  IF NOT isfinite(occurred_at) THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'occurred_at is not an instant');
  ELSIF lead IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', 'lead is missing');
  ELSIF type = 'inbound' THEN
    PERFORM entrestate.arg_choice('detail.channel', detail ->> 'channel', ARRAY['email', 'sms', 'whatsapp']);
    IF detail ? 'id' THEN
      PERFORM entrestate.arg_user('detail.id', detail ->> 'id');
    END IF;
    RETURN entrestate.delivery_inbound(t, campaign, lead, delivery_report.occurred_at, detail);
  ELSIF campaign IS NULL OR step IS NULL OR attempt IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', format('%s is missing', CASE WHEN campaign IS NULL THEN 'campaign' WHEN step IS NULL THEN 'step' ELSE 'attempt' END),
      NULL, 'A message''s key is campaign, lead, step and attempt.');
  ELSIF type = 'bounced' THEN
    PERFORM entrestate.arg_choice('detail.kind', detail ->> 'kind', ARRAY['hard', 'soft']);
  ELSIF type = 'settled' THEN
    PERFORM entrestate.arg_choice('detail.outcome', detail ->> 'outcome', ARRAY['sent', 'failed']);
  END IF;
  RETURN entrestate.delivery_take(t, campaign, lead, step, attempt, type, delivery_report.occurred_at, detail);
END
$$;
COMMENT ON FUNCTION delivery_report(uuid, uuid, integer, integer, text, timestamptz, jsonb) IS
'Records what a provider reports of a message, whose key is campaign, lead, step and attempt: delivered, undelivered, opened, clicked, replied, bounced (detail.kind hard or soft; detail.address), complained, unsubscribed, or settled (detail.outcome sent or failed) for one that is unknown; any other report settles it as sent. Opens, clicks and replies are signals of the lead, a hard bounce marks the address, a complaint and an unsubscribe end its runs in this transaction. detail {userAgent, secondsAfterDelivery, method} or {headers, subject} is judged by open_is_machine() and reply_is_automatic() and not stored; what a machine did is a machine''s signal and no event. inbound: a message from the lead that answers no known one, without step and attempt (detail.channel; detail.id, by which it counts once): a reply; by WhatsApp it opens the window for free text. Returns recorded, repeated (each type once per message, in any order) or machine. Never moves the run on. Also while the tenant is frozen. Capability: delivery.report. Errors: P0002, 22004, 22023, 54000, 55000 for a message that was never sent, or has nothing to settle. (B4, E3)';

GRANT EXECUTE ON FUNCTION delivery_report(uuid, uuid, integer, integer, text, timestamptz, jsonb) TO entrestate_app;
