/* What io.c (life, events, callbacks), io_stream.c (bytes), io_tls.c (OpenSSL) and io_connect.c share. */
#ifndef BASE_IO_PRIVATE_H
#define BASE_IO_PRIVATE_H

#include <bsd/sys/queue.h>

#include "base/io.h"

#define IO_READ_MIN 3968             /* first read; doubles while reads fill it */
#define IO_READ_MAX (64 * 1024)      /* most bytes taken from one connection in one turn */
#define IO_WRITE_TLS_MAX (256 * 1024)/* most bytes encrypted for one connection in one turn */
#define IO_RECORD 16384              /* TLS record */
#define IO_LINGER_MAX (1024 * 1024)  /* most bytes thrown away while waiting for the peer's end */

enum io_state {
	IO_ST_CONNECTING,
	IO_ST_PLAIN,
	IO_ST_TLS_FLUSH, /* what was written before TLS must leave in the clear first */
	IO_ST_HANDSHAKE,
	IO_ST_TLS,
	IO_ST_BROKEN     /* nothing is read or written any more */
};

/* What is to be called back, in this order. */
enum io_pend {
	IO_PEND_CONNECTED = 1 << 0,
	IO_PEND_TLS_READY = 1 << 1,
	IO_PEND_READ = 1 << 2,  /* bytes may be waiting inside OpenSSL: no event will tell */
	IO_PEND_DATA = 1 << 3,
	IO_PEND_DRAINED = 1 << 4,
	IO_PEND_EOF = 1 << 5,
	IO_PEND_ERROR = 1 << 6
};

TAILQ_HEAD(io_list, io);

/* One for each loop. */
struct io_hub {
	struct loop *loop;
	struct io_list dirty, due;
	struct io_list lingering; /* io_finish(): ours from then on */
	SLIST_HEAD(io_reap, io) reap;
	struct timer kick;
	uint8_t record[IO_RECORD];  /* gathers small pieces into one TLS record; receives what is thrown away */
};

struct io {
	TAILQ_ENTRY(io) dirty_link, due_link, linger_link;
	SLIST_ENTRY(io) reap_link;
	struct io_hub *hub;
	io_fn *fn;
	void *arg;
	struct evbuffer *in, *out;
	struct evbuffer *plain_out;      /* IO_ST_TLS_FLUSH only */
	struct evbuffer_cb_entry *in_cb; /* while the input is full: tells when it is not */
	SSL *ssl;
	char *error;
	struct event ev_read, ev_write;
	struct timer timer;
	size_t in_limit;
	size_t read_size;
	size_t discarded;
	int fd;
	int error_no;
	enum io_state state;
	unsigned pend;                   /* enum io_pend */
	bool reading, writing;           /* what libevent was told */
	bool paused, full, read_done;    /* why nothing is read: owner; limit; the peer's end was seen */
	bool blocked;                    /* output waits for the socket */
	bool read_wants_write, write_wants_read, handshake_wants_write;
	bool want_drained, quickack;
	bool is_dirty, is_due;
	bool lingering, flushed, half_closed;
	bool busy;                       /* in an event or a callback: memory stays until LOOP_REAP */
	bool dead;
	bool tls_failed;                 /* no close_notify after a protocol error */
	bool tls_closed;                 /* close_notify was sent */
};

/* io.c */
struct io_hub *io_hub(struct loop *);
struct io *io_alloc(struct loop *l, int fd, io_fn *fn, void *arg, enum io_state state);
/* Notes what to call back; it happens in the loop's next round. */
void io_pend(struct io *, unsigned what);
/* Tells libevent what to watch. */
void io_watch(struct io *);
/* IO_ERROR is due. With error (an errno) what may be "". Only the first is kept. */
void io_fail(struct io *, const char *what, int error);

/* io_stream.c */
void io_fill(struct io *);
void io_flush(struct io *);
/* Looks again whether the input is still full. */
void io_check_full(struct io *);
/* After io_finish(): throws input away. True: over, free it. */
bool io_discard(struct io *);

/* io_tls.c */
void io_handshake(struct io *);
/* As read(2) and write(2): -1 with *again_r when OpenSSL waits for the socket; failures are noted by themselves. */
ssize_t io_tls_read(struct io *, void *, size_t, bool *again_r);
ssize_t io_tls_write(struct io *, const void *, size_t, bool *again_r);
/* Sends close_notify if that can be done at once. */
void io_tls_goodbye(struct io *);
void io_tls_free(struct io *);

#endif
