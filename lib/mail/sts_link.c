/* Codec of the link to the sts role (sts_link.h); pure. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/dns_link.h"
#include "mail/sts_link.h"

#define ADDRS_MAX 32

const char *const sts_problem_names[] = { [STS_PROBLEM_NONE] = NULL, [STS_PROBLEM_FETCH] = "sts-policy-fetch-error",
	[STS_PROBLEM_INVALID] = "sts-policy-invalid", [STS_PROBLEM_WEBPKI] = "sts-webpki-invalid" };

bool
sts_domain_valid(const char *s)
{
	size_t i;

	for (i = 0; s[i] != '\0'; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			return false;
	return dns_name_valid(s);
}

/* A text without NUL of at most max octets into out[max + 1]. */
static bool
text(struct rbuf *r, char *out, size_t max)
{
	struct slice s = rbuf_bytes(r, max);

	if (s.len > 0 && memchr(s.base, '\0', s.len) != NULL)
		return false;
	if (s.len > 0)
		memcpy(out, s.base, s.len);
	out[s.len] = '\0';
	return !r->bad;
}

void
sts_ask_encode(const struct sts_ask *a, struct wbuf *w)
{
	const struct mx_host *h = a->host != NULL ? &a->host->hosts[0] : NULL;
	unsigned i, n = h == NULL ? 0 : h->n_addrs < ADDRS_MAX ? h->n_addrs : ADDRS_MAX;

	wbuf_str(w, a->domain);
	wbuf_str(w, a->id);
	wbuf_u8(w, a->is_refresh);
	wbuf_u8(w, (uint8_t)n);
	for (i = 0; i < n; i++) {
		wbuf_u8(w, h->addrs[i].family == AF_INET ? 4 : 6);
		wbuf_raw(w, h->addrs[i].ip, h->addrs[i].family == AF_INET ? 4 : 16);
	}
}

int
sts_ask_decode(struct rbuf *r, struct sts_ask *a)
{
	uint8_t n, family, ip[16];

	memset(a, 0, sizeof(*a));
	if (!text(r, a->domain, MX_NAME_MAX) || !sts_domain_valid(a->domain) || !text(r, a->id, STS_ID_MAX) ||
	    (a->id[0] != '\0' && !sts_id_valid(a->id, strlen(a->id))))
		return -1;
	a->is_refresh = rbuf_u8(r);
	n = rbuf_u8(r);
	if (a->is_refresh > 1 || n > ADDRS_MAX)
		return -1;
	a->host = mx_list_new(MX_IMPLICIT);
	(void)mx_list_add(a->host, a->domain, 0);
	for (; n > 0; n--) {
		family = rbuf_u8(r);
		if (family != 4 && family != 6)
			break;
		rbuf_raw(r, ip, family == 4 ? 4 : 16);
		mx_host_add(&a->host->hosts[0], family == 4 ? AF_INET : AF_INET6, ip);
	}
	if (n == 0 && rbuf_done(r))
		return 0;
	sts_ask_clear(a);
	return -1;
}

void
sts_ask_clear(struct sts_ask *a)
{
	mx_list_unref(&a->host);
}

void
sts_answer_encode(const struct sts_answer *a, struct wbuf *w)
{
	wbuf_u8(w, a->found);
	wbuf_u8(w, a->problem);
	wbuf_str(w, a->why);
	if (a->found != STS_FOUND_POLICY)
		return;
	wbuf_str(w, a->id);
	wbuf_u64(w, (uint64_t)a->fetched);
	wbuf_u64(w, (uint64_t)a->expires);
	wbuf_bytes(w, a->text, a->len);
}

static int
policy_decode(struct rbuf *r, struct sts_answer *a)
{
	struct sts_policy policy;
	const char *err;
	struct slice s;

	if (!text(r, a->id, STS_ID_MAX) || !sts_id_valid(a->id, strlen(a->id)))
		return -1;
	a->fetched = (int64_t)rbuf_u64(r);
	a->expires = (int64_t)rbuf_u64(r);
	s = rbuf_bytes(r, STS_POLICY_MAX);
	if (r->bad || a->fetched < 0 || a->expires < 0 || sts_policy_parse(s.base, s.len, &policy, &err) == -1)
		return -1;
	sts_policy_clear(&policy);
	a->text = xmemdup0(s.base, s.len);
	a->len = s.len;
	return 0;
}

int
sts_answer_decode(struct rbuf *r, struct sts_answer *a)
{
	memset(a, 0, sizeof(*a));
	a->found = rbuf_u8(r);
	a->problem = rbuf_u8(r);
	a->why = rbuf_strdup(r, STS_WHY_MAX);
	if (a->found >= STS_FOUND_NONE && a->found <= STS_FOUND_LATER && a->problem <= STS_PROBLEM_WEBPKI &&
	    (a->found != STS_FOUND_POLICY || policy_decode(r, a) == 0) && rbuf_done(r))
		return 0;
	sts_answer_clear(a);
	return -1;
}

void
sts_answer_clear(struct sts_answer *a)
{
	free(a->why);
	free(a->text);
	a->why = a->text = NULL;
}

int
sts_refresh_decode(struct rbuf *r, char domain[MX_NAME_MAX + 1])
{
	return text(r, domain, MX_NAME_MAX) && rbuf_done(r) && sts_domain_valid(domain) ? 0 : -1;
}
