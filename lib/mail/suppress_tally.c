/* What suppresses only when it happens several times (suppress_request.threshold): the events so far, in a row of the
 * store's own for each address, scope and cause, until there are enough or they are too old. The key is a digest: such
 * rows are looked for by nobody else. Value: 48-bit time until which it is kept, then for each event its serial number
 * (64 bits) and 48-bit time. */
#include <string.h>

#include <openssl/sha.h>

#include "mail/suppress_store_private.h"

#define DIGEST_LEN 16

struct tally {
	unsigned n;
	struct {
		uint64_t serial;
		int64_t when;
	} event[SUPPRESS_THRESHOLD_MAX];
};

static int64_t
get_time(struct rbuf *r)
{
	int64_t high = rbuf_u16(r);

	return high << 32 | rbuf_u32(r);
}

static void
put_time(struct wbuf *w, int64_t ms)
{
	wbuf_u16(w, (uint16_t)(ms >> 32));
	wbuf_u32(w, (uint32_t)ms);
}

static void
tally_key(const struct suppress_row *row, struct suppress_key *key, struct wbuf *w)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	wbuf_reset(w);
	wbuf_str(w, row->r.address);
	wbuf_u8(w, row->r.scope);
	wbuf_str(w, row->r.scope_value);
	wbuf_str(w, row->r.cause);
	(void)SHA256(w->p, w->len, digest);
	memcpy(key->b, TALLY_KEY, TALLY_KEY_LEN);
	memcpy(key->b + TALLY_KEY_LEN, digest, DIGEST_LEN);
	key->len = TALLY_KEY_LEN + DIGEST_LEN;
}

/* Those of the events that are not too old; a malformed row has none. */
static void
tally_read(const MDB_val *v, int64_t since, struct tally *t)
{
	struct rbuf r;
	uint64_t serial;
	int64_t when;

	t->n = 0;
	rbuf_init(&r, v->mv_data, v->mv_size);
	(void)get_time(&r);
	while (rbuf_left(&r) > 0 && t->n < SUPPRESS_THRESHOLD_MAX) {
		serial = rbuf_u64(&r);
		when = get_time(&r);
		if (r.bad)
			break;
		if (when < since)
			continue;
		t->event[t->n].serial = serial;
		t->event[t->n++].when = when;
	}
}

/* True unless it is there already. */
static bool
tally_add(struct tally *t, uint64_t serial, int64_t when)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		if (t->event[i].serial == serial)
			return false;
	if (t->n == SUPPRESS_THRESHOLD_MAX)
		memmove(&t->event[1], &t->event[2], --t->n * sizeof(t->event[0]) - sizeof(t->event[0]));
	t->event[t->n].serial = serial;
	t->event[t->n++].when = when;
	return true;
}

/* Requests may come in another order than their events: what is too old beside the latest does not count with it. */
static void
tally_trim(struct tally *t, int64_t within)
{
	int64_t last = 0;
	unsigned i, n = 0;

	for (i = 0; i < t->n; i++)
		if (t->event[i].when > last)
			last = t->event[i].when;
	for (i = 0; i < t->n; i++)
		if (t->event[i].when >= last - within)
			t->event[n++] = t->event[i];
	t->n = n;
}

static bool
is_enough(const struct tally *t, const struct suppress_request *q)
{
	int64_t first = INT64_MAX, last = 0;
	unsigned i;

	for (i = 0; i < t->n; i++) {
		if (t->event[i].when < first)
			first = t->event[i].when;
		if (t->event[i].when > last)
			last = t->event[i].when;
	}
	return t->n >= q->threshold && last - first >= q->spread;
}

int
suppress_tally(struct suppress_store *st, const struct suppress_row *row, const struct suppress_request *q, int64_t now)
{
	struct suppress_key key;
	struct tally t = { .n = 0 };
	MDB_val k, v;
	unsigned i;
	int rc;

	tally_key(row, &key, &st->value);
	k.mv_data = key.b;
	k.mv_size = key.len;
	rc = mdb_cursor_get(st->cursor, &k, &v, MDB_SET_KEY);
	if (rc == 0)
		tally_read(&v, q->when - q->within, &t);
	else if (rc != MDB_NOTFOUND)
		return suppress_store_fail(st, "reading", rc);
	if (!tally_add(&t, suppress_request_serial(q), row->r.when))
		return 0;
	tally_trim(&t, q->within);
	if (is_enough(&t, q))
		return suppress_store_del(st, key.b, key.len) == -1 ? -1 : 1;
	wbuf_reset(&st->value);
	put_time(&st->value, (q->when > now ? q->when : now) + q->within);
	for (i = 0; i < t.n; i++) {
		wbuf_u64(&st->value, t.event[i].serial);
		put_time(&st->value, t.event[i].when);
	}
	k.mv_data = key.b;
	k.mv_size = key.len;
	v.mv_data = st->value.p;
	v.mv_size = st->value.len;
	if ((rc = mdb_cursor_put(st->cursor, &k, &v, 0)) != 0)
		return suppress_store_fail(st, "writing", rc);
	return 0;
}
