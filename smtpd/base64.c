/* Decodes what a stranger sends for AUTH. Strict, because two readings of one string are two passwords. */
#include <string.h>

#include "smtpd/base64.h"

static int
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

long
base64_decode(const char *in, unsigned char *out, size_t outsize)
{
	size_t len = strlen(in), pad = 0, i, n = 0;
	unsigned acc = 0;
	int v;

	if (len % 4 != 0)
		return -1;
	while (pad < 2 && pad < len && in[len - 1 - pad] == '=')
		pad++;
	if (len / 4 * 3 - pad > outsize)
		return -1;
	for (i = 0; i < len - pad; i++) {
		if ((v = value_of(in[i])) == -1)
			return -1;
		acc = acc << 6 | (unsigned)v;
		if (i % 4 != 0)
			out[n++] = (unsigned char)(acc >> (6 - i % 4 * 2));
	}
	/* Bits that stand for nothing must be zero. */
	if ((pad == 1 && (acc & 3) != 0) || (pad == 2 && (acc & 15) != 0))
		return -1;
	return (long)n;
}
