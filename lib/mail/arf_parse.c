/* Reading complaints (see arf_parse.h). What a thin report leaves out is taken from the headers of the message that
 * it is about, and marked as such: they were ours once, but have passed through strangers' hands. */
#include <arpa/inet.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"

#include "mail/arf_parse.h"
#include "mail/dsn_parse_private.h"

struct complaint {
	struct arf_report *r;
	struct mime m;
	struct mime_head original;
	char *text; /* that the original lies in */
};

static void
list_add(struct arf_list *l, char *value)
{
	if (value == NULL || *value == '\0' || l->n == ARF_MAX_VALUES) {
		free(value);
		return;
	}
	if (l->n == 0)
		l->values = xcalloc(ARF_MAX_VALUES, sizeof(*l->values));
	l->values[l->n++] = value;
}

static void
keep(char **to, char *value)
{
	if (*to == NULL && value != NULL && *value != '\0')
		*to = value;
	else
		free(value);
}

/* "<a@b>" and "rfc822; a@b" without what is around it; in place. */
static char *
bare_address(char *value)
{
	char *from = value, *semicolon = strchr(value, ';');

	if (semicolon != NULL && semicolon - value < 20 && memchr(value, '@', (size_t)(semicolon - value)) == NULL)
		from = semicolon + 1 + strspn(semicolon + 1, " ");
	if (*from == '<') {
		from++;
		from[strcspn(from, ">")] = '\0';
	}
	memmove(value, from, strlen(from) + 1);
	return value;
}

/* The address of a host in its usual form, new; NULL: it is none. */
static char *
ip_text(const char *text, size_t len)
{
	char buf[64], out[INET6_ADDRSTRLEN];
	unsigned char addr[16];

	while (len > 0 && strchr(" [(", *text) != NULL) {
		text++;
		len--;
	}
	if (len > 5 && strncasecmp(text, "IPv6:", 5) == 0) {
		text += 5;
		len -= 5;
	}
	for (size_t n = 0; n < len; n++)
		if (!isxdigit((unsigned char)text[n]) && text[n] != '.' && text[n] != ':')
			len = n;
	if (len == 0 || len >= sizeof(buf))
		return NULL;
	memcpy(buf, text, len);
	buf[len] = '\0';
	if (inet_pton(AF_INET, buf, addr) == 1)
		return xstrdup(inet_ntop(AF_INET, addr, out, sizeof(out)));
	if (inet_pton(AF_INET6, buf, addr) == 1)
		return xstrdup(inet_ntop(AF_INET6, addr, out, sizeof(out)));
	return NULL;
}

/* Not an address inside somebody's network. */
static bool
is_public(const char *ip)
{
	unsigned char a[16];

	if (inet_pton(AF_INET, ip, a) == 1)
		return a[0] != 10 && a[0] != 127 && a[0] != 0 && !(a[0] == 192 && a[1] == 168) &&
		    !(a[0] == 172 && (a[1] & 0xf0) == 16) && !(a[0] == 169 && a[1] == 254) &&
		    !(a[0] == 100 && (a[1] & 0xc0) == 64) && a[0] < 224;
	return inet_pton(AF_INET6, ip, a) == 1 && (a[0] & 0xe0) == 0x20;
}

/* ---- the fields ---- */

static bool
field_list(struct arf_report *r, const char *name, char *value)
{
	const struct {
		const char *name;
		struct arf_list *list;
		bool is_address;
	} lists[] = { { "Original-Rcpt-To", &r->original_rcpt_to, true },
		{ "Reported-Domain", &r->reported_domain, false },
		{ "Reported-URI", &r->reported_uri, false },
		{ "Authentication-Results", &r->authentication_results, false } };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (strcasecmp(name, lists[i].name) == 0) {
			list_add(lists[i].list, lists[i].is_address ? bare_address(value) : value);
			return true;
		}
	}
	return false;
}

static bool
field_once(struct arf_report *r, const char *name, char *value)
{
	if (strcasecmp(name, "Feedback-Type") == 0) {
		value[strcspn(value, "; ")] = '\0';
		for (char *p = value; *p != '\0'; p++)
			*p = (char)tolower((unsigned char)*p);
		keep(&r->feedback_type, value);
	} else if (strcasecmp(name, "User-Agent") == 0)
		keep(&r->user_agent, value);
	else if (strcasecmp(name, "Version") == 0)
		keep(&r->version, value);
	else if (strcasecmp(name, "Arrival-Date") == 0 || strcasecmp(name, "Received-Date") == 0)
		keep(&r->arrival_date, value);
	else if (strcasecmp(name, "Original-Mail-From") == 0 && r->original_mail_from == NULL)
		r->original_mail_from = bare_address(value); /* "<>" says something, too: "" */
	else if (strcasecmp(name, "Original-Mail-From") == 0)
		free(value);
	else if (strcasecmp(name, "Original-Envelope-Id") == 0)
		keep(&r->original_envelope_id, value);
	else if (strcasecmp(name, "Source-IP") == 0) {
		keep(&r->source_ip, ip_text(value, strlen(value)));
		free(value);
	} else if (strcasecmp(name, "Incidents") == 0) {
		unsigned long n = strtoul(value, NULL, 10);

		if (r->incidents == 0 && isdigit((unsigned char)*value) && n <= UINT32_MAX)
			r->incidents = (uint32_t)n;
		free(value);
	} else if (strcasecmp(name, "Reporting-MTA") == 0) {
		char *mta = strchr(value, ';');

		if (mta != NULL) {
			keep(&r->reporting_mta_type, xmemdup0(value, (size_t)(mta - value)));
			keep(&r->reporting_mta, xstrdup(mta + 1 + strspn(mta + 1, " ")));
			free(value);
		} else
			keep(&r->reporting_mta, value);
	} else
		return false;
	return true;
}

static void
read_fields(struct arf_report *r, const struct mime_head *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		char name[80], *value;

		if (h->fields[i].name.len >= sizeof(name))
			continue;
		memcpy(name, h->fields[i].name.base, h->fields[i].name.len);
		name[h->fields[i].name.len] = '\0';
		value = mime_value_text(&h->fields[i], ARF_MAX_TEXT);
		if (field_once(r, name, value) || field_list(r, name, value))
			continue;
		if (r->n_extensions == ARF_MAX_EXTENSIONS || strncasecmp(name, "Content-", 8) == 0) {
			free(value);
			continue;
		}
		if (r->n_extensions == 0)
			r->extensions = xcalloc(ARF_MAX_EXTENSIONS, sizeof(*r->extensions));
		r->extensions[r->n_extensions++] = (struct arf_extension){ xstrdup(name), value };
	}
}

/* The blocks of the fields, though blank lines stand between them. Where the part's type does not say so, its first
 * block must be them, and what follows may be anything. */
static bool
read_blocks(struct arf_report *r, const char *text, size_t len, bool is_typed)
{
	size_t at = 0;

	while (at < len) {
		struct mime_head h;
		size_t n;

		if (text[at] == '\n') {
			at++;
			continue;
		}
		n = mime_head_read(&h, text + at, len - at);
		if (is_typed || mime_head_find(&h, "Feedback-Type") != NULL)
			read_fields(r, &h);
		mime_head_clear(&h);
		if (n == 0 || !is_typed)
			break;
		at += n;
	}
	return r->feedback_type != NULL;
}

/* Index of the part with the fields; n_parts: none. */
static unsigned
find_fields(struct complaint *c)
{
	struct arf_report *r = c->r;
	unsigned i = mime_find(&c->m, "message/feedback-report", 0);
	char *body;
	size_t len;

	if (i < c->m.n_parts) {
		body = mime_body(&c->m.parts[i], MIME_MAX_MESSAGE, &len);
		(void)read_blocks(r, body, len, true);
		free(body);
		r->is_report = true;
		r->shape = "arf";
		return i;
	}
	/* In a part of another type, or of no type. */
	for (i = 1; i < c->m.n_parts; i++) {
		const struct mime_part *part = &c->m.parts[i];

		if (part->is_multipart || (strcmp(part->type, "text/plain") != 0 &&
		    strncmp(part->type, "application/", 12) != 0 && strncmp(part->type, "message/", 8) != 0))
			continue;
		body = mime_body(part, ARF_MAX_HEADERS, &len);
		if (read_blocks(r, body, len, false)) {
			r->is_report = true;
			r->shape = "untyped";
		}
		free(body);
		if (r->is_report)
			return i;
	}
	return c->m.n_parts;
}

/* ---- the message complained about ---- */

static void
find_original(struct complaint *c, unsigned fields)
{
	static const char *const types[] = { "message/rfc822", "text/rfc822-headers", "message/rfc822-headers",
		"message/global", "message/global-headers", "text/rfc822", NULL };
	unsigned found = c->m.n_parts;
	size_t len, at;

	for (unsigned t = 0; types[t] != NULL && found == c->m.n_parts; t++)
		found = mime_find(&c->m, types[t], 1);
	/* Headers of another type behind the fields. */
	for (unsigned i = fields + 1; i < c->m.n_parts && found == c->m.n_parts; i++)
		if (!c->m.parts[i].is_multipart)
			found = i;
	if (found >= c->m.n_parts)
		return;
	c->text = mime_body(&c->m.parts[found], MIME_MAX_MESSAGE, &len);
	for (at = 0; at < len && strchr(" \t\n", c->text[at]) != NULL;)
		at++;
	len -= at;
	memmove(c->text, c->text + at, len + 1);
	at = mime_head_read(&c->original, c->text, len);
	if (at > ARF_MAX_HEADERS)
		at = ARF_MAX_HEADERS;
	while (at > 0 && c->text[at - 1] == '\n')
		at--;
	c->r->headers = xmalloc(2 * at + 1);
	for (size_t i = 0; i < at; i++) {
		size_t end = i;
		char *line;

		while (end < at && c->text[end] != '\n')
			end++;
		/* Folds stay, at the beginning of their line. */
		if (end > i && (c->text[i] == ' ' || c->text[i] == '\t'))
			c->r->headers[c->r->headers_len++] = '\t';
		line = mime_clean(c->text + i, end - i, end - i);
		memcpy(c->r->headers + c->r->headers_len, line, strlen(line));
		c->r->headers_len += strlen(line);
		free(line);
		if (end < at)
			c->r->headers[c->r->headers_len++] = '\n';
		i = end;
	}
	c->r->headers[c->r->headers_len] = '\0';
}

static char *
original_text(const struct complaint *c, const char *name)
{
	return mime_head_text(&c->original, name, ARF_MAX_TEXT);
}

static void
read_original(struct complaint *c)
{
	struct arf_report *r = c->r;
	char *id = original_text(c, "Message-ID"), *from;

	if (id == NULL && r->n_extensions > 0)
		for (unsigned i = 0; i < r->n_extensions && id == NULL; i++)
			if (strcasecmp(r->extensions[i].name, "Original-Message-ID") == 0)
				id = xstrdup(r->extensions[i].value);
	if (id != NULL && (from = strchr(id, '<')) != NULL) {
		r->message_id = xmemdup0(from + 1, strcspn(from + 1, "> "));
		free(id);
	} else
		r->message_id = id;
	r->from = original_text(c, "From");
	r->subject = original_text(c, "Subject");
	r->feedback_id = original_text(c, "Feedback-ID");
	for (unsigned i = 0; i < r->n_wanted; i++)
		r->wanted[i].value = mime_head_text(&c->original, r->wanted[i].name, DSN_MAX_WANTED);
}

/* ---- what the report leaves out ---- */

/* The address behind `key` in the value of that header. */
static char *
ip_behind(const struct complaint *c, const char *name, const char *key)
{
	char *value = original_text(c, name), *at, *ip = NULL;

	if (value != NULL && (at = strcasestr(value, key)) != NULL) {
		at += strlen(key);
		at += strspn(at, " =\"'[(");
		ip = ip_text(at, strlen(at));
	}
	free(value);
	return ip;
}

/* The first public address in a Received header, from the top. */
static char *
ip_received(const struct complaint *c)
{
	for (unsigned i = 0; i < c->original.n; i++) {
		const struct mime_field *f = &c->original.fields[i];
		char value[2048], *p, *ip;

		if (f->name.len != 8 || strncasecmp(f->name.base, "Received", 8) != 0)
			continue;
		(void)mime_value(f, value, sizeof(value));
		for (p = value; (p = strpbrk(p, "[(")) != NULL; p++) {
			if ((ip = ip_text(p + 1, strcspn(p + 1, "])"))) != NULL && is_public(ip))
				return ip;
			free(ip);
		}
	}
	return NULL;
}

static void
derive_source(struct complaint *c)
{
	static const struct {
		const char *name, *key;
	} places[] = { { "X-Originating-IP", "" }, { "Received-SPF", "client-ip=" }, { "Received-SPF", "sender IP is" },
		{ "Authentication-Results", "sender IP is" }, { "Authentication-Results", "client-ip=" },
		{ "Authentication-Results", "policy.iprev=" }, { "Authentication-Results", "smtp.remote-ip=" } };
	struct arf_report *r = c->r;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && r->source_ip == NULL; i++) {
		r->source_ip = ip_behind(c, places[i].name, places[i].key);
		r->source_ip_by = places[i].name;
	}
	if (r->source_ip == NULL) {
		r->source_ip = ip_received(c);
		r->source_ip_by = "Received";
	}
	if (r->source_ip == NULL)
		r->source_ip_by = NULL;
}

static void
derive_date(struct complaint *c)
{
	struct arf_report *r = c->r;
	char *value = original_text(c, "Received"), *date = value == NULL ? NULL : strrchr(value, ';');

	if (date != NULL) {
		r->arrival_date = xstrdup(date + 1 + strspn(date + 1, " "));
		r->arrival_date_by = "Received";
	} else if ((r->arrival_date = original_text(c, "Date")) != NULL)
		r->arrival_date_by = "Date";
	free(value);
}

static void
derive_mail_from(struct complaint *c)
{
	struct arf_report *r = c->r;
	char *value = original_text(c, "Return-Path"), *at;

	if (value != NULL && *value != '\0') {
		r->original_mail_from = bare_address(value);
		r->original_mail_from_by = "Return-Path";
		return;
	}
	free(value);
	value = original_text(c, "Authentication-Results");
	if (value != NULL && (at = strcasestr(value, "smtp.mailfrom=")) != NULL) {
		at += strlen("smtp.mailfrom=");
		r->original_mail_from = xmemdup0(at, strcspn(at, "; )"));
		r->original_mail_from_by = "Authentication-Results";
	}
	free(value);
}

/* Hidden, hashed, or no address at all. */
static bool
is_hidden(const char *address)
{
	static const char *const words[] = { "redacted", "undisclosed", "anonymi", "hidden", "removed", "masked",
		"xxxx", "****", "privacy", "suppressed-recipient", "unknown@", "no-one@" };
	const char *at = strrchr(address, '@');
	size_t hex;

	if (at == NULL || at == address || at[1] == '\0' || strpbrk(address, " <>,()") != NULL)
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(address, words[i]) != NULL)
			return true;
	/* MD5, SHA-1, SHA-256 and the like, in hex; "*" for letters. */
	hex = strspn(address, "0123456789abcdefABCDEF");
	return (hex == (size_t)(at - address) && hex >= 32) || memchr(address, '*', (size_t)(at - address)) != NULL;
}

static bool
take_recipient(struct arf_report *r, const char *value, const char *by)
{
	if (r->recipient != NULL || value == NULL)
		return r->recipient != NULL;
	if (is_hidden(value)) {
		r->is_redacted = true;
		return false;
	}
	r->recipient = xstrdup(value);
	r->recipient_by = by;
	return true;
}

static void
find_recipient(struct complaint *c)
{
	static const char *const fields[] = { "Removal-Recipient", "Original-Recipient", "Original-Rcpt" };
	static const char *const headers[] = { "X-HmXmrOriginalRecipient", "X-Original-To", "Delivered-To",
		"X-Delivered-To", "Envelope-To", "X-Envelope-To", "To" };
	struct arf_report *r = c->r;

	for (unsigned i = 0; i < r->original_rcpt_to.n; i++)
		(void)take_recipient(r, r->original_rcpt_to.values[i], "Original-Rcpt-To");
	for (unsigned i = 0; i < r->n_extensions; i++) {
		if (strcasecmp(r->extensions[i].name, "Redacted-Address") == 0)
			r->is_redacted = true;
		for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
			char *value = strcasecmp(r->extensions[i].name, fields[k]) == 0 ?
			    bare_address(xstrdup(r->extensions[i].value)) : NULL;

			(void)take_recipient(r, value, fields[k]);
			free(value);
		}
	}
	/* Where the report hides the recipient, what the message was addressed to may be a list or an alias. */
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		char *value = original_text(c, headers[i]), *address;

		if (value == NULL)
			continue;
		address = dsnp_first_address(value);
		if (address == NULL && strcmp(headers[i], "To") != 0)
			(void)take_recipient(r, value, headers[i]);
		else if (address == NULL)
			r->is_redacted |= r->recipient == NULL;
		/* A To of several is nobody in particular. */
		else if (strcmp(headers[i], "To") != 0 || strchr(strchr(value, '@') + 1, '@') == NULL ||
		    strchr(value, ',') == NULL)
			(void)take_recipient(r, address, headers[i]);
		free(address);
		free(value);
	}
	if (r->recipient != NULL)
		r->is_redacted = false;
}

/* Microsoft until June 2026: the message itself, attached or as the whole body, and a subject that names our
 * address. */
static void
read_jmrp(struct complaint *c)
{
	char *subject = mime_head_text(&c->m.head, "Subject", ARF_MAX_TEXT);
	char *from = mime_head_text(&c->m.head, "From", ARF_MAX_TEXT);
	bool by_subject = subject != NULL && strncasecmp(subject, "complaint about message from ", 29) == 0;

	if ((by_subject && from != NULL && strcasestr(from, "staff@hotmail.com") != NULL) ||
	    (c->original.n > 0 && mime_head_find(&c->original, "X-HmXmrOriginalRecipient") != NULL)) {
		c->r->is_report = true;
		c->r->shape = "jmrp";
		c->r->feedback_type = xstrdup("abuse");
		if (by_subject && (c->r->source_ip = ip_text(subject + 29, strlen(subject + 29))) != NULL)
			c->r->source_ip_by = "Subject";
	}
	free(subject);
	free(from);
}

void
arf_parse(struct arf_report *r, const char *message, size_t len, const char *const *wanted, unsigned n_wanted)
{
	struct complaint c = { .r = r };
	unsigned fields;

	memset(r, 0, sizeof(*r));
	r->shape = "none";
	r->n_wanted = n_wanted;
	r->wanted = xcalloc(n_wanted + 1, sizeof(*r->wanted));
	for (unsigned i = 0; i < n_wanted; i++)
		r->wanted[i].name = wanted[i];
	mime_read(&c.m, message, len);
	fields = find_fields(&c);
	find_original(&c, fields);
	if (!r->is_report)
		read_jmrp(&c);
	if (r->is_report) {
		read_original(&c);
		if (r->source_ip == NULL)
			derive_source(&c);
		if (r->arrival_date == NULL)
			derive_date(&c);
		if (r->original_mail_from == NULL)
			derive_mail_from(&c);
		find_recipient(&c);
	} else {
		free(r->headers);
		r->headers = NULL;
		r->headers_len = 0;
	}
	mime_clear(&c.m);
	mime_head_clear(&c.original);
	free(c.text);
}

static void
list_clear(struct arf_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->values[i]);
	free(l->values);
}

void
arf_report_clear(struct arf_report *r)
{
	char *const strings[] = { r->feedback_type, r->user_agent, r->version, r->arrival_date, r->source_ip,
		r->original_mail_from, r->original_envelope_id, r->reporting_mta_type, r->reporting_mta,
		r->recipient, r->headers, r->message_id, r->from, r->subject, r->feedback_id };

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	list_clear(&r->original_rcpt_to);
	list_clear(&r->reported_domain);
	list_clear(&r->reported_uri);
	list_clear(&r->authentication_results);
	for (unsigned i = 0; i < r->n_extensions; i++) {
		free(r->extensions[i].name);
		free(r->extensions[i].value);
	}
	free(r->extensions);
	for (unsigned i = 0; i < r->n_wanted; i++)
		free(r->wanted[i].value);
	free(r->wanted);
	memset(r, 0, sizeof(*r));
}
