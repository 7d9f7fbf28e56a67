-- A consumer's batch, and the mark that it is consumed, in one transaction.
SET ROLE demo_reader;
BEGIN;
-- \gset unsets what is NULL
SELECT batch, epoch, coalesce(after::text, '') AS after, coalesce(upto::text, '') AS upto
FROM entrestate.consumer_next('demo', 100000) \gset
INSERT INTO demo.consumed
SELECT :batch, e.tenant_id, e.lead_id, e.recorded_at, e.id
FROM entrestate.consumer_events(NULL::entrestate.sender_events, :epoch::smallint,
  nullif(:'after', '')::pg_snapshot, nullif(:'upto', '')::pg_snapshot) e;
SELECT entrestate.consumer_done('demo', :batch);
COMMIT;
