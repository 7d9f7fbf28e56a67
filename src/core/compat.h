/*
 * compat.h
 *		Every difference between the supported PostgreSQL versions, and
 *		nothing else.  No other file of ours looks at PG_VERSION_NUM, but
 *		for tenancy/jwt.c's JSON lexer, which says so itself.
 */
#ifndef ENTRESTATE_COMPAT_H
#define ENTRESTATE_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "entrestate needs PostgreSQL 15 or newer"
#endif

#include "utils/guc_tables.h"

/* 17 moved the local transaction id into a struct of PGPROC. */
#if PG_VERSION_NUM >= 170000
#define ES_PROC_LXID(proc) ((proc)->vxid.lxid)
#else
#define ES_PROC_LXID(proc) ((proc)->lxid)
#endif

/* From 16 on a setting's "extra" must come from guc_malloc(). */
#if PG_VERSION_NUM >= 160000
#define ES_GUC_MALLOC(elevel, size) guc_malloc(elevel, size)
#define ES_GUC_FREE(p) guc_free(p)
#else
#define ES_GUC_MALLOC(elevel, size) malloc(size)
#define ES_GUC_FREE(p) free(p)
#endif

/* From 16 on a setting is found by its name; before there is only the list. */
static inline struct config_generic *
es_find_guc(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, 0);
#else
	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(get_guc_variables()[i]->name, name) == 0)
			return get_guc_variables()[i];
	return NULL;
#endif
}

#if PG_VERSION_NUM >= 180000
#define ES_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define ES_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* From 16 on an index insert says whether only summarising indexes want it. */
#if PG_VERSION_NUM >= 160000
#define ES_INSERT_INDEX_TUPLES(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#define ES_UPDATE_INDEXES TU_UpdateIndexes
#define ES_UPDATE_INDEXES_NONE TU_None
#define ES_UPDATE_INDEX_TUPLES(info, slot, estate, indexes) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL, (indexes) == TU_Summarizing)
#else
#define ES_INSERT_INDEX_TUPLES(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#define ES_UPDATE_INDEXES bool
#define ES_UPDATE_INDEXES_NONE false
#define ES_UPDATE_INDEX_TUPLES(info, slot, estate, indexes) \
	ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL)
#endif

/* ES_BR_UPDATE_TRIGGERS fires BEFORE ROW triggers with a row that is at hand: nothing is
 * locked or followed, so there is no plan to be asked again. */
#if PG_VERSION_NUM >= 180000
#define ES_BR_UPDATE_TRIGGERS(estate, info, old, new) \
	ExecBRUpdateTriggers(estate, NULL, info, NULL, old, new, NULL, NULL, false)
#elif PG_VERSION_NUM >= 160000
#define ES_BR_UPDATE_TRIGGERS(estate, info, old, new) \
	ExecBRUpdateTriggers(estate, NULL, info, NULL, old, new, NULL, NULL)
#else
#define ES_BR_UPDATE_TRIGGERS(estate, info, old, new) \
	ExecBRUpdateTriggers(estate, NULL, info, NULL, old, new, NULL)
#endif

/*
 * ES_INIT_RANGE_TABLE lets an executor state know of the one table that is written
 * and of its columns that are; before 16 the entry itself said which.
 */
#if PG_VERSION_NUM >= 160000
#if PG_VERSION_NUM >= 180000
#define ES_UNPRUNED , bms_make_singleton(1)
#else
#define ES_UNPRUNED
#endif
#define ES_INIT_RANGE_TABLE(estate, rte, inserted, updated) \
	do { \
		List	   *perms_ = NIL; \
		RTEPermissionInfo *perm_ = addRTEPermissionInfo(&perms_, rte); \
		perm_->insertedCols = inserted; \
		perm_->updatedCols = updated; \
		ExecInitRangeTable(estate, list_make1(rte), perms_ ES_UNPRUNED); \
	} while (0)
#else
#define ES_INIT_RANGE_TABLE(estate, rte, inserted, updated) \
	do { \
		(rte)->insertedCols = inserted; \
		(rte)->updatedCols = updated; \
		ExecInitRangeTable(estate, list_make1(rte)); \
	} while (0)
#endif

#if PG_VERSION_NUM >= 180000
#define ES_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "entrestate", .version = ENTRESTATE_VERSION)
#else
#define ES_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif
