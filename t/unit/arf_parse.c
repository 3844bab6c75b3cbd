/* Complaints, piece by piece: values in their forms, what is taken from the original, what is hidden. The whole of
 * it is tested with labelled messages in t/40-arf.t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"

#include "mail/arf_parse.h"

static struct arf_report
parse(const char *fields, const char *original)
{
	static const char *const wanted[] = { "X-Token" };
	char *message = xasprintf("Content-Type: multipart/report; boundary=b\n\n--b\n"
	    "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n%s\n--b\n"
	    "Content-Type: message/rfc822\n\n%s\n"
	    "--b--\n", fields, original);
	struct arf_report r;

	arf_parse(&r, message, strlen(message), wanted, 1);
	assert_true(r.is_report);
	free(message);
	return r;
}

static void
assert_text(const char *got, const char *want)
{
	if (want == NULL)
		assert_null(got);
	else {
		assert_non_null(got);
		assert_string_equal(got, want);
	}
}

static void
test_source_ip(void **state)
{
	static const struct {
		const char *fields, *original, *ip, *by;
	} cases[] = {
		{ "Source-IP: 192.0.2.1", "X-Originating-IP: 192.0.2.2", "192.0.2.1", NULL },
		{ "Source-IP: [192.0.2.1]", "", "192.0.2.1", NULL },
		{ "Source-IP: IPv6:2001:DB8::0:1", "", "2001:db8::1", NULL },
		{ "Source-IP: 192.0.2", "", NULL, NULL },
		{ "", "X-Originating-IP: [192.0.2.2]", "192.0.2.2", "X-Originating-IP" },
		{ "", "Received-SPF: pass (x) client-ip=192.0.2.3; envelope", "192.0.2.3", "Received-SPF" },
		{ "", "Authentication-Results: spf=pass (sender IP is 192.0.2.4)", "192.0.2.4",
		    "Authentication-Results" },
		{ "", "Received: from a (a [10.1.1.1]) by b\nReceived: from c (c [127.0.0.1])\n"
		    "Received: from d (d [192.0.2.5])",
		    "192.0.2.5", "Received" },
		{ "", "Received: from a (a [IPv6:2001:db8::2]) by b", "2001:db8::2", "Received" },
		{ "", "Received: from a (a [fe80::1]) by b", NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arf_report r = parse(cases[i].fields, cases[i].original);

		assert_text(r.source_ip, cases[i].ip);
		assert_text(r.source_ip_by, cases[i].by);
		arf_report_clear(&r);
	}
}

static void
test_recipient(void **state)
{
	static const struct {
		const char *fields, *original, *recipient, *by;
		bool is_redacted;
	} cases[] = {
		{ "Original-Rcpt-To: <a@b.example>", "", "a@b.example", "Original-Rcpt-To", false },
		{ "Original-Rcpt-To: rfc822; a@b.example", "", "a@b.example", "Original-Rcpt-To", false },
		{ "Original-Rcpt-To: redacted@b.example\nOriginal-Rcpt-To: a@b.example", "", "a@b.example",
		    "Original-Rcpt-To", false },
		{ "Original-Rcpt-To: 0cc175b9c0f1b6a831c399e269772661@b.example", "", NULL, NULL, true },
		{ "Original-Rcpt-To: a*b@b.example", "To: a*b@b.example", NULL, NULL, true },
		{ "Original-Rcpt-To: deadbeef@b.example", "", "deadbeef@b.example", "Original-Rcpt-To", false },
		{ "Redacted-Address: redacted", "To: redacted@b.example", NULL, NULL, true },
		{ "Removal-Recipient: a@b.example", "", "a@b.example", "Removal-Recipient", false },
		{ "", "To: A <a@b.example>", "a@b.example", "To", false },
		{ "", "To: a@b.example, c@d.example", NULL, NULL, false },
		{ "", "To: undisclosed-recipients:;", NULL, NULL, true },
		{ "", "To: c@d.example\nDelivered-To: a@b.example", "a@b.example", "Delivered-To", false },
		{ "", "", NULL, NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arf_report r = parse(cases[i].fields, cases[i].original);

		assert_text(r.recipient, cases[i].recipient);
		assert_text(r.recipient_by, cases[i].by);
		assert_int_equal(r.is_redacted, cases[i].is_redacted);
		arf_report_clear(&r);
	}
}

static void
test_fields(void **state)
{
	struct arf_report r = parse("FEEDBACK-TYPE: fraud\nIncidents: 12\nReporting-MTA: dns; mx.b.example\n"
	    "Reported-URI: http://a\nReported-URI: http://b\nX-Own: 1\nx-own: 2\nIncidents: x",
	    "X-Token: t\nMessage-ID:  <i@j.example>\nReturn-Path: <s@t.example>\nDate: d\n\nbody");

	(void)state;
	assert_string_equal(r.feedback_type, "abuse"); /* the first */
	assert_int_equal(r.incidents, 12);
	assert_string_equal(r.reporting_mta_type, "dns");
	assert_string_equal(r.reporting_mta, "mx.b.example");
	assert_int_equal(r.reported_uri.n, 2);
	assert_int_equal(r.n_extensions, 2);
	assert_string_equal(r.original_mail_from, "s@t.example");
	assert_string_equal(r.original_mail_from_by, "Return-Path");
	assert_string_equal(r.arrival_date, "d");
	assert_string_equal(r.arrival_date_by, "Date");
	assert_string_equal(r.message_id, "i@j.example");
	assert_string_equal(r.wanted[0].value, "t");
	assert_string_equal(r.headers, "X-Token: t\nMessage-ID: <i@j.example>\nReturn-Path: <s@t.example>\nDate: d");
	arf_report_clear(&r);
	r = parse("Original-Mail-From: <>\nOriginal-Mail-From: <x@y.example>", "Return-Path: <s@t.example>");
	assert_string_equal(r.original_mail_from, "");
	assert_null(r.original_mail_from_by);
	arf_report_clear(&r);
}

/* One field again and again stays within its limit. */
static void
test_limits(void **state)
{
	char *fields = xmalloc(100000), *p = fields;
	struct arf_report r;

	(void)state;
	for (int i = 0; i < 400; i++)
		p = stpcpy(p, "Reported-URI: http://a\nX-Own: 1\n");
	r = parse(fields, "");
	assert_int_equal(r.reported_uri.n, ARF_MAX_VALUES);
	assert_int_equal(r.n_extensions, ARF_MAX_EXTENSIONS);
	arf_report_clear(&r);
	free(fields);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_ip),
		cmocka_unit_test(test_recipient),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_limits),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
