/* Making, checking and opening the suppression list (suppress.h, suppress_store.h); with the privileges that a daemon
 * has before its jail. Its directory and files are bouncerd's alone (0700, 0600): readers get in before they drop
 * theirs.
 *
 * Hostile: bouncerd and queued, if they were taken over, in whose directories this is. What root does there it does to
 * descriptors of plain files and directories, or as bouncerd's user: a link of theirs leads it to nothing that is not
 * theirs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/suppress.h"
#include "mail/suppress_pages.h"
#include "mail/suppress_store_private.h"

#define QUEUE_USER "posthorn-queued"
#define READERS 8 /* slots of lock.mdb: bouncerd's own */

static const char *const files[] = { SUPPRESS_DATA, "lock.mdb" };

/* The user, nobody where the suite has no users of its own, or NULL: we are not root, and stay who we are. */
static const struct passwd *
owner(const char *user)
{
	const struct passwd *pw = geteuid() == 0 ? getpwnam(user) : NULL;

	return geteuid() != 0 || pw != NULL ? pw : getpwnam("nobody");
}

/* An assertion of LMDB means damage; it would abort. */
static void
on_assert(MDB_env *env, const char *msg)
{
	(void)env;
	log_error("the suppression list is damaged: %s: ending", msg);
	_exit(1);
}

static int
env_open(const char *dir, MDB_env **env_r, MDB_dbi *dbi_r)
{
	MDB_env *env;
	MDB_txn *txn;
	int rc, fd, dead;

	if ((rc = mdb_env_create(&env)) != 0)
		return rc;
	if ((rc = mdb_env_set_mapsize(env, SUPPRESS_MAP_SIZE)) != 0 ||
	    (rc = mdb_env_set_maxreaders(env, READERS)) != 0 ||
	    (rc = mdb_env_open(env, dir, MDB_NOTLS, 0600)) != 0) {
		mdb_env_close(env);
		return rc;
	}
	(void)mdb_env_set_assert(env, on_assert);
	(void)mdb_reader_check(env, &dead);
	if (mdb_env_get_fd(env, &fd) == 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if ((rc = mdb_txn_begin(env, NULL, 0, &txn)) == 0) {
		if ((rc = mdb_dbi_open(txn, NULL, 0, dbi_r)) != 0)
			mdb_txn_abort(txn);
		else
			rc = mdb_txn_commit(txn);
	}
	if (rc != 0) {
		mdb_env_close(env);
		return rc;
	}
	*env_r = env;
	return 0;
}

/* An environment with nothing but its schema. */
static int
fill_new(const char *dir)
{
	char name[] = SUPPRESS_SCHEMA_KEY;
	uint8_t schema = SUPPRESS_SCHEMA;
	MDB_val k = { SUPPRESS_SCHEMA_KEY_LEN, name }, v = { 1, &schema };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int rc;

	if ((rc = env_open(dir, &env, &dbi)) != 0)
		return rc;
	if ((rc = mdb_txn_begin(env, NULL, 0, &txn)) == 0) {
		if ((rc = mdb_put(txn, dbi, &k, &v, 0)) != 0)
			mdb_txn_abort(txn);
		else
			rc = mdb_txn_commit(txn);
	}
	mdb_env_close(env);
	return rc;
}

static int
open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
give_one(int fd, const struct passwd *pw, const struct stat *sb, mode_t mode)
{
	if (pw == NULL)
		return 0;
	if ((sb->st_uid != pw->pw_uid || sb->st_gid != pw->pw_gid) && fchown(fd, pw->pw_uid, pw->pw_gid) == -1)
		return -1;
	return (sb->st_mode & 07777) == mode ? 0 : fchmod(fd, mode);
}

/* To bouncerd, also what an operator put there. 0; -1 and errno, or errno 0: one is no plain file. */
static int
give_away(int dir)
{
	const struct passwd *pw = owner(SUPPRESS_USER);
	struct stat sb;
	size_t i;
	int fd, r;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		fd = openat(dir, files[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd == -1 && errno == ENOENT)
			continue;
		if (fd == -1 && errno == ELOOP)
			errno = 0;
		if (fd == -1)
			return -1;
		r = fstat(fd, &sb);
		if (r == 0 && (!S_ISREG(sb.st_mode) || sb.st_nlink != 1)) {
			errno = 0;
			r = -1;
		} else if (r == 0) {
			r = give_one(fd, pw, &sb, 0600);
		}
		close(fd);
		if (r == -1)
			return -1;
	}
	return fstat(dir, &sb) == -1 ? -1 : give_one(dir, pw, &sb, 0700);
}

/* In the directory, as its user; until leave(). */
struct inside {
	int before;
	uid_t uid;
	gid_t gid;
};

static void
leave(struct inside *in)
{
	if (seteuid(in->uid) == -1 || setegid(in->gid) == -1 || fchdir(in->before) == -1)
		fatal("leaving the directory of the suppression list: %s", strerror(errno));
	close(in->before);
}

static int
enter(struct inside *in, int dir)
{
	const struct passwd *pw = owner(SUPPRESS_USER);
	int error;

	in->uid = geteuid();
	in->gid = getegid();
	if ((in->before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) == -1)
		return -1;
	if (fchdir(dir) == 0 && (pw == NULL || (setegid(pw->pw_gid) == 0 && seteuid(pw->pw_uid) == 0)))
		return 0;
	error = errno;
	leave(in);
	errno = error;
	return -1;
}

static void
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return;
	(void)fsync(fd);
	close(fd);
}

/* queued's, as it makes it: whoever comes first. */
static int
make_queue_directory(const char *dir)
{
	const struct passwd *pw = owner(QUEUE_USER);

	if (mkdir(dir, 0700) == -1)
		return errno == EEXIST ? 0 : -1;
	return pw == NULL ? 0 : chown(dir, pw->pw_uid, pw->pw_gid);
}

/* A list in the new directory, which then gets its name. 0, errno, or an error of LMDB. */
static int
make_in(int fd, const char *new, const char *dir)
{
	struct inside in;
	size_t i;
	int rc;

	if (give_away(fd) == -1 || enter(&in, fd) == -1)
		return errno;
	rc = fill_new(".");
	leave(&in);
	if (rc == 0 && rename(new, dir) == 0)
		return 0;
	/* Another daemon may have been faster. */
	if (rc == 0 && errno != EEXIST && errno != ENOTEMPTY)
		rc = errno;
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)unlinkat(fd, files[i], 0);
	return rc;
}

int
suppress_make(const char *queue_directory, char **err_r)
{
	char *dir = xasprintf("%s/" SUPPRESS_DIR, queue_directory), *new = xasprintf("%s.new-XXXXXX", dir);
	struct stat sb;
	int rc = 0, fd = -1;

	if (lstat(dir, &sb) == 0) {
		free(dir);
		free(new);
		return 0;
	}
	if (make_queue_directory(queue_directory) == -1 || mkdtemp(new) == NULL || (fd = open_dir(new)) == -1) {
		rc = errno;
	} else {
		if ((rc = make_in(fd, new, dir)) == 0)
			sync_dir(queue_directory);
		(void)rmdir(new); /* if it still has that name */
		close(fd);
	}
	if (rc != 0)
		*err_r = xasprintf("the suppression list %s cannot be made: %s", dir, mdb_strerror(rc));
	free(dir);
	free(new);
	return rc == 0 ? 0 : -1;
}

static const char *
check_row(const struct pages_cursor *c)
{
	struct suppress_row row;

	if (c->key[0] == '\0')
		return NULL;
	if (suppress_row_decode(c->key, c->keylen, c->value, c->len, &row) == -1)
		return "a row is malformed";
	suppress_row_clear(&row);
	return NULL;
}

static bool
is_less(const struct suppress_key *a, const uint8_t *b, size_t len)
{
	int r = memcmp(a->b, b, a->len < len ? a->len : len);

	return r < 0 || (r == 0 && a->len < len);
}

static const char *
check_rows(struct pages_file *f)
{
	struct suppress_key last = { .len = 0 };
	struct pages_cursor c;
	const char *why = NULL;
	bool is_there;

	if (!pages_begin(f, &c))
		return c.why;
	is_there = pages_seek(&c, "", 0);
	if (is_there && (c.keylen != SUPPRESS_SCHEMA_KEY_LEN || memcmp(c.key, SUPPRESS_SCHEMA_KEY, c.keylen) != 0))
		return "its first row is missing";
	if (is_there && (c.len != 1 || c.value[0] != SUPPRESS_SCHEMA))
		return "it was written by another release";
	if (!is_there && c.why == NULL)
		return "its first row is missing";
	for (; is_there && why == NULL; is_there = pages_next(&c)) {
		/* Strictly: pages that are in the tree twice would be gone through for ever. */
		if (c.keylen > SUPPRESS_KEY_MAX || (last.len > 0 && !is_less(&last, c.key, c.keylen)))
			return "rows are out of order";
		memcpy(last.b, c.key, c.keylen);
		last.len = c.keylen;
		why = check_row(&c);
	}
	return why != NULL ? why : c.why;
}

/* The whole file of the directory that we are in, before LMDB is given it. NULL, or what is wrong: static, or
 * strerror's. */
static const char *
check_file(void)
{
	struct pages_file f;
	const char *why = NULL;
	int fd = open(SUPPRESS_DATA, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return strerror(errno);
	if (pages_map(&f, fd, SUPPRESS_MAP_SIZE, &why) == 0) {
		why = check_rows(&f);
		pages_unmap(&f);
	}
	close(fd);
	return why;
}

/* NULL, or what is wrong: static, or strerror's. */
static const char *
open_in(struct suppress_store *st, int fd)
{
	struct inside in;
	const char *why;
	int rc;

	if (fd == -1)
		return strerror(errno);
	if (give_away(fd) == -1)
		return errno == 0 ? "one of its files is a link, or no file" : strerror(errno);
	if (enter(&in, fd) == -1)
		return strerror(errno);
	if ((why = check_file()) == NULL && (rc = env_open(".", &st->env, &st->dbi)) != 0)
		why = mdb_strerror(rc);
	leave(&in);
	return why;
}

static void
read_stats(struct suppress_store *st)
{
	char name[] = STATS_KEY;
	MDB_val k = { STATS_KEY_LEN, name }, v;
	struct rbuf r;
	MDB_txn *txn;
	unsigned i, j;

	if (mdb_txn_begin(st->env, NULL, MDB_RDONLY, &txn) != 0)
		return;
	if (mdb_get(txn, st->dbi, &k, &v) == 0) {
		rbuf_init(&r, v.mv_data, v.mv_size);
		for (i = 1; i < SUPPRESS_SCOPES; i++)
			for (j = 1; j < SUPPRESS_REASONS; j++)
				st->stats.total += st->stats.rows[i][j] = rbuf_u64(&r);
	}
	mdb_txn_abort(txn);
}

struct suppress_store *
suppress_store_open(const char *queue_directory, char **err_r)
{
	struct suppress_store *st;
	const char *why;
	char *dir;
	int fd;

	if (suppress_make(queue_directory, err_r) == -1)
		return NULL;
	dir = xasprintf("%s/" SUPPRESS_DIR, queue_directory);
	st = xcalloc(1, sizeof(*st));
	wbuf_init(&st->value);
	fd = open_dir(dir);
	if ((why = open_in(st, fd)) != NULL) {
		*err_r = xasprintf("the suppression list %s cannot be used: %s; stop the suite, put a copy of it back, "
		    "or move the directory away and import the last export", dir, why);
		suppress_store_close(&st);
	} else {
		read_stats(st);
	}
	if (fd != -1)
		close(fd);
	free(dir);
	return st;
}

void
suppress_store_close(struct suppress_store **stp)
{
	struct suppress_store *st = *stp;

	if (st == NULL)
		return;
	*stp = NULL;
	suppress_store_abort(st);
	if (st->reader != NULL)
		mdb_txn_abort(st->reader);
	if (st->env != NULL)
		mdb_env_close(st->env);
	wbuf_clear(&st->value);
	free(st->error);
	free(st);
}
