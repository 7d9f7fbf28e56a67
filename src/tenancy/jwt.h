/*-------------------------------------------------------------------------
 *
 * jwt.h
 *	  Strict verification of JSON Web Tokens (RFC 7519, RFC 7515, RFC 8725).
 *
 * Include postgres.h first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ENTRESTATE_JWT_H
#define ENTRESTATE_JWT_H

/* Longest token, and longest claims document, that is looked at, in bytes */
#define JWT_MAX_LENGTH 8192

/* Allowance for clocks that differ; a larger JwtPolicy.leeway counts as this */
#define JWT_MAX_LEEWAY 300

typedef enum JwtStatus
{
	JWT_OK,
	JWT_MALFORMED,				/* not a token, or a claim of the wrong type */
	JWT_UNSUPPORTED_ALG,		/* header's alg, typ or crit is not for us */
	JWT_NO_KEY,					/* no key is configured for the header's alg */
	JWT_BAD_KEY,				/* the key configured for it is unusable */
	JWT_BAD_SIGNATURE,
	JWT_NOT_YET_VALID,			/* nbf or iat lies in the future */
	JWT_EXPIRED,
	JWT_WRONG_ISSUER,			/* iss is absent or another */
	JWT_WRONG_AUDIENCE,			/* aud is absent or names others only */
	JWT_MISSING_CLAIM,			/* no exp; tenant or actor is no filled string */
	JWT_TOO_LONG
} JwtStatus;

/*
 * What the installation demands. Everything is borrowed: the caller owns the
 * strings and keys, and nothing here outlives the call.
 *
 * A claim's path names members from the outside in, separated by dots; a dot
 * or a backslash that belongs to a name is written behind a backslash:
 * "tenant_id", "app_metadata.tenant_id", "https://example\.com/tenant".
 */
typedef struct JwtPolicy
{
	const uint8 *hs_key;		/* HS256 secret of 32 bytes or more, or NULL */
	size_t		hs_key_len;
	const char *rs_public_pem;	/* RS256 public keys, PEM, or NULL; of several
								 * blocks any may match, and all must be
								 * usable */
	size_t		rs_public_pem_len;
	const char *issuer;			/* required iss; NULL or "" demands none */
	const char *audience;		/* required member of aud; NULL or "" demands
								 * none */
	const char *tenant_claim;	/* path of the tenant's claim */
	const char *actor_claim;	/* path of the actor's claim, "sub" */
	int64		now;			/* the caller's clock, epoch seconds */
	int			leeway;			/* seconds granted to exp, nbf and iat */
} JwtPolicy;

/*
 * What a token says. The strings are palloc'd in the context that was current
 * at the call and belong to the caller; unless the status is JWT_OK all fields
 * are zero. In a database whose encoding is not UTF8 the strings are ASCII.
 */
typedef struct JwtClaims
{
	char	   *tenant;
	char	   *actor;
	int64		exp;			/* epoch seconds, a fraction rounded down */
	int64		nbf;			/* epoch seconds, a fraction rounded up; 0 if
								 * the token has none */
} JwtClaims;

extern JwtStatus jwt_verify(const char *token, size_t len,
							const JwtPolicy *policy, JwtClaims *claims);
extern JwtStatus jwt_claims_from_json(const char *json, size_t len,
									  const JwtPolicy *policy,
									  JwtClaims *claims);
extern const char *jwt_status_message(JwtStatus status);

#endif							/* ENTRESTATE_JWT_H */
