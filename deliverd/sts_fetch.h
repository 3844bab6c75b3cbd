/* One fetch of a policy over HTTPS (RFC 8461 section 3.3): https://mta-sts.DOMAIN/.well-known/mta-sts.txt, a
 * certificate for that name by somebody trusted, no redirect, text/plain, no more than STS_POLICY_MAX. */
#ifndef DELIVERD_STS_FETCH_H
#define DELIVERD_STS_FETCH_H

#include <openssl/ssl.h>

#include "base/loop.h"
#include "mail/sts_link.h"

struct sts_fetched {
	enum sts_problem problem;
	const char *why;  /* a sentence, with a problem */
	const char *text; /* else: a valid policy */
	size_t len;
};

struct sts_fetch;
typedef void sts_fetch_fn(const struct sts_fetched *, void *arg);
/* Calls fn once, never before this returns, within ms. The host's list stays the caller's and is referred to. */
struct sts_fetch *sts_fetch_start(struct loop *, SSL_CTX *, const char *domain, struct mx_list *host, int64_t ms,
    sts_fetch_fn *, void *arg);
void sts_fetch_cancel(struct sts_fetch **);

#endif
