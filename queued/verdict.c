/* The plain rule of RFC 5321 section 4.2.1: 4xx and connection trouble are transient, 5xx is permanent. A 5xx in
 * the greeting, to EHLO, STARTTLS or AUTH is the host's word about the connection, not about the message (RFC 5321
 * section 3.1; Postfix smtp_skip_5xx_greeting), so it is tried again. The bounce rules, or policy, may say otherwise of
 * a cause. Pure: no state, no I/O. */
#include <string.h>

#include "queued/verdict.h"

static bool
is_about_connection(const struct verdict_input *in)
{
	if (in->is_local)
		return false;
	return in->phase == PHASE_CONNECT || in->phase == PHASE_BANNER || in->phase == PHASE_EHLO ||
	    in->phase == PHASE_STARTTLS ||
	    in->phase == PHASE_AUTH;
}

/* What we said ourselves is never taken for the peer's words, whatever they are. */
static void
classify(const struct bounce_rules *rules, const struct verdict_input *in, struct bounce_verdict *v)
{
	struct bounce_reply reply = { .code = in->code, .status = in->enhanced, .phase = (uint8_t)in->phase,
		.provider = in->provider };

	memset(v, 0, sizeof(*v));
	if (!in->is_local && rules != NULL) {
		reply.text = in->text != NULL ? in->text : "";
		reply.len = strlen(reply.text);
		bounce_classify(rules, &reply, v);
		return;
	}
	v->cause = in->is_local ? bounce_cause_of_local((uint8_t)in->phase, in->code, &in->enhanced)
	    : bounce_cause_find(BOUNCE_CLASS_NONE);
	v->todo = bounce_rules_todo(rules, v->cause, &reply, &v->on);
}

static enum verdict_action
by_code(const struct verdict_input *in)
{
	return in->code >= 500 && in->code <= 599 && !is_about_connection(in) ? VERDICT_BOUNCE : VERDICT_RETRY;
}

static void
follow(struct verdict *v, const struct verdict_input *in, const struct bounce_todo *todo)
{
	v->todo = todo;
	v->delay = todo->delay;
	v->may_suppress = !in->is_local && bounce_may_suppress(&v->found, todo);
	switch (todo->mail) {
	case BOUNCE_MAIL_RETRY:
		v->action = VERDICT_RETRY;
		break;
	case BOUNCE_MAIL_GIVE_UP:
		v->action = VERDICT_BOUNCE;
		break;
	case BOUNCE_MAIL_HOLD:
		v->action = VERDICT_HOLD;
		break;
	default:
		v->action = by_code(in);
		break;
	}
}

void
verdict_decide(const struct bounce_rules *rules, const struct verdict_input *in, struct verdict *out)
{
	memset(out, 0, sizeof(*out));
	classify(rules, in, &out->found);
	out->class = out->found.cause->class;
	follow(out, in, out->found.todo);
}

void
verdict_obey(struct verdict *v, const struct verdict_input *in, struct bounce_todo *todo)
{
	v->of_policy = *todo;
	v->is_of_policy = true;
	memset(todo, 0, sizeof(*todo));
	follow(v, in, &v->of_policy);
}

const char *
verdict_hard_words(const struct verdict *v)
{
	const struct bounce_cause *c = v->found.cause;

	/* A stranger's word counts if it would suppress; a domain that is not there is what we found ourselves. */
	if (c->kind != BOUNCE_HARD || (v->found.rule.file != NULL && !v->found.is_suppressing))
		return NULL;
	if (c->scope == BOUNCE_OF_RECIPIENT_DOMAIN)
		return "Host not found";
	return strcmp(c->class, "InactiveMailbox") == 0 ? "mailbox unavailable" : "User unknown";
}

void
verdict_clear(struct verdict *v)
{
	if (v->is_of_policy)
		bounce_todo_clear(&v->of_policy);
	v->is_of_policy = false;
}
