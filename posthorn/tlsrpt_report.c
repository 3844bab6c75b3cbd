/* A report (tlsrpt.h): its JSON, RFC 8460 section 4.4, and to whom it goes, section 3. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/slurp.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/sts_link.h"

#include "tlsrpt.h"

#define DAY 86400
#define RECEIVERS_MAX 5
#define CACHE_FILE_MAX (STS_POLICY_MAX + 1024)
#define VERSION "v=TLSRPTv1"

static json_t *
policy_lines(const char *text, json_t *hosts)
{
	json_t *lines = json_array();
	const char *end;
	size_t len;

	for (; *text != '\0'; text = *end == '\0' ? end : end + 1) {
		end = text + strcspn(text, "\n");
		len = (size_t)(end - text);
		if (len > 0 && text[len - 1] == '\r')
			len--;
		if (len == 0)
			continue;
		json_array_append_new(lines, json_stringn(text, len));
		if (len > 4 && strncmp(text, "mx: ", 4) == 0)
			json_array_append_new(hosts, json_stringn(text + 4, len - 4));
	}
	return lines;
}

/* The MTA-STS policy as it is kept now; it may be another than it was. */
static void
put_policy_string(const struct params *p, const char *domain, json_t *policy)
{
	char *file = xasprintf("%s/" STS_CACHE_DIR "/%s", p->data_directory, domain), *text;
	json_t *hosts = json_array();
	const char *body;
	size_t len;

	text = sts_domain_valid(domain) ? slurp(file, CACHE_FILE_MAX, &len) : NULL;
	if (text != NULL && (body = strstr(text, "\n\n")) != NULL) {
		json_object_set_new(policy, "policy-string", policy_lines(body + 2, hosts));
		json_object_set(policy, "mx-host", hosts);
	}
	json_decref(hosts);
	free(text);
	free(file);
}

static json_t *
one_policy(const struct params *p, const char *domain, const char *type, const json_t *counts)
{
	json_t *policy = json_object(), *summary = json_object(), *all = json_object(), *failures = json_array();
	json_t *details = json_object_get(counts, "details");
	void *it;

	json_object_set_new(policy, "policy-type", json_string(type));
	if (strcmp(type, "sts") == 0)
		put_policy_string(p, domain, policy);
	json_object_set_new(policy, "policy-domain", json_string(domain));
	json_object_set_new(summary, "total-successful-session-count",
	    json_integer(json_integer_value(json_object_get(counts, "success"))));
	json_object_set_new(summary, "total-failure-session-count",
	    json_integer(json_integer_value(json_object_get(counts, "failure"))));
	for (it = json_object_iter(details); it != NULL; it = json_object_iter_next(details, it))
		json_array_append(failures, json_object_iter_value(it));
	json_object_set_new(all, "policy", policy);
	json_object_set_new(all, "summary", summary);
	if (json_array_size(failures) > 0)
		json_object_set(all, "failure-details", failures);
	json_decref(failures);
	return all;
}

json_t *
tlsrpt_report(const struct params *p, const struct tlsrpt_day *day, const char *domain, json_t *collected)
{
	json_t *report = json_object(), *range = json_object(), *policies = json_array();
	char *begin = xasprintf("%sT00:00:00Z", day->text), *end = xasprintf("%sT23:59:59Z", day->text);
	char *id = xasprintf("%s_%s@%s", day->text, domain, p->myhostname);
	void *it;

	json_object_set_new(report, "organization-name", json_string(p->tls_report_organization));
	json_object_set_new(range, "start-datetime", json_string(begin));
	json_object_set_new(range, "end-datetime", json_string(end));
	json_object_set_new(report, "date-range", range);
	json_object_set_new(report, "contact-info", json_string(p->tls_report_contact));
	json_object_set_new(report, "report-id", json_string(id));
	for (it = json_object_iter(collected); it != NULL; it = json_object_iter_next(collected, it))
		json_array_append_new(policies, one_policy(p, domain, json_object_iter_key(it),
		    json_object_iter_value(it)));
	json_object_set_new(report, "policies", policies);
	free(begin);
	free(end);
	free(id);
	return report;
}

/* One URI; https: is for others to post to. */
static void
add_receiver(const char *uri, size_t len, struct addrlist *out)
{
	char text[ADDRESS_MAX], address[ADDRESS_MAX];

	if (len <= 7 || strncasecmp(uri, "mailto:", 7) != 0 || len - 7 >= sizeof(text) || out->n >= RECEIVERS_MAX)
		return;
	memcpy(text, uri + 7, len - 7);
	text[len - 7] = '\0';
	if (strpbrk(text, "%?<>\"") != NULL || strchr(text, '@') == NULL || address_parse(text, false, address) != 0)
		return;
	out->v = xreallocarray(out->v, out->n + 1, sizeof(*out->v));
	out->v[out->n++] = xstrdup(address);
}

static void
add_receivers(const char *p, const char *end, struct addrlist *out)
{
	const char *comma;
	size_t len;

	for (; p < end; p = comma + 1) {
		comma = memchr(p, ',', (size_t)(end - p));
		if (comma == NULL)
			comma = end;
		while (p < comma && (*p == ' ' || *p == '\t'))
			p++;
		len = strcspn(p, " \t,;"); /* the record has a NUL behind it */
		add_receiver(p, len < (size_t)(comma - p) ? len : (size_t)(comma - p), out);
	}
}

bool
tlsrpt_receivers(const char *txt, size_t len, struct addrlist *out)
{
	const char *end = txt + len, *p, *semi;

	if (len < sizeof(VERSION) || memcmp(txt, VERSION, sizeof(VERSION) - 1) != 0 || memchr(txt, '\0', len) != NULL)
		return false;
	p = txt + sizeof(VERSION) - 1;
	p += strspn(p, " \t");
	if (*p != ';')
		return false;
	for (p++; p < end; p = semi + 1) {
		semi = memchr(p, ';', (size_t)(end - p));
		if (semi == NULL)
			semi = end;
		p += strspn(p, " \t");
		if (semi - p > 4 && memcmp(p, "rua=", 4) == 0)
			add_receivers(p + 4, semi, out);
	}
	return true;
}
