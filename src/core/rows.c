/*
 * rows.c
 *		Rows to be written as one statement, which reads them FROM new_rows.
 *
 * They lie in a tuplestore that is given to the statement as transition tables
 * are given to triggers: nothing is put into arrays and unnested again, and
 * what exceeds work_mem lies in a file.
 */
#include "core/core.h"

#include "access/tupdesc.h"
#include "core/rows.h"
#include "miscadmin.h"
#include "utils/queryenvironment.h"

/* rows_init begins with no rows; they live in the current memory context. */
void
rows_init(Rows *r, int n, const Oid *types)
{
	Assert(n <= ROWS_COLUMNS);
	r->desc = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
	{
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), "c%d", i + 1);
		TupleDescInitEntry(r->desc, i + 1, name, types[i], -1, 0);
	}
	r->store = tuplestore_begin_heap(false, false, work_mem);
	r->count = 0;
	r->at = 0;
}

/* rows_add adds the next value; the last column's ends the row. */
void
rows_add(Rows *r, Datum value, bool isnull)
{
	r->values[r->at] = value;
	r->nulls[r->at] = isnull;
	if (++r->at < r->desc->natts)
		return;
	tuplestore_putvalues(r->store, r->desc, r->values, r->nulls);
	r->count++;
	r->at = 0;
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
	int			n;

	Assert(r->at == 0);
	if (r->count == 0)
		return 0;
	rel = palloc0(sizeof(EphemeralNamedRelationData));
	rel->md.name = pstrdup("new_rows");
	rel->md.reliddesc = InvalidOid;
	rel->md.tupdesc = r->desc;
	rel->md.enrtype = ENR_NAMED_TUPLESTORE;
	/* the plan is kept: by key, as for one row */
	rel->md.enrtuples = 1;
	rel->reldata = r->store;
	if (SPI_register_relation(rel) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not name the rows");
	n = es_spi_run(plan, expected, values, NULL);
	if (SPI_unregister_relation("new_rows") != SPI_OK_REL_UNREGISTER)
		elog(ERROR, "could not forget the rows");
	return n;
}
