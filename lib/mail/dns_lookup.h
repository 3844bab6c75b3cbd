/* One question to the dns role: MX of a name, then the addresses of each host, or of the name itself; or records of one
 * type. */
#ifndef MAIL_DNS_LOOKUP_H
#define MAIL_DNS_LOOKUP_H

#include "base/loop.h"
#include "mail/dns_answer.h"
#include "mail/dns_link.h"

struct ub_ctx;

typedef void dns_lookup_fn(const struct dns_reply *, void *arg);
/* Calls done exactly once, perhaps before it returns, within ask->timeout. */
void dns_lookup_start(struct loop *, struct ub_ctx *, const struct dns_ask *ask, dns_lookup_fn *done, void *arg);

/* What an MX answer says, pure: DNS_OK and hosts in *mx (not more than limit, worse preferences cut first);
 * DNS_NULL_MX; or DNS_NO_ADDRESS if there is no MX record at all. */
enum dns_status dns_mx_hosts(const struct dns_answer *, unsigned limit, struct mx_list **mx);

#endif
