/* Segments that queued writes itself: notices to senders, and what compaction copies. */
#ifndef QUEUED_OWNSEG_H
#define QUEUED_OWNSEG_H

#include <stdint.h>

#include "base/wire.h"
#include "mail/record.h"
#include "queued/segment.h"

struct queued;

struct ownseg {
	struct queued *q;
	uint8_t kind;         /* SEG_KIND_OWN or SEG_KIND_COMPACT */
	struct segment *seg;  /* NULL: none open */
	int fd;
	uint64_t pos;         /* end of what was appended; seg->seen: end of what counts */
};

void ownseg_init(struct ownseg *, struct queued *, uint8_t kind);
/* Seals the segment that is open, if any. */
void ownseg_close(struct ownseg *);
/* A segment to append to; a full one is sealed first, so everything in it must count by now. A batch that starts in
 * a segment stays in it: the limit is not exact. 0, or -1 and errno. */
int ownseg_open(struct ownseg *);
/* Appends a record that is complete in memory: fills in segment, offset and CRC of rec. 0, or -1 and errno (nothing
 * counts then). */
int ownseg_append(struct ownseg *, struct record *rec, struct slice body, struct slice headers, struct slice envelope);
/* Raw bytes at pos + off, for copies. 0 or -1. */
int ownseg_write(struct ownseg *, uint64_t off, const void *, size_t);
/* fdatasync. 0 or -1 (disk full); ends the process on EIO. */
int ownseg_sync(struct ownseg *);
/* Takes back what was appended and does not count. */
void ownseg_rewind(struct ownseg *, uint64_t pos);

#endif
