/* One job: a message for those of its recipients that are ready in one queue, sent to the consumer with the most
 * credit. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#include "queued/changes.h"
#include "queued/consumer.h"
#include "queued/link.h"
#include "queued/offer.h"
#include "queued/outage.h"
#include "queued/queued.h"
#include "queued/rebound.h"
#include "queued/sched.h"
#include "queued/suppressed.h"
#include "queued/throttle.h"

#define JOB_RCPTS 1000

/* What cannot be read can be neither delivered nor bounced: it is kept for somebody to look at. */
static void
offer_set_aside(struct queued *q, struct qenv *e, const char *why)
{
	static const struct enhanced_code none = { 4, 3, 0 };
	char hex[MSGID_HEX];

	msgid_hex(&e->msg->id, hex);
	log_error("message %s recipient %u is held: %s segment=%016" PRIx64 " offset=%" PRIu64, hex, e->rcpt, why,
	    e->msg->seg->number,
	    e->msg->rec.offset);
	q->count.damaged++;
	qenv_set_failure(e, 451, &none, why);
	e->flags |= ENV_HELD | ENV_DAMAGED;
	qenv_set_state(q->mem, e, ENVELOPE_HELD);
	changes_add(q->changes, e);
}

static struct consumer *
offer_choose(const struct pool *p)
{
	struct consumer *c, *best = NULL;

	TAILQ_FOREACH(c, &p->consumers, of_pool)
		if (c->is_current && c->credit > 0 && (best == NULL || c->credit > best->credit))
			best = c;
	return best;
}

/* The ready envelopes of the same message at the head of the queue, as far as they are alike. */
static unsigned
offer_collect(const struct squeue *sq, unsigned max, struct qenv **v)
{
	struct qenv *e = TAILQ_FIRST(&sq->ready);
	const struct message *msg = e->msg;
	unsigned n = 0;

	v[0] = e;
	for (; e != NULL && e->msg == msg && n < max && rebound_equal(e->rebound, v[0]->rebound);
	    e = TAILQ_NEXT(e, link))
		v[n++] = e;
	return n;
}

/* The encoder writes to nothing. */
static char *
constless(const char *s)
{
	char *p;

	memcpy(&p, &s, sizeof(p));
	return p;
}

static void
offer_encode(struct queued *q, const struct squeue *sq, struct qenv **v, unsigned n, struct wbuf *out)
{
	struct ql_job_rcpt rcpts[JOB_RCPTS];
	const struct message *msg = v[0]->msg;
	const struct envelope *env = msg->env;
	const struct meta *meta;
	struct ql_job job;
	unsigned i;

	memset(&job, 0, sizeof(job));
	job.rec = msg->rec;
	job.received = env->received;
	job.expires = v[0]->expires;
	job.sender = env->sender;
	job.envid = env->envid;
	job.ret = env->ret;
	job.digest = q->config_digest;
	job.queue = sq->name;
	job.domain = sq->domain;
	job.tenant = constless(qenv_tenant(v[0]));
	job.campaign = constless(qenv_campaign(v[0]));
	job.message_id = env->message_id;
	job.session = env->session;
	job.auth_user = env->auth_user;
	meta = qenv_meta(v[0], &job.n_meta);
	memcpy(&job.meta, &meta, sizeof(job.meta));
	if (v[0]->rebound != NULL) {
		job.head = v[0]->rebound->head;
		job.head_len = v[0]->rebound->head_len;
	}
	for (i = 0; i < n; i++) {
		rcpts[i].index = v[i]->rcpt;
		rcpts[i].address = env->rcpts[v[i]->rcpt].address;
		rcpts[i].orcpt = env->rcpts[v[i]->rcpt].orcpt;
		rcpts[i].notify = env->rcpts[v[i]->rcpt].notify;
		rcpts[i].attempts = v[i]->attempts;
		if (v[i]->expires < job.expires)
			job.expires = v[i]->expires;
	}
	job.expires = queue_wall(q, job.expires);
	job.rcpts = rcpts;
	job.n_rcpts = (uint16_t)n;
	wbuf_reset(out);
	ql_job_encode(&job, out);
}

static int
offer_send(struct queued *q, struct squeue *sq, struct consumer *c, struct qenv **v, unsigned n)
{
	struct consumer_seg *cs = consumer_segment(c, v[0]->msg->seg);
	struct wbuf *out = &q->clients->out;
	unsigned i;

	if (cs == NULL && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return -1;
	if (cs == NULL) {
		for (i = 0; i < n; i++)
			offer_set_aside(q, v[i], "its segment cannot be opened");
		return 0;
	}
	offer_encode(q, sq, v, n, out);
	ipc_send(c->client->ipc, QL_JOB, 0, out, -1);
	c->credit -= n;
	c->pool->credit -= n;
	outage_offered(c->pool, n);
	for (i = 0; i < n; i++) {
		v[i]->with = cs;
		qenv_set_state(q->mem, v[i], ENVELOPE_INFLIGHT);
	}
	return 0;
}

int
offer_job(struct queued *q, struct squeue *sq)
{
	struct qenv *v[JOB_RCPTS] = { NULL };
	struct consumer *c = offer_choose(sq->pool);
	const char *why = NULL;
	unsigned i, j, n, max = JOB_RCPTS;

	if (c == NULL)
		return -1;
	if (max > c->credit)
		max = (unsigned)c->credit;
	if (max > sq->window - sq->outstanding)
		max = sq->window - sq->outstanding;
	if (max > sched_share(sq))
		max = (unsigned)sched_share(sq);
	n = offer_collect(sq, max, v);
	if (n == 0)
		panic("queue %s had a turn without anything to offer", sq->name);
	if (message_envelope(q->mem, v[0]->msg, &why) == NULL) {
		for (i = 0; i < n; i++)
			offer_set_aside(q, v[i], why);
		return 0;
	}
	/* The row says recipient i, the record has fewer: index and spool disagree. */
	for (i = j = 0; i < n; i++) {
		if (v[i]->rcpt >= v[i]->msg->env->n_rcpts)
			offer_set_aside(q, v[i], "its record has no such recipient");
		else if (!suppressed_take(q, v[i]))
			v[j++] = v[i];
	}
	n = j > 0 ? throttle_take(q, sq, j) : 0;
	if (n == 0)
		return 0;
	if (n > j)
		panic("queue %s: %u of %u may go", sq->name, n, j);
	if (offer_send(q, sq, c, v, n) == 0)
		return 0;
	throttle_give_back(q, sq, n);
	return -1;
}
