/*
 * simulate.c
 *		What the sender would have decided in a period under other settings, or
 *		will decide in one to come.  Nothing is written and nothing is locked.
 *
 * Each run is decided anew by facts_of() and sender_decide() over the facts as
 * they were at each instant (history.c): what people, leads and providers did
 * stands; what the sender did itself is made again.  A step is decided at the
 * instant at which it is due, or at which what held it ends; what brakes, at
 * once.  What follows mirrors the processor's batch.c, brake.c and operate.c.
 *
 * The leads are independent of each other but for the budgets of gate 16.  So
 * they are worked through a few thousand at a time, each to the period's end;
 * where a limit or a rate holds, all of them together in the order of time.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sender/simulate.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* Leads that are read together. */
#define LOAD 2000

/* The counted: by type, reason and step; the last step stands for none. */
#define COUNT_TYPES 64
#define COUNT_REASONS 64
#define COUNT_STEPS 102
#define COUNT_AT(type, reason, step) (((type) * COUNT_REASONS + (reason)) * COUNT_STEPS + (step) + 1)

extern Datum sender_template_missing(PG_FUNCTION_ARGS);

/* ----- the result ------------------------------------------------------- */

/* Words are made once a session. */
static text *type_words[COUNT_TYPES];
static text *reason_words[COUNT_REASONS];
static text *channel_words[4];
static text *mode_words[4];

static Datum
word_in(text **words, int code, const char *(*word) (int code))
{
	if (words[code] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		words[code] = cstring_to_text(word(code));
		MemoryContextSwitchTo(old);
	}
	return PointerGetDatum(words[code]);
}

static const char *
type_word(int code)
{
	return sender_event_word(code);
}

static const char *
reason_word(int code)
{
	return sender_reason_word(code);
}

static const char *
channel_word(int code)
{
	return sender_channel_word(code);
}

static const char *
mode_word(int code)
{
	return sender_mode_word(code);
}

/* emit adds a decision; step and channel are -1 where it is the run's. */
static void
emit(Simulation *s, const SimLead *l, TimestampTz at, SenderEventType type, SenderReason reason, int step, int channel,
	 TimestampTz next)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	if (s->rsinfo == NULL)
	{
		s->counts[COUNT_AT(type, reason, step)]++;
		return;
	}
	values[0] = UUIDPGetDatum(&l->id);
	values[1] = TimestampTzGetDatum(at);
	values[2] = word_in(type_words, type, type_word);
	nulls[3] = step < 0;
	values[3] = Int32GetDatum(step);
	nulls[4] = channel <= 0;
	values[4] = nulls[4] ? (Datum) 0 : word_in(channel_words, channel, channel_word);
	nulls[5] = reason == REASON_NONE;
	values[5] = nulls[5] ? (Datum) 0 : word_in(reason_words, reason, reason_word);
	values[6] = word_in(mode_words, l->mode, mode_word);
	nulls[7] = next == 0;
	values[7] = TimestampTzGetDatum(next);
	tuplestore_putvalues(s->rsinfo->setResult, s->rsinfo->setDesc, values, nulls);
}

/* ----- documents -------------------------------------------------------- */

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, name);
	v.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_text(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	v = {.type = value == NULL ? jbvNull : jbvString};

	push_key(state, name);
	if (value != NULL)
	{
		v.val.string.val = unconstify(char *, value);
		v.val.string.len = strlen(value);
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_bool(JsonbParseState **state, const char *name, bool value)
{
	JsonbValue	v = {.type = jbvBool};

	push_key(state, name);
	v.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_number(JsonbParseState **state, const char *name, Datum numeric)
{
	JsonbValue	v = {.type = jbvNumeric};

	push_key(state, name);
	v.val.numeric = DatumGetNumeric(numeric);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static Datum
number(int64 n)
{
	return DirectFunctionCall1(int8_numeric, Int64GetDatum(n));
}

static Datum
epoch(TimestampTz at)
{
	return DirectFunctionCall2(extract_timestamptz, CStringGetTextDatum("epoch"), TimestampTzGetDatum(at));
}

/* push_document puts another document in as a value; null for none. */
static void
push_document(JsonbParseState **state, const char *name, Jsonb *j)
{
	JsonbValue	v = {.type = jbvNull};

	push_key(state, name);
	if (j != NULL)
	{
		v.type = jbvBinary;
		v.val.binary.data = &j->root;
		v.val.binary.len = VARSIZE(j) - VARHDRSZ;
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

static const char *
direction_of(const Simulation *s, const SimLead *l, const Policy *p, int score, TimestampTz at)
{
	if (l->complained || l->opted_out || l->unusable[0] || l->unusable[1])
		return "RISK";
	if (l->signals.hot || l->tickets > 0 || l->own_ticket)
		return "READY";
	if (score >= p->score.warming_threshold)
		return "WARMING";
	return l->signals.n > 0 && l->signals.at[l->signals.n - 1] > at - p->score.window ? "EXPLORING" : "NOISE";
}

/*
 * document_of is sender_document() at an instant of the simulation.  What no
 * history is kept of (names, tags, status, the lead's own fields) is of now.
 */
static Jsonb *
document_of(Simulation *s, const SimLead *l, const Policy *p, const Queue *q, int score, TimestampTz at)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&l->person->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "lead");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_END_OBJECT)
		pushJsonbValue(&state, token, &v);
	push_number(&state, "score", number(score));
	push_bool(&state, "hot", l->signals.hot);
	push_text(&state, "direction", direction_of(s, l, p, score, at));
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	push_document(&state, "attribution", l->attribution);
	push_document(&state, "campaign", s->about);
	push_document(&state, "sender", s->senders[q->channel == CHANNEL_NONE ? CHANNEL_EMAIL : q->channel]);
	push_key(&state, "run");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "created_at", epoch(l->created_at));
	push_number(&state, "cursor", number(l->cursor));
	push_number(&state, "sent_steps", number(l->sent_steps));
	push_text(&state, "status", l->cursor > 0 || l->sent_steps > 0 ? "running" : "pending");
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	push_key(&state, "steps");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < l->cursor && i < l->noutcomes; i++)
	{
		const Outcome *o = &l->outcomes[i];

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_text(&state, "channel", o->channel == 0 ? NULL : sender_channel_word(o->channel));
		push_text(&state, "outcome", o->type == 0 ? NULL : sender_event_word(o->type) + strlen("sender.step."));
		push_bool(&state, "delivered", (o->reports & REPORT_DELIVERED) != 0);
		push_bool(&state, "opened", (o->reports & REPORT_OPENED) != 0);
		push_bool(&state, "clicked", (o->reports & REPORT_CLICKED) != 0);
		push_bool(&state, "replied", (o->reports & REPORT_REPLIED) != 0);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	push_number(&state, "now", epoch(at));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* holds is guard_holds(). */
static Verdict
holds(Datum predicate, Jsonb *document)
{
	LOCAL_FCINFO(fcinfo, 4);
	Datum		result;

	if (predicate == 0)
		return VERDICT_NONE;
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(document);
	fcinfo->args[1].value = predicate;
	fcinfo->args[2].value = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	result = jsonb_path_match(fcinfo);
	return fcinfo->isnull ? VERDICT_ERROR : DatumGetBool(result) ? VERDICT_TRUE : VERDICT_FALSE;
}

static bool
misses_field(Datum fields, Jsonb *document)
{
	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = fields;
	fcinfo->args[1].value = JsonbPGetDatum(document);
	fcinfo->args[0].isnull = fcinfo->args[1].isnull = false;
	sender_template_missing(fcinfo);
	return !fcinfo->isnull;
}

/* ----- a run ------------------------------------------------------------ */

static LeadFacts
facts_of_lead(const SimLead *l, bool stop_on_reply)
{
	LeadFacts	f = {0};

	f.handoff = l->tickets > 0 || l->own_ticket || (l->handoff_at != 0 && l->handoff_at >= l->created_at);
	f.closed = l->closed;
	f.stopped = l->stopped;
	f.merged = l->merged;
	f.opted_out = l->opted_out;
	f.complained = l->complained;
	f.erased = l->erased;
	f.hot = l->signals.hot;
	f.replied = stop_on_reply && l->signals.replied_at != 0 && l->signals.replied_at >= l->created_at;
	return f;
}

static int
score_of(const Policy *p, const SimLead *l, TimestampTz at)
{
	const Signals *g = &l->signals;

	/* by the settings that the last signal was stored with, as lead_scores has it */
	return g->n == 0 ? 0 : es_score(g->settings != NULL ? g->settings : &p->score, g->n, g->kinds, g->at, at);
}

/* wait_until lets a run wait for an instant; 0: for nothing that comes. */
static void
wait_until(SimLead *l, TimestampTz at)
{
	l->wake_at = at == 0 ? DT_NOEND : at;
	l->waits = 0;
}

/* suppress ends a run before its last step, as batch.c does. */
static void
suppress(Simulation *s, SimLead *l, SenderReason reason, TimestampTz at)
{
	emit(s, l, at, batch_suppression(reason), reason, -1, -1, 0);
	l->state = RUN_SUPPRESSED;
	l->next_at = 0;
	wait_until(l, 0);
	if ((reason == REASON_HOT || reason == REASON_REPLIED) && l->tickets == 0 && !l->own_ticket)
	{
		l->own_ticket = true;
		l->handoff_at = at;
	}
}

static bool
is_against(const LeadFacts *f, SenderReason reason)
{
	return (reason == REASON_HANDOFF && f->handoff) || (reason == REASON_LEAD_CLOSED && f->closed) ||
		(reason == REASON_STOPPED && f->stopped) || (reason == REASON_MERGED && f->merged) ||
		(reason == REASON_OPTED_OUT && f->opted_out) || (reason == REASON_COMPLAINED && f->complained) ||
		(reason == REASON_ERASED && f->erased) || (reason == REASON_HOT && f->hot) || (reason == REASON_REPLIED && f->replied);
}

/* brake ends the run at once where gates 3 to 6 say so. */
static void
brake(Simulation *s, SimLead *l, TimestampTz at)
{
	const Policy *p = policy_at(s, at);
	LeadFacts	f;
	SenderDecision d;

	if (l->state != RUN_OPEN)
		return;
	f = facts_of_lead(l, version_of(s, l->version)->steps[0].queue->stop_on_reply);
	if (!sender_decide_end(&f, l->cursor, p->campaign.brake_index, &d))
		return;
	/* of several things of one instant, the one that ended it in fact was the first */
	if (at == l->ended_at && is_against(&f, l->ended_by))
		d.reason = l->ended_by;
	suppress(s, l, d.reason, at);
}

static void
outcome(Simulation *s, SimLead *l, const Policy *p, const Queue *q, SenderEventType type, SenderReason reason,
		const LeadFacts *f, TimestampTz at)
{
	bool		last = q->next_delay == NULL;
	SenderDecision end = {0};
	bool		ends = !last && sender_decide_end(f, l->cursor + 1, p->campaign.brake_index, &end);
	TimestampTz next = 0;

	if (!last && !ends)
		next = es_add_delay(at, q->next_delay, es_zone(l->zone ? l->zone : p->tenant.zone));
	emit(s, l, at, type, reason, l->cursor, q->channel, next);
	if (l->outcomes != NULL && l->cursor < l->noutcomes)
	{
		l->outcomes[l->cursor].type = type;
		l->outcomes[l->cursor].channel = q->channel;
	}
	if (type == EVENT_STEP_SENT)
		l->sent_steps++;
	l->cursor++;
	l->deferrals = 0;
	l->last_outcome_at = at;
	l->next_at = l->first_due_at = next;
	wait_until(l, next);
	if (last)
	{
		emit(s, l, at, EVENT_RUN_DONE, REASON_COMPLETED, -1, -1, 0);
		l->state = RUN_DONE;
	}
	else if (ends)
		suppress(s, l, end.reason, at);
}

/* ----- budgets ---------------------------------------------------------- */

static int
left_of(int limit, int used)
{
	return limit == UNLIMITED ? UNLIMITED : Max(limit - used, 0);
}

/*
 * budgets_at puts what is left of the budgets at an instant into a policy's
 * tenant and campaign, where facts_of() looks.  Instants come in order.
 */
static void
budgets_at(Simulation *s, Policy *p, TimestampTz at)
{
	if (at >= s->day_end || at < s->day)
	{
		Datum		zone = CStringGetTextDatum(s->tenant.zone);
		Datum		unit = CStringGetTextDatum("day");

		s->day = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_trunc_zone, unit, TimestampTzGetDatum(at), zone));
		s->day_end = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_trunc_zone, unit,
															 TimestampTzGetDatum(s->day + 36 * USECS_PER_HOUR), zone));
		memset(s->day_used, 0, sizeof(s->day_used));
		for (int i = 0; i < s->nused; i++)
			if (s->used_at[i] == s->day)
				s->day_used[s->used_channel[i]] += s->used[i];
	}
	if (at - s->minute >= USECS_PER_MINUTE || at < s->minute)
	{
		s->minute = at - at % USECS_PER_MINUTE;
		memset(s->minute_used, 0, sizeof(s->minute_used));
		s->campaign_used = 0;
	}
	for (int k = CHANNEL_EMAIL; k <= CHANNEL_WHATSAPP; k++)
	{
		Channel    *c = &p->tenant.channels[k];
		int			daily = p->daily[k];

		if (p->nwarmup[k] > 0)
		{
			int			offset;
			struct pg_tm tm;
			fsec_t		fsec;
			int			day;

			if (timestamp2tm(at, &offset, &tm, &fsec, NULL, es_zone(p->tenant.zone)) != 0)
				elog(ERROR, "timestamp out of range");
			day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - UNIX_EPOCH_JDATE - p->warmup_from[k];
			if (day >= 0 && day < p->nwarmup[k])
				daily = Min(daily, p->warmup[k][day]);
		}
		c->left_today = left_of(daily, s->day_used[k]);
		c->left_this_minute = left_of(p->per_minute[k], s->minute_used[k]);
	}
	p->campaign.left_this_minute = left_of(p->campaign_per_minute, s->campaign_used);
}

static void
use_up(Simulation *s, SenderChannel channel)
{
	s->day_used[channel]++;
	s->minute_used[channel]++;
	s->campaign_used++;
}

/* ----- decisions -------------------------------------------------------- */

/* hold lets a run wait for what holds its queue to end. */
static void
hold(Simulation *s, SimLead *l, const Policy *p, SenderReason reason)
{
	if (reason >= REASON_DAILY_LIMIT && reason <= REASON_BACK_PRESSURE)
	{
		l->wake_at = DT_NOEND;
		l->waits = ++l->stamp;
		return;
	}
	/* templates and identities are as they are now: only settings change */
	wait_until(l, p + 1 < s->policies + s->npolicies ? p[1].since : 0);
}

/* decide is what the processor does with a run that is due. */
static void
decide(Simulation *s, SimLead *l, TimestampTz at)
{
	Policy	   *p = unconstify(Policy *, policy_at(s, at));
	const Version *v = version_of(s, l->version);
	const Step *step = &v->steps[Min(l->cursor, v->nsteps)];
	Queue	   *q = step->queue;
	Run			r = {0};
	SenderFacts f;
	SenderDecision d;
	SenderSend *counted = NULL;

	q->campaign = &p->campaign;
	if (s->limited)
		budgets_at(s, p, at);
	/* a queue that is held is not looked at */
	f = facts_of(&p->tenant, q, NULL, at);
	d = sender_decide(&f);
	if (d.action == ACTION_HOLD)
	{
		hold(s, l, p, d.reason);
		return;
	}

	r.campaign = &p->campaign;
	r.queue = q;
	r.lead = l->id;
	r.variant = -1;
	r.version = l->version;
	r.cursor = l->cursor;
	r.deferrals = l->deferrals;
	r.sent_steps = l->sent_steps;
	r.mode = l->mode;
	r.created_at = l->created_at;
	r.first_due_at = l->first_due_at;
	r.last_outcome_at = l->last_outcome_at;
	r.last_signal_at = l->signals.last_at;
	r.score = score_of(p, l, at);
	r.zone = l->zone;
	r.facts = facts_of_lead(l, q->stop_on_reply);
	if (q->channel != CHANNEL_NONE)
	{
		int			kind = q->channel == CHANNEL_EMAIL ? 0 : 1;

		r.contact = !l->reachable[kind] ? CONTACT_MISSING : l->unusable[kind] ? CONTACT_UNUSABLE :
			l->suppressed[q->channel] ? CONTACT_SUPPRESSED : CONTACT_USABLE;
		r.consent_granted = l->consented[q->channel];
		r.consent_withdrawn = l->withdrawn[q->channel];
	}
	if (q->ntexts > 0)
	{
		if (q->has_variants && (step->needs_document || s->whatsapp))
			r.variant = variant_of(&r);
		r.whatsapp_closed = text_of(&r)->free_text && !(l->whatsapp_at != 0 && l->whatsapp_at > at - USECS_PER_DAY);
	}
	if (step->needs_document)
	{
		MemoryContext old = MemoryContextSwitchTo(s->scratch);
		Jsonb	   *document = document_of(s, l, p, q, r.score, at);

		r.guard = holds(step->guard, document);
		r.facts.goal = holds(step->exit_predicate, document) == VERDICT_TRUE;
		r.missing_field = q->ntexts > 0 && step->fields[Max(r.variant, 0)] != 0 &&
			misses_field(step->fields[Max(r.variant, 0)], document);
		MemoryContextSwitchTo(old);
		MemoryContextReset(s->scratch);
	}
	if (p->campaign.ncaps > 0)
	{
		/* what was rehearsed counts among rehearsals */
		counted = palloc(sizeof(SenderSend) * Max(l->nsends, 1));
		for (int i = 0; i < l->nsends; i++)
			if (l->sends[i].at <= at && (!l->rehearsed[i] || f.dry_run))
				counted[r.nsends++] = l->sends[i];
		r.sends = counted;
	}
	f = facts_of(&p->tenant, q, &r, at);
	d = sender_decide(&f);
	if (counted != NULL)
		pfree(counted);
	if (d.action == ACTION_HOLD)
	{
		hold(s, l, p, d.reason);
		return;
	}
	l->mode = f.dry_run ? MODE_DRY_RUN : p->tenant.mode;
	switch (d.action)
	{
		case ACTION_TERMINATE:
			suppress(s, l, d.reason, at);
			break;
		case ACTION_DONE:
			emit(s, l, at, EVENT_RUN_DONE, d.reason, -1, -1, 0);
			l->state = RUN_DONE;
			wait_until(l, 0);
			break;
		case ACTION_SKIP:
			outcome(s, l, p, q, EVENT_STEP_SKIPPED, d.reason, &f.lead, at);
			break;
		case ACTION_DEFER:
			l->deferrals += d.reason == REASON_RISING_INTENT;
			l->next_at = d.until;
			if (l->first_due_at == 0)
				l->first_due_at = d.until;
			wait_until(l, d.until);
			emit(s, l, at, EVENT_STEP_DEFERRED, d.reason, l->cursor, q->channel, d.until);
			break;
		case ACTION_SIMULATE:
			if (s->capped)
				lead_sent(l, at, q->channel, true);
			outcome(s, l, p, q, EVENT_STEP_SIMULATED, d.reason, &f.lead, at);
			break;
		case ACTION_ADMIT:
			{
				SenderEventType type = EVENT_STEP_SENT;
				SenderReason reason = REASON_NONE;

				/* what the provider answered in fact, it answers again */
				for (int i = 0; i < l->nfates; i++)
					if (l->fates[i].step == l->cursor)
					{
						type = l->fates[i].type;
						reason = l->fates[i].reason;
					}
				if (type != EVENT_STEP_FAILED)
				{
					use_up(s, q->channel);
					if (s->capped)
						lead_sent(l, at, q->channel, false);
				}
				outcome(s, l, p, q, type, reason, &f.lead, at);
				break;
			}
		default:
			elog(ERROR, "unexpected action %d", d.action);
	}
}

/* ----- what happens to a lead ------------------------------------------- */

static void
begin(Simulation *s, SimLead *l, const Fact *f)
{
	const Policy *p = policy_at(s, f->at);
	const Version *v;

	l->version = f->number != 0 ? f->number : l->version;
	v = version_of(s, l->version);
	/* what the gates would end at once does not begin */
	if (l->signals.hot && p->campaign.brake_index == 0)
		return;
	l->state = RUN_OPEN;
	l->mode = p->tenant.dry_run || p->campaign.dry_run ? MODE_DRY_RUN : p->tenant.mode;
	l->next_at = f->other;
	if (f->other == 0 || (s->overrides.ndelays > 0 && s->overrides.delays[0] != NULL))
		l->next_at = es_add_delay(f->at, v->steps[0].queue->delay, es_zone(l->zone ? l->zone : p->tenant.zone));
	l->first_due_at = l->next_at;
	wait_until(l, l->next_at);
	emit(s, l, f->at, EVENT_RUN_STARTED, REASON_NONE, -1, -1, l->next_at);
}

static void
restart(Simulation *s, SimLead *l, const Fact *f)
{
	const Policy *p = policy_at(s, f->at);
	pg_tz	   *zone = es_zone(l->zone ? l->zone : p->tenant.zone);

	if ((l->state != RUN_OPEN && l->state != RUN_DONE) || l->mode != MODE_DRY_RUN || l->sent_steps > 0 ||
		p->tenant.dry_run || p->campaign.dry_run)
		return;
	l->state = RUN_OPEN;
	l->cursor = l->deferrals = 0;
	l->mode = p->tenant.mode;
	l->last_outcome_at = f->at;
	l->next_at = f->other;
	if (s->overrides.ndelays > 0 && s->overrides.delays[0] != NULL)
		l->next_at = es_add_delay(f->at, version_of(s, l->version)->steps[0].queue->delay, zone);
	l->first_due_at = l->next_at;
	if (l->outcomes != NULL)
		memset(l->outcomes, 0, sizeof(Outcome) * l->noutcomes);
	wait_until(l, l->next_at);
	emit(s, l, f->at, EVENT_RUN_RESTARTED, REASON_NONE, -1, -1, l->next_at);
}

static void
upgrade(Simulation *s, SimLead *l, const Fact *f)
{
	const Policy *p = policy_at(s, f->at);
	const Version *v = version_of(s, f->number);

	if (l->state != RUN_OPEN || l->cursor > v->nsteps)
		return;
	l->version = f->number;
	l->next_at = 0;
	if (l->cursor < v->nsteps)
		l->next_at = Max(f->at, es_add_delay(l->last_outcome_at != 0 ? l->last_outcome_at : l->created_at,
											 v->steps[l->cursor].queue->delay, es_zone(l->zone ? l->zone : p->tenant.zone)));
	l->first_due_at = l->next_at;
	wait_until(l, l->next_at);
	emit(s, l, f->at, EVENT_RUN_UPGRADED, REASON_NONE, -1, -1, l->next_at);
	if (l->cursor >= v->nsteps)
	{
		emit(s, l, f->at, EVENT_RUN_DONE, REASON_COMPLETED, -1, -1, 0);
		l->state = RUN_DONE;
	}
}

/* skip_overdue is what an operator does to a step that is due. */
static void
skip_overdue(Simulation *s, SimLead *l, const Fact *f)
{
	Policy	   *p = unconstify(Policy *, policy_at(s, f->at));
	Queue	   *q;
	LeadFacts	facts;
	SenderDecision d;

	if (l->state != RUN_OPEN || l->next_at == 0 || l->next_at > f->at)
		return;
	q = version_of(s, l->version)->steps[l->cursor].queue;
	facts = facts_of_lead(l, q->stop_on_reply);
	if (sender_decide_end(&facts, l->cursor, p->campaign.brake_index, &d))
		suppress(s, l, d.reason, f->at);
	else
	{
		l->mode = p->tenant.dry_run || p->campaign.dry_run ? MODE_DRY_RUN : p->tenant.mode;
		outcome(s, l, p, q, EVENT_STEP_SKIPPED, REASON_TOO_LATE, &facts, f->at);
	}
}

/* retry is what an operator did to a step that has its outcome here, too. */
static void
retry(Simulation *s, SimLead *l, const Fact *f)
{
	TimestampTz next = l->state == RUN_OPEN ? l->next_at : 0;

	if ((l->state != RUN_OPEN && l->state != RUN_DONE) || f->number >= l->cursor)
		return;
	if (f->kind == FACT_RETRIED)
	{
		emit(s, l, f->at, EVENT_STEP_RETRIED, REASON_NONE, f->number, f->what, next);
		return;
	}
	if (l->outcomes != NULL && f->number < l->noutcomes)
		l->outcomes[f->number].type = f->what;
	if (f->what == EVENT_STEP_SENT)
		l->sent_steps++;
	if (s->capped && f->what != EVENT_STEP_FAILED)
		lead_sent(l, f->at, f->channel, f->what == EVENT_STEP_SIMULATED);
	emit(s, l, f->at, f->what, f->what == EVENT_STEP_SIMULATED ? REASON_DRY_RUN : f->what == EVENT_STEP_FAILED ? REASON_REFUSED :
		 f->what == EVENT_STEP_UNKNOWN ? REASON_UNCERTAIN : REASON_NONE, f->number, f->channel, next);
}

static void
open_ticket(SimLead *l, TimestampTz at)
{
	l->tickets++;
	l->handoff_at = Max(l->handoff_at, at);
}

/* report notes what a provider reported of a step. */
static void
report(SimLead *l, const Fact *f)
{
	if (l->outcomes != NULL && f->number >= 0 && f->number < l->noutcomes)
		l->outcomes[f->number].reports |= f->what == EVENT_DELIVERED ? REPORT_DELIVERED : f->what == EVENT_OPENED ? REPORT_OPENED :
			f->what == EVENT_CLICKED ? REPORT_CLICKED : f->what == EVENT_REPLIED ? REPORT_REPLIED : 0;
}

/* happen lets a fact become known; true when it may end the run. */
static bool
happen(Simulation *s, SimLead *l, const Fact *f)
{
	bool		was;

	switch ((FactKind) f->kind)
	{
		case FACT_CONTACT:
			l->reachable[f->what] = true;
			break;
		case FACT_UNUSABLE:
			l->unusable[f->what] = true;
			break;
		case FACT_SUPPRESSED:
			l->suppressed[f->what] = true;
			break;
		case FACT_CONSENT:
			l->consented[f->what] = f->flag;
			l->withdrawn[f->what] = !f->flag;
			break;
		case FACT_WHATSAPP:
			l->whatsapp_at = Max(l->whatsapp_at, f->other);
			break;
		case FACT_SENT:
			lead_sent(l, f->at, f->what, f->flag);
			break;
		case FACT_REPORTED:
			report(l, f);
			break;
		case FACT_SIGNAL:
		case FACT_COOLED:
		case FACT_HOT:
		case FACT_MERGED_IN:
			was = l->signals.hot;
			signals_take(s, &l->signals, f, f->kind == FACT_MERGED_IN ? &l->merges[f->number] : NULL, l->other_threshold);
			if (f->kind == FACT_MERGED_IN)
				for (int i = 0; i < l->merges[f->number].nsends; i++)
					lead_sent(l, l->merges[f->number].sends[i].at, l->merges[f->number].sends[i].channel, false);
			if (l->other_hot && l->signals.hot)
			{
				l->other_hot = false;
				open_ticket(l, f->at);
			}
			return (l->signals.hot && !was) || f->kind == FACT_MERGED_IN || (f->kind == FACT_SIGNAL && f->what == SIGNAL_REPLY);
		case FACT_TICKET:
			if (f->what == TICKET_OTHER_HOT && !l->signals.hot)
				l->other_hot = true;
			else if (f->what != TICKET_OWN)
			{
				open_ticket(l, f->at);
				return true;
			}
			break;
		case FACT_RESOLVED:
			/* whose ticket it is: ours, one that waits for the latch, or one that stands */
			if (f->what == TICKET_OWN)
				l->own_ticket = false;
			else if (f->what == TICKET_OTHER_HOT && l->other_hot)
				l->other_hot = false;
			else if (l->tickets > 0)
				l->tickets--;
			break;
		case FACT_OPTED_OUT:
			l->opted_out = true;
			return true;
		case FACT_COMPLAINED:
			l->complained = true;
			return true;
		case FACT_ERASED:
			l->erased = true;
			return true;
		case FACT_CLOSED:
			l->closed = true;
			return true;
		case FACT_MERGED:
			l->merged = true;
			return true;
		case FACT_STOPPED:
			l->stopped = l->state == RUN_OPEN;
			return true;
		default:
			elog(ERROR, "unexpected fact %d", f->kind);
	}
	return false;
}

static void
operate(Simulation *s, SimLead *l, const Fact *f)
{
	switch ((FactKind) f->kind)
	{
		case FACT_FAILED:
			if (l->state == RUN_OPEN)
			{
				emit(s, l, f->at, EVENT_RUN_FAILED, f->number, -1, -1, 0);
				l->state = RUN_FAILED;
				wait_until(l, 0);
			}
			break;
		case FACT_RESUMED:
			if (l->state == RUN_FAILED)
			{
				l->state = RUN_OPEN;
				l->next_at = l->first_due_at = f->at;
				wait_until(l, f->at);
				emit(s, l, f->at, EVENT_RUN_RESUMED, REASON_NONE, -1, -1, f->at);
			}
			break;
		case FACT_RESTARTED:
			restart(s, l, f);
			break;
		case FACT_UPGRADED:
			upgrade(s, l, f);
			break;
		case FACT_OVERDUE:
			skip_overdue(s, l, f);
			break;
		default:
			retry(s, l, f);
	}
}

/*
 * remember lets everything become known that was before the period, and puts the
 * run where it was.
 */
static void
remember(Simulation *s, SimLead *l)
{
	/* its first event is not kept any more: it began, and nothing else is known */
	if (l->state == RUN_NOT_BEGUN && l->created_at < s->since)
	{
		l->state = RUN_OPEN;
		l->next_at = l->first_due_at = es_add_delay(l->created_at, version_of(s, l->version)->steps[0].queue->delay,
													es_zone(l->zone ? l->zone : s->tenant.zone));
	}
	for (; l->next_fact < l->nfacts && l->facts[l->next_fact].at < s->since; l->next_fact++)
		happen(s, l, &l->facts[l->next_fact]);
	wait_until(l, l->state == RUN_OPEN && l->next_at != 0 ? Max(l->next_at, s->since) : 0);
	/* a lead that under other settings would have ended the run by now, does */
	if (s->overrides.brake && l->state == RUN_OPEN)
		brake(s, l, s->since);
}

/* next_of is the next instant at which something happens to a lead or its run. */
static TimestampTz
next_of(const SimLead *l)
{
	return Min(l->next_fact < l->nfacts ? l->facts[l->next_fact].at : DT_NOEND, l->wake_at);
}

/*
 * advance works through what happens at the next instant: everything that
 * becomes known then, what it ends, what operators do; or the decision.
 */
static void
advance(Simulation *s, SimLead *l)
{
	TimestampTz at = next_of(l);
	bool		brakes = false;

	if (l->next_fact >= l->nfacts || l->facts[l->next_fact].at > at)
	{
		decide(s, l, at);
		return;
	}
	for (; l->next_fact < l->nfacts && l->facts[l->next_fact].at == at; l->next_fact++)
	{
		const Fact *f = &l->facts[l->next_fact];

		if (f->kind == FACT_BEGUN)
			begin(s, l, f);
		else if (f->kind < FACT_FAILED)
			brakes |= happen(s, l, f);
		else
		{
			if (brakes)
				brake(s, l, at);
			brakes = false;
			operate(s, l, f);
		}
	}
	if (brakes)
		brake(s, l, at);
}

/* ----- all leads together ----------------------------------------------- */

/* An instant at which a lead comes up; the oldest due first. */
typedef struct Entry
{
	TimestampTz at;
	TimestampTz due;
	int			queue;			/* version and step: the processor goes by them, too */
	uint32		stamp;
	SimLead    *lead;
} Entry;

typedef struct Heap
{
	Entry	   *entries;
	int			n;
	int			room;
} Heap;

static bool
before(const Entry *a, const Entry *b)
{
	if (a->at != b->at)
		return a->at < b->at;
	if (a->due != b->due)
		return a->due < b->due;
	if (a->queue != b->queue)
		return a->queue < b->queue;
	return memcmp(&a->lead->id, &b->lead->id, UUID_LEN) < 0;
}

static void
heap_push(Heap *h, Entry e)
{
	int			i;

	if (h->n == h->room)
	{
		h->room = h->room == 0 ? 4096 : h->room * 2;
		h->entries = h->entries == NULL ? palloc(sizeof(Entry) * h->room) : repalloc_huge(h->entries, sizeof(Entry) * h->room);
	}
	for (i = h->n++; i > 0 && before(&e, &h->entries[(i - 1) / 2]); i = (i - 1) / 2)
		h->entries[i] = h->entries[(i - 1) / 2];
	h->entries[i] = e;
}

static Entry
heap_pop(Heap *h)
{
	Entry		top = h->entries[0];
	Entry		last = h->entries[--h->n];
	int			i = 0;

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && before(&h->entries[child + 1], &h->entries[child]))
			child++;
		if (!before(&h->entries[child], &last))
			break;
		h->entries[i] = h->entries[child];
		i = child;
	}
	h->entries[i] = last;
	return top;
}

/* schedule notes when a lead comes up next; what was noted before does not count. */
static void
schedule(Heap *h, SimLead *l)
{
	TimestampTz at = next_of(l);
	bool		waits = l->waits != 0;

	l->stamp++;
	if (waits)
		l->waits = l->stamp;
	if (at != DT_NOEND)
		heap_push(h, (Entry) {at, l->next_at, l->version * 128 + l->cursor, l->stamp, l});
}

/*
 * refresh_after is when a budget that is used up may have something again: the
 * next minute where there are rates, the next day, or other settings.
 */
static TimestampTz
refresh_after(Simulation *s, TimestampTz at)
{
	const Policy *p = policy_at(s, at);
	TimestampTz next = s->day_end;
	bool		rated = p->campaign_per_minute != UNLIMITED;

	for (int k = CHANNEL_EMAIL; k <= CHANNEL_WHATSAPP; k++)
		rated |= p->per_minute[k] != UNLIMITED;
	if (rated)
		next = Min(next, s->minute + USECS_PER_MINUTE);
	if (p + 1 < s->policies + s->npolicies)
		next = Min(next, p[1].since);
	return Max(next, at + 1);
}

/*
 * run_together decides all leads in the order of time, oldest due first, since
 * each admission uses up budget before the next.  A run that is held for a budget
 * waits in its channel's queue, from which as many are taken as there is budget.
 */
static void
run_together(Simulation *s, SimLead **leads, int *n, int nloads)
{
	Heap		heap = {0};
	Heap		waiting[4] = {{0}};
	TimestampTz refresh_at = DT_NOEND;
	uint64		steps = 0;
	int			blocked;

	for (int i = 0; i < nloads; i++)
		for (int k = 0; k < n[i]; k++)
			schedule(&heap, &leads[i][k]);
	for (;;)
	{
		TimestampTz at = heap.n > 0 ? heap.entries[0].at : DT_NOEND;

		if ((++steps & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
		if (Min(at, refresh_at) >= s->until)
			break;
		if (at <= refresh_at)
		{
			Entry		e = heap_pop(&heap);
			SimLead    *l = e.lead;

			if (e.stamp != l->stamp)
				continue;
			/* what is due at the instant of a refresh comes after what waits for it */
			if (at == refresh_at && l->wake_at == at && !(l->next_fact < l->nfacts && l->facts[l->next_fact].at == at))
			{
				l->wake_at = DT_NOEND;
				l->waits = l->stamp;
			}
			else
				advance(s, l);
			schedule(&heap, l);
			if (l->waits == l->stamp)
			{
				const Version *v = version_of(s, l->version);

				heap_push(&waiting[v->steps[Min(l->cursor, v->nsteps)].queue->channel],
						  (Entry) {l->next_at, l->next_at, l->version * 128 + l->cursor, l->stamp, l});
				if (refresh_at == DT_NOEND)
					refresh_at = refresh_after(s, at);
			}
			continue;
		}
		at = refresh_at;
		refresh_at = DT_NOEND;
		blocked = 0;
		for (;;)
		{
			int			k = -1;
			Entry		e;
			SimLead    *l;

			/* the oldest of those whose channel has something left */
			for (int c = CHANNEL_NONE; c <= CHANNEL_WHATSAPP; c++)
				if (!(blocked & 1 << c) && waiting[c].n > 0 &&
					(k < 0 || before(&waiting[c].entries[0], &waiting[k].entries[0])))
					k = c;
			if (k < 0)
				break;
			e = heap_pop(&waiting[k]);
			l = e.lead;
			/* it has ended or moved on meanwhile */
			if (l->waits == 0 || l->waits != e.stamp || l->state != RUN_OPEN)
				continue;
			decide(s, l, at);
			schedule(&heap, l);
			if (l->waits == 0)
				continue;
			e.stamp = l->stamp;
			heap_push(&waiting[k], e);
			refresh_at = refresh_after(s, at);
			blocked |= 1 << k;
		}
	}
}

/* ----- the simulation --------------------------------------------------- */

static void
read_overrides(Simulation *s, Jsonb *given)
{
	static const char *const braking[] = {"hot_threshold", "weights", "score_window", "brake_index", "stop_on_reply"};
	JsonbValue	buf;
	JsonbValue *v;

#define GET(name) getKeyJsonValueFromContainer(&given->root, name, strlen(name), &buf)
	s->given = JsonbPGetDatum(given);
	s->overrides.scores = GET("weights") != NULL;
	if (GET("score_window") != NULL)
		s->overrides.scores = true;
	s->overrides.hot_threshold = GET("hot_threshold") != NULL;
	for (size_t i = 0; i < lengthof(braking); i++)
		s->overrides.brake |= GET(braking[i]) != NULL;
	v = GET("stop_on_reply");
	s->overrides.stop_on_reply = v == NULL ? -1 : v->val.boolean;
	v = GET("delays");
	if (v != NULL)
	{
		JsonbContainer *c = v->val.binary.data;

		s->overrides.ndelays = JsonContainerSize(c);
		s->overrides.delays = palloc0(sizeof(Interval *) * Max(s->overrides.ndelays, 1));
		for (int i = 0; i < s->overrides.ndelays; i++)
		{
			JsonbValue *d = getIthJsonbValueFromContainer(c, i);

			if (d->type == jbvString)
				s->overrides.delays[i] = DatumGetIntervalP(DirectFunctionCall3(interval_in,
																				CStringGetDatum(pnstrdup(d->val.string.val, d->val.string.len)),
																				ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		}
	}
#undef GET
}

static void
simulate(Simulation *s, FunctionCallInfo fcinfo)
{
	pg_uuid_t	after = {{0}};
	SimLead   **loads = NULL;
	int		   *n = NULL;
	int			nloads = 0;
	MemoryContext load;

	s->tenant_id = *PG_GETARG_UUID_P(0);
	s->campaign_id = *PG_GETARG_UUID_P(1);
	s->since = PG_GETARG_TIMESTAMPTZ(2);
	s->until = PG_GETARG_TIMESTAMPTZ(3);
	s->now = es_now();
	SPI_connect();
	read_overrides(s, PG_GETARG_JSONB_P(4));
	history_open(s);
	load = AllocSetContextCreate(CurrentMemoryContext, "leads of a simulation", ALLOCSET_DEFAULT_SIZES);
	s->scratch = AllocSetContextCreate(CurrentMemoryContext, "documents of a simulation", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(load);
		int			got;
		SimLead    *leads = history_load(s, &after, LOAD, &got);

		if (got == 0)
		{
			MemoryContextSwitchTo(old);
			break;
		}
		after = leads[got - 1].id;
		for (int i = 0; i < got; i++)
			remember(s, &leads[i]);
		if (s->limited)
		{
			loads = loads == NULL ? palloc(sizeof(SimLead *)) : repalloc(loads, sizeof(SimLead *) * (nloads + 1));
			n = n == NULL ? palloc(sizeof(int)) : repalloc(n, sizeof(int) * (nloads + 1));
			loads[nloads] = leads;
			n[nloads++] = got;
			MemoryContextSwitchTo(old);
		}
		else
		{
			for (int i = 0; i < got; i++)
			{
				CHECK_FOR_INTERRUPTS();
				while (next_of(&leads[i]) < s->until)
					advance(s, &leads[i]);
			}
			MemoryContextSwitchTo(old);
			MemoryContextReset(load);
		}
	}
	if (nloads > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(load);

		run_together(s, loads, n, nloads);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

PG_FUNCTION_INFO_V1(sender_simulate_rows);

/*
 * sender_simulate_rows(tenant, campaign, since, until, overrides) returns the
 * decisions, a lead's in order of time.
 */
Datum
sender_simulate_rows(PG_FUNCTION_ARGS)
{
	Simulation	s = {0};

	InitMaterializedSRF(fcinfo, 0);
	s.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	simulate(&s, fcinfo);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(sender_simulate_counts);

/* sender_simulate_counts() returns how many there are by type, reason and step. */
Datum
sender_simulate_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Simulation	s = {0};

	InitMaterializedSRF(fcinfo, 0);
	s.counts = palloc0(sizeof(int64) * COUNT_TYPES * COUNT_REASONS * COUNT_STEPS);
	simulate(&s, fcinfo);
	for (int type = 0; type < COUNT_TYPES; type++)
		for (int reason = 0; reason < COUNT_REASONS; reason++)
			for (int step = -1; step < COUNT_STEPS - 1; step++)
			{
				int64		n = s.counts[COUNT_AT(type, reason, step)];
				Datum		values[4];
				bool		nulls[4] = {false};

				if (n == 0)
					continue;
				values[0] = Int16GetDatum(type);
				values[1] = Int16GetDatum(reason);
				nulls[1] = reason == REASON_NONE;
				values[2] = Int16GetDatum(step);
				nulls[2] = step < 0;
				values[3] = Int64GetDatum(n);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			}
	return (Datum) 0;
}
