/* Writes JSON (RFC 8259) into a growing buffer. A hot path: one to three lines a message. Values are what strangers
 * sent; so control characters (C0, DEL, C1), invalid UTF-8 (each byte as \u00XX), and U+2028/2029 (line ends to
 * JavaScript) are escaped. Bytes that need nothing, which is nearly all, are found eight at a time and copied in
 * runs. Used by all processes that write events. */
#include <string.h>

#include "base/json.h"
#include "base/timefmt.h"
#include "base/utf8.h"

#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL

void
json_init(struct json *j)
{
	wbuf_init(&j->out);
	j->comma = false;
}

void
json_clear(struct json *j)
{
	wbuf_clear(&j->out);
	j->comma = false;
}

void
json_reset(struct json *j)
{
	wbuf_reset(&j->out);
	j->comma = false;
}

static uint64_t
zero_bytes(uint64_t x)
{
	return (x - ONES) & ~x & HIGHS;
}

/* Not zero if any of the eight bytes may need attention. */
static uint64_t
word_is_special(uint64_t x)
{
	uint64_t below_space = (x - ONES * 0x20) & ~x & HIGHS;

	return below_space | (x & HIGHS) | zero_bytes(x ^ ONES * '"') | zero_bytes(x ^ ONES * '\\') |
	    zero_bytes(x ^ ONES * 0x7f);
}

/* How many bytes from p on can be copied as they are (ASCII only). */
static size_t
plain_run(const uint8_t *p, size_t len)
{
	size_t i = 0;
	uint64_t word;

	for (; len - i >= sizeof(word); i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		if (word_is_special(word) != 0)
			break;
	}
	while (i < len && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
		i++;
	return i;
}

static void
put_unicode(struct wbuf *w, unsigned code)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = { '\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15] };

	wbuf_raw(w, text, sizeof(text));
}

static void
put_ascii_escape(struct wbuf *w, uint8_t c)
{
	switch (c) {
	case '"':
		wbuf_raw(w, "\\\"", 2);
		break;
	case '\\':
		wbuf_raw(w, "\\\\", 2);
		break;
	case '\n':
		wbuf_raw(w, "\\n", 2);
		break;
	case '\r':
		wbuf_raw(w, "\\r", 2);
		break;
	case '\t':
		wbuf_raw(w, "\\t", 2);
		break;
	default:
		put_unicode(w, c);
		break;
	}
}

/* One character that is not plain; returns its length in bytes. */
static size_t
put_special(struct wbuf *w, const uint8_t *p, size_t left)
{
	size_t seq = utf8_seq_len(p, left);

	if (seq == 0) {
		put_unicode(w, p[0]);
		return 1;
	}
	if (seq == 1)
		put_ascii_escape(w, p[0]);
	else if (seq == 2 && p[0] == 0xc2 && p[1] < 0xa0)
		put_unicode(w, p[1]);
	else if (seq == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
		put_unicode(w, 0x2000u | (p[2] - 0x80u));
	else
		wbuf_raw(w, p, seq);
	return seq;
}

static void
put_string(struct wbuf *w, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t n;

	wbuf_reserve(w, len + 2);
	wbuf_u8(w, '"');
	while (len > 0) {
		n = plain_run(p, len);
		wbuf_raw(w, p, n);
		p += n;
		len -= n;
		if (len > 0) {
			n = put_special(w, p, len);
			p += n;
			len -= n;
		}
	}
	wbuf_u8(w, '"');
}

static void
begin_value(struct json *j, const char *key)
{
	if (j->comma)
		wbuf_u8(&j->out, ',');
	j->comma = true;
	if (key != NULL) {
		put_string(&j->out, key, strlen(key));
		wbuf_u8(&j->out, ':');
	}
}

static void
put_bracket(struct json *j, const char *key, uint8_t open)
{
	begin_value(j, key);
	wbuf_u8(&j->out, open);
	j->comma = false;
}

static void
end_bracket(struct json *j, uint8_t close)
{
	wbuf_u8(&j->out, close);
	j->comma = true;
}

void
json_obj(struct json *j, const char *key)
{
	put_bracket(j, key, '{');
}

void
json_obj_end(struct json *j)
{
	end_bracket(j, '}');
}

void
json_arr(struct json *j, const char *key)
{
	put_bracket(j, key, '[');
}

void
json_arr_end(struct json *j)
{
	end_bracket(j, ']');
}

void
json_none(struct json *j, const char *key)
{
	begin_value(j, key);
	wbuf_raw(&j->out, "null", 4);
}

void
json_str(struct json *j, const char *key, const char *value)
{
	if (value == NULL) {
		json_none(j, key);
		return;
	}
	begin_value(j, key);
	put_string(&j->out, value, strlen(value));
}

void
json_slice(struct json *j, const char *key, struct slice value, size_t max)
{
	begin_value(j, key);
	if (value.len > max) {
		/* Do not cut a character in two. */
		size_t back = 0, seq;

		while (back < 3 && back < max && ((uint8_t)value.base[max - back] & 0xc0) == 0x80)
			back++;
		seq = utf8_seq_len((const uint8_t *)value.base + max - back, value.len - max + back);
		value.len = seq > back ? max - back : max;
	}
	put_string(&j->out, value.base, value.len);
}

void
json_int(struct json *j, const char *key, int64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);
	uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;

	begin_value(j, key);
	do
		digits[--at] = (char)('0' + u % 10);
	while ((u /= 10) > 0);
	if (v < 0)
		digits[--at] = '-';
	wbuf_raw(&j->out, digits + at, sizeof(digits) - at);
}

void
json_bool(struct json *j, const char *key, bool v)
{
	begin_value(j, key);
	wbuf_raw(&j->out, v ? "true" : "false", v ? 4 : 5);
}

void
json_time(struct json *j, const char *key, int64_t wall_ms)
{
	char text[TIME_RFC3339_LEN + 1];

	time_rfc3339(wall_ms, text);
	begin_value(j, key);
	put_string(&j->out, text, TIME_RFC3339_LEN);
}
