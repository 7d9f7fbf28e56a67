SELECT format('   %s %s of %s came, %s to %s; %s', rpad(d.name, 15), lpad(count(*) FILTER (WHERE l.lead_id IS NOT NULL)::text, 5), count(*),
  to_char(min(l.arrived), 'DD Mon YYYY'), to_char(max(l.arrived), 'DD Mon YYYY'), d.zone)
FROM demo.tenants d JOIN demo.leads l ON l.tenant = d.n GROUP BY d.n, d.name, d.zone ORDER BY d.n;
SELECT format('   %s without an address, %s without a number, %s with an address that cannot be one; %s came twice',
  count(*) FILTER (WHERE email IS NULL), count(*) FILTER (WHERE phone IS NULL), count(*) FILTER (WHERE entrestate.email_normalise(email) IS NULL AND email IS NOT NULL),
  count(lead_id) - count(DISTINCT lead_id)) FROM demo.leads;
-- the first day's leads come again: their keys are known
SELECT count(*) AS before FROM entrestate.leads \gset
CREATE FUNCTION pg_temp.again() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(demo.arrive(l.n)) FROM demo.leads l, demo.enter(1) WHERE l.tenant = 1 AND l.arrived < (SELECT s.first_day FROM demo.settings s) + 1
$$;
SELECT pg_temp.again() AS again \gset
SELECT format('   %s leads of the first day sent once more: %s new ones', :again, count(*) - :before) FROM entrestate.leads;
