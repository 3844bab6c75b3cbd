/* Return paths that say which recipient a bounce is about: PREFIX+TOKEN@DOMAIN. The token is that of token.h, so it
 * names message and recipient index and holds nothing of the recipient's address: any address survives, none is told to
 * those who see the return path. It is written in base32, which survives systems that change the case of what they
 * return, and expires: the message id in it, signed with the rest, says when the message came. */
#ifndef MAIL_VERP_H
#define MAIL_VERP_H

#include <stdint.h>

#include "mail/address.h"
#include "mail/token.h"

#define VERP_TOKEN 48      /* characters */
#define VERP_PREFIX_MAX 15 /* a local part has 64 octets */

enum verp_verdict {
	VERP_NONE,    /* not of that shape: somebody else's address */
	VERP_FORGED,  /* of that shape, but not signed with a key of ours: altered, made up, or older than our keys */
	VERP_EXPIRED, /* ours, too old to change anything */
	VERP_VALID
};

/* 0, or -1 if the prefix cannot be used (empty, longer than VERP_PREFIX_MAX, other characters than letters, digits and
 * hyphens) or the domain is no domain. */
int verp_make(const struct token_signer *, const struct envid *, const char *prefix, const char *domain,
    char out[ADDRESS_MAX]) __attribute__((warn_unused_result));
/* *env is filled for VERP_EXPIRED and VERP_VALID. The domain of the address is for the caller to compare. */
enum verp_verdict verp_check(const char *address, const char *prefix, const struct ql_token_key *keys, unsigned n_keys,
    int64_t now_ms, int64_t lifetime_ms, struct envid *env);

#endif
