/* Group commit (worker role, LOOP_COMMIT): every message that was completed in the last turns of the loop is written
 * with as few system calls as possible, made durable with one fdatasync per segment, and only then answered. Promise 1
 * (250 means durable) is kept here: done(MESSAGE_DURABLE) is reached from sync_written() and from commit_large(), each
 * right after its fdatasync, and from nowhere else.
 *
 * ENOSPC: the offset is not advanced and what was written of the records is made unreadable, so that a message that
 * was answered 452 is not delivered from a later scan. Any other error: everybody gets 451, and the process ends,
 * because after a failed write-back the kernel may have dropped the pages and a later fdatasync would lie. */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"

#include "smtpd/spool_private.h"

#define GROUP_IOV 1000 /* below IOV_MAX */
#define IOV_PER_MESSAGE 5
#define PUT_OFF_TURNS 2

struct group {
	struct iovec iov[GROUP_IOV];
	int n;
	uint64_t from; /* offset of the first record */
	struct message_list messages;
};

static const uint8_t padding[RECORD_ALIGN];

static void
add_iov(struct iovec *iov, int *n, const void *p, size_t len)
{
	if (len == 0)
		return;
	/* writev(2) does not write to it; its structure just cannot say so. */
	iov[*n].iov_base = (void *)(uintptr_t)p;
	iov[(*n)++].iov_len = len;
}

static void
seal_record(struct message *m, const struct segment *seg, uint64_t offset)
{
	uint32_t crc = m->large != NULL ? m->large->crc : 0;

	crc = crc32c(crc, m->body.p, m->body.len);
	crc = crc32c(crc, m->head.p, m->head.len);
	m->rec.crc = crc32c(crc, m->env.p, m->env.len);
	m->rec.segment = seg->number;
	m->rec.offset = offset;
	record_encode(&m->rec, m->fixed);
}

static size_t
pad_len(const struct message *m)
{
	return (size_t)(record_len(&m->rec) - record_envelope_off(&m->rec) - m->rec.envelope_len);
}

/* Everything or an error. */
static int
write_all(int fd, struct iovec *iov, int n, uint64_t offset)
{
	ssize_t got;

	while (n > 0) {
		got = pwritev(fd, iov, n, (off_t)offset);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == 0)
			errno = ENOSPC;
		if (got <= 0)
			return -1;
		offset += (uint64_t)got;
		while (n > 0 && (size_t)got >= iov->iov_len) {
			got -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	return 0;
}

/* A record that is not to exist: its fixed header goes. The bytes are there already, so this needs no space. */
static void
unwrite(const struct segment *seg, const struct message_list *messages)
{
	static const uint8_t zeros[RECORD_HDR];
	const struct message *m;

	TAILQ_FOREACH(m, messages, entry) {
		if (pwrite(seg->fd, zeros, sizeof zeros, (off_t)m->rec.offset) == -1 && errno != ENOSPC)
			log_error("cannot withdraw a record: %s", strerror(errno));
	}
}

static void
finish_all(struct spool *s, struct message_list *messages, enum message_result result)
{
	struct message *m;

	while ((m = TAILQ_FIRST(messages)) != NULL) {
		TAILQ_REMOVE(messages, m, entry);
		spool_finish(s, m, result);
	}
}

static void
fail_all(struct spool *s, const struct segment *seg, struct message_list *messages, enum message_result result)
{
	unwrite(seg, messages);
	if (result == MESSAGE_BROKEN)
		spool_break(s);
	finish_all(s, messages, result);
}

/* Writes the group behind the records that are already in the segment. */
static void
flush_group(struct spool *s, struct group *g, struct message_list *written)
{
	struct segment *seg = s->current;

	if (TAILQ_EMPTY(&g->messages))
		return;
	if (write_all(seg->fd, g->iov, g->n, g->from) == 0) {
		TAILQ_CONCAT(written, &g->messages, entry);
	} else {
		seg->end = g->from;
		fail_all(s, seg, &g->messages, spool_write_error(s, seg, "write"));
	}
	g->n = 0;
}

static void
sync_written(struct spool *s, struct message_list *written)
{
	struct segment *seg = s->current;
	enum message_result result;

	if (TAILQ_EMPTY(written))
		return;
	if (fdatasync(seg->fd) == 0) {
		finish_all(s, written, MESSAGE_DURABLE);
		return;
	}
	result = spool_write_error(s, seg, "fdatasync");
	/* What of it is on disk nobody knows: this file is done with, up to the last record that was durable. */
	seg->end = TAILQ_FIRST(written)->rec.offset;
	fail_all(s, seg, written, result);
	spool_retire(s, &s->current);
}

/* The segment that has room for len, or NULL. A change of segment makes the old one durable first. */
static struct segment *
segment_for(struct spool *s, uint64_t len, struct group *g, struct message_list *written)
{
	struct segment *seg;

	while ((seg = spool_next_segment(s)) != NULL && seg->end > 0 && seg->end + len > seg->limit) {
		flush_group(s, g, written);
		sync_written(s, written);
		/* Either may have failed and moved things: look again. */
		if (s->current == seg && seg->end > 0 && seg->end + len > seg->limit)
			spool_retire(s, &s->current);
	}
	return seg;
}

static void
wait_for_segment(struct spool *s, struct message *m)
{
	if (s->room != SPOOL_ROOM) {
		spool_finish(s, m, MESSAGE_NO_SPACE);
		return;
	}
	m->is_waiting = true;
	TAILQ_INSERT_TAIL(&s->waiting, m, entry);
	if (!timer_is_set(&s->wait_timer))
		timer_set(&s->wait_timer, 500);
}

static void
commit_large(struct spool *s, struct message *m)
{
	struct segment *seg = m->large->seg;
	enum message_result result;
	struct iovec iov[IOV_PER_MESSAGE];
	int n = 0;

	if (m->body.len > 0) {
		if ((result = spool_large_write(m->large, m->body.p, m->body.len)) != MESSAGE_DURABLE)
			goto out;
		wbuf_reset(&m->body);
	}
	m->rec.body_len = m->large->len;
	seal_record(m, seg, 0);
	add_iov(iov, &n, m->head.p, m->head.len);
	add_iov(iov, &n, m->env.p, m->env.len);
	add_iov(iov, &n, padding, pad_len(m));
	result = MESSAGE_BROKEN;
	if (m->large->is_stopped)
		goto out;
	if (write_all(seg->fd, iov, n, record_headers_off(&m->rec)) == -1 ||
	    pwrite(seg->fd, m->fixed, RECORD_HDR, 0) != RECORD_HDR) {
		result = spool_write_error(s, seg, "write");
		goto out;
	}
	if (fdatasync(seg->fd) == -1) {
		result = spool_write_error(s, seg, "fdatasync");
		goto out;
	}
	result = MESSAGE_DURABLE;
out:
	if (result != MESSAGE_DURABLE) {
		struct message_list one = TAILQ_HEAD_INITIALIZER(one);

		TAILQ_INSERT_TAIL(&one, m, entry);
		/* A segment that queued took back is its affair, not a failure of the storage. */
		if (m->large->is_stopped)
			finish_all(s, &one, result);
		else
			fail_all(s, seg, &one, result);
		return;
	}
	spool_finish(s, m, result);
}

static void
add_to_group(struct spool *s, struct message *m, struct group *g, struct message_list *written)
{
	uint64_t len = record_len(&m->rec);
	struct segment *seg;

	if (g->n + IOV_PER_MESSAGE > GROUP_IOV)
		flush_group(s, g, written);
	if ((seg = segment_for(s, len, g, written)) == NULL || s->is_broken) {
		wait_for_segment(s, m);
		return;
	}
	if (len > seg->limit) {
		/* More recipients, or smaller segments, than the rule "a message under 1 MiB fits" assumes. */
		if ((m->large = spool_large_open(s, s->large_waiters)) == NULL) {
			wait_for_segment(s, m);
		} else {
			m->rec.flags |= MSG_LARGE;
			commit_large(s, m);
		}
		return;
	}
	if (TAILQ_EMPTY(&g->messages))
		g->from = seg->end;
	seal_record(m, seg, seg->end);
	add_iov(g->iov, &g->n, m->fixed, RECORD_HDR);
	add_iov(g->iov, &g->n, m->body.p, m->body.len);
	add_iov(g->iov, &g->n, m->head.p, m->head.len);
	add_iov(g->iov, &g->n, m->env.p, m->env.len);
	add_iov(g->iov, &g->n, padding, pad_len(m));
	TAILQ_INSERT_TAIL(&g->messages, m, entry);
	seg->end += len;
}

/* A commit waits for a turn or two, which do not sleep: the replies of this turn leave before everything stands still
 * for the disk, and whoever answers them at once, or has sent in the meantime, joins the group. */
static bool
put_off(struct spool *s)
{
	if (s->put_off == PUT_OFF_TURNS) {
		s->put_off = 0;
		return false;
	}
	s->put_off++;
	loop_again(s->loop);
	return true;
}

void
spool_commit(void *arg)
{
	struct spool *s = arg;
	struct message_list todo = TAILQ_HEAD_INITIALIZER(todo), written = TAILQ_HEAD_INITIALIZER(written);
	struct message *m;
	struct group g;

	if (TAILQ_EMPTY(&s->batch) && TAILQ_EMPTY(&s->waiting))
		return;
	if (!TAILQ_EMPTY(&s->batch) && put_off(s))
		return;
	/* Who waited longest goes first. Sessions may submit more from done(): that is next turn's. */
	TAILQ_CONCAT(&todo, &s->waiting, entry);
	TAILQ_CONCAT(&todo, &s->batch, entry);
	g.n = 0;
	g.from = 0;
	TAILQ_INIT(&g.messages);
	while ((m = TAILQ_FIRST(&todo)) != NULL) {
		TAILQ_REMOVE(&todo, m, entry);
		m->is_waiting = false;
		if (s->is_broken)
			spool_finish(s, m, MESSAGE_BROKEN);
		else if (m->large != NULL)
			commit_large(s, m);
		else
			add_to_group(s, m, &g, &written);
	}
	if (s->current != NULL) {
		flush_group(s, &g, &written);
		sync_written(s, &written);
	}
	if (s->is_broken) {
		while ((m = TAILQ_FIRST(&s->waiting)) != NULL) {
			TAILQ_REMOVE(&s->waiting, m, entry);
			m->is_waiting = false;
			spool_finish(s, m, MESSAGE_BROKEN);
		}
	}
}
