/* Text inside frames and records (see codec.h). Runs in every daemon. Hostile: what is decoded, if another process of
 * ours has been taken over or the disk lies. */

#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "mail/codec.h"

static bool
is_allowed(unsigned char c, enum codec_text kind)
{
	if (c >= 0x20)
		return kind != CODEC_STRICT || c != 0x7f;
	switch (kind) {
	case CODEC_STRICT:
		return false;
	case CODEC_LINE:
		return c != '\r' && c != '\n';
	case CODEC_LINES:
		return c != '\r';
	}
	return false;
}

static bool
is_clean(const char *s, size_t len, enum codec_text kind)
{
	for (size_t i = 0; i < len; i++)
		if (!is_allowed((unsigned char)s[i], kind))
			return false;
	return true;
}

void
codec_put(struct wbuf *w, enum codec_text kind, size_t max, const char *s)
{
	size_t len = s == NULL ? 0 : strlen(s);
	size_t at;

	if (len > max) {
		/* Not in the middle of a UTF-8 sequence. */
		for (len = max; len > max - 3 && (s[len] & 0xc0) == 0x80;)
			len--;
	}
	wbuf_bytes(w, s == NULL ? "" : s, len);
	if (s == NULL || is_clean(s, len, kind))
		return;
	at = w->len - len;
	for (size_t i = 0; i < len; i++)
		if (!is_allowed(w->p[at + i], kind))
			w->p[at + i] = '?';
}

void
codec_put_opt(struct wbuf *w, enum codec_text kind, size_t max, const char *s)
{
	wbuf_u8(w, s != NULL);
	if (s != NULL)
		codec_put(w, kind, max, s);
}

char *
codec_get(struct rbuf *r, enum codec_text kind, size_t max)
{
	struct slice text = rbuf_bytes(r, max);

	if (r->bad || text.len == 0)
		return xstrdup("");
	if (memchr(text.base, '\0', text.len) != NULL || !is_clean(text.base, text.len, kind)) {
		r->bad = true;
		return xstrdup("");
	}
	return xmemdup0(text.base, text.len);
}

char *
codec_get_opt(struct rbuf *r, enum codec_text kind, size_t max)
{
	uint8_t present = rbuf_u8(r);

	if (present > 1)
		r->bad = true;
	return present == 1 && !r->bad ? codec_get(r, kind, max) : NULL;
}

void
codec_put_meta(struct wbuf *w, const struct meta *meta, uint32_t n)
{
	wbuf_u32(w, n);
	for (uint32_t i = 0; i < n; i++) {
		codec_put(w, CODEC_LINE, CODEC_MAX_META_KEY, meta[i].key);
		codec_put(w, CODEC_LINES, CODEC_MAX_META_VALUE, meta[i].value);
	}
}

struct meta *
codec_get_meta(struct rbuf *r, uint32_t max, uint32_t *n_r)
{
	uint32_t n = rbuf_u32(r);
	struct meta *meta;

	*n_r = 0;
	/* Two lengths at least for each: a count alone allocates nothing. */
	if (n > max || n > rbuf_left(r) / 8)
		r->bad = true;
	if (r->bad || n == 0)
		return NULL;
	meta = xcalloc(n, sizeof(*meta));
	for (uint32_t i = 0; i < n; i++) {
		meta[i].key = codec_get(r, CODEC_LINE, CODEC_MAX_META_KEY);
		meta[i].value = codec_get(r, CODEC_LINES, CODEC_MAX_META_VALUE);
		if (meta[i].key[0] == '\0')
			r->bad = true;
	}
	*n_r = n;
	return meta;
}

void
codec_free_meta(struct meta *meta, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		free(meta[i].key);
		free(meta[i].value);
	}
	free(meta);
}
