/* A TCP connection with or without TLS: bytes in, bytes out, timeouts. Protocol code sees these events and never
 * libevent's or OpenSSL's codes. One callback; output is gathered and leaves once a turn (LOOP_OUTPUT); freeing inside
 * the callback is allowed.
 *
 * What STARTTLS needs is guaranteed here: starting TLS while unread plaintext lies in the input buffer is refused (RFC
 * 3207 section 6; CVE-2011-0411), and after a TLS connection ended nothing is ever read from it as plaintext. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <event2/buffer.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/loop.h"

struct io;

enum io_event {
	IO_CONNECTED, /* io_connect() succeeded */
	IO_TLS_READY, /* the handshake is done */
	IO_DATA,      /* new bytes in io_input(); called again only for newer ones or after io_kick() */
	IO_DRAINED,   /* all output has left (only after io_want_drained) */
	IO_EOF,       /* the peer closed in an orderly way (under TLS: close_notify) */
	IO_TIMEOUT,   /* io_timeout() ran out; the connection is still usable */
	IO_ERROR      /* broken; io_error() says how; only io_free() is left to do */
};
extern const char *const io_event_names[];

typedef void io_fn(struct io *, enum io_event, void *arg);

/* Takes over a connected, non-blocking socket. Reading starts at once. */
struct io *io_new(struct loop *l, int fd, io_fn *fn, void *arg);
/* Starts a non-blocking connect from `source` (NULL: any; port 0, IP_BIND_ADDRESS_NO_PORT). IO_CONNECTED or IO_ERROR
 * follows, never before this returns. NULL and *err_r if it failed at once (static string; errno set). */
struct io *io_connect(struct loop *l, const struct sockaddr *dst, socklen_t dstlen, const struct sockaddr *source,
    socklen_t sourcelen, io_fn *fn, void *arg, const char **err_r);
/* Closes at once (under TLS after an attempt at close_notify; unsent output is dropped) and nulls the pointer. */
void io_free(struct io **);
/* Sends what is pending, then frees, on its own, within `ms`; no callback comes any more. */
void io_finish(struct io **, int64_t ms);

struct evbuffer *io_input(struct io *);
void io_write(struct io *, const void *, size_t);
void io_printf(struct io *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The output buffer itself, for evbuffer_add_* without a copy. Call io_dirty() after adding. */
struct evbuffer *io_output(struct io *);
void io_dirty(struct io *);
size_t io_pending(const struct io *); /* bytes not yet written */
void io_want_drained(struct io *, bool);

void io_pause(struct io *);  /* stop reading: back-pressure reaches the peer by TCP */
void io_resume(struct io *); /* start again; bytes already buffered cause an IO_DATA */
void io_kick(struct io *);   /* IO_DATA again on the next turn although nothing new came (bounded work per call) */
/* One deadline; each call replaces the last; 0: none. It is a deadline, not an idle time: re-set it where progress
 * counts. */
void io_timeout(struct io *, int64_t ms);
/* Most bytes io_input() may hold before reading stops by itself (default 64 KiB). */
void io_input_limit(struct io *, size_t);

/* TCP_NODELAY is always set. This re-arms TCP_QUICKACK after each read: clients that write a message in two segments
 * with Nagle on wait 40 ms for our acknowledgement otherwise (measured with Symfony Mailer: 22 against 385-735
 * messages/s). */
void io_quickack(struct io *, bool);

/* -1 if plaintext is waiting in the input buffer: drop the connection then. */
int io_tls_accept(struct io *, SSL_CTX *) __attribute__((warn_unused_result));
/* sni may be NULL. resume may be NULL; it stays the caller's, unchanged. From the new-session callback keep an
 * SSL_SESSION_dup(): OpenSSL spoils the original for good when its connection ends without close_notify, as many mail
 * servers' do. */
int io_tls_connect(struct io *, SSL_CTX *, const char *sni, SSL_SESSION *resume) __attribute__((warn_unused_result));
SSL *io_ssl(struct io *); /* NULL without TLS */
bool io_is_tls(const struct io *);
int io_fd(const struct io *);
const char *io_error(const struct io *); /* a sentence, "connection reset by peer"; static or owned by io */
int io_errno(const struct io *);         /* 0 if it was not a system error */

#endif
