/* Segments of the spool that this worker holds: the current one, two spares, one for a large message. queued may be
 * away for as long as they last. Input is queued's, and is taken as a request of a peer: a repeated or senseless grant
 * is given back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/spool_private.h"

#define NORMAL_TARGET 3 /* current and two spares */
#define LARGE_MAX 16
#define WAIT_MS 20000
#define WAIT_TICK_MS 500
#define INODES_MIN 64
#define TRACE_ROOM 4096 /* what we add to a small message, as a guess at MAIL */

static int
slot(uint8_t kind)
{
	return kind == QL_SEG_LARGE ? 1 : 0;
}

/* Asks for what is missing; answers that are on their way count as there. */
static void
ask(struct spool *s)
{
	unsigned normal = s->n_spares[0] + s->n_asked[0] + (s->current != NULL ? 1 : 0);
	unsigned large = s->n_spares[1] + s->n_asked[1];
	unsigned large_target = s->large_waiters > 1 ? s->large_waiters : 1;

	if (large_target > LARGE_MAX)
		large_target = LARGE_MAX;
	for (; normal < NORMAL_TARGET; normal++) {
		s->n_asked[0]++;
		s->ops->want(QL_SEG_NORMAL, s->arg);
	}
	for (; large < large_target; large++) {
		s->n_asked[1]++;
		s->ops->want(QL_SEG_LARGE, s->arg);
	}
}

static void
segment_free(struct segment **sp)
{
	close((*sp)->fd);
	free(*sp);
	*sp = NULL;
}

/* Gives the segment up: what is behind `end` is not ours any more. */
void
spool_retire(struct spool *s, struct segment **sp)
{
	s->ops->done((*sp)->number, (*sp)->end, s->arg);
	segment_free(sp);
	if (!s->is_broken)
		ask(s);
}

/* queued does not count it as ours any more: nothing is said, and closing it releases the lock. */
static void
give_back(struct spool *s, struct segment **sp)
{
	segment_free(sp);
	if (!s->is_broken)
		ask(s);
}

static struct segment *
take_spare(struct spool *s, int which)
{
	struct segment *seg = TAILQ_FIRST(&s->spares[which]);

	if (seg != NULL) {
		TAILQ_REMOVE(&s->spares[which], seg, entry);
		s->n_spares[which]--;
	}
	return seg;
}

struct segment *
spool_next_segment(struct spool *s)
{
	if (s->current == NULL && (s->current = take_spare(s, 0)) != NULL)
		ask(s);
	return s->current;
}

static void
on_wait_tick(void *arg)
{
	struct spool *s = arg;
	struct message *m, *next;

	TAILQ_FOREACH_SAFE(m, &s->waiting, entry, next) {
		if (loop_now(s->loop) < m->give_up)
			continue;
		TAILQ_REMOVE(&s->waiting, m, entry);
		m->is_waiting = false;
		if (m->large != NULL)
			spool_large_abandon(&m->large);
		m->done(m, MESSAGE_WAITED, m->arg);
	}
	if (!TAILQ_EMPTY(&s->waiting))
		timer_set(&s->wait_timer, WAIT_TICK_MS);
}

struct spool *
spool_new(struct loop *loop, int64_t min_free, const struct spool_ops *ops, void *arg)
{
	struct spool *s = xcalloc(1, sizeof *s);

	s->loop = loop;
	s->min_free = min_free;
	s->ops = ops;
	s->arg = arg;
	s->checked = INT64_MIN / 2;
	TAILQ_INIT(&s->spares[0]);
	TAILQ_INIT(&s->spares[1]);
	TAILQ_INIT(&s->larges);
	TAILQ_INIT(&s->batch);
	TAILQ_INIT(&s->waiting);
	timer_init(&s->wait_timer, loop, on_wait_tick, s);
	loop_before_sleep(loop, LOOP_COMMIT, spool_commit, s);
	return s;
}

/* At the end of the process: sessions, and with them all messages, are gone. */
void
spool_free(struct spool **sp)
{
	struct spool *s = *sp;
	struct segment *seg;
	int i;

	if (s == NULL)
		return;
	if (!TAILQ_EMPTY(&s->batch) || !TAILQ_EMPTY(&s->waiting) || !TAILQ_EMPTY(&s->larges))
		panic("spool freed with messages in it");
	timer_cancel(&s->wait_timer);
	s->is_broken = true;
	if (s->current != NULL)
		spool_retire(s, &s->current);
	for (i = 0; i < 2; i++) {
		while ((seg = take_spare(s, i)) != NULL)
			spool_retire(s, &seg);
	}
	free(s);
	*sp = NULL;
}

static bool
is_held(const struct spool *s, uint64_t number)
{
	const struct segment *seg;
	const struct large *l;
	int i;

	if (s->current != NULL && s->current->number == number)
		return true;
	for (i = 0; i < 2; i++) {
		TAILQ_FOREACH(seg, &s->spares[i], entry) {
			if (seg->number == number)
				return true;
		}
	}
	TAILQ_FOREACH(l, &s->larges, entry) {
		if (l->seg->number == number)
			return true;
	}
	return false;
}

void
spool_grant(struct spool *s, uint64_t number, uint8_t kind, uint64_t limit, int fd)
{
	int which = slot(kind);
	struct segment *seg;

	if ((kind != QL_SEG_NORMAL && kind != QL_SEG_LARGE) || fd == -1 || is_held(s, number)) {
		log_warn("queued granted segment %016llx of kind %u, which makes no sense", (unsigned long long)number,
		    kind);
		if (fd != -1)
			close(fd);
		return;
	}
	if (s->n_asked[which] > 0)
		s->n_asked[which]--;
	seg = xcalloc(1, sizeof *seg);
	seg->number = number;
	seg->kind = kind;
	seg->limit = limit;
	seg->fd = fd;
	TAILQ_INSERT_TAIL(&s->spares[which], seg, entry);
	s->n_spares[which]++;
	/* Those who wait come first: they are tried again in this turn's commit. */
	if (!TAILQ_EMPTY(&s->waiting))
		loop_again(s->loop);
}

void
spool_stop(struct spool *s, uint64_t number)
{
	struct segment *seg, *next;
	struct large *l;
	int i;

	if (s->current != NULL && s->current->number == number)
		give_back(s, &s->current);
	for (i = 0; i < 2; i++) {
		TAILQ_FOREACH_SAFE(seg, &s->spares[i], entry, next) {
			if (seg->number != number)
				continue;
			TAILQ_REMOVE(&s->spares[i], seg, entry);
			s->n_spares[i]--;
			give_back(s, &seg);
		}
	}
	TAILQ_FOREACH(l, &s->larges, entry) {
		if (l->seg->number == number)
			l->is_stopped = true;
	}
}

void
spool_relink(struct spool *s, spool_held_fn *held, void *arg)
{
	struct segment *seg;
	struct large *l;
	int i;

	s->n_asked[0] = s->n_asked[1] = 0;
	if (s->is_broken)
		return;
	if (s->current != NULL)
		held(s->current->number, s->current->kind, s->current->end, arg);
	for (i = 0; i < 2; i++) {
		TAILQ_FOREACH(seg, &s->spares[i], entry)
			held(seg->number, seg->kind, seg->end, arg);
	}
	TAILQ_FOREACH(l, &s->larges, entry)
		held(l->seg->number, l->seg->kind, 0, arg);
	ask(s);
}

bool
spool_is_ready(const struct spool *s)
{
	return s->current != NULL || s->n_spares[0] > 0 || s->room != SPOOL_ROOM;
}

void
spool_set_room(struct spool *s, enum spool_room room)
{
	s->room = room;
	/* Who waits for a segment hears of it in this turn's commit. */
	if (room != SPOOL_ROOM && !TAILQ_EMPTY(&s->waiting))
		loop_again(s->loop);
}

bool
spool_is_broken(const struct spool *s)
{
	return s->is_broken;
}

/* Whether a message of that size has a place in what we hold, or will get one. */
static bool
has_place(const struct spool *s, uint64_t size)
{
	if (s->room != SPOOL_NO_SEGMENTS)
		return s->room == SPOOL_ROOM;
	if (size > SPOOL_SMALL_MAX)
		return s->n_spares[1] > 0;
	return s->n_spares[0] > 0 ||
	    (s->current != NULL && s->current->end + size + TRACE_ROOM <= s->current->limit);
}

static bool
leaves_min_free(struct spool *s, const struct segment *seg, uint64_t size)
{
	struct statfs fs;

	if (loop_now(s->loop) - s->checked >= 1000) {
		s->checked = loop_now(s->loop);
		if (fstatfs(seg->fd, &fs) == -1) {
			log_warn("fstatfs of the spool: %s", strerror(errno));
			s->free_bytes = UINT64_MAX;
		} else if (fs.f_blocks == 0) { /* a tmpfs without limit says nothing */
			s->free_bytes = UINT64_MAX;
		} else if (fs.f_files > 0 && fs.f_ffree < INODES_MIN) {
			s->free_bytes = 0;
		} else {
			s->free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
		}
	}
	return s->free_bytes >= (uint64_t)s->min_free && s->free_bytes - (uint64_t)s->min_free >= size;
}

bool
spool_has_space(struct spool *s, uint64_t size)
{
	const struct segment *seg = s->current != NULL ? s->current : TAILQ_FIRST(&s->spares[0]);

	return has_place(s, size) && (seg == NULL || leaves_min_free(s, seg, size));
}

void
spool_submit(struct spool *s, struct message *m)
{
	m->give_up = loop_now(s->loop) + WAIT_MS;
	m->is_waiting = false;
	TAILQ_INSERT_TAIL(&s->batch, m, entry);
}

void
spool_cancel(struct spool *s, struct message **mp)
{
	struct message *m = *mp;

	TAILQ_REMOVE(m->is_waiting ? &s->waiting : &s->batch, m, entry);
	if (m->large != NULL)
		spool_large_abandon(&m->large);
	message_free(mp);
}

void
spool_break(struct spool *s)
{
	if (s->is_broken)
		return;
	s->is_broken = true;
	s->ops->broken(s->arg);
}

/* errno of a failed write says which of the two: the disk is full, or nothing on it can be trusted. */
enum message_result
spool_write_error(struct spool *s, const struct segment *seg, const char *what)
{
	int error = errno;

	log_error("%s in segment %016llx: %s", what, (unsigned long long)seg->number, strerror(error));
	if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
		s->checked = loop_now(s->loop);
		s->free_bytes = 0;
		return MESSAGE_NO_SPACE;
	}
	return MESSAGE_BROKEN;
}

struct large *
spool_large_open(struct spool *s, unsigned waiters)
{
	struct segment *seg;
	struct large *l;

	s->large_waiters = waiters;
	if (s->is_broken)
		return NULL;
	seg = take_spare(s, 1);
	ask(s);
	if (seg == NULL)
		return NULL;
	l = xcalloc(1, sizeof *l);
	l->spool = s;
	l->seg = seg;
	TAILQ_INSERT_TAIL(&s->larges, l, entry);
	return l;
}

enum message_result
spool_large_write(struct large *l, const void *data, size_t len)
{
	const char *p = data;
	size_t left = len;
	ssize_t n;

	if (l->is_stopped || l->spool->is_broken)
		return MESSAGE_BROKEN;
	/* Unlike the normal kind it is not preallocated, and its client need not have declared a size. */
	if (!leaves_min_free(l->spool, l->seg, 0))
		return MESSAGE_NO_SPACE;
	while (left > 0) {
		n = pwrite(l->seg->fd, p, left, (off_t)(RECORD_HDR + l->len + (len - left)));
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENOSPC;
			return spool_write_error(l->spool, l->seg, "write");
		}
		p += n;
		left -= (size_t)n;
	}
	l->crc = crc32c(l->crc, data, len);
	l->len += len;
	return MESSAGE_DURABLE;
}

int
spool_large_read(const struct large *l, uint64_t offset, void *buf, size_t len)
{
	uint8_t *p = buf;
	ssize_t n;

	if (l->is_stopped || offset > l->len || len > l->len - offset)
		return -1;
	while (len > 0) {
		n = pread(l->seg->fd, p, len, (off_t)(RECORD_HDR + offset));
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

uint64_t
spool_large_len(const struct large *l)
{
	return l->len;
}

void
spool_large_close(struct large **lp, uint64_t end)
{
	struct large *l = *lp;

	TAILQ_REMOVE(&l->spool->larges, l, entry);
	l->seg->end = end;
	if (l->is_stopped)
		give_back(l->spool, &l->seg);
	else
		spool_retire(l->spool, &l->seg);
	free(l);
	*lp = NULL;
}

void
spool_large_abandon(struct large **lp)
{
	spool_large_close(lp, 0);
}

/* The message leaves the spool; whoever submitted it frees it in done(). */
void
spool_finish(struct spool *s, struct message *m, enum message_result result)
{
	if (m->large != NULL) {
		uint64_t end = result == MESSAGE_DURABLE ? record_len(&m->rec) : 0;

		if (result == MESSAGE_DURABLE)
			s->ops->received(&m->rec, &m->env, s->arg);
		spool_large_close(&m->large, end);
	} else if (result == MESSAGE_DURABLE) {
		s->ops->received(&m->rec, &m->env, s->arg);
	}
	m->done(m, result, m->arg);
}
