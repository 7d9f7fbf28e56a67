/*
 * core.h
 *		What every room may use: errors, the clock, ids, SPI helpers, state
 *		transitions, and the start-up function of each room.
 */
#ifndef ENTRESTATE_CORE_H
#define ENTRESTATE_CORE_H

#include "postgres.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/compat.h"
#include "core/errors.h"

#define ES_SCHEMA "entrestate"
#define ES_OWNER_ROLE "entrestate_owner"

/* core.c */
extern Oid	es_namespace(void);
extern Oid	es_relation(const char *name);
extern Oid	es_owner(void);

/* clock.c: the only place that knows the time */
extern void es_clock_init(void);
extern TimestampTz es_now(void);
extern bool es_clock_moved(void);
extern bool es_instant_parse(const char *s, TimestampTz *usec);

/* calendar.c */
extern pg_tz *es_zone(const char *name);
extern TimestampTz es_add_delay(TimestampTz at, const Interval *delay,
								pg_tz *tz);

/* ids.c */
extern void es_uuid_v7(pg_uuid_t *out, TimestampTz at);
extern bool es_uuid_parse(const char *s, size_t len, pg_uuid_t *out);

/* spi.c */
typedef struct EsPlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[24];
	bool		generic;		/* planned once, whatever the values are */
	bool		reads;			/* and sees what the caller's snapshot sees */
	SPIPlanPtr	plan;			/* kept for the life of the backend */
} EsPlan;
extern int	es_spi_run(EsPlan *p, int expected, Datum *values,
					   const char *nulls);
extern void es_spi_exec(const char *sql, int expected);
extern Datum es_spi_get(uint64 row, int col, bool *isnull);

/* locks.c */
typedef enum EsLock
{
	ES_LOCK_MIGRATE,
	ES_LOCK_UPKEEP,
	ES_LOCK_EPOCH,
	ES_LOCK_TENANT,				/* one for each tenant */
	ES_LOCK_ADDRESS				/* some for each tenant */
} EsLock;
extern void es_lock(EsLock lock);
extern void es_lock_one_of(EsLock lock, const pg_uuid_t *id, uint8 number,
						   bool shared);
extern bool es_lock_try(EsLock lock, const pg_uuid_t *id);

/* transitions.c */
extern bool es_transition_allowed(const char *machine, const char *from,
								  const char *to);

/* migrate.c */
extern void es_require_schema(void);

/* the other rooms' start-up */
extern void es_context_check_connection(void);
extern void es_context_init(void);

#endif
