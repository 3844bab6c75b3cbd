/* SMTP replies (see reply.h), read by deliverd's net role. Hostile: every byte comes from whoever runs the
 * destination; the text goes on to the event log, the index, DSNs and terminals. RFC 5321 section 4.2:
 *
 *   Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
 *   Reply-code = %x32-35 %x30-35 %x30-39
 *
 * and RFC 2034 section 4: the text may begin with a status code of RFC 3463, class "." subject "." detail, whose
 * class is the first digit of the reply code. "550" and "550 5.7.2" without text are legal. */

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#include "mail/reply.h"

#define REPLY_LINES_MAX 100
#define REPLY_OCTETS_MAX 8192

void
reply_reset(struct reply *reply)
{
	reply->code = 0;
	memset(&reply->enhanced, 0, sizeof(reply->enhanced));
	reply->text[0] = '\0';
	reply->is_complete = false;
	reply->lines = 0;
	reply->len = 0;
	reply->octets = 0;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* One to three digits; their number, 0 if there are none or more. */
static size_t
parse_number(const char *s, size_t len, uint16_t *out)
{
	unsigned value = 0;
	size_t n = 0;

	while (n < len && is_digit(s[n])) {
		if (n == 3)
			return 0;
		value = value * 10 + (unsigned)(s[n++] - '0');
	}
	*out = (uint16_t)value;
	return n;
}

size_t
enhanced_parse(const char *s, size_t len, struct enhanced_code *out)
{
	struct enhanced_code code;
	size_t at = 2, n;

	if (len < 5 || (s[0] != '2' && s[0] != '4' && s[0] != '5') || s[1] != '.')
		return 0;
	code.class = (uint8_t)(s[0] - '0');
	n = parse_number(s + at, len - at, &code.subject);
	if (n == 0 || at + n >= len || s[at + n] != '.')
		return 0;
	at += n + 1;
	n = parse_number(s + at, len - at, &code.detail);
	if (n == 0)
		return 0;
	at += n;
	/* "5.2.3.4 is listed" begins with an address, "5.1.1x" with nothing we know; "5.1.1." ends a sentence. */
	if (at < len && is_word(s[at]))
		return 0;
	if (at + 1 < len && s[at] == '.' && is_word(s[at + 1]))
		return 0;
	*out = code;
	return at;
}

void
enhanced_format(const struct enhanced_code *code, char out[16])
{
	snprintf(out, 16, "%u.%u.%u", code->class, code->subject, code->detail);
}

/* Appends len bytes; what cannot be shown becomes '?', what does not fit is left out, whole characters only. */
static void
append_text(struct reply *reply, const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;

	while (len > 0) {
		size_t n = utf8_seq_len(p, len);
		bool is_control = n == 1 ? p[0] < 0x20 || p[0] == 0x7f : n == 2 && p[0] == 0xc2 && p[1] < 0xa0;
		size_t take = n == 0 ? 1 : n;

		if (reply->len + take >= sizeof(reply->text))
			break;
		if (n == 1 && p[0] == '\t')
			reply->text[reply->len++] = ' ';
		else if (n == 0 || is_control)
			reply->text[reply->len++] = '?';
		else
			for (size_t i = 0; i < n; i++)
				reply->text[reply->len++] = (char)p[i];
		p += take;
		len -= take;
	}
	reply->text[reply->len] = '\0';
}

/* The text of a line behind the code and its separator. */
static void
append_line(struct reply *reply, const char *s, size_t len)
{
	struct enhanced_code enhanced;
	size_t n = enhanced_parse(s, len, &enhanced);

	if (n > 0 && enhanced.class == reply->code / 100) {
		if (reply->enhanced.class == 0)
			reply->enhanced = enhanced;
		s += n;
		len -= n;
		if (len > 0 && (s[0] == ' ' || s[0] == '\t')) {
			s++;
			len--;
		}
	}
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (reply->lines > 1 && reply->len + 1 < sizeof(reply->text)) {
		reply->text[reply->len++] = '\n';
		reply->text[reply->len] = '\0';
	}
	append_text(reply, s, len);
}

int
reply_line(struct reply *reply, const char *line, size_t len, const char **err_r)
{
	int code;

	if (len > REPLY_OCTETS_MAX || reply->octets + len > REPLY_OCTETS_MAX || reply->lines >= REPLY_LINES_MAX) {
		*err_r = "the reply is too long";
		return -1;
	}
	if (reply->is_complete || len < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) ||
	    !is_digit(line[2]) || (len > 3 && line[3] != ' ' && line[3] != '-')) {
		*err_r = "the reply is not SMTP";
		return -1;
	}
	code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
	if (reply->lines > 0 && code != reply->code) {
		*err_r = "the lines of the reply have different codes";
		return -1;
	}
	reply->code = code;
	reply->lines++;
	reply->octets += len + 2;
	append_line(reply, len > 4 ? line + 4 : "", len > 4 ? len - 4 : 0);
	reply->is_complete = len == 3 || line[3] == ' ';
	return reply->is_complete ? 1 : 0;
}
