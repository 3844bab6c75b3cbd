/* Moving a connection's bytes between the socket and its buffers (base/io.h). What arrives is hostile only in amount:
 * one connection gets at most 64 KiB a turn, and at most its input limit altogether. Nothing here calls the owner back;
 * what there is to say is noted (io_pend) and said by io.c. */
#include <sys/socket.h>
#include <sys/uio.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io_private.h"
#include "base/log.h"

static void
on_drain(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
	(void)in;
	if (info->n_deleted > 0)
		io_check_full(arg);
}

/* The owner takes bytes out wherever it likes to; the buffer itself tells when, but only while that matters. */
static void
mark_full(struct io *io)
{
	io->full = true;
	if (io->in_cb == NULL)
		io->in_cb = evbuffer_add_cb(io->in, on_drain, io);
}

void
io_check_full(struct io *io)
{
	if (!io->full || io->dead || evbuffer_get_length(io->in) >= io->in_limit)
		return;
	io->full = false;
	if (io->in_cb != NULL)
		evbuffer_remove_cb_entry(io->in, io->in_cb);
	io->in_cb = NULL;
	if ((io->pend & IO_PEND_READ) != 0)
		io_pend(io, 0);
	io_watch(io);
}

/* Space for `want` bytes at the end of the input. */
static int
reserve(struct io *io, size_t want, struct evbuffer_iovec v[2])
{
	int nv = evbuffer_reserve_space(io->in, (ev_ssize_t)want, v, io->ssl != NULL ? 1 : 2);

	if (nv <= 0)
		fatal("out of memory");
	if (v[0].iov_len > want)
		v[0].iov_len = want;
	if (nv > 1 && v[1].iov_len > want - v[0].iov_len)
		v[1].iov_len = want - v[0].iov_len;
	return nv;
}

/* The first n bytes of what was reserved count. */
static void
commit(struct io *io, struct evbuffer_iovec *v, int nv, size_t n)
{
	for (int i = 0; i < nv; i++) {
		if (v[i].iov_len > n)
			v[i].iov_len = n;
		n -= v[i].iov_len;
	}
	if (evbuffer_commit_space(io->in, v, nv) == -1)
		fatal("out of memory");
}

/* At most `want` bytes and, with spare, what fits into the hub's record besides: a message of a few KB that follows
 * small commands takes one call this way, while no connection that waits holds more than IO_READ_MIN. n, 0 at the
 * peer's end, or -1: *again_r, or a failure that is noted already. */
static ssize_t
read_some(struct io *io, size_t want, bool spare, bool *again_r)
{
	struct evbuffer_iovec v[3];
	int nv = reserve(io, want, v);
	ssize_t n;

	*again_r = false;
	v[nv].iov_base = io->hub->record;
	v[nv].iov_len = sizeof(io->hub->record);
	if (io->ssl != NULL)
		n = io_tls_read(io, v[0].iov_base, v[0].iov_len, again_r);
	else
		n = readv(io->fd, v, spare ? nv + 1 : nv);
	if (n <= 0) {
		if (n == -1 && io->ssl == NULL) {
			*again_r = errno == EAGAIN || errno == EINTR;
			if (!*again_r)
				io_fail(io, "", errno);
		}
		return n;
	}
	commit(io, v, nv, (size_t)n < want ? (size_t)n : want);
	if ((size_t)n > want && evbuffer_add(io->in, io->hub->record, (size_t)n - want) == -1)
		fatal("out of memory");
	return n;
}

static size_t
fill_want(const struct io *io, size_t total)
{
	size_t len = evbuffer_get_length(io->in), want = io->read_size;

	if (len >= io->in_limit)
		return 0;
	if (want > io->in_limit - len)
		want = io->in_limit - len;
	return want > IO_READ_MAX - total ? IO_READ_MAX - total : want;
}

/* Only where it cannot lead over a limit, and not where reads are large anyway: what is spare is copied. */
static bool
can_spare(const struct io *io, size_t want)
{
	return io->ssl == NULL && want == IO_READ_MIN &&
	    evbuffer_get_length(io->in) + want + sizeof(io->hub->record) <= io->in_limit;
}

static void
fill_done(struct io *io, size_t total)
{
	int on = 1;

	if (total == 0)
		return;
	io->pend |= IO_PEND_DATA;
	if (io->quickack)
		(void)setsockopt(io->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
	if (total < io->read_size / 4 && io->read_size > IO_READ_MIN)
		io->read_size /= 2;
}

void
io_fill(struct io *io)
{
	size_t want, total = 0;
	ssize_t n = 0;
	bool again, spare;

	if ((io->state != IO_ST_PLAIN && io->state != IO_ST_TLS) || io->read_done)
		return;
	io->read_wants_write = false;
	while (total < IO_READ_MAX) {
		if ((want = fill_want(io, total)) == 0) {
			mark_full(io);
			break;
		}
		spare = can_spare(io, want);
		if ((n = read_some(io, want, spare, &again)) <= 0)
			break;
		total += (size_t)n;
		want += spare ? sizeof(io->hub->record) : 0;
		if ((size_t)n == want && io->read_size < IO_READ_MAX)
			io->read_size *= 2;
		/* Less than asked: the socket is empty. OpenSSL gives a record at a time and may hold more. */
		if (io->ssl == NULL ? (size_t)n < want : SSL_has_pending(io->ssl) == 0)
			break;
	}
	fill_done(io, total);
	if (n == 0 && total < IO_READ_MAX && !io->full) {
		io->read_done = true;
		io->pend |= IO_PEND_EOF;
	}
	if (n > 0 && io->ssl != NULL && SSL_has_pending(io->ssl) == 1)
		io->pend |= IO_PEND_READ;
	io_pend(io, 0);
}

/* Nothing can be written any more. The peer may have said why before it left ("421 ..."): that is read first. */
static void
write_failed(struct io *io, int error)
{
	evbuffer_drain(io->out, evbuffer_get_length(io->out));
	if (!io->paused && !io->full && !io->lingering)
		io_fill(io);
	io_fail(io, "", error);
}

/* 0: all of it has left; 1: the socket is full; -1: failed, and noted. */
static int
flush_plain(struct io *io, struct evbuffer *out)
{
	if (evbuffer_get_length(out) == 0)
		return 0;
	if (evbuffer_write(out, io->fd) == -1 && errno != EAGAIN && errno != EINTR) {
		write_failed(io, errno);
		return -1;
	}
	return evbuffer_get_length(out) > 0;
}

/* Small pieces share a record; a large piece is encrypted where it lies. */
static const void *
record_next(struct io *io, size_t len)
{
	if (evbuffer_get_contiguous_space(io->out) >= len)
		return evbuffer_pullup(io->out, (ev_ssize_t)len);
	evbuffer_copyout(io->out, io->hub->record, len);
	return io->hub->record;
}

static int
flush_tls(struct io *io)
{
	size_t len, total = 0;
	ssize_t n;
	bool again;

	io->write_wants_read = false;
	while ((len = evbuffer_get_length(io->out)) > 0) {
		if (total >= IO_WRITE_TLS_MAX)
			return 1;
		/* After WANT_WRITE the same bytes are offered again, as OpenSSL demands: output grows at its end
		 * only. */
		len = len > IO_RECORD ? IO_RECORD : len;
		if ((n = io_tls_write(io, record_next(io, len), len, &again)) > 0) {
			evbuffer_drain(io->out, (size_t)n);
			total += (size_t)n;
			continue;
		}
		if (again)
			return 1;
		write_failed(io, n == 0 ? ECONNRESET : errno);
		return -1;
	}
	return 0;
}

static void
all_written(struct io *io)
{
	if (io->lingering)
		io->flushed = true;
	else if (io->want_drained)
		io_pend(io, IO_PEND_DRAINED);
}

void
io_flush(struct io *io)
{
	int rc;

	if (io->state == IO_ST_TLS_FLUSH) {
		if ((rc = flush_plain(io, io->plain_out)) == 0) {
			evbuffer_free(io->plain_out);
			io->plain_out = NULL;
			io->state = IO_ST_HANDSHAKE;
			io->blocked = false;
			/* A client speaks first. */
			if (SSL_is_server(io->ssl) == 0)
				io_handshake(io);
		} else
			io->blocked = rc > 0;
	} else if (io->state == IO_ST_PLAIN || io->state == IO_ST_TLS) {
		rc = io->state == IO_ST_TLS ? flush_tls(io) : flush_plain(io, io->out);
		io->blocked = rc > 0 && !io->write_wants_read;
		if (rc == 0)
			all_written(io);
	}
	io_watch(io);
}

struct evbuffer *
io_output(struct io *io)
{
	return io->out;
}

void
io_dirty(struct io *io)
{
	if (io->is_dirty || io->dead)
		return;
	io->is_dirty = true;
	TAILQ_INSERT_TAIL(&io->hub->dirty, io, dirty_link);
}

void
io_write(struct io *io, const void *p, size_t len)
{
	if (io->state == IO_ST_BROKEN || io->dead)
		return;
	if (evbuffer_add(io->out, p, len) == -1)
		fatal("out of memory");
	io_dirty(io);
}

void
io_printf(struct io *io, const char *fmt, ...)
{
	va_list ap;

	if (io->state == IO_ST_BROKEN || io->dead)
		return;
	va_start(ap, fmt);
	if (evbuffer_add_vprintf(io->out, fmt, ap) == -1)
		fatal("out of memory");
	va_end(ap);
	io_dirty(io);
}

size_t
io_pending(const struct io *io)
{
	return evbuffer_get_length(io->out) + (io->plain_out == NULL ? 0 : evbuffer_get_length(io->plain_out));
}

bool
io_discard(struct io *io)
{
	ssize_t n;

	for (int i = 0; i < 4; i++) {
		n = recv(io->fd, io->hub->record, sizeof(io->hub->record), MSG_DONTWAIT);
		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0)
			return true;
		io->discarded += (size_t)n;
		if (io->discarded > IO_LINGER_MAX)
			return true;
	}
	return false;
}
