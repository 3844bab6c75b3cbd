/* The link to queued (qlink.h), in the net process. Frames are queued's, checked by base/ipc and mail/queue_link; a
 * job for a segment that was not opened, or beyond what was granted, ends the connection.
 *
 * Results that were sent but not yet committed by queued when it died are lost on its side. Of the delivered ones
 * the last are remembered and said again after a reconnect, however long that takes: a message that was delivered is
 * not delivered once more because of that. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/policy_errors.h"
#include "mail/queue_client.h"
#include "deliverd/explain.h"
#include "deliverd/limit.h"
#include "deliverd/overrides.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"
#include "deliverd/result.h"
#include "deliverd/source.h"

#define RECENT_MAX 16384 /* power of two */
#define RECENT_MS 5000   /* before the link was last seen to flow: queued's commits, and what the socket holds */

struct recent {
	struct envid env;
	int64_t when;
};

struct kept {
	TAILQ_ENTRY(kept) link;
	struct envid env;
	bool is_delivered;
	struct wbuf frame;
};
TAILQ_HEAD(kept_list, kept);

struct qlink {
	struct net *net;
	struct ipc_client *client;
	struct policy_errors_report *errors;
	struct seg_tree segs;
	struct imposed *imposed;
	uint64_t granted;     /* envelopes that queued may still send */
	bool is_stopped;
	struct kept_list kept; /* results while queued is away */
	struct recent *recent; /* ring */
	uint32_t n_recent;     /* written so far */
	int64_t flowed;        /* loop_now() when nothing was waiting to be sent */
	struct wbuf w;
};

static uint64_t
credit_limit(const struct qlink *q)
{
	int64_t n = q->net->params->deliverd_credit;

	return n > 0 ? (uint64_t)n : 1;
}

static void
on_welcome(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	(void)queue_client_welcome(ipc, m, q->net->events, &q->net->token);
	imposed_welcome(q->imposed);
}

static void
on_logfd(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	queue_client_logfd(ipc, m, q->net->events);
}

static void
on_seg_open(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint64_t segment, limit;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &limit) == -1) {
		ipc_reject(ipc, "malformed SEG_OPEN");
		return;
	}
	seg_tree_add(&q->segs, segment, m->fd);
	m->fd = -1;
}

static void
on_seg_close(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint64_t segment, limit;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &limit) == -1) {
		ipc_reject(ipc, "malformed SEG_CLOSE");
		return;
	}
	seg_tree_remove(&q->segs, segment);
}

/* It was routed by another configuration than the one that would choose its source here. */
static void
hand_back(struct qlink *q, struct job *job)
{
	struct outcome o = outcome_returned("routed by another configuration", 0);
	unsigned n = job->n_open;

	for (unsigned i = 0; i < n; i++) /* the job goes with its last item */
		item_finish(q->net, &job->items[i], &o, NULL, NULL);
}

static void
on_job(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	struct ql_job j;
	struct job *job;
	struct seg *seg;
	bool is_other;

	if (ql_job_decode(&m->body, &j) == -1) {
		ipc_reject(ipc, "malformed JOB");
		return;
	}
	if (!token_signer_is_set(&q->net->token)) {
		ipc_reject(ipc, "a job before WELCOME");
		ql_job_clear(&j);
		return;
	}
	seg = seg_tree_ref(&q->segs, j.rec.segment);
	if (seg == NULL || j.n_rcpts == 0 || q->net->n_items > credit_limit(q) + ENVELOPE_MAX_RCPTS) {
		ipc_reject(ipc, seg == NULL ? "job in a segment that is not open" :
		    "job without or with too many recipients");
		seg_unref(&seg);
		ql_job_clear(&j);
		return;
	}
	q->granted -= j.n_rcpts < q->granted ? j.n_rcpts : q->granted;
	is_other = j.digest != q->net->config_digest;
	job = job_new(q->net, &j, seg);
	if (job != NULL && is_other)
		hand_back(q, job);
	else if (job != NULL)
		resolver_route(q->net->resolver, job);
}

static void
on_cancel(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct outcome o = outcome_returned("taken back", 0);
	struct qlink *q = arg;
	struct envid env;
	struct item *it;

	if (ql_envid_decode(&m->body, &env) == -1) {
		ipc_reject(ipc, "malformed CANCEL");
		return;
	}
	it = item_find(q->net, &env);
	if (it != NULL && it->state != ITEM_SENDING) /* else its result is on the way */
		item_finish(q->net, it, &o, NULL, NULL);
}

/* The table of before stays ours if this one cannot be used. */
static void
on_limits(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	struct buckets *b;
	uint32_t format;

	if (ql_u32_decode(&m->body, &format) == -1 || format != BUCKETS_FORMAT || (b = buckets_map(m->fd)) == NULL) {
		ipc_reject(ipc, "malformed LIMITS");
		return;
	}
	limits_set_table(q->net->limits, b);
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	struct ql_admin ask;

	if (ql_admin_decode(&m->body, &ask) == -1) {
		ipc_reject(ipc, "malformed ASK");
		return;
	}
	explain_start(q->net, m->id, &ask);
	ql_admin_clear(&ask);
}

void
qlink_answer(struct qlink *q, uint32_t id, struct json *json)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	wbuf_u8(&json->out, 0);
	if (ipc != NULL) {
		wbuf_reset(&q->w);
		ql_str_encode((const char *)json->out.p, &q->w);
		ipc_send(ipc, QL_ANSWER, id, &q->w, -1);
	}
	json_reset(json);
}

void
qlink_answer_end(struct qlink *q, uint32_t id, uint8_t status, const char *sentence)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc == NULL)
		return;
	wbuf_reset(&q->w);
	ql_end_encode(status, sentence, &q->w);
	ipc_send(ipc, QL_ANSWER_END, id, &q->w, -1);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct qlink *q = arg;

	(void)ipc;
	log_warn("queued is away (%s): going on with %u envelopes", why, q->net->n_items);
	q->granted = 0;
	seg_tree_clear(&q->segs);
}

static void
on_override(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	if (imposed_said(q->imposed, &m->body) == -1)
		ipc_reject(ipc, "malformed OVERRIDE");
}

static void
on_override_end(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;
	uint64_t id;

	if (ql_u64_decode(&m->body, &id) == -1)
		ipc_reject(ipc, "malformed OVERRIDE_END");
	else
		imposed_ended(q->imposed, id);
}

static void
on_retry(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = arg;

	(void)ipc;
	(void)m;
	paths_retry(q->net);
	sources_retry(q->net);
}

struct imposed *
qlink_imposed(const struct qlink *q)
{
	return q->imposed;
}

static const struct ipc_rule rules[] = {
	{ QL_WELCOME, false, QL_MAX_SMALL, "WELCOME", on_welcome },
	{ QL_LOGFD, true, QL_MAX_SMALL, "LOGFD", on_logfd },
	{ QL_SEG_OPEN, true, QL_MAX_SMALL, "SEG_OPEN", on_seg_open },
	{ QL_SEG_CLOSE, false, QL_MAX_SMALL, "SEG_CLOSE", on_seg_close },
	{ QL_JOB, false, QL_MAX_JOB, "JOB", on_job },
	{ QL_CANCEL, false, QL_MAX_SMALL, "CANCEL", on_cancel },
	{ QL_ASK, false, QL_MAX_ADMIN, "ASK", on_ask },
	{ QL_LIMITS, true, QL_MAX_SMALL, "LIMITS", on_limits },
	{ QL_OVERRIDE, false, QL_MAX_OVERRIDE, "OVERRIDE", on_override },
	{ QL_OVERRIDE_END, false, QL_MAX_SMALL, "OVERRIDE_END", on_override_end },
	{ QL_RETRY, false, QL_MAX_SMALL, "RETRY", on_retry },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

static void
send_envid(struct qlink *q, struct ipc *ipc, const struct envid *env)
{
	wbuf_reset(&q->w);
	ql_envid_encode(env, &q->w);
	ipc_send(ipc, QL_HELD, 0, &q->w, -1);
}

static void
send_delivered_again(struct qlink *q, struct ipc *ipc, const struct envid *env)
{
	char text[] = "delivered, as reported before";
	struct ql_result r = { .env = *env, .outcome = QL_DELIVERED, .phase = PHASE_DOT, .code = 250, .text = text };

	wbuf_reset(&q->w);
	ql_result_encode(&r, &q->w);
	ipc_send(ipc, QL_RESULT, 0, &q->w, -1);
}

/* The oldest entry of the ring that is young enough. */
static uint32_t
recent_first(const struct qlink *q)
{
	int64_t since = q->flowed - RECENT_MS;
	uint32_t i = q->n_recent > RECENT_MAX ? q->n_recent - RECENT_MAX : 0;

	while (i < q->n_recent && q->recent[i % RECENT_MAX].when < since)
		i++;
	return i;
}

static void
send_held(struct qlink *q, struct ipc *ipc)
{
	struct item *it;
	struct kept *k;
	uint32_t i;

	RB_FOREACH(it, item_tree, &q->net->items)
		send_envid(q, ipc, &it->env);
	TAILQ_FOREACH(k, &q->kept, link)
		send_envid(q, ipc, &k->env);
	for (i = recent_first(q); i < q->n_recent; i++)
		send_envid(q, ipc, &q->recent[i % RECENT_MAX].env);
}

static void
remember(struct qlink *q, const struct envid *env)
{
	struct recent *r = &q->recent[q->n_recent % RECENT_MAX];

	if (q->n_recent == UINT32_MAX) /* start over, keeping the ring's phase */
		q->n_recent = RECENT_MAX + q->n_recent % RECENT_MAX;
	r->env = *env;
	r->when = loop_now(q->net->loop);
	q->n_recent++;
}

static void
send_kept(struct qlink *q, struct ipc *ipc)
{
	struct kept *k;
	uint32_t i;

	for (i = recent_first(q); i < q->n_recent; i++) {
		q->recent[i % RECENT_MAX].when = loop_now(q->net->loop);
		send_delivered_again(q, ipc, &q->recent[i % RECENT_MAX].env);
	}
	while ((k = TAILQ_FIRST(&q->kept)) != NULL) {
		TAILQ_REMOVE(&q->kept, k, link);
		ipc_send(ipc, QL_RESULT, 0, &k->frame, -1);
		if (k->is_delivered)
			remember(q, &k->env);
		wbuf_clear(&k->frame);
		free(k);
	}
}

static void
on_up(struct ipc *ipc, void *arg)
{
	struct qlink *q = arg;
	struct ql_hello h = { .proto = QL_PROTO, .role = QL_ROLE_CONSUMER, .name = q->net->pool_name,
		.pid = (uint32_t)getpid(), .generation = q->net->config_number,
		.digest = q->net->config_digest };

	wbuf_reset(&q->w);
	ql_hello_encode(&h, &q->w);
	ipc_send(ipc, QL_HELLO, 0, &q->w, -1);
	sources_tell(q->net, true);
	send_held(q, ipc);
	send_kept(q, ipc);
	q->granted = 0;
	log_debug("connected to queued, %u envelopes held", q->net->n_items);
}

void
qlink_step(struct qlink *q)
{
	struct ipc *ipc = ipc_client_conn(q->client);
	uint64_t limit = credit_limit(q), used = q->net->n_items + q->granted;

	if (ipc != NULL && ipc_pending(ipc) == 0)
		q->flowed = loop_now(q->net->loop);
	if (ipc == NULL || q->is_stopped || used >= limit || eventlog_stuck(q->net->events))
		return;
	/* In portions worth a frame, unless little is left to do. */
	if (limit - used < limit / 32 && used > limit / 2)
		return;
	wbuf_reset(&q->w);
	ql_u32_encode((uint32_t)(limit - used), &q->w);
	ipc_send(ipc, QL_CREDIT, 0, &q->w, -1);
	q->granted += limit - used;
}

void
qlink_generation(struct qlink *q)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc == NULL)
		return; /* HELLO will say it */
	wbuf_reset(&q->w);
	ql_generation_encode(q->net->config_number, q->net->config_digest, &q->w);
	ipc_send(ipc, QL_GENERATION, 0, &q->w, -1);
}

void
qlink_stop(struct qlink *q)
{
	q->is_stopped = true;
}

void
qlink_result(struct qlink *q, const struct ql_result *r)
{
	struct ipc *ipc = ipc_client_conn(q->client);
	struct kept *k;

	if (ipc != NULL) {
		wbuf_reset(&q->w);
		ql_result_encode(r, &q->w);
		ipc_send(ipc, QL_RESULT, 0, &q->w, -1);
		if (r->outcome == QL_DELIVERED)
			remember(q, &r->env);
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->env = r->env;
	k->is_delivered = r->outcome == QL_DELIVERED;
	wbuf_init(&k->frame);
	ql_result_encode(r, &k->frame);
	TAILQ_INSERT_TAIL(&q->kept, k, link);
}

void
qlink_pool(struct qlink *q, bool is_usable, const char *reason)
{
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc == NULL)
		return; /* said when it is back */
	wbuf_reset(&q->w);
	ql_pool_encode(is_usable, reason, &q->w);
	ipc_send(ipc, QL_POOL, 0, &q->w, -1);
}

bool
qlink_is_flushed(const struct qlink *q)
{
	const struct ipc *ipc = ipc_client_conn(q->client);

	return TAILQ_EMPTY(&q->kept) && (ipc == NULL || ipc_pending(ipc) == 0);
}

static bool
send_errors(const struct wbuf *body, void *arg)
{
	struct qlink *q = arg;
	struct ipc *ipc = ipc_client_conn(q->client);

	if (ipc != NULL)
		ipc_send(ipc, QL_POLICY_ERRORS, 0, body, -1);
	return ipc != NULL;
}

struct qlink *
qlink_new(struct net *net, const char *socket_path)
{
	struct qlink *q = xcalloc(1, sizeof(*q));

	q->net = net;
	RB_INIT(&q->segs);
	TAILQ_INIT(&q->kept);
	q->imposed = imposed_new();
	wbuf_init(&q->w);
	q->recent = xcalloc(RECENT_MAX, sizeof(*q->recent));
	q->client = ipc_client_new(net->loop, socket_path, &ops, on_up, q);
	q->errors = policy_errors_report_new(net->loop, send_errors, q);
	return q;
}

void
qlink_free(struct qlink **qp)
{
	struct qlink *q = *qp;
	struct kept *k;

	*qp = NULL;
	if (q == NULL)
		return;
	policy_errors_report_free(&q->errors);
	ipc_client_free(&q->client);
	while ((k = TAILQ_FIRST(&q->kept)) != NULL) {
		TAILQ_REMOVE(&q->kept, k, link);
		wbuf_clear(&k->frame);
		free(k);
	}
	seg_tree_clear(&q->segs);
	wbuf_clear(&q->w);
	free(q->recent);
	imposed_free(&q->imposed);
	free(q);
}
