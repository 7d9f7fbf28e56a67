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
 *	1. enters the tenant, as the system;
 *	2. locks, in this order, the tenant's row and its due campaigns' rows FOR
 *	   SHARE, the due runs' and the leads' rows FOR NO KEY UPDATE SKIP LOCKED:
 *	   what somebody else is writing stays due.  (A share lock on a lead would
 *	   have to be raised to open its ticket, and two cannot raise theirs.)
 *	   What the decisions look at is read after the locks.
 *	   Whatever brakes (a freeze, a pause, an opt-out, a hot lead)
 *	   updates one of these rows: brake and batch are serial, and nothing is
 *	   admitted after the brake's commit (L4).  Those who brake lock in the
 *	   same order;
 *	3. decides each run with sender_decide(), oldest due first;
 *	4. writes intents, events, runs and what is due next, each as one
 *	   statement over arrays.
 *
 * Killed anywhere, the transaction never was.  The sandbox provider has no
 * wire, so its outcome is part of the same transaction; for a live tenant the
 * intent is left ready for delivery.
 *
 * What is held (gates 1 and 2) is left out of the claim: nothing is written,
 * and it does not stand in the way of what may run.
 */
#include "core/core.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sender/batch.h"
#include "tenancy/tenancy.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ----- facts ----------------------------------------------------------- */

/* load_tenant reads and share-locks what a brake on the tenant writes. */
static bool
load_tenant(const pg_uuid_t *id, Tenant *t)
{
	static EsPlan tenant = {
		"SELECT mode, dry_run, frozen_at IS NOT NULL, paused_at IS NOT NULL, time_zone"
		" FROM entrestate.tenants WHERE tenant_id = $1 FOR SHARE", 1, {UUIDOID}};
	static EsPlan channel = {
		"SELECT channel, enabled, paused_at IS NOT NULL"
		" FROM entrestate.tenant_channels WHERE tenant_id = $1 FOR SHARE",
	1, {UUIDOID}};
	Datum		value = UUIDPGetDatum(id);
	int			n;

	memset(t, 0, sizeof(*t));
	t->id = *id;
	if (es_spi_run(&tenant, SPI_OK_SELECT, &value, NULL) == 0)
		return false;
	t->mode = sender_mode(text_at(0, 1));
	t->dry_run = bool_at(0, 2);
	t->frozen = bool_at(0, 3);
	t->paused = bool_at(0, 4);
	t->zone = text_at(0, 5);
	n = es_spi_run(&channel, SPI_OK_SELECT, &value, NULL);
	for (int i = 0; i < n; i++)
	{
		int			c = sender_channel(text_at(i, 1));

		t->channel_enabled[c] = bool_at(i, 2);
		t->channel_paused[c] = bool_at(i, 3);
	}
	return true;
}

/* load_campaigns reads and share-locks the campaigns that have runs waiting. */
static Campaign *
load_campaigns(Datum tenant, int *n)
{
	static EsPlan plan = {
		"WITH RECURSIVE due AS ("
		" (SELECT d.campaign_id FROM entrestate.sender_due d WHERE d.tenant_id = $1"
		"  ORDER BY d.campaign_id LIMIT 1)"
		" UNION ALL"
		" SELECT (SELECT d.campaign_id FROM entrestate.sender_due d"
		"  WHERE d.tenant_id = $1 AND d.campaign_id > due.campaign_id"
		"  ORDER BY d.campaign_id LIMIT 1)"
		" FROM due WHERE due.campaign_id IS NOT NULL)"
		" SELECT c.campaign_id, c.status, c.sender_enabled, c.risk_paused_at IS NOT NULL,"
		" c.dry_run, c.policy_version, c.brake_index::int4"
		" FROM due JOIN entrestate.campaigns c"
		" ON c.tenant_id = $1 AND c.campaign_id = due.campaign_id"
		" FOR SHARE OF c", 1, {UUIDOID}};
	static const char *const states[] = {"draft", "active", "paused",
	"completed", "archived"};
	Campaign   *result;

	*n = es_spi_run(&plan, SPI_OK_SELECT, &tenant, NULL);
	result = palloc0(sizeof(Campaign) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;
		char	   *state = text_at(i, 2);

		result[i].id = *DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		for (size_t s = 0; s < lengthof(states); s++)
			if (strcmp(states[s], state) == 0)
				result[i].state = s;
		result[i].sender_enabled = bool_at(i, 3);
		result[i].risk_paused = bool_at(i, 4);
		result[i].dry_run = bool_at(i, 5);
		result[i].policy_version = int_at(i, 6);
		result[i].brake_index = int_at(i, 7);
	}
	return result;
}

/* facts_of gathers what the decision looks at. */
static SenderFacts
facts_of(const Tenant *t, const Campaign *c, const Run *r)
{
	SenderFacts f = {0};

	f.tenant_frozen = t->frozen;
	f.tenant_paused = t->paused;
	f.campaign = c->state;
	f.sender_enabled = c->sender_enabled;
	f.risk_paused = c->risk_paused;
	f.brake_index = c->brake_index;
	f.dry_run = t->dry_run || c->dry_run;
	if (r != NULL)
	{
		f.lead = r->facts;
		f.cursor = r->cursor;
		f.steps = r->has_step ? r->cursor + 1 + (r->next_delay != NULL) : r->cursor;
		f.channel = r->channel;
		f.contact = r->contact;
		f.channel_enabled = t->channel_enabled[r->channel];
		f.channel_paused = t->channel_paused[r->channel];
	}
	else
	{
		/* a run with nothing against it, to see whether the queue is held */
		f.steps = 1;
		f.channel = CHANNEL_EMAIL;
		f.contact = CONTACT_USABLE;
		f.channel_enabled = true;
	}
	return f;
}

/*
 * claim locks the due runs of campaigns that are not held, with their leads,
 * and then reads them: two statements, so that what is read (the address, the
 * suppression list) is what stands after whoever braked had the lead's lock.
 */
static Run *
claim(const Tenant *t, Campaign *campaigns, int ncampaigns, TimestampTz now,
	  int batch, int *n)
{
	static EsPlan lock = {
		"SELECT d.campaign_id, d.lead_id, d.due_at"
		" FROM (SELECT x.* FROM unnest($2) AS c(campaign_id) CROSS JOIN LATERAL ("
		"   SELECT w.campaign_id, w.due_at, w.lead_id FROM entrestate.sender_due w"
		"   WHERE w.tenant_id = $1 AND w.campaign_id = c.campaign_id AND w.due_at <= $3"
		"   ORDER BY w.due_at, w.lead_id LIMIT $4) x"
		"  ORDER BY x.due_at, x.campaign_id, x.lead_id LIMIT $4) d"
		" JOIN entrestate.sender_runs r ON r.tenant_id = $1"
		"  AND r.campaign_id = d.campaign_id AND r.lead_id = d.lead_id"
		" JOIN entrestate.leads l ON l.tenant_id = $1 AND l.lead_id = d.lead_id"
		" ORDER BY d.due_at, d.campaign_id, d.lead_id"
		" FOR NO KEY UPDATE OF r, l SKIP LOCKED",
	4, {UUIDOID, UUIDARRAYOID, TIMESTAMPTZOID, INT4OID}};
	static EsPlan read = {
		"SELECT d.campaign_id, d.lead_id, d.due_at, r.version, r.cursor::int4,"
		" r.run_seq, r.attempt::int4, r.sent_steps::int4,"
		" r.next_at IS DISTINCT FROM d.due_at OR r.status NOT IN ('pending', 'running'),"
		" s.channel, s.template_id, s.template_version, nx.delay,"
		" a.address_norm IS NOT NULL, a.unusable_reason IS NOT NULL, p.address_norm IS NOT NULL,"
		" l.time_zone, g.score," LEAD_FACTS
		" FROM unnest($2, $3, $4) WITH ORDINALITY AS d(campaign_id, lead_id, due_at, o)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = d.campaign_id AND x.lead_id = d.lead_id OFFSET 0) r"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id OFFSET 0) l"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_sequences x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = d.campaign_id AND x.version = r.version OFFSET 0) q"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_scores x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id OFFSET 0) g ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = d.campaign_id AND x.version = r.version AND x.step = r.cursor OFFSET 0) s ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = d.campaign_id AND x.version = r.version AND x.step = r.cursor + 1 OFFSET 0) nx ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_contacts x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id AND x.is_primary"
		"  AND x.kind = CASE s.channel WHEN 'email' THEN 'email' ELSE 'phone' END OFFSET 0) a ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.suppressions x WHERE x.tenant_id = $1"
		"  AND x.channel = s.channel AND x.address_norm = a.address_norm OFFSET 0) p ON true"
		" ORDER BY d.o",
	4, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID}, .generic = true};
	static const Oid due[] = {UUIDOID, UUIDOID, TIMESTAMPTZOID};
	Columns		claimed;
	Columns		open;
	Oid			uuid = UUIDOID;
	Datum		values[4];
	Run		   *runs;

	*n = 0;
	columns_init(&open, 1, &uuid);
	for (int i = 0; i < ncampaigns; i++)
	{
		SenderFacts f = facts_of(t, &campaigns[i], NULL);

		if (sender_decide(&f).action != ACTION_HOLD)
			columns_add(&open, 0, UUIDPGetDatum(&campaigns[i].id), false);
	}
	if (columns_rows(&open) == 0)
		return NULL;

	values[0] = UUIDPGetDatum(&t->id);
	values[1] = columns_array(&open, 0);
	values[2] = TimestampTzGetDatum(now);
	values[3] = Int32GetDatum(batch);
	*n = es_spi_run(&lock, SPI_OK_SELECT, values, NULL);
	columns_init(&claimed, lengthof(due), due);
	for (int i = 0; i < *n; i++)
		for (int k = 0; k < 3; k++)
		{
			bool		isnull;

			columns_add(&claimed, k, es_spi_get(i, k + 1, &isnull), false);
		}
	*n = columns_run(&claimed, &read, SPI_OK_SELECT, values[0]);
	runs = palloc0(sizeof(Run) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		Run		   *r = &runs[i];
		pg_uuid_t  *campaign;
		char	   *channel;
		bool		isnull;
		Datum		d;

		campaign = DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		for (int k = 0; k < ncampaigns; k++)
			if (memcmp(&campaigns[k].id, campaign, UUID_LEN) == 0)
				r->campaign = campaigns[k];
		r->lead = *DatumGetUUIDP(es_spi_get(i, 2, &isnull));
		r->due_at = DatumGetTimestampTz(es_spi_get(i, 3, &isnull));
		r->version = int_at(i, 4);
		r->cursor = int_at(i, 5);
		r->run_seq = int_at(i, 6);
		r->attempt = int_at(i, 7);
		r->sent_steps = int_at(i, 8);
		r->stale = bool_at(i, 9);
		r->due = true;
		channel = text_at(i, 10);
		r->has_step = channel != NULL;
		if (r->has_step)
		{
			r->channel = sender_channel(channel);
			r->template_id = es_spi_get(i, 11, &isnull);
			r->template_version = int_at(i, 12);
		}
		d = es_spi_get(i, 13, &isnull);
		r->next_delay = isnull ? NULL : DatumGetIntervalP(d);
		r->contact = !bool_at(i, 14) ? CONTACT_MISSING :
			bool_at(i, 15) ? CONTACT_UNUSABLE :
			bool_at(i, 16) ? CONTACT_SUPPRESSED : CONTACT_USABLE;
		r->zone = text_at(i, 17);
		r->score = int_at(i, 18);
		lead_facts_at(i, 19, &r->facts);
	}
	return runs;
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

static void
require_batch(int batch)
{
	if (batch < 1 || batch > 100000)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("batch is a number from 1 to 100000")));
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
	Run		   *runs;
	int			nruns;
	int			decided = 0;
	Batch		b;

	require_batch(batch_size);
	es_require_schema();
	SPI_connect();
	if (!es_lock_try(ES_LOCK_TENANT, &id))
		goto done;

	es_context_enter_system(&id);
	if (!load_tenant(&id, &tenant))
		goto done;
	campaigns = load_campaigns(UUIDPGetDatum(&id), &ncampaigns);
	batch_init(&b, &tenant, es_now());
	runs = claim(&tenant, campaigns, ncampaigns, b.now, batch_size, &nruns);
	for (int i = 0; i < nruns; i++)
	{
		SenderFacts f;

		if (runs[i].stale)
		{
			batch_due_done(&b, &runs[i]);
			continue;
		}
		f = facts_of(&tenant, &runs[i].campaign, &runs[i]);
		if (batch_apply(&b, &runs[i], sender_decide(&f)))
			decided++;
		/* its ticket stands in the way of the lead's next run in this batch */
		if (runs[i].ended && (runs[i].facts.hot || runs[i].facts.replied))
			for (int j = i + 1; j < nruns; j++)
				if (memcmp(&runs[j].lead, &runs[i].lead, UUID_LEN) == 0)
					runs[j].facts.handoff = true;
	}
	batch_write(&b);
	batch_open_tickets(&b);

done:
	SPI_finish();
	PG_RETURN_INT32(decided);
}

PG_FUNCTION_INFO_V1(sender_process);

/*
 * sender_process(batch) is the procedure that pg_cron calls.  INVOKER, since a
 * procedure that commits cannot be SECURITY DEFINER; the work is done by the
 * two definer functions above.  A tenant whose batch fails is reported as a
 * warning and left for the next call; the others go on.
 */
Datum
sender_process(PG_FUNCTION_ARGS)
{
	static EsPlan next = {"SELECT entrestate.sender_next_tenant($1)", 1, {UUIDOID}};
	static EsPlan work = {"SELECT entrestate.sender_process_tenant($1, $2)", 2,
	{UUIDOID, INT4OID}};
	pg_uuid_t	nobody = {{0}};
	pg_uuid_t	at = nobody;
	volatile int64 in_round = 0;
	volatile int batch = PG_ARGISNULL(0) ? 1000 : PG_GETARG_INT32(0);
	MemoryContext mine = CurrentMemoryContext;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("sender_process() commits each batch, so it cannot run inside a transaction"),
				 errhint("CALL entrestate.sender_process(); by itself.")));
	require_batch(batch);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	for (;;)
	{
		Datum		values[2];
		bool		isnull;
		Datum		d;
		ResourceOwner owner = CurrentResourceOwner;

		CHECK_FOR_INTERRUPTS();
		values[0] = UUIDPGetDatum(&at);
		es_spi_run(&next, SPI_OK_SELECT, values, NULL);
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
			es_spi_run(&work, SPI_OK_SELECT, values, NULL);
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
	PG_RETURN_VOID();
}
