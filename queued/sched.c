/* Which queue is offered next. Pools spend the credit of their consumers on their queues in turns, one job a turn;
 * a queue takes part while it has something due and room in its window, in the order of share.h. Queues whose time
 * comes while their pool has no credit stay outside as a bare id (parked), so that a backlog of a million queues costs
 * no memory. All work is bounded per turn of the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/offer.h"
#include "queued/outage.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/throttle.h"
#include "queued/wake.h"

#define TURN_WAKES 200
#define TURN_JOBS 1000
/* Parked queues are fetched while fewer take turns. */
#define ACTIVE_MIN (POOL_ACTIVE_MAX / 2)
#define LANE_ACTIVE_MIN (LANE_ACTIVE_MAX / 2)
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
		shares_clear(&p->shares);
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
	shares_init(&p->shares);
	HASH_ADD_KEYPTR(hh, set->all, p->name, strlen(p->name), p);
	return p;
}

void
pool_park(struct pool_set *set, struct lane *l, uint32_t queue)
{
	if (wake_note(set->q->wake, queue) == WAKE_PARKED)
		return;
	wake_set(set->q->wake, queue, INT64_MAX, WAKE_PARKED);
	lane_park(l, queue);
}

static void
lane_unpark_all(struct queued *q, struct lane *l)
{
	uint32_t id;

	lane_hold(l);
	while ((id = lane_unpark(l)) != 0)
		if (wake_note(q->wake, id) == WAKE_PARKED)
			wake_set(q->wake, id, queue_now(q), 0);
	lane_release(l);
}

void
pool_unpark_all(struct queued *q, struct pool *p)
{
	struct lane *l, *next;
	unsigned i;

	for (i = 0; i < PRIORITIES; i++)
		HASH_ITER(hh, p->shares.class[i].by_key, l, next)
			lane_unpark_all(q, l);
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

/* May it have another of its parked queues in memory? */
static bool
lane_wants_parked(const struct lane *l)
{
	return l->parked_n > 0 && (l->pool->n_active < ACTIVE_MIN || l->n_active < LANE_ACTIVE_MIN);
}

static void
sched_unpark(struct queued *q, struct lane *l)
{
	uint32_t id;

	while (lane_wants_parked(l)) {
		id = lane_unpark(l);
		if (wake_note(q->wake, id) == WAKE_PARKED) {
			sched_wake(q, id);
			return;
		}
	}
}

/* However many destinations take nothing, and however wide their windows are, some credit must stay for those that do
 * take mail. So a queue may have outstanding at most SHARE times what credit is left; the last part is for queues that
 * have less than FEW outstanding, and of that the last half for those that have nothing. Likewise for lanes, so that a
 * tenant whose mail does not move leaves some for the others, and for classes. */
#define SHARE 2
#define LANE_SHARE 8
#define FEW 5
#define QUEUE_PART 8
#define LANE_PART 16
#define CLASS_RESERVE_PART 32
#define RESERVE_MIN 8 /* with less capacity there is nothing to keep back */

static uint64_t
sched_reserve(const struct pool *p, unsigned part, uint64_t has)
{
	uint64_t reserve = (p->capacity + (p->capacity < RESERVE_MIN ? 0 : part - 1)) / part;

	return has == 0 ? 0 : has < FEW ? reserve / 2 : reserve;
}

/* The same for a queue that has so much, in that lane. */
static uint64_t
sched_lane_share(const struct lane *l, uint64_t has)
{
	const struct pool *p = l->pool;
	uint64_t credit = p->credit, lane_most = LANE_SHARE * credit * l->weight, most, all;

	if (has >= SHARE * credit || l->outstanding >= lane_most ||
	    credit <= sched_reserve(p, QUEUE_PART, has) + sched_reserve(p, LANE_PART, l->outstanding) +
	    sched_reserve(p, CLASS_RESERVE_PART, p->shares.class[l->priority].outstanding))
		return 0;
	all = sched_reserve(p, QUEUE_PART, FEW) + sched_reserve(p, LANE_PART, FEW) +
	    sched_reserve(p, CLASS_RESERVE_PART, FEW);
	most = credit > all ? credit - all : 1;
	if (most > SHARE * credit - has)
		most = SHARE * credit - has;
	return most < lane_most - l->outstanding ? most : lane_most - l->outstanding;
}

uint64_t
sched_share(const struct squeue *sq)
{
	return sched_lane_share(sq->lane, sq->outstanding);
}

static void
sched_set_capacity(struct pool *p)
{
	const struct consumer *c;

	p->capacity = p->credit;
	TAILQ_FOREACH(c, &p->consumers, of_pool)
		p->capacity += c->outstanding;
}

/* One turn of the lane's next queue. -1: descriptors have run out. */
static int
sched_queue(struct queued *q, struct lane *l, struct squeue *sq)
{
	uint32_t had = sq->outstanding;
	int rc = 0;

	sq->refs++;
	if (sched_share(sq) == 0) {
		/* Credit only shrinks in this turn of the pool; what changes that is a result or credit. */
		lane_pass_queue(sq);
	} else {
		if (sq->n_ready == 0 && sq->more_due && throttle_ready(q, sq))
			squeue_load(q->queues, sq);
		if (sq->n_ready > 0)
			rc = offer_job(q, sq);
		if (sq->is_active)
			lane_rotate(sq);
		if (sq->outstanding > had)
			lane_charge(l, sq->outstanding - had);
	}
	sq->refs--;
	squeue_release(q->queues, sq);
	return rc;
}

static int
sched_lane(struct queued *q, struct lane *l)
{
	struct squeue *sq;
	int rc = 0;

	if (sched_lane_share(l, 0) == 0) {
		lane_pass(l);
		return 0;
	}
	lane_hold(l);
	if (lane_wants_parked(l))
		sched_unpark(q, l);
	if ((sq = lane_first(l)) != NULL)
		rc = sched_queue(q, l, sq);
	else if (l->is_listed && !lane_wants_parked(l))
		lane_pass(l);
	lane_release(l);
	return rc;
}

/* Gives each of its lanes, and their queues, a turn while there is credit. */
static void
sched_pool(struct queued *q, struct pool *p)
{
	unsigned budget = TURN_JOBS;
	struct lane *l;

	sched_set_capacity(p);
	shares_begin(p);
	while (p->credit > 0 && outage_may_offer(p) && budget-- > 0) {
		if ((l = shares_pick(p)) == NULL)
			return;
		/* If descriptors have run out, the next second's turn is soon enough. */
		if (sched_lane(q, l) == -1)
			return;
	}
	if (p->credit > 0 && outage_may_offer(p) && shares_waiting(p))
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
	HASH_ITER(hh, q->pools->all, p, pnext)
		pool_unpark_all(q, p);
	wake_noted(q->wake, WAKE_UNROUTED, queue_now(q));
	wake_noted_slowly(q->wake, WAKE_THROTTLED, queue_now(q));
	overrides_rerouted(q);
	loop_again(q->loop);
}
