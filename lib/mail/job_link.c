/* A consumer's link to queued (job_link.h). Frames are queued's, checked by base/ipc and mail/queue_link; a job for a
 * segment that was not opened, or beyond what was granted, ends the connection.
 *
 * Results that were sent but not yet committed by queued when it died are lost on its side. Of the delivered ones
 * the last are remembered and said again after a reconnect, however long that takes: a message that was delivered is
 * not delivered once more because of that. */
#include <bsd/sys/queue.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/job_link.h"
#include "mail/queue_client.h"

#define RECENT_MAX 16384 /* power of two */
/* Before the link was last seen to flow. That it does says only that the socket has room: queued may hang, until its
 * watchdog (a minute) ends it, with results unread or not committed. */
#define RECENT_MS 90000

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

struct job_link {
	struct loop *loop;
	const struct job_link_ops *ops;
	void *arg;
	struct eventlog *events;
	struct token_signer *token;
	struct ipc_client *client;
	struct ipc_ops ipc_ops;
	struct ipc_rule *rules;
	struct ql_keys keys;
	struct seg_tree segs;
	uint64_t granted;     /* envelopes that queued may still send */
	bool is_stopped;
	struct kept_list kept; /* results while queued is away */
	struct recent *recent; /* ring */
	uint32_t n_recent;     /* written so far */
	int64_t flowed;        /* loop_now() when nothing was waiting to be sent */
	struct wbuf w;
};

static void
on_welcome(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;

	if (queue_client_welcome(ipc, m, l->events, l->token) && l->ops->welcome != NULL)
		l->ops->welcome(l->arg);
}

static void
on_logfd(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;

	queue_client_logfd(ipc, m, l->events);
}

static void
on_keys(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;
	struct ql_keys keys;

	if (ql_keys_decode(&m->body, &keys) == -1) {
		ipc_reject(ipc, "malformed KEYS");
	} else {
		l->keys = keys;
		token_signer_set(l->token, &keys.v[0]);
	}
	explicit_bzero(&keys, sizeof(keys));
}

static void
on_seg_open(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;
	uint64_t segment, limit;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &limit) == -1) {
		ipc_reject(ipc, "malformed SEG_OPEN");
		return;
	}
	seg_tree_add(&l->segs, segment, m->fd);
	m->fd = -1;
}

static void
on_seg_close(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;
	uint64_t segment, limit;
	uint8_t kind;

	if (ql_seg_decode(&m->body, &segment, &kind, &limit) == -1) {
		ipc_reject(ipc, "malformed SEG_CLOSE");
		return;
	}
	seg_tree_remove(&l->segs, segment);
}

static void
on_job(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;
	struct ql_job j;
	struct seg *seg;

	if (ql_job_decode(&m->body, &j) == -1) {
		ipc_reject(ipc, "malformed JOB");
		return;
	}
	if (!token_signer_is_set(l->token)) {
		ipc_reject(ipc, "a job before WELCOME");
		ql_job_clear(&j);
		return;
	}
	seg = seg_tree_ref(&l->segs, j.rec.segment);
	if (seg == NULL || j.n_rcpts == 0 || l->ops->n_held(l->arg) > l->ops->credit(l->arg) + ENVELOPE_MAX_RCPTS) {
		ipc_reject(ipc, seg == NULL ? "job in a segment that is not open" :
		    "job without or with too many recipients");
		seg_unref(&seg);
		ql_job_clear(&j);
		return;
	}
	l->granted -= j.n_rcpts < l->granted ? j.n_rcpts : l->granted;
	l->ops->job(&j, seg, l->arg);
}

static void
on_cancel(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct job_link *l = arg;
	struct envid env;

	if (ql_envid_decode(&m->body, &env) == -1) {
		ipc_reject(ipc, "malformed CANCEL");
		return;
	}
	l->ops->cancel(&env, l->arg);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct job_link *l = arg;

	(void)ipc;
	log_warn("queued is away (%s): going on with %u envelopes", why, l->ops->n_held(l->arg));
	l->granted = 0;
	seg_tree_clear(&l->segs);
}

static const struct ipc_rule common_rules[] = {
	{ QL_WELCOME, false, QL_MAX_SMALL, "WELCOME", on_welcome },
	{ QL_KEYS, false, QL_MAX_SMALL, "KEYS", on_keys },
	{ QL_LOGFD, true, QL_MAX_SMALL, "LOGFD", on_logfd },
	{ QL_SEG_OPEN, true, QL_MAX_SMALL, "SEG_OPEN", on_seg_open },
	{ QL_SEG_CLOSE, false, QL_MAX_SMALL, "SEG_CLOSE", on_seg_close },
	{ QL_JOB, false, QL_MAX_JOB, "JOB", on_job },
	{ QL_CANCEL, false, QL_MAX_SMALL, "CANCEL", on_cancel },
};
#define N_COMMON (sizeof(common_rules) / sizeof(common_rules[0]))

static void
send_held(struct job_link *l, struct ipc *ipc, const struct envid *env)
{
	wbuf_reset(&l->w);
	ql_envid_encode(env, &l->w);
	ipc_send(ipc, QL_HELD, 0, &l->w, -1);
}

void
job_link_hold(struct job_link *l, const struct envid *env)
{
	struct ipc *ipc = ipc_client_conn(l->client);

	if (ipc != NULL)
		send_held(l, ipc, env);
}

static void
send_delivered_again(struct job_link *l, struct ipc *ipc, const struct envid *env)
{
	char text[] = "delivered, as reported before";
	struct ql_result r = { .env = *env, .outcome = QL_DELIVERED, .phase = PHASE_DOT, .code = 250, .text = text };

	wbuf_reset(&l->w);
	ql_result_encode(&r, &l->w);
	ipc_send(ipc, QL_RESULT, 0, &l->w, -1);
}

/* The oldest entry of the ring that is young enough. */
static uint32_t
recent_first(const struct job_link *l)
{
	int64_t since = l->flowed - RECENT_MS;
	uint32_t i = l->n_recent > RECENT_MAX ? l->n_recent - RECENT_MAX : 0;

	while (i < l->n_recent && l->recent[i % RECENT_MAX].when < since)
		i++;
	return i;
}

static void
send_all_held(struct job_link *l, struct ipc *ipc)
{
	struct kept *k;
	uint32_t i;

	l->ops->say_held(l, l->arg);
	TAILQ_FOREACH(k, &l->kept, link)
		send_held(l, ipc, &k->env);
	for (i = recent_first(l); i < l->n_recent; i++)
		send_held(l, ipc, &l->recent[i % RECENT_MAX].env);
}

static void
remember(struct job_link *l, const struct envid *env)
{
	struct recent *r = &l->recent[l->n_recent % RECENT_MAX];

	if (l->n_recent == UINT32_MAX) /* start over, keeping the ring's phase */
		l->n_recent = RECENT_MAX + l->n_recent % RECENT_MAX;
	r->env = *env;
	r->when = loop_now(l->loop);
	l->n_recent++;
}

static void
send_kept(struct job_link *l, struct ipc *ipc)
{
	struct kept *k;
	uint32_t i;

	for (i = recent_first(l); i < l->n_recent; i++) {
		l->recent[i % RECENT_MAX].when = loop_now(l->loop);
		send_delivered_again(l, ipc, &l->recent[i % RECENT_MAX].env);
	}
	while ((k = TAILQ_FIRST(&l->kept)) != NULL) {
		TAILQ_REMOVE(&l->kept, k, link);
		ipc_send(ipc, QL_RESULT, 0, &k->frame, -1);
		if (k->is_delivered)
			remember(l, &k->env);
		wbuf_clear(&k->frame);
		free(k);
	}
}

static void
on_up(struct ipc *ipc, void *arg)
{
	struct job_link *l = arg;
	struct job_link_identity me;
	struct ql_hello h = { .proto = QL_PROTO, .role = QL_ROLE_CONSUMER, .pid = (uint32_t)getpid() };

	l->ops->identity(&me, l->arg);
	memcpy(&h.name, &me.name, sizeof(h.name)); /* the encoder writes to nothing */
	h.generation = me.number;
	h.digest = me.digest;
	wbuf_reset(&l->w);
	ql_hello_encode(&h, &l->w);
	ipc_send(ipc, QL_HELLO, 0, &l->w, -1);
	if (l->ops->up != NULL)
		l->ops->up(l->arg);
	send_all_held(l, ipc);
	send_kept(l, ipc);
	l->granted = 0;
	log_debug("connected to queued, %u envelopes held", l->ops->n_held(l->arg));
}

void
job_link_step(struct job_link *l)
{
	struct ipc *ipc = ipc_client_conn(l->client);
	uint64_t limit = l->ops->credit(l->arg), used = l->ops->n_held(l->arg) + l->granted;

	if (ipc != NULL && ipc_pending(ipc) == 0)
		l->flowed = loop_now(l->loop);
	if (ipc == NULL || l->is_stopped || used >= limit || eventlog_stuck(l->events))
		return;
	/* In portions worth a frame, unless little is left to do. */
	if (limit - used < limit / 32 && used > limit / 2)
		return;
	wbuf_reset(&l->w);
	ql_u32_encode((uint32_t)(limit - used), &l->w);
	ipc_send(ipc, QL_CREDIT, 0, &l->w, -1);
	l->granted += limit - used;
}

void
job_link_generation(struct job_link *l)
{
	struct ipc *ipc = ipc_client_conn(l->client);
	struct job_link_identity me;

	if (ipc == NULL)
		return; /* HELLO will say it */
	l->ops->identity(&me, l->arg);
	wbuf_reset(&l->w);
	ql_generation_encode(me.number, me.digest, &l->w);
	ipc_send(ipc, QL_GENERATION, 0, &l->w, -1);
}

void
job_link_stop(struct job_link *l)
{
	l->is_stopped = true;
}

void
job_link_result(struct job_link *l, const struct ql_result *r)
{
	struct ipc *ipc = ipc_client_conn(l->client);
	struct kept *k;

	if (ipc != NULL) {
		wbuf_reset(&l->w);
		ql_result_encode(r, &l->w);
		ipc_send(ipc, QL_RESULT, 0, &l->w, -1);
		if (r->outcome == QL_DELIVERED)
			remember(l, &r->env);
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->env = r->env;
	k->is_delivered = r->outcome == QL_DELIVERED;
	wbuf_init(&k->frame);
	ql_result_encode(r, &k->frame);
	TAILQ_INSERT_TAIL(&l->kept, k, link);
}

bool
job_link_is_flushed(const struct job_link *l)
{
	const struct ipc *ipc = ipc_client_conn(l->client);

	return TAILQ_EMPTY(&l->kept) && (ipc == NULL || ipc_pending(ipc) == 0);
}

const struct ql_keys *
job_link_keys(const struct job_link *l)
{
	return &l->keys;
}

void *
job_link_arg(const struct job_link *l)
{
	return l->arg;
}

struct ipc *
job_link_conn(const struct job_link *l)
{
	return ipc_client_conn(l->client);
}

struct job_link *
job_link_new(struct loop *loop, const char *socket_path, const struct job_link_ops *ops, void *arg,
    struct eventlog *events, struct token_signer *token)
{
	struct job_link *l = xcalloc(1, sizeof(*l));

	l->loop = loop;
	l->ops = ops;
	l->arg = arg;
	l->events = events;
	l->token = token;
	RB_INIT(&l->segs);
	TAILQ_INIT(&l->kept);
	wbuf_init(&l->w);
	l->recent = xcalloc(RECENT_MAX, sizeof(*l->recent));
	l->rules = xcalloc(N_COMMON + ops->n_rules, sizeof(*l->rules));
	memcpy(l->rules, common_rules, sizeof(common_rules));
	if (ops->n_rules > 0)
		memcpy(l->rules + N_COMMON, ops->rules, ops->n_rules * sizeof(*l->rules));
	l->ipc_ops.rules = l->rules;
	l->ipc_ops.n_rules = N_COMMON + ops->n_rules;
	l->ipc_ops.gone = on_gone;
	l->client = ipc_client_new(loop, socket_path, &l->ipc_ops, on_up, l);
	return l;
}

void
job_link_free(struct job_link **lp)
{
	struct job_link *l = *lp;
	struct kept *k;

	*lp = NULL;
	if (l == NULL)
		return;
	ipc_client_free(&l->client);
	while ((k = TAILQ_FIRST(&l->kept)) != NULL) {
		TAILQ_REMOVE(&l->kept, k, link);
		wbuf_clear(&k->frame);
		free(k);
	}
	seg_tree_clear(&l->segs);
	wbuf_clear(&l->w);
	free(l->recent);
	free(l->rules);
	explicit_bzero(l, sizeof(*l));
	free(l);
}
