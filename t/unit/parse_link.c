/* What the parse role answers, over the link and back: all labelled messages of t/data, some made to reach the limits,
 * and frames cut, bent and made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/parse_link.h"
#include "mail/report_json.h"
#include "t/unit/decoder.h"

#define N_WANTED 2

static const char *const wanted[N_WANTED] = { "X-Posthorn-Ref", "List-Id" };

static void
read_both(struct parse_answer *a, const char *message, size_t len)
{
	memset(a, 0, sizeof(*a));
	a->kinds = PARSE_DSN | PARSE_ARF;
	dsn_parse(&a->dsn, message, len, "", wanted, N_WANTED);
	arf_parse(&a->arf, message, len, wanted, N_WANTED);
}

static char *
text_of(const struct parse_answer *a)
{
	struct json j;
	char *text;

	json_init(&j);
	json_arr(&j, NULL);
	dsn_report_json(&j, NULL, &a->dsn);
	arf_report_json(&j, NULL, &a->arf);
	json_arr_end(&j);
	text = xmemdup0(j.out.p, j.out.len);
	json_clear(&j);
	return text;
}

/* There and back: the same, by what it says and by its octets. Returns these. */
static struct wbuf
there_and_back(const char *message, size_t len)
{
	struct parse_answer a, b;
	struct wbuf first, second;
	char *said, *heard;
	struct rbuf r;

	read_both(&a, message, len);
	wbuf_init(&first);
	wbuf_init(&second);
	parse_answer_encode(&a, &first);
	assert_true(first.len <= PARSE_ANSWER_MAX);
	rbuf_init(&r, first.p, first.len);
	assert_int_equal(parse_answer_decode(&r, wanted, N_WANTED, &b), 0);
	said = text_of(&a);
	heard = text_of(&b);
	assert_string_equal(said, heard);
	free(said);
	free(heard);
	parse_answer_encode(&b, &second);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.p, second.p, first.len);
	parse_answer_clear(&a);
	parse_answer_clear(&b);
	wbuf_clear(&second);
	return first;
}

static char *
file_text(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	char *text;
	long n;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	assert_true((n = ftell(f)) > 0);
	rewind(f);
	text = xmalloc((size_t)n + 1);
	assert_int_equal(fread(text, 1, (size_t)n, f), n);
	text[n] = '\0';
	fclose(f);
	*len = (size_t)n;
	return text;
}

/* The messages of a file of t/data, as they are before 40-arf.t and 40-dsn.t fill in what they quote. */
static unsigned
messages_of(const char *path)
{
	size_t len;
	char *text = file_text(path, &len), *at = text, *next;
	unsigned n = 0;

	while (at != NULL) {
		struct wbuf w;

		at += strcspn(at, "\n");
		next = strstr(at, "\n%%%% ");
		w = there_and_back(at, next == NULL ? strlen(at) : (size_t)(next - at));
		wbuf_clear(&w);
		n++;
		at = next == NULL ? NULL : next + 1;
	}
	free(text);
	return n;
}

static void
test_labelled(void **state)
{
	static const struct {
		const char *path;
		unsigned least;
	} files[] = { { "t/data/arf/known.txt", 15 }, { "t/data/arf/held.txt", 10 }, { "t/data/dsn/prose.txt", 30 },
		{ "t/data/dsn/field.txt", 20 }, { "t/data/dsn/held.txt", 10 }, { "t/data/dsn/automatic.txt", 5 } };

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		assert_true(messages_of(files[i].path) >= files[i].least);
}

static const char complaint[] = "From: a@fbl.example\nContent-Type: multipart/report; boundary=b\n\n--b\n"
    "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\nIncidents: 3\n"
    "Original-Rcpt-To: a@b.example\nReporting-MTA: dns; mx.example\nOther: thing\n\n--b\n"
    "Content-Type: message/rfc822\n\nReceived: from a (a [192.0.2.5]) by b\n\tfor c; Thu, 26 Nov 2026 17:40:36 +0000\n"
    "From: me@example.com\nX-Posthorn-Ref: token\nSubject: \xc3\xa4\nMessage-ID: <1@a>\n\n--b--\n";
static const char bounce[] = "From: mailer-daemon@mx.example\nContent-Type: multipart/report; boundary=b\n\n--b\n"
    "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@b.example\n"
    "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 nobody\n\n--b\n"
    "Content-Type: message/rfc822\n\nFrom: me@example.com\nX-Posthorn-Ref: token\nMessage-ID: <1@a>\n\n--b--\n";

static int
decode_answer(const uint8_t *p, size_t len)
{
	struct parse_answer a;
	struct rbuf r;

	rbuf_init(&r, p, len);
	if (parse_answer_decode(&r, wanted, N_WANTED, &a) == -1)
		return -1;
	parse_answer_clear(&a);
	return 0;
}

static int
decode_ask(const uint8_t *p, size_t len)
{
	struct parse_asked a;
	struct rbuf r;

	rbuf_init(&r, p, len);
	if (parse_ask_decode(&r, &a) == -1)
		return -1;
	parse_asked_clear(&a);
	return 0;
}

static void
test_hostile_answers(void **state)
{
	static const char *const messages[] = { complaint, bounce };

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct wbuf w = there_and_back(messages[i], strlen(messages[i]));

		decoder_check(decode_answer, w.p, w.len);
		wbuf_clear(&w);
	}
}

/* What no reader would say. */
static void
test_answers_refused(void **state)
{
	struct parse_answer a;
	struct wbuf w;

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		char *own = NULL;

		read_both(&a, complaint, strlen(complaint));
		if (i == 0)
			a.arf.subject[0] = '\n';
		else if (i == 1)
			a.arf.from[0] = (char)0xff;
		else if (i == 2)
			a.arf.headers[3] = '\r';
		else if (i == 3)
			a.arf.shape = NULL;
		else if (i == 4)
			a.arf.recipient_by = NULL;
		else if (i == 5)
			a.dsn.shape = own = xasprintf("%0*d", PARSE_NAME_MAX + 1, 0);
		wbuf_init(&w);
		parse_answer_encode(&a, &w);
		assert_int_equal(decode_answer(w.p, w.len), i == 6 ? 0 : -1);
		wbuf_clear(&w);
		parse_answer_clear(&a);
		free(own);
	}
}

static void
test_questions(void **state)
{
	struct parse_ask ask = { PARSE_ARF, "a@b.example", wanted, N_WANTED, { complaint, sizeof(complaint) - 1 } };
	struct parse_asked got;
	struct wbuf w;
	struct rbuf r;
	char *big;

	(void)state;
	wbuf_init(&w);
	parse_ask_encode(&ask, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(parse_ask_decode(&r, &got), 0);
	assert_int_equal(got.ask.kinds, PARSE_ARF);
	assert_string_equal(got.ask.mail_from, "a@b.example");
	assert_int_equal(got.ask.n_wanted, N_WANTED);
	assert_string_equal(got.ask.wanted[1], wanted[1]);
	assert_int_equal(got.ask.content.len, sizeof(complaint) - 1);
	assert_memory_equal(got.ask.content.base, complaint, sizeof(complaint) - 1);
	parse_asked_clear(&got);
	decoder_check(decode_ask, w.p, w.len);
	/* An unknown sender is not the null sender; what is too long is cut. */
	big = xcalloc(1, PARSE_CONTENT_MAX + 10);
	ask = (struct parse_ask){ .kinds = PARSE_DSN, .content = { big, PARSE_CONTENT_MAX + 10 } };
	wbuf_reset(&w);
	parse_ask_encode(&ask, &w);
	assert_true(w.len <= PARSE_ASK_MAX);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(parse_ask_decode(&r, &got), 0);
	assert_null(got.ask.mail_from);
	assert_int_equal(got.ask.content.len, PARSE_CONTENT_MAX);
	parse_asked_clear(&got);
	free(big);
	wbuf_clear(&w);
}

static void
repeat(struct wbuf *w, const char *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		wbuf_raw(w, text, strlen(text));
}

/* Everything at its limit at once still fits into a frame. */
static void
test_large(void **state)
{
	struct wbuf m, long_text, got;

	(void)state;
	wbuf_init(&m);
	wbuf_init(&long_text);
	repeat(&long_text, "\xe4", 3000); /* Latin-1 becomes twice as long */
	wbuf_u8(&long_text, 0);
	repeat(&m, "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\n"
	    "Feedback-Type: abuse\n", 1);
	for (unsigned i = 0; i < 150; i++) {
		static const char *const names[] = { "Original-Rcpt-To: ", "Reported-URI: ", "Reported-Domain: ",
			"Authentication-Results: ", "Some-Extension: " };

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			repeat(&m, names[k], 1);
			repeat(&m, (const char *)long_text.p, 1);
			repeat(&m, "\n", 1);
		}
	}
	repeat(&m, "\n--b\nContent-Type: message/rfc822\n\n", 1);
	for (unsigned i = 0; i < 100; i++) {
		repeat(&m, "X-Posthorn-Ref: ", 1);
		repeat(&m, (const char *)long_text.p, 3);
		repeat(&m, "\n", 1);
	}
	got = there_and_back((const char *)m.p, m.len);
	assert_true(got.len > 300000);
	wbuf_clear(&got);
	wbuf_reset(&m);
	repeat(&m, "From: mailer-daemon@x\nContent-Type: multipart/report; boundary=b\n\n--b\n"
	    "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n", 1);
	for (unsigned i = 0; i < 600; i++) {
		char *fields = xasprintf("Final-Recipient: rfc822; a%u@b.example\nAction: failed\nStatus: 5.1.1\n"
		    "Diagnostic-Code: smtp; ", i);

		repeat(&m, fields, 1);
		free(fields);
		repeat(&m, (const char *)long_text.p, 1);
		repeat(&m, "\n\n", 1);
	}
	got = there_and_back((const char *)m.p, m.len);
	assert_true(got.len > 300000);
	wbuf_clear(&got);
	wbuf_clear(&m);
	wbuf_clear(&long_text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_labelled),
		cmocka_unit_test(test_hostile_answers),
		cmocka_unit_test(test_answers_refused),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_large),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
