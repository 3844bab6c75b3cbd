/* What becomes of an envelope after an attempt, or instead of one. */
#ifndef QUEUED_RESULT_H
#define QUEUED_RESULT_H

#include "queued/message.h"

struct consumer;
struct queued;

/* A consumer's result. stage: its name if it is bouncerd or fblproc (stage_of()). The envelope may be gone
 * afterwards. */
void result_apply(struct queued *, struct qenv *, const struct ql_result *, const char *stage);
/* Its consumer is gone: back to its queue; no attempt is counted. */
void result_abandoned(struct queued *, struct qenv *);
/* A claimed envelope turned up. */
void result_put_in_flight(struct queued *, struct qenv *, struct consumer *);
/* Its time is over: Expiration event, notice, finished. */
/* What max_age is now may be more than what it was when the message came: true if it has time left then, which is
 * noted. */
bool result_is_prolonged(struct queued *, struct qenv *);
void result_expire(struct queued *, struct qenv *);
/* Policy ends it, with a reply of its own ("550 5.7.1 text"): Bounce event, notice. False: it cannot be ended now. */
bool result_reject(struct queued *, struct qenv *, const char *line);
/* An operator ends it: AdminBounce event; with a notice unless is_quiet. */
void result_admin_bounce(struct queued *, struct qenv *, const char *reason, bool is_quiet);
/* Its recipient is on the suppression list: AdminBounce event of class Suppressed, no notice. */
void result_suppressed(struct queued *, struct qenv *, const char *text);
/* Back to waiting until `due`, or ready if that is now; not an attempt. */
void result_defer(struct queued *, struct qenv *, int64_t due);
void result_hold(struct queued *, struct qenv *);
/* What an operator ordered while it was away. True if that settled it. */
bool result_order(struct queued *, struct qenv *);

#endif
