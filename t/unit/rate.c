/* mail/rate.h: texts and their mistakes; what a bucket lets pass over time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/rate.h"

#define SECOND 1000000000ll

static void
test_texts(void **state)
{
	static const struct {
		const char *text;
		enum rate_default def;
		int64_t quantity, period, burst;
		const char *shown;
	} good[] = {
		{ "100/s", RATE_PACED, 100, 1000, 100, "100/s" },
		{ "2000/h", RATE_PACED, 2000, 3600000, 1, "2000/h" },
		{ "600/min", RATE_PACED, 600, 60000, 10, "600/min" },
		{ "10/5min", RATE_PACED, 10, 300000, 1, "10/5min" },
		{ "2/day", RATE_BUDGET, 2, 86400000, 2, "2/d" },
		{ "2/day,max_burst=1", RATE_BUDGET, 2, 86400000, 1, "2/d,max_burst=1" },
		{ "500/minute,max_burst=500", RATE_PACED, 500, 60000, 500, "500/min,max_burst=500" },
		{ "local:7/hr", RATE_PACED, 7, 3600000, 1, "7/h" },
	};
	static const char *const bad[] = { "", "100", "/s", "100/", "100/fortnight", "-1/s", "1.5/s", "0/s", "10/0s",
		"10/s,", "10/s,burst=3", "10/s,max_burst=", "10/s,max_burst=0", "10/s,max_burst=3 ", "99999999999/s",
		"10/s/s", "10/200d", "ten/s" };
	char out[RATE_TEXT];
	struct rate r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(rate_parse(good[i].text, good[i].def, &r));
		assert_int_equal(r.quantity, good[i].quantity);
		assert_int_equal(r.period, good[i].period);
		assert_int_equal(r.burst, good[i].burst);
		assert_string_equal(rate_format(&r, good[i].def, out), good[i].shown);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r.quantity = 4711;
		assert_non_null(rate_parse(bad[i], RATE_PACED, &r));
		assert_int_equal(r.quantity, 4711);
	}
}

/* How many pass from `from` to `to` when somebody always wants to. */
static int64_t
pass(const struct rate *r, int64_t *tat, int64_t from, int64_t to)
{
	int64_t n = 0, now = from, wait;

	while (now < to) {
		if ((wait = rate_wait(r, *tat, now, 1)) > 0) {
			now += wait;
			continue;
		}
		*tat = rate_take(r, *tat, now, 1);
		n++;
	}
	return n;
}

static void
test_a_minute_holds_what_it_may(void **state)
{
	static const char *const texts[] = { "100/s", "600/min", "2000/h", "7/s", "333/min", "50000/h" };
	int64_t tat, n, due;
	struct rate r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_null(rate_parse(texts[i], RATE_PACED, &r));
		due = r.quantity * 60000 / r.period;
		tat = 0;
		n = pass(&r, &tat, 1000 * SECOND, 1060 * SECOND);
		assert_in_range(n, due, due + r.burst);
		/* The next minute has no burst to spend. */
		n = pass(&r, &tat, 1060 * SECOND, 1120 * SECOND);
		assert_in_range(n, due - 1, due + 1);
	}
}

static void
test_burst_budget_and_return(void **state)
{
	int64_t tat = 0, now = 5 * SECOND;
	struct rate r;

	(void)state;
	assert_null(rate_parse("2/day", RATE_BUDGET, &r));
	tat = rate_take(&r, tat, now, 1);
	assert_int_equal(rate_wait(&r, tat, now, 1), 0);
	tat = rate_take(&r, tat, now, 1);
	assert_int_equal(rate_wait(&r, tat, now, 1), 12 * 3600 * SECOND);
	assert_true(rate_fill(&r, tat, now) == 1);
	tat = rate_give_back(&r, tat, 1);
	assert_int_equal(rate_wait(&r, tat, now, 1), 0);
	assert_int_equal(rate_wait(&r, 0, now, 1000), 0); /* as the burst: else it would wait for ever */
}

/* A clock that was set back, or a neighbour's nonsense: at most one burst of waiting. */
static void
test_absurd_state_is_bounded(void **state)
{
	int64_t now = 1000 * SECOND;
	struct rate r;

	(void)state;
	assert_null(rate_parse("10/s", RATE_PACED, &r));
	assert_in_range(rate_wait(&r, INT64_MAX, now, 1), 1, SECOND);
	assert_in_range(rate_take(&r, INT64_MAX, now, 1), now, now + 2 * SECOND);
	assert_int_equal(rate_wait(&r, INT64_MIN, now, 1), 0);
}

static void
test_strictest(void **state)
{
	struct rate a, b, none = { 0, 0, 0 };

	(void)state;
	assert_null(rate_parse("59/min", RATE_PACED, &a));
	assert_null(rate_parse("1/s", RATE_PACED, &b));
	assert_true(rate_is_stricter(&a, &b));
	assert_false(rate_is_stricter(&b, &a));
	assert_true(rate_is_stricter(&b, &none));
	assert_false(rate_is_stricter(&none, &b));
	assert_null(rate_parse("60/min,max_burst=3", RATE_PACED, &a));
	assert_true(rate_is_stricter(&b, &a));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_a_minute_holds_what_it_may),
		cmocka_unit_test(test_burst_budget_and_return),
		cmocka_unit_test(test_absurd_state_is_bounded),
		cmocka_unit_test(test_strictest),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
