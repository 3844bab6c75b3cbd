/* The dns role: libunbound in a jail of its own. It answers "who takes the mail of this name" on the partner link. */
#ifndef DELIVERD_DNSD_H
#define DELIVERD_DNSD_H

#include "base/loop.h"
#include "mail/params.h"

struct dnsd;

/* Makes the resolver and forces what it opens late (trust anchor, resolv.conf, random numbers), before the jail.
 * NULL: it has logged why. */
struct dnsd *dnsd_new(struct loop *, const struct params *);
void dnsd_free(struct dnsd **);
/* The net role's end of a socketpair; replaces the last one, whose questions are forgotten. */
void dnsd_set_peer(struct dnsd *, int fd);

#endif
