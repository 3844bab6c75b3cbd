/* The guard: mail whose author's domain would fail DMARC at the receiver, sent from the chosen source, is not sent. It
 * goes back to queued with the reason (QL_GUARDED), which holds it and offers it again later; the first of it is an
 * Alert in the event log. What was found is kept for a while, for each source, author, return path and set of
 * signatures, and found out anew before it is used for long.
 *
 * DMARC passes (RFC 7489) by a DKIM signature of an aligned domain, whose key is published, or by SPF of an aligned
 * return path. Whether the author's domain has a DMARC record makes no difference but for strict alignment: large
 * receivers want bulk mail to be aligned in any case. */
#ifndef DELIVERD_GUARD_H
#define DELIVERD_GUARD_H

#include "deliverd/job.h"

struct guard;
struct json;
struct path;
struct source;

struct guard *guard_new(struct net *);
/* Those who wait are forgotten: items are gone before. */
void guard_free(struct guard **);
/* Whether the item may go by that path now. If not, it was finished, or waits here, and is given a path again when the
 * verdict is there. */
bool guard_admits(struct path *, struct item *);
/* For item_unlink(). */
void guard_leave(struct item *);
/* Drops what nobody has asked for lately. */
void guard_sweep(struct guard *);
/* For people: whether it is on, and whose mail is held from that source, as members of an object. */
void guard_explain(const struct source *, const struct site *, struct json *);

#endif
