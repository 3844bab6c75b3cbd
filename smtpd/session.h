/* One SMTP session (RFC 5321): what the worker does with it. */
#ifndef SMTPD_SESSION_H
#define SMTPD_SESSION_H

#include <sys/socket.h>

#include "smtpd/worker.h"

/* Takes over an accepted, non-blocking socket; the worker owns the session. is_counted: clients_remove() at its end. */
void session_new(struct worker *, int fd, enum listener_kind, const struct sockaddr *, socklen_t, bool is_counted);
/* A segment came, or queued changed its mind about new mail: whoever waits for that looks again. */
void session_wake_all(struct worker *);
/* Ends the sessions to which an end now does no harm, with 421. */
void session_drain_idle(struct worker *);
/* Ends all but those whose message is being made durable. */
void session_stop_all(struct worker *);
/* If the worker is to end with its last session, and there is none: soon. */
void session_check_last(struct worker *);
/* At the very end of the process. */
void session_free_all(struct worker *);
/* Answers a connection that is not accepted, without a session, and closes it. text: "421 4.7.0 ..." */
void session_refuse(struct worker *, int fd, enum listener_kind, const struct sockaddr *, const char *text);

#endif
