/*
 * rows_write.c
 *		Writes rows past the planner, as COPY and logical replication do.
 *
 * A batch of the sender writes a thousand rows of three tables.  As statements, a
 * third of that is plan nodes, projections and a log record for each row; here a
 * page of new rows is one log record, and a row is changed where it was read.
 *
 * Past the planner, not past the guards: statement and row triggers fire,
 * constraints and partitions are checked, indexes and AFTER triggers get what they
 * are owed.  Only row security is the planner's, so its policy is checked here: a row
 * belongs to the tenant of the context, or it is not written.  (Only functions that run
 * as the table's owner may write so at all.)
 *
 * A BEFORE ROW trigger that looks into the table would not find the rows of the same
 * call; ours look at their row alone.
 *
 * Relations and buffers belong to the caller's resource owner, everything else to the
 * executor state's memory: an error releases them.
 */
#include "core/core.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "core/rows.h"
#include "executor/executor.h"
#include "executor/execPartition.h"
#include "guard/guard.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "tenancy/tenancy.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Rows that are collected before they are inserted: some pages. */
#define AT_ONCE 128

/* A table that is written, as the executor wants it. */
typedef struct Target
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *info;
	const pg_uuid_t *tenant;	/* of the context */
	int			tenant_at;		/* its column, from 0 */
	int			columns[ROWS_COLUMNS];	/* the rows', from 0 */
	int			fixed[ROWS_COLUMNS];
	Bitmapset  *written;		/* all of these, as permissions count columns */
	bool		after;			/* AFTER ROW triggers are owed each update */
	Bitmapset  *referring;		/* columns of foreign keys, from 0: they are owed these' changes */
	/* of a partitioned table: */
	ModifyTableState *mt;
	PartitionTupleRouting *routing;
	MemoryContext old;
} Target;

static int
column_of(Target *t, const char *name)
{
	AttrNumber	n = get_attnum(RelationGetRelid(t->rel), name);

	if (n <= 0)
		elog(ERROR, "table \"%s\" has no column \"%s\"", RelationGetRelationName(t->rel), name);
	return n - 1;
}

/* target_open begins to write a table; ncolumns are the rows' without what says where they are. */
static void
target_open(Target *t, const char *table, CmdType command, int ncolumns, const char *const *columns,
			int nfixed, const RowsFixed *fixed)
{
	RangeTblEntry *rte;
	TriggerDesc *triggers;

	Assert(nfixed <= ROWS_COLUMNS);
	PreventCommandIfReadOnly(command == CMD_INSERT ? "INSERT" : "UPDATE");
	PreventCommandIfParallelMode(command == CMD_INSERT ? "INSERT" : "UPDATE");
	/* what was written before is seen from here on */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	t->rel = table_open(es_relation(table), RowExclusiveLock);
	if (!es_is_system(t->rel->rd_rel->relowner))
		elog(ERROR, "table \"%s\" is written so by functions of its owner alone", table);
	t->tenant = es_current_tenant();
	if (t->tenant == NULL)
		elog(ERROR, "there is no tenant context");
	triggers = t->rel->trigdesc;
	if (triggers != NULL && (triggers->trig_insert_new_table || triggers->trig_update_old_table || triggers->trig_update_new_table))
		elog(ERROR, "table \"%s\" has a trigger with transition tables, which this does not fill", table);

	if (t->rel->rd_att->constr != NULL && t->rel->rd_att->constr->has_generated_stored)
		elog(ERROR, "table \"%s\" has generated columns, which this does not compute", table);
	if (command == CMD_UPDATE && (t->rel->rd_rel->relkind != RELKIND_RELATION || t->rel->rd_rel->relispartition))
		elog(ERROR, "table \"%s\" has or is a partition, of which this changes no row", table);

	t->estate = CreateExecutorState();
	t->old = MemoryContextSwitchTo(t->estate->es_query_cxt);
	t->tenant_at = column_of(t, "tenant_id");
	for (int i = 0; i < ncolumns; i++)
	{
		t->columns[i] = column_of(t, columns[i]);
		t->written = bms_add_member(t->written, t->columns[i] + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	for (int i = 0; i < nfixed; i++)
	{
		t->fixed[i] = column_of(t, fixed[i].column);
		t->written = bms_add_member(t->written, t->fixed[i] + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(t->rel);
	rte->relkind = t->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	ES_INIT_RANGE_TABLE(t->estate, rte, command == CMD_INSERT ? t->written : NULL, command == CMD_UPDATE ? t->written : NULL);
	t->estate->es_snapshot = GetActiveSnapshot();
	t->estate->es_output_cid = GetCurrentCommandId(true);
	t->info = makeNode(ResultRelInfo);
	ExecInitResultRelation(t->estate, t->info, 1);
	AfterTriggerBeginQuery();
}

/*
 * target_close fires what fires at the end of a statement.  What a large batch has logged
 * is for the WAL writer to begin with, so that the commit waits for its last part only:
 * beside another session a tenth of the time was that wait.
 */
static void
target_close(Target *t)
{
	MemoryContextSwitchTo(t->old);
	AfterTriggerEndQuery(t->estate);
	ExecResetTupleTable(t->estate->es_tupleTable, false);
	if (t->routing != NULL)
		ExecCleanupTupleRouting(t->mt, t->routing);
	ExecCloseResultRelations(t->estate);
	ExecCloseRangeTableRelations(t->estate);
	FreeExecutorState(t->estate);
	table_close(t->rel, NoLock);
	PopActiveSnapshot();
	CommandCounterIncrement();
	XLogSetAsyncXactLSN(GetXLogInsertRecPtr());
}

/* require_tenant is the policy of row security, for a row whose tenant is in that column. */
static void
require_tenant(const Target *t, TupleTableSlot *row, int column)
{
	bool		isnull;
	Datum		tenant = slot_getattr(row, column + 1, &isnull);

	if (isnull || memcmp(DatumGetUUIDP(tenant), t->tenant, UUID_LEN) != 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_CROSS_TENANT)),
				 errmsg("write to table \"%s\" is refused: the row's tenant is not that of the context",
						RelationGetRelationName(t->rel))));
}

/* ----- inserting -------------------------------------------------------- */

/* Where rows go: the table, or the partition of the last one. */
typedef struct Leaf
{
	ResultRelInfo *info;
	TupleConversionMap *map;	/* NULL: it has the columns of the table */
	int			tenant_at;
	TupleTableSlot *slots[AT_ONCE];
	int			nslots;			/* made */
	int			n;				/* full */
} Leaf;

/*
 * insert_entries makes the rows' entries index by index: rows that come together
 * have neighbours in an index, whose page is at hand from one to the next.  The
 * executor goes row by row, and so is shown one index at a time.
 */
static void
insert_entries(Target *t, Leaf *leaf, List **recheck)
{
	ResultRelInfo *info = leaf->info;
	int			n = info->ri_NumIndices;
	RelationPtr indexes = info->ri_IndexRelationDescs;
	IndexInfo **infos = info->ri_IndexRelationInfo;

	for (int k = 0; k < n; k++)
	{
		info->ri_NumIndices = 1;
		info->ri_IndexRelationDescs = &indexes[k];
		info->ri_IndexRelationInfo = &infos[k];
		for (int i = 0; i < leaf->n; i++)
			recheck[i] = list_concat(recheck[i], ES_INSERT_INDEX_TUPLES(info, leaf->slots[i], t->estate));
	}
	info->ri_NumIndices = n;
	info->ri_IndexRelationDescs = indexes;
	info->ri_IndexRelationInfo = infos;
}

static void
flush(Target *t, Leaf *leaf)
{
	EState	   *estate = t->estate;
	ResultRelInfo *info = leaf->info;
	MemoryContext old;
	List	   *recheck[AT_ONCE] = {NIL};

	if (leaf->n == 0)
		return;
	/* it leaves memory behind */
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	table_multi_insert(info->ri_RelationDesc, leaf->slots, leaf->n, estate->es_output_cid, 0, NULL);
	MemoryContextSwitchTo(old);
	insert_entries(t, leaf, recheck);
	for (int i = 0; i < leaf->n; i++)
	{
		ExecARInsertTriggers(estate, info, leaf->slots[i], recheck[i], NULL);
		list_free(recheck[i]);
		ExecClearTuple(leaf->slots[i]);
	}
	leaf->n = 0;
	ResetPerTupleExprContext(estate);
}

/*
 * rows_insert inserts rows into a table, or a table's partitions by range of one
 * column; what is neither in the rows nor fixed has its default.
 */
void
rows_insert(Rows *r, const char *table, const char *const *columns, int nfixed, const RowsFixed *fixed)
{
	Target		t = {0};
	Leaf		leaf = {0};
	TupleDesc	desc;
	TupleTableSlot *row;
	int			key = -1;		/* the column that names the partition, from 0 */
	Datum		last = 0;
	ExprState **defaults;

	Assert(r->at == 0);
	if (r->count == 0)
		return;
	target_open(&t, table, CMD_INSERT, r->n, columns, nfixed, fixed);
	desc = RelationGetDescr(t.rel);
	row = MakeTupleTableSlot(desc, &TTSOpsVirtual);
	t.estate->es_tupleTable = lappend(t.estate->es_tupleTable, row);
	defaults = palloc0(sizeof(ExprState *) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Node	   *expr;

		if (!TupleDescAttr(desc, i)->attisdropped &&
			!bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, t.written) &&
			(expr = build_column_default(t.rel, i + 1)) != NULL)
			defaults[i] = ExecInitExpr(expression_planner((Expr *) expr), NULL);
	}

	if (t.rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		PartitionKey k = RelationGetPartitionKey(t.rel);

		if (k->partnatts != 1 || k->partattrs[0] == 0 || !k->parttypbyval[0])
			elog(ERROR, "the partitions of table \"%s\" are not of a kind that this knows", table);
		key = k->partattrs[0] - 1;
		t.mt = makeNode(ModifyTableState);
		t.mt->ps.state = t.estate;
		t.mt->operation = CMD_INSERT;
		t.mt->mt_nrels = 1;
		t.mt->resultRelInfo = t.info;
		t.mt->rootResultRelInfo = t.info;
		t.routing = ExecSetupPartitionTupleRouting(t.estate, t.rel);
	}
	else
	{
		ExecOpenIndices(t.info, false);
		leaf.info = t.info;
		leaf.tenant_at = t.tenant_at;
	}
	ExecBSInsertTriggers(t.estate, t.info);

	for (int i = 0; i < r->count; i++)
	{
		const Datum *values = &r->values[i * r->n];
		const uint8 *is = &r->is[i * r->n];
		TupleTableSlot *slot;

		ResetPerTupleExprContext(t.estate);
		ExecClearTuple(row);
		memset(row->tts_isnull, true, desc->natts);
		for (int c = 0; c < r->n; c++)
		{
			Assert(is[c] != ROWS_KEEP);
			row->tts_values[t.columns[c]] = values[c];
			row->tts_isnull[t.columns[c]] = is[c] == ROWS_NULL;
		}
		for (int c = 0; c < nfixed; c++)
		{
			row->tts_values[t.fixed[c]] = fixed[c].value;
			row->tts_isnull[t.fixed[c]] = false;
		}
		for (int c = 0; c < desc->natts; c++)
			if (defaults[c] != NULL)
				row->tts_values[c] = ExecEvalExprSwitchContext(defaults[c], GetPerTupleExprContext(t.estate), &row->tts_isnull[c]);
		ExecStoreVirtualTuple(row);

		if (key >= 0 && (leaf.info == NULL || row->tts_isnull[key] || row->tts_values[key] != last))
		{
			ResultRelInfo *info;

			flush(&t, &leaf);
			info = ExecFindPartition(t.mt, t.info, t.routing, row, t.estate);
			if (info != leaf.info)
			{
				leaf.info = info;
				leaf.map = convert_tuples_by_name(desc, RelationGetDescr(info->ri_RelationDesc));
				leaf.tenant_at = get_attnum(RelationGetRelid(info->ri_RelationDesc), "tenant_id") - 1;
				leaf.nslots = 0;
			}
			last = row->tts_values[key];
		}
		if (leaf.n == leaf.nslots)
			leaf.slots[leaf.nslots++] = table_slot_create(leaf.info->ri_RelationDesc, &t.estate->es_tupleTable);
		slot = leaf.slots[leaf.n];
		if (leaf.map != NULL)
			execute_attr_map_slot(leaf.map->attrMap, row, slot);
		else
		{
			memcpy(slot->tts_values, row->tts_values, sizeof(Datum) * desc->natts);
			memcpy(slot->tts_isnull, row->tts_isnull, desc->natts);
			ExecStoreVirtualTuple(slot);
		}

		if (leaf.info->ri_TrigDesc != NULL && leaf.info->ri_TrigDesc->trig_insert_before_row)
		{
			if (!ExecBRInsertTriggers(t.estate, leaf.info, slot))
				elog(ERROR, "a trigger keeps a row out of table \"%s\"", table);
			if (key >= 0)
				ExecPartitionCheck(leaf.info, slot, t.estate, true);
		}
		/* as the triggers leave it */
		require_tenant(&t, slot, leaf.tenant_at);
		if (leaf.info->ri_RelationDesc->rd_att->constr != NULL)
			ExecConstraints(leaf.info, slot, t.estate);
		/* what it refers to is its own from here on */
		ExecMaterializeSlot(slot);
		if (++leaf.n == AT_ONCE)
			flush(&t, &leaf);
	}
	flush(&t, &leaf);
	ExecASInsertTriggers(t.estate, t.info, NULL);
	target_close(&t);
}

/* ----- updating --------------------------------------------------------- */

static void
not_there(const Target *t)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	elog(ERROR, "a row of table \"%s\" is not where it was read", RelationGetRelationName(t->rel));
}

/* find_owed finds what AFTER ROW triggers are owed. */
static void
find_owed(Target *t)
{
	TriggerDesc *triggers = t->info->ri_TrigDesc;
	ListCell   *c;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *x = &triggers->triggers[i];

		t->after |= TRIGGER_TYPE_MATCHES(x->tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_UPDATE) &&
			RI_FKey_trigger_type(x->tgfoid) != RI_TRIGGER_FK;
	}
	foreach(c, RelationGetFKeyList(t->rel))
	{
		const ForeignKeyCacheInfo *k = lfirst(c);

		for (int i = 0; i < k->nkeys; i++)
			t->referring = bms_add_member(t->referring, k->conkey[i] - 1);
	}
}

/*
 * is_owed says whether AFTER ROW triggers must know of a change.  Foreign keys need
 * not where it leaves their columns alone: what the executor finds out, too, when it has
 * read the old row again and asked each of them.  A row of this transaction they must
 * know of, as its insertion's check looks at its last version only.
 */
static bool
is_owed(const Target *t, TupleTableSlot *old, TupleTableSlot *new)
{
	bool		isnull;

	if (t->after || TransactionIdIsCurrentTransactionId(DatumGetTransactionId(slot_getsysattr(old, MinTransactionIdAttributeNumber, &isnull))))
		return true;
	for (int i = -1; (i = bms_next_member(t->referring, i)) >= 0;)
	{
		Form_pg_attribute a = TupleDescAttr(old->tts_tupleDescriptor, i);
		bool		was_null;
		bool		is_null;
		Datum		was = slot_getattr(old, i + 1, &was_null);
		Datum		is = slot_getattr(new, i + 1, &is_null);

		if (was_null != is_null || (!was_null && !datum_image_eq(was, is, a->attbyval, a->attlen)))
			return true;
	}
	return false;
}

/*
 * update_row makes new of old, where that was read.  The row triggers get the row as
 * it was read, as a foreign table's do: the executor would lock it for them, and follow
 * it to a later version by a plan that there is not.  Here the update itself finds that
 * there is a later one.
 */
static void
update_row(Target *t, TupleTableSlot *old, TupleTableSlot *new)
{
	ResultRelInfo *info = t->info;
	ItemPointerData at = old->tts_tid;
	ES_UPDATE_INDEXES indexes;
	LockTupleMode mode;
	TM_FailureData failure;
	List	   *recheck = NIL;

	if (info->ri_TrigDesc != NULL && info->ri_TrigDesc->trig_update_before_row)
	{
		bool		copied;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(old, false, &copied);

		if (!ES_BR_UPDATE_TRIGGERS(t->estate, info, tuple, new))
			elog(ERROR, "a trigger keeps a row of table \"%s\" as it was", RelationGetRelationName(t->rel));
		if (copied)
			heap_freetuple(tuple);
	}
	/* as the triggers leave it */
	require_tenant(t, new, t->tenant_at);
	if (t->rel->rd_att->constr != NULL)
		ExecConstraints(info, new, t->estate);
	if (table_tuple_update(t->rel, &at, new, t->estate->es_output_cid, t->estate->es_snapshot, InvalidSnapshot, true,
						   &failure, &mode, &indexes) != TM_Ok)
		not_there(t);
	if (info->ri_NumIndices > 0 && indexes != ES_UPDATE_INDEXES_NONE)
		recheck = ES_UPDATE_INDEX_TUPLES(info, new, t->estate, indexes);
	if (recheck != NIL || is_owed(t, old, new))
		ExecARUpdateTriggers(t->estate, info, NULL, NULL, &at, NULL, new, recheck, NULL, false);
	list_free(recheck);
}

/*
 * rows_update changes rows of a table where they were read: the first column of the
 * rows says where; the others, by name, what becomes of them.  The caller has locks by which
 * nobody else changes them; one that is not there any more is an internal error.
 */
void
rows_update(Rows *r, const char *table, const char *const *columns, int nfixed, const RowsFixed *fixed)
{
	Target		t = {0};
	TupleTableSlot *old;
	TupleTableSlot *new;
	int			natts;

	Assert(r->at == 0);
	if (r->count == 0)
		return;
	target_open(&t, table, CMD_UPDATE, r->n - 1, columns, nfixed, fixed);
	natts = RelationGetDescr(t.rel)->natts;
	ExecOpenIndices(t.info, false);
	find_owed(&t);
	old = table_slot_create(t.rel, &t.estate->es_tupleTable);
	new = table_slot_create(t.rel, &t.estate->es_tupleTable);
	ExecBSUpdateTriggers(t.estate, t.info);

	for (int i = 0; i < r->count; i++)
	{
		const Datum *values = &r->values[i * r->n];
		const uint8 *is = &r->is[i * r->n];

		ResetPerTupleExprContext(t.estate);
		if (!table_tuple_fetch_row_version(t.rel, (ItemPointer) DatumGetPointer(values[0]), t.estate->es_snapshot, old))
			not_there(&t);
		require_tenant(&t, old, t.tenant_at);
		slot_getallattrs(old);
		ExecClearTuple(new);
		memcpy(new->tts_values, old->tts_values, sizeof(Datum) * natts);
		memcpy(new->tts_isnull, old->tts_isnull, natts);
		for (int c = 1; c < r->n; c++)
			if (is[c] != ROWS_KEEP)
			{
				new->tts_values[t.columns[c - 1]] = values[c];
				new->tts_isnull[t.columns[c - 1]] = is[c] == ROWS_NULL;
			}
		for (int c = 0; c < nfixed; c++)
		{
			new->tts_values[t.fixed[c]] = fixed[c].value;
			new->tts_isnull[t.fixed[c]] = false;
		}
		ExecStoreVirtualTuple(new);
		update_row(&t, old, new);
	}
	ExecASUpdateTriggers(t.estate, t.info, NULL);
	target_close(&t);
}
