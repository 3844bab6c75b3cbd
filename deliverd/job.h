/* What deliverd was given to deliver: a job is one message for some of its recipients, an item is one of these
 * recipients (an envelope). Every item ends in exactly one item_finish() (result.h); the job goes with its last
 * item. */
#ifndef DELIVERD_JOB_H
#define DELIVERD_JOB_H

#include "deliverd/net.h"
#include "mail/seg.h"

enum item_state { ITEM_NEW, ITEM_RESOLVING, ITEM_GUARDED, ITEM_READY, ITEM_SENDING };

struct item {
	RB_ENTRY(item) by_env;
	TAILQ_ENTRY(item) link; /* in a dest's waiting list or a path's ready list */
	struct job *job;
	const struct ql_job_rcpt *rcpt;
	struct envid env;
	enum item_state state;
	struct dest *dest; /* ITEM_RESOLVING */
	struct path *path; /* ITEM_READY */
	struct guard_waiter *waiter; /* ITEM_GUARDED */
	unsigned selected;  /* counted by this generation of the selection rates of its path */
	uint8_t free_tries; /* times a reused connection died under it */
};
TAILQ_HEAD(item_list, item);
RB_PROTOTYPE(item_tree, item, by_env, item_cmp)

struct job {
	struct ql_job q;
	struct seg *seg;
	unsigned n_open;
	int64_t arrived;   /* loop_now() */
	uint32_t dns_ms;   /* waited for the name service */
	bool is_verified;  /* the record's checksum was right */
	struct item items[];
};

/* Takes over what q owns, and a reference of seg. Recipients that are held already are left out (they have one
 * result to come); NULL, and q cleared, if that is all of them. */
struct job *job_new(struct net *, struct ql_job *q, struct seg *seg);
struct item *item_find(struct net *, const struct envid *);
/* Out of whatever list it waits in. */
void item_unlink(struct item *);
/* Forgets it; result.c calls this. */
void item_release(struct net *, struct item *);

#endif
