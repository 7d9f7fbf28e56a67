/*-------------------------------------------------------------------------
 *
 * jwt_fuzz.c
 *	  libFuzzer target for src/tenancy/jwt.c, which it includes as shipped.
 *
 * How to run it, and what was run: README.md beside this file.
 *
 * An input is three bytes of choices and then data:
 *	byte 0, modulo MODES: what the data is (see FuzzMode);
 *	byte 1: the policy, one bit per demand, and the database's encoding;
 *	byte 2: the leeway, and twice an extreme clock.
 *
 * A generator cannot guess signatures. So in two of the modes the target signs
 * what it is given, which is how payloads get past the signature, and in the
 * others it knows what an accepted token must look like.
 *
 * The backend is replaced by stand-ins: memory contexts are lists of malloc'd
 * chunks, so that the address sanitizer sees each of them. Everything is
 * checked for leaks after each input.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

static JsonParseErrorType fuzz_parse_json(JsonLexContext *lexer,
										  JsonSemAction *actions);

#define pg_parse_json fuzz_parse_json
#include "../../src/tenancy/jwt.c"
#undef pg_parse_json

#define FUZZ_NOW INT64CONST(2000000000)

#define FUZZ_REQUIRE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: not so: %s\n", \
					__FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

typedef enum FuzzMode
{
	MODE_TOKEN,					/* a token as it is */
	MODE_JSON,					/* a claims document */
	MODE_SIGN_HS256,			/* header, zero byte, payload; signed here */
	MODE_SIGN_RS256,			/* the same */
	MODE_PAYLOAD,				/* payload behind a good header, signed here */
	MODE_KEY,					/* key material of either kind */
	MODE_EDIT,					/* edits of a good token, four bytes each */
	MODES
} FuzzMode;

/* One palloc, and one memory context, of the stand-in for the backend */
typedef struct FuzzChunk
{
	void	   *data;
	size_t		size;
	struct FuzzChunk *next;
} FuzzChunk;

typedef struct FuzzContext
{
	FuzzChunk  *chunks;
} FuzzContext;

typedef struct FuzzSeed
{
	const char *file;
	FuzzMode	mode;
	uint8		demands;
	const char *header;			/* or NULL */
	const char *payload;
} FuzzSeed;

static const char hs_key[] = "0123456789abcdef0123456789abcdef";
static const char good_hs_header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
static const char good_rs_header[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";
static const char good_payload[] =
"{\"iss\":\"https://issuer.example\",\"aud\":[\"other\",\"entrestate\"],"
"\"sub\":\"actor\",\"exp\":2000000100.5,\"nbf\":1999999999,\"iat\":1.9e9,"
"\"tenant_id\":\"t1\",\"app_metadata\":{\"tenant_id\":\"t2\"},"
"\"https://e.example/tenant\":\"t3\"}";

static EVP_PKEY *rs_key;
static char *rs_public_pem;
static size_t rs_public_pem_len;
static char *hs_token;			/* good_payload, signed with hs_key */
static size_t hs_token_len;
static char *rs_token;			/* good_payload, signed by rs_key */
static size_t rs_token_len;

static FuzzContext top_context;
static int	live_contexts;
static int	database_encoding = PG_UTF8;

/* the stand-ins; those that need no header of ours are declared by PostgreSQL */
MemoryContext CurrentMemoryContext = (MemoryContext) &top_context;

void
ExceptionalCondition(const char *condition,
#if PG_VERSION_NUM < 160000
					 const char *type pg_attribute_unused(),
#endif
					 const char *file, int line)
{
	fprintf(stderr, "%s:%d: assertion: %s\n", file, line, condition);
	abort();
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent pg_attribute_unused(),
							  const char *name pg_attribute_unused(),
							  Size min_size pg_attribute_unused(),
							  Size init_size pg_attribute_unused(),
							  Size max_size pg_attribute_unused())
{
	live_contexts++;
	return (MemoryContext) calloc(1, sizeof(FuzzContext));
}

void
MemoryContextDelete(MemoryContext context)
{
	FuzzContext *fuzz = (FuzzContext *) context;

	FUZZ_REQUIRE(context != CurrentMemoryContext);
	while (fuzz->chunks)
	{
		FuzzChunk  *chunk = fuzz->chunks;

		fuzz->chunks = chunk->next;
		free(chunk->data);
		free(chunk);
	}
	free(fuzz);
	live_contexts--;
}

void *
palloc(Size size)
{
	FuzzContext *fuzz = (FuzzContext *) CurrentMemoryContext;
	FuzzChunk  *chunk = malloc(sizeof(FuzzChunk));

	chunk->data = malloc(size);
	chunk->size = size;
	chunk->next = fuzz->chunks;
	fuzz->chunks = chunk;
	return chunk->data;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

/*
 * fuzz_find_chunk returns the link to the chunk at a pointer, which must be of
 * the current context.
 */
static FuzzChunk **
fuzz_find_chunk(void *pointer)
{
	FuzzChunk **link = &((FuzzContext *) CurrentMemoryContext)->chunks;

	while (*link && (*link)->data != pointer)
		link = &(*link)->next;
	FUZZ_REQUIRE(*link != NULL);
	return link;
}

void
pfree(void *pointer)
{
	FuzzChunk **link = fuzz_find_chunk(pointer);
	FuzzChunk  *chunk = *link;

	*link = chunk->next;
	free(chunk->data);
	free(chunk);
}

void *
repalloc(void *pointer, Size size)
{
	FuzzChunk  *chunk = *fuzz_find_chunk(pointer);

	chunk->data = realloc(chunk->data, size);
	chunk->size = size;
	return chunk->data;
}

char *
pstrdup(const char *string)
{
	size_t		size = strlen(string) + 1;

	return memcpy(palloc(size), string, size);
}

char *
pnstrdup(const char *string, Size len)
{
	char	   *copy = palloc(len + 1);

	copy[len] = '\0';
	return memcpy(copy, string, len);
}

int
GetDatabaseEncoding(void)
{
	return database_encoding;
}

/*
 * What the backend's own variant of the parser calls, when it is linked in
 * place of the frontend's (see README.md).
 */
void
check_stack_depth(void)
{
}

const char *
GetDatabaseEncodingName(void)
{
	return pg_encoding_to_char(database_encoding);
}

/* ereport, as far as the parser goes: whatever gets here is a finding */
bool
errstart(int elevel, const char *domain pg_attribute_unused())
{
	fprintf(stderr, "ereport of level %d\n", elevel);
	abort();
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errmsg_internal(const char *fmt pg_attribute_unused(),...)
{
	abort();
}

void
errfinish(const char *file pg_attribute_unused(),
		  int line pg_attribute_unused(),
		  const char *function pg_attribute_unused())
{
	abort();
}

void
pg_unicode_to_server(pg_wchar c, unsigned char *s)
{
	FUZZ_REQUIRE(c > 0 && c <= 0x7F);
	s[0] = (unsigned char) c;
	s[1] = '\0';
}

#if PG_VERSION_NUM >= 160000
bool
pg_unicode_to_server_noerror(pg_wchar c, unsigned char *s)
{
	pg_unicode_to_server(c, s);
	return true;
}
#endif

/*
 * fuzz_parse_json stands between jwt.c and the parser and requires what keeps
 * the backend's from raising an error: no escape beyond ASCII.
 */
static JsonParseErrorType
fuzz_parse_json(JsonLexContext *lexer, JsonSemAction *actions)
{
	const char *src = lexer->input;
	const char *end = src + lexer->input_length;

	for (; src < end; src++)
	{
		if (*src == '\\' && end - src >= 6 && src[1] == 'u')
			FUZZ_REQUIRE(src[2] == '0' && src[3] == '0' && src[4] <= '7');
		if (*src == '\\')
			src++;
	}
	return pg_parse_json(lexer, actions);
}

/*
 * fuzz_encode appends data in base64url, by OpenSSL and not by our own code.
 */
static char *
fuzz_encode(char *dst, const void *data, size_t len)
{
	char	   *padded = malloc(len / 3 * 4 + 8);
	int			n = EVP_EncodeBlock((unsigned char *) padded, data, (int) len);

	while (n > 0 && padded[n - 1] == '=')
		n--;
	for (int i = 0; i < n; i++)
		*dst++ = padded[i] == '+' ? '-' : padded[i] == '/' ? '_' : padded[i];
	free(padded);
	return dst;
}

/*
 * fuzz_hs256 appends the signature that a text must have under a key.
 */
static char *
fuzz_hs256(char *dst, const char *input, size_t len, const void *key,
		   size_t key_len)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	size_t		mac_len;

	FUZZ_REQUIRE(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len,
						   (const unsigned char *) input, len, mac,
						   sizeof(mac), &mac_len) != NULL);
	return fuzz_encode(dst, mac, mac_len);
}

/*
 * fuzz_rs256 appends the RS256 signature of a text.
 */
static char *
fuzz_rs256(char *dst, const char *input, size_t len)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char signature[512];
	size_t		signature_len = sizeof(signature);

	FUZZ_REQUIRE(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL,
									rs_key) == 1 &&
				 EVP_DigestSign(context, signature, &signature_len,
								(const unsigned char *) input, len) == 1);
	EVP_MD_CTX_free(context);
	return fuzz_encode(dst, signature, signature_len);
}

/*
 * fuzz_make_token makes a signed token; the caller frees it.
 */
static char *
fuzz_make_token(bool rs256, const void *key, size_t key_len,
				const void *header, size_t header_len,
				const void *payload, size_t payload_len, size_t *token_len)
{
	char	   *token = malloc((header_len + payload_len) * 2 + 1024);
	char	   *dst = fuzz_encode(token, header, header_len);
	size_t		input_len;

	*dst++ = '.';
	dst = fuzz_encode(dst, payload, payload_len);
	input_len = dst - token;
	*dst++ = '.';
	dst = rs256 ? fuzz_rs256(dst, token, input_len) :
		fuzz_hs256(dst, token, input_len, key, key_len);
	*token_len = dst - token;
	return token;
}

/*
 * fuzz_check_claims requires of accepted claims what jwt.h promises.
 */
static void
fuzz_check_claims(const JwtPolicy *policy, const JwtClaims *claims)
{
	const char *strings[] = {claims->tenant, claims->actor};
	int			leeway = policy->leeway < 0 ? 0 :
		policy->leeway > 300 ? 300 : policy->leeway;

	for (int i = 0; i < 2; i++)
	{
		const char *s = strings[i];
		size_t		len = strlen(s);

		FUZZ_REQUIRE(len > 0 && len <= JWT_MAX_LENGTH);
		FUZZ_REQUIRE(pg_encoding_verifymbstr(database_encoding, s,
											 (int) len) == (int) len);
		for (; *s != '\0'; s++)
		{
			FUZZ_REQUIRE((unsigned char) *s >= ' ' && *s != 0x7F);
			FUZZ_REQUIRE(database_encoding == PG_UTF8 || !IS_HIGHBIT_SET(*s));
		}
	}
	FUZZ_REQUIRE(claims->exp + leeway > policy->now);
	FUZZ_REQUIRE(claims->nbf == 0 || claims->nbf - leeway <= policy->now);
}

/*
 * fuzz_call calls one of the two functions, requires what holds for every
 * input, and returns the status.
 */
static JwtStatus
fuzz_call(JwtStatus (*function) (const char *, size_t, const JwtPolicy *,
								 JwtClaims *),
		  const char *data, size_t len, const JwtPolicy *policy)
{
	static const JwtClaims nothing;
	JwtClaims	claims;
	JwtStatus	status;
	char	   *copy = malloc(len);

	/* without a byte behind it, so that reading past the end is seen */
	if (len > 0)
		memcpy(copy, data, len);
	memset(&claims, 0x5A, sizeof(claims));
	status = function(copy, len, policy, &claims);
	free(copy);

	FUZZ_REQUIRE(CurrentMemoryContext == (MemoryContext) &top_context);
	FUZZ_REQUIRE(live_contexts == 0);
	FUZZ_REQUIRE(ERR_peek_error() == 0);
	FUZZ_REQUIRE(jwt_status_message(status) != NULL);
	FUZZ_REQUIRE((len > JWT_MAX_LENGTH) == (status == JWT_TOO_LONG));
	if (status == JWT_OK)
	{
		fuzz_check_claims(policy, &claims);
		pfree(claims.tenant);
		pfree(claims.actor);
	}
	else
		FUZZ_REQUIRE(memcmp(&claims, &nothing, sizeof(claims)) == 0);
	FUZZ_REQUIRE(top_context.chunks == NULL);

	return status;
}

/*
 * fuzz_token verifies a token that may come from anywhere. It must not be
 * accepted unless it carries the very signature that our key gives it.
 */
static void
fuzz_token(const char *token, size_t len, const JwtPolicy *policy)
{
	const char *last_dot = NULL;
	char		expected[64];
	char	   *end;

	if (fuzz_call(jwt_verify, token, len, policy) != JWT_OK)
		return;
	if (len == rs_token_len && memcmp(token, rs_token, len) == 0)
	{
		FUZZ_REQUIRE(policy->rs_public_pem != NULL);
		return;
	}

	FUZZ_REQUIRE(policy->hs_key != NULL);
	for (size_t i = 0; i < len; i++)
	{
		if (token[i] == '.')
			last_dot = token + i;
	}
	end = fuzz_hs256(expected, token, last_dot - token, policy->hs_key,
					 policy->hs_key_len);
	FUZZ_REQUIRE(token + len - (last_dot + 1) == end - expected);
	FUZZ_REQUIRE(memcmp(last_dot + 1, expected, end - expected) == 0);
}

/*
 * fuzz_signed_token signs a header and payload and verifies the token, and
 * then the same with one character of the signature changed.
 */
static void
fuzz_signed_token(bool rs256, const char *data, size_t len,
				  const JwtPolicy *policy)
{
	const char *zero = memchr(data, '\0', len);
	size_t		header_len = zero ? (size_t) (zero - data) : len;
	const char *payload = zero ? zero + 1 : data + len;
	size_t		payload_len = data + len - payload;
	size_t		token_len;
	char	   *token;
	JwtStatus	status;

	token = fuzz_make_token(rs256, hs_key, strlen(hs_key), data, header_len,
							payload, payload_len, &token_len);
	status = fuzz_call(jwt_verify, token, token_len, policy);

	/* good for no key but the one that the policy has */
	if (status == JWT_OK)
		FUZZ_REQUIRE(rs256 ? policy->rs_public_pem != NULL :
					 policy->hs_key != NULL);

	/* not the last character, so that the token stays well-formed */
	token[token_len - 43] = token[token_len - 43] == 'A' ? 'B' : 'A';
	FUZZ_REQUIRE(fuzz_call(jwt_verify, token, token_len, policy) != JWT_OK);
	free(token);
}

/*
 * fuzz_payload verifies a payload both as a token and as a claims document,
 * which must come to the same where the encoding is the same.
 */
static void
fuzz_payload(const char *data, size_t len, const JwtPolicy *policy)
{
	JwtPolicy	with_key = *policy;
	size_t		token_len;
	char	   *token;
	JwtStatus	status;

	with_key.hs_key = (const uint8 *) hs_key;
	with_key.hs_key_len = strlen(hs_key);
	token = fuzz_make_token(false, hs_key, strlen(hs_key), good_hs_header,
							strlen(good_hs_header), data, len, &token_len);
	status = fuzz_call(jwt_verify, token, token_len, &with_key);
	if (status != JWT_TOO_LONG && database_encoding == PG_UTF8)
		FUZZ_REQUIRE(fuzz_call(jwt_claims_from_json, data, len,
							   policy) == status);
	free(token);
}

/*
 * fuzz_key takes the data for a PEM file and for a secret.
 */
static void
fuzz_key(const char *data, size_t len, const JwtPolicy *policy)
{
	JwtPolicy	with_key = *policy;
	char	   *copy = malloc(len);
	size_t		token_len;
	char	   *token;
	JwtStatus	status;

	if (len > 0)
		memcpy(copy, data, len);

	with_key.rs_public_pem = copy;
	with_key.rs_public_pem_len = len;
	status = fuzz_call(jwt_verify, rs_token, rs_token_len, &with_key);
	FUZZ_REQUIRE(status != JWT_MALFORMED && status != JWT_UNSUPPORTED_ALG);
	FUZZ_REQUIRE((status == JWT_NO_KEY) == (len == 0));

	with_key.hs_key = (const uint8 *) copy;
	with_key.hs_key_len = len;
	token = fuzz_make_token(false, copy, len, good_hs_header,
							strlen(good_hs_header), good_payload,
							strlen(good_payload), &token_len);
	status = fuzz_call(jwt_verify, token, token_len, &with_key);
	FUZZ_REQUIRE(status != JWT_BAD_SIGNATURE && status != JWT_MALFORMED);
	FUZZ_REQUIRE((status == JWT_NO_KEY) == (len == 0));
	if (len > 0 && len < 32)
		FUZZ_REQUIRE(status == JWT_BAD_KEY);
	free(token);
	free(copy);
}

/*
 * fuzz_json judges a claims document. An accepted one has exp, so it must be
 * refused with a second exp put in front.
 */
static void
fuzz_json(const char *data, size_t len, const JwtPolicy *policy)
{
	static const char second[] = "{\"e\\u0078p\":4e9,";
	const char *brace;
	char	   *doubled;
	JwtStatus	status;

	if (fuzz_call(jwt_claims_from_json, data, len, policy) != JWT_OK)
		return;

	brace = memchr(data, '{', len);
	FUZZ_REQUIRE(brace != NULL);
	len -= brace + 1 - data;
	doubled = malloc(strlen(second) + len);
	memcpy(doubled, second, strlen(second));
	memcpy(doubled + strlen(second), brace + 1, len);
	status = fuzz_call(jwt_claims_from_json, doubled, strlen(second) + len,
					   policy);
	FUZZ_REQUIRE(status == JWT_MALFORMED || status == JWT_TOO_LONG);
	free(doubled);
}

/*
 * fuzz_edited_token replaces, inserts and deletes single bytes of a good token
 * and requires that no other text than the token itself is accepted.
 */
static void
fuzz_edited_token(const char *data, size_t len, const JwtPolicy *policy)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789-_";
	JwtPolicy	with_keys = *policy;
	bool		rs256 = len % 2 == 1;
	const char *good = rs256 ? rs_token : hs_token;
	size_t		good_len = rs256 ? rs_token_len : hs_token_len;
	char	   *token = malloc(good_len + len);
	size_t		token_len = good_len;

	with_keys.hs_key = (const uint8 *) hs_key;
	with_keys.hs_key_len = strlen(hs_key);
	with_keys.rs_public_pem = rs_public_pem;
	with_keys.rs_public_pem_len = rs_public_pem_len;
	memcpy(token, good, good_len);

	/* positions count from the end, where the signature is */
	for (; len >= 4; data += 4, len -= 4)
	{
		const uint8 *edit = (const uint8 *) data;
		size_t		from_end = (edit[1] | edit[2] << 8) % (token_len + 1);
		char	   *at = token + token_len - from_end;
		char		byte = edit[0] & 0x80 ? (char) edit[3] :
			alphabet[edit[3] % 64];

		if (edit[0] % 3 == 0 && from_end > 0)
			*at = byte;
		else if (edit[0] % 3 == 1)
		{
			memmove(at + 1, at, from_end);
			*at = byte;
			token_len++;
		}
		else if (edit[0] % 3 == 2 && from_end > 0)
		{
			memmove(at, at + 1, from_end - 1);
			token_len--;
		}
	}

	if (fuzz_call(jwt_verify, token, token_len, &with_keys) == JWT_OK)
		FUZZ_REQUIRE(token_len == good_len &&
					 memcmp(token, good, good_len) == 0);
	free(token);
}

/*
 * LLVMFuzzerTestOneInput runs one input.
 */
int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int encodings[] = {
		PG_UTF8, PG_UTF8, PG_LATIN1, PG_SQL_ASCII
	};
	static const char *const tenant_claims[] = {
		"tenant_id", "app_metadata.tenant_id",
		"https://e\\.example/tenant", ""
	};
	JwtPolicy	policy = {0};
	const char *rest;
	size_t		len;
	uint8		demands;

	if (size < 3)
		return 0;
	rest = (const char *) data + 3;
	len = size - 3;

	demands = data[1];
	if (demands & 0x01)
	{
		policy.hs_key = (const uint8 *) hs_key;
		policy.hs_key_len = strlen(hs_key);
	}
	if (demands & 0x02)
	{
		policy.rs_public_pem = rs_public_pem;
		policy.rs_public_pem_len = rs_public_pem_len;
	}
	policy.issuer = demands & 0x04 ? "https://issuer.example" : NULL;
	policy.audience = demands & 0x08 ? "entrestate" : "";
	policy.tenant_claim = tenant_claims[(demands >> 4) & 3];
	policy.actor_claim = "sub";
	database_encoding = encodings[demands >> 6];

	policy.now = data[2] == 0xFF ? PG_INT64_MAX :
		data[2] == 0xFE ? PG_INT64_MIN : FUZZ_NOW;
	policy.leeway = (data[2] - 8) * 4;

	switch ((FuzzMode) (data[0] % MODES))
	{
		case MODE_TOKEN:
			fuzz_token(rest, len, &policy);
			break;
		case MODE_JSON:
			fuzz_json(rest, len, &policy);
			break;
		case MODE_SIGN_HS256:
			fuzz_signed_token(false, rest, len, &policy);
			break;
		case MODE_SIGN_RS256:
			fuzz_signed_token(true, rest, len, &policy);
			break;
		case MODE_PAYLOAD:
			fuzz_payload(rest, len, &policy);
			break;
		case MODE_KEY:
			fuzz_key(rest, len, &policy);
			break;
		case MODE_EDIT:
			fuzz_edited_token(rest, len, &policy);
			break;
		case MODES:
			break;
	}
	return 0;
}

/*
 * fuzz_write_seed writes an input to a file of the seeds' directory.
 */
static void
fuzz_write_seed(const char *directory, const char *name, FuzzMode mode,
				uint8 demands, const void *data, size_t len)
{
	const uint8 choices[] = {mode, demands, 8};
	char		path[MAXPGPATH];
	FILE	   *file;

	(snprintf) (path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "wb");
	FUZZ_REQUIRE(file != NULL);
	FUZZ_REQUIRE(fwrite(choices, sizeof(choices), 1, file) == 1);
	FUZZ_REQUIRE(fwrite(data, 1, len, file) == len);
	FUZZ_REQUIRE(fclose(file) == 0);
}

/*
 * fuzz_write_seeds makes a few inputs to begin with, most of them good ones.
 */
static void
fuzz_write_seeds(const char *directory)
{
	static const FuzzSeed seeds[] = {
		{"token_hs256", MODE_TOKEN, 0x0F, good_hs_header, good_payload},
		{"json", MODE_JSON, 0x0F, NULL, good_payload},
		{"json_path", MODE_JSON, 0x10, NULL, good_payload},
		{"json_escaped_dot", MODE_JSON, 0x20, NULL, good_payload},
		{"json_latin1", MODE_JSON, 0x80, NULL,
		"{\"exp\":4e9,\"sub\":\"a\",\"tenant_id\":\"t\",\"n\":\"\xE9\\u00e9\"}"},
		{"json_escapes", MODE_JSON, 0x00, NULL,
		"{\"exp\":4e9,\"sub\":\"\\ud83d\\ude00\\u0022\\/\\u20ac\",\"tenant_id\":\"t\"}"},
		{"json_zero", MODE_JSON, 0x00, NULL,
		"{\"exp\":4e9,\"sub\":\"a\",\"tenant_id\":\"t\\u0000\"}"},
		{"json_duplicate", MODE_JSON, 0x00, NULL,
		"{\"exp\":4e9,\"sub\":\"a\",\"tenant_id\":\"t\",\"s\\u0075b\":\"b\"}"},
		{"json_deep", MODE_JSON, 0x00, NULL,
			"{\"exp\":4e9,\"sub\":\"a\",\"tenant_id\":\"t\","
		"\"x\":[[[[[[[{\"y\":[[[[[[[[]]]]]]]]}]]]]]]]}"},
		{"json_types", MODE_JSON, 0x08, NULL,
		"{\"exp\":\"4e9\",\"nbf\":null,\"iat\":true,\"aud\":[1],\"sub\":{}}"},
		{"json_aud", MODE_JSON, 0x08, NULL,
		"{\"exp\":4e9,\"aud\":1,\"sub\":\"a\",\"tenant_id\":\"t\"}"},
		{"json_aud_array", MODE_JSON, 0x08, NULL,
		"{\"exp\":4e9,\"aud\":[\"entrestate\",1],\"sub\":\"a\",\"tenant_id\":\"t\"}"},
		{"json_no_path", MODE_JSON, 0x30, NULL,
		"{\"exp\":4e9,\"\":\"t\",\"sub\":\"a\"}"},
		{"sign_hs256", MODE_SIGN_HS256, 0x0F, good_hs_header, good_payload},
		{"sign_rs256", MODE_SIGN_RS256, 0x0F, good_rs_header, good_payload},
		{"sign_confused", MODE_SIGN_HS256, 0x0F, good_rs_header, good_payload},
		{"sign_crit", MODE_SIGN_HS256, 0x0F,
			"{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"crit\":[\"b64\"],\"b64\":false}",
		good_payload},
		{"sign_none", MODE_SIGN_HS256, 0x0F, "{\"alg\":\"none\"}", good_payload},
		{"payload", MODE_PAYLOAD, 0x0F, NULL, good_payload},
		{"key_secret", MODE_KEY, 0x00, NULL, hs_key},
		{"key_encrypted", MODE_KEY, 0x00, NULL,
			"-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n"
			"DEK-Info: DES-CBC,0000000000000000\n\nAAAA\n"
		"-----END PUBLIC KEY-----\n"},
	};

	char		spaces[JWT_MAX_LENGTH + 1];
	BIO		   *pem;
	char	   *pem_data;
	long		pem_len;
	unsigned char *der = NULL;
	int			der_len;

	for (size_t i = 0; i < lengthof(seeds); i++)
	{
		const FuzzSeed *seed = &seeds[i];
		size_t		header_len = seed->header ? strlen(seed->header) : 0;
		size_t		payload_len = strlen(seed->payload);
		char	   *data;
		size_t		len;

		if (seed->mode == MODE_TOKEN)
			data = fuzz_make_token(false, hs_key, strlen(hs_key),
								   seed->header, header_len,
								   seed->payload, payload_len, &len);
		else
		{
			data = malloc(header_len + 1 + payload_len);
			len = 0;
			if (seed->header)
			{
				memcpy(data, seed->header, header_len + 1);
				len = header_len + 1;
			}
			memcpy(data + len, seed->payload, payload_len);
			len += payload_len;
		}
		fuzz_write_seed(directory, seed->file, seed->mode, seed->demands,
						data, len);
		free(data);
	}
	memset(spaces, ' ', sizeof(spaces));
	fuzz_write_seed(directory, "json_long", MODE_JSON, 0x00, spaces,
					sizeof(spaces));
	fuzz_write_seed(directory, "edit_nothing", MODE_EDIT, 0x0F, "", 0);
	fuzz_write_seed(directory, "edit_hs256", MODE_EDIT, 0x0F, "\0\1\0=", 4);
	fuzz_write_seed(directory, "edit_rs256", MODE_EDIT, 0x0F, "\1\0\0=x", 5);
	fuzz_write_seed(directory, "token_rs256", MODE_TOKEN, 0x0F, rs_token,
					rs_token_len);
	fuzz_write_seed(directory, "key_pem", MODE_KEY, 0x00, rs_public_pem,
					rs_public_pem_len);

	pem = BIO_new(BIO_s_mem());
	der_len = i2d_PublicKey(rs_key, &der);
	FUZZ_REQUIRE(der_len > 0 && PEM_write_bio(pem, PEM_STRING_RSA_PUBLIC, "",
											  der, der_len));
	pem_len = BIO_get_mem_data(pem, &pem_data);
	fuzz_write_seed(directory, "key_pkcs1", MODE_KEY, 0x00, pem_data, pem_len);
	OPENSSL_free(der);
	BIO_free(pem);
}

/*
 * LLVMFuzzerInitialize makes an RSA key and writes the seeds to the directory
 * of --seeds=DIRECTORY, if there is one.
 */
int			LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	BIO		   *pem = BIO_new(BIO_s_mem());
	char	   *data;

	rs_key = EVP_RSA_gen(2048);
	FUZZ_REQUIRE(rs_key != NULL && PEM_write_bio_PUBKEY(pem, rs_key));
	rs_public_pem_len = BIO_get_mem_data(pem, &data);
	rs_public_pem = malloc(rs_public_pem_len);
	memcpy(rs_public_pem, data, rs_public_pem_len);
	BIO_free(pem);

	hs_token = fuzz_make_token(false, hs_key, strlen(hs_key), good_hs_header,
							   strlen(good_hs_header), good_payload,
							   strlen(good_payload), &hs_token_len);
	rs_token = fuzz_make_token(true, NULL, 0, good_rs_header,
							   strlen(good_rs_header), good_payload,
							   strlen(good_payload), &rs_token_len);
	ERR_clear_error();

	for (int i = 1; i < *argc; i++)
	{
		if (strncmp((*argv)[i], "--seeds=", 8) == 0)
			fuzz_write_seeds((*argv)[i] + 8);
	}
	return 0;
}
