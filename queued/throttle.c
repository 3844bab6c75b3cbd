/* Rates of queues (throttle.h). Rates are the administrator's, names of tenants and campaigns strangers': they are
 * bytes of a key here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/buckets.h"

#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/throttle.h"
#include "queued/wake.h"

#define NS_PER_MS 1000000
#define NAME_MAX_LEN (QUEUE_NAME_MAX + 16)
#define RATES 3
#define LINE_MAX 2000 /* objects without envelopes that stay in a line; more sleep and come back */
#define SLEEP_MAX_MS 600000 /* however long the line: it may be gone sooner than its rate says */

struct throttle {
	UT_hash_handle hh;
	struct throttles *set;
	char *name;       /* of the bucket */
	struct rate rate; /* as it was when it last refused somebody */
	TAILQ_HEAD(throttle_line, squeue) line;
	uint32_t n;
	struct timer timer;
};

struct throttles {
	struct queued *q;
	struct throttle *all; /* those with a line */
};

/* One of the rates that hold for a queue. */
struct held {
	char name[NAME_MAX_LEN];
	struct rate rate;
	bool is_override;
};

struct throttles *
throttles_new(struct queued *q)
{
	struct throttles *set = xcalloc(1, sizeof(*set));

	set->q = q;
	return set;
}

static void
throttle_free(struct throttle *t)
{
	HASH_DEL(t->set->all, t);
	timer_cancel(&t->timer);
	free(t->name);
	free(t);
}

void
throttles_free(struct throttles **setp)
{
	struct throttle *t, *next;

	if (*setp == NULL)
		return;
	HASH_ITER(hh, (*setp)->all, t, next)
		throttle_free(t);
	free(*setp);
	*setp = NULL;
}

static unsigned
held_add(struct queued *q, struct held *h, const struct rate *rate, const struct override_target *t)
{
	struct rate over;

	h->rate = *rate;
	h->is_override = false;
	if (overrides_queue_rate(q->overrides, "max_message_rate", t, &over) && rate_is_stricter(&over, &h->rate)) {
		h->rate = over;
		h->is_override = true;
	}
	return h->rate.quantity > 0;
}

/* The rates that hold for the queue; returns how many. Nothing is looked up where nothing is said. */
static unsigned
held_by(struct queued *q, const struct squeue *sq, struct held v[RATES])
{
	const struct policy_queue_config *c = &sq->config;
	struct override_target t = { .tenant = sq->tenant };
	unsigned n = 0;

	if (c->max_message_rate.quantity == 0 && c->tenant_max_message_rate.quantity == 0 &&
	    c->campaign_max_message_rate.quantity == 0 && (q->overrides == NULL || q->overrides->scopes == NULL))
		return 0;
	if (sq->tenant != NULL && held_add(q, &v[n], &c->tenant_max_message_rate, &t))
		(void)snprintf(v[n++].name, NAME_MAX_LEN, "tenant %s", sq->tenant);
	t.campaign = sq->campaign;
	if (sq->campaign != NULL && held_add(q, &v[n], &c->campaign_max_message_rate, &t))
		(void)snprintf(v[n++].name, NAME_MAX_LEN, "campaign %s:%s", sq->campaign,
		    sq->tenant != NULL ? sq->tenant : "");
	t.domain = sq->domain;
	t.pool = sq->pool != NULL ? sq->pool->name : NULL;
	if (held_add(q, &v[n], &c->max_message_rate, &t))
		(void)snprintf(v[n++].name, NAME_MAX_LEN, "queue %s", sq->name);
	return n;
}

static struct throttle *
throttle_find(struct throttles *set, const char *name)
{
	struct throttle *t;

	HASH_FIND(hh, set->all, name, strlen(name), t);
	return t;
}

static void
throttle_arm(struct throttle *t)
{
	struct buckets *b = t->set->q->limits;
	int64_t ms = (buckets_wait(b, t->name, &t->rate, buckets_now(b), 1) + NS_PER_MS - 1) / NS_PER_MS;

	timer_set(&t->timer, ms < 1 ? 1 : ms > 60000 ? 60000 : ms);
}

void
throttle_leave(struct squeue *sq)
{
	struct throttle *t = sq->throttle;

	sq->has_turn = false;
	if (t == NULL)
		return;
	TAILQ_REMOVE(&t->line, sq, in_line);
	sq->throttle = NULL;
	if (--t->n == 0)
		throttle_free(t);
}

/* Calls as many as may each take one. */
static void
on_timer(void *arg)
{
	struct throttle *t = arg;
	struct queued *q = t->set->q;
	struct buckets *b = q->limits;
	int64_t calls = t->rate.burst;
	struct squeue *sq;
	bool is_last;

	while (calls-- > 0 && buckets_wait(b, t->name, &t->rate, buckets_now(b), 1) == 0) {
		sq = TAILQ_FIRST(&t->line);
		is_last = t->n == 1;
		throttle_leave(sq);
		sq->has_turn = true;
		squeue_update(q->queues, sq);
		squeue_release(q->queues, sq);
		loop_again(q->loop);
		if (is_last)
			return;
	}
	throttle_arm(t);
}

/* To the end of the line. */
static void
throttle_join(struct queued *q, struct squeue *sq, const struct held *h)
{
	struct throttle *t = throttle_find(q->throttles, h->name);

	throttle_leave(sq);
	if (t == NULL) {
		t = xcalloc(1, sizeof(*t));
		t->set = q->throttles;
		t->name = xstrdup(h->name);
		TAILQ_INIT(&t->line);
		timer_init(&t->timer, q->loop, on_timer, t);
		HASH_ADD_KEYPTR(hh, q->throttles->all, t->name, strlen(t->name), t);
	}
	t->rate = h->rate;
	TAILQ_INSERT_TAIL(&t->line, sq, in_line);
	sq->throttle = t;
	if (t->n++ == 0)
		throttle_arm(t);
	squeue_update(q->queues, sq);
}

/* The first rate that refuses it now, because it is spent or because others wait for it; NULL: none. */
static const struct held *
refusing(struct queued *q, const struct squeue *sq, const struct held *v, unsigned n)
{
	int64_t now = n > 0 ? buckets_now(q->limits) : 0;
	unsigned i;

	for (i = 0; i < n; i++)
		if ((!sq->has_turn && throttle_find(q->throttles, v[i].name) != NULL) ||
		    buckets_wait(q->limits, v[i].name, &v[i].rate, now, 1) > 0)
			return &v[i];
	return NULL;
}

bool
throttle_ready(struct queued *q, struct squeue *sq)
{
	struct held v[RATES];
	const struct held *h = refusing(q, sq, v, held_by(q, sq, v));

	if (h != NULL)
		throttle_join(q, sq, h);
	return h == NULL;
}

/* One envelope of every rate, or of none. */
static bool
take_one(struct queued *q, const struct held *v, unsigned n, int64_t now)
{
	unsigned i;

	for (i = 0; i < n && buckets_take(q->limits, v[i].name, &v[i].rate, now, 1) == 0; i++)
		;
	if (i == n)
		return true;
	while (i-- > 0)
		buckets_give_back(q->limits, v[i].name, &v[i].rate, now, 1);
	return false;
}

unsigned
throttle_take(struct queued *q, struct squeue *sq, unsigned want)
{
	struct held v[RATES];
	unsigned n = held_by(q, sq, v), i, got = 0;
	const struct held *h = refusing(q, sq, v, n);
	int64_t now;

	if (n == 0)
		return want;
	if (h != NULL) {
		throttle_join(q, sq, h);
		return 0;
	}
	/* Where others wait, each gets one in its turn. */
	for (i = 0; i < n; i++)
		if (throttle_find(q->throttles, v[i].name) != NULL)
			want = 1;
	sq->has_turn = false;
	now = buckets_now(q->limits);
	while (got < want && take_one(q, v, n, now))
		got++;
	if (got == 0)
		throttle_join(q, sq, &v[0]); /* somebody was faster: all the others look at the same table */
	return got;
}

void
throttle_give_back(struct queued *q, struct squeue *sq, unsigned n)
{
	struct held v[RATES];
	unsigned i, rates = held_by(q, sq, v);
	int64_t now = rates > 0 ? buckets_now(q->limits) : 0;

	for (i = 0; i < rates; i++)
		buckets_give_back(q->limits, v[i].name, &v[i].rate, now, n);
}

bool
throttle_keeps(const struct squeue *sq)
{
	return sq->throttle != NULL && sq->throttle->n <= LINE_MAX;
}

void
throttles_dissolve(struct queued *q)
{
	struct squeue *sq, *next;

	if (q->throttles == NULL)
		return;
	wake_noted_slowly(q->wake, WAKE_THROTTLED, queue_now(q));
	loop_again(q->loop);
	if (q->throttles->all == NULL)
		return;
	HASH_ITER(hh, q->queues->by_name, sq, next) {
		if (sq->throttle == NULL)
			continue;
		throttle_leave(sq);
		squeue_update(q->queues, sq);
		squeue_release(q->queues, sq);
	}
}

int64_t
throttle_wait(const struct queued *q, const struct squeue *sq)
{
	const struct throttle *t = sq->throttle;
	int64_t ms;

	if (t == NULL)
		return 0;
	ms = (buckets_wait(q->limits, t->name, &t->rate, buckets_now(q->limits), 1) + NS_PER_MS - 1) / NS_PER_MS;
	return ms + (int64_t)t->n * t->rate.period / t->rate.quantity;
}

int64_t
throttle_sleep(const struct queued *q, const struct squeue *sq)
{
	int64_t ms = throttle_wait(q, sq);

	return ms < SLEEP_MAX_MS ? ms : SLEEP_MAX_MS + arc4random_uniform(SLEEP_MAX_MS / 10);
}

char *
throttle_why(const struct squeue *sq)
{
	char text[RATE_TEXT];

	if (sq->throttle == NULL)
		return NULL;
	return xasprintf("the rate limit %s of %s is used up for now",
	    rate_format(&sq->throttle->rate, RATE_PACED, text), sq->throttle->name);
}

void
throttle_json(struct queued *q, const struct squeue *sq, struct json *json)
{
	struct held v[RATES];
	unsigned i, n = held_by(q, sq, v);
	char text[RATE_TEXT], use[48];

	for (i = 0; i < n; i++) {
		(void)snprintf(use, sizeof(use), "%.0f %% used",
		    100 * buckets_fill(q->limits, v[i].name, &v[i].rate, buckets_now(q->limits)));
		json_obj(json, NULL);
		json_str(json, "name", v[i].name);
		json_str(json, "value", rate_format(&v[i].rate, RATE_PACED, text));
		json_str(json, "use", use);
		json_str(json, "origin", v[i].is_override ? "override" : "get_queue_config");
		json_obj_end(json);
	}
}
