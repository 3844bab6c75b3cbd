/* Limits shared by paths (limit.h), in the net process. Names contain those of sites and so may be strangers'. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "deliverd/limit.h"
#include "deliverd/path.h"

#define NS_PER_MS 1000000

static int
limit_cmp(const struct limit *a, const struct limit *b)
{
	return strcmp(a->name, b->name);
}

RB_PROTOTYPE(limit_tree, limit, by_name, limit_cmp)
RB_GENERATE(limit_tree, limit, by_name, limit_cmp)

struct limits *
limits_new(struct net *net)
{
	struct limits *all = xcalloc(1, sizeof(*all));

	all->net = net;
	all->epoch = 1;
	RB_INIT(&all->tree);
	all->table = buckets_private(); /* until queued hands out the one that lasts */
	return all;
}

void
limits_free(struct limits **ap)
{
	struct limits *all = *ap;

	*ap = NULL;
	if (all == NULL)
		return;
	buckets_unmap(&all->table);
	free(all);
}

void
limits_set_table(struct limits *all, struct buckets *table)
{
	buckets_unmap(&all->table);
	all->table = table;
}

static int64_t
wait_ns(const struct limit *l)
{
	return buckets_wait(l->all->table, l->name, &l->rate, buckets_now(l->all->table), 1);
}

static int64_t
to_ms(int64_t ns)
{
	return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

/* It is the next one's turn if there is something to be had, else when there is. */
static void
serve(struct limit *l)
{
	struct limit_wait *w = TAILQ_FIRST(&l->line);
	int64_t ms;

	if (w == NULL || l->turn != NULL)
		return;
	if (l->kind == LIMIT_CONNS) {
		if (l->n_conns >= l->max)
			return;
	} else if ((ms = to_ms(wait_ns(l))) > 0) {
		timer_set(&l->timer, ms);
		return;
	}
	TAILQ_REMOVE(&l->line, w, link);
	l->n_line--;
	w->is_turn = true;
	l->turn = w;
	path_dirty(w->path);
}

static void
on_timer(void *arg)
{
	serve(arg);
}

static void
limit_unref(struct limit *l)
{
	if (--l->refs > 0) {
		serve(l); /* who leaves takes connections along */
		return;
	}
	timer_cancel(&l->timer);
	RB_REMOVE(limit_tree, &l->all->tree, l);
	free(l->name);
	free(l->whose);
	free(l);
}

static struct limit *
limit_get(struct limits *all, enum limit_kind kind, const char *name, const char *whose)
{
	struct limit find = { .name = (char *)(uintptr_t)name }, *l = RB_FIND(limit_tree, &all->tree, &find);

	if (l == NULL) {
		l = xcalloc(1, sizeof(*l));
		l->all = all;
		l->kind = kind;
		l->name = xstrdup(name);
		l->whose = xstrdup(whose);
		TAILQ_INIT(&l->line);
		timer_init(&l->timer, all->net->loop, on_timer, l);
		RB_INSERT(limit_tree, &all->tree, l);
	}
	l->refs++;
	return l;
}

void
limit_set_add(struct limits *all, struct limit_set *set, enum limit_kind kind, const char *name, const char *whose,
    const struct rate *rate, int64_t max)
{
	struct limit *l = limit_get(all, kind, name, whose);
	bool is_new = l->epoch != all->epoch;
	unsigned i;

	l->epoch = all->epoch;
	if (kind == LIMIT_CONNS) {
		if (is_new || max < l->max)
			l->max = max;
	} else if (rate != NULL && (is_new || rate_is_stricter(rate, &l->rate))) {
		l->rate = *rate;
	}
	if (is_new)
		serve(l);
	/* Slowest first: it decides most often, and what is quick is not taken for nothing. */
	set->v = xreallocarray(set->v, set->n + 1, sizeof(set->v[0]));
	for (i = set->n; i > 0 && kind != LIMIT_CONNS && rate_is_stricter(&l->rate, &set->v[i - 1]->rate); i--)
		set->v[i] = set->v[i - 1];
	set->v[i] = l;
	set->n++;
}

void
limit_set_clear(struct limit_set *set)
{
	while (set->n > 0)
		limit_unref(set->v[--set->n]);
	free(set->v);
	set->v = NULL;
}

/* Out of line and turn; the limit, or NULL. */
static struct limit *
leave(struct limit_wait *w)
{
	struct limit *l = w->limit;

	if (l == NULL)
		return NULL;
	if (w->is_turn) {
		l->turn = NULL;
	} else {
		TAILQ_REMOVE(&l->line, w, link);
		l->n_line--;
	}
	w->limit = NULL;
	w->is_turn = false;
	return l;
}

void
limit_wait_leave(struct limit_wait *w)
{
	struct limit *l = leave(w);

	if (l != NULL)
		serve(l);
}

void
limit_wait_pass(struct limit_wait *w)
{
	if (w->is_turn)
		limit_wait_leave(w);
}

/* first: it was its turn, and another process was quicker. */
static void
line_up(struct limit *l, struct limit_wait *w, bool first)
{
	w->limit = l;
	w->is_turn = false;
	if (first)
		TAILQ_INSERT_HEAD(&l->line, w, link);
	else
		TAILQ_INSERT_TAIL(&l->line, w, link);
	l->n_line++;
	serve(l);
}

/* Others were here before. */
static bool
is_others_turn(const struct limit *l, const struct limit_wait *w)
{
	return l->turn != w && (l->turn != NULL || l->n_line > 0);
}

int64_t
limit_pace_ms(const struct limit *l)
{
	int64_t each = l->rate.quantity > 0 ? l->rate.period / l->rate.quantity : 0;

	return each * (l->n_line > 1 ? l->n_line : 1);
}

/* The first limit that stops it, and for how long (ns). */
static struct limit *
find_blocking(const struct limit_set *set, const struct limit_wait *w, int64_t *wait_r)
{
	struct limit *worst = NULL, *l;
	int64_t ns;
	unsigned i;

	*wait_r = 0;
	for (i = 0; i < set->n; i++) {
		l = set->v[i];
		ns = wait_ns(l);
		if (w != NULL && is_others_turn(l, w))
			ns += limit_pace_ms(l) * NS_PER_MS + 1;
		if (ns > *wait_r) {
			*wait_r = ns;
			worst = l;
		}
	}
	return worst;
}

/* Another process may be quicker between look and take. */
static struct limit *
take_all(struct limit_set *set, int64_t *wait_r)
{
	struct limits *all = set->v[0]->all;
	int64_t now = buckets_now(all->table);
	unsigned i, j;

	for (i = 0; i < set->n; i++) {
		*wait_r = buckets_take(all->table, set->v[i]->name, &set->v[i]->rate, now, 1);
		if (*wait_r == 0)
			continue;
		for (j = 0; j < i; j++)
			buckets_give_back(all->table, set->v[j]->name, &set->v[j]->rate, now, 1);
		return set->v[i];
	}
	return NULL;
}

int64_t
limit_set_take(struct limit_set *set, struct limit_wait *w, struct limit **limit_r)
{
	bool was_turn = w != NULL && w->is_turn;
	struct limit *l, *had;
	int64_t ns;

	if (set->n == 0)
		return 0;
	if (w != NULL && w->limit != NULL && !w->is_turn) { /* in line */
		*limit_r = w->limit;
		ns = to_ms(wait_ns(w->limit)) + limit_pace_ms(w->limit);
		return ns > 0 ? ns : 1;
	}
	l = find_blocking(set, w, &ns);
	if (l == NULL)
		l = take_all(set, &ns);
	had = w != NULL ? leave(w) : NULL;
	if (l != NULL && w != NULL)
		line_up(l, w, was_turn && l == had);
	if (had != NULL && had != l)
		serve(had);
	*limit_r = l;
	return l == NULL ? 0 : ns > 0 ? to_ms(ns) : 1;
}

void
limit_set_give_back(struct limit_set *set)
{
	struct limits *all;
	unsigned i;

	for (i = 0; i < set->n; i++) {
		all = set->v[i]->all;
		buckets_give_back(all->table, set->v[i]->name, &set->v[i]->rate, buckets_now(all->table), 1);
		if (set->v[i]->n_line > 0)
			serve(set->v[i]);
	}
}

int64_t
limit_set_wait(const struct limit_set *set, struct limit **limit_r)
{
	int64_t ns;

	*limit_r = find_blocking(set, NULL, &ns);
	return to_ms(ns);
}

bool
limit_set_conn_take(struct limit_set *set, struct limit_wait *w, struct limit **limit_r)
{
	struct limit *had;
	unsigned i;

	*limit_r = w->limit;
	if (w->limit != NULL && !w->is_turn)
		return false;
	for (i = 0; i < set->n; i++)
		if (set->v[i]->n_conns >= set->v[i]->max || is_others_turn(set->v[i], w))
			break;
	if (set->n > i) {
		had = leave(w);
		line_up(set->v[i], w, had == set->v[i]);
		if (had != NULL && had != set->v[i])
			serve(had);
		*limit_r = set->v[i];
		return false;
	}
	for (i = 0; i < set->n; i++)
		set->v[i]->n_conns++;
	limit_wait_leave(w);
	return true;
}

void
limit_set_conn_drop(struct limit_set *set)
{
	unsigned i;

	for (i = 0; i < set->n; i++) {
		set->v[i]->n_conns--;
		serve(set->v[i]);
	}
}

void
limit_set_conn_idle(struct limit_set *set, int delta)
{
	unsigned i;

	for (i = 0; i < set->n; i++)
		set->v[i]->n_idle += (unsigned)delta;
}

bool
limit_set_is_contested(const struct limit_set *set)
{
	unsigned i;

	for (i = 0; i < set->n; i++)
		if (set->v[i]->n_line > 0)
			return true;
	return false;
}

void
limit_text(const struct limit *l, char *out, size_t size)
{
	char rate[RATE_TEXT];

	if (l->kind == LIMIT_CONNS)
		(void)snprintf(out, size, "limit of %" PRId64 " connections of %s", l->max, l->whose);
	else
		(void)snprintf(out, size, "%s %s of %s", l->kind == LIMIT_SELECT ? "selection rate" : l->kind ==
		    LIMIT_CONNECT ? "connection rate" : "rate limit",
		    rate_format(&l->rate, l->kind == LIMIT_SELECT ? RATE_BUDGET : RATE_PACED, rate), l->whose);
}

double
limit_fill(const struct limit *l)
{
	if (l->kind == LIMIT_CONNS)
		return (double)l->n_conns / (double)l->max;
	return buckets_fill(l->all->table, l->name, &l->rate, buckets_now(l->all->table));
}
