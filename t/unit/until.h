/* For unit tests of what lives in the loop: runs it until a condition holds, or fails the test after five seconds. */
#ifndef UNIT_UNTIL_H
#define UNIT_UNTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/loop.h"

static inline void
until_tick(void *arg)
{
	loop_stop(arg);
}

/* Turns the loop for about that long. */
static inline void
run_ms(struct loop *l, int64_t ms)
{
	struct timer t;

	timer_init(&t, l, until_tick, l);
	timer_set(&t, ms);
	loop_run(l);
	timer_cancel(&t);
}

#define UNTIL(l, cond)                                                      \
	do {                                                                \
		int64_t until_end = mono_ms() + 5000;                       \
		while (!(cond) && mono_ms() < until_end)                    \
			run_ms((l), 1);                                     \
		assert_true(cond);                                          \
	} while (0)

#endif
