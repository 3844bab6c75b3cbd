/* What is random in load and sink is a function of a seed and a number (splitmix64): the same again in each run, and
 * independent of the order in which things happen. */
#ifndef BENCH_PRNG_H
#define BENCH_PRNG_H

#include <stdint.h>

static inline uint64_t
prng(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* From 0 to below 1. */
static inline double
prng_unit(uint64_t seed, uint64_t n)
{
	return (double)(prng(seed, n) >> 11) / 9007199254740992.0;
}

#endif
