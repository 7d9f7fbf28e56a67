/*
 * rows.h
 *		Rows to be written at once: by a statement, or past the planner.
 */
#ifndef ENTRESTATE_ROWS_H
#define ENTRESTATE_ROWS_H

#include "core/core.h"

#define ROWS_COLUMNS 20

/* What stands in a column of a row. */
typedef enum RowsIs
{
	ROWS_VALUE,
	ROWS_NULL,
	ROWS_KEEP					/* what was there: rows_update() only */
} RowsIs;

typedef struct Rows
{
	int			n;				/* columns */
	const Oid  *types;
	int			count;			/* rows */
	int			room;
	int			at;				/* the next column of the row at hand */
	Datum	   *values;			/* row by row */
	uint8	   *is;
} Rows;

/* A column that has the same value in all rows. */
typedef struct RowsFixed
{
	const char *column;
	Datum		value;
} RowsFixed;

extern void rows_init(Rows *r, int n, const Oid *types);
extern void rows_add(Rows *r, Datum value, bool isnull);
extern void rows_keep(Rows *r);
extern int	rows_run(Rows *r, EsPlan *plan, int expected, Datum *values);

/* rows_write.c */
extern void rows_insert(Rows *r, const char *table, const char *const *columns,
						int nfixed, const RowsFixed *fixed);
extern void rows_update(Rows *r, const char *table, const char *const *columns,
						int nfixed, const RowsFixed *fixed);

#endif
