/* What TLS with one host has to be, by the path's configuration (enable_tls, enable_dane, enable_mta_sts), the host's
 * TLSA records, and what the domain's MTA-STS policy says of the host. RFC 7672 (DANE for SMTP), RFC 8461 (MTA-STS),
 * RFC 7435 (opportunistic TLS). */
#ifndef DELIVERD_TLS_NEED_H
#define DELIVERD_TLS_NEED_H

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stdint.h>

#include "mail/mx.h"

struct path;

enum tls_by { TLS_BY_NOTHING, TLS_BY_CERTIFICATE, TLS_BY_DANE };

struct tls_need {
	bool is_wanted;   /* if it is offered */
	bool is_required; /* nothing is sent in the clear */
	bool may_retry_in_clear; /* a handshake that fails is no obstacle */
	enum tls_by by;   /* how the server is known */
	bool is_observed; /* MTA-STS, testing: whether it could be known, without consequences */
	const char *policy; /* who wants that, beside the administrator: "tlsa", "sts" (RFC 8460); NULL: nobody */
	uint64_t tag;     /* sessions are resumed only where the same is expected as when they began */
};

/* False and *why (static): the host must not be used now. */
bool tls_need_of(const struct path *, const struct mx_host *, struct tls_need *, const char **why);
/* A host that the domain's MTA-STS policy does not name, and wants not to be used. */
bool tls_need_forbids(const struct path *, const struct mx_host *);
/* Tells the handshake. 0, or -1: it cannot be made. domain: where the mail goes, the
 * first of those that share the path. */
int tls_need_expect(const struct tls_need *, const struct mx_host *, const char *domain, SSL *);
/* What the server is called in the handshake: at a CNAME's end, if the TLSA records are there. */
const char *tls_need_name(const struct tls_need *, const struct mx_host *);
/* For events; NULL: by nothing. */
const char *tls_need_verified(const struct tls_need *);

#endif
