/*
 * score.c
 *		The score of a lead: a pure function of signals, weights and instant.
 *
 * No SPI, no clock: the same signals, settings and instant give the same score
 * when a signal is stored, when it decays, and when verify() makes it again.
 */
#include "core/core.h"

#include "audience/audience.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Version 0: what holds for a tenant that has set nothing. */
const ScoreSettings es_score_defaults = {
	.version = 0,
	.window = INT64CONST(30) * 24 * 3600 * 1000000,
	.hot_threshold = 21,
	.warming_threshold = 10,
	/* open, click, chat, rapid, resubmission, reply, call, visit */
	.weight = {0, 1, 3, 4, 6, 9, 12, 21, 21},
};

/*
 * es_score adds up the signals of the window that ends at "now".  The signals
 * are in order of time and none is later than "now".
 *
 * Rapid interaction is not a signal of its own: it is three signals within ten
 * minutes, counted once per burst, and a burst lasts as long as each signal
 * follows the one before within ten minutes.
 */
int
es_score(const ScoreSettings *s, int n, const int16 *kinds,
		 const TimestampTz *at, TimestampTz now)
{
	int64		score = 0;
	int			first = 0;
	int			burst;
	bool		rapid = false;

	while (first < n && at[first] <= now - s->window)
		first++;
	burst = first;
	for (int i = first; i < n; i++)
	{
		score += s->weight[kinds[i]];
		if (i > first && at[i] - at[i - 1] > SIGNAL_BURST_GAP)
		{
			burst = i;
			rapid = false;
		}
		if (!rapid && i - burst >= 2 && at[i] - at[i - 2] <= SIGNAL_BURST_GAP)
		{
			score += s->weight[SIGNAL_RAPID_INTERACTION];
			rapid = true;
		}
	}
	return Min(score, PG_INT32_MAX);
}

PG_FUNCTION_INFO_V1(audience_score);

/*
 * audience_score(weights integer[], score_window interval in microseconds,
 * kinds smallint[], at timestamptz[], now) is es_score() for SQL: weights are
 * those of kinds 1 to 8.
 */
Datum
audience_score(PG_FUNCTION_ARGS)
{
	ArrayType  *weights = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType  *kinds = PG_GETARG_ARRAYTYPE_P(2);
	ArrayType  *at = PG_GETARG_ARRAYTYPE_P(3);
	ScoreSettings s = {0};
	int			n = ArrayGetNItems(ARR_NDIM(kinds), ARR_DIMS(kinds));

	if (ARR_HASNULL(weights) || ARR_HASNULL(kinds) || ARR_HASNULL(at) ||
		ArrayGetNItems(ARR_NDIM(weights), ARR_DIMS(weights)) != SIGNAL_WEIGHTS - 1 ||
		ArrayGetNItems(ARR_NDIM(at), ARR_DIMS(at)) != n)
		elog(ERROR, "the arrays do not fit");
	s.window = PG_GETARG_INT64(1);
	memcpy(&s.weight[1], ARR_DATA_PTR(weights), sizeof(int32) * (SIGNAL_WEIGHTS - 1));
	for (int i = 0; i < n; i++)
	{
		int16		k = ((int16 *) ARR_DATA_PTR(kinds))[i];

		if (k < 1 || k >= SIGNAL_WEIGHTS)
			elog(ERROR, "kind %d has no weight", k);
	}
	PG_RETURN_INT32(es_score(&s, n, (int16 *) ARR_DATA_PTR(kinds),
							 (TimestampTz *) ARR_DATA_PTR(at), PG_GETARG_TIMESTAMPTZ(4)));
}

PG_FUNCTION_INFO_V1(audience_defaults);

/* audience_defaults() shows version 0 of the settings to SQL. */
Datum
audience_defaults(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[12];
	bool		nulls[12] = {false};
	Interval   *window = palloc0(sizeof(Interval));

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE ||
		tupdesc->natts != lengthof(values))
		elog(ERROR, "return type must be a row");
	window->day = es_score_defaults.window / USECS_PER_DAY;
	values[0] = Int32GetDatum(es_score_defaults.version);
	values[1] = IntervalPGetDatum(window);
	values[2] = Int32GetDatum(es_score_defaults.hot_threshold);
	values[3] = Int32GetDatum(es_score_defaults.warming_threshold);
	for (int k = 1; k < SIGNAL_WEIGHTS; k++)
		values[3 + k] = Int32GetDatum(es_score_defaults.weight[k]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

typedef struct Kind
{
	int16		code;
	const char *word;
} Kind;

PG_FUNCTION_INFO_V1(audience_kinds);

/* audience_kinds() names the codes of intent_signals.kind. */
Datum
audience_kinds(PG_FUNCTION_ARGS)
{
#define X(name, code, word) {code, word},
	static const Kind kinds[] = {SIGNAL_KINDS(X)};
#undef X
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(kinds); i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = Int16GetDatum(kinds[i].code);
		values[1] = CStringGetTextDatum(kinds[i].word);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
