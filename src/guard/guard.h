/*
 * guard.h
 *		The door: the one way past the guards, open only while our own C code
 *		(migrate, upkeep) runs its own statements.
 */
#ifndef ENTRESTATE_GUARD_H
#define ENTRESTATE_GUARD_H

typedef enum EsDoor
{
	ES_DOOR_CLOSED,
	ES_DOOR_MIGRATE,			/* schema scripts */
	ES_DOOR_UPKEEP				/* partitions */
} EsDoor;

extern void es_door_open(EsDoor door);
extern void es_door_close(void);
extern EsDoor es_door(void);
extern bool es_is_system(Oid relowner);

#endif
