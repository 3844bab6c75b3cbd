/* What headings and words of other services' exports mean (suppress_csv.h): pure, on text that a stranger may have
 * written. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mail/suppress_csv.h"

#define WORD_MAX 64

/* Headings without anything but letters and digits, in lower case. */
static const struct {
	const char *name;
	enum suppress_column column;
} headings[] = {
	{ "address", COL_ADDRESS }, { "email", COL_ADDRESS }, { "emailaddress", COL_ADDRESS },
	{ "recipient", COL_ADDRESS }, { "rcpt", COL_ADDRESS }, { "rcptto", COL_ADDRESS },
	{ "mail", COL_ADDRESS }, { "emails", COL_ADDRESS }, { "destination", COL_ADDRESS },
	{ "recipientaddress", COL_ADDRESS }, { "domain", COL_ADDRESS },
	{ "type", COL_KIND }, { "suppressionreason", COL_KIND }, { "bouncetype", COL_KIND }, { "kind", COL_KIND },
	{ "category", COL_KIND }, { "event", COL_KIND }, { "source", COL_SOURCE }, { "reason", COL_REASON },
	{ "unsubreason", COL_REASON }, { "suppressiontype", COL_KIND },
	{ "status", COL_STATUS }, { "code", COL_STATUS }, { "smtpcode", COL_STATUS }, { "errorcode", COL_STATUS },
	{ "created", COL_TIME }, { "createdat", COL_TIME }, { "date", COL_TIME }, { "time", COL_TIME },
	{ "timestamp", COL_TIME }, { "lastupdatetime", COL_TIME }, { "bouncedat", COL_TIME },
	{ "eventtime", COL_TIME }, { "unsubscribedat", COL_TIME },
	{ "error", COL_NOTE }, { "description", COL_NOTE }, { "details", COL_NOTE }, { "note", COL_NOTE },
	{ "notes", COL_NOTE },
	{ "scope", COL_SCOPE }, { "scopevalue", COL_SCOPE_VALUE }, { "origin", COL_ORIGIN }, { "added", COL_ADDED },
	{ "expires", COL_EXPIRES }, { "eventid", COL_EVENT }, { "class", COL_CLASS }, { "cause", COL_CAUSE },
	{ "cleantime", COL_CLEANED }, { "cleaned", COL_CLEANED }, { "unsubtime", COL_UNSUBSCRIBED },
	{ "tags", COL_TAGS }, { "tag", COL_TAGS }, { "groupid", COL_TAGS }, { "group", COL_TAGS },
	{ "groupname", COL_TAGS }, { "ip", COL_IP }, { "optintime", COL_SUBSCRIBED }, { "confirmtime", COL_SUBSCRIBED },
};

/* The letters and digits of it, in lower case; cut. */
static void
squeeze(const char *text, char out[WORD_MAX])
{
	size_t n = 0;

	for (; *text != '\0' && n < WORD_MAX - 1; text++)
		if (isalnum((unsigned char)*text))
			out[n++] = (char)tolower((unsigned char)*text);
	out[n] = '\0';
}

int
suppress_column_of(const char *name)
{
	char word[WORD_MAX];
	size_t i;

	squeeze(name, word);
	for (i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
		if (strcmp(headings[i].name, word) == 0)
			return (int)headings[i].column;
	return -1;
}

/* In this order: "soft bounce" is no hard one, "Spam Complaint" no bounce. */
static const struct {
	const char *part;
	unsigned kind;
} words[] = {
	{ "soft", SUPPRESS_KIND_SOFT }, { "transient", SUPPRESS_KIND_SOFT }, { "temporar", SUPPRESS_KIND_SOFT },
	{ "blocked", SUPPRESS_KIND_SOFT }, { "autoresponder", SUPPRESS_KIND_SOFT },
	{ "complain", SUPPRESS_COMPLAINT }, { "spam", SUPPRESS_COMPLAINT }, { "abuse", SUPPRESS_COMPLAINT },
	{ "unsub", SUPPRESS_UNSUBSCRIBE }, { "optout", SUPPRESS_UNSUBSCRIBE }, { "optedout", SUPPRESS_UNSUBSCRIBE },
	{ "hard", SUPPRESS_HARD_BOUNCE }, { "bounce", SUPPRESS_HARD_BOUNCE }, { "permanent", SUPPRESS_HARD_BOUNCE },
	{ "undeliver", SUPPRESS_HARD_BOUNCE }, { "invalid", SUPPRESS_HARD_BOUNCE },
	{ "cleaned", SUPPRESS_HARD_BOUNCE }, { "bademail", SUPPRESS_HARD_BOUNCE },
	{ "manual", SUPPRESS_MANUAL }, { "compliance", SUPPRESS_MANUAL }, { "imported", SUPPRESS_IMPORTED },
};

unsigned
suppress_kind_of(const char *text)
{
	char word[WORD_MAX];
	size_t i;

	squeeze(text, word);
	if (strncmp(word, "unsub", 5) == 0)
		return SUPPRESS_UNSUBSCRIBE;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(word, words[i].part) != NULL)
			return words[i].kind;
	return 0;
}

static int64_t
days_from_civil(int64_t y, unsigned m, unsigned d)
{
	int64_t era;
	unsigned yoe, doy;

	y -= m <= 2;
	era = y / 400;
	yoe = (unsigned)(y - era * 400);
	doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

/* Exactly n digits. */
static int
digits(const char **p, unsigned n)
{
	int v = 0;

	while (n-- > 0) {
		if (!isdigit((unsigned char)**p))
			return -1;
		v = v * 10 + (*(*p)++ - '0');
	}
	return v;
}

/* "+01:00", "-0500", "Z", "UTC", nothing: minutes east. */
static int
zone(const char *p)
{
	int sign, h, m;

	p += strspn(p, " ");
	if (*p != '+' && *p != '-')
		return 0;
	sign = *p++ == '-' ? -1 : 1;
	if ((h = digits(&p, 2)) == -1)
		return 0;
	p += *p == ':';
	m = digits(&p, 2);
	return sign * (h * 60 + (m == -1 ? 0 : m));
}

/* "10:11:12.345+01:00"; -1. */
static int64_t
time_of_day(const char *p)
{
	int h, m, s = 0, ms = 0, scale = 100;

	h = digits(&p, 2);
	if (h == -1 || h > 23 || *p++ != ':' || (m = digits(&p, 2)) == -1 || m > 59)
		return -1;
	if (*p == ':' && (p++, (s = digits(&p, 2)) == -1 || s > 60))
		return -1;
	if (*p == '.' || *p == ',')
		for (p++; isdigit((unsigned char)*p); p++, scale /= 10)
			ms += (*p - '0') * scale;
	return ((int64_t)h * 3600 + m * 60 + s - zone(p) * 60) * 1000 + ms;
}

/* 2026-05-03, 2026-05-03T10:11:12Z, 2026-05-03 10:11:12 */
static int64_t
iso_time(const char *p)
{
	int y = digits(&p, 4), m, d;
	int64_t ms = 0;

	if (y == -1 || (*p != '-' && *p != '/'))
		return -1;
	p++;
	m = digits(&p, 2);
	if (m < 1 || m > 12 || (*p != '-' && *p != '/'))
		return -1;
	p++;
	d = digits(&p, 2);
	if (d < 1 || d > 31)
		return -1;
	if (*p == 'T' || *p == ' ')
		ms = time_of_day(p + 1);
	return ms == -1 || (*p != '\0' && *p != 'T' && *p != ' ') ? -1 : days_from_civil(y, (unsigned)m, (unsigned)d) *
	    86400000 + ms;
}

/* Fri, 21 Oct 2011 11:02:55 UTC */
static int64_t
mail_time(const char *p)
{
	static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
	const char *comma = strchr(p, ',');
	char month[4] = "";
	char *end;
	long d, y, m;
	int64_t ms;

	p = comma != NULL ? comma + 1 : p;
	d = strtol(p, &end, 10);
	if (end == p || d < 1 || d > 31)
		return -1;
	p = end + strspn(end, " -");
	strncpy(month, p, 3);
	for (m = 0; m < 12 && strncasecmp(months + 3 * m, month, 3) != 0; m++)
		continue;
	if (m == 12 || strlen(month) != 3)
		return -1;
	p += 3;
	p += strspn(p, " -");
	y = strtol(p, &end, 10);
	if (end == p || y < 1970 || y > 9999)
		return -1;
	p = end + strspn(end, " ");
	ms = *p == '\0' ? 0 : time_of_day(p);
	return ms == -1 ? -1 : days_from_civil(y, (unsigned)m + 1, (unsigned)d) * 86400000 + ms;
}

int64_t
suppress_time_of(const char *text)
{
	size_t n;
	int64_t ms;

	text += strspn(text, " ");
	n = strspn(text, "0123456789");
	if (n >= 9 && n <= 13 && (text[n] == '\0' || text[n] == '.')) {
		ms = strtoll(text, NULL, 10);
		return n <= 10 ? ms * 1000 : n >= 12 ? ms : -1;
	}
	ms = n == 4 ? iso_time(text) : mail_time(text);
	return ms < 0 ? -1 : ms;
}
