/* What every decoder of foreign bytes is put through: cut at every byte, one byte too many, flipped bits, garbage.
 * Inputs lie in heap blocks of their exact size, so that the address sanitizer sees every read beyond the end. */
#ifndef UNIT_DECODER_H
#define UNIT_DECODER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 0 if the bytes were accepted; frees what was decoded. */
typedef int decoder_fn(const uint8_t *, size_t);

static inline int
decoder_run(decoder_fn *decode, const uint8_t *p, size_t len)
{
	uint8_t *exact = malloc(len == 0 ? 1 : len);
	int result;

	assert_non_null(exact);
	if (len > 0)
		memcpy(exact, p, len);
	result = decode(exact, len);
	free(exact);
	return result;
}

/* A generator of its own: a failure can be repeated. */
static inline uint32_t
decoder_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static inline void
decoder_check(decoder_fn *decode, const uint8_t *good, size_t len)
{
	uint8_t *copy = malloc(len + 1);
	uint8_t garbage[512];
	uint32_t state = 0x9e3779b9;

	assert_non_null(copy);
	assert_int_equal(decoder_run(decode, good, len), 0);
	for (size_t n = 0; n < len; n++)
		if (decoder_run(decode, good, n) != -1)
			fail_msg("accepted when cut at byte %zu of %zu", n, len);
	memcpy(copy, good, len);
	copy[len] = 0;
	assert_int_equal(decoder_run(decode, copy, len + 1), -1);
	/* Flipped bits may decode to something else; they may not do harm. */
	for (size_t i = 0; i < len * 8; i++) {
		memcpy(copy, good, len);
		copy[i / 8] ^= (uint8_t)(1u << i % 8);
		decoder_run(decode, copy, len);
	}
	for (unsigned round = 0; round < 20000; round++) {
		size_t n = decoder_random(&state) % sizeof(garbage);

		for (size_t i = 0; i < n; i++)
			garbage[i] = (uint8_t)(decoder_random(&state) >> 9);
		/* Half of them begin well. */
		if (round % 2 == 1)
			memcpy(garbage, good, n / 2 < len ? n / 2 : len);
		decoder_run(decode, garbage, n);
	}
	free(copy);
}

#endif
