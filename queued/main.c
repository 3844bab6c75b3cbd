/* queued(8): one process that owns spool and index. This file is the process: arguments, configuration, directories
 * and socket while privileged, the jail, then the loop. It reads no network byte; its peers are our own daemons and
 * operators, by UNIX socket. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"
#include "base/parent_watch.h"
#include "base/sandbox.h"
#include "base/xalloc.h"
#include "mail/config.h"
#include "mail/suppress.h"

#include "queued/queued.h"

#define USER "posthorn-queued"
#define USER_PRODUCER "posthorn-smtpd"
#define USER_CONSUMER "posthorn-deliverd"
#define LOCK_TRIES 100 /* of 100 ms */
#define WATCHDOG_SECONDS 60 /* a commit or a reload on a slow disk takes its time */
#define WATCHDOG_CPU_SECONDS 5 /* no turn takes that much, but for a policy event that no instruction hook stops */
#define MAX_FDS 8192

struct daemon {
	struct loop *loop;
	struct queued *q;
	struct parent_watch *watch;
	int lock; /* held for life: the spool has one owner */
};

static void
on_hup(void *arg)
{
	struct daemon *d = arg;

	notify_reloading();
	(void)queued_reload(d->q);
	notify_generation(d->q->config_number);
	notify_ready();
}

/* Consumers keep their jobs and name them to our successor, so there is nothing to wait for. */
static void
on_term(void *arg)
{
	struct daemon *d = arg;

	log_info("stopping");
	notify_stopping();
	d->q->is_stopping = true;
	loop_stop(d->loop);
}

static void
on_orphaned(void *arg)
{
	log_warn("the supervisor is gone");
	on_term(arg);
}

/* A directory that is not there is made, for our user; one that is, is left as it is. */
static void
make_dir(const char *path, mode_t mode, const struct passwd *owner, gid_t group)
{
	if (mkdir(path, mode) == -1) {
		if (errno != EEXIST)
			fatal("%s: %s", path, strerror(errno));
		return;
	}
	if (owner != NULL && chown(path, owner->pw_uid, group) == -1)
		fatal("%s: %s", path, strerror(errno));
	if (chmod(path, mode) == -1) /* setgid is lost by mkdir and chown */
		fatal("%s: %s", path, strerror(errno));
}

static void
make_dirs(const struct params *p, const struct passwd *owner, gid_t log_group)
{
	gid_t group = owner == NULL ? 0 : owner->pw_gid;
	char *segments = xasprintf("%s/segments", p->queue_directory);
	char *damaged = xasprintf("%s/damaged", p->queue_directory);
	char *events = xasprintf("%s/events", p->log_directory);

	make_dir(p->queue_directory, 0700, owner, group);
	make_dir(segments, 0700, owner, group);
	make_dir(damaged, 0700, owner, group);
	make_dir(p->log_directory, 02750, owner, log_group);
	make_dir(events, 02750, owner, log_group);
	free(segments);
	free(damaged);
	free(events);
}

/* Who may take which role: looked up while name services can still be asked. */
static struct roles_allowed
lookup_roles(const struct params *p)
{
	struct roles_allowed r;
	const struct passwd *pw;
	const struct group *gr;

	memset(&r, 0, sizeof(r));
	if (sandbox_separate_users(USER) && (pw = getpwnam(USER_PRODUCER)) != NULL) {
		r.producer = pw->pw_uid;
		if ((pw = getpwnam(USER_CONSUMER)) != NULL) {
			r.consumer = r.bouncerd = r.fblproc = pw->pw_uid;
			r.has_separate = true;
		}
		if ((pw = getpwnam("posthorn-bouncerd")) != NULL)
			r.bouncerd = pw->pw_uid;
		if ((pw = getpwnam("posthorn-fblproc")) != NULL)
			r.fblproc = pw->pw_uid;
	}
	if (p->admin_group != NULL && *p->admin_group != '\0' && (gr = getgrnam(p->admin_group)) != NULL) {
		r.admin_gid = gr->gr_gid;
		r.has_admin_gid = true;
	}
	return r;
}

/* Our user when we start as root: the suite's, or nobody. NULL: we stay who we are. */
static const struct passwd *
lookup_user(void)
{
	const struct passwd *pw = NULL;

	if (geteuid() != 0)
		return NULL;
	if ((pw = getpwnam(USER)) == NULL)
		pw = getpwnam("nobody");
	return pw;
}

static char *
dir_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash == NULL ? xstrdup(".") : slash == file ? xstrdup("/") : xmemdup0(file, (size_t)(slash - file));
}

static void
enter_sandbox(const struct params *p, const char *config_dir)
{
	char *policy_dir = dir_of(p->policy_file), *events = xasprintf("%s/events", p->log_directory), image[PATH_MAX];
	struct sandbox_path paths[] = { { p->queue_directory, true }, { events, true }, { config_dir, false },
	    { policy_dir, false }, { config_image_directory(config_dir, image, sizeof(image)), false },
	    { "/proc/sys/kernel/random/boot_id", false } };
	struct sandbox box = { .role = "queued", .user = USER, .mode = (enum sandbox_mode)p->sandbox,
		.allow = SB_ACCEPT | SB_FD_PASS | SB_FILES_RO | SB_FILES_RW | SB_FSYNC | SB_FLOCK, .paths = paths,
		    .n_paths = 6,
		.max_fds = MAX_FDS };

	sandbox_enter(&box);
	free(policy_dir);
	free(events);
}

/* Two owners would ruin spool and index. One that is on its way out (its supervisor was killed) gets the time to go. */
static int
lock_spool(const char *queue_directory)
{
	char *path = xasprintf("%s/queued.lock", queue_directory);
	int fd, tries = LOCK_TRIES;

	if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) == -1)
		fatal("%s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			fatal("%s: %s", path, strerror(errno));
		if (tries-- == 0)
			fatal("another queued is running on %s", queue_directory);
		(void)usleep(100000);
	}
	free(path);
	return fd;
}

static void
run(struct daemon *d, const char *config_dir)
{
	struct roles_allowed allowed;
	const struct passwd *user;
	struct config *config = config_load_logged(config_dir);
	uint64_t digest;
	uint32_t number;
	struct policy *policy;
	struct shaping *shaping;
	struct bounce_rules *rules;
	struct suppress *suppress;
	struct params *p;
	char *path, *err = NULL;
	int fd;

	if (config == NULL)
		fatal("the configuration in %s has errors", config_dir);
	number = config->number;
	digest = config->digest;
	rules = config_take_bounce_rules(config);
	config_take(&config, &p, &policy, &shaping);
	path = xasprintf("%s/%s", p->run_directory, QL_SOCKET);

	allowed = lookup_roles(p);
	user = lookup_user();
	make_dirs(p, user, allowed.has_admin_gid ? allowed.admin_gid : user == NULL ? 0 : user->pw_gid);
	d->lock = lock_spool(p->queue_directory);
	d->loop = loop_new();
	d->watch = parent_watch_new(d->loop, on_orphaned, d);
	notify_open();
	if ((fd = ipc_listen(path, 0666)) == -1)
		fatal("%s: %s", path, strerror(errno));
	free(path);
	suppress = suppress_open(p->queue_directory);
	enter_sandbox(p, config_dir);
	if ((d->q = queued_new(d->loop, p, policy, shaping, config_dir, &err)) == NULL)
		fatal("%s", err);
	d->q->bounce_rules = rules;
	d->q->suppress = suppress;
	d->q->config_number = number;
	d->q->config_digest = digest;
	notify_generation(number);
	allowed.self = getuid();
	d->q->allowed = allowed;
	loop_signal(d->loop, SIGHUP, on_hup, d);
	loop_signal(d->loop, SIGTERM, on_term, d);
	loop_signal(d->loop, SIGINT, on_term, d);
	loop_watchdog(d->loop, WATCHDOG_SECONDS);
	loop_watchdog_cpu(d->loop, WATCHDOG_CPU_SECONDS);
	queued_serve(d->q, fd);
	notify_ready();
	if (loop_run(d->loop) == -1)
		fatal("the event loop failed");
}

int
main(int argc, char **argv)
{
	struct daemon d = { .lock = -1 };
	const char *config_dir = params_default_dir;
	char *resolved;
	int c;

	log_init("queued", LOG_LVL_INFO);
	while ((c = getopt(argc, argv, "c:")) != -1) {
		if (c != 'c') {
			(void)fprintf(stderr, "usage: queued [-c config_dir]\n");
			return 2;
		}
		config_dir = optarg;
	}
	umask(0027);
	(void)signal(SIGPIPE, SIG_IGN);
	if ((resolved = realpath(config_dir, NULL)) == NULL)
		fatal("%s: %s", config_dir, strerror(errno));
	run(&d, resolved);
	parent_watch_free(&d.watch);
	queued_free(&d.q);
	loop_free(&d.loop);
	free(resolved);
	return 0;
}
