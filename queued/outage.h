/* Pools whose sources are all out (QL_POOL): their mail waits, or goes to the fallback that policy names for the pool;
 * when a source is back, what has waited is released in stages. */
#ifndef QUEUED_OUTAGE_H
#define QUEUED_OUTAGE_H

#include <stdbool.h>

#include "queued/sched.h"

/* The pool that takes mail of this one now: itself, or the first of its fallbacks that is not out. */
struct pool *outage_pool(struct queued *, struct pool *);
/* A consumer says so. reason: why not usable. */
void outage_set(struct queued *, struct pool *, bool is_usable, const char *reason);
/* Whether anything may be offered to it at this moment. */
bool outage_may_offer(const struct pool *);
/* So many were offered. */
void outage_offered(struct pool *, unsigned n);
/* The next stage of those that come back; every second. */
void outage_second(struct queued *);

#endif
