/*
 * process.c
 *		The sender's processor.
 *
 * sender_process() goes round the tenants that have runs in sender_due, in the
 * order of their ids, one batch and one commit each, until a whole round found
 * nothing to do.  So a tenant with a million due runs costs another one at
 * most one batch.
 *
 * A batch (sender_process_tenant) belongs to one tenant and to one session: a
 * lock on the tenant (core/locks.c), so that the runs of one lead
 * are decided by one session at a time, in order.  It
 *
 *	1. enters the tenant, as the system, and, where anything is due, locks the tenant's
 *	   row, its channels' and its due campaigns' rows FOR SHARE;
 *	2. reads the queues: the runs that wait for one step of a version.  A queue
 *	   that belongs to many who must wait (gates 1, 2, 11, 12, 16) is left out
 *	   of the claim: nothing is written, and it does not stand in the way;
 *	3. takes due rows of the others, oldest first, as far as budgets go, and
 *	   locks their leads FOR NO KEY UPDATE SKIP LOCKED: what somebody else is
 *	   writing stays due.  (A share lock on a lead would have to be raised to
 *	   open its ticket, and two cannot raise theirs.)  What the decisions look
 *	   at is read after the locks.  Whatever brakes (a freeze, a pause, an
 *	   opt-out, a hot lead) updates one of these rows: brake and batch are
 *	   serial, and nothing is admitted after the brake's commit (L4).  Those who
 *	   brake lock in the same order; a run is written by who has its lead;
 *	4. decides each run with sender_decide(), oldest due first; each admission
 *	   uses up budget before the next;
 *	5. writes intents, events, runs and what is due next, table by table.
 *
 * Killed anywhere, the transaction never was.  The sandbox provider has no
 * wire, so its outcome is part of the same transaction; for a live tenant the
 * intent is left ready for delivery.
 */
#include "core/core.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sender/batch.h"
#include "tenancy/tenancy.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ----- the claim ------------------------------------------------------- */

/*
 * What a batch may still take: of a channel, of a campaign, in all.  Queues
 * share it, so that what is due first is taken first, whichever queue it is in:
 * of one lead's runs none overtakes another at a limit.
 */
typedef struct Allowance
{
	int			channels[4];
	int			funds;
	const Campaign **campaigns; /* with a rate of their own */
	int		   *left;
	int			ncampaigns;
} Allowance;

static void
allowance_init(Allowance *a, const Tenant *t, const Queue *queues, int nqueues)
{
	for (int i = 0; i < lengthof(a->channels); i++)
		a->channels[i] = Min(t->channels[i].left_today, t->channels[i].left_this_minute);
	a->funds = t->funds;
	a->campaigns = palloc(sizeof(Campaign *) * Max(nqueues, 1));
	a->left = palloc(sizeof(int) * Max(nqueues, 1));
	a->ncampaigns = 0;
	/* queues are in the order of their campaigns */
	for (int i = 0; i < nqueues; i++)
		if (queues[i].campaign->rated &&
			(a->ncampaigns == 0 || a->campaigns[a->ncampaigns - 1] != queues[i].campaign))
		{
			a->campaigns[a->ncampaigns] = queues[i].campaign;
			a->left[a->ncampaigns++] = queues[i].campaign->left_this_minute;
		}
}

/* allowed says whether another run of a queue may be taken, and takes it off
 * the allowance when it is. */
static bool
allowed(Allowance *a, const Tenant *t, const Queue *q, bool take)
{
	int		   *of[3] = {&a->channels[q->channel], &a->funds, NULL};

	/* a rehearsal uses up nothing */
	if (t->dry_run || q->campaign->dry_run)
		return true;
	for (int i = 0; i < a->ncampaigns; i++)
		if (a->campaigns[i] == q->campaign)
			of[2] = &a->left[i];
	for (int i = 0; i < lengthof(of); i++)
		if (of[i] != NULL && *of[i] <= 0)
			return false;
	for (int i = 0; i < lengthof(of) && take; i++)
		if (of[i] != NULL && *of[i] != UNLIMITED)
			(*of[i])--;
	return true;
}

/* used_up are the domains to which no more may go in this minute. */
static Datum
used_up(const Tenant *t)
{
	static const Oid types[] = {TEXTOID};
	Columns		names;
	HASH_SEQ_STATUS all;
	Domain	   *d;

	columns_init(&names, 1, types);
	if (t->domains != NULL)
	{
		hash_seq_init(&all, t->domains);
		while ((d = hash_seq_search(&all)) != NULL)
		{
			d->claimed = 0;
			if (d->left <= 0)
				columns_add(&names, 0, CStringGetTextDatum(d->name), false);
		}
	}
	return columns_array(&names, 0);
}

/*
 * fetch reads rows of what is due, oldest first, as many of each queue as a batch
 * needs: a row has up to a hundred runs, or one.
 */
static int
fetch(EsPlan *due, Datum *values, int nqueues, int batch)
{
	int			limit = Min(batch, Max(20, batch / 25));

	for (;;)
	{
		int		   *of = palloc0(sizeof(int) * nqueues);
		int			runs = 0;
		int			n;
		bool		more = false;

		values[5] = Int32GetDatum(limit);
		n = es_spi_run(due, SPI_OK_SELECT, values, NULL);
		for (int i = 0; i < n; i++)
		{
			bool		isnull;
			ArrayType  *leads = DatumGetArrayTypeP(es_spi_get(i, 4, &isnull));

			runs += ArrayGetNItems(ARR_NDIM(leads), ARR_DIMS(leads));
			/* what this queue has next may be older than what follows here */
			more |= ++of[int_at(i, 1)] == limit && runs < batch;
		}
		pfree(of);
		if (!more || limit == batch)
			return n;
		SPI_freetuptable(SPI_tuptable);
		limit = Min(batch, limit * 5);
	}
}

/*
 * claim takes due rows of queues that are not held, oldest first, until it has
 * a batch; what it does not take of a row goes back at once.  Then it locks the
 * runs' leads and reads the runs, in two statements, so that what is read (the
 * address, the suppression list) is what stands after whoever braked had the
 * lead's lock.
 */
static Run *
claim(Batch *b, const Tenant *t, Queue *queues, int nqueues, int batch, int *n)
{
	static EsPlan due = {
		"SELECT u.o::int4, x.due_at, x.chunk, x.leads, x.domain FROM unnest($2, $3, $4, $7) AS u(c, v, s, o)"
		" CROSS JOIN LATERAL (SELECT w.due_at, w.chunk, w.leads, w.domain FROM entrestate.sender_due w"
		"  WHERE w.tenant_id = $1 AND w.campaign_id = u.c AND w.version = u.v AND w.step = u.s AND w.due_at <= $5"
		"  AND (w.domain IS NULL OR w.domain <> ALL ($8))"
		"  ORDER BY w.due_at, w.chunk LIMIT $6) x ORDER BY x.due_at, u.o, x.chunk",
		8, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, TIMESTAMPTZOID, INT4OID, INT4ARRAYOID, TEXTARRAYOID},
	.generic = true};
	static EsPlan done = {
		"DELETE FROM entrestate.sender_due d USING (SELECT x.ctid AS it FROM unnest($2, $3, $4, $5, $6) AS u(c, v, s, at, chunk)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_due y WHERE y.tenant_id = $1 AND y.campaign_id = u.c"
		"   AND y.version = u.v AND y.step = u.s AND y.due_at = u.at AND y.chunk = u.chunk OFFSET 0) x OFFSET 0) k"
		" WHERE d.ctid = k.it AND d.tenant_id = $1",
	6, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID}, .generic = true};
	static const Oid queue_types[] = {UUIDOID, INT4OID, INT2OID, INT4OID};
	static const Oid done_types[] = {UUIDOID, INT4OID, INT2OID, TIMESTAMPTZOID, INT8OID};
	Columns		q;
	Columns		taken;
	Datum		values[8];
	Run		   *runs = palloc0(sizeof(Run) * batch);
	Allowance	allowance;
	int			nrows;

	*n = 0;
	columns_init(&q, lengthof(queue_types), queue_types);
	columns_init(&taken, lengthof(done_types), done_types);
	for (int i = 0; i < nqueues; i++)
	{
		if (queues[i].held != REASON_NONE)
			continue;
		columns_add(&q, 0, UUIDPGetDatum(&queues[i].campaign->id), false);
		columns_add(&q, 1, Int32GetDatum(queues[i].version), false);
		columns_add(&q, 2, Int16GetDatum(queues[i].step), false);
		columns_add(&q, 3, Int32GetDatum(i), false);
	}
	if (columns_rows(&q) == 0)
		return runs;
	values[0] = UUIDPGetDatum(&t->id);
	for (int i = 0; i < 3; i++)
		values[i + 1] = columns_array(&q, i);
	values[4] = TimestampTzGetDatum(b->now);
	values[6] = columns_array(&q, 3);
	values[7] = used_up(t);
	allowance_init(&allowance, t, queues, nqueues);
	nrows = fetch(&due, values, nqueues, batch);
	for (int i = 0; i < nrows && *n < batch; i++)
	{
		bool		isnull;
		int			at = int_at(i, 1);
		Queue	   *queue = &queues[at];
		TimestampTz due_at = instant_at(i, 2);
		Datum	   *ids;
		int			nids;
		int			k = 0;
		Domain	   *domain;

		queue->waiting = true;
		/* skips use up nothing, so that a queue may be taken from again */
		if (!allowed(&allowance, t, queue, false))
			continue;
		es_spi_get(i, 5, &isnull);
		domain = isnull || t->domains == NULL ? NULL : domain_of(t, text_at(i, 5));
		if (domain != NULL && domain->claimed >= domain->left)
			continue;
		queue->looked_at = true;
		deconstruct_array(DatumGetArrayTypeP(es_spi_get(i, 4, &isnull)), UUIDOID, UUID_LEN, false,
						  TYPALIGN_CHAR, &ids, NULL, &nids);
		for (; k < nids && *n < batch && (domain == NULL || domain->claimed < domain->left) &&
			 allowed(&allowance, t, queue, true); k++)
		{
			Run		   *r = &runs[*n];

			r->queue = queue;
			r->campaign = queue->campaign;
			r->due_at = due_at;
			r->lead = *DatumGetUUIDP(ids[k]);
			r->variant = -1;
			(*n)++;
			if (domain != NULL)
				domain->claimed++;
		}
		for (; k < nids; k++)
			batch_add_due(b, &queue->campaign->id, queue->version, queue->step, DatumGetUUIDP(ids[k]), due_at,
						  domain ? domain->name : NULL);
		columns_add(&taken, 0, UUIDPGetDatum(&queue->campaign->id), false);
		columns_add(&taken, 1, Int32GetDatum(queue->version), false);
		columns_add(&taken, 2, Int16GetDatum(queue->step), false);
		columns_add(&taken, 3, TimestampTzGetDatum(due_at), false);
		columns_add(&taken, 4, es_spi_get(i, 3, &isnull), false);
	}
	SPI_freetuptable(SPI_tuptable);
	columns_run(&taken, &done, SPI_OK_DELETE, values[0]);
	lock_leads(t, runs, *n);
	load_runs(t, queues, nqueues, b->now, runs, *n);
	return runs;
}

/* ----- a batch --------------------------------------------------------- */

/* judge_queues asks, for each queue, whether a run with nothing against it
 * would be held. */
static void
judge_queues(const Tenant *t, Queue *queues, int nqueues, TimestampTz now)
{
	for (int i = 0; i < nqueues; i++)
	{
		SenderFacts f = facts_of(t, &queues[i], NULL, now);
		SenderDecision d = sender_decide(&f);

		queues[i].held = d.action == ACTION_HOLD ? d.reason : REASON_NONE;
	}
}

/* sender_use_up takes a run's send from the budgets that it counts against. */
void
sender_use_up(Tenant *t, Queue *q, const Run *r)
{
	Channel    *c = &t->channels[q->channel];
	Campaign   *k = q->campaign;

	c->used++;
	k->used++;
	if (c->left_today != UNLIMITED)
		c->left_today--;
	if (c->left_this_minute != UNLIMITED)
		c->left_this_minute--;
	if (k->left_this_minute != UNLIMITED)
		k->left_this_minute--;
	if (t->funds != UNLIMITED)
		t->funds--;
	if (r->domain != NULL)
	{
		r->domain->left--;
		r->domain->used++;
	}
}

/* sender_write_usage notes what was taken. */
void
sender_write_usage(const Tenant *t, const Campaign *campaigns, int ncampaigns)
{
	static EsPlan plan = {
		"INSERT INTO entrestate.sender_usage AS s (tenant_id, budget, key, window_at, used)"
		" SELECT $1, u.budget, u.key, u.at, u.used FROM unnest($2, $3, $4, $5) AS u(budget, key, at, used)"
		" ON CONFLICT ON CONSTRAINT sender_usage_pkey DO UPDATE SET used = s.used + EXCLUDED.used",
	5, {UUIDOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}};
	static const Oid types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT4OID};
	Columns		c;

	columns_init(&c, lengthof(types), types);
	for (int i = CHANNEL_EMAIL; i <= CHANNEL_WHATSAPP; i++)
	{
		const Channel *h = &t->channels[i];

		for (int minute = 0; minute <= 1; minute++)
			if (h->used > 0 && (minute == 0 || h->rated))
			{
				columns_add(&c, 0, CStringGetTextDatum(minute ? "channel_minute" : "channel_day"), false);
				columns_add(&c, 1, CStringGetTextDatum(sender_channel_word(i)), false);
				columns_add(&c, 2, TimestampTzGetDatum(minute ? t->minute : t->day), false);
				columns_add(&c, 3, Int32GetDatum(h->used), false);
			}
	}
	for (int i = 0; i < ncampaigns; i++)
		if (campaigns[i].used > 0 && campaigns[i].rated)
		{
			columns_add(&c, 0, CStringGetTextDatum("campaign_minute"), false);
			columns_add(&c, 1, CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&campaigns[i].id)))), false);
			columns_add(&c, 2, TimestampTzGetDatum(t->minute), false);
			columns_add(&c, 3, Int32GetDatum(campaigns[i].used), false);
		}
	if (t->domains != NULL)
	{
		HASH_SEQ_STATUS all;
		Domain	   *d;

		hash_seq_init(&all, t->domains);
		while ((d = hash_seq_search(&all)) != NULL)
			if (d->used > 0)
			{
				columns_add(&c, 0, CStringGetTextDatum("domain_minute"), false);
				columns_add(&c, 1, CStringGetTextDatum(d->name), false);
				columns_add(&c, 2, TimestampTzGetDatum(t->minute), false);
				columns_add(&c, 3, Int32GetDatum(d->used), false);
			}
	}
	columns_run(&c, &plan, SPI_OK_INSERT, UUIDPGetDatum(&t->id));
}

/*
 * write_holds notes where a queue's hold begins and ends.  What holds a tenant
 * or a campaign says so itself; a queue that has nothing due is not held.
 */
static void
write_holds(Tenant *t, Queue *queues, int nqueues, TimestampTz now)
{
	static EsPlan waiting = {
		"SELECT u.o FROM unnest($2, $3, $4, $6) AS u(c, v, s, o) WHERE EXISTS (SELECT FROM entrestate.sender_due w"
		" WHERE w.tenant_id = $1 AND w.campaign_id = u.c AND w.version = u.v AND w.step = u.s AND w.due_at <= $5 OFFSET 0)",
		6, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, TIMESTAMPTZOID, INT4ARRAYOID},
	.generic = true};
	static EsPlan note = {
		"SELECT entrestate.sender_hold($1, u.c, u.v, u.s, u.r) FROM unnest($2, $3, $4, $5) AS u(c, v, s, r)",
	5, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, INT2ARRAYOID}};
	static const Oid ask_types[] = {UUIDOID, INT4OID, INT2OID, INT4OID};
	static const Oid note_types[] = {UUIDOID, INT4OID, INT2OID, INT2OID};
	Columns		ask;
	Columns		notes;
	Datum		values[6];
	int			n;

	columns_init(&ask, lengthof(ask_types), ask_types);
	columns_init(&notes, lengthof(note_types), note_types);
	judge_queues(t, queues, nqueues, now);
	for (int i = 0; i < nqueues; i++)
	{
		Queue	   *q = &queues[i];

		if (q->held >= REASON_TENANT_FROZEN && q->held <= REASON_CAMPAIGN_ENDED)
			q->held = REASON_NONE;
		q->waiting = false;
		if (q->held == q->held_before)
			continue;
		columns_add(&ask, 0, UUIDPGetDatum(&q->campaign->id), false);
		columns_add(&ask, 1, Int32GetDatum(q->version), false);
		columns_add(&ask, 2, Int16GetDatum(q->step), false);
		columns_add(&ask, 3, Int32GetDatum(i), false);
	}
	if (columns_rows(&ask) == 0)
		return;
	values[0] = UUIDPGetDatum(&t->id);
	for (int i = 0; i < 3; i++)
		values[i + 1] = columns_array(&ask, i);
	values[4] = TimestampTzGetDatum(now);
	values[5] = columns_array(&ask, 3);
	n = es_spi_run(&waiting, SPI_OK_SELECT, values, NULL);
	for (int i = 0; i < n; i++)
		queues[int_at(i, 1)].waiting = true;
	for (int i = 0; i < nqueues; i++)
	{
		Queue	   *q = &queues[i];
		SenderReason now_held = q->waiting ? q->held : REASON_NONE;

		if (now_held == q->held_before || q->held == q->held_before)
			continue;
		columns_add(&notes, 0, UUIDPGetDatum(&q->campaign->id), false);
		columns_add(&notes, 1, Int32GetDatum(q->version), false);
		columns_add(&notes, 2, Int16GetDatum(q->step), false);
		columns_add(&notes, 3, Int16GetDatum(now_held), now_held == REASON_NONE);
	}
	columns_run(&notes, &note, SPI_OK_SELECT, values[0]);
}

static int
by_lead(const void *a, const void *b)
{
	const Run  *x = *(Run *const *) a;
	const Run  *y = *(Run *const *) b;
	int			c = memcmp(&x->lead, &y->lead, UUID_LEN);

	return c != 0 ? c : x < y ? -1 : x > y;
}

/* link_leads links the runs of a batch that are one lead's, in their order. */
static void
link_leads(Run *runs, int nruns)
{
	Run		  **sorted = palloc(sizeof(Run *) * Max(nruns, 1));

	for (int i = 0; i < nruns; i++)
		sorted[i] = &runs[i];
	qsort(sorted, nruns, sizeof(Run *), by_lead);
	for (int i = 0; i < nruns; i++)
		sorted[i]->next = i + 1 < nruns && memcmp(&sorted[i]->lead, &sorted[i + 1]->lead, UUID_LEN) == 0
			? sorted[i + 1] - runs : -1;
	pfree(sorted);
}

/* spread lets what was decided for a run show in the lead's further runs of the
 * batch: its ticket, and the send that counts against caps; what was simulated
 * counts among simulated only. */
static void
spread(const Tenant *t, const Run *r, Run *runs, TimestampTz now)
{
	bool		ticket = r->ended && (r->facts.hot || r->facts.replied);

	for (int i = r->next; i >= 0; i = runs[i].next)
	{
		Run		   *x = &runs[i];

		if (ticket)
			x->facts.handoff = true;
		if (r->admitted && x->campaign->ncaps > 0 &&
			(r->mode != MODE_DRY_RUN || t->dry_run || x->campaign->dry_run))
			run_add_send(x, now, r->queue->channel);
	}
}

/* ----- entry points ---------------------------------------------------- */

PG_FUNCTION_INFO_V1(sender_next_tenant);

/*
 * sender_next_tenant(after) returns the next tenant, by id, that has runs
 * waiting in sender_due; NULL at the end.  Definer.
 */
Datum
sender_next_tenant(PG_FUNCTION_ARGS)
{
	static EsPlan plan = {
		"SELECT d.tenant_id FROM entrestate.sender_due d WHERE d.tenant_id > $1"
		" ORDER BY d.tenant_id LIMIT 1", 1, {UUIDOID}};
	Datum		value = PG_GETARG_DATUM(0);
	pg_uuid_t  *result = palloc(sizeof(pg_uuid_t));
	bool		isnull;
	int			n;

	es_require_schema();
	SPI_connect();
	n = es_spi_run(&plan, SPI_OK_SELECT, &value, NULL);
	if (n > 0)
		*result = *DatumGetUUIDP(es_spi_get(0, 1, &isnull));
	SPI_finish();
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(result);
}

/* sender_require_read_committed: what a lock waited for must be seen, also where its row
 * did not change. */
void
sender_require_read_committed(const char *what)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(es_errcode(ES_WRONG_STATE)),
				 errmsg("%s needs the isolation level READ COMMITTED", what)));
}

static void
require_batch(int batch)
{
	if (batch < 1 || batch > 100000)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("batch is a number from 1 to 100000")));
}

/*
 * has_work says whether any queue of a tenant has something due, or is noted as held,
 * which may have to end.  Most tenants have nothing most of the time, and what a
 * batch reads before it finds that is many times as much.
 */
static bool
has_work(const pg_uuid_t *tenant, TimestampTz now)
{
	static EsPlan plan = {
		"WITH RECURSIVE queue AS ("
		" (SELECT d.campaign_id, d.version, d.step, d.due_at FROM entrestate.sender_due d WHERE d.tenant_id = $1"
		"  ORDER BY d.campaign_id, d.version, d.step, d.due_at LIMIT 1)"
		" UNION ALL"
		" SELECT x.* FROM queue q CROSS JOIN LATERAL ("
		"  SELECT d.campaign_id, d.version, d.step, d.due_at FROM entrestate.sender_due d WHERE d.tenant_id = $1"
		"  AND (d.campaign_id, d.version, d.step) > (q.campaign_id, q.version, q.step)"
		"  ORDER BY d.campaign_id, d.version, d.step, d.due_at LIMIT 1) x WHERE q.due_at > $2)"
		" SELECT FROM queue WHERE due_at <= $2 UNION ALL SELECT FROM entrestate.sender_holds h WHERE h.tenant_id = $1 LIMIT 1",
	2, {UUIDOID, TIMESTAMPTZOID}, .generic = true};
	Datum		values[2] = {UUIDPGetDatum(tenant), TimestampTzGetDatum(now)};

	return es_spi_run(&plan, SPI_OK_SELECT, values, NULL) > 0;
}

PG_FUNCTION_INFO_V1(sender_process_tenant);

/*
 * sender_process_tenant(tenant, batch) decides at most one batch of a tenant's
 * due runs and returns how many; 0 when another session is at it, when the
 * tenant is held, or when nothing is due.  Definer, one transaction.
 */
Datum
sender_process_tenant(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = *PG_GETARG_UUID_P(0);
	int			batch_size = PG_GETARG_INT32(1);
	Tenant		tenant;
	Campaign   *campaigns;
	int			ncampaigns;
	Queue	   *queues;
	int			nqueues;
	Run		   *runs;
	int			nruns;
	int			decided = 0;
	int			dropped;
	int			put_back;
	Batch		b;

	require_batch(batch_size);
	sender_require_read_committed("a batch");
	es_require_schema();
	SPI_connect();
	if (!es_lock_try(ES_LOCK_TENANT, &id))
		goto done;

	es_context_enter_system(&id);
	if (!has_work(&id, es_now()) || !load_tenant(&id, es_now(), true, &tenant))
		goto done;
	campaigns = load_campaigns(&tenant, NULL, true, &ncampaigns);
	/* what has ended or moved on is dropped from what is due, what its domain's
	 * rate holds is marked, and more is taken */
	do
	{
		dropped = put_back = 0;
		queues = load_queues(&tenant, campaigns, ncampaigns, NULL, &nqueues);
		batch_init(&b, &tenant, es_now());
		judge_queues(&tenant, queues, nqueues, b.now);
		runs = claim(&b, &tenant, queues, nqueues, batch_size, &nruns);
		link_leads(runs, nruns);
		for (int i = 0; i < nruns; i++)
		{
			Run		   *r = &runs[i];
			Queue	   *q = unconstify(Queue *, r->queue);
			SenderFacts f;
			const char *domain = NULL;

			if (r->locked && r->stale)
			{
				dropped++;
				continue;
			}
			if (r->locked)
			{
				SenderDecision d;

				f = facts_of(&tenant, q, r, b.now);
				d = sender_decide(&f);
				/* a run has one message on its way: its next step waits for a retry's outcome */
				if ((!r->in_flight || d.action == ACTION_TERMINATE) && batch_apply(&b, r, d))
				{
					decided++;
					if (r->admitted && !f.dry_run)
						sender_use_up(&tenant, q, r);
					if (r->admitted || r->ended)
						spread(&tenant, r, runs, b.now);
					continue;
				}
				if (d.reason == REASON_RATE_LIMITED && r->domain != NULL && r->domain->left <= 0)
				{
					domain = r->domain->name;
					put_back++;
				}
			}
			/* somebody has the lead, a budget is used up, or a message is on its way */
			batch_add_due(&b, &r->campaign->id, q->version, q->step, &r->lead, r->due_at, domain);
		}
		batch_write(&b);
		sender_write_usage(&tenant, campaigns, ncampaigns);
		batch_open_tickets(&b);
		write_holds(&tenant, queues, nqueues, b.now);
	} while (decided == 0 && dropped + put_back > 0);

done:
	SPI_finish();
	PG_RETURN_INT32(decided);
}

/*
 * sender_rounds goes round the tenants that have something to do, a batch and a
 * commit each, until a round found nothing.  It is the body of procedures that
 * pg_cron calls.  INVOKER, since a procedure that commits cannot be SECURITY
 * DEFINER; the work is done by the two definer functions in next (after) and
 * work (tenant, batch).  A tenant whose batch fails is reported as a warning
 * and left for the next call; the others go on.
 */
void
sender_rounds(FunctionCallInfo fcinfo, const char *name, EsPlan *next, EsPlan *work)
{
	pg_uuid_t	nobody = {{0}};
	pg_uuid_t	at = nobody;
	volatile int64 in_round = 0;
	volatile int batch = PG_ARGISNULL(0) ? 2000 : PG_GETARG_INT32(0);
	MemoryContext mine = CurrentMemoryContext;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s() commits each batch, so it cannot run inside a transaction", name),
				 errhint("CALL entrestate.%s(); by itself.", name)));
	require_batch(batch);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	for (;;)
	{
		Datum		values[2];
		bool		isnull;
		Datum		d;
		ResourceOwner owner = CurrentResourceOwner;

		CHECK_FOR_INTERRUPTS();
		/* whatever the default is: each transaction is a new one here */
		(void) set_config_option("transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		values[0] = UUIDPGetDatum(&at);
		es_spi_run(next, SPI_OK_SELECT, values, NULL);
		d = es_spi_get(0, 1, &isnull);
		if (isnull)
		{
			SPI_commit();
			if (in_round == 0)
				break;
			in_round = 0;
			at = nobody;
			continue;
		}
		at = *DatumGetUUIDP(d);
		SPI_freetuptable(SPI_tuptable);

		values[1] = Int32GetDatum(batch);
		BeginInternalSubTransaction(NULL);
		PG_TRY();
		{
			es_spi_run(work, SPI_OK_SELECT, values, NULL);
			in_round += DatumGetInt32(es_spi_get(0, 1, &isnull));
			SPI_freetuptable(SPI_tuptable);
			ReleaseCurrentSubTransaction();
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *e;

			MemoryContextSwitchTo(mine);
			e = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			CurrentResourceOwner = owner;
			MemoryContextSwitchTo(mine);
			/* a cancel is for us, not for the tenant */
			if (e->sqlerrcode == ERRCODE_QUERY_CANCELED ||
				e->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
				ReThrowError(e);
			ereport(WARNING,
					(errcode(e->sqlerrcode),
					 errmsg("a batch failed and is left for the next call: %s",
							e->message),
					 errdetail("Tenant %s.",
							   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&at))))));
			FreeErrorData(e);
		}
		PG_END_TRY();
		SPI_commit();
	}
	SPI_finish();
}

PG_FUNCTION_INFO_V1(sender_process);

/* sender_process(batch) decides everything that is due. */
Datum
sender_process(PG_FUNCTION_ARGS)
{
	static EsPlan next = {"SELECT entrestate.sender_next_tenant($1)", 1, {UUIDOID}};
	static EsPlan work = {"SELECT entrestate.sender_process_tenant($1, $2)", 2,
	{UUIDOID, INT4OID}};

	sender_rounds(fcinfo, "sender_process", &next, &work);
	PG_RETURN_VOID();
}
