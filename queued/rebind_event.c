/* Where an envelope is to go: as an operator says, or as the events requeue_message and rebind_message do. An event
 * gets a copy of the envelope with its one recipient, under KumoMTA's names; what it set becomes a queue and, where it
 * is more than that, what goes with the row (rebound.h). It runs within one turn of the loop: nothing may wait in it,
 * and one that uses up its time is not asked for a while. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/names.h"
#include "mail/policy_call.h"

#include "queued/changes.h"
#include "queued/queued.h"
#include "queued/rebind.h"
#include "queued/rebound.h"
#include "queued/squeue.h"

#define SLOW_MS 50       /* an event that failed after so long */
#define REST_FACTOR 10   /* leaves so many times that to everybody else */

static void
replace(char **p, const char *value)
{
	char *copy = value == NULL || *value == '\0' ? NULL : xstrdup(value);

	free(*p);
	*p = copy;
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static const char *
domain_of(const struct queued *q, const struct qenv *e)
{
	const char *domain = address_domain(qenv_address(e));

	return *domain == '\0' ? q->params->myhostname : domain;
}

/* Sets the plan's queue, unless it is the one that has it. */
static void
plan_to(struct queued *q, const struct qenv *e, const char *name, struct rebind_plan *plan)
{
	struct squeue *to;

	if (strcmp(name, e->queue->name) == 0)
		return;
	to = squeue_named(q->queues, name);
	to->refs++;
	plan->to = to;
}

/* What it is with that tenant and campaign. The content is for the caller to change. */
static void
plan_rebound(const struct qenv *e, const char *tenant, const char *campaign, struct rebind_plan *plan)
{
	struct rebound *r = xcalloc(1, sizeof(*r));
	const struct rebound *was = e->rebound;

	replace(&r->tenant, tenant);
	replace(&r->campaign, campaign);
	if (was != NULL && was->has_meta)
		rebound_set_meta(r, was->meta, was->n_meta);
	if (was != NULL && was->head != NULL)
		rebound_set_head(r, was->head, was->head_len);
	plan->rebound = r;
}

/* Drops it if it says no more than the record does. */
static void
plan_settle(const struct qenv *e, struct rebind_plan *plan)
{
	const struct rebound *r = plan->rebound;
	const struct envelope *env = e->msg->env;

	if (r != NULL && !r->has_meta && r->head == NULL && same(r->tenant, env->tenant) &&
	    same(r->campaign, env->campaign))
		rebound_free(&plan->rebound);
	plan->is_content = !rebound_equal(plan->rebound, e->rebound);
}

static bool
plan_begin(struct queued *q, struct qenv *e, struct rebind_plan *plan)
{
	const char *why = NULL;

	memset(plan, 0, sizeof(*plan));
	if (message_envelope(q->mem, e->msg, &why) != NULL && e->rcpt < e->msg->env->n_rcpts)
		return true;
	plan->verdict.outcome = POLICY_FAILED;
	(void)snprintf(plan->verdict.line, sizeof(plan->verdict.line), "451 4.3.0 %s",
	    why != NULL ? why : "its record has no such recipient");
	return false;
}

static const char *
value_of(const struct rebind *r, const char *key)
{
	uint32_t i;

	for (i = 0; i < r->n_set; i++)
		if (strcmp(r->set[i].key, key) == 0)
			return r->set[i].value;
	return NULL;
}

static bool
is_of_queue(const char *key)
{
	return strcmp(key, "queue") == 0 || strcmp(key, "tenant") == 0 || strcmp(key, "campaign") == 0 ||
	    strcmp(key, "routing_domain") == 0;
}

static void
plan_meta(const struct qenv *e, const struct rebind *r, struct rebind_plan *plan)
{
	struct envelope *copy = envelope_new();
	uint32_t i, n;
	const struct meta *meta = qenv_meta(e, &n);
	bool is_set = false;

	for (i = 0; i < n; i++)
		envelope_set_meta(copy, meta[i].key, meta[i].value);
	for (i = 0; i < r->n_set; i++) {
		if (is_of_queue(r->set[i].key))
			continue;
		envelope_set_meta(copy, r->set[i].key, r->set[i].value);
		is_set = true;
	}
	if (is_set)
		rebound_set_meta(plan->rebound, copy->meta, copy->n_meta);
	envelope_free(&copy);
}

void
rebind_plan_plain(struct queued *q, struct qenv *e, const struct rebind *r, struct rebind_plan *plan)
{
	char *campaign = NULL, *tenant = NULL, *domain = NULL, name[QUEUE_NAME_MAX];
	const char *queue = value_of(r, "queue"), *v;
	bool is_named;

	if (!plan_begin(q, e, plan))
		return;
	if (queue == NULL && e->queue->is_stage) {
		replace(&campaign, qenv_campaign(e));
		replace(&tenant, qenv_tenant(e));
		replace(&domain, domain_of(q, e));
	} else {
		queue_name_split(queue != NULL ? queue : e->queue->name, &campaign, &tenant, &domain);
	}
	if ((v = value_of(r, "campaign")) != NULL)
		replace(&campaign, v);
	if ((v = value_of(r, "tenant")) != NULL)
		replace(&tenant, v);
	if ((v = value_of(r, "routing_domain")) != NULL)
		replace(&domain, v);
	queue_name_make(name, sizeof(name), campaign, tenant, domain);
	is_named = queue != NULL || value_of(r, "campaign") != NULL || value_of(r, "tenant") != NULL;
	plan_rebound(e, is_named ? tenant : qenv_tenant(e), is_named ? campaign : qenv_campaign(e), plan);
	plan_meta(e, r, plan);
	plan_settle(e, plan);
	/* A tenant or a campaign of mail in a stage is for its way from there. */
	if (queue != NULL || value_of(r, "routing_domain") != NULL || (is_named && !e->queue->is_stage))
		plan_to(q, e, name, plan);
	free(campaign);
	free(tenant);
	free(domain);
}

/* --- events --- */

/* The envelope as it is now, for its one recipient. */
static struct envelope *
copy_for(const struct qenv *e)
{
	const struct envelope *env = e->msg->env;
	const struct rcpt *rcpt = &env->rcpts[e->rcpt];
	struct envelope *copy = envelope_new();
	uint32_t i, n;
	const struct meta *meta = qenv_meta(e, &n);
	char name[QUEUE_NAME_MAX];

	copy->id = env->id;
	copy->received = env->received;
	copy->flags = env->flags;
	copy->ret = env->ret;
	free(copy->sender);
	copy->sender = xstrdup(env->sender);
	replace(&copy->envid, env->envid);
	replace(&copy->tenant, qenv_tenant(e));
	replace(&copy->campaign, qenv_campaign(e));
	replace(&copy->auth_user, env->auth_user);
	replace(&copy->client, env->client);
	replace(&copy->helo, env->helo);
	replace(&copy->session, env->session);
	replace(&copy->message_id, env->message_id);
	envelope_add_rcpt(copy, rcpt->address, rcpt->orcpt, rcpt->notify);
	for (i = 0; i < n; i++)
		envelope_set_meta(copy, meta[i].key, meta[i].value);
	/* A queue that is not made of the parts was named as a whole. */
	queue_name_make(name, sizeof(name), copy->campaign, copy->tenant, e->queue->domain);
	if (strcmp(name, e->queue->name) != 0)
		replace(&copy->queue, e->queue->name);
	return copy;
}

/* The header block as it is now; NULL: too long, or unreadable. malloced. */
static char *
head_read(struct queued *q, const struct qenv *e, size_t *len_r)
{
	const struct record *rec = &e->msg->rec;
	char *head;
	int fd;

	if (e->rebound != NULL && e->rebound->head != NULL) {
		*len_r = e->rebound->head_len;
		return xmemdup0(e->rebound->head, e->rebound->head_len);
	}
	if (rec->headers_len > REBOUND_HEAD_MAX || (fd = segment_fd(q->segs, e->msg->seg)) == -1)
		return NULL;
	head = xmalloc(rec->headers_len + 1);
	if (pread(fd, head, rec->headers_len, (off_t)(rec->offset + record_headers_off(rec))) !=
	    (ssize_t)rec->headers_len) {
		free(head);
		return NULL;
	}
	*len_r = rec->headers_len;
	return head;
}

static void
verdict_fail(struct queued *q, struct rebind_plan *plan, const char *what)
{
	(void)q;
	log_error("policy: %s", what);
	plan->verdict.outcome = POLICY_FAILED;
	(void)snprintf(plan->verdict.line, sizeof(plan->verdict.line), "451 4.3.5 Local policy error: %s", what);
}

/* What the event made of its copy. */
static void
plan_read(struct queued *q, const struct qenv *e, const struct policy_msg *m, bool was_ascii,
    struct rebind_plan *plan)
{
	char *campaign = NULL, *tenant = NULL, *domain = NULL, name[QUEUE_NAME_MAX];

	if ((m->changed & POLICY_MSG_HEAD) != 0 && m->head_len > REBOUND_HEAD_MAX) {
		verdict_fail(q, plan, "the header block has become longer than 64 KiB");
		return;
	}
	/* What the next hop must be able to take was settled when it was accepted. */
	if ((m->changed & POLICY_MSG_HEAD) != 0 && !m->is_utf8 && was_ascii && !is_ascii(m->head, m->head_len)) {
		verdict_fail(q, plan, "a header that is not ASCII was added: encode it");
		return;
	}
	policy_msg_queue_name(m, domain_of(q, e), name, sizeof(name));
	queue_name_split(name, &campaign, &tenant, &domain);
	/* A queue that was named now says whose it is; one that was named before says nothing new. */
	if (m->env->queue != NULL && strcmp(name, e->queue->name) != 0)
		plan_rebound(e, tenant, campaign, plan);
	else
		plan_rebound(e, m->env->tenant, m->env->campaign, plan);
	if (m->changed & POLICY_MSG_META)
		rebound_set_meta(plan->rebound, m->env->meta, m->env->n_meta);
	if (m->changed & POLICY_MSG_HEAD)
		rebound_set_head(plan->rebound, m->head, m->head_len);
	plan_settle(e, plan);
	plan_to(q, e, name, plan);
	free(campaign);
	free(tenant);
	free(domain);
}

static void
never(const struct policy_verdict *v, void *arg)
{
	(void)v;
	(void)arg;
}

static void
ask(struct queued *q, struct qenv *e, const struct policy_call *call, struct rebind_plan *plan)
{
	struct policy_msg m = { .is_utf8 = (e->msg->env->flags & MSG_SMTPUTF8) != 0, .is_queued = true,
		.num_attempts = e->attempts, .now = loop_wall(q->loop) };
	struct policy_call asked = *call;
	int64_t start = mono_ms(), took;
	struct policy_task *task;
	bool was_ascii;
	char *head;

	m.env = copy_for(e);
	m.head = head = head_read(q, e, &m.head_len);
	was_ascii = head != NULL && is_ascii(head, m.head_len);
	if (m.env->queue == NULL && strcmp(e->queue->domain, domain_of(q, e)) != 0)
		m.routing_domain = xstrdup(e->queue->domain);
	asked.msg = &m;
	if ((task = policy_call(q->policy, &asked, &plan->verdict, never, NULL)) != NULL) {
		policy_cancel(&task);
		verdict_fail(q, plan, "events of queued cannot wait");
	}
	took = mono_ms() - start;
	if (plan->verdict.outcome == POLICY_PASSED)
		plan_read(q, e, &m, was_ascii, plan);
	else if (plan->verdict.outcome == POLICY_FAILED && took >= SLOW_MS)
		q->policy_rest = loop_now(q->loop) + took * REST_FACTOR;
	policy_msg_clear(&m);
	envelope_free(&m.env);
	free(head);
}

void
rebind_ask_requeue(struct queued *q, struct qenv *e, const char *response, int64_t delay, struct rebind_plan *plan)
{
	struct policy_call call = { .id = POLICY_ON_REQUEUE, .text = { response, "LoggedTransientFailure" },
		.delay = (double)delay / 1000 };

	memset(plan, 0, sizeof(*plan));
	if (e->queue->is_stage || !policy_answers(q->policy, POLICY_ON_REQUEUE) || loop_now(q->loop) < q->policy_rest ||
	    !plan_begin(q, e, plan))
		return;
	ask(q, e, &call, plan);
}

void
rebind_ask_operator(struct queued *q, struct qenv *e, const struct rebind *r, struct rebind_plan *plan)
{
	struct policy_call call = { .id = POLICY_ON_REBIND, .data = r->set, .n_data = r->n_set };

	if (!plan_begin(q, e, plan))
		return;
	/* A reload may have taken it away between the request and this envelope. */
	if (!policy_answers(q->policy, POLICY_ON_REBIND)) {
		verdict_fail(q, plan, "there is no event rebind_message any more");
		return;
	}
	ask(q, e, &call, plan);
}

bool
rebind_plan_take(struct queued *q, struct qenv *e, struct rebind_plan *plan)
{
	bool is_changed = plan->to != NULL || plan->is_content;

	if (plan->is_content) {
		rebound_free(&e->rebound);
		e->rebound = plan->rebound;
		plan->rebound = NULL;
		e->flags &= (uint16_t)~ENV_REBOUND;
		if (e->rebound != NULL)
			e->flags |= ENV_REBOUND;
	}
	if (is_changed && (e->state == ENVELOPE_READY || e->state == ENVELOPE_INFLIGHT))
		qenv_set_state(q->mem, e, ENVELOPE_DEFERRED);
	if (plan->to != NULL) {
		qenv_move(q->mem, e, plan->to);
		e->returns = 0;
		e->flags &= (uint16_t)~(ENV_DELAY_LOGGED | ENV_PATH_WAIT | ENV_GUARDED);
	}
	if (is_changed)
		changes_add(q->changes, e);
	rebind_plan_clear(q, plan);
	return is_changed;
}

void
rebind_plan_clear(struct queued *q, struct rebind_plan *plan)
{
	rebound_free(&plan->rebound);
	if (plan->to == NULL)
		return;
	plan->to->refs--;
	squeue_release(q->queues, plan->to);
	plan->to = NULL;
}
