/* UTF-8 validation by the table of well-formed sequences (Unicode table 3-7, RFC 3629 section 4). Every daemon uses
 * it on bytes that strangers sent; it reads no byte beyond the length it was given. */
#include "base/utf8.h"

static bool
is_tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

size_t
utf8_seq_len(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;

	if (left == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < 2)
		return 0;
	if (p[0] < 0xe0)
		return is_tail(p[1]) ? 2 : 0;
	/* The second byte rules out overlong forms, surrogates and what is beyond U+10FFFF. */
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high || left < 3 || !is_tail(p[2]))
		return 0;
	if (p[0] < 0xf0)
		return 3;
	return left >= 4 && is_tail(p[3]) ? 4 : 0;
}

bool
utf8_is_valid(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	size_t at = 0, n;

	while (at < len) {
		if ((n = utf8_seq_len(p + at, len - at)) == 0)
			return false;
		at += n;
	}
	return true;
}
