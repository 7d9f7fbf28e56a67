-- What people do, as an application would do it for them: each function runs in the context of a member, by
-- the application's role. Who is met is drawn from the seed and the lead's key in its file.

CREATE FUNCTION demo.enter(tenant integer, actor text DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
  SELECT entrestate.login(t.tenant_id, coalesce(actor, 'owner@' || split_part(t.web, '@', 2))) FROM demo.tenants t WHERE t.n = tenant
$$;

-- The web forms' leads up to an instant that have not come in. An address or a number that cannot be one is left
-- out: lead_create() refuses it. A frozen tenant takes no leads: the form sends them again.
CREATE FUNCTION demo.arrive(one integer) RETURNS uuid LANGUAGE sql AS $$
  SELECT entrestate.lead_create(full_name => l.name,
    email => CASE WHEN entrestate.email_normalise(l.email) IS NOT NULL THEN l.email END,
    phone => CASE WHEN entrestate.phone_normalise(l.phone) IS NOT NULL THEN l.phone END,
    campaign => c.campaign_id, source => 'form', idempotency_key => l.id, consent => l.consent,
    custom => jsonb_strip_nulls(jsonb_build_object('budget', l.budget)),
    attribution => jsonb_strip_nulls(jsonb_build_object('landing_page', l.landing, 'utm', jsonb_build_object('source', l.source))))
  FROM demo.leads l JOIN demo.campaigns c ON c.tenant = l.tenant AND c.intent = l.intent WHERE l.n = one
$$;

-- Texts for demo.chance() are made without what depends on the session's DateStyle and TimeZone.

-- Leads with a run that is open, of the context's tenant.
CREATE FUNCTION demo.followed() RETURNS TABLE (lead uuid, campaign uuid, key text) LANGUAGE sql STABLE AS $$
  SELECT r.lead_id, r.campaign_id, l.idempotency_key
  FROM entrestate.sender_runs r JOIN entrestate.leads l USING (tenant_id, lead_id)
  WHERE r.tenant_id = entrestate.current_tenant() AND r.status IN ('pending', 'running')
  ORDER BY r.created_at, l.idempotency_key, r.campaign_id
$$;

-- Once a day: who telephones is a person's from then on; who says so is written to no more.
CREATE FUNCTION demo.telephone(today text) RETURNS void LANGUAGE sql AS $$
  SELECT CASE WHEN demo.chance(f.key || ' calls ' || today) < 0.007 THEN entrestate.handoff_open(f.lead, 'telephoned', f.campaign)::text END,
    CASE WHEN demo.chance(f.key || ' stops ' || today) < 0.001 THEN entrestate.sender_stop(f.campaign, f.lead, 'asked for it by telephone')::text END
  FROM demo.followed() f
$$;

-- Closers look at the tickets: each is taken some minutes or hours after it was opened, and resolved within two days.
CREATE FUNCTION demo.handoffs(tenant integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  at timestamptz := entrestate.clock_now();
  t record;
  key text;
  status text;
  outcome text;
BEGIN
  FOR t IN SELECT h.*, l.idempotency_key FROM entrestate.handoff_list('open', max_rows => 1000) h JOIN entrestate.leads l USING (lead_id)
      ORDER BY h.opened_at, l.idempotency_key LOOP
    key := t.idempotency_key || ' ' || extract(epoch FROM t.opened_at);
    IF t.opened_at + interval '5 minutes' * power(2, 7 * demo.chance(key || ' take')) <= at THEN
      PERFORM demo.enter(tenant, CASE WHEN demo.chance(key || ' who') < 0.5 THEN 'sam' ELSE 'kim' END || (SELECT substr(x.web, 4) FROM demo.tenants x WHERE x.n = tenant)),
        entrestate.handoff_take(t.ticket_id);
    END IF;
  END LOOP;
  FOR t IN SELECT h.*, l.idempotency_key FROM entrestate.handoff_list('taken', max_rows => 1000) h JOIN entrestate.leads l USING (lead_id)
      ORDER BY h.opened_at, l.idempotency_key LOOP
    key := t.idempotency_key || ' ' || extract(epoch FROM t.opened_at);
    CONTINUE WHEN t.taken_at + interval '2 hours' + interval '46 hours' * demo.chance(key || ' resolve') > at;
    outcome := (ARRAY['viewing booked', 'no interest', 'wants to think', 'asked us to wait', 'sent documents'])[1 + floor(5 * demo.chance(key || ' outcome'))];
    PERFORM demo.enter(tenant, t.taken_by), entrestate.handoff_resolve(t.ticket_id, outcome);
    SELECT l.status INTO status FROM entrestate.leads l WHERE l.lead_id = t.lead_id;
    IF outcome = 'asked us to wait' THEN
      PERFORM entrestate.lead_cool(t.lead_id, outcome);
    ELSIF outcome IN ('viewing booked', 'no interest') AND status NOT IN ('booked', 'lost') THEN
      PERFORM entrestate.lead_status_set(t.lead_id, CASE outcome WHEN 'viewing booked' THEN 'booked' ELSE 'lost' END);
    END IF;
  END LOOP;
END
$$;

-- The first of those who are followed up, by the seed, for what happens to one.
CREATE FUNCTION demo.somebody(why text) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT f.lead FROM demo.followed() f ORDER BY demo.chance(f.key || ' ' || why), f.campaign LIMIT 1
$$;
CREATE FUNCTION demo.letter() RETURNS boolean LANGUAGE sql AS $$
  SELECT entrestate.sender_stop(f.campaign, f.lead, 'a letter') FROM demo.followed() f ORDER BY demo.chance(f.key || ' writes'), f.campaign LIMIT 1
$$;
-- A number that somebody waits to be written to is out of service.
CREATE FUNCTION demo.disconnected(campaign uuid) RETURNS boolean LANGUAGE sql AS $$
  SELECT entrestate.lead_bounced(f.lead, 'sms', k.address, true)
  FROM demo.followed() f
  JOIN entrestate.sender_runs r ON r.lead_id = f.lead AND r.campaign_id = f.campaign
  JOIN entrestate.sender_steps s ON s.campaign_id = r.campaign_id AND s.version = r.version AND s.step >= r.cursor AND s.channel = 'sms'
  JOIN entrestate.lead_contacts k ON k.lead_id = f.lead AND k.kind = 'phone' AND k.is_primary
  WHERE f.campaign = disconnected.campaign
  ORDER BY demo.chance(f.key || ' out of service') LIMIT 1
$$;
-- Two records that turn out to be one person.
CREATE FUNCTION demo.merge() RETURNS boolean LANGUAGE sql AS $$
  SELECT entrestate.lead_merge(b.lead_id, a.lead_id)
  FROM entrestate.leads a JOIN entrestate.leads b ON b.full_name = a.full_name AND b.lead_id <> a.lead_id
  WHERE a.merged_into IS NULL AND b.merged_into IS NULL AND a.created_at < b.created_at AND b.lead_id IN (SELECT f.lead FROM demo.followed() f)
  ORDER BY demo.chance(a.idempotency_key || b.idempotency_key) LIMIT 1
$$;
-- A quarter of the leads of the other campaigns are invited, too.
CREATE FUNCTION demo.invite(campaign uuid) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s invited, %s runs began', count(*), count(*) FILTER (WHERE x.began))
  FROM (SELECT entrestate.lead_attribute(l.lead_id, campaign) AS began
    FROM (SELECT * FROM entrestate.leads y WHERE y.merged_into IS NULL AND y.campaign_id <> campaign ORDER BY y.created_at, y.idempotency_key OFFSET 0) l
    WHERE demo.chance(l.idempotency_key || ' invited') < 0.25) x
$$;
-- Some say that they will come; the follow-up has reached its goal then.
CREATE FUNCTION demo.register(campaign uuid) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s registered', count(entrestate.lead_tag(f.lead, '{registered}')))
  FROM demo.followed() f WHERE f.campaign = register.campaign AND demo.chance(f.key || ' registers') < 0.12
$$;
-- What was refused is tried again; where a gate says no by now, it stays as it is.
CREATE FUNCTION demo.retry() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r record;
  sent integer := 0;
  refused integer := 0;
BEGIN
  FOR r IN SELECT e.campaign_id, e.lead_id, e.step FROM entrestate.sender_events e
      JOIN entrestate.sender_event_types() y ON y.code = e.type AND y.name = 'sender.step.failed'
      JOIN entrestate.sender_runs u USING (tenant_id, campaign_id, lead_id) JOIN entrestate.leads l USING (tenant_id, lead_id)
      WHERE u.status IN ('pending', 'running', 'done') AND e.tenant_id = entrestate.current_tenant()
      ORDER BY e.recorded_at, l.idempotency_key, e.campaign_id LOOP
    BEGIN
      PERFORM entrestate.sender_retry(r.campaign_id, r.lead_id, r.step);
      sent := sent + 1;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
      refused := refused + 1;
    END;
  END LOOP;
  RETURN format('%s tried again, %s not', sent, refused);
END
$$;
-- The last text of a campaign's sequence is withdrawn; later a new one takes its place, and open runs move to it.
CREATE FUNCTION demo.last_text(campaign uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT (entrestate.sequence_get(campaign, q.version) -> 'steps' -> -1 ->> 'template_id')::uuid
  FROM entrestate.sequence_list(campaign) q WHERE q.status = 'published'
$$;
CREATE FUNCTION demo.rewrite(campaign uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  template uuid := demo.last_text(campaign);
  version integer;
BEGIN
  version := entrestate.template_version_add(template, E'Hello {{lead.first_name|there}},\n\nWould you like to visit us? Reply with a day that suits you.', 'A visit');
  PERFORM entrestate.template_status_set(template, version, 'approved');
  version := entrestate.sequence_copy(campaign, 1, campaign);
  PERFORM entrestate.sequence_publish(campaign, version);
  RETURN (SELECT format('version %s, %s runs moved to it', version, u.upgraded) FROM entrestate.sender_upgrade(campaign, version) u);
END
$$;
CREATE FUNCTION demo.verify_identity(channel text) RETURNS void LANGUAGE sql AS $$
  SELECT entrestate.identity_status_set(i.identity_id, s.status)
  FROM entrestate.identity_list() i, unnest('{pending,verified}'::text[]) WITH ORDINALITY s(status, o)
  WHERE i.channel = verify_identity.channel ORDER BY s.o
$$;

-- Why something is held, as members see it.
CREATE FUNCTION demo.look(at timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO demo.seen
  SELECT x.held_for, look.at, sum(x.n) FROM (
    SELECT q.held_for, q.held AS n FROM entrestate.sender_queue() q WHERE q.held > 0
    UNION ALL
    SELECT r.held_for, count(*) FROM demo.tenants t JOIN demo.campaigns c ON c.tenant = t.n AND c.intent = 'open_house'
    CROSS JOIN LATERAL entrestate.sender_queue_runs(c.campaign_id, max_rows => 1000) r
    WHERE t.tenant_id = entrestate.current_tenant() AND r.held_for = 'awaiting_go_live' GROUP BY 1) x
  GROUP BY 1 ON CONFLICT (reason) DO UPDATE SET runs = greatest(demo.seen.runs, EXCLUDED.runs)
$$;

-- What sender_replay() says of every run.
CREATE FUNCTION demo.replayed() RETURNS TABLE (run text, differs jsonb, gaps jsonb) LANGUAGE sql AS $$
  SELECT x.it ->> 'run', x.it -> 'differs', x.it -> 'gaps'
  FROM demo.tenants t CROSS JOIN LATERAL (SELECT demo.enter(t.n) OFFSET 0) e
  CROSS JOIN LATERAL (SELECT entrestate.sender_replay(r.campaign_id, r.lead_id) AS it FROM entrestate.sender_runs r WHERE r.tenant_id = t.tenant_id OFFSET 0) x
$$;
-- The reasons for which something was decided or held.
CREATE FUNCTION demo.reasons() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT x.name FROM entrestate.sender_reasons() x WHERE EXISTS (SELECT FROM entrestate.sender_events e WHERE e.reason = x.code)
  UNION SELECT a.payload ->> 'reason' FROM entrestate.activity_events a WHERE a.type = 'sender.queue.held'
  UNION SELECT s.reason FROM demo.seen s
$$;
