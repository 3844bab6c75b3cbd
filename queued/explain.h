/* posthorn explain: what would happen to mail for an address, and why. queued tells what it knows of the queue, asks
 * the consumer of the queue's pool what it knows of the way from there, and passes its answers on. */
#ifndef QUEUED_EXPLAIN_H
#define QUEUED_EXPLAIN_H

#include <stdint.h>

#include "mail/queue_link.h"

struct client;
struct consumer;
struct queued;

/* Answers an admin's request, at once or when the consumer has answered. */
void explain_start(struct client *, uint32_t request, const struct ql_admin *);
/* The admin has gone. */
void explain_drop(struct client *);
/* The consumer has gone: who waits for it is told so. */
void explain_drop_consumer(struct queued *, struct consumer *);
/* Gives up on consumers that do not answer; called every second. */
void explain_second(struct queued *);
/* QL_ANSWER, QL_ANSWER_END */
void explain_on_answer(struct ipc *, struct ipc_msg *, void *arg);
void explain_on_end(struct ipc *, struct ipc_msg *, void *arg);

#endif
