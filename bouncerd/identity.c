/* The proofs (identity.h), in the main role. The return path is the stronger one: only who got the message has seen it,
 * as with the trace header, but it also says that the bounce came by the way that bounces take. Where both are there
 * and name different messages, somebody has put them together. */
#include <string.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/codec.h"
#include "mail/verp.h"

#include "bouncerd/identity.h"

static enum verp_verdict
check_verp(const char *address, const struct ql_keys *keys, int64_t now, int64_t lifetime, struct envid *env)
{
	char prefix[VERP_PREFIX_MAX + 1];
	const char *plus = memchr(address, '+', address_local_len(address));

	/* Any prefix will do: a configuration of before may have written another one, and the signature decides. */
	if (plus == NULL || plus == address || plus - address > VERP_PREFIX_MAX)
		return VERP_NONE;
	memcpy(prefix, address, (size_t)(plus - address));
	prefix[plus - address] = '\0';
	return verp_check(address, prefix, keys->v, keys->n, now, lifetime, env);
}

static enum trace_verdict
check_trace(const struct dsn_report *report, const struct ql_keys *keys, struct trace *out)
{
	enum trace_verdict verdict = TRACE_NONE;
	unsigned i;

	for (i = 0; i < report->n_wanted && verdict != TRACE_VALID; i++)
		if (report->wanted[i].value != NULL)
			verdict = trace_read(report->wanted[i].value, keys->v, keys->n, out);
	return verdict;
}

/* Takes over what the trace says. */
static void
take_trace(struct identity *id, struct trace *t)
{
	id->recipient = t->recipient;
	id->tenant = t->tenant;
	id->campaign = t->campaign;
	id->meta = t->meta;
	id->n_meta = t->n_meta;
	memset(t, 0, sizeof(*t));
}

static void
by_trace(struct identity *id, struct trace *t, int64_t now, int64_t lifetime)
{
	id->proof = "trace";
	id->env = t->env;
	id->why = now - msgid_time(&t->env.msg) > lifetime ? "it is about a message from too long ago" : NULL;
	take_trace(id, t);
}

void
identity_find(struct identity *id, const char *address, const struct dsn_report *report, const struct ql_keys *keys,
    int64_t now, int64_t lifetime)
{
	struct trace t;
	enum verp_verdict verp;
	enum trace_verdict trace;

	memset(id, 0, sizeof(*id));
	memset(&t, 0, sizeof(t));
	verp = check_verp(address, keys, now, lifetime, &id->env);
	trace = check_trace(report, keys, &t);
	if (verp == VERP_VALID || verp == VERP_EXPIRED) {
		id->proof = "verp";
		if (verp == VERP_EXPIRED)
			id->why = "its return path has expired";
		if (trace == TRACE_VALID && msgid_cmp(&t.env.msg, &id->env.msg) == 0 &&
		    (t.env.rcpt == id->env.rcpt || t.env.rcpt == TOKEN_MANY))
			take_trace(id, &t);
		else if (trace == TRACE_VALID)
			id->why = "it returns another message than its return path is of";
	} else if (trace == TRACE_VALID) {
		by_trace(id, &t, now, lifetime);
	} else {
		id->why = verp == VERP_FORGED ? "its return path is not signed by us" :
		    trace == TRACE_FORGED ? "the trace header in it is not signed by us" :
		    "nothing in it proves that it is about mail of ours";
	}
	if (trace == TRACE_VALID)
		trace_clear(&t);
}

bool
identity_is_good(const struct identity *id)
{
	return id->proof != NULL && id->why == NULL;
}

void
identity_clear(struct identity *id)
{
	free(id->recipient);
	free(id->tenant);
	free(id->campaign);
	free(id->sender);
	codec_free_meta(id->meta, id->n_meta);
	memset(id, 0, sizeof(*id));
}
