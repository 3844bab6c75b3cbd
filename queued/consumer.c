/* Consumers: deliverd now, others later. A consumer is another user's process that talks to the Internet: what it
 * says about envelopes is believed only for those that it was given. When it goes, its jobs return to their queues
 * at once; it names what it still holds (QL_HELD) before it grants credit, so nothing is given out twice in
 * between. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/explain.h"
#include "queued/link.h"
#include "queued/logfiles.h"
#include "queued/outage.h"
#include "queued/outbox.h"
#include "queued/overrides.h"
#include "queued/policysums.h"
#include "queued/queued.h"
#include "queued/recover.h"
#include "queued/result.h"
#include "queued/segment.h"
#include "queued/stage.h"

#define CONSUMER_CREDIT_MAX 1000000u
#define CONSUMER_SEGS_MAX 128 /* segments kept open for it without jobs */

void
consumer_start(struct client *cl)
{
	struct consumer *c = xcalloc(1, sizeof(*c));

	c->client = cl;
	c->pool = pool_get(cl->q->pools, cl->name);
	c->is_current = cl->digest == cl->q->config_digest;
	TAILQ_INSERT_TAIL(&c->pool->consumers, c, of_pool);
	cl->consumer = c;
	if ((c->is_stage = stage_is_name(cl->name)))
		return;
	overrides_tell(cl->q, cl);
	if (cl->q->limits_fd == -1)
		return;
	wbuf_reset(&cl->q->clients->out);
	ql_u32_encode(BUCKETS_FORMAT, &cl->q->clients->out);
	ipc_send(cl->ipc, QL_LIMITS, 0, &cl->q->clients->out, cl->q->limits_fd);
}

void
consumer_attach(struct qenv *e)
{
	struct consumer_seg *cs = e->with;

	TAILQ_INSERT_TAIL(&cs->jobs, e, link);
	cs->n_jobs++;
	cs->consumer->outstanding++;
}

void
consumer_detach(struct qenv *e)
{
	struct consumer_seg *cs = e->with;

	TAILQ_REMOVE(&cs->jobs, e, link);
	cs->n_jobs--;
	cs->consumer->outstanding--;
	e->with = NULL;
}

static void
consumer_seg_free(struct consumer *c, struct consumer_seg *cs)
{
	HASH_DEL(c->segs, cs);
	c->n_segs--;
	free(cs);
}

static void
consumer_seg_close(struct consumer *c, struct consumer_seg *cs)
{
	struct wbuf *out = &c->client->q->clients->out;

	wbuf_reset(out);
	ql_seg_encode(cs->number, 0, 0, out);
	ipc_send(c->client->ipc, QL_SEG_CLOSE, 0, out, -1);
	consumer_seg_free(c, cs);
}

struct consumer_seg *
consumer_seg_get(struct consumer *c, uint64_t number)
{
	struct consumer_seg *cs, *old, *next;

	HASH_FIND(hh, c->segs, &number, sizeof(number), cs);
	if (cs != NULL)
		return cs;
	if (c->n_segs >= CONSUMER_SEGS_MAX) {
		HASH_ITER(hh, c->segs, old, next)
			if (old->n_jobs == 0)
				consumer_seg_close(c, old);
	}
	cs = xcalloc(1, sizeof(*cs));
	cs->number = number;
	cs->consumer = c;
	TAILQ_INIT(&cs->jobs);
	HASH_ADD(hh, c->segs, number, sizeof(cs->number), cs);
	c->n_segs++;
	return cs;
}

struct consumer_seg *
consumer_segment(struct consumer *c, struct segment *seg)
{
	struct queued *q = c->client->q;
	struct consumer_seg *cs = consumer_seg_get(c, seg->number);
	int fd;

	if (cs->is_open)
		return cs;
	if ((fd = segment_reader_fd(q->segs, seg)) == -1)
		return NULL;
	wbuf_reset(&q->clients->out);
	ql_seg_encode(seg->number, 0, 0, &q->clients->out);
	ipc_send(c->client->ipc, QL_SEG_OPEN, 0, &q->clients->out, fd);
	close(fd);
	cs->is_open = true;
	return cs;
}

void
consumers_close_segment(struct queued *q, const struct segment *seg)
{
	struct consumer_seg *cs;
	struct client *cl;

	if (q->clients == NULL)
		return;
	TAILQ_FOREACH(cl, &q->clients->all, next) {
		if (cl->consumer == NULL)
			continue;
		HASH_FIND(hh, cl->consumer->segs, &seg->number, sizeof(seg->number), cs);
		if (cs != NULL && cs->n_jobs == 0)
			consumer_seg_close(cl->consumer, cs);
	}
}

void
consumer_cancel(struct consumer *c, const struct qenv *e)
{
	struct wbuf *out = &c->client->q->clients->out;
	struct envid id;

	qenv_id(e, &id);
	wbuf_reset(out);
	ql_envid_encode(&id, out);
	ipc_send(c->client->ipc, QL_CANCEL, 0, out, -1);
}

void
consumer_stop(struct client *cl)
{
	struct consumer *c = cl->consumer;
	struct consumer_seg *cs, *next;
	struct queued *q = cl->q;
	struct qenv *e;

	if (c == NULL)
		return;
	outbox_disconnected(q, cl);
	claims_drop_consumer(q, c);
	explain_drop_consumer(q, c);
	if (c->is_current)
		c->pool->credit -= c->credit;
	TAILQ_REMOVE(&c->pool->consumers, c, of_pool);
	HASH_ITER(hh, c->segs, cs, next) {
		while ((e = TAILQ_LAST(&cs->jobs, qenv_list)) != NULL)
			result_abandoned(q, e);
		consumer_seg_free(c, cs);
	}
	cl->consumer = NULL;
	free(c);
}

/* What is in a stage by our rows may be with any daemon: a kill may have taken the commit that it went on with. But who
 * reads what strangers send, and the event log, has no business with ordinary mail. */
bool
consumer_may_have(const struct consumer *c, const struct qenv *e)
{
	return !c->is_stage || e->queue->is_stage;
}

/* QL_HELD: it has this one from before. */
static void
on_held(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct queued *q = cl->q;
	struct envid id;
	struct qenv *e;
	uint8_t key[ENV_KEY_LEN];

	if (ql_envid_decode(&m->body, &id) == -1 || cl->consumer->has_started) {
		ipc_reject(ipc, cl->consumer->has_started ? "HELD after CREDIT" : "malformed HELD");
		return;
	}
	env_key_pack(&id, key);
	if ((e = qenv_find_key(q->mem, key)) == NULL && (e = qenv_load(q->mem, key)) == NULL) {
		claim_add(q, &id, cl->consumer);
		return;
	}
	if (e->state == ENVELOPE_DONE || !consumer_may_have(cl->consumer, e) ||
	    (e->state == ENVELOPE_INFLIGHT && e->with->consumer != cl->consumer)) {
		consumer_cancel(cl->consumer, e);
		return;
	}
	if (e->state == ENVELOPE_INFLIGHT)
		return;
	result_put_in_flight(q, e, cl->consumer);
	if (e->flags & ENV_HELD)
		e->order = ORDER_HOLD;
}

static void
on_credit(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct consumer *c = cl->consumer;
	uint32_t n;

	if (ql_u32_decode(&m->body, &n) == -1 || n > CONSUMER_CREDIT_MAX || c->credit + n > CONSUMER_CREDIT_MAX) {
		ipc_reject(ipc, "bad CREDIT");
		return;
	}
	if (!c->has_started)
		outbox_connected(cl->q, cl);
	c->has_started = true;
	c->credit += n;
	if (c->is_current)
		c->pool->credit += n;
}

static void
consumer_review(struct consumer *c)
{
	bool is_current = c->client->digest == c->client->q->config_digest;

	if (is_current && !c->is_current)
		c->pool->credit += c->credit;
	else if (!is_current && c->is_current)
		c->pool->credit -= c->credit;
	c->is_current = is_current;
}

void
consumers_review(struct queued *q)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &q->clients->all, next)
		if (cl->consumer != NULL)
			consumer_review(cl->consumer);
}

void
consumers_retry(struct queued *q)
{
	struct client *cl;

	wbuf_reset(&q->clients->out);
	TAILQ_FOREACH(cl, &q->clients->all, next)
		if (cl->consumer != NULL && !cl->consumer->is_stage)
			ipc_send(cl->ipc, QL_RETRY, 0, &q->clients->out, -1);
}

static void
on_generation(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;

	if (ql_generation_decode(&m->body, &cl->generation, &cl->digest) == -1) {
		ipc_reject(ipc, "malformed GENERATION");
		return;
	}
	consumer_review(cl->consumer);
}

static void
on_result(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct queued *q = cl->q;
	struct ql_result r;
	struct qenv *e;

	if (ql_result_decode(&m->body, &r) == -1) {
		ipc_reject(ipc, "malformed RESULT");
		return;
	}
	e = qenv_find(q->mem, &r.env);
	if (e != NULL && e->state == ENVELOPE_INFLIGHT && e->with->consumer == cl->consumer)
		result_apply(q, e, &r, stage_of(cl->name));
	else if (!claim_result(q, &r, cl->consumer))
		q->count.unknown_results++;
	ql_result_clear(&r);
}

/* QL_POOL: whether it has a source that can be used. */
static void
on_pool(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	struct pool *p = cl->consumer->pool;
	bool is_usable;
	char *reason;

	if (ql_pool_decode(&m->body, &is_usable, &reason) == -1) {
		ipc_reject(ipc, "malformed POOL");
		return;
	}
	outage_set(cl->q, p, is_usable, reason);
	free(reason);
}

/* QL_LOG_WANT: what was a message of then? */
static void
on_log_want(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *cl = arg;
	uint64_t wall;
	int fd;

	if (ql_u64_decode(&m->body, &wall) == -1 || wall > INT64_MAX || strcmp(cl->name, QL_BOUNCERD) != 0) {
		ipc_reject(ipc, "LOG_WANT is malformed, or not for it to say");
		return;
	}
	fd = logfiles_reader(cl->q->logs, (int64_t)wall);
	wbuf_reset(&cl->q->clients->out);
	ipc_send(ipc, fd == -1 ? QL_LOG_NONE : QL_LOG_HERE, m->id, &cl->q->clients->out, fd);
	if (fd != -1)
		close(fd);
}

static const struct ipc_rule consumer_rules[] = {
	{ QL_HELD, false, QL_MAX_SMALL, "HELD", on_held },
	{ QL_CREDIT, false, QL_MAX_SMALL, "CREDIT", on_credit },
	{ QL_RESULT, false, QL_MAX_RESULT, "RESULT", on_result },
	{ QL_ANSWER, false, QL_MAX_RESULT, "ANSWER", explain_on_answer },
	{ QL_ANSWER_END, false, QL_MAX_SMALL, "ANSWER_END", explain_on_end },
	{ QL_LOG_WANT, false, QL_MAX_SMALL, "LOG_WANT", on_log_want },
	{ QL_GENERATION, false, QL_MAX_SMALL, "GENERATION", on_generation },
	{ QL_POOL, false, QL_MAX_SMALL, "POOL", on_pool },
	{ QL_POLICY_ERRORS, false, QL_MAX_SMALL, "POLICY_ERRORS", policy_sums_on_errors },
	{ QL_SUPPRESS, false, QL_MAX_SUPPRESS, "SUPPRESS", outbox_on_suppress },
	{ QL_SUPPRESSED, false, QL_MAX_SMALL, "SUPPRESSED", outbox_on_suppressed },
};

const struct ipc_ops consumer_ops = { consumer_rules, sizeof(consumer_rules) / sizeof(consumer_rules[0]), client_gone };
