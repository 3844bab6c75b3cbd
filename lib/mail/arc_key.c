/* Verifying one signature of an ARC set (arc.h), with the public key that a name server told: any text. The rules are
 * those of DKIM's keys (RFC 6376 section 3.6.1, RFC 8301, RFC 8463). */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>
#include <strings.h>

#include "mail/arc_private.h"

#define KEY_TEXT_MAX 3000
#define KEY_MAX 2048
#define BITS_MIN 1024
#define BITS_MAX 8192

/* Whether a list "a:b" has the word, or '*'. */
static bool
has_word(char *list, const char *word)
{
	char *p;

	while ((p = strsep(&list, ":")) != NULL)
		if (strcmp(p, "*") == 0 || strcasecmp(p, word) == 0)
			return true;
	return false;
}

/* A tag that limits the use of a key: absent, or it has the word. */
static bool
allows(const char *record, size_t len, const char *tag, const char *word)
{
	struct slice v;
	char text[200];

	if (!arc_tag(record, len, tag, &v))
		return false;
	return v.base == NULL || (arc_tag_text(record, len, tag, text, sizeof(text)) && has_word(text, word));
}

/* Tests are no proof. */
static bool
is_test(const char *record, size_t len)
{
	char text[200];

	return arc_tag_text(record, len, "t", text, sizeof(text)) && has_word(text, "y");
}

/* NULL and the key in p, or why not. */
static const char *
record_read(const char *record, enum dkim_algorithm algorithm, uint8_t *p, size_t size, size_t *len_r)
{
	char text[KEY_TEXT_MAX];
	size_t len = strlen(record);
	struct slice v;

	if (!arc_tag(record, len, "v", &v) || (v.base != NULL &&
	    (!arc_tag_text(record, len, "v", text, sizeof(text)) || strcmp(text, "DKIM1") != 0)))
		return "the key of an ARC signature is none of DKIM";
	if (!allows(record, len, "h", "sha256") || !allows(record, len, "s", "email"))
		return "the key of an ARC signature is for something else";
	if (!arc_tag_text(record, len, "k", text, sizeof(text)))
		memcpy(text, "rsa", sizeof("rsa"));
	if (strcasecmp(text, algorithm == DKIM_RSA ? "rsa" : "ed25519") != 0)
		return "the key of an ARC signature is for another algorithm";
	if (is_test(record, len))
		return "the key of an ARC signature is for tests";
	if (!arc_tag_text(record, len, "p", text, sizeof(text)))
		return "the key of an ARC signature cannot be read";
	if (*text == '\0')
		return "the key of an ARC signature was revoked";
	*len_r = arc_base64(text, p, size);
	return *len_r > 0 ? NULL : "the key of an ARC signature cannot be read";
}

/* SubjectPublicKeyInfo, or an RSAPublicKey of RFC 8017 as RFC 6376 says. */
static EVP_PKEY *
rsa_read(const uint8_t *p, size_t len)
{
	const uint8_t *at = p;
	EVP_PKEY *k = d2i_PUBKEY(NULL, &at, (long)len);

	if (k == NULL) {
		at = p;
		k = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)len);
	}
	if (k != NULL && (at != p + len || EVP_PKEY_get_base_id(k) != EVP_PKEY_RSA)) {
		EVP_PKEY_free(k);
		k = NULL;
	}
	return k;
}

static bool
rsa_verifies(EVP_PKEY *k, const struct arc_signature *s)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
	bool ok = c != NULL && EVP_PKEY_verify_init(c) == 1 &&
	    EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
	    EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 &&
	    EVP_PKEY_verify(c, s->signature, s->len, s->hash, DKIM_HASH) == 1;

	EVP_PKEY_CTX_free(c);
	return ok;
}

static bool
ed25519_verifies(EVP_PKEY *k, const struct arc_signature *s)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool ok = c != NULL && EVP_DigestVerifyInit(c, NULL, NULL, NULL, k) == 1 &&
	    EVP_DigestVerify(c, s->signature, s->len, s->hash, DKIM_HASH) == 1;

	EVP_MD_CTX_free(c);
	return ok;
}

const char *
arc_verify_hash(const struct arc_signature *s, const char *key)
{
	const char *problem;
	uint8_t p[KEY_MAX];
	EVP_PKEY *k;
	size_t len;
	bool ok;

	if ((problem = record_read(key, (enum dkim_algorithm)s->algorithm, p, sizeof(p), &len)) != NULL)
		return problem;
	k = s->algorithm == DKIM_RSA ? rsa_read(p, len) : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, p, len);
	if (k == NULL)
		return "the key of an ARC signature cannot be read";
	if (s->algorithm == DKIM_RSA && (EVP_PKEY_get_bits(k) < BITS_MIN || EVP_PKEY_get_bits(k) > BITS_MAX)) {
		EVP_PKEY_free(k);
		return "the key of an ARC signature is too short, or too long";
	}
	ok = s->algorithm == DKIM_RSA ? rsa_verifies(k, s) : ed25519_verifies(k, s);
	EVP_PKEY_free(k);
	return ok ? NULL : "an ARC signature does not verify";
}
