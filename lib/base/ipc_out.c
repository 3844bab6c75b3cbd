/* The sending half of a frame link (base/ipc.h). Frames collect in one buffer and leave with one write a turn. A slow
 * or stuck reader costs memory, which the owner watches (ipc_pending), never time. A frame with a descriptor starts a
 * write of its own, because the kernel ties descriptors to the first byte of a write and the receiver hands them out in
 * order. */
#include <sys/socket.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc_private.h"
#include "base/log.h"
#include "base/xalloc.h"

static void
out_reserve(struct ipc_out *o, size_t more)
{
	size_t cap, len = o->end - o->start;

	if (o->cap - o->end >= more)
		return;
	if (more > SIZE_MAX / 4 || len > SIZE_MAX / 4)
		panic("frame link: %zu bytes queued, %zu more", len, more);
	if (o->start > 0) {
		memmove(o->p, o->p + o->start, len);
		o->start = 0;
		o->end = len;
	}
	if (o->cap - o->end >= more)
		return;
	cap = o->cap < 4096 ? 4096 : o->cap * 2;
	if (cap < len + more)
		cap = len + more;
	o->p = xreallocarray(o->p, cap, 1);
	o->cap = cap;
}

static void
out_drain(struct ipc_out *o, size_t n)
{
	o->start += n;
	o->sent += n;
	if (o->start < o->end)
		return;
	o->start = o->end = 0;
	if (o->cap > IPC_KEEP_OUT) {
		free(o->p);
		o->p = NULL;
		o->cap = 0;
	}
}

void
ipc_out_clear(struct ipc *c)
{
	struct ipc_out *o = &c->out;

	for (size_t i = 0; i < o->n_fds; i++)
		close(o->fds[i].fd);
	free(o->fds);
	free(o->p);
	memset(o, 0, sizeof(*o));
}

/* Nothing can be sent any more. The reading side is left to find the end by itself: results may still be waiting
 * there. */
static void
out_broken(struct ipc *c)
{
	ipc_out_clear(c);
	c->write_broken = true;
}

static ssize_t
send_part(int sock, const uint8_t *p, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} u;
	struct iovec iov = { .iov_base = (uint8_t *)(uintptr_t)p, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *h;

	if (fd != -1) {
		memset(&u, 0, sizeof(u));
		m.msg_control = u.buf;
		m.msg_controllen = sizeof(u.buf);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* How much may leave in one write, and with which descriptor. */
static size_t
next_part(const struct ipc_out *o, int *fd_r)
{
	size_t len = o->end - o->start;

	*fd_r = -1;
	if (o->n_fds == 0)
		return len;
	if (o->fds[0].at > o->sent)
		return (size_t)(o->fds[0].at - o->sent);
	*fd_r = o->fds[0].fd;
	return o->n_fds > 1 ? (size_t)(o->fds[1].at - o->sent) : len;
}

static void
want_write(struct ipc *c, bool on)
{
	if (c->writing == on)
		return;
	c->writing = on;
	if (on)
		event_add(&c->ev_write, NULL);
	else
		event_del(&c->ev_write);
}

void
ipc_flush(struct ipc *c)
{
	struct ipc_out *o = &c->out;
	size_t len;
	ssize_t n;
	int fd;

	while (o->start < o->end) {
		len = next_part(o, &fd);
		n = send_part(c->fd, o->p + o->start, len, fd);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EAGAIN)
			break;
		if (n == -1) {
			out_broken(c);
			break;
		}
		if (fd != -1) {
			close(fd);
			o->n_fds--;
			memmove(o->fds, o->fds + 1, o->n_fds * sizeof(*o->fds));
		}
		out_drain(o, (size_t)n);
		if ((size_t)n < len)
			break; /* the socket is full */
	}
	want_write(c, o->start < o->end);
	if (c->low_fn != NULL && (ipc_pending(c) < c->low || ipc_pending(c) == 0)) {
		c->low_due = true;
		ipc_due(c);
	}
}

/* The caller keeps its descriptor and may close it at once, so ours is a duplicate, unless the frame can leave right
 * now. */
static void
send_with_fd(struct ipc *c, uint64_t at, int fd)
{
	struct ipc_out *o = &c->out;
	size_t len;
	ssize_t n;
	int copy;

	if (!c->writing && o->n_fds == 0) {
		if (at > o->sent && (n = send_part(c->fd, o->p + o->start, (size_t)(at - o->sent), -1)) > 0)
			out_drain(o, (size_t)n);
		len = o->end - o->start;
		if (at == o->sent && (n = send_part(c->fd, o->p + o->start, len, fd)) > 0) {
			out_drain(o, (size_t)n);
			return;
		}
	}
	if ((copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)) == -1) {
		log_error("cannot duplicate a descriptor for another process: %m");
		ipc_reject(c, "no descriptor left to send with");
		return;
	}
	if (o->n_fds == o->cap_fds) {
		o->cap_fds = o->cap_fds == 0 ? 4 : o->cap_fds * 2;
		o->fds = xreallocarray(o->fds, o->cap_fds, sizeof(*o->fds));
	}
	o->fds[o->n_fds++] = (struct ipc_out_fd){ at, copy };
}

void
ipc_send(struct ipc *c, uint16_t type, uint32_t id, const struct wbuf *body, int fd)
{
	struct ipc_out *o = &c->out;
	size_t len = body == NULL ? 0 : body->len;
	uint32_t head[3];
	uint64_t at;

	if (c->dead || c->write_broken || c->why[0] != '\0')
		return;
	if (len > UINT32_MAX - IPC_HEAD)
		panic("frame %u of %zu bytes", type, len);
	head[0] = htobe32((uint32_t)len);
	head[1] = htobe32((uint32_t)type << 16);
	head[2] = htobe32(id);
	out_reserve(o, IPC_HEAD + len);
	at = o->sent + (o->end - o->start);
	memcpy(o->p + o->end, head, IPC_HEAD);
	if (len > 0)
		memcpy(o->p + o->end + IPC_HEAD, body->p, len);
	o->end += IPC_HEAD + len;
	if (fd != -1)
		send_with_fd(c, at, fd);
	if (!c->writing)
		ipc_dirty(c);
}

size_t
ipc_pending(const struct ipc *c)
{
	return c->out.end - c->out.start;
}

void
ipc_on_low(struct ipc *c, size_t low, loop_fn *fn, void *arg)
{
	c->low = low;
	c->low_fn = fn;
	c->low_arg = arg;
	c->low_due = fn != NULL && (ipc_pending(c) < low || ipc_pending(c) == 0);
	if (c->low_due)
		ipc_due(c);
}
