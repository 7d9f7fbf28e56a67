-- What became of it, by campaign and week; where the clock went on for long, by month.
SELECT concat_ws(' ', rpad('   ', 29), lpad('began', 6), lpad('sent', 6), lpad('opened', 6), lpad('clicked', 7), lpad('replied', 7),
  '|', lpad('rehearsed', 9), lpad('skipped', 7), lpad('put off', 7), lpad('ended', 5), lpad('done', 5));
WITH e AS (
  SELECT d.n, d.name AS tenant, c.campaign_id, c.name AS campaign, y.name,
    CASE WHEN s.long THEN date_trunc('month', e.recorded_at) ELSE date_trunc('day', s.first) + floor(extract(epoch FROM e.recorded_at - s.first) / 604800) * interval '7 days' END AS at,
    CASE WHEN s.long THEN to_char(e.recorded_at, 'Mon YYYY') ELSE 'week ' || 1 + floor(extract(epoch FROM e.recorded_at - s.first) / 604800) END AS span
  FROM (SELECT (SELECT x.first_day FROM demo.settings x)::timestamp AT TIME ZONE 'UTC' AS first,
      entrestate.clock_now() - (SELECT x.first_day FROM demo.settings x) > interval '45 days' AS long) s,
    entrestate.sender_events e
  JOIN entrestate.sender_event_types() y ON y.code = e.type
  JOIN demo.tenants d USING (tenant_id) JOIN entrestate.campaigns c USING (tenant_id, campaign_id)
), f AS (
  SELECT e.n, e.tenant, e.campaign_id, e.campaign, e.at, e.span,
    row_number() OVER (PARTITION BY e.campaign_id ORDER BY e.at) AS row,
    count(*) FILTER (WHERE e.name = 'sender.run.started') AS began, count(*) FILTER (WHERE e.name = 'sender.step.sent') AS sent,
    count(*) FILTER (WHERE e.name = 'sender.opened') AS opened, count(*) FILTER (WHERE e.name = 'sender.clicked') AS clicked,
    count(*) FILTER (WHERE e.name = 'sender.replied') AS replied, count(*) FILTER (WHERE e.name = 'sender.step.simulated') AS rehearsed,
    count(*) FILTER (WHERE e.name = 'sender.step.skipped') AS skipped, count(*) FILTER (WHERE e.name = 'sender.step.deferred') AS deferred,
    count(*) FILTER (WHERE e.name LIKE 'sender.suppressed\_%') AS ended, count(*) FILTER (WHERE e.name = 'sender.run.done') AS done
  FROM e GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT concat_ws(' ', rpad('   ' || CASE WHEN f.row = 1 THEN split_part(f.tenant, ' ', 1) || ' ' || f.campaign ELSE '' END, 21), rpad(f.span, 7), lpad(f.began::text, 6), lpad(f.sent::text, 6),
  lpad(f.opened::text, 6), lpad(f.clicked::text, 7), lpad(f.replied::text, 7), '|', lpad(f.rehearsed::text, 9), lpad(f.skipped::text, 7),
  lpad(f.deferred::text, 7), lpad(f.ended::text, 5), lpad(f.done::text, 5))
FROM f ORDER BY f.n, f.campaign_id, f.at;
