/* Return paths: an address that is accepted is, but for case and domain, the one that is made of what it says;
 * nothing else is accepted, the more so nothing that was altered. The first octets choose what the input is: an
 * address, or changes of one that is ours. */
#include <strings.h>

#include "mail/verp.h"

#include "t/fuzz/fuzz.h"

#define NOW 1785000123456
#define DAY ((int64_t)86400 * 1000)

static const struct ql_token_key key = { 1, { 1, 2, 3 } };

static void
make(const struct envid *env, char out[ADDRESS_MAX])
{
	struct token_signer s = { .mac = NULL };

	token_signer_set(&s, &key);
	FUZZ_ASSERT(verp_make(&s, env, "bounce", "b.example", out) == 0);
	token_signer_clear(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct envid env = { .rcpt = 7 }, back;
	char address[ADDRESS_MAX + 40], again[ADDRESS_MAX];
	enum verp_verdict verdict;

	if (fuzz_u8(&in) % 2 == 0) {
		size_t n = ADDRESS_MAX - 1;
		const uint8_t *p = fuzz_take(&in, &n);

		memcpy(address, p, n);
		address[n] = '\0';
	} else {
		for (unsigned i = 0; i < MSGID_LEN; i++)
			env.msg.b[i] = fuzz_u8(&in);
		env.rcpt = fuzz_u8(&in);
		make(&env, address);
		FUZZ_ASSERT(verp_check(address, "bounce", &key, 1, msgid_time(&env.msg), DAY, &back) == VERP_VALID);
		FUZZ_ASSERT(envid_cmp(&env, &back) == 0);
		while (in.left > 0) {
			size_t at = fuzz_u8(&in) % strlen(address);
			uint8_t c = fuzz_u8(&in);

			if (c != 0)
				address[at] = (char)c;
		}
	}
	verdict = verp_check(address, "bounce", &key, 1, NOW, 30 * DAY, &back);
	if (verdict == VERP_VALID || verdict == VERP_EXPIRED) {
		make(&back, again);
		FUZZ_ASSERT(strncasecmp(address, again, address_local_len(again)) == 0);
	}
	return 0;
}
