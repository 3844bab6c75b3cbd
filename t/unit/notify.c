/* base/notify.h: what a supervisor receives, passed sockets, and the watchdog's signs of life. */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/notify.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int
receiver(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval wait = { 5, 0 };
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(sun.sun_path, name, len);
	if (name[0] == '@')
		sun.sun_path[0] = '\0';
	assert_int_not_equal(fd, -1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'))), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void
expect(int fd, const char *want)
{
	char text[256] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	assert_true(n > 0);
	text[n] = '\0';
	assert_memory_equal(text, want, strlen(want));
}

static void
stop_it(void *arg)
{
	loop_stop(arg);
}

static void
child_says_all(void)
{
	struct loop *l = loop_new();
	struct timer t;

	notify_open();
	notify_ready();
	notify_reloading();
	setenv("WATCHDOG_USEC", "100000", 1);
	loop_watchdog(l, 5);
	timer_init(&t, l, stop_it, l);
	timer_set(&t, 130);
	loop_run(l);
	loop_free(&l);
	notify_stopping();
	_exit(0);
}

static void
test_messages(void **state)
{
	char path[64], abstract[64];
	const char *const names[] = { path, abstract };

	(void)state;
	snprintf(path, sizeof(path), "/tmp/posthorn-notify-%d", (int)getpid());
	snprintf(abstract, sizeof(abstract), "@posthorn-notify-%d", (int)getpid());
	for (size_t i = 0; i < COUNT(names); i++) {
		int fd = receiver(names[i]), status;
		pid_t pid;

		if ((pid = fork()) == 0)
			child_says_all();
		expect(fd, "READY=1");
		expect(fd, "RELOADING=1\nMONOTONIC_USEC=");
		expect(fd, "WATCHDOG=1"); /* at once, then each 50 ms */
		expect(fd, "WATCHDOG=1");
		expect(fd, "WATCHDOG=1");
		expect(fd, "STOPPING=1");
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		close(fd);
	}
	unlink(path);
}

/* Nobody listens, or nobody reads: the daemon goes on. */
static void
test_nobody_there(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	notify_open();
	notify_ready();
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	notify_open();
	notify_ready();
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_open();
	notify_watchdog();
	unsetenv("NOTIFY_SOCKET");
}

struct listen_case {
	const char *fds, *names;
	bool mine; /* LISTEN_PID is ours */
	int want;
	const char *want_names[3];
};

static void
child_listens(const struct listen_case *c)
{
	char pid[16], **names;
	int n = -1, first;

	close(3);
	close(4);
	if (dup2(0, 3) == -1 || dup2(0, 4) == -1)
		_exit(10);
	snprintf(pid, sizeof(pid), "%d", c->mine ? (int)getpid() : 1);
	setenv("LISTEN_PID", pid, 1);
	if (c->fds != NULL)
		setenv("LISTEN_FDS", c->fds, 1);
	if (c->names != NULL)
		setenv("LISTEN_FDNAMES", c->names, 1);
	first = notify_listen_fds(&n, &names);
	if (first != 3 || n != c->want)
		_exit(11);
	for (int i = 0; i < n; i++) {
		if (strcmp(names[i], c->want_names[i]) != 0 || fcntl(3 + i, F_GETFD) != FD_CLOEXEC)
			_exit(12);
		free(names[i]);
	}
	if (names[n] != NULL || getenv("LISTEN_PID") != NULL || getenv("LISTEN_FDS") != NULL ||
	    getenv("LISTEN_FDNAMES") != NULL)
		_exit(13);
	free(names);
	_exit(0);
}

static void
test_listen_fds(void **state)
{
	static const struct listen_case cases[] = {
		{ "2", "smtp:submission", true, 2, { "smtp", "submission" } },
		{ "2", "smtp", true, 2, { "smtp", "unknown" } },
		{ "2", NULL, true, 2, { "unknown", "unknown" } },
		{ "2", ":b:c", true, 2, { "unknown", "b" } },
		{ "2", "a:b", false, 0, { NULL } },
		{ NULL, NULL, true, 0, { NULL } },
		{ "0", "", true, 0, { NULL } },
		{ "-1", "", true, 0, { NULL } },
		{ "2x", "", true, 0, { NULL } },
		{ "99999999", "", true, 0, { NULL } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int status;
		pid_t pid;

		if ((pid = fork()) == 0)
			child_listens(&cases[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status != 0)
			fail_msg("case %zu: status %x", i, (unsigned)status);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_listen_fds),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
