/* Punycode encoder (idna.h); pure. Input: the domain of a recipient address, hostile but bounded at 255 bytes. RFC
 * 3492 section 6.3. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mail/idna.h"
#include "mail/address.h"

enum { BASE = 36, TMIN = 1, TMAX = 26, SKEW = 38, DAMP = 700, INITIAL_BIAS = 72, INITIAL_N = 0x80 };
#define LABEL_MAX 63

static uint32_t
adapt(uint32_t delta, uint32_t count, int is_first)
{
	uint32_t k = 0;

	delta = is_first ? delta / DAMP : delta / 2;
	delta += delta / count;
	for (; delta > (BASE - TMIN) * TMAX / 2; k += BASE)
		delta /= BASE - TMIN;
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

static char
digit(uint32_t d)
{
	return (char)(d < 26 ? 'a' + d : '0' + d - 26);
}

/* Valid UTF-8 only (checked before). */
static size_t
decode_utf8(const char *s, size_t len, uint32_t *cp)
{
	size_t n = 0, i = 0;
	uint32_t c;
	int more;

	while (i < len) {
		c = (uint8_t)s[i++];
		more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0x80 ? 1 : 0;
		if (more > 0)
			c &= 0x3fu >> more;
		else if (c >= 'A' && c <= 'Z')
			c += 32;
		for (; more > 0 && i < len; more--)
			c = c << 6 | ((uint8_t)s[i++] & 0x3f);
		cp[n++] = c;
	}
	return n;
}

/* Writes delta as a generalised variable-length integer. */
static int
put_integer(uint32_t q, uint32_t bias, char *out, size_t *len, size_t size)
{
	uint32_t k, t;

	for (k = BASE;; k += BASE) {
		t = k <= bias ? TMIN : k >= bias + TMAX ? TMAX : k - bias;
		if (*len + 1 >= size)
			return -1;
		if (q < t)
			break;
		out[(*len)++] = digit(t + (q - t) % (BASE - t));
		q = (q - t) / (BASE - t);
	}
	out[(*len)++] = digit(q);
	return 0;
}

/* All code points equal to n in this round; h of the total are handled. */
static int
encode_round(const uint32_t *cp, size_t count, uint32_t n, uint32_t *delta, uint32_t *bias, uint32_t *h, uint32_t basic,
    char *out, size_t *len, size_t size)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (cp[i] < n)
			(*delta)++;
		if (cp[i] != n)
			continue;
		if (put_integer(*delta, *bias, out, len, size) == -1)
			return -1;
		*bias = adapt(*delta, *h + 1, *h == basic);
		*delta = 0;
		(*h)++;
	}
	return 0;
}

static int
encode_label(const uint32_t *cp, size_t count, char *out, size_t size)
{
	uint32_t n = INITIAL_N, delta = 0, bias = INITIAL_BIAS, h = 0, basic, m;
	size_t i, len = 0;

	for (i = 0; i < count; i++)
		if (cp[i] < 0x80 && len + 1 < size)
			out[len++] = (char)cp[i];
	basic = h = (uint32_t)len;
	if (basic > 0 && len + 1 < size)
		out[len++] = '-';
	while (h < count) {
		m = UINT32_MAX;
		for (i = 0; i < count; i++)
			if (cp[i] >= n && cp[i] < m)
				m = cp[i];
		/* At most 255 code points of 21 bits each: no overflow of 32 bits (RFC 3492 section 6.4) */
		delta += (m - n) * (h + 1);
		n = m;
		if (encode_round(cp, count, n, &delta, &bias, &h, basic, out, &len, size) == -1)
			return -1;
		delta++;
		n++;
	}
	out[len] = '\0';
	return 0;
}

static int
label_to_ascii(const char *s, size_t len, char out[LABEL_MAX + 1])
{
	uint32_t cp[256];
	size_t i;

	if (is_ascii(s, len)) {
		if (len > LABEL_MAX)
			return -1;
		for (i = 0; i < len; i++)
			out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
		out[len] = '\0';
		return 0;
	}
	memcpy(out, "xn--", 5);
	return encode_label(cp, decode_utf8(s, len, cp), out + 4, LABEL_MAX + 1 - 4);
}

int
idna_to_ascii(const char *domain, char *out, size_t outsize)
{
	size_t len = strlen(domain), used = 0, n;
	char label[LABEL_MAX + 1];
	const char *dot;

	if (len > 0 && domain[len - 1] == '.')
		len--;
	if (len == 0 || len > 255 || !utf8_valid(domain, len))
		return -1;
	for (;;) {
		dot = memchr(domain, '.', len);
		n = dot != NULL ? (size_t)(dot - domain) : len;
		if (n == 0 || label_to_ascii(domain, n, label) == -1)
			return -1;
		if (used + strlen(label) + 2 > outsize)
			return -1;
		used += (size_t)snprintf(out + used, outsize - used, "%s%s", used > 0 ? "." : "", label);
		if (dot == NULL)
			return 0;
		len -= n + 1;
		domain = dot + 1;
	}
}
