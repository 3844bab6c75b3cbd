/* See parse_link.h. What may be absent is one octet, 0 or 1, before it. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"

#include "mail/parse_link.h"

/* ---- the question ---- */

static void
opt_encode(const char *s, struct wbuf *w)
{
	wbuf_u8(w, s != NULL);
	if (s != NULL)
		wbuf_str(w, s);
}

static bool
flag_decode(struct rbuf *r)
{
	uint8_t v = rbuf_u8(r);

	r->bad |= v > 1;
	return v == 1 && !r->bad;
}

void
parse_ask_encode(const struct parse_ask *a, struct wbuf *w)
{
	wbuf_u8(w, a->kinds);
	opt_encode(a->mail_from, w);
	wbuf_u8(w, (uint8_t)a->n_wanted);
	for (unsigned i = 0; i < a->n_wanted; i++)
		wbuf_str(w, a->wanted[i]);
	wbuf_bytes(w, a->content.base, a->content.len < PARSE_CONTENT_MAX ? a->content.len : PARSE_CONTENT_MAX);
}

int
parse_ask_decode(struct rbuf *r, struct parse_asked *a)
{
	uint8_t n;

	memset(a, 0, sizeof(*a));
	a->ask.kinds = rbuf_u8(r);
	if (flag_decode(r))
		a->mail_from = rbuf_strdup(r, DSN_MAX_TEXT);
	if ((n = rbuf_u8(r)) > PARSE_WANTED_MAX)
		r->bad = true;
	for (; a->ask.n_wanted < n && !r->bad; a->ask.n_wanted++)
		a->wanted[a->ask.n_wanted] = rbuf_strdup(r, PARSE_NAME_MAX);
	a->ask.content = rbuf_bytes(r, PARSE_CONTENT_MAX);
	a->ask.mail_from = a->mail_from;
	a->ask.wanted = (const char *const *)a->wanted;
	if (rbuf_done(r) && a->ask.kinds > 0 && a->ask.kinds <= (PARSE_DSN | PARSE_ARF))
		return 0;
	parse_asked_clear(a);
	return -1;
}

void
parse_asked_clear(struct parse_asked *a)
{
	free(a->mail_from);
	for (unsigned i = 0; i < a->ask.n_wanted; i++)
		free(a->wanted[i]);
	memset(a, 0, sizeof(*a));
}

/* ---- strings of the answer ---- */

static bool
is_clean(const char *s, const char *allowed)
{
	for (const char *p = s; *p != '\0'; p++)
		if (((unsigned char)*p < ' ' || *p == 0x7f) && strchr(allowed, *p) == NULL)
			return false;
	return utf8_is_valid(s, strlen(s));
}

static char *
clean_decode(struct rbuf *r, size_t max)
{
	char *s = rbuf_strdup(r, max);

	if (!is_clean(s, ""))
		r->bad = true;
	return s;
}

/* NULL: absent. */
static char *
opt_decode(struct rbuf *r, size_t max)
{
	return flag_decode(r) ? clean_decode(r, max) : NULL;
}

/* The name of a shape or a header: what is a static string at the other end. */
static const char *
name_decode(struct rbuf *r, struct parse_answer *a, unsigned place)
{
	return a->names[place] = opt_decode(r, PARSE_NAME_MAX);
}

static void
wanted_encode(const struct dsn_wanted *wanted, unsigned n, struct wbuf *w)
{
	for (unsigned i = 0; i < n; i++)
		opt_encode(wanted[i].value, w);
}

static struct dsn_wanted *
wanted_decode(struct rbuf *r, const char *const *names, unsigned n)
{
	struct dsn_wanted *wanted = xcalloc(n + 1, sizeof(*wanted));

	for (unsigned i = 0; i < n; i++)
		wanted[i] = (struct dsn_wanted){ names[i], opt_decode(r, DSN_MAX_WANTED) };
	return wanted;
}

/* ---- bounces ---- */

static void
dsn_encode(const struct dsn_report *d, struct wbuf *w)
{
	const char *const strings[] = { d->reporting_mta, d->envelope_id, d->arrival_date, d->message_id, d->from,
		d->to, d->subject };

	wbuf_u8(w, (uint8_t)d->kind);
	opt_encode(d->shape, w);
	wbuf_u8(w, d->is_standard);
	wbuf_u16(w, (uint16_t)d->n_rcpts);
	for (unsigned i = 0; i < d->n_rcpts; i++) {
		opt_encode(d->rcpts[i].address, w);
		opt_encode(d->rcpts[i].original, w);
		opt_encode(d->rcpts[i].diagnostic, w);
		opt_encode(d->rcpts[i].remote_mta, w);
		wbuf_u8(w, (uint8_t)d->rcpts[i].action);
		wbuf_str(w, d->rcpts[i].status);
	}
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		opt_encode(strings[i], w);
	wanted_encode(d->wanted, d->n_wanted, w);
}

static enum dsn_kind
kind_decode(struct rbuf *r)
{
	uint8_t kind = rbuf_u8(r);

	r->bad |= kind > DSN_KIND_AUTO_REPLY;
	return r->bad ? DSN_KIND_NONE : (enum dsn_kind)kind;
}

static void
rcpt_decode(struct rbuf *r, struct dsn_report_rcpt *rcpt)
{
	char *status;

	rcpt->address = opt_decode(r, DSN_MAX_TEXT);
	rcpt->original = opt_decode(r, DSN_MAX_TEXT);
	rcpt->diagnostic = opt_decode(r, DSN_MAX_DIAGNOSTIC);
	rcpt->remote_mta = opt_decode(r, DSN_MAX_TEXT);
	rcpt->action = kind_decode(r);
	status = clean_decode(r, sizeof(rcpt->status) - 1);
	strcpy(rcpt->status, status);
	free(status);
}

static void
dsn_decode(struct rbuf *r, const char *const *wanted, unsigned n_wanted, struct parse_answer *a)
{
	struct dsn_report *d = &a->dsn;
	char **const strings[] = { &d->reporting_mta, &d->envelope_id, &d->arrival_date, &d->message_id, &d->from,
		&d->to, &d->subject };
	unsigned n;

	d->kind = kind_decode(r);
	d->shape = name_decode(r, a, 0);
	d->is_standard = flag_decode(r);
	n = rbuf_u16(r);
	r->bad |= n > DSN_MAX_RCPTS || d->shape == NULL;
	if (n > 0 && !r->bad)
		d->rcpts = xcalloc(n, sizeof(*d->rcpts));
	while (d->n_rcpts < n && !r->bad)
		rcpt_decode(r, &d->rcpts[d->n_rcpts++]);
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		*strings[i] = opt_decode(r, DSN_MAX_TEXT);
	d->wanted = wanted_decode(r, wanted, n_wanted);
	d->n_wanted = n_wanted;
}

/* ---- complaints ---- */

static void
list_encode(const struct arf_list *l, struct wbuf *w)
{
	wbuf_u8(w, (uint8_t)l->n);
	for (unsigned i = 0; i < l->n; i++)
		wbuf_str(w, l->values[i]);
}

static void
list_decode(struct rbuf *r, struct arf_list *l)
{
	uint8_t n = rbuf_u8(r);

	r->bad |= n > ARF_MAX_VALUES;
	if (n > 0 && !r->bad)
		l->values = xcalloc(n, sizeof(*l->values));
	while (l->n < n && !r->bad)
		l->values[l->n++] = clean_decode(r, ARF_MAX_TEXT);
}

static void
arf_encode(const struct arf_report *f, struct wbuf *w)
{
	const char *const strings[] = { f->shape, f->source_ip_by, f->arrival_date_by, f->original_mail_from_by,
		f->recipient_by, f->feedback_type, f->user_agent, f->version, f->arrival_date, f->source_ip,
		f->original_mail_from, f->original_envelope_id, f->reporting_mta_type, f->reporting_mta, f->recipient,
		f->message_id, f->from, f->subject, f->feedback_id };

	wbuf_u8(w, f->is_report);
	wbuf_u8(w, f->is_redacted);
	wbuf_u32(w, f->incidents);
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		opt_encode(strings[i], w);
	list_encode(&f->original_rcpt_to, w);
	list_encode(&f->reported_domain, w);
	list_encode(&f->reported_uri, w);
	list_encode(&f->authentication_results, w);
	wbuf_u8(w, (uint8_t)f->n_extensions);
	for (unsigned i = 0; i < f->n_extensions; i++) {
		wbuf_str(w, f->extensions[i].name);
		wbuf_str(w, f->extensions[i].value);
	}
	opt_encode(f->headers, w);
	wanted_encode(f->wanted, f->n_wanted, w);
}

static void
extensions_decode(struct rbuf *r, struct arf_report *f)
{
	uint8_t n = rbuf_u8(r);

	r->bad |= n > ARF_MAX_EXTENSIONS;
	if (n > 0 && !r->bad)
		f->extensions = xcalloc(n, sizeof(*f->extensions));
	for (; f->n_extensions < n && !r->bad; f->n_extensions++) {
		f->extensions[f->n_extensions].name = clean_decode(r, PARSE_NAME_MAX);
		f->extensions[f->n_extensions].value = clean_decode(r, ARF_MAX_TEXT);
	}
}

static void
arf_decode(struct rbuf *r, const char *const *wanted, unsigned n_wanted, struct parse_answer *a)
{
	struct arf_report *f = &a->arf;
	char **const strings[] = { &f->feedback_type, &f->user_agent, &f->version, &f->arrival_date, &f->source_ip,
		&f->original_mail_from, &f->original_envelope_id, &f->reporting_mta_type, &f->reporting_mta,
		&f->recipient, &f->message_id, &f->from, &f->subject, &f->feedback_id };

	f->is_report = flag_decode(r);
	f->is_redacted = flag_decode(r);
	f->incidents = rbuf_u32(r);
	f->shape = name_decode(r, a, 1);
	f->source_ip_by = name_decode(r, a, 2);
	f->arrival_date_by = name_decode(r, a, 3);
	f->original_mail_from_by = name_decode(r, a, 4);
	f->recipient_by = name_decode(r, a, 5);
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		*strings[i] = opt_decode(r, ARF_MAX_TEXT);
	list_decode(r, &f->original_rcpt_to);
	list_decode(r, &f->reported_domain);
	list_decode(r, &f->reported_uri);
	list_decode(r, &f->authentication_results);
	extensions_decode(r, f);
	if (flag_decode(r)) {
		f->headers = rbuf_strdup(r, 2 * ARF_MAX_HEADERS);
		f->headers_len = strlen(f->headers);
		r->bad |= !is_clean(f->headers, "\n\t");
	}
	f->wanted = wanted_decode(r, wanted, n_wanted);
	f->n_wanted = n_wanted;
	r->bad |= f->shape == NULL || (f->recipient == NULL) != (f->recipient_by == NULL);
}

/* ---- the answer ---- */

void
parse_answer_encode(const struct parse_answer *a, struct wbuf *w)
{
	wbuf_u8(w, a->kinds);
	if ((a->kinds & PARSE_DSN) != 0)
		dsn_encode(&a->dsn, w);
	if ((a->kinds & PARSE_ARF) != 0)
		arf_encode(&a->arf, w);
}

int
parse_answer_decode(struct rbuf *r, const char *const *wanted, unsigned n_wanted, struct parse_answer *a)
{
	memset(a, 0, sizeof(*a));
	a->kinds = rbuf_u8(r);
	r->bad |= a->kinds == 0 || a->kinds > (PARSE_DSN | PARSE_ARF);
	if ((a->kinds & PARSE_DSN) != 0)
		dsn_decode(r, wanted, n_wanted, a);
	if ((a->kinds & PARSE_ARF) != 0)
		arf_decode(r, wanted, n_wanted, a);
	if (rbuf_done(r))
		return 0;
	parse_answer_clear(a);
	return -1;
}

void
parse_answer_clear(struct parse_answer *a)
{
	dsn_report_clear(&a->dsn);
	arf_report_clear(&a->arf);
	for (unsigned i = 0; i < PARSE_ANSWER_NAMES; i++)
		free(a->names[i]);
	memset(a, 0, sizeof(*a));
}
