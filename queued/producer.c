/* Producers: smtpd's workers. A producer gets segments to append to and tells what it appended; it is another
 * user's process that reads strangers' bytes, so a notice counts only for a segment that it holds, in order, and
 * within the segment. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#include "queued/changes.h"
#include "queued/link.h"
#include "queued/message.h"
#include "queued/policysums.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/segment.h"

#define PRODUCER_NORMAL_MAX 8
#define PRODUCER_LARGE_MAX 2000

void
producer_start(struct client *cl)
{
	struct wbuf *out = &cl->q->clients->out;

	if (cl->q->flow != 0) {
		wbuf_reset(out);
		ql_u32_encode(cl->q->flow, out);
		ipc_send(cl->ipc, QL_FLOW, 0, out, -1);
	}
}

static uint32_t *
producer_count(struct client *cl, uint8_t kind)
{
	return kind == QL_SEG_LARGE ? &cl->n_large : &cl->n_normal;
}

static void
producer_take(struct client *cl, struct segment *seg)
{
	seg->producer = cl;
	seg->state = SEG_HELD;
	TAILQ_INSERT_TAIL(&cl->segments, seg, of_producer);
	(*producer_count(cl, seg->kind))++;
}

void
producer_forget_segment(struct segment *seg)
{
	struct client *cl = seg->producer;

	TAILQ_REMOVE(&cl->segments, seg, of_producer);
	(*producer_count(cl, seg->kind))--;
	seg->producer = NULL;
}

/* The connection is gone; whether the process is too, its locks tell. */
void
producer_stop(struct client *cl)
{
	struct segment *seg;

	while ((seg = TAILQ_FIRST(&cl->segments)) != NULL) {
		producer_forget_segment(seg);
		seg->state = SEG_ORPHAN;
	}
	segments_check_orphans(cl->q->segs);
}

/* 0; -1 if there is no room now (it is tried again each second). */
static int
producer_grant(struct client *cl, uint8_t kind)
{
	struct wbuf *out = &cl->q->clients->out;
	struct segment *seg;
	int fd;

	if ((seg = segment_create(cl->q->segs, kind, &fd)) == NULL) {
		if (cl->wants[kind == QL_SEG_LARGE] == 0)
			log_error("no segment for %s: %s; tried again each second", cl->name, strerror(errno));
		return -1;
	}
	producer_take(cl, seg);
	wbuf_reset(out);
	ql_seg_encode(seg->number, kind, seg->limit, out);
	ipc_send(cl->ipc, QL_SEG_GRANT, 0, out, fd);
	close(fd);
	return 0;
}

void
producer_retry_wants(struct client *cl)
{
	static const uint8_t kinds[2] = { QL_SEG_NORMAL, QL_SEG_LARGE };
	int i;

	for (i = 0; i < 2; i++)
		for (; cl->wants[i] > 0; cl->wants[i]--)
			if (producer_grant(cl, kinds[i]) == -1)
				break;
}

static void
on_seg_want(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	uint64_t number, offset;
	uint8_t kind;
	uint32_t max, *waiting;

	if (ql_seg_decode(&m->body, &number, &kind, &offset) == -1 || (kind != QL_SEG_NORMAL && kind != QL_SEG_LARGE)) {
		ipc_reject(ipc, "malformed SEG_WANT");
		return;
	}
	max = kind == QL_SEG_LARGE ? PRODUCER_LARGE_MAX : PRODUCER_NORMAL_MAX;
	waiting = &cl->wants[kind == QL_SEG_LARGE];
	if (*producer_count(cl, kind) + *waiting >= max) {
		ipc_reject(ipc, "wants more segments than anybody needs");
		return;
	}
	if (*waiting > 0 || producer_grant(cl, kind) == -1)
		(*waiting)++;
}

static void
producer_tell_stop(struct client *cl, uint64_t number)
{
	struct wbuf *out = &cl->q->clients->out;

	wbuf_reset(out);
	ql_seg_encode(number, 0, 0, out);
	ipc_send(cl->ipc, QL_SEG_STOP, 0, out, -1);
}

/* After a reconnect: it still holds this segment, written durably up to end. Any producer could say so, and the
 * lock only tells that somebody holds it: so what counts in such a segment is what is read from it, and it is not
 * sealed before the lock is gone. */
static void
on_seg_held(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct queued *q = cl->q;
	struct segment *seg;
	uint64_t number, end;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &number, &kind, &end) == -1) {
		ipc_reject(ipc, "malformed SEG_HELD");
		return;
	}
	seg = segment_find(q->segs, number);
	if (seg == NULL || seg->state != SEG_ORPHAN || !segment_is_locked(q->segs, seg)) {
		producer_tell_stop(cl, number);
		return;
	}
	segment_adopt_kind(q->segs, seg, kind);
	producer_take(cl, seg);
	if (end > seg->seen)
		recover_scan(q, seg, end);
}

/* The segment that a message from this producer is about; rejects the producer if it is not its own. */
static struct segment *
producer_segment(struct client *cl, uint64_t number)
{
	struct segment *seg = segment_find(cl->q->segs, number);

	if (seg != NULL && seg->producer == cl)
		return seg;
	ipc_reject(cl->ipc, "speaks of a segment that it does not hold");
	return NULL;
}

static void
on_seg_done(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct segment *seg;
	uint64_t number, end;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &number, &kind, &end) == -1 || end > INT64_MAX) {
		ipc_reject(ipc, "malformed SEG_DONE");
		return;
	}
	if ((seg = producer_segment(cl, number)) == NULL)
		return;
	if (segment_is_locked(cl->q->segs, seg)) {
		/* Whoever holds it may append. Once nobody does, its end is found by reading. */
		producer_forget_segment(seg);
		seg->state = SEG_ORPHAN;
	} else {
		segment_close(cl->q->segs, seg, end);
	}
}

static bool
received_is_valid(const struct segment *seg, const struct ql_received *r)
{
	const struct record *rec = &r->rec;

	return rec->offset % RECORD_ALIGN == 0 && rec->body_len <= seg->limit &&
	    rec->envelope_len <= ENVELOPE_MAX_BYTES &&
	    rec->offset <= seg->limit && record_len(rec) <= seg->limit + RECORD_ALIGN - rec->offset &&
	    r->env->n_rcpts > 0 &&
	    r->env->n_rcpts == rec->n_rcpts && msgid_cmp(&rec->id, &r->env->id) == 0;
}

static bool
is_known_message(struct queued *q, const struct msgid *id)
{
	bool r;

	if (message_find(q->mem, id) != NULL)
		return true;
	store_read_begin(q->store);
	r = store_has_message(q->store, id);
	store_read_end(q->store);
	return r;
}

/* Whether it may be taken from the notice: nothing before it is missing, the segment is the producer's beyond doubt,
 * and memory is not full of what it was told to hold back. Else it is read from the segment in its turn. */
static bool
is_next(struct queued *q, const struct segment *seg, uint64_t offset)
{
	return offset == seg->seen && !seg->is_scanning && !seg->is_adopted &&
	    queued_backlog(q) <= 2 * (uint64_t)q->params->queue_backlog_limit;
}

static void
on_received(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct queued *q = cl->q;
	struct ql_received r;
	struct segment *seg;

	if (ql_received_decode(&m->body, &r) == -1) {
		ipc_reject(ipc, "malformed RECEIVED");
		return;
	}
	if ((seg = producer_segment(cl, r.rec.segment)) == NULL)
		goto out;
	if (!received_is_valid(seg, &r)) {
		ipc_reject(ipc, "RECEIVED that contradicts itself");
		goto out;
	}
	if (is_next(q, seg, r.rec.offset)) {
		if (is_known_message(q, &r.rec.id)) {
			ipc_reject(ipc, "the same message id twice");
			goto out;
		}
		intake_record(q, seg, &r.rec, r.env);
		r.env = NULL;
		seg->seen += record_len(&r.rec);
		segment_mark_dirty(q->segs, seg);
	} else if (r.rec.offset >= seg->seen) {
		/* Something before it is not known yet: reading the segment finds both. */
		recover_scan(q, seg, r.rec.offset + record_len(&r.rec));
	}
out:
	ql_received_clear(&r);
}

static const struct ipc_rule producer_rules[] = {
	{ QL_SEG_WANT, false, QL_MAX_SMALL, "SEG_WANT", on_seg_want },
	{ QL_SEG_HELD, false, QL_MAX_SMALL, "SEG_HELD", on_seg_held },
	{ QL_SEG_DONE, false, QL_MAX_SMALL, "SEG_DONE", on_seg_done },
	{ QL_RECEIVED, false, QL_MAX_RECEIVED, "RECEIVED", on_received },
	{ QL_POLICY_ERRORS, false, QL_MAX_SMALL, "POLICY_ERRORS", policy_sums_on_errors },
};

const struct ipc_ops producer_ops = { producer_rules, sizeof(producer_rules) / sizeof(producer_rules[0]), client_gone };
