/* Requests to suppress an address: the encoding, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/suppress_request.h"
#include "t/unit/decoder.h"

static struct suppress_request
request(void)
{
	struct suppress_request q = { .scope = SUPPRESS_TENANT, .reason = SUPPRESS_HARD_BOUNCE,
		.origin = SUPPRESS_BY_REPLY, .when = 1785000000000, .expires = 1785000900000, .threshold = 3,
		.within = 1000000, .spread = 5000 };

	q.address = xstrdup("gone@example.net");
	q.scope_value = xstrdup("acme");
	q.class = xstrdup("InvalidRecipient");
	q.cause = xstrdup("rcpt_unknown");
	q.note = xstrdup("550-5.1.1 no such user\n550 5.1.1 here");
	q.event.b[0] = 1;
	q.event.b[15] = 2;
	return q;
}

static int
decode(const uint8_t *p, size_t len)
{
	struct suppress_request q;
	uint64_t number;
	struct rbuf r;

	rbuf_init(&r, p, len);
	if (ql_suppress_decode(&r, &number, &q) == -1)
		return -1;
	suppress_request_clear(&q);
	return 0;
}

static void
test_round_trip(void **state)
{
	struct suppress_request q = request(), back;
	struct wbuf w, again;
	uint64_t number;
	struct rbuf r;

	(void)state;
	wbuf_init(&w);
	wbuf_init(&again);
	ql_suppress_encode(0x123456789abcdef, &q, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_suppress_decode(&r, &number, &back), 0);
	assert_true(number == 0x123456789abcdef);
	assert_string_equal(back.address, "gone@example.net");
	assert_int_equal(back.scope, SUPPRESS_TENANT);
	assert_string_equal(back.scope_value, "acme");
	assert_int_equal(back.reason, SUPPRESS_HARD_BOUNCE);
	assert_int_equal(back.origin, SUPPRESS_BY_REPLY);
	assert_string_equal(back.class, "InvalidRecipient");
	assert_string_equal(back.cause, "rcpt_unknown");
	assert_string_equal(back.note, q.note);
	assert_memory_equal(&back.event, &q.event, sizeof(q.event));
	assert_true(back.when == q.when && back.expires == q.expires);
	assert_true(back.threshold == 3 && back.within == 1000000 && back.spread == 5000);
	ql_suppress_encode(number, &back, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.p, again.p, w.len);
	assert_true(suppress_request_serial(&q) == suppress_request_serial(&back));
	decoder_check(decode, w.p, w.len);
	suppress_request_clear(&q);
	suppress_request_clear(&back);
	wbuf_clear(&w);
	wbuf_clear(&again);
}

/* All that may be absent is. */
static void
test_least(void **state)
{
	struct suppress_request q = { .scope = SUPPRESS_GLOBAL, .reason = SUPPRESS_MANUAL,
		.origin = SUPPRESS_BY_ADMIN }, back;
	struct rbuf r;
	struct wbuf w;

	(void)state;
	q.address = xstrdup("example.net");
	wbuf_init(&w);
	suppress_request_encode(&q, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(suppress_request_decode(&r, &back), 0);
	assert_null(back.scope_value);
	assert_null(back.class);
	assert_null(back.note);
	assert_true(back.when == 0 && back.expires == 0);
	suppress_request_clear(&q);
	suppress_request_clear(&back);
	wbuf_clear(&w);
}

static void
test_what_is_too_long_still_fits(void **state)
{
	struct suppress_request q = request(), back;
	struct rbuf r;
	struct wbuf w;

	(void)state;
	free(q.note);
	q.note = xmalloc(100001);
	memset(q.note, 'x', 100000);
	q.note[100000] = '\0';
	q.note[7] = '\r';
	free(q.scope_value);
	q.scope_value = xmalloc(5001);
	memset(q.scope_value, 'y', 5000);
	q.scope_value[5000] = '\0';
	wbuf_init(&w);
	ql_suppress_encode(1, &q, &w);
	assert_true(w.len < QL_MAX_SUPPRESS);
	rbuf_init(&r, w.p + 8, w.len - 8);
	assert_int_equal(suppress_request_decode(&r, &back), 0);
	assert_int_equal(strlen(back.note), SUPPRESS_NOTE_MAX);
	assert_int_equal(back.note[7], '?');
	suppress_request_clear(&q);
	suppress_request_clear(&back);
	wbuf_clear(&w);
}

static void
refused(struct suppress_request *q, const char *why)
{
	const char *said = suppress_request_check(q);
	struct suppress_request back;
	struct rbuf r;
	struct wbuf w;

	if (said == NULL || strstr(said, why) == NULL)
		fail_msg("'%s' was expected, not '%s'", why, said == NULL ? "nothing" : said);
	wbuf_init(&w);
	suppress_request_encode(q, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(suppress_request_decode(&r, &back), -1);
	wbuf_clear(&w);
}

static void
address(struct suppress_request *q, const char *value)
{
	free(q->address);
	q->address = xstrdup(value);
}

static void
test_nonsense_is_refused(void **state)
{
	struct suppress_request q = request();

	(void)state;
	assert_null(suppress_request_check(&q));
	address(&q, "");
	refused(&q, "neither an address");
	address(&q, "a@@");
	refused(&q, "neither an address");
	address(&q, "no domain");
	refused(&q, "neither an address");
	address(&q, "\"a b\"@example.net");
	assert_null(suppress_request_check(&q));
	q.scope = SUPPRESS_SCOPES;
	refused(&q, "no such scope");
	q.scope = SUPPRESS_GLOBAL;
	refused(&q, "global one has none");
	q.scope = SUPPRESS_SENDER_DOMAIN;
	assert_null(suppress_request_check(&q));
	free(q.scope_value);
	q.scope_value = xstrdup("not a domain");
	refused(&q, "not a domain");
	free(q.scope_value);
	q.scope_value = NULL;
	refused(&q, "needs its name");
	q.scope = SUPPRESS_GLOBAL;
	q.reason = 0;
	refused(&q, "no such reason");
	q.reason = SUPPRESS_COMPLAINT;
	q.origin = 9;
	refused(&q, "no such origin");
	q.origin = SUPPRESS_BY_REPORT;
	q.expires = q.when;
	refused(&q, "expired before");
	q.expires = 0;
	q.spread = q.within + 1;
	refused(&q, "cannot be");
	q.spread = 0;
	q.threshold = SUPPRESS_THRESHOLD_MAX + 1;
	refused(&q, "cannot be");
	q.threshold = 2;
	q.within = 0;
	refused(&q, "cannot be");
	q.threshold = 1;
	assert_null(suppress_request_check(&q));
	suppress_request_clear(&q);
}

static void
test_serial_tells_events_apart(void **state)
{
	struct suppress_request a = request(), b = request();

	(void)state;
	/* What may be said in other words of the same event. */
	b.when += 5;
	free(b.note);
	b.note = NULL;
	assert_true(suppress_request_serial(&a) == suppress_request_serial(&b));
	b.event.b[3] ^= 1;
	assert_true(suppress_request_serial(&a) != suppress_request_serial(&b));
	b.event.b[3] ^= 1;
	address(&b, "other@example.net");
	assert_true(suppress_request_serial(&a) != suppress_request_serial(&b));
	suppress_request_clear(&a);
	suppress_request_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_what_is_too_long_still_fits),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_serial_tells_events_apart),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
