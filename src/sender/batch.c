/*
 * batch.c
 *		What decisions write, set-wise: events, intents, runs, what is due, and
 *		what a suppression leaves behind.
 *
 * A batch is filled decision by decision and written table by table, as
 * statements would (core/rows.h).  Its memory is SPI's procedure context of the caller.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "sender/batch.h"
#include "utils/builtins.h"

/* Leads in a row of sender_due. */
#define DUE_CHUNK 100

/* The columns of what is written past the planner, in the order in which they are added. */
static const char *const event_columns[] = {"lead_id", "campaign_id", "type", "run_seq", "step", "attempt", "mode",
	"channel", "reason", "next_at", "sequence_version", "template_version", "policy_version", "score", "hot", "cap_count",
"zone", "variant"};
static const char *const intent_columns[] = {"campaign_id", "lead_id", "step", "attempt", "status", "provider",
"template_id", "template_version", "outcome_reason", "variant", "channel", "started_at", "final_at"};
static const char *const run_columns[] = {"cursor", "status", "mode", "next_at", "run_seq", "sent_steps", "reason",
"deferrals", "first_due_at", "attempt", "last_outcome_at", "ended_at"};

void
batch_init(Batch *b, const Tenant *t, TimestampTz now)
{
	static const Oid actions[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID};
	static const Oid tickets[] = {UUIDOID, UUIDOID, TEXTOID};

	memset(b, 0, sizeof(*b));
	b->tenant = t;
	b->now = now;
	b->context = CurrentMemoryContext;
	rows_init(&b->events, lengthof(event_columns), NULL);
	rows_init(&b->intents, lengthof(intent_columns), NULL);
	/* and where each is */
	rows_init(&b->runs, 1 + lengthof(run_columns), NULL);
	rows_init(&b->actions, lengthof(actions), actions);
	rows_init(&b->voids, 2, actions);
	columns_init(&b->tickets, lengthof(tickets), tickets);
	rows_init(&b->parked, 2, actions);
}

/* batch_add_due lets a run wait for a step; "domain" is the one whose rate has put
 * it back, or NULL. */
void
batch_add_due(Batch *b, const pg_uuid_t *campaign, int version, int step,
			  const pg_uuid_t *lead, TimestampTz at, const char *domain)
{
	DueEntry   *e;

	if (b->ndue == b->due_room)
	{
		MemoryContext old = MemoryContextSwitchTo(b->context);

		b->due_room = b->due_room == 0 ? 1024 : b->due_room * 2;
		b->due = b->due == NULL ? palloc(sizeof(DueEntry) * b->due_room)
			: repalloc(b->due, sizeof(DueEntry) * b->due_room);
		MemoryContextSwitchTo(old);
	}
	e = &b->due[b->ndue++];
	e->campaign = *campaign;
	e->version = version;
	e->step = step;
	e->at = at;
	e->lead = *lead;
	e->domain = domain;
}

/* add_event records an event; next is NULL when the run waits for nothing. */
static void
add_event(Batch *b, Run *r, SenderEventType type, SenderReason reason,
		  const TimestampTz *next)
{
	Rows	   *c = &b->events;
	const Queue *q = r->queue;
	bool		step = q != NULL && (type < EVENT_SUPPRESSED_HOT || type > EVENT_SUPPRESSED_CAMPAIGN_ENDED)
		&& type != EVENT_RUN_DONE;
	bool		capped = step && q->campaign->ncaps > 0;

	r->run_seq++;
	rows_add(c, UUIDPGetDatum(&r->lead), false);
	rows_add(c, UUIDPGetDatum(&r->campaign->id), false);
	rows_add(c, Int16GetDatum(type), false);
	rows_add(c, Int32GetDatum(r->run_seq), false);
	rows_add(c, Int16GetDatum(r->cursor), !step);
	rows_add(c, Int16GetDatum(r->attempt), !step);
	rows_add(c, Int16GetDatum(r->mode), false);
	rows_add(c, Int16GetDatum(step ? q->channel : 0), !step);
	rows_add(c, Int16GetDatum(reason), reason == REASON_NONE);
	rows_add(c, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	rows_add(c, Int32GetDatum(r->version), false);
	rows_add(c, Int32GetDatum(step ? text_of(r)->template_version : 0), !step);
	rows_add(c, Int32GetDatum(r->campaign->policy_version), false);
	rows_add(c, Int32GetDatum(r->score), false);
	rows_add(c, BoolGetDatum(r->facts.hot), false);
	rows_add(c, Int16GetDatum(Min(r->nsends, PG_INT16_MAX)), !capped);
	rows_add(c, r->zone ? CStringGetTextDatum(r->zone) : (Datum) 0, !step || r->zone == NULL);
	rows_add(c, Int16GetDatum(r->variant), !step || r->variant < 0);
}

/* batch_add_intent records what is to be sent, or was, for the step at the cursor. */
void
batch_add_intent(Batch *b, const Run *r, const char *status, const char *provider, SenderReason reason)
{
	Rows	   *c = &b->intents;

	rows_add(c, UUIDPGetDatum(&r->campaign->id), false);
	rows_add(c, UUIDPGetDatum(&r->lead), false);
	rows_add(c, Int16GetDatum(r->cursor), false);
	rows_add(c, Int16GetDatum(r->attempt), false);
	rows_add(c, CStringGetTextDatum(status), false);
	rows_add(c, CStringGetTextDatum(provider), false);
	rows_add(c, text_of(r)->template_id, false);
	rows_add(c, Int32GetDatum(text_of(r)->template_version), false);
	rows_add(c, Int16GetDatum(reason), reason == REASON_NONE);
	rows_add(c, Int16GetDatum(r->variant), r->variant < 0);
	rows_add(c, CStringGetTextDatum(sender_channel_word(r->queue->channel)), false);
	/* started, and final */
	for (int i = 0; i < 2; i++)
		rows_add(c, TimestampTzGetDatum(b->now), strcmp(status, "ready") == 0);
}

static void
add_run(Batch *b, const Run *r, const char *status, const TimestampTz *next,
		SenderReason reason, bool outcome, bool ended)
{
	Rows	   *c = &b->runs;

	rows_add(c, PointerGetDatum(&r->at), false);
	rows_add(c, Int16GetDatum(r->cursor), false);
	rows_add(c, CStringGetTextDatum(status), false);
	rows_add(c, CStringGetTextDatum(sender_mode_word(r->mode)), false);
	rows_add(c, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	rows_add(c, Int32GetDatum(r->run_seq), false);
	rows_add(c, Int16GetDatum(r->sent_steps), false);
	rows_add(c, Int16GetDatum(reason), reason == REASON_NONE);
	rows_add(c, Int16GetDatum(r->deferrals), false);
	/* a deferral leaves when it was first due, and the outcome before it */
	if (next != NULL && !outcome && !ended && r->first_due_at != 0)
		rows_keep(c);
	else
		rows_add(c, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	if (outcome)
	{
		rows_add(c, Int16GetDatum(0), false);	/* attempt */
		rows_add(c, TimestampTzGetDatum(b->now), false);
	}
	else
	{
		rows_keep(c);
		rows_keep(c);
	}
	rows_add(c, TimestampTzGetDatum(b->now), !ended);
}

/* batch_suppression is the event of a run that ends before its last step. */
SenderEventType
batch_suppression(SenderReason reason)
{
	switch (reason)
	{
		case REASON_CAMPAIGN_ENDED:
			return EVENT_SUPPRESSED_CAMPAIGN_ENDED;
		case REASON_HANDOFF:
			return EVENT_SUPPRESSED_HANDOFF;
		case REASON_LEAD_CLOSED:
			return EVENT_SUPPRESSED_CLOSED;
		case REASON_STOPPED:
			return EVENT_SUPPRESSED_STOPPED;
		case REASON_MERGED:
			return EVENT_SUPPRESSED_MERGED;
		case REASON_OPTED_OUT:
		case REASON_COMPLAINED:
		case REASON_ERASED:
			return EVENT_SUPPRESSED_OPT_OUT;
		case REASON_HOT:
			return EVENT_SUPPRESSED_HOT;
		case REASON_REPLIED:
			return EVENT_SUPPRESSED_REPLIED;
		case REASON_GOAL_REACHED:
			return EVENT_SUPPRESSED_GOAL;
		default:
			elog(ERROR, "reason %d ends no run", reason);
	}
}

/* suppress records that a run ends before its last step, and why. */
static void
suppress(Batch *b, Run *r, SenderReason reason)
{
	SenderEventType type = batch_suppression(reason);

	add_event(b, r, type, reason, NULL);
	rows_add(&b->actions, UUIDPGetDatum(&r->campaign->id), false);
	rows_add(&b->actions, UUIDPGetDatum(&r->lead), false);
	rows_add(&b->actions, CStringGetTextDatum(sender_event_word(type)), false);
	rows_add(&b->actions, CStringGetTextDatum(sender_reason_word(reason)), false);
	/* somebody must take over what the lead has begun */
	if (reason == REASON_HOT || reason == REASON_REPLIED)
	{
		columns_add(&b->tickets, 0, UUIDPGetDatum(&r->campaign->id), false);
		columns_add(&b->tickets, 1, UUIDPGetDatum(&r->lead), false);
		columns_add(&b->tickets, 2, CStringGetTextDatum(sender_reason_word(reason)), false);
	}
	r->ended = true;
}

/* batch_end_run ends a run now, with its intent if that has not started. */
void
batch_end_run(Batch *b, Run *r, SenderReason reason)
{
	suppress(b, r, reason);
	add_run(b, r, "suppressed", NULL, reason, false, true);
	rows_add(&b->voids, UUIDPGetDatum(&r->campaign->id), false);
	rows_add(&b->voids, UUIDPGetDatum(&r->lead), false);
}

/*
 * batch_step_outcome records the outcome of the step at the cursor, moves the cursor
 * on and looks at gates 3 to 7 for the new index; the last outcome ends the
 * run, which is done then.
 */
void
batch_step_outcome(Batch *b, Run *r, SenderEventType type, SenderReason reason)
{
	const Queue *q = r->queue;
	TimestampTz next = 0;
	bool		last = q->next_delay == NULL;
	SenderDecision end = {0};
	bool		ends = !last &&
		sender_decide_end(&r->facts, r->cursor + 1, r->campaign->brake_index, &end);

	if (!last && !ends)
		next = es_add_delay(b->now, q->next_delay,
							es_zone(r->zone ? r->zone : b->tenant->zone));
	add_event(b, r, type, reason, last || ends ? NULL : &next);
	if (type == EVENT_STEP_SENT)
		r->sent_steps++;
	r->cursor++;
	r->deferrals = 0;
	if (last)
	{
		add_event(b, r, EVENT_RUN_DONE, REASON_COMPLETED, NULL);
		add_run(b, r, "done", NULL, REASON_COMPLETED, true, true);
	}
	else if (ends)
	{
		suppress(b, r, end.reason);
		add_run(b, r, "suppressed", NULL, end.reason, true, true);
	}
	else
	{
		add_run(b, r, "running", &next, REASON_NONE, true, false);
		batch_add_due(b, &r->campaign->id, r->version, r->cursor, &r->lead, next, NULL);
	}
}

/* batch_apply carries a decision out; false when the run stays as it is. */
bool
batch_apply(Batch *b, Run *r, SenderDecision d)
{
	bool		dry_run = b->tenant->dry_run || r->campaign->dry_run;
	bool		began = r->cursor > 0 || r->sent_steps > 0;

	if (d.action == ACTION_HOLD && d.reason == REASON_AWAITING_GO_LIVE)
	{
		/* it waits for a person, not for its time */
		rows_add(&b->parked, UUIDPGetDatum(&r->campaign->id), false);
		rows_add(&b->parked, UUIDPGetDatum(&r->lead), false);
		return true;
	}
	if (d.action == ACTION_HOLD)
		return false;
	r->mode = dry_run ? MODE_DRY_RUN : b->tenant->mode;
	switch (d.action)
	{
		case ACTION_TERMINATE:
			batch_end_run(b, r, d.reason);
			break;
		case ACTION_DONE:
			add_event(b, r, EVENT_RUN_DONE, d.reason, NULL);
			add_run(b, r, "done", NULL, d.reason, false, true);
			break;
		case ACTION_SKIP:
			batch_step_outcome(b, r, EVENT_STEP_SKIPPED, d.reason);
			break;
		case ACTION_DEFER:
			if (d.reason == REASON_RISING_INTENT)
				r->deferrals++;
			add_event(b, r, EVENT_STEP_DEFERRED, d.reason, &d.until);
			add_run(b, r, began ? "running" : "pending", &d.until, REASON_NONE, false, false);
			batch_add_due(b, &r->campaign->id, r->version, r->cursor, &r->lead, d.until, NULL);
			break;
		case ACTION_SIMULATE:
			batch_step_outcome(b, r, EVENT_STEP_SIMULATED, d.reason);
			r->admitted = true;
			break;
		case ACTION_ADMIT:
			r->admitted = true;
			if (b->tenant->mode == MODE_SANDBOX)
			{
				SenderReason reason;
				SenderEventType type = sandbox_send(b, r, &reason);

				batch_step_outcome(b, r, type, reason);
			}
			else
			{
				/* the run waits on the intent; its outcome will move it on */
				batch_add_intent(b, r, "ready", "none", REASON_NONE);
				add_run(b, r, "running", NULL, REASON_NONE, false, false);
			}
			break;
		default:
			elog(ERROR, "unexpected action %d", d.action);
	}
	return true;
}

/*
 * batch_retry carries out an operator's retry of a step that has its outcome
 * already: another attempt, with an intent of its own.  Cursor, status and
 * next_at stay; what it changes of the run is written by the caller.  Returns
 * what became of it.
 */
const char *
batch_retry(Batch *b, Run *r, SenderDecision d, int attempt, const TimestampTz *next, bool sent_before)
{
	Assert(d.action == ACTION_ADMIT || d.action == ACTION_SIMULATE);
	r->mode = d.action == ACTION_SIMULATE ? MODE_DRY_RUN : b->tenant->mode;
	r->cursor = r->queue->step;
	r->attempt = attempt;
	r->admitted = true;
	add_event(b, r, EVENT_STEP_RETRIED, REASON_NONE, next);
	if (d.action == ACTION_SIMULATE)
	{
		add_event(b, r, EVENT_STEP_SIMULATED, d.reason, next);
		return "simulated";
	}
	if (b->tenant->mode == MODE_SANDBOX)
	{
		SenderReason reason;
		SenderEventType type = sandbox_send(b, r, &reason);

		add_event(b, r, type, reason, next);
		if (type == EVENT_STEP_SENT && !sent_before)
			r->sent_steps++;
		return type == EVENT_STEP_SENT ? "sent" : type == EVENT_STEP_FAILED ? "failed" : "unknown";
	}
	batch_add_intent(b, r, "ready", "none", REASON_NONE);
	return "ready";
}

static int
by_due(const void *a, const void *b)
{
	const DueEntry *x = a;
	const DueEntry *y = b;
	int			c = memcmp(x->campaign.data, y->campaign.data, UUID_LEN);

	if (c == 0)
		c = x->version != y->version ? (x->version < y->version ? -1 : 1)
			: x->step != y->step ? (x->step < y->step ? -1 : 1)
			: x->at != y->at ? (x->at < y->at ? -1 : 1)
			: x->domain != y->domain ? strcmp(x->domain ? x->domain : "", y->domain ? y->domain : "")
			: memcmp(x->lead.data, y->lead.data, UUID_LEN);
	return c;
}

/* write_due writes what is due next: a row for up to a hundred runs that wait
 * for the same step at the same instant. */
static void
write_due(Batch *b, Datum tenant)
{
	static EsPlan plan = {
		"INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads, domain)"
		" SELECT $1, u.* FROM new_rows AS u",
	1, {UUIDOID}, .generic = true};
	static const Oid types[] = {UUIDOID, INT4OID, INT2OID, TIMESTAMPTZOID, UUIDARRAYOID, TEXTOID};
	static const Oid uuid[] = {UUIDOID};
	Rows		r;

	if (b->ndue == 0)
		return;
	rows_init(&r, lengthof(types), types);
	qsort(b->due, b->ndue, sizeof(DueEntry), by_due);
	for (int from = 0, to; from < b->ndue; from = to)
	{
		DueEntry   *e = &b->due[from];
		Columns		leads;

		columns_init(&leads, 1, uuid);

		for (to = from; to < b->ndue && to - from < DUE_CHUNK; to++)
		{
			DueEntry   *x = &b->due[to];

			if (memcmp(&x->campaign, &e->campaign, UUID_LEN) != 0 || x->version != e->version ||
				x->step != e->step || x->at != e->at || x->domain != e->domain)
				break;
			columns_add(&leads, 0, UUIDPGetDatum(&x->lead), false);
		}
		rows_add(&r, UUIDPGetDatum(&e->campaign), false);
		rows_add(&r, Int32GetDatum(e->version), false);
		rows_add(&r, Int16GetDatum(e->step), false);
		rows_add(&r, TimestampTzGetDatum(e->at), false);
		rows_add(&r, columns_array(&leads, 0), false);
		rows_add(&r, e->domain ? CStringGetTextDatum(e->domain) : (Datum) 0, e->domain == NULL);
	}
	rows_run(&r, &plan, SPI_OK_INSERT, &tenant);
}

/* batch_write writes everything but the tickets. */
void
batch_write(Batch *b)
{
	static EsPlan actions = {
		"INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id, detail)"
		" SELECT $1, $2, entrestate.uuid_v7(), u.type, u.c, u.l,"
		" jsonb_build_object('reason', u.reason)"
		" FROM new_rows AS u(c, l, type, reason)",
	2, {UUIDOID, TIMESTAMPTZOID}, .generic = true};
	static EsPlan voids = {
		"UPDATE entrestate.sender_intents i SET status = 'voided', final_at = $2,"
		" message = NULL, leased_until = NULL FROM (SELECT x.ctid AS at FROM new_rows AS v(c, l)"
		/* ready or leased, in the words of sender_intents_flight */
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_intents y WHERE y.tenant_id = $1"
		"   AND y.campaign_id = v.c AND y.lead_id = v.l AND y.final_at IS NULL AND y.status <> ALL ('{started,unknown}') OFFSET 0) x OFFSET 0) u"
		" WHERE i.ctid = u.at AND i.tenant_id = $1",
	2, {UUIDOID, TIMESTAMPTZOID}, .generic = true};
	static EsPlan parked = {
		"UPDATE entrestate.sender_runs r SET awaiting_go_live = true"
		" FROM (SELECT x.ctid AS at FROM new_rows AS v(c, l)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_runs y WHERE y.tenant_id = $1"
		"   AND y.campaign_id = v.c AND y.lead_id = v.l OFFSET 0) x OFFSET 0) u"
		" WHERE r.ctid = u.at AND r.tenant_id = $1",
	1, {UUIDOID}, .generic = true};
	Datum		values[2] = {UUIDPGetDatum(&b->tenant->id), TimestampTzGetDatum(b->now)};
	const RowsFixed fixed[] = {{"tenant_id", values[0]}, {"recorded_at", values[1]}, {"decided_at", values[1]}};
	const RowsFixed changed[] = {{"updated_at", values[1]}};

	/* the brake has none, and does not know the mode */
	if (b->intents.count > 0)
	{
		const RowsFixed admitted[] = {{"tenant_id", values[0]}, {"not_before", values[1]}, {"created_at", values[1]},
		{"mode", CStringGetTextDatum(sender_mode_word(b->tenant->mode))}};

		rows_insert(&b->intents, "sender_intents", intent_columns, lengthof(admitted), admitted);
	}
	rows_insert(&b->events, "sender_events", event_columns, lengthof(fixed), fixed);
	/* where they were read: whoever has a lead has its runs, and we have them */
	rows_update(&b->runs, "sender_runs", run_columns, lengthof(changed), changed);
	rows_run(&b->parked, &parked, SPI_OK_UPDATE, values);
	write_due(b, values[0]);
	sandbox_write(b);
	rows_run(&b->actions, &actions, SPI_OK_INSERT, values);
	rows_run(&b->voids, &voids, SPI_OK_UPDATE, values);
}

/*
 * batch_open_tickets opens the tickets of leads whose runs ended for their
 * intent, where none is open, and ends what other runs those leads have.
 */
void
batch_open_tickets(Batch *b)
{
	static EsPlan open = {
		"SELECT entrestate.handoff_ensure($1, u.l, u.c, u.reason)"
		" FROM unnest($2, $3, $4) AS u(c, l, reason)",
	4, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID}};
	static EsPlan brake = {"SELECT entrestate.sender_brake($1, $2)", 2, {UUIDOID, UUIDARRAYOID}};
	Datum		values[2];

	if (columns_rows(&b->tickets) == 0)
		return;
	columns_run(&b->tickets, &open, SPI_OK_SELECT, UUIDPGetDatum(&b->tenant->id));
	values[0] = UUIDPGetDatum(&b->tenant->id);
	values[1] = columns_array(&b->tickets, 1);
	es_spi_run(&brake, SPI_OK_SELECT, values, NULL);
}
