-- sender: windows, the hours in which a lead may be written to (window.c).

CREATE FUNCTION window_opening(at timestamptz, zone text, windows jsonb, quiet jsonb DEFAULT NULL) RETURNS timestamptz
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_window_opening';
COMMENT ON FUNCTION window_opening(timestamptz, text, jsonb, jsonb) IS
'The first instant from at on that lies, by the clocks of a zone, in one of windows [{days, from, to}] and in none of the quiet hours (NULL or []: no restriction); at itself when it does, NULL when none of the next nine days has one. Errors: 22023, 22008. (B1)';
GRANT EXECUTE ON FUNCTION window_opening(timestamptz, text, jsonb, jsonb) TO entrestate_app, entrestate_worker, entrestate_auditor;

CREATE FUNCTION windows_intersect(a jsonb, b jsonb, quiet jsonb) RETURNS boolean
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sender_windows_intersect';
COMMENT ON FUNCTION windows_intersect(jsonb, jsonb, jsonb) IS
'Internal: whether some minute of the week lies in windows of a and of b and in none of the quiet hours (NULL or []: no restriction). Raises 22023.';
