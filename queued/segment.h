/* Spool segments: who holds them, how far they are accounted for, when they go (ARCHITECTURE.md "The spool").
 *
 * Locks are open-file-description locks (fcntl F_OFD_SETLK) on two bytes far beyond any content: LOCK_PRODUCER,
 * taken for writing on the descriptor that a producer gets, and LOCK_READER, taken for reading on the descriptors
 * that consumers get. Like flock(2) they live as long as somebody holds the descriptor, whichever process; unlike
 * it, the two kinds do not exclude each other, which they must not: consumers read segments that are still being
 * appended to. */
#ifndef QUEUED_SEGMENT_H
#define QUEUED_SEGMENT_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "mail/record.h"

struct client;
struct queued;

/* HELD: a connected producer appends. ORPHAN: somebody holds the lock but nobody who is connected. CLOSED: nobody
 * appends; the end is not known yet. OWN: queued appends. SEALED: complete. GONE: the file is removed; the row goes
 * with the next commit. */
enum seg_state { SEG_HELD, SEG_ORPHAN, SEG_CLOSED, SEG_OWN, SEG_SEALED, SEG_GONE };
extern const char *const seg_state_names[];
/* Kinds beyond enum ql_seg_kind. COMPACT: nothing in it counts that the index does not know. */
enum { SEG_KIND_OWN = 3, SEG_KIND_COMPACT = 4 };

#define SEG_SCAN_TO_END UINT64_MAX
#define SEG_STOCK_MAX 8

struct segment {
	UT_hash_handle hh;
	uint64_t number;
	enum seg_state state;
	uint8_t kind;
	uint64_t seen;     /* everything before it is accounted for in memory */
	uint64_t limit;
	uint64_t total;    /* envelopes it ever brought */
	uint64_t live;     /* of those, not finished */
	uint32_t messages; /* message objects that point here */
	struct client *producer; /* HELD */
	TAILQ_ENTRY(segment) of_producer;
	int fd;            /* for reading; -1: not open */
	TAILQ_ENTRY(segment) lru;
	uint64_t scan_to;  /* while scanning: where it ends, or SEG_SCAN_TO_END */
	bool is_scanning;
	bool is_failed;    /* cannot be read now; tried again later */
	bool is_adopted;   /* HELD by who says that it is his from before: only what is read from it counts */
	bool is_pinned;    /* being compacted: the object stays */
	TAILQ_ENTRY(segment) scan;
	bool is_dirty;     /* its row differs */
	TAILQ_ENTRY(segment) dirty;
	bool is_dying;     /* finished: waiting until nobody reads it */
	int64_t dying_since; /* loop_now */
	TAILQ_ENTRY(segment) dying;
};
TAILQ_HEAD(segment_list, segment);

struct segments {
	struct queued *q;
	int dirfd;
	struct segment *all; /* by number */
	struct segment_list lru, dirty, dying;
	uint32_t n_open, n_stock;
	uint64_t next;        /* number of the next segment */
	bool next_dirty;
	uint64_t stock_serial;
	bool dir_dirty;       /* names changed since the last fsync of the directory */
};

struct segments *segments_new(struct queued *, char **err_r);
void segments_free(struct segments **);
/* Matches rows and files at start-up; hands what needs it to recover.c. */
int segments_load(struct segments *, bool is_index_new, char **err_r);

struct segment *segment_find(struct segments *, uint64_t number);
/* A new one of that kind, its name durable. *fd_r: descriptor for appending with the producer's lock. NULL and
 * errno. */
struct segment *segment_create(struct segments *, uint8_t kind, int *fd_r);
/* The index names a segment that it has no row for: an object without a file. */
struct segment *segment_adopt(struct segments *, uint64_t number);
void segment_mark_dirty(struct segments *, struct segment *);
/* Descriptor for our own reading; closed by LRU. -1 and errno. */
int segment_fd(struct segments *, struct segment *);
/* A fresh read-only descriptor with the reader's lock, to be passed on and closed. -1 and errno. */
int segment_reader_fd(struct segments *, const struct segment *);
bool segment_is_locked(struct segments *, struct segment *);
/* A producer that reconnected has it. */
void segment_adopt_kind(struct segments *, struct segment *, uint8_t kind);
/* The producer said it is done (end known), or is gone (SEG_SCAN_TO_END). */
void segment_close(struct segments *, struct segment *, uint64_t end);
/* Scanned or told: complete now. */
void segment_seal(struct segments *, struct segment *);
/* Called after each commit and each second: removes what is finished. */
void segments_reap(struct segments *);
/* After a commit that deleted the rows of what is GONE. */
void segments_forget_gone(struct segments *);
void segments_check_orphans(struct segments *);
/* Makes pending renames and unlinks durable. 0 or -1. */
int segments_sync_dir(struct segments *);
/* "0000000000000001.seg" */
void segment_name(uint64_t number, char out[24]);

/* segfile.c: files only. */
uint64_t segfile_number(const char *name); /* 0: not the name of a segment */
/* reserve: bytes that must stay free if it is a new file; one from the stock takes no space. -1 and errno. */
int segfile_create(struct segments *, uint64_t number, uint64_t size, uint64_t reserve);
int segfile_open(int dirfd, const char *name, int flags);
int segfile_lock_producer(int fd);
int segfile_lock_reader(int fd);
bool segfile_has_producer(int fd);
bool segfile_has_reader(int fd);
void segfile_remove(struct segments *, struct segment *, bool may_recycle);
void segfile_trim_stock(struct segments *, uint32_t keep);
/* Gives the stock up while less than min_free_space is free. */
void segfile_yield_stock(struct segments *);
void segfile_count_stock(struct segments *);
/* Whether this release may touch the segments of the directory. 0; -1 and a malloced sentence. */
int segfile_check_versions(const char *path, char **err_r);

#endif
