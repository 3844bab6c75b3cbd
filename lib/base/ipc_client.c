/* A link to a daemon that may be away: keeps trying, tells the owner each time it is up (base/ipc.h). Any daemon may be
 * restarted alone at any time, so being away is normal: the first failure of a row is logged, the following ones are
 * not. */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc_private.h"
#include "base/log.h"
#include "base/xalloc.h"

#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 2000
#define STABLE_MS 2000 /* a link that lived this long ends the back-off */

struct ipc_client {
	struct loop *loop;
	char *path;
	const struct ipc_ops *ops;
	ipc_up_fn *up;
	void *arg;
	struct ipc *conn;
	struct timer retry;
	int64_t delay;
	int64_t since; /* of the present link */
	bool complained;
};

/* 0, or -1 and errno. */
static int
client_connect(const char *path, int *fd_r)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, error;

	memcpy(sun.sun_path, path, strlen(path));
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	/* A UNIX socket connects at once or says why not (EAGAIN: too many are waiting there). */
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	*fd_r = fd;
	return 0;
}

static void
client_later(struct ipc_client *k)
{
	timer_set(&k->retry, k->delay);
	k->delay = k->delay * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : k->delay * 2;
}

/* The link ended, by the peer or by ipc_close(). */
static void
client_ended(void *arg)
{
	struct ipc_client *k = arg;

	k->conn = NULL;
	if (loop_now(k->loop) - k->since >= STABLE_MS)
		k->delay = RETRY_MIN_MS;
	client_later(k);
}

static void
client_try(void *arg)
{
	struct ipc_client *k = arg;
	int fd;

	if (client_connect(k->path, &fd) == -1) {
		if (!k->complained)
			log_warn("cannot connect yet, will keep trying: %m socket=%s", k->path);
		k->complained = true;
		client_later(k);
		return;
	}
	if (k->complained)
		log_info("connected socket=%s", k->path);
	k->complained = false;
	k->since = loop_now(k->loop);
	k->conn = ipc_new(k->loop, fd, k->ops, k->arg);
	k->conn->ended = client_ended;
	k->conn->ended_arg = k;
	k->up(k->conn, k->arg);
}

struct ipc_client *
ipc_client_new(struct loop *l, const char *path, const struct ipc_ops *ops, ipc_up_fn *up, void *arg)
{
	struct ipc_client *k = xcalloc(1, sizeof(*k));

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		fatal("socket path is too long: %s", path);
	k->loop = l;
	k->path = xstrdup(path);
	k->ops = ops;
	k->up = up;
	k->arg = arg;
	k->delay = RETRY_MIN_MS;
	timer_init(&k->retry, l, client_try, k);
	timer_set(&k->retry, 0); /* up() never comes before this returns */
	return k;
}

void
ipc_client_free(struct ipc_client **kp)
{
	struct ipc_client *k = *kp;

	if (k == NULL)
		return;
	*kp = NULL;
	if (k->conn != NULL) {
		k->conn->ended = NULL;
		ipc_close(&k->conn);
	}
	timer_cancel(&k->retry);
	free(k->path);
	free(k);
}

struct ipc *
ipc_client_conn(struct ipc_client *k)
{
	return k->conn;
}
