/* A daemon's parent: generations of roles, signals, reload (base/roles.h). Often root, therefore it handles no byte
 * from the network and almost none from its roles. Promise 3 is kept here: whatever dies is started again, and a reload
 * never takes away what works before its replacement has said that it is ready.
 *
 * A generation is STARTING until all its roles were ready once, then CURRENT; a successor makes it DRAINING until its
 * last role has ended. A STARTING one beside a current one that loses a role is abandoned (STOPPING): the reload
 * failed, nothing else changed. */
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"
#include "base/parent_watch.h"
#include "base/roles_private.h"
#include "base/xalloc.h"

#define READY_MS (60 * 1000)         /* for a new generation beside a current one */
#define DRAIN_MS (60 * 60 * 1000)    /* for the sessions of an old one */
#define DRAINING_MAX 4               /* old generations; more frequent reloads end the oldest */
#define WATCHDOG_SECONDS 60

static struct role_spec *
specs_copy(const struct role_spec *specs, size_t n)
{
	struct role_spec *copy = xcalloc(n, sizeof(*copy));

	memcpy(copy, specs, n * sizeof(*copy));
	return copy;
}

/* Who is joined with p: the same instance of the role that p lists, or that lists p. */
static struct role_proc *
partner_of(struct generation *g, const struct role_proc *p)
{
	struct role_proc *q;

	for (size_t i = 0; i < g->n_procs; i++) {
		q = &g->procs[i];
		if (q->index != p->index || q == p)
			continue;
		if ((p->spec->partner != NULL && strcmp(p->spec->partner, q->spec->name) == 0) ||
		    (q->spec->partner != NULL && strcmp(q->spec->partner, p->spec->name) == 0))
			return q;
	}
	return NULL;
}

static bool
is_named(const char *name, const struct role_proc *p)
{
	return name != NULL && strcmp(name, p->spec->name) == 0;
}

static struct role_proc *
other_of(struct generation *g, const struct role_proc *p, size_t place)
{
	struct role_proc *q;

	for (size_t i = 0; i < g->n_procs; i++) {
		q = &g->procs[i];
		if (q->index == p->index &&
		    (is_named(p->spec->others[place], q) || is_named(q->spec->others[place], p)))
			return q;
	}
	return NULL;
}

static void
gen_stop(struct generation *g)
{
	g->state = GEN_STOPPING;
	timer_cancel(&g->limit);
	for (size_t i = 0; i < g->n_procs; i++)
		role_proc_stop(&g->procs[i]);
}

static void reload(void *);

/* The successor did not come up: what was, goes on. */
static void
gen_abandon(struct generation *g, const char *why)
{
	struct roles *r = g->roles;

	log_error("reload failed, the old roles go on: %s generation=%u", why, g->number);
	gen_stop(g);
	notify_ready();
	if (r->reload_again)
		reload(r);
}

static void
on_limit(void *arg)
{
	struct generation *g = arg;

	if (g->state == GEN_STARTING) {
		gen_abandon(g, "the new ones were not ready in time");
		return;
	}
	log_warn("old roles took too long to finish, stopping them generation=%u", g->number);
	gen_stop(g);
}

static struct generation *
gen_new(struct roles *r)
{
	size_t n_specs = r->cfg->n_specs, k = 0;
	struct generation *g = xcalloc(1, sizeof(*g));

	g->roles = r;
	g->number = ++r->n_gens;
	g->config = r->cfg->number != NULL ? *r->cfg->number : 0;
	g->state = GEN_STARTING;
	g->specs = specs_copy(r->specs, n_specs);
	timer_init(&g->limit, r->loop, on_limit, g);
	for (size_t i = 0; i < n_specs; i++)
		g->n_procs += g->specs[i].instances;
	g->procs = xcalloc(g->n_procs, sizeof(*g->procs));
	for (size_t i = 0; i < n_specs; i++)
		for (unsigned n = 0; n < g->specs[i].instances; n++)
			role_proc_init(&g->procs[k++], g, &g->specs[i], n);
	for (size_t i = 0; i < g->n_procs; i++) {
		g->procs[i].partner = partner_of(g, &g->procs[i]);
		for (size_t n = 0; n < ROLE_OTHERS; n++)
			g->procs[i].others[n] = other_of(g, &g->procs[i], n);
	}
	TAILQ_INSERT_TAIL(&r->gens, g, link);
	for (size_t i = 0; i < g->n_procs; i++)
		role_proc_start(&g->procs[i]);
	return g;
}

static void
gen_free(struct generation *g)
{
	struct roles *r = g->roles;

	TAILQ_REMOVE(&r->gens, g, link);
	if (r->current == g)
		r->current = NULL;
	timer_cancel(&g->limit);
	for (size_t i = 0; i < g->n_procs; i++)
		role_proc_clear(&g->procs[i]);
	free(g->procs);
	free(g->specs);
	free(g);
}

static void
gen_drain(struct generation *g)
{
	struct roles *r = g->roles;
	struct generation *oldest = NULL, *o;
	unsigned n = 0;

	g->state = GEN_DRAINING;
	timer_set(&g->limit, DRAIN_MS);
	for (size_t i = 0; i < g->n_procs; i++) {
		timer_cancel(&g->procs[i].restart); /* who is down now has nothing to finish */
		role_proc_send(&g->procs[i], ROLE_MSG_DRAIN);
	}
	TAILQ_FOREACH(o, &r->gens, link)
		if (o->state == GEN_DRAINING && ++n == 1)
			oldest = o;
	if (n > DRAINING_MAX) {
		log_warn("too many old generations, stopping the oldest generation=%u", oldest->number);
		gen_stop(oldest);
	}
}

/* Roles that were told to reload have done so, or have been started since. */
void
gen_on_reloaded(struct generation *g)
{
	for (size_t i = 0; i < g->n_procs; i++)
		if (g->procs[i].reloading)
			return;
	notify_generation(g->config);
	notify_ready();
}

void
gen_on_ready(struct generation *g)
{
	struct roles *r = g->roles;
	struct generation *old = r->current;

	if (g->state != GEN_STARTING)
		return;
	for (size_t i = 0; i < g->n_procs; i++)
		if (!g->procs[i].ready)
			return;
	timer_cancel(&g->limit);
	g->state = GEN_CURRENT;
	r->current = g;
	if (old != NULL)
		gen_drain(old);
	log_info("ready generation=%u", g->number);
	notify_generation(g->config);
	notify_ready();
	if (r->reload_again)
		reload(r);
}

/* One of its roles has ended. */
static void
gen_on_end(struct generation *g, struct role_proc *p, int status)
{
	bool orderly = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	switch (g->state) {
	case GEN_STARTING:
		if (g->roles->current != NULL)
			gen_abandon(g, "a new role ended before it was ready");
		else
			role_proc_retry(p);
		break;
	case GEN_CURRENT:
		role_proc_retry(p);
		break;
	case GEN_DRAINING:
		/* A helper has nobody left to help; a leader whose helper crashed can still finish. */
		if (p->partner != NULL && (p->spec->partner != NULL || orderly))
			role_proc_stop(p->partner);
		for (size_t i = 0; i < ROLE_OTHERS; i++)
			if (p->others[i] != NULL && p->spec->others[i] != NULL)
				role_proc_stop(p->others[i]);
		break;
	case GEN_STOPPING:
		break;
	}
}

static bool
gen_is_over(const struct generation *g)
{
	if (g->state != GEN_DRAINING && g->state != GEN_STOPPING)
		return false;
	for (size_t i = 0; i < g->n_procs; i++)
		if (g->procs[i].pid != 0)
			return false;
	return true;
}

static void
sweep(struct roles *r)
{
	struct generation *g, *next;

	for (g = TAILQ_FIRST(&r->gens); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		if (gen_is_over(g))
			gen_free(g);
	}
	if (r->stopping && TAILQ_EMPTY(&r->gens))
		loop_stop(r->loop);
}

static void
on_child(void *arg)
{
	struct roles *r = arg;
	struct generation *g;
	int status;

	TAILQ_FOREACH(g, &r->gens, link) {
		for (size_t i = 0; i < g->n_procs; i++)
			if (role_proc_reap(&g->procs[i], &status))
				gen_on_end(g, &g->procs[i], status);
	}
	sweep(r);
}

static void
on_stop(void *arg)
{
	struct roles *r = arg;
	struct generation *g;

	if (r->stopping)
		return;
	r->stopping = true;
	log_info("stopping");
	notify_stopping();
	TAILQ_FOREACH(g, &r->gens, link)
		gen_stop(g);
	sweep(r);
}

static bool
is_replacing(const struct roles *r)
{
	struct generation *g;

	TAILQ_FOREACH(g, &r->gens, link)
		if (g->state == GEN_STARTING)
			return true;
	return false;
}

static void
reload(void *arg)
{
	struct roles *r = arg;
	struct role_spec *specs;

	if (r->stopping)
		return;
	r->reload_again = false;
	if (is_replacing(r)) {
		r->reload_again = true;
		return;
	}
	specs = specs_copy(r->specs, r->cfg->n_specs);
	if (r->cfg->check != NULL && !r->cfg->check(specs, r->cfg->arg)) {
		free(specs);
		return;
	}
	notify_reloading();
	free(r->specs);
	r->specs = specs;
	log_info("reloading");
	if (r->cfg->reload == ROLES_REPLACE) {
		timer_set(&gen_new(r)->limit, READY_MS);
		return;
	}
	if (r->cfg->number != NULL)
		r->current->config = *r->cfg->number;
	for (size_t i = 0; i < r->current->n_procs; i++) {
		r->current->procs[i].reloading = true;
		r->current->procs[i].is_told = r->current->procs[i].ctl != NULL;
		role_proc_send(&r->current->procs[i], ROLE_MSG_RELOAD);
	}
}

/* The supervisor's pipe may be our standard input, which the roles must not inherit: it moves, and the variable
 * follows. */
static void
arrange_standard_fds(struct roles *r)
{
	const char *watched = getenv(PARENT_WATCH_ENV);
	char number[16];
	int fd;

	if (watched != NULL && strcmp(watched, "0") == 0 && (fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) != -1) {
		snprintf(number, sizeof(number), "%d", fd);
		setenv(PARENT_WATCH_ENV, number, 1);
	}
	if ((r->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) == -1)
		fatal("cannot open /dev/null: %m");
	if (dup2(r->null_fd, STDIN_FILENO) == -1 || dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
		fatal("cannot arrange the standard descriptors: %m");
}

static void
on_every(void *arg)
{
	struct roles *r = arg;

	r->cfg->every(r->cfg->arg);
	timer_set(&r->every, r->cfg->every_ms);
}

int
roles_run(const struct roles_config *cfg)
{
	struct roles r = { .cfg = cfg, .specs = specs_copy(cfg->specs, cfg->n_specs) };
	struct parent_watch *watch;
	struct generation *g, *next;
	int rc;

	TAILQ_INIT(&r.gens);
	arrange_standard_fds(&r);
	r.loop = loop_new();
	notify_open();
	loop_signal(r.loop, SIGCHLD, on_child, &r);
	loop_signal(r.loop, SIGTERM, on_stop, &r);
	loop_signal(r.loop, SIGINT, on_stop, &r);
	loop_signal(r.loop, SIGHUP, reload, &r);
	watch = parent_watch_new(r.loop, on_stop, &r);
	loop_watchdog(r.loop, WATCHDOG_SECONDS);
	timer_init(&r.every, r.loop, on_every, &r);
	if (cfg->every_ms > 0)
		timer_set(&r.every, cfg->every_ms);
	/* These were for us. */
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	gen_new(&r);
	rc = loop_run(r.loop);
	for (g = TAILQ_FIRST(&r.gens); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		gen_free(g);
	}
	timer_cancel(&r.every);
	parent_watch_free(&watch);
	loop_free(&r.loop);
	close(r.null_fd);
	free(r.specs);
	return rc == 0 ? 0 : 1;
}
