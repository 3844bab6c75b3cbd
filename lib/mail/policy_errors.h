/* How often policy failed, by event: counted where it fails, in every process that asks it; reported to queued by those
 * that have a link to it (QL_POLICY_ERRORS), and shown by `posthorn status'. The log says what was wrong. */
#ifndef MAIL_POLICY_ERRORS_H
#define MAIL_POLICY_ERRORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/wire.h"

#define POLICY_ERRORS_MAX 32 /* events */

struct policy_errors {
	uint64_t n[POLICY_ERRORS_MAX]; /* as policy_errors_event() counts */
};

/* The name of an event; NULL behind the last. */
const char *policy_errors_event(size_t i);
/* Those of this process since its start. */
const struct policy_errors *policy_errors_own(void);
/* What to add to a sum, by the names of events: programs of two versions may talk while one is being replaced, and an
 * event that the receiver does not know is left out. */
void policy_errors_encode(const struct policy_errors *, struct wbuf *);
int policy_errors_decode(struct rbuf *, struct policy_errors *) __attribute__((warn_unused_result));

/* Says what was added, a moment after it was; send says whether it could, else it is asked again. One a process. */
typedef bool policy_errors_send_fn(const struct wbuf *, void *arg);
struct policy_errors_report;
struct policy_errors_report *policy_errors_report_new(struct loop *, policy_errors_send_fn *, void *arg);
void policy_errors_report_free(struct policy_errors_report **);

#endif
