/* The addresses that a connection will try, in order: preference, shuffled inside one; those that failed lately
 * last. */
#ifndef DELIVERD_PLAN_H
#define DELIVERD_PLAN_H

#include "deliverd/path.h"

struct target {
	struct mx_host *host;
	struct mx_addr *addr;
};

struct plan {
	struct mx_list *mx; /* holds a reference */
	uint16_t port;
	unsigned n;
	struct target v[];
};

/* NULL and *why if no address is left: all are ourselves (5.4.6), prohibited (5.4.4) or of another family (4.4.4). */
struct plan *plan_new(const struct path *, struct outcome *why);
void plan_free(struct plan **);

#endif
