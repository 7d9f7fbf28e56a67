/*
 * runs.c
 *		Reads the runs of a batch, with what their decisions look at.
 *
 * A run costs a handful of look-ups by key: itself, its lead, score, contact
 * point, consent, the suppression list, and what counts against caps where its
 * campaign has some.  They are index scans that stay open for the batch
 * (core/lookup.c), all with one snapshot, taken after the leads were locked.  What
 * only some queues have and takes SQL (a guard, an exit predicate, a template with
 * fields) is one statement for those runs.
 *
 * The results live in the memory context of the caller's SPI_connect().
 */
#include "core/core.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "core/lookup.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "sender/batch.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* ----- look-ups --------------------------------------------------------- */

static const EsLookupKey by_lead_and_word[] = {
	{1, BTEqualStrategyNumber, F_UUID_EQ},
	{2, BTEqualStrategyNumber, F_UUID_EQ},
	{3, BTEqualStrategyNumber, F_TEXTEQ},
};
static const EsLookupKey by_words[] = {
	{1, BTEqualStrategyNumber, F_UUID_EQ},
	{2, BTEqualStrategyNumber, F_TEXTEQ},
	{3, BTEqualStrategyNumber, F_TEXTEQ},
};
static const EsLookupKey by_hash[] = {
	{1, BTEqualStrategyNumber, F_UUID_EQ},
	{2, BTEqualStrategyNumber, F_BYTEAEQ},
};
static const EsLookupKey by_lead_and_time[] = {
	{1, BTEqualStrategyNumber, F_UUID_EQ},
	{2, BTEqualStrategyNumber, F_UUID_EQ},
	{3, BTGreaterStrategyNumber, F_TIMESTAMPTZ_GT},
	{3, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE},
};

/* What is looked up for each run. */
typedef struct Lookups
{
	EsLookup	run;
	EsLookup	lead;
	EsLookup	score;
	EsLookup	contact;
	EsLookup	suppression;
	EsLookup	consent;
	/* what counts against caps, where there are any: */
	bool		caps;
	EsLookup	merged;			/* the lead's duplicates */
	EsLookup	past;			/* who had its address before */
	bool		has_past;		/* somebody had, of any tenant */
	EsLookup   *events;			/* partitions of sender_events */
	int			nevents;
	/* only what a live tenant sends is on its way for a while: */
	bool		live;
	EsLookup	flight;			/* a lead's */
} Lookups;

/* The columns that read_lead() reads. */
static const char *const lead_columns[] = {"time_zone", "handoff_open", "handoff_at", "status", "merged_into",
"opted_out_at", "complained_at", "erasure_requested_at", "hot_at", "replied_at", "whatsapp_at", NULL};

/* open_events opens the partitions of sender_events that reach into the time from
 * "since" to "now". */
static void
open_events(Lookups *l, const pg_uuid_t *tenant, TimestampTz since, TimestampTz now, Snapshot snapshot)
{
	static const char *const columns[] = {"recorded_at", "type", "channel", NULL};
	Oid			parent_index = es_relation("sender_events_pkey");
	Relation	parent = table_open(es_relation("sender_events"), AccessShareLock);
	PartitionDesc desc = RelationGetPartitionDesc(parent, true);
	PartitionBoundInfo bounds = desc->boundinfo;

	l->events = palloc(sizeof(EsLookup) * Max(desc->nparts, 1));
	l->nevents = 0;
	if (bounds == NULL)
		elog(ERROR, "sender_events has no partitions");
	/* a partition's number stands where its range ends; then what is beyond the
	 * last, and the default */
	for (int i = 0; i <= bounds->ndatums + 1; i++)
	{
		int			at = i <= bounds->ndatums ? bounds->indexes[i] : bounds->default_index;
		Relation	heap;

		if (at < 0)
			continue;
		if (i < bounds->ndatums && bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE &&
			DatumGetTimestampTz(bounds->datums[i][0]) <= since)
			continue;
		if (i > 0 && i <= bounds->ndatums && bounds->kind[i - 1][0] == PARTITION_RANGE_DATUM_VALUE &&
			DatumGetTimestampTz(bounds->datums[i - 1][0]) > now)
			continue;
		heap = table_open(desc->oids[at], AccessShareLock);
		if (RelationGetNumberOfBlocks(heap) == 0)
			table_close(heap, NoLock);
		else
		{
			EsLookup   *x = &l->events[l->nevents++];

			es_lookup_begin(x, tenant, heap, index_get_partition(heap, parent_index), snapshot,
							lengthof(by_lead_and_time), by_lead_and_time, columns);
			es_lookup_walk(x, 1);
			es_lookup_hold(x);
		}
	}
	table_close(parent, NoLock);
}

static void
lookups_open(Lookups *l, const Tenant *t, int64 caps_span, TimestampTz now, Snapshot snapshot)
{
	const pg_uuid_t *tenant = &t->id;
	static const char *const run[] = {"version", "cursor", "run_seq", "attempt", "deferrals", "sent_steps",
	"mode", "next_at", "status", "created_at", "first_due_at", "last_outcome_at", "stopped_by", NULL};
	static const char *const score[] = {"score", "last_signal_at", NULL};
	static const char *const contact[] = {"address_norm", "unusable_reason", NULL};
	static const char *const status[] = {"status", NULL};
	static const char *const lead_id[] = {"lead_id", NULL};
	static const char *const past[] = {"lead_id", "removed_at", NULL};
	static const char *const intent[] = {"status", "created_at", "channel", "campaign_id", NULL};
	static const char *const nothing[] = {NULL};

	es_lookup_open(&l->run, tenant, "sender_runs", "sender_runs_pkey", snapshot, 3, es_lookup_by_uuids, run);
	es_lookup_open(&l->lead, tenant, "leads", "leads_pkey", snapshot, 2, es_lookup_by_uuids, lead_columns);
	es_lookup_open(&l->score, tenant, "lead_scores", "lead_scores_pkey", snapshot, 2, es_lookup_by_uuids, score);
	es_lookup_open(&l->contact, tenant, "lead_contacts", "lead_contacts_primary", snapshot, 3, by_lead_and_word, contact);
	es_lookup_open(&l->suppression, tenant, "suppressions", "suppressions_pkey", snapshot, 3, by_words, nothing);
	es_lookup_open(&l->consent, tenant, "lead_consents", "lead_consents_pkey", snapshot, 3, by_lead_and_word, status);
	es_lookup_walk(&l->run, 2);
	es_lookup_walk(&l->lead, 1);
	es_lookup_walk(&l->score, 1);
	es_lookup_walk(&l->contact, 1);
	es_lookup_walk(&l->consent, 1);
	l->live = t->mode == MODE_LIVE;
	if (l->live)
		es_lookup_open(&l->flight, tenant, "sender_intents", "sender_intents_flight", snapshot, 2, es_lookup_by_uuids, intent);
	l->caps = caps_span > 0;
	if (l->caps)
	{
		es_lookup_open(&l->merged, tenant, "leads", "leads_merged", snapshot, 2, es_lookup_by_uuids, lead_id);
		es_lookup_walk(&l->merged, 0);
		es_lookup_open(&l->past, tenant, "past_contacts", "past_contacts_pkey", snapshot, 2, by_hash, past);
		l->has_past = RelationGetNumberOfBlocks(l->past.heap) > 0;
		open_events(l, tenant, now - caps_span, now, snapshot);
	}
}

static void
lookups_close(Lookups *l)
{
	es_lookup_end(&l->run);
	es_lookup_end(&l->lead);
	es_lookup_end(&l->score);
	es_lookup_end(&l->contact);
	es_lookup_end(&l->suppression);
	es_lookup_end(&l->consent);
	if (l->live)
		es_lookup_end(&l->flight);
	if (!l->caps)
		return;
	es_lookup_end(&l->merged);
	es_lookup_end(&l->past);
	for (int i = 0; i < l->nevents; i++)
		es_lookup_end(&l->events[i]);
}

/* ----- a run ------------------------------------------------------------ */

static bool
find_run(Lookups *l, const pg_uuid_t *tenant, Run *r)
{
	Datum		key[] = {UUIDPGetDatum(tenant), UUIDPGetDatum(&r->campaign->id), UUIDPGetDatum(&r->lead)};
	EsLookup   *x = &l->run;

	if (!es_lookup_find(x, key))
		return false;
	r->at = es_lookup_at(x);
	r->version = es_lookup_int(x, 0);
	r->cursor = es_lookup_short(x, 1);
	r->run_seq = es_lookup_int(x, 2);
	r->attempt = es_lookup_short(x, 3);
	r->deferrals = es_lookup_short(x, 4);
	r->sent_steps = es_lookup_short(x, 5);
	r->mode = sender_mode(es_lookup_text(x, 6));
	r->created_at = es_lookup_instant(x, 9);
	r->first_due_at = es_lookup_instant(x, 10);
	r->last_outcome_at = es_lookup_instant(x, 11);
	r->facts.stopped = es_lookup_is_set(x, 12);
	r->stale = !(es_lookup_is(x, 8, "pending") || es_lookup_is(x, 8, "running")) || r->cursor != r->queue->step ||
		r->version != r->queue->version || es_lookup_instant(x, 7) != r->due_at;
	return true;
}

static TimestampTz
instant_or_never(EsLookup *x, int column)
{
	return es_lookup_is_set(x, column) ? es_lookup_instant(x, column) : DT_NOBEGIN;
}

static void
read_lead(EsLookup *x, LeadRow *row)
{
	row->read = true;
	row->zone = es_lookup_text(x, 0);
	row->handoff_open = es_lookup_bool(x, 1);
	row->handoff_at = instant_or_never(x, 2);
	row->closed = es_lookup_is(x, 3, "booked") || es_lookup_is(x, 3, "lost");
	row->merged = es_lookup_is_set(x, 4);
	row->opted_out = es_lookup_is_set(x, 5);
	row->complained = es_lookup_is_set(x, 6);
	row->erased = es_lookup_is_set(x, 7);
	row->hot = es_lookup_is_set(x, 8);
	row->replied_at = instant_or_never(x, 9);
	row->whatsapp_at = instant_or_never(x, 10);
}

static int
compare_keys(const void *a, const void *b)
{
	const Run  *x = *(Run *const *) a;
	const Run  *y = *(Run *const *) b;
	int			c = x->campaign == y->campaign ? 0 : memcmp(&x->campaign->id, &y->campaign->id, UUID_LEN);

	return c != 0 ? c : memcmp(&x->lead, &y->lead, UUID_LEN);
}

/* by_key are runs in the order in which the look-ups walk: those of a campaign by
 * their leads. */
static Run **
by_key(Run *runs, int nruns)
{
	Run		  **order = palloc(sizeof(Run *) * Max(nruns, 1));

	for (int i = 0; i < nruns; i++)
		order[i] = &runs[i];
	qsort(order, nruns, sizeof(Run *), compare_keys);
	return order;
}

/*
 * lock_leads locks the runs' leads, those that nobody else has, and reads them as
 * they stand: FOR NO KEY UPDATE, since a share lock would have to be raised to open
 * a ticket, and two cannot raise theirs.
 */
void
lock_leads(const Tenant *t, Run *runs, int nruns)
{
	EsLookup	lead;
	Run		  **order = by_key(runs, nruns);

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	es_lookup_open(&lead, &t->id, "leads", "leads_pkey", GetActiveSnapshot(), 2, es_lookup_by_uuids, lead_columns);
	es_lookup_walk(&lead, 1);
	for (int i = 0; i < nruns; i++)
	{
		Run		   *r = order[i];
		Datum		key[] = {UUIDPGetDatum(&t->id), UUIDPGetDatum(&r->lead)};

		r->locked = es_lookup_find(&lead, key) && es_lookup_lock(&lead);
		if (r->locked)
			read_lead(&lead, &r->row);
	}
	es_lookup_end(&lead);
	pfree(order);
	PopActiveSnapshot();
}

static void
find_lead(Lookups *l, const Tenant *t, Datum channel, Datum kind, Run *r, TimestampTz now)
{
	Datum		key[] = {UUIDPGetDatum(&t->id), UUIDPGetDatum(&r->lead), (Datum) 0};
	LeadRow    *x = &r->row;
	const Queue *q = r->queue;

	if (!x->read)
	{
		if (!es_lookup_find(&l->lead, key))
			elog(ERROR, "a run has no lead");
		read_lead(&l->lead, x);
	}
	r->zone = x->zone;
	r->facts.handoff = x->handoff_open || x->handoff_at >= r->created_at;
	r->facts.closed = x->closed;
	r->facts.merged = x->merged;
	r->facts.opted_out = x->opted_out;
	r->facts.complained = x->complained;
	r->facts.erased = x->erased;
	r->facts.hot = x->hot;
	r->facts.replied = q->stop_on_reply && x->replied_at >= r->created_at;
	r->whatsapp_closed = q->ntexts > 0 && text_of(r)->free_text && x->whatsapp_at <= now - USECS_PER_DAY;

	if (es_lookup_find(&l->score, key))
	{
		r->score = es_lookup_int(&l->score, 0);
		r->last_signal_at = es_lookup_instant(&l->score, 1);
	}
	if (q->channel == CHANNEL_NONE)
		return;

	key[2] = kind;
	if (es_lookup_find(&l->contact, key))
	{
		bool		isnull;
		Datum		listed[] = {key[0], channel, es_lookup_get(&l->contact, 0, &isnull)};

		r->address = TextDatumGetCString(listed[2]);
		if (t->domains != NULL && q->channel == CHANNEL_EMAIL && strchr(r->address, '@') != NULL)
			r->domain = domain_of(t, strrchr(r->address, '@') + 1);
		r->contact = es_lookup_is_set(&l->contact, 1) ? CONTACT_UNUSABLE :
			es_lookup_find(&l->suppression, listed) ? CONTACT_SUPPRESSED : CONTACT_USABLE;
	}
	key[2] = channel;
	/* the last one that was recorded holds */
	if (es_lookup_last(&l->consent, key))
	{
		r->consent_granted = es_lookup_is(&l->consent, 0, "granted");
		r->consent_withdrawn = !r->consent_granted;
	}
}

void
run_add_send(Run *r, TimestampTz at, SenderChannel channel)
{
	if (r->nsends == r->sends_room)
	{
		r->sends_room = r->sends_room == 0 ? 4 : r->sends_room * 2;
		r->sends = r->sends == NULL ? palloc(sizeof(SenderSend) * r->sends_room) :
			repalloc(r->sends, sizeof(SenderSend) * r->sends_room);
	}
	r->sends[r->nsends].at = at;
	r->sends[r->nsends++].channel = channel;
}

static int
by_time(const void *a, const void *b)
{
	const SenderSend *x = a;
	const SenderSend *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/*
 * find_flight finds what is on its way for a lead, of whichever campaign: whether
 * it is the run's, and each as a send, where caps count them.
 */
static void
find_flight(Lookups *l, const Tenant *t, Run *r)
{
	Datum		key[] = {UUIDPGetDatum(&r->lead), UUIDPGetDatum(&t->id)};
	EsLookup   *x = &l->flight;
	bool		isnull;

	for (bool found = es_lookup_find(x, key); found; found = es_lookup_next(x))
	{
		/* the only outcome that is not final */
		if (es_lookup_is(x, 0, "unknown"))
			continue;
		if (memcmp(DatumGetUUIDP(es_lookup_get(x, 3, &isnull)), &r->campaign->id, UUID_LEN) == 0)
			r->in_flight = true;
		if (r->campaign->ncaps > 0)
			run_add_send(r, es_lookup_instant(x, 1), sender_channel(es_lookup_text(x, 2)));
	}
}

/* find_sends adds what a lead was sent from "since" on and until "until", or may
 * have been; in a rehearsal also what would have been. */
static void
find_sends(Lookups *l, const pg_uuid_t *tenant, const pg_uuid_t *lead, Run *r, TimestampTz since, TimestampTz until, bool dry_run)
{
	Datum		key[] = {UUIDPGetDatum(tenant), UUIDPGetDatum(lead), TimestampTzGetDatum(since), TimestampTzGetDatum(until)};

	for (int i = 0; i < l->nevents; i++)
		for (bool found = es_lookup_find(&l->events[i], key); found; found = es_lookup_next(&l->events[i]))
		{
			int			type = es_lookup_short(&l->events[i], 1);

			if (type == EVENT_STEP_SENT || type == EVENT_STEP_UNKNOWN || (type == EVENT_STEP_SIMULATED && dry_run))
				run_add_send(r, es_lookup_instant(&l->events[i], 0), es_lookup_short(&l->events[i], 2));
		}
}

/* hash_of is address_hash() of a run's address. */
static bytea *
hash_of(const Tenant *t, const Run *r)
{
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&t->id)));
	char	   *said = psprintf("%s %s %s", id, r->queue->channel == CHANNEL_EMAIL ? "email" : "phone", r->address);
	bytea	   *hash = DatumGetByteaP(DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(said)));

	pfree(id);
	pfree(said);
	return hash;
}

static bool
merged_into(Lookups *l, const Tenant *t, const pg_uuid_t *lead, const pg_uuid_t *into)
{
	Datum		key[] = {UUIDPGetDatum(&t->id), UUIDPGetDatum(lead)};
	bool		isnull;
	Datum		d;

	if (!es_lookup_find(&l->lead, key))
		return false;
	d = es_lookup_get(&l->lead, 4, &isnull);
	return !isnull && memcmp(DatumGetUUIDP(d), into, UUID_LEN) == 0;
}

/*
 * find_capped finds what counts against a run's caps, in the order of time: what
 * the lead and those that were merged into it were sent, what is on its way to it,
 * and what whoever had its address before was sent until then.
 */
static void
find_capped(Lookups *l, const Tenant *t, Run *r, TimestampTz now)
{
	Datum		key[] = {UUIDPGetDatum(&r->lead), UUIDPGetDatum(&t->id)};
	bool		dry_run = t->dry_run || r->campaign->dry_run;
	bool		email = r->queue->channel == CHANNEL_EMAIL;
	int64		span = 0;
	bool		others = r->nsends > 0;	/* what is on its way */
	bool		isnull;

	for (int i = 0; i < r->campaign->ncaps; i++)
		span = Max(span, r->campaign->caps[i].per);
	find_sends(l, &t->id, &r->lead, r, now - span, now, dry_run);
	for (bool found = es_lookup_find(&l->merged, key); found; found = es_lookup_next(&l->merged))
	{
		find_sends(l, &t->id, DatumGetUUIDP(es_lookup_get(&l->merged, 0, &isnull)), r, now - span, now, dry_run);
		others = true;
	}
	if (l->has_past && r->address != NULL)
	{
		Datum		past[] = {UUIDPGetDatum(&t->id), PointerGetDatum(hash_of(t, r))};

		for (bool found = es_lookup_find(&l->past, past); found; found = es_lookup_next(&l->past))
		{
			pg_uuid_t	before = *DatumGetUUIDP(es_lookup_get(&l->past, 0, &isnull));
			int			kept = r->nsends;

			/* the lead itself, or one of its duplicates, which are counted */
			if (memcmp(&before, &r->lead, UUID_LEN) == 0 || merged_into(l, t, &before, &r->lead))
				continue;
			find_sends(l, &t->id, &before, r, now - span, Min(now, es_lookup_instant(&l->past, 1)), dry_run);
			/* an email did not go to its telephone */
			for (int i = kept; i < r->nsends; i++)
				if ((r->sends[i].channel == CHANNEL_EMAIL) == email)
					r->sends[kept++] = r->sends[i];
			r->nsends = kept;
			others = true;
		}
	}
	if (others || l->nevents > 1)
		qsort(r->sends, r->nsends, sizeof(SenderSend), by_time);
}

/* ----- what some runs need ---------------------------------------------- */

/* variant_of chooses one of the step's variants for a run; -1: it has none. */
int
variant_of(const Run *r)
{
	const Queue *q = r->queue;
	char	   *id;
	int		   *weights;
	int			variant;

	if (!q->has_variants)
		return -1;
	id = psprintf("%s__%s",
				  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&r->campaign->id))),
				  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&r->lead))));
	weights = palloc(sizeof(int) * q->ntexts);
	for (int i = 0; i < q->ntexts; i++)
		weights[i] = q->texts[i].weight;
	variant = sender_variant(id, strlen(id), q->step, weights, q->ntexts);
	pfree(weights);
	pfree(id);
	return variant;
}

/* text_of is what a run's step says. */
const Text *
text_of(const Run *r)
{
	return &r->queue->texts[Max(r->variant, 0)];
}

static Datum
texts_of(char **words, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(n, 1));
	int			dims[1] = {n};
	int			lbs[1] = {1};

	for (int i = 0; i < n; i++)
	{
		nulls[i] = words[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(words[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, TEXTOID, -1, false, TYPALIGN_INT));
}

static Verdict
verdict_at(uint64 row, int col, bool asked)
{
	bool		isnull;
	Datum		d;

	if (!asked)
		return VERDICT_NONE;
	d = es_spi_get(row, col, &isnull);
	return isnull ? VERDICT_ERROR : DatumGetBool(d) ? VERDICT_TRUE : VERDICT_FALSE;
}

/*
 * ask_documents asks what takes the lead's document: the step's guard, the
 * sequence's exit predicate, and whether the template's fields are there.
 */
static void
ask_documents(const Tenant *t, const Queue *queues, int nqueues, TimestampTz now, Run *runs, int nruns)
{
	static EsPlan plan = {
		"SELECT d.no, CASE WHEN ($6)[d.q] IS NOT NULL THEN entrestate.guard_holds(($6)[d.q], doc.it) END,"
		" CASE WHEN ($7)[d.q] IS NOT NULL THEN entrestate.guard_holds(($7)[d.q], doc.it) END,"
		" CASE WHEN ($8)[d.x] IS NOT NULL THEN entrestate.template_missing((($8)[d.x])::text[], doc.it) IS NOT NULL END"
		" FROM unnest($2, $3, $4, $9, $10) AS d(q, campaign_id, lead_id, no, x)"
		" CROSS JOIN LATERAL (SELECT entrestate.sender_document($1, d.campaign_id, d.lead_id, $5) AS it OFFSET 0) doc",
		10, {UUIDOID, INT4ARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID},
	.generic = true};
	static const Oid keys[] = {INT4OID, UUIDOID, UUIDOID, INT4OID, INT4OID};
	Columns		k;
	Datum		values[10];
	char	  **guards = palloc(sizeof(char *) * Max(nqueues, 1));
	char	  **exits = palloc(sizeof(char *) * Max(nqueues, 1));
	int		   *first_text = palloc(sizeof(int) * Max(nqueues, 1));
	char	  **fields;
	int			ntexts = 0;
	int			n;

	for (int i = 0; i < nqueues; i++)
	{
		guards[i] = queues[i].guard;
		exits[i] = queues[i].exit_predicate;
		first_text[i] = ntexts;
		ntexts += queues[i].ntexts;
	}
	fields = palloc(sizeof(char *) * Max(ntexts, 1));
	for (int i = 0; i < nqueues; i++)
		for (int v = 0; v < queues[i].ntexts; v++)
			fields[first_text[i] + v] = queues[i].texts[v].fields;
	columns_init(&k, lengthof(keys), keys);
	for (int i = 0; i < nruns; i++)
	{
		const Run  *r = &runs[i];
		const Queue *q = r->queue;

		if (!r->found || (q->guard == NULL && q->exit_predicate == NULL &&
						  (q->ntexts == 0 || text_of(r)->fields == NULL)))
			continue;
		columns_add(&k, 0, Int32GetDatum(q - queues + 1), false);
		columns_add(&k, 1, UUIDPGetDatum(&r->campaign->id), false);
		columns_add(&k, 2, UUIDPGetDatum(&r->lead), false);
		columns_add(&k, 3, Int32GetDatum(i), false);
		columns_add(&k, 4, Int32GetDatum(first_text[q - queues] + Max(r->variant, 0) + 1), q->ntexts == 0);
	}
	if (columns_rows(&k) == 0)
		return;
	values[0] = UUIDPGetDatum(&t->id);
	for (int i = 0; i < 3; i++)
		values[i + 1] = columns_array(&k, i);
	values[4] = TimestampTzGetDatum(now);
	values[5] = texts_of(guards, nqueues);
	values[6] = texts_of(exits, nqueues);
	values[7] = texts_of(fields, ntexts);
	values[8] = columns_array(&k, 3);
	values[9] = columns_array(&k, 4);
	n = es_spi_run(&plan, SPI_OK_SELECT, values, NULL);
	for (int i = 0; i < n; i++)
	{
		Run		   *r = &runs[int_at(i, 1)];

		r->guard = verdict_at(i, 2, r->queue->guard != NULL);
		r->facts.goal = verdict_at(i, 3, r->queue->exit_predicate != NULL) == VERDICT_TRUE;
		r->missing_field = bool_at(i, 4);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ----- all of them ------------------------------------------------------ */

/*
 * load_runs reads those runs that are locked; campaign, queue, lead and due_at
 * are given.  What a queue does not need is not looked up.
 */
void
load_runs(const Tenant *t, const Queue *queues, int nqueues, TimestampTz now, Run *runs, int nruns)
{
	Lookups		l;
	Datum		channels[4] = {0};
	Datum		kinds[4] = {0};
	int64		span = 0;
	Run		  **order;

	for (int i = 0; i < nqueues; i++)
		for (int c = 0; c < queues[i].campaign->ncaps; c++)
			span = Max(span, queues[i].campaign->caps[c].per);
	for (int i = CHANNEL_EMAIL; i <= CHANNEL_WHATSAPP; i++)
	{
		channels[i] = CStringGetTextDatum(sender_channel_word(i));
		kinds[i] = CStringGetTextDatum(i == CHANNEL_EMAIL ? "email" : "phone");
	}

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	lookups_open(&l, t, span, now, GetActiveSnapshot());
	order = by_key(runs, nruns);
	for (int i = 0; i < nruns; i++)
	{
		Run		   *r = order[i];

		r->stale = true;
		r->found = r->locked && find_run(&l, &t->id, r);
		if (!r->found)
			continue;
		r->variant = variant_of(r);
		find_lead(&l, t, channels[r->queue->channel], kinds[r->queue->channel], r, now);
		if (l.live)
			find_flight(&l, t, r);
		if (r->campaign->ncaps > 0)
			find_capped(&l, t, r, now);
	}
	pfree(order);
	lookups_close(&l);
	PopActiveSnapshot();

	ask_documents(t, queues, nqueues, now, runs, nruns);
}
