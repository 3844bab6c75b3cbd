/* Egress paths (path.h), in the net process: what waits, how many connections it gets, and what happens when there
 * is none to be had. Nothing here is a stranger's input but its consequences. */
#include <bsd/string.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "deliverd/path.h"
#include "deliverd/site.h"
#include "deliverd/tls_report.h"

/* One connection for so many waiting envelopes. */
#define READY_PER_CONN 10
/* An envelope that waits so long although connections exist gets another one: theirs may be stuck. */
#define PATIENCE_MS 200
/* After a round over all hosts failed while other connections work. */
#define BACKOFF_MS 2000
#define PATH_LIFE_MS 60000
#define WINDOW_START 2
#define SHRINK_MS 1000 /* what many connections are told at the same time counts once */
#define GROW_MS 5000   /* once a server had enough: one more after so long, not at the pace of its replies */
#define HOLD_MS 5000 /* what has to wait longer goes back to queued, so that it takes no room from others */
#define RETURN_MAX_MS 3600000
#define SLOW_MAX_MS 300000  /* a server that is slow may be quick again */
#define SLOW_EACH_MS 1000
#define STALLED_MS 10000 /* nothing moved for so long */
#define REST_MS 2000 /* after too many failures in a row; doubled up to the next */
#define REST_MAX_MS 15000
#define POLICY_REST_MS 1000

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
	unsigned i;

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
	for (i = 0; i < LIMIT_KINDS; i++)
		p->waits[i].path = p;
	p->window = WINDOW_START;
	p->threshold = UINT_MAX;
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
	path_leave_limits(p);
	for (i = 0; i < LIMIT_KINDS; i++)
		limit_set_clear(&p->sets[i]);
	free(p->again_host);
	free(p->config_error);
	free(p->limits.ehlo);
	credentials_clear(&p->credentials);
	free(p->holds);
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
	if (p->n_ready == 0)
		p->served = loop_now(p->net->loop);
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
		p->has_new_holds = p->n_holds > 0; /* they may have come while it was being sent */
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

void
path_close_conns(struct path *p)
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
path_unselect(struct path *p, struct item *it)
{
	if (it->selected != 0 && it->selected == p->generation)
		limit_set_give_back(&p->sets[LIMIT_SELECT]);
	it->selected = 0;
}

void
path_reassign(struct path *p)
{
	unsigned n = p->n_ready;
	struct item *it;

	path_close_conns(p);
	for (; n > 0 && (it = TAILQ_FIRST(&p->ready)) != NULL; n--) {
		item_unlink(it);
		path_unselect(p, it);
		site_add(p->site, it);
	}
}

static void
rest_if_hopeless(struct path *p)
{
	int64_t ms = REST_MS;
	unsigned i;

	if (p->n_failures < p->limits.failures)
		return;
	for (i = p->limits.failures; i < p->n_failures && ms < REST_MAX_MS; i++)
		ms *= 2;
	p->rest_until = loop_now(p->net->loop) + (ms < REST_MAX_MS ? ms : REST_MAX_MS);
	log_warn("path %s: %u connections in a row failed, no more for %lld s", p->name, p->n_failures,
	    (long long)((ms < REST_MAX_MS ? ms : REST_MAX_MS) / 1000));
}

void
path_round_failed(struct path *p, const struct outcome *o, const struct conn *c)
{
	p->open_after = loop_now(p->net->loop) + BACKOFF_MS;
	p->n_failures++;
	path_dirty(p);
	if (p->n_conns > p->n_quitting) /* healthy ones take it, ones still trying will decide */
		return;
	p->open_after = 0;
	if (o->is_local && o->phase == PHASE_CONNECT && source_connect_failed(p, c->connect_error)) {
		path_reassign(p);
		return;
	}
	path_fail_ready(p, o, c);
	rest_if_hopeless(p);
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
	/* One that says goodbye still counts for the server, but is no reason for it to grow. */
	if (n_open + p->n_connecting + want > p->window)
		want = p->window > n_open + p->n_connecting ? p->window - n_open - p->n_connecting : 0;
	if (p->n_conns + want > p->limits.connections)
		want = p->limits.connections > p->n_conns ? p->limits.connections - p->n_conns : 0;
	return want;
}

static void
block(struct path *p, struct limit *l, int64_t ms)
{
	if (p->blocked == NULL || ms > p->blocked_ms) {
		p->blocked = l;
		p->blocked_ms = ms;
	}
}

/* One transaction of its message rates. */
static bool
take_message(struct path *p)
{
	struct limit *l;
	int64_t ms;

	if (p->n_reserved > 0) {
		p->n_reserved--;
		return true;
	}
	if (p->sets[LIMIT_MESSAGE].n == 0)
		return true;
	ms = limit_set_take(&p->sets[LIMIT_MESSAGE], &p->waits[LIMIT_MESSAGE], &l);
	if (ms > 0)
		block(p, l, ms);
	return ms == 0;
}

void
path_message_unused(struct path *p)
{
	limit_set_give_back(&p->sets[LIMIT_MESSAGE]);
}

static void
keep_reserved(struct path *p, unsigned n)
{
	for (; p->n_reserved > n; p->n_reserved--)
		path_message_unused(p);
}

void
path_leave_limits(struct path *p)
{
	unsigned i;

	keep_reserved(p, 0);
	for (i = 0; i < LIMIT_KINDS; i++)
		limit_wait_leave(&p->waits[i]);
	p->blocked = NULL;
}

/* Another path's connection has nothing to do and is in the way. */
static void
evict_idle(struct net *net, const struct limit *l)
{
	struct conn *c;
	unsigned i;

	if (l->n_idle == 0)
		return;
	TAILQ_FOREACH(c, &net->idle_conns, idle_link)
		for (i = 0; i < c->path->sets[LIMIT_CONNS].n; i++)
			if (c->path->sets[LIMIT_CONNS].v[i] == l) {
				conn_close(&c, true);
				return;
			}
}

/* May one more connection be made? What it will send first is taken at once: there may be no connections for mail that
 * must not be sent yet. */
static bool
take_conn(struct path *p)
{
	struct limit *l;
	int64_t ms;

	if (p->sets[LIMIT_MESSAGE].n > 0 && p->n_reserved <= p->n_connecting) {
		if (!take_message(p))
			return false;
		p->n_reserved++;
	}
	if (!limit_set_conn_take(&p->sets[LIMIT_CONNS], &p->waits[LIMIT_CONNS], &l)) {
		evict_idle(p->net, l);
		if (p->n_conns == p->n_quitting)
			block(p, l, 1);
	} else if ((ms = limit_set_take(&p->sets[LIMIT_CONNECT], &p->waits[LIMIT_CONNECT], &l)) > 0) {
		limit_set_conn_drop(&p->sets[LIMIT_CONNS]);
		if (p->n_conns == p->n_quitting)
			block(p, l, ms);
	} else {
		return true;
	}
	keep_reserved(p, p->n_connecting);
	return false;
}

static void
open_conns(struct path *p)
{
	struct outcome why;
	struct plan *plan;
	unsigned n = conns_wanted(p);

	if (p->source->is_probing && n > 0)
		n = p->source->is_trying ? 0 : 1;
	for (; n > 0 && p->n_ready > 0 && loop_now(p->net->loop) >= p->open_after; n--) {
		if (!room_for_conn(p->net)) {
			p->open_after = loop_now(p->net->loop) + PATIENCE_MS;
			return;
		}
		plan = plan_new(p, &why);
		if (plan == NULL) {
			if (why.is_forbidden)
				tls_report_forbidden(p, why.text);
			path_fail_ready(p, &why, NULL);
			return;
		}
		if (!take_conn(p)) {
			plan_free(&plan);
			return;
		}
		p->source->is_trying = p->source->is_probing;
		conn_open(p, plan);
	}
}

void
path_grow(struct path *p)
{
	int64_t now = loop_now(p->net->loop);

	p->n_failures = 0;
	if (p->n_ready == 0 || p->window >= p->limits.connections)
		return;
	if (p->window < p->threshold) {
		p->window++;
	} else if (++p->n_successes >= p->window && now - p->resized >= GROW_MS) {
		p->window++;
		p->n_successes = 0;
		p->resized = now;
	}
}

void
path_shrink(struct path *p)
{
	int64_t now = loop_now(p->net->loop);
	unsigned n = p->n_conns - p->n_quitting < p->window ? p->n_conns - p->n_quitting : p->window;

	if (now - p->shrunk < SHRINK_MS)
		return;
	p->shrunk = p->resized = now;
	p->window = p->threshold = n > 3 ? n / 2 : 1;
	p->n_successes = 0;
}

void
path_note_reply(struct path *p, const struct outcome *o)
{
	p->last_code = o->code;
	strlcpy(p->last_text, o->text != NULL ? o->text : "", sizeof(p->last_text));
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

/* Policy that failed is not asked again for each envelope: it may have used all of the time that it has. */
static bool
configure(struct path *p)
{
	int64_t now = loop_now(p->net->loop);

	if (p->config_error != NULL && p->config_asked == p->net->generation && now - p->config_failed < POLICY_REST_MS)
		return false;
	free(p->config_error);
	p->config_error = NULL;
	if (path_configure(p, &p->config_error) == 0)
		return true;
	p->config_failed = now;
	p->config_asked = p->net->generation;
	log_error("path %s: %s", p->name, p->config_error);
	return false;
}

int
path_prepare(struct path *p)
{
	char text[512];
	struct outcome o;

	if (p->generation == p->net->generation)
		return 0;
	/* Port, TLS, hosts and our own name may be others now. */
	path_close_conns(p);
	if (configure(p))
		return 0;
	snprintf(text, sizeof(text), "the settings of this path cannot be used: %s", p->config_error);
	o = outcome_local(PHASE_NONE, 451, "4.3.5", text);
	path_fail_ready(p, &o, NULL);
	return -1;
}

static bool
path_ready_to_send(struct path *p)
{
	struct outcome o;

	if (p->net->is_stopping) {
		o = outcome_returned("deliverd is stopping", 0);
		path_fail_ready(p, &o, NULL);
		return false;
	}
	if (p->source->is_gone || !source_is_in(p->source)) {
		path_reassign(p);
		return false;
	}
	if (path_prepare(p) == -1)
		return false;
	path_leave_held(p);
	return p->n_ready > 0;
}

/* What has to wait for long, or is too much, waits with queued: here it would take the room of others' mail. Each
 * is due
 * when its turn comes, a little earlier. */
static void
return_surplus(struct path *p, unsigned keep, int64_t first_ms, int64_t pace_ms, int64_t max_ms, const char *text)
{
	int64_t now = loop_now(p->net->loop), ms;
	struct outcome o = outcome_returned(text, 0);
	struct item *it = TAILQ_FIRST(&p->ready), *next;

	if (p->n_imposed > 0)
		o.enhanced = QL_IMPOSED;
	for (; it != NULL && keep > 0; keep--)
		it = TAILQ_NEXT(it, link);
	if (p->return_at < now + first_ms)
		p->return_at = now + first_ms;
	for (; it != NULL; it = next) {
		next = TAILQ_NEXT(it, link);
		ms = p->return_at - now;
		if (ms > max_ms)
			ms = max_ms + arc4random_uniform((uint32_t)max_ms / 4);
		else
			p->return_at += pace_ms;
		o.retry_after = (uint32_t)(ms > 3000 ? ms / 1000 - 2 : 1);
		item_finish(p->net, it, &o, p, NULL);
	}
}

void
path_served(struct path *p)
{
	int64_t now = loop_now(p->net->loop);

	p->pace_us += ((now - p->served) * 1000 - p->pace_us) / 8;
	p->served = now;
}

/* When most of what deliverd may hold is held, a destination that is slow keeps what it takes soon. Neither queued,
 * which knows domains and not sites, nor its tenant's share of credit keeps it from holding everything. */
static void
return_slow(struct path *p)
{
	int64_t now = loop_now(p->net->loop), pace = p->pace_us / 1000;
	unsigned keep = READY_PER_CONN + 2 * p->n_conns;
	char text[512];

	if ((int64_t)p->net->n_items * 4 < p->net->params->deliverd_credit * 3 || now - p->surplus_at < SLOW_EACH_MS)
		return;
	if (now - p->served > STALLED_MS)
		pace = now - p->served;
	if (pace == 0 || (int64_t)p->n_ready * pace <= HOLD_MS || p->n_ready <= keep)
		return;
	if (keep < HOLD_MS / pace)
		keep = (unsigned)(HOLD_MS / pace);
	p->surplus_at = now;
	snprintf(text, sizeof(text), "%.200s is slow (%lld ms for a message), and others wait too", p->name,
	    (long long)pace);
	return_surplus(p, keep, HOLD_MS, pace, SLOW_MAX_MS, text);
}

static void
return_too_many(struct path *p)
{
	int64_t pace, now = loop_now(p->net->loop);
	char text[512], what[384];
	struct outcome o;
	unsigned keep = 0;

	if (p->rest_until > now && p->n_conns == p->n_quitting) {
		/* KumoMTA's answer, an attempt like any: the queue's schedule decides when the next is made. */
		snprintf(text, sizeof(text), "%u connections in a row failed, the next is tried in %lld s",
		    p->n_failures, (long long)((p->rest_until - now + 999) / 1000));
		o = outcome_local(PHASE_CONNECT, 451, "4.4.1", text);
		path_fail_ready(p, &o, NULL);
	}
	if (p->n_ready > p->limits.ready) {
		snprintf(text, sizeof(text), "%u messages are ready for %.200s (max_ready)", p->limits.ready, p->name);
		return_surplus(p, p->limits.ready, 1000, 0, RETURN_MAX_MS, text);
	}
	return_slow(p);
	if (p->blocked == NULL || p->n_ready == 0)
		return;
	pace = limit_pace_ms(p->blocked);
	if (p->blocked_ms <= HOLD_MS)
		keep = pace > 0 ? (unsigned)(HOLD_MS / pace) + 1 : p->blocked->kind == LIMIT_MESSAGE ? UINT_MAX : 100;
	if (keep >= p->n_ready)
		return;
	limit_text(p->blocked, what, sizeof(what));
	return_surplus(p, keep, p->blocked_ms > HOLD_MS ? p->blocked_ms : HOLD_MS, pace > 0 ? pace : 10, RETURN_MAX_MS,
	    what);
}

static void
path_send(struct path *p)
{
	struct conn *c;

	while (p->n_ready > 0 && (c = TAILQ_LAST(&p->idle, conn_list)) != NULL) {
		if (!take_message(p))
			break;
		if (client_tx_begin(c))
			c->tx.counted = p->sets[LIMIT_MESSAGE].n > 0 ? p->generation : 0;
		else
			path_message_unused(p);
	}
	if (p->rest_until <= loop_now(p->net->loop))
		open_conns(p);
}

static void
path_pump(struct path *p)
{
	int64_t wait;

	if (p->n_ready == 0 && p->generation != p->net->generation)
		path_close_conns(p);
	if (p->n_ready == 0 && p->has_new_holds)
		path_leave_held(p);
	if (p->n_ready == 0 && !p->source->is_gone) {
		path_leave_limits(p);
		return;
	}
	p->blocked = NULL;
	p->blocked_ms = 0;
	if (path_ready_to_send(p)) {
		return_expired(p);
		path_send(p);
		return_too_many(p);
	}
	if (p->n_ready == 0) {
		path_leave_limits(p);
		return;
	}
	keep_reserved(p, p->n_connecting);
	limit_wait_pass(&p->waits[LIMIT_MESSAGE]);
	limit_wait_pass(&p->waits[LIMIT_CONNECT]);
	limit_wait_pass(&p->waits[LIMIT_CONNS]);
	wait = p->open_after - loop_now(p->net->loop);
	if (p->blocked != NULL && wait <= 0) /* its line wakes it */
		return;
	/* If all that there is are attempts to connect, their outcome is what happens next. */
	if (wait > 0 || p->n_connecting == 0 || p->n_connecting < p->n_conns - p->n_quitting)
		timer_set(&p->timer, wait > PATIENCE_MS ? wait : PATIENCE_MS);
}

void
path_stats(const struct path *p, struct path_stats *s)
{
	*s = (struct path_stats){ .name = p->name, .provider = p->config.provider_name, .n_ready = p->n_ready,
		.n_conns = p->n_conns, .n_idle = p->n_idle, .n_connecting = p->n_connecting, .window = p->window,
		.limit = p->limits.connections, .n_failures = p->n_failures, .blocked = p->blocked,
		.wait_ms = p->blocked_ms, .last_code = p->last_code, .last_text = p->last_text, .sets = p->sets };
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
paths_retry(struct net *net)
{
	struct path *p;

	RB_FOREACH(p, path_tree, &net->paths)
		p->rest_until = p->return_at = 0; /* what was sent back comes again, and gets new times */
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
