/* posthorn.sender_domain: what is done with mail by the domain of its envelope sender. So far: return paths that name
 * the recipient (verp.h), which only deliverd writes and bouncerd reads. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/policy_private.h"
#include "mail/verp.h"

#define POLICY_SENDER_DOMAINS_MAX 100000

static const struct policy_field sender_fields[] = {
	{ .name = "name", .type = FIELD_DOMAIN, .offset = offsetof(struct policy_sender_domain, name) },
	{ .name = "verp_domain", .type = FIELD_DOMAIN, .offset = offsetof(struct policy_sender_domain, verp_domain) },
	{ .name = "verp_prefix", .type = FIELD_TEXT, .offset = offsetof(struct policy_sender_domain, verp_prefix) },
	{ .name = NULL }
};

static void
check(const struct policy *p, const struct sender_def *d)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
	const char *prefix = d->domain.verp_prefix;
	size_t len = strlen(prefix);

	if (d->domain.name == NULL)
		conf_error_add(p->errs, p->file, d->line, "posthorn.sender_domain: name is missing");
	else if (d->domain.verp_domain == NULL || strcmp(d->domain.verp_domain, "*") == 0 ||
	    d->domain.verp_domain[0] == '[')
		conf_error_add(p->errs, p->file, d->line,
		    "posthorn.sender_domain: verp_domain must be the domain that bounces are to come back to");
	if (len == 0 || len > VERP_PREFIX_MAX || prefix[0] == '-' || strspn(prefix, chars) != len)
		conf_error_add(p->errs, p->file, d->line,
		    "posthorn.sender_domain: verp_prefix must be 1 to %d letters, digits and hyphens, no hyphen first",
		    VERP_PREFIX_MAX);
}

int
policy_sender_domain_define(lua_State *L)
{
	struct policy_reader r;
	struct policy *p = policy_definition_begin(L, &r, "posthorn.sender_domain", policy_of(L)->n_senders,
	    POLICY_SENDER_DOMAINS_MAX);
	struct sender_def *d = xcalloc(1, sizeof(*d));
	size_t before = r.errs->n;

	p->senders = xreallocarray(p->senders, p->n_senders + 1, sizeof(struct sender_def *));
	p->senders[p->n_senders++] = d;
	d->line = r.line;
	policy_table_read(&r, L, sender_fields, &d->domain);
	if (d->domain.verp_prefix == NULL)
		d->domain.verp_prefix = xstrdup("b");
	if (r.errs->n == before)
		check(p, d);
	return 0;
}

static int
sender_cmp(const void *a, const void *b)
{
	return strcasecmp((*(struct sender_def *const *)a)->domain.name, (*(struct sender_def *const *)b)->domain.name);
}

void
policy_senders_index(struct policy *p)
{
	const struct policy_listener_domain *l;
	const struct sender_def *d;
	size_t i;

	if (p->n_senders > 0)
		qsort(p->senders, p->n_senders, sizeof(struct sender_def *), sender_cmp);
	for (i = 0; i < p->n_senders; i++) {
		d = p->senders[i];
		if (i > 0 && sender_cmp(&p->senders[i - 1], &p->senders[i]) == 0)
			conf_error_add(p->errs, p->file, d->line,
			    "the sender domain '%s' is defined twice: here and in line %u", d->domain.name,
			    p->senders[i - 1]->line);
		/* Bounces that nobody takes would be worse than none that name their recipients. */
		l = policy_listener_domain(p, d->domain.verp_domain);
		if (l == NULL || l->log_oob == REPORT_IGNORE)
			conf_error_add(p->errs, p->file, d->line,
			    "the verp_domain '%s' of the sender domain '%s' is no listener domain with log_oob",
			    d->domain.verp_domain, d->domain.name);
	}
}

void
policy_senders_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_senders; i++) {
		free(p->senders[i]->domain.name);
		free(p->senders[i]->domain.verp_domain);
		free(p->senders[i]->domain.verp_prefix);
		free(p->senders[i]);
	}
	free(p->senders);
}

static const struct policy_sender_domain *
find(const struct policy *p, const char *domain)
{
	size_t lo = 0, hi = p->n_senders, mid;
	int cmp;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((cmp = strcasecmp(domain, p->senders[mid]->domain.name)) == 0)
			return &p->senders[mid]->domain;
		if (cmp < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct policy_sender_domain *
policy_sender_domain(const struct policy *p, const char *domain)
{
	const struct policy_sender_domain *d = p->n_senders > 0 ? find(p, domain) : NULL;

	return d != NULL || p->n_senders == 0 ? d : find(p, "*");
}
