/* Token buckets that processes share and that outlive them: a table in a file (queued makes it, every deliverd
 * maps it) or
 * in memory alone (smtpd's users). A bucket is a name and one number (rate.h); taking is a compare-and-swap, so that no
 * lock can be held by a process that died. Nothing is configured here: who takes says the rate, and if that changes,
 * what was taken stays taken. */
#ifndef MAIL_BUCKETS_H
#define MAIL_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "mail/rate.h"

struct buckets;

#define BUCKETS_FORMAT 1 /* of the table */

/* The descriptor of a table, or -1 (errno). The file is made if it is not there or is none of ours, and has its disk
 * space from then on, so that nobody's access can fail; after a boot its times are translated. One process does this,
 * before others map it. Whoever gets the descriptor must not be able to shrink the file (the sandbox sees to that). */
int buckets_make(const char *path);
/* A table in memory, sealed. Its users bring their own clock. */
int buckets_make_anonymous(void);
/* The descriptor stays the caller's. NULL (errno): no table. */
struct buckets *buckets_map(int fd);
/* One of this process's own, for want of a better one: no limit would be worse. */
struct buckets *buckets_private(void);
void buckets_unmap(struct buckets **);
/* Nanoseconds of the table's own clock: it runs on while daemons restart, stands still while the host is down, and
 * nobody can set it. */
int64_t buckets_now(const struct buckets *);

/* Takes n, or says how long to wait (ns) before it is worth another try. */
int64_t buckets_take(struct buckets *, const char *name, const struct rate *, int64_t now, int64_t n);
/* What was taken was not used. */
void buckets_give_back(struct buckets *, const char *name, const struct rate *, int64_t now, int64_t n);
/* Look only: how long to wait for n; how much of the burst is spent (0 to 1). */
int64_t buckets_wait(const struct buckets *, const char *name, const struct rate *, int64_t now, int64_t n);
double buckets_fill(const struct buckets *, const char *name, const struct rate *, int64_t now);

#endif
