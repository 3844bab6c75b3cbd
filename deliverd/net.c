/* The net role's context (net.h): made from a configuration, swapped for another, wound down. The process around it
 * is in main.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/config.h"
#include "mail/dns_client.h"
#include "deliverd/conn.h"
#include "deliverd/guard.h"
#include "deliverd/limit.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"

#define SWEEP_MS 15000
#define STOP_MS 5000 /* for those whose content is under way */
#define STOP_MORE_MS 3000 /* for queued to come back; the parent waits ten seconds in all */
#define STOP_TICK_MS 50
#define FDS_RESERVED 256 /* segments, links, the log */

/* A ticket or session came in; a copy is kept for the next connection of this path to this host: OpenSSL marks the
 * original as not resumable if the peer then drops the connection without close_notify, as many do. */
static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	const struct net *net = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct conn *c = SSL_get_ex_data(ssl, net->tls_index);
	struct tls_peer *peer;

	if (c == NULL)
		return 0;
	peer = path_tls_peer(c->path, conn_host(c)->name);
	SSL_SESSION_free(peer->session);
	peer->session = SSL_SESSION_dup(session);
	peer->session_need = c->need.tag;
	return 0;
}

/* The end of a turn: mail that became ready starts moving, finished envelopes become credit. */
static void
on_commit(void *arg)
{
	struct net *net = arg;

	paths_follow_imposed(net);
	paths_pump(net);
	qlink_step(net->queue);
}

static void
on_sweep(void *arg)
{
	struct net *net = arg;

	resolver_sweep(net->resolver);
	paths_sweep(net, false);
	guard_sweep(net->guard);
	timer_set(&net->sweep, SWEEP_MS);
}

static bool
is_handed_over(const struct net *net)
{
	return net->n_items == 0 && qlink_is_flushed(net->queue);
}

/* What is left has its content under way, and the peer takes too long. */
static void
give_up(struct net *net)
{
	struct outcome o = outcome_local(PHASE_DOT, 451, "4.4.2",
	    "deliverd stopped while waiting for the reply to the end of data");
	struct conn *c, *next;

	TAILQ_FOREACH_SAFE(c, &net->conns, all_link, next) {
		client_tx_settle(c, &o);
		conn_close(&c, false);
	}
}

static void
on_stop_tick(void *arg)
{
	struct net *net = arg;
	int64_t now = loop_now(net->loop);

	if (net->n_items > 0 && now >= net->stop_deadline)
		give_up(net);
	/* If queued is away, there are results that nobody else knows. */
	if (is_handed_over(net) || now >= net->stop_deadline + STOP_MORE_MS) {
		eventlog_flush(net->events);
		net->stopped(net, net->stopped_arg);
		return;
	}
	timer_set(&net->stop, STOP_TICK_MS);
}

void
net_stop(struct net *net, void (*stopped)(struct net *, void *), void *arg)
{
	struct outcome o = outcome_returned("deliverd is stopping", 0);
	struct conn *c, *next;
	struct item *it, *after;

	if (net->is_stopping)
		return;
	net->is_stopping = true;
	net->stopped = stopped;
	net->stopped_arg = arg;
	net->stop_deadline = loop_now(net->loop) + STOP_MS;
	qlink_stop(net->queue);
	TAILQ_FOREACH_SAFE(c, &net->conns, all_link, next)
		(void)client_tx_abandon(c);
	for (it = RB_MIN(item_tree, &net->items); it != NULL; it = after) {
		after = RB_NEXT(item_tree, &net->items, it);
		if (it->state != ITEM_SENDING)
			item_finish(net, it, &o, NULL, NULL);
	}
	timer_set(&net->stop, 1);
}

void
net_swap(struct net *net, struct params *params, struct policy *policy)
{
	struct params *old_params = net->params;
	struct policy *old_policy = net->policy;
	struct path *p;

	net->params = params;
	net->policy = policy;
	net->generation++;
	net->limits->epoch++;
	sources_load(net);
	resolver_forget(net->resolver);
	log_set_level((enum log_level)params->log_level);
	/* Each looks at its limits, and leaves a source that is gone, before anything else is sent. */
	RB_FOREACH(p, path_tree, &net->paths)
		path_dirty(p);
	params_free(&old_params);
	policy_free(&old_policy);
}

void
net_set_shaping(struct net *net, struct shaping *shaping)
{
	struct shaping *old = net->shaping;
	struct path *p;

	net->shaping = shaping;
	net->generation++;
	net->limits->epoch++;
	RB_FOREACH(p, path_tree, &net->paths) {
		memset(p->origins, 0, sizeof(p->origins));
		path_dirty(p);
	}
	shaping_free(&old);
}

/* What is in a transaction ends as it began; the rest goes back to queued, which may choose another pool now. */
static void
hand_back(struct net *net)
{
	struct outcome o = outcome_returned("the configuration has changed", 0);
	struct item *it, *after;

	for (it = RB_MIN(item_tree, &net->items); it != NULL; it = after) {
		after = RB_NEXT(item_tree, &net->items, it);
		if (it->state != ITEM_SENDING)
			item_finish(net, it, &o, NULL, NULL);
	}
}

bool
net_reload(struct net *net)
{
	struct config *config = config_load_logged(net->config_dir);
	struct policy *policy;
	struct params *params;
	struct shaping *shaping;
	bool is_other;

	if (config == NULL) {
		log_error("configuration not changed: the new one has errors");
		return false;
	}
	is_other = config->digest != net->config_digest;
	net->config_number = config->number;
	net->config_digest = config->digest;
	conf_free(&net->conf);
	net->conf = config->conf;
	config->conf = NULL;
	config_take(&config, &params, &policy, &shaping);
	net_swap(net, params, policy);
	net_set_shaping(net, shaping);
	qlink_generation(net->queue); /* before what is handed back, so that it is not offered again */
	if (is_other)
		hand_back(net);
	log_info("configuration read again generation=%u", net->config_number);
	return true;
}

static unsigned
conns_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == -1 || rl.rlim_cur == RLIM_INFINITY || rl.rlim_cur > 1000000)
		return 1000000 - FDS_RESERVED;
	return rl.rlim_cur > 2 * FDS_RESERVED ? (unsigned)rl.rlim_cur - FDS_RESERVED : (unsigned)rl.rlim_cur / 2;
}

static void
tls_setup(struct net *net)
{
	if (net->tls == NULL)
		return;
	net->tls_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	SSL_CTX_set_app_data(net->tls, net);
	SSL_CTX_set_session_cache_mode(net->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(net->tls, on_session);
}

struct net *
net_new(struct loop *loop, const char *config_dir, const char *pool, struct params *params, struct policy *policy,
    SSL_CTX *tls)
{
	struct net *net = xcalloc(1, sizeof(*net));
	char *writer = xasprintf("deliverd/%s", pool);
	char *socket_path = xasprintf("%s/%s", params->run_directory, QL_SOCKET);

	net->loop = loop;
	net->config_dir = xstrdup(config_dir);
	net->pool_name = xstrdup(pool);
	net->params = params;
	net->policy = policy;
	net->generation = 1;
	net->tls = tls;
	net->max_conns = conns_limit();
	RB_INIT(&net->items);
	RB_INIT(&net->sites);
	RB_INIT(&net->paths);
	TAILQ_INIT(&net->dirty);
	TAILQ_INIT(&net->sources);
	TAILQ_INIT(&net->conns);
	TAILQ_INIT(&net->idle_conns);
	wbuf_init(&net->scratch);
	tls_setup(net);
	net->limits = limits_new(net);
	sources_load(net);
	loop_before_sleep(loop, LOOP_COMMIT, on_commit, net);
	net->events = eventlog_new(loop, writer);
	net->dns = dns_client_new(loop);
	net->resolver = resolver_new(net);
	net->guard = guard_new(net);
	net->queue = qlink_new(net, socket_path);
	timer_init(&net->sweep, loop, on_sweep, net);
	timer_init(&net->stop, loop, on_stop_tick, net);
	timer_set(&net->sweep, SWEEP_MS);
	free(writer);
	free(socket_path);
	return net;
}

void
net_free(struct net **np)
{
	struct net *net = *np;
	struct item *it;
	struct conn *c;

	*np = NULL;
	if (net == NULL)
		return;
	timer_cancel(&net->sweep);
	timer_cancel(&net->stop);
	while ((c = TAILQ_FIRST(&net->conns)) != NULL)
		conn_close(&c, false);
	while ((it = RB_MIN(item_tree, &net->items)) != NULL)
		item_release(net, it);
	guard_free(&net->guard);
	resolver_free(&net->resolver);
	dns_client_free(&net->dns);
	paths_sweep(net, true);
	sources_clear(net);
	limits_free(&net->limits);
	qlink_free(&net->queue);
	token_signer_clear(&net->token);
	eventlog_free(&net->events);
	SSL_CTX_free(net->tls);
	params_free(&net->params);
	conf_free(&net->conf);
	policy_free(&net->policy);
	shaping_free(&net->shaping);
	wbuf_clear(&net->scratch);
	free(net->config_dir);
	free(net->pool_name);
	free(net);
}
