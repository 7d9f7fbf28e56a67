/*
 * errors.h
 *		One table of every error class that entrestate raises.
 *
 * Standard SQLSTATEs where one fits, the private class ZE where none does.
 * entrestate.error_codes() shows this table to SQL, so that clients can match
 * on the SQLSTATE or on the word.
 */
#ifndef ENTRESTATE_ERRORS_H
#define ENTRESTATE_ERRORS_H

/* clang-format off */
#define ES_ERRORS(X) \
	X(UNAUTHORIZED,       "28000", "no tenant context, or a token that does not hold") \
	X(FORBIDDEN,          "42501", "the role within the tenant lacks the capability") \
	X(INVALID_INPUT,      "22023", "an argument has a value that is not allowed") \
	X(MISSING_INPUT,      "22004", "an argument that is needed is NULL or empty") \
	X(NOT_FOUND,          "P0002", "no such row in this tenant") \
	X(CONFLICT,           "23505", "a row with this key exists already") \
	X(WRONG_STATE,        "55000", "the object is not in a state that allows this") \
	X(TENANT_FROZEN,      "55000", "the tenant is frozen: nothing can be written") \
	X(LIMIT_EXCEEDED,     "54000", "the input is larger than the stated bound") \
	X(APPEND_ONLY,        "ZE001", "rows of an append-only table are never changed or removed") \
	X(SYSTEM_ONLY,        "ZE002", "the table is written by the system alone") \
	X(GUARDED_DDL,        "ZE003", "the DDL would take a guard or its rows away") \
	X(SCHEMA_VERSION,     "ZE004", "code and schema have different versions") \
	X(TRANSITION,         "ZE005", "the state machine has no such transition") \
	X(CROSS_TENANT,       "ZE006", "the row belongs to another tenant than the context") \
	X(CONFIGURATION,      "F0000", "a setting or file of the installation is missing or wrong") \
	X(TICK_NOT_ALONE,     "25001", "a tick must be a transaction of its own")
/* clang-format on */

#define ES_SQLSTATE(s) MAKE_SQLSTATE((s)[0], (s)[1], (s)[2], (s)[3], (s)[4])

typedef enum EsError
{
#define X(name, state, what) ES_##name,
	ES_ERRORS(X)
#undef X
		ES_ERROR_COUNT
} EsError;

extern int	es_errcode(EsError e);

#endif
