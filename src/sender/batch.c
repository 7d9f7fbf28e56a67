/*
 * batch.c
 *		What decisions write, set-wise: events, intents, runs, what is due, and
 *		what a suppression leaves behind.
 *
 * A batch is filled decision by decision and written with one statement per
 * table.  Its memory is SPI's procedure context of the caller.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "sender/batch.h"
#include "utils/builtins.h"

/* Leads in a row of sender_due. */
#define DUE_CHUNK 100

void
batch_init(Batch *b, const Tenant *t, TimestampTz now)
{
	static const Oid events[] = {UUIDOID, UUIDOID, INT2OID, INT4OID, INT2OID,
		INT2OID, INT2OID, INT2OID, INT2OID, TIMESTAMPTZOID, INT4OID, INT4OID,
	INT4OID, INT4OID, BOOLOID, INT2OID, TEXTOID, INT2OID};
	static const Oid intents[] = {UUIDOID, UUIDOID, INT2OID, INT2OID, TEXTOID,
	TEXTOID, UUIDOID, INT4OID, INT2OID, INT2OID, TEXTOID, TIMESTAMPTZOID};
	static const Oid runs[] = {UUIDOID, UUIDOID, INT2OID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INT4OID, INT2OID, INT2OID, BOOLOID, BOOLOID, INT2OID, BOOLOID};
	static const Oid actions[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID};
	static const Oid tickets[] = {UUIDOID, UUIDOID, TEXTOID};

	memset(b, 0, sizeof(*b));
	b->tenant = t;
	b->now = now;
	b->context = CurrentMemoryContext;
	columns_init(&b->events, lengthof(events), events);
	columns_init(&b->intents, lengthof(intents), intents);
	columns_init(&b->runs, lengthof(runs), runs);
	columns_init(&b->actions, lengthof(actions), actions);
	columns_init(&b->voids, 2, actions);
	columns_init(&b->tickets, lengthof(tickets), tickets);
	columns_init(&b->parked, 2, actions);
}

/* batch_add_due lets a run wait for a step. */
void
batch_add_due(Batch *b, const pg_uuid_t *campaign, int version, int step,
			  const pg_uuid_t *lead, TimestampTz at)
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
}

/* add_event records an event; next is NULL when the run waits for nothing. */
static void
add_event(Batch *b, Run *r, SenderEventType type, SenderReason reason,
		  const TimestampTz *next)
{
	Columns    *c = &b->events;
	const Queue *q = r->queue;
	bool		step = q != NULL && (type < EVENT_SUPPRESSED_HOT || type > EVENT_SUPPRESSED_CAMPAIGN_ENDED)
		&& type != EVENT_RUN_DONE;
	bool		capped = step && q->campaign->ncaps > 0;

	r->run_seq++;
	columns_add(c, 0, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 1, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 2, Int16GetDatum(type), false);
	columns_add(c, 3, Int32GetDatum(r->run_seq), false);
	columns_add(c, 4, Int16GetDatum(r->cursor), !step);
	columns_add(c, 5, Int16GetDatum(r->attempt), !step);
	columns_add(c, 6, Int16GetDatum(r->mode), false);
	columns_add(c, 7, Int16GetDatum(step ? q->channel : 0), !step);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	columns_add(c, 10, Int32GetDatum(r->version), false);
	columns_add(c, 11, Int32GetDatum(step ? text_of(r)->template_version : 0), !step);
	columns_add(c, 12, Int32GetDatum(r->campaign->policy_version), false);
	columns_add(c, 13, Int32GetDatum(r->score), false);
	columns_add(c, 14, BoolGetDatum(r->facts.hot), false);
	columns_add(c, 15, Int16GetDatum(Min(r->nsends, PG_INT16_MAX)), !capped);
	columns_add(c, 16, r->zone ? CStringGetTextDatum(r->zone) : (Datum) 0, !step || r->zone == NULL);
	columns_add(c, 17, Int16GetDatum(r->variant), !step || r->variant < 0);
}

/* batch_add_intent records what is to be sent, or was, for the step at the cursor. */
void
batch_add_intent(Batch *b, const Run *r, const char *status, const char *provider, SenderReason reason)
{
	Columns    *c = &b->intents;

	columns_add(c, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 2, Int16GetDatum(r->cursor), false);
	columns_add(c, 3, Int16GetDatum(r->attempt), false);
	columns_add(c, 4, CStringGetTextDatum(status), false);
	columns_add(c, 5, CStringGetTextDatum(provider), false);
	columns_add(c, 6, text_of(r)->template_id, false);
	columns_add(c, 7, Int32GetDatum(text_of(r)->template_version), false);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, Int16GetDatum(r->variant), r->variant < 0);
	columns_add(c, 10, CStringGetTextDatum(sender_channel_word(r->queue->channel)), false);
	columns_add(c, 11, TimestampTzGetDatum(b->now), strcmp(status, "ready") == 0);
}

static void
add_run(Batch *b, const Run *r, const char *status, const TimestampTz *next,
		SenderReason reason, bool outcome, bool ended)
{
	Columns    *c = &b->runs;
	bool		first = outcome || ended || next == NULL;	/* not a deferral */

	columns_add(c, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(c, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 2, Int16GetDatum(r->cursor), false);
	columns_add(c, 3, CStringGetTextDatum(status), false);
	columns_add(c, 4, CStringGetTextDatum(sender_mode_word(r->mode)), false);
	columns_add(c, 5, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	columns_add(c, 6, Int32GetDatum(r->run_seq), false);
	columns_add(c, 7, Int16GetDatum(r->sent_steps), false);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, BoolGetDatum(outcome), false);
	columns_add(c, 10, BoolGetDatum(ended), false);
	columns_add(c, 11, Int16GetDatum(r->deferrals), false);
	columns_add(c, 12, BoolGetDatum(first), false);
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
	columns_add(&b->actions, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(&b->actions, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(&b->actions, 2, CStringGetTextDatum(sender_event_word(type)), false);
	columns_add(&b->actions, 3, CStringGetTextDatum(sender_reason_word(reason)), false);
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
	columns_add(&b->voids, 0, UUIDPGetDatum(&r->campaign->id), false);
	columns_add(&b->voids, 1, UUIDPGetDatum(&r->lead), false);
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
		batch_add_due(b, &r->campaign->id, r->version, r->cursor, &r->lead, next);
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
		columns_add(&b->parked, 0, UUIDPGetDatum(&r->campaign->id), false);
		columns_add(&b->parked, 1, UUIDPGetDatum(&r->lead), false);
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
			batch_add_due(b, &r->campaign->id, r->version, r->cursor, &r->lead, d.until);
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
			: memcmp(x->lead.data, y->lead.data, UUID_LEN);
	return c;
}

/* write_due writes what is due next: a row for up to a hundred runs that wait
 * for the same step at the same instant. */
static void
write_due(Batch *b, Datum tenant)
{
	static EsPlan plan = {
		"INSERT INTO entrestate.sender_due (tenant_id, campaign_id, version, step, due_at, leads)"
		" SELECT $1, u.c, u.v, u.s, u.at, $8[u.f + 1:u.f + u.n] FROM unnest($2, $3, $4, $5, $6, $7) AS u(c, v, s, at, f, n)",
		8, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
		UUIDARRAYOID}};
	static const Oid types[] = {UUIDOID, INT4OID, INT2OID, TIMESTAMPTZOID, INT4OID, INT4OID};
	static const Oid uuid[] = {UUIDOID};
	Columns		c;
	Columns		leads;
	Datum		values[8];

	if (b->ndue == 0)
		return;
	columns_init(&c, lengthof(types), types);
	columns_init(&leads, 1, uuid);
	qsort(b->due, b->ndue, sizeof(DueEntry), by_due);
	for (int from = 0, to; from < b->ndue; from = to)
	{
		DueEntry   *e = &b->due[from];

		for (to = from; to < b->ndue && to - from < DUE_CHUNK; to++)
		{
			DueEntry   *x = &b->due[to];

			if (memcmp(&x->campaign, &e->campaign, UUID_LEN) != 0 || x->version != e->version ||
				x->step != e->step || x->at != e->at)
				break;
			columns_add(&leads, 0, UUIDPGetDatum(&x->lead), false);
		}
		columns_add(&c, 0, UUIDPGetDatum(&e->campaign), false);
		columns_add(&c, 1, Int32GetDatum(e->version), false);
		columns_add(&c, 2, Int16GetDatum(e->step), false);
		columns_add(&c, 3, TimestampTzGetDatum(e->at), false);
		columns_add(&c, 4, Int32GetDatum(from), false);
		columns_add(&c, 5, Int32GetDatum(to - from), false);
	}
	values[0] = tenant;
	for (int i = 0; i < c.n; i++)
		values[i + 1] = columns_array(&c, i);
	values[7] = columns_array(&leads, 0);
	es_spi_run(&plan, SPI_OK_INSERT, values, NULL);
}

/* batch_write writes everything but the tickets. */
void
batch_write(Batch *b)
{
	static EsPlan events = {
		"INSERT INTO entrestate.sender_events (tenant_id, recorded_at, decided_at,"
		" lead_id, campaign_id, type, run_seq, step, attempt, mode, channel, reason,"
		" next_at, sequence_version, template_version, policy_version, score, hot, cap_count, zone, variant)"
		" SELECT $1, entrestate.clock_now(), entrestate.clock_now(), u.*"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) AS u",
		19, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, INT4ARRAYOID,
			INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
			TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
		BOOLARRAYOID, INT2ARRAYOID, TEXTARRAYOID, INT2ARRAYOID}, .generic = true};
	static EsPlan intents = {
		"INSERT INTO entrestate.sender_intents (tenant_id, campaign_id, lead_id, step,"
		" attempt, status, provider, template_id, template_version,"
		" mode, channel, not_before, created_at, started_at, final_at, outcome_reason, variant)"
		" SELECT $1, u.c, u.l, u.step, u.attempt, u.status, u.provider, u.template, u.version,"
		" $13, u.channel, $14, $14, u.final_at, u.final_at, u.reason, u.variant"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $15)"
		"  AS u(c, l, step, attempt, status, provider, template, version, reason, variant, channel, final_at)",
		15, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
			TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID, INT4ARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
		TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZARRAYOID}, .generic = true};
	static EsPlan runs = {
		"UPDATE entrestate.sender_runs r SET cursor = u.cursor, status = u.status,"
		" mode = u.mode, next_at = u.next_at, run_seq = u.seq,"
		" first_due_at = CASE WHEN u.first THEN u.next_at ELSE coalesce(r.first_due_at, u.next_at) END,"
		" sent_steps = u.sent, reason = u.reason, updated_at = entrestate.clock_now(),"
		" attempt = CASE WHEN u.outcome THEN 0 ELSE r.attempt END,"
		" deferrals = u.deferrals,"
		" last_outcome_at = CASE WHEN u.outcome THEN entrestate.clock_now() ELSE r.last_outcome_at END,"
		" ended_at = CASE WHEN u.ended THEN entrestate.clock_now() END"
		" FROM (SELECT v.*, x.ctid AS at FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		"   AS v(c, l, cursor, status, mode, next_at, seq, sent, reason, outcome, ended, deferrals, first)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_runs y WHERE y.tenant_id = $1"
		"   AND y.campaign_id = v.c AND y.lead_id = v.l OFFSET 0) x OFFSET 0) u"
		" WHERE r.ctid = u.at AND r.tenant_id = $1",
		14, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
		INT2ARRAYOID, BOOLARRAYOID, BOOLARRAYOID, INT2ARRAYOID, BOOLARRAYOID}, .generic = true};
	static EsPlan actions = {
		"INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id, detail)"
		" SELECT $1, entrestate.clock_now(), entrestate.uuid_v7(), u.type, u.c, u.l,"
		" jsonb_build_object('reason', u.reason)"
		" FROM unnest($2, $3, $4, $5) AS u(c, l, type, reason)",
	5, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
	static EsPlan voids = {
		"UPDATE entrestate.sender_intents i SET status = 'voided', final_at = entrestate.clock_now(),"
		" message = NULL, leased_until = NULL FROM (SELECT x.ctid AS at FROM unnest($2, $3) AS v(c, l)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_intents y WHERE y.tenant_id = $1"
		"   AND y.campaign_id = v.c AND y.lead_id = v.l AND y.status IN ('ready', 'leased') OFFSET 0) x OFFSET 0) u"
		" WHERE i.ctid = u.at AND i.tenant_id = $1",
	3, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID}, .generic = true};
	static EsPlan parked = {
		"UPDATE entrestate.sender_runs r SET awaiting_go_live = true"
		" FROM (SELECT x.ctid AS at FROM unnest($2, $3) AS v(c, l)"
		"  CROSS JOIN LATERAL (SELECT y.ctid FROM entrestate.sender_runs y WHERE y.tenant_id = $1"
		"   AND y.campaign_id = v.c AND y.lead_id = v.l OFFSET 0) x OFFSET 0) u"
		" WHERE r.ctid = u.at AND r.tenant_id = $1",
	3, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID}, .generic = true};
	Datum		tenant = UUIDPGetDatum(&b->tenant->id);

	if (columns_rows(&b->intents) > 0)
	{
		Datum		values[15];

		values[0] = tenant;
		for (int i = 0; i < 11; i++)
			values[i + 1] = columns_array(&b->intents, i);
		values[12] = CStringGetTextDatum(sender_mode_word(b->tenant->mode));
		values[13] = TimestampTzGetDatum(b->now);
		values[14] = columns_array(&b->intents, 11);
		es_spi_run(&intents, SPI_OK_INSERT, values, NULL);
	}
	columns_run(&b->events, &events, SPI_OK_INSERT, tenant);
	/* they are ours: we have their leads */
	if (columns_run(&b->runs, &runs, SPI_OK_UPDATE, tenant) != columns_rows(&b->runs))
		elog(ERROR, "a run was changed by somebody who does not have its lead");
	columns_run(&b->parked, &parked, SPI_OK_UPDATE, tenant);
	write_due(b, tenant);
	sandbox_write(b);
	columns_run(&b->actions, &actions, SPI_OK_INSERT, tenant);
	columns_run(&b->voids, &voids, SPI_OK_UPDATE, tenant);
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
