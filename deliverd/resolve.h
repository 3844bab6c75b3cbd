/* Where mail of a domain goes: a cache of answers of the dns role, each with those items that wait for it. An answer
 * leads to a site (site.h); so do address literals and relayhost, without a question where there is none to ask. */
#ifndef DELIVERD_RESOLVE_H
#define DELIVERD_RESOLVE_H

#include "deliverd/job.h"
#include "deliverd/result.h"

struct sts_known;

struct resolver *resolver_new(struct net *);
void resolver_free(struct resolver **);
/* The dns role's end of a socketpair; replaces the last one, whose open questions fail temporarily. */
void resolver_set_peer(struct resolver *, int fd);
/* Finds the site for the job's domain and passes the items on to it, now or when the answer is there. */
void resolver_route(struct resolver *, struct job *);
/* After a reload: nothing that was learnt under the old configuration is used for new mail. */
void resolver_forget(struct resolver *);
/* Drops what has expired and nobody waits for. */
void resolver_sweep(struct resolver *);
/* Calls fn once, now or when the answer is there: with the site of the domain; or with what would be said to mail for
 * it, and no site; or with neither, when the resolver goes before the answer comes. */
typedef void resolver_fn(const struct site *, const struct outcome *failure, void *arg);
void resolver_find(struct resolver *, const char *domain, resolver_fn *, void *arg);
/* The sts role's end of a socketpair. */
void resolver_set_sts_peer(struct resolver *, int fd);
/* What is known of the MTA-STS policy of a domain; NULL: nothing. Valid until the loop turns. */
const struct sts_known *resolver_sts(struct resolver *, const char *domain);
void dest_remove(struct dest *, struct item *);

#endif
