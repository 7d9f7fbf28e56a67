/*
 * sender.h
 *		The sender's codes, and the decision over plain structs.
 *
 * The codes are what sender_events stores: they never change, new ones are
 * added.  entrestate.sender_event_types() and its kin show them to SQL.
 */
#ifndef ENTRESTATE_SENDER_H
#define ENTRESTATE_SENDER_H

#include "postgres.h"
#include "utils/timestamp.h"

/* clang-format off */
#define SENDER_EVENT_TYPES(X) \
	X(RUN_STARTED, 1, "sender.run.started") \
	X(RUN_DONE, 2, "sender.run.done") \
	X(RUN_FAILED, 3, "sender.run.failed") \
	X(RUN_RESUMED, 4, "sender.run.resumed") \
	X(RUN_RESTARTED, 5, "sender.run.restarted") \
	X(RUN_UPGRADED, 6, "sender.run.upgraded") \
	X(STEP_SENT, 10, "sender.step.sent") \
	X(STEP_SKIPPED, 11, "sender.step.skipped") \
	X(STEP_FAILED, 12, "sender.step.failed") \
	X(STEP_SIMULATED, 13, "sender.step.simulated") \
	X(STEP_DEFERRED, 14, "sender.step.deferred") \
	X(STEP_UNKNOWN, 15, "sender.step.unknown") \
	X(STEP_RETRIED, 16, "sender.step.retried") \
	X(SUPPRESSED_HOT, 20, "sender.suppressed_hot") \
	X(SUPPRESSED_HANDOFF, 21, "sender.suppressed_handoff") \
	X(SUPPRESSED_OPT_OUT, 22, "sender.suppressed_opt_out") \
	X(SUPPRESSED_REPLIED, 23, "sender.suppressed_replied") \
	X(SUPPRESSED_CLOSED, 24, "sender.suppressed_closed") \
	X(SUPPRESSED_STOPPED, 25, "sender.suppressed_stopped") \
	X(SUPPRESSED_MERGED, 26, "sender.suppressed_merged") \
	X(SUPPRESSED_GOAL, 27, "sender.suppressed_goal") \
	X(SUPPRESSED_CAMPAIGN_ENDED, 28, "sender.suppressed_campaign_ended") \
	X(DELIVERED, 40, "sender.delivered") \
	X(UNDELIVERED, 41, "sender.undelivered") \
	X(OPENED, 42, "sender.opened") \
	X(CLICKED, 43, "sender.clicked") \
	X(REPLIED, 44, "sender.replied") \
	X(BOUNCED, 45, "sender.bounced") \
	X(COMPLAINED, 46, "sender.complained") \
	X(UNSUBSCRIBED, 47, "sender.unsubscribed") \
	X(SETTLED, 48, "sender.settled")

#define SENDER_REASONS(X) \
	X(TENANT_FROZEN, 1, "tenant_frozen") \
	X(TENANT_PAUSED, 2, "tenant_paused") \
	X(CAMPAIGN_PAUSED, 3, "campaign_paused") \
	X(SENDER_DISABLED, 4, "sender_disabled") \
	X(RISK_PAUSED, 5, "risk_paused") \
	X(CAMPAIGN_ENDED, 6, "campaign_ended") \
	X(HANDOFF, 7, "handoff") \
	X(LEAD_CLOSED, 8, "lead_closed") \
	X(STOPPED, 9, "stopped") \
	X(MERGED, 10, "merged") \
	X(OPTED_OUT, 11, "opted_out") \
	X(COMPLAINED, 12, "complained") \
	X(ERASED, 13, "erased") \
	X(HOT, 14, "hot") \
	X(REPLIED, 15, "replied") \
	X(GOAL_REACHED, 16, "goal_reached") \
	X(COMPLETED, 17, "completed") \
	X(GUARD_FALSE, 18, "guard_false") \
	X(GUARD_ERROR, 19, "guard_error") \
	X(MISSING_EMAIL, 20, "missing_email") \
	X(MISSING_PHONE, 21, "missing_phone") \
	X(INVALID_EMAIL, 22, "invalid_email") \
	X(INVALID_PHONE, 23, "invalid_phone") \
	X(NO_CONSENT, 24, "no_consent") \
	X(ADDRESS_SUPPRESSED, 25, "address_suppressed") \
	X(MISSING_FIELD, 26, "missing_field") \
	X(WHATSAPP_WINDOW, 27, "whatsapp_window") \
	X(CHANNEL_DISABLED, 28, "channel_disabled") \
	X(CHANNEL_PAUSED, 29, "channel_paused") \
	X(AWAITING_APPROVAL, 30, "awaiting_approval") \
	X(SENDER_UNVERIFIED, 31, "sender_unverified") \
	X(RISING_INTENT, 32, "rising_intent") \
	X(QUIET_HOURS, 33, "quiet_hours") \
	X(FREQUENCY_CAPPED, 34, "frequency_capped") \
	X(DAILY_LIMIT, 35, "daily_limit") \
	X(RATE_LIMITED, 36, "rate_limited") \
	X(INSUFFICIENT_FUNDS, 37, "insufficient_funds") \
	X(BACK_PRESSURE, 38, "back_pressure") \
	X(DRY_RUN, 39, "dry_run") \
	X(TOO_LATE, 40, "too_late") \
	X(AWAITING_GO_LIVE, 41, "awaiting_go_live") \
	X(REFUSED, 42, "refused") \
	X(UNCERTAIN, 43, "uncertain")

#define SENDER_MODES(X) \
	X(LIVE, 1, "live") \
	X(SANDBOX, 2, "sandbox") \
	X(DRY_RUN, 3, "dry_run")

#define SENDER_CHANNELS(X) \
	X(EMAIL, 1, "email") \
	X(SMS, 2, "sms") \
	X(WHATSAPP, 3, "whatsapp")
/* clang-format on */

#define X(name, code, word) EVENT_##name = code,
typedef enum SenderEventType
{
	EVENT_NONE = 0,
	SENDER_EVENT_TYPES(X)
} SenderEventType;
#undef X
#define X(name, code, word) REASON_##name = code,
typedef enum SenderReason
{
	REASON_NONE = 0,
	SENDER_REASONS(X)
} SenderReason;
#undef X
#define X(name, code, word) MODE_##name = code,
typedef enum SenderMode
{
	MODE_NONE = 0,
	SENDER_MODES(X)
} SenderMode;
#undef X
#define X(name, code, word) CHANNEL_##name = code,
typedef enum SenderChannel
{
	CHANNEL_NONE = 0,
	SENDER_CHANNELS(X)
} SenderChannel;
#undef X

typedef enum CampaignState
{
	CAMPAIGN_DRAFT,
	CAMPAIGN_ACTIVE,
	CAMPAIGN_PAUSED,
	CAMPAIGN_COMPLETED,
	CAMPAIGN_ARCHIVED
} CampaignState;

/* Whether and how a lead can be reached on a channel. */
typedef enum ContactState
{
	CONTACT_MISSING,
	CONTACT_UNUSABLE,
	CONTACT_SUPPRESSED,			/* on the channel's suppression list */
	CONTACT_USABLE
} ContactState;

/* What a predicate said. */
typedef enum Verdict
{
	VERDICT_NONE,				/* there is no predicate */
	VERDICT_TRUE,
	VERDICT_FALSE,
	VERDICT_ERROR				/* not evaluable, or neither true nor false */
} Verdict;

/* What the decision looks at of the lead: gates 3 to 7. */
typedef struct LeadFacts
{
	bool		handoff;		/* a ticket is open, or was opened since the run began */
	bool		closed;			/* booked or lost */
	bool		stopped;		/* a person stopped the run */
	bool		merged;
	bool		opted_out;
	bool		complained;
	bool		erased;			/* asked to be */
	bool		hot;
	bool		replied;		/* since the run began, and the sequence stops on it */
	bool		goal;			/* the sequence's exit predicate holds */
} LeadFacts;

/*
 * Everything the decision looks at.  What would take a query (a predicate's
 * verdict, the instant at which a cap frees) has been looked up; nothing is
 * left to do but to decide.
 */
typedef struct SenderFacts
{
	TimestampTz now;
	/* 1 and 2 */
	bool		tenant_frozen;
	bool		tenant_paused;
	CampaignState campaign;
	bool		sender_enabled;
	bool		risk_paused;
	/* 3 to 7 */
	LeadFacts	lead;
	int			brake_index;	/* step from which a hot lead ends the run */
	/* 8 */
	int			cursor;			/* index of the step to decide */
	int			steps;			/* steps of the run's version */
	bool		awaiting_go_live;	/* a rehearsal of a campaign that is live */
	TimestampTz first_due_at;	/* 0: unknown */
	int64		max_lateness;	/* microseconds */
	/* 9 */
	Verdict		guard;
	/* 10 */
	SenderChannel channel;		/* of the step at cursor */
	ContactState contact;		/* for that channel */
	bool		no_consent;
	bool		missing_field;
	bool		whatsapp_closed;	/* free text, and the lead has not written for a day */
	/* 11 */
	bool		channel_enabled;
	bool		channel_paused;
	/* 12 */
	bool		unapproved;		/* the template */
	bool		unverified;		/* the sender identity */
	/* 13 */
	bool		rising;			/* warming, by a signal since the last outcome */
	int			deferrals;		/* of this step, for that */
	int			max_deferrals;
	TimestampTz delayed_to;		/* now and the step's delay again */
	/* 14 and 15: the instant at which it no longer stands in the way */
	TimestampTz opens_at;
	TimestampTz cap_frees_at;
	/* 16: what holds the queue, REASON_NONE: nothing */
	SenderReason budget;
	/* 17 */
	bool		dry_run;
} SenderFacts;

typedef enum SenderAction
{
	ACTION_NONE,				/* the gate does not match */
	ACTION_HOLD,				/* stays due, nothing is written */
	ACTION_TERMINATE,
	ACTION_DONE,
	ACTION_SKIP,
	ACTION_DEFER,
	ACTION_SIMULATE,
	ACTION_ADMIT
} SenderAction;

typedef struct SenderDecision
{
	SenderAction action;
	SenderReason reason;
	TimestampTz until;			/* of a deferral */
} SenderDecision;

/* A gate, for explanations. */
typedef struct SenderGate
{
	int			number;
	const char *name;
	SenderDecision (*look) (const SenderFacts *f);
} SenderGate;

/* A rolling frequency cap, and what counts against it. */
typedef struct SenderCap
{
	int			max;
	int64		per;			/* microseconds */
	SenderChannel channel;		/* CHANNEL_NONE: all */
} SenderCap;
typedef struct SenderSend
{
	TimestampTz at;
	SenderChannel channel;
} SenderSend;

extern const SenderGate sender_gates[];
extern const int sender_ngates;
extern SenderDecision sender_decide(const SenderFacts *f);
extern bool sender_decide_end(const LeadFacts *f, int cursor, int brake_index,
							  SenderDecision *d);
extern TimestampTz sender_cap_frees(const SenderCap *caps, int ncaps,
									const SenderSend *sends, int nsends,
									SenderChannel channel, TimestampTz now);

/* render.c */
extern int	sender_variant(const char *run, int run_len, int step,
						   const int *weights, int n);

#endif
