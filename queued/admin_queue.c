/* The verbs over the queue: listing, summary, and the changes an operator makes. They walk the index in steps of
 * short read transactions; rows that change under the walk are looked up again by key. */
#include <stdlib.h>
#include <string.h>

#include "queued/admin.h"
#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/reason.h"
#include "queued/rebind.h"
#include "queued/result.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/wake.h"

#define STEP_ROWS 1000     /* looked at */
#define STEP_MATCHES 200   /* shown or changed */
#define STEP_MS 50
#define OVERRUNS_MAX 10
#define STEP_TALLY 10000
#define TALLY_MAX 100000   /* rows of one queue that a summary counts; a larger one says so */

enum step { STEP_NONE, STEP_ROW, STEP_END };

/* The next queue that matches into j->queue, 0 if there is more to look at. False at the end. */
static bool
next_queue(struct queued *q, struct admin_job *j)
{
	struct queue_row row;
	struct squeue *sq;
	unsigned n;
	MDB_val k, v;
	bool is_match;

	for (n = 0; n < STEP_ROWS; n++) {
		store_read_begin(q->store);
		if (!store_seek(q->store, DB_QUEUE, j->queue_cursor, 4, j->has_queue_cursor, &k, &v) ||
		    !store_queue_row(&k, &v, &row)) {
			store_read_end(q->store);
			return false;
		}
		memcpy(j->queue_cursor, k.mv_data, 4);
		j->has_queue_cursor = true;
		store_read_end(q->store);
		if ((sq = squeue_by_id(q->queues, row.id)) == NULL)
			continue;
		is_match = admin_filter_match_queue(&j->filter, sq);
		squeue_release(q->queues, sq);
		if (is_match) {
			j->queue = row.id;
			due_key_pack(row.id, 0, NULL, j->queue_at);
			return true;
		}
	}
	return true;
}

/* The next row of j->queue, by due time; false behind its last. Within store_read_begin(). */
static bool
next_of_queue(struct queued *q, struct admin_job *j, MDB_val *key_r)
{
	MDB_val v;

	if (!store_seek(q->store, DB_DUE, j->queue_at, DUE_KEY_LEN, true, key_r, &v) || key_r->mv_size != DUE_KEY_LEN ||
	    due_key_queue(key_r) != j->queue)
		return false;
	memcpy(j->queue_at, key_r->mv_data, DUE_KEY_LEN);
	return true;
}

/* The next envelope of the queues that the filter names: those of others are not even looked at. */
static enum step
next_in_queues(struct queued *q, struct admin_job *j)
{
	MDB_val k;
	bool found;

	if (j->queue == 0 && !next_queue(q, j))
		return STEP_END;
	if (j->queue == 0)
		return STEP_NONE;
	store_read_begin(q->store);
	if ((found = next_of_queue(q, j, &k)))
		memcpy(j->cursor, j->queue_at + DUE_KEY_LEN - ENV_KEY_LEN, ENV_KEY_LEN);
	store_read_end(q->store);
	if (!found)
		j->queue = 0;
	return found ? STEP_ROW : STEP_NONE;
}

/* The next envelope of all, oldest first. */
static enum step
next_of_all(struct queued *q, struct admin_job *j)
{
	MDB_val k, v;
	bool found;

	if (!j->has_cursor) {
		memset(j->cursor, 0, sizeof(j->cursor));
		if (j->filter.has_id)
			memcpy(j->cursor, j->filter.id.b, MSGID_LEN);
	}
	store_read_begin(q->store);
	found = store_seek(q->store, DB_ENV, j->cursor, ENV_KEY_LEN, j->has_cursor, &k, &v) && k.mv_size == ENV_KEY_LEN;
	if (found)
		memcpy(j->cursor, k.mv_data, ENV_KEY_LEN);
	store_read_end(q->store);
	j->has_cursor = true;
	return found && (!j->filter.has_id || memcmp(j->cursor, j->filter.id.b, MSGID_LEN) == 0) ? STEP_ROW : STEP_END;
}

static enum step
next_key(struct queued *q, struct admin_job *j)
{
	/* What is rebound may come to a queue that the filter names too: by its own key it is met once, and its event
	 * asked once. */
	if (!j->filter.has_id && (j->rebind == NULL || !j->rebind->is_asking) && admin_filter_has_queue(&j->filter))
		return next_in_queues(q, j);
	return next_of_all(q, j);
}

/* Under way, and to be held when it comes back: that is taken back. */
static void
release_in_flight(struct queued *q, struct admin_job *j, struct qenv *e)
{
	if (e->order != ORDER_HOLD && (e->order != ORDER_REBIND || (e->flags & ENV_HELD) == 0))
		return;
	if (e->order == ORDER_HOLD)
		e->order = ORDER_NONE;
	e->flags &= (uint16_t)~ENV_HELD;
	changes_add(q->changes, e);
	j->count++;
}

/* It follows when it comes back; what is to be held, too, is held where it comes to. */
static void
rebind_in_flight(struct queued *q, struct admin_job *j, struct qenv *e)
{
	if (e->order != ORDER_NONE && e->order != ORDER_HOLD && e->order != ORDER_REBIND)
		return; /* it is to be ended */
	if (!rebind_concerns(q, e, j->rebind))
		return;
	if (e->order == ORDER_HOLD)
		e->flags |= ENV_HELD;
	e->order = ORDER_REBIND;
	rebind_unref(&e->rebind);
	e->rebind = j->rebind;
	e->rebind->refs++;
	consumer_cancel(e->with->consumer, e);
	j->count++;
	j->cancelling++;
}

static void
change_in_flight(struct admin_job *j, struct qenv *e)
{
	static const enum env_order orders[] = { [ADMIN_HOLD] = ORDER_HOLD, [ADMIN_RETRY] = ORDER_NONE,
	    [ADMIN_BOUNCE] = ORDER_BOUNCE,
		[ADMIN_DELETE] = ORDER_DELETE };
	enum env_order order = orders[j->action];

	if (j->action == ADMIN_BOUNCE && j->is_quiet)
		order = ORDER_BOUNCE_QUIET;
	if (order == ORDER_NONE)
		return; /* it is being tried as we speak */
	if (order == ORDER_HOLD && e->order == ORDER_REBIND)
		e->flags |= ENV_HELD; /* both */
	else
		e->order = (uint8_t)order;
	consumer_cancel(e->with->consumer, e);
	j->count++;
	j->cancelling++;
}

static void
change_waiting(struct queued *q, struct admin_job *j, struct qenv *e)
{
	int64_t now = queue_now(q), rest;
	enum rebind_done done;

	switch (j->action) {
	case ADMIN_HOLD:
		if (e->flags & ENV_HELD)
			return;
		result_hold(q, e);
		break;
	case ADMIN_RELEASE:
		if (!(e->flags & (ENV_HELD | ENV_GUARDED)))
			return;
		e->flags &= (uint16_t)~(ENV_HELD | ENV_DAMAGED);
		result_defer(q, e, now);
		break;
	case ADMIN_RETRY:
		if (e->state != ENVELOPE_DEFERRED || e->due <= now)
			return;
		result_defer(q, e, now);
		break;
	case ADMIN_BOUNCE:
		result_admin_bounce(q, e, j->reason != NULL ? j->reason : "bounced by the operator", j->is_quiet);
		break;
	case ADMIN_DELETE:
		result_admin_bounce(q, e, j->reason != NULL ? j->reason : "deleted by the operator", true);
		break;
	case ADMIN_REBIND:
		rest = q->policy_rest;
		done = rebind_apply(q, e, j->rebind);
		j->failed += done == REBIND_FAILED;
		if (q->policy_rest != rest && ++j->overruns == OVERRUNS_MAX)
			j->refusal = "given up: rebind_message uses up its time for one message after the other";
		if (done != REBIND_DONE)
			return;
		break;
	default:
		return;
	}
	j->count++;
}

static void
change_one(struct queued *q, struct admin_job *j, const uint8_t key[ENV_KEY_LEN])
{
	struct qenv *e = qenv_find_key(q->mem, key);
	bool was_loaded = false;

	if (e == NULL) {
		if ((e = qenv_load(q->mem, key)) == NULL)
			return;
		was_loaded = true;
	}
	if (e->state == ENVELOPE_DONE)
		return;
	if (e->state == ENVELOPE_INFLIGHT) {
		if (j->action == ADMIN_RELEASE)
			release_in_flight(q, j, e);
		else if (j->action == ADMIN_REBIND)
			rebind_in_flight(q, j, e);
		else
			change_in_flight(j, e);
		return;
	}
	/* Stored envelopes are dirty after a change, so the object is still there; one that was only looked at goes. */
	change_waiting(q, j, e);
	if (was_loaded && (e = qenv_find_key(q->mem, key)) != NULL && !e->is_dirty && e->state != ENVELOPE_READY)
		qenv_free(q->mem, &e);
}

static void
show_one(struct queued *q, struct admin_job *j, const struct admin_view *v)
{
	admin_view_json(q, v, j->action == ADMIN_SHOW, &j->json);
	if (j->want_headers && j->action == ADMIN_SHOW && j->count == 0)
		admin_view_headers(q, v, &j->json);
	json_obj_end(&j->json);
	admin_send_json(j);
	j->count++;
}

int
admin_queue_step(struct queued *q, struct admin_job *j)
{
	struct admin_view v;
	unsigned rows, matches = 0;
	int64_t start = mono_ms();
	enum step step;
	bool is_match;

	/* Changes are kept until they are committed: do not run ahead of the commits. */
	if (j->action >= ADMIN_HOLD && q->changes->n_dirty > COMMIT_CHANGES)
		return 0;
	for (rows = 0; rows < STEP_ROWS && matches < STEP_MATCHES; rows++) {
		if ((j->limit > 0 && j->count >= j->limit) || j->refusal != NULL ||
		    (step = next_key(q, j)) == STEP_END)
			return 1;
		if (step == STEP_NONE || !admin_view_open(q, j->cursor, &v))
			continue;
		is_match = admin_filter_match(q, &j->filter, &v);
		if (is_match && j->action < ADMIN_HOLD) {
			admin_view_read(q, &v);
			show_one(q, j, &v);
		}
		admin_view_close(q, &v);
		if (is_match && j->action >= ADMIN_HOLD)
			change_one(q, j, j->cursor);
		matches += is_match;
		/* An event may take long for each. */
		if (j->rebind != NULL && mono_ms() - start > STEP_MS)
			break;
	}
	return 0;
}

/* Counts rows of the queue from where the last step stopped. True at its end. */
static bool
tally_rows(struct queued *q, struct admin_job *j)
{
	struct admin_tally *t = &j->tally;
	int64_t now = queue_now(q), when;
	unsigned n;
	bool done = false;
	struct envid id;
	MDB_val k;

	store_read_begin(q->store);
	for (n = 0; n < STEP_TALLY && !done; n++) {
		if (t->counted >= TALLY_MAX || !next_of_queue(q, j, &k)) {
			done = true;
			break;
		}
		env_key_unpack(j->queue_at + DUE_KEY_LEN - ENV_KEY_LEN, &id);
		when = due_key_time(&k);
		t->counted++;
		if (when <= now)
			t->due++;
		else if (when != DUE_HELD)
			t->deferred++;
		if (when > now && when != DUE_HELD && t->next == 0)
			t->next = when;
		if (t->oldest == 0 || msgid_time(&id.msg) < t->oldest)
			t->oldest = msgid_time(&id.msg);
	}
	store_read_end(q->store);
	return done;
}

static void
summary_show(struct queued *q, struct admin_job *j)
{
	struct squeue *sq = squeue_by_id(q->queues, j->queue);
	struct admin_tally *t = &j->tally;
	char *why;

	if (sq == NULL)
		return;
	json_obj(&j->json, NULL);
	json_str(&j->json, "queue", sq->name);
	json_str(&j->json, "domain", sq->domain);
	json_str(&j->json, "tenant", sq->tenant);
	json_str(&j->json, "campaign", sq->campaign);
	json_str(&j->json, "pool", sq->pool == NULL ? NULL : sq->pool->name);
	json_int(&j->json, "messages", (int64_t)sq->total);
	json_int(&j->json, "due", (int64_t)(t->due > sq->outstanding ? t->due - sq->outstanding : 0));
	json_int(&j->json, "deferred", (int64_t)t->deferred);
	json_int(&j->json, "held", (int64_t)sq->held);
	json_int(&j->json, "outstanding", sq->outstanding);
	json_int(&j->json, "window", sq->window);
	json_int(&j->json, "oldest", t->oldest);
	if (t->next != 0)
		json_int(&j->json, "next_attempt", queue_wall(q, t->next));
	why = t->due > sq->outstanding || sq->pool == NULL || sq->held_by != 0 ? squeue_reason(q, sq) : NULL;
	json_str(&j->json, "reason", why);
	free(why);
	json_str(&j->json, "last_failure", sq->last_error);
	json_bool(&j->json, "is_estimate", t->counted >= TALLY_MAX);
	json_obj_end(&j->json);
	admin_send_json(j);
	j->count++;
	squeue_release(q->queues, sq);
}

int
admin_summary_step(struct queued *q, struct admin_job *j)
{
	unsigned n;

	for (n = 0; n < STEP_MATCHES; n++) {
		if (j->limit > 0 && j->count >= j->limit)
			return 1;
		if (j->queue == 0) {
			if (!next_queue(q, j))
				return 1;
			if (j->queue == 0)
				return 0;
			memset(&j->tally, 0, sizeof(j->tally));
		}
		if (!tally_rows(q, j))
			return 0;
		summary_show(q, j);
		j->queue = 0;
	}
	return 0;
}
