/* OpenSSL contexts (base/tls.h). Server side: smtpd's workers, whose clients may be anybody; only what RFC 8996 and
 * 9325 still allow. Client side: deliverd, where encryption is opportunistic (RFC 7435): old and unverified beats none,
 * so the bar is as low as OpenSSL goes, and nothing is claimed about who is at the other end. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tls.h"
#include "base/xalloc.h"

#define TLS_CERTS_MAX 8
#define KEY_FILE_MAX (32 << 10)

static const char alpn_smtp[] = "\x04smtp";

/* The sentence that names the file, with OpenSSL's own words. */
static char *
tls_error(const char *what, const char *file)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	char *text;

	if (reason == NULL)
		reason = "unknown error";
	text = file == NULL ? xasprintf("%s: %s", what, reason) : xasprintf("%s %s: %s", what, file, reason);
	ERR_clear_error();
	return text;
}

/* A pass phrase cannot be asked for: there is no terminal. */
static int
no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

/* Who offers protocols and not ours talks to the wrong server (ALPACA); who offers none is a mail client like most. */
static int
alpn_select(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen,
    void *arg)
{
	(void)ssl;
	(void)arg;
	for (unsigned i = 0; i < inlen && in[i] < inlen - i; i += 1 + in[i])
		if (in[i] == sizeof(alpn_smtp) - 2 && memcmp(in + i, alpn_smtp, sizeof(alpn_smtp) - 1) == 0) {
			*out = in + i + 1;
			*outlen = in[i];
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Read at once and wiped: stdio, and OpenSSL's way through it, leave copies of the file behind. */
EVP_PKEY *
tls_private_key(const char *file, char **err_r)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[KEY_FILE_MAX];
	ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof(text));
	EVP_PKEY *key = NULL;
	BIO *bio;

	*err_r = NULL;
	ERR_clear_error();
	if (n == -1)
		*err_r = xasprintf("cannot use the private key %s: %s", file, strerror(errno));
	else if ((bio = BIO_new_mem_buf(text, (int)n)) != NULL) {
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
		BIO_free(bio);
	}
	explicit_bzero(text, sizeof(text));
	if (fd != -1)
		close(fd);
	if (key == NULL && *err_r == NULL)
		*err_r = tls_error("cannot use the private key", file);
	return key;
}

/* Where the keys of certificates come from: files, or somebody who knows. */
struct keys {
	const char *const *files;
	tls_key_fn *key_of;
	void *arg;
};

static int
use_key_of(SSL_CTX *ctx, const char *cert_file, const struct keys *keys, char **err_r)
{
	EVP_PKEY *key = keys->key_of(SSL_CTX_get0_certificate(ctx), keys->arg);
	int ok = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	if (!ok)
		*err_r = tls_error("there is no private key for the certificate", cert_file);
	EVP_PKEY_free(key);
	return ok ? 0 : -1;
}

static int
server_cert(SSL_CTX *ctx, const char *cert_file, const struct keys *keys, size_t i, char **err_r)
{
	const char *key_file = keys->files != NULL ? keys->files[i] : NULL;
	bool is_loaded;
	EVP_PKEY *key;

	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
		*err_r = tls_error("cannot use the certificate", cert_file);
		return -1;
	}
	if (key_file == NULL)
		return use_key_of(ctx, cert_file, keys, err_r);
	/* OpenSSL compares it with a certificate of the same kind when it is loaded, and says if there is none in the
	 * check. */
	if ((key = tls_private_key(key_file, err_r)) == NULL)
		return -1;
	is_loaded = SSL_CTX_use_PrivateKey(ctx, key) == 1;
	EVP_PKEY_free(key);
	if (!is_loaded && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH) {
		*err_r = tls_error("cannot use the private key", key_file);
		return -1;
	}
	if (SSL_CTX_check_private_key(ctx) != 1) {
		ERR_clear_error();
		*err_r = xasprintf("the private key %s does not belong to the certificate %s", key_file, cert_file);
		return -1;
	}
	return 0;
}

static const char *
kind_name(int kind)
{
	return kind == EVP_PKEY_RSA ? "an RSA" : kind == EVP_PKEY_EC ? "an ECDSA" :
	    kind == EVP_PKEY_ED25519 ? "an Ed25519" : "the same kind of";
}

/* OpenSSL keeps one certificate of each kind: a second one would take the first one's place without a word. */
static int
server_certs(SSL_CTX *ctx, const char *const *cert_files, const struct keys *keys, size_t n, char **err_r)
{
	int kinds[TLS_CERTS_MAX];
	size_t i, j;

	for (i = 0; i < n; i++) {
		if (server_cert(ctx, cert_files[i], keys, i, err_r) == -1)
			return -1;
		kinds[i] = EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(ctx)));
		for (j = 0; j < i && kinds[j] != kinds[i]; j++)
			;
		if (j < i) {
			*err_r = xasprintf("the certificates %s and %s both have %s key; one of each kind is used",
			    cert_files[j], cert_files[i], kind_name(kinds[i]));
			return -1;
		}
	}
	return 0;
}

static SSL_CTX *
server_ctx_make(const char *const *cert_files, const struct keys *keys, size_t n, const char *name, char **err_r)
{
	SSL_CTX *ctx;

	*err_r = NULL;
	ERR_clear_error();
	if ((ctx = SSL_CTX_new(TLS_server_method())) == NULL) {
		*err_r = tls_error("cannot set up TLS", NULL);
		return NULL;
	}
	if (server_certs(ctx, cert_files, keys, n, err_r) == -1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_dh_auto(ctx, 1);
	/* Tickets keep no state here; a cache would grow with every visitor. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_select, NULL);
	/* No key exchange that a key which leaks later undoes; the key signs and never decrypts. */
	if (SSL_CTX_set_cipher_list(ctx, "DEFAULT:!kRSA") != 1 ||
	    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_session_id_context(ctx,
	    (const unsigned char *)name, (unsigned)strnlen(name, SSL_MAX_SID_CTX_LENGTH)) != 1) {
		*err_r = tls_error("cannot set up TLS", NULL);
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

SSL_CTX *
tls_server_ctx(const char *cert_file, const char *key_file, const char *name, char **err_r)
{
	return server_ctx_make(&cert_file, &(struct keys){ &key_file, NULL, NULL }, 1, name, err_r);
}

SSL_CTX *
tls_server_ctx_of(const struct conf_strs *cert_files, const struct conf_strs *key_files, const char *name, char **err_r)
{
	const char *certs[TLS_CERTS_MAX], *keys[TLS_CERTS_MAX];
	size_t i;

	if (cert_files->n == 0 || cert_files->n > TLS_CERTS_MAX || key_files->n != cert_files->n) {
		*err_r = xasprintf("%zu certificates and %zu keys: as many of one as of the other, %d at most",
		    cert_files->n, key_files->n, TLS_CERTS_MAX);
		return NULL;
	}
	for (i = 0; i < cert_files->n; i++) {
		certs[i] = cert_files->v[i];
		keys[i] = key_files->v[i];
	}
	return server_ctx_make(certs, &(struct keys){ keys, NULL, NULL }, cert_files->n, name, err_r);
}

SSL_CTX *
tls_server_ctx_by(const struct conf_strs *cert_files, tls_key_fn *key_of, void *arg, const char *name, char **err_r)
{
	const char *certs[TLS_CERTS_MAX];
	size_t i;

	if (cert_files->n == 0 || cert_files->n > TLS_CERTS_MAX) {
		*err_r = xasprintf("%zu certificates: %d at most", cert_files->n, TLS_CERTS_MAX);
		return NULL;
	}
	for (i = 0; i < cert_files->n; i++)
		certs[i] = cert_files->v[i];
	return server_ctx_make(certs, &(struct keys){ NULL, key_of, arg }, cert_files->n, name, err_r);
}

SSL_CTX *
tls_client_ctx(char **err_r)
{
	SSL_CTX *ctx;

	*err_r = NULL;
	ERR_clear_error();
	if ((ctx = SSL_CTX_new(TLS_client_method())) == NULL) {
		*err_r = tls_error("cannot set up TLS", NULL);
		return NULL;
	}
	/* Servers without RFC 5746 are still out there; in the clear they would get the same mail. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_LEGACY_SERVER_CONNECT);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0") != 1 ||
	    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) != 1 || SSL_CTX_dane_enable(ctx) != 1) {
		*err_r = tls_error("cannot set up TLS", NULL);
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

int
tls_client_trust(SSL_CTX *ctx, const char *ca_file, char **err_r)
{
	ERR_clear_error();
	if (SSL_CTX_load_verify_file(ctx, ca_file) == 1)
		return 0;
	*err_r = tls_error("cannot use the trusted certificates", ca_file);
	return -1;
}

/* Who claims to know the peer claims that nobody can stand between: no protocol that can be broken, and no name in the
 * subject's common name, which is for people. */
static int
expect(SSL *ssl)
{
	SSL_set_security_level(ssl, 1);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 ? 0 : -1;
}

int
tls_expect_name(SSL *ssl, const char *host)
{
	return expect(ssl) == 0 && SSL_set1_host(ssl, host) == 1 ? 0 : -1;
}

static int
go_on(int is_good, X509_STORE_CTX *store)
{
	(void)is_good, (void)store;
	return 1;
}

int
tls_observe_name(SSL *ssl, const char *host)
{
	SSL_set_verify(ssl, SSL_VERIFY_PEER, go_on);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) == 1 ? 0 : -1;
}

int
tls_expect_dane(SSL *ssl, const char *host, const char *domain)
{
	if (expect(ssl) == -1 || SSL_dane_enable(ssl, host) != 1)
		return -1;
	/* RFC 7672 section 3.1.1: the key is all that counts then; names and dates do not. */
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	return domain == NULL || SSL_add1_host(ssl, domain) == 1 ? 0 : -1;
}

int
tls_expect_tlsa(SSL *ssl, uint8_t usage, uint8_t selector, uint8_t matching, const uint8_t *data, size_t len)
{
	int r;

	if (usage != 2 && usage != 3)
		return 0;
	r = SSL_dane_tlsa_add(ssl, usage, selector, matching, (unsigned char *)(uintptr_t)data, len);
	ERR_clear_error();
	return r > 0 ? 1 : r;
}

const char *
tls_unexpected(const SSL *ssl)
{
	long r = SSL_get_verify_result(ssl);

	if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE || r == X509_V_OK)
		return NULL;
	return X509_verify_cert_error_string(r);
}

const char *
tls_version(const SSL *ssl)
{
	return SSL_get_version(ssl);
}

const char *
tls_cipher(const SSL *ssl)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	const char *name = cipher == NULL ? NULL : SSL_CIPHER_standard_name(cipher);

	return name == NULL ? "none" : name;
}
