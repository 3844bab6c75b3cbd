/* The field encoder and decoder (base/wire.h). The reader's input comes from another process or from disk and may be
 * anything; the writer's fields were bounded by who called. Pure: nothing here logs or allocates beyond the buffer. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "base/xalloc.h"

void
wbuf_init(struct wbuf *w)
{
	memset(w, 0, sizeof(*w));
}

void
wbuf_reset(struct wbuf *w)
{
	w->len = 0;
}

void
wbuf_clear(struct wbuf *w)
{
	free(w->p);
	memset(w, 0, sizeof(*w));
}

void
wbuf_reserve(struct wbuf *w, size_t more)
{
	size_t cap;

	if (w->cap - w->len >= more)
		return;
	if (more > SIZE_MAX / 4 || w->len > SIZE_MAX / 4)
		panic("buffer of %zu bytes asked for %zu more", w->len, more);
	cap = w->cap < 128 ? 128 : w->cap * 2;
	if (cap < w->len + more)
		cap = w->len + more;
	w->p = xreallocarray(w->p, cap, 1);
	w->cap = cap;
}

void
wbuf_raw(struct wbuf *w, const void *p, size_t len)
{
	if (len == 0)
		return;
	wbuf_reserve(w, len);
	memcpy(w->p + w->len, p, len);
	w->len += len;
}

void
wbuf_u8(struct wbuf *w, uint8_t v)
{
	wbuf_reserve(w, 1);
	w->p[w->len++] = v;
}

void
wbuf_u16(struct wbuf *w, uint16_t v)
{
	v = htobe16(v);
	wbuf_raw(w, &v, sizeof(v));
}

void
wbuf_u32(struct wbuf *w, uint32_t v)
{
	v = htobe32(v);
	wbuf_raw(w, &v, sizeof(v));
}

void
wbuf_u64(struct wbuf *w, uint64_t v)
{
	v = htobe64(v);
	wbuf_raw(w, &v, sizeof(v));
}

void
wbuf_bytes(struct wbuf *w, const void *p, size_t len)
{
	if (len > UINT32_MAX)
		panic("field of %zu bytes", len);
	wbuf_reserve(w, len + 4);
	wbuf_u32(w, (uint32_t)len);
	wbuf_raw(w, p, len);
}

void
wbuf_str(struct wbuf *w, const char *s)
{
	wbuf_bytes(w, s, s == NULL ? 0 : strlen(s));
}

void
rbuf_init(struct rbuf *r, const void *p, size_t len)
{
	r->p = p;
	r->len = len;
	r->pos = 0;
	r->bad = false;
}

size_t
rbuf_left(const struct rbuf *r)
{
	return r->len - r->pos;
}

/* The next n bytes, or NULL; once bad, always NULL. */
static const uint8_t *
rbuf_take(struct rbuf *r, size_t n)
{
	const uint8_t *p;

	if (r->bad || r->len - r->pos < n) {
		r->bad = true;
		r->pos = r->len;
		return NULL;
	}
	p = r->p + r->pos;
	r->pos += n;
	return p;
}

uint8_t
rbuf_u8(struct rbuf *r)
{
	const uint8_t *p = rbuf_take(r, 1);

	return p == NULL ? 0 : *p;
}

uint16_t
rbuf_u16(struct rbuf *r)
{
	uint16_t v = 0;

	rbuf_raw(r, &v, sizeof(v));
	return be16toh(v);
}

uint32_t
rbuf_u32(struct rbuf *r)
{
	uint32_t v = 0;

	rbuf_raw(r, &v, sizeof(v));
	return be32toh(v);
}

uint64_t
rbuf_u64(struct rbuf *r)
{
	uint64_t v = 0;

	rbuf_raw(r, &v, sizeof(v));
	return be64toh(v);
}

void
rbuf_raw(struct rbuf *r, void *out, size_t n)
{
	const uint8_t *p = rbuf_take(r, n);

	if (n == 0)
		return;
	if (p == NULL)
		memset(out, 0, n);
	else
		memcpy(out, p, n);
}

struct slice
rbuf_bytes(struct rbuf *r, size_t max)
{
	size_t len = rbuf_u32(r);
	const uint8_t *p;

	if (len > max)
		r->bad = true;
	p = rbuf_take(r, len);
	if (p == NULL || r->bad)
		return (struct slice){ "", 0 };
	return (struct slice){ (const char *)p, len };
}

char *
rbuf_strdup(struct rbuf *r, size_t max)
{
	struct slice s = rbuf_bytes(r, max);

	if (s.len > 0 && memchr(s.base, '\0', s.len) != NULL) {
		r->bad = true;
		r->pos = r->len;
		return xstrdup("");
	}
	return xmemdup0(s.base, s.len);
}

bool
rbuf_done(const struct rbuf *r)
{
	return !r->bad && r->pos == r->len;
}
