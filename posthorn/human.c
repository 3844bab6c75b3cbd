/* Numbers, ages and times for people (see the header). Pure but for localtime. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "human.h"

void
human_size(int64_t bytes, char out[HUMAN_TEXT])
{
	static const char units[] = "kMGTP";
	double v = (double)bytes;
	int u = -1;

	while (v >= 1023.5 && u < 4) {
		v /= 1024;
		u++;
	}
	if (u == -1)
		snprintf(out, HUMAN_TEXT, "%" PRId64, bytes);
	else if (v < 9.95)
		snprintf(out, HUMAN_TEXT, "%.1f%c", v, units[u]);
	else
		snprintf(out, HUMAN_TEXT, "%.0f%c", v, units[u]);
}

void
human_age(int64_t ms, char out[HUMAN_TEXT])
{
	const char *sign = ms < 0 ? "-" : "";
	uint64_t v = ms < 0 ? -(uint64_t)ms : (uint64_t)ms, s = v / 1000;

	if (v < 1000)
		snprintf(out, HUMAN_TEXT, "%s%" PRIu64 "ms", sign, v);
	else if (s < 60)
		snprintf(out, HUMAN_TEXT, "%s%" PRIu64 "s", sign, s);
	else if (s < 3600)
		snprintf(out, HUMAN_TEXT, "%s%" PRIu64 "m%02" PRIu64 "s", sign, s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, HUMAN_TEXT, "%s%" PRIu64 "h%02" PRIu64 "m", sign, s / 3600, s / 60 % 60);
	else
		snprintf(out, HUMAN_TEXT, "%s%" PRIu64 "d%" PRIu64 "h", sign, s / 86400, s / 3600 % 24);
}

void
human_time(int64_t wall, char out[HUMAN_TEXT])
{
	time_t t = (time_t)(wall / 1000);
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(out, HUMAN_TEXT, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(out, HUMAN_TEXT, "-");
}

void
human_count(int64_t n, char out[HUMAN_TEXT])
{
	char digits[HUMAN_TEXT];
	size_t len, o = 0;

	snprintf(digits, sizeof(digits), "%" PRIu64, n < 0 ? -(uint64_t)n : (uint64_t)n);
	len = strlen(digits);
	if (n < 0)
		out[o++] = '-';
	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[o++] = ',';
		out[o++] = digits[i];
	}
	out[o] = '\0';
}

/* Length of the valid UTF-8 sequence at s, and its code point; 0 if it is none. */
static size_t
human_utf8(const unsigned char *s, size_t left, uint32_t *cp)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (n > left || !utf8_valid((const char *)s, n))
		return 0;
	*cp = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		*cp = *cp << 6 | (s[i] & 0x3fu);
	return n;
}

/* Would it act on a terminal instead of being seen? */
static bool
human_is_harmful(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x202a && cp <= 0x202e) ||
	    (cp >= 0x2066 && cp <= 0x2069) ||
	    cp == 0x200e || cp == 0x200f || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff;
}

char *
human_clean(const char *in)
{
	size_t len = strlen(in), o = 0;
	char *out = xmalloc(len + 1);

	for (size_t i = 0; i < len;) {
		uint32_t cp;
		size_t n = human_utf8((const unsigned char *)in + i, len - i, &cp);

		if (n == 0) {
			out[o++] = '?';
			i++;
		} else if (human_is_harmful(cp)) {
			out[o++] = cp == '\n' || cp == '\t' ? ' ' : '?';
			i += n;
		} else {
			memcpy(out + o, in + i, n);
			o += n;
			i += n;
		}
	}
	out[o] = '\0';
	return out;
}

size_t
human_width(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

int
human_parse_age(const char *s, int64_t *ms_r)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
		{ "w", 604800000 } };
	char *end;
	long long v;

	if (!isdigit((unsigned char)*s))
		return -1;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (errno != 0)
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit) == 0)
			return __builtin_mul_overflow(v, units[i].ms, ms_r) ? -1 : 0;
	}
	return -1;
}
