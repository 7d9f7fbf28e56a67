/*
 * audience.h
 *		Intent signals and the score they make, over plain structs.
 *
 * The codes are what intent_signals stores: they never change, new ones are
 * added.  entrestate.signal_kinds() shows them to SQL.
 */
#ifndef ENTRESTATE_AUDIENCE_H
#define ENTRESTATE_AUDIENCE_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* kind, code, word; those from 20 on weigh nothing, ever */
/* clang-format off */
#define SIGNAL_KINDS(X) \
	X(OPEN, 1, "open") \
	X(CLICK, 2, "click") \
	X(CHAT_MESSAGE, 3, "chat_message") \
	X(RAPID_INTERACTION, 4, "rapid_interaction") \
	X(FORM_RESUBMISSION, 5, "form_resubmission") \
	X(REPLY, 6, "reply") \
	X(CALL_REQUEST, 7, "call_request") \
	X(VISIT_REQUEST, 8, "visit_request") \
	X(MACHINE_OPEN, 20, "machine_open") \
	X(MACHINE_CLICK, 21, "machine_click") \
	X(AUTO_REPLY, 22, "auto_reply") \
	X(COOLED, 30, "cooled") \
	X(MERGED, 31, "merged")
/* clang-format on */

#define X(name, code, word) SIGNAL_##name = code,
typedef enum SignalKind
{
	SIGNAL_KINDS(X)
} SignalKind;
#undef X

#define SIGNAL_WEIGHTS 9		/* kinds 1 to 8 have one */

/* A burst is a row of signals no further apart than this. */
#define SIGNAL_BURST_GAP (INT64CONST(10) * 60 * 1000000)

/* The newest so many signals of the window count, and so many references are
 * remembered. */
#define SIGNAL_MAX_COUNTED 1000
#define SIGNAL_MAX_SEEN 2000

typedef struct ScoreSettings
{
	int			version;
	int64		window;			/* microseconds */
	int			hot_threshold;
	int			warming_threshold;
	int			weight[SIGNAL_WEIGHTS];
} ScoreSettings;

extern const ScoreSettings es_score_defaults;
extern int	es_score(const ScoreSettings *s, int n, const int16 *kinds,
					 const TimestampTz *at, TimestampTz now);

#endif
