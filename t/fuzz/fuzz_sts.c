/* MTA-STS: the first byte chooses what the rest is: a TXT record, a policy, an answer of a web server in two pieces, or
 * a frame between the net role and the sts role. */
#include <stdlib.h>
#include <string.h>

#include "mail/dns_link.h"
#include "mail/http_reply.h"
#include "mail/sts_link.h"
#include "t/fuzz/fuzz.h"

#define BODY_MAX 4096u

static void
txt(const char *p, size_t len)
{
	char id[STS_ID_MAX + 1];

	if (!sts_txt_parse(p, len, id))
		return;
	FUZZ_ASSERT(sts_txt_is_ours(p, len) && sts_id_valid(id, strlen(id)));
}

static void
policy(const char *p, size_t len)
{
	struct sts_policy policy;
	const char *err = NULL;
	size_t i;

	if (sts_policy_parse(p, len, &policy, &err) == -1) {
		FUZZ_ASSERT(err != NULL);
		return;
	}
	FUZZ_ASSERT(policy.max_age <= STS_MAX_AGE_MAX && (policy.n_mx > 0 || policy.mode == STS_MODE_NONE));
	for (i = 0; i < policy.n_mx; i++)
		FUZZ_ASSERT(policy.mx[i][0] == '*' ? !sts_policy_has_mx(&policy, policy.mx[i] + 2) || policy.n_mx > 1 :
		    sts_policy_has_mx(&policy, policy.mx[i]));
	sts_policy_clear(&policy);
}

/* What was an answer before more came is one still, and the same. */
static void
answer(const char *p, size_t len)
{
	struct http_reply first, whole;
	enum http_state a, b;

	a = http_reply_parse(p, len / 2, false, BODY_MAX, &first);
	b = http_reply_parse(p, len, true, BODY_MAX, &whole);
	FUZZ_ASSERT(b != HTTP_MORE && first.len <= BODY_MAX && whole.len <= BODY_MAX);
	FUZZ_ASSERT(a == HTTP_MORE || a == b);
	if (a == HTTP_DONE)
		FUZZ_ASSERT(first.status == whole.status && first.len == whole.len &&
		    (first.len == 0 || memcmp(first.body, whole.body, first.len) == 0));
	http_reply_clear(&first);
	http_reply_clear(&whole);
}

static void
frames(const uint8_t *data, size_t size)
{
	char domain[MX_NAME_MAX + 1];
	struct sts_answer a;
	struct sts_ask ask;
	struct rbuf r;

	rbuf_init(&r, data, size);
	if (sts_ask_decode(&r, &ask) == 0) {
		FUZZ_ASSERT(dns_name_valid(ask.domain) && strchr(ask.domain, '/') == NULL && ask.domain[0] != '.');
		sts_ask_clear(&ask);
	}
	rbuf_init(&r, data, size);
	if (sts_answer_decode(&r, &a) == 0) {
		FUZZ_ASSERT((a.found == STS_FOUND_POLICY) == (a.text != NULL));
		sts_answer_clear(&a);
	}
	rbuf_init(&r, data, size);
	if (sts_refresh_decode(&r, domain) == 0)
		FUZZ_ASSERT(dns_name_valid(domain));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0]) {
	case 't':
		txt(p, size - 1);
		break;
	case 'p':
		policy(p, size - 1);
		break;
	case 'h':
		answer(p, size - 1);
		break;
	default:
		frames(data + 1, size - 1);
		break;
	}
	return 0;
}
