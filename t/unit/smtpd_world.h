/* For tests of smtpd's sessions: a worker without its process. Spool segments are temporary files, the client is the
 * other end of a socket pair, the auth helper runs in the same loop. */
#ifndef UNIT_SMTPD_WORLD_H
#define UNIT_SMTPD_WORLD_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "mail/record.h"
#include "smtpd/authd.h"
#include "smtpd/session.h"

struct world {
	struct loop *loop;
	struct params params;
	struct worker w;
	struct authd *authd;
	bool grants;           /* give segments when asked */
	uint64_t next_segment, limit;
	int last_fd;           /* of the segment granted last, ours */
	unsigned n_wants, n_done, n_received, n_broken;
	struct record last;    /* received last */
	struct envelope *env;  /* of it */
	int fds[64];           /* our copies, by segment number */
	int event_fd;
	/* the client */
	int fd;
	bool is_closed;
	char out[65536];
	size_t out_len;
};

static inline void
world_grant(struct world *x, uint8_t kind)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);

	if (fd == -1)
		abort();
	x->last_fd = dup(fd);
	if (x->next_segment < 64)
		x->fds[x->next_segment] = x->last_fd;
	spool_grant(x->w.spool, x->next_segment++, kind, x->limit, fd);
}

static inline void
world_want(uint8_t kind, void *arg)
{
	struct world *x = arg;

	x->n_wants++;
	if (x->grants)
		world_grant(x, kind);
}

static inline void
world_done(uint64_t segment, uint64_t end, void *arg)
{
	struct world *x = arg;

	(void)segment;
	(void)end;
	x->n_done++;
}

static inline void
world_received(const struct record *rec, const struct wbuf *envelope, void *arg)
{
	struct world *x = arg;
	const char *err = NULL;

	x->n_received++;
	x->last = *rec;
	envelope_free(&x->env);
	if ((x->env = envelope_decode(envelope->p, envelope->len, &err)) == NULL)
		abort();
}

static inline void
world_broken(void *arg)
{
	struct world *x = arg;

	x->n_broken++;
}

static const struct spool_ops world_ops = { world_want, world_done, world_received, world_broken };

static inline void
world_params(struct params *p)
{
	static char host[] = "mx.test.example", tenant[] = "X-Tenant", campaign[] = "X-Campaign", passwd[] = "yes";
	static char ours[] = "ours.example", *domains[] = { ours };

	p->myhostname = host;
	p->tenant_header = tenant;
	p->campaign_header = campaign;
	p->remove_tenant_header = p->remove_campaign_header = true;
	p->passwd_file = passwd;
	p->message_size_limit = 4 << 20;
	p->smtpd_tls_auth_only = true;
	p->smtpd_recipient_limit = 100;
	p->line_length_limit = 2048;
	p->text_line_length_limit = 1 << 20;
	p->header_size_limit = 102400;
	p->hopcount_limit = 50;
	p->smtpd_error_limit = 1000;
	p->smtpd_junk_command_limit = 1000;
	p->smtpd_auth_failure_limit = 3;
	p->smtpd_timeout = p->submission_timeout = 300000;
	p->smtpd_tls_timeout = 30000;
	p->smtpd_data_time_limit = 1800000;
	p->smtpd_data_min_rate = 500;
	p->smtpd_hold_limit = 50000;
	p->submission_bare_newline = BARE_NEWLINE_NORMALIZE;
	p->relay_domains.v = domains;
	p->relay_domains.n = 1;
}

static inline struct rates *
world_rates(void)
{
	int fd = rates_make();
	struct rates *r = fd != -1 ? rates_new(fd) : NULL;

	if (r == NULL)
		abort();
	close(fd);
	return r;
}

/* passwd: the users' file, taken over; NULL for none. */
static inline void
world_init(struct world *x, struct passwd_file *passwd)
{
	int pair[2];

	memset(x, 0, sizeof *x);
	x->fd = -1;
	x->grants = true;
	x->next_segment = 1;
	x->limit = 1 << 20;
	x->loop = loop_new();
	world_params(&x->params);
	TAILQ_INIT(&x->w.sessions);
	x->w.loop = x->loop;
	x->w.params = &x->params;
	x->w.line = xmalloc(WORKER_LINE_MAX + 1);
	x->w.connection_share = 100;
	x->w.has_users = passwd != NULL;
	x->w.events = eventlog_new(x->loop, "test");
	x->event_fd = memfd_create("events", MFD_CLOEXEC);
	eventlog_set_fd(x->w.events, dup(x->event_fd));
	x->w.auth = auth_new(x->loop);
	x->w.clients = clients_new(0);
	x->w.rates = world_rates();
	timer_init(&x->w.stop_timer, x->loop, NULL, NULL);
	x->w.spool = spool_new(x->loop, 0, &world_ops, x);
	if (passwd != NULL) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1)
			abort();
		x->authd = authd_new(x->loop, passwd);
		authd_set_worker(x->authd, pair[0]);
		auth_set_partner(x->w.auth, pair[1]);
	}
	world_grant(x, QL_SEG_NORMAL);
	world_grant(x, QL_SEG_NORMAL);
	world_grant(x, QL_SEG_NORMAL);
	world_grant(x, QL_SEG_LARGE);
}

static inline void
world_clear(struct world *x)
{
	size_t i;

	if (x->fd != -1)
		close(x->fd);
	session_free_all(&x->w);
	auth_free(&x->w.auth);
	authd_free(&x->authd);
	spool_free(&x->w.spool);
	eventlog_free(&x->w.events);
	clients_free(&x->w.clients);
	rates_free(&x->w.rates);
	envelope_free(&x->env);
	loop_free(&x->loop);
	free(x->w.line);
	for (i = 0; i < LISTEN_KINDS; i++)
		SSL_CTX_free(x->w.tls[i]);
	for (i = 0; i < 64; i++) {
		if (x->fds[i] > 0)
			close(x->fds[i]);
	}
	close(x->event_fd);
}

static inline void
world_connect_from(struct world *x, enum listener_kind kind, const char *address)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int pair[2];

	if (x->fd != -1)
		close(x->fd);
	if (sockaddr_parse(address, 12345, &sa, &len) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1)
		abort();
	x->fd = pair[1];
	x->is_closed = false;
	x->out_len = 0;
	session_new(&x->w, pair[0], kind, (struct sockaddr *)&sa, len, false);
}

/* Reads what the session said; true once it has hung up. */
static inline bool
world_read(struct world *x)
{
	ssize_t n;

	while (x->out_len < sizeof x->out - 1 && (n = read(x->fd, x->out + x->out_len,
	    sizeof x->out - 1 - x->out_len)) >= 0) {
		if (n == 0) {
			x->is_closed = true;
			break;
		}
		x->out_len += (size_t)n;
	}
	x->out[x->out_len] = '\0';
	return x->is_closed;
}

#endif
