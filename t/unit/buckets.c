/* Shared buckets: exact over processes, also while slots change hands; kept in the file over restarts and boots;
 * slots of
 * names that are not used any more are used again; nonsense in the table costs one burst; a full table shares. */
#include <sys/mman.h>
#include <sys/wait.h>

#include <fcntl.h>
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

#include "mail/buckets.h"

#define S 1000000000ll

static const struct rate ten_a_minute = { 10, 60000, 10 };

static struct buckets *
anonymous(int *fd_r)
{
	struct buckets *b;

	*fd_r = buckets_make_anonymous();
	assert_int_not_equal(*fd_r, -1);
	b = buckets_map(*fd_r);
	assert_non_null(b);
	return b;
}

static void
test_take(void **state)
{
	struct buckets *b;
	int fd, i;

	(void)state;
	b = anonymous(&fd);
	assert_int_equal(buckets_wait(b, "a", &ten_a_minute, 100 * S, 1), 0);
	for (i = 0; i < 10; i++)
		assert_int_equal(buckets_take(b, "a", &ten_a_minute, 100 * S, 1), 0);
	assert_int_equal(buckets_take(b, "a", &ten_a_minute, 100 * S, 1), 6 * S);
	assert_int_equal(buckets_wait(b, "a", &ten_a_minute, 100 * S, 2), 12 * S);
	assert_true(buckets_fill(b, "a", &ten_a_minute, 100 * S) > 0.99);
	assert_true(buckets_fill(b, "a", &ten_a_minute, 130 * S) < 0.51);
	assert_true(buckets_fill(b, "b", &ten_a_minute, 100 * S) < 0.01);
	buckets_give_back(b, "a", &ten_a_minute, 100 * S, 1);
	assert_int_equal(buckets_take(b, "a", &ten_a_minute, 100 * S, 1), 0);
	assert_int_equal(buckets_take(b, "a", &ten_a_minute, 100 * S, 1), 6 * S);
	/* What never was taken cannot be given back. */
	buckets_give_back(b, "c", &ten_a_minute, 100 * S, 5);
	for (i = 0; i < 10; i++)
		assert_int_equal(buckets_take(b, "c", &ten_a_minute, 100 * S, 1), 0);
	assert_true(buckets_take(b, "c", &ten_a_minute, 100 * S, 1) > 0);
	buckets_unmap(&b);
	close(fd);
}

/* The name stays, the rate changes: what was taken stays taken, as far as the new rate can see. */
static void
test_changed(void **state)
{
	struct rate slow = { 2, 86400000, 2 }, fast = { 10, 1000, 10 };
	struct buckets *b;
	int fd;

	(void)state;
	b = anonymous(&fd);
	assert_int_equal(buckets_take(b, "a", &slow, S, 2), 0);
	assert_int_equal(buckets_take(b, "a", &fast, S, 1), S / 10);
	assert_int_equal(buckets_take(b, "a", &fast, S + S / 10, 1), 0);
	buckets_unmap(&b);
	close(fd);
}

static char path[] = "/tmp/posthorn-buckets-XXXXXX";

static struct buckets *
from_file(void)
{
	int fd = buckets_make(path);
	struct buckets *b;

	assert_int_not_equal(fd, -1);
	b = buckets_map(fd);
	assert_non_null(b);
	close(fd);
	return b;
}

/* Restarts keep what was taken; a boot, shown by another boot id and a clock that begins anew, too. */
static void
test_file(void **state)
{
	struct buckets *b;
	int64_t before, now;
	int fd, i;
	char c;

	(void)state;
	fd = mkstemp(path);
	close(fd);
	b = from_file();
	before = buckets_now(b);
	for (i = 0; i < 10; i++)
		assert_int_equal(buckets_take(b, "a", &ten_a_minute, before, 1), 0);
	buckets_unmap(&b);
	b = from_file();
	now = buckets_now(b);
	assert_true(now >= before && now < before + 5 * S);
	assert_true(buckets_take(b, "a", &ten_a_minute, now, 1) > 0);
	buckets_unmap(&b);

	/* The boot id is behind magic and secret. An earlier boot had come much further. */
	fd = open(path, O_RDWR);
	c = 'x';
	assert_int_equal(pwrite(fd, &c, 1, 24), 1);
	now += 1000000 * S;
	assert_int_equal(pwrite(fd, &now, sizeof(now), 24 + 40 + 8), sizeof(now));
	close(fd);
	b = from_file();
	assert_true(buckets_now(b) >= now && buckets_now(b) < now + 5 * S);
	buckets_unmap(&b);
	/* ... and goes on from there at the next start. */
	b = from_file();
	assert_true(buckets_now(b) >= now && buckets_now(b) < now + 5 * S);
	buckets_unmap(&b);

	/* A file that is none of ours is replaced. */
	assert_int_equal(truncate(path, 100), 0);
	b = from_file();
	assert_int_equal(buckets_take(b, "a", &ten_a_minute, buckets_now(b), 10), 0);
	buckets_unmap(&b);
	unlink(path);
}

/* Names come and go: their slots are used again, and nobody has to share. */
static void
test_reclaim(void **state)
{
	struct rate once = { 1, 60000, 1 };
	struct buckets *b;
	char name[32];
	int64_t now = S;
	int fd, i, round;

	(void)state;
	b = anonymous(&fd);
	for (round = 0; round < 10; round++, now += 100 * S)
		for (i = 0; i < 20000; i++) {
			snprintf(name, sizeof(name), "%d-%d", round, i);
			assert_int_equal(buckets_take(b, name, &once, now, 1), 0);
			if (i % 1000 == 0)
				assert_true(buckets_take(b, name, &once, now, 1) > 0);
		}
	buckets_unmap(&b);
	close(fd);
}

static void
test_spoilt(void **state)
{
	static const uint8_t bytes[] = { 0xff, 0x7f, 0x80, 0x01 };
	struct buckets *b;
	uint8_t *p;
	size_t i, n;
	int fd, k;

	(void)state;
	b = anonymous(&fd);
	n = (size_t)lseek(fd, 0, SEEK_END);
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	for (i = 0; i < sizeof bytes; i++) {
		memset(p, bytes[i], n);
		for (k = 0; buckets_take(b, "a", &ten_a_minute, 100 * S, 1) == 0; k++)
			assert_true(k < 10);
		assert_in_range(buckets_take(b, "a", &ten_a_minute, 100 * S, 1), 1, 6 * S);
		assert_int_equal(buckets_take(b, "a", &ten_a_minute, 106 * S, 1), 0);
	}
	munmap(p, n);
	buckets_unmap(&b);
	close(fd);
}

/* Processes hammer one bucket while others make slots change hands all around it. */
static void
hammer(int fd, int out, int start, int who)
{
	struct rate many = { 20000, 86400000, 20000 }, brief = { 1000000000, 1000, 1 };
	struct buckets *b = buckets_map(fd);
	uint32_t n = 0, i = 0;
	char name[32], c;
	int64_t now = 100 * S;

	if (b == NULL || read(start, &c, 1) != 0)
		_exit(1);
	while (buckets_take(b, "all", &many, now, 1) == 0) {
		n++;
		if (++i % 16 == 0)
			usleep(1);
		/* Each is past at once: free for another name of another time. */
		snprintf(name, sizeof(name), "%d-%u", who, i);
		(void)buckets_take(b, name, &brief, (int64_t)(i % 50) * 2 * S + 1, 1);
	}
	_exit(write(out, &n, sizeof n) == sizeof n ? 0 : 1);
}

static void
test_processes(void **state)
{
	int fd, start[2], out[2], i, status, round;
	uint32_t n, sum;
	struct buckets *b;

	(void)state;
	for (round = 0; round < 3; round++) {
		b = anonymous(&fd);
		sum = 0;
		assert_int_equal(pipe(start) | pipe(out), 0);
		for (i = 0; i < 4; i++)
			if (fork() == 0) {
				close(start[1]);
				hammer(fd, out[1], start[0], i);
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
		assert_int_equal(sum, 20000);
		buckets_unmap(&b);
		close(fd);
	}
}

/* More names than slots: slower, never faster; and one of another pace is not held up. */
static void
test_full(void **state)
{
	struct rate slow = { 1, 3600000, 1 }, fast = { 100, 1000, 1 };
	unsigned i, n = 0;
	char name[16];
	struct buckets *b;
	int fd;

	(void)state;
	b = anonymous(&fd);
	for (i = 0; i < 200000; i++) {
		snprintf(name, sizeof name, "n%u", i);
		n += buckets_take(b, name, &slow, S, 1) == 0;
	}
	assert_in_range(n, 125000, 136000);
	for (i = 0; i < 200000; i++) {
		snprintf(name, sizeof name, "n%u", i);
		assert_true(buckets_take(b, name, &slow, S, 1) > 0);
	}
	for (i = 0; i < 100; i++) {
		assert_int_equal(buckets_take(b, "fast", &fast, 2 * S + i * S / 100, 1), 0);
		assert_true(buckets_take(b, "fast", &fast, 2 * S + i * S / 100, 1) > 0);
	}
	buckets_unmap(&b);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_reclaim),
		cmocka_unit_test(test_spoilt),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_full),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
