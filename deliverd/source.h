/* The addresses that this pool sends from. A source whose address is not there is out for a while, and its mail goes
 * to another source of the pool or back to queued, never out from another address. */
#ifndef DELIVERD_SOURCE_H
#define DELIVERD_SOURCE_H

#include "deliverd/net.h"
#include "deliverd/site.h"

struct source {
	TAILQ_ENTRY(source) link;
	char *name;
	char *address;     /* NULL: whatever the kernel chooses, said explicitly by policy */
	char *ehlo;        /* NULL: myhostname */
	uint16_t remote_port;
	uint32_t weight;
	struct sockaddr_storage sa;
	socklen_t salen;   /* 0 without address */
	int64_t out_until; /* loop_now(); 0: in use */
	bool is_gone;      /* not in the configuration any more: paths wind down */
	unsigned refs;     /* paths, and one while listed */
};

#define SOURCE_OUT_MS 30000

/* Makes net->sources follow the pool. What did not change keeps its object. */
void sources_load(struct net *);
void sources_clear(struct net *);
void source_unref(struct source **);
bool source_has_family(const struct source *, int family);
bool source_fits(const struct source *, const struct mx_list *);
/* Whether its address can be bound now. */
bool source_probe(const struct source *);
/* Takes it out of use and moves its waiting mail. */
void source_out(struct net *, struct source *);
/* The next source for a site. NULL: none; *is_out_r tells whether one would do if it were there (else no family
 * fits). */
struct source *source_choose(struct site *, const struct msgid *, bool *is_out_r);

#endif
