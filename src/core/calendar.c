/*
 * calendar.c
 *		Delays by the calendar of a place.
 *
 * Days and months are added to the local date, hours and less exactly.  A
 * local time that a change of the clocks skips is the first instant after the
 * gap; one that occurs twice is its first.  The session's TimeZone and
 * DateStyle play no part (PostgreSQL's own timestamptz + interval uses them,
 * and chooses differently in gaps and folds).
 */
#include "core/core.h"

#include "common/int.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/*
 * local_to_instant returns the first instant (Unix seconds) at which the
 * clocks of a zone show "local" (seconds as if it were UTC) or later.
 */
static pg_time_t
local_to_instant(pg_time_t local, const pg_tz *tz, bool *in_gap)
{
	pg_time_t	from = local - 2 * SECS_PER_DAY;	/* no zone is that far off */

	for (;;)
	{
		long		before,
					after;
		int			before_dst,
					after_dst;
		pg_time_t	boundary;
		int			rc = pg_next_dst_boundary(&from, &before, &before_dst,
											  &boundary, &after, &after_dst, tz);

		*in_gap = false;
		if (rc <= 0 || local - before < boundary)
			return local - before;	/* no change any more, or before it */
		if (local - after < boundary)
		{
			*in_gap = true;
			return boundary;
		}
		from = boundary;
	}
}

/* es_add_delay adds a delay by the calendar of a zone. */
TimestampTz
es_add_delay(TimestampTz at, const Interval *delay, pg_tz *tz)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	int64		result = at;

	/* an infinite delay (from 17 on) has too many months */
	if (TIMESTAMP_NOT_FINITE(at))
		goto out_of_range;
	if (delay->month != 0 || delay->day != 0)
	{
		int64		day;
		pg_time_t	local;
		bool		in_gap;

		if (timestamp2tm(at, &offset, &tm, &fsec, NULL, tz) != 0)
			goto out_of_range;
		if (delay->month != 0)
		{
			int64		months = (int64) tm.tm_year * 12 + tm.tm_mon - 1 + delay->month;
			int64		years = months / 12 - (months % 12 < 0);	/* rounded down */

			if (years < -4713 || years > 294277)
				goto out_of_range;
			tm.tm_year = years;
			tm.tm_mon = months - years * 12 + 1;
			/* the 31st of a shorter month is its last day */
			day = day_tab[isleap(tm.tm_year)][tm.tm_mon - 1];
			if (tm.tm_mday > day)
				tm.tm_mday = day;
		}
		day = (int64) date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + delay->day;
		/* some days more than a timestamp has, so that nothing below overflows */
		if (day < -2 || day > TIMESTAMP_END_JULIAN + 2)
			goto out_of_range;
		local = (pg_time_t) (day - UNIX_EPOCH_JDATE) * SECS_PER_DAY +
			(tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec;
		result = (local_to_instant(local, tz, &in_gap) - UNIX_SHIFT) * USECS_PER_SEC;
		if (!in_gap)
			result += fsec;
	}
	if (!pg_add_s64_overflow(result, delay->time, &result) &&
		IS_VALID_TIMESTAMP(result))
		return result;

out_of_range:
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

/* es_zone finds a time zone; raises when there is no such name. */
pg_tz *
es_zone(const char *name)
{
	/* the last one: leads of one place follow each other, and PostgreSQL, which keeps
	 * zones for ever, folds and hashes the name each time */
	static char last[TZ_STRLEN_MAX + 1];
	static pg_tz *last_tz;
	pg_tz	   *tz;

	if (last_tz != NULL && strcmp(last, name) == 0)
		return last_tz;
	tz = pg_tzset(name);
	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("time zone \"%s\" not recognized", name)));
	strlcpy(last, name, sizeof(last));
	last_tz = tz;
	return tz;
}

PG_FUNCTION_INFO_V1(core_add_delay);

Datum
core_add_delay(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(es_add_delay(PG_GETARG_TIMESTAMPTZ(0),
									   PG_GETARG_INTERVAL_P(1),
									   es_zone(text_to_cstring(PG_GETARG_TEXT_PP(2)))));
}

PG_FUNCTION_INFO_V1(core_zone_known);

/* core_zone_known(name) tells whether the time zone database has a name. */
Datum
core_zone_known(PG_FUNCTION_ARGS)
{
	pg_tz	   *tz = pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(tz != NULL && pg_tz_acceptable(tz));
}
