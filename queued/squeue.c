/* Scheduled queues in memory: found by name or id, loaded from the index within their window, spilled back to it
 * when a backlog grows, and freed when nothing of them is in memory; then their next time stands in wake.c, or
 * their id among the pool's parked queues. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/names.h"

#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/stage.h"
#include "queued/throttle.h"
#include "queued/wake.h"

struct squeue_set *
squeues_new(struct queued *q)
{
	struct squeue_set *set = xcalloc(1, sizeof(*set));
	MDB_val v;

	set->q = q;
	set->next_id = 1;
	store_read_begin(q->store);
	if (store_get(q->store, DB_META, "next_queue", 10, &v) && v.mv_size == sizeof(set->next_id))
		memcpy(&set->next_id, v.mv_data, sizeof(set->next_id));
	store_read_end(q->store);
	return set;
}

static void
squeue_free(struct squeue_set *set, struct squeue *sq)
{
	HASH_DEL(set->by_name, sq);
	if (sq->id != 0)
		HASH_DELETE(hid, set->by_id, sq);
	lane_join(sq, NULL);
	free(sq->name);
	free(sq->domain);
	free(sq->tenant);
	free(sq->campaign);
	throttle_leave(sq);
	free(sq->why);
	policy_queue_config_clear(&sq->config);
	free(sq->last_error);
	free(sq);
}

void
squeues_free(struct squeue_set **setp)
{
	struct squeue_set *set = *setp;
	struct squeue *sq, *next;

	if (set == NULL)
		return;
	*setp = NULL;
	HASH_ITER(hh, set->by_name, sq, next)
		squeue_free(set, sq);
	free(set);
}

/* Takes name over. */
static struct squeue *
squeue_new(struct squeue_set *set, char *name)
{
	struct squeue *sq = xcalloc(1, sizeof(*sq));

	sq->name = name;
	sq->is_stage = stage_is_name(name);
	policy_queue_config_init(&sq->config);
	queue_name_split(name, &sq->campaign, &sq->tenant, &sq->domain);
	sq->window = WINDOW_START;
	if (sq->window > (uint64_t)set->q->params->queue_window_limit)
		sq->window = (uint32_t)set->q->params->queue_window_limit;
	TAILQ_INIT(&sq->ready);
	HASH_ADD_KEYPTR(hh, set->by_name, sq->name, strlen(sq->name), sq);
	squeue_route(set->q, sq);
	overrides_look(set->q, sq);
	return sq;
}

static void
squeue_from_index(struct squeue_set *set, struct squeue *sq, const struct queue_row *row)
{
	sq->id = row->id;
	sq->total = row->total;
	sq->held = row->held;
	HASH_ADD(hid, set->by_id, id, sizeof(sq->id), sq);
	/* Waiting outside for credit: its due mail is found when it is loaded. */
	if (wake_note(set->q->wake, sq->id) == WAKE_PARKED)
		sq->more_due = true;
}

struct squeue *
squeue_find_id(struct squeue_set *set, uint32_t id)
{
	struct squeue *sq;

	HASH_FIND(hid, set->by_id, &id, sizeof(id), sq);
	return sq;
}

struct squeue *
squeue_by_id(struct squeue_set *set, uint32_t id)
{
	struct squeue *sq = squeue_find_id(set, id);
	struct queue_row row;

	if (sq != NULL)
		return sq;
	store_read_begin(set->q->store);
	if (store_get_queue(set->q->store, id, &row)) {
		sq = squeue_new(set, xmemdup0(row.name.base, row.name.len));
		squeue_from_index(set, sq, &row);
	}
	store_read_end(set->q->store);
	return sq;
}

struct squeue *
squeue_for(struct squeue_set *set, const struct envelope *env, const char *address)
{
	const char *domain = address_domain(address);
	char name[QUEUE_NAME_MAX];

	if (*domain == '\0')
		domain = set->q->params->myhostname;
	if (env->queue != NULL && *env->queue != '\0' && !stage_is_name(env->queue))
		(void)snprintf(name, sizeof(name), "%s", env->queue);
	else
		queue_name_make(name, sizeof(name), env->campaign, env->tenant, domain);
	return squeue_named(set, name);
}

struct squeue *
squeue_named(struct squeue_set *set, const char *name)
{
	struct queue_row row;
	struct squeue *sq;
	uint32_t id;

	HASH_FIND(hh, set->by_name, name, strlen(name), sq);
	if (sq != NULL)
		return sq;
	sq = squeue_new(set, xstrdup(name));
	store_read_begin(set->q->store);
	if ((id = store_find_queue(set->q->store, name)) != 0 && store_get_queue(set->q->store, id, &row))
		squeue_from_index(set, sq, &row);
	store_read_end(set->q->store);
	return sq;
}

void
squeue_assign_id(struct squeue_set *set, struct squeue *sq)
{
	sq->id = set->next_id++;
	set->next_dirty = true;
	HASH_ADD(hid, set->by_id, id, sizeof(sq->id), sq);
}

void
squeue_drop_id(struct squeue_set *set, struct squeue *sq)
{
	wake_remove(set->q->wake, sq->id);
	HASH_DELETE(hid, set->by_id, sq);
	sq->id = 0;
	sq->more_due = false;
	sq->has_cursor = false;
}

void
squeue_update(struct squeue_set *set, struct squeue *sq)
{
	bool want = sq->pool != NULL && sq->throttle == NULL && sq->held_by == 0 && sq->outstanding < sq->window &&
	    (sq->n_ready > 0 || sq->more_due);

	(void)set;
	if (sq->pool == NULL && sq->is_active)
		panic("queue %s takes turns without a pool", sq->name);
	if (want && !sq->is_active)
		lane_add(sq);
	else if (!want && sq->is_active)
		lane_remove(sq);
}

void
squeue_release(struct squeue_set *set, struct squeue *sq)
{
	struct queued *q = set->q;

	if (sq->refs > 0 || sq->is_touched)
		return;
	if (sq->more_due && sq->id != 0) {
		if (sq->pool == NULL)
			wake_set(q->wake, sq->id, queue_now(q) + UNROUTED_RETRY_MS, WAKE_UNROUTED);
		else if (sq->held_by != 0)
			wake_set(q->wake, sq->id, INT64_MAX, WAKE_SUSPENDED);
		else if (throttle_keeps(sq))
			return;
		else if (sq->throttle != NULL)
			wake_set(q->wake, sq->id, queue_now(q) + throttle_sleep(q, sq), WAKE_THROTTLED);
		else if (sq->pool->credit == 0 ||
		    (sq->pool->n_active > POOL_ACTIVE_MAX && sq->lane->n_active > LANE_ACTIVE_MAX))
			pool_park(q->pools, sq->lane, sq->id);
		else
			return squeue_update(set, sq); /* it will be loaded */
	}
	squeue_free(set, sq);
}

void
squeue_set_more_due(struct squeue_set *set, struct squeue *sq)
{
	/* From the start also while it is being loaded: what became due may lie before the cursor. */
	sq->has_cursor = false;
	sq->more_due = true;
	squeue_update(set, sq);
}

/* The end of the due range was reached: next is the first time after it. */
static void
squeue_loaded_all(struct squeue_set *set, struct squeue *sq, int64_t next)
{
	sq->more_due = false;
	sq->has_cursor = false;
	if (next == DUE_HELD)
		wake_remove(set->q->wake, sq->id);
	else
		wake_set(set->q->wake, sq->id, next, 0);
}

void
squeue_load(struct squeue_set *set, struct squeue *sq)
{
	struct memory *mem = set->q->mem;
	int64_t now = queue_now(set->q), when;
	uint32_t room = sq->window > sq->outstanding + sq->n_ready ? sq->window - sq->outstanding - sq->n_ready : 1;
	unsigned steps = 0;
	struct qenv *e;
	MDB_val k, v;

	if (room > TURN_ENVELOPES)
		room = TURN_ENVELOPES;
	if (!sq->has_cursor)
		due_key_pack(sq->id, 0, NULL, sq->cursor);
	sq->refs++; /* so that no envelope takes the queue with it */
	store_read_begin(set->q->store);
	while (room > 0 && steps++ < 4 * TURN_ENVELOPES) {
		if (!store_seek(set->q->store, DB_DUE, sq->cursor, DUE_KEY_LEN, sq->has_cursor, &k, &v) ||
		    due_key_queue(&k) != sq->id) {
			/* Every stored envelope has a due time, if only that of the held ones. */
			if (!sq->has_cursor && sq->total > 0)
				store_broken(set->q->store, "a queue has lost its due times", MDB_CORRUPTED);
			squeue_loaded_all(set, sq, DUE_HELD);
			break;
		}
		if ((when = due_key_time(&k)) > now) {
			squeue_loaded_all(set, sq, when);
			break;
		}
		memcpy(sq->cursor, k.mv_data, DUE_KEY_LEN);
		sq->has_cursor = true;
		if (qenv_find_key(mem, sq->cursor + 12) != NULL || (e = qenv_load(mem, sq->cursor + 12)) == NULL)
			continue;
		qenv_set_state(mem, e, ENVELOPE_READY);
		room--;
	}
	store_read_end(set->q->store);
	sq->refs--;
	squeue_update(set, sq);
}

void
squeue_spill(struct squeue_set *set, struct squeue *sq, uint32_t keep)
{
	struct qenv *e;
	bool is_spilled = false;

	sq->refs++;
	while (sq->n_ready > keep) {
		e = TAILQ_LAST(&sq->ready, qenv_list);
		if (e->is_dirty || !e->is_stored)
			break;
		is_spilled = true;
		qenv_free(set->q->mem, &e);
	}
	sq->refs--;
	if (is_spilled) {
		sq->more_due = true;
		sq->has_cursor = false;
		squeue_update(set, sq);
		squeue_release(set, sq);
	}
}

void
squeue_grow_window(struct queued *q, struct squeue *sq)
{
	if (sq->shrink_after > 0)
		sq->shrink_after--;
	if (sq->outstanding + 1 >= sq->window && sq->window < (uint64_t)q->params->queue_window_limit)
		sq->window++;
}

void
squeue_shrink_window(struct squeue *sq)
{
	/* Once for all that was outstanding: a hundred deferrals at the same time are one piece of news. */
	if (sq->shrink_after > 0) {
		sq->shrink_after--;
		return;
	}
	sq->shrink_after = sq->outstanding;
	sq->window /= 2;
	if (sq->window < WINDOW_MIN)
		sq->window = WINDOW_MIN;
}
