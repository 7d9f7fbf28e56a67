/*
 * ids.c
 *		Time-ordered UUIDs (version 7, RFC 9562) and the run's id.
 *
 * Layout: 48 bits of Unix milliseconds, 4 version, 12 bits of the fraction of
 * the millisecond (RFC 9562 section 6.2, method 3), 2 variant, 62 random.
 * Within a backend an id is always greater than the one before, unless the
 * clock was moved back by more than CLOCK_STEP_BACK.
 */
#include "core/core.h"

#include "utils/builtins.h"
#include "utils/datetime.h"

#define CLOCK_STEP_BACK (10 * USECS_PER_SEC)
#define TICKS_PER_MS 4096		/* 12 bits: a tick is about 244 ns */

/* es_uuid_v7 makes an id for the instant "at". */
void
es_uuid_v7(pg_uuid_t *out, TimestampTz at)
{
	static int64 last_tick = 0;
	int64		unix_usec = at +
		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	int64		tick;
	uint64		ms;
	uint32		sub;

	if (unix_usec < 0)
		unix_usec = 0;
	tick = (unix_usec / 1000) * TICKS_PER_MS +
		(unix_usec % 1000) * TICKS_PER_MS / 1000;
	if (tick <= last_tick &&
		last_tick - tick < (int64) CLOCK_STEP_BACK / 1000 * TICKS_PER_MS)
		tick = last_tick + 1;
	last_tick = tick;
	ms = tick / TICKS_PER_MS;
	sub = tick % TICKS_PER_MS;

	if (!pg_strong_random(out->data + 8, UUID_LEN - 8))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int i = 0; i < 6; i++)
		out->data[i] = (unsigned char) (ms >> (8 * (5 - i)));
	out->data[6] = 0x70 | (sub >> 8);
	out->data[7] = sub & 0xff;
	out->data[8] = (out->data[8] & 0x3f) | 0x80;
}

/*
 * es_uuid_parse reads a UUID in the canonical form only (36 characters, lower
 * or upper case) and never throws, so that check hooks may use it.
 */
bool
es_uuid_parse(const char *s, size_t len, pg_uuid_t *out)
{
	int			n = 0;

	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		char		c = s[i];
		int			v;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (c != '-')
				return false;
			continue;
		}
		if (c >= '0' && c <= '9')
			v = c - '0';
		else if (c >= 'a' && c <= 'f')
			v = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			v = c - 'A' + 10;
		else
			return false;
		if (n % 2 == 0)
			out->data[n / 2] = v << 4;
		else
			out->data[n / 2] |= v;
		n++;
	}
	return true;
}

PG_FUNCTION_INFO_V1(core_uuid_v7);

Datum
core_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *u = palloc(sizeof(pg_uuid_t));

	es_uuid_v7(u, es_clock_moved() ? es_now() : GetCurrentTimestamp());
	PG_RETURN_UUID_P(u);
}
