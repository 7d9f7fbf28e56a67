-- What an application asks: the queue, as a member of each tenant.
SET ROLE demo_api;
SELECT concat_ws(' ', rpad('   ', 29), lpad('pending', 8), lpad('running', 8), lpad('suppressed', 11), lpad('done', 6), lpad('failed', 7), lpad('due', 5), lpad('held', 5), ' for');
PREPARE queue AS SELECT rtrim(concat_ws(' ', rpad('   ' || d.name, 18), rpad(q.campaign, 10), lpad(q.pending::text, 8), lpad(q.running::text, 8), lpad(q.suppressed::text, 11),
    lpad(q.done::text, 6), lpad(q.failed::text, 7), lpad(q.due::text, 5), lpad(q.held::text, 5), ' ' || q.held_for))
  FROM entrestate.sender_queue() q JOIN demo.tenants d ON d.tenant_id = entrestate.current_tenant();
BEGIN;
SELECT demo.enter(1) \g /dev/null
EXECUTE queue;
COMMIT;
BEGIN;
SELECT demo.enter(2) \g /dev/null
EXECUTE queue;
COMMIT;
