/* Taking connections (worker role): the listeners' events, limits, pauses. */
#ifndef SMTPD_ACCEPT_H
#define SMTPD_ACCEPT_H

#include "smtpd/worker.h"

struct acceptor;
struct acceptor *acceptor_new(struct worker *);
void acceptor_free(struct acceptor **); /* closes the sockets: this worker takes no more connections */
/* Takes over the descriptor. */
void acceptor_add(struct acceptor *, int fd, enum listener_kind);

#endif
