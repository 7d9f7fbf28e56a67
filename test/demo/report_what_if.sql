-- What the sender would have decided with the threshold at 25, beside what it decides with the settings that were in
-- force; the clock of the simulation does not move by steps, so that the second differs a little from what happened.
SET ROLE demo_api;
SELECT concat_ws(' ', rpad('   ', 29), lpad('sent', 5), lpad('simulated', 10), lpad('at 25', 6), ' |', lpad('ended as hot', 13), lpad('simulated', 10), lpad('at 25', 6));
PREPARE what_if AS
  WITH w AS (
    SELECT c.campaign_id, c.name, x.type, coalesce(x.reason, '') AS reason, x.happened, CASE v.other WHEN 0 THEN x.would_have END AS as_it_was, CASE v.other WHEN 1 THEN x.would_have END AS otherwise
    FROM demo.campaigns c JOIN demo.tenants d ON d.n = c.tenant CROSS JOIN (VALUES (0, '{}'::jsonb), (1, '{"hot_threshold": 25}')) AS v(other, overrides)
    CROSS JOIN LATERAL entrestate.sender_what_if(c.campaign_id, (SELECT s.first_day::timestamp AT TIME ZONE 'UTC' FROM demo.settings s), entrestate.clock_now() + interval '1 second', v.overrides) x
    WHERE d.tenant_id = entrestate.current_tenant())
  SELECT concat_ws(' ', rpad('   ' || d.name, 18), rpad(w.name, 10), lpad((sum(w.happened) FILTER (WHERE w.type = 'sender.step.sent') / 2)::bigint::text, 5),
    lpad(sum(w.as_it_was) FILTER (WHERE w.type = 'sender.step.sent')::text, 10), lpad(sum(w.otherwise) FILTER (WHERE w.type = 'sender.step.sent')::text, 6), ' |',
    lpad(coalesce(sum(w.happened) FILTER (WHERE w.reason = 'hot') / 2, 0)::bigint::text, 13),
    lpad(coalesce(sum(w.as_it_was) FILTER (WHERE w.reason = 'hot'), 0)::text, 10), lpad(coalesce(sum(w.otherwise) FILTER (WHERE w.reason = 'hot'), 0)::text, 6))
  FROM w JOIN demo.tenants d ON d.tenant_id = entrestate.current_tenant() GROUP BY d.name, w.campaign_id, w.name ORDER BY w.campaign_id;
BEGIN;
SELECT demo.enter(1) \g /dev/null
EXECUTE what_if;
COMMIT;
BEGIN;
SELECT demo.enter(2) \g /dev/null
EXECUTE what_if;
COMMIT;
