-- core: roles, the clock, ids, errors, versions.

-- Roles are cluster-wide: a second database finds them here already, and a
-- stranger may have made one before us with attributes that break the laws.
DO $$
DECLARE
  r record;
  a pg_catalog.pg_roles;
BEGIN
  FOR r IN SELECT * FROM (VALUES
      ('entrestate_owner', false), ('entrestate_app', false),
      ('entrestate_authenticator', false), ('entrestate_worker', true),
      ('entrestate_auditor', false), ('entrestate_anon', false)) AS v(name, login)
  LOOP
    SELECT * INTO a FROM pg_catalog.pg_roles WHERE rolname = r.name;
    IF NOT FOUND THEN
      EXECUTE pg_catalog.format('CREATE ROLE %I %s NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION',
        r.name, CASE WHEN r.login THEN 'LOGIN' ELSE 'NOLOGIN' END);
    ELSIF a.rolsuper OR a.rolbypassrls OR a.rolcreaterole OR a.rolcreatedb
       OR a.rolreplication OR (a.rolcanlogin AND NOT r.login) THEN
      RAISE EXCEPTION 'role % exists with attributes that entrestate does not allow', r.name
        USING DETAIL = 'It must be NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION'
          || CASE WHEN r.login THEN '.' ELSE ' NOLOGIN.' END,
          HINT = 'ALTER ROLE it, or find out who made it.',
          ERRCODE = '55000';
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_catalog.pg_auth_members
             WHERE roleid = 'entrestate_owner'::pg_catalog.regrole
               AND member <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)) THEN
    RAISE EXCEPTION 'role entrestate_owner has members'
      USING HINT = 'REVOKE entrestate_owner from all of them: who is a member could act as the system.',
        ERRCODE = '55000';
  END IF;
END
$$;

-- The owner makes partitions here; nobody else gets CREATE.
REVOKE ALL ON SCHEMA entrestate FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA entrestate TO entrestate_owner;
GRANT USAGE ON SCHEMA entrestate TO entrestate_app, entrestate_authenticator,
  entrestate_worker, entrestate_auditor, entrestate_anon;

CREATE FUNCTION code_version() RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_version';
COMMENT ON FUNCTION code_version() IS
'Version of the loaded code. The schema''s is in schema_version; migrate() brings it to this one. (D15)';
GRANT EXECUTE ON FUNCTION code_version() TO entrestate_app, entrestate_authenticator,
  entrestate_worker, entrestate_auditor, entrestate_anon;

CREATE FUNCTION migrate() RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'core_migrate';
COMMENT ON FUNCTION migrate() IS
'Makes the schema, or brings it to the version of the code, in one transaction; returns that version. Superusers only. Errors: ZE004 when no script leads there. (D15)';

CREATE FUNCTION clock_now() RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_clock_now';
COMMENT ON FUNCTION clock_now() IS
'The time as entrestate sees it: the start of the transaction, moved by the superuser setting entrestate.clock.';

CREATE FUNCTION clock_moved() RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_clock_moved';
COMMENT ON FUNCTION clock_moved() IS
'Whether entrestate.clock moves the clock; then only the sandbox provider sends.';
GRANT EXECUTE ON FUNCTION clock_now(), clock_moved() TO entrestate_app,
  entrestate_authenticator, entrestate_worker, entrestate_auditor;

CREATE FUNCTION delay_add(at timestamptz, delay interval, zone text) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_add_delay';
COMMENT ON FUNCTION delay_add(timestamptz, interval, text) IS
'Adds a delay by the calendar of a zone: days and months to the local date, hours and less exactly; a skipped local time is the first instant after the gap, one that occurs twice its first. Errors: 22023, 22008.';
GRANT EXECUTE ON FUNCTION delay_add(timestamptz, interval, text) TO entrestate_app, entrestate_worker, entrestate_auditor;

CREATE FUNCTION uuid_v7() RETURNS uuid
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_uuid_v7';
COMMENT ON FUNCTION uuid_v7() IS
'A time-ordered UUID (version 7, RFC 9562), increasing within a session.';
GRANT EXECUTE ON FUNCTION uuid_v7() TO entrestate_app, entrestate_worker;

CREATE FUNCTION run_id(campaign_id uuid, lead_id uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN campaign_id::pg_catalog.text || '__' || lead_id::pg_catalog.text;
COMMENT ON FUNCTION run_id(uuid, uuid) IS
'The deterministic id of a run: campaignId__leadId. (B2)';
GRANT EXECUTE ON FUNCTION run_id(uuid, uuid) TO entrestate_app, entrestate_worker, entrestate_auditor;

CREATE FUNCTION error_codes(OUT word text, OUT sqlstate text, OUT meaning text)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_error_codes';
COMMENT ON FUNCTION error_codes() IS
'Every class of error that entrestate raises, with its SQLSTATE. (E1)';

CREATE FUNCTION transitions(OUT machine text, OUT from_state text, OUT to_state text)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'core_transitions';
COMMENT ON FUNCTION transitions() IS
'Every allowed change of state; from_state is NULL for the creation. What the guard enforces is this table.';
GRANT EXECUTE ON FUNCTION error_codes(), transitions() TO entrestate_app,
  entrestate_authenticator, entrestate_worker, entrestate_auditor;

-- Internal from here: called by our own definer functions only.

CREATE FUNCTION raise(word text, message text, detail text DEFAULT NULL, hint text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'core_raise';
COMMENT ON FUNCTION raise(text, text, text, text) IS
'Internal: raises one of error_codes() with the given message, detail and hint.';

CREATE FUNCTION arg_text(name text, value text, max_chars integer, min_chars integer DEFAULT 1)
RETURNS text
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF value IS NULL THEN
    IF min_chars > 0 THEN
      PERFORM entrestate.raise('MISSING_INPUT', format('%s is missing', name), NULL,
        format('Give a value for the argument "%s".', name));
    END IF;
    RETURN NULL;
  END IF;
  IF char_length(value) > max_chars THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', format('%s is too long', name),
      format('It has %s characters, at most %s are allowed.', char_length(value), max_chars));
  END IF;
  IF char_length(btrim(value)) < min_chars THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is empty', name));
  END IF;
  IF value ~ '[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]' THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s has control characters', name));
  END IF;
  RETURN value;
END
$$;
COMMENT ON FUNCTION arg_text(text, text, integer, integer) IS
'Internal: returns a text argument, or raises when it is missing (22004), too long (54000), empty or unprintable (22023).';

CREATE FUNCTION arg_user(name text, value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM entrestate.arg_text(name, value, 255);
  IF octet_length(value) > 255 THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', format('%s is too long', name),
      format('It has %s bytes, at most 255 are allowed.', octet_length(value)));
  END IF;
  RETURN value;
END
$$;
COMMENT ON FUNCTION arg_user(text, text) IS
'Internal: returns a user id, whose length the context bounds in bytes, or raises like arg_text().';

CREATE FUNCTION arg_rows(max_rows integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
    PERFORM entrestate.raise('INVALID_INPUT', 'max_rows is a number from 1 to 1000');
  END IF;
END
$$;
COMMENT ON FUNCTION arg_rows(integer) IS
'Internal: raises 22023 when a page''s size is not from 1 to 1000.';

CREATE FUNCTION arg_choice(name text, value text, choices text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF value IS NULL THEN
    PERFORM entrestate.raise('MISSING_INPUT', format('%s is missing', name), NULL,
      format('One of: %s.', array_to_string(choices, ', ')));
  ELSIF value <> ALL (choices) THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s has a value that is not allowed', name), NULL,
      format('One of: %s.', array_to_string(choices, ', ')));
  END IF;
  RETURN value;
END
$$;
COMMENT ON FUNCTION arg_choice(text, text, text[]) IS
'Internal: returns an argument that must be one of some words, or raises 22004 or 22023 with the words.';

CREATE FUNCTION arg_object(name text, value jsonb, max_bytes integer DEFAULT 65536) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF value IS NULL THEN
    RETURN '{}';
  END IF;
  IF jsonb_typeof(value) <> 'object' THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is not a JSON object', name));
  ELSIF pg_column_size(value) > max_bytes THEN
    PERFORM entrestate.raise('LIMIT_EXCEEDED', format('%s is too large', name),
      format('At most %s bytes are allowed.', max_bytes));
  END IF;
  RETURN value;
END
$$;
COMMENT ON FUNCTION arg_object(text, jsonb, integer) IS
'Internal: returns a JSON object argument ({} for NULL), or raises 22023 or 54000.';

CREATE FUNCTION arg_windows(name text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  e jsonb;
BEGIN
  IF value IS NOT NULL AND (jsonb_typeof(value) <> 'array' OR jsonb_array_length(value) > 50) THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is not an array of at most 50 windows', name), NULL,
      'Write [{"days": ["mon", "tue"], "from": "09:00", "to": "17:30"}].');
  END IF;
  FOR e IN SELECT x FROM jsonb_array_elements(value) x LOOP
    IF jsonb_typeof(e) <> 'object' OR e - '{days,from,to}'::text[] <> '{}'
      OR coalesce(e ->> 'from', '') !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' OR coalesce(e ->> 'to', '') !~ '^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'
      OR e ->> 'from' = e ->> 'to'
      OR e ? 'days' AND (CASE WHEN jsonb_typeof(e -> 'days') = 'array' THEN jsonb_array_length(e -> 'days') = 0
          OR NOT e -> 'days' <@ '["mon","tue","wed","thu","fri","sat","sun"]' ELSE true END) THEN
      PERFORM entrestate.raise('INVALID_INPUT', format('%s has an entry that is not a window', name), NULL,
        'A window is {"days": ["mon", …], "from": "09:00", "to": "17:30"}, in local time; without days it is every day, and one that ends before it begins goes over midnight.');
    END IF;
  END LOOP;
  RETURN nullif(value, '[]');
END
$$;
COMMENT ON FUNCTION arg_windows(text, jsonb) IS
'Internal: returns windows [{days, from, to}] as the sender reads them (NULL for none), or raises 22023.';

CREATE FUNCTION zone_known(name text) RETURNS boolean
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'core_zone_known';
COMMENT ON FUNCTION zone_known(text) IS
'Internal: whether PostgreSQL can load a time zone; that includes POSIX notations such as UTC+3.';

CREATE FUNCTION arg_time_zone(name text, value text) RETURNS text
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- a name with a slash and no digit is no POSIX notation; the others are
  -- looked up in the list, which reads hundreds of files
  IF value IS NULL OR NOT (CASE WHEN value ~ '^[A-Za-z_]+(/[A-Za-z_-]+)+$' THEN entrestate.zone_known(value)
       ELSE value = 'UTC' OR EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = value) END) THEN
    PERFORM entrestate.raise('INVALID_INPUT', format('%s is not a time zone', name),
      format('"%s" is not a name of the IANA time zone database.', left(value, 64)),
      'Write a name such as America/Toronto or UTC.');
  END IF;
  RETURN value;
END
$$;
COMMENT ON FUNCTION arg_time_zone(text, text) IS
'Internal: returns the name of an IANA time zone, or raises 22023.';
