-- One tenant's setting up, by its owner. New tenants rehearse, with every channel off.
SELECT tenant_id AS t, member FROM demo.tenants WHERE n = :n \gset
BEGIN;
SELECT entrestate.login(:'t', :'owner');
SELECT entrestate.member_add(:'member', 'member');
SELECT entrestate.tenant_update(dry_run => false);
SELECT entrestate.channel_set('email', true);
SELECT entrestate.channel_set('sms', true);
SELECT entrestate.template_create('Welcome', 'email', 'Thank you for writing to us.', 'Welcome') AS welcome \gset
SELECT entrestate.template_create('Question', 'sms', 'When may we call you?') AS question \gset
SELECT entrestate.template_create('Guide', 'email', 'Here is our guide.', 'Our guide') AS guide \gset
SELECT entrestate.template_status_set(id, 1, 'approved')
FROM unnest(ARRAY[:'welcome', :'question', :'guide']::uuid[]) id;
INSERT INTO demo.campaigns SELECT :n, v.intent, entrestate.campaign_create(v.name, v.intent)
FROM (VALUES ('Investors', 'investor'), ('End users', 'end_user')) v(name, intent);
SELECT entrestate.sequence_publish(campaign_id, entrestate.sequence_create(campaign_id, jsonb_build_array(
  jsonb_build_object('channel', 'email', 'template', :'welcome', 'delay', '0'),
  jsonb_build_object('channel', 'sms', 'template', :'question', 'delay', '2 days'),
  jsonb_build_object('channel', 'email', 'template', :'guide', 'delay', '3 days'))))
FROM demo.campaigns WHERE tenant = :n;
SELECT entrestate.campaign_status_set(campaign_id, 'active') FROM demo.campaigns WHERE tenant = :n;
SELECT entrestate.campaign_update(campaign_id, sender_enabled => true) FROM demo.campaigns WHERE tenant = :n;
COMMIT;
