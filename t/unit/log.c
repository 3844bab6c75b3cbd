/* base/log.h and base/xalloc.h: what reaches descriptor 2, and how a process ends that cannot go on. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
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

#include "base/log.h"
#include "base/xalloc.h"

#ifdef __SANITIZE_ADDRESS__
/* Out of memory is what this test asks for. */
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}
#endif

/* Runs fn with descriptor 2 on a file; returns what was written. */
static char captured[65536];

static const char *
capture(void (*fn)(const void *), const void *arg)
{
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_non_null(f);
	assert_int_not_equal(dup2(fileno(f), STDERR_FILENO), -1);
	fn(arg);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fileno(f), captured, sizeof(captured) - 1, 0);
	assert_true(n >= 0);
	captured[n] = '\0';
	fclose(f);
	return captured;
}

/* After the time, the ident and "info: ". */
static const char *
text_of(const char *line)
{
	const char *p = strstr(line, "info: ");

	assert_non_null(p);
	return p + 6;
}

static void
say(const void *text)
{
	log_info("%s", (const char *)text);
}

static void
test_format(void **state)
{
	const char *line;
	char want[64];
	int n = 0, y, mo, d, h, mi, s, ms;

	(void)state;
	log_init("smtpd", LOG_LVL_INFO);
	line = capture(say, "hello");
	assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &y, &mo, &d, &h, &mi, &s, &ms, &n), 7);
	assert_int_equal(n, 24);
	snprintf(want, sizeof(want), " smtpd[%d] info: hello\n", (int)getpid());
	assert_string_equal(line + n, want);
}

static void
test_escapes(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "a\nb\r\tc\x1b[31m\x7f", "a\\x0ab\\x0d\\x09c\\x1b[31m\\x7f\n" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xae",
		    "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xae\n" },
		{ "\xc2\x9b" "31m\xc2\xa0", "\\xc2\\x9b31m\xc2\xa0\n" },
		{ "\xff\xc0\x80\xe2\x82", "\\xff\\xc0\\x80\\xe2\\x82\n" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80\n" },
		{ "", "\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(text_of(capture(say, cases[i].in)), cases[i].want);
}

/* A line is one write of at most PIPE_BUF bytes, whatever comes in. */
static void
test_length(void **state)
{
	static const char *const units[] = { "x", "\x01", "\xc3\xbc", "\xf0\x9f\x93\xae", "\xff" };
	static char text[20000];

	(void)state;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		const char *line;
		size_t len;

		for (size_t at = 0; at < sizeof(text); at += strlen(units[i]))
			memcpy(text + at, units[i], strlen(units[i]));
		text[sizeof(text) - 4] = '\0';
		line = capture(say, text);
		len = strlen(line);
		assert_true(len <= PIPE_BUF);
		assert_true(len > PIPE_BUF - 100);
		assert_ptr_equal(strchr(line, '\n'), line + len - 1);
	}
}

static void
say_percent_m(const void *arg)
{
	(void)arg;
	errno = ENOSPC;
	log_info("write: %m");
	assert_int_equal(errno, ENOSPC);
}

static void
say_levels(const void *arg)
{
	(void)arg;
	log_debug("1");
	log_info("2");
	log_warn("3");
	log_error("4");
}

static void
test_levels_and_errno(void **state)
{
	enum log_level level;
	const char *out;

	(void)state;
	assert_string_equal(text_of(capture(say_percent_m, NULL)), "write: No space left on device\n");
	log_set_level(LOG_LVL_WARN);
	out = capture(say_levels, NULL);
	assert_null(strstr(out, "info: 2"));
	assert_non_null(strstr(out, "warn: 3\n"));
	assert_non_null(strstr(out, "error: 4\n"));
	log_set_level(LOG_LVL_DEBUG);
	assert_non_null(strstr(capture(say_levels, NULL), "debug: 1\n"));
	log_set_level(LOG_LVL_INFO);
	assert_null(strstr(capture(say_levels, NULL), "debug: 1"));
	assert_false(log_enabled(LOG_LVL_DEBUG));
	assert_int_equal(log_level_parse("warn", &level), 0);
	assert_int_equal(level, LOG_LVL_WARN);
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LVL_DEBUG);
	assert_int_equal(log_level_parse("loud", &level), -1);
	assert_int_equal(log_level_parse("", &level), -1);
}

static void
say_to_journal(const void *arg)
{
	struct stat st;
	char id[64];

	(void)arg;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(id, sizeof(id), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", id, 1);
	log_init("queued", LOG_LVL_INFO);
	log_info("one");
	log_error("two");
	setenv("JOURNAL_STREAM", "1:1", 1); /* somebody else's descriptor 2 */
	log_init("queued", LOG_LVL_INFO);
	log_info("three");
	unsetenv("JOURNAL_STREAM");
}

static void
test_journal(void **state)
{
	char want[128];
	const char *out = capture(say_to_journal, NULL);

	(void)state;
	snprintf(want, sizeof(want), "<6>queued[%d] info: one\n<3>queued[%d] error: two\n2", (int)getpid(),
	    (int)getpid());
	assert_memory_equal(out, want, strlen(want));
}

/* The child's status, its last line in `captured`. */
static int
status_of(void (*fn)(const void *), const void *arg)
{
	int pipes[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	if ((pid = fork()) == 0) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		dup2(pipes[1], STDERR_FILENO);
		fn(arg);
		_exit(99);
	}
	close(pipes[1]);
	n = read(pipes[0], captured, sizeof(captured) - 1);
	captured[n > 0 ? n : 0] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
do_fatal(const void *arg)
{
	fatal("%s %d", (const char *)arg, 7);
}

static void
do_panic(const void *arg)
{
	signal(SIGABRT, SIG_DFL);
	panic("%s", (const char *)arg);
}

static void
test_ends(void **state)
{
	int status = status_of(do_fatal, "cannot");

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(captured, "fatal: cannot 7\n"));
	status = status_of(do_panic, "broken");
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(captured, "panic: broken\n"));
}

static void
do_overflow(const void *arg)
{
	const volatile size_t *n = arg;
	void *p = xreallocarray(NULL, *n, 16);

	free(p);
}

static void
test_xalloc(void **state)
{
	size_t huge = SIZE_MAX / 8;
	char *s;
	int status;

	(void)state;
	s = xmemdup0("a\0b", 3);
	assert_memory_equal(s, "a\0b", 4);
	free(s);
	s = xmemdup0(NULL, 0);
	assert_string_equal(s, "");
	free(s);
	s = xasprintf("%s-%d", "a", 5);
	assert_string_equal(s, "a-5");
	free(s);
	s = xstrdup("x");
	s = xreallocarray(s, 0, 5); /* no free in disguise */
	free(s);
	free(xmalloc(0));
	free(xcalloc(0, 8));
	s = xcalloc(3, 3);
	assert_memory_equal(s, "\0\0\0\0\0\0\0\0", 9);
	free(s);
	status = status_of(do_overflow, &huge);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(captured, "fatal: out of memory"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_levels_and_errno),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_xalloc),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
