/*
 * ticks.c
 *		Epochs and ticks: how consumers read event tables exactly.
 *
 * PgQ's technique.  Every event carries (epoch, txid): the top-level id of its
 * transaction, and a number that changes when transaction ids begin again (a
 * dump restored into another cluster).  A tick is a stored pg_snapshot.  A
 * batch is what became visible between two ticks: txid from xmax(last) to
 * below xmax(current) and visible in current, and those in xip(last) that are
 * visible in current.  It waits for nobody, and costs what is new.
 *
 * A tick is a transaction of its own: the snapshot of a transaction that has
 * an id already says that everything below xmax but its xip is finished, and
 * its own id is below xmax and not in xip, so its own events would be lost.
 *
 * An epoch is opened by the first writer (or tick) that finds the cluster's
 * system identifier changed, under an advisory lock; the row is part of its
 * transaction, so others wait for it once.  A session remembers the epoch only
 * when the row was committed by somebody else before.
 */
#include "core/core.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

static int16 known_epoch = 0;	/* committed epoch of this cluster, 0: not asked */

/* find_epoch looks the newest epoch up; 0 when it is not this cluster's. */
static int16
find_epoch(bool *committed)
{
	static EsPlan plan = {
		"SELECT e.epoch, e.system_identifier = $1, e.xmin"
		" FROM entrestate.epochs e ORDER BY e.epoch DESC LIMIT 1", 1, {INT8OID}};
	Datum		value = Int64GetDatum((int64) GetSystemIdentifier());
	bool		isnull;

	*committed = false;
	if (es_spi_run(&plan, SPI_OK_SELECT, &value, NULL) == 0 ||
		!DatumGetBool(es_spi_get(0, 2, &isnull)))
		return 0;
	*committed = !TransactionIdIsCurrentTransactionId(DatumGetTransactionId(es_spi_get(0, 3, &isnull)));
	return DatumGetInt16(es_spi_get(0, 1, &isnull));
}

PG_FUNCTION_INFO_V1(activity_current_epoch);

/* activity_current_epoch, as the owner role (definer) */
Datum
activity_current_epoch(PG_FUNCTION_ARGS)
{
	static EsPlan open = {
		"INSERT INTO entrestate.epochs (epoch, system_identifier, opened_at)"
		" SELECT coalesce(max(epoch), 0) + 1, $1, entrestate.clock_now()"
		" FROM entrestate.epochs RETURNING epoch", 1, {INT8OID}};
	Datum		value = Int64GetDatum((int64) GetSystemIdentifier());
	bool		committed;
	bool		isnull;
	int16		epoch;

	if (known_epoch != 0)
		PG_RETURN_INT16(known_epoch);
	SPI_connect();
	epoch = find_epoch(&committed);
	if (epoch == 0)
	{
		es_lock(ES_LOCK_EPOCH);
		epoch = find_epoch(&committed); /* somebody else was quicker */
		if (epoch == 0)
		{
			es_spi_run(&open, SPI_OK_INSERT_RETURNING, &value, NULL);
			epoch = DatumGetInt16(es_spi_get(0, 1, &isnull));
			committed = false;
		}
	}
	if (committed)
		known_epoch = epoch;
	SPI_finish();
	PG_RETURN_INT16(epoch);
}

PG_FUNCTION_INFO_V1(activity_event_epoch);

/*
 * activity_event_epoch is the cheap way there: a default of every event row
 * should not change the user and the settings.
 */
Datum
activity_event_epoch(PG_FUNCTION_ARGS)
{
	static EsPlan plan = {"SELECT entrestate.current_epoch()", 0};
	bool		isnull;
	Datum		d;

	if (known_epoch != 0)
		PG_RETURN_INT16(known_epoch);
	SPI_connect();
	es_spi_run(&plan, SPI_OK_SELECT, NULL, NULL);
	d = es_spi_get(0, 1, &isnull);
	SPI_finish();
	PG_RETURN_DATUM(d);
}

PG_FUNCTION_INFO_V1(activity_tick);

/* activity_tick, as the owner role (definer) */
Datum
activity_tick(PG_FUNCTION_ARGS)
{
	static EsPlan plan = {
		"INSERT INTO entrestate.ticks (epoch, snapshot, ticked_at)"
		" VALUES ($1, $2::pg_catalog.pg_snapshot, pg_catalog.clock_timestamp())"
		" RETURNING tick_id", 2, {INT2OID, TEXTOID}};
	Datum		values[2];
	bool		isnull;
	Datum		result;
	char	   *snapshot;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby does not tick")));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()) || IsSubTransaction() ||
		IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(es_errcode(ES_TICK_NOT_ALONE)),
				 errmsg("tick() must be a transaction of its own"),
				 errdetail("The transaction has written something, is a subtransaction, or keeps one snapshot; events could be lost to consumers."),
				 errhint("Call tick() alone, in READ COMMITTED: SELECT entrestate.tick();")));
	es_require_schema();

	/* before anything below takes a transaction id */
	SPI_connect();
	es_spi_exec("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text", SPI_OK_SELECT);
	snapshot = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	values[1] = CStringGetTextDatum(snapshot);
	values[0] = DirectFunctionCall1(activity_current_epoch, (Datum) 0);
	es_spi_run(&plan, SPI_OK_INSERT_RETURNING, values, NULL);
	result = es_spi_get(0, 1, &isnull);
	es_spi_exec("SELECT pg_catalog.pg_notify('entrestate_tick', '')", SPI_OK_SELECT);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
