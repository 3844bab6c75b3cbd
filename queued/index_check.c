/* Reads the whole index once, in order, at each start: a million envelopes take a fraction of a second, and what is
 * found wrong here can still be rebuilt from the segments. Databases that say the same thing twice (`env` and `due`,
 * `queue` and `qname`) are compared by sums of hashes, which do not depend on the order and cost no memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/xalloc.h"
#include "mail/suppress_request.h"

#include "queued/index_check.h"
#include "queued/index_pages.h"
#include "queued/store.h"

struct check {
	bool has_schema;  /* the one we know */
	bool is_foreign;  /* another */
	uint32_t next_queue, queue_max;
	uint64_t next_override, override_max;
	bool has_rows;    /* besides */
	uint64_t due, due_of_env;     /* sums over keys */
	uint64_t exp, exp_of_env;
	uint64_t total, total_of_env; /* sums over envelopes, weighted by their queue */
	uint64_t held, held_of_env;
	uint64_t qname, qname_of_queue;
};

/* Spreads small numbers over 64 bits, so that different sets of them have different sums (splitmix64). */
static uint64_t
spread(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* What a queue's counts are multiplied by. Odd, or their highest bits would not count. */
static uint64_t
weight(uint32_t queue)
{
	return spread(queue) | 1;
}

static uint64_t
hash(const void *p, size_t len)
{
	return spread(crc32c(0, p, len));
}

static const char *
check_meta(struct check *c, const struct index_row *r)
{
	if (r->keylen == 6 && memcmp(r->key, "schema", 6) == 0) {
		if (store_schema_known(r->value, r->len))
			c->has_schema = true;
		else
			c->is_foreign = true;
	} else if (r->keylen == 10 && memcmp(r->key, "next_queue", 10) == 0) {
		if (r->len != sizeof(c->next_queue))
			return "a row of meta is malformed";
		memcpy(&c->next_queue, r->value, sizeof(c->next_queue));
	} else if (r->keylen == 13 && memcmp(r->key, "next_override", 13) == 0) {
		if (r->len != sizeof(c->next_override))
			return "a row of meta is malformed";
		memcpy(&c->next_override, r->value, sizeof(c->next_override));
	}
	return NULL;
}

static const char *
check_env(struct check *c, const struct index_row *r, const MDB_val *v)
{
	uint8_t due[DUE_KEY_LEN], exp[EXP_KEY_LEN];
	struct env_row row;

	if (r->keylen != ENV_KEY_LEN || !store_env_row(r->key, v, &row))
		return "a row of env fails its checksum";
	due_key_pack(row.queue, row.due, r->key, due);
	c->due_of_env += hash(due, sizeof(due));
	c->total_of_env += weight(row.queue);
	if ((row.flags & ENV_HELD) != 0) {
		c->held_of_env += weight(row.queue);
		return NULL;
	}
	exp_key_pack(row.expires, r->key, exp);
	c->exp_of_env += hash(exp, sizeof(exp));
	return NULL;
}

static uint64_t
hash_qname(uint32_t id, const uint8_t *key, size_t len)
{
	return spread((uint64_t)id << 32 | crc32c(0, key, len));
}

static const char *
check_queue(struct check *c, const MDB_val *k, const MDB_val *v)
{
	uint8_t nkey[QNAME_KEY_MAX];
	struct queue_row row;

	if (!store_queue_row(k, v, &row) || row.id == 0)
		return "a row of queue is malformed";
	if (row.id > c->queue_max)
		c->queue_max = row.id;
	c->total += row.total * weight(row.id);
	c->held += row.held * weight(row.id);
	c->qname_of_queue += hash_qname(row.id, nkey, qname_key_pack(row.name.base, row.name.len, nkey));
	return NULL;
}

static const char *
check_qname(struct check *c, const struct index_row *r)
{
	const uint8_t *p = r->value;

	if (r->len != 4)
		return "a row of qname is malformed";
	c->qname += hash_qname((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3], r->key,
	    r->keylen);
	return NULL;
}

static const char *
check_override(struct check *c, const MDB_val *k, const MDB_val *v)
{
	struct slice encoded;
	uint64_t id;

	if (!store_override_row(k, v, &id, &encoded))
		return "a row of override fails its checksum";
	if (id > c->override_max)
		c->override_max = id;
	return NULL;
}

static const char *
check_outbox(const MDB_val *k, const MDB_val *v)
{
	struct suppress_request request;
	struct slice encoded;
	uint64_t number;
	struct rbuf r;

	if (!store_outbox_row(k, v, &number, &encoded))
		return "a row of outbox fails its checksum";
	rbuf_init(&r, encoded.base, encoded.len);
	if (suppress_request_decode(&r, &request) == -1)
		return "a row of outbox is malformed";
	suppress_request_clear(&request);
	return NULL;
}

static const char *
on_row(const struct index_row *r, void *arg)
{
	MDB_val k = { r->keylen, NULL }, v = { r->len, NULL };
	struct check *c = arg;
	struct seg_row seg;
	int db;

	memcpy(&k.mv_data, &r->key, sizeof(k.mv_data)); /* MDB_val knows no const */
	memcpy(&v.mv_data, &r->value, sizeof(v.mv_data));
	db = store_db_of_name(r->db);
	if (db == DB_META)
		return check_meta(c, r);
	c->has_rows = true;
	if (!c->has_schema)
		return NULL; /* rows of another schema mean something else */
	switch (db) {
	case DB_SEG:
		return store_seg_row(&k, &v, &seg) ? NULL : "a row of seg fails its checksum";
	case DB_QUEUE:
		return check_queue(c, &k, &v);
	case DB_QNAME:
		return check_qname(c, r);
	case DB_ENV:
		return check_env(c, r, &v);
	case DB_DUE:
		c->due += hash(r->key, r->keylen);
		return r->len == 0 ? NULL : "a row of due is malformed";
	case DB_EXP:
		c->exp += hash(r->key, r->keylen);
		return r->len == 0 ? NULL : "a row of exp is malformed";
	case DB_OVERRIDE:
		return check_override(c, &k, &v);
	case DB_OUTBOX:
		return check_outbox(&k, &v);
	default:
		return "a database has an unknown name";
	}
}

static const char *
compare(const struct check *c)
{
	if (c->due != c->due_of_env)
		return "due times and envelopes disagree";
	if (c->exp != c->exp_of_env)
		return "expiry times and envelopes disagree";
	if (c->total != c->total_of_env || c->held != c->held_of_env)
		return "the counts of the queues and the envelopes disagree";
	if (c->qname != c->qname_of_queue)
		return "queues and their names disagree";
	if (c->queue_max > 0 && c->next_queue <= c->queue_max)
		return "the number of the next queue is in use";
	if (c->override_max > 0 && c->next_override <= c->override_max)
		return "the number of the next override is in use";
	return NULL;
}

enum index_state
index_check(const char *dir, const char **why_r)
{
	char *path = xasprintf("%s/data.mdb", dir);
	enum index_pages r = PAGES_BAD;
	struct check c = { .has_schema = false };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	free(path);
	if (fd == -1 && errno == ENOENT)
		return INDEX_NEW;
	*why_r = "it cannot be opened";
	if (fd != -1) {
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		r = index_pages_walk(fd, "meta", on_row, &c, why_r);
		close(fd);
	}
	if (r == PAGES_NONE)
		return INDEX_NEW;
	if (r == PAGES_OTHER_FORMAT || (r == PAGES_OK && c.is_foreign))
		return INDEX_FOREIGN;
	if (r == PAGES_BAD)
		return INDEX_DAMAGED;
	/* Between its making and the row with the schema it is empty. */
	*why_r = c.has_schema ? compare(&c) : c.has_rows ? "the schema version is missing" : NULL;
	return *why_r == NULL ? INDEX_SOUND : INDEX_DAMAGED;
}
