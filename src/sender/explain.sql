-- sender: the decision, for people (explain.c). (B6, B7)

CREATE FUNCTION sender_decide(facts jsonb) RETURNS TABLE (action text, reason text, until timestamptz)
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_decide_facts';
COMMENT ON FUNCTION sender_decide(jsonb) IS
'What the sender''s decision says to facts that are made up: hold, terminate, done, skip, defer, simulate or admit, with the reason, and until when it defers. {} is admitted; every fact of the decision may be given by its name (docs/sender.md lists them), and instead of what is worked out of them delay, zone, windows, campaign_windows, quiet, caps and sends. It reads no table. Errors: 22023, 22007, 22008, 22015, 22003. (B6)';
GRANT EXECUTE ON FUNCTION sender_decide(jsonb) TO entrestate_app, entrestate_worker, entrestate_auditor;
