/* The sts role: MTA-STS policies (RFC 8461), fetched from web servers, kept on disk. In a process of its own, since it
 * speaks HTTPS to whoever a domain names. What the net role asks: sts_link.h. */
#ifndef DELIVERD_STSD_H
#define DELIVERD_STSD_H

#include <openssl/ssl.h>

#include "base/loop.h"
#include "mail/params.h"

struct stsd;
/* Opens the cache; takes over the context. */
struct stsd *stsd_new(struct loop *, const struct params *, SSL_CTX *);
void stsd_free(struct stsd **);
/* The net role's end of a socketpair. */
void stsd_set_peer(struct stsd *, int fd);
/* The role's whole life. */
int stsd_main(const struct params *, const char *user);

#endif
