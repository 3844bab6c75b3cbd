/* How much each user has sent, over all workers: one table in shared memory, made by the parent before it starts a role
 * and handed to every worker like a listening socket. It outlives workers and reloads, not the parent. */
#ifndef SMTPD_RATES_H
#define SMTPD_RATES_H

#include <stdint.h>

#include "smtpd/user.h"

#define RATES_NAME "rates" /* of the descriptor among the listening sockets */

struct rates;

/* A new table: its descriptor, or -1 (errno). Its size can never change, so nobody's access can fail. */
int rates_make(void);
/* Maps a table; the descriptor stays the caller's. NULL (errno): it is none. */
struct rates *rates_new(int fd);
void rates_free(struct rates **);

/* Takes a message of the user's rate (0), or says how long to wait before it is worth another try (ms). now:
 * loop_now(). */
int64_t rates_take(struct rates *, const struct user *, int64_t now);
/* What was taken was not used. */
void rates_give_back(struct rates *, const struct user *);

#endif
