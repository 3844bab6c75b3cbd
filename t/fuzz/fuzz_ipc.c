/* base/ipc.c against a peer that sends whatever it likes, in whatever pieces, with descriptors: each frame that is
 * handed out is the next one of the stream and obeys its rule; a link ends only for a reason that is in the stream;
 * no descriptor is left behind. The input is a list of steps of the peer and the owner. */
#include <sys/ioctl.h>

#include "base/ipc_private.h"
#include "base/log.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define STREAM_MAX (256u << 10)
#define ROUNDS_MAX 1000

enum { PLAIN = 1, BRINGS_FD, LONG, TAKES_FD, ANSWERS, CLOSES, REFUSES, PAUSES };

static struct {
	struct loop *loop;
	struct ipc *ipc;
	uint8_t stream[STREAM_MAX];
	size_t len, at; /* at: the next frame to be handed out */
	unsigned n_fds_sent;
	int taken;
	bool is_eof, is_ended; /* by the owner */
} x;

static const struct ipc_rule rules[];

static void
on_frame(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	const struct ipc_rule *rule = &rules[m->type - 1];
	uint8_t head[IPC_HEAD];
	struct wbuf w;

	FUZZ_ASSERT(arg == &x && !x.is_ended);
	FUZZ_ASSERT(rule->type == m->type && m->body.len <= rule->max_len && rule->has_fd == (m->fd != -1));
	wbuf_init(&w);
	wbuf_u32(&w, (uint32_t)m->body.len);
	wbuf_u16(&w, m->type);
	wbuf_u16(&w, 0);
	wbuf_u32(&w, m->id);
	memcpy(head, w.p, sizeof(head));
	FUZZ_ASSERT(x.at + IPC_HEAD + m->body.len <= x.len && memcmp(x.stream + x.at, head, sizeof(head)) == 0);
	FUZZ_ASSERT(memcmp(x.stream + x.at + IPC_HEAD, m->body.p, m->body.len) == 0);
	x.at += IPC_HEAD + m->body.len;
	if (m->type == TAKES_FD) {
		if (x.taken != -1)
			close(x.taken);
		x.taken = m->fd;
		m->fd = -1;
	} else if (m->type == ANSWERS) {
		ipc_send(ipc, ANSWERS, m->id, &w, x.taken);
	} else if (m->type == PAUSES) {
		ipc_pause(ipc);
	} else if (m->type >= CLOSES) {
		x.is_ended = true;
		if (m->type == REFUSES)
			ipc_reject(ipc, "for a test");
		else
			ipc_close(&x.ipc);
	}
	wbuf_clear(&w);
}

static const struct ipc_rule rules[] = {
	{ PLAIN, false, 16, "PLAIN", on_frame }, { BRINGS_FD, true, 16, "BRINGS_FD", on_frame },
	{ LONG, false, 200000, "LONG", on_frame }, { TAKES_FD, true, 0, "TAKES_FD", on_frame },
	{ ANSWERS, false, 16, "ANSWERS", on_frame }, { CLOSES, false, 0, "CLOSES", on_frame },
	{ REFUSES, false, 0, "REFUSES", on_frame }, { PAUSES, false, 16, "PAUSES", on_frame },
};

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	FUZZ_ASSERT(ipc == x.ipc && arg == &x && *why != '\0' && fuzz_is_clean(why));
	x.ipc = NULL;
}

static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

/* What stands at the head of the rest: more of it may come (0), it is refused (-1), or it should have been handed out
 * (1). Without descriptors. */
static int
judge_rest(void)
{
	uint32_t len;
	uint16_t type, zero;
	struct rbuf r;

	rbuf_init(&r, x.stream + x.at, x.len - x.at);
	len = rbuf_u32(&r);
	type = rbuf_u16(&r);
	zero = rbuf_u16(&r);
	(void)rbuf_u32(&r);
	if (r.bad)
		return 0;
	if (zero != 0 || type < PLAIN || type > PAUSES || len > rules[type - 1].max_len)
		return -1;
	/* A descriptor is missed when the frame is complete. */
	return len > rbuf_left(&r) ? 0 : rules[type - 1].has_fd ? -1 : 1;
}

static void
put(int sock, const void *data, size_t len, unsigned n_fds, int fd)
{
	const int fds[4] = { fd, fd, fd, fd };
	size_t n;

	if (len == 0 || x.is_eof || x.len + len > STREAM_MAX)
		return;
	if ((n = fuzz_send(sock, data, len, fds, n_fds)) == 0)
		return;
	memcpy(x.stream + x.len, data, n);
	x.len += n;
	x.n_fds_sent += n_fds;
}

static void
step(struct fuzz_in *in, int sock, int fd)
{
	static const uint8_t zeros[255 * 1024];
	uint8_t op = fuzz_u8(in);
	const uint8_t *p;
	size_t n;

	switch (op & 3) {
	case 0:
		n = fuzz_u8(in);
		p = fuzz_take(in, &n);
		put(sock, p, n, op >> 2 & 4 ? op >> 2 & 3 : 0, fd);
		break;
	case 1:
		put(sock, zeros, (size_t)fuzz_u8(in) * 1024, 0, fd);
		break;
	case 2:
		fuzz_turn(x.loop);
		break;
	default:
		if ((op & 4) != 0 && x.ipc != NULL) {
			ipc_resume(x.ipc);
		} else if ((op & 8) != 0) {
			shutdown(sock, SHUT_WR);
			x.is_eof = true;
		}
	}
}

/* Until all that was sent is dealt with. */
static void
settle(void)
{
	int i, left = 1;

	for (i = 0; x.ipc != NULL && i < ROUNDS_MAX; i++) {
		ipc_resume(x.ipc);
		fuzz_turn(x.loop);
		if (x.ipc == NULL || (ioctl(x.ipc->fd, FIONREAD, &left) == 0 && left == 0 && !x.ipc->backlog &&
		    !x.ipc->is_due && !x.ipc->paused && !x.is_eof))
			break;
	}
	FUZZ_ASSERT(i < ROUNDS_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct fuzz_fd fd = fuzz_fd_new();
	int pair[2], rest;

	log_init("fuzz", LOG_LVL_ERROR);
	x.len = x.at = x.n_fds_sent = 0;
	x.is_eof = x.is_ended = false;
	x.taken = -1;
	x.loop = loop_new();
	fuzz_socketpair(pair);
	x.ipc = ipc_new(x.loop, pair[0], &ops, &x);
	while (in.left > 0 && x.ipc != NULL)
		step(&in, pair[1], fd.writer);
	settle();
	rest = judge_rest();
	if (x.ipc != NULL)
		FUZZ_ASSERT(rest == 0 || x.n_fds_sent > 0);
	else if (!x.is_ended && !x.is_eof && x.n_fds_sent == 0)
		FUZZ_ASSERT(rest == -1);
	ipc_close(&x.ipc);
	close(pair[1]);
	loop_free(&x.loop);
	if (x.taken != -1)
		close(x.taken);
	fuzz_fd_end(&fd);
	return 0;
}
