/*
 * addresses.c
 *		Locks on addresses that are being placed.
 *
 * An address belongs to one lead, so who places one that somebody else is
 * placing waits for him at the unique index.  A form that has several, and an
 * import that has thousands in the order of its file, would wait there for
 * each other in a circle.  So whoever places addresses locks them first: a
 * form those that it has, in order, by hash; an import the tenant's all.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(leads_addresses_lock);

/* addresses_lock(tenant, norms); norms NULL: all, a NULL among them: none. */
Datum
leads_addresses_lock(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant = PG_GETARG_UUID_P(0);
	Datum	   *values;
	bool	   *nulls;
	int			n;
	bool		wanted[256] = {false};

	/* number 0 stands for all of them */
	es_lock_one_of(ES_LOCK_ADDRESS, tenant, 0, !PG_ARGISNULL(1));
	if (PG_ARGISNULL(1))
		PG_RETURN_VOID();
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
		{
			text	   *t = DatumGetTextPP(values[i]);

			wanted[hash_bytes((unsigned char *) VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)) % 255 + 1] = true;
		}
	for (int i = 1; i < 256; i++)
		if (wanted[i])
			es_lock_one_of(ES_LOCK_ADDRESS, tenant, i, false);
	PG_RETURN_VOID();
}
