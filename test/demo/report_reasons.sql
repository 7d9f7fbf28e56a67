-- Why nothing was sent: runs that ended and how many steps that spared, steps that were skipped or put off, and
-- what was held meanwhile.
SELECT concat_ws(' ', rpad('   ', 15), rpad('', 46), lpad(split_part(a.name, ' ', 1), 7), lpad(split_part(b.name, ' ', 1), 7), lpad('steps spared', 13))
FROM demo.tenants a, demo.tenants b WHERE a.n = 1 AND b.n = 2;
WITH e AS (
  SELECT d.n, x.name AS reason, CASE WHEN y.name LIKE 'sender.suppressed\_%' THEN 1 WHEN y.name = 'sender.step.skipped' THEN 2 ELSE 3 END AS kind,
    CASE WHEN y.name LIKE 'sender.suppressed\_%' THEN (SELECT count(*) FROM entrestate.sender_steps s WHERE s.tenant_id = e.tenant_id
      AND s.campaign_id = e.campaign_id AND s.version = e.sequence_version) - r.cursor ELSE 0 END AS spared
  FROM entrestate.sender_events e JOIN demo.tenants d USING (tenant_id) JOIN entrestate.sender_event_types() y ON y.code = e.type
  JOIN entrestate.sender_reasons() x ON x.code = e.reason JOIN entrestate.sender_runs r USING (tenant_id, campaign_id, lead_id)
  WHERE y.name LIKE 'sender.suppressed\_%' OR y.name IN ('sender.step.skipped', 'sender.step.deferred')
), g AS (
  SELECT e.kind, e.reason, count(*) FILTER (WHERE e.n = 1) AS a, count(*) FILTER (WHERE e.n = 2) AS b, sum(e.spared) AS spared FROM e GROUP BY 1, 2
), r AS (SELECT g.*, row_number() OVER (PARTITION BY g.kind ORDER BY g.a + g.b DESC, g.reason) AS row FROM g)
SELECT concat_ws(' ', rpad('   ' || CASE r.row WHEN 1 THEN (ARRAY['runs ended', 'steps skipped', 'steps put off'])[r.kind] ELSE '' END, 17), rpad(entrestate.sender_words(r.reason), 44),
  lpad(r.a::text, 7), lpad(r.b::text, 7), CASE r.kind WHEN 1 THEN lpad(r.spared::text, 13) END)
FROM r ORDER BY r.kind, r.row;
SELECT rpad(CASE (h.row - 1) / 5 WHEN 0 THEN '   queues held' ELSE '' END, 17) || ' ' || string_agg(replace(h.name, '_', ' '), ', ' ORDER BY h.row)
FROM (SELECT x.name, row_number() OVER (ORDER BY x.code) AS row FROM entrestate.sender_reasons() x
  WHERE x.name IN (SELECT s.reason FROM demo.seen s UNION SELECT a.payload ->> 'reason' FROM entrestate.activity_events a WHERE a.type = 'sender.queue.held')) h
GROUP BY (h.row - 1) / 5 ORDER BY (h.row - 1) / 5;
