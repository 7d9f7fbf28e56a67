-- Every event, apart from ids and from what only the wall clock or an id decides, in an order that does not depend
-- on either: two runs of one seed print the same. A variant follows from the run's id (step_variant()).
SELECT concat_ws('|', e.recorded_at, d.n, c.name, l.idempotency_key, e.run_seq, y.name, e.step, e.attempt, m.name, h.name, x.name, e.decided_at, e.next_at,
  e.score, e.hot, e.cap_count, e.zone, e.sequence_version, e.template_version, e.policy_version) COLLATE "C"
FROM entrestate.sender_events e
JOIN demo.tenants d USING (tenant_id)
JOIN entrestate.campaigns c USING (tenant_id, campaign_id)
JOIN entrestate.leads l USING (tenant_id, lead_id)
JOIN entrestate.sender_event_types() y ON y.code = e.type
JOIN entrestate.sender_modes() m ON m.code = e.mode
LEFT JOIN entrestate.sender_channels() h ON h.code = e.channel
LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
ORDER BY 1;
