/*
 * lookup.h
 *		Rows of one tenant by key, past the executor.
 */
#ifndef ENTRESTATE_LOOKUP_H
#define ENTRESTATE_LOOKUP_H

#include "core/core.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define ES_LOOKUP_KEYS 4
#define ES_LOOKUP_COLUMNS 24
/* Pages that stay at hand: see es_lookup_hold(). */
#define ES_LOOKUP_PAGES 32

/* A key: a column of the index, by its number, and how it is compared. */
typedef struct EsLookupKey
{
	AttrNumber	column;
	StrategyNumber strategy;	/* BTEqualStrategyNumber ... */
	Oid			function;		/* F_UUID_EQ, F_TEXTEQ, F_TIMESTAMPTZ_GT ... */
} EsLookupKey;

typedef struct EsLookup
{
	pg_uuid_t	tenant;
	Relation	heap;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *found;
	TupleTableSlot *locked;
	TupleTableSlot *row;			/* one of them: what is read */
	ScanKeyData keys[ES_LOOKUP_KEYS];
	int			nkeys;
	/* neighbours: see es_lookup_walk() */
	int			walk;			/* the key that grows, by its place; -1: none does */
	IndexScanDesc range;		/* from one of its values on; NULL: not yet */
	TupleTableSlot *kept;
	pg_uuid_t	from[ES_LOOKUP_KEYS];	/* what was last looked for in it */
	bool		open;			/* the range stands where that was */
	bool		walked;			/* the row is the range's */
	bool		over;			/* nothing is left of it */
	bool		taken;			/* its entry is the row's: the next one is next */
	int			misses;			/* one after the other */
	int			rest;			/* so many by themselves */
	/* pages at hand: see es_lookup_hold() */
	Buffer	   *pages;			/* pinned, each where its number says; NULL: none is kept */
	HeapTupleData tuple;		/* on one of them */
	TupleTableSlot *held;		/* the tuple */
	AttrNumber	tenant_column;
	AttrNumber	columns[ES_LOOKUP_COLUMNS];
} EsLookup;

/* The first columns of the index, which are ids. */
extern const EsLookupKey es_lookup_by_uuids[];

extern void es_lookup_begin(EsLookup *l, const pg_uuid_t *tenant, Relation heap, Oid index, Snapshot snapshot,
							int nkeys, const EsLookupKey *keys, const char *const *columns);
extern void es_lookup_open(EsLookup *l, const pg_uuid_t *tenant, const char *table, const char *index,
						   Snapshot snapshot, int nkeys, const EsLookupKey *keys, const char *const *columns);
extern void es_lookup_walk(EsLookup *l, int key);
extern void es_lookup_hold(EsLookup *l);
extern bool es_lookup_find(EsLookup *l, const Datum *keys);
extern bool es_lookup_next(EsLookup *l);
extern bool es_lookup_last(EsLookup *l, const Datum *keys);
extern bool es_lookup_lock(EsLookup *l);
extern ItemPointerData es_lookup_at(EsLookup *l);
extern Datum es_lookup_get(EsLookup *l, int column, bool *isnull);
extern bool es_lookup_is_set(EsLookup *l, int column);
extern bool es_lookup_bool(EsLookup *l, int column);
extern int	es_lookup_short(EsLookup *l, int column);
extern int	es_lookup_int(EsLookup *l, int column);
extern TimestampTz es_lookup_instant(EsLookup *l, int column);
extern char *es_lookup_text(EsLookup *l, int column);
extern bool es_lookup_is(EsLookup *l, int column, const char *word);
extern void es_lookup_end(EsLookup *l);

#endif
