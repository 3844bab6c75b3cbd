/* base/wire.h: round trip, truncation at every byte, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"

static void
write_all(struct wbuf *w)
{
	wbuf_u8(w, 0xfe);
	wbuf_u16(w, 0x1234);
	wbuf_u32(w, 0xdeadbeef);
	wbuf_u64(w, 0x0123456789abcdefULL);
	wbuf_raw(w, "raw", 3);
	wbuf_bytes(w, "a\0b", 3);
	wbuf_str(w, "text");
	wbuf_str(w, NULL);
}

static void
test_round_trip(void **state)
{
	struct wbuf w;
	struct rbuf r;
	struct slice s;
	char raw[3], *text, *empty;

	(void)state;
	wbuf_init(&w);
	write_all(&w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(rbuf_u8(&r), 0xfe);
	assert_int_equal(rbuf_u16(&r), 0x1234);
	assert_int_equal(rbuf_u32(&r), 0xdeadbeef);
	assert_true(rbuf_u64(&r) == 0x0123456789abcdefULL);
	rbuf_raw(&r, raw, 3);
	assert_memory_equal(raw, "raw", 3);
	s = rbuf_bytes(&r, 3);
	assert_int_equal(s.len, 3);
	assert_memory_equal(s.base, "a\0b", 3);
	assert_false(rbuf_done(&r));
	text = rbuf_strdup(&r, 4);
	assert_string_equal(text, "text");
	empty = rbuf_strdup(&r, 0);
	assert_string_equal(empty, "");
	assert_true(rbuf_done(&r));
	assert_int_equal(rbuf_left(&r), 0);
	free(text);
	free(empty);
	wbuf_clear(&w);
}

static void
test_big_endian(void **state)
{
	static const uint8_t want[] = { 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'x' };
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	wbuf_u16(&w, 0x1234);
	wbuf_u32(&w, 0xdeadbeef);
	wbuf_u64(&w, 1);
	wbuf_bytes(&w, "x", 1);
	assert_int_equal(w.len, sizeof(want));
	assert_memory_equal(w.p, want, sizeof(want));
	wbuf_reset(&w);
	assert_int_equal(w.len, 0);
	assert_true(w.cap > 0);
	wbuf_clear(&w);
	assert_null(w.p);
}

/* Reads everything that write_all() wrote; each cut must end as bad, with zeros and without a byte beyond the end. */
static void
test_truncation(void **state)
{
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	write_all(&w);
	for (size_t cut = 0; cut < w.len; cut++) {
		uint8_t *copy = malloc(cut == 0 ? 1 : cut); /* exact: the sanitizer sees a byte too many */
		struct rbuf r;
		char raw[3], *text;

		memcpy(copy, w.p, cut);
		rbuf_init(&r, copy, cut);
		rbuf_u8(&r);
		rbuf_u16(&r);
		rbuf_u32(&r);
		rbuf_u64(&r);
		rbuf_raw(&r, raw, sizeof(raw));
		rbuf_bytes(&r, 100);
		text = rbuf_strdup(&r, 100);
		free(text);
		text = rbuf_strdup(&r, 100);
		assert_string_equal(text, "");
		free(text);
		assert_true(r.bad);
		assert_false(rbuf_done(&r));
		assert_int_equal(rbuf_u32(&r), 0);
		assert_int_equal(rbuf_left(&r), 0);
		free(copy);
	}
	wbuf_clear(&w);
}

static void
test_limits(void **state)
{
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 'x' };
	struct wbuf w;
	struct rbuf r;
	char *text;

	(void)state;
	wbuf_init(&w);
	wbuf_str(&w, "12345");
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(rbuf_bytes(&r, 4).len, 0);
	assert_true(r.bad);

	wbuf_reset(&w);
	wbuf_bytes(&w, "a\0b", 3);
	rbuf_init(&r, w.p, w.len);
	text = rbuf_strdup(&r, 10);
	assert_string_equal(text, "");
	assert_true(r.bad);
	free(text);

	rbuf_init(&r, huge, sizeof(huge));
	assert_int_equal(rbuf_bytes(&r, SIZE_MAX).len, 0);
	assert_true(r.bad);

	rbuf_init(&r, NULL, 0);
	assert_true(rbuf_done(&r));
	rbuf_u8(&r);
	assert_false(rbuf_done(&r));
	wbuf_clear(&w);
}

static void
test_growth(void **state)
{
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	for (unsigned i = 0; i < 100000; i++)
		wbuf_u8(&w, (uint8_t)i);
	assert_int_equal(w.len, 100000);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(w.p[i], (uint8_t)i);
	wbuf_reserve(&w, 1 << 20);
	assert_true(w.cap - w.len >= 1 << 20);
	wbuf_clear(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_big_endian),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_growth),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
