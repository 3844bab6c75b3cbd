/* The commit: one transaction that brings the index to what is true now. Order in it: notices to senders are made
 * durable first (their originals are forgotten here), removed names of segments too (their rows go here), then the
 * rows. Nothing in memory is taken as stored before the transaction is durable; if the disk is full everything is
 * kept and tried again; on an I/O error nothing about the file can be trusted and the process ends: the next start
 * recovers. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/bounce.h"
#include "queued/changes.h"
#include "queued/expire.h"
#include "queued/outbox.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/rebound.h"
#include "queued/sched.h"
#include "queued/wake.h"

#define RETRY_FULL_MS 1000

static void
on_timer(void *arg)
{
	struct changes *c = arg;

	c->is_due = true;
}

struct changes *
changes_new(struct queued *q)
{
	struct changes *c = xcalloc(1, sizeof(*c));

	c->q = q;
	TAILQ_INIT(&c->dirty);
	TAILQ_INIT(&c->touched);
	timer_init(&c->timer, q->loop, on_timer, c);
	return c;
}

void
changes_free(struct changes **cp)
{
	if (*cp == NULL)
		return;
	timer_cancel(&(*cp)->timer);
	free(*cp);
	*cp = NULL;
}

void
changes_poke(struct changes *c)
{
	if (!timer_is_set(&c->timer) && !c->is_due)
		timer_set(&c->timer, c->q->params->index_commit_interval);
}

void
changes_hurry(struct changes *c)
{
	c->is_due = c->is_due || !c->q->is_disk_full;
}

void
changes_add(struct changes *c, struct qenv *e)
{
	if (!e->is_dirty) {
		e->is_dirty = true;
		TAILQ_INSERT_TAIL(&c->dirty, e, dirty);
		c->n_dirty++;
		changes_poke(c);
	}
}

static void
changes_drop(struct changes *c, struct qenv *e)
{
	if (e->is_dirty) {
		e->is_dirty = false;
		TAILQ_REMOVE(&c->dirty, e, dirty);
		c->n_dirty--;
	}
}

void
changes_finish(struct changes *c, struct qenv *e)
{
	struct queued *q = c->q;

	qenv_set_state(q->mem, e, ENVELOPE_DONE);
	if (e->awaits_notice > 0) {
		changes_add(c, e);
		return;
	}
	e->msg->seg->live--;
	segment_mark_dirty(q->segs, e->msg->seg);
	if (e->is_stored) {
		changes_add(c, e);
		return;
	}
	changes_drop(c, e);
	qenv_free(q->mem, &e);
}

void
changes_notice_written(struct changes *c, struct qenv *e)
{
	if (--e->awaits_notice > 0 || e->state != ENVELOPE_DONE)
		return;
	e->msg->seg->live--;
	segment_mark_dirty(c->q->segs, e->msg->seg);
}

static void
changes_touch(struct changes *c, struct squeue *sq)
{
	if (!sq->is_touched) {
		sq->is_touched = true;
		sq->new_total = sq->total;
		sq->new_held = sq->held;
		TAILQ_INSERT_TAIL(&c->touched, sq, touched);
	}
}

/* The queue that its rows name. */
static struct squeue *
queue_of_rows(const struct qenv *e)
{
	return e->stored_in != NULL ? e->stored_in : e->queue;
}

/* Done, and nothing that must be durable first is missing. */
static bool
is_forgotten(const struct qenv *e)
{
	return e->state == ENVELOPE_DONE && e->awaits_notice == 0;
}

static int
write_forgotten(struct store *st, const struct qenv *e)
{
	uint8_t due[DUE_KEY_LEN], exp[EXP_KEY_LEN];
	int rc;

	if (!e->is_stored)
		return 0;
	due_key_pack(queue_of_rows(e)->id, e->stored_due, e->key, due);
	exp_key_pack(e->stored_expires, e->key, exp);
	if ((rc = store_del(st, DB_ENV, e->key, ENV_KEY_LEN)) != 0 ||
	    (rc = store_del(st, DB_DUE, due, DUE_KEY_LEN)) != 0)
		return rc;
	return e->stored_held ? 0 : store_del(st, DB_EXP, exp, EXP_KEY_LEN);
}

static int64_t
due_of(const struct qenv *e)
{
	return e->flags & ENV_HELD ? DUE_HELD : e->due;
}

/* What is held has no such key. */
static int
write_expiry(struct store *st, const struct qenv *e)
{
	bool is_wanted = (e->flags & ENV_HELD) == 0, is_there = e->is_stored && !e->stored_held;
	uint8_t exp[EXP_KEY_LEN];
	int rc;

	if (is_there && (!is_wanted || e->stored_expires != e->expires)) {
		exp_key_pack(e->stored_expires, e->key, exp);
		if ((rc = store_del(st, DB_EXP, exp, EXP_KEY_LEN)) != 0)
			return rc;
		is_there = false;
	}
	if (!is_wanted || is_there)
		return 0;
	exp_key_pack(e->expires, e->key, exp);
	return store_put(st, DB_EXP, exp, EXP_KEY_LEN, "", 0);
}

static int
write_keys(struct store *st, const struct qenv *e)
{
	bool is_changed = e->stored_due != due_of(e) || e->stored_in != NULL;
	uint8_t due[DUE_KEY_LEN];
	int rc;

	if (e->is_stored && is_changed) {
		due_key_pack(queue_of_rows(e)->id, e->stored_due, e->key, due);
		if ((rc = store_del(st, DB_DUE, due, DUE_KEY_LEN)) != 0)
			return rc;
	}
	if (!e->is_stored || is_changed) {
		due_key_pack(e->queue->id, due_of(e), e->key, due);
		if ((rc = store_put(st, DB_DUE, due, DUE_KEY_LEN, "", 0)) != 0)
			return rc;
	}
	return write_expiry(st, e);
}

static int
write_kept(struct store *st, const struct qenv *e)
{
	struct wbuf rebound;
	struct env_row row;
	int rc;

	wbuf_init(&rebound);
	row.segment = e->msg->rec.segment;
	row.offset = e->msg->rec.offset;
	row.queue = e->queue->id;
	row.attempts = e->attempts;
	row.flags = (uint16_t)(e->rebound != NULL ? e->flags | ENV_REBOUND : e->flags & ~ENV_REBOUND);
	row.due = due_of(e);
	row.expires = e->expires;
	row.born = e->born;
	row.code = e->code;
	row.enhanced = e->enhanced;
	row.text.base = e->text;
	row.text.len = e->text == NULL ? 0 : strlen(e->text);
	if (e->rebound != NULL)
		rebound_encode(e->rebound, &rebound);
	row.rebound = (struct slice){ (const char *)rebound.p, rebound.len };
	rc = store_put_env(st, e->key, &row);
	wbuf_clear(&rebound);
	return rc != 0 ? rc : write_keys(st, e);
}

static int
write_envelopes(struct changes *c)
{
	struct queued *q = c->q;
	struct squeue *sq, *was;
	struct qenv *e;
	int rc;

	TAILQ_FOREACH(e, &c->dirty, dirty) {
		sq = e->queue;
		was = queue_of_rows(e);
		changes_touch(c, sq);
		changes_touch(c, was);
		if (is_forgotten(e)) {
			was->new_total -= e->is_stored;
			was->new_held -= e->is_stored && e->stored_held;
			rc = write_forgotten(q->store, e);
		} else if (c->only_deletes) {
			continue;
		} else {
			if (sq->id == 0)
				squeue_assign_id(q->queues, sq);
			was->new_total -= e->is_stored;
			was->new_held -= e->is_stored && e->stored_held;
			sq->new_total++;
			sq->new_held += (e->flags & ENV_HELD) != 0;
			rc = write_kept(q->store, e);
		}
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
write_queues(struct changes *c)
{
	struct queued *q = c->q;
	struct queue_row row;
	struct squeue *sq;
	int rc;

	TAILQ_FOREACH(sq, &c->touched, touched) {
		if (sq->id == 0)
			continue;
		row.id = sq->id;
		row.name.base = sq->name;
		row.name.len = strlen(sq->name);
		row.total = sq->new_total;
		row.held = sq->new_held;
		if (sq->new_total == 0)
			rc = store_del_queue(q->store, sq->id, sq->name);
		else if (sq->new_total != sq->total || sq->new_held != sq->held)
			rc = store_put_queue(q->store, &row);
		else
			rc = 0;
		if (rc != 0)
			return rc;
	}
	if (q->queues->next_dirty)
		return store_put(q->store, DB_META, "next_queue", 10, &q->queues->next_id, sizeof(q->queues->next_id));
	return 0;
}

static int
write_segments(struct changes *c)
{
	struct queued *q = c->q;
	struct segment *seg;
	struct seg_row row;
	int rc;

	TAILQ_FOREACH(seg, &q->segs->dirty, dirty) {
		row.number = seg->number;
		row.state = (uint8_t)seg->state;
		row.kind = seg->kind;
		row.indexed = seg->seen;
		row.total = seg->total;
		row.live = seg->live;
		rc = seg->state == SEG_GONE ? store_del_seg(q->store, seg->number) : store_put_seg(q->store, &row);
		if (rc != 0)
			return rc;
	}
	if (q->segs->next_dirty)
		return store_put(q->store, DB_META, "next_segment", 12, &q->segs->next, sizeof(q->segs->next));
	return 0;
}

static int
changes_write(struct changes *c)
{
	struct store *st = c->q->store;
	int rc;

	if ((rc = store_begin(st)) != 0)
		return rc;
	if ((rc = write_envelopes(c)) != 0 || (rc = write_queues(c)) != 0 ||
	    (rc = queue_clock_store(c->q)) != 0 || (rc = overrides_store(c->q)) != 0 ||
	    (rc = outbox_store(c->q, c->only_deletes)) != 0 ||
	    (!c->only_deletes && (rc = write_segments(c)) != 0)) {
		store_abort(st);
		return rc;
	}
	return store_commit(st);
}

/* The envelope is in the index now as it is here: only what is to be sent soon stays in memory. */
static void
stored_envelope(struct changes *c, struct qenv *e)
{
	struct queued *q = c->q;

	if (e->is_stored && is_forgotten(e)) {
		q->total_stored--;
		q->total_held -= e->stored_held;
	}
	if (is_forgotten(e)) {
		qenv_free(q->mem, &e);
		return;
	}
	q->total_stored += !e->is_stored;
	q->total_held += (e->flags & ENV_HELD) != 0;
	q->total_held -= e->is_stored && e->stored_held;
	e->is_stored = true;
	e->stored_due = due_of(e);
	e->stored_expires = e->expires;
	e->stored_held = (e->flags & ENV_HELD) != 0;
	if (e->stored_in != NULL)
		e->stored_in->refs--; /* it was touched, so stored_queues() lets go of it */
	e->stored_in = NULL;
	if (!e->stored_held)
		expire_sooner(q->expire, e->expires);
	if (e->awaits_notice > 0) {
		changes_add(c, e);
	} else if (e->state == ENVELOPE_DEFERRED || e->state == ENVELOPE_HELD) {
		if (e->stored_due != DUE_HELD)
			wake_sooner(q->wake, e->queue->id, e->stored_due);
		qenv_free(q->mem, &e);
	}
}

static void
stored_queues(struct changes *c)
{
	struct queued *q = c->q;
	struct squeue *sq;
	uint32_t keep;

	while ((sq = TAILQ_FIRST(&c->touched)) != NULL) {
		TAILQ_REMOVE(&c->touched, sq, touched);
		sq->is_touched = false;
		sq->total = sq->new_total;
		sq->held = sq->new_held;
		if (sq->id != 0 && sq->total == 0)
			squeue_drop_id(q->queues, sq);
		sq->refs++;
		keep = sq->pool == NULL || sq->held_by != 0 ? 0 : 2 * sq->window;
		if (sq->n_ready > keep)
			squeue_spill(q->queues, sq, keep);
		sq->refs--;
		squeue_release(q->queues, sq);
	}
}

/* More in memory than half of what producers are stopped at: what cannot be offered now leaves. */
static void
spill_blocked(struct queued *q)
{
	struct squeue *sq, *next;

	if (q->mem->n_ready <= (uint64_t)q->params->queue_backlog_limit / 2)
		return;
	HASH_ITER(hh, q->queues->by_name, sq, next)
		if (sq->n_ready > 0 && (sq->pool == NULL || sq->held_by != 0 || sched_share(sq) == 0 ||
		    sq->outstanding >= sq->window))
			squeue_spill(q->queues, sq, 0);
}

static void
changes_stored(struct changes *c)
{
	struct queued *q = c->q;
	struct qenv_list written;
	struct qenv *e;

	TAILQ_INIT(&written);
	TAILQ_CONCAT(&written, &c->dirty, dirty);
	c->n_dirty = 0;
	while ((e = TAILQ_FIRST(&written)) != NULL) {
		TAILQ_REMOVE(&written, e, dirty);
		e->is_dirty = false;
		if (c->only_deletes && !is_forgotten(e))
			changes_add(c, e);
		else
			stored_envelope(c, e);
	}
	q->queues->next_dirty = false;
	queue_clock_stored(q);
	overrides_stored(q);
	outbox_stored(q, c->only_deletes);
	stored_queues(c);
	if (!c->only_deletes) {
		q->segs->next_dirty = false;
		segments_forget_gone(q->segs);
		segments_reap(q->segs);
	}
	spill_blocked(q);
	sched_arm(q);
}

static void
changes_untouch(struct changes *c)
{
	struct squeue *sq;

	while ((sq = TAILQ_FIRST(&c->touched)) != NULL) {
		TAILQ_REMOVE(&c->touched, sq, touched);
		sq->is_touched = false;
	}
}

static void
changes_failed(struct changes *c, int rc)
{
	struct queued *q = c->q;

	q->count.commit_failures++;
	if (!store_is_full(rc))
		store_broken(q->store, "commit", rc);
	if (!q->is_disk_full)
		log_error("index: commit: %s: everything is kept and tried again; new mail is held back",
		    mdb_strerror(rc));
	changes_untouch(c);
	q->is_disk_full = true;
	/* Deleting needs little room and makes some: alternate. */
	c->only_deletes = !c->only_deletes;
	segfile_trim_stock(q->segs, 0);
	timer_set(&c->timer, RETRY_FULL_MS);
	queued_check_flow(q);
}

static bool
changes_is_empty(const struct changes *c)
{
	const struct queued *q = c->q;

	return TAILQ_EMPTY(&c->dirty) && TAILQ_EMPTY(&q->segs->dirty) && !q->segs->next_dirty &&
	    !notices_pending(q->notices) && !queue_clock_is_dirty(q) && !overrides_are_dirty(q->overrides) &&
	    !outbox_is_dirty(q->outbox);
}

int
changes_commit(struct changes *c)
{
	struct queued *q = c->q;
	int64_t start;
	int rc;

	timer_cancel(&c->timer);
	c->is_due = false;
	if (changes_is_empty(c))
		return 0;
	start = mono_ms();
	notices_write(q->notices);
	if (segments_sync_dir(q->segs) == -1) {
		changes_failed(c, errno);
		return -1;
	}
	if ((rc = changes_write(c)) != 0) {
		changes_failed(c, rc);
		return -1;
	}
	q->count.commits++;
	q->count.commit_ms_last = mono_ms() - start;
	if (q->count.commit_ms_last > q->count.commit_ms_max)
		q->count.commit_ms_max = q->count.commit_ms_last;
	changes_stored(c);
	if (c->only_deletes) {
		c->only_deletes = false;
		timer_set(&c->timer, RETRY_FULL_MS);
		return -1;
	}
	if (q->is_disk_full)
		log_info("index: commits succeed again");
	q->is_disk_full = false;
	queued_check_flow(q);
	return 0;
}

void
changes_turn(struct changes *c)
{
	if (c->is_due || (c->n_dirty >= COMMIT_CHANGES && !c->q->is_disk_full))
		(void)changes_commit(c);
}
