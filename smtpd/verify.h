/* Mail from outside is looked at before policy sees it: who sent it really? What turns out goes into the message's meta
 * and into its Authentication-Results field, whatever it is: nothing is refused here. */
#ifndef SMTPD_VERIFY_H
#define SMTPD_VERIFY_H

#include "smtpd/session_private.h"

/* The message is complete. True: the session waits, then() comes later. False: nothing is to be looked at. */
bool verify_begin(struct session *, void (*then)(struct session *));
/* Takes out of the header block what a stranger or a user wrote in our name. */
void verify_clean(struct session *);
void verify_reset(struct session *);
/* What policy asks for, with its sessions' content at hand. */
extern const struct policy_auth_ops verify_policy_ops;

#endif
