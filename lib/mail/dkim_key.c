/* One private key of DKIM (dkim_key.h): the sign role, and the admin command. The contexts of OpenSSL are made once a
 * key: what takes time in libopendkim is to parse the key for each message. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dkim_key.h"

#define FILE_MAX (64 << 10)
#define RSA_BITS_MIN 1024 /* RFC 8301 */
#define RSA_BITS_MAX (DKIM_SIGNATURE_MAX * 8)

struct dkim_key {
	EVP_PKEY *pkey;
	EVP_PKEY_CTX *rsa;    /* set up for signing; NULL: Ed25519, whose contexts are good for once */
	EVP_MD_CTX *ed25519;
	enum dkim_algorithm algorithm;
};

void
dkim_key_free(struct dkim_key **kp)
{
	struct dkim_key *k = *kp;

	if (k == NULL)
		return;
	*kp = NULL;
	EVP_PKEY_CTX_free(k->rsa);
	EVP_MD_CTX_free(k->ed25519);
	EVP_PKEY_free(k->pkey);
	free(k);
}

/* Takes the key over. NULL: what it is of cannot be used. */
static struct dkim_key *
key_new(EVP_PKEY *pkey, const char **why_r)
{
	struct dkim_key *k = xcalloc(1, sizeof(*k));

	k->pkey = pkey;
	*why_r = "holds a key that is neither RSA nor Ed25519";
	if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_ED25519) {
		k->algorithm = DKIM_ED25519;
		if ((k->ed25519 = EVP_MD_CTX_new()) != NULL)
			return k;
	} else if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA) {
		k->algorithm = DKIM_RSA;
		k->rsa = EVP_PKEY_CTX_new(pkey, NULL);
		*why_r = "holds an RSA key of fewer than 1024 or more than 4096 bits";
		if (k->rsa != NULL && EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN &&
		    EVP_PKEY_get_bits(pkey) <= RSA_BITS_MAX && EVP_PKEY_sign_init(k->rsa) == 1 &&
		    EVP_PKEY_CTX_set_rsa_padding(k->rsa, RSA_PKCS1_PADDING) == 1 &&
		    EVP_PKEY_CTX_set_signature_md(k->rsa, EVP_sha256()) == 1)
			return k;
	}
	dkim_key_free(&k);
	return NULL;
}

/* A key with a password would ask for it at a terminal. */
static int
no_password(char *buf, int size, int is_writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)is_writing;
	(void)arg;
	return -1;
}

/* Why a file that is open may not hold a key, or NULL. */
static const char *
file_judge(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a file";
	if ((st->st_mode & (S_IRWXO | S_IWGRP)) != 0)
		return "may be read by everybody, or changed by others than its owner (chmod 600)";
	if (st->st_uid != 0 && st->st_uid != geteuid() && geteuid() != 0)
		return "belongs to somebody else than root and the user that signs";
	if (st->st_size == 0 || st->st_size > FILE_MAX)
		return "does not have the size of a key";
	return NULL;
}

static struct dkim_key *
key_parse(const char *text, size_t len, const char **why_r)
{
	BIO *bio = BIO_new_mem_buf(text, (int)len);
	EVP_PKEY *pkey = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	*why_r = "holds no private key in PEM without a password";
	return pkey != NULL ? key_new(pkey, why_r) : NULL;
}

struct dkim_key *
dkim_key_load(const char *path, char *err, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct dkim_key *k = NULL;
	const char *why = NULL;
	struct stat st;
	ssize_t got;
	char *text;

	if (fd == -1 || fstat(fd, &st) == -1) {
		snprintf(err, size, "the DKIM key %s cannot be read: %s", path, strerror(errno));
	} else if ((why = file_judge(&st)) == NULL) {
		text = xmalloc((size_t)st.st_size);
		got = read(fd, text, (size_t)st.st_size);
		k = key_parse(text, got > 0 ? (size_t)got : 0, &why);
		explicit_bzero(text, (size_t)st.st_size);
		free(text);
	}
	if (k == NULL && why != NULL)
		snprintf(err, size, "the DKIM key %s %s", path, why);
	if (fd != -1)
		close(fd);
	return k;
}

struct dkim_key *
dkim_key_generate(enum dkim_algorithm algorithm, unsigned bits)
{
	EVP_PKEY *pkey = algorithm == DKIM_ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") :
	    EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
	const char *why;

	return pkey != NULL ? key_new(pkey, &why) : NULL;
}

enum dkim_algorithm
dkim_key_algorithm(const struct dkim_key *k)
{
	return k->algorithm;
}

unsigned
dkim_key_bits(const struct dkim_key *k)
{
	return (unsigned)EVP_PKEY_get_bits(k->pkey);
}

size_t
dkim_key_sign(struct dkim_key *k, const uint8_t hash[DKIM_HASH], uint8_t sig[DKIM_SIGNATURE_MAX])
{
	size_t len = DKIM_SIGNATURE_MAX;

	if (k->algorithm == DKIM_RSA)
		return EVP_PKEY_sign(k->rsa, sig, &len, hash, DKIM_HASH) == 1 ? len : 0;
	EVP_MD_CTX_reset(k->ed25519);
	if (EVP_DigestSignInit(k->ed25519, NULL, NULL, NULL, k->pkey) != 1 ||
	    EVP_DigestSign(k->ed25519, sig, &len, hash, DKIM_HASH) != 1)
		return 0;
	return len;
}

void
dkim_key_public(const struct dkim_key *k, struct wbuf *out)
{
	size_t len = 0;
	uint8_t *p;
	int n;

	if (k->algorithm == DKIM_ED25519) {
		EVP_PKEY_get_raw_public_key(k->pkey, NULL, &len);
		wbuf_reserve(out, len);
		EVP_PKEY_get_raw_public_key(k->pkey, out->p + out->len, &len);
		out->len += len;
		return;
	}
	if ((n = i2d_PUBKEY(k->pkey, NULL)) <= 0)
		fatal("OpenSSL cannot encode a public key");
	wbuf_reserve(out, (size_t)n);
	p = out->p + out->len;
	i2d_PUBKEY(k->pkey, &p);
	out->len += (size_t)n;
}

int
dkim_key_write(const struct dkim_key *k, FILE *f)
{
	return PEM_write_PKCS8PrivateKey(f, k->pkey, NULL, NULL, 0, NULL, NULL) == 1 && fflush(f) == 0 ? 0 : -1;
}
