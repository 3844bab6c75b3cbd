/* The suppression list as its one writer has it: bouncerd. An LMDB environment of which only the main database is used,
 * with default sync: what was committed is there after a crash. suppress.h says how others read it meanwhile.
 *
 * Rows that begin with NUL are the store's own: the schema (first of all), counts, and how often something happened
 * that suppresses only when it happens several times (suppress_request.threshold). */
#ifndef MAIL_SUPPRESS_STORE_H
#define MAIL_SUPPRESS_STORE_H

#include "mail/suppress_row.h"

#define SUPPRESS_DIR "suppress"
#define SUPPRESS_SCHEMA 1
#define SUPPRESS_SCHEMA_KEY "\0schema"
#define SUPPRESS_SCHEMA_KEY_LEN 7

enum suppress_put { SUPPRESS_ADDED, SUPPRESS_UPDATED, SUPPRESS_SAME, SUPPRESS_COUNTED, SUPPRESS_FAILED };

struct suppress_stats {
	uint64_t rows[SUPPRESS_SCOPES][SUPPRESS_REASONS];
	uint64_t total;
	uint64_t bytes; /* on disk */
};

struct suppress_store;

/* While still privileged. Looks at every row first: one that is damaged is not opened, since an address that it lost
 * would be mailed again; what to do then is in the sentence. NULL and a malloced sentence. */
struct suppress_store *suppress_store_open(const char *queue_directory, char **err_r)
    __attribute__((warn_unused_result));
void suppress_store_close(struct suppress_store **);

/* One transaction at a time; what follows is durable when commit returns 0. -1 and suppress_store_error(). After an
 * error nothing of the transaction is kept. */
int suppress_store_begin(struct suppress_store *) __attribute__((warn_unused_result));
int suppress_store_commit(struct suppress_store *) __attribute__((warn_unused_result));
void suppress_store_abort(struct suppress_store *);
const char *suppress_store_error(const struct suppress_store *);

/* Of a row that suppress_row_settle() has seen. A row that is there already is kept, unless it has expired, or says
 * less than the new one: imported < hard bounce < manual < unsubscribe < complaint; and of the same rank, the one that
 * expires later (so that the same twice is the same as once). The later expiry always holds. */
enum suppress_put suppress_store_put(struct suppress_store *, const struct suppress_row *, int64_t now);
/* 1: removed; 0: there is none; -1: error. */
int suppress_store_remove(struct suppress_store *, const char *target, unsigned scope, const char *value);
/* A request, with its threshold. SUPPRESS_COUNTED: noted, not suppressed yet. Text is normalised; one that cannot be is
 * SUPPRESS_FAILED with *err_r (static) set, and the transaction goes on. */
enum suppress_put suppress_store_request(struct suppress_store *, const struct suppress_request *, int64_t now,
    const char **err_r);

/* Reading, outside of or inside a transaction. Rows from key *at on (its len 0: the first), at most max, and *at is
 * where to go on; fn false: stop behind this one. 1: there may be more; 0: that was the end; -1: error. */
typedef bool suppress_row_fn(const struct suppress_row *, void *arg);
int suppress_store_walk(struct suppress_store *, struct suppress_key *at, unsigned max, suppress_row_fn *, void *arg);
void suppress_store_stats(struct suppress_store *, struct suppress_stats *);
/* Takes out what has expired among the next max rows; the same convention. *removed_r is added to. */
int suppress_store_sweep(struct suppress_store *, struct suppress_key *at, unsigned max, int64_t now,
    uint64_t *removed_r);

#endif
