/* mail/author.h, tags.h, orgdomain.h: what a hostile header block may say of its author and its signatures; tags; what
 * is of one organisation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/author.h"
#include "mail/orgdomain.h"
#include "mail/tags.h"

static void
expect(const char *head, const char *want)
{
	char line[AUTHOR_MAX];

	author_write(head, strlen(head), line);
	assert_string_equal(line, want);
}

static void
test_write(void **state)
{
	(void)state;
	expect("From: A <a@Shop.Example>\r\n\r\n", "shop.example");
	expect("Subject: x\r\n\r\n", "-");
	expect("", "-");
	expect("From: nobody\r\n", "-");
	expect("From: a@[192.0.2.1]\r\n", "-");
	/* Of two fields nobody can say which one a reader is shown. */
	expect("From: a@b.example\r\nSubject: x\r\nfrom : c@d.example\r\n\r\n", "-");
	expect("DKIM-Signature: v=1; d=Shop.Example;\r\n\ts = s1 ; b=x\r\nFrom: a@b.example\r\n",
	    "b.example shop.example:s1");
	expect("dkim-signature : d=a.example;s=x\r\nFrom: a@b.example\r\nDKIM-Signature: d=a.example; s=x2\r\n",
	    "b.example a.example:x a.example:x2");
	/* Once each; what is no domain or no selector is none. */
	expect("DKIM-Signature: d=a.example;s=x\r\nDKIM-Signature: d=a.example;s=x\r\n"
	    "DKIM-Signature: d=a b:c,example;s=x y\r\nDKIM-Signature: d=a..example;s=x\r\n"
	    "DKIM-Signature: d=a.example;s=x:y\r\nDKIM-Signature: d=[192.0.2.1];s=x\r\n"
	    "DKIM-Signature: d=a.example\r\nDKIM-Signature:\r\nFrom: a@b.example\r\n", "b.example a.example:x");
}

static void
test_write_is_bounded(void **state)
{
	char head[65536], line[AUTHOR_MAX], domain[DKIM_DOMAIN_MAX + 1], label[64];
	struct author_signature v[AUTHOR_SIGNATURES_MAX];
	size_t n = (size_t)snprintf(head, sizeof(head), "From: a@b.example\r\n");
	unsigned found, i;

	(void)state;
	memset(label, 'a', 60);
	label[60] = '\0';
	for (i = 0; i < 100; i++)
		n += (size_t)snprintf(head + n, sizeof(head) - n, "DKIM-Signature: d=%s.%s.%s.%u.example; s=s%u\r\n",
		    label, label, label, i, i);
	author_write(head, n, line);
	assert_true(strlen(line) < AUTHOR_MAX);
	assert_true(author_read(line, domain, v, &found));
	assert_in_range(found, 1, AUTHOR_SIGNATURES_MAX);
	assert_string_equal(domain, "b.example");
	assert_string_equal(v[0].selector, "s0");
	n = (size_t)snprintf(head, sizeof(head), "From: a@b.example\r\n");
	for (i = 0; i < 100; i++)
		n += (size_t)snprintf(head + n, sizeof(head) - n, "DKIM-Signature: d=e%u.example; s=s%u\r\n", i, i);
	author_write(head, n, line);
	assert_true(author_read(line, domain, v, &found));
	assert_int_equal(found, AUTHOR_SIGNATURES_MAX);
}

static void
test_read(void **state)
{
	static const char *const bad[] = { "", " ", " a.example:s", "a.example ", "a.example b.example",
		"a.example b.example:", "a.example :s", "a.example b.example:s  c.example:s", "a.example b:c:d" };
	struct author_signature v[AUTHOR_SIGNATURES_MAX];
	char other[] = "tenant", key[] = AUTHOR_META, value[] = "a.example";
	struct meta meta[] = { { other, value }, { key, value } };
	char domain[DKIM_DOMAIN_MAX + 1], longer[600];
	unsigned n;
	size_t i;

	(void)state;
	assert_true(author_read("a.example b.example:s1 c.example:s2", domain, v, &n));
	assert_int_equal(n, 2);
	assert_string_equal(domain, "a.example");
	assert_string_equal(v[1].domain, "c.example");
	assert_string_equal(v[1].selector, "s2");
	assert_true(author_read("-", domain, v, &n));
	assert_int_equal(n, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(author_read(bad[i], domain, v, &n));
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_false(author_read(longer, domain, v, &n));
	longer[10] = ' ';
	assert_false(author_read(longer, domain, v, &n));
	assert_string_equal(author_of(meta, 2), "a.example");
	assert_null(author_of(meta, 1));
	assert_null(author_of(NULL, 0));
}

static void
test_tags(void **state)
{
	char out[8];

	(void)state;
	tag_value("v=DMARC1; P = Reject ;sp=none", "p", out, sizeof(out));
	assert_string_equal(out, "reject");
	tag_value("v=DMARC1; pp=x; p=quarantine", "p", out, sizeof(out));
	assert_string_equal(out, "quarant"); /* cut */
	tag_value("p;=;;x", "p", out, sizeof(out));
	assert_string_equal(out, "");
	tag_value("", "p", out, sizeof(out));
	assert_string_equal(out, "");
	assert_true(tags_are_dmarc("v=DMARC1;", 9));
	assert_true(tags_are_dmarc("v=DMARC1", 8));
	assert_false(tags_are_dmarc("v=DMARC10", 9));
	assert_false(tags_are_dmarc("v=DM", 4));
}

static void
test_organisations(void **state)
{
	static const struct {
		const char *author, *other;
		bool relaxed, strict;
	} t[] = {
		{ "shop.example", "Shop.Example.", true, true },
		{ "news.shop.example", "mail.shop.example", true, false },
		{ "shop.example", "news.shop.example", true, false },
		{ "shop.example", "notshop.example", false, false },
		{ "a.co.uk", "b.co.uk", false, false },
		{ "x.a.co.uk", "a.co.uk", true, false },
		{ "co.uk", "a.co.uk", false, false },
		{ "a.github.io", "b.github.io", false, false },
		{ "xn--bcher-kva.example", "news.xn--bcher-kva.example", true, false },
		{ "", "", false, false },
		{ "shop.example", "", false, false },
		{ "localhost", "localhost", true, true },
	};
	char longer[400];
	size_t i;

	(void)state;
	orgdomain_load();
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(orgdomain_aligned(t[i].author, t[i].other, false), t[i].relaxed);
		assert_int_equal(orgdomain_aligned(t[i].other, t[i].author, false), t[i].relaxed);
		assert_int_equal(orgdomain_aligned(t[i].author, t[i].other, true), t[i].strict);
	}
	assert_string_equal(orgdomain_of("a.b.shop.co.uk"), "shop.co.uk");
	assert_string_equal(orgdomain_of("co.uk"), "co.uk");
	/* Rules with an asterisk and exceptions, names that are in no list. */
	assert_string_equal(orgdomain_of("x.y.city.kawasaki.jp"), "city.kawasaki.jp");
	assert_string_equal(orgdomain_of("a.b.c.kawasaki.jp"), "b.c.kawasaki.jp");
	assert_string_equal(orgdomain_of("c.kawasaki.jp"), "c.kawasaki.jp");
	assert_string_equal(orgdomain_of("x.y.xn--p1ai"), "y.xn--p1ai");
	assert_string_equal(orgdomain_of("a.b.unlisted"), "b.unlisted");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_false(orgdomain_aligned(longer, longer, true));
	orgdomain_unload();
	/* Without the list nothing is one organisation's but the same name. */
	assert_false(orgdomain_aligned("a.shop.example", "shop.example", false));
	assert_true(orgdomain_aligned("a.shop.example", "A.shop.example", false));
	assert_string_equal(orgdomain_of("example"), "example");
}

int
main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_is_bounded),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_organisations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
