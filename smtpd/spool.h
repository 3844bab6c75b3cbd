/* The worker's side of the spool: segments that queued granted, appending, group commit. All messages submitted in up
 * to three turns of the loop share one fdatasync per segment (LOOP_COMMIT); `done` of each is called in that step,
 * after the data is durable. No paths: only descriptors that were passed to us. Knows nothing of sessions or of the
 * link to queued, so it can be tested alone. */
#ifndef SMTPD_SPOOL_H
#define SMTPD_SPOOL_H

#include "base/loop.h"

#include "smtpd/message.h"

#define SPOOL_SMALL_MAX (1u << 20) /* a larger body streams to a segment of its own */

struct spool;

struct spool_ops {
	void (*want)(uint8_t kind, void *arg);                      /* ask for a segment */
	void (*done)(uint64_t segment, uint64_t end, void *arg);    /* we append to it no more */
	void (*received)(const struct record *, const struct wbuf *envelope, void *arg); /* a record is durable */
	void (*broken)(void *arg); /* the storage failed: take no more mail and exit, recovery is from disk */
};

struct spool *spool_new(struct loop *, int64_t min_free, const struct spool_ops *, void *arg);
void spool_free(struct spool **);

/* A segment from queued; takes over the descriptor. */
void spool_grant(struct spool *, uint64_t number, uint8_t kind, uint64_t limit, int fd);
/* queued wants it back. */
void spool_stop(struct spool *, uint64_t number);
/* After a reconnect: names every segment still held, then asks again for what is missing. */
typedef void spool_held_fn(uint64_t segment, uint8_t kind, uint64_t end, void *arg);
void spool_relink(struct spool *, spool_held_fn *, void *arg);

/* What queued says about space. NO_SEGMENTS: none beyond those at hand. REFUSE: nothing is to be taken. */
enum spool_room { SPOOL_ROOM, SPOOL_NO_SEGMENTS, SPOOL_REFUSE };
void spool_set_room(struct spool *, enum spool_room);

/* Clients can be served: there is a segment, or it is known that there is no space for one. */
bool spool_is_ready(const struct spool *);
/* Whether there is a place for `size` more bytes and they leave min_free_space; looks at the file system once a second
 * at most. */
bool spool_has_space(struct spool *, uint64_t size);
bool spool_is_broken(const struct spool *);

/* Hands the message over until done() (at the next LOOP_COMMIT, or later if there is no segment, 20 s at most). */
void spool_submit(struct spool *, struct message *);
/* Takes back a message that is not durable yet: its client has gone. It is freed. */
void spool_cancel(struct spool *, struct message **);

/* A body that streams. NULL: no segment at hand; `waiters` says how many are waiting for one: so many are asked for. */
struct large *spool_large_open(struct spool *, unsigned waiters);
/* MESSAGE_DURABLE (written, not synced), MESSAGE_NO_SPACE or MESSAGE_BROKEN. */
enum message_result spool_large_write(struct large *, const void *, size_t);
/* Octets of it that were written. 0 or -1. */
int spool_large_read(const struct large *, uint64_t offset, void *, size_t) __attribute__((warn_unused_result));
uint64_t spool_large_len(const struct large *);
void spool_large_abandon(struct large **);

#endif
