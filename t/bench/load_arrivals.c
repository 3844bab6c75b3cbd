/* When messages are due: at once, or by a schedule of fixed or of exponentially distributed intervals (a Poisson
 * process) that does not wait for replies. What is behind schedule is taken as soon as a connection is free, the oldest
 * first. */
#include <sys/timerfd.h>

#include <err.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "t/bench/load.h"
#include "t/bench/prng.h"

#define SALT_INTERVAL UINT64_C(0x696e74657276616c)

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct arrivals *a = arg;
	uint64_t n;

	(void)what;
	while (read(fd, &n, sizeof(n)) > 0)
		;
	a->fn(a->arg);
}

void
arrivals_init(struct arrivals *a, struct loop *l, loop_fn *fn, void *arg)
{
	a->fn = fn;
	a->arg = arg;
	/* Not the loop's timers: their milliseconds are too coarse beside a latency of tenths of them. */
	if ((a->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) == -1)
		err(1, "load: timerfd_create");
	event_assign(&a->timer, loop_base(l), a->timer_fd, EV_READ | EV_PERSIST, on_timer, a);
	event_add(&a->timer, NULL);
}

static void
schedule_next(struct arrivals *a)
{
	if (a->poisson)
		a->next_due += (int64_t)(-log(1 - prng_unit(a->seed ^ SALT_INTERVAL, a->next)) * 1e6 / a->rate);
	else
		a->next_due = a->start + (int64_t)((double)a->next * 1e6 / a->rate);
}

void
arrivals_start(struct arrivals *a)
{
	a->started = true;
	a->start = a->next_due = mono_us();
}

static bool
take_again(struct arrivals *a, struct arrival *out)
{
	if (a->n_again == 0)
		return false;
	*out = a->again[a->again_first];
	a->again_first = (a->again_first + 1) % a->again_size;
	a->n_again--;
	return true;
}

static bool
take_new(struct arrivals *a, struct arrival *out)
{
	int64_t now;

	if (a->next >= a->messages)
		return false;
	now = mono_us();
	if (a->rate > 0 && a->next_due > now)
		return false;
	out->number = a->next++;
	out->due = a->open_loop ? a->next_due : now;
	if (a->rate > 0)
		schedule_next(a);
	return true;
}

/* New ones and those to be sent again in turn: what is refused for ever must not keep the others from being sent. */
bool
arrivals_take(struct arrivals *a, struct arrival *out)
{
	if (!a->started)
		return false;
	a->turn = !a->turn;
	if (a->turn)
		return take_again(a, out) || take_new(a, out);
	return take_new(a, out) || take_again(a, out);
}

void
arrivals_again(struct arrivals *a, struct arrival m)
{
	if (a->n_again == a->again_size) {
		size_t size = a->again_size == 0 ? 64 : a->again_size * 2;
		struct arrival *v = xcalloc(size, sizeof(*v));

		for (size_t i = 0; i < a->n_again; i++)
			v[i] = a->again[(a->again_first + i) % a->again_size];
		free(a->again);
		a->again = v;
		a->again_size = size;
		a->again_first = 0;
	}
	a->again[(a->again_first + a->n_again++) % a->again_size] = m;
}

void
arrivals_wait(struct arrivals *a)
{
	struct itimerspec when = { .it_interval = { 0, 0 } };

	if (a->started && a->rate > 0 && a->next < a->messages) {
		when.it_value.tv_sec = a->next_due / 1000000;
		when.it_value.tv_nsec = a->next_due % 1000000 * 1000;
	}
	if (timerfd_settime(a->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == -1)
		err(1, "load: timerfd_settime");
}
