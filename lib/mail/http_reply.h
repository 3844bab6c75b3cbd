/* The answer to one HTTP/1.1 GET (RFC 9110, RFC 9112), read strictly: what MTA-STS needs of it and no more. Pure. */
#ifndef MAIL_HTTP_REPLY_H
#define MAIL_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX (16u << 10)
/* Octets of an answer: small chunks cost most. */
#define HTTP_WIRE_MAX(body) (HTTP_HEAD_MAX + 4 * (size_t)(body) + 4096)
#define HTTP_TYPE_MAX 64

enum http_state { HTTP_MORE, HTTP_DONE, HTTP_BAD };

struct http_reply {
	int status;
	char type[HTTP_TYPE_MAX]; /* of Content-Type, lower case, without parameters */
	char *body;               /* malloced with a NUL behind it, set with HTTP_DONE */
	size_t len;
	const char *err;          /* static, with HTTP_BAD */
};

/* From what has come so far, always from the start. is_end: no more will come (TLS said so). The body of another
 * status than 200 is not read: HTTP_DONE comes with the head. */
enum http_state http_reply_parse(const char *, size_t len, bool is_end, size_t body_max, struct http_reply *);
void http_reply_clear(struct http_reply *);

#endif
