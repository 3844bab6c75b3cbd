/* Egress paths (path.h), in the net process: what waits, how many connections it gets, and what happens when there
 * is none to be had. Nothing here is a stranger's input but its consequences. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "deliverd/path.h"
#include "deliverd/site.h"

/* One connection for so many waiting envelopes. */
#define READY_PER_CONN 10
/* An envelope that waits so long although connections exist gets another one: theirs may be stuck. */
#define PATIENCE_MS 200
/* After a round over all hosts failed while other connections work. */
#define BACKOFF_MS 2000
#define PATH_LIFE_MS 60000

static int
path_cmp(const struct path *a, const struct path *b)
{
	if (a->site != b->site)
		return (uintptr_t)a->site < (uintptr_t)b->site ? -1 : 1;
	return (uintptr_t)a->source < (uintptr_t)b->source ? -1 : a->source != b->source;
}

RB_GENERATE(path_tree, path, by_key, path_cmp)

static void
on_timer(void *arg)
{
	path_dirty(arg);
}

struct path *
path_get(struct site *site, struct source *source, const char *domain)
{
	struct path find = { .site = site, .source = source };
	struct net *net = site->net;
	struct path *p = RB_FIND(path_tree, &net->paths, &find);

	if (p != NULL)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->net = net;
	p->site = site_ref(site);
	p->source = source;
	source->refs++;
	p->name = xasprintf("%s->%s", source->name, site->name);
	p->domain = xstrdup(domain);
	policy_path_config_init(&p->config);
	TAILQ_INIT(&p->ready);
	TAILQ_INIT(&p->conns);
	TAILQ_INIT(&p->idle);
	timer_init(&p->timer, net->loop, on_timer, p);
	RB_INSERT(path_tree, &net->paths, p);
	return p;
}

static void
path_free(struct path *p)
{
	unsigned i;

	RB_REMOVE(path_tree, &p->net->paths, p);
	if (p->is_dirty)
		TAILQ_REMOVE(&p->net->dirty, p, dirty_link);
	timer_cancel(&p->timer);
	for (i = 0; i < p->n_peers; i++) {
		free(p->peers[i].host);
		SSL_SESSION_free(p->peers[i].session);
	}
	policy_path_config_clear(&p->config);
	site_unref(&p->site);
	source_unref(&p->source);
	free(p->name);
	free(p->domain);
	free(p);
}

void
path_dirty(struct path *p)
{
	if (p->is_dirty)
		return;
	p->is_dirty = true;
	TAILQ_INSERT_TAIL(&p->net->dirty, p, dirty_link);
}

void
path_add(struct path *p, struct item *it)
{
	it->state = ITEM_READY;
	it->path = p;
	TAILQ_INSERT_TAIL(&p->ready, it, link);
	p->n_ready++;
	path_dirty(p);
}

void
path_add_front(struct path *p, struct item **v, unsigned n)
{
	while (n-- > 0) {
		if (v[n] == NULL)
			continue;
		v[n]->state = ITEM_READY;
		v[n]->path = p;
		TAILQ_INSERT_HEAD(&p->ready, v[n], link);
		p->n_ready++;
	}
	path_dirty(p);
}

void
path_remove(struct path *p, struct item *it)
{
	TAILQ_REMOVE(&p->ready, it, link);
	p->n_ready--;
}

void
path_fail_ready(struct path *p, const struct outcome *o, const struct conn *c)
{
	struct item *it;

	while ((it = TAILQ_FIRST(&p->ready)) != NULL)
		item_finish(p->net, it, o, p, c);
}

/* At once, or after what they are doing. */
static void
close_conns(struct path *p)
{
	struct conn *c, *next;

	TAILQ_FOREACH_SAFE(c, &p->conns, path_link, next) {
		if (c->step == STEP_IDLE)
			conn_close(&c, true);
		else
			c->is_closing = true;
	}
}

void
path_reassign(struct path *p)
{
	unsigned n = p->n_ready;
	struct item *it;

	close_conns(p);
	for (; n > 0 && (it = TAILQ_FIRST(&p->ready)) != NULL; n--) {
		item_unlink(it);
		site_add(p->site, it);
	}
}

void
path_round_failed(struct path *p, const struct outcome *o, const struct conn *c)
{
	p->open_after = loop_now(p->net->loop) + BACKOFF_MS;
	path_dirty(p);
	if (p->n_conns > p->n_quitting) /* healthy ones take it, ones still trying will decide */
		return;
	p->open_after = 0;
	path_fail_ready(p, o, c);
}

/* Makes room for one more connection, at the cost of the one that is idle longest. */
static bool
room_for_conn(struct net *net)
{
	struct conn *c;

	if (net->n_conns < net->max_conns)
		return true;
	c = TAILQ_FIRST(&net->idle_conns);
	if (c == NULL)
		return false;
	conn_close(&c, true);
	return net->n_conns < net->max_conns; /* else when its QUIT is answered */
}

static unsigned
conns_wanted(const struct path *p)
{
	const struct item *first = TAILQ_FIRST(&p->ready);
	unsigned by_count = (p->n_ready + READY_PER_CONN - 1) / READY_PER_CONN, want = by_count;
	unsigned n_open = p->n_conns - p->n_quitting - p->n_connecting;

	if (first == NULL)
		return 0;
	/* Those that are busy will take some of it in a moment. */
	if (n_open >= by_count &&
	    loop_now(p->net->loop) - first->job->arrived < PATIENCE_MS)
		want = 0;
	if (p->n_connecting >= want)
		return 0;
	want -= p->n_connecting;
	if (p->n_conns + want > p->limits.connections)
		want = p->limits.connections > p->n_conns ? p->limits.connections - p->n_conns : 0;
	return want;
}

static void
open_conns(struct path *p)
{
	struct outcome why;
	struct plan *plan;
	unsigned n = conns_wanted(p);

	for (; n > 0 && p->n_ready > 0 && loop_now(p->net->loop) >= p->open_after; n--) {
		if (!room_for_conn(p->net)) {
			p->open_after = loop_now(p->net->loop) + PATIENCE_MS;
			return;
		}
		plan = plan_new(p, &why);
		if (plan == NULL) {
			path_fail_ready(p, &why, NULL);
			return;
		}
		conn_open(p, plan);
	}
}

/* Mail whose time is up goes back: whether that is its end is for queued to say. */
static void
return_expired(struct path *p)
{
	struct outcome o = outcome_returned("the message expired while it waited for a connection", 0);
	int64_t now = loop_wall(p->net->loop);
	struct item *it;

	while ((it = TAILQ_FIRST(&p->ready)) != NULL && it->job->q.expires > 0 && it->job->q.expires <= now)
		item_finish(p->net, it, &o, p, NULL);
}

static bool
path_ready_to_send(struct path *p)
{
	struct outcome o;
	char *err;

	if (p->net->is_stopping) {
		o = outcome_returned("deliverd is stopping", 0);
		path_fail_ready(p, &o, NULL);
		return false;
	}
	if (p->source->is_gone || p->source->out_until != 0) {
		path_reassign(p);
		return false;
	}
	if (p->generation == p->net->generation)
		return true;
	/* Port, TLS, hosts and our own name may be others now. */
	close_conns(p);
	if (path_configure(p, &err) == 0)
		return true;
	log_error("path %s: %s", p->name, err);
	free(err);
	o = outcome_local(PHASE_NONE, 451, "4.3.5", "the policy for this path failed");
	path_fail_ready(p, &o, NULL);
	return false;
}

static void
path_pump(struct path *p)
{
	struct conn *c;
	int64_t wait;

	if (p->n_ready == 0 && p->generation != p->net->generation)
		close_conns(p);
	if (p->n_ready == 0 && !p->source->is_gone)
		return;
	if (!path_ready_to_send(p))
		return;
	return_expired(p);
	while (p->n_ready > 0 && (c = TAILQ_LAST(&p->idle, conn_list)) != NULL)
		(void)client_tx_begin(c);
	open_conns(p);
	if (p->n_ready == 0)
		return;
	wait = p->open_after - loop_now(p->net->loop);
	/* If all that there is are attempts to connect, their outcome is what happens next. */
	if (wait > 0 || p->n_connecting == 0 || p->n_connecting < p->n_conns - p->n_quitting)
		timer_set(&p->timer, wait > PATIENCE_MS ? wait : PATIENCE_MS);
}

void
paths_pump(struct net *net)
{
	struct path_list now = TAILQ_HEAD_INITIALIZER(now);
	struct path *p;

	/* A path that becomes dirty meanwhile waits for the next turn. */
	TAILQ_CONCAT(&now, &net->dirty, dirty_link);
	while ((p = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, p, dirty_link);
		p->is_dirty = false;
		path_pump(p);
	}
	if (!TAILQ_EMPTY(&net->dirty))
		loop_again(net->loop);
}

void
paths_sweep(struct net *net, bool all)
{
	int64_t now = loop_now(net->loop);
	struct path *p, *next;

	for (p = RB_MIN(path_tree, &net->paths); p != NULL; p = next) {
		next = RB_NEXT(path_tree, &net->paths, p);
		if (all || p->n_ready > 0 || p->n_conns > 0)
			p->idle_since = 0;
		else if (p->idle_since == 0)
			p->idle_since = now;
		if (all || (p->idle_since != 0 && now - p->idle_since > PATH_LIFE_MS))
			path_free(p);
	}
}

struct tls_peer *
path_tls_peer(struct path *p, const char *host)
{
	struct tls_peer *t;
	unsigned i;

	for (i = 0; i < p->n_peers; i++)
		if (strcmp(p->peers[i].host, host) == 0)
			return &p->peers[i];
	if (p->n_peers == PATH_TLS_PEERS) {
		t = &p->peers[arc4random_uniform(PATH_TLS_PEERS)];
		free(t->host);
		SSL_SESSION_free(t->session);
	} else {
		t = &p->peers[p->n_peers++];
	}
	memset(t, 0, sizeof(*t));
	t->host = xstrdup(host);
	return t;
}
