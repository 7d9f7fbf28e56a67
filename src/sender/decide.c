/*
 * decide.c
 *		The sender's decision: a pure function over plain structs.
 *
 * No SPI, no clock, no memory: the same facts give the same decision, in the
 * processor, in the brake, in an explanation and in a replay.  The gates are the
 * sender's (docs/sender.md), in their order, and the first that matches decides.
 */
#include "postgres.h"

#include "sender/sender.h"

static SenderDecision
decision(SenderAction action, SenderReason reason)
{
	SenderDecision d = {action, reason, 0};

	return d;
}

static SenderDecision
no(void)
{
	return decision(ACTION_NONE, REASON_NONE);
}

static SenderDecision
defer(SenderReason reason, TimestampTz until)
{
	SenderDecision d = {ACTION_DEFER, reason, until};

	return d;
}

/* 1: the tenant */
static SenderDecision
tenant(const SenderFacts *f)
{
	if (f->tenant_frozen)
		return decision(ACTION_HOLD, REASON_TENANT_FROZEN);
	if (f->tenant_paused)
		return decision(ACTION_HOLD, REASON_TENANT_PAUSED);
	return no();
}

/* 2: the campaign */
static SenderDecision
campaign(const SenderFacts *f)
{
	if (f->campaign == CAMPAIGN_COMPLETED || f->campaign == CAMPAIGN_ARCHIVED)
		return decision(ACTION_TERMINATE, REASON_CAMPAIGN_ENDED);
	if (f->campaign != CAMPAIGN_ACTIVE)
		return decision(ACTION_HOLD, REASON_CAMPAIGN_PAUSED);
	if (!f->sender_enabled)
		return decision(ACTION_HOLD, REASON_SENDER_DISABLED);
	if (f->risk_paused)
		return decision(ACTION_HOLD, REASON_RISK_PAUSED);
	return no();
}

/* 3: a person has taken over, or should not be disturbed by us */
static SenderReason
person(const LeadFacts *f)
{
	return f->handoff ? REASON_HANDOFF : f->closed ? REASON_LEAD_CLOSED :
		f->stopped ? REASON_STOPPED : f->merged ? REASON_MERGED : REASON_NONE;
}

/* 4: the lead does not want to hear from us */
static SenderReason
unwanted(const LeadFacts *f)
{
	return f->opted_out ? REASON_OPTED_OUT : f->complained ? REASON_COMPLAINED :
		f->erased ? REASON_ERASED : REASON_NONE;
}

static SenderDecision
terminate(SenderReason reason)
{
	return reason == REASON_NONE ? no() : decision(ACTION_TERMINATE, reason);
}

static SenderDecision
gate_person(const SenderFacts *f)
{
	return terminate(person(&f->lead));
}

static SenderDecision
gate_unwanted(const SenderFacts *f)
{
	return terminate(unwanted(&f->lead));
}

/* 5: the brake */
static SenderDecision
gate_hot(const SenderFacts *f)
{
	return terminate(f->lead.hot && f->cursor >= f->brake_index ? REASON_HOT : REASON_NONE);
}

static SenderDecision
gate_replied(const SenderFacts *f)
{
	return terminate(f->lead.replied ? REASON_REPLIED : REASON_NONE);
}

static SenderDecision
gate_goal(const SenderFacts *f)
{
	return terminate(f->lead.goal ? REASON_GOAL_REACHED : REASON_NONE);
}

/*
 * sender_decide_end looks at gates 3 to 7 for a step index: whether the lead
 * ends the run.  These are looked at by themselves when something happens to
 * the lead, and for the next index when a step has its outcome.
 */
bool
sender_decide_end(const LeadFacts *f, int cursor, int brake_index, SenderDecision *d)
{
	SenderReason reason = person(f);

	if (reason == REASON_NONE)
		reason = unwanted(f);
	if (reason == REASON_NONE && f->hot && cursor >= brake_index)
		reason = REASON_HOT;
	if (reason == REASON_NONE && f->replied)
		reason = REASON_REPLIED;
	if (reason == REASON_NONE && f->goal)
		reason = REASON_GOAL_REACHED;
	*d = terminate(reason);
	return reason != REASON_NONE;
}

/* 8: no step left; nor does a rehearsal go on by itself when the campaign does
 * not rehearse any more, or a step that nobody expects any longer */
static SenderDecision
steps(const SenderFacts *f)
{
	if (f->cursor >= f->steps)
		return decision(ACTION_DONE, REASON_COMPLETED);
	if (f->awaiting_go_live)
		return decision(ACTION_HOLD, REASON_AWAITING_GO_LIVE);
	if (f->first_due_at != 0 && f->now - f->first_due_at > f->max_lateness)
		return decision(ACTION_SKIP, REASON_TOO_LATE);
	return no();
}

/* 9 */
static SenderDecision
guard(const SenderFacts *f)
{
	if (f->guard == VERDICT_FALSE)
		return decision(ACTION_SKIP, REASON_GUARD_FALSE);
	if (f->guard == VERDICT_ERROR)
		return decision(ACTION_SKIP, REASON_GUARD_ERROR);
	return no();
}

/* 10: whether there is somebody to write to, and something to write */
static SenderDecision
contact(const SenderFacts *f)
{
	bool		email = f->channel == CHANNEL_EMAIL;

	if (f->contact == CONTACT_MISSING)
		return decision(ACTION_SKIP, email ? REASON_MISSING_EMAIL : REASON_MISSING_PHONE);
	if (f->contact == CONTACT_UNUSABLE)
		return decision(ACTION_SKIP, email ? REASON_INVALID_EMAIL : REASON_INVALID_PHONE);
	if (f->no_consent)
		return decision(ACTION_SKIP, REASON_NO_CONSENT);
	if (f->contact == CONTACT_SUPPRESSED)
		return decision(ACTION_SKIP, REASON_ADDRESS_SUPPRESSED);
	if (f->missing_field)
		return decision(ACTION_SKIP, REASON_MISSING_FIELD);
	if (f->whatsapp_closed)
		return decision(ACTION_SKIP, REASON_WHATSAPP_WINDOW);
	return no();
}

/* 11 */
static SenderDecision
channel(const SenderFacts *f)
{
	if (!f->channel_enabled)
		return decision(ACTION_SKIP, REASON_CHANNEL_DISABLED);
	if (f->channel_paused)
		return decision(ACTION_HOLD, REASON_CHANNEL_PAUSED);
	return no();
}

/* 12 */
static SenderDecision
approval(const SenderFacts *f)
{
	if (f->unapproved)
		return decision(ACTION_HOLD, REASON_AWAITING_APPROVAL);
	if (f->unverified)
		return decision(ACTION_HOLD, REASON_SENDER_UNVERIFIED);
	return no();
}

/* 13: less noise while intent rises; a step without a delay cannot be put off
 * by it */
static SenderDecision
rising(const SenderFacts *f)
{
	if (f->rising && f->deferrals < f->max_deferrals && f->delayed_to > f->now)
		return defer(REASON_RISING_INTENT, f->delayed_to);
	return no();
}

/* 14 */
static SenderDecision
window(const SenderFacts *f)
{
	return f->opens_at > f->now ? defer(REASON_QUIET_HOURS, f->opens_at) : no();
}

/* 15 */
static SenderDecision
cap(const SenderFacts *f)
{
	return f->cap_frees_at > f->now ? defer(REASON_FREQUENCY_CAPPED, f->cap_frees_at) : no();
}

/* 16: a rehearsal uses up nothing */
static SenderDecision
budget(const SenderFacts *f)
{
	if (f->budget != REASON_NONE && !f->dry_run)
		return decision(ACTION_HOLD, f->budget);
	return no();
}

/* 17 */
static SenderDecision
dry_run(const SenderFacts *f)
{
	return f->dry_run ? decision(ACTION_SIMULATE, REASON_DRY_RUN) : no();
}

/* 18 */
static SenderDecision
admit(const SenderFacts *f)
{
	return decision(ACTION_ADMIT, REASON_NONE);
}

const SenderGate sender_gates[] = {
	{1, "tenant", tenant},
	{2, "campaign", campaign},
	{3, "handoff", gate_person},
	{4, "opt_out", gate_unwanted},
	{5, "hot", gate_hot},
	{6, "replied", gate_replied},
	{7, "goal", gate_goal},
	{8, "steps", steps},
	{9, "guard", guard},
	{10, "contact", contact},
	{11, "channel", channel},
	{12, "approval", approval},
	{13, "rising_intent", rising},
	{14, "window", window},
	{15, "frequency_cap", cap},
	{16, "budget", budget},
	{17, "dry_run", dry_run},
	{18, "admit", admit},
};
const int	sender_ngates = lengthof(sender_gates);

/* sender_decide decides what happens to a run whose time has come. */
SenderDecision
sender_decide(const SenderFacts *f)
{
	for (int i = 0; i < sender_ngates; i++)
	{
		SenderDecision d = sender_gates[i].look(f);

		if (d.action != ACTION_NONE)
			return d;
	}
	pg_unreachable();
}

/*
 * sender_cap_frees returns when the caps allow another send on a channel: now,
 * when they do.  A send counts until a cap's span after it.  sends are in order
 * of time.
 */
TimestampTz
sender_cap_frees(const SenderCap *caps, int ncaps, const SenderSend *sends, int nsends,
				 SenderChannel channel, TimestampTz now)
{
	TimestampTz frees = now;

	for (int c = 0; c < ncaps; c++)
	{
		int			left = caps[c].max;

		if (caps[c].channel != CHANNEL_NONE && caps[c].channel != channel)
			continue;
		/* the max'th newest that counts must leave the span */
		for (int i = nsends - 1; i >= 0 && sends[i].at > now - caps[c].per; i--)
		{
			if (caps[c].channel != CHANNEL_NONE && sends[i].channel != caps[c].channel)
				continue;
			if (--left == 0)
			{
				frees = Max(frees, sends[i].at + caps[c].per);
				break;
			}
		}
	}
	return frees;
}
