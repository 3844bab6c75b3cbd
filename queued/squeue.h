/* A scheduled queue, `campaign:tenant@domain`: an object only while it has envelopes in memory. Its window, its
 * place among the queues of its pool, and its share of the index. */
#ifndef QUEUED_SQUEUE_H
#define QUEUED_SQUEUE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

#include "mail/envelope.h"
#include "mail/policy_queue.h"
#include "queued/message.h"
#include "queued/store.h"

struct lane;
struct pool;
struct queued;
struct throttle;

#define WINDOW_START 100
#define WINDOW_MIN 5
#define UNROUTED_RETRY_MS 60000 /* a queue without pool asks policy again */
#define QUEUE_NAME_MAX 2048

struct squeue {
	UT_hash_handle hh;      /* by name */
	UT_hash_handle hid;     /* by id, if it has one */
	char *name;
	char *domain, *tenant, *campaign; /* tenant, campaign: NULL if none */
	uint32_t id;            /* in the index; 0: not there */
	bool is_stage;          /* stage.h: policy is not asked about it */

	uint32_t generation;    /* of the policy that was asked */
	struct pool *home;      /* what policy says; NULL: not resolved */
	struct pool *pool;      /* the one that takes its mail: home, or a fallback of it */
	char *why;              /* why not */
	struct policy_queue_config config; /* what policy says, and main.cf where it says nothing */

	uint64_t held_by;       /* the override that suspends it; 0: none */

	struct throttle *throttle; /* in the line of this rate: takes no turns; NULL */
	TAILQ_ENTRY(squeue) in_line;
	bool has_turn;          /* was called out of a line */

	uint32_t window, outstanding;
	uint32_t shrink_after;  /* results to come in before the window may shrink again */
	uint32_t n_ready;
	struct qenv_list ready;
	uint32_t refs;          /* envelopes in memory */
	bool is_active;
	struct lane *lane;      /* of pool, tenant and priority (share.h); NULL without pool */
	TAILQ_ENTRY(squeue) active; /* in the lane */
	uint32_t passed_turn;   /* of the pool, in which it takes nothing more */
	bool more_due;          /* the index has due envelopes that are not in memory */
	bool has_cursor;
	uint8_t cursor[DUE_KEY_LEN]; /* where loading goes on */
	char *last_error;

	uint64_t total, held;   /* in the index, as of the last commit */
	uint64_t new_total, new_held; /* while a commit is made */
	bool is_touched;
	TAILQ_ENTRY(squeue) touched;
};

struct squeue_set {
	struct queued *q;
	struct squeue *by_name, *by_id;
	uint32_t next_id;
	bool next_dirty;
	int64_t warned; /* loop_now of the last complaint about a queue without pool */
};

struct squeue_set *squeues_new(struct queued *);
void squeues_free(struct squeue_set **);
/* The queue of a recipient; made if it is not in memory. */
struct squeue *squeue_for(struct squeue_set *, const struct envelope *, const char *address);
struct squeue *squeue_named(struct squeue_set *, const char *name); /* the same, by its name */
struct squeue *squeue_by_id(struct squeue_set *, uint32_t id); /* reads its name from the index; NULL: unknown id */
struct squeue *squeue_find_id(struct squeue_set *, uint32_t id); /* only if in memory */
/* Gives it an id (at its first commit). */
void squeue_assign_id(struct squeue_set *, struct squeue *);
/* It is no longer in the index. */
void squeue_drop_id(struct squeue_set *, struct squeue *);
/* Frees it if nothing refers to it, leaving word in wake or among its pool's parked queues. */
void squeue_release(struct squeue_set *, struct squeue *);
/* Puts it among those that are served, or takes it out, as its state demands. */
void squeue_update(struct squeue_set *, struct squeue *);
/* Fills from the index as far as the window allows. */
void squeue_load(struct squeue_set *, struct squeue *);
/* Its `due` range is to be looked at again from the start. */
void squeue_set_more_due(struct squeue_set *, struct squeue *);
/* Drops ready envelopes, newest first, that are in the index, until at most keep are left. */
void squeue_spill(struct squeue_set *, struct squeue *, uint32_t keep);
/* A result came: success or failure moves the window. */
void squeue_grow_window(struct queued *, struct squeue *);
void squeue_shrink_window(struct squeue *);

/* route.c: what policy says. */
/* Asks policy for pool and times unless that was done in this generation. */
void squeue_route(struct queued *, struct squeue *);
/* Its pool is out, or in again. */
void squeue_repool(struct queued *, struct squeue *);
/* Delay before the attempt after `attempts` failed ones, the last of them of that bounce class (NULL: none); jitter
 * only makes it longer. */
int64_t squeue_backoff(const struct squeue *, unsigned attempts, const char *class);

#endif
