/* What roles.c (generations, signals), role_proc.c (one process of a role) and role_link.c (the role's end) share. */
#ifndef BASE_ROLES_PRIVATE_H
#define BASE_ROLES_PRIVATE_H

#include <bsd/sys/queue.h>

#include "base/roles.h"

#define ROLE_LISTEN_FD 5
#define ROLE_LISTEN_FDS "POSTHORN_LISTEN_FDS"
#define ROLE_LISTEN_FDNAMES "POSTHORN_LISTEN_FDNAMES"

/* The control link: READY and REPLACE come from the role, everything else from the parent. */
/* PARTNER with the request id 0 is about the partner, with 1 and more about the others. */
enum role_msg { ROLE_MSG_READY = 1, ROLE_MSG_RELOAD, ROLE_MSG_DRAIN, ROLE_MSG_STOP, ROLE_MSG_PARTNER,
	ROLE_MSG_REPLACE };

struct generation;

/* One instance of one role: a process most of the time, a timer while it waits to be started again. */
struct role_proc {
	struct generation *gen;
	const struct role_spec *spec;
	unsigned index;
	struct role_proc *partner; /* NULL: none */
	struct role_proc *others[ROLE_OTHERS]; /* NULL: none */
	pid_t pid;                 /* 0: not running */
	struct ipc *ctl;
	int partner_fd;            /* our end of a link whose other end the partner has already; -1 */
	bool ready;
	bool reloading;            /* has not said READY since the reload */
	bool is_told;              /* of it, when it was running already: the READY of its start is not the answer */
	bool stopping;
	int64_t started;
	int64_t delay;             /* before the next start */
	struct timer restart, kill;
};

enum gen_state {
	GEN_STARTING, /* not all were ready yet */
	GEN_CURRENT,
	GEN_DRAINING, /* its roles finish what they have */
	GEN_STOPPING  /* abandoned, or the whole daemon stops */
};

struct generation {
	TAILQ_ENTRY(generation) link;
	struct roles *roles;
	unsigned number;
	unsigned config;    /* number of the configuration */
	enum gen_state state;
	struct role_spec *specs;
	struct role_proc *procs;
	size_t n_procs;
	struct timer limit; /* STARTING: readiness; DRAINING: life */
};

struct roles {
	const struct roles_config *cfg;
	struct loop *loop;
	TAILQ_HEAD(generations, generation) gens; /* oldest first */
	struct generation *current;    /* NULL until the first one was ready */
	struct role_spec *specs;       /* as the last successful check() left them */
	unsigned n_gens;               /* numbers given so far */
	bool reload_again;             /* SIGHUP while a reload was under way */
	bool stopping;
	int null_fd;
	struct timer every;
};

/* role_proc.c */
void role_proc_init(struct role_proc *, struct generation *, const struct role_spec *, unsigned index);
void role_proc_start(struct role_proc *);
void role_proc_send(struct role_proc *, enum role_msg);
/* Asks it to stop, kills it if it has not within ten seconds, and will not start it again. */
void role_proc_stop(struct role_proc *);
/* If it has ended: logs how, and returns true with the wait status. */
bool role_proc_reap(struct role_proc *, int *status_r);
void role_proc_retry(struct role_proc *);
void role_proc_clear(struct role_proc *);

/* roles.c: what role_proc.c reports. */
void gen_on_ready(struct generation *);
void gen_on_reloaded(struct generation *);

#endif
