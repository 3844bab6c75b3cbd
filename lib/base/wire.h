/* Field-by-field encoding for frames between processes and for records on disk: big-endian integers, byte strings
 * with a u32 length. Never a struct: padding and layout are nobody's business. A reader that runs short sets
 * `bad`, returns zeros from then on and is checked once, at the end (rbuf_done). */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
	const char *base; /* not NUL-terminated */
	size_t len;
};

struct wbuf {
	uint8_t *p;
	size_t len;
	size_t cap;
};

void wbuf_init(struct wbuf *);
void wbuf_reset(struct wbuf *); /* len = 0, keeps the memory */
void wbuf_clear(struct wbuf *); /* frees the memory */
void wbuf_reserve(struct wbuf *, size_t more);
void wbuf_u8(struct wbuf *, uint8_t);
void wbuf_u16(struct wbuf *, uint16_t);
void wbuf_u32(struct wbuf *, uint32_t);
void wbuf_u64(struct wbuf *, uint64_t);
void wbuf_raw(struct wbuf *, const void *, size_t);
void wbuf_bytes(struct wbuf *, const void *, size_t); /* u32 length, then the bytes */
void wbuf_str(struct wbuf *, const char *);           /* NULL is written as "" */

struct rbuf {
	const uint8_t *p;
	size_t len;
	size_t pos;
	bool bad;
};

void rbuf_init(struct rbuf *, const void *, size_t);
size_t rbuf_left(const struct rbuf *);
uint8_t rbuf_u8(struct rbuf *);
uint16_t rbuf_u16(struct rbuf *);
uint32_t rbuf_u32(struct rbuf *);
uint64_t rbuf_u64(struct rbuf *);
/* Copies exactly n bytes, zeros if short. */
void rbuf_raw(struct rbuf *, void *, size_t n);
/* Points into the reader's memory; longer than max: bad. */
struct slice rbuf_bytes(struct rbuf *, size_t max);
/* A new NUL-terminated string; NUL inside or longer than max: bad and "". The caller frees it. */
char *rbuf_strdup(struct rbuf *, size_t max) __attribute__((warn_unused_result));
/* True if nothing was short and nothing is left over. */
bool rbuf_done(const struct rbuf *) __attribute__((warn_unused_result));

#endif
