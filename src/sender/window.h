/*
 * window.h
 *		Windows: when a lead may be written to.
 */
#ifndef ENTRESTATE_WINDOW_H
#define ENTRESTATE_WINDOW_H

#include "postgres.h"
#include "pgtime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/*
 * The minutes of a week, by the clock on the wall, that are open.  A NULL
 * pointer in the place of a set is always open.
 */
typedef struct WindowSet WindowSet;

/*
 * How far windows_opening() looks.  A week's only window that lies in a gap
 * leaves up to two weeks closed, so DT_NOEND does not mean for ever: look again
 * when the horizon has passed.
 */
#define WINDOWS_HORIZON_DAYS 9

/* windows_parse() allocates in the current memory context, the others nothing. */
extern WindowSet *windows_parse(Jsonb *j, bool quiet);
extern bool windows_intersect(const WindowSet *const *sets, int n);
extern TimestampTz windows_opening(const WindowSet *const *sets, int n,
								   pg_tz *zone, TimestampTz at);

#endif
