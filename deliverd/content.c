/* Content from spool to wire (content.h), in the net process. The record is smtpd's work and its bytes are a
 * stranger's: a lone CR or LF, or an unstuffed dot, would let them end the DATA phase and speak SMTP for us (RFC
 * 5321 sections 2.3.8 and 4.5.2), so that neither is taken on trust from the flags of the record; one pass over the
 * bytes finds both. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "deliverd/content.h"

#define SMALL_MAX (1u << 20)
#define CHUNK (256u << 10)
#define COPY_MAX (64u << 10) /* up to here a copy is cheaper than another buffer chain, and one TLS record stays one */
#define BLOCK 64

struct content {
	int fd; /* the job's */
	struct record rec;
	uint64_t pos; /* of the content: headers, then body */
	struct content_state state;
	char chunk[CHUNK];
};

uint64_t
content_size(const struct record *rec, const struct content_head *head, size_t trace_len)
{
	return (head->base != NULL ? head->len : rec->headers_len) + rec->body_len + trace_len;
}

enum { SCAN_BARE = 1, SCAN_DOT = 2 };

/* One comparison of neighbours. */
static inline unsigned
scan_pair(char before, char c)
{
	unsigned lf = c == '\n', cr = before == '\r', dot = (unsigned)(c == '.') & (unsigned)(before == '\n');

	return (lf ^ cr) | dot << 1;
}

/* Whether p[0..n), which follows the octet `last`, has a lone CR or LF, or a dot at the beginning of a line. Blocks
 * of a constant size, so that the compiler makes vector code of it. */
static unsigned
scan(char last, const char *p, size_t n)
{
	unsigned found = scan_pair(last, p[0]);
	size_t i = 1, j;
	uint8_t acc;

	for (; i + BLOCK <= n; i += BLOCK) {
		acc = 0;
		for (j = 0; j < BLOCK; j++) {
			uint8_t lf = p[i + j] == '\n', cr = p[i + j - 1] == '\r';
			uint8_t dot = (uint8_t)(p[i + j] == '.') & (uint8_t)(p[i + j - 1] == '\n');

			acc |= (uint8_t)((lf ^ cr) | dot << 1);
		}
		found |= acc;
	}
	for (; i < n; i++)
		found |= scan_pair(p[i - 1], p[i]);
	return found;
}

/* Spans between the dots that need another one in front. */
static void
stuff(char last, const char *p, size_t n, struct evbuffer *out)
{
	const char *from = p, *end = p + n, *dot = p;

	while ((dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
		if ((dot == p ? last : dot[-1]) == '\n') {
			evbuffer_add(out, from, (size_t)(dot - from));
			evbuffer_add(out, ".", 1);
			from = dot;
		}
		dot++;
	}
	evbuffer_add(out, from, (size_t)(end - from));
}

int
content_encode(struct content_state *s, const char *p, size_t n, struct evbuffer *out)
{
	unsigned found;

	if (n == 0)
		return 0;
	found = scan(s->last, p, n);
	if (found & SCAN_BARE)
		return -1;
	if (found & SCAN_DOT)
		stuff(s->last, p, n, out);
	else
		evbuffer_add(out, p, n);
	s->last = p[n - 1];
	return 0;
}

int
content_encode_end(struct content_state *s, struct evbuffer *out)
{
	if (s->last == '\r')
		return -1;
	if (s->last == '\n')
		evbuffer_add(out, ".\r\n", 3);
	else
		evbuffer_add(out, "\r\n.\r\n", 5);
	return 0;
}

static const char bare_err[] = "content has a lone CR or LF, which must not be sent";

static void
free_content(const void *data, size_t len, void *arg)
{
	(void)data, (void)len;
	free(arg);
}

/* The whole of a small record. Takes over data. Results as content_begin(). */
static int
encode_small(char *data, size_t len, const char *trace, struct evbuffer *out, const char **err_r)
{
	struct content_state s = { .last = '\n' };
	unsigned found = len > 0 ? scan('\n', data, len) : 0;

	if ((found & SCAN_BARE) || (len > 0 && data[len - 1] == '\r')) {
		*err_r = bare_err;
		free(data);
		return -2;
	}
	if (len <= COPY_MAX)
		evbuffer_expand(out, len + strlen(trace) + 256);
	evbuffer_add(out, trace, strlen(trace));
	if (len > 0)
		s.last = data[len - 1];
	if (found & SCAN_DOT) {
		stuff('\n', data, len, out);
		free(data);
	} else if (len <= COPY_MAX || evbuffer_add_reference(out, data, len, free_content, data) == -1) {
		evbuffer_add(out, data, len);
		free(data);
	}
	return content_encode_end(&s, out) == 0 ? 1 : -2;
}

/* Takes over data; with the other header block in place of its own. */
static char *
replace_head(char *data, size_t *len, const struct record *rec, const struct content_head *head)
{
	size_t body = *len - rec->headers_len;
	char *copy = xmalloc(head->len + body + 1);

	memcpy(copy, head->base, head->len);
	memcpy(copy + head->len, data + rec->headers_len, body);
	free(data);
	*len = head->len + body;
	return copy;
}

int
content_begin(struct content **c_r, int fd, const struct record *rec, const char *trace,
    const struct content_head *head, struct evbuffer *out, bool *is_verified, const char **err_r)
{
	struct content *c;
	size_t len;
	char *data;
	int r;

	*c_r = NULL;
	if (rec->body_len + rec->headers_len <= SMALL_MAX) {
		data = record_read_content(fd, rec, &len, err_r);
		if (data == NULL)
			return -1;
		*is_verified = true;
		if (head->base != NULL)
			data = replace_head(data, &len, rec, head);
		return encode_small(data, len, trace, out, err_r);
	}
	if (!*is_verified && record_check_content(fd, rec, err_r) != 0)
		return -1;
	*is_verified = true;
	c = xmalloc(sizeof(*c));
	c->fd = fd;
	c->rec = *rec;
	c->pos = 0;
	c->state.last = '\n';
	evbuffer_add(out, trace, strlen(trace));
	if (head->base != NULL)
		c->pos = rec->headers_len;
	if (head->base != NULL && content_encode(&c->state, head->base, head->len, out) == -1) {
		*err_r = bare_err;
		r = -2;
	} else {
		r = content_more(c, out, err_r);
	}
	if (r == 0)
		*c_r = c;
	else
		content_free(&c);
	return r;
}

int
content_more(struct content *c, struct evbuffer *out, const char **err_r)
{
	uint64_t total = c->rec.headers_len + c->rec.body_len, left, off;
	ssize_t n;

	if (c->pos < c->rec.headers_len) {
		left = c->rec.headers_len - c->pos;
		off = c->rec.offset + record_headers_off(&c->rec) + c->pos;
	} else {
		left = total - c->pos;
		off = c->rec.offset + record_body_off(&c->rec) + (c->pos - c->rec.headers_len);
	}
	do
		n = pread(c->fd, c->chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)off);
	while (n == -1 && errno == EINTR);
	if (n <= 0) {
		*err_r = n == 0 ? "spool record is cut short" : "read error on the spool";
		return -1;
	}
	if (content_encode(&c->state, c->chunk, (size_t)n, out) == -1) {
		*err_r = bare_err;
		return -2;
	}
	c->pos += (uint64_t)n;
	if (c->pos < total)
		return 0;
	if (content_encode_end(&c->state, out) == -1) {
		*err_r = bare_err;
		return -2;
	}
	return 1;
}

void
content_free(struct content **cp)
{
	free(*cp);
	*cp = NULL;
}
