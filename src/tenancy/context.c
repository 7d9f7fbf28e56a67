/*
 * context.c
 *		The tenant context: who acts, for which tenant, in this transaction.
 *
 * The context is the value of entrestate.session, which any user may SET, so
 * its value must prove itself.  Two forms are accepted by the check hook:
 *
 *	es1.<payload>.<mac>		an issued token: entrestate.token_mint() made it for
 *							an application that connects by itself.  Signed
 *							with a key of a file outside the database; bound
 *							to the database, the login role and an expiry.
 *	eb1.<fields>.<mac>		the inner form: what login() and its kin set, and
 *							what the check hook turns an issued token into.
 *							Signed with random bytes that only this backend
 *							has, and bound to the transaction (its local id).
 *
 * So a context ends with its transaction whatever the client did: SET LOCAL,
 * plain SET, a pooled connection given to somebody else, a value read back and
 * set again later, or sent to another backend: the inner form holds nowhere
 * but in the transaction that made it.  The value is masked in SHOW.
 *
 * The check hook judges shape and signature, never the catalogs or the time
 * (an expiry inside the hook broke running parallel queries).  The rest is
 * judged once per transaction and setting, at the first use (judge()): the
 * transaction, the expiry against the transaction's start, the member's row
 * and role, the tenant's row.  So a member who is removed loses every token at
 * the end of the transaction that is under way.  What does not hold means no
 * context: current_tenant() is NULL and row security shows nothing.
 *
 * A parallel worker gets the leader's value and takes it without looking at
 * the signature (it does not have the leader's random bytes); it judges the
 * rest itself, against the leader's transaction.
 *
 * entrestate.bound_tenant, a superuser's setting for a database role
 * (ALTER ROLE ... SET), holds no secret: it is a fact about the login.  It is
 * also a ceiling: no token reaches another tenant from such a session.
 */
#include "core/core.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "tenancy/context.h"
#include "tenancy/jwt.h"
#include "tenancy/tenancy.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MAC_LEN PG_SHA256_DIGEST_LENGTH
#define MAX_ACTOR 255
#define MAX_TOKEN 2048
#define MAX_TTL 3600			/* seconds: issued tokens are short-lived */

/* How a context came to be; shown by context() and checked by judge(). */
typedef enum ContextKind
{
	KIND_LOGIN = 'L',			/* login(): the gateway vouches for the member */
	KIND_TOKEN = 'T',			/* token_mint()'s token */
	KIND_JWT = 'J',				/* login_jwt() */
	KIND_REQUEST = 'R',			/* login_request(): PostgREST's claims */
	KIND_BOUND = 'B',			/* entrestate.bound_tenant */
	KIND_SYSTEM = 'S'			/* our own background work */
} ContextKind;

/* What a value of entrestate.session says once its signature held. */
typedef struct SessionValue
{
	bool		set;
	char		kind;
	LocalTransactionId lxid;	/* the transaction it was made in */
	int64		exp;			/* epoch seconds, 0 = with the transaction */
	pg_uuid_t	tenant;
	char		actor[MAX_ACTOR + 1];
} SessionValue;

typedef struct BoundValue
{
	bool		set;
	pg_uuid_t	tenant;
	char		role[16];
} BoundValue;

typedef enum Verdict
{
	CTX_NONE,
	CTX_OK,
	CTX_OTHER_TRANSACTION,
	CTX_EXPIRED,
	CTX_NOT_MEMBER,
	CTX_NO_TENANT,
	CTX_BOUND_ELSEWHERE,
	CTX_NO_SCHEMA
} Verdict;

static const char *const verdict_detail[] = {
	[CTX_NONE] = "No tenant context has been entered in this transaction.",
	[CTX_OK] = "The context holds.",
	[CTX_OTHER_TRANSACTION] = "The session token was set in an earlier transaction; a context ends with its transaction.",
	[CTX_EXPIRED] = "The session token has expired.",
	[CTX_NOT_MEMBER] = "The session token is not that of a member of the tenant.",
	[CTX_NO_TENANT] = "The session token is not that of a member of the tenant.",
	[CTX_BOUND_ELSEWHERE] = "This login role is bound to another tenant.",
	[CTX_NO_SCHEMA] = "entrestate has no schema in this database yet."
};

/* The judged context of the current transaction. */
typedef struct Context
{
	uint64		generation;		/* of the settings it was judged for */
	LocalTransactionId lxid;
	Verdict		verdict;
	char		kind;
	pg_uuid_t	tenant;
	char		actor[MAX_ACTOR + 1];
	char		role[16];
	int64		exp;
	bool		frozen;
} Context;

static char *session_setting = NULL;
static char *bound_setting = NULL;
static char *jwt_hs256_key_file = NULL;
static char *jwt_rs256_key_file = NULL;
static char *jwt_issuer = NULL;
static char *jwt_audience = NULL;
static char *jwt_tenant_claim = NULL;
static int	jwt_leeway = 30;
char	   *es_key_file = NULL;

static SessionValue session_value;	/* assigned by guc.c through our hook */
static BoundValue bound_value;
static const char *stale_setting = NULL;	/* see stale_placeholder() */
static uint64 generation = 1;	/* grows with every assignment */
static Context judged;
static uint8 backend_secret[32];
static bool backend_secret_made = false;

/* PostgREST's pre-request may choose a tenant once per transaction. */
static LocalTransactionId request_lxid = InvalidLocalTransactionId;
static pg_uuid_t request_tenant;
static char request_actor[MAX_ACTOR + 1];

/* ----- small parts ----------------------------------------------------- */

/*
 * my_lxid returns the local id of the transaction, the leader's in a parallel
 * worker.
 */
static LocalTransactionId
my_lxid(void)
{
	PGPROC	   *proc = MyProc;

	if (proc == NULL)
		return InvalidLocalTransactionId;
	if (IsParallelWorker() && proc->lockGroupLeader != NULL)
		proc = proc->lockGroupLeader;
	return ES_PROC_LXID(proc);
}

/* hmac_sha256 computes a MAC; false when OpenSSL refuses. */
static bool
hmac_sha256(const void *key, size_t keylen, const char *data, size_t len,
			uint8 *mac)
{
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);
	bool		ok;

	if (ctx == NULL)
		return false;
	ok = pg_hmac_init(ctx, key, keylen) >= 0 &&
		pg_hmac_update(ctx, (const uint8 *) data, len) >= 0 &&
		pg_hmac_final(ctx, mac, MAC_LEN) >= 0;
	pg_hmac_free(ctx);
	return ok;
}

/* same_mac compares in constant time. */
static bool
same_mac(const uint8 *a, const uint8 *b)
{
	uint8		diff = 0;

	for (int i = 0; i < MAC_LEN; i++)
		diff |= a[i] ^ b[i];
	return diff == 0;
}

static void
to_hex(const uint8 *in, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++)
	{
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = '\0';
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* from_hex reads exactly n bytes of lower-case hexadecimal. */
static bool
from_hex(const char *in, size_t len, uint8 *out, size_t n)
{
	if (len != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		int			hi = hex_digit(in[2 * i]),
					lo = hex_digit(in[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = hi << 4 | lo;
	}
	return true;
}

static void
uuid_to_text(const pg_uuid_t *u, char *out)
{
	char		hex[2 * UUID_LEN + 1];

	to_hex(u->data, UUID_LEN, hex);
	snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
			 hex + 16, hex + 20);
}

static const uint8 *
my_secret(void)
{
	if (!backend_secret_made)
	{
		if (!pg_strong_random(backend_secret, sizeof(backend_secret)))
			return NULL;
		backend_secret_made = true;
	}
	return backend_secret;
}

/* ----- the inner form -------------------------------------------------- */

/*
 * inner_write writes a value as "eb1.<lxid>.<exp>.<kind>.<tenant>.<actor in
 * hex>.<mac>" into buf, which must hold MAX_TOKEN bytes.
 */
static bool
inner_write(const SessionValue *v, char *buf)
{
	char		tenant[37];
	char		actor[2 * MAX_ACTOR + 1];
	uint8		mac[MAC_LEN];
	const uint8 *secret = my_secret();
	int			n;

	if (secret == NULL)
		return false;
	uuid_to_text(&v->tenant, tenant);
	to_hex((const uint8 *) v->actor, strlen(v->actor), actor);
	n = snprintf(buf, MAX_TOKEN, "eb1.%u." INT64_FORMAT ".%c.%s.%s.",
				 v->lxid, v->exp, v->kind, tenant, actor);
	if (n < 0 || n + 2 * MAC_LEN + 1 > MAX_TOKEN ||
		!hmac_sha256(secret, sizeof(backend_secret), buf, n, mac))
		return false;
	to_hex(mac, MAC_LEN, buf + n);
	return true;
}

/* inner_read reads the inner form; the signature is skipped in a worker. */
static bool
inner_read(const char *s, SessionValue *v)
{
	const char *mac_at = strrchr(s, '.');
	uint8		given[MAC_LEN],
				mac[MAC_LEN];
	unsigned int lxid;
	long long	exp;
	char		kind;
	int			n = 0;
	const char *actor;
	size_t		actor_hex;

	if (mac_at == NULL || !from_hex(mac_at + 1, strlen(mac_at + 1), given, MAC_LEN))
		return false;
	if (!InitializingParallelWorker)
	{
		const uint8 *secret = my_secret();

		if (secret == NULL ||
			!hmac_sha256(secret, sizeof(backend_secret), s, mac_at + 1 - s, mac) ||
			!same_mac(given, mac))
			return false;
	}
	if (sscanf(s, "eb1.%u.%lld.%c.%n", &lxid, &exp, &kind, &n) != 3 || n == 0)
		return false;
	if (strlen(s + n) < 37 || !es_uuid_parse(s + n, 36, &v->tenant) ||
		s[n + 36] != '.')
		return false;
	actor = s + n + 37;
	if (actor > mac_at)
		return false;
	actor_hex = mac_at - actor;
	if (actor_hex > 2 * MAX_ACTOR ||
		!from_hex(actor, actor_hex, (uint8 *) v->actor, actor_hex / 2))
		return false;
	v->actor[actor_hex / 2] = '\0';
	v->set = true;
	v->lxid = lxid;
	v->exp = exp;
	v->kind = kind;
	return true;
}

/* ----- issued tokens --------------------------------------------------- */

/*
 * issued_payload writes what is signed in an issued token.  The actor comes
 * last, since it may hold anything.
 */
static int
issued_payload(char *buf, size_t size, const char *tenant, int64 exp,
			   const char *role, const char *database, const char *actor)
{
	return snprintf(buf, size, "%s\n" INT64_FORMAT "\n%s\n%s\n%s", tenant, exp,
					role, database, actor);
}

/*
 * issued_read checks an issued token and fills in the value; on failure *why
 * says what is wrong with it.  Runs inside a check hook: catalogs may be read
 * (we are in a transaction), but nothing of ours is.
 */
static bool
issued_read(const char *s, SessionValue *v, const char **why)
{
	char	   *payload;
	char	   *p,
			   *end;
	int			len;
	const char *dot;
	uint8		given[MAC_LEN],
				mac[MAC_LEN];
	const char *key;
	size_t		keylen;
	volatile bool signed_by_us = false;
	MemoryContext caller = CurrentMemoryContext;
	char	   *field[4];
	const char *database,
			   *login;

	*why = "The session token is malformed.";
	dot = strchr(s + 4, '.');
	if (dot == NULL || strlen(s) > MAX_TOKEN ||
		!from_hex(dot + 1, strlen(dot + 1), given, MAC_LEN))
		return false;

	/*
	 * A check hook answers rather than throws: at library load its error is a
	 * warning.  Reading the key file holds nothing but a transient file
	 * descriptor, so the error can be dropped here without a subtransaction.
	 */
	*why = "The session token has no valid signature.";
	PG_TRY();
	{
		for (size_t i = 0; !signed_by_us &&
			 (key = es_signing_key(i, &keylen)) != NULL; i++)
			signed_by_us = hmac_sha256(key, keylen, s, dot - s, mac) &&
				same_mac(given, mac);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		*why = "The file of setting \"entrestate.key_file\" cannot be used.";
	}
	PG_END_TRY();
	if (!signed_by_us)
		return false;

	*why = "The session token is malformed.";
	payload = palloc(pg_b64_dec_len(dot - s - 4) + 1);
	len = pg_b64_decode(s + 4, dot - s - 4, (void *) payload,
						pg_b64_dec_len(dot - s - 4));
	if (len < 0)
		return false;
	payload[len] = '\0';
	p = payload;
	for (int i = 0; i < 4; i++)
	{
		end = strchr(p, '\n');
		if (end == NULL)
			return false;
		*end = '\0';
		field[i] = p;
		p = end + 1;
	}
	if (!es_uuid_parse(field[0], strlen(field[0]), &v->tenant) ||
		strlen(p) > MAX_ACTOR)
		return false;
	v->exp = strtoll(field[1], NULL, 10);
	strlcpy(v->actor, p, sizeof(v->actor));
	v->kind = KIND_TOKEN;
	v->set = true;

	*why = "The session token was issued for another login role or database.";
	login = GetUserNameFromId(GetSessionUserId(), true);
	database = get_database_name(MyDatabaseId);
	return login != NULL && database != NULL && strcmp(login, field[2]) == 0 &&
		strcmp(database, field[3]) == 0;
}

/* ----- the settings' hooks --------------------------------------------- */

static bool
session_check(char **newval, void **extra, GucSource source)
{
	SessionValue *v = ES_GUC_MALLOC(LOG, sizeof(SessionValue));
	const char *why = "The session token is malformed.";
	bool		ok = false;

	if (v == NULL)
		return false;
	memset(v, 0, sizeof(*v));
	if (*newval == NULL || **newval == '\0')
	{
		*extra = v;
		return true;
	}
	if (source == PGC_S_TEST || source == PGC_S_DATABASE ||
		source == PGC_S_USER || source == PGC_S_DATABASE_USER ||
		source == PGC_S_GLOBAL)
		why = "A session token is not kept in a role's or a database's settings, where everybody can read it.";
	else if (source != PGC_S_SESSION)
		why = "A session token is set inside a session, not as an option of its connection or server.";
	else if (strncmp(*newval, "eb1.", 4) == 0)
		ok = inner_read(*newval, v);
	else if (strncmp(*newval, "es1.", 4) == 0)
	{
		if (!IsTransactionState())
			why = "A session token can be set inside a session only.";
		else if (issued_read(*newval, v, &why))
		{
			char		buf[MAX_TOKEN];
			char	   *inner;

			v->lxid = stale_setting != NULL && strcmp(*newval, stale_setting) == 0
				? InvalidLocalTransactionId : my_lxid();
			if (inner_write(v, buf) &&
				(inner = ES_GUC_MALLOC(LOG, strlen(buf) + 1)) != NULL)
			{
				strcpy(inner, buf);
				ES_GUC_FREE(*newval);
				*newval = inner;
				ok = true;
			}
		}
	}
	if (!ok)
	{
		ES_GUC_FREE(v);
		GUC_check_errcode(es_errcode(ES_UNAUTHORIZED));
		GUC_check_errmsg("the session token does not hold");
		GUC_check_errdetail("%s", why);
		GUC_check_errhint("Ask the gateway for a new one: entrestate.token_mint().");
		return false;
	}
	*extra = v;
	return true;
}

static void
session_assign(const char *newval, void *extra)
{
	session_value = *(SessionValue *) extra;
	generation++;
}

/* session_show never shows the token: current_setting() is for everybody. */
static const char *
session_show(void)
{
	return session_value.set ? "(set)" : "";
}

/* bound_check reads "<tenant>" or "<tenant>/<role>". */
static bool
bound_check(char **newval, void **extra, GucSource source)
{
	static const char *const roles[] = {"owner", "admin", "operator", "closer",
	"member", "viewer"};
	BoundValue *b = ES_GUC_MALLOC(LOG, sizeof(BoundValue));
	const char *slash;
	bool		known = false;

	if (b == NULL)
		return false;
	memset(b, 0, sizeof(*b));
	*extra = b;
	if (*newval == NULL || **newval == '\0')
		return true;
	slash = strchr(*newval, '/');
	strlcpy(b->role, slash ? slash + 1 : "member", sizeof(b->role));
	for (size_t i = 0; i < lengthof(roles); i++)
		known |= strcmp(b->role, roles[i]) == 0;
	b->set = true;
	if (!known || !es_uuid_parse(*newval, slash ? slash - *newval
								 : strlen(*newval), &b->tenant))
	{
		ES_GUC_FREE(b);
		GUC_check_errdetail("Expected a tenant's UUID, optionally followed by / and a role within the tenant.");
		return false;
	}
	return true;
}

static void
bound_assign(const char *newval, void *extra)
{
	bound_value = *(BoundValue *) extra;
	generation++;
}

static void
define_string(const char *name, const char *what, const char *more,
			  char **var, const char *boot, GucContext context, int flags)
{
	DefineCustomStringVariable(name, what, more, var, boot, context, flags,
							   NULL, NULL, NULL);
}

/*
 * stale_placeholder returns what entrestate.session was set to before this
 * transaction, while the library was not loaded: guc.c is about to have it
 * checked as if it were set now, in a transaction that may be another client's.
 */
static const char *
stale_placeholder(void)
{
	struct config_generic *g = es_find_guc("entrestate.session");
	GucStack   *s;

	if (g == NULL || g->vartype != PGC_STRING)
		return NULL;
	if (g->stack == NULL)
		return *((struct config_string *) g)->variable;
	for (s = g->stack; s->prev != NULL; s = s->prev)
		;
	return s->prior.val.stringval;
}

/*
 * es_context_check_connection refuses a connection option that hides what the
 * login role is bound to.  Before the library is loaded an option of the
 * client's ranks above ALTER ROLE ... SET; afterwards guc.c drops it for want
 * of privilege, and the binding would be gone.
 */
void
es_context_check_connection(void)
{
	struct config_generic *g = es_find_guc("entrestate.bound_tenant");
	const char *superuser = GetConfigOption("is_superuser", true, false);

	if (g != NULL && g->reset_source == PGC_S_CLIENT &&
		(superuser == NULL || strcmp(superuser, "on") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set parameter \"%s\"", g->name),
				 errdetail("It was given as an option of the connection."),
				 errhint("Connect without it: a superuser binds a role with ALTER ROLE ... SET.")));
}

/* es_context_init defines the settings of the tenancy room. */
void
es_context_init(void)
{
	DefineCustomStringVariable("entrestate.bound_tenant",
							   "The tenant a login role is bound to.",
							   "Set by a superuser with ALTER ROLE: a tenant's UUID, optionally with /role. It holds no secret.",
							   &bound_setting, "", PGC_SUSET, 0,
							   bound_check, bound_assign, NULL);
	define_string("entrestate.jwt_audience",
				  "Audience that login_jwt() demands; empty: none.", NULL,
				  &jwt_audience, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("entrestate.jwt_hs256_key_file",
				  "File with the HS256 secret of login_jwt().", NULL,
				  &jwt_hs256_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("entrestate.jwt_issuer",
				  "Issuer that login_jwt() demands; empty: none.", NULL,
				  &jwt_issuer, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	DefineCustomIntVariable("entrestate.jwt_leeway",
							"Clock difference that login_jwt() tolerates.",
							NULL, &jwt_leeway, 30, 0, 300, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	define_string("entrestate.jwt_rs256_key_file",
				  "File with the RS256 public keys (PEM) of login_jwt().", NULL,
				  &jwt_rs256_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("entrestate.jwt_tenant_claim",
				  "Claim that names the tenant, with dots into objects.", NULL,
				  &jwt_tenant_claim, "tenant_id", PGC_SIGHUP, 0);
	define_string("entrestate.key_file",
				  "File with the keys that sign session tokens.",
				  "One key a line; the first signs, all verify. Empty: entrestate.key in the data directory, made at first use.",
				  &es_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	stale_setting = stale_placeholder();
	DefineCustomStringVariable("entrestate.session",
							   "The signed tenant context of this transaction.",
							   "Set by login(), login_jwt() and login_request(), or with SET LOCAL to a token of token_mint().",
							   &session_setting, "", PGC_USERSET,
							   GUC_NOT_IN_SAMPLE,
							   session_check, session_assign, session_show);
	stale_setting = NULL;
}

/* ----- judging --------------------------------------------------------- */

/*
 * lookup finds one row of one of our tables by its primary key, past row
 * security (it is what row security asks).  Keys are uuid or text COLLATE "C".
 * Calls "take" with the row while it is there.
 */
typedef void (*RowTaker) (HeapTuple tup, TupleDesc desc, void *arg);

static bool
lookup(const char *table, int nkeys, Datum *keys, Oid *types, RowTaker take,
	   void *arg)
{
	Oid			relid = es_relation(table);
	Relation	rel;
	ScanKeyData sk[2];
	SysScanDesc scan;
	Snapshot	snap;
	HeapTuple	tup;
	List	   *indexes;
	Oid			pk;
	bool		found;

	Assert(nkeys <= (int) lengthof(sk));
	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	indexes = RelationGetIndexList(rel);
	pk = rel->rd_pkindex;
	list_free(indexes);
	for (int i = 0; i < nkeys; i++)
		ScanKeyEntryInitialize(&sk[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid,
							   types[i] == TEXTOID ? C_COLLATION_OID : InvalidOid,
							   types[i] == TEXTOID ? F_TEXTEQ : F_UUID_EQ,
							   keys[i]);
	snap = RegisterSnapshot(IsInParallelMode() ? GetTransactionSnapshot()
							: GetLatestSnapshot());
	scan = systable_beginscan(rel, pk, OidIsValid(pk), snap, nkeys, sk);
	tup = systable_getnext(scan);
	found = HeapTupleIsValid(tup);
	if (found && take != NULL)
		take(tup, RelationGetDescr(rel), arg);
	systable_endscan(scan);
	UnregisterSnapshot(snap);
	table_close(rel, AccessShareLock);
	return found;
}

static Datum
column(HeapTuple tup, TupleDesc desc, const char *name, bool *isnull)
{
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return heap_getattr(tup, i + 1, desc, isnull);
	*isnull = true;
	return (Datum) 0;
}

static void
take_tenant(HeapTuple tup, TupleDesc desc, void *arg)
{
	bool		isnull;

	(void) column(tup, desc, "frozen_at", &isnull);
	((Context *) arg)->frozen = !isnull;
}

static void
take_member(HeapTuple tup, TupleDesc desc, void *arg)
{
	Context    *c = arg;
	bool		isnull;
	Datum		role = column(tup, desc, "role", &isnull);

	if (!isnull)
	{
		char	   *r = TextDatumGetCString(role);

		strlcpy(c->role, r, sizeof(c->role));
		pfree(r);
	}
}

/*
 * judge decides what the settings mean in this transaction; the answer is
 * kept until a setting or the transaction changes.
 */
static Context *
judge(void)
{
	LocalTransactionId lxid = my_lxid();
	Context    *c = &judged;
	Datum		keys[2];
	Oid			types[2] = {UUIDOID, TEXTOID};

	if (c->generation == generation && c->lxid == lxid)
		return c;

	/* not set complete before the end: a lookup may fail */
	c->generation = 0;
	c->verdict = CTX_NONE;
	c->frozen = false;
	c->role[0] = '\0';
	c->actor[0] = '\0';
	c->exp = 0;
	c->kind = 0;

	if (session_value.set)
	{
		if (session_value.lxid != lxid || lxid == InvalidLocalTransactionId)
			c->verdict = CTX_OTHER_TRANSACTION;
		else if (session_value.exp != 0 &&
				 timestamptz_to_time_t(GetCurrentTransactionStartTimestamp()) >=
				 session_value.exp)
			c->verdict = CTX_EXPIRED;
		else if (bound_value.set && session_value.kind != KIND_SYSTEM &&
				 memcmp(&bound_value.tenant, &session_value.tenant, UUID_LEN) != 0)
			c->verdict = CTX_BOUND_ELSEWHERE;
		else
		{
			c->verdict = CTX_OK;
			c->kind = session_value.kind;
			c->tenant = session_value.tenant;
			c->exp = session_value.exp;
			strlcpy(c->actor, session_value.actor, sizeof(c->actor));
		}
	}
	else if (bound_value.set)
	{
		char	   *login = GetUserNameFromId(GetSessionUserId(), true);

		c->verdict = CTX_OK;
		c->kind = KIND_BOUND;
		c->tenant = bound_value.tenant;
		snprintf(c->actor, sizeof(c->actor), "role:%s", login ? login : "");
		strlcpy(c->role, bound_value.role, sizeof(c->role));
	}

	if (c->verdict == CTX_OK)
	{
		keys[0] = UUIDPGetDatum(&c->tenant);
		if (!OidIsValid(es_relation("tenants")))
			c->verdict = CTX_NO_SCHEMA;
		else if (!lookup("tenants", 1, keys, types, take_tenant, c) &&
				 c->kind != KIND_SYSTEM)	/* tenant_create() is about to make it */
			c->verdict = CTX_NO_TENANT;
		else if (c->kind == KIND_SYSTEM)
			strlcpy(c->role, "system", sizeof(c->role));
		else if (c->kind != KIND_BOUND)
		{
			keys[1] = CStringGetTextDatum(c->actor);
			if (!lookup("members", 2, keys, types, take_member, c))
				c->verdict = CTX_NOT_MEMBER;
		}
	}
	c->lxid = lxid;
	c->generation = generation;
	return c;
}

/* es_current_tenant returns the tenant of the context, NULL without one. */
const pg_uuid_t *
es_current_tenant(void)
{
	Context    *c = judge();

	return c->verdict == CTX_OK ? &c->tenant : NULL;
}

PG_FUNCTION_INFO_V1(tenancy_current_tenant);

Datum
tenancy_current_tenant(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *t = es_current_tenant();

	if (t == NULL)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(t);
}

PG_FUNCTION_INFO_V1(tenancy_current_actor);

Datum
tenancy_current_actor(PG_FUNCTION_ARGS)
{
	Context    *c = judge();

	if (c->verdict != CTX_OK)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(c->kind == KIND_SYSTEM ? "system" : c->actor));
}

PG_FUNCTION_INFO_V1(tenancy_current_member_role);

Datum
tenancy_current_member_role(PG_FUNCTION_ARGS)
{
	Context    *c = judge();

	if (c->verdict != CTX_OK)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(c->role));
}

PG_FUNCTION_INFO_V1(tenancy_context);

/* tenancy_context tells a developer what the context is, or why there is none. */
Datum
tenancy_context(PG_FUNCTION_ARGS)
{
	Context    *c = judge();
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {true, true, true, true, true, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (c->verdict == CTX_OK)
	{
		values[0] = UUIDPGetDatum(&c->tenant);
		values[1] = CStringGetTextDatum(c->actor);
		values[2] = CStringGetTextDatum(c->role);
		values[3] = CStringGetTextDatum(c->kind == KIND_LOGIN ? "login" :
										c->kind == KIND_TOKEN ? "token" :
										c->kind == KIND_JWT ? "jwt" :
										c->kind == KIND_REQUEST ? "request" :
										c->kind == KIND_BOUND ? "bound role" :
										"system");
		nulls[0] = nulls[1] = nulls[2] = nulls[3] = false;
		if (c->exp != 0)
		{
			values[4] = TimestampTzGetDatum(time_t_to_timestamptz(c->exp));
			nulls[4] = false;
		}
	}
	values[5] = CStringGetTextDatum(verdict_detail[c->verdict]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* ----- capabilities ---------------------------------------------------- */

/*
 * can tells whether the context's role has a capability.  Our own background
 * work has all of them, in its tenant.
 */
static bool
can(Context *c, const char *capability)
{
	Datum		keys[2];
	Oid			types[2] = {TEXTOID, TEXTOID};

	if (c->kind == KIND_SYSTEM)
		return true;
	keys[0] = CStringGetTextDatum(c->role);
	keys[1] = CStringGetTextDatum(capability);
	return lookup("role_capabilities", 2, keys, types, NULL, NULL);
}

PG_FUNCTION_INFO_V1(tenancy_can);

Datum
tenancy_can(PG_FUNCTION_ARGS)
{
	Context    *c = judge();

	PG_RETURN_BOOL(c->verdict == CTX_OK &&
				   can(c, text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

PG_FUNCTION_INFO_V1(tenancy_require);

/*
 * tenancy_require(capability) returns the tenant when the context's role has
 * the capability, and raises otherwise: the first line of every function that
 * works for a tenant.  The order is the documents': who are you, may you here,
 * then everything else, so that nobody learns what exists by asking.
 * Capabilities that end in ".read" are allowed while the tenant is frozen, and
 * lead.restrain and delivery.report: a frozen tenant still records opt-outs,
 * complaints and what providers report.
 */
Datum
tenancy_require(PG_FUNCTION_ARGS)
{
	Context    *c;
	char	   *capability = text_to_cstring(PG_GETARG_TEXT_PP(0));
	size_t		n = strlen(capability);

	es_require_schema();
	c = judge();
	if (c->verdict != CTX_OK)
		ereport(ERROR,
				(errcode(es_errcode(ES_UNAUTHORIZED)),
				 errmsg("there is no tenant context"),
				 errdetail("%s", verdict_detail[c->verdict]),
				 errhint("In the same transaction: entrestate.login(tenant, user), login_jwt(token), or SET LOCAL entrestate.session to a token.")));
	if (!can(c, capability))
		ereport(ERROR,
				(errcode(es_errcode(ES_FORBIDDEN)),
				 errmsg("the role %s may not do this", c->role),
				 errdetail("The capability %s is needed.", capability),
				 errhint("entrestate.capabilities() lists who may do what.")));
	if (c->frozen && !(n > 5 && strcmp(capability + n - 5, ".read") == 0) &&
		strcmp(capability, "tenant.freeze") != 0 &&
		strcmp(capability, "lead.restrain") != 0 &&
		strcmp(capability, "delivery.report") != 0)
		ereport(ERROR,
				(errcode(es_errcode(ES_TENANT_FROZEN)),
				 errmsg("the tenant is frozen"),
				 errdetail("Nothing is written for a frozen tenant."),
				 errhint("A person with the capability tenant.freeze can end it: entrestate.tenant_unfreeze().")));
	PG_RETURN_UUID_P(&c->tenant);
}

/* ----- ways in --------------------------------------------------------- */

/* enter sets the context of this transaction and raises when it does not hold. */
static void
enter(ContextKind kind, const pg_uuid_t *tenant, const char *actor, int64 exp)
{
	SessionValue v;
	char		buf[MAX_TOKEN];
	Context    *c;

	es_require_schema();
	if (strlen(actor) > MAX_ACTOR)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("the user's id is too long"),
				 errdetail("At most %d bytes.", MAX_ACTOR)));
	memset(&v, 0, sizeof(v));
	v.set = true;
	v.kind = kind;
	v.lxid = my_lxid();
	v.exp = exp;
	v.tenant = *tenant;
	strlcpy(v.actor, actor, sizeof(v.actor));
	if (!inner_write(&v, buf))
		elog(ERROR, "could not sign the tenant context");
	(void) set_config_option("entrestate.session", buf, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	c = judge();
	if (c->verdict != CTX_OK)
		ereport(ERROR,
				(errcode(es_errcode(ES_UNAUTHORIZED)),
				 errmsg("the tenant context does not hold"),
				 errdetail("%s", c->verdict == CTX_BOUND_ELSEWHERE ||
						   c->verdict == CTX_EXPIRED
						   ? verdict_detail[c->verdict]
						   : "The user is not a member of the tenant.")));
}

/* es_context_enter_system enters a tenant for our own background work. */
void
es_context_enter_system(const pg_uuid_t *tenant)
{
	enter(KIND_SYSTEM, tenant, "system", 0);
}

PG_FUNCTION_INFO_V1(tenancy_enter_system);

/* tenancy_enter_system(tenant), for our own definer functions. */
Datum
tenancy_enter_system(PG_FUNCTION_ARGS)
{
	es_context_enter_system(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}

static void
need(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(es_errcode(ES_MISSING_INPUT)),
				 errmsg("%s is missing", name),
				 errhint("Give a value for the argument \"%s\".", name)));
}

PG_FUNCTION_INFO_V1(tenancy_login);

/* tenancy_login(tenant, actor): a gateway vouches for a member. */
Datum
tenancy_login(PG_FUNCTION_ARGS)
{
	need(fcinfo, 0, "tenant");
	need(fcinfo, 1, "actor");
	enter(KIND_LOGIN, PG_GETARG_UUID_P(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), 0);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(tenancy_logout);

/* tenancy_logout ends the context before the transaction does. */
Datum
tenancy_logout(PG_FUNCTION_ARGS)
{
	(void) set_config_option("entrestate.session", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(tenancy_token_mint);

/*
 * tenancy_token_mint(tenant, actor, login_role, ttl) returns a token that the
 * login role's sessions can set.
 */
Datum
tenancy_token_mint(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant;
	char	   *actor;
	char	   *role;
	Interval   *ttl;
	int64		seconds;
	char		tenant_text[37];
	char	   *payload;
	char	   *token;
	const char *key;
	size_t		keylen;
	int			n,
				b;
	uint8		mac[MAC_LEN];
	Datum		keys[2];
	Oid			types[2] = {UUIDOID, TEXTOID};

	need(fcinfo, 0, "tenant");
	need(fcinfo, 1, "actor");
	need(fcinfo, 2, "login_role");
	need(fcinfo, 3, "ttl");
	es_require_schema();
	tenant = PG_GETARG_UUID_P(0);
	actor = text_to_cstring(PG_GETARG_TEXT_PP(1));
	role = NameStr(*PG_GETARG_NAME(2));
	ttl = PG_GETARG_INTERVAL_P(3);
	seconds = ttl->month != 0 || labs(ttl->day) > 1 ? MAX_TTL + 1
		: ttl->time / USECS_PER_SEC + ttl->day * INT64CONST(86400);
	if (seconds < 1 || seconds > MAX_TTL)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("a token lives between one second and one hour"),
				 errhint("Mint a new one instead; the default is five minutes.")));
	if (strlen(actor) > MAX_ACTOR || strchr(role, '\n') != NULL)
		ereport(ERROR,
				(errcode(es_errcode(ES_INVALID_INPUT)),
				 errmsg("the user's id or the role's name is too long or has a line break")));
	(void) get_role_oid(role, false);
	keys[0] = UUIDPGetDatum(tenant);
	keys[1] = CStringGetTextDatum(actor);
	if (!lookup("members", 2, keys, types, NULL, NULL))
		ereport(ERROR,
				(errcode(es_errcode(ES_UNAUTHORIZED)),
				 errmsg("no token can be minted"),
				 errdetail("The user is not a member of the tenant.")));

	es_signing_key_ensure();
	key = es_signing_key(0, &keylen);
	if (key == NULL)
		ereport(ERROR,
				(errcode(es_errcode(ES_CONFIGURATION)),
				 errmsg("the signing key file holds no key"),
				 errhint("Put a line of at least 32 random characters into it.")));
	uuid_to_text(tenant, tenant_text);
	payload = palloc(MAX_TOKEN);
	n = issued_payload(payload, MAX_TOKEN, tenant_text,
					   (int64) timestamptz_to_time_t(GetCurrentTimestamp()) + seconds,
					   role, get_database_name(MyDatabaseId), actor);
	token = palloc0(4 + pg_b64_enc_len(n) + 1 + 2 * MAC_LEN + 1);
	strcpy(token, "es1.");
	b = pg_b64_encode((const void *) payload, n, token + 4, pg_b64_enc_len(n));
	if (b < 0 || !hmac_sha256(key, keylen, token, 4 + b, mac))
		elog(ERROR, "could not sign a token");
	token[4 + b] = '.';
	to_hex(mac, MAC_LEN, token + 4 + b + 1);
	PG_RETURN_TEXT_P(cstring_to_text(token));
}

/* policy fills in what the installation demands of a JWT. */
static void
policy(JwtPolicy *p, bool with_keys)
{
	memset(p, 0, sizeof(*p));
	p->issuer = jwt_issuer;
	p->audience = jwt_audience;
	p->tenant_claim = jwt_tenant_claim;
	p->actor_claim = "sub";
	/* credentials live by the real clock, whatever a simulation does */
	p->now = (int64) timestamptz_to_time_t(GetCurrentTransactionStartTimestamp());
	p->leeway = jwt_leeway;
	if (with_keys && jwt_hs256_key_file != NULL && *jwt_hs256_key_file)
	{
		p->hs_key = (const uint8 *) es_secret_file("entrestate.jwt_hs256_key_file",
												   jwt_hs256_key_file, true,
												   &p->hs_key_len);
		/* an editor's line end is not part of the secret */
		while (p->hs_key_len > 0 &&
			   (p->hs_key[p->hs_key_len - 1] == '\n' ||
				p->hs_key[p->hs_key_len - 1] == '\r'))
			p->hs_key_len--;
	}
	if (with_keys && jwt_rs256_key_file != NULL && *jwt_rs256_key_file)
		p->rs_public_pem = es_secret_file("entrestate.jwt_rs256_key_file",
										  jwt_rs256_key_file, false,
										  &p->rs_public_pem_len);
}

/* enter_claims enters the context that verified claims name. */
static void
enter_claims(ContextKind kind, JwtStatus status, JwtClaims *claims)
{
	pg_uuid_t	tenant;

	if (status != JWT_OK)
		ereport(ERROR,
				(errcode(status == JWT_NO_KEY || status == JWT_BAD_KEY
						 ? es_errcode(ES_CONFIGURATION)
						 : es_errcode(ES_UNAUTHORIZED)),
				 errmsg("the JSON web token does not hold"),
				 errdetail("%s", jwt_status_message(status)),
				 status == JWT_NO_KEY
				 ? errhint("Set entrestate.jwt_hs256_key_file or entrestate.jwt_rs256_key_file.") : 0));
	if (!es_uuid_parse(claims->tenant, strlen(claims->tenant), &tenant))
		ereport(ERROR,
				(errcode(es_errcode(ES_UNAUTHORIZED)),
				 errmsg("the JSON web token does not hold"),
				 errdetail("its tenant claim is not a UUID")));
	if (kind == KIND_REQUEST)
	{
		if (request_lxid == my_lxid() &&
			(memcmp(&request_tenant, &tenant, UUID_LEN) != 0 ||
			 strcmp(request_actor, claims->actor) != 0))
			ereport(ERROR,
					(errcode(es_errcode(ES_UNAUTHORIZED)),
					 errmsg("the request's context was set before in this transaction"),
					 errdetail("Claims are taken once per transaction, from the gateway.")));
		if (strlen(claims->actor) <= MAX_ACTOR)
		{
			request_lxid = my_lxid();
			request_tenant = tenant;
			strlcpy(request_actor, claims->actor, sizeof(request_actor));
		}
	}
	/* the same leeway when it is judged again, at the first use */
	enter(kind, &tenant, claims->actor, claims->exp + jwt_leeway);
}

PG_FUNCTION_INFO_V1(tenancy_login_jwt);

/* tenancy_login_jwt(token): the caller's own JWT, HS256 or RS256. */
Datum
tenancy_login_jwt(PG_FUNCTION_ARGS)
{
	text	   *token;
	JwtPolicy	p;
	JwtClaims	claims;

	need(fcinfo, 0, "token");
	token = PG_GETARG_TEXT_PP(0);
	policy(&p, true);
	enter_claims(KIND_JWT,
				 jwt_verify(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token), &p,
							&claims), &claims);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(tenancy_login_request);

/*
 * tenancy_login_request: PostgREST's pre-request.  The claims in
 * request.jwt.claims are believed because of who is logged in: only the
 * gateway's own login role, a member of entrestate_authenticator, may say what
 * the web token said.  The first call of a transaction decides, so that SQL
 * which a request manages to run cannot choose again.  Without claims, or with
 * claims that name no tenant, no user or no expiry, there is no context: an
 * anonymous request.
 */
Datum
tenancy_login_request(PG_FUNCTION_ARGS)
{
	const char *json = GetConfigOption("request.jwt.claims", true, false);
	JwtPolicy	p;
	JwtClaims	claims;
	JwtStatus	status;

	if (!is_member_of_role(GetSessionUserId(),
						   get_role_oid("entrestate_authenticator", false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("claims are taken from the gateway's login only"),
				 errdetail("The session's login role is not a member of entrestate_authenticator."),
				 errhint("Use login_jwt() with the token itself.")));
	policy(&p, false);
	status = json == NULL || *json == '\0' ? JWT_MISSING_CLAIM
		: jwt_claims_from_json(json, strlen(json), &p, &claims);
	if (status == JWT_MISSING_CLAIM)
	{
		/*
		 * Anonymous ({"role": "anon"} is what PostgREST says then): no context.
		 * It stays so for the transaction.
		 */
		if (request_lxid != my_lxid())
		{
			request_lxid = my_lxid();
			memset(&request_tenant, 0, sizeof(request_tenant));
			request_actor[0] = '\0';
		}
		PG_RETURN_VOID();
	}
	enter_claims(KIND_REQUEST, status, &claims);
	PG_RETURN_VOID();
}
