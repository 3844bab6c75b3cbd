/* The key role: signs for its worker with the long-term private keys of TLS, which it reads before its jail and which
 * no other process that lives on holds. Whoever breaks into the worker can shake hands in our name while that lasts,
 * and takes no key along.
 *
 * What it signs is bounded in form: a padded DigestInfo, a hash, or a message that PSS encoded. So it never computes
 * the bare RSA operation on numbers of the worker's choice, with which old recordings could be decrypted. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/tls.h"
#include "base/xalloc.h"

#include "smtpd/key_client.h"
#include "smtpd/keyd.h"
#include "smtpd/users.h"

#define WATCHDOG_SECONDS 30
#define KEYS_MAX 8
#define DIGEST_INFO_MAX 83u /* of SHA-512 */

struct key {
	uint8_t id[KEY_ID];
	EVP_PKEY *pkey;
	EVP_PKEY_CTX *ctx[KEY_ED25519 + 1]; /* by enum key_operation, made when first wanted */
};

struct keyd {
	struct loop *loop;
	struct ipc *worker;
	struct role_link *link;
	struct key keys[KEYS_MAX];
	size_t n;
};

/* MGF1 of RFC 8017 B.2.1, laid over `out`. */
static bool
mgf1_xor(uint8_t *out, size_t len, const uint8_t *seed, size_t seed_len, const EVP_MD *md)
{
	uint8_t block[EVP_MAX_MD_SIZE], in[EVP_MAX_MD_SIZE + 4];
	unsigned n = 0;
	uint32_t i;
	size_t at, j;

	memcpy(in, seed, seed_len);
	for (i = 0, at = 0; at < len; i++) {
		in[seed_len] = (uint8_t)(i >> 24);
		in[seed_len + 1] = (uint8_t)(i >> 16);
		in[seed_len + 2] = (uint8_t)(i >> 8);
		in[seed_len + 3] = (uint8_t)i;
		if (EVP_Digest(in, seed_len + 4, block, &n, md, NULL) != 1 || n == 0)
			return false;
		for (j = 0; j < n && at < len; j++)
			out[at++] ^= block[j];
	}
	return true;
}

/* Whether the octets are an encoded message of PSS with that hash, and a salt as long as it (RFC 8017 9.1.2, but for
 * the hash of the message, which nobody told us): DB || H || 0xbc, where DB unmasked is zeros, 1, salt. All these
 * zeros are what no other number has. */
static bool
is_pss_of(const uint8_t *em, size_t len, unsigned bits, const EVP_MD *md)
{
	size_t h = (size_t)EVP_MD_get_size(md), zeros, i;
	uint8_t db[KEY_DATA_MAX];

	if (bits % 8 == 1) { /* the encoded message is one octet shorter than the modulus */
		if (*em != 0)
			return false;
		em++;
		len--;
	}
	if (len < 2 * h + 2 + 32 || em[len - 1] != 0xbc)
		return false;
	memcpy(db, em, len - h - 1);
	if (!mgf1_xor(db, len - h - 1, em + len - h - 1, h, md))
		return false;
	/* Those bits that the modulus does not have are zero in what is masked, whatever the mask said. */
	if ((bits - 1) % 8 != 0) {
		if ((em[0] >> ((bits - 1) % 8)) != 0)
			return false;
		db[0] &= (uint8_t)(0xff >> (8 - (bits - 1) % 8));
	}
	zeros = len - 2 * h - 2;
	for (i = 0; i < zeros; i++)
		if (db[i] != 0)
			return false;
	return db[zeros] == 1;
}

static bool
is_pss(const struct key *k, const struct slice *data)
{
	const uint8_t *em = (const uint8_t *)data->base;
	unsigned bits = (unsigned)EVP_PKEY_get_bits(k->pkey);

	return data->len == (size_t)EVP_PKEY_get_size(k->pkey) && data->len <= KEY_DATA_MAX &&
	    (is_pss_of(em, data->len, bits, EVP_sha256()) || is_pss_of(em, data->len, bits, EVP_sha384()) ||
	    is_pss_of(em, data->len, bits, EVP_sha512()));
}

static EVP_PKEY_CTX *
ctx_of(struct key *k, uint8_t operation)
{
	EVP_PKEY_CTX *ctx = k->ctx[operation];
	int padding = operation == KEY_RSA_PKCS1 ? RSA_PKCS1_PADDING : RSA_NO_PADDING;

	if (ctx != NULL)
		return ctx;
	ctx = EVP_PKEY_CTX_new(k->pkey, NULL);
	if (ctx == NULL || EVP_PKEY_sign_init(ctx) != 1 ||
	    (operation != KEY_ECDSA && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1)) {
		EVP_PKEY_CTX_free(ctx);
		return NULL;
	}
	return k->ctx[operation] = ctx;
}

static size_t
sign_ed25519(struct key *k, const struct slice *data, uint8_t sig[KEY_SIGNATURE_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len = KEY_SIGNATURE_MAX;
	bool ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
	    EVP_DigestSign(ctx, sig, &len, (const uint8_t *)data->base, data->len) == 1;

	EVP_MD_CTX_free(ctx);
	return ok ? len : 0;
}

/* 0: not for this key, or not of the form that it has to be. */
static size_t
sign(struct key *k, const struct key_ask *a, uint8_t sig[KEY_SIGNATURE_MAX])
{
	int kind = EVP_PKEY_get_base_id(k->pkey);
	size_t len = KEY_SIGNATURE_MAX;
	EVP_PKEY_CTX *ctx;
	bool ok = false;

	switch (a->operation) {
	case KEY_RSA_PKCS1:
		ok = kind == EVP_PKEY_RSA && a->data.len <= DIGEST_INFO_MAX;
		break;
	case KEY_RSA_PSS:
		ok = kind == EVP_PKEY_RSA && is_pss(k, &a->data);
		break;
	case KEY_ECDSA:
		ok = kind == EVP_PKEY_EC && a->data.len <= EVP_MAX_MD_SIZE;
		break;
	case KEY_ED25519:
		return kind == EVP_PKEY_ED25519 ? sign_ed25519(k, &a->data, sig) : 0;
	default:
		break;
	}
	if (!ok || (ctx = ctx_of(k, a->operation)) == NULL ||
	    EVP_PKEY_sign(ctx, sig, &len, (const uint8_t *)a->data.base, a->data.len) != 1)
		return 0;
	return len;
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	uint8_t sig[KEY_SIGNATURE_MAX];
	struct keyd *d = arg;
	struct key_ask a;
	struct wbuf w;
	size_t i, len;

	if (key_ask_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	for (i = 0; i < d->n && memcmp(d->keys[i].id, a.id, KEY_ID) != 0; i++)
		;
	len = i < d->n ? sign(&d->keys[i], &a, sig) : 0;
	if (len == 0)
		log_warn(i < d->n ? "the worker wants something signed that is no part of a handshake" :
		    "the worker has a certificate whose key was replaced");
	ERR_clear_error();
	wbuf_init(&w);
	key_answer_encode(sig, len, &w);
	ipc_send(ipc, KEY_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct keyd *d = arg;

	log_info("worker is gone: %s", why);
	if (d->worker == ipc)
		d->worker = NULL;
}

static const struct ipc_rule rules[] = { { KEY_ASK, false, KEY_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

static bool
key_read(struct key *k, const char *file, char **err_r)
{
	if ((k->pkey = tls_private_key(file, err_r)) == NULL)
		return false;
	if (key_id(k->pkey, k->id))
		return true;
	*err_r = xasprintf("the private key %s has no public part", file);
	return false;
}

struct keyd *
keyd_new(struct loop *loop, const struct conf_strs *files, char **err_r)
{
	struct keyd *d = xcalloc(1, sizeof *d);
	size_t i;

	d->loop = loop;
	for (i = 0; i < files->n; i++) {
		if (i < KEYS_MAX && key_read(&d->keys[i], files->v[i], err_r)) {
			d->n++;
			continue;
		}
		if (i == KEYS_MAX)
			*err_r = xasprintf("more than %d private keys", KEYS_MAX);
		keyd_free(&d);
		return NULL;
	}
	return d;
}

void
keyd_set_worker(struct keyd *d, int fd)
{
	if (d->worker != NULL)
		ipc_close(&d->worker);
	d->worker = ipc_new(d->loop, fd, &ops, d);
}

void
keyd_free(struct keyd **dp)
{
	struct keyd *d = *dp;
	size_t i, j;

	if (d == NULL)
		return;
	if (d->worker != NULL)
		ipc_close(&d->worker);
	for (i = 0; i < KEYS_MAX; i++) {
		for (j = 0; j <= KEY_ED25519; j++)
			EVP_PKEY_CTX_free(d->keys[i].ctx[j]);
		EVP_PKEY_free(d->keys[i].pkey);
	}
	free(d);
	*dp = NULL;
}

static void
on_partner(int fd, void *arg)
{
	keyd_set_worker(arg, fd);
}

static void
on_word(enum role_word word, void *arg)
{
	struct keyd *d = arg;

	/* The sessions of a draining worker may start TLS still; the parent stops us when that one is gone. */
	if (word == ROLE_STOP)
		loop_stop(d->loop);
}

int
keyd_main(const struct params *p)
{
	struct loop *loop = loop_new();
	char *err = NULL;
	struct keyd *d = keyd_new(loop, &p->smtpd_tls_key_file, &err);

	if (d == NULL)
		fatal("TLS: %s", err);
	d->link = role_link_new(loop, on_word, NULL, d);
	role_link_on_other(d->link, PLACE_KEY, on_partner);
	sandbox_enter(&(struct sandbox){
		.role = "smtpd/key", .user = SIGN_USER, .mode = (enum sandbox_mode)p->sandbox, .max_fds = 64,
		.max_memory = 1u << 30
	});
	loop_watchdog(loop, WATCHDOG_SECONDS);
	role_link_ready(d->link);
	loop_run(loop);
	role_link_free(&d->link);
	keyd_free(&d);
	loop_free(&loop);
	return 0;
}
