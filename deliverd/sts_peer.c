/* The net role's side of the link to the sts role (sts_peer.h). That role may have been broken into by a web server:
 * what it says is decoded like a stranger's word, and the worst it can do is to say that there is no policy. */
#include <bsd/sys/tree.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/sts_peer.h"

#define DEATHS_MAX 2 /* of the role, over one question */
#define SHOWN_MAX 512

struct sts_request {
	RB_ENTRY(sts_request) by_id;
	uint32_t id;
	unsigned n_deaths;
	struct wbuf frame;
	sts_peer_fn *fn;
	void *arg;
};
RB_HEAD(request_tree, sts_request);

struct sts_peer {
	struct loop *loop;
	struct ipc *ipc;
	struct request_tree requests;
	uint32_t last_id;
	void (*refresh)(const char *domain, void *arg);
	void *arg;
};

static int
request_cmp(const struct sts_request *a, const struct sts_request *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_GENERATE_INTERNAL(request_tree, sts_request, by_id, request_cmp, __attribute__((unused)) static)

static void
forget(struct sts_peer *p, struct sts_request *r)
{
	RB_REMOVE(request_tree, &p->requests, r);
	wbuf_clear(&r->frame);
	free(r);
}

static void
finish(struct sts_peer *p, struct sts_request *r, const struct sts_answer *a)
{
	sts_peer_fn *fn = r->fn;
	void *arg = r->arg;

	forget(p, r);
	fn(a, arg);
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct sts_peer *p = arg;
	struct sts_request find = { .id = m->id }, *r;
	struct sts_answer a;

	if (sts_answer_decode(&m->body, &a) == -1) {
		ipc_reject(ipc, "malformed answer");
		return;
	}
	if ((r = RB_FIND(request_tree, &p->requests, &find)) != NULL)
		finish(p, r, &a);
	sts_answer_clear(&a);
}

static void
on_refresh(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct sts_peer *p = arg;
	char domain[MX_NAME_MAX + 1];

	if (sts_refresh_decode(&m->body, domain) == -1)
		ipc_reject(ipc, "malformed domain");
	else
		p->refresh(domain, p->arg);
}

/* One of the open questions may have ended it. */
static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct sts_peer *p = arg;
	struct sts_request *r, *next;

	if (p->ipc != ipc)
		return;
	log_info("sts role is gone: %s", why);
	p->ipc = NULL;
	for (r = RB_MIN(request_tree, &p->requests); r != NULL; r = next) {
		next = RB_NEXT(request_tree, &p->requests, r);
		if (++r->n_deaths >= DEATHS_MAX)
			finish(p, r, NULL);
	}
}

static const struct ipc_rule rules[] = {
	{ STS_ANSWER, false, STS_ANSWER_MAX, "answer", on_answer },
	{ STS_REFRESH, false, STS_REFRESH_MAX, "refresh", on_refresh },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

void
sts_peer_set(struct sts_peer *p, int fd)
{
	struct ipc *old = p->ipc;
	struct sts_request *r;

	if (old != NULL) {
		on_gone(old, "replaced", p);
		ipc_close(&old);
	}
	p->ipc = ipc_new(p->loop, fd, &ops, p);
	RB_FOREACH(r, request_tree, &p->requests)
		ipc_send(p->ipc, STS_ASK, r->id, &r->frame, -1);
}

struct sts_request *
sts_peer_ask(struct sts_peer *p, const struct sts_ask *ask, sts_peer_fn *fn, void *arg)
{
	struct sts_request *r = xcalloc(1, sizeof(*r));

	r->fn = fn;
	r->arg = arg;
	do
		r->id = ++p->last_id;
	while (RB_INSERT(request_tree, &p->requests, r) != NULL);
	wbuf_init(&r->frame);
	sts_ask_encode(ask, &r->frame);
	if (p->ipc != NULL) /* else when it is there */
		ipc_send(p->ipc, STS_ASK, r->id, &r->frame, -1);
	return r;
}

void
sts_peer_cancel(struct sts_peer *p, struct sts_request **rp)
{
	if (*rp != NULL)
		forget(p, *rp);
	*rp = NULL;
}

struct sts_peer *
sts_peer_new(struct loop *loop, void (*refresh)(const char *, void *), void *arg)
{
	struct sts_peer *p = xcalloc(1, sizeof(*p));

	p->loop = loop;
	p->refresh = refresh;
	p->arg = arg;
	RB_INIT(&p->requests);
	return p;
}

void
sts_peer_free(struct sts_peer **pp)
{
	struct sts_peer *p = *pp;
	struct sts_request *r;

	*pp = NULL;
	if (p == NULL)
		return;
	while ((r = RB_MIN(request_tree, &p->requests)) != NULL)
		forget(p, r);
	ipc_close(&p->ipc);
	free(p);
}

void
sts_known_clear(struct sts_known *k)
{
	free(k->mx);
	free(k->why);
	memset(k, 0, sizeof(*k));
}

/* "mx1.example.com *.example.net", and " ..." where there is more. */
static char *
shown_mx(const struct sts_policy *policy)
{
	struct wbuf w;
	size_t i;

	wbuf_init(&w);
	for (i = 0; i < policy->n_mx && w.len < SHOWN_MAX; i++) {
		wbuf_raw(&w, " ", i > 0);
		wbuf_raw(&w, policy->mx[i], strlen(policy->mx[i]));
	}
	wbuf_raw(&w, " ...", i < policy->n_mx ? 4 : 0);
	wbuf_u8(&w, '\0');
	return (char *)w.p;
}

static enum mx_sts
mark(const struct sts_policy *policy, const char *host)
{
	bool is_there;

	if (policy->mode == STS_MODE_NONE)
		return MX_STS_NONE;
	is_there = sts_policy_has_mx(policy, host);
	if (policy->mode == STS_MODE_TESTING)
		return is_there ? MX_STS_TESTING : MX_STS_TESTING_NOT;
	return is_there ? MX_STS_ENFORCE : MX_STS_ENFORCE_NOT;
}

void
sts_apply(const struct sts_answer *a, struct mx_list *mx, struct sts_known *k)
{
	struct sts_policy policy;
	const char *err;
	unsigned i;

	sts_known_clear(k);
	k->problem = (enum sts_problem)a->problem;
	if (a->problem != STS_PROBLEM_NONE)
		k->why = xstrdup(a->why);
	if (a->found != STS_FOUND_POLICY || sts_policy_parse(a->text, a->len, &policy, &err) == -1)
		return;
	k->is_known = true;
	k->mode = policy.mode;
	k->expires = a->expires;
	memcpy(k->id, a->id, sizeof(k->id));
	k->mx = shown_mx(&policy);
	for (i = 0; i < mx->n_hosts; i++)
		mx->hosts[i].sts = (uint8_t)mark(&policy, mx->hosts[i].name);
	sts_policy_clear(&policy);
}
