/* Address ranges and address texts. The ranges come from configuration; the socket addresses from the kernel or,
 * through XCLIENT, from a trusted peer as text. Numeric only: nothing here asks a resolver. RFC 4632, RFC 4291
 * section 2.5.5.2 (IPv4-mapped). */
#include <arpa/inet.h>
#include <netinet/in.h>

#include <stdio.h>
#include <string.h>

#include "base/cidr.h"

/* An address without its family's packaging; mapped addresses as what they stand for. */
struct plain {
	int family;
	uint8_t addr[16];
	size_t len;
};

static void
plain_set6(struct plain *p, const struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a)) {
		p->family = AF_INET;
		p->len = 4;
		memcpy(p->addr, a->s6_addr + 12, 4);
		return;
	}
	p->family = AF_INET6;
	p->len = 16;
	memcpy(p->addr, a->s6_addr, 16);
}

static bool
plain_from(const struct sockaddr *sa, struct plain *p)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		p->family = AF_INET;
		p->len = 4;
		memcpy(p->addr, &in.sin_addr, 4);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		plain_set6(p, &in6.sin6_addr);
		return true;
	}
	return false;
}

static uint16_t
sockaddr_port(const struct sockaddr *sa)
{
	uint16_t port;

	/* The same place in both. */
	memcpy(&port, (const char *)sa + offsetof(struct sockaddr_in, sin_port), sizeof(port));
	return ntohs(port);
}

/* Copies an address without its optional brackets. */
static int
unbracket(const char *s, size_t len, char out[INET6_ADDRSTRLEN], bool *bracketed_r)
{
	*bracketed_r = len >= 2 && s[0] == '[' && s[len - 1] == ']';
	if (*bracketed_r) {
		s++;
		len -= 2;
	}
	if (len == 0 || len >= INET6_ADDRSTRLEN)
		return -1;
	memcpy(out, s, len);
	out[len] = '\0';
	return 0;
}

static int
parse_bits(const char *s, unsigned max, unsigned *bits_r)
{
	unsigned v = 0;

	if (*s == '\0' || (s[0] == '0' && s[1] != '\0'))
		return -1;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9' || (v = v * 10 + (unsigned)(*s - '0')) > max)
			return -1;
	}
	*bits_r = v;
	return 0;
}

static bool
host_bits_zero(const uint8_t *addr, unsigned bits, unsigned total)
{
	for (unsigned i = bits; i < total; i++)
		if ((addr[i / 8] & 0x80 >> i % 8) != 0)
			return false;
	return true;
}

int
cidr_parse(const char *s, struct cidr *c)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strcspn(s, "/");
	unsigned total, bits;
	bool bracketed;

	memset(c, 0, sizeof(*c));
	if (unbracket(s, len, text, &bracketed) == -1)
		return -1;
	if (!bracketed && inet_pton(AF_INET, text, c->addr) == 1)
		c->family = AF_INET;
	else if (inet_pton(AF_INET6, text, c->addr) == 1)
		c->family = AF_INET6;
	else
		return -1;
	bits = total = c->family == AF_INET ? 32 : 128;
	if (s[len] == '/' && parse_bits(s + len + 1, total, &bits) == -1)
		return -1;
	if (!host_bits_zero(c->addr, bits, total))
		return -1;
	if (c->family == AF_INET6 && bits >= 96 &&
	    IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)c->addr)) {
		memmove(c->addr, c->addr + 12, 4);
		memset(c->addr + 4, 0, 12);
		c->family = AF_INET;
		bits -= 96;
	}
	c->bits = (uint8_t)bits;
	return 0;
}

static bool
plain_in(const struct cidr *c, const struct plain *p)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (c->family != p->family || memcmp(c->addr, p->addr, whole) != 0)
		return false;
	return rest == 0 || ((c->addr[whole] ^ p->addr[whole]) & 0xff << (8 - rest) & 0xff) == 0;
}

bool
cidr_match(const struct cidr *c, const struct sockaddr *sa)
{
	struct plain p;

	return plain_from(sa, &p) && plain_in(c, &p);
}

bool
cidr_list_match(const struct cidr_list *l, const struct sockaddr *sa)
{
	struct plain p;

	if (!plain_from(sa, &p))
		return false;
	for (size_t i = 0; i < l->n; i++)
		if (plain_in(&l->v[i], &p))
			return true;
	return false;
}

void
sockaddr_text(const struct sockaddr *sa, char out[46])
{
	struct plain p;

	out[0] = '\0';
	if (plain_from(sa, &p) && inet_ntop(p.family, p.addr, out, 46) == NULL)
		out[0] = '\0';
}

void
sockaddr_port_text(const struct sockaddr *sa, char out[56])
{
	char text[46];

	sockaddr_text(sa, text);
	if (text[0] == '\0')
		out[0] = '\0';
	else
		snprintf(out, 56, strchr(text, ':') != NULL ? "[%s]:%u" : "%s:%u", text, (unsigned)sockaddr_port(sa));
}

int
sockaddr_parse(const char *addr, uint16_t port, struct sockaddr_storage *ss, socklen_t *len_r)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char text[INET6_ADDRSTRLEN];
	bool bracketed;

	if (unbracket(addr, strlen(addr), text, &bracketed) == -1)
		return -1;
	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		memcpy(ss, &in, sizeof(in));
		*len_r = sizeof(in);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
		memcpy(ss, &in6, sizeof(in6));
		*len_r = sizeof(in6);
		return 0;
	}
	return -1;
}

bool
sockaddr_equal_addr(const struct sockaddr *a, const struct sockaddr *b)
{
	struct plain p, q;

	return plain_from(a, &p) && plain_from(b, &q) && p.family == q.family && memcmp(p.addr, q.addr, p.len) == 0;
}

void
cidr_text(const struct cidr *c, char out[64])
{
	char addr[INET6_ADDRSTRLEN];

	if (inet_ntop(c->family, c->addr, addr, sizeof(addr)) == NULL)
		addr[0] = '\0';
	if (c->bits == (c->family == AF_INET ? 32 : 128))
		(void)snprintf(out, 64, "%s", addr);
	else
		(void)snprintf(out, 64, "%s/%u", addr, c->bits);
}

bool
sockaddr_is_public(const struct sockaddr *sa)
{
	static const char *const nets[] = { "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
		"172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7", "fe80::/10" };
	struct cidr net;

	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
		if (cidr_parse(nets[i], &net) == 0 && cidr_match(&net, sa))
			return false;
	return true;
}
