/*
 * lookup.c
 *		Rows of one tenant by key, past the executor.
 *
 * A batch of the sender looks up half a dozen rows a run.  As joins they cost
 * two to three microseconds each, most of it in plan nodes; an index scan that
 * is kept open for the batch and set to the next key costs a third of it.
 *
 * Row security does not reach so deep.  So a lookup belongs to one tenant: it
 * passes over any row that is another one's, whatever the index says.  It is for
 * functions that run as the owner, and reads and locks only; what is written
 * goes through SQL and its guards.
 *
 * A lookup sees what the snapshot sees that it was given.  Relations and buffers
 * belong to the caller's resource owner: an error releases them.
 */
#include "core/core.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/lookup.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

const EsLookupKey es_lookup_by_uuids[] = {
	{1, BTEqualStrategyNumber, F_UUID_EQ},
	{2, BTEqualStrategyNumber, F_UUID_EQ},
	{3, BTEqualStrategyNumber, F_UUID_EQ},
};

/*
 * es_lookup_begin begins with an opened table and the index that the keys are
 * of; columns are named by a list that ends with NULL.  Raises an internal
 * error where one of them is not there.
 */
void
es_lookup_begin(EsLookup *l, const pg_uuid_t *tenant, Relation heap, Oid index, Snapshot snapshot,
				int nkeys, const EsLookupKey *keys, const char *const *columns)
{
	Assert(nkeys <= ES_LOOKUP_KEYS);
	l->tenant = *tenant;
	l->heap = heap;
	l->index = index_open(index, AccessShareLock);
	l->nkeys = nkeys;
	l->tenant_column = get_attnum(RelationGetRelid(heap), "tenant_id");
	for (int i = 0; columns[i] != NULL; i++)
	{
		Assert(i < ES_LOOKUP_COLUMNS);
		l->columns[i] = get_attnum(RelationGetRelid(heap), columns[i]);
		if (l->columns[i] == InvalidAttrNumber)
			elog(ERROR, "%s has no column %s", RelationGetRelationName(heap), columns[i]);
	}
	for (int i = 0; i < nkeys; i++)
		ScanKeyEntryInitialize(&l->keys[i], 0, keys[i].column, keys[i].strategy, InvalidOid,
							   l->index->rd_indcollation[keys[i].column - 1], keys[i].function, (Datum) 0);
	l->found = table_slot_create(heap, NULL);
	l->locked = NULL;
	l->row = l->found;
	l->scan = ES_INDEX_BEGINSCAN(heap, l->index, snapshot, nkeys);
}

/* es_lookup_open is es_lookup_begin with the names of a table and its index. */
void
es_lookup_open(EsLookup *l, const pg_uuid_t *tenant, const char *table, const char *index,
			   Snapshot snapshot, int nkeys, const EsLookupKey *keys, const char *const *columns)
{
	Oid			id = es_relation(index);

	if (!OidIsValid(id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index %s.%s does not exist", ES_SCHEMA, index),
				 errhint("Rows of %s are looked up by it: create it again, as the installed schema script has it.", table)));
	es_lookup_begin(l, tenant, table_open(es_relation(table), AccessShareLock), id,
					snapshot, nkeys, keys, columns);
}

static void
begin_with(EsLookup *l, const Datum *keys)
{
	for (int i = 0; i < l->nkeys; i++)
		l->keys[i].sk_argument = keys[i];
	index_rescan(l->scan, l->keys, l->nkeys, NULL, 0);
}

static bool
go_on(EsLookup *l, ScanDirection direction)
{
	l->row = l->found;
	while (index_getnext_slot(l->scan, direction, l->row))
	{
		bool		isnull;
		Datum		tenant;

		/* our indexes have the whole key: nothing is left to be compared */
		Assert(!l->scan->xs_recheck);
		tenant = slot_getattr(l->row, l->tenant_column, &isnull);
		if (!isnull && memcmp(DatumGetUUIDP(tenant), &l->tenant, UUID_LEN) == 0)
			return true;
	}
	return false;
}

/* es_lookup_find looks for the first row with these keys, in the order of the
 * index; false: there is none. */
bool
es_lookup_find(EsLookup *l, const Datum *keys)
{
	begin_with(l, keys);
	return go_on(l, ForwardScanDirection);
}

/* es_lookup_next goes on to the next one. */
bool
es_lookup_next(EsLookup *l)
{
	return go_on(l, ForwardScanDirection);
}

/* es_lookup_last looks for the last row with these keys. */
bool
es_lookup_last(EsLookup *l, const Datum *keys)
{
	begin_with(l, keys);
	return go_on(l, BackwardScanDirection);
}

/*
 * es_lookup_lock locks the row FOR NO KEY UPDATE, unless somebody else has it or it
 * is gone: false.  What is read of it then is what stands, whatever the snapshot;
 * its keys must be columns that never change.
 */
bool
es_lookup_lock(EsLookup *l)
{
	ItemPointerData at = l->row->tts_tid;
	TM_FailureData failure;
	bool		isnull;

	if (l->locked == NULL)
		l->locked = table_slot_create(l->heap, NULL);
	if (table_tuple_lock(l->heap, &at, l->scan->xs_snapshot, l->locked, GetCurrentCommandId(false),
						 LockTupleNoKeyExclusive, LockWaitSkip, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure) != TM_Ok)
		return false;
	l->row = l->locked;
	return memcmp(DatumGetUUIDP(slot_getattr(l->row, l->tenant_column, &isnull)), &l->tenant, UUID_LEN) == 0;
}

/* es_lookup_at is where the row is. */
ItemPointerData
es_lookup_at(EsLookup *l)
{
	return l->row->tts_tid;
}

/* es_lookup_get returns a column of the row, by its place in the list; it lives
 * until the next row. */
Datum
es_lookup_get(EsLookup *l, int column, bool *isnull)
{
	return slot_getattr(l->row, l->columns[column], isnull);
}

void
es_lookup_end(EsLookup *l)
{
	index_endscan(l->scan);
	ExecDropSingleTupleTableSlot(l->found);
	if (l->locked != NULL)
		ExecDropSingleTupleTableSlot(l->locked);
	index_close(l->index, NoLock);
	table_close(l->heap, NoLock);
}

/* The usual types; NULL is false, 0 or NULL. */

bool
es_lookup_is_set(EsLookup *l, int column)
{
	bool		isnull;

	es_lookup_get(l, column, &isnull);
	return !isnull;
}

bool
es_lookup_bool(EsLookup *l, int column)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);

	return !isnull && DatumGetBool(d);
}

int
es_lookup_short(EsLookup *l, int column)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);

	return isnull ? 0 : DatumGetInt16(d);
}

int
es_lookup_int(EsLookup *l, int column)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);

	return isnull ? 0 : DatumGetInt32(d);
}

TimestampTz
es_lookup_instant(EsLookup *l, int column)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

char *
es_lookup_text(EsLookup *l, int column)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(d);
}

bool
es_lookup_is(EsLookup *l, int column, const char *word)
{
	bool		isnull;
	Datum		d = es_lookup_get(l, column, &isnull);
	text	   *t;

	if (isnull)
		return false;
	t = DatumGetTextPP(d);
	return VARSIZE_ANY_EXHDR(t) == strlen(word) && memcmp(VARDATA_ANY(t), word, strlen(word)) == 0;
}
