/*
 * spi.c
 *		The few ways in which our C code runs SQL.
 *
 * Every statement names its tables with their schema and is run with the
 * caller's search_path, which our definer functions pin to pg_catalog; so
 * operators and functions are PostgreSQL's own.
 */
#include "core/core.h"

#include "utils/guc.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

/*
 * plan_by_key makes the plan of a statement that finds every row by its key.  What
 * is planned while a table is small stays: a scan of its one page, which looks
 * cheaper than the index, is a scan of a million rows later.  So pages cost
 * nothing for as long as we plan; what is left are the steps down an index.
 */
static void
plan_by_key(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	CachedPlan *made;
	int			nest;

	if (source->is_valid && source->gplan != NULL && source->gplan->is_valid)
		return;
	nest = NewGUCNestLevel();
	set_config_option("random_page_cost", "0", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	made = SPI_plan_get_cached_plan(plan);
	AtEOXact_GUC(true, nest);
	if (made != NULL)
		ReleaseCachedPlan(made, CurrentResourceOwner);
}

/*
 * es_spi_run executes a statement that is prepared once per backend.  One that
 * finds every row by its key says "generic"; PostgreSQL would plan
 * it at each call when it has arrays.  The plan is set only when it is
 * complete, so an error while preparing leaves nothing half made.  Raises an internal error when the result is not what
 * the caller expects.
 */
int
es_spi_run(EsPlan *p, int expected, Datum *values, const char *nulls)
{
	int			rc;

	if (p->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(p->sql, p->nargs, p->argtypes,
												p->generic ? CURSOR_OPT_GENERIC_PLAN : 0);

		if (plan == NULL)
			elog(ERROR, "could not prepare: %s: %s",
				 SPI_result_code_string(SPI_result), p->sql);
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep a plan");
		p->plan = plan;
	}
	if (p->generic)
		plan_by_key(p->plan);
	rc = SPI_execute_plan(p->plan, values, nulls, p->reads, 0);
	if (rc != expected)
		elog(ERROR, "unexpected result %s of: %s",
			 SPI_result_code_string(rc), p->sql);
	return (int) SPI_processed;
}

/* es_spi_exec executes one statement whose plan is not worth keeping. */
void
es_spi_exec(const char *sql, int expected)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0 || (expected != 0 && rc != expected))
		elog(ERROR, "unexpected result %s of: %s",
			 SPI_result_code_string(rc), sql);
}

/* es_spi_get returns a value of the last result; it lives in SPI's memory. */
Datum
es_spi_get(uint64 row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col,
						 isnull);
}
