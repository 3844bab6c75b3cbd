/* A look at a few header fields (no_report.h); no MIME is read here. In doubt it may be a report: bouncerd and fblproc
 * know better, and end what is none with a record. */
#include <string.h>
#include <strings.h>

#include "mail/address.h"
#include "mail/header.h"

#include "smtpd/no_report.h"

#define VALUE_MAX 512

/* Nothing but reports is wanted there. */
static bool
is_reports_only(const struct params *p, const struct policy *policy, const char *address)
{
	const char *domain = address_domain(address);
	const struct policy_listener_domain *d = policy_listener_domain(policy, domain);
	size_t i;

	for (i = 0; i < p->relay_domains.n; i++)
		if (strcasecmp(p->relay_domains.v[i], domain) == 0)
			return false;
	return d != NULL && !d->relay_to && (d->log_oob != REPORT_IGNORE || d->log_arf != REPORT_IGNORE);
}

static bool
value_of(const char *head, size_t len, const char *name, char out[VALUE_MAX])
{
	struct header_field f;

	out[0] = '\0';
	if (!header_find(head, len, name, &f))
		return false;
	(void)header_value(&f, out, VALUE_MAX);
	return true;
}

static bool
is_ordinary(const char *head, size_t len)
{
	static const char *const types[] = { "text/plain", "text/html", "multipart/alternative" };
	static const char *const signs[] = { "X-Failed-Recipients", "X-Autoreply", "X-Autorespond", "Feedback-Type" };
	char v[VALUE_MAX];
	bool is_plain;
	size_t i;

	is_plain = !value_of(head, len, "Content-Type", v);
	for (i = 0; i < sizeof(types) / sizeof(types[0]) && !is_plain; i++)
		is_plain = strncasecmp(v, types[i], strlen(types[i])) == 0;
	if (!is_plain || (value_of(head, len, "Auto-Submitted", v) && strncasecmp(v, "no", 2) != 0))
		return false;
	for (i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (value_of(head, len, signs[i], v))
			return false;
	if (value_of(head, len, "Precedence", v) && strncasecmp(v, "auto", 4) == 0)
		return false;
	return !value_of(head, len, "From", v) ||
	    (strcasestr(v, "daemon") == NULL && strcasestr(v, "postmaster") == NULL);
}

const char *
no_report(const struct params *p, const struct policy *policy, const struct envelope *env, const char *head, size_t len)
{
	uint32_t i;

	/* The null sender is heard in any case: it cannot be told either. */
	if (policy == NULL || env->sender[0] == '\0')
		return NULL;
	for (i = 0; i < env->n_rcpts; i++)
		if (!is_reports_only(p, policy, env->rcpts[i].address))
			return NULL;
	return is_ordinary(head, len) ? "550 5.7.1 Only bounces and complaints are taken here" : NULL;
}
