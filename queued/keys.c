/* Secrets: the token keys sign what strangers send back to us. They are random, never leave the index and
 * its copy (identity.h) but to our own daemons, and are wiped from memory when done with. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/token.h"

#include "queued/identity.h"
#include "queued/keys.h"
#include "queued/link.h"
#include "queued/queued.h"
#include "queued/store.h"

#define ROTATE_MS (30LL * 24 * 3600 * 1000)
#define CURRENT_LEN 9 /* key id, time of making */

struct keys {
	struct queued *q;
	char nodeid[37];
	struct ql_token_key token;
	int64_t made;
};

static void
key_name(uint8_t id, char out[16])
{
	memcpy(out, "token-000", 10);
	out[6] = (char)('0' + id / 100);
	out[7] = (char)('0' + id / 10 % 10);
	out[8] = (char)('0' + id % 10);
}

/* Stores the token that is current now, and the nodeid. 0 or an LMDB code. */
static int
keys_store(struct keys *k)
{
	struct store *st = k->q->store;
	uint64_t made = htobe64((uint64_t)k->made);
	uint8_t current[CURRENT_LEN];
	char name[16];
	int rc;

	current[0] = k->token.id;
	memcpy(current + 1, &made, 8);
	key_name(k->token.id, name);
	if ((rc = store_begin(st)) != 0)
		return rc;
	if ((rc = store_put(st, DB_META, "nodeid", 6, k->nodeid, 36)) != 0 ||
	    (rc = store_put(st, DB_META, name, 9, k->token.key, TOKEN_KEY_LEN)) != 0 ||
	    (rc = store_put(st, DB_META, "token", 5, current, sizeof(current))) != 0) {
		store_abort(st);
		return rc;
	}
	return store_commit(st);
}

static bool
keys_load(struct keys *k)
{
	struct store *st = k->q->store;
	const uint8_t *p;
	uint64_t made;
	char name[16];
	bool ok = false;
	MDB_val v;

	store_read_begin(st);
	if (!store_get(st, DB_META, "nodeid", 6, &v) || v.mv_size != 36)
		goto out;
	memcpy(k->nodeid, v.mv_data, 36);
	/* A damaged one: nobody would take our WELCOME, and all mail would wait until somebody finds out why. */
	if (strspn(k->nodeid, "0123456789abcdef-") != 36) {
		log_warn("the node's identity in the index is damaged: a new one is made");
		k->nodeid[0] = '\0';
		goto out;
	}
	if (!store_get(st, DB_META, "token", 5, &v) || v.mv_size != CURRENT_LEN)
		goto out;
	p = v.mv_data;
	k->token.id = p[0];
	memcpy(&made, p + 1, 8);
	k->made = (int64_t)be64toh(made);
	key_name(k->token.id, name);
	if (!store_get(st, DB_META, name, 9, &v) || v.mv_size != TOKEN_KEY_LEN)
		goto out;
	memcpy(k->token.key, v.mv_data, TOKEN_KEY_LEN);
	ok = true;
out:
	store_read_end(st);
	return ok;
}

struct keys *
keys_new(struct queued *q, char **err_r)
{
	struct keys *k = xcalloc(1, sizeof(*k));
	int rc;

	k->q = q;
	if (keys_load(k) || (identity_restore(q) && keys_load(k))) {
		if (!identity_exists(q))
			identity_save(q);
		return k;
	}
	if (k->nodeid[0] == '\0')
		uuid_new(k->nodeid);
	k->token.id = 1;
	k->made = wall_ms();
	arc4random_buf(k->token.key, TOKEN_KEY_LEN);
	if ((rc = keys_store(k)) != 0) {
		*err_r = xasprintf("storing the node's identity: %s", mdb_strerror(rc));
		keys_free(&k);
		return NULL;
	}
	identity_save(q);
	return k;
}

void
keys_free(struct keys **kp)
{
	if (*kp == NULL)
		return;
	explicit_bzero(*kp, sizeof(**kp));
	free(*kp);
	*kp = NULL;
}

int
keys_token_check(const struct keys *k, const char *text, struct envid *env)
{
	struct ql_token_key key;
	char name[16];
	int rv = -1;
	unsigned id;
	MDB_val v;

	store_read_begin(k->q->store);
	for (id = 0; rv == -1 && id <= UINT8_MAX; id++) {
		key_name((uint8_t)id, name);
		if (!store_get(k->q->store, DB_META, name, 9, &v) || v.mv_size != TOKEN_KEY_LEN)
			continue;
		key.id = (uint8_t)id;
		memcpy(key.key, v.mv_data, TOKEN_KEY_LEN);
		rv = token_check(text, &key, 1, env);
	}
	store_read_end(k->q->store);
	explicit_bzero(&key, sizeof(key));
	return rv;
}

const char *
keys_nodeid(const struct keys *k)
{
	return k->nodeid;
}

void
keys_welcome(const struct keys *k, struct ql_welcome *w)
{
	memcpy(w->nodeid, k->nodeid, sizeof(w->nodeid));
	w->token = k->token;
}

void
keys_all(const struct keys *k, bool is_checking, struct ql_keys *out)
{
	struct store *st = k->q->store;
	struct ql_token_key *old;
	char name[16];
	MDB_val v;

	memset(out, 0, sizeof(*out));
	out->v[0] = k->token;
	out->n = 1;
	if (!is_checking)
		return;
	store_read_begin(st);
	for (; out->n < QL_KEYS_MAX; out->n++) {
		old = &out->v[out->n];
		old->id = (uint8_t)(out->v[out->n - 1].id - 1);
		key_name(old->id, name);
		if (!store_get(st, DB_META, name, 9, &v) || v.mv_size != TOKEN_KEY_LEN)
			break;
		memcpy(old->key, v.mv_data, TOKEN_KEY_LEN);
	}
	store_read_end(st);
}

void
keys_second(struct keys *k)
{
	struct ql_token_key old = k->token;
	int64_t now = loop_wall(k->q->loop), made = k->made;

	if (now - k->made < ROTATE_MS)
		return;
	k->token.id++;
	k->made = now;
	arc4random_buf(k->token.key, TOKEN_KEY_LEN);
	if (keys_store(k) != 0) {
		/* Tried again when there is room. */
		k->token = old;
		k->made = made;
	} else {
		identity_save(k->q);
		clients_send_keys(k->q->clients);
		log_info("a new token key is in use id=%u", k->token.id);
	}
	explicit_bzero(&old, sizeof(old));
}
