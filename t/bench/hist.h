/* A histogram of microseconds with log-linear buckets (like HdrHistogram): whatever is put in, a percentile is less
 * than 0.4 % off, in 40 KB of memory. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>
#include <stdio.h>

#define HIST_LINEAR 256 /* below this each value has a bucket of its own */
#define HIST_HALVES 36  /* doublings above it: 2^44 us are half a year */
#define HIST_BUCKETS (HIST_LINEAR + HIST_HALVES * (HIST_LINEAR / 2))

struct hist {
	uint64_t n[HIST_BUCKETS];
	uint64_t count;
	int64_t max;
	double sum;
};

/* Negative values count as 0. */
void hist_add(struct hist *, int64_t us);
/* p from 0 to 1; microseconds. 0 if nothing was put in. */
double hist_percentile(const struct hist *, double p);
/* {"count":1,"mean_ms":...,"p50_ms":...,"p90_ms":...,"p99_ms":...,"p999_ms":...,"max_ms":...} */
void hist_json(const struct hist *, FILE *);

#endif
