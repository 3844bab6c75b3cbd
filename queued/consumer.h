/* The consumer's side of the link: credit, jobs handed out, segments opened for it. */
#ifndef QUEUED_CONSUMER_H
#define QUEUED_CONSUMER_H

#include <bsd/sys/queue.h>
#include <stdint.h>
#include <uthash.h>

#include "queued/message.h"
#include "queued/sched.h"

struct client;

/* What one consumer has of one segment. */
struct consumer_seg {
	UT_hash_handle hh;
	uint64_t number;
	struct consumer *consumer;
	struct qenv_list jobs;
	uint32_t n_jobs;
	bool is_open; /* QL_SEG_OPEN was sent */
};

struct consumer {
	struct client *client;
	struct pool *pool;
	TAILQ_ENTRY(consumer) of_pool;
	uint64_t credit;
	uint64_t outstanding;
	struct consumer_seg *segs;
	uint32_t n_segs;
	bool has_started; /* it has granted credit: no more HELD */
	bool is_stage;    /* bouncerd, fblproc: nothing of paths concerns it */
	bool is_current;  /* has our configuration: else nothing is offered, and its credit is not its pool's */
};

/* Role change after HELLO. */
void consumer_start(struct client *);
void consumer_stop(struct client *); /* the connection is gone: its jobs return to their queues */
/* Called by qenv_set_state() only: e->with is set and cleared here. */
void consumer_attach(struct qenv *);
void consumer_detach(struct qenv *);
/* What it has of that segment; made if new, nothing sent. */
struct consumer_seg *consumer_seg_get(struct consumer *, uint64_t number);
/* What it has of that segment, with the descriptor sent if that was not done. NULL and errno if the segment cannot
 * be opened. */
struct consumer_seg *consumer_segment(struct consumer *, struct segment *);
/* Our configuration has changed: who has the same one now? */
void consumers_review(struct queued *);
/* An administrator wants mail tried now. */
void consumers_retry(struct queued *);
/* Whether an envelope may be in its hands at all. */
bool consumer_may_have(const struct consumer *, const struct qenv *);
void consumer_cancel(struct consumer *, const struct qenv *);
extern const struct ipc_ops consumer_ops;

#endif
