/* Starting another program with exactly the descriptors it shall have (base/roles.h). Used by the supervisor for
 * daemons and by a daemon's parent for its roles; runs before any jail. Everything else that the caller has open stays
 * behind, whatever its flags. */
#include <sys/types.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/roles.h"
#include "base/xalloc.h"

#define FIRST_FD 3

/* Moves fds to 3, 4, ... Through numbers above all of them first: a target may be another one's source. Works on a
 * copy. */
static int
arrange_fds(const int *fds, size_t n)
{
	int above = FIRST_FD + (int)n, *copy = xcalloc(n + 1, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		if ((copy[i] = fcntl(fds[i], F_DUPFD, above)) == -1)
			return -1;
	for (size_t i = 0; i < n; i++)
		if (dup2(copy[i], FIRST_FD + (int)i) == -1)
			return -1;
	free(copy);
	return close_range((unsigned)above, ~0U, 0);
}

/* exec keeps what is ignored, and SIGPIPE is, in everybody with a loop. */
static void
default_signals(void)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &sa, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
set_listen_env(size_t n, const char *const *names)
{
	char number[32], *joined = xstrdup(""), *longer;

	for (size_t i = 0; i < n; i++) {
		longer = xasprintf("%s%s%s", joined, i > 0 ? ":" : "", names[i]);
		free(joined);
		joined = longer;
	}
	snprintf(number, sizeof(number), "%zu", n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", joined, 1);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	free(joined);
}

static void
child(char *const argv[], const int *fds, size_t n, const char *const *names, char *const envs[])
{
	(void)setpgid(0, 0);
	if (arrange_fds(fds, n) == -1) {
		log_error("cannot arrange descriptors for %s: %m", argv[0]);
		return;
	}
	default_signals();
	if (names != NULL)
		set_listen_env(n, names);
	for (; envs != NULL && *envs != NULL; envs++)
		putenv(*envs);
	execv(argv[0], argv);
	log_error("cannot run %s: %m", argv[0]);
}

pid_t
spawn(char *const argv[], const int *fds, size_t n, const char *const *names, char *const envs[])
{
	sigset_t all, old;
	pid_t pid;
	int saved;

	/* No handler of ours may run in the child. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = fork();
	if (pid == 0) {
		child(argv, fds, n, names, envs);
		_exit(127);
	}
	saved = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return pid;
}
