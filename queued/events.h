/* queued's records of the event log: everything but Reception, Rejection and Delivery. */
#ifndef QUEUED_EVENTS_H
#define QUEUED_EVENTS_H

#include "mail/eventlog.h"
#include "queued/message.h"
#include "queued/verdict.h"

struct queued;

/* TransientFailure or Bounce after an attempt. next: wall ms of the next attempt, 0: none. */
void events_failure(struct queued *, const struct qenv *, const struct ql_result *, enum event_type,
    const struct verdict *, int64_t next);
/* Expiration, AdminBounce: ended by us. */
void events_ended(struct queued *, const struct qenv *, enum event_type, uint16_t code, const struct enhanced_code *,
    const char *text);
/* Delivery of a report, to bouncerd or fblproc. */
void events_reported(struct queued *, const struct qenv *, const char *protocol, const struct enhanced_code *,
    const char *text);
/* AdminBounce of class Suppressed. */
void events_suppressed(struct queued *, const struct qenv *, const char *text);
/* Reception of a message that we wrote ourselves. */
void events_generated(struct queued *, const struct record *, const struct envelope *, const struct squeue *);
/* Parked without an attempt. */
void events_delayed(struct queued *, const struct qenv *, const char *why);

/* AdminRebind: it is in another queue now, or its content is another, because an operator said so. */
void events_rebound(struct queued *, const struct qenv *, const char *from, const char *reason);

/* An override begins, changes or ends. */
struct effect;
void events_override(struct queued *, const struct effect *, const char *action, const char *why);

/* Alert: replies that somebody is to know of. */
struct automation_hit;
void events_alert(struct queued *, const struct automation_hit *, const char *made_by, const char *reason);

#endif
