/*
 * columns.h
 *		Rows to be written as one statement: a growing array per column.
 */
#ifndef ENTRESTATE_COLUMNS_H
#define ENTRESTATE_COLUMNS_H

#include "core/core.h"
#include "utils/array.h"

#define COLUMNS_MAX 22

typedef struct Columns
{
	int			n;				/* columns */
	MemoryContext context;
	Oid			types[COLUMNS_MAX];
	ArrayBuildState *state[COLUMNS_MAX];
} Columns;

extern void columns_init(Columns *c, int n, const Oid *types);
extern void columns_add(Columns *c, int col, Datum value, bool isnull);
extern int	columns_rows(Columns *c);
extern Datum columns_array(Columns *c, int col);
extern int	columns_run(Columns *c, EsPlan *plan, int expected, Datum tenant);

#endif
