/* A consumer's side of queued's socket: jobs in, results out. While queued is away, jobs and results are kept; when it
 * is back it is told what is held, so that nothing is done twice because of its restart. What the consumer does with a
 * job is its own affair (struct job_link_ops). */
#ifndef MAIL_JOB_LINK_H
#define MAIL_JOB_LINK_H

#include "base/ipc.h"
#include "base/loop.h"
#include "mail/eventlog.h"
#include "mail/queue_link.h"
#include "mail/seg.h"
#include "mail/token.h"

struct job_link;

struct job_link_identity {
	const char *name; /* the pool */
	uint32_t number; /* of the configuration */
	uint64_t digest;
};

struct job_link_ops {
	/* Who we are now: asked when the connection is there, and by job_link_generation(). */
	void (*identity)(struct job_link_identity *, void *arg);
	/* Envelopes that are held, and how many there may be with what queued may still send. */
	unsigned (*n_held)(void *arg);
	uint64_t (*credit)(void *arg);
	/* Calls job_link_hold() for each envelope that is held. */
	void (*say_held)(struct job_link *, void *arg);
	/* A job: takes over what it owns, and the reference of its segment. Each of its recipients is to end in one
	 * job_link_result(). */
	void (*job)(struct ql_job *, struct seg *, void *arg);
	/* To be handed back unless its result is on the way. */
	void (*cancel)(const struct envid *, void *arg);
	/* NULL, or: after HELLO; after a WELCOME. */
	void (*up)(void *arg);
	void (*welcome)(void *arg);
	/* Other frames that this consumer takes. Their functions are given the link (job_link_arg()). */
	const struct ipc_rule *rules;
	size_t n_rules;
};

/* *events gets its descriptors, *token its key. */
struct job_link *job_link_new(struct loop *, const char *socket_path, const struct job_link_ops *, void *arg,
    struct eventlog *events, struct token_signer *token);
void job_link_free(struct job_link **);
void *job_link_arg(const struct job_link *);
/* NULL while queued is away. */
struct ipc *job_link_conn(const struct job_link *);
/* The token keys to check with; n is 0 before queued has said them. */
const struct ql_keys *job_link_keys(const struct job_link *);
void job_link_hold(struct job_link *, const struct envid *);
void job_link_result(struct job_link *, const struct ql_result *);
/* Before sleep: grants credit for what was finished. */
void job_link_step(struct job_link *);
/* Says which configuration is in force here now. */
void job_link_generation(struct job_link *);
/* No credit any more. */
void job_link_stop(struct job_link *);
/* Nothing that was reported is still on this side. */
bool job_link_is_flushed(const struct job_link *);

#endif
