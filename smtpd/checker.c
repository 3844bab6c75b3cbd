/* Checks a password against the passwd file (auth role). Name and password are a stranger's. What was verified is
 * remembered for a while under a keyed hash, so that a client that reconnects for each message does not cost a
 * yescrypt each; the key is random and never leaves the process. Unknown names are checked against a hash of the
 * default kind that nothing matches, so that time does not tell which names exist. */
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/authd.h"

#define CACHE_SLOTS 1024 /* a power of two */
#define CACHE_MS (3600 * 1000)
#define MAC_LEN 32

struct cache_slot {
	uint8_t mac[MAC_LEN];
	const struct passwd_entry *entry; /* NULL: empty */
	int64_t expires;
};

struct checker {
	struct passwd_file *file;
	struct crypt_data *data;
	uint8_t key[MAC_LEN];
	char dummy[CRYPT_OUTPUT_SIZE];
	struct cache_slot slots[CACHE_SLOTS];
};

struct checker *
checker_new(struct passwd_file *file)
{
	struct checker *c = xcalloc(1, sizeof *c);
	char salt[CRYPT_GENSALT_OUTPUT_SIZE];
	uint8_t noise[16];
	char phrase[2 * sizeof noise + 1];
	const char *hash;
	size_t i;

	c->file = file;
	c->data = xcalloc(1, sizeof *c->data);
	arc4random_buf(c->key, sizeof c->key);
	arc4random_buf(noise, sizeof noise);
	for (i = 0; i < sizeof noise; i++) {
		phrase[2 * i] = "0123456789abcdef"[noise[i] >> 4];
		phrase[2 * i + 1] = "0123456789abcdef"[noise[i] & 15];
	}
	phrase[2 * sizeof noise] = '\0';
	if (crypt_gensalt_rn(NULL, 0, NULL, 0, salt, sizeof salt) == NULL ||
	    (hash = crypt_r(phrase, salt, c->data)) == NULL || hash[0] == '*')
		fatal("crypt(3) cannot make a hash of its default kind");
	memcpy(c->dummy, hash, strlen(hash) + 1);
	explicit_bzero(phrase, sizeof phrase);
	return c;
}

void
checker_free(struct checker **cp)
{
	struct checker *c = *cp;

	if (c == NULL)
		return;
	passwd_free(&c->file);
	explicit_bzero(c->data, sizeof *c->data);
	free(c->data);
	explicit_bzero(c, sizeof *c);
	free(c);
	*cp = NULL;
}

static void
make_mac(const struct checker *c, const char *name, const char *password, uint8_t mac[MAC_LEN])
{
	uint8_t text[2048];
	size_t nlen = strlen(name), plen = strlen(password);
	unsigned len = MAC_LEN;

	if (nlen + plen + 2 > sizeof text)
		panic("credentials longer than their limits");
	memcpy(text, name, nlen + 1);
	memcpy(text + nlen + 1, password, plen + 1);
	if (HMAC(EVP_sha256(), c->key, MAC_LEN, text, nlen + plen + 2, mac, &len) == NULL)
		panic("HMAC-SHA256 failed");
	explicit_bzero(text, sizeof text);
}

static struct cache_slot *
slot_of(struct checker *c, const uint8_t mac[MAC_LEN])
{
	return &c->slots[((unsigned)mac[0] << 8 | mac[1]) & (CACHE_SLOTS - 1)];
}

const struct passwd_entry *
checker_cached(struct checker *c, const char *name, const char *password, int64_t now)
{
	uint8_t mac[MAC_LEN];
	struct cache_slot *s;

	make_mac(c, name, password, mac);
	s = slot_of(c, mac);
	if (s->entry == NULL || now >= s->expires || CRYPTO_memcmp(s->mac, mac, MAC_LEN) != 0)
		return NULL;
	return s->entry;
}

const struct passwd_entry *
checker_verify(struct checker *c, const char *name, const char *password, int64_t now)
{
	const struct passwd_entry *e = passwd_find(c->file, name);
	const char *want = e != NULL ? e->hash : c->dummy;
	struct cache_slot *s;
	uint8_t mac[MAC_LEN];
	const char *got;
	size_t len;
	bool same;

	got = crypt_r(password, want, c->data);
	len = strlen(want);
	same = got != NULL && got[0] != '*' && strlen(got) == len && CRYPTO_memcmp(got, want, len) == 0;
	if (e == NULL || !same)
		return NULL;
	make_mac(c, name, password, mac);
	s = slot_of(c, mac);
	memcpy(s->mac, mac, MAC_LEN);
	s->entry = e;
	s->expires = now + CACHE_MS;
	return e;
}

const struct passwd_entry *
checker_lookup(const struct checker *c, const char *name)
{
	return passwd_find(c->file, name);
}
