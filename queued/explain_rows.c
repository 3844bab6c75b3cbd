/* What queued has to say of a queue (explain_rows.h): where it goes, how it is retried, what holds it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/conf.h"
#include "base/xalloc.h"

#include "queued/explain_rows.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/reason.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/suppressed.h"
#include "queued/throttle.h"
#include "queued/wake.h"

#define ATTEMPTS_SHOWN 6

static void
put_setting(struct json *json, const char *name, const char *value, const char *origin)
{
	json_obj(json, NULL);
	json_str(json, "name", name);
	json_str(json, "value", value);
	json_str(json, "origin", origin);
	json_obj_end(json);
}

/* "1m, 2m, 4m, 8m, 16m, 32m ..." */
static char *
schedule_text(const struct policy_schedule *s)
{
	char *text = xstrdup(""), *more, wait[32];
	unsigned i;

	for (i = 1; i <= ATTEMPTS_SHOWN; i++) {
		conf_time_text(policy_schedule_delay(s, i), wait, sizeof(wait));
		more = xasprintf("%s%s%s", text, i > 1 ? ", " : "", wait);
		free(text);
		text = more;
	}
	more = xasprintf("%s ...", text);
	free(text);
	return more;
}

static void
put_schedules(const struct policy_queue_config *c, struct json *json)
{
	struct policy_schedule s;
	char *text, *line;
	size_t i;

	json_arr(json, "schedule");
	text = schedule_text(&c->schedule);
	json_str(json, NULL, text);
	free(text);
	for (i = 0; i < c->n_by_class; i++) {
		policy_queue_schedule(c, c->by_class[i].class, &s);
		text = schedule_text(&s);
		line = xasprintf("%s: %s", c->by_class[i].class, text);
		json_str(json, NULL, line);
		free(line);
		free(text);
	}
	json_arr_end(json);
}

/* What policy says of this queue by itself, to tell it from what was filled in. */
static void
put_settings(struct queued *q, const struct squeue *sq, struct json *json)
{
	const struct policy_queue_config *c = &sq->config;
	struct policy_queue_config said;
	char text[64], *err = NULL, *where = policy_where(q->policy, "get_queue_config");

	if (policy_get_queue_config(q->policy, sq->domain, sq->tenant, sq->campaign, &said, &err) == -1)
		free(err);
	json_arr(json, "settings");
	conf_time_text(c->max_age, text, sizeof(text));
	put_setting(json, "max_age", text, said.max_age >= 0 ? where : "main.cf");
	put_setting(json, "priority", policy_priority_words[c->priority], said.priority >= 0 ? where : "default");
	put_setting(json, "notices", policy_notices_words[c->notices], said.notices >= 0 ? where : "default");
	if (c->notices_to != NULL)
		put_setting(json, "notices_to", c->notices_to, where);
	(void)snprintf(text, sizeof(text), "%" PRId64, c->tenant_share);
	put_setting(json, "tenant_share", text, said.tenant_share >= 0 ? where : "default");
	json_arr_end(json);
	policy_queue_config_clear(&said);
	free(where);
}

static void
put_overrides(struct queued *q, const struct squeue *sq, struct json *json)
{
	struct override_target t = { .pool = sq->pool != NULL ? sq->pool->name : NULL, .domain = sq->domain,
		.tenant = sq->tenant, .campaign = sq->campaign };
	struct effect *ef, *next;
	char *text;

	json_arr(json, "overrides");
	HASH_ITER(hh, q->overrides->by_id, ef, next) {
		if (!override_is_of_queue(&ef->o.scope) || !override_matches(&ef->o.scope, &t))
			continue;
		text = xasprintf("%s%s%s%s%s (%s): %s", ef->is_live ? "" : "dry run: ",
		    override_kind_name((enum override_kind)ef->o.kind), ef->o.setting != NULL ? " " : "",
		    ef->o.setting != NULL ? ef->o.setting : "", ef->o.value != NULL ? ef->o.value : "", ef->o.made_by,
		    ef->o.reason);
		json_obj(json, NULL);
		json_int(json, "id", (int64_t)ef->o.id);
		json_str(json, "text", text);
		if (ef->o.expires > 0)
			json_int(json, "expires", queue_wall(q, ef->o.expires));
		json_obj_end(json);
		free(text);
	}
	json_arr_end(json);
}

/* Who chose the pool. */
static void
put_origin(struct queued *q, const struct squeue *sq, struct json *json)
{
	char *text = sq->home != sq->pool ? xasprintf("in place of %s, which is out", sq->home->name) :
	    policy_where(q->policy, policy_has(q->policy, "get_egress_pool") ? "get_egress_pool" : "get_queue_config");

	json_str(json, "pool_origin", text);
	free(text);
}

void
explain_queue_row(struct queued *q, struct squeue *sq, const char *address, const char *sender_domain,
    struct json *json)
{
	char *reason = sq->pool == NULL || sq->held_by != 0 || sq->pool->is_out || sq->throttle != NULL ||
	    TAILQ_EMPTY(&sq->pool->consumers) ? squeue_reason(q, sq) : NULL;
	char *suppressed = suppressed_why(q, sq, address, sender_domain);

	json_obj(json, NULL);
	json_str(json, "kind", "queue");
	json_str(json, "address", address);
	json_str(json, "queue", sq->name);
	json_str(json, "domain", sq->domain);
	json_str(json, "tenant", sq->tenant);
	json_str(json, "campaign", sq->campaign);
	json_int(json, "messages", (int64_t)sq->total);
	json_int(json, "held", (int64_t)sq->held);
	json_str(json, "pool", sq->pool != NULL ? sq->pool->name : NULL);
	put_origin(q, sq, json);
	json_str(json, "reason", reason);
	json_str(json, "suppressed", suppressed);
	put_schedules(&sq->config, json);
	put_settings(q, sq, json);
	json_arr(json, "limits");
	throttle_json(q, sq, json);
	json_arr_end(json);
	put_overrides(q, sq, json);
	json_int(json, "generation", q->generation);
	json_obj_end(json);
	free(reason);
	free(suppressed);
}
