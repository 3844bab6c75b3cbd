/* What smtpd and deliverd do alike with the first frames that queued sends them: who it is, and the event log. */
#ifndef MAIL_QUEUE_CLIENT_H
#define MAIL_QUEUE_CLIENT_H

#include <stdbool.h>

#include "mail/eventlog.h"
#include "mail/queue_link.h"
#include "mail/token.h"

/* QL_WELCOME: the name of the node to the log, the key of tokens to *token. False: malformed, the peer is dropped. */
bool queue_client_welcome(struct ipc *, struct ipc_msg *, struct eventlog *, struct token_signer *);
/* QL_LOGFD: the event log has the new descriptor. */
void queue_client_logfd(struct ipc *, struct ipc_msg *, struct eventlog *);

#endif
