/* Parameters of MAIL and RCPT (RFC 1870, 3461, 6152, 6531), and xtext. First byte: 0 MAIL, 1 RCPT, 2 decode xtext, 3
 * encode xtext. What comes out is clean, and xtext that is decoded, or encoded, goes back to the same octets. */
#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/envelope.h"
#include "smtpd/mailargs.h"
#include "t/fuzz/fuzz.h"

#define CODED_MAX 2048

static void
check_coded(const char *plain)
{
	char coded[CODED_MAX], again[CODED_MAX];

	FUZZ_ASSERT(xtext_encode(plain, coded, sizeof(coded)) == 0);
	FUZZ_ASSERT(coded[strspn(coded, "+ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	    "!\"#$%&'()*,-./:;<>?@[\\]^_`{|}~")] == '\0');
	FUZZ_ASSERT(xtext_decode(coded, strlen(coded), again, sizeof(again)) == 0 && strcmp(plain, again) == 0);
}

static void
mail(const char *text)
{
	struct mail_args a;
	const char *err = NULL;

	if (mail_args_parse(text, &a, &err) == -1) {
		FUZZ_ASSERT(err[0] == '5' && fuzz_is_clean(err));
		return;
	}
	FUZZ_ASSERT(a.ret <= RET_HDRS && (a.has_size || a.size == 0));
	if (a.has_envid) {
		FUZZ_ASSERT(fuzz_is_clean(a.envid));
		check_coded(a.envid);
	}
}

static void
rcpt(const char *text, bool allow_utf8)
{
	struct rcpt_args a;
	const char *err = NULL;

	if (rcpt_args_parse(text, allow_utf8, &a, &err) == -1) {
		FUZZ_ASSERT(err[0] == '5' && fuzz_is_clean(err));
		return;
	}
	FUZZ_ASSERT(!a.has_notify || a.notify == NOTIFY_NEVER || (a.notify & NOTIFY_NEVER) == 0);
	if (a.has_orcpt) {
		FUZZ_ASSERT(fuzz_is_clean(a.orcpt) && strchr(a.orcpt, ';') != NULL);
		check_coded(a.orcpt);
	}
}

static void
decode(const char *text)
{
	char plain[CODED_MAX];

	if (strlen(text) < CODED_MAX / 3 && xtext_decode(text, strlen(text), plain, sizeof(plain)) == 0) {
		FUZZ_ASSERT(fuzz_is_clean(plain) && strlen(plain) <= strlen(text));
		check_coded(plain);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t which = fuzz_u8(&in);
	char *text = xmemdup0(in.p, in.left), small[32];

	switch (which & 3) {
	case 0: mail(text); break;
	case 1: rcpt(text, (which & 4) != 0); break;
	case 2: decode(text); break;
	default:
		if (xtext_encode(text, small, sizeof(small)) == 0)
			FUZZ_ASSERT(strlen(small) < sizeof(small));
		if (strlen(text) < CODED_MAX / 3 && fuzz_is_clean(text))
			check_coded(text);
	}
	free(text);
	return 0;
}
