/* The sts role (stsd.h): answers from the cache, fetches what is not there or not current, and remembers for a while
 * what could not be fetched. A policy that is in force stays so until it expires, whatever its host or the name service
 * say in the meantime (RFC 8461 sections 3.3 and 5.1): that is what it is for. */
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "mail/sts_link.h"
#include "deliverd/sts_cache.h"
#include "deliverd/sts_fetch.h"
#include "deliverd/stsd.h"

#define ENTRIES_MAX 20000
#define FETCHES_MAX 64       /* at a time */
#define BACKOFF_MS 300000    /* section 3.3: no sooner again */
#define FAILURES_MAX 10000
#define OLD_MS 86400000      /* section 10.2: looked for anew, once a day */
#define UNUSED_MS (30ll * 86400000) /* nobody sends there any more */
#define LOOK_MS 100
#define LOOK_N 32
#define LOOK_AGAIN_MS 600000
#define WATCHDOG_SECONDS 20
#define MAX_FDS 256

struct waiter {
	TAILQ_ENTRY(waiter) link;
	uint32_t id;
};
TAILQ_HEAD(waiter_list, waiter);

/* A domain whose policy is being fetched, will be, or could not be. */
struct job {
	RB_ENTRY(job) by_domain;
	TAILQ_ENTRY(job) link; /* in `turn` or in `failed` */
	struct stsd *s;
	char *domain;
	char id[STS_ID_MAX + 1];
	struct mx_list *host;
	struct sts_fetch *fetch; /* NULL: waits for its turn, or failed */
	bool is_failed;
	int64_t used;            /* wall ms: mail asked for it */
	int64_t since;           /* loop_now(): asked; or failed */
	enum sts_problem problem;
	char *why;
	struct waiter_list waiters;
};
RB_HEAD(job_tree, job);
TAILQ_HEAD(job_list, job);

struct stsd {
	struct loop *loop;
	struct ipc *peer;
	struct role_link *link;
	struct sts_cache *cache;
	SSL_CTX *tls;
	const struct params *params;
	struct job_tree jobs;
	struct job_list turn, failed; /* oldest first */
	unsigned n_fetches, n_failed;
	struct timer look, late;
};

static int
job_cmp(const struct job *a, const struct job *b)
{
	return strcmp(a->domain, b->domain);
}

RB_GENERATE_INTERNAL(job_tree, job, by_domain, job_cmp, __attribute__((unused)) static)

static void
job_free(struct job *j)
{
	struct waiter *w;

	RB_REMOVE(job_tree, &j->s->jobs, j);
	if (j->is_failed) {
		TAILQ_REMOVE(&j->s->failed, j, link);
		j->s->n_failed--;
	} else if (j->fetch != NULL) {
		sts_fetch_cancel(&j->fetch);
		j->s->n_fetches--;
	} else {
		TAILQ_REMOVE(&j->s->turn, j, link);
	}
	while ((w = TAILQ_FIRST(&j->waiters)) != NULL) {
		TAILQ_REMOVE(&j->waiters, w, link);
		free(w);
	}
	mx_list_unref(&j->host);
	free(j->why);
	free(j->domain);
	free(j);
}

static void
answer(struct stsd *s, uint32_t id, enum sts_found found, const struct sts_entry *e, enum sts_problem problem,
    const char *why)
{
	struct sts_answer a = { .found = (uint8_t)found, .problem = (uint8_t)problem,
		.why = (char *)(uintptr_t)(why != NULL ? why : "") };
	struct wbuf w;

	if (s->peer == NULL)
		return;
	if (found == STS_FOUND_POLICY) {
		memcpy(a.id, e->id, sizeof(a.id));
		a.fetched = e->fetched;
		a.expires = e->expires;
		a.text = e->text;
		a.len = e->len;
	}
	wbuf_init(&w);
	sts_answer_encode(&a, &w);
	ipc_send(s->peer, STS_ANSWER, id, &w, -1);
	wbuf_clear(&w);
}

/* What is in force without anything new. */
static void
answer_old(struct stsd *s, uint32_t id, const char *domain, enum sts_problem problem, const char *why)
{
	struct sts_entry e;
	bool is_there = sts_cache_get(s->cache, domain, loop_wall(s->loop), &e);

	answer(s, id, is_there ? STS_FOUND_POLICY : STS_FOUND_NONE, &e, problem, why);
	if (is_there)
		sts_entry_clear(&e);
}

static void start_next(struct stsd *);

static void
job_failed(struct job *j, const struct sts_fetched *r)
{
	struct stsd *s = j->s;
	struct waiter *w;

	log_warn("MTA-STS: no policy of %s: %s", j->domain, r->why);
	j->is_failed = true;
	j->since = loop_now(s->loop);
	j->problem = r->problem;
	free(j->why);
	j->why = xstrdup(r->why);
	while ((w = TAILQ_FIRST(&j->waiters)) != NULL) {
		TAILQ_REMOVE(&j->waiters, w, link);
		answer_old(s, w->id, j->domain, j->problem, j->why);
		free(w);
	}
	TAILQ_INSERT_TAIL(&s->failed, j, link);
	if (++s->n_failed > FAILURES_MAX)
		job_free(TAILQ_FIRST(&s->failed));
}

static void
on_fetched(const struct sts_fetched *r, void *arg)
{
	struct job *j = arg;
	struct stsd *s = j->s;
	int64_t now = loop_wall(s->loop);
	struct sts_entry e = { .fetched = now, .used = j->used, .len = r->len };
	struct sts_policy policy;
	const char *err = NULL;
	struct waiter *w;

	j->fetch = NULL;
	s->n_fetches--;
	if (r->text != NULL && sts_policy_parse(r->text, r->len, &policy, &err) == 0) {
		memcpy(e.id, j->id, sizeof(e.id));
		e.text = (char *)(uintptr_t)r->text;
		e.expires = now + (int64_t)policy.max_age * 1000;
		log_info("MTA-STS: policy of %s: %s, for %u s, id %s", j->domain, sts_mode_names[policy.mode],
		    (unsigned)policy.max_age, j->id);
		sts_policy_clear(&policy);
		sts_cache_put(s->cache, j->domain, &e);
		TAILQ_FOREACH(w, &j->waiters, link)
			answer(s, w->id, STS_FOUND_POLICY, &e, STS_PROBLEM_NONE, NULL);
		TAILQ_INSERT_TAIL(&s->turn, j, link); /* where job_free() takes it from */
		job_free(j);
	} else {
		job_failed(j, r);
	}
	start_next(s);
}

static void
start_next(struct stsd *s)
{
	struct job *j;

	while (s->n_fetches < FETCHES_MAX && (j = TAILQ_FIRST(&s->turn)) != NULL) {
		TAILQ_REMOVE(&s->turn, j, link);
		s->n_fetches++;
		j->fetch = sts_fetch_start(s->loop, s->tls, j->domain, j->host,
		    s->params->mta_sts_timeout, on_fetched, j);
	}
	if (!TAILQ_EMPTY(&s->turn) && !timer_is_set(&s->late))
		timer_set(&s->late, 1000);
}

/* Whoever waited too long for a turn is told so, and that is no reason to send without a policy. */
static void
on_late(void *arg)
{
	struct stsd *s = arg;
	struct job *j, *next;
	struct waiter *w;

	TAILQ_FOREACH_SAFE(j, &s->turn, link, next) {
		if (loop_now(s->loop) - j->since < s->params->mta_sts_timeout)
			continue;
		TAILQ_FOREACH(w, &j->waiters, link)
			answer(s, w->id, STS_FOUND_LATER, NULL, STS_PROBLEM_NONE, NULL);
		job_free(j);
	}
	start_next(s);
}

/* The job of a domain, made unless it is there or failed lately with the same id: NULL then, and *failed_r. */
static struct job *
job_for(struct stsd *s, const struct sts_ask *ask, const struct job **failed_r)
{
	struct job find = { .domain = (char *)(uintptr_t)ask->domain }, *j = RB_FIND(job_tree, &s->jobs, &find);

	*failed_r = NULL;
	if (j != NULL && j->is_failed) {
		if (strcmp(j->id, ask->id) == 0 && loop_now(s->loop) - j->since < BACKOFF_MS) {
			*failed_r = j;
			return NULL;
		}
		job_free(j);
		j = NULL;
	}
	if (j != NULL)
		return j;
	j = xcalloc(1, sizeof(*j));
	j->s = s;
	j->domain = xstrdup(ask->domain);
	memcpy(j->id, ask->id, sizeof(j->id));
	j->host = mx_list_ref(ask->host);
	j->since = loop_now(s->loop);
	j->used = loop_wall(s->loop);
	TAILQ_INIT(&j->waiters);
	RB_INSERT(job_tree, &s->jobs, j);
	TAILQ_INSERT_TAIL(&s->turn, j, link);
	return j;
}

static bool
is_old(const struct sts_entry *e, int64_t now)
{
	return now - e->fetched >= OLD_MS || now - e->fetched >= (e->expires - e->fetched) / 2;
}

static void
find_policy(struct stsd *s, uint32_t id, const struct sts_ask *ask)
{
	int64_t now = loop_wall(s->loop);
	const struct job *failed = NULL;
	struct waiter *w;
	struct sts_entry e;
	struct job *j;

	if (ask->id[0] == '\0') {
		answer_old(s, id, ask->domain, STS_PROBLEM_NONE, NULL);
		return;
	}
	if (sts_cache_get(s->cache, ask->domain, now, &e) && strcmp(e.id, ask->id) == 0) {
		answer(s, id, STS_FOUND_POLICY, &e, STS_PROBLEM_NONE, NULL);
		if (is_old(&e, now) && (j = job_for(s, ask, &failed)) != NULL && ask->is_refresh)
			j->used = e.used;
		sts_entry_clear(&e);
		return;
	}
	sts_entry_clear(&e);
	j = job_for(s, ask, &failed);
	if (j == NULL) {
		answer_old(s, id, ask->domain, failed->problem, failed->why);
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->id = id;
	TAILQ_INSERT_TAIL(&j->waiters, w, link);
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct stsd *s = arg;
	struct sts_ask ask;

	if (sts_ask_decode(&m->body, &ask) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	find_policy(s, m->id, &ask);
	sts_ask_clear(&ask);
	start_next(s);
}

/* The net role knows the name service: it asks, and that it asks does the rest. */
static void
look_at(const char *domain, const struct sts_entry *e, void *arg)
{
	struct stsd *s = arg;
	int64_t now = loop_wall(s->loop);
	struct wbuf w;

	if (s->peer == NULL || now - e->used > UNUSED_MS || !is_old(e, now))
		return;
	wbuf_init(&w);
	wbuf_str(&w, domain);
	ipc_send(s->peer, STS_REFRESH, 0, &w, -1);
	wbuf_clear(&w);
}

static void
on_look(void *arg)
{
	struct stsd *s = arg;
	bool has_more = sts_cache_look(s->cache, loop_wall(s->loop), LOOK_N, look_at, s);

	timer_set(&s->look, has_more ? LOOK_MS : LOOK_AGAIN_MS);
}

static void
on_peer_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct stsd *s = arg;
	struct waiter *w;
	struct job *j;

	if (s->peer != ipc)
		return;
	log_debug("the net role is gone: %s", why);
	s->peer = NULL;
	RB_FOREACH(j, job_tree, &s->jobs)
		while ((w = TAILQ_FIRST(&j->waiters)) != NULL) { /* its successor asks again */
			TAILQ_REMOVE(&j->waiters, w, link);
			free(w);
		}
}

static const struct ipc_rule rules[] = { { STS_ASK, false, STS_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_peer_gone };

void
stsd_set_peer(struct stsd *s, int fd)
{
	struct ipc *old = s->peer;

	if (old != NULL) {
		on_peer_gone(old, "replaced", s);
		ipc_close(&old);
	}
	s->peer = ipc_new(s->loop, fd, &ops, s);
}

struct stsd *
stsd_new(struct loop *loop, const struct params *params, SSL_CTX *tls)
{
	struct stsd *s = xcalloc(1, sizeof(*s));
	char *directory = xasprintf("%s/" STS_CACHE_DIR, params->data_directory);

	s->loop = loop;
	s->params = params;
	s->tls = tls;
	s->cache = sts_cache_new(directory, ENTRIES_MAX);
	RB_INIT(&s->jobs);
	TAILQ_INIT(&s->turn);
	TAILQ_INIT(&s->failed);
	timer_init(&s->look, loop, on_look, s);
	timer_init(&s->late, loop, on_late, s);
	timer_set(&s->look, LOOK_MS);
	free(directory);
	return s;
}

void
stsd_free(struct stsd **sp)
{
	struct stsd *s = *sp;
	struct job *j;

	*sp = NULL;
	if (s == NULL)
		return;
	timer_cancel(&s->look);
	timer_cancel(&s->late);
	while ((j = RB_MIN(job_tree, &s->jobs)) != NULL)
		job_free(j);
	ipc_close(&s->peer);
	sts_cache_free(&s->cache);
	SSL_CTX_free(s->tls);
	free(s);
}

/* What it is set up with needs a restart: a reload changes nothing. */
static void
on_word(enum role_word word, void *arg)
{
	struct stsd *s = arg;

	if (word == ROLE_RELOAD)
		role_link_ready(s->link);
	else
		loop_stop(s->loop);
}

static void
on_partner(int fd, void *arg)
{
	stsd_set_peer(arg, fd);
}

static SSL_CTX *
make_tls(const struct params *params)
{
	char *err = NULL;
	SSL_CTX *tls = tls_client_ctx(&err);

	if (tls == NULL)
		fatal("TLS: %s", err);
	if (params->smtp_tls_CAfile[0] != '\0' && tls_client_trust(tls, params->smtp_tls_CAfile, &err) == -1) {
		log_warn("TLS: %s: no MTA-STS policy can be fetched", err);
		free(err);
	}
	return tls;
}

int
stsd_main(const struct params *params, const char *user)
{
	struct loop *loop = loop_new();
	struct stsd *s = stsd_new(loop, params, make_tls(params));
	char *directory = xasprintf("%s/" STS_CACHE_DIR, params->data_directory);
	struct sandbox_path path = { directory, true };
	struct sandbox box = { .role = "sts", .user = user, .mode = (enum sandbox_mode)params->sandbox,
		.allow = SB_CONNECT_IN | SB_FILES_RW | SB_FSYNC, .paths = &path, .n_paths = 1, .max_fds = MAX_FDS,
		.connect_port = 443 };
	int status;

	sandbox_enter(&box);
	s->link = role_link_new(loop, on_word, NULL, s);
	role_link_on_other(s->link, 0, on_partner);
	loop_watchdog(loop, WATCHDOG_SECONDS);
	role_link_ready(s->link);
	status = loop_run(loop);
	role_link_free(&s->link);
	stsd_free(&s);
	loop_free(&loop);
	free(directory);
	return status == 0 ? 0 : 1;
}
