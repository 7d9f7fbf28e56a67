-- jobs: pg_cron rings the bell; what is due is known by our own tables, so a
-- bell that was missed is caught up. (A20, B6)

CREATE FUNCTION schedule_jobs(OUT job text, OUT schedule text, OUT command text) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('entrestate:%s:%s', current_database(), v.job), v.schedule, v.command FROM (VALUES
    ('sender', '* * * * *', 'CALL entrestate.sender_process()'),
    ('sandbox_report', '* * * * *', 'CALL entrestate.sandbox_report()'),
    ('tick', '* * * * *', 'SELECT entrestate.tick()'),
    ('upkeep', '17 * * * *', 'SELECT entrestate.upkeep()'),
    ('sender_upkeep', '*/5 * * * *', 'CALL entrestate.sender_upkeep()'),
    ('scores_decay', '7 * * * *', 'CALL entrestate.scores_decay()')
  ) AS v(job, schedule, command)
$$;
COMMENT ON FUNCTION schedule_jobs() IS
'The jobs that pg_cron runs for this database. (A20)';

CREATE FUNCTION schedule_statements() RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('SELECT cron.schedule_in_database(%L, %L, %L, %L, %L)',
    j.job, j.schedule, j.command, current_database(), 'entrestate_worker')
  FROM entrestate.schedule_jobs() j
$$;
COMMENT ON FUNCTION schedule_statements() IS
'The statements that schedule this database''s jobs, to be run in the database that has pg_cron when it is another one. (A20)';

CREATE FUNCTION schedule_require() RETURNS void
LANGUAGE plpgsql STABLE
-- PL/pgSQL: it raises.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    RETURN;
  END IF;
  IF current_setting('cron.database_name', true) IS NULL THEN
    PERFORM entrestate.raise('CONFIGURATION', 'pg_cron is not loaded in this cluster',
      'It is not in shared_preload_libraries.',
      'Install the package (Debian: postgresql-15-cron), set shared_preload_libraries = ''pg_cron'', restart, CREATE EXTENSION pg_cron. Without pg_cron, run the commands of SELECT * FROM entrestate.schedule_jobs() by other means.');
  ELSIF current_setting('cron.database_name') <> current_database() THEN
    PERFORM entrestate.raise('CONFIGURATION', 'pg_cron lives in another database of this cluster',
      format('It lives in "%s".', current_setting('cron.database_name')),
      format('Run the statements of SELECT * FROM entrestate.schedule_statements() in "%s".', current_setting('cron.database_name')));
  END IF;
  PERFORM entrestate.raise('CONFIGURATION', 'pg_cron is loaded but not created in this database', NULL,
    'CREATE EXTENSION pg_cron;');
END
$$;
COMMENT ON FUNCTION schedule_require() IS
'Internal: raises F0000 with what to do when pg_cron cannot be used from here.';

CREATE FUNCTION schedule() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: pg_cron's functions exist only where pg_cron does.
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s text;
BEGIN
  PERFORM entrestate.schedule_require();
  FOR s IN SELECT * FROM entrestate.schedule_statements() LOOP
    EXECUTE s;
  END LOOP;
  RETURN QUERY SELECT j.job FROM entrestate.schedule_jobs() j;
END
$$;
COMMENT ON FUNCTION schedule() IS
'Has pg_cron run this database''s jobs as entrestate_worker; again is the same. The worker must be able to connect: without cron.use_background_workers, pg_hba.conf must let it in from cron.host. Superusers only. Errors: F0000 with what to do when pg_cron is missing or lives in another database. (A20, B6)';

CREATE FUNCTION unschedule() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
-- PL/pgSQL: pg_cron's tables exist only where pg_cron does.
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM entrestate.schedule_require();
  -- MATERIALIZED: a condition that acts must see no row that the join leaves out
  RETURN QUERY EXECUTE 'WITH j AS MATERIALIZED (SELECT c.jobid, c.jobname FROM cron.job c
      JOIN entrestate.schedule_jobs() s ON s.job = c.jobname)
    SELECT j.jobname::text FROM j WHERE cron.unschedule(j.jobid)';
END
$$;
COMMENT ON FUNCTION unschedule() IS
'Takes this database''s jobs away from pg_cron; returns their names. Superusers only. Errors: F0000. (A20)';
