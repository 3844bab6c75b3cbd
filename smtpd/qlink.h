/* The worker's link to queued: a producer (mail/queue_link.h). queued may be away at any time; everything that was
 * said is then said again, or found by its scan. */
#ifndef SMTPD_QLINK_H
#define SMTPD_QLINK_H

#include "mail/eventlog.h"
#include "mail/token.h"

#include "smtpd/spool.h"

struct qlink;

struct qlink_ops {
	void (*granted)(void *arg);        /* a segment came */
	void (*flow)(bool hold, void *arg);/* hold back new mail, or go on; or the spool's room has changed */
};

struct qlink *qlink_new(struct loop *, const char *run_directory, const char *name, struct eventlog *,
    struct spool *, const struct qlink_ops *, void *arg);
void qlink_free(struct qlink **);
/* NULL until queued's first WELCOME. */
const struct token_signer *qlink_token(const struct qlink *);
/* What the spool has to say (spool_ops). */
void qlink_want(struct qlink *, uint8_t kind);
void qlink_done(struct qlink *, uint64_t segment, uint64_t end);
void qlink_received(struct qlink *, const struct record *, const struct wbuf *envelope);

#endif
