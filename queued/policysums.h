/* Errors of policy since queued's start, by daemon and event, for `posthorn status`: its own, and what the others say
 * (QL_POLICY_ERRORS). */
#ifndef QUEUED_POLICYSUMS_H
#define QUEUED_POLICYSUMS_H

#include "base/ipc.h"
#include "base/json.h"

struct policy_sums;

struct policy_sums *policy_sums_new(void);
void policy_sums_free(struct policy_sums **);
/* The frame, of producers and consumers; arg: the client. */
void policy_sums_on_errors(struct ipc *, struct ipc_msg *, void *arg);
/* The array "policy_errors": objects with daemon, event and errors. */
void policy_sums_json(const struct policy_sums *, struct json *);

#endif
