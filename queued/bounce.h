/* Notices to senders (DSNs): what is to be said is gathered per message, written at the next commit into a segment
 * of queued's own, and made durable before the original is forgotten. */
#ifndef QUEUED_BOUNCE_H
#define QUEUED_BOUNCE_H

#include <stdbool.h>

#include "mail/dsn.h"
#include "queued/message.h"

struct notices;
struct queued;

struct notice_facts {
	enum dsn_action action;
	struct enhanced_code status;
	const char *remote_mta; /* NULL */
	const char *diagnostic; /* NULL */
	bool is_local;
	int64_t will_retry_until;
	const char *hard;       /* the address is no good: in words that programs know; NULL: it may be good */
};

struct notices *notices_new(struct queued *);
void notices_free(struct notices **);
bool notices_pending(const struct notices *);
/* Notes that the sender is to be told, if he has an address, asked for it (NOTIFY), and parameters and policy say so. The
 * envelope's message must have been read. */
void notice_add(struct queued *, struct qenv *, const struct notice_facts *);
/* Writes what is pending; what cannot be written stays pending. Called by the commit. */
void notices_write(struct notices *);

#endif
