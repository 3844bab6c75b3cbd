/* The lines of a DSN (see dsn_write.h). Hostile: addresses, the peer's reply and the returned header, all of which
 * end in a message that we send under our own name. RFC 5322 section 2.1.1 (998 characters), 2.2.3 (folding), 3.3
 * (dates). */

#include <stdio.h>
#include <string.h>

#include "base/timefmt.h"
#include "base/utf8.h"

#include "mail/dsn_write.h"

#define LINE_MAX_LEN 998
#define FOLD_SOON 900 /* at white space from here on */
#define FOLD_NOW 990

void
dsn_put(struct wbuf *w, const char *s)
{
	wbuf_raw(w, s, strlen(s));
}

/* Octets of the line that is being written. */
static size_t
line_len(const struct wbuf *w)
{
	const uint8_t *lf = w->len == 0 ? NULL : memrchr(w->p, '\n', w->len);

	return lf == NULL ? w->len : w->len - (size_t)(lf - w->p) - 1;
}

static void
fold(struct wbuf *w, size_t *column)
{
	dsn_put(w, "\r\n ");
	*column = 1;
}

static bool
is_control(const uint8_t *p, size_t n)
{
	return n == 1 ? p[0] < 0x20 || p[0] == 0x7f : n == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

void
dsn_put_value(struct wbuf *w, const char *s, bool allow_utf8)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t left = strlen(s), column = line_len(w), n;
	bool is_space = true; /* leading white space is dropped */

	for (; left > 0; p += n, left -= n) {
		size_t seq = utf8_seq_len(p, left);

		n = seq == 0 ? 1 : seq;
		if (seq != 0 && (p[0] == ' ' || is_control(p, n))) {
			if (!is_space && left > n) {
				if (column >= FOLD_SOON)
					fold(w, &column);
				else
					wbuf_u8(w, ' ');
				column++;
			}
			is_space = true;
			continue;
		}
		if (column + n > FOLD_NOW)
			fold(w, &column);
		is_space = false;
		column += n;
		if (seq == 1 || (seq > 1 && allow_utf8))
			wbuf_raw(w, p, n);
		else
			wbuf_u8(w, '?');
	}
}

void
dsn_put_field(struct wbuf *w, const char *name_and_prefix, const char *value, bool allow_utf8)
{
	if (value == NULL)
		return;
	dsn_put(w, name_and_prefix);
	dsn_put_value(w, value, allow_utf8);
	dsn_put(w, "\r\n");
}

void
dsn_put_date(struct wbuf *w, const char *name, int64_t wall_ms)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
	    "Nov", "Dec" };
	struct civil t;
	char text[64];

	if (wall_ms == 0)
		return;
	time_civil(wall_ms, &t);
	snprintf(text, sizeof(text), "%s, %u %s %04d %02u:%02u:%02u +0000\r\n", days[t.weekday % 7], t.day,
	    months[(t.month - 1) % 12], t.year, t.hour, t.minute, t.second);
	dsn_put(w, name);
	dsn_put(w, text);
}

/* One line without its end, in pieces of at most 998 octets that cut no UTF-8 character. */
static void
put_line(struct wbuf *w, const char *p, size_t len, const char *fold_with)
{
	size_t room = LINE_MAX_LEN;

	while (len > room) {
		size_t n = room;

		while (n > room - 3 && ((uint8_t)p[n] & 0xc0) == 0x80)
			n--;
		wbuf_raw(w, p, n);
		dsn_put(w, "\r\n");
		dsn_put(w, fold_with);
		p += n;
		len -= n;
		room = LINE_MAX_LEN - strlen(fold_with);
	}
	wbuf_raw(w, p, len);
	dsn_put(w, "\r\n");
}

void
dsn_put_lines(struct wbuf *w, struct slice text, const char *fold_with)
{
	const char *p = text.base, *end = p + text.len;

	while (p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		const char *stop = lf == NULL ? end : lf;
		size_t at = w->len;

		put_line(w, p, (size_t)(stop - p - (stop > p && stop[-1] == '\r')), fold_with);
		/* What was accepted is CRLF lines without NUL; should it ever not be, we do not send it on. */
		for (size_t i = at; i < w->len; i++)
			if (w->p[i] == '\0' || (w->p[i] == '\r' && (i + 1 == w->len || w->p[i + 1] != '\n')))
				w->p[i] = ' ';
		p = stop + (lf != NULL);
	}
}
