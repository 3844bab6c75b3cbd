/* The asking side of the parse role (parse_role.h): one question is with the role, the others wait here, so that
 * whatever ends the role is to blame on one message. That question fails, and the next role is asked the others. */
#ifndef MAIL_PARSE_CLIENT_H
#define MAIL_PARSE_CLIENT_H

#include "base/loop.h"
#include "mail/parse_link.h"

#define PARSE_PENDING_MAX 64 /* questions, of at most PARSE_ASK_MAX octets */

enum parse_outcome {
	PARSE_READ,  /* there is an answer */
	PARSE_BROKE, /* the role died of it, overran, or answered nonsense: to be remembered against the message */
	PARSE_AWAY   /* there was no role for some time: ask later */
};

struct parse_client;
struct parse_request;
/* answer: NULL but for PARSE_READ; may be taken over by emptying it. why: a sentence, of the others. */
typedef void parse_fn(enum parse_outcome, struct parse_answer *answer, const char *why, void *arg);

/* overrun: called when the role does not answer in time or answers nonsense: the parent is to kill it
 * (role_link_replace_partner()). */
struct parse_client *parse_client_new(struct loop *, loop_fn *overrun, void *arg);
/* For tests: how long a question may take, and how long there may be no role. */
void parse_client_set_limits(struct parse_client *, int64_t answer_ms, int64_t away_ms);
void parse_client_free(struct parse_client **);
/* A (new) role at the other end of fd, which is taken over. */
void parse_client_set_peer(struct parse_client *, int fd);
/* Copies what is asked, but for `wanted`, which must last. NULL: too many questions. fn is never called before this
 * returns. */
struct parse_request *parse_client_ask(struct parse_client *, const struct parse_ask *, parse_fn *, void *arg);
/* The asker is gone. */
void parse_client_cancel(struct parse_client *, struct parse_request **);

#endif
