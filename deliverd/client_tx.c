/* Transactions of the SMTP client (conn.h), in the net process: MAIL, RCPT, DATA, content, and for each recipient
 * exactly one result. With PIPELINING (RFC 2920) the commands leave in one write and the replies are counted off.
 * Hostile: the replies.
 *
 * When a connection breaks: a reused one that broke before MAIL was answered says nothing about the message (the
 * peer had closed it while it was idle), so the message goes to another connection, unharmed; anything later is a
 * transient failure, and after the final dot nobody can know whether the peer has the message: it is sent again (RFC
 * 5321 section 4.5.4.1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "mail/address.h"
#include "mail/trace.h"
#include "mail/verp.h"

#define FREE_TRIES 3
#define NEXT_HOST_MS 10000
#define COMMAND_MAX 1024 /* of a command in a result */

void
client_tx_clear(struct conn *c)
{
	content_free(&c->tx.content);
	c->tx.n = c->tx.n_left = c->tx.next_rcpt = c->tx.n_taken = 0;
}

static bool
tx_end(struct conn *c)
{
	client_tx_clear(c);
	path_served(c->path);
	c->n_tx++;
	return conn_idle(c);
}

static void
finish_at(struct conn *c, unsigned i, const struct outcome *o)
{
	struct item *it = c->tx.items[i];

	if (it == NULL)
		return;
	c->tx.items[i] = NULL;
	c->tx.n_left--;
	item_finish(c->net, it, o, c->path, c);
}

/* "421 4.7.0 too many concurrent connections" and what others say instead of it. */
static bool
says_too_many(const struct conn *c)
{
	const char *t = c->reply.text;

	if (c->reply.code == 421)
		return true;
	return c->reply.code / 100 == 4 && t != NULL && strcasestr(t, "connections") != NULL &&
	    (strcasestr(t, "too many") != NULL || strcasestr(t, "concurrent") != NULL ||
	    strcasestr(t, "simultaneous") != NULL);
}

void
client_tx_settle(struct conn *c, const struct outcome *o)
{
	struct outcome each = *o;
	unsigned i;

	if (o->kind != QL_RETURNED)
		path_note_reply(c->path, o);
	if (!o->is_local && says_too_many(c))
		path_shrink(c->path);
	for (i = 0; i < c->tx.n; i++) {
		/* The command named one of them. */
		each.command = o->phase == PHASE_RCPT && i != c->tx.next_rcpt ? NULL : o->command;
		finish_at(c, i, &each);
	}
}

static void note_for_next(struct conn *);

static bool
fail_and_close(struct conn *c, const struct outcome *o)
{
	note_for_next(c);
	path_served(c->path);
	client_tx_settle(c, o);
	conn_close(&c, false);
	return false;
}

/* What the peer has heard of is counted there too, whatever came of it. */
static void
uncount(struct conn *c)
{
	if (!c->tx.is_written && c->tx.counted == c->path->generation && c->tx.counted != 0)
		path_message_unused(c->path);
	c->tx.counted = 0;
}

/* Back to the head of the queue; to queued, if it was routed by a configuration that is not in force any more. */
static void
put_back(struct conn *c, const struct outcome *o)
{
	struct outcome other = outcome_returned("the configuration has changed", 0);
	unsigned i;

	uncount(c);
	for (i = 0; i < c->tx.n; i++) {
		if (c->tx.items[i] == NULL)
			continue;
		if (c->tx.items[i]->job->q.digest != c->net->config_digest)
			finish_at(c, i, &other);
		else if (++c->tx.items[i]->free_tries > FREE_TRIES)
			finish_at(c, i, o);
	}
	path_add_front(c->path, c->tx.items, c->tx.n);
}

/* The message was not touched by what happened to this connection. */
static bool
requeue_and_close(struct conn *c, const struct outcome *o)
{
	put_back(c, o);
	c->tx.n = c->tx.n_left = 0;
	conn_close(&c, false);
	return false;
}

const struct policy_sender_domain *
client_verp_of(const struct net *net, const char *sender)
{
	return *sender == '\0' ? NULL : policy_sender_domain(net->policy, address_domain(sender));
}

/* The return path that MAIL FROM has for this item. */
static const char *
return_path(const struct conn *c, const struct item *it, char buf[ADDRESS_MAX])
{
	const char *sender = it->job->q.sender;
	const struct policy_sender_domain *d = client_verp_of(c->net, sender);

	if (d == NULL || !token_signer_is_set(&c->net->token) ||
	    verp_make(&c->net->token, &it->env, d->verp_prefix, d->verp_domain, buf) == -1)
		return sender;
	return buf;
}

static void
command_text(const struct conn *c, char out[COMMAND_MAX])
{
	const struct item *it = c->tx.next_rcpt < c->tx.n ? c->tx.items[c->tx.next_rcpt] : NULL;
	char from[ADDRESS_MAX];
	unsigned i;

	out[0] = '\0';
	switch (c->step) {
	case STEP_MAIL:
		for (i = 0; i < c->tx.n; i++)
			if (c->tx.items[i] != NULL) {
				snprintf(out, COMMAND_MAX, "MAIL FROM:<%s>", return_path(c, c->tx.items[i], from));
				return;
			}
		break;
	case STEP_RCPT:
		snprintf(out, COMMAND_MAX, "RCPT TO:<%s>", it != NULL ? it->rcpt->address : "");
		break;
	case STEP_DATA:
	case STEP_BODY:
		snprintf(out, COMMAND_MAX, "DATA");
		break;
	case STEP_DOT:
		snprintf(out, COMMAND_MAX, ".");
		break;
	default:
		break;
	}
}

/* Where the next connection goes after one that broke or was ended by the server (reconnect_strategy). */
static void
note_for_next(struct conn *c)
{
	struct path *p = c->path;

	free(p->again_host);
	p->again_host = NULL;
	if (p->config.reconnect_strategy == RECONNECT_SAME_HOST)
		p->again_host = xstrdup(conn_host(c)->name);
	else if (p->config.reconnect_strategy == RECONNECT_NEXT_HOST)
		c->plan->v[c->at].addr->bad_until = loop_now(c->net->loop) + NEXT_HOST_MS;
}

/* try_next_host_on_transport_error: the items wait at the head of the queue until it is there. */
static bool
go_on_elsewhere(struct conn *c, const struct outcome *o)
{
	put_back(c, o);
	return conn_go_on(c);
}

bool
client_tx_lost(struct conn *c, const char *why, bool is_timeout)
{
	char text[512], command[COMMAND_MAX];
	struct outcome o;

	if (is_timeout) /* a server that does not keep up is not asked for more */
		path_shrink(c->path);
	snprintf(text, sizeof(text), "%s while waiting for %s", why, client_steps[c->step].waits_for);
	command_text(c, command);
	o = outcome_local(client_steps[c->step].phase, 451, "4.4.2", text);
	o.command = command[0] != '\0' ? command : NULL;
	if ((c->step == STEP_RSET || c->step == STEP_MAIL) && c->n_tx > 0 && !is_timeout)
		return requeue_and_close(c, &o);
	note_for_next(c);
	if (c->step < STEP_DOT && c->path->config.try_next_host_on_transport_error && conn_has_next(c))
		return go_on_elsewhere(c, &o);
	uncount(c);
	client_tx_settle(c, &o);
	conn_close(&c, false);
	return false;
}

bool
client_tx_abandon(struct conn *c)
{
	struct outcome o = outcome_returned("deliverd is stopping", 0);

	if (c->step == STEP_BODY || c->step == STEP_DOT || c->step == STEP_QUIT)
		return true;
	uncount(c);
	client_tx_settle(c, &o);
	conn_close(&c, c->step == STEP_IDLE);
	return false;
}

static struct trace_source
trace_of(const struct ql_job *q, const struct envid *env, const struct ql_job_rcpt *rcpt)
{
	return (struct trace_source){ *env, rcpt->address, q->tenant, q->campaign, q->meta, q->n_meta };
}

/* Of the message as it goes out, about: the trace header may have to be escaped. */
static uint64_t
wire_size(const struct conn *c, const struct ql_job *q)
{
	struct trace_source s = trace_of(q, &(struct envid){ .rcpt = 0 }, &q->rcpts[0]);

	return content_size(&q->rec, &(struct content_head){ q->head, q->head_len },
	    trace_size(&s, &c->net->params->trace_header_fields));
}

/* What the peer cannot take is not tried: bounced, not mangled (RFC 6152 section 3, RFC 6531 section 3.5, RFC 1870
 * section 6). */
static bool
message_fits(const struct conn *c, const struct ql_job *q, struct outcome *o)
{
	const struct record *rec = &q->rec;

	if ((rec->flags & MSG_SMTPUTF8) && !(c->caps & CAP_SMTPUTF8))
		*o = outcome_local(PHASE_MAIL, 553, "5.6.7",
		    "the message needs SMTPUTF8, which the server does not offer");
	else if ((rec->flags & MSG_8BIT) && !(c->caps & CAP_8BITMIME))
		*o = outcome_local(PHASE_MAIL, 554, "5.6.3",
		    "the message has 8-bit content, which the server does not take");
	else if (c->peer_size > 0 && wire_size(c, q) > c->peer_size)
		*o = outcome_local(PHASE_MAIL, 552, "5.3.4", "the message is larger than the server takes");
	else
		return true;
	return false;
}

static bool
same_head(const struct ql_job *x, const struct ql_job *y)
{
	return (x->head == NULL) == (y->head == NULL) && x->head_len == y->head_len &&
	    (x->head_len == 0 || memcmp(x->head, y->head, x->head_len) == 0);
}

static bool
same_message(const struct item *a, const struct item *b)
{
	const struct ql_job *x = &a->job->q, *y = &b->job->q;

	return a->job == b->job || (msgid_cmp(&x->rec.id, &y->rec.id) == 0 && x->rec.segment == y->rec.segment &&
	    x->rec.offset == y->rec.offset && strcmp(x->sender, y->sender) == 0 && same_head(x, y));
}

/* Adjacent recipients of the first message that fits. */
static unsigned
collect(struct conn *c)
{
	struct path *p = c->path;
	struct tx *tx = &c->tx;
	struct outcome o;
	struct item *it;

	while ((it = TAILQ_FIRST(&p->ready)) != NULL && !message_fits(c, &it->job->q, &o))
		item_finish(c->net, it, &o, p, c);
	tx->n = 0;
	while ((it = TAILQ_FIRST(&p->ready)) != NULL && tx->n < p->limits.recipients &&
	    (tx->n == 0 || (same_message(it, tx->items[0]) && client_verp_of(c->net, it->job->q.sender) == NULL))) {
		if (tx->n == tx->size) {
			tx->size = tx->size > 0 ? tx->size * 2 : 4;
			tx->items = xreallocarray(tx->items, tx->size, sizeof(tx->items[0]));
		}
		item_unlink(it);
		it->state = ITEM_SENDING;
		tx->items[tx->n++] = it;
	}
	tx->n_left = tx->n;
	return tx->n;
}

static void
put(struct wbuf *w, const char *s)
{
	wbuf_raw(w, s, strlen(s));
}

static void
put_xtext(struct wbuf *w, const char *name, const char *value)
{
	char x[3 * 1024];

	if (xtext_encode(value, x, sizeof(x)) == -1)
		return;
	put(w, name);
	put(w, x);
}

static void
put_mail(const struct conn *c, struct wbuf *w)
{
	const struct ql_job *q = &c->tx.items[0]->job->q;
	char size[32], from[ADDRESS_MAX];

	put(w, "MAIL FROM:<");
	put(w, return_path(c, c->tx.items[0], from));
	put(w, ">");
	if (c->caps & CAP_SIZE) {
		snprintf(size, sizeof(size), " SIZE=%llu", (unsigned long long)wire_size(c, q));
		put(w, size);
	}
	if ((q->rec.flags & MSG_8BIT) && (c->caps & CAP_8BITMIME))
		put(w, " BODY=8BITMIME");
	if (q->rec.flags & MSG_SMTPUTF8)
		put(w, " SMTPUTF8");
	if (c->caps & CAP_DSN) {
		if (q->ret != RET_DEFAULT)
			put(w, q->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
		if (q->envid != NULL)
			put_xtext(w, " ENVID=", q->envid);
	}
	put(w, "\r\n");
}

static void
put_notify(struct wbuf *w, uint8_t notify)
{
	static const struct {
		uint8_t bit;
		const char *word;
	} words[] = { { NOTIFY_NEVER, "NEVER" }, { NOTIFY_SUCCESS, "SUCCESS" }, { NOTIFY_FAILURE, "FAILURE" },
	    { NOTIFY_DELAY, "DELAY" } };
	const char *before = " NOTIFY=";
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (notify & words[i].bit) {
			put(w, before);
			put(w, words[i].word);
			before = ",";
		}
}

static void
put_rcpt(const struct conn *c, const struct item *it, struct wbuf *w)
{
	const char *semi;

	put(w, "RCPT TO:<");
	put(w, it->rcpt->address);
	put(w, ">");
	if (c->caps & CAP_DSN) {
		put_notify(w, it->rcpt->notify);
		if (it->rcpt->orcpt != NULL && (semi = strchr(it->rcpt->orcpt, ';')) != NULL &&
		    is_ascii(semi, strlen(semi))) {
			put(w, " ORCPT=");
			wbuf_raw(w, it->rcpt->orcpt, (size_t)(semi - it->rcpt->orcpt));
			put_xtext(w, ";", semi + 1);
		}
	}
	put(w, "\r\n");
}

static void
send_scratch(struct conn *c)
{
	io_write(c->io, c->net->scratch.p, c->net->scratch.len);
}

static void
send_mail(struct conn *c)
{
	wbuf_reset(&c->net->scratch);
	put_mail(c, &c->net->scratch);
	c->tx.is_written = true;
	send_scratch(c);
	conn_set_step(c, STEP_MAIL);
}

static void
send_rcpt(struct conn *c)
{
	wbuf_reset(&c->net->scratch);
	put_rcpt(c, c->tx.items[c->tx.next_rcpt], &c->net->scratch);
	send_scratch(c);
	conn_set_step(c, STEP_RCPT);
}

/* Everything up to DATA in one write. */
static void
send_group(struct conn *c)
{
	struct wbuf *w = &c->net->scratch;
	unsigned i;

	wbuf_reset(w);
	if (c->needs_rset)
		put(w, "RSET\r\n");
	put_mail(c, w);
	for (i = 0; i < c->tx.n; i++)
		put_rcpt(c, c->tx.items[i], w);
	put(w, "DATA\r\n");
	c->tx.group_len = w->len;
	c->tx.is_written = true;
	send_scratch(c);
	conn_set_step(c, c->needs_rset ? STEP_RSET : STEP_MAIL);
}

bool
client_tx_begin(struct conn *c)
{
	if (collect(c) == 0)
		return false;
	conn_leave_idle(c);
	c->tx.started = loop_now(c->net->loop);
	c->tx.next_rcpt = c->tx.n_taken = 0;
	c->tx.is_answered_early = false;
	c->tx.is_written = false;
	c->tx.counted = 0;
	c->tx.is_pipelined = (c->caps & CAP_PIPELINING) != 0 && c->path->config.enable_pipelining;
	if (c->tx.is_pipelined) {
		send_group(c);
	} else if (c->needs_rset) {
		io_write(c->io, "RSET\r\n", 6);
		conn_set_step(c, STEP_RSET);
	} else {
		send_mail(c);
	}
	return true;
}

bool
client_on_rset(struct conn *c)
{
	struct outcome o;

	if (c->reply.code / 100 != 2) {
		o = client_reply_outcome(c, "RSET");
		return requeue_and_close(c, &o);
	}
	c->needs_rset = false;
	if (c->tx.is_pipelined)
		conn_set_step(c, STEP_MAIL);
	else
		send_mail(c);
	return true;
}

bool
client_on_mail(struct conn *c)
{
	char command[COMMAND_MAX];
	struct outcome o;

	if (c->reply.code / 100 == 2) {
		if (c->tx.is_pipelined)
			conn_set_step(c, STEP_RCPT);
		else
			send_rcpt(c);
		return true;
	}
	command_text(c, command);
	o = client_reply_outcome(c, command);
	if (c->reply.code == 421 || c->reply.code < 400)
		return c->n_tx > 0 ? requeue_and_close(c, &o) : fail_and_close(c, &o);
	client_tx_settle(c, &o);
	c->needs_rset = true;
	if (!c->tx.is_pipelined)
		return tx_end(c);
	conn_set_step(c, STEP_RCPT); /* their replies are on the way */
	return true;
}

/* RFC 5321 section 4.5.3.1.10: 552 was the code of too many recipients once, which says nothing about the
 * recipient. */
static void
one_too_many(struct outcome *o)
{
	if (o->code != 552 || (o->enhanced.class != 0 && (o->enhanced.subject != 5 || o->enhanced.detail != 3)))
		return;
	o->code = 452;
	if (o->enhanced.class != 0)
		o->enhanced.class = 4;
}

bool
client_on_rcpt(struct conn *c)
{
	char command[COMMAND_MAX];
	struct outcome o;

	if (c->reply.code / 100 == 2) {
		c->tx.n_taken++;
	} else {
		command_text(c, command);
		o = client_reply_outcome(c, command);
		if (c->reply.code == 421 || c->reply.code < 400) /* 354: one reply was left out, who knows which */
			return fail_and_close(c, &o);
		if (c->tx.n_taken > 0)
			one_too_many(&o);
		finish_at(c, c->tx.next_rcpt, &o);
		c->needs_rset = true;
	}
	c->tx.next_rcpt++;
	if (c->tx.next_rcpt < c->tx.n) {
		if (c->tx.is_pipelined)
			conn_set_step(c, STEP_RCPT);
		else
			send_rcpt(c);
		return true;
	}
	if (!c->tx.is_pipelined) {
		if (c->tx.n_left == 0)
			return tx_end(c);
		io_write(c->io, "DATA\r\n", 6);
	}
	conn_set_step(c, STEP_DATA);
	return true;
}

/* It names the recipient if there is only one left to get the message. NUL-terminated. */
static void
trace_line(const struct conn *c, struct wbuf *w)
{
	const struct conf_strs *fields = &c->net->params->trace_header_fields;
	struct trace_source s;
	unsigned i = 0;

	while (c->tx.items[i] == NULL)
		i++;
	s = trace_of(&c->tx.items[i]->job->q, &c->tx.items[i]->env, c->tx.items[i]->rcpt);
	if (c->tx.n_left > 1)
		s.env.rcpt = TOKEN_MANY;
	trace_write(&c->net->token, &s, fields, w);
	wbuf_u8(w, 0);
}

/* r as of content_begin(). In the middle of DATA there is no way to stop but to close. */
static bool
content_sent(struct conn *c, struct job *job, int r, const char *err)
{
	struct outcome o;

	io_dirty(c->io);
	if (r >= 0) {
		conn_set_step(c, r == 1 ? STEP_DOT : STEP_BODY);
		io_want_drained(c->io, r == 0);
		return true;
	}
	log_error("segment %llu offset %llu: not sent: %s", (unsigned long long)job->q.rec.segment,
	    (unsigned long long)job->q.rec.offset, err);
	if (r == -2)
		o = outcome_local(PHASE_DATA, 554, "5.6.0", err);
	else
		o = outcome_local(PHASE_DATA, 451, "4.3.0", err);
	client_tx_settle(c, &o);
	conn_close(&c, false);
	return false;
}

static struct job *
tx_job(const struct conn *c)
{
	unsigned i;

	for (i = 0; i < c->tx.n; i++)
		if (c->tx.items[i] != NULL)
			return c->tx.items[i]->job;
	return NULL;
}

bool
client_on_data(struct conn *c)
{
	struct job *job = tx_job(c);
	struct content_head head;
	struct wbuf trace;
	const char *err = NULL;
	struct outcome o;
	int r;

	/* RFC 2920 section 3.1: nobody is left, and an empty message is refused */
	if (c->reply.code == 354 && job == NULL) {
		io_write(c->io, ".\r\n", 3);
		conn_set_step(c, STEP_DOT);
		return true;
	}
	if (c->reply.code == 354) {
		wbuf_init(&trace);
		trace_line(c, &trace);
		head = (struct content_head){ job->q.head, job->q.head_len };
		r = content_begin(&c->tx.content, job->seg->fd, &job->q.rec, (const char *)trace.p, &head,
		    io_output(c->io), &job->is_verified, &err);
		wbuf_clear(&trace);
		return content_sent(c, job, r, err);
	}
	o = client_reply_outcome(c, "DATA");
	if (c->reply.code == 421 || c->reply.code < 400)
		return fail_and_close(c, &o);
	client_tx_settle(c, &o);
	c->needs_rset = true;
	return tx_end(c);
}

bool
client_body_drained(struct conn *c)
{
	const char *err = NULL;
	int r;

	if (c->step != STEP_BODY)
		return true;
	r = content_more(c->tx.content, io_output(c->io), &err);
	return content_sent(c, tx_job(c), r, err);
}

bool
client_on_body(struct conn *c)
{
	struct outcome o = client_reply_outcome(c, "DATA");

	return fail_and_close(c, &o);
}

static void
deliver(struct conn *c)
{
	struct outcome o = { .kind = QL_DELIVERED, .phase = PHASE_DOT, .code = (uint16_t)c->reply.code,
		.enhanced = c->reply.enhanced, .text = c->reply.text, .command = "." };

	client_tx_settle(c, &o);
}

bool
client_on_dot(struct conn *c)
{
	struct outcome o;

	/* Whatever this answers, it is not the end of the content; and that one's answer is still to come. */
	if (c->tx.is_answered_early) {
		o = client_reply_outcome(c, ".");
		return fail_and_close(c, &o);
	}
	if (c->tx.n_left == 0) { /* the lone dot */
		c->needs_rset = true;
		return tx_end(c);
	}
	if (c->reply.code / 100 == 2) {
		deliver(c);
		path_grow(c->path);
		return tx_end(c);
	}
	o = client_reply_outcome(c, ".");
	if (c->reply.code == 421 || c->reply.code < 400)
		return fail_and_close(c, &o);
	client_tx_settle(c, &o);
	return tx_end(c);
}
