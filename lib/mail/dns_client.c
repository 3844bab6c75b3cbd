/* Questions to the dns role (dns_client.h). Answers come back by request id; one whose question was cancelled is
 * dropped. The role may have been broken into: what it says is decoded like a stranger's word. */
#include <bsd/sys/tree.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dns_client.h"

#define PENDING_MAX 2048

struct dns_request {
	RB_ENTRY(dns_request) entry;
	uint32_t id;
	dns_client_fn *fn;
	void *arg;
};

static int
request_cmp(struct dns_request *a, struct dns_request *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_HEAD(dns_request_tree, dns_request);
RB_GENERATE_INTERNAL(dns_request_tree, dns_request, entry, request_cmp, __attribute__((unused)) static)

struct dns_client {
	struct loop *loop;
	struct ipc *peer;
	bool is_shared; /* the link is another's */
	struct dns_request_tree pending;
	unsigned n_pending;
	uint32_t next_id;
};

static void
forget(struct dns_client *c, struct dns_request *r)
{
	RB_REMOVE(dns_request_tree, &c->pending, r);
	c->n_pending--;
	free(r);
}

static void
finish(struct dns_client *c, struct dns_request *r, const struct dns_reply *reply)
{
	dns_client_fn *fn = r->fn;
	void *arg = r->arg;

	forget(c, r);
	fn(reply, arg);
}

/* Whoever asks again while this goes on has asked the next role. */
static void
fail_pending(struct dns_client *c)
{
	char text[] = "the name service is not available now";
	const struct dns_reply reply = { .status = DNS_TEMPORARY, .text = text };
	unsigned n = c->n_pending;
	struct dns_request *r;

	while (n-- > 0 && (r = RB_MIN(dns_request_tree, &c->pending)) != NULL)
		finish(c, r, &reply);
}

void
dns_client_answer(struct dns_client *c, uint32_t id, const struct dns_reply *reply)
{
	struct dns_request probe = { .id = id }, *r = RB_FIND(dns_request_tree, &c->pending, &probe);

	if (r != NULL)
		finish(c, r, reply);
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct dns_client *c = arg;
	struct dns_reply reply;

	if (dns_reply_decode(&m->body, &reply) == -1 || reply.mx != NULL) {
		dns_reply_clear(&reply);
		ipc_reject(ipc, "malformed answer");
		return;
	}
	dns_client_answer(c, m->id, &reply);
	dns_reply_clear(&reply);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct dns_client *c = arg;

	if (c->peer != ipc)
		return;
	/* The parent says why it ended, if it did not end with us. */
	log_debug("the dns role is gone: %s", why);
	c->peer = NULL;
	fail_pending(c);
}

static const struct ipc_rule rules[] = {
	{ DNS_ANSWER, false, DNS_ANSWER_MAX, "answer", on_answer },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

struct dns_client *
dns_client_new(struct loop *loop)
{
	struct dns_client *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->next_id = 1;
	RB_INIT(&c->pending);
	return c;
}

void
dns_client_free(struct dns_client **cp)
{
	struct dns_client *c = *cp;
	struct dns_request *r;

	if (c == NULL)
		return;
	while ((r = RB_MIN(dns_request_tree, &c->pending)) != NULL)
		forget(c, r);
	if (!c->is_shared)
		ipc_close(&c->peer);
	free(c);
	*cp = NULL;
}

void
dns_client_share(struct dns_client *c, struct ipc *ipc)
{
	c->is_shared = true;
	c->peer = ipc;
	fail_pending(c);
}

void
dns_client_set_peer(struct dns_client *c, int fd)
{
	ipc_close(&c->peer);
	c->peer = ipc_new(c->loop, fd, &ops, c);
	fail_pending(c);
}

struct dns_request *
dns_client_ask(struct dns_client *c, const char *name, uint16_t type, uint32_t timeout_ms, dns_client_fn *fn, void *arg)
{
	struct dns_ask ask = { .want = DNS_WANT_RECORDS, .type = type, .timeout = timeout_ms };
	struct dns_request *r;
	struct wbuf w;

	if (c->peer == NULL || c->n_pending >= PENDING_MAX || strlen(name) >= sizeof(ask.name))
		return NULL;
	memcpy(ask.name, name, strlen(name) + 1);
	r = xcalloc(1, sizeof(*r));
	r->id = c->next_id++ | DNS_CLIENT_IDS;
	r->fn = fn;
	r->arg = arg;
	/* Ids come around after 2^32 questions; one that is still open then is skipped. */
	while (RB_INSERT(dns_request_tree, &c->pending, r) != NULL)
		r->id = c->next_id++ | DNS_CLIENT_IDS;
	c->n_pending++;
	wbuf_init(&w);
	dns_ask_encode(&ask, &w);
	ipc_send(c->peer, DNS_ASK, r->id, &w, -1);
	wbuf_clear(&w);
	return r;
}

void
dns_client_cancel(struct dns_client *c, struct dns_request **rp)
{
	if (*rp == NULL)
		return;
	forget(c, *rp);
	*rp = NULL;
}
