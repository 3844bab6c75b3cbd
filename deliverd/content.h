/* The content of a message on its way from the spool to the wire: trace header, stored headers, body; dots stuffed,
 * CRLF.CRLF at the end. Checked before the first byte goes: a record that is damaged is not sent. Small records in
 * one piece; large ones in chunks, as fast as the peer reads. */
#ifndef DELIVERD_CONTENT_H
#define DELIVERD_CONTENT_H

#include <event2/buffer.h>
#include <stdbool.h>

#include "mail/record.h"

struct content;

/* A header block in place of the record's. base NULL: the record's own. */
struct content_head {
	const char *base;
	size_t len;
};

/* Bytes on the wire before dot-stuffing, for SIZE=; trace_len: of the trace header. */
uint64_t content_size(const struct record *, const struct content_head *, size_t trace_len);
/* Appends the first bytes to out, trace (a whole header with CRLF) in front. 1: all of it, with the final dot;
 * 0: more to come, by *c_r; -1 and *err_r (static): damaged or unreadable; -2: in a form that must not be sent.
 * *is_verified: in: need not be checked again; out: was right. */
int content_begin(struct content **c_r, int fd, const struct record *rec, const char *trace,
    const struct content_head *head, struct evbuffer *out, bool *is_verified, const char **err_r)
    __attribute__((warn_unused_result));
/* More, once out has drained. 1: done; 0: call again; -1, -2: as above. */
int content_more(struct content *, struct evbuffer *out, const char **err_r) __attribute__((warn_unused_result));
void content_free(struct content **);

/* The encoder alone, for tests and fuzzing: state from one piece to the next. */
struct content_state {
	char last; /* '\n' at the start */
};
/* Appends p[0..n) with dots stuffed. -1 if a CR or LF stands alone (part of it may have been appended). */
int content_encode(struct content_state *, const char *p, size_t n, struct evbuffer *out)
    __attribute__((warn_unused_result));
/* The end: CRLF if the last line has none, and the dot. -1 after a lone CR. */
int content_encode_end(struct content_state *, struct evbuffer *out) __attribute__((warn_unused_result));

#endif
