/*
 * history.c
 *		Reads the history of a campaign's leads, for a simulation: policies,
 *		signals, tickets, opt-outs, what operators did, and the runs' own events
 *		up to the period's beginning.
 *
 * What the sender brought about itself within the period is left out: it is
 * decided anew (simulate.c).  What people and leads did stands, and so does
 * what a provider answered.
 *
 * Leads are read in the order of their ids, so many at a time, with a statement
 * for each table that finds its rows by the leads' keys.  Everything is read
 * under the caller's snapshot and nothing is locked.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "sender/simulate.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define DAYS_1970 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* read_rows is es_spi_run() for what only reads, under the caller's snapshot; the
 * memory context stays, which SPI would leave at its own. */
static int
read_rows(EsPlan *p, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			n;

	p->reads = true;
	n = es_spi_run(p, SPI_OK_SELECT, values, nulls);
	MemoryContextSwitchTo(context);
	return n;
}

static bool
null_at(uint64 row, int col)
{
	bool		isnull;

	es_spi_get(row, col, &isnull);
	return isnull;
}

static int64
int64_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? 0 : DatumGetInt64(d);
}

static int
limit_at(uint64 row, int col)
{
	return null_at(row, col) ? UNLIMITED : int_at(row, col);
}

static Jsonb *
jsonb_at(uint64 row, int col)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(d);
}

/* ints_at returns the values of an integer[]; none for NULL. */
static int *
ints_at(uint64 row, int col, int *n)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);
	ArrayType  *a;
	int		   *result;

	*n = 0;
	if (isnull)
		return NULL;
	a = DatumGetArrayTypeP(d);
	*n = ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	result = palloc(sizeof(int) * Max(*n, 1));
	memcpy(result, ARR_DATA_PTR(a), sizeof(int) * *n);
	return result;
}

/* ----- what holds for all leads ----------------------------------------- */

const Policy *
policy_at(const Simulation *s, TimestampTz at)
{
	int			low = 0,
				high = s->npolicies - 1;

	/* the last that is not after it; what was before the first is not known */
	while (low < high)
	{
		int			middle = (low + high + 1) / 2;

		if (s->policies[middle].since <= at)
			low = middle;
		else
			high = middle - 1;
	}
	return &s->policies[low];
}

static void
read_caps(uint64 row, int col, Campaign *c)
{
	bool		isnull;
	Datum		d = es_spi_get(row, col, &isnull);
	Datum	   *max;
	Datum	   *per;
	Datum	   *channel;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(d), INT4OID, 4, true, TYPALIGN_INT, &max, NULL, &c->ncaps);
	deconstruct_array(DatumGetArrayTypeP(es_spi_get(row, col + 1, &isnull)), INT8OID, 8, FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &per, NULL, &c->ncaps);
	deconstruct_array(DatumGetArrayTypeP(es_spi_get(row, col + 2, &isnull)), TEXTOID, -1, false,
					  TYPALIGN_INT, &channel, NULL, &c->ncaps);
	c->caps = palloc(sizeof(SenderCap) * Max(c->ncaps, 1));
	for (int k = 0; k < c->ncaps; k++)
	{
		char	   *word = TextDatumGetCString(channel[k]);

		c->caps[k].max = DatumGetInt32(max[k]);
		c->caps[k].per = DatumGetInt64(per[k]);
		c->caps[k].channel = word[0] == '\0' ? CHANNEL_NONE : sender_channel(word);
	}
}

/*
 * read_policies reads every version of the campaign's policy, from the first
 * on: a signal's score is of its time.
 */
static void
read_policies(Simulation *s)
{
	/* where none was kept, the one that is in force */
#define POLICIES \
	"(WITH kept AS (SELECT x.taken_at, x.version, x.policy FROM entrestate.policy_snapshots x WHERE x.tenant_id = $1" \
	"  AND x.campaign_id = $2 AND x.taken_at < $4 AND x.policy ?& '{tenant,campaign,score}')" \
	" SELECT * FROM kept UNION ALL SELECT '-infinity', 0, entrestate.policy_current($1, $2) WHERE NOT EXISTS (SELECT FROM kept))"
	static EsPlan plan = {
		"SELECT p.taken_at, (t.it ->> 'frozen')::bool, (t.it ->> 'paused')::bool,"
		" coalesce(($3 ->> 'dry_run')::bool, (t.it ->> 'dryRun')::bool OR (k.it ->> 'dryRun')::bool), t.it ->> 'timeZone',"
		" coalesce($3 -> 'quiet_hours', t.it -> 'quietHours'), k.it ->> 'status', (k.it ->> 'senderEnabled')::bool,"
		" (k.it ->> 'riskPaused')::bool, coalesce(($3 ->> 'brake_index')::int4, (k.it ->> 'brakeIndex')::int4),"
		" coalesce(($3 ->> 'warming_threshold')::int4, (k.it ->> 'warmingThreshold')::int4, (s.it ->> 'warmingThreshold')::int4),"
		" coalesce(($3 ->> 'rising_deferrals')::int4, (k.it ->> 'risingDeferrals')::int4),"
		" coalesce(($3 ->> 'max_lateness')::int8, ((k.it ->> 'maxLatenessSeconds')::numeric * 1000000)::int8, 604800000000),"
		" CASE WHEN $3 ? 'per_minute' THEN ($3 ->> 'per_minute')::int4 ELSE (k.it ->> 'perMinute')::int4 END,"
		" coalesce($3 -> 'windows', a.it -> 'windows'),"
		" (SELECT array_agg(x) FROM jsonb_array_elements_text(coalesce($3 -> 'channels', a.it -> 'channels')) x),"
		" c.max, c.per, c.channel,"
		" coalesce(($3 ->> 'hot_threshold')::int4, least((s.it ->> 'hotThreshold')::int4,"
		"  CASE WHEN k.it ->> 'status' IN ('draft', 'active', 'paused') THEN (k.it ->> 'hotThreshold')::int4 END)),"
		" coalesce(($3 ->> 'score_window')::int8, (s.it ->> 'windowSeconds')::int8 * 1000000),"
		" (SELECT array_agg(coalesce(($3 -> 'weights' ->> g.name)::int4, (s.it -> 'weights' ->> g.name)::int4, 0) ORDER BY g.code)"
		"  FROM entrestate.signal_kinds() g WHERE g.code < 9), p.version"
		" FROM " POLICIES " p"
		" CROSS JOIN LATERAL (SELECT p.policy -> 'tenant' AS it) t CROSS JOIN LATERAL (SELECT p.policy -> 'campaign' AS it) k"
		" CROSS JOIN LATERAL (SELECT p.policy -> 'agent' AS it) a CROSS JOIN LATERAL (SELECT p.policy -> 'score' AS it) s"
		" CROSS JOIN LATERAL (SELECT array_agg((x ->> 'max')::int4) AS max,"
		"  array_agg((extract(epoch FROM (x ->> 'per')::interval) * 1000000)::int8) AS per,"
		"  array_agg(coalesce(x ->> 'channel', '')) AS channel"
		"  FROM jsonb_array_elements(coalesce($3 -> 'caps', a.it -> 'caps')) x) c"
		" ORDER BY p.version",
	4, {UUIDOID, UUIDOID, JSONBOID, TIMESTAMPTZOID}, .generic = true};
	static EsPlan channels = {
		"SELECT p.no::int4 - 1, h.key, (h.value ->> 'enabled')::bool, (h.value ->> 'paused')::bool, (h.value ->> 'consentRequired')::bool,"
		" CASE WHEN $3 -> 'daily_limit' ? h.key THEN ($3 -> 'daily_limit' ->> h.key)::int4 ELSE (h.value ->> 'dailyLimit')::int4 END,"
		" CASE WHEN $3 -> 'channel_per_minute' ? h.key THEN ($3 -> 'channel_per_minute' ->> h.key)::int4 ELSE (h.value ->> 'perMinute')::int4 END,"
		/* a limit that is given stands for the warm-up as well */
		" CASE WHEN NOT coalesce($3 -> 'daily_limit' ? h.key, false)"
		"  THEN (SELECT array_agg(w::int4) FROM jsonb_array_elements_text(h.value -> 'warmup') w) END,"
		" (h.value ->> 'warmupFrom')::date - date '1970-01-01'"
		" FROM (SELECT y.policy, row_number() OVER (ORDER BY y.version) AS no FROM " POLICIES " y) p"
		" CROSS JOIN LATERAL jsonb_each(p.policy -> 'tenant' -> 'channels') h",
	4, {UUIDOID, UUIDOID, JSONBOID, TIMESTAMPTZOID}, .generic = true};
#undef POLICIES
	static const char *const states[] = {"draft", "active", "paused", "completed", "archived"};
	Datum		values[4] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id), s->given,
	TimestampTzGetDatum(Max(s->until, s->now + 1))};
	int			n;

	s->npolicies = read_rows(&plan, values, NULL);
	Assert(s->npolicies > 0);
	s->policies = palloc0(sizeof(Policy) * s->npolicies);
	for (int i = 0; i < s->npolicies; i++)
	{
		Policy	   *p = &s->policies[i];
		Tenant	   *t = &p->tenant;
		Campaign   *c = &p->campaign;
		bool		isnull;
		char	   *state = text_at(i, 7);
		int			nweights;
		int		   *weights;
		Datum		d;

		/* a clock that was set back does not bring an old policy back */
		p->since = i == 0 ? instant_at(i, 1) : Max(instant_at(i, 1), p[-1].since);
		*t = s->tenant;
		memset(t->channels, 0, sizeof(t->channels));
		t->frozen = bool_at(i, 2);
		t->paused = bool_at(i, 3);
		t->dry_run = bool_at(i, 4);
		t->zone = text_at(i, 5);
		d = es_spi_get(i, 6, &isnull);
		t->quiet = isnull ? NULL : windows_parse(DatumGetJsonbP(d), true);
		/* gate 16's funds and back-pressure are of the day, and not foretold */
		t->funds = UNLIMITED;
		t->back_pressure = false;

		c->id = s->campaign_id;
		for (size_t k = 0; k < lengthof(states); k++)
			if (strcmp(states[k], state) == 0)
				c->state = k;
		c->sender_enabled = bool_at(i, 8);
		c->risk_paused = bool_at(i, 9);
		c->brake_index = int_at(i, 10);
		c->warming_threshold = int_at(i, 11);
		c->rising_deferrals = int_at(i, 12);
		c->max_lateness = int64_at(i, 13);
		c->left_this_minute = UNLIMITED;
		p->campaign_per_minute = limit_at(i, 14);
		d = es_spi_get(i, 15, &isnull);
		c->windows = isnull ? NULL : windows_parse(DatumGetJsonbP(d), false);
		d = es_spi_get(i, 16, &isnull);
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
		read_caps(i, 17, c);
		p->score.hot_threshold = int_at(i, 20);
		p->score.window = int64_at(i, 21);
		p->score.warming_threshold = c->warming_threshold;
		weights = ints_at(i, 22, &nweights);
		for (int k = 0; k < nweights && k + 1 < SIGNAL_WEIGHTS; k++)
			p->score.weight[k + 1] = weights[k];
		c->policy_version = int_at(i, 23);
		for (int k = 0; k < 4; k++)
		{
			p->daily[k] = p->per_minute[k] = UNLIMITED;
			t->channels[k].left_today = t->channels[k].left_this_minute = UNLIMITED;
		}
	}
	SPI_freetuptable(SPI_tuptable);

	n = read_rows(&channels, values, NULL);
	for (int i = 0; i < n; i++)
	{
		Policy	   *p = &s->policies[int_at(i, 1)];
		int			k = sender_channel(text_at(i, 2));
		Channel    *c = &p->tenant.channels[k];

		c->enabled = bool_at(i, 3);
		c->paused = bool_at(i, 4);
		c->consent_required = bool_at(i, 5);
		p->daily[k] = limit_at(i, 6);
		p->per_minute[k] = limit_at(i, 7);
		p->warmup[k] = ints_at(i, 8, &p->nwarmup[k]);
		p->warmup_from[k] = int_at(i, 9);
	}
	SPI_freetuptable(SPI_tuptable);

	for (int i = 0; i < s->npolicies; i++)
	{
		const Policy *p = &s->policies[i];

		/* those of the period */
		if (p->since >= s->until || (i + 1 < s->npolicies && p[1].since <= s->since))
			continue;
		for (int k = CHANNEL_EMAIL; k <= CHANNEL_WHATSAPP; k++)
			s->limited |= p->daily[k] != UNLIMITED || p->per_minute[k] != UNLIMITED || p->nwarmup[k] > 0;
		s->limited |= p->campaign_per_minute != UNLIMITED;
		s->capped |= p->campaign.ncaps > 0;
		for (int k = 0; k < p->campaign.ncaps; k++)
			s->cap_span = Max(s->cap_span, p->campaign.caps[k].per);
	}
}

static Datum
jsonpath_of(const char *predicate)
{
	return predicate == NULL ? (Datum) 0 : DirectFunctionCall1(jsonpath_in, CStringGetDatum(psprintf("strict %s", predicate)));
}

/*
 * read_versions reads the steps of every version that runs may be on.  The
 * states of templates and identities are those of now.
 */
static void
read_versions(Simulation *s)
{
	static EsPlan plan = {
		"SELECT q.version FROM entrestate.sender_sequences q WHERE q.tenant_id = $1 AND q.campaign_id = $2"
		" AND q.status <> 'draft' ORDER BY 1", 2, {UUIDOID, UUIDOID}, .generic = true};
	Datum		values[2] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id)};

	s->nversions = read_rows(&plan, values, NULL);
	s->versions = palloc0(sizeof(Version) * Max(s->nversions, 1));
	for (int i = 0; i < s->nversions; i++)
		s->versions[i].version = int_at(i, 1);
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < s->nversions; i++)
	{
		Version    *v = &s->versions[i];

		for (int step = 0; step == 0 || step <= v->nsteps; step++)
		{
			DueEntry	one = {.campaign = s->campaign_id, .version = v->version, .step = step};
			int			n;
			Queue	   *q = load_queues(&s->tenant, &s->policies[0].campaign, 1, &one, &n);
			Step	   *x;

			if (n != 1)
				elog(ERROR, "version %d cannot be read", v->version);
			if (step == 0)
			{
				v->nsteps = q->steps;
				v->steps = palloc0(sizeof(Step) * (v->nsteps + 1));
			}
			x = &v->steps[step];
			x->queue = q;
			if (q->channel != CHANNEL_NONE)
				s->kinds[q->channel == CHANNEL_EMAIL ? 0 : 1] = true;
			if (s->overrides.stop_on_reply >= 0)
				q->stop_on_reply = s->overrides.stop_on_reply;
			if (step < s->overrides.ndelays && s->overrides.delays[step] != NULL && q->delay != NULL)
				q->delay = s->overrides.delays[step];
			if (step + 1 < s->overrides.ndelays && s->overrides.delays[step + 1] != NULL && q->next_delay != NULL)
				q->next_delay = s->overrides.delays[step + 1];
			x->guard = jsonpath_of(q->guard);
			x->exit_predicate = jsonpath_of(q->exit_predicate);
			x->fields = palloc0(sizeof(Datum) * Max(q->ntexts, 1));
			x->needs_document = x->guard != 0 || x->exit_predicate != 0;
			for (int k = 0; k < q->ntexts; k++)
			{
				if (q->texts[k].fields != NULL)
				{
					x->fields[k] = OidInputFunctionCall(F_ARRAY_IN, q->texts[k].fields, TEXTOID, -1);
					x->needs_document = true;
				}
				s->whatsapp |= q->texts[k].free_text;
			}
			s->documents |= x->needs_document;
		}
	}
}

const Version *
version_of(const Simulation *s, int version)
{
	for (int i = 0; i < s->nversions; i++)
		if (s->versions[i].version == version)
			return &s->versions[i];
	elog(ERROR, "there is no version %d", version);
}

/* read_about reads what documents say of the campaign and its senders. */
static void
read_about(Simulation *s)
{
	/* as sender_document() has them */
	static EsPlan plan = {
		"SELECT jsonb_build_object('name', c.name, 'intent', c.intent, 'landing', c.landing), h.code::int4,"
		" jsonb_build_object('name', i.display_name, 'address', i.address)"
		" FROM entrestate.campaigns c CROSS JOIN entrestate.sender_channels() h"
		" CROSS JOIN LATERAL entrestate.sender_identity($1, $2, h.name) i WHERE c.tenant_id = $1 AND c.campaign_id = $2",
	2, {UUIDOID, UUIDOID}, .generic = true};
	Datum		values[2] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id)};
	int			n = read_rows(&plan, values, NULL);

	for (int i = 0; i < n; i++)
	{
		s->about = jsonb_at(i, 1);
		s->senders[int_at(i, 2)] = jsonb_at(i, 3);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * read_usage reads what of each day's budget others have used, and we before
 * the period: all that was used, without what we sent in it.
 */
static void
read_usage(Simulation *s)
{
	static EsPlan plan = {
		"SELECT h.code::int4, u.window_at, u.used - (SELECT count(*)::int4 FROM entrestate.sender_events e WHERE e.campaign_id = $2"
		"  AND e.tenant_id = $1 AND e.recorded_at >= greatest(u.window_at, $4)"
		"  AND e.recorded_at < date_trunc('day', u.window_at + interval '36 hours', $3)"
		"  AND e.type IN (10, 15) AND e.channel = h.code AND e.mode <> 3)"
		" FROM entrestate.sender_usage u JOIN entrestate.sender_channels() h ON h.name = u.key"
		" WHERE u.tenant_id = $1 AND u.budget = 'channel_day' AND u.key = ANY ('{email,sms,whatsapp}')"
		" AND u.window_at > $4 - interval '2 days' AND u.window_at < $5",
	5, {UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, .generic = true};
	Datum		values[5] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id), CStringGetTextDatum(s->tenant.zone),
	TimestampTzGetDatum(s->since), TimestampTzGetDatum(s->until)};

	s->nused = read_rows(&plan, values, NULL);
	s->used_at = palloc(sizeof(TimestampTz) * Max(s->nused, 1));
	s->used_channel = palloc(sizeof(int) * Max(s->nused, 1));
	s->used = palloc(sizeof(int) * Max(s->nused, 1));
	for (int i = 0; i < s->nused; i++)
	{
		s->used_channel[i] = int_at(i, 1);
		s->used_at[i] = instant_at(i, 2);
		s->used[i] = Max(int_at(i, 3), 0);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* history_open reads what holds for all leads.  Within SPI_connect(). */
void
history_open(Simulation *s)
{
	static EsPlan thresholds = {
		"SELECT EXISTS (SELECT FROM entrestate.campaigns c WHERE c.tenant_id = $1 AND c.campaign_id <> $2 AND c.hot_threshold IS NOT NULL)",
	2, {UUIDOID, UUIDOID}, .generic = true};
	Datum		values[2] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id)};

	s->context = CurrentMemoryContext;
	if (!load_tenant(&s->tenant_id, s->now, false, &s->tenant))
		elog(ERROR, "there is no such tenant");
	read_policies(s);
	read_versions(s);
	if (s->documents)
		read_about(s);
	if (s->limited)
		read_usage(s);
	if (s->overrides.scores && !s->overrides.hot_threshold)
	{
		read_rows(&thresholds, values, NULL);
		s->other_thresholds = bool_at(0, 1);
		SPI_freetuptable(SPI_tuptable);
	}
}

/* ----- signals ---------------------------------------------------------- */

static void
signals_room(Signals *g, int more)
{
	if (g->n + more <= g->room)
		return;
	g->room = Max(g->n + more, g->room * 2);
	g->kinds = g->kinds == NULL ? palloc(sizeof(int16) * g->room) : repalloc(g->kinds, sizeof(int16) * g->room);
	g->at = g->at == NULL ? palloc(sizeof(TimestampTz) * g->room) : repalloc(g->at, sizeof(TimestampTz) * g->room);
}

/* put puts a signal in order of time and, of one instant, of kind. */
static void
put(Signals *g, int16 kind, TimestampTz at)
{
	int			i;

	signals_room(g, 1);
	for (i = g->n; i > 0 && (g->at[i - 1] > at || (g->at[i - 1] == at && g->kinds[i - 1] > kind)); i--)
	{
		g->at[i] = g->at[i - 1];
		g->kinds[i] = g->kinds[i - 1];
	}
	g->at[i] = at;
	g->kinds[i] = kind;
	g->n++;
}

static void
forget(Signals *g, const ScoreSettings *s, TimestampTz now)
{
	int			gone = Max(g->n - SIGNAL_MAX_COUNTED, 0);

	while (gone < g->n && g->at[gone] <= now - s->window)
		gone++;
	if (gone > 0)
	{
		g->n -= gone;
		memmove(g->at, g->at + gone, sizeof(TimestampTz) * g->n);
		memmove(g->kinds, g->kinds + gone, sizeof(int16) * g->n);
	}
}

/*
 * signals_take lets a fact change what is known of a lead's intent, as
 * audience/signals.c, lead_cool() and lead_merge() do.  The latch is the one
 * that was recorded, unless what makes it is overridden.
 */
void
signals_take(const Simulation *s, Signals *g, const Fact *f, const Merged *merged, int other_threshold)
{
	const ScoreSettings *settings = &policy_at(s, f->at)->score;
	bool		anew = s->overrides.scores || s->overrides.hot_threshold;
	int			threshold = s->overrides.hot_threshold ? settings->hot_threshold : Min(settings->hot_threshold, other_threshold);

	switch (f->kind)
	{
		case FACT_SIGNAL:
			forget(g, settings, f->at);
			g->settings = settings;
			if (f->other > f->at - settings->window)
			{
				int			was = anew ? es_score(settings, g->n, g->kinds, g->at, f->at) : 0;
				int			is;

				put(g, f->what, f->other);
				forget(g, settings, f->at);
				g->last_at = Max(g->last_at, f->other);
				is = anew ? es_score(settings, g->n, g->kinds, g->at, f->at) : 0;
				if (anew && is >= threshold && is > was)
					g->hot = true;
			}
			if (!anew && f->flag)
				g->hot = true;
			if (f->what == SIGNAL_REPLY)
				g->replied_at = Max(g->replied_at, f->other);
			break;
		case FACT_COOLED:
			g->n = 0;
			g->hot = false;
			break;
		case FACT_MERGED_IN:
			{
				const Signals *m = &merged->signals;

				for (int i = 0; i < m->n; i++)
					put(g, m->kinds[i], m->at[i]);
				forget(g, settings, f->at);
				g->settings = settings;
				g->last_at = Max(g->last_at, m->last_at);
				g->replied_at = Max(g->replied_at, m->replied_at);
				g->hot = g->hot || m->hot || (anew ? es_score(settings, g->n, g->kinds, g->at, f->at) >= threshold : f->flag);
				break;
			}
		case FACT_HOT:
			g->hot = true;
			break;
		default:
			elog(ERROR, "unexpected fact %d", f->kind);
	}
}

/* lead_sent notes what counts against caps; in order of time. */
void
lead_sent(SimLead *l, TimestampTz at, SenderChannel channel, bool rehearsed)
{
	int			i;

	if (l->nsends == l->sends_room)
	{
		l->sends_room = l->sends_room == 0 ? 8 : l->sends_room * 2;
		l->sends = l->sends == NULL ? palloc(sizeof(SenderSend) * l->sends_room) : repalloc(l->sends, sizeof(SenderSend) * l->sends_room);
		l->rehearsed = l->rehearsed == NULL ? palloc(sizeof(bool) * l->sends_room) : repalloc(l->rehearsed, sizeof(bool) * l->sends_room);
	}
	for (i = l->nsends; i > 0 && l->sends[i - 1].at > at; i--)
	{
		l->sends[i] = l->sends[i - 1];
		l->rehearsed[i] = l->rehearsed[i - 1];
	}
	l->sends[i].at = at;
	l->sends[i].channel = channel;
	l->rehearsed[i] = rehearsed;
	l->nsends++;
}

/* ----- leads ------------------------------------------------------------ */

/* The leads that are being read, with their facts in no order. */
typedef struct Load
{
	Simulation *s;
	SimLead    *leads;
	int			n;
	Fact	   *facts;
	int			nfacts;
	int			room;
	TimestampTz *ended_at;		/* in fact; infinity: not yet */
	TimestampTz *suppressed_at; /* evidence of what ended a run: by lead, then reason */
	int16	   *suppressed_by;
	bool	   *closed;			/* it is now */
	bool	   *handed;			/* a ticket of that instant is known */
} Load;

static Fact *
add_fact(Load *load, int lead, FactKind kind, TimestampTz at)
{
	Fact	   *f;

	if (load->nfacts == load->room)
	{
		load->room = load->room == 0 ? 16384 : load->room * 2;
		load->facts = load->facts == NULL ? palloc(sizeof(Fact) * load->room)
			: repalloc_huge(load->facts, sizeof(Fact) * load->room);
	}
	f = &load->facts[load->nfacts++];
	memset(f, 0, sizeof(*f));
	f->at = at;
	f->kind = kind;
	f->lead = lead;
	f->no = load->nfacts;
	return f;
}

static int
by_lead_and_time(const void *a, const void *b)
{
	const Fact *x = a;
	const Fact *y = b;

	if (x->lead != y->lead)
		return x->lead < y->lead ? -1 : 1;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->kind != y->kind ? (int) x->kind - (int) y->kind : x->no - y->no;
}

/* ids_of makes the two arrays that statements begin with: leads and numbers. */
static void
ids_of(const Load *load, Datum *values)
{
	static const Oid types[] = {UUIDOID, INT4OID};
	Columns		c;

	columns_init(&c, lengthof(types), types);
	for (int i = 0; i < load->n; i++)
	{
		columns_add(&c, 0, UUIDPGetDatum(&load->leads[i].id), false);
		columns_add(&c, 1, Int32GetDatum(i), false);
	}
	values[0] = columns_array(&c, 0);
	values[1] = columns_array(&c, 1);
}

static void
note_outcome(SimLead *l, int step, SenderEventType type, int channel)
{
	if (l->outcomes == NULL || step < 0 || step >= l->noutcomes)
		return;
	l->outcomes[step].type = type;
	l->outcomes[step].channel = channel;
}

/* resumed_at tells whether a campaign that was paused went on at an instant:
 * what was skipped then as too late, an operator skipped. */
static bool
resumed_at(const Simulation *s, TimestampTz at)
{
	const Policy *p = policy_at(s, at);

	return p->since == at && p > s->policies && p->campaign.state == CAMPAIGN_ACTIVE &&
		p[-1].campaign.state == CAMPAIGN_PAUSED;
}

/*
 * read_events reads what is left of the sender's own doings: up to the period's
 * beginning the run as it was; after it what operators did to it and what
 * providers answered; of other campaigns what counts against caps.
 */
static void
read_events(Load *load, Datum *ids, TimestampTz lower)
{
	/* in the order of the key, which no other index has */
	static EsPlan plan = {
		"SELECT d.no, e.campaign_id = $2, e.recorded_at, e.type::int4, e.step::int4, e.reason::int4, e.channel::int4, e.next_at, e.mode::int4,"
		" e.sequence_version, coalesce(e.attempt, 0)::int4, e.run_seq IS NOT NULL, e.decided_at"
		" FROM unnest($3, $4) AS d(lead_id, no)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_events x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.recorded_at >= $5 AND x.recorded_at < $6 AND (x.campaign_id = $2 AND x.run_seq IS NOT NULL"
		"    AND (x.recorded_at < $7 OR x.type IN (1, 3, 4, 5, 6, 12, 15, 16) OR x.attempt > 0 OR x.type = 11 AND x.reason = 40)"
		"   OR x.type BETWEEN 20 AND 28"
		"   OR $8 AND x.type IN (10, 13, 15) AND x.recorded_at > $9 AND (x.campaign_id <> $2 OR x.recorded_at < $7)"
		"   OR $10 AND x.type BETWEEN 40 AND 44) ORDER BY x.recorded_at, x.id OFFSET 0) e"
		" ORDER BY d.no, e.recorded_at, e.id",
		10, {UUIDOID, UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID,
		BOOLOID}, .generic = true};
	Simulation *s = load->s;
	Datum		values[10] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id), ids[0], ids[1]};
	int			n;

	values[4] = TimestampTzGetDatum(lower);
	values[5] = TimestampTzGetDatum(Min(s->until, s->now + 1));
	values[6] = TimestampTzGetDatum(s->since);
	values[7] = BoolGetDatum(s->capped);
	values[8] = TimestampTzGetDatum(s->since - s->cap_span);
	values[9] = BoolGetDatum(s->documents || s->whatsapp);
	n = read_rows(&plan, values, NULL);
	for (int i = 0; i < n; i++)
	{
		int			no = int_at(i, 1);
		SimLead    *l = &load->leads[no];
		bool		ours = bool_at(i, 2);
		TimestampTz at = instant_at(i, 3);
		int			type = int_at(i, 4);
		int			step = int_at(i, 5);
		int			reason = int_at(i, 6);
		int			channel = int_at(i, 7);
		TimestampTz next = instant_at(i, 8);
		bool		retry = int_at(i, 11) > 0;
		bool		outcome = type >= EVENT_STEP_SENT && type <= EVENT_STEP_UNKNOWN && type != EVENT_STEP_DEFERRED;

		if (type >= EVENT_DELIVERED)
		{
			Fact	   *f;

			if (type == EVENT_REPLIED && channel == CHANNEL_WHATSAPP)
				add_fact(load, no, FACT_WHATSAPP, at)->other = instant_at(i, 13);
			if (ours)
			{
				f = add_fact(load, no, FACT_REPORTED, at);
				f->what = type;
				f->number = step;
			}
			continue;
		}
		if (s->capped && (type == EVENT_STEP_SENT || type == EVENT_STEP_UNKNOWN || type == EVENT_STEP_SIMULATED) &&
			(!ours || at < s->since))
		{
			Fact	   *f = add_fact(load, no, FACT_SENT, at);

			f->what = channel;
			f->flag = type == EVENT_STEP_SIMULATED;
		}
		/* when a lead became what ends runs is written here, too */
		if (type >= EVENT_SUPPRESSED_HOT && type <= EVENT_SUPPRESSED_CAMPAIGN_ENDED)
		{
			if (reason == REASON_OPTED_OUT)
				add_fact(load, no, FACT_OPTED_OUT, at);
			else if (reason == REASON_LEAD_CLOSED)
			{
				add_fact(load, no, FACT_CLOSED, at);
				load->closed[no] = false;
			}
			else if (reason == REASON_MERGED)
			{
				add_fact(load, no, FACT_MERGED, at);
				l->merged = false;
			}
			else if (reason == REASON_STOPPED && ours)
				add_fact(load, no, FACT_STOPPED, at);
			if (ours)
			{
				load->suppressed_at[no] = at;
				load->suppressed_by[no] = reason;
				l->ended_at = at;
				l->ended_by = reason;
			}
		}
		if (!ours)
			continue;
		if (at >= s->since)
		{
			Fact	   *f;

			switch (type)
			{
				case EVENT_RUN_STARTED:
					f = add_fact(load, no, FACT_BEGUN, at);
					f->other = next;
					f->number = int_at(i, 10);
					break;
				case EVENT_RUN_FAILED:
					add_fact(load, no, FACT_FAILED, at)->number = reason;
					break;
				case EVENT_RUN_RESUMED:
					add_fact(load, no, FACT_RESUMED, at);
					break;
				case EVENT_RUN_RESTARTED:
					add_fact(load, no, FACT_RESTARTED, at)->other = next;
					break;
				case EVENT_RUN_UPGRADED:
					add_fact(load, no, FACT_UPGRADED, at)->number = int_at(i, 10);
					break;
				case EVENT_STEP_RETRIED:
					f = add_fact(load, no, FACT_RETRIED, at);
					f->number = step;
					f->what = channel;
					break;
				case EVENT_STEP_SKIPPED:
					if (!retry && resumed_at(s, at))
						add_fact(load, no, FACT_OVERDUE, at);
					break;
				default:
					if (retry && outcome)
					{
						f = add_fact(load, no, FACT_RETRY_OUTCOME, at);
						f->number = step;
						f->what = type;
						f->channel = channel;
					}
					else if (type == EVENT_STEP_FAILED || type == EVENT_STEP_UNKNOWN)
					{
						Fate	   *fate;

						l->fates = l->fates == NULL ? palloc(sizeof(Fate)) : repalloc(l->fates, sizeof(Fate) * (l->nfates + 1));
						fate = &l->fates[l->nfates++];
						fate->step = step;
						fate->type = type;
						fate->reason = reason;
					}
			}
			continue;
		}

		/* the run as it is when the period begins: the fold of its events */
		l->mode = int_at(i, 9);
		if (!null_at(i, 10))
			l->version = int_at(i, 10);
		if (outcome && !retry)
		{
			note_outcome(l, step, type, channel);
			l->cursor = step + 1;
			l->sent_steps += type == EVENT_STEP_SENT;
			l->last_outcome_at = at;
			l->deferrals = 0;
			l->next_at = l->first_due_at = next;
		}
		else if (outcome)
		{
			note_outcome(l, step, type, channel);
			l->sent_steps += type == EVENT_STEP_SENT;
		}
		else if (type == EVENT_STEP_DEFERRED)
		{
			l->deferrals += reason == REASON_RISING_INTENT;
			l->next_at = next;
			if (l->first_due_at == 0)
				l->first_due_at = next;
		}
		else if (type == EVENT_RUN_STARTED || type == EVENT_RUN_RESUMED || type == EVENT_RUN_UPGRADED)
		{
			l->state = RUN_OPEN;
			l->next_at = l->first_due_at = next;
		}
		else if (type == EVENT_RUN_RESTARTED)
		{
			l->state = RUN_OPEN;
			l->cursor = l->deferrals = 0;
			l->next_at = l->first_due_at = next;
			l->last_outcome_at = at;
			if (l->outcomes != NULL)
				memset(l->outcomes, 0, sizeof(Outcome) * l->noutcomes);
		}
		else if (type == EVENT_RUN_DONE)
			l->state = RUN_DONE;
		else if (type == EVENT_RUN_FAILED)
			l->state = RUN_FAILED;
		else if (type != EVENT_STEP_RETRIED)
			l->state = RUN_SUPPRESSED;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* A lead that another one was merged into, noted while rows are read. */
typedef struct Pending
{
	int			lead;
	pg_uuid_t	duplicate;
	TimestampTz at;
	bool		hot;
} Pending;

static EsPlan signals_plan = {
	"SELECT d.no, g.recorded_at, g.occurred_at, g.kind::int4, g.hot, CASE WHEN g.kind = 31 THEN g.reference::uuid END"
	" FROM unnest($2, $3) AS d(lead_id, no)"
	" CROSS JOIN LATERAL (SELECT * FROM entrestate.intent_signals x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
	"  AND x.recorded_at >= $4 AND x.recorded_at < $5 AND (x.counted OR x.kind >= 30) OFFSET 0) g"
	" ORDER BY d.no, g.recorded_at, g.signal_no",
5, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, .generic = true};

/* take_signals makes facts of the rows of signals_plan; returns the merges. */
static Pending *
take_signals(Load *load, int n, int *npending, bool *latched)
{
	Pending    *pending = NULL;

	*npending = 0;
	for (int i = 0; i < n; i++)
	{
		int			no = int_at(i, 1);
		TimestampTz at = instant_at(i, 2);
		int			kind = int_at(i, 4);
		bool		hot = bool_at(i, 5);
		bool		isnull;

		if (latched != NULL)
			latched[no] |= hot;
		if (kind == SIGNAL_COOLED)
			add_fact(load, no, FACT_COOLED, at);
		else if (kind == SIGNAL_MERGED)
		{
			Pending    *p;

			pending = pending == NULL ? palloc(sizeof(Pending)) : repalloc(pending, sizeof(Pending) * (*npending + 1));
			p = &pending[(*npending)++];
			p->lead = no;
			p->duplicate = *DatumGetUUIDP(es_spi_get(i, 6, &isnull));
			p->at = at;
			p->hot = hot;
		}
		else
		{
			Fact	   *f = add_fact(load, no, FACT_SIGNAL, at);

			f->what = kind;
			f->other = instant_at(i, 3);
			f->flag = hot;
		}
	}
	SPI_freetuptable(SPI_tuptable);
	return pending;
}

static Datum
array_of_one(Datum value, Oid type)
{
	if (type == UUIDOID)
		return PointerGetDatum(construct_array(&value, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	return PointerGetDatum(construct_array(&value, 1, INT4OID, 4, true, TYPALIGN_INT));
}

/*
 * read_merged makes a lead as it was when it was merged away: its signals, and
 * those of whom were merged into it before, and what counted against its caps.
 */
static void
read_merged(Simulation *s, const pg_uuid_t *lead, TimestampTz upto, Merged *m)
{
	static EsPlan sends = {
		"SELECT e.recorded_at, e.channel::int4 FROM entrestate.sender_events e WHERE e.tenant_id = $1 AND e.lead_id = $2"
		" AND e.recorded_at > $3 AND e.recorded_at < $4 AND e.type IN (10, 15) ORDER BY 1",
	4, {UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, .generic = true};
	Datum		values[5] = {UUIDPGetDatum(&s->tenant_id), array_of_one(UUIDPGetDatum(lead), UUIDOID),
		array_of_one(Int32GetDatum(0), INT4OID), TimestampTzGetDatum(DT_NOBEGIN), TimestampTzGetDatum(upto)};
	Load		load = {.s = s};
	Pending    *pending;
	int			npending;
	Merged	   *inner;
	int			n;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	memset(m, 0, sizeof(*m));
	pending = take_signals(&load, read_rows(&signals_plan, values, NULL), &npending, NULL);
	inner = palloc0(sizeof(Merged) * Max(npending, 1));
	for (int i = 0; i < npending; i++)
	{
		Fact	   *f = add_fact(&load, 0, FACT_MERGED_IN, pending[i].at);

		f->number = i;
		f->flag = pending[i].hot;
		read_merged(s, &pending[i].duplicate, pending[i].at, &inner[i]);
	}
	if (load.nfacts > 0)
		qsort(load.facts, load.nfacts, sizeof(Fact), by_lead_and_time);
	for (int i = 0; i < load.nfacts; i++)
		signals_take(s, &m->signals, &load.facts[i], &inner[load.facts[i].number], PG_INT32_MAX);
	if (!s->capped)
		return;
	values[1] = UUIDPGetDatum(lead);
	values[2] = TimestampTzGetDatum(s->since - s->cap_span);
	values[3] = TimestampTzGetDatum(Min(s->until, s->now + 1));
	n = read_rows(&sends, values, NULL);
	m->sends = palloc(sizeof(SenderSend) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		m->sends[i].at = instant_at(i, 1);
		m->sends[i].channel = int_at(i, 2);
	}
	m->nsends = n;
	SPI_freetuptable(SPI_tuptable);
	/* those of whom were merged into it before come with it */
	for (int i = 0; i < npending; i++)
	{
		m->sends = repalloc(m->sends, sizeof(SenderSend) * Max(m->nsends + inner[i].nsends, 1));
		memcpy(m->sends + m->nsends, inner[i].sends, sizeof(SenderSend) * inner[i].nsends);
		m->nsends += inner[i].nsends;
	}
}

static void
read_signals(Load *load, Datum *ids, TimestampTz lower, const TimestampTz *hot_at)
{
	Simulation *s = load->s;
	Datum		values[5] = {UUIDPGetDatum(&s->tenant_id), ids[0], ids[1], TimestampTzGetDatum(lower),
	TimestampTzGetDatum(Min(s->until, s->now + 1))};
	bool	   *latched = palloc0(sizeof(bool) * load->n);
	Pending    *pending;
	int			npending;

	pending = take_signals(load, read_rows(&signals_plan, values, NULL), &npending, latched);
	for (int i = 0; i < npending; i++)
	{
		SimLead    *l = &load->leads[pending[i].lead];
		Fact	   *f = add_fact(load, pending[i].lead, FACT_MERGED_IN, pending[i].at);

		l->merges = l->merges == NULL ? palloc(sizeof(Merged)) : repalloc(l->merges, sizeof(Merged) * (l->nmerges + 1));
		f->number = l->nmerges;
		f->flag = pending[i].hot;
		read_merged(s, &pending[i].duplicate, pending[i].at, &l->merges[l->nmerges]);
		l->merges[l->nmerges++].at = pending[i].at;
	}
	/* of a lead whose signals are not kept any more, its row knows */
	for (int i = 0; i < load->n; i++)
		if (hot_at[i] != 0 && !latched[i] && !s->overrides.scores && !s->overrides.hot_threshold)
			add_fact(load, i, FACT_HOT, hot_at[i]);
	pfree(latched);
}

/* merged_in_after is when a lead was next merged into this one; otherwise none. */
static TimestampTz
merged_in_after(const SimLead *l, TimestampTz at, TimestampTz none)
{
	for (int i = 0; i < l->nmerges; i++)
		if (l->merges[i].at > at)
			return l->merges[i].at;
	return none;
}

static void
read_tickets(Load *load, Datum *ids)
{
	static EsPlan plan = {
		"SELECT d.no, h.opened_at, h.resolved_at, h.opened_by = 'system' AND h.reason IN ('hot', 'replied'), h.reason = 'hot',"
		" h.campaign_id IS NOT DISTINCT FROM $2 FROM unnest($3, $4) AS d(lead_id, no)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.handoff_tickets x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.opened_at < $5 OFFSET 0) h ORDER BY d.no, h.opened_at",
	5, {UUIDOID, UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZOID}, .generic = true};
	Simulation *s = load->s;
	Datum		values[5] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id), ids[0], ids[1],
	TimestampTzGetDatum(Min(s->until, s->now + 1))};
	int			n = read_rows(&plan, values, NULL);

	for (int i = 0; i < n; i++)
	{
		int			no = int_at(i, 1);
		const SimLead *l = &load->leads[no];
		TimestampTz at = instant_at(i, 2);
		TimestampTz resolved = instant_at(i, 3);
		TicketKind	kind = !bool_at(i, 4) ? TICKET_STANDS : bool_at(i, 6) ? TICKET_OWN : bool_at(i, 5) ? TICKET_OTHER_HOT : TICKET_STANDS;

		if (kind == TICKET_OWN && at < s->since)
			kind = TICKET_STANDS;
		/* one that did not end the run then came with the lead that it was opened for, by a merge */
		if (kind != TICKET_OWN && at < load->ended_at[no] && (resolved == 0 || resolved > l->created_at))
		{
			at = load->suppressed_by[no] == REASON_HANDOFF ? load->suppressed_at[no] : merged_in_after(l, at, DT_NOEND);
			kind = TICKET_STANDS;
		}
		if (at == DT_NOEND)
			continue;
		load->handed[no] |= load->suppressed_by[no] == REASON_HANDOFF && at == load->suppressed_at[no];
		add_fact(load, no, FACT_TICKET, at)->what = kind;
		if (resolved != 0)
			add_fact(load, no, FACT_RESOLVED, Max(resolved, at))->what = kind;
	}
	SPI_freetuptable(SPI_tuptable);
	/* a ticket went on with a merge to another lead, and is known by what it ended */
	for (int i = 0; i < load->n; i++)
		if (load->suppressed_by[i] == REASON_HANDOFF && !load->handed[i])
			add_fact(load, i, FACT_TICKET, load->suppressed_at[i])->what = TICKET_STANDS;
}

/*
 * read_contacts reads since when a lead can be reached, cannot any more, or is
 * not to be.  The addresses are those of now; one that was there before the
 * primary one stands for it.  Those of a lead that was merged away are the
 * other one's now: the ones that came when it did are taken for its own.
 */
static void
read_contacts(Load *load, Datum *ids, Columns *holders, Columns *others)
{
#define CONTACTS(of, which) \
		"SELECT d.no, k.no, a.first_at, CASE WHEN a.unusable THEN coalesce(p.bounced_at, p.first_at, a.first_at) END, p.email_at, p.sms_at, p.whatsapp_at" \
		" FROM unnest($2, $3, $4) AS d(lead_id, no, since) CROSS JOIN unnest($5, $6) AS k(no, kind)" \
		" CROSS JOIN LATERAL (SELECT min(x.created_at) AS first_at, max(x.address_norm) FILTER (WHERE " which ") AS address," \
		"   bool_or(x.unusable_reason IS NOT NULL) FILTER (WHERE " which ") AS unusable FROM " of " OFFSET 0) a" \
		" CROSS JOIN LATERAL (SELECT min(x.created_at) AS first_at, min(x.created_at) FILTER (WHERE x.reason = 'hard_bounce') AS bounced_at," \
		"   min(x.created_at) FILTER (WHERE x.channel = 'email') AS email_at, min(x.created_at) FILTER (WHERE x.channel = 'sms') AS sms_at," \
		"   min(x.created_at) FILTER (WHERE x.channel = 'whatsapp') AS whatsapp_at" \
		"  FROM entrestate.suppressions x WHERE x.tenant_id = $1 AND x.address_norm = a.address" \
		"  AND x.channel = ANY (CASE k.no WHEN 0 THEN '{email}'::text[] ELSE '{sms,whatsapp}'::text[] END) OFFSET 0) p" \
		" WHERE a.first_at IS NOT NULL", \
	6, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID}, .generic = true
#define OF_LEAD "entrestate.lead_contacts x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id AND x.kind = k.kind"
	static EsPlan plan = {CONTACTS(OF_LEAD, "x.is_primary")};
	static EsPlan merged = {
		CONTACTS("(SELECT x.* FROM " OF_LEAD " ORDER BY greatest(x.created_at - d.since, d.since - x.created_at), x.address_norm LIMIT 1) x", "true")};
#undef OF_LEAD
#undef CONTACTS
	static EsPlan consents = {
		"SELECT d.no, h.code::int4, c.recorded_at, c.status = 'granted' FROM unnest($2, $3) AS d(lead_id, no)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.lead_consents x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id OFFSET 0) c"
		" JOIN entrestate.sender_channels() h ON h.name = c.channel ORDER BY d.no, c.recorded_at",
	3, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID}, .generic = true};
	static const Oid kind_types[] = {INT4OID, TEXTOID};
	Columns		kinds;
	Datum		values[6] = {UUIDPGetDatum(&load->s->tenant_id)};
	int			n;

	columns_init(&kinds, lengthof(kind_types), kind_types);
	for (int k = 0; k < 2; k++)
		if (load->s->kinds[k])
		{
			columns_add(&kinds, 0, Int32GetDatum(k), false);
			columns_add(&kinds, 1, CStringGetTextDatum(k == 0 ? "email" : "phone"), false);
		}
	values[4] = columns_array(&kinds, 0);
	values[5] = columns_array(&kinds, 1);
	for (int pass = 0; pass < 2; pass++)
	{
		Columns    *who = pass == 0 ? holders : others;

		if (columns_rows(who) == 0)
			continue;
		for (int k = 0; k < 3; k++)
			values[k + 1] = columns_array(who, k);
		n = read_rows(pass == 0 ? &plan : &merged, values, NULL);
		for (int i = 0; i < n; i++)
		{
			int			no = int_at(i, 1);

			add_fact(load, no, FACT_CONTACT, instant_at(i, 3))->what = int_at(i, 2);
			if (!null_at(i, 4))
				add_fact(load, no, FACT_UNUSABLE, instant_at(i, 4))->what = int_at(i, 2);
			for (int k = CHANNEL_EMAIL; k <= CHANNEL_WHATSAPP; k++)
				if (!null_at(i, 4 + k))
					add_fact(load, no, FACT_SUPPRESSED, instant_at(i, 4 + k))->what = k;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	values[1] = ids[0];
	values[2] = ids[1];
	n = read_rows(&consents, values, NULL);
	for (int i = 0; i < n; i++)
	{
		Fact	   *f = add_fact(load, int_at(i, 1), FACT_CONSENT, instant_at(i, 3));

		f->what = int_at(i, 2);
		f->flag = bool_at(i, 4);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* read_documents reads what guards and texts know of leads, as sender_document()
 * has it; what changes with the simulation is put in there. */
static void
read_documents(Load *load, Datum *ids)
{
	static EsPlan plan = {
		"SELECT d.no, jsonb_build_object('full_name', l.full_name, 'first_name', substring(l.full_name, '^\\s*(\\S+)'), 'company', l.company,"
		" 'email', e.address, 'phone', p.address, 'status', l.status, 'grade', coalesce(l.grade_override, l.grade), 'owner', l.owner_id,"
		" 'tags', ARRAY(SELECT x.tag FROM entrestate.lead_tags x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id ORDER BY x.tag),"
		" 'custom', l.custom, 'time_zone', coalesce(l.time_zone, $5), 'created_at', extract(epoch FROM l.created_at)),"
		" CASE WHEN a.lead_id IS NOT NULL THEN jsonb_build_object('form', a.form, 'landing_page', a.landing_page, 'referrer', a.referrer,"
		"  'utm', a.utm, 'click_ids', a.click_ids, 'attributed_at', extract(epoch FROM a.attributed_at)) END"
		" FROM unnest($2, $3) AS d(lead_id, no)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id OFFSET 0) l"
		" LEFT JOIN LATERAL (SELECT x.address FROM entrestate.lead_contacts x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.kind = 'email' AND x.is_primary OFFSET 0) e ON true"
		" LEFT JOIN LATERAL (SELECT x.address FROM entrestate.lead_contacts x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.kind = 'phone' AND x.is_primary OFFSET 0) p ON true"
		" LEFT JOIN LATERAL (SELECT * FROM entrestate.lead_attributions x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.campaign_id = $4 OFFSET 0) a ON true",
	5, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, UUIDOID, TEXTOID}, .generic = true};
	Datum		values[5] = {UUIDPGetDatum(&load->s->tenant_id), ids[0], ids[1], UUIDPGetDatum(&load->s->campaign_id),
	CStringGetTextDatum(load->s->tenant.zone)};
	int			n = read_rows(&plan, values, NULL);

	for (int i = 0; i < n; i++)
	{
		SimLead    *l = &load->leads[int_at(i, 1)];

		l->person = jsonb_at(i, 2);
		l->attribution = jsonb_at(i, 3);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* read_thresholds reads the lowest hot threshold of each lead's other campaigns,
 * as they are now. */
static void
read_thresholds(Load *load, Datum *ids)
{
	static EsPlan plan = {
		"SELECT d.no, min(k.hot_threshold) FROM unnest($2, $3) AS d(lead_id, no)"
		" CROSS JOIN LATERAL (SELECT x.campaign_id FROM entrestate.lead_attributions x WHERE x.tenant_id = $1 AND x.lead_id = d.lead_id"
		"  AND x.campaign_id <> $4 OFFSET 0) a"
		" CROSS JOIN LATERAL (SELECT x.hot_threshold FROM entrestate.campaigns x WHERE x.tenant_id = $1 AND x.campaign_id = a.campaign_id"
		"  AND x.hot_threshold IS NOT NULL AND x.status IN ('draft', 'active', 'paused') OFFSET 0) k GROUP BY 1",
	4, {UUIDOID, UUIDARRAYOID, INT4ARRAYOID, UUIDOID}, .generic = true};
	Datum		values[4] = {UUIDPGetDatum(&load->s->tenant_id), ids[0], ids[1], UUIDPGetDatum(&load->s->campaign_id)};
	int			n = read_rows(&plan, values, NULL);

	for (int i = 0; i < n; i++)
		load->leads[int_at(i, 1)].other_threshold = int_at(i, 2);
	SPI_freetuptable(SPI_tuptable);
}

typedef struct Closing
{
	pg_uuid_t	lead;
	TimestampTz at;
} Closing;

/*
 * closed_at says when a lead that is booked or lost became so, by the feed; the
 * feed is read once, when somebody asks first.  0: before the period.
 */
static TimestampTz
closed_at(Simulation *s, const pg_uuid_t *lead)
{
	static EsPlan plan = {
		"SELECT a.entity_id::uuid, min(a.recorded_at) FROM entrestate.activity_events a WHERE a.tenant_id = $1 AND a.recorded_at >= $2"
		" AND a.recorded_at < $3 AND a.type = 'lead.status.updated' AND a.payload ->> 'to' IN ('booked', 'lost') GROUP BY 1",
	3, {UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, .generic = true};
	Closing    *c;

	if (s->closings == NULL)
	{
		HASHCTL		ctl = {.keysize = UUID_LEN, .entrysize = sizeof(Closing), .hcxt = s->context};
		Datum		values[3] = {UUIDPGetDatum(&s->tenant_id), TimestampTzGetDatum(s->since), TimestampTzGetDatum(s->now + 1)};
		int			n = read_rows(&plan, values, NULL);
		bool		isnull;

		s->closings = hash_create("leads that were closed", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		for (int i = 0; i < n; i++)
		{
			c = hash_search(s->closings, DatumGetUUIDP(es_spi_get(i, 1, &isnull)), HASH_ENTER, NULL);
			c->at = instant_at(i, 2);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	c = hash_search(s->closings, lead, HASH_FIND, NULL);
	return c == NULL ? 0 : c->at;
}

/* merged_away_at says when a lead was merged away, by the mark on the signals of
 * one of those that it has been since. */
static TimestampTz
merged_away_at(Simulation *s, const pg_uuid_t *lead, const pg_uuid_t *into)
{
	static EsPlan plan = {
		"SELECT g.recorded_at FROM (SELECT $2 AS lead_id UNION ALL SELECT x.lead_id FROM entrestate.leads x"
		"  WHERE x.merged_into = $2 AND x.tenant_id = $1) o"
		" CROSS JOIN LATERAL (SELECT x.recorded_at FROM entrestate.intent_signals x WHERE x.tenant_id = $1 AND x.lead_id = o.lead_id"
		"  AND x.kind = 31 AND x.reference = $3 OFFSET 0) g ORDER BY 1 LIMIT 1",
	3, {UUIDOID, UUIDOID, TEXTOID}, .generic = true};
	Datum		values[3] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(into),
	CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(lead))))};
	TimestampTz at = DT_NOBEGIN;

	if (read_rows(&plan, values, NULL) > 0)
		at = instant_at(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return at;
}

/* made_at is when a lead was made, by its id: created_at is that of the oldest of
 * those that were merged into it. */
static TimestampTz
made_at(const pg_uuid_t *lead)
{
	int64		ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | lead->data[i];
	return (ms - (int64) DAYS_1970 * SECS_PER_DAY * 1000) * 1000;
}

/*
 * history_load reads the next leads, by their ids, that have or had a run in the
 * period, with all that happened to them until its end.  The result lives in the
 * current memory context.
 */
SimLead *
history_load(Simulation *s, const pg_uuid_t *after, int most, int *n)
{
	static EsPlan page = {
		"SELECT r.lead_id, r.created_at, r.version, r.mode, l.time_zone, l.merged_into, l.status IN ('booked', 'lost'), l.opted_out_at,"
		" l.complained_at, l.erasure_requested_at, l.whatsapp_at, l.hot_at, l.created_at, r.ended_at"
		" FROM (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = $1 AND x.campaign_id = $2 AND x.lead_id > $3"
		"  AND x.created_at < $4 AND (x.ended_at IS NULL OR x.updated_at >= $5)"
		"  ORDER BY x.tenant_id, x.campaign_id, x.lead_id LIMIT $6) r"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = $1 AND x.lead_id = r.lead_id OFFSET 0) l"
		" ORDER BY r.lead_id",
		6, {UUIDOID, UUIDOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}, .generic = true};
	static const Oid holder_types[] = {UUIDOID, INT4OID, TIMESTAMPTZOID};
	Datum		values[6] = {UUIDPGetDatum(&s->tenant_id), UUIDPGetDatum(&s->campaign_id), UUIDPGetDatum(after),
		TimestampTzGetDatum(Min(s->until, s->now + 1)), TimestampTzGetDatum(s->since), Int32GetDatum(most)};
	Load		load = {.s = s};
	TimestampTz lower_events = s->capped ? s->since - s->cap_span : s->since;
	TimestampTz lower_signals = DT_NOEND;
	TimestampTz *hot_at;
	TimestampTz (*restrained)[3];
	pg_uuid_t  *into;
	bool	   *merged;
	Columns		holders;		/* of their addresses, and when those came */
	Columns		others;			/* that hold those of who was merged into them */
	Datum		ids[2];

	load.n = *n = read_rows(&page, values, NULL);
	if (load.n == 0)
	{
		SPI_freetuptable(SPI_tuptable);
		return NULL;
	}
	load.leads = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(SimLead) * load.n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	load.suppressed_at = palloc0(sizeof(TimestampTz) * load.n);
	load.suppressed_by = palloc0(sizeof(int16) * load.n);
	load.closed = palloc0(sizeof(bool) * load.n);
	load.handed = palloc0(sizeof(bool) * load.n);
	merged = palloc0(sizeof(bool) * load.n);
	hot_at = palloc0(sizeof(TimestampTz) * load.n);
	load.ended_at = palloc0(sizeof(TimestampTz) * load.n);
	restrained = palloc0(sizeof(TimestampTz[3]) * load.n);
	into = palloc0(sizeof(pg_uuid_t) * load.n);
	columns_init(&holders, lengthof(holder_types), holder_types);
	columns_init(&others, lengthof(holder_types), holder_types);
	for (int i = 0; i < load.n; i++)
	{
		SimLead    *l = &load.leads[i];
		bool		isnull;

		l->id = *DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		l->created_at = instant_at(i, 2);
		l->version = int_at(i, 3);
		l->mode = sender_mode(text_at(i, 4));
		l->zone = text_at(i, 5);
		merged[i] = !null_at(i, 6);
		into[i] = merged[i] ? *DatumGetUUIDP(es_spi_get(i, 6, &isnull)) : l->id;
		l->merged = merged[i];
		load.closed[i] = bool_at(i, 7);
		for (int k = 0; k < 3; k++)
			restrained[i][k] = instant_at(i, 8 + k);
		load.ended_at[i] = null_at(i, 14) ? DT_NOEND : instant_at(i, 14);
		if (!null_at(i, 11))
			add_fact(&load, i, FACT_WHATSAPP, instant_at(i, 11))->other = instant_at(i, 11);
		hot_at[i] = instant_at(i, 12);
		l->other_threshold = PG_INT32_MAX;
		lower_signals = Min(lower_signals, instant_at(i, 13));
		lower_events = Min(lower_events, l->created_at);
		columns_add(merged[i] ? &others : &holders, 0, UUIDPGetDatum(&into[i]), false);
		columns_add(merged[i] ? &others : &holders, 1, Int32GetDatum(i), false);
		columns_add(merged[i] ? &others : &holders, 2, TimestampTzGetDatum(made_at(&l->id)), false);
	}
	SPI_freetuptable(SPI_tuptable);
	if (s->documents)
	{
		int			most_steps = 0;

		for (int i = 0; i < s->nversions; i++)
			most_steps = Max(most_steps, s->versions[i].nsteps);
		for (int i = 0; i < load.n; i++)
		{
			load.leads[i].outcomes = palloc0(sizeof(Outcome) * most_steps);
			load.leads[i].noutcomes = most_steps;
		}
	}
	ids_of(&load, ids);
	read_events(&load, ids, lower_events);
	read_signals(&load, ids, lower_signals, hot_at);
	read_tickets(&load, ids);
	read_contacts(&load, ids, &holders, &others);
	if (s->documents)
		read_documents(&load, ids);
	if (s->other_thresholds)
		read_thresholds(&load, ids);
	for (int i = 0; i < load.n; i++)
	{
		SimLead    *l = &load.leads[i];

		/* opted out, complained, erased: what would have ended the run and did not came with a merge */
		for (int k = 0; k < 3; k++)
		{
			TimestampTz at = restrained[i][k];

			if (at == 0)
				continue;
			if (at < load.ended_at[i])
				at = load.suppressed_by[i] == REASON_OPTED_OUT + k ? load.suppressed_at[i] : merged_in_after(l, at, DT_NOEND);
			if (at != DT_NOEND)
				add_fact(&load, i, FACT_OPTED_OUT + k, at);
		}
		if (load.closed[i])
		{
			TimestampTz at = closed_at(s, &l->id);

			add_fact(&load, i, FACT_CLOSED, at != 0 ? at : merged_in_after(l, s->since, 0));
		}
		if (l->merged)
			add_fact(&load, i, FACT_MERGED, merged_away_at(s, &l->id, &into[i]));
		l->merged = false;
	}
	if (load.nfacts > 0)
		qsort(load.facts, load.nfacts, sizeof(Fact), by_lead_and_time);
	for (int i = 0; i < load.nfacts; i++)
	{
		SimLead    *l = &load.leads[load.facts[i].lead];

		if (l->nfacts++ == 0)
			l->facts = &load.facts[i];
	}
	return load.leads;
}
