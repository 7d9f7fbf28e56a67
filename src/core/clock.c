/*
 * clock.c
 *		The only place that knows the time.
 *
 * entrestate.clock, a superuser setting, moves it: empty is the real clock, an
 * instant ('2026-03-08T01:30:00-05:00') stands still there, a shift
 * ('+21 days', '-90 minutes') runs on from the real clock.  Everything that
 * asks for the time gets the transaction's, so that a decision taken twice in
 * one transaction is the same.  A moved clock lets only the sandbox provider
 * send.
 */
#include "core/core.h"

#include <ctype.h>

#include "access/xact.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"

typedef enum ClockMode
{
	CLOCK_REAL,
	CLOCK_STANDS,
	CLOCK_SHIFTED
} ClockMode;

typedef struct Clock
{
	ClockMode	mode;
	int64		usec;			/* the instant, or the shift */
} Clock;

static char *clock_setting = NULL;	/* owned by guc.c */
static Clock clock_now_is = {CLOCK_REAL, 0};

/* digits reads one to "most" digits. */
static bool
digits(const char **s, int most, int *value)
{
	const char *from = *s;

	for (*value = 0; *s - from < most && isdigit((unsigned char) **s); (*s)++)
		*value = *value * 10 + **s - '0';
	return *s > from;
}

/*
 * es_instant_parse reads YYYY-MM-DDTHH:MM[:SS[.ffffff]](Z|+HH[:MM]|-HH[:MM]),
 * blank or T between.  It is our own reader because timestamptz_in depends on
 * the session's DateStyle and TimeZone and may throw inside a check hook.
 */
bool
es_instant_parse(const char *s, TimestampTz *usec)
{
	int			y,
				mo,
				d,
				h,
				mi,
				sec = 0,
				zsign = 0,
				zh = 0,
				zm = 0;
	int64		fraction = 0;

	if (!digits(&s, 4, &y) || *s++ != '-' || !digits(&s, 2, &mo) ||
		*s++ != '-' || !digits(&s, 2, &d) || (*s != 'T' && *s != ' '))
		return false;
	s++;
	if (!digits(&s, 2, &h) || *s++ != ':' || !digits(&s, 2, &mi))
		return false;
	if (*s == ':')
	{
		s++;
		if (!digits(&s, 2, &sec))
			return false;
		if (*s == '.')
		{
			s++;
			if (!isdigit((unsigned char) *s))
				return false;
			for (int64 unit = USECS_PER_SEC / 10; unit > 0 &&
				 isdigit((unsigned char) *s); unit /= 10)
				fraction += (*s++ - '0') * unit;
		}
	}
	if (*s == '+' || *s == '-')
	{
		zsign = *s++ == '+' ? 1 : -1;
		if (!digits(&s, 2, &zh))
			return false;
		if (*s == ':' || isdigit((unsigned char) *s))
		{
			if (*s == ':')
				s++;
			if (!digits(&s, 2, &zm))
				return false;
		}
	}
	else if (*s++ != 'Z')
		return false;
	if (*s != '\0')
		return false;
	if (y < 1970 || y > 9999 || mo < 1 || mo > 12 || d < 1 ||
		d > day_tab[isleap(y)][mo - 1] || h > 23 || mi > 59 || sec > 59 ||
		zh > 15 || zm > 59)
		return false;

	*usec = ((int64) (date2j(y, mo, d) - POSTGRES_EPOCH_JDATE)) * USECS_PER_DAY
		+ ((int64) h * 60 + mi) * USECS_PER_MINUTE
		+ sec * USECS_PER_SEC + fraction
		- (int64) zsign * (zh * 60 + zm) * USECS_PER_MINUTE;
	return true;
}

/* parse_shift reads a sign, a whole number and a unit from seconds to days. */
static bool
parse_shift(const char *s, int64 *usec)
{
	static const struct
	{
		const char *name;
		int64		usec;
	}			units[] = {
		{"second", USECS_PER_SEC}, {"minute", USECS_PER_MINUTE},
		{"hour", USECS_PER_HOUR}, {"day", USECS_PER_DAY}
	};
	long		n;
	char	   *end;
	size_t		len;

	if (*s != '+' && *s != '-')
		return false;
	if (!isdigit((unsigned char) s[1]))
		return false;
	errno = 0;
	n = strtol(s, &end, 10);
	if (errno != 0)
		return false;
	while (*end == ' ')
		end++;
	len = strlen(end);
	if (len > 1 && end[len - 1] == 's')
		len--;
	for (size_t i = 0; i < lengthof(units); i++)
	{
		if (strlen(units[i].name) != len || strncmp(end, units[i].name, len) != 0)
			continue;
		/* a thousand years either way is as far as anybody needs */
		if (n > 365250 * (USECS_PER_DAY / units[i].usec) ||
			n < -365250 * (USECS_PER_DAY / units[i].usec))
			return false;
		*usec = (int64) n * units[i].usec;
		return true;
	}
	return false;
}

static bool
clock_check(char **newval, void **extra, GucSource source)
{
	Clock	   *c = ES_GUC_MALLOC(LOG, sizeof(Clock));

	if (c == NULL)
		return false;
	c->mode = CLOCK_REAL;
	c->usec = 0;
	if (*newval != NULL && **newval != '\0')
	{
		if (parse_shift(*newval, &c->usec))
			c->mode = CLOCK_SHIFTED;
		else if (es_instant_parse(*newval, &c->usec))
			c->mode = CLOCK_STANDS;
		else
		{
			ES_GUC_FREE(c);
			GUC_check_errdetail("The clock is neither an instant with a time zone nor a shift.");
			GUC_check_errhint("Write '2026-03-08T01:30:00-05:00', or '+21 days', or '' for the real clock.");
			return false;
		}
	}
	*extra = c;
	return true;
}

static void
clock_assign(const char *newval, void *extra)
{
	clock_now_is = *(Clock *) extra;
}

/* es_clock_init defines the clock's setting. */
void
es_clock_init(void)
{
	DefineCustomStringVariable("entrestate.clock",
							   "Moves the clock of tests and simulations.",
							   "Empty: the real clock. An ISO 8601 instant: it stands there. A shift such as '+21 days': it runs on from the real clock.",
							   &clock_setting, "", PGC_SUSET, 0,
							   clock_check, clock_assign, NULL);
}

/* es_now returns the current instant: the transaction's start, moved. */
TimestampTz
es_now(void)
{
	switch (clock_now_is.mode)
	{
		case CLOCK_STANDS:
			return clock_now_is.usec;
		case CLOCK_SHIFTED:
			return GetCurrentTransactionStartTimestamp() + clock_now_is.usec;
		case CLOCK_REAL:
			break;
	}
	return GetCurrentTransactionStartTimestamp();
}

/* es_clock_moved tells whether the clock is other than the real one. */
bool
es_clock_moved(void)
{
	return clock_now_is.mode != CLOCK_REAL;
}

PG_FUNCTION_INFO_V1(core_clock_now);

Datum
core_clock_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(es_now());
}

PG_FUNCTION_INFO_V1(core_clock_moved);

Datum
core_clock_moved(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(es_clock_moved());
}
