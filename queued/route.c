/* From names to what policy says of them: the pool that carries a queue and the times of its retries. A queue whose
 * pool cannot be told sends nothing: it waits, with the reason, and asks again after a reload and every minute
 * (promise 4). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy.h"

#include "queued/overrides.h"
#include "queued/outage.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/throttle.h"

#define STAGE_RETRY_MS 60000 /* its daemon could not say: no remote host wants to be spared */

/* What policy did not say is as in main.cf. */
static void
route_fill(const struct params *p, struct policy_queue_config *c)
{
	struct policy_schedule *s = &c->schedule;

	if (s->retry_interval < 0)
		s->retry_interval = p->retry_interval;
	if (s->max_retry_interval < 0)
		s->max_retry_interval = p->max_retry_interval;
	if (s->max_retry_interval < s->retry_interval)
		s->max_retry_interval = s->retry_interval;
	if (s->factor < 0)
		s->factor = 2000;
	if (c->max_age < 0)
		c->max_age = p->maximal_queue_lifetime;
	if (c->priority < 0)
		c->priority = PRIORITY_NORMAL;
	if (c->notices < 0)
		c->notices = NOTICES_ALL;
	if (c->tenant_share < 0)
		c->tenant_share = 1;
}

static void
route_set_pool(struct queued *q, struct squeue *sq, struct pool *pool)
{
	lane_join(sq, pool);
	if (sq->pool != pool) {
		sq->pool = pool;
		overrides_look(q, sq);
	}
	squeue_update(q->queues, sq); /* it may be in another lane of the same pool, and has no turn there yet */
}

void
squeue_repool(struct queued *q, struct squeue *sq)
{
	route_set_pool(q, sq, sq->home == NULL ? NULL : outage_pool(q, sq->home));
}

void
squeue_route(struct queued *q, struct squeue *sq)
{
	struct policy_queue_config *config = &sq->config;
	char *name = NULL, *err = NULL, *why = NULL;

	if (sq->generation == q->generation)
		return;
	sq->generation = q->generation;
	throttle_leave(sq);
	policy_queue_config_clear(config);
	if (sq->is_stage) {
		name = xstrdup(sq->name);
		config->schedule.retry_interval = STAGE_RETRY_MS;
	} else if (policy_get_queue_config(q->policy, sq->domain, sq->tenant, sq->campaign, config, &err) == -1) {
		why = xasprintf("get_queue_config failed: %s", err);
		free(err);
		policy_queue_config_clear(config); /* half an answer is none */
	} else {
		name = policy_queue_pool(q->policy, sq->domain, sq->tenant, sq->campaign, config, &why);
	}
	route_fill(q->params, config);
	if (why != NULL && (sq->why == NULL || strcmp(sq->why, why) != 0) &&
	    loop_now(q->loop) - q->queues->warned > 1000) {
		q->queues->warned = loop_now(q->loop);
		log_warn("queue %s waits: %s", sq->name, why);
	}
	free(sq->why);
	sq->why = why;
	sq->home = name == NULL ? NULL : pool_get(q->pools, name);
	squeue_repool(q, sq);
	squeue_update(q->queues, sq);
	free(name);
}

int64_t
squeue_backoff(const struct squeue *sq, unsigned attempts, const char *class)
{
	struct policy_schedule schedule;
	int64_t delay;

	policy_queue_schedule(&sq->config, class, &schedule);
	delay = policy_schedule_delay(&schedule, attempts);
	/* Up to a tenth more, so that what failed together does not come back together. */
	if (delay >= 10)
		delay += (int64_t)arc4random_uniform((uint32_t)(delay / 10 >= UINT32_MAX ? UINT32_MAX
		    : delay / 10 + 1));
	return delay;
}
