/* Counting by queue, asking policies, and making tables of the answers (simulate.h). A policy is asked once for each
 * queue, as queued asks it; the pool that a record names goes before the old policy's answer, because that is where
 * the mail went. */
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "base/xalloc.h"
#include "mail/names.h"
#include "mail/policy.h"
#include "mail/policy_queue.h"

#include "human.h"
#include "simulate.h"

#define MAX_POOLS 10000
#define MAX_REASONS 1000
#define PROGRESS_STEP 20000

struct sim_queue {
	UT_hash_handle hh;
	uint64_t recipients;
	int64_t seen_at;
	uint32_t seen; /* pool; SIM_UNKNOWN: no record names one */
	char name[];
};

struct sim_row {
	UT_hash_handle hh;
	uint64_t recipients, queues;
	uint32_t old, new;
	const char *label; /* in key */
	char key[];
};

/* There are few, so they are looked for one by one; a stranger's log may have many, so there is an end. */
static uint32_t
sim_name(struct sim_names *names, const char *text)
{
	uint32_t i;

	for (i = 0; i < names->n; i++) {
		if (strcmp(names->v[i], text) == 0)
			return i;
	}
	if (names->n >= names->max)
		return SIM_OTHER;
	names->v = xreallocarray(names->v, names->n + 1, sizeof(*names->v));
	names->v[names->n] = xstrdup(text);
	return names->n++;
}

static void
sim_names_init(struct sim_names *names, uint32_t max)
{
	static const char *const fixed[SIM_FIRST_POOL] = { "(unknown)", "(none)", "(other)" };

	*names = (struct sim_names){ .max = max };
	for (size_t i = 0; i < SIM_FIRST_POOL; i++)
		(void)sim_name(names, fixed[i]);
}

static void
sim_names_clear(struct sim_names *names)
{
	for (uint32_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
}

void
sim_init(struct simulate *s, size_t max_queues)
{
	*s = (struct simulate){ .max_queues = max_queues };
	sim_names_init(&s->pools, MAX_POOLS);
	sim_names_init(&s->reasons, MAX_REASONS);
}

static void
sim_table_free(struct sim_row **table)
{
	struct sim_row *row, *next;

	HASH_ITER(hh, *table, row, next) {
		HASH_DEL(*table, row);
		free(row);
	}
}

void
sim_clear(struct simulate *s)
{
	struct sim_queue *q, *next;

	HASH_ITER(hh, s->queues, q, next) {
		HASH_DEL(s->queues, q);
		free(q);
	}
	sim_table_free(&s->by_pool);
	sim_table_free(&s->by_tenant);
	sim_table_free(&s->by_domain);
	sim_table_free(&s->by_reason);
	sim_names_clear(&s->pools);
	sim_names_clear(&s->reasons);
	free(s->first_bad);
	policy_free(&s->old);
	policy_free(&s->new);
}

/* NULL: there are too many. */
static struct sim_queue *
sim_queue(struct simulate *s, const char *name)
{
	size_t len = strlen(name);
	struct sim_queue *q;

	HASH_FIND(hh, s->queues, name, len, q);
	if (q != NULL || s->n_queues >= s->max_queues)
		return q;
	q = xcalloc(1, sizeof(*q) + len + 1);
	memcpy(q->name, name, len + 1);
	HASH_ADD_KEYPTR(hh, s->queues, q->name, len, q);
	s->n_queues++;
	return q;
}

void
sim_count(struct simulate *s, const char *queue, uint64_t recipients)
{
	struct sim_queue *q = sim_queue(s, queue);

	if (q != NULL)
		q->recipients += recipients;
	else
		s->other += recipients;
}

void
sim_seen(struct simulate *s, const char *queue, const char *pool, int64_t timestamp)
{
	struct sim_queue *q = sim_queue(s, queue);

	if (q == NULL || (q->seen != SIM_UNKNOWN && timestamp < q->seen_at))
		return;
	q->seen = sim_name(&s->pools, pool);
	q->seen_at = timestamp;
}

void
sim_progress(const struct simulate *s, const char *what, uint64_t n, bool is_last)
{
	char text[HUMAN_TEXT];

	if (!s->is_tty || (n % PROGRESS_STEP != 0 && !is_last))
		return;
	human_count((int64_t)n, text);
	fprintf(stderr, is_last ? "\r\033[K" : "\r%s %s\033[K", text, what);
	fflush(stderr);
}

static void
sim_add(struct sim_row **table, const char *label, uint32_t old, uint32_t new, uint64_t recipients)
{
	size_t len = 2 * sizeof(uint32_t) + strlen(label);
	struct sim_row *row, *fresh = xcalloc(1, sizeof(*row) + len + 1);

	memcpy(fresh->key, &old, sizeof(old));
	memcpy(fresh->key + sizeof(old), &new, sizeof(new));
	fresh->label = strcpy(fresh->key + 2 * sizeof(uint32_t), label);
	fresh->old = old;
	fresh->new = new;
	HASH_FIND(hh, *table, fresh->key, len, row);
	if (row != NULL) {
		free(fresh);
	} else {
		row = fresh;
		HASH_ADD_KEYPTR(hh, *table, row->key, len, row);
	}
	row->recipients += recipients;
	row->queues++;
}

/* The pool's number, or SIM_NONE and the reason, malloced. */
static uint32_t
sim_pool(struct simulate *s, struct policy *p, const char *queue, char **why_r)
{
	struct policy_queue_config config;
	char *domain, *tenant, *campaign, *err = NULL, *name = NULL;
	uint32_t pool = SIM_NONE;

	*why_r = NULL;
	queue_name_split(queue, &campaign, &tenant, &domain);
	policy_queue_config_init(&config);
	if (policy_get_queue_config(p, domain, tenant, campaign, &config, &err) == -1) {
		*why_r = xasprintf("get_queue_config failed: %s", err);
		free(err);
	} else if ((name = policy_queue_pool(p, domain, tenant, campaign, &config, why_r)) != NULL) {
		pool = sim_name(&s->pools, name);
	}
	policy_queue_config_clear(&config);
	free(name);
	free(campaign);
	free(tenant);
	free(domain);
	return pool;
}

static void
sim_ask_queue(struct simulate *s, const struct sim_queue *q)
{
	uint32_t old = q->seen, new, reason;
	char *why, *campaign, *tenant, *domain;

	if (old == SIM_UNKNOWN && s->old != NULL) {
		old = sim_pool(s, s->old, q->name, &why);
		free(why);
	}
	new = sim_pool(s, s->new, q->name, &why);
	s->queues_asked++;
	sim_add(&s->by_pool, "", old, new, q->recipients);
	if (new == SIM_NONE) {
		s->waiting += q->recipients;
		s->waiting_queues++;
		reason = sim_name(&s->reasons, why); /* may move the texts */
		sim_add(&s->by_reason, s->reasons.v[reason], 0, 0, q->recipients);
	}
	free(why);
	if (old == new || old == SIM_UNKNOWN)
		return;
	if (new != SIM_NONE) {
		s->moved += q->recipients;
		s->moved_queues++;
	}
	queue_name_split(q->name, &campaign, &tenant, &domain);
	sim_add(&s->by_tenant, tenant != NULL ? tenant : "", old, new, q->recipients);
	sim_add(&s->by_domain, domain, old, new, q->recipients);
	free(campaign);
	free(tenant);
	free(domain);
}

static int
sim_row_cmp(const struct sim_row *a, const struct sim_row *b)
{
	if (a->recipients != b->recipients)
		return a->recipients < b->recipients ? 1 : -1;
	return strcmp(a->label, b->label);
}

void
sim_ask(struct simulate *s)
{
	struct sim_queue *q, *next;

	HASH_ITER(hh, s->queues, q, next) {
		/* Those without recipients are of messages that were received before the records given. */
		if (q->recipients == 0)
			continue;
		sim_ask_queue(s, q);
		sim_progress(s, "queues asked about", s->queues_asked, false);
	}
	sim_progress(s, "", 0, true);
	HASH_SRT(hh, s->by_pool, sim_row_cmp);
	HASH_SRT(hh, s->by_tenant, sim_row_cmp);
	HASH_SRT(hh, s->by_domain, sim_row_cmp);
	HASH_SRT(hh, s->by_reason, sim_row_cmp);
}

size_t
sim_rows(const struct simulate *s, const struct sim_row *table, size_t max, sim_row_fn *fn, void *arg)
{
	size_t n = 0;

	for (const struct sim_row *row = table; row != NULL; row = row->hh.next) {
		struct sim_view view = { row->label, s->pools.v[row->old], s->pools.v[row->new], row->recipients,
			row->queues };

		if (n++ < max)
			fn(&view, arg);
	}
	return n;
}
