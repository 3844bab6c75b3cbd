/* The fields of RFC 3464 and 6533, as they are met: groups that blank lines cut in two or that none separate, types
 * left out, addresses in angle brackets, Action missing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"

#include "mail/dsn_parse_private.h"

/* Recipients arrive field by field; a second one of a kind begins the next. */
struct group {
	char *final, *original, *diagnostic, *remote_mta, *extra;
	char status[12];
	enum dsn_kind action;
	bool is_begun;
};

struct dsn_report_rcpt *
dsnp_rcpt_add(struct dsn_report *r)
{
	struct dsn_report_rcpt *rcpt;

	if (r->n_rcpts == DSN_MAX_RCPTS)
		return NULL;
	if (r->n_rcpts == 0)
		r->rcpts = xcalloc(DSN_MAX_RCPTS, sizeof(*r->rcpts));
	rcpt = &r->rcpts[r->n_rcpts++];
	return rcpt;
}

/* "type; value" without the type. */
static const char *
without_type(const char *value)
{
	size_t len = strcspn(value, "; ");

	if (len < 40 && value[len] == ';')
		value += len + 1;
	return value + strspn(value, " ");
}

/* utf-8-addr-xtext of RFC 6533, \x{E4}, and those of RFC 3461's xtext that can be nothing else: in place. */
static void
unescape(char *s)
{
	char *to = s;

	while (*s != '\0') {
		unsigned long c;
		char *end;

		if (strncmp(s, "\\x{", 3) == 0 && (c = strtoul(s + 3, &end, 16)) > 0x20 && c <= 0x10ffff &&
		    *end == '}' && end - s <= 9 && (c < 0xd800 || c > 0xdfff) && (c < 0x7f || c > 0xa0)) {
			if (c < 0x80)
				*to++ = (char)c;
			else if (c < 0x800) {
				*to++ = (char)(0xc0 | c >> 6);
				*to++ = (char)(0x80 | (c & 63));
			} else if (c < 0x10000) {
				*to++ = (char)(0xe0 | c >> 12);
				*to++ = (char)(0x80 | (c >> 6 & 63));
				*to++ = (char)(0x80 | (c & 63));
			} else {
				*to++ = (char)(0xf0 | c >> 18);
				*to++ = (char)(0x80 | (c >> 12 & 63));
				*to++ = (char)(0x80 | (c >> 6 & 63));
				*to++ = (char)(0x80 | (c & 63));
			}
			s = end + 1;
		} else if (strncmp(s, "+2B", 3) == 0 || strncmp(s, "+3D", 3) == 0) {
			*to++ = s[1] == '2' ? '+' : '=';
			s += 3;
		} else
			*to++ = *s++;
	}
	*to = '\0';
}

/* New. The address in an "type; address" field, brackets and escapes removed. */
static char *
address_value(const struct mime_field *f)
{
	char value[DSN_MAX_ADDRESS + 80], *clean;
	const char *from;
	size_t len;

	(void)mime_value(f, value, sizeof(value));
	from = without_type(value);
	if (*from == '<' && strchr(from, '>') != NULL)
		len = strcspn(++from, ">");
	else
		/* A comment behind it is not part of it; a quoted local part may have blanks. */
		len = *from == '"' ? strlen(from) : strcspn(from, " ");
	clean = mime_clean(from, len, DSN_MAX_ADDRESS);
	unescape(clean);
	if (*clean == '\0') {
		free(clean);
		return NULL;
	}
	return clean;
}

static char *
typed_value(const struct mime_field *f, size_t max)
{
	char *text = mime_value_text(f, max), *value;

	value = xstrdup(without_type(text));
	free(text);
	if (*value == '\0') {
		free(value);
		return NULL;
	}
	return value;
}

static enum dsn_kind
action_value(const struct mime_field *f)
{
	static const struct {
		const char *word;
		enum dsn_kind kind;
	} words[] = { { "fail", DSN_KIND_FAILED }, { "delay", DSN_KIND_DELAYED }, { "deliver", DSN_KIND_DELIVERED },
		{ "relay", DSN_KIND_RELAYED }, { "expand", DSN_KIND_DELIVERED }, { "undeliver", DSN_KIND_FAILED } };
	char value[40];

	(void)mime_value(f, value, sizeof(value));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncasecmp(value, words[i].word, strlen(words[i].word)) == 0)
			return words[i].kind;
	return DSN_KIND_NONE;
}

static void
status_value(const struct mime_field *f, char out[12])
{
	static const char digits[] = "0123456789";
	size_t subject, detail;
	char value[80];

	(void)mime_value(f, value, sizeof(value));
	if (strchr("245", value[0]) == NULL || value[0] == '\0' || value[1] != '.')
		return;
	subject = strspn(value + 2, digits);
	if (subject < 1 || subject > 3 || value[2 + subject] != '.')
		return;
	detail = strspn(value + 3 + subject, digits);
	if (detail < 1 || detail > 3)
		return;
	memcpy(out, value, 3 + subject + detail);
	out[3 + subject + detail] = '\0';
}

static void
keep(char **to, char *value)
{
	if (*to == NULL)
		*to = value;
	else
		free(value);
}

/* A recipient that is named twice is one. */
static struct dsn_report_rcpt *
rcpt_of(struct dsn_report *r, const struct group *g)
{
	const char *address = g->final != NULL ? g->final : g->original;

	for (unsigned i = 0; i < r->n_rcpts; i++)
		if (r->rcpts[i].address != NULL && strcasecmp(r->rcpts[i].address, address) == 0)
			return &r->rcpts[i];
	return dsnp_rcpt_add(r);
}

static void
group_flush(struct dsn_report *r, struct group *g)
{
	struct dsn_report_rcpt *rcpt = NULL;

	if (g->is_begun)
		rcpt = rcpt_of(r, g);
	else if (r->n_rcpts > 0)
		rcpt = &r->rcpts[r->n_rcpts - 1]; /* the rest of a group that a blank line cut */
	if (rcpt != NULL) {
		bool use_original = g->original != NULL && (g->final == NULL ||
		    (strchr(g->final, '@') == NULL && strchr(g->original, '@') != NULL));

		keep(&rcpt->address, use_original ? xstrdup(g->original) : g->final);
		if (!use_original)
			g->final = NULL;
		keep(&rcpt->original, g->original);
		keep(&rcpt->diagnostic, g->diagnostic);
		keep(&rcpt->diagnostic, g->extra);
		keep(&rcpt->remote_mta, g->remote_mta);
		if (rcpt->action == DSN_KIND_NONE)
			rcpt->action = g->action;
		if (*rcpt->status == '\0')
			memcpy(rcpt->status, g->status, sizeof(rcpt->status));
		free(g->final);
	} else {
		free(g->final);
		free(g->original);
		free(g->diagnostic);
		free(g->extra);
		free(g->remote_mta);
	}
	memset(g, 0, sizeof(*g));
}

static bool
is_field(const struct mime_field *f, const char *name)
{
	return f->name.len == strlen(name) && strncasecmp(f->name.base, name, f->name.len) == 0;
}

static void
group_field(struct dsn_report *r, struct group *g, const struct mime_field *f)
{
	if (is_field(f, "Final-Recipient")) {
		if (g->final != NULL)
			group_flush(r, g);
		g->final = address_value(f);
		g->is_begun |= g->final != NULL;
	} else if (is_field(f, "Original-Recipient")) {
		if (g->original != NULL)
			group_flush(r, g);
		g->original = address_value(f);
		g->is_begun |= g->original != NULL;
	} else if (is_field(f, "Action"))
		g->action = action_value(f);
	else if (is_field(f, "Status"))
		status_value(f, g->status);
	else if (is_field(f, "Diagnostic-Code"))
		keep(&g->diagnostic, typed_value(f, DSN_MAX_DIAGNOSTIC));
	else if (is_field(f, "X-Supplementary-Info"))
		keep(&g->extra, typed_value(f, DSN_MAX_DIAGNOSTIC));
	else if (is_field(f, "Remote-MTA"))
		keep(&g->remote_mta, typed_value(f, DSN_MAX_TEXT));
	else if (is_field(f, "Reporting-MTA"))
		keep(&r->reporting_mta, typed_value(f, DSN_MAX_TEXT));
	else if (is_field(f, "Original-Envelope-Id"))
		keep(&r->envelope_id, mime_value_text(f, DSN_MAX_TEXT));
	else if (is_field(f, "Arrival-Date"))
		keep(&r->arrival_date, mime_value_text(f, DSN_MAX_TEXT));
}

bool
dsnp_fields(struct dsn_report *r, const char *text, size_t len)
{
	struct group g;
	size_t at = 0;

	memset(&g, 0, sizeof(g));
	while (at < len) {
		struct mime_head h;
		size_t n = mime_head_read(&h, text + at, len - at);

		for (unsigned i = 0; i < h.n; i++)
			group_field(r, &g, &h.fields[i]);
		if (h.n > 0)
			group_flush(r, &g);
		mime_head_clear(&h);
		if (n == 0) {
			const char *nl = memchr(text + at, '\n', len - at);

			n = nl == NULL ? len - at : (size_t)(nl + 1 - (text + at));
		}
		at += n;
	}
	return r->n_rcpts > 0;
}
