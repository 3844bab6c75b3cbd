/* The trace header: the first byte chooses. A value as it comes; an object that is given a right signature, so that
 * what is behind it is reached; a header of ours made of the input, which must be read as it was written. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/xalloc.h"
#include "mail/trace.h"

#include "t/fuzz/fuzz.h"

static const struct ql_token_key key = { 7, "key" };

static void
written(const struct token_signer *signer, const char *text)
{
	char name[] = "recipient", *names[] = { name };
	const struct conf_strs fields = { names, 1 };
	struct trace_source s = { .recipient = text };
	struct trace t;
	struct wbuf w;

	msgid_new(&s.env.msg, 1785000000000);
	wbuf_init(&w);
	trace_write(signer, &s, &fields, &w);
	wbuf_u8(&w, 0);
	FUZZ_ASSERT(trace_read((const char *)w.p + sizeof(TOKEN_HEADER) + 1, &key, 1, &t) == TRACE_VALID);
	FUZZ_ASSERT(envid_cmp(&t.env, &s.env) == 0);
	FUZZ_ASSERT(t.recipient == NULL || !utf8_is_valid(text, strlen(text)) || strcmp(t.recipient, text) == 0);
	trace_clear(&t);
	wbuf_clear(&w);
}

/* ..., "key":7 and the right MAC. */
static void
made(const struct token_signer *signer, const char *text)
{
	static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	char *object = xasprintf("{\"_@_\":\"\\\\_/\"%s,\"key\":7", text), mac_text[23] = "", *whole, *value;
	uint8_t mac[18] = { 0 };
	struct trace t;

	token_mac(signer, object, strlen(object), mac, 16);
	for (unsigned i = 0; i < 22; i++)
		mac_text[i] = url[((unsigned)mac[6 * i / 8] << 8 | mac[6 * i / 8 + 1]) >> (10 - 6 * i % 8) & 63];
	whole = xasprintf("%s,\"mac\":\"%s\"}", object, mac_text);
	value = xcalloc(1, strlen(whole) * 2 + 8);
	(void)EVP_EncodeBlock((unsigned char *)value, (const unsigned char *)whole, (int)strlen(whole));
	if (trace_read(value, &key, 1, &t) == TRACE_VALID) {
		FUZZ_ASSERT(t.recipient == NULL || utf8_is_valid(t.recipient, strlen(t.recipient)));
		for (uint32_t i = 0; i < t.n_meta; i++)
			FUZZ_ASSERT(t.meta[i].key != NULL && t.meta[i].value != NULL);
		trace_clear(&t);
	}
	free(object);
	free(whole);
	free(value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token_signer signer = { .mac = NULL };
	struct trace t;
	char *text;

	if (size == 0)
		return 0;
	text = xmemdup0(data + 1, size - 1);
	token_signer_set(&signer, &key);
	if (data[0] % 3 == 0)
		FUZZ_ASSERT(trace_read(text, &key, 1, &t) != TRACE_VALID);
	else if (data[0] % 3 == 1)
		written(&signer, text);
	else
		made(&signer, text);
	token_signer_clear(&signer);
	free(text);
	return 0;
}
