SELECT tenant_id AS t2, name AS name2 FROM demo.tenants WHERE n = 2 \gset
SET ROLE demo_api;
SELECT tenant_id AS t1, name AS name1, web FROM demo.tenants WHERE n = 1 \gset
BEGIN;
SELECT entrestate.login(:'t1', :'web') \g /dev/null
SELECT format('   a member of %s sees %s leads; of %s: %s leads, %s events', :'name1',
  (SELECT count(*) FROM entrestate.leads), :'name2',
  (SELECT count(*) FROM entrestate.leads WHERE tenant_id = :'t2'),
  (SELECT count(*) FROM entrestate.sender_events WHERE tenant_id = :'t2'));
COMMIT;
SELECT format('   the same role without a context: %s leads', count(*)) FROM entrestate.leads;
