/* Answers of web servers: what is one, what is not, and that they may come in any pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/http_reply.h"

#define UNUSED __attribute__((unused))
#define MAX 20u
#define OK "HTTP/1.1 200 OK\r\n"

static const struct row {
	const char *text;
	bool is_end; /* it takes the end of the stream */
	const char *body, *type; /* NULL: bad */
	const char *err;
	int status;
} rows[] = {
	{ OK "Content-Type: Text/Plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello", false, "hello",
	    "text/plain", NULL, 200 },
	{ OK "Content-Length: 0\r\n\r\n", false, "", "", NULL, 200 },
	{ "HTTP/1.0 200\nX: y\n\nhello", true, "hello", "", NULL, 200 },
	{ OK "\r\n", true, "", "", NULL, 200 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", false,
	    "hello!", "", NULL, 200 },
	{ "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK "Content-Length: 2\r\n\r\nok", false, "ok", "", NULL, 200 },
	{ "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n", false, NULL, "text/html", NULL, 404 },
	{ "HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", false, NULL, "", NULL, 302 },
	{ OK "Content-Length: 20\r\n\r\n01234567890123456789", false, "01234567890123456789", "", NULL, 200 },
	{ OK "Content-Length: 21\r\n\r\n", false, NULL, NULL, "the answer is too long", 0 },
	{ OK "\r\n012345678901234567890", false, NULL, NULL, "the answer is too long", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n15\r\n", false, NULL, NULL, "the answer is too long", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", false, NULL, NULL, "the answer's chunks are wrong", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", false, NULL, NULL, "the answer's chunks are wrong", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", false,
	    NULL, NULL, "the answer's chunks are wrong", 0 },
	{ OK "Transfer-Encoding: gzip, chunked\r\n\r\n", false,
	    NULL, NULL, "the answer has an unknown Transfer-Encoding", 0 },
	{ OK "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", false,
	    NULL, NULL, "the answer has two lengths", 0 },
	{ OK "Content-Length: 1\r\nContent-Length: 2\r\n", false,
	    NULL, NULL, "the answer's Content-Length is wrong", 0 },
	{ OK "Content-Length: +1\r\n", false, NULL, NULL, "the answer's Content-Length is wrong", 0 },
	{ OK "Content-Encoding: br\r\n", false, NULL, NULL, "the answer is encoded, which nobody asked for", 0 },
	{ OK "no header\r\n", false, NULL, NULL, "the answer has a header line that is none", 0 },
	{ OK "Space : x\r\n", false, NULL, NULL, "the answer has a header line that is none", 0 },
	{ OK " folded: x\r\n", false, NULL, NULL, "the answer has a header line that is none", 0 },
	{ "HTTP/2 200 OK\r\n", false, NULL, NULL, "the answer is not HTTP", 0 },
	{ "220 mx ESMTP\r\n", false, NULL, NULL, "the answer is not HTTP", 0 },
	{ "HTTP/1.1 101 Switching\r\n\r\n", false, NULL, NULL, "the server speaks another protocol", 0 },
	{ OK "Content-Length: 5\r\n\r\nhell", true, NULL, NULL, "the answer ends too soon", 0 },
	{ OK "Content-", true, NULL, NULL, "the answer ends too soon", 0 },
	{ "", true, NULL, NULL, "the answer ends too soon", 0 },
};

static void
look(const struct row *row, enum http_state state, const struct http_reply *r)
{
	if (row->err != NULL) {
		if (state != HTTP_BAD)
			fail_msg("taken: %s", row->text);
		assert_string_equal(r->err, row->err);
		return;
	}
	if (state != HTTP_DONE)
		fail_msg("not taken: %s: %s", row->text, state == HTTP_BAD ? r->err : "more");
	assert_int_equal(r->status, row->status);
	assert_string_equal(r->type, row->type);
	if (row->body == NULL)
		assert_null(r->body);
	else
		assert_string_equal(r->body, row->body);
}

/* Each cut of it wants more, but where the rest does not matter any more. */
static void
test_rows(void **state UNUSED)
{
	struct http_reply r;
	enum http_state s;
	size_t i, n, len;
	char *copy;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		len = strlen(rows[i].text);
		for (n = 0; n <= len; n++) {
			copy = xmalloc(n > 0 ? n : 1);
			memcpy(copy, rows[i].text, n);
			s = http_reply_parse(copy, n, rows[i].is_end && n == len, MAX, &r);
			if (n == len || s == HTTP_DONE)
				look(&rows[i], s, &r);
			else if (s == HTTP_BAD)
				assert_string_equal(r.err, rows[i].err);
			http_reply_clear(&r);
			free(copy);
		}
	}
}

static void
test_bounds(void **state UNUSED)
{
	size_t len = HTTP_HEAD_MAX + 100;
	char *text = xmalloc(len);
	struct http_reply r;

	memset(text, 'x', len);
	assert_int_equal(http_reply_parse(text, len, false, MAX, &r), HTTP_BAD);
	assert_string_equal(r.err, "the answer's header is too long");
	memcpy(text, OK "X: ", sizeof(OK "X: ") - 1);
	assert_int_equal(http_reply_parse(text, len, false, MAX, &r), HTTP_BAD);
	assert_string_equal(r.err, "the answer's header is too long");
	assert_int_equal(http_reply_parse(OK "X: a\0b\r\n", sizeof(OK "X: a\0b\r\n") - 1, false, MAX, &r), HTTP_BAD);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_bounds) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
