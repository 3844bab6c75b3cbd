/* Questions of a command to name servers, by a child (dns_child.h). */
#ifndef POSTHORN_DNS_ASK_H
#define POSTHORN_DNS_ASK_H

#include "mail/dns_client.h"
#include "mail/params.h"

/* All at once, for records of one type, a minute at most: fn is called for each that was answered. 0, or -1 after a
 * sentence. */
typedef void dns_ask_fn(size_t i, const struct dns_reply *, void *arg);
int dns_ask_all(const struct params *, uint16_t type, const char *const *names, size_t n, dns_ask_fn *, void *arg)
    __attribute__((warn_unused_result));

#endif
