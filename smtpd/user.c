/* The user object that travels from the auth role to a session (any role of smtpd). Content comes from our own passwd
 * file. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "smtpd/user.h"

void
user_clear(struct user *u)
{
	free(u->name);
	free(u->tenant);
	free(u->domains);
	memset(u, 0, sizeof *u);
}

void
user_copy(struct user *dst, const struct user *src)
{
	*dst = *src;
	dst->name = xstrdup(src->name);
	dst->tenant = src->tenant != NULL ? xstrdup(src->tenant) : NULL;
	dst->domains = src->domains != NULL ? xstrdup(src->domains) : NULL;
}

/* One entry of the list: "example.com", or ".example.com" for everything below it. */
static bool
domain_matches(const char *entry, size_t len, const char *domain)
{
	size_t dlen = strlen(domain);

	if (len == 0)
		return false;
	if (entry[0] == '.')
		return dlen > len && strncasecmp(domain + dlen - len, entry, len) == 0;
	return dlen == len && strncasecmp(domain, entry, len) == 0;
}

bool
user_may_send_as(const struct user *u, const char *address)
{
	const char *domain, *p;
	size_t len;

	if (u->domains == NULL || *address == '\0')
		return true;
	domain = address_domain(address);
	if (*domain == '\0')
		return false;
	for (p = u->domains; ; p += len + 1) {
		len = strcspn(p, ",");
		if (domain_matches(p, len, domain))
			return true;
		if (p[len] == '\0')
			return false;
	}
}
