/*
 * operate.c
 *		What an operator does to runs where a decision must be asked, or its
 *		outcome written as the processor writes it.
 *
 * Called by the functions of operate.sql, which check who asks and take the
 * locks: the tenant, its channels and the campaign, then the leads.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "sender/batch.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sender_skip_overdue);

/*
 * sender_skip_overdue(tenant, campaign, leads) gives the overdue step of each of
 * these leads' runs the outcome skipped (too_late), and returns how many.  A run
 * that gates 3 to 7 end anyway ends for that; a rehearsal that waits for its
 * campaign to go live goes on waiting.
 */
Datum
sender_skip_overdue(PG_FUNCTION_ARGS)
{
	static EsPlan overdue = {
		"SELECT r.lead_id, r.version, r.cursor::int4, r.next_at FROM unnest($3) AS u(id)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.sender_runs x WHERE x.tenant_id = $1 AND x.campaign_id = $2"
		"  AND x.lead_id = u.id OFFSET 0) r"
		" WHERE r.status IN ('pending', 'running') AND r.next_at <= $4 AND NOT r.awaiting_go_live"
		" ORDER BY r.next_at, r.lead_id",
	4, {UUIDOID, UUIDOID, UUIDARRAYOID, TIMESTAMPTZOID}, .generic = true};
	pg_uuid_t	id = *PG_GETARG_UUID_P(0);
	pg_uuid_t	campaign_id = *PG_GETARG_UUID_P(1);
	Datum		values[4] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	Tenant		tenant;
	Campaign   *campaigns;
	int			ncampaigns;
	Queue	   *queues;
	int			nqueues;
	Run		   *runs;
	int			nruns = 0;
	int			n;
	int			skipped = 0;
	Batch		b;

	SPI_connect();
	if (!load_tenant(&id, es_now(), false, &tenant))
		elog(ERROR, "there is no such tenant");
	batch_init(&b, &tenant, es_now());
	campaigns = load_campaigns(&tenant, &campaign_id, false, &ncampaigns);
	queues = load_queues(&tenant, campaigns, ncampaigns, NULL, &nqueues);
	values[3] = TimestampTzGetDatum(b.now);
	n = es_spi_run(&overdue, SPI_OK_SELECT, values, NULL);
	runs = palloc0(sizeof(Run) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Run		   *r = &runs[nruns];
		bool		isnull;

		for (int k = 0; k < nqueues; k++)
			if (queues[k].version == int_at(i, 2) && queues[k].step == int_at(i, 3))
				r->queue = &queues[k];
		if (r->queue == NULL)
			continue;
		r->campaign = r->queue->campaign;
		r->lead = *DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		r->due_at = instant_at(i, 4);
		r->variant = -1;
		r->locked = true;
		nruns++;
	}
	load_runs(&tenant, queues, nqueues, b.now, runs, nruns);
	for (int i = 0; i < nruns; i++)
	{
		Run		   *r = &runs[i];
		SenderFacts f;
		SenderDecision d;

		if (r->stale)
			continue;
		f = facts_of(&tenant, r->queue, r, b.now);
		if (!sender_decide_end(&f.lead, f.cursor, f.brake_index, &d))
		{
			d.action = f.awaiting_go_live ? ACTION_HOLD : ACTION_SKIP;
			d.reason = f.awaiting_go_live ? REASON_AWAITING_GO_LIVE : REASON_TOO_LATE;
		}
		batch_apply(&b, r, d);
		if (d.action == ACTION_SKIP)
			skipped++;
	}
	batch_write(&b);
	batch_open_tickets(&b);
	SPI_finish();
	PG_RETURN_INT32(skipped);
}

/* load_step locks and reads a tenant and a campaign as a batch does, and returns what
 * waits for the one step that is asked for. */
static Queue *
load_step(const pg_uuid_t *tenant_id, const DueEntry *asked, Tenant *tenant, Campaign **campaigns, int *ncampaigns)
{
	Queue	   *queue;
	int			nqueues;

	if (!load_tenant(tenant_id, es_now(), true, tenant))
		elog(ERROR, "there is no such tenant");
	*campaigns = load_campaigns(tenant, &asked->campaign, true, ncampaigns);
	queue = load_queues(tenant, *campaigns, *ncampaigns, asked, &nqueues);
	if (nqueues != 1 || queue->channel == CHANNEL_NONE)
		elog(ERROR, "there is no step %d", asked->step);
	return queue;
}

PG_FUNCTION_INFO_V1(sender_retry_step);

/*
 * sender_retry_step(tenant, campaign, lead, version, step, attempt, sent_before) asks the
 * gates, with that step's index, for another attempt of a step, and carries it
 * out; anything but admitting or simulating it is refused with its reason.
 * Returns sent, ready or simulated.
 */
Datum
sender_retry_step(PG_FUNCTION_ARGS)
{
	static EsPlan update = {
		"UPDATE entrestate.sender_runs SET run_seq = $4, sent_steps = $5, mode = $6, updated_at = entrestate.clock_now()"
		" WHERE tenant_id = $1 AND campaign_id = $2 AND lead_id = $3",
	6, {UUIDOID, UUIDOID, UUIDOID, INT4OID, INT2OID, TEXTOID}};
	static EsPlan next_at = {
		"SELECT next_at FROM entrestate.sender_runs WHERE tenant_id = $1 AND campaign_id = $2 AND lead_id = $3",
	3, {UUIDOID, UUIDOID, UUIDOID}};
	pg_uuid_t	id = *PG_GETARG_UUID_P(0);
	DueEntry	asked = {.campaign = *PG_GETARG_UUID_P(1), .step = PG_GETARG_INT32(4)};
	Datum		values[6] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	Tenant		tenant;
	Campaign   *campaigns;
	int			ncampaigns;
	Queue	   *queue;
	Run			run = {.variant = -1, .locked = true};
	SenderFacts f;
	SenderDecision d;
	TimestampTz next;
	const char *became;
	Batch		b;

	asked.version = PG_GETARG_INT32(3);
	sender_require_read_committed("a retry");
	SPI_connect();
	queue = load_step(&id, &asked, &tenant, &campaigns, &ncampaigns);
	batch_init(&b, &tenant, es_now());
	run.queue = queue;
	run.campaign = queue->campaign;
	run.lead = *PG_GETARG_UUID_P(2);
	load_runs(&tenant, queue, 1, b.now, &run, 1);
	es_spi_run(&next_at, SPI_OK_SELECT, values, NULL);
	next = instant_at(0, 1);

	/* that step's index; when it was first due and put off is long past */
	run.cursor = asked.step;
	run.first_due_at = 0;
	run.deferrals = 0;
	f = facts_of(&tenant, queue, &run, b.now);
	d = sender_decide(&f);
	if (d.action != ACTION_ADMIT && d.action != ACTION_SIMULATE)
		ereport(ERROR,
				(errcode(es_errcode(ES_WRONG_STATE)),
				 errmsg("the step cannot be retried: %s", sender_reason_word(d.reason)),
				 errhint("It passes the gates like any other; sender_why() says more.")));
	became = batch_retry(&b, &run, d, PG_GETARG_INT32(5), next == 0 ? NULL : &next, PG_GETARG_BOOL(6));
	batch_write(&b);
	values[3] = Int32GetDatum(run.run_seq);
	values[4] = Int16GetDatum(run.sent_steps);
	values[5] = CStringGetTextDatum(sender_mode_word(run.mode));
	es_spi_run(&update, SPI_OK_UPDATE, values, NULL);
	if (d.action == ACTION_ADMIT && run.admitted)
	{
		sender_use_up(&tenant, queue, &run);
		sender_write_usage(&tenant, campaigns, ncampaigns);
	}
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(became));
}

PG_FUNCTION_INFO_V1(sender_test_gates);

/*
 * sender_test_gates(tenant, campaign, version, step, address, suppressed, unapproved,
 * missing, free_text) asks the gates whether a step's message may go to a member:
 * the gates of the tenant, the campaign, the channel and the budgets, and the 10th
 * with the member in the lead's place.  What tells of a lead or of a run's time
 * does not match.  Takes the send from the budgets, unless it is a rehearsal;
 * anything but admitting or simulating it is refused with its reason.  Returns
 * sent, ready or simulated.
 */
Datum
sender_test_gates(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = *PG_GETARG_UUID_P(0);
	DueEntry	asked = {.campaign = *PG_GETARG_UUID_P(1), .version = PG_GETARG_INT32(2), .step = PG_GETARG_INT32(3)};
	const char *address = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));
	const char *missing = PG_ARGISNULL(7) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(7));
	Tenant		tenant;
	Campaign   *campaigns;
	int			ncampaigns;
	Queue	   *queue;
	Run			run = {.variant = -1};
	SenderFacts f;
	SenderDecision d;
	const char *became;

	sender_require_read_committed("a test send");
	SPI_connect();
	queue = load_step(&id, &asked, &tenant, &campaigns, &ncampaigns);
	if (tenant.domains != NULL && queue->channel == CHANNEL_EMAIL && address != NULL)
		run.domain = domain_of(&tenant, strrchr(address, '@') + 1);

	f = facts_of(&tenant, queue, NULL, es_now());
	/* people test before the campaign begins */
	if (f.campaign == CAMPAIGN_DRAFT)
		f.campaign = CAMPAIGN_ACTIVE;
	f.sender_enabled = true;
	f.contact = address == NULL ? CONTACT_MISSING : PG_GETARG_BOOL(5) ? CONTACT_SUPPRESSED : CONTACT_USABLE;
	/* a text may be tried before it is approved, and without the others of its
	 * step */
	f.unapproved = PG_GETARG_BOOL(6);
	f.missing_field = missing != NULL;
	/* a member never wrote to the tenant */
	f.whatsapp_closed = PG_GETARG_BOOL(8);
	if (f.budget == REASON_NONE && run.domain != NULL && run.domain->left <= 0)
		f.budget = REASON_RATE_LIMITED;
	d = sender_decide(&f);
	if (d.action != ACTION_ADMIT && d.action != ACTION_SIMULATE)
		ereport(ERROR,
				(errcode(es_errcode(ES_WRONG_STATE)),
				 errmsg("the step cannot be tested: %s", sender_reason_word(d.reason)),
				 d.reason == REASON_MISSING_FIELD ? errdetail("Without a value: %s.", missing) : 0,
				 errhint("A test passes the gates like any other message, with the member in the lead's place.")));
	if (d.action == ACTION_SIMULATE)
		became = "simulated";
	else
	{
		became = tenant.mode == MODE_SANDBOX ? "sent" : "ready";
		sender_use_up(&tenant, queue, &run);
		sender_write_usage(&tenant, campaigns, ncampaigns);
	}
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(became));
}
