/* Rates (rate.h). Texts are the administrator's; numbers are bounded so that no product here can overflow. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "mail/rate.h"

#define NS_PER_MS 1000000
#define WORDS 24

static const char not_a_rate[] =
    "is not a rate (examples: '100/s', '2000/h', '10/5min', '500/d,max_burst=20')";

/* Digits at *s, moved behind them. False: none, or too many. */
static bool
number_at(const char **s, int64_t max, int64_t *out)
{
	int64_t n = 0;

	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++) {
		n = n * 10 + (**s - '0');
		if (n > max)
			return false;
	}
	*out = n;
	return true;
}

/* "s", "5min", "hour": a unit, or a number with one. */
static bool
period_at(const char **s, int64_t *ms_r)
{
	size_t len = strcspn(*s, ",");
	char text[WORDS + 1];

	if (len == 0 || len >= WORDS)
		return false;
	(void)snprintf(text, sizeof(text), "%s%.*s", isdigit((unsigned char)**s) ? "" : "1", (int)len, *s);
	*s += len;
	return conf_time_parse(text, ms_r) == 0 && *ms_r >= 1 && *ms_r <= RATE_PERIOD_MAX;
}

static int64_t
default_burst(int64_t quantity, int64_t period, enum rate_default def)
{
	int64_t due = def == RATE_BUDGET ? quantity : quantity * 1000 / period;

	return due < 1 ? 1 : due;
}

const char *
rate_parse(const char *text, enum rate_default def, struct rate *out)
{
	const char *s = text;
	struct rate r;

	if (strncmp(s, "local:", 6) == 0)
		s += 6;
	if (!number_at(&s, RATE_QUANTITY_MAX, &r.quantity) || *s++ != '/' || !period_at(&s, &r.period))
		return not_a_rate;
	if (r.quantity == 0)
		return "is no rate: at least 1 (to stop a flow, suspend it)";
	r.burst = default_burst(r.quantity, r.period, def);
	if (*s != '\0') {
		if (strncmp(s, ",max_burst=", 11) != 0)
			return not_a_rate;
		s += 11;
		if (!number_at(&s, RATE_QUANTITY_MAX, &r.burst) || *s != '\0')
			return not_a_rate;
		if (r.burst == 0)
			return "has a max_burst of 0: at least 1";
	}
	*out = r;
	return NULL;
}

const char *
rate_format(const struct rate *r, enum rate_default def, char out[RATE_TEXT])
{
	static const struct {
		int64_t ms;
		const char *unit;
	} units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "min" }, { 1000, "s" }, { 1, "ms" } };
	size_t i = 0;
	int n;

	while (r->period % units[i].ms != 0)
		i++;
	if (r->period == units[i].ms)
		n = snprintf(out, RATE_TEXT, "%" PRId64 "/%s", r->quantity, units[i].unit);
	else
		n = snprintf(out, RATE_TEXT, "%" PRId64 "/%" PRId64 "%s", r->quantity, r->period / units[i].ms,
		    units[i].unit);
	if (r->burst != default_burst(r->quantity, r->period, def) && n > 0 && n < RATE_TEXT)
		(void)snprintf(out + n, RATE_TEXT - (size_t)n, ",max_burst=%" PRId64, r->burst);
	return out;
}

bool
rate_is_stricter(const struct rate *a, const struct rate *b)
{
	int64_t x, y;

	if (a->quantity == 0 || b->quantity == 0)
		return a->quantity != 0;
	/* 1e9 events times 8.64e9 ms fits. */
	x = a->quantity * b->period;
	y = b->quantity * a->period;
	return x < y || (x == y && a->burst < b->burst);
}

/* The time of n events: n times that of one, rounded up so that a period never holds one more, and so that n taken
 * one by
 * one are n. Beyond the clock's range the range is as good. */
static int64_t
span(const struct rate *r, int64_t n)
{
	__int128 ns = ((__int128)r->period * NS_PER_MS + r->quantity - 1) / r->quantity * n;

	return ns > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)ns;
}

/* The TAT as it counts at now: not in the past, and no further in the future than a burst reaches. */
static int64_t
effective(const struct rate *r, int64_t tat, int64_t now)
{
	int64_t most = now + span(r, r->burst);

	return tat < now ? now : tat > most ? most : tat;
}

int64_t
rate_wait(const struct rate *r, int64_t tat, int64_t now, int64_t n)
{
	int64_t due;

	if (n > r->burst)
		n = r->burst;
	due = effective(r, tat, now) + span(r, n) - span(r, r->burst);
	return due <= now ? 0 : due - now;
}

int64_t
rate_take(const struct rate *r, int64_t tat, int64_t now, int64_t n)
{
	return effective(r, tat, now) + span(r, n);
}

int64_t
rate_give_back(const struct rate *r, int64_t tat, int64_t n)
{
	return tat - span(r, n);
}

double
rate_fill(const struct rate *r, int64_t tat, int64_t now)
{
	double spent = (double)(effective(r, tat, now) - now) / (double)span(r, r->burst);

	return spent > 1 ? 1 : spent;
}
