/* The time that the queue goes by: milliseconds like the wall clock's, but nobody can set it. It passes as the
 * monotonic clock does while queued runs, and never goes back over a restart. Every due and expiry time in memory and
 * in the index is of this clock, so that an hour that the wall clock jumps makes nothing due, overdue or stuck. What
 * is told to others is translated. */
#ifndef QUEUED_CLOCK_H
#define QUEUED_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct queued;

struct queue_clock {
	int64_t ahead;  /* of the wall clock to the queue's */
	int64_t base;   /* of the wall clock to the monotonic one, when last looked at */
	int64_t saved_at, saved_ahead; /* what the index has */
	int64_t putting_at, putting_ahead; /* what the commit under way gives it; 0: nothing */
};

/* Reads what the index has. */
void queue_clock_load(struct queued *);
int64_t queue_now(struct queued *);
/* The wall clock's reading for a time of the queue; INT64_MAX and 0 stay. */
int64_t queue_wall(const struct queued *, int64_t when);
/* The other way round. */
int64_t queue_time(const struct queued *, int64_t wall);
/* Part of a commit: to be written at all; writing it; it is durable now. */
bool queue_clock_is_dirty(const struct queued *);
int queue_clock_store(struct queued *);
void queue_clock_stored(struct queued *);

#endif
