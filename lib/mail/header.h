/* Scanning a message header block without building a tree: names, values, extents. Works on bytes with length (NUL may
 * occur).
 * Input has CRLF line ends only. */
#ifndef MAIL_HEADER_H
#define MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/wire.h"

struct header_field {
	struct slice name;  /* without ':' */
	struct slice value; /* raw, folding included, without the final CRLF */
	struct slice whole; /* name through final CRLF */
};

struct header_iter {
	const char *p;
	const char *end;
};

void header_iter_init(struct header_iter *, const char *block, size_t len);
/* True and *f filled; false at the end of the block (blank line, or a line that is no header field). */
bool header_next(struct header_iter *, struct header_field *f);
/* Length of the header block including the blank line that ends it; if there is no header at all (first line is not a
 * field), 0; if the blank line is missing, len. A block that is cut off by a line which is neither blank nor a field
 * ends before that line: it has no blank line at its end then, and whoever passes the message on adds one. */
size_t header_block_len(const char *msg, size_t len);
bool header_name_is(const struct header_field *, const char *name);
/* First field of that name. */
bool header_find(const char *block, size_t len, const char *name, struct header_field *f);
/* Unfolded value, outer white space trimmed, NUL-terminated, cut at outsize - 1; returns its length. */
size_t header_value(const struct header_field *, char *out, size_t outsize);
unsigned header_count(const char *block, size_t len, const char *name);

#endif
