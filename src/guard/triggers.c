/*
 * triggers.c
 *		The triggers that enforce the laws on rows.
 *
 *	guard_append_only	refuses UPDATE, DELETE and TRUNCATE, always (L2).  It has
 *						no door.  Fires ALWAYS: in every replication role.
 *	guard_system_only	lets only our own definer functions write (L7, and the
 *						inserts of L2's tables).  Fires ALWAYS; it lets a
 *						subscriber's worker copy, which no session can be.
 *	guard_tenant_stamp	gives a row its tenant from the context and refuses any
 *						other (L1).
 *	guard_transition	enforces core/transitions.c.
 *	guard_content		keeps what was published or approved as it was.  Fires
 *						ALWAYS, but for migrate() and a subscriber's worker.
 *
 * Stamp and transition fire in the ORIGIN role only: a subscriber's apply worker has
 * no tenant context and copies what was already judged (an ALWAYS stamp stops
 * logical replication).
 *
 * "The system" is told in C, since neither current_user nor a setting can be
 * trusted to tell it: the current user is the table's owner, and it became so
 * by a definer function.  A superuser, SET ROLE to the owner, and COPY fail
 * that test.
 */
#include "core/core.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "guard/guard.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "tenancy/tenancy.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static EsDoor door = ES_DOOR_CLOSED;
static bool door_callback = false;

/* door_end shuts the door at the end of the transaction, whatever happened. */
static void
door_end(XactEvent event, void *arg)
{
	door = ES_DOOR_CLOSED;
}

void
es_door_open(EsDoor which)
{
	if (!door_callback)
	{
		RegisterXactCallback(door_end, NULL);
		door_callback = true;
	}
	door = which;
}

void
es_door_close(void)
{
	door = ES_DOOR_CLOSED;
}

EsDoor
es_door(void)
{
	return door;
}

/* es_is_system tells whether our own definer code is at work on a table. */
bool
es_is_system(Oid relowner)
{
	Oid			user;
	int			sec;

	GetUserIdAndSecContext(&user, &sec);
	return user == relowner && (sec & SECURITY_LOCAL_USERID_CHANGE) != 0;
}

/* trigger_data checks that a guard is called as it was declared. */
static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *name)
{
	TriggerData *t = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by the trigger manager", name)));
	if (!TRIGGER_FIRED_BEFORE(t->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired BEFORE", name)));
	return t;
}

static const char *
verb(TriggerEvent e)
{
	return TRIGGER_FIRED_BY_INSERT(e) ? "INSERT" :
		TRIGGER_FIRED_BY_UPDATE(e) ? "UPDATE" :
		TRIGGER_FIRED_BY_DELETE(e) ? "DELETE" : "TRUNCATE";
}

PG_FUNCTION_INFO_V1(guard_append_only);

Datum
guard_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *t = trigger_data(fcinfo, "guard_append_only");

	if (TRIGGER_FIRED_BY_INSERT(t->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"guard_append_only\" is not for INSERT")));
	ereport(ERROR,
			(errcode(es_errcode(ES_APPEND_ONLY)),
			 errmsg("%s is refused: table \"%s\" is append-only",
					verb(t->tg_event), RelationGetRelationName(t->tg_relation)),
			 errdetail("Its rows are evidence: nobody changes or removes them, superusers included."),
			 errhint("Correct a fact by recording a new one. Old rows leave with their whole partition, through the retention job."),
			 errtable(t->tg_relation)));
	PG_RETURN_NULL();			/* not reached */
}

PG_FUNCTION_INFO_V1(guard_system_only);

Datum
guard_system_only(PG_FUNCTION_ARGS)
{
	TriggerData *t = trigger_data(fcinfo, "guard_system_only");

	if (door == ES_DOOR_CLOSED &&
		!es_is_system(t->tg_relation->rd_rel->relowner) &&
		!IsLogicalWorker())
		ereport(ERROR,
				(errcode(es_errcode(ES_SYSTEM_ONLY)),
				 errmsg("%s is refused: table \"%s\" is written by the system alone",
						verb(t->tg_event),
						RelationGetRelationName(t->tg_relation)),
				 errdetail("Its rows come from entrestate's own functions, superusers included."),
				 errhint("Call the function that does what you want; docs/api.md lists them."),
				 errtable(t->tg_relation)));
	/* the value is ignored for a statement trigger */
	return PointerGetDatum(NULL);
}

/* refuse_tenant raises without naming the other tenant or the row. */
static void
refuse_tenant(Relation rel, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_CROSS_TENANT)),
			 errmsg("write to table \"%s\" is refused: %s",
					RelationGetRelationName(rel), what),
			 errhint("%s", hint),
			 errtable(rel)));
}

PG_FUNCTION_INFO_V1(guard_tenant_stamp);

Datum
guard_tenant_stamp(PG_FUNCTION_ARGS)
{
	TriggerData *t = trigger_data(fcinfo, "guard_tenant_stamp");
	TupleDesc	desc = RelationGetDescr(t->tg_relation);
	bool		update = TRIGGER_FIRED_BY_UPDATE(t->tg_event);
	HeapTuple	row = update ? t->tg_newtuple : t->tg_trigtuple;
	const pg_uuid_t *tenant;
	Datum		value;
	bool		isnull;

	if (!TRIGGER_FIRED_FOR_ROW(t->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(t->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"guard_tenant_stamp\" is for INSERT and UPDATE of rows")));
	if (strcmp(NameStr(TupleDescAttr(desc, 0)->attname), "tenant_id") != 0 ||
		TupleDescAttr(desc, 0)->atttypid != UUIDOID)
		elog(ERROR, "the first column of table \"%s\" is not tenant_id uuid",
			 RelationGetRelationName(t->tg_relation));
	if (door != ES_DOOR_CLOSED)
		return PointerGetDatum(row);

	tenant = es_current_tenant();
	if (tenant == NULL)
		refuse_tenant(t->tg_relation, "there is no tenant context",
					  "In the same transaction: entrestate.login(tenant, user).");
	value = heap_getattr(row, 1, desc, &isnull);
	if (!isnull)
	{
		if (memcmp(DatumGetUUIDP(value), tenant, UUID_LEN) != 0)
			refuse_tenant(t->tg_relation,
						  "the row's tenant is not that of the context",
						  "Leave tenant_id out: it comes from the context.");
	}
	else if (!update)
	{
		int			col = 1;
		Datum		new_value = UUIDPGetDatum(tenant);
		bool		new_null = false;

		row = heap_modify_tuple_by_cols(row, desc, 1, &col, &new_value,
										&new_null);
	}
	if (update)
	{
		Datum		old = heap_getattr(t->tg_trigtuple, 1, desc, &isnull);

		if (isnull || memcmp(DatumGetUUIDP(old), tenant, UUID_LEN) != 0)
			refuse_tenant(t->tg_relation, "a row never changes its tenant",
						  "Export it there and import it here.");
	}
	return PointerGetDatum(row);
}

PG_FUNCTION_INFO_V1(guard_transition);

/* guard_transition('machine', 'column') */
Datum
guard_transition(PG_FUNCTION_ARGS)
{
	TriggerData *t = trigger_data(fcinfo, "guard_transition");
	TupleDesc	desc = RelationGetDescr(t->tg_relation);
	bool		update = TRIGGER_FIRED_BY_UPDATE(t->tg_event);
	HeapTuple	row = update ? t->tg_newtuple : t->tg_trigtuple;
	const char *machine;
	char	   *from = "";
	char	   *to;
	const char *article;
	Datum		is;
	Datum		was;
	bool		isnull;
	bool		wasnull = false;
	int			col;

	if (t->tg_trigger->tgnargs != 2 || !TRIGGER_FIRED_FOR_ROW(t->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(t->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"guard_transition\" takes a machine and a column and is for INSERT and UPDATE of rows")));
	machine = t->tg_trigger->tgargs[0];
	col = SPI_fnumber(desc, t->tg_trigger->tgargs[1]);
	if (col <= 0 || TupleDescAttr(desc, col - 1)->atttypid != TEXTOID)
		elog(ERROR, "there is no text column \"%s\"", t->tg_trigger->tgargs[1]);
	is = heap_getattr(row, col, desc, &isnull);
	was = update ? heap_getattr(t->tg_trigtuple, col, desc, &wasnull) : (Datum) 0;
	if (isnull || wasnull)
		return PointerGetDatum(row);	/* NOT NULL will speak */
	/* most rows stay what they are */
	if (update && datum_image_eq(was, is, false, -1))
		return PointerGetDatum(row);
	to = TextDatumGetCString(is);
	if (update)
		from = TextDatumGetCString(was);
	article = strchr("aeiou", machine[0]) ? "an" : "a";
	if (!es_transition_allowed(machine, from, to))
		ereport(ERROR,
				(errcode(es_errcode(ES_TRANSITION)),
				 update
				 ? errmsg("%s %s cannot go from %s to %s",
						  article, machine, from, to)
				 : errmsg("%s %s cannot begin as %s",
						  article, machine, to),
				 errhint("entrestate.transitions() lists what is allowed."),
				 errtable(t->tg_relation)));
	return PointerGetDatum(row);
}

/* refuse_content raises for a row that is published or approved. */
static void
refuse_content(Relation rel, TriggerEvent e)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_WRONG_STATE)),
			 errmsg("%s is refused: the row of table \"%s\" is no draft any more",
					verb(e), RelationGetRelationName(rel)),
			 errdetail("What was published or approved never changes: runs follow it."),
			 errhint("Make a new version."),
			 errtable(rel)));
}

/* sequence_is_draft looks a step's sequence up; one that is not there counts. */
static bool
sequence_is_draft(HeapTuple step, TupleDesc desc)
{
	static EsPlan plan = {
		"SELECT s.status FROM entrestate.sender_sequences s"
		" WHERE s.tenant_id OPERATOR(pg_catalog.=) $1 AND s.campaign_id OPERATOR(pg_catalog.=) $2"
		" AND s.version OPERATOR(pg_catalog.=) $3",
	3, {UUIDOID, UUIDOID, INT4OID}};
	static const char *const key[] = {"tenant_id", "campaign_id", "version"};
	Datum		values[3];
	bool		isnull;
	bool		draft = true;

	for (int i = 0; i < 3; i++)
	{
		values[i] = heap_getattr(step, SPI_fnumber(desc, key[i]), desc, &isnull);
		if (isnull)
			return true;		/* NOT NULL will speak */
	}
	SPI_connect();
	if (es_spi_run(&plan, SPI_OK_SELECT, values, NULL) > 0)
		draft = strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "draft") == 0;
	SPI_finish();
	return draft;
}

PG_FUNCTION_INFO_V1(guard_content);

/*
 * guard_content(column...) keeps a row whose status is not draft: only the
 * named columns may change.  Without columns it keeps the steps of a sequence
 * that is no draft.
 */
Datum
guard_content(PG_FUNCTION_ARGS)
{
	TriggerData *t = trigger_data(fcinfo, "guard_content");
	TupleDesc	desc = RelationGetDescr(t->tg_relation);
	bool		update = TRIGGER_FIRED_BY_UPDATE(t->tg_event);
	bool		insert = TRIGGER_FIRED_BY_INSERT(t->tg_event);
	HeapTuple	old = t->tg_trigtuple;
	HeapTuple	row = update ? t->tg_newtuple : old;
	char	   *status;

	if (!TRIGGER_FIRED_FOR_ROW(t->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"guard_content\" is for rows")));
	if (door != ES_DOOR_CLOSED || IsLogicalWorker())
		return PointerGetDatum(row);
	if (t->tg_trigger->tgnargs == 0)
	{
		if (!sequence_is_draft(old, desc) || (update && !sequence_is_draft(row, desc)))
			refuse_content(t->tg_relation, t->tg_event);
		return PointerGetDatum(row);
	}
	if (insert)
		return PointerGetDatum(row);
	status = SPI_getvalue(old, desc, SPI_fnumber(desc, "status"));
	if (status == NULL || strcmp(status, "draft") == 0)
		return PointerGetDatum(row);
	if (!update)
		refuse_content(t->tg_relation, t->tg_event);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(desc, i);
		bool		free = a->attisdropped;
		bool		was_null;
		bool		is_null;
		Datum		was;
		Datum		is;

		for (int k = 0; k < t->tg_trigger->tgnargs && !free; k++)
			free = strcmp(t->tg_trigger->tgargs[k], NameStr(a->attname)) == 0;
		if (free)
			continue;
		was = heap_getattr(old, i + 1, desc, &was_null);
		is = heap_getattr(row, i + 1, desc, &is_null);
		if (was_null != is_null ||
			(!is_null && !datum_image_eq(was, is, a->attbyval, a->attlen)))
			refuse_content(t->tg_relation, t->tg_event);
	}
	return PointerGetDatum(row);
}

PG_FUNCTION_INFO_V1(guard_door);

/* guard_door tells our own PL/pgSQL whether the door is open. */
Datum
guard_door(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(door != ES_DOOR_CLOSED);
}
