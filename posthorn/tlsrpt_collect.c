/* TlsSession records of a day, counted (tlsrpt.h). Most strings are a stranger's; jansson writes them, and of different
 * failures of a domain only so many are told apart. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/xalloc.h"

#include "admin.h"
#include "tlsrpt.h"

#define DAY 86400
#define DETAILS_MAX 500
#define DOMAINS_MAX 200000

bool
tlsrpt_day(const char *text, int64_t now, struct tlsrpt_day *day)
{
	struct tm tm = { 0 };
	const char *end;
	time_t t;

	if (text == NULL) {
		day->begin = now / DAY * DAY - DAY;
	} else {
		end = strptime(text, "%Y-%m-%d", &tm);
		if (end == NULL || *end != '\0')
			return false;
		day->begin = timegm(&tm);
	}
	t = (time_t)day->begin;
	gmtime_r(&t, &tm);
	return day->begin >= 0 && strftime(day->text, sizeof(day->text), "%Y-%m-%d", &tm) > 0;
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

/* A member that is an object, made if it is not there. */
static json_t *
member(json_t *o, const char *key)
{
	json_t *m = json_object_get(o, key);

	if (m == NULL) {
		m = json_object();
		json_object_set_new(o, key, m);
	}
	return m;
}

static void
add_one(json_t *o, const char *key)
{
	json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + 1));
}

/* "192.0.2.1:4711" without the port, "[2001:db8::1]:4711" without that and the brackets. */
static char *
without_port(const char *address)
{
	const char *end = strrchr(address, ':');

	if (end == NULL)
		return xstrdup(address);
	if (address[0] == '[' && end > address + 1 && end[-1] == ']')
		return xmemdup0(address + 1, (size_t)(end - address - 2));
	return xmemdup0(address, (size_t)(end - address));
}

static void
put_if_any(json_t *o, const char *key, const char *value)
{
	if (*value != '\0')
		json_object_set_new(o, key, json_string(value));
}

static void
count_failure(json_t *policy, const json_t *ev, const char *result)
{
	const json_t *peer = json_object_get(ev, "peer_address");
	char *ip = without_port(text_of(json_object_get(ev, "source_address"), "address"));
	json_t *details = member(policy, "details"), *d;
	const char *why = text_of(json_object_get(ev, "response"), "content");
	char *key = xasprintf("%s %s %s %s %s", result, ip, text_of(peer, "name"), text_of(peer, "addr"), why);

	add_one(policy, "failure");
	if (json_object_get(details, key) == NULL && json_object_size(details) >= DETAILS_MAX) {
		free(key);
		free(ip);
		return;
	}
	d = member(details, key);
	put_if_any(d, "result-type", result);
	put_if_any(d, "sending-mta-ip", ip);
	put_if_any(d, "receiving-mx-hostname", text_of(peer, "name"));
	put_if_any(d, "receiving-ip", text_of(peer, "addr"));
	put_if_any(d, "failure-reason-code", why);
	add_one(d, "failed-session-count");
	free(key);
	free(ip);
}

static void
count(json_t *domains, const json_t *ev)
{
	const char *domain = text_of(ev, "domain"), *type = text_of(ev, "tls_policy"), *result = text_of(ev,
	    "tls_result");
	json_t *policy;

	if (*domain == '\0' || *type == '\0' || *result == '\0' ||
	    (json_object_get(domains, domain) == NULL && json_object_size(domains) >= DOMAINS_MAX))
		return;
	policy = member(member(domains, domain), type);
	if (strcmp(result, "success") == 0)
		add_one(policy, "success");
	else
		count_failure(policy, ev, result);
}

/* An hour without a file is one without events. 0, or -1. */
static int
read_hour(json_t *domains, const char *path)
{
	static const char mark[] = "{\"type\":\"TlsSession\"";
	FILE *f = fopen(path, "re");
	char *line = NULL, *at;
	size_t size = 0;
	json_t *ev;

	if (f == NULL)
		return errno == ENOENT ? 0 : -1;
	while (getline(&line, &size, f) > 0) {
		/* After a torn line of another record too (events(5)). */
		if ((at = strstr(line, mark)) == NULL || (ev = json_loads(at, 0, NULL)) == NULL)
			continue;
		count(domains, ev);
		json_decref(ev);
	}
	free(line);
	fclose(f);
	return 0;
}

json_t *
tlsrpt_collect(const struct params *p, const struct tlsrpt_day *day)
{
	json_t *domains = json_object();
	struct tm tm;
	char *path;
	int hour, r = 0;
	time_t t;

	for (hour = 0; hour < 24 && r == 0; hour++) {
		t = (time_t)(day->begin + hour * 3600);
		gmtime_r(&t, &tm);
		path = xasprintf("%s/events/%04d%02d%02dT%02d.jsonl", p->log_directory, tm.tm_year + 1900,
		    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour);
		if ((r = read_hour(domains, path)) == -1)
			(void)adm_fail("%s: %s", path, strerror(errno));
		free(path);
	}
	if (r == 0)
		return domains;
	json_decref(domains);
	return NULL;
}
