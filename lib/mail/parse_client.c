/* Questions to the parse role (parse_client.h). The role has its own watchdogs, of PARSE_SECONDS, by which it ends
 * itself; the deadline here is later, for a role that has been taken over and does not keep to them. */
#include <bsd/sys/queue.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"

#include "mail/parse_client.h"
#include "mail/parse_role.h"

#define ANSWER_MS ((PARSE_SECONDS + 5) * 1000)
#define AWAY_MS 60000 /* without a role; its parent waits up to 30 s before it starts one again */

struct parse_request {
	TAILQ_ENTRY(parse_request) link;
	uint32_t id;
	struct wbuf question;
	const char *const *wanted;
	unsigned n_wanted;
	parse_fn *fn; /* NULL: cancelled while the role had it */
	void *arg;
};

struct parse_client {
	struct loop *loop;
	struct ipc *peer;
	TAILQ_HEAD(, parse_request) waiting;
	struct parse_request *asked; /* with the role */
	unsigned n_pending;
	uint32_t next_id;
	struct timer deadline, away;
	int64_t answer_ms, away_ms;
	loop_fn *overrun;
	void *arg;
};

static void
forget(struct parse_client *c, struct parse_request *r)
{
	if (c->asked == r) {
		c->asked = NULL;
		timer_cancel(&c->deadline);
	} else
		TAILQ_REMOVE(&c->waiting, r, link);
	c->n_pending--;
	wbuf_clear(&r->question);
	free(r);
}

static void
finish(struct parse_client *c, struct parse_request *r, enum parse_outcome outcome, struct parse_answer *answer,
    const char *why)
{
	parse_fn *fn = r->fn;
	void *arg = r->arg;

	forget(c, r);
	if (fn != NULL)
		fn(outcome, answer, why, arg);
}

static void
ask_next(struct parse_client *c)
{
	struct parse_request *r = TAILQ_FIRST(&c->waiting);

	if (c->peer == NULL || c->asked != NULL || r == NULL)
		return;
	TAILQ_REMOVE(&c->waiting, r, link);
	c->asked = r;
	ipc_send(c->peer, PARSE_ASK, r->id, &r->question, -1);
	wbuf_clear(&r->question);
	timer_set(&c->deadline, c->answer_ms);
}

static void
lose_peer(struct parse_client *c, const char *why)
{
	ipc_close(&c->peer);
	if (!timer_is_set(&c->away))
		timer_set(&c->away, c->away_ms);
	if (c->asked != NULL)
		finish(c, c->asked, PARSE_BROKE, NULL, why);
}

static void
on_answer(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct parse_client *c = arg;
	struct parse_request *r = c->asked;
	struct parse_answer answer;

	if (r == NULL || r->id != m->id) {
		ipc_reject(ipc, "an answer to no question");
		c->overrun(c->arg);
		return;
	}
	if (parse_answer_decode(&m->body, r->wanted, r->n_wanted, &answer) == -1) {
		ipc_reject(ipc, "malformed answer");
		c->overrun(c->arg);
		return;
	}
	finish(c, r, PARSE_READ, &answer, NULL);
	parse_answer_clear(&answer);
	ask_next(c);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct parse_client *c = arg;

	if (c->peer != ipc)
		return;
	/* The parent says why it ended, if it did not end with us. */
	log_debug("the parse role is gone: %s", why);
	c->peer = NULL;
	lose_peer(c, "the process that reads reports ended while it read this one");
}

static const struct ipc_rule rules[] = {
	{ PARSE_ANSWER, false, PARSE_ANSWER_MAX, "answer", on_answer },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

static void
on_deadline(void *arg)
{
	struct parse_client *c = arg;

	log_error("the parse role does not answer, it is replaced");
	c->overrun(c->arg);
	lose_peer(c, "the process that reads reports did not answer in time");
}

static void
on_away(void *arg)
{
	struct parse_client *c = arg;
	unsigned n = c->n_pending;
	struct parse_request *r;

	/* Who asks again while this goes on waits for another while. */
	while (n-- > 0 && (r = TAILQ_FIRST(&c->waiting)) != NULL)
		finish(c, r, PARSE_AWAY, NULL, "there is no process to read reports");
	timer_set(&c->away, c->away_ms);
}

struct parse_client *
parse_client_new(struct loop *loop, loop_fn *overrun, void *arg)
{
	struct parse_client *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->next_id = 1;
	c->answer_ms = ANSWER_MS;
	c->away_ms = AWAY_MS;
	c->overrun = overrun;
	c->arg = arg;
	TAILQ_INIT(&c->waiting);
	timer_init(&c->deadline, loop, on_deadline, c);
	timer_init(&c->away, loop, on_away, c);
	timer_set(&c->away, c->away_ms);
	return c;
}

void
parse_client_set_limits(struct parse_client *c, int64_t answer_ms, int64_t away_ms)
{
	c->answer_ms = answer_ms;
	c->away_ms = away_ms;
	if (timer_is_set(&c->away))
		timer_set(&c->away, away_ms);
}

void
parse_client_free(struct parse_client **cp)
{
	struct parse_client *c = *cp;
	struct parse_request *r;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->asked != NULL)
		forget(c, c->asked);
	while ((r = TAILQ_FIRST(&c->waiting)) != NULL)
		forget(c, r);
	timer_cancel(&c->deadline);
	timer_cancel(&c->away);
	ipc_close(&c->peer);
	free(c);
}

void
parse_client_set_peer(struct parse_client *c, int fd)
{
	if (c->peer != NULL)
		lose_peer(c, "the process that reads reports ended while it read this one");
	timer_cancel(&c->away);
	c->peer = ipc_new(c->loop, fd, &ops, c);
	ask_next(c);
}

struct parse_request *
parse_client_ask(struct parse_client *c, const struct parse_ask *ask, parse_fn *fn, void *arg)
{
	struct parse_request *r;

	if (c->n_pending >= PARSE_PENDING_MAX)
		return NULL;
	r = xcalloc(1, sizeof(*r));
	r->id = c->next_id++;
	r->wanted = ask->wanted;
	r->n_wanted = ask->n_wanted;
	r->fn = fn;
	r->arg = arg;
	wbuf_init(&r->question);
	parse_ask_encode(ask, &r->question);
	TAILQ_INSERT_TAIL(&c->waiting, r, link);
	c->n_pending++;
	ask_next(c);
	return r;
}

/* What the role is reading already it reads to the end: the next question waits for it. */
void
parse_client_cancel(struct parse_client *c, struct parse_request **rp)
{
	struct parse_request *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	if (c->asked == r)
		r->fn = NULL;
	else
		forget(c, r);
}
