/* The histogram of latencies (t/bench/hist.h), for load (reply times) and sink (time in the queue). */
#include "t/bench/hist.h"

#define HALF (HIST_LINEAR / 2)

/* Above HIST_LINEAR the leading eight bits choose the bucket: each doubling has 128 of them. */
static unsigned
bucket_of(uint64_t us)
{
	unsigned shift = 0;

	while (us >> shift >= HIST_LINEAR && shift < HIST_HALVES)
		shift++;
	if (us >> shift >= HIST_LINEAR)
		return HIST_BUCKETS - 1;
	return shift == 0 ? (unsigned)us : shift * HALF + (unsigned)(us >> shift);
}

/* The middle of a bucket. */
static double
value_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < HIST_LINEAR)
		return bucket;
	shift = (bucket - HALF) / HALF;
	bucket -= shift * HALF;
	return ((double)bucket + 0.5) * (double)(UINT64_C(1) << shift);
}

void
hist_add(struct hist *h, int64_t us)
{
	if (us < 0)
		us = 0;
	h->n[bucket_of((uint64_t)us)]++;
	h->count++;
	h->sum += (double)us;
	if (us > h->max)
		h->max = us;
}

double
hist_percentile(const struct hist *h, double p)
{
	uint64_t want = (uint64_t)(p * (double)h->count), seen = 0;

	if (h->count == 0)
		return 0;
	if (want >= h->count)
		want = h->count - 1;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		if ((seen += h->n[i]) > want) {
			double v = value_of(i);

			return v > (double)h->max ? (double)h->max : v;
		}
	return (double)h->max;
}

void
hist_json(const struct hist *h, FILE *f)
{
	fprintf(f, "{\"count\":%llu,\"mean_ms\":%.3f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,"
	    "\"p999_ms\":%.3f,\"max_ms\":%.3f}", (unsigned long long)h->count,
	    h->count == 0 ? 0 : h->sum / (double)h->count / 1000, hist_percentile(h, .5) / 1000,
	    hist_percentile(h, .9) / 1000, hist_percentile(h, .99) / 1000, hist_percentile(h, .999) / 1000,
	    (double)h->max / 1000);
}
