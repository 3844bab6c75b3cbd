/* Process ends in words (wait_text.h). The notes are about signals that our own daemons die of. */
#include "base/wait_text.h"

#include <sys/wait.h>

#include <signal.h>
#include <string.h>

#include "base/xalloc.h"

static const char *
signal_note(int sig)
{
	switch (sig) {
	case SIGALRM:
		return " (its watchdog: it was stuck)";
	case SIGPROF:
		return " (its watchdog: one event took too much processor time)";
	case SIGSYS:
		return " (a forbidden system call)";
	default:
		return "";
	}
}

char *
wait_text(int status)
{
	const char *name;
	int sig;

	if (WIFSIGNALED(status)) {
		sig = WTERMSIG(status);
		name = sigabbrev_np(sig);
		return xasprintf("killed by SIG%s%s%s", name == NULL ? "?" : name, signal_note(sig),
		    WCOREDUMP(status) ? ", core dumped" : "");
	}
	if (WEXITSTATUS(status) == 0)
		return xstrdup("exited");
	return xasprintf("exited with status %d", WEXITSTATUS(status));
}
