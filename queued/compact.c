/* Copies the live records of a sparse sealed segment to a segment of kind COMPACT, makes them durable, and switches
 * the index to them in one transaction; then the old file goes like any finished one. Consumers that still read the
 * old file keep its bytes.
 *
 * The row of the target is in the index before the first byte is copied: nothing in a segment of that kind counts
 * unless the index says so, so a crash in the middle leaves only garbage, never a second copy of a message. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/compact.h"
#include "queued/message.h"
#include "queued/ownseg.h"
#include "queued/queued.h"

#define COMPACT_EVERY_MS 10000
#define COMPACT_FRACTION 8     /* when fewer than one in so many envelopes live */
#define COMPACT_MIN_BYTES (1u << 20)
#define STEP_RECORDS 500
#define STEP_BYTES (4u << 20)
#define CHUNK (256u << 10)

struct moved {
	struct msgid id;
	uint64_t offset; /* in the target */
};

struct compact {
	struct queued *q;
	struct ownseg own;
	struct segment *from; /* NULL: idle */
	uint64_t at;          /* in from */
	uint64_t start;       /* in the target */
	struct moved *moved;
	size_t n_moved, cap_moved;
	uint8_t *buf;
	int64_t last;         /* loop_now */
};

struct compact *
compact_new(struct queued *q)
{
	struct compact *c = xcalloc(1, sizeof(*c));

	c->q = q;
	c->buf = xmalloc(CHUNK);
	ownseg_init(&c->own, q, SEG_KIND_COMPACT);
	return c;
}

void
compact_free(struct compact **cp)
{
	if (*cp == NULL)
		return;
	if ((*cp)->own.fd != -1)
		close((*cp)->own.fd);
	free((*cp)->moved);
	free((*cp)->buf);
	free(*cp);
	*cp = NULL;
}

static bool
is_worth_it(const struct segment *seg)
{
	return seg->state == SEG_SEALED && seg->kind != QL_SEG_LARGE && seg->live > 0 && !seg->is_scanning &&
	    !seg->is_dying &&
	    seg->seen >= COMPACT_MIN_BYTES && seg->live * COMPACT_FRACTION < seg->total;
}

void
compact_second(struct compact *c)
{
	struct queued *q = c->q;
	struct segment *seg, *next, *best = NULL;

	if (c->from != NULL || q->is_disk_full || q->is_stopping || loop_now(q->loop) - c->last < COMPACT_EVERY_MS)
		return;
	c->last = loop_now(q->loop);
	HASH_ITER(hh, q->segs->all, seg, next)
		if (is_worth_it(seg) && (best == NULL || seg->live * best->total < best->live * seg->total))
			best = seg;
	if (best == NULL)
		return;
	if (ownseg_open(&c->own) == -1)
		return;
	/* The target's row first; and everything of the old segment is in the index then. */
	if (changes_commit(q->changes) == -1)
		return;
	c->from = best;
	best->is_pinned = true;
	c->at = 0;
	c->start = c->own.pos;
	c->n_moved = 0;
	loop_again(q->loop);
}

static void
compact_release(struct compact *c)
{
	c->from->is_pinned = false;
	c->from = NULL;
}

static void
compact_abort(struct compact *c, const char *why)
{
	log_warn("compaction of segment %016" PRIx64 " given up: %s", c->from->number, why);
	ownseg_rewind(&c->own, c->start);
	/* Not again before it has changed much. */
	c->from->total = c->from->live;
	compact_release(c);
}

/* Copies one record behind what is there. 1: copied; 0: it is damaged and stays where it is; -1: no room. */
static int
compact_copy(struct compact *c, int fd, const struct record *rec)
{
	uint64_t len = record_len(rec), off, content = record_envelope_off(rec) + rec->envelope_len;
	struct record copy = *rec;
	uint8_t hdr[RECORD_HDR];
	uint32_t crc = 0;
	size_t want;
	ssize_t n;

	for (off = RECORD_HDR; off < content; off += (uint64_t)n) {
		want = content - off < CHUNK ? content - off : CHUNK;
		n = pread(fd, c->buf, want, (off_t)(c->at + off));
		if (n <= 0)
			return 0;
		crc = crc32c(crc, c->buf, (size_t)n);
		if (ownseg_write(&c->own, off, c->buf, (size_t)n) == -1)
			return -1;
	}
	if (crc != rec->crc)
		return 0;
	/* The padding must be there: a record that ends the file is read in whole. */
	memset(c->buf, 0, RECORD_ALIGN);
	if (len > content && ownseg_write(&c->own, content, c->buf, len - content) == -1)
		return -1;
	copy.segment = c->own.seg->number;
	copy.offset = c->own.pos;
	record_encode(&copy, hdr);
	return ownseg_write(&c->own, 0, hdr, sizeof(hdr)) == -1 ? -1 : 1;
}

static void
compact_note(struct compact *c, const struct record *rec)
{
	if (c->n_moved == c->cap_moved) {
		c->cap_moved = c->cap_moved == 0 ? 256 : c->cap_moved * 2;
		c->moved = xreallocarray(c->moved, c->cap_moved, sizeof(*c->moved));
	}
	c->moved[c->n_moved].id = rec->id;
	c->moved[c->n_moved++].offset = c->own.pos;
	c->own.pos += record_len(rec);
}

/* Rewrites the rows of one message. Returns how many, or -1 and *rc_r. */
static int64_t
switch_message(struct compact *c, const struct moved *m, int *rc_r)
{
	struct store *st = c->q->store;
	struct env_row row;
	uint8_t key[ENV_KEY_LEN];
	bool after = false;
	int64_t n = 0;
	MDB_val k, v;

	memcpy(key, m->id.b, MSGID_LEN);
	memset(key + MSGID_LEN, 0, ENV_KEY_LEN - MSGID_LEN);
	while (store_seek(st, DB_ENV, key, ENV_KEY_LEN, after, &k, &v) && k.mv_size == ENV_KEY_LEN &&
	    memcmp(k.mv_data, m->id.b, MSGID_LEN) == 0) {
		memcpy(key, k.mv_data, ENV_KEY_LEN);
		after = true;
		if (!store_get_env(st, key, &row) || row.segment != c->from->number)
			continue;
		row.segment = c->own.seg->number;
		row.offset = m->offset;
		if ((*rc_r = store_put_env(st, key, &row)) != 0)
			return -1;
		n++;
	}
	return n;
}

static int
switch_rows(struct compact *c, uint64_t *n_r)
{
	struct store *st = c->q->store;
	struct segment *to = c->own.seg;
	struct seg_row from_row, to_row;
	int64_t n = 0;
	size_t i;
	int rc = 0;

	*n_r = 0;
	if ((rc = store_begin(st)) != 0)
		return rc;
	store_read_begin(st);
	for (i = 0; i < c->n_moved && n >= 0; i++) {
		n = switch_message(c, &c->moved[i], &rc);
		*n_r += n > 0 ? (uint64_t)n : 0;
	}
	store_read_end(st);
	from_row = (struct seg_row){ c->from->number, SEG_SEALED, c->from->kind, c->from->seen, c->from->total,
	    c->from->live - *n_r };
	to_row = (struct seg_row){ to->number, SEG_OWN, to->kind, c->own.pos, to->total + *n_r, to->live + *n_r };
	if (rc != 0 || (rc = store_put_seg(st, &from_row)) != 0 || (rc = store_put_seg(st, &to_row)) != 0) {
		store_abort(st);
		return rc;
	}
	return store_commit(st);
}

static void
switch_memory(struct compact *c, uint64_t n)
{
	struct queued *q = c->q;
	struct message *msg;
	size_t i;

	for (i = 0; i < c->n_moved; i++) {
		if ((msg = message_find(q->mem, &c->moved[i].id)) == NULL || msg->seg != c->from)
			continue;
		msg->seg->messages--;
		msg->seg = c->own.seg;
		msg->seg->messages++;
		msg->rec.segment = c->own.seg->number;
		msg->rec.offset = c->moved[i].offset;
	}
	c->from->live -= n;
	c->own.seg->live += n;
	c->own.seg->total += n;
	c->own.seg->seen = c->own.pos;
	segment_mark_dirty(q->segs, c->from);
	segment_mark_dirty(q->segs, c->own.seg);
}

static void
compact_finish(struct compact *c)
{
	struct queued *q = c->q;
	uint64_t n, before = c->from->live;
	int rc;

	if (c->n_moved == 0 || ownseg_sync(&c->own) == -1 || changes_commit(q->changes) == -1) {
		compact_abort(c, c->n_moved == 0 ? "nothing could be copied" : strerror(errno));
		return;
	}
	if ((rc = switch_rows(c, &n)) != 0) {
		if (!store_is_full(rc))
			store_broken(q->store, "compaction", rc);
		compact_abort(c, mdb_strerror(rc));
		return;
	}
	switch_memory(c, n);
	q->count.compacted++;
	log_info("segment %016" PRIx64 " compacted: %" PRIu64 " of %" PRIu64 " envelopes moved to %016" PRIx64,
	    c->from->number, n, before,
	    c->own.seg->number);
	if (c->from->live > 0)
		c->from->total = c->from->live; /* what is damaged stays */
	compact_release(c);
}

static bool
is_live(struct queued *q, const struct msgid *id)
{
	bool r;

	store_read_begin(q->store);
	r = store_has_message(q->store, id);
	store_read_end(q->store);
	return r;
}

void
compact_turn(struct compact *c)
{
	struct queued *q = c->q;
	uint8_t hdr[RECORD_HDR];
	struct record rec;
	const char *why;
	uint64_t bytes = 0;
	unsigned n;
	int fd, r;

	if (c->from == NULL || q->is_stopping)
		return;
	if (c->from->live == 0) {
		/* Finished by itself meanwhile; it goes the usual way. */
		ownseg_rewind(&c->own, c->start);
		compact_release(c);
		return;
	}
	if ((fd = segment_fd(q->segs, c->from)) == -1) {
		compact_abort(c, strerror(errno));
		return;
	}
	loop_again(q->loop);
	for (n = 0; n < STEP_RECORDS && bytes < STEP_BYTES; n++) {
		if (c->at >= c->from->seen) {
			compact_finish(c);
			return;
		}
		if (pread(fd, hdr, sizeof(hdr), (off_t)c->at) != (ssize_t)sizeof(hdr) ||
		    record_decode(hdr, c->from->number, c->at, &rec, &why) == -1) {
			c->at += RECORD_ALIGN; /* a hole that was reported when it was found */
			continue;
		}
		if (is_live(q, &rec.id)) {
			if ((r = compact_copy(c, fd, &rec)) == -1) {
				compact_abort(c, strerror(errno));
				return;
			}
			bytes += record_len(&rec);
			if (r == 1)
				compact_note(c, &rec);
		}
		c->at += record_len(&rec);
	}
}
