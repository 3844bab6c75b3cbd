/* Numbers, ages, cleaned text and tables of the admin command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "posthorn/human.h"

static void
test_size(void **state)
{
	static const struct {
		int64_t bytes;
		const char *text;
	} cases[] = { { 0, "0" }, { 812, "812" }, { 1023, "1023" }, { 1024, "1.0k" }, { 4200, "4.1k" },
		{ 10240, "10k" },
		{ 17 << 20, "17M" }, { (int64_t)5 << 39, "2.5T" }, { 1048575, "1.0M" }, { INT64_MAX, "8192P" } };
	char text[HUMAN_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		human_size(cases[i].bytes, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void
test_age(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = { { 0, "0ms" }, { 850, "850ms" }, { 42000, "42s" }, { 200000, "3m20s" }, { 18420000, "5h07m" },
		{ 1051200000, "12d4h" }, { -42000, "-42s" }, { INT64_MIN, "-106751991167d7h" } };
	char text[HUMAN_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		human_age(cases[i].ms, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void
test_parse_age(void **state)
{
	static const struct {
		const char *text;
		int rv;
		int64_t ms;
	} cases[] = { { "90", 0, 90000 }, { "90s", 0, 90000 }, { "2h", 0, 7200000 }, { "5d", 0, 432000000 },
		{ "200ms", 0, 200 },
		{ "1w", 0, 604800000 }, { "", -1, 0 }, { "h", -1, 0 }, { "-2h", -1, 0 }, { "2x", -1, 0 },
		{ "2h3", -1, 0 },
		{ "99999999999999999999", -1, 0 }, { "9223372036854775807d", -1, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t ms = 0;

		assert_int_equal(human_parse_age(cases[i].text, &ms), cases[i].rv);
		if (cases[i].rv == 0)
			assert_int_equal(ms, cases[i].ms);
	}
}

static void
test_count(void **state)
{
	char text[HUMAN_TEXT];

	(void)state;
	human_count(1234567, text);
	assert_string_equal(text, "1,234,567");
	human_count(-999, text);
	assert_string_equal(text, "-999");
	human_count(INT64_MIN, text);
	assert_string_equal(text, "-9,223,372,036,854,775,808");
}

/* Nothing that a stranger's reply contains may act on the operator's terminal. */
static void
test_clean(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = { { "plain", "plain" }, { "a\033[2Jb", "a?[2Jb" }, { "a\nb\tc\rd", "a b c?d" },
		{ "gr\303\274n", "gr\303\274n" },
		{ "\xff\xfe.", "??." }, { "x\xc2\x9b" "31m", "x?31m" }, { "u\xe2\x80\xae" "txt", "u?txt" },
		{ "\xed\xa0\x80", "???" },
		{ "cut\xe2\x82", "cut??" }, { "\x7f", "?" } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *out = human_clean(cases[i].in);

		assert_string_equal(out, cases[i].out);
		free(out);
	}
}

static void
test_table(void **state)
{
	static const char *const headings[] = { "NAME", ">N", "LAST", NULL };
	struct table *t = table_new(headings);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	table_cell(t, "gr\303\274n");
	table_cellf(t, "%d", 5);
	table_cell(t, "x");
	table_cell(t, "b");
	table_cellf(t, "%d", 1234);
	table_cell(t, NULL);
	assert_int_equal(table_rows(t), 2);
	table_print(t, f);
	fclose(f);
	assert_string_equal(text, "NAME     N  LAST\n"
				  "gr\303\274n     5  x\n"
				  "b     1234  -\n");
	free(text);
	table_free(&t);
	assert_null(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_size), cmocka_unit_test(test_age),
		cmocka_unit_test(test_parse_age),
		cmocka_unit_test(test_count), cmocka_unit_test(test_clean), cmocka_unit_test(test_table) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
