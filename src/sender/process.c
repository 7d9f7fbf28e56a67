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
 *	   SHARE, the due runs' rows FOR NO KEY UPDATE and the leads' rows FOR
 *	   SHARE, both SKIP LOCKED: what somebody else is writing stays due.
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
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sender/sender.h"
#include "tenancy/tenancy.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ----- arrays for set-wise writes -------------------------------------- */

/* A batch's rows, one growing array per column. */
typedef struct Columns
{
	int			n;				/* columns */
	Oid			types[20];
	ArrayBuildState *state[20];
} Columns;

static void
columns_init(Columns *c, int n, const Oid *types)
{
	c->n = n;
	for (int i = 0; i < n; i++)
	{
		c->types[i] = types[i];
		c->state[i] = initArrayResult(types[i], CurrentMemoryContext, false);
	}
}

/* columns_add appends one value of one column. */
static void
columns_add(Columns *c, int col, Datum value, bool isnull)
{
	accumArrayResult(c->state[col], value, isnull, c->types[col],
					 CurrentMemoryContext);
}

static int
columns_rows(Columns *c)
{
	return c->state[0]->nelems;
}

/* columns_run executes a plan with $1 the tenant and the arrays after it. */
static void
columns_run(Columns *c, EsPlan *plan, int expected, Datum tenant)
{
	Datum		values[24];

	if (columns_rows(c) == 0)
		return;
	values[0] = tenant;
	for (int i = 0; i < c->n; i++)
		values[i + 1] = makeArrayResult(c->state[i], CurrentMemoryContext);
	es_spi_run(plan, expected, values, NULL);
}

/* ----- codes ----------------------------------------------------------- */

typedef struct Code
{
	int			code;
	const char *word;
} Code;

#define X(name, code, word) {code, word},
static const Code event_types[] = {SENDER_EVENT_TYPES(X)};
static const Code reasons[] = {SENDER_REASONS(X)};
static const Code modes[] = {SENDER_MODES(X)};
static const Code channels[] = {SENDER_CHANNELS(X)};
#undef X

static int
code_of(const Code *codes, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(codes[i].word, word) == 0)
			return codes[i].code;
	elog(ERROR, "unknown word \"%s\"", word);
}

static const char *
word_of(const Code *codes, size_t n, int code)
{
	for (size_t i = 0; i < n; i++)
		if (codes[i].code == code)
			return codes[i].word;
	elog(ERROR, "unknown code %d", code);
}

static Datum
codes_as_rows(FunctionCallInfo fcinfo, const Code *codes, size_t n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = Int16GetDatum(codes[i].code);
		values[1] = CStringGetTextDatum(codes[i].word);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(sender_codes_event_types);
PG_FUNCTION_INFO_V1(sender_codes_reasons);
PG_FUNCTION_INFO_V1(sender_codes_modes);
PG_FUNCTION_INFO_V1(sender_codes_channels);

Datum
sender_codes_event_types(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, event_types, lengthof(event_types));
}

Datum
sender_codes_reasons(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, reasons, lengthof(reasons));
}

Datum
sender_codes_modes(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, modes, lengthof(modes));
}

Datum
sender_codes_channels(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, channels, lengthof(channels));
}

/* ----- facts ----------------------------------------------------------- */

typedef struct Tenant
{
	pg_uuid_t	id;
	SenderMode	mode;
	bool		dry_run;
	bool		frozen;
	bool		paused;
	char	   *zone;
	bool		channel_enabled[4]; /* by SenderChannel */
	bool		channel_paused[4];
} Tenant;

typedef struct Campaign
{
	pg_uuid_t	id;
	CampaignState state;
	bool		sender_enabled;
	bool		risk_paused;
	bool		dry_run;
	int			policy_version;
} Campaign;

/* A claimed run with what its decision needs. */
typedef struct Run
{
	Campaign   *campaign;
	pg_uuid_t	lead;
	TimestampTz due_at;
	int			version;
	int			cursor;
	char	   *status;
	int			run_seq;
	int			attempt;
	int			sent_steps;
	bool		stale;			/* the due row is not the run's any more */
	bool		has_step;
	SenderChannel channel;
	Datum		template_id;
	int			template_version;
	Interval   *next_delay;		/* NULL: the last step */
	ContactState contact;
	char	   *zone;			/* the lead's, NULL: the tenant's */
} Run;

static char *
text_at(uint64 row, int col)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
}

static bool
bool_at(uint64 row, int col)
{
	bool		isnull;

	return DatumGetBool(es_spi_get(row, col, &isnull)) && !isnull;
}

static int
int_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? 0 : DatumGetInt32(d);
}

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
	t->mode = code_of(modes, lengthof(modes), text_at(0, 1));
	t->dry_run = bool_at(0, 2);
	t->frozen = bool_at(0, 3);
	t->paused = bool_at(0, 4);
	t->zone = text_at(0, 5);
	n = es_spi_run(&channel, SPI_OK_SELECT, &value, NULL);
	for (int i = 0; i < n; i++)
	{
		int			c = code_of(channels, lengthof(channels), text_at(i, 1));

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
		" SELECT c.campaign_id, c.status, c.sender_enabled,"
		" c.risk_paused_at IS NOT NULL, c.dry_run, c.policy_version"
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
	f.dry_run = t->dry_run || c->dry_run;
	if (r != NULL)
	{
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

/* claim locks and reads the due runs of campaigns that are not held. */
static Run *
claim(const Tenant *t, Campaign *campaigns, int ncampaigns, TimestampTz now,
	  int batch, int *n)
{
	static EsPlan plan = {
		"SELECT d.campaign_id, d.lead_id, d.due_at, r.version, r.cursor::int4, r.status,"
		" r.run_seq, r.attempt::int4, r.sent_steps::int4,"
		" r.next_at IS DISTINCT FROM d.due_at OR r.status NOT IN ('pending', 'running'),"
		" s.channel, s.template_id, s.template_version, nx.delay,"
		" a.address_norm IS NOT NULL, a.unusable_reason IS NOT NULL, l.time_zone"
		" FROM (SELECT x.* FROM unnest($2) AS c(campaign_id) CROSS JOIN LATERAL ("
		"   SELECT q.campaign_id, q.due_at, q.lead_id FROM entrestate.sender_due q"
		"   WHERE q.tenant_id = $1 AND q.campaign_id = c.campaign_id AND q.due_at <= $3"
		"   ORDER BY q.due_at, q.lead_id LIMIT $4) x"
		"  ORDER BY x.due_at, x.campaign_id, x.lead_id LIMIT $4) d"
		" JOIN entrestate.sender_runs r ON r.tenant_id = $1"
		"  AND r.campaign_id = d.campaign_id AND r.lead_id = d.lead_id"
		" JOIN entrestate.leads l ON l.tenant_id = $1 AND l.lead_id = d.lead_id"
		" LEFT JOIN entrestate.sender_steps s ON s.tenant_id = $1"
		"  AND s.campaign_id = d.campaign_id AND s.version = r.version AND s.step = r.cursor"
		" LEFT JOIN entrestate.sender_steps nx ON nx.tenant_id = $1"
		"  AND nx.campaign_id = d.campaign_id AND nx.version = r.version"
		"  AND nx.step = r.cursor + 1"
		" LEFT JOIN entrestate.lead_contacts a ON a.tenant_id = $1"
		"  AND a.lead_id = d.lead_id AND a.is_primary"
		"  AND a.kind = CASE s.channel WHEN 'email' THEN 'email' ELSE 'phone' END"
		" ORDER BY d.due_at, d.campaign_id, d.lead_id"
		" FOR NO KEY UPDATE OF r SKIP LOCKED FOR SHARE OF l SKIP LOCKED",
	4, {UUIDOID, UUIDARRAYOID, TIMESTAMPTZOID, INT4OID}};
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
	values[1] = makeArrayResult(open.state[0], CurrentMemoryContext);
	values[2] = TimestampTzGetDatum(now);
	values[3] = Int32GetDatum(batch);
	*n = es_spi_run(&plan, SPI_OK_SELECT, values, NULL);
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
				r->campaign = &campaigns[k];
		r->lead = *DatumGetUUIDP(es_spi_get(i, 2, &isnull));
		r->due_at = DatumGetTimestampTz(es_spi_get(i, 3, &isnull));
		r->version = int_at(i, 4);
		r->cursor = int_at(i, 5);
		r->status = text_at(i, 6);
		r->run_seq = int_at(i, 7);
		r->attempt = int_at(i, 8);
		r->sent_steps = int_at(i, 9);
		r->stale = bool_at(i, 10);
		channel = text_at(i, 11);
		r->has_step = channel != NULL;
		if (r->has_step)
		{
			r->channel = code_of(channels, lengthof(channels), channel);
			r->template_id = es_spi_get(i, 12, &isnull);
			r->template_version = int_at(i, 13);
		}
		d = es_spi_get(i, 14, &isnull);
		r->next_delay = isnull ? NULL : DatumGetIntervalP(d);
		r->contact = !bool_at(i, 15) ? CONTACT_MISSING :
			bool_at(i, 16) ? CONTACT_UNUSABLE : CONTACT_USABLE;
		r->zone = text_at(i, 17);
	}
	return runs;
}

/* ----- writing --------------------------------------------------------- */

typedef struct Batch
{
	Tenant	   *tenant;
	TimestampTz now;
	Columns		due_done;		/* campaign, due_at, lead */
	Columns		due_next;		/* campaign, due_at, lead */
	Columns		events;
	Columns		intents;
	Columns		runs;
} Batch;

static void
batch_init(Batch *b, Tenant *t, TimestampTz now)
{
	static const Oid due[] = {UUIDOID, TIMESTAMPTZOID, UUIDOID};
	static const Oid events[] = {UUIDOID, UUIDOID, INT2OID, INT4OID, INT2OID,
		INT2OID, INT2OID, INT2OID, INT2OID, TIMESTAMPTZOID, INT4OID, INT4OID,
	INT4OID};
	static const Oid intents[] = {UUIDOID, UUIDOID, INT2OID, INT2OID, TEXTOID,
	TEXTOID, UUIDOID, INT4OID};
	static const Oid runs[] = {UUIDOID, UUIDOID, INT2OID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INT4OID, INT2OID, INT2OID, BOOLOID, BOOLOID};

	b->tenant = t;
	b->now = now;
	columns_init(&b->due_done, lengthof(due), due);
	columns_init(&b->due_next, lengthof(due), due);
	columns_init(&b->events, lengthof(events), events);
	columns_init(&b->intents, lengthof(intents), intents);
	columns_init(&b->runs, lengthof(runs), runs);
}

static void
add_due(Columns *c, const Run *r, TimestampTz at)
{
	columns_add(c, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 1, TimestampTzGetDatum(at), false);
	columns_add(c, 2, UUIDPGetDatum(&r->lead), false);
}

/* add_event records an event; next is NULL when the run waits for nothing. */
static void
add_event(Batch *b, Run *r, SenderEventType type, SenderReason reason,
		  SenderMode mode, const TimestampTz *next)
{
	Columns    *c = &b->events;
	bool		step = type != EVENT_RUN_DONE && r->has_step;

	r->run_seq++;
	columns_add(c, 0, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 1, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 2, Int16GetDatum(type), false);
	columns_add(c, 3, Int32GetDatum(r->run_seq), false);
	columns_add(c, 4, Int16GetDatum(r->cursor), !step);
	columns_add(c, 5, Int16GetDatum(r->attempt), !step);
	columns_add(c, 6, Int16GetDatum(mode), false);
	columns_add(c, 7, Int16GetDatum(r->channel), !step);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	columns_add(c, 10, Int32GetDatum(r->version), false);
	columns_add(c, 11, Int32GetDatum(r->template_version), !step);
	columns_add(c, 12, Int32GetDatum(r->campaign->policy_version), false);
}

static void
add_intent(Batch *b, const Run *r, const char *status, const char *provider)
{
	Columns    *c = &b->intents;

	columns_add(c, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 2, Int16GetDatum(r->cursor), false);
	columns_add(c, 3, Int16GetDatum(r->attempt), false);
	columns_add(c, 4, CStringGetTextDatum(status), false);
	columns_add(c, 5, CStringGetTextDatum(provider), false);
	columns_add(c, 6, r->template_id, false);
	columns_add(c, 7, Int32GetDatum(r->template_version), false);
}

static void
add_run(Batch *b, const Run *r, const char *status, SenderMode mode,
		const TimestampTz *next, SenderReason reason, bool outcome, bool ended)
{
	Columns    *c = &b->runs;

	columns_add(c, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 2, Int16GetDatum(r->cursor), false);
	columns_add(c, 3, CStringGetTextDatum(status), false);
	columns_add(c, 4, CStringGetTextDatum(word_of(modes, lengthof(modes), mode)), false);
	columns_add(c, 5, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	columns_add(c, 6, Int32GetDatum(r->run_seq), false);
	columns_add(c, 7, Int16GetDatum(r->sent_steps), false);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, BoolGetDatum(outcome), false);
	columns_add(c, 10, BoolGetDatum(ended), false);
}

/*
 * step_outcome records the outcome of the step at the cursor and moves the
 * cursor on; the last outcome also ends the run.
 */
static void
step_outcome(Batch *b, Run *r, SenderEventType type, SenderReason reason,
			 SenderMode mode)
{
	TimestampTz next = 0;
	bool		last = r->next_delay == NULL;

	if (!last)
		next = es_add_delay(b->now, r->next_delay,
							es_zone(r->zone ? r->zone : b->tenant->zone));
	add_event(b, r, type, reason, mode, last ? NULL : &next);
	if (type == EVENT_STEP_SENT)
		r->sent_steps++;
	r->cursor++;
	if (last)
	{
		add_event(b, r, EVENT_RUN_DONE, REASON_COMPLETED, mode, NULL);
		add_run(b, r, "done", mode, NULL, REASON_COMPLETED, true, true);
	}
	else
	{
		add_run(b, r, "running", mode, &next, REASON_NONE, true, false);
		add_due(&b->due_next, r, next);
	}
}

static SenderEventType
suppression_of(SenderReason reason)
{
	switch (reason)
	{
		case REASON_CAMPAIGN_ENDED:
			return EVENT_SUPPRESSED_CAMPAIGN_ENDED;
		default:
			elog(ERROR, "reason %d ends no run", reason);
	}
}

/* apply carries a decision out; false when the run stays as it is. */
static bool
apply(Batch *b, Run *r, SenderDecision d)
{
	SenderMode	mode = b->tenant->dry_run || r->campaign->dry_run
		? MODE_DRY_RUN : b->tenant->mode;

	switch (d.action)
	{
		case ACTION_HOLD:
			return false;
		case ACTION_TERMINATE:
			add_event(b, r, suppression_of(d.reason), d.reason, mode, NULL);
			add_run(b, r, "suppressed", mode, NULL, d.reason, false, true);
			break;
		case ACTION_DONE:
			add_event(b, r, EVENT_RUN_DONE, d.reason, mode, NULL);
			add_run(b, r, "done", mode, NULL, d.reason, false, true);
			break;
		case ACTION_SKIP:
			step_outcome(b, r, EVENT_STEP_SKIPPED, d.reason, mode);
			break;
		case ACTION_SIMULATE:
			step_outcome(b, r, EVENT_STEP_SIMULATED, d.reason, mode);
			break;
		case ACTION_ADMIT:
			if (b->tenant->mode == MODE_SANDBOX)
			{
				add_intent(b, r, "sent", "sandbox");
				step_outcome(b, r, EVENT_STEP_SENT, REASON_NONE, mode);
			}
			else
			{
				/* the run waits on the intent; its outcome will move it on */
				add_intent(b, r, "ready", "none");
				add_run(b, r, "running", mode, NULL, REASON_NONE, false, false);
			}
			break;
	}
	add_due(&b->due_done, r, r->due_at);
	return true;
}

static void
batch_write(Batch *b)
{
	static EsPlan due_done = {
		"DELETE FROM entrestate.sender_due d USING unnest($2, $3, $4) AS u(c, at, l)"
		" WHERE d.tenant_id = $1 AND d.campaign_id = u.c AND d.due_at = u.at"
		" AND d.lead_id = u.l",
	4, {UUIDOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID}};
	static EsPlan due_next = {
		"INSERT INTO entrestate.sender_due (tenant_id, campaign_id, due_at, lead_id)"
		" SELECT $1, u.c, u.at, u.l FROM unnest($2, $3, $4) AS u(c, at, l)",
	4, {UUIDOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID}};
	static EsPlan events = {
		"INSERT INTO entrestate.sender_events (tenant_id, recorded_at, decided_at,"
		" lead_id, campaign_id, type, run_seq, step, attempt, mode, channel, reason,"
		" next_at, sequence_version, template_version, policy_version)"
		" SELECT $1, entrestate.clock_now(), entrestate.clock_now(), u.*"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS u",
		14, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, INT4ARRAYOID,
			INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
			TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID}};
	static EsPlan intents = {
		"INSERT INTO entrestate.sender_intents (tenant_id, campaign_id, lead_id, step,"
		" attempt, status, provider, template_id, template_version, mode, channel,"
		" not_before, created_at, started_at, final_at)"
		" SELECT $1, u.c, u.l, u.step, u.attempt, u.status, u.provider, u.template,"
		" u.version, t.mode, s.channel, entrestate.clock_now(), entrestate.clock_now(),"
		" CASE WHEN u.status = 'sent' THEN entrestate.clock_now() END,"
		" CASE WHEN u.status = 'sent' THEN entrestate.clock_now() END"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9)"
		"  AS u(c, l, step, attempt, status, provider, template, version)"
		" JOIN entrestate.tenants t ON t.tenant_id = $1"
		" JOIN entrestate.templates s ON s.tenant_id = $1 AND s.template_id = u.template"
		"  AND s.version = u.version",
		9, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, INT4ARRAYOID}};
	static EsPlan runs = {
		"UPDATE entrestate.sender_runs r SET cursor = u.cursor, status = u.status,"
		" mode = u.mode, next_at = u.next_at, first_due_at = u.next_at, run_seq = u.seq,"
		" sent_steps = u.sent, reason = u.reason, updated_at = entrestate.clock_now(),"
		" attempt = CASE WHEN u.outcome THEN 0 ELSE r.attempt END,"
		" deferrals = CASE WHEN u.outcome THEN 0 ELSE r.deferrals END,"
		" last_outcome_at = CASE WHEN u.outcome THEN entrestate.clock_now() ELSE r.last_outcome_at END,"
		" ended_at = CASE WHEN u.ended THEN entrestate.clock_now() END"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
		"  AS u(c, l, cursor, status, mode, next_at, seq, sent, reason, outcome, ended)"
		" WHERE r.tenant_id = $1 AND r.campaign_id = u.c AND r.lead_id = u.l",
		12, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
		INT2ARRAYOID, BOOLARRAYOID, BOOLARRAYOID}};
	Datum		tenant = UUIDPGetDatum(&b->tenant->id);

	columns_run(&b->intents, &intents, SPI_OK_INSERT, tenant);
	columns_run(&b->events, &events, SPI_OK_INSERT, tenant);
	columns_run(&b->runs, &runs, SPI_OK_UPDATE, tenant);
	columns_run(&b->due_done, &due_done, SPI_OK_DELETE, tenant);
	columns_run(&b->due_next, &due_next, SPI_OK_INSERT, tenant);
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
			add_due(&b.due_done, &runs[i], runs[i].due_at);
			continue;
		}
		f = facts_of(&tenant, runs[i].campaign, &runs[i]);
		if (apply(&b, &runs[i], sender_decide(&f)))
			decided++;
	}
	batch_write(&b);

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
