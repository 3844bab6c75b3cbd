/* What a message that came back is (see dsn_parse.h): the evidence in the order of its weight. The fields of RFC
 * 3464 decide alone. Then who says that it is automatic. Then prose: a bounce is what a mail system sends (From,
 * null sender) about mail that was not delivered (Subject, phrases, a reply); one of these alone is not enough,
 * since people forward bounces and write about them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/xalloc.h"

#include "mail/dsn_parse_private.h"

struct parsing {
	struct dsn_report *r;
	struct mime m;
	struct notice notice;
	char *flat, *flat_subject, *flat_from; /* see dsnp_flat */
	char *original;        /* the headers that came back */
	size_t original_len;
	bool is_null_sender;
	bool is_feedback;      /* a complaint: arf_parse.h */
	bool has_fields;
};

const char *
dsn_kind_name(enum dsn_kind kind)
{
	static const char *const names[] = { "none", "failed", "delayed", "delivered", "relayed", "auto-reply" };

	return names[kind];
}

static bool
is_type(const struct mime_part *part, const char *const *types)
{
	for (; *types != NULL; types++)
		if (strcmp(part->type, *types) == 0)
			return true;
	return false;
}

static const char *const status_types[] = { "message/delivery-status", "message/global-delivery-status", NULL };
static const char *const original_types[] = { "message/rfc822", "message/global", "text/rfc822-headers",
	"message/rfc822-headers", "message/global-headers", "text/rfc822", "message/partial", NULL };

/* The text for people: the plain parts before anything else came, else the first HTML. */
static void
read_notice(struct parsing *p)
{
	struct notice *t = &p->notice;
	struct wbuf text;
	const struct mime_part *html = NULL;

	wbuf_init(&text);
	for (unsigned i = 0; i < p->m.n_parts && text.len < NOTICE_MAX; i++) {
		const struct mime_part *part = &p->m.parts[i];
		size_t len;
		char *body;

		if (is_type(part, original_types) || (is_type(part, status_types) && text.len > 0))
			break;
		if (strcmp(part->type, "text/html") == 0 && html == NULL)
			html = part;
		if (part->is_multipart || strcmp(part->type, "text/plain") != 0)
			continue;
		body = mime_body_text(part, NOTICE_MAX / 2, &len);
		wbuf_raw(&text, body, len);
		wbuf_raw(&text, "\n", 1);
		free(body);
	}
	t->text = NULL;
	if (html != NULL && (text.len == 0 || strspn((const char *)text.p, "\n ") >= text.len))
		t->text = mime_body_text(html, NOTICE_MAX / 2, &t->len);
	else {
		t->len = text.len;
		t->text = xmemdup0(text.len > 0 ? (const char *)text.p : "", text.len);
	}
	wbuf_clear(&text);
	t->original = dsnp_find_headers(t->text, t->len);
	p->flat = dsnp_flat(t->text, t->original, FLAT_MAX);
}

static void
read_fields(struct parsing *p)
{
	for (unsigned i = 0; i < p->m.n_parts; i++) {
		const struct mime_part *part = &p->m.parts[i];
		char *body;
		size_t len;

		if (strcmp(part->type, "message/feedback-report") == 0)
			p->is_feedback = true;
		if (!is_type(part, status_types))
			continue;
		body = mime_body(part, MIME_MAX_MESSAGE, &len);
		if (dsnp_fields(p->r, body, len))
			p->has_fields = true;
		else
			p->r->shape = "rfc3464"; /* but nobody is named */
		free(body);
	}
	/* Some have the fields, and no part for them. */
	if (!p->has_fields && strstr(p->flat, "final-recipient:") != NULL &&
	    (dsnp_is_daemon(p->flat_from) || !dsnp_is_reply_subject(p->flat_subject)))
		p->has_fields = dsnp_fields(p->r, p->notice.text, p->notice.len);
	if (p->has_fields) {
		p->r->shape = "rfc3464";
		p->r->is_standard = true;
	}
}

/* ---- the message that came back ---- */

static void
find_original(struct parsing *p)
{
	bool after_status = false;

	for (unsigned i = 1; i < p->m.n_parts && p->original == NULL; i++) {
		const struct mime_part *part = &p->m.parts[i];

		if (is_type(part, original_types))
			p->original = mime_body(part, NOTICE_MAX, &p->original_len);
		else if (after_status && strcmp(part->type, "text/plain") == 0) {
			/* Headers with a wrong type. */
			size_t at;

			p->original = mime_body(part, NOTICE_MAX, &p->original_len);
			if ((at = dsnp_find_headers(p->original, p->original_len)) > 200 || at == p->original_len) {
				free(p->original);
				p->original = NULL;
			}
		}
		after_status |= is_type(part, status_types);
	}
	if (p->original == NULL && p->notice.original < p->notice.len) {
		p->original_len = p->notice.len - p->notice.original;
		p->original = xmemdup0(p->notice.text + p->notice.original, p->original_len);
	}
}

/* "<id>" without brackets; the last one of several. */
static char *
bare_id(char *value)
{
	const char *from = value == NULL ? NULL : strrchr(value, '<');
	char *id;

	if (from == NULL)
		return value;
	id = xmemdup0(from + 1, strcspn(from + 1, "> "));
	free(value);
	if (*id != '\0')
		return id;
	free(id);
	return NULL;
}

static void
read_original(struct parsing *p)
{
	struct dsn_report *r = p->r;
	struct mime_head h;
	size_t skip = 0;

	find_original(p);
	if (p->original != NULL) {
		/* Blank lines, or a stray line, before the first field. */
		while (skip < p->original_len && strchr(" \n\t", p->original[skip]) != NULL)
			skip++;
		if (mime_head_read(&h, p->original + skip, p->original_len - skip) > 0 && h.n == 0) {
			mime_head_clear(&h);
			skip = dsnp_find_headers(p->original, p->original_len);
			(void)mime_head_read(&h, p->original + skip, p->original_len - skip);
		}
		r->message_id = bare_id(mime_head_text(&h, "Message-ID", DSN_MAX_TEXT));
		r->from = mime_head_text(&h, "From", DSN_MAX_TEXT);
		r->to = mime_head_text(&h, "To", DSN_MAX_TEXT);
		r->subject = mime_head_text(&h, "Subject", DSN_MAX_TEXT);
		for (unsigned i = 0; i < r->n_wanted; i++)
			r->wanted[i].value = mime_head_text(&h, r->wanted[i].name, DSN_MAX_WANTED);
		mime_head_clear(&h);
	}
	if (r->message_id == NULL)
		r->message_id = bare_id(mime_head_text(&p->m.head, "In-Reply-To", DSN_MAX_TEXT));
	if (r->message_id == NULL)
		r->message_id = bare_id(mime_head_text(&p->m.head, "References", DSN_MAX_TEXT));
}

/* ---- what it is ---- */

static bool
header_begins(const struct parsing *p, const char *name, const char *value)
{
	const struct mime_field *f = mime_head_find(&p->m.head, name);
	char text[80];

	return f != NULL && mime_value(f, text, sizeof(text)) > 0 && strncasecmp(text, value, strlen(value)) == 0;
}

static bool
has_auto_header(const struct parsing *p)
{
	static const char *const names[] = { "X-Autoreply", "X-Autorespond", "X-Auto-Reply", "X-AutoReply-From",
		"X-Auto-Reply-From", "X-Autoresponder", "X-Auto-Respond", "X-Mail-Autoreply", "Autorespond",
		"X-Vacation", "X-Autogenerated-Reply", "X-MS-Exchange-Inbox-Rules-Loop", "X-FC-MachineGenerated",
		NULL };
	static const char *const values[][2] = { { "Auto-Submitted", "auto-replied" },
		{ "Auto-Submitted", "auto-notified" }, { "Precedence", "auto_reply" },
		{ "X-Precedence", "auto_reply" }, { "Precedence", "auto-reply" },
		{ "Delivered-To", "autoresponder" }, { "X-POST-MessageClass", "9;" },
		{ "X-Autogenerated", "reply" } };

	for (size_t i = 0; names[i] != NULL; i++)
		if (mime_head_find(&p->m.head, names[i]) != NULL)
			return true;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (header_begins(p, values[i][0], values[i][1]))
			return true;
	return false;
}

/* A subject alone may be a person's "Vacation plans": a program's says that it is automatic and has a colon, or it
 * answers a message, or says elsewhere that it is automatic. */
static bool
is_auto_by_subject(const struct parsing *p)
{
	bool is_sure;

	if (!dsnp_is_auto_subject(p->flat_subject, &is_sure))
		return false;
	return (is_sure && strchr(p->flat_subject, ':') != NULL) || p->is_null_sender || has_auto_header(p) ||
	    mime_head_find(&p->m.head, "In-Reply-To") != NULL || mime_head_find(&p->m.head, "Auto-Submitted") != NULL ||
	    mime_head_find(&p->m.head, "X-Auto-Response-Suppress") != NULL || header_begins(p, "Precedence", "bulk") ||
	    header_begins(p, "Precedence", "junk");
}

static bool
is_bounce_by_prose(const struct parsing *p, const char **shape_r)
{
	bool is_strong, is_daemon = dsnp_is_daemon(p->flat_from);
	bool has_subject = dsnp_is_bounce_subject(p->flat_subject), is_reply = dsnp_is_reply_subject(p->flat_subject);
	const char *shape = dsnp_shape(p->flat, &is_strong);
	unsigned points = 0;

	if (mime_head_find(&p->m.head, "X-Failed-Recipients") != NULL)
		points += 4;
	points += is_daemon ? 2 : 0;
	points += p->is_null_sender ? 1 : 0;
	points += has_subject && !is_reply ? 2 : 0;
	points += shape == NULL ? 0 : is_strong ? 3 : 2;
	points += dsnp_find_reply(p->notice.text, p->notice.original, NULL, NULL) ? 1 : 0;
	/* A person who forwards or answers one. */
	if (is_reply && !is_daemon)
		points = 0;
	*shape_r = shape == NULL ? "generic" : shape;
	return points >= 4;
}

/* Who the report is from and to: addresses that are not the recipient's. */
static void
text_rcpts(struct parsing *p)
{
	static const char *const names[] = { "From", "To", "Reply-To", "Sender", "Return-Path" };
	char *own[5], *failed = mime_head_text(&p->m.head, "X-Failed-Recipients", 16 << 10), *to;

	for (unsigned i = 0; i < 5; i++) {
		char *value = mime_head_text(&p->m.head, names[i], DSN_MAX_TEXT);

		own[i] = value == NULL ? NULL : dsnp_first_address(value);
		free(value);
	}
	dsnp_text_rcpts(p->r, &p->notice, failed, (const char *const *)own, 5);
	/* The message that came back had one recipient. */
	if (p->r->n_rcpts == 0 && p->r->to != NULL && (to = strchr(p->r->to, '@')) != NULL &&
	    strchr(to + 1, '@') == NULL) {
		char *address = dsnp_first_address(p->r->to);

		if (address != NULL) {
			dsnp_rcpt_add(p->r)->address = address;
			dsnp_text_reasons(p->r, &p->notice);
		}
	}
	for (unsigned i = 0; i < 5; i++)
		free(own[i]);
	free(failed);
}

static enum dsn_kind
worse(enum dsn_kind a, enum dsn_kind b)
{
	if (a == DSN_KIND_NONE || b == DSN_KIND_NONE)
		return a == DSN_KIND_NONE ? b : a;
	/* Delivered is the best, but the list ends with relayed. */
	if (a == DSN_KIND_DELIVERED || b == DSN_KIND_DELIVERED)
		return a == DSN_KIND_DELIVERED ? b : a;
	return a < b ? a : b;
}

/* What the message says on the whole, for recipients of whom nothing is said. */
static void
set_kinds(struct parsing *p)
{
	struct dsn_report *r = p->r;
	enum dsn_kind whole = dsnp_text_kind(p->flat_subject, p->flat);

	for (unsigned i = 0; i < r->n_rcpts; i++) {
		struct dsn_report_rcpt *rcpt = &r->rcpts[i];

		if (rcpt->action == DSN_KIND_NONE) {
			rcpt->action = *rcpt->status == '2' ? DSN_KIND_DELIVERED : whole;
			if (whole != DSN_KIND_DELAYED && *rcpt->status == '5')
				rcpt->action = DSN_KIND_FAILED;
		}
		r->kind = worse(r->kind, rcpt->action);
	}
	if (r->n_rcpts == 0)
		r->kind = whole;
}

static void
decide(struct parsing *p)
{
	struct dsn_report *r = p->r;
	char type[2048] = "", value[64];
	const struct mime_field *f = mime_head_find(&p->m.head, "Content-Type");
	bool has_no_fields = strcmp(r->shape, "rfc3464") == 0 && !p->has_fields; /* where they should be */
	const char *shape = r->shape;

	if (f != NULL)
		(void)mime_value(f, type, sizeof(type));
	(void)mime_param(type, "report-type", value, sizeof(value));
	if (p->has_fields) {
		dsnp_text_reasons(r, &p->notice);
		set_kinds(p);
	} else if (p->is_feedback || strcasecmp(value, "feedback-report") == 0)
		r->shape = "feedback-report";
	else if (strcasecmp(value, "disposition-notification") == 0) {
		r->kind = DSN_KIND_AUTO_REPLY;
		r->shape = "disposition-notification";
	} else if (is_auto_by_subject(p)) {
		r->kind = DSN_KIND_AUTO_REPLY;
		r->shape = "subject";
	} else if (has_no_fields || is_bounce_by_prose(p, &shape)) {
		r->shape = shape;
		text_rcpts(p);
		set_kinds(p);
	} else if (has_auto_header(p)) {
		r->kind = DSN_KIND_AUTO_REPLY;
		r->shape = "header";
	} else if (dsnp_is_challenge(p->flat) && (p->is_null_sender || dsnp_is_reply_subject(p->flat_subject) ||
	    mime_head_find(&p->m.head, "In-Reply-To") != NULL)) {
		r->kind = DSN_KIND_AUTO_REPLY;
		r->shape = "challenge";
	}
}

static char *
flat_header(const struct mime_head *h, const char *name)
{
	char *value = mime_head_text(h, name, DSN_MAX_TEXT), *flat = dsnp_flat(value == NULL ? "" : value,
	    value == NULL ? 0 : strlen(value), DSN_MAX_TEXT);

	free(value);
	return flat;
}

void
dsn_parse(struct dsn_report *r, const char *message, size_t len, const char *mail_from, const char *const *wanted,
    unsigned n_wanted)
{
	struct parsing p = { .r = r };

	memset(r, 0, sizeof(*r));
	r->shape = "none";
	r->n_wanted = n_wanted;
	r->wanted = xcalloc(n_wanted + 1, sizeof(*r->wanted));
	for (unsigned i = 0; i < n_wanted; i++)
		r->wanted[i].name = wanted[i];
	mime_read(&p.m, message, len);
	p.flat_subject = flat_header(&p.m.head, "Subject");
	p.flat_from = flat_header(&p.m.head, "From");
	p.is_null_sender = mail_from != NULL ? *mail_from == '\0' : header_begins(&p, "Return-Path", "<>");
	read_notice(&p);
	read_fields(&p);
	read_original(&p);
	decide(&p);
	mime_clear(&p.m);
	free(p.notice.text);
	free(p.flat);
	free(p.flat_subject);
	free(p.flat_from);
	free(p.original);
}

void
dsn_report_clear(struct dsn_report *r)
{
	for (unsigned i = 0; i < r->n_rcpts; i++) {
		free(r->rcpts[i].address);
		free(r->rcpts[i].original);
		free(r->rcpts[i].diagnostic);
		free(r->rcpts[i].remote_mta);
	}
	for (unsigned i = 0; i < r->n_wanted; i++)
		free(r->wanted[i].value);
	free(r->rcpts);
	free(r->wanted);
	free(r->reporting_mta);
	free(r->envelope_id);
	free(r->arrival_date);
	free(r->message_id);
	free(r->from);
	free(r->to);
	free(r->subject);
	memset(r, 0, sizeof(*r));
}
