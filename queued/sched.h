/* Whose turn it is: pools, their consumers' credit, the queues that take turns, and the queues that wait outside
 * (parked) because there is no credit to spend on them. */
#ifndef QUEUED_SCHED_H
#define QUEUED_SCHED_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "queued/squeue.h"

struct consumer;

/* Queues that take turns at the same time without having anything in memory yet; more are parked. */
#define POOL_ACTIVE_MAX 512

struct pool {
	UT_hash_handle hh;
	char *name;
	TAILQ_HEAD(consumer_list, consumer) consumers;
	uint64_t credit; /* of all consumers */
	uint64_t capacity; /* credit and what it was given for, as of this turn */
	TAILQ_HEAD(active_list, squeue) active;
	uint32_t n_active;
	uint32_t *parked; /* queue ids with due mail in the index, first in first out */
	size_t parked_head, parked_n, parked_cap;
	bool is_out;     /* none of its sources can be used: its consumer said so (QL_POOL) */
	char *out_reason;
};

struct pool_set {
	struct queued *q;
	struct pool *all;
};

struct pool_set *pools_new(struct queued *);
void pools_free(struct pool_set **);
struct pool *pool_get(struct pool_set *, const char *name); /* made if new */
void pool_park(struct pool_set *, struct pool *, uint32_t queue);

/* Wakes queues whose time has come and offers what may be offered, within bounds; called on every turn. */
void sched_turn(struct queued *);
/* How much more of its pool's credit the queue may have. */
uint64_t sched_share(const struct squeue *);
/* Sets the timer for the next due time. */
void sched_arm(struct queued *);
/* After a reload: every queue asks policy again. */
void sched_rerouted(struct queued *);

#endif
