/* Compaction: a segment that few envelopes keep alive gives up its space. */
#ifndef QUEUED_COMPACT_H
#define QUEUED_COMPACT_H

struct compact;
struct queued;

struct compact *compact_new(struct queued *);
void compact_free(struct compact **);
/* Looks for a segment that is worth it; each second. */
void compact_second(struct compact *);
/* One bounded step of the copy; on every turn. */
void compact_turn(struct compact *);

#endif
