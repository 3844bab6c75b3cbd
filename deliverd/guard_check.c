/* The guard's question (guard_check.h), step by step: the DMARC record, for how strict alignment is; the published key
 * of each aligned signature; SPF of an aligned return path. The first that passes ends it. Answers are strangers'. */
#include <bsd/string.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "base/xalloc.h"
#include "mail/author.h"
#include "mail/idna.h"
#include "mail/orgdomain.h"
#include "mail/spf_run.h"
#include "mail/tags.h"
#include "deliverd/guard_check.h"

#define WHY_MAX 480

enum step { STEP_DMARC, STEP_DMARC_ORG, STEP_KEYS, STEP_SPF, STEP_END };

struct guard_check {
	struct loop *loop;
	struct dns_client *dns;
	struct dns_request *request;
	struct spf_run *spf;
	struct timer timer; /* so that no verdict comes before start returns */
	uint32_t timeout;
	guard_check_fn *fn;
	void *arg;

	char author[DKIM_DOMAIN_MAX + 1];
	struct author_signature signatures[AUTHOR_SIGNATURES_MAX];
	unsigned n_signatures, at; /* the next one */
	char *sender, *ehlo, identity[DKIM_DOMAIN_MAX + 1];
	struct sockaddr_storage address;
	bool has_address;
	bool is_strict_dkim, is_strict_spf;
	bool is_unknown;           /* something that might have let it pass could not be found out */
	enum step step;
	char dkim_why[WHY_MAX / 2], spf_why[WHY_MAX / 2];
};

void
guard_check_cancel(struct guard_check **cp)
{
	struct guard_check *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	dns_client_cancel(c->dns, &c->request);
	spf_run_cancel(&c->spf);
	timer_cancel(&c->timer);
	free(c->sender);
	free(c->ehlo);
	free(c);
}

static void
finish(struct guard_check *c, enum guard_result result, const char *why)
{
	c->fn(result, why, c->arg);
	guard_check_cancel(&c);
}

static void
fail(struct guard_check *c)
{
	char why[WHY_MAX + 16];

	snprintf(why, sizeof(why), "%s; %s", c->dkim_why, c->spf_why);
	finish(c, c->is_unknown ? GUARD_UNKNOWN : GUARD_FAIL, why);
}

static void go_on(struct guard_check *);
static void on_answer(const struct dns_reply *, void *);

/* False: it cannot be asked now. */
static bool
ask(struct guard_check *c, const char *prefix, const char *domain)
{
	char name[DKIM_DOMAIN_MAX * 2];

	snprintf(name, sizeof(name), "%s%s", prefix, domain);
	if (!dns_name_askable(name))
		return false;
	c->request = dns_client_ask(c->dns, name, DNS_TYPE_TXT, c->timeout, on_answer, c);
	return c->request != NULL;
}

/* ---- the DMARC record ---- */

/* Whether there is one. */
static bool
take_dmarc(struct guard_check *c, const struct dns_reply *r)
{
	char value[8];
	unsigned i;

	for (i = 0; i < r->n_records; i++) {
		if (!tags_are_dmarc(r->records[i].text, r->records[i].len))
			continue;
		tag_value(r->records[i].text, "adkim", value, sizeof(value));
		c->is_strict_dkim = strcmp(value, "s") == 0;
		tag_value(r->records[i].text, "aspf", value, sizeof(value));
		c->is_strict_spf = strcmp(value, "s") == 0;
		return true;
	}
	return false;
}

/* ---- signatures ---- */

/* The next one that is aligned; NULL: there are no more. */
static const struct author_signature *
next_aligned(struct guard_check *c)
{
	while (c->at < c->n_signatures && !orgdomain_aligned(c->author, c->signatures[c->at].domain,
	    c->is_strict_dkim))
		c->at++;
	return c->at < c->n_signatures ? &c->signatures[c->at] : NULL;
}

/* RFC 6376 section 3.6.1: an empty p= is a key that was revoked. */
static bool
has_key(const struct dns_reply *r)
{
	char value[16];
	unsigned i;

	for (i = 0; i < r->n_records; i++) {
		tag_value(r->records[i].text, "v", value, sizeof(value));
		if (*value != '\0' && strcmp(value, "dkim1") != 0)
			continue;
		tag_value(r->records[i].text, "p", value, sizeof(value));
		if (*value != '\0')
			return true;
	}
	return false;
}

static void
take_key(struct guard_check *c, const struct dns_reply *r)
{
	const struct author_signature *s = &c->signatures[c->at++];
	char why[WHY_MAX];

	if (has_key(r)) {
		snprintf(why, sizeof(why), "signed by %s", s->domain);
		finish(c, GUARD_PASS, why);
		return;
	}
	if (r->status == DNS_TEMPORARY) {
		c->is_unknown = true;
		snprintf(c->dkim_why, sizeof(c->dkim_why), "the DKIM key %.63s._domainkey.%.120s cannot be looked up",
		    s->selector, s->domain);
	} else {
		snprintf(c->dkim_why, sizeof(c->dkim_why), "the DKIM key %.63s._domainkey.%.120s is not published",
		    s->selector, s->domain);
	}
	go_on(c);
}

/* ---- the return path ---- */

static void
on_spf(const struct spf_verdict *v, void *arg)
{
	struct guard_check *c = arg;
	char why[WHY_MAX], from[46];

	c->spf = NULL;
	if (v->result == SPF_PASS) {
		snprintf(why, sizeof(why), "SPF of %s", c->identity);
		finish(c, GUARD_PASS, why);
		return;
	}
	c->is_unknown |= v->result == SPF_TEMPERROR;
	sockaddr_text((const struct sockaddr *)&c->address, from);
	snprintf(c->spf_why, sizeof(c->spf_why), "SPF of %.120s for %s%s is %s", c->identity, from,
	    sockaddr_is_public((const struct sockaddr *)&c->address) ? "" : " (a private address)",
	    spf_result_name(v->result));
	c->step = STEP_END;
	go_on(c);
}

/* Whether a verdict is under way. */
static bool
ask_spf(struct guard_check *c)
{
	struct spf_query q = { .client = (const struct sockaddr *)&c->address, .sender = c->sender, .helo = c->ehlo };

	if (!orgdomain_aligned(c->author, c->identity, c->is_strict_spf)) {
		snprintf(c->spf_why, sizeof(c->spf_why), "the return path is of another domain, %.120s", c->identity);
		return false;
	}
	if (!c->has_address) {
		strlcpy(c->spf_why, "SPF cannot be evaluated for a source without address", sizeof(c->spf_why));
		return false;
	}
	c->spf = spf_run_start(c->loop, c->dns, &q, on_spf, c);
	return true;
}

/* ---- steps ---- */

static void
on_answer(const struct dns_reply *r, void *arg)
{
	struct guard_check *c = arg;
	bool is_found;

	c->request = NULL;
	if (c->step == STEP_KEYS) {
		take_key(c, r);
		return;
	}
	is_found = take_dmarc(c, r);
	if (!is_found && r->status == DNS_TEMPORARY) {
		finish(c, GUARD_UNKNOWN, "the DMARC record cannot be looked up");
		return;
	}
	c->step = is_found || c->step == STEP_DMARC_ORG || orgdomain_of(c->author) == c->author ? STEP_KEYS :
	    STEP_DMARC_ORG;
	go_on(c);
}

static void
go_on(struct guard_check *c)
{
	const struct author_signature *s;
	char prefix[DKIM_SELECTOR_MAX + 16];

	if (c->step <= STEP_DMARC_ORG) {
		if (!ask(c, "_dmarc.", c->step == STEP_DMARC ? c->author : orgdomain_of(c->author)))
			finish(c, GUARD_UNKNOWN, "the name service is not available now");
		return;
	}
	while (c->step == STEP_KEYS && (s = next_aligned(c)) != NULL) {
		snprintf(prefix, sizeof(prefix), "%s._domainkey.", s->selector);
		if (ask(c, prefix, s->domain))
			return;
		c->is_unknown = true;
		c->at++;
	}
	if (c->step == STEP_KEYS) {
		c->step = STEP_SPF;
		if (ask_spf(c))
			return;
	}
	fail(c);
}

static void
on_start(void *arg)
{
	struct guard_check *c = arg;

	if (*c->author == '\0')
		finish(c, GUARD_FAIL, "its From field has no address that can be read");
	else
		go_on(c);
}

/* The domain that SPF is about (RFC 7489 section 3.1.2). */
static void
identity_set(struct guard_check *c)
{
	const char *at = strrchr(c->sender, '@');

	if (idna_to_ascii(at != NULL ? at + 1 : c->ehlo, c->identity, sizeof(c->identity)) == -1)
		*c->identity = '\0';
}

struct guard_check *
guard_check_start(struct loop *loop, struct dns_client *dns, const struct guard_question *q, uint32_t dns_timeout,
    guard_check_fn *fn, void *arg)
{
	struct guard_check *c = xcalloc(1, sizeof(*c));
	char domain[DKIM_DOMAIN_MAX + 1];

	c->loop = loop;
	c->dns = dns;
	c->timeout = dns_timeout;
	c->fn = fn;
	c->arg = arg;
	c->sender = xstrdup(q->sender);
	c->ehlo = xstrdup(q->ehlo);
	identity_set(c);
	if (q->address != NULL) {
		c->has_address = true;
		memcpy(&c->address, q->address, q->address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
		    sizeof(struct sockaddr_in));
	}
	if (!author_read(q->author, domain, c->signatures, &c->n_signatures) || strcmp(domain, "-") == 0 ||
	    idna_to_ascii(domain, c->author, sizeof(c->author)) == -1)
		*c->author = '\0';
	strlcpy(c->dkim_why, c->n_signatures == 0 ? "it has no DKIM signature" : "no DKIM signature is of its domain",
	    sizeof(c->dkim_why));
	timer_init(&c->timer, loop, on_start, c);
	timer_set(&c->timer, 0);
	return c;
}
