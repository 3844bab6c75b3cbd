/* Every decoder of queued's socket; the first byte chooses. What is accepted encodes to the same bytes. */
#include <string.h>

#include "mail/policy_errors.h"
#include "mail/queue_link.h"
#include "mail/suppress_request.h"
#include "t/fuzz/fuzz.h"

/* One decoder of a struct: decode, encode again, compare, clear. */
#define ROUND_TRIP(type, name)                                                               \
	do {                                                                                 \
		struct ql_##type value;                                                      \
		if (ql_##type##_decode(&r, &value) == 0) {                                   \
			ql_##type##_encode(&value, &w);                                      \
			FUZZ_ASSERT(w.len == size - 1 && memcmp(w.p, data + 1, w.len) == 0); \
			name(&value);                                                        \
		}                                                                            \
	} while (0)

static void
keep(const struct ql_welcome *welcome)
{
	FUZZ_ASSERT(strlen(welcome->nodeid) == 36);
}

static void
received(struct rbuf *r)
{
	struct ql_received value;

	if (ql_received_decode(r, &value) == 0) {
		FUZZ_ASSERT(value.env->n_rcpts == value.rec.n_rcpts && record_plausible(&value.rec));
		ql_received_clear(&value);
	}
}

static void
small(struct rbuf *r, uint8_t which)
{
	uint64_t segment, offset;
	uint32_t number;
	uint8_t kind, status;
	char *text = NULL;
	struct envid env;

	if (which == 0 && ql_seg_decode(r, &segment, &kind, &offset) == 0)
		FUZZ_ASSERT(kind <= QL_SEG_LARGE && offset <= INT64_MAX);
	else if (which == 1 && ql_envid_decode(r, &env) == 0)
		FUZZ_ASSERT(r->len == MSGID_LEN + 2);
	else if (which == 2 && ql_str_decode(r, 1000, &text) == 0)
		FUZZ_ASSERT(strlen(text) <= 1000);
	else if (which == 3 && ql_end_decode(r, &status, &text) == 0)
		FUZZ_ASSERT(text != NULL);
	else if (which == 4 && ql_u32_decode(r, &number) == 0)
		FUZZ_ASSERT(r->len == 4);
	free(text);
}

/* Events that this version does not know are left out; the rest is the same when read again. */
static void
policy_errors(struct rbuf *r)
{
	struct policy_errors errors, again;
	struct wbuf w;
	struct rbuf back;

	if (policy_errors_decode(r, &errors) == -1)
		return;
	wbuf_init(&w);
	policy_errors_encode(&errors, &w);
	FUZZ_ASSERT(w.len <= QL_MAX_SMALL);
	rbuf_init(&back, w.p, w.len);
	FUZZ_ASSERT(policy_errors_decode(&back, &again) == 0 && memcmp(&errors, &again, sizeof(errors)) == 0);
	wbuf_clear(&w);
}

static void
suppress(struct rbuf *r)
{
	struct suppress_request q;
	uint64_t number;
	struct wbuf w;

	if (ql_suppress_decode(r, &number, &q) == -1)
		return;
	wbuf_init(&w);
	ql_suppress_encode(number, &q, &w);
	FUZZ_ASSERT(w.len == r->len && memcmp(w.p, r->p, w.len) == 0);
	FUZZ_ASSERT(suppress_request_check(&q) == NULL && suppress_request_serial(&q) != 0);
	wbuf_clear(&w);
	suppress_request_clear(&q);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rbuf r;
	struct wbuf w;

	if (size == 0)
		return 0;
	rbuf_init(&r, data + 1, size - 1);
	wbuf_init(&w);
	switch (data[0] % 13) {
	case 0: ROUND_TRIP(hello, ql_hello_clear); break;
	case 1: ROUND_TRIP(welcome, keep); break;
	case 2: ROUND_TRIP(job, ql_job_clear); break;
	case 3: ROUND_TRIP(result, ql_result_clear); break;
	case 4: ROUND_TRIP(admin, ql_admin_clear); break;
	case 5: received(&r); break;
	case 11: policy_errors(&r); break;
	case 12: suppress(&r); break;
	default: small(&r, data[0] % 13 - 6); break;
	}
	wbuf_clear(&w);
	return 0;
}
