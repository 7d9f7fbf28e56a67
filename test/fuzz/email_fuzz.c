/*-------------------------------------------------------------------------
 *
 * email_fuzz.c
 *	  libFuzzer target for src/leads/email.c, which it includes as shipped.
 *
 * How to run it, and what was run: README.md beside this file.
 *
 * An input is one byte that chooses the encoding (odd: not UTF-8), and the
 * address.  It is put into memory of exactly its size, as in a text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <locale.h>
#include <wctype.h>

#include "../../src/leads/email.c"

#define FUZZ_REQUIRE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: not so: %s\n", \
					__FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/*
 * The backend's memory: each piece is malloc'd, so that the address sanitizer
 * sees it, and all are freed after an input, as a memory context is reset.
 */
static void *pieces[100000];
static int	npieces = 0;

void *
palloc(Size size)
{
	void	   *p = malloc(size);

	FUZZ_REQUIRE(p != NULL && npieces < lengthof(pieces));
	return pieces[npieces++] = p;
}

/* unicode_normalize() of the static library has it from malloc() */
void
pfree(void *p)
{
	for (int i = npieces; i-- > 0;)
		if (pieces[i] == p)
		{
			pieces[i] = pieces[--npieces];
			break;
		}
	free(p);
}

static void
reset(void)
{
	while (npieces > 0)
		free(pieces[--npieces]);
}

char *
pnstrdup(const char *in, Size len)
{
	char	   *out;

	len = strnlen(in, len);
	out = palloc(len + 1);
	memcpy(out, in, len);
	out[len] = '\0';
	return out;
}

char *
pstrdup(const char *in)
{
	return pnstrdup(in, strlen(in));
}

char *
psprintf(const char *fmt, ...)
{
	char		buf[2048];
	va_list		args;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	FUZZ_REQUIRE(n >= 0 && n < sizeof(buf));
	return pstrdup(buf);
}

/* one character at a time, as the C library's locales do it */
char *
str_tolower(const char *buff, size_t nbytes, Oid collid)
{
	char	   *out = palloc(nbytes * MAX_MULTIBYTE_CHAR_LEN + 1);
	char	   *p = out;

	for (size_t i = 0; i < nbytes; i += pg_utf_mblen((const unsigned char *) buff + i))
	{
		unicode_to_utf8(towlower(utf8_to_unicode((const unsigned char *) buff + i)),
						(unsigned char *) p);
		p += pg_utf_mblen((unsigned char *) p);
	}
	*p = '\0';
	return out;
}

/* what only the function for SQL calls */
int
GetDatabaseEncoding(void)
{
	abort();
}

text *
cstring_to_text(const char *s)
{
	abort();
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	abort();
}

void
ExceptionalCondition(const char *condition,
#if PG_VERSION_NUM < 160000
					 const char *type pg_attribute_unused(),
#endif
					 const char *file, int line)
{
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	FUZZ_REQUIRE(setlocale(LC_CTYPE, "C.UTF-8") != NULL);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool		utf8;
	char	   *given;
	char	   *norm;

	if (size < 2)
		return 0;
	utf8 = data[0] % 2 == 0;
	data++;
	size--;
	/* a text holds no NUL and is valid */
	if (memchr(data, 0, size) != NULL ||
		(utf8 && pg_encoding_verifymbstr(PG_UTF8, (const char *) data, size) != size))
		return 0;
	given = malloc(size);
	memcpy(given, data, size);
	norm = email_normalise(given, size, utf8);
	if (norm != NULL)
	{
		size_t		len = strlen(norm);
		const char *at = strchr(norm, '@');
		char	   *again = malloc(len);
		char	   *twice;

		FUZZ_REQUIRE(len <= MAX_ADDRESS);
		FUZZ_REQUIRE(at != NULL && strchr(at + 1, '@') == NULL);
		FUZZ_REQUIRE(at > norm && at - norm <= MAX_LOCAL);
		FUZZ_REQUIRE(strspn(at + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(at + 1));
		FUZZ_REQUIRE(strchr(at, '.') != NULL);
		FUZZ_REQUIRE(strpbrk(norm, " \t\r\n<>()\"\\,;:[]") == NULL);
		FUZZ_REQUIRE(strstr(norm, "..") == NULL && norm[0] != '.' && at[-1] != '.');
		FUZZ_REQUIRE(utf8 || all_ascii(norm, len));
		FUZZ_REQUIRE(pg_encoding_verifymbstr(PG_UTF8, norm, len) == len);
		memcpy(again, norm, len);
		twice = email_normalise(again, len, utf8);
		FUZZ_REQUIRE(twice != NULL && strcmp(norm, twice) == 0);
		free(again);
	}
	free(given);
	reset();
	return 0;
}
