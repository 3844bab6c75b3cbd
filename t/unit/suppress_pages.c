/* The suppression list's pages as a reader sees them while somebody writes without pause: what is taken for one state
 * is one. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mail/suppress_pages.h"

#define PAGE 4096

/* Two meta pages as a writer leaves them: the root of transaction n is n + 2. */
static uint8_t *
make_metas(int fd)
{
	uint8_t *map;
	uint64_t i;

	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	for (i = 0; i < 2; i++) {
		uint8_t *m = map + i * PAGE;

		memcpy(m, &i, 8);
		memcpy(m + 10, &(uint16_t){ 0x08 }, 2);
		memcpy(m + 16, &(uint32_t){ 0xbeefc0de }, 4);
		memcpy(m + 20, &(uint32_t){ 1 }, 4);
		memcpy(m + 40, &(uint32_t){ PAGE }, 4);
		memcpy(m + 128, &(uint64_t){ i + 2 }, 8);
		memcpy(m + 144, &i, 8);
	}
	return map;
}

/* Commits without pause, on its own: what a look-up takes for one state is one. */
static void
test_torn_meta(void **state)
{
	int fd = memfd_create("metas", 0), status;
	uint8_t *map = make_metas(fd);
	struct pages_cursor c;
	struct pages_file f;
	const char *why = NULL;
	unsigned i, n_taken = 0;
	uint64_t txn;
	pid_t pid;

	(void)state;
	fflush(NULL);
	if ((pid = fork()) == 0) {
		for (txn = 2;; txn++) {
			uint8_t *m = map + (txn & 1) * PAGE;

			__atomic_store_n((uint64_t *)(void *)(m + 128), txn + 2, __ATOMIC_SEQ_CST);
			__atomic_store_n((uint64_t *)(void *)(m + 144), txn, __ATOMIC_SEQ_CST);
		}
	}
	assert_int_equal(pages_map(&f, fd, 2 * PAGE, &why), 0);
	for (i = 0; i < 5000000; i++) {
		if (!pages_begin(&f, &c) || !pages_is_newest(&c))
			continue;
		n_taken++;
		if (c.root != c.txn + 2)
			break;
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(i, 5000000);
	assert_true(n_taken > 0);
	/* Malformed, and none the newer for it. */
	memset(map + 16, 0, 4);
	memset(map + PAGE + 16, 0, 4);
	memset(&c, 0, sizeof(c));
	assert_false(pages_begin(&f, &c));
	assert_string_equal(c.why, "a meta page is malformed");
	assert_true(pages_is_newest(&c));
	pages_unmap(&f);
	munmap(map, 2 * PAGE);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_torn_meta) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
