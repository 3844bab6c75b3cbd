/* Names of tenants, campaigns and queues (names.h). Pure; smtpd for headers, the policy engine for set_meta. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
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
	bool has_campaign = campaign != NULL && *campaign != '\0', has_tenant = tenant != NULL && *tenant != '\0';

	(void)snprintf(out, size, "%s%s%s%s%s", has_campaign ? campaign : "", has_campaign ? ":" : "",
	    has_tenant ? tenant : "", has_campaign || has_tenant ? "@" : "", domain);
}

size_t
destination_host(const char *s, uint16_t *port_r)
{
	size_t len = strlen(s), digits;
	const char *p = s + len;
	unsigned long port;

	*port_r = 0;
	while (p > s && p[-1] >= '0' && p[-1] <= '9')
		p--;
	digits = (size_t)(s + len - p);
	/* In a literal the colons are inside. */
	if (digits == 0 || digits > 5 || p - s < 2 || p[-1] != ':' || (*s == '[' && p[-2] != ']'))
		return len;
	port = strtoul(p, NULL, 10);
	if (port < 1 || port > UINT16_MAX)
		return len;
	*port_r = (uint16_t)port;
	return (size_t)(p - 1 - s);
}

bool
destination_valid(const char *s)
{
	char host[ADDRESS_MAX];
	uint16_t port;
	size_t len = destination_host(s, &port), i;

	if (len >= sizeof(host))
		return false;
	memcpy(host, s, len);
	host[len] = '\0';
	for (i = 0; *host != '[' && i < len; i++)
		if (host[i] >= 'A' && host[i] <= 'Z')
			return false;
	return address_domain_valid(host, true);
}

bool
queue_name_valid(const char *s)
{
	const char *at = strrchr(s, '@'), *colon;

	if (strlen(s) >= QUEUE_NAME_TEXT || !destination_valid(at != NULL ? at + 1 : s))
		return false;
	if (at == NULL)
		return true;
	colon = memchr(s, ':', (size_t)(at - s));
	if (colon == NULL)
		return part_valid(s, (size_t)(at - s), TENANT_MAX);
	return part_valid(s, (size_t)(colon - s), CAMPAIGN_MAX) &&
	    (colon + 1 == at || part_valid(colon + 1, (size_t)(at - colon - 1), TENANT_MAX));
}

void
queue_name_split(const char *name, char **campaign_r, char **tenant_r, char **domain_r)
{
	const char *at = strrchr(name, '@'), *colon;
	char *bang;

	*campaign_r = *tenant_r = NULL;
	*domain_r = xstrdup(at == NULL ? name : at + 1);
	/* KumoMTA's routing domain: mail goes where it says. */
	if ((bang = strchr(*domain_r, '!')) != NULL && bang[1] != '\0')
		memmove(*domain_r, bang + 1, strlen(bang + 1) + 1);
	if (at == NULL)
		return;
	colon = memchr(name, ':', (size_t)(at - name));
	if (colon != NULL) {
		*campaign_r = xmemdup0(name, (size_t)(colon - name));
		name = colon + 1;
	}
	if (at > name)
		*tenant_r = xmemdup0(name, (size_t)(at - name));
}
