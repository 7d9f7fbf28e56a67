/*
 * upkeep.c
 *		Opens the door for the partition maker.
 *
 * The work is DDL made from the declarations (guard/functions.sql,
 * partition_upkeep); this function is what makes it pass the event triggers,
 * and lets one session at a time do it.
 */
#include "core/core.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "guard/guard.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(guard_upkeep);

/* guard_upkeep(months_back, months_ahead), as the owner role (definer) */
Datum
guard_upkeep(PG_FUNCTION_ARGS)
{
	static EsPlan work = {
		"SELECT entrestate.partition_upkeep($1, $2)", 2, {INT4OID, INT4OID}};
	Datum		values[2];
	bool		isnull;
	volatile Datum result = (Datum) 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_GETARG_INT32(0) < 0 ||
		PG_GETARG_INT32(1) < 0 || PG_GETARG_INT32(0) > 120 ||
		PG_GETARG_INT32(1) > 120)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("months_back and months_ahead are numbers from 0 to 120")));
	/* rows that an older snapshot does not see would be lost in the move */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("upkeep() must run in READ COMMITTED"),
				 errhint("SELECT entrestate.upkeep(); in a transaction of its own.")));
	es_require_schema();
	SPI_connect();
	if (!es_lock_try(ES_LOCK_UPKEEP, NULL))
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	es_door_open(ES_DOOR_UPKEEP);
	PG_TRY();
	{
		es_spi_run(&work, SPI_OK_SELECT, values, NULL);
		result = es_spi_get(0, 1, &isnull);
	}
	PG_FINALLY();
	{
		es_door_close();
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(guard_any_row);

/*
 * guard_any_row(relation) looks past row security, which would hide the rows
 * of all tenants from the owner.  It tells nothing but whether there are any.
 */
Datum
guard_any_row(PG_FUNCTION_ARGS)
{
	Relation	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;
	Snapshot	snapshot;
	bool		found;

	/* the newest snapshot: a transaction's own may be older than a row */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	PG_RETURN_BOOL(found);
}
