/*
 * signals.c
 *		Stores intent signals and keeps each lead's score, latch and direction.
 *
 * lead_scores holds, per lead, the signals of the window and hashes of the
 * references that have counted, so that a signal costs one row read, one row
 * written in place and one row inserted, however long the lead's history is.
 *
 * A batch is worked through lead by lead, in the order of their ids:
 *
 *	1. read the leads with their lead_scores row, without a lock;
 *	2. make the new state of each (score.c);
 *	3. write it where the row is still the one that was read (signal_count is
 *	   its version), or where there was none.  Whoever came between makes the
 *	   lead's turn come again, with what he wrote;
 *	4. insert the signals, and update those leads whose direction, latch or
 *	   last reply changes.
 *
 * Rows are read by their keys past the executor (core/lookup.c), and written by
 * statements that find theirs by key whatever the planner thinks of a table that
 * is not analyzed yet.
 *
 * So signals of one lead are serial by its lead_scores row, and the latch sets
 * once.  Lock order: lead_scores, leads, sender_runs; rows in order of ids.
 */
#include "core/core.h"

#include "access/xact.h"
#include "audience/audience.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/columns.h"
#include "core/lookup.h"
#include "core/rows.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#define MAX_SIGNALS 10000

typedef struct Signal
{
	int			no;				/* place in the caller's arrays, from 0 */
	pg_uuid_t	lead;
	int16		kind;
	TimestampTz at;
	Datum		campaign;
	bool		no_campaign;
	text	   *reference;		/* or NULL */
	int64		hash;			/* of kind and reference */
	/* what became of it */
	const char *outcome;		/* NULL: not yet */
	int			score;
	bool		hot;
} Signal;

/* A lead of the batch, with its signals' range and its state as read. */
typedef struct Lead
{
	pg_uuid_t	id;
	int			first,
				end;			/* signals */
	bool		known;
	bool		moved;			/* its signals went to another lead */
	pg_uuid_t	moved_to;
	bool		hot;
	char	   *direction;
	bool		handoff_open;
	int			hot_threshold;	/* the lowest of the tenant's and its campaigns' */
	int			signal_count;
	int			signal_count_read;
	int			n;				/* counted */
	int16	   *kinds;
	TimestampTz *at;
	int			n_seen;
	int64	   *seen;
	TimestampTz last_at;		/* newest that counts, 0: none */
	int			score;
	bool		newly_hot;
	TimestampTz replied_at;		/* 0: no reply among its signals */
	bool		done;
	bool		skipped;		/* done, and there was nothing to write */
	bool		just_done;
} Lead;

static const struct
{
	const char *word;
	int16		code;
}			kinds[] = {
#define X(name, code, word) {word, code},
	SIGNAL_KINDS(X)
#undef X
};

static int16
kind_of(const text *word)
{
	const char *s = VARDATA_ANY(word);
	size_t		len = VARSIZE_ANY_EXHDR(word);

	for (size_t i = 0; i < lengthof(kinds); i++)
		if (kinds[i].code != SIGNAL_RAPID_INTERACTION &&
			kinds[i].code < SIGNAL_COOLED &&
			strlen(kinds[i].word) == len && memcmp(kinds[i].word, s, len) == 0)
			return kinds[i].code;
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("a signal's kind is not known"),
			 errhint("One of: open, click, chat_message, form_resubmission, reply, call_request, visit_request, machine_open, machine_click, auto_reply.")));
}

static int
by_lead(const void *a, const void *b)
{
	const Signal *x = a;
	const Signal *y = b;
	int			c = memcmp(x->lead.data, y->lead.data, UUID_LEN);

	return c != 0 ? c : x->no - y->no;
}

/* What is looked up, with one snapshot a round. */
typedef struct Lookups
{
	EsLookup	settings;
	EsLookup	lead;
	EsLookup	score;
	EsLookup	attribution;
	EsLookup	campaign;
} Lookups;

static void
lookups_open(Lookups *l, Datum tenant, int nleads)
{
	static const char *const settings[] = {"version", "score_window", "hot_threshold", "warming_threshold",
	"open", "click", "chat_message", "rapid_interaction", "form_resubmission", "reply", "call_request", "visit_request", NULL};
	static const char *const lead[] = {"hot_at", "direction", "handoff_open", "merged_into", NULL};
	static const char *const score[] = {"signal_count", "counted_kinds", "counted_at", "seen", "merged_into", "last_signal_at", NULL};
	static const char *const attribution[] = {"campaign_id", NULL};
	static const char *const campaign[] = {"hot_threshold", "status", NULL};
	const pg_uuid_t *t = DatumGetUUIDP(tenant);
	Snapshot	snapshot;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	snapshot = GetActiveSnapshot();
	es_lookup_open(&l->settings, t, "score_settings", "score_settings_pkey", snapshot, 1, es_lookup_by_uuids, settings);
	es_lookup_open(&l->lead, t, "leads", "leads_pkey", snapshot, 2, es_lookup_by_uuids, lead);
	es_lookup_open(&l->score, t, "lead_scores", "lead_scores_pkey", snapshot, 2, es_lookup_by_uuids, score);
	es_lookup_open(&l->attribution, t, "lead_attributions", "lead_attributions_pkey", snapshot, 2, es_lookup_by_uuids, attribution);
	es_lookup_open(&l->campaign, t, "campaigns", "campaigns_pkey", snapshot, 2, es_lookup_by_uuids, campaign);
	/* leads are in order; a few are soon found one by one */
	if (nleads < 16)
		return;
	es_lookup_walk(&l->lead, 1);
	es_lookup_walk(&l->score, 1);
	es_lookup_walk(&l->attribution, 1);
}

static void
lookups_close(Lookups *l)
{
	es_lookup_end(&l->settings);
	es_lookup_end(&l->lead);
	es_lookup_end(&l->score);
	es_lookup_end(&l->attribution);
	es_lookup_end(&l->campaign);
	PopActiveSnapshot();
}

/* settings_of reads the newest version of the tenant's settings. */
static ScoreSettings
settings_of(Lookups *l, Datum tenant)
{
	ScoreSettings s = es_score_defaults;
	EsLookup   *x = &l->settings;
	Interval   *window;
	bool		isnull;

	if (!es_lookup_last(x, &tenant))
		return s;
	s.version = es_lookup_int(x, 0);
	/* as extract(epoch) has it: a year is 365.25 days, a month 30 */
	window = DatumGetIntervalP(es_lookup_get(x, 1, &isnull));
	s.window = window->time + window->day * USECS_PER_DAY +
		window->month / MONTHS_PER_YEAR * (1461 * USECS_PER_DAY / 4) +
		window->month % MONTHS_PER_YEAR * (DAYS_PER_MONTH * USECS_PER_DAY);
	s.hot_threshold = es_lookup_int(x, 2);
	s.warming_threshold = es_lookup_int(x, 3);
	for (int k = 1; k < SIGNAL_WEIGHTS; k++)
		s.weight[k] = es_lookup_int(x, 3 + k);
	return s;
}

static void *
array_of_lead(EsLookup *l, int column, size_t size, int room, int *n)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);
	ArrayType  *a = isnull ? NULL : DatumGetArrayTypeP(d);
	void	   *result;

	*n = a == NULL ? 0 : ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	result = palloc(size * (*n + room));
	if (*n > 0)
		memcpy(result, ARR_DATA_PTR(a), size * *n);
	return result;
}

/* threshold_of is the lowest of the tenant's and those of the lead's campaigns. */
static int
threshold_of(Lookups *l, const Datum *key, int threshold)
{
	for (bool found = es_lookup_find(&l->attribution, key); found; found = es_lookup_next(&l->attribution))
	{
		bool		isnull;
		Datum		campaign[] = {key[0], es_lookup_get(&l->attribution, 0, &isnull)};

		if (es_lookup_find(&l->campaign, campaign) && es_lookup_is_set(&l->campaign, 0) &&
			(es_lookup_is(&l->campaign, 1, "active") || es_lookup_is(&l->campaign, 1, "paused") ||
			 es_lookup_is(&l->campaign, 1, "draft")))
			threshold = Min(threshold, es_lookup_int(&l->campaign, 0));
	}
	return threshold;
}

/* read_lead reads a lead with its score. */
static void
read_lead(Lookups *x, Datum tenant, Lead *l, const ScoreSettings *s)
{
	Datum		key[] = {tenant, UUIDPGetDatum(&l->id)};
	int			room = l->end - l->first;
	bool		scored;
	bool		isnull;
	Datum		moved_to = (Datum) 0;

	l->known = es_lookup_find(&x->lead, key);
	if (!l->known)
		return;
	l->hot = es_lookup_is_set(&x->lead, 0);
	l->direction = es_lookup_text(&x->lead, 1);
	l->handoff_open = es_lookup_bool(&x->lead, 2);
	scored = es_lookup_find(&x->score, key);
	moved_to = es_lookup_get(&x->lead, 3, &isnull);
	if (isnull && scored)
		moved_to = es_lookup_get(&x->score, 4, &isnull);
	l->moved = !isnull;
	if (l->moved)
	{
		l->moved_to = *DatumGetUUIDP(moved_to);
		return;
	}
	l->newly_hot = false;
	l->replied_at = 0;
	l->hot_threshold = threshold_of(x, key, s->hot_threshold);
	l->signal_count = l->n = l->n_seen = 0;
	l->last_at = 0;
	if (!scored)
	{
		l->kinds = palloc(sizeof(int16) * room);
		l->at = palloc(sizeof(TimestampTz) * room);
		l->seen = palloc(sizeof(int64) * room);
		return;
	}
	l->signal_count = es_lookup_int(&x->score, 0);
	l->kinds = array_of_lead(&x->score, 1, sizeof(int16), room, &l->n);
	l->at = array_of_lead(&x->score, 2, sizeof(TimestampTz), room, &l->n);
	l->seen = array_of_lead(&x->score, 3, sizeof(int64), room, &l->n_seen);
	l->last_at = es_lookup_instant(&x->score, 5);
}

static bool
seen_before(const Lead *l, int64 hash)
{
	for (int i = 0; i < l->n_seen; i++)
		if (l->seen[i] == hash)
			return true;
	return false;
}

/* forget drops the oldest signals: those that have left the window, and more
 * than "most". */
static void
forget(Lead *l, const ScoreSettings *s, TimestampTz now, int most)
{
	int			expired = 0;

	while (expired < l->n && l->at[expired] <= now - s->window)
		expired++;
	expired = Max(expired, l->n - most);
	if (expired > 0)
	{
		l->n -= expired;
		memmove(l->at, l->at + expired, sizeof(TimestampTz) * l->n);
		memmove(l->kinds, l->kinds + expired, sizeof(int16) * l->n);
	}
}

/*
 * count_signal puts a signal among those that count, in order of time and, of
 * one instant, of kind: which are the newest does not depend on who came first.
 */
static void
count_signal(Lead *l, const Signal *g, const ScoreSettings *s, TimestampTz now)
{
	int			i;

	if (g->at <= now - s->window)
		return;					/* it came too late to count now */
	for (i = l->n; i > 0 && (l->at[i - 1] > g->at ||
							 (l->at[i - 1] == g->at && l->kinds[i - 1] > g->kind)); i--)
	{
		l->at[i] = l->at[i - 1];
		l->kinds[i] = l->kinds[i - 1];
	}
	l->at[i] = g->at;
	l->kinds[i] = g->kind;
	l->n++;
	forget(l, s, now, SIGNAL_MAX_COUNTED);
	if (g->at > l->last_at)
		l->last_at = g->at;
}

/* fold makes the new state of a lead from its signals. */
static void
fold(Lead *l, Signal *signals, const ScoreSettings *s, TimestampTz now)
{
	/* a machine's signal, too, finds only what is in the window */
	forget(l, s, now, SIGNAL_MAX_COUNTED);
	l->score = es_score(s, l->n, l->kinds, l->at, now);
	for (int i = l->first; i < l->end; i++)
	{
		Signal	   *g = &signals[i];

		g->hot = false;
		if (g->reference != NULL)
		{
			if (seen_before(l, g->hash))
			{
				g->outcome = "repeated";
				g->score = l->score;
				continue;
			}
			if (l->n_seen >= SIGNAL_MAX_SEEN)
			{
				l->n_seen = SIGNAL_MAX_SEEN - 1;
				memmove(l->seen, l->seen + 1, sizeof(int64) * l->n_seen);
			}
			l->seen[l->n_seen++] = g->hash;
		}
		l->signal_count++;
		if (g->kind >= SIGNAL_WEIGHTS)
			g->outcome = "machine";
		else
		{
			int			was = l->score;

			g->outcome = "counted";
			count_signal(l, g, s, now);
			l->score = es_score(s, l->n, l->kinds, l->at, now);
			if (!l->hot && l->score >= l->hot_threshold && l->score > was)
			{
				g->hot = true;
				l->hot = true;
				l->newly_hot = true;
			}
			if (g->kind == SIGNAL_REPLY && g->at > l->replied_at)
				l->replied_at = g->at;
		}
		g->score = l->score;
	}
}

static const char *
direction_of(const Lead *l, const ScoreSettings *s)
{
	/* what is RISK stays so: no signal of this kind takes it away */
	if (strcmp(l->direction, "RISK") == 0)
		return "RISK";
	if (l->hot || l->handoff_open)
		return "READY";
	if (l->score >= s->warming_threshold)
		return "WARMING";
	return l->n > 0 ? "EXPLORING" : "NOISE";
}

static int
lead_by_id(const void *key, const void *lead)
{
	return memcmp(((const pg_uuid_t *) key)->data, ((const Lead *) lead)->id.data, UUID_LEN);
}

static Datum
array_of(const void *values, int n, Oid type, size_t size)
{
	ArrayType  *a;
	Size		bytes = ARR_OVERHEAD_NONULLS(1) + size * n;

	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	a = palloc0(bytes);
	SET_VARSIZE(a, bytes);
	a->ndim = 1;
	a->elemtype = type;
	ARR_DIMS(a)[0] = n;
	ARR_LBOUND(a)[0] = 1;
	memcpy(ARR_DATA_PTR(a), values, size * n);
	return PointerGetDatum(a);
}

/*
 * write_states writes the new states; a lead is done when its row was still
 * the one that was read, or when there was none and still is none.
 */
static void
write_states(Datum tenant, Lead *leads, int nleads, const ScoreSettings *s,
			 TimestampTz now)
{
	static EsPlan upsert = {
		"INSERT INTO entrestate.lead_scores AS c (tenant_id, lead_id, score, score_at, settings_version,"
		" last_signal_at, expires_at, signal_count, count_before, counted_kinds, counted_at, seen)"
		" SELECT $1, u.lead_id, u.score, $2, $3, u.last_at, u.expires, u.count, u.was, u.kinds, u.at, u.seen"
		" FROM new_rows AS u(lead_id, was, count, score, last_at, expires, kinds, at, seen)"
		" ON CONFLICT ON CONSTRAINT lead_scores_pkey DO UPDATE SET score = EXCLUDED.score,"
		" score_at = EXCLUDED.score_at, settings_version = EXCLUDED.settings_version,"
		" last_signal_at = EXCLUDED.last_signal_at, expires_at = EXCLUDED.expires_at,"
		" signal_count = EXCLUDED.signal_count, count_before = EXCLUDED.count_before,"
		" counted_kinds = EXCLUDED.counted_kinds, counted_at = EXCLUDED.counted_at, seen = EXCLUDED.seen"
		" WHERE c.signal_count = EXCLUDED.count_before AND c.merged_into IS NULL"
		" RETURNING c.lead_id",
	3, {UUIDOID, TIMESTAMPTZOID, INT4OID}, .generic = true};
	static const Oid types[] = {UUIDOID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	INT2ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID};
	Rows		r;
	Datum		values[] = {tenant, TimestampTzGetDatum(now), Int32GetDatum(s->version)};
	int			n;

	rows_init(&r, lengthof(types), types);
	for (int i = 0; i < nleads; i++)
	{
		Lead	   *l = &leads[i];

		if (l->done)
			continue;
		rows_add(&r, UUIDPGetDatum(&l->id), false);
		rows_add(&r, Int32GetDatum(l->signal_count_read), false);
		rows_add(&r, Int32GetDatum(l->signal_count), false);
		rows_add(&r, Int32GetDatum(l->score), false);
		rows_add(&r, TimestampTzGetDatum(l->last_at), l->last_at == 0);
		rows_add(&r, TimestampTzGetDatum(l->n > 0 ? l->at[0] + s->window : 0), l->n == 0);
		rows_add(&r, array_of(l->kinds, l->n, INT2OID, sizeof(int16)), false);
		rows_add(&r, array_of(l->at, l->n, TIMESTAMPTZOID, sizeof(TimestampTz)), false);
		rows_add(&r, array_of(l->seen, l->n_seen, INT8OID, sizeof(int64)), false);
	}
	n = rows_run(&r, &upsert, SPI_OK_INSERT_RETURNING, values);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Lead	   *l = bsearch(DatumGetUUIDP(es_spi_get(i, 1, &isnull)), leads, nleads,
								sizeof(Lead), lead_by_id);

		l->done = true;
	}
}

/* write_signals inserts the signals of leads that are done now. */
static void
write_signals(Datum tenant, const Lead *leads, int nleads, Signal *signals,
			  const ScoreSettings *s, TimestampTz now)
{
	static const char *const columns[] = {"lead_id", "signal_no", "occurred_at", "campaign_id", "kind", "score",
	"counted", "hot", "reference"};
	Rows		r;
	const RowsFixed fixed[] = {{"tenant_id", tenant}, {"recorded_at", TimestampTzGetDatum(now)},
	{"settings_version", Int32GetDatum(s->version)}};

	rows_init(&r, lengthof(columns), NULL);
	for (int i = 0; i < nleads; i++)
	{
		const Lead *l = &leads[i];
		int			no = l->signal_count_read;

		if (!l->just_done)
			continue;
		for (int j = l->first; j < l->end; j++)
		{
			Signal	   *g = &signals[j];

			if (strcmp(g->outcome, "repeated") == 0)
				continue;
			no++;
			rows_add(&r, UUIDPGetDatum(&l->id), false);
			rows_add(&r, Int32GetDatum(no), false);
			rows_add(&r, TimestampTzGetDatum(g->at), false);
			rows_add(&r, g->campaign, g->no_campaign);
			rows_add(&r, Int16GetDatum(g->kind), false);
			rows_add(&r, Int32GetDatum(g->score), false);
			rows_add(&r, BoolGetDatum(g->kind < SIGNAL_WEIGHTS), false);
			rows_add(&r, BoolGetDatum(g->hot), false);
			rows_add(&r, PointerGetDatum(g->reference), g->reference == NULL);
		}
		Assert(no == l->signal_count);
	}
	rows_insert(&r, "intent_signals", columns, lengthof(fixed), fixed);
}

/*
 * write_leads updates the leads on which a signal shows, as they are now, since
 * others write leads, too: one by its key; many are locked by their keys first,
 * in order.
 */
static void
write_leads(Datum tenant, const Lead *leads, int nleads, const ScoreSettings *s,
			TimestampTz now)
{
#define SHOW(hot, replied_at, to) \
		"UPDATE entrestate.leads l SET hot_at = CASE WHEN " hot " THEN coalesce(l.hot_at, $2) ELSE l.hot_at END," \
		" replied_at = greatest(l.replied_at, " replied_at "), updated_at = $2," \
		" direction = CASE WHEN l.direction = 'RISK' THEN 'RISK'" \
		"  WHEN " hot " OR l.hot_at IS NOT NULL OR l.handoff_open THEN 'READY' ELSE " to " END"
	static EsPlan lock = {"SELECT entrestate.leads_lock($1, $2)", 2, {UUIDOID, UUIDARRAYOID}};
	static EsPlan one = {
		SHOW("$4", "$5", "$6") " WHERE l.tenant_id = $1 AND l.lead_id = $3",
	6, {UUIDOID, TIMESTAMPTZOID, UUIDOID, BOOLOID, TIMESTAMPTZOID, TEXTOID}, .generic = true};
	/* by ctid, which is the lead's while it is locked: a join by the key could
	 * read all of the tenant's leads */
	static EsPlan update = {
		SHOW("k.hot", "k.replied_at", "k.direction")
		" FROM (SELECT u.*, x.ctid AS at FROM new_rows AS u(lead_id, hot, replied_at, direction)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.leads y"
		"   WHERE y.tenant_id = $1 AND y.lead_id = u.lead_id OFFSET 0) x OFFSET 0) k"
		" WHERE l.ctid = k.at",
	2, {UUIDOID, TIMESTAMPTZOID}, .generic = true};
#undef SHOW
	static const Oid types[] = {UUIDOID, BOOLOID, TIMESTAMPTZOID, TEXTOID};
	Rows		r;
	Columns		ids;
	Datum		values[] = {tenant, TimestampTzGetDatum(now), 0, 0, 0, 0};
	Datum		lock_values[2] = {tenant};

	rows_init(&r, lengthof(types), types);
	columns_init(&ids, 1, types);
	for (int i = 0; i < nleads; i++)
	{
		const Lead *l = &leads[i];
		const char *direction;

		if (!l->just_done)
			continue;
		direction = direction_of(l, s);
		if (!l->newly_hot && l->replied_at == 0 && strcmp(direction, l->direction) == 0)
			continue;
		columns_add(&ids, 0, UUIDPGetDatum(&l->id), false);
		rows_add(&r, UUIDPGetDatum(&l->id), false);
		rows_add(&r, BoolGetDatum(l->newly_hot), false);
		rows_add(&r, TimestampTzGetDatum(l->replied_at), l->replied_at == 0);
		rows_add(&r, CStringGetTextDatum(direction), false);
	}
	if (r.count == 1)
	{
		char		isnull[] = "      ";

		for (int i = 0; i < 4; i++)
		{
			values[i + 2] = r.values[i];
			isnull[i + 2] = r.is[i] == ROWS_NULL ? 'n' : ' ';
		}
		es_spi_run(&one, SPI_OK_UPDATE, values, isnull);
		return;
	}
	if (r.count == 0)
		return;
	lock_values[1] = columns_array(&ids, 0);
	es_spi_run(&lock, SPI_OK_SELECT, lock_values, NULL);
	SPI_freetuptable(SPI_tuptable);
	rows_run(&r, &update, SPI_OK_UPDATE, values);
}

/* take reads the caller's arrays; occurred, campaigns and references may be NULL. */
static Signal *
take(FunctionCallInfo fcinfo, int *n, TimestampTz now)
{
	static const Oid types[] = {UUIDOID, TEXTOID, TIMESTAMPTZOID, UUIDOID, TEXTOID};
	static const int16 lengths[] = {UUID_LEN, -1, 8, UUID_LEN, -1};
	static const char aligns[] = {TYPALIGN_CHAR, TYPALIGN_INT, TYPALIGN_DOUBLE, TYPALIGN_CHAR, TYPALIGN_INT};
	static const char *const names[] = {"leads", "kinds", "occurred_at", "campaigns", "references"};
	Datum	   *values[5] = {NULL};
	bool	   *nulls[5] = {NULL};
	Signal	   *signals;

	for (int i = 0; i < 5; i++)
	{
		int			m;
		ArrayType  *a;

		if (PG_ARGISNULL(i + 1))
		{
			if (i < 2)
				ereport(ERROR,
						(errcode(es_errcode(ES_MISSING_INPUT)),
						 errmsg("%s is missing", names[i])));
			continue;
		}
		a = PG_GETARG_ARRAYTYPE_P(i + 1);
		if (ARR_NDIM(a) > 1)
			ereport(ERROR,
					(errcode(es_errcode(ES_INVALID_INPUT)),
					 errmsg("%s is an array of more than one dimension", names[i])));
		deconstruct_array(a, types[i], lengths[i], types[i] == TIMESTAMPTZOID ? FLOAT8PASSBYVAL : false,
						  aligns[i], &values[i], &nulls[i], &m);
		if (i == 0)
			*n = m;
		else if (m != *n)
			ereport(ERROR,
					(errcode(es_errcode(ES_INVALID_INPUT)),
					 errmsg("the arrays have different lengths"),
					 errdetail("leads has %d elements, %s has %d.", *n, names[i], m)));
	}
	if (*n > MAX_SIGNALS)
		ereport(ERROR,
				(errcode(es_errcode(ES_LIMIT_EXCEEDED)),
				 errmsg("too many signals in one call"),
				 errdetail("There are %d, at most %d are allowed.", *n, MAX_SIGNALS)));
	signals = palloc0(sizeof(Signal) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		Signal	   *g = &signals[i];

		if (nulls[0][i] || nulls[1][i])
			ereport(ERROR,
					(errcode(es_errcode(ES_MISSING_INPUT)),
					 errmsg("%s has no value at %d", names[nulls[0][i] ? 0 : 1], i + 1)));
		g->no = i;
		g->lead = *DatumGetUUIDP(values[0][i]);
		g->kind = kind_of(DatumGetTextPP(values[1][i]));
		g->at = now;
		if (values[2] != NULL && !nulls[2][i])
		{
			g->at = DatumGetTimestampTz(values[2][i]);
			if (TIMESTAMP_NOT_FINITE(g->at))
				ereport(ERROR,
						(errcode(es_errcode(ES_INVALID_INPUT)),
						 errmsg("occurred_at is not an instant at %d", i + 1)));
			/* clocks differ: what has not been yet is now */
			if (g->at > now)
				g->at = now;
		}
		g->no_campaign = values[3] == NULL || nulls[3][i];
		if (!g->no_campaign)
			g->campaign = values[3][i];
		if (values[4] != NULL && !nulls[4][i])
		{
			Size		len;

			g->reference = DatumGetTextPP(values[4][i]);
			len = VARSIZE_ANY_EXHDR(g->reference);
			if (len == 0 || len > 255)
				ereport(ERROR,
						(errcode(es_errcode(ES_LIMIT_EXCEEDED)),
						 errmsg("a signal's reference has 1 to 255 bytes"),
						 errdetail("The one at %d has %zu.", i + 1, len)));
			g->hash = (int64) hash_bytes_extended((unsigned char *) VARDATA_ANY(g->reference), len, g->kind);
		}
	}
	return signals;
}

PG_FUNCTION_INFO_V1(audience_signals);

/*
 * audience_signals(tenant, leads, kinds, occurred_at, campaigns, references)
 * stores a batch of signals and returns, for each in the caller's order, its
 * outcome (counted, machine, repeated, or unknown for a lead that the tenant
 * does not have), the lead that has it (another one after a merge), the score
 * after it and whether it made the lead hot.  Run by definer functions.
 */
Datum
audience_signals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		tenant = PG_GETARG_DATUM(0);
	TimestampTz now = es_now();
	int			n = 0;
	Signal	   *signals = take(fcinfo, &n, now);
	static const Oid uuid[] = {UUIDOID};
	ScoreSettings settings = es_score_defaults;
	int			left = n;
	int			stored = 0;
	pg_uuid_t	stored_lead;
	Columns		hot;
	Columns		replied;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	columns_init(&hot, 1, uuid);
	columns_init(&replied, 1, uuid);
	/* each round is over the signals whose lead is not settled */
	while (left > 0)
	{
		Lead	   *leads = palloc0(sizeof(Lead) * left);
		int			nleads = 0;
		bool		moved = false;
		Lookups		lookups;

		CHECK_FOR_INTERRUPTS();
		qsort(signals, left, sizeof(Signal), by_lead);
		for (int i = 0; i < left; i++)
		{
			if (i == 0 || memcmp(signals[i].lead.data, leads[nleads - 1].id.data, UUID_LEN) != 0)
			{
				leads[nleads].id = signals[i].lead;
				leads[nleads++].first = i;
			}
			leads[nleads - 1].end = i + 1;
		}
		lookups_open(&lookups, tenant, nleads);
		settings = settings_of(&lookups, tenant);
		for (int i = 0; i < nleads; i++)
			read_lead(&lookups, tenant, &leads[i], &settings);
		lookups_close(&lookups);
		/* sent on before anything is locked, so that the order is the ids' */
		for (int i = 0; i < nleads; i++)
			if (leads[i].known && leads[i].moved)
			{
				for (int j = leads[i].first; j < leads[i].end; j++)
					signals[j].lead = leads[i].moved_to;
				moved = true;
			}
		if (moved)
			continue;
		for (int i = 0; i < nleads; i++)
		{
			Lead	   *l = &leads[i];

			l->signal_count_read = l->signal_count;
			if (l->known)
				fold(l, signals, &settings, now);
			else
			{
				/* done without a state */
				l->done = true;
				l->skipped = true;
				for (int j = l->first; j < l->end; j++)
					signals[j].outcome = "unknown";
			}
			/* nothing but repetitions: there is nothing to write */
			if (!l->done && l->signal_count == l->signal_count_read)
			{
				l->done = true;
				l->skipped = true;
			}
		}
		write_states(tenant, leads, nleads, &settings, now);
		for (int i = 0; i < nleads; i++)
		{
			leads[i].just_done = leads[i].done && !leads[i].skipped;
			if (!leads[i].done)
				for (int j = leads[i].first; j < leads[i].end; j++)
					signals[j].outcome = NULL;
		}
		write_signals(tenant, leads, nleads, signals, &settings, now);
		write_leads(tenant, leads, nleads, &settings, now);
		for (int i = 0; i < left; i++)
		{
			Signal	   *g = &signals[i];
			Datum		values[5];
			bool		nulls[5] = {false};

			if (g->outcome == NULL)
				continue;
			values[0] = Int32GetDatum(g->no + 1);
			values[1] = UUIDPGetDatum(&g->lead);
			values[2] = CStringGetTextDatum(g->outcome);
			values[3] = Int32GetDatum(g->score);
			nulls[3] = strcmp(g->outcome, "unknown") == 0;
			values[4] = BoolGetDatum(g->hot);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			if (strcmp(g->outcome, "unknown") == 0 || strcmp(g->outcome, "repeated") == 0)
				continue;
			stored++;
			stored_lead = g->lead;
			if (g->hot)
				columns_add(&hot, 0, UUIDPGetDatum(&g->lead), false);
			else if (g->kind == SIGNAL_REPLY)
				columns_add(&replied, 0, UUIDPGetDatum(&g->lead), false);
		}
		/* what is left comes again */
		{
			int			k = 0;

			for (int i = 0; i < left; i++)
				if (signals[i].outcome == NULL)
					signals[k++] = signals[i];
			left = k;
		}
	}
	if (stored > 0)
	{
		/* as activity_add() does it */
		static EsPlan event = {
			"INSERT INTO entrestate.activity_events (tenant_id, recorded_at, id, type, entity_type, entity_id, actor, payload)"
			" VALUES ($1, $2, entrestate.uuid_v7(), 'audience.signal.ingested', CASE WHEN $3 IS NULL THEN 'tenant' ELSE 'lead' END,"
			" coalesce($3, $1)::text, entrestate.current_actor(), jsonb_build_object('signals', $4))",
		4, {UUIDOID, TIMESTAMPTZOID, UUIDOID, INT4OID}, .generic = true};
		static EsPlan follow = {"SELECT entrestate.signals_follow($1, $2, $3)", 3,
		{UUIDOID, UUIDARRAYOID, UUIDARRAYOID}};
		Datum		values[4];

		values[0] = tenant;
		values[1] = TimestampTzGetDatum(now);
		values[2] = UUIDPGetDatum(&stored_lead);
		values[3] = Int32GetDatum(stored);
		es_spi_run(&event, SPI_OK_INSERT, values, n == 1 ? NULL : "  n ");
		if (columns_rows(&hot) > 0 || columns_rows(&replied) > 0)
		{
			char		isnull[] = "   ";

			values[1] = columns_array(&hot, 0);
			isnull[1] = columns_rows(&hot) > 0 ? ' ' : 'n';
			values[2] = columns_array(&replied, 0);
			isnull[2] = columns_rows(&replied) > 0 ? ' ' : 'n';
			es_spi_run(&follow, SPI_OK_SELECT, values, isnull);
		}
	}
	SPI_finish();
	return (Datum) 0;
}
