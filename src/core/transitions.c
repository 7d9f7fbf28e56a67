/*
 * transitions.c
 *		Every state machine of entrestate, in one table.
 *
 * One guard (guard/triggers.c, guard_transition) enforces all of them, and
 * entrestate.transitions() lists them, so that documents and user interfaces
 * are made from what is enforced.  A from-state of "" is the creation.
 */
#include "core/core.h"

#include "funcapi.h"
#include "utils/builtins.h"

typedef struct Transition
{
	const char *machine;
	const char *from;
	const char *to;
} Transition;

static const Transition transitions[] = {
	/* A4: the campaign spine */
	{"campaign", "", "draft"},
	{"campaign", "draft", "active"},
	{"campaign", "draft", "archived"},
	{"campaign", "active", "paused"},
	{"campaign", "paused", "active"},
	{"campaign", "active", "completed"},
	{"campaign", "paused", "completed"},
	{"campaign", "completed", "archived"},

	/* A7 and C: the union of the documents' lead statuses */
	{"lead", "", "new"},
	{"lead", "new", "enriched"},
	{"lead", "new", "contacted"},
	{"lead", "new", "replied"},
	{"lead", "new", "booked"},
	{"lead", "new", "lost"},
	{"lead", "enriched", "drafted"},
	{"lead", "enriched", "contacted"},
	{"lead", "enriched", "replied"},
	{"lead", "enriched", "booked"},
	{"lead", "enriched", "lost"},
	{"lead", "drafted", "approved"},
	{"lead", "drafted", "enriched"},
	{"lead", "drafted", "replied"},
	{"lead", "drafted", "booked"},
	{"lead", "drafted", "lost"},
	{"lead", "approved", "contacted"},
	{"lead", "approved", "drafted"},
	{"lead", "approved", "replied"},
	{"lead", "approved", "booked"},
	{"lead", "approved", "lost"},
	{"lead", "contacted", "replied"},
	{"lead", "contacted", "booked"},
	{"lead", "contacted", "lost"},
	{"lead", "replied", "contacted"},
	{"lead", "replied", "booked"},
	{"lead", "replied", "lost"},
	{"lead", "booked", "lost"},
	{"lead", "lost", "new"},

	/* A person takes a lead over; a ticket that was taken can be given back. */
	{"handoff", "", "open"},
	{"handoff", "open", "taken"},
	{"handoff", "taken", "open"},
	{"handoff", "open", "resolved"},
	{"handoff", "taken", "resolved"},

	/* SENDER.md section 1 */
	{"sequence", "", "draft"},
	{"sequence", "draft", "published"},
	{"sequence", "published", "archived"},

	{"template", "", "draft"},
	{"template", "draft", "approved"},
	{"template", "draft", "rejected"},
	{"template", "rejected", "draft"},
	{"template", "approved", "retired"},

	{"identity", "", "unverified"},
	{"identity", "unverified", "pending"},
	{"identity", "pending", "verified"},
	{"identity", "pending", "failed"},
	{"identity", "failed", "pending"},
	{"identity", "verified", "revoked"},
	{"identity", "revoked", "pending"},

	/* SENDER.md section 3 */
	{"run", "", "pending"},
	{"run", "pending", "running"},
	{"run", "pending", "done"},
	{"run", "running", "done"},
	{"run", "pending", "suppressed"},
	{"run", "running", "suppressed"},
	{"run", "pending", "failed"},
	{"run", "running", "failed"},
	{"run", "failed", "running"},
	/* a rehearsal begins again when its campaign goes live; not once the run
	 * has sent anything (a constraint of sender_runs) */
	{"run", "running", "pending"},
	{"run", "done", "pending"},

	/*
	 * SENDER.md section 5.  The sandbox provider has no wire: its outcome is
	 * known in the transaction that starts it, so an intent may be born with
	 * it.
	 */
	{"intent", "", "ready"},
	{"intent", "", "sent"},
	{"intent", "", "failed"},
	{"intent", "", "unknown"},
	{"intent", "ready", "leased"},
	{"intent", "leased", "ready"},
	{"intent", "leased", "started"},
	{"intent", "started", "sent"},
	{"intent", "started", "failed"},
	{"intent", "started", "unknown"},
	{"intent", "unknown", "sent"},
	{"intent", "unknown", "failed"},
	{"intent", "ready", "voided"},
	{"intent", "leased", "voided"},

	/* SENDER.md section 8: a test send; the sandbox and a dry run are final at
	 * once */
	{"test", "", "ready"},
	{"test", "", "sent"},
	{"test", "", "simulated"},
	{"test", "ready", "sent"},
	{"test", "ready", "failed"},
	{"test", "ready", "unknown"},
	{"test", "unknown", "sent"},
	{"test", "unknown", "failed"},
};

/* es_transition_allowed tells whether a machine may go from one state to another. */
bool
es_transition_allowed(const char *machine, const char *from, const char *to)
{
	/* the rows of a statement go the same way as a rule */
	static size_t last = 0;

	for (size_t n = 0; n < lengthof(transitions); n++)
	{
		size_t		i = (last + n) % lengthof(transitions);

		if (strcmp(transitions[i].machine, machine) == 0 &&
			strcmp(transitions[i].from, from) == 0 &&
			strcmp(transitions[i].to, to) == 0)
		{
			last = i;
			return true;
		}
	}
	return false;
}

PG_FUNCTION_INFO_V1(core_transitions);

Datum
core_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(transitions); i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(transitions[i].machine);
		nulls[1] = transitions[i].from[0] == '\0';
		values[1] = CStringGetTextDatum(transitions[i].from);
		values[2] = CStringGetTextDatum(transitions[i].to);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
