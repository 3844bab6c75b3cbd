/* The plain rule of RFC 5321 section 4.2.1: 4xx and connection trouble are transient, 5xx is permanent. A 5xx in
 * the greeting, to EHLO, STARTTLS or AUTH is the host's word about the connection, not about the message (RFC 5321
 * section 3.1; Postfix smtp_skip_5xx_greeting), so it is tried again. Pure: no state, no I/O. */
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
static const char *
class_of(const struct bounce_rules *rules, const struct verdict_input *in)
{
	struct bounce_reply reply = { .code = in->code, .status = in->enhanced, .phase = (uint8_t)in->phase,
		.provider = in->provider };
	struct bounce_verdict v;

	if (in->is_local)
		return bounce_cause_of_local((uint8_t)in->phase, in->code, &in->enhanced)->class;
	if (rules == NULL)
		return BOUNCE_CLASS_NONE;
	reply.text = in->text != NULL ? in->text : "";
	reply.len = strlen(reply.text);
	bounce_classify(rules, &reply, &v);
	return v.cause->class;
}

void
verdict_decide(const struct bounce_rules *rules, const struct verdict_input *in, struct verdict *out)
{
	out->class = class_of(rules, in);
	out->delay = 0;
	out->action = in->code >= 500 && in->code <= 599 && !is_about_connection(in) ? VERDICT_BOUNCE : VERDICT_RETRY;
}
