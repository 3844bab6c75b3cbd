/* Questions of the admin command to name servers: the library that speaks DNS runs in a child in the jail of the
 * daemons' dns role, and dies with this command; its answers are decoded like a stranger's. */
#ifndef POSTHORN_DNS_CHILD_H
#define POSTHORN_DNS_CHILD_H

#include "mail/dns_client.h"
#include "mail/params.h"

/* All questions at once, for records of one type, a minute at most: fn is called for each that was answered. 0, or -1
 * after a sentence. */
typedef void dns_child_fn(size_t i, const struct dns_reply *, void *arg);
int dns_child_ask(const struct params *, uint16_t type, const char *const *names, size_t n, dns_child_fn *, void *arg)
    __attribute__((warn_unused_result));

#endif
