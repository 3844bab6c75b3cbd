/* The worker role: start-up in the order that works (configuration, secrets and descriptors while still privileged,
 * then the jail, then the loop), and what the parent tells it: drain, stop. It reads strangers' bytes all its life and
 * may open nothing but maps of policy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "mail/policy_call.h"

#include "smtpd/accept.h"
#include "smtpd/listen.h"
#include "smtpd/session.h"
#include "smtpd/users.h"
#include "smtpd/verify.h"

#define WATCHDOG_SECONDS 60    /* a disk may be slow */
#define WATCHDOG_CPU_SECONDS 5 /* no single event takes that much */
#define READY_WITHIN_MS 3000  /* without a segment: queued is away, clients are greeted when it is back */
#define DRAIN_TICK_MS 1000
#define DRAIN_QUIET_MS 105000 /* Symfony Mailer sends NOOP first after 100 s, and connects anew if that fails */
#define STOP_MS 1900
#define DESCRIPTORS_BESIDE 512 /* segments, listeners, links, connections that linger */

struct worker_process {
	struct worker w;
	struct acceptor *acceptor;
	struct role_link *link;
	struct timer ready_timer, drain_timer, broken_timer;
	bool is_ready;
	int status;
};

static void
set_ready(void *arg)
{
	struct worker_process *p = arg;

	if (p->is_ready)
		return;
	p->is_ready = true;
	timer_cancel(&p->ready_timer);
	role_link_ready(p->link);
}

static void
on_granted(void *arg)
{
	struct worker_process *p = arg;

	if (spool_is_ready(p->w.spool))
		set_ready(p);
	session_wake_all(&p->w);
}

static void
on_flow(bool hold, void *arg)
{
	struct worker_process *p = arg;

	p->w.is_held = hold;
	on_granted(p);
}

static const struct qlink_ops qlink_ops = { on_granted, on_flow };

/* The loop is inside the commit: everything else happens in its next turn. */
static void
on_broken(void *arg)
{
	struct worker_process *p = arg;

	log_error("the spool cannot be trusted any more: taking no more mail, ending for recovery from disk");
	p->status = 1;
	timer_set(&p->broken_timer, 0);
}

static void
on_stop_timer(void *arg)
{
	struct worker *w = arg;

	loop_stop(w->loop);
}

static void
stop(struct worker_process *p)
{
	struct worker *w = &p->w;

	if (w->is_stopping)
		return;
	w->is_stopping = true;
	acceptor_free(&p->acceptor);
	timer_set(&w->stop_timer, STOP_MS);
	session_stop_all(w);
	session_check_last(w);
}

static void
on_broken_timer(void *arg)
{
	stop(arg);
}

static void
on_drain_timer(void *arg)
{
	struct worker_process *p = arg;

	p->w.is_drain_due = true;
	session_drain_idle(&p->w);
	timer_set(&p->drain_timer, DRAIN_TICK_MS);
}

static void
drain(struct worker_process *p)
{
	if (p->w.is_draining)
		return;
	p->w.is_draining = true;
	log_info("taking no more connections, %zu sessions go on", p->w.n_sessions);
	acceptor_free(&p->acceptor);
	timer_set(&p->drain_timer, p->w.params->smtpd_drain_time);
	session_check_last(&p->w);
}

static void
on_word(enum role_word word, void *arg)
{
	switch (word) {
	case ROLE_DRAIN:
		drain(arg);
		break;
	case ROLE_STOP:
		stop(arg);
		break;
	case ROLE_RELOAD:
		/* A reload replaces workers: a new one has read everything anew. */
		break;
	}
}

static void
on_partner(int fd, void *arg)
{
	struct worker_process *p = arg;

	auth_set_partner(p->w.auth, fd);
}

static void
on_dns(int fd, void *arg)
{
	struct worker_process *p = arg;

	dns_client_set_peer(p->w.dns, fd);
}

static void
on_sign(int fd, void *arg)
{
	struct worker_process *p = arg;

	sign_client_set_peer(p->w.sign, fd);
}

static void
on_check(int fd, void *arg)
{
	struct worker_process *p = arg;

	if (p->w.check != NULL)
		check_client_set_peer(p->w.check, fd);
	else
		close(fd);
}

static void
on_key(int fd, void *arg)
{
	struct worker_process *p = arg;

	key_client_set_peer(p->w.keys, fd);
}

/* The keys stay with the key role: this process has none at any time. */
static void
load_tls(struct worker *w)
{
	const struct params *p = w->params;
	char *err = NULL;
	int i;

	if (p->smtpd_tls_cert_file.n == 0)
		return;
	for (i = 0; i < LISTEN_KINDS; i++) {
		w->tls[i] = tls_server_ctx_by(&p->smtpd_tls_cert_file, key_proxy, w->keys, listener_names[i], &err);
		if (w->tls[i] == NULL)
			fatal("TLS: %s", err);
	}
}

/* Nothing that a client may count on: without them each worker knows its own tickets only. */
static void
use_tickets(struct worker *w, int fd)
{
	int i;

	if (w->tickets == NULL && (w->tickets = tls_tickets_map(fd)) == NULL)
		fatal("cannot map the keys of TLS tickets: %m");
	for (i = 0; i < LISTEN_KINDS; i++)
		if (w->tls[i] != NULL)
			tls_tickets_use(w->tls[i], w->tickets);
}

static void
take_listeners(struct worker_process *p)
{
	enum listener_kind kind;
	char **names = NULL;
	int first, n, i;

	first = role_listeners(&n, &names);
	for (i = 0; i < n; i++) {
		if (strcmp(names[i], RATES_NAME) == 0) {
			if (p->w.rates == NULL && (p->w.rates = rates_new(first + i)) == NULL)
				fatal("cannot map the table of rates: %m");
			close(first + i);
			free(names[i]);
			continue;
		}
		if (strcmp(names[i], TICKETS_NAME) == 0) {
			use_tickets(&p->w, first + i);
			close(first + i);
			free(names[i]);
			continue;
		}
		kind = listener_kind(names[i]);
		if (kind == LISTEN_KINDS)
			fatal("a listening socket has the unknown name '%s'", names[i]);
		if (kind == LISTEN_SUBMISSIONS && p->w.tls[kind] == NULL)
			fatal("submissions_listen needs smtpd_tls_cert_file");
		acceptor_add(p->acceptor, first + i, kind);
		free(names[i]);
	}
	free(names);
	if (p->w.rates == NULL)
		fatal("the parent handed over no table of rates");
}

/* The spool speaks to queued through the link, and to this process when storage fails. */
static void
on_want(uint8_t kind, void *arg)
{
	struct worker_process *p = arg;

	qlink_want(p->w.qlink, kind);
}

static void
on_done(uint64_t segment, uint64_t end, void *arg)
{
	struct worker_process *p = arg;

	qlink_done(p->w.qlink, segment, end);
}

static void
on_received(const struct record *rec, const struct wbuf *envelope, void *arg)
{
	struct worker_process *p = arg;

	qlink_received(p->w.qlink, rec, envelope);
}

static const struct spool_ops spool_ops = { on_want, on_done, on_received, on_broken };

static unsigned
share(int64_t limit, unsigned workers)
{
	return (unsigned)((limit + workers - 1) / workers);
}

/* A quarter of the memory for content, over all workers: the rest is the page cache's, queued's and deliverd's. */
static uint64_t
content_limit(unsigned workers)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 / workers : 0;
}

static void
set_up(struct worker_process *p, const struct params *params, struct policy **policy, unsigned instance,
    unsigned workers)
{
	struct worker *w = &p->w;
	char name[32];

	snprintf(name, sizeof name, "smtpd-%u", instance);
	TAILQ_INIT(&w->sessions);
	w->params = params;
	w->policy = *policy;
	*policy = NULL;
	w->keys = key_client_new();
	load_tls(w);
	w->suppress = suppress_open(params->queue_directory);
	w->drain_quiet = DRAIN_QUIET_MS;
	w->content_limit = content_limit(workers);
	w->has_users = params->passwd_file != NULL && *params->passwd_file != '\0';
	w->line = xmalloc(WORKER_LINE_MAX + 1);
	w->connection_share = share(params->smtpd_connection_limit, workers);
	w->loop = loop_new();
	w->events = eventlog_new(w->loop, name);
	w->auth = auth_new(w->loop);
	w->dns = dns_client_new(w->loop);
	w->sign = sign_client_new(w->loop);
	if (policy_has_listeners(w->policy) || policy_asks_auth(w->policy))
		w->check = check_client_new(w->loop, w->dns, params->dns_timeout);
	policy_set_auth(w->policy, &verify_policy_ops, w);
	policy_set_host(w->policy, w->loop, w->dns, params->dns_timeout);
	w->clients = clients_new(share(params->smtpd_client_connection_limit, workers));
	timer_init(&w->stop_timer, w->loop, on_stop_timer, w);
	timer_init(&p->ready_timer, w->loop, set_ready, p);
	timer_init(&p->drain_timer, w->loop, on_drain_timer, p);
	timer_init(&p->broken_timer, w->loop, on_broken_timer, p);
	p->acceptor = acceptor_new(w);
	take_listeners(p);
	w->spool = spool_new(w->loop, params->min_free_space, &spool_ops, p);
	w->qlink = qlink_new(w->loop, params->run_directory, name, w->events, w->spool, &qlink_ops, p);
	auth_set_partner(w->auth, ROLE_PARTNER_FD);
	p->link = role_link_new(w->loop, on_word, on_partner, p);
	role_link_on_other(p->link, PLACE_DNS, on_dns);
	role_link_on_other(p->link, PLACE_SIGN, on_sign);
	role_link_on_other(p->link, PLACE_CHECK, on_check);
	role_link_on_other(p->link, PLACE_KEY, on_key);
}

static void
tear_down(struct worker_process *p)
{
	struct worker *w = &p->w;
	int i;

	acceptor_free(&p->acceptor);
	session_free_all(w);
	auth_free(&w->auth);
	spool_free(&w->spool);
	eventlog_flush(w->events);
	qlink_free(&w->qlink);
	eventlog_free(&w->events);
	clients_free(&w->clients);
	rates_free(&w->rates);
	timer_cancel(&w->stop_timer);
	timer_cancel(&p->ready_timer);
	timer_cancel(&p->drain_timer);
	timer_cancel(&p->broken_timer);
	role_link_free(&p->link);
	for (i = 0; i < LISTEN_KINDS; i++)
		SSL_CTX_free(w->tls[i]);
	key_client_free(&w->keys);
	tls_tickets_free(&w->tickets);
	policy_free(&w->policy);
	check_client_free(&w->check);
	dns_client_free(&w->dns);
	sign_client_free(&w->sign);
	suppress_close(&w->suppress);
	loop_free(&w->loop);
	free(w->line);
}

/* Nothing can be opened, unless policy has maps (posthorn.map): they are read again when their files change. */
static void
enter_sandbox(const struct worker_process *p)
{
	const struct params *params = p->w.params;
	size_t n, i;
	const char *const *maps = policy_map_directories(p->w.policy, &n);
	struct sandbox_path *paths = xcalloc(n + 1, sizeof(*paths));

	paths[0].path = params->run_directory;
	for (i = 0; i < n; i++)
		paths[i + 1].path = maps[i];
	sandbox_enter(&(struct sandbox){
		.role = "smtpd/worker", .user = SMTPD_USER, .mode = (enum sandbox_mode)params->sandbox,
		.allow = SB_ACCEPT | SB_CONNECT_UN | SB_FSYNC | (n > 0 ? SB_FILES_RO : 0), .paths = paths,
		.n_paths = n + 1, .max_fds = p->w.connection_share + DESCRIPTORS_BESIDE
	});
	free(paths);
}

int
worker_main(const struct params *params, struct policy **policy, unsigned instance, unsigned workers)
{
	struct worker_process p = { .status = 0 };

	set_up(&p, params, policy, instance, workers);
	enter_sandbox(&p);
	loop_watchdog(p.w.loop, WATCHDOG_SECONDS);
	loop_watchdog_cpu(p.w.loop, WATCHDOG_CPU_SECONDS);
	timer_set(&p.ready_timer, READY_WITHIN_MS);
	if (loop_run(p.w.loop) == -1)
		p.status = 1;
	tear_down(&p);
	return p.status;
}
