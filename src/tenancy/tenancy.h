/*
 * tenancy.h
 *		The tenant context as other rooms see it.
 */
#ifndef ENTRESTATE_TENANCY_H
#define ENTRESTATE_TENANCY_H

#include "utils/uuid.h"

/* NULL without a context; the result lives until the transaction's end. */
extern const pg_uuid_t *es_current_tenant(void);

/* Our own background work enters a tenant for the current transaction. */
extern void es_context_enter_system(const pg_uuid_t *tenant);

/* secrets.c: a secret's bytes from a file, malloc'd once and cached */
extern const char *es_secret_file(const char *setting, const char *path,
								  bool is_secret, size_t *len);
extern const char *es_signing_key(size_t n, size_t *len);
extern void es_signing_key_ensure(void);

#endif
