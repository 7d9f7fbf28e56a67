/*
 * decide.c
 *		The sender's decision: a pure function over plain structs.
 *
 * No SPI, no clock, no memory: the same facts give the same decision, in the
 * processor, in a re-check, in an explanation and in a replay.  The gates are
 * SENDER.md's, in its order, and the first that matches decides.  Here are 1,
 * 2, 8, 10 (contact point), 11, 17 and 18; the others fit between them.
 */
#include "postgres.h"

#include "sender/sender.h"

static SenderDecision
decision(SenderAction action, SenderReason reason)
{
	SenderDecision d = {action, reason};

	return d;
}

/* sender_decide decides what happens to a run whose time has come. */
SenderDecision
sender_decide(const SenderFacts *f)
{
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

	/* 8: no step left */
	if (f->cursor >= f->steps)
		return decision(ACTION_DONE, REASON_COMPLETED);

	/* 10: the contact point */
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
