/* The link to queued (qlink.h), in the net process: what of it is deliverd's own, around mail/job_link. */
#include <stdlib.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/job_link.h"
#include "mail/policy_errors.h"
#include "deliverd/explain.h"
#include "deliverd/limit.h"
#include "deliverd/overrides.h"
#include "deliverd/path.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"
#include "deliverd/result.h"
#include "deliverd/source.h"

struct qlink {
	struct net *net;
	struct job_link *link;
	struct policy_errors_report *errors;
	struct imposed *imposed;
	struct wbuf w;
};

static void
identity(struct job_link_identity *me, void *arg)
{
	struct qlink *q = arg;

	me->name = q->net->pool_name;
	me->number = q->net->config_number;
	me->digest = q->net->config_digest;
}

static unsigned
n_held(void *arg)
{
	struct qlink *q = arg;

	return q->net->n_items;
}

static uint64_t
credit(void *arg)
{
	struct qlink *q = arg;
	int64_t n = q->net->params->deliverd_credit;

	return n > 0 ? (uint64_t)n : 1;
}

static void
say_held(struct job_link *l, void *arg)
{
	struct qlink *q = arg;
	struct item *it;

	RB_FOREACH(it, item_tree, &q->net->items)
		job_link_hold(l, &it->env);
}

static void
on_up(void *arg)
{
	struct qlink *q = arg;

	sources_tell(q->net, true);
}

static void
on_welcome(void *arg)
{
	struct qlink *q = arg;

	imposed_welcome(q->imposed);
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
on_job(struct ql_job *j, struct seg *seg, void *arg)
{
	struct qlink *q = arg;
	bool is_other = j->digest != q->net->config_digest;
	struct job *job = job_new(q->net, j, seg);

	if (job != NULL && is_other)
		hand_back(q, job);
	else if (job != NULL)
		resolver_route(q->net->resolver, job);
}

static void
on_cancel(const struct envid *env, void *arg)
{
	struct outcome o = outcome_returned("taken back", 0);
	struct qlink *q = arg;
	struct item *it = item_find(q->net, env);

	if (it != NULL && it->state != ITEM_SENDING) /* else its result is on the way */
		item_finish(q->net, it, &o, NULL, NULL);
}

/* The table of before stays ours if this one cannot be used. */
static void
on_limits(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = job_link_arg(arg);
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
	struct qlink *q = job_link_arg(arg);
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
	struct ipc *ipc = job_link_conn(q->link);

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
	struct ipc *ipc = job_link_conn(q->link);

	if (ipc == NULL)
		return;
	wbuf_reset(&q->w);
	ql_end_encode(status, sentence, &q->w);
	ipc_send(ipc, QL_ANSWER_END, id, &q->w, -1);
}

static void
on_override(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = job_link_arg(arg);

	if (imposed_said(q->imposed, &m->body) == -1)
		ipc_reject(ipc, "malformed OVERRIDE");
}

static void
on_override_end(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = job_link_arg(arg);
	uint64_t id;

	if (ql_u64_decode(&m->body, &id) == -1)
		ipc_reject(ipc, "malformed OVERRIDE_END");
	else
		imposed_ended(q->imposed, id);
}

static void
on_retry(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct qlink *q = job_link_arg(arg);

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
	{ QL_ASK, false, QL_MAX_ADMIN, "ASK", on_ask },
	{ QL_LIMITS, true, QL_MAX_SMALL, "LIMITS", on_limits },
	{ QL_OVERRIDE, false, QL_MAX_OVERRIDE, "OVERRIDE", on_override },
	{ QL_OVERRIDE_END, false, QL_MAX_SMALL, "OVERRIDE_END", on_override_end },
	{ QL_RETRY, false, QL_MAX_SMALL, "RETRY", on_retry },
};
static const struct job_link_ops ops = { .identity = identity, .n_held = n_held, .credit = credit,
	.say_held = say_held, .job = on_job, .cancel = on_cancel, .up = on_up, .welcome = on_welcome, .rules = rules,
	.n_rules = sizeof(rules) / sizeof(rules[0]) };

void
qlink_step(struct qlink *q)
{
	job_link_step(q->link);
}

void
qlink_generation(struct qlink *q)
{
	job_link_generation(q->link);
}

void
qlink_stop(struct qlink *q)
{
	job_link_stop(q->link);
}

void
qlink_result(struct qlink *q, const struct ql_result *r)
{
	job_link_result(q->link, r);
}

bool
qlink_is_flushed(const struct qlink *q)
{
	return job_link_is_flushed(q->link);
}

void
qlink_pool(struct qlink *q, bool is_usable, const char *reason)
{
	struct ipc *ipc = job_link_conn(q->link);

	if (ipc == NULL)
		return; /* said when it is back */
	wbuf_reset(&q->w);
	ql_pool_encode(is_usable, reason, &q->w);
	ipc_send(ipc, QL_POOL, 0, &q->w, -1);
}

static bool
send_errors(const struct wbuf *body, void *arg)
{
	struct qlink *q = arg;
	struct ipc *ipc = job_link_conn(q->link);

	if (ipc != NULL)
		ipc_send(ipc, QL_POLICY_ERRORS, 0, body, -1);
	return ipc != NULL;
}

struct qlink *
qlink_new(struct net *net, const char *socket_path)
{
	struct qlink *q = xcalloc(1, sizeof(*q));

	q->net = net;
	q->imposed = imposed_new();
	wbuf_init(&q->w);
	q->link = job_link_new(net->loop, socket_path, &ops, q, net->events, &net->token);
	q->errors = policy_errors_report_new(net->loop, send_errors, q);
	return q;
}

void
qlink_free(struct qlink **qp)
{
	struct qlink *q = *qp;

	*qp = NULL;
	if (q == NULL)
		return;
	policy_errors_report_free(&q->errors);
	job_link_free(&q->link);
	wbuf_clear(&q->w);
	imposed_free(&q->imposed);
	free(q);
}
