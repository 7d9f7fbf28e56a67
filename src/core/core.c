/*
 * core.c
 *		Module load, names of our own catalog objects, and the error table.
 *
 * _PG_init only calls the rooms' own start-up functions; each of them defines
 * its settings.  Nothing here needs shared_preload_libraries: the library is
 * loaded by the first call of one of its functions.  A backend that is to
 * refuse a bad token at connection time may have it preloaded.
 */
#include "core/core.h"

#include "catalog/namespace.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

ES_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static const struct
{
	const char *word;
	const char *sqlstate;
	const char *meaning;
} es_error_table[] = {
#define X(name, state, what) {#name, state, what},
	ES_ERRORS(X)
#undef X
};

void
_PG_init(void)
{
	es_context_check_connection();	/* first: it may refuse */
	es_clock_init();
	es_context_init();
	MarkGUCPrefixReserved("entrestate");
}

/* es_errcode returns the SQLSTATE of an error, for errcode(). */
int
es_errcode(EsError e)
{
	const char *s = es_error_table[e].sqlstate;

	return ES_SQLSTATE(s);
}

/* es_namespace returns our schema's OID; it is fixed by the control file. */
Oid
es_namespace(void)
{
	return get_namespace_oid(ES_SCHEMA, false);
}

/*
 * es_relation returns the OID of one of our tables, InvalidOid when migrate()
 * has not made it yet.
 */
Oid
es_relation(const char *name)
{
	return get_relname_relid(name, es_namespace());
}

/* es_owner returns the OID of the role that owns our tables and definers. */
Oid
es_owner(void)
{
	return get_role_oid(ES_OWNER_ROLE, false);
}

PG_FUNCTION_INFO_V1(core_error_codes);

/* core_error_codes returns the table of errors.h. */
Datum
core_error_codes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < ES_ERROR_COUNT; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(es_error_table[i].word);
		values[1] = CStringGetTextDatum(es_error_table[i].sqlstate);
		values[2] = CStringGetTextDatum(es_error_table[i].meaning);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(core_raise);

/*
 * core_raise(word, message, detail, hint) raises one of errors.h's errors from
 * SQL, so that a SQLSTATE is written down once.
 */
Datum
core_raise(PG_FUNCTION_ARGS)
{
	char	   *word = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < ES_ERROR_COUNT; i++)
	{
		if (strcmp(word, es_error_table[i].word) != 0)
			continue;
		ereport(ERROR,
				(errcode(es_errcode(i)),
				 errmsg("%s", PG_ARGISNULL(1) ? es_error_table[i].meaning
						: text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 PG_ARGISNULL(2) ? 0
				 : errdetail("%s", text_to_cstring(PG_GETARG_TEXT_PP(2))),
				 PG_ARGISNULL(3) ? 0
				 : errhint("%s", text_to_cstring(PG_GETARG_TEXT_PP(3)))));
	}
	elog(ERROR, "unknown error word \"%s\"", word);
	PG_RETURN_VOID();			/* not reached */
}
