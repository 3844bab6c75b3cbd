/* The parse role, for real: this program executes itself as the role, in its jail, and is the role that asks and the
 * parent. What the role may not do ends it, and so does what takes too long; the question is answered with why, and
 * the next role gets the next one. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include "base/sandbox_impl.h"
#include "base/xalloc.h"
#include "mail/parse_client.h"
#include "mail/parse_role.h"
#include "t/unit/until.h"

#define USER "posthorn-fblproc"

static char self[256];
static const char *const wanted[] = { "X-Posthorn-Ref" };
static const char complaint[] = "From: a@fbl.example\nContent-Type: multipart/report; boundary=b\n\n--b\n"
    "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\n\n--b\n"
    "Content-Type: message/rfc822\n\nX-Posthorn-Ref: token\nMessage-ID: <1@a>\n\n--b--\n";

struct world {
	struct loop *loop;
	struct parse_client *client;
	pid_t role;
	int control; /* the parent's end */
	unsigned overruns;
};

struct said {
	bool done;
	enum parse_outcome outcome;
	char text[128];
};

/* What its parent does for a role that is to be replaced. */
static void
on_overrun(void *arg)
{
	struct world *w = arg;

	w->overruns++;
	kill(w->role, SIGKILL);
}

static void
role_start(struct world *w)
{
	char r[] = "-r", name[] = "parse", n[] = "-n", zero[] = "0";
	char *argv[] = { self, r, name, n, zero, NULL };
	int control[2], partner[2], fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, control), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, partner), 0);
	fds[0] = control[1];
	fds[1] = partner[1];
	assert_true((w->role = spawn(argv, fds, 2, NULL, NULL)) > 0);
	close(control[1]);
	close(partner[1]);
	w->control = control[0];
	parse_client_set_peer(w->client, partner[0]);
}

static int
role_end(struct world *w)
{
	int status;

	close(w->control); /* no role outlives its parent */
	assert_int_equal(waitpid(w->role, &status, 0), w->role);
	return status;
}

static void
world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->loop = loop_new();
	w->client = parse_client_new(w->loop, on_overrun, w);
}

static void
world_close(struct world *w)
{
	parse_client_free(&w->client);
	loop_free(&w->loop);
}

static void
on_read(enum parse_outcome outcome, struct parse_answer *a, const char *why, void *arg)
{
	struct said *s = arg;

	assert_false(s->done);
	s->done = true;
	s->outcome = outcome;
	assert_true((a == NULL) == (outcome != PARSE_READ));
	snprintf(s->text, sizeof(s->text), "%s", a == NULL ? why : !a->arf.is_report ? "none" :
	    a->arf.wanted[0].value == NULL ? "no token" : a->arf.wanted[0].value);
}

static struct parse_request *
ask(struct world *w, const char *message, size_t len, struct said *s)
{
	const struct parse_ask question = { PARSE_ARF | PARSE_DSN, "", wanted, 1, { message, len } };
	struct parse_request *r;

	memset(s, 0, sizeof(*s));
	r = parse_client_ask(w->client, &question, on_read, s);
	assert_false(s->done);
	return r;
}

static void
test_answers(void **state)
{
	struct said first, second, third;
	struct world w;

	(void)state;
	world_open(&w);
	/* Asked before there is anybody. */
	assert_non_null(ask(&w, complaint, sizeof(complaint) - 1, &first));
	role_start(&w);
	assert_non_null(ask(&w, "hello", 5, &second));
	assert_non_null(ask(&w, "", 0, &third));
	UNTIL(w.loop, third.done);
	assert_true(first.done && second.done);
	assert_int_equal(first.outcome, PARSE_READ);
	assert_string_equal(first.text, "token");
	assert_string_equal(second.text, "none");
	assert_string_equal(third.text, "none");
	assert_int_equal(role_end(&w), 0);
	world_close(&w);
}

/* The one that it had fails, whoever killed it; the next is answered by the next. */
static void
test_dies(void **state)
{
	struct said first, second;
	struct world w;

	(void)state;
	world_open(&w);
	role_start(&w);
	ask(&w, "hello", 5, &first);
	UNTIL(w.loop, first.done);
	kill(w.role, SIGSTOP);
	ask(&w, complaint, sizeof(complaint) - 1, &first);
	ask(&w, complaint, sizeof(complaint) - 1, &second);
	kill(w.role, SIGKILL);
	UNTIL(w.loop, first.done);
	assert_int_equal(first.outcome, PARSE_BROKE);
	assert_non_null(strstr(first.text, "ended while it read this one"));
	assert_int_equal(w.overruns, 0);
	role_end(&w);
	assert_false(second.done);
	role_start(&w);
	UNTIL(w.loop, second.done);
	assert_string_equal(second.text, "token");
	assert_int_equal(role_end(&w), 0);
	world_close(&w);
}

static void
test_overruns(void **state)
{
	struct said first, second;
	struct world w;

	(void)state;
	world_open(&w);
	role_start(&w);
	ask(&w, "hello", 5, &first);
	UNTIL(w.loop, first.done);
	kill(w.role, SIGSTOP);
	parse_client_set_limits(w.client, 50, 60000);
	ask(&w, "hello", 5, &first);
	ask(&w, "hello", 5, &second);
	UNTIL(w.loop, first.done);
	assert_int_equal(first.outcome, PARSE_BROKE);
	assert_non_null(strstr(first.text, "in time"));
	assert_int_equal(w.overruns, 1);
	role_end(&w);
	assert_false(second.done);
	parse_client_set_limits(w.client, 15000, 60000);
	role_start(&w);
	UNTIL(w.loop, second.done);
	assert_int_equal(second.outcome, PARSE_READ);
	assert_int_equal(role_end(&w), 0);
	/* And if nobody comes any more. */
	parse_client_set_limits(w.client, 15000, 50);
	UNTIL(w.loop, (run_ms(w.loop, 1), true));
	ask(&w, "hello", 5, &first);
	UNTIL(w.loop, first.done);
	assert_true(first.outcome == PARSE_AWAY || first.outcome == PARSE_BROKE);
	ask(&w, "hello", 5, &second);
	UNTIL(w.loop, second.done);
	assert_int_equal(second.outcome, PARSE_AWAY);
	world_close(&w);
}

static void
test_cancelled(void **state)
{
	struct said first, second, third;
	struct parse_request *one, *two;
	struct world w;

	(void)state;
	world_open(&w);
	role_start(&w);
	one = ask(&w, "hello", 5, &first);
	two = ask(&w, "hello", 5, &second);
	ask(&w, complaint, sizeof(complaint) - 1, &third);
	parse_client_cancel(w.client, &one);
	parse_client_cancel(w.client, &two);
	assert_null(one);
	UNTIL(w.loop, third.done);
	assert_string_equal(third.text, "token");
	assert_false(first.done || second.done);
	/* No more than so many. */
	for (unsigned i = 0; i < PARSE_PENDING_MAX; i++)
		assert_non_null(ask(&w, "", 0, &first));
	assert_null(ask(&w, "", 0, &first));
	role_end(&w);
	world_close(&w);
}

/* A role that was taken over answers what it likes. */
static void
test_hostile_role(void **state)
{
	static const char answers[][20] = {
		{ 0, 0, 0, 1, 0, PARSE_ANSWER, 0, 0, 0, 0, 0, 1, 7 }, /* no such kind */
		{ 0, 0, 0, 1, 0, PARSE_ANSWER, 0, 0, 0, 0, 0, 9, 1 }, /* no such question */
		{ 0, 0, 0, 0, 0, PARSE_ASK, 0, 0, 0, 0, 0, 1 }, /* asks */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct said first;
		struct world w;
		int pair[2];

		world_open(&w);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		assert_true((w.role = fork()) >= 0); /* to be killed */
		if (w.role == 0)
			for (;;)
				pause();
		parse_client_set_peer(w.client, pair[0]);
		ask(&w, "hello", 5, &first);
		assert_true(write(pair[1], answers[i], i < 2 ? 13 : 12) > 0);
		UNTIL(w.loop, first.done);
		assert_int_equal(first.outcome, PARSE_BROKE);
		kill(w.role, SIGKILL);
		assert_int_equal(waitpid(w.role, NULL, 0), w.role);
		assert_int_equal(w.overruns, i < 2);
		close(pair[1]);
		world_close(&w);
	}
}

/* ---- messages that want to be the end of it ---- */

static void
add(struct wbuf *w, const char *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		wbuf_raw(w, text, strlen(text));
}

static void
nested(struct wbuf *w)
{
	char line[128];

	for (unsigned i = 0; i < 10000; i++) {
		snprintf(line, sizeof(line), "Content-Type: multipart/mixed; boundary=\"b%u\"\n\n--b%u\n", i, i);
		add(w, line, 1);
	}
}

static void
nested_alike(struct wbuf *w)
{
	add(w, "Content-Type: multipart/mixed; boundary=b\n\n--b\n", 20000);
}

static void
megabyte_header(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report; boundary=b\nX-Long: ", 1);
	add(w, "0123456789", 100 << 10);
}

static void
many_headers(struct wbuf *w)
{
	add(w, "A: b\n", 200000);
}

static void
folded_header(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report;\n", 1);
	add(w, " a=b;\n", 150000);
}

static void
nuls(struct wbuf *w)
{
	add(w, complaint, 1);
	for (size_t i = 40; i < w->len; i += 37)
		w->p[i] = 0;
	for (unsigned i = 0; i < 1000000; i++)
		wbuf_u8(w, 0);
}

static void
base64_bomb(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n"
	    "Content-Transfer-Encoding: base64\n\n", 1);
	add(w, "RmVlZGJhY2stVHlwZTogYWJ1c2UK", 30000); /* Feedback-Type: abuse */
	w->len--; /* cut */
}

static void
qp_bomb(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n"
	    "Content-Transfer-Encoding: quoted-printable\n\n", 1);
	add(w, "=0D=0AFinal-Recipient: rfc822; a@b.example=0D=0A", 20000);
	add(w, "=", 1);
}

static void
encoded_words(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\n"
	    "Feedback-Type: abuse\n\n--b\nContent-Type: message/rfc822\n\nSubject: ", 1);
	add(w, "=?utf-8?B?4pyT4pyT?= ", 40000);
}

static void
html(struct wbuf *w)
{
	add(w, "From: mailer-daemon@x\nSubject: failure\nContent-Type: text/html\n\n", 1);
	add(w, "<<a&amp;<!--<p>", 60000);
}

static void
many_parts(struct wbuf *w)
{
	add(w, "Content-Type: multipart/report; boundary=b\n\n", 1);
	add(w, "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n", 14000);
}

static void
addresses(struct wbuf *w)
{
	add(w, "From: mailer-daemon@x\nSubject: Undelivered\n\n", 1);
	add(w, "<a@b.example>: 550 5.1.1 User unknown ", 25000);
}

static void
test_bounded(void **state)
{
	static void (*const makers[])(struct wbuf *) = { nested, nested_alike, megabyte_header, many_headers,
		folded_header, nuls, base64_bomb, qp_bomb, encoded_words, html, many_parts, addresses };
	struct said s;
	struct world w;
	pid_t first;

	(void)state;
	world_open(&w);
	role_start(&w);
	first = w.role;
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		struct wbuf m;

		wbuf_init(&m);
		makers[i](&m);
		ask(&w, (const char *)m.p, m.len, &s);
		while (!s.done)
			run_ms(w.loop, 1);
		if (s.outcome != PARSE_READ)
			fail_msg("message %zu: %s", i, s.text);
		wbuf_clear(&m);
	}
	assert_int_equal(w.role, first);
	assert_int_equal(role_end(&w), 0);
	world_close(&w);
}

/* ---- the jail ---- */

static int
try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int
try_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int
try_connect(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };

	return connect(0, (struct sockaddr *)&sin, sizeof(sin));
}

static int
try_exec(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static int
try_fork(void)
{
	return (int)syscall(SYS_fork);
}

static int
try_kill(void)
{
	return kill(getppid(), 0);
}

static int
try_ptrace(void)
{
	return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static int
try_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int
try_unlink(void)
{
	return unlink("/tmp/no-such-file");
}

static int
try_open(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES ? 0 : 9;
}

static int
try_memory(void)
{
	volatile char *p = malloc(PARSE_MEMORY);

	return p == NULL && errno == ENOMEM ? 0 : 9;
}

static int
in_jail(int (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		log_init("jail", LOG_LVL_ERROR);
		parse_role_jail("parse", USER, SANDBOX_REQUIRED);
		_exit(attempt() & 0x7f);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
test_jail(void **state)
{
	static int (*const forbidden[])(void) = { try_socket, try_unix, try_connect, try_exec, try_fork, try_kill,
		try_ptrace, try_code, try_unlink };
	int status;

	(void)state;
	if (SANDBOX_SANITIZED)
		return; /* there is no filter there; `make test` also runs the program without sanitizers */
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		status = in_jail(forbidden[i]);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("attempt %zu: status %#x", i, (unsigned)status);
	}
	/* These only fail, as libraries try them. */
	assert_int_equal(in_jail(try_open), 0);
	assert_int_equal(in_jail(try_memory), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_dies),
		cmocka_unit_test(test_overruns),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_hostile_role),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_jail),
	};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		fatal("cannot find this program");
	if (argc == 5 && strcmp(argv[1], "-r") == 0) {
		log_init("parse", LOG_LVL_ERROR);
		return parse_role_main("parse", USER, SANDBOX_ON);
	}
	log_init("parse-test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
