/* What our own event log says of a message: the Reception record, for bounces that return nothing of it. The log of an
 * hour is ordered by time but for moments, so it is searched by halves. */
#ifndef BOUNCERD_HISTORY_H
#define BOUNCERD_HISTORY_H

#include "mail/queue_link.h"

struct history {
	char *recipient; /* NULL: not found */
	char *sender, *tenant, *campaign;
	struct meta *meta;
	uint32_t n_meta;
};

/* fd: a file of the event log. True if the message's record is in it. */
bool history_find(int fd, const struct envid *, struct history *);
void history_clear(struct history *);

#endif
