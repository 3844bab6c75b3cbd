/* Who has how many connections. Each worker counts for itself, against its share of the limit. */
#ifndef SMTPD_LIMITS_H
#define SMTPD_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct clients;
struct clients *clients_new(unsigned limit); /* 0: none */
void clients_free(struct clients **);
/* An IPv6 client is its /64. false: it has as many as it may; nothing is counted then. */
bool clients_add(struct clients *, const struct sockaddr *);
void clients_remove(struct clients *, const struct sockaddr *);

#endif
