/* Bounces, piece by piece: fields as they are met, who decides what a message is, recipients in prose. The whole of
 * it is tested with labelled messages in t/40-dsn.t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"

#include "mail/dsn_parse_private.h"

static struct dsn_report
parse_from(const char *mail_from, const char *message)
{
	static const char *const wanted[] = { "X-Token", "X-Other" };
	struct dsn_report r;

	dsn_parse(&r, message, strlen(message), mail_from, wanted, 2);
	return r;
}

static struct dsn_report
parse_fields(const char *fields)
{
	char *message = xasprintf("Content-Type: message/delivery-status\n\n%s", fields);
	struct dsn_report r = parse_from(NULL, message);

	free(message);
	return r;
}

static void
test_addresses(void **state)
{
	static const struct {
		const char *fields, *address;
	} cases[] = {
		{ "Final-Recipient: rfc822; a@b.example", "a@b.example" },
		{ "Final-Recipient:rfc822;<a@b.example>", "a@b.example" },
		{ "final-recipient: a@b.example", "a@b.example" },
		{ "Final-Recipient: rfc822; a@b.example (gone)", "a@b.example" },
		{ "Final-Recipient: rfc822; \"a b\"@b.example", "\"a b\"@b.example" },
		{ "Final-Recipient: utf-8; \\x{E4}@b.example", "\u00e4@b.example" },
		{ "Final-Recipient: utf-8; \\x{D800}\\x{0}\\x{20}@b.example", "\\x{D800}\\x{0}\\x{20}@b.example" },
		{ "Final-Recipient: LOCAL; root\nOriginal-Recipient: rfc822; a+2Bc@b.example", "a+c@b.example" },
		{ "Original-Recipient: rfc822; x@y.example\nFinal-Recipient: rfc822; a@b.example", "a@b.example" },
		{ "Original-Recipient: rfc822; x@y.example", "x@y.example" },
		{ "Final-Recipient: LOCAL; root", "root" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dsn_report r = parse_fields(cases[i].fields);

		assert_int_equal(r.n_rcpts, 1);
		assert_string_equal(r.rcpts[0].address, cases[i].address);
		assert_true(r.is_standard);
		dsn_report_clear(&r);
	}
}

static void
test_actions(void **state)
{
	static const struct {
		const char *fields;
		enum dsn_kind kind;
	} cases[] = {
		{ "Action: failed\nStatus: 4.4.7", DSN_KIND_FAILED },
		{ "Action: Delayed (for 4 hours)", DSN_KIND_DELAYED },
		{ "Action: delivered", DSN_KIND_DELIVERED },
		{ "Action: expanded", DSN_KIND_DELIVERED },
		{ "Action: relayed", DSN_KIND_RELAYED },
		{ "Status: 2.1.5", DSN_KIND_DELIVERED },
		{ "Status: 5.1.1", DSN_KIND_FAILED },
		{ "Action: unheard-of", DSN_KIND_FAILED },
		{ "Action: delivered\n\nFinal-Recipient: rfc822; c@d.example\nAction: relayed", DSN_KIND_RELAYED },
		{ "Action: delayed\n\nFinal-Recipient: rfc822; c@d.example\nAction: failed", DSN_KIND_FAILED },
		{ "Action: delivered\n\nFinal-Recipient: rfc822; c@d.example\nAction: delayed", DSN_KIND_DELAYED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *fields = xasprintf("Final-Recipient: rfc822; a@b.example\n%s\n", cases[i].fields);
		struct dsn_report r = parse_fields(fields);

		assert_string_equal(dsn_kind_name(r.kind), dsn_kind_name(cases[i].kind));
		dsn_report_clear(&r);
		free(fields);
	}
}

/* The envelope sender that is known counts; Return-Path is only what the message says. */
static void
test_sender(void **state)
{
	static const char text[] = "From: a@b.example\nReturn-Path: <>\nSubject: Vacation\n\nBack on Monday.\n";
	struct dsn_report r = parse_from(NULL, text);

	(void)state;
	assert_int_equal(r.kind, DSN_KIND_AUTO_REPLY);
	dsn_report_clear(&r);
	r = parse_from("a@b.example", text);
	assert_int_equal(r.kind, DSN_KIND_NONE);
	dsn_report_clear(&r);
}

static void
test_wanted(void **state)
{
	struct dsn_report r = parse_from("", "From: MAILER-DAEMON@x.example\nSubject: Undeliverable\n"
	    "Content-Type: multipart/mixed; boundary=b\nX-Other: not this\n\n--b\n\n<a@b.example>: gone\n\n--b\n"
	    "Content-Type: message/rfc822\n\nx-token: =?utf-8?q?t=31?=\n\t2\nMessage-ID: <i@j.example>\n\n"
	    "X-Other: nor this\n"
	    "--b--\n");

	(void)state;
	assert_int_equal(r.n_wanted, 2);
	assert_string_equal(r.wanted[0].value, "t1 2");
	assert_null(r.wanted[1].value);
	assert_string_equal(r.message_id, "i@j.example");
	assert_string_equal(r.rcpts[0].diagnostic, "gone");
	dsn_report_clear(&r);
}

static void
test_replies(void **state)
{
	static const struct {
		const char *text, *reply; /* "": there is none */
	} cases[] = {
		{ "host mx said: 550 5.1.1 no such user", "550 5.1.1 no such user" },
		{ "host mx said: 550-5.1.1 no such\n550 5.1.1 user\n\nmore", "550-5.1.1 no such\n550 5.1.1 user" },
		{ "(reason: 552 full)", "552 full)" },
		{ "<<< 421 try later", "421 try later" },
		{ "#550 5.2.1 off##", "550 5.2.1 off##" },
		{ "first 450 x: 451 busy\n\nbetter: 554 5.7.1 spam", "554 5.7.1 spam" },
		{ "we are at 550 Main Street", "" },
		{ "192.0.2.550 x", "" },
		{ "call 555-550 now", "" },
		{ "550", "" },
		{ "", "" },
		{ "650 5.1.1 x", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t from = 0, to = 0;
		bool found = dsnp_find_reply(cases[i].text, strlen(cases[i].text), &from, &to);

		assert_int_equal(found, *cases[i].reply != '\0');
		if (found) {
			assert_int_equal(to - from, strlen(cases[i].reply));
			assert_memory_equal(cases[i].text + from, cases[i].reply, to - from);
		}
	}
}

static void
test_status(void **state)
{
	static const struct {
		const char *text, *status;
	} cases[] = {
		{ "(#5.1.1)", "5.1.1" },
		{ "550 5.7.515.", "5.7.515" },
		{ "5.1.1.2 4.2.2", "4.2.2" },
		{ "15.1.1", "" },
		{ "v5.1.1", "" },
		{ "5.1.1-rc", "" },
		{ "5.1.1234", "" },
		{ "2.1.5", "" },
		{ "5.1.", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char status[12];

		bool found = dsnp_find_status(cases[i].text, strlen(cases[i].text), status);

		assert_int_equal(found, *cases[i].status != '\0');
		assert_string_equal(status, cases[i].status);
	}
}

static void
test_flat(void **state)
{
	char *flat = dsnp_flat(" \u00c4B\n> quoted\n\t\u0416\u2019\u00a0>>> X\n >>> Y\n", 35, 100);

	(void)state;
	assert_string_equal(flat, "\u00e4b \u0436' >>> x >>> y ");
	free(flat);
	flat = dsnp_flat("aaaaaaaaaa", 10, 4);
	assert_string_equal(flat, "aaaa");
	free(flat);
}

static void
test_first_address(void **state)
{
	static const struct {
		const char *text, *address; /* NULL: there is none */
	} cases[] = {
		{ "Name <a.b+c@d.example>", "a.b+c@d.example" },
		{ "'a@d.example'.", "a@d.example" },
		{ "\u6536\u4ef6\u4ebaa@d.example\u7684", "a@d.example" },
		{ "\"x y\"@d.example", "\"x y\"@d.example" },
		{ "a@[192.0.2.1]", "a@[192.0.2.1]" },
		{ "\u00e4@\u00f6.example", "\u00e4@\u00f6.example" },
		{ "a@localhost", NULL },
		{ "@d.example", NULL },
		{ "a@", NULL },
		{ "\"@d.example", NULL },
		{ "a@[192.0.2.1", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *address = dsnp_first_address(cases[i].text);

		if (cases[i].address == NULL)
			assert_null(address);
		else
			assert_string_equal(address, cases[i].address);
		free(address);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_sender),
		cmocka_unit_test(test_wanted),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_flat),
		cmocka_unit_test(test_first_address),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
