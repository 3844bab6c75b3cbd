/* ARC. First byte: even, a header block: reading it is bounded, what it says of a chain is consistent, and a set that
 * we add is found again; odd, an algorithm and the record of a key, which verifies nothing that was not signed with
 * it. */
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/arc.h"
#include "mail/authres.h"
#include "mail/header.h"
#include "t/fuzz/fuzz.h"

#define NOW 1700000000

static void
check_signature(const struct arc_signature *s)
{
	FUZZ_ASSERT(s->len > 0 && s->len <= ARC_SIGNATURE_MAX && s->algorithm <= DKIM_ED25519);
	FUZZ_ASSERT(address_domain_valid(s->domain, false) && dkim_selector_valid(s->selector));
}

static void
check_chain(const struct arc_chain *c)
{
	unsigned i;

	FUZZ_ASSERT(c->n <= ARC_SETS_MAX && c->highest <= ARC_SETS_MAX + 1 && (c->n == 0 || c->n == c->highest));
	if (c->problem != NULL || c->n == 0)
		return;
	FUZZ_ASSERT(!c->is_ended);
	for (i = 0; i < c->n; i++)
		check_signature(&c->seals[i]);
	check_signature(&c->message);
}

/* The next set of what has no problem, or one that says that it has failed. */
static void
add(const struct arc_chain *c, const char *head, size_t len)
{
	static const uint8_t body[DKIM_HASH], signature[64];
	bool is_whole = c->problem == NULL;
	struct dkim_signer *s = dkim_signer_new();
	struct arc_chain *again = xmalloc(sizeof(*again));
	struct wbuf message, seal, all;
	struct arc_order *o;
	uint8_t hash[DKIM_HASH];

	s->domain = xstrdup("example.com");
	o = arc_order_new(s, c->highest + 1, !is_whole ? ARC_CV_FAIL : c->n > 0 ? ARC_CV_PASS : ARC_CV_NONE);
	dkim_signer_unref(&s);
	authres_begin_arc(&o->results, o->instance, "mx.example.com");
	authres_end(&o->results);
	wbuf_init(&message);
	wbuf_init(&seal);
	wbuf_init(&all);
	if (arc_message_begin(o, DKIM_ED25519, "s", head, len, body, NOW, &message, hash) == 0) {
		dkim_field_end(&message, signature, sizeof(signature));
		FUZZ_ASSERT(arc_seal_begin(o, DKIM_ED25519, "s", head, len, &message, NOW, &seal, hash) == 0);
		dkim_field_end(&seal, signature, sizeof(signature));
		wbuf_raw(&all, seal.p, seal.len);
		wbuf_raw(&all, message.p, message.len);
		wbuf_raw(&all, o->results.p, o->results.len);
		wbuf_raw(&all, head, len);
		arc_chain_read(again, (const char *)all.p, all.len, NOW);
		FUZZ_ASSERT(again->highest == o->instance && again->is_ended == !is_whole);
		FUZZ_ASSERT(!is_whole || again->n == o->instance);
		if (is_whole && again->problem == NULL)
			FUZZ_ASSERT(memcmp(again->seals[again->n - 1].hash, hash, DKIM_HASH) == 0);
	}
	wbuf_clear(&message);
	wbuf_clear(&seal);
	wbuf_clear(&all);
	arc_order_free(&o);
	free(again);
}

static void
header(const uint8_t *data, size_t size)
{
	size_t len = header_block_len((const char *)data, size);
	struct arc_chain *c = xmalloc(sizeof(*c));

	arc_chain_read(c, (const char *)data, len, NOW);
	check_chain(c);
	if (c->highest < ARC_SETS_MAX && !c->is_ended)
		add(c, (const char *)data, len);
	free(c);
}

static void
key(const uint8_t *data, size_t size)
{
	struct arc_signature s = { .algorithm = data[0] % 2 == 0 ? DKIM_RSA : DKIM_ED25519, .len = 128 };
	char *text;

	if (memchr(data + 1, '\0', size - 1) != NULL)
		return;
	text = xmemdup0(data + 1, size - 1);
	memset(s.hash, 1, sizeof(s.hash));
	memset(s.signature, 2, sizeof(s.signature));
	FUZZ_ASSERT(arc_verify_hash(&s, text) != NULL);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		header(data + 1, size - 1);
	else if (size > 1)
		key(data + 1, size - 1);
	return 0;
}
