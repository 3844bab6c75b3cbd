/* Other queues for mail that waits: what an operator asks for (posthorn queue rebind, the event rebind_message) and
 * what policy says when mail goes back to its queue after a failure (the event requeue_message). */
#ifndef QUEUED_REBIND_H
#define QUEUED_REBIND_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/envelope.h"
#include "mail/policy_call.h"
#include "queued/message.h"

struct queued;
struct squeue;

/* One request, shared by the envelopes that it waits for. */
struct rebind {
	uint32_t refs;
	struct meta *set;   /* queue, tenant, campaign, routing_domain; other keys are meta */
	uint32_t n_set;
	bool is_asking;     /* rebind_message decides, and gets `set` as its data */
	bool is_flushing;   /* what stays in its queue is due at once, too */
	bool is_quiet;      /* no AdminRebind records */
	char *reason;       /* NULL */
};

struct rebind *rebind_new(void);
void rebind_unref(struct rebind **);
/* NULL, or a malloced sentence: too many keys. */
char *rebind_set(struct rebind *, const char *key, const char *value) __attribute__((warn_unused_result));
/* When all is said. NULL, or a malloced sentence. */
char *rebind_check(const struct queued *, struct rebind *) __attribute__((warn_unused_result));

enum rebind_done {
	REBIND_NOTHING, /* it was as asked for already */
	REBIND_DONE,    /* the envelope may be gone: its new queue may be one that bounces */
	REBIND_FAILED   /* its event failed, or it cannot be read: it is where it was */
};

/* Whether it has to be called back to find out. */
bool rebind_concerns(struct queued *, struct qenv *, const struct rebind *);
/* Of an envelope that is not in flight. */
enum rebind_done rebind_apply(struct queued *, struct qenv *, const struct rebind *);
/* Records that it stays where it is, without asking. */
void rebind_fail(struct queued *, struct qenv *, const struct rebind *, const char *why);

/* rebind_event.c: what becomes of an envelope, before it is done. */
struct rebind_plan {
	struct squeue *to;       /* referred to; NULL: stays */
	struct rebound *rebound; /* taken over with it; NULL: as it was accepted */
	bool is_content;         /* `rebound` differs from what it was */
	struct policy_verdict verdict;
};

/* Asks requeue_message. The plan is empty if there is no such event, or if it failed. delay: ms. */
void rebind_ask_requeue(struct queued *, struct qenv *, const char *response, int64_t delay, struct rebind_plan *);
void rebind_ask_operator(struct queued *, struct qenv *, const struct rebind *, struct rebind_plan *);
/* The plan of a request that policy is not asked about. */
void rebind_plan_plain(struct queued *, struct qenv *, const struct rebind *, struct rebind_plan *);
/* Does it; the envelope is in no list afterwards (DEFERRED or HELD). Whether anything changed. */
bool rebind_plan_take(struct queued *, struct qenv *, struct rebind_plan *);
void rebind_plan_clear(struct queued *, struct rebind_plan *);

#endif
