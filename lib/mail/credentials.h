/* What a path shows servers of itself: a user and password for AUTH, a certificate for TLS. Read when the path is
 * configured; every connection of the path has these and no others. */
#ifndef MAIL_CREDENTIALS_H
#define MAIL_CREDENTIALS_H

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stdint.h>

#include "mail/policy_path.h"

struct credentials {
	char *plain;         /* the initial response of AUTH PLAIN, in base64; NULL: no AUTH */
	bool may_be_clear;   /* it may be said without TLS */
	bool may_be_anybody; /* ... or to a server that is not known */
	X509 *cert;          /* NULL: none is shown */
	EVP_PKEY *key;
	STACK_OF(X509) *chain;
	uint64_t tag;        /* tells certificates apart: sessions are resumed only with the same. 0: none */
};

/* Reads what the configuration names. NULL, or a sentence (malloced) without any secret in it; then there are none. */
char *credentials_load(struct credentials *, const struct policy_path_config *, const char *dir)
    __attribute__((warn_unused_result));
void credentials_clear(struct credentials *);
/* Before the handshake. 0 or -1. */
int credentials_show(const struct credentials *, SSL *);

#endif
