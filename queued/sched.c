/* Which queue is offered next. Pools spend the credit of their consumers on their queues in turns, one job a turn;
 * a queue takes part while it has something due and room in its window. Queues whose time comes while their pool
 * has no credit stay outside as a bare id (parked), so that a backlog of a million queues costs no memory. All work
 * is bounded per turn of the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/offer.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/wake.h"

#define TURN_WAKES 200
#define TURN_JOBS 1000
#define ACTIVE_MIN (POOL_ACTIVE_MAX / 2) /* parked queues are fetched while fewer take turns */
#define UNROUTED_RETRY_MS 60000
#define ARM_MAX_MS 30000

struct pool_set *
pools_new(struct queued *q)
{
	struct pool_set *set = xcalloc(1, sizeof(*set));

	set->q = q;
	return set;
}

void
pools_free(struct pool_set **setp)
{
	struct pool *p, *next;

	if (*setp == NULL)
		return;
	HASH_ITER(hh, (*setp)->all, p, next) {
		HASH_DEL((*setp)->all, p);
		free(p->parked);
		free(p->out_reason);
		free(p->name);
		free(p);
	}
	free(*setp);
	*setp = NULL;
}

struct pool *
pool_get(struct pool_set *set, const char *name)
{
	struct pool *p;

	HASH_FIND(hh, set->all, name, strlen(name), p);
	if (p != NULL)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->name = xstrdup(name);
	TAILQ_INIT(&p->consumers);
	TAILQ_INIT(&p->active);
	HASH_ADD_KEYPTR(hh, set->all, p->name, strlen(p->name), p);
	return p;
}

void
pool_park(struct pool_set *set, struct pool *p, uint32_t queue)
{
	if (wake_note(set->q->wake, queue) == WAKE_PARKED)
		return;
	wake_set(set->q->wake, queue, INT64_MAX, WAKE_PARKED);
	if (p->parked_head + p->parked_n == p->parked_cap) {
		if (p->parked_head > p->parked_cap / 2) {
			memmove(p->parked, p->parked + p->parked_head, p->parked_n * sizeof(*p->parked));
		} else {
			p->parked_cap = p->parked_cap == 0 ? 64 : p->parked_cap * 2;
			p->parked = xreallocarray(p->parked, p->parked_cap, sizeof(*p->parked));
			memmove(p->parked, p->parked + p->parked_head, p->parked_n * sizeof(*p->parked));
		}
		p->parked_head = 0;
	}
	p->parked[p->parked_head + p->parked_n++] = queue;
}

/* The queue's due mail is to be served now: makes the object, which squeue_release() may park again. */
static void
sched_wake(struct queued *q, uint32_t id)
{
	struct squeue *sq = squeue_by_id(q->queues, id);

	if (sq == NULL) {
		wake_remove(q->wake, id);
		return;
	}
	if (sq->pool == NULL) {
		sq->generation = 0;
		squeue_route(q, sq);
	}
	if (sq->pool == NULL)
		wake_set(q->wake, id, queue_now(q) + UNROUTED_RETRY_MS, WAKE_UNROUTED);
	else if (sq->held_by != 0)
		wake_set(q->wake, id, INT64_MAX, WAKE_SUSPENDED);
	else
		wake_remove(q->wake, id);
	sq->refs++;
	squeue_set_more_due(q->queues, sq);
	sq->refs--;
	squeue_release(q->queues, sq);
}

static void
sched_unpark(struct queued *q, struct pool *p)
{
	uint32_t id;

	while (p->parked_n > 0 && p->n_active < ACTIVE_MIN) {
		id = p->parked[p->parked_head++];
		if (--p->parked_n == 0)
			p->parked_head = 0;
		if (wake_note(q->wake, id) == WAKE_PARKED) {
			sched_wake(q, id);
			return;
		}
	}
}

/* However many destinations take nothing, and however wide their windows are, some credit must stay for those that do
 * take mail. So a queue may have outstanding at most SHARE times what credit is left; the last eighth is for queues
 * that have less than FEW outstanding, and of that the last half for those that have nothing. */
#define SHARE 2
#define FEW 5

uint64_t
sched_share(const struct squeue *sq)
{
	uint64_t credit = sq->pool->credit, has = sq->outstanding, reserve = sq->pool->capacity / 8, most;

	if (credit <= (has == 0 ? 0 : has < FEW ? reserve / 2 : reserve) || has >= SHARE * credit)
		return 0;
	most = credit > reserve ? credit - reserve : has == 0 ? 1 : FEW - has;
	return most < SHARE * credit - has ? most : SHARE * credit - has;
}

static void
sched_set_capacity(struct pool *p)
{
	const struct consumer *c;

	p->capacity = p->credit;
	TAILQ_FOREACH(c, &p->consumers, of_pool)
		p->capacity += c->outstanding;
}

/* Gives each of its queues a turn while there is credit. */
static void
sched_pool(struct queued *q, struct pool *p)
{
	unsigned budget = TURN_JOBS, passed = 0;
	bool is_stuck = false;
	struct squeue *sq;

	sched_set_capacity(p);
	while (p->credit > 0 && budget-- > 0 && !is_stuck) {
		if (p->parked_n > 0 && p->n_active < ACTIVE_MIN)
			sched_unpark(q, p);
		if ((sq = TAILQ_FIRST(&p->active)) == NULL) {
			if (p->parked_n == 0)
				return;
			continue;
		}
		sq->refs++;
		if (sched_share(sq) == 0) {
			/* When all that are left have enough, what changes that is a result or credit. */
			is_stuck = ++passed >= p->n_active;
		} else {
			passed = 0;
			if (sq->n_ready == 0 && sq->more_due)
				squeue_load(q->queues, sq);
			if (sq->n_ready > 0)
				is_stuck = offer_job(q, sq) == -1;
		}
		if (sq->is_active) {
			TAILQ_REMOVE(&p->active, sq, active);
			TAILQ_INSERT_TAIL(&p->active, sq, active);
		}
		sq->refs--;
		squeue_release(q->queues, sq);
	}
	/* If descriptors have run out, the next second's turn is soon enough. */
	if (p->credit > 0 && !is_stuck && (p->n_active > 0 || p->parked_n > 0))
		loop_again(q->loop);
}

void
sched_turn(struct queued *q)
{
	int64_t now = queue_now(q), due;
	struct pool *p, *next;
	unsigned n = 0;
	uint32_t id;

	/* Results could not be recorded: the next second looks again. */
	if (q->is_stopping || eventlog_stuck(q->events))
		return;
	while (wake_first(q->wake, &id, &due) && due <= now && n++ < TURN_WAKES)
		sched_wake(q, id);
	if (n > TURN_WAKES)
		loop_again(q->loop);
	HASH_ITER(hh, q->pools->all, p, next)
		if (p->credit > 0)
			sched_pool(q, p);
	sched_arm(q);
}

void
sched_arm(struct queued *q)
{
	int64_t due, delay;
	uint32_t id;

	if (!wake_first(q->wake, &id, &due) || due == INT64_MAX) {
		timer_cancel(&q->due_timer);
		return;
	}
	delay = due - queue_now(q);
	if (delay < 1)
		delay = 1;
	timer_set(&q->due_timer, delay > ARM_MAX_MS ? ARM_MAX_MS : delay);
}

void
sched_rerouted(struct queued *q)
{
	struct squeue *sq, *next;
	struct pool *p, *pnext;

	HASH_ITER(hh, q->queues->by_name, sq, next) {
		sq->refs++;
		squeue_route(q, sq);
		sq->refs--;
		squeue_release(q->queues, sq);
	}
	/* Parked ones may belong to another pool now: each finds its place when it is woken. */
	HASH_ITER(hh, q->pools->all, p, pnext) {
		for (; p->parked_n > 0; p->parked_n--) {
			if (wake_note(q->wake, p->parked[p->parked_head]) == WAKE_PARKED)
				wake_set(q->wake, p->parked[p->parked_head], queue_now(q), 0);
			p->parked_head++;
		}
		p->parked_head = 0;
	}
	wake_noted(q->wake, WAKE_UNROUTED, queue_now(q));
	loop_again(q->loop);
}
