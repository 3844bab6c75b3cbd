/* The proleptic Gregorian calendar in UTC by arithmetic alone (the eras of 400 years that start on 1 March, so that
 * the leap day comes last). Used for each line of both logs, in every process. */
#include "base/timefmt.h"

#define MS_PER_DAY 86400000LL
#define DAYS_PER_ERA 146097
#define MIN_MS (-62167219200000LL) /* 0000-01-01 */
#define MAX_MS 253402300799999LL   /* 9999-12-31T23:59:59.999 */

void
time_civil(int64_t wall_ms, struct civil *c)
{
	int64_t days, era;
	uint32_t rest, doe, yoe, doy, mp;

	if (wall_ms < MIN_MS)
		wall_ms = MIN_MS;
	if (wall_ms > MAX_MS)
		wall_ms = MAX_MS;
	days = wall_ms / MS_PER_DAY;
	if (wall_ms % MS_PER_DAY < 0)
		days--;
	rest = (uint32_t)(wall_ms - days * MS_PER_DAY);
	c->weekday = (unsigned)(((days + 4) % 7 + 7) % 7);

	days += 719468; /* from 0000-03-01 to 1970-01-01 */
	era = (days >= 0 ? days : days - DAYS_PER_ERA + 1) / DAYS_PER_ERA;
	doe = (uint32_t)(days - era * DAYS_PER_ERA);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	c->day = doy - (153 * mp + 2) / 5 + 1;
	c->month = mp < 10 ? mp + 3 : mp - 9;
	c->year = (int)yoe + (int)(era * 400) + (c->month <= 2);

	c->ms = rest % 1000;
	rest /= 1000;
	c->second = rest % 60;
	rest /= 60;
	c->minute = rest % 60;
	c->hour = rest / 60;
}

static char *
put_digits(char *p, unsigned value, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--) {
		p[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return p + digits;
}

void
time_rfc3339(int64_t wall_ms, char out[TIME_RFC3339_LEN + 1])
{
	struct civil c;
	char *p = out;

	time_civil(wall_ms, &c);
	p = put_digits(p, (unsigned)c.year, 4);
	*p++ = '-';
	p = put_digits(p, c.month, 2);
	*p++ = '-';
	p = put_digits(p, c.day, 2);
	*p++ = 'T';
	p = put_digits(p, c.hour, 2);
	*p++ = ':';
	p = put_digits(p, c.minute, 2);
	*p++ = ':';
	p = put_digits(p, c.second, 2);
	*p++ = '.';
	p = put_digits(p, c.ms, 3);
	*p++ = 'Z';
	*p = '\0';
}
