/*-------------------------------------------------------------------------
 *
 * jwt.c
 *	  Strict verification of JSON Web Tokens.
 *
 * A token is three base64url parts, header.payload.signature (RFC 7515). It is
 * read in this order, and the first thing that is wrong decides the status:
 *
 *	1. length, alphabet and number of the parts;
 *	2. the header: which algorithm, and nothing in it that we do not know to
 *	   be safe to ignore;
 *	3. the signature, with the key that the installation configured for that
 *	   algorithm. Keys that the header offers (jwk, jku, x5c, x5u) are never
 *	   looked at, kid chooses nothing, and an HS256 token never meets the RSA
 *	   public key (RFC 8725, 2.1);
 *	4. only then the payload's JSON and its claims.
 *
 * Nothing that a token contains raises an error: every finding is a JwtStatus.
 * Only running out of memory, or of stack in a caller that had none left,
 * leaves by ereport. What keeps PostgreSQL's JSON parser from raising one is
 * told at jwt_prepare_json().
 *
 * Memory: each exported function works in a context of its own, child of the
 * current one, and deletes it before it returns; after an error it goes with
 * its parent. The tree of JSON nodes, decoded parts and all strings live
 * there. The strings in JwtClaims are copied out to the caller's context last.
 * OpenSSL's objects live outside of any context: the functions that make them
 * free them on every path and allocate nothing by palloc in between, so no
 * error can pass them by. The OpenSSL error queue is shared with the backend's
 * TLS connection and is cleared on entering and on leaving.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "jwt.h"

/*
 * Differences between PostgreSQL versions, all of common/jsonapi.h:
 * - before 16 the parser's actions return nothing and cannot end the parse, so
 *   JwtJsonBuilder.failed alone tells that one of them refused;
 * - before 17 the lexer takes a char * and an int.
 */
#if PG_VERSION_NUM >= 160000
typedef JsonParseErrorType JwtActionResult;
#define JWT_ACTION_RESULT(builder) \
	return (builder)->failed ? JSON_SEM_ACTION_FAILED : JSON_SUCCESS
#else
typedef void JwtActionResult;
#define JWT_ACTION_RESULT(builder) \
	return
#endif
#if PG_VERSION_NUM >= 170000
#define jwt_make_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen(NULL, json, len, encoding, true)
#else
#define jwt_make_lexer(json, len, encoding) \
	makeJsonLexContextCstringLen(json, (int) (len), encoding, true)
#endif

/* Objects and arrays may lie this deep in each other, the outermost counted */
#define JWT_MAX_DEPTH 16

/* Least sizes of keys: RFC 7518, 3.2 and 3.3 */
#define JWT_MIN_HS_KEY_LENGTH 32
#define JWT_MIN_RSA_BITS 2048

/* More than this, of bytes or of PEM blocks, is no key but a mistake */
#define JWT_MAX_KEY_LENGTH 65536
#define JWT_MAX_RSA_KEYS 16

#define JWT_HS256_LENGTH 32

/*
 * Last second of the year 9999. A larger NumericDate is refused: it is nearly
 * always one in milliseconds, which would make a token that never expires.
 */
#define JWT_MAX_DATE INT64CONST(253402300799)

/*
 * One value of a JSON document. The type is that of the token it began with,
 * so objects are JSON_TOKEN_OBJECT_START and arrays JSON_TOKEN_ARRAY_START.
 */
typedef struct JwtNode
{
	JsonTokenType type;
	const char *name;			/* of a member of an object, else NULL */
	const char *value;			/* a string without its escapes, or any other
								 * scalar as written; else NULL */
	struct JwtNode *children;	/* of an object or array, last one first */
	struct JwtNode *next;		/* the one before it in the same parent */
} JwtNode;

/* What the parser's actions share */
typedef struct JwtJsonBuilder
{
	JwtNode    *root;
	JwtNode    *open[JWT_MAX_DEPTH];	/* the objects and arrays around us */
	int			depth;			/* how many of them */
	char	   *name;			/* of the member whose value comes next */
	bool		failed;
} JwtJsonBuilder;

/* A token's parts; all of them lie in the scratch context but signing_input */
typedef struct JwtParts
{
	const char *signing_input;	/* borrowed: header.payload as it came */
	size_t		signing_input_len;
	char	   *header;
	size_t		header_len;
	char	   *payload;
	size_t		payload_len;
	uint8	   *signature;
	size_t		signature_len;
} JwtParts;

static JwtStatus jwt_check_token(const char *token, size_t len,
								 const JwtPolicy *policy, JwtClaims *claims);
static bool jwt_split(const char *token, size_t len, JwtParts *parts);
static bool jwt_decode_base64url(const char *src, size_t len,
								 char **dst, size_t *dst_len);
static int	jwt_base64url_value(char c);
static JwtStatus jwt_check_header(const JwtNode *header,
								  const JwtParts *parts,
								  const JwtPolicy *policy);
static JwtStatus jwt_check_hs256(const JwtParts *parts,
								 const JwtPolicy *policy);
static bool jwt_is_pem(const uint8 *key, size_t len);
static JwtStatus jwt_check_rs256(const JwtParts *parts,
								 const JwtPolicy *policy);
static EVP_PKEY *jwt_make_rsa_key(const char *label, const char *pem_header,
								  const unsigned char *der, long der_len);
static bool jwt_rsa_exponent_is_sound(const EVP_PKEY *key);
static bool jwt_rsa_matches(EVP_PKEY *key, const JwtParts *parts);
static JwtStatus jwt_check_claims(const char *json, size_t len, int encoding,
								  const JwtPolicy *policy, JwtClaims *claims);
static JwtStatus jwt_check_dates(const JwtNode *payload,
								 const JwtPolicy *policy, JwtClaims *claims);
static JwtStatus jwt_check_audience(const JwtNode *payload,
									const JwtPolicy *policy);
static JwtStatus jwt_get_identity(const JwtNode *payload, const char *path,
								  char **identity);
static bool jwt_get_date(const JwtNode *node, bool round_up, int64 *date);
static bool jwt_is_string(const JwtNode *node, const char *string);
static const JwtNode *jwt_find_path(const JwtNode *node, const char *path);
static const JwtNode *jwt_find_member(const JwtNode *node, const char *name);
static JwtNode *jwt_parse_json(const char *json, size_t len, int encoding);
static bool jwt_prepare_json(const char *json, size_t len, char *prepared,
							 size_t *prepared_len);
static bool jwt_read_escape(const char *src, const char *end,
							pg_wchar *code_point, size_t *escape_len);
static int	jwt_read_code_unit(const char *src, const char *end);
static void jwt_add_node(JwtJsonBuilder *builder, JsonTokenType type,
						 const char *value);
static void jwt_open_node(JwtJsonBuilder *builder, JsonTokenType type);
static bool jwt_has_duplicate(const JwtNode *object);
static JwtActionResult jwt_json_object_start(void *state);
static JwtActionResult jwt_json_object_end(void *state);
static JwtActionResult jwt_json_array_start(void *state);
static JwtActionResult jwt_json_array_end(void *state);
static JwtActionResult jwt_json_field(void *state, char *name, bool isnull);
static JwtActionResult jwt_json_scalar(void *state, char *token,
									   JsonTokenType type);
static void jwt_leave(MemoryContext caller, MemoryContext scratch,
					  JwtStatus status, JwtClaims *claims);

/*
 * jwt_verify verifies a token's signature and claims against the policy and
 * returns what it says in *claims.
 */
JwtStatus
jwt_verify(const char *token, size_t len, const JwtPolicy *policy,
		   JwtClaims *claims)
{
	MemoryContext scratch;
	MemoryContext caller;
	JwtStatus	status;

	memset(claims, 0, sizeof(JwtClaims));
	if (len > JWT_MAX_LENGTH)
		return JWT_TOO_LONG;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "entrestate jwt",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	status = jwt_check_token(token, len, policy, claims);
	jwt_leave(caller, scratch, status, claims);

	return status;
}

/*
 * jwt_claims_from_json applies the policy's rules about claims to a claims
 * document that somebody else has verified, such as PostgREST's
 * request.jwt.claims, and returns what it says in *claims. The document is
 * text of this database, in its encoding.
 *
 * There is no signature here: the caller must know by other means that whoever
 * set the document may vouch for a user.
 */
JwtStatus
jwt_claims_from_json(const char *json, size_t len, const JwtPolicy *policy,
					 JwtClaims *claims)
{
	MemoryContext scratch;
	MemoryContext caller;
	JwtStatus	status;

	memset(claims, 0, sizeof(JwtClaims));
	if (len > JWT_MAX_LENGTH)
		return JWT_TOO_LONG;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "entrestate jwt",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(scratch);
	status = jwt_check_claims(json, len, GetDatabaseEncoding(), policy,
							  claims);
	jwt_leave(caller, scratch, status, claims);

	return status;
}

/*
 * jwt_leave copies the claims of a good token to the caller's context, wipes
 * those of any other, and deletes the scratch context.
 */
static void
jwt_leave(MemoryContext caller, MemoryContext scratch, JwtStatus status,
		  JwtClaims *claims)
{
	MemoryContextSwitchTo(caller);
	if (status == JWT_OK)
	{
		claims->tenant = pstrdup(claims->tenant);
		claims->actor = pstrdup(claims->actor);
	}
	else
		memset(claims, 0, sizeof(JwtClaims));
	MemoryContextDelete(scratch);
}

/*
 * jwt_status_message returns a short phrase for a status. It says nothing of
 * the token's content, so it may be shown and logged.
 */
const char *
jwt_status_message(JwtStatus status)
{
	switch (status)
	{
		case JWT_OK:
			return "token is valid";
		case JWT_MALFORMED:
			return "token is malformed";
		case JWT_UNSUPPORTED_ALG:
			return "token algorithm, type or extension is not supported";
		case JWT_NO_KEY:
			return "no key is configured for the token algorithm";
		case JWT_BAD_KEY:
			return "configured key for the token algorithm is not usable";
		case JWT_BAD_SIGNATURE:
			return "token signature does not match";
		case JWT_NOT_YET_VALID:
			return "token is not valid yet";
		case JWT_EXPIRED:
			return "token has expired";
		case JWT_WRONG_ISSUER:
			return "token is not from the required issuer";
		case JWT_WRONG_AUDIENCE:
			return "token is not for the required audience";
		case JWT_MISSING_CLAIM:
			return "token lacks a required claim";
		case JWT_TOO_LONG:
			return "token is too long";
	}

	/* no default above: the compiler then tells of a forgotten status */
	return "token is not acceptable";
}

/*
 * jwt_check_token verifies a token. The strings in *claims are in the current
 * context, which is the scratch one.
 */
static JwtStatus
jwt_check_token(const char *token, size_t len, const JwtPolicy *policy,
				JwtClaims *claims)
{
	JwtParts	parts;
	JwtNode    *header;
	JwtStatus	status;

	if (!jwt_split(token, len, &parts))
		return JWT_MALFORMED;

	header = jwt_parse_json(parts.header, parts.header_len, PG_UTF8);
	if (header == NULL)
		return JWT_MALFORMED;

	status = jwt_check_header(header, &parts, policy);
	if (status != JWT_OK)
		return status;

	/* from here on the payload is what a holder of our key wrote */
	return jwt_check_claims(parts.payload, parts.payload_len, PG_UTF8, policy,
							claims);
}

/*
 * jwt_split finds and decodes the three parts of a token. It returns false
 * unless they are exactly three, each in strict base64url.
 */
static bool
jwt_split(const char *token, size_t len, JwtParts *parts)
{
	const char *end = token + len;
	const char *dot1;
	const char *dot2;
	char	   *signature;

	dot1 = memchr(token, '.', len);
	if (dot1 == NULL)
		return false;
	dot2 = memchr(dot1 + 1, '.', end - (dot1 + 1));
	if (dot2 == NULL)
		return false;

	/* a third dot is not in the alphabet of the signature */
	parts->signing_input = token;
	parts->signing_input_len = dot2 - token;
	if (!jwt_decode_base64url(token, dot1 - token,
							  &parts->header, &parts->header_len) ||
		!jwt_decode_base64url(dot1 + 1, dot2 - (dot1 + 1),
							  &parts->payload, &parts->payload_len) ||
		!jwt_decode_base64url(dot2 + 1, end - (dot2 + 1),
							  &signature, &parts->signature_len))
		return false;

	parts->signature = (uint8 *) signature;
	return true;
}

/*
 * jwt_decode_base64url decodes base64url without padding (RFC 7515, 2) into a
 * palloc'd buffer. It returns false for any character outside of the alphabet,
 * for a length that no octets have, and for bits set that belong to no octet:
 * each sequence of octets has exactly one accepted form.
 */
static bool
jwt_decode_base64url(const char *src, size_t len, char **dst, size_t *dst_len)
{
	uint32		bits = 0;		/* those read and not yet written */
	int			nbits = 0;
	char	   *out;

	if (len % 4 == 1)
		return false;

	out = *dst = palloc(len / 4 * 3 + 3);
	for (size_t i = 0; i < len; i++)
	{
		int			value = jwt_base64url_value(src[i]);

		if (value < 0)
			return false;
		bits = (bits << 6) | (uint32) value;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			*out++ = (char) (bits >> nbits);
			bits &= ((uint32) 1 << nbits) - 1;
		}
	}

	*dst_len = out - *dst;
	return bits == 0;
}

/*
 * jwt_base64url_value returns the value of a base64url character, or -1.
 */
static int
jwt_base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

/*
 * jwt_check_header judges the header and, by the algorithm it names, the
 * signature.
 */
static JwtStatus
jwt_check_header(const JwtNode *header, const JwtParts *parts,
				 const JwtPolicy *policy)
{
	const JwtNode *alg = jwt_find_member(header, "alg");
	const JwtNode *typ = jwt_find_member(header, "typ");

	if (alg == NULL || alg->type != JSON_TOKEN_STRING)
		return JWT_MALFORMED;
	if (typ != NULL && typ->type != JSON_TOKEN_STRING)
		return JWT_MALFORMED;

	/* crit lists extensions that one must understand, and we know of none */
	if (jwt_find_member(header, "crit") != NULL)
		return JWT_UNSUPPORTED_ALG;

	if (typ != NULL && pg_strcasecmp(typ->value, "JWT") != 0 &&
		pg_strcasecmp(typ->value, "at+jwt") != 0)
		return JWT_UNSUPPORTED_ALG;

	if (jwt_is_string(alg, "HS256"))
		return jwt_check_hs256(parts, policy);
	if (jwt_is_string(alg, "RS256"))
		return jwt_check_rs256(parts, policy);
	return JWT_UNSUPPORTED_ALG;
}

/*
 * jwt_check_hs256 verifies an HMAC-SHA256 signature.
 */
static JwtStatus
jwt_check_hs256(const JwtParts *parts, const JwtPolicy *policy)
{
	uint8		mac[EVP_MAX_MD_SIZE];
	unsigned int mac_len = 0;
	bool		matches;

	if (policy->hs_key == NULL || policy->hs_key_len == 0)
		return JWT_NO_KEY;
	if (policy->hs_key_len < JWT_MIN_HS_KEY_LENGTH ||
		policy->hs_key_len > JWT_MAX_KEY_LENGTH ||
		jwt_is_pem(policy->hs_key, policy->hs_key_len))
		return JWT_BAD_KEY;

	ERR_clear_error();
	matches = HMAC(EVP_sha256(), policy->hs_key, (int) policy->hs_key_len,
				   (const unsigned char *) parts->signing_input,
				   parts->signing_input_len, mac, &mac_len) != NULL &&
		mac_len == JWT_HS256_LENGTH &&
		parts->signature_len == JWT_HS256_LENGTH &&
		CRYPTO_memcmp(mac, parts->signature, JWT_HS256_LENGTH) == 0;
	OPENSSL_cleanse(mac, sizeof(mac));
	ERR_clear_error();

	return matches ? JWT_OK : JWT_BAD_SIGNATURE;
}

/*
 * jwt_is_pem tells whether an HS256 secret is a PEM file by mistake: everybody
 * may know a public key, so everybody could sign with it.
 */
static bool
jwt_is_pem(const uint8 *key, size_t len)
{
	static const char begin[] = "-----BEGIN ";
	const size_t begin_len = sizeof(begin) - 1;

	for (size_t i = 0; i + begin_len <= len; i++)
	{
		if (memcmp(key + i, begin, begin_len) == 0)
			return true;
	}
	return false;
}

/*
 * jwt_check_rs256 verifies an RSA PKCS #1 v1.5 signature over SHA-256 with any
 * of the configured keys. One unusable block makes the whole file unusable:
 * better refused at once than when the other keys are rotated out.
 */
static JwtStatus
jwt_check_rs256(const JwtParts *parts, const JwtPolicy *policy)
{
	BIO		   *pem;
	char	   *label = NULL;
	char	   *pem_header = NULL;
	unsigned char *der = NULL;
	long		der_len = 0;
	int			nkeys = 0;
	bool		usable;
	bool		matches = false;
	unsigned long error;

	if (policy->rs_public_pem == NULL || policy->rs_public_pem_len == 0)
		return JWT_NO_KEY;
	if (policy->rs_public_pem_len > JWT_MAX_KEY_LENGTH)
		return JWT_BAD_KEY;

	ERR_clear_error();
	pem = BIO_new_mem_buf(policy->rs_public_pem,
						  (int) policy->rs_public_pem_len);
	usable = pem != NULL;
	while (usable && PEM_read_bio(pem, &label, &pem_header, &der, &der_len))
	{
		EVP_PKEY   *key;

		key = jwt_make_rsa_key(label, pem_header, der, der_len);
		if (key == NULL || ++nkeys > JWT_MAX_RSA_KEYS)
			usable = false;
		else if (jwt_rsa_matches(key, parts))
			matches = true;

		EVP_PKEY_free(key);
		OPENSSL_free(label);
		OPENSSL_free(pem_header);
		OPENSSL_free(der);
		ERR_clear_error();
	}

	/* the blocks must have ended for want of another, not by a broken one */
	error = ERR_peek_last_error();
	if (nkeys == 0 || ERR_GET_LIB(error) != ERR_LIB_PEM ||
		ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
		usable = false;
	BIO_free(pem);
	ERR_clear_error();

	if (!usable)
		return JWT_BAD_KEY;
	return matches ? JWT_OK : JWT_BAD_SIGNATURE;
}

/*
 * jwt_make_rsa_key makes a key of one PEM block, or returns NULL if the block
 * is no RSA public key that we may rely on. Private keys are refused like
 * anything else: they have no business in that file. The caller frees the key.
 */
static EVP_PKEY *
jwt_make_rsa_key(const char *label, const char *pem_header,
				 const unsigned char *der, long der_len)
{
	const unsigned char *end = der;
	EVP_PKEY   *key = NULL;

	/* a header inside of the block is encryption, which public keys lack */
	if (pem_header[0] != '\0')
		return NULL;

	if (strcmp(label, PEM_STRING_PUBLIC) == 0)
		key = d2i_PUBKEY(NULL, &end, der_len);
	else if (strcmp(label, PEM_STRING_RSA_PUBLIC) == 0)
		key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &end, der_len);

	if (key != NULL &&
		(end != der + der_len || !EVP_PKEY_is_a(key, "RSA") ||
		 EVP_PKEY_get_bits(key) < JWT_MIN_RSA_BITS ||
		 !jwt_rsa_exponent_is_sound(key)))
	{
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

/*
 * jwt_rsa_exponent_is_sound tells whether a key's public exponent is odd and
 * above one. With an exponent of one every message is its own signature.
 */
static bool
jwt_rsa_exponent_is_sound(const EVP_PKEY *key)
{
	BIGNUM	   *exponent = NULL;
	bool		sound;

	sound = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) &&
		BN_is_odd(exponent) && !BN_is_one(exponent) &&
		!BN_is_negative(exponent);
	BN_free(exponent);
	return sound;
}

/*
 * jwt_rsa_matches tells whether the signature was made with a key's private
 * half.
 */
static bool
jwt_rsa_matches(EVP_PKEY *key, const JwtParts *parts)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		matches;

	matches = context != NULL &&
		EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(context, parts->signature, parts->signature_len,
						 (const unsigned char *) parts->signing_input,
						 parts->signing_input_len) == 1;
	EVP_MD_CTX_free(context);
	return matches;
}

/*
 * jwt_check_claims reads a claims document and judges it. The strings in
 * *claims are in the current context, which is the scratch one.
 */
static JwtStatus
jwt_check_claims(const char *json, size_t len, int encoding,
				 const JwtPolicy *policy, JwtClaims *claims)
{
	const JwtNode *payload;
	const JwtNode *iss;
	JwtStatus	status;

	payload = jwt_parse_json(json, len, encoding);
	if (payload == NULL)
		return JWT_MALFORMED;

	status = jwt_check_dates(payload, policy, claims);
	if (status != JWT_OK)
		return status;

	iss = jwt_find_member(payload, "iss");
	if (iss != NULL && iss->type != JSON_TOKEN_STRING)
		return JWT_MALFORMED;
	if (policy->issuer != NULL && policy->issuer[0] != '\0' &&
		!jwt_is_string(iss, policy->issuer))
		return JWT_WRONG_ISSUER;

	status = jwt_check_audience(payload, policy);
	if (status != JWT_OK)
		return status;

	status = jwt_get_identity(payload, policy->tenant_claim, &claims->tenant);
	if (status != JWT_OK)
		return status;
	return jwt_get_identity(payload, policy->actor_claim, &claims->actor);
}

/*
 * jwt_check_dates judges exp, nbf and iat. A token is good from nbf on until
 * before exp (RFC 7519, 4.1.4 and 4.1.5), both shifted by the leeway in its
 * favour; fractions of a second count against it.
 */
static JwtStatus
jwt_check_dates(const JwtNode *payload, const JwtPolicy *policy,
				JwtClaims *claims)
{
	const JwtNode *exp = jwt_find_member(payload, "exp");
	const JwtNode *nbf = jwt_find_member(payload, "nbf");
	const JwtNode *iat = jwt_find_member(payload, "iat");
	int			leeway = Max(0, Min(policy->leeway, JWT_MAX_LEEWAY));
	int64		issued_at = 0;

	if (exp == NULL)
		return JWT_MISSING_CLAIM;
	if (!jwt_get_date(exp, false, &claims->exp) ||
		(nbf != NULL && !jwt_get_date(nbf, true, &claims->nbf)) ||
		(iat != NULL && !jwt_get_date(iat, true, &issued_at)))
		return JWT_MALFORMED;

	/* dates are far from the limits of int64, the caller's now may not be */
	if (claims->exp + leeway <= policy->now)
		return JWT_EXPIRED;
	if (nbf != NULL && claims->nbf - leeway > policy->now)
		return JWT_NOT_YET_VALID;
	if (iat != NULL && issued_at - leeway > policy->now)
		return JWT_NOT_YET_VALID;
	return JWT_OK;
}

/*
 * jwt_check_audience judges aud: a string or an array of strings that includes
 * the audience the policy demands, if it demands one.
 */
static JwtStatus
jwt_check_audience(const JwtNode *payload, const JwtPolicy *policy)
{
	const JwtNode *aud = jwt_find_member(payload, "aud");
	bool		demanded = policy->audience != NULL &&
		policy->audience[0] != '\0';
	bool		found = false;

	if (aud != NULL && aud->type == JSON_TOKEN_STRING)
		found = demanded && jwt_is_string(aud, policy->audience);
	else if (aud != NULL && aud->type == JSON_TOKEN_ARRAY_START)
	{
		for (const JwtNode *item = aud->children; item; item = item->next)
		{
			if (item->type != JSON_TOKEN_STRING)
				return JWT_MALFORMED;
			if (demanded && jwt_is_string(item, policy->audience))
				found = true;
		}
	}
	else if (aud != NULL)
		return JWT_MALFORMED;

	return demanded && !found ? JWT_WRONG_AUDIENCE : JWT_OK;
}

/*
 * jwt_get_identity finds the tenant's or the actor's claim. It must be a
 * string, not empty and without control characters. Outside of UTF8 databases
 * it must be ASCII, since we convert nothing: a conversion can fail by
 * raising an error.
 */
static JwtStatus
jwt_get_identity(const JwtNode *payload, const char *path, char **identity)
{
	const JwtNode *node;
	bool		ascii_only = GetDatabaseEncoding() != PG_UTF8;

	if (path == NULL || path[0] == '\0')
		return JWT_MISSING_CLAIM;

	node = jwt_find_path(payload, path);
	if (node == NULL || node->type != JSON_TOKEN_STRING ||
		node->value[0] == '\0')
		return JWT_MISSING_CLAIM;

	for (const char *c = node->value; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == '\177' ||
			(ascii_only && IS_HIGHBIT_SET(*c)))
			return JWT_MALFORMED;
	}

	*identity = pstrdup(node->value);
	return JWT_OK;
}

/*
 * jwt_get_date reads a NumericDate (RFC 7519, 2) and rounds it to a second.
 */
static bool
jwt_get_date(const JwtNode *node, bool round_up, int64 *date)
{
	double		seconds;

	if (node->type != JSON_TOKEN_NUMBER)
		return false;

	/* the parser has seen to the form; what overflows is infinite here */
	seconds = strtod(node->value, NULL);
	seconds = round_up ? ceil(seconds) : floor(seconds);
	if (!(fabs(seconds) <= (double) JWT_MAX_DATE))
		return false;

	*date = (int64) seconds;
	return true;
}

/*
 * jwt_is_string tells whether a value is there and is exactly this string.
 */
static bool
jwt_is_string(const JwtNode *node, const char *string)
{
	return node != NULL && node->type == JSON_TOKEN_STRING &&
		strcmp(node->value, string) == 0;
}

/*
 * jwt_find_path returns the value at a path, as JwtPolicy describes them, or
 * NULL. Paths lead through objects only, never into arrays.
 */
static const JwtNode *
jwt_find_path(const JwtNode *node, const char *path)
{
	char	   *name = palloc(strlen(path) + 1);

	for (;;)
	{
		char	   *out = name;

		for (; *path != '\0' && *path != '.'; path++)
		{
			if (*path == '\\' && (path[1] == '.' || path[1] == '\\'))
				path++;
			*out++ = *path;
		}
		*out = '\0';

		node = jwt_find_member(node, name);
		if (node == NULL || *path == '\0')
			return node;
		path++;
	}
}

/*
 * jwt_find_member returns an object's member of that name, or NULL if there is
 * none or if the value is not an object.
 */
static const JwtNode *
jwt_find_member(const JwtNode *node, const char *name)
{
	if (node->type != JSON_TOKEN_OBJECT_START)
		return NULL;

	for (const JwtNode *member = node->children; member; member = member->next)
	{
		if (strcmp(member->name, name) == 0)
			return member;
	}
	return NULL;
}

/*
 * jwt_parse_json reads a JSON object in the given encoding and returns it as a
 * tree in the current context, or NULL if it is not well-formed, has two
 * members of the same name in any of its objects, or is no object.
 */
static JwtNode *
jwt_parse_json(const char *json, size_t len, int encoding)
{
	JwtJsonBuilder builder = {0};
	JsonSemAction actions = {0};
	JsonLexContext *lexer;
	char	   *prepared;
	size_t		prepared_len;

	Assert(len <= JWT_MAX_LENGTH);

	if (pg_encoding_verifymbstr(encoding, json, (int) len) != (int) len)
		return NULL;

	prepared = palloc(len + 1);
	if (!jwt_prepare_json(json, len, prepared, &prepared_len))
		return NULL;

	actions.semstate = &builder;
	actions.object_start = jwt_json_object_start;
	actions.object_end = jwt_json_object_end;
	actions.array_start = jwt_json_array_start;
	actions.array_end = jwt_json_array_end;
	actions.object_field_start = jwt_json_field;
	actions.scalar = jwt_json_scalar;

	lexer = jwt_make_lexer(prepared, prepared_len, encoding);
	if (pg_parse_json(lexer, &actions) != JSON_SUCCESS || builder.failed ||
		builder.root == NULL ||
		builder.root->type != JSON_TOKEN_OBJECT_START)
		return NULL;

	return builder.root;
}

/*
 * jwt_prepare_json copies a JSON text and makes it safe for the parser, which
 * would raise an error
 * - on nesting that exhausts the stack: more than JWT_MAX_DEPTH levels are
 *	 refused here;
 * - on 15, in a database that is not UTF8, on an escape like \u20ac that its
 *	 encoding cannot represent: such escapes are replaced by UTF-8 here. Those
 *	 of ASCII characters are left, as the parser must not take \u0022 for the
 *	 end of a string.
 * The parser does not look at the encoding of raw bytes at all: the caller has
 * done that. Where the database is not UTF8, jwt_claims_from_json() may thus
 * see two encodings in one string; only ASCII strings get out of here then.
 *
 * The copy has room for len + 1 bytes; escapes are longer than what they stand
 * for. It returns false if the text is refused. What else is wrong with it
 * the parser will find.
 */
static bool
jwt_prepare_json(const char *json, size_t len, char *prepared,
				 size_t *prepared_len)
{
	const char *src = json;
	const char *end = json + len;
	char	   *dst = prepared;
	int			depth = 0;
	bool		in_string = false;

	while (src < end)
	{
		if (*src == '\\')
		{
			pg_wchar	code_point = 0;
			size_t		escape_len = 2;

			if (!in_string || end - src < 2)
				return false;
			if (src[1] == 'u' &&
				!jwt_read_escape(src, end, &code_point, &escape_len))
				return false;

			if (code_point > 0x7F)
			{
				unicode_to_utf8(code_point, (unsigned char *) dst);
				dst += pg_utf_mblen((unsigned char *) dst);
			}
			else
			{
				memcpy(dst, src, escape_len);
				dst += escape_len;
			}
			src += escape_len;
			continue;
		}

		if (*src == '"')
			in_string = !in_string;
		else if (!in_string && (*src == '{' || *src == '['))
		{
			if (++depth > JWT_MAX_DEPTH)
				return false;
		}
		else if (!in_string && (*src == '}' || *src == ']'))
			depth--;
		*dst++ = *src++;
	}

	*dst = '\0';
	*prepared_len = dst - prepared;
	return true;
}

/*
 * jwt_read_escape reads the \uXXXX at src, or the two of a surrogate pair, and
 * returns the code point and the number of bytes. It returns false for what is
 * not well-formed, for half a pair, and for the code point zero, which no text
 * can hold.
 */
static bool
jwt_read_escape(const char *src, const char *end, pg_wchar *code_point,
				size_t *escape_len)
{
	int			unit = jwt_read_code_unit(src, end);
	int			second;

	if (unit <= 0 || is_utf16_surrogate_second((pg_wchar) unit))
		return false;

	*code_point = (pg_wchar) unit;
	*escape_len = 6;
	if (is_utf16_surrogate_first((pg_wchar) unit))
	{
		second = jwt_read_code_unit(src + 6, end);
		if (second < 0 || !is_utf16_surrogate_second((pg_wchar) second))
			return false;
		*code_point = surrogate_pair_to_codepoint((pg_wchar) unit,
												  (pg_wchar) second);
		*escape_len = 12;
	}
	return true;
}

/*
 * jwt_read_code_unit returns the value of the \uXXXX at src, or -1 if there is
 * none.
 */
static int
jwt_read_code_unit(const char *src, const char *end)
{
	int			value = 0;

	if (end - src < 6 || src[0] != '\\' || src[1] != 'u')
		return -1;

	for (int i = 2; i < 6; i++)
	{
		char		c = src[i];

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (c - 'A') + 10;
		else
			return -1;
	}
	return value;
}

/*
 * jwt_add_node adds a value to the object or array that is open, or makes it
 * the root.
 */
static void
jwt_add_node(JwtJsonBuilder *builder, JsonTokenType type, const char *value)
{
	JwtNode    *node = palloc0(sizeof(JwtNode));

	node->type = type;
	node->value = value;
	if (builder->depth == 0)
		builder->root = node;
	else
	{
		JwtNode    *parent = builder->open[builder->depth - 1];

		node->name = builder->name;
		node->next = parent->children;
		parent->children = node;
		builder->name = NULL;
	}
}

/*
 * jwt_open_node adds an object or array and opens it.
 */
static void
jwt_open_node(JwtJsonBuilder *builder, JsonTokenType type)
{
	if (builder->failed)
		return;
	if (builder->depth >= JWT_MAX_DEPTH)
	{
		/* jwt_prepare_json() has counted, so this cannot be */
		Assert(false);
		builder->failed = true;
		return;
	}

	jwt_add_node(builder, type, NULL);
	builder->open[builder->depth] = builder->depth == 0 ? builder->root :
		builder->open[builder->depth - 1]->children;
	builder->depth++;
}

/*
 * jwt_has_duplicate tells whether an object has two members of the same name.
 * It sorts them, for a header is read before its signature is known and may
 * have a thousand.
 */
static bool
jwt_has_duplicate(const JwtNode *object)
{
	const char **names;
	int			count = 0;

	for (const JwtNode *member = object->children; member; member = member->next)
		count++;
	if (count < 2)
		return false;

	names = palloc(count * sizeof(char *));
	count = 0;
	for (const JwtNode *member = object->children; member; member = member->next)
		names[count++] = member->name;

	qsort(names, count, sizeof(char *), pg_qsort_strcmp);
	for (int i = 1; i < count; i++)
	{
		if (strcmp(names[i - 1], names[i]) == 0)
			return true;
	}
	return false;
}

/*
 * jwt_json_object_start is the parser's action at an opening brace.
 */
static JwtActionResult
jwt_json_object_start(void *state)
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	jwt_open_node(builder, JSON_TOKEN_OBJECT_START);
	JWT_ACTION_RESULT(builder);
}

/*
 * jwt_json_object_end is the parser's action at a closing brace. Two members
 * of the same name fail the document: readers that disagree on which of them
 * counts can be played off against each other.
 */
static JwtActionResult
jwt_json_object_end(void *state)
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	if (!builder->failed)
	{
		builder->depth--;
		builder->failed = jwt_has_duplicate(builder->open[builder->depth]);
	}
	JWT_ACTION_RESULT(builder);
}

/*
 * jwt_json_array_start is the parser's action at an opening bracket.
 */
static JwtActionResult
jwt_json_array_start(void *state)
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	jwt_open_node(builder, JSON_TOKEN_ARRAY_START);
	JWT_ACTION_RESULT(builder);
}

/*
 * jwt_json_array_end is the parser's action at a closing bracket.
 */
static JwtActionResult
jwt_json_array_end(void *state)
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	if (!builder->failed)
		builder->depth--;
	JWT_ACTION_RESULT(builder);
}

/*
 * jwt_json_field is the parser's action before a member's value. The name is
 * ours.
 */
static JwtActionResult
jwt_json_field(void *state, char *name, bool isnull pg_attribute_unused())
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	builder->name = name;
	JWT_ACTION_RESULT(builder);
}

/*
 * jwt_json_scalar is the parser's action at a scalar. The text is ours.
 */
static JwtActionResult
jwt_json_scalar(void *state, char *token, JsonTokenType type)
{
	JwtJsonBuilder *builder = (JwtJsonBuilder *) state;

	if (!builder->failed)
		jwt_add_node(builder, type, token);
	JWT_ACTION_RESULT(builder);
}
