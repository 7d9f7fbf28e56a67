/*
 * lookup.c
 *		Rows of one tenant by key, past the executor.
 *
 * A batch of the sender looks up half a dozen rows a run.  As joins they cost
 * two to three microseconds each, most of it in plan nodes; an index scan that
 * is kept open for the batch and set to the next key costs a third of it.
 *
 * Most of that third is the way down the index.  Where keys come in order and are
 * close to each other, as those of leads that came together are, a lookup walks
 * (es_lookup_walk): a second scan that is open from one key on is stepped to the
 * next one, a few entries of a leaf that is at hand already.  Where they turn out
 * to be far apart, it goes back to one by one for a while.
 *
 * Row security does not reach so deep.  So a lookup belongs to one tenant: it
 * passes over any row that is another one's, whatever the index says.  It is for
 * functions that run as the owner, and reads and locks only; what is written
 * goes through the guards, in SQL or past the planner (rows_write.c).
 *
 * A lookup sees what the snapshot sees that it was given.  Relations and buffers
 * belong to the caller's resource owner: an error releases them.
 */
#include "core/core.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/lookup.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
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
	l->walk = -1;
	l->range = NULL;
	l->kept = NULL;
	l->walked = false;
	l->pages = NULL;
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

/* is_ours says whether the row is the lookup's tenant's. */
static bool
is_ours(EsLookup *l)
{
	bool		isnull;
	Datum		tenant = slot_getattr(l->row, l->tenant_column, &isnull);

	return !isnull && memcmp(DatumGetUUIDP(tenant), &l->tenant, UUID_LEN) == 0;
}

static bool
go_on(EsLookup *l, ScanDirection direction)
{
	l->row = l->found;
	while (index_getnext_slot(l->scan, direction, l->row))
	{
		/* our indexes have the whole key: nothing is left to be compared */
		Assert(!l->scan->xs_recheck);
		if (is_ours(l))
			return true;
	}
	return false;
}

/* ----- neighbours ------------------------------------------------------- */

/* Entries that are passed over before a key counts as far away. */
#define WALK_STEPS 32
/* Keys that are far away, one after the other, before walking rests; and for how
 * many keys at first, at most. */
#define WALK_MISSES 3
#define WALK_REST 32
#define WALK_REST_MOST 1024

/*
 * es_lookup_walk says that keys will come in the order of one of them, an id (by its
 * place, from 0), those before it mostly the same.  Others may come, too.
 */
void
es_lookup_walk(EsLookup *l, int key)
{
	l->walk = key;
	l->open = false;
	l->misses = 0;
	l->rest = 0;
}

/*
 * es_lookup_hold keeps the last pages at hand that a walk came by.  It is for a key's rows
 * that are on a page each, where those of its neighbours are, too: as what leads
 * that came together were sent, day by day.  Else each look-up finds and pins its
 * page again.
 */
void
es_lookup_hold(EsLookup *l)
{
	if (l->heap->rd_tableam != GetHeapamTableAmRoutine())
		return;
	l->pages = palloc0(sizeof(Buffer) * ES_LOOKUP_PAGES);
	l->held = MakeSingleTupleTableSlot(RelationGetDescr(l->heap), &TTSOpsHeapTuple);
}

/* fetch reads the row of the range's entry; false: the snapshot does not see it.
 * With pages at hand it is what index_fetch_heap() does with one, but for a pin of
 * the row's own. */
static bool
fetch(EsLookup *l)
{
	ItemPointerData at = l->range->xs_heaptid;
	Buffer	   *page;
	bool		found;

	if (l->pages == NULL)
		return index_fetch_heap(l->range, l->row);
	l->row = l->held;
	ExecClearTuple(l->row);
	page = &l->pages[ItemPointerGetBlockNumber(&at) % ES_LOOKUP_PAGES];
	*page = ReleaseAndReadBuffer(*page, l->heap, ItemPointerGetBlockNumber(&at));
	LockBuffer(*page, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&at, l->heap, *page, l->range->xs_snapshot, &l->tuple, NULL, true);
	LockBuffer(*page, BUFFER_LOCK_UNLOCK);
	if (found)
	{
		pgstat_count_heap_fetch(l->index);
		l->tuple.t_tableOid = RelationGetRelid(l->heap);
		ExecStoreHeapTuple(&l->tuple, l->row, false);
		l->row->tts_tid = at;
	}
	return found;
}

static bool
step(EsLookup *l)
{
	l->taken = false;
	l->over = index_getnext_tid(l->range, ForwardScanDirection) == NULL;
	return !l->over;
}

/* start opens the range at these keys. */
static void
start(EsLookup *l, const Datum *keys)
{
	ScanKeyData from[ES_LOOKUP_KEYS];

	if (l->range == NULL)
	{
		l->range = ES_INDEX_BEGINSCAN(l->heap, l->index, l->scan->xs_snapshot, l->walk + 1);
		l->range->xs_want_itup = true;
		l->kept = table_slot_create(l->heap, NULL);
	}
	for (int i = 0; i <= l->walk; i++)
	{
		from[i] = l->keys[i];
		if (i == l->walk)
			ScanKeyEntryInitialize(&from[i], 0, l->keys[i].sk_attno, BTGreaterEqualStrategyNumber, InvalidOid,
								   l->keys[i].sk_collation, F_UUID_GE, (Datum) 0);
		from[i].sk_argument = keys[i];
	}
	index_rescan(l->range, from, l->walk + 1, NULL, 0);
	step(l);
}

/* compare says where the range's entry is, seen from what is looked for. */
static int
compare(EsLookup *l)
{
	bool		isnull;
	Datum		d = index_getattr(l->range->xs_itup, l->keys[l->walk].sk_attno, l->range->xs_itupdesc, &isnull);

	return isnull ? 1 : memcmp(DatumGetUUIDP(d), &l->from[l->walk], UUID_LEN);
}

/* fits says whether the rest of the entry's keys are what is looked for. */
static bool
fits(EsLookup *l)
{
	for (int i = l->walk + 1; i < l->nkeys; i++)
	{
		ScanKey		k = &l->keys[i];
		bool		isnull;
		Datum		d = index_getattr(l->range->xs_itup, k->sk_attno, l->range->xs_itupdesc, &isnull);

		if (isnull || !DatumGetBool(FunctionCall2Coll(&k->sk_func, k->sk_collation, d, k->sk_argument)))
			return false;
	}
	return true;
}

typedef enum Walked
{
	WALK_FOUND,
	WALK_NONE,
	WALK_FAR
} Walked;

/* walk goes on to the next row that is looked for, most steps at most. */
static Walked
walk(EsLookup *l, int most)
{
	l->row = l->found;
	if (l->taken && !l->over)
		step(l);
	for (; !l->over; step(l))
	{
		int			at = compare(l);

		if (at > 0)
			return WALK_NONE;
		if (at == 0 && fits(l))
		{
			l->taken = true;
			if (fetch(l) && is_ours(l))
				return WALK_FOUND;
		}
		else if (--most < 0)
			return WALK_FAR;
	}
	return WALK_NONE;
}

/* walk_to looks for keys in the range; WALK_FAR: they are too far away, or the
 * range is not to be used. */
static Walked
walk_to(EsLookup *l, const Datum *keys)
{
	bool		goes_on = l->open;
	Walked		result;

	for (int i = 0; i <= l->walk && goes_on; i++)
	{
		int			c = memcmp(DatumGetUUIDP(keys[i]), &l->from[i], UUID_LEN);

		/* what it has passed is not there any more */
		if (i == l->walk && c <= 0)
			return WALK_FAR;
		goes_on = i == l->walk || c == 0;
	}
	if (!goes_on && l->rest > 0)
	{
		l->rest--;
		return WALK_FAR;
	}
	for (int i = 0; i < l->nkeys; i++)
		l->keys[i].sk_argument = keys[i];
	for (int i = 0; i <= l->walk; i++)
		l->from[i] = *DatumGetUUIDP(keys[i]);
	if (!goes_on)
		start(l, keys);
	l->open = true;
	result = walk(l, WALK_STEPS);
	if (result != WALK_FAR)
	{
		if (goes_on)
			l->misses = 0;
		return result;
	}
	l->open = false;
	if (++l->misses >= WALK_MISSES)
		l->rest = Min(WALK_REST << Min(l->misses - WALK_MISSES, 8), WALK_REST_MOST);
	return WALK_FAR;
}

/* ----- finding ---------------------------------------------------------- */

/* same says whether the way down the index leads to the row that was walked to. */
#ifdef USE_ASSERT_CHECKING
static bool
same(EsLookup *l, const Datum *keys, ScanDirection direction, bool found)
{
	TupleTableSlot *walked = l->row;
	TupleTableSlot *mine = l->found;
	bool		result;

	l->found = table_slot_create(l->heap, NULL);
	begin_with(l, keys);
	result = go_on(l, direction) == found &&
		(!found || ItemPointerEquals(&l->row->tts_tid, &walked->tts_tid));
	ExecDropSingleTupleTableSlot(l->found);
	l->found = mine;
	l->row = walked;
	return result;
}
#endif

/* es_lookup_find looks for the first row with these keys, in the order of the
 * index; false: there is none. */
bool
es_lookup_find(EsLookup *l, const Datum *keys)
{
	if (l->walk >= 0)
	{
		Walked		w = walk_to(l, keys);

		l->walked = w != WALK_FAR;
		Assert(!l->walked || same(l, keys, ForwardScanDirection, w == WALK_FOUND));
		if (l->walked)
			return w == WALK_FOUND;
	}
	begin_with(l, keys);
	return go_on(l, ForwardScanDirection);
}

/* es_lookup_next goes on to the next one. */
bool
es_lookup_next(EsLookup *l)
{
	if (l->walked)
		return walk(l, PG_INT32_MAX) == WALK_FOUND;
	return go_on(l, ForwardScanDirection);
}

/* es_lookup_last looks for the last row with these keys. */
bool
es_lookup_last(EsLookup *l, const Datum *keys)
{
	Walked		w = l->walk >= 0 ? walk_to(l, keys) : WALK_FAR;

	if (w == WALK_FAR)
	{
		l->walked = false;
		begin_with(l, keys);
		return go_on(l, BackwardScanDirection);
	}
	for (l->walked = w == WALK_FOUND; w == WALK_FOUND; w = walk(l, PG_INT32_MAX))
		ExecCopySlot(l->kept, l->row);
	l->row = l->kept;
	Assert(same(l, keys, BackwardScanDirection, l->walked));
	return l->walked;
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

	if (l->locked == NULL)
		l->locked = table_slot_create(l->heap, NULL);
	if (table_tuple_lock(l->heap, &at, l->scan->xs_snapshot, l->locked, GetCurrentCommandId(false),
						 LockTupleNoKeyExclusive, LockWaitSkip, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure) != TM_Ok)
		return false;
	l->row = l->locked;
	return is_ours(l);
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
	if (l->range != NULL)
	{
		index_endscan(l->range);
		ExecDropSingleTupleTableSlot(l->kept);
	}
	ExecDropSingleTupleTableSlot(l->found);
	if (l->pages != NULL)
	{
		ExecDropSingleTupleTableSlot(l->held);
		for (int i = 0; i < ES_LOOKUP_PAGES; i++)
			if (BufferIsValid(l->pages[i]))
				ReleaseBuffer(l->pages[i]);
	}
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
