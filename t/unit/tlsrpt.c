/* Who wants reports on TLS, by the TXT record of a stranger (RFC 8460 section 3), and which day is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "posthorn/tlsrpt.h"

#define UNUSED __attribute__((unused))

static const struct {
	const char *txt;
	bool is_ours;
	const char *receivers; /* each followed by a blank */
} rows[] = {
	{ "v=TLSRPTv1; rua=mailto:tls@example.com", true, "tls@example.com " },
	{ "v=TLSRPTv1;rua=mailto:a@example.com,mailto:b@example.com;", true, "a@example.com b@example.com " },
	{ "v=TLSRPTv1 ; x=y; rua= MAILTO:a@example.com , https://example.com/x ", true, "a@example.com " },
	{ "v=TLSRPTv1; rua=https://example.com/x", true, "" },
	{ "v=TLSRPTv1; rua=mailto:a@example.com?subject=x,mailto:a%40example.com", true, "" },
	{ "v=TLSRPTv1; rua=mailto:a@example.com\r\nBcc: b@example.com", true, "" },
	{ "v=TLSRPTv1; rua=mailto:local", true, "" },
	{ "v=TLSRPTv1; rua=mailto:<a@example.com>", true, "" },
	{ "v=TLSRPTv1; rua=", true, "" },
	{ "v=TLSRPTv1; rua=,,,", true, "" },
	{ "v=TLSRPTv1; rua=mailto:1@x.example,mailto:2@x.example,mailto:3@x.example,mailto:4@x.example,"
	    "mailto:5@x.example,mailto:6@x.example", true,
	    "1@x.example 2@x.example 3@x.example 4@x.example 5@x.example " },
	{ "v=TLSRPTv1;", true, "" },
	{ "v=TLSRPTv1", false, "" },
	{ "v=TLSRPTv10; rua=mailto:a@example.com", false, "" },
	{ "v=spf1 -all", false, "" },
	{ "", false, "" },
};

static void
test_receivers(void **state UNUSED)
{
	struct addrlist to;
	char *text, *longer, *copy;
	size_t i, j;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		to = (struct addrlist){ NULL, 0 };
		copy = xstrdup(rows[i].txt);
		if (tlsrpt_receivers(copy, strlen(copy), &to) != rows[i].is_ours)
			fail_msg("'%s' is ours?", copy);
		text = xstrdup("");
		for (j = 0; j < to.n; j++) {
			longer = xasprintf("%s%s ", text, to.v[j]);
			free(text);
			text = longer;
		}
		assert_string_equal(text, rows[i].receivers);
		free(text);
		free(copy);
		addrlist_clear(&to);
	}
	to = (struct addrlist){ NULL, 0 };
	assert_false(tlsrpt_receivers("v=TLSRPTv1;\0rua=x", 17, &to));
}

static void
test_day(void **state UNUSED)
{
	struct tlsrpt_day d;

	assert_true(tlsrpt_day(NULL, 1764115200 + 5, &d)); /* five seconds into 2025-11-26 */
	assert_string_equal(d.text, "2025-11-25");
	assert_int_equal(d.begin, 1764028800);
	assert_true(tlsrpt_day("2024-02-29", 0, &d));
	assert_string_equal(d.text, "2024-02-29");
	assert_false(tlsrpt_day("2024-02", 0, &d));
	assert_false(tlsrpt_day("2024-02-29x", 0, &d));
	assert_false(tlsrpt_day("../../etc", 0, &d));
	assert_false(tlsrpt_day("1960-01-01", 0, &d));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_receivers), cmocka_unit_test(test_day) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
