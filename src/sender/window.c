/*
 * window.c
 *		Gate 14's arithmetic: the first instant at which windows are open.
 *
 * A window is {"days": ["mon", ...], "from": "09:00", "to": "17:30"}: without
 * days it is every day, "to" does not belong to it and may be 24:00, and one
 * that ends before it begins goes over midnight and belongs to the day it begins
 * on.  Whether a window is open is told by the clock on the wall alone.  So it is
 * open both times in an hour that comes twice, one that begins in a gap opens
 * right after it, and one that lies wholly in a gap does not open that day.
 *
 * No SPI, no clock, no session setting: the same arguments give the same
 * instant.
 */
#include "core/core.h"
#include "sender/window.h"

#include "utils/builtins.h"
#include "utils/datetime.h"

#define DAY_MINUTES		(24 * 60)
#define WEEK_MINUTES	(7 * DAY_MINUTES)
#define WEEK_SECS		(7 * SECS_PER_DAY)
#define WINDOWS_MAX		50

/* 1970-01-01 was a Thursday; our weeks begin on Monday. */
#define EPOCH_WEEK_SECS	(3 * SECS_PER_DAY)
#define UNIX_SHIFT		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* Minutes of the week that are open; "to" is not one of them. */
typedef struct WindowSpan
{
	int16		from;
	int16		to;
} WindowSpan;

/* In order, none empty, and none touches the next. */
struct WindowSet
{
	int			n;
	WindowSpan	spans[FLEXIBLE_ARRAY_MEMBER];
};

/* ---------------------------------------------------------------- reading */

static void
not_windows(void)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("windows is not an array of at most %d windows", WINDOWS_MAX),
			 errhint("Write [{\"days\": [\"mon\", \"tue\"], \"from\": \"09:00\", \"to\": \"17:30\"}].")));
}

static void
not_a_window(void)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("windows has an entry that is not a window"),
			 errhint("A window is {\"days\": [\"mon\", …], \"from\": \"09:00\", \"to\": \"17:30\"}, in local time; without days it is every day, and one that ends before it begins goes over midnight.")));
}

/* read_minute reads HH:MM, at most "most" minutes of a day. */
static int
read_minute(const JsonbValue *v, int most)
{
	const char *s = v->val.string.val;
	int			m;

	if (v->type != jbvString || v->val.string.len != 5 || s[2] != ':' ||
		s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9' ||
		s[3] < '0' || s[3] > '5' || s[4] < '0' || s[4] > '9')
		not_a_window();
	m = ((s[0] - '0') * 10 + s[1] - '0') * 60 + (s[3] - '0') * 10 + s[4] - '0';
	if (m > most)
		not_a_window();
	return m;
}

/* read_days reads an array of names to a bit for each day, Monday's first. */
static int
read_days(const JsonbValue *v)
{
	static const char names[7][4] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	JsonbContainer *c = v->val.binary.data;
	int			days = 0;

	if (v->type != jbvBinary || !JsonContainerIsArray(c) || JsonContainerSize(c) == 0)
		not_a_window();
	for (uint32 i = 0; i < JsonContainerSize(c); i++)
	{
		JsonbValue *name = getIthJsonbValueFromContainer(c, i);
		int			day;

		for (day = 0; day < 7; day++)
			if (name->type == jbvString && name->val.string.len == 3 &&
				memcmp(name->val.string.val, names[day], 3) == 0)
				break;
		if (day == 7)
			not_a_window();
		days |= 1 << day;
		pfree(name);
	}
	return days;
}

/* read_window adds a window's spans to a set. */
static void
read_window(WindowSet *set, const JsonbValue *v)
{
	JsonbContainer *c = v->val.binary.data;
	JsonbValue	value;
	int			from,
				to,
				days = 0x7f;
	uint32		keys = 2;

	if (v->type != jbvBinary || !JsonContainerIsObject(c))
		not_a_window();
	if (getKeyJsonValueFromContainer(c, "from", 4, &value) == NULL)
		not_a_window();
	from = read_minute(&value, DAY_MINUTES - 1);
	if (getKeyJsonValueFromContainer(c, "to", 2, &value) == NULL)
		not_a_window();
	to = read_minute(&value, DAY_MINUTES);
	if (getKeyJsonValueFromContainer(c, "days", 4, &value) != NULL)
	{
		days = read_days(&value);
		keys++;
	}
	if (from == to || JsonContainerSize(c) != keys)
		not_a_window();
	if (to < from)
		to += DAY_MINUTES;

	for (int day = 0; day < 7; day++)
	{
		int			begin = day * DAY_MINUTES + from;
		int			end = day * DAY_MINUTES + to;

		if (!(days & 1 << day))
			continue;
		set->spans[set->n].from = begin;
		set->spans[set->n++].to = Min(end, WEEK_MINUTES);
		if (end > WEEK_MINUTES)
		{
			set->spans[set->n].from = 0;
			set->spans[set->n++].to = end - WEEK_MINUTES;
		}
	}
}

static int
compare_spans(const void *a, const void *b)
{
	return ((const WindowSpan *) a)->from - ((const WindowSpan *) b)->from;
}

/*
 * windows_parse reads an array of windows, or with "quiet" an array of hours in
 * which nothing is open.  NULL and an empty array are no restriction, and so are
 * windows that leave nothing out: the result is NULL.  What is returned lives in
 * the current memory context.  Raises 22023 for anything else.
 */
WindowSet *
windows_parse(Jsonb *j, bool quiet)
{
	WindowSet  *set;
	int			count,
				n = 0;

	if (j == NULL)
		return NULL;
	if (!JB_ROOT_IS_ARRAY(j) || JB_ROOT_IS_SCALAR(j) || JB_ROOT_COUNT(j) > WINDOWS_MAX)
		not_windows();
	count = JB_ROOT_COUNT(j);
	if (count == 0)
		return NULL;

	/* one for each day, one more where Sunday's goes on on Monday */
	set = palloc(offsetof(WindowSet, spans) + (count * 8 + 1) * sizeof(WindowSpan));
	set->n = 0;
	for (int i = 0; i < count; i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(&j->root, i);

		read_window(set, v);
		pfree(v);
	}

	/* in order, and those that overlap or touch made one */
	qsort(set->spans, set->n, sizeof(WindowSpan), compare_spans);
	for (int i = 1; i < set->n; i++)
	{
		if (set->spans[i].from > set->spans[n].to)
			set->spans[++n] = set->spans[i];
		else if (set->spans[i].to > set->spans[n].to)
			set->spans[n].to = set->spans[i].to;
	}
	set->n = n + 1;

	if (quiet)
	{
		int16		from = 0;

		/* what lies between them */
		n = 0;
		for (int i = 0; i < set->n; i++)
		{
			WindowSpan	closed = set->spans[i];

			if (from < closed.from)
			{
				set->spans[n].from = from;
				set->spans[n++].to = closed.from;
			}
			from = closed.to;
		}
		if (from < WEEK_MINUTES)
		{
			set->spans[n].from = from;
			set->spans[n++].to = WEEK_MINUTES;
		}
		set->n = n;
	}
	if (set->n == 1 && set->spans[0].from == 0 && set->spans[0].to == WEEK_MINUTES)
	{
		pfree(set);
		return NULL;
	}
	return set;
}

/* ---------------------------------------------------------------- looking */

/*
 * set_next returns the first minute from one of a week on that a set has; in
 * the next week where this one has none, after it where the set has none at all.
 */
static int
set_next(const WindowSet *set, int minute)
{
	int			low = 0,
				high = set->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (set->spans[middle].to > minute)
			high = middle;
		else
			low = middle + 1;
	}
	if (low < set->n)
		return Max(minute, set->spans[low].from);
	return set->n > 0 ? WEEK_MINUTES + set->spans[0].from : 2 * WEEK_MINUTES;
}

/*
 * all_next returns the first minute from one of a week on, less than a week
 * later, that all sets have; -1 when there is none.
 */
static int
all_next(const WindowSet *const *sets, int n, int minute)
{
	int			candidate = minute;
	int			agreed = 0;

	for (int i = 0; agreed < n; i = (i + 1) % n)
	{
		if (sets[i] != NULL)
		{
			int			week = candidate / WEEK_MINUTES * WEEK_MINUTES;
			int			next = week + set_next(sets[i], candidate - week);

			if (next >= minute + WEEK_MINUTES)
				return -1;
			if (next > candidate)
			{
				candidate = next;
				agreed = 0;
			}
		}
		agreed++;
	}
	return candidate;
}

/* windows_intersect tells whether the sets have a minute of the week in common. */
bool
windows_intersect(const WindowSet *const *sets, int n)
{
	return all_next(sets, n, 0) >= 0;
}

/*
 * windows_opening returns the first instant from "at" on at which all sets are
 * open at once; DT_NOEND when there is none in WINDOWS_HORIZON_DAYS.  It asks the
 * zone once, and once more for each change of the clocks on the way; not at all
 * when nothing restricts.  An infinite instant is returned as it is.
 */
TimestampTz
windows_opening(const WindowSet *const *sets, int n, pg_tz *zone, TimestampTz at)
{
	pg_time_t	first,
				last,
				t;
	bool		any = false;

	for (int i = 0; i < n; i++)
		any |= sets[i] != NULL;
	if (!any || TIMESTAMP_NOT_FINITE(at))
		return at;

	/* a window begins and ends on a full second */
	first = at / USECS_PER_SEC - (at % USECS_PER_SEC < 0) + UNIX_SHIFT;
	last = first + WINDOWS_HORIZON_DAYS * SECS_PER_DAY;
	t = first;
	for (;;)
	{
		long		before,
					after;
		int			before_dst,
					after_dst;
		pg_time_t	boundary;
		int			rc = pg_next_dst_boundary(&t, &before, &before_dst,
											  &boundary, &after, &after_dst, zone);
		int64		second;
		int			minute;

		if (rc < 0)
			elog(ERROR, "time zone \"%s\" has no offset at " INT64_FORMAT,
				 pg_get_timezone_name(zone), t);

		/* until the boundary the local time goes with ours */
		second = (t + before + EPOCH_WEEK_SECS) % WEEK_SECS;
		if (second < 0)
			second += WEEK_SECS;
		minute = all_next(sets, n, second / SECS_PER_MINUTE);
		if (minute >= 0)
		{
			pg_time_t	opening = t + Max(0, (int64) minute * SECS_PER_MINUTE - second);

			if (opening <= last && (rc == 0 || opening < boundary))
			{
				TimestampTz result = (opening - UNIX_SHIFT) * USECS_PER_SEC;

				if (opening == first)
					return at;
				return IS_VALID_TIMESTAMP(result) ? result : DT_NOEND;
			}
		}
		if (rc == 0 || boundary > last)
			return DT_NOEND;
		t = boundary;
	}
}

/* ---------------------------------------------------------------- for SQL */

static WindowSet *
windows_arg(FunctionCallInfo fcinfo, int n, bool quiet)
{
	return PG_ARGISNULL(n) ? NULL : windows_parse(PG_GETARG_JSONB_P(n), quiet);
}

PG_FUNCTION_INFO_V1(sender_window_opening);

/* sender_window_opening(at, zone, windows, quiet) shows windows_opening(). */
Datum
sender_window_opening(PG_FUNCTION_ARGS)
{
	const WindowSet *sets[2];
	TimestampTz at;
	pg_tz	   *zone;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	at = PG_GETARG_TIMESTAMPTZ(0);
	zone = es_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	sets[0] = windows_arg(fcinfo, 2, false);
	sets[1] = windows_arg(fcinfo, 3, true);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	at = windows_opening(sets, lengthof(sets), zone, at);
	if (TIMESTAMP_IS_NOEND(at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}

PG_FUNCTION_INFO_V1(sender_windows_intersect);

/* sender_windows_intersect(a, b, quiet) shows windows_intersect(). */
Datum
sender_windows_intersect(PG_FUNCTION_ARGS)
{
	const WindowSet *sets[3];

	sets[0] = windows_arg(fcinfo, 0, false);
	sets[1] = windows_arg(fcinfo, 1, false);
	sets[2] = windows_arg(fcinfo, 2, true);
	PG_RETURN_BOOL(windows_intersect(sets, lengthof(sets)));
}
