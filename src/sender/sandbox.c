/*
 * sandbox.c
 *		The sandbox provider: it has no wire, so that what becomes of a message
 *		is drawn.
 *
 * Draws are hashes of the tenant's seed and of what the message is by its
 * contents (address, campaign's name, step, attempt), never of ids: the same
 * leads in another tenant with the same seed meet the same fate.
 *
 * Refused, uncertain or sent is known at once, and part of the transaction that
 * sends.  What follows (opens, replies, bounces ...) is written with the batch
 * into sandbox_callbacks and comes in, when it is due, by the door that real
 * callbacks use: sandbox_report_tenant().  A tenant without settings has every
 * message sent, and nothing follows.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "sender/batch.h"
#include "tenancy/tenancy.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* The rates, in the order of sandbox_odds(). */
typedef enum Rate
{
	RATE_OPEN,
	RATE_CLICK,
	RATE_REPLY,
	RATE_AUTO_REPLY,
	RATE_RESUBMISSION,
	RATE_CHAT,
	RATE_CALL_REQUEST,
	RATE_OPT_OUT,
	RATE_HARD_BOUNCE,
	RATE_COMPLAINT,
	RATE_REFUSAL,
	RATE_UNKNOWN,
	RATES
} Rate;

typedef enum Fate
{
	FATE_SENT,
	FATE_REFUSED,
	FATE_UNKNOWN
} Fate;

/* Of what is uncertain, the part that turns out to have been sent. */
#define SETTLED_SENT 0.8

/* What follows from a message, at most. */
#define MAX_FOLLOW 12

typedef struct Follow
{
	const char *what;
	TimestampTz at;
	int64		draw;
} Follow;

/* What a message is by its contents; the word of a draw is put behind it. */
typedef struct Message
{
	int64		seed;
	char	   *key;
	int			key_len;
	char	   *room;			/* key and a word */
} Message;

typedef struct CampaignName
{
	pg_uuid_t	id;
	char	   *name;
} CampaignName;

struct Sandbox
{
	bool		drawn;			/* the tenant has settings */
	int64		seed;
	double		odds[RATES];
	CampaignName *names;
	int			nnames;
	Rows		callbacks;
};

/* ----- draws ----------------------------------------------------------- */

#define MAX_WORD 32

static Message
message_of(int64 seed, const char *address, const char *campaign, int step, int attempt)
{
	Message		m = {.seed = seed};

	/* no address and no name has a character 1 */
	m.key = psprintf("%s\001%s\001%d\001%d\001", address, campaign, step, attempt);
	m.key_len = strlen(m.key);
	m.room = palloc(m.key_len + MAX_WORD);
	memcpy(m.room, m.key, m.key_len);
	return m;
}

static uint64
draw(const Message *m, const char *what)
{
	int			len = strnlen(what, MAX_WORD);

	memcpy(m->room + m->key_len, what, len);
	return hash_bytes_extended((unsigned char *) m->room, m->key_len + len, (uint64) m->seed);
}

/* chance is a draw from 0 to below 1. */
static double
chance(const Message *m, const char *what)
{
	return (draw(m, what) >> 11) * (1.0 / UINT64CONST(0x20000000000000));
}

/* later is an instant from least to most seconds after another one; the higher
 * the power, the sooner it is as a rule. */
static TimestampTz
later(const Message *m, const char *what, TimestampTz at, double least, double most, int power)
{
	char		word[MAX_WORD];
	double		u;
	double		x = 1;

	snprintf(word, sizeof(word), "%s at", what);
	u = chance(m, word);
	for (int i = 0; i < power; i++)
		x *= u;
	return at + (TimestampTz) ((least + (most - least) * x) * USECS_PER_SEC);
}

#define MINUTES 60.0
#define HOURS 3600.0
#define DAYS 86400.0

/*
 * foretell says what becomes of a message that is sent at an instant.  Rates
 * are of all that is sent; what needs a delivery is as much more frequent among
 * the delivered.
 */
static Fate
foretell(const Message *m, const double *odds, SenderChannel channel, TimestampTz at,
		 Follow *follow, int *n)
{
	double		u = chance(m, "fate");
	double		delivered = 1.0 - odds[RATE_HARD_BOUNCE];
	bool		read = channel != CHANNEL_SMS;	/* an SMS tells nobody that it was */
	bool		opened;
	TimestampTz seen;

#define ADD(word, instant) \
	do { \
		Assert(*n < MAX_FOLLOW); \
		follow[*n].what = word; \
		follow[*n].at = instant; \
		follow[*n].draw = (int64) draw(m, word); \
		(*n)++; \
	} while (0)
#define HAPPENS(word, rate) (chance(m, word) * delivered < odds[rate])

	*n = 0;
	if (u < odds[RATE_REFUSAL])
		return FATE_REFUSED;
	if (u < odds[RATE_REFUSAL] + odds[RATE_UNKNOWN])
	{
		const char *word = chance(m, "settled") < SETTLED_SENT ? "settled_sent" : "settled_failed";

		ADD(word, later(m, "settled", at, HOURS, 2 * DAYS, 1));
		return FATE_UNKNOWN;
	}
	if (chance(m, "bounced") < odds[RATE_HARD_BOUNCE])
	{
		ADD("bounced", later(m, "bounced", at, 5, 5 * MINUTES, 1));
		return FATE_SENT;
	}
	ADD("delivered", later(m, "delivered", at, 1, MINUTES, 1));
	if (HAPPENS("auto_replied", RATE_AUTO_REPLY))
		ADD("auto_replied", later(m, "auto_replied", follow[*n - 1].at, 10, 3 * MINUTES, 1));
	seen = follow[0].at;
	opened = read && HAPPENS("opened", RATE_OPEN);
	if (opened)
	{
		seen = later(m, "opened", at, 2 * MINUTES, 2 * DAYS, 3);
		ADD("opened", seen);
		/* a click needs an open */
		if (chance(m, "clicked") * odds[RATE_OPEN] < odds[RATE_CLICK])
		{
			seen = later(m, "clicked", seen, 5, HOURS, 2);
			ADD("clicked", seen);
		}
	}
	/* the others come with an open before them or without */
	if (HAPPENS("replied", RATE_REPLY))
		ADD("replied", later(m, "replied", seen, 10 * MINUTES, 3 * DAYS, 2));
	if (HAPPENS("chat_message", RATE_CHAT))
		ADD("chat_message", later(m, "chat_message", seen, MINUTES, 2 * DAYS, 2));
	if (HAPPENS("form_resubmission", RATE_RESUBMISSION))
		ADD("form_resubmission", later(m, "form_resubmission", seen, HOURS, 5 * DAYS, 1));
	if (HAPPENS("call_request", RATE_CALL_REQUEST))
		ADD("call_request", later(m, "call_request", seen, HOURS, 3 * DAYS, 1));
	if (HAPPENS("unsubscribed", RATE_OPT_OUT))
		ADD("unsubscribed", later(m, "unsubscribed", seen, MINUTES, DAYS, 2));
	if (channel == CHANNEL_EMAIL && HAPPENS("complained", RATE_COMPLAINT))
		ADD("complained", later(m, "complained", seen, MINUTES, DAYS, 2));
	return FATE_SENT;
}

static void
take_odds(Datum array, double *odds)
{
	Datum	   *values;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), FLOAT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &values, NULL, &n);
	if (n != RATES)
		elog(ERROR, "%d rates instead of %d", n, RATES);
	for (int i = 0; i < n; i++)
		odds[i] = DatumGetFloat8(values[i]);
}

PG_FUNCTION_INFO_V1(sender_sandbox_draw);

/* sandbox_draw(seed, address, campaign, step, attempt, what) */
Datum
sender_sandbox_draw(PG_FUNCTION_ARGS)
{
	Message		m = message_of(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1)),
							   text_to_cstring(PG_GETARG_TEXT_PP(2)), PG_GETARG_INT32(3), PG_GETARG_INT32(4));

	PG_RETURN_INT64((int64) draw(&m, text_to_cstring(PG_GETARG_TEXT_PP(5))));
}

PG_FUNCTION_INFO_V1(sender_sandbox_foretell);

/* sandbox_foretell(seed, odds, channel, address, campaign, step, attempt, at) */
Datum
sender_sandbox_foretell(PG_FUNCTION_ARGS)
{
	static const char *const fates[] = {"sent", "refused", "unknown"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Message		m = message_of(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(3)),
							   text_to_cstring(PG_GETARG_TEXT_PP(4)), PG_GETARG_INT32(5), PG_GETARG_INT32(6));
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(7);
	double		odds[RATES];
	Follow		follow[MAX_FOLLOW];
	int			n;
	Fate		fate;

	take_odds(PG_GETARG_DATUM(1), odds);
	fate = foretell(&m, odds, sender_channel(text_to_cstring(PG_GETARG_TEXT_PP(2))), at, follow, &n);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = -1; i < n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(i < 0 ? fates[fate] : follow[i].what);
		values[1] = TimestampTzGetDatum(i < 0 ? at : follow[i].at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ----- in a batch ------------------------------------------------------ */

/* sandbox_of is the batch's sandbox, which is looked up when it first sends. */
static struct Sandbox *
sandbox_of(Batch *b)
{
	static EsPlan plan = {
		"SELECT s.seed, entrestate.sandbox_odds(s.rates) FROM entrestate.sandbox_settings s WHERE s.tenant_id = $1",
	1, {UUIDOID}};
	static const Oid types[] = {UUIDOID, UUIDOID, INT2OID, INT2OID, TEXTOID, TIMESTAMPTZOID, INT8OID};
	/* whoever applies decisions may be reading a result */
	SPITupleTable *tuptable = SPI_tuptable;
	uint64		processed = SPI_processed;
	struct Sandbox *s;
	MemoryContext old;
	Datum		tenant = UUIDPGetDatum(&b->tenant->id);
	bool		isnull;

	if (b->sandbox != NULL)
		return b->sandbox;
	old = MemoryContextSwitchTo(b->context);
	s = palloc0(sizeof(struct Sandbox));
	rows_init(&s->callbacks, lengthof(types), types);
	MemoryContextSwitchTo(old);
	if (es_spi_run(&plan, SPI_OK_SELECT, &tenant, NULL) > 0)
	{
		s->drawn = true;
		s->seed = DatumGetInt64(es_spi_get(0, 1, &isnull));
		take_odds(es_spi_get(0, 2, &isnull), s->odds);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = tuptable;
	SPI_processed = processed;
	b->sandbox = s;
	return s;
}

static const char *
name_of(Batch *b, const pg_uuid_t *campaign)
{
	static EsPlan plan = {
		"SELECT c.name FROM entrestate.campaigns c WHERE c.tenant_id = $1 AND c.campaign_id = $2",
	2, {UUIDOID, UUIDOID}};
	struct Sandbox *s = b->sandbox;
	SPITupleTable *tuptable = SPI_tuptable;
	uint64		processed = SPI_processed;
	Datum		values[2] = {UUIDPGetDatum(&b->tenant->id), UUIDPGetDatum(campaign)};
	MemoryContext old;
	char	   *name;

	for (int i = 0; i < s->nnames; i++)
		if (memcmp(&s->names[i].id, campaign, UUID_LEN) == 0)
			return s->names[i].name;
	es_spi_run(&plan, SPI_OK_SELECT, values, NULL);
	name = text_at(0, 1);
	old = MemoryContextSwitchTo(b->context);
	s->names = s->names == NULL ? palloc(sizeof(CampaignName)) :
		repalloc(s->names, sizeof(CampaignName) * (s->nnames + 1));
	s->names[s->nnames].id = *campaign;
	s->names[s->nnames++].name = pstrdup(name);
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = tuptable;
	SPI_processed = processed;
	return s->names[s->nnames - 1].name;
}

/*
 * sandbox_send lets the sandbox provider send the step at a run's cursor, and
 * returns its outcome, which is of this transaction.  What was refused has used
 * up no budget.
 */
SenderEventType
sandbox_send(Batch *b, Run *r, SenderReason *reason)
{
	struct Sandbox *s = sandbox_of(b);
	Follow		follow[MAX_FOLLOW];
	int			n = 0;
	Fate		fate = FATE_SENT;

	if (s->drawn)
	{
		Message		m = message_of(s->seed, r->address, name_of(b, &r->campaign->id), r->cursor, r->attempt);

		fate = foretell(&m, s->odds, r->queue->channel, b->now, follow, &n);
		pfree(m.key);
		pfree(m.room);
	}
	for (int i = 0; i < n; i++)
	{
		rows_add(&s->callbacks, UUIDPGetDatum(&r->campaign->id), false);
		rows_add(&s->callbacks, UUIDPGetDatum(&r->lead), false);
		rows_add(&s->callbacks, Int16GetDatum(r->cursor), false);
		rows_add(&s->callbacks, Int16GetDatum(r->attempt), false);
		rows_add(&s->callbacks, CStringGetTextDatum(follow[i].what), false);
		rows_add(&s->callbacks, TimestampTzGetDatum(follow[i].at), false);
		rows_add(&s->callbacks, Int64GetDatum(follow[i].draw), false);
	}
	switch (fate)
	{
		case FATE_REFUSED:
			*reason = REASON_REFUSED;
			batch_add_intent(b, r, "failed", "sandbox", *reason);
			r->admitted = false;
			return EVENT_STEP_FAILED;
		case FATE_UNKNOWN:
			*reason = REASON_UNCERTAIN;
			batch_add_intent(b, r, "unknown", "sandbox", *reason);
			return EVENT_STEP_UNKNOWN;
		default:
			*reason = REASON_NONE;
			batch_add_intent(b, r, "sent", "sandbox", *reason);
			return EVENT_STEP_SENT;
	}
}

/* sandbox_write writes what will follow from the messages of a batch. */
void
sandbox_write(Batch *b)
{
	static EsPlan plan = {
		"INSERT INTO entrestate.sandbox_callbacks (tenant_id, campaign_id, lead_id, step, attempt, what, due_at, draw)"
		" SELECT $1, u.* FROM new_rows AS u",
	1, {UUIDOID}, .generic = true};
	Datum		tenant = UUIDPGetDatum(&b->tenant->id);

	if (b->sandbox != NULL)
		rows_run(&b->sandbox->callbacks, &plan, SPI_OK_INSERT, &tenant);
}

/* ----- what is due ----------------------------------------------------- */

PG_FUNCTION_INFO_V1(sender_sandbox_next_tenant);

/* sandbox_next_tenant(after): the next tenant, by id, with callbacks that wait. */
Datum
sender_sandbox_next_tenant(PG_FUNCTION_ARGS)
{
	static EsPlan plan = {
		"SELECT c.tenant_id FROM entrestate.sandbox_callbacks c WHERE c.tenant_id > $1"
		" ORDER BY c.tenant_id LIMIT 1", 1, {UUIDOID}};
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

PG_FUNCTION_INFO_V1(sender_sandbox_report_tenant);

/*
 * sandbox_report_tenant(tenant, batch) takes callbacks that are due and returns
 * how many; 0 when nothing is due or another session, the processor's as well,
 * is at the tenant.  Definer, one transaction.
 */
Datum
sender_sandbox_report_tenant(PG_FUNCTION_ARGS)
{
	static EsPlan plan = {"SELECT entrestate.sandbox_take($1, $2)", 2, {UUIDOID, INT4OID}};
	pg_uuid_t	id = *PG_GETARG_UUID_P(0);
	Datum		values[2] = {UUIDPGetDatum(&id), PG_GETARG_DATUM(1)};
	int			batch = PG_GETARG_INT32(1);
	int			taken = 0;
	bool		isnull;

	if (batch < 1 || batch > 100000)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("batch is a number from 1 to 100000")));
	es_require_schema();
	SPI_connect();
	if (es_lock_try(ES_LOCK_TENANT, &id))
	{
		es_context_enter_system(&id);
		es_spi_run(&plan, SPI_OK_SELECT, values, NULL);
		taken = DatumGetInt32(es_spi_get(0, 1, &isnull));
	}
	SPI_finish();
	PG_RETURN_INT32(taken);
}

PG_FUNCTION_INFO_V1(sender_sandbox_report);

/* sandbox_report(batch) reports everything that is due. */
Datum
sender_sandbox_report(PG_FUNCTION_ARGS)
{
	static EsPlan next = {"SELECT entrestate.sandbox_next_tenant($1)", 1, {UUIDOID}};
	static EsPlan work = {"SELECT entrestate.sandbox_report_tenant($1, $2)", 2,
	{UUIDOID, INT4OID}};

	sender_rounds(fcinfo, "sandbox_report", &next, &work);
	PG_RETURN_VOID();
}
