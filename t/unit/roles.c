/* A parent and its roles, for real: this program executes itself as parent and as roles. Each role reports what happens
 * to it by a datagram on a "listening socket" (descriptor 5); the parent's readiness is read from a notify socket. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include "base/roles.h"
#include "base/xalloc.h"

#define WAIT_MS 8000

static char dir[] = "/tmp/roles-test-XXXXXX", self[256];

static bool
flag(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", getenv("ROLES_TEST_DIR"), name);
	return access(path, F_OK) == 0;
}

/* ------- as a role ------- */

struct role {
	struct loop *loop;
	const char *name;
	int index;
	struct role_link *link;
	struct ipc *partner;
};

static void __attribute__((format(printf, 2, 3)))
report(const struct role *r, const char *fmt, ...)
{
	char what[64], text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "%s %d %d %s", r->name, r->index, (int)getpid(), what);
	if (send(5, text, strlen(text), 0) == -1)
		_exit(9);
}

static void
role_ping(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct role *r = arg;

	(void)ipc;
	report(r, "ping-from %d", (int)rbuf_u32(&m->body));
	if (strcmp(r->name, "worker") == 0 && flag("choosy"))
		role_link_replace_partner(r->link);
}

static void
role_partner_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct role *r = arg;

	(void)ipc;
	(void)why;
	r->partner = NULL;
}

static const struct ipc_rule role_rules[] = { { 1, false, 4, "ping", role_ping } };
static const struct ipc_ops role_ops = { role_rules, 1, role_partner_gone };

static void
role_on_partner(int fd, void *arg)
{
	struct role *r = arg;
	struct wbuf w;

	ipc_close(&r->partner);
	r->partner = ipc_new(r->loop, fd, &role_ops, r);
	wbuf_init(&w);
	wbuf_u32(&w, (uint32_t)getpid());
	ipc_send(r->partner, 1, 0, &w, -1);
	wbuf_clear(&w);
}

static void
role_on_word(enum role_word word, void *arg)
{
	static const char *const words[] = { [ROLE_RELOAD] = "reload", [ROLE_DRAIN] = "drain", [ROLE_STOP] = "stop" };
	struct role *r = arg;

	report(r, "%s", words[word]);
	if (flag("deaf"))
		return;
	if (word == ROLE_RELOAD)
		role_link_ready(r->link);
	if (word == ROLE_STOP || (word == ROLE_DRAIN && strcmp(r->name, "worker") == 0 && !flag("busy")))
		loop_stop(r->loop);
}

/* What it was given: the descriptors from 0 on, as a string of '1' and '0'. */
static void
role_report_start(const struct role *r, const char *extra)
{
	char open_fds[13] = "", **names;
	struct stat in, null;
	int n, first;

	for (int fd = 0; fd < 12; fd++)
		open_fds[fd] = fcntl(fd, F_GETFD) == -1 ? '0' : '1';
	assert_int_equal(fstat(0, &in) | stat("/dev/null", &null), 0);
	first = role_listeners(&n, &names);
	report(r, "start %s %s %d %s %d%s", extra, open_fds, first, n == 0 ? "-" : names[0], n,
	    in.st_rdev == null.st_rdev ? " null" : "");
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int
role_main(const char *extra, const char *name, int index)
{
	struct role r = { .name = name, .index = index };

	log_init("role", LOG_LVL_ERROR);
	role_report_start(&r, extra);
	r.loop = loop_new();
	r.link = role_link_new(r.loop, role_on_word, role_on_partner, &r);
	if (flag("broken"))
		_exit(3);
	if (strcmp(name, "lone") != 0)
		role_on_partner(ROLE_PARTNER_FD, &r);
	role_link_ready(r.link);
	loop_run(r.loop);
	report(&r, "end");
	ipc_close(&r.partner);
	role_link_free(&r.link);
	loop_free(&r.loop);
	return 0;
}

/* ------- as a parent ------- */

static bool
parent_check(struct role_spec *specs, void *arg)
{
	(void)arg;
	if (flag("refuse"))
		return false;
	if (flag("grow"))
		specs[0].instances = specs[1].instances = 3;
	return true;
}

static int
parent_main(const char *exe, const char *mode, int report_fd)
{
	static const struct role_spec pairs[] = { { .name = "worker", .instances = 2, .partner = "auth",
	    .keeps_listeners = true }, { .name = "auth", .instances = 2, .keeps_listeners = true } };
	static const struct role_spec lone[] = { { .name = "lone", .instances = 1, .keeps_listeners = true } };
	bool replace = strcmp(mode, "replace") == 0;
	char opt_x[] = "-x", extra[] = "extra";
	char *extra_argv[] = { opt_x, extra, NULL };
	const char *names[] = { "report" };
	struct roles_config cfg = {
		.exe = exe, .extra_argv = extra_argv, .specs = replace ? pairs : lone, .n_specs = replace ? 2 : 1,
		.reload = replace ? ROLES_REPLACE : ROLES_TELL, .listeners = &report_fd, .listener_names = names,
		.n_listeners = 1, .check = parent_check
	};

	log_init("parent", flag("verbose") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return roles_run(&cfg);
}

/* ------- as the test ------- */

struct rig {
	pid_t parent;
	int reports, notify;
	char last[8192]; /* all reports, a line each */
	char notified[1024];
	char path[64];
};

static void
set_flag(const char *name, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (on)
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	else
		unlink(path);
}

static pid_t running; /* the parent of the present test */

static int
teardown(void **state)
{
	static const char *const flags[] = { "refuse", "grow", "broken", "busy", "deaf", "choosy" };

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		set_flag(flags[i], false);
	if (running != 0 && waitpid(running, NULL, WNOHANG) == 0) {
		kill(running, SIGKILL);
		waitpid(running, NULL, 0);
	}
	running = 0;
	return 0;
}

static void
rig_read(struct rig *g, int ms)
{
	struct pollfd p[2] = { { g->reports, POLLIN, 0 }, { g->notify, POLLIN, 0 } };
	char text[256];
	ssize_t n;

	poll(p, 2, ms);
	while ((n = recv(g->reports, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		text[n] = '\0';
		strncat(g->last, text, sizeof(g->last) - strlen(g->last) - 2);
		strcat(g->last, "\n");
	}
	while ((n = recv(g->notify, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
		text[strcspn(text, "\n")] = '\0';
		text[n] = '\0';
		strncat(g->notified, text, sizeof(g->notified) - strlen(g->notified) - 2);
		strcat(g->notified, "\n");
	}
}

static unsigned
count(const char *text, const char *word)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, word)) != NULL; p += strlen(word))
		n++;
	return n;
}

#define WAIT(g, cond)                                                                          \
	do {                                                                                   \
		int64_t wait_end = mono_ms() + WAIT_MS;                                        \
		while (!(cond) && mono_ms() < wait_end)                                        \
			rig_read((g), 5);                                                      \
		if (!(cond))                                                                   \
			fail_msg("%s; reports:\n%snotified:\n%s", #cond, (g)->last, (g)->notified); \
	} while (0)

static void
rig_forget(struct rig *g)
{
	rig_read(g, 0);
	g->last[0] = g->notified[0] = '\0';
}

/* The pid in the last line that begins so. */
static pid_t
pid_of(const struct rig *g, const char *name, int index)
{
	char head[64];
	const char *p, *found = NULL;

	snprintf(head, sizeof(head), "%s %d ", name, index);
	for (p = g->last; (p = strstr(p, head)) != NULL; p++)
		found = p;
	if (found == NULL)
		fail_msg("no report of %s%d:\n%s", name, index, g->last);
	return (pid_t)atoi(found + strlen(head));
}

static void
rig_start(struct rig *g, const char *mode)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int s[2], fds[1];
	char arg_p[] = "-P", *m = xstrdup(mode), env_notify[128], env_dir[128];
	char *argv[] = { self, arg_p, m, NULL }, *envs[] = { env_notify, env_dir, NULL };

	memset(g, 0, sizeof(*g));
	snprintf(g->path, sizeof(g->path), "%s/notify", dir);
	strcpy(sun.sun_path, g->path);
	unlink(g->path);
	g->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(g->notify, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	g->reports = s[0];
	fds[0] = s[1];
	snprintf(env_notify, sizeof(env_notify), "NOTIFY_SOCKET=%s", g->path);
	snprintf(env_dir, sizeof(env_dir), "ROLES_TEST_DIR=%s", dir);
	g->parent = spawn(argv, fds, 1, NULL, envs);
	assert_true(g->parent > 0);
	running = g->parent;
	close(s[1]);
	free(m);
	WAIT(g, strcmp(g->notified, "READY=1\n") == 0);
}

static void
rig_stop(struct rig *g)
{
	int status;

	assert_int_equal(kill(g->parent, SIGTERM), 0);
	WAIT(g, strstr(g->notified, "STOPPING=1\n") != NULL);
	assert_int_equal(waitpid(g->parent, &status, 0), g->parent);
	assert_int_equal(status, 0);
	rig_read(g, 0);
	/* Nobody holds the other end any more: every role is gone. */
	assert_int_equal(recv(g->reports, &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	close(g->reports);
	close(g->notify);
	unlink(g->path);
}

static bool
pinged(const struct rig *g, const char *name, int index, pid_t from)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %d %d ping-from %d\n", name, index, (int)pid_of(g, name, index), (int)from);
	return strstr(g->last, text) != NULL;
}

static void
wait_joined(struct rig *g, int index)
{
	char w[32], a[32];

	snprintf(w, sizeof(w), "worker %d ", index);
	snprintf(a, sizeof(a), "auth %d ", index);
	WAIT(g, strstr(g->last, w) != NULL && strstr(g->last, a) != NULL);
	WAIT(g, pinged(g, "worker", index, pid_of(g, "auth", index)) &&
	    pinged(g, "auth", index, pid_of(g, "worker", index)));
}

static void
starting_and_stopping(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g, "replace");
	WAIT(&g, count(g.last, "start extra 111111000000 5 report 1 null\n") == 4);
	wait_joined(&g, 0);
	wait_joined(&g, 1);
	rig_stop(&g);
	assert_int_equal(count(g.last, " stop\n"), 4);
	assert_int_equal(count(g.last, " end\n"), 4);
	assert_string_equal(g.notified, "READY=1\nSTOPPING=1\n");
}

static void
the_dead_are_replaced(void **state)
{
	static const struct {
		bool worker, auth;
	} who[] = { { true, false }, { false, true }, { true, true } };
	struct rig g;
	pid_t worker, auth, other;

	(void)state;
	rig_start(&g, "replace");
	wait_joined(&g, 1);
	other = pid_of(&g, "worker", 0);
	for (size_t i = 0; i < sizeof(who) / sizeof(who[0]); i++) {
		worker = pid_of(&g, "worker", 1);
		auth = pid_of(&g, "auth", 1);
		if (who[i].worker)
			kill(worker, SIGKILL);
		if (who[i].auth)
			kill(auth, SIGKILL);
		WAIT(&g, !who[i].worker || pid_of(&g, "worker", 1) != worker);
		WAIT(&g, !who[i].auth || pid_of(&g, "auth", 1) != auth);
		wait_joined(&g, 1);
	}
	assert_int_equal(pid_of(&g, "worker", 0), other);
	assert_string_equal(g.notified, "READY=1\n");
	rig_stop(&g);
}

static void
a_partner_that_hangs_is_replaced(void **state)
{
	struct rig g;
	pid_t worker, other, auth;

	(void)state;
	rig_start(&g, "replace");
	wait_joined(&g, 0);
	wait_joined(&g, 1);
	worker = pid_of(&g, "worker", 1);
	other = pid_of(&g, "auth", 0);
	set_flag("choosy", true);
	kill(pid_of(&g, "auth", 1), SIGKILL);
	/* Nobody but the worker asks for the end of each of these. */
	for (int i = 0; i < 3; i++) {
		auth = pid_of(&g, "auth", 1);
		WAIT(&g, pid_of(&g, "auth", 1) != auth);
	}
	set_flag("choosy", false);
	auth = pid_of(&g, "auth", 1);
	WAIT(&g, pinged(&g, "auth", 1, worker));
	assert_int_equal(pid_of(&g, "worker", 1), worker);
	assert_int_equal(pid_of(&g, "auth", 0), other);
	rig_stop(&g);
}

static void
restarts_slow_down(void **state)
{
	struct rig g;
	int64_t start = mono_ms();
	pid_t pid;

	(void)state;
	rig_start(&g, "tell");
	for (int i = 0; i < 4; i++) { /* 100, 200, 400, 800 */
		WAIT(&g, strstr(g.last, "lone 0 ") != NULL);
		pid = pid_of(&g, "lone", 0);
		rig_forget(&g);
		kill(pid, SIGKILL);
		WAIT(&g, strstr(g.last, " start ") != NULL);
	}
	assert_in_range(mono_ms() - start, 1500, WAIT_MS);
	rig_stop(&g);
}

static void
reload_replaces(void **state)
{
	struct rig g;
	pid_t old_worker, old_auth;
	char text[64];

	(void)state;
	rig_start(&g, "replace");
	wait_joined(&g, 0);
	old_worker = pid_of(&g, "worker", 0);
	old_auth = pid_of(&g, "auth", 0);
	set_flag("busy", true);
	set_flag("grow", true);
	rig_forget(&g);
	kill(g.parent, SIGHUP);
	WAIT(&g, strcmp(g.notified, "RELOADING=1\nREADY=1\n") == 0);
	WAIT(&g, count(g.last, " start ") == 6);
	WAIT(&g, count(g.last, " drain\n") == 4);
	assert_int_equal(count(g.last, " end\n"), 0); /* busy with their sessions */
	/* One finishes: its helper is stopped, nobody is started. */
	rig_forget(&g);
	kill(old_worker, SIGTERM);
	snprintf(text, sizeof(text), "auth 0 %d stop\n", (int)old_auth);
	WAIT(&g, strstr(g.last, text) != NULL && count(g.last, " end\n") == 1);
	rig_read(&g, 300);
	assert_int_equal(count(g.last, " start "), 0);
	/* The other old pair is told to stop with everybody else. */
	set_flag("busy", false);
	rig_stop(&g);
	assert_int_equal(count(g.last, " stop\n"), 1 + 2 + 6);
	set_flag("grow", false);
}

static void
reload_drains_at_once_when_idle(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g, "replace");
	for (int i = 0; i < 3; i++) {
		rig_forget(&g);
		kill(g.parent, SIGHUP);
		WAIT(&g, strcmp(g.notified, "RELOADING=1\nREADY=1\n") == 0);
		WAIT(&g, count(g.last, " end\n") == 4);
	}
	rig_stop(&g);
}

static void
bad_reloads_change_nothing(void **state)
{
	struct rig g;
	pid_t worker;

	(void)state;
	rig_start(&g, "replace");
	wait_joined(&g, 0);
	wait_joined(&g, 1);
	worker = pid_of(&g, "worker", 0);
	set_flag("refuse", true);
	rig_forget(&g);
	kill(g.parent, SIGHUP);
	rig_read(&g, 200);
	rig_read(&g, 200);
	assert_string_equal(g.notified, "");
	assert_string_equal(g.last, "");
	set_flag("refuse", false);

	set_flag("broken", true);
	kill(g.parent, SIGHUP);
	WAIT(&g, strcmp(g.notified, "RELOADING=1\nREADY=1\n") == 0);
	assert_int_equal(count(g.last, " drain\n"), 0);
	assert_int_equal(kill(worker, 0), 0);
	set_flag("broken", false);
	/* And the next good one works. */
	rig_forget(&g);
	kill(g.parent, SIGHUP);
	WAIT(&g, strcmp(g.notified, "RELOADING=1\nREADY=1\n") == 0);
	WAIT(&g, count(g.last, " drain\n") == 4);
	rig_stop(&g);
}

static void
reload_tells(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g, "tell");
	WAIT(&g, strstr(g.last, "lone 0 ") != NULL);
	rig_forget(&g);
	kill(g.parent, SIGHUP);
	WAIT(&g, strstr(g.last, " reload\n") != NULL && strcmp(g.notified, "RELOADING=1\nREADY=1\n") == 0);
	assert_int_equal(count(g.last, " start "), 0);
	rig_stop(&g);
}

static void
no_role_outlives_its_parent(void **state)
{
	struct rig g;
	int status;

	(void)state;
	rig_start(&g, "replace");
	WAIT(&g, count(g.last, " start ") == 4);
	kill(g.parent, SIGKILL);
	assert_int_equal(waitpid(g.parent, &status, 0), g.parent);
	WAIT(&g, count(g.last, " end\n") == 4);
	WAIT(&g, recv(g.reports, &(char){ 0 }, 1, MSG_DONTWAIT) == 0);
	close(g.reports);
	close(g.notify);
	unlink(g.path);
}

static void
the_deaf_are_killed(void **state)
{
	struct rig g;
	int64_t start;
	int status;

	(void)state;
	rig_start(&g, "tell");
	set_flag("deaf", true);
	start = mono_ms();
	kill(g.parent, SIGTERM);
	assert_int_equal(waitpid(g.parent, &status, 0), g.parent);
	set_flag("deaf", false);
	assert_int_equal(status, 0);
	assert_in_range(mono_ms() - start, 9900, 20000);
	rig_read(&g, 0);
	assert_int_equal(count(g.last, " end\n"), 0);
	close(g.reports);
	close(g.notify);
	unlink(g.path);
}

/* Descriptors in any order, also where one's target is another one's source; sd_listen_fds(3) variables. */
static void
spawning(void **state)
{
	char sh[] = "/bin/sh", opt_c[] = "-c", env[] = "COLOUR=blue";
	char script[] = "test $LISTEN_PID = $$ && echo $LISTEN_FDS $LISTEN_FDNAMES $COLOUR $(cat <&3) $(cat <&4) "
	    "$(ls /proc/self/fd | wc -l) >&5";
	char *argv[] = { sh, opt_c, script, NULL }, *envs[] = { env, NULL };
	const char *names[] = { "a", "b", "c" };
	int p[3][2], fds[3], status;
	char text[64];
	ssize_t n;
	pid_t pid;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pipe2(p[i], O_CLOEXEC), 0);
	assert_int_equal(write(p[0][1], "one", 3), 3);
	assert_int_equal(write(p[1][1], "two", 3), 3);
	close(p[0][1]);
	close(p[1][1]);
	/* 4 is to become 3, and 3 to become 4. */
	fds[0] = dup2(p[0][0], 100);
	fds[1] = dup2(p[1][0], 101);
	fds[2] = dup2(p[2][1], 102);
	assert_int_equal(dup2(100, 4), 4);
	assert_int_equal(dup2(101, 3), 3);
	fds[0] = 4;
	fds[1] = 3;
	pid = spawn(argv, fds, 3, names, envs);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	n = read(102 == fds[2] ? p[2][0] : -1, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "3 a:b:c blue one two 7\n"); /* 0-5 and the directory */
	for (int fd = 3; fd <= 102; fd++)
		close(fd);
	argv[0] = opt_c;
	assert_true((pid = spawn(argv, NULL, 0, NULL, NULL)) > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 127);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(starting_and_stopping, teardown),
		cmocka_unit_test_teardown(the_dead_are_replaced, teardown),
		cmocka_unit_test_teardown(a_partner_that_hangs_is_replaced, teardown),
		cmocka_unit_test_teardown(restarts_slow_down, teardown),
		cmocka_unit_test_teardown(reload_replaces, teardown),
		cmocka_unit_test_teardown(reload_drains_at_once_when_idle, teardown),
		cmocka_unit_test_teardown(bad_reloads_change_nothing, teardown),
		cmocka_unit_test_teardown(reload_tells, teardown),
		cmocka_unit_test_teardown(no_role_outlives_its_parent, teardown),
		cmocka_unit_test_teardown(the_deaf_are_killed, teardown),
		cmocka_unit_test_teardown(spawning, teardown),
	};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int failed;

	if (n <= 0)
		fatal("cannot find this program");
	if (argc == 7 && strcmp(argv[3], "-r") == 0 && strcmp(argv[5], "-n") == 0)
		return role_main(argv[2], argv[4], atoi(argv[6]));
	if (argc == 3 && strcmp(argv[1], "-P") == 0)
		return parent_main(self, argv[2], 3);
	if (mkdtemp(dir) == NULL)
		fatal("cannot make a directory");
	log_init("roles-test", LOG_LVL_WARN);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
