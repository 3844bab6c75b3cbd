/* The main role of a daemon that takes reports (report_role.h): jobs of queued, one worked on at a time, each recipient
 * with one result. Used by bouncerd and fblproc. Input is queued's, decoded and validated by mail/queue_link. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/config.h"
#include "mail/report_role.h"

#define STOP_MS 5000 /* for what is under way, and for queued to come back */
#define STOP_TICK_MS 50

static int
item_cmp(const struct report_item *a, const struct report_item *b)
{
	return envid_cmp(&a->env, &b->env);
}

RB_GENERATE(report_items, report_item, by_env, item_cmp)

static void
job_free(struct report_role *r, struct report_job *job)
{
	TAILQ_REMOVE(&r->jobs, job, link);
	seg_unref(&job->seg);
	ql_job_clear(&job->q);
	free(job);
}

static void
item_release(struct report_role *r, struct report_item *it)
{
	it->is_open = false;
	RB_REMOVE(report_items, &r->items, it);
	r->n_items--;
	it->job->n_open--;
}

void
report_result(struct report_role *r, struct report_item *it, enum ql_outcome outcome, uint16_t code,
    struct enhanced_code enhanced, const char *text)
{
	char *copy = xstrdup(text);
	struct ql_result res = { .env = it->env, .outcome = (uint8_t)outcome, .phase = PHASE_NONE, .is_local = true,
		.code = code, .enhanced = enhanced, .text = copy };
	struct report_job *job = it->job;

	if (!it->is_open)
		panic("a second result for one envelope");
	job_link_result(r->link, &res);
	free(copy);
	item_release(r, it);
	if (job->n_open == 0)
		job_free(r, job);
}

void
report_job_end(struct report_role *r, struct report_job *job, enum ql_outcome outcome, uint16_t code,
    struct enhanced_code enhanced, const char *text)
{
	unsigned i, n = job->n_items, left = job->n_open;

	for (i = 0; i < n && left > 0; i++)
		if (job->items[i].is_open) {
			left--; /* the job goes with its last item */
			report_result(r, &job->items[i], outcome, code, enhanced, text);
		}
}

struct report_item *
report_job_first(struct report_job *job)
{
	unsigned i = 0;

	while (!job->items[i].is_open)
		i++;
	return &job->items[i];
}

static void
hand_back(struct report_role *r, struct report_job *job, const char *why)
{
	unsigned i, n = job->n_items, left = job->n_open;

	for (i = 0; i < n && left > 0; i++)
		if (job->items[i].is_open) {
			left--; /* the job goes with its last item */
			report_result(r, &job->items[i], QL_RETURNED, 0, (struct enhanced_code){ 0, 0, 0 }, why);
		}
}

static void
hand_back_all(struct report_role *r, const char *why)
{
	struct report_job *job, *next;

	TAILQ_FOREACH_SAFE(job, &r->jobs, link, next)
		if (!job->is_busy)
			hand_back(r, job, why);
}

static void
on_job(struct ql_job *q, struct seg *seg, void *arg)
{
	struct report_role *r = arg;
	struct report_job *job = xcalloc(1, sizeof(*job) + q->n_rcpts * sizeof(job->items[0]));
	struct report_item *it;
	unsigned i;

	job->q = *q;
	memset(q, 0, sizeof(*q));
	job->seg = seg;
	TAILQ_INSERT_TAIL(&r->jobs, job, link);
	for (i = 0; i < job->q.n_rcpts; i++) {
		it = &job->items[job->n_items];
		it->job = job;
		it->rcpt = &job->q.rcpts[i];
		it->env.msg = job->q.rec.id;
		it->env.rcpt = it->rcpt->index;
		if (RB_INSERT(report_items, &r->items, it) != NULL) {
			log_warn("queued offered recipient %u of a message twice", (unsigned)it->env.rcpt);
			continue;
		}
		it->is_open = true;
		job->n_items++;
		job->n_open++;
		r->n_items++;
	}
	if (job->n_open == 0)
		job_free(r, job);
	else if (job->q.digest != r->config_digest)
		hand_back(r, job, "routed by another configuration");
	else if (r->is_stopping)
		hand_back(r, job, "stopping");
}

static void
on_cancel(const struct envid *env, void *arg)
{
	struct report_role *r = arg;
	struct report_item key = { .env = *env }, *it = RB_FIND(report_items, &r->items, &key);

	if (it != NULL && !it->job->is_busy) /* else its result is on the way */
		report_result(r, it, QL_RETURNED, 0, (struct enhanced_code){ 0, 0, 0 }, "taken back");
}

static void
identity(struct job_link_identity *me, void *arg)
{
	struct report_role *r = arg;

	me->name = r->spec->consumer;
	me->number = r->config_number;
	me->digest = r->config_digest;
}

static unsigned
n_held(void *arg)
{
	struct report_role *r = arg;

	return r->n_items;
}

static uint64_t
credit(void *arg)
{
	(void)arg;
	return REPORT_CREDIT;
}

static void
say_held(struct job_link *l, void *arg)
{
	struct report_role *r = arg;
	struct report_item *it;

	RB_FOREACH(it, report_items, &r->items)
		job_link_hold(l, &it->env);
}

static void
on_up(void *arg)
{
	struct report_role *r = arg;

	if (r->spec->up != NULL)
		r->spec->up(r);
}

static const struct job_link_ops link_ops = { .identity = identity, .n_held = n_held, .credit = credit,
	.say_held = say_held, .job = on_job, .cancel = on_cancel, .up = on_up };

static struct report_job *
next_job(struct report_role *r)
{
	struct report_job *job = TAILQ_FIRST(&r->jobs);

	return job == NULL || job->is_busy || eventlog_stuck(r->events) ? NULL : job;
}

/* The end of a turn: the next job is begun, what was finished becomes credit. */
static void
on_turn(void *arg)
{
	struct report_role *r = arg;
	struct report_job *job;

	while (r->link != NULL && (job = next_job(r)) != NULL) {
		job->is_busy = true;
		r->spec->work(r, job);
	}
	if (r->link != NULL)
		job_link_step(r->link);
}

static void
on_stop_tick(void *arg)
{
	struct report_role *r = arg;

	if ((r->n_items == 0 && job_link_is_flushed(r->link)) || loop_now(r->loop) >= r->stop_deadline) {
		eventlog_flush(r->events);
		loop_stop(r->loop);
		return;
	}
	timer_set(&r->stop, STOP_TICK_MS);
}

void
report_role_stop(struct report_role *r)
{
	if (r->is_stopping)
		return;
	r->is_stopping = true;
	r->stop_deadline = loop_now(r->loop) + STOP_MS;
	job_link_stop(r->link);
	hand_back_all(r, "stopping");
	timer_set(&r->stop, 1);
}

bool
report_role_reload(struct report_role *r)
{
	struct config *config = config_load_logged(r->config_dir);
	struct shaping *shaping;
	bool is_other;

	if (config == NULL) {
		log_error("configuration not changed: the new one has errors");
		return false;
	}
	is_other = config->digest != r->config_digest;
	r->config_number = config->number;
	r->config_digest = config->digest;
	bounce_rules_free(&r->bounce_rules);
	policy_free(&r->policy);
	params_free(&r->params);
	r->bounce_rules = config_take_bounce_rules(config);
	config_take(&config, &r->params, &r->policy, &shaping);
	shaping_free(&shaping);
	log_set_level((enum log_level)r->params->log_level);
	job_link_generation(r->link); /* before what is handed back, so that it is not offered again */
	if (is_other)
		hand_back_all(r, "the configuration has changed");
	log_info("configuration read again generation=%u", r->config_number);
	return true;
}

void
report_role_connect(struct report_role *r)
{
	char *path = xasprintf("%s/%s", r->params->run_directory, QL_SOCKET);

	r->link_ops = link_ops;
	if (r->spec->rules != NULL) {
		r->link_ops.rules = r->spec->rules;
		r->link_ops.n_rules = *r->spec->n_rules;
	}
	r->link = job_link_new(r->loop, path, &r->link_ops, r, r->events, &r->token);
	free(path);
}

struct report_role *
report_role_new(struct loop *loop, const struct report_spec *spec, const char *config_dir, struct params *params,
    struct policy *policy)
{
	struct report_role *r = xcalloc(1, sizeof(*r));

	r->spec = spec;
	r->loop = loop;
	r->config_dir = xstrdup(config_dir);
	r->params = params;
	r->policy = policy;
	RB_INIT(&r->items);
	TAILQ_INIT(&r->jobs);
	r->events = eventlog_new(loop, spec->name);
	timer_init(&r->stop, loop, on_stop_tick, r);
	loop_before_sleep(loop, LOOP_COMMIT, on_turn, r);
	return r;
}

void
report_role_free(struct report_role **rp)
{
	struct report_role *r = *rp;
	struct report_job *job;

	*rp = NULL;
	if (r == NULL)
		return;
	timer_cancel(&r->stop);
	if (r->spec->close != NULL)
		r->spec->close(r);
	while ((job = TAILQ_FIRST(&r->jobs)) != NULL)
		job_free(r, job);
	job_link_free(&r->link);
	token_signer_clear(&r->token);
	eventlog_free(&r->events);
	bounce_rules_free(&r->bounce_rules);
	policy_free(&r->policy);
	params_free(&r->params);
	free(r->config_dir);
	free(r);
}
