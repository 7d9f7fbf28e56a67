/*
 * render.c
 *		Texts with fields, guards and variants: what a step says, whether it
 *		says it, and which of its texts.
 *
 * A field is {{path}} or {{path|default}}.  A path begins with lead,
 * attribution, campaign or sender and names a value of the document
 * (sender_document()); there are no loops and there is no code.  A value is put
 * in once and never read again as a text with fields.
 *
 * The functions over plain memory come first: test/fuzz/render_fuzz.c includes
 * this file and calls them.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "sender/sender.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"
#include "utils/numeric.h"

#define MAX_RENDERED (1024 * 1024)
#define MAX_PATH_BYTES 200
#define MAX_PATH_PARTS 6

/* A field of a text; the pointers are into the text. */
typedef struct Field
{
	const char *path;
	int			path_len;
	const char *fallback;		/* NULL: no default */
	int			fallback_len;
	const char *start;			/* of the opening braces */
	const char *end;			/* after the closing ones */
} Field;

/* Gives the value of a path, or false when it is missing. */
typedef bool (*Lookup) (void *arg, const char *path, int len,
						const char **value, int *value_len);

typedef enum RenderMode
{
	RENDER_TEXT,
	RENDER_HTML,
	RENDER_LINE					/* a header: nothing that ends a line */
} RenderMode;

/* ----- over plain memory ----------------------------------------------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
trim_blanks(const char **s, int *len)
{
	while (*len > 0 && is_blank(**s))
	{
		(*s)++;
		(*len)--;
	}
	while (*len > 0 && is_blank((*s)[*len - 1]))
		(*len)--;
}

static bool
path_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* path_problem says why a path is none, or NULL. */
static const char *
path_problem(const char *path, int len)
{
	static const char *const roots[] = {"lead", "attribution", "campaign", "sender"};
	int			parts = 0;
	int			part = 0;
	bool		known = false;

	if (len == 0)
		return "the field has no name";
	if (len > MAX_PATH_BYTES)
		return "the field's name is too long";
	for (int i = 0; i <= len; i++)
	{
		if (i < len && path_char(path[i]))
		{
			part++;
			continue;
		}
		if (i < len && path[i] != '.')
			return "the field's name has a character that is not allowed";
		if (part == 0)
			return "the field's name has an empty part";
		if (parts == 0)
			for (size_t r = 0; r < lengthof(roots); r++)
				if (strlen(roots[r]) == part && memcmp(roots[r], path, part) == 0)
					known = true;
		parts++;
		part = 0;
	}
	if (!known)
		return "the field does not begin with lead, attribution, campaign or sender";
	if (parts < 2)
		return "the field names no value of it";
	if (parts > MAX_PATH_PARTS)
		return "the field's name has too many parts";
	return NULL;
}

/*
 * next_field finds the first field at or after "at".  It returns false at the
 * end of the text, and with *problem set, and f->start where, when what begins
 * as a field is none.
 */
static bool
next_field(const char *at, const char *end, Field *f, const char **problem)
{
	const char *p;
	const char *bar;

	*problem = NULL;
	for (; end - at >= 2; at++)
		if (at[0] == '{' && at[1] == '{')
			break;
	if (end - at < 2)
		return false;
	f->start = at;
	for (p = at + 2; end - p >= 2 && !(p[0] == '}' && p[1] == '}'); p++)
		if (*p == '{' || *p == '}' || *p == '\n' || *p == '\r')
		{
			*problem = "the field has a brace or the end of a line in it";
			return false;
		}
	if (end - p < 2)
	{
		*problem = "the field is not closed";
		return false;
	}
	f->end = p + 2;
	f->path = at + 2;
	bar = memchr(f->path, '|', p - f->path);
	f->path_len = (bar != NULL ? bar : p) - f->path;
	trim_blanks(&f->path, &f->path_len);
	f->fallback = NULL;
	f->fallback_len = 0;
	if (bar != NULL)
	{
		f->fallback = bar + 1;
		f->fallback_len = p - f->fallback;
		trim_blanks(&f->fallback, &f->fallback_len);
	}
	*problem = path_problem(f->path, f->path_len);
	return *problem == NULL;
}

/*
 * control_len tells how many bytes at s make a control character: C0, DEL, C1,
 * and what Unicode says ends a line or paragraph; 0 for any other.
 */
static int
control_len(const unsigned char *s, int len, bool utf8)
{
	if (s[0] < 0x20 || s[0] == 0x7f)
		return 1;
	if (utf8 && len >= 2 && s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f)
		return 2;
	if (utf8 && len >= 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9))
		return 3;
	return 0;
}

/*
 * put adds text.  Without control characters: in a line all of them, in a value
 * all but tab and the ends of lines.  What the author wrote is not escaped.
 * False when the result would be too long.
 */
static bool
put(StringInfo out, const char *s, int len, RenderMode mode, bool value,
	bool utf8)
{
	for (int i = 0; i < len;)
	{
		const unsigned char *c = (const unsigned char *) s + i;
		int			n = mode == RENDER_LINE || value ? control_len(c, len - i, utf8) : 0;

		if (n > 0 && (mode == RENDER_LINE ||
					  !(*c == '\n' || *c == '\r' || *c == '\t' || *c == 0xe2)))
		{
			i += n;
			continue;
		}
		/* an entity is the longest that one byte can become */
		if (out->len + 6 > MAX_RENDERED)
			return false;
		if (mode == RENDER_HTML && value)
			switch (*c)
			{
				case '&':
					appendStringInfoString(out, "&amp;");
					i++;
					continue;
				case '<':
					appendStringInfoString(out, "&lt;");
					i++;
					continue;
				case '>':
					appendStringInfoString(out, "&gt;");
					i++;
					continue;
				case '"':
					appendStringInfoString(out, "&quot;");
					i++;
					continue;
				case '\'':
					appendStringInfoString(out, "&#39;");
					i++;
					continue;
			}
		appendStringInfoCharMacro(out, (char) *c);
		i++;
	}
	return true;
}

/*
 * render adds a text with its fields filled in.  False when a field without a
 * default is missing, when the result would be too long, or with *problem set
 * for a text that has a field that is none.
 */
static bool
render(StringInfo out, const char *text, int len, RenderMode mode, bool utf8,
	   Lookup lookup, void *arg, const char **problem, const char **where)
{
	const char *at = text;
	const char *end = text + len;
	Field		f;

	while (next_field(at, end, &f, problem))
	{
		const char *value;
		int			value_len;
		bool		found;

		if (!put(out, at, f.start - at, mode, false, utf8))
			return false;
		found = lookup(arg, f.path, f.path_len, &value, &value_len);
		if (!found && f.fallback == NULL)
			return false;
		if (found)
		{
			if (!put(out, value, value_len, mode, true, utf8))
				return false;
		}
		else if (!put(out, f.fallback, f.fallback_len, mode, false, utf8))
			return false;
		at = f.end;
	}
	if (*problem != NULL)
	{
		*where = f.start;
		return false;
	}
	return put(out, at, end - at, mode, false, utf8);
}

/* ----- for SQL --------------------------------------------------------- */

static void
raise_problem(const char *problem, const char *text, const char *where)
{
	ereport(ERROR,
			(errcode(es_errcode(ES_INVALID_INPUT)),
			 errmsg("the text has a field that is none, at character %d",
					pg_mbstrlen_with_len(text, where - text) + 1),
			 errdetail("%s.", problem),
			 errhint("Write {{lead.full_name}} or {{lead.first_name|there}}.")));
}

/*
 * document_lookup finds a path's value in a JSON document.  A text, a number
 * or a truth value; anything else, and a text of blanks, is missing.
 */
static bool
document_lookup(void *arg, const char *path, int len,
				const char **value, int *value_len)
{
	JsonbContainer *at = &((Jsonb *) arg)->root;
	const char *end = path + len;

	while (path < end)
	{
		const char *dot = memchr(path, '.', end - path);
		int			part = (dot != NULL ? dot : end) - path;
		JsonbValue	buf;
		JsonbValue *v;

		if (!JsonContainerIsObject(at))
			return false;
		v = getKeyJsonValueFromContainer(at, path, part, &buf);
		if (v == NULL)
			return false;
		path += part + 1;
		if (path < end)
		{
			if (v->type != jbvBinary)
				return false;
			at = v->val.binary.data;
			continue;
		}
		switch (v->type)
		{
			case jbvString:
				*value = v->val.string.val;
				*value_len = v->val.string.len;
				break;
			case jbvNumeric:
				*value = DatumGetCString(DirectFunctionCall1(numeric_out,
															 NumericGetDatum(v->val.numeric)));
				*value_len = strlen(*value);
				break;
			case jbvBool:
				*value = v->val.boolean ? "true" : "false";
				*value_len = strlen(*value);
				break;
			default:
				return false;
		}
		for (int i = 0; i < *value_len; i++)
			if (!is_blank((*value)[i]))
				return true;
		return false;
	}
	return false;
}

PG_FUNCTION_INFO_V1(sender_template_fields);

/*
 * sender_template_fields(text) returns text[]: the fields without a default,
 * each once, in order.
 */
Datum
sender_template_fields(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);
	const char *text = VARDATA_ANY(t);
	const char *at = text;
	const char *end = text + VARSIZE_ANY_EXHDR(t);
	const char *problem;
	Field		f;
	ArrayBuildState *fields = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	while (next_field(at, end, &f, &problem))
	{
		bool		known = f.fallback != NULL;

		for (int i = 0; i < fields->nelems && !known; i++)
		{
			struct varlena *have = (struct varlena *) DatumGetPointer(fields->dvalues[i]);

			CHECK_FOR_INTERRUPTS();
			known = VARSIZE_ANY_EXHDR(have) == f.path_len &&
				memcmp(VARDATA_ANY(have), f.path, f.path_len) == 0;
		}
		if (!known)
		{
			if (fields->nelems == 100)
				ereport(ERROR,
						(errcode(es_errcode(ES_LIMIT_EXCEEDED)),
						 errmsg("the text has too many fields"),
						 errdetail("At most 100 different ones without a default are allowed.")));
			accumArrayResult(fields, PointerGetDatum(cstring_to_text_with_len(f.path, f.path_len)),
							 false, TEXTOID, CurrentMemoryContext);
		}
		at = f.end;
	}
	if (problem != NULL)
		raise_problem(problem, text, f.start);
	PG_RETURN_DATUM(makeArrayResult(fields, CurrentMemoryContext));
}

PG_FUNCTION_INFO_V1(sender_template_render);

/*
 * sender_template_render(text, document jsonb, html boolean, line boolean)
 * returns text; NULL when a field is missing, or the result is above 1 MB:
 * no document may stop the processor.
 */
Datum
sender_template_render(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);
	Jsonb	   *document = PG_GETARG_JSONB_P(1);
	RenderMode	mode = PG_GETARG_BOOL(3) ? RENDER_LINE :
		PG_GETARG_BOOL(2) ? RENDER_HTML : RENDER_TEXT;
	const char *problem;
	const char *where = NULL;
	StringInfoData out;
	bool		done;

	initStringInfo(&out);
	done = render(&out, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), mode,
				  GetDatabaseEncoding() == PG_UTF8, document_lookup, document,
				  &problem, &where);
	if (problem != NULL)
		raise_problem(problem, VARDATA_ANY(t), where);
	if (!done)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

PG_FUNCTION_INFO_V1(sender_template_missing);

/*
 * sender_template_missing(fields text[], document jsonb) returns text: the
 * first that the document has no value for.
 */
Datum
sender_template_missing(PG_FUNCTION_ARGS)
{
	ArrayType  *fields = PG_GETARG_ARRAYTYPE_P(0);
	Jsonb	   *document = PG_GETARG_JSONB_P(1);
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(fields, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		struct varlena *path;
		const char *value;
		int			len;

		if (nulls[i])
			continue;
		path = (struct varlena *) DatumGetPointer(values[i]);
		if (!document_lookup(document, VARDATA_ANY(path), VARSIZE_ANY_EXHDR(path), &value, &len))
			PG_RETURN_DATUM(values[i]);
	}
	PG_RETURN_NULL();
}

/*
 * sender_variant chooses one of the weights, from 0: the first 8 bytes of the
 * SHA-256 of the run's id and the step's index (4 bytes, big endian), as a
 * number (big endian, without sign), modulo the sum of the weights.
 */
int
sender_variant(const char *run, int run_len, int step, const int *weights, int n)
{
	uint32		index = pg_hton32((uint32) step);
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		number;
	int64		sum = 0;

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) run, run_len) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) &index, sizeof(index)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
	{
		pg_cryptohash_free(hash);
		elog(ERROR, "could not compute a SHA-256");
	}
	pg_cryptohash_free(hash);
	for (int i = 0; i < n; i++)
		sum += weights[i];
	Assert(sum > 0);
	memcpy(&number, digest, sizeof(number));
	number = pg_ntoh64(number) % (uint64) sum;
	for (int i = 0; i < n; i++)
	{
		if (number < (uint64) weights[i])
			return i;
		number -= weights[i];
	}
	elog(ERROR, "the weights do not add up");
}

PG_FUNCTION_INFO_V1(sender_step_variant);

/* sender_step_variant(run text, step integer, weights integer[]) returns integer. */
Datum
sender_step_variant(PG_FUNCTION_ARGS)
{
	text	   *run = PG_GETARG_TEXT_PP(0);
	Datum	   *values;
	bool	   *nulls;
	int		   *weights;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), INT4OID, 4, true, TYPALIGN_INT, &values, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("there are no weights")));
	weights = palloc(sizeof(int) * n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i] || DatumGetInt32(values[i]) < 1)
			ereport(ERROR,
					(errcode(es_errcode(ES_INVALID_INPUT)),
					 errmsg("a weight is a number from 1")));
		weights[i] = DatumGetInt32(values[i]);
	}
	PG_RETURN_INT32(sender_variant(VARDATA_ANY(run), VARSIZE_ANY_EXHDR(run),
								   PG_GETARG_INT32(1), weights, n));
}

/* ----- guards ---------------------------------------------------------- */

typedef struct GuardUse
{
	bool		variables;
	bool		dates;
} GuardUse;

/* guard_walk notes what a jsonpath uses that a guard may not. */
static void
guard_walk(JsonPathItem *item, GuardUse *use)
{
	JsonPathItem sub;

	check_stack_depth();
	switch (item->type)
	{
		case jpiVariable:
			use->variables = true;
			break;
		case jpiAnd:
		case jpiOr:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiAdd:
		case jpiSub:
		case jpiMul:
		case jpiDiv:
		case jpiMod:
		case jpiStartsWith:
			jspGetLeftArg(item, &sub);
			guard_walk(&sub, use);
			jspGetRightArg(item, &sub);
			guard_walk(&sub, use);
			break;
		case jpiNot:
		case jpiIsUnknown:
		case jpiPlus:
		case jpiMinus:
		case jpiExists:
		case jpiFilter:
			jspGetArg(item, &sub);
			guard_walk(&sub, use);
			break;
		case jpiLikeRegex:
			jspInitByBuffer(&sub, item->base, item->content.like_regex.expr);
			guard_walk(&sub, use);
			break;
		case jpiIndexArray:
			for (int i = 0; i < item->content.array.nelems; i++)
			{
				JsonPathItem to;

				if (jspGetArraySubscript(item, &sub, &to, i))
					guard_walk(&to, use);
				guard_walk(&sub, use);
			}
			break;
		case jpiDatetime:
#if PG_VERSION_NUM >= 170000
		case jpiDate:
		case jpiTime:
		case jpiTimeTz:
		case jpiTimestamp:
		case jpiTimestampTz:
#endif
			use->dates = true;
			break;
		default:
			break;
	}
	if (jspGetNext(item, &sub))
		guard_walk(&sub, use);
}

static bool
is_predicate(const JsonPathItem *item)
{
	switch (item->type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiNot:
		case jpiIsUnknown:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiExists:
		case jpiStartsWith:
		case jpiLikeRegex:
			return item->nextPos == 0;
		default:
			return false;
	}
}

PG_FUNCTION_INFO_V1(sender_guard_flaw);

/*
 * sender_guard_flaw(jsonpath) returns text: why a path that parses is no guard.
 * Variables and dates would raise an error that "silent" does not catch, and no
 * guard may stop the processor.
 */
Datum
sender_guard_flaw(PG_FUNCTION_ARGS)
{
	JsonPath   *path = PG_GETARG_JSONPATH_P(0);
	JsonPathItem root;
	GuardUse	use = {0};

	jspInit(&root, path);
	guard_walk(&root, &use);
	if (!is_predicate(&root))
		PG_RETURN_TEXT_P(cstring_to_text("it is no predicate"));
	if (use.variables)
		PG_RETURN_TEXT_P(cstring_to_text("it has variables"));
	if (use.dates)
		PG_RETURN_TEXT_P(cstring_to_text("it reads dates, and all times are epoch seconds"));
	PG_RETURN_NULL();
}
