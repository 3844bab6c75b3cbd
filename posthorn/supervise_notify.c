/* $NOTIFY_SOCKET of the daemons: systemd's protocol (sd_notify(3)), so that a daemon need not know who started it.
 * The kernel says by SCM_CREDENTIALS which process wrote; only the pids that we started count, whatever the datagram
 * says. */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/notify.h"
#include "base/xalloc.h"

#include "supervise.h"

#define NOTIFY_NAME "notify.sock"
#define NOTIFY_MAX 1024
#define NOTIFY_BATCH 64 /* datagrams a turn */

static bool
notify_has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = text; (p = strstr(p, line)) != NULL; p += len) {
		if ((p == text || p[-1] == '\n') && (p[len] == '\0' || p[len] == '\n'))
			return true;
	}
	return false;
}

static uint32_t
notify_generation_of(const char *text)
{
	const char *p = strstr(text, "\n" NOTIFY_GENERATION "=");

	return p == NULL ? 0 : (uint32_t)strtoul(p + strlen("\n" NOTIFY_GENERATION "="), NULL, 10);
}

/* The sender's pid, or -1. Descriptors that come along are not wanted and closed. */
static pid_t
notify_sender(struct msghdr *msg)
{
	pid_t pid = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			pid = cred.pid;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				close(fd);
			}
		}
	}
	return pid;
}

static void
notify_on_read(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *sup = arg;

	(void)what;
	for (unsigned i = 0; i < NOTIFY_BATCH; i++) {
		char text[NOTIFY_MAX + 1];
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(8 * sizeof(int))];
		} control;
		struct iovec iov = { text, NOTIFY_MAX };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			.msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		struct sup_daemon *d;

		if (n == -1)
			return;
		text[n] = '\0';
		d = sup_daemon_find(sup, notify_sender(&msg));
		if (d != NULL && notify_has_line(text, "READY=1")) {
			d->generation = notify_generation_of(text);
			sup_daemon_ready(d);
			sup_advance(sup);
		}
	}
}

int
sup_notify_open(struct supervisor *sup)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int on = 1;

	sup->notify_path = xasprintf("%s/" NOTIFY_NAME, sup->params->run_directory);
	if (strlen(sup->notify_path) >= sizeof(sun.sun_path)) {
		log_error("%s: too long for the name of a socket", sup->notify_path);
		return -1;
	}
	memcpy(sun.sun_path, sup->notify_path, strlen(sup->notify_path) + 1);
	unlink(sup->notify_path);
	sup->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Mode 0600 by the umask: daemons connect before they give up root. */
	if (sup->notify_fd == -1 || setsockopt(sup->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == -1 ||
	    bind(sup->notify_fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		log_error("%s: %s", sup->notify_path, strerror(errno));
		return -1;
	}
	event_assign(&sup->notify_ev, loop_base(sup->loop), sup->notify_fd, EV_READ | EV_PERSIST, notify_on_read, sup);
	event_add(&sup->notify_ev, NULL);
	return 0;
}

void
sup_notify_close(struct supervisor *sup)
{
	if (sup->notify_fd != -1) {
		if (event_initialized(&sup->notify_ev))
			event_del(&sup->notify_ev);
		close(sup->notify_fd);
		sup->notify_fd = -1;
		unlink(sup->notify_path);
	}
	free(sup->notify_path);
	sup->notify_path = NULL;
}
