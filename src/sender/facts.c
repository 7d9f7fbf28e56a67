/*
 * facts.c
 *		Reads what decisions look at: the tenant, its campaigns, the queues (the
 *		runs that wait for one step), and the runs of a batch.
 *
 * What belongs to many is read once a batch; a run costs a handful of look-ups
 * by key, and one more for what only some queues have (a guard, a template with
 * fields, caps).  Every statement finds its rows by their keys whatever the
 * planner thinks of a table that is not analyzed yet: LATERAL ... OFFSET 0.
 *
 * The results live in the memory context of the caller's SPI_connect().
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "sender/batch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

/* A live tenant that has this many intents on their way waits. */
#define MAX_IN_FLIGHT 10000

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

/* instant_at returns 0 for NULL. */
TimestampTz
instant_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static int
limit_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? UNLIMITED : DatumGetInt32(d);
}

static WindowSet *
windows_at(uint64 row, int col, bool quiet)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? NULL : windows_parse(DatumGetJsonbP(d), quiet);
}

static Interval *
interval_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);
	Interval   *i;

	if (isnull)
		return NULL;
	i = palloc(sizeof(Interval));
	*i = *DatumGetIntervalP(d);
	return i;
}

/* lead_facts_at reads the columns LEAD_FACTS, the first of which is "col". */
void
lead_facts_at(uint64 row, int col, LeadFacts *f)
{
	f->handoff = bool_at(row, col);
	f->closed = bool_at(row, col + 1);
	f->stopped = bool_at(row, col + 2);
	f->merged = bool_at(row, col + 3);
	f->opted_out = bool_at(row, col + 4);
	f->complained = bool_at(row, col + 5);
	f->erased = bool_at(row, col + 6);
	f->hot = bool_at(row, col + 7);
	f->replied = bool_at(row, col + 8);
}

/* ----- the tenant ------------------------------------------------------ */

/*
 * load_tenant reads what a brake on the tenant writes, with "lock" in share
 * mode; false when there is no such tenant.
 */
bool
load_tenant(const pg_uuid_t *id, TimestampTz now, bool lock, Tenant *t)
{
#define TENANT(lock) \
	"SELECT mode, dry_run, frozen_at IS NOT NULL, paused_at IS NOT NULL, time_zone, quiet_hours," \
	" date_trunc('day', $2, time_zone), date_trunc('minute', $2, 'UTC')" \
	" FROM entrestate.tenants WHERE tenant_id = $1" lock, 2, {UUIDOID, TIMESTAMPTZOID}
#define CHANNEL(lock) \
	"SELECT channel, enabled, paused_at IS NOT NULL, consent_required," \
	" least(daily_limit, warmup[($3 AT TIME ZONE $2)::date - warmup_from + 1]), per_minute" \
	" FROM entrestate.tenant_channels WHERE tenant_id = $1" lock, 3, {UUIDOID, TEXTOID, TIMESTAMPTZOID}
	static EsPlan tenant = {TENANT("")};
	static EsPlan tenant_locked = {TENANT(" FOR SHARE")};
	static EsPlan channel = {CHANNEL("")};
	static EsPlan channel_locked = {CHANNEL(" FOR SHARE")};
#undef TENANT
#undef CHANNEL
	static EsPlan used = {
		"SELECT u.budget, u.key, u.used FROM entrestate.sender_usage u"
		" WHERE u.tenant_id = $1 AND u.budget = 'channel_day' AND u.key = ANY ('{email,sms,whatsapp}') AND u.window_at = $2"
		" UNION ALL SELECT u.budget, u.key, u.used FROM entrestate.sender_usage u"
		" WHERE u.tenant_id = $1 AND u.budget = 'channel_minute' AND u.key = ANY ('{email,sms,whatsapp}') AND u.window_at = $3",
	3, {UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
	static EsPlan in_flight = {
		"SELECT count(*)::int4 FROM (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = $1"
		" AND i.status IN ('ready', 'leased', 'started') LIMIT $2) x", 2, {UUIDOID, INT4OID}};
	static EsPlan funds = {"SELECT entrestate.sender_funds($1)", 1, {UUIDOID}};
	Datum		values[3] = {UUIDPGetDatum(id), TimestampTzGetDatum(now)};
	bool		limited = false;
	int			n;

	memset(t, 0, sizeof(*t));
	t->id = *id;
	if (es_spi_run(lock ? &tenant_locked : &tenant, SPI_OK_SELECT, values, NULL) == 0)
		return false;
	t->mode = sender_mode(text_at(0, 1));
	t->dry_run = bool_at(0, 2);
	t->frozen = bool_at(0, 3);
	t->paused = bool_at(0, 4);
	t->zone = text_at(0, 5);
	t->quiet = windows_at(0, 6, true);
	t->day = instant_at(0, 7);
	t->minute = instant_at(0, 8);

	values[1] = CStringGetTextDatum(t->zone);
	values[2] = TimestampTzGetDatum(now);
	n = es_spi_run(lock ? &channel_locked : &channel, SPI_OK_SELECT, values, NULL);
	for (int i = 0; i < n; i++)
	{
		Channel    *c = &t->channels[sender_channel(text_at(i, 1))];

		c->enabled = bool_at(i, 2);
		c->paused = bool_at(i, 3);
		c->consent_required = bool_at(i, 4);
		c->left_today = limit_at(i, 5);
		c->left_this_minute = limit_at(i, 6);
		c->rated = c->left_this_minute != UNLIMITED;
		limited |= c->rated || c->left_today != UNLIMITED;
	}
	if (limited)
	{
		values[1] = TimestampTzGetDatum(t->day);
		values[2] = TimestampTzGetDatum(t->minute);
		n = es_spi_run(&used, SPI_OK_SELECT, values, NULL);
		for (int i = 0; i < n; i++)
		{
			Channel    *c = &t->channels[sender_channel(text_at(i, 2))];
			int		   *left = strcmp(text_at(i, 1), "channel_day") == 0 ? &c->left_today : &c->left_this_minute;

			if (*left != UNLIMITED)
				*left = Max(*left - int_at(i, 3), 0);
		}
	}
	if (t->mode == MODE_LIVE)
	{
		values[1] = Int32GetDatum(MAX_IN_FLIGHT);
		es_spi_run(&in_flight, SPI_OK_SELECT, values, NULL);
		t->back_pressure = int_at(0, 1) >= MAX_IN_FLIGHT;
	}
	es_spi_run(&funds, SPI_OK_SELECT, values, NULL);
	t->funds = limit_at(0, 1);
	return true;
}

/* ----- campaigns and queues -------------------------------------------- */

/*
 * load_campaigns reads the campaigns that have runs waiting, or one; with
 * "lock" in share mode.
 */
Campaign *
load_campaigns(const Tenant *t, const pg_uuid_t *one, bool lock, int *n)
{
#define CAMPAIGNS(lock) \
	"WITH RECURSIVE due AS (" \
	" (SELECT coalesce($2, (SELECT d.campaign_id FROM entrestate.sender_due d WHERE d.tenant_id = $1" \
	"  ORDER BY d.campaign_id LIMIT 1)) AS campaign_id)" \
	" UNION ALL" \
	" SELECT (SELECT d.campaign_id FROM entrestate.sender_due d" \
	"  WHERE d.tenant_id = $1 AND d.campaign_id > due.campaign_id" \
	"  ORDER BY d.campaign_id LIMIT 1)" \
	" FROM due WHERE due.campaign_id IS NOT NULL AND $2 IS NULL)" \
	" SELECT c.campaign_id, c.status, c.sender_enabled, c.risk_paused_at IS NOT NULL," \
	" c.dry_run, c.policy_version, c.brake_index::int4, c.rising_deferrals::int4," \
	" coalesce(c.warming_threshold, (SELECT s.warming_threshold FROM entrestate.score_settings s" \
	"  WHERE s.tenant_id = $1 ORDER BY s.version DESC LIMIT 1))," \
	" (extract(epoch FROM coalesce(c.max_lateness, '7 days')) * 1000000)::int8," \
	" c.per_minute, a.windows, a.channels," \
	" (SELECT array_agg((k ->> 'max')::int4) FROM jsonb_array_elements(a.caps) k)," \
	" (SELECT array_agg((extract(epoch FROM (k ->> 'per')::interval) * 1000000)::int8) FROM jsonb_array_elements(a.caps) k)," \
	" (SELECT array_agg(coalesce(k ->> 'channel', '')) FROM jsonb_array_elements(a.caps) k)," \
	" CASE WHEN c.per_minute IS NOT NULL THEN (SELECT u.used FROM entrestate.sender_usage u WHERE u.tenant_id = $1" \
	"  AND u.budget = 'campaign_minute' AND u.key = c.campaign_id::text AND u.window_at = $3) END" \
	" FROM due CROSS JOIN LATERAL (SELECT * FROM entrestate.campaigns x" \
	"  WHERE x.tenant_id = $1 AND x.campaign_id = due.campaign_id" lock ") c" \
	" LEFT JOIN LATERAL (SELECT * FROM entrestate.campaign_agent_settings x" \
	"  WHERE x.tenant_id = $1 AND x.campaign_id = due.campaign_id OFFSET 0) a ON true", \
	3, {UUIDOID, UUIDOID, TIMESTAMPTZOID}, .generic = true
	static EsPlan plain = {CAMPAIGNS(" OFFSET 0")};
	static EsPlan locked = {CAMPAIGNS(" FOR SHARE")};
#undef CAMPAIGNS
	static const char *const states[] = {"draft", "active", "paused",
	"completed", "archived"};
	Datum		values[3] = {UUIDPGetDatum(&t->id), UUIDPGetDatum(one), TimestampTzGetDatum(t->minute)};
	Campaign   *result;

	*n = es_spi_run(lock ? &locked : &plain, SPI_OK_SELECT, values, one == NULL ? " n " : NULL);
	result = palloc0(sizeof(Campaign) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		Campaign   *c = &result[i];
		bool		isnull;
		char	   *state = text_at(i, 2);
		Datum		d;

		c->id = *DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		for (size_t s = 0; s < lengthof(states); s++)
			if (strcmp(states[s], state) == 0)
				c->state = s;
		c->sender_enabled = bool_at(i, 3);
		c->risk_paused = bool_at(i, 4);
		c->dry_run = bool_at(i, 5);
		c->policy_version = int_at(i, 6);
		c->brake_index = int_at(i, 7);
		c->rising_deferrals = int_at(i, 8);
		d = es_spi_get(i, 9, &isnull);
		/* audience/score.c's default */
		c->warming_threshold = isnull ? 10 : DatumGetInt32(d);
		c->max_lateness = DatumGetInt64(es_spi_get(i, 10, &isnull));
		c->left_this_minute = limit_at(i, 11);
		c->rated = c->left_this_minute != UNLIMITED;
		if (c->rated)
			c->left_this_minute = Max(c->left_this_minute - int_at(i, 17), 0);
		c->windows = windows_at(i, 12, false);
		d = es_spi_get(i, 13, &isnull);
		if (isnull)
			memset(c->uses, true, sizeof(c->uses));
		else
		{
			Datum	   *words;
			int			nwords;

			deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT, &words, NULL, &nwords);
			for (int k = 0; k < nwords; k++)
				c->uses[sender_channel(TextDatumGetCString(words[k]))] = true;
		}
		d = es_spi_get(i, 14, &isnull);
		if (!isnull)
		{
			Datum	   *max;
			Datum	   *per;
			Datum	   *channel;

			deconstruct_array(DatumGetArrayTypeP(d), INT4OID, 4, true, TYPALIGN_INT, &max, NULL, &c->ncaps);
			deconstruct_array(DatumGetArrayTypeP(es_spi_get(i, 15, &isnull)), INT8OID, 8, FLOAT8PASSBYVAL,
							  TYPALIGN_DOUBLE, &per, NULL, &c->ncaps);
			deconstruct_array(DatumGetArrayTypeP(es_spi_get(i, 16, &isnull)), TEXTOID, -1, false,
							  TYPALIGN_INT, &channel, NULL, &c->ncaps);
			c->caps = palloc(sizeof(SenderCap) * c->ncaps);
			for (int k = 0; k < c->ncaps; k++)
			{
				char	   *word = TextDatumGetCString(channel[k]);

				c->caps[k].max = DatumGetInt32(max[k]);
				c->caps[k].per = DatumGetInt64(per[k]);
				c->caps[k].channel = word[0] == '\0' ? CHANNEL_NONE : sender_channel(word);
			}
		}
	}
	return result;
}

/* texts_at reads a step's texts: the columns ids, versions, weights, fields
 * and free_texts, the first of which is "col". */
static void
texts_at(uint64 row, int col, Queue *q)
{
	static const Oid types[] = {UUIDOID, INT4OID, INT4OID, TEXTOID, BOOLOID};
	Datum	   *values[5];
	bool	   *nulls[5];

	for (int k = 0; k < lengthof(types); k++)
	{
		bool		isnull;
		Datum		d = es_spi_get(row, col + k, &isnull);
		int16		len;
		bool		byval;
		char		align;

		if (isnull)
			return;
		get_typlenbyvalalign(types[k], &len, &byval, &align);
		deconstruct_array(DatumGetArrayTypeP(d), types[k], len, byval, align,
						  &values[k], &nulls[k], &q->ntexts);
	}
	q->texts = palloc0(sizeof(Text) * q->ntexts);
	for (int i = 0; i < q->ntexts; i++)
	{
		Text	   *x = &q->texts[i];

		x->template_id = values[0][i];
		x->template_version = DatumGetInt32(values[1][i]);
		x->weight = DatumGetInt32(values[2][i]);
		x->fields = nulls[3][i] ? NULL : TextDatumGetCString(values[3][i]);
		x->free_text = q->channel == CHANNEL_WHATSAPP && DatumGetBool(values[4][i]);
	}
}

/*
 * load_queues reads the queues that have runs waiting, in the order of their
 * campaigns' ids, versions and steps; or one.
 */
Queue *
load_queues(const Tenant *t, Campaign *campaigns, int ncampaigns, const DueEntry *one, int *n)
{
#define QUEUES(which) \
	which \
	" SELECT due.campaign_id, due.version, due.step::int4," \
	" (SELECT count(*)::int4 FROM entrestate.sender_steps x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = due.campaign_id AND x.version = due.version)," \
	" q.stop_on_reply, q.exit_predicate, s.channel, m.ids, m.versions, m.weights, m.fields, m.free_texts," \
	" m.unapproved, s.variants IS NOT NULL, s.guard, s.time_window, s.delay, nx.delay," \
	/* without an identity only the sandbox sends */ \
	" CASE WHEN i.status IS NULL THEN $2 ELSE i.status <> 'verified' END, h.reason::int4" \
	" FROM due CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_sequences x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = due.campaign_id AND x.version = due.version OFFSET 0) q" \
	" LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = due.campaign_id AND x.version = due.version AND x.step = due.step OFFSET 0) s ON true" \
	" LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_steps x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = due.campaign_id AND x.version = due.version AND x.step = due.step + 1 OFFSET 0) nx ON true" \
	" LEFT JOIN LATERAL (SELECT array_agg(w.id ORDER BY w.no) AS ids, array_agg(w.version ORDER BY w.no) AS versions," \
	"  array_agg(w.weight ORDER BY w.no) AS weights, array_agg(nullif(y.fields, '{}')::text ORDER BY w.no) AS fields," \
	"  array_agg(coalesce(y.free_text, false) ORDER BY w.no) AS free_texts," \
	"  bool_or(y.status IS DISTINCT FROM 'approved') AS unapproved" \
	"  FROM (SELECT s.template_id AS id, s.template_version AS version, 1 AS weight, 1::int8 AS no" \
	"   WHERE s.variants IS NULL AND s.template_id IS NOT NULL" \
	"   UNION ALL SELECT (v.it ->> 'template')::uuid, (v.it ->> 'version')::int4, (v.it ->> 'weight')::int4, v.no" \
	"   FROM jsonb_array_elements(s.variants) WITH ORDINALITY AS v(it, no)) w" \
	"  LEFT JOIN LATERAL (SELECT * FROM entrestate.templates x WHERE x.tenant_id = $1" \
	"   AND x.template_id = w.id AND x.version = w.version OFFSET 0) y ON true OFFSET 0) m ON true" \
	" LEFT JOIN LATERAL entrestate.sender_identity($1, due.campaign_id, s.channel) i ON true" \
	" LEFT JOIN LATERAL (SELECT * FROM entrestate.sender_holds x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = due.campaign_id AND x.version = due.version AND x.step = due.step OFFSET 0) h ON true" \
	" ORDER BY 1, 2, 3"
	static EsPlan all = {
		QUEUES("WITH RECURSIVE due AS ("
			   " (SELECT d.campaign_id, d.version, d.step FROM entrestate.sender_due d WHERE d.tenant_id = $1"
			   "  ORDER BY d.campaign_id, d.version, d.step LIMIT 1)"
			   " UNION ALL"
			   " SELECT x.* FROM due CROSS JOIN LATERAL ("
			   "  SELECT d.campaign_id, d.version, d.step FROM entrestate.sender_due d WHERE d.tenant_id = $1"
			   "  AND (d.campaign_id, d.version, d.step) > (due.campaign_id, due.version, due.step)"
			   "  ORDER BY d.campaign_id, d.version, d.step LIMIT 1) x)"),
		2, {UUIDOID, BOOLOID}, .generic = true};
	static EsPlan single = {
		QUEUES("WITH due AS (SELECT $3 AS campaign_id, $4 AS version, $5 AS step)"),
		5, {UUIDOID, BOOLOID, UUIDOID, INT4OID, INT2OID}, .generic = true};
#undef QUEUES
	Datum		values[5] = {UUIDPGetDatum(&t->id), BoolGetDatum(t->mode == MODE_LIVE)};
	Queue	   *result;
	int			kept = 0;

	if (one != NULL)
	{
		values[2] = UUIDPGetDatum(&one->campaign);
		values[3] = Int32GetDatum(one->version);
		values[4] = Int16GetDatum(one->step);
	}
	*n = es_spi_run(one == NULL ? &all : &single, SPI_OK_SELECT, values, NULL);
	result = palloc0(sizeof(Queue) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		Queue	   *q = &result[kept];
		bool		isnull;
		pg_uuid_t  *campaign = DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		char	   *channel = text_at(i, 7);

		/* what began to wait after the campaigns were read comes next time */
		for (int k = 0; k < ncampaigns; k++)
			if (memcmp(&campaigns[k].id, campaign, UUID_LEN) == 0)
				q->campaign = &campaigns[k];
		if (q->campaign == NULL || (channel == NULL && one == NULL))
			continue;
		kept++;
		q->version = int_at(i, 2);
		q->step = int_at(i, 3);
		q->steps = int_at(i, 4);
		q->stop_on_reply = bool_at(i, 5);
		q->exit_predicate = text_at(i, 6);
		if (channel != NULL)
		{
			q->channel = sender_channel(channel);
			texts_at(i, 8, q);
		}
		q->unapproved = bool_at(i, 13);
		q->has_variants = bool_at(i, 14);
		q->guard = text_at(i, 15);
		q->window = windows_at(i, 16, false);
		q->delay = interval_at(i, 17);
		q->next_delay = interval_at(i, 18);
		q->unverified = bool_at(i, 19);
		q->held_before = int_at(i, 20);
	}
	*n = kept;
	return result;
}

/* ----- runs ------------------------------------------------------------ */

static Datum
texts_of(char **words, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(n, 1));
	int			dims[1] = {n};
	int			lbs[1] = {1};

	for (int i = 0; i < n; i++)
	{
		nulls[i] = words[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(words[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, TEXTOID, -1, false, TYPALIGN_INT));
}

static Verdict
verdict_at(uint64 row, int col, bool asked)
{
	bool		isnull;
	Datum		d;

	if (!asked)
		return VERDICT_NONE;
	d = es_spi_get(row, col, &isnull);
	return isnull ? VERDICT_ERROR : DatumGetBool(d) ? VERDICT_TRUE : VERDICT_FALSE;
}

/* text_of is what a run's step says. */
const Text *
text_of(const Run *r)
{
	return &r->queue->texts[Max(r->variant, 0)];
}

/* variant_of chooses one of the step's variants for a run; -1: it has none. */
int
variant_of(const Run *r)
{
	const Queue *q = r->queue;
	char	   *id;
	int		   *weights;
	int			variant;

	if (!q->has_variants)
		return -1;
	id = psprintf("%s__%s",
				  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&r->campaign->id))),
				  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&r->lead))));
	weights = palloc(sizeof(int) * q->ntexts);
	for (int i = 0; i < q->ntexts; i++)
		weights[i] = q->texts[i].weight;
	variant = sender_variant(id, strlen(id), q->step, weights, q->ntexts);
	pfree(weights);
	pfree(id);
	return variant;
}

/*
 * load_runs reads those runs that are locked; campaign, queue, lead and due_at
 * are given.  Facts that a queue does not need are not looked up.
 */
void
load_runs(const Tenant *t, Queue *queues, int nqueues, TimestampTz now, Run *runs, int nruns)
{
	static EsPlan plan = {
		"SELECT d.no, r.version, r.cursor::int4, r.run_seq, r.attempt::int4, r.deferrals::int4, r.sent_steps::int4,"
		" r.mode, r.next_at, r.status IN ('pending', 'running'), r.created_at, r.first_due_at, r.last_outcome_at,"
		" a.address_norm, a.unusable_reason IS NOT NULL, p.address_norm IS NOT NULL, k.status,"
		" l.time_zone, g.score, g.last_signal_at,"
		" CASE WHEN ($7)[d.q] IS NOT NULL THEN entrestate.guard_holds(($7)[d.q], doc.it) END,"
		" CASE WHEN ($8)[d.q] IS NOT NULL THEN entrestate.guard_holds(($8)[d.q], doc.it) END,"
		" CASE WHEN ($9)[d.x] IS NOT NULL THEN entrestate.template_missing((($9)[d.x])::text[], doc.it) IS NOT NULL END,"
		" CASE WHEN ($11)[d.x] THEN NOT coalesce(l.whatsapp_at > $5 - interval '24 hours', false) END,"
		" sent.at, sent.channel,"
		LEAD_FACTS("true")
		" FROM unnest($2, $3, $4, $12, $15) AS d(q, campaign_id, lead_id, no, x)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = $1"
		"  AND x.campaign_id = d.campaign_id AND x.lead_id = d.lead_id OFFSET 0) r"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id OFFSET 0) l"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_scores x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id OFFSET 0) g ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_contacts x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id AND x.is_primary"
		"  AND x.kind = CASE ($6)[d.q] WHEN 'email' THEN 'email' ELSE 'phone' END OFFSET 0) a ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.suppressions x WHERE x.tenant_id = $1"
		"  AND x.channel = ($6)[d.q] AND x.address_norm = a.address_norm OFFSET 0) p ON true"
		/* the last one that was recorded holds */
		" LEFT JOIN LATERAL (SELECT x.status FROM entrestate.lead_consents x WHERE x.tenant_id = $1"
		"  AND x.lead_id = d.lead_id AND x.channel = ($6)[d.q] ORDER BY x.recorded_at DESC LIMIT 1) k ON true"
		" LEFT JOIN LATERAL (SELECT entrestate.sender_document($1, d.campaign_id, d.lead_id, $5) AS it"
		"  WHERE coalesce(($7)[d.q], ($8)[d.q], ($9)[d.x]) IS NOT NULL OFFSET 0) doc ON true"
		/* sent, unknown and, in a rehearsal, simulated; and what is on its way */
		" LEFT JOIN LATERAL (SELECT array_agg(y.at ORDER BY y.at) AS at, array_agg(y.channel ORDER BY y.at) AS channel"
		"  FROM (SELECT e.recorded_at AS at, e.channel FROM (SELECT d.lead_id AS lead_id UNION ALL SELECT x.lead_id FROM entrestate.leads x WHERE x.merged_into = d.lead_id AND x.tenant_id = $1) o"
		"   CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_events x WHERE x.tenant_id = $1 AND x.lead_id = o.lead_id"
		"    AND x.recorded_at > ($10)[d.q] AND x.recorded_at <= $5 OFFSET 0) e"
		"   WHERE e.type IN (10, 15) OR e.type = 13 AND ($13)[d.q]"
		"   UNION ALL"
		"   SELECT i.created_at, CASE i.channel WHEN 'email' THEN 1 WHEN 'sms' THEN 2 ELSE 3 END"
		"   FROM entrestate.sender_runs x CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_intents z WHERE z.tenant_id = $1"
		"     AND z.campaign_id = x.campaign_id AND z.lead_id = x.lead_id AND z.status IN ('ready', 'leased', 'started') OFFSET 0) i"
		"   WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id AND $14) y"
		"  WHERE ($10)[d.q] IS NOT NULL OFFSET 0) sent ON true",
		15, {UUIDOID, INT4ARRAYOID, UUIDARRAYOID, UUIDARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, TEXTARRAYOID,
			TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, INT4ARRAYOID, BOOLARRAYOID, BOOLOID,
			INT4ARRAYOID},
		.generic = true};
	static const Oid keys[] = {INT4OID, UUIDOID, UUIDOID, INT4OID, INT4OID};
	static const Oid facts[] = {TIMESTAMPTZOID, BOOLOID};
	static const Oid texts[] = {BOOLOID};
	Columns		k;
	Columns		f;
	Columns		x;
	Datum		values[15];
	char	  **channels = palloc(sizeof(char *) * Max(nqueues, 1));
	char	  **guards = palloc(sizeof(char *) * Max(nqueues, 1));
	char	  **exits = palloc(sizeof(char *) * Max(nqueues, 1));
	int		   *first_text = palloc(sizeof(int) * Max(nqueues, 1));
	int			ntexts = 0;
	char	  **fields;
	int			n;

	for (int i = 0; i < nqueues; i++)
	{
		first_text[i] = ntexts;
		ntexts += queues[i].ntexts;
	}
	fields = palloc(sizeof(char *) * Max(ntexts, 1));
	columns_init(&x, lengthof(texts), texts);
	columns_init(&k, lengthof(keys), keys);
	columns_init(&f, lengthof(facts), facts);
	for (int i = 0; i < nqueues; i++)
	{
		const Queue *q = &queues[i];
		int64		span = 0;

		channels[i] = q->channel == CHANNEL_NONE ? NULL : unconstify(char *, sender_channel_word(q->channel));
		guards[i] = q->guard;
		exits[i] = q->exit_predicate;
		for (int v = 0; v < q->ntexts; v++)
		{
			fields[first_text[i] + v] = q->texts[v].fields;
			columns_add(&x, 0, BoolGetDatum(q->texts[v].free_text), false);
		}
		for (int c = 0; c < q->campaign->ncaps; c++)
			span = Max(span, q->campaign->caps[c].per);
		columns_add(&f, 0, TimestampTzGetDatum(now - span), span == 0);
		columns_add(&f, 1, BoolGetDatum(t->dry_run || q->campaign->dry_run), false);
	}
	for (int i = 0; i < nruns; i++)
	{
		runs[i].stale = true;
		if (!runs[i].locked)
			continue;
		columns_add(&k, 0, Int32GetDatum(runs[i].queue - queues + 1), false);
		columns_add(&k, 1, UUIDPGetDatum(&runs[i].campaign->id), false);
		columns_add(&k, 2, UUIDPGetDatum(&runs[i].lead), false);
		columns_add(&k, 3, Int32GetDatum(i), false);
		runs[i].variant = variant_of(&runs[i]);
		columns_add(&k, 4, Int32GetDatum(first_text[runs[i].queue - queues] + Max(runs[i].variant, 0) + 1),
					runs[i].queue->ntexts == 0);
	}
	if (columns_rows(&k) == 0)
		return;
	values[0] = UUIDPGetDatum(&t->id);
	for (int i = 0; i < 3; i++)
		values[i + 1] = columns_array(&k, i);
	values[4] = TimestampTzGetDatum(now);
	values[5] = texts_of(channels, nqueues);
	values[6] = texts_of(guards, nqueues);
	values[7] = texts_of(exits, nqueues);
	values[8] = texts_of(fields, ntexts);
	values[9] = columns_array(&f, 0);
	values[10] = columns_array(&x, 0);
	values[11] = columns_array(&k, 3);
	values[12] = columns_array(&f, 1);
	values[13] = BoolGetDatum(t->mode == MODE_LIVE);
	values[14] = columns_array(&k, 4);
	n = es_spi_run(&plan, SPI_OK_SELECT, values, NULL);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Run		   *r = &runs[int_at(i, 1)];
		const Queue *q = r->queue;
		char	   *consent;
		Datum		d;

		r->version = int_at(i, 2);
		r->cursor = int_at(i, 3);
		r->run_seq = int_at(i, 4);
		r->attempt = int_at(i, 5);
		r->deferrals = int_at(i, 6);
		r->sent_steps = int_at(i, 7);
		r->mode = sender_mode(text_at(i, 8));
		r->stale = !bool_at(i, 10) || r->cursor != q->step || r->version != q->version ||
			instant_at(i, 9) != r->due_at;
		r->created_at = instant_at(i, 11);
		r->first_due_at = instant_at(i, 12);
		r->last_outcome_at = instant_at(i, 13);
		r->address = text_at(i, 14);
		r->contact = r->address == NULL ? CONTACT_MISSING : bool_at(i, 15) ? CONTACT_UNUSABLE :
			bool_at(i, 16) ? CONTACT_SUPPRESSED : CONTACT_USABLE;
		consent = text_at(i, 17);
		r->consent_granted = consent != NULL && strcmp(consent, "granted") == 0;
		r->consent_withdrawn = consent != NULL && !r->consent_granted;
		r->zone = text_at(i, 18);
		r->score = int_at(i, 19);
		r->last_signal_at = instant_at(i, 20);
		r->guard = verdict_at(i, 21, q->guard != NULL);
		r->missing_field = bool_at(i, 23);
		r->whatsapp_closed = bool_at(i, 24);
		d = es_spi_get(i, 25, &isnull);
		if (!isnull)
		{
			Datum	   *at;
			Datum	   *channel;

			deconstruct_array(DatumGetArrayTypeP(d), TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
							  &at, NULL, &r->nsends);
			deconstruct_array(DatumGetArrayTypeP(es_spi_get(i, 26, &isnull)), INT4OID, 4, true, TYPALIGN_INT,
							  &channel, NULL, &r->nsends);
			r->sends = palloc(sizeof(SenderSend) * r->nsends);
			for (int s = 0; s < r->nsends; s++)
			{
				r->sends[s].at = DatumGetTimestampTz(at[s]);
				r->sends[s].channel = DatumGetInt32(channel[s]);
			}
		}
		lead_facts_at(i, 27, &r->facts);
		r->facts.replied = r->facts.replied && q->stop_on_reply;
		r->facts.goal = verdict_at(i, 22, q->exit_predicate != NULL) == VERDICT_TRUE;
	}
}

/* ----- together -------------------------------------------------------- */

static SenderReason
budget_of(const Tenant *t, const Queue *q)
{
	const Channel *c = &t->channels[q->channel];

	if (c->left_today <= 0)
		return REASON_DAILY_LIMIT;
	if (c->left_this_minute <= 0 || q->campaign->left_this_minute <= 0)
		return REASON_RATE_LIMITED;
	if (t->funds <= 0)
		return REASON_INSUFFICIENT_FUNDS;
	if (t->back_pressure)
		return REASON_BACK_PRESSURE;
	return REASON_NONE;
}

/* opening_of returns when windows open, or, where they do not open within the
 * horizon, when to look again. */
TimestampTz
opening_of(const WindowSet *const *windows, int n, pg_tz *zone, TimestampTz now)
{
	TimestampTz at = windows_opening(windows, n, zone, now);

	return at == DT_NOEND ? now + WINDOWS_HORIZON_DAYS * USECS_PER_DAY : at;
}

/*
 * facts_of puts together what the decision looks at; without a run, what it
 * would see of one with nothing against it, which tells whether the queue is
 * held.
 */
SenderFacts
facts_of(const Tenant *t, const Queue *q, const Run *r, TimestampTz now)
{
	const Campaign *c = q->campaign;
	SenderFacts f = {0};

	f.now = now;
	f.tenant_frozen = t->frozen;
	f.tenant_paused = t->paused;
	f.campaign = c->state;
	f.sender_enabled = c->sender_enabled;
	f.risk_paused = c->risk_paused;
	f.brake_index = c->brake_index;
	f.cursor = q->step;
	f.steps = q->steps;
	f.max_lateness = c->max_lateness;
	f.channel = q->channel;
	f.channel_enabled = t->channels[q->channel].enabled && c->uses[q->channel];
	f.channel_paused = t->channels[q->channel].paused;
	f.unapproved = q->unapproved;
	f.unverified = q->unverified;
	f.max_deferrals = c->rising_deferrals;
	f.budget = budget_of(t, q);
	f.dry_run = t->dry_run || c->dry_run;
	if (r == NULL)
		f.contact = CONTACT_USABLE;
	else
	{
		pg_tz	   *zone = es_zone(r->zone ? r->zone : t->zone);
		const WindowSet *windows[3] = {q->window, c->windows, t->quiet};

		f.lead = r->facts;
		f.cursor = r->cursor;
		/* one that has sent something does not begin again: it goes on */
		f.awaiting_go_live = r->mode == MODE_DRY_RUN && !f.dry_run && r->sent_steps == 0;
		f.first_due_at = r->first_due_at;
		f.guard = r->guard;
		f.contact = r->contact;
		f.no_consent = r->consent_withdrawn ||
			(t->channels[q->channel].consent_required && !r->consent_granted);
		f.missing_field = r->missing_field;
		f.whatsapp_closed = r->whatsapp_closed;
		f.rising = r->score >= c->warming_threshold &&
			r->last_signal_at > (r->last_outcome_at != 0 ? r->last_outcome_at : r->created_at);
		f.deferrals = r->deferrals;
		f.delayed_to = q->delay != NULL ? es_add_delay(now, q->delay, zone) : now;
		f.opens_at = opening_of(windows, 3, zone, now);
		f.cap_frees_at = sender_cap_frees(c->caps, c->ncaps, r->sends, r->nsends, q->channel, now);
	}
	return f;
}
