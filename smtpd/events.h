/* Events of policy in a session: asks, waits if the handler waits for a name server, and goes on. */
#ifndef SMTPD_EVENTS_H
#define SMTPD_EVENTS_H

#include "mail/policy_call.h"

#include "smtpd/session_private.h"

bool event_wanted(const struct session *, enum policy_call_id);
/* then() is called at once if there is no handler or it did not wait; else later, the session in WAIT_POLICY until
 * then. conn of the call is filled in here; what else it points to must stay. */
void event_ask(struct session *, struct policy_call *, event_then_fn *then);
/* The reply to what policy refused. False: it passed. rcpt: NULL or the recipient it is about. */
bool event_refused(struct session *, const struct policy_verdict *, enum phase, const char *rcpt);
/* The session ends, or starts over. */
void event_cancel(struct session *);

#endif
