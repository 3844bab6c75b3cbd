/* Watching the supervisor's pipe (see the header). Runs in every daemon that `posthorn start` started. The descriptor
 * number comes from the environment of our own parent; it is checked for being a pipe, so that a stray variable makes
 * nobody read from, or stop at the end of, something else. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parent_watch.h"
#include "base/xalloc.h"

struct parent_watch {
	struct event ev;
	loop_fn *stop;
	void *arg;
	int fd;
};

static void
parent_watch_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct parent_watch *w = arg;
	char buf[64];
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	if (n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR)))
		return; /* nobody writes here; if somebody does, it means nothing */
	event_del(&w->ev);
	log_warn("the supervisor is gone, stopping");
	w->stop(w->arg);
}

static int
parent_watch_fd(void)
{
	const char *text = getenv(PARENT_WATCH_ENV);
	struct stat st;
	char *end;
	long fd;

	if (text == NULL)
		return -1;
	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || fd < 0 || fd > 1 << 20 || fstat((int)fd, &st) == -1 ||
	    !S_ISFIFO(st.st_mode)) {
		log_warn("%s=%s names no pipe: not watching a supervisor", PARENT_WATCH_ENV, text);
		fd = -1;
	}
	unsetenv(PARENT_WATCH_ENV);
	return (int)fd;
}

struct parent_watch *
parent_watch_new(struct loop *loop, loop_fn *stop, void *arg)
{
	struct parent_watch *w;
	int flags, fd = parent_watch_fd();

	if (fd == -1)
		return NULL;
	if (fd > 2)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	flags = fcntl(fd, F_GETFL);
	if (flags != -1)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	w = xcalloc(1, sizeof(*w));
	w->fd = fd;
	w->stop = stop;
	w->arg = arg;
	event_assign(&w->ev, loop_base(loop), fd, EV_READ | EV_PERSIST, parent_watch_on_read, w);
	event_add(&w->ev, NULL);
	return w;
}

void
parent_watch_free(struct parent_watch **wp)
{
	struct parent_watch *w = *wp;

	if (w == NULL)
		return;
	event_del(&w->ev);
	if (w->fd > 2)
		close(w->fd);
	free(w);
	*wp = NULL;
}
