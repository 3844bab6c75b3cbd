/* One process of a role, as its parent sees it (base/roles.h). Runs in the parent, often as root, which is why all that
 * a role may say to it are two messages without a body: a role that has been taken over gains nothing here but the end
 * of its own helper. */
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles_private.h"
#include "base/wait_text.h"
#include "base/xalloc.h"

#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 30000
#define STABLE_MS 60000 /* a life this long ends the back-off */
#define STOP_MS 10000   /* from ROLE_STOP to SIGKILL */

static void
on_ready(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_proc *p = arg;

	(void)ipc;
	(void)m;
	if (p->reloading && (p->ready || !p->is_told)) {
		p->reloading = false;
		gen_on_reloaded(p->gen);
	}
	if (p->ready)
		return;
	p->ready = true;
	log_debug("role is ready role=%s instance=%u pid=%d", p->spec->name, p->index, (int)p->pid);
	gen_on_ready(p->gen);
}

/* A role cannot kill another; its partner is somebody it could starve anyway. */
static void
on_replace(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role_proc *p = arg, *q = p->partner;

	(void)ipc;
	(void)m;
	if (q == NULL || q->pid == 0)
		return;
	log_warn("role does not answer its partner, killing it role=%s instance=%u pid=%d", q->spec->name, q->index,
	    (int)q->pid);
	(void)kill(q->pid, SIGKILL);
}

/* Usually it has ended or is about to. If it only let go of the link it can be told nothing any more, so its time is
 * limited. */
static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct role_proc *p = arg;

	(void)ipc;
	(void)why;
	p->ctl = NULL;
	if (p->pid != 0 && !timer_is_set(&p->kill))
		timer_set(&p->kill, STOP_MS);
}

static const struct ipc_rule rules[] = { { ROLE_MSG_READY, false, 0, "ready", on_ready },
	{ ROLE_MSG_REPLACE, false, 0, "replace", on_replace } };
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

static void
on_kill(void *arg)
{
	struct role_proc *p = arg;

	if (p->pid == 0)
		return;
	log_warn("role does not stop, killing it role=%s instance=%u pid=%d", p->spec->name, p->index, (int)p->pid);
	(void)kill(p->pid, SIGKILL);
}

static void
on_restart(void *arg)
{
	role_proc_start(arg);
}

void
role_proc_init(struct role_proc *p, struct generation *gen, const struct role_spec *spec, unsigned index)
{
	p->gen = gen;
	p->spec = spec;
	p->index = index;
	p->partner_fd = -1;
	p->delay = DELAY_MIN_MS;
	timer_init(&p->restart, gen->roles->loop, on_restart, p);
	timer_init(&p->kill, gen->roles->loop, on_kill, p);
}

static void
close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* Our end of the link to the partner: the one it left for us, or a new one, whose other end goes to it. -1 and
 * errno. */
static int
partner_link(struct role_proc *p)
{
	struct role_proc *q = p->partner;
	int pair[2], fd = p->partner_fd;

	p->partner_fd = -1;
	if (fd != -1)
		return fd;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	if (q->ctl != NULL) {
		ipc_send(q->ctl, ROLE_MSG_PARTNER, 0, NULL, pair[1]);
		close(pair[1]);
	} else {
		close_fd(&q->partner_fd);
		q->partner_fd = pair[1];
	}
	return pair[0];
}

/* A new link between p and one of its other partners, if both are there: whoever starts later makes it. */
static void
other_link(struct role_proc *p, uint32_t place)
{
	struct role_proc *q = p->others[place];
	int pair[2];

	if (q == NULL || q->ctl == NULL)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1) {
		log_error("cannot join two roles: %m role=%s instance=%u", p->spec->name, p->index);
		return;
	}
	ipc_send(p->ctl, ROLE_MSG_PARTNER, 1 + place, NULL, pair[0]);
	ipc_send(q->ctl, ROLE_MSG_PARTNER, 1 + place, NULL, pair[1]);
	close(pair[0]);
	close(pair[1]);
}

static char *
listener_names(const struct roles_config *cfg)
{
	char *text = xstrdup(ROLE_LISTEN_FDNAMES "="), *longer;

	for (size_t i = 0; i < cfg->n_listeners; i++) {
		longer = xasprintf("%s%s%s", text, i > 0 ? ":" : "", cfg->listener_names[i]);
		free(text);
		text = longer;
	}
	return text;
}

/* Executes it with control on 3, partner on 4, listeners from 5. Pid, or -1 and errno. */
static pid_t
role_proc_exec(struct role_proc *p, int control, int partner)
{
	const struct roles_config *cfg = p->gen->roles->cfg;
	size_t n_listeners = p->spec->keeps_listeners ? cfg->n_listeners : 0, n = 0;
	char *number = xasprintf("%u", p->index), *name = xstrdup(p->spec->name), opt_r[] = "-r", opt_n[] = "-n";
	char *count = xasprintf(ROLE_LISTEN_FDS "=%zu", n_listeners), *names = listener_names(cfg);
	char *envs[] = { count, names, NULL }, **argv;
	int *fds = xcalloc(n_listeners + 2, sizeof(*fds)), saved;
	pid_t pid;

	while (cfg->extra_argv != NULL && cfg->extra_argv[n] != NULL)
		n++;
	argv = xcalloc(n + 6, sizeof(*argv));
	argv[0] = xstrdup(cfg->exe);
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = cfg->extra_argv[i];
	argv[n + 1] = opt_r;
	argv[n + 2] = name;
	argv[n + 3] = opt_n;
	argv[n + 4] = number;
	fds[0] = control;
	fds[1] = partner;
	for (size_t i = 0; i < n_listeners; i++)
		fds[i + 2] = cfg->listeners[i];
	pid = spawn(argv, fds, n_listeners + 2, NULL, n_listeners > 0 ? envs : NULL);
	saved = errno;
	free(argv[0]);
	free(argv);
	free(fds);
	free(names);
	free(count);
	free(name);
	free(number);
	errno = saved;
	return pid;
}

void
role_proc_start(struct role_proc *p)
{
	struct roles *r = p->gen->roles;
	int pair[2] = { -1, -1 }, partner = -1;
	pid_t pid = -1;

	p->started = loop_now(r->loop);
	p->ready = false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0 &&
	    (p->partner == NULL || (partner = partner_link(p)) != -1))
		pid = role_proc_exec(p, pair[1], partner == -1 ? r->null_fd : partner);
	if (pid == -1)
		log_error("cannot start role: %m role=%s instance=%u", p->spec->name, p->index);
	close_fd(&pair[1]);
	close_fd(&partner);
	if (pid == -1) {
		close_fd(&pair[0]);
		role_proc_retry(p);
		return;
	}
	p->pid = pid;
	p->ctl = ipc_new(r->loop, pair[0], &ops, p);
	for (uint32_t i = 0; i < ROLE_OTHERS; i++)
		other_link(p, i);
	log_debug("started role=%s instance=%u pid=%d generation=%u", p->spec->name, p->index, (int)pid,
	    p->gen->number);
}

void
role_proc_send(struct role_proc *p, enum role_msg msg)
{
	if (p->ctl != NULL)
		ipc_send(p->ctl, (uint16_t)msg, 0, NULL, -1);
}

void
role_proc_stop(struct role_proc *p)
{
	timer_cancel(&p->restart);
	if (p->stopping || p->pid == 0)
		return;
	p->stopping = true;
	role_proc_send(p, ROLE_MSG_STOP);
	timer_set(&p->kill, STOP_MS);
}

static void
log_end(const struct role_proc *p, int status)
{
	bool wanted = p->stopping || p->gen->state == GEN_DRAINING;
	char *how;

	if (wanted && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		log_debug("role ended role=%s instance=%u pid=%d generation=%u", p->spec->name, p->index, (int)p->pid,
		    p->gen->number);
	else {
		how = wait_text(status);
		log_error("role ended: %s role=%s instance=%u pid=%d generation=%u", how, p->spec->name, p->index,
		    (int)p->pid, p->gen->number);
		free(how);
	}
}

bool
role_proc_reap(struct role_proc *p, int *status_r)
{
	if (p->pid == 0 || waitpid(p->pid, status_r, WNOHANG) != p->pid)
		return false;
	log_end(p, *status_r);
	p->pid = 0;
	p->ready = p->is_told = false;
	p->reloading = p->gen->roles->cfg->reload == ROLES_TELL && p->reloading; /* its successor's READY will do */
	ipc_close(&p->ctl);
	timer_cancel(&p->kill);
	return true;
}

void
role_proc_retry(struct role_proc *p)
{
	if (loop_now(p->gen->roles->loop) - p->started >= STABLE_MS)
		p->delay = DELAY_MIN_MS;
	log_info("starting again in %" PRId64 " ms role=%s instance=%u", p->delay, p->spec->name, p->index);
	timer_set(&p->restart, p->delay);
	p->delay = p->delay * 2 > DELAY_MAX_MS ? DELAY_MAX_MS : p->delay * 2;
}

void
role_proc_clear(struct role_proc *p)
{
	timer_cancel(&p->restart);
	timer_cancel(&p->kill);
	ipc_close(&p->ctl);
	close_fd(&p->partner_fd);
}
