/* What this process knows about the way to a destination, for `posthorn explain`: the site, and for each source of the
 * pool whether and how fast mail would leave through it. */
#ifndef DELIVERD_EXPLAIN_H
#define DELIVERD_EXPLAIN_H

#include "deliverd/net.h"

/* Answers QL_ASK with that id, now or when the domain has been looked up. */
void explain_start(struct net *, uint32_t id, const struct ql_admin *ask);

#endif
