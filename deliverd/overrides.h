/* The overrides that queued has told us of (mail/override.h): which of them hold a path, and which limits lie over its
 * configuration. The list is queued's; it stays while queued is away, and what queued does not name again is gone. */
#ifndef DELIVERD_OVERRIDES_H
#define DELIVERD_OVERRIDES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "mail/override.h"

struct imposed;

struct imposed *imposed_new(void);
void imposed_free(struct imposed **);
/* A new greeting: what is not said again before imposed_ended(0) is gone then. */
void imposed_welcome(struct imposed *);
/* QL_OVERRIDE. 0, or -1: malformed, or too many. */
int imposed_said(struct imposed *, struct rbuf *) __attribute__((warn_unused_result));
/* QL_OVERRIDE_END. */
void imposed_ended(struct imposed *, uint64_t id);
/* Grows with every change: who keeps what was made of them compares it. */
uint64_t imposed_generation(const struct imposed *);

/* What has changed since imposed_seen(), as far as a path has to know. */
bool imposed_has_changed(const struct imposed *);
bool imposed_limits_changed(const struct imposed *); /* of any path */
enum { IMPOSED_LIMITS = 1, IMPOSED_HOLDS = 2 };
/* Which of both has changed for a path (source, site, provider, pool). */
unsigned imposed_touches(const struct imposed *, const struct override_target *path);
void imposed_seen(struct imposed *);

/* NULL: it has ended. Valid until the next change. */
const struct override *imposed_find(const struct imposed *, uint64_t id);
/* The suspensions that hold mail of a path, all of it or some: for imposed_longest(). The array is malloced. */
unsigned imposed_holds(const struct imposed *, const struct override_target *path, uint64_t **ids_r);
/* As imposed_suspends(), of these only. */
const struct override *imposed_longest(const struct imposed *, const uint64_t *ids, unsigned n,
    const struct override_target *);
/* The suspension that holds this longest; NULL: none. With tenant, campaign and domain in the target: an item
 * that got its path. Without: the path itself, whoever's mail it is. Valid until the next change. */
const struct override *imposed_suspends(const struct imposed *, const struct override_target *);
/* Lays all limits over the configuration of a path; by field, which override won (0: none). ids may be NULL. */
void imposed_apply(const struct imposed *, const struct override_target *, struct policy_path_config *,
    uint64_t ids[POLICY_PATH_FIELDS_MAX]);
/* "suspended by override 12 (admin root): too many complaints", malloced. */
char *imposed_text(const struct override *) __attribute__((warn_unused_result));
/* "override 12 (admin root): too many complaints", malloced; NULL: one that has just ended. */
char *imposed_origin(const struct override *) __attribute__((warn_unused_result));

#endif
