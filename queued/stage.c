/* Stages (stage.h). What a domain wants is what policy says when the answer comes: a reload between two stages counts.
 * Every envelope ends with one final record: Delivery here if a report was dealt with and is not relayed, Bounce if it
 * was none and nobody may have it; else whatever ordinary routing leads to. */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "mail/address.h"
#include "mail/names.h"

#include "queued/changes.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/result.h"
#include "queued/squeue.h"
#include "queued/stage.h"

const char *
stage_of(const char *name)
{
	return strcmp(name, QL_FBLPROC) == 0 ? QL_FBLPROC : strcmp(name, QL_BOUNCERD) == 0 ? QL_BOUNCERD : NULL;
}

bool
stage_is_name(const char *name)
{
	return stage_of(name) != NULL;
}

static const char *
domain_of(const struct queued *q, const char *address)
{
	const char *domain = address_domain(address);

	return *domain == '\0' ? q->params->myhostname : domain;
}

static const struct policy_listener_domain *
listener_of(const struct queued *q, const char *address)
{
	return policy_listener_domain(q->policy, domain_of(q, address));
}

struct squeue *
stage_first(struct queued *q, const char *address)
{
	const struct policy_listener_domain *d = listener_of(q, address);

	if (d != NULL && d->log_arf != REPORT_IGNORE)
		return squeue_named(q->queues, QL_FBLPROC);
	if (d != NULL && d->log_oob != REPORT_IGNORE)
		return squeue_named(q->queues, QL_BOUNCERD);
	return NULL;
}

/* relay_domains and relay_to say that such mail has a place to go to. */
static bool
may_relay(const struct queued *q, const struct policy_listener_domain *d, const char *address)
{
	const char *domain = domain_of(q, address);
	size_t i;

	for (i = 0; i < q->params->relay_domains.n; i++)
		if (strcasecmp(q->params->relay_domains.v[i], domain) == 0)
			return true;
	return d == NULL || d->relay_to; /* no listener domain any more: what was accepted is delivered */
}

bool
stage_may_tell(const struct queued *q, const struct qenv *e)
{
	return !e->queue->is_stage || may_relay(q, listener_of(q, qenv_address(e)), qenv_address(e));
}

/* Whether its message can be read; it is held for somebody to look at if not. */
static bool
is_readable(struct queued *q, struct qenv *e)
{
	const char *why = NULL;

	if (message_envelope(q->mem, e->msg, &why) != NULL && e->rcpt < e->msg->env->n_rcpts)
		return true;
	log_error("an envelope cannot be routed: %s; it is held",
	    why == NULL ? "its record has no such recipient" : why);
	e->flags |= ENV_DAMAGED;
	q->count.damaged++;
	result_hold(q, e);
	return false;
}

static void
go_to(struct queued *q, struct qenv *e, struct squeue *to)
{
	qenv_set_state(q->mem, e, ENVELOPE_DEFERRED);
	qenv_move(q->mem, e, to);
	e->returns = 0;
	e->attempts = 0;
	e->flags &= (uint16_t)~(ENV_DELAY_LOGGED | ENV_PATH_WAIT | ENV_GUARDED);
	changes_add(q->changes, e);
	/* Orders are followed here: where it was, it would be dealt with once more. */
	if (e->order != ORDER_NONE && result_order(q, e))
		return;
	if (!result_is_prolonged(q, e))
		result_expire(q, e);
	else if (!overrides_intake(q, e))
		result_defer(q, e, queue_now(q));
}

/* An operator may have given it another tenant or campaign meanwhile. */
static void
relay(struct queued *q, struct qenv *e)
{
	char name[QUEUE_NAME_MAX];

	if (e->rebound == NULL) {
		go_to(q, e, squeue_for(q->queues, e->msg->env, qenv_address(e)));
		return;
	}
	queue_name_make(name, sizeof(name), qenv_campaign(e), qenv_tenant(e), domain_of(q, qenv_address(e)));
	go_to(q, e, squeue_named(q->queues, name));
}

void
stage_handled(struct queued *q, struct qenv *e, const char *name)
{
	static const struct enhanced_code code = { 2, 0, 0 };
	bool is_complaint = strcmp(name, QL_FBLPROC) == 0;
	const struct policy_listener_domain *d;
	enum report_action action;

	if (!is_readable(q, e))
		return;
	d = listener_of(q, qenv_address(e));
	action = d == NULL ? REPORT_RELAY : is_complaint ? d->log_arf : d->log_oob;
	if (action != REPORT_DROP && may_relay(q, d, qenv_address(e))) {
		relay(q, e);
		return;
	}
	events_reported(q, e, is_complaint ? "ARF" : "OOB", &code, is_complaint ? "complaint taken" : "bounce taken");
	q->count.delivered++;
	changes_finish(q->changes, e);
}

void
stage_passed(struct queued *q, struct qenv *e, const char *name)
{
	static const struct enhanced_code refused = { 5, 7, 1 };
	const struct policy_listener_domain *d;

	if (!is_readable(q, e))
		return;
	d = listener_of(q, qenv_address(e));
	if (strcmp(name, QL_FBLPROC) == 0 && d != NULL && d->log_oob != REPORT_IGNORE) {
		go_to(q, e, squeue_named(q->queues, QL_BOUNCERD));
	} else if (may_relay(q, d, qenv_address(e))) {
		relay(q, e);
	} else {
		/* No notice: smtpd refuses what is plainly no report, and the sender of the rest may be anybody. */
		events_ended(q, e, EV_BOUNCE, 550, &refused, "neither a bounce nor a complaint, and not relayed");
		q->count.bounced++;
		changes_finish(q->changes, e);
	}
}
