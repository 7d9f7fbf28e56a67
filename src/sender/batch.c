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

char *
text_at(uint64 row, int col)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
}

bool
bool_at(uint64 row, int col)
{
	bool		isnull;

	return DatumGetBool(es_spi_get(row, col, &isnull)) && !isnull;
}

int
int_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? 0 : DatumGetInt32(d);
}

/* lead_facts_at reads the columns LEAD_FACTS, the first of which is "col". */
void
lead_facts_at(uint64 row, int col, LeadFacts *f)
{
	f->handoff = bool_at(row, col);
	f->closed = bool_at(row, col + 1);
	f->merged = bool_at(row, col + 2);
	f->opted_out = bool_at(row, col + 3);
	f->complained = bool_at(row, col + 4);
	f->erased = bool_at(row, col + 5);
	f->hot = bool_at(row, col + 6);
	f->replied = bool_at(row, col + 7);
}

void
batch_init(Batch *b, const Tenant *t, TimestampTz now)
{
	static const Oid due[] = {UUIDOID, TIMESTAMPTZOID, UUIDOID};
	static const Oid events[] = {UUIDOID, UUIDOID, INT2OID, INT4OID, INT2OID,
		INT2OID, INT2OID, INT2OID, INT2OID, TIMESTAMPTZOID, INT4OID, INT4OID,
	INT4OID, INT4OID, BOOLOID};
	static const Oid intents[] = {UUIDOID, UUIDOID, INT2OID, INT2OID, TEXTOID,
	TEXTOID, UUIDOID, INT4OID};
	static const Oid runs[] = {UUIDOID, UUIDOID, INT2OID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INT4OID, INT2OID, INT2OID, BOOLOID, BOOLOID};
	static const Oid actions[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID};
	static const Oid tickets[] = {UUIDOID, UUIDOID, TEXTOID};

	b->tenant = t;
	b->now = now;
	columns_init(&b->due_done, lengthof(due), due);
	columns_init(&b->due_next, lengthof(due), due);
	columns_init(&b->events, lengthof(events), events);
	columns_init(&b->intents, lengthof(intents), intents);
	columns_init(&b->runs, lengthof(runs), runs);
	columns_init(&b->actions, lengthof(actions), actions);
	columns_init(&b->voids, 2, actions);
	columns_init(&b->tickets, lengthof(tickets), tickets);
}

static void
add_due(Columns *c, const Run *r, TimestampTz at)
{
	columns_add(c, 0, UUIDPGetDatum(&r->campaign.id), false);
	columns_add(c, 1, TimestampTzGetDatum(at), false);
	columns_add(c, 2, UUIDPGetDatum(&r->lead), false);
}

/* batch_due_done takes a run's row out of what is due. */
void
batch_due_done(Batch *b, const Run *r)
{
	if (r->due)
		add_due(&b->due_done, r, r->due_at);
}

/* add_event records an event; next is NULL when the run waits for nothing. */
static void
add_event(Batch *b, Run *r, SenderEventType type, SenderReason reason,
		  const TimestampTz *next)
{
	Columns    *c = &b->events;
	bool		step = r->has_step && (type < EVENT_SUPPRESSED_HOT || type > EVENT_SUPPRESSED_CAMPAIGN_ENDED)
		&& type != EVENT_RUN_DONE;

	r->run_seq++;
	columns_add(c, 0, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 1, UUIDPGetDatum(&r->campaign.id), false);
	columns_add(c, 2, Int16GetDatum(type), false);
	columns_add(c, 3, Int32GetDatum(r->run_seq), false);
	columns_add(c, 4, Int16GetDatum(r->cursor), !step);
	columns_add(c, 5, Int16GetDatum(r->attempt), !step);
	columns_add(c, 6, Int16GetDatum(r->mode), false);
	columns_add(c, 7, Int16GetDatum(r->channel), !step);
	columns_add(c, 8, Int16GetDatum(reason), reason == REASON_NONE);
	columns_add(c, 9, next ? TimestampTzGetDatum(*next) : (Datum) 0, next == NULL);
	columns_add(c, 10, Int32GetDatum(r->version), false);
	columns_add(c, 11, Int32GetDatum(r->template_version), !step);
	columns_add(c, 12, Int32GetDatum(r->campaign.policy_version), false);
	columns_add(c, 13, Int32GetDatum(r->score), false);
	columns_add(c, 14, BoolGetDatum(r->facts.hot), false);
}

static void
add_intent(Batch *b, const Run *r, const char *status, const char *provider)
{
	Columns    *c = &b->intents;

	columns_add(c, 0, UUIDPGetDatum(&r->campaign.id), false);
	columns_add(c, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(c, 2, Int16GetDatum(r->cursor), false);
	columns_add(c, 3, Int16GetDatum(r->attempt), false);
	columns_add(c, 4, CStringGetTextDatum(status), false);
	columns_add(c, 5, CStringGetTextDatum(provider), false);
	columns_add(c, 6, r->template_id, false);
	columns_add(c, 7, Int32GetDatum(r->template_version), false);
}

static void
add_run(Batch *b, const Run *r, const char *status, const TimestampTz *next,
		SenderReason reason, bool outcome, bool ended)
{
	Columns    *c = &b->runs;

	columns_add(c, 0, UUIDPGetDatum(&r->campaign.id), false);
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
}

static SenderEventType
suppression_of(SenderReason reason)
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
	SenderEventType type = suppression_of(reason);

	add_event(b, r, type, reason, NULL);
	columns_add(&b->actions, 0, UUIDPGetDatum(&r->campaign.id), false);
	columns_add(&b->actions, 1, UUIDPGetDatum(&r->lead), false);
	columns_add(&b->actions, 2, CStringGetTextDatum(sender_event_word(type)), false);
	columns_add(&b->actions, 3, CStringGetTextDatum(sender_reason_word(reason)), false);
	/* somebody must take over what the lead has begun */
	if (reason == REASON_HOT || reason == REASON_REPLIED)
	{
		columns_add(&b->tickets, 0, UUIDPGetDatum(&r->campaign.id), false);
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
	columns_add(&b->voids, 0, UUIDPGetDatum(&r->campaign.id), false);
	columns_add(&b->voids, 1, UUIDPGetDatum(&r->lead), false);
	batch_due_done(b, r);
}

/*
 * step_outcome records the outcome of the step at the cursor, moves the cursor
 * on and looks at gates 3 to 7 for the new index; the last outcome ends the
 * run, which is done then.
 */
static void
step_outcome(Batch *b, Run *r, SenderEventType type, SenderReason reason)
{
	TimestampTz next = 0;
	bool		last = r->next_delay == NULL;
	SenderDecision end = {0};
	bool		ends = !last &&
		sender_decide_end(&r->facts, r->cursor + 1, r->campaign.brake_index, &end);

	if (!last && !ends)
		next = es_add_delay(b->now, r->next_delay,
							es_zone(r->zone ? r->zone : b->tenant->zone));
	add_event(b, r, type, reason, last || ends ? NULL : &next);
	if (type == EVENT_STEP_SENT)
		r->sent_steps++;
	r->cursor++;
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
		add_due(&b->due_next, r, next);
	}
}

/* batch_apply carries a decision out; false when the run stays as it is. */
bool
batch_apply(Batch *b, Run *r, SenderDecision d)
{
	r->mode = b->tenant->dry_run || r->campaign.dry_run
		? MODE_DRY_RUN : b->tenant->mode;

	switch (d.action)
	{
		case ACTION_HOLD:
			return false;
		case ACTION_TERMINATE:
			batch_end_run(b, r, d.reason);
			return true;
		case ACTION_DONE:
			add_event(b, r, EVENT_RUN_DONE, d.reason, NULL);
			add_run(b, r, "done", NULL, d.reason, false, true);
			break;
		case ACTION_SKIP:
			step_outcome(b, r, EVENT_STEP_SKIPPED, d.reason);
			break;
		case ACTION_SIMULATE:
			step_outcome(b, r, EVENT_STEP_SIMULATED, d.reason);
			break;
		case ACTION_ADMIT:
			if (b->tenant->mode == MODE_SANDBOX)
			{
				add_intent(b, r, "sent", "sandbox");
				step_outcome(b, r, EVENT_STEP_SENT, REASON_NONE);
			}
			else
			{
				/* the run waits on the intent; its outcome will move it on */
				add_intent(b, r, "ready", "none");
				add_run(b, r, "running", NULL, REASON_NONE, false, false);
			}
			break;
	}
	batch_due_done(b, r);
	return true;
}

/* batch_write writes everything but the tickets. */
void
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
		" next_at, sequence_version, template_version, policy_version, score, hot)"
		" SELECT $1, entrestate.clock_now(), entrestate.clock_now(), u.*"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) AS u",
		16, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, INT2ARRAYOID, INT4ARRAYOID,
			INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT2ARRAYOID,
			TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
		BOOLARRAYOID}};
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
	static EsPlan actions = {
		"INSERT INTO entrestate.audience_actions (tenant_id, recorded_at, id, type, campaign_id, lead_id, detail)"
		" SELECT $1, entrestate.clock_now(), entrestate.uuid_v7(), u.type, u.c, u.l,"
		" jsonb_build_object('reason', u.reason)"
		" FROM unnest($2, $3, $4, $5) AS u(c, l, type, reason)",
	5, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID}};
	static EsPlan voids = {
		"UPDATE entrestate.sender_intents i SET status = 'voided', final_at = entrestate.clock_now(),"
		" message = NULL, leased_until = NULL FROM unnest($2, $3) AS u(c, l)"
		" WHERE i.tenant_id = $1 AND i.campaign_id = u.c AND i.lead_id = u.l"
		" AND i.status IN ('ready', 'leased')",
	3, {UUIDOID, UUIDARRAYOID, UUIDARRAYOID}};
	Datum		tenant = UUIDPGetDatum(&b->tenant->id);

	columns_run(&b->intents, &intents, SPI_OK_INSERT, tenant);
	columns_run(&b->events, &events, SPI_OK_INSERT, tenant);
	columns_run(&b->runs, &runs, SPI_OK_UPDATE, tenant);
	columns_run(&b->due_done, &due_done, SPI_OK_DELETE, tenant);
	columns_run(&b->due_next, &due_next, SPI_OK_INSERT, tenant);
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
