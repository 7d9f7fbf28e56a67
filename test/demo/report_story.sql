-- a lead with something skipped, where there is one; told in its tenant's time
SELECT e.tenant_id AS t, e.lead_id AS lead, d.member, d.name, s.time_zone AS zone
FROM entrestate.sender_events e JOIN demo.tenants d USING (tenant_id) JOIN entrestate.tenants s USING (tenant_id)
LEFT JOIN entrestate.sender_reasons() x ON x.code = e.reason
ORDER BY x.name IS NOT DISTINCT FROM 'missing_phone' DESC, d.n, e.recorded_at DESC, e.id LIMIT 1 \gset
SET ROLE demo_api;
BEGIN;
SELECT entrestate.login(:'t', :'member') \g /dev/null
SET LOCAL TimeZone = :'zone';
SELECT format('   %s, from %s; times of %s', l -> 'contacts' -> 0 ->> 'address',
  coalesce(l -> 'attributions' -> 0 -> 'utm' ->> 'source', 'somewhere'), :'zone')
FROM entrestate.lead_get(:'lead') l;
SELECT format('   %s  %s%s', to_char(h.recorded_at, 'Dy DD Mon HH24:MI'),
  CASE h.type
    WHEN 'sender.run.started' THEN 'came in, and a run started'
    WHEN 'sender.step.sent' THEN format('step %s: %s sent (%s)', h.step + 1, h.channel, h.mode)
    WHEN 'sender.step.skipped' THEN format('step %s: %s skipped (%s)', h.step + 1, h.channel, replace(h.reason, '_', ' '))
    WHEN 'sender.run.done' THEN format('the run is done: %s', h.reason)
    ELSE concat_ws(' ', h.type, h.reason) END,
  '; next: ' || to_char(h.next_at, 'Dy DD Mon HH24:MI'))
FROM entrestate.sender_history(:'lead') h;
COMMIT;
