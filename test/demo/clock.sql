-- The clock's hands. The superuser moves it, then steps down to what an application or the worker may do; each
-- action is a transaction of its own.

CREATE PROCEDURE demo.clock(at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
  COMMIT;
  PERFORM set_config('entrestate.clock', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), false);
  COMMIT;
END
$$;

-- What pg_cron does every minute. What is held by a rate goes on a minute later.
CREATE PROCEDURE demo.work(at timestamptz, minutes integer) LANGUAGE plpgsql AS $$
DECLARE
  rated boolean;
BEGIN
  FOR i IN 0 .. minutes LOOP
    CALL demo.clock(at + i * interval '1 minute');
    SET ROLE entrestate_worker;
    CALL entrestate.sandbox_report();
    CALL entrestate.sender_process();
    RESET ROLE;
    SELECT EXISTS (SELECT FROM entrestate.sender_holds h JOIN entrestate.sender_reasons() x ON x.code = h.reason WHERE x.name = 'rate_limited') INTO rated;
    EXIT WHEN NOT rated;
  END LOOP;
  COMMIT;
END
$$;

CREATE PROCEDURE demo.arrivals(upto timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  came integer[] := ARRAY(SELECT l.n FROM demo.leads l JOIN demo.tenants t ON t.n = l.tenant JOIN entrestate.tenants s USING (tenant_id)
    WHERE l.lead_id IS NULL AND l.at <= upto AND s.frozen_at IS NULL ORDER BY l.at, l.n);
  one integer;
  l record;
  made uuid;
BEGIN
  FOREACH one IN ARRAY came LOOP
    SELECT x.tenant, greatest(x.at, entrestate.clock_now()) AS at, t.web INTO l FROM demo.leads x JOIN demo.tenants t ON t.n = x.tenant WHERE x.n = one;
    CALL demo.clock(l.at);
    SET LOCAL ROLE demo_api;
    PERFORM demo.enter(l.tenant, l.web);
    made := demo.arrive(one);
    RESET ROLE;
    UPDATE demo.leads x SET lead_id = made WHERE x.n = one;
    COMMIT;
  END LOOP;
END
$$;

CREATE PROCEDURE demo.people(now timestamptz, step interval) LANGUAGE plpgsql AS $$
DECLARE
  t record;
  c record;
  here timestamp;
  answer text;
BEGIN
  FOR t IN SELECT * FROM demo.tenants x ORDER BY x.n LOOP
    here := now AT TIME ZONE t.zone;
    FOR c IN SELECT * FROM demo.calendar x WHERE x.tenant = t.n AND x.at > now - step AND x.at <= now ORDER BY x.at, x.n LOOP
      SET LOCAL ROLE demo_api;
      PERFORM demo.enter(t.n);
      EXECUTE c.statement INTO answer;
      RESET ROLE;
      UPDATE demo.calendar x SET said = coalesce(answer, '') WHERE x.n = c.n;
      COMMIT;
    END LOOP;
    IF EXISTS (SELECT FROM entrestate.tenants s WHERE s.tenant_id = t.tenant_id AND s.frozen_at IS NULL)
      AND here::time BETWEEN '09:00' AND '19:00' AND extract(isodow FROM here) < 7 THEN
      SET LOCAL ROLE demo_api;
      IF here::time >= '11:00' AND here::time < '11:00'::time + step THEN
        PERFORM demo.enter(t.n, t.web), demo.telephone(to_char(here, 'YYYY-MM-DD'));
      END IF;
      PERFORM demo.enter(t.n, t.web), demo.handoffs(t.n);
      RESET ROLE;
      COMMIT;
    END IF;
  END LOOP;
END
$$;

-- Everything that happens up to an instant, a step of the clock at a time.
CREATE PROCEDURE demo.live(since timestamptz, upto timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  step interval := (SELECT s.step FROM demo.settings s);
  at timestamptz := since;
  t integer;
BEGIN
  LOOP
    at := at + step;
    EXIT WHEN at > upto;
    CALL demo.arrivals(at);
    CALL demo.clock(at);
    CALL demo.people(at, step);
    CALL demo.work(at, (extract(epoch FROM step) / 60)::integer - 1);
    -- what pg_cron does every hour
    IF date_trunc('hour', at) > at - step THEN
      SET ROLE entrestate_worker;
      CALL entrestate.scores_decay();
      CALL entrestate.sender_upkeep();
      PERFORM entrestate.tick();
      RESET ROLE;
      COMMIT;
    END IF;
    IF date_trunc('hour', at) > at - step AND extract(hour FROM at)::integer % 3 = 0 THEN
      FOR t IN 1 .. 2 LOOP
        SET LOCAL ROLE demo_api;
        PERFORM demo.enter(t), demo.look(at);
        RESET ROLE;
        COMMIT;
      END LOOP;
    END IF;
  END LOOP;
END
$$;

CREATE FUNCTION demo.progress() RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', '  ', rpad(to_char(entrestate.clock_now() - interval '1 minute', 'Dy DD Mon YYYY'), 15),
    lpad((SELECT count(*) FROM entrestate.leads)::text, 7), lpad((SELECT count(*) FROM entrestate.sender_runs)::text, 7),
    lpad(count(*) FILTER (WHERE y.name = 'sender.step.sent')::text, 7), lpad(count(*) FILTER (WHERE y.name = 'sender.step.skipped')::text, 8),
    lpad(count(*) FILTER (WHERE y.name = 'sender.step.deferred')::text, 8), lpad(count(*) FILTER (WHERE y.name LIKE 'sender.suppressed%')::text, 8),
    lpad((SELECT count(*) FROM entrestate.handoff_tickets)::text, 8))
  FROM entrestate.sender_events e JOIN entrestate.sender_event_types() y ON y.code = e.type
$$;

-- Runs whose time has come and that nothing holds: none, once the processor was there.
CREATE FUNCTION demo.waiting() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) FROM entrestate.sender_runs r
  WHERE r.status IN ('pending', 'running') AND r.next_at <= entrestate.clock_now() AND NOT r.awaiting_go_live
    AND NOT EXISTS (SELECT FROM entrestate.sender_holds h WHERE h.tenant_id = r.tenant_id AND h.campaign_id = r.campaign_id AND h.version = r.version AND h.step = r.cursor)
$$;
