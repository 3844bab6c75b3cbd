/* What sendmail(1) makes of a message and of address lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#include "posthorn/sendmail.h"

#define HOST "host.example"

static char *
joined(const struct addrlist *l)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < l->n; i++)
		fprintf(f, "%s%s", i > 0 ? " " : "", l->v[i]);
	fclose(f);
	return text;
}

static void
test_addrlist(void **state)
{
	static const struct {
		const char *in;
		int rv;
		const char *out;
	} cases[] = {
		{ "a@b.example", 0, "a@b.example" },
		{ "a@b.example, c@d.example", 0, "a@b.example c@d.example" },
		{ "Ann B <a@b.example>", 0, "a@b.example" },
		{ "\"B, Ann\" <a@b.example>,\r\n\tc@d.example", 0, "a@b.example c@d.example" },
		{ "a@b.example (Ann (the \\) one), really)", 0, "a@b.example" },
		{ "(x) a (y) @ (z) b.example", 0, "a@b.example" },
		{ "friends: a@b.example, Bob <c@d.example>;, e@f.example", 0, "a@b.example c@d.example e@f.example" },
		{ "undisclosed-recipients:;", 0, "" },
		{ "root", 0, "root@" HOST },
		{ "<@relay.example,@x.example:a@b.example>", 0, "a@b.example" },
		{ "\"odd name\"@b.example", 0, "\"odd name\"@b.example" },
		{ "a@[192.0.2.1]", 0, "a@[192.0.2.1]" },
		{ ",, a@b.example ,,", 0, "a@b.example" },
		{ "", 0, "" },
		{ "Ann <>", -1, "" },
		{ "a@b.example, c@@d", -1, "a@b.example" },
		{ "a@b.example\ninjected: x@y.example", 0, "x@y.example" },
		{ "(never closed a@b.example", 0, "" },
		{ "\"never closed", -1, "" },
		{ "<a@b.example", 0, "a@b.example" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addrlist list = { NULL, 0 };
		const char *err = NULL;
		char *text;

		assert_int_equal(addrlist_parse(cases[i].in, HOST, &list, &err), cases[i].rv);
		text = joined(&list);
		assert_string_equal(text, cases[i].out);
		if (cases[i].rv == -1)
			assert_non_null(err);
		free(text);
		addrlist_clear(&list);
	}
}

/* No input makes it loop or read past the end. */
static void
test_addrlist_bytes(void **state)
{
	static const char alphabet[] = "a@,;:<>()[]\"\\ .";
	char in[7];

	(void)state;
	for (unsigned n = 0; n < 200000; n++) {
		struct addrlist list = { NULL, 0 };
		const char *err;
		unsigned v = n * 2654435761u;

		for (size_t i = 0; i < 6; i++, v /= 15)
			in[i] = alphabet[v % 15];
		in[6] = '\0';
		(void)!addrlist_parse(in, HOST, &list, &err);
		addrlist_clear(&list);
	}
}

static void
test_read(void **state)
{
	static const struct {
		const char *in;
		bool ignore_dots;
		const char *out;
	} cases[] = {
		{ "a\nb\n", false, "a\r\nb\r\n" },
		{ "a\r\nb\r\n", false, "a\r\nb\r\n" },
		{ "a\r\r\nb", false, "a\r\nb\r\n" },
		{ "a\rb\n", false, "a\r\nb\r\n" },
		{ "a\n.\nb\n", false, "a\r\n" },
		{ "a\n.\r\nb\n", false, "a\r\n" },
		{ "a\n.\nb\n", true, "a\r\n.\r\nb\r\n" },
		{ "a\n..\n", false, "a\r\n..\r\n" },
		{ "From ann Mon Nov 23\nSubject: x\n", true, "Subject: x\r\n" },
		{ "", true, "" },
		{ "\n\n", true, "\r\n\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *copy = strdup(cases[i].in);
		FILE *f = fmemopen(copy, strlen(copy) > 0 ? strlen(copy) : 1, "r");
		struct wbuf out;

		if (*copy == '\0')
			(void)fgetc(f);
		wbuf_init(&out);
		assert_int_equal(sendmail_read(f, cases[i].ignore_dots, 0, &out), EX_OK);
		assert_int_equal(out.len, *copy == '\0' ? 0 : strlen(cases[i].out));
		assert_memory_equal(out.p != NULL ? (const char *)out.p : "", cases[i].out, out.len);
		wbuf_clear(&out);
		fclose(f);
		free(copy);
	}
}

static void
test_read_limit(void **state)
{
	char big[5000];
	FILE *f = fmemopen(big, sizeof(big), "r");
	struct wbuf out;

	(void)state;
	memset(big, 'x', sizeof(big));
	wbuf_init(&out);
	assert_int_equal(sendmail_read(f, true, 4000, &out), EX_DATAERR);
	wbuf_clear(&out);
	fclose(f);
}

/* The message after sendmail_headers(), NUL-terminated. */
static char *
headers(struct sendmail *sm, const char *in, int rv)
{
	struct wbuf msg, out;
	char *text;

	wbuf_init(&msg);
	wbuf_init(&out);
	wbuf_raw(&msg, in, strlen(in));
	assert_int_equal(sendmail_headers(sm, HOST, 1790000000000, &msg, &out), rv);
	text = calloc(1, out.len + 1);
	if (out.len > 0)
		memcpy(text, out.p, out.len);
	wbuf_clear(&msg);
	wbuf_clear(&out);
	return text;
}

static void
test_headers_added(void **state)
{
	char sender[] = "ann@" HOST;
	struct sendmail sm = { .sender = sender, .full_name = "Ann \"A\" \nB" };
	char *text = headers(&sm, "Subject: x\r\n\r\nbody\r\n", EX_OK);

	(void)state;
	assert_ptr_equal(strstr(text, "Subject: x\r\nFrom: \"Ann \\\"A\\\" B\" <ann@" HOST ">\r\nDate: "), text);
	assert_non_null(strstr(text, "\r\nMessage-ID: <"));
	assert_non_null(strstr(text, "@" HOST ">\r\n\r\nbody\r\n"));
	free(text);
}

static void
test_headers_kept(void **state)
{
	static const char in[] = "From: a@b.example\r\nDate: Mon, 23 Nov 2026 00:00:00 +0000\r\nMessage-Id: "
	    "<1@x>\r\n\r\nbody\r\n";
	char sender[] = "";
	struct sendmail sm = { .sender = sender };
	char *text = headers(&sm, in, EX_OK);

	(void)state;
	assert_string_equal(text, in);
	free(text);
}

/* A first line that is no header begins the body, and is not lost. */
static void
test_headers_none(void **state)
{
	char sender[] = "";
	struct sendmail sm = { .sender = sender };
	char *text = headers(&sm, "hello there\r\n", EX_OK);

	(void)state;
	assert_ptr_equal(strstr(text, "From: <MAILER-DAEMON@" HOST ">\r\n"), text);
	assert_non_null(strstr(text, ">\r\n\r\nhello there\r\n"));
	free(text);
}

static void
test_take_recipients(void **state)
{
	char sender[] = "ann@" HOST, *text, *list;
	struct sendmail sm = { .sender = sender, .take_recipients = true };

	(void)state;
	text = headers(&sm, "To: a@b.example\r\nBcc: hidden@b.example,\r\n more@b.example\r\nCc: bob\r\n\r\nx\r\n",
	    EX_OK);
	list = joined(&sm.rcpts);
	assert_string_equal(list, "a@b.example hidden@b.example more@b.example bob@" HOST);
	assert_null(strstr(text, "hidden"));
	assert_null(strstr(text, "more@"));
	free(text);
	free(list);
	addrlist_clear(&sm.rcpts);

	text = headers(&sm, "To: a@b.example\r\nResent-To: c@d.example\r\n\r\nx\r\n", EX_OK);
	list = joined(&sm.rcpts);
	assert_string_equal(list, "c@d.example");
	free(text);
	free(list);
	addrlist_clear(&sm.rcpts);

	text = headers(&sm, "To: a@@b\r\n\r\nx\r\n", EX_DATAERR);
	free(text);
	addrlist_clear(&sm.rcpts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_addrlist), cmocka_unit_test(test_addrlist_bytes),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_limit), cmocka_unit_test(test_headers_added),
		cmocka_unit_test(test_headers_kept),
		cmocka_unit_test(test_headers_none), cmocka_unit_test(test_take_recipients) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
