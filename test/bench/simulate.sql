-- A campaign of :leads leads that came over a month: four steps each, all decided, three signals for every second lead, a ticket
-- for each of those that turned hot, opt-outs and booked leads. In a database of its own.
SET client_min_messages = warning;
CREATE EXTENSION entrestate;
SELECT entrestate.migrate() \g /dev/null
SET entrestate.clock = '2026-03-01T08:00:00Z';
SELECT entrestate.upkeep() \g /dev/null
CREATE SCHEMA data;
CREATE TABLE data.it (tenant_id uuid, campaign_id uuid);
CREATE FUNCTION data.at(instant timestamptz) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('entrestate.clock', to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), false) $$;
DO $$
DECLARE
  t uuid := entrestate.tenant_create('Bench', 'owner', 'sandbox', 'America/Toronto');
  m uuid;
  c uuid;
BEGIN
  PERFORM entrestate.login(t, 'owner'), entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true);
  m := entrestate.template_create('Hello', 'email', 'Good to meet you.', 'Hello');
  PERFORM entrestate.template_status_set(m, 1, 'approved');
  c := entrestate.campaign_create('Bench');
  PERFORM entrestate.sequence_create(c, jsonb_build_array(jsonb_build_object('channel', 'email', 'template', m, 'delay', '1 hour'),
      jsonb_build_object('channel', 'email', 'template', m, 'delay', '2 days'), jsonb_build_object('channel', 'email', 'template', m, 'delay', '3 days'),
      jsonb_build_object('channel', 'email', 'template', m, 'delay', '5 days'))),
    entrestate.sequence_publish(c, 1), entrestate.campaign_status_set(c, 'active'), entrestate.campaign_update(c, sender_enabled => true, runs_on_import => true),
    entrestate.agent_settings_set(c, windows => '[{"from": "08:00", "to": "20:00"}]', caps => '[{"max": 3, "per": "7 days"}]');
  INSERT INTO data.it VALUES (t, c);
END
$$;
CREATE TABLE data.leads (hour integer, no bigint, lead_id uuid, PRIMARY KEY (hour, no));
-- Four hours of the month: their leads, and what those of the days before do.
CREATE PROCEDURE data.hours(h integer, leads integer) LANGUAGE plpgsql AS $$
DECLARE
  r data.it;
  who uuid[];
BEGIN
  SELECT * INTO r FROM data.it;
  PERFORM data.at(timestamptz '2026-03-01T08:00:00Z' + h * interval '1 hour'), entrestate.login(r.tenant_id, 'owner');
  IF h < 480 THEN
    INSERT INTO data.leads SELECT h, x.row_no, x.lead_id FROM entrestate.lead_import((SELECT jsonb_agg(jsonb_build_object('full_name', 'Lead ' || i,
      'email', format('lead%s.%s@example.com', h, i))) FROM generate_series(1, leads) i), r.campaign_id) x;
  END IF;
  who := ARRAY(SELECT l.lead_id FROM data.leads l WHERE l.hour = ANY (ARRAY[h - 4, h - 28, h - 52, h - 100, h - 132]) AND (l.no + (l.hour + h) / 4) % 3 = 0);
  PERFORM FROM entrestate.signals_add(who, ARRAY(SELECT (ARRAY['open','open','open','click','click','chat_message','form_resubmission','open','reply','call_request'])[1 + abs(hashtext(u::text || h)) % 10] FROM unnest(who) u)) x;
  PERFORM CASE l.no % 2 WHEN 0 THEN entrestate.lead_opt_out(l.lead_id, 'email') END, CASE l.no % 2 WHEN 1 THEN entrestate.lead_status_set(l.lead_id, 'booked') END
  FROM data.leads l WHERE l.hour = h - 72 AND l.no % 25 < 2;
  COMMIT;
END
$$;
SELECT c FROM generate_series(0, 732, 4) h, unnest(ARRAY[format('CALL data.hours(%s, %s)', h, :leads / 120), 'CALL entrestate.sender_process()',
  CASE WHEN h % 40 = 8 THEN 'VACUUM ANALYZE' END]) WITH ORDINALITY AS x(c, o) WHERE c IS NOT NULL ORDER BY h, o \gexec
VACUUM ANALYZE;
