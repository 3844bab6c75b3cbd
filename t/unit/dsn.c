/* Delivery status notifications: the structure, the fields to the space, what hostile input cannot do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/address.h"
#include "mail/dsn.h"
#include "mail/header.h"

struct built {
	struct envelope *env;
	struct msgid id;
	struct dsn dsn;
	struct dsn_rcpt rcpt;
	char *headers;
	char *body;
	size_t body_len;
};

static const char original[] = "Subject: Hello\r\nFrom: a@b\r\n\r\n";

static void
set_up(struct built *b)
{
	memset(b, 0, sizeof(*b));
	b->env = envelope_new();
	msgid_new(&b->env->id, 1785000000000);
	msgid_new(&b->id, 1785000123456);
	b->env->received = 1785000000000;
	free(b->env->sender);
	b->env->sender = xstrdup("bounce+c42@mail.shop.example");
	b->rcpt = (struct dsn_rcpt){ .address = "ana@example.net", .action = DSN_FAILED, .status = { 5, 1, 1 },
		.remote_mta = "mx1.example.net", .diagnostic = "550 5.1.1 no\nsuch user",
		.last_attempt = 1785000123456 };
	b->dsn = (struct dsn){ .id = &b->id, .reporting_mta = "mx.posthorn.example", .about = b->env,
	    .rcpts = &b->rcpt, .n_rcpts = 1,
		.headers = { original, sizeof(original) - 1 }, .now = 1785000123456 };
}

static unsigned
count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

/* What holds for every DSN whatever went in. */
static void
check_form(const struct built *b)
{
	char boundary[128], line[160];
	struct header_field f;
	const char *p, *end;
	size_t len = strlen(b->headers);

	assert_int_equal(header_block_len(b->headers, len), len);
	assert_true(len > 4);
	assert_string_equal(b->headers + len - 4, "\r\n\r\n");
	assert_int_equal(strlen(b->body), b->body_len);
	assert_string_equal(b->body + b->body_len - 2, "\r\n");
	for (int i = 0; i < 2; i++) {
		for (p = i == 0 ? b->headers : b->body; *p != '\0'; p = end + 2) {
			end = strstr(p, "\r\n");
			assert_non_null(end);
			if (end - p > 998)
				fail_msg("a line of %td", end - p);
			for (const char *q = p; q < end; q++)
				assert_true(*q != '\r' && *q != '\n');
		}
	}
	assert_int_equal(header_count(b->headers, len, "From"), 1);
	assert_int_equal(header_count(b->headers, len, "To"), 1);
	assert_int_equal(header_count(b->headers, len, "Message-ID"), 1);
	/* From, To, Subject, Date, Message-ID, Auto-Submitted, MIME-Version, Content-Type and perhaps the transfer
	 * encoding. */
	{
		struct header_iter iter;
		unsigned n = 0;

		header_iter_init(&iter, b->headers, len);
		while (header_next(&iter, &f))
			n++;
		assert_int_equal(n, 8 + header_count(b->headers, len, "Content-Transfer-Encoding"));
	}
	assert_int_equal(header_count(b->headers, len, "Content-Transfer-Encoding"), !is_ascii(b->body, b->body_len));
	assert_true(header_find(b->headers, len, "Content-Type", &f));
	header_value(&f, line, sizeof(line));
	p = strstr(line, "boundary=\"");
	assert_non_null(p);
	snprintf(boundary, sizeof(boundary), "--%s", p + 10);
	*strchr(boundary, '"') = '\0';
	snprintf(line, sizeof(line), "\r\n%s\r\n", boundary);
	assert_int_equal(count(b->body, line), b->dsn.headers.len > 0 ? 3 : 2);
	snprintf(line, sizeof(line), "\r\n%s--\r\n", boundary);
	assert_int_equal(count(b->body, line), 1);
	assert_string_equal(b->body + b->body_len - strlen(line), line);
}

static void
build(struct built *b)
{
	struct wbuf headers, body;

	free(b->headers);
	free(b->body);
	wbuf_init(&headers);
	wbuf_init(&body);
	dsn_build(&b->dsn, &headers, &body);
	b->headers = xmemdup0(headers.p, headers.len);
	b->body = xmemdup0(body.p, body.len);
	b->body_len = body.len;
	wbuf_clear(&headers);
	wbuf_clear(&body);
	check_form(b);
}

static void
tear_down(struct built *b)
{
	envelope_free(&b->env);
	free(b->headers);
	free(b->body);
}

static void
assert_has(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("missing: %s\nin: %s", what, text);
}

static void
assert_has_not(const char *text, const char *what)
{
	if (strstr(text, what) != NULL)
		fail_msg("not wanted: %s\nin: %s", what, text);
}

static void
test_failed(void **state)
{
	struct built b;

	(void)state;
	set_up(&b);
	b.env->envid = xstrdup("QQ314159");
	b.rcpt.orcpt = "rfc822;Ana@example.net";
	build(&b);
	assert_has(b.headers, "From: MAILER-DAEMON@mx.posthorn.example (Mail Delivery System)\r\n");
	assert_has(b.headers, "\r\nTo: bounce+c42@mail.shop.example\r\n");
	assert_has(b.headers, "\r\nSubject: Undelivered Mail Returned to Sender\r\n");
	assert_has(b.headers, "\r\nDate: Sat, 25 Jul 2026 17:22:03 +0000\r\n");
	assert_has(b.headers, "\r\nAuto-Submitted: auto-replied\r\n");
	assert_has(b.headers, "\r\nMIME-Version: 1.0\r\n");
	assert_has(b.headers, "\r\nContent-Type: multipart/report; report-type=delivery-status;");
	assert_has(b.body, "\r\nContent-Type: text/plain; charset=us-ascii\r\n");
	assert_has(b.body, "User unknown");
	assert_has(b.body, "\r\n<ana@example.net>\r\n");
	assert_has(b.body, "mx1.example.net said: 550 5.1.1 no such user\r\n");
	assert_has(b.body,
	    "\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.posthorn.example\r\n");
	assert_has(b.body, "\r\nOriginal-Envelope-Id: QQ314159\r\nArrival-Date: Sat, 25 Jul 2026 17:20:00 +0000\r\n\r\n"
			   "Original-Recipient: rfc822;Ana@example.net\r\nFinal-Recipient: rfc822;ana@example.net\r\n"
			   "Action: failed\r\n"
			   "Status: 5.1.1\r\nRemote-MTA: dns; mx1.example.net\r\n"
			   "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
			   "Last-Attempt-Date: Sat, 25 Jul 2026 17:22:03 +0000\r\n");
	assert_has_not(b.body, "Will-Retry-Until");
	assert_has(b.body, "\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: Hello\r\nFrom: a@b\r\n");
	tear_down(&b);
}

static void
test_delayed_and_success(void **state)
{
	struct built b;

	(void)state;
	set_up(&b);
	b.rcpt.action = DSN_DELAYED;
	b.rcpt.status = (struct enhanced_code){ 4, 4, 1 };
	b.rcpt.is_local = true;
	b.rcpt.diagnostic = "connection timed out";
	b.rcpt.remote_mta = NULL;
	b.rcpt.will_retry_until = 1785432123456;
	build(&b);
	assert_has(b.headers, "\r\nSubject: Delayed Mail (still being retried)\r\n");
	assert_has(b.body,
	    "\r\nAction: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Posthorn; connection timed out\r\n");
	assert_has(b.body, "\r\nWill-Retry-Until: Thu, 30 Jul 2026 17:22:03 +0000\r\n");
	assert_has(b.body, "Delivery will be tried until Thu, 30 Jul 2026");
	assert_has_not(b.body, "Remote-MTA");
	assert_has_not(b.body, "smtp;");
	assert_has_not(b.body, "User unknown");
	b.rcpt.action = DSN_RELAYED;
	b.rcpt.status = (struct enhanced_code){ 0, 0, 0 };
	b.rcpt.diagnostic = NULL;
	build(&b);
	assert_has(b.headers, "\r\nSubject: Successful Mail Delivery Report\r\n");
	assert_has(b.body, "\r\nAction: relayed\r\nStatus: 2.0.0\r\n");
	assert_has_not(b.body, "Diagnostic-Code");
	assert_has_not(b.body, "Will-Retry-Until");
	tear_down(&b);
}

/* Only an unknown user is called one. */
static void
test_words(void **state)
{
	static const struct enhanced_code others[] = { { 5, 0, 0 }, { 5, 7, 1 }, { 5, 2, 2 }, { 4, 4, 7 }, { 5, 1,
	    2 }, { 5, 7, 26 } };
	struct built b;

	(void)state;
	set_up(&b);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		b.rcpt.status = others[i];
		build(&b);
		assert_has_not(b.body, "User unknown");
	}
	b.rcpt.status = (struct enhanced_code){ 5, 1, 1 };
	b.rcpt.diagnostic = "550";
	build(&b);
	assert_has(b.body, "User unknown");
	tear_down(&b);
}

static void
test_full_return(void **state)
{
	static const char body[] = "line\r\n.dot\r\n\xff\xfe raw\r\nno end";
	struct built b;

	(void)state;
	set_up(&b);
	b.dsn.body = (struct slice){ body, sizeof(body) - 1 };
	build(&b);
	assert_has(b.body, "\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
			   "Subject: Hello\r\nFrom: a@b\r\n\r\nline\r\n.dot\r\n\xff\xfe raw\r\nno end\r\n\r\n--");
	/* A block that ends without a blank line gets one. */
	b.dsn.headers.len -= 2;
	build(&b);
	assert_has(b.body, "From: a@b\r\n\r\nline\r\n");
	tear_down(&b);
}

static void
test_no_headers(void **state)
{
	struct built b;

	(void)state;
	set_up(&b);
	b.dsn.headers = (struct slice){ "", 0 };
	build(&b);
	assert_has_not(b.body, "rfc822-headers");
	tear_down(&b);
}

static void
test_utf8(void **state)
{
	static const char utf8_headers[] = "Subject: Gr\xc3\xbc\xc3\x9f" "e\r\n\r\n";
	struct built b;

	(void)state;
	set_up(&b);
	b.env->flags |= MSG_SMTPUTF8;
	b.rcpt.address = "j\xc3\xbcrgen@example.net";
	b.rcpt.orcpt = "utf-8;j\xc3\xbcrgen@example.net";
	b.rcpt.diagnostic = "550 5.1.1 unbekannt: j\xc3\xbcrgen";
	b.dsn.headers = (struct slice){ utf8_headers, sizeof(utf8_headers) - 1 };
	build(&b);
	assert_has(b.headers, "\r\nContent-Transfer-Encoding: 8bit\r\n");
	assert_has(b.body, "\r\nContent-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n");
	assert_has(b.body, "\r\nFinal-Recipient: utf-8;j\xc3\xbcrgen@example.net\r\n");
	assert_has(b.body, "\r\nOriginal-Recipient: utf-8;j\xc3\xbcrgen@example.net\r\n");
	assert_has(b.body, "\r\nDiagnostic-Code: smtp; 550 5.1.1 unbekannt: j\xc3\xbcrgen\r\n");
	assert_has(b.body, "\r\nContent-Type: message/global-headers\r\n");
	assert_has(b.body, "charset=utf-8");
	/* With an ASCII address the usual form does, and what programs read stays ASCII. */
	b.rcpt.address = "ana@example.net";
	b.rcpt.orcpt = NULL;
	b.env->flags = 0;
	build(&b);
	assert_has(b.body, "\r\nContent-Type: message/delivery-status\r\n\r\n");
	assert_has(b.body, "\r\nDiagnostic-Code: smtp; 550 5.1.1 unbekannt: j?rgen\r\n");
	assert_has(b.body, "said: 550 5.1.1 unbekannt: j\xc3\xbcrgen\r\n");
	assert_has(b.body, "\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n");
	tear_down(&b);
}

static void
test_injection(void **state)
{
	struct built b;

	(void)state;
	set_up(&b);
	free(b.env->sender);
	b.env->sender = xstrdup("a@b\r\nBcc: victim@c\r\n\r\nbody");
	b.env->envid = xstrdup("x\r\n\r\nFinal-Recipient: rfc822;victim@c");
	b.rcpt.address = "ana@example.net\nAction: delivered\n";
	b.rcpt.orcpt = "rfc822;a@b\r\n\r\n";
	b.rcpt.remote_mta = "mx\r\nX: y";
	b.rcpt.diagnostic = "550 a\r\n--=_dsn_0\r\n\r\nStatus: 2.0.0\nAction: delivered\x1b[0m\x7f\x01\xff";
	build(&b);
	assert_has_not(b.headers, "\nBcc:");
	assert_has_not(b.body, "\nAction: delivered");
	assert_has_not(b.body, "\nStatus: 2.0.0");
	assert_int_equal(count(b.body, "\r\nFinal-Recipient:"), 1);
	assert_has_not(b.body, "\x1b");
	assert_has(b.headers, "\r\nTo: a@b Bcc: victim@c body\r\n");
	tear_down(&b);
}

/* 998 at every place a long value may stand. */
static void
test_long(void **state)
{
	static char words[5000], solid[5000], mixed[6002], block[4100];
	const char *texts[3] = { words, solid, mixed };
	struct built b;

	(void)state;
	for (size_t i = 0; i < sizeof(words) - 1; i++)
		words[i] = i % 7 == 6 ? ' ' : 'w';
	memset(solid, 's', sizeof(solid) - 1);
	for (size_t i = 0; i + 2 < sizeof(mixed); i += 3)
		memcpy(mixed + i, "\xe2\x82\xac", 3);
	set_up(&b);
	for (int i = 0; i < 3; i++) {
		b.rcpt.diagnostic = texts[i];
		b.rcpt.remote_mta = solid + sizeof(solid) - 1 - 255;
		b.rcpt.address = texts[i];
		memset(block, 'h', sizeof(block));
		memcpy(block, "X-Long: ", 8);
		memcpy(block + sizeof(block) - 4, "\r\n\r\n", 4);
		for (size_t k = 0; i == 2 && k < 1300; k++)
			memcpy(block + 9 + 3 * k, "\xe2\x82\xac", 3);
		b.dsn.headers = (struct slice){ block, sizeof(block) };
		build(&b);
		assert_true(utf8_valid(b.body, b.body_len));
		b.dsn.body = (struct slice){ texts[i], 4998 };
		build(&b);
		assert_true(utf8_valid(b.body, b.body_len));
		b.dsn.body.len = 0;
	}
	tear_down(&b);
}

/* What is stored should never be so; if it is, it is not sent on. */
static void
test_dirty_original(void **state)
{
	static const char dirty[] = "A: b\nC: d\r\r\nE:\0f\rg\r\n\r\n";
	struct built b;

	(void)state;
	set_up(&b);
	b.dsn.headers = (struct slice){ dirty, sizeof(dirty) - 1 };
	b.dsn.body = b.dsn.headers;
	build(&b);
	assert_has(b.body, "A: b\r\nC: d \r\nE: f g\r\n");
	tear_down(&b);
}

static void
test_many(void **state)
{
	static struct dsn_rcpt rcpts[500];
	static char names[500][32];
	struct built b;

	(void)state;
	set_up(&b);
	for (int i = 0; i < 500; i++) {
		snprintf(names[i], sizeof(names[i]), "user%d@example.net", i);
		rcpts[i] = b.rcpt;
		rcpts[i].address = names[i];
	}
	b.dsn.rcpts = rcpts;
	b.dsn.n_rcpts = 500;
	build(&b);
	assert_int_equal(count(b.body, "\r\n\r\nFinal-Recipient: rfc822;user"), 500);
	tear_down(&b);
}

/* For programs that know words: behind the reply, unless that has them. */
static void
test_hint(void **state)
{
	struct built b;

	(void)state;
	set_up(&b);
	b.rcpt.hint = "User unknown";
	b.rcpt.diagnostic = "550 5.1.1 Empfaenger unbekannt";
	build(&b);
	assert_has(b.body, "\r\nDiagnostic-Code: smtp; 550 5.1.1 Empfaenger unbekannt (User unknown)\r\n");
	tear_down(&b);
	set_up(&b);
	b.rcpt.hint = "User unknown";
	b.rcpt.diagnostic = "550 5.1.1 uSER Unknown, sorry";
	build(&b);
	assert_has(b.body, "\r\nDiagnostic-Code: smtp; 550 5.1.1 uSER Unknown, sorry\r\n");
	tear_down(&b);
	/* The reply is cut, what it means is not. */
	set_up(&b);
	b.rcpt.hint = "User unknown";
	b.rcpt.diagnostic = xmalloc(5001);
	memset((char *)(uintptr_t)b.rcpt.diagnostic, 'x', 5000);
	((char *)(uintptr_t)b.rcpt.diagnostic)[5000] = '\0';
	build(&b);
	assert_has(b.body, "x (User unknown)\r\n");
	free((char *)(uintptr_t)b.rcpt.diagnostic);
	b.rcpt.diagnostic = NULL;
	tear_down(&b);
}

static void
test_wanted(void **state)
{
	static const struct {
		uint8_t notify;
		bool failed, delayed, delivered;
	} cases[] = {
		{ NOTIFY_DEFAULT, true, true, false }, { NOTIFY_NEVER, false, false, false }, { NOTIFY_SUCCESS, false,
		false, true },
		{ NOTIFY_FAILURE, true, false, false }, { NOTIFY_DELAY, false, true, false },
		{ NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, true, true, true },
		{ NOTIFY_NEVER | NOTIFY_FAILURE, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(dsn_wanted(cases[i].notify, DSN_FAILED), cases[i].failed);
		assert_int_equal(dsn_wanted(cases[i].notify, DSN_DELAYED), cases[i].delayed);
		assert_int_equal(dsn_wanted(cases[i].notify, DSN_DELIVERED), cases[i].delivered);
		assert_int_equal(dsn_wanted(cases[i].notify, DSN_RELAYED), cases[i].delivered);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed),
		cmocka_unit_test(test_delayed_and_success),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_full_return),
		cmocka_unit_test(test_no_headers),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_injection),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_dirty_original),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_wanted),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
