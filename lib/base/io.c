/* A connection's life and its events (base/io.h). Used by smtpd's workers and deliverd's network role for every remote
 * connection, so everything that arrives here is hostile; this layer bounds how much of it is taken at once and never
 * looks inside.
 *
 * Callbacks come from the loop's own round only, never from inside a call the owner makes, and in a fixed order: what
 * arrived before an end or an error is handed over before it. Libevent is told what to watch as late as possible:
 * pausing a connection whose peer waits for our answer anyway (SMTP's usual state) costs no system call. */
#include <bsd/sys/queue.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io_private.h"
#include "base/log.h"
#include "base/xalloc.h"

#define IO_IN_LIMIT (64 * 1024)

const char *const io_event_names[] = {
	[IO_CONNECTED] = "connected",
	[IO_TLS_READY] = "tls-ready",
	[IO_DATA] = "data",
	[IO_DRAINED] = "drained",
	[IO_EOF] = "eof",
	[IO_TIMEOUT] = "timeout",
	[IO_ERROR] = "error",
};

static const char hub_key;

static void
io_destroy(struct io *io)
{
	evbuffer_free(io->in);
	evbuffer_free(io->out);
	if (io->plain_out != NULL)
		evbuffer_free(io->plain_out);
	free(io->error);
	free(io);
}

/* After io_finish(). Closing while the peer still sends would make the kernel answer with a reset, which may overtake
 * our last words: so our end is announced, and what comes is thrown away until the peer's end or the deadline. May free
 * io. */
static void
lingering_turn(struct io *io)
{
	if (io->state != IO_ST_BROKEN && io->flushed && !io->half_closed) {
		io->half_closed = true;
		io_tls_goodbye(io);
		(void)shutdown(io->fd, SHUT_WR);
	}
	if (io->state == IO_ST_BROKEN || (io->half_closed && io_discard(io)))
		io_free(&io);
	else
		io_watch(io);
}

static void
hub_write(void *arg)
{
	struct io_hub *h = arg;
	struct io *io;

	while ((io = TAILQ_FIRST(&h->dirty)) != NULL) {
		TAILQ_REMOVE(&h->dirty, io, dirty_link);
		io->is_dirty = false;
		if (!io->blocked && !io->write_wants_read)
			io_flush(io);
		if (io->lingering)
			lingering_turn(io);
	}
}

static void
hub_reap(void *arg)
{
	struct io_hub *h = arg;
	struct io *io;

	while ((io = SLIST_FIRST(&h->reap)) != NULL) {
		SLIST_REMOVE_HEAD(&h->reap, reap_link);
		io_destroy(io);
	}
}

static void hub_turn(void *);

static void *
hub_make(struct loop *l)
{
	struct io_hub *h = xcalloc(1, sizeof(*h));

	h->loop = l;
	TAILQ_INIT(&h->dirty);
	TAILQ_INIT(&h->due);
	TAILQ_INIT(&h->lingering);
	SLIST_INIT(&h->reap);
	timer_init(&h->kick, l, hub_turn, h);
	loop_before_sleep(l, LOOP_OUTPUT, hub_write, h);
	loop_before_sleep(l, LOOP_REAP, hub_reap, h);
	return h;
}

static void
hub_destroy(void *arg)
{
	struct io_hub *h = arg;
	struct io *io;

	while ((io = TAILQ_FIRST(&h->lingering)) != NULL)
		io_free(&io);
	hub_reap(h);
	timer_cancel(&h->kick);
	free(h);
}

struct io_hub *
io_hub(struct loop *l)
{
	return loop_attached(l, &hub_key, hub_make, hub_destroy);
}

void
io_pend(struct io *io, unsigned what)
{
	if (io->dead)
		return;
	io->pend |= what;
	if (io->is_due || io->busy)
		return; /* io_leave() looks again */
	io->is_due = true;
	TAILQ_INSERT_TAIL(&io->hub->due, io, due_link);
	if (!timer_is_set(&io->hub->kick))
		timer_set(&io->hub->kick, 0);
}

/* Whether the next event is to be handed over now. */
static unsigned
pend_next(const struct io *io)
{
	static const unsigned always = IO_PEND_CONNECTED | IO_PEND_TLS_READY | IO_PEND_DRAINED;
	unsigned can = io->pend & always;

	if (!io->paused)
		can |= io->pend & IO_PEND_DATA;
	if (!io->paused && !io->full)
		can |= io->pend & IO_PEND_READ;
	/* The end comes after all data; but who paused reading still wants to know that nothing can be written. */
	if (!io->paused && (io->pend & (IO_PEND_READ | IO_PEND_DATA)) == 0)
		can |= io->pend & (IO_PEND_EOF | IO_PEND_ERROR);
	if (io->paused && io->state == IO_ST_BROKEN)
		can |= io->pend & IO_PEND_ERROR;
	return can & -can; /* lowest bit: enum io_pend is in order */
}

static enum io_event
pend_event(unsigned bit)
{
	switch (bit) {
	case IO_PEND_CONNECTED:
		return IO_CONNECTED;
	case IO_PEND_TLS_READY:
		return IO_TLS_READY;
	case IO_PEND_DATA:
		return IO_DATA;
	case IO_PEND_DRAINED:
		return IO_DRAINED;
	case IO_PEND_EOF:
		return IO_EOF;
	default:
		return IO_ERROR;
	}
}

/* The end of every event. May free io. */
static void
io_leave(struct io *io)
{
	io->busy = false;
	if (io->dead) {
		SLIST_INSERT_HEAD(&io->hub->reap, io, reap_link);
		return;
	}
	if (io->lingering) {
		lingering_turn(io);
		return;
	}
	if (pend_next(io) != 0)
		io_pend(io, 0);
	io_watch(io);
}

/* Hands over what is pending. */
static void
io_run(struct io *io)
{
	bool was_read = false, was_data = false;
	unsigned bit;

	while (!io->dead && !io->lingering && (bit = pend_next(io)) != 0) {
		/* Kicked, or filled, again from inside: the others first. */
		if ((bit == IO_PEND_DATA && was_data) || (bit == IO_PEND_READ && was_read))
			break;
		io->pend &= ~bit;
		if (bit == IO_PEND_READ) {
			was_read = true;
			io_fill(io);
			continue;
		}
		was_data = was_data || bit == IO_PEND_DATA;
		io->fn(io, pend_event(bit), io->arg);
	}
}

static void
hub_turn(void *arg)
{
	struct io_hub *h = arg;
	struct io *io;
	size_t n = 0;

	TAILQ_FOREACH(io, &h->due, due_link)
		n++;
	while (n-- > 0 && (io = TAILQ_FIRST(&h->due)) != NULL) {
		TAILQ_REMOVE(&h->due, io, due_link);
		io->is_due = false;
		loop_progress();
		io->busy = true;
		io_run(io);
		io_leave(io);
	}
	if (!TAILQ_EMPTY(&h->due))
		timer_set(&h->kick, 0);
}

static bool
wants_read(const struct io *io)
{
	switch (io->state) {
	case IO_ST_PLAIN:
	case IO_ST_TLS:
		if (io->lingering)
			return io->half_closed || io->write_wants_read;
		return (!io->paused && !io->full && !io->read_done) || io->write_wants_read;
	case IO_ST_HANDSHAKE:
		return !io->handshake_wants_write;
	default:
		return false;
	}
}

static bool
wants_write(const struct io *io)
{
	switch (io->state) {
	case IO_ST_CONNECTING:
		return true;
	case IO_ST_HANDSHAKE:
		return io->handshake_wants_write;
	case IO_ST_BROKEN:
		return false;
	default:
		return io->blocked || io->read_wants_write;
	}
}

/* Watching for input is never given up here, only where an unwanted event shows that it disturbs. */
void
io_watch(struct io *io)
{
	bool want_write = wants_write(io);

	if (io->dead)
		return;
	if (!io->reading && wants_read(io)) {
		io->reading = true;
		event_add(&io->ev_read, NULL);
	}
	if (io->writing != want_write) {
		io->writing = want_write;
		if (want_write)
			event_add(&io->ev_write, NULL);
		else
			event_del(&io->ev_write);
	}
	if (io->state == IO_ST_BROKEN && io->reading) {
		io->reading = false;
		event_del(&io->ev_read);
	}
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct io *io = arg;

	(void)fd;
	(void)what;
	if (!wants_read(io)) {
		event_del(&io->ev_read);
		io->reading = false;
		return;
	}
	loop_progress();
	io->busy = true;
	if (io->state == IO_ST_HANDSHAKE)
		io_handshake(io);
	else if (io->write_wants_read)
		io_flush(io);
	if (!io->lingering && (io->state == IO_ST_PLAIN || io->state == IO_ST_TLS) && wants_read(io))
		io_fill(io);
	io_run(io);
	io_leave(io);
}

static void
connect_done(struct io *io)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) == -1)
		error = errno;
	if (error != 0) {
		io_fail(io, "", error);
		return;
	}
	io->state = IO_ST_PLAIN;
	io_pend(io, IO_PEND_CONNECTED);
	if (evbuffer_get_length(io->out) > 0)
		io_dirty(io);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct io *io = arg;

	(void)fd;
	(void)what;
	loop_progress();
	io->busy = true;
	if (io->state == IO_ST_CONNECTING)
		connect_done(io);
	else if (io->state == IO_ST_HANDSHAKE)
		io_handshake(io);
	else if (io->blocked)
		io_flush(io);
	if (io->read_wants_write && !io->lingering)
		io_fill(io);
	io_run(io);
	io_leave(io);
}

static void
on_timeout(void *arg)
{
	struct io *io = arg;

	if (io->lingering) {
		io_free(&io);
		return;
	}
	io->busy = true;
	io->fn(io, IO_TIMEOUT, io->arg);
	io_leave(io);
}

struct io *
io_alloc(struct loop *l, int fd, io_fn *fn, void *arg, enum io_state state)
{
	struct io *io = xcalloc(1, sizeof(*io));
	int on = 1;

	io->hub = io_hub(l);
	io->fd = fd;
	io->fn = fn;
	io->arg = arg;
	io->state = state;
	io->in_limit = IO_IN_LIMIT;
	io->read_size = IO_READ_MIN;
	io->in = evbuffer_new();
	io->out = evbuffer_new();
	if (io->in == NULL || io->out == NULL)
		fatal("out of memory");
	event_assign(&io->ev_read, loop_base(l), fd, EV_READ | EV_PERSIST, on_read, io);
	event_assign(&io->ev_write, loop_base(l), fd, EV_WRITE | EV_PERSIST, on_write, io);
	timer_init(&io->timer, l, on_timeout, io);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not for a socketpair */
	io_watch(io);
	return io;
}

struct io *
io_new(struct loop *l, int fd, io_fn *fn, void *arg)
{
	return io_alloc(l, fd, fn, arg, IO_ST_PLAIN);
}

void
io_free(struct io **iop)
{
	struct io *io = *iop;

	if (io == NULL)
		return;
	*iop = NULL;
	if (io->dead)
		return;
	io->dead = true;
	if (io->is_dirty)
		TAILQ_REMOVE(&io->hub->dirty, io, dirty_link);
	if (io->is_due)
		TAILQ_REMOVE(&io->hub->due, io, due_link);
	if (io->lingering)
		TAILQ_REMOVE(&io->hub->lingering, io, linger_link);
	timer_cancel(&io->timer);
	event_del(&io->ev_read);
	event_del(&io->ev_write);
	io_tls_free(io);
	close(io->fd);
	if (io->in_cb != NULL)
		evbuffer_remove_cb_entry(io->in, io->in_cb);
	io->in_cb = NULL;
	if (!io->busy)
		io_destroy(io);
}

void
io_finish(struct io **iop, int64_t ms)
{
	struct io *io = *iop;

	if (io == NULL || io->dead || io->state == IO_ST_BROKEN || io->state == IO_ST_CONNECTING ||
	    (io->state == IO_ST_HANDSHAKE && io_pending(io) == 0)) {
		io_free(iop);
		return;
	}
	*iop = NULL;
	io->lingering = true;
	TAILQ_INSERT_TAIL(&io->hub->lingering, io, linger_link);
	io->pend = 0;
	io->want_drained = false;
	timer_set(&io->timer, ms);
	io_dirty(io);
}

void
io_fail(struct io *io, const char *what, int error)
{
	char reason[128], *text = strerror_r(error, reason, sizeof(reason));

	if (io->error != NULL)
		return;
	if (error == 0)
		io->error = xstrdup(what);
	else {
		io->error = *what == '\0' ? xstrdup(text) : xasprintf("%s: %s", what, text);
		/* "connection refused", to be put into a sentence */
		if (*what == '\0' && io->error[0] >= 'A' && io->error[0] <= 'Z' && io->error[1] >= 'a')
			io->error[0] = (char)(io->error[0] - 'A' + 'a');
	}
	io->error_no = error;
	io->state = IO_ST_BROKEN;
	io->blocked = io->read_wants_write = io->write_wants_read = false;
	io->pend &= ~(unsigned)(IO_PEND_READ | IO_PEND_DRAINED);
	io_pend(io, IO_PEND_ERROR);
}

struct evbuffer *
io_input(struct io *io)
{
	return io->in;
}

void
io_want_drained(struct io *io, bool on)
{
	io->want_drained = on;
	if (on && io_pending(io) == 0)
		io_pend(io, IO_PEND_DRAINED);
	else if (!on)
		io->pend &= ~(unsigned)IO_PEND_DRAINED;
}

void
io_pause(struct io *io)
{
	io->paused = true;
}

void
io_resume(struct io *io)
{
	if (!io->paused || io->dead)
		return;
	io->paused = false;
	if (evbuffer_get_length(io->in) > 0)
		io->pend |= IO_PEND_DATA;
	if (io->pend != 0)
		io_pend(io, 0);
	io_watch(io);
}

void
io_kick(struct io *io)
{
	io_pend(io, IO_PEND_DATA);
}

void
io_timeout(struct io *io, int64_t ms)
{
	if (io->dead)
		return;
	if (ms == 0)
		timer_cancel(&io->timer);
	else
		timer_set(&io->timer, ms);
}

void
io_input_limit(struct io *io, size_t limit)
{
	io->in_limit = limit;
	io_check_full(io);
}

void
io_quickack(struct io *io, bool on)
{
	io->quickack = on;
}

SSL *
io_ssl(struct io *io)
{
	return io->ssl;
}

bool
io_is_tls(const struct io *io)
{
	return io->ssl != NULL;
}

int
io_fd(const struct io *io)
{
	return io->fd;
}

const char *
io_error(const struct io *io)
{
	return io->error == NULL ? "no error" : io->error;
}

int
io_errno(const struct io *io)
{
	return io->error_no;
}
