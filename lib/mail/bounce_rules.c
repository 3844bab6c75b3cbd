/* Deciding what a reply means (bounce_rules.h). */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_private.h"
#include "mail/queue_link.h"

/* A reply's phases that say nothing of the recipient. */
#define PHASES_BEFORE_RCPT (1u << PHASE_CONNECT | 1u << PHASE_BANNER | 1u << PHASE_EHLO | 1u << PHASE_STARTTLS | \
	1u << PHASE_AUTH | 1u << PHASE_MAIL)

static bool
codes_hold(const struct bounce_rule *r, uint16_t code)
{
	size_t i;

	for (i = 0; i < r->n_codes; i++)
		if (code >= r->codes[i].from && code <= r->codes[i].to)
			return true;
	return r->n_codes == 0;
}

static bool
statuses_hold(const struct bounce_rule *r, const struct enhanced_code *e)
{
	size_t i;

	if (r->n_statuses == 0)
		return true;
	for (i = 0; e->class != 0 && i < r->n_statuses; i++) {
		const struct status_range *s = &r->statuses[i];

		if ((s->class == 0 || s->class == e->class) && (s->is_any_subject || s->subject == e->subject) &&
		    e->detail >= s->from && e->detail <= s->to)
			return true;
	}
	return false;
}

static bool
providers_hold(const struct bounce_rule *r, const char *provider)
{
	size_t i;

	for (i = 0; provider != NULL && i < r->n_providers; i++)
		if (strcmp(r->providers[i], provider) == 0)
			return true;
	return r->n_providers == 0;
}

enum pattern_outcome
bounce_rule_try(const struct bounce_rules *rs, const struct bounce_rule *r, const struct bounce_reply *reply,
    const struct enhanced_code *status, const struct pattern_subject *su)
{
	if (!codes_hold(r, reply->code) || !statuses_hold(r, status) || !providers_hold(r, reply->provider) ||
	    (r->phases != 0 && (r->phases & 1u << reply->phase) == 0))
		return PATTERN_MISSES;
	return r->pattern.text == NULL ? PATTERN_HITS : pattern_try(&r->pattern, su, &rs->matcher);
}

/* "(#5.1.1)", as qmail and those who came after it write it; "5.1.1 " at the beginning. */
static void
status_find(const struct pattern_subject *su, struct enhanced_code *out)
{
	const char *p = su->text;

	if (enhanced_parse(p, su->len, out) > 0)
		return;
	while ((p = strchr(p, '#')) != NULL) {
		p++;
		if (enhanced_parse(p, su->len - (size_t)(p - su->text), out) > 0)
			return;
	}
	memset(out, 0, sizeof(*out));
}

void
bounce_prepare(const struct bounce_reply *reply, struct pattern_subject *su, struct enhanced_code *status)
{
	char folded[PATTERN_SUBJECT_MAX];

	pattern_subject_set(su, folded, bounce_text_fold(reply->text, reply->len, folded, sizeof(folded)));
	*status = reply->status;
	if (status->class == 0)
		status_find(su, status);
}

static void
origin_set(struct bounce_origin *o, const struct bounce_rule *r)
{
	o->file = r->file;
	o->line = r->line;
	o->pattern = r->pattern.text;
}

static bool
is_permanent(const struct bounce_reply *reply, const struct enhanced_code *status)
{
	return reply->code != 0 ? reply->code >= 500 : status->class == 5;
}

/* Codes alone mean too many things. */
static bool
is_specific(const struct bounce_rule *r)
{
	return r->pattern.text != NULL || r->n_providers > 0;
}

/* The rule would suppress: may it, if the reply is permanent? */
static bool
may_suppress(const struct bounce_rules *rs, const struct bounce_reply *reply, const struct enhanced_code *status,
    const struct pattern_subject *su, struct bounce_verdict *v)
{
	size_t i;

	if ((PHASES_BEFORE_RCPT & 1u << reply->phase) != 0)
		return false;
	for (i = 0; i < rs->n_vetoes; i++)
		if (bounce_rule_try(rs, &rs->vetoes[i], reply, status, su) != PATTERN_MISSES) {
			origin_set(&v->veto, &rs->vetoes[i]);
			return false;
		}
	return true;
}

void
bounce_classify(const struct bounce_rules *rs, const struct bounce_reply *reply, struct bounce_verdict *v)
{
	struct pattern_subject su;
	struct enhanced_code status;
	const struct bounce_rule *r;
	size_t i;

	memset(v, 0, sizeof(*v));
	bounce_prepare(reply, &su, &status);
	for (i = 0; i < rs->n_rules; i++)
		if (bounce_rule_try(rs, &rs->rules[i], reply, &status, &su) == PATTERN_HITS)
			break;
	r = i < rs->n_rules ? &rs->rules[i] : NULL;
	v->cause = r != NULL ? r->cause : bounce_cause_find(BOUNCE_CLASS_NONE);
	if (r != NULL) {
		origin_set(&v->rule, r);
		/* Vetoes are of rules that suppress by themselves: "quota" is one, and what mailbox_full is about. */
		if (r->is_suppressing)
			v->is_evidence = may_suppress(rs, reply, &status, &su, v);
		else
			v->is_evidence = r->cause->action != BOUNCE_SUPPRESS && is_specific(r) &&
			    (PHASES_BEFORE_RCPT & 1u << reply->phase) == 0;
		v->is_suppressing = r->is_suppressing && v->is_evidence && is_permanent(reply, &status);
	}
	v->action = v->cause->action;
	if (v->action == BOUNCE_BY_CODE || (v->action == BOUNCE_SUPPRESS && !v->is_suppressing))
		v->action = is_permanent(reply, &status) ? BOUNCE_GIVE_UP : BOUNCE_RETRY;
	v->todo = bounce_rules_todo(rs, v->cause, reply, &v->on);
}

bool
bounce_on_covers(const struct bounce_on *on, const struct bounce_cause *cause)
{
	if (on->when.cause != NULL)
		return on->when.cause == cause;
	return on->class == NULL || strcmp(on->class, cause->class) == 0;
}

const struct bounce_todo *
bounce_rules_todo(const struct bounce_rules *rs, const struct bounce_cause *cause, const struct bounce_reply *reply,
    struct bounce_origin *from)
{
	static const struct bounce_todo by_code = { .mail = BOUNCE_MAIL_BY_CODE };
	size_t i;

	if (from != NULL)
		memset(from, 0, sizeof(*from));
	for (i = 0; rs != NULL && i < rs->n_ons; i++) {
		const struct bounce_on *on = &rs->ons[i];

		if (!bounce_on_covers(on, cause) ||
		    bounce_rule_try(rs, &on->when, reply, &reply->status, NULL) != PATTERN_HITS)
			continue;
		if (from != NULL)
			origin_set(from, &on->when);
		return &on->todo;
	}
	return &by_code;
}

bool
bounce_may_suppress(const struct bounce_verdict *v, const struct bounce_todo *todo)
{
	if (!todo->is_suppressing)
		return false;
	return todo->threshold > 1 ? v->is_evidence : v->is_suppressing;
}

struct bounce_counts
bounce_rules_count(const struct bounce_rules *rs)
{
	struct bounce_counts n = { rs->n_rules, rs->n_vetoes, 0, rs->n_ons };
	size_t i;

	for (i = 0; i < rs->n_rules + rs->n_vetoes; i++) {
		const struct bounce_rule *r = i < rs->n_rules ? &rs->rules[i] : &rs->vetoes[i - rs->n_rules];

		n.unaided += r->pattern.text != NULL && r->pattern.n_literals == 0;
	}
	return n;
}
