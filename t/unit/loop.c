/* base/loop.h: timers, the clock, the order of steps, signals, the watchdog. Times are compared with generous
 * margins upwards, exact ones downwards (nothing may fire early). */
#include <sys/wait.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct probe {
	struct loop *loop;
	struct timer timer;
	int64_t fired_at;
	unsigned fired;
	int64_t again_ms; /* not 0: set again that often */
	unsigned stop_after;
};

static void
on_probe(void *arg)
{
	struct probe *p = arg;

	p->fired++;
	p->fired_at = mono_ms();
	assert_false(timer_is_set(&p->timer));
	if (p->fired == p->stop_after)
		loop_stop(p->loop);
	else if (p->again_ms > 0)
		timer_set(&p->timer, p->again_ms);
}

static void
probe_init(struct probe *p, struct loop *l)
{
	memset(p, 0, sizeof(*p));
	p->loop = l;
	timer_init(&p->timer, l, on_probe, p);
}

static void
test_timer_order(void **state)
{
	static const int64_t after[] = { 30, 10, 20, 0 };
	struct loop *l = loop_new();
	struct probe p[COUNT(after)];
	int64_t start = mono_ms();

	(void)state;
	for (size_t i = 0; i < COUNT(after); i++) {
		probe_init(&p[i], l);
		timer_set(&p[i].timer, after[i]);
		assert_true(timer_is_set(&p[i].timer));
	}
	p[0].stop_after = 1;
	assert_int_equal(loop_run(l), 0);
	for (size_t i = 0; i < COUNT(after); i++) {
		assert_int_equal(p[i].fired, 1);
		assert_true(p[i].fired_at - start >= after[i]);
		assert_true(p[i].fired_at - start < after[i] + 2000);
	}
	assert_true(p[3].fired_at <= p[1].fired_at && p[1].fired_at <= p[2].fired_at && p[2].fired_at <= p[0].fired_at);
	loop_free(&l);
	assert_null(l);
}

/* Later: only a number moves. Earlier: it fires earlier. Never before its deadline, and once. */
static void
test_timer_moves(void **state)
{
	struct loop *l = loop_new();
	struct probe later, earlier, cancelled, end;
	int64_t start = mono_ms(), armed;

	(void)state;
	probe_init(&later, l);
	probe_init(&earlier, l);
	probe_init(&cancelled, l);
	probe_init(&end, l);
	timer_set(&later.timer, 10);
	armed = later.timer.armed;
	timer_set(&later.timer, 60);
	assert_true(later.timer.armed == armed);
	timer_set(&later.timer, 50);
	assert_true(later.timer.armed == armed);
	timer_set(&earlier.timer, 100000);
	timer_set(&earlier.timer, 20);
	timer_set(&cancelled.timer, 10);
	timer_cancel(&cancelled.timer);
	timer_cancel(&cancelled.timer);
	assert_false(timer_is_set(&cancelled.timer));
	timer_set(&end.timer, 120);
	end.stop_after = 1;
	assert_int_equal(loop_run(l), 0);
	assert_int_equal(later.fired, 1);
	assert_true(later.fired_at - start >= 50);
	assert_int_equal(earlier.fired, 1);
	assert_true(earlier.fired_at - start >= 20 && earlier.fired_at < end.fired_at);
	assert_int_equal(cancelled.fired, 0);
	loop_free(&l);
}

static void
test_timer_repeats(void **state)
{
	struct loop *l = loop_new();
	struct probe p;
	int64_t start = mono_ms();

	(void)state;
	probe_init(&p, l);
	p.again_ms = 5;
	p.stop_after = 6;
	timer_set(&p.timer, 5);
	assert_int_equal(loop_run(l), 0);
	assert_int_equal(p.fired, 6);
	assert_true(p.fired_at - start >= 30);
	/* A cancelled one may be set again. */
	timer_set(&p.timer, 1);
	timer_cancel(&p.timer);
	timer_set(&p.timer, 1);
	p.stop_after = 7;
	assert_int_equal(loop_run(l), 0);
	assert_int_equal(p.fired, 7);
	loop_free(&l);
}

struct owned {
	struct loop *loop;
	struct timer timer;
};

static void
on_owned(void *arg)
{
	struct owned *o = arg;
	struct loop *l = o->loop;

	timer_cancel(&o->timer);
	free(o);
	loop_stop(l);
}

static void
test_freed_in_callback(void **state)
{
	struct loop *l = loop_new();
	struct owned *o = calloc(1, sizeof(*o));

	(void)state;
	o->loop = l;
	timer_init(&o->timer, l, on_owned, o);
	timer_set(&o->timer, 1);
	assert_int_equal(loop_run(l), 0);
	loop_free(&l);
}

/* The clock stands still inside a turn, and moves from one to the next. */
static void
on_clock(void *arg)
{
	struct probe *p = arg;
	int64_t now = loop_now(p->loop), wall = loop_wall(p->loop), real = mono_ms();

	assert_true(now <= real && real - now < 1000);
	usleep(15000);
	assert_true(loop_now(p->loop) == now);
	assert_true(loop_wall(p->loop) == wall);
	if (p->fired++ > 0) {
		assert_true(now - p->fired_at >= 15);
		loop_stop(p->loop);
	}
	p->fired_at = now;
	timer_set(&p->timer, 0);
}

static void
test_clock(void **state)
{
	struct loop *l = loop_new();
	struct probe p;
	int64_t before;

	(void)state;
	probe_init(&p, l);
	timer_init(&p.timer, l, on_clock, &p);
	before = loop_now(l);
	usleep(10000);
	assert_true(loop_now(l) - before >= 10); /* not cached outside of the loop */
	timer_set(&p.timer, 0);
	assert_int_equal(loop_run(l), 0);
	assert_int_equal(p.fired, 2);
	before = mono_us();
	assert_true(mono_us() >= before);
	assert_true(wall_ms() > 1700000000000LL);
	timer_cancel(&p.timer);
	loop_free(&l);
}

struct steps {
	struct loop *loop;
	char trace[64];
	size_t n;
	unsigned turns;
};

#define STEP(name, letter)                                 \
	static void name(void *arg)                        \
	{                                                  \
		struct steps *s = arg;                     \
		if (s->n < sizeof(s->trace) - 1)           \
			s->trace[s->n++] = letter;         \
	}
STEP(step_commit, 'c')
STEP(step_commit2, 'C')
STEP(step_log, 'l')
STEP(step_ipc, 'i')
STEP(step_output, 'o')

static void
step_reap(void *arg)
{
	struct steps *s = arg;

	s->trace[s->n++] = 'r';
	if (++s->turns == 3)
		loop_stop(s->loop);
	else
		loop_again(s->loop); /* without it this loop, which has no event, would wait for ever */
}

static void
test_steps(void **state)
{
	struct steps s = { .loop = loop_new() };
	int64_t start = mono_ms();

	(void)state;
	loop_before_sleep(s.loop, LOOP_REAP, step_reap, &s);
	loop_before_sleep(s.loop, LOOP_OUTPUT, step_output, &s);
	loop_before_sleep(s.loop, LOOP_COMMIT, step_commit, &s);
	loop_before_sleep(s.loop, LOOP_IPC, step_ipc, &s);
	loop_before_sleep(s.loop, LOOP_COMMIT, step_commit2, &s);
	loop_before_sleep(s.loop, LOOP_LOG, step_log, &s);
	assert_int_equal(loop_run(s.loop), 0);
	assert_string_equal(s.trace, "cCliorcCliorcClior");
	assert_true(mono_ms() - start < 2000);
	loop_free(&s.loop);
}

static void
note_and_stop(void *arg)
{
	struct steps *s = arg;

	s->turns = (unsigned)s->n;
	loop_stop(s->loop);
}

/* What a callback that stops the loop has queued is still carried out. */
static void
test_steps_after_stop(void **state)
{
	struct steps s = { .loop = loop_new() };
	struct timer t;

	(void)state;
	loop_before_sleep(s.loop, LOOP_OUTPUT, step_output, &s);
	timer_init(&t, s.loop, note_and_stop, &s);
	timer_set(&t, 5);
	assert_int_equal(loop_run(s.loop), 0);
	assert_true(s.turns > 0);
	assert_int_equal(s.n, s.turns + 1);
	loop_free(&s.loop);
}

static void
on_usr1(void *arg)
{
	struct steps *s = arg;

	s->n++;
	loop_stop(s->loop);
}

static void
on_raise(void *arg)
{
	(void)arg;
	raise(SIGPIPE); /* must be ignored */
	raise(SIGUSR1);
}

static void
test_signals(void **state)
{
	struct steps s = { .loop = loop_new() };
	struct timer t;

	(void)state;
	loop_signal(s.loop, SIGUSR1, on_usr1, &s);
	timer_init(&t, s.loop, on_raise, NULL);
	timer_set(&t, 1);
	assert_int_equal(loop_run(s.loop), 0);
	assert_int_equal(s.n, 1);
	loop_free(&s.loop);
}

static void *
attach_make(struct loop *l)
{
	(void)l;
	return calloc(1, 8);
}

static void
test_attached(void **state)
{
	static const int key_a, key_b;
	struct loop *l = loop_new();
	void *a = loop_attached(l, &key_a, attach_make, free), *b = loop_attached(l, &key_b, attach_make, free);

	(void)state;
	assert_non_null(a);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(loop_attached(l, &key_a, attach_make, free), a);
	loop_free(&l);
}

static void
hang(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void
stop_it(void *arg)
{
	loop_stop(arg);
}

/* A child with a watchdog of one second whose timer calls fn; blocked and ignored SIGALRM are inherited, and must
 * not matter. */
static int
watched_child(loop_fn *fn, int64_t after_ms)
{
	pid_t pid;
	int status;

	if ((pid = fork()) == 0) {
		struct loop *l;
		struct timer t;
		sigset_t set;

		signal(SIGALRM, SIG_IGN);
		sigemptyset(&set);
		sigaddset(&set, SIGALRM);
		sigprocmask(SIG_BLOCK, &set, NULL);
		l = loop_new();
		loop_watchdog(l, 1);
		timer_init(&t, l, fn, l);
		timer_set(&t, after_ms);
		loop_run(l);
		loop_free(&l);
		usleep(1200000); /* freed: no alarm is left */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
test_watchdog(void **state)
{
	int status = watched_child(hang, 10);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGALRM);
	status = watched_child(stop_it, 2500);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
burn(int64_t ms)
{
	int64_t end = mono_ms() + ms;

	while (mono_ms() < end)
		;
}

static void
hog(void *arg)
{
	(void)arg;
	for (;;)
		burn(1000);
}

static void
wait_long(void *arg)
{
	usleep(2500000);
	loop_stop(arg);
}

/* Much work in one callback, in pieces. */
static void
work_on(void *arg)
{
	for (int i = 0; i < 25; i++) {
		loop_progress();
		burn(100);
	}
	loop_stop(arg);
}

/* The child is stopped for stop_ms soon after its start. */
static int
cpu_watched_child(loop_fn *fn, unsigned seconds, unsigned cpu_seconds, int64_t after_ms, unsigned stop_ms)
{
	pid_t pid;
	int status;

	if ((pid = fork()) == 0) {
		struct loop *l = loop_new();
		struct timer t;

		signal(SIGPROF, SIG_IGN);
		loop_watchdog(l, seconds);
		loop_watchdog_cpu(l, cpu_seconds);
		timer_init(&t, l, fn, l);
		timer_set(&t, after_ms);
		loop_run(l);
		loop_free(&l);
		_exit(0);
	}
	if (stop_ms > 0) {
		usleep(100000);
		kill(pid, SIGSTOP);
		usleep(stop_ms * 1000);
		kill(pid, SIGCONT);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* What uses the CPU without an end is ended soon; what waits for a disk, works in pieces or was stopped is not. */
static void
test_watchdog_cpu(void **state)
{
	static const struct {
		loop_fn *fn;
		unsigned seconds;
		int64_t after_ms;
		unsigned stop_ms;
		int signo;
	} cases[] = {
		{ hog, 60, 10, 0, SIGPROF },
		{ wait_long, 60, 10, 0, 0 },
		{ work_on, 60, 10, 0, 0 },
		{ stop_it, 1, 1800, 1500, 0 },
		{ hang, 1, 10, 0, SIGALRM }
	};
	int status;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		status = cpu_watched_child(cases[i].fn, cases[i].seconds, 1, cases[i].after_ms, cases[i].stop_ms);
		if (cases[i].signo != 0) {
			assert_true(WIFSIGNALED(status));
			assert_int_equal(WTERMSIG(status), cases[i].signo);
		} else {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_order),
		cmocka_unit_test(test_timer_moves),
		cmocka_unit_test(test_timer_repeats),
		cmocka_unit_test(test_freed_in_callback),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_steps_after_stop),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_attached),
		cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_watchdog_cpu),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
