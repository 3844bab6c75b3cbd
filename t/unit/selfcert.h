/* For unit tests: a self-signed certificate in two temporary PEM files. */
#ifndef UNIT_SELFCERT_H
#define UNIT_SELFCERT_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct selfcert {
	char dir[32];
	char cert[64], key[64];
};

static inline EVP_PKEY *
selfcert_key(bool rsa)
{
	return rsa ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048) : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

/* passphrase: NULL, or the key file is encrypted with it. */
static inline void
selfcert_make(struct selfcert *c, bool rsa, const char *passphrase)
{
	EVP_PKEY *key = selfcert_key(rsa);
	X509 *x = X509_new();
	FILE *f;

	strcpy(c->dir, "/tmp/selfcert-XXXXXX");
	if (mkdtemp(c->dir) == NULL || key == NULL || x == NULL)
		abort();
	snprintf(c->cert, sizeof(c->cert), "%s/cert.pem", c->dir);
	snprintf(c->key, sizeof(c->key), "%s/key.pem", c->dir);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	    (const unsigned char *)"mx.example", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	if (X509_sign(x, key, EVP_sha256()) == 0)
		abort();
	f = fopen(c->cert, "we");
	PEM_write_X509(f, x);
	fclose(f);
	f = fopen(c->key, "we");
	PEM_write_PrivateKey(f, key, passphrase == NULL ? NULL : EVP_aes_128_cbc(), (const unsigned char *)passphrase,
	    passphrase == NULL ? 0 : (int)strlen(passphrase), NULL, NULL);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static inline void
selfcert_remove(const struct selfcert *c)
{
	unlink(c->cert);
	unlink(c->key);
	rmdir(c->dir);
}

#endif
