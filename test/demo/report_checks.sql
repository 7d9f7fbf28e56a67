SELECT format('   %s of the sender''s %s reasons occurred; not here: %s (test/reasons says where)', count(*) FILTER (WHERE o.occurred), count(*),
  string_agg(replace(x.name, '_', ' '), ', ' ORDER BY x.code) FILTER (WHERE NOT o.occurred))
FROM entrestate.sender_reasons() x CROSS JOIN LATERAL (SELECT x.name IN (SELECT demo.reasons()) AS occurred) o;
SELECT format('   a consumer read %s events in two batches; there are %s, and %s were read twice',
  string_agg(b.events::text, ' + ' ORDER BY b.batch), (SELECT count(*) FROM entrestate.sender_events),
  (SELECT count(*) - count(DISTINCT (tenant_id, lead_id, recorded_at, id)) FROM demo.consumed))
FROM (SELECT batch, count(*) AS events FROM demo.consumed GROUP BY batch) b;
SELECT format('   sender_replay() makes %s runs of %s again as they are stored', count(*) FILTER (WHERE f.differs = '{}' AND f.gaps = '[]'), count(*)) FROM demo.replayed() f;
SELECT format('   verify(): %s violations of the laws', count(*)) FROM entrestate.verify();
SELECT format('      %s %s %s', law, object, detail) FROM entrestate.verify() LIMIT 20;
