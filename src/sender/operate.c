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
