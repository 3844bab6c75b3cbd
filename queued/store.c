/* The LMDB environment of queued: opening, transactions, generic access. Runs in queued only, which is its one
 * writer and, beside nobody, its reader. What LMDB 0.9.24 asks of its user is settled here: no DUPSORT, no
 * WRITEMAP, default sync, close-on-exec on the data file, read transactions that are reset before the loop sleeps,
 * and an end of the process (never an abort inside the library) when a page turns out to be damaged: the mark left
 * behind makes the next start rebuild. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/store.h"
#include "queued/store_private.h"

#define RESERVE_BYTES (4u << 20)

static const char *const db_names[DB_COUNT] = { "meta", "seg", "queue", "qname", "env", "due", "exp", "override",
	"outbox" };

int
store_db_of_name(const char *name)
{
	int i;

	for (i = 0; i < DB_COUNT; i++)
		if (strcmp(db_names[i], name) == 0)
			return i;
	return -1;
}

/* LMDB's assertions would abort(); they mean damage. */
static void
store_assert(MDB_env *env, const char *msg)
{
	struct store *st = mdb_env_get_userctx(env);

	store_broken(st, msg, MDB_CORRUPTED);
}

bool
store_marked_bad(const char *dir, bool clear)
{
	char *path = xasprintf("%s.broken", dir);
	bool is_marked = access(path, F_OK) == 0;

	if (is_marked && clear)
		(void)unlink(path);
	free(path);
	return is_marked;
}

void
store_broken(struct store *st, const char *what, int rc)
{
	int fd;

	log_error("index: %s: %s: ending; the next start recovers", what, mdb_strerror(rc));
	if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_CURSOR_FULL) {
		fd = open(st->mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd != -1)
			close(fd);
	}
	_exit(1);
}

bool
store_is_full(int rc)
{
	return rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL || rc == MDB_TXN_FULL;
}

bool
store_schema_known(const void *p, size_t len)
{
	const uint8_t *v = p;

	return len == 4 && v[0] == 0 && v[1] == 0 && v[2] == 0 && v[3] >= STORE_SCHEMA_OLDEST && v[3] <= STORE_SCHEMA;
}

/* An index of a release that we do not know is not changed by a byte: databases that it lacks are not made either. */
static int
store_open_dbs(struct store *st, bool *is_unknown_r)
{
	char name[] = "schema";
	MDB_val k = { 6, name }, v;
	MDB_txn *txn;
	int i, rc;

	if ((rc = mdb_txn_begin(st->env, NULL, 0, &txn)) != 0)
		return rc;
	if (mdb_dbi_open(txn, db_names[DB_META], 0, &st->dbi[DB_META]) == 0 &&
	    mdb_get(txn, st->dbi[DB_META], &k, &v) == 0 && !store_schema_known(v.mv_data, v.mv_size)) {
		*is_unknown_r = true;
		mdb_txn_abort(txn);
		return 0;
	}
	for (i = 0; i < DB_COUNT; i++) {
		if ((rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &st->dbi[i])) != 0) {
			mdb_txn_abort(txn);
			return rc;
		}
	}
	return mdb_txn_commit(txn);
}

static int
store_put_schema(struct store *st, MDB_txn *txn)
{
	uint8_t version[4] = { 0, 0, 0, STORE_SCHEMA };
	MDB_val k = { 6, NULL }, v = { sizeof(version), version };
	char name[] = "schema";
	int rc;

	k.mv_data = name;
	if ((rc = mdb_put(txn, st->dbi[DB_META], &k, &v, 0)) != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* Writes the schema version to a new index, or to one of an older release, in which nothing is missing but
 * an empty database: an older queued would take the one with it for damaged. */
static int
store_check_schema(struct store *st)
{
	static const uint8_t version[4] = { 0, 0, 0, STORE_SCHEMA };
	char name[] = "schema";
	MDB_val k = { 6, name }, v;
	MDB_txn *txn;
	int rc;

	if ((rc = mdb_txn_begin(st->env, NULL, 0, &txn)) != 0)
		return rc;
	rc = mdb_get(txn, st->dbi[DB_META], &k, &v);
	if (rc == MDB_NOTFOUND || (rc == 0 && memcmp(v.mv_data, version, sizeof(version)) != 0))
		return store_put_schema(st, txn);
	mdb_txn_abort(txn);
	return rc;
}

static int
store_open_env(struct store *st, const char *dir, int64_t map_size, bool *is_unknown_r)
{
	long page = sysconf(_SC_PAGESIZE);
	size_t size = (size_t)map_size / (size_t)page * (size_t)page;
	int dead, fd, rc;

	if ((rc = mdb_env_create(&st->env)) != 0)
		return rc;
	if ((rc = mdb_env_set_mapsize(st->env, size)) != 0 || (rc = mdb_env_set_maxdbs(st->env, DB_COUNT)) != 0 ||
	    (rc = mdb_env_set_maxreaders(st->env, 16)) != 0)
		return rc;
	if ((rc = mdb_env_open(st->env, dir, MDB_NOTLS, 0600)) != 0)
		return rc;
	(void)mdb_env_set_userctx(st->env, st);
	(void)mdb_env_set_assert(st->env, store_assert);
	(void)mdb_reader_check(st->env, &dead);
	if (mdb_env_get_fd(st->env, &fd) == 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return store_open_dbs(st, is_unknown_r);
}

static enum store_opened
store_classify(int rc)
{
	switch (rc) {
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return STORE_CORRUPT;
	case MDB_VERSION_MISMATCH:
		return STORE_UNKNOWN_VERSION;
	default:
		return STORE_FAILED;
	}
}

struct store *
store_open(const char *dir, int64_t map_size, enum store_opened *what_r, char **err_r)
{
	struct store *st = xcalloc(1, sizeof(*st));
	bool is_unknown = false;
	int rc;

	st->mark = xasprintf("%s.broken", dir);
	if (mkdir(dir, 0700) == -1 && errno != EEXIST) {
		rc = errno;
	} else {
		rc = store_open_env(st, dir, map_size, &is_unknown);
		if (rc == 0 && !is_unknown)
			rc = store_check_schema(st);
	}
	if (rc == 0 && !is_unknown) {
		*what_r = STORE_OK;
		return st;
	}
	if (is_unknown) {
		*what_r = STORE_UNKNOWN_VERSION;
		*err_r = xasprintf("index %s has a schema version that this queued does not know (it knows %d): "
		    "it was written by another release; install that one, or drain the queue with it first",
		    dir, STORE_SCHEMA);
	} else {
		*what_r = store_classify(rc);
		*err_r = xasprintf("index %s: %s", dir, mdb_strerror(rc));
	}
	store_close(&st);
	return NULL;
}

void
store_close(struct store **stp)
{
	struct store *st = *stp;
	int i;

	if (st == NULL)
		return;
	*stp = NULL;
	for (i = 0; i < DB_COUNT; i++)
		if (st->cursors[i] != NULL)
			mdb_cursor_close(st->cursors[i]);
	if (st->reader != NULL)
		mdb_txn_abort(st->reader);
	if (st->writer != NULL)
		mdb_txn_abort(st->writer);
	if (st->env != NULL)
		mdb_env_close(st->env);
	free(st->mark);
	free(st);
}

int
store_begin(struct store *st)
{
	return mdb_txn_begin(st->env, NULL, 0, &st->writer);
}

/* Blocks behind the last page: on a disk that others have filled, deleting (which LMDB does in fresh pages) must
 * go on, or mail that was delivered would stay in the index. Without room, or on a file system that cannot, this
 * is left out. */
static void
store_reserve(struct store *st)
{
	uint64_t used = store_bytes(st);
	int fd;

	if (used + RESERVE_BYTES / 2 <= st->reserved || mdb_env_get_fd(st->env, &fd) != 0)
		return;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)used, RESERVE_BYTES) == 0 || errno == EOPNOTSUPP ||
	    errno == ENOSYS)
		st->reserved = used + RESERVE_BYTES;
}

int
store_commit(struct store *st)
{
	MDB_txn *txn = st->writer;
	int rc;

	st->writer = NULL;
	if ((rc = mdb_txn_commit(txn)) == 0)
		store_reserve(st);
	return rc;
}

void
store_abort(struct store *st)
{
	if (st->writer != NULL)
		mdb_txn_abort(st->writer);
	st->writer = NULL;
}

/* MDB_val is not const-correct; LMDB does not write to keys or values that it is given. */
static MDB_val
val(const void *p, size_t len)
{
	MDB_val v;

	v.mv_size = len;
	memcpy(&v.mv_data, &p, sizeof(p));
	return v;
}

int
store_put(struct store *st, enum store_db db, const void *key, size_t keylen, const void *value, size_t len)
{
	MDB_val k = val(key, keylen), v = val(value, len);

	return mdb_put(st->writer, st->dbi[db], &k, &v, 0);
}

int
store_del(struct store *st, enum store_db db, const void *key, size_t keylen)
{
	MDB_val k = val(key, keylen);
	int rc = mdb_del(st->writer, st->dbi[db], &k, NULL);

	return rc == MDB_NOTFOUND ? 0 : rc;
}

void
store_read_begin(struct store *st)
{
	int rc;

	if (st->read_depth++ > 0)
		return;
	rc = st->reader == NULL ? mdb_txn_begin(st->env, NULL, MDB_RDONLY, &st->reader) : mdb_txn_renew(st->reader);
	if (rc != 0)
		store_broken(st, "starting to read", rc);
	memset(st->cursor_ready, 0, sizeof(st->cursor_ready));
}

void
store_read_end(struct store *st)
{
	if (--st->read_depth == 0)
		mdb_txn_reset(st->reader);
}

static MDB_cursor *
store_cursor(struct store *st, enum store_db db)
{
	int rc = 0;

	if (st->cursors[db] == NULL)
		rc = mdb_cursor_open(st->reader, st->dbi[db], &st->cursors[db]);
	else if (!st->cursor_ready[db])
		rc = mdb_cursor_renew(st->reader, st->cursors[db]);
	if (rc != 0)
		store_broken(st, "opening a cursor", rc);
	st->cursor_ready[db] = true;
	return st->cursors[db];
}

bool
store_get(struct store *st, enum store_db db, const void *key, size_t keylen, MDB_val *value_r)
{
	MDB_val k = val(key, keylen);
	int rc = mdb_get(st->reader, st->dbi[db], &k, value_r);

	if (rc != 0 && rc != MDB_NOTFOUND)
		store_broken(st, db_names[db], rc);
	return rc == 0;
}

bool
store_seek(struct store *st, enum store_db db, const void *key, size_t keylen, bool after, MDB_val *key_r,
    MDB_val *value_r)
{
	MDB_cursor *c = store_cursor(st, db);
	int rc;

	*key_r = val(key, keylen);
	rc = mdb_cursor_get(c, key_r, value_r, MDB_SET_RANGE);
	if (rc == 0 && after && key_r->mv_size == keylen && memcmp(key_r->mv_data, key, keylen) == 0)
		rc = mdb_cursor_get(c, key_r, value_r, MDB_NEXT);
	if (rc != 0 && rc != MDB_NOTFOUND)
		store_broken(st, db_names[db], rc);
	return rc == 0;
}

uint64_t
store_bytes(struct store *st)
{
	MDB_envinfo info;
	MDB_stat stat;

	if (mdb_env_info(st->env, &info) != 0 || mdb_env_stat(st->env, &stat) != 0)
		return 0;
	return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

double
store_used(struct store *st)
{
	MDB_envinfo info;

	if (mdb_env_info(st->env, &info) != 0 || info.me_mapsize == 0)
		return 0;
	return (double)store_bytes(st) / (double)info.me_mapsize;
}

uint64_t
store_bytes_of(struct store *st, enum store_db db)
{
	MDB_stat stat;

	if (mdb_stat(st->reader, st->dbi[db], &stat) != 0)
		return 0;
	return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * (uint64_t)stat.ms_psize;
}

uint64_t
store_count(struct store *st, enum store_db db)
{
	MDB_stat stat;

	if (mdb_stat(st->reader, st->dbi[db], &stat) != 0)
		return 0;
	return stat.ms_entries;
}
