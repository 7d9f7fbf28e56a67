/*
 * csv.c
 *		The rows of a CSV file, by PostgreSQL's own reader.
 *
 * COPY's reader cuts the file into fields; what is wrong with a row (bytes
 * that are no text, another number of fields than the header) is said of that
 * row, so that the others are not lost.  Only what leaves no rows to speak of
 * (a quote that is never closed) is an error of the file.
 */
#include "core/core.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_node.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* What is read, and how far: COPY's callback has no argument for it. */
static const char *csv_at;
static const char *csv_end;

/*
 * A NUL cannot be in a text, and COPY stops at it; a control character in its
 * place gets the row refused.
 */
static int
csv_read(void *out, int minread, int maxread)
{
	int			n = Min(maxread, csv_end - csv_at);

	memcpy(out, csv_at, n);
	for (int i = 0; i < n; i++)
		if (((char *) out)[i] == '\0')
			((char *) out)[i] = '\001';
	csv_at += n;
	return n;
}

static void
csv_context(void *arg)
{
	errcontext("row %d of the file, the header included", *(int *) arg);
}

PG_FUNCTION_INFO_V1(leads_csv_rows);

/*
 * leads_csv_rows(file bytea, delimiter text) returns (no, fields, problem), the
 * header as number 0; rows without any text are left out.
 */
Datum
leads_csv_rows(PG_FUNCTION_ARGS)
{
	bytea	   *file = PG_GETARG_BYTEA_PP(0);
	char	   *delimiter = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ParseState *pstate = make_parsestate(NULL);
	ErrorContextCallback context;
	CopyFromState copy;
	Relation	rel;
	List	   *options;
	char	  **fields;
	int			n;
	int			columns = -1;
	int			row = 1;

	if (strlen(delimiter) != 1 || strchr(",;|\t", delimiter[0]) == NULL)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("delimiter is not one that is known"),
				 errhint("One of: comma, semicolon, bar, tabulator.")));
	csv_at = VARDATA_ANY(file);
	csv_end = csv_at + VARSIZE_ANY_EXHDR(file);
	if (csv_end - csv_at >= 2 && (memcmp(csv_at, "\xff\xfe", 2) == 0 || memcmp(csv_at, "\xfe\xff", 2) == 0))
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("the file is in UTF-16"),
				 errhint("Save it in UTF-8.")));
	if (csv_end - csv_at >= 3 && memcmp(csv_at, "\xef\xbb\xbf", 3) == 0)
		csv_at += 3;			/* a byte order mark */

	InitMaterializedSRF(fcinfo, 0);
	/* no row goes into it: the reader wants a table */
	rel = table_open(es_relation("tenant_ids"), AccessShareLock);
	options = list_make3(makeDefElem("format", (Node *) makeString("csv"), -1),
						 makeDefElem("delimiter", (Node *) makeString(delimiter), -1),
						 makeDefElem("encoding", (Node *) makeString("SQL_ASCII"), -1));
	copy = BeginCopyFrom(pstate, rel, NULL, NULL, false, csv_read, NIL, options);
	context.callback = csv_context;
	context.arg = &row;
	context.previous = error_context_stack;
	error_context_stack = &context;
	while (NextCopyFromRawFields(copy, &fields, &n))
	{
		ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, true);
		const char *problem = NULL;
		bool		empty = true;
		Datum		values[3];
		bool		nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			size_t		len = fields[i] == NULL ? 0 : strlen(fields[i]);

			if (len > 0)
				empty = false;
			if (len > 0 && !pg_verifymbstr(fields[i], len, true))
			{
				problem = "invalid_encoding";
				len = 0;
			}
			accumArrayResult(state, len == 0 ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(fields[i], len)),
							 len == 0, TEXTOID, CurrentMemoryContext);
		}
		if (columns < 0)
			columns = n;
		else if (n != columns)
			problem = n > columns ? "too_many_fields" : "too_few_fields";
		if (!empty)
		{
			values[0] = Int32GetDatum(row - 1);
			values[1] = makeArrayResult(state, CurrentMemoryContext);
			if (problem == NULL)
				nulls[2] = true;
			else
				values[2] = CStringGetTextDatum(problem);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			pfree(DatumGetPointer(values[1]));
		}
		row++;
	}
	error_context_stack = context.previous;
	EndCopyFrom(copy);
	table_close(rel, AccessShareLock);
	free_parsestate(pstate);
	return (Datum) 0;
}
