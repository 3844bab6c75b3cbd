/* See dns_child.h. The child gets main.cf's dns_servers and a socket; the alarm is for a parent that was killed. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "base/xalloc.h"
#include "mail/dnsd.h"

#include "admin.h"
#include "dns_child.h"

#define OPEN_MAX_QUESTIONS 200
#define QUESTION_MS 10000
#define WHOLE_MS 60000
#define CHILD_SECONDS 70u
#define CHILD_MEMORY ((size_t)1 << 30)

/* What a callback is about. */
struct asked {
	struct asker *a;
	size_t i;
};

struct asker {
	struct loop *loop;
	struct dns_client *dns;
	uint16_t type;
	const char *const *names;
	struct asked *asked;
	size_t n, next, n_open;
	struct timer end;
	dns_child_fn *fn;
	void *arg;
};

static _Noreturn void
child_run(const struct params *params, int fd)
{
	struct sandbox box = { .role = "posthorn/dns", .mode = (enum sandbox_mode)params->sandbox,
		.user = geteuid() == 0 ? "nobody" : NULL, .allow = SB_UDP | SB_CONNECT_IN };
	struct loop *loop;
	struct dnsd *d;

#ifndef __SANITIZE_ADDRESS__
	box.max_memory = CHILD_MEMORY;
#endif
	log_set_level(LOG_LVL_WARN);
	(void)alarm(CHILD_SECONDS);
	loop = loop_new();
	if ((d = dnsd_new(loop, params)) == NULL)
		_exit(1); /* it said why */
	sandbox_enter(&box);
	dnsd_set_peer(d, fd);
	_exit(loop_run(loop) == 0 ? 0 : 1);
}

static int
child_start(const struct params *params, pid_t *pid)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == -1) {
		(void)adm_fail("socketpair: %s", strerror(errno));
		return -1;
	}
	if ((*pid = fork()) == -1) {
		(void)adm_fail("fork: %s", strerror(errno));
		close(fds[0]);
		close(fds[1]);
		return -1;
	}
	if (*pid == 0) {
		close(fds[0]);
		child_run(params, fds[1]);
	}
	close(fds[1]);
	return fds[0];
}

static void
child_end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
}

static void on_records(const struct dns_reply *, void *);

static void
questions_send(struct asker *a)
{
	struct asked *q;

	while (a->next < a->n && a->n_open < OPEN_MAX_QUESTIONS) {
		q = &a->asked[a->next];
		*q = (struct asked){ a, a->next };
		if (dns_client_ask(a->dns, a->names[q->i], a->type, QUESTION_MS, on_records, q) == NULL)
			break;
		a->next++;
		a->n_open++;
	}
	if (a->n_open == 0)
		loop_stop(a->loop);
}

static void
on_records(const struct dns_reply *reply, void *arg)
{
	struct asked *q = arg;
	struct asker *a = q->a;

	a->n_open--;
	a->fn(q->i, reply, a->arg);
	questions_send(a);
}

static void
on_end(void *arg)
{
	struct asker *a = arg;

	loop_stop(a->loop);
}

int
dns_child_ask(const struct params *params, uint16_t type, const char *const *names, size_t n, dns_child_fn *fn,
    void *arg)
{
	struct asker a = { .type = type, .names = names, .n = n, .fn = fn, .arg = arg };
	pid_t pid;
	int fd;

	if (n == 0)
		return 0;
	if ((fd = child_start(params, &pid)) == -1)
		return -1;
	a.loop = loop_new();
	a.dns = dns_client_new(a.loop);
	timer_init(&a.end, a.loop, on_end, &a);
	timer_set(&a.end, WHOLE_MS);
	dns_client_set_peer(a.dns, fd);
	a.asked = xcalloc(n, sizeof(*a.asked));
	questions_send(&a);
	if (a.n_open > 0)
		(void)loop_run(a.loop);
	timer_cancel(&a.end);
	dns_client_free(&a.dns);
	loop_free(&a.loop);
	free(a.asked);
	child_end(pid);
	return 0;
}
