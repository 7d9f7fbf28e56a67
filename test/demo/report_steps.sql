SELECT '   tenant          campaign   step       sent  skipped  why';
SELECT concat_ws(' ', '  ', rpad(d.name, 15), rpad(c.name, 10), rpad(s.step + 1 || ' ' || s.channel, 8),
  lpad(count(*) FILTER (WHERE y.name = 'sender.step.sent')::text, 6),
  lpad(count(*) FILTER (WHERE y.name = 'sender.step.skipped')::text, 8),
  ' ' || string_agg(DISTINCT x.name, ', '))
FROM demo.tenants d
JOIN entrestate.campaigns c USING (tenant_id)
JOIN entrestate.sender_steps s USING (tenant_id, campaign_id)
LEFT JOIN (entrestate.sender_events e
  JOIN entrestate.sender_event_types() y ON y.code = e.type AND y.name LIKE 'sender.step.%')
  ON e.tenant_id = c.tenant_id AND e.campaign_id = c.campaign_id AND e.step = s.step
LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
GROUP BY d.n, d.name, c.campaign_id, c.name, s.step, s.channel ORDER BY d.n, c.campaign_id, s.step;
