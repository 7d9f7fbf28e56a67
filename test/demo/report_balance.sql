-- Where every step of every run is.
SET ROLE demo_api;
SELECT concat_ws(' ', rpad('   ', 29), lpad('steps', 7), '=', lpad('sent', 6), lpad('failed', 7), lpad('unknown', 8), lpad('skipped', 8), lpad('rehearsed', 10),
  lpad('cancelled', 10), lpad('open', 6));
PREPARE balance AS SELECT concat_ws(' ', rpad('   ' || d.name, 18), rpad(b.name, 10), lpad(b.steps::text, 7), CASE WHEN b.holds THEN '=' ELSE '<>' END, lpad(b.sent::text, 6),
    lpad(b.failed::text, 7), lpad(b.unknown::text, 8), lpad(b.skipped::text, 8), lpad(b.simulated::text, 10), lpad(b.cancelled::text, 10), lpad(b.open::text, 6))
  FROM entrestate.sender_balance() b JOIN demo.tenants d ON d.tenant_id = entrestate.current_tenant();
BEGIN;
SELECT demo.enter(1) \g /dev/null
EXECUTE balance;
COMMIT;
BEGIN;
SELECT demo.enter(2) \g /dev/null
EXECUTE balance;
COMMIT;
