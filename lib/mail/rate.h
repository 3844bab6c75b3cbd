/* Rates as policy, shaping data and the admin command write them ('100/s', '2000/h', '10/5min', '1/d,max_burst=1'),
 * and the generic cell rate algorithm over one number a bucket: the theoretical arrival time (TAT) of the next event.
 * Whoever keeps buckets (deliverd's table, queued's queues, smtpd's users) keeps TATs and asks here. */
#ifndef MAIL_RATE_H
#define MAIL_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rate {
	int64_t quantity; /* events ... 0: no rate was given */
	int64_t period;   /* ... in so many ms */
	int64_t burst;    /* that may come at once; at least 1 */
};

/* PACED: without max_burst= what is due in one second, at least 1: any minute then holds at most the rate and 1/60 of
 * it (KumoMTA: the whole quantity, which doubles the first period). BUDGET: the whole quantity, for what is counted
 * like money (source_selection_rate). */
enum rate_default { RATE_PACED, RATE_BUDGET };

#define RATE_QUANTITY_MAX 1000000000
#define RATE_PERIOD_MAX (100 * 86400000ll) /* ms */
#define RATE_TEXT 80

/* A prefix 'local:' (KumoMTA) is taken and means nothing here. NULL, or a sentence about the text (static) to put
 * behind it: "is not a rate (...)". *out is changed only if all is right. */
const char *rate_parse(const char *text, enum rate_default, struct rate *out);
/* "2000/h,max_burst=5"; the burst is left out where rate_parse would find it. Returns out. */
const char *rate_format(const struct rate *, enum rate_default, char out[RATE_TEXT]);
/* Whether a is stricter than b: less in the long run, then the smaller burst. No rate is the least strict. */
bool rate_is_stricter(const struct rate *a, const struct rate *b);

/* Times are nanoseconds of one clock of the caller's. tat: what the bucket holds; 0: never used. */
/* How long until n events may happen; 0: now. n over the burst counts as the burst. */
int64_t rate_wait(const struct rate *, int64_t tat, int64_t now, int64_t n);
/* The bucket's new TAT after n events at now, whether or not they were due. A TAT that no sequence of takes can have
 * led to (a clock that was set back, a neighbour that wrote nonsense) counts as a full burst spent. */
int64_t rate_take(const struct rate *, int64_t tat, int64_t now, int64_t n);
/* The TAT after giving n back that were taken and not used. */
int64_t rate_give_back(const struct rate *, int64_t tat, int64_t n);
/* How much of the burst is spent: 0 (none) to 1 (nothing may happen now). */
double rate_fill(const struct rate *, int64_t tat, int64_t now);

#endif
