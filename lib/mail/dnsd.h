/* The dns role of deliverd and smtpd: libunbound in a jail of its own. It answers the questions of dns_link.h on the
 * partner link. */
#ifndef MAIL_DNSD_H
#define MAIL_DNSD_H

#include "base/loop.h"
#include "mail/params.h"

struct dnsd;

/* Makes the resolver and forces what it opens late (trust anchor, resolv.conf, random numbers), before the jail.
 * NULL: it has logged why. */
struct dnsd *dnsd_new(struct loop *, const struct params *);
void dnsd_free(struct dnsd **);
/* The asking role's end of a socketpair; replaces the last one, whose questions are forgotten. */
void dnsd_set_peer(struct dnsd *, int fd);

/* The role's whole life, jail included, as `user`; the exit status. role: what the log calls it. is_partner: its asker
 * is its partner; else its second one (base/roles.h). */
int dnsd_main(const struct params *, const char *role, const char *user, bool is_partner);

#endif
