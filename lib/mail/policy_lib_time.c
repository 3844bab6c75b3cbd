/* posthorn.time: points in time are numbers, seconds since 1970 with a fraction, and durations are seconds. Everything
 * is UTC: what mail does must not depend on the zone of the host. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/conf.h"
#include "mail/policy_lib.h"

#define SECONDS_MAX 253402300799.0 /* the end of the year 9999 */

static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov",
	"Dec" };

static int
time_now(lua_State *L)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
		return luaL_error(L, "there is no clock");
	lua_pushnumber(L, (lua_Number)ts.tv_sec + floor((lua_Number)ts.tv_nsec / 1e6) / 1000);
	return 1;
}

/* Checks every member, and that the month has that day. zone: minutes east. -1: not a time. */
static int
stamp(struct tm *tm, int zone, time_t *out)
{
	struct tm copy;

	if (tm->tm_year < 1970 || tm->tm_year > 9999 || tm->tm_mon < 1 || tm->tm_mon > 12 || tm->tm_mday < 1 ||
	    tm->tm_hour < 0 || tm->tm_hour > 23 || tm->tm_min < 0 || tm->tm_min > 59 || tm->tm_sec < 0 ||
	    tm->tm_sec > 60)
		return -1;
	tm->tm_year -= 1900;
	tm->tm_mon--;
	copy = *tm;
	*out = timegm(&copy);
	/* Another day after normalisation: there was no such day (a leap second may move the minute). */
	if (tm->tm_sec < 60 && copy.tm_mday != tm->tm_mday)
		return -1;
	*out -= (time_t)zone * 60;
	return 0;
}

/* NOLINTBEGIN(cert-err34-c): each conversion has a width that its type holds. */

/* "Z", "+02:00", "-0500"; -1: not a zone. */
static int
zone_parse(const char *s, int *zone)
{
	int h, m, n = 0;

	*zone = 0;
	if (strcasecmp(s, "Z") == 0 || strcmp(s, "GMT") == 0 || strcmp(s, "UT") == 0 || strcmp(s, "UTC") == 0)
		return 0;
	if ((*s != '+' && *s != '-') || strspn(s + 1, "0123456789:") != strlen(s + 1))
		return -1;
	if ((sscanf(s + 1, "%2d:%2d%n", &h, &m, &n) != 2 || s[1 + n] != '\0' || n != 5) &&
	    (sscanf(s + 1, "%2d%2d%n", &h, &m, &n) != 2 || s[1 + n] != '\0' || n != 4))
		return -1;
	if (h > 23 || m > 59)
		return -1;
	*zone = (*s == '-' ? -1 : 1) * (h * 60 + m);
	return 0;
}

static int
time_parse_rfc3339(lua_State *L)
{
	const char *s = luaL_checkstring(L, 1);
	struct tm tm = { 0 };
	lua_Number fraction = 0, unit = 1;
	int n = 0, zone;
	time_t t;

	if (sscanf(s, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
	    &tm.tm_sec, &n) != 6 || n != 19)
		return luaL_error(L, "'%s' is not a time such as '2026-05-01T12:00:00Z'", s);
	if (s[n] == '.')
		for (n++; s[n] >= '0' && s[n] <= '9'; n++)
			fraction += (unit /= 10) * (s[n] - '0');
	if (zone_parse(s + n, &zone) != 0 || stamp(&tm, zone, &t) != 0)
		return luaL_error(L, "'%s' is not a time such as '2026-05-01T12:00:00Z'", s);
	lua_pushnumber(L, (lua_Number)t + fraction);
	return 1;
}

static int
time_parse_rfc2822(lua_State *L)
{
	const char *s = luaL_checkstring(L, 1), *comma = strchr(s, ',');
	struct tm tm = { 0 };
	char month[4], zone_text[8];
	int n = 0, zone;
	time_t t;

	comma = comma != NULL ? comma + 1 : s;
	if (sscanf(comma, " %2d %3[A-Za-z] %4d %2d:%2d%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour,
		&tm.tm_min, &n) != 5)
		return luaL_error(L, "'%s' is not a date such as 'Fri, 1 May 2026 12:00:00 +0000'", s);
	comma += n;
	n = 0;
	if (*comma == ':' && sscanf(comma, ":%2d%n", &tm.tm_sec, &n) == 1)
		comma += n;
	for (tm.tm_mon = 1; tm.tm_mon <= 12 && strcasecmp(months[tm.tm_mon - 1], month) != 0; tm.tm_mon++)
		;
	if (sscanf(comma, " %7[-+0-9A-Z]", zone_text) != 1 || zone_parse(zone_text, &zone) != 0 ||
	    stamp(&tm, zone, &t) != 0)
		return luaL_error(L, "'%s' is not a date such as 'Fri, 1 May 2026 12:00:00 +0000'", s);
	lua_pushnumber(L, (lua_Number)t);
	return 1;
}

/* NOLINTEND(cert-err34-c) */

static int
time_parse_duration(lua_State *L)
{
	const char *s;
	int64_t ms;

	if (lua_type(L, 1) == LUA_TNUMBER) {
		lua_settop(L, 1);
		return 1;
	}
	s = luaL_checkstring(L, 1);
	if (conf_time_parse(s, &ms) != 0)
		return luaL_error(L, "'%s' is not a time (examples: '30s', '20 min', '5d'; a number means seconds)", s);
	lua_pushnumber(L, (lua_Number)ms / 1000);
	return 1;
}

static void
broken_down(lua_State *L, struct tm *tm)
{
	lua_Number t = luaL_checknumber(L, 1);
	time_t seconds;

	luaL_argcheck(L, t >= 0 && t <= SECONDS_MAX, 1, "not a time from 1970 to 9999");
	seconds = (time_t)t;
	gmtime_r(&seconds, tm);
}

static int
time_format(lua_State *L)
{
	size_t len, n;
	const char *format = luaL_checklstring(L, 2, &len);
	char out[512];
	struct tm tm;

	broken_down(L, &tm);
	luaL_argcheck(L, len > 0 && len <= 64 && strlen(format) == len, 2, "a format has 1 to 64 characters");
	/* A width ("%500d") could ask for anything; the buffer ends it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	n = strftime(out, sizeof(out), format, &tm);
#pragma GCC diagnostic pop
	if (n == 0)
		return luaL_error(L, "the format '%s' gives nothing, or more than %d characters", format,
		    (int)sizeof(out) - 1);
	lua_pushlstring(L, out, n);
	return 1;
}

static int
time_rfc3339(lua_State *L)
{
	char out[64];
	struct tm tm;

	broken_down(L, &tm);
	lua_pushlstring(L, out, strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%SZ", &tm));
	return 1;
}

static int
time_rfc2822(lua_State *L)
{
	char out[64];
	struct tm tm;

	broken_down(L, &tm);
	lua_pushlstring(L, out, strftime(out, sizeof(out), "%a, %d %b %Y %H:%M:%S +0000", &tm));
	return 1;
}

const luaL_Reg policy_lib_time[] = {
	{ "format", time_format },
	{ "now", time_now },
	{ "parse_duration", time_parse_duration },
	{ "parse_rfc2822", time_parse_rfc2822 },
	{ "parse_rfc3339", time_parse_rfc3339 },
	{ "rfc2822", time_rfc2822 },
	{ "rfc3339", time_rfc3339 },
	{ NULL, NULL }
};
