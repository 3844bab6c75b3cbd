/* The writer's side of the suppression list: rows (suppress_store.h). Runs in bouncerd; its input is requests of our
 * own daemons and of operators, settled by suppress_row_settle(). What LMDB 0.9.24 asks of its user is settled in
 * suppress_open.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/suppress_store_private.h"

/* Which of two reasons says more, by reason. */
static const uint8_t rank[SUPPRESS_REASONS] = { [SUPPRESS_IMPORTED] = 1, [SUPPRESS_HARD_BOUNCE] = 2,
	[SUPPRESS_MANUAL] = 3, [SUPPRESS_UNSUBSCRIBE] = 4, [SUPPRESS_COMPLAINT] = 5 };

/* After a meta page that could not be written LMDB refuses everything until it is opened again, which only a successor
 * of this process can do. What was not committed is said again to it. */
int
suppress_store_fail(struct suppress_store *st, const char *what, int rc)
{
	if (rc == MDB_PANIC) {
		log_error("the suppression list: a write failed half way: ending, for a successor to open it anew");
		_exit(1);
	}
	free(st->error);
	st->error = xasprintf("the suppression list: %s: %s", what, mdb_strerror(rc));
	return -1;
}

const char *
suppress_store_error(const struct suppress_store *st)
{
	return st->error != NULL ? st->error : "";
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
suppress_store_begin(struct suppress_store *st)
{
	MDB_val k, v;
	int rc;

	if ((rc = mdb_txn_begin(st->env, NULL, 0, &st->txn)) != 0)
		return suppress_store_fail(st, "beginning to write", rc);
	if ((rc = mdb_cursor_open(st->txn, st->dbi, &st->cursor)) != 0) {
		mdb_txn_abort(st->txn);
		st->txn = NULL;
		return suppress_store_fail(st, "beginning to write", rc);
	}
	st->last.len = 0;
	if (mdb_cursor_get(st->cursor, &k, &v, MDB_LAST) == 0 && k.mv_size <= SUPPRESS_KEY_MAX) {
		memcpy(st->last.b, k.mv_data, k.mv_size);
		st->last.len = k.mv_size;
	}
	st->before = st->stats;
	return 0;
}

void
suppress_store_abort(struct suppress_store *st)
{
	if (st->txn == NULL)
		return;
	mdb_cursor_close(st->cursor);
	mdb_txn_abort(st->txn);
	st->txn = NULL;
	st->stats = st->before;
}

static void
put_stats(struct suppress_store *st)
{
	unsigned i, j;

	wbuf_reset(&st->value);
	for (i = 1; i < SUPPRESS_SCOPES; i++)
		for (j = 1; j < SUPPRESS_REASONS; j++)
			wbuf_u64(&st->value, st->stats.rows[i][j]);
}

int
suppress_store_commit(struct suppress_store *st)
{
	MDB_val k = val(STATS_KEY, STATS_KEY_LEN), v;
	int rc = 0;

	if (memcmp(&st->stats, &st->before, sizeof(st->stats)) != 0) {
		put_stats(st);
		v = val(st->value.p, st->value.len);
		rc = mdb_cursor_put(st->cursor, &k, &v, 0);
	}
	if (rc != 0) {
		suppress_store_abort(st);
		return suppress_store_fail(st, "writing", rc);
	}
	mdb_cursor_close(st->cursor);
	rc = mdb_txn_commit(st->txn);
	st->txn = NULL;
	if (rc != 0) {
		st->stats = st->before;
		return suppress_store_fail(st, "writing", rc);
	}
	return 0;
}

void
suppress_store_count(struct suppress_store *st, unsigned scope, unsigned reason, int by)
{
	st->stats.rows[scope][reason] += (uint64_t)by;
	st->stats.total += (uint64_t)by;
}

static int
key_cmp(const struct suppress_key *a, const struct suppress_key *b)
{
	int r = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return r != 0 ? r : a->len < b->len ? -1 : a->len > b->len;
}

/* Rows that come in order fill their pages: LMDB would leave them half empty. */
static int
put_new(struct suppress_store *st, const struct suppress_key *key, MDB_val *v)
{
	MDB_val k = val(key->b, key->len);
	bool is_last = key_cmp(key, &st->last) > 0;
	int rc = mdb_cursor_put(st->cursor, &k, v, is_last ? MDB_APPEND : MDB_NOOVERWRITE);

	if (rc == 0 && is_last)
		st->last = *key;
	return rc;
}

static bool
expires_later(int64_t a, int64_t b)
{
	return b != 0 && (a == 0 || a > b);
}

/* What is to be there where `old` is and `row` comes; false: as it is. */
static bool
merge(const struct suppress_row *old, const struct suppress_row *row, int64_t now, struct suppress_row *out)
{
	bool is_over = old->r.expires != 0 && old->r.expires <= now;
	bool is_later = expires_later(row->r.expires, old->r.expires);

	if (is_over && (row->r.expires == 0 || row->r.expires > now)) {
		*out = *row;
		return true;
	}
	if (rank[row->r.reason] > rank[old->r.reason] || (row->r.reason == old->r.reason && is_later)) {
		*out = *row;
		if (!is_later)
			out->r.expires = old->r.expires;
		return true;
	}
	if (!is_later)
		return false;
	*out = *old;
	out->r.expires = row->r.expires;
	return true;
}

static enum suppress_put
put_over(struct suppress_store *st, const struct suppress_key *key, const MDB_val *there,
    const struct suppress_row *row, int64_t now)
{
	MDB_val k = val(key->b, key->len), v;
	struct suppress_row old, merged;
	struct suppress_key again;
	enum suppress_put r = SUPPRESS_SAME;
	int rc;

	/* One that cannot be read is as if it were not there. */
	if (suppress_row_decode(key->b, key->len, there->mv_data, there->mv_size, &old) == -1) {
		memset(&old, 0, sizeof(old));
		old.r.expires = 1;
	}
	if (merge(&old, row, now, &merged)) {
		suppress_row_encode(&merged, &again, &st->value);
		v = val(st->value.p, st->value.len);
		if ((rc = mdb_cursor_put(st->cursor, &k, &v, 0)) != 0) {
			(void)suppress_store_fail(st, "writing", rc);
			r = SUPPRESS_FAILED;
		} else {
			if (old.r.reason != 0)
				suppress_store_count(st, old.r.scope, old.r.reason, -1);
			suppress_store_count(st, row->r.scope, merged.r.reason, 1);
			r = SUPPRESS_UPDATED;
		}
	}
	suppress_row_clear(&old);
	return r;
}

enum suppress_put
suppress_store_put(struct suppress_store *st, const struct suppress_row *row, int64_t now)
{
	struct suppress_key key;
	MDB_val v;
	int rc;

	suppress_row_encode(row, &key, &st->value);
	v = val(st->value.p, st->value.len);
	rc = put_new(st, &key, &v);
	if (rc == MDB_KEYEXIST)
		return put_over(st, &key, &v, row, now);
	if (rc != 0) {
		(void)suppress_store_fail(st, "writing", rc);
		return SUPPRESS_FAILED;
	}
	suppress_store_count(st, row->r.scope, row->r.reason, 1);
	return SUPPRESS_ADDED;
}

/* Of a row of the list or of the store's own. */
int
suppress_store_del(struct suppress_store *st, const void *key, size_t keylen)
{
	MDB_val k = val(key, keylen), v;
	struct suppress_row old;
	int rc;

	rc = mdb_cursor_get(st->cursor, &k, &v, MDB_SET_KEY);
	if (rc == MDB_NOTFOUND)
		return 0;
	memset(&old, 0, sizeof(old));
	if (rc == 0 && suppress_row_decode(key, keylen, v.mv_data, v.mv_size, &old) == -1)
		memset(&old, 0, sizeof(old));
	if (rc == 0)
		rc = mdb_cursor_del(st->cursor, 0);
	if (rc == 0 && old.r.reason != 0)
		suppress_store_count(st, old.r.scope, old.r.reason, -1);
	suppress_row_clear(&old);
	st->last.len = 0; /* it may be the one that is gone: nothing is appended beyond what is there */
	if (rc == 0 && mdb_cursor_get(st->cursor, &k, &v, MDB_LAST) == 0 && k.mv_size <= SUPPRESS_KEY_MAX) {
		memcpy(st->last.b, k.mv_data, k.mv_size);
		st->last.len = k.mv_size;
	}
	return rc == 0 ? 1 : suppress_store_fail(st, "removing", rc);
}

int
suppress_store_remove(struct suppress_store *st, const char *target, unsigned scope, const char *value)
{
	struct suppress_key key;

	suppress_key_prefix(&key, target);
	suppress_key_scope(&key, scope, value);
	return suppress_store_del(st, key.b, key.len);
}

static char *
dup_opt(const char *s)
{
	return s == NULL ? NULL : xstrdup(s);
}

enum suppress_put
suppress_store_request(struct suppress_store *st, const struct suppress_request *q, int64_t now, const char **err_r)
{
	struct suppress_row row = { .r = *q, .added = now };
	enum suppress_put r = SUPPRESS_FAILED;
	int enough = 1;

	row.r.address = xstrdup(q->address);
	row.r.scope_value = dup_opt(q->scope_value);
	row.r.class = dup_opt(q->class);
	row.r.cause = dup_opt(q->cause);
	row.r.note = dup_opt(q->note);
	*err_r = NULL;
	if (suppress_row_settle(&row, err_r) == 0) {
		if (q->threshold > 1)
			enough = suppress_tally(st, &row, q, now);
		if (enough == 1)
			r = suppress_store_put(st, &row, now);
		else if (enough == 0)
			r = SUPPRESS_COUNTED;
	}
	suppress_row_clear(&row);
	return r;
}
