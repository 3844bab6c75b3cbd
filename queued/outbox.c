/* Requests on their way to bouncerd (outbox.h). Numbers grow over restarts, so that what was said of an old one never
 * means a new one. A request may be said twice (its row goes with a commit, and queued may die before that): that is
 * the same to bouncerd. Hostile: a consumer's requests and numbers; only bouncerd and fblproc are listened to. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"

#include "queued/changes.h"
#include "queued/clock.h"
#include "queued/link.h"
#include "queued/outbox.h"
#include "queued/queued.h"
#include "queued/store.h"

#define WINDOW 256      /* said and not answered */
#define SOON 2000       /* new ones in memory: more are not waited with */
#define FRESH_BYTES (64u << 20) /* in memory, while the disk is full; a commit writes less */
#define INDEX_SHARE 4   /* the part of the index that is for the outbox: mail has to go on */

struct item {
	TAILQ_ENTRY(item) next;
	uint64_t number;       /* its key; 0: not written yet */
	struct wbuf encoded;
	struct client *from;   /* NULL */
	uint64_t from_number;
};
TAILQ_HEAD(item_list, item);

struct outbox {
	struct queued *q;
	struct item_list fresh; /* to be written by the next commit */
	size_t n_fresh, fresh_bytes;
	uint64_t last;          /* number */
	uint64_t *gone;         /* rows to be deleted */
	size_t n_gone, gone_cap;
	struct client *bouncerd;
	uint64_t said[WINDOW];  /* to it, and not answered; 0: free */
	size_t n_said;
	uint64_t cursor;        /* the last one said */
	uint64_t n_dropped;
	bool is_complaining;
};

struct outbox *
outbox_new(struct queued *q)
{
	struct outbox *ob = xcalloc(1, sizeof(*ob));
	uint8_t key[OUTBOX_KEY_LEN];
	struct slice encoded;
	MDB_val k, v;
	bool more;

	ob->q = q;
	TAILQ_INIT(&ob->fresh);
	store_read_begin(q->store);
	outbox_key_pack(0, key);
	for (more = store_seek(q->store, DB_OUTBOX, key, sizeof(key), false, &k, &v); more;
	    more = store_seek(q->store, DB_OUTBOX, key, sizeof(key), true, &k, &v)) {
		if (!store_outbox_row(&k, &v, &ob->last, &encoded))
			break;
		memcpy(key, k.mv_data, sizeof(key));
	}
	store_read_end(q->store);
	/* Beyond all that an earlier run gave and forgot: none gives a thousand in a millisecond for long. */
	if (ob->last < (uint64_t)loop_wall(q->loop) << 10)
		ob->last = (uint64_t)loop_wall(q->loop) << 10;
	return ob;
}

static void
item_free(struct outbox *ob, struct item *i)
{
	TAILQ_REMOVE(&ob->fresh, i, next);
	ob->n_fresh--;
	ob->fresh_bytes -= i->encoded.len;
	wbuf_clear(&i->encoded);
	free(i);
}

void
outbox_free(struct outbox **obp)
{
	struct outbox *ob = *obp;
	struct item *i;

	if (ob == NULL)
		return;
	while ((i = TAILQ_FIRST(&ob->fresh)) != NULL)
		item_free(ob, i);
	free(ob->gone);
	free(ob);
	*obp = NULL;
}

/* ---- what comes in ---- */

/* Many months of a large sender's bounces, with bouncerd away all the time. */
static bool
is_full(struct outbox *ob)
{
	uint64_t rows, bytes;
	bool yes;

	store_read_begin(ob->q->store);
	rows = store_count(ob->q->store, DB_OUTBOX) + ob->n_fresh;
	bytes = store_bytes_of(ob->q->store, DB_OUTBOX) + ob->fresh_bytes;
	store_read_end(ob->q->store);
	yes = bytes > (uint64_t)ob->q->params->index_size_limit / INDEX_SHARE || ob->fresh_bytes > FRESH_BYTES;
	if (yes && !ob->is_complaining)
		log_error("%" PRIu64 " addresses wait for bouncerd: no more that are to be suppressed are noted until "
		    "it takes them", rows);
	ob->is_complaining = yes;
	ob->n_dropped += yes;
	return yes;
}

static void
answer(struct client *cl, uint64_t number)
{
	struct wbuf *out = &cl->q->clients->out;

	wbuf_reset(out);
	ql_u64_encode(number, out);
	ipc_send(cl->ipc, QL_SUPPRESSED, 0, out, -1);
}

void
outbox_add(struct queued *q, const struct suppress_request *r, struct client *from, uint64_t number)
{
	struct outbox *ob = q->outbox;
	struct item *i;

	/* It would wait for ever, and its report with it: who sent it is answered all the same. */
	if (is_full(ob)) {
		if (from != NULL)
			answer(from, number);
		return;
	}
	i = xcalloc(1, sizeof(*i));
	i->from = from;
	i->from_number = number;
	wbuf_init(&i->encoded);
	suppress_request_encode(r, &i->encoded);
	TAILQ_INSERT_TAIL(&ob->fresh, i, next);
	changes_poke(q->changes);
	ob->fresh_bytes += i->encoded.len;
	if (++ob->n_fresh >= SOON)
		changes_hurry(q->changes);
}

void
outbox_on_suppress(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct suppress_request r;
	uint64_t number;

	if (strcmp(cl->name, QL_BOUNCERD) != 0 && strcmp(cl->name, QL_FBLPROC) != 0) {
		ipc_reject(ipc, "SUPPRESS from a consumer that has no say in it");
		return;
	}
	if (ql_suppress_decode(&m->body, &number, &r) == -1) {
		ipc_reject(ipc, "malformed SUPPRESS");
		return;
	}
	outbox_add(cl->q, &r, cl, number);
	suppress_request_clear(&r);
}

/* ---- what goes out ---- */

static void
say(struct outbox *ob, uint64_t number, const struct slice *encoded)
{
	struct wbuf *out = &ob->q->clients->out;
	size_t i;

	for (i = 0; ob->said[i] != 0; i++)
		;
	ob->said[i] = number;
	ob->n_said++;
	ob->cursor = number;
	wbuf_reset(out);
	wbuf_u64(out, number);
	wbuf_raw(out, encoded->base, encoded->len);
	ipc_send(ob->bouncerd->ipc, QL_SUPPRESS, 0, out, -1);
}

static bool
is_gone(const struct outbox *ob, uint64_t number)
{
	size_t i;

	for (i = 0; i < ob->n_gone; i++)
		if (ob->gone[i] == number)
			return true;
	return false;
}

/* As many as the window takes, from the index: only what is durable is said. */
static void
outbox_send(struct outbox *ob)
{
	struct store *st = ob->q->store;
	uint8_t key[OUTBOX_KEY_LEN];
	struct slice encoded;
	uint64_t number;
	MDB_val k, v;

	if (ob->bouncerd == NULL || ob->n_said == WINDOW)
		return;
	store_read_begin(st);
	while (ob->n_said < WINDOW) {
		outbox_key_pack(ob->cursor, key);
		if (!store_seek(st, DB_OUTBOX, key, sizeof(key), true, &k, &v))
			break;
		if (!store_outbox_row(&k, &v, &number, &encoded))
			store_broken(st, "a row of outbox", MDB_CORRUPTED);
		if (is_gone(ob, number))
			ob->cursor = number;
		else
			say(ob, number, &encoded);
	}
	store_read_end(st);
}

void
outbox_connected(struct queued *q, struct client *cl)
{
	struct outbox *ob = q->outbox;

	if (strcmp(cl->name, QL_BOUNCERD) != 0)
		return;
	/* The later one is the one that lives: an old connection may not have been noticed as dead yet. */
	ob->bouncerd = cl;
	memset(ob->said, 0, sizeof(ob->said));
	ob->n_said = 0;
	ob->cursor = 0;
	outbox_send(ob);
}

void
outbox_disconnected(struct queued *q, struct client *cl)
{
	struct outbox *ob = q->outbox;
	struct item *i;

	TAILQ_FOREACH(i, &ob->fresh, next)
		if (i->from == cl)
			i->from = NULL;
	if (ob->bouncerd == cl)
		ob->bouncerd = NULL;
}

static void
gone_add(struct outbox *ob, uint64_t number)
{
	if (ob->n_gone == ob->gone_cap) {
		ob->gone_cap = ob->gone_cap == 0 ? 64 : 2 * ob->gone_cap;
		ob->gone = xreallocarray(ob->gone, ob->gone_cap, sizeof(*ob->gone));
	}
	ob->gone[ob->n_gone++] = number;
	changes_poke(ob->q->changes);
}

void
outbox_on_suppressed(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct outbox *ob = cl->q->outbox;
	uint64_t number;
	size_t i;

	if (ql_u64_decode(&m->body, &number) == -1 || number == 0 || ob->bouncerd != cl) {
		ipc_reject(ipc, "bad SUPPRESSED");
		return;
	}
	for (i = 0; i < WINDOW && ob->said[i] != number; i++)
		;
	/* What it heard before it connected anew, and hears again, it answers twice. */
	if (i == WINDOW)
		return;
	ob->said[i] = 0;
	ob->n_said--;
	gone_add(ob, number);
	/* A commit frees them: until then only as many as a few windows are remembered. */
	if (ob->n_gone < 4 * (size_t)WINDOW)
		outbox_send(ob);
}

/* ---- commits ---- */

bool
outbox_is_dirty(const struct outbox *ob)
{
	return ob->n_fresh > 0 || ob->n_gone > 0;
}

int
outbox_store(struct queued *q, bool only_deletes)
{
	struct outbox *ob = q->outbox;
	uint64_t number = ob->last;
	struct item *i;
	size_t g;
	int rc;

	for (g = 0; g < ob->n_gone; g++)
		if ((rc = store_del_outbox(q->store, ob->gone[g])) != 0)
			return rc;
	/* No room for any: that deletions get through is worth more than what a kill now would lose of these. */
	if (only_deletes)
		return 0;
	TAILQ_FOREACH(i, &ob->fresh, next) {
		i->number = ++number;
		if ((rc = store_put_outbox(q->store, number, (struct slice){ (char *)i->encoded.p,
		    i->encoded.len })) != 0)
			return rc;
	}
	return 0;
}

void
outbox_stored(struct queued *q, bool only_deletes)
{
	struct outbox *ob = q->outbox;
	struct item *i;

	ob->n_gone = 0;
	while (!only_deletes && (i = TAILQ_FIRST(&ob->fresh)) != NULL) {
		ob->last = i->number;
		if (i->from != NULL)
			answer(i->from, i->from_number);
		item_free(ob, i);
	}
	outbox_send(ob);
}

void
outbox_json(struct queued *q, struct json *j)
{
	const struct outbox *ob = q->outbox;

	json_obj(j, "outbox");
	store_read_begin(q->store);
	json_int(j, "suppressions", (int64_t)store_count(q->store, DB_OUTBOX));
	store_read_end(q->store);
	json_int(j, "said", (int64_t)ob->n_said);
	json_int(j, "dropped", (int64_t)ob->n_dropped);
	json_bool(j, "bouncerd", ob->bouncerd != NULL);
	json_obj_end(j);
}
