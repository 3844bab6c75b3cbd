/* base/json.h and base/timefmt.h: structure, escapes, limits; the output is read back with jansson. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/timefmt.h"
#include "base/utf8.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
assert_output(struct json *j, const char *want)
{
	wbuf_u8(&j->out, 0);
	assert_string_equal((char *)j->out.p, want);
}

static void
test_structure(void **state)
{
	struct json j;

	(void)state;
	json_init(&j);
	json_obj(&j, NULL);
	json_str(&j, "a", "x");
	json_int(&j, "min", INT64_MIN);
	json_int(&j, "max", INT64_MAX);
	json_int(&j, "zero", 0);
	json_bool(&j, "t", true);
	json_bool(&j, "f", false);
	json_none(&j, "n");
	json_str(&j, "null", NULL);
	json_arr(&j, "v");
	json_int(&j, NULL, 1);
	json_obj(&j, NULL);
	json_obj_end(&j);
	json_arr(&j, NULL);
	json_arr_end(&j);
	json_arr_end(&j);
	json_obj(&j, "o");
	json_str(&j, "k\"", "");
	json_obj_end(&j);
	json_time(&j, "at", 1795469580123LL);
	json_obj_end(&j);
	assert_output(&j,
	    "{\"a\":\"x\",\"min\":-9223372036854775808,\"max\":9223372036854775807,\"zero\":0,\"t\":true,\"f\":false,"
	    "\"n\":null,\"null\":null,\"v\":[1,{},[]],\"o\":{\"k\\\"\":\"\"},\"at\":\"2026-11-23T21:33:00.123Z\"}");
	json_reset(&j);
	json_str(&j, NULL, "again");
	assert_output(&j, "\"again\"");
	json_clear(&j);
}

static void
test_escapes(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "plain", "plain" }, { "quote\" back\\slash /", "quote\\\" back\\\\slash /" },
		{ "\n\r\t\b\f\x01\x1f\x7f", "\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\\u007f" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xe2\x82\xac \xf0\x9f\x93\xae", "\xe2\x82\xac \xf0\x9f\x93\xae" },
		{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xa7", "\\u2028\\u2029\xe2\x80\xa7" },
		{ "\xc2\x9b[31m", "\\u009b[31m" }, { "\xc2\xa0", "\xc2\xa0" },
		{ "\x80", "\\u0080" }, { "\xc0\x80", "\\u00c0\\u0080" }, { "\xe0\x80\xaf", "\\u00e0\\u0080\\u00af" },
		{ "\xed\xa0\x80", "\\u00ed\\u00a0\\u0080" }, { "\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080" },
		{ "\xff\xfe", "\\u00ff\\u00fe" }, { "cut\xe2\x82", "cut\\u00e2\\u0082" }, { "\xf5\x80\x80\x80",
		    "\\u00f5\\u0080\\u0080\\u0080" },
		{ "eight888eight888\"", "eight888eight888\\\"" }, { "1234567\n", "1234567\\n" },
		{ "12345678\n", "12345678\\n" },
	};
	struct json j;

	(void)state;
	json_init(&j);
	for (size_t i = 0; i < COUNT(cases); i++) {
		char want[128];

		snprintf(want, sizeof(want), "\"%s\"", cases[i].want);
		json_reset(&j);
		json_str(&j, NULL, cases[i].in);
		assert_output(&j, want);
	}
	json_clear(&j);
}

/* Every byte at every place of a word, alone among plain ones: valid JSON for a strict reader, nothing raw that must
 * not be. */
static void
test_every_byte(void **state)
{
	struct json j;

	(void)state;
	json_init(&j);
	for (unsigned byte = 0; byte < 256; byte++)
		for (size_t at = 0; at < 17; at++) {
			char in[17];
			json_t *v;

			memset(in, 'a', sizeof(in));
			in[at] = (char)byte;
			json_reset(&j);
			json_slice(&j, NULL, (struct slice){ in, sizeof(in) }, sizeof(in));
			v = json_loadb((char *)j.out.p, j.out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
			assert_non_null(v);
			if (byte < 0x80) {
				assert_int_equal(json_string_length(v), sizeof(in));
				assert_memory_equal(json_string_value(v), in, sizeof(in));
			}
			for (size_t i = 0; i < j.out.len; i++)
				assert_true(j.out.p[i] >= 0x20 && j.out.p[i] < 0x7f);
			json_decref(v);
		}
	json_clear(&j);
}

static void
test_slice_max(void **state)
{
	static const struct {
		const char *in;
		size_t max;
		const char *want;
	} cases[] = {
		{ "abcdef", 3, "abc" }, { "abc", 3, "abc" }, { "abc", 0, "" }, { "a\xc3\xbc", 2, "a" },
		{ "a\xc3\xbc", 3, "a\xc3\xbc" },
		{ "\xf0\x9f\x93\xae", 3, "" }, { "x\xf0\x9f\x93\xaey", 5, "x\xf0\x9f\x93\xae" },
		{ "x\xf0\x9f\x93\xaey", 4, "x" },
		{ "\x80\x80\x80\x80\x80", 3, "\\u0080\\u0080\\u0080" }, { "\xc3\xbc\xc3\xbc", 2, "\xc3\xbc" },
	};
	struct json j;

	(void)state;
	json_init(&j);
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t len = strlen(cases[i].in);
		char *copy = malloc(len), want[64];

		memcpy(copy, cases[i].in, len);
		snprintf(want, sizeof(want), "\"%s\"", cases[i].want);
		json_reset(&j);
		json_slice(&j, NULL, (struct slice){ copy, len }, cases[i].max);
		assert_output(&j, want);
		free(copy);
	}
	json_clear(&j);
}

static void
test_time(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
		unsigned weekday;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00.000Z", 4 }, { -1, "1969-12-31T23:59:59.999Z", 3 },
		{ 951782400000LL, "2000-02-29T00:00:00.000Z", 2 }, { 4107542399999LL, "2100-02-28T23:59:59.999Z", 0 },
		{ 4107542400000LL, "2100-03-01T00:00:00.000Z", 1 }, { 1795469580123LL, "2026-11-23T21:33:00.123Z", 1 },
		{ 1709251199001LL, "2024-02-29T23:59:59.001Z", 4 },
		{ 253402300799999LL, "9999-12-31T23:59:59.999Z", 5 },
		{ INT64_MAX, "9999-12-31T23:59:59.999Z", 5 }, { INT64_MIN, "0000-01-01T00:00:00.000Z", 6 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[TIME_RFC3339_LEN + 1];
		struct civil c;

		time_rfc3339(cases[i].ms, text);
		assert_string_equal(text, cases[i].want);
		time_civil(cases[i].ms, &c);
		assert_int_equal(c.weekday, cases[i].weekday);
	}
}

/* All code points, written by the definition, and what is one off. */
static void
test_utf8(void **state)
{
	(void)state;
	for (uint32_t c = 0; c <= 0x110000; c++) {
		uint8_t b[4];
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);

		for (size_t i = n; i > 1; i--)
			b[i - 1] = (uint8_t)(0x80 | (c >> 6 * (n - i) & 0x3f));
		b[0] = n == 1 ? (uint8_t)c : (uint8_t)((0xf00 >> n & 0xff) | c >> 6 * (n - 1));
		if (utf8_seq_len(b, n) != (valid ? n : 0))
			fail_msg("U+%04X", c);
		if (n > 1)
			assert_int_equal(utf8_seq_len(b, n - 1), 0);
	}
	assert_true(utf8_is_valid("a\xc3\xbc", 3));
	assert_true(utf8_is_valid("", 0));
	assert_false(utf8_is_valid("a\xc3", 2));
	assert_false(utf8_is_valid("\xc1\xbf", 2));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_slice_max),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_utf8),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
