/* Message ids: order, text, time; UUIDs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mail/msgid.h"

static void
test_strictly_increasing(void **state)
{
	struct msgid last, id;
	int64_t now = 1785000123456;

	(void)state;
	msgid_new(&last, now);
	assert_int_equal(msgid_time(&last), now);
	/* More in one millisecond than the sequence holds, then a clock that steps back. */
	for (int i = 0; i < 200000; i++) {
		msgid_new(&id, i < 100000 ? now : now - 5000);
		if (msgid_cmp(&last, &id) >= 0)
			fail_msg("id %d is not greater than the one before", i);
		last = id;
	}
	assert_true(msgid_time(&last) <= now + 4);
	msgid_new(&id, now + 60000);
	assert_int_equal(msgid_time(&id), now + 60000);
}

static void
test_random_part_differs(void **state)
{
	struct msgid a, b;

	(void)state;
	msgid_new(&a, 1);
	msgid_new(&b, 1);
	assert_memory_not_equal(a.b + 8, b.b + 8, 8);
}

static void
test_text(void **state)
{
	struct msgid id, back;
	char hex[MSGID_HEX];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		msgid_new(&id, 1785000123456 + i);
		msgid_hex(&id, hex);
		assert_int_equal(strlen(hex), 32);
		assert_int_equal(msgid_parse(hex, &back), 0);
		assert_int_equal(msgid_cmp(&id, &back), 0);
	}
	assert_int_equal(msgid_parse("000102030405060708090A0b0c0d0e0f", &back), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(back.b[i], i);
	msgid_hex(&back, hex);
	assert_string_equal(hex, "000102030405060708090a0b0c0d0e0f");
}

static void
test_bad_text(void **state)
{
	static const char *const bad[] = {
		"", "0", "..", "../../etc/passwd", "000102030405060708090a0b0c0d0e0",
		"000102030405060708090a0b0c0d0e0f0",
		"000102030405060708090a0b0c0d0e0g", "000102030405060708090a0b0c0d0e0f ",
		" 00102030405060708090a0b0c0d0e0f",
		"-00102030405060708090a0b0c0d0e0f", "0x0102030405060708090a0b0c0d0e0f",
	};
	struct msgid id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (msgid_parse(bad[i], &id) != -1)
			fail_msg("accepted: %s", bad[i]);
}

static void
test_uuid(void **state)
{
	char a[37], b[37];

	(void)state;
	uuid_new(a);
	uuid_new(b);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(strspn(a, "0123456789abcdef-"), 36);
	for (int i = 0; i < 36; i++)
		assert_int_equal(a[i] == '-', i == 8 || i == 13 || i == 18 || i == 23);
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strictly_increasing),
		cmocka_unit_test(test_random_part_differs),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_bad_text),
		cmocka_unit_test(test_uuid),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
