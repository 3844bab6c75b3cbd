/* The MIME reader: what it finds, and what it does with what is no MIME, too much, too deep or cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "base/xalloc.h"

#include "mail/mime.h"

static struct mime
read_text(const char *text)
{
	struct mime m;

	mime_read(&m, text, strlen(text));
	return m;
}

static void
assert_slice(struct slice s, const char *want)
{
	assert_int_equal(s.len, strlen(want));
	assert_memory_equal(s.base, want, s.len);
}

static void
assert_body(const struct mime_part *part, const char *want)
{
	size_t len;
	char *text = mime_body_text(part, 10000, &len);

	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
	free(text);
}

/* With every kind of line end the same. */
static void
test_parts(void **state)
{
	static const char message[] =
	    "From x@y Thu Nov 26\nSubject: =?utf-8?Q?Au=C3=9Fer?=\n =?iso-8859-1?b?SGF1cw==?= x\n"
	    "Content-type: Multipart/Report; report-type=delivery-status;\n boundary=\"a b\"\n\n"
	    "preamble\n--a b\n\nfirst\nline\n--a b \t\nContent-Type: multipart/mixed; boundary=inner\n\n"
	    "--inner\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n"
	    "<p>1 &lt; 2=\n</p>=E9<br>x <a@b.example>\n--inner--\nepilogue\n--a b\n"
	    "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=z\n\n--z\n\nno\n"
	    "--z--\n\n--a b--\nepilogue\n--a b\n";
	static const char *const ends[] = { "\n", "\r\n", "\r" };

	(void)state;
	for (int e = 0; e < 3; e++) {
		char copy[2000], value[40], *p = copy;
		struct mime m;
		char *subject;

		for (const char *q = message; *q != '\0'; q++)
			p = *q == '\n' ? stpcpy(p, ends[e]) : (*p = *q, p + 1);
		mime_read(&m, copy, (size_t)(p - copy));
		assert_false(m.is_cut);
		assert_int_equal(m.n_parts, 5);
		assert_string_equal(m.parts[0].type, "multipart/report");
		assert_true(m.parts[0].is_multipart);
		assert_string_equal(m.parts[1].type, "text/plain");
		assert_slice(m.parts[1].body, "first\nline");
		assert_int_equal(m.parts[1].depth, 1);
		assert_true(m.parts[2].is_multipart);
		assert_int_equal(m.parts[3].depth, 2);
		assert_body(&m.parts[3], "\n1 < 2\n\u00e9\nx <a@b.example>");
		assert_int_equal(mime_find(&m, "message/rfc822", 0), 4);
		assert_slice(m.parts[4].body, "Content-Type: multipart/mixed; boundary=z\n\n--z\n\nno\n--z--\n");
		subject = mime_head_text(&m.head, "subject", 100);
		assert_string_equal(subject, "Au\u00dferHaus x");
		free(subject);
		(void)mime_value(mime_head_find(&m.head, "Content-Type"), copy, sizeof(copy));
		assert_true(mime_param(copy, "report-type", value, sizeof(value)));
		assert_string_equal(value, "delivery-status");
		mime_clear(&m);
	}
}

static void
test_params(void **state)
{
	char out[10];

	(void)state;
	assert_true(mime_param("a/b; x=\"; y=z\" ; Y = \"q\\\"q\";z=", "y", out, sizeof(out)));
	assert_string_equal(out, "q\"q");
	assert_true(mime_param("a/b;z=", "z", out, sizeof(out)));
	assert_string_equal(out, "");
	assert_false(mime_param("a/b;zz=1", "z", out, sizeof(out)));
	assert_false(mime_param("z=1", "z", out, sizeof(out)));
	assert_true(mime_param("a/b;z=123456789012345", "z", out, sizeof(out)));
	assert_string_equal(out, "123456789");
}

static void
test_encodings(void **state)
{
	static const struct {
		const char *encoding, *body, *want;
	} cases[] = {
		{ "base64", "aGVsbG8=", "hello" },
		{ "BASE64", "aGVs\nbG8", "hello" },
		{ "base64", "aGVsb", "hel" },
		{ "base64", "aGVsbA", "hell" },
		{ "base64", "!a!G!V=s", "he" },
		{ "base64", "=", "" },
		{ "base64", "aGVsbG8=aGVsbG8=", "hellohello" },
		{ "base64", "YQ1iDQpjAGQ=", "a\nb\nc d" },
		{ "quoted-printable", "a=20b=\nc=", "a bc" },
		{ "quoted-printable", "a=  \nb=4", "ab=4" },
		{ "quoted-printable", "=zz=C3=A4=E4=", "=zz\u00e4\u00e4" },
		{ "x-unknown", "a=20", "a=20" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[200];
		struct mime m;

		(void)snprintf(text, sizeof(text), "Content-Transfer-Encoding: %s\n\n%s", cases[i].encoding,
		    cases[i].body);
		m = read_text(text);
		assert_body(&m.parts[0], cases[i].want);
		mime_clear(&m);
	}
}

static void
test_odd(void **state)
{
	static const char *const texts[] = { "", "\n", "no header at all", "From ", "a:", ":\n\n", " x: y\n",
		"Content-Type: multipart/mixed; boundary=\n\nx", "Content-Type: multipart/mixed; boundary=b\n\n--b",
		"Content-Type: multipart/mixed; boundary=b\n\n--b--",
		"Content-Type: multipart/mixed; boundary=b\n--b\n--b\n--b" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct mime m = read_text(texts[i]);
		size_t len;

		assert_true(m.n_parts >= 1);
		for (unsigned k = 0; k < m.n_parts; k++)
			free(mime_body_text(&m.parts[k], 100, &len));
		mime_clear(&m);
	}
	{
		static const char nul[] = "Sub\0ject: x\0y\n\nbo\0dy";
		struct mime m;

		mime_read(&m, nul, sizeof(nul) - 1);
		assert_int_equal(m.head.n, 0);
		assert_slice(m.parts[0].body, "Sub ject: x y\n\nbo dy");
		mime_clear(&m);
	}
}

/* Ten thousand levels, and a part for every boundary: the limits hold, and the rest stays text. */
static void
test_limits(void **state)
{
	char *text = xmalloc(8 << 20), *p = text;
	struct mime m;
	size_t len;

	(void)state;
	for (int i = 0; i < 10000; i++)
		p += sprintf(p, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
	mime_read(&m, text, (size_t)(p - text));
	assert_true(m.is_cut);
	assert_int_equal(m.n_parts, MIME_MAX_DEPTH + 1);
	mime_clear(&m);

	p = text + sprintf(text, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < 10000; i++)
		p = stpcpy(p, "--b\n\nx\n");
	mime_read(&m, text, (size_t)(p - text));
	assert_true(m.is_cut);
	assert_int_equal(m.n_parts, MIME_MAX_PARTS);
	mime_clear(&m);

	for (p = text; p < text + (7 << 20);)
		p = stpcpy(p, "a: b\n");
	mime_read(&m, text, (size_t)(p - text));
	assert_true(m.is_cut);
	assert_int_equal(m.len, MIME_MAX_MESSAGE);
	assert_int_equal(m.head.n, MIME_MAX_FIELDS);
	mime_clear(&m);

	/* One "<" after the other is not looked at once for each. */
	p = stpcpy(text, "Content-Type: text/html\n\n");
	memset(p, '<', 4 << 20);
	memcpy(p + (4 << 20) - 100, "@>", 2);
	mime_read(&m, text, 4 << 20);
	free(mime_body_text(&m.parts[0], MIME_MAX_MESSAGE, &len));
	mime_clear(&m);
	free(text);
}

static void
test_clean(void **state)
{
	char *clean = mime_clean(" a\t\r\n b\x1b[2J\xe4\xc2\x85\xe2\x80\xa8z ", 20, 100);

	(void)state;
	assert_string_equal(clean, "a b [2J\u00e4 z");
	free(clean);
	clean = mime_clean("\u00e4\u00e4\u00e4", 6, 5);
	assert_string_equal(clean, "\u00e4\u00e4");
	free(clean);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_encodings),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_clean),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
