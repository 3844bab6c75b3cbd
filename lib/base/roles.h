/* A daemon's parent and its roles. The parent (root, if the suite was started as root) handles no network byte: it
 * execs its own executable again once per role (`-r ROLE -n INSTANCE`), with the control link on descriptor 3 and,
 * where two roles talk, one end of a fresh socketpair on descriptor 4; so that each has its own address layout and
 * inherits nothing else. A role that dies is replaced, with back-off from 100 ms to 30 s so that a crash loop gives
 * nobody endless tries; its partner is sent the new end.
 *
 * Reload: ROLES_REPLACE starts a new generation beside the old and tells the old to drain once the new one is ready
 * (smtpd: new certificate, no session dropped); ROLES_TELL passes the word on (deliverd).
 *
 * A role exits when descriptor 3 closes: no role outlives its parent. */
#ifndef BASE_ROLES_H
#define BASE_ROLES_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/ipc.h"

#define ROLE_CONTROL_FD 3
#define ROLE_PARTNER_FD 4
#define ROLE_OTHERS 4

enum roles_reload { ROLES_TELL, ROLES_REPLACE };

struct role_spec {
	const char *name;    /* "worker", "auth" */
	unsigned instances;
	/* Each instance is joined with the same instance of that role; NULL if listed by the other. The one that lists
	 * a partner leads: when it has gone after ROLE_DRAIN, its partner is stopped. */
	const char *partner;
	/* More of them, for a role that leads: either is sent its end by role_link_on_other(), by the place here. */
	const char *others[ROLE_OTHERS];
	bool keeps_listeners; /* gets the passed listening sockets: descriptors 5... (role_listeners()) */
};

struct roles_config {
	const char *exe;            /* absolute path of this executable */
	char *const *extra_argv;    /* "-c dir", "-p pool": NULL-terminated */
	const struct role_spec *specs;
	size_t n_specs;
	enum roles_reload reload;
	const int *listeners;       /* sockets for roles that keep them */
	const char *const *listener_names;
	size_t n_listeners;
	/* Called on SIGHUP before anything is replaced or told: false refuses the reload (it has logged why). May
	 * change n instances through the pointer. */
	bool (*check)(struct role_spec *specs, void *arg);
	void *arg;
	/* Something to be done now and then by the parent itself; every_ms 0: nothing. */
	void (*every)(void *arg);
	int64_t every_ms;
	const unsigned *number; /* of the configuration, as check() left it: said with readiness. NULL: none */
};

/* The parent's whole life: starts the roles, notify_ready() when all are ready, signals, reload, restart. Returns the
 * exit status. Opens the notify socket and watches the supervisor (base/parent_watch.h) by itself; standard input
 * becomes /dev/null, standard output is standard error. */
int roles_run(const struct roles_config *);

/* The role's side. */
struct role_link;
enum role_word { ROLE_RELOAD, ROLE_DRAIN, ROLE_STOP };
typedef void role_word_fn(enum role_word, void *arg);
typedef void role_partner_fn(int fd, void *arg); /* a new partner: takes over the descriptor */
/* Watches descriptor 3; on its end calls word(ROLE_STOP). partner may be NULL. */
struct role_link *role_link_new(struct loop *, role_word_fn *word, role_partner_fn *partner, void *arg);
/* Also takes links to one of the others, one now and one whenever either has started again. */
void role_link_on_other(struct role_link *, unsigned place, role_partner_fn *);
void role_link_ready(struct role_link *);
/* The partner does not do its work any more: the parent kills it, and starts another. */
void role_link_replace_partner(struct role_link *);
void role_link_free(struct role_link **);

/* The listening sockets of a role that keeps them: the first is returned (5), the count in *n_r, their names in order
 * as notify_listen_fds() gives them. Close-on-exec from then on. n = 0 if none. */
int role_listeners(int *n_r, char ***names_r);

/* Plain fork+exec for the supervisor: closes everything but 0-2 and the n descriptors in fds, which become 3, 4, ...;
 * in a process group of its own (the terminal's Ctrl-C is for us), all signals at their defaults; sets LISTEN_FDS,
 * LISTEN_FDNAMES, LISTEN_PID if names is not NULL, and envs ("NAME=value", NULL-terminated; may be NULL). Pid or -1. */
pid_t spawn(char *const argv[], const int *fds, size_t n, const char *const *names, char *const envs[]);

#endif
