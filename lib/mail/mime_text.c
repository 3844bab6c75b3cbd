/* What is in a part or a value, as text (see mime.h): transfer encodings, encoded words, HTML, UTF-8. Every function is
 * one pass, and writes at most twice what it reads. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "base/xalloc.h"

#include "mail/mime.h"
#include "mail/mime_text.h"

/* A longer one is passed over at once, or "<<<<...@>" would be looked at once for each "<". */
#define ADDRESS_TAG_MAX 320

size_t
mime_line_ends(char *to, const char *from, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = from[i];

		if (c == '\r') {
			if (i + 1 < len && from[i + 1] == '\n')
				i++;
			c = '\n';
		} else if (c == '\0')
			c = ' ';
		to[n++] = c;
	}
	return n;
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* What is no digit is passed over (RFC 2045 section 6.8); a group that is cut gives the octets that are complete. */
static size_t
decode_base64(char *to, const char *from, size_t len)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int d = base64_digit(from[i]);

		if (from[i] == '=')
			n_bits = 0;
		if (d == -1)
			continue;
		bits = bits << 6 | (uint32_t)d;
		if ((n_bits += 6) >= 8) {
			n_bits -= 8;
			to[n++] = (char)(bits >> n_bits);
		}
	}
	return n;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "=" with anything but two digits or a line end behind it stays. */
static size_t
decode_qp(char *to, const char *from, size_t len, bool is_word)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		size_t end = i + 1;

		if (is_word && from[i] == '_') {
			to[n++] = ' ';
			continue;
		}
		if (from[i] != '=') {
			to[n++] = from[i];
			continue;
		}
		if (i + 2 < len && hex_digit(from[i + 1]) != -1 && hex_digit(from[i + 2]) != -1) {
			to[n++] = (char)(hex_digit(from[i + 1]) << 4 | hex_digit(from[i + 2]));
			i += 2;
			continue;
		}
		while (end < len && end < i + 80 && (from[end] == ' ' || from[end] == '\t'))
			end++;
		if (end == len || from[end] == '\n')
			i = end;
		else
			to[n++] = '=';
	}
	return n;
}

char *
mime_body(const struct mime_part *part, size_t max, size_t *len_r)
{
	size_t n = part->body.len;
	char *out;

	/* Reading no more than could fit. */
	if (max > MIME_MAX_MESSAGE)
		max = MIME_MAX_MESSAGE;
	if (n > 3 * max)
		n = 3 * max;
	out = xmalloc(n + 1);
	if (part->is_base64)
		n = decode_base64(out, part->body.base, n);
	else if (part->is_qp)
		n = decode_qp(out, part->body.base, n, false);
	else
		memcpy(out, part->body.base, n);
	if (n > max)
		n = max;
	*len_r = mime_line_ends(out, out, n);
	out[*len_r] = '\0';
	return out;
}

struct entity {
	const char *name;
	const char *text;
};

static const struct entity entities[] = { { "lt;", "<" }, { "gt;", ">" }, { "amp;", "&" }, { "quot;", "\"" },
	{ "nbsp;", " " }, { "apos;", "'" }, { "#39;", "'" }, { "#64;", "@" }, { "#46;", "." }, { "#60;", "<" },
	{ "#62;", ">" }, { "#8203;", "" }, { "eacute;", "\u00e9" }, { "egrave;", "\u00e8" },
	{ "agrave;", "\u00e0" }, { "auml;", "\u00e4" }, { "ouml;", "\u00f6" }, { "uuml;", "\u00fc" },
	{ "szlig;", "\u00df" }, { "oacute;", "\u00f3" }, { "aacute;", "\u00e1" }, { "iacute;", "\u00ed" },
	{ "ntilde;", "\u00f1" } };

/* Length of the entity at p, behind "&"; 0 if it is none that is known. */
static size_t
entity_at(const char *p, size_t left, const char **text_r)
{
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
		size_t len = strlen(entities[i].name);

		if (len <= left && memcmp(p, entities[i].name, len) == 0) {
			*text_r = entities[i].text;
			return len;
		}
	}
	return 0;
}

static bool
tag_is(const char *p, size_t left, const char *name)
{
	size_t len = strlen(name);

	return left > len && strncasecmp(p, name, len) == 0 && strchr(" \t\n>/", p[len]) != NULL;
}

/* Tags that end a line of text. */
static bool
is_line_tag(const char *p, size_t left)
{
	static const char *const names[] = { "br", "p", "/p", "div", "/div", "tr", "/tr", "li", "/li", "table",
		"/table", "h1", "/h1", "h2", "/h2", "h3", "/h3", "pre", "/pre", "hr" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (tag_is(p, left, names[i]))
			return true;
	return false;
}

/* "<a@b>" in careless HTML is an address, not a tag. */
static bool
is_address_tag(const char *p, size_t len)
{
	return len <= ADDRESS_TAG_MAX && memchr(p, '@', len) != NULL && memchr(p, ' ', len) == NULL &&
	    memchr(p, '"', len) == NULL;
}

/* Over the tag at `at`, and over what <style> and <script> hide. *no_end: there is no more of such an end. */
static size_t
skip_tag(const char *from, size_t len, size_t at, bool *no_end)
{
	static const char *const hidden[] = { "style", "script" }, *const ends[] = { "</style", "</script" };
	const char *gt = memchr(from + at, '>', len - at);

	for (size_t i = 0; i < 2 && gt != NULL && !*no_end; i++) {
		const char *close = NULL;

		if (!tag_is(from + at + 1, len - at - 1, hidden[i]))
			continue;
		for (const char *p = gt; close == NULL && (p = memchr(p, '<', len - (size_t)(p - from))) != NULL; p++)
			if (len - (size_t)(p - from) > strlen(ends[i]) && strncasecmp(p, ends[i], strlen(ends[i])) == 0)
				close = p;
		if (close != NULL)
			gt = memchr(close, '>', len - (size_t)(close - from));
		*no_end = close == NULL;
	}
	return gt == NULL ? len : (size_t)(gt - from);
}

/* In place: what comes out is never longer. */
static size_t
strip_html(char *text, size_t len)
{
	size_t n = 0, skip;
	bool no_end = false;
	const char *entity;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '&' && (skip = entity_at(text + i + 1, len - i - 1, &entity)) > 0) {
			for (; *entity != '\0'; entity++)
				text[n++] = *entity;
			i += skip;
			continue;
		}
		if (text[i] == '<') {
			size_t end = skip_tag(text, len, i, &no_end);

			if (end < len && is_address_tag(text + i, end - i)) {
				text[n++] = text[i];
				continue;
			}
			if (is_line_tag(text + i + 1, len - i - 1))
				text[n++] = '\n';
			i = end;
			continue;
		}
		text[n++] = text[i];
	}
	return n;
}

/* Sequences that are no UTF-8 are Latin-1. Room for twice the length. */
static size_t
to_utf8(char *to, const char *from, size_t len, size_t max)
{
	size_t n = 0, seq;

	for (size_t i = 0; i < len; i += seq) {
		unsigned char c = (unsigned char)from[i];

		seq = utf8_seq_len((const uint8_t *)from + i, len - i);
		if (n + (seq > 2 ? seq : 2) > max)
			break;
		if (seq > 0) {
			memcpy(to + n, from + i, seq);
			n += seq;
		} else {
			to[n++] = (char)(0xc0 | c >> 6);
			to[n++] = (char)(0x80 | (c & 0x3f));
			seq = 1;
		}
	}
	return n;
}

char *
mime_body_text(const struct mime_part *part, size_t max, size_t *len_r)
{
	size_t len, room;
	char *raw = mime_body(part, max, &len), *out;

	if (strcmp(part->type, "text/html") == 0)
		len = strip_html(raw, len);
	room = 2 * len;
	out = xmalloc(room + 1);
	*len_r = to_utf8(out, raw, len, room);
	out[*len_r] = '\0';
	free(raw);
	return out;
}

char *
mime_clean(const char *from, size_t len, size_t max)
{
	char *utf8, *out;
	size_t n_in, n = 0;

	/* White space may shrink; what is that much longer is cut all the same. */
	if (len > 4 * max)
		len = 4 * max;
	utf8 = xmalloc(2 * len + 1);
	n_in = to_utf8(utf8, from, len, 2 * len);
	out = xmalloc(max + 1);
	for (size_t i = 0, seq; i < n_in; i += seq) {
		unsigned char c = (unsigned char)utf8[i];

		seq = utf8_seq_len((const uint8_t *)utf8 + i, n_in - i);
		if (n + seq > max)
			break;
		/* Controls, C1 included, and U+2028/2029, which end lines for some readers. */
		if (c <= ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)utf8[i + 1] < 0xa1) ||
		    (c == 0xe2 && (unsigned char)utf8[i + 1] == 0x80 && ((unsigned char)utf8[i + 2] & 0xfe) == 0xa8)) {
			if (n > 0 && out[n - 1] != ' ')
				out[n++] = ' ';
			continue;
		}
		memcpy(out + n, utf8 + i, seq);
		n += seq;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	free(utf8);
	return out;
}

/* The encoded word at p: its length and what is in it, appended to out; 0 if it is none. */
static size_t
decode_word(const char *p, size_t left, char *out, size_t *n)
{
	const char *end = p + left, *charset_end, *text, *stop = NULL;
	char kind;

	if (left < 8 || p[0] != '=' || p[1] != '?')
		return 0;
	if ((charset_end = memchr(p + 2, '?', left < 60 ? left - 2 : 58)) == NULL || charset_end + 3 >= end ||
	    charset_end[2] != '?')
		return 0;
	kind = charset_end[1];
	text = charset_end + 3;
	for (const char *q = text; stop == NULL && q + 1 < end && q < text + 1000; q++)
		if (q[0] == '?' && q[1] == '=')
			stop = q;
	if (stop == NULL)
		return 0;
	if (kind == 'B' || kind == 'b')
		*n += decode_base64(out + *n, text, (size_t)(stop - text));
	else if (kind == 'Q' || kind == 'q')
		*n += decode_qp(out + *n, text, (size_t)(stop - text), true);
	else
		return 0;
	return (size_t)(stop + 2 - p);
}

char *
mime_value_text(const struct mime_field *f, size_t max)
{
	size_t len = f->value.len > 4 * max ? 4 * max : f->value.len, n = 0, word, word_end = 0;
	char *raw = xmalloc(len + 1), *out = xmalloc(len + 1), *clean;

	len = mime_value(&(struct mime_field){ f->name, { f->value.base, len } }, raw, len + 1);
	for (size_t i = 0; i < len;) {
		if (raw[i] == '=' && (word = decode_word(raw + i, len - i, out, &n)) > 0) {
			i += word;
			word_end = n;
			continue;
		}
		/* White space between two words is not there. */
		if (raw[i] == ' ' && word_end > 0 && word_end == n && i + 1 < len && raw[i + 1] == '=' &&
		    i + 2 < len && raw[i + 2] == '?') {
			i++;
			continue;
		}
		out[n++] = raw[i++];
	}
	clean = mime_clean(out, n, max);
	free(raw);
	free(out);
	return clean;
}
