-- what an application asks: the queue, as a member of each tenant
SET ROLE demo_api;
SELECT '   tenant          campaign    pending  running   done  suppressed  failed  due';
PREPARE queue AS SELECT concat_ws(' ', '  ', rpad(d.name, 15), rpad(q.campaign, 10), lpad(q.pending::text, 8),
    lpad(q.running::text, 8), lpad(q.done::text, 6), lpad(q.suppressed::text, 11), lpad(q.failed::text, 7),
    lpad(q.due::text, 4))
  FROM entrestate.sender_queue() q JOIN demo.tenants d ON d.tenant_id = entrestate.current_tenant();
SELECT tenant_id AS t, member FROM demo.tenants WHERE n = 1 \gset
BEGIN;
SELECT entrestate.login(:'t', :'member') \g /dev/null
EXECUTE queue;
COMMIT;
SELECT tenant_id AS t, member FROM demo.tenants WHERE n = 2 \gset
BEGIN;
SELECT entrestate.login(:'t', :'member') \g /dev/null
EXECUTE queue;
COMMIT;
