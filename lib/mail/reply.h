/* SMTP replies as a client reads them (RFC 5321 4.2, RFC 2034, RFC 3463). Hostile: bounded at 100 lines and 8 KiB,
 * controls replaced by '?', invalid UTF-8 likewise; the code of all lines must agree. */
#ifndef MAIL_REPLY_H
#define MAIL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_TEXT_MAX 4096

struct enhanced_code {
	uint8_t class; /* 0: none given */
	uint16_t subject;
	uint16_t detail;
};

struct reply {
	int code; /* 200..599 */
	struct enhanced_code enhanced;
	char text[REPLY_TEXT_MAX]; /* lines joined with '\n', enhanced code removed from each */
	bool is_complete;
	unsigned lines;
	size_t len;    /* of text */
	size_t octets; /* received so far, line ends counted */
};

void reply_reset(struct reply *);
/* One line without its CRLF. 0: more follows; 1: complete; -1: not SMTP (*err_r static). */
int reply_line(struct reply *, const char *line, size_t len, const char **err_r) __attribute__((warn_unused_result));
/* "5.1.1" at the start of s; returns its length, 0 if none. */
size_t enhanced_parse(const char *s, size_t len, struct enhanced_code *out);
/* "5.1.1" */
void enhanced_format(const struct enhanced_code *, char out[16]);

#endif
