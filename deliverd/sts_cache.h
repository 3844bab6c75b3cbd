/* MTA-STS policies on disk: they outlive us, as RFC 8461 section 3.3 wants of what is in force for up to a year. One
 * file a domain, shared by the deliverd of each pool. */
#ifndef DELIVERD_STS_CACHE_H
#define DELIVERD_STS_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mail/mx.h"
#include "mail/sts_policy.h"

struct sts_entry {
	char id[STS_ID_MAX + 1];
	int64_t fetched, expires; /* wall ms */
	int64_t used;             /* some mail asked for it, about */
	char *text;
	size_t len;
};

struct sts_cache;
/* Never NULL: a directory that cannot be opened is logged, and nothing is kept then. Before the jail. */
struct sts_cache *sts_cache_new(const char *directory, unsigned max_entries);
void sts_cache_free(struct sts_cache **);
/* The policy of a domain (sts_domain_valid()) if it is in force. The entry is to be cleared. */
bool sts_cache_get(struct sts_cache *, const char *domain, int64_t wall_now, struct sts_entry *);
void sts_cache_put(struct sts_cache *, const char *domain, const struct sts_entry *);
void sts_entry_clear(struct sts_entry *);
/* Looks through the next few files, beginning again at the end: removes what has expired, and calls fn for the others.
 * False at the end. */
bool sts_cache_look(struct sts_cache *, int64_t wall_now, unsigned n,
    void (*fn)(const char *domain, const struct sts_entry *, void *arg), void *arg);

#endif
