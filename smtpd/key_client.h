/* The worker's side of the key role: signatures asked for and waited for in place, and keys for OpenSSL that have no
 * private part but ask so (key_proxy.c). A signature takes the role about as long as it would take here. */
#ifndef SMTPD_KEY_CLIENT_H
#define SMTPD_KEY_CLIENT_H

#include <openssl/ssl.h>

#include <stdbool.h>

#include "smtpd/key_link.h"

struct key_client;
struct key_client *key_client_new(void);
void key_client_free(struct key_client **);
/* The other end of the link; a new one when the role started again. Takes fd over. */
void key_client_set_peer(struct key_client *, int fd);
/* Whether it would be of use to ask. */
bool key_client_is_there(struct key_client *);
/* The length of the signature (in sig, up to KEY_SIGNATURE_MAX), or 0 if there is none within a second. */
size_t key_client_sign(struct key_client *, const uint8_t id[KEY_ID], enum key_operation, const void *data, size_t len,
    uint8_t sig[KEY_SIGNATURE_MAX]);

/* Of a public key; false if OpenSSL fails. */
bool key_id(EVP_PKEY *, uint8_t id[KEY_ID]);
/* The private key of that certificate, which the client asks for all it does; for tls_server_ctx_by(). NULL: of a kind
 * that cannot be. The client must live longer. */
EVP_PKEY *key_proxy(X509 *, void *client);

#endif
