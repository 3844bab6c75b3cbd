/* The suppression list before each attempt. */
#ifndef QUEUED_SUPPRESSED_H
#define QUEUED_SUPPRESSED_H

#include <stdbool.h>

struct queued;
struct qenv;
struct squeue;

/* The envelope's message must have been read. True if it is not to be offered: its recipient is suppressed (the
 * envelope has ended), or nobody can tell (it waits). */
bool suppressed_take(struct queued *, struct qenv *);
/* For people, malloced: why mail for the address in that queue is not sent; NULL: it is not suppressed. A domain alone
 * is as good as an address. sender_domain: NULL: any. */
char *suppressed_why(struct queued *, const struct squeue *, const char *address, const char *sender_domain);

#endif
