-- What a batch writes goes past the planner (src/core/rows_write.c), and past nothing else: triggers, constraints,
-- defaults, partitions, unique keys and the policy of row security stand in its way as in any statement's.
\ir flow_lib.sql
BEGIN;
SELECT no_plan();
SET LOCAL timezone = 'UTC';
-- our own guards refuse triggers and constraints of others
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtname LIKE 'entrestate%' \gexec
SELECT flow.at('2026-01-05T10:00:00Z'), entrestate.upkeep(), flow.make('a', '{email 1 day,email 1 day,email 1 day,email 1 day,email 1 day,email 40 days,email 1 day}'), flow.make('b', '{email 0}') \g /dev/null
SELECT count(flow.lead('a', 'lead' || i)) FROM generate_series(1, 300) i \g /dev/null
SELECT t.tenant AS a, (SELECT o.tenant FROM flow.tenant o WHERE o.name = 'b') AS b FROM flow.tenant t WHERE t.name = 'a' \gset
SELECT c.oid::regclass AS january, c.relname AS january_name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'entrestate.sender_events'::regclass AND pg_get_expr(c.relpartbound, c.oid) LIKE '%FROM (''2026-01-01%' \gset
CREATE FUNCTION pg_temp.sound(what text) RETURNS text LANGUAGE sql AS $$
  SELECT is(concat_ws(E'\n', (SELECT string_agg(v::text, E'\n') FROM (SELECT v FROM entrestate.sender_verify() v LIMIT 5) v), flow.unfolded()), '', 'verify() finds nothing, and every run is the fold of its events: ' || what) $$;
-- One more day for everybody, in a transaction of its own that is undone when it fails; what it says then.
CREATE FUNCTION pg_temp.day(n integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before text := flow.digest('a');
  said text;
BEGIN
  BEGIN
    RETURN flow.process('a', '2026-01-05T10:00:01Z'::timestamptz + n * interval '1 day');
  EXCEPTION WHEN OTHERS THEN
    said := SQLSTATE || ': ' || SQLERRM;
  END;
  IF flow.digest('a') IS DISTINCT FROM before THEN
    RETURN 'something was written, and then: ' || said;
  END IF;
  RETURN said;
END
$$;
-- Runs a statement, tries the next day, undoes the statement.
CREATE FUNCTION pg_temp.with(statement text, n integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
BEGIN
  BEGIN
    EXECUTE statement;
    said := pg_temp.day(n);
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDOE';
  EXCEPTION WHEN SQLSTATE 'UNDOE' THEN
  END;
  RETURN said;
END
$$;

-- ---------------------------------------------------------------- triggers
CREATE TABLE public.fired (no serial, what text);
-- (functions of the owner write)
GRANT ALL ON public.fired, public.fired_no_seq TO entrestate_owner;
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.fired (what) VALUES (concat_ws(' ', TG_ARGV[0], TG_WHEN, TG_OP, TG_LEVEL,
    to_jsonb(OLD) ->> 'cursor', to_jsonb(OLD) ->> 'status', to_jsonb(NEW) ->> 'cursor', to_jsonb(NEW) ->> 'status'));
  RETURN NEW;
END
$$;
SELECT format('CREATE TRIGGER %1$s_%2$s BEFORE %1$s ON entrestate.%3$s FOR EACH %2$s EXECUTE FUNCTION public.note(%3$L);
  CREATE TRIGGER %1$s_%2$s_after AFTER %1$s ON entrestate.%3$s FOR EACH %2$s EXECUTE FUNCTION public.note(%3$L)', op, level, tab)
FROM (VALUES ('INSERT', 'sender_intents'), ('INSERT', 'sender_events'), ('UPDATE', 'sender_runs')) t(op, tab), unnest('{ROW,STATEMENT}'::text[]) level \gexec
SELECT is(pg_temp.day(1), '300', 'a step of 300 runs, more than are written at once');
SELECT results_eq($$SELECT what, count(*)::int FROM public.fired GROUP BY what ORDER BY what COLLATE "C"$$, $$VALUES
  ('sender_events AFTER INSERT ROW', 300), ('sender_events AFTER INSERT STATEMENT', 1), ('sender_events BEFORE INSERT ROW', 300), ('sender_events BEFORE INSERT STATEMENT', 1),
  ('sender_intents AFTER INSERT ROW sent', 300), ('sender_intents AFTER INSERT STATEMENT', 1), ('sender_intents BEFORE INSERT ROW sent', 300), ('sender_intents BEFORE INSERT STATEMENT', 1),
  ('sender_runs AFTER UPDATE ROW 0 pending 1 running', 300), ('sender_runs AFTER UPDATE STATEMENT', 1),
  ('sender_runs BEFORE UPDATE ROW 0 pending 1 running', 300), ('sender_runs BEFORE UPDATE STATEMENT', 1)$$,
  'triggers fire, of rows and of statements, before and after');
SELECT results_eq($$SELECT DISTINCT f.first || ' ' || f.last FROM (SELECT split_part(what, ' ', 1), (array_agg(what ORDER BY no))[1] AS first, (array_agg(what ORDER BY no DESC))[1] AS last
  FROM public.fired WHERE what LIKE '%STATEMENT' GROUP BY split_part(what, ' ', 1)) f ORDER BY 1$$, $$VALUES
  ('sender_events BEFORE INSERT STATEMENT sender_events AFTER INSERT STATEMENT'), ('sender_intents BEFORE INSERT STATEMENT sender_intents AFTER INSERT STATEMENT'),
  ('sender_runs BEFORE UPDATE STATEMENT sender_runs AFTER UPDATE STATEMENT')$$, 'a statement''s around its rows''');
SELECT pg_temp.sound('beside triggers');
SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) FROM pg_trigger t WHERE t.tgfoid = 'public.note'::regproc AND t.tgparentid = 0 \gexec

CREATE FUNCTION public.change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_ARGV[0] = 'drop' THEN
    RETURN NULL;
  END IF;
  RETURN jsonb_populate_record(NEW, TG_ARGV[0]::jsonb);
END
$$;
CREATE FUNCTION pg_temp.changed(tab text, event text, name text, change text) RETURNS text LANGUAGE sql AS $$
  SELECT pg_temp.with(format('CREATE TRIGGER %I BEFORE %s ON entrestate.%I FOR EACH ROW EXECUTE FUNCTION public.change(%L)', name, event, tab, change), 2) $$;
SELECT is(pg_temp.changed('sender_intents', 'INSERT', 'a_first', '{"status": "leased"}'), 'ZE005: an intent cannot begin as leased', 'guard_transition looks at what is inserted');
SELECT is(pg_temp.changed('sender_runs', 'UPDATE', 'a_first', '{"status": "odd"}'), 'ZE005: a run cannot go from running to odd', 'and at what is updated');
SELECT is(pg_temp.changed('sender_intents', 'INSERT', 'a_first', jsonb_build_object('tenant_id', :'b')::text), 'ZE006: write to table "sender_intents" is refused: the row''s tenant is not that of the context', 'guard_tenant_stamp at what is inserted');
SELECT is(pg_temp.changed('sender_runs', 'UPDATE', 'a_first', jsonb_build_object('tenant_id', :'b')::text), 'ZE006: write to table "sender_runs" is refused: the row''s tenant is not that of the context', 'and at what is updated');
SELECT is(pg_temp.changed('sender_events', 'INSERT', 'z_last', jsonb_build_object('tenant_id', :'b')::text), 'ZE006: write to table "sender_events" is refused: the row''s tenant is not that of the context', 'the policy at a row of a partition, as triggers leave it');
SELECT is(pg_temp.changed('sender_intents', 'INSERT', 'z_last', jsonb_build_object('tenant_id', :'b')::text), 'ZE006: write to table "sender_intents" is refused: the row''s tenant is not that of the context', 'of a table');
SELECT is(pg_temp.changed('sender_runs', 'UPDATE', 'z_last', jsonb_build_object('tenant_id', :'b')::text), 'ZE006: write to table "sender_runs" is refused: the row''s tenant is not that of the context', 'and of what is updated');
SELECT is(pg_temp.changed('sender_events', 'INSERT', 'z_last', '{"recorded_at": "2026-03-01T00:00:00Z"}'), '0A000: moving row to another partition during a BEFORE FOR EACH ROW trigger is not supported', 'a row stays in its partition');
SELECT is(pg_temp.with(format('CREATE TRIGGER z_last BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.change(%L)', :'january', '{"recorded_at": "2026-03-01T00:00:00Z"}'), 2),
  format('23514: new row for relation "%s" violates partition constraint', :'january_name'), 'also where the trigger is the partition''s own');
SELECT is(pg_temp.changed('sender_intents', 'INSERT', 'z_last', 'drop'), 'XX000: a trigger keeps a row out of table "sender_intents"', 'no row is lost silently');
SELECT is(pg_temp.changed('sender_runs', 'UPDATE', 'z_last', 'drop'), 'XX000: a trigger keeps a row of table "sender_runs" as it was', 'nor a change');
SELECT is(pg_temp.with($$CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
  CREATE TRIGGER x AFTER INSERT ON entrestate.sender_intents REFERENCING NEW TABLE AS n EXECUTE FUNCTION public.nothing()$$, 2),
  'XX000: table "sender_intents" has a trigger with transition tables, which this does not fill', 'what it cannot do it says');
-- what a trigger changes is what is stored
CREATE TRIGGER z_last BEFORE INSERT ON entrestate.sender_intents FOR EACH ROW EXECUTE FUNCTION public.change('{"tries": 7}');
SELECT is(pg_temp.day(2), '300', 'a trigger that changes rows');
SELECT is((SELECT array_agg(DISTINCT tries ORDER BY tries) FROM entrestate.sender_intents WHERE tenant_id = :'a' AND step = 1), '{7}', 'they are stored as it leaves them');
DROP TRIGGER z_last ON entrestate.sender_intents;

-- ---------------------------------------------------------------- constraints, keys, defaults
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_events ADD CONSTRAINT odd CHECK (step IS DISTINCT FROM 2)', 3), format('23514: new row for relation "%s" violates check constraint "odd"', :'january_name'), 'constraints, of events');
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_intents ADD CONSTRAINT odd CHECK (step <> 2)', 3), '23514: new row for relation "sender_intents" violates check constraint "odd"', 'of intents');
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_runs ADD CONSTRAINT odd CHECK (cursor <> 3)', 3), '23514: new row for relation "sender_runs" violates check constraint "odd"', 'of runs');
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_intents ADD extra integer NOT NULL DEFAULT 0; ALTER TABLE entrestate.sender_intents ALTER extra DROP DEFAULT', 3), '23502: null value in column "extra" of relation "sender_intents" violates not-null constraint', 'NOT NULL');
SELECT is(pg_temp.with('CREATE UNIQUE INDEX odd ON entrestate.sender_intents (tenant_id, step) WHERE step = 2', 3), '23505: duplicate key value violates unique constraint "odd"', 'unique keys, of intents');
SELECT is(pg_temp.with('CREATE UNIQUE INDEX odd ON entrestate.sender_runs (tenant_id, cursor) WHERE cursor = 3', 3), '23505: duplicate key value violates unique constraint "odd"', 'of runs');
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_runs ADD CONSTRAINT odd EXCLUDE USING btree (tenant_id WITH =) WHERE (cursor = 3)', 3), '23P01: conflicting key value violates exclusion constraint "odd"', 'exclusion constraints');
SELECT is(pg_temp.with('CREATE UNIQUE INDEX odd ON entrestate.sender_runs (tenant_id, (lead_id::text || cursor))', 3), '300', 'an index of an expression');
SELECT is(pg_temp.with('ALTER TABLE entrestate.sender_intents ADD doubled integer GENERATED ALWAYS AS (step * 2) STORED', 3), 'XX000: table "sender_intents" has generated columns, which this does not compute', 'generated columns are refused');
-- of the day's key by hand: the intent is there already
CREATE FUNCTION pg_temp.twice() RETURNS text LANGUAGE sql AS $$ SELECT pg_temp.with('ALTER TABLE entrestate.sender_intents DISABLE TRIGGER USER;
  INSERT INTO entrestate.sender_intents (tenant_id, campaign_id, lead_id, step, attempt, status, mode, channel, provider, template_id, template_version, not_before, started_at, final_at, created_at)
  SELECT tenant_id, campaign_id, lead_id, 2, attempt, status, mode, channel, provider, template_id, template_version, not_before, started_at, final_at, created_at
  FROM entrestate.sender_intents WHERE step = 1 ORDER BY lead_id DESC LIMIT 1; ALTER TABLE entrestate.sender_intents ENABLE TRIGGER USER', 3) $$;
SELECT is(pg_temp.with($$CREATE TRIGGER z_last BEFORE INSERT ON entrestate.sender_intents FOR EACH ROW EXECUTE FUNCTION public.change('{"status": "started"}')$$, 3),
  '23514: new row for relation "sender_intents" violates check constraint "sender_intents_check"', 'what is on its way is not final: sender_intents_flight has it');
SELECT is(pg_temp.twice(), '23505: duplicate key value violates unique constraint "sender_intents_pkey"', 'one intent for a run, a step and an attempt');

-- columns that came and went: the partitions of before have others than those of after
ALTER TABLE entrestate.sender_events ADD gone text, ADD extra text DEFAULT 'extra';
ALTER TABLE entrestate.sender_events DROP gone;
ALTER TABLE entrestate.sender_intents ADD gone text, ADD extra text DEFAULT 'extra ' || 1 + 1;
ALTER TABLE entrestate.sender_intents DROP gone;
ALTER TABLE entrestate.sender_runs ADD gone text, ADD extra text DEFAULT 'extra';
ALTER TABLE entrestate.sender_runs DROP gone;
SELECT is(pg_temp.day(3), '300', 'tables with a column more, and one that is gone');
SELECT is((SELECT array_agg(DISTINCT (e.extra, i.extra, r.extra)::text) FROM entrestate.sender_events e JOIN entrestate.sender_intents i USING (tenant_id, campaign_id, lead_id, step)
  JOIN entrestate.sender_runs r USING (tenant_id, campaign_id, lead_id) WHERE e.tenant_id = :'a' AND e.step = 2 AND e.type = 10), '{"(extra,\"extra 2\",extra)"}', 'what nobody gives has its default; what nobody changes stays');
SELECT pg_temp.sound('with other columns');
CREATE TABLE public.later (LIKE entrestate.sender_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE public.later ADD PRIMARY KEY (tenant_id, lead_id, recorded_at, id);
SELECT format('ALTER TABLE entrestate.sender_events DETACH PARTITION %s', c.oid::regclass) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'entrestate.sender_events'::regclass AND pg_get_expr(c.relpartbound, c.oid) LIKE '%FROM (''2026-02-01%' \gexec
ALTER TABLE entrestate.sender_events ATTACH PARTITION public.later FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
SELECT is(pg_temp.day(4) || pg_temp.day(5), '300300', 'in the partition of before');
SELECT is(pg_temp.day(46), '300', 'in one whose columns lie otherwise');
SELECT is((SELECT count(*)::int FROM public.later WHERE tenant_id = :'a' AND step = 5 AND extra = 'extra'), 300, 'its rows are there');
SELECT is((SELECT count(*)::int FROM entrestate.sender_events WHERE tenant_id = :'a'), 300 * 7, 'and all of them');
SELECT pg_temp.sound('across partitions');

-- ---------------------------------------------------------------- who may
SELECT is((SELECT count(*)::int FROM entrestate.sender_runs WHERE tenant_id = :'a' AND cursor = 6), 300, 'six steps');
SELECT is((SELECT count(*)::int FROM (SELECT FROM entrestate.sender_intents WHERE tenant_id <> :'a' UNION ALL SELECT FROM entrestate.sender_events WHERE tenant_id <> :'a') x), 0, 'nothing for another tenant');
SELECT * FROM finish();
ROLLBACK;
