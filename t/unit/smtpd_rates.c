/* Users' rates: exact over processes, for what is counted is shared memory; given back when unused; not lost with a
 * process; and never believed further than the user's own rate goes. */
#include <sys/mman.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "smtpd/rates.h"

static char app[] = "app", other[] = "other";

static struct rates *
table(int *fd_r)
{
	struct rates *r;

	*fd_r = rates_make();
	assert_int_not_equal(*fd_r, -1);
	r = rates_new(*fd_r);
	assert_non_null(r);
	return r;
}

/* A period's worth at once, then the pace. */
static void
test_pace(void **state)
{
	struct user u = { .name = app, .rate = 10, .rate_per = 60000 }, v = u, none = { .name = other };
	struct rates *r;
	int fd, i;

	(void)state;
	r = table(&fd);
	v.name = other;
	for (i = 0; i < 10; i++)
		assert_int_equal(rates_take(r, &u, 1000), 0);
	assert_int_equal(rates_take(r, &u, 1000), 6000);
	assert_int_equal(rates_take(r, &u, 4000), 3000);
	assert_int_equal(rates_take(r, &u, 6999), 1);
	assert_int_equal(rates_take(r, &u, 7000), 0);
	assert_int_equal(rates_take(r, &u, 7000), 6000);
	/* Others have their own. */
	assert_int_equal(rates_take(r, &v, 7000), 0);
	for (i = 0; i < 1000; i++)
		assert_int_equal(rates_take(r, &none, 7000), 0);
	/* Unused, it is there again, once. */
	rates_give_back(r, &u);
	assert_int_equal(rates_take(r, &u, 7000), 0);
	assert_int_equal(rates_take(r, &u, 7000), 6000);
	assert_int_equal(rates_take(r, &u, 1000000), 0);
	rates_free(&r);
	close(fd);
}

/* Rates that do not divide their period are not rounded up. */
static void
test_exact(void **state)
{
	static const struct {
		uint64_t n, per;
	} cases[] = { { 7, 1000 }, { 300000, 1000 }, { 2000, 3600000 }, { 999983, 60000 }, { 1, 86400000 } };
	char name[16];
	struct user u = { .name = name };
	struct rates *r;
	uint64_t n;
	size_t i;
	int fd;

	(void)state;
	r = table(&fd);
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(name, sizeof name, "user%zu", i);
		u.rate = cases[i].n;
		u.rate_per = cases[i].per;
		for (n = 0; rates_take(r, &u, 5000) == 0; n++)
			;
		assert_int_equal(n, cases[i].n);
	}
	rates_free(&r);
	close(fd);
}

/* After a reload the same number is read with another rate. */
static void
test_changed(void **state)
{
	struct user u = { .name = app, .rate = 3, .rate_per = 86400000 };
	struct rates *r;
	int fd, i;

	(void)state;
	r = table(&fd);
	for (i = 0; i < 3; i++)
		assert_int_equal(rates_take(r, &u, 1000), 0);
	assert_true(rates_take(r, &u, 1000) > 0);
	u.rate = 10;
	u.rate_per = 1000;
	assert_int_equal(rates_take(r, &u, 1000), 100);
	assert_int_equal(rates_take(r, &u, 1100), 0);
	rates_free(&r);
	close(fd);
}

/* Somebody has written nonsense into the table. */
static void
test_spoilt(void **state)
{
	static const uint8_t bytes[] = { 0xff, 0x7f, 0x80, 0x01 };
	struct user u = { .name = app, .rate = 10, .rate_per = 60000 };
	struct rates *r;
	uint8_t *p;
	size_t i, n;
	int fd;

	(void)state;
	r = table(&fd);
	n = (size_t)lseek(fd, 0, SEEK_END);
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	for (i = 0; i < sizeof bytes; i++) {
		memset(p, bytes[i], n);
		/* Nobody waits longer than for one message. */
		assert_in_range(rates_take(r, &u, 1000), 0, 6000);
		rates_give_back(r, &u);
	}
	munmap(p, n);
	/* Nobody can take the memory away from under the others. */
	assert_int_equal(ftruncate(fd, 0), -1);
	rates_free(&r);
	close(fd);
	fd = memfd_create("small", MFD_CLOEXEC);
	assert_null(rates_new(fd));
	close(fd);
}

/* Takes until it may not; the count goes through the pipe. */
static void
child(int table_fd, int out, const struct user *u, int64_t now, int start)
{
	struct rates *r = rates_new(table_fd);
	uint32_t n = 0, tries = 0;
	char c;

	/* All begin at once. */
	if (r == NULL || read(start, &c, 1) != 0)
		_exit(1);
	while (rates_take(r, u, now) == 0) {
		/* Every eighth message does not come to be. */
		if (++tries % 8 == 0)
			rates_give_back(r, u);
		else
			n++;
		if (tries % 64 == 0)
			usleep(1);
	}
	_exit(write(out, &n, sizeof n) == sizeof n ? 0 : 1);
}

/* Processes that take at the same moment get together what one may have. */
static void
test_processes(void **state)
{
	struct user u = { .name = app, .rate = 5000, .rate_per = 86400000 };
	int64_t now = mono_ms();
	int fd, start[2], out[2], i, status;
	uint32_t n, sum = 0;
	struct rates *r;

	(void)state;
	r = table(&fd);
	assert_int_equal(pipe(start) | pipe(out), 0);
	for (i = 0; i < 4; i++) {
		if (fork() == 0) {
			close(start[1]);
			child(fd, out[1], &u, now, start[0]);
		}
	}
	close(start[0]);
	close(start[1]);
	for (i = 0; i < 4; i++) {
		assert_int_equal(read(out[0], &n, sizeof n), sizeof n);
		sum += n;
	}
	for (i = 0; i < 4; i++) {
		wait(&status);
		assert_int_equal(status, 0);
	}
	close(out[0]);
	close(out[1]);
	assert_int_equal(sum, 5000);
	assert_true(rates_take(r, &u, now) > 0);
	rates_free(&r);
	close(fd);
}

/* A process that is killed in the middle of it hinders nobody, and what was counted stays counted. */
static void
test_killed(void **state)
{
	struct user u = { .name = app, .rate = 1000000000, .rate_per = 1000 };
	struct user v = { .name = other, .rate = 4, .rate_per = 3600000 };
	int fd, i, taken[2];
	struct rates *r;
	pid_t pid;
	char c = 0;

	(void)state;
	r = table(&fd);
	assert_int_equal(pipe(taken), 0);
	for (i = 0; i < 4; i++) {
		if ((pid = fork()) == 0) {
			struct rates *mine = rates_new(fd);

			if (rates_take(mine, &v, 1000) != 0 || write(taken[1], &c, 1) != 1)
				_exit(1);
			for (;;)
				rates_take(mine, &u, mono_ms());
		}
		assert_int_equal(read(taken[0], &c, 1), 1);
		usleep(5000);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	close(taken[0]);
	close(taken[1]);
	assert_true(rates_take(r, &v, 1000) > 0);
	rates_give_back(r, &v);
	assert_int_equal(rates_take(r, &v, 1000), 0);
	rates_free(&r);
	close(fd);
}

/* More users than there is room for are slower, never faster, and nothing breaks. */
static void
test_full(void **state)
{
	char name[16];
	struct user u = { .name = name, .rate = 1, .rate_per = 3600000 };
	unsigned i, n = 0;
	struct rates *r;
	int fd;

	(void)state;
	r = table(&fd);
	for (i = 0; i < 160000; i++) {
		snprintf(name, sizeof name, "user%u", i);
		n += rates_take(r, &u, 1000) == 0;
	}
	assert_in_range(n, 125000, 136000);
	for (i = 0; i < 160000; i++) {
		snprintf(name, sizeof name, "user%u", i);
		assert_true(rates_take(r, &u, 1000) > 0);
	}
	rates_free(&r);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_spoilt),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_full)
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
