-- What each function and event trigger did when it was shipped; verify() compares. A script that
-- updates the extension ends with this page, too.
DO $$
BEGIN
  EXECUTE pg_catalog.format($f$
    CREATE OR REPLACE FUNCTION entrestate.code_shipped(OUT object text, OUT digest text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS %L$f$,
    (SELECT 'VALUES ' || pg_catalog.string_agg(pg_catalog.format('(%L, %L)', f.object, f.digest), E',\n' ORDER BY f.object)
     FROM entrestate.code_now() f));
END
$$;
COMMENT ON FUNCTION code_shipped() IS
'Internal: every function and event trigger of the extension with a digest of what it did when the extension was installed. (F11)';
GRANT EXECUTE ON FUNCTION code_shipped() TO entrestate_auditor;

-- Last: what no function can forget. Nobody may call what was not granted,
-- definer functions belong to the owner role (not a superuser) and pin their
-- settings.
DO $$
DECLARE
  f record;
BEGIN
  FOR f IN
    SELECT p.oid::pg_catalog.regprocedure AS sig, p.prosecdef, p.prokind, p.proconfig
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'entrestate')
  LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', f.sig);
    IF f.prosecdef THEN
      IF NOT coalesce(f.proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'row_security=on'], false) THEN
        RAISE EXCEPTION 'definer function % does not pin search_path and row_security', f.sig;
      END IF;
      EXECUTE pg_catalog.format('ALTER ROUTINE %s OWNER TO entrestate_owner', f.sig);
    END IF;
  END LOOP;
  -- what our own definer functions call
  FOR f IN
    SELECT p.oid::pg_catalog.regprocedure AS sig
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refobjid = (SELECT oid FROM pg_catalog.pg_extension WHERE extname = 'entrestate')
    WHERE NOT p.prosecdef
      AND p.prorettype <> 'pg_catalog.event_trigger'::pg_catalog.regtype
      AND p.proname NOT IN ('migrate', 'schedule', 'unschedule')
  LOOP
    EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO entrestate_owner', f.sig);
  END LOOP;
END
$$;
