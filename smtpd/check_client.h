/* The worker's side of the check link: asks about a message or a name, and hears later. What the role does not answer,
 * because it died or in time, is temperror: no mail waits for it longer, and none is lost to it. */
#ifndef SMTPD_CHECK_CLIENT_H
#define SMTPD_CHECK_CLIENT_H

#include "base/loop.h"
#include "mail/dns_client.h"

#include "smtpd/check_link.h"

#define CHECK_ANSWER_MS 20000

struct check_client;
struct check_request;

/* Content: octets of header block and body, one behind the other. 0, or -1: they cannot be had. */
typedef int check_read_fn(void *arg, uint64_t offset, uint8_t *buf, size_t n);
/* The results are valid during the call. */
typedef void check_fn(const struct auth_results *, void *arg);

/* dns: who is asked for what the role wants to know; question_ms: for how long. */
struct check_client *check_client_new(struct loop *, struct dns_client *dns, int64_t question_ms);
void check_client_free(struct check_client **);
/* A (new) role at the other end of fd, which is taken over. */
void check_client_set_peer(struct check_client *, int fd);
/* Never calls fn before it returns. read: NULL if there is no content (then AUTH_WANT_SPF is all that can be asked). */
struct check_request *check_client_ask(struct check_client *, const struct check_begin *, check_read_fn *read,
    check_fn *fn, void *arg);
/* The asker is gone. */
void check_client_cancel(struct check_client *, struct check_request **);

#endif
