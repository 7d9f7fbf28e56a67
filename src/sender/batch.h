/*
 * batch.h
 *		What decisions read (facts.c, runs.c) and write (batch.c): used by the processor,
 *		the brake and explanations.
 */
#ifndef ENTRESTATE_BATCH_H
#define ENTRESTATE_BATCH_H

#include "core/core.h"
#include "core/columns.h"
#include "core/rows.h"
#include "storage/itemptr.h"
#include "sender/sender.h"
#include "sender/window.h"

/* Budgets that nothing limits. */
#define UNLIMITED PG_INT32_MAX

/* A tenant's channel, and what may still be sent on it. */
typedef struct Channel
{
	bool		enabled;
	bool		paused;
	bool		consent_required;
	int			left_today;
	int			left_this_minute;
	bool		rated;			/* has a rate of its own */
	int			used;			/* in this batch */
} Channel;

/* A domain that emails go to, and how many more may in this minute. */
#define DOMAIN_SIZE 256
typedef struct Domain
{
	char		name[DOMAIN_SIZE];	/* the key */
	int			left;
	int			used;			/* in this batch */
	int			claimed;		/* of what it has put back */
} Domain;

typedef struct Tenant
{
	pg_uuid_t	id;
	SenderMode	mode;
	bool		dry_run;
	bool		frozen;
	bool		paused;
	char	   *zone;
	WindowSet  *quiet;
	TimestampTz day;			/* its calendar day's beginning */
	TimestampTz minute;
	Channel		channels[4];	/* by SenderChannel */
	bool		back_pressure;	/* too much is on its way already */
	int			funds;			/* sends that are covered */
	int			domain_per_minute;
	struct HTAB *domains;		/* by name; NULL: there is no such rate */
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
	int			warming_threshold;
	int			rising_deferrals;
	int64		max_lateness;
	WindowSet  *windows;
	bool		uses[4];		/* channels */
	SenderCap  *caps;
	int			ncaps;
	int			left_this_minute;
	bool		rated;
	int			used;
} Campaign;

/* What a step says: its template, or one of its variants. */
typedef struct Text
{
	Datum		template_id;
	int			template_version;
	int			weight;
	char	   *fields;			/* an array's text, or NULL */
	bool		free_text;
} Text;

/* The runs that wait for one step of a version: what they have in common. */
typedef struct Queue
{
	Campaign   *campaign;
	int			version;
	int			step;
	int			steps;			/* of the version */
	bool		stop_on_reply;
	char	   *exit_predicate; /* or NULL */
	SenderChannel channel;
	Text	   *texts;
	int			ntexts;			/* 0: there is no such step */
	bool		has_variants;
	bool		unapproved;		/* one of the texts */
	bool		unverified;
	char	   *guard;			/* or NULL */
	WindowSet  *window;
	Interval   *delay;
	Interval   *next_delay;		/* NULL: the last step */
	SenderReason held;			/* what holds it now */
	SenderReason held_before;
	bool		waiting;		/* has something due */
	bool		looked_at;		/* something of it was decided */
} Queue;

/* A lead's row, of what decisions look at. */
typedef struct LeadRow
{
	bool		read;
	char	   *zone;			/* NULL: the tenant's */
	bool		handoff_open;
	bool		closed;
	bool		merged;
	bool		opted_out;
	bool		complained;
	bool		erased;
	bool		hot;
	TimestampTz handoff_at;		/* DT_NOBEGIN: never, as below */
	TimestampTz replied_at;
	TimestampTz whatsapp_at;
} LeadRow;

/* A run that is locked, with what its decision needs. */
typedef struct Run
{
	const Campaign *campaign;
	const Queue *queue;			/* NULL: whatever the step */
	pg_uuid_t	lead;
	TimestampTz due_at;
	bool		locked;
	LeadRow		row;
	ItemPointerData at;			/* where the run's row is */
	bool		found;
	bool		stale;			/* it does not wait for this any more */
	bool		in_flight;		/* a message of it is on its way: a retry's */
	int			version;
	int			cursor;
	int			run_seq;
	int			attempt;
	int			deferrals;
	int			sent_steps;
	SenderMode	mode;			/* so far; of what is decided, once it is */
	TimestampTz created_at;
	TimestampTz first_due_at;
	TimestampTz last_outcome_at;
	TimestampTz last_signal_at; /* 0: none */
	ContactState contact;
	Domain	   *domain;			/* of an email, where domains have a rate */
	char	   *address;		/* normalised, or NULL */
	bool		consent_granted;
	bool		consent_withdrawn;
	bool		missing_field;
	bool		whatsapp_closed;
	Verdict		guard;
	SenderSend *sends;			/* what counts against caps, in order of time */
	int			nsends;
	int			sends_room;
	char	   *zone;			/* the lead's, NULL: the tenant's */
	LeadFacts	facts;
	int			score;
	int			variant;		/* -1: the step has none */
	bool		ended;
	bool		admitted;
	int			next;			/* of the same lead in this batch, -1: none */
} Run;

typedef struct DueEntry
{
	pg_uuid_t	campaign;
	int			version;
	int			step;
	TimestampTz at;
	pg_uuid_t	lead;
	const char *domain;			/* whose rate has put it back, or NULL */
} DueEntry;

typedef struct Batch
{
	const Tenant *tenant;
	TimestampTz now;
	MemoryContext context;
	DueEntry   *due;			/* what is due next */
	int			ndue;
	int			due_room;
	Rows		events;
	Rows		intents;
	Rows		runs;
	Rows		actions;		/* campaign, lead, type, reason */
	Rows		voids;			/* campaign, lead */
	Columns		tickets;		/* campaign, lead, reason */
	Rows		parked;			/* campaign, lead */
	struct Sandbox *sandbox;	/* NULL: it has sent nothing */
} Batch;

/* codes.c */
extern SenderMode sender_mode(const char *word);
extern const char *sender_mode_word(SenderMode mode);
extern SenderChannel sender_channel(const char *word);
extern const char *sender_channel_word(SenderChannel channel);
extern const char *sender_event_word(SenderEventType type);
extern const char *sender_reason_word(SenderReason reason);

/* facts.c */
extern char *text_at(uint64 row, int col);
extern bool bool_at(uint64 row, int col);
extern int	int_at(uint64 row, int col);
extern TimestampTz instant_at(uint64 row, int col);
extern void lead_facts_at(uint64 row, int col, LeadFacts *f);
extern Domain *domain_of(const Tenant *t, const char *name);
extern bool load_tenant(const pg_uuid_t *id, TimestampTz now, bool lock, Tenant *t);
extern Campaign *load_campaigns(const Tenant *t, const pg_uuid_t *one, bool lock, int *n);
extern Queue *load_queues(const Tenant *t, Campaign *campaigns, int ncampaigns,
						  const DueEntry *one, int *n);
extern TimestampTz opening_of(const WindowSet *const *windows, int n, pg_tz *zone, TimestampTz now);
extern SenderFacts facts_of(const Tenant *t, const Queue *q, const Run *r, TimestampTz now);

/* runs.c */
extern const Text *text_of(const Run *r);
extern int	variant_of(const Run *r);
extern void run_add_send(Run *r, TimestampTz at, SenderChannel channel);
extern void lock_leads(const Tenant *t, Run *runs, int nruns);
extern void load_runs(const Tenant *t, const Queue *queues, int nqueues, TimestampTz now,
					  Run *runs, int nruns);

/* batch.c */
extern SenderEventType batch_suppression(SenderReason reason);
extern void batch_init(Batch *b, const Tenant *t, TimestampTz now);
extern void batch_add_due(Batch *b, const pg_uuid_t *campaign, int version, int step,
						  const pg_uuid_t *lead, TimestampTz at, const char *domain);
extern bool batch_apply(Batch *b, Run *r, SenderDecision d);
extern void batch_end_run(Batch *b, Run *r, SenderReason reason);
extern void batch_add_intent(Batch *b, const Run *r, const char *status, const char *provider,
							 SenderReason reason);
extern void batch_step_outcome(Batch *b, Run *r, SenderEventType type, SenderReason reason);
extern void batch_write(Batch *b);
extern void batch_open_tickets(Batch *b);
extern const char *batch_retry(Batch *b, Run *r, SenderDecision d, int attempt, const TimestampTz *next, bool sent_before);

/* process.c */
extern void sender_require_read_committed(const char *what);
extern void sender_use_up(Tenant *t, Queue *q, const Run *r);
extern void sender_write_usage(const Tenant *t, const Campaign *campaigns, int ncampaigns);
extern void sender_rounds(FunctionCallInfo fcinfo, const char *name, EsPlan *next, EsPlan *work);

/* sandbox.c */
extern SenderEventType sandbox_send(Batch *b, Run *r, SenderReason *reason);
extern void sandbox_write(Batch *b);

/*
 * The columns that lead_facts_at() reads: of leads l, sender_runs r and
 * sender_sequences q.
 */
#define LEAD_FACTS(stops_on_reply) \
	" l.handoff_open OR coalesce(l.handoff_at >= r.created_at, false)," \
	" l.status IN ('booked', 'lost'), r.stopped_by IS NOT NULL, l.merged_into IS NOT NULL," \
	" l.opted_out_at IS NOT NULL, l.complained_at IS NOT NULL," \
	" l.erasure_requested_at IS NOT NULL, l.hot_at IS NOT NULL, " \
	stops_on_reply " AND coalesce(l.replied_at >= r.created_at, false)"
#define LEAD_FACTS_COLUMNS 9

#endif
