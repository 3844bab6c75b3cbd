/* The name under which an address stands in a tree of addresses: PTR records, block lists (RFC 5782). */
#ifndef MAIL_DNS_REVERSE_H
#define MAIL_DNS_REVERSE_H

#include <stdbool.h>
#include <stddef.h>

/* "1.2.0.192." or 32 nibbles, and the tail; NULL: in-addr.arpa, ip6.arpa. Cut at size. */
void dns_reverse_name(bool is_ip6, const unsigned char *ip, const char *tail, char *out, size_t size);

#endif
