-- Windows: the first instant at which they are open, by the clocks of a zone (gate 14's arithmetic), and
-- the tenant's quiet hours.
\ir flow_lib.sql
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';
SELECT no_plan();

-- 'mon,tue 09:00-17:30; 22:00-02:00' as windows
CREATE FUNCTION pg_temp.w(list text) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
  SELECT jsonb_agg(CASE WHEN m[1] IS NULL THEN '{}' ELSE jsonb_build_object('days', string_to_array(m[1], ',')) END
    || jsonb_build_object('from', m[2], 'to', m[3]) ORDER BY o)
  FROM regexp_matches(list, '(?:([a-z,]+) )?(\d\d:\d\d)-(\d\d:\d\d)', 'g') WITH ORDINALITY r(m, o)
$$;
SELECT is(pg_temp.w('mon,tue 09:00-17:30; 22:00-02:00'), '[{"days": ["mon", "tue"], "from": "09:00", "to": "17:30"}, {"from": "22:00", "to": "02:00"}]', 'the test''s own notation');

-- ---------------------------------------------------------------- cases
-- 2026-01-05 is a Monday; Toronto's clocks change on Sundays: 2026-03-08 02:00 to 03:00, 2026-11-01 02:00 to 01:00
CREATE TEMP TABLE opening (no integer GENERATED ALWAYS AS IDENTITY, zone text, at timestamptz, windows text, quiet text, want timestamptz, what text);
INSERT INTO opening (zone, at, windows, quiet, want, what) VALUES
  -- what restricts
  ('America/Toronto', '2026-01-05T03:00:00-05:00', NULL, NULL, '2026-01-05T03:00:00-05:00', 'nothing restricts'),
  ('America/Toronto', '2026-01-05T03:00:00.123456-05:00', NULL, NULL, '2026-01-05T03:00:00.123456-05:00', 'nothing restricts, to the microsecond'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '00:00-24:00', NULL, '2026-01-05T03:00:00-05:00', 'every day, all day'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '00:00-12:00; 12:00-00:00', NULL, '2026-01-05T03:00:00-05:00', 'two halves of every day'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '05:00-04:59; 04:59-05:00', NULL, '2026-01-05T03:00:00-05:00', 'two halves that meet at another hour'),
  ('America/Toronto', '2026-01-11T23:59:30-05:00', 'mon,tue,wed,thu,fri,sat 00:00-24:00; sun 00:00-23:59', NULL, '2026-01-12T00:00:00-05:00', 'all but the week''s last minute'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', NULL, '00:00-24:00', NULL, 'all day quiet'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '09:00-10:00', '08:00-11:00', NULL, 'a window within the quiet hours'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '09:00-10:00', 'mon 08:00-11:00', '2026-01-06T09:00:00-05:00', 'within those of a day'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '09:00-10:00', '09:00-10:00', NULL, 'a window that is the quiet hours'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '09:00-10:00', '10:00-09:00', '2026-01-05T09:00:00-05:00', 'a window that is all that is not quiet'),
  ('America/Toronto', '2026-01-05T03:00:00-05:00', '09:00-10:00', '10:00-09:59', '2026-01-05T09:59:00-05:00', 'a minute is left'),
  ('America/Toronto', '2026-01-05T09:59:59.999999-05:00', '09:00-10:00', '10:00-09:59', '2026-01-05T09:59:59.999999-05:00', 'its last instant'),
  -- bounds
  ('America/Toronto', '2026-01-05T08:59:59.999999-05:00', '09:00-17:30', NULL, '2026-01-05T09:00:00-05:00', 'the last instant before'),
  ('America/Toronto', '2026-01-05T09:00:00-05:00', '09:00-17:30', NULL, '2026-01-05T09:00:00-05:00', 'the first within'),
  ('America/Toronto', '2026-01-05T12:34:56.789-05:00', '09:00-17:30', NULL, '2026-01-05T12:34:56.789-05:00', 'in the middle'),
  ('America/Toronto', '2026-01-05T17:29:59.999999-05:00', '09:00-17:30', NULL, '2026-01-05T17:29:59.999999-05:00', 'the last within'),
  ('America/Toronto', '2026-01-05T17:30:00-05:00', '09:00-17:30', NULL, '2026-01-06T09:00:00-05:00', 'its end is outside'),
  ('America/Toronto', '2026-01-05T23:59:59-05:00', '09:00-24:00', NULL, '2026-01-05T23:59:59-05:00', 'to 24:00'),
  ('America/Toronto', '2026-01-06T00:00:00-05:00', '09:00-24:00', NULL, '2026-01-06T09:00:00-05:00', 'and not longer'),
  ('America/Toronto', '2026-01-05T23:59:59-05:00', '09:00-00:00', NULL, '2026-01-05T23:59:59-05:00', 'to 00:00 is the same'),
  ('America/Toronto', '2026-01-06T00:00:00-05:00', '09:00-00:00', NULL, '2026-01-06T09:00:00-05:00', 'and not longer either'),
  ('America/Toronto', '2026-01-05T20:00:00-05:00', NULL, '21:00-09:00', '2026-01-05T20:00:00-05:00', 'before the quiet hours'),
  ('America/Toronto', '2026-01-05T20:59:59.999999-05:00', NULL, '21:00-09:00', '2026-01-05T20:59:59.999999-05:00', 'the last instant before them'),
  ('America/Toronto', '2026-01-05T21:00:00-05:00', NULL, '21:00-09:00', '2026-01-06T09:00:00-05:00', 'their first'),
  ('America/Toronto', '2026-01-06T08:59:59.999999-05:00', NULL, '21:00-09:00', '2026-01-06T09:00:00-05:00', 'their last, after midnight'),
  ('America/Toronto', '2026-01-06T09:00:00-05:00', NULL, '21:00-09:00', '2026-01-06T09:00:00-05:00', 'their end'),
  ('UTC', '1969-12-31T23:59:59.5Z', '00:00-01:00', NULL, '1970-01-01T00:00:00Z', 'before 1970'),
  ('UTC', '1999-12-31T23:59:59.999999Z', '00:00-01:00', NULL, '2000-01-01T00:00:00Z', 'before 2000, to the microsecond'),
  ('UTC', '1999-12-31T23:59:59.999999Z', '23:59-00:00', NULL, '1999-12-31T23:59:59.999999Z', 'before 2000, open'),
  ('UTC', '0001-01-01T00:00:00Z BC', 'sat 09:00-10:00', NULL, '0001-01-01T09:00:00Z BC', 'long ago'),
  ('UTC', '294276-12-31T12:00:00Z', '09:00-13:00', NULL, '294276-12-31T12:00:00Z', 'the last day, open'),
  ('UTC', '294276-12-31T13:00:00Z', '09:00-13:00', NULL, NULL, 'the last day, no more'),
  -- days
  ('America/Toronto', '2026-01-05T08:00:00-05:00', 'mon,tue,wed,thu,fri 09:00-17:30', NULL, '2026-01-05T09:00:00-05:00', 'a Monday'),
  ('America/Toronto', '2026-01-09T18:00:00-05:00', 'mon,tue,wed,thu,fri 09:00-17:30', NULL, '2026-01-12T09:00:00-05:00', 'over the weekend'),
  ('America/Toronto', '2026-01-11T23:59:59-05:00', 'mon 00:00-24:00', NULL, '2026-01-12T00:00:00-05:00', 'Sunday''s last second'),
  ('America/Toronto', '2026-01-13T00:00:00-05:00', 'mon 00:00-24:00', NULL, '2026-01-19T00:00:00-05:00', 'Monday is over'),
  ('America/Toronto', '2026-01-05T10:00:00-05:00', 'mon 09:00-10:00', NULL, '2026-01-12T09:00:00-05:00', 'nearly a week'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'mon,mon,wed 09:00-10:00', NULL, '2026-01-07T09:00:00-05:00', 'a day named twice'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'sun 08:00-09:00; thu 08:00-09:00; wed 12:00-13:00', NULL, '2026-01-07T12:00:00-05:00', 'in whatever order'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'tue 08:00-10:00; tue 09:00-09:15', NULL, '2026-01-06T09:30:00-05:00', 'one within another'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'tue 08:00-09:30; tue 09:30-10:00', NULL, '2026-01-06T09:30:00-05:00', 'one after another'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'sat 12:00-13:00', 'sat 12:00-12:30', '2026-01-10T12:30:00-05:00', 'quiet at its beginning'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', 'sat 12:00-13:00; sun 12:00-13:00', 'sat 00:00-24:00', '2026-01-11T12:00:00-05:00', 'a quiet day'),
  ('America/Toronto', '2026-01-06T09:30:00-05:00', NULL, 'tue,wed,thu,fri,sat,sun 00:00-24:00', '2026-01-12T00:00:00-05:00', 'quiet but for Mondays'),
  -- over midnight
  ('America/Toronto', '2026-01-09T21:59:59-05:00', 'fri 22:00-06:00', NULL, '2026-01-09T22:00:00-05:00', 'before Friday night'),
  ('America/Toronto', '2026-01-10T05:59:59-05:00', 'fri 22:00-06:00', NULL, '2026-01-10T05:59:59-05:00', 'Friday night on Saturday'),
  ('America/Toronto', '2026-01-09T05:00:00-05:00', 'fri 22:00-06:00', NULL, '2026-01-09T22:00:00-05:00', 'Friday morning is Thursday''s'),
  ('America/Toronto', '2026-01-10T06:00:00-05:00', 'fri 22:00-06:00', NULL, '2026-01-16T22:00:00-05:00', 'Saturday night is not Friday''s'),
  ('America/Toronto', '2026-01-12T03:00:00-05:00', 'sun 22:00-06:00', NULL, '2026-01-12T03:00:00-05:00', 'Sunday night on Monday'),
  ('America/Toronto', '2026-01-12T06:00:00-05:00', 'sun 22:00-06:00', NULL, '2026-01-18T22:00:00-05:00', 'and its end'),
  ('America/Toronto', '2026-01-11T22:30:00-05:00', 'mon 09:00-10:00', 'sun 22:00-09:30', '2026-01-12T09:30:00-05:00', 'a quiet Sunday night'),
  ('America/Toronto', '2026-01-12T22:30:00-05:00', '22:00-09:00', 'sun 21:00-09:00', '2026-01-12T22:30:00-05:00', 'a Monday night is not quiet'),
  ('America/Toronto', '2026-01-09T20:00:00-05:00', 'fri 22:00-06:00', '21:00-05:00', '2026-01-10T05:00:00-05:00', 'two nights that overlap'),
  ('America/Toronto', '2026-01-09T20:00:00-05:00', '22:00-21:59', '21:59-22:00', '2026-01-09T20:00:00-05:00', 'all but a minute'),
  -- Toronto loses an hour
  ('America/Toronto', '2026-03-08T01:59:59-05:00', '01:00-02:30', NULL, '2026-03-08T01:59:59-05:00', 'the last second before the gap'),
  ('America/Toronto', '2026-03-08T03:00:00-04:00', '01:00-02:30', NULL, '2026-03-09T01:00:00-04:00', 'a window that ends in the gap'),
  ('America/Toronto', '2026-03-08T00:00:00-05:00', '02:30-04:00', NULL, '2026-03-08T03:00:00-04:00', 'one that begins in the gap opens after it'),
  ('America/Toronto', '2026-03-08T00:00:00-05:00', '02:10-02:50', NULL, '2026-03-09T02:10:00-04:00', 'one that lies in the gap does not open that day'),
  ('America/Toronto', '2026-03-08T00:00:00-05:00', '02:00-03:00', NULL, '2026-03-09T02:00:00-04:00', 'one that is the gap'),
  ('America/Toronto', '2026-03-08T00:00:00-05:00', '02:00-03:01', NULL, '2026-03-08T03:00:00-04:00', 'a minute longer'),
  ('America/Toronto', '2026-03-08T00:00:00-05:00', '03:00-03:01', NULL, '2026-03-08T03:00:00-04:00', 'one that begins after it'),
  ('America/Toronto', '2026-03-07T12:00:00-05:00', '09:00-10:00', NULL, '2026-03-08T09:00:00-04:00', 'the morning after'),
  ('America/Toronto', '2026-03-07T23:00:00-05:00', NULL, '22:00-02:30', '2026-03-08T03:00:00-04:00', 'quiet hours that end in the gap'),
  ('America/Toronto', '2026-03-08T01:30:00-05:00', NULL, '02:00-03:00', '2026-03-08T01:30:00-05:00', 'quiet hours that are the gap'),
  ('America/Toronto', '2026-03-06T12:00:00-05:00', 'sun 02:10-02:50', NULL, '2026-03-15T02:10:00-04:00', 'Sunday''s lies in the gap: a week later, within nine days'),
  ('America/Toronto', '2026-03-06T01:10:00-05:00', 'sun 02:10-02:50', NULL, '2026-03-15T02:10:00-04:00', 'just so'),
  ('America/Toronto', '2026-03-06T03:10:00-05:00', 'sun 03:10-03:50', 'sun 00:00-24:00', NULL, 'never'),
  ('America/Toronto', '2026-03-06T01:09:59-05:00', 'sun 02:10-02:50', NULL, NULL, 'more than nine days: looked for again later'),
  -- and has one twice
  ('America/Toronto', '2026-10-31T12:00:00-04:00', '01:15-01:45', NULL, '2026-11-01T01:15:00-04:00', 'the first of two'),
  ('America/Toronto', '2026-11-01T01:45:00-04:00', '01:15-01:45', NULL, '2026-11-01T01:15:00-05:00', 'open a second time'),
  ('America/Toronto', '2026-11-01T01:20:00-05:00', '01:15-01:45', NULL, '2026-11-01T01:20:00-05:00', 'within the second time'),
  ('America/Toronto', '2026-11-01T01:45:00-05:00', '01:15-01:45', NULL, '2026-11-02T01:15:00-05:00', 'not a third time'),
  ('America/Toronto', '2026-11-01T01:59:59-04:00', '02:00-03:00', NULL, '2026-11-01T02:00:00-05:00', 'an hour and a second'),
  ('America/Toronto', '2026-11-01T00:30:00-04:00', NULL, '22:00-01:30', '2026-11-01T01:30:00-04:00', 'quiet hours that end in the hour end the first time'),
  ('America/Toronto', '2026-11-01T01:00:00-05:00', NULL, '22:00-01:30', '2026-11-01T01:30:00-05:00', 'and begin again with it'),
  ('America/Toronto', '2026-11-01T01:59:59-04:00', NULL, '22:00-01:30', '2026-11-01T01:59:59-04:00', 'in between not'),
  ('America/Toronto', '2026-11-01T01:30:00-04:00', '01:00-01:30', NULL, '2026-11-01T01:00:00-05:00', 'the window that had closed opens with the change'),
  ('America/Toronto', '2026-10-31T12:00:00-04:00', '09:00-10:00', NULL, '2026-11-01T09:00:00-05:00', 'the morning after'),
  -- half an hour, on Lord Howe
  ('Australia/Lord_Howe', '2026-10-04T01:00:00+10:30', '02:10-02:20', NULL, '2026-10-05T02:10:00+11:00', 'a window in half an hour''s gap'),
  ('Australia/Lord_Howe', '2026-10-04T01:00:00+10:30', '02:10-02:40', NULL, '2026-10-04T02:30:00+11:00', 'one that begins in it'),
  ('Australia/Lord_Howe', '2026-10-04T01:00:00+10:30', '02:30-02:40', NULL, '2026-10-04T02:30:00+11:00', 'one that begins with its end'),
  ('Australia/Lord_Howe', '2026-10-04T01:59:59+10:30', '01:30-02:00', NULL, '2026-10-04T01:59:59+10:30', 'before it'),
  ('Australia/Lord_Howe', '2026-04-05T01:20:00+11:00', '01:35-01:50', NULL, '2026-04-05T01:35:00+11:00', 'half an hour twice: the first'),
  ('Australia/Lord_Howe', '2026-04-05T01:50:00+11:00', '01:35-01:50', NULL, '2026-04-05T01:35:00+10:30', 'the second'),
  ('Australia/Lord_Howe', '2026-04-05T01:50:00+10:30', '01:35-01:50', NULL, '2026-04-06T01:35:00+10:30', 'and the next day'),
  ('Australia/Lord_Howe', '2026-04-05T01:45:00+11:00', NULL, '01:00-01:45', '2026-04-05T01:45:00+11:00', 'quiet until the quarter'),
  ('Australia/Lord_Howe', '2026-04-05T01:30:00+10:30', NULL, '01:00-01:45', '2026-04-05T01:45:00+10:30', 'and again'),
  -- odd offsets
  ('Asia/Kathmandu', '2026-01-05T08:59:00+05:45', 'mon 09:00-17:00', NULL, '2026-01-05T09:00:00+05:45', 'an odd offset'),
  ('Asia/Kathmandu', '2026-01-04T18:14:59Z', 'mon 00:00-24:00', NULL, '2026-01-04T18:15:00Z', 'Monday begins at a quarter past'),
  ('Asia/Kathmandu', '2026-01-05T18:15:00Z', 'mon 00:00-24:00', NULL, '2026-01-11T18:15:00Z', 'and ends there'),
  ('Asia/Kathmandu', '1985-12-31T23:00:00+05:30', '00:05-00:10', NULL, '1986-01-02T00:05:00+05:45', 'a quarter that never was'),
  ('Asia/Kathmandu', '1985-12-31T23:00:00+05:30', '00:05-00:20', NULL, '1986-01-01T00:15:00+05:45', 'and what begins in it'),
  ('Pacific/Chatham', '2026-04-05T03:30:00+13:45', '03:00-03:15', NULL, '2026-04-05T03:00:00+12:45', 'Chatham''s hour, twice'),
  ('America/St_Johns', '2011-03-12T23:00:00-03:30', '00:00-00:01', NULL, '2011-03-13T00:00:00-03:30', 'a minute after midnight'),
  ('America/St_Johns', '2011-03-12T23:00:00-03:30', '00:30-01:30', NULL, '2011-03-13T01:01:00-02:30', 'a gap that begins then'),
  ('Africa/Monrovia', '1971-12-31T00:00:00-00:44:30', '09:00-10:00', NULL, '1971-12-31T09:00:00-00:44:30', 'an offset with seconds'),
  ('Africa/Monrovia', '1972-01-06T23:00:00-00:44:30', '00:30-00:40', NULL, '1972-01-08T00:30:00Z', 'a gap that ends at 44 minutes and 30 seconds'),
  ('Africa/Monrovia', '1972-01-06T23:00:00-00:44:30', '00:44-00:45', NULL, '1972-01-07T00:44:30Z', 'in the middle of a minute'),
  ('Antarctica/Troll', '2026-03-29T00:30:00Z', '01:30-02:30', NULL, '2026-03-30T01:30:00+02:00', 'a gap of two hours'),
  ('Africa/Casablanca', '2026-02-14T12:00:00+01:00', '02:30-02:45', NULL, '2026-02-15T02:30:00+01:00', 'Ramadan begins: the hour the first time'),
  ('Africa/Casablanca', '2026-02-15T02:45:00+01:00', '02:30-02:45', NULL, '2026-02-15T02:30:00+00:00', 'and the second'),
  ('Europe/Dublin', '2026-03-29T00:00:00+00:00', '01:10-01:20; 02:05-02:10', NULL, '2026-03-29T02:05:00+01:00', 'a winter that is the exception'),
  -- changes at midnight
  ('America/Havana', '2026-03-07T23:30:00-05:00', '00:00-01:00', NULL, '2026-03-09T00:00:00-04:00', 'a midnight that does not come: Havana'),
  ('America/Havana', '2026-03-07T23:30:00-05:00', 'sun 00:00-24:00', NULL, '2026-03-08T01:00:00-04:00', 'Sunday begins at one'),
  ('America/Havana', '2026-03-07T23:59:59-05:00', 'sat 22:00-00:30', NULL, '2026-03-07T23:59:59-05:00', 'Saturday night'),
  ('America/Havana', '2026-03-08T01:00:00-04:00', 'sat 22:00-00:30', NULL, '2026-03-14T22:00:00-04:00', 'is cut short'),
  ('America/Havana', '2024-11-03T00:45:00-04:00', '00:15-00:30', NULL, '2024-11-03T00:15:00-05:00', 'the hour after midnight comes twice'),
  ('America/Havana', '2024-11-03T00:45:00-04:00', NULL, '22:00-00:30', '2024-11-03T00:45:00-04:00', 'and its quiet half'),
  ('America/Havana', '2024-11-03T00:00:00-05:00', NULL, '22:00-00:30', '2024-11-03T00:30:00-05:00', 'twice'),
  ('Asia/Beirut', '2026-03-28T23:00:00+02:00', '00:00-00:30', NULL, '2026-03-30T00:00:00+03:00', 'a midnight that does not come: Beirut'),
  ('Asia/Beirut', '2026-03-28T23:00:00+02:00', NULL, '22:00-00:30', '2026-03-29T01:00:00+03:00', 'quiet hours that end in it'),
  ('Asia/Beirut', '2026-10-24T23:30:00+03:00', 'sun 00:00-09:00', NULL, '2026-10-25T00:00:00+02:00', 'an hour before midnight that comes twice'),
  ('Asia/Beirut', '2026-10-24T23:59:59+03:00', 'sat 23:00-23:30', NULL, '2026-10-24T23:00:00+02:00', 'Saturday goes on'),
  ('America/Sao_Paulo', '2018-11-03T23:30:00-03:00', '22:00-23:00; 00:30-01:30', NULL, '2018-11-04T01:00:00-02:00', 'São Paulo'),
  -- days that do not come, or come twice
  ('Pacific/Apia', '2011-12-29T23:00:00-10:00', 'fri 00:00-24:00', NULL, '2012-01-06T00:00:00+14:00', 'no Friday on Samoa'),
  ('Pacific/Apia', '2011-12-29T12:00:00-10:00', '09:00-10:00', NULL, '2011-12-31T09:00:00+14:00', 'tomorrow is the day after'),
  ('Pacific/Apia', '2011-12-29T23:00:00-10:00', 'fri 22:00-06:00', NULL, '2011-12-31T00:00:00+14:00', 'Friday night begins in the gap'),
  ('Pacific/Apia', '2011-12-29T23:59:59-10:00', 'thu 22:00-06:00', NULL, '2011-12-29T23:59:59-10:00', 'Thursday night'),
  ('Pacific/Apia', '2011-12-30T10:00:00Z', 'thu 22:00-06:00', NULL, '2012-01-05T22:00:00+14:00', 'ends with Thursday'),
  ('Pacific/Apia', '2011-12-29T23:30:00-10:00', NULL, '21:00-09:00', '2011-12-31T09:00:00+14:00', 'a quiet night over the missing day'),
  ('Pacific/Kwajalein', '1993-08-20T23:00:00-12:00', 'sat 00:00-24:00', NULL, '1993-08-28T00:00:00+12:00', 'no Saturday on Kwajalein'),
  ('America/Juneau', '1867-10-19T14:00:00+15:02:19', 'fri 15:00-16:00', NULL, '1867-10-18T15:33:32-08:57:41', 'Alaska''s second Friday begins in the afternoon'),
  ('America/Juneau', '1867-10-18T16:00:00+15:02:19', 'fri 15:40-15:50', NULL, '1867-10-18T15:40:00-08:57:41', 'after its first');
SELECT is(entrestate.window_opening(at, zone, pg_temp.w(windows), pg_temp.w(quiet)), want, format('%s: %s', zone, what)) FROM opening ORDER BY no;
SELECT cmp_ok(count(*), '>=', 80::bigint, 'a table') FROM opening;

-- without quiet hours, and with none
SELECT is(entrestate.window_opening(at, zone, pg_temp.w(windows)), want, 'quiet hours may be left out: ' || what) FROM opening WHERE quiet IS NULL AND no % 10 = 0 ORDER BY no;
SELECT is(entrestate.window_opening(at, zone, coalesce(pg_temp.w(windows), '[]'), coalesce(pg_temp.w(quiet), '[]')), want, 'an empty array is no restriction: ' || what)
FROM opening WHERE (quiet IS NULL OR windows IS NULL) AND no % 5 = 0 ORDER BY no;
-- an opening is open
SELECT is((SELECT count(*) FROM opening WHERE entrestate.window_opening(want, zone, pg_temp.w(windows), pg_temp.w(quiet)) <> want), 0::bigint, 'an opening is open');

-- the session's settings play no part
CREATE FUNCTION pg_temp.differ(zone text, style text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('timezone', zone, true), set_config('datestyle', style, true);
  RETURN (SELECT count(*) FROM opening o WHERE entrestate.window_opening(o.at, o.zone, pg_temp.w(o.windows), pg_temp.w(o.quiet)) IS DISTINCT FROM o.want);
END
$$;
SELECT is(pg_temp.differ(z, s), 0::bigint, format('in a session in %s, %s', z, s))
FROM (VALUES ('America/Toronto', 'ISO, MDY'), ('Australia/Lord_Howe', 'German'), ('Asia/Kathmandu', 'SQL, DMY')) v(z, s);
SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, MDY';

-- ---------------------------------------------------------------- the rule, minute by minute

-- A window is open when the clocks show the day and time of one of its minutes. Written for every minute anew:
-- none of window.c's weeks, spans and jumps.
CREATE FUNCTION pg_temp.inside(froms text[], tos text[], days text[], l timestamp) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  m text COLLATE "C" := to_char(l, 'HH24:MI');
  today text := to_char(l, 'dy');
  yesterday text := to_char(l - interval '1 day', 'dy');
BEGIN
  FOR i IN 1 .. coalesce(cardinality(froms), 0) LOOP
    IF (CASE WHEN froms[i] < tos[i] THEN m >= froms[i] AND m < tos[i] AND strpos(days[i], today) > 0
         ELSE m >= froms[i] AND strpos(days[i], today) > 0 OR m < tos[i] AND strpos(days[i], yesterday) > 0 END) THEN
      RETURN true;
    END IF;
  END LOOP;
  RETURN false;
END
$$;
CREATE FUNCTION pg_temp.lists(windows jsonb, OUT froms text[], OUT tos text[], OUT days text[]) IMMUTABLE LANGUAGE sql AS $$
  SELECT array_agg(w ->> 'from' ORDER BY o), array_agg(w ->> 'to' ORDER BY o), array_agg(coalesce((w -> 'days')::text, 'mon tue wed thu fri sat sun') ORDER BY o)
  FROM jsonb_array_elements(windows) WITH ORDINALITY x(w, o)
$$;
CREATE FUNCTION pg_temp.oracle(at timestamptz, zone text, windows jsonb, quiet jsonb) RETURNS timestamptz STABLE LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz := at;
  l timestamp;
  w record := pg_temp.lists(windows);
  q record := pg_temp.lists(quiet);
BEGIN
  WHILE t <= at + interval '216 hours' LOOP
    l := t AT TIME ZONE zone;
    IF (w.froms IS NULL OR pg_temp.inside(w.froms, w.tos, w.days, l)) AND (q.froms IS NULL OR NOT pg_temp.inside(q.froms, q.tos, q.days, l)) THEN
      RETURN t;
    END IF;
    t := date_trunc('minute', t) + interval '1 minute';
  END LOOP;
  RETURN NULL;
END
$$;
-- it agrees with the table, where offsets are of whole minutes
SELECT is(pg_temp.oracle(at, zone, pg_temp.w(windows), pg_temp.w(quiet)), want, 'the oracle: ' || what)
FROM opening WHERE zone NOT IN ('Africa/Monrovia', 'America/Juneau') AND at < '294276-01-01' AND want IS NOT NULL AND no % 3 = 0 ORDER BY no;

CREATE TEMP TABLE change (no integer GENERATED ALWAYS AS IDENTITY, zone text, at timestamptz);
INSERT INTO change (zone, at) VALUES
  ('America/Toronto', '2026-03-08T07:00:00Z'), ('America/Toronto', '2026-11-01T06:00:00Z'), ('Australia/Lord_Howe', '2026-10-03T15:30:00Z'),
  ('Australia/Lord_Howe', '2026-04-04T15:00:00Z'), ('America/Havana', '2026-03-08T05:00:00Z'), ('America/Havana', '2024-11-03T05:00:00Z'),
  ('Asia/Beirut', '2026-03-28T22:00:00Z'), ('Asia/Beirut', '2026-10-24T21:00:00Z'), ('Pacific/Apia', '2011-12-30T10:00:00Z'), ('Pacific/Apia', '2011-09-24T14:00:00Z'),
  ('Asia/Kathmandu', '1985-12-31T18:30:00Z'), ('America/St_Johns', '2011-03-13T03:31:00Z'), ('Pacific/Chatham', '2026-04-04T14:00:00Z'),
  ('Antarctica/Troll', '2026-03-29T01:00:00Z'), ('Africa/Casablanca', '2026-02-15T02:00:00Z'), ('Pacific/Kwajalein', '1993-08-21T12:00:00Z'), ('Asia/Kathmandu', '2026-06-01T00:00:00Z');

-- pseudo-random numbers that are the same everywhere
CREATE FUNCTION pg_temp.r(seed text, below integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$
  SELECT ('x' || substr(md5('windows ' || seed), 1, 7))::bit(28)::integer % below
$$;
-- n windows; every other one begins within two hours of the change's local time
CREATE FUNCTION pg_temp.some(seed text, n integer, near integer, longest integer) RETURNS jsonb IMMUTABLE LANGUAGE sql AS $$
  SELECT jsonb_agg(CASE WHEN pg_temp.r(s || 'd', 3) = 0 THEN '{}' ELSE jsonb_build_object('days', (SELECT jsonb_agg(d) FROM
      (SELECT d FROM unnest('{mon,tue,wed,thu,fri,sat,sun}'::text[]) d ORDER BY md5(s || d) LIMIT 1 + pg_temp.r(s || 'n', 4)) y)) END
    || jsonb_build_object('from', to_char(f * interval '1 minute', 'HH24:MI'),
      'to', to_char((f + 5 + 5 * pg_temp.r(s || 'l', longest)) % 1440 * interval '1 minute', 'HH24:MI')))
  FROM generate_series(1, n) i, LATERAL (SELECT seed || i) x(s),
    LATERAL (SELECT CASE WHEN i % 2 = 1 THEN (near + 1440 - 120 + 5 * pg_temp.r(s || 'f', 48)) % 1440 ELSE 5 * pg_temp.r(s || 'f', 288) END) z(f)
$$;
CREATE TEMP TABLE drawn AS
SELECT i AS no, c.zone, c.at + (CASE WHEN i % 2 = 0 THEN pg_temp.r(i || 'a', 720) - 600 ELSE pg_temp.r(i || 'a', 12000) - 11000 END) * interval '1 minute'
    + CASE WHEN i % 3 = 0 THEN pg_temp.r(i || 's', 60) ELSE 0 END * interval '1.000001 seconds' AS at,
  c.at AS change, pg_temp.some(i || 'w', pg_temp.r(i || 'c', 4), near, 60) AS windows, pg_temp.some(i || 'q', pg_temp.r(i || 'e', 3), near, 200) AS quiet
FROM generate_series(1, 340) i JOIN change c ON c.no = i % 17 + 1
CROSS JOIN LATERAL (SELECT extract(epoch FROM (c.at AT TIME ZONE c.zone)::time)::integer / 60) x(near);
CREATE TEMP TABLE seen AS
SELECT d.*, entrestate.window_opening(d.at, d.zone, d.windows, d.quiet) AS got, pg_temp.oracle(d.at, d.zone, d.windows, d.quiet) AS want FROM drawn d;
SELECT is((SELECT string_agg(format('%s from %s: %s, not %s: %s quiet %s', zone, at, got, want, windows, quiet), E'\n' ORDER BY no) FROM seen WHERE got IS DISTINCT FROM want),
  NULL, 'minute by minute over nine days, in many zones');
-- and these are cases that could differ
SELECT cmp_ok(count(*), '>=', 300::bigint, 'hundreds of cases') FROM seen;
SELECT cmp_ok(count(*), '>=', 100::bigint, 'that are not open at once') FROM seen WHERE want > at;
SELECT cmp_ok(count(*), '>=', 60::bigint, 'that open after a change') FROM seen WHERE at < change AND want >= change;
SELECT cmp_ok(count(*), '>=', 5::bigint, 'that open with a change') FROM seen WHERE at < change AND want = change;
SELECT cmp_ok(count(*), '>=', 50::bigint, 'that are open at once') FROM seen WHERE want = at;
SELECT cmp_ok(count(*), '>=', 3::bigint, 'that never open') FROM seen WHERE want IS NULL;

-- ---------------------------------------------------------------- what leaves nothing
CREATE TEMP TABLE meeting (no integer GENERATED ALWAYS AS IDENTITY, a text, b text, quiet text, want boolean);
INSERT INTO meeting (a, b, quiet, want) VALUES
  (NULL, NULL, NULL, true), ('09:00-10:00', NULL, NULL, true), (NULL, '09:00-10:00', NULL, true), (NULL, NULL, '09:00-10:00', true), (NULL, NULL, '00:00-24:00', false),
  (NULL, NULL, '00:00-23:59', true), (NULL, NULL, 'mon,tue,wed,thu,fri,sat 00:00-24:00', true), (NULL, NULL, 'mon,tue,wed,thu,fri,sat,sun 00:00-24:00', false),
  (NULL, NULL, '12:00-11:59', true), (NULL, NULL, '12:00-11:59; 11:59-12:00', false), ('09:00-10:00', '10:00-11:00', NULL, false), ('09:00-10:01', '10:00-11:00', NULL, true),
  ('mon 09:00-10:00', 'tue 09:00-10:00', NULL, false), ('mon,tue 09:00-10:00', 'tue,wed 09:00-10:00', NULL, true), ('mon 22:00-06:00', 'tue 05:59-09:00', NULL, true),
  ('mon 22:00-06:00', 'tue 06:00-09:00', NULL, false), ('sun 22:00-06:00', 'mon 05:00-09:00', NULL, true), ('sun 22:00-06:00', 'mon 06:00-22:00; sun 09:00-22:00', NULL, false),
  ('09:00-12:00', '11:00-14:00', '11:00-12:00', false), ('09:00-12:00', '11:00-14:00', '11:00-11:59', true), ('09:00-12:00', '11:00-14:00', 'mon,tue,wed,thu,fri,sun 00:00-24:00', true),
  ('sat 09:00-12:00', 'mon,sat 11:00-14:00', 'sat 00:00-24:00', false), ('sat 09:00-12:00', NULL, 'fri 12:00-12:00', NULL), ('sat 09:00-12:00', NULL, 'fri 20:00-12:00', false),
  ('sat 09:00-12:00; mon 01:00-02:00', 'sun 01:00-02:00; mon 00:30-01:01', 'sun 20:00-00:59', true), ('sat 09:00-12:00; mon 01:00-02:00', 'sun 01:00-02:00; mon 00:30-01:01', 'sun 20:00-01:01', false);
SELECT is(entrestate.windows_intersect(pg_temp.w(a), pg_temp.w(b), pg_temp.w(quiet)), want, format('%s and %s, quiet %s', a, b, quiet)) FROM meeting WHERE want IS NOT NULL ORDER BY no;
SELECT throws_ok(format('SELECT entrestate.windows_intersect(%L, %L, %L)', pg_temp.w(a), pg_temp.w(b), pg_temp.w(quiet)), '22023', 'windows has an entry that is not a window', 'no window') FROM meeting WHERE want IS NULL;
-- against every five minutes of a week
CREATE TEMP TABLE met AS
SELECT d.windows AS a, e.windows AS b, d.quiet, entrestate.windows_intersect(d.windows, e.windows, d.quiet) AS got,
  EXISTS (SELECT FROM generate_series(timestamp '2026-01-05', '2026-01-11 23:55', '5 minutes') l
    WHERE pg_temp.inside(a.froms, a.tos, a.days, l) AND pg_temp.inside(b.froms, b.tos, b.days, l) AND NOT pg_temp.inside(q.froms, q.tos, q.days, l)) AS want
FROM drawn d JOIN drawn e ON e.no = d.no + 17, pg_temp.lists(d.windows) a, pg_temp.lists(e.windows) b, pg_temp.lists(d.quiet) q
WHERE d.no <= 60 AND d.windows IS NOT NULL AND e.windows IS NOT NULL;
SELECT is((SELECT string_agg(format('%s and %s, quiet %s', a, b, quiet), E'\n') FROM met WHERE got <> want), NULL, 'whether they have a minute in common');
SELECT cmp_ok(count(*), '>=', 5::bigint, format('and some are %s', w)) FROM unnest('{true,false}'::boolean[]) w LEFT JOIN met ON met.want = w GROUP BY w;

-- ---------------------------------------------------------------- the tenant's quiet hours
SELECT flow.at('2026-01-05T10:00:00Z'), flow.make('calm', '{email 0,sms 1 day}') \g /dev/null
CREATE TEMP TABLE kept AS SELECT c.policy_version, t.policy_version AS tenant_version FROM flow.tenant f
  JOIN entrestate.tenants t ON t.tenant_id = f.tenant JOIN entrestate.campaigns c ON c.tenant_id = f.tenant AND c.campaign_id = f.campaign WHERE f.name = 'calm';
SELECT is(entrestate.tenant_get() -> 'quiet_hours', 'null', 'a new tenant has none') FROM flow.enter('calm');
SELECT lives_ok($$SELECT entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "09:00"}, {"days": ["sun"], "from": "00:00", "to": "24:00"}]')$$, 'quiet hours can be set');
SELECT is(entrestate.tenant_get() -> 'quiet_hours', '[{"from": "21:00", "to": "09:00"}, {"days": ["sun"], "from": "00:00", "to": "24:00"}]', 'they are kept');
SELECT is(entrestate.policy_get(f.campaign) -> 'policy' -> 'tenant' -> 'quietHours', '[{"from": "21:00", "to": "09:00"}, {"days": ["sun"], "from": "00:00", "to": "24:00"}]', 'and in the policy that decisions refer to') FROM flow.tenant f WHERE f.name = 'calm';
SELECT is((SELECT (c.policy_version - k.policy_version, t.policy_version - k.tenant_version)::text FROM kept k, flow.tenant f
  JOIN entrestate.tenants t ON t.tenant_id = f.tenant JOIN entrestate.campaigns c ON c.tenant_id = f.tenant AND c.campaign_id = f.campaign WHERE f.name = 'calm'), '(1,1)', 'which is a new version');
SELECT is((SELECT array_agg(a.action || ' ' || a.actor || ' ' || (a.detail -> 'quietHours' -> 1 -> 'days')) FROM entrestate.audit_log a JOIN flow.tenant f ON f.tenant = a.tenant_id AND f.name = 'calm' WHERE a.action LIKE '%quiet%'),
  '{"tenant.quiet_hours.set boss [\"sun\"]"}', 'the audit log says who');
SELECT throws_ok($$SELECT entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "20:00"}, {"from": "20:00", "to": "21:00"}]')$$, '22023', 'quiet_hours leaves nothing of the week', 'something is left of the week');
SELECT throws_ok($$SELECT entrestate.tenant_quiet_hours_set('[{"from": "21:00"}]')$$, '22023', 'quiet_hours has an entry that is not a window', 'as with windows');
SELECT is(entrestate.tenant_get() -> 'quiet_hours' -> 0 ->> 'to', '09:00', 'what is refused changes nothing');
SELECT lives_ok($$SELECT entrestate.tenant_quiet_hours_set('[]')$$, 'an empty array');
SELECT is(entrestate.tenant_get() -> 'quiet_hours', 'null', 'clears them');
SELECT lives_ok($$SELECT entrestate.tenant_quiet_hours_set('[{"from": "21:00", "to": "09:00"}]'), entrestate.tenant_quiet_hours_set(NULL)$$, 'so does NULL');
SELECT is(entrestate.tenant_get() -> 'quiet_hours', 'null', 'and they are gone');
SELECT ok(NOT entrestate.policy_get(f.campaign) -> 'policy' -> 'tenant' ? 'quietHours', 'from the policy, too') FROM flow.tenant f WHERE f.name = 'calm';
SELECT is_empty('SELECT * FROM entrestate.verify()', 'a healthy system');

SELECT * FROM finish();
ROLLBACK;
