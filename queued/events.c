/* Fills event records (events(5)) from what queued knows of an envelope and from a consumer's result. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_class.h"

#include "queued/automation.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/sched.h"
#include "queued/squeue.h"
#include "queued/verdict.h"

static void
events_fill(const struct qenv *e, struct event_record *r, enum event_type type)
{
	const struct squeue *sq = e->queue;
	const struct envelope *env = e->msg->env;

	memset(r, 0, sizeof(*r));
	r->type = type;
	r->id = &e->msg->id;
	r->queue = sq->name;
	r->domain = sq->domain;
	r->tenant = sq->tenant;
	r->campaign = sq->campaign;
	r->egress_pool = sq->pool == NULL ? NULL : sq->pool->name;
	r->num_attempts = e->attempts;
	if (env == NULL)
		return;
	r->sender = env->sender;
	r->recipient = qenv_address(e);
	r->tenant = qenv_tenant(e);
	r->campaign = qenv_campaign(e);
	r->size = e->msg->rec.body_len + e->msg->rec.headers_len;
	r->created = env->received;
	r->meta = qenv_meta(e, &r->n_meta);
	r->message_id = env->message_id;
	r->auth_user = env->auth_user;
}

void
events_failure(struct queued *q, const struct qenv *e, const struct ql_result *res, enum event_type type,
    const struct verdict *v, int64_t next)
{
	const struct bounce_cause *cause = v->found.cause;
	char *todo = bounce_todo_text(v->todo);
	struct event_bounce bounce = { cause->name, bounce_kind_names[cause->kind], bounce_scope_names[cause->scope],
		todo, v->is_of_policy };
	struct event_record r;

	events_fill(e, &r, type);
	if (r.num_attempts > 0) /* finished before this one, as in a Delivery */
		r.num_attempts--;
	r.code = res->code;
	r.enhanced = res->enhanced;
	r.content = res->text;
	r.command = res->command;
	r.site = res->site;
	r.egress_source = res->source;
	r.source_address = res->source_address;
	r.peer_name = res->peer_name;
	r.peer_addr = res->peer_addr;
	r.provider = res->provider;
	r.tls_version = res->tls_version;
	r.tls_cipher = res->tls_cipher;
	r.tls_verified = res->tls_verified;
	r.tls_policy = res->tls_policy;
	r.session = res->session;
	r.phase = res->phase;
	r.is_local = res->is_local;
	r.timing = &res->timing;
	r.delivery_protocol = "ESMTP";
	r.bounce_classification = v->class;
	r.bounce = &bounce;
	r.next_attempt = queue_wall(q, next);
	eventlog_write(q->events, &r);
	free(todo);
}

void
events_ended(struct queued *q, const struct qenv *e, enum event_type type, uint16_t code,
    const struct enhanced_code *enhanced,
    const char *text)
{
	struct event_record r;

	events_fill(e, &r, type);
	r.code = code;
	r.enhanced = *enhanced;
	r.content = text;
	r.is_local = true;
	r.bounce_classification = type == EV_EXPIRATION ? BOUNCE_CLASS_EXPIRED : BOUNCE_CLASS_ADMIN;
	eventlog_write(q->events, &r);
}

void
events_reported(struct queued *q, const struct qenv *e, const char *protocol, const struct enhanced_code *enhanced,
    const char *text)
{
	struct event_record r;

	events_fill(e, &r, EV_DELIVERY);
	r.code = 250;
	r.enhanced = *enhanced;
	r.content = text;
	r.is_local = true;
	r.delivery_protocol = protocol;
	eventlog_write(q->events, &r);
}

void
events_suppressed(struct queued *q, const struct qenv *e, const char *text)
{
	static const struct enhanced_code code = { 5, 7, 1 };
	struct event_record r;

	events_fill(e, &r, EV_ADMIN_BOUNCE);
	r.code = 551;
	r.enhanced = code;
	r.content = text;
	r.is_local = true;
	r.bounce_classification = BOUNCE_CLASS_SUPPRESSED;
	eventlog_write(q->events, &r);
}

void
events_generated(struct queued *q, const struct record *rec, const struct envelope *env, const struct squeue *sq)
{
	static const struct enhanced_code code = { 2, 0, 0 };
	struct event_record r;

	memset(&r, 0, sizeof(r));
	r.type = EV_RECEPTION;
	r.id = &rec->id;
	r.sender = env->sender;
	r.recipient = env->rcpts[0].address;
	r.queue = sq->name;
	r.domain = sq->domain;
	r.tenant = env->tenant;
	r.campaign = env->campaign;
	r.size = rec->body_len + rec->headers_len;
	r.code = 250;
	r.enhanced = code;
	r.content = "written by Posthorn";
	r.created = env->received;
	r.message_id = env->message_id;
	r.is_local = true;
	eventlog_write(q->events, &r);
}

void
events_delayed(struct queued *q, const struct qenv *e, const char *why)
{
	static const struct enhanced_code code = { 4, 4, 1 };
	struct event_record r;

	events_fill(e, &r, EV_DELAYED);
	r.code = 451;
	r.enhanced = code;
	r.content = why;
	r.is_local = true;
	r.next_attempt = e->due > queue_now(q) ? queue_wall(q, e->due) : 0;
	eventlog_write(q->events, &r);
}

void
events_rebound(struct queued *q, const struct qenv *e, const char *from, const char *reason)
{
	static const struct enhanced_code code = { 2, 0, 0 };
	struct event_record r;
	char *text = xasprintf("rebound from %s to %s%s%s", from, e->queue->name, reason != NULL ? ": " : "",
	    reason != NULL ? reason : "");

	events_fill(e, &r, EV_ADMIN_REBIND);
	r.code = 250;
	r.enhanced = code;
	r.content = text;
	r.is_local = true;
	eventlog_write(q->events, &r);
	free(text);
}

void
events_override(struct queued *q, const struct effect *ef, const char *action, const char *why)
{
	const struct override *o = &ef->o;
	struct event_override ov;
	struct event_record r;
	char *scope = override_scope_text(&o->scope);

	memset(&ov, 0, sizeof(ov));
	ov.action = action;
	ov.id = o->id;
	ov.kind = override_kind_name(o->kind);
	ov.scope = scope;
	ov.setting = o->setting;
	ov.value = o->value;
	ov.reason = why;
	ov.made_by = o->made_by;
	ov.evidence = o->evidence;
	ov.expires = queue_wall(q, o->expires);
	ov.is_dry_run = o->is_dry_run;
	memset(&r, 0, sizeof(r));
	r.type = EV_OVERRIDE;
	r.site = o->scope.site;
	r.egress_source = o->scope.source;
	r.egress_pool = o->scope.pool;
	r.provider = o->scope.provider;
	r.domain = o->scope.domain;
	r.tenant = o->scope.tenant;
	r.campaign = o->scope.campaign;
	r.content = why;
	r.is_local = true;
	r.override = &ov;
	eventlog_write(q->events, &r);
	free(scope);
}

void
events_alert(struct queued *q, const struct automation_hit *h, const char *made_by, const char *reason)
{
	struct event_alert alert = { .kind = "bounce", .made_by = made_by, .reason = reason };
	struct event_record r;

	memset(&r, 0, sizeof(r));
	r.type = EV_ALERT;
	r.site = h->site;
	r.egress_source = h->source;
	r.provider = h->provider;
	r.domain = h->domain;
	r.tenant = h->tenant;
	r.campaign = h->campaign;
	r.peer_name = h->host;
	r.content = h->reply;
	r.bounce_classification = h->class;
	if (h->result != NULL) {
		r.code = h->result->code;
		r.enhanced = h->result->enhanced;
		r.phase = h->result->phase;
		r.is_local = h->result->is_local;
		r.peer_addr = h->result->peer_addr;
	}
	r.alert = &alert;
	eventlog_write(q->events, &r);
}
