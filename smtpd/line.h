/* The one reader of command lines, for every state that reads lines. It looks and does not take: the caller drains
 * when it acts, so a command that has to wait stays where it is. */
#ifndef SMTPD_LINE_H
#define SMTPD_LINE_H

#include <event2/buffer.h>
#include <stddef.h>

enum line_status {
	LINE_OK,
	LINE_MORE,    /* no line end yet */
	LINE_TOO_LONG,/* longer than the limit: never swallowed, the connection ends */
	LINE_BARE_LF, /* LF without CR: never two commands */
	LINE_BARE_CR,
	LINE_NUL      /* complete, but holds a NUL: text is cut there */
};

/* Copies the first line without CRLF, NUL-terminated, to out (limit + 1 bytes). *taken_r: bytes to drain for it. */
enum line_status line_peek(struct evbuffer *, size_t limit, char *out, size_t *taken_r);

#endif
