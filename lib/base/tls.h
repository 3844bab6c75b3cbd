/* OpenSSL contexts, built once: a client context with trust store costs 23 ms. */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <openssl/ssl.h>

#include "base/conf.h"

/* Server context: TLS 1.2 and up, ALPN "smtp" if offered, no renegotiation, no compression, no early data, tickets on,
 * no key exchange that the key decrypts, session id context `name` (tickets of one listener kind are of no use at
 * another). NULL and *err_r (malloced sentence). */
SSL_CTX *tls_server_ctx(const char *cert_file, const char *key_file, const char *name, char **err_r);
/* The same with several certificates, each of another kind of key (RSA, ECDSA, Ed25519): each client gets the one that
 * it can check. As many keys as certificates, in the same order. */
SSL_CTX *tls_server_ctx_of(const struct conf_strs *cert_files, const struct conf_strs *key_files, const char *name,
    char **err_r);
/* The same without files of keys: key_of(certificate, arg) gives the key of each (a reference of ours), or NULL. */
typedef EVP_PKEY *tls_key_fn(X509 *, void *arg);
SSL_CTX *tls_server_ctx_by(const struct conf_strs *cert_files, tls_key_fn *key_of, void *arg, const char *name,
    char **err_r);
/* A private key in PEM without a pass phrase; nothing else of the file stays in memory. NULL and *err_r. */
EVP_PKEY *tls_private_key(const char *file, char **err_r);
/* Client context for opportunistic TLS: security level 0 as RFC 7435 wants, no verification, client session cache by
 * the caller. */
SSL_CTX *tls_client_ctx(char **err_r);
/* What certificates are verified with from now on: a PEM file of those that are trusted. 0, or -1 and *err_r. */
int tls_client_trust(SSL_CTX *, const char *ca_file, char **err_r);
/* To be called between io_tls_connect() and the handshake, which then fails unless the server shows a certificate for
 * that name by somebody trusted (RFC 5280, RFC 6125), with TLS 1.2 and up. */
int tls_expect_name(SSL *, const char *host);
/* The same without consequences: the handshake succeeds, and tls_unexpected() says what was wrong. */
int tls_observe_name(SSL *, const char *host);
/* The same by TLSA records of the host, RFC 7672: usages DANE-TA(2) and DANE-EE(3), the others are of no use in SMTP.
 * domain: where the mail goes, which a certificate may name too. Adds one record after the other: 1 it is used, 0 it
 * cannot be (unknown parameters), -1 no memory. At least one must have been used. */
int tls_expect_dane(SSL *, const char *host, const char *domain);
int tls_expect_tlsa(SSL *, uint8_t usage, uint8_t selector, uint8_t matching, const uint8_t *data, size_t len);
/* Why a handshake that expected something failed, or NULL if that was not the reason (static). */
const char *tls_unexpected(const SSL *);
/* Short names for the log: "TLSv1.3", "TLS_AES_256_GCM_SHA384". */
const char *tls_version(const SSL *);
const char *tls_cipher(const SSL *);

#endif
