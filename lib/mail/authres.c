/* Authentication-Results (authres.h): written from texts that are mostly a stranger's (names, addresses, reasons), and
 * removed where a stranger wrote it in our name (RFC 8601 section 5). Used by smtpd for mail from outside. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "mail/authres.h"
#include "mail/header.h"

const char *const auth_result_names[AUTH_RESULTS] = {
	[0] = "", [AUTH_NONE] = "none", [AUTH_PASS] = "pass", [AUTH_FAIL] = "fail", [AUTH_SOFTFAIL] = "softfail",
	[AUTH_NEUTRAL] = "neutral", [AUTH_POLICY] = "policy", [AUTH_TEMPERROR] = "temperror",
	[AUTH_PERMERROR] = "permerror"
};

void
auth_text(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text != '\0' && n + 1 < size; text++)
		out[n++] = *text >= ' ' && *text < 0x7f ? *text : '?';
	out[n] = '\0';
}

void
auth_results_fail(struct auth_results *r, unsigned want, const char *reason)
{
	if ((want & AUTH_WANT_SPF) != 0 && r->spf.result == 0) {
		r->spf.result = AUTH_TEMPERROR;
		auth_text(r->spf.reason, sizeof(r->spf.reason), reason);
	}
	if ((want & AUTH_WANT_DKIM) != 0 && r->dkim == 0) {
		r->dkim = AUTH_TEMPERROR;
		r->n_signatures = 0;
		auth_text(r->dkim_reason, sizeof(r->dkim_reason), reason);
	}
	if ((want & AUTH_WANT_DMARC) != 0 && r->dmarc.result == 0) {
		r->dmarc.result = AUTH_TEMPERROR;
		auth_text(r->dmarc.reason, sizeof(r->dmarc.reason), reason);
	}
	if ((want & AUTH_WANT_ARC) != 0 && r->arc.result == 0) {
		r->arc.result = AUTH_TEMPERROR;
		auth_text(r->arc.reason, sizeof(r->arc.reason), reason);
	}
}

/* One good signature is enough; what might have been good is worth more than what cannot be. */
void
auth_results_sum_up(struct auth_results *r)
{
	static const enum auth_result order[] = { AUTH_PASS, AUTH_TEMPERROR, AUTH_FAIL, AUTH_POLICY, AUTH_PERMERROR,
	    AUTH_NEUTRAL };
	size_t i;
	unsigned n;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		for (n = 0; n < r->n_signatures; n++)
			if (r->signatures[n].result == order[i]) {
				r->dkim = order[i];
				return;
			}
	r->dkim = AUTH_NONE;
}

static bool
has_passed_before(const struct auth_results *r, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (r->signatures[i].result == AUTH_PASS &&
		    strcasecmp(r->signatures[i].domain, r->signatures[n].domain) == 0)
			return true;
	return false;
}

void
auth_results_domains(const struct auth_results *r, char *out, size_t size)
{
	size_t len = 0, more, k;
	unsigned i;

	*out = '\0';
	for (i = 0; i < r->n_signatures; i++) {
		const struct auth_signature *s = &r->signatures[i];

		more = strlen(s->domain);
		if (s->result != AUTH_PASS || has_passed_before(r, i) || len + more + 2 > size)
			continue;
		if (len > 0)
			out[len++] = ',';
		for (k = 0; k < more; k++)
			out[len++] = (char)tolower((unsigned char)s->domain[k]);
		out[len] = '\0';
	}
}

/* ---- writing ---- */

static void
put(struct wbuf *w, const char *text)
{
	wbuf_raw(w, text, strlen(text));
}

/* RFC 2045 token, and what an address adds to it (RFC 8601: pvalue may be an address as it is). */
static bool
is_plain(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && strchr("-_.+@!#$%&'*{}|~^`", *s) == NULL)
			return false;
	return true;
}

static void
put_value(struct wbuf *w, const char *s, bool is_quoted)
{
	char c;

	if (!is_quoted && is_plain(s)) {
		put(w, s);
		return;
	}
	put(w, "\"");
	for (; *s != '\0'; s++) {
		c = *s >= ' ' && *s < 0x7f ? *s : '?';
		if (c == '"' || c == '\\')
			put(w, "\\");
		wbuf_raw(w, &c, 1);
	}
	put(w, "\"");
}

bool
authres_is_keyword(const char *s)
{
	if (*s == '\0' || strlen(s) > 40)
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '-' && *s != '_')
			return false;
	return true;
}

/* ptype "." property */
static bool
is_property(const char *s)
{
	const char *dot = strchr(s, '.');

	if (dot == NULL || dot == s || dot[1] == '\0' || strlen(s) > 60)
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '-' && *s != '_' && s != dot)
			return false;
	return true;
}

void
authres_clause(struct wbuf *w, const char *method, const char *result, const char *reason, const char *const *props)
{
	if (!authres_is_keyword(method) || !authres_is_keyword(result))
		return;
	put(w, ";\r\n\t");
	put(w, method);
	put(w, "=");
	put(w, result);
	if (reason != NULL && *reason != '\0') {
		put(w, " reason=");
		put_value(w, reason, true);
	}
	for (; props != NULL && props[0] != NULL; props += 2) {
		if (props[1] == NULL || *props[1] == '\0' || !is_property(props[0]))
			continue;
		put(w, strlen(props[1]) > 60 ? "\r\n\t " : " ");
		put(w, props[0]);
		put(w, "=");
		put_value(w, props[1], false);
	}
}

static void
dkim_write(const struct auth_results *r, struct wbuf *w)
{
	unsigned i;

	if (r->n_signatures == 0)
		authres_clause(w, "dkim", auth_result_names[r->dkim], r->dkim_reason, NULL);
	for (i = 0; i < r->n_signatures; i++) {
		const struct auth_signature *s = &r->signatures[i];
		const char *const props[] = { "header.d", s->domain, "header.s", s->selector, "header.a", s->algorithm,
		    "header.b", s->mark, NULL };

		authres_clause(w, "dkim", auth_result_names[s->result], s->reason, props);
	}
}

void
authres_begin(struct wbuf *w, const char *id)
{
	put(w, "Authentication-Results: ");
	put_value(w, id, false);
}

void
authres_begin_arc(struct wbuf *w, unsigned instance, const char *id)
{
	char text[40];

	snprintf(text, sizeof(text), "ARC-Authentication-Results: i=%u; ", instance);
	put(w, text);
	put_value(w, id, false);
}

/* Without a clause the field must say so. */
void
authres_end(struct wbuf *w)
{
	size_t i = w->len;

	while (i > 0 && w->p[i - 1] != '\n')
		i--;
	if (w->len > i && (w->p[i] == '\t' || w->p[i] == ' '))
		put(w, "\r\n");
	else
		put(w, "; none\r\n");
}

void
authres_clauses(const struct auth_results *r, struct wbuf *w)
{
	const char *const spf[] = { r->spf.is_helo ? "smtp.helo" : "smtp.mailfrom", r->spf.identity, NULL };
	const char *const dmarc[] = { "header.from", r->dmarc.domain, "policy.dmarc", r->dmarc.policy, NULL };
	const char *const arc[] = { "header.d", r->arc.domain, NULL };

	if (r->spf.result != 0)
		authres_clause(w, "spf", auth_result_names[r->spf.result], r->spf.reason, spf);
	if (r->dkim != 0)
		dkim_write(r, w);
	if (r->dmarc.result != 0)
		authres_clause(w, "dmarc", auth_result_names[r->dmarc.result], r->dmarc.reason, dmarc);
	if (r->arc.result != 0)
		authres_clause(w, "arc", auth_result_names[r->arc.result], r->arc.reason, arc);
}

void
authres_write(const struct auth_results *r, const char *id, struct wbuf *w)
{
	authres_begin(w, id);
	authres_clauses(r, w);
	authres_end(w);
}

/* ---- removing ---- */

/* Past white space and comments; NULL: a comment that does not end. */
static const char *
skip_cfws(const char *p)
{
	unsigned depth = 0;

	for (; *p != '\0'; p++) {
		if (depth > 0 && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '(')
			depth++;
		else if (depth > 0 && *p == ')')
			depth--;
		else if (depth == 0 && *p != ' ' && *p != '\t' && *p != '\r' && *p != '\n')
			break;
	}
	return depth == 0 ? p : NULL;
}

/* The authserv-id of an unfolded value, without its quotes. False: there is none that everybody would read alike. */
static bool
id_of(const char *p, char *out, size_t size)
{
	size_t n = 0;

	if ((p = skip_cfws(p)) == NULL)
		return false;
	if (*p == '"') {
		for (p++; *p != '\0' && *p != '"' && n + 1 < size; p++) {
			if (*p == '\\' && p[1] != '\0')
				p++;
			out[n++] = *p;
		}
		if (*p++ != '"')
			return false;
	} else {
		for (; *p != '\0' && strchr(" \t(;\"", *p) == NULL && n + 1 < size; p++)
			out[n++] = *p;
	}
	out[n] = '\0';
	return n > 0 && (*p == '\0' || strchr(" \t(;", *p) != NULL);
}

static bool
is_forged(const struct header_field *f, const char *id)
{
	char value[2048], said[512];
	size_t len;

	if (!header_name_is(f, "Authentication-Results"))
		return false;
	header_value(f, value, sizeof(value));
	if (!id_of(value, said, sizeof(said)))
		return true;
	/* A final dot makes no other host of it. */
	len = strlen(said);
	if (said[len - 1] == '.')
		said[len - 1] = '\0';
	return strcasecmp(said, id) == 0;
}

/* One pass, whatever there is of them. */
unsigned
authres_strip(struct wbuf *head, const char *id)
{
	struct header_iter it;
	struct header_field f;
	char *base = (char *)head->p;
	size_t kept = 0, rest;
	unsigned n = 0;

	if (head->len == 0)
		return 0;
	header_iter_init(&it, base, head->len);
	while (header_next(&it, &f)) {
		if (is_forged(&f, id)) {
			n++;
			continue;
		}
		if (n > 0)
			memmove(base + kept, f.whole.base, f.whole.len);
		kept += f.whole.len;
	}
	rest = (size_t)(it.end - it.p);
	memmove(base + kept, it.p, rest);
	head->len = kept + rest;
	return n;
}
