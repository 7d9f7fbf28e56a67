/*
 * email.c
 *		An email address as it is compared and sent to.
 *
 * Two spellings of one mailbox must give one text, since duplicates are found
 * and suppressions kept by it; and what a provider could not send to, or what
 * a reader could not tell from another address, must give none.
 *
 * Refused although RFC 5321 or RFC 6531 knows it: quoted local parts, comments,
 * IP literals (few servers take them, and injections hide there), domains
 * without a dot, and characters that nobody sees.
 */
#include "core/core.h"

#include <idn2.h>

#include "catalog/pg_collation.h"
#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#define MAX_LOCAL 64			/* octets: RFC 5321, 4.5.3.1.1 */
#define MAX_LABEL 63			/* RFC 1035, 2.3.4 */
#define MAX_ADDRESS 254			/* RFC 5321, 4.5.3.1.3, without the brackets */

/* Before it is normalised an address may be longer, but not by any factor. */
#define MAX_GIVEN 1024

typedef struct CodeRange
{
	pg_wchar	first;
	pg_wchar	last;
} CodeRange;

/* White space beyond ASCII (property White_Space), in order. */
static const CodeRange spaces[] = {
	{0x0085, 0x0085}, {0x00A0, 0x00A0}, {0x1680, 0x1680}, {0x2000, 0x200A},
	{0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}
};

/*
 * What leaves no trace on the screen (property Default_Ignorable_Code_Point,
 * format characters) or means something here only (controls, private use, no
 * characters at all, and what a decoder puts for bytes it could not read).
 */
static const CodeRange unseen[] = {
	{0x0080, 0x009F}, {0x00AD, 0x00AD}, {0x034F, 0x034F}, {0x0600, 0x0605},
	{0x061C, 0x061C}, {0x06DD, 0x06DD}, {0x070F, 0x070F}, {0x0890, 0x0891},
	{0x08E2, 0x08E2}, {0x115F, 0x1160}, {0x17B4, 0x17B5}, {0x180B, 0x180F},
	{0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},
	{0xE000, 0xF8FF}, {0xFDD0, 0xFDEF}, {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF},
	{0xFFA0, 0xFFA0}, {0xFFF0, 0xFFFF}, {0x110BD, 0x110BD},
	{0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},
	{0x1D173, 0x1D17A}, {0x1FFFE, 0x1FFFF}, {0x2FFFE, 0x2FFFF},
	{0x3FFFE, 0x3FFFF}, {0x4FFFE, 0x4FFFF}, {0x5FFFE, 0x5FFFF},
	{0x6FFFE, 0x6FFFF}, {0x7FFFE, 0x7FFFF}, {0x8FFFE, 0x8FFFF},
	{0x9FFFE, 0x9FFFF}, {0xAFFFE, 0xAFFFF}, {0xBFFFE, 0xBFFFF},
	{0xCFFFE, 0xCFFFF}, {0xDFFFE, 0xDFFFF}, {0xE0000, 0x10FFFF}
};

/* What is pasted along with an address: marks of direction and width. */
static const CodeRange pasted[] = {
	{0x00AD, 0x00AD}, {0x061C, 0x061C}, {0x200B, 0x200F}, {0x202A, 0x202E},
	{0x2060, 0x2060}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF}
};

static bool
in_ranges(pg_wchar c, const CodeRange *ranges, int n)
{
	for (int i = 0; i < n && ranges[i].first <= c; i++)
		if (c <= ranges[i].last)
			return true;
	return false;
}

static bool
is_trimmed(pg_wchar c)
{
	if (c < 0x80)
		return c == ' ' || (c >= '\t' && c <= '\r');
	return in_ranges(c, spaces, lengthof(spaces)) ||
		in_ranges(c, pasted, lengthof(pasted));
}

static bool
all_ascii(const char *s, int len)
{
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(s[i]))
			return false;
	return true;
}

static void
lower_ascii(char *s, int len)
{
	for (int i = 0; i < len; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			s[i] += 'a' - 'A';
}

/* The character at p; in other encodings than UTF-8 a byte, if it is ASCII. */
static pg_wchar
char_at(const char *p, bool utf8)
{
	if (utf8)
		return utf8_to_unicode((const unsigned char *) p);
	return IS_HIGHBIT_SET(*p) ? 0 : *p;
}

/* trim takes white space and what was pasted along off both ends. */
static void
trim(const char **s, int *len, bool utf8)
{
	while (*len > 0 && is_trimmed(char_at(*s, utf8)))
	{
		int			n = utf8 ? pg_utf_mblen((const unsigned char *) *s) : 1;

		*s += n;
		*len -= n;
	}
	while (*len > 0)
	{
		const char *last = *s + *len - 1;

		while (utf8 && (*last & 0xC0) == 0x80)
			last--;
		if (!is_trimmed(char_at(last, utf8)))
			break;
		*len = last - *s;
	}
}

/*
 * local_allowed judges a local part: RFC 5322's dot-atom, and beyond ASCII
 * (RFC 6531) what can be seen.
 */
static bool
local_allowed(const char *s, int len)
{
	if (len == 0 || s[0] == '.' || s[len - 1] == '.')
		return false;
	for (int i = 0; i < len;)
	{
		unsigned char c = s[i];

		if (IS_HIGHBIT_SET(c))
		{
			pg_wchar	w = char_at(s + i, true);

			/* the last two are < and > with a stroke */
			if (in_ranges(w, unseen, lengthof(unseen)) ||
				in_ranges(w, spaces, lengthof(spaces)) ||
				w == 0x226E || w == 0x226F)
				return false;
			i += pg_utf_mblen((const unsigned char *) s + i);
			continue;
		}
		if (c <= ' ' || c == 0x7F || strchr("\"(),:;<>@[\\]", c) != NULL ||
			(c == '.' && s[i + 1] == '.'))
			return false;
		i++;
	}
	return true;
}

/* nfc brings UTF-8 text to Unicode's normalisation form C. */
static char *
nfc(const char *s, int len)
{
	pg_wchar   *wide = palloc((len + 1) * sizeof(pg_wchar));
	pg_wchar   *composed;
	char	   *out;
	char	   *p;
	int			n = 0;

	for (int i = 0; i < len; i += pg_utf_mblen((const unsigned char *) s + i))
		wide[n++] = char_at(s + i, true);
	wide[n] = 0;
	composed = unicode_normalize(UNICODE_NFC, wide);
	for (n = 0; composed[n] != 0; n++)
		;
	p = out = palloc(n * MAX_MULTIBYTE_CHAR_LEN + 1);
	for (int i = 0; i < n; i++)
	{
		unicode_to_utf8(composed[i], (unsigned char *) p);
		p += pg_utf_mblen((unsigned char *) p);
	}
	*p = '\0';
	pfree(composed);
	pfree(wide);
	return out;
}

/*
 * local_normalise gives the local part in lower case and form C, or NULL.
 * ASCII is lowered by itself: a Turkish database must not make a dotless i of
 * INFO's.  The rest follows the database's own rules, as lower() does.
 */
static char *
local_normalise(const char *s, int len)
{
	char	   *local;

	/* before it is composed too: < and a stroke are one character then */
	if (!local_allowed(s, len))
		return NULL;
	if (all_ascii(s, len))
	{
		local = pnstrdup(s, len);
		lower_ascii(local, len);
	}
	else
	{
		/* composed first, so that every spelling of a letter is lowered alike */
		local = nfc(s, len);
		lower_ascii(local, strlen(local));
		local = str_tolower(local, strlen(local), DEFAULT_COLLATION_OID);
		local = nfc(local, strlen(local));
		if (!local_allowed(local, strlen(local)))
			return NULL;
	}
	return strlen(local) <= MAX_LOCAL ? local : NULL;
}

/*
 * domain_allowed judges a domain in lower-case ASCII: two or more labels of
 * letters, digits and hyphens, the last one of letters alone or an A-label.
 */
static bool
domain_allowed(const char *s)
{
	const char *label = s;
	int			labels = 1;
	bool		letters = true;

	for (;; s++)
	{
		if (*s == '.' || *s == '\0')
		{
			int			len = s - label;

			if (len < 1 || len > MAX_LABEL || label[0] == '-' || s[-1] == '-')
				return false;
			if (*s == '\0')
				return labels > 1 && len > 1 &&
					(letters || strncmp(label, "xn--", 4) == 0);
			label = s + 1;
			labels++;
			letters = true;
		}
		else if ((*s >= '0' && *s <= '9') || *s == '-')
			letters = false;
		else if (*s < 'a' || *s > 'z')
			return false;
	}
}

/*
 * domain_normalise gives the domain in ASCII, or NULL.  What is ASCII already
 * is not IDNA's business: a zone's owner may name hosts in ways that no
 * registry would take (r3---sn.example.com).
 */
static char *
domain_normalise(const char *s, int len)
{
	char	   *domain;

	if (all_ascii(s, len))
		domain = pnstrdup(s, len);
	else
	{
		char	   *given = nfc(s, len);
		char	   *ascii = NULL;
		char		copy[MAX_ADDRESS + 1];
		bool		fits = false;

		/*
		 * UTS 46, non-transitional, as browsers do it.  Not with
		 * IDN2_USE_STD3_ASCII_RULES: libidn2 then leaves out what these rules
		 * forbid, and bü_cher.ch would become bücher.ch, another's
		 * domain.  Here it stays, and domain_allowed() finds it.
		 */
		if (idn2_to_ascii_8z(given, &ascii,
							 IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK)
			fits = strlcpy(copy, ascii, sizeof(copy)) < sizeof(copy);
		/* it is malloc'd: no error may come before this */
		idn2_free(ascii);
		if (!fits)
			return NULL;
		domain = pstrdup(copy);
	}
	lower_ascii(domain, strlen(domain));
	return domain_allowed(domain) ? domain : NULL;
}

/* email_normalise gives the address, or NULL when it cannot be sent to. */
static char *
email_normalise(const char *s, int len, bool utf8)
{
	const char *at;
	char	   *local;
	char	   *domain;

	trim(&s, &len, utf8);
	if (len > MAX_GIVEN || (!utf8 && !all_ascii(s, len)))
		return NULL;
	/* a second one is in what local_normalise or domain_allowed refuses */
	at = memchr(s, '@', len);
	if (at == NULL)
		return NULL;
	local = local_normalise(s, at - s);
	if (local == NULL)
		return NULL;
	domain = domain_normalise(at + 1, s + len - at - 1);
	if (domain == NULL || strlen(local) + 1 + strlen(domain) > MAX_ADDRESS)
		return NULL;
	return psprintf("%s@%s", local, domain);
}

PG_FUNCTION_INFO_V1(leads_email_normalise);

/* leads_email_normalise(address text) returns text */
Datum
leads_email_normalise(PG_FUNCTION_ARGS)
{
	text	   *address = PG_GETARG_TEXT_PP(0);
	char	   *result = email_normalise(VARDATA_ANY(address),
										 VARSIZE_ANY_EXHDR(address),
										 GetDatabaseEncoding() == PG_UTF8);

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(result));
}
