/* What queued has to say of a queue (explain_rows.h): where it goes, how it is retried, what holds it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/conf.h"
#include "base/xalloc.h"

#include "queued/explain_rows.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"

#define ATTEMPTS_SHOWN 8

static void
put_setting(struct json *json, const char *name, const char *value, const char *origin)
{
	json_obj(json, NULL);
	json_str(json, "name", name);
	json_str(json, "value", value);
	json_str(json, "origin", origin);
	json_obj_end(json);
}

void
explain_queue_row(struct queued *q, struct squeue *sq, const char *address, struct json *json)
{
	char text[64];

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
	json_str(json, "reason", sq->why);
	json_arr(json, "settings");
	conf_time_text(sq->max_age, text, sizeof(text));
	put_setting(json, "max_age", text, "");
	json_arr_end(json);
	json_int(json, "generation", q->generation);
	json_obj_end(json);
}
