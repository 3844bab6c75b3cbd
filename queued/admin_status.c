/* queued's view of itself for `posthorn status`. */
#include "base/json.h"

#include "queued/admin.h"
#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/keys.h"
#include "queued/outbox.h"
#include "queued/overrides.h"
#include "queued/policysums.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/wake.h"

static uint64_t
fresh_count(const struct queued *q)
{
	const struct qenv *e;
	uint64_t n = 0;

	TAILQ_FOREACH(e, &q->changes->dirty, dirty)
		n += !e->is_stored && e->state != ENVELOPE_DONE;
	return n;
}

static void
status_counts(struct queued *q, struct json *j)
{
	uint64_t queued = q->total_stored + fresh_count(q), busy = q->mem->n_ready + q->mem->n_inflight + q->total_held;

	json_int(j, "messages", (int64_t)queued);
	json_int(j, "outstanding", (int64_t)q->mem->n_inflight);
	json_int(j, "ready", (int64_t)q->mem->n_ready);
	json_int(j, "held", (int64_t)q->total_held);
	json_int(j, "waiting", (int64_t)(queued > busy ? queued - busy : 0));
	json_int(j, "queues", (int64_t)HASH_COUNT(q->queues->by_name));
	json_int(j, "queues_sleeping", (int64_t)wake_count(q->wake));
	json_int(j, "queues_without_pool", (int64_t)wake_count_noted(q->wake, WAKE_UNROUTED));
	json_int(j, "queues_suspended", (int64_t)wake_count_noted(q->wake, WAKE_SUSPENDED));
	json_int(j, "overrides", (int64_t)overrides_count(q->overrides, false));
	json_int(j, "overrides_dry_run", (int64_t)overrides_count(q->overrides, true));
	json_int(j, "in_memory", (int64_t)queued_backlog(q));
	json_bool(j, "holding_back", q->flow != 0);
	json_bool(j, "disk_full", (q->flow & (QL_FLOW_NO_SEGMENTS | QL_FLOW_REFUSE)) != 0);
}

static void
status_counters(struct queued *q, struct json *j)
{
	const struct counters *c = &q->count;

	json_obj(j, "since_start");
	json_int(j, "received", (int64_t)c->received);
	json_int(j, "delivered", (int64_t)c->delivered);
	json_int(j, "failed_attempts", (int64_t)c->failed);
	json_int(j, "returned", (int64_t)c->returned);
	json_int(j, "bounced", (int64_t)c->bounced);
	json_int(j, "expired", (int64_t)c->expired);
	json_int(j, "removed", (int64_t)c->admin_removed);
	json_int(j, "suppressed", (int64_t)c->suppressed);
	json_int(j, "notices", (int64_t)c->notices);
	json_int(j, "damaged", (int64_t)c->damaged);
	json_int(j, "unknown_results", (int64_t)c->unknown_results);
	json_int(j, "commits", (int64_t)c->commits);
	json_int(j, "commit_failures", (int64_t)c->commit_failures);
	json_int(j, "commit_last_ms", c->commit_ms_last);
	json_int(j, "commit_max_ms", c->commit_ms_max);
	json_int(j, "compacted", (int64_t)c->compacted);
	json_obj_end(j);
}

static void
status_spool(struct queued *q, struct json *j)
{
	store_read_begin(q->store);
	json_obj(j, "spool");
	json_int(j, "segments", (int64_t)HASH_COUNT(q->segs->all));
	json_int(j, "free_segments", q->segs->n_stock);
	json_bool(j, "scanning", recover_is_busy(q));
	json_int(j, "index_bytes", (int64_t)store_bytes(q->store));
	json_int(j, "index_percent", (int64_t)(100 * store_used(q->store)));
	json_obj_end(j);
	store_read_end(q->store);
}

static void
status_clients(struct queued *q, struct json *j)
{
	struct client *cl;

	json_arr(j, "consumers");
	TAILQ_FOREACH(cl, &q->clients->all, next) {
		if (cl->consumer == NULL)
			continue;
		json_obj(j, NULL);
		json_str(j, "pool", cl->name);
		json_int(j, "pid", cl->pid);
		json_int(j, "generation", cl->generation);
		json_bool(j, "is_current", cl->consumer->is_current);
		json_int(j, "credit", (int64_t)cl->consumer->credit);
		json_int(j, "outstanding", (int64_t)cl->consumer->outstanding);
		json_int(j, "queues_waiting", cl->consumer->pool->n_active + (int64_t)cl->consumer->pool->parked_n);
		json_int(j, "shares", cl->consumer->pool->shares.n_lanes);
		json_obj_end(j);
	}
	json_arr_end(j);
	json_arr(j, "producers");
	TAILQ_FOREACH(cl, &q->clients->all, next) {
		if (cl->role != QL_ROLE_PRODUCER)
			continue;
		json_obj(j, NULL);
		json_str(j, "name", cl->name);
		json_int(j, "pid", cl->pid);
		json_int(j, "segments", (int64_t)cl->n_normal + cl->n_large);
		json_obj_end(j);
	}
	json_arr_end(j);
}

void
admin_status_json(struct queued *q, struct json *j)
{
	json_obj(j, NULL);
	json_str(j, "nodeid", keys_nodeid(q->keys));
	json_int(j, "uptime_ms", loop_wall(q->loop) - q->started);
	json_int(j, "policy_generation", q->config_number);
	status_counts(q, j);
	status_counters(q, j);
	policy_sums_json(q->policy_sums, j);
	outbox_json(q, j);
	status_spool(q, j);
	status_clients(q, j);
	json_obj_end(j);
}
