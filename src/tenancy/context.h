/*
 * context.h
 *		Settings of the tenancy room that its files share.
 */
#ifndef ENTRESTATE_CONTEXT_H
#define ENTRESTATE_CONTEXT_H

extern char *es_key_file;

#endif
