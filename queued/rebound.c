/* Encoding: version, tenant, campaign, whether there is meta, meta, whether there is a header block, header block;
 * fields of base/wire.h. Read from the index, whose rows have a checksum: what is malformed nevertheless is damage. */
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mail/codec.h"

#include "queued/rebound.h"

#define REBOUND_VERSION 1

void
rebound_free(struct rebound **rp)
{
	struct rebound *r = *rp;

	if (r == NULL)
		return;
	*rp = NULL;
	free(r->tenant);
	free(r->campaign);
	codec_free_meta(r->meta, r->n_meta);
	free(r->head);
	free(r);
}

void
rebound_encode(const struct rebound *r, struct wbuf *w)
{
	wbuf_u8(w, REBOUND_VERSION);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, r->tenant);
	codec_put_opt(w, CODEC_LINE, CODEC_MAX_WORD, r->campaign);
	wbuf_u8(w, r->has_meta);
	codec_put_meta(w, r->meta, r->n_meta);
	wbuf_u8(w, r->head != NULL);
	wbuf_bytes(w, r->head, r->head_len);
}

struct rebound *
rebound_decode(struct slice s)
{
	struct rebound *r = xcalloc(1, sizeof(*r));
	uint8_t version, has_meta, has_head;
	struct slice head;
	struct rbuf rb;

	rbuf_init(&rb, s.base, s.len);
	version = rbuf_u8(&rb);
	r->tenant = codec_get_opt(&rb, CODEC_LINE, CODEC_MAX_WORD);
	r->campaign = codec_get_opt(&rb, CODEC_LINE, CODEC_MAX_WORD);
	has_meta = rbuf_u8(&rb);
	r->has_meta = has_meta != 0;
	r->meta = codec_get_meta(&rb, META_MAX, &r->n_meta);
	has_head = rbuf_u8(&rb);
	head = rbuf_bytes(&rb, REBOUND_HEAD_MAX);
	if (version != REBOUND_VERSION || !rbuf_done(&rb) || has_meta > 1 || has_head > 1 ||
	    r->n_meta > (has_meta != 0 ? META_MAX : 0) || head.len > (has_head != 0 ? REBOUND_HEAD_MAX : 0)) {
		rebound_free(&r);
		return NULL;
	}
	if (has_head != 0)
		rebound_set_head(r, head.base, head.len);
	return r;
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
rebound_equal(const struct rebound *a, const struct rebound *b)
{
	uint32_t i;

	if (a == NULL || b == NULL)
		return a == b;
	if (!same(a->tenant, b->tenant) || !same(a->campaign, b->campaign) || a->has_meta != b->has_meta ||
	    a->n_meta != b->n_meta || (a->head == NULL) != (b->head == NULL) || a->head_len != b->head_len)
		return false;
	for (i = 0; i < a->n_meta; i++)
		if (strcmp(a->meta[i].key, b->meta[i].key) != 0 || strcmp(a->meta[i].value, b->meta[i].value) != 0)
			return false;
	return a->head == NULL || memcmp(a->head, b->head, a->head_len) == 0;
}

void
rebound_set_meta(struct rebound *r, const struct meta *meta, uint32_t n)
{
	struct meta *v = n > 0 ? xcalloc(n, sizeof(*v)) : NULL;
	uint32_t i;

	for (i = 0; i < n; i++) {
		v[i].key = xstrdup(meta[i].key);
		v[i].value = xstrdup(meta[i].value);
	}
	codec_free_meta(r->meta, r->n_meta);
	r->meta = v;
	r->n_meta = n;
	r->has_meta = true;
}

void
rebound_set_head(struct rebound *r, const char *head, size_t len)
{
	char *copy = xmemdup0(len > 0 ? head : "", len);

	free(r->head);
	r->head = copy;
	r->head_len = (uint32_t)len;
}
