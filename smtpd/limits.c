/* Counts connections (worker role). Keys are client addresses; an entry lives as long as the address has a connection,
 * so memory is bounded by the connection limit. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <bsd/sys/tree.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/limits.h"

struct client {
	RB_ENTRY(client) entry;
	uint8_t key[9]; /* family, IPv4 address or the first 8 bytes of an IPv6 one */
	unsigned n;
};

static int
client_cmp(struct client *a, struct client *b)
{
	return memcmp(a->key, b->key, sizeof a->key);
}

RB_HEAD(client_tree, client);
RB_GENERATE_INTERNAL(client_tree, client, entry, client_cmp, __attribute__((unused)) static)

struct clients {
	struct client_tree tree;
	unsigned limit;
};

struct clients *
clients_new(unsigned limit)
{
	struct clients *c = xcalloc(1, sizeof *c);

	RB_INIT(&c->tree);
	c->limit = limit;
	return c;
}

void
clients_free(struct clients **cp)
{
	struct clients *c = *cp;
	struct client *e;

	if (c == NULL)
		return;
	while ((e = RB_MIN(client_tree, &c->tree)) != NULL) {
		RB_REMOVE(client_tree, &c->tree, e);
		free(e);
	}
	free(c);
	*cp = NULL;
}

static void
make_key(const struct sockaddr *sa, uint8_t key[9])
{
	const struct sockaddr_in6 *in6;
	const uint8_t *v4 = NULL;

	memset(key, 0, 9);
	if (sa->sa_family == AF_INET) {
		v4 = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
	} else if (sa->sa_family == AF_INET6) {
		in6 = (const struct sockaddr_in6 *)(const void *)sa;
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
			v4 = in6->sin6_addr.s6_addr + 12;
		} else {
			key[0] = 6;
			memcpy(key + 1, in6->sin6_addr.s6_addr, 8);
		}
	}
	if (v4 != NULL) {
		key[0] = 4;
		memcpy(key + 1, v4, 4);
	}
}

static struct client *
client_find(struct clients *c, const struct sockaddr *sa, struct client *probe)
{
	make_key(sa, probe->key);
	return RB_FIND(client_tree, &c->tree, probe);
}

bool
clients_add(struct clients *c, const struct sockaddr *sa)
{
	struct client probe, *e = client_find(c, sa, &probe);

	if (e != NULL && c->limit > 0 && e->n >= c->limit)
		return false;
	if (e == NULL) {
		e = xcalloc(1, sizeof *e);
		memcpy(e->key, probe.key, sizeof e->key);
		RB_INSERT(client_tree, &c->tree, e);
	}
	e->n++;
	return true;
}

void
clients_remove(struct clients *c, const struct sockaddr *sa)
{
	struct client probe, *e = client_find(c, sa, &probe);

	if (e == NULL)
		panic("connection of an unknown client ended");
	if (--e->n == 0) {
		RB_REMOVE(client_tree, &c->tree, e);
		free(e);
	}
}
