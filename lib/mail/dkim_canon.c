/* The canonical forms of RFC 6376 section 3.4. Any process that signs. Octets are a stranger's: any may occur, in
 * pieces of any size; nothing is held back but a count of line ends and a flag for white space. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/xalloc.h"
#include "mail/dkim.h"

#define STAGE 2048

struct dkim_body {
	EVP_MD_CTX *md;
	enum dkim_canon canon;
	uint64_t line_ends; /* seen and not hashed yet: the end of the body drops them */
	bool has_cr;        /* the last octet was CR */
	bool has_space;     /* relaxed: white space that something may follow */
	bool has_text;
	size_t n;
	uint8_t stage[STAGE];
};

struct dkim_body *
dkim_body_new(enum dkim_canon canon)
{
	struct dkim_body *b = xcalloc(1, sizeof(*b));

	b->canon = canon;
	b->md = EVP_MD_CTX_new();
	if (b->md == NULL || EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		fatal("OpenSSL has no SHA-256");
	return b;
}

static void
flush(struct dkim_body *b)
{
	EVP_DigestUpdate(b->md, b->stage, b->n);
	b->n = 0;
}

static void
put(struct dkim_body *b, const uint8_t *p, size_t n)
{
	if (n > STAGE - b->n)
		flush(b);
	if (n >= STAGE) {
		EVP_DigestUpdate(b->md, p, n);
		return;
	}
	memcpy(b->stage + b->n, p, n);
	b->n += n;
}

/* Text follows: what was held back is part of the body after all. */
static void
put_text(struct dkim_body *b, const uint8_t *p, size_t n)
{
	for (; b->line_ends > 0; b->line_ends--)
		put(b, (const uint8_t *)"\r\n", 2);
	if (b->has_space)
		put(b, (const uint8_t *)" ", 1);
	b->has_space = false;
	b->has_text = true;
	put(b, p, n);
}

/* The CR at the end of the last piece. How many octets of this one it takes. */
static size_t
after_cr(struct dkim_body *b, uint8_t c)
{
	b->has_cr = false;
	if (c != '\n') {
		put_text(b, (const uint8_t *)"\r", 1);
		return 0;
	}
	b->has_space = false;
	b->line_ends++;
	return 1;
}

static void
simple_update(struct dkim_body *b, const uint8_t *p, size_t n)
{
	uint64_t ends = 0;

	if (p[n - 1] == '\r') {
		b->has_cr = true;
		n--;
	}
	while (n >= 2 && p[n - 2] == '\r' && p[n - 1] == '\n') {
		n -= 2;
		ends++;
	}
	if (n > 0)
		put_text(b, p, n);
	b->line_ends += ends;
}

/* The length of the text at p that is canonical as it stands. */
static size_t
text_len(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n) {
		if (p[i] > ' ' || (p[i] != ' ' && p[i] != '\t' && p[i] != '\r'))
			i++;
		else if (p[i] == ' ' && i > 0 && i + 1 < n && p[i + 1] > ' ')
			i += 2;
		else
			break;
	}
	return i;
}

static void
relaxed_update(struct dkim_body *b, const uint8_t *p, size_t n)
{
	size_t i = 0, len;

	while (i < n) {
		if ((len = text_len(p + i, n - i)) > 0) {
			put_text(b, p + i, len);
			i += len;
		} else if (p[i] != '\r') {
			b->has_space = true;
			i++;
		} else if (i + 1 == n) {
			b->has_cr = true;
			i++;
		} else {
			i += 1 + after_cr(b, p[i + 1]);
		}
	}
}

void
dkim_body_update(struct dkim_body *b, const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t used;

	if (n > 0 && b->has_cr) {
		used = after_cr(b, *p);
		p += used;
		n -= used;
	}
	if (n == 0)
		return;
	if (b->canon == DKIM_SIMPLE)
		simple_update(b, p, n);
	else
		relaxed_update(b, p, n);
}

void
dkim_body_final(struct dkim_body **bp, uint8_t hash[DKIM_HASH])
{
	struct dkim_body *b = *bp;

	if (b->has_cr)
		put_text(b, (const uint8_t *)"\r", 1);
	/* An empty body is one line end in the simple form, nothing in the relaxed one. */
	if (b->has_text || b->canon == DKIM_SIMPLE)
		put(b, (const uint8_t *)"\r\n", 2);
	flush(b);
	if (EVP_DigestFinal_ex(b->md, hash, NULL) != 1)
		fatal("OpenSSL cannot compute SHA-256");
	dkim_body_free(bp);
}

void
dkim_body_free(struct dkim_body **bp)
{
	if (*bp == NULL)
		return;
	EVP_MD_CTX_free((*bp)->md);
	free(*bp);
	*bp = NULL;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
relaxed_field(const char *p, const char *end, struct wbuf *out)
{
	const char *colon = memchr(p, ':', (size_t)(end - p));
	bool has_text = false, has_space = false;
	uint8_t *to;

	/* Never longer than it was, but for a line end that may be missing. */
	wbuf_reserve(out, (size_t)(end - p) + 2);
	to = out->p + out->len;
	for (; p < end && p != colon; p++)
		if (!is_space(*p))
			*to++ = (uint8_t)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	if (p < end)
		*to++ = (uint8_t)*p++;
	for (; p < end; p++) {
		if (is_space(*p)) {
			has_space = has_text;
			continue;
		}
		if (has_space)
			*to++ = ' ';
		has_space = false;
		has_text = true;
		*to++ = (uint8_t)*p;
	}
	*to++ = '\r';
	*to++ = '\n';
	out->len = (size_t)(to - out->p);
}

void
dkim_field_canon(enum dkim_canon canon, const char *field, size_t len, struct wbuf *out)
{
	if (canon == DKIM_SIMPLE)
		wbuf_raw(out, field, len);
	else
		relaxed_field(field, field + len, out);
}
