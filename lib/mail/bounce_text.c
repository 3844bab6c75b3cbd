/* What of a reply is matched (bounce_private.h). Replies are hostile: any bytes, in any encoding. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/bounce_private.h"

/* U+00C0..U+017F without their accents; one character each, so that lengths only shrink. '.' where there is none: kept
 * as it is. */
static const char latin[] =
    "aaaaaaaceeeeiiiidnooooo.ouuuuypsaaaaaaaceeeeiiiidnooooo.ouuuuypy"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkklllllllllln"
    "nnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";
_Static_assert(sizeof(latin) - 1 == 0x180 - 0xC0, "a letter for each");

/* One character of UTF-8 at s; 0: not valid. Only the length and, of two bytes, the value are needed. */
static size_t
utf8_len(const unsigned char *s, size_t len, unsigned *value)
{
	size_t n = s[0] < 0xC2 || s[0] > 0xF4 ? 0 : s[0] <= 0xDF ? 2 : s[0] <= 0xEF ? 3 : 4, i;

	if (n == 0 || n > len)
		return 0;
	for (i = 1; i < n; i++)
		if ((s[i] & 0xC0) != 0x80)
			return 0;
	*value = n == 2 ? (unsigned)(s[0] & 0x1F) << 6 | (s[1] & 0x3F) : 0x10000;
	return n;
}

/* Appends what stands for the character at s; returns how long that was. At most as much is written as was read. */
static size_t
fold_char(const unsigned char *s, size_t len, char *out, size_t *n)
{
	unsigned v = s[0];
	size_t k = 1;

	if (v >= 0x80 && (k = utf8_len(s, len, &v)) == 0) {
		k = 1; /* ISO 8859-1, probably */
		v = s[0];
	}
	if (v >= 0x0410 && v <= 0x042F)
		v += 0x20;
	else if (v >= 0x0400 && v <= 0x040F)
		v += 0x50;
	if (v >= 0xC0 && v < 0x180 && latin[v - 0xC0] != '.') {
		out[(*n)++] = latin[v - 0xC0];
	} else if (k == 2 && v >= 0x0400 && v <= 0x04FF) {
		out[(*n)++] = (char)(0xC0 | v >> 6);
		out[(*n)++] = (char)(0x80 | (v & 0x3F));
	} else {
		memcpy(out + *n, s, k);
		*n += k;
	}
	return k;
}

static bool
is_address_letter(unsigned char c)
{
	return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static bool
is_address_char(unsigned char c)
{
	return is_address_letter(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~.", c) != NULL);
}

/* Behind a domain or an address in brackets. */
static size_t
domain_end(const char *text, size_t len, size_t i)
{
	size_t begin = i;
	unsigned char c;

	if (i < len && text[i] == '[') {
		while (i < len && i < begin + 50 && text[i] != ']' && text[i] != ' ')
			i++;
		return i < len && text[i] == ']' ? i + 1 : begin;
	}
	for (; i < len; i++) {
		c = (unsigned char)text[i];
		if (c != '-' && c != '.' && !is_address_letter(c))
			break;
	}
	while (i > begin && text[i - 1] == '.') /* the sentence's */
		i--;
	return i;
}

/* At an '@' with something on both sides: what was written of the local part goes, and the domain is stepped over. */
static size_t
fold_address(const char *text, size_t len, size_t i, char *out, size_t *n)
{
	size_t end = domain_end(text, len, i + 1), begin = *n;

	while (begin > 0 && is_address_char((unsigned char)out[begin - 1]))
		begin--;
	if (end > i + 1 && begin < *n)
		*n = begin;
	else
		end = i + 1;
	out[(*n)++] = '@';
	return end;
}

size_t
bounce_text_fold(const char *text, size_t len, char *out, size_t max)
{
	size_t i = 0, n = 0;
	char c;

	while (i < len && n + 4 <= max) {
		c = text[i];
		if (c == ' ' || (c >= '\0' && c < ' ') || c == 0x7F) {
			if (n > 0 && out[n - 1] != ' ')
				out[n++] = ' ';
			i++;
		} else if (c == '@') {
			i = fold_address(text, len, i, out, &n);
		} else {
			i += fold_char((const unsigned char *)text + i, len - i, out, &n);
		}
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	return n;
}

char *
bounce_text_fold_pattern(const char *pattern)
{
	size_t len = strlen(pattern), i = 0, n = 0;
	char *out = xmalloc(len + 1);

	while (i < len)
		i += fold_char((const unsigned char *)pattern + i, len - i, out, &n);
	out[n] = '\0';
	return out;
}

static const char *
find_said(const char *s, const char *end)
{
	const char *p = s, *found = s;

	while ((p = memmem(p, (size_t)(end - p), "said: ", 6)) != NULL) {
		p += 6;
		if (end - p >= 3 && *p >= '2' && *p <= '5')
			found = p;
	}
	return found;
}

/* "smtp; ", "x-postfix; " in front of a Diagnostic-Code's text. */
static const char *
skip_type(const char *s, const char *end)
{
	const char *p = s;

	while (p < end && (*p == '-' || ((*p | 32) >= 'a' && (*p | 32) <= 'z')))
		p++;
	if (p == s || p >= end || *p != ';')
		return s;
	for (p++; p < end && *p == ' '; p++)
		;
	return p;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "550", "550-5.1.1 ", "550 5.1.1 " at s; how long, 0: none. */
static size_t
parse_codes(const char *s, const char *end, uint16_t *code, struct enhanced_code *status)
{
	const char *p = s;
	size_t n;

	if (end - s < 3 || s[0] < '2' || s[0] > '5' || !is_digit(s[1]) || !is_digit(s[2]) ||
	    (end - s > 3 && s[3] != ' ' && s[3] != '-'))
		return 0;
	*code = (uint16_t)((s[0] - '0') * 100 + (s[1] - '0') * 10 + s[2] - '0');
	p += end - s > 3 ? 4 : 3;
	if (p < end && *p == '#')
		p++;
	if (p < end && (n = enhanced_parse(p, (size_t)(end - p), status)) > 0)
		p += n;
	else if (p > s + 3 && p[-1] == '#')
		p--;
	while (p < end && *p == ' ')
		p++;
	return (size_t)(p - s);
}

/* Behind the first line the codes are said again, also where somebody made one line of all. */
static bool
repeats(const char *s, const char *end, bool is_begin, const struct bounce_reply *r, size_t *skip)
{
	struct enhanced_code status = { 0, 0, 0 };
	uint16_t code;

	*skip = parse_codes(s, end, &code, &status);
	return *skip > 3 && code == r->code && (is_begin || (status.class != 0 && status.class == r->status.class));
}

void
bounce_lines_unfold(char *s)
{
	for (; (s = strstr(s, "\\n")) != NULL; s++) {
		*s = '\n';
		memmove(s + 1, s + 2, strlen(s + 2) + 1);
	}
}

void
bounce_reply_parse(const char *line, size_t len, char *buf, struct bounce_reply *out)
{
	const char *end = line + len, *s;
	size_t skip, n = 0;
	bool is_begin = false;

	memset(out, 0, sizeof(*out));
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	s = find_said(line, end);
	s = skip_type(s, end);
	s += parse_codes(s, end, &out->code, &out->status);
	for (; s < end; s++) {
		if ((is_begin || (n > 0 && buf[n - 1] == ' ')) && repeats(s, end, is_begin, out, &skip)) {
			s += skip;
			if (s >= end)
				break;
		}
		is_begin = *s == '\n';
		buf[n++] = *s;
	}
	buf[n] = '\0';
	out->text = buf;
	out->len = n;
}
