/* Who has how many connections, and which user has sent how much: what this worker counts. Each worker counts for
 * itself, against its share of the limit. */
#ifndef SMTPD_LIMITS_H
#define SMTPD_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "smtpd/user.h"

struct clients;
struct clients *clients_new(unsigned limit); /* 0: none */
void clients_free(struct clients **);
/* An IPv6 client is its /64. false: it has as many as it may; nothing is counted then. */
bool clients_add(struct clients *, const struct sockaddr *);
void clients_remove(struct clients *, const struct sockaddr *);

struct rates;
struct rates *rates_new(unsigned shares); /* each user's rate is divided by this */
void rates_free(struct rates **);
/* How long the user must wait before the next message (ms), 0: now. */
int64_t rates_wait(struct rates *, const struct user *, int64_t now);
/* One message was accepted. */
void rates_take(struct rates *, const struct user *, int64_t now);

#endif
