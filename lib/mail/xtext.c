/* xtext of RFC 3461 section 4 (see address.h): how ENVID, ORCPT and XCLIENT values travel. Hostile: the value decodes
 * to any octet, so what decodes to a control character is refused here, before it can reach a header or a log.
 *
 *   xtext = *( xchar / hexchar )    hexchar = "+" 2HEXDIG    xchar = "!".."~" without "+" and "="
 */

#include <string.h>

#include "mail/address.h"

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

int
xtext_decode(const char *in, size_t inlen, char *out, size_t outsize)
{
	size_t len = 0;

	for (size_t i = 0; i < inlen; i++) {
		int c = (unsigned char)in[i];

		if (c <= ' ' || c > '~' || c == '=')
			return -1;
		if (c == '+') {
			int high = inlen - i > 2 ? hex_value(in[i + 1]) : -1;
			int low = high < 0 ? -1 : hex_value(in[i + 2]);

			if (low < 0)
				return -1;
			c = high << 4 | low;
			i += 2;
		}
		if (c < ' ' || c == 0x7f || len + 1 >= outsize)
			return -1;
		out[len++] = (char)c;
	}
	if (outsize == 0)
		return -1;
	out[len] = '\0';
	return utf8_valid(out, len) ? 0 : -1;
}

int
xtext_encode(const char *in, char *out, size_t outsize)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t len = 0;

	for (; *in != '\0'; in++) {
		unsigned char c = (unsigned char)*in;
		bool is_plain = c > ' ' && c <= '~' && c != '+' && c != '=';

		if (outsize - len <= (is_plain ? 1u : 3u) || outsize <= len)
			return -1;
		if (is_plain) {
			out[len++] = (char)c;
		} else {
			out[len++] = '+';
			out[len++] = hex[c >> 4];
			out[len++] = hex[c & 15];
		}
	}
	if (len >= outsize)
		return -1;
	out[len] = '\0';
	return 0;
}
