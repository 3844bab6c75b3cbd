/* What becomes of an envelope: the consequences of results, expiry and an operator's orders, in one place, so that
 * each accepted recipient gets exactly one final record (Delivery, which the consumer wrote; Bounce, Expiration or
 * AdminBounce, written here). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "queued/automation.h"
#include "queued/bounce.h"
#include "queued/changes.h"
#include "queued/consequence.h"
#include "queued/consumer.h"
#include "queued/events.h"
#include "queued/overrides.h"
#include "queued/queued.h"
#include "queued/rebind.h"
#include "queued/result.h"
#include "queued/squeue.h"
#include "queued/stage.h"
#include "queued/throttle.h"
#include "queued/verdict.h"

#define RETURN_SOON_MS 200   /* given back this soon after being offered ... */
#define RETURN_SOON_MAX 3    /* ... so often in a row ... */
#define RETURN_PAUSE_MS 1000 /* ... means that offering it again at once is a loop */

void
result_defer(struct queued *q, struct qenv *e, int64_t due)
{
	e->due = due;
	qenv_set_state(q->mem, e, due <= queue_now(q) ? ENVELOPE_READY : ENVELOPE_DEFERRED);
	changes_add(q->changes, e);
}

void
result_hold(struct queued *q, struct qenv *e)
{
	e->flags |= ENV_HELD;
	qenv_set_state(q->mem, e, ENVELOPE_HELD);
	changes_add(q->changes, e);
}

/* The envelope's message must be readable to end it with a record and a notice; if it is not, it is held for
 * somebody to look at. */
static bool
result_can_end(struct queued *q, struct qenv *e)
{
	const char *why = NULL;

	if (message_envelope(q->mem, e->msg, &why) != NULL && e->rcpt < e->msg->env->n_rcpts)
		return true;
	log_error("an envelope cannot be ended: %s; it is held",
	    why == NULL ? "its record has no such recipient" : why);
	e->flags |= ENV_DAMAGED;
	q->count.damaged++;
	result_hold(q, e);
	return false;
}

/* Its expiry by what policy says now. */
static void
follow_max_age(struct queued *q, struct qenv *e)
{
	int64_t expires = e->born + e->queue->config.max_age;

	if ((e->flags & ENV_BORN) == 0 || expires == e->expires)
		return;
	e->expires = expires;
	changes_add(q->changes, e);
}

bool
result_is_prolonged(struct queued *q, struct qenv *e)
{
	follow_max_age(q, e);
	return e->expires > queue_now(q);
}

void
result_expire(struct queued *q, struct qenv *e)
{
	static const struct enhanced_code code = { 5, 4, 7 };
	char text[FAIL_TEXT_MAX + 128];
	struct notice_facts facts = { DSN_FAILED, code, NULL, NULL, true, 0, NULL };
	int64_t age;

	if (!result_can_end(q, e))
		return;
	age = (queue_now(q) - queue_time(q, e->msg->env->received)) / 1000;
	(void)snprintf(text, sizeof(text), "could not be delivered within %" PRId64 " seconds; last: %s",
	    age < 0 ? 0 : age,
	    e->text != NULL ? e->text : e->queue->why != NULL ? e->queue->why : "no attempt was made");
	facts.diagnostic = text;
	events_ended(q, e, EV_EXPIRATION, 551, &code, text);
	q->count.expired++;
	consequence_expired(q, e);
	notice_add(q, e, &facts);
	changes_finish(q->changes, e);
}

void
result_admin_bounce(struct queued *q, struct qenv *e, const char *reason, bool is_quiet)
{
	static const struct enhanced_code code = { 5, 7, 1 };
	struct notice_facts facts = { DSN_FAILED, code, NULL, reason, true, 0, NULL };

	if (message_envelope(q->mem, e->msg, &(const char *){ NULL }) == NULL)
		is_quiet = true; /* damaged: nobody to write to, but an operator may remove it */
	events_ended(q, e, EV_ADMIN_BOUNCE, 551, &code, reason);
	q->count.admin_removed++;
	if (!is_quiet)
		notice_add(q, e, &facts);
	changes_finish(q->changes, e);
}

void
result_suppressed(struct queued *q, struct qenv *e, const char *text)
{
	events_suppressed(q, e, text);
	q->count.suppressed++;
	changes_finish(q->changes, e);
}

bool
result_reject(struct queued *q, struct qenv *e, const char *line)
{
	struct notice_facts facts = { DSN_FAILED, { 5, 7, 1 }, NULL, NULL, true, 0, NULL };
	char *end;
	uint16_t code = (uint16_t)strtoul(line, &end, 10);
	size_t used;

	if (!result_can_end(q, e))
		return false;
	line = *end == ' ' ? end + 1 : end;
	used = enhanced_parse(line, strlen(line), &facts.status);
	line += used;
	facts.diagnostic = line;
	events_ended(q, e, EV_BOUNCE, code, &facts.status, line);
	q->count.bounced++;
	notice_add(q, e, &facts);
	changes_finish(q->changes, e);
	return true;
}

/* Now that it is back: waits as it would without the order, and goes on from there. */
static void
result_rebind(struct queued *q, struct qenv *e, int64_t due)
{
	struct rebind *r = e->rebind;

	e->order = ORDER_NONE;
	e->rebind = NULL;
	if (e->flags & ENV_HELD)
		result_hold(q, e);
	else
		result_defer(q, e, due);
	/* Here nobody bounds how many are asked about in a turn. */
	if (r->is_asking && loop_now(q->loop) < q->policy_rest)
		rebind_fail(q, e, r, "the event takes too long");
	else
		(void)rebind_apply(q, e, r);
	rebind_unref(&r);
}

bool
result_order(struct queued *q, struct qenv *e)
{
	enum env_order order = (enum env_order)e->order;
	const char *reason;

	e->order = ORDER_NONE;
	switch (order) {
	case ORDER_HOLD:
		result_hold(q, e);
		return true;
	case ORDER_RETRY:
		result_defer(q, e, queue_now(q));
		return true;
	case ORDER_BOUNCE:
	case ORDER_BOUNCE_QUIET:
		if ((reason = overrides_bounce_reason(q, e->queue)) == NULL)
			reason = "bounced by the operator";
		result_admin_bounce(q, e, reason, order == ORDER_BOUNCE_QUIET);
		return true;
	case ORDER_DELETE:
		result_admin_bounce(q, e, "deleted by the operator", true);
		return true;
	case ORDER_REBIND:
		result_rebind(q, e, queue_now(q));
		return true;
	default:
		return false;
	}
}

#define SAID_MAX (FAIL_TEXT_MAX + 32)

/* A reply as the peer gave it, "550 5.1.1 text"; what we found ourselves has no reply's code, nor what looks like
 * one. */
static const char *
said(const struct ql_result *r, char out[SAID_MAX])
{
	const char *text = r->text == NULL ? "" : r->text;
	char status[20] = "";

	if (r->is_local || r->code == 0) {
		if (*text < '0' || *text > '9')
			return text;
		(void)snprintf(out, SAID_MAX, "found: %s", text);
		return out;
	}
	if (r->enhanced.class != 0) {
		status[0] = ' ';
		enhanced_format(&r->enhanced, status + 1);
	}
	(void)snprintf(out, SAID_MAX, "%u%s%s%s", r->code, status, *text != '\0' ? " " : "", text);
	return out;
}

static void
result_delivered(struct queued *q, struct qenv *e, const struct ql_result *r)
{
	static const struct enhanced_code code = { 2, 0, 0 };
	char reply[SAID_MAX];
	struct notice_facts facts = { DSN_RELAYED, code, r->peer_name, said(r, reply), false, 0, NULL };

	squeue_grow_window(q, e->queue);
	automation_delivered(q, e, r);
	q->count.delivered++;
	if (!r->dsn_passed && message_envelope(q->mem, e->msg, &(const char *){ NULL }) != NULL)
		notice_add(q, e, &facts);
	changes_finish(q->changes, e);
}

static void
result_bounce(struct queued *q, struct qenv *e, const struct ql_result *r, const struct verdict *v)
{
	struct notice_facts facts = { DSN_FAILED, r->enhanced, r->peer_name, e->text, r->is_local, 0,
	    verdict_hard_words(v) };

	if (!result_can_end(q, e))
		return;
	events_failure(q, e, r, EV_BOUNCE, v, 0);
	squeue_grow_window(q, e->queue);
	q->count.bounced++;
	consequence_suppress(q, e, v);
	notice_add(q, e, &facts);
	changes_finish(q->changes, e);
}

static void
result_delay_notice(struct queued *q, struct qenv *e, const struct ql_result *r)
{
	struct notice_facts facts = { DSN_DELAYED, r->enhanced, r->peer_name, e->text, r->is_local,
	    queue_wall(q, e->expires), NULL };
	int64_t after = q->params->delay_notice_after;

	if (after <= 0 || (e->flags & ENV_DELAY_NOTIFIED) || e->msg->env == NULL ||
	    queue_now(q) - queue_time(q, e->msg->env->received) < after)
		return;
	e->flags |= ENV_DELAY_NOTIFIED;
	notice_add(q, e, &facts);
}

/* Back to its queue, or to another one that policy names: the record is of the queue that the attempt was made from,
 * and the next attempt is by the schedule of the one it is in then. */
static void
result_requeue(struct queued *q, struct qenv *e, const struct ql_result *r, const struct verdict *v, int64_t delay)
{
	char *reply = xasprintf("%u %u.%u.%u %s", r->code, r->enhanced.class, r->enhanced.subject, r->enhanced.detail,
	    r->text == NULL ? "" : r->text);
	struct rebind_plan plan;
	bool is_moved, is_ended;

	rebind_ask_requeue(q, e, reply, delay, &plan);
	free(reply);
	is_ended = plan.verdict.outcome == POLICY_REJECTED && plan.verdict.line[0] == '5';
	is_moved = plan.to != NULL;
	if (is_moved && v->delay == 0)
		delay = squeue_backoff(plan.to, e->attempts, v->class);
	events_failure(q, e, r, EV_TRANSIENT_FAILURE, v, is_ended ? 0 : queue_now(q) + delay);
	if (is_ended && result_reject(q, e, plan.verdict.line))
		return;
	(void)rebind_plan_take(q, e, &plan);
	if (is_moved && !result_is_prolonged(q, e)) {
		result_expire(q, e);
		return;
	}
	result_delay_notice(q, e, r);
	if (!is_moved || !overrides_intake(q, e))
		result_defer(q, e, queue_now(q) + delay);
}

static void
result_retry(struct queued *q, struct qenv *e, const struct ql_result *r, const struct verdict *v)
{
	int64_t now = queue_now(q), delay = v->delay > 0 ? v->delay : squeue_backoff(e->queue, e->attempts, v->class);
	bool is_over;

	follow_max_age(q, e);
	is_over = now >= e->expires && (e->order == ORDER_NONE || e->order == ORDER_REBIND);
	squeue_shrink_window(e->queue);
	q->count.failed++;
	(void)message_envelope(q->mem, e->msg, &(const char *){ NULL });
	if (!is_over && e->order == ORDER_NONE) {
		result_requeue(q, e, r, v, delay);
		return;
	}
	events_failure(q, e, r, EV_TRANSIENT_FAILURE, v, 0);
	if (is_over)
		result_expire(q, e);
	else if (e->order == ORDER_REBIND)
		result_rebind(q, e, now + delay);
	else
		(void)result_order(q, e);
}

/* Held by a verdict, which is news to whoever ordered a retry; all else that was ordered is done. */
static void
result_held(struct queued *q, struct qenv *e)
{
	if (e->order == ORDER_RETRY)
		e->order = ORDER_NONE;
	e->flags |= e->order == ORDER_REBIND ? ENV_HELD : 0;
	if (e->order == ORDER_NONE || !result_order(q, e))
		result_hold(q, e);
}

static void
result_failed(struct queued *q, struct qenv *e, const struct ql_result *r)
{
	struct verdict_input in;
	struct verdict v;
	char reply[SAID_MAX];

	if (e->attempts < UINT16_MAX)
		e->attempts++;
	e->returns = 0;
	e->flags &= (uint16_t)~(ENV_DELAY_LOGGED | ENV_PATH_WAIT | ENV_GUARDED);
	qenv_set_failure(e, r->code, &r->enhanced, said(r, reply));
	in.code = r->code;
	in.enhanced = r->enhanced;
	in.phase = (enum phase)r->phase;
	in.is_local = r->is_local;
	in.text = r->text;
	in.provider = r->provider;
	in.attempts = e->attempts;
	in.age = loop_wall(q->loop) - msgid_time(&e->msg->id);
	verdict_decide(q->bounce_rules, &in, &v);
	(void)message_envelope(q->mem, e->msg, &(const char *){ NULL });
	consequence_ask(q, e, r, &in, &v);
	automation_failed(q, e, r, e->text);
	consequence_take(q, e, r, &v, e->text);
	if (v.action == VERDICT_BOUNCE) {
		result_bounce(q, e, r, &v);
	} else if (v.action == VERDICT_HOLD) {
		events_failure(q, e, r, EV_TRANSIENT_FAILURE, &v, 0);
		result_held(q, e);
	} else {
		result_retry(q, e, r, &v);
	}
	verdict_clear(&v);
}

/* A Delayed event is written once for each reason: a suspension is another one than a limit. */
static void
note_path_held(struct qenv *e, const struct ql_result *r)
{
	bool is_held = ql_result_is_imposed(r);

	if (is_held == ((e->flags & ENV_PATH_WAIT) != 0) || r->retry_after == 0)
		return;
	e->flags ^= ENV_PATH_WAIT;
	e->flags &= (uint16_t)~ENV_DELAY_LOGGED;
}

/* Its sender would fail DMARC: held, and for that reason, until a later look finds it right or it expires. */
static void
note_guarded(struct qenv *e, const struct ql_result *r)
{
	bool is_guarded = ql_result_is_guarded(r);

	if (is_guarded)
		qenv_set_failure(e, r->code, &r->enhanced, r->text);
	if (is_guarded == ((e->flags & ENV_GUARDED) != 0) || r->retry_after == 0)
		return;
	e->flags ^= ENV_GUARDED;
	e->flags &= (uint16_t)~ENV_DELAY_LOGGED;
}

static void
result_returned(struct queued *q, struct qenv *e, const struct ql_result *r)
{
	int64_t now = queue_now(q);
	bool was_soon = loop_now(q->loop) - e->offered < RETURN_SOON_MS;

	q->count.returned++;
	throttle_give_back(q, e->queue, 1);
	if ((e->order != ORDER_REBIND || !e->is_overdue) && result_order(q, e))
		return;
	if (e->is_overdue || now >= e->expires) {
		result_expire(q, e);
		return;
	}
	note_path_held(e, r);
	note_guarded(e, r);
	if (overrides_returned(q, e))
		return;
	e->returns = was_soon && e->returns < UINT8_MAX ? (uint8_t)(e->returns + 1) : 0;
	if (r->retry_after == 0 && e->returns < RETURN_SOON_MAX) {
		qenv_set_state(q->mem, e, ENVELOPE_READY);
		return;
	}
	e->due = now + RETURN_PAUSE_MS;
	if (r->retry_after > 0 && !(ql_result_is_imposed(r) && overrides_path_ended(q->overrides, e)))
		e->due = now + (int64_t)r->retry_after * 1000;
	if (r->text != NULL && *r->text != '\0' && !(e->flags & ENV_DELAY_LOGGED) &&
	    message_envelope(q->mem, e->msg, &(const char *){ NULL }) != NULL) {
		e->flags |= ENV_DELAY_LOGGED;
		events_delayed(q, e, r->text);
	}
	result_defer(q, e, e->due);
}

/* An answer of bouncerd or fblproc. */
static void
result_staged(struct queued *q, struct qenv *e, const struct ql_result *r, const char *stage)
{
	struct ql_result later = *r;

	switch (r->outcome) {
	case QL_DELIVERED:
		squeue_grow_window(q, e->queue);
		stage_handled(q, e, stage);
		break;
	case QL_PASSED:
		squeue_grow_window(q, e->queue);
		stage_passed(q, e, stage);
		break;
	case QL_FAILED:
		/* It may find that it cannot tell now, nothing else: nobody's address is at fault. */
		later.is_local = true;
		if (later.code < 400 || later.code > 499) {
			later.code = 451;
			later.enhanced = (struct enhanced_code){ 4, 3, 0 };
		}
		result_failed(q, e, &later);
		break;
	default:
		result_returned(q, e, r);
		break;
	}
}

void
result_apply(struct queued *q, struct qenv *e, const struct ql_result *r, const char *stage)
{
	if (stage != NULL) {
		result_staged(q, e, r, stage);
		return;
	}
	switch (r->outcome) {
	case QL_DELIVERED:
		result_delivered(q, e, r);
		break;
	case QL_FAILED:
		result_failed(q, e, r);
		break;
	default:
		result_returned(q, e, r);
		break;
	}
}

void
result_abandoned(struct queued *q, struct qenv *e)
{
	q->count.returned++;
	throttle_give_back(q, e->queue, 1);
	/* As result_returned(): its time was over before it was rebound. */
	if ((e->order != ORDER_REBIND || !e->is_overdue) && result_order(q, e))
		return;
	if (e->is_overdue)
		result_expire(q, e);
	else
		qenv_set_state(q->mem, e, ENVELOPE_READY);
}

void
result_put_in_flight(struct queued *q, struct qenv *e, struct consumer *c)
{
	e->with = consumer_seg_get(c, e->msg->seg->number);
	qenv_set_state(q->mem, e, ENVELOPE_INFLIGHT);
	/* Policy may have changed its mind while we were away, or the consumer lies: it is to be sent by another pool,
	 * or by none now. Only what is in the middle of a transaction ends there. */
	if ((e->flags & ENV_HELD) || e->queue->held_by != 0 || e->queue->pool != c->pool)
		consumer_cancel(c, e);
}
