/*
 * columns.c
 *		Rows to be written as one statement: a growing array per column.
 *
 * The arrays live in the memory context that was current at columns_init().
 */
#include "core/core.h"

#include "core/columns.h"

void
columns_init(Columns *c, int n, const Oid *types)
{
	Assert(n <= COLUMNS_MAX);
	c->n = n;
	c->context = CurrentMemoryContext;
	for (int i = 0; i < n; i++)
	{
		c->types[i] = types[i];
		c->state[i] = initArrayResult(types[i], CurrentMemoryContext, false);
	}
}

/* columns_add appends one value of one column. */
void
columns_add(Columns *c, int col, Datum value, bool isnull)
{
	accumArrayResult(c->state[col], value, isnull, c->types[col], c->context);
}

int
columns_rows(Columns *c)
{
	return c->state[0]->nelems;
}

/* columns_array returns one column as an array. */
Datum
columns_array(Columns *c, int col)
{
	return makeArrayResult(c->state[col], CurrentMemoryContext);
}

/*
 * columns_run executes a plan with $1 the tenant and the arrays after it;
 * nothing when there are no rows.  Returns the number of rows processed.
 */
int
columns_run(Columns *c, EsPlan *plan, int expected, Datum tenant)
{
	Datum		values[COLUMNS_MAX + 1];

	if (columns_rows(c) == 0)
		return 0;
	values[0] = tenant;
	for (int i = 0; i < c->n; i++)
		values[i + 1] = columns_array(c, i);
	return es_spi_run(plan, expected, values, NULL);
}
