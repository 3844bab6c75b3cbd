/* Reading the answer to a GET (http_reply.h), in the sts role. Hostile: every octet. Nothing is guessed: two lengths,
 * a line that is no header, or a coding that nobody asked for end it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/http_reply.h"

struct head {
	const char *body; /* behind the empty line */
	bool is_chunked, has_length;
	size_t length;
};

static enum http_state
bad(struct http_reply *r, const char *why)
{
	http_reply_clear(r);
	r->err = why;
	return HTTP_BAD;
}

/* The line at p without its CRLF (or LF, RFC 9112 section 2.2) and where the next begins; NULL: not all of it there. */
static const char *
line_end(const char *p, const char *end, const char **next)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p));

	if (lf == NULL)
		return NULL;
	*next = lf + 1;
	return lf > p && lf[-1] == '\r' ? lf - 1 : lf;
}

static bool
is_name(const char *p, size_t len, const char *name)
{
	return len == strlen(name) && strncasecmp(p, name, len) == 0;
}

static bool
is_token(const char *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] <= 0x20 || p[i] >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", p[i]) != NULL)
			return false;
	return len > 0;
}

/* "HTTP/1.1 200 OK" */
static bool
status_line(const char *p, size_t len, int *status)
{
	int i;

	if (len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ' ||
	    (len > 12 && p[12] != ' '))
		return false;
	*status = 0;
	for (i = 9; i < 12; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*status = *status * 10 + (p[i] - '0');
	}
	return *status >= 100;
}

static bool
take_length(struct head *h, const char *p, size_t len)
{
	size_t n = 0, i;

	if (len == 0 || len > 12)
		return false;
	for (i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		n = n * 10 + (size_t)(p[i] - '0');
	}
	if (h->has_length && n != h->length)
		return false;
	h->has_length = true;
	h->length = n;
	return true;
}

static void
take_type(struct http_reply *r, const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && p[n] != ';' && p[n] != ' ' && p[n] != '\t')
		n++;
	if (n >= sizeof(r->type))
		n = sizeof(r->type) - 1;
	memcpy(r->type, p, n);
	r->type[n] = '\0';
	for (; n > 0; n--)
		if (r->type[n - 1] >= 'A' && r->type[n - 1] <= 'Z')
			r->type[n - 1] = (char)(r->type[n - 1] + ('a' - 'A'));
}

static const char *
header(struct http_reply *r, struct head *h, const char *p, const char *end)
{
	const char *colon = memchr(p, ':', (size_t)(end - p)), *value;
	size_t name, len;

	if (colon == NULL || !is_token(p, (size_t)(colon - p)))
		return "the answer has a header line that is none";
	name = (size_t)(colon - p);
	value = colon + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	len = (size_t)(end - value);
	if (memchr(value, '\0', len) != NULL)
		return "the answer has a header line that is none";
	if (is_name(p, name, "content-length") && !take_length(h, value, len))
		return "the answer's Content-Length is wrong";
	if (is_name(p, name, "content-type"))
		take_type(r, value, len);
	if (is_name(p, name, "content-encoding") && !is_name(value, len, "identity"))
		return "the answer is encoded, which nobody asked for";
	if (is_name(p, name, "transfer-encoding")) {
		if (h->is_chunked || !is_name(value, len, "chunked"))
			return "the answer has an unknown Transfer-Encoding";
		h->is_chunked = true;
	}
	return NULL;
}

/* Status line and headers. */
static enum http_state
read_head(const char *p, const char *end, struct http_reply *r, struct head *h)
{
	const char *start = p, *next = NULL, *stop = line_end(p, end, &next), *why;

	if (stop == NULL)
		return (size_t)(end - start) > HTTP_HEAD_MAX ? bad(r, "the answer's header is too long") : HTTP_MORE;
	if (!status_line(p, (size_t)(stop - p), &r->status))
		return bad(r, "the answer is not HTTP");
	for (p = next; (stop = line_end(p, end, &next)) != NULL; p = next) {
		if ((size_t)(next - start) > HTTP_HEAD_MAX)
			return bad(r, "the answer's header is too long");
		if (stop == p) {
			h->body = next;
			return HTTP_DONE;
		}
		if ((why = header(r, h, p, stop)) != NULL)
			return bad(r, why);
	}
	return (size_t)(end - start) > HTTP_HEAD_MAX ? bad(r, "the answer's header is too long") : HTTP_MORE;
}

/* The size of a chunk; extensions are passed over. */
static bool
chunk_size(const char *p, const char *end, size_t *n)
{
	size_t digits = 0;
	int v;

	for (*n = 0; p < end; p++, digits++) {
		v = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 :
		    *p >= 'A' && *p <= 'F' ? *p - 'A' + 10 : -1;
		if (v == -1)
			break;
		if (digits == 7)
			return false;
		*n = *n * 16 + (size_t)v;
	}
	return digits > 0 && (p == end || *p == ';' || *p == ' ' || *p == '\t');
}

static enum http_state
read_chunks(const char *p, const char *end, size_t max, struct http_reply *r)
{
	const char *stop, *next = NULL;
	size_t n;

	r->body = xmalloc(max + 1);
	r->len = 0;
	while ((stop = line_end(p, end, &next)) != NULL) {
		if (!chunk_size(p, stop, &n))
			return bad(r, "the answer's chunks are wrong");
		if (n == 0) { /* a trailer says nothing to us */
			r->body[r->len] = '\0';
			return HTTP_DONE;
		}
		if (n > max - r->len)
			return bad(r, "the answer is too long");
		p = next;
		if ((size_t)(end - p) < n + 1)
			return HTTP_MORE;
		memcpy(r->body + r->len, p, n);
		r->len += n;
		p += n;
		if (p[0] == '\r' && end - p < 2)
			return HTTP_MORE;
		p += p[0] == '\r';
		if (*p++ != '\n')
			return bad(r, "the answer's chunks are wrong");
	}
	return HTTP_MORE;
}

static enum http_state
take_body(struct http_reply *r, const char *p, size_t len)
{
	r->body = xmemdup0(p, len);
	r->len = len;
	return HTTP_DONE;
}

static enum http_state
read_body(const struct head *h, const char *end, bool is_end, size_t max, struct http_reply *r)
{
	size_t have = (size_t)(end - h->body);
	enum http_state state;

	if (h->is_chunked && h->has_length)
		return bad(r, "the answer has two lengths");
	if (h->is_chunked) {
		state = read_chunks(h->body, end, max, r);
		if (state == HTTP_MORE) {
			free(r->body);
			r->body = NULL;
		}
		return state;
	}
	if (h->has_length ? h->length > max : have > max)
		return bad(r, "the answer is too long");
	if (h->has_length)
		return have >= h->length ? take_body(r, h->body, h->length) : HTTP_MORE;
	return is_end ? take_body(r, h->body, have) : HTTP_MORE;
}

enum http_state
http_reply_parse(const char *p, size_t len, bool is_end, size_t body_max, struct http_reply *r)
{
	const char *end = p + len;
	struct head h = { .body = p };
	enum http_state state;

	memset(r, 0, sizeof(*r));
	state = read_head(h.body, end, r, &h);
	while (state == HTTP_DONE && r->status < 200) { /* 103 and the like come before the answer */
		if (r->status == 101)
			return bad(r, "the server speaks another protocol");
		memset(r, 0, sizeof(*r));
		h = (struct head){ .body = h.body };
		state = read_head(h.body, end, r, &h);
	}
	if (state == HTTP_DONE && r->status == 200)
		state = read_body(&h, end, is_end, body_max, r);
	if (state == HTTP_MORE && len > HTTP_WIRE_MAX(body_max))
		return bad(r, "the answer is too long");
	if (state == HTTP_MORE && is_end)
		return bad(r, "the answer ends too soon");
	return state;
}

void
http_reply_clear(struct http_reply *r)
{
	free(r->body);
	r->body = NULL;
	r->len = 0;
}
