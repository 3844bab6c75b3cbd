/* lib/base/wait_text.c: of children that really ended so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/wait_text.h"

static void
check(int signo, int code, const char *want)
{
	struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	char *text;
	int status;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		if (signo != 0) {
			signal(signo, SIG_DFL);
			raise(signo);
		}
		_exit(code);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	text = wait_text(status);
	assert_string_equal(text, want);
	free(text);
}

static void
test_ends(void **state)
{
	(void)state;
	check(0, 0, "exited");
	check(0, 3, "exited with status 3");
	check(SIGKILL, 0, "killed by SIGKILL");
	check(SIGALRM, 0, "killed by SIGALRM (its watchdog: it was stuck)");
	check(SIGPROF, 0, "killed by SIGPROF (its watchdog: one event took too much processor time)");
	check(SIGSYS, 0, "killed by SIGSYS (a forbidden system call)");
	check(SIGRTMIN + 1, 0, "killed by SIG?");
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ends) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
