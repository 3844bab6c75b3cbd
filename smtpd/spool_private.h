/* Shared by spool.c (segments) and commit.c (writing). */
#ifndef SMTPD_SPOOL_PRIVATE_H
#define SMTPD_SPOOL_PRIVATE_H

#include "smtpd/spool.h"

struct segment {
	TAILQ_ENTRY(segment) entry;
	uint64_t number;
	uint64_t limit;
	uint64_t end; /* where the next record goes */
	uint8_t kind;
	int fd;
};
TAILQ_HEAD(segment_list, segment);

struct large {
	TAILQ_ENTRY(large) entry;
	struct spool *spool;
	struct segment *seg;
	uint64_t len; /* of the body so far */
	uint32_t crc;
	bool is_stopped;
};

struct spool {
	struct loop *loop;
	int64_t min_free;
	const struct spool_ops *ops;
	void *arg;
	struct segment *current;
	struct segment_list spares[2]; /* normal, large */
	unsigned n_spares[2], n_asked[2];
	unsigned large_waiters;
	TAILQ_HEAD(, large) larges; /* in use */
	struct message_list batch;   /* to be committed */
	unsigned put_off;            /* turns since it was not empty */
	struct message_list waiting; /* for a segment */
	struct timer wait_timer;
	int64_t checked;             /* loop_now() of the last look at the file system */
	uint64_t free_bytes;
	enum spool_room room;
	bool is_broken;
};

/* commit.c */
void spool_commit(void *arg);
/* spool.c */
struct segment *spool_next_segment(struct spool *);
void spool_retire(struct spool *, struct segment **);
void spool_finish(struct spool *, struct message *, enum message_result);
void spool_break(struct spool *);
enum message_result spool_write_error(struct spool *, const struct segment *, const char *what);
void spool_large_close(struct large **, uint64_t end);

#endif
