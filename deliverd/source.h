/* The addresses that this pool sends from. A source whose address is not there is out for a while, and its mail goes
 * to another source of the pool or back to queued, never out from another address. */
#ifndef DELIVERD_SOURCE_H
#define DELIVERD_SOURCE_H

#include "deliverd/net.h"
#include "deliverd/site.h"

#define SOURCE_SITES 3 /* that fail alike, until it is the source's fault */

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
	int64_t out_ms;    /* the wait before the next try, longer each time */
	char *out_reason;  /* since it was taken out, until it is in again */
	bool is_probing;   /* out, but one connection may try */
	bool is_trying;    /* it does */
	struct timer timer;
	struct net *net;
	/* of connections since the last success */
	unsigned n_failures, n_unreachable, n_sites;
	const struct site *failed_sites[SOURCE_SITES]; /* only compared */
	int64_t first_failed;
	bool is_gone;      /* not in the configuration any more: paths wind down */
	unsigned refs;     /* paths, and one while listed */
};

#define SOURCE_OUT_MS 30000
#define SOURCE_OUT_MAX_MS 600000

/* Makes net->sources follow the pool. What did not change keeps its object. */
void sources_load(struct net *);
void sources_clear(struct net *);
void source_unref(struct source **);
bool source_has_family(const struct source *, int family);
bool source_fits(const struct source *, const struct mx_list *);
/* Whether its address can be bound now. */
bool source_probe(const struct source *);
/* Its address is gone: takes it out of use and moves its waiting mail. */
void source_out(struct net *, struct source *);
/* All addresses of a site failed to connect from it (errno of the last); whether it is out now for that. */
bool source_connect_failed(struct path *, int error);
void source_connected(struct path *);
bool source_is_in(const struct source *);
/* Begins a choice: all sources may be chosen. */
void source_choice(struct site *);
/* The next source for a site. NULL: none; *is_out_r tells whether one would do if it were there (else no family
 * fits). */
struct source *source_choose(struct site *, const struct msgid *, bool *is_out_r);
/* Not that one, in this choice. */
void source_refuse(struct site *, const struct source *);
/* An administrator wants mail tried now: those that are out are tried at once. */
void sources_retry(struct net *);
/* Tells queued if the pool has a source, when that changes; again: in any case. */
void sources_tell(struct net *, bool again);

#endif
