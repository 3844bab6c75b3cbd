/* Which pool carries a queue. One function for all who want to know: queued, which sends by it, and the admin command,
 * which tells what another policy would do. */
#include <stdlib.h>

#include "base/xalloc.h"
#include "mail/policy.h"
#include "mail/policy_queue.h"

char *
policy_queue_pool(struct policy *p, const char *domain, const char *tenant, const char *campaign,
    const struct policy_queue_config *config, char **why_r)
{
	char *name = NULL, *err = NULL;

	*why_r = NULL;
	switch (policy_get_egress_pool(p, domain, tenant, campaign, &name, &err)) {
	case 1:
		break;
	case 0:
		if (config->egress_pool != NULL)
			name = xstrdup(config->egress_pool);
		else if (policy_pool_count(p) == 1)
			name = xstrdup(policy_pool_at(p, 0)->name);
		else
			*why_r = xasprintf("policy names no egress pool for this queue, out of %zu",
			    policy_pool_count(p));
		break;
	default:
		*why_r = xasprintf("get_egress_pool failed: %s", err);
		free(err);
		return NULL;
	}
	if (name != NULL && policy_pool_find(p, name) == NULL) {
		*why_r = xasprintf("egress pool \"%s\" is not defined", name);
		free(name);
		return NULL;
	}
	return name;
}
