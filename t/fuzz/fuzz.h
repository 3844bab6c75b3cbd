/* What fuzz targets share. A target calls FUZZ_ASSERT for what must be true: a failure is a crash, which the fuzzer
 * keeps. Inputs that consist of steps are read with fuzz_u8() and fuzz_take(). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define FUZZ_ASSERT(claim) ((claim) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

/* The next byte; 0 at the end. */
static inline uint8_t
fuzz_u8(struct fuzz_in *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

/* The next n bytes, or as many as there are. */
static inline const uint8_t *
fuzz_take(struct fuzz_in *in, size_t *n)
{
	const uint8_t *p = in->p;

	if (*n > in->left)
		*n = in->left;
	in->p += *n;
	in->left -= *n;
	return p;
}

/* Fit for a log line, an event and a terminal: UTF-8 without controls. */
static inline bool
fuzz_is_clean(const char *text)
{
	if (!utf8_is_valid(text, strlen(text)))
		return false;
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

/* No line end but CRLF (RFC 5321 section 2.3.8). */
static inline bool
fuzz_is_crlf_only(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
			return false;
		if (text[i] == '\r' && (i + 1 == len || text[i + 1] != '\n'))
			return false;
	}
	return true;
}

#endif
