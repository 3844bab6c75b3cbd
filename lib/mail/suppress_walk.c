/* Going through the suppression list in steps: for lists and exports, and to take out what has expired
 * (suppress_store.h). A read transaction lasts for one step. Runs in bouncerd. */
#include <string.h>

#include <sys/stat.h>

#include "base/xalloc.h"
#include "mail/suppress_store_private.h"

/* NULL: cannot read. */
static MDB_txn *
read_begin(struct suppress_store *st)
{
	int rc;

	if (st->reader == NULL)
		rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, &st->reader);
	else
		rc = mdb_txn_renew(st->reader);
	if (rc == 0)
		return st->reader;
	(void)suppress_store_fail(st, "beginning to read", rc);
	return NULL;
}

/* To the first row behind the place, or at it. */
static int
place(MDB_cursor *c, const struct suppress_key *at, MDB_val *k, MDB_val *v)
{
	int rc;

	if (at->len == 0)
		return mdb_cursor_get(c, k, v, MDB_FIRST);
	k->mv_size = at->len;
	memcpy(&k->mv_data, &(const void *){ at->b }, sizeof(k->mv_data));
	rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	if (rc == 0 && k->mv_size == at->len && memcmp(k->mv_data, at->b, at->len) == 0)
		rc = mdb_cursor_get(c, k, v, MDB_NEXT);
	return rc;
}

static void
note_place(struct suppress_key *at, const MDB_val *k)
{
	at->len = k->mv_size < sizeof(at->b) ? k->mv_size : sizeof(at->b);
	memcpy(at->b, k->mv_data, at->len);
}

int
suppress_store_walk(struct suppress_store *st, struct suppress_key *at, unsigned max, suppress_row_fn *fn, void *arg)
{
	MDB_txn *txn = read_begin(st);
	struct suppress_row row;
	MDB_cursor *c;
	MDB_val k, v;
	unsigned n = 0;
	bool go_on = true;
	int rc;

	if (txn == NULL)
		return -1;
	if ((rc = mdb_cursor_open(txn, st->dbi, &c)) == 0) {
		for (rc = place(c, at, &k, &v); rc == 0 && go_on && n < max; n++) {
			note_place(at, &k);
			if (suppress_row_decode(k.mv_data, k.mv_size, v.mv_data, v.mv_size, &row) == 0) {
				go_on = fn(&row, arg);
				suppress_row_clear(&row);
			}
			rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
		}
		mdb_cursor_close(c);
	}
	mdb_txn_reset(txn);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return suppress_store_fail(st, "reading", rc);
	return rc == 0;
}

void
suppress_store_stats(struct suppress_store *st, struct suppress_stats *stats)
{
	struct stat sb;
	int fd;

	*stats = st->stats;
	if (mdb_env_get_fd(st->env, &fd) == 0 && fstat(fd, &sb) == 0)
		stats->bytes = (uint64_t)sb.st_blocks * 512;
}

static bool
is_expired(const MDB_val *k, const MDB_val *v, int64_t now)
{
	const uint8_t *key = k->mv_data;
	int64_t expires = 0;
	struct rbuf r;

	if (key[0] != '\0') {
		expires = suppress_row_expires(v->mv_data, v->mv_size);
	} else if (k->mv_size > TALLY_KEY_LEN && memcmp(key, TALLY_KEY, TALLY_KEY_LEN) == 0) {
		rbuf_init(&r, v->mv_data, v->mv_size);
		expires = (int64_t)rbuf_u16(&r) << 32;
		expires |= rbuf_u32(&r);
	}
	return expires > 0 && expires <= now;
}

/* Keys of what has expired: first read, so that a list without any is not written for it. */
static int
find_expired(struct suppress_store *st, struct suppress_key *at, unsigned max, int64_t now, struct wbuf *keys)
{
	MDB_txn *txn = read_begin(st);
	MDB_cursor *c;
	MDB_val k, v;
	unsigned n;
	int rc;

	if (txn == NULL)
		return -1;
	if ((rc = mdb_cursor_open(txn, st->dbi, &c)) == 0) {
		rc = place(c, at, &k, &v);
		for (n = 0; rc == 0 && n < max; n++) {
			note_place(at, &k);
			if (is_expired(&k, &v, now))
				wbuf_bytes(keys, k.mv_data, k.mv_size);
			rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
		}
		mdb_cursor_close(c);
	}
	mdb_txn_reset(txn);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return suppress_store_fail(st, "reading", rc);
	return rc == 0;
}

int
suppress_store_sweep(struct suppress_store *st, struct suppress_key *at, unsigned max, int64_t now, uint64_t *removed_r)
{
	struct wbuf keys;
	struct rbuf r;
	struct slice key;
	int more, removed = 0, one;

	wbuf_init(&keys);
	more = find_expired(st, at, max, now, &keys);
	if (more != -1 && keys.len > 0 && suppress_store_begin(st) == -1)
		more = -1;
	if (more != -1 && keys.len > 0) {
		rbuf_init(&r, keys.p, keys.len);
		while (rbuf_left(&r) > 0 && more != -1) {
			key = rbuf_bytes(&r, SUPPRESS_KEY_MAX);
			if ((one = suppress_store_del(st, key.base, key.len)) == -1)
				more = -1;
			else
				removed += one;
		}
		if (more == -1)
			suppress_store_abort(st);
		else if (suppress_store_commit(st) == -1)
			more = -1;
		else
			*removed_r += (uint64_t)removed;
	}
	wbuf_clear(&keys);
	return more;
}
