/* dns_child.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "mail/dnsd.h"

#include "admin.h"
#include "dns_child.h"

#define CHILD_MEMORY ((size_t)1 << 30)

/* The alarm is for a parent that was killed. */
static _Noreturn void
child_run(const struct params *params, unsigned seconds, int fd)
{
	struct sandbox box = { .role = "posthorn/dns", .mode = (enum sandbox_mode)params->sandbox,
		.user = geteuid() == 0 ? "nobody" : NULL, .allow = SB_UDP | SB_CONNECT_IN };
	struct loop *loop;
	struct dnsd *d;

#ifndef __SANITIZE_ADDRESS__
	box.max_memory = CHILD_MEMORY;
#endif
	log_set_level(LOG_LVL_WARN);
	(void)alarm(seconds);
	loop = loop_new();
	if ((d = dnsd_new(loop, params)) == NULL)
		_exit(1); /* it said why */
	sandbox_enter(&box);
	dnsd_set_peer(d, fd);
	_exit(loop_run(loop) == 0 ? 0 : 1);
}

int
dns_child_start(const struct params *params, unsigned seconds, pid_t *pid)
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
		child_run(params, seconds, fds[1]);
	}
	close(fds[1]);
	return fds[0];
}

void
dns_child_end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
}
