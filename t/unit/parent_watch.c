/* A daemon notices that its supervisor is gone, and takes nothing else for that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/parent_watch.h"

struct fixture {
	struct loop *loop;
	unsigned stops;
};

static void
on_stop(void *arg)
{
	struct fixture *f = arg;

	f->stops++;
	loop_stop(f->loop);
}

static void
on_limit(void *arg)
{
	loop_stop(((struct fixture *)arg)->loop);
}

static void
name_fd(int fd)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", fd);
	setenv(PARENT_WATCH_ENV, text, 1);
}

/* Turns the loop until stop() or 50 ms. */
static void
turn(struct fixture *f)
{
	struct timer limit;

	timer_init(&limit, f->loop, on_limit, f);
	timer_set(&limit, 50);
	assert_int_equal(loop_run(f->loop), 0);
	timer_cancel(&limit);
}

static void
test_end_of_file(void **state)
{
	struct fixture f = { loop_new(), 0 };
	struct parent_watch *w;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	name_fd(fds[0]);
	w = parent_watch_new(f.loop, on_stop, &f);
	assert_non_null(w);
	assert_null(getenv(PARENT_WATCH_ENV));
	turn(&f);
	assert_int_equal(f.stops, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	turn(&f);
	assert_int_equal(f.stops, 0);
	close(fds[1]);
	turn(&f);
	assert_int_equal(f.stops, 1);
	turn(&f);
	assert_int_equal(f.stops, 1);
	parent_watch_free(&w);
	assert_null(w);
	loop_free(&f.loop);
}

static void
test_no_watch(void **state)
{
	static const char *const values[] = { "", "x", "-1", "3x", "99999999999999999999", "1048577", "987654" };
	struct fixture f = { loop_new(), 0 };
	FILE *file = tmpfile();

	(void)state;
	unsetenv(PARENT_WATCH_ENV);
	assert_null(parent_watch_new(f.loop, on_stop, &f));
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		setenv(PARENT_WATCH_ENV, values[i], 1);
		assert_null(parent_watch_new(f.loop, on_stop, &f));
		assert_null(getenv(PARENT_WATCH_ENV));
	}
	name_fd(fileno(file)); /* at its end at once, but no pipe */
	assert_null(parent_watch_new(f.loop, on_stop, &f));
	fclose(file);
	loop_free(&f.loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_end_of_file), cmocka_unit_test(test_no_watch) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
