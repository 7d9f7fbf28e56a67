-- One batch. An address or a number that cannot be one is left out: lead_create() refuses it.
SELECT tenant_id AS t, member FROM demo.tenants WHERE n = :n \gset
BEGIN;
SELECT entrestate.login(:'t', :'member') \g /dev/null
SELECT count(entrestate.lead_create(
    email => CASE WHEN entrestate.email_normalise(l.email) IS NOT NULL THEN l.email END,
    phone => CASE WHEN entrestate.phone_normalise(l.phone) IS NOT NULL THEN l.phone END,
    campaign => c.campaign_id, source => 'form', idempotency_key => l.id,
    attribution => jsonb_strip_nulls(jsonb_build_object('landing_page', l.landing,
      'utm', jsonb_build_object('source', l.source)))))
FROM (SELECT * FROM demo.leads
      WHERE arrived = current_setting('demo.day')::date AND tenant = :n ORDER BY n) l
JOIN demo.campaigns c ON c.tenant = l.tenant AND c.intent = l.intent \g /dev/null
COMMIT;
