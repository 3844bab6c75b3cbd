/* dns_reverse.h: RFC 1035 section 3.5, RFC 3596 section 2.5. */
#include <stdio.h>

#include "mail/dns_reverse.h"

void
dns_reverse_name(bool is_ip6, const unsigned char *ip, const char *tail, char *out, size_t size)
{
	char labels[65];
	int i, n = 0;

	if (!is_ip6)
		snprintf(labels, sizeof(labels), "%u.%u.%u.%u.", ip[3], ip[2], ip[1], ip[0]);
	for (i = 15; is_ip6 && i >= 0; i--)
		n += snprintf(labels + n, sizeof(labels) - (size_t)n, "%x.%x.", ip[i] & 15, ip[i] >> 4);
	snprintf(out, size, "%s%s", labels, tail != NULL ? tail : is_ip6 ? "ip6.arpa" : "in-addr.arpa");
}
