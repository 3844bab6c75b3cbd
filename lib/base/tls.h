/* OpenSSL contexts, built once: a client context with trust store costs 23 ms. */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <openssl/ssl.h>

#include "base/conf.h"

/* Server context: TLS 1.2 and up, ALPN "smtp" if offered, no renegotiation, no compression, no early data, tickets on,
 * session id context `name` (tickets of one listener kind are of no use at another). NULL and *err_r (malloced
 * sentence). */
SSL_CTX *tls_server_ctx(const char *cert_file, const char *key_file, const char *name, char **err_r);
/* The same with several certificates, each of another kind of key (RSA, ECDSA, Ed25519): each client gets the one that
 * it can check. As many keys as certificates, in the same order. */
SSL_CTX *tls_server_ctx_of(const struct conf_strs *cert_files, const struct conf_strs *key_files, const char *name,
    char **err_r);
/* Client context for opportunistic TLS: security level 0 as RFC 7435 wants, no verification, client session cache by
 * the caller. */
SSL_CTX *tls_client_ctx(char **err_r);
/* Short names for the log: "TLSv1.3", "TLS_AES_256_GCM_SHA384". */
const char *tls_version(const SSL *);
const char *tls_cipher(const SSL *);

#endif
