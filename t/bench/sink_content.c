/* What arrives after DATA: header fields line by line until the empty one, then the body in pieces as large as they
 * come: neither is copied, nothing is allocated. Only CRLF ends a line. */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/crc32c.h"
#include "base/xalloc.h"
#include "t/bench/sink.h"

void
content_start(struct peer *p)
{
	p->in_data = p->in_headers = p->line_start = true;
	if (p->sink->body_dir != NULL) {
		char *path = xasprintf("%s/%lu", p->sink->body_dir, p->sink->bodies++);

		if ((p->body = fopen(path, "we")) == NULL)
			err(1, "sink: %s", path);
		free(path);
	}
}

static void
take(struct peer *p, const char *s, size_t n)
{
	/* The trace header differs for each transaction; the checksum is of what the sender wrote. */
	if (!p->in_headers)
		p->crc = crc32c(p->crc, s, n);
	p->size += n;
	if (p->body != NULL)
		fwrite(s, 1, n, p->body);
}

/* X-Test-*: what load says about the message. */
static void
test_field(struct peer *p, const char *line, size_t n)
{
	char text[140];

	if (n < 8 || n >= sizeof(text) || strncasecmp(line, "X-Test-", 7) != 0)
		return;
	memcpy(text, line + 7, n - 7);
	text[n - 7] = '\0';
	if (strncasecmp(text, "Id: ", 4) == 0 && p->id[0] == '\0')
		snprintf(p->id, sizeof(p->id), "%.*s", (int)sizeof(p->id) - 1, text + 4);
	else if (strncasecmp(text, "Time: ", 6) == 0)
		p->sent_at = strtoll(text + 6, NULL, 10);
	else if (strncasecmp(text, "Crc: ", 5) == 0) {
		p->crc_told = (uint32_t)strtoul(text + 5, NULL, 16);
		p->has_crc_told = true;
	}
}

/* The bytes of s that were used up; *end_r: with them the content ended. */
static size_t
header_lines(struct peer *p, const char *s, size_t n, bool *end_r)
{
	size_t used = 0, len;
	const char *lf, *from = s;

	while (p->in_headers && (lf = memchr(from, '\n', n - (size_t)(from - s))) != NULL) {
		const char *line = s + used;

		from = lf + 1;
		if (lf == line || lf[-1] != '\r')
			continue;
		len = (size_t)(lf - line) - 1;
		used = (size_t)(lf - s) + 1;
		if (len == 1 && line[0] == '.') {
			*end_r = true;
			break;
		}
		if (len > 0 && line[0] == '.') {
			line++;
			len--;
		}
		if (len == 0)
			p->in_headers = false;
		else
			test_field(p, line, len);
		take(p, line, len + 2);
	}
	return used;
}

/* The next dot at the beginning of a line, or NULL. */
static const char *
stuffed_dot(const char *s, const char *end)
{
	const char *dot = s;

	while ((dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
		if (dot - s >= 2 && dot[-1] == '\n' && dot[-2] == '\r')
			return dot;
		if (++dot == end)
			break;
	}
	return NULL;
}

static size_t
body_bytes(struct peer *p, const char *s, size_t n, bool *end_r)
{
	const char *at = s, *end = s + n, *dot;

	while (at < end) {
		if (p->line_start && *at == '.') {
			if (end - at < 3)
				return (size_t)(at - s);
			if (at[1] == '\r' && at[2] == '\n') {
				*end_r = true;
				return (size_t)(at - s) + 3;
			}
			at++;
		}
		p->line_start = false;
		if ((dot = stuffed_dot(at, end)) != NULL) {
			take(p, at, (size_t)(dot - at));
			at = dot;
			p->line_start = true;
			continue;
		}
		/* A CR at the end waits for its LF, so that line_start can be told. */
		n = (size_t)(end - at) - (end[-1] == '\r');
		take(p, at, n);
		at += n;
		p->line_start = n >= 2 && at[-1] == '\n' && at[-2] == '\r';
		break;
	}
	return (size_t)(at - s);
}

bool
content_read(struct peer *p)
{
	struct evbuffer *in = io_input(p->io);
	bool end = false;
	size_t len, n, used;
	const char *s;

	while (!end && (len = evbuffer_get_length(in)) > 0) {
		n = evbuffer_get_contiguous_space(in);
		s = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
		used = p->in_headers ? header_lines(p, s, n, &end) : body_bytes(p, s, n, &end);
		if (used > 0)
			evbuffer_drain(in, used);
		else if (n == len)
			break;
		else
			evbuffer_pullup(in, len - n < 8192 ? -1 : (ev_ssize_t)n + 8192);
	}
	return end;
}
