/* Schedules (schedule.h): smtpd for the header, the policy engine for set_scheduling. Hostile: the header. jansson
 * reads it, once length and nesting are known to be small. */
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "mail/schedule.h"

#define NESTING_MAX 8
#define DAY_MS 86400000ll
#define AHEAD_MAX (366 * DAY_MS)

/* n digits at *s, which moves behind them. -1: they are not there. */
static int
digits(const char **s, int n)
{
	int v = 0;

	for (; n > 0; n--, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	return v;
}

static bool
skip(const char **s, const char *any)
{
	if (**s == '\0' || strchr(any, **s) == NULL)
		return false;
	(*s)++;
	return true;
}

/* "Z", "+01:00": minutes east. 0 or -1. */
static int
zone_parse(const char **s, int *minutes_r)
{
	int sign = **s == '-' ? -1 : 1, h, m;

	*minutes_r = 0;
	if (skip(s, "Zz"))
		return 0;
	if (!skip(s, "+-") || (h = digits(s, 2)) == -1 || !skip(s, ":") || (m = digits(s, 2)) == -1 || h > 23 || m > 59)
		return -1;
	*minutes_r = sign * (h * 60 + m);
	return 0;
}

int
rfc3339_parse(const char *s, int64_t *ms_r)
{
	struct tm tm, same;
	int64_t ms = 0, unit = 100;
	int east;
	time_t t;

	memset(&tm, 0, sizeof(tm));
	if ((tm.tm_year = digits(&s, 4)) < 1970 || !skip(&s, "-") || (tm.tm_mon = digits(&s, 2)) < 1 || !skip(&s,
	    "-") ||
	    (tm.tm_mday = digits(&s, 2)) < 1 || !skip(&s, "Tt ") || (tm.tm_hour = digits(&s, 2)) == -1 ||
	    !skip(&s, ":") || (tm.tm_min = digits(&s, 2)) == -1 || !skip(&s, ":") || (tm.tm_sec = digits(&s, 2)) == -1)
		return -1;
	if (skip(&s, ".")) {
		if (*s < '0' || *s > '9')
			return -1;
		for (; *s >= '0' && *s <= '9'; s++, unit /= 10)
			ms += (*s - '0') * unit;
	}
	if (zone_parse(&s, &east) == -1 || *s != '\0' || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	tm.tm_sec = tm.tm_sec == 60 ? 59 : tm.tm_sec; /* a leap second, which time_t does not have */
	same = tm;
	t = timegm(&same);
	/* The 31st of a shorter month, or the 13th month, would be another day. */
	if (t < 0 || same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday)
		return -1;
	*ms_r = ((int64_t)t - east * 60) * 1000 + ms;
	return *ms_r >= 0 ? 0 : -1;
}

int
schedule_set(struct schedule *s, const char *key, const char *text, double seconds, int64_t now, const char **err_r)
{
	static const char *const window[] = { "dow", "tz", "start", "end" };
	bool is_first = strcmp(key, "first_attempt") == 0;
	int64_t at;
	size_t i;

	for (i = 0; i < sizeof(window) / sizeof(window[0]); i++)
		if (strcmp(key, window[i]) == 0) {
			*err_r = "delivery windows (dow, tz, start, end) are not supported by this version";
			return -1;
		}
	if (!is_first && strcmp(key, "expires") != 0) {
		*err_r = "there is an unknown key in it: first_attempt and expires are known";
		return -1;
	}
	if (text == NULL) {
		if (!isfinite(seconds) || seconds < 0 || seconds > (double)AHEAD_MAX / 1000) {
			*err_r = "a number of seconds is negative or more than 366 days";
			return -1;
		}
		at = now + (int64_t)(seconds * 1000);
	} else if (rfc3339_parse(text, &at) == -1) {
		*err_r = "a time in it is not like 2026-11-26T10:00:00Z (RFC 3339)";
		return -1;
	}
	if (at > now + AHEAD_MAX) {
		*err_r = "a time in it is more than 366 days ahead";
		return -1;
	}
	*(is_first ? &s->first_attempt : &s->expires) = at;
	return 0;
}

int
schedule_check(const struct schedule *s, int64_t now, const char **err_r)
{
	if (s->expires != 0 && s->expires <= now)
		*err_r = "it has expired already";
	else if (s->expires != 0 && s->first_attempt >= s->expires)
		*err_r = "the first attempt is not before the expiry";
	else
		return 0;
	return -1;
}

/* The library recurses: not deep, in what is let through here. Brackets inside of strings count too. */
static bool
is_shallow(const char *p, size_t len)
{
	unsigned depth = 0;

	for (; len > 0; len--, p++) {
		if ((*p == '{' || *p == '[') && ++depth > NESTING_MAX)
			return false;
		if ((*p == '}' || *p == ']') && depth > 0)
			depth--;
	}
	return true;
}

int
schedule_parse(const char *json, size_t len, int64_t now, struct schedule *s, const char **err_r)
{
	const char *key;
	json_t *root, *v;
	int rc = 0;

	memset(s, 0, sizeof(*s));
	*err_r = "it is not a JSON object";
	if (len > SCHEDULE_TEXT_MAX || !is_shallow(json, len))
		return -1;
	root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return -1;
	}
	json_object_foreach(root, key, v) {
		*err_r = "a value in it is neither a time nor a number of seconds";
		if (rc == 0 && json_is_null(v))
			continue;
		if (rc == 0 && (json_is_string(v) || json_is_number(v)))
			rc = schedule_set(s, key, json_string_value(v), json_number_value(v), now, err_r);
		else
			rc = -1;
		if (rc == -1)
			break;
	}
	if (rc == 0)
		rc = schedule_check(s, now, err_r);
	json_decref(root);
	return rc;
}
