/* Names of tenants, campaigns and queues (names.h). Pure; smtpd for headers, the policy engine for set_meta. */
#include <stdio.h>
#include <string.h>

#include "mail/address.h"
#include "mail/names.h"

static bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    (c != '\0' && strchr("._+-", c) != NULL);
}

static bool
part_valid(const char *s, size_t len, size_t max)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!is_name_char(s[i]))
			return false;
	return len > 0 && len <= max;
}

bool
tenant_valid(const char *s)
{
	return part_valid(s, strlen(s), TENANT_MAX);
}

void
campaign_clean(char *s)
{
	for (; *s != '\0'; s++)
		if (!is_name_char(*s))
			*s = '_';
}

void
queue_name_make(char *out, size_t size, const char *campaign, const char *tenant, const char *domain)
{
	if (campaign != NULL && tenant != NULL)
		snprintf(out, size, "%s:%s@%s", campaign, tenant, domain);
	else if (campaign != NULL)
		snprintf(out, size, "%s:@%s", campaign, domain);
	else if (tenant != NULL)
		snprintf(out, size, "%s@%s", tenant, domain);
	else
		snprintf(out, size, "%s", domain);
}

bool
queue_name_valid(const char *s)
{
	const char *at = strrchr(s, '@'), *domain = at != NULL ? at + 1 : s, *colon, *c;

	if (strlen(s) >= QUEUE_NAME_TEXT || !address_domain_valid(domain, true))
		return false;
	for (c = domain; *domain != '[' && *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			return false;
	if (at == NULL)
		return true;
	colon = memchr(s, ':', (size_t)(at - s));
	if (colon == NULL)
		return part_valid(s, (size_t)(at - s), TENANT_MAX);
	return part_valid(s, (size_t)(colon - s), CAMPAIGN_MAX) &&
	    (colon + 1 == at || part_valid(colon + 1, (size_t)(at - colon - 1), TENANT_MAX));
}
