/*
 * brake.c
 *		Ends a lead's open runs at once.
 *
 * Called by whoever has just stored what brakes (a ticket, an opt-out, a
 * complaint, an erasure request, a reply, the signal that made the lead hot, a
 * closed or merged lead), in the same transaction and after the lead's row was
 * updated: from its commit on nothing starts for the lead (L4).  It is the
 * decision's gates 3 to 6, not the whole of it, so a held queue or a frozen
 * tenant does not keep a run from ending.
 *
 * A run whose intent has started is left to that intent's outcome, which looks
 * at the same gates: the message is on its way and must find its run.
 *
 * Lock order: leads, sender_runs, both in the order of their ids.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "sender/batch.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sender_brake);

/*
 * sender_brake(tenant, leads) returns how many runs it ended.  Run by definer
 * functions, in the tenant's context.
 */
Datum
sender_brake(PG_FUNCTION_ARGS)
{
	static EsPlan lock = {
		"SELECT entrestate.leads_lock($1, $2)", 2, {UUIDOID, UUIDARRAYOID}};
	static EsPlan lock_runs = {
		"SELECT FROM entrestate.sender_runs r WHERE r.tenant_id = $1 AND r.lead_id = ANY ($2)"
		" AND r.status IN ('pending', 'running')"
		" ORDER BY r.lead_id, r.campaign_id FOR NO KEY UPDATE", 2, {UUIDOID, UUIDARRAYOID}};
	/* a statement of its own: it sees what the locks waited for */
	static EsPlan read = {
		"SELECT r.campaign_id, r.lead_id, r.next_at, r.version, r.cursor::int4, r.run_seq, r.attempt::int4,"
		" r.sent_steps::int4, r.mode, k.brake_index::int4, k.policy_version, g.score, r.deferrals::int4,"
		LEAD_FACTS("q.stop_on_reply") ", r.at"
		" FROM (SELECT DISTINCT v.id FROM unnest($2) AS v(id)) AS u(lead_id)"
		" CROSS JOIN LATERAL (SELECT * FROM entrestate.leads x WHERE x.tenant_id = $1 AND x.lead_id = u.lead_id OFFSET 0) l"
		/* OFFSET 0: from the lead to its runs, never from the campaigns */
		" CROSS JOIN LATERAL (SELECT *, x.ctid AS at FROM entrestate.sender_runs x WHERE x.tenant_id = $1 AND x.lead_id = u.lead_id"
		"  AND x.status IN ('pending', 'running') OFFSET 0) r"
		" JOIN entrestate.campaigns k ON k.tenant_id = $1 AND k.campaign_id = r.campaign_id"
		" JOIN entrestate.sender_sequences q ON q.tenant_id = $1 AND q.campaign_id = r.campaign_id AND q.version = r.version"
		" LEFT JOIN entrestate.lead_scores g ON g.tenant_id = $1 AND g.lead_id = r.lead_id"
		/* started, in the words of sender_intents_flight */
		" WHERE NOT EXISTS (SELECT FROM entrestate.sender_intents i WHERE i.tenant_id = $1 AND i.campaign_id = r.campaign_id"
		"  AND i.lead_id = r.lead_id AND i.final_at IS NULL AND i.status <> ALL ('{ready,leased,unknown}'))"
		" ORDER BY r.lead_id, r.next_at, r.campaign_id", 2, {UUIDOID, UUIDARRAYOID}};
	Tenant		tenant = {.id = *PG_GETARG_UUID_P(0)};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Batch		b;
	Run		   *runs;
	Campaign   *campaigns;
	int			n;
	int			ended = 0;

	SPI_connect();
	es_spi_run(&lock, SPI_OK_SELECT, values, NULL);
	if (es_spi_run(&lock_runs, SPI_OK_SELECT, values, NULL) == 0)
	{
		SPI_finish();
		PG_RETURN_INT32(0);
	}
	batch_init(&b, &tenant, es_now());
	n = es_spi_run(&read, SPI_OK_SELECT, values, NULL);
	runs = palloc0(sizeof(Run) * Max(n, 1));
	campaigns = palloc0(sizeof(Campaign) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Run		   *r = &runs[i];
		bool		isnull;

		campaigns[i].id = *DatumGetUUIDP(es_spi_get(i, 1, &isnull));
		r->campaign = &campaigns[i];
		r->lead = *DatumGetUUIDP(es_spi_get(i, 2, &isnull));
		r->version = int_at(i, 4);
		r->cursor = int_at(i, 5);
		r->run_seq = int_at(i, 6);
		r->attempt = int_at(i, 7);
		r->sent_steps = int_at(i, 8);
		r->mode = sender_mode(text_at(i, 9));
		campaigns[i].brake_index = int_at(i, 10);
		campaigns[i].policy_version = int_at(i, 11);
		r->score = int_at(i, 12);
		r->deferrals = int_at(i, 13);
		lead_facts_at(i, 14, &r->facts);
		r->at = *(ItemPointer) DatumGetPointer(es_spi_get(i, 14 + LEAD_FACTS_COLUMNS, &isnull));
	}

	/*
	 * A run that ends for the lead's intent opens a ticket, and a ticket ends
	 * the lead's other runs, those that were looked at before it as well.
	 */
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < n; i++)
		{
			SenderDecision d;

			if (runs[i].ended ||
				!sender_decide_end(&runs[i].facts, runs[i].cursor, runs[i].campaign->brake_index, &d))
				continue;
			batch_end_run(&b, &runs[i], d.reason);
			ended++;
			if (d.reason == REASON_HOT || d.reason == REASON_REPLIED)
				for (int j = 0; j < n; j++)
					if (memcmp(&runs[j].lead, &runs[i].lead, UUID_LEN) == 0)
						runs[j].facts.handoff = true;
		}
	batch_write(&b);
	batch_open_tickets(&b);
	SPI_finish();
	PG_RETURN_INT32(ended);
}
