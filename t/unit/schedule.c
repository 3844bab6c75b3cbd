/* mail/schedule.h: times, and schedules as a header or policy gives them; mail/names.h: what may name a queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mail/names.h"
#include "mail/schedule.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define NOW 1700000000000 /* 2023-11-14T22:13:20Z */

static const struct {
	const char *text;
	int64_t ms; /* -1: refused */
} times[] = {
	{ "2023-11-14T22:13:20Z", NOW }, { "2023-11-14t22:13:20z", NOW }, { "2023-11-14 22:13:20Z", NOW },
	{ "2023-11-14T23:13:20+01:00", NOW }, { "2023-11-14T16:43:20-05:30", NOW },
	{ "2023-11-14T22:13:20.5Z", NOW + 500 }, { "2023-11-14T22:13:20.123456Z", NOW + 123 },
	{ "1970-01-01T00:00:00Z", 0 }, { "2024-02-29T00:00:00Z", 1709164800000 }, { "2016-12-31T23:59:60Z",
	    1483228799000 },
	{ "2023-02-29T00:00:00Z", -1 }, { "2023-13-01T00:00:00Z", -1 }, { "2023-00-01T00:00:00Z", -1 },
	{ "2023-11-31T00:00:00Z", -1 }, { "2023-11-14T24:00:00Z", -1 }, { "2023-11-14T22:60:00Z", -1 },
	{ "2023-11-14T22:13:20", -1 }, { "2023-11-14T22:13Z", -1 }, { "2023-11-14", -1 }, { "", -1 }, { "x", -1 },
	{ "2023-11-14T22:13:20Zx", -1 }, { "2023-11-14T22:13:20.Z", -1 }, { "2023-11-14T22:13:20+1:00", -1 },
	{ "2023-11-14T22:13:20+24:00", -1 }, { "1969-12-31T23:59:59Z", -1 }, { "1970-01-01T00:00:00+01:00", -1 },
	{ "-2023-11-14T22:13:20Z", -1 }, { "12023-11-14T22:13:20Z", -1 },
};

static void
test_times(void **state)
{
	int64_t ms;
	size_t i;

	(void)state;
	for (i = 0; i < N(times); i++) {
		ms = -1;
		if (rfc3339_parse(times[i].text, &ms) == -1)
			ms = -1;
		if (ms != times[i].ms)
			fail_msg("%s: %lld", times[i].text, (long long)ms);
	}
}

static const struct {
	const char *json;
	int64_t first, expires;
	const char *says; /* part of the sentence; NULL: good */
} schedules[] = {
	{ "{}", 0, 0, NULL },
	{ "{\"first_attempt\": 60}", NOW + 60000, 0, NULL },
	{ " { \"first_attempt\" : \"2023-11-15T00:00:00Z\", \"expires\": 86400.5 } ", 1700006400000, NOW + 86400500,
	    NULL },
	{ "{\"first_attempt\": \"2001-01-01T00:00:00Z\"}", 978307200000, 0, NULL },
	{ "{\"expires\": null, \"first_attempt\": 0}", NOW, 0, NULL },
	{ "", 0, 0, "not a JSON object" }, { "[]", 0, 0, "not a JSON object" }, { "5", 0, 0, "not a JSON object" },
	{ "{", 0, 0, "not a JSON object" }, { "{}{}", 0, 0, "not a JSON object" }, { "{\"a\":\"\\u0000\"}", 0, 0,
	    "JSON" },
	{ "{\"expires\": 1, \"expires\": 2}", 0, 0, "not a JSON object" },
	{ "{\"x\":[[[[[[[[[[]]]]]]]]]]}", 0, 0, "not a JSON object" },
	{ "{\"dow\": \"Mon\"}", 0, 0, "delivery windows" }, { "{\"end\": \"10:00\"}", 0, 0, "delivery windows" },
	{ "{\"when\": 1}", 0, 0, "unknown key" }, { "{\"expires\": true}", 0, 0, "neither a time" },
	{ "{\"expires\": {}}", 0, 0, "neither a time" }, { "{\"expires\": \"soon\"}", 0, 0, "RFC 3339" },
	{ "{\"expires\": -5}", 0, 0, "negative" }, { "{\"expires\": 1e300}", 0, 0, "366 days" },
	{ "{\"expires\": \"2999-01-01T00:00:00Z\"}", 0, 0, "366 days" },
	{ "{\"expires\": \"2023-11-14T22:13:20Z\"}", 0, 0, "expired" },
	{ "{\"expires\": 5, \"first_attempt\": 5}", 0, 0, "not before" },
};

static void
test_schedules(void **state)
{
	const char *err;
	struct schedule s;
	char big[SCHEDULE_TEXT_MAX + 2];
	size_t i;
	int r;

	(void)state;
	for (i = 0; i < N(schedules); i++) {
		err = NULL;
		r = schedule_parse(schedules[i].json, strlen(schedules[i].json), NOW, &s, &err);
		if ((r == -1) != (schedules[i].says != NULL) || (r == -1 && strstr(err, schedules[i].says) == NULL))
			fail_msg("%s: %s", schedules[i].json, err);
		if (r == 0) {
			assert_int_equal(s.first_attempt, schedules[i].first);
			assert_int_equal(s.expires, schedules[i].expires);
		}
	}
	memset(big, ' ', sizeof(big));
	big[0] = '{';
	big[sizeof(big) - 1] = '}';
	assert_int_equal(schedule_parse(big, sizeof(big), NOW, &s, &err), -1);
}

static void
test_names(void **state)
{
	static const char *const good[] = { "x.example", "t@x.example", "c:t@x.example", "c:@x.example", "[192.0.2.1]",
	    "a+b_c-d.e:t@[IPv6:2001:db8::1]", "x.example:25", "c:t@x.example:65535", "t@[192.0.2.1]:2525",
	    "c:@[IPv6:2001:db8::25]:25" };
	static const char *const bad[] = { "", "@x.example", ":@x.example", ":t@x.example", "a b@x.example", "t@",
	    "t@X.example",
	    "a:b:c@x.example", "a@b@x.example", "x..example", "t\n@x.example", "x.example:", "x.example:0",
	    "x.example:65536", "x.example:1:2", "x.example:000025", "192.0.2.1:25", "[192.0.2.1]:", "[192.0.2.1]25",
	    "[192.0.2.1:25", ":25", "t@:25" };
	char name[QUEUE_NAME_TEXT], campaign[] = "a b:c@d";
	uint16_t port;
	size_t i;

	(void)state;
	for (i = 0; i < N(good); i++)
		if (!queue_name_valid(good[i]))
			fail_msg("%s", good[i]);
	for (i = 0; i < N(bad); i++)
		if (queue_name_valid(bad[i]))
			fail_msg("%s", bad[i]);
	assert_int_equal(destination_host("x.example:2525", &port), 9);
	assert_int_equal(port, 2525);
	assert_int_equal(destination_host("[IPv6:2001:db8::25]", &port), 19);
	assert_int_equal(port, 0);
	assert_int_equal(destination_host("[IPv6:2001:db8::25]:26", &port), 19);
	assert_int_equal(port, 26);
	campaign_clean(campaign);
	assert_string_equal(campaign, "a_b_c_d");
	queue_name_make(name, sizeof(name), campaign, NULL, "x.example");
	assert_string_equal(name, "a_b_c_d:@x.example");
	assert_true(queue_name_valid(name));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_schedules),
		cmocka_unit_test(test_names),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
