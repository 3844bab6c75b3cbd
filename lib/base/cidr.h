/* Address ranges, "192.0.2.0/24", "2001:db8::/32", "127.0.0.1", and the address part of sockets. */
#ifndef BASE_CIDR_H
#define BASE_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct cidr {
	int family; /* AF_INET or AF_INET6 */
	uint8_t addr[16];
	uint8_t bits;
};

struct cidr_list {
	struct cidr *v;
	size_t n;
};

/* 0 or -1. Host bits must be zero. */
int cidr_parse(const char *, struct cidr *) __attribute__((warn_unused_result));
/* "192.0.2.0/24"; a single address without its length. */
void cidr_text(const struct cidr *, char out[64]);
/* IPv4-mapped IPv6 addresses are compared as IPv4. */
bool cidr_match(const struct cidr *, const struct sockaddr *);
bool cidr_list_match(const struct cidr_list *, const struct sockaddr *);
/* "192.0.2.1" or "2001:db8::1" without brackets or port; "" on failure. */
void sockaddr_text(const struct sockaddr *, char out[46]);
/* "192.0.2.1:25", "[2001:db8::1]:25" */
void sockaddr_port_text(const struct sockaddr *, char out[56]);
/* Numeric only: "192.0.2.1", "2001:db8::1", optional brackets. 0 or -1. */
int sockaddr_parse(const char *addr, uint16_t port, struct sockaddr_storage *, socklen_t *)
    __attribute__((warn_unused_result));
/* Whether others can reach it. The documentation networks are treated as the public ones that they stand for. */
bool sockaddr_is_public(const struct sockaddr *);
bool sockaddr_equal_addr(const struct sockaddr *, const struct sockaddr *);

#endif
