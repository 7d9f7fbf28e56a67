-- Time: delays by the calendar, ids, the moved clock.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT no_plan();

-- ---------------------------------------------------------------- delays
CREATE TEMP TABLE delay (no integer GENERATED ALWAYS AS IDENTITY, zone text, at timestamptz, delay interval, want timestamptz, what text);
INSERT INTO delay (zone, at, delay, want, what) VALUES
  ('America/Toronto', '2026-01-05T10:00:00-05:00', '0', '2026-01-05T10:00:00-05:00', 'no delay'),
  ('America/Toronto', '2026-01-05T10:00:00-05:00', '3 days', '2026-01-08T10:00:00-05:00', 'days'),
  ('America/Toronto', '2026-01-05T10:00:00.123456-05:00', '1 day', '2026-01-06T10:00:00.123456-05:00', 'to the microsecond'),
  ('America/Toronto', '2026-03-07T10:00:00-05:00', '1 day', '2026-03-08T10:00:00-04:00', 'a day of 23 hours'),
  ('America/Toronto', '2026-03-07T10:00:00-05:00', '24 hours', '2026-03-08T11:00:00-04:00', '24 hours are 24 hours'),
  ('America/Toronto', '2026-10-31T10:00:00-04:00', '1 day', '2026-11-01T10:00:00-05:00', 'a day of 25 hours'),
  ('America/Toronto', '2026-10-31T10:00:00-04:00', '24 hours', '2026-11-01T09:00:00-05:00', 'and 24 of them'),
  ('America/Toronto', '2026-03-07T01:59:59-05:00', '1 day', '2026-03-08T01:59:59-05:00', 'the last second before a gap'),
  ('America/Toronto', '2026-03-07T02:00:00-05:00', '1 day', '2026-03-08T03:00:00-04:00', 'the first of the gap'),
  ('America/Toronto', '2026-03-07T02:30:00-05:00', '1 day', '2026-03-08T03:00:00-04:00', 'in the gap'),
  ('America/Toronto', '2026-03-07T02:59:59-05:00', '1 day', '2026-03-08T03:00:00-04:00', 'the last of the gap'),
  ('America/Toronto', '2026-03-07T02:30:00.5-05:00', '1 day', '2026-03-08T03:00:00-04:00', 'in the gap, to the microsecond'),
  ('America/Toronto', '2026-03-07T03:00:00-05:00', '1 day', '2026-03-08T03:00:00-04:00', 'after the gap'),
  ('America/Toronto', '2026-03-06T02:30:00-05:00', '2 days 1 hour', '2026-03-08T04:00:00-04:00', 'the days first, then the hour'),
  ('America/Toronto', '2026-03-07T02:30:00-05:00', '2 days', '2026-03-09T02:30:00-04:00', 'a gap on the way does not matter'),
  ('America/Toronto', '2026-10-31T00:59:59-04:00', '1 day', '2026-11-01T00:59:59-04:00', 'before a fold'),
  ('America/Toronto', '2026-10-31T01:00:00-04:00', '1 day', '2026-11-01T01:00:00-04:00', 'the first of two'),
  ('America/Toronto', '2026-10-31T01:30:00-04:00', '1 day', '2026-11-01T01:30:00-04:00', 'in the fold, the first of two'),
  ('America/Toronto', '2026-10-31T01:59:59-04:00', '1 day', '2026-11-01T01:59:59-04:00', 'the last that comes twice'),
  ('America/Toronto', '2026-10-31T02:00:00-04:00', '1 day', '2026-11-01T02:00:00-05:00', 'after the fold'),
  ('America/Toronto', '2026-11-01T01:30:00-05:00', '1 day', '2026-11-02T01:30:00-05:00', 'from the second of two'),
  ('America/Toronto', '2026-11-01T01:30:00-05:00', '1 hour', '2026-11-01T02:30:00-05:00', 'hours from the second of two'),
  ('America/Toronto', '2026-11-01T01:30:00-04:00', '1 hour', '2026-11-01T01:30:00-05:00', 'hours through the fold'),
  ('Australia/Lord_Howe', '2026-10-03T02:15:00+10:30', '1 day', '2026-10-04T02:30:00+11:00', 'half an hour''s gap'),
  ('Australia/Lord_Howe', '2026-10-03T02:30:00+10:30', '1 day', '2026-10-04T02:30:00+11:00', 'its end'),
  ('Australia/Lord_Howe', '2026-10-03T01:45:00+10:30', '1 day', '2026-10-04T01:45:00+10:30', 'before it'),
  ('Australia/Lord_Howe', '2026-04-04T01:45:00+11:00', '1 day', '2026-04-05T01:45:00+11:00', 'half an hour''s fold'),
  ('Australia/Lord_Howe', '2026-04-04T02:00:00+11:00', '1 day', '2026-04-05T02:00:00+10:30', 'after it'),
  ('America/Sao_Paulo', '2018-11-03T00:00:00-03:00', '1 day', '2018-11-04T01:00:00-02:00', 'a midnight that does not come'),
  ('America/Sao_Paulo', '2018-02-16T23:30:00-02:00', '1 day', '2018-02-17T23:30:00-02:00', 'an hour before midnight that comes twice'),
  ('America/Sao_Paulo', '2018-02-17T00:00:00-02:00', '1 day', '2018-02-18T00:00:00-03:00', 'and the midnight after it'),
  ('Pacific/Apia', '2011-12-29T12:00:00-10:00', '1 day', '2011-12-31T00:00:00+14:00', 'a day that does not come'),
  ('Asia/Kathmandu', '2026-06-30T23:59:00+05:45', '1 day', '2026-07-01T23:59:00+05:45', 'an odd offset'),
  ('UTC', '2026-01-31T12:00:00Z', '1 month', '2026-02-28T12:00:00Z', 'the end of a month'),
  ('UTC', '2028-01-31T12:00:00Z', '1 month', '2028-02-29T12:00:00Z', 'of a leap year'),
  ('UTC', '2028-02-29T12:00:00Z', '1 year', '2029-02-28T12:00:00Z', 'from a leap day'),
  ('UTC', '2028-02-29T12:00:00Z', '4 years', '2032-02-29T12:00:00Z', 'to a leap day'),
  ('UTC', '2028-02-28T12:00:00Z', '1 day', '2028-02-29T12:00:00Z', 'over a leap day'),
  ('UTC', '2027-02-28T12:00:00Z', '1 day', '2027-03-01T12:00:00Z', 'where there is none'),
  ('UTC', '2100-02-28T12:00:00Z', '1 day', '2100-03-01T12:00:00Z', '2100 has none'),
  ('UTC', '2026-01-30T12:00:00Z', '1 month 1 day', '2026-03-01T12:00:00Z', 'months before days'),
  ('UTC', '2026-12-31T23:59:59Z', '1 day', '2027-01-01T23:59:59Z', 'over the year''s end'),
  ('UTC', '2026-12-15T00:00:00Z', '1 month', '2027-01-15T00:00:00Z', 'December and a month'),
  ('UTC', '2026-03-31T00:00:00Z', '-1 month', '2026-02-28T00:00:00Z', 'backwards'),
  ('America/Toronto', '2026-01-31T02:30:00-05:00', '1 month 8 days', '2026-03-08T03:00:00-04:00', 'months, days and a gap'),
  ('UTC', '0001-01-31T00:00:00Z', '-1 month', '0001-12-31T00:00:00Z BC', 'over the year that is not'),
  ('UTC', '4713-01-01T00:00:00Z BC', '1 month', '4713-02-01T00:00:00Z BC', 'far back'),
  ('UTC', '294276-11-30T00:00:00Z', '1 month', '294276-12-30T00:00:00Z', 'far ahead');
SELECT is(entrestate.delay_add(at, delay, zone), want, format('%s: %s', zone, what)) FROM delay ORDER BY no;

-- the session's settings play no part
CREATE FUNCTION pg_temp.differ(zone text, style text, intervals text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', zone, true), set_config('datestyle', style, true), set_config('intervalstyle', intervals, true);
  RETURN (SELECT count(*) FROM delay d WHERE entrestate.delay_add(d.at, d.delay, d.zone) IS DISTINCT FROM d.want);
END
$$;
SELECT is(pg_temp.differ(z, s, i), 0::bigint, format('in a session in %s, %s, %s', z, s, i))
FROM (VALUES ('America/Toronto', 'ISO, MDY', 'postgres'), ('Australia/Lord_Howe', 'German', 'iso_8601'), ('Asia/Kathmandu', 'SQL, DMY', 'sql_standard')) v(z, s, i);
SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';

-- the rule, against every quarter of an hour around every change of the clocks of a year, in many zones:
-- the first instant at which the clocks show the local time or later
CREATE TEMP TABLE rule AS
WITH zone AS (
  SELECT unnest('{America/Toronto,America/St_Johns,Europe/London,Europe/Dublin,Africa/Casablanca,Australia/Lord_Howe,Pacific/Chatham,America/Havana,Asia/Beirut,Africa/Cairo,Asia/Tokyo,UTC}'::text[]) AS zone
), hour AS (
  SELECT z.zone, h FROM zone z, generate_series(timestamptz '2025-01-01T00:00:00Z', '2025-12-31T00:00:00Z', '1 hour') h
), change AS (
  SELECT zone, h FROM hour WHERE (h AT TIME ZONE zone) - (h AT TIME ZONE 'UTC') <> ((h + interval '1 hour') AT TIME ZONE zone) - ((h + interval '1 hour') AT TIME ZONE 'UTC')
  UNION ALL SELECT zone, '2025-06-15T12:00:00Z' FROM zone
), goal AS (
  -- from a local time 2 days before, so that it is reached by adding days
  SELECT c.zone, t AS target, (t - interval '2 days') AT TIME ZONE c.zone AS at
  FROM change c, generate_series(date_trunc('hour', c.h AT TIME ZONE c.zone) - interval '4 hours', date_trunc('hour', c.h AT TIME ZONE c.zone) + interval '4 hours', '15 minutes') t
)
SELECT g.*, entrestate.delay_add(g.at, '2 days', g.zone) AS got FROM goal g WHERE g.at AT TIME ZONE g.zone = g.target - interval '2 days';
SELECT cmp_ok((SELECT count(*)::integer FROM rule), '>', 900, 'the rule is tried often enough');
SELECT is((SELECT string_agg(r::text, E'\n') FROM (SELECT * FROM rule WHERE got AT TIME ZONE zone < target LIMIT 5) r), NULL, 'the clocks show the local time or later');
SELECT is((SELECT string_agg(r::text, E'\n') FROM (SELECT * FROM rule r WHERE EXISTS (
    SELECT FROM generate_series(r.got - interval '5 hours', r.got - interval '1 second', '15 minutes') x WHERE x AT TIME ZONE r.zone >= r.target)
    OR (r.got - interval '1 second') AT TIME ZONE r.zone >= r.target LIMIT 5) r), NULL, 'and did not before');

-- a run's delays are those of the lead's zone, else of the tenant's
\ir flow_lib.sql
DO $$ BEGIN
  PERFORM flow.at('2026-03-06T07:30:00Z'), flow.make('tz', '{email 0,sms 2 days}', 'sandbox', 'America/Toronto');
  PERFORM flow.lead('tz', 'of the tenant'), flow.lead('tz', 'of her own', zone => 'Asia/Kathmandu');
END $$;
SELECT is(flow.process('tz'), 2, 'two runs');
SELECT is((flow.run('tz', 'of the tenant')).next_at, '2026-03-08T03:00:00-04:00'::timestamptz, 'the tenant''s zone has a gap');
SELECT is((flow.run('tz', 'of her own')).next_at, '2026-03-08T07:30:00Z'::timestamptz, 'the lead''s has none');

-- ---------------------------------------------------------------- ids
SELECT set_config('entrestate.clock', '', false) AS clock \gset time_
CREATE TEMP TABLE id AS SELECT n, entrestate.uuid_v7() AS id FROM generate_series(1, 20000) n;
SELECT is((SELECT count(DISTINCT id) FROM id), 20000::bigint, 'ids differ');
SELECT is((SELECT count(*) FROM id WHERE id::text !~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'), 0::bigint, 'are of version 7 and RFC 9562''s variant');
SELECT is((SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM id) x WHERE id <= before), 0::bigint, 'and each is greater than the one before');
CREATE FUNCTION pg_temp.instant(id uuid) RETURNS timestamptz LANGUAGE sql AS
  $$ SELECT 'epoch'::timestamptz + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 millisecond' $$;
SELECT cmp_ok(abs(extract(epoch FROM pg_temp.instant(entrestate.uuid_v7()) - clock_timestamp())), '<', 5::numeric, 'they carry the time');
SET entrestate.clock = '2040-01-01T00:00:00.5Z';
SELECT is(pg_temp.instant(entrestate.uuid_v7()), '2040-01-01T00:00:00.5Z'::timestamptz, 'the moved one, too');
SELECT entrestate.uuid_v7() AS last \gset
SET entrestate.clock = '2039-12-31T23:59:59Z';
SELECT cmp_ok(entrestate.uuid_v7(), '>', :'last'::uuid, 'a clock set back a little does not go back');
SET entrestate.clock = '2026-01-01T00:00:00Z';
SELECT is(pg_temp.instant(entrestate.uuid_v7()), '2026-01-01T00:00:00Z'::timestamptz, 'one that is moved back is followed');
SET entrestate.clock = '1970-01-01T00:00:00Z';
SELECT is(pg_temp.instant(entrestate.uuid_v7()), '1970-01-01T00:00:00Z'::timestamptz, 'to the beginning');

-- ---------------------------------------------------------------- the clock
CREATE FUNCTION pg_temp.clock(setting text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('entrestate.clock', setting, true);
  RETURN CASE WHEN entrestate.clock_moved() THEN
    CASE WHEN setting ~ '^[+-]' THEN (entrestate.clock_now() - now())::text ELSE to_char(entrestate.clock_now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') END
    ELSE 'real ' || (entrestate.clock_now() = now()) END;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN 'refused';
END
$$;
SELECT is(pg_temp.clock(v.setting), v.want, format('the clock ''%s''', v.setting)) FROM (VALUES
  ('', 'real true'),
  ('2026-03-08T01:30:00-05:00', '2026-03-08 06:30:00.000000'), ('2026-03-08T01:30:00Z', '2026-03-08 01:30:00.000000'),
  ('2026-03-08 01:30:00Z', '2026-03-08 01:30:00.000000'), ('2026-03-08T01:30Z', '2026-03-08 01:30:00.000000'),
  ('2026-03-08T01:30+05:45', '2026-03-07 19:45:00.000000'), ('2026-03-08T01:30:00.123456Z', '2026-03-08 01:30:00.123456'),
  ('2026-03-08T01:30:00.5Z', '2026-03-08 01:30:00.500000'), ('2026-03-08T01:30-05', '2026-03-08 06:30:00.000000'),
  ('2026-03-08T01:30-0500', '2026-03-08 06:30:00.000000'), ('2024-02-29T00:00Z', '2024-02-29 00:00:00.000000'),
  ('9999-12-31T23:59:59Z', '9999-12-31 23:59:59.000000'),
  ('+21 days', '21 days'), ('-90 minutes', '-01:30:00'), ('+1 day', '1 day'), ('+3 hours', '03:00:00'), ('+5 seconds', '00:00:05'), ('+5seconds', '00:00:05'), ('-0 days', '00:00:00'),
  ('+365250 days', '365250 days'), ('+365251 days', 'refused'), ('-365251 days', 'refused'),
  ('+9223372036854775807 days', 'refused'), ('-9223372036854775808 days', 'refused'), ('-9223372036854775808 seconds', 'refused'), ('+99999999999999999999 days', 'refused'),
  ('now', 'refused'), ('tomorrow', 'refused'), ('2026-03-08', 'refused'), ('2026-03-08T01:30:00', 'refused'), ('2026-02-29T00:00Z', 'refused'), ('2026-13-01T00:00Z', 'refused'),
  ('2026-00-01T00:00Z', 'refused'), ('2026-01-00T00:00Z', 'refused'), ('2026-01-01T24:00Z', 'refused'), ('2026-01-01T00:60Z', 'refused'), ('2026-01-01T00:00:60Z', 'refused'),
  ('2026-01-01T00:00+16', 'refused'), ('2026-01-01T00:00+05:60', 'refused'), ('2026-01-01T00:00+-5', 'refused'), ('2026-01-01T00:00+ 5', 'refused'), ('2026-01-01T 0:00Z', 'refused'),
  ('2026-01-01T00:00:1e1Z', 'refused'), ('2026-01-01T00:00:0x1Z', 'refused'), ('2026-01-01T00:00:.5Z', 'refused'), ('2026-01-01T00:00:00.Z', 'refused'), ('2026-01-01T00:00Zulu', 'refused'),
  (' 2026-01-01T00:00Z', 'refused'), ('2026-01-01T00:00Z ', 'refused'), ('1969-12-31T23:59Z', 'refused'), ('10000-01-01T00:00Z', 'refused'), ('-1-01-01T00:00Z', 'refused'),
  ('+', 'refused'), ('+ 1 day', 'refused'), ('1 day', 'refused'), ('+1', 'refused'), ('+1 week', 'refused'), ('+1 month', 'refused'), ('+1.5 days', 'refused'), ('+1 dayss', 'refused'), ('++1 day', 'refused'),
  ('+0x1 day', 'refused'), ('+1 day 2 hours', 'refused')) v(setting, want);
-- it is the transaction's: it stands while the transaction does
SELECT set_config('entrestate.clock', '+1 hour', true) AS clock, entrestate.clock_now() AS before \gset time_
SELECT is(entrestate.clock_now(), :'time_before'::timestamptz, 'within a transaction the time is one');
SELECT is(entrestate.clock_now() - now(), interval '1 hour', 'that of the transaction, shifted');
SELECT finish();
ROLLBACK;
