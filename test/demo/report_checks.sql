SELECT format('   a consumer read %s events in two batches; there are %s, and %s were read twice',
  string_agg(b.events::text, ' + ' ORDER BY b.batch), (SELECT count(*) FROM entrestate.sender_events),
  (SELECT count(*) - count(DISTINCT (tenant_id, lead_id, recorded_at, id)) FROM demo.consumed))
FROM (SELECT batch, count(*) AS events FROM demo.consumed GROUP BY batch) b;
SELECT format('   verify(): %s violations of the laws', count(*)) FROM entrestate.verify();
SELECT format('      %s %s %s', law, object, detail) FROM entrestate.verify() LIMIT 20;
