/* Reading MIME (RFC 2045-2047) that strangers wrote: bounces, complaints, automatic replies. The message is copied
 * once, with LF as its only line end (CRLF, LF and CR are read) and without NULs; parts are found in one pass, without
 * recursion, up to fixed limits of size, parts, depth and fields. What is beyond a limit stays in the body of the part
 * that it is in. Nothing here fails: a message that is no MIME is one part of text. Time and memory are linear in
 * what is read, and no encoding makes more out of it than twice its size.
 *
 * The inside of message/rfc822 is not looked into: it is the body of that part, and may be read as a message. */
#ifndef MAIL_MIME_H
#define MAIL_MIME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/wire.h"

enum {
	MIME_MAX_MESSAGE = 4 << 20, /* the rest is not read */
	MIME_MAX_PARTS = 64,
	MIME_MAX_DEPTH = 8,   /* of multiparts */
	MIME_MAX_FIELDS = 1000, /* in one header block */
	MIME_MAX_TYPE = 80,
	MIME_MAX_BOUNDARY = 200
};

struct mime_field {
	struct slice name;
	struct slice value; /* raw, folding included */
};

struct mime_head {
	struct mime_field *fields;
	unsigned n;
};

struct mime_part {
	unsigned depth;           /* 0: the message */
	bool is_multipart;        /* parts were found inside: they follow, one deeper */
	char type[MIME_MAX_TYPE]; /* "text/plain", lower case */
	bool is_base64, is_qp;
	struct slice head;
	struct slice body;
};

struct mime {
	char *text;
	size_t len;
	struct mime_head head; /* of the message */
	struct mime_part *parts; /* in their order; [0] is the message */
	unsigned n_parts;
	bool is_cut; /* a limit was reached */
};

void mime_read(struct mime *, const char *message, size_t len);
void mime_clear(struct mime *);
/* Index of the first part of that type at or behind `from`; n_parts if there is none. */
unsigned mime_find(const struct mime *, const char *type, unsigned from);

/* Header blocks of text with LF line ends, also those of message/delivery-status. A block ends behind its blank line,
 * or before a line that is no field; where is returned. An mbox "From " line at the top is skipped. */
size_t mime_head_read(struct mime_head *, const char *text, size_t len);
void mime_head_clear(struct mime_head *);
/* The first field of that name; NULL. */
const struct mime_field *mime_head_find(const struct mime_head *, const char *name);
/* Unfolded, trimmed, without control characters, NUL-terminated, cut at size - 1; returns its length. */
size_t mime_value(const struct mime_field *, char *out, size_t size);
/* The same as a new string of at most max octets, encoded words (RFC 2047) decoded, valid UTF-8. */
char *mime_value_text(const struct mime_field *, size_t max) __attribute__((warn_unused_result));
/* The same of the first field of that name; NULL if there is none. */
char *mime_head_text(const struct mime_head *, const char *name, size_t max) __attribute__((warn_unused_result));
/* A parameter of a value such as Content-Type's; false and "" if it is not there. */
bool mime_param(const char *value, const char *name, char *out, size_t size);

/* The decoded body: new, NUL-terminated, LF line ends, at most max octets. */
char *mime_body(const struct mime_part *, size_t max, size_t *len_r) __attribute__((warn_unused_result));
/* The same as valid UTF-8 (what is not is taken for Latin-1), HTML without its markup. */
char *mime_body_text(const struct mime_part *, size_t max, size_t *len_r) __attribute__((warn_unused_result));
/* A new string of valid UTF-8 without control characters, white space in runs of one, from any bytes; cut at max. */
char *mime_clean(const char *, size_t len, size_t max) __attribute__((warn_unused_result));

#endif
