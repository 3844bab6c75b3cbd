/* The worker's side of the sign link: asks for a signature, and hears later. The role may die: what was asked is asked
 * again of the next one, until it is too late. */
#ifndef SMTPD_SIGN_CLIENT_H
#define SMTPD_SIGN_CLIENT_H

#include "base/loop.h"

#include "smtpd/sign_link.h"

struct sign_client;
struct sign_request;
/* The answer is valid during the call. */
typedef void sign_fn(const struct sign_answer *, void *arg);

struct sign_client *sign_client_new(struct loop *);
void sign_client_free(struct sign_client **);
/* A (new) role at the other end of fd, which is taken over. */
void sign_client_set_peer(struct sign_client *, int fd);
/* Never calls fn before it returns. */
struct sign_request *sign_client_ask(struct sign_client *, const struct sign_ask *, sign_fn *, void *arg);
/* The asker is gone. */
void sign_client_cancel(struct sign_client *, struct sign_request **);

#endif
