/* The consequences of failures (consequence.h). What a stranger's reply says reaches the suppression list only through
 * here, and the outbox; what we said ourselves never does. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/policy.h"

#include "queued/automation.h"
#include "queued/clock.h"
#include "queued/consequence.h"
#include "queued/outbox.h"
#include "queued/queued.h"
#include "queued/squeue.h"

#define SLOW_MS 50     /* as rebind_event.c: an event that failed after so long */
#define REST_FACTOR 10 /* leaves so many times that to everybody else */
#define FACTS_MAX 32

/* ---- policy ---- */

struct facts {
	struct policy_fact v[FACTS_MAX];
	size_t n;
};

static void
fact(struct facts *f, const char *key, const char *text)
{
	if (text != NULL && f->n < FACTS_MAX)
		f->v[f->n++] = (struct policy_fact){ .key = key, .text = text };
}

static void
fact_number(struct facts *f, const char *key, int64_t number)
{
	if (f->n < FACTS_MAX)
		f->v[f->n++] = (struct policy_fact){ .key = key, .number = number };
}

static void
facts_of_failure(struct facts *f, const struct verdict *v, const struct verdict_input *in, const char *status,
    const char *todo)
{
	const struct bounce_cause *c = v->found.cause;

	fact(f, "class", c->class);
	fact(f, "cause", c->name);
	fact(f, "kind", bounce_kind_names[c->kind]);
	fact(f, "scope", bounce_scope_names[c->scope]);
	fact(f, "action", todo);
	fact_number(f, "code", in->code);
	fact(f, "status", status);
	fact(f, "text", in->text);
	fact(f, "phase", phase_names[in->phase]);
	fact(f, "generated", in->is_local ? "local" : "remote");
	fact_number(f, "attempts", in->attempts);
	fact_number(f, "age", in->age / 1000);
	fact(f, "provider", in->provider);
}

static void
facts_of_mail(struct facts *f, const struct qenv *e, const struct ql_result *r)
{
	fact(f, "queue", e->queue->name);
	fact(f, "domain", e->queue->domain);
	fact(f, "site", r->site);
	fact(f, "source", r->source);
	fact(f, "peer", r->peer_name);
	if (e->msg->env == NULL || e->rcpt >= e->msg->env->n_rcpts)
		return;
	fact(f, "recipient", qenv_address(e));
	fact(f, "sender", e->msg->env->sender);
	fact(f, "tenant", qenv_tenant(e));
	fact(f, "campaign", qenv_campaign(e));
}

void
consequence_ask(struct queued *q, const struct qenv *e, const struct ql_result *r, const struct verdict_input *in,
    struct verdict *v)
{
	struct bounce_todo todo;
	struct facts f = { .n = 0 };
	char status[20] = "", *by_rule, *err = NULL;
	int64_t start, took;
	int rc;

	if (!policy_has(q->policy, "bounce_classified") || loop_now(q->loop) < q->policy_rest)
		return;
	if (in->enhanced.class != 0)
		enhanced_format(&in->enhanced, status);
	by_rule = bounce_todo_text(v->todo);
	facts_of_failure(&f, v, in, status, by_rule);
	facts_of_mail(&f, e, r);
	start = mono_ms();
	rc = policy_bounce_classified(q->policy, f.v, f.n, v->found.cause, &todo, &err);
	took = mono_ms() - start;
	if (rc == 1)
		verdict_obey(v, in, &todo);
	else if (rc == -1 && took >= SLOW_MS)
		q->policy_rest = loop_now(q->loop) + took * REST_FACTOR;
	free(err); /* the log has it */
	free(by_rule);
}

/* ---- paths ---- */

void
consequence_take(struct queued *q, const struct qenv *e, const struct ql_result *r, const struct verdict *v,
    const char *reply)
{
	if (v->todo->n_steps > 0)
		automation_verdict(q, e, r, v, reply);
}

/* ---- the suppression list ---- */

/* Which address, where. False: there is nothing to name. */
static bool
request_scope(const struct qenv *e, const struct bounce_todo *todo, struct suppress_request *out)
{
	const char *tenant = qenv_tenant(e), *sender = address_domain(e->msg->env->sender);
	const char *address = qenv_address(e);

	if (todo->is_domain)
		address = address_domain(address);
	/* Mail without a tenant: what comes next to it. */
	out->scope = todo->scope == SUPPRESS_TENANT && tenant == NULL ? SUPPRESS_SENDER_DOMAIN : todo->scope;
	if (out->scope == SUPPRESS_TENANT)
		out->scope_value = xstrdup(tenant);
	else if (out->scope == SUPPRESS_SENDER_DOMAIN)
		out->scope_value = xstrdup(sender);
	out->address = xstrdup(address);
	return suppress_request_check(out) == NULL;
}

static char *
or_null(const char *s)
{
	return s == NULL || *s == '\0' ? NULL : xstrdup(s);
}

void
consequence_suppress(struct queued *q, const struct qenv *e, const struct verdict *v)
{
	const struct bounce_todo *todo = v->todo;
	const struct bounce_cause *c = v->found.cause;
	struct suppress_request r;

	if (!v->may_suppress || e->msg->env == NULL || e->rcpt >= e->msg->env->n_rcpts)
		return;
	memset(&r, 0, sizeof(r));
	r.reason = strcmp(c->name, "unsubscribe") == 0 ? SUPPRESS_UNSUBSCRIBE : SUPPRESS_HARD_BOUNCE;
	r.origin = SUPPRESS_BY_REPLY;
	r.event = e->msg->id;
	r.when = loop_wall(q->loop);
	r.expires = todo->keep > 0 ? r.when + todo->keep : 0;
	r.threshold = todo->threshold;
	r.within = todo->within;
	r.spread = todo->spread;
	r.class = xstrdup(c->class);
	r.cause = xstrdup(c->name);
	r.note = or_null(e->text);
	if (request_scope(e, todo, &r))
		outbox_add(q, &r, NULL, 0);
	else
		log_debug("nothing to suppress: a recipient or sender that is no address");
	suppress_request_clear(&r);
}

void
consequence_expired(struct queued *q, const struct qenv *e)
{
	struct verdict_input in = { .code = e->code, .enhanced = e->enhanced, .phase = PHASE_NONE,
		.attempts = e->attempts, .age = loop_wall(q->loop) - msgid_time(&e->msg->id) };
	const struct ql_result unknown = { .outcome = QL_FAILED }; /* of where it was said nothing is kept */
	struct bounce_reply reply;
	struct verdict v;
	char *buf;

	/* Only a peer's reply begins with its code (qenv_set_failure()). */
	if (q->bounce_rules == NULL || e->text == NULL || e->code == 0 || strtoul(e->text, NULL, 10) != e->code)
		return;
	buf = xmalloc(strlen(e->text) + 1);
	bounce_reply_parse(e->text, strlen(e->text), buf, &reply);
	in.text = buf;
	verdict_decide(q->bounce_rules, &in, &v);
	if (v.may_suppress)
		consequence_ask(q, e, &unknown, &in, &v);
	consequence_suppress(q, e, &v);
	verdict_clear(&v);
	free(buf);
}
