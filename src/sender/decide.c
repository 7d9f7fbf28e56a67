/*
 * decide.c
 *		The sender's decision: a pure function over plain structs.
 *
 * No SPI, no clock, no memory: the same facts give the same decision, in the
 * processor, in the brake, in an explanation and in a replay.  The gates are the
 * sender's, in their order, and the first that matches decides.  Here are 1 to
 * 6, 8, 10 (contact point, suppression list), 11, 17 and 18; the others fit between them.
 */
#include "postgres.h"

#include "sender/sender.h"

static SenderDecision
decision(SenderAction action, SenderReason reason)
{
	SenderDecision d = {action, reason};

	return d;
}

/*
 * sender_decide_end looks at gates 3 to 6 for a step index: whether the lead
 * ends the run.  These are looked at by themselves when something happens to
 * the lead, and for the next index when a step has its outcome.
 */
bool
sender_decide_end(const LeadFacts *f, int cursor, int brake_index, SenderDecision *d)
{
	SenderReason reason = REASON_NONE;

	/* 3: a person has taken over, or should not be disturbed by us */
	if (f->handoff)
		reason = REASON_HANDOFF;
	else if (f->closed)
		reason = REASON_LEAD_CLOSED;
	else if (f->merged)
		reason = REASON_MERGED;
	/* 4: the lead does not want to hear from us */
	else if (f->opted_out)
		reason = REASON_OPTED_OUT;
	else if (f->complained)
		reason = REASON_COMPLAINED;
	else if (f->erased)
		reason = REASON_ERASED;
	/* 5: the brake */
	else if (f->hot && cursor >= brake_index)
		reason = REASON_HOT;
	/* 6 */
	else if (f->replied)
		reason = REASON_REPLIED;
	if (reason == REASON_NONE)
		return false;
	*d = decision(ACTION_TERMINATE, reason);
	return true;
}

/* sender_decide decides what happens to a run whose time has come. */
SenderDecision
sender_decide(const SenderFacts *f)
{
	SenderDecision end;

	/* 1: the tenant */
	if (f->tenant_frozen)
		return decision(ACTION_HOLD, REASON_TENANT_FROZEN);
	if (f->tenant_paused)
		return decision(ACTION_HOLD, REASON_TENANT_PAUSED);

	/* 2: the campaign */
	if (f->campaign == CAMPAIGN_COMPLETED || f->campaign == CAMPAIGN_ARCHIVED)
		return decision(ACTION_TERMINATE, REASON_CAMPAIGN_ENDED);
	if (f->campaign != CAMPAIGN_ACTIVE)
		return decision(ACTION_HOLD, REASON_CAMPAIGN_PAUSED);
	if (!f->sender_enabled)
		return decision(ACTION_HOLD, REASON_SENDER_DISABLED);
	if (f->risk_paused)
		return decision(ACTION_HOLD, REASON_RISK_PAUSED);

	/* 3 to 6: the lead */
	if (sender_decide_end(&f->lead, f->cursor, f->brake_index, &end))
		return end;

	/* 8: no step left */
	if (f->cursor >= f->steps)
		return decision(ACTION_DONE, REASON_COMPLETED);

	/* 10: the contact point */
	if (f->contact == CONTACT_SUPPRESSED)
		return decision(ACTION_SKIP, REASON_ADDRESS_SUPPRESSED);
	if (f->contact != CONTACT_USABLE)
	{
		bool		missing = f->contact == CONTACT_MISSING;

		if (f->channel == CHANNEL_EMAIL)
			return decision(ACTION_SKIP, missing ? REASON_MISSING_EMAIL
							: REASON_INVALID_EMAIL);
		return decision(ACTION_SKIP, missing ? REASON_MISSING_PHONE
						: REASON_INVALID_PHONE);
	}

	/* 11: the channel */
	if (!f->channel_enabled)
		return decision(ACTION_SKIP, REASON_CHANNEL_DISABLED);
	if (f->channel_paused)
		return decision(ACTION_HOLD, REASON_CHANNEL_PAUSED);

	/* 17: a rehearsal */
	if (f->dry_run)
		return decision(ACTION_SIMULATE, REASON_DRY_RUN);

	/* 18 */
	return decision(ACTION_ADMIT, REASON_NONE);
}
