/* Reasons (reason.h), the weightiest first. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/conf.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/link.h"
#include "queued/outage.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/reason.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/throttle.h"

/* One of its consumers if none has our configuration. */
static const struct consumer *
consumer_of_other(const struct pool *p)
{
	const struct consumer *c;

	TAILQ_FOREACH(c, &p->consumers, of_pool)
		if (c->is_current)
			return NULL;
	return TAILQ_FIRST(&p->consumers);
}

/* "..., next in 350ms" */
static char *
with_wait(struct queued *q, const struct squeue *sq, char *why)
{
	char wait[32], *text;

	conf_time_text(throttle_wait(q, sq), wait, sizeof(wait));
	text = xasprintf("%s, next in about %s", why, wait);
	free(why);
	return text;
}

char *
squeue_reason(struct queued *q, const struct squeue *sq)
{
	const struct consumer *c;
	char *why;

	if ((why = overrides_why(q, sq)) != NULL)
		return why;
	if (sq->pool == NULL)
		return xstrdup(sq->why == NULL ? "no egress pool" : sq->why);
	if (sq->pool->is_out)
		return xasprintf("pool %s has no source that can be used: %s", sq->pool->name,
		    sq->pool->out_reason == NULL ? "" : sq->pool->out_reason);
	if (sq->is_stage && TAILQ_EMPTY(&sq->pool->consumers))
		return xasprintf("%s is not there at present", sq->pool->name + 1);
	if (TAILQ_EMPTY(&sq->pool->consumers))
		return xasprintf("no deliverd serves pool %s at present", sq->pool->name);
	if ((c = consumer_of_other(sq->pool)) != NULL)
		return xasprintf("%s%s runs another configuration (generation %u, not %u)",
		    sq->is_stage ? "" : "deliverd/", sq->pool->name + sq->is_stage,
		    c->client->generation, q->config_number);
	if ((why = throttle_why(sq)) != NULL)
		return with_wait(q, sq, why);
	if (sq->outstanding >= sq->window)
		return xasprintf("waits behind %" PRIu32 " others of its queue that are under way", sq->outstanding);
	if (!outage_may_offer(sq->pool))
		return xasprintf("pool %s has come back and is released in stages", sq->pool->name);
	return NULL;
}
