/* Rates of queues: of one queue, of all queues of a tenant, of all of a campaign (get_queue_config, overrides). They
 * are charged when envelopes are offered, in the buckets that outlive the daemons. A queue that has to wait stands in
 * the line of the rate that refused it, out of its pool's turns, and is called exactly when it may go on; queues of
 * one tenant thus take turns at its rate. */
#ifndef QUEUED_THROTTLE_H
#define QUEUED_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

struct queued;
struct squeue;
struct throttles;

struct throttles *throttles_new(struct queued *);
void throttles_free(struct throttles **);
/* Takes for up to `want` envelopes; returns for how many. 0: the queue waits, and is called. */
unsigned throttle_take(struct queued *, struct squeue *, unsigned want);
/* Whether it would get anything now, before envelopes are loaded; false: it waits, and is called. */
bool throttle_ready(struct queued *, struct squeue *);
/* Envelopes came back without an attempt. */
void throttle_give_back(struct queued *, struct squeue *, unsigned n);
/* It waits no more: freed, or routed anew. */
void throttle_leave(struct squeue *);
/* Whether the queue's object stays for its place in a line though nothing of it is in memory. */
bool throttle_keeps(const struct squeue *);
/* Rates have changed: everybody who waits asks again. */
void throttles_dissolve(struct queued *);
/* ms until it is called, at a guess; 0: it does not wait. */
int64_t throttle_wait(const struct queued *, const struct squeue *);
/* ms that it sleeps if it has no place in the line. */
int64_t throttle_sleep(const struct queued *, const struct squeue *);
/* "600/min of tenant acme", malloced: what it waits for; NULL: it does not. */
char *throttle_why(const struct squeue *) __attribute__((warn_unused_result));
/* For an explanation: members {name, value, use, origin} of an array. */
void throttle_json(struct queued *, const struct squeue *, struct json *);

#endif
