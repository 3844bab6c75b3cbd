/* One question of the guard, asked of name servers: would this author's domain pass DMARC, with these signatures, this
 * return path, from this address? */
#ifndef DELIVERD_GUARD_CHECK_H
#define DELIVERD_GUARD_CHECK_H

#include "base/loop.h"
#include "mail/dns_client.h"

enum guard_result { GUARD_PASS = 1, GUARD_FAIL, GUARD_UNKNOWN /* name servers do not answer */ };

struct guard_question {
	const char *author;     /* a line of mail/author.h */
	const char *sender;     /* MAIL FROM; "": ehlo counts */
	const char *ehlo;
	const struct sockaddr *address; /* NULL: the kernel chooses */
};

struct guard_check;
/* why: a sentence, valid during the call. */
typedef void guard_check_fn(enum guard_result, const char *why, void *arg);

/* fn is called once, never before this returns; then the check is gone. */
struct guard_check *guard_check_start(struct loop *, struct dns_client *, const struct guard_question *,
    uint32_t dns_timeout, guard_check_fn *, void *arg);
/* Who asked is gone. NULL is all right. */
void guard_check_cancel(struct guard_check **);

#endif
