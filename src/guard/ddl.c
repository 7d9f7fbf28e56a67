/*
 * ddl.c
 *		Event triggers against the DDL that gets round the guards.
 *
 * What they refuse, on any table of ours, outside migrate() and upkeep():
 *
 *	start	DROP EXTENSION entrestate CASCADE, DROP SCHEMA entrestate CASCADE:
 *			afterwards these triggers would be gone before they could fire;
 *			ALTER EXTENSION entrestate ADD or DROP a member.
 *	end		switching triggers, rules or row security; detaching a partition;
 *			attaching one that holds rows or lies elsewhere; making one, or an
 *			heir; another owner, inheritance, schema, UNLOGGED;
 *			a foreign key out of an append-only table (its cascade would change
 *			rows), another constraint; a rule; a foreign trigger on an
 *			append-only table, a trigger put in another's place; a policy
 *			that is not one of guard_policies(); a new body for one of our
 *			functions, or a planted function of the owner role.
 *	drop	a table, column, constraint, trigger, policy or view of ours.
 *	rewrite	anything that rewrites an append-only table's rows.
 *
 * A restore must pass: pg_restore makes tables, attaches empty partitions,
 * makes triggers and ENABLEs them ALWAYS, and makes the policies again.  So
 * the end trigger refuses what is done, not what is missing.
 *
 * Left open by PostgreSQL, and reported by verify() or found by the evidence:
 * docs/guard.md lists them.
 */
#include "core/core.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "guard/guard.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void
refuse(const char *what, const char *where)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_GUARDED_DDL)),
			 errmsg("%s is refused on %s", what, where),
			 errdetail("It would take away a guard of entrestate, or rows that the guard protects."),
			 errhint("Schema changes come with entrestate.migrate(), partitions with entrestate.upkeep(). docs/guard.md says what a DBA can do instead.")));
}

static EventTriggerData *
event_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by the event trigger manager")));
	return (EventTriggerData *) fcinfo->context;
}

/* is_ours tells whether a relation lies in our schema. */
static bool
is_ours(Oid relid)
{
	return OidIsValid(relid) &&
		get_rel_namespace(relid) == get_namespace_oid(ES_SCHEMA, true);
}

/* query_bool asks a question about one OID. */
static bool
query_bool(EsPlan *plan, Oid oid)
{
	Datum		value = ObjectIdGetDatum(oid);
	bool		isnull;
	Datum		d;

	es_spi_run(plan, SPI_OK_SELECT, &value, " ");
	d = es_spi_get(0, 1, &isnull);
	return !isnull && DatumGetBool(d);
}

/* is_append_only: our table carries the guard, or did when it was declared. */
static bool
is_append_only(Oid relid)
{
	static EsPlan plan = {
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid"
		" WHERE t.tgrelid OPERATOR(pg_catalog.=) $1"
		" AND p.proname OPERATOR(pg_catalog.=) 'guard_append_only'"
		" AND p.pronamespace OPERATOR(pg_catalog.=) 'entrestate'::pg_catalog.regnamespace)",
	1, {OIDOID}};

	return is_ours(relid) && query_bool(&plan, relid);
}

static bool
is_member(Oid classid, Oid objid)
{
	Oid			ext = get_extension_oid("entrestate", true);

	return OidIsValid(ext) && getExtensionOfObject(classid, objid) == ext;
}

/* has_rows looks into a new partition, past its own row security. */
static bool
has_rows(Oid relid)
{
	static EsPlan plan = {"SELECT entrestate.guard_any_row($1)", 1, {OIDOID}};

	return query_bool(&plan, relid);
}

/* is_child_of_ours: a partition of one of our tables, or its heir. */
static bool
is_child_of_ours(Oid relid)
{
	static EsPlan plan = {
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits i"
		" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhparent"
		" WHERE i.inhrelid OPERATOR(pg_catalog.=) $1 AND c.relnamespace"
		" OPERATOR(pg_catalog.=) 'entrestate'::pg_catalog.regnamespace)",
	1, {OIDOID}};

	return query_bool(&plan, relid);
}

/* is_owners: the owner role's, where our tables can be told by after a move. */
static bool
is_owners(Oid relid)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		owners;

	if (!HeapTupleIsValid(tup))
		return false;
	owners = ((Form_pg_class) GETSTRUCT(tup))->relowner == es_owner();
	ReleaseSysCache(tup);
	return owners;
}

/* check_subcommand judges one part of an ALTER TABLE. */
static void
check_subcommand(Oid relid, AlterTableCmd *cmd, const char *identity)
{
	switch (cmd->subtype)
	{
		case AT_EnableTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrig:
		case AT_EnableTrigAll:
		case AT_DisableTrigAll:
		case AT_EnableTrigUser:
		case AT_DisableTrigUser:
			refuse("switching triggers", identity);
			break;
		case AT_EnableRule:
		case AT_EnableAlwaysRule:
		case AT_EnableReplicaRule:
		case AT_DisableRule:
			refuse("switching rules", identity);
			break;
		case AT_DisableRowSecurity:
		case AT_NoForceRowSecurity:
			refuse("switching row security off", identity);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			refuse("detaching a partition", identity);
			break;
		case AT_AttachPartition:
			{
				PartitionCmd *p = castNode(PartitionCmd, cmd->def);
				Oid			child = RangeVarGetRelid(p->name, NoLock, true);

				if (OidIsValid(child) &&
					(!is_ours(child) || get_rel_relkind(child) != RELKIND_RELATION ||
					 has_rows(child)))
					refuse("attaching a partition that holds rows or lies elsewhere", identity);
				break;
			}
		case AT_ChangeOwner:
			if (get_rolespec_oid(cmd->newowner, true) != es_owner())
				refuse("changing the owner", identity);
			break;
		case AT_AddInherit:
		case AT_DropInherit:
		case AT_AddOf:
		case AT_DropOf:
			refuse("changing the inheritance", identity);
			break;
		case AT_SetUnLogged:
			refuse("SET UNLOGGED", identity);
			break;
		case AT_DropColumn:
			refuse("dropping a column", identity);
			break;
		case AT_DropNotNull:
			refuse("DROP NOT NULL", identity);
			break;
		case AT_AlterColumnType:
			refuse("changing a column's type", identity);
			break;
		case AT_AlterConstraint:
			refuse("altering a constraint", identity);
			break;
		default:
			break;
	}
}

/*
 * check_foreign_key looks for a foreign key in the catalog: which subcommand
 * adds one differs between versions.
 */
static void
check_foreign_key(Oid relid, const char *identity)
{
	static EsPlan plan = {
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint"
		" WHERE conrelid OPERATOR(pg_catalog.=) $1"
		" AND contype OPERATOR(pg_catalog.=) 'f')", 1, {OIDOID}};

	if (is_append_only(relid) && query_bool(&plan, relid))
		refuse("a foreign key out of an append-only table", identity);
}

/* check_trigger judges a trigger that was just made. */
static void
check_trigger(Oid oid, bool replace, const char *identity)
{
	static EsPlan plan = {
		"SELECT tgrelid, tgfoid FROM pg_catalog.pg_trigger"
		" WHERE oid OPERATOR(pg_catalog.=) $1", 1, {OIDOID}};
	Datum		value = ObjectIdGetDatum(oid);
	bool		isnull;
	Oid			relid,
				fn;

	if (es_spi_run(&plan, SPI_OK_SELECT, &value, " ") == 0)
		return;
	relid = DatumGetObjectId(es_spi_get(0, 1, &isnull));
	fn = DatumGetObjectId(es_spi_get(0, 2, &isnull));
	if (replace && is_ours(relid))
		refuse("replacing a trigger", identity);
	if (is_append_only(relid) && !is_member(ProcedureRelationId, fn))
		refuse("a foreign trigger", identity);
}

/* check_rule judges a rule that was just made; a view's own is one, too. */
static void
check_rule(Oid oid, const char *identity)
{
	static EsPlan plan = {
		"SELECT ev_class FROM pg_catalog.pg_rewrite"
		" WHERE oid OPERATOR(pg_catalog.=) $1", 1, {OIDOID}};
	Datum		value = ObjectIdGetDatum(oid);
	bool		isnull;
	Oid			relid;

	if (es_spi_run(&plan, SPI_OK_SELECT, &value, " ") == 0)
		return;
	relid = DatumGetObjectId(es_spi_get(0, 1, &isnull));
	if (is_ours(relid) && get_rel_relkind(relid) != RELKIND_VIEW)
		refuse("a rule", identity);
}

/* check_policy judges a policy that was just made or altered. */
static void
check_policy(Oid oid, const char *identity)
{
	static EsPlan of_rel = {
		"SELECT polrelid FROM pg_catalog.pg_policy"
		" WHERE oid OPERATOR(pg_catalog.=) $1", 1, {OIDOID}};
	static EsPlan ours = {
		"SELECT entrestate.guard_policy_is_ours($1)", 1, {OIDOID}};
	Datum		value = ObjectIdGetDatum(oid);
	bool		isnull;

	if (es_spi_run(&of_rel, SPI_OK_SELECT, &value, " ") == 0)
		return;
	if (is_ours(DatumGetObjectId(es_spi_get(0, 1, &isnull))) &&
		!query_bool(&ours, oid))
		refuse("a policy that is not entrestate's own", identity);
}

/* check_function judges a function that was just made or altered. */
static void
check_function(Oid oid, bool in_extension, const char *identity)
{
	HeapTuple	tup;
	bool		owners;

	if (in_extension)
		return;
	if (is_member(ProcedureRelationId, oid))
		refuse("changing a function of the extension", identity);
	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tup))
		return;
	owners = ((Form_pg_proc) GETSTRUCT(tup))->proowner == es_owner();
	ReleaseSysCache(tup);
	if (owners)
		refuse("a function of the owner role", identity);
}

PG_FUNCTION_INFO_V1(guard_ddl_end);

Datum
guard_ddl_end(PG_FUNCTION_ARGS)
{
	uint64		n;
	SPITupleTable *rows;

	(void) event_data(fcinfo);
	if (es_door() != ES_DOOR_CLOSED)
		PG_RETURN_NULL();

	SPI_connect();
	es_spi_exec("SELECT classid, objid, object_identity, in_extension, command,"
				" command_tag FROM pg_catalog.pg_event_trigger_ddl_commands()",
				SPI_OK_SELECT);
	n = SPI_processed;
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		HeapTuple	row = rows->vals[i];
		TupleDesc	desc = rows->tupdesc;
		Oid			classid = DatumGetObjectId(SPI_getbinval(row, desc, 1, &isnull));
		Oid			objid = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
		char	   *identity = SPI_getvalue(row, desc, 3);
		bool		in_ext = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
		CollectedCommand *cmd =
			(CollectedCommand *) DatumGetPointer(SPI_getbinval(row, desc, 5, &isnull));
		ListCell   *lc;

		if (isnull || identity == NULL)
			continue;
		if (cmd->type == SCT_AlterTable)
		{
			if (is_ours(cmd->d.alterTable.objectId))
			{
				foreach(lc, cmd->d.alterTable.subcmds)
				{
					CollectedATSubcmd *sub = lfirst(lc);

					if (IsA(sub->parsetree, AlterTableCmd))
						check_subcommand(cmd->d.alterTable.objectId,
										 (AlterTableCmd *) sub->parsetree,
										 identity);
				}
				check_foreign_key(cmd->d.alterTable.objectId, identity);
			}
		}
		else if (classid == TriggerRelationId)
		{
			if (IsA(cmd->parsetree, RenameStmt) &&
				is_ours(RangeVarGetRelid(((RenameStmt *) cmd->parsetree)->relation,
										 NoLock, true)))
				refuse("renaming a trigger", identity);
			check_trigger(objid, IsA(cmd->parsetree, CreateTrigStmt) &&
						  ((CreateTrigStmt *) cmd->parsetree)->replace, identity);
		}
		else if (classid == RewriteRelationId)
			check_rule(objid, identity);
		else if (classid == PolicyRelationId)
			check_policy(objid, identity);
		else if (classid == ProcedureRelationId)
			check_function(objid, in_ext, identity);
		else if (classid == RelationRelationId &&
				 IsA(cmd->parsetree, RenameStmt) && is_ours(objid))
			refuse("renaming", identity);
		else if (classid == RelationRelationId &&
				 IsA(cmd->parsetree, AlterObjectSchemaStmt) &&
				 (is_ours(objid) || is_owners(objid)))
			refuse("moving to another schema", identity);
		else if (classid == RelationRelationId &&
				 (IsA(cmd->parsetree, CreateStmt) ||
				  IsA(cmd->parsetree, CreateForeignTableStmt)) &&
				 is_child_of_ours(objid))
			refuse("making a partition or an heir", identity);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(guard_ddl_start);

Datum
guard_ddl_start(PG_FUNCTION_ARGS)
{
	EventTriggerData *t = event_data(fcinfo);
	ListCell   *lc;

	if (es_door() != ES_DOOR_CLOSED)
		PG_RETURN_NULL();
	if (t->parsetree != NULL && IsA(t->parsetree, DropStmt))
	{
		DropStmt   *drop = (DropStmt *) t->parsetree;

		if ((drop->removeType == OBJECT_EXTENSION ||
			 drop->removeType == OBJECT_SCHEMA) &&
			drop->behavior == DROP_CASCADE &&
			OidIsValid(es_relation("tenants")))
			foreach(lc, drop->objects)
				if (IsA(lfirst(lc), String) &&
					strcmp(strVal(lfirst(lc)), "entrestate") == 0)
					refuse("DROP ... CASCADE", "entrestate");
	}
	if (t->parsetree != NULL && IsA(t->parsetree, RenameStmt) &&
		((RenameStmt *) t->parsetree)->renameType == OBJECT_SCHEMA &&
		strcmp(((RenameStmt *) t->parsetree)->subname, "entrestate") == 0)
		refuse("renaming", "schema entrestate");
	/* pg_upgrade makes the members one by one */
	if (t->parsetree != NULL && IsA(t->parsetree, AlterExtensionContentsStmt) &&
		strcmp(((AlterExtensionContentsStmt *) t->parsetree)->extname, "entrestate") == 0 &&
		!IsBinaryUpgrade)
		refuse("changing the members", "extension entrestate");
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(guard_drop);

Datum
guard_drop(PG_FUNCTION_ARGS)
{
	(void) event_data(fcinfo);
	if (es_door() != ES_DOOR_CLOSED)
		PG_RETURN_NULL();
	SPI_connect();
	es_spi_exec("SELECT object_type, object_identity"
				" FROM pg_catalog.pg_event_trigger_dropped_objects()"
				" WHERE NOT is_temporary"
				" AND address_names[1] OPERATOR(pg_catalog.=) 'entrestate'"
				" AND object_type OPERATOR(pg_catalog.=) ANY (ARRAY['table',"
				"'table column','table constraint','trigger','policy','rule',"
				"'view','sequence']) LIMIT 1", SPI_OK_SELECT);
	if (SPI_processed > 0)
		refuse(psprintf("dropping a %s",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
			   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	SPI_finish();
	PG_RETURN_NULL();
}

PG_FUNCTION_INFO_V1(guard_rewrite);

Datum
guard_rewrite(PG_FUNCTION_ARGS)
{
	Oid			relid;

	(void) event_data(fcinfo);
	if (es_door() != ES_DOOR_CLOSED)
		PG_RETURN_NULL();
	relid = DatumGetObjectId(OidFunctionCall0(F_PG_EVENT_TRIGGER_TABLE_REWRITE_OID));
	SPI_connect();
	if (is_append_only(relid))
		refuse("rewriting the rows", get_rel_name(relid));
	SPI_finish();
	PG_RETURN_NULL();
}
