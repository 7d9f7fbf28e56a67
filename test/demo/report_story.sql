-- Of the leads whose run a person's ticket ended, and who were dealt with, the one with the longest story; in its
-- tenant's time.
SELECT d.n, h.lead_id AS lead, d.zone FROM entrestate.handoff_tickets h JOIN demo.tenants d USING (tenant_id)
JOIN entrestate.leads l USING (tenant_id, lead_id)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM entrestate.sender_events e WHERE e.tenant_id = h.tenant_id AND e.lead_id = h.lead_id) e
ORDER BY h.status = 'resolved' AND h.reason = 'hot' DESC, h.status = 'resolved' DESC, e.n DESC, l.idempotency_key LIMIT 1 \gset
SET ROLE demo_api;
BEGIN;
SELECT demo.enter(:n) \g /dev/null
SET LOCAL TimeZone = :'zone';
SELECT format('   %s, from %s; times of %s', concat_ws(', ', l ->> 'full_name', l -> 'contacts' -> 0 ->> 'address'),
  coalesce(l -> 'attributions' -> 0 -> 'utm' ->> 'source', 'somewhere'), :'zone')
FROM entrestate.lead_get(:'lead') l;
SELECT format('   %s  %s', to_char(s.at, 'Dy DD Mon HH24:MI'), s.story) FROM entrestate.sender_story(:'lead') s;
COMMIT;
