/* The worker's side of the auth link: asks, and hears later. A helper that dies answers everybody with AUTH_BUSY. */
#ifndef SMTPD_AUTH_H
#define SMTPD_AUTH_H

#include "base/loop.h"

#include "smtpd/auth_link.h"

struct auth;
struct auth_request;
/* user: valid during the call, only if AUTH_OK. */
typedef void auth_fn(enum auth_status, const struct user *, void *arg);

struct auth *auth_new(struct loop *);
void auth_free(struct auth **);
/* A (new) helper at the other end of fd, which is taken over. */
void auth_set_partner(struct auth *, int fd);
/* NULL: cannot ask now (no helper, or too many questions); fn is not called. It is never called before this returns. */
struct auth_request *auth_ask(struct auth *, enum auth_kind, const char *name, const char *password, auth_fn *,
    void *arg);
/* The asker is gone. */
void auth_cancel(struct auth *, struct auth_request **);

#endif
