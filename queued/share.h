/* Fair shares of a pool: its queues stand in lanes, one for each tenant in each class of priority (mail without a
 * tenant has a lane of its own). A higher class goes first, a lower one always gets a small part; in a class the
 * lanes take turns by deficit round robin, weighted by the tenant's share, and in a lane its queues do. A lane also
 * keeps the ids of its queues that wait outside memory (parked). It exists while a queue in memory belongs to it or
 * one is parked in it. */
#ifndef QUEUED_SHARE_H
#define QUEUED_SHARE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "queued/squeue.h"

/* With more lanes than this in a pool, further tenants share some. */
#define LANES_MAX 8192
/* One out of so many envelopes is a lower class's as long as it has any. */
#define CLASS_PART 16

TAILQ_HEAD(queue_list, squeue);
TAILQ_HEAD(lane_list, lane);

struct pool;

struct lane {
	UT_hash_handle hh; /* in its class, by key */
	struct pool *pool;
	uint8_t priority;
	char *key; /* the tenant */
	size_t key_len;
	uint32_t refs;         /* queues in memory that belong to it */
	uint32_t weight;
	int64_t deficit;       /* envelopes that it may offer before the next lane's turn; debt if negative */
	uint64_t outstanding;  /* envelopes of its queues */
	struct queue_list active, passed; /* passed: cannot take anything in this turn of the pool */
	uint32_t n_active, n_passed;
	uint32_t turn;         /* of the pool, that n_passed is of */
	uint32_t *parked;      /* queue ids with due mail in the index, first in first out */
	size_t parked_head, parked_n, parked_cap;
	bool is_listed, is_passed;
	uint32_t passed_turn;
	TAILQ_ENTRY(lane) of_class;
};

struct share_class {
	struct lane *by_key;
	struct lane_list lanes, passed; /* those with active or parked queues */
	uint64_t outstanding;
	int64_t owed; /* sixteenths of envelopes that are its guaranteed part */
};

struct shares {
	struct share_class class[PRIORITIES];
	uint32_t n_lanes;
	uint32_t turn;
};

void shares_init(struct shares *);
void shares_clear(struct shares *);

/* Puts the queue into the lane that its pool, priority and tenant say (none without pool), with what it has
 * outstanding; out of the old one, as it is when the queue goes (pool = NULL). */
void lane_join(struct squeue *, struct pool *);
/* While somebody works with it, it stays. */
void lane_hold(struct lane *);
void lane_release(struct lane *);
/* One envelope more (1) or less (-1) is with a consumer. */
void lane_outstanding(struct squeue *, int by);
/* The queue takes turns, or no longer. */
void lane_add(struct squeue *);
void lane_remove(struct squeue *);
/* The queue waits outside memory; the id that waits longest, 0: none. */
void lane_park(struct lane *, uint32_t queue);
uint32_t lane_unpark(struct lane *);

/* A turn of the pool begins: all lanes and queues take part again. */
void shares_begin(struct pool *);
bool shares_waiting(const struct pool *); /* is a lane left in this turn of the pool? */
/* Whose turn it is; NULL: no lane is left. */
struct lane *shares_pick(struct pool *);
/* Its first queue that has not been passed in this turn. */
struct squeue *lane_first(struct lane *);
/* It offered n envelopes: the next is another's turn if its share is used up. */
void lane_charge(struct lane *, uint64_t n);
/* The queue, or the whole lane, takes nothing more in this turn of the pool. */
void lane_pass_queue(struct squeue *);
void lane_pass(struct lane *);
/* The next time it is the turn of another of the lane's queues. */
void lane_rotate(struct squeue *);

#endif
