/* For targets behind a frame link (base/ipc.h): the input is a list of frames {u8 type, u8 id, u16 length, body}, so
 * that the fuzzer need not guess a frame's head. The highest bit of the type adds a descriptor; type 0x7f: the body
 * is sent as it is. */
#ifndef FUZZ_FRAMES_H
#define FUZZ_FRAMES_H

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/wire.h"
#include "t/fuzz/fuzz.h"

#define FUZZ_FRAME_FD 0x80
#define FUZZ_FRAME_RAW 0x7f

/* How much of it the socket took; fds[0..n_fds) go along. */
static inline size_t
fuzz_send(int sock, const void *data, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 8)];
	} u;
	struct iovec iov = { .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *h;
	ssize_t n;

	memcpy(&iov.iov_base, &data, sizeof(data));
	if (n_fds > 0) {
		memset(&u, 0, sizeof(u));
		m.msg_control = u.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(h), fds, sizeof(int) * n_fds);
	}
	n = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n > 0 ? (size_t)n : 0;
}

struct fuzz_frame {
	uint8_t type, id;
	bool has_fd;
	const uint8_t *body;
	size_t len;
};

/* The next frame of the input; false at its end. */
static inline bool
fuzz_frame_next(struct fuzz_in *in, struct fuzz_frame *f)
{
	if (in->left == 0)
		return false;
	f->type = fuzz_u8(in);
	f->has_fd = (f->type & FUZZ_FRAME_FD) != 0;
	f->type &= (uint8_t)~FUZZ_FRAME_FD;
	f->id = fuzz_u8(in);
	f->len = (size_t)fuzz_u8(in) << 8;
	f->len |= fuzz_u8(in);
	f->body = fuzz_take(in, &f->len);
	return true;
}

static inline void
fuzz_frame_send(int sock, const struct fuzz_frame *f, int fd)
{
	struct wbuf w;

	wbuf_init(&w);
	if (f->type != FUZZ_FRAME_RAW) {
		wbuf_u32(&w, (uint32_t)f->len);
		wbuf_u16(&w, f->type);
		wbuf_u16(&w, 0);
		wbuf_u32(&w, f->id);
	}
	wbuf_raw(&w, f->body, f->len);
	if (w.len > 0)
		(void)fuzz_send(sock, w.p, w.len, &fd, f->has_fd && fd != -1 ? 1 : 0);
	wbuf_clear(&w);
}

/* A descriptor to send along of which one can tell afterwards whether all copies are closed. */
struct fuzz_fd {
	int reader, writer;
};

static inline struct fuzz_fd
fuzz_fd_new(void)
{
	int pair[2];

	FUZZ_ASSERT(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
	return (struct fuzz_fd){ pair[0], pair[1] };
}

static inline void
fuzz_fd_end(struct fuzz_fd *f)
{
	char c;

	close(f->writer);
	FUZZ_ASSERT(read(f->reader, &c, 1) == 0); /* else somebody has it still */
	close(f->reader);
}

static inline void
fuzz_socketpair(int pair[2])
{
	FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
}

#endif
