/* Reading reports from segments (report_content.h), for bouncerd and fblproc. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "mail/parse_link.h"
#include "mail/report_content.h"

static bool
read_at(int fd, char *buf, size_t n, uint64_t at)
{
	ssize_t got;

	while (n > 0) {
		if ((got = pread(fd, buf, n, (off_t)at)) == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		buf += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

char *
report_content_read(int fd, const struct record *rec, size_t *len_r, const char **err_r)
{
	size_t headers = rec->headers_len < PARSE_CONTENT_MAX ? (size_t)rec->headers_len : PARSE_CONTENT_MAX;
	size_t body = rec->body_len < PARSE_CONTENT_MAX - headers ? (size_t)rec->body_len : PARSE_CONTENT_MAX - headers;
	char *buf;

	if (rec->headers_len + rec->body_len <= PARSE_CONTENT_MAX)
		return record_read_content(fd, rec, len_r, err_r);
	if (record_check_content(fd, rec, err_r) != 0)
		return NULL;
	buf = xmalloc(headers + body + 1);
	if (read_at(fd, buf, headers, rec->offset + record_headers_off(rec)) &&
	    read_at(fd, buf + headers, body, rec->offset + record_body_off(rec))) {
		*len_r = headers + body;
		return buf;
	}
	free(buf);
	*err_r = "read error on the spool";
	return NULL;
}
