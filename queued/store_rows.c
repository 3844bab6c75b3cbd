/* Keys and rows of the index, field by field, big-endian so that keys sort by time. Rows of `env` and
 * `seg` end in a CRC-32C of key and row: LMDB has no checksums, and a silently wrong offset would send somebody else's
 * mail. */
#include <endian.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/xalloc.h"

#include "queued/rebound.h"
#include "queued/store.h"
#include "queued/store_private.h"

#define ENV_BORN_LEN 8
#define ENV_FIXED (8 + 8 + 4 + 2 + 2 + 8 + 8 + 2 + 1 + 2 + 2)
#define QNAME_PREFIX 368
#define SEG_FIXED (1 + 1 + 24)

static uint8_t *
put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
	return p + 8;
}

static uint8_t *
put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
	return p + 4;
}

static uint8_t *
put16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, 2);
	return p + 2;
}

static uint64_t
get64(const uint8_t **p)
{
	uint64_t v;

	memcpy(&v, *p, 8);
	*p += 8;
	return be64toh(v);
}

static uint32_t
get32(const uint8_t **p)
{
	uint32_t v;

	memcpy(&v, *p, 4);
	*p += 4;
	return be32toh(v);
}

static uint16_t
get16(const uint8_t **p)
{
	uint16_t v;

	memcpy(&v, *p, 2);
	*p += 2;
	return be16toh(v);
}

void
env_key_pack(const struct envid *id, uint8_t out[ENV_KEY_LEN])
{
	memcpy(out, id->msg.b, MSGID_LEN);
	(void)put16(out + MSGID_LEN, id->rcpt);
}

void
env_key_unpack(const uint8_t in[ENV_KEY_LEN], struct envid *id)
{
	const uint8_t *p = in + MSGID_LEN;

	memcpy(id->msg.b, in, MSGID_LEN);
	id->rcpt = get16(&p);
}

void
due_key_pack(uint32_t queue, int64_t due, const uint8_t env[ENV_KEY_LEN], uint8_t out[DUE_KEY_LEN])
{
	uint8_t *p = put64(put32(out, queue), (uint64_t)due);

	if (env == NULL)
		memset(p, 0, ENV_KEY_LEN);
	else
		memcpy(p, env, ENV_KEY_LEN);
}

uint32_t
due_key_queue(const MDB_val *k)
{
	const uint8_t *p = k->mv_data;

	return k->mv_size == DUE_KEY_LEN ? get32(&p) : 0;
}

int64_t
due_key_time(const MDB_val *k)
{
	const uint8_t *p = (const uint8_t *)k->mv_data + 4;

	return k->mv_size == DUE_KEY_LEN ? (int64_t)get64(&p) : INT64_MAX;
}

void
exp_key_pack(int64_t when, const uint8_t env[ENV_KEY_LEN], uint8_t out[EXP_KEY_LEN])
{
	uint8_t *p = put64(out, (uint64_t)when);

	if (env == NULL)
		memset(p, 0, ENV_KEY_LEN);
	else
		memcpy(p, env, ENV_KEY_LEN);
}

int64_t
exp_key_time(const MDB_val *k)
{
	const uint8_t *p = k->mv_data;

	return k->mv_size == EXP_KEY_LEN ? (int64_t)get64(&p) : INT64_MAX;
}

int
store_put_env(struct store *st, const uint8_t key[ENV_KEY_LEN], const struct env_row *row)
{
	uint8_t small[ENV_FIXED + ENV_BORN_LEN + FAIL_TEXT_MAX + 4], *buf = small, *p;
	size_t textlen = row->text.len > FAIL_TEXT_MAX ? FAIL_TEXT_MAX : row->text.len;
	int rc;

	if (row->flags & ENV_REBOUND)
		buf = xmalloc(sizeof(small) + 4 + row->rebound.len);
	p = buf;

	p = put64(p, row->segment);
	p = put64(p, row->offset);
	p = put32(p, row->queue);
	p = put16(p, row->attempts);
	p = put16(p, row->flags);
	p = put64(p, (uint64_t)row->due);
	p = put64(p, (uint64_t)row->expires);
	p = put16(p, row->code);
	*p++ = row->enhanced.class;
	p = put16(p, row->enhanced.subject);
	p = put16(p, row->enhanced.detail);
	if (row->flags & ENV_BORN)
		p = put64(p, (uint64_t)row->born);
	if (row->flags & ENV_REBOUND) {
		p = put32(p, (uint32_t)row->rebound.len);
		memcpy(p, row->rebound.base, row->rebound.len);
		p += row->rebound.len;
	}
	if (textlen > 0)
		memcpy(p, row->text.base, textlen);
	p += textlen;
	p = put32(p, crc32c(crc32c(0, key, ENV_KEY_LEN), buf, (size_t)(p - buf)));
	rc = store_put(st, DB_ENV, key, ENV_KEY_LEN, buf, (size_t)(p - buf));
	if (buf != small)
		free(buf);
	return rc;
}

bool
store_env_row(const uint8_t key[ENV_KEY_LEN], const MDB_val *v, struct env_row *row)
{
	const uint8_t *base = v->mv_data, *p = base;
	size_t fixed = ENV_FIXED + 4;

	if (v->mv_size < fixed)
		return false;
	row->segment = get64(&p);
	row->offset = get64(&p);
	row->queue = get32(&p);
	row->attempts = get16(&p);
	row->flags = get16(&p);
	row->due = (int64_t)get64(&p);
	row->expires = (int64_t)get64(&p);
	row->code = get16(&p);
	row->enhanced.class = *p++;
	row->enhanced.subject = get16(&p);
	row->enhanced.detail = get16(&p);
	fixed += row->flags & ENV_BORN ? ENV_BORN_LEN : 0;
	fixed += row->flags & ENV_REBOUND ? 4 : 0;
	if (v->mv_size < fixed)
		return false;
	row->born = row->flags & ENV_BORN ? (int64_t)get64(&p) : 0;
	row->rebound = (struct slice){ NULL, 0 };
	if (row->flags & ENV_REBOUND) {
		row->rebound.len = get32(&p);
		row->rebound.base = (const char *)p;
		if (row->rebound.len > REBOUND_MAX || v->mv_size - fixed < row->rebound.len)
			return false;
		fixed += row->rebound.len;
		p += row->rebound.len;
	}
	if (v->mv_size > fixed + FAIL_TEXT_MAX)
		return false;
	row->text.base = (const char *)p;
	row->text.len = v->mv_size - fixed;
	p += row->text.len;
	return get32(&p) == crc32c(crc32c(0, key, ENV_KEY_LEN), base, v->mv_size - 4);
}

bool
store_get_env(struct store *st, const uint8_t key[ENV_KEY_LEN], struct env_row *row)
{
	MDB_val v;

	if (!store_get(st, DB_ENV, key, ENV_KEY_LEN, &v))
		return false;
	if (!store_env_row(key, &v, row))
		store_broken(st, "a row of env fails its checksum", MDB_CORRUPTED);
	return true;
}

bool
store_has_message(struct store *st, const struct msgid *id)
{
	MDB_val k, v;

	return store_seek(st, DB_ENV, id->b, MSGID_LEN, false, &k, &v) && k.mv_size == ENV_KEY_LEN &&
	    memcmp(k.mv_data, id->b, MSGID_LEN) == 0;
}

int
store_put_seg(struct store *st, const struct seg_row *row)
{
	uint8_t key[8], buf[SEG_FIXED + 4], *p = buf;

	(void)put64(key, row->number);
	*p++ = row->state;
	*p++ = row->kind;
	p = put64(p, row->indexed);
	p = put64(p, row->total);
	p = put64(p, row->live);
	(void)put32(p, crc32c(crc32c(0, key, sizeof(key)), buf, SEG_FIXED));
	return store_put(st, DB_SEG, key, sizeof(key), buf, sizeof(buf));
}

int
store_del_seg(struct store *st, uint64_t number)
{
	uint8_t key[8];

	(void)put64(key, number);
	return store_del(st, DB_SEG, key, sizeof(key));
}

bool
store_seg_row(const MDB_val *key, const MDB_val *value, struct seg_row *row)
{
	const uint8_t *k = key->mv_data, *p = value->mv_data, *crc = p + SEG_FIXED;

	/* Without a checksum: written by 0.1.0. */
	if (key->mv_size != 8 || (value->mv_size != SEG_FIXED && (value->mv_size != SEG_FIXED + 4 ||
	    get32(&crc) != crc32c(crc32c(0, k, 8), p, SEG_FIXED))))
		return false;
	row->number = get64(&k);
	row->state = *p++;
	row->kind = *p++;
	row->indexed = get64(&p);
	row->total = get64(&p);
	row->live = get64(&p);
	return true;
}

size_t
qname_key_pack(const char *name, size_t len, uint8_t out[QNAME_KEY_MAX])
{
	if (len <= QNAME_KEY_MAX) {
		memcpy(out, name, len);
		return len;
	}
	memcpy(out, name, QNAME_PREFIX);
	(void)SHA256((const unsigned char *)name, len, out + QNAME_PREFIX);
	return QNAME_PREFIX + SHA256_DIGEST_LENGTH;
}

int
store_put_queue(struct store *st, const struct queue_row *row)
{
	uint8_t key[4], nkey[QNAME_KEY_MAX], buf[16 + 4096], *p = buf;
	char name[4096];
	int rc;

	if (row->name.len >= sizeof(name))
		return MDB_BAD_VALSIZE;
	memcpy(name, row->name.base, row->name.len);
	name[row->name.len] = '\0';
	(void)put32(key, row->id);
	p = put64(p, row->total);
	p = put64(p, row->held);
	memcpy(p, name, row->name.len);
	if ((rc = store_put(st, DB_QUEUE, key, sizeof(key), buf, 16 + row->name.len)) != 0)
		return rc;
	return store_put(st, DB_QNAME, nkey, qname_key_pack(name, strlen(name), nkey), key, sizeof(key));
}

int
store_del_queue(struct store *st, uint32_t id, const char *name)
{
	uint8_t key[4], nkey[QNAME_KEY_MAX];
	int rc;

	(void)put32(key, id);
	if ((rc = store_del(st, DB_QUEUE, key, sizeof(key))) != 0)
		return rc;
	return store_del(st, DB_QNAME, nkey, qname_key_pack(name, strlen(name), nkey));
}

bool
store_queue_row(const MDB_val *key, const MDB_val *value, struct queue_row *row)
{
	const uint8_t *k = key->mv_data, *p = value->mv_data;

	if (key->mv_size != 4 || value->mv_size < 16)
		return false;
	row->id = get32(&k);
	row->total = get64(&p);
	row->held = get64(&p);
	row->name.base = (const char *)p;
	row->name.len = value->mv_size - 16;
	return true;
}

bool
store_get_queue(struct store *st, uint32_t id, struct queue_row *row)
{
	uint8_t key[4];
	MDB_val k = { sizeof(key), key }, v;

	(void)put32(key, id);
	return store_get(st, DB_QUEUE, key, sizeof(key), &v) && store_queue_row(&k, &v, row);
}

uint32_t
store_find_queue(struct store *st, const char *name)
{
	uint8_t nkey[QNAME_KEY_MAX];
	const uint8_t *p;
	MDB_val v;

	if (!store_get(st, DB_QNAME, nkey, qname_key_pack(name, strlen(name), nkey), &v) || v.mv_size != 4)
		return 0;
	p = v.mv_data;
	return get32(&p);
}

void
override_key_pack(uint64_t id, uint8_t out[OVERRIDE_KEY_LEN])
{
	put64(out, id);
}

/* Rows whose key is a number, and whose value ends in a checksum of both. */
static uint32_t
numbered_crc(uint64_t id, const void *encoded, size_t len)
{
	uint8_t key[8];

	put64(key, id);
	return crc32c(crc32c(0, key, sizeof(key)), encoded, len);
}

static bool
numbered_row(const MDB_val *key, const MDB_val *value, uint64_t *id_r, struct slice *encoded_r)
{
	const uint8_t *p = key->mv_data;

	if (key->mv_size != 8 || value->mv_size < 4)
		return false;
	*id_r = get64(&p);
	encoded_r->base = value->mv_data;
	encoded_r->len = value->mv_size - 4;
	p = (const uint8_t *)value->mv_data + encoded_r->len;
	return *id_r != 0 && get32(&p) == numbered_crc(*id_r, encoded_r->base, encoded_r->len);
}

int
store_put_override(struct store *st, const struct override *o)
{
	uint8_t key[OVERRIDE_KEY_LEN];
	struct wbuf w;
	int rc;

	wbuf_init(&w);
	override_encode(o, &w);
	wbuf_u32(&w, numbered_crc(o->id, w.p, w.len));
	override_key_pack(o->id, key);
	rc = store_put(st, DB_OVERRIDE, key, sizeof(key), w.p, w.len);
	wbuf_clear(&w);
	return rc;
}

int
store_del_override(struct store *st, uint64_t id)
{
	uint8_t key[OVERRIDE_KEY_LEN];

	override_key_pack(id, key);
	return store_del(st, DB_OVERRIDE, key, sizeof(key));
}

bool
store_override_row(const MDB_val *key, const MDB_val *value, uint64_t *id_r, struct slice *encoded_r)
{
	return numbered_row(key, value, id_r, encoded_r);
}

void
outbox_key_pack(uint64_t number, uint8_t out[OUTBOX_KEY_LEN])
{
	put64(out, number);
}

int
store_put_outbox(struct store *st, uint64_t number, struct slice encoded)
{
	uint8_t key[OUTBOX_KEY_LEN];
	struct wbuf w;
	int rc;

	wbuf_init(&w);
	wbuf_raw(&w, encoded.base, encoded.len);
	wbuf_u32(&w, numbered_crc(number, encoded.base, encoded.len));
	outbox_key_pack(number, key);
	rc = store_put(st, DB_OUTBOX, key, sizeof(key), w.p, w.len);
	wbuf_clear(&w);
	return rc;
}

int
store_del_outbox(struct store *st, uint64_t number)
{
	uint8_t key[OUTBOX_KEY_LEN];

	outbox_key_pack(number, key);
	return store_del(st, DB_OUTBOX, key, sizeof(key));
}

bool
store_outbox_row(const MDB_val *key, const MDB_val *value, uint64_t *number_r, struct slice *encoded_r)
{
	return numbered_row(key, value, number_r, encoded_r);
}
