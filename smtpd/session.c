/* The life of an SMTP session (worker role): events of the connection in, states, deadlines, its end. Everything that
 * arrives is hostile.
 *
 * There is one input buffer (the connection's), one reader of lines (line.c) and one of content (content.c), and the
 * state alone says which of them looks at the bytes. While `wait` is set nobody does: pipelined input stays where it
 * is, and its amount is bounded by the connection. A session is freed at the end of the entry point in which it died,
 * never below it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"

#include "smtpd/events.h"
#include "smtpd/session_private.h"

#define COMMANDS_A_TURN 64     /* others are served in between */
#define OUTPUT_MAX (16 << 10)  /* replies that the client has not read */
#define OUTPUT_MS 30000
#define GREETING_MS 10000      /* at start-up: until the first segment comes */
#define AUTH_MS 30000
#define LARGE_MS 20000
#define FINISH_MS 5000
#define IO_INPUT_DEFAULT (64 << 10)
#define LINGER_MS 200         /* last replies are on their way */

static bool greeting_step(struct session *);
static bool handshake_step(struct session *);

static bool (*const steps[ST_STATES])(struct session *) = {
	[ST_GREETING] = greeting_step,
	[ST_HANDSHAKE] = handshake_step,
	[ST_COMMAND] = command_step,
	[ST_AUTH] = auth_step,
	[ST_DATA] = data_step,
	[ST_BDAT] = bdat_step
};

bool
session_is_submission(const struct session *s)
{
	return s->kind != LISTEN_SMTPD;
}

bool
session_is_trusted(const struct session *s)
{
	return s->is_authenticated || (s->kind == LISTEN_SMTPD && s->is_mynetworks);
}

int64_t
session_command_timeout(const struct session *s)
{
	const struct params *p = s->worker->params;

	return session_is_submission(s) ? p->submission_timeout : p->smtpd_timeout;
}

const char *
session_protocol(const struct session *s)
{
	/* RFC 3848, RFC 6531 4.3 */
	static const char *const names[2][2][2] = {
		{ { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } }
	};

	if (!s->is_esmtp)
		return "SMTP";
	return names[s->tx.is_utf8][io_is_tls(s->io)][s->is_authenticated];
}

/* The one deadline of the connection follows from state and wait. */
static void
arm_deadline(struct session *s)
{
	const struct params *p = s->worker->params;
	int64_t ms = session_command_timeout(s);

	s->since = loop_now(s->worker->loop);
	if (s->io == NULL)
		return; /* broken; the session is on its way out */
	switch (s->wait) {
	case WAIT_NONE:
		if (s->state == ST_GREETING)
			ms = GREETING_MS;
		else if (s->state == ST_HANDSHAKE)
			ms = p->smtpd_tls_timeout;
		break;
	case WAIT_AUTH:
		ms = AUTH_MS;
		break;
	case WAIT_LARGE:
		ms = LARGE_MS;
		break;
	case WAIT_OUTPUT:
		ms = OUTPUT_MS;
		break;
	default:
		/* The spool and policy have their own limits, and pauses have their timer. */
		ms = 0;
		break;
	}
	io_timeout(s->io, ms);
}

void
session_set_state(struct session *s, enum session_state state)
{
	s->state = state;
	arm_deadline(s);
}

void
session_set_wait(struct session *s, enum session_wait wait)
{
	if (s->wait == WAIT_LARGE)
		s->worker->n_waiting_large--;
	if (wait == WAIT_LARGE)
		s->worker->n_waiting_large++;
	s->wait = wait;
	arm_deadline(s);
}

void
session_drop(struct session *s)
{
	s->is_dead = true;
}

void
session_pause(struct session *s, enum session_wait wait, int64_t ms)
{
	session_set_wait(s, wait);
	timer_set(&s->pause, ms);
}

void
session_forget(struct session *s)
{
	event_cancel(s);
	tx_reset(s);
	auth_cancel(s->worker->auth, &s->auth_request);
	auth_asked_clear(s);
	free(s->authz);
	s->authz = NULL;
	free(s->helo);
	s->helo = NULL;
	free(s->auth_name);
	s->auth_name = NULL;
	user_clear(&s->user);
	s->is_authenticated = false;
	s->is_esmtp = false;
}

static void
session_free(struct session *s)
{
	struct worker *w = s->worker;

	session_set_wait(s, WAIT_NONE);
	timer_cancel(&s->pause);
	session_forget(s);
	policy_conn_clear(&s->conn);
	if (s->is_counted)
		clients_remove(w->clients, (const struct sockaddr *)&s->peer);
	TAILQ_REMOVE(&w->sessions, s, entry);
	w->n_sessions--;
	if (s->io != NULL)
		io_finish(&s->io, FINISH_MS);
	free(s);
	session_check_last(w);
}

void
session_check_last(struct worker *w)
{
	if (w->n_sessions == 0 && (w->is_draining || w->is_stopping))
		timer_set(&w->stop_timer, LINGER_MS);
}

void
session_settle(struct session *s)
{
	if (s->is_dead)
		session_free(s);
}

/* Looks at the input until there is nothing more to do with it, a wait begins, or others are due. */
static void
process(struct session *s)
{
	unsigned budget = COMMANDS_A_TURN;

	while (!s->is_dead && s->wait == WAIT_NONE) {
		if (io_pending(s->io) > OUTPUT_MAX) {
			session_set_wait(s, WAIT_OUTPUT);
			io_want_drained(s->io, true);
			return;
		}
		if (budget-- == 0) {
			io_kick(s->io);
			return;
		}
		if (!steps[s->state](s))
			break;
	}
	/* The client has closed: what it sent before is dealt with, and what is incomplete does not count. */
	if (s->is_eof && s->wait == WAIT_NONE)
		session_drop(s);
}

void
session_continue(struct session *s)
{
	if (s->is_dead || s->wait != WAIT_NONE)
		return;
	arm_deadline(s);
	if (s->is_eof || evbuffer_get_length(io_input(s->io)) > 0)
		io_kick(s->io);
}

static void
on_pause_over(void *arg)
{
	struct session *s = arg;

	session_set_wait(s, WAIT_NONE);
	process(s);
	session_settle(s);
}

/* The banner. On port 25 a client that talks before it is a robot (RFC 5321 4.3.1: the client waits). */
static void
greet(struct session *s, const struct policy_verdict *v)
{
	int waiting = 0;

	if (v->outcome != POLICY_PASSED) {
		reply_drop(s, PHASE_CONNECT, v->line);
		return;
	}
	if (s->kind == LISTEN_SMTPD) {
		if (evbuffer_get_length(io_input(s->io)) > 0 || (ioctl(io_fd(s->io), FIONREAD, &waiting) == 0 &&
		    waiting > 0)) {
			reply_drop(s, PHASE_CONNECT, "554 5.5.1 Protocol error: you talked before my greeting");
			return;
		}
	}
	session_set_state(s, ST_COMMAND);
	reply_fmt(s, "220 %s ESMTP Posthorn", s->worker->params->myhostname);
}

void
session_greet(struct session *s)
{
	event_ask(s, &(struct policy_call){ .id = POLICY_ON_CONNECT }, greet);
}

/* Bytes before the banner: submission clients are let be, they wait in the buffer. */
static bool
greeting_step(struct session *s)
{
	if (s->kind == LISTEN_SMTPD && evbuffer_get_length(io_input(s->io)) > 0)
		reply_drop(s, PHASE_CONNECT, "554 5.5.1 Protocol error: you talked before my greeting");
	return false;
}

static bool
handshake_step(struct session *s)
{
	(void)s;
	return false;
}

static void
on_tls_ready(struct session *s)
{
	if (s->state != ST_HANDSHAKE)
		panic("TLS became ready in state %d", (int)s->state);
	if (s->kind != LISTEN_SUBMISSIONS) {
		session_set_state(s, ST_COMMAND);
		return;
	}
	session_set_state(s, ST_GREETING);
	if (spool_is_ready(s->worker->spool))
		session_greet(s);
}

static void
on_timeout(struct session *s)
{
	if (s->wait == WAIT_AUTH) {
		auth_timeout(s);
	} else if (s->wait == WAIT_LARGE) {
		session_set_wait(s, WAIT_NONE);
		reply_drop(s, PHASE_DOT, "451 4.3.0 The queue is not available, try again later");
	} else if (s->wait == WAIT_OUTPUT || s->state == ST_HANDSHAKE) {
		log_info("client does not go on client=%s session=%s", s->client, s->session_id);
		session_drop(s);
	} else if (s->state == ST_GREETING) {
		reply_drop(s, PHASE_CONNECT, "421 4.3.2 The queue is not available, try again later");
	} else if (s->state == ST_DATA || s->state == ST_BDAT) {
		reply_drop(s, PHASE_DOT, "421 4.4.2 Timeout while reading the message");
	} else {
		/* An idle end is no refusal of anything: no event. */
		reply_plain(s, "421 4.4.2 Timeout, closing connection");
		session_drop(s);
	}
}

static void
on_io(struct io *io, enum io_event event, void *arg)
{
	struct session *s = arg;

	switch (event) {
	case IO_DATA:
		process(s);
		break;
	case IO_TLS_READY:
		on_tls_ready(s);
		process(s);
		break;
	case IO_DRAINED:
		if (s->wait == WAIT_OUTPUT) {
			io_want_drained(io, false);
			session_set_wait(s, WAIT_NONE);
			process(s);
		}
		break;
	case IO_EOF:
		s->is_eof = true;
		process(s);
		break;
	case IO_TIMEOUT:
		on_timeout(s);
		break;
	case IO_ERROR:
		log_debug("connection ended: %s client=%s session=%s", io_error(io), s->client, s->session_id);
		io_free(&s->io);
		session_drop(s);
		break;
	case IO_CONNECTED:
		panic("an accepted connection cannot connect");
	}
	session_settle(s);
}

static void
start(struct session *s)
{
	struct worker *w = s->worker;

	if (s->kind == LISTEN_SUBMISSIONS) {
		session_set_state(s, ST_HANDSHAKE);
		if (io_tls_accept(s->io, w->tls[s->kind]) == -1)
			session_drop(s);
		return;
	}
	session_set_state(s, ST_GREETING);
	if (spool_is_ready(w->spool))
		session_greet(s);
}

void
session_new(struct worker *w, int fd, enum listener_kind kind, const struct sockaddr *sa, socklen_t len,
    bool is_counted)
{
	struct session *s = xcalloc(1, sizeof *s);

	s->worker = w;
	s->kind = kind;
	s->is_counted = is_counted;
	memcpy(&s->peer, sa, len < sizeof s->peer ? len : sizeof s->peer);
	sockaddr_text(sa, s->client);
	s->is_mynetworks = cidr_list_match(&w->params->mynetworks, sa);
	s->may_xclient = cidr_list_match(&w->params->smtpd_authorized_xclient_hosts, sa);
	uuid_new(s->session_id);
	tx_init(&s->tx);
	timer_init(&s->pause, w->loop, on_pause_over, s);
	TAILQ_INSERT_TAIL(&w->sessions, s, entry);
	w->n_sessions++;
	s->io = io_new(w->loop, fd, on_io, s);
	io_quickack(s->io, kind != LISTEN_SMTPD);
	/* Room for the longest command and one byte that shows that it is longer. */
	if (w->params->line_length_limit + 2 > IO_INPUT_DEFAULT)
		io_input_limit(s->io, (size_t)w->params->line_length_limit + 2);
	start(s);
	session_settle(s);
}

static void
wake(struct session *s)
{
	switch (s->wait) {
	case WAIT_LARGE:
		tx_retry_large(s);
		break;
	case WAIT_FLOW:
		if (!s->worker->is_held) {
			timer_cancel(&s->pause);
			on_pause_over(s);
			return;
		}
		break;
	case WAIT_NONE:
		if (s->state == ST_GREETING && spool_is_ready(s->worker->spool)) {
			session_greet(s);
			session_continue(s);
		}
		break;
	default:
		break;
	}
	session_settle(s);
}

void
session_wake_all(struct worker *w)
{
	struct session *s, *next;

	TAILQ_FOREACH_SAFE(s, &w->sessions, entry, next)
		wake(s);
}

/* Whether the session can end here without costing a message. Applications on a submission port keep connections, take
 * a 421 to MAIL for a failure of the message and do not retry; so theirs end when they have been silent for so long
 * that they look first whether the connection lives, and at their NOOP (cmd_misc.c). */
static bool
may_end(const struct session *s)
{
	if (s->state > ST_AUTH || s->wait != WAIT_NONE || s->tx.env != NULL)
		return false;
	return !session_is_submission(s) || s->state != ST_COMMAND ||
	    loop_now(s->worker->loop) - s->since >= s->worker->drain_quiet;
}

void
session_drain_idle(struct worker *w)
{
	struct session *s, *next;

	TAILQ_FOREACH_SAFE(s, &w->sessions, entry, next) {
		if (!may_end(s))
			continue;
		if (s->state != ST_HANDSHAKE)
			reply_plain(s, "421 4.3.2 Server is restarting, connect again");
		session_drop(s);
		session_settle(s);
	}
}

void
session_stop_all(struct worker *w)
{
	struct session *s, *next;

	TAILQ_FOREACH_SAFE(s, &w->sessions, entry, next) {
		if (s->wait == WAIT_COMMIT)
			continue;
		if (s->state != ST_HANDSHAKE)
			reply_plain(s, "421 4.3.2 Server is going down, connect again");
		session_drop(s);
		session_settle(s);
	}
}

void
session_free_all(struct worker *w)
{
	struct session *s, *next;

	TAILQ_FOREACH_SAFE(s, &w->sessions, entry, next)
		session_free(s);
}

void
session_refuse(struct worker *w, int fd, enum listener_kind kind, const struct sockaddr *sa, const char *text)
{
	char client[46];
	struct event_record ev = { .type = EV_REJECTION, .peer_addr = client, .phase = PHASE_CONNECT,
		.is_local = true };
	char line[256];
	int n;

	sockaddr_text(sa, client);
	reply_to_event(text, &ev);
	eventlog_write(w->events, &ev);
	/* Nobody who speaks TLS from the start could read it. One try: it fits an empty socket buffer. */
	if (kind != LISTEN_SUBMISSIONS) {
		n = snprintf(line, sizeof line, "%s\r\n", text);
		if (n > 0 && write(fd, line, (size_t)n) == -1)
			log_debug("refusal not sent client=%s", client);
	}
	close(fd);
}
