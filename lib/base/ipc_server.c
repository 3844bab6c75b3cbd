/* Listening on a UNIX socket, and who is at the other end (base/ipc.h). The kernel names the peer (SO_PEERCRED,
 * SO_PEERGROUPS); nothing that the peer says about itself is needed. No look-up by name: that would need files the jail
 * does not have. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc_private.h"
#include "base/log.h"
#include "base/xalloc.h"

#define ACCEPT_PER_TURN 32
#define ACCEPT_PAUSE_MS 1000
#define PEER_GROUPS_MAX 65536 /* NGROUPS_MAX */

struct ipc_server {
	struct loop *loop;
	int fd;
	ipc_accept_fn *fn;
	void *arg;
	struct event ev;
	struct timer pause; /* out of descriptors: try again later, not at once */
};

int
ipc_cred(const struct ipc *c, struct ipc_cred *cred)
{
	struct ucred u;
	socklen_t len = sizeof(u);

	if (c->dead || getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == -1)
		return -1;
	cred->uid = u.uid;
	cred->gid = u.gid;
	cred->pid = u.pid;
	return 0;
}

bool
ipc_peer_in_group(const struct ipc *c, gid_t gid)
{
	struct ipc_cred cred;
	socklen_t len = 0;
	gid_t *groups;
	bool found;

	if (ipc_cred(c, &cred) == -1)
		return false;
	if (cred.gid == gid)
		return true;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE ||
	    len > PEER_GROUPS_MAX * sizeof(gid_t))
		return false; /* it has none */
	groups = xcalloc(1, len);
	found = false;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
		for (size_t i = 0; i < len / sizeof(gid_t); i++)
			found = found || groups[i] == gid;
	free(groups);
	return found;
}

/* Only a socket is removed: a mistyped path must not cost a file. */
static int
remove_old(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == -1)
		return errno == ENOENT ? 0 : -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return -1;
	}
	return unlink(path);
}

int
ipc_listen(const char *path, mode_t mode)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	mode_t old;
	int fd, rc, error;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path));
	if (remove_old(path) == -1)
		return -1;
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	/* By umask and not by chmod(2) afterwards: there is no moment with another mode. */
	old = umask((mode_t)(~mode & 0777));
	rc = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	error = errno;
	umask(old);
	if (rc == -1 || listen(fd, SOMAXCONN) == -1) {
		error = rc == -1 ? error : errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void
server_resume(void *arg)
{
	struct ipc_server *s = arg;

	event_add(&s->ev, NULL);
}

static void
on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	struct ipc_server *s = arg;
	int fd;

	(void)what;
	for (int i = 0; i < ACCEPT_PER_TURN; i++) {
		fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd != -1) {
			s->fn(s->loop, fd, s->arg);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_error("cannot accept a local connection, pausing: %m");
			event_del(&s->ev);
			timer_set(&s->pause, ACCEPT_PAUSE_MS);
		} else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			log_error("cannot accept a local connection: %m");
		return;
	}
}

struct ipc_server *
ipc_server_new(struct loop *l, int listen_fd, ipc_accept_fn *fn, void *arg)
{
	struct ipc_server *s = xcalloc(1, sizeof(*s));

	s->loop = l;
	s->fd = listen_fd;
	s->fn = fn;
	s->arg = arg;
	timer_init(&s->pause, l, server_resume, s);
	event_assign(&s->ev, loop_base(l), listen_fd, EV_READ | EV_PERSIST, on_accept, s);
	event_add(&s->ev, NULL);
	return s;
}

void
ipc_server_free(struct ipc_server **sp)
{
	struct ipc_server *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	timer_cancel(&s->pause);
	event_del(&s->ev);
	close(s->fd);
	free(s);
}
