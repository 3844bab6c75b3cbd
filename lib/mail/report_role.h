/* A daemon that takes reports (bounces, complaints) out of the queue: its main role, which is a consumer of queued's
 * internal pool of its name, and its process. bouncerd and fblproc differ in what they do with a report (struct
 * report_spec). The main role has no network and decodes nothing that a stranger wrote: that is the parse role's. */
#ifndef MAIL_REPORT_ROLE_H
#define MAIL_REPORT_ROLE_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "base/loop.h"
#include "base/sandbox.h"
#include "mail/eventlog.h"
#include "mail/job_link.h"
#include "mail/params.h"
#include "mail/policy.h"

struct report_role;
struct report_job;

/* One recipient of a report; it ends in exactly one report_result(). */
struct report_item {
	RB_ENTRY(report_item) by_env;
	struct report_job *job;
	const struct ql_job_rcpt *rcpt;
	struct envid env;
	bool is_open;
};
RB_HEAD(report_items, report_item);
RB_PROTOTYPE(report_items, report_item, by_env, item_cmp)

struct report_job {
	TAILQ_ENTRY(report_job) link;
	struct ql_job q;
	struct seg *seg;
	unsigned n_open, n_items;
	bool is_busy; /* being worked on: not given back */
	struct report_item items[];
};
TAILQ_HEAD(report_jobs, report_job);

struct report_spec {
	const char *name;     /* "bouncerd" */
	const char *user;     /* "posthorn-bouncerd" */
	const char *consumer; /* "@bouncerd", queued's name for it */
	/* Before the jail: opens what will be needed, may add to what the jail leaves. NULL: nothing. */
	void (*open)(struct report_role *, struct sandbox *);
	/* In the jail, when all else is there. NULL: nothing. */
	void (*start)(struct report_role *);
	/* One job, of which every open item is to end in report_result(), now or later. One at a time. */
	void (*work)(struct report_role *, struct report_job *);
	/* The connection to queued is there again. NULL: nothing. */
	void (*up)(struct report_role *);
	/* A new link to the parse role (taken over). NULL if there is none. */
	void (*parser)(struct report_role *, int fd);
	void (*close)(struct report_role *);
	/* The parse role: enters its jail and serves ROLE_PARTNER_FD. NULL: there is none. */
	int (*parse_main)(const struct params *, const char *user);
	/* Other frames of queued's that it takes; their functions are given the job_link. NULL: none. */
	const struct ipc_rule *rules;
	const size_t *n_rules;
};

struct report_role {
	const struct report_spec *spec;
	struct loop *loop;
	char *config_dir;
	struct params *params;
	struct policy *policy;
	struct bounce_rules *bounce_rules; /* NULL: none */
	uint32_t config_number;
	uint64_t config_digest; /* jobs of another one are handed back */
	struct eventlog *events;
	struct token_signer token;
	struct job_link_ops link_ops;
	struct job_link *link;
	struct report_items items;
	unsigned n_items;
	struct report_jobs jobs; /* the first may be busy */
	struct timer stop;
	bool is_stopping;
	int64_t stop_deadline;
	struct role_link *roles; /* to the parent; NULL in tests */
	void *own;               /* the daemon's */
};

/* What the main role's jail leaves, but for what a daemon's open() adds: no network, no writing, no other process. */
#define REPORT_ALLOW (SB_CONNECT_UN | SB_FILES_RO | SB_FLOCK)
#define REPORT_CREDIT 200 /* envelopes at a time: what is held is small, content is read when its turn comes */

/* Takes over params and policy. */
struct report_role *report_role_new(struct loop *, const struct report_spec *, const char *config_dir,
    struct params *, struct policy *);
void report_role_free(struct report_role **);
/* Connects to queued. */
void report_role_connect(struct report_role *);
bool report_role_reload(struct report_role *);
/* Finishes what is under way, hands back the rest, then stops the loop. */
void report_role_stop(struct report_role *);

/* What became of an item. The job goes with its last item, and the next is worked on. */
void report_result(struct report_role *, struct report_item *, enum ql_outcome, uint16_t code, struct enhanced_code,
    const char *text);
/* The same of every item of the job that has none yet; the job is gone afterwards. */
void report_job_end(struct report_role *, struct report_job *, enum ql_outcome, uint16_t code, struct enhanced_code,
    const char *text);
/* The first item that has no result yet; there is one as long as there is the job. */
struct report_item *report_job_first(struct report_job *);

/* The whole life of a daemon of this kind, its parent and its roles. Returns the exit status. */
int report_main(const struct report_spec *, int argc, char **argv);

#endif
