/* Pools that are out (outage.h). That they are is a consumer's word, and concerns no pool but its own. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy.h"

#include "queued/outage.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/squeue.h"

/* After an outage: so many in the first second, twice as many in each further one, and after STAGES no bound. A backlog
 * that bursts out of an address that has just come back is what gets it blocked. */
#define FIRST_STAGE 10
#define STAGES 12

struct pool *
outage_pool(struct queued *q, struct pool *home)
{
	const struct policy_pool *def;
	struct pool *p = home;

	/* Policy has made sure that fallbacks do not lead in a circle. */
	while (p->is_out && (def = policy_pool_find(q->policy, p->name)) != NULL && def->fallback != NULL)
		p = pool_get(q->pools, def->fallback);
	return p->is_out ? home : p;
}

/* Whether mail of the second can come to the first. */
static bool
is_fallback(struct queued *q, const struct pool *p, const struct pool *of)
{
	const struct policy_pool *def;
	const char *name = of->name;

	while ((def = policy_pool_find(q->policy, name)) != NULL && def->fallback != NULL) {
		name = def->fallback;
		if (strcmp(name, p->name) == 0)
			return true;
	}
	return false;
}

/* What waits outside memory may be parked in the pool, in one that it fell back to, or in one that may fall back
 * now. */
static void
unpark_around(struct queued *q, struct pool *p)
{
	struct pool *other, *next;

	HASH_ITER(hh, q->pools->all, other, next)
		if (other == p || is_fallback(q, p, other) || is_fallback(q, other, p))
			pool_unpark_all(q, other);
	overrides_rerouted(q);
}

/* Queues of the pool, and those that had fallen back from it or to it, find their place again. */
static void
replace_queues(struct queued *q)
{
	struct squeue *sq, *next;

	HASH_ITER(hh, q->queues->by_name, sq, next) {
		sq->refs++;
		squeue_repool(q, sq);
		sq->refs--;
		squeue_release(q->queues, sq);
	}
	loop_again(q->loop);
}

void
outage_set(struct queued *q, struct pool *p, bool is_usable, const char *reason)
{
	bool has_changed = p->is_out == is_usable;

	free(p->out_reason);
	p->out_reason = is_usable ? NULL : xstrdup(reason);
	p->is_out = !is_usable;
	if (!has_changed)
		return;
	p->stage = is_usable ? 1 : 0;
	p->stage_left = FIRST_STAGE;
	if (is_usable)
		log_info("pool %s can be used again: what has waited is released in stages", p->name);
	else
		log_warn("pool %s has no source that can be used: %s", p->name, reason);
	unpark_around(q, p);
	replace_queues(q);
}

bool
outage_may_offer(const struct pool *p)
{
	return !p->is_out && (p->stage == 0 || p->stage_left > 0);
}

void
outage_offered(struct pool *p, unsigned n)
{
	if (p->stage > 0)
		p->stage_left -= n < p->stage_left ? n : p->stage_left;
}

void
outage_second(struct queued *q)
{
	struct pool *p, *next;

	HASH_ITER(hh, q->pools->all, p, next) {
		if (p->stage == 0)
			continue;
		p->stage = p->stage < STAGES ? p->stage + 1 : 0;
		p->stage_left = (uint64_t)FIRST_STAGE << p->stage;
		loop_again(q->loop);
	}
}
