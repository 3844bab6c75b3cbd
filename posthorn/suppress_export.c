/* posthorn suppress export and report: the whole list, as CSV (which import reads back without loss) or JSON lines; and
 * what of it is doubtful. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"
#include "mail/suppress_csv.h"

#include "human.h"
#include "suppress.h"

struct export {
	FILE *f;
	bool is_csv;
	uint64_t n;
	struct wbuf line;
	const struct admin *adm;
	uint64_t n_role, n_odd;
};

static char *
text_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s == NULL ? NULL : xstrdup(s);
}

static int64_t
time_of(const json_t *row, const char *key)
{
	const char *s = json_string_value(json_object_get(row, key));
	int64_t ms = s == NULL ? 0 : suppress_time_of(s);

	return ms < 0 ? 0 : ms;
}

static unsigned
word_of(const json_t *row, const char *key, const char *const *names, unsigned n)
{
	const char *s = json_string_value(json_object_get(row, key));

	return s == NULL ? 0 : suppress_word(names, n, s);
}

static void
row_of(const json_t *j, struct suppress_row *row)
{
	const char *event = json_string_value(json_object_get(j, "event_id"));

	memset(row, 0, sizeof(*row));
	row->r.address = text_of(j, "address");
	row->r.scope = (uint8_t)word_of(j, "scope", suppress_scope_names, SUPPRESS_SCOPES);
	row->r.reason = (uint8_t)word_of(j, "reason", suppress_reason_names, SUPPRESS_REASONS);
	row->r.origin = (uint8_t)word_of(j, "origin", suppress_origin_names, SUPPRESS_ORIGINS);
	row->r.scope_value = text_of(j, "scope_value");
	row->added = time_of(j, "added");
	row->r.when = time_of(j, "event_time");
	row->r.expires = time_of(j, "expires");
	if (event != NULL && msgid_parse(event, &row->r.event) == -1)
		memset(&row->r.event, 0, sizeof(row->r.event));
	row->r.class = text_of(j, "class");
	row->r.cause = text_of(j, "cause");
	row->source = text_of(j, "source");
	row->r.note = text_of(j, "note");
}

static bool
on_row(json_t *j, const char *text, void *arg)
{
	struct export *e = arg;
	struct suppress_row row;

	e->n++;
	if (!e->is_csv) {
		fprintf(e->f, "%s\n", text);
		return ferror(e->f) == 0;
	}
	row_of(j, &row);
	wbuf_reset(&e->line);
	suppress_csv_write(&e->line, &row);
	suppress_row_clear(&row);
	return fwrite(e->line.p, 1, e->line.len, e->f) == e->line.len;
}

/* To the end; rows to fn. */
static int
walk(const struct admin *adm, const struct suppress_args *a, adm_row_fn *fn, struct export *e)
{
	struct adm_client *c = suppress_connect(adm);
	struct ql_admin req;
	char *text = NULL;
	int rv;

	if (c == NULL)
		return ADM_FAILED;
	adm_request_init(&req, "suppress.list");
	suppress_add_filter(&req, a);
	rv = adm_ask(c, &req, SUPPRESS_TIMEOUT, fn, e, &text);
	if (rv != 0)
		rv = adm_fail("suppress: %s", text);
	free(text);
	ql_admin_clear(&req);
	adm_disconnect(&c);
	return rv;
}

int
suppress_export(const struct admin *adm, const struct suppress_args *a)
{
	const char *format = a->format != NULL ? a->format : adm->json ? "json" : "csv";
	struct export e = { .f = stdout, .is_csv = strcmp(format, "csv") == 0, .adm = adm };
	char *tmp = NULL;
	int rv;

	if (!e.is_csv && strcmp(format, "json") != 0)
		return adm_usage("suppress", "--format is csv or json");
	/* A file appears when it is whole. */
	if (a->output != NULL) {
		tmp = xasprintf("%s.new", a->output);
		if ((e.f = fopen(tmp, "wxe")) == NULL) {
			rv = adm_fail("%s: %s", tmp, strerror(errno));
			free(tmp);
			return rv;
		}
	}
	wbuf_init(&e.line);
	if (e.is_csv) {
		suppress_csv_heading(&e.line);
		(void)fwrite(e.line.p, 1, e.line.len, e.f);
	}
	rv = walk(adm, a, on_row, &e);
	if (fflush(e.f) != 0 || ferror(e.f))
		rv = adm_fail("%s: the export is not whole: %s", a->output != NULL ? a->output : "standard output",
		    strerror(errno));
	if (tmp != NULL) {
		if (fclose(e.f) != 0 && rv == ADM_OK)
			rv = adm_fail("%s: %s", tmp, strerror(errno));
		if (rv == ADM_OK && rename(tmp, a->output) == -1)
			rv = adm_fail("%s: %s", a->output, strerror(errno));
		if (rv != ADM_OK)
			(void)remove(tmp);
	}
	wbuf_clear(&e.line);
	free(tmp);
	return rv;
}

/* Addresses of a function (RFC 2142 and what is usual), not of a person: a complaint or an unsubscribe of one speaks
 * for many, and lists that were bought are full of them. */
static bool
is_role(const char *address)
{
	static const char *const roles[] = { "abuse", "admin", "billing", "compliance", "contact", "devnull", "dns",
		"ftp",
		"help", "hello", "hostmaster", "info", "inoc", "ispfeedback", "ispsupport", "jobs", "kontakt", "list",
		"list-request", "mail", "mailer-daemon", "maildaemon", "marketing", "media", "news", "no-reply", "noc",
		"noreply", "null", "office", "phish", "phishing", "post", "postmaster", "press", "privacy", "registrar",
		"root", "sales", "security", "service", "spam", "support", "sysadmin", "tech", "trouble", "usenet",
		"uucp",
		"webmaster", "www" };
	const char *at = strrchr(address, '@');
	size_t i;

	for (i = 0; at != NULL && i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strlen(roles[i]) == (size_t)(at - address) &&
		    strncasecmp(roles[i], address, (size_t)(at - address)) == 0)
			return true;
	return false;
}

/* Valid as text, but nobody's: what is wrong with it (static), or NULL. */
static const char *
oddity(const char *address)
{
	const char *at = strrchr(address, '@'), *domain = at == NULL ? address : at + 1, *dot = strrchr(domain, '.');

	if (*domain == '[')
		return "an address literal";
	if (dot == NULL)
		return "its domain has no dot";
	if (strspn(dot + 1, "0123456789") == strlen(dot + 1))
		return "its domain ends in a number";
	if (strcmp(dot, ".invalid") == 0 || strcmp(dot, ".test") == 0 || strcmp(dot, ".example") == 0 ||
	    strcmp(dot, ".localhost") == 0 || strcmp(dot, ".local") == 0)
		return "its domain does not exist";
	if (at != NULL && *address == '"')
		return "its local part is quoted";
	if (strcmp(dot, ".con") == 0 || strcmp(dot, ".cmo") == 0 || strcmp(dot, ".ocm") == 0)
		return "its domain looks mistyped";
	return NULL;
}

static bool
on_report(json_t *j, const char *text, void *arg)
{
	struct export *e = arg;
	const char *address = json_string_value(json_object_get(j, "address")), *why;
	char *clean;
	bool role;

	(void)text;
	e->n++;
	if (address == NULL)
		return true;
	role = is_role(address);
	why = role ? "an address of a function" : oddity(address);
	e->n_role += role;
	e->n_odd += !role && why != NULL;
	if (why == NULL)
		return true;
	if (e->adm->json) {
		json_t *o = json_pack("{s:s, s:s, s:s}", "address", address, "kind", role ?
		    "role" : "malformed", "why", why);

		if (o != NULL)
			json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(o);
	} else {
		clean = human_clean(address);
		printf("%s: %s\n", clean, why);
		free(clean);
	}
	return true;
}

int
suppress_report(const struct admin *adm, const struct suppress_args *a)
{
	struct export e = { .adm = adm };
	int rv = walk(adm, a, on_report, &e);

	if (rv == ADM_OK && !adm->json)
		printf("%llu rows, %llu of them of functions, %llu malformed or nobody's\n", (unsigned long long)e.n,
		    (unsigned long long)e.n_role, (unsigned long long)e.n_odd);
	return rv;
}
