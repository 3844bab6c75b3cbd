/* Receives the content of one message, by DATA or by BDAT, in pieces of any size: finds the end, removes dot-stuffing,
 * judges line ends, splits the header block from the body, counts and notes what the next hop must know. Pure: bytes
 * in, buffers and a verdict out. Whatever the pieces, the result is the same. */
#ifndef SMTPD_CONTENT_H
#define SMTPD_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"

enum content_error {
	CONTENT_GOOD,
	CONTENT_BARE_LF,
	CONTENT_BARE_CR,
	CONTENT_HAS_NUL,
	CONTENT_LONG_LINE,
	CONTENT_BIG_HEADER,
	CONTENT_TOO_BIG,
	CONTENT_ERRORS
};

struct content_limits {
	uint64_t size;       /* octets of content; 0: none */
	size_t line;         /* octets of a line without CRLF; 0: none */
	size_t header;       /* octets of the header block */
	bool is_normalizing; /* bare LF becomes CRLF, bare CR a space, instead of an error */
};

struct content {
	struct content_limits limits;
	struct wbuf head; /* header block as it came, the blank line included (added if the body follows without one) */
	struct wbuf body; /* what has not been taken away by the caller (streaming) */
	uint64_t size;    /* octets of content so far, on the wire without stuffing */
	uint64_t discarded; /* octets read after the first error */
	enum content_error error; /* the first one; from then on nothing is kept */
	bool has_8bit, head_has_8bit, has_dots, added_eol;
	/* private */
	uint8_t state;
	bool in_body;
	bool is_strict_bol; /* the last line ended in CRLF */
	size_t line_len;
	size_t line_start;  /* of the current line in head */
};

void content_init(struct content *, const struct content_limits *);
void content_clear(struct content *);
/* DATA: returns how many bytes it took; *end_r once CRLF.CRLF was read (nothing behind it is taken). */
size_t content_data(struct content *, const char *p, size_t n, bool *end_r);
/* BDAT: takes all. Bare LF is normalised in any case: no line of a chunk can end the message. */
void content_chunk(struct content *, const char *p, size_t n);
/* After the last chunk: completes the last line. */
void content_chunks_end(struct content *);
/* A whole reply for the error: "550 5.6.11 ...". */
const char *content_error_reply(enum content_error);

#endif
