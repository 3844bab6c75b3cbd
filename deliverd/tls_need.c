/* What TLS with a host has to be (tls_need.h), in the net process. TLSA records are a stranger's, but DNSSEC vouches
 * for them; of an MTA-STS policy only what it says of the host comes here. */
#include <string.h>
#include <strings.h>

#include "base/tls.h"
#include "mail/params.h"
#include "deliverd/path.h"
#include "deliverd/tls_need.h"

/* DANE-TA(2) and DANE-EE(3) with known selectors and matching types are of use (RFC 7672 section 3.1). */
static bool
is_usable(const struct mx_tlsa *t)
{
	static const uint16_t digest_len[] = { 0, 32, 64 };

	return (t->usage == 2 || t->usage == 3) && t->selector <= 1 && t->matching <= 2 &&
	    (t->matching == 0 || t->len == digest_len[t->matching]);
}

static bool
has_usable(const struct mx_host *h)
{
	unsigned i;

	for (i = 0; i < h->n_tlsa; i++)
		if (is_usable(&h->tlsa[i]))
			return true;
	return false;
}

/* FNV-1a over what is expected. */
static uint64_t
tag_of(const struct tls_need *n, const struct mx_host *h)
{
	uint64_t tag = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)n->by ^ (n->is_observed ? 0x100 : 0);
	unsigned i, j;

	for (i = 0; n->by == TLS_BY_DANE && h->tlsa_base != NULL && h->tlsa_base[i] != '\0'; i++)
		tag = (tag ^ (unsigned char)h->tlsa_base[i]) * UINT64_C(0x100000001b3);
	for (i = 0; n->by == TLS_BY_DANE && i < h->n_tlsa; i++) {
		tag = (tag ^ h->tlsa[i].usage) * UINT64_C(0x100000001b3);
		for (j = 0; j < h->tlsa[i].len; j++)
			tag = (tag ^ h->tlsa[i].data[j]) * UINT64_C(0x100000001b3);
	}
	return tag;
}

/* RFC 8461 section 2: where there are TLSA records they decide, also if the server fails them. */
bool
tls_need_forbids(const struct path *p, const struct mx_host *h)
{
	return p->limits.tls != TLS_LEVEL_NONE && p->config.enable_mta_sts && h->sts == MX_STS_ENFORCE_NOT &&
	    !(p->config.enable_dane && (h->dane == MX_DANE_FAILED || has_usable(h)));
}

/* What the domain's policy adds where no TLSA record says how the server is known. It is never less than before. */
static void
add_sts(struct tls_need *n, const struct mx_host *h)
{
	if (h->sts == MX_STS_NONE || n->by == TLS_BY_DANE)
		return;
	n->policy = "sts";
	if (h->sts == MX_STS_ENFORCE) {
		n->is_required = true;
		n->by = TLS_BY_CERTIFICATE;
	} else if (n->by == TLS_BY_NOTHING) {
		n->is_observed = true;
	}
}

bool
tls_need_of(const struct path *p, const struct mx_host *h, struct tls_need *n, const char **why)
{
	int level = p->limits.tls, retry = p->config.opportunistic_tls_reconnect_on_failed_handshake;

	memset(n, 0, sizeof(*n));
	n->is_wanted = level != TLS_LEVEL_NONE;
	n->is_required = level == TLS_LEVEL_ENCRYPT || level == TLS_LEVEL_VERIFY;
	if (level == TLS_LEVEL_VERIFY || level == TLS_LEVEL_MAY_VERIFY)
		n->by = TLS_BY_CERTIFICATE;
	if (n->is_wanted && p->config.enable_dane && h->dane == MX_DANE_FAILED) {
		*why = "its TLSA records cannot be had, without which it must not be used (DANE)";
		return false;
	}
	if (n->is_wanted && p->config.enable_dane && h->dane == MX_DANE_RECORDS) {
		n->is_required = true;
		n->policy = "tlsa";
		if (has_usable(h))
			n->by = TLS_BY_DANE;
	}
	if (tls_need_forbids(p, h)) {
		*why = "the domain's MTA-STS policy does not name it";
		return false;
	}
	if (n->is_wanted && p->config.enable_mta_sts)
		add_sts(n, h);
	/* Unless policy says it: where something is verified, the clear would be a downgrade. */
	n->may_retry_in_clear = !n->is_required && (retry >= 0 ? retry == 1 : n->by == TLS_BY_NOTHING);
	n->tag = tag_of(n, h) ^ p->credentials.tag;
	return true;
}

const char *
tls_need_name(const struct tls_need *n, const struct mx_host *h)
{
	return n->by == TLS_BY_DANE && h->tlsa_base != NULL ? h->tlsa_base : h->name;
}

/* RFC 7672 section 3.2.2 lets a server have a certificate for the mail's domain instead of its own name. But a
 * connection, and the session after it, are for all domains of the host: one of them, whoever's it is, must not decide
 * how the host is known to the others. So it counts only where the host lies in that domain, whose owner decides about
 * the host anyway. */
static bool
lies_in(const char *host, const char *domain)
{
	size_t h = strlen(host), d = strlen(domain);

	return d > 0 && h > d + 1 && host[h - d - 1] == '.' && strcasecmp(host + h - d, domain) == 0;
}

int
tls_need_expect(const struct tls_need *n, const struct mx_host *h, const char *domain, SSL *ssl)
{
	unsigned i, n_used = 0;
	int r;

	if (n->is_observed)
		return tls_observe_name(ssl, h->name);
	if (n->by == TLS_BY_NOTHING)
		return 0;
	if (n->by == TLS_BY_CERTIFICATE)
		return tls_expect_name(ssl, h->name);
	/* RFC 7672 section 3.2.2: the name at which the records are is the one that certificates must have. */
	if (tls_expect_dane(ssl, tls_need_name(n, h), lies_in(h->name, domain) ? domain : NULL) == -1)
		return -1;
	for (i = 0; i < h->n_tlsa; i++) {
		r = is_usable(&h->tlsa[i]) ? tls_expect_tlsa(ssl, h->tlsa[i].usage, h->tlsa[i].selector,
		    h->tlsa[i].matching, h->tlsa[i].data, h->tlsa[i].len) : 0;
		if (r == -1)
			return -1;
		n_used += r == 1;
	}
	return n_used > 0 ? 0 : -1;
}

const char *
tls_need_verified(const struct tls_need *n)
{
	return n->by == TLS_BY_DANE ? "dane" : n->by == TLS_BY_CERTIFICATE ? "certificate" : NULL;
}
