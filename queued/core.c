/* The queue daemon without its process: putting the parts together, what happens on every turn of the loop and
 * every second, back-pressure, reload. Everything here is reachable from unit tests. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/config.h"
#include "mail/shaping.h"
#include "mail/suppress.h"

#include "queued/admin.h"
#include "queued/automation.h"
#include "queued/bounce.h"
#include "queued/changes.h"
#include "queued/compact.h"
#include "queued/explain.h"
#include "queued/consumer.h"
#include "queued/expire.h"
#include "queued/index_open.h"
#include "queued/keys.h"
#include "queued/link.h"
#include "queued/logfiles.h"
#include "queued/outage.h"
#include "queued/outbox.h"
#include "queued/overrides.h"
#include "queued/policysums.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/throttle.h"
#include "queued/wake.h"

#define RETRY_SCAN_MS 60000

uint64_t
queued_backlog(const struct queued *q)
{
	return q->mem->n_envelopes;
}

void
queued_check_flow(struct queued *q)
{
	uint64_t n = queued_backlog(q), limit = (uint64_t)q->params->queue_backlog_limit;
	uint32_t want = 0, was = q->flow;

	if (q->clients == NULL)
		return;
	if (n > limit || ((was & QL_FLOW_HOLD) != 0 && n >= limit / 4 * 3))
		want |= QL_FLOW_HOLD;
	if (clients_lack_segments(q->clients))
		want |= QL_FLOW_NO_SEGMENTS;
	if (queued_is_stuck(q))
		want |= QL_FLOW_REFUSE;
	if (want == was)
		return;
	q->flow = want;
	if (((want ^ was) & QL_FLOW_HOLD) != 0)
		log_info("new mail is %s: %ju envelopes in memory",
		    (want & QL_FLOW_HOLD) != 0 ? "held back" : "taken again", (uintmax_t)n);
	if (((want ^ was) & QL_FLOW_NO_SEGMENTS) != 0)
		log_warn("%s", (want & QL_FLOW_NO_SEGMENTS) != 0 ?
		    "no space for more segments: mail that does not fit into those at hand is refused" :
		    "there is space for segments again");
	if (((want ^ was) & QL_FLOW_REFUSE) != 0)
		log_warn("new mail is %s", (want & QL_FLOW_REFUSE) != 0 ?
		    "refused: the index or the event log cannot be written" : "no longer refused");
	clients_send_flow(q->clients, want);
}

bool
queued_is_stuck(const struct queued *q)
{
	return q->is_disk_full || eventlog_stuck(q->events);
}

/* Before the loop sleeps: finish what the turn's input began. */
static void
on_turn(void *arg)
{
	struct queued *q = arg;

	recover_turn(q);
	overrides_turn(q);
	sched_turn(q);
	compact_turn(q->compact);
	admin_turn(q);
	changes_turn(q->changes);
	queued_check_flow(q);
}

/* Only to make a turn happen: the work is on_turn()'s. */
static void
on_due(void *arg)
{
	(void)arg;
}

static bool
has_open_ends(struct queued *q)
{
	struct segment *seg, *next;

	if (recover_is_busy(q))
		return true;
	HASH_ITER(hh, q->segs->all, seg, next)
		if (seg->state == SEG_ORPHAN || seg->state == SEG_CLOSED)
			return true;
	return false;
}

static void
on_second(void *arg)
{
	struct queued *q = arg;

	timer_set(&q->second, 1000);
	logfiles_second(q->logs);
	segments_check_orphans(q->segs);
	segments_reap(q->segs);
	segfile_yield_stock(q->segs);
	clients_second(q->clients);
	explain_second(q);
	outage_second(q);
	keys_second(q->keys);
	compact_second(q->compact);
	if (loop_now(q->loop) - q->scan_retried > RETRY_SCAN_MS) {
		q->scan_retried = loop_now(q->loop);
		recover_retry(q);
	}
	if (!has_open_ends(q))
		claims_settle(q);
}

static int
load_queues(struct queued *q)
{
	uint8_t key[4] = { 0 }, due[DUE_KEY_LEN];
	struct queue_row row;
	bool more;
	MDB_val k, v, dk, dv;

	store_read_begin(q->store);
	for (more = store_seek(q->store, DB_QUEUE, key, sizeof(key), false, &k, &v); more;
	    more = store_seek(q->store, DB_QUEUE, key, sizeof(key), true, &k, &v)) {
		if (!store_queue_row(&k, &v, &row))
			store_broken(q->store, "a row of queue is malformed", MDB_CORRUPTED);
		memcpy(key, k.mv_data, sizeof(key));
		q->total_stored += row.total;
		q->total_held += row.held;
		due_key_pack(row.id, 0, NULL, due);
		if (store_seek(q->store, DB_DUE, due, sizeof(due), false, &dk, &dv) && due_key_queue(&dk) == row.id &&
		    due_key_time(&dk) != DUE_HELD)
			wake_set(q->wake, row.id, due_key_time(&dk), 0);
	}
	store_read_end(q->store);
	return 0;
}

static void
make_parts(struct queued *q)
{
	q->mem = memory_new(q);
	q->wake = wake_new();
	q->pools = pools_new(q);
	q->throttles = throttles_new(q);
	q->changes = changes_new(q);
	q->recover = recover_new(q);
	q->compact = compact_new(q);
	q->notices = notices_new(q);
	q->queues = squeues_new(q);
	q->expire = expire_new(q);
	q->automation = automation_new(q);
	q->clients = clients_new(q);
	q->events = eventlog_new(q->loop, "queued");
	timer_init(&q->due_timer, q->loop, on_due, q);
	timer_init(&q->second, q->loop, on_second, q);
}

/* Without disk space for it each daemon counts for itself: better than no limit, or no mail. */
static void
open_limits(struct queued *q)
{
	char *path = xasprintf("%s/limits", q->params->queue_directory);

	if ((q->limits_fd = buckets_make(path)) == -1 || (q->limits = buckets_map(q->limits_fd)) == NULL) {
		log_error("%s: %s; each daemon counts rates for itself, and forgets at its end", path, strerror(errno));
		if (q->limits_fd != -1)
			close(q->limits_fd);
		q->limits_fd = -1;
		q->limits = buckets_private();
	}
	free(path);
}

struct queued *
queued_new(struct loop *loop, struct params *params, struct policy *policy, struct shaping *shaping,
    const char *config_dir, char **err_r)
{
	struct queued *q = xcalloc(1, sizeof(*q));
	bool is_empty = false;

	q->loop = loop;
	q->params = params;
	q->policy = policy;
	q->shaping = shaping;
	q->generation = 1;
	q->config_dir = xstrdup(config_dir);
	q->segments_dir = xasprintf("%s/segments", params->queue_directory);
	q->index_dir = xasprintf("%s/index", params->queue_directory);
	q->damaged_dir = xasprintf("%s/damaged", params->queue_directory);
	q->events_dir = xasprintf("%s/events", params->log_directory);
	q->started = wall_ms();
	q->allowed.self = getuid();
	q->limits_fd = -1;
	if (segfile_check_versions(q->segments_dir, err_r) == -1 || index_open(q, &is_empty, err_r) == -1)
		goto fail;
	queue_clock_load(q);
	make_parts(q);
	open_limits(q);
	if ((q->keys = keys_new(q, err_r)) == NULL || (q->segs = segments_new(q, err_r)) == NULL ||
	    segments_load(q->segs, is_empty, err_r) == -1 || load_queues(q) == -1)
		goto fail;
	eventlog_set_node(q->events, keys_nodeid(q->keys));
	(void)overrides_new(q, is_empty);
	q->outbox = outbox_new(q);
	q->policy_sums = policy_sums_new();
	if ((q->logs = logfiles_new(q, err_r)) == NULL)
		goto fail;
	loop_before_sleep(loop, LOOP_COMMIT, on_turn, q);
	timer_set(&q->second, 1000);
	log_info("queue opened messages=%ju held=%ju queues=%zu segments=%u", (uintmax_t)q->total_stored,
	    (uintmax_t)q->total_held,
	    wake_count(q->wake), HASH_COUNT(q->segs->all));
	return q;
fail:
	queued_free(&q);
	return NULL;
}

/* The loop must not turn again afterwards: its steps refer to what is freed here. */
void
queued_free(struct queued **qp)
{
	struct queued *q = *qp;

	*qp = NULL;
	if (q->logs != NULL) {
		q->is_stopping = true;
		(void)changes_commit(q->changes);
		clients_free(&q->clients);
		(void)changes_commit(q->changes);
		timer_cancel(&q->due_timer);
		timer_cancel(&q->second);
	} else if (q->store != NULL) {
		clients_free(&q->clients);
	}
	logfiles_free(&q->logs);
	overrides_free(&q->overrides);
	outbox_free(&q->outbox);
	policy_sums_free(&q->policy_sums);
	automation_free(&q->automation);
	notices_free(&q->notices);
	compact_free(&q->compact);
	recover_free(&q->recover);
	expire_free(&q->expire);
	if (q->mem != NULL)
		memory_free(&q->mem);
	squeues_free(&q->queues);
	throttles_free(&q->throttles);
	changes_free(&q->changes);
	if (q->pools != NULL)
		pools_free(&q->pools);
	segments_free(&q->segs);
	wake_free(&q->wake);
	keys_free(&q->keys);
	if (q->events != NULL)
		eventlog_free(&q->events);
	store_close(&q->store);
	buckets_unmap(&q->limits);
	if (q->limits_fd != -1)
		close(q->limits_fd);
	shaping_free(&q->shaping);
	bounce_rules_free(&q->bounce_rules);
	suppress_close(&q->suppress);
	policy_free(&q->policy);
	params_free(&q->params);
	free(q->config_dir);
	free(q->segments_dir);
	free(q->index_dir);
	free(q->damaged_dir);
	free(q->events_dir);
	free(q);
}

void
queued_serve(struct queued *q, int listen_fd)
{
	clients_serve(q->clients, listen_fd);
}

bool
queued_reload(struct queued *q)
{
	struct config *config = config_load_logged(q->config_dir);

	if (config == NULL) {
		log_error("reload refused: the configuration has errors; the old one stays in force");
		return false;
	}
	shaping_free(&q->shaping);
	bounce_rules_free(&q->bounce_rules);
	policy_free(&q->policy);
	params_free(&q->params);
	q->bounce_rules = config_take_bounce_rules(config);
	q->config_number = config->number;
	q->config_digest = config->digest;
	config_take(&config, &q->params, &q->policy, &q->shaping);
	q->generation++;
	consumers_review(q);
	sched_rerouted(q);
	log_info("configuration reloaded generation=%u digest=%016jx", q->config_number, (uintmax_t)q->config_digest);
	return true;
}
