/* The life of a spool segment: granted, appended to, closed, scanned if its end is not known, sealed, and removed
 * when the last of its envelopes is finished and the index says so durably. A file may only go after a commit that
 * counts it as finished, and its row only after the removal is durable: a name that came back after a power cut
 * must not be read again as new mail. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/link.h"
#include "queued/message.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/segment.h"

#define SEG_OPEN_MAX 256     /* descriptors for our own reading */
#define SEG_DYING_MS 10000   /* a reader that holds on longer costs us the recycling */

const char *const seg_state_names[] = { "held", "orphan", "closed", "own", "sealed", "gone" };

void
segment_name(uint64_t number, char out[24])
{
	(void)snprintf(out, 24, "%016" PRIx64 ".seg", number);
}

struct segments *
segments_new(struct queued *q, char **err_r)
{
	struct segments *s = xcalloc(1, sizeof(*s));

	s->q = q;
	s->next = 1;
	TAILQ_INIT(&s->lru);
	TAILQ_INIT(&s->dirty);
	TAILQ_INIT(&s->dying);
	s->dirfd = open(q->segments_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd == -1) {
		*err_r = xasprintf("%s: %s", q->segments_dir, strerror(errno));
		free(s);
		return NULL;
	}
	return s;
}

static void
segment_free(struct segments *s, struct segment *seg)
{
	if (seg->fd != -1) {
		TAILQ_REMOVE(&s->lru, seg, lru);
		s->n_open--;
		close(seg->fd);
	}
	if (seg->is_dirty)
		TAILQ_REMOVE(&s->dirty, seg, dirty);
	if (seg->is_dying)
		TAILQ_REMOVE(&s->dying, seg, dying);
	HASH_DEL(s->all, seg);
	free(seg);
}

void
segments_free(struct segments **sp)
{
	struct segments *s = *sp;
	struct segment *seg, *next;

	if (s == NULL)
		return;
	*sp = NULL;
	HASH_ITER(hh, s->all, seg, next)
		segment_free(s, seg);
	close(s->dirfd);
	free(s);
}

struct segment *
segment_find(struct segments *s, uint64_t number)
{
	struct segment *seg;

	HASH_FIND(hh, s->all, &number, sizeof(number), seg);
	return seg;
}

static struct segment *
segment_add(struct segments *s, uint64_t number, uint8_t kind, enum seg_state state)
{
	struct segment *seg = xcalloc(1, sizeof(*seg));

	seg->number = number;
	seg->kind = kind;
	seg->state = state;
	seg->fd = -1;
	HASH_ADD(hh, s->all, number, sizeof(seg->number), seg);
	return seg;
}

struct segment *
segment_adopt(struct segments *s, uint64_t number)
{
	struct segment *seg = segment_add(s, number, QL_SEG_NORMAL, SEG_SEALED);

	log_error("the index names segment %016" PRIx64 ", which is not there", number);
	seg->live = seg->total = UINT32_MAX; /* never to be taken for finished */
	return seg;
}

void
segment_mark_dirty(struct segments *s, struct segment *seg)
{
	if (!seg->is_dirty) {
		seg->is_dirty = true;
		TAILQ_INSERT_TAIL(&s->dirty, seg, dirty);
		changes_poke(s->q->changes);
	}
}

int
segments_sync_dir(struct segments *s)
{
	if (!s->dir_dirty)
		return 0;
	if (fsync(s->dirfd) == -1) {
		if (errno != EIO)
			return -1;
		/* The next one might say that all is well, and it would not be true. */
		log_error("%s: %s: ending; the next start recovers", s->q->segments_dir, strerror(errno));
		_exit(1);
	}
	s->dir_dirty = false;
	return 0;
}

static uint64_t
segment_limit(const struct queued *q, uint8_t kind)
{
	if (kind == QL_SEG_LARGE)
		return (uint64_t)q->params->message_size_limit + ENVELOPE_MAX_BYTES + (1u << 20);
	return (uint64_t)q->params->segment_size;
}

struct segment *
segment_create(struct segments *s, uint8_t kind, int *fd_r)
{
	uint64_t number = s->next, limit = segment_limit(s->q, kind);
	uint64_t alloc = kind == QL_SEG_NORMAL ? limit : 0, reserve = (uint64_t)s->q->params->min_free_space;
	struct segment *seg;
	char name[24];
	int fd, saved;

	/* What we write ourselves gets rid of mail or makes space. */
	if (kind == SEG_KIND_OWN || kind == SEG_KIND_COMPACT)
		reserve /= 2;
	fd = segfile_create(s, number, alloc, reserve);
	if (fd == -1 && errno == ENOSPC && s->n_stock > 0) {
		segfile_trim_stock(s, 0);
		fd = segfile_create(s, number, alloc, reserve);
	}
	if (fd == -1)
		return NULL;
	if (segfile_lock_producer(fd) == -1 || segments_sync_dir(s) == -1) {
		saved = errno;
		segment_name(number, name);
		(void)unlinkat(s->dirfd, name, 0);
		close(fd);
		errno = saved;
		return NULL;
	}
	s->next++;
	s->next_dirty = true;
	seg = segment_add(s, number, kind, kind == SEG_KIND_OWN || kind == SEG_KIND_COMPACT ? SEG_OWN : SEG_HELD);
	seg->limit = limit;
	segment_mark_dirty(s, seg);
	*fd_r = fd;
	return seg;
}

int
segment_fd(struct segments *s, struct segment *seg)
{
	struct segment *old;
	char name[24];

	if (seg->fd != -1) {
		TAILQ_REMOVE(&s->lru, seg, lru);
		TAILQ_INSERT_TAIL(&s->lru, seg, lru);
		return seg->fd;
	}
	segment_name(seg->number, name);
	if ((seg->fd = segfile_open(s->dirfd, name, O_RDONLY)) == -1)
		return -1;
	TAILQ_INSERT_TAIL(&s->lru, seg, lru);
	if (++s->n_open > SEG_OPEN_MAX) {
		old = TAILQ_FIRST(&s->lru);
		TAILQ_REMOVE(&s->lru, old, lru);
		close(old->fd);
		old->fd = -1;
		s->n_open--;
	}
	return seg->fd;
}

int
segment_reader_fd(struct segments *s, const struct segment *seg)
{
	char name[24];
	int fd, saved;

	segment_name(seg->number, name);
	if ((fd = segfile_open(s->dirfd, name, O_RDONLY)) == -1)
		return -1;
	if (segfile_lock_reader(fd) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

bool
segment_is_locked(struct segments *s, struct segment *seg)
{
	int fd = segment_fd(s, seg);

	/* A file that is not there is held by nobody. */
	return fd == -1 ? errno != ENOENT : segfile_has_producer(fd);
}

/* A row that was not committed, or a file without one, does not tell. */
void
segment_adopt_kind(struct segments *s, struct segment *seg, uint8_t kind)
{
	seg->is_adopted = true;
	if (kind != QL_SEG_LARGE || seg->kind == QL_SEG_LARGE)
		return;
	seg->kind = QL_SEG_LARGE;
	seg->limit = segment_limit(s->q, seg->kind);
	segment_mark_dirty(s, seg);
}

void
segment_close(struct segments *s, struct segment *seg, uint64_t end)
{
	if (seg->producer != NULL)
		producer_forget_segment(seg);
	seg->state = SEG_CLOSED;
	if (!seg->is_scanning && (end <= seg->seen || seg->kind == SEG_KIND_COMPACT))
		segment_seal(s, seg);
	else
		recover_scan(s->q, seg, end);
	segment_mark_dirty(s, seg);
}

void
segment_seal(struct segments *s, struct segment *seg)
{
	seg->state = SEG_SEALED;
	segment_mark_dirty(s, seg);
}

static void
segment_remove(struct segments *s, struct segment *seg, bool may_recycle)
{
	if (seg->fd != -1) {
		TAILQ_REMOVE(&s->lru, seg, lru);
		close(seg->fd);
		seg->fd = -1;
		s->n_open--;
	}
	segfile_remove(s, seg, may_recycle);
	TAILQ_REMOVE(&s->dying, seg, dying);
	seg->is_dying = false;
	seg->state = SEG_GONE;
	segment_mark_dirty(s, seg);
}

void
segments_reap(struct segments *s)
{
	struct segment *seg, *next;
	bool is_late;
	int fd;

	TAILQ_FOREACH_SAFE(seg, &s->dying, dying, next) {
		message_drop_idle(s->q->mem, seg);
		if (seg->messages > 0 || seg->is_dirty || seg->is_pinned)
			continue;
		consumers_close_segment(s->q, seg);
		is_late = loop_now(s->q->loop) - seg->dying_since > SEG_DYING_MS;
		fd = segment_fd(s, seg);
		/* What cannot be looked at, or may still be appended to, is nobody's to throw away. */
		if (fd == -1 ? errno != ENOENT : segfile_has_producer(fd))
			continue;
		if (fd == -1 || !segfile_has_reader(fd))
			segment_remove(s, seg, !s->q->is_disk_full);
		else if (is_late || seg->kind != QL_SEG_NORMAL)
			segment_remove(s, seg, false);
	}
}

void
segments_forget_gone(struct segments *s)
{
	struct segment *seg, *next;

	/* Called with the dirty list just written: what is GONE in it has no row any more. */
	TAILQ_FOREACH_SAFE(seg, &s->dirty, dirty, next) {
		TAILQ_REMOVE(&s->dirty, seg, dirty);
		seg->is_dirty = false;
		if (seg->state == SEG_GONE) {
			segment_free(s, seg);
		} else if (seg->state == SEG_SEALED && seg->live == 0 && !seg->is_dying) {
			seg->is_dying = true;
			seg->dying_since = loop_now(s->q->loop);
			TAILQ_INSERT_TAIL(&s->dying, seg, dying);
		}
	}
}

void
segments_check_orphans(struct segments *s)
{
	struct segment *seg, *next;

	HASH_ITER(hh, s->all, seg, next)
		if (seg->state == SEG_ORPHAN && !segment_is_locked(s, seg))
			segment_close(s, seg, SEG_SCAN_TO_END);
}

static void
segment_load_row(struct segments *s, const struct seg_row *row)
{
	struct segment *seg = segment_add(s, row->number, row->kind,
	    row->state == SEG_SEALED ? SEG_SEALED : SEG_ORPHAN);

	seg->seen = row->indexed;
	seg->total = row->total;
	seg->live = row->live;
	seg->limit = segment_limit(s->q, row->kind);
	if (seg->state == SEG_SEALED && seg->live == 0)
		segment_mark_dirty(s, seg);
	if (row->number >= s->next)
		s->next = row->number + 1;
}

static int
segments_load_files(struct segments *s, char **err_r)
{
	struct segment *seg;
	struct dirent *de;
	uint64_t number;
	DIR *dir;
	int fd;

	if ((fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1 || (dir = fdopendir(fd)) == NULL) {
		*err_r = xasprintf("%s: %s", s->q->segments_dir, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	while ((de = readdir(dir)) != NULL) {
		if ((number = segfile_number(de->d_name)) == 0)
			continue;
		if (segment_find(s, number) == NULL) {
			seg = segment_add(s, number, QL_SEG_NORMAL, SEG_ORPHAN);
			seg->limit = segment_limit(s->q, seg->kind);
			segment_mark_dirty(s, seg);
		}
		if (number >= s->next)
			s->next = number + 1;
	}
	closedir(dir);
	return 0;
}

int
segments_load(struct segments *s, bool is_index_new, char **err_r)
{
	struct store *st = s->q->store;
	struct segment *seg, *next;
	struct seg_row row;
	uint8_t key[8] = { 0 };
	MDB_val k, v;
	bool more;

	store_read_begin(st);
	if (store_get(st, DB_META, "next_segment", 12, &v) && v.mv_size == 8)
		memcpy(&s->next, v.mv_data, 8);
	for (more = store_seek(st, DB_SEG, key, sizeof(key), false, &k, &v); more;
	    more = store_seek(st, DB_SEG, key, sizeof(key), true, &k, &v)) {
		if (!store_seg_row(&k, &v, &row))
			store_broken(st, "a row of seg is malformed", MDB_CORRUPTED);
		memcpy(key, k.mv_data, sizeof(key));
		segment_load_row(s, &row);
	}
	store_read_end(st);
	if (segments_load_files(s, err_r) == -1)
		return -1;
	segfile_count_stock(s);
	if (is_index_new && s->all != NULL)
		log_error("the index is rebuilt from %u segments: messages that were finished but are still in them "
		    "will be sent again", HASH_COUNT(s->all));
	/* Whatever nobody holds is closed: its end is found by scanning. */
	HASH_ITER(hh, s->all, seg, next) {
		if (seg->state == SEG_SEALED && segment_fd(s, seg) == -1 && seg->live > 0)
			log_error("segment %016" PRIx64 " is missing; %" PRIu64 " envelopes were in it", seg->number,
			    seg->live);
	}
	segments_check_orphans(s);
	return 0;
}
