-- Two tenants of different time zones, each with three campaigns: investors (gentle) and end users (informative),
-- both by sender_setup(), and an open house that is written by hand and begins as a rehearsal.
SELECT min(arrived)::date AS first, 3 + (max(arrived)::date - min(arrived)::date) / 28 AS months FROM demo.leads \gset
UPDATE demo.settings SET first_day = :'first';
SET entrestate.clock = :'clock';
SELECT entrestate.upkeep(1, :months);

INSERT INTO demo.tenants VALUES
  (1, entrestate.tenant_create('Maple Homes', 'owner@maple.example', 'sandbox', 'America/Toronto', 'CAD'), 'Maple Homes', 'web@maple.example', 'America/Toronto'),
  (2, entrestate.tenant_create('Marina Estates', 'owner@marina.example', 'sandbox', 'Asia/Dubai', 'AED'), 'Marina Estates', 'web@marina.example', 'Asia/Dubai');
UPDATE demo.leads l SET at = l.arrived AT TIME ZONE t.zone FROM demo.tenants t WHERE t.n = l.tenant;

CREATE FUNCTION demo.identity(of_channel text, address text, name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  i uuid := entrestate.identity_create(of_channel, address, name);
BEGIN
  PERFORM demo.verify_identity(of_channel), entrestate.identity_default_set(i);
END
$$;

-- By the tenant's owner, in one transaction. New tenants rehearse, with every channel off.
CREATE FUNCTION demo.open(tenant integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t demo.tenants;
  domain text;
  -- leads a day, so that limits bind with any number of them
  daily integer := (SELECT greatest(count(*) / 7, 4) FROM demo.leads l WHERE l.tenant = open.tenant AND l.arrived < (SELECT s.first_day FROM demo.settings s) + 7);
  investors uuid;
  users uuid;
  house uuid;
  text_a uuid;
  text_b uuid;
  chat uuid;
  offer uuid;
  map uuid;
BEGIN
  SELECT * INTO t FROM demo.tenants x WHERE x.n = tenant;
  domain := split_part(t.web, '@', 2);
  PERFORM demo.enter(tenant);
  PERFORM entrestate.member_add(t.web, 'operator'), entrestate.member_add('sam@' || domain, 'closer'), entrestate.member_add('kim@' || domain, 'closer');
  PERFORM entrestate.tenant_update(dry_run => false, opt_out_scope => CASE tenant WHEN 2 THEN 'channel' END);
  PERFORM entrestate.channel_set('email', true), entrestate.channel_set('sms', true), entrestate.channel_set('whatsapp', tenant = 2);
  PERFORM demo.identity('email', 'hello@' || domain, t.name), demo.identity('sms', split_part(t.name, ' ', 1), t.name);
  IF tenant = 1 THEN
    PERFORM entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "08:00"}]');
    PERFORM entrestate.channel_limits_set('email', warmup => ARRAY[greatest(daily / 4, 1), greatest(daily / 2, 2), daily]),
      entrestate.channel_limits_set('sms', per_minute => greatest(daily / 30, 1), consent_required => true);
  ELSE
    PERFORM demo.identity('whatsapp', '+971501234567', t.name);
    PERFORM entrestate.tenant_quiet_hours_set('[{"from": "22:00", "to": "09:00"}, {"days": ["fri"], "from": "12:00", "to": "14:00"}]');
    PERFORM entrestate.channel_limits_set('email', daily_limit => daily * 3 / 2), entrestate.channel_limits_set('whatsapp', consent_required => true);
  END IF;
  -- what becomes of what is sent, at the documented rates
  PERFORM entrestate.sandbox_set((SELECT s.seed FROM demo.settings s));

  investors := entrestate.campaign_create('Investors', 'investor');
  PERFORM entrestate.sender_setup(investors), entrestate.agent_settings_set(investors, behaviour => '{"warmth": 80, "persistence": 10}',
    windows => '[{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00"}]', caps => '[{"max": 2, "per": "7 days"}]', max_lateness => '3 days');
  users := entrestate.campaign_create('End users', 'end user');
  PERFORM entrestate.sender_setup(users), entrestate.agent_settings_set(users, behaviour => '{"warmth": 50, "persistence": 40}',
    caps => '[{"max": 3, "per": "7 days"}, {"max": 1, "per": "1 day", "channel": "sms"}]');

  house := entrestate.campaign_create('Open house', 'event');
  text_a := entrestate.template_create('Invitation A', 'email', E'Hello {{lead.first_name|there}},\n\nOur doors are open. Will you come?', 'You are invited');
  text_b := entrestate.template_create('Invitation B', 'email', E'Hello {{lead.first_name|there}},\n\nCoffee, plans and people who built it. Will you come?', 'Coffee with us');
  chat := entrestate.template_create('Short question', 'whatsapp', 'Shall we keep a place for you?', free_text => true);
  offer := entrestate.template_create('Offer', 'email', E'Hello {{lead.first_name|there}},\n\nWithin your budget of {{lead.custom.budget}} there are some left.', 'Within your budget');
  map := entrestate.template_create('How to find us', 'email', E'Dear {{lead.full_name}},\n\nHere is the way.', 'How to find us');
  PERFORM entrestate.template_status_set(id, 1, 'approved') FROM unnest(ARRAY[text_a, text_b, chat, offer, map]) id;
  PERFORM entrestate.sequence_publish(house, entrestate.sequence_create(house, jsonb_build_array(
    jsonb_build_object('channel', 'email', 'delay', '0', 'variants', jsonb_build_array(
      jsonb_build_object('template', text_a, 'weight', 2), jsonb_build_object('template', text_b, 'weight', 1))),
    jsonb_build_object('channel', 'whatsapp', 'template', chat, 'delay', '1 day', 'guard', '$.steps[0].opened == true'),
    jsonb_build_object('channel', 'email', 'template', offer, 'delay', '1 day', 'guard', '$.lead.custom.budget >= 300000',
      'window', '[{"from": "10:00", "to": "12:00"}]'::jsonb),
    jsonb_build_object('channel', 'email', 'template', map, 'delay', '2 days')), exit_predicate => '$.lead.tags[*] == "registered"'));
  PERFORM entrestate.agent_settings_set(house, caps => '[{"max": 4, "per": "7 days"}]'), entrestate.campaign_rehearse(house);

  INSERT INTO demo.campaigns VALUES (tenant, 'investor', investors, 'Investors'), (tenant, 'end_user', users, 'End users'), (tenant, 'open_house', house, 'Open house');
  PERFORM entrestate.campaign_status_set(c.campaign_id, 'active'), entrestate.campaign_update(c.campaign_id, sender_enabled => true)
  FROM (SELECT * FROM demo.campaigns x WHERE x.tenant = open.tenant ORDER BY x.campaign_id) c;
END
$$;
SELECT demo.open(1), demo.open(2);

-- What people do once; what they do every day is in people.sql. Days begin with 1; times are the tenant's.
INSERT INTO demo.calendar (tenant, day, hour, what, statement)
SELECT v.tenant, v.day, v.hour, v.what, replace(replace(replace(v.statement, ':investors', quote_literal(i.campaign_id)), ':users', quote_literal(u.campaign_id)),
  ':house', quote_literal(h.campaign_id))
FROM (VALUES
  (2, 3, time '11:00', 'the tenant is frozen while an invoice is looked at', 'SELECT entrestate.tenant_freeze(''invoice'')'),
  (2, 3, '16:00', 'the tenant goes on, with the leads that came meanwhile', 'SELECT entrestate.tenant_unfreeze()'),
  (1, 4, '11:00', 'automated messages pause during a stocktaking', 'SELECT entrestate.tenant_pause(''stocktaking'')'),
  (1, 4, '17:00', 'automated messages go on', 'SELECT entrestate.tenant_resume()'),
  (2, 5, '10:00', 'the sender of End users is turned off by mistake', 'SELECT entrestate.campaign_update(:users, sender_enabled => false)'),
  (2, 5, '16:00', 'the sender of End users is on again', 'SELECT entrestate.campaign_update(:users, sender_enabled => true)'),
  (1, 5, '15:00', 'a lead complains by telephone', 'SELECT entrestate.lead_complained(demo.somebody(''complains''))'),
  (1, 6, '12:00', 'two records turn out to be one person', 'SELECT demo.merge()'),
  (1, 6, '14:00', 'SMS pauses for a day', 'SELECT entrestate.channel_set(''sms'', paused => true)'),
  (1, 7, '14:00', 'SMS goes on', 'SELECT entrestate.channel_set(''sms'', paused => false)'),
  (2, 6, '10:00', 'the WhatsApp number has to be verified anew', 'SELECT entrestate.identity_status_set(i.identity_id, ''revoked'') FROM entrestate.identity_list() i WHERE i.channel = ''whatsapp'''),
  (2, 7, '18:00', 'the WhatsApp number is verified', 'SELECT demo.verify_identity(''whatsapp'')'),
  (1, 8, '09:00', 'a lead asks to be erased', 'SELECT entrestate.lead_erasure_request(demo.somebody(''erasure''))'),
  (1, 8, '12:00', 'Open house is live, for leads of the last two days', 'SELECT format(''%s restarted, %s wait, %s ended'', g.restarted, g.waiting, g.ended) FROM entrestate.campaign_go_live(:house, ''since'', entrestate.clock_now() - interval ''2 days'', per_minute => 20) g'),
  (2, 9, '10:00', 'Open house is live, for all', 'SELECT format(''%s restarted, %s wait, %s ended'', g.restarted, g.waiting, g.ended) FROM entrestate.campaign_go_live(:house, ''all'') g'),
  (1, 9, '10:00', 'Investors pauses for a review', 'SELECT entrestate.campaign_status_set(:investors, ''paused'', ''review'')'),
  (2, 10, '15:00', 'a quarter of the other campaigns'' leads are invited', 'SELECT demo.invite(:house)'),
  (1, 10, '16:00', 'a lead signs in the office', 'SELECT entrestate.lead_status_set(demo.somebody(''signs''), ''booked'')'),
  (1, 9, '09:30', 'a lead writes a letter: no more of this campaign', 'SELECT demo.letter()'),
  (1, 7, '10:00', 'a closer finds that a number is out of service', 'SELECT demo.disconnected(:users)'),
  (2, 12, '10:00', 'WhatsApp is off for a day', 'SELECT entrestate.channel_set(''whatsapp'', false)'),
  (2, 13, '10:00', 'WhatsApp is on again', 'SELECT entrestate.channel_set(''whatsapp'', true)'),
  (1, 10, '13:00', 'what was refused is tried again', 'SELECT demo.retry()'),
  (2, 12, '12:00', 'some register', 'SELECT demo.register(:house)'),
  (1, 13, '11:00', 'Investors goes on; three days late is too late', 'SELECT format(''%s overdue'', r.overdue_runs) FROM entrestate.campaign_resume(:investors) r'),
  (1, 11, '09:00', 'the last text of End users is withdrawn', 'SELECT entrestate.template_status_set(demo.last_text(:users), 1, ''retired'')'),
  (1, 14, '11:00', 'End users has a new last text; open runs move to it', 'SELECT demo.rewrite(:users)'),
  (2, 13, '18:00', 'the open house is over', 'SELECT entrestate.campaign_status_set(:house, ''completed'')')
  ) AS v(tenant, day, hour, what, statement)
JOIN demo.campaigns i ON i.tenant = v.tenant AND i.intent = 'investor'
JOIN demo.campaigns u ON u.tenant = v.tenant AND u.intent = 'end_user'
JOIN demo.campaigns h ON h.tenant = v.tenant AND h.intent = 'open_house';
UPDATE demo.calendar c SET at = (:'first'::date + c.day - 1 + c.hour) AT TIME ZONE t.zone FROM demo.tenants t WHERE t.n = c.tenant;

SET ROLE demo_reader;
SELECT entrestate.consumer_create('demo');
