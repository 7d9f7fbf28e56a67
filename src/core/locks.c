/*
 * locks.c
 *		Locks of our own, until the end of the transaction.
 *
 * They are advisory locks of a kind that SQL cannot take (SQL's functions use
 * the fourth field 1 and 2), so no login can hold up upkeep or a tenant by
 * taking one.  pg_locks is for everybody, so a tenant's lock shows a hash.
 */
#include "core/core.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#define ES_LOCK_FIELD4 3

static void
set_tag(LOCKTAG *tag, EsLock lock, const pg_uuid_t *id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) lock,
						 id == NULL ? 0 : hash_bytes(id->data, UUID_LEN),
						 ES_LOCK_FIELD4);
}

/* es_lock waits for a lock. */
void
es_lock(EsLock lock)
{
	LOCKTAG		tag;

	set_tag(&tag, lock, NULL);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* es_lock_one_of waits for one of an id's locks of a kind. */
void
es_lock_one_of(EsLock lock, const pg_uuid_t *id, uint8 number, bool shared)
{
	LOCKTAG		tag;

	set_tag(&tag, lock, id);
	tag.locktag_field2 |= (uint32) number << 8;
	(void) LockAcquire(&tag, shared ? ShareLock : ExclusiveLock, false, false);
}

/* es_lock_try takes a lock if nobody has it. */
bool
es_lock_try(EsLock lock, const pg_uuid_t *id)
{
	LOCKTAG		tag;

	set_tag(&tag, lock, id);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}
