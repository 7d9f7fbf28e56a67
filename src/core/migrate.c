/*
 * migrate.c
 *		Brings the schema (tables, policies, triggers, views) to the version of
 *		the code.
 *
 * The code is the extension; the data is not (DESIGN.md section 3: a member
 * table with partitions loses its rows in a dump).  The schema scripts lie
 * beside the extension's own:
 *
 *	entrestate.schema--<version>.sql		from nothing
 *	entrestate.schema--<from>--<to>.sql		one step on
 *
 * migrate() runs the first where there is no schema and otherwise follows the
 * steps.  Each script runs in the caller's transaction, with the guard's door
 * open (guard/ddl.c), so that it may change what nobody else may.
 */
#include "core/core.h"

#include <dirent.h>
#include <sys/stat.h>

#include "access/xact.h"
#include "guard/guard.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define MAX_SCRIPT (16 * 1024 * 1024)

static bool schema_checked = false; /* this backend has seen matching versions */

static void
script_dir(char *path)
{
	char		share[MAXPGPATH];

	get_share_path(my_exec_path, share);
	snprintf(path, MAXPGPATH, "%s/extension", share);
}

/* read_script returns a script's text, palloc'd in the current context. */
static char *
read_script(const char *name)
{
	char		dir[MAXPGPATH];
	char	   *path;
	FILE	   *f;
	struct stat st;
	char	   *buf;

	script_dir(dir);
	path = psprintf("%s/%s", dir, name);
	f = AllocateFile(path, PG_BINARY_R);
	if (f == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open schema script \"%s\": %m", path),
				 errhint("Install the extension's files again: make install.")));
	if (fstat(fileno(f), &st) != 0 || st.st_size > MAX_SCRIPT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read schema script \"%s\"", path)));
	buf = palloc(st.st_size + 1);
	if (fread(buf, 1, st.st_size, f) != (size_t) st.st_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read schema script \"%s\"", path)));
	buf[st.st_size] = '\0';
	FreeFile(f);
	pg_verify_mbstr(PG_UTF8, buf, st.st_size, false);
	return buf;
}

/*
 * next_version finds the one step that leads on from a version; NULL when
 * there is none.
 */
static char *
next_version(const char *from)
{
	char		dirname[MAXPGPATH];
	char	   *prefix = psprintf("entrestate.schema--%s--", from);
	DIR		   *dir;
	struct dirent *de;
	char	   *found = NULL;

	script_dir(dirname);
	dir = AllocateDir(dirname);
	while ((de = ReadDir(dir, dirname)) != NULL)
	{
		size_t		n = strlen(de->d_name);

		if (strncmp(de->d_name, prefix, strlen(prefix)) == 0 && n > 4 &&
			strcmp(de->d_name + n - 4, ".sql") == 0)
		{
			if (found != NULL)
				ereport(ERROR,
						(errcode(es_errcode(ES_CONFIGURATION)),
						 errmsg("two schema scripts lead on from version %s", from)));
			found = pnstrdup(de->d_name + strlen(prefix),
							 n - 4 - strlen(prefix));
		}
	}
	FreeDir(dir);
	return found;
}

/* schema_version returns the newest recorded version, NULL without a schema. */
static char *
schema_version(void)
{
	if (!OidIsValid(es_relation("schema_version")))
		return NULL;
	es_spi_exec("SELECT version FROM entrestate.schema_version "
				"ORDER BY schema_version_id DESC LIMIT 1", SPI_OK_SELECT);
	if (SPI_processed == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
run_script(const char *name, const char *from, const char *to)
{
	static EsPlan record = {
		"INSERT INTO entrestate.schema_version (version, migrated_from) VALUES ($1, $2)",
	2, {TEXTOID, TEXTOID}};
	char	   *sql = read_script(name);
	Datum		values[2];
	char		nulls[2] = {' ', from == NULL ? 'n' : ' '};

	ereport(DEBUG1, (errmsg("running schema script \"%s\"", name)));
	es_spi_exec(sql, 0);
	values[0] = CStringGetTextDatum(to);
	values[1] = from == NULL ? (Datum) 0 : CStringGetTextDatum(from);
	es_spi_run(&record, SPI_OK_INSERT, values, nulls);
}

PG_FUNCTION_INFO_V1(core_migrate);

/*
 * core_migrate brings the schema to the code's version and returns that
 * version.  Only a superuser may, since it makes objects for the owner role.
 */
Datum
core_migrate(PG_FUNCTION_ARGS)
{
	char	   *at;
	int			nest;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may migrate the schema")));
	SPI_connect();
	es_lock(ES_LOCK_MIGRATE);
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	/* CHECKs with backslashes are parsed as they were written */
	(void) set_config_option("standard_conforming_strings", "on",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	(void) set_config_option("client_min_messages", "warning",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	es_door_open(ES_DOOR_MIGRATE);
	PG_TRY();
	{
		at = schema_version();
		if (at == NULL)
			run_script("entrestate.schema--" ENTRESTATE_VERSION ".sql", NULL,
					   ENTRESTATE_VERSION);
		else
			while (strcmp(at, ENTRESTATE_VERSION) != 0)
			{
				char	   *to = next_version(at);

				if (to == NULL)
					ereport(ERROR,
							(errcode(es_errcode(ES_SCHEMA_VERSION)),
							 errmsg("no schema script leads from version %s to %s",
									at, ENTRESTATE_VERSION),
							 errdetail("The schema has version %s, the code has %s.",
									   at, ENTRESTATE_VERSION),
							 errhint("Install the extension's version that goes with the schema, or a newer one.")));
				run_script(psprintf("entrestate.schema--%s--%s.sql", at, to),
						   at, to);
				CommandCounterIncrement();
				at = to;
			}
	}
	PG_FINALLY();
	{
		es_door_close();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nest);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(ENTRESTATE_VERSION));
}

/*
 * es_require_schema raises when code and schema differ, with what to do.  It
 * asks once per backend: the schema only moves on by migrate(), and a newer
 * schema than the loaded library is found by the next backend.
 */
void
es_require_schema(void)
{
	char	   *at;
	Oid			user;
	int			sec;

	if (schema_checked)
		return;
	/* as the owner: not every caller may read the table (an error ends this, too) */
	GetUserIdAndSecContext(&user, &sec);
	SetUserIdAndSecContext(es_owner(), sec | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	at = schema_version();
	if (at == NULL)
		ereport(ERROR,
				(errcode(es_errcode(ES_SCHEMA_VERSION)),
				 errmsg("entrestate has no schema in this database yet"),
				 errhint("As a superuser: SELECT entrestate.migrate();")));
	if (strcmp(at, ENTRESTATE_VERSION) != 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_SCHEMA_VERSION)),
				 errmsg("the schema has version %s, the code has %s", at,
						ENTRESTATE_VERSION),
				 errhint("As a superuser: ALTER EXTENSION entrestate UPDATE; SELECT entrestate.migrate();")));
	SPI_finish();
	SetUserIdAndSecContext(user, sec);
	schema_checked = true;
}

PG_FUNCTION_INFO_V1(core_version);

Datum
core_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ENTRESTATE_VERSION));
}
