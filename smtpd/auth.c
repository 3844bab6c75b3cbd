/* Questions to the auth role (worker role). Answers come back by request id; an answer whose question was cancelled is
 * dropped. The helper is our own process but handles strangers' bytes, so it is not trusted with anything but the
 * answer. */
#include <stdlib.h>
#include <string.h>
#include <bsd/sys/tree.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/auth.h"

#define PENDING_MAX 512

struct auth_request {
	RB_ENTRY(auth_request) entry;
	uint32_t id;
	auth_fn *fn;
	void *arg;
};

static int
request_cmp(struct auth_request *a, struct auth_request *b)
{
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_HEAD(request_tree, auth_request);
RB_GENERATE_INTERNAL(request_tree, auth_request, entry, request_cmp, __attribute__((unused)) static)

struct auth {
	struct loop *loop;
	struct ipc *helper;
	struct request_tree pending;
	unsigned n_pending;
	uint32_t next_id;
};

static void
forget(struct auth *a, struct auth_request *r)
{
	RB_REMOVE(request_tree, &a->pending, r);
	a->n_pending--;
	free(r);
}

static void
finish(struct auth *a, struct auth_request *r, enum auth_status status, const struct user *u)
{
	auth_fn *fn = r->fn;
	void *arg = r->arg;

	forget(a, r);
	fn(status, u, arg);
}

static void
fail_pending(struct auth *a)
{
	struct auth_request *r;

	while ((r = RB_MIN(request_tree, &a->pending)) != NULL)
		finish(a, r, AUTH_BUSY, NULL);
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct auth *a = arg;
	struct auth_request probe = { .id = m->id }, *r;
	struct auth_answer ans;

	if (auth_answer_decode(&m->body, &ans) == -1) {
		ipc_reject(ipc, "malformed answer");
		return;
	}
	if ((r = RB_FIND(request_tree, &a->pending, &probe)) != NULL)
		finish(a, r, (enum auth_status)ans.status, ans.status == AUTH_OK ? &ans.user : NULL);
	auth_answer_clear(&ans);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct auth *a = arg;

	if (a->helper != ipc)
		return;
	/* The parent says why it ended, if it did not end with us. */
	log_debug("the auth helper is gone: %s", why);
	a->helper = NULL;
	fail_pending(a);
}

static const struct ipc_rule rules[] = {
	{ AUTH_ANSWER, false, AUTH_ANSWER_MAX, "answer", on_answer }
};
static const struct ipc_ops ops = { rules, sizeof rules / sizeof rules[0], on_gone };

struct auth *
auth_new(struct loop *loop)
{
	struct auth *a = xcalloc(1, sizeof *a);

	a->loop = loop;
	a->next_id = 1;
	RB_INIT(&a->pending);
	return a;
}

void
auth_free(struct auth **ap)
{
	struct auth *a = *ap;
	struct auth_request *r;

	if (a == NULL)
		return;
	while ((r = RB_MIN(request_tree, &a->pending)) != NULL)
		forget(a, r);
	if (a->helper != NULL)
		ipc_close(&a->helper);
	free(a);
	*ap = NULL;
}

void
auth_set_partner(struct auth *a, int fd)
{
	if (a->helper != NULL)
		ipc_close(&a->helper);
	fail_pending(a);
	a->helper = ipc_new(a->loop, fd, &ops, a);
}

struct auth_request *
auth_ask(struct auth *a, enum auth_kind kind, const char *name, const char *password, auth_fn *fn, void *arg)
{
	struct auth_ask ask = { .kind = (uint8_t)kind };
	struct auth_request *r;
	struct wbuf w;

	if (a->helper == NULL || a->n_pending >= PENDING_MAX)
		return NULL;
	r = xcalloc(1, sizeof *r);
	r->id = a->next_id++;
	r->fn = fn;
	r->arg = arg;
	/* Ids come around after 2^32 questions; one that is still open then is skipped. */
	while (RB_INSERT(request_tree, &a->pending, r) != NULL)
		r->id = a->next_id++;
	a->n_pending++;
	ask.name = xstrdup(name);
	ask.password = xstrdup(password);
	wbuf_init(&w);
	auth_ask_encode(&ask, &w);
	ipc_send(a->helper, AUTH_ASK, r->id, &w, -1);
	explicit_bzero(w.p, w.len);
	wbuf_clear(&w);
	auth_ask_clear(&ask);
	return r;
}

void
auth_cancel(struct auth *a, struct auth_request **rp)
{
	if (*rp == NULL)
		return;
	forget(a, *rp);
	*rp = NULL;
}
