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
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"

/* KumoMTA's order: campaign:tenant@domain, tenant@domain, campaign:@domain, domain. */
void
squeue_name(char *out, size_t outsize, const char *campaign, const char *tenant, const char *domain)
{
	bool has_campaign = campaign != NULL && *campaign != '\0';
	bool has_tenant = tenant != NULL && *tenant != '\0';

	(void)snprintf(out, outsize, "%s%s%s%s%s", has_campaign ? campaign : "", has_campaign ? ":" : "",
	    has_tenant ? tenant : "",
	    has_campaign || has_tenant ? "@" : "", domain);
}

void
squeue_name_split(const char *name, char **campaign_r, char **tenant_r, char **domain_r)
{
	const char *at = strrchr(name, '@'), *colon;
	char *bang;

	*campaign_r = *tenant_r = NULL;
	*domain_r = xstrdup(at == NULL ? name : at + 1);
	/* KumoMTA's routing domain: mail goes where it says. */
	if ((bang = strchr(*domain_r, '!')) != NULL && bang[1] != '\0')
		memmove(*domain_r, bang + 1, strlen(bang + 1) + 1);
	if (at == NULL)
		return;
	colon = memchr(name, ':', (size_t)(at - name));
	if (colon != NULL) {
		*campaign_r = xmemdup0(name, (size_t)(colon - name));
		name = colon + 1;
	}
	if (at > name)
		*tenant_r = xmemdup0(name, (size_t)(at - name));
}

/* The name of the pool, malloced, or NULL and the reason. */
static char *
route_pool(struct queued *q, const struct squeue *sq, const struct policy_queue_config *config, char **why_r)
{
	char *name = NULL, *err = NULL;

	switch (policy_get_egress_pool(q->policy, sq->domain, sq->tenant, sq->campaign, &name, &err)) {
	case 1:
		break;
	case 0:
		if (config->egress_pool != NULL)
			name = xstrdup(config->egress_pool);
		else if (policy_pool_count(q->policy) == 1)
			name = xstrdup(policy_pool_at(q->policy, 0)->name);
		else
			*why_r = xasprintf("policy names no egress pool for this queue, out of %zu",
			    policy_pool_count(q->policy));
		break;
	default:
		*why_r = xasprintf("get_egress_pool failed: %s", err);
		free(err);
		return NULL;
	}
	if (name != NULL && policy_pool_find(q->policy, name) == NULL) {
		*why_r = xasprintf("egress pool \"%s\" is not defined", name);
		free(name);
		return NULL;
	}
	return name;
}

static void
route_times(struct queued *q, struct squeue *sq, const struct policy_queue_config *config)
{
	const struct params *p = q->params;

	sq->retry_interval = config->retry_interval >= 0 ? config->retry_interval : p->retry_interval;
	sq->max_retry_interval = config->max_retry_interval >= 0 ? config->max_retry_interval : p->max_retry_interval;
	sq->max_age = config->max_age >= 0 ? config->max_age : p->maximal_queue_lifetime;
	if (sq->retry_interval < 1)
		sq->retry_interval = 1;
	if (sq->max_retry_interval < sq->retry_interval)
		sq->max_retry_interval = sq->retry_interval;
}

static void
route_set_pool(struct queued *q, struct squeue *sq, struct pool *pool)
{
	if (sq->pool == pool)
		return;
	if (sq->is_active) {
		TAILQ_REMOVE(&sq->pool->active, sq, active);
		sq->pool->n_active--;
		sq->is_active = false;
	}
	sq->pool = pool;
	overrides_look(q, sq);
	squeue_update(q->queues, sq);
}

void
squeue_route(struct queued *q, struct squeue *sq)
{
	struct policy_queue_config config;
	char *name = NULL, *err = NULL, *why = NULL;

	if (sq->generation == q->generation)
		return;
	sq->generation = q->generation;
	policy_queue_config_init(&config);
	if (policy_get_queue_config(q->policy, sq->domain, sq->tenant, sq->campaign, &config, &err) == -1) {
		why = xasprintf("get_queue_config failed: %s", err);
		free(err);
	} else {
		name = route_pool(q, sq, &config, &why);
	}
	route_times(q, sq, &config);
	policy_queue_config_clear(&config);
	if (why != NULL && (sq->why == NULL || strcmp(sq->why, why) != 0) &&
	    loop_now(q->loop) - q->queues->warned > 1000) {
		q->queues->warned = loop_now(q->loop);
		log_warn("queue %s waits: %s", sq->name, why);
	}
	free(sq->why);
	sq->why = why;
	route_set_pool(q, sq, name == NULL ? NULL : pool_get(q->pools, name));
	free(name);
}

int64_t
squeue_backoff(const struct squeue *sq, unsigned attempts)
{
	int64_t delay = sq->retry_interval;
	unsigned i;

	for (i = 1; i < attempts && delay < sq->max_retry_interval; i++)
		delay *= 2;
	if (delay > sq->max_retry_interval)
		delay = sq->max_retry_interval;
	/* A tenth either way, so that what failed together does not come back together. */
	if (delay >= 10)
		delay += (int64_t)arc4random_uniform((uint32_t)(delay / 5 > UINT32_MAX ? UINT32_MAX
		    : delay / 5 + 1)) - delay / 10;
	return delay;
}
