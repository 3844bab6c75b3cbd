/* posthorn start: the supervisor. Runs as root if it was started so, because it binds privileged ports and starts
 * daemons that give up root themselves; hence it reads no byte from the network, no mail and, as root, no policy
 * (check_config.c). It starts queued, bouncerd, fblproc, then a deliverd for each pool, then smtpd; restarts what
 * dies; stops in the reverse order. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"

#include "admin.h"
#include "supervise.h"

#define FILES_WANTED 262144
#define ONE_WISH 1000 /* ms */

/* All daemons of a kind in that state? */
static bool
sup_all(struct supervisor *sup, enum sup_kind kind, enum sup_state state)
{
	const struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->kind == kind && d->state != state)
			return false;
	}
	return true;
}

static void
sup_start_stage(struct supervisor *sup)
{
	struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->kind == sup->stage)
			sup_daemon_start(d);
	}
}

static void
sup_stop_stage(struct supervisor *sup)
{
	struct sup_daemon *d;

	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->kind == sup->stage)
			sup_daemon_stop(d, false);
	}
}

static void
sup_advance_start(struct supervisor *sup)
{
	while (sup->phase == PHASE_START && sup_all(sup, sup->stage, SUP_READY)) {
		if (sup->stage + 1 < SUP_KINDS) {
			sup->stage++;
			sup_start_stage(sup);
			continue;
		}
		sup->phase = PHASE_SERVE;
		log_info("all daemons are ready");
		puts("ready");
		fflush(stdout);
		notify_ready();
	}
}

static void
sup_advance_stop(struct supervisor *sup)
{
	while (sup->phase == PHASE_STOP && sup_all(sup, sup->stage, SUP_DOWN)) {
		if (sup->stage == 0) {
			loop_stop(sup->loop);
			return;
		}
		sup->stage--;
		sup_stop_stage(sup);
	}
}

void
sup_advance(struct supervisor *sup)
{
	struct sup_daemon *d, *next;

	TAILQ_FOREACH_SAFE(d, &sup->daemons, entry, next) {
		if (d->is_vanished && d->state == SUP_DOWN)
			sup_daemon_free(&d);
	}
	if (sup->phase == PHASE_START)
		sup_advance_start(sup);
	if (sup->phase == PHASE_STOP)
		sup_advance_stop(sup);
	sup_control_poll(sup);
}

void
sup_stop(struct supervisor *sup, int exit_status)
{
	if (sup->phase == PHASE_STOP)
		return;
	sup->phase = PHASE_STOP;
	sup->stopping_since = loop_now(sup->loop);
	sup->exit_status = exit_status;
	sup->stage = SUP_KINDS - 1;
	notify_stopping();
	sup_stop_stage(sup);
	sup_advance_stop(sup);
}

static void
sup_on_stop_signal(void *arg)
{
	struct supervisor *sup = arg;
	struct sup_daemon *d;

	if (sup->phase != PHASE_STOP) {
		log_info("stopping");
		sup_stop(sup, 0);
		return;
	}
	/* A second Ctrl-C: the queue is safe in any case, so do not argue. But one wish often comes as several signals:
	 * to us, and to our process group. */
	if (loop_now(sup->loop) - sup->stopping_since < ONE_WISH)
		return;
	log_warn("stopping at once");
	TAILQ_FOREACH(d, &sup->daemons, entry) {
		if (d->pid > 0)
			kill(d->pid, SIGKILL);
	}
}

static void
sup_on_hup(void *arg)
{
	struct supervisor *sup = arg;
	char *sentence = NULL;

	if (sup->phase != PHASE_SERVE)
		return;
	notify_reloading();
	(void)sup_reload(sup, "hand", &sentence); /* says in the log what it did */
	free(sentence);
	sup_advance(sup);
	notify_ready();
}

static void
sup_on_child(void *arg)
{
	struct supervisor *sup = arg;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct sup_daemon *d = sup_daemon_find(sup, pid);

		if (d != NULL)
			sup_daemon_gone(d, status);
		else
			(void)sup_report_gone(sup, pid, status);
	}
	sup_advance(sup);
}

/* The pipe that tells daemons of our death becomes standard input, which we and they have no other use for. */
static int
sup_open_alive(struct supervisor *sup)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) == -1 || dup2(fds[0], STDIN_FILENO) == -1) {
		log_error("pipe: %s", strerror(errno));
		return -1;
	}
	close(fds[0]);
	sup->alive_fd = fds[1];
	return 0;
}

/* Daemons size themselves by what they may have; only we can still raise the limit. */
static void
sup_raise_files(void)
{
	struct rlimit lim, more = { FILES_WANTED, FILES_WANTED };

	if (getrlimit(RLIMIT_NOFILE, &lim) == -1)
		return;
	if (lim.rlim_max != RLIM_INFINITY && lim.rlim_max < FILES_WANTED && setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	if (lim.rlim_max == RLIM_INFINITY || lim.rlim_max > FILES_WANTED)
		lim.rlim_cur = FILES_WANTED;
	else
		lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) == -1)
		log_debug("RLIMIT_NOFILE: %s", strerror(errno));
}

/* Relative to what, once a daemon has changed its directory? So: absolute. */
static const char *
sup_config_dir(const char *dir)
{
	char *path = realpath(dir, NULL);

	return path != NULL ? path : xstrdup(dir);
}

void
sup_log_warnings(const struct conf_errors *warnings)
{
	for (size_t i = 0; i < warnings->n; i++) {
		char *text = conf_error_text(&warnings->v[i]);

		log_warn("%s", text);
		free(text);
	}
}

/* Complaints of everything that would keep the suite from running; the pools if there are none. */
static int
sup_load(struct supervisor *sup, struct pool_list *pools)
{
	struct conf_errors errors = { NULL, 0 }, warnings = { NULL, 0 };
	int rv = -1;

	sup->image = config_image_read(sup->config_dir);
	config_image_enter(sup->image); /* also for the child that checks */
	if (check_config(sup->config_dir, pools, NULL, &errors, &warnings) == 0 &&
	    (sup->params = params_load(sup->config_dir, &sup->conf, &errors)) != NULL) {
		check_files(sup->params, sup->conf, &errors, &warnings);
		log_set_level((enum log_level)sup->params->log_level);
	}
	config_image_leave();
	if (errors.n == 0)
		rv = 0;
	adm_print_errors(&errors);
	if (rv == 0)
		sup_log_warnings(&warnings);
	if (rv == -1)
		adm_fail("not started: the configuration in %s has errors", sup->config_dir);
	conf_errors_clear(&errors);
	conf_errors_clear(&warnings);
	return rv;
}

static int
sup_open(struct supervisor *sup)
{
	char *err = NULL;

	if (sup_dirs_make(sup->params) == -1 || sup_lock(sup) == -1)
		return -1;
	sup->image_path = xasprintf("%s/" CONFIG_IMAGE_DIR "/" CONFIG_IMAGE_NAME, sup->params->run_directory);
	sup->image->number = sup_generation_first(sup);
	if (sup_generation_write(sup, sup->image) == -1 || sup_generation_begin(sup, "start") == -1)
		return -1;
	sup_sockets_inherit(&sup->sockets);
	sup->has_foreign_sockets = sup->sockets.n > 0;
	if (!sup->has_foreign_sockets && sup_sockets_open(sup->params, NULL, &sup->sockets, &err) == -1) {
		adm_fail("%s", err);
		free(err);
		return -1;
	}
	notify_open();
	if (geteuid() != 0)
		log_info("started as an ordinary user: all daemons run as uid %d, without separate users",
		    (int)geteuid());
	return sup_open_alive(sup) == -1 || sup_notify_open(sup) == -1 || sup_control_open(sup) == -1 ? -1 : 0;
}

static void
sup_run(struct supervisor *sup, const struct pool_list *pools)
{
	loop_signal(sup->loop, SIGTERM, sup_on_stop_signal, sup);
	loop_signal(sup->loop, SIGINT, sup_on_stop_signal, sup);
	loop_signal(sup->loop, SIGHUP, sup_on_hup, sup);
	loop_signal(sup->loop, SIGCHLD, sup_on_child, sup);
	(void)sup_daemon_new(sup, SUP_QUEUED, NULL);
	(void)sup_daemon_new(sup, SUP_BOUNCERD, NULL);
	(void)sup_daemon_new(sup, SUP_FBLPROC, NULL);
	for (size_t i = 0; i < pools->n; i++)
		(void)sup_daemon_new(sup, SUP_DELIVERD, pools->v[i]);
	(void)sup_daemon_new(sup, SUP_SMTPD, NULL);
	log_info("posthorn %s starting config=%s pid=%d", POSTHORN_VERSION, sup->config_dir, (int)getpid());
	sup_watch_open(sup);
	sup_report_open(sup);
	sup->stage = SUP_QUEUED;
	sup_start_stage(sup);
	sup_advance(sup);
	if (loop_run(sup->loop) == -1) {
		log_error("the event loop failed");
		sup->exit_status = 1;
	}
	log_info("stopped");
	if (sup->failed != NULL)
		adm_fail("not started: %s %s", sup->failed->name, sup->failed->last_exit);
}

/* queued's jail does not let it remove its own socket. Nobody else's: we hold the lock of this directory. */
static void
sup_remove_sockets(const struct supervisor *sup)
{
	char *path = xasprintf("%s/" QL_SOCKET, sup->params->run_directory);

	unlink(path);
	free(path);
}

static void
sup_close(struct supervisor *sup)
{
	struct sup_daemon *d;

	sup_control_close(sup);
	sup_notify_close(sup);
	if (sup->params != NULL && sup->lock_fd != -1 && sup->phase == PHASE_STOP)
		sup_remove_sockets(sup);
	while ((d = TAILQ_FIRST(&sup->daemons)) != NULL)
		sup_daemon_free(&d);
	sup_sockets_close(&sup->sockets);
	if (sup->alive_fd != -1)
		close(sup->alive_fd);
	if (sup->queue_lock_fd != -1)
		close(sup->queue_lock_fd);
	if (sup->lock_fd != -1)
		close(sup->lock_fd);
	timer_cancel(&sup->retry);
	timer_cancel(&sup->watch);
	timer_cancel(&sup->report);
	config_image_free(&sup->image);
	free(sup->image_path);
	loop_free(&sup->loop);
	params_free(&sup->params);
	conf_free(&sup->conf);
}

int
cmd_start(struct admin *adm, int argc, char **argv)
{
	struct supervisor sup = { .lock_fd = -1, .queue_lock_fd = -1, .alive_fd = -1, .notify_fd = -1,
		.exit_status = ADM_OK };
	struct pool_list pools = { NULL, 0, NULL, 0 };

	(void)argv;
	if (argc > 1)
		return adm_usage("start", "start takes no arguments");
	umask(077);
	sup_raise_files();
	sup.config_dir = sup_config_dir(adm->config_dir);
	TAILQ_INIT(&sup.daemons);
	TAILQ_INIT(&sup.clients);
	if (sup_load(&sup, &pools) == -1) {
		sup.exit_status = ADM_FAILED;
	} else {
		sup.loop = loop_new();
		sup.started_wall = wall_ms();
		if (sup_open(&sup) == -1)
			sup.exit_status = ADM_FAILED;
		else
			sup_run(&sup, &pools);
	}
	sup_close(&sup);
	pool_list_clear(&pools);
	free((void *)(uintptr_t)sup.config_dir);
	return sup.exit_status;
}
