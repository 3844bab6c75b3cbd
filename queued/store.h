/* The index (ARCHITECTURE.md "The index"): an LMDB environment with nine databases, one writer. Rows are encoded
 * field by field; rows of `env` and `seg` carry a CRC-32C because LMDB checks nothing. */
#ifndef QUEUED_STORE_H
#define QUEUED_STORE_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "mail/override.h"
#include "mail/queue_link.h"

struct store;

enum store_db { DB_META, DB_SEG, DB_QUEUE, DB_QNAME, DB_ENV, DB_DUE, DB_EXP, DB_OVERRIDE, DB_OUTBOX, DB_COUNT };
enum store_opened { STORE_OK, STORE_CORRUPT, STORE_UNKNOWN_VERSION, STORE_FAILED };

/* 1 has no overrides, 2 no envelopes that were rebound, 3 no outbox; opening such an index makes it one of 4. */
#define STORE_SCHEMA 4
#define STORE_SCHEMA_OLDEST 1
#define OVERRIDE_KEY_LEN 8
#define OUTBOX_KEY_LEN 8
#define ENV_KEY_LEN 18
#define DUE_KEY_LEN (4 + 8 + ENV_KEY_LEN)
#define EXP_KEY_LEN (8 + ENV_KEY_LEN)
#define QNAME_KEY_MAX 400 /* longer names are keyed by prefix and digest: LMDB keys end at 511 bytes */
#define DUE_HELD INT64_MAX /* due time of what waits for an operator */
#define FAIL_TEXT_MAX 256

/* Row flags of an envelope. */
enum {
	ENV_HELD = 1 << 0,          /* by an operator: no attempt, no expiry */
	ENV_DELAY_NOTIFIED = 1 << 1,/* the sender got a delay notice */
	ENV_DELAY_LOGGED = 1 << 2,  /* a Delayed event was written for the present reason */
	ENV_DAMAGED = 1 << 3,       /* its record cannot be read; held so that somebody looks */
	ENV_PATH_WAIT = 1 << 4,     /* given back because its path is suspended: due again when that ends */
	ENV_BORN = 1 << 5,          /* the row says when it came: it expires by the queue's max_age */
	ENV_REBOUND = 1 << 6,       /* the row says what has become of it (rebound.h) */
	ENV_GUARDED = 1 << 7        /* held by the guard: looked at again when it is due, until it expires */
};

struct env_row {
	uint64_t segment, offset;
	uint32_t queue;
	uint16_t attempts, flags;
	int64_t due;     /* equals the time in its `due` key */
	int64_t expires; /* its `exp` key, unless ENV_HELD */
	int64_t born;    /* with ENV_BORN; else 0 */
	uint16_t code;   /* last failure */
	struct enhanced_code enhanced;
	struct slice rebound; /* with ENV_REBOUND, encoded; in the map, as text */
	struct slice text; /* in the map: valid until store_read_end() */
};

struct seg_row {
	uint64_t number;
	uint8_t state, kind;
	uint64_t indexed;  /* everything before it is accounted for */
	uint64_t total;    /* envelopes it ever brought */
	uint64_t live;     /* of those, not finished */
};

struct queue_row {
	uint32_t id;
	struct slice name;
	uint64_t total, held;
};

/* Opens (creates) the index in dir. NULL, *what_r and a malloced sentence in *err_r. */
struct store *store_open(const char *dir, int64_t map_size, enum store_opened *what_r, char **err_r);
void store_close(struct store **);
/* A value of meta that is a schema version which we can read. */
bool store_schema_known(const void *p, size_t len);
int store_db_of_name(const char *); /* -1: none of ours */
/* Whether an earlier run found the index damaged and left the mark; clears it when asked. */
bool store_marked_bad(const char *dir, bool clear);

/* One write transaction at a time. All return 0 or an LMDB/errno code; after a failure only store_abort() is left. */
int store_begin(struct store *);
int store_commit(struct store *);
void store_abort(struct store *);
int store_put(struct store *, enum store_db, const void *key, size_t keylen, const void *value, size_t len);
int store_del(struct store *, enum store_db, const void *key, size_t keylen); /* a missing key is fine */
int store_put_env(struct store *, const uint8_t key[ENV_KEY_LEN], const struct env_row *);
int store_put_seg(struct store *, const struct seg_row *);
int store_del_seg(struct store *, uint64_t number);
int store_put_queue(struct store *, const struct queue_row *);
int store_del_queue(struct store *, uint32_t id, const char *name);
int store_put_override(struct store *, const struct override *);
int store_del_override(struct store *, uint64_t id);
int store_put_outbox(struct store *, uint64_t number, struct slice encoded);
int store_del_outbox(struct store *, uint64_t number);

/* Reads see the last commit. Short: end before returning to the loop. Pairs may nest. A damaged index ends the
 * process after leaving the mark (reads never fail otherwise). */
void store_read_begin(struct store *);
void store_read_end(struct store *);
bool store_get(struct store *, enum store_db, const void *key, size_t keylen, MDB_val *value_r);
/* The first row with key >= the given (after: > the given). */
bool store_seek(struct store *, enum store_db, const void *key, size_t keylen, bool after, MDB_val *key_r,
    MDB_val *value_r);
bool store_get_env(struct store *, const uint8_t key[ENV_KEY_LEN], struct env_row *);
bool store_has_message(struct store *, const struct msgid *);
bool store_get_queue(struct store *, uint32_t id, struct queue_row *);
uint32_t store_find_queue(struct store *, const char *name); /* 0: none */
bool store_env_row(const uint8_t key[ENV_KEY_LEN], const MDB_val *value, struct env_row *);
bool store_seg_row(const MDB_val *key, const MDB_val *value, struct seg_row *);
bool store_queue_row(const MDB_val *key, const MDB_val *value, struct queue_row *);
/* Whether it is as it was written: its number, and what override_decode() takes. */
bool store_override_row(const MDB_val *key, const MDB_val *value, uint64_t *id_r, struct slice *encoded_r);
/* Whether it is as it was written. */
bool store_outbox_row(const MDB_val *key, const MDB_val *value, uint64_t *number_r, struct slice *encoded_r);
uint64_t store_bytes(struct store *);    /* size of what the map uses */
double store_used(struct store *);       /* part of index_size_limit in use, 0..1 */
uint64_t store_count(struct store *, enum store_db);
uint64_t store_bytes_of(struct store *, enum store_db); /* size of its pages */
/* The index can no longer be trusted: log, leave the mark if it is damage, exit. */
void store_broken(struct store *, const char *what, int rc) __attribute__((noreturn));
/* Errors after which waiting may help (disk or map full). */
bool store_is_full(int rc);

void outbox_key_pack(uint64_t number, uint8_t out[OUTBOX_KEY_LEN]);
void override_key_pack(uint64_t id, uint8_t out[OVERRIDE_KEY_LEN]);
void env_key_pack(const struct envid *, uint8_t out[ENV_KEY_LEN]);
void env_key_unpack(const uint8_t in[ENV_KEY_LEN], struct envid *);
void due_key_pack(uint32_t queue, int64_t due, const uint8_t env[ENV_KEY_LEN], uint8_t out[DUE_KEY_LEN]);
uint32_t due_key_queue(const MDB_val *);
int64_t due_key_time(const MDB_val *);
void exp_key_pack(int64_t when, const uint8_t env[ENV_KEY_LEN], uint8_t out[EXP_KEY_LEN]);
int64_t exp_key_time(const MDB_val *);
size_t qname_key_pack(const char *name, size_t len, uint8_t out[QNAME_KEY_MAX]);

#endif
