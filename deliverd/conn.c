/* Transport of outbound connections (conn.h), in the net process: which address is tried, TLS, deadlines, closing.
 * What is said on them is in client.c. Hostile: the peer, entirely. RFC 5321 section 5.1 (next host), RFC 3207, RFC
 * 7435 (opportunistic TLS). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "deliverd/tls_report.h"

#define BAD_ADDRESS_MS 60000
#define INPUT_MAX (16u << 10)
#define QUIT_MAX_MS 2000
#define TURN_TX 10 /* transactions, while others wait for a connection */
#define TURN_MS 500 /* or so long: a slow site must not keep what all of them share */

static bool conn_try(struct conn *);

const struct mx_host *
conn_host(const struct conn *c)
{
	unsigned at = c->at < c->plan->n ? c->at : c->plan->n - 1;

	return c->plan->v[at].host;
}

void
conn_set_step(struct conn *c, enum step step)
{
	c->step = step;
	c->step_started = loop_now(c->net->loop);
	io_timeout(c->io, c->path->limits.timeouts[client_steps[step].timeout]);
}

static void
conn_unlink(struct conn *c)
{
	struct path *p = c->path;

	if (c->step == STEP_IDLE)
		conn_leave_idle(c);
	TAILQ_REMOVE(&p->conns, c, path_link);
	TAILQ_REMOVE(&c->net->conns, c, all_link);
	p->n_conns--;
	if (!c->is_open) {
		p->n_connecting--;
		p->source->is_trying = false; /* whatever became of it: another may try */
	}
	if (c->step == STEP_QUIT)
		p->n_quitting--;
	c->net->n_conns--;
	limit_set_conn_drop(&p->sets[LIMIT_CONNS]);
	if (!c->is_dialled) /* still in conn_open(): its limits are those that it was counted against */
		limit_set_give_back(&p->sets[LIMIT_CONNECT]);
	path_dirty(p);
}

static void
drop_io(struct conn *c)
{
	if (c->io == NULL)
		return;
	if (io_ssl(c->io) != NULL)
		SSL_set_ex_data(io_ssl(c->io), c->net->tls_index, NULL);
	io_free(&c->io);
}

static void
conn_free(struct conn *c)
{
	drop_io(c);
	client_tx_clear(c);
	plan_free(&c->plan);
	free(c->tx.items);
	free(c->failure_text);
	free(c);
}

/* To the server this is a connection still: if another one were opened at once, it would count one too many. */
static void
conn_quit(struct conn *c)
{
	int64_t wait = c->path->limits.timeouts[T_QUIT];

	if (c->step == STEP_IDLE)
		conn_leave_idle(c);
	client_tx_clear(c);
	c->path->n_quitting++;
	io_write(c->io, "QUIT\r\n", 6);
	conn_set_step(c, STEP_QUIT);
	io_timeout(c->io, wait < QUIT_MAX_MS ? wait : QUIT_MAX_MS);
}

void
conn_close(struct conn **cp, bool is_polite)
{
	struct conn *c = *cp;

	*cp = NULL;
	if (is_polite && c->is_open && c->step != STEP_QUIT) {
		conn_quit(c);
		return;
	}
	conn_unlink(c);
	conn_free(c);
}

/* Keeps a copy: the reply buffer is used again at the next address. What a peer said is kept in preference to what
 * we found out about the next one ourselves. */
static void
note_failure(struct conn *c, const struct outcome *why)
{
	char *text;

	if (c->failure_text != NULL && !c->failure.is_local && why->is_local)
		return;
	text = xstrdup(why->text);
	free(c->failure_text);
	c->failure = *why;
	c->failure.text = c->failure_text = text;
	c->failure.command = NULL;
	c->failure_at = c->at;
	memcpy(c->failure_addr, c->peer_addr, sizeof(c->failure_addr));
	memcpy(c->failure_source, c->source_text, sizeof(c->failure_source));
}

static bool
conn_exhausted(struct conn *c)
{
	struct path *p = c->path;

	conn_unlink(c);
	c->at = c->failure_at;
	memcpy(c->peer_addr, c->failure_addr, sizeof(c->peer_addr));
	memcpy(c->source_text, c->failure_source, sizeof(c->source_text));
	log_info("path %s: no host takes mail: %s (%s, %s)", p->name, c->failure.text,
	    phase_names[c->failure.phase], c->peer_addr);
	path_round_failed(p, &c->failure, c);
	conn_free(c);
	return false;
}

/* Out of descriptors or memory: no fault of the destination's, and no attempt. */
static bool
conn_no_resource(struct conn *c, int error)
{
	struct path *p = c->path;

	log_warn("cannot make a socket, waiting: %s", strerror(error));
	p->open_after = loop_now(p->net->loop) + 1000;
	conn_unlink(c);
	conn_free(c);
	return false;
}

static bool
conn_source_out(struct conn *c)
{
	struct source *s = c->path->source;
	struct net *net = c->net;

	conn_unlink(c);
	conn_free(c);
	source_out(net, s);
	return false;
}

static bool
conn_drop(struct conn *c)
{
	conn_close(&c, false);
	return false;
}

static bool
is_resource_error(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

bool
conn_next(struct conn *c, const struct outcome *why)
{
	int error = c->io != NULL ? io_errno(c->io) : 0;

	note_failure(c, why);
	c->connect_error = error != 0 ? error : ETIMEDOUT;
	if (c->step == STEP_CONNECT && error == EADDRNOTAVAIL && !source_probe(c->path->source))
		return conn_source_out(c);
	c->plan->v[c->at].addr->bad_until = loop_now(c->net->loop) + BAD_ADDRESS_MS;
	drop_io(c);
	c->at++;
	c->is_in_clear = false;
	if (c->is_closing || c->net->is_stopping) /* nobody waits for this one any more: no word about the host */
		return conn_drop(c);
	return conn_try(c);
}

void
conn_note_broken_tls(struct conn *c)
{
	path_tls_peer(c->path, conn_host(c)->name)->broken_until = loop_now(c->net->loop) +
	    c->path->config.remember_broken_tls;
}

bool
conn_retry_in_clear(struct conn *c, const char *why)
{
	const char *host = conn_host(c)->name;

	log_warn("path %s: TLS with %s (%s) failed, going on in the clear: %s", c->path->name, host, c->peer_addr, why);
	conn_note_broken_tls(c);
	drop_io(c);
	c->is_in_clear = true;
	return conn_try(c);
}

bool
conn_has_next(const struct conn *c)
{
	return c->at + 1 < c->plan->n && !c->is_closing && !c->net->is_stopping;
}

bool
conn_go_on(struct conn *c)
{
	c->plan->v[c->at].addr->bad_until = loop_now(c->net->loop) + BAD_ADDRESS_MS;
	drop_io(c);
	client_tx_clear(c);
	c->at++;
	c->is_open = c->is_in_clear = c->needs_rset = false;
	c->n_tx = 0;
	c->tx.started = loop_now(c->net->loop);
	c->tls_ms = 0;
	c->path->n_connecting++;
	return conn_try(c);
}

static void
on_connected(struct conn *c)
{
	const struct source *s = c->path->source;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(io_fd(c->io), (struct sockaddr *)&ss, &len) == 0) {
		sockaddr_port_text((struct sockaddr *)&ss, c->source_text);
		/* It was bound, so this cannot be; but it is the one thing that must never be. */
		if (s->salen > 0 && !sockaddr_equal_addr((struct sockaddr *)&ss, (const struct sockaddr *)&s->sa)) {
			log_error("path %s: connected from %s instead of %s", c->path->name, c->source_text,
			    s->address);
			(void)client_lost(c, "the connection has another source address", false);
			return;
		}
	}
	(void)client_start(c);
}

static void
on_io(struct io *io, enum io_event ev, void *arg)
{
	struct conn *c = arg;

	switch (ev) {
	case IO_CONNECTED:
		on_connected(c);
		break;
	case IO_TLS_READY:
		(void)client_tls_ready(c);
		break;
	case IO_DATA:
		(void)client_input(c);
		break;
	case IO_DRAINED:
		(void)client_body_drained(c);
		break;
	case IO_EOF:
		(void)client_lost(c, "the server closed the connection", false);
		break;
	case IO_TIMEOUT:
		(void)client_lost(c, "timeout", true);
		break;
	case IO_ERROR:
		(void)client_lost(c, io_error(io), false);
		break;
	}
}

/* Connects to the first address from c->at on for which that does not fail at once. */
static bool
conn_try(struct conn *c)
{
	const struct source *s = c->path->source;
	struct sockaddr_storage dst;
	struct outcome why;
	const char *err;
	socklen_t len;

	c->caps = 0;
	c->peer_size = 0;
	c->tls_version = c->tls_cipher = c->tls_verified = NULL;
	c->source_text[0] = '\0';
	reply_reset(&c->reply);
	for (; c->at < c->plan->n; c->at++) {
		mx_addr_sockaddr(c->plan->v[c->at].addr, c->plan->port, &dst, &len);
		sockaddr_text((struct sockaddr *)&dst, c->peer_addr);
		if (!tls_need_of(c->path, conn_host(c), &c->need, &err)) {
			tls_report_unusable(c, err);
			why = outcome_local(PHASE_STARTTLS, 451, "4.7.5", err);
			note_failure(c, &why);
			continue;
		}
		errno = 0;
		c->io = io_connect(c->net->loop, (struct sockaddr *)&dst, len,
		    s->salen > 0 ? (const struct sockaddr *)&s->sa : NULL, s->salen, on_io, c, &err);
		if (c->io != NULL) {
			io_input_limit(c->io, INPUT_MAX);
			conn_set_step(c, STEP_CONNECT);
			c->is_dialled = true;
			return true;
		}
		if (errno == EADDRNOTAVAIL && !source_probe(s))
			return conn_source_out(c);
		if (is_resource_error(errno))
			return conn_no_resource(c, errno);
		c->connect_error = errno;
		why = outcome_local(PHASE_CONNECT, 451, "4.4.1", err);
		note_failure(c, &why);
		c->plan->v[c->at].addr->bad_until = loop_now(c->net->loop) + BAD_ADDRESS_MS;
	}
	return conn_exhausted(c);
}

void
conn_open(struct path *p, struct plan *plan)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->path = p;
	c->net = p->net;
	c->plan = plan;
	uuid_new(c->session);
	TAILQ_INSERT_TAIL(&p->conns, c, path_link);
	TAILQ_INSERT_TAIL(&p->net->conns, c, all_link);
	p->n_conns++;
	p->n_connecting++;
	p->net->n_conns++;
	c->tx.started = loop_now(p->net->loop);
	(void)conn_try(c);
}

bool
conn_ready(struct conn *c)
{
	c->is_open = true;
	c->path->n_connecting--;
	c->path->open_after = 0;
	source_connected(c->path);
	c->plan->v[c->at].addr->bad_until = 0;
	c->ready_at = loop_now(c->net->loop);
	c->connect_ms = (uint32_t)(loop_now(c->net->loop) - c->tx.started) - c->tls_ms;
	return conn_idle(c);
}

/* Other paths wait for a connection that this limit does not let them have. */
static bool
is_turn_over(const struct conn *c)
{
	if (!limit_set_is_contested(&c->path->sets[LIMIT_CONNS]))
		return false;
	if (c->path->n_ready == 0)
		return true;
	return c->n_tx > 0 && (c->n_tx % TURN_TX == 0 || loop_now(c->net->loop) - c->ready_at >= TURN_MS);
}

bool
conn_idle(struct conn *c)
{
	struct path *p = c->path;

	conn_set_step(c, STEP_IDLE);
	if (p->limits.timeouts[T_IDLE] == 0) /* not kept: what is ready at the end of this turn may have it */
		io_timeout(c->io, 1);
	TAILQ_INSERT_TAIL(&p->idle, c, path_idle_link);
	TAILQ_INSERT_TAIL(&c->net->idle_conns, c, idle_link);
	p->n_idle++;
	limit_set_conn_idle(&p->sets[LIMIT_CONNS], 1);
	if (c->is_closing || c->net->is_stopping || p->source->is_gone || c->n_tx >= p->limits.deliveries ||
	    p->n_conns - p->n_quitting > p->window || is_turn_over(c) || (c->needs_rset && !p->config.enable_rset)) {
		conn_close(&c, true);
		return false;
	}
	path_dirty(p);
	return true;
}

void
conn_leave_idle(struct conn *c)
{
	TAILQ_REMOVE(&c->path->idle, c, path_idle_link);
	TAILQ_REMOVE(&c->net->idle_conns, c, idle_link);
	c->path->n_idle--;
	limit_set_conn_idle(&c->path->sets[LIMIT_CONNS], -1);
}

/* RFC 6066 section 3: addresses are no server names. */
static const char *
server_name(const struct conn *c)
{
	const char *name = tls_need_name(&c->need, conn_host(c));
	struct sockaddr_storage ss;
	socklen_t len;

	return sockaddr_parse(name, 0, &ss, &len) == 0 ? NULL : name;
}

bool
conn_starttls(struct conn *c)
{
	const char *sni = server_name(c);
	struct tls_peer *peer = path_tls_peer(c->path, conn_host(c)->name);
	struct outcome why;

	if (io_tls_connect(c->io, c->net->tls, sni, peer->session_need == c->need.tag ? peer->session : NULL) == -1) {
		why = outcome_local(PHASE_STARTTLS, 451, "4.7.0",
		    "the server sent plaintext after its answer to STARTTLS");
		tls_report_failed(c, why.text);
		return conn_next(c, &why);
	}
	SSL_set_ex_data(io_ssl(c->io), c->net->tls_index, c);
	if (tls_need_expect(&c->need, conn_host(c), c->path->domain, io_ssl(c->io)) == -1) {
		why = outcome_local(PHASE_STARTTLS, 451, "4.7.5", "the check of the certificate cannot be set up");
		return conn_next(c, &why);
	}
	if (credentials_show(&c->path->credentials, io_ssl(c->io)) == -1) {
		why = outcome_local(PHASE_STARTTLS, 451, "4.7.5",
		    "our own certificate (tls_certificate) cannot be used");
		return conn_next(c, &why);
	}
	conn_set_step(c, STEP_TLS);
	return true;
}
