/* posthorn explain (explain.h). The operator is trusted, the consumer's answers are not: they are text that is passed
 * on to the operator, bounded in number and time, and only from the consumer that was asked. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/envelope.h"

#include "queued/consumer.h"
#include "queued/explain.h"
#include "queued/explain_rows.h"
#include "queued/link.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"

#define ANSWER_MS 30000   /* longer than a look-up in the DNS may take */
#define ANSWERS_MAX 5000  /* a pool has at most so many sources, and a few rows besides */

struct explain {
	struct client *admin;
	uint32_t request;
	struct consumer *consumer;
	uint32_t id;
	uint32_t n_answers;
	int64_t deadline; /* loop_now */
};

static void
explain_end(struct client *admin, uint32_t request, uint8_t status, const char *sentence)
{
	struct wbuf *out = &admin->q->clients->out;

	free(admin->explain);
	admin->explain = NULL;
	wbuf_reset(out);
	ql_end_encode(status, sentence, out);
	ipc_send(admin->ipc, QL_ADMIN_END, request, out, -1);
}

static void
explain_row(struct client *admin, uint32_t request, struct json *json)
{
	struct wbuf *out = &admin->q->clients->out;

	wbuf_u8(&json->out, 0);
	wbuf_reset(out);
	ql_str_encode((const char *)json->out.p, out);
	ipc_send(admin->ipc, QL_ADMIN_DATA, request, out, -1);
	json_reset(json);
}

/* The way from the pool is not known. */
static void
explain_no_way(struct client *admin, uint32_t request, const char *why)
{
	struct json json;

	json_init(&json);
	json_obj(&json, NULL);
	json_str(&json, "kind", "destination");
	json_str(&json, "error", why);
	json_obj_end(&json);
	explain_row(admin, request, &json);
	json_clear(&json);
	explain_end(admin, request, 0, "");
}

static const char *
arg_of(const struct ql_admin *a, const char *key)
{
	uint32_t i;

	for (i = 0; i < a->n_args; i++)
		if (strcmp(a->args[i].key, key) == 0 && a->args[i].value[0] != '\0')
			return a->args[i].value;
	return NULL;
}

static void
explain_ask(struct client *admin, uint32_t request, struct consumer *c, const struct squeue *sq, const char *source)
{
	struct meta args[4] = { { (char *)(uintptr_t)"domain", sq->domain } };
	struct ql_admin ask = { .verb = (char *)(uintptr_t)"explain", .args = args, .n_args = 1 };
	struct wbuf *out = &admin->q->clients->out;
	struct explain *x = xcalloc(1, sizeof(*x));

	if (sq->tenant != NULL)
		args[ask.n_args++] = (struct meta){ (char *)(uintptr_t)"tenant", sq->tenant };
	if (sq->campaign != NULL)
		args[ask.n_args++] = (struct meta){ (char *)(uintptr_t)"campaign", sq->campaign };
	if (source != NULL)
		args[ask.n_args++] = (struct meta){ (char *)(uintptr_t)"source", (char *)(uintptr_t)source };
	x->admin = admin;
	x->request = request;
	x->consumer = c;
	x->id = ++admin->q->last_ask;
	x->deadline = loop_now(admin->q->loop) + ANSWER_MS;
	admin->explain = x;
	wbuf_reset(out);
	ql_admin_encode(&ask, out);
	ipc_send(c->client->ipc, QL_ASK, x->id, out, -1);
}

/* Takes the queue's object of the address, made if need be; the caller releases it. NULL: no such address. */
static struct squeue *
explain_squeue(struct queued *q, const struct ql_admin *a)
{
	struct envelope env = { .tenant = (char *)(uintptr_t)arg_of(a, "tenant"),
		.campaign = (char *)(uintptr_t)arg_of(a, "campaign") };
	const char *text = arg_of(a, "address");
	char full[ADDRESS_MAX + 16], address[ADDRESS_MAX];

	if (text == NULL || strlen(text) >= ADDRESS_MAX)
		return NULL;
	/* A domain alone is as good: the local part decides nothing. */
	(void)snprintf(full, sizeof(full), "%s%s", strchr(text, '@') == NULL ? "postmaster@" : "", text);
	if (address_parse(full, true, address) == -1)
		return NULL;
	return squeue_for(q->queues, &env, address);
}

void
explain_start(struct client *admin, uint32_t request, const struct ql_admin *a)
{
	struct queued *q = admin->q;
	struct squeue *sq = explain_squeue(q, a);
	struct consumer *c;
	struct json json;
	char *why;

	if (sq == NULL) {
		explain_end(admin, request, 1, "that is not an address or a domain");
		return;
	}
	sq->refs++;
	json_init(&json);
	explain_queue_row(q, sq, arg_of(a, "address"), arg_of(a, "sender_domain"), &json);
	explain_row(admin, request, &json);
	json_clear(&json);
	c = sq->pool != NULL ? TAILQ_FIRST(&sq->pool->consumers) : NULL;
	if (sq->pool == NULL) {
		explain_end(admin, request, 0, "");
	} else if (c == NULL) {
		why = xasprintf("deliverd/%s is not connected", sq->pool->name);
		explain_no_way(admin, request, why);
		free(why);
	} else {
		explain_ask(admin, request, c, sq, arg_of(a, "source"));
	}
	sq->refs--;
	squeue_release(q->queues, sq);
}

void
explain_drop(struct client *admin)
{
	free(admin->explain);
	admin->explain = NULL;
}

void
explain_drop_consumer(struct queued *q, struct consumer *c)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &q->clients->all, next)
		if (cl->explain != NULL && cl->explain->consumer == c)
			explain_no_way(cl, cl->explain->request, "deliverd went away before it answered");
}

void
explain_second(struct queued *q)
{
	int64_t now = loop_now(q->loop);
	struct client *cl;

	TAILQ_FOREACH(cl, &q->clients->all, next)
		if (cl->explain != NULL && cl->explain->deadline <= now)
			explain_no_way(cl, cl->explain->request, "deliverd did not answer in time");
}

/* The request that this frame answers; NULL: none any more. */
static struct explain *
explain_find(struct client *consumer, uint32_t id)
{
	struct client *cl;

	TAILQ_FOREACH(cl, &consumer->q->clients->all, next)
		if (cl->explain != NULL && cl->explain->id == id && cl->explain->consumer == consumer->consumer)
			return cl->explain;
	return NULL;
}

void
explain_on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *consumer = arg;
	struct explain *x = explain_find(consumer, m->id);
	struct wbuf *out = &consumer->q->clients->out;
	char *text;

	if (ql_str_decode(&m->body, QL_MAX_RESULT, &text) == -1) {
		ipc_reject(ipc, "malformed ANSWER");
		return;
	}
	if (x != NULL && ++x->n_answers <= ANSWERS_MAX) {
		wbuf_reset(out);
		ql_str_encode(text, out);
		ipc_send(x->admin->ipc, QL_ADMIN_DATA, x->request, out, -1);
	}
	free(text);
}

void
explain_on_end(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct client *consumer = arg;
	struct explain *x = explain_find(consumer, m->id);
	uint8_t status;
	char *sentence;

	if (ql_end_decode(&m->body, &status, &sentence) == -1) {
		ipc_reject(ipc, "malformed ANSWER_END");
		return;
	}
	if (x != NULL)
		explain_end(x->admin, x->request, status == 0 ? 0 : 1, sentence);
	free(sentence);
}
