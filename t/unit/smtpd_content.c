/* smtpd/content.c: the same result for every way to cut the stream; nothing but CRLF.CRLF ends DATA. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/content.h"

#define S(s) s, sizeof(s) - 1

struct data_case {
	const char *name;
	const char *in;
	size_t in_len;
	bool is_normalizing;
	enum content_error error;
	size_t taken;      /* bytes up to and with the end; 0: there is no end */
	const char *head;
	const char *body;
	bool has_8bit, head_has_8bit, has_dots;
};

#define HEAD "A: b\r\n\r\n"
#define ALL 0xffff

static const struct data_case data_cases[] = {
	{ "plain", S(HEAD "x\r\n.\r\n"), false, CONTENT_GOOD, ALL, HEAD, "x\r\n", false, false, false },
	{ "empty message", S(".\r\n"), false, CONTENT_GOOD, ALL, "", "", false, false, false },
	{ "empty body", S(HEAD ".\r\n"), false, CONTENT_GOOD, ALL, HEAD, "", false, false, false },
	{ "header only", S("A: b\r\n.\r\n"), false, CONTENT_GOOD, ALL, "A: b\r\n", "", false, false, false },
	{ "no header", S("hello\r\nyou\r\n.\r\n"), false, CONTENT_GOOD, ALL, "\r\n", "hello\r\nyou\r\n", false, false,
	    false },
	{ "text after fields", S("A: b\r\nhello\r\n.\r\n"), false, CONTENT_GOOD, ALL, "A: b\r\n\r\n", "hello\r\n",
	    false, false, false },
	{ "folded field", S("A: b\r\n c\r\n\r\nx\r\n.\r\n"), false, CONTENT_GOOD, ALL, "A: b\r\n c\r\n\r\n", "x\r\n",
	    false, false,
	    false },
	{ "folding at the top", S(" c\r\nA: b\r\n.\r\n"), false, CONTENT_GOOD, ALL, "\r\n", " c\r\nA: b\r\n", false,
	    false, false },
	{ "stuffed dots", S(HEAD "..\r\n...a\r\n.b\r\n.\r\n"), false, CONTENT_GOOD, ALL, HEAD, ".\r\n..a\r\nb\r\n",
	    false, false, true },
	{ "rest is not taken", S(HEAD "x\r\n.\r\nQUIT\r\n"), false, CONTENT_GOOD, sizeof(HEAD "x\r\n.\r\n") - 1, HEAD,
	    "x\r\n", false,
	    false, false },
	{ "8 bit in the body", S(HEAD "\xc3\xa4\r\n.\r\n"), false, CONTENT_GOOD, ALL, HEAD, "\xc3\xa4\r\n", true, false,
	    false },
	{ "8 bit in the header", S("A: \xc3\xa4\r\n\r\n.\r\n"), false, CONTENT_GOOD, ALL, "A: \xc3\xa4\r\n\r\n", "",
	    true, true, false },
	/* Smuggling: none of these ends the message; the real end does. */
	{ "lf . lf", S(HEAD "x\n.\ny\r\n.\r\n"), false, CONTENT_BARE_LF, ALL, "", "", false, false, false },
	{ "lf . crlf", S(HEAD "x\n.\r\ny\r\n.\r\n"), false, CONTENT_BARE_LF, ALL, "", "", false, false, false },
	{ "cr . cr", S(HEAD "x\r.\ry\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false, false },
	{ "cr . lf", S(HEAD "x\r.\ny\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false, false },
	{ "cr . crlf", S(HEAD "x\r.\r\ny\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false, false },
	{ "lf . cr", S(HEAD "x\n.\ry\r\n.\r\n"), false, CONTENT_BARE_LF, ALL, "", "", false, false, false },
	{ "crlf . lf", S(HEAD "x\r\n.\ny\r\n.\r\n"), false, CONTENT_BARE_LF, ALL, "", "", false, false, false },
	{ "crlf . cr", S(HEAD "x\r\n.\ry\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false, false },
	{ "crlf nul . crlf", S(HEAD "x\r\n\0.\r\ny\r\n.\r\n"), false, CONTENT_HAS_NUL, ALL, "", "", false, false,
	    false },
	{ "crlf . cr crlf", S(HEAD "x\r\n.\r\r\ny\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false,
	    false },
	{ "crcrlf . crcrlf", S(HEAD "x\r\r\n.\r\r\ny\r\n.\r\n"), false, CONTENT_BARE_CR, ALL, "", "", false, false,
	    false },
	{ "normalized lf . lf", S(HEAD "x\n.\ny\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD, "x\r\n\r\ny\r\n", false,
	    false, false },
	{ "normalized lf . crlf", S(HEAD "x\n.\r\ny\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD, "x\r\n\r\ny\r\n", false,
	    false, false },
	{ "normalized crlf . lf", S(HEAD "x\r\n.\ny\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD, "x\r\n\r\ny\r\n", false,
	    false, false },
	{ "normalized cr . cr", S(HEAD "x\r.\ry\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD, "x . y\r\n", false, false,
	    false },
	{ "normalized crlf . cr crlf", S(HEAD "x\r\n.\r\r\ny\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD,
	    "x\r\n \r\ny\r\n", false, false,
	    false },
	{ "normalized header", S("A: b\n\nx\n\r\n.\r\n"), true, CONTENT_GOOD, ALL, HEAD, "x\r\n\r\n", false, false,
	    false },
	{ "nul in normalized", S(HEAD "\0\r\n.\r\n"), true, CONTENT_HAS_NUL, ALL, "", "", false, false, false },
	{ "no end", S(HEAD "x\r\n."), false, CONTENT_GOOD, 0, HEAD, "x\r\n", false, false, false },
	{ "line at the limit", S("A: b\r\n\r\n0123456789012345678901234567890123456789\r\n.\r\n"), false, CONTENT_GOOD,
	    ALL, HEAD,
	    "0123456789012345678901234567890123456789\r\n", false, false, false },
	{ "line over the limit", S("A: b\r\n\r\n01234567890123456789012345678901234567890\r\n.\r\n"), false,
	    CONTENT_LONG_LINE, ALL, "",
	    "", false, false, false },
	{ "header over the limit",
	    S("A: 4567890123456789012345678901234567890\r\nA: 4567890123456789012345678901234567\r\n.\r\n"), false,
	    CONTENT_BIG_HEADER, ALL, "", "", false, false, false }
};

static const struct content_limits limits = { .size = 200, .line = 40, .header = 64 };

static void
check_data(const struct data_case *c, size_t cut, size_t cut2)
{
	struct content_limits l = limits;
	struct content x;
	size_t taken = 0, ends[3] = { cut, cut2, c->in_len }, at = 0, i, used;
	bool is_end = false;

	l.is_normalizing = c->is_normalizing;
	content_init(&x, &l);
	for (i = 0; i < 3 && !is_end; i++) {
		used = content_data(&x, c->in + at, ends[i] - at, &is_end);
		if (!is_end)
			assert_int_equal(used, ends[i] - at);
		at = ends[i];
		taken += used;
	}
	assert_int_equal(is_end, c->taken != 0);
	if (is_end)
		assert_int_equal(taken, c->taken == ALL ? c->in_len : c->taken);
	assert_int_equal(x.error, c->error);
	if (c->error == CONTENT_GOOD) {
		assert_int_equal(x.head.len, strlen(c->head));
		assert_memory_equal(x.head.p, c->head, x.head.len);
		assert_int_equal(x.body.len, strlen(c->body));
		assert_memory_equal(x.body.p, c->body, x.body.len);
		assert_int_equal(x.has_8bit, c->has_8bit);
		assert_int_equal(x.head_has_8bit, c->head_has_8bit);
		assert_int_equal(x.has_dots, c->has_dots);
	}
	content_clear(&x);
}

static void
test_data(void **state)
{
	size_t i, cut, cut2;

	(void)state;
	for (i = 0; i < sizeof data_cases / sizeof data_cases[0]; i++) {
		for (cut = 0; cut <= data_cases[i].in_len; cut++)
			for (cut2 = cut; cut2 <= data_cases[i].in_len; cut2++)
				check_data(&data_cases[i], cut, cut2);
	}
}

static const struct {
	const char *in;
	size_t in_len;
	bool is_normalizing;
	enum content_error error;
	const char *head, *body;
	bool added_eol, has_dots;
} chunk_cases[] = {
	{ S(HEAD "x\r\n"), false, CONTENT_GOOD, HEAD, "x\r\n", false, false },
	{ S(HEAD ".\r\n..\r\nQUIT\r\n"), false, CONTENT_GOOD, HEAD, ".\r\n..\r\nQUIT\r\n", false, true },
	{ S(HEAD "x"), false, CONTENT_GOOD, HEAD, "x\r\n", true, false },
	{ S(HEAD "x\ny\n"), false, CONTENT_GOOD, HEAD, "x\r\ny\r\n", false, false },
	{ S(HEAD "x\n.\ny"), false, CONTENT_GOOD, HEAD, "x\r\n.\r\ny\r\n", true, true },
	{ S(HEAD "x\ry\r\n"), false, CONTENT_BARE_CR, "", "", false, false },
	{ S(HEAD "x\r"), false, CONTENT_BARE_CR, "", "", false, false },
	{ S(HEAD "x\ry\r"), true, CONTENT_GOOD, HEAD, "x y \r\n", true, false },
	{ S(HEAD "x\0y"), true, CONTENT_HAS_NUL, "", "", false, false },
	{ S(""), false, CONTENT_GOOD, "", "", false, false },
	{ S("A: b"), false, CONTENT_GOOD, "A: b\r\n", "", true, false }
};

static void
test_chunks(void **state)
{
	struct content_limits l = limits;
	struct content x;
	size_t i, cut;

	(void)state;
	for (i = 0; i < sizeof chunk_cases / sizeof chunk_cases[0]; i++) {
		for (cut = 0; cut <= chunk_cases[i].in_len; cut++) {
			l.is_normalizing = chunk_cases[i].is_normalizing;
			content_init(&x, &l);
			content_chunk(&x, chunk_cases[i].in, cut);
			content_chunk(&x, chunk_cases[i].in + cut, chunk_cases[i].in_len - cut);
			content_chunks_end(&x);
			assert_int_equal(x.error, chunk_cases[i].error);
			if (x.error == CONTENT_GOOD) {
				assert_int_equal(x.head.len, strlen(chunk_cases[i].head));
				assert_memory_equal(x.head.p, chunk_cases[i].head, x.head.len);
				assert_int_equal(x.body.len, strlen(chunk_cases[i].body));
				assert_memory_equal(x.body.p, chunk_cases[i].body, x.body.len);
				assert_int_equal(x.added_eol, chunk_cases[i].added_eol);
				assert_int_equal(x.has_dots, chunk_cases[i].has_dots);
			}
			content_clear(&x);
		}
	}
}

/* After the size is exceeded nothing is kept, what follows is counted, and the end is found. */
static void
test_too_big(void **state)
{
	struct content x;
	bool is_end = false;
	int i;

	(void)state;
	content_init(&x, &limits);
	content_data(&x, S(HEAD), &is_end);
	for (i = 0; i < 1000; i++)
		content_data(&x, S("0123456789\r\n"), &is_end);
	assert_int_equal(x.error, CONTENT_TOO_BIG);
	assert_int_equal(x.body.len, 0);
	assert_true(x.discarded > 11000 && x.discarded < 12000);
	assert_false(is_end);
	content_data(&x, S(".\r\n"), &is_end);
	assert_true(is_end);
	assert_string_equal(content_error_reply(x.error), "552 5.3.4 Message is too big");
	content_clear(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_too_big)
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
