/* When each scheduled queue with mail in the index next wants attention: 16 bytes in a heap and 8 in a table for
 * each such queue, and nothing else in memory while it sleeps. */
#ifndef QUEUED_WAKE_H
#define QUEUED_WAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wake;

/* Notes beside the time. */
enum {
	WAKE_UNROUTED = 1, /* no pool: to be tried again at once after a reload */
	WAKE_PARKED = 2,   /* due; waits among its pool's parked queues, not for a time */
	WAKE_SUSPENDED = 3, /* due; waits for the end of an override */
	WAKE_THROTTLED = 4  /* due; behind a long line for a rate */
};

struct wake *wake_new(void);
void wake_free(struct wake **);
/* Sets or moves the time of a queue. */
void wake_set(struct wake *, uint32_t queue, int64_t due, uint8_t note);
/* Like wake_set(), but only if that is earlier than what is set, and not for parked queues. */
void wake_sooner(struct wake *, uint32_t queue, int64_t due);
void wake_remove(struct wake *, uint32_t queue);
/* The earliest: false if there is none. */
bool wake_first(const struct wake *, uint32_t *queue_r, int64_t *due_r);
int64_t wake_get(const struct wake *, uint32_t queue); /* INT64_MAX: none */
uint8_t wake_note(const struct wake *, uint32_t queue); /* 0: none */
/* Every queue with that note becomes due. */
void wake_noted(struct wake *, uint8_t note, int64_t due);
/* Likewise, one after the other: at a random moment each, all within half a minute. */
void wake_noted_slowly(struct wake *, uint8_t note, int64_t due);
size_t wake_count(const struct wake *);
size_t wake_count_noted(const struct wake *, uint8_t note);

#endif
