/* The guard (guard.h), in the net process: what is known of senders, who waits for it, and the alerts. Keys are made
 * of the domains of authors and return paths, which whoever submits mail may choose: entries are bounded, the oldest
 * go. */
#include <bsd/string.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/json.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/author.h"
#include "deliverd/conn.h"
#include "deliverd/guard.h"
#include "deliverd/guard_check.h"
#include "deliverd/path.h"
#include "deliverd/result.h"
#include "deliverd/source.h"

#define ENTRIES_MAX 20000
#define CHECKS_MAX 256        /* at a time */
#define UNKNOWN_MS 30000      /* name servers that do not answer are asked again */
#define KEEP_MS 3600000       /* past its time, for the next who asks */
#define EXPLAIN_MAX 20
#define KEY_MAX 2048

struct guard_waiter {
	TAILQ_ENTRY(guard_waiter) link;
	struct guard_entry *entry;
	struct item *item;
	struct site *site;
};
TAILQ_HEAD(guard_waiter_list, guard_waiter);

/* Of one source and author, while mail of theirs is held. */
struct guard_alert {
	UT_hash_handle hh;
	char *key;
	unsigned n_failing; /* entries */
};

struct guard_entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(guard_entry) link; /* oldest verdict first */
	TAILQ_ENTRY(guard_entry) turn_link;
	struct guard *guard;
	char *key;
	char *source, *author;   /* names */
	char *line, *sender, *ehlo;
	struct sockaddr_storage sa;
	bool has_address, is_in_turn;
	enum guard_result result;/* 0: none yet */
	char *why;
	int64_t expires;         /* loop_now() */
	struct guard_check *check;
	struct guard_waiter_list waiting;
	struct guard_alert *alert; /* it fails */
};
TAILQ_HEAD(guard_entry_list, guard_entry);

struct guard {
	struct net *net;
	struct guard_entry *entries;
	struct guard_alert *alerts;
	struct guard_entry_list order, turn; /* turn: wait for a check */
	unsigned n_checks;
	unsigned generation; /* of `mode` */
	enum guard_mode mode;
};

struct guard *
guard_new(struct net *net)
{
	struct guard *g = xcalloc(1, sizeof(*g));

	g->net = net;
	TAILQ_INIT(&g->order);
	TAILQ_INIT(&g->turn);
	return g;
}

static enum guard_mode
mode_of(struct guard *g)
{
	const struct policy_pool *pool;

	if (g->generation != g->net->generation) {
		g->generation = g->net->generation;
		pool = policy_pool_find(g->net->policy, g->net->pool_name);
		g->mode = pool != NULL && pool->guard >= 0 ? (enum guard_mode)pool->guard :
		    (enum guard_mode)g->net->params->require_authenticated_senders;
	}
	return g->mode;
}

/* ---- alerts ---- */

static void
write_alert(const struct guard_entry *e, const char *action, const char *why)
{
	struct event_alert alert = { .kind = "sender_not_authenticated", .action = action, .made_by = "guard",
		.reason = why, .author = e->author };
	struct event_record ev = { .type = EV_ALERT, .content = why, .is_local = true, .egress_source = e->source,
		.egress_pool = e->guard->net->pool_name, .alert = &alert, .code = *action == 'b' ? 451 : 0 };

	if (*action == 'b')
		ev.enhanced = QL_GUARDED;
	eventlog_write(e->guard->net->events, &ev);
}

static void
alert_begin(struct guard_entry *e)
{
	char *key = xasprintf("%s\n%s", e->source, e->author);
	struct guard_alert *a;

	HASH_FIND_STR(e->guard->alerts, key, a);
	if (a == NULL) {
		a = xcalloc(1, sizeof(*a));
		a->key = key;
		HASH_ADD_KEYPTR(hh, e->guard->alerts, a->key, strlen(a->key), a);
		log_warn("mail is held: %s", e->why);
		write_alert(e, "begun", e->why);
	} else {
		free(key);
	}
	a->n_failing++;
	e->alert = a;
}

/* is_good: it passes now; else nobody asks any more. */
static void
alert_end(struct guard_entry *e, bool is_good)
{
	struct guard_alert *a = e->alert;
	char text[512];

	e->alert = NULL;
	if (a == NULL || --a->n_failing > 0)
		return;
	if (is_good) {
		snprintf(text, sizeof(text), "mail from %s would pass DMARC from source %s now, and is sent", e->author,
		    e->source);
		log_info("%s", text);
		write_alert(e, "ended", text);
	}
	HASH_DEL(e->guard->alerts, a);
	free(a->key);
	free(a);
}

/* ---- entries ---- */

static void
entry_free(struct guard_entry *e)
{
	struct guard *g = e->guard;

	alert_end(e, false);
	if (e->is_in_turn)
		TAILQ_REMOVE(&g->turn, e, turn_link);
	g->n_checks -= e->check != NULL;
	guard_check_cancel(&e->check);
	HASH_DEL(g->entries, e);
	TAILQ_REMOVE(&g->order, e, link);
	free(e->key);
	free(e->source);
	free(e->author);
	free(e->line);
	free(e->sender);
	free(e->ehlo);
	free(e->why);
	free(e);
}

static bool
is_idle(const struct guard_entry *e)
{
	return e->check == NULL && !e->is_in_turn && TAILQ_EMPTY(&e->waiting);
}

static void
keep_bounded(struct guard *g)
{
	struct guard_entry *e, *next;
	unsigned tries = 16;

	TAILQ_FOREACH_SAFE(e, &g->order, link, next) {
		if (HASH_COUNT(g->entries) < ENTRIES_MAX || tries-- == 0)
			return;
		if (is_idle(e))
			entry_free(e);
	}
}

void
guard_sweep(struct guard *g)
{
	int64_t now = loop_now(g->net->loop);
	struct guard_entry *e, *next;

	TAILQ_FOREACH_SAFE(e, &g->order, link, next)
		if (is_idle(e) && e->expires + KEEP_MS < now)
			entry_free(e);
}

void
guard_free(struct guard **gp)
{
	struct guard *g = *gp;
	struct guard_entry *e, *next;

	*gp = NULL;
	if (g == NULL)
		return;
	TAILQ_FOREACH_SAFE(e, &g->order, link, next)
		entry_free(e);
	free(g);
}

/* The return path that the message has on the way: with VERP another one than it came with. What names the recipient
 * is no part of it. */
static char *
return_path(const struct net *net, const char *sender)
{
	const struct policy_sender_domain *d = client_verp_of(net, sender);

	return d != NULL ? xasprintf("%s@%s", d->verp_prefix, d->verp_domain) : xstrdup(sender);
}

/* Part of its domain only: addresses of return paths may name the recipient. */
static const char *
sender_domain(const char *sender)
{
	const char *at = strrchr(sender, '@');

	return at != NULL ? at + 1 : "";
}

static struct guard_entry *
entry_get(struct guard *g, const struct path *p, const struct job *job, const char *line)
{
	const struct source *s = p->source;
	const char *ehlo = p->limits.ehlo != NULL ? p->limits.ehlo : s->ehlo != NULL ? s->ehlo :
	    g->net->params->myhostname;
	char key[KEY_MAX], *sender = return_path(g->net, job->q.sender);
	struct guard_entry *e;
	int len = snprintf(key, sizeof(key), "%s\n%s\n%s\n%s\n%s", s->name, s->address != NULL ? s->address : "", ehlo,
	    sender_domain(sender), line);

	if (len < 0 || (size_t)len >= sizeof(key))
		len = (int)sizeof(key) - 1; /* beyond what a line and names may be */
	HASH_FIND(hh, g->entries, key, (size_t)len, e);
	if (e != NULL) {
		free(sender);
		return e;
	}
	keep_bounded(g);
	e = xcalloc(1, sizeof(*e));
	e->guard = g;
	e->key = xstrdup(key);
	e->source = xstrdup(s->name);
	e->author = xmemdup0(line, strcspn(line, " "));
	e->line = xstrdup(line);
	e->sender = sender;
	e->ehlo = xstrdup(ehlo);
	e->has_address = s->salen > 0;
	e->sa = s->sa;
	TAILQ_INIT(&e->waiting);
	HASH_ADD_KEYPTR(hh, g->entries, e->key, (size_t)len, e);
	TAILQ_INSERT_TAIL(&g->order, e, link);
	return e;
}

/* ---- verdicts ---- */

static uint32_t
seconds_left(const struct guard_entry *e)
{
	int64_t ms = e->expires - loop_now(e->guard->net->loop);

	return ms > 0 ? (uint32_t)(ms / 1000 + 1) : 1;
}

/* True: it may go. */
static bool
settle(const struct guard_entry *e, const struct path *p, struct item *it)
{
	struct outcome o;

	if (e->result == GUARD_PASS)
		return true;
	o = outcome_returned(e->why, seconds_left(e));
	if (e->result == GUARD_FAIL)
		o.enhanced = QL_GUARDED;
	item_finish(p->net, it, &o, p, NULL);
	return false;
}

static void check_next(struct guard *);

/* Each chooses anew, as at first, and finds the verdict if it comes to the same source. */
static void
release(struct guard_entry *e)
{
	struct guard_waiter *w;
	struct item *it;
	struct site *site;

	while ((w = TAILQ_FIRST(&e->waiting)) != NULL) {
		it = w->item;
		site = site_ref(w->site);
		item_unlink(it);
		site_add(site, it);
		site_unref(&site);
	}
}

static void
take_verdict(struct guard_entry *e, enum guard_result result, const char *why)
{
	const struct params *p = e->guard->net->params;
	int64_t now = loop_now(e->guard->net->loop), ms;

	/* What passed goes on while name servers are away: our own outage stops nobody. */
	if (result == GUARD_UNKNOWN && e->result == GUARD_PASS) {
		e->expires = now + UNKNOWN_MS;
		return;
	}
	ms = result == GUARD_PASS ? p->authenticated_senders_refresh : p->authenticated_senders_retry;
	if (result == GUARD_UNKNOWN && ms > UNKNOWN_MS)
		ms = UNKNOWN_MS;
	/* What fails is not known to pass because nobody answers; it stays held, for a short while. */
	if (result == GUARD_UNKNOWN && e->result == GUARD_FAIL)
		result = GUARD_FAIL, why = NULL;
	e->result = result;
	e->expires = now + ms;
	if (why != NULL) {
		free(e->why);
		e->why = result == GUARD_PASS ? xstrdup(why) : xasprintf(result == GUARD_FAIL ?
		    "mail from %s would fail DMARC from source %s: %s" :
		    "whether mail from %s would pass DMARC from source %s is not known: %s", e->author, e->source, why);
	}
	if (result == GUARD_FAIL && e->alert == NULL)
		alert_begin(e);
	else if (result == GUARD_PASS)
		alert_end(e, true);
}

static void
on_checked(enum guard_result result, const char *why, void *arg)
{
	struct guard_entry *e = arg;
	struct guard *g = e->guard;

	e->check = NULL;
	g->n_checks--;
	take_verdict(e, result, why);
	TAILQ_REMOVE(&g->order, e, link);
	TAILQ_INSERT_TAIL(&g->order, e, link);
	release(e);
	check_next(g);
}

static void
check(struct guard_entry *e)
{
	struct guard *g = e->guard;
	struct guard_question q = { .author = e->line, .sender = e->sender, .ehlo = e->ehlo,
		.address = e->has_address ? (const struct sockaddr *)&e->sa : NULL };

	if (e->check != NULL || e->is_in_turn)
		return;
	if (g->n_checks >= CHECKS_MAX) {
		e->is_in_turn = true;
		TAILQ_INSERT_TAIL(&g->turn, e, turn_link);
		return;
	}
	g->n_checks++;
	e->check = guard_check_start(g->net->loop, g->net->dns, &q, (uint32_t)g->net->params->dns_timeout, on_checked,
	    e);
}

static void
check_next(struct guard *g)
{
	struct guard_entry *e;

	while (g->n_checks < CHECKS_MAX && (e = TAILQ_FIRST(&g->turn)) != NULL) {
		TAILQ_REMOVE(&g->turn, e, turn_link);
		e->is_in_turn = false;
		check(e);
	}
}

static void
wait_for(struct guard_entry *e, struct path *p, struct item *it)
{
	struct guard_waiter *w = xcalloc(1, sizeof(*w));

	path_unselect(p, it);
	w->entry = e;
	w->item = it;
	w->site = site_ref(p->site);
	it->waiter = w;
	it->state = ITEM_GUARDED;
	TAILQ_INSERT_TAIL(&e->waiting, w, link);
	check(e);
}

void
guard_leave(struct item *it)
{
	struct guard_waiter *w = it->waiter;

	it->waiter = NULL;
	TAILQ_REMOVE(&w->entry->waiting, w, link);
	site_unref(&w->site);
	free(w);
}

bool
guard_admits(struct path *p, struct item *it)
{
	struct guard *g = p->net->guard;
	enum guard_mode mode = mode_of(g);
	struct guard_entry *e;
	const char *line;
	int64_t now;

	if (mode == GUARD_NO || (mode == GUARD_YES && !p->site->is_public) ||
	    (line = author_of(it->job->q.meta, it->job->q.n_meta)) == NULL)
		return true;
	e = entry_get(g, p, it->job, line);
	now = loop_now(p->net->loop);
	if (e->result != 0 && now < e->expires)
		return settle(e, p, it);
	/* A pass that is a little old is good while it is looked at again. */
	if (e->result == GUARD_PASS && now < e->expires + p->net->params->authenticated_senders_refresh) {
		check(e);
		return true;
	}
	wait_for(e, p, it);
	return false;
}

void
guard_explain(const struct source *s, const struct site *site, struct json *j)
{
	static const char *const words[] = { [GUARD_NO] = "off", [GUARD_YES] = "on", [GUARD_ALWAYS] = "always" };
	struct guard *g = site->net->guard;
	enum guard_mode mode = mode_of(g);
	struct guard_entry *e;
	unsigned n = 0;

	json_str(j, "guard", mode == GUARD_YES && !site->is_public ? "not for this destination" : words[mode]);
	json_arr(j, "held_senders");
	TAILQ_FOREACH(e, &g->order, link)
		if (e->result == GUARD_FAIL && strcmp(e->source, s->name) == 0 && n++ < EXPLAIN_MAX)
			json_str(j, NULL, e->why);
	json_arr_end(j);
}
