/* What queued believes of its index: keys and rows of every database, as a damaged LMDB file may give them. Stands in
 * for queued/store.c: whatever is asked for, the input is the answer. First byte: which row; its highest bit: a row
 * of `env` gets a right checksum, so that what lies behind it is reached. */
#include <endian.h>
#include <setjmp.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "queued/identity.h"
#include "queued/keys.h"
#include "queued/link.h"
#include "queued/queued.h"
#include "queued/rebound.h"
#include "queued/store.h"
#include "t/fuzz/fuzz.h"

#define PUTS_MAX 4

struct put {
	enum store_db db;
	uint8_t key[512], value[8192];
	size_t key_len, len;
};

static struct {
	MDB_val key, value;
	bool is_there; /* false: the database has no such row */
	struct put puts[PUTS_MAX];
	unsigned n_puts;
	jmp_buf broken;
} x;

/* Nobody looks into it. */
static struct store *const store = (struct store *)&x;

bool
store_get(struct store *st, enum store_db db, const void *key, size_t keylen, MDB_val *value_r)
{
	(void)st, (void)db, (void)key, (void)keylen;
	*value_r = x.value;
	return x.is_there;
}

bool
store_seek(struct store *st, enum store_db db, const void *key, size_t keylen, bool after, MDB_val *key_r,
    MDB_val *value_r)
{
	(void)st, (void)db, (void)key, (void)keylen, (void)after;
	*key_r = x.key;
	*value_r = x.value;
	return x.is_there;
}

int
store_put(struct store *st, enum store_db db, const void *key, size_t keylen, const void *value, size_t len)
{
	struct put *p = &x.puts[x.n_puts++];

	(void)st;
	FUZZ_ASSERT(x.n_puts <= PUTS_MAX && keylen <= 511 && len <= sizeof(p->value));
	p->db = db;
	memcpy(p->key, key, keylen);
	memcpy(p->value, value, len);
	p->key_len = keylen;
	p->len = len;
	return 0;
}

int
store_del(struct store *st, enum store_db db, const void *key, size_t keylen)
{
	(void)st, (void)db, (void)key, (void)keylen;
	return 0;
}

void
store_broken(struct store *st, const char *what, int rc)
{
	(void)st, (void)what;
	FUZZ_ASSERT(rc == MDB_CORRUPTED);
	longjmp(x.broken, 1);
}

int
store_begin(struct store *st)
{
	(void)st;
	return 0;
}

int
store_commit(struct store *st)
{
	(void)st;
	return 0;
}

void
store_abort(struct store *st)
{
	(void)st;
}

void
store_read_begin(struct store *st)
{
	(void)st;
}

void
store_read_end(struct store *st)
{
	(void)st;
}

/* Nobody is connected. */
void
clients_send_keys(struct clients *clients)
{
	(void)clients;
}

/* What was read is written as it was read; a row of seg of 0.1.0 gets a checksum behind it. */
static void
check_put(enum store_db db)
{
	size_t more = db == DB_SEG && x.value.mv_size == 26 ? 4 : 0;

	FUZZ_ASSERT(x.n_puts > 0 && x.puts[0].db == db && x.puts[0].len == x.value.mv_size + more);
	FUZZ_ASSERT(memcmp(x.puts[0].value, x.value.mv_data, x.value.mv_size) == 0);
	FUZZ_ASSERT(db == DB_ENV || (x.puts[0].key_len == x.key.mv_size &&
	    memcmp(x.puts[0].key, x.key.mv_data, x.key.mv_size) == 0));
}

static void
check_rebound(struct slice s)
{
	struct rebound *r = rebound_decode(s), *again;
	struct wbuf w;

	if (r == NULL)
		return;
	wbuf_init(&w);
	rebound_encode(r, &w);
	FUZZ_ASSERT(w.len == s.len && memcmp(w.p, s.base, s.len) == 0);
	FUZZ_ASSERT((again = rebound_decode((struct slice){ (const char *)w.p, w.len })) != NULL);
	FUZZ_ASSERT(rebound_equal(r, again));
	rebound_free(&again);
	rebound_free(&r);
	wbuf_clear(&w);
}

static void
env_row(bool is_sealed)
{
	uint8_t key[ENV_KEY_LEN] = { 0 }, again[ENV_KEY_LEN], *end;
	struct env_row row;
	struct envid id;
	uint32_t crc;

	memcpy(key, x.key.mv_data, x.key.mv_size < ENV_KEY_LEN ? x.key.mv_size : ENV_KEY_LEN);
	env_key_unpack(key, &id);
	env_key_pack(&id, again);
	FUZZ_ASSERT(memcmp(key, again, sizeof(key)) == 0);
	(void)store_has_message(store, &id.msg);
	if (is_sealed && x.value.mv_size >= 4) {
		end = (uint8_t *)x.value.mv_data + x.value.mv_size - 4;
		crc = htobe32(crc32c(crc32c(0, key, ENV_KEY_LEN), x.value.mv_data, x.value.mv_size - 4));
		memcpy(end, &crc, 4);
	}
	if (setjmp(x.broken) != 0)
		return;
	if (store_get_env(store, key, &row)) {
		FUZZ_ASSERT(row.text.len <= FAIL_TEXT_MAX);
		FUZZ_ASSERT(store_put_env(store, key, &row) == 0);
		check_put(DB_ENV);
		if ((row.flags & ENV_REBOUND) != 0)
			check_rebound(row.rebound);
	}
}

static void
other_row(unsigned which)
{
	struct seg_row seg;
	struct queue_row queue;
	char name[600] = "";

	if (which == 1 && store_seg_row(&x.key, &x.value, &seg)) {
		FUZZ_ASSERT(store_put_seg(store, &seg) == 0);
		check_put(DB_SEG);
	} else if (which == 2 && store_queue_row(&x.key, &x.value, &queue)) {
		if (memchr(queue.name.base, '\0', queue.name.len) == NULL && store_put_queue(store, &queue) == 0)
			check_put(DB_QUEUE);
	} else if (which == 3) {
		memcpy(name, x.key.mv_data, x.key.mv_size < sizeof(name) ? x.key.mv_size : sizeof(name) - 1);
		(void)store_find_queue(store, name);
		(void)store_get_queue(store, 1, &queue);
	} else if (which == 4) {
		FUZZ_ASSERT(x.key.mv_size == DUE_KEY_LEN || due_key_time(&x.key) == INT64_MAX);
		FUZZ_ASSERT(x.key.mv_size == DUE_KEY_LEN || due_key_queue(&x.key) == 0);
		FUZZ_ASSERT(x.key.mv_size == EXP_KEY_LEN || exp_key_time(&x.key) == INT64_MAX);
	}
}

/* There is no copy of the identity beside the index. */
bool
identity_exists(const struct queued *q)
{
	(void)q;
	return false;
}

bool
identity_restore(struct queued *q)
{
	(void)q;
	return false;
}

void
identity_save(struct queued *q)
{
	(void)q;
}

/* The node's identity: kept if it is whole, made anew if not. */
static void
node_keys(void)
{
	struct queued q = { 0 };
	struct ql_welcome welcome = { 0 };
	struct wbuf w;
	struct rbuf r;
	char *err = NULL;
	struct keys *k = keys_new(&q, &err);

	FUZZ_ASSERT(k != NULL);
	FUZZ_ASSERT(keys_nodeid(k)[36] == '\0');
	welcome.proto = QL_PROTO;
	keys_welcome(k, &welcome);
	/* Who connects must understand the greeting, or the whole suite stands still. */
	wbuf_init(&w);
	ql_welcome_encode(&welcome, &w);
	rbuf_init(&r, w.p, w.len);
	FUZZ_ASSERT(ql_welcome_decode(&r, &welcome) == 0);
	wbuf_clear(&w);
	keys_free(&k);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t which = fuzz_u8(&in);
	size_t key_len = fuzz_u8(&in);
	uint8_t *key, *value;

	log_init("fuzz", LOG_LVL_ERROR);
	x.is_there = (which & 0x40) == 0;
	x.n_puts = 0;
	/* In blocks of their exact size. */
	key = (uint8_t *)xmemdup0(fuzz_take(&in, &key_len), key_len);
	value = xmalloc(in.left > 0 ? in.left : 1);
	memcpy(value, in.p, in.left);
	x.key = (MDB_val){ key_len, key };
	x.value = (MDB_val){ in.left, value };
	if ((which & 7) == 0)
		env_row((which & 0x80) != 0);
	else if ((which & 7) < 5)
		other_row(which & 7);
	else
		node_keys();
	free(key);
	free(value);
	return 0;
}
