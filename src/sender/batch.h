/*
 * batch.h
 *		What a batch of decisions reads and writes: used by the processor and by
 *		the brake.
 */
#ifndef ENTRESTATE_BATCH_H
#define ENTRESTATE_BATCH_H

#include "core/core.h"
#include "core/columns.h"
#include "sender/sender.h"

typedef struct Tenant
{
	pg_uuid_t	id;
	SenderMode	mode;
	bool		dry_run;
	bool		frozen;
	bool		paused;
	char	   *zone;
	bool		channel_enabled[4]; /* by SenderChannel */
	bool		channel_paused[4];
} Tenant;

typedef struct Campaign
{
	pg_uuid_t	id;
	CampaignState state;
	bool		sender_enabled;
	bool		risk_paused;
	bool		dry_run;
	int			brake_index;
	int			policy_version;
} Campaign;

/* A run that is locked, with what its decision needs. */
typedef struct Run
{
	Campaign	campaign;
	pg_uuid_t	lead;
	TimestampTz due_at;
	bool		due;			/* whether it has a row in sender_due at due_at */
	int			version;
	int			cursor;
	int			run_seq;
	int			attempt;
	int			sent_steps;
	SenderMode	mode;			/* of what is decided now */
	bool		stale;			/* the due row is not the run's any more */
	bool		has_step;
	SenderChannel channel;
	Datum		template_id;
	int			template_version;
	Interval   *next_delay;		/* NULL: the last step */
	ContactState contact;
	char	   *zone;			/* the lead's, NULL: the tenant's */
	LeadFacts	facts;
	int			score;
	bool		ended;
} Run;

typedef struct Batch
{
	const Tenant *tenant;
	TimestampTz now;
	Columns		due_done;		/* campaign, due_at, lead */
	Columns		due_next;		/* campaign, due_at, lead */
	Columns		events;
	Columns		intents;
	Columns		runs;
	Columns		actions;		/* campaign, lead, type, reason */
	Columns		voids;			/* campaign, lead */
	Columns		tickets;		/* campaign, lead, reason */
} Batch;

/* codes.c */
extern SenderMode sender_mode(const char *word);
extern const char *sender_mode_word(SenderMode mode);
extern SenderChannel sender_channel(const char *word);
extern const char *sender_event_word(SenderEventType type);
extern const char *sender_reason_word(SenderReason reason);

/* batch.c */
extern char *text_at(uint64 row, int col);
extern bool bool_at(uint64 row, int col);
extern int	int_at(uint64 row, int col);
extern void lead_facts_at(uint64 row, int col, LeadFacts *f);
extern void batch_init(Batch *b, const Tenant *t, TimestampTz now);
extern void batch_due_done(Batch *b, const Run *r);
extern bool batch_apply(Batch *b, Run *r, SenderDecision d);
extern void batch_end_run(Batch *b, Run *r, SenderReason reason);
extern void batch_write(Batch *b);
extern void batch_open_tickets(Batch *b);

/*
 * The columns that lead_facts_at() reads: of leads l, sender_runs r and
 * sender_sequences q.
 */
#define LEAD_FACTS \
	" l.handoff_open OR coalesce(l.handoff_at >= r.created_at, false)," \
	" l.status IN ('booked', 'lost'), l.merged_into IS NOT NULL, l.opted_out_at IS NOT NULL," \
	" l.complained_at IS NOT NULL, l.erasure_requested_at IS NOT NULL, l.hot_at IS NOT NULL," \
	" q.stop_on_reply AND coalesce(l.replied_at >= r.created_at, false)"
#define LEAD_FACTS_COLUMNS 8

#endif
