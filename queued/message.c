/* Messages and envelopes in memory: objects, the two tables, counts, and the one function that moves an envelope
 * from state to state. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/consumer.h"
#include "queued/message.h"
#include "queued/queued.h"
#include "queued/rebind.h"
#include "queued/rebound.h"
#include "queued/share.h"
#include "queued/segment.h"
#include "queued/squeue.h"

/* Messages of several recipients are kept a while after their last envelope left memory: the next is often wanted
 * soon. */
#define IDLE_MAX 64
#define IDLE_BYTES (16u << 20)

const char *const env_state_names[] = { "due", "outstanding", "deferred", "held", "done" };

struct memory *
memory_new(struct queued *q)
{
	struct memory *m = xcalloc(1, sizeof(*m));

	m->q = q;
	TAILQ_INIT(&m->idle);
	return m;
}

static void
message_free(struct memory *m, struct message *msg)
{
	HASH_DEL(m->messages, msg);
	msg->seg->messages--;
	envelope_free(&msg->env);
	free(msg);
}

static void
message_drop(struct memory *m, struct message *msg)
{
	TAILQ_REMOVE(&m->idle, msg, lru);
	m->n_idle--;
	m->idle_bytes -= msg->rec.envelope_len;
	message_free(m, msg);
}

static void
qenv_discard(struct qenv *e)
{
	rebind_unref(&e->rebind);
	rebound_free(&e->rebound);
	free(e->text);
	free(e);
}

void
memory_free(struct memory **mp)
{
	struct memory *m = *mp;
	struct message *msg, *mnext;
	struct qenv *e, *next;

	if (m == NULL)
		return;
	*mp = NULL;
	HASH_ITER(hh, m->envelopes, e, next) {
		HASH_DEL(m->envelopes, e);
		qenv_discard(e);
	}
	HASH_ITER(hh, m->messages, msg, mnext)
		message_free(m, msg);
	free(m);
}

struct message *
message_find(struct memory *m, const struct msgid *id)
{
	struct message *msg;

	HASH_FIND(hh, m->messages, id, sizeof(*id), msg);
	return msg;
}

struct message *
message_new(struct memory *m, struct segment *seg, const struct record *rec, struct envelope *env)
{
	struct message *msg = xcalloc(1, sizeof(*msg));

	msg->id = rec->id;
	msg->seg = seg;
	msg->rec = *rec;
	msg->has_rec = true;
	msg->env = env;
	TAILQ_INIT(&msg->notices);
	seg->messages++;
	HASH_ADD(hh, m->messages, id, sizeof(msg->id), msg);
	return msg;
}

struct message *
message_at(struct memory *m, const struct msgid *id, struct segment *seg, uint64_t offset)
{
	struct message *msg = message_find(m, id);
	struct record rec;

	if (msg != NULL)
		return msg;
	memset(&rec, 0, sizeof(rec));
	rec.id = *id;
	rec.segment = seg->number;
	rec.offset = offset;
	msg = message_new(m, seg, &rec, NULL);
	msg->has_rec = false;
	return msg;
}

void
message_ref(struct memory *m, struct message *msg)
{
	if (msg->refs++ == 0 && msg->lru.tqe_prev != NULL) {
		TAILQ_REMOVE(&m->idle, msg, lru);
		msg->lru.tqe_prev = NULL;
		m->n_idle--;
		m->idle_bytes -= msg->rec.envelope_len;
	}
}

void
message_unref(struct memory *m, struct message *msg)
{
	if (--msg->refs > 0)
		return;
	if (msg->env == NULL || msg->env->n_rcpts == 1 || msg->seg->live == 0) {
		message_free(m, msg);
		return;
	}
	TAILQ_INSERT_TAIL(&m->idle, msg, lru);
	m->n_idle++;
	m->idle_bytes += msg->rec.envelope_len;
	while (m->n_idle > IDLE_MAX || (m->idle_bytes > IDLE_BYTES && m->n_idle > 1))
		message_drop(m, TAILQ_FIRST(&m->idle));
}

void
message_drop_idle(struct memory *m, const struct segment *seg)
{
	struct message *msg, *next;

	TAILQ_FOREACH_SAFE(msg, &m->idle, lru, next)
		if (msg->seg == seg)
			message_drop(m, msg);
}

const struct envelope *
message_envelope(struct memory *m, struct message *msg, const char **err_r)
{
	uint8_t hdr[RECORD_HDR];
	int fd;

	if (msg->env != NULL)
		return msg->env;
	if ((fd = segment_fd(m->q->segs, msg->seg)) == -1) {
		*err_r = "its segment cannot be opened";
		return NULL;
	}
	if (!msg->has_rec) {
		if (pread(fd, hdr, sizeof(hdr), (off_t)msg->rec.offset) != (ssize_t)sizeof(hdr)) {
			*err_r = "its record cannot be read";
			return NULL;
		}
		if (record_decode(hdr, msg->seg->number, msg->rec.offset, &msg->rec, err_r) == -1)
			return NULL;
		if (msgid_cmp(&msg->rec.id, &msg->id) != 0) {
			msg->rec.id = msg->id;
			*err_r = "the record at its place is another message";
			return NULL;
		}
		msg->has_rec = true;
	}
	msg->env = record_read_envelope(fd, &msg->rec, err_r);
	return msg->env;
}

struct qenv *
qenv_find_key(struct memory *m, const uint8_t key[ENV_KEY_LEN])
{
	struct qenv *e;

	HASH_FIND(hh, m->envelopes, key, ENV_KEY_LEN, e);
	return e;
}

struct qenv *
qenv_find(struct memory *m, const struct envid *id)
{
	uint8_t key[ENV_KEY_LEN];

	env_key_pack(id, key);
	return qenv_find_key(m, key);
}

void
qenv_id(const struct qenv *e, struct envid *id)
{
	env_key_unpack(e->key, id);
}

const char *
qenv_address(const struct qenv *e)
{
	return e->msg->env != NULL && e->rcpt < e->msg->env->n_rcpts ? e->msg->env->rcpts[e->rcpt].address : "";
}

struct qenv *
qenv_new(struct memory *m, struct message *msg, uint16_t rcpt, struct squeue *sq)
{
	struct qenv *e = xcalloc(1, sizeof(*e));
	struct envid id;

	id.msg = msg->id;
	id.rcpt = rcpt;
	env_key_pack(&id, e->key);
	e->rcpt = rcpt;
	e->state = ENVELOPE_DEFERRED;
	e->msg = msg;
	e->queue = sq;
	message_ref(m, msg);
	sq->refs++;
	m->n_envelopes++;
	HASH_ADD(hh, m->envelopes, key, ENV_KEY_LEN, e);
	return e;
}

struct qenv *
qenv_load(struct memory *m, const uint8_t key[ENV_KEY_LEN])
{
	struct store *st = m->q->store;
	struct env_row row;
	struct segment *seg;
	struct squeue *sq;
	struct message *msg;
	struct envid id;
	struct qenv *e = NULL;

	store_read_begin(st);
	if (!store_get_env(st, key, &row) || (sq = squeue_by_id(m->q->queues, row.queue)) == NULL)
		goto out;
	if ((seg = segment_find(m->q->segs, row.segment)) == NULL)
		seg = segment_adopt(m->q->segs, row.segment);
	env_key_unpack(key, &id);
	msg = message_at(m, &id.msg, seg, row.offset);
	e = qenv_new(m, msg, id.rcpt, sq);
	e->attempts = row.attempts;
	e->flags = row.flags;
	e->due = e->stored_due = row.due;
	e->expires = e->stored_expires = row.expires;
	e->born = row.born;
	e->is_stored = true;
	e->stored_held = (row.flags & ENV_HELD) != 0;
	if (e->stored_held)
		e->state = ENVELOPE_HELD;
	e->code = row.code;
	e->enhanced = row.enhanced;
	if (row.text.len > 0)
		e->text = xmemdup0(row.text.base, row.text.len);
	if ((row.flags & ENV_REBOUND) != 0 && (e->rebound = rebound_decode(row.rebound)) == NULL)
		store_broken(st, "a row of env says what cannot be read", MDB_CORRUPTED);
out:
	store_read_end(st);
	return e;
}

void
qenv_free(struct memory *m, struct qenv **ep)
{
	struct qenv *e = *ep;
	struct squeue *sq = e->queue, *was = e->stored_in;

	*ep = NULL;
	if (e->state == ENVELOPE_READY || e->state == ENVELOPE_INFLIGHT)
		qenv_set_state(m, e, ENVELOPE_DEFERRED);
	HASH_DEL(m->envelopes, e);
	m->n_envelopes--;
	message_unref(m, e->msg);
	qenv_discard(e);
	sq->refs--;
	squeue_release(m->q->queues, sq);
	if (was != NULL) {
		was->refs--;
		squeue_release(m->q->queues, was);
	}
}

void
qenv_move(struct memory *m, struct qenv *e, struct squeue *to)
{
	struct squeue *from = e->queue;

	if (from == to)
		return;
	if (e->state == ENVELOPE_INFLIGHT)
		panic("an envelope that is in flight was moved");
	if (e->state == ENVELOPE_READY)
		qenv_set_state(m, e, ENVELOPE_DEFERRED);
	to->refs++;
	e->queue = to;
	/* The reference to where it came from becomes that to where its rows are, or goes. */
	if (e->is_stored && e->stored_in == NULL) {
		e->stored_in = from;
		return;
	}
	if (e->stored_in == to) {
		e->stored_in = NULL;
		to->refs--;
	}
	from->refs--;
	squeue_release(m->q->queues, from);
}

const char *
qenv_tenant(const struct qenv *e)
{
	return e->rebound != NULL ? e->rebound->tenant : e->msg->env->tenant;
}

const char *
qenv_campaign(const struct qenv *e)
{
	return e->rebound != NULL ? e->rebound->campaign : e->msg->env->campaign;
}

const struct meta *
qenv_meta(const struct qenv *e, uint32_t *n_r)
{
	const struct envelope *env = e->msg->env;
	bool is_new = e->rebound != NULL && e->rebound->has_meta;

	*n_r = is_new ? e->rebound->n_meta : env->n_meta;
	return is_new ? e->rebound->meta : env->meta;
}

static void
qenv_leave(struct memory *m, struct qenv *e)
{
	switch (e->state) {
	case ENVELOPE_READY:
		TAILQ_REMOVE(&e->queue->ready, e, link);
		e->queue->n_ready--;
		m->n_ready--;
		break;
	case ENVELOPE_INFLIGHT:
		consumer_detach(e);
		e->queue->outstanding--;
		lane_outstanding(e->queue, -1);
		m->n_inflight--;
		break;
	default:
		break;
	}
}

void
qenv_set_state(struct memory *m, struct qenv *e, enum env_state state)
{
	bool was_offered = e->state == ENVELOPE_INFLIGHT, was_listed = was_offered || e->state == ENVELOPE_READY;

	qenv_leave(m, e);
	e->state = (uint8_t)state;
	switch (state) {
	case ENVELOPE_READY:
		/* What comes back goes first. */
		if (was_offered)
			TAILQ_INSERT_HEAD(&e->queue->ready, e, link);
		else
			TAILQ_INSERT_TAIL(&e->queue->ready, e, link);
		e->queue->n_ready++;
		m->n_ready++;
		break;
	case ENVELOPE_INFLIGHT:
		e->offered = loop_now(m->q->loop);
		consumer_attach(e);
		e->queue->outstanding++;
		lane_outstanding(e->queue, 1);
		m->n_inflight++;
		break;
	default:
		break;
	}
	if (was_listed || state == ENVELOPE_READY || state == ENVELOPE_INFLIGHT)
		squeue_update(m->q->queues, e->queue);
}

void
qenv_set_failure(struct qenv *e, uint16_t code, const struct enhanced_code *enhanced, const char *text)
{
	e->code = code;
	e->enhanced = *enhanced;
	free(e->text);
	e->text = text == NULL || *text == '\0' ? NULL : xmemdup0(text, strnlen(text, FAIL_TEXT_MAX));
	free(e->queue->last_error);
	e->queue->last_error = e->text == NULL ? NULL : xstrdup(e->text);
}
