-- The specification of the sender, section 2, sentence by sentence: how runs begin.
-- What stands in double quotes is the specification's.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SELECT set_config('timezone', 'UTC', true) AS zone \gset spec_

CREATE FUNCTION pg_temp.campaign(tenant text) RETURNS uuid LANGUAGE sql AS $$ SELECT t.campaign FROM flow.tenant t WHERE t.name = $1 $$;
CREATE FUNCTION pg_temp.as(tenant text, who text) RETURNS void LANGUAGE sql AS $$ SELECT entrestate.login(t.tenant, $2) FROM flow.tenant t WHERE t.name = $1 $$;
-- A tenant with a campaign of which none of the three is true yet.
CREATE FUNCTION pg_temp.make(name text, steps text[] DEFAULT '{email 0,sms 1 day,email 2 days}') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t flow.tenant;
BEGIN
  t.name := name;
  t.tenant := entrestate.tenant_create(name, 'boss', 'sandbox', 'America/Toronto');
  INSERT INTO flow.tenant SELECT (t).*;
  PERFORM flow.enter(name);
  PERFORM entrestate.tenant_update(dry_run => false), entrestate.channel_set('email', true), entrestate.channel_set('sms', true);
  t.email := entrestate.template_create('m', 'email', 'b', 's');
  t.sms := entrestate.template_create('s', 'sms', 'b');
  PERFORM entrestate.template_status_set(t.email, 1, 'approved'), entrestate.template_status_set(t.sms, 1, 'approved');
  t.campaign := entrestate.campaign_create('c');
  UPDATE flow.tenant x SET campaign = t.campaign, email = t.email, sms = t.sms WHERE x.name = make.name;
  PERFORM flow.sequence(name, steps);
END
$$;
CREATE FUNCTION pg_temp.make_true(name text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(name);
  CASE what
    WHEN 'active' THEN PERFORM entrestate.campaign_status_set(pg_temp.campaign(name), 'active');
    WHEN 'published' THEN PERFORM entrestate.sequence_publish(pg_temp.campaign(name), 1);
    WHEN 'enabled' THEN PERFORM entrestate.campaign_update(pg_temp.campaign(name), sender_enabled => true);
  END CASE;
END
$$;
CREATE FUNCTION pg_temp.lead(tenant text, name text) RETURNS uuid LANGUAGE sql AS
  $$ SELECT flow.lead(tenant, name, format('%s@example.com', replace(name, ' ', '.')), NULL) $$;
CREATE FUNCTION pg_temp.runs(tenant text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(string_agg(l.name, ' ' ORDER BY l.name), 'none') FROM flow.lead l JOIN entrestate.sender_runs r ON r.lead_id = l.lead WHERE l.tenant = $1 $$;
CREATE FUNCTION pg_temp.why(tenant text, name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter(tenant);
  RETURN (SELECT string_agg(w.what || ': ' || w.reason, ', ') FROM entrestate.sender_why(flow.id(tenant, name)) w);
END
$$;

-- ---------------------------------------------------------------- attributed to a campaign that can
CREATE TABLE pg_temp.ways AS SELECT row_number() OVER () AS no, w FROM (VALUES
  ('{active,published,enabled}'::text[]), ('{active,enabled,published}'), ('{published,active,enabled}'), ('{published,enabled,active}'),
  ('{enabled,active,published}'), ('{enabled,published,active}')) v(w);
SELECT flow.at('2026-01-05T10:00:00Z') \g /dev/null
-- with none, one, two and all of the three
SELECT pg_temp.make('way' || no), pg_temp.lead('way' || no, 'none') FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('way' || no), 'none', '"a campaign that is active, has a published sequence and its sender enabled": with none of them') FROM pg_temp.ways;
SELECT is(pg_temp.why('way' || no, 'none'), 'run not started: campaign_paused', '"`sender_why` says so": a draft') FROM pg_temp.ways WHERE no = 1;
SELECT flow.at('2026-01-05T11:00:00Z'), pg_temp.make_true('way' || no, w[1]), pg_temp.lead('way' || no, 'one') FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('way' || no), 'none', format('"active, has a published sequence and its sender enabled": only %s', w[1])) FROM pg_temp.ways;
SELECT flow.at('2026-01-05T12:00:00Z'), pg_temp.make_true('way' || no, w[2]), pg_temp.lead('way' || no, 'two') FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('way' || no), 'none', format('"active, has a published sequence and its sender enabled": only %s', w[1:2])) FROM pg_temp.ways;
SELECT is(pg_temp.why('way' || no, 'two'), 'run not started: ' || CASE w[3] WHEN 'active' THEN 'campaign_paused' WHEN 'enabled' THEN 'sender_disabled' ELSE 'sequence_missing' END,
  format('"`sender_why`": not yet %s', w[3])) FROM pg_temp.ways;
SELECT flow.at('2026-01-05T13:00:00Z'), pg_temp.make_true('way' || no, w[3]) FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('way' || no), 'none', format('"or when the last of these becomes true, then for leads attributed since `backfill` (default: none": %s', w)) FROM pg_temp.ways;
SELECT is(pg_temp.why('way' || no, 'two'), 'run not started: before_backfill', '"default: none": and it says so') FROM pg_temp.ways;
SELECT pg_temp.lead('way' || no, 'three') FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('way' || no), 'three', format('"When a lead is attributed to a campaign that is active, has a published sequence and its sender enabled": %s', w)) FROM pg_temp.ways;
SELECT is((r.status, r.cursor, r.run_seq, r.mode, r.next_at, r.created_at)::text, '(pending,0,1,sandbox,"2026-01-05 13:00:00+00","2026-01-05 13:00:00+00")', 'the run waits for its first step') FROM (SELECT (flow.run('way1', 'three')).*) r;
SELECT is(entrestate.run_id(pg_temp.campaign('way1'), flow.id('way1', 'three')), pg_temp.campaign('way1') || '__' || flow.id('way1', 'three'), '"id `campaignId__leadId`"');
SELECT is(entrestate.lead_attribute(flow.id('way1', 'three'), pg_temp.campaign('way1')), false, '"When a lead is attributed": it is so once') FROM flow.enter('way1');
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs r WHERE r.lead_id = flow.id('way1', 'three')), 1, '"one per campaign and lead"');

-- the same with a backfill: two hours before, and to the microsecond
SELECT flow.at('2026-01-05T10:00:00Z') \g /dev/null
SELECT pg_temp.make('fill' || no), pg_temp.lead('fill' || no, 'none') FROM pg_temp.ways \g /dev/null
SELECT entrestate.campaign_update(pg_temp.campaign('fill' || no), backfill => '2026-01-05T11:00:00Z') FROM pg_temp.ways, LATERAL flow.enter('fill' || no) \g /dev/null
SELECT flow.at('2026-01-05T10:59:59.999999Z'), pg_temp.make_true('fill' || no, w[1]), pg_temp.lead('fill' || no, 'before') FROM pg_temp.ways \g /dev/null
SELECT flow.at('2026-01-05T11:00:00Z'), pg_temp.lead('fill' || no, 'one') FROM pg_temp.ways \g /dev/null
SELECT flow.at('2026-01-05T12:00:00Z'), pg_temp.make_true('fill' || no, w[2]), pg_temp.lead('fill' || no, 'two') FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('fill' || no), 'none', format('"when the last of these becomes true": not before, %s', w)) FROM pg_temp.ways;
SELECT flow.at('2026-01-05T13:00:00Z'), pg_temp.make_true('fill' || no, w[3]) FROM pg_temp.ways \g /dev/null
SELECT is(pg_temp.runs('fill' || no), 'one two', format('"or when the last of these becomes true, then for leads attributed since `backfill`": %s', w)) FROM pg_temp.ways;
SELECT is((SELECT array_agg(DISTINCT (r.created_at, r.next_at)::text) FROM entrestate.sender_runs r JOIN flow.tenant t ON t.tenant = r.tenant_id AND t.name = 'fill1'),
  '{"(\"2026-01-05 13:00:00+00\",\"2026-01-05 13:00:00+00\")"}', '"when the last of these becomes true": from then on, not from when they came');
-- a pause is no backfill: what came meanwhile
SELECT entrestate.campaign_status_set(pg_temp.campaign('way1'), 'paused') FROM flow.enter('way1') \g /dev/null
SELECT pg_temp.lead('way1', 'paused'), flow.at('2026-01-05T15:00:00Z') \g /dev/null
SELECT is(pg_temp.why('way1', 'paused'), 'run not started: campaign_paused', '"a campaign that is active": a paused one is not');
SELECT entrestate.campaign_status_set(pg_temp.campaign('way1'), 'active') FROM flow.enter('way1') \g /dev/null
SELECT is(pg_temp.runs('way1'), 'three', '"default: none": neither for who came in a pause');
SELECT is(entrestate.sender_start(pg_temp.campaign('way1'), flow.id('way1', 'paused')), entrestate.run_id(pg_temp.campaign('way1'), flow.id('way1', 'paused')), '"a person may `sender_start`": for who came before') FROM flow.enter('way1');
SELECT is(pg_temp.runs('way1'), 'paused three', '"a person may `sender_start`"');

-- "the call first says how many and what they would cost"
SELECT flow.enter('way2') \g /dev/null
SELECT is((SELECT (b.leads, b.messages, b.cost, b.started)::text FROM entrestate.campaign_backfill(pg_temp.campaign('way2'), '2026-01-05T11:00:00Z') b), '(2,"{""sms"": 2, ""email"": 4}",,0)',
  '"the call first says how many and what they would cost": two leads, two emails and an sms each; no rate card, no cost');
SELECT is(pg_temp.runs('way2'), 'three', '"first says": nothing began');
SELECT is((SELECT backfill FROM entrestate.campaigns WHERE campaign_id = pg_temp.campaign('way2')), NULL, '"first says": nothing is set');
SELECT is((SELECT (b.leads, b.started)::text FROM entrestate.campaign_backfill(pg_temp.campaign('way2'), '2026-01-05T11:00:00Z', true) b), '(2,2)', '"then for leads attributed since `backfill`"');
SELECT is(pg_temp.runs('way2'), 'one three two', '"since `backfill`": those two');
SELECT is((SELECT (b.leads, b.started)::text FROM entrestate.campaign_backfill(pg_temp.campaign('way2'), '2026-01-05T11:00:00Z', true) b), '(0,0)', 'twice is once');
SELECT is((SELECT (b.leads, b.started)::text FROM entrestate.campaign_backfill(pg_temp.campaign('way2'), '2027-01-05T11:00:00Z', true) b), '(0,0)', 'nobody came since the future');
SELECT throws_ok($$SELECT entrestate.campaign_backfill(pg_temp.campaign('way2'), NULL)$$, '22004', NULL, 'since when is needed');
SELECT throws_ok($$SELECT entrestate.campaign_backfill(pg_temp.campaign('way3'), '2026-01-05')$$, 'P0002', NULL, 'not another tenant''s campaign');
SELECT entrestate.member_add('vic', 'viewer'), entrestate.member_add('clo', 'closer'), entrestate.member_add('mem', 'member') \g /dev/null
SELECT throws_ok($$SELECT entrestate.campaign_backfill(pg_temp.campaign('way2'), '2026-01-05')$$, '42501', NULL, 'not a viewer') FROM pg_temp.as('way2', 'vic');
SELECT throws_ok($$SELECT entrestate.sender_start(pg_temp.campaign('way2'), flow.id('way2', 'none'))$$, '42501', NULL, format('"a person may `sender_start`": not a %s', r)) FROM unnest('{vic,clo,mem}'::text[]) r, pg_temp.as('way2', r);
-- what it counts: not those whom gates 3 to 6 would end
SELECT pg_temp.lead('way3', 'x' || i), flow.at('2026-01-05T16:00:00Z') FROM generate_series(1, 2) i \g /dev/null
SELECT entrestate.lead_opt_out(flow.id('way3', 'one'), 'email') FROM flow.enter('way3') \g /dev/null
SELECT is((SELECT (b.leads, b.started)::text FROM entrestate.campaign_backfill(pg_temp.campaign('way3'), '2026-01-05T10:00:00Z', true) b), '(2,2)', '"how many": who opted out is none of them');
SELECT is(pg_temp.why('way3', 'one'), 'run not started: opted_out', 'and why');

-- ---------------------------------------------------------------- which campaign
SELECT flow.at('2026-01-05T10:00:00Z'), pg_temp.make('where') \g /dev/null
CREATE TABLE pg_temp.camps (name text PRIMARY KEY, id uuid);
INSERT INTO pg_temp.camps SELECT v.name, entrestate.campaign_create(v.name, bindings => v.b::jsonb) FROM flow.enter('where'), (VALUES
  ('named', '{}'), ('form', '{"forms": ["f1", "both"]}'), ('landing', '{"landing_pages": ["https://Example.com/Towers/?x=1", "both"]}'),
  ('click', '{"click_ids": ["gclid", "fbclid:abc"]}'), ('utm', '{"utm_campaigns": ["Spring", "both"]}'),
  ('twin1', '{"forms": ["twin"], "utm_campaigns": ["twin"], "landing_pages": ["twin.example.com"]}'),
  ('twin2', '{"forms": ["twin"], "utm_campaigns": ["twin"]}'), ('ended', '{"forms": ["old", "f1"]}')) v(name, b);
SELECT entrestate.campaign_status_set(id, 'archived') FROM pg_temp.camps WHERE name = 'ended' \g /dev/null
-- asked for "named" where it says so; the answer is the campaign and what named it
CREATE FUNCTION pg_temp.leads_to(attribution text, named text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
  r text;
BEGIN
  PERFORM flow.enter('where');
  l := entrestate.lead_create('x');
  PERFORM entrestate.lead_attribute(l, (SELECT id FROM pg_temp.camps c WHERE c.name = named), attribution::jsonb);
  SELECT c.name || ' by ' || a.resolved_by INTO r FROM entrestate.lead_attributions a JOIN pg_temp.camps c ON c.id = a.campaign_id WHERE a.lead_id = l;
  RETURN coalesce(r, (SELECT concat_ws(' ', u.reason, u.resolved_by, (SELECT string_agg(c.name, '+' ORDER BY c.name) FROM pg_temp.camps c WHERE c.id = ANY (u.candidates)))
    FROM entrestate.lead_unresolved() u WHERE u.lead_id = l), 'nothing');
END
$$;
CREATE TABLE pg_temp.cases (attribution text, named text, want text);
INSERT INTO pg_temp.cases VALUES
  ('{"form": "f1", "landing_page": "example.com/Towers", "click_ids": {"gclid": "1"}, "utm": {"utm_campaign": "spring"}}', 'named', 'named by campaign_id'),
  ('{"form": "f1", "landing_page": "example.com/Towers", "click_ids": {"gclid": "1"}, "utm": {"utm_campaign": "spring"}}', NULL, 'form by form'),
  ('{"landing_page": "example.com/Towers", "click_ids": {"gclid": "1"}, "utm": {"utm_campaign": "spring"}}', NULL, 'landing by landing_page'),
  ('{"click_ids": {"gclid": "1"}, "utm": {"utm_campaign": "spring"}}', NULL, 'click by click_id'),
  ('{"utm": {"utm_campaign": "spring"}}', NULL, 'utm by utm_campaign'),
  ('{"form": "both", "landing_page": "both", "utm": {"utm_campaign": "both"}}', NULL, 'form by form'),
  -- what is not bound goes on to the next
  ('{"form": "f9", "landing_page": "https://example.com/Towers/#a", "utm": {"utm_campaign": "spring"}}', NULL, 'landing by landing_page'),
  ('{"form": "f9", "landing_page": "https://example.com/other", "utm": {"utm_campaign": "SPRING"}}', NULL, 'utm by utm_campaign'),
  ('{"form": "F1"}', NULL, 'unresolved'), ('{"form": " f1 "}', NULL, 'form by form'),
  ('{"landing_page": "http://EXAMPLE.com/Towers/?utm_source=x"}', NULL, 'landing by landing_page'), ('{"landing_page": "example.com/towers"}', NULL, 'unresolved'),
  ('{"landing_page": "example.com"}', NULL, 'unresolved'), ('{"click_ids": {"fbclid": "abc"}}', NULL, 'click by click_id'), ('{"click_ids": {"fbclid": "abd"}}', NULL, 'unresolved'),
  ('{"utm": {"utm_source": "spring"}}', NULL, 'unresolved'), ('{"referrer": "https://example.com/Towers"}', NULL, 'unresolved'),
  -- several: not the next, not the first
  ('{"form": "twin"}', NULL, 'ambiguous form twin1+twin2'), ('{"form": "twin", "landing_page": "twin.example.com"}', NULL, 'ambiguous form twin1+twin2'),
  ('{"form": "twin", "utm": {"utm_campaign": "spring"}}', NULL, 'ambiguous form twin1+twin2'), ('{"utm": {"utm_campaign": "twin"}}', NULL, 'ambiguous utm_campaign twin1+twin2'),
  -- one that has ended is none
  ('{"form": "old"}', NULL, 'unresolved'), ('{"form": "old"}', 'named', 'named by campaign_id'), ('{"form": "twin"}', 'twin2', 'twin2 by campaign_id');
SELECT is(pg_temp.leads_to(attribution, named), want, format('"resolves the campaign by campaignId, form, landing page, click id, utm_campaign, in this order, through the campaigns'' bindings": %s%s', coalesce(named || ', ', ''), attribution)) FROM pg_temp.cases;
SELECT flow.enter('where') \g /dev/null
SELECT is(pg_temp.leads_to(format('{"campaign_id": "%s", "form": "f1"}', (SELECT id FROM pg_temp.camps WHERE name = 'utm'))), 'utm by campaign_id', '"by campaignId": of the attribution');
SELECT throws_ok(format('SELECT pg_temp.leads_to(%L)', format('{"campaign_id": "%s"}', pg_temp.campaign('way1'))), 'P0002', NULL, '"by campaignId": not another tenant''s');
SELECT throws_ok(format('SELECT entrestate.lead_attribute(%L, %L)', flow.id('way1', 'three'), pg_temp.campaign('where')), 'P0002', NULL, '"lead_attribute()": not another tenant''s lead') FROM flow.enter('where');
SELECT throws_ok('SELECT pg_temp.leads_to(''{}'')', '22004', NULL, '"lead_attribute()": to something');
SELECT throws_ok(format('SELECT pg_temp.leads_to(%L)', a), '22023', NULL, '"lead_attribute()": not ' || a) FROM unnest(ARRAY['{"nonsense": 1}', '[]', '{"campaign_id": "x"}', '{"utm": []}', '{"click_ids": "x"}']) a;
-- listed, never guessed
SELECT ok(NOT EXISTS (SELECT FROM entrestate.lead_attributions a WHERE a.lead_id = u.lead_id), '"what is unresolved or ambiguous is listed, never guessed": no attribution')
FROM flow.enter('where'), entrestate.lead_unresolved() u;
SELECT is((SELECT count(*)::int FROM entrestate.lead_unresolved()), (SELECT count(*)::int FROM pg_temp.cases WHERE want ~ '^(unresolved|ambiguous)'), '"is listed": each of them') FROM flow.enter('where');
SELECT is((SELECT count(*)::int FROM entrestate.lead_unresolved()), 0, '"is listed": to its tenant alone') FROM flow.enter('way1');
INSERT INTO flow.lead SELECT 'where', 'twin', entrestate.lead_create('twin', 'twin@example.com', attribution => '{"form": "twin"}') FROM flow.enter('where');
SELECT is(entrestate.lead_create('twin', 'twin@example.com', attribution => '{"form": "twin"}'), flow.id('where', 'twin'), 'the same again') FROM flow.enter('where');
SELECT is((SELECT count(*)::int FROM entrestate.lead_unresolved() u WHERE u.lead_id = flow.id('where', 'twin')), 1, '"is listed": once');
SELECT is(entrestate.lead_attribute(flow.id('where', 'twin'), attribution => '{"form": "twin"}'), NULL, '"never guessed": lead_attribute() says that it does not know');
SELECT lives_ok($$SELECT entrestate.lead_attribute(flow.id('where', 'twin'), (SELECT id FROM pg_temp.camps WHERE name = 'twin2'))$$, 'a person says which');
SELECT is((SELECT count(*)::int FROM entrestate.lead_unresolved() u WHERE u.lead_id = flow.id('where', 'twin')), 0, '"is listed": until somebody says');
-- new bindings settle what they name, and no more
SELECT entrestate.campaign_update((SELECT id FROM pg_temp.camps WHERE name = 'utm'), bindings => '{"forms": ["old"], "utm_campaigns": ["spring", "both"]}') FROM flow.enter('where') \g /dev/null
SELECT is(entrestate.lead_resolve_again(), 1, '"through the campaigns'' bindings": as they are now');
SELECT is(entrestate.lead_resolve_again(), 0, 'twice is once');
SELECT is((SELECT count(*)::int FROM entrestate.lead_attributions a JOIN pg_temp.camps c ON c.id = a.campaign_id AND c.name = 'utm' WHERE a.form = 'old' AND a.resolved_by = 'form'), 1, '"by ... form": it leads there now');
-- an attribution is for ever, each a row of its own
SELECT is((SELECT array_agg(c.name ORDER BY c.name) FROM entrestate.lead_attributions a JOIN pg_temp.camps c ON c.id = a.campaign_id WHERE a.lead_id = flow.id('where', 'twin')), '{twin2}', 'one');
SELECT entrestate.lead_attribute(flow.id('where', 'twin'), (SELECT id FROM pg_temp.camps WHERE name = 'form'), '{"landing_page": "a.example.com/?gclid=1", "referrer": "https://search.example.com", "utm": {"utm_source": "s"}, "click_ids": {"gclid": "1"}}'),
  entrestate.lead_attribute(flow.id('where', 'twin'), (SELECT id FROM pg_temp.camps WHERE name = 'form'), '{"landing_page": "b.example.com"}') FROM flow.enter('where') \g /dev/null
SELECT is((SELECT (a.landing_page, a.referrer, a.utm, a.click_ids)::text FROM entrestate.lead_attributions a JOIN pg_temp.camps c ON c.id = a.campaign_id AND c.name = 'form' WHERE a.lead_id = flow.id('where', 'twin')),
  '(a.example.com/?gclid=1,https://search.example.com,"{""utm_source"": ""s""}","{""gclid"": ""1""}")', '"an immutable row of its own (origin landing page, click ids, utm, referrer)": the first stays');
SELECT is((SELECT campaign_id FROM entrestate.leads WHERE lead_id = flow.id('where', 'twin')), (SELECT id FROM pg_temp.camps WHERE name = 'twin2'), 'the lead''s campaign is that of the first');

-- a lead of two campaigns has two runs
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('two', '{email 0}'), pg_temp.lead('two', 'ann') \g /dev/null
SELECT entrestate.campaign_create('other', bindings => '{"forms": ["g"]}') AS other FROM flow.enter('two') \gset spec_
SELECT entrestate.sequence_create(:'spec_other', jsonb_build_array(jsonb_build_object('channel', 'email', 'template', (SELECT email FROM flow.tenant WHERE name = 'two'), 'delay', '0'))),
  entrestate.sequence_publish(:'spec_other', 1), entrestate.campaign_status_set(:'spec_other', 'active'), entrestate.campaign_update(:'spec_other', sender_enabled => true) \g /dev/null
SELECT is(entrestate.lead_attribute(flow.id('two', 'ann'), attribution => '{"form": "g"}'), true, '"`lead_attribute()`": a run began');
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs_of(flow.id('two', 'ann'))), 2, '"one per campaign and lead": two campaigns, two runs');

-- ---------------------------------------------------------------- upkeep
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('race', '{email 0,sms 1 day}'), flow.at('2026-01-05T11:00:00Z') \g /dev/null
-- An attribution as another transaction wrote it: whether it was visible when the campaign became able, and whether
-- it saw the campaign so. No trigger and no function comes between, as in a replica.
CREATE FUNCTION pg_temp.missed(name text, at timestamptz, visible boolean, unable boolean, imported boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
BEGIN
  PERFORM flow.enter('race');
  l := entrestate.lead_create(name, name || '@example.com');
  INSERT INTO flow.lead VALUES ('race', name, l);
  SET LOCAL session_replication_role = replica;
  INSERT INTO entrestate.lead_attributions (tenant_id, lead_id, campaign_id, attributed_at, resolved_by, imported, unable, txid)
  SELECT t.tenant, l, t.campaign, at, 'campaign_id', missed.imported, missed.unable, CASE WHEN visible THEN '3' ELSE '9223372036854775807' END::xid8
  FROM flow.tenant t WHERE t.name = 'race';
  SET LOCAL session_replication_role = origin;
END
$$;
CREATE FUNCTION pg_temp.upkeep(name text) RETURNS integer LANGUAGE sql AS $$ SELECT entrestate.sender_upkeep_tenant(t.tenant) FROM flow.tenant t WHERE t.name = $1 $$;
SELECT pg_temp.missed('missed', '2026-01-05T09:59:00Z', false, true), pg_temp.missed('before', '2026-01-05T09:59:00Z', true, true),
  pg_temp.missed('saw', '2026-01-05T10:30:00Z', false, false), pg_temp.missed('import', '2026-01-05T09:59:00Z', false, true, true), pg_temp.missed('out', '2026-01-05T09:59:00Z', false, true) \g /dev/null
SELECT entrestate.lead_opt_out(flow.id('race', 'out'), 'email') FROM flow.enter('race') \g /dev/null
SELECT is(pg_temp.runs('race'), 'none', 'a race missed one of them');
SELECT is(pg_temp.upkeep('race'), 1, '"Upkeep starts what a race missed"');
SELECT is(pg_temp.runs('race'), 'missed', '"what a race missed": not who came before, by an import, has opted out, or was seen to');
SELECT is(pg_temp.upkeep('race'), 0, '"Upkeep": twice is once');
SELECT is(flow.story('race', 'missed'), 'run.started', '"starts": as any other');
SELECT pg_temp.missed('old', '2026-01-06T10:59:59Z', false, true), pg_temp.missed('fresh', '2026-01-06T11:00:00Z', false, true), flow.at('2026-01-08T11:00:00Z') \g /dev/null
SELECT is(pg_temp.upkeep('race'), 1, '"a race": is short, two days later it is none');
SELECT is(pg_temp.runs('race'), 'fresh missed', '"what a race missed"');
-- one that cannot start runs has missed none
SELECT pg_temp.missed('paused', '2026-01-08T10:00:00Z', false, true), entrestate.campaign_status_set(pg_temp.campaign('race'), 'paused') \g /dev/null
SELECT is(pg_temp.upkeep('race'), 0, '"Upkeep starts" none where the campaign is not active');
SELECT throws_ok('SELECT entrestate.sender_upkeep_tenant(NULL)', '22004', NULL, '"Upkeep" is of a tenant');
SELECT is(entrestate.sender_upkeep_tenant('00000000-0000-4000-8000-000000000000'), 0, '"Upkeep" of nobody finds nothing');

-- ---------------------------------------------------------------- imports
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('import', '{email 0,sms 1 day}') \g /dev/null
CREATE FUNCTION pg_temp.import(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM flow.enter('import');
  INSERT INTO flow.lead SELECT 'import', name, i.lead_id FROM entrestate.lead_import(jsonb_build_array(jsonb_build_object('full_name', name, 'email', name || '@example.com')), pg_temp.campaign('import')) i;
END
$$;
SELECT pg_temp.lead('import', 'form'), pg_temp.import('one') \g /dev/null
SELECT is(pg_temp.runs('import'), 'form', '"No CSV is needed; an import makes contacts, and runs only where the campaign allows it (default no)": by default');
SELECT is((SELECT (a.campaign_id = pg_temp.campaign('import'), a.imported)::text FROM entrestate.lead_attributions a WHERE a.lead_id = flow.id('import', 'one')), '(t,t)', '"an import makes contacts": of the campaign');
SELECT is(pg_temp.why('import', 'one'), 'run not started: imported', '"`sender_why` says so"');
SELECT is(entrestate.sender_upkeep_tenant((SELECT tenant FROM flow.tenant WHERE name = 'import')), 0, '"default no": nor does upkeep start it');
SELECT is((SELECT b.leads FROM entrestate.campaign_backfill(pg_temp.campaign('import'), '2026-01-01') b), 0, '"default no": nor a backfill') FROM flow.enter('import');
SELECT entrestate.campaign_update(pg_temp.campaign('import'), runs_on_import => true) FROM flow.enter('import') \g /dev/null
SELECT is(pg_temp.runs('import'), 'form', '"where the campaign allows it": from then on');
SELECT pg_temp.import('two') \g /dev/null
SELECT is(pg_temp.runs('import'), 'form two', '"runs only where the campaign allows it": it does');
SELECT entrestate.campaign_update(pg_temp.campaign('import'), runs_on_import => false) FROM flow.enter('import') \g /dev/null
SELECT pg_temp.import('three') \g /dev/null
SELECT is(pg_temp.runs('import'), 'form two', '"only where the campaign allows it": no more');
SELECT lives_ok($$SELECT entrestate.sender_start(pg_temp.campaign('import'), flow.id('import', 'three'))$$, '"a person may `sender_start`": one of an import') FROM flow.enter('import');
SELECT is(pg_temp.runs('import'), 'form three two', 'it did');

-- ---------------------------------------------------------------- what gates 3 to 7 would end
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('gate', '{email 0,sms 1 day}') \g /dev/null
CREATE TABLE pg_temp.gates (name text, reason text, brake text, release text);
INSERT INTO pg_temp.gates VALUES
  ('ticket', 'handoff', 'SELECT entrestate.handoff_open($1, ''x'')', 'SELECT entrestate.handoff_resolve(h.ticket_id, ''x'') FROM entrestate.handoff_of($1) h WHERE h.status <> ''resolved'''),
  ('taken', 'handoff', 'SELECT entrestate.handoff_take(entrestate.handoff_open($1, ''x''))', 'SELECT entrestate.handoff_resolve(h.ticket_id, ''x'') FROM entrestate.handoff_of($1) h'),
  ('lost', 'lead_closed', 'SELECT entrestate.lead_status_set($1, ''lost'')', 'SELECT entrestate.lead_status_set($1, ''new'')'),
  ('booked', 'lead_closed', 'SELECT entrestate.lead_status_set($1, ''booked'')', NULL),
  ('opted out', 'opted_out', 'SELECT entrestate.lead_opt_out($1, ''email'')', 'SELECT entrestate.lead_opt_in($1, ''email'')'),
  ('complained', 'complained', 'SELECT entrestate.lead_complained($1)', NULL),
  ('erased', 'erased', 'SELECT entrestate.lead_erasure_request($1)', NULL);
CREATE FUNCTION pg_temp.gate(name text, brake text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
BEGIN
  PERFORM flow.enter('gate');
  l := entrestate.lead_create(name, replace(name, ' ', '.') || '@example.com');
  INSERT INTO flow.lead VALUES ('gate', name, l);
  EXECUTE brake USING l;
  PERFORM entrestate.lead_attribute(l, pg_temp.campaign('gate'));
END
$$;
SELECT pg_temp.gate(name, brake) FROM pg_temp.gates \g /dev/null
SELECT is(pg_temp.runs('gate'), 'none', '"While gates 3 to 7 would end a run at once, none is created"');
SELECT is((SELECT count(*)::int FROM entrestate.sender_events e JOIN flow.tenant t ON t.tenant = e.tenant_id AND t.name = 'gate'), 0, '"none is created": nor an event');
SELECT is(pg_temp.why('gate', name), 'run not started: ' || reason, '"`sender_why` says so": ' || name) FROM pg_temp.gates;
SELECT throws_ok(format('SELECT entrestate.sender_start(pg_temp.campaign(''gate''), %L)', flow.id('gate', name)), '55000', 'no run can begin: ' || reason, '"While gates 3 to 7 would end a run at once": not by a person either, ' || name)
FROM pg_temp.gates, flow.enter('gate');
SELECT is(entrestate.sender_upkeep_tenant((SELECT tenant FROM flow.tenant WHERE name = 'gate')), 0, '"While gates 3 to 7 would end a run": nor by upkeep');
SELECT flow.at('2026-01-05T12:00:00Z'), flow.enter('gate') \g /dev/null
DO $$
DECLARE
  g record;
BEGIN
  FOR g IN SELECT * FROM pg_temp.gates WHERE release IS NOT NULL LOOP
    EXECUTE g.release USING flow.id('gate', g.name);
  END LOOP;
END $$;
SELECT is(pg_temp.runs('gate'), 'none', '"While": when it is over, none begins by itself');
SELECT is(entrestate.sender_upkeep_tenant((SELECT tenant FROM flow.tenant WHERE name = 'gate')), 0, '"and a person may `sender_start`": a person, not upkeep');
SELECT is(pg_temp.why('gate', name), 'run not started: may_start', '"`sender_why` says so": nothing is against it now, ' || name) FROM pg_temp.gates WHERE release IS NOT NULL;
SELECT flow.enter('gate') \g /dev/null
SELECT lives_ok(format('SELECT entrestate.sender_start(pg_temp.campaign(''gate''), %L)', flow.id('gate', name)), '"and a person may `sender_start`": ' || name) FROM pg_temp.gates WHERE release IS NOT NULL;
SELECT is(pg_temp.runs('gate'), 'lost opted out taken ticket', '"and a person may `sender_start`"');
SELECT is(flow.process('gate'), 4, 'and they run');
SELECT is(flow.story('gate', name), CASE name WHEN 'opted out' THEN 'run.started, step.sent 0' ELSE 'run.started, step.sent 0' END, 'the first step of ' || name) FROM pg_temp.gates WHERE release IS NOT NULL;
SELECT throws_ok(format('SELECT entrestate.sender_start(pg_temp.campaign(''gate''), %L)', flow.id('gate', 'ticket')), '55000', NULL, '"There is no re-entry": twice is refused') FROM flow.enter('gate');
SELECT is((SELECT count(*)::int FROM entrestate.audit_log a JOIN flow.tenant t ON t.tenant = a.tenant_id AND t.name = 'gate' WHERE a.action = 'sender.start'), 4, '"a person may": it is audited');
-- hot: at step 1, and at step 0 where the campaign brakes earlier
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('brake', '{email 0,sms 1 day}') \g /dev/null
CREATE FUNCTION pg_temp.hot(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  l uuid;
BEGIN
  PERFORM flow.enter('brake');
  l := entrestate.lead_create(name, name || '@example.com');
  INSERT INTO flow.lead VALUES ('brake', name, l);
  PERFORM entrestate.signal_add(l, 'call_request');
  PERFORM entrestate.lead_attribute(l, pg_temp.campaign('brake'));
END
$$;
SELECT pg_temp.hot('late') \g /dev/null
SELECT is(pg_temp.runs('brake'), 'late', '"would end a run at once": a hot lead''s first step goes out where the brake is at 1');
SELECT entrestate.agent_settings_set(pg_temp.campaign('brake'), brake_index => 0) FROM flow.enter('brake') \g /dev/null
SELECT pg_temp.hot('early') \g /dev/null
SELECT is(pg_temp.runs('brake'), 'late', '"would end a run at once": not where it is at 0');
SELECT is(pg_temp.why('brake', 'early'), 'run not started: hot', '"`sender_why` says so"');
-- a campaign that is not the lead's, one that has ended, what is not there
SELECT flow.enter('brake') \g /dev/null
SELECT throws_ok(format('SELECT entrestate.sender_start(%s, %s)', c, l), s, NULL, format('"`sender_start`": not %s, %s', c, l)) FROM (VALUES
  ('pg_temp.campaign(''brake'')', 'NULL', '22004'), ('NULL', 'flow.id(''brake'', ''early'')', 'P0002'), ('pg_temp.campaign(''gate'')', 'flow.id(''brake'', ''early'')', 'P0002'),
  ('pg_temp.campaign(''brake'')', 'flow.id(''gate'', ''lost'')', 'P0002'), ('pg_temp.campaign(''brake'')', 'gen_random_uuid()', 'P0002')) v(c, l, s);
SELECT entrestate.agent_settings_set(pg_temp.campaign('brake'), brake_index => 1), entrestate.campaign_status_set(pg_temp.campaign('brake'), 'completed') \g /dev/null
SELECT is(pg_temp.why('brake', 'early'), 'run not started: campaign_ended', '"`sender_why`": a campaign that has ended');
SELECT throws_ok($$SELECT entrestate.sender_start(pg_temp.campaign('brake'), flow.id('brake', 'early'))$$, '55000', NULL, '"a campaign that is active": none begins in one that has ended') FROM flow.enter('brake');

SELECT is(flow.unfolded(), NULL, 'every run is the fold of its events');
-- what a replica would have written is not in the books of the guard
SELECT is((SELECT count(*)::int FROM entrestate.verify() v WHERE object !~ '^role '), 0, 'verify() finds nothing');
SELECT is((SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.verify() v WHERE object !~ '^role ' LIMIT 5) v), NULL, 'nothing at all');
SELECT finish();
ROLLBACK;
