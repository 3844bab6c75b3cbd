/* For targets that run what lives in a loop: one turn of it at a time. */
#ifndef FUZZ_TURN_H
#define FUZZ_TURN_H

#include "base/loop.h"

static inline void
fuzz_turn_over(void *arg)
{
	loop_stop(arg);
}

static inline void
fuzz_turn(struct loop *loop)
{
	struct timer t;

	timer_init(&t, loop, fuzz_turn_over, loop);
	timer_set(&t, 0);
	loop_run(loop);
	timer_cancel(&t);
}

#endif
