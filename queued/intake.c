/* A record becomes envelopes: one for each recipient, in its scheduled queue, fresh and due at once. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/events.h"
#include "queued/message.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/reason.h"
#include "queued/recover.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/stage.h"

/* Read from the segment; NULL if there is nothing to be done with it. */
static struct envelope *
intake_read(struct queued *q, struct segment *seg, const struct record *rec)
{
	const char *why = NULL;
	struct envelope *env;
	bool is_known;

	store_read_begin(q->store);
	is_known = message_find(q->mem, &rec->id) != NULL || store_has_message(q->store, &rec->id);
	store_read_end(q->store);
	if (is_known)
		return NULL;
	if ((env = record_read_envelope(segment_fd(q->segs, seg), rec, &why)) == NULL ||
	    msgid_cmp(&env->id, &rec->id) != 0 || env->n_rcpts == 0) {
		damage_report(q, seg, rec->offset, rec->offset + record_len(rec),
		    why != NULL ? why : "its envelope is another message's");
		envelope_free(&env);
	}
	return env;
}

/* Says once why it waits from the first, if it does. True: it does not wait for its time. */
static bool
intake_explain(struct queued *q, struct qenv *e)
{
	const struct squeue *sq = e->queue;
	bool is_due = e->due <= queue_now(q);
	char *why = NULL;

	if (!is_due)
		why = xstrdup("its schedule says not before");
	else if (sq->pool == NULL || sq->pool->is_out)
		why = squeue_reason(q, sq);
	if (why != NULL) {
		e->flags |= ENV_DELAY_LOGGED;
		events_delayed(q, e, why);
	}
	free(why);
	return is_due;
}

static void
intake_rcpt(struct queued *q, struct message *msg, uint16_t rcpt, struct squeue *sq, int64_t received)
{
	struct qenv *e = qenv_new(q->mem, msg, rcpt, sq);

	e->due = queue_now(q);
	if (msg->env->first_attempt > 0 && queue_time(q, msg->env->first_attempt) > e->due)
		e->due = queue_time(q, msg->env->first_attempt);
	if (msg->env->expires > 0) {
		e->expires = queue_time(q, msg->env->expires);
	} else {
		e->expires = received + sq->config.max_age;
		e->born = received;
		e->flags |= ENV_BORN;
	}
	changes_add(q->changes, e);
	if (q->recover->n_claims > 0 && claim_settle(q, e))
		return;
	if (overrides_intake(q, e))
		return;
	qenv_set_state(q->mem, e, intake_explain(q, e) ? ENVELOPE_READY : ENVELOPE_DEFERRED);
}

void
intake_record(struct queued *q, struct segment *seg, const struct record *rec, struct envelope *env)
{
	struct message *msg;
	struct squeue *sq;
	uint32_t i, n;
	/* What was announced has just come in, whatever the clock of then said. */
	int64_t received = env != NULL ? queue_now(q) : 0;

	if (env == NULL && (env = intake_read(q, seg, rec)) == NULL)
		return;
	n = env->n_rcpts;
	if (received == 0)
		received = queue_time(q, env->received);
	msg = message_new(q->mem, seg, rec, env);
	message_ref(q->mem, msg); /* a claimed envelope may be finished at once */
	seg->live += n;
	seg->total += n;
	q->count.received += n;
	for (i = 0; i < n; i++) {
		if ((sq = stage_first(q, env->rcpts[i].address)) == NULL)
			sq = squeue_for(q->queues, env, env->rcpts[i].address);
		if (i == 0 && (rec->flags & MSG_GENERATED) != 0)
			events_generated(q, rec, env, sq);
		intake_rcpt(q, msg, (uint16_t)i, sq, received);
	}
	message_unref(q->mem, msg);
}
