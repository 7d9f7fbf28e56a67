-- Where a person took over, and how soon.
SELECT concat_ws(' ', rpad('   ', 30), lpad('tickets', 8), lpad('taken', 6), lpad('first touch: half within', 25), lpad('nine of ten', 12), lpad('booked', 7));
SELECT concat_ws(' ', rpad('   ' || CASE WHEN row_number() OVER (PARTITION BY d.n ORDER BY count(*) DESC, h.reason) = 1 THEN d.name ELSE '' END, 18), rpad(h.reason, 11),
  lpad(count(*)::text, 8), lpad(count(h.first_touch_at)::text, 6),
  lpad(entrestate.interval_words(percentile_cont(0.5) WITHIN GROUP (ORDER BY h.first_touch_at - h.opened_at)), 25),
  lpad(entrestate.interval_words(percentile_cont(0.9) WITHIN GROUP (ORDER BY h.first_touch_at - h.opened_at)), 12),
  lpad(count(*) FILTER (WHERE h.outcome = 'viewing booked')::text, 7))
FROM entrestate.handoff_tickets h JOIN demo.tenants d USING (tenant_id) GROUP BY d.n, d.name, h.reason ORDER BY d.n, count(*) DESC, h.reason;
SET ROLE demo_api;
PREPARE metrics AS SELECT format('   %s %s runs ended for a person who took over; %s steps spared; %s of %s messages welcomed',
    rpad(d.name || ':', 15), m -> 'takeovers' ->> 'runs', m -> 'suppressed_to_avoid_damage' ->> 'steps', m -> 'welcomed' ->> 'welcomed', m -> 'welcomed' ->> 'sent')
  FROM entrestate.sender_metrics() m, demo.tenants d WHERE d.tenant_id = entrestate.current_tenant();
BEGIN;
SELECT demo.enter(1) \g /dev/null
EXECUTE metrics;
COMMIT;
BEGIN;
SELECT demo.enter(2) \g /dev/null
EXECUTE metrics;
COMMIT;
