/* The recipient token: what we made is known again, nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "token_once.h"

static const struct ql_token_key keys[2] = { { 1, { 1, 2, 3 } }, { 2, { 4, 5, 6 } } };

static struct envid
sample(void)
{
	struct envid env = { .rcpt = 0x1234 };

	msgid_new(&env.msg, 1785000123456);
	return env;
}

static void
test_round_trip(void **state)
{
	struct envid env = sample(), back;
	char text[TOKEN_TEXT];

	(void)state;
	for (int i = 0; i < 200; i++) {
		env = sample();
		env.rcpt = (uint16_t)(i % 3 == 0 ? TOKEN_MANY : i);
		token_once(&keys[i % 2], &env, text);
		assert_int_equal(strlen(text), TOKEN_TEXT - 1);
		assert_int_equal(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
		    TOKEN_TEXT - 1);
		assert_int_equal(token_check(text, keys, 2, &back), 0);
		assert_int_equal(envid_cmp(&env, &back), 0);
	}
}

/* Computed with Python's hmac and base64 modules. */
static void
test_known(void **state)
{
	struct ql_token_key key = { .id = 7 };
	struct envid env = { .rcpt = 513 };
	char text[TOKEN_TEXT];

	(void)state;
	for (int i = 0; i < TOKEN_KEY_LEN; i++)
		key.key[i] = (uint8_t)i;
	for (int i = 0; i < MSGID_LEN; i++)
		env.msg.b[i] = (uint8_t)(0xf0 + i);
	token_once(&key, &env, text);
	assert_string_equal(text, "AQfw8fLz9PX29_j5-vv8_f7_AgFUM7Dk-QTYidE_");
}

static void
test_forged(void **state)
{
	struct envid env = sample(), back;
	char text[TOKEN_TEXT], wrong[TOKEN_TEXT + 1];

	(void)state;
	token_once(&keys[0], &env, text);
	for (size_t i = 0; i < TOKEN_TEXT - 1; i++) {
		static const char bytes[] = "Aa0-_=. \n\xff";

		for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
			memcpy(wrong, text, TOKEN_TEXT);
			if (wrong[i] == bytes[k])
				continue;
			wrong[i] = bytes[k];
			assert_int_equal(token_check(wrong, keys, 2, &back), -1);
		}
		/* Cut. */
		memcpy(wrong, text, TOKEN_TEXT);
		wrong[i] = '\0';
		assert_int_equal(token_check(wrong, keys, 2, &back), -1);
	}
	memcpy(wrong, text, TOKEN_TEXT - 1);
	memcpy(wrong + TOKEN_TEXT - 1, "A", 2);
	assert_int_equal(token_check(wrong, keys, 2, &back), -1);
	/* Another key, no key, and the right id with the wrong secret. */
	assert_int_equal(token_check(text, keys + 1, 1, &back), -1);
	assert_int_equal(token_check(text, keys, 0, &back), -1);
	{
		struct ql_token_key rotated = keys[1];

		rotated.id = 1;
		assert_int_equal(token_check(text, &rotated, 1, &back), -1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_forged),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
