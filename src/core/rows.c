/*
 * rows.c
 *		Rows to be written at once.
 *
 * A statement reads them FROM new_rows (rows_run): they lie in a tuplestore that is
 * given to it as transition tables are given to triggers, so nothing is put into
 * arrays and unnested again.  What is written a thousand rows at a time goes past
 * the planner (rows_write.c).
 *
 * What a value refers to is the caller's, and must live as long as the rows.
 */
#include "core/core.h"

#include "access/tupdesc.h"
#include "core/rows.h"
#include "miscadmin.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

/* rows_init begins with no rows; they live in the current memory context.  The types
 * are rows_run()'s; those of a table that is written otherwise are the table's. */
void
rows_init(Rows *r, int n, const Oid *types)
{
	Assert(n <= ROWS_COLUMNS);
	r->n = n;
	r->types = types;
	r->count = 0;
	r->room = 16;
	r->at = 0;
	r->values = palloc(sizeof(Datum) * r->room * n);
	r->is = palloc(r->room * n);
}

static void
add(Rows *r, Datum value, RowsIs is)
{
	if (r->count == r->room)
	{
		r->room *= 2;
		r->values = repalloc_huge(r->values, sizeof(Datum) * r->room * r->n);
		r->is = repalloc_huge(r->is, r->room * r->n);
	}
	r->values[r->count * r->n + r->at] = value;
	r->is[r->count * r->n + r->at] = is;
	if (++r->at < r->n)
		return;
	r->count++;
	r->at = 0;
}

/* rows_add adds the next value; the last column's ends the row. */
void
rows_add(Rows *r, Datum value, bool isnull)
{
	add(r, value, isnull ? ROWS_NULL : ROWS_VALUE);
}

/* rows_keep leaves the next column of a row that is updated as it is. */
void
rows_keep(Rows *r)
{
	add(r, (Datum) 0, ROWS_KEEP);
}

/*
 * rows_run executes a statement that names them new_rows, with an alias for its
 * columns; not when there are none.  Must be called within SPI_connect().
 * Returns the number of rows processed.
 */
int
rows_run(Rows *r, EsPlan *plan, int expected, Datum *values)
{
	EphemeralNamedRelationData *rel;
	TupleDesc	desc;
	Tuplestorestate *store;
	bool		nulls[ROWS_COLUMNS];
	int			n;

	Assert(r->at == 0);
	if (r->count == 0)
		return 0;
	desc = CreateTemplateTupleDesc(r->n);
	for (int i = 0; i < r->n; i++)
	{
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), "c%d", i + 1);
		TupleDescInitEntry(desc, i + 1, name, r->types[i], -1, 0);
	}
	store = tuplestore_begin_heap(false, false, work_mem);
	for (int row = 0; row < r->count; row++)
	{
		for (int i = 0; i < r->n; i++)
		{
			Assert(r->is[row * r->n + i] != ROWS_KEEP);
			nulls[i] = r->is[row * r->n + i] == ROWS_NULL;
		}
		tuplestore_putvalues(store, desc, &r->values[row * r->n], nulls);
	}
	rel = palloc0(sizeof(EphemeralNamedRelationData));
	rel->md.name = pstrdup("new_rows");
	rel->md.reliddesc = InvalidOid;
	rel->md.tupdesc = desc;
	rel->md.enrtype = ENR_NAMED_TUPLESTORE;
	/* the plan is kept: by key, as for one row */
	rel->md.enrtuples = 1;
	rel->reldata = store;
	if (SPI_register_relation(rel) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not name the rows");
	n = es_spi_run(plan, expected, values, NULL);
	if (SPI_unregister_relation("new_rows") != SPI_OK_REL_UNREGISTER)
		elog(ERROR, "could not forget the rows");
	tuplestore_end(store);
	return n;
}
