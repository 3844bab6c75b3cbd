/* The content path of DATA and BDAT (worker role). Every byte is hostile. RFC 5321 4.5.2 (transparency), 2.3.8 and
 * 4.1.1.4: only CRLF ends a line and only CRLF.CRLF ends DATA; everything else that looks like it is SMTP smuggling
 * (CVE-2023-51764 and kin) and is an error, or is normalised without ever ending the message. RFC 3030: no dots are
 * special in a chunk.
 *
 * States are positions in a line:
 *   BOL     nothing of the line has been seen
 *   TEXT    in the line
 *   CR      the last byte was CR, not yet judged
 *   DOT     the line so far is "." (DATA only)
 *   DOT_CR  the line so far is ".CR" (DATA only) */
#include <string.h>

#include "mail/address.h"

#include "smtpd/content.h"

enum { AT_BOL, AT_TEXT, AT_CR, AT_DOT, AT_DOT_CR };

void
content_init(struct content *c, const struct content_limits *limits)
{
	memset(c, 0, sizeof *c);
	c->limits = *limits;
	wbuf_init(&c->head);
	wbuf_init(&c->body);
	c->state = AT_BOL;
	c->is_strict_bol = true;
}

void
content_clear(struct content *c)
{
	wbuf_clear(&c->head);
	wbuf_clear(&c->body);
}

const char *
content_error_reply(enum content_error e)
{
	static const char *const replies[CONTENT_ERRORS] = {
		[CONTENT_GOOD] = "250 2.0.0 Ok",
		[CONTENT_BARE_LF] = "550 5.6.11 Bare LF is not allowed: lines end in CRLF",
		[CONTENT_BARE_CR] = "550 5.6.11 Bare CR is not allowed: lines end in CRLF",
		[CONTENT_HAS_NUL] = "550 5.6.0 Message contains NUL",
		[CONTENT_LONG_LINE] = "550 5.6.0 Message contains a line that is too long",
		[CONTENT_BIG_HEADER] = "552 5.3.4 Message header is too big",
		[CONTENT_TOO_BIG] = "552 5.3.4 Message is too big"
	};

	return e < CONTENT_ERRORS ? replies[e] : replies[CONTENT_HAS_NUL];
}

static void
fail(struct content *c, enum content_error e)
{
	if (c->error != CONTENT_GOOD)
		return;
	c->error = e;
	wbuf_clear(&c->head);
	wbuf_clear(&c->body);
}

/* RFC 5322 2.2: one or more printable characters but ':', white space tolerated before it (obs-optional), then ':'. */
static bool
is_field(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] > ' ' && p[i] < 0x7f && p[i] != ':')
		i++;
	if (i == 0)
		return false;
	while (i < n && (p[i] == ' ' || p[i] == '\t'))
		i++;
	return i < n && p[i] == ':';
}

/* A line of the header block is complete in head: does the block go on? */
static void
judge_header_line(struct content *c)
{
	const uint8_t *line = c->head.p + c->line_start;
	size_t n = c->head.len - c->line_start;

	if (n == 2) { /* the blank line */
		c->in_body = true;
	} else if ((c->line_start > 0 && (line[0] == ' ' || line[0] == '\t')) || is_field(line, n)) {
		c->line_start = c->head.len;
	} else {
		/* Not a header line: the body begins here, and the blank line between is ours. */
		wbuf_raw(&c->body, line, n);
		c->head.len = c->line_start;
		wbuf_raw(&c->head, "\r\n", 2);
		c->in_body = true;
	}
}

static void
keep(struct content *c, const char *p, size_t n)
{
	if (c->error != CONTENT_GOOD) {
		c->discarded += n;
		return;
	}
	if (n == 0)
		return;
	if (c->line_len == 0 && *p == '.')
		c->has_dots = true;
	c->line_len += n;
	c->size += n;
	if (memchr(p, '\0', n) != NULL) {
		fail(c, CONTENT_HAS_NUL);
	} else if (c->limits.line > 0 && c->line_len > c->limits.line) {
		fail(c, CONTENT_LONG_LINE);
	} else if (c->limits.size > 0 && c->size > c->limits.size) {
		fail(c, CONTENT_TOO_BIG);
	} else if (c->in_body) {
		wbuf_raw(&c->body, p, n);
	} else if (c->head.len + n > c->limits.header) {
		fail(c, CONTENT_BIG_HEADER);
	} else {
		wbuf_raw(&c->head, p, n);
	}
}

static void
end_line(struct content *c)
{
	c->state = AT_BOL;
	c->line_len = 0;
	if (c->error != CONTENT_GOOD) {
		c->discarded += 2;
		return;
	}
	c->size += 2;
	if (c->limits.size > 0 && c->size > c->limits.size) {
		fail(c, CONTENT_TOO_BIG);
	} else if (c->in_body) {
		wbuf_raw(&c->body, "\r\n", 2);
	} else {
		wbuf_raw(&c->head, "\r\n", 2);
		judge_header_line(c);
	}
}

/* A whole line of text with its CRLF at once: the common case, one copy. */
static void
keep_line(struct content *c, const char *p, size_t n)
{
	if (c->in_body && c->error == CONTENT_GOOD && (c->limits.line == 0 || c->line_len + n - 2 <= c->limits.line) &&
	    (c->limits.size == 0 || c->size + n <= c->limits.size) && memchr(p, '\0', n) == NULL) {
		if (c->line_len == 0 && *p == '.')
			c->has_dots = true;
		c->size += n;
		wbuf_raw(&c->body, p, n);
		c->line_len = 0;
		c->state = AT_BOL;
	} else {
		keep(c, p, n - 2);
		end_line(c);
	}
	c->is_strict_bol = true;
}

static void
bare_lf(struct content *c, bool is_chunk)
{
	if (!c->limits.is_normalizing && !is_chunk)
		fail(c, CONTENT_BARE_LF);
	end_line(c);
	c->is_strict_bol = false;
}

static void
bare_cr(struct content *c)
{
	if (!c->limits.is_normalizing)
		fail(c, CONTENT_BARE_CR);
	keep(c, " ", 1);
	c->state = AT_TEXT;
}

/* Over whole pieces: fast, and the same however they are cut. */
static void
scan(struct content *c, const char *p, size_t n)
{
	if (!c->has_8bit && !is_ascii(p, n))
		c->has_8bit = true;
}

/* Text up to the next line end, or to the end of the piece. Returns bytes taken (at least one). */
static size_t
take_text(struct content *c, const char *p, size_t n, bool is_chunk)
{
	const char *lf = memchr(p, '\n', n), *cr;
	size_t span = lf != NULL ? (size_t)(lf - p) : n;

	if ((cr = memchr(p, '\r', span)) != NULL) {
		if (lf != NULL && cr == lf - 1) {
			keep_line(c, p, span + 1);
			return span + 1;
		}
		keep(c, p, (size_t)(cr - p));
		c->state = AT_CR;
		return (size_t)(cr - p) + 1;
	}
	keep(c, p, span);
	if (lf != NULL) {
		bare_lf(c, is_chunk);
		return span + 1;
	}
	c->state = AT_TEXT;
	return span;
}

/* One step in state CR: LF ends the line, anything else makes the CR a bare one and is looked at again. */
static size_t
take_after_cr(struct content *c, char b)
{
	if (b == '\n') {
		end_line(c);
		c->is_strict_bol = true;
		return 1;
	}
	bare_cr(c);
	if (b != '\r')
		return 0;
	c->state = AT_CR;
	return 1;
}

/* States DOT and DOT_CR. The dot is not content: RFC 5321 4.5.2. */
static size_t
take_after_dot(struct content *c, char b, bool *end_r)
{
	if (c->state == AT_DOT) {
		c->state = b == '\r' ? AT_DOT_CR : AT_TEXT;
		return b == '\r' ? 1 : 0;
	}
	if (b != '\n') {
		c->state = AT_CR;
		return 0;
	}
	if (c->is_strict_bol) {
		*end_r = true;
	} else {
		/* LF.CRLF does not end anything: a line that held a dot only. */
		end_line(c);
		c->is_strict_bol = true;
	}
	return 1;
}

/* When the header block ends, what was seen of 8-bit octets was the header's (and perhaps a bit more: checked
 * exactly). */
static void
note_head_8bit(struct content *c)
{
	if (c->has_8bit && c->error == CONTENT_GOOD && !c->head_has_8bit)
		c->head_has_8bit = !is_ascii((const char *)c->head.p, c->head.len);
}

size_t
content_data(struct content *c, const char *p, size_t n, bool *end_r)
{
	bool was_in_body = c->in_body;
	size_t i = 0;

	*end_r = false;
	while (i < n && !*end_r) {
		switch (c->state) {
		case AT_BOL:
			if (p[i] == '.') {
				c->state = AT_DOT;
				i++;
				break;
			}
			i += take_text(c, p + i, n - i, false);
			break;
		case AT_TEXT:
			i += take_text(c, p + i, n - i, false);
			break;
		case AT_CR:
			i += take_after_cr(c, p[i]);
			break;
		default:
			i += take_after_dot(c, p[i], end_r);
			break;
		}
	}
	scan(c, p, i);
	if (!was_in_body && (c->in_body || *end_r))
		note_head_8bit(c);
	return i;
}

void
content_chunk(struct content *c, const char *p, size_t n)
{
	bool was_in_body = c->in_body;
	size_t i = 0;

	while (i < n) {
		if (c->state == AT_CR)
			i += take_after_cr(c, p[i]);
		else
			i += take_text(c, p + i, n - i, true);
	}
	scan(c, p, n);
	if (!was_in_body && c->in_body)
		note_head_8bit(c);
}

void
content_chunks_end(struct content *c)
{
	if (c->state == AT_CR)
		bare_cr(c);
	if (c->state != AT_BOL) {
		end_line(c);
		c->added_eol = true;
	}
	if (!c->in_body)
		note_head_8bit(c);
}
