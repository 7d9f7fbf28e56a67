/*-------------------------------------------------------------------------
 *
 * render_fuzz.c
 *	  libFuzzer target for src/sender/render.c, which it includes as shipped.
 *
 * How to run it, and what was run: README.md beside this file.
 *
 * An input is one byte that chooses how it is rendered and the encoding, a
 * value, a line feed, and the text.  The text is put into memory of exactly
 * its size; a path finds the value when its length is even.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "../../src/sender/render.c"

#define FUZZ_REQUIRE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: not so: %s\n", \
					__FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

typedef struct Value
{
	const char *text;
	int			len;
	int			asked;
} Value;

static bool
look(void *arg, const char *path, int len, const char **value, int *value_len)
{
	Value	   *v = arg;

	v->asked++;
	FUZZ_REQUIRE(len > 0 && path_problem(path, len) == NULL);
	*value = v->text;
	*value_len = v->len;
	return len % 2 == 0;
}

/* The string of lib/stringinfo.h, in memory that the address sanitizer sees. */
void
initStringInfo(StringInfo s)
{
	s->maxlen = 64;
	s->data = malloc(s->maxlen);
	s->len = s->cursor = 0;
	s->data[0] = '\0';
}

void
enlargeStringInfo(StringInfo s, int needed)
{
	FUZZ_REQUIRE(needed >= 0 && s->len <= MAX_RENDERED);
	if (s->len + needed + 1 > s->maxlen)
	{
		s->maxlen = (s->len + needed + 1) * 2;
		s->data = realloc(s->data, s->maxlen);
		FUZZ_REQUIRE(s->data != NULL);
	}
}

void
appendBinaryStringInfo(StringInfo s, const char *data, int len)
{
	enlargeStringInfo(s, len);
	memcpy(s->data + s->len, data, len);
	s->len += len;
	s->data[s->len] = '\0';
}

void
appendStringInfoString(StringInfo s, const char *text)
{
	appendBinaryStringInfo(s, text, strlen(text));
}

void
appendStringInfoChar(StringInfo s, char c)
{
	appendBinaryStringInfo(s, &c, 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	RenderMode	mode;
	bool		utf8;
	const uint8_t *feed;
	char	   *value;
	char	   *text;
	int			len;
	Value		v = {0};
	StringInfoData out;
	const char *problem = NULL;
	const char *where = NULL;
	bool		done;

	if (size < 2 || (feed = memchr(data + 1, '\n', size - 1)) == NULL)
		return 0;
	mode = data[0] % 3;
	utf8 = (data[0] / 3) % 2 == 0;
	v.len = feed - data - 1;
	value = malloc(v.len + 1);
	memcpy(value, data + 1, v.len);
	v.text = value;
	len = size - v.len - 2;
	text = malloc(len + 1);
	memcpy(text, feed + 1, len);
	/* exactly as large as it is */
	if (len > 0)
		text = realloc(text, len);
	initStringInfo(&out);
	done = render(&out, text, len, mode, utf8, look, &v, &problem, &where);
	FUZZ_REQUIRE(out.len <= MAX_RENDERED);
	FUZZ_REQUIRE(problem == NULL || (!done && where >= text && where < text + len));
	if (done)
	{
		int			open = 0;

		/* a text without fields stays as it is */
		if (v.asked == 0 && mode != RENDER_LINE)
			FUZZ_REQUIRE(out.len == len && memcmp(out.data, text, len) == 0);
		if (mode == RENDER_LINE)
			for (int i = 0; i < out.len; i++)
				FUZZ_REQUIRE(control_len((unsigned char *) out.data + i, out.len - i, false) == 0);
		/* no value brings a tag with it */
		if (mode == RENDER_HTML && memchr(text, '<', len) == NULL)
			for (int i = 0; i < out.len; i++)
				open += out.data[i] == '<';
		FUZZ_REQUIRE(open == 0);
	}
	free(out.data);
	free(value);
	free(text);
	return 0;
}
