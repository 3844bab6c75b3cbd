/* base/cidr.h: ranges, matching, address texts. */
#include <netinet/in.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/cidr.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct sockaddr_storage
address(const char *text)
{
	struct sockaddr_storage ss;
	socklen_t len;

	if (sockaddr_parse(text, 25, &ss, &len) == -1)
		fail_msg("%s is not an address", text);
	return ss;
}

static void
test_parse(void **state)
{
	static const struct {
		const char *text;
		int family; /* 0: must be refused */
		unsigned bits;
	} cases[] = {
		{ "192.0.2.0/24", AF_INET, 24 }, { "192.0.2.1", AF_INET, 32 }, { "0.0.0.0/0", AF_INET, 0 },
		{ "192.0.2.1/32", AF_INET, 32 }, { "192.0.2.128/25", AF_INET, 25 }, { "2001:db8::/32", AF_INET6, 32 },
		{ "::1", AF_INET6, 128 }, { "::/0", AF_INET6, 0 }, { "[2001:db8::]/32", AF_INET6, 32 },
		{ "[::1]", AF_INET6, 128 },
		{ "::ffff:192.0.2.0/120", AF_INET, 24 }, { "2001:db8::8000/113", AF_INET6, 113 },
		{ "192.0.2.1/24", 0, 0 }, { "192.0.2.0/33", 0, 0 }, { "192.0.2.0/", 0, 0 }, { "192.0.2.0/-1", 0, 0 },
		{ "192.0.2.0/024", 0, 0 }, { "192.0.2.0/2 4", 0, 0 }, { "192.0.2/24", 0, 0 }, { "192.0.2.256", 0, 0 },
		{ "2001:db8::1/64", 0, 0 }, { "2001:db8::/129", 0, 0 }, { "", 0, 0 }, { "/24", 0, 0 },
		{ "localhost", 0, 0 },
		{ "[192.0.2.0]/24", 0, 0 }, { "[]", 0, 0 }, { "[::1", 0, 0 }, { "::1]", 0, 0 },
		{ "192.0.2.0/24/8", 0, 0 },
		{ "192.0.2.0/99999999999999999999", 0, 0 }, { " 192.0.2.1", 0, 0 }, { "192.0.2.1 ", 0, 0 },
		{ "fe80::1%lo", 0, 0 }, { "192.0.2.129/25", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cidr c;
		int rc = cidr_parse(cases[i].text, &c);

		if ((rc == 0) != (cases[i].family != 0))
			fail_msg("%s: %d", cases[i].text, rc);
		if (rc == 0 && (c.family != cases[i].family || c.bits != cases[i].bits))
			fail_msg("%s: family %d bits %d", cases[i].text, c.family, c.bits);
	}
}

static void
test_match(void **state)
{
	static const struct {
		const char *range, *addr;
		bool want;
	} cases[] = {
		{ "192.0.2.0/24", "192.0.2.0", true }, { "192.0.2.0/24", "192.0.2.255", true },
		{ "192.0.2.0/24", "192.0.3.0", false },
		{ "192.0.2.0/24", "::ffff:192.0.2.7", true }, { "::ffff:192.0.2.0/120", "192.0.2.7", true },
		{ "192.0.2.128/25", "192.0.2.127", false }, { "192.0.2.128/25", "192.0.2.129", true },
		{ "0.0.0.0/0", "203.0.113.9", true }, { "0.0.0.0/0", "2001:db8::1", false },
		{ "0.0.0.0/0", "::ffff:1.2.3.4", true },
		{ "::/0", "2001:db8::1", true }, { "::/0", "192.0.2.1", false }, { "127.0.0.1", "127.0.0.1", true },
		{ "127.0.0.1", "127.0.0.2", false }, { "2001:db8::/33", "2001:db8:8000::", false },
		{ "2001:db8::/33", "2001:db8:7fff::1", true }, { "::1", "::1", true }, { "::1", "::2", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sockaddr_storage ss = address(cases[i].addr);
		struct cidr c;
		struct cidr_list one = { &c, 1 }, none = { NULL, 0 };

		assert_int_equal(cidr_parse(cases[i].range, &c), 0);
		if (cidr_match(&c, (struct sockaddr *)&ss) != cases[i].want)
			fail_msg("%s in %s", cases[i].addr, cases[i].range);
		assert_int_equal(cidr_list_match(&one, (struct sockaddr *)&ss), cases[i].want);
		assert_false(cidr_list_match(&none, (struct sockaddr *)&ss));
	}
}

static void
test_other_family(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_storage v4 = address("192.0.2.1");
	char text[46], port[56];
	struct cidr any;

	(void)state;
	assert_int_equal(cidr_parse("0.0.0.0/0", &any), 0);
	assert_false(cidr_match(&any, (struct sockaddr *)&un));
	sockaddr_text((struct sockaddr *)&un, text);
	assert_string_equal(text, "");
	sockaddr_port_text((struct sockaddr *)&un, port);
	assert_string_equal(port, "");
	assert_false(sockaddr_equal_addr((struct sockaddr *)&un, (struct sockaddr *)&v4));
	assert_false(sockaddr_equal_addr((struct sockaddr *)&un, (struct sockaddr *)&un));
}

static void
test_text(void **state)
{
	static const struct {
		const char *in, *text, *port;
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1", "192.0.2.1:25" },
		{ "2001:DB8:0:0::1", "2001:db8::1", "[2001:db8::1]:25" },
		{ "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:25" },
		{ "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1:25" },
		{ "[127.0.0.1]", "127.0.0.1", "127.0.0.1:25" },
		{ "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
		    "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:25" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sockaddr_storage ss = address(cases[i].in);
		char text[46], port[56];

		sockaddr_text((struct sockaddr *)&ss, text);
		sockaddr_port_text((struct sockaddr *)&ss, port);
		assert_string_equal(text, cases[i].text);
		assert_string_equal(port, cases[i].port);
	}
}

static void
test_sockaddr_parse(void **state)
{
	static const char *const bad[] = { "", "localhost", "192.0.2.1:25", "[::1", "::1]", "[[::1]]", "1.2.3",
	    "1.2.3.4.5",
		"fe80::1%lo", "2001:db8::1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:0:1:2:3:4" };
	struct sockaddr_storage ss;
	socklen_t len;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (sockaddr_parse(bad[i], 25, &ss, &len) != -1)
			fail_msg("%s was taken", bad[i]);
	assert_int_equal(sockaddr_parse("192.0.2.1", 2525, &ss, &len), 0);
	assert_int_equal(len, sizeof(struct sockaddr_in));
	assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(2525));
	assert_int_equal(sockaddr_parse("::1", 2525, &ss, &len), 0);
	assert_int_equal(len, sizeof(struct sockaddr_in6));
}

static void
test_equal(void **state)
{
	struct sockaddr_storage a = address("192.0.2.1"), mapped = address("::ffff:192.0.2.1"),
	    b = address("192.0.2.2"),
				six = address("::1");

	(void)state;
	((struct sockaddr_in *)&a)->sin_port = htons(1);
	assert_true(sockaddr_equal_addr((struct sockaddr *)&a, (struct sockaddr *)&mapped));
	assert_false(sockaddr_equal_addr((struct sockaddr *)&a, (struct sockaddr *)&b));
	assert_false(sockaddr_equal_addr((struct sockaddr *)&a, (struct sockaddr *)&six));
	assert_true(sockaddr_equal_addr((struct sockaddr *)&six, (struct sockaddr *)&six));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_other_family),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_sockaddr_parse),
		cmocka_unit_test(test_equal),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
