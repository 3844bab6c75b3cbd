/* Small decoders of what strangers send back or log in with: the recipient token (what passes is what we would make),
 * the base64 of SASL (one text for each value), and domains on their way into the DNS (idempotent); and suggestions
 * for misspelt words. First byte: which. */
#include <openssl/evp.h>

#include "base/suggest.h"
#include "base/xalloc.h"
#include "mail/idna.h"
#include "smtpd/base64.h"
#include "t/fuzz/fuzz.h"
#include "t/unit/token_once.h"

static void
token(const char *text)
{
	static const struct ql_token_key keys[2] = { { 1, "one" }, { 2, "two" } };
	char again[TOKEN_TEXT];
	struct envid env;

	if (token_check(text, keys, 2, &env) == -1)
		return;
	/* Which key it was made with stands in it. */
	token_once(&keys[0], &env, again);
	if (strcmp(text, again) != 0)
		token_once(&keys[1], &env, again);
	FUZZ_ASSERT(strcmp(text, again) == 0);
}

static void
base64(const char *text)
{
	unsigned char out[256];
	unsigned char again[400];
	long n = base64_decode(text, out, sizeof(out));

	FUZZ_ASSERT(n >= -1 && n <= (long)sizeof(out));
	if (n >= 0)
		FUZZ_ASSERT((size_t)EVP_EncodeBlock(again, out, (int)n) == strlen(text) &&
		    strcmp((const char *)again, text) == 0);
}

static void
idna(const char *text)
{
	char out[256], again[256];
	const char *p;

	if (idna_to_ascii(text, out, sizeof(out)) == -1)
		return;
	for (p = out; *p != '\0'; p++)
		FUZZ_ASSERT((unsigned char)*p < 0x80 && !(*p >= 'A' && *p <= 'Z'));
	if (p > out && p[-1] != '.') {
		FUZZ_ASSERT(idna_to_ascii(out, again, sizeof(again)) == 0);
		FUZZ_ASSERT(strcmp(out, again) == 0);
	}
}

static void
suggestion(const char *text)
{
	static const char *const words[] = { "myhostname", "mynetworks", "smtpd", "", NULL };
	const char *best = suggest_nearest(text, words);

	/* The word itself is the nearest. */
	for (unsigned i = 0; words[i] != NULL; i++)
		FUZZ_ASSERT(strcmp(words[i], text) != 0 || *text == '\0' || best == words[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t which = fuzz_u8(&in);
	char *text = xmemdup0(in.p, in.left);

	switch (which & 3) {
	case 0: token(text); break;
	case 1: base64(text); break;
	case 2: idna(text); break;
	default: suggestion(text); break;
	}
	free(text);
	return 0;
}
