/* Directories with the right owners and modes, and the lock that keeps a second supervisor away. An existing
 * directory that somebody else owns is never taken over: `queue_directory = /var` must cost an error message, not the
 * system. */
#include <sys/file.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/sts_link.h"

#include "admin.h"
#include "supervise.h"

struct dir_owner {
	bool is_set;  /* we are root */
	uid_t uid;
	gid_t gid;
	const char *name;
};

static bool
dir_is_empty(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	bool is_empty = true;

	if (dir == NULL)
		return false;
	while (is_empty && (e = readdir(dir)) != NULL)
		is_empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(dir);
	return is_empty;
}

static int
dir_fail(const char *path)
{
	adm_fail("%s: %s", path, strerror(errno));
	return -1;
}

/* Parents that are missing are made with 0755, as mkdir -p does. */
static int
dir_make_parents(const char *path)
{
	char *copy = xstrdup(path);
	int rv = 0;

	for (char *p = strchr(copy + 1, '/'); p != NULL && rv == 0; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0755) == -1 && errno != EEXIST)
			rv = dir_fail(copy);
		*p = '/';
	}
	free(copy);
	return rv;
}

/* Why a directory that exists cannot be used, malloced, or NULL. */
static char *
dir_refusal(const char *path, const struct stat *st, const struct dir_owner *owner)
{
	if (!S_ISDIR(st->st_mode))
		return xasprintf("%s is not a directory", path);
	if (owner->is_set && st->st_uid != owner->uid && !dir_is_empty(path))
		return xasprintf("%s is not owned by %s and not empty; if it is Posthorn's: chown -R %s %s", path,
		    owner->name, owner->name, path);
	return NULL;
}

static int
dir_make(const char *path, mode_t mode, const struct dir_owner *owner)
{
	bool is_ours = false;
	char *refusal;
	struct stat st;

	if (dir_make_parents(path) == -1)
		return -1;
	if (mkdir(path, 0700) == 0)
		is_ours = true;
	else if (errno != EEXIST)
		return dir_fail(path);
	if (stat(path, &st) == -1)
		return dir_fail(path);
	if (!is_ours && (refusal = dir_refusal(path, &st, owner)) != NULL) {
		adm_fail("%s", refusal);
		free(refusal);
		return -1;
	}
	if (!owner->is_set) {
		if (is_ours && chmod(path, 0700) == -1)
			return dir_fail(path);
		return 0;
	}
	if ((st.st_uid != owner->uid || st.st_gid != owner->gid) && chown(path, owner->uid, owner->gid) == -1)
		return dir_fail(path);
	if ((st.st_mode & 07777) != mode && chmod(path, mode) == -1)
		return dir_fail(path);
	return 0;
}

struct owners {
	struct dir_owner root;
	struct dir_owner queue; /* queued's user */
	struct dir_owner logs;  /* the same, and the group that may read them */
	struct dir_owner policies; /* deliverd's */
};

/* One of the suite's users; nobody where it has no users of its own. */
static int
owner_of(const char *user, struct dir_owner *owner)
{
	const char *name = suite_has_users() ? user : "nobody";
	const struct passwd *pw = getpwnam(name);

	if (pw == NULL) {
		adm_fail("there is no user %s", name);
		return -1;
	}
	*owner = (struct dir_owner){ true, pw->pw_uid, pw->pw_gid, name };
	return 0;
}

static int
dir_owners(struct owners *o)
{
	const struct group *gr;

	memset(o, 0, sizeof(*o));
	if (geteuid() != 0)
		return 0;
	if (owner_of(SUITE_QUEUE_USER, &o->queue) == -1 || owner_of(SUITE_DELIVER_USER, &o->policies) == -1)
		return -1;
	o->logs = o->queue;
	if (suite_has_users() && (gr = getgrnam(SUITE_GROUP)) != NULL)
		o->logs.gid = gr->gr_gid;
	o->root = (struct dir_owner){ true, 0, 0, "root" };
	return 0;
}

int
sup_dirs_make(const struct params *p)
{
	char *events = xasprintf("%s/events", p->log_directory);
	char *image = xasprintf("%s/" CONFIG_IMAGE_DIR, p->run_directory);
	char *policies = xasprintf("%s/" STS_CACHE_DIR, p->data_directory);
	char *reports = xasprintf("%s/tlsrpt", p->data_directory);
	struct owners o;
	int rv = -1;

	/* Daemons reach the sockets in run_directory by the modes of the sockets; queue and logs are queued's. */
	if (dir_owners(&o) == 0 && dir_make(p->run_directory, 0755, &o.root) == 0 &&
	    dir_make(p->queue_directory, 0700, &o.queue) == 0 && dir_make(p->log_directory, 02750, &o.logs) == 0 &&
	    dir_make(events, 02750, &o.logs) == 0 && dir_make(image, 0755, &o.root) == 0 &&
	    dir_make(p->data_directory, 0755, &o.root) == 0 && dir_make(policies, 0700, &o.policies) == 0 &&
	    dir_make(reports, 0700, &o.policies) == 0)
		rv = 0;
	free(reports);
	free(policies);
	free(events);
	free(image);
	return rv;
}

void
check_directories(const struct params *p, struct conf_errors *errors)
{
	struct owners o;
	const struct {
		const char *path;
		const struct dir_owner *owner;
	} dirs[] = { { p->run_directory, &o.root }, { p->queue_directory, &o.queue }, { p->log_directory, &o.logs },
		{ p->data_directory, &o.root } };

	if (dir_owners(&o) == -1)
		return;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		struct stat st;
		char *refusal = stat(dirs[i].path, &st) == 0 ? dir_refusal(dirs[i].path, &st, dirs[i].owner) : NULL;

		if (refusal != NULL)
			conf_error_add(errors, NULL, 0, "%s", refusal);
		free(refusal);
	}
}

/* The spool has one writer. Instances with a run_directory each but one queue_directory would deliver mail twice. */
static int
queue_lock(struct supervisor *sup)
{
	const char *dir = sup->params->queue_directory;

	if ((sup->queue_lock_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return dir_fail(dir);
	if (flock(sup->queue_lock_fd, LOCK_EX | LOCK_NB) == -1) {
		adm_fail("queue_directory %s is in use by another instance", dir);
		return -1;
	}
	return 0;
}

static void
lock_busy(int fd, const char *dir)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n > 0)
		text[strcspn(text, "\n")] = '\0';
	adm_fail("already running on %s%s%s", dir, *text != '\0' ? " with pid " : "", text);
}

int
sup_lock(struct supervisor *sup)
{
	const char *dir = sup->params->run_directory;
	char *path = xasprintf("%s/posthorn.lock", dir), pid[32];
	int rv = -1, n;

	sup->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (sup->lock_fd == -1) {
		dir_fail(path);
	} else if (flock(sup->lock_fd, LOCK_EX | LOCK_NB) == -1) {
		lock_busy(sup->lock_fd, dir);
	} else {
		n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
		if (ftruncate(sup->lock_fd, 0) == -1 || pwrite(sup->lock_fd, pid, (size_t)n, 0) != n)
			dir_fail(path);
		else
			rv = queue_lock(sup);
	}
	free(path);
	return rv;
}
