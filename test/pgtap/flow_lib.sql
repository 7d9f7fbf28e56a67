-- What the flow_ tests share: \ir flow_lib.sql in a fresh database, as superuser. Tenants are made for
-- each scenario; the clock begins at 2026-01-05T10:00:00Z and is moved by flow.at() and flow.process().
SET client_min_messages = warning;
SELECT entrestate.upkeep() AS upkeep \gset flow_
CREATE SCHEMA flow;
CREATE TABLE flow.tenant (name text PRIMARY KEY, tenant uuid, campaign uuid, email uuid, sms uuid);
CREATE TABLE flow.lead (tenant text, name text, lead uuid, PRIMARY KEY (tenant, name));

CREATE FUNCTION flow.at(instant timestamptz) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('entrestate.clock', to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), false)
$$;
CREATE FUNCTION flow.enter(name text) RETURNS void LANGUAGE sql AS $$
  SELECT entrestate.login(t.tenant, 'boss') FROM flow.tenant t WHERE t.name = enter.name
$$;
-- A tenant with a campaign that runs: steps are "channel delay" each, such as {"email 0","sms 3 days"}.
CREATE FUNCTION flow.make(name text, steps text[], mode text DEFAULT 'sandbox', zone text DEFAULT 'America/Toronto', stop_on_reply boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  t flow.tenant;
BEGIN
  t.name := name;
  t.tenant := entrestate.tenant_create(name, 'boss', mode, zone);
  INSERT INTO flow.tenant SELECT (t).*;
  PERFORM flow.enter(name);
  PERFORM entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true), entrestate.channel_set('sms', true);
  t.email := entrestate.template_create('m', 'email', 'b', 's');
  t.sms := entrestate.template_create('s', 'sms', 'b');
  PERFORM entrestate.template_status_set(t.email, 1, 'approved'), entrestate.template_status_set(t.sms, 1, 'approved');
  t.campaign := entrestate.campaign_create('c');
  UPDATE flow.tenant x SET campaign = t.campaign, email = t.email, sms = t.sms WHERE x.name = make.name;
  -- who a live tenant's messages come from
  IF mode = 'live' THEN
    PERFORM flow.identity('email', 'team@example.com'), flow.identity('sms', '+14165550000');
  END IF;
  PERFORM flow.sequence(name, steps, stop_on_reply);
  PERFORM entrestate.sequence_publish(t.campaign, 1);
  PERFORM entrestate.campaign_status_set(t.campaign, 'active');
  PERFORM entrestate.campaign_update(t.campaign, sender_enabled => true);
END
$$;
CREATE FUNCTION flow.identity(channel text, address text) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  i uuid := entrestate.identity_create(channel, address);
BEGIN
  PERFORM entrestate.identity_status_set(i, 'pending'), entrestate.identity_status_set(i, 'verified'), entrestate.identity_default_set(i);
  RETURN i;
END
$$;
CREATE FUNCTION flow.sequence(name text, steps text[], stop_on_reply boolean DEFAULT true) RETURNS integer LANGUAGE sql AS $$
  SELECT entrestate.sequence_create(t.campaign, (SELECT jsonb_agg(jsonb_build_object('channel', split_part(s, ' ', 1),
      'template', CASE split_part(s, ' ', 1) WHEN 'email' THEN t.email ELSE t.sms END, 'delay', substr(s, position(' ' IN s) + 1)) ORDER BY o)
    FROM unnest(steps) WITH ORDINALITY u(s, o)), stop_on_reply => sequence.stop_on_reply) FROM flow.tenant t WHERE t.name = sequence.name
$$;
-- A lead of the tenant's campaign; "both" contact points unless told otherwise. An address is one lead's, so those
-- that are not given are new ones.
CREATE SEQUENCE flow.address;
CREATE FUNCTION flow.lead(tenant text, name text, email text DEFAULT 'new', phone text DEFAULT 'new', zone text DEFAULT NULL)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
  n bigint := nextval('flow.address');
BEGIN
  PERFORM flow.enter(tenant);
  l := entrestate.lead_create(name, CASE email WHEN 'new' THEN format('x%s@example.com', n) ELSE email END,
    CASE phone WHEN 'new' THEN format('+1416555%s', lpad(n::text, 4, '0')) ELSE phone END, campaign => (SELECT t.campaign FROM flow.tenant t WHERE t.name = lead.tenant), time_zone => zone);
  INSERT INTO flow.lead VALUES (tenant, name, l);
  RETURN l;
END
$$;
CREATE FUNCTION flow.id(tenant text, name text) RETURNS uuid LANGUAGE sql STABLE AS
  $$ SELECT l.lead FROM flow.lead l WHERE l.tenant = id.tenant AND l.name = id.name $$;
-- Processes what a tenant has due at an instant, to the end; returns how many were decided.
CREATE FUNCTION flow.process(name text, instant timestamptz DEFAULT NULL, batch integer DEFAULT 1000) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  n integer;
  total integer := 0;
BEGIN
  IF instant IS NOT NULL THEN
    PERFORM flow.at(instant);
  END IF;
  LOOP
    n := entrestate.sender_process_tenant((SELECT t.tenant FROM flow.tenant t WHERE t.name = process.name), batch);
    total := total + n;
    EXIT WHEN n = 0;
  END LOOP;
  RETURN total;
END
$$;
-- A lead's story: "run.started, step.sent 0, ..." with the reason in brackets.
CREATE FUNCTION flow.story(tenant text, name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT string_agg(replace(y.name, 'sender.', '') || coalesce(' ' || e.step, '') || coalesce(' (' || x.name || ')', ''), ', ' ORDER BY e.campaign_id, e.run_seq)
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
  LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
  WHERE e.lead_id = flow.id($1, $2)
$$;
CREATE FUNCTION flow.run(tenant text, name text) RETURNS entrestate.sender_runs LANGUAGE sql STABLE AS
  $$ SELECT r FROM entrestate.sender_runs r WHERE r.lead_id = flow.id($1, $2) $$;
-- A campaign whose steps are never too late: for tests that hold it for longer than a week.
CREATE FUNCTION flow.patient(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(name), entrestate.agent_settings_set((SELECT t.campaign FROM flow.tenant t WHERE t.name = patient.name), max_lateness => '400 days');
END
$$;
-- Everything that the sender writes for a tenant.
CREATE FUNCTION flow.digest(name text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  t text;
  d text;
  everything text := '';
BEGIN
  FOREACH t IN ARRAY '{sender_runs,sender_due,sender_events,sender_intents,activity_events,audit_log}'::text[] LOOP
    EXECUTE format('SELECT md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM entrestate.%I x WHERE tenant_id = $1', t)
      INTO d USING (SELECT x.tenant FROM flow.tenant x WHERE x.name = digest.name);
    everything := everything || t || ' ' || coalesce(d, 'none') || E'\n';
  END LOOP;
  RETURN everything;
END
$$;
-- Runs that are not what their events say (L3), as text; a live run that waits for its intent has no event for that.
CREATE FUNCTION flow.unfolded() RETURNS text LANGUAGE sql STABLE AS $$
  WITH fold AS (
    SELECT e.tenant_id, e.campaign_id, e.lead_id, count(*) AS n, min(e.run_seq) AS first, max(e.run_seq) AS last,
      count(DISTINCT e.run_seq) AS distinct_seq,
      count(*) FILTER (WHERE y.name LIKE 'sender.step.%' AND y.name NOT IN ('sender.step.deferred', 'sender.step.retried')) AS outcomes, count(*) FILTER (WHERE y.name = 'sender.step.sent') AS sent,
      bool_or(y.name = 'sender.run.done') AS done, bool_or(y.name LIKE 'sender.suppressed%') AS suppressed,
      (array_agg(e.next_at ORDER BY e.run_seq DESC))[1] AS next_at, (array_agg(e.reason ORDER BY e.run_seq DESC))[1] AS reason,
      (array_agg(m.name ORDER BY e.run_seq DESC))[1] AS mode, (array_agg(e.sequence_version ORDER BY e.run_seq))[1] AS version,
      max(e.recorded_at) AS at
    FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type JOIN entrestate.sender_modes() m ON m.code = e.mode
    GROUP BY 1, 2, 3
  ), waiting AS (
    SELECT i.tenant_id, i.campaign_id, i.lead_id FROM entrestate.sender_intents i WHERE i.status IN ('ready', 'leased', 'started')
  )
  SELECT string_agg(to_jsonb(r)::text || ' <> ' || coalesce(to_jsonb(f)::text, 'no events'), E'\n')
  FROM entrestate.sender_runs r
  FULL JOIN fold f USING (tenant_id, campaign_id, lead_id)
  LEFT JOIN waiting w USING (tenant_id, campaign_id, lead_id)
  -- where it waits; rows that it left are hints that nobody follows
  LEFT JOIN LATERAL (SELECT count(*) AS rows FROM entrestate.sender_due d WHERE d.tenant_id = r.tenant_id AND d.campaign_id = r.campaign_id
    AND d.version = r.version AND d.step = r.cursor AND d.due_at = r.next_at AND r.lead_id = ANY (d.leads)) d ON true
  WHERE (r.run_seq, r.cursor::bigint, r.sent_steps::bigint, r.version) IS DISTINCT FROM (f.last, f.outcomes, f.sent, f.version)
    OR f.first <> 1 OR f.n <> f.last OR f.distinct_seq <> f.n
    OR r.status <> CASE WHEN f.done THEN 'done' WHEN f.suppressed THEN 'suppressed' WHEN f.outcomes > 0 OR w IS NOT NULL THEN 'running' ELSE 'pending' END
    OR (f.done OR f.suppressed) <> (r.ended_at IS NOT NULL)
    OR r.ended_at IS NOT NULL AND (r.next_at IS NOT NULL OR r.reason IS DISTINCT FROM f.reason OR r.ended_at <> f.at)
    OR (w IS NULL AND (r.next_at IS DISTINCT FROM f.next_at OR r.mode <> f.mode))
    OR coalesce(d.rows, 0) <> (r.next_at IS NOT NULL)::integer
$$;
SELECT flow.at('2026-01-05T10:00:00Z') AS at \gset flow_
