/* Ends envelopes whose time is over. A transaction that is under way is not disturbed: such an envelope expires
 * when it comes back undelivered. What an operator holds does not expire (it has no `exp` row) until it is
 * released. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/expire.h"
#include "queued/message.h"
#include "queued/queued.h"
#include "queued/result.h"

#define ARM_MAX_MS 30000

struct expire {
	struct queued *q;
	struct timer timer;
	int64_t next; /* INT64_MAX: none */
	uint8_t cursor[EXP_KEY_LEN];
	bool has_cursor; /* the last run stopped in the middle */
};

static void
expire_arm(struct expire *ex)
{
	int64_t delay;

	if (ex->next == INT64_MAX) {
		timer_cancel(&ex->timer);
		return;
	}
	delay = ex->next - queue_now(ex->q);
	if (delay < 1)
		delay = 1;
	timer_set(&ex->timer, delay > ARM_MAX_MS ? ARM_MAX_MS : delay);
}

static void
expire_one(struct queued *q, const uint8_t key[ENV_KEY_LEN])
{
	struct qenv *e = qenv_find_key(q->mem, key);

	if (e == NULL && (e = qenv_load(q->mem, key)) == NULL)
		return;
	if (e->state == ENVELOPE_INFLIGHT) {
		e->is_overdue = true;
		consumer_cancel(e->with->consumer, e); /* which gives it back unless it is being sent */
	} else if (e->state != ENVELOPE_DONE && !(e->flags & ENV_HELD) && e->expires <= queue_now(q) &&
	    !result_is_prolonged(q, e))
		result_expire(q, e);
}

static void
on_timer(void *arg)
{
	struct expire *ex = arg;
	struct queued *q = ex->q;
	int64_t now = queue_now(q);
	unsigned n;
	MDB_val k, v;

	if (queued_is_stuck(q) || q->changes->n_dirty > 2 * COMMIT_CHANGES) {
		timer_set(&ex->timer, 1000);
		return;
	}
	if (!ex->has_cursor)
		exp_key_pack(0, NULL, ex->cursor);
	store_read_begin(q->store);
	for (n = 0; n < TURN_ENVELOPES; n++) {
		if (!store_seek(q->store, DB_EXP, ex->cursor, EXP_KEY_LEN, ex->has_cursor, &k, &v)) {
			ex->next = INT64_MAX;
			break;
		}
		if ((ex->next = exp_key_time(&k)) > now)
			break;
		memcpy(ex->cursor, k.mv_data, EXP_KEY_LEN);
		ex->has_cursor = true;
		expire_one(q, ex->cursor + 8);
	}
	store_read_end(q->store);
	ex->has_cursor = n == TURN_ENVELOPES;
	expire_arm(ex);
}

struct expire *
expire_new(struct queued *q)
{
	struct expire *ex = xcalloc(1, sizeof(*ex));

	ex->q = q;
	timer_init(&ex->timer, q->loop, on_timer, ex);
	ex->next = 0; /* look once at the start */
	expire_arm(ex);
	return ex;
}

void
expire_free(struct expire **exp)
{
	if (*exp == NULL)
		return;
	timer_cancel(&(*exp)->timer);
	free(*exp);
	*exp = NULL;
}

void
expire_sooner(struct expire *ex, int64_t when)
{
	if (when < ex->next) {
		ex->next = when;
		expire_arm(ex);
	}
}
