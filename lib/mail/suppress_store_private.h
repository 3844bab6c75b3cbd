/* Between the files of the store (suppress_store.h). */
#ifndef MAIL_SUPPRESS_STORE_PRIVATE_H
#define MAIL_SUPPRESS_STORE_PRIVATE_H

#include <lmdb.h>

#include "mail/suppress_store.h"

#define STATS_KEY "\0stats"
#define STATS_KEY_LEN 6
#define TALLY_KEY "\0tally"
#define TALLY_KEY_LEN 6

struct suppress_store {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *txn, *reader;
	MDB_cursor *cursor; /* of txn */
	struct suppress_key last; /* the highest key, as txn sees it */
	struct suppress_stats stats, before; /* before: as they were when txn began */
	struct wbuf value;
	char *error;
};

/* Sets the error; -1. */
int suppress_store_fail(struct suppress_store *, const char *what, int rc);
int suppress_store_del(struct suppress_store *, const void *key, size_t keylen);
void suppress_store_count(struct suppress_store *, unsigned scope, unsigned reason, int by);
/* suppress_tally.c: 1: that makes it, 0: not yet, -1: error. */
int suppress_tally(struct suppress_store *, const struct suppress_row *, const struct suppress_request *, int64_t now);

#endif
