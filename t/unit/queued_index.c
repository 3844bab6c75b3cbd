/* The check of the index before it is used: it lets pass what is whole, crashes on nothing, and whatever damage it does
 * not see makes no row read differently. POSTHORN_SEED repeats a run; INDEX_ROWS makes a big index, to measure. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "queued/index_check.h"
#include "queued/store.h"

#define QUEUES 50

static char dir[] = "/tmp/queued-index-XXXXXX";
static char index_dir[64], data[80];
static unsigned n_rows = 3000;

static void
put_envelope(struct store *st, unsigned i)
{
	struct env_row row = { .segment = 1 + i % 4, .offset = 64 * i, .queue = 1 + i % QUEUES, .attempts = 1,
		.due = 1700000000000 + i, .expires = 1800000000000 + i, .code = 451, .enhanced = { 4, 7, 1 },
		.text = { "451 4.7.1 greylisted, try again", 31 } };
	uint8_t key[ENV_KEY_LEN], due[DUE_KEY_LEN], exp[EXP_KEY_LEN];
	struct envid id = { .rcpt = 0 };

	id.msg.b[3] = (uint8_t)(i >> 16);
	id.msg.b[4] = (uint8_t)(i >> 8);
	id.msg.b[5] = (uint8_t)i;
	if (i % 10 == 0) {
		row.flags = ENV_HELD;
		row.due = DUE_HELD;
	}
	env_key_pack(&id, key);
	due_key_pack(row.queue, row.due, key, due);
	exp_key_pack(row.expires, key, exp);
	assert_int_equal(store_put_env(st, key, &row), 0);
	assert_int_equal(store_put(st, DB_DUE, due, sizeof(due), "", 0), 0);
	if (i % 10 != 0)
		assert_int_equal(store_put(st, DB_EXP, exp, sizeof(exp), "", 0), 0);
}

/* QUEUES divides a tenth of the rows: each queue has as many as the others, and those of ten are held. */
static void
put_queues(struct store *st)
{
	static char name[3000];
	struct queue_row row = { 0, { name, 0 }, n_rows / QUEUES, 0 };
	uint32_t next = QUEUES + 1, id;

	for (id = 1; id <= QUEUES; id++) {
		/* One is so long that it lies on pages of its own. */
		row.name.len = (size_t)snprintf(name, sizeof(name), "c:t@q%u.%0*d", id, id == 7 ? 2900 : 1, 0);
		row.id = id;
		row.held = (id - 1) % 10 == 0 ? n_rows / QUEUES : 0;
		assert_int_equal(store_put_queue(st, &row), 0);
	}
	assert_int_equal(store_put(st, DB_META, "next_queue", 10, &next, sizeof(next)), 0);
}

static struct store *
open_index(void)
{
	enum store_opened what;
	char *err = NULL;
	struct store *st = store_open(index_dir, 4LL << 30, &what, &err);

	assert_non_null(st);
	return st;
}

static int
make_index(void **state)
{
	struct seg_row seg = { .state = 4, .indexed = 640000, .total = n_rows, .live = n_rows / 4 };
	struct store *st;
	unsigned i;

	(void)state;
	if (getenv("INDEX_ROWS") != NULL)
		n_rows = (unsigned)strtoul(getenv("INDEX_ROWS"), NULL, 10) / 500 * 500;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(index_dir, sizeof(index_dir), "%s/index", dir);
	(void)snprintf(data, sizeof(data), "%s/data.mdb", index_dir);
	st = open_index();
	for (i = 0; i < n_rows; i++) {
		if (i % 5000 == 0) {
			assert_true(i == 0 || store_commit(st) == 0);
			assert_int_equal(store_begin(st), 0);
		}
		put_envelope(st, i);
	}
	for (seg.number = 1; seg.number <= 4; seg.number++)
		assert_int_equal(store_put_seg(st, &seg), 0);
	put_queues(st);
	assert_int_equal(store_commit(st), 0);
	/* Some pages become free. */
	for (i = 0; i < 300; i++) {
		assert_int_equal(store_begin(st), 0);
		assert_int_equal(store_put(st, DB_META, "nodeid", 6, &i, sizeof(i)), 0);
		assert_int_equal(store_commit(st), 0);
		i += 99;
	}
	store_close(&st);
	return 0;
}

static int
remove_index(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static enum index_state
check(const char **why_r)
{
	*why_r = NULL;
	return index_check(index_dir, why_r);
}

static void
test_sound(void **state)
{
	const char *why;
	int64_t started = mono_ms();

	(void)state;
	assert_int_equal(check(&why), INDEX_SOUND);
	print_message("# %u envelopes: %lld ms\n", n_rows, (long long)(mono_ms() - started));
}

/* A checksum of all rows of all databases but meta, as LMDB reads them. */
static uint32_t
read_rows(void)
{
	uint8_t key[512];
	struct store *st = open_index();
	uint32_t crc = 0;
	size_t len;
	MDB_val k, v;
	int db;

	store_read_begin(st);
	for (db = DB_SEG; db < DB_COUNT; db++)
		for (len = 1, key[0] = 0; store_seek(st, (enum store_db)db, key, len, true, &k, &v);) {
			crc = crc32c(crc32c(crc, k.mv_data, k.mv_size), v.mv_data, v.mv_size);
			memcpy(key, k.mv_data, k.mv_size);
			len = k.mv_size;
		}
	store_read_end(st);
	store_close(&st);
	return crc;
}

static void
poke(int fd, off_t at, const void *p, size_t len)
{
	assert_int_equal(pwrite(fd, p, len, at), len);
}

/* One bit anywhere: seen, or of no consequence. */
static void
test_flipped_bits(void **state)
{
	unsigned i, n = n_rows > 10000 ? 10 : 3000, n_seen = 0;
	uint32_t rows = read_rows();
	const char *why;
	struct stat sb;
	uint8_t was, is;
	off_t at;
	int fd = open(data, O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &sb), 0);
	for (i = 0; i < n; i++) {
		at = random() % sb.st_size;
		assert_int_equal(pread(fd, &was, 1, at), 1);
		is = was ^ (uint8_t)(1u << random() % 8);
		poke(fd, at, &is, 1);
		if (check(&why) == INDEX_DAMAGED)
			n_seen++;
		else if (read_rows() != rows)
			fail_msg("bit flipped at %lld (%02x to %02x): not seen, and rows read differently",
			    (long long)at, was, is);
		poke(fd, at, &was, 1);
	}
	close(fd);
	print_message("# of %u flipped bits %u were seen\n", n, n_seen);
	assert_in_range(n_seen, n / 4, n);
	assert_int_equal(check(&why), INDEX_SOUND);
}

/* A page of noise, a page of another place: seen, unless nobody uses that page. */
static void
test_overwritten_pages(void **state)
{
	uint8_t was[4096], noise[4096];
	uint32_t rows = read_rows();
	unsigned i, n = 200, n_seen = 0;
	const char *why;
	struct stat sb;
	long page, other;
	size_t k;
	int fd = open(data, O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(fstat(fd, &sb), 0);
	for (i = 0; i < n; i++) {
		page = random() % (sb.st_size / 4096);
		other = random() % (sb.st_size / 4096);
		assert_int_equal(pread(fd, was, 4096, page * 4096), 4096);
		assert_int_equal(pread(fd, noise, 4096, other * 4096), 4096);
		for (k = 0; i % 2 == 0 && k < 4096; k++)
			noise[k] = (uint8_t)random();
		poke(fd, page * 4096, noise, 4096);
		if (check(&why) == INDEX_DAMAGED)
			n_seen++;
		else
			assert_int_equal(read_rows(), rows);
		poke(fd, page * 4096, was, 4096);
	}
	close(fd);
	print_message("# of %u overwritten pages %u were seen\n", n, n_seen);
	assert_in_range(n_seen, n / 2, n);
}

/* Cut anywhere; nothing at all; no file; garbage; a format or schema of the future. */
static void
test_whole_file(void **state)
{
	char aside[96], command[256];
	uint8_t other[4] = { 2, 0, 0, 0 }, noise[65536];
	const char *why;
	struct store *st;
	struct stat sb;
	unsigned i;
	int fd;

	(void)state;
	(void)snprintf(aside, sizeof(aside), "%s.aside", index_dir);
	(void)snprintf(command, sizeof(command), "cp %s %s", data, aside);
	assert_int_equal(system(command), 0);
	(void)snprintf(command, sizeof(command), "cp %s %s", aside, data);
	assert_int_equal(stat(data, &sb), 0);
	for (i = 0; i < 50; i++) {
		assert_int_equal(truncate(data, 1 + random() % (sb.st_size - 1)), 0);
		/* What is missing at the very end may be free. */
		if (check(&why) != INDEX_DAMAGED)
			assert_in_range(read_rows(), 0, UINT32_MAX);
		assert_int_equal(system(command), 0);
	}
	assert_int_equal(truncate(data, 0), 0);
	assert_int_equal(check(&why), INDEX_NEW);
	assert_int_equal(unlink(data), 0);
	assert_int_equal(check(&why), INDEX_NEW);
	for (i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random();
	fd = open(data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	poke(fd, 0, noise, sizeof(noise));
	assert_int_equal(check(&why), INDEX_DAMAGED);
	close(fd);
	assert_int_equal(system(command), 0);
	fd = open(data, O_RDWR | O_CLOEXEC);
	poke(fd, 20, other, 4);
	assert_int_equal(check(&why), INDEX_DAMAGED); /* one meta page says so, the other does not */
	poke(fd, 4096 + 20, other, 4);
	assert_int_equal(check(&why), INDEX_FOREIGN);
	close(fd);
	assert_int_equal(system(command), 0);
	st = open_index();
	assert_int_equal(store_begin(st), 0);
	assert_int_equal(store_put(st, DB_META, "schema", 6, "\0\0\0\x63", 4), 0);
	assert_int_equal(store_put(st, DB_ENV, "row of the future", 17, "", 0), 0);
	assert_int_equal(store_commit(st), 0);
	store_close(&st);
	assert_int_equal(check(&why), INDEX_FOREIGN);
	assert_int_equal(system(command), 0);
	assert_int_equal(check(&why), INDEX_SOUND);
}

/* The highest bit of a queue's count, in a whole row. */
static void
flip_total(struct store *st, uint32_t id)
{
	struct queue_row row;
	char *name;

	store_read_begin(st);
	assert_true(store_get_queue(st, id, &row));
	name = xmemdup0(row.name.base, row.name.len);
	store_read_end(st);
	row.name.base = name;
	row.total ^= 1ULL << 63;
	assert_int_equal(store_begin(st), 0);
	assert_int_equal(store_put_queue(st, &row), 0);
	assert_int_equal(store_commit(st), 0);
	free(name);
}

/* Whole pages, wrong rows: a count that is off by its highest bit, in each queue; databases that disagree. */
static void
test_rows_that_disagree(void **state)
{
	static const uint8_t due[DUE_KEY_LEN] = { 0, 0, 0, 3, 1 };
	const char *why;
	struct store *st = open_index();
	uint32_t id;

	(void)state;
	for (id = 1; id <= QUEUES; id++) {
		flip_total(st, id);
		store_close(&st);
		assert_int_equal(check(&why), INDEX_DAMAGED);
		st = open_index();
		flip_total(st, id);
	}
	assert_int_equal(store_begin(st), 0);
	assert_int_equal(store_put(st, DB_DUE, due, sizeof(due), "", 0), 0);
	assert_int_equal(store_commit(st), 0);
	store_close(&st);
	assert_int_equal(check(&why), INDEX_DAMAGED);
	assert_string_equal(why, "due times and envelopes disagree");
}

int
main(void)
{
	const char *seed = getenv("POSTHORN_SEED");
	unsigned s = seed != NULL ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)time(NULL);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_overwritten_pages),
		cmocka_unit_test(test_whole_file),
		cmocka_unit_test(test_rows_that_disagree),
	};

	srandom(s);
	print_message("# POSTHORN_SEED=%u\n", s);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_index, remove_index);
}
