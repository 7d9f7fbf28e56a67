/*
 * rows.h
 *		Rows to be written as one statement, which reads them FROM new_rows.
 */
#ifndef ENTRESTATE_ROWS_H
#define ENTRESTATE_ROWS_H

#include "core/core.h"
#include "utils/tuplestore.h"

#define ROWS_COLUMNS 20

typedef struct Rows
{
	TupleDesc	desc;
	Tuplestorestate *store;
	int			count;
	int			at;				/* the next column of the row at hand */
	Datum		values[ROWS_COLUMNS];
	bool		nulls[ROWS_COLUMNS];
} Rows;

extern void rows_init(Rows *r, int n, const Oid *types);
extern void rows_add(Rows *r, Datum value, bool isnull);
extern int	rows_run(Rows *r, EsPlan *plan, int expected, Datum *values);

#endif
