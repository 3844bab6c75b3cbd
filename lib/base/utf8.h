/* One question: how long is the valid UTF-8 sequence that starts here (RFC 3629 section 4: no overlong form, no
 * surrogate, nothing above U+10FFFF). Log, JSON and address code ask it of hostile bytes. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 1 to 4, or 0 if the bytes at p (at least one, at most left) do not begin with a complete valid sequence. */
size_t utf8_seq_len(const uint8_t *p, size_t left);
bool utf8_is_valid(const void *, size_t);

#endif
