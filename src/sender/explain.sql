-- sender: the decision, for people (explain.c). (B6, B7)

CREATE FUNCTION sender_decide(facts jsonb) RETURNS TABLE (action text, reason text, until timestamptz)
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_decide_facts';
COMMENT ON FUNCTION sender_decide(jsonb) IS
'What the sender''s decision says to facts that are made up: hold, terminate, done, skip, defer, simulate or admit, with the reason, and until when it defers. {} is admitted; every fact of the decision may be given by its name (docs/sender.md lists them), and instead of what is worked out of them delay, zone, windows, campaign_windows, quiet, caps and sends. It reads no table. Errors: 22023, 22007, 22008, 22015, 22003. (B6)';
GRANT EXECUTE ON FUNCTION sender_decide(jsonb) TO entrestate_app, entrestate_worker, entrestate_auditor;

CREATE FUNCTION sender_explain_run(tenant uuid, campaign uuid, lead uuid, at timestamptz)
RETURNS TABLE (gate integer, name text, saw jsonb, decision text, reason text, until timestamptz, decides boolean)
LANGUAGE c STABLE STRICT
-- every row is looked up by its key, whoever calls
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET jit = off
AS 'MODULE_PATHNAME', 'sender_explain_run';
COMMENT ON FUNCTION sender_explain_run(uuid, uuid, uuid, timestamptz) IS
'Internal: sender_explain() for a run of a tenant; no rows: there is no such run.';

CREATE FUNCTION sender_explain(campaign uuid, lead uuid, at timestamptz DEFAULT NULL)
RETURNS TABLE (gate integer, name text, saw jsonb, decision text, reason text, until timestamptz, decides boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
  t uuid := entrestate.require('sender.read');
BEGIN
  IF sender_explain.at < '1970-01-01 00:00:00Z' OR sender_explain.at >= '9999-01-01 00:00:00Z' THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'at is not between 1970 and 9999');
  END IF;
  RETURN QUERY SELECT x.gate, x.name, x.saw, x.decision, x.reason, x.until, x.decides
  FROM entrestate.sender_explain_run(t, campaign, lead, coalesce(sender_explain.at, entrestate.clock_now())) x;
  IF NOT FOUND THEN
    PERFORM entrestate.raise('NOT_FOUND', 'there is no such run', NULL, 'sender_why() says why a run did not start.');
  END IF;
END
$$;
COMMENT ON FUNCTION sender_explain(uuid, uuid, timestamptz) IS
'What the processor would do with a lead''s run in a campaign, now or at another instant with the facts as they are now, whether or not it is due then: every gate in its order, what it saw, what it says by itself (pass: nothing), and which one decides. Where what belongs to many holds the queue, the gate that holds it decides. A run that has ended or whose message is in flight is one row without a gate. Capability: sender.read. Errors: P0002, 22023. (B6, B7)';
GRANT EXECUTE ON FUNCTION sender_explain(uuid, uuid, timestamptz) TO entrestate_app;
