/* Refusing suppressed recipients (suppressed.h). Runs in the worker; the address is a stranger's, the list is read with
 * the care that mail/suppress.h describes, and its texts are what somebody imported. Only mail that clients of ours
 * send is looked at: what comes in for our own domains is not ours to stop. */
#include "base/timefmt.h"
#include "mail/address.h"
#include "mail/authres.h"

#include "smtpd/session_private.h"
#include "smtpd/suppressed.h"

#define CAUSE_MAX 64 /* in a reply */

static bool
is_to_refuse(const struct session *s)
{
	if (s->worker->suppress == NULL || !session_is_trusted(s))
		return false;
	if (s->is_authenticated && s->user.suppressed != SUPPRESSED_DEFAULT)
		return s->user.suppressed == SUPPRESSED_REJECT;
	return s->worker->params->smtpd_suppressed != 0;
}

bool
suppressed_refused(struct session *s, const char *rcpt)
{
	const char *tenant = s->is_authenticated ? s->user.tenant : NULL;
	struct suppress_row row;
	char line[512], since[TIME_RFC3339_LEN + 1], cause[CAUSE_MAX + 1];

	if (!is_to_refuse(s))
		return false;
	switch (suppress_look_up(s->worker->suppress, rcpt, tenant, address_domain(s->tx.env->sender),
	    loop_wall(s->worker->loop), &row, NULL)) {
	case SUPPRESS_NOT:
		return false;
	case SUPPRESS_UNREADABLE:
		/* Neither sent to one who is not to be mailed, nor bounced for our fault. */
		reply_suppressed(s, rcpt, "451 4.3.0 The suppression list cannot be read, try again later");
		break;
	case SUPPRESS_IS:
		time_rfc3339(row.r.when, since);
		auth_text(cause, sizeof cause, row.r.cause != NULL ? row.r.cause : "");
		snprintf(line, sizeof line, "550 5.7.1 Recipient is suppressed: %s%s%s%s since %s, scope %s",
		    suppress_reason_names[row.r.reason], *cause != '\0' ? " (" : "", cause, *cause != '\0' ? ")" : "",
		    since, suppress_scope_names[row.r.scope]);
		suppress_row_clear(&row);
		reply_suppressed(s, rcpt, line);
		break;
	}
	s->tx.n_refused++;
	s->tx.n_suppressed++;
	return true;
}
