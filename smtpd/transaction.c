/* A mail transaction from MAIL to the reply to end of data (worker role). tx_reset() is called on every path out of
 * one: nearly every SMTP bug of recent years is a state that was not reset (a refused end of data, a failed BDAT, a
 * command in between). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"

#include "smtpd/events.h"
#include "smtpd/no_report.h"
#include "smtpd/verify.h"

#define STREAM_CHUNK (256 << 10)
#define COUNT_FROM (64 << 10) /* small messages pass even when memory is short */

static int
rcpt_cmp(struct tx_rcpt *a, struct tx_rcpt *b)
{
	return strcmp(a->address, b->address);
}

RB_GENERATE_INTERNAL(tx_rcpt_tree, tx_rcpt, entry, rcpt_cmp, __attribute__((unused)) static)

void
tx_init(struct tx *tx)
{
	memset(tx, 0, sizeof *tx);
	RB_INIT(&tx->rcpts);
}

void
tx_asked_clear(struct tx *tx)
{
	free(tx->asked.address);
	free(tx->asked.orcpt);
	tx->asked = (struct rcpt_asked){ NULL, NULL, 0 };
}

void
tx_reset(struct session *s)
{
	struct tx *tx = &s->tx;
	struct tx_rcpt *r;

	s->worker->content_bytes -= tx->counted;
	if (tx->has_rate)
		rates_give_back(s->worker->rates, &s->user);
	while ((r = RB_ROOT(&tx->rcpts)) != NULL) {
		RB_REMOVE(tx_rcpt_tree, &tx->rcpts, r);
		free(r);
	}
	verify_reset(s);
	sign_free(&tx->signing);
	sign_bodies_clear(&tx->bodies);
	message_free(&tx->unsigned_message);
	if (tx->message != NULL)
		spool_cancel(s->worker->spool, &tx->message);
	if (tx->large != NULL)
		spool_large_abandon(&tx->large);
	if (tx->has_content)
		content_clear(&tx->content);
	draft_free(&tx->draft);
	tx_asked_clear(tx);
	envelope_free(&tx->env);
	tx_init(tx);
}

bool
tx_add_rcpt(struct session *s, const char *address, const char *orcpt, uint8_t notify)
{
	struct tx *tx = &s->tx;
	struct tx_rcpt probe = { .address = address }, *r;

	if (RB_FIND(tx_rcpt_tree, &tx->rcpts, &probe) != NULL)
		return false;
	envelope_add_rcpt(tx->env, address, orcpt, notify);
	r = xcalloc(1, sizeof *r);
	r->address = tx->env->rcpts[tx->env->n_rcpts - 1].address;
	RB_INSERT(tx_rcpt_tree, &tx->rcpts, r);
	return true;
}

int64_t
tx_take_rate(struct session *s)
{
	int64_t ms;

	if (!s->is_authenticated || s->tx.has_rate || s->tx.env != NULL)
		return 0;
	ms = rates_take(s->worker->rates, &s->user, loop_now(s->worker->loop));
	s->tx.has_rate = ms == 0;
	return ms;
}

static struct content_limits
limits_of(const struct session *s)
{
	const struct params *p = s->worker->params;

	return (struct content_limits){
		.size = (uint64_t)p->message_size_limit,
		.line = (size_t)p->text_line_length_limit,
		.header = (size_t)p->header_size_limit,
		.is_normalizing = (session_is_submission(s) ? p->submission_bare_newline : p->smtpd_bare_newline) ==
		    BARE_NEWLINE_NORMALIZE
	};
}

void
tx_content_begin(struct session *s)
{
	struct content_limits limits = limits_of(s);

	content_init(&s->tx.content, &limits);
	s->tx.has_content = true;
	s->tx.data_start = loop_now(s->worker->loop);
}

/* The storage refused: the content is read on to its end, and the reply is this. */
static void
storage_failed(struct session *s, enum message_result result)
{
	struct tx *tx = &s->tx;

	spool_large_abandon(&tx->large);
	tx->chunk_reply = result == MESSAGE_NO_SPACE ? "452 4.3.1 Insufficient system storage" :
	    "451 4.3.0 The queue is not available, try again later";
	wbuf_reset(&tx->content.body);
}

static void
stream_some(struct session *s)
{
	struct content *c = &s->tx.content;
	enum message_result result = spool_large_write(s->tx.large, c->body.p, c->body.len);

	if (s->worker->policy != NULL && policy_may_sign(s->worker->policy))
		sign_bodies_update(&s->tx.bodies, &c->body);
	if (result == MESSAGE_DURABLE)
		wbuf_reset(&c->body);
	else
		storage_failed(s, result);
}

/* Many clients that send a little and then nothing could fill the memory together: those that would grow on are
 * refused then, the content that follows is read and dropped. */
static bool
is_too_much(struct session *s)
{
	struct content *c = &s->tx.content;
	struct worker *w = s->worker;
	size_t now = c->head.cap + c->body.cap;

	w->content_bytes += now - s->tx.counted;
	s->tx.counted = now;
	return w->content_limit > 0 && w->content_bytes > w->content_limit && now > COUNT_FROM;
}

/* No session holds more than SPOOL_SMALL_MAX and a piece of input in memory. */
bool
tx_stream(struct session *s)
{
	struct tx *tx = &s->tx;
	struct content *c = &tx->content;

	if (is_too_much(s) && tx->chunk_reply == NULL && c->error == CONTENT_GOOD)
		tx->chunk_reply = "452 4.3.1 Insufficient memory, try again later";
	if (c->error != CONTENT_GOOD || tx->chunk_reply != NULL) {
		/* Nothing is kept any more. */
		if (tx->large != NULL)
			spool_large_abandon(&tx->large);
		wbuf_clear(&c->body);
		(void)is_too_much(s);
		return true;
	}
	if (tx->large == NULL) {
		if (c->body.len <= SPOOL_SMALL_MAX)
			return true;
		tx->large = spool_large_open(s->worker->spool, s->worker->n_waiting_large + 1);
		if (tx->large == NULL) {
			if (spool_is_broken(s->worker->spool)) {
				tx->chunk_reply = "451 4.3.0 The queue is not available, try again later";
				return true;
			}
			if (!spool_has_space(s->worker->spool, c->body.len)) {
				tx->chunk_reply = "452 4.3.1 Insufficient system storage";
				return true;
			}
			session_set_wait(s, WAIT_LARGE);
			return false;
		}
		tx->env->flags |= MSG_LARGE;
	}
	if (c->body.len >= STREAM_CHUNK)
		stream_some(s);
	return true;
}

void
tx_retry_large(struct session *s)
{
	session_set_wait(s, WAIT_NONE);
	/* Even without input: a chunk may have been complete when the wait began. */
	if (tx_stream(s))
		io_kick(s->io);
}

static void
on_done(struct message *m, enum message_result result, void *arg)
{
	struct session *s = arg;
	char text[64], hex[MSGID_HEX];

	s->tx.message = NULL;
	session_set_wait(s, WAIT_NONE);
	switch (result) {
	case MESSAGE_DURABLE:
		msgid_hex(&m->rec.id, hex);
		snprintf(text, sizeof text, "Ok: queued as %s", hex);
		reply_reception(s, m, text);
		reply_fmt(s, "250 2.0.0 %s", text);
		s->tx.has_rate = false;
		s->messages++;
		s->errors = s->junk = 0;
		break;
	case MESSAGE_NO_SPACE:
		reply_reject(s, PHASE_DOT, NULL, "452 4.3.1 Insufficient system storage");
		break;
	case MESSAGE_BROKEN:
	case MESSAGE_WAITED:
		reply_reject(s, PHASE_DOT, NULL, "451 4.3.0 The queue is not available, try again later");
		break;
	}
	message_free(&m);
	tx_reset(s);
	if (s->worker->is_stopping && !s->is_dead) {
		reply_plain(s, "421 4.3.2 Server is going down, connect again");
		session_drop(s);
	}
	session_continue(s);
	session_settle(s);
}

static struct message_context
context_of(const struct session *s)
{
	struct worker *w = s->worker;
	struct message_context c = {
		.params = w->params,
		.user = s->is_authenticated ? &s->user : NULL,
		.is_trusted = session_is_trusted(s),
		.is_utf8 = s->tx.is_utf8,
		.helo = s->helo,
		.client = s->client,
		.is_ipv6 = strchr(s->client, ':') != NULL,
		.protocol = session_protocol(s),
		.session = s->session_id,
		.auth = &s->tx.auth_field,
		.policy = w->policy,
		.token = w->qlink != NULL ? qlink_token(w->qlink) : NULL,
		.now = loop_wall(w->loop)
	};

	if (io_is_tls(s->io)) {
		c.tls_version = tls_version(io_ssl(s->io));
		c.tls_cipher = tls_cipher(io_ssl(s->io));
	}
	return c;
}

/* Into the spool's hands. */
static void
submit(struct session *s, struct message *m)
{
	const struct worker *w = s->worker;
	struct tx *tx = &s->tx;

	/* Mail of strangers that is relayed is not sent in our name. */
	message_seal(m, session_is_trusted(s) && w->policy != NULL &&
	    policy_guards(w->policy, w->params->require_authenticated_senders != GUARD_NO));
	m->done = on_done;
	m->arg = s;
	if (tx->large != NULL) {
		m->large = tx->large;
		tx->large = NULL;
		m->rec.body_len += spool_large_len(m->large);
	}
	tx->message = m;
	session_set_wait(s, WAIT_COMMIT);
	spool_submit(s->worker->spool, m);
}

static void
on_signed(const char *line, void *arg)
{
	struct session *s = arg;
	struct message *m = s->tx.unsigned_message;

	s->tx.unsigned_message = NULL;
	sign_free(&s->tx.signing);
	session_set_wait(s, WAIT_NONE);
	if (line == NULL) {
		submit(s, m);
		return;
	}
	message_free(&m);
	reply_reject(s, PHASE_DOT, NULL, line);
	tx_reset(s);
	session_continue(s);
	session_settle(s);
}

/* The last edit, then into the spool's hands. */
static void
sign(struct session *s, struct message *m, struct policy_msg *msg)
{
	struct dkim_signer *signers[POLICY_SIGNERS_MAX];
	struct tx *tx = &s->tx;
	size_t n = sign_choose(s->worker->policy, msg, session_is_trusted(s), (const char *)m->head.p, m->head.len,
	    signers);
	struct arc_order *order = msg != NULL ? msg->seal : NULL;

	if (order != NULL)
		msg->seal = NULL;
	if (n == 0 && order == NULL) {
		submit(s, m);
		return;
	}
	tx->signing = sign_begin(s->worker->sign, m, signers, n, order, &tx->bodies, on_signed, s);
	if (tx->signing == NULL) {
		message_free(&m);
		reply_reject(s, PHASE_DOT, NULL, "550 5.6.0 The header has too many fields to be signed");
		tx_reset(s);
		return;
	}
	tx->unsigned_message = m;
	session_set_wait(s, WAIT_SIGN);
}

/* End of data was refused. A bare newline with commands right behind it is an attempt to smuggle: no second chance. */
static void
refuse(struct session *s, const char *line)
{
	enum content_error error = s->tx.content.error;
	bool is_smuggling = (error == CONTENT_BARE_LF || error == CONTENT_BARE_CR) && !s->tx.is_bdat &&
	    evbuffer_get_length(io_input(s->io)) > 0;

	reply_reject(s, PHASE_DOT, NULL, line);
	tx_reset(s);
	if (is_smuggling && !s->is_dead)
		reply_drop(s, PHASE_NONE, "421 4.7.0 Commands follow a message with bad line ends, closing connection");
}

/* Policy's set_data: judged as if the client had sent it. */
static int
set_data(void *arg, const char *p, size_t len, const char **err_r)
{
	struct session *s = arg;
	struct content_limits limits = limits_of(s);
	struct content c;

	content_init(&c, &limits);
	content_chunk(&c, p, len);
	content_chunks_end(&c);
	*err_r = NULL;
	if (c.error != CONTENT_GOOD)
		*err_r = content_error_reply(c.error);
	else if (c.body.len > SPOOL_SMALL_MAX)
		*err_r = "more than 1 MiB";
	if (*err_r != NULL) {
		content_clear(&c);
		return -1;
	}
	content_clear(&s->tx.content);
	s->tx.content = c;
	draft_content(s->tx.draft, &c);
	return 0;
}

static void
message_then(struct session *s, const struct policy_verdict *v)
{
	struct tx *tx = &s->tx;
	struct policy_msg *msg = draft_msg(tx->draft);
	struct message_context c = context_of(s);
	const char *line = NULL;
	struct message *m;

	if (event_refused(s, v, PHASE_DOT, NULL)) {
		tx_reset(s);
		return;
	}
	policy_msg_settle(msg);
	c.now = tx->env->received;
	m = draft_end(tx->draft, &c, &tx->content, &tx->env, &line);
	if (m == NULL) {
		refuse(s, line);
		return;
	}
	sign(s, m, msg);
	draft_free(&tx->draft);
}

static void
ask_policy(struct session *s, const struct message_context *c)
{
	struct tx *tx = &s->tx;
	const char *line = NULL;
	struct policy_msg *msg;

	tx->draft = draft_new();
	if (draft_begin(tx->draft, c, &tx->content, tx->env, &line) == -1) {
		refuse(s, line);
		return;
	}
	msg = draft_msg(tx->draft);
	msg->env = tx->env;
	msg->is_utf8 = tx->is_utf8;
	msg->max_rcpts = (uint32_t)s->worker->params->smtpd_recipient_limit;
	msg->now = c->now;
	msg->auth = tx->auth;
	msg->arg = s;
	draft_content(tx->draft, &tx->content);
	if (tx->large != NULL) {
		msg->body = NULL;
	} else {
		msg->set_data = set_data;
	}
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_MESSAGE, .msg = msg }, message_then);
}

/* Nothing more is to be found out about it. */
static void
accept_message(struct session *s)
{
	struct message_context c = context_of(s);
	const char *line = NULL;
	struct message *m;

	verify_clean(s);
	/* Of content that was refused there is nothing left to judge. */
	if (!session_is_trusted(s) && s->tx.content.error == CONTENT_GOOD && (line = no_report(s->worker->params,
	    s->worker->policy, s->tx.env, (const char *)s->tx.content.head.p, s->tx.content.head.len)) != NULL) {
		refuse(s, line);
		return;
	}
	if (event_wanted(s, POLICY_ON_MESSAGE)) {
		ask_policy(s, &c);
		return;
	}
	m = message_new(&c, &s->tx.content, &s->tx.env, &line);
	if (m == NULL)
		refuse(s, line);
	else
		sign(s, m, NULL);
}

void
tx_finish(struct session *s)
{
	const char *line = s->tx.chunk_reply;

	session_set_state(s, ST_COMMAND);
	/* What cannot be recorded is not accepted. */
	if (line == NULL && eventlog_stuck(s->worker->events))
		line = "452 4.3.1 Insufficient system storage";
	if (line != NULL)
		refuse(s, line);
	else if (!verify_begin(s, accept_message))
		accept_message(s);
}
