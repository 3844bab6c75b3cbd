/* The receiving half of a frame link, and its life and death (base/ipc.h). Used by every process towards every other
 * one. The peer is another daemon, possibly taken over by whoever sent it hostile bytes: length, type and descriptor of
 * each frame are checked against the table before anything is stored, and whoever breaks the rules loses this link,
 * nothing else.
 *
 * Callbacks (messages, gone, low water) come from the loop's own round only, never from inside a call that the owner
 * makes. */
#include <sys/socket.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc_private.h"
#include "base/log.h"
#include "base/xalloc.h"

TAILQ_HEAD(ipc_list, ipc);

/* One for each loop. */
struct ipc_hub {
	struct loop *loop;
	struct ipc_list dirty, due;
	SLIST_HEAD(ipc_reap, ipc) reap;
	struct timer kick;
};

static const char hub_key;

static void
ipc_destroy(struct ipc *c)
{
	ipc_out_clear(c);
	free(c->in.p);
	free(c);
}

static void
hub_write(void *arg)
{
	struct ipc_hub *h = arg;
	struct ipc *c;

	while ((c = TAILQ_FIRST(&h->dirty)) != NULL) {
		TAILQ_REMOVE(&h->dirty, c, dirty_link);
		c->is_dirty = false;
		ipc_flush(c);
	}
}

static void
hub_reap(void *arg)
{
	struct ipc_hub *h = arg;
	struct ipc *c;

	while ((c = SLIST_FIRST(&h->reap)) != NULL) {
		SLIST_REMOVE_HEAD(&h->reap, reap_link);
		ipc_destroy(c);
	}
}

static void hub_turn(void *);

static void *
hub_make(struct loop *l)
{
	struct ipc_hub *h = xcalloc(1, sizeof(*h));

	h->loop = l;
	TAILQ_INIT(&h->dirty);
	TAILQ_INIT(&h->due);
	SLIST_INIT(&h->reap);
	timer_init(&h->kick, l, hub_turn, h);
	loop_before_sleep(l, LOOP_IPC, hub_write, h);
	loop_before_sleep(l, LOOP_REAP, hub_reap, h);
	return h;
}

static void
hub_destroy(void *arg)
{
	struct ipc_hub *h = arg;

	hub_reap(h);
	timer_cancel(&h->kick);
	free(h);
}

void
ipc_due(struct ipc *c)
{
	if (c->is_due || c->dead)
		return;
	c->is_due = true;
	TAILQ_INSERT_TAIL(&c->hub->due, c, due_link);
	if (!timer_is_set(&c->hub->kick))
		timer_set(&c->hub->kick, 0);
}

void
ipc_dirty(struct ipc *c)
{
	if (c->is_dirty || c->dead)
		return;
	c->is_dirty = true;
	TAILQ_INSERT_TAIL(&c->hub->dirty, c, dirty_link);
}

/* Off every list, out of the loop, closed; the memory stays. */
static void
ipc_detach(struct ipc *c)
{
	c->dead = true;
	if (c->is_dirty)
		TAILQ_REMOVE(&c->hub->dirty, c, dirty_link);
	if (c->is_due)
		TAILQ_REMOVE(&c->hub->due, c, due_link);
	c->is_dirty = c->is_due = false;
	event_del(&c->ev_read);
	event_del(&c->ev_write);
	for (unsigned i = 0; i < c->in.n_fds; i++)
		close(c->in.fds[i]);
	c->in.n_fds = 0;
	close(c->fd);
	if (c->ended != NULL)
		c->ended(c->ended_arg);
}

static void
ipc_gone(struct ipc *c)
{
	ipc_detach(c);
	if (c->ops->gone != NULL)
		c->ops->gone(c, c->why, c->arg);
	ipc_destroy(c);
}

static void
ipc_end(struct ipc *c, const char *why, int error)
{
	if (c->why[0] != '\0')
		return;
	if (error != 0)
		snprintf(c->why, sizeof(c->why), "%s: %s", why, strerror(error));
	else
		snprintf(c->why, sizeof(c->why), "%s", why);
	if (c->reading) {
		event_del(&c->ev_read);
		c->reading = false;
	}
	ipc_due(c);
}

void
ipc_reject(struct ipc *c, const char *why)
{
	struct ipc_cred cred = { .pid = -1, .uid = (uid_t)-1 };

	if (c->rejected || c->dead)
		return;
	(void)ipc_cred(c, &cred);
	log_warn("frame link refused: %s pid=%d uid=%d", why, (int)cred.pid, (int)cred.uid);
	c->rejected = true;
	c->why[0] = '\0'; /* this reason is the better one */
	ipc_end(c, why, 0);
}

static void
ipc_reject_frame(struct ipc *c, const char *why, const char *name, unsigned type, size_t len)
{
	char text[sizeof(c->why)];

	snprintf(text, sizeof(text), "%s (type %u%s%s, %zu bytes)", why, type, name == NULL ? "" : " ",
	    name == NULL ? "" : name, len);
	ipc_reject(c, text);
}

static const struct ipc_rule *
rule_find(const struct ipc_ops *ops, unsigned type)
{
	for (size_t i = 0; i < ops->n_rules; i++)
		if (ops->rules[i].type == type)
			return &ops->rules[i];
	return NULL;
}

/* The head of the next frame, checked. NULL: incomplete, or refused. */
static const struct ipc_rule *
frame_head(struct ipc *c, struct ipc_msg *m, size_t *len_r)
{
	const struct ipc_rule *rule;
	uint32_t head[3];
	unsigned type;

	c->in.need = 0;
	if (c->in.end - c->in.start < IPC_HEAD)
		return NULL;
	memcpy(head, c->in.p + c->in.start, IPC_HEAD);
	*len_r = be32toh(head[0]);
	type = be32toh(head[1]) >> 16;
	m->type = (uint16_t)type;
	m->id = be32toh(head[2]);
	m->fd = -1;
	if ((be32toh(head[1]) & 0xffff) != 0) {
		ipc_reject_frame(c, "not a frame", NULL, type, *len_r);
		return NULL;
	}
	if ((rule = rule_find(c->ops, type)) == NULL) {
		ipc_reject_frame(c, "message not allowed here", NULL, type, *len_r);
		return NULL;
	}
	if (*len_r > rule->max_len) {
		ipc_reject_frame(c, "message too long", rule->name, type, *len_r);
		return NULL;
	}
	c->in.need = IPC_HEAD + *len_r;
	if (c->in.end - c->in.start < c->in.need) {
		/* A descriptor comes with the first byte of its frame or not at all. */
		if (c->in.n_fds > 0 && !rule->has_fd)
			ipc_reject_frame(c, "descriptor that nobody asked for", rule->name, type, *len_r);
		return NULL;
	}
	return rule;
}

/* Hands out one complete frame. False: there is none. */
static bool
frame_dispatch(struct ipc *c)
{
	const struct ipc_rule *rule;
	struct ipc_in *in = &c->in;
	struct ipc_msg m;
	size_t len;

	if ((rule = frame_head(c, &m, &len)) == NULL)
		return false;
	if (rule->has_fd) {
		if (in->n_fds == 0) {
			ipc_reject_frame(c, "message without its descriptor", rule->name, m.type, len);
			return false;
		}
		m.fd = in->fds[0];
		in->n_fds--;
		memmove(in->fds, in->fds + 1, in->n_fds * sizeof(in->fds[0]));
	}
	rbuf_init(&m.body, in->p + in->start + IPC_HEAD, len);
	in->start += IPC_HEAD + len;
	in->need = 0;
	rule->fn(c, &m, c->arg);
	if (m.fd != -1)
		close(m.fd);
	return true;
}

/* A frame that outgrew the buffer has been dealt with: back to the usual size. */
static void
in_shrink(struct ipc_in *in)
{
	if (in->start < in->end)
		return;
	in->start = in->end = 0;
	if (in->cap > IPC_READ_BUF) {
		free(in->p);
		in->p = NULL;
		in->cap = 0;
	}
}

/* All that can be done for one link now: complete frames up to the limit of a turn, then its end if that has come. */
static void
ipc_turn(struct ipc *c)
{
	unsigned n = 0;
	bool more = true;

	c->busy = true;
	c->backlog = false;
	while (!c->dead && !c->rejected && !c->paused && n < IPC_FRAMES_PER_TURN && (more = frame_dispatch(c)))
		n++;
	c->busy = false;
	if (c->dead) {
		SLIST_INSERT_HEAD(&c->hub->reap, c, reap_link);
		return;
	}
	if (c->rejected) {
		ipc_gone(c);
		return;
	}
	if (more) { /* stopped by pause or by the limit */
		c->backlog = true;
		if (!c->paused)
			ipc_due(c);
		return;
	}
	in_shrink(&c->in);
	if (c->in.start == c->in.end && c->in.n_fds > 0) {
		ipc_reject(c, "descriptor that nobody asked for");
		ipc_gone(c);
		return;
	}
	if (c->why[0] != '\0')
		ipc_gone(c);
}

static void
hub_turn(void *arg)
{
	struct ipc_hub *h = arg;
	struct ipc *c;
	size_t n = 0;

	TAILQ_FOREACH(c, &h->due, due_link)
		n++;
	while (n-- > 0 && (c = TAILQ_FIRST(&h->due)) != NULL) {
		TAILQ_REMOVE(&h->due, c, due_link);
		c->is_due = false;
		if (c->low_due) {
			loop_fn *fn = c->low_fn;

			c->low_due = false;
			c->low_fn = NULL;
			if (fn != NULL) {
				ipc_due(c); /* the rest in the next round: the callback may free it */
				fn(c->low_arg);
				continue;
			}
		}
		if (c->rejected || c->backlog || c->why[0] != '\0')
			ipc_turn(c);
	}
	if (!TAILQ_EMPTY(&h->due))
		timer_set(&h->kick, 0);
}

/* Room for the rest of the frame that is arriving, or for a bufferful. */
static void
in_reserve(struct ipc_in *in)
{
	size_t len = in->end - in->start, want = in->need > IPC_READ_BUF ? in->need : IPC_READ_BUF;

	if (in->start > 0 && (len == 0 || in->cap - in->end < IPC_READ_BUF / 4 || in->cap - in->start < in->need)) {
		memmove(in->p, in->p + in->start, len);
		in->start = 0;
		in->end = len;
	}
	if (in->cap < want) {
		in->p = xreallocarray(in->p, want, 1);
		in->cap = want;
	}
}

/* Takes every descriptor that came, so that none can leak. False: more than we hold. */
static bool
take_fds(struct ipc_in *in, struct msghdr *m)
{
	bool ok = (m->msg_flags & MSG_CTRUNC) == 0;
	struct cmsghdr *h;
	size_t n;
	int fd;

	for (h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
			if (in->n_fds < IPC_MAX_FDS)
				in->fds[in->n_fds++] = fd;
			else {
				close(fd);
				ok = false;
			}
		}
	}
	return ok;
}

static void
ipc_read(struct ipc *c)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * IPC_MAX_FDS)];
	} u;
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf) };
	struct ipc_in *in = &c->in;
	ssize_t n;

	in_reserve(in);
	iov.iov_base = in->p + in->end;
	iov.iov_len = in->cap - in->end;
	n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n == -1) {
		if (errno != EAGAIN && errno != EINTR)
			ipc_end(c, "connection lost", errno);
		return;
	}
	if (!take_fds(in, &m))
		ipc_reject(c, "too many descriptors");
	in->end += (size_t)n;
	if (n == 0)
		ipc_end(c, in->start < in->end ? "closed in the middle of a message" : "closed by the peer", 0);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct ipc *c = arg;

	(void)fd;
	(void)what;
	if (c->paused) { /* told libevent only now: a pause that ends soon costs nothing */
		event_del(&c->ev_read);
		c->reading = false;
		return;
	}
	if (!c->backlog)
		ipc_read(c);
	ipc_turn(c);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ipc_flush(arg);
}

struct ipc *
ipc_new(struct loop *l, int fd, const struct ipc_ops *ops, void *arg)
{
	struct ipc *c = xcalloc(1, sizeof(*c));

	c->hub = loop_attached(l, &hub_key, hub_make, hub_destroy);
	c->fd = fd;
	c->ops = ops;
	c->arg = arg;
	event_assign(&c->ev_read, loop_base(l), fd, EV_READ | EV_PERSIST, on_read, c);
	event_assign(&c->ev_write, loop_base(l), fd, EV_WRITE | EV_PERSIST, on_write, c);
	if (event_add(&c->ev_read, NULL) == -1)
		ipc_end(c, "cannot watch the socket", errno);
	else
		c->reading = true;
	return c;
}

void
ipc_close(struct ipc **cp)
{
	struct ipc *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	if (c->dead)
		return; /* inside its own gone() */
	ipc_flush(c);
	ipc_detach(c);
	if (!c->busy)
		ipc_destroy(c);
}

void
ipc_set_rules(struct ipc *c, const struct ipc_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

void
ipc_pause(struct ipc *c)
{
	c->paused = true;
}

void
ipc_resume(struct ipc *c)
{
	if (!c->paused || c->dead)
		return;
	c->paused = false;
	if (!c->reading && c->why[0] == '\0' && event_add(&c->ev_read, NULL) == 0)
		c->reading = true;
	if (c->backlog || c->why[0] != '\0')
		ipc_due(c);
}
