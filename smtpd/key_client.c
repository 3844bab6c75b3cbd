/* Questions to the key role that are waited for (key_client.h), in the worker. What the role says is checked as
 * anybody's. The wait is bounded; who did not answer in time is not asked again before that answer has come, so that a
 * role that hangs costs the worker's sessions one second and not one for each handshake. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/xalloc.h"

#include "smtpd/key_client.h"

#define ANSWER_MS 1000
#define HEAD 12 /* of a frame, base/ipc.h */
#define FRAME_MAX (HEAD + KEY_ANSWER_MAX)

struct key_client {
	int fd;
	uint32_t id;       /* of the last question */
	bool is_owed;      /* its answer is still to come */
	uint8_t in[FRAME_MAX];
	size_t in_len;
	struct wbuf out;
};

struct key_client *
key_client_new(void)
{
	struct key_client *c = xcalloc(1, sizeof(*c));

	c->fd = -1;
	wbuf_init(&c->out);
	return c;
}

static void
drop(struct key_client *c, const char *why)
{
	if (c->fd == -1)
		return;
	log_warn("the key role: %s; no TLS handshake until there is another", why);
	close(c->fd);
	c->fd = -1;
	c->is_owed = false;
	c->in_len = 0;
}

void
key_client_free(struct key_client **cp)
{
	struct key_client *c = *cp;

	if (c == NULL)
		return;
	*cp = NULL;
	if (c->fd != -1)
		close(c->fd);
	wbuf_clear(&c->out);
	free(c);
}

/* Our end of the link is a blocking one: the usual question is one call to send it and one that waits. */
static void
set_blocking(int fd)
{
	struct timeval limit = { .tv_sec = ANSWER_MS / 1000, .tv_usec = ANSWER_MS % 1000 * 1000 };
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == -1)
		fatal("cannot set up the link to the key role: %m");
}

void
key_client_set_peer(struct key_client *c, int fd)
{
	set_blocking(fd);
	if (c->fd != -1)
		close(c->fd);
	c->fd = fd;
	c->is_owed = false;
	c->in_len = 0;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Takes a whole frame apart: 1, with its id and body; 0: not here yet; -1: none of ours. */
static int
frame_take(struct key_client *c, uint32_t *id_r, struct rbuf *body_r)
{
	struct rbuf r;
	uint32_t len;

	if (c->in_len < HEAD)
		return 0;
	rbuf_init(&r, c->in, c->in_len);
	len = rbuf_u32(&r);
	if (len > KEY_ANSWER_MAX || rbuf_u16(&r) != KEY_ANSWER || rbuf_u16(&r) != 0)
		return -1;
	*id_r = rbuf_u32(&r);
	if (c->in_len < HEAD + len)
		return 0;
	/* It answers one question at a time. */
	if (c->in_len > HEAD + len)
		return -1;
	rbuf_init(body_r, c->in + HEAD, len);
	c->in_len = 0;
	return 1;
}

/* 1: the answer to the last question; 0: not until then (0: now); -1: the link is of no use any more. */
static int
answer_read(struct key_client *c, int64_t until, struct slice *signature_r)
{
	struct rbuf body;
	uint32_t id = 0;
	ssize_t n;
	int r;

	while ((r = frame_take(c, &id, &body)) == 0) {
		/* For all of it: who gives it octet by octet does not hold us longer. */
		if (until != 0 && now_ms() >= until)
			return 0;
		n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, until == 0 ? MSG_DONTWAIT : 0);
		if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
			drop(c, n == 0 ? "has gone" : strerror(errno));
			return -1;
		}
		if (n > 0)
			c->in_len += (size_t)n;
		else if (until == 0)
			return 0;
	}
	if (r == -1 || id != c->id || key_answer_decode(&body, signature_r) == -1) {
		drop(c, "malformed answer");
		return -1;
	}
	c->is_owed = false;
	return 1;
}

bool
key_client_is_there(struct key_client *c)
{
	struct slice late;
	char byte;

	if (c->fd == -1)
		return false;
	if (c->is_owed)
		return answer_read(c, 0, &late) == 1;
	if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1 && errno == EAGAIN)
		return true;
	drop(c, "has gone");
	return false;
}

static bool
question_send(struct key_client *c, const struct key_ask *a)
{
	struct wbuf body;
	ssize_t n;

	wbuf_init(&body);
	key_ask_encode(a, &body);
	wbuf_reset(&c->out);
	wbuf_u32(&c->out, (uint32_t)body.len);
	wbuf_u16(&c->out, KEY_ASK);
	wbuf_u16(&c->out, 0);
	wbuf_u32(&c->out, ++c->id);
	wbuf_raw(&c->out, body.p, body.len);
	wbuf_clear(&body);
	/* The last one was answered, so there is room for all of it. */
	do
		n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	if (n != (ssize_t)c->out.len) {
		drop(c, n == -1 ? strerror(errno) : "takes no question");
		return false;
	}
	c->is_owed = true;
	return true;
}

size_t
key_client_sign(struct key_client *c, const uint8_t id[KEY_ID], enum key_operation operation, const void *data,
    size_t len, uint8_t sig[KEY_SIGNATURE_MAX])
{
	struct key_ask a = { .operation = (uint8_t)operation, .data = { data, len } };
	int64_t until = now_ms() + ANSWER_MS;
	struct slice got;
	int r;

	if (len == 0 || len > KEY_DATA_MAX || c->fd == -1 || (c->is_owed && !key_client_is_there(c)))
		return 0;
	memcpy(a.id, id, KEY_ID);
	if (!question_send(c, &a))
		return 0;
	if ((r = answer_read(c, until, &got)) != 1) {
		if (r == 0)
			log_warn("the key role gave no signature within %d ms", ANSWER_MS);
		return 0;
	}
	if (got.len > 0)
		memcpy(sig, got.base, got.len);
	return got.len;
}
