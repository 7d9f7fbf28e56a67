/*
 * explain.c
 *		The decision, for people: over facts that somebody made up
 *		(sender_decide), and gate by gate for a run (sender_explain).
 *
 * Both ask the functions that the processor asks.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "sender/batch.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static const char *
action_word(SenderAction action)
{
	static const char *const words[] = {"pass", "hold", "terminate", "done",
	"skip", "defer", "simulate", "admit"};

	return words[action];
}

/* Words of the enums that have no codes. */
static const char *const campaign_words[] = {"draft", "active", "paused", "completed", "archived", NULL};
static const char *const contact_words[] = {"missing", "unusable", "suppressed", "usable", NULL};
static const char *const verdict_words[] = {"none", "true", "false", "error", NULL};

/* ----- facts that somebody made up -------------------------------------- */

typedef enum FieldKind
{
	FIELD_BOOL,
	FIELD_INT,
	FIELD_INSTANT,
	FIELD_SPAN,
	FIELD_WORD,
	FIELD_CHANNEL,
	FIELD_REASON
} FieldKind;

typedef struct Field
{
	const char *name;
	FieldKind	kind;
	size_t		offset;
	const char *const *words;
} Field;

#define LEAD_FIELD(name) {#name, FIELD_BOOL, offsetof(LeadFacts, name), NULL}
static const Field lead_fields[] = {
	LEAD_FIELD(handoff), LEAD_FIELD(closed), LEAD_FIELD(stopped), LEAD_FIELD(merged), LEAD_FIELD(opted_out),
	LEAD_FIELD(complained), LEAD_FIELD(erased), LEAD_FIELD(hot), LEAD_FIELD(replied), LEAD_FIELD(goal)
};

#define FACT(name, kind) {#name, kind, offsetof(SenderFacts, name), NULL}
#define FACT_WORD(name, words) {#name, FIELD_WORD, offsetof(SenderFacts, name), words}
static const Field fact_fields[] = {
	FACT(now, FIELD_INSTANT), FACT(tenant_frozen, FIELD_BOOL), FACT(tenant_paused, FIELD_BOOL),
	FACT_WORD(campaign, campaign_words), FACT(sender_enabled, FIELD_BOOL), FACT(risk_paused, FIELD_BOOL),
	FACT(brake_index, FIELD_INT), FACT(cursor, FIELD_INT), FACT(steps, FIELD_INT), FACT(awaiting_go_live, FIELD_BOOL),
	FACT(first_due_at, FIELD_INSTANT), FACT(max_lateness, FIELD_SPAN), FACT_WORD(guard, verdict_words),
	FACT(channel, FIELD_CHANNEL), FACT_WORD(contact, contact_words), FACT(no_consent, FIELD_BOOL),
	FACT(missing_field, FIELD_BOOL), FACT(whatsapp_closed, FIELD_BOOL), FACT(channel_enabled, FIELD_BOOL),
	FACT(channel_paused, FIELD_BOOL), FACT(unapproved, FIELD_BOOL), FACT(unverified, FIELD_BOOL),
	FACT(rising, FIELD_BOOL), FACT(deferrals, FIELD_INT), FACT(max_deferrals, FIELD_INT),
	FACT(delayed_to, FIELD_INSTANT), FACT(opens_at, FIELD_INSTANT), FACT(cap_frees_at, FIELD_INSTANT),
	FACT(budget, FIELD_REASON), FACT(dry_run, FIELD_BOOL)
};

/* What stands for a fact that is worked out of it. */
typedef struct Given
{
	char	   *zone;
	Interval   *delay;
	WindowSet  *windows[3];		/* the step's, the campaign's, what quiet leaves */
	SenderCap  *caps;
	int			ncaps;
	SenderSend *sends;
	int			nsends;
	bool		has_delay;
	bool		has_windows;
	bool		has_caps;
	bool		has_delayed_to;
	bool		has_opens_at;
	bool		has_cap_frees_at;
} Given;

static void
bad_fact(const char *where, const char *name, const char *what)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("%s%s is not %s", where, name, what)));
}

static char *
word_in(const char *where, const char *name, const JsonbValue *v, const char *what)
{
	if (v->type != jbvString)
		bad_fact(where, name, what);
	return pnstrdup(v->val.string.val, v->val.string.len);
}

static int
int_in(const char *where, const char *name, const JsonbValue *v)
{
	if (v->type != jbvNumeric)
		bad_fact(where, name, "a number");
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(v->val.numeric)));
}

static TimestampTz
instant_in(const char *where, const char *name, const JsonbValue *v)
{
	static const char what[] = "an instant such as 2026-03-08T01:30:00-05:00";
	TimestampTz at;

	if (!es_instant_parse(word_in(where, name, v, what), &at))
		bad_fact(where, name, what);
	return at;
}

static Interval *
interval_in_fact(const char *where, const char *name, const JsonbValue *v)
{
	char	   *s = word_in(where, name, v, "an interval");

	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(s),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static int64
span_in(const char *where, const char *name, const JsonbValue *v)
{
	Interval   *i = interval_in_fact(where, name, v);

	/* a month is not always as long, and what is longer than this overflows */
	if (i->month != 0 || labs(i->day) > 1000000 || llabs(i->time / USECS_PER_DAY) > 1000000)
		bad_fact(where, name, "a span of at most a million days, without months");
	return i->time + i->day * USECS_PER_DAY;
}

static int
choice_in(const char *where, const char *name, const JsonbValue *v, const char *const *words)
{
	char	   *s = word_in(where, name, v, "a word");

	for (int i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], s) == 0)
			return i;
	bad_fact(where, name, "one of the words it may be");
	pg_unreachable();
}

static SenderChannel
channel_in(const char *where, const char *name, const JsonbValue *v)
{
	char	   *s = word_in(where, name, v, "a channel");

	for (int i = CHANNEL_EMAIL; i <= CHANNEL_WHATSAPP; i++)
		if (strcmp(sender_channel_word(i), s) == 0)
			return i;
	bad_fact(where, name, "a channel");
	pg_unreachable();
}

/* budget_in reads what gate 16 holds a queue for. */
static SenderReason
budget_in(const char *where, const char *name, const JsonbValue *v)
{
	static const SenderReason may_be[] = {REASON_DAILY_LIMIT, REASON_RATE_LIMITED,
	REASON_INSUFFICIENT_FUNDS, REASON_BACK_PRESSURE};
	char	   *s;

	if (v->type == jbvNull)
		return REASON_NONE;
	s = word_in(where, name, v, "a reason of gate 16");
	for (size_t i = 0; i < lengthof(may_be); i++)
		if (strcmp(sender_reason_word(may_be[i]), s) == 0)
			return may_be[i];
	bad_fact(where, name, "a reason of gate 16");
	pg_unreachable();
}

/* read_field stores a value in the field of that name; false: there is none. */
static bool
read_field(void *into, const Field *fields, int nfields, const char *where, const char *name, const JsonbValue *v)
{
	for (int i = 0; i < nfields; i++)
	{
		const Field *f = &fields[i];
		char	   *at = (char *) into + f->offset;

		if (strcmp(f->name, name) != 0)
			continue;
		switch (f->kind)
		{
			case FIELD_BOOL:
				if (v->type != jbvBool)
					bad_fact(where, name, "true or false");
				*(bool *) at = v->val.boolean;
				break;
			case FIELD_INT:
				*(int *) at = int_in(where, name, v);
				break;
			case FIELD_INSTANT:
				*(TimestampTz *) at = v->type == jbvNull ? 0 : instant_in(where, name, v);
				break;
			case FIELD_SPAN:
				*(int64 *) at = span_in(where, name, v);
				break;
			case FIELD_WORD:
				*(int *) at = choice_in(where, name, v, f->words);
				break;
			case FIELD_CHANNEL:
				*(SenderChannel *) at = channel_in(where, name, v);
				break;
			case FIELD_REASON:
				*(SenderReason *) at = budget_in(where, name, v);
				break;
		}
		return true;
	}
	return false;
}

/* The keys and values of an object, or the entries of an array. */
typedef struct Entries
{
	JsonbIterator *it;
	JsonbIteratorToken end;
} Entries;

static Entries
entries_of(JsonbContainer *c, bool object, const char *where, const char *name)
{
	Entries		e = {JsonbIteratorInit(c), object ? WJB_END_OBJECT : WJB_END_ARRAY};
	JsonbValue	v;

	if (JsonbIteratorNext(&e.it, &v, true) != (object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY) ||
		(!object && v.val.array.rawScalar))
		bad_fact(where, name, object ? "an object" : "an array");
	return e;
}

static bool
next_entry(Entries *e, char **name, JsonbValue *v)
{
	if (JsonbIteratorNext(&e->it, v, true) == e->end)
		return false;
	if (e->end == WJB_END_OBJECT)
	{
		*name = pnstrdup(v->val.string.val, v->val.string.len);
		JsonbIteratorNext(&e->it, v, true);
	}
	return true;
}

static JsonbContainer *
container_in(const char *where, const char *name, const JsonbValue *v, const char *what)
{
	if (v->type != jbvBinary)
		bad_fact(where, name, what);
	return v->val.binary.data;
}

static void
unknown_fact(const char *where, const char *name)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("there is no fact %s%s", where, name),
			 errhint("docs/sender.md lists them.")));
}

static void
read_caps(Given *g, const JsonbValue *v)
{
	JsonbContainer *c = container_in("", "caps", v, "an array");
	Entries		e = entries_of(c, false, "", "caps");
	JsonbValue	entry;

	g->has_caps = true;
	g->caps = palloc0(sizeof(SenderCap) * (JsonContainerSize(c) + 1));
	while (next_entry(&e, NULL, &entry))
	{
		SenderCap  *cap = &g->caps[g->ncaps++];
		Entries		fields = entries_of(container_in("", "caps", &entry, "an array of objects"), true, "", "an entry of caps");
		char	   *name = NULL;
		JsonbValue	value;

		while (next_entry(&fields, &name, &value))
			if (strcmp(name, "max") == 0)
				cap->max = int_in("caps.", name, &value);
			else if (strcmp(name, "per") == 0)
				cap->per = span_in("caps.", name, &value);
			else if (strcmp(name, "channel") == 0)
				cap->channel = channel_in("caps.", name, &value);
			else
				unknown_fact("caps.", name);
		if (cap->max < 1 || cap->per < 1)
			bad_fact("", "an entry of caps", "a cap with max and per");
	}
}

static int
by_instant(const void *a, const void *b)
{
	TimestampTz x = ((const SenderSend *) a)->at;
	TimestampTz y = ((const SenderSend *) b)->at;

	return x < y ? -1 : x > y;
}

static void
read_sends(Given *g, const JsonbValue *v)
{
	JsonbContainer *c = container_in("", "sends", v, "an array");
	Entries		e = entries_of(c, false, "", "sends");
	JsonbValue	entry;

	g->sends = palloc0(sizeof(SenderSend) * (JsonContainerSize(c) + 1));
	while (next_entry(&e, NULL, &entry))
	{
		SenderSend *send = &g->sends[g->nsends++];
		Entries		fields = entries_of(container_in("", "sends", &entry, "an array of objects"), true, "", "an entry of sends");
		char	   *name = NULL;
		JsonbValue	value;
		bool		has_at = false;

		while (next_entry(&fields, &name, &value))
			if (strcmp(name, "at") == 0)
			{
				send->at = instant_in("sends.", name, &value);
				has_at = true;
			}
			else if (strcmp(name, "channel") == 0)
				send->channel = channel_in("sends.", name, &value);
			else
				unknown_fact("sends.", name);
		if (!has_at || send->channel == CHANNEL_NONE)
			bad_fact("", "an entry of sends", "a send with at and channel");
	}
	qsort(g->sends, g->nsends, sizeof(SenderSend), by_instant);
}

static void
read_lead(LeadFacts *lead, const JsonbValue *v)
{
	Entries		e = entries_of(container_in("", "lead", v, "an object"), true, "", "lead");
	char	   *name = NULL;
	JsonbValue	value;

	while (next_entry(&e, &name, &value))
		if (!read_field(lead, lead_fields, lengthof(lead_fields), "lead.", name, &value))
			unknown_fact("lead.", name);
}

/*
 * facts_from reads the facts that an object gives; what it does not give stands
 * in nobody's way.
 */
static SenderFacts
facts_from(Jsonb *j)
{
	SenderFacts f = {0};
	Given		g = {0};
	Entries		e = entries_of(&j->root, true, "", "facts");
	char	   *name = NULL;
	JsonbValue	v;
	pg_tz	   *zone;

	f.now = es_now();
	f.campaign = CAMPAIGN_ACTIVE;
	f.sender_enabled = true;
	f.brake_index = 1;
	f.steps = 3;
	f.max_lateness = 7 * USECS_PER_DAY;
	f.channel = CHANNEL_EMAIL;
	f.contact = CONTACT_USABLE;
	f.channel_enabled = true;
	f.max_deferrals = 1;
	while (next_entry(&e, &name, &v))
	{
		g.has_delayed_to |= strcmp(name, "delayed_to") == 0;
		g.has_opens_at |= strcmp(name, "opens_at") == 0;
		g.has_cap_frees_at |= strcmp(name, "cap_frees_at") == 0;
		if (read_field(&f, fact_fields, lengthof(fact_fields), "", name, &v))
			continue;
		if (strcmp(name, "lead") == 0)
			read_lead(&f.lead, &v);
		else if (strcmp(name, "zone") == 0)
			g.zone = word_in("", name, &v, "a time zone");
		else if (strcmp(name, "delay") == 0)
		{
			g.delay = interval_in_fact("", name, &v);
			g.has_delay = true;
		}
		else if (strcmp(name, "windows") == 0 || strcmp(name, "campaign_windows") == 0 || strcmp(name, "quiet") == 0)
		{
			g.windows[name[0] == 'w' ? 0 : name[0] == 'c' ? 1 : 2] = windows_parse(JsonbValueToJsonb(&v), name[0] == 'q');
			g.has_windows = true;
		}
		else if (strcmp(name, "caps") == 0)
			read_caps(&g, &v);
		else if (strcmp(name, "sends") == 0)
			read_sends(&g, &v);
		else
			unknown_fact("", name);
	}
	if ((g.has_delay && g.has_delayed_to) || (g.has_windows && g.has_opens_at) || (g.has_caps && g.has_cap_frees_at))
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("a fact is given twice"),
				 errdetail("delayed_to is worked out of delay, opens_at of the windows, cap_frees_at of the caps.")));
	zone = es_zone(g.zone != NULL ? g.zone : "UTC");
	if (!g.has_delayed_to)
		f.delayed_to = g.has_delay ? es_add_delay(f.now, g.delay, zone) : f.now;
	if (!g.has_opens_at)
		f.opens_at = opening_of((const WindowSet *const *) g.windows, lengthof(g.windows), zone, f.now);
	if (!g.has_cap_frees_at)
		f.cap_frees_at = sender_cap_frees(g.caps, g.ncaps, g.sends, g.nsends, f.channel, f.now);
	return f;
}

PG_FUNCTION_INFO_V1(sender_decide_facts);

/* sender_decide(facts) shows what sender_decide() says to facts. */
Datum
sender_decide_facts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SenderFacts f;
	SenderDecision d;
	Datum		values[3];
	bool		nulls[3];

	InitMaterializedSRF(fcinfo, 0);
	f = facts_from(PG_GETARG_JSONB_P(0));
	d = sender_decide(&f);
	values[0] = CStringGetTextDatum(action_word(d.action));
	nulls[0] = false;
	nulls[1] = d.reason == REASON_NONE;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(sender_reason_word(d.reason));
	values[2] = TimestampTzGetDatum(d.until);
	nulls[2] = d.action != ACTION_DEFER;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* ----- a run, gate by gate ----------------------------------------------- */

/* What a gate saw, as a JSON object. */
typedef struct Saw
{
	StringInfoData json;
} Saw;

static void
saw_name(Saw *s, const char *name)
{
	appendStringInfoChar(&s->json, s->json.len == 0 ? '{' : ',');
	escape_json(&s->json, name);
	appendStringInfoChar(&s->json, ':');
}

static void
saw_text(Saw *s, const char *name, const char *value)
{
	saw_name(s, name);
	if (value == NULL)
		appendStringInfoString(&s->json, "null");
	else
		escape_json(&s->json, value);
}

static void
saw_bool(Saw *s, const char *name, bool value)
{
	saw_name(s, name);
	appendStringInfoString(&s->json, value ? "true" : "false");
}

static void
saw_int(Saw *s, const char *name, int64 value)
{
	saw_name(s, name);
	appendStringInfo(&s->json, INT64_FORMAT, value);
}

/* saw_left shows what is left of a budget; null: nothing limits it. */
static void
saw_left(Saw *s, const char *name, int left)
{
	if (left == UNLIMITED)
		saw_text(s, name, NULL);
	else
		saw_int(s, name, left);
}

/* saw_instant shows an instant, whatever the session's zone, in UTC. */
static void
saw_instant(Saw *s, const char *name, TimestampTz at)
{
	char		buf[MAXDATELEN + 1];
	int			utc = 0;

	if (at == 0)
		saw_text(s, name, NULL);
	else
		saw_text(s, name, JsonEncodeDateTime(buf, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc));
}

/* saw_local shows what the clocks of a zone show. */
static void
saw_local(Saw *s, TimestampTz at, pg_tz *zone)
{
	char		buf[64];
	pg_time_t	t = timestamptz_to_time_t(at);

	pg_strftime(buf, sizeof(buf), "%a %Y-%m-%d %H:%M:%S", pg_localtime(&t, zone));
	saw_text(s, "local_time", buf);
}

static Datum
saw_as_jsonb(Saw *s)
{
	appendStringInfoString(&s->json, s->json.len == 0 ? "{}" : "}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(s->json.data));
}

static void
saw_caps(Saw *s, const Campaign *c, const Run *r, TimestampTz now)
{
	saw_name(s, "caps");
	appendStringInfoChar(&s->json, '[');
	for (int i = 0; i < c->ncaps; i++)
	{
		const SenderCap *cap = &c->caps[i];
		int			n = 0;

		for (int k = 0; k < r->nsends; k++)
			n += r->sends[k].at > now - cap->per &&
				(cap->channel == CHANNEL_NONE || cap->channel == r->sends[k].channel);
		appendStringInfo(&s->json, "%s{\"max\":%d,\"per_seconds\":" INT64_FORMAT ",\"channel\":",
						 i == 0 ? "" : ",", cap->max, cap->per / USECS_PER_SEC);
		if (cap->channel == CHANNEL_NONE)
			appendStringInfoString(&s->json, "null");
		else
			escape_json(&s->json, sender_channel_word(cap->channel));
		appendStringInfo(&s->json, ",\"sent\":%d}", n);
	}
	appendStringInfoChar(&s->json, ']');
}

/* saw_of says what a gate looks at. */
static Datum
saw_of(int gate, const Tenant *t, const Queue *q, const Run *r, const SenderFacts *f)
{
	const Campaign *c = q->campaign;
	const Channel *h = &t->channels[q->channel];
	pg_tz	   *zone = es_zone(r->zone ? r->zone : t->zone);
	Saw			s;

	initStringInfo(&s.json);
	switch (gate)
	{
		case 1:
			saw_bool(&s, "frozen", f->tenant_frozen);
			saw_bool(&s, "paused", f->tenant_paused);
			break;
		case 2:
			saw_text(&s, "campaign", campaign_words[f->campaign]);
			saw_bool(&s, "sender_enabled", f->sender_enabled);
			saw_bool(&s, "risk_paused", f->risk_paused);
			break;
		case 3:
			saw_bool(&s, "handoff", f->lead.handoff);
			saw_bool(&s, "closed", f->lead.closed);
			saw_bool(&s, "stopped", f->lead.stopped);
			saw_bool(&s, "merged", f->lead.merged);
			saw_instant(&s, "run_began", r->created_at);
			break;
		case 4:
			saw_bool(&s, "opted_out", f->lead.opted_out);
			saw_bool(&s, "complained", f->lead.complained);
			saw_bool(&s, "erased", f->lead.erased);
			break;
		case 5:
			saw_bool(&s, "hot", f->lead.hot);
			saw_int(&s, "step", f->cursor);
			saw_int(&s, "brake_index", f->brake_index);
			break;
		case 6:
			saw_bool(&s, "replied", f->lead.replied);
			saw_bool(&s, "stop_on_reply", q->stop_on_reply);
			saw_instant(&s, "run_began", r->created_at);
			break;
		case 7:
			saw_text(&s, "exit_predicate", q->exit_predicate);
			saw_bool(&s, "goal", f->lead.goal);
			break;
		case 8:
			saw_int(&s, "step", f->cursor);
			saw_int(&s, "steps", f->steps);
			saw_instant(&s, "next_at", r->due_at);
			saw_instant(&s, "first_due_at", f->first_due_at);
			saw_int(&s, "max_lateness_seconds", f->max_lateness / USECS_PER_SEC);
			saw_bool(&s, "awaiting_go_live", f->awaiting_go_live);
			break;
		case 9:
			saw_text(&s, "guard", q->guard);
			saw_text(&s, "verdict", verdict_words[f->guard]);
			break;
		case 10:
			saw_text(&s, "channel", q->channel == CHANNEL_NONE ? NULL : sender_channel_word(q->channel));
			saw_text(&s, "contact", contact_words[f->contact]);
			saw_text(&s, "consent", r->consent_granted ? "granted" : r->consent_withdrawn ? "withdrawn" : "none");
			saw_bool(&s, "consent_required", h->consent_required);
			saw_bool(&s, "missing_field", f->missing_field);
			saw_bool(&s, "whatsapp_closed", f->whatsapp_closed);
			break;
		case 11:
			saw_bool(&s, "enabled", h->enabled);
			saw_bool(&s, "of_the_campaign", c->uses[q->channel]);
			saw_bool(&s, "paused", f->channel_paused);
			break;
		case 12:
			saw_bool(&s, "template_approved", !f->unapproved);
			saw_bool(&s, "sender_verified", !f->unverified);
			break;
		case 13:
			saw_int(&s, "score", r->score);
			saw_int(&s, "warming_threshold", c->warming_threshold);
			saw_instant(&s, "last_signal_at", r->last_signal_at);
			saw_instant(&s, "last_outcome_at", r->last_outcome_at);
			saw_int(&s, "deferrals", f->deferrals);
			saw_int(&s, "max_deferrals", f->max_deferrals);
			saw_instant(&s, "delayed_to", f->delayed_to);
			break;
		case 14:
			saw_text(&s, "zone", pg_get_timezone_name(zone));
			saw_local(&s, f->now, zone);
			saw_instant(&s, "opens_at", f->opens_at);
			break;
		case 15:
			saw_caps(&s, c, r, f->now);
			saw_instant(&s, "frees_at", f->cap_frees_at);
			break;
		case 16:
			saw_left(&s, "left_today", h->left_today);
			saw_left(&s, "left_this_minute", h->left_this_minute);
			saw_left(&s, "campaign_left_this_minute", c->left_this_minute);
			saw_left(&s, "funds", t->funds);
			saw_bool(&s, "back_pressure", t->back_pressure);
			/* a rehearsal only notes it */
			saw_text(&s, "budget", f->budget == REASON_NONE ? NULL : sender_reason_word(f->budget));
			break;
		case 17:
			saw_bool(&s, "tenant", t->dry_run);
			saw_bool(&s, "campaign", c->dry_run);
			break;
		default:
			break;
	}
	return saw_as_jsonb(&s);
}

/* deciding returns the index of the first gate that matches. */
static int
deciding(const SenderFacts *f, SenderAction *action)
{
	for (int i = 0; i < sender_ngates; i++)
	{
		*action = sender_gates[i].look(f).action;
		if (*action != ACTION_NONE)
			return i;
	}
	pg_unreachable();
}

static void
put_row(ReturnSetInfo *rsinfo, int gate, const char *name, Datum saw, const char *decision,
		const char *reason, TimestampTz until, bool decides)
{
	Datum		values[7];
	bool		nulls[7] = {false};

	values[0] = Int32GetDatum(gate);
	nulls[0] = gate == 0;
	values[1] = CStringGetTextDatum(name);
	values[2] = saw;
	values[3] = CStringGetTextDatum(decision);
	nulls[4] = reason == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(reason);
	values[5] = TimestampTzGetDatum(until);
	nulls[5] = until == 0;
	values[6] = BoolGetDatum(decides);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(sender_explain_run);

/*
 * sender_explain_run(tenant, campaign, lead, at) explains what the processor
 * would do with a run at an instant, with the facts as they are now.  Run by a
 * definer function, in the tenant's context; it locks nothing.
 */
Datum
sender_explain_run(PG_FUNCTION_ARGS)
{
	static EsPlan read = {
		"SELECT r.version, r.cursor::int4, r.status, r.next_at, r.reason::int4, r.ended_at, r.awaiting_go_live,"
		" i.step::int4, i.attempt::int4, i.status, i.created_at"
		" FROM entrestate.sender_runs r LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_intents x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = $2 AND x.lead_id = $3 AND x.final_at IS NULL AND x.status <> 'unknown' LIMIT 1) i ON true"
		" WHERE r.tenant_id = $1 AND r.campaign_id = $2 AND r.lead_id = $3",
	3, {UUIDOID, UUIDOID, UUIDOID}, .generic = true};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(3);
	Datum		values[3] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	DueEntry	one = {.campaign = *PG_GETARG_UUID_P(1),.lead = *PG_GETARG_UUID_P(2)};
	Run			run = {.lead = one.lead,.locked = true,.variant = -1};
	Tenant		tenant;
	Campaign   *campaigns;
	int			ncampaigns;
	Queue	   *queues;
	int			nqueues;
	SenderFacts f;
	SenderFacts of_many;
	SenderAction action;
	int			decides;
	char	   *status;
	bool		parked;
	Saw			s;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (es_spi_run(&read, SPI_OK_SELECT, values, NULL) == 0)
		goto done;
	one.version = int_at(0, 1);
	one.step = int_at(0, 2);
	status = text_at(0, 3);
	one.at = run.due_at = instant_at(0, 4);
	parked = bool_at(0, 7);
	initStringInfo(&s.json);
	saw_text(&s, "status", status);
	saw_int(&s, "step", one.step);
	if (strcmp(status, "pending") != 0 && strcmp(status, "running") != 0)
	{
		SenderReason reason = int_at(0, 5);

		saw_instant(&s, "ended_at", instant_at(0, 6));
		put_row(rsinfo, 0, "run", saw_as_jsonb(&s), "ended",
				reason == REASON_NONE ? NULL : sender_reason_word(reason), 0, true);
		goto done;
	}
	if (text_at(0, 10) != NULL)
	{
		saw_text(&s, "intent", text_at(0, 10));
		saw_int(&s, "intent_step", int_at(0, 8));
		saw_int(&s, "attempt", int_at(0, 9));
		saw_instant(&s, "since", instant_at(0, 11));
		put_row(rsinfo, 0, "run", saw_as_jsonb(&s), "in_flight", NULL, 0, true);
		goto done;
	}

	if (!load_tenant(PG_GETARG_UUID_P(0), at, false, &tenant))
		elog(ERROR, "the run has no tenant");
	campaigns = load_campaigns(&tenant, &one.campaign, false, &ncampaigns);
	queues = load_queues(&tenant, campaigns, ncampaigns, &one, &nqueues);
	if (nqueues != 1)
		elog(ERROR, "the run has no sequence");
	run.campaign = &campaigns[0];
	run.queue = &queues[0];
	load_runs(&tenant, queues, nqueues, at, &run, 1);
	f = facts_of(&tenant, &queues[0], &run, at);
	f.awaiting_go_live |= parked;

	/* a queue that is held is not looked at run by run */
	of_many = facts_of(&tenant, &queues[0], NULL, at);
	decides = deciding(&of_many, &action);
	if (action != ACTION_HOLD)
		decides = deciding(&f, &action);
	for (int i = 0; i < sender_ngates; i++)
	{
		const SenderGate *g = &sender_gates[i];
		SenderDecision d = g->look(&f);

		put_row(rsinfo, g->number, g->name, saw_of(g->number, &tenant, &queues[0], &run, &f), action_word(d.action),
				d.reason == REASON_NONE ? NULL : sender_reason_word(d.reason), d.until, i == decides);
	}

done:
	SPI_finish();
	return (Datum) 0;
}
