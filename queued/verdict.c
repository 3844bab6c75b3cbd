/* The plain rule of RFC 5321 section 4.2.1: 4xx and connection trouble are transient, 5xx is permanent. A 5xx in
 * the greeting, to EHLO, STARTTLS or AUTH is the host's word about the connection, not about the message (RFC 5321
 * section 3.1; Postfix smtp_skip_5xx_greeting), so it is tried again. Pure: no state, no I/O. */
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

void
verdict_decide(const struct verdict_input *in, struct verdict *out)
{
	out->class = "Uncategorized";
	out->delay = 0;
	out->action = in->code >= 500 && in->code <= 599 && !is_about_connection(in) ? VERDICT_BOUNCE : VERDICT_RETRY;
}
