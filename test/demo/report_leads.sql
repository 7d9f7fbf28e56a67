SELECT format('   %s %s of %s loaded, %s to %s; %s', rpad(d.name, 15), lpad(count(l.lead_id)::text, 5),
  (SELECT count(*) FROM demo.leads f WHERE f.tenant = d.n), to_char(min(l.created_at), 'DD Mon YYYY'),
  to_char(max(l.created_at), 'DD Mon YYYY'), t.time_zone)
FROM demo.tenants d JOIN entrestate.tenants t USING (tenant_id) LEFT JOIN entrestate.leads l USING (tenant_id)
GROUP BY d.n, d.name, t.time_zone ORDER BY d.n;
SELECT format('   %s without an address, %s without a number, %s with one that cannot be',
  count(*) FILTER (WHERE email IS NULL), count(*) FILTER (WHERE phone IS NULL),
  count(*) FILTER (WHERE entrestate.email_normalise(email) IS NULL AND email IS NOT NULL
    OR entrestate.phone_normalise(phone) IS NULL AND phone IS NOT NULL)) FROM demo.leads;
-- the first day's leads come again: their keys are known
SELECT count(*) AS before FROM entrestate.leads \gset
SELECT set_config('demo.day', min(arrived)::text, false) FROM demo.leads \g /dev/null
\ir load.sql
SELECT format('   the first day''s leads sent once more: %s new ones', count(*) - :before) FROM entrestate.leads;
