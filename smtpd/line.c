/* Finds a command line in the input buffer (worker role). Every byte is hostile. RFC 5321 2.3.8: only CRLF ends a
 * line; accepting a bare LF is how one command becomes two. */
#include <string.h>

#include "smtpd/line.h"

static enum line_status
check(const unsigned char *p, size_t lf, char *out)
{
	if (lf == 0 || p[lf - 1] != '\r')
		return LINE_BARE_LF;
	if (memchr(p, '\r', lf - 1) != NULL)
		return LINE_BARE_CR;
	memcpy(out, p, lf - 1);
	out[lf - 1] = '\0';
	return memchr(p, '\0', lf - 1) != NULL ? LINE_NUL : LINE_OK;
}

enum line_status
line_peek(struct evbuffer *in, size_t limit, char *out, size_t *taken_r)
{
	size_t have = evbuffer_get_length(in), n;
	const unsigned char *p, *lf;

	*taken_r = 0;
	out[0] = '\0';
	if (have == 0)
		return LINE_MORE;
	/* Most lines lie whole in the first chain: no byte is moved for them. */
	if ((n = evbuffer_get_contiguous_space(in)) > limit + 2)
		n = limit + 2;
	p = evbuffer_pullup(in, (ssize_t)n);
	if ((lf = memchr(p, '\n', n)) == NULL && n < have && n < limit + 2) {
		n = have < limit + 2 ? have : limit + 2;
		p = evbuffer_pullup(in, (ssize_t)n);
		lf = memchr(p, '\n', n);
	}
	if (lf == NULL)
		return n >= limit + 2 ? LINE_TOO_LONG : LINE_MORE;
	*taken_r = (size_t)(lf - p) + 1;
	return check(p, (size_t)(lf - p), out);
}
