/* DKIM. First byte: even, a message that is signed: its canonical forms do not depend on how it comes in pieces, and
 * are canonical; the signature is one field of short lines that covers what it says; odd, what a sign role and its
 * worker say to each other (1, 3: what is accepted encodes to the same bytes) or a DNS record that is compared (5). */
#include <openssl/evp.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dkim_key.h"
#include "mail/header.h"
#include "smtpd/sign_link.h"
#include "t/fuzz/fuzz.h"

#include "posthorn/dkim_record.h"

static void
check_field(const struct header_field *f)
{
	struct wbuf once, twice;

	wbuf_init(&once);
	wbuf_init(&twice);
	dkim_field_canon(DKIM_RELAXED, f->whole.base, f->whole.len, &once);
	FUZZ_ASSERT(once.len >= 3 && memcmp(once.p + once.len - 2, "\r\n", 2) == 0);
	FUZZ_ASSERT(memchr(once.p, '\n', once.len - 2) == NULL || memchr(f->whole.base, '\r', f->whole.len) == NULL);
	dkim_field_canon(DKIM_RELAXED, (const char *)once.p, once.len, &twice);
	FUZZ_ASSERT(once.len == twice.len && memcmp(once.p, twice.p, once.len) == 0);
	wbuf_clear(&once);
	wbuf_clear(&twice);
}

static void
check_body(enum dkim_canon canon, const uint8_t *p, size_t len, size_t piece, uint8_t hash[DKIM_HASH])
{
	struct dkim_body *whole = dkim_body_new(canon), *parts = dkim_body_new(canon);
	uint8_t other[DKIM_HASH];
	size_t i, n;

	dkim_body_update(whole, p, len);
	for (i = 0; i < len; i += n) {
		n = len - i < piece ? len - i : piece;
		dkim_body_update(parts, p + i, n);
	}
	dkim_body_final(&whole, hash);
	dkim_body_final(&parts, other);
	FUZZ_ASSERT(memcmp(hash, other, DKIM_HASH) == 0);
}

static void
check_signature(struct wbuf *field)
{
	static const uint8_t signature[256];
	struct header_iter it;
	struct header_field f;
	const char *p, *end;

	dkim_field_end(field, signature, sizeof(signature));
	header_iter_init(&it, (const char *)field->p, field->len);
	FUZZ_ASSERT(header_next(&it, &f) && f.whole.len == field->len && header_name_is(&f, "DKIM-Signature"));
	for (p = f.whole.base; p < f.whole.base + f.whole.len; p = end + 2) {
		end = memmem(p, (size_t)(f.whole.base + f.whole.len - p), "\r\n", 2);
		FUZZ_ASSERT(end != NULL && end - p <= 78);
	}
}

static void
message(const uint8_t *data, size_t size, size_t piece)
{
	size_t head = header_block_len((const char *)data, size);
	struct dkim_signer *s = dkim_signer_new();
	uint8_t body[DKIM_HASH], hash[DKIM_HASH];
	char domain[DKIM_DOMAIN_MAX + 1];
	struct header_iter it;
	struct header_field f;
	struct wbuf field;

	header_iter_init(&it, (const char *)data, head);
	while (header_next(&it, &f))
		check_field(&f);
	check_body(DKIM_SIMPLE, data + head, size - head, piece, body);
	check_body(DKIM_RELAXED, data + head, size - head, piece, body);
	s->domain = xstrdup("example.com");
	s->header = piece % 2 == 0 ? DKIM_RELAXED : DKIM_SIMPLE;
	wbuf_init(&field);
	if (dkim_field_begin(s, DKIM_RSA, "selector", (const char *)data, head, body, 1700000000, &field, hash) == 0)
		check_signature(&field);
	wbuf_clear(&field);
	dkim_signer_unref(&s);
	if (dkim_author_domain((const char *)data, head, domain, sizeof(domain)))
		FUZZ_ASSERT(address_domain_valid(domain, true) && strpbrk(domain, "ABCXYZ\r\n ") == NULL);
}

static void
question(const uint8_t *data, size_t size)
{
	struct sign_ask a;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (sign_ask_decode(&r, &a) == -1)
		return;
	FUZZ_ASSERT(strchr(a.domain, '/') == NULL && strchr(a.selector, '/') == NULL);
	wbuf_init(&w);
	sign_ask_encode(&a, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	sign_ask_clear(&a);
}

static void
answer(const uint8_t *data, size_t size)
{
	struct sign_answer a;
	struct rbuf r;
	struct wbuf w;

	rbuf_init(&r, data, size);
	if (sign_answer_decode(&r, &a) == -1)
		return;
	wbuf_init(&w);
	sign_answer_encode(&a, &w);
	FUZZ_ASSERT(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_clear(&w);
	sign_answer_clear(&a);
}

static void
record(const uint8_t *data, size_t size)
{
	static struct dkim_key *key;
	struct dns_reply reply = { .status = DNS_OK };
	bool is_testing;
	char *why;

	if (key == NULL)
		key = dkim_key_generate(DKIM_ED25519, 0);
	dns_reply_add(&reply, 0, xmemdup0(data, size), size);
	why = dkim_record_compare(key, &reply, &is_testing);
	FUZZ_ASSERT(why != NULL); /* the key is new: nobody has published it */
	free(why);
	dns_reply_clear(&reply);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		message(data + 1, size - 1, data[0] / 2 % 16 + 1);
	else if (data[0] == 1)
		question(data + 1, size - 1);
	else if (data[0] == 3)
		answer(data + 1, size - 1);
	else if (data[0] == 5)
		record(data + 1, size - 1);
	return 0;
}
