/* Credentials of a path (credentials.h), in deliverd's net process and where a configuration is checked. What is read
 * is the administrator's; errors name files and never hold what is in them. RFC 4616 (PLAIN), RFC 4954 (AUTH). */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/credentials.h"
#include "mail/keysource.h"

#define PLAIN_MAX 255 /* of user and password each, RFC 4616 */
#define CHAIN_MAX 10

void
credentials_clear(struct credentials *c)
{
	keysource_free(&c->plain);
	X509_free(c->cert);
	EVP_PKEY_free(c->key);
	sk_X509_pop_free(c->chain, X509_free);
	memset(c, 0, sizeof(*c));
}

/* NUL user NUL password, in base64. */
static char *
plain_text(const char *user, const char *password, size_t password_len)
{
	unsigned char raw[2 * PLAIN_MAX + 2], *out;
	size_t n = strlen(user);

	raw[0] = raw[n + 1] = '\0';
	memcpy(raw + 1, user, n);
	memcpy(raw + n + 2, password, password_len);
	n += 2 + password_len;
	out = xmalloc(4 * ((n + 2) / 3) + 1);
	(void)EVP_EncodeBlock(out, raw, (int)n);
	explicit_bzero(raw, sizeof(raw));
	return (char *)out;
}

static char *
auth_load(struct credentials *c, const struct policy_path_config *p, const char *dir)
{
	const char *user = p->smtp_auth_plain_username;
	char *password, *err = NULL;
	size_t len = 0;

	if (user == NULL && p->smtp_auth_plain_password == NULL)
		return NULL;
	if (user == NULL || p->smtp_auth_plain_password == NULL)
		return xstrdup("smtp_auth_plain_username and smtp_auth_plain_password go together");
	if (*user == '\0' || strlen(user) > PLAIN_MAX)
		return xasprintf("smtp_auth_plain_username has more than %d octets, or none", PLAIN_MAX);
	if ((password = keysource_text(p->smtp_auth_plain_password, dir, 1, &len, &err)) == NULL) {
		char *text = xasprintf("smtp_auth_plain_password: %s", err);

		free(err);
		return text;
	}
	/* Files end with a newline. */
	while (len > 0 && (password[len - 1] == '\n' || password[len - 1] == '\r'))
		len--;
	if (len == 0 || len > PLAIN_MAX || memchr(password, '\0', len) != NULL)
		err = xasprintf("smtp_auth_plain_password has more than %d octets, none, or a NUL", PLAIN_MAX);
	else
		c->plain = plain_text(user, password, len);
	keysource_free(&password);
	c->may_be_clear = p->allow_smtp_auth_plain_without_tls == 1;
	c->may_be_anybody = p->allow_smtp_auth_plain_without_valid_certificate == 1;
	return err;
}

/* There is no terminal to ask for a pass phrase at. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

/* The certificate, and those between it and a root that the server knows. */
static bool
parse_chain(struct credentials *c, const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	X509 *x;

	if (bio == NULL || (c->chain = sk_X509_new_null()) == NULL) {
		BIO_free(bio);
		return false;
	}
	c->cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	while (c->cert != NULL && sk_X509_num(c->chain) < CHAIN_MAX &&
	    (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL)
		if (sk_X509_push(c->chain, x) <= 0)
			X509_free(x);
	BIO_free(bio);
	ERR_clear_error();
	return c->cert != NULL;
}

static bool
parse_key(struct credentials *c, const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);

	c->key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
	return c->key != NULL;
}

/* FNV-1a over the certificate's digest. */
static uint64_t
tag_of(const X509 *cert)
{
	uint64_t tag = UINT64_C(0xcbf29ce484222325);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0, i;

	(void)X509_digest(cert, EVP_sha256(), md, &n);
	for (i = 0; i < n; i++)
		tag = (tag ^ md[i]) * UINT64_C(0x100000001b3);
	return tag | 1;
}

static char *
cert_load(struct credentials *c, const struct policy_path_config *p, const char *dir)
{
	char *text, *err = NULL, *why;
	size_t len = 0;

	if (p->tls_certificate == NULL && p->tls_private_key == NULL)
		return NULL;
	if (p->tls_certificate == NULL || p->tls_private_key == NULL)
		return xstrdup("tls_certificate and tls_private_key go together");
	if ((text = keysource_text(p->tls_certificate, dir, 0, &len, &err)) == NULL) {
		why = xasprintf("tls_certificate: %s", err);
		free(err);
		return why;
	}
	if (!parse_chain(c, text, len))
		err = xasprintf("tls_certificate: %s has no certificate in PEM", keysource_shown(p->tls_certificate));
	keysource_free(&text);
	if (err != NULL)
		return err;
	if ((text = keysource_text(p->tls_private_key, dir, 1, &len, &err)) == NULL) {
		why = xasprintf("tls_private_key: %s", err);
		free(err);
		return why;
	}
	if (!parse_key(c, text, len))
		err = xasprintf("tls_private_key: %s has no private key in PEM without a password",
		    keysource_shown(p->tls_private_key));
	else if (X509_check_private_key(c->cert, c->key) != 1)
		err = xasprintf("the tls_private_key %s does not belong to the tls_certificate %s",
		    keysource_shown(p->tls_private_key), keysource_shown(p->tls_certificate));
	ERR_clear_error();
	keysource_free(&text);
	c->tag = tag_of(c->cert);
	return err;
}

char *
credentials_load(struct credentials *c, const struct policy_path_config *p, const char *dir)
{
	char *err;

	memset(c, 0, sizeof(*c));
	if ((err = auth_load(c, p, dir)) == NULL)
		err = cert_load(c, p, dir);
	if (err != NULL)
		credentials_clear(c);
	return err;
}

int
credentials_show(const struct credentials *c, SSL *ssl)
{
	if (c->cert == NULL)
		return 0;
	/* Without a chain OpenSSL would look for one among the roots that servers are verified with. */
	(void)SSL_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
	return SSL_use_cert_and_key(ssl, c->cert, c->key, c->chain, 1) == 1 ? 0 : -1;
}
