/* Addresses: the grammar, the attacks, the canonical form; xtext. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/address.h"

#define X64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define L63 "lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
#define D253 L63 "." L63 "." L63 ".lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"

static void
test_path_good(void **state)
{
	static const struct {
		const char *in;
		enum path_kind kind;
		bool allow_utf8;
		const char *address;
		const char *rest;
	} cases[] = {
		{ "<a@us>", PATH_FORWARD, false, "a@us", "" },
		{ "<a@b.example> SIZE=10 BODY=8BITMIME", PATH_REVERSE, false, "a@b.example", "SIZE=10 BODY=8BITMIME" },
		{ "  <a@b>  X", PATH_REVERSE, false, "a@b", "X" },
		{ "<a@b>  ", PATH_REVERSE, false, "a@b", "" },
		{ "<>", PATH_REVERSE, false, "", "" },
		{ "<> SIZE=1", PATH_REVERSE, false, "", "SIZE=1" },
		{ "<postmaster>", PATH_FORWARD, false, "postmaster", "" },
		{ "<PostMaster>", PATH_FORWARD, false, "postmaster", "" },
		/* Opaque local parts: no percent hack, no bang path, no routing by a quoted at-sign. */
		{ "<a%victim@us>", PATH_FORWARD, false, "a%victim@us", "" },
		{ "<victim!a@us>", PATH_FORWARD, false, "victim!a@us", "" },
		{ "<\"a@victim\"@us>", PATH_FORWARD, false, "\"a@victim\"@us", "" },
		{ "<-oQ/tmp@x>", PATH_REVERSE, false, "-oQ/tmp@x", "" },
		{ "<\";sleep 66;\"@x>", PATH_REVERSE, false, "\";sleep 66;\"@x", "" },
		{ "<user+tag=a/b'c@x>", PATH_REVERSE, false, "user+tag=a/b'c@x", "" },
		/* A source route is stripped. */
		{ "<@us,@x:a@victim>", PATH_FORWARD, false, "a@victim", "" },
		{ "<@[127.0.0.1]:a@victim>", PATH_FORWARD, false, "a@victim", "" },
		{ "<@[IPv6:::1],@b:a@victim>", PATH_FORWARD, false, "a@victim", "" },
		/* Only the domain is lower-cased. */
		{ "<AbC@US.Example>", PATH_FORWARD, false, "AbC@us.example", "" },
		{ "<a@XN--BCHER-KVA.example>", PATH_FORWARD, false, "a@xn--bcher-kva.example", "" },
		{ "<a@_dmarc.x_y.example>", PATH_FORWARD, false, "a@_dmarc.x_y.example", "" },
		/* Quotes only where needed. */
		{ "<\"a\"@[127.0.0.1]>", PATH_FORWARD, false, "a@[127.0.0.1]", "" },
		{ "<\"a.b\"@us>", PATH_FORWARD, false, "a.b@us", "" },
		{ "<\"a..b\"@us>", PATH_FORWARD, false, "\"a..b\"@us", "" },
		{ "<\".a\"@us>", PATH_FORWARD, false, "\".a\"@us", "" },
		{ "<\"a b\"@us>", PATH_FORWARD, false, "\"a b\"@us", "" },
		{ "<\"a\\\"b\"@us>", PATH_FORWARD, false, "\"a\\\"b\"@us", "" },
		{ "<\"\\a\\ \\\\\"@us>", PATH_FORWARD, false, "\"a \\\\\"@us", "" },
		{ "<\"\"@us>", PATH_FORWARD, false, "\"\"@us", "" },
		{ "<\"a>b\"@us> X", PATH_FORWARD, false, "\"a>b\"@us", "X" },
		{ "<a@[IPv6:::1]>", PATH_FORWARD, false, "a@[IPv6:::1]", "" },
		{ "<a@[ipv6:2001:DB8:0:0::1]>", PATH_FORWARD, false, "a@[IPv6:2001:db8::1]", "" },
		{ "<" X64 "@us>", PATH_FORWARD, false, X64 "@us", "" },
		{ "<" X64 "@" D253 ">", PATH_FORWARD, false, X64 "@" D253, "" },
		{ "<j\xc3\xbcrgen@example.net>", PATH_FORWARD, true, "j\xc3\xbcrgen@example.net", "" },
		{ "<a@B\xc3\xbc" "CHER.Example>", PATH_FORWARD, true, "a@b\xc3\xbc" "cher.example", "" },
		{ "<\"j \xc3\xbc\"@x>", PATH_FORWARD, true, "\"j \xc3\xbc\"@x", "" },
		{ "<a@b>", PATH_FORWARD, true, "a@b", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct path_arg arg, again;
		char path[400];
		const char *err = NULL;

		if (address_parse_path(cases[i].in, cases[i].kind, cases[i].allow_utf8, &arg, &err) != 0)
			fail_msg("%s: %s", cases[i].in, err);
		assert_string_equal(arg.address, cases[i].address);
		assert_string_equal(arg.rest, cases[i].rest);
		assert_int_equal(arg.is_utf8, !is_ascii(arg.address, strlen(arg.address)));
		/* Canonical means: it parses to itself. */
		snprintf(path, sizeof(path), "<%s>", arg.address);
		assert_int_equal(address_parse_path(path, cases[i].kind, cases[i].allow_utf8, &again, &err), 0);
		assert_string_equal(arg.address, again.address);
	}
}

static void
test_path_bad(void **state)
{
	static const char *const bad[] = {
		"", "<", ">", "a@b", "<a@b", "a@b>", "<<a@b>>", "<a@b>x", "<a@b>\tx", "<a>", "<a@>", "<@b>", "<@>",
		"<a@victim@us>",
		"<a@us.>", "<a@.us>", "<a@us..example>", "<a@us.example.>", "<.a@us>", "<a.@us>", "<a..b@us>",
		"<a b@us>", "<a@b c>",
		"<a@b >", "< a@b>", "<a@-us>", "<a@us->", "<a@us.-x>", "<a@u s>", "<a@us/x>", "<a@us:25>", "<a@us!>",
		"<a@us%x>",
		"<\"a@us>", "<\"a\\\"@us>", "<\"a\"b@us>", "<a\"b\"@us>", "<\"a\"\"b\"@us>", "<\"a\"us>",
		"<\"a\tb\"@us>",
		"<\"a\x01\"@us>", "<\"a\\\x7f\"@us>", "<a\x01@us>", "<a@u\x01s>", "<a\r\n@us>", "<a\\b@us>",
		"<a,b@us>", "<a;b@us>",
		"<a(b)@us>", "<a:b@us>", "<a[b]@us>",
		"<a@1.2.3.4>", "<a@12>", "<a@[]>", "<a@[1.2.3]>", "<a@[1.2.3.4>", "<a@1.2.3.4]>", "<a@[1.2.3.256]>",
		"<a@[01.2.3.4]>",
		"<a@[1.2.3.4].x>", "<a@[::1]>", "<a@[IPv6:]>", "<a@[IPv6:1.2.3.4]>", "<a@[IPv6:::g]>", "<a@[x:y]>",
		"<a@[IPv6:fe80::1%eth0]>",
		"<@us a@victim>", "<@us,a@victim>", "<@us,:a@victim>", "<@us:>", "<@:a@b>", "<@us,@x>",
		"<@us,@x a@b>", "<:a@b>",
		"<" X64 "x@us>", "<\"" X64 "\"@us\x01>", "<\"x " X64 "\"@us>", "<a@" D253 "l>", "<a@" L63 "l.x>",
		"<a@" D253 "." D253 "." D253 ">", "<a\xc3@us>", "<a\xc0\xaf@us>", "<a\xed\xa0\x80@us>",
		"<a\xc2\x85@us>", "<a@u\xff>",
		"<a@\xc2\x85>",
	};
	struct path_arg arg;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *err = NULL;

		if (address_parse_path(bad[i], PATH_FORWARD, true, &arg, &err) != -1)
			fail_msg("accepted forward: %s", bad[i]);
		assert_int_equal(strncmp(err, "5.1.3 ", 6), 0);
		if (address_parse_path(bad[i], PATH_REVERSE, true, &arg, &err) != -1)
			fail_msg("accepted reverse: %s", bad[i]);
		assert_int_equal(strncmp(err, "5.1.7 ", 6), 0);
	}
}

static void
test_path_kind(void **state)
{
	struct path_arg arg;
	const char *err;

	(void)state;
	assert_int_equal(address_parse_path("<>", PATH_FORWARD, false, &arg, &err), -1);
	assert_int_equal(strncmp(err, "5.1.3 ", 6), 0);
	assert_int_equal(address_parse_path("<postmaster>", PATH_REVERSE, false, &arg, &err), -1);
	assert_int_equal(strncmp(err, "5.1.7 ", 6), 0);
	assert_int_equal(address_parse_path("<postmasters>", PATH_FORWARD, false, &arg, &err), -1);
	assert_int_equal(address_parse_path("<j\xc3\xbcrgen@x>", PATH_FORWARD, false, &arg, &err), -1);
	assert_int_equal(strncmp(err, "5.6.7 ", 6), 0);
	assert_int_equal(address_parse_path("<\"\xc3\xbc\"@x>", PATH_REVERSE, false, &arg, &err), -1);
	assert_int_equal(strncmp(err, "5.6.7 ", 6), 0);
	assert_int_equal(address_parse_path("<a@b\xc3\xbc.x>", PATH_REVERSE, false, &arg, &err), -1);
	assert_int_equal(strncmp(err, "5.6.7 ", 6), 0);
}

static void
test_addr_spec(void **state)
{
	char out[ADDRESS_MAX];

	(void)state;
	assert_int_equal(address_parse("A@B.Example", false, out), 0);
	assert_string_equal(out, "A@b.example");
	assert_int_equal(address_parse("\"a b\"@[IPv6:::1]", false, out), 0);
	assert_string_equal(out, "\"a b\"@[IPv6:::1]");
	assert_int_equal(address_parse("", false, out), -1);
	assert_int_equal(address_parse("postmaster", false, out), -1);
	assert_int_equal(address_parse("<a@b>", false, out), -1);
	assert_int_equal(address_parse("a@b ", false, out), -1);
	assert_int_equal(address_parse(" a@b", false, out), -1);
	assert_int_equal(address_parse("a@b,c@d", false, out), -1);
	assert_int_equal(address_parse("a@b\nc@d", false, out), -1);
	assert_int_equal(address_parse("@x:a@b", false, out), -1);
}

static void
test_parts(void **state)
{
	static const struct {
		const char *address;
		const char *domain;
		size_t local;
	} cases[] = {
		{ "", "", 0 }, { "postmaster", "", 10 }, { "a@b", "b", 1 }, { "\"a@c\"@b", "b", 5 },
		{ "\"a\\\"@c\"@b", "b", 7 },
		{ "a@[IPv6:::1]", "[IPv6:::1]", 1 }, { "\"a\\", "", 3 }, { "\"", "", 1 }, { "a@", "", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_string_equal(address_domain(cases[i].address), cases[i].domain);
		assert_int_equal(address_local_len(cases[i].address), cases[i].local);
	}
}

static void
test_domain_and_helo(void **state)
{
	char word[300];

	(void)state;
	assert_true(address_domain_valid(D253, false));
	assert_false(address_domain_valid(D253 "l", false));
	assert_true(address_domain_valid("[127.0.0.1]", false));
	assert_false(address_domain_valid("127.0.0.1", false));
	assert_true(address_domain_valid("3com.example", false));
	assert_true(address_domain_valid("1.2.3.4.5.example", false));
	assert_true(address_domain_valid("b\xc3\xbc.example", true));
	assert_false(address_domain_valid("b\xc3\xbc.example", false));
	assert_false(address_domain_valid("b\xc3.example", true));
	assert_false(address_domain_valid("", true));
	assert_false(address_domain_valid("a\nb", true));

	assert_true(address_helo_valid("mail.example.org"));
	assert_true(address_helo_valid("[127.0.0.1]"));
	assert_true(address_helo_valid("MY_PC!"));
	assert_false(address_helo_valid(""));
	assert_false(address_helo_valid("a b"));
	assert_false(address_helo_valid("a\x7f"));
	assert_false(address_helo_valid("a\x01"));
	assert_false(address_helo_valid("a\xff"));
	memset(word, 'a', sizeof(word));
	word[255] = '\0';
	assert_true(address_helo_valid(word));
	word[255] = 'a';
	word[256] = '\0';
	assert_false(address_helo_valid(word));
}

static void
test_xtext(void **state)
{
	static const struct {
		const char *in;
		const char *out; /* NULL: refused */
	} cases[] = {
		{ "", "" }, { "abc", "abc" }, { "a+2Bb", "a+b" }, { "rfc822;a+40b", "rfc822;a@b" }, { "a+20b", "a b" },
		{ "+C3+A4", "\xc3\xa4" }, { "a+2bb", "a+b" }, { "+0D+0A", NULL }, { "+00", NULL }, { "a+0Ab", NULL },
		{ "+7F", NULL },
		{ "+1B", NULL }, { "+09", NULL }, { "+FF", NULL }, { "+C3", NULL }, { "+", NULL }, { "+4", NULL },
		{ "+4G", NULL },
		{ "+ 4", NULL }, { "a=b", NULL }, { "a b", NULL }, { "a\x7f", NULL }, { "\xc3\xa4", NULL }, { "a\n",
		NULL },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int result = xtext_decode(cases[i].in, strlen(cases[i].in), out, sizeof(out));

		if (result != (cases[i].out == NULL ? -1 : 0))
			fail_msg("%s: %d", cases[i].in, result);
		if (cases[i].out != NULL)
			assert_string_equal(out, cases[i].out);
	}
	/* The buffer's end. */
	assert_int_equal(xtext_decode("abc", 3, out, 4), 0);
	assert_int_equal(xtext_decode("abc", 3, out, 3), -1);
	assert_int_equal(xtext_decode("", 0, out, 0), -1);
	assert_int_equal(xtext_decode("a+4", 3, out, sizeof(out)), -1);
}

static void
test_xtext_encode(void **state)
{
	char in[2] = "", out[8], back[8];

	(void)state;
	assert_int_equal(xtext_encode("a b+=", out, sizeof(out)), -1);
	assert_int_equal(xtext_encode("a+", out, 5), 0);
	assert_string_equal(out, "a+2B");
	assert_int_equal(xtext_encode("a+", out, 4), -1);
	assert_int_equal(xtext_encode("", out, 1), 0);
	assert_int_equal(xtext_encode("", out, 0), -1);
	assert_int_equal(xtext_encode("ab", out, 2), -1);
	for (int c = ' '; c < 0x7f; c++) {
		in[0] = (char)c;
		assert_int_equal(xtext_encode(in, out, sizeof(out)), 0);
		assert_int_equal(xtext_decode(out, strlen(out), back, sizeof(back)), 0);
		assert_string_equal(in, back);
	}
}

/* Random strings made of the characters that matter: what is accepted is canonical, short enough and clean. */
static void
test_random(void **state)
{
	static const char alphabet[] = "ab.@\"\\<>[]:,-_ 16IPv\xc3\xa4\x01";
	uint32_t random = 1;
	unsigned accepted = 0;

	(void)state;
	for (unsigned round = 0; round < 300000; round++) {
		char text[24];
		struct path_arg arg, again;
		const char *err;
		char path[400];
		size_t len;

		random = random * 1664525 + 1013904223;
		len = 3 + (random >> 24) % 16;
		text[0] = '<';
		for (size_t i = 1; i < len; i++) {
			random = random * 1664525 + 1013904223;
			text[i] = alphabet[(random >> 16) % (sizeof(alphabet) - 1)];
		}
		text[len] = '>';
		text[len + 1] = '\0';
		if (address_parse_path(text, PATH_FORWARD, true, &arg, &err) != 0)
			continue;
		accepted++;
		assert_true(strlen(arg.address) < ADDRESS_MAX);
		assert_null(strpbrk(arg.address, "\r\n\x01"));
		snprintf(path, sizeof(path), "<%s>", arg.address);
		assert_int_equal(address_parse_path(path, PATH_FORWARD, true, &again, &err), 0);
		assert_string_equal(arg.address, again.address);
	}
	assert_true(accepted > 20);
}

static void
test_utf8(void **state)
{
	(void)state;
	assert_true(is_ascii("", 0));
	for (size_t i = 0; i < 20; i++) {
		char text[20];

		memset(text, 'a', sizeof(text));
		assert_true(is_ascii(text, sizeof(text)));
		text[i] = '\x80';
		assert_false(is_ascii(text, sizeof(text)));
		assert_true(is_ascii(text, i));
		assert_false(utf8_valid(text, sizeof(text)));
	}
	assert_true(utf8_valid("\xf0\x9f\x98\x80 \xe2\x82\xac", 8));
	assert_false(utf8_valid("\xf0\x9f\x98", 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path_good),
		cmocka_unit_test(test_path_bad),
		cmocka_unit_test(test_path_kind),
		cmocka_unit_test(test_addr_spec),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_domain_and_helo),
		cmocka_unit_test(test_xtext),
		cmocka_unit_test(test_xtext_encode),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_utf8),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
