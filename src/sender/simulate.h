/*
 * simulate.h
 *		What a simulation works with: the history of a campaign's leads as facts
 *		in order of time (history.c), and the runs that are decided anew over
 *		them (simulate.c).
 */
#ifndef ENTRESTATE_SIMULATE_H
#define ENTRESTATE_SIMULATE_H

#include "audience/audience.h"
#include "sender/batch.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"

/* What was in force from an instant on, with the overrides over it. */
typedef struct Policy
{
	TimestampTz since;
	Tenant		tenant;
	Campaign	campaign;
	ScoreSettings score;
	int			daily[4];		/* by channel, UNLIMITED: none */
	int			per_minute[4];
	int			campaign_per_minute;
	int		   *warmup[4];
	int			nwarmup[4];
	int			warmup_from[4]; /* days since 1970 */
} Policy;

/* A step of a version, or what comes after its last one. */
typedef struct Step
{
	Queue	   *queue;
	Datum		guard;			/* jsonpath, 0: none */
	Datum		exit_predicate;
	Datum	   *fields;			/* text[] of each text, 0: none */
	bool		needs_document;
} Step;

typedef struct Version
{
	int			version;
	int			nsteps;
	Step	   *steps;			/* nsteps and one more */
} Version;

/*
 * What happened to a lead.  Of one instant, in this order: a run begins, then
 * what became of the lead, which is looked at together, then what an operator
 * did to the run.
 */
typedef enum FactKind
{
	FACT_BEGUN,					/* other: when the first step was due */
	FACT_CONTACT,				/* what: 0 email, 1 phone */
	FACT_UNUSABLE,
	FACT_SUPPRESSED,			/* what: the channel */
	FACT_CONSENT,				/* what: the channel; flag: granted */
	FACT_WHATSAPP,				/* other: when it wrote */
	FACT_SENT,					/* by a campaign; what: the channel; flag: rehearsed */
	FACT_REPORTED,				/* what: the event's type; number: the step */
	FACT_SIGNAL,				/* what: its kind; other: when it occurred; flag: it made hot */
	FACT_COOLED,
	FACT_MERGED_IN,				/* number: into Load.merged; flag: it made hot */
	FACT_HOT,					/* as the lead's row has it */
	FACT_TICKET,				/* what: TicketKind */
	FACT_RESOLVED,				/* what: TicketKind */
	FACT_OPTED_OUT,
	FACT_COMPLAINED,
	FACT_ERASED,
	FACT_CLOSED,
	FACT_MERGED,
	FACT_STOPPED,
	/* to the run */
	FACT_FAILED,
	FACT_RESUMED,
	FACT_RESTARTED,				/* other: when the first step is due */
	FACT_UPGRADED,				/* number: the version */
	FACT_OVERDUE,				/* what is overdue is skipped */
	FACT_RETRIED,				/* number: the step; what: the channel */
	FACT_RETRY_OUTCOME			/* number: the step; what: the event's type */
} FactKind;

typedef enum TicketKind
{
	TICKET_STANDS,				/* a person's, or another campaign's for a reply */
	TICKET_OTHER_HOT,			/* another campaign's for a hot lead: only if it is hot */
	TICKET_OWN					/* our run's: decided anew */
} TicketKind;

typedef struct Fact
{
	TimestampTz at;
	TimestampTz other;
	int32		number;
	int32		lead;			/* in the load */
	int32		no;				/* in the order in which they were read */
	uint8		kind;
	uint8		what;
	bool		flag;
	uint8		channel;
} Fact;

/* A lead's signals that count, and what they made of it. */
typedef struct Signals
{
	int			n;
	int			room;
	int16	   *kinds;
	TimestampTz *at;
	TimestampTz last_at;
	TimestampTz replied_at;
	const ScoreSettings *settings;	/* of the last one */
	bool		hot;
} Signals;

/* A lead that was merged into another one, as it was then. */
typedef struct Merged
{
	TimestampTz at;
	Signals		signals;
	SenderSend *sends;
	int			nsends;
} Merged;

typedef enum RunState
{
	RUN_NOT_BEGUN,
	RUN_OPEN,
	RUN_DONE,
	RUN_SUPPRESSED,
	RUN_FAILED
} RunState;

/* What became of a step. */
typedef struct Outcome
{
	uint8		type;			/* 0: none yet */
	uint8		channel;
	uint8		reports;		/* bit by REPORT_ */
} Outcome;

#define REPORT_DELIVERED 1
#define REPORT_OPENED 2
#define REPORT_CLICKED 4
#define REPORT_REPLIED 8

/* What the provider answered to a step in fact, where it was not accepted. */
typedef struct Fate
{
	int16		step;
	uint8		type;
	uint8		reason;
} Fate;

typedef struct SimLead
{
	pg_uuid_t	id;
	const Fact *facts;
	int			nfacts;
	int			next_fact;
	char	   *zone;			/* NULL: the tenant's */
	Jsonb	   *person;			/* of the document, NULL: not needed */
	Jsonb	   *attribution;
	TimestampTz ended_at;		/* what ended the run in fact, before its last step */
	SenderReason ended_by;
	int			other_threshold;	/* the lowest of its other campaigns */

	/* the lead as it is at the simulation's instant */
	Merged	   *merges;			/* by FACT_MERGED_IN's number */
	int			nmerges;
	Signals		signals;
	int			tickets;		/* that stand and are open */
	bool		own_ticket;		/* that our run opened, and is open */
	bool		other_hot;		/* another campaign's that waits for the latch */
	TimestampTz handoff_at;		/* the last one's */
	TimestampTz whatsapp_at;
	bool		opted_out;
	bool		complained;
	bool		erased;
	bool		closed;
	bool		merged;
	bool		stopped;
	bool		reachable[2];
	bool		unusable[2];
	bool		suppressed[4];
	bool		consented[4];
	bool		withdrawn[4];
	SenderSend *sends;			/* that count against caps */
	bool	   *rehearsed;
	int			nsends;
	int			sends_room;

	/* the run */
	RunState	state;
	int			version;
	int			cursor;
	int			deferrals;
	int			sent_steps;
	SenderMode	mode;
	TimestampTz created_at;
	TimestampTz next_at;
	TimestampTz first_due_at;
	TimestampTz last_outcome_at;
	TimestampTz wake_at;		/* when it is looked at: next_at, or later when it is held */
	Outcome    *outcomes;		/* NULL: no document is needed */
	int			noutcomes;
	Fate	   *fates;
	int			nfates;

	/* in a queue of all leads */
	uint32		stamp;			/* older entries do not count any more */
	uint32		waits;			/* for a budget, entries with this stamp */
} SimLead;

/* What an override changes that is not in the policies. */
typedef struct Overrides
{
	bool		scores;			/* weights or window */
	bool		hot_threshold;
	bool		brake;			/* whatever may end a run at once */
	bool		has_dry_run;
	bool		dry_run;
	int			stop_on_reply;	/* -1: as it is */
	Interval  **delays;			/* by step, NULL: as it is */
	int			ndelays;
} Overrides;

typedef struct Simulation
{
	pg_uuid_t	tenant_id;
	pg_uuid_t	campaign_id;
	TimestampTz since;
	TimestampTz until;
	TimestampTz now;			/* nothing has happened after it */
	Datum		given;			/* the overrides, as jsonb */
	Overrides	overrides;
	Tenant		tenant;			/* as it is */
	Policy	   *policies;		/* in order of time */
	int			npolicies;
	Version    *versions;		/* in order */
	int			nversions;
	bool		limited;		/* some limit or rate holds in the period */
	bool		capped;			/* some cap does */
	bool		documents;		/* a guard, an exit predicate or a template's field */
	bool		kinds[2];		/* of addresses that its steps need */
	bool		whatsapp;		/* free text, so when a lead wrote matters */
	bool		other_thresholds;
	int64		cap_span;
	Jsonb	   *about;			/* the campaign, of the document */
	Jsonb	   *senders[4];		/* by channel */
	HTAB	   *closings;		/* NULL: not looked up yet */
	MemoryContext context;
	MemoryContext scratch;		/* for a decision's document */
	/* what others have used of a day: window, channel, sends */
	TimestampTz *used_at;
	int		   *used_channel;
	int		   *used;
	int			nused;
	/* the budgets at an instant */
	TimestampTz day;
	TimestampTz day_end;
	TimestampTz minute;
	int			day_used[4];
	int			minute_used[4];
	int			campaign_used;
	/* result */
	ReturnSetInfo *rsinfo;		/* NULL: only counted */
	int64	   *counts;
} Simulation;

/* history.c */
extern void history_open(Simulation *s);
extern const Policy *policy_at(const Simulation *s, TimestampTz at);
extern const Version *version_of(const Simulation *s, int version);
extern SimLead *history_load(Simulation *s, const pg_uuid_t *after, int most, int *n);
extern void signals_take(const Simulation *s, Signals *g, const Fact *f, const Merged *merged, int other_threshold);
extern void lead_sent(SimLead *l, TimestampTz at, SenderChannel channel, bool rehearsed);

#endif
