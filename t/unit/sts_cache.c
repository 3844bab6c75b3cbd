/* The cache of MTA-STS policies: what is in force stays, whatever keeps us from reading it for a moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "deliverd/sts_cache.h"

#define UNUSED __attribute__((unused))
#define NOW 1800000000000

static void
count(const char *domain UNUSED, const struct sts_entry *e UNUSED, void *arg)
{
	(*(unsigned *)arg)++;
}

static void
test_no_descriptor(void **state UNUSED)
{
	char dir[] = "/tmp/sts-cache-XXXXXX";
	char text[] = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmax_age: 86400\n";
	struct sts_entry e = { .id = "1", .fetched = NOW, .used = NOW, .text = text, .len = sizeof(text) - 1 }, got;
	struct rlimit was, none;
	struct sts_cache *c;
	unsigned n = 0;

	assert_non_null(mkdtemp(dir));
	c = sts_cache_new(dir, 10);
	sts_cache_put(c, "a.example", &e);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	(void)sts_cache_look(c, NOW + 1000, 32, count, &n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(n, 0);
	assert_true(sts_cache_get(c, "a.example", NOW + 2000, &got));
	assert_string_equal(got.text, text);
	sts_entry_clear(&got);
	(void)sts_cache_look(c, NOW + 2000, 32, count, &n);
	assert_int_equal(n, 1);
	(void)sts_cache_look(c, NOW + 86400000, 32, count, &n); /* now it has expired, and goes */
	assert_int_equal(n, 1);
	assert_false(sts_cache_get(c, "a.example", NOW + 2000, &got));
	sts_cache_free(&c);
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_no_descriptor) };

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
