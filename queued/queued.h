/* The context of the queue daemon: what exists once in the process. Everything is passed this struct; nothing is
 * global. Times named *_ms are wall clock milliseconds since the epoch, due and expires those of the queue's
 * clock (queued/clock.h), unless a comment says otherwise. */
#ifndef QUEUED_QUEUED_H
#define QUEUED_QUEUED_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "mail/buckets.h"
#include "mail/eventlog.h"
#include "mail/params.h"
#include "mail/policy.h"
#include "mail/queue_link.h"
#include "queued/clock.h"

struct automation;
struct clients;
struct compact;
struct link;
struct logfiles;
struct memory;
struct outbox;
struct overrides;
struct pool;
struct recover;
struct segments;
struct bounce_rules;
struct shaping;
struct squeue;
struct store;
struct suppress;
struct throttles;
struct wake;

/* Envelopes that one turn of the loop may load, expire or list before others get their turn. */
#define TURN_ENVELOPES 500

struct counters {
	uint64_t received;       /* envelopes taken over from producers or found in segments */
	uint64_t delivered, failed, returned, bounced, expired, admin_removed, suppressed;
	uint64_t unknown_results;
	uint64_t damaged;        /* pieces of segments set aside */
	uint64_t notices;        /* DSNs written */
	uint64_t commits, commit_failures;
	int64_t commit_ms_last, commit_ms_max;
	uint64_t compacted;      /* segments */
};

/* Who may take which role (resolved before the jail). */
struct roles_allowed {
	uid_t producer, consumer, bouncerd, fblproc, self;
	bool has_separate; /* producer and consumer are users of their own */
	gid_t admin_gid;
	bool has_admin_gid;
};

struct queued {
	struct loop *loop;
	char *config_dir;
	struct params *params;
	struct policy *policy;
	struct shaping *shaping; /* NULL: none */
	struct bounce_rules *bounce_rules; /* NULL: none */
	struct suppress *suppress; /* the suppression list; NULL in tests: there is none */
	uint32_t generation; /* of params and policy: grows with each reload */
	uint32_t config_number; /* the supervisor's number of them; 0: none */
	uint64_t config_digest; /* who has another one is offered nothing */
	char *segments_dir, *index_dir, *damaged_dir, *events_dir;
	int64_t started;     /* wall */
	bool is_stopping;

	struct store *store;
	struct segments *segs;
	struct memory *mem;      /* messages and envelopes that are in memory */
	struct squeue_set *queues;
	struct wake *wake;
	struct pool_set *pools;
	struct throttles *throttles;
	struct changes *changes;
	struct recover *recover;
	struct compact *compact;
	struct notices *notices; /* DSNs to be written */
	struct expire *expire;
	struct overrides *overrides;
	struct automation *automation;
	struct outbox *outbox;  /* requests to suppress, on their way to bouncerd */
	struct logfiles *logs;
	struct clients *clients;
	struct keys *keys;
	struct eventlog *events;
	struct buckets *limits;   /* what is used of rates; shared with consumers */
	int limits_fd;

	struct queue_clock clock;
	struct timer due_timer;   /* next due time of any sleeping queue */
	struct timer second;      /* housekeeping */
	struct roles_allowed allowed;
	struct counters count;
	struct policy_sums *policy_sums;
	uint32_t last_ask;        /* id of the last question to a consumer (queued/explain.c) */
	uint64_t total_stored, total_held; /* envelopes in the index, as of the last commit */
	uint32_t flow;            /* what producers were told (enum ql_flow) */
	bool is_disk_full;        /* the last commit failed for want of space */
	int64_t scan_retried; /* loop_now */
	int64_t policy_rest;  /* loop_now: an event used up its time; none is asked before this, but for an operator */
};

/* Opens the index (setting a damaged one aside), reads the bookkeeping, takes over params and policy. NULL and a
 * malloced sentence if that cannot be: the daemon must not start then. */
struct queued *queued_new(struct loop *, struct params *, struct policy *, struct shaping *, const char *config_dir,
    char **err_r);
/* Commits what it can, and frees everything. */
void queued_free(struct queued **);
/* Starts serving on a listening socket (taken over). */
void queued_serve(struct queued *, int listen_fd);
/* Reads main.cf and policy again; swaps only if both are valid. */
bool queued_reload(struct queued *);
/* Envelopes in memory and not yet finished. */
uint64_t queued_backlog(const struct queued *);
void queued_check_flow(struct queued *);
/* The index or the event log cannot be written: nothing is to be done that would have to be. */
bool queued_is_stuck(const struct queued *);

#endif
