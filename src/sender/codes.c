/*
 * codes.c
 *		The sender's codes by name, for SQL and for the rest of the room.
 */
#include "core/core.h"

#include "funcapi.h"
#include "sender/batch.h"
#include "utils/builtins.h"

typedef struct Code
{
	int			code;
	const char *word;
} Code;

#define X(name, code, word) {code, word},
static const Code event_types[] = {SENDER_EVENT_TYPES(X)};
static const Code reasons[] = {SENDER_REASONS(X)};
static const Code modes[] = {SENDER_MODES(X)};
static const Code channels[] = {SENDER_CHANNELS(X)};
#undef X

static int
code_of(const Code *codes, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(codes[i].word, word) == 0)
			return codes[i].code;
	elog(ERROR, "unknown word \"%s\"", word);
}

static const char *
word_of(const Code *codes, size_t n, int code)
{
	for (size_t i = 0; i < n; i++)
		if (codes[i].code == code)
			return codes[i].word;
	elog(ERROR, "unknown code %d", code);
}

SenderMode
sender_mode(const char *word)
{
	return code_of(modes, lengthof(modes), word);
}

const char *
sender_mode_word(SenderMode mode)
{
	return word_of(modes, lengthof(modes), mode);
}

SenderChannel
sender_channel(const char *word)
{
	return code_of(channels, lengthof(channels), word);
}

const char *
sender_channel_word(SenderChannel channel)
{
	return word_of(channels, lengthof(channels), channel);
}

const char *
sender_event_word(SenderEventType type)
{
	return word_of(event_types, lengthof(event_types), type);
}

const char *
sender_reason_word(SenderReason reason)
{
	return word_of(reasons, lengthof(reasons), reason);
}

static Datum
codes_as_rows(FunctionCallInfo fcinfo, const Code *codes, size_t n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < n; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = Int16GetDatum(codes[i].code);
		values[1] = CStringGetTextDatum(codes[i].word);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(sender_codes_event_types);
PG_FUNCTION_INFO_V1(sender_codes_reasons);
PG_FUNCTION_INFO_V1(sender_codes_modes);
PG_FUNCTION_INFO_V1(sender_codes_channels);

Datum
sender_codes_event_types(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, event_types, lengthof(event_types));
}

Datum
sender_codes_reasons(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, reasons, lengthof(reasons));
}

Datum
sender_codes_modes(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, modes, lengthof(modes));
}

Datum
sender_codes_channels(PG_FUNCTION_ARGS)
{
	return codes_as_rows(fcinfo, channels, lengthof(channels));
}

