/* Private keys without a private part (key_client.h): OpenSSL's worker side of a handshake asks them for a signature,
 * and they ask the key role. The public part is the certificate's. In the worker; no input but OpenSSL's.
 *
 * For RSA and EC this is what the interface of methods is for, which OpenSSL 3 calls deprecated and has nothing
 * simpler for: a key with a method that is not the library's own is never handed to a provider. Ed25519 has no such
 * method, but the operation on all keys of the kind can be replaced; this process has no others. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "smtpd/key_client.h"

/* What is to be asked of whom; hangs on the RSA or EC key. */
struct proxied {
	struct key_client *client;
	uint8_t id[KEY_ID];
};

/* One for the process: OpenSSL wants methods and indices to be. */
static struct {
	RSA_METHOD *rsa;
	EC_KEY_METHOD *ec;
	int rsa_index, ec_index;
	struct key_client *client; /* of Ed25519, whose operation has nothing to hang it on */
} methods;

bool
key_id(EVP_PKEY *key, uint8_t id[KEY_ID])
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	bool ok = n > 0 && SHA256(der, (size_t)n, id) != NULL;

	OPENSSL_free(der);
	return ok;
}

static void
on_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent;
	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	free(ptr);
}

/* OpenSSL's RSA_private_encrypt: PKCS #1 padding is the role's work, PSS has been done and is checked there. */
static int
rsa_sign(int len, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	const struct proxied *p = RSA_get_ex_data(rsa, methods.rsa_index);
	uint8_t sig[KEY_SIGNATURE_MAX];
	size_t n;

	if (p == NULL || len <= 0 || (padding != RSA_PKCS1_PADDING && padding != RSA_NO_PADDING))
		return -1;
	n = key_client_sign(p->client, p->id, padding == RSA_PKCS1_PADDING ? KEY_RSA_PKCS1 : KEY_RSA_PSS, from,
	    (size_t)len, sig);
	if (n == 0 || n != (size_t)RSA_size(rsa))
		return -1;
	memcpy(to, sig, n);
	return (int)n;
}

/* There is no cipher that would need it. */
static int
rsa_decrypt(int len, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	(void)len;
	(void)from;
	(void)to;
	(void)rsa;
	(void)padding;
	return -1;
}

static int
ec_sign(int type, const unsigned char *hash, int len, unsigned char *out, unsigned *outlen, const BIGNUM *kinv,
    const BIGNUM *r, EC_KEY *ec)
{
	const struct proxied *p = EC_KEY_get_ex_data(ec, methods.ec_index);
	uint8_t sig[KEY_SIGNATURE_MAX];
	size_t n;

	(void)type;
	(void)kinv;
	(void)r;
	if (p == NULL || len <= 0)
		return 0;
	n = key_client_sign(p->client, p->id, KEY_ECDSA, hash, (size_t)len, sig);
	if (n == 0 || n > (size_t)ECDSA_size(ec))
		return 0;
	memcpy(out, sig, n);
	*outlen = (unsigned)n;
	return 1;
}

static int
ed25519_sign(EVP_MD_CTX *ctx, unsigned char *out, size_t *outlen, const unsigned char *message, size_t len)
{
	uint8_t sig[KEY_SIGNATURE_MAX], id[KEY_ID];
	size_t n;

	if (out == NULL) {
		*outlen = 64;
		return 1;
	}
	if (methods.client == NULL || *outlen < 64 || !key_id(EVP_PKEY_CTX_get0_pkey(EVP_MD_CTX_get_pkey_ctx(ctx)), id))
		return 0;
	n = key_client_sign(methods.client, id, KEY_ED25519, message, len, sig);
	if (n != 64)
		return 0;
	memcpy(out, sig, n);
	*outlen = n;
	return 1;
}

static struct proxied *
proxied_new(struct key_client *client, const uint8_t id[KEY_ID])
{
	struct proxied *p = malloc(sizeof(*p));

	if (p == NULL)
		fatal("out of memory");
	p->client = client;
	memcpy(p->id, id, KEY_ID);
	return p;
}

static EVP_PKEY *
rsa_proxy(EVP_PKEY *pub, struct key_client *client, const uint8_t id[KEY_ID])
{
	RSA *rsa = EVP_PKEY_get1_RSA(pub), *own = NULL;
	EVP_PKEY *key = EVP_PKEY_new();

	if (methods.rsa == NULL && (methods.rsa = RSA_meth_dup(RSA_PKCS1_OpenSSL())) != NULL) {
		methods.rsa_index = RSA_get_ex_new_index(0, NULL, NULL, NULL, on_free);
		RSA_meth_set1_name(methods.rsa, "posthorn key role");
		RSA_meth_set_priv_enc(methods.rsa, rsa_sign);
		RSA_meth_set_priv_dec(methods.rsa, rsa_decrypt);
	}
	/* The certificate's own is shared with whoever looks at that. */
	if (rsa != NULL && key != NULL && methods.rsa != NULL && (own = RSAPublicKey_dup(rsa)) != NULL &&
	    RSA_set_method(own, methods.rsa) == 1 && EVP_PKEY_assign_RSA(key, own) == 1) {
		RSA_set_ex_data(own, methods.rsa_index, proxied_new(client, id));
		RSA_free(rsa);
		return key;
	}
	RSA_free(own);
	RSA_free(rsa);
	EVP_PKEY_free(key);
	return NULL;
}

static EVP_PKEY *
ec_proxy(EVP_PKEY *pub, struct key_client *client, const uint8_t id[KEY_ID])
{
	EC_KEY *ec = EVP_PKEY_get1_EC_KEY(pub), *own = NULL;
	EVP_PKEY *key = EVP_PKEY_new();

	if (methods.ec == NULL && (methods.ec = EC_KEY_METHOD_new(EC_KEY_OpenSSL())) != NULL) {
		methods.ec_index = EC_KEY_get_ex_new_index(0, NULL, NULL, NULL, on_free);
		EC_KEY_METHOD_set_sign(methods.ec, ec_sign, NULL, NULL);
	}
	if (ec != NULL && key != NULL && methods.ec != NULL && (own = EC_KEY_dup(ec)) != NULL &&
	    EC_KEY_set_method(own, methods.ec) == 1 && EVP_PKEY_assign_EC_KEY(key, own) == 1) {
		EC_KEY_set_ex_data(own, methods.ec_index, proxied_new(client, id));
		EC_KEY_free(ec);
		return key;
	}
	EC_KEY_free(own);
	EC_KEY_free(ec);
	EVP_PKEY_free(key);
	return NULL;
}

static EVP_PKEY *
ed25519_proxy(EVP_PKEY *pub, struct key_client *client)
{
	const EVP_PKEY_METHOD *usual = EVP_PKEY_meth_find(EVP_PKEY_ED25519);
	EVP_PKEY_METHOD *m;

	if (methods.client == NULL) {
		m = EVP_PKEY_meth_new(EVP_PKEY_ED25519, EVP_PKEY_FLAG_SIGCTX_CUSTOM);
		if (m == NULL || usual == NULL)
			return NULL;
		EVP_PKEY_meth_copy(m, usual);
		EVP_PKEY_meth_set_digestsign(m, ed25519_sign);
		if (EVP_PKEY_meth_add0(m) != 1)
			return NULL;
	}
	methods.client = client;
	return EVP_PKEY_up_ref(pub) == 1 ? pub : NULL;
}

EVP_PKEY *
key_proxy(X509 *cert, void *client)
{
	EVP_PKEY *pub = X509_get0_pubkey(cert), *key = NULL;
	uint8_t id[KEY_ID];

	if (pub == NULL || !key_id(pub, id))
		return NULL;
	switch (EVP_PKEY_get_base_id(pub)) {
	case EVP_PKEY_RSA:
		key = rsa_proxy(pub, client, id);
		break;
	case EVP_PKEY_EC:
		key = ec_proxy(pub, client, id);
		break;
	case EVP_PKEY_ED25519:
		key = ed25519_proxy(pub, client);
		break;
	default:
		break;
	}
	return key;
}
