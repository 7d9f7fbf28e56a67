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
 * Every statement finds its rows by their keys whatever the planner thinks of a
 * table that is not analyzed yet: LATERAL ... OFFSET 0 to read, ON CONFLICT to
 * write.
 *
 * So signals of one lead are serial by its lead_scores row, and the latch sets
 * once.  Lock order: lead_scores, leads, sender_runs; rows in order of ids.
 */
#include "core/core.h"

#include "audience/audience.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/columns.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

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

/* settings_of reads the tenant's settings, and whether a campaign lowers them. */
static ScoreSettings
settings_of(Datum tenant, bool *lowered)
{
	static EsPlan plan = {
		"SELECT s.version, (extract(epoch FROM s.score_window) * 1000000)::int8,"
		" s.hot_threshold, s.warming_threshold, s.open, s.click, s.chat_message,"
		" s.rapid_interaction, s.form_resubmission, s.reply, s.call_request, s.visit_request,"
		" EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = $1 AND c.hot_threshold IS NOT NULL"
		"  AND c.status IN ('draft', 'active', 'paused'))"
		" FROM (VALUES (1)) one LEFT JOIN (SELECT * FROM entrestate.score_settings x"
		"  WHERE x.tenant_id = $1 ORDER BY x.version DESC LIMIT 1) s ON true", 1, {UUIDOID}};
	ScoreSettings s = es_score_defaults;
	bool		isnull;
	Datum		d;

	es_spi_run(&plan, SPI_OK_SELECT, &tenant, NULL);
	*lowered = DatumGetBool(es_spi_get(0, 13, &isnull));
	d = es_spi_get(0, 1, &isnull);
	if (!isnull)
	{
		s.version = DatumGetInt32(d);
		s.window = DatumGetInt64(es_spi_get(0, 2, &isnull));
		s.hot_threshold = DatumGetInt32(es_spi_get(0, 3, &isnull));
		s.warming_threshold = DatumGetInt32(es_spi_get(0, 4, &isnull));
		for (int k = 1; k < SIGNAL_WEIGHTS; k++)
			s.weight[k] = DatumGetInt32(es_spi_get(0, 4 + k, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return s;
}

static void *
array_at(uint64 row, int col, size_t size, int room, int *n)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);
	ArrayType  *a = isnull ? NULL : DatumGetArrayTypeP(d);
	void	   *result;

	*n = a == NULL ? 0 : ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	result = palloc(size * (*n + room));
	if (*n > 0)
		memcpy(result, ARR_DATA_PTR(a), size * *n);
	return result;
}

/* read_leads reads those leads that are not done. */
static void
read_leads(Datum tenant, Lead *leads, int nleads, const ScoreSettings *s, bool lowered)
{
#define READ(threshold) \
		"SELECT u.o, l.hot_at IS NOT NULL, l.direction, l.handoff_open, l.merged_into," \
		" c.signal_count, c.counted_kinds, c.counted_at, c.seen, c.merged_into, c.last_signal_at, " \
		threshold \
		" FROM unnest($2, $3) AS u(lead_id, o)" \
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x" \
		"  WHERE x.tenant_id = $1 AND x.lead_id = u.lead_id OFFSET 0) l" \
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_scores y" \
		"  WHERE y.tenant_id = $1 AND y.lead_id = u.lead_id OFFSET 0) c ON true", \
	3, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID}, .generic = true
	static EsPlan plain = {READ("NULL::int4")};
	static EsPlan with_campaigns = {READ("(SELECT min(k.hot_threshold)"
										 " FROM entrestate.lead_attributions a"
										 " CROSS JOIN LATERAL (SELECT * FROM entrestate.campaigns z"
										 "  WHERE z.tenant_id = $1 AND z.campaign_id = a.campaign_id OFFSET 0) k"
										 " WHERE a.tenant_id = $1 AND a.lead_id = u.lead_id"
										 " AND k.status IN ('draft', 'active', 'paused'))")};
#undef READ
	static const Oid types[] = {UUIDOID, INT4OID};
	Columns		c;
	int			n;

	columns_init(&c, lengthof(types), types);
	for (int i = 0; i < nleads; i++)
		if (!leads[i].done)
		{
			leads[i].known = false;
			columns_add(&c, 0, UUIDPGetDatum(&leads[i].id), false);
			columns_add(&c, 1, Int32GetDatum(i), false);
		}
	n = columns_run(&c, lowered ? &with_campaigns : &plain, SPI_OK_SELECT, tenant);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Lead	   *l = &leads[DatumGetInt32(es_spi_get(i, 1, &isnull))];
		int			room = l->end - l->first;
		Datum		d;

		l->known = true;
		l->hot = DatumGetBool(es_spi_get(i, 2, &isnull));
		l->direction = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);
		l->handoff_open = DatumGetBool(es_spi_get(i, 4, &isnull));
		d = es_spi_get(i, 5, &isnull);
		if (isnull)
			d = es_spi_get(i, 10, &isnull);
		l->moved = !isnull;
		if (l->moved)
			l->moved_to = *DatumGetUUIDP(d);
		d = es_spi_get(i, 6, &isnull);
		l->signal_count = isnull ? 0 : DatumGetInt32(d);
		l->kinds = array_at(i, 7, sizeof(int16), room, &l->n);
		l->at = array_at(i, 8, sizeof(TimestampTz), room, &l->n);
		l->seen = array_at(i, 9, sizeof(int64), room, &l->n_seen);
		d = es_spi_get(i, 11, &isnull);
		l->last_at = isnull ? 0 : DatumGetTimestampTz(d);
		d = es_spi_get(i, 12, &isnull);
		l->hot_threshold = isnull ? s->hot_threshold : Min(s->hot_threshold, DatumGetInt32(d));
		l->newly_hot = false;
		l->replied_at = 0;
	}
	if (n > 0)
		SPI_freetuptable(SPI_tuptable);
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
 * the one that was read, or when there was none and still is none.  SQL has no
 * arrays of arrays, so the leads' arrays travel end to end and are cut up again
 * by their lengths.
 */
static void
write_states(Datum tenant, Lead *leads, int nleads, const ScoreSettings *s,
			 TimestampTz now)
{
	static EsPlan upsert = {
		"INSERT INTO entrestate.lead_scores AS c (tenant_id, lead_id, score, score_at, settings_version,"
		" last_signal_at, expires_at, signal_count, count_before, counted_kinds, counted_at, seen)"
		" SELECT $1, u.lead_id, u.score, $12, $13, u.last_at, u.expires, u.count, u.was,"
		" $14[u.from_n + 1:u.from_n + u.n], $15[u.from_n + 1:u.from_n + u.n],"
		" $16[u.from_seen + 1:u.from_seen + u.n_seen]"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
		"  AS u(lead_id, was, count, score, last_at, expires, from_n, n, from_seen, n_seen)"
		" ON CONFLICT ON CONSTRAINT lead_scores_pkey DO UPDATE SET score = EXCLUDED.score,"
		" score_at = EXCLUDED.score_at, settings_version = EXCLUDED.settings_version,"
		" last_signal_at = EXCLUDED.last_signal_at, expires_at = EXCLUDED.expires_at,"
		" signal_count = EXCLUDED.signal_count, count_before = EXCLUDED.count_before,"
		" counted_kinds = EXCLUDED.counted_kinds, counted_at = EXCLUDED.counted_at, seen = EXCLUDED.seen"
		" WHERE c.signal_count = EXCLUDED.count_before AND c.merged_into IS NULL"
		" RETURNING c.lead_id",
		16, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
			TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
		INT4ARRAYOID, TIMESTAMPTZOID, INT4OID, INT2ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID},
	.generic = true};
	static const Oid types[] = {UUIDOID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID, INT4OID};
	Columns		c;
	Datum		values[16];
	int			total = 0;
	int			total_seen = 0;
	int16	   *all_kinds;
	TimestampTz *all_at;
	int64	   *all_seen;
	int			n;

	for (int i = 0; i < nleads; i++)
		if (!leads[i].done)
		{
			total += leads[i].n;
			total_seen += leads[i].n_seen;
		}
	all_kinds = palloc(sizeof(int16) * (total + 1));
	all_at = palloc(sizeof(TimestampTz) * (total + 1));
	all_seen = palloc(sizeof(int64) * (total_seen + 1));
	total = total_seen = 0;
	columns_init(&c, lengthof(types), types);
	for (int i = 0; i < nleads; i++)
	{
		Lead	   *l = &leads[i];

		if (l->done)
			continue;
		columns_add(&c, 0, UUIDPGetDatum(&l->id), false);
		columns_add(&c, 1, Int32GetDatum(l->signal_count_read), false);
		columns_add(&c, 2, Int32GetDatum(l->signal_count), false);
		columns_add(&c, 3, Int32GetDatum(l->score), false);
		columns_add(&c, 4, TimestampTzGetDatum(l->last_at), l->last_at == 0);
		columns_add(&c, 5, TimestampTzGetDatum(l->n > 0 ? l->at[0] + s->window : 0), l->n == 0);
		columns_add(&c, 6, Int32GetDatum(total), false);
		columns_add(&c, 7, Int32GetDatum(l->n), false);
		columns_add(&c, 8, Int32GetDatum(total_seen), false);
		columns_add(&c, 9, Int32GetDatum(l->n_seen), false);
		memcpy(all_kinds + total, l->kinds, sizeof(int16) * l->n);
		memcpy(all_at + total, l->at, sizeof(TimestampTz) * l->n);
		memcpy(all_seen + total_seen, l->seen, sizeof(int64) * l->n_seen);
		total += l->n;
		total_seen += l->n_seen;
	}
	if (columns_rows(&c) == 0)
		return;
	values[0] = tenant;
	for (int i = 0; i < c.n; i++)
		values[i + 1] = columns_array(&c, i);
	values[11] = TimestampTzGetDatum(now);
	values[12] = Int32GetDatum(s->version);
	values[13] = array_of(all_kinds, total, INT2OID, sizeof(int16));
	values[14] = array_of(all_at, total, TIMESTAMPTZOID, sizeof(TimestampTz));
	values[15] = array_of(all_seen, total_seen, INT8OID, sizeof(int64));
	n = es_spi_run(&upsert, SPI_OK_INSERT_RETURNING, values, NULL);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Lead	   *l = bsearch(DatumGetUUIDP(es_spi_get(i, 1, &isnull)), leads, nleads,
								sizeof(Lead), lead_by_id);

		l->done = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* write_signals inserts the signals of leads that are done now. */
static void
write_signals(Datum tenant, const Lead *leads, int nleads, Signal *signals,
			  const ScoreSettings *s, TimestampTz now)
{
	static EsPlan insert = {
		"INSERT INTO entrestate.intent_signals (tenant_id, lead_id, recorded_at, signal_no, occurred_at,"
		" campaign_id, kind, score, settings_version, counted, hot, reference)"
		" SELECT $1, u.lead_id, $10, u.no, u.at, u.campaign, u.kind, u.score, $11, u.kind < 9, u.hot, u.reference"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9)"
		"  AS u(lead_id, no, at, campaign, kind, score, hot, reference)",
		11, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID, INT2ARRAYOID,
		INT4ARRAYOID, BOOLARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, INT4OID}, .generic = true};
	static const Oid types[] = {UUIDOID, INT4OID, TIMESTAMPTZOID, UUIDOID, INT2OID, INT4OID,
	BOOLOID, TEXTOID};
	Columns		c;
	Datum		values[11];

	columns_init(&c, lengthof(types), types);
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
			columns_add(&c, 0, UUIDPGetDatum(&l->id), false);
			columns_add(&c, 1, Int32GetDatum(no), false);
			columns_add(&c, 2, TimestampTzGetDatum(g->at), false);
			columns_add(&c, 3, g->campaign, g->no_campaign);
			columns_add(&c, 4, Int16GetDatum(g->kind), false);
			columns_add(&c, 5, Int32GetDatum(g->score), false);
			columns_add(&c, 6, BoolGetDatum(g->hot), false);
			columns_add(&c, 7, PointerGetDatum(g->reference), g->reference == NULL);
		}
		Assert(no == l->signal_count);
	}
	if (columns_rows(&c) == 0)
		return;
	values[0] = tenant;
	for (int i = 0; i < c.n; i++)
		values[i + 1] = columns_array(&c, i);
	values[9] = TimestampTzGetDatum(now);
	values[10] = Int32GetDatum(s->version);
	es_spi_run(&insert, SPI_OK_INSERT, values, NULL);
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
	static EsPlan lock = {"SELECT entrestate.leads_lock($1, $2)", 2, {UUIDOID, UUIDARRAYOID}};
	static EsPlan one = {
		"UPDATE entrestate.leads l SET hot_at = CASE WHEN $3[1] THEN coalesce(l.hot_at, $6) ELSE l.hot_at END,"
		" replied_at = greatest(l.replied_at, $4[1]), updated_at = $6,"
		" direction = CASE WHEN l.direction = 'RISK' THEN 'RISK'"
		"  WHEN $3[1] OR l.hot_at IS NOT NULL OR l.handoff_open THEN 'READY' ELSE $5[1] END"
		" WHERE l.tenant_id = $1 AND l.lead_id = $2[1]",
	6, {UUIDOID, UUIDARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}, .generic = true};
	/* by ctid, which is the lead's while it is locked: a join by the key could
	 * read all of the tenant's leads */
	static EsPlan update = {
		"UPDATE entrestate.leads l SET hot_at = CASE WHEN k.hot THEN coalesce(l.hot_at, $6) ELSE l.hot_at END,"
		" replied_at = greatest(l.replied_at, k.replied_at), updated_at = $6,"
		" direction = CASE WHEN l.direction = 'RISK' THEN 'RISK'"
		"  WHEN k.hot OR l.hot_at IS NOT NULL OR l.handoff_open THEN 'READY' ELSE k.direction END"
		" FROM (SELECT u.*, x.ctid AS at FROM unnest($2, $3, $4, $5) AS u(lead_id, hot, replied_at, direction)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.leads y"
		"   WHERE y.tenant_id = $1 AND y.lead_id = u.lead_id OFFSET 0) x OFFSET 0) k"
		" WHERE l.ctid = k.at",
	6, {UUIDOID, UUIDARRAYOID, BOOLARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}, .generic = true};
	static const Oid types[] = {UUIDOID, BOOLOID, TIMESTAMPTZOID, TEXTOID};
	Columns		c;
	Datum		values[6];

	columns_init(&c, lengthof(types), types);
	for (int i = 0; i < nleads; i++)
	{
		const Lead *l = &leads[i];
		const char *direction;

		if (!l->just_done)
			continue;
		direction = direction_of(l, s);
		if (!l->newly_hot && l->replied_at == 0 && strcmp(direction, l->direction) == 0)
			continue;
		columns_add(&c, 0, UUIDPGetDatum(&l->id), false);
		columns_add(&c, 1, BoolGetDatum(l->newly_hot), false);
		columns_add(&c, 2, TimestampTzGetDatum(l->replied_at), l->replied_at == 0);
		columns_add(&c, 3, CStringGetTextDatum(direction), false);
	}
	if (columns_rows(&c) == 0)
		return;
	values[0] = tenant;
	for (int i = 0; i < c.n; i++)
		values[i + 1] = columns_array(&c, i);
	values[5] = TimestampTzGetDatum(now);
	if (columns_rows(&c) == 1)
	{
		es_spi_run(&one, SPI_OK_UPDATE, values, NULL);
		return;
	}
	es_spi_run(&lock, SPI_OK_SELECT, values, NULL);
	SPI_freetuptable(SPI_tuptable);
	es_spi_run(&update, SPI_OK_UPDATE, values, NULL);
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
	ScoreSettings settings;
	bool		lowered;
	int			left = n;
	int			stored = 0;
	pg_uuid_t	stored_lead;
	Columns		hot;
	Columns		replied;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	settings = settings_of(tenant, &lowered);
	columns_init(&hot, 1, uuid);
	columns_init(&replied, 1, uuid);
	/* each round is over the signals whose lead is not settled */
	while (left > 0)
	{
		Lead	   *leads = palloc0(sizeof(Lead) * left);
		int			nleads = 0;
		bool		moved = false;

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
		read_leads(tenant, leads, nleads, &settings, lowered);
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
