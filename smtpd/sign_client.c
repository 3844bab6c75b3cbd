/* Questions to the sign role (worker role). Answers come back by request id; one whose question was cancelled is
 * dropped. Signing twice does no harm, so a role that dies costs the time until the next one is there. */
#include <stdlib.h>
#include <string.h>
#include <bsd/sys/tree.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/sign_client.h"

#define ANSWER_MS 10000
#define TICK_MS 500

struct sign_request {
	RB_ENTRY(sign_request) entry;
	uint32_t id;
	int64_t give_up;
	struct wbuf question;
	sign_fn *fn;
	void *arg;
};

static int
request_cmp(struct sign_request *a, struct sign_request *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_HEAD(sign_request_tree, sign_request);
RB_GENERATE_INTERNAL(sign_request_tree, sign_request, entry, request_cmp, __attribute__((unused)) static)

struct sign_client {
	struct loop *loop;
	struct ipc *peer;
	struct sign_request_tree pending;
	struct timer timer;
	uint32_t next_id;
};

static void
forget(struct sign_client *c, struct sign_request *r)
{
	RB_REMOVE(sign_request_tree, &c->pending, r);
	wbuf_clear(&r->question);
	free(r);
}

static void
finish(struct sign_client *c, struct sign_request *r, const struct sign_answer *a)
{
	sign_fn *fn = r->fn;
	void *arg = r->arg;

	forget(c, r);
	fn(a, arg);
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct sign_client *c = arg;
	struct sign_request probe = { .id = m->id }, *r;
	struct sign_answer a;

	if (sign_answer_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed answer");
		return;
	}
	if ((r = RB_FIND(sign_request_tree, &c->pending, &probe)) != NULL)
		finish(c, r, &a);
	sign_answer_clear(&a);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct sign_client *c = arg;

	log_debug("the sign role is gone: %s", why);
	if (c->peer == ipc)
		c->peer = NULL;
}

static const struct ipc_rule rules[] = {
	{ SIGN_ANSWER, false, SIGN_ANSWER_MAX, "answer", on_answer }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

static void
on_timer(void *arg)
{
	char text[] = "the role that signs does not answer";
	const struct sign_answer late = { .status = SIGN_FAILED, .text = text };
	struct sign_client *c = arg;
	struct sign_request *r;

	/* In the order they were asked, but for the day when ids come around. */
	while ((r = RB_MIN(sign_request_tree, &c->pending)) != NULL && r->give_up <= loop_now(c->loop))
		finish(c, r, &late);
	if (!RB_EMPTY(&c->pending))
		timer_set(&c->timer, TICK_MS);
}

struct sign_client *
sign_client_new(struct loop *loop)
{
	struct sign_client *c = xcalloc(1, sizeof *c);

	c->loop = loop;
	c->next_id = 1;
	RB_INIT(&c->pending);
	timer_init(&c->timer, loop, on_timer, c);
	return c;
}

void
sign_client_free(struct sign_client **cp)
{
	struct sign_client *c = *cp;
	struct sign_request *r;

	if (c == NULL)
		return;
	while ((r = RB_MIN(sign_request_tree, &c->pending)) != NULL)
		forget(c, r);
	timer_cancel(&c->timer);
	if (c->peer != NULL)
		ipc_close(&c->peer);
	free(c);
	*cp = NULL;
}

void
sign_client_set_peer(struct sign_client *c, int fd)
{
	struct sign_request *r;

	if (c->peer != NULL)
		ipc_close(&c->peer);
	c->peer = ipc_new(c->loop, fd, &ops, c);
	RB_FOREACH(r, sign_request_tree, &c->pending)
		ipc_send(c->peer, SIGN_ASK, r->id, &r->question, -1);
}

struct sign_request *
sign_client_ask(struct sign_client *c, const struct sign_ask *ask, sign_fn *fn, void *arg)
{
	struct sign_request *r = xcalloc(1, sizeof *r);

	r->id = c->next_id++;
	r->fn = fn;
	r->arg = arg;
	r->give_up = loop_now(c->loop) + ANSWER_MS;
	while (RB_INSERT(sign_request_tree, &c->pending, r) != NULL)
		r->id = c->next_id++;
	wbuf_init(&r->question);
	sign_ask_encode(ask, &r->question);
	if (c->peer != NULL)
		ipc_send(c->peer, SIGN_ASK, r->id, &r->question, -1);
	if (!timer_is_set(&c->timer))
		timer_set(&c->timer, TICK_MS);
	return r;
}

void
sign_client_cancel(struct sign_client *c, struct sign_request **rp)
{
	if (*rp == NULL)
		return;
	forget(c, *rp);
	*rp = NULL;
}
