/* SMTP replies as hostile servers send them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/reply.h"

/* Feeds CRLF-separated lines; the last result. */
static int
feed(struct reply *reply, const char *text, const char **err_r)
{
	int result = -2;

	reply_reset(reply);
	while (*text != '\0') {
		const char *end = strstr(text, "\r\n");
		size_t len = end == NULL ? strlen(text) : (size_t)(end - text);

		result = reply_line(reply, text, len, err_r);
		if (result == -1)
			break;
		text += len + (end == NULL ? 0 : 2);
	}
	return result;
}

static void
test_good(void **state)
{
	static const struct {
		const char *in;
		int code;
		const char *enhanced;
		const char *text;
	} cases[] = {
		{ "250 2.1.5 Ok", 250, "2.1.5", "Ok" },
		{ "250", 250, "0.0.0", "" },
		{ "250 ", 250, "0.0.0", "" },
		{ "550 5.7.2", 550, "5.7.2", "" },
		{ "550 5.7.2 ", 550, "5.7.2", "" },
		{ "550 No such user", 550, "0.0.0", "No such user" },
		{ "220-a\r\n220 b", 220, "0.0.0", "a\nb" },
		{ "220-\r\n220-\r\n220 b", 220, "0.0.0", "\n\nb" },
		{ "550-5.1.1 The email account\r\n550-5.1.1 does not exist.\r\n550 5.1.1 Try again", 550, "5.1.1",
		    "The email account\ndoes not exist.\nTry again" },
		{ "550-First\r\n550 5.1.1 second", 550, "5.1.1", "First\nsecond" },
		/* A class that contradicts the code is text. */
		{ "550 4.2.2 full", 550, "0.0.0", "4.2.2 full" },
		{ "250 5.1.1 odd", 250, "0.0.0", "5.1.1 odd" },
		{ "554 5.2.3.4 is listed", 554, "0.0.0", "5.2.3.4 is listed" },
		{ "554 5.1.1x", 554, "0.0.0", "5.1.1x" },
		{ "554 5.7.1: no", 554, "5.7.1", ": no" },
		{ "554 5.7.606 Access denied", 554, "5.7.606", "Access denied" },
		{ "554 5.7.1000 no", 554, "0.0.0", "5.7.1000 no" },
		{ "554 5..1 no", 554, "0.0.0", "5..1 no" },
		{ "554 5.1", 554, "0.0.0", "5.1" },
		{ "421 4.7.0 a\tb  ", 421, "4.7.0", "a b" },
		{ "550 a\x1b[31mb\x7f" "c\rd", 550, "0.0.0", "a?[31mb?c?d" },
		{ "550 \xc3\xa4 \xe4 \xc2\x85 \xff\xfe \xed\xa0\x80", 550, "0.0.0", "\xc3\xa4 ? ? ?? ???" },
		{ "354 go", 354, "0.0.0", "go" },
	};
	struct reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *err = NULL;
		char enhanced[16];

		if (feed(&reply, cases[i].in, &err) != 1)
			fail_msg("%s: not accepted: %s", cases[i].in, err == NULL ? "incomplete" : err);
		assert_true(reply.is_complete);
		assert_int_equal(reply.code, cases[i].code);
		assert_string_equal(reply.text, cases[i].text);
		assert_int_equal(reply.len, strlen(reply.text));
		enhanced_format(&reply.enhanced, enhanced);
		assert_string_equal(enhanced, cases[i].enhanced);
	}
}

static void
test_bad(void **state)
{
	static const char *const bad[] = {
		"\r\n", "2", "25", "25 ok", "abc", "HTTP/1.1 400 Bad Request", "SSH-2.0-x", "150 x", "650 x", "050 x",
		"2500 x",
		"250x", "250\tok", "250_ok", "250-a\r\n550 b", "250-a\r\n", "250-a\r\nb", "-25 x", "+25 x", " 250 x",
	};
	struct reply reply;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *err = NULL;
		int result = feed(&reply, bad[i], &err);

		if (result == 1)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(result == -1, err != NULL);
		assert_false(reply.is_complete);
	}
}

static void
test_after_the_end(void **state)
{
	struct reply reply;
	const char *err;

	(void)state;
	assert_int_equal(feed(&reply, "250 ok", &err), 1);
	assert_int_equal(reply_line(&reply, "250 ok", 6, &err), -1);
	reply_reset(&reply);
	assert_int_equal(reply_line(&reply, "250 ok", 6, &err), 1);
	assert_int_equal(reply.lines, 1);
}

/* No stream keeps us reading for ever or fills memory. */
static void
test_bounds(void **state)
{
	static char line[1 << 20];
	struct reply reply;
	const char *err;
	int n = 0;

	(void)state;
	reply_reset(&reply);
	while (reply_line(&reply, "250-x", 5, &err) == 0)
		n++;
	assert_int_equal(n, 100);
	memset(line, 'x', sizeof(line));
	memcpy(line, "250-", 4);
	reply_reset(&reply);
	assert_int_equal(reply_line(&reply, line, sizeof(line), &err), -1);
	reply_reset(&reply);
	for (n = 0; reply_line(&reply, line, 510, &err) == 0; n++)
		;
	assert_int_equal(n, 16);
	assert_int_equal(reply.len, REPLY_TEXT_MAX - 1);
	assert_int_equal(reply.text[reply.len], '\0');
}

/* A character that does not fit is left out whole, at every position. */
static void
test_cut(void **state)
{
	static char line[4200];
	struct reply reply;
	const char *err;

	(void)state;
	for (size_t plain = 4080; plain < 4100; plain++) {
		memset(line, 'x', plain + 4);
		memcpy(line, "250 ", 4);
		memcpy(line + 4 + plain, "\xf0\x9f\x98\x80", 4);
		reply_reset(&reply);
		assert_int_equal(reply_line(&reply, line, plain + 8, &err), 1);
		assert_int_equal(reply.len, plain + 4 < REPLY_TEXT_MAX ? plain + 4 : plain < REPLY_TEXT_MAX ? plain
		    : REPLY_TEXT_MAX - 1);
	}
}

/* Every truncation of a line in a block of its exact size. */
static void
test_truncation(void **state)
{
	static const char line[] = "550 5.1.1 \xe2\x82\xac <a@b>";
	struct reply reply;
	const char *err;

	(void)state;
	for (size_t n = 0; n < sizeof(line); n++) {
		char *exact = malloc(n == 0 ? 1 : n);

		assert_non_null(exact);
		memcpy(exact, line, n);
		reply_reset(&reply);
		assert_int_equal(reply_line(&reply, exact, n, &err), n < 3 ? -1 : 1);
		free(exact);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_after_the_end),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_truncation),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
