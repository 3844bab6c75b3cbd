/* What follows from a failure beside the retry or the bounce: policy is asked, paths are suspended or slowed down,
 * somebody is alerted, the recipient is to be suppressed. */
#ifndef QUEUED_CONSEQUENCE_H
#define QUEUED_CONSEQUENCE_H

#include "queued/message.h"
#include "queued/verdict.h"

struct queued;

/* Asks the event bounce_classified. Its errors change nothing. */
void consequence_ask(struct queued *, const struct qenv *, const struct ql_result *, const struct verdict_input *,
    struct verdict *);
/* Suspends, slows, alerts. reply: one line. */
void consequence_take(struct queued *, const struct qenv *, const struct ql_result *, const struct verdict *,
    const char *reply);
/* The envelope ends by that failure: its recipient is to be suppressed, if the verdict says so. Before
 * changes_finish(). */
void consequence_suppress(struct queued *, const struct qenv *, const struct verdict *);
/* It ends because its time is over: likewise, by what its last failure was. */
void consequence_expired(struct queued *, const struct qenv *);

#endif
