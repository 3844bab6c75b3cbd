/* Blocking frames over a UNIX socket for the admin command (see the header). The peer is one of our daemons, but its
 * bytes are checked all the same: lengths, types, decoders that must consume everything, JSON that must be an object.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/xalloc.h"

#include "adm_client.h"

#define FRAME_HDR 12
#define SUPERVISOR_SOCKET "posthorn.sock"
#define CLOSED "the connection was closed"

static const struct {
	const char *socket, *name;
} peers[] = { { QL_SOCKET, "queued" }, { SUPERVISOR_SOCKET, "the supervisor" }, { QL_BOUNCERD_SOCKET, "bouncerd" } };

struct adm_client {
	int fd;
	enum adm_peer peer;
	uint8_t *body; /* of the last frame */
	uint32_t len;
	uint16_t type;
	bool is_heard; /* a frame has come: the peer has let us in */
	bool is_counting; /* the terminal shows progress */
};

void
adm_request_init(struct ql_admin *req, const char *verb)
{
	memset(req, 0, sizeof(*req));
	req->verb = xstrdup(verb);
}

void
adm_request_add(struct ql_admin *req, const char *key, const char *value)
{
	req->args = xreallocarray(req->args, req->n_args + 1, sizeof(*req->args));
	req->args[req->n_args].key = xstrdup(key);
	req->args[req->n_args].value = xstrdup(value);
	req->n_args++;
}

static int
adm_send(struct adm_client *c, uint16_t type, const struct wbuf *body)
{
	struct wbuf out;
	size_t done = 0;

	wbuf_init(&out);
	wbuf_u32(&out, (uint32_t)body->len);
	wbuf_u16(&out, type);
	wbuf_u16(&out, 0);
	wbuf_u32(&out, 1);
	wbuf_raw(&out, body->p, body->len);
	while (done < out.len) {
		ssize_t n = send(c->fd, out.p + done, out.len - done, MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			break;
		done += (size_t)n;
	}
	wbuf_clear(&out);
	return done > 0 && done == FRAME_HDR + body->len ? 0 : -1;
}

/* Descriptors may come along (the event log's, with WELCOME): they are closed here. */
static void
adm_drop_fds(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

/* Exactly len bytes, or NULL-terminated sentence of what went wrong. */
static const char *
adm_read(struct adm_client *c, void *buf, size_t len, int timeout)
{
	size_t done = 0;

	while (done < len) {
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(8 * sizeof(int))];
		} control;
		struct iovec iov = { (char *)buf + done, len - done };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			.msg_controllen = sizeof(control) };
		struct pollfd pfd = { c->fd, POLLIN, 0 };
		int ready = poll(&pfd, 1, timeout);
		ssize_t n;

		if (ready == -1 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready == 0 ? "no answer in time" : strerror(errno);
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 || errno == ECONNRESET ? CLOSED : strerror(errno);
		adm_drop_fds(&msg);
		done += (size_t)n;
	}
	return NULL;
}

static const char *
adm_read_frame(struct adm_client *c, int timeout)
{
	uint8_t hdr[FRAME_HDR];
	const char *why = adm_read(c, hdr, sizeof(hdr), timeout);
	struct rbuf r;

	if (why != NULL)
		return why;
	c->is_heard = true;
	rbuf_init(&r, hdr, sizeof(hdr));
	c->len = rbuf_u32(&r);
	c->type = rbuf_u16(&r);
	if (c->len > QL_MAX_ADMIN)
		return "an answer that is too long";
	free(c->body);
	c->body = xmalloc(c->len + 1);
	return adm_read(c, c->body, c->len, timeout);
}

static int
adm_hello(struct adm_client *c)
{
	struct ql_hello hello = { .proto = QL_PROTO, .role = QL_ROLE_ADMIN, .pid = (uint32_t)getpid() };
	char name[] = "posthorn";
	struct wbuf body;
	int rv;

	hello.name = name;
	wbuf_init(&body);
	ql_hello_encode(&hello, &body);
	rv = adm_send(c, QL_HELLO, &body);
	wbuf_clear(&body);
	return rv;
}

static int
adm_socket(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, saved;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path) + 1);
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

struct adm_client *
adm_connect(const char *run_directory, enum adm_peer peer, bool *is_absent_r, char **err_r)
{
	struct adm_client *c;
	char *path = xasprintf("%s/%s", run_directory, peers[peer].socket);
	int fd = adm_socket(path);
	bool is_absent = fd == -1 && (errno == ENOENT || errno == ECONNREFUSED);

	if (is_absent_r != NULL)
		*is_absent_r = is_absent;
	if (fd == -1) {
		if (errno == EACCES || errno == EPERM)
			*err_r = xasprintf("%s: permission denied; be root or in the admin group", path);
		else if (is_absent)
			*err_r = xasprintf("posthorn is not running (%s: %s)", path, strerror(errno));
		else
			*err_r = xasprintf("%s: %s", path, strerror(errno));
		free(path);
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->fd = fd;
	c->peer = peer;
	if (peer == ADM_QUEUED && adm_hello(c) == -1) {
		/* A peer that refuses us has closed already. */
		*err_r = errno == EPIPE || errno == ECONNRESET ?
		    xasprintf("%s: permission denied; be root or in the admin group", path) :
		    xasprintf("%s: %s", path, strerror(errno));
		adm_disconnect(&c);
	}
	free(path);
	return c;
}

/* {"progress":N}: still at it. Shown to a person, in one line that goes again. */
static void
adm_progress(struct adm_client *c, const json_t *progress)
{
	if (progress == NULL && c->is_counting)
		fputs("\r\033[K", stderr);
	c->is_counting = progress != NULL && isatty(STDERR_FILENO) == 1;
	if (c->is_counting)
		fprintf(stderr, "\r%lld so far", (long long)json_integer_value(progress));
}

/* One ADMIN_DATA frame to the caller. False when it wants no more, or the frame is malformed (*bad). */
static bool
adm_row(struct adm_client *c, adm_row_fn *fn, void *arg, bool *bad)
{
	struct rbuf r;
	char *text;
	json_t *row, *progress;
	bool go_on = true;

	rbuf_init(&r, c->body, c->len);
	if (ql_str_decode(&r, QL_MAX_ADMIN, &text) == -1) {
		*bad = true;
		return false;
	}
	row = json_loads(text, 0, NULL);
	if (!json_is_object(row)) {
		*bad = true;
		go_on = false;
	} else {
		progress = json_object_get(row, "progress");
		adm_progress(c, progress);
		if (progress == NULL && fn != NULL)
			go_on = fn(row, text, arg);
	}
	json_decref(row);
	free(text);
	return go_on;
}

static int
adm_answer(struct adm_client *c, int timeout, adm_row_fn *fn, void *arg, char **sentence_r)
{
	const char *where = peers[c->peer].name, *why;

	/* queued lets itself be heard at once, and each second; a summary's first row may take longer. */
	while ((why = adm_read_frame(c, c->peer == ADM_QUEUED && !c->is_heard ? ADM_TIMEOUT : timeout)) == NULL) {
		bool bad = false;

		if (c->type == QL_ADMIN_DATA) {
			if (!adm_row(c, fn, arg, &bad)) {
				*sentence_r = bad ? xasprintf("%s sent a malformed answer", where) : xstrdup("");
				return bad ? -1 : 0;
			}
		} else if (c->type == QL_ADMIN_END) {
			struct rbuf r;
			uint8_t status;

			adm_progress(c, NULL);
			rbuf_init(&r, c->body, c->len);
			if (ql_end_decode(&r, &status, sentence_r) == 0)
				return status != 0;
			*sentence_r = xasprintf("%s sent a malformed answer", where);
			return -1;
		}
	}
	if (!c->is_heard && strcmp(why, CLOSED) == 0)
		*sentence_r = xasprintf("%s refused the connection: be root or in the admin group", where);
	else
		*sentence_r = xasprintf("%s does not answer: %s", where, why);
	return -1;
}

int
adm_ask(struct adm_client *c, const struct ql_admin *req, int timeout, adm_row_fn *fn, void *arg, char **sentence_r)
{
	struct wbuf body;
	int rv;

	wbuf_init(&body);
	ql_admin_encode(req, &body);
	rv = adm_ask_frame(c, QL_ADMIN, &body, timeout, fn, arg, sentence_r);
	wbuf_clear(&body);
	return rv;
}

int
adm_ask_frame(struct adm_client *c, uint16_t type, const struct wbuf *body, int timeout, adm_row_fn *fn, void *arg,
    char **sentence_r)
{
	if (adm_send(c, type, body) == -1) {
		/* A peer that refuses us has closed: say that, rather than EPIPE. */
		*sentence_r = xasprintf("the connection was refused: be root or in the admin group");
		return -1;
	}
	return adm_answer(c, timeout, fn, arg, sentence_r);
}

void
adm_disconnect(struct adm_client **cp)
{
	struct adm_client *c = *cp;

	if (c == NULL)
		return;
	close(c->fd);
	free(c->body);
	free(c);
	*cp = NULL;
}
