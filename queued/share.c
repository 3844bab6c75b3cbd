/* Lanes, classes and whose turn it is among them. Every step is O(1) or paid for by an envelope that was offered: a
 * debt is worked off in rounds, of which each one gives some lane its turn. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/sched.h"
#include "queued/share.h"

/* What a class that is passed over for want of credit may be owed at most. */
#define OWED_MAX ((int64_t)CLASS_PART * CLASS_PART)
#define COMMON_LANES 64

void
shares_init(struct shares *s)
{
	unsigned i;

	memset(s, 0, sizeof(*s));
	s->turn = 1;
	for (i = 0; i < PRIORITIES; i++) {
		TAILQ_INIT(&s->class[i].lanes);
		TAILQ_INIT(&s->class[i].passed);
	}
}

static struct share_class *
lane_class(const struct lane *l)
{
	return &l->pool->shares.class[l->priority];
}

static void
lane_free(struct lane *l)
{
	struct share_class *c = lane_class(l);

	HASH_DEL(c->by_key, l);
	l->pool->shares.n_lanes--;
	free(l->parked);
	free(l->key);
	free(l);
}

void
shares_clear(struct shares *s)
{
	struct lane *l, *next;
	unsigned i;

	for (i = 0; i < PRIORITIES; i++)
		HASH_ITER(hh, s->class[i].by_key, l, next)
			lane_free(l);
}

/* The tenant's own lane, or if there are too many, one of those that are common (their keys begin with a NUL). */
static struct lane *
lane_get(struct pool *p, uint8_t priority, const char *tenant)
{
	struct share_class *c = &p->shares.class[priority];
	char common[2] = { '\0', '\0' };
	const char *key = tenant == NULL ? "" : tenant;
	size_t len = strlen(key);
	unsigned hash;
	struct lane *l;

	HASH_FIND(hh, c->by_key, key, len, l);
	if (l == NULL && p->shares.n_lanes >= LANES_MAX && len > 0) {
		HASH_VALUE(key, len, hash);
		common[1] = (char)(hash % COMMON_LANES);
		key = common;
		len = sizeof(common);
		HASH_FIND(hh, c->by_key, key, len, l);
	}
	if (l != NULL)
		return l;
	l = xcalloc(1, sizeof(*l));
	l->pool = p;
	l->priority = priority;
	l->weight = 1;
	l->key = xmemdup0(key, len);
	l->key_len = len;
	l->turn = p->shares.turn;
	TAILQ_INIT(&l->active);
	TAILQ_INIT(&l->passed);
	HASH_ADD_KEYPTR(hh, c->by_key, l->key, l->key_len, l);
	p->shares.n_lanes++;
	return l;
}

/* A lane that has nothing to offer leaves the round, and keeps only debt. */
static void
lane_settle(struct lane *l)
{
	struct share_class *c = lane_class(l);
	bool want = l->n_active > 0 || l->parked_n > 0;

	if (want && !l->is_listed) {
		TAILQ_INSERT_TAIL(&c->lanes, l, of_class);
		l->passed_turn = 0;
	} else if (!want && l->is_listed) {
		if (l->passed_turn == l->pool->shares.turn)
			TAILQ_REMOVE(&c->passed, l, of_class);
		else
			TAILQ_REMOVE(&c->lanes, l, of_class);
		if (l->deficit > 0)
			l->deficit = 0;
	}
	l->is_listed = want;
	if (!want && l->refs == 0)
		lane_free(l);
}

/* Those that were passed in an earlier turn take part again. */
static void
lane_refresh(struct lane *l)
{
	if (l->turn == l->pool->shares.turn)
		return;
	l->turn = l->pool->shares.turn;
	TAILQ_CONCAT(&l->active, &l->passed, active);
}

void
lane_add(struct squeue *sq)
{
	struct lane *l = sq->lane;

	TAILQ_INSERT_TAIL(&l->active, sq, active);
	sq->passed_turn = 0;
	sq->is_active = true;
	l->n_active++;
	l->pool->n_active++;
	lane_settle(l);
}

void
lane_remove(struct squeue *sq)
{
	struct lane *l = sq->lane;

	lane_refresh(l);
	if (sq->passed_turn == l->turn)
		TAILQ_REMOVE(&l->passed, sq, active);
	else
		TAILQ_REMOVE(&l->active, sq, active);
	sq->is_active = false;
	l->n_active--;
	l->pool->n_active--;
	lane_settle(l);
}

void
lane_join(struct squeue *sq, struct pool *pool)
{
	struct lane *old = sq->lane, *l = NULL;

	if (pool != NULL) {
		l = lane_get(pool, (uint8_t)sq->config.priority, sq->tenant);
		l->weight = (uint32_t)sq->config.tenant_share;
	}
	if (l == old)
		return;
	if (sq->is_active)
		lane_remove(sq);
	if (l != NULL) {
		l->refs++;
		l->outstanding += sq->outstanding;
		lane_class(l)->outstanding += sq->outstanding;
	}
	sq->lane = l;
	if (old != NULL) {
		old->outstanding -= sq->outstanding;
		lane_class(old)->outstanding -= sq->outstanding;
		old->refs--;
		lane_settle(old);
	}
}

void
lane_hold(struct lane *l)
{
	l->refs++;
}

void
lane_release(struct lane *l)
{
	l->refs--;
	lane_settle(l);
}

void
lane_outstanding(struct squeue *sq, int by)
{
	if (sq->lane == NULL)
		return;
	sq->lane->outstanding += (uint64_t)(int64_t)by;
	lane_class(sq->lane)->outstanding += (uint64_t)(int64_t)by;
}

void
lane_park(struct lane *l, uint32_t queue)
{
	if (l->parked_head + l->parked_n == l->parked_cap) {
		if (l->parked_head <= l->parked_cap / 2) {
			l->parked_cap = l->parked_cap == 0 ? 4 : l->parked_cap * 2;
			l->parked = xreallocarray(l->parked, l->parked_cap, sizeof(*l->parked));
		}
		memmove(l->parked, l->parked + l->parked_head, l->parked_n * sizeof(*l->parked));
		l->parked_head = 0;
	}
	l->parked[l->parked_head + l->parked_n++] = queue;
	l->pool->parked_n++;
	lane_settle(l);
}

uint32_t
lane_unpark(struct lane *l)
{
	uint32_t id;

	if (l->parked_n == 0)
		return 0;
	id = l->parked[l->parked_head++];
	l->pool->parked_n--;
	if (--l->parked_n == 0) {
		l->parked_head = l->parked_cap = 0;
		free(l->parked);
		l->parked = NULL;
		lane_settle(l);
	}
	return id;
}

void
shares_begin(struct pool *p)
{
	struct share_class *c;
	unsigned i;

	/* 0 is no turn: nothing is passed. */
	if (++p->shares.turn == 0)
		p->shares.turn = 1;
	for (i = 0; i < PRIORITIES; i++) {
		c = &p->shares.class[i];
		TAILQ_CONCAT(&c->lanes, &c->passed, of_class);
		if (TAILQ_EMPTY(&c->lanes))
			c->owed = 0;
	}
}

bool
shares_waiting(const struct pool *p)
{
	unsigned i;

	for (i = 0; i < PRIORITIES; i++)
		if (!TAILQ_EMPTY(&p->shares.class[i].lanes))
			return true;
	return false;
}

static struct share_class *
shares_pick_class(struct shares *s)
{
	unsigned i;

	for (i = PRIORITIES; i-- > 1;)
		if (s->class[i].owed >= CLASS_PART && !TAILQ_EMPTY(&s->class[i].lanes))
			return &s->class[i];
	for (i = 0; i < PRIORITIES; i++)
		if (!TAILQ_EMPTY(&s->class[i].lanes))
			return &s->class[i];
	return NULL;
}

struct lane *
shares_pick(struct pool *p)
{
	struct share_class *c = shares_pick_class(&p->shares);
	struct lane *l;

	if (c == NULL)
		return NULL;
	for (;;) {
		l = TAILQ_FIRST(&c->lanes);
		if (l->deficit <= 0 && TAILQ_NEXT(l, of_class) == NULL)
			l->deficit = l->weight;
		else if (l->deficit <= 0)
			l->deficit += l->weight;
		if (l->deficit > 0)
			break;
		TAILQ_REMOVE(&c->lanes, l, of_class);
		TAILQ_INSERT_TAIL(&c->lanes, l, of_class);
	}
	lane_refresh(l);
	return l;
}

struct squeue *
lane_first(struct lane *l)
{
	return TAILQ_FIRST(&l->active);
}

/* Every class that waits behind a higher one is owed its part of what is offered; a class that went first although a
 * higher one could have gone has been paid. */
static void
shares_charge(struct shares *s, unsigned priority, uint64_t n)
{
	struct share_class *c;
	bool has_higher = false;
	unsigned i;

	for (i = 0; i < PRIORITIES; i++) {
		c = &s->class[i];
		if (has_higher && (!TAILQ_EMPTY(&c->lanes) || !TAILQ_EMPTY(&c->passed))) {
			c->owed += (int64_t)n;
			if (i == priority)
				c->owed -= CLASS_PART * (int64_t)n;
			if (c->owed > OWED_MAX)
				c->owed = OWED_MAX;
		}
		if (i == priority || !TAILQ_EMPTY(&c->lanes))
			has_higher = true;
	}
}

void
lane_charge(struct lane *l, uint64_t n)
{
	struct share_class *c = lane_class(l);

	shares_charge(&l->pool->shares, l->priority, n);
	l->deficit -= (int64_t)n;
	if (l->deficit > 0 || !l->is_listed || l->passed_turn == l->pool->shares.turn)
		return;
	TAILQ_REMOVE(&c->lanes, l, of_class);
	TAILQ_INSERT_TAIL(&c->lanes, l, of_class);
}

void
lane_pass_queue(struct squeue *sq)
{
	struct lane *l = sq->lane;

	TAILQ_REMOVE(&l->active, sq, active);
	TAILQ_INSERT_TAIL(&l->passed, sq, active);
	sq->passed_turn = l->turn;
}

void
lane_pass(struct lane *l)
{
	struct share_class *c = lane_class(l);

	TAILQ_REMOVE(&c->lanes, l, of_class);
	TAILQ_INSERT_TAIL(&c->passed, l, of_class);
	l->passed_turn = l->pool->shares.turn;
}

void
lane_rotate(struct squeue *sq)
{
	TAILQ_REMOVE(&sq->lane->active, sq, active);
	TAILQ_INSERT_TAIL(&sq->lane->active, sq, active);
}
