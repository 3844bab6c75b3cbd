/* The asking side of the dns role, for a process that wants records of a name now and then (deliverd/resolve.c has its
 * own, with a cache of sites). A role that dies answers everybody with DNS_TEMPORARY. */
#ifndef MAIL_DNS_CLIENT_H
#define MAIL_DNS_CLIENT_H

#include "base/loop.h"
#include "mail/dns_answer.h"
#include "mail/dns_link.h"

struct dns_client;
struct dns_request;
/* The reply is valid during the call. */
typedef void dns_client_fn(const struct dns_reply *, void *arg);

struct dns_client *dns_client_new(struct loop *);
void dns_client_free(struct dns_client **);
/* A (new) role at the other end of fd, which is taken over. */
void dns_client_set_peer(struct dns_client *, int fd);
/* The same by a link that is another's, NULL when that has gone. Its owner hands on what comes for ids with this bit,
 * which it never uses itself. */
#define DNS_CLIENT_IDS 0x80000000u
struct ipc;
void dns_client_share(struct dns_client *, struct ipc *);
void dns_client_answer(struct dns_client *, uint32_t id, const struct dns_reply *);
/* The records of that type (DNS_TYPE_*) of a name for which dns_name_askable(). NULL: cannot ask now; fn is not called.
 * It is never called before this returns. */
struct dns_request *dns_client_ask(struct dns_client *, const char *name, uint16_t type, uint32_t timeout_ms,
    dns_client_fn *, void *arg);
/* The asker is gone. */
void dns_client_cancel(struct dns_client *, struct dns_request **);

#endif
