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

	/* as long as a month is nowhere the same, a span has none */
	if (i->month != 0)
		bad_fact(where, name, "a span of days or less");
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
		char	   *name;
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
		char	   *name;
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
	char	   *name;
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
	char	   *name;
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
