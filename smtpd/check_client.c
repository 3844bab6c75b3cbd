/* Questions to the check role (worker role; check_client.h). Up to ACTIVE_MAX are in its hands, others wait their turn.
 * The role's questions to name servers are passed on, if they are such and not too many; so are the answers. */
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/check_client.h"

#define ACTIVE_MAX 256
#define OPEN_MAX 16 /* questions of one check at a time */
#define TICK_MS 500

struct open_question {
	struct check_request *r;
	struct dns_request *dns; /* NULL: free */
	uint32_t number;
};

struct check_request {
	RB_ENTRY(check_request) entry;
	TAILQ_ENTRY(check_request) in_order;
	struct check_client *client;
	uint32_t id;
	bool is_active;      /* in the role's hands */
	int64_t give_up;
	uint8_t want;
	struct wbuf begin;
	uint64_t len, sent, taken;
	check_read_fn *read;
	check_fn *fn;
	void *arg;
	unsigned n_questions;
	struct open_question open[OPEN_MAX];
};

static int
request_cmp(struct check_request *a, struct check_request *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_HEAD(check_request_tree, check_request);
RB_GENERATE_INTERNAL(check_request_tree, check_request, entry, request_cmp, __attribute__((unused)) static)

struct check_client {
	struct loop *loop;
	struct dns_client *dns;
	uint32_t question_ms;
	struct ipc *peer;
	struct check_request_tree pending;
	TAILQ_HEAD(, check_request) order; /* as they were asked */
	unsigned n_active;
	struct timer timer;
	uint32_t next_id;
};

static void
forget(struct check_client *c, struct check_request *r)
{
	unsigned i;

	for (i = 0; i < OPEN_MAX; i++)
		if (r->open[i].dns != NULL)
			dns_client_cancel(c->dns, &r->open[i].dns);
	RB_REMOVE(check_request_tree, &c->pending, r);
	TAILQ_REMOVE(&c->order, r, in_order);
	if (r->is_active)
		c->n_active--;
	wbuf_clear(&r->begin);
	free(r);
}

static void
finish(struct check_client *c, struct check_request *r, const struct auth_results *a)
{
	check_fn *fn = r->fn;
	void *arg = r->arg;

	forget(c, r);
	fn(a, arg);
}

static void
fail(struct check_client *c, struct check_request *r, const char *why)
{
	struct auth_results a;

	memset(&a, 0, sizeof a);
	auth_results_fail(&a, r->want, why);
	finish(c, r, &a);
}

static void
drop(struct check_client *c, const struct check_request *r)
{
	if (r->is_active && c->peer != NULL)
		ipc_send(c->peer, CHECK_DROP, r->id, NULL, -1);
}

/* More of the content, as far as the role has room. False: it cannot be read, the request is over. */
static bool
send_content(struct check_client *c, struct check_request *r)
{
	uint8_t *buf;
	struct wbuf w;
	size_t n;

	while (c->peer != NULL && r->sent < r->len && r->sent - r->taken < CHECK_WINDOW) {
		n = r->len - r->sent < CHECK_DATA_MAX ? (size_t)(r->len - r->sent) : CHECK_DATA_MAX;
		wbuf_init(&w);
		wbuf_reserve(&w, n);
		buf = w.p;
		if (r->read(r->arg, r->sent, buf, n) == -1) {
			wbuf_clear(&w);
			drop(c, r);
			fail(c, r, "the content cannot be read");
			return false;
		}
		w.len = n;
		r->sent += n;
		ipc_send(c->peer, CHECK_DATA, r->id, &w, -1);
		wbuf_clear(&w);
	}
	return true;
}

static void
activate(struct check_client *c)
{
	struct check_request *r, *next;

	TAILQ_FOREACH_SAFE(r, &c->order, in_order, next) {
		if (c->peer == NULL || c->n_active >= ACTIVE_MAX)
			return;
		if (r->is_active)
			continue;
		r->is_active = true;
		c->n_active++;
		ipc_send(c->peer, CHECK_BEGIN, r->id, &r->begin, -1);
		wbuf_clear(&r->begin);
	}
}

/* Content goes out from the loop, where a request may end. */
static void
on_timer(void *arg)
{
	struct check_client *c = arg;
	struct check_request *r, *next;

	while ((r = TAILQ_FIRST(&c->order)) != NULL && r->give_up <= loop_now(c->loop)) {
		log_debug("a check takes too long");
		drop(c, r);
		fail(c, r, "the check took too long");
	}
	activate(c);
	TAILQ_FOREACH_SAFE(r, &c->order, in_order, next)
		if (r->is_active && r->sent == 0)
			(void)send_content(c, r);
	if (!TAILQ_EMPTY(&c->order) && !timer_is_set(&c->timer))
		timer_set(&c->timer, TICK_MS);
}

static void
on_dns(const struct dns_reply *reply, void *arg)
{
	struct open_question *o = arg;
	struct check_client *c = o->r->client;
	struct wbuf w;

	o->dns = NULL;
	if (c->peer == NULL)
		return;
	wbuf_init(&w);
	check_reply_encode(o->number, reply, &w);
	ipc_send(c->peer, CHECK_REPLY, o->r->id, &w, -1);
	wbuf_clear(&w);
}

static struct check_request *
find(struct check_client *c, uint32_t id)
{
	struct check_request probe = { .id = id }, *r;

	r = RB_FIND(check_request_tree, &c->pending, &probe);
	return r != NULL && r->is_active ? r : NULL;
}

static void
on_question(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct check_client *c = arg;
	struct check_request *r = find(c, m->id);
	char text[] = "the name service is not available now";
	const struct dns_reply none = { .status = DNS_TEMPORARY, .text = text };
	struct check_question q;
	struct open_question *o;
	unsigned i;

	if (check_question_decode(&m->body, &q) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	if (r == NULL)
		return;
	for (i = 0; i < OPEN_MAX && r->open[i].dns != NULL;)
		i++;
	if (i == OPEN_MAX || ++r->n_questions > CHECK_QUESTIONS_MAX) {
		ipc_reject(ipc, "too many questions to name servers");
		return;
	}
	o = &r->open[i];
	o->r = r;
	o->number = q.number;
	o->dns = dns_client_ask(c->dns, q.name, q.type, c->question_ms, on_dns, o);
	if (o->dns == NULL)
		on_dns(&none, o);
}

static void
on_taken(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct check_client *c = arg;
	struct check_request *r = find(c, m->id);
	uint32_t n = rbuf_u32(&m->body);

	if (!rbuf_done(&m->body) || (r != NULL && n > r->sent - r->taken)) {
		ipc_reject(ipc, "malformed receipt");
		return;
	}
	if (r == NULL)
		return;
	r->taken += n;
	(void)send_content(c, r);
}

static void
on_result(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct check_client *c = arg;
	struct check_request *r = find(c, m->id);
	struct auth_results a;

	if (check_result_decode(&m->body, &a) == -1 || (r != NULL &&
	    (((r->want & AUTH_WANT_SPF) != 0 && a.spf.result == 0) ||
	    ((r->want & AUTH_WANT_DKIM) != 0 && a.dkim == 0) ||
	    ((r->want & AUTH_WANT_DMARC) != 0 && a.dmarc.result == 0) ||
	    ((r->want & AUTH_WANT_ARC) != 0 && a.arc.result == 0)))) {
		ipc_reject(ipc, "malformed result");
		return;
	}
	if (r == NULL)
		return;
	finish(c, r, &a);
	if (!TAILQ_EMPTY(&c->order))
		timer_set(&c->timer, 0);
}

/* Whoever asks again while this goes on has asked the next role. */
static void
fail_active(struct check_client *c)
{
	struct check_request *r;
	unsigned n = c->n_active;

	while (n-- > 0) {
		TAILQ_FOREACH(r, &c->order, in_order)
			if (r->is_active)
				break;
		if (r == NULL)
			return;
		fail(c, r, "the check failed");
	}
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct check_client *c = arg;

	if (c->peer != ipc)
		return;
	log_debug("the check role is gone: %s", why);
	c->peer = NULL;
	fail_active(c);
}

static const struct ipc_rule rules[] = {
	{ CHECK_QUESTION, false, CHECK_QUESTION_MAX, "question", on_question },
	{ CHECK_TAKEN, false, 4, "taken", on_taken },
	{ CHECK_RESULT, false, CHECK_RESULT_MAX, "result", on_result }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

struct check_client *
check_client_new(struct loop *loop, struct dns_client *dns, int64_t question_ms)
{
	struct check_client *c = xcalloc(1, sizeof *c);

	c->loop = loop;
	c->dns = dns;
	c->question_ms = question_ms < CHECK_ANSWER_MS / 2 ? (uint32_t)question_ms : CHECK_ANSWER_MS / 2;
	c->next_id = 1;
	RB_INIT(&c->pending);
	TAILQ_INIT(&c->order);
	timer_init(&c->timer, loop, on_timer, c);
	return c;
}

void
check_client_free(struct check_client **cp)
{
	struct check_client *c = *cp;
	struct check_request *r;

	if (c == NULL)
		return;
	while ((r = TAILQ_FIRST(&c->order)) != NULL)
		forget(c, r);
	timer_cancel(&c->timer);
	if (c->peer != NULL)
		ipc_close(&c->peer);
	free(c);
	*cp = NULL;
}

void
check_client_set_peer(struct check_client *c, int fd)
{
	if (c->peer != NULL) {
		ipc_close(&c->peer);
		fail_active(c);
	}
	c->peer = ipc_new(c->loop, fd, &ops, c);
	timer_set(&c->timer, 0);
}

struct check_request *
check_client_ask(struct check_client *c, const struct check_begin *b, check_read_fn *read, check_fn *fn, void *arg)
{
	struct check_request *r = xcalloc(1, sizeof *r);

	r->client = c;
	r->id = c->next_id++;
	r->want = b->want;
	r->len = b->head_len + b->body_len;
	r->read = read;
	r->fn = fn;
	r->arg = arg;
	r->give_up = loop_now(c->loop) + CHECK_ANSWER_MS;
	while (RB_INSERT(check_request_tree, &c->pending, r) != NULL)
		r->id = c->next_id++;
	TAILQ_INSERT_TAIL(&c->order, r, in_order);
	wbuf_init(&r->begin);
	check_begin_encode(b, &r->begin);
	timer_set(&c->timer, 0);
	return r;
}

void
check_client_cancel(struct check_client *c, struct check_request **rp)
{
	if (*rp == NULL)
		return;
	drop(c, *rp);
	forget(c, *rp);
	*rp = NULL;
}
