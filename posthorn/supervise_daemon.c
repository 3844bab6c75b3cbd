/* One daemon of the supervisor: started, ready, stopped, dead, started again after a back-off from 100 ms to 30 s.
 * All changes of sup_daemon.state happen here. Runs as root where the suite was started so; what daemons say
 * (READY=1, an exit status) is all that is taken from them. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/parent_watch.h"
#include "base/roles.h"
#include "base/wait_text.h"
#include "base/xalloc.h"

#include "supervise.h"

#define BACKOFF_MIN 100
#define BACKOFF_MAX 30000
#define CALM_AFTER 60000 /* that long ready: the next death is a new story */
#define START_TRIES 6    /* during `start`: then it is given up */

const char *const sup_state_names[] = { "stopped", "starting", "ready", "stopping", "waiting" };

static const struct {
	const char *name;
	int64_t start_limit, stop_limit; /* ms; queued may have a long spool to read */
} kinds[SUP_KINDS] = {
	[SUP_QUEUED] = { "queued", 300000, 20000 },
	[SUP_BOUNCERD] = { "bouncerd", 60000, 15000 },
	[SUP_FBLPROC] = { "fblproc", 60000, 15000 },
	[SUP_DELIVERD] = { "deliverd", 60000, 30000 },
	[SUP_SMTPD] = { "smtpd", 60000, 15000 },
};

static void
sup_daemon_on_timer(void *arg)
{
	struct sup_daemon *d = arg;

	switch (d->state) {
	case SUP_WAITING:
		sup_daemon_start(d);
		break;
	case SUP_STARTING:
		log_error("%s is not ready after %lld s, killing it", d->name,
		    (long long)kinds[d->kind].start_limit / 1000);
		kill(d->pid, SIGKILL);
		break;
	case SUP_STOPPING:
		log_warn("%s has not stopped after %lld s, killing it", d->name,
		    (long long)kinds[d->kind].stop_limit / 1000);
		kill(d->pid, SIGKILL);
		break;
	default:
		break;
	}
	sup_advance(d->sup);
}

struct sup_daemon *
sup_daemon_new(struct supervisor *sup, enum sup_kind kind, const char *pool)
{
	struct sup_daemon *d = xcalloc(1, sizeof(*d)), *after = NULL, *it;

	d->sup = sup;
	d->kind = kind;
	d->pool = pool != NULL ? xstrdup(pool) : NULL;
	d->name = pool != NULL ? xasprintf("%s/%s", kinds[kind].name, pool) : xstrdup(kinds[kind].name);
	d->backoff = BACKOFF_MIN;
	timer_init(&d->timer, sup->loop, sup_daemon_on_timer, d);
	/* Kept in the order of starting, which is that of status too. */
	TAILQ_FOREACH(it, &sup->daemons, entry) {
		if (it->kind <= kind)
			after = it;
	}
	if (after != NULL)
		TAILQ_INSERT_AFTER(&sup->daemons, after, d, entry);
	else
		TAILQ_INSERT_HEAD(&sup->daemons, d, entry);
	return d;
}

void
sup_daemon_free(struct sup_daemon **dp)
{
	struct sup_daemon *d = *dp;

	if (d == NULL)
		return;
	timer_cancel(&d->timer);
	TAILQ_REMOVE(&d->sup->daemons, d, entry);
	free(d->name);
	free(d->pool);
	free(d->last_exit);
	free(d);
	*dp = NULL;
}

struct sup_daemon *
sup_daemon_find(struct supervisor *sup, pid_t pid)
{
	struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->pid == pid && pid > 0)
			return d;
	}
	return NULL;
}

/* spawn() with what every daemon gets: the notify socket, the pipe that ends with us as standard input, for smtpd the
 * listeners. */
static pid_t
sup_daemon_spawn(struct sup_daemon *d)
{
	struct supervisor *sup = d->sup;
	size_t n = d->kind == SUP_SMTPD ? sup->sockets.n : 0;
	char *exe = xasprintf("%s/%s", sup->params->daemon_directory, kinds[d->kind].name);
	char *notify = xasprintf("NOTIFY_SOCKET=%s", sup->notify_path), parent[] = PARENT_WATCH_ENV "=0";
	char *image = xasprintf(CONFIG_IMAGE_ENV "=%s", sup->image_path);
	char *envs[] = { notify, parent, image, NULL };
	char opt_c[] = "-c", opt_p[] = "-p", *dir = xstrdup(sup->config_dir);
	char *argv[] = { exe, opt_c, dir, d->pool != NULL ? opt_p : NULL, d->pool, NULL };
	const char **names = xcalloc(n + 1, sizeof(*names));
	int *fds = xcalloc(n + 1, sizeof(*fds));
	pid_t pid;

	for (size_t i = 0; i < n; i++) {
		fds[i] = sup->sockets.v[i].fd;
		names[i] = sup->sockets.v[i].name;
	}
	pid = spawn(argv, fds, n, n > 0 ? names : NULL, envs);
	free(names);
	free(fds);
	free(notify);
	free(image);
	free(dir);
	free(exe);
	return pid;
}

/* What a death leads to. */
static void
sup_daemon_retry(struct sup_daemon *d)
{
	d->state = SUP_WAITING;
	timer_set(&d->timer, d->backoff);
	log_warn("%s is started again in %lld ms", d->name, (long long)d->backoff);
	d->backoff = d->backoff * 2 < BACKOFF_MAX ? d->backoff * 2 : BACKOFF_MAX;
}

static void
sup_daemon_set_exit(struct sup_daemon *d, char *text)
{
	free(d->last_exit);
	d->last_exit = text;
	d->last_exit_wall = wall_ms();
}

void
sup_daemon_start(struct sup_daemon *d)
{
	d->is_wanted = true;
	d->is_hup_due = false;
	d->generation = 0;
	d->started = loop_now(d->sup->loop);
	if ((d->pid = sup_daemon_spawn(d)) == -1) {
		d->pid = 0;
		sup_daemon_set_exit(d, xasprintf("could not be started: %s", strerror(errno)));
		log_error("%s could not be started: %s", d->name, strerror(errno));
		d->failures++;
		sup_daemon_retry(d);
		return;
	}
	d->state = SUP_STARTING;
	timer_set(&d->timer, kinds[d->kind].start_limit);
	log_info("started %s pid=%d", d->name, (int)d->pid);
}

void
sup_daemon_stop(struct sup_daemon *d, bool start_again)
{
	d->is_wanted = start_again;
	switch (d->state) {
	case SUP_WAITING:
		timer_cancel(&d->timer);
		d->state = SUP_DOWN;
		if (start_again)
			sup_daemon_start(d);
		break;
	case SUP_DOWN:
		if (start_again)
			sup_daemon_start(d);
		break;
	case SUP_STARTING:
	case SUP_READY:
		d->state = SUP_STOPPING;
		timer_set(&d->timer, kinds[d->kind].stop_limit);
		kill(d->pid, SIGTERM);
		break;
	case SUP_STOPPING:
		break;
	}
}

void
sup_daemon_ready(struct sup_daemon *d)
{
	if (d->state != SUP_STARTING)
		return;
	d->state = SUP_READY;
	d->ready = loop_now(d->sup->loop);
	d->failures = 0;
	timer_cancel(&d->timer);
	log_info("%s is ready after %lld ms", d->name, (long long)(d->ready - d->started));
	if (d->is_hup_due)
		sup_daemon_reload(d);
}

/* A signal before the handlers are there would kill it; a configuration that was read before it changed must be read
 * again. */
void
sup_daemon_reload(struct sup_daemon *d)
{
	d->is_hup_due = d->state == SUP_STARTING;
	if (d->state == SUP_READY)
		kill(d->pid, SIGHUP);
}

void
sup_daemon_gone(struct sup_daemon *d, int status)
{
	enum sup_state was = d->state;

	timer_cancel(&d->timer);
	d->pid = 0;
	d->state = SUP_DOWN;
	if (was == SUP_STOPPING) {
		if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
			sup_daemon_set_exit(d, wait_text(status));
		log_info("%s has stopped", d->name);
		if (d->is_wanted)
			sup_daemon_start(d);
		return;
	}
	sup_daemon_set_exit(d, wait_text(status));
	log_error("%s %s", d->name, d->last_exit);
	if (!d->is_wanted)
		return;
	if (was == SUP_READY && loop_now(d->sup->loop) - d->ready >= CALM_AFTER)
		d->backoff = BACKOFF_MIN;
	if (was == SUP_STARTING)
		d->failures++;
	if (d->sup->phase == PHASE_START && d->failures >= START_TRIES) {
		log_error("%s does not start, giving up", d->name);
		d->sup->failed = d;
		sup_stop(d->sup, 1);
		return;
	}
	d->restarts++;
	sup_daemon_retry(d);
}
