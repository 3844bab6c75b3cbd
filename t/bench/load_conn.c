/* The SMTP client of load, and how connections and messages find each other: a connection without a message stands in
 * the queue of idle ones; whenever a message is due the one that waits longest takes it. */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "t/bench/load.h"

/* So many connections are being opened at a time: a server's backlog has an end. */
#define OPENING_MAX 256

static void conn_open(struct conn *);

static bool
all_done(const struct load *g)
{
	if (g->deadline != 0 && mono_ms() >= g->deadline)
		return true;
	return g->acked >= g->arrivals.messages && (g->hold == 0 || (g->hold_end != 0 && mono_ms() >= g->hold_end));
}

static void
conn_say(struct conn *c, const char *text)
{
	io_write(c->io, text, strlen(text));
}

static void
idle_remove(struct conn *c)
{
	if (c->is_idle)
		TAILQ_REMOVE(&c->g->idle, c, link);
	c->is_idle = false;
}

static void
give_back(struct conn *c)
{
	if (!c->has_message)
		return;
	c->has_message = false;
	arrivals_again(&c->g->arrivals, c->message);
	/* A little later, if this connection has not taken it by then. */
	if (!timer_is_set(&c->g->again))
		timer_set(&c->g->again, 20);
}

static void
open_waiting(struct load *g)
{
	struct conn *c;

	while (g->opening < OPENING_MAX && (c = TAILQ_FIRST(&g->waiting)) != NULL) {
		TAILQ_REMOVE(&g->waiting, c, link);
		conn_open(c);
	}
}

static void
opened(struct conn *c)
{
	if (!c->opening)
		return;
	c->opening = false;
	c->g->opening--;
	open_waiting(c->g);
}

static void
in_doubt(struct conn *c)
{
	c->g->in_doubt++;
	if (c->g->doubt_file != NULL)
		line_file_printf(c->g->doubt_file, "%s-%lu\n", c->g->prefix, c->message.number);
}

static void
conn_lost(struct conn *c)
{
	if (c->step == ST_DOT && c->has_message)
		in_doubt(c);
	c->g->lost++;
	give_back(c);
	idle_remove(c);
	io_free(&c->io);
	c->step = ST_WAIT;
	c->sent = 0;
	timer_set(&c->retry, 50);
	opened(c);
}

static void
acked(struct conn *c)
{
	struct load *g = c->g;
	int64_t now = mono_us();

	g->acked++;
	g->last_ack = now;
	g->bytes += c->content;
	c->has_message = false;
	hist_add(&g->from_dot, now - c->dot_at);
	hist_add(&g->from_due, now - c->message.due);
	if (g->acked_file != NULL)
		line_file_printf(g->acked_file, "%s-%lu\n", g->prefix, c->message.number);
	if (all_done(g))
		loop_stop(g->loop);
}

static void
send_content(struct conn *c)
{
	struct load *g = c->g;

	c->content = mix_content(g->mix, c->message.number, c->message.due + g->epoch, c->io);
	c->dot_at = mono_us();
	c->step = ST_DOT;
}

static void
send_rcpt(struct conn *c, bool with_data)
{
	char line[1200];
	int n = mix_envelope(c->g->mix, c->message.number, line, sizeof(line) - 8);

	if (n < 0 || (size_t)n >= sizeof(line) - 8)
		errx(2, "load: a recipient is too long");
	if (with_data) {
		memcpy(line + n, "DATA\r\n", 6);
		n += 6;
	}
	io_write(c->io, line, (size_t)n);
}

static void
send_envelope(struct conn *c)
{
	struct load *g = c->g;
	char line[1200];
	int n;

	c->has_message = true;
	c->sent++;
	c->step = ST_MAIL;
	n = mix_sender(g->mix, "MAIL FROM:", c->message.number, line, sizeof(line));
	if (n < 0 || (size_t)n >= sizeof(line))
		errx(2, "load: the sender is too long");
	io_write(c->io, line, (size_t)n);
	if (g->pipeline)
		send_rcpt(c, true);
}

/* Gives what is due to those who wait; what is not due yet wakes us by timer. */
static void
dispatch(struct load *g)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&g->idle)) != NULL) {
		if (!arrivals_take(&g->arrivals, &c->message)) {
			arrivals_wait(&g->arrivals);
			return;
		}
		idle_remove(c);
		timer_cancel(&c->retry);
		send_envelope(c);
	}
}

static void
on_due(void *arg)
{
	dispatch(arg);
}

static void
hold_over(void *arg)
{
	struct load *g = arg;

	if (all_done(g))
		loop_stop(g->loop);
}

/* With -i sending begins when all connections are open. */
static void
conn_ready(struct conn *c)
{
	struct load *g = c->g;

	if (c->was_ready)
		return;
	c->was_ready = true;
	if (++g->ready < g->connections || g->hold == 0)
		return;
	g->all_open = mono_ms() - g->started;
	g->hold_end = mono_ms() + g->hold;
	timer_set(&g->hold_timer, g->hold + 1);
	arrivals_start(&g->arrivals);
}

static void
conn_next(struct conn *c)
{
	struct load *g = c->g;

	c->step = ST_IDLE;
	conn_ready(c);
	if (all_done(g)) {
		loop_stop(g->loop);
		return;
	}
	if (g->per_connection != 0 && c->sent >= g->per_connection) {
		conn_say(c, "QUIT\r\n");
		io_finish(&c->io, 2000);
		c->sent = 0;
		conn_open(c);
		return;
	}
	c->is_idle = true;
	TAILQ_INSERT_TAIL(&g->idle, c, link);
	if (g->noop != 0)
		timer_set(&c->retry, g->noop);
	dispatch(g);
}

/* The transaction is given up: pipelined commands are still answered, then comes RSET. */
static void
refused(struct conn *c, const char *line)
{
	struct load *g = c->g;

	g->refused++;
	if (!g->quiet)
		fprintf(stderr, "load: %s\n", line);
	give_back(c);
	if (strncmp(line, "421", 3) == 0 || c->step < ST_IDLE) {
		conn_lost(c);
		return;
	}
	c->skip = !g->pipeline ? 0 : c->step == ST_MAIL ? 2 : c->step == ST_RCPT ? 1 : 0;
	c->step = c->skip > 0 ? ST_SKIP : ST_RSET;
	if (c->step == ST_RSET)
		conn_say(c, "RSET\r\n");
}

static void
skipped(struct conn *c, const char *line)
{
	if (line[0] == '3') { /* DATA was taken: nothing, then */
		conn_say(c, ".\r\n");
		return;
	}
	if (--c->skip > 0)
		return;
	conn_say(c, "RSET\r\n");
	c->step = ST_RSET;
}

static void
start_tls(struct conn *c)
{
	struct load *g = c->g;

	c->step = ST_TLS;
	if (io_tls_connect(c->io, g->tls, NULL, g->session) == -1)
		conn_lost(c);
}

static void
said_ehlo(struct conn *c)
{
	struct load *g = c->g;

	if (c->step == ST_EHLO && g->starttls) {
		conn_say(c, "STARTTLS\r\n");
		c->step = ST_STARTTLS;
	} else if (g->auth_b64 != NULL) {
		io_printf(c->io, "AUTH PLAIN %s\r\n", g->auth_b64);
		c->step = ST_AUTH;
	} else
		conn_next(c);
}

static void
on_success(struct conn *c)
{
	switch (c->step) {
	case ST_BANNER:
		opened(c);
		conn_say(c, "EHLO load.example\r\n");
		c->step = ST_EHLO;
		break;
	case ST_EHLO:
	case ST_EHLO2:
		said_ehlo(c);
		break;
	case ST_STARTTLS:
		start_tls(c);
		break;
	case ST_AUTH:
	case ST_NOOP:
		conn_next(c);
		break;
	case ST_MAIL:
		c->step = ST_RCPT;
		if (!c->g->pipeline)
			send_rcpt(c, false);
		break;
	case ST_RCPT:
		c->step = ST_DATA;
		if (!c->g->pipeline)
			conn_say(c, "DATA\r\n");
		break;
	case ST_DATA:
		send_content(c);
		break;
	case ST_DOT:
		acked(c);
		conn_next(c);
		break;
	default:
		break;
	}
}

static void
on_reply(struct conn *c, const char *line)
{
	if (c->step == ST_SKIP)
		skipped(c, line);
	else if (c->step == ST_RSET) {
		c->step = ST_IDLE;
		timer_set(&c->retry, 20);
	} else if (line[0] == '2' || line[0] == '3')
		on_success(c);
	else
		refused(c, line);
}

static void
on_io(struct io *io, enum io_event ev, void *arg)
{
	struct conn *c = arg;
	char line[1024];

	switch (ev) {
	case IO_CONNECTED:
		c->step = ST_BANNER;
		break;
	case IO_TLS_READY:
		c->g->handshakes++;
		if (SSL_session_reused(io_ssl(io)) == 1)
			c->g->resumed++;
		conn_say(c, "EHLO load.example\r\n");
		c->step = ST_EHLO2;
		break;
	case IO_DATA:
		while (c->io == io && line_take(io_input(io), line, sizeof(line)))
			if (strnlen(line, 4) < 4 || line[3] != '-')
				on_reply(c, line);
		break;
	case IO_EOF:
	case IO_ERROR:
	case IO_TIMEOUT:
		conn_lost(c);
		break;
	default:
		break;
	}
}

static void
conn_open(struct conn *c)
{
	struct load *g = c->g;
	const struct source *s = g->n_sources == 0 ? NULL : &g->sources[c->source];
	const char *why;

	if (all_done(g)) {
		loop_stop(g->loop);
		return;
	}
	if (g->opening >= OPENING_MAX) {
		c->step = ST_WAIT;
		TAILQ_INSERT_TAIL(&g->waiting, c, link);
		return;
	}
	c->step = ST_CONNECT;
	c->io = io_connect(g->loop, (const struct sockaddr *)&g->dst, g->dstlen,
	    s == NULL ? NULL : (const struct sockaddr *)&s->addr, s == NULL ? 0 : s->len, on_io, c, &why);
	if (c->io == NULL) {
		if (!g->quiet)
			warn("load: %s", why);
		c->step = ST_WAIT;
		timer_set(&c->retry, 50);
		return;
	}
	g->opened++;
	g->opening++;
	c->opening = true;
}

static void
conn_retry(void *arg)
{
	struct conn *c = arg;

	if (c->is_idle) {
		idle_remove(c);
		c->step = ST_NOOP;
		conn_say(c, "NOOP\r\n");
	} else if (c->io != NULL && c->step == ST_IDLE)
		conn_next(c);
	else
		conn_open(c);
}

static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct load *g = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	SSL_SESSION *copy = SSL_SESSION_dup(session);

	if (copy != NULL) {
		SSL_SESSION_free(g->session);
		g->session = copy;
	}
	return 0;
}

static void
deadline_over(void *arg)
{
	loop_stop(arg);
}

void
load_run(struct load *g)
{
	struct timer deadline;

	TAILQ_INIT(&g->idle);
	TAILQ_INIT(&g->waiting);
	timer_init(&g->again, g->loop, on_due, g);
	timer_init(&g->hold_timer, g->loop, hold_over, g);
	timer_init(&deadline, g->loop, deadline_over, g->loop);
	loop_signal(g->loop, SIGTERM, deadline_over, g->loop);
	arrivals_init(&g->arrivals, g->loop, on_due, g);
	if (g->tls != NULL && !g->no_resume) {
		SSL_CTX_set_app_data(g->tls, g);
		SSL_CTX_sess_set_new_cb(g->tls, on_session);
	}
	g->started = mono_ms();
	if (g->deadline != 0) {
		timer_set(&deadline, g->deadline);
		g->deadline += g->started;
	}
	if (g->hold == 0)
		arrivals_start(&g->arrivals);
	for (unsigned i = 0; i < g->connections; i++) {
		struct conn *c = &g->conns[i];

		c->g = g;
		c->source = g->n_sources == 0 ? 0 : i % g->n_sources;
		timer_init(&c->retry, g->loop, conn_retry, c);
		conn_open(c);
	}
	loop_run(g->loop);
	for (unsigned i = 0; i < g->connections; i++)
		if (g->conns[i].io != NULL && g->conns[i].step == ST_DOT)
			in_doubt(&g->conns[i]);
}
