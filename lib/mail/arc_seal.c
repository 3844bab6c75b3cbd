/* Making ARC sets (arc.h): what ours covers, and its fields. A broken chain is sealed as if our set were the only one
 * (RFC 8617 section 5.1.2): nobody can tell in which order the rest belongs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"

#include "mail/arc_private.h"

struct arc_order *
arc_order_new(struct dkim_signer *signer, unsigned instance, enum arc_cv cv)
{
	struct arc_order *o = xcalloc(1, sizeof(*o));

	o->signer = dkim_signer_ref(signer);
	o->instance = instance;
	o->cv = cv;
	wbuf_init(&o->results);
	return o;
}

void
arc_order_free(struct arc_order **op)
{
	struct arc_order *o = *op;

	if (o == NULL)
		return;
	dkim_signer_unref(&o->signer);
	wbuf_clear(&o->results);
	free(o);
	*op = NULL;
}

int
arc_message_begin(const struct arc_order *o, enum dkim_algorithm algorithm, const char *selector, const char *head,
    size_t len, const uint8_t body_hash[DKIM_HASH], int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
{
	return dkim_field_begin_as(o->signer, o->instance, algorithm, selector, head, len, body_hash, now, field, hash);
}

int
arc_seal_begin(const struct arc_order *o, enum dkim_algorithm algorithm, const char *selector, const char *head,
    size_t len, const struct wbuf *message, int64_t now, struct wbuf *field, uint8_t hash[DKIM_HASH])
{
	char text[DKIM_DOMAIN_MAX + DKIM_SELECTOR_MAX + 200];
	struct arc_sets *s = xmalloc(sizeof(*s));
	size_t start = field->len;
	struct wbuf ours;
	EVP_MD_CTX *md;
	unsigned n;

	arc_sets_collect(s, head, len);
	n = o->cv == ARC_CV_FAIL ? 0 : o->instance - 1;
	if (o->cv != ARC_CV_FAIL && (s->problem != NULL || s->n != n)) {
		free(s);
		return -1;
	}
	snprintf(text, sizeof(text), "ARC-Seal: i=%u; a=%s; cv=%s; t=%lld;\r\n\td=%s;\r\n\ts=%s;\r\n\tb=", o->instance,
	    dkim_algorithm_names[algorithm], arc_cv_names[o->cv], (long long)now, o->signer->domain, selector);
	wbuf_raw(field, text, strlen(text));
	md = arc_digest_sets(s, n);
	arc_digest_field(md, (const char *)o->results.p, o->results.len);
	arc_digest_field(md, (const char *)message->p, message->len);
	wbuf_init(&ours);
	wbuf_raw(&ours, field->p + start, field->len - start);
	arc_digest_last(md, &ours, hash);
	wbuf_clear(&ours);
	EVP_MD_CTX_free(md);
	free(s);
	return 0;
}
