/* Scans segments past their indexed offset: after a crash of ours, of a producer, or when a notice was lost. Disk
 * content is hostile here in the sense of decayed: every record is checked (header CRC, content CRC, segment and
 * offset), a torn tail is ignored (nobody was told 250 for it), and damage between good records is reported, copied
 * aside and skipped. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/message.h"
#include "queued/queued.h"
#include "queued/recover.h"

#define STEP_RECORDS 500
#define STEP_BYTES (16u << 20)

struct recover *
recover_new(struct queued *q)
{
	struct recover *r = xcalloc(1, sizeof(*r));

	r->q = q;
	TAILQ_INIT(&r->queue);
	return r;
}

void
recover_free(struct recover **rp)
{
	if (*rp == NULL)
		return;
	claims_clear(*rp);
	free(*rp);
	*rp = NULL;
}

void
recover_scan(struct queued *q, struct segment *seg, uint64_t to)
{
	if (seg->is_scanning) {
		/* An end that is known replaces "to the end", or moves further. */
		if (seg->scan_to == SEG_SCAN_TO_END || (to != SEG_SCAN_TO_END && to < seg->scan_to))
			return;
		seg->scan_to = to;
		return;
	}
	seg->scan_to = to;
	seg->is_scanning = true;
	seg->is_failed = false;
	TAILQ_INSERT_TAIL(&q->recover->queue, seg, scan);
	loop_again(q->loop);
}

static void
scan_done(struct queued *q, struct segment *seg)
{
	TAILQ_REMOVE(&q->recover->queue, seg, scan);
	seg->is_scanning = false;
	if (seg->state == SEG_CLOSED)
		segment_seal(q->segs, seg);
	segment_mark_dirty(q->segs, seg);
	if (TAILQ_EMPTY(&q->recover->queue) && q->recover->found > 0) {
		log_info("messages found by reading segments: %" PRIu64, q->recover->found);
		q->recover->found = 0;
	}
}

/* It cannot be read now; recover_retry() asks again. It must not count as complete. */
static void
scan_failed(struct queued *q, struct segment *seg)
{
	log_error("reading segment %016" PRIx64 ": %s", seg->number, strerror(errno));
	seg->is_failed = true;
	TAILQ_REMOVE(&q->recover->queue, seg, scan);
	seg->is_scanning = false;
}

static uint64_t
file_end(int fd)
{
	struct stat sb;

	return fstat(fd, &sb) == -1 ? 0 : (uint64_t)sb.st_size;
}

/* No good record at seg->seen. If one follows, what lies between is damage; if none does and the end was announced,
 * the rest is damage; else it is the torn tail. Returns false if the scan of this segment is over. */
static bool
scan_gap(struct queued *q, struct segment *seg, int fd, uint64_t search_from, const char *why)
{
	uint64_t end = seg->scan_to == SEG_SCAN_TO_END ? file_end(fd) : seg->scan_to, found = 0;
	int r = 0;

	if (search_from < end)
		r = record_resync(fd, seg->number, search_from, end, &found);
	if (r == -2) {
		scan_failed(q, seg);
		return false;
	}
	if (r == 1) {
		damage_report(q, seg, seg->seen, found, why);
		seg->seen = found;
		return true;
	}
	/* While somebody appends, an announced end proves nothing yet. */
	if (seg->scan_to != SEG_SCAN_TO_END && seg->seen < end && seg->state == SEG_CLOSED) {
		damage_report(q, seg, seg->seen, end, why);
		seg->seen = end;
	}
	scan_done(q, seg);
	return false;
}

/* A newer release ran here in between. The records are good, and whoever goes on would throw them away. */
__attribute__((noreturn)) static void
scan_refuse(const struct segment *seg)
{
	log_error("segment %016" PRIx64 " was written by a newer release, from offset %" PRIu64 ": ending; nothing of "
	    "it is touched: install that release again", seg->number, seg->seen);
	_exit(1);
}

/* One record. Returns its length, or 0 if the step is over for this segment. */
static uint64_t
scan_one(struct queued *q, struct segment *seg, int fd)
{
	const char *why = "no record header";
	struct record rec;
	uint64_t len;

	if (seg->seen >= seg->scan_to) {
		scan_done(q, seg);
		return 0;
	}
	switch (record_verify(fd, seg->number, seg->seen, &rec, &why)) {
	case 1:
		len = record_len(&rec);
		q->recover->found++;
		intake_record(q, seg, &rec, NULL);
		seg->seen += len;
		return len;
	case -1:
		return scan_gap(q, seg, fd, seg->seen + record_len(&rec), why) ? record_len(&rec) : 0;
	case 0:
		if (record_is_newer(fd, seg->number, seg->seen))
			scan_refuse(seg);
		return scan_gap(q, seg, fd, seg->seen + RECORD_ALIGN, why) ? RECORD_ALIGN : 0;
	default:
		return scan_gap(q, seg, fd, seg->seen, why) ? RECORD_ALIGN : 0;
	}
}

void
recover_turn(struct queued *q)
{
	struct segment *seg = TAILQ_FIRST(&q->recover->queue);
	uint64_t bytes = 0, n;
	unsigned records;
	int fd;

	if (seg == NULL || q->is_stopping || q->is_disk_full)
		return;
	/* Found faster than committed: the next commit makes room. */
	if (queued_backlog(q) > (uint64_t)q->params->queue_backlog_limit)
		return;
	loop_again(q->loop);
	fd = segment_fd(q->segs, seg);
	if (fd == -1 && errno != ENOENT) {
		scan_failed(q, seg);
		return;
	}
	if (fd == -1) {
		log_error("segment %016" PRIx64 " is missing", seg->number);
		scan_done(q, seg);
		return;
	}
	for (records = 0; records < STEP_RECORDS && bytes < STEP_BYTES; records++) {
		if ((n = scan_one(q, seg, fd)) == 0)
			return;
		bytes += n;
		segment_mark_dirty(q->segs, seg);
	}
}

bool
recover_is_busy(const struct queued *q)
{
	return !TAILQ_EMPTY(&q->recover->queue);
}

void
recover_retry(struct queued *q)
{
	struct segment *seg, *next;

	HASH_ITER(hh, q->segs->all, seg, next)
		if (seg->is_failed)
			recover_scan(q, seg, seg->scan_to);
}
