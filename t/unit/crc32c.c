/* base/crc32c.h: the vectors of RFC 3720 B.4, and the two implementations against each other and a bitwise third. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"

static uint32_t
crc_bitwise(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0u;

	for (; len > 0; p++, len--) {
		crc ^= *p;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void
test_vectors(void **state)
{
	uint8_t up[32], down[32], zeros[32] = { 0 }, ones[32];
	const struct {
		const void *p;
		size_t len;
		uint32_t want;
	} cases[] = {
		{ "", 0, 0 },
		{ "123456789", 9, 0xe3069283 },
		{ zeros, 32, 0x8a9136aa },
		{ ones, 32, 0x62a8ab43 },
		{ up, 32, 0x46dd794e },
		{ down, 32, 0x113fdb5c },
	};

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (uint8_t i = 0; i < 32; i++) {
		up[i] = i;
		down[i] = (uint8_t)(31 - i);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(crc32c(0, cases[i].p, cases[i].len), cases[i].want);
		assert_int_equal(crc32c_portable(0, cases[i].p, cases[i].len), cases[i].want);
	}
}

static void
test_all_agree(void **state)
{
	uint8_t bytes[300];
	uint32_t seed = 12345;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
	for (size_t start = 0; start < 9; start++)
		for (size_t len = 0; len + start <= sizeof(bytes); len++) {
			uint32_t want = crc_bitwise(bytes + start, len);

			assert_int_equal(crc32c(0, bytes + start, len), want);
			assert_int_equal(crc32c_portable(0, bytes + start, len), want);
		}
}

static void
test_continued(void **state)
{
	static const char text[] = "The quick brown fox jumps over the lazy dog, again and again.";
	uint32_t want = crc32c(0, text, sizeof(text));

	(void)state;
	for (size_t cut = 0; cut <= sizeof(text); cut++) {
		assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, sizeof(text) - cut), want);
		assert_int_equal(crc32c_portable(crc32c(0, text, cut), text + cut, sizeof(text) - cut), want);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_all_agree),
		cmocka_unit_test(test_continued),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
