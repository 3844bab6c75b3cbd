/* Header blocks: fields, folding, where the block ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/header.h"

static void
assert_slice(struct slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.base, text, s.len);
}

static void
test_fields(void **state)
{
	static const char block[] = "From: a@b\r\nSubject:  folded\r\n\tvalue \r\nX-Empty:\r\nOld :x\r\nTo:\r\n c\r\n"
				    "\r\nbody: no\r\n";
	struct header_iter iter;
	struct header_field f;
	char text[64];

	(void)state;
	header_iter_init(&iter, block, sizeof(block) - 1);
	assert_true(header_next(&iter, &f));
	assert_slice(f.name, "From");
	assert_slice(f.value, " a@b");
	assert_slice(f.whole, "From: a@b\r\n");
	assert_true(header_next(&iter, &f));
	assert_slice(f.name, "Subject");
	assert_slice(f.value, "  folded\r\n\tvalue ");
	assert_slice(f.whole, "Subject:  folded\r\n\tvalue \r\n");
	assert_int_equal(header_value(&f, text, sizeof(text)), 12);
	assert_string_equal(text, "folded\tvalue");
	assert_true(header_next(&iter, &f));
	assert_slice(f.name, "X-Empty");
	assert_slice(f.value, "");
	assert_int_equal(header_value(&f, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_true(header_next(&iter, &f));
	assert_slice(f.name, "Old");
	assert_slice(f.value, "x");
	assert_true(header_next(&iter, &f));
	assert_slice(f.whole, "To:\r\n c\r\n");
	assert_int_equal(header_value(&f, text, sizeof(text)), 1);
	assert_string_equal(text, "c");
	assert_false(header_next(&iter, &f));
	assert_false(header_next(&iter, &f));
}

static void
test_block_len(void **state)
{
	static const struct {
		const char *msg;
		size_t len;
	} cases[] = {
		{ "A: b\r\n\r\nbody", 8 }, { "A: b\r\n\r\n", 8 }, { "A: b\r\n", 6 }, { "A: b", 4 }, { "A:", 2 }, { "",
		0 },
		{ "\r\nbody", 2 }, { "body text\r\n\r\n", 0 }, { " A: b\r\n\r\n", 0 }, { ": b\r\n\r\n", 0 },
		{ "A: b\r\nbroken line\r\n\r\n", 6 }, { "A: b\r\n c\r\n\td\r\n\r\nx", 16 }, { "A: b\r\n \r\n\r\nx",
		11 },
		{ "A b: c\r\n\r\n", 0 }, { "\xc3\xa4: c\r\n\r\n", 0 }, { "From a@b Mon\r\nA: b\r\n\r\n", 0 },
		{ "A: b\r\n\rx", 6 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (header_block_len(cases[i].msg, strlen(cases[i].msg)) != cases[i].len)
			fail_msg("%s: %zu", cases[i].msg, header_block_len(cases[i].msg, strlen(cases[i].msg)));
}

static void
test_find(void **state)
{
	static const char block[] = "X-Tenant: a\r\nX-Tenants: b\r\nx-tenant: c\r\nX-TENANT : d\r\n\r\nX-Tenant: e\r\n";
	struct header_field f;

	(void)state;
	assert_int_equal(header_count(block, sizeof(block) - 1, "x-Tenant"), 3);
	assert_true(header_find(block, sizeof(block) - 1, "X-TENANT", &f));
	assert_slice(f.value, " a");
	assert_true(header_find(block, sizeof(block) - 1, "X-Tenants", &f));
	assert_slice(f.value, " b");
	assert_false(header_find(block, sizeof(block) - 1, "X-Tenan", &f));
	assert_false(header_find(block, sizeof(block) - 1, "", &f));
	assert_int_equal(header_count("", 0, "X"), 0);
}

static void
test_value_bounds(void **state)
{
	static const char block[] = "A: one\0two\r\n three\r\n";
	struct header_field f;
	char text[32];

	(void)state;
	assert_true(header_find(block, sizeof(block) - 1, "A", &f));
	/* NUL does not hide what follows it. */
	assert_int_equal(header_value(&f, text, sizeof(text)), 13);
	assert_string_equal(text, "one two three");
	for (size_t size = 1; size < sizeof(text); size++) {
		memset(text, 'x', sizeof(text));
		assert_int_equal(header_value(&f, text, size), size - 1 < 13 ? size - 1 : 13);
		assert_int_equal(text[size - 1 < 13 ? size - 1 : 13], '\0');
	}
	assert_int_equal(header_value(&f, text, 0), 0);
}

/* Every truncation and every single changed byte, in blocks of their exact size; the parts always lie within the
 * block. */
static void
check_walk(const char *p, size_t len)
{
	struct header_iter iter;
	struct header_field f;
	size_t total = 0;
	char text[16];

	header_iter_init(&iter, p, len);
	while (header_next(&iter, &f)) {
		assert_ptr_equal(f.whole.base, p + total);
		assert_true(f.whole.len > 0 && f.name.len > 0);
		assert_true(f.value.base >= f.name.base + f.name.len);
		assert_true(f.value.base + f.value.len <= f.whole.base + f.whole.len);
		header_value(&f, text, sizeof(text));
		total += f.whole.len;
	}
	assert_true(total <= len);
	assert_true(header_block_len(p, len) >= total && header_block_len(p, len) <= total + 2);
}

static void
test_damage(void **state)
{
	static const char block[] = "From: a@b\r\nSubject:  folded\r\n\tvalue \r\nX-Empty:\r\nTo:\r\n c\r\n\r\nbody";
	static const char bytes[] = "\0\r\n :\t\xff" "a";

	(void)state;
	for (size_t len = 0; len < sizeof(block); len++) {
		char *exact = malloc(len == 0 ? 1 : len);

		assert_non_null(exact);
		memcpy(exact, block, len);
		check_walk(exact, len);
		for (size_t i = 0; i < len; i++) {
			for (size_t k = 0; k < sizeof(bytes) - 1; k++) {
				exact[i] = bytes[k];
				check_walk(exact, len);
			}
			exact[i] = block[i];
		}
		free(exact);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_block_len),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_value_bounds),
		cmocka_unit_test(test_damage),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
