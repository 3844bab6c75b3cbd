/* What a signature covers, and the field that says so (RFC 6376 sections 3.5, 3.7, 5.4; over-signing: 8.15). Any
 * process that signs. Fields are a stranger's: those that count are bounded, the others are passed over. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dkim.h"
#include "mail/header.h"

#define COLUMNS 78
#define TAB 8

const char *const dkim_canon_names[DKIM_CANONS + 1] = { "simple", "relaxed", NULL };
const char *const dkim_algorithm_names[] = { "rsa-sha256", "ed25519-sha256", NULL };

/* Those of a second copy of which a reader might believe are over-signed; the others are covered if they are there. No
 * trace fields, and nothing that mail systems on the way add or change. */
const struct dkim_name dkim_usual_names[] = {
	{ "From", true }, { "To", true }, { "Subject", true }, { "Date", true }, { "Reply-To", true }, { "Cc", true },
	{ "Content-Type", true }, { "List-Unsubscribe", true }, { "List-Unsubscribe-Post", true },
	{ "Feedback-ID", true }, { "Sender", false }, { "Message-ID", false }, { "In-Reply-To", false },
	{ "References", false }, { "MIME-Version", false }, { "Content-Transfer-Encoding", false },
	{ "List-Id", false }, { "List-Help", false }, { "List-Subscribe", false }, { "List-Owner", false },
	{ "List-Archive", false }, { "List-Post", false },
};
const size_t dkim_usual_count = sizeof(dkim_usual_names) / sizeof(dkim_usual_names[0]);

struct dkim_signer *
dkim_signer_new(void)
{
	struct dkim_signer *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->algorithm = DKIM_BY_KEY;
	s->header = s->body = DKIM_RELAXED;
	s->names = dkim_usual_names;
	s->n_names = dkim_usual_count;
	return s;
}

struct dkim_signer *
dkim_signer_ref(struct dkim_signer *s)
{
	s->refs++;
	return s;
}

void
dkim_signer_set_names(struct dkim_signer *s, struct dkim_name *names, size_t n, char *text)
{
	free(s->own);
	free(s->own_text);
	s->own = names;
	s->own_text = text;
	s->names = names;
	s->n_names = n;
}

void
dkim_signer_unref(struct dkim_signer **sp)
{
	struct dkim_signer *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	free(s->own);
	free(s->own_text);
	free(s->domain);
	free(s->selector);
	free(s->key);
	free(s->key_dir);
	free(s);
}

bool
dkim_selector_valid(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= DKIM_SELECTOR_MAX && s[len - 1] != '.' && *s != '[' && address_domain_valid(s, false);
}

/* ---- the fields that count ---- */

struct fields {
	struct header_field f[DKIM_FIELDS_MAX];
	bool is_used[DKIM_FIELDS_MAX];
	size_t n;
};

static bool
is_among(const struct header_field *f, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (header_name_is(f, names[i]))
			return true;
	return false;
}

static int
fields_take(struct fields *set, const char *head, size_t len, const char *const *names, size_t n_names)
{
	struct header_iter it;
	struct header_field f;

	set->n = 0;
	header_iter_init(&it, head, len);
	while (header_next(&it, &f)) {
		if (!is_among(&f, names, n_names))
			continue;
		if (set->n == DKIM_FIELDS_MAX)
			return -1;
		set->is_used[set->n] = false;
		set->f[set->n++] = f;
	}
	return 0;
}

/* The last one of the name that was not taken yet; NULL: none, which stands for the empty string. */
static const struct header_field *
fields_next(struct fields *set, const char *name)
{
	size_t i;

	for (i = set->n; i > 0; i--)
		if (!set->is_used[i - 1] && header_name_is(&set->f[i - 1], name)) {
			set->is_used[i - 1] = true;
			return &set->f[i - 1];
		}
	return NULL;
}

static void
hash_fields(struct fields *set, enum dkim_canon canon, const char *const *names, size_t n_names,
    const char *signature, size_t signature_len, uint8_t hash[DKIM_HASH])
{
	const struct header_field *f;
	struct wbuf text;
	size_t i;

	wbuf_init(&text);
	for (i = 0; i < n_names; i++)
		if ((f = fields_next(set, names[i])) != NULL)
			dkim_field_canon(canon, f->whole.base, f->whole.len, &text);
	dkim_field_canon(canon, signature, signature_len, &text);
	/* Of this field the line end does not count. The relaxed form has added one. */
	if (canon == DKIM_RELAXED)
		text.len -= 2;
	if (EVP_Digest(text.p, text.len, hash, NULL, EVP_sha256(), NULL) != 1)
		fatal("OpenSSL cannot compute SHA-256");
	wbuf_clear(&text);
}

int
dkim_header_hash(enum dkim_canon canon, const char *head, size_t len, const char *const *names, size_t n_names,
    const struct wbuf *signature, uint8_t hash[DKIM_HASH])
{
	struct fields set;

	if (fields_take(&set, head, len, names, n_names) == -1)
		return -1;
	hash_fields(&set, canon, names, n_names, (const char *)signature->p, signature->len, hash);
	return 0;
}

/* ---- the field ---- */

/* Appends a word, on a line of its own if it does not fit on this one. */
static void
word(struct wbuf *w, size_t *column, const char *text)
{
	size_t len = strlen(text);

	if (*column + 1 + len > COLUMNS) {
		wbuf_raw(w, "\r\n\t", 3);
		*column = TAB;
	} else if (*column > 0) {
		wbuf_raw(w, " ", 1);
		++*column;
	}
	wbuf_raw(w, text, len);
	*column += len;
}

/* The h= tag. */
static void
names_write(struct wbuf *w, size_t *column, const char *const *names, size_t n)
{
	size_t i, len;

	word(w, column, "h=");
	for (i = 0; i < n; i++) {
		len = strlen(names[i]) + 1;
		if (*column + len > COLUMNS) {
			wbuf_raw(w, "\r\n\t", 3);
			*column = TAB;
		}
		wbuf_raw(w, names[i], len - 1);
		wbuf_raw(w, i + 1 < n ? ":" : ";", 1);
		*column += len;
	}
}

static void
tags_write(const struct dkim_signer *s, unsigned instance, enum dkim_algorithm algorithm, const char *selector,
    int64_t now, struct wbuf *w, size_t *column)
{
	char text[DKIM_DOMAIN_MAX + 8];
	int64_t until = now + s->expiration;

	snprintf(text, sizeof(text), instance > 0 ? "ARC-Message-Signature: i=%u;" : "DKIM-Signature: v=1;", instance);
	word(w, column, text);
	snprintf(text, sizeof(text), "a=%s;", dkim_algorithm_names[algorithm]);
	word(w, column, text);
	snprintf(text, sizeof(text), "c=%s/%s;", dkim_canon_names[s->header], dkim_canon_names[s->body]);
	word(w, column, text);
	snprintf(text, sizeof(text), "d=%s;", s->domain);
	word(w, column, text);
	snprintf(text, sizeof(text), "s=%s;", selector);
	word(w, column, text);
	snprintf(text, sizeof(text), "t=%lld;", (long long)now);
	word(w, column, text);
	if (s->expiration > 0) {
		snprintf(text, sizeof(text), "x=%lld;", (long long)until);
		word(w, column, text);
	}
}

/* What the signer lists; an ARC set covers the signatures that it was received with besides (RFC 8617 section 4.1.2).
 * How many. */
static size_t
names_listed(const struct dkim_signer *s, unsigned instance, struct dkim_name listed[DKIM_NAMES_MAX + 1])
{
	bool has_signatures = instance == 0;
	size_t i;

	for (i = 0; i < s->n_names && i < DKIM_NAMES_MAX; i++) {
		listed[i] = s->names[i];
		has_signatures |= strcasecmp(listed[i].name, "DKIM-Signature") == 0;
	}
	if (!has_signatures)
		listed[i++] = (struct dkim_name){ "DKIM-Signature", false };
	return i;
}

int
dkim_field_begin(const struct dkim_signer *s, enum dkim_algorithm algorithm, const char *selector, const char *head,
    size_t len, const uint8_t body_hash[DKIM_HASH], int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
{
	return dkim_field_begin_as(s, 0, algorithm, selector, head, len, body_hash, now, field, hash);
}

int
dkim_field_begin_as(const struct dkim_signer *s, unsigned instance, enum dkim_algorithm algorithm,
    const char *selector, const char *head, size_t len, const uint8_t body_hash[DKIM_HASH], int64_t now,
    struct wbuf *field, uint8_t hash[DKIM_HASH])
{
	const char *listed[DKIM_NAMES_MAX + 1] = { NULL }, *names[DKIM_FIELDS_MAX + DKIM_NAMES_MAX + 1];
	struct dkim_name of[DKIM_NAMES_MAX + 1];
	char encoded[DKIM_HASH * 2], text[DKIM_HASH * 2 + 8];
	size_t i, j, n = 0, n_listed = names_listed(s, instance, of), column = 0, start = field->len;
	struct fields set;

	for (i = 0; i < n_listed; i++)
		listed[i] = of[i].name;
	if (fields_take(&set, head, len, listed, n_listed) == -1)
		return -1;
	for (i = 0; i < n_listed; i++) {
		for (j = 0; j < set.n; j++)
			if (header_name_is(&set.f[j], listed[i]))
				names[n++] = listed[i];
		if (of[i].is_over)
			names[n++] = listed[i];
	}
	tags_write(s, instance, algorithm, selector, now, field, &column);
	names_write(field, &column, names, n);
	EVP_EncodeBlock((uint8_t *)encoded, body_hash, DKIM_HASH);
	snprintf(text, sizeof(text), "bh=%s;", encoded);
	word(field, &column, text);
	wbuf_raw(field, "\r\n\tb=", 5);
	hash_fields(&set, s->header, names, n, (const char *)field->p + start, field->len - start, hash);
	return 0;
}

void
dkim_field_end(struct wbuf *field, const uint8_t *signature, size_t len)
{
	char text[(DKIM_SIGNATURE_MAX + 2) / 3 * 4 + 1], *p = text;
	size_t left, n, room = COLUMNS - TAB - 2;

	if (len > DKIM_SIGNATURE_MAX)
		panic("a signature of %zu octets", len);
	for (left = (size_t)EVP_EncodeBlock((uint8_t *)text, signature, (int)len); left > 0; left -= n, p += n) {
		if (p != text)
			wbuf_raw(field, "\r\n\t", 3);
		n = left < room ? left : room;
		wbuf_raw(field, p, n);
	}
	wbuf_raw(field, "\r\n", 2);
}

/* ---- the author ---- */

/* Behind the quoted string or the comment at *p. */
static const char *
skip(const char *p)
{
	unsigned depth = 0;

	if (*p == '"') {
		for (p++; *p != '\0' && *p != '"'; p++)
			if (*p == '\\' && p[1] != '\0')
				p++;
		return *p == '"' ? p + 1 : p;
	}
	for (; *p != '\0'; p++) {
		if (*p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '(')
			depth++;
		else if (*p == ')' && --depth == 0)
			return p + 1;
	}
	return p;
}

/* The domain behind the '@' at p, white space and comments left out. */
static bool
domain_take(const char *p, char *out, size_t size)
{
	size_t n = 0;

	for (p++; *p != '\0' && strchr(">,;", *p) == NULL;) {
		if (*p == '(') {
			p = skip(p);
			continue;
		}
		if (*p != ' ' && *p != '\t') {
			if (n + 1 >= size)
				return false;
			out[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
		}
		p++;
	}
	if (n > 0 && out[n - 1] == '.')
		n--;
	out[n] = '\0';
	return address_domain_valid(out, true);
}

bool
dkim_author_domain(const char *head, size_t len, char *out, size_t size)
{
	const char *p, *at = NULL;
	struct header_field f;
	bool ok;
	char *value;

	if (!header_find(head, len, "From", &f))
		return false;
	value = xmalloc(f.value.len + 1);
	header_value(&f, value, f.value.len + 1);
	for (p = value; *p != '\0' && *p != '>' && (*p != ',' || at == NULL);) {
		if (*p == '"' || *p == '(') {
			p = skip(p);
			continue;
		}
		/* An '@' in a display name is none of an address: the one in angle brackets counts. The name of a
		 * group, and a route, end in ':'. */
		if (*p == '<' || *p == ':')
			at = NULL;
		else if (*p == '@')
			at = p;
		p++;
	}
	ok = at != NULL && domain_take(at, out, size);
	free(value);
	return ok;
}
