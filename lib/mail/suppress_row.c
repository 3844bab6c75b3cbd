/* Keys and values of the suppression list (suppress_row.h): pure. The decoder reads a file that may be damaged. Runs in
 * bouncerd, smtpd, queued and the admin command.
 *
 * Value: format, bits of what follows, reason and origin, then 48-bit times (ms) and texts, each only if there: added,
 * event's time if another, expiry, event id, class, cause, source, note. An imported row has 24 octets of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timefmt.h"
#include "base/xalloc.h"
#include "mail/idna.h"
#include "mail/suppress_row.h"

#define FORMAT 1
#define NAME_LEN 64 /* of classes and causes, as in a request */
#define TIME_MAX ((INT64_C(1) << 48) - 1)

enum { HAS_WHEN = 0x01, HAS_EXPIRES = 0x02, HAS_EVENT = 0x04, HAS_CLASS = 0x08, HAS_CAUSE = 0x10, HAS_SOURCE = 0x20,
	HAS_NOTE = 0x40, HAS_ALL = 0x7f };

/* Lower case, as A-labels, without a final dot; out of a look-up's time. The domain is valid. */
static int
put_domain(const char *domain, char *out, size_t size, const char **err_r)
{
	char ascii[ADDRESS_MAX];
	size_t len = strlen(domain), i;

	if (!is_ascii(domain, len) && idna_to_ascii(domain, ascii, sizeof(ascii)) == 0) {
		domain = ascii;
		len = strlen(ascii);
	}
	if (len > 1 && domain[len - 1] == '.')
		len--;
	if (len >= size || len > SUPPRESS_ADDRESS_MAX) {
		*err_r = "that is longer than an address can be";
		return -1;
	}
	for (i = 0; i < len; i++)
		out[i] = (char)(domain[i] >= 'A' && domain[i] <= 'Z' ? domain[i] + 32 : domain[i]);
	out[len] = '\0';
	return 0;
}

/* A literal as addresses have it: "[IPv6:2001:DB8:0::1]" is not the only way to write that. */
static const char *
canonical_literal(const char *domain, char buf[ADDRESS_MAX])
{
	char text[ADDRESS_MAX];

	if (domain[0] != '[' || (size_t)snprintf(text, sizeof(text), "x@%s", domain) >= sizeof(text) ||
	    address_parse(text, true, buf) == -1)
		return domain;
	return address_domain(buf);
}

static int
check_domain(const char *domain, const char **err_r)
{
	if (address_domain_valid(domain, true))
		return 0;
	*err_r = "that is not a domain";
	return -1;
}

int
suppress_target(const char *text, char out[ADDRESS_MAX], const char **err_r)
{
	char address[ADDRESS_MAX];
	size_t i, local;

	if (strlen(text) >= ADDRESS_MAX) {
		*err_r = "that is longer than an address can be";
		return -1;
	}
	if (text[0] == '@')
		text++;
	else if (strpbrk(text, "@.[") == NULL) { /* more likely half an address than a top-level domain */
		*err_r = "that is neither an address nor a domain (a domain of one label is written with @ in front)";
		return -1;
	}
	if (strchr(text, '@') == NULL)
		return check_domain(text, err_r) == -1 ? -1 :
		    put_domain(canonical_literal(text, address), out, ADDRESS_MAX, err_r);
	if (address_parse(text, true, address) == -1 || *address_domain(address) == '\0') {
		*err_r = "that is neither an address nor a domain";
		return -1;
	}
	local = address_local_len(address);
	if (local + 2 > SUPPRESS_ADDRESS_MAX) {
		*err_r = "that is longer than an address can be";
		return -1;
	}
	for (i = 0; i < local; i++)
		out[i] = (char)(address[i] >= 'A' && address[i] <= 'Z' ? address[i] + 32 : address[i]);
	out[local] = '@';
	return put_domain(address_domain(address), out + local + 1, SUPPRESS_ADDRESS_MAX - local, err_r);
}

int
suppress_scope_value(unsigned scope, const char *text, char out[ADDRESS_MAX], const char **err_r)
{
	size_t i, len = text == NULL ? 0 : strlen(text);
	char buf[ADDRESS_MAX];

	*out = '\0';
	*err_r = "the scope needs a name of reasonable length";
	if (scope == SUPPRESS_GLOBAL)
		return 0;
	if (len == 0 || len > SUPPRESS_ADDRESS_MAX)
		return -1;
	if (scope == SUPPRESS_SENDER_DOMAIN)
		return check_domain(text, err_r) == -1 ? -1 :
		    put_domain(canonical_literal(text, buf), out, ADDRESS_MAX, err_r);
	for (i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20)
			return -1;
	memcpy(out, text, len + 1);
	return 0;
}

static void
key_add(struct suppress_key *k, const void *p, size_t len)
{
	if (len > sizeof(k->b) - k->len)
		len = sizeof(k->b) - k->len; /* cannot be: lengths are bounded before */
	memcpy(k->b + k->len, p, len);
	k->len += len;
}

void
suppress_key_prefix(struct suppress_key *k, const char *target)
{
	const char *at = strrchr(target, '@'), *domain = at == NULL ? target : at + 1;

	k->len = 0;
	key_add(k, domain, strlen(domain) + 1);
	if (at != NULL)
		key_add(k, target, (size_t)(at - target));
	key_add(k, "", 1);
}

void
suppress_key_scope(struct suppress_key *k, unsigned scope, const char *value)
{
	uint8_t octet = (uint8_t)scope;

	key_add(k, &octet, 1);
	if (scope != SUPPRESS_GLOBAL && value != NULL)
		key_add(k, value, strlen(value));
}

static int64_t
clamp_time(int64_t ms)
{
	return ms < 0 ? 0 : ms > TIME_MAX ? TIME_MAX : ms;
}

/* NULL stays NULL, and so does what is empty. */
static void
cut(char **s, size_t max)
{
	unsigned char *p = (unsigned char *)*s;
	size_t len;

	if (p == NULL)
		return;
	len = strlen(*s);
	if (len > max) {
		for (len = max; len > 0 && (p[len] & 0xc0) == 0x80;)
			len--;
		p[len] = '\0';
	}
	for (; *p != '\0'; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = *p == '\n' ? '\n' : ' ';
	if (**s == '\0') {
		free(*s);
		*s = NULL;
	}
}

int
suppress_row_settle(struct suppress_row *row, const char **err_r)
{
	struct suppress_request *r = &row->r;
	char text[ADDRESS_MAX];

	if (suppress_target(r->address, text, err_r) == -1)
		return -1;
	free(r->address);
	r->address = xstrdup(text);
	if (r->scope == 0 || r->scope >= SUPPRESS_SCOPES || r->reason == 0 || r->reason >= SUPPRESS_REASONS) {
		*err_r = "there is no such scope or reason";
		return -1;
	}
	if (suppress_scope_value(r->scope, r->scope_value, text, err_r) == -1)
		return -1;
	free(r->scope_value);
	r->scope_value = r->scope == SUPPRESS_GLOBAL ? NULL : xstrdup(text);
	row->added = clamp_time(row->added);
	r->when = clamp_time(r->when);
	r->expires = clamp_time(r->expires);
	r->threshold = 0;
	r->within = r->spread = 0;
	cut(&r->class, NAME_LEN);
	cut(&r->cause, NAME_LEN);
	cut(&r->note, SUPPRESS_NOTE_MAX);
	cut(&row->source, SUPPRESS_SOURCE_MAX);
	return 0;
}

static void
put_time(struct wbuf *w, int64_t ms)
{
	wbuf_u16(w, (uint16_t)(clamp_time(ms) >> 32));
	wbuf_u32(w, (uint32_t)ms);
}

static int64_t
get_time(struct rbuf *r)
{
	int64_t high = rbuf_u16(r);

	return high << 32 | rbuf_u32(r);
}

static void
put_text(struct wbuf *w, const char *s)
{
	if (s == NULL)
		return;
	wbuf_u16(w, (uint16_t)strlen(s));
	wbuf_raw(w, s, strlen(s));
}

static char *
get_text(struct rbuf *r, bool is_there, size_t max)
{
	size_t len = is_there ? rbuf_u16(r) : 0;
	char *s;

	if (!is_there || r->bad)
		return NULL;
	if (len == 0 || len > max || len > rbuf_left(r) || memchr(r->p + r->pos, '\0', len) != NULL) {
		r->bad = true;
		return NULL;
	}
	s = xmemdup0(r->p + r->pos, len);
	r->pos += len;
	return s;
}

static bool
has_event(const struct suppress_request *r)
{
	static const struct msgid none;

	return memcmp(&r->event, &none, sizeof(none)) != 0;
}

void
suppress_row_encode(const struct suppress_row *row, struct suppress_key *key, struct wbuf *w)
{
	const struct suppress_request *r = &row->r;
	unsigned has = (r->when != row->added ? HAS_WHEN : 0) | (r->expires != 0 ? HAS_EXPIRES : 0) |
	    (has_event(r) ? HAS_EVENT : 0) | (r->class != NULL ? HAS_CLASS : 0) |
	    (r->cause != NULL ? HAS_CAUSE : 0) | (row->source != NULL ? HAS_SOURCE : 0) |
	    (r->note != NULL ? HAS_NOTE : 0);

	suppress_key_prefix(key, r->address);
	suppress_key_scope(key, r->scope, r->scope_value);
	wbuf_reset(w);
	wbuf_u8(w, FORMAT);
	wbuf_u8(w, (uint8_t)has);
	wbuf_u8(w, (uint8_t)(r->origin << 4 | r->reason));
	if ((has & HAS_EXPIRES) != 0)
		put_time(w, r->expires);
	put_time(w, row->added);
	if ((has & HAS_WHEN) != 0)
		put_time(w, r->when);
	if ((has & HAS_EVENT) != 0)
		wbuf_raw(w, r->event.b, sizeof(r->event.b));
	put_text(w, r->class);
	put_text(w, r->cause);
	put_text(w, row->source);
	put_text(w, r->note);
}

/* NULL: none such. The texts are the store's own, written as they are compared. */
static int
decode_key(const uint8_t *p, size_t len, struct suppress_request *r)
{
	const uint8_t *end = memchr(p, '\0', len), *local, *scope;
	size_t n;

	if (end == NULL || end == p)
		return -1;
	local = end + 1;
	n = len - (size_t)(local - p);
	scope = memchr(local, '\0', n);
	if (scope == NULL || scope + 1 >= p + len)
		return -1;
	scope++;
	r->scope = *scope;
	n = (size_t)(p + len - scope) - 1;
	if (r->scope == 0 || r->scope >= SUPPRESS_SCOPES || (r->scope == SUPPRESS_GLOBAL) != (n == 0) ||
	    memchr(scope + 1, '\0', n) != NULL || (size_t)(scope - p) > SUPPRESS_ADDRESS_MAX + 2)
		return -1;
	if (scope - local == 1)
		r->address = xmemdup0(p, (size_t)(end - p));
	else
		r->address = xasprintf("%.*s@%s", (int)(scope - local - 1), (const char *)local, (const char *)p);
	if (n > 0)
		r->scope_value = xmemdup0(scope + 1, n);
	return 0;
}

int
suppress_row_decode(const void *key, size_t keylen, const void *value, size_t len, struct suppress_row *row)
{
	struct suppress_request *q = &row->r;
	struct rbuf r;
	unsigned has, kind;

	memset(row, 0, sizeof(*row));
	if (keylen == 0 || keylen > SUPPRESS_KEY_MAX || len > SUPPRESS_VALUE_MAX || decode_key(key, keylen, q) == -1)
		return -1;
	rbuf_init(&r, value, len);
	if (rbuf_u8(&r) != FORMAT)
		r.bad = true;
	has = rbuf_u8(&r);
	kind = rbuf_u8(&r);
	q->reason = kind & 0xf;
	q->origin = (uint8_t)(kind >> 4);
	if ((has & HAS_EXPIRES) != 0)
		q->expires = get_time(&r);
	q->when = row->added = get_time(&r);
	if ((has & HAS_WHEN) != 0)
		q->when = get_time(&r);
	if ((has & HAS_EVENT) != 0)
		rbuf_raw(&r, q->event.b, sizeof(q->event.b));
	q->class = get_text(&r, (has & HAS_CLASS) != 0, NAME_LEN);
	q->cause = get_text(&r, (has & HAS_CAUSE) != 0, NAME_LEN);
	row->source = get_text(&r, (has & HAS_SOURCE) != 0, SUPPRESS_SOURCE_MAX);
	q->note = get_text(&r, (has & HAS_NOTE) != 0, SUPPRESS_NOTE_MAX);
	if (rbuf_done(&r) && (has & ~(unsigned)HAS_ALL) == 0 && q->reason != 0 && q->reason < SUPPRESS_REASONS &&
	    q->origin < SUPPRESS_ORIGINS)
		return 0;
	suppress_row_clear(row);
	return -1;
}

int64_t
suppress_row_expires(const void *value, size_t len)
{
	struct rbuf r;
	unsigned has;
	int64_t expires = 0;

	rbuf_init(&r, value, len);
	if (rbuf_u8(&r) != FORMAT)
		return -1;
	has = rbuf_u8(&r);
	(void)rbuf_u8(&r);
	if ((has & HAS_EXPIRES) != 0)
		expires = get_time(&r);
	return r.bad ? -1 : expires;
}

void
suppress_row_clear(struct suppress_row *row)
{
	suppress_request_clear(&row->r);
	free(row->source);
	memset(row, 0, sizeof(*row));
}

void
suppress_row_json(const struct suppress_row *row, struct json *j)
{
	const struct suppress_request *r = &row->r;
	char hex[MSGID_HEX];

	json_str(j, "address", r->address);
	json_str(j, "scope", suppress_scope_names[r->scope]);
	json_str(j, "scope_value", r->scope_value);
	json_str(j, "reason", suppress_reason_names[r->reason]);
	json_str(j, "origin", suppress_origin_names[r->origin]);
	json_time(j, "added", row->added);
	json_time(j, "event_time", r->when);
	if (r->expires != 0)
		json_time(j, "expires", r->expires);
	else
		json_none(j, "expires");
	if (has_event(r))
		msgid_hex(&r->event, hex);
	json_str(j, "event_id", has_event(r) ? hex : NULL);
	json_str(j, "class", r->class);
	json_str(j, "cause", r->cause);
	json_str(j, "source", row->source);
	json_str(j, "note", r->note);
}

char *
suppress_row_text(const struct suppress_row *row)
{
	const struct suppress_request *r = &row->r;
	char when[TIME_RFC3339_LEN + 1], until[TIME_RFC3339_LEN + 1], hex[MSGID_HEX] = "";

	time_rfc3339(r->when, when);
	time_rfc3339(r->expires, until);
	if (has_event(r))
		msgid_hex(&r->event, hex);
	return xasprintf("suppressed: %s%s%s%s since %s, scope %s%s%s%s%s%s%s%s%s%s%s",
	    suppress_reason_names[r->reason],
	    r->cause != NULL ? " (" : "", r->cause != NULL ? r->cause : "", r->cause != NULL ? ")" : "", when,
	    suppress_scope_names[r->scope], r->scope_value != NULL ? " " : "",
	    r->scope_value != NULL ? r->scope_value : "",
	    r->expires != 0 ? ", until " : "", r->expires != 0 ? until : "", *hex != '\0' ? ", message " : "", hex,
	    row->source != NULL ? ", imported from " : "", row->source != NULL ? row->source : "",
	    r->note != NULL ? ": " : "", r->note != NULL ? r->note : "");
}

unsigned
suppress_word(const char *const *names, unsigned n, const char *word)
{
	unsigned i;

	for (i = 1; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	return 0;
}
