/* Reading chains of ARC sets (arc.h). The fields are a stranger's: those of the three names are collected by their
 * instance, at most one of each; whatever does not fit is the chain's problem, and nothing is concluded of the rest.
 * What the seals cover grows with each instance: one running hash serves them all. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/arc.h"
#include "mail/header.h"

#include "mail/arc_private.h"

#define FUTURE 300 /* seconds that a signer's clock may be ahead */

const char *const arc_cv_names[ARC_CVS] = {
	[0] = "", [ARC_CV_NONE] = "none", [ARC_CV_PASS] = "pass", [ARC_CV_FAIL] = "fail"
};

const char *const arc_names[ARC_KINDS] = {
	"ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"
};

static bool
is_fws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ---- tags ---- */

/* The value as it stands, outer white space included; base NULL: not there. False: not a list of tags, or the tag is
 * there twice. */
bool
arc_tag(const char *list, size_t size, const char *tag, struct slice *value)
{
	const char *p = list, *end = list + size, *stop, *eq, *last;
	size_t len = strlen(tag);

	*value = (struct slice){ NULL, 0 };
	for (; p < end; p = stop < end ? stop + 1 : end) {
		if ((stop = memchr(p, ';', (size_t)(end - p))) == NULL)
			stop = end;
		while (p < stop && is_fws(*p))
			p++;
		/* The list may end in ';'. */
		if (p == stop && stop + 1 >= end)
			break;
		if ((eq = memchr(p, '=', (size_t)(stop - p))) == NULL || eq == p)
			return p == stop && stop == end;
		for (last = eq; last > p && is_fws(last[-1]);)
			last--;
		if ((size_t)(last - p) != len || memcmp(p, tag, len) != 0)
			continue;
		if (value->base != NULL)
			return false;
		*value = (struct slice){ eq + 1, (size_t)(stop - eq - 1) };
	}
	return true;
}

/* Without any white space, NUL-terminated. False: not there, or too long, or with octets that no tag has. */
bool
arc_tag_text(const char *list, size_t len, const char *tag, char *out, size_t size)
{
	struct slice v;
	size_t i, n = 0;

	out[0] = '\0';
	if (!arc_tag(list, len, tag, &v) || v.base == NULL)
		return false;
	for (i = 0; i < v.len; i++) {
		if (is_fws(v.base[i]))
			continue;
		if (v.base[i] <= ' ' || v.base[i] > '~' || n + 1 >= size)
			return false;
		out[n++] = v.base[i];
	}
	out[n] = '\0';
	return true;
}

/* A number of the header, or -1. */
static int64_t
number(const char *s)
{
	int64_t n = 0;

	if (*s == '\0' || strlen(s) > 12)
		return -1;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n;
}

size_t
arc_base64(const char *text, uint8_t *out, size_t size)
{
	size_t len = strlen(text), pad = 0;
	uint8_t *buf;
	int n;

	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	if (len == 0 || len % 4 != 0 || memchr(text, '=', len - pad) != NULL)
		return 0;
	buf = xmalloc(len / 4 * 3 + 1);
	n = EVP_DecodeBlock(buf, (const uint8_t *)text, (int)len);
	if (n < (int)pad || (size_t)n - pad > size)
		n = (int)pad;
	memcpy(out, buf, (size_t)n - pad);
	free(buf);
	return (size_t)n - pad;
}

/* ---- collecting ---- */

/* The instance of a field, 0: it has none. It is the first tag of an ARC-Authentication-Results, and anywhere in the
 * others. */
static unsigned
instance_of(const struct header_field *f, enum arc_kind kind)
{
	size_t len = f->value.len;
	const char *semicolon;
	char text[16];
	int64_t n;

	if (kind == ARC_RESULTS) {
		if ((semicolon = memchr(f->value.base, ';', len)) == NULL)
			return 0;
		len = (size_t)(semicolon - f->value.base);
	}
	if (!arc_tag_text(f->value.base, len, "i", text, sizeof(text)) || (n = number(text)) < 1)
		return 0;
	return n > ARC_SETS_MAX ? ARC_SETS_MAX + 1 : (unsigned)n;
}

static void
complain(struct arc_sets *s, const char *problem)
{
	if (s->problem == NULL)
		s->problem = problem;
}

static void
take(struct arc_sets *s, const struct header_field *f, enum arc_kind kind)
{
	unsigned i = f->whole.len <= ARC_FIELD_MAX ? instance_of(f, kind) : 0;

	s->n_fields++;
	if (i > s->highest)
		s->highest = i;
	if (f->whole.len > ARC_FIELD_MAX)
		complain(s, "a field of an ARC set is too long");
	else if (i == 0)
		complain(s, "a field of an ARC set has no instance");
	else if (i > ARC_SETS_MAX)
		complain(s, "more than 50 ARC sets");
	else if (s->fields[i - 1][kind].whole.base != NULL)
		complain(s, "an ARC set has a field twice");
	else
		s->fields[i - 1][kind] = *f;
}

void
arc_sets_collect(struct arc_sets *s, const char *head, size_t len)
{
	struct header_iter it;
	struct header_field f;
	enum arc_kind k;
	unsigned i;

	memset(s, 0, sizeof(*s));
	header_iter_init(&it, head, len);
	while (header_next(&it, &f))
		for (k = 0; k < ARC_KINDS; k++)
			if (header_name_is(&f, arc_names[k]))
				take(s, &f, k);
	if (s->problem != NULL || s->n_fields == 0)
		return;
	for (i = 0; i < s->highest; i++)
		for (k = 0; k < ARC_KINDS; k++)
			if (s->fields[i][k].whole.base == NULL)
				complain(s, "an ARC set is missing, or a part of it");
	if (s->problem == NULL)
		s->n = s->highest;
}

/* ---- what is covered ---- */

/* The field without its line end, its b= tag empty. False: it has none. */
static bool
without_b(const struct header_field *f, struct wbuf *out)
{
	struct slice b;
	const char *end = f->value.base + f->value.len;

	if (!arc_tag(f->value.base, f->value.len, "b", &b) || b.base == NULL)
		return false;
	wbuf_raw(out, f->whole.base, (size_t)(b.base - f->whole.base));
	wbuf_raw(out, b.base + b.len, (size_t)(end - (b.base + b.len)));
	return true;
}

static void
digest_init(EVP_MD_CTX **md)
{
	*md = EVP_MD_CTX_new();
	if (*md == NULL || EVP_DigestInit_ex(*md, EVP_sha256(), NULL) != 1)
		fatal("OpenSSL has no SHA-256");
}

void
arc_digest_field(EVP_MD_CTX *md, const char *field, size_t len)
{
	struct wbuf w;

	wbuf_init(&w);
	dkim_field_canon(DKIM_RELAXED, field, len, &w);
	if (EVP_DigestUpdate(md, w.p, w.len) != 1)
		fatal("OpenSSL cannot compute SHA-256");
	wbuf_clear(&w);
}

/* Ends a copy of md with a field whose line end does not count. */
void
arc_digest_last(const EVP_MD_CTX *md, const struct wbuf *field, uint8_t hash[DKIM_HASH])
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	struct wbuf w;

	wbuf_init(&w);
	dkim_field_canon(DKIM_RELAXED, (const char *)field->p, field->len, &w);
	if (copy == NULL || EVP_MD_CTX_copy_ex(copy, md) != 1 || EVP_DigestUpdate(copy, w.p, w.len - 2) != 1 ||
	    EVP_DigestFinal_ex(copy, hash, NULL) != 1)
		fatal("OpenSSL cannot compute SHA-256");
	EVP_MD_CTX_free(copy);
	wbuf_clear(&w);
}

EVP_MD_CTX *
arc_digest_sets(const struct arc_sets *s, unsigned n)
{
	EVP_MD_CTX *md;
	enum arc_kind k;
	unsigned i;

	digest_init(&md);
	for (i = 0; i < n; i++)
		for (k = 0; k < ARC_KINDS; k++)
			arc_digest_field(md, s->fields[i][k].whole.base, s->fields[i][k].whole.len);
	return md;
}

/* ---- signatures ---- */

/* What seals and message signatures have in common. NULL, or a problem. */
static const char *
signature_read(const struct header_field *f, struct arc_signature *sig)
{
	char text[ARC_SIGNATURE_MAX * 2], algorithm[24];
	const char *v = f->value.base;
	size_t len = f->value.len;

	if (!arc_tag_text(v, len, "a", algorithm, sizeof(algorithm)) ||
	    (strcasecmp(algorithm, "rsa-sha256") != 0 && strcasecmp(algorithm, "ed25519-sha256") != 0))
		return "an ARC signature is of an unknown algorithm";
	sig->algorithm = strcasecmp(algorithm, "rsa-sha256") == 0 ? DKIM_RSA : DKIM_ED25519;
	if (!arc_tag_text(v, len, "d", sig->domain, sizeof(sig->domain)) || *sig->domain == '[' ||
	    !address_domain_valid(sig->domain, false) ||
	    !arc_tag_text(v, len, "s", sig->selector, sizeof(sig->selector)) || !dkim_selector_valid(sig->selector))
		return "an ARC signature names no key";
	if (!arc_tag_text(v, len, "b", text, sizeof(text)) ||
	    (sig->len = arc_base64(text, sig->signature, sizeof(sig->signature))) == 0)
		return "an ARC signature cannot be read";
	return NULL;
}

/* Tags that must not be there, or that may say that it is too early or too late. */
static const char *
time_check(const struct header_field *f, int64_t now)
{
	int64_t from = -1, until;
	struct slice v;
	char text[16];

	if (!arc_tag(f->value.base, f->value.len, "t", &v))
		return "an ARC signature cannot be read";
	if (v.base != NULL && (!arc_tag_text(f->value.base, f->value.len, "t", text, sizeof(text)) ||
	    (from = number(text)) == -1 || from > now + FUTURE))
		return "an ARC signature is of the future, or of no time";
	if (!arc_tag(f->value.base, f->value.len, "x", &v))
		return "an ARC signature cannot be read";
	if (v.base == NULL)
		return NULL;
	if (!arc_tag_text(f->value.base, f->value.len, "x", text, sizeof(text)) || (until = number(text)) == -1 ||
	    until < from)
		return "an ARC signature is of the future, or of no time";
	return until < now ? "an ARC signature has expired" : NULL;
}

static int
cv_of(const struct header_field *f)
{
	char text[8];
	int cv;

	if (!arc_tag_text(f->value.base, f->value.len, "cv", text, sizeof(text)))
		return 0;
	for (cv = ARC_CV_NONE; cv < ARC_CVS; cv++)
		if (strcasecmp(text, arc_cv_names[cv]) == 0)
			return cv;
	return 0;
}

static const char *
seals_read(struct arc_chain *c, const struct arc_sets *s, int64_t now)
{
	EVP_MD_CTX *md;
	const char *problem = NULL;
	const struct header_field *f;
	struct slice h;
	struct wbuf w;
	unsigned i;

	digest_init(&md);
	wbuf_init(&w);
	for (i = 0; i < s->n && problem == NULL; i++) {
		f = &s->fields[i][ARC_SEAL];
		if (cv_of(f) != (i == 0 ? ARC_CV_NONE : ARC_CV_PASS))
			problem = "an ARC seal says that the chain was broken before, or what cannot be";
		else if (!arc_tag(f->value.base, f->value.len, "h", &h) || h.base != NULL)
			problem = "an ARC seal has a tag h, which it must not";
		else if ((problem = signature_read(f, &c->seals[i])) == NULL)
			problem = time_check(f, now);
		if (problem != NULL)
			break;
		arc_digest_field(md, s->fields[i][ARC_RESULTS].whole.base, s->fields[i][ARC_RESULTS].whole.len);
		arc_digest_field(md, s->fields[i][ARC_MESSAGE].whole.base, s->fields[i][ARC_MESSAGE].whole.len);
		wbuf_reset(&w);
		if (!without_b(f, &w))
			problem = "an ARC signature cannot be read";
		else
			arc_digest_last(md, &w, c->seals[i].hash);
		arc_digest_field(md, f->whole.base, f->whole.len);
	}
	EVP_MD_CTX_free(md);
	wbuf_clear(&w);
	return problem;
}

/* c=; absent: simple/simple. */
static bool
canon_read(const struct header_field *f, enum dkim_canon *header, uint8_t *body)
{
	struct slice v;
	char text[24], *slash;

	*header = DKIM_SIMPLE;
	*body = DKIM_SIMPLE;
	if (!arc_tag(f->value.base, f->value.len, "c", &v))
		return false;
	if (v.base == NULL)
		return true;
	if (!arc_tag_text(f->value.base, f->value.len, "c", text, sizeof(text)))
		return false;
	if ((slash = strchr(text, '/')) != NULL)
		*slash++ = '\0';
	if (strcasecmp(text, "relaxed") == 0)
		*header = DKIM_RELAXED;
	else if (strcasecmp(text, "simple") != 0)
		return false;
	if (slash != NULL && strcasecmp(slash, "relaxed") == 0)
		*body = DKIM_RELAXED;
	return slash == NULL || *body == DKIM_RELAXED || strcasecmp(slash, "simple") == 0;
}

/* Splits the list in place. How many names; 0: it is not one that covers what it must. */
static size_t
names_split(char *text, const char *names[ARC_NAMES_MAX])
{
	bool has_from = false;
	size_t n = 0;
	char *p;

	while ((p = strsep(&text, ":")) != NULL) {
		if (*p == '\0' || n == ARC_NAMES_MAX || strcasecmp(p, "ARC-Seal") == 0)
			return 0;
		has_from |= strcasecmp(p, "From") == 0;
		names[n++] = p;
	}
	return has_from ? n : 0;
}

static const char *
message_read(struct arc_chain *c, const struct header_field *f, const char *head, size_t len, int64_t now)
{
	const char *names[ARC_NAMES_MAX], *problem;
	char text[DKIM_HASH * 2], list[ARC_FIELD_MAX + 1];
	enum dkim_canon canon;
	struct slice v;
	struct wbuf w;
	size_t n;

	if ((problem = signature_read(f, &c->message)) != NULL || (problem = time_check(f, now)) != NULL)
		return problem;
	if (!arc_tag(f->value.base, f->value.len, "l", &v) || v.base != NULL)
		return "the ARC message signature does not cover the whole body";
	if (!canon_read(f, &canon, &c->body) || !arc_tag_text(f->value.base, f->value.len, "bh", text, sizeof(text)) ||
	    arc_base64(text, c->body_hash, DKIM_HASH) != DKIM_HASH)
		return "the ARC message signature cannot be read";
	if (!arc_tag_text(f->value.base, f->value.len, "h", list, sizeof(list)) || (n = names_split(list, names)) == 0)
		return "the ARC message signature does not say what it must of the header";
	if (header_count(head, len, "From") > 1)
		return "the message has more than one From field";
	wbuf_init(&w);
	if (!without_b(f, &w))
		problem = "the ARC message signature cannot be read";
	else if (dkim_header_hash(canon, head, len, names, n, &w, c->message.hash) == -1)
		problem = "the ARC message signature covers too many fields";
	wbuf_clear(&w);
	return problem;
}

void
arc_chain_read(struct arc_chain *c, const char *head, size_t len, int64_t now)
{
	struct arc_sets *s = xmalloc(sizeof(*s));
	const struct header_field *newest;

	memset(c, 0, sizeof(*c));
	arc_sets_collect(s, head, len);
	c->highest = s->highest;
	c->problem = s->problem;
	if (s->highest > 0 && s->highest <= ARC_SETS_MAX) {
		newest = &s->fields[s->highest - 1][ARC_SEAL];
		c->is_ended = newest->whole.base != NULL && cv_of(newest) == ARC_CV_FAIL;
	}
	if (c->problem == NULL && s->n > 0) {
		c->n = s->n;
		if ((c->problem = seals_read(c, s, now)) == NULL)
			c->problem = message_read(c, &s->fields[s->n - 1][ARC_MESSAGE], head, len, now);
	}
	free(s);
}
