-- Shared fixtures: two sandbox tenants, A and B, with something in every table.
--
--   \ir setup.sql
--
-- Commits (a tenant's runs are decided before it ends), so include it before BEGIN; the
-- database of a pgTAP file is its own. Afterwards there are
--
--   psql variables   :a :b (tenants), and :a_owner :a_viewer :a_campaign :a_campaign_draft
--                    :a_template :a_template_sms :a_identity :a_lead :a_lead2 ... :a_lead7 (merged into
--                    :a_lead6), :a_import :a_ticket (lead2's, open) :a_notification, the same with b_;
--                    they are text, quoted as :'a'
--   fixture.ids      all of them as rows (who, name, id, kind)
--   fixture.id(who, name), fixture.enter(who [, member]): login() in this transaction
--   fixture.digest(tenant)  md5 of every row of a tenant (NULL: of all) in every table, as superuser
--   roles            fixture_app (entrestate_app), fixture_app2 (the same, another login),
--                    fixture_gateway (entrestate_authenticator, NOINHERIT),
--                    fixture_auditor, fixture_anon, fixture_nobody (in none);
--                    all LOGIN, without a password
--
-- The clock is left at 2026-01-09T10:00:00Z. What only B's rows hold contains the marker
-- "zqbeta" (user ids do not: they are handed to functions), what only A's hold "zqalpha".
SET client_min_messages = warning;
SET entrestate.clock = '2026-01-05T10:00:00Z';
SELECT entrestate.upkeep() AS setup \gset fixture_

-- roles are the cluster's, and an earlier file may have made them
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT * FROM (VALUES
      ('fixture_app', 'entrestate_app', 'INHERIT'), ('fixture_app2', 'entrestate_app', 'INHERIT'),
      ('fixture_gateway', 'entrestate_authenticator', 'NOINHERIT'),
      ('fixture_auditor', 'entrestate_auditor', 'INHERIT'),
      ('fixture_anon', 'entrestate_anon', 'INHERIT'), ('fixture_nobody', NULL, 'INHERIT')) v(name, of_role, inherit)
  LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN %s', r.name, r.inherit);
      IF r.of_role IS NOT NULL THEN
        EXECUTE format('GRANT %I TO %I', r.of_role, r.name);
      END IF;
    END IF;
  END LOOP;
END
$$;

CREATE SCHEMA fixture;
GRANT USAGE ON SCHEMA fixture TO PUBLIC;
CREATE TABLE fixture.ids (
  who text, name text, id text, kind text NOT NULL, PRIMARY KEY (who, name));
GRANT SELECT ON fixture.ids TO PUBLIC;

CREATE FUNCTION fixture.id(who text, name text) RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT i.id FROM fixture.ids i WHERE i.who = $1 AND i.name = $2 $$;

CREATE FUNCTION fixture.enter(who text, member text DEFAULT 'owner') RETURNS void LANGUAGE sql AS
  $$ SELECT entrestate.login(fixture.id(who, 'tenant')::uuid, fixture.id(who, member)) $$;

-- Of a table without tenant_id, all rows count, and with NULL those of all tenants.
CREATE FUNCTION fixture.digest(tenant uuid) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  t record;
  d text;
  everything text := '';
BEGIN
  FOR t IN
    SELECT c.oid::regclass AS name, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
        AND a.attname = 'tenant_id' AND NOT a.attisdropped) AS of_tenant
    FROM pg_class c
    WHERE c.relnamespace = 'entrestate'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname
  LOOP
    EXECUTE format('SELECT coalesce(md5(string_agg(x::text, chr(10) ORDER BY x::text)), ''none'') FROM %s x %s',
      t.name, CASE WHEN t.of_tenant AND tenant IS NOT NULL THEN 'WHERE x.tenant_id = $1' END) INTO d USING tenant;
    everything := everything || t.name || ' ' || d || E'\n';
  END LOOP;
  RETURN everything;
END
$$;

-- Makes one tenant in this transaction, by the public functions alone.
CREATE FUNCTION fixture.make(who text, marker text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t uuid;
  r text;
  i integer;
  c uuid;
  c2 uuid;
  m uuid;
  m2 uuid;
  s uuid;
  l uuid;
BEGIN
  INSERT INTO fixture.ids SELECT who, v, format('user-%s-%s', who, v), 'user'
    FROM unnest('{owner,admin,operator,closer,member,viewer}'::text[]) v;
  t := entrestate.tenant_create(marker || ' Homes', fixture.id(who, 'owner'), 'sandbox', 'America/Toronto', 'CAD');
  INSERT INTO fixture.ids VALUES (who, 'tenant', t, 'tenant');
  PERFORM entrestate.login_record(t, fixture.id(who, 'owner'), 'login.succeeded', '203.0.113.0/24', marker || ' sso');
  PERFORM fixture.enter(who);
  PERFORM entrestate.tenant_update(dry_run => false);
  PERFORM entrestate.channel_set('email', true), entrestate.channel_set('sms', true);
  -- the sandbox provider will report what is sent as delivered, and nothing else
  PERFORM entrestate.sandbox_set(7, (SELECT jsonb_object_agg(k, 0) FROM jsonb_object_keys(entrestate.sandbox_rates()) k));
  FOREACH r IN ARRAY '{admin,operator,closer,member,viewer}'::text[] LOOP
    PERFORM entrestate.member_add(fixture.id(who, r), r);
  END LOOP;
  m := entrestate.template_create(marker || ' hello', 'email', marker || ' body', marker || ' subject');
  m2 := entrestate.template_create(marker || ' nudge', 'sms', marker || ' text');
  PERFORM entrestate.template_status_set(m, 1, 'approved'), entrestate.template_status_set(m2, 1, 'approved');
  c := entrestate.campaign_create(marker || ' towers', 'investor', jsonb_build_object('page', marker),
    jsonb_build_object('forms', jsonb_build_array(marker || '-form'), 'landing_pages', jsonb_build_array('https://' || marker || '.example/towers')));
  c2 := entrestate.campaign_create(marker || ' villas', 'end_user');
  s := entrestate.identity_create('email', format('team@%s.example', marker), marker || ' team');
  PERFORM entrestate.identity_status_set(s, 'pending'), entrestate.identity_status_set(s, 'verified'),
    entrestate.identity_default_set(s), entrestate.campaign_identity_set(c, 'email', s);
  -- a draft of what is approved
  PERFORM entrestate.template_version_add(m, marker || ' new body', marker || ' subject');
  PERFORM entrestate.sequence_create(c, jsonb_build_array(
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '0'),
    jsonb_build_object('channel', 'sms', 'template', m2, 'delay', '3 days'),
    jsonb_build_object('channel', 'email', 'template', m, 'delay', '4 days')), marker || ' follow-up');
  PERFORM entrestate.sequence_publish(c, 1);
  PERFORM entrestate.sequence_create(c, jsonb_build_array(
    jsonb_build_object('channel', 'sms', 'template', m2, 'delay', '1 day')), marker || ' draft');
  PERFORM entrestate.campaign_status_set(c, 'active');
  PERFORM entrestate.campaign_update(c, sender_enabled => true);
  INSERT INTO fixture.ids VALUES (who, 'campaign', c, 'campaign'), (who, 'campaign_draft', c2, 'campaign'),
    (who, 'template', m, 'template'), (who, 'template_sms', m2, 'template'), (who, 'identity', s, 'identity');
  FOR i IN 1 .. 4 LOOP
    l := entrestate.lead_create(format('%s Person %s', marker, i),
      -- the third has no telephone: its second step is skipped
      format('%s.%s@example.com', marker, i), CASE WHEN i <> 3 THEN '+1 416 555 01' || i || CASE who WHEN 'a' THEN 1 ELSE 2 END END,
      marker || ' Ltd', CASE WHEN i < 4 THEN c END, jsonb_build_object('landing_page', 'https://example.com/' || marker),
      'form', format('key-%s', i), jsonb_build_object('note', marker));
    INSERT INTO fixture.ids VALUES (who, CASE i WHEN 1 THEN 'lead' ELSE 'lead' || i END, l, 'lead');
  END LOOP;
END
$$;

DO $$ BEGIN PERFORM fixture.make('a', 'zqalpha'); END $$;
DO $$ BEGIN PERFORM fixture.make('b', 'zqbeta'); END $$;
CALL entrestate.sender_process();
SET entrestate.clock = '2026-01-09T10:00:00Z';
-- the second steps are decided; one more lead of each waits to be
CALL entrestate.sender_process();
-- What people and leads do with it: settings, notes, an opt-out, an import, a duplicate, a lead that
-- turns hot and is handed over. None of it touches the runs of the leads above but the second's.
CREATE FUNCTION fixture.use(who text, marker text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  c uuid := fixture.id(who, 'campaign');
  l uuid;
  l6 uuid;
  l7 uuid;
  r record;
BEGIN
  PERFORM fixture.enter(who);
  l := entrestate.lead_create(marker || ' Late', format('late.%s@example.com', marker), campaign => c);
  INSERT INTO fixture.ids VALUES (who, 'lead5', l, 'lead');
  PERFORM entrestate.agent_settings_set(c, behaviour => '{"tone": 20}', caps => '[{"max": 100, "per": "7 days"}]');
  -- two versions, none of which changes a score that the tests below know
  PERFORM entrestate.score_settings_set('{"open": 2}'), entrestate.score_settings_set('{"open": 1}');
  l6 := entrestate.lead_create(marker || ' Six', format('six.%s@example.com', marker), source => 'form', consent => '{email,sms}');
  l7 := entrestate.lead_create(marker || ' Seven', format('seven.%s@example.com', marker), attribution => jsonb_build_object('form', marker || '-nowhere'));
  INSERT INTO fixture.ids VALUES (who, 'lead6', l6, 'lead'), (who, 'lead7', l7, 'lead');
  PERFORM entrestate.lead_note_add(l6, marker || ' called twice'), entrestate.lead_tag(l6, ARRAY[marker || ' vip']),
    entrestate.lead_consent(l6, 'sms', false, marker || ' call');
  PERFORM entrestate.signal_add(l6, 'open', reference => marker || '-message'), entrestate.signal_add(l7, 'chat_message');
  -- an address that it had
  PERFORM entrestate.lead_contact_add(l6, 'email', format('old.%s@example.com', marker)), entrestate.lead_contact_remove(l6, 'email', format('old.%s@example.com', marker));
  -- an alias
  PERFORM entrestate.lead_merge(l7, l6);
  PERFORM entrestate.signal_add(l6, 'form_resubmission', campaign => c);
  PERFORM entrestate.suppression_add('email', format('blocked.%s@example.com', marker));
  -- a step's message to a member
  PERFORM entrestate.member_contact_set(fixture.id(who, 'owner'), 'email', format('owner.%s@example.com', marker));
  PERFORM entrestate.sender_test_send(c, 1, 0, lead => l6);
  SELECT i.import_id INTO r FROM entrestate.lead_import(jsonb_build_array(
    jsonb_build_object('full_name', marker || ' Imported', 'email', format('imported.%s@example.com', marker)),
    jsonb_build_object('email', format('imported.%s@example.com', marker)), jsonb_build_object('email', marker)), source => marker || ' file') i LIMIT 1;
  INSERT INTO fixture.ids VALUES (who, 'import', r.import_id, 'import');
  -- hot: its run ends, a ticket opens, and whoever works on leads is told
  PERFORM entrestate.lead_update(fixture.id(who, 'lead2')::uuid, owner => fixture.id(who, 'closer'));
  PERFORM entrestate.signal_add(fixture.id(who, 'lead2')::uuid, 'call_request', campaign => c);
  SELECT h.ticket_id INTO STRICT r FROM entrestate.handoff_list() h;
  INSERT INTO fixture.ids VALUES (who, 'ticket', r.ticket_id, 'ticket');
  PERFORM entrestate.handoff_open(l6, marker || ' asked');
  PERFORM entrestate.handoff_take(h.ticket_id) FROM entrestate.handoff_list() h WHERE h.lead_id = l6;
  SELECT x.notification_id INTO STRICT r FROM entrestate.notifications x WHERE x.tenant_id = fixture.id(who, 'tenant')::uuid
    AND x.type = 'handoff.opened' AND x.user_id = '';
  INSERT INTO fixture.ids VALUES (who, 'notification', r.notification_id, 'notification');
END
$$;
DO $$ BEGIN PERFORM fixture.use('a', 'zqalpha'); END $$;
DO $$ BEGIN PERFORM fixture.use('b', 'zqbeta'); END $$;
-- a queue that is held: the fifth lead's step, while its channel is paused
DO $$ BEGIN PERFORM fixture.enter(w), entrestate.channel_set('email', paused => true) FROM unnest('{a,b}'::text[]) w; END $$;
CALL entrestate.sender_process();
DO $$ BEGIN PERFORM fixture.enter(w), entrestate.channel_set('email', paused => false) FROM unnest('{a,b}'::text[]) w; END $$;
SELECT entrestate.consumer_create('fixture') AS consumer \gset fixture_
SELECT entrestate.tick() AS tick \gset fixture_

SELECT max(id) FILTER (WHERE who = 'a' AND name = 'tenant') AS a,
  max(id) FILTER (WHERE who = 'b' AND name = 'tenant') AS b
FROM fixture.ids \gset
-- each id as a variable of its own: a row with a column for each
SELECT string_agg(format('%L AS %I', id, who || '_' || name), ', ') AS columns FROM fixture.ids \gset fixture_
SELECT :fixture_columns \gset
RESET client_min_messages;
