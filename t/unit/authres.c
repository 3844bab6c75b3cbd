/* Authentication-Results: what is written of strangers' words is one field; what a stranger wrote in our name goes, and
 * nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/authres.h"
#include "mail/header.h"

static void
assert_field(const struct auth_results *r, const char *want)
{
	struct wbuf w;

	wbuf_init(&w);
	authres_write(r, "mx.example", &w);
	wbuf_u8(&w, 0);
	assert_string_equal((const char *)w.p, want);
	wbuf_clear(&w);
}

static void
test_write(void **state)
{
	struct auth_results r = { .n_signatures = 0 };

	(void)state;
	assert_field(&r, "Authentication-Results: mx.example; none\r\n");
	r.spf = (struct auth_spf){ .result = AUTH_FAIL, .is_helo = true, .identity = "[192.0.2.1]", .reason =
	    "matched '-all' \"directive\"" };
	r.dkim = AUTH_NONE;
	strcpy(r.dkim_reason, "the message is not signed");
	r.dmarc = (struct auth_dmarc){ .result = AUTH_NONE, .domain = "a.example" };
	assert_field(&r, "Authentication-Results: mx.example;\r\n"
	    "\tspf=fail reason=\"matched '-all' \\\"directive\\\"\" smtp.helo=\"[192.0.2.1]\";\r\n"
	    "\tdkim=none reason=\"the message is not signed\";\r\n\tdmarc=none header.from=a.example\r\n");
	r = (struct auth_results){ .dkim = AUTH_PASS, .n_signatures = 1, .signatures = { { .result = AUTH_PASS,
	    .domain = "a.example", .selector = "s", .algorithm = "rsa-sha256", .mark = "ab/+cd==" } } };
	assert_field(&r, "Authentication-Results: mx.example;\r\n"
	    "\tdkim=pass header.d=a.example header.s=s header.a=rsa-sha256 header.b=\"ab/+cd==\"\r\n");
}

/* Whatever is said, it is one field, of printable ASCII, with no clause that nobody meant. */
static void
test_injection(void **state)
{
	static const char evil[] = "x\r\nBcc: a@b;\r\n dkim=pass \"(\\\x01\xff";
	const char *const props[] = { "smtp.mailfrom", evil, "no property", "x", "a.b;c", "x", "policy.x", "", NULL };
	struct header_iter it;
	struct header_field f;
	struct wbuf w;
	size_t i;

	(void)state;
	wbuf_init(&w);
	authres_begin(&w, evil);
	authres_clause(&w, "spf", "pass", evil, props);
	authres_clause(&w, "spf", "pass; dkim=pass", evil, props);
	authres_clause(&w, "a=b", "pass", evil, props);
	authres_clause(&w, "", "pass", NULL, NULL);
	authres_end(&w);
	header_iter_init(&it, (const char *)w.p, w.len);
	assert_true(header_next(&it, &f));
	assert_int_equal(f.whole.len, w.len);
	for (i = 0; i < w.len; i++)
		assert_true((w.p[i] >= ' ' && w.p[i] < 0x7f) || w.p[i] == '\t' || w.p[i] == '\r' || w.p[i] == '\n');
	wbuf_u8(&w, 0);
	assert_string_equal((const char *)w.p, "Authentication-Results: \"x??Bcc: a@b;?? dkim=pass \\\"(\\\\??\";\r\n"
	    "\tspf=pass reason=\"x??Bcc: a@b;?? dkim=pass \\\"(\\\\??\" "
	    "smtp.mailfrom=\"x??Bcc: a@b;?? dkim=pass \\\"(\\\\??\"\r\n");
	wbuf_clear(&w);
}

static void
test_strip(void **state)
{
	static const struct {
		const char *value;
		bool is_forged;
	} cases[] = {
		{ "mx.example; spf=pass", true }, { "MX.EXAMPLE ; none", true }, { "mx.example", true },
		{ "mx.example 1; none", true }, { "\"mx.example\"; none", true }, { "\"mx.\\example\" 1;none", true },
		{ "(a (nested \\) one) ) mx.example(c); none", true }, { "\r\n\tmx.example;\r\n none", true },
		{ "mx.example.; none", true }, { "mx.example(x; none", true }, { "(never ends mx.example; none", true },
		{ "\"mx.example", true }, { "", true }, { ";", true }, { "\"\"; none", true },
		{ "other.example; x=mx.example", false }, { "mx.example.other.example; none", false },
		{ "notmx.example; none", false }, { "(mx.example) other.example; none", false },
		{ "\"mx.example other\"; none", false }
	};
	struct wbuf head;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *field = xasprintf("authentication-results:%s\r\n", cases[i].value);
		char *text = xasprintf("%sFrom: a@b\r\n%s%sX: y\r\n\r\n", field, field, field);

		wbuf_init(&head);
		wbuf_raw(&head, text, strlen(text));
		assert_int_equal(authres_strip(&head, "mx.example"), cases[i].is_forged ? 3 : 0);
		wbuf_u8(&head, 0);
		if (strcmp((const char *)head.p, cases[i].is_forged ? "From: a@b\r\nX: y\r\n\r\n" : text) != 0)
			fail_msg("%s: %s", cases[i].value, (const char *)head.p);
		wbuf_clear(&head);
		free(text);
		free(field);
	}
	wbuf_init(&head);
	assert_int_equal(authres_strip(&head, "mx.example"), 0);
	wbuf_clear(&head);
}

/* A comment longer than what is looked at could hide anything behind it. */
static void
test_strip_long(void **state)
{
	char *blanks = xcalloc(1, 100000), *text;
	struct wbuf head;

	(void)state;
	memset(blanks, 'x', 99999);
	text = xasprintf("Authentication-Results: (%s) mx.example; none\r\n\r\n", blanks);
	wbuf_init(&head);
	wbuf_raw(&head, text, strlen(text));
	assert_int_equal(authres_strip(&head, "mx.example"), 1);
	assert_int_equal(head.len, 2);
	wbuf_clear(&head);
	free(text);
	free(blanks);
}

/* As many as the largest header block can hold: one pass over it, or a worker does nothing else for minutes. */
static void
test_strip_many(void **state)
{
	static const char forged[] = "Authentication-Results:\r\n", other[] = "X: y\r\n";
	const unsigned n = 500000;
	struct wbuf head;
	unsigned i;

	(void)state;
	wbuf_init(&head);
	for (i = 0; i < n; i++) {
		wbuf_raw(&head, forged, sizeof(forged) - 1);
		wbuf_raw(&head, other, sizeof(other) - 1);
	}
	wbuf_raw(&head, "\r\n", 2);
	assert_int_equal(authres_strip(&head, "mx.example"), n);
	assert_int_equal(head.len, n * (sizeof(other) - 1) + 2);
	assert_memory_equal(head.p, other, sizeof(other) - 1);
	assert_memory_equal(head.p + head.len - sizeof(other) - 1, "X: y\r\n\r\n", sizeof(other) + 1);
	wbuf_clear(&head);
}

static void
test_sum(void **state)
{
	struct auth_results r = { .n_signatures = 3, .signatures = { { .result = AUTH_PASS, .domain = "A.example" },
	    { .result = AUTH_FAIL, .domain = "b.example" }, { .result = AUTH_PASS, .domain = "a.EXAMPLE" } } };
	char text[32];

	(void)state;
	auth_results_sum_up(&r);
	assert_int_equal(r.dkim, AUTH_PASS);
	auth_results_domains(&r, text, sizeof(text));
	assert_string_equal(text, "a.example");
	strcpy(r.signatures[2].domain, "c.example");
	auth_results_domains(&r, text, sizeof(text));
	assert_string_equal(text, "a.example,c.example");
	auth_results_domains(&r, text, 19);
	assert_string_equal(text, "a.example");
	auth_results_domains(&r, text, 5);
	assert_string_equal(text, "");
	r.signatures[0].result = r.signatures[2].result = AUTH_PERMERROR;
	auth_results_sum_up(&r);
	assert_int_equal(r.dkim, AUTH_FAIL);
	auth_results_domains(&r, text, sizeof(text));
	assert_string_equal(text, "");
	r.signatures[1].result = AUTH_TEMPERROR;
	auth_results_sum_up(&r);
	assert_int_equal(r.dkim, AUTH_TEMPERROR);
	r.n_signatures = 0;
	auth_results_sum_up(&r);
	assert_int_equal(r.dkim, AUTH_NONE);
	r = (struct auth_results){ .spf = { .result = AUTH_PASS } };
	auth_results_fail(&r, AUTH_WANT_SPF | AUTH_WANT_DMARC, "late");
	assert_int_equal(r.spf.result, AUTH_PASS);
	assert_int_equal(r.dkim, 0);
	assert_int_equal(r.dmarc.result, AUTH_TEMPERROR);
	assert_string_equal(r.dmarc.reason, "late");
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_write), cmocka_unit_test(test_injection),
		cmocka_unit_test(test_strip), cmocka_unit_test(test_strip_long),
		cmocka_unit_test(test_strip_many), cmocka_unit_test(test_sum) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
