/* The only file that talks to OpenSSL about a connection (base/io.h). Hostile: every record. OpenSSL works on the
 * socket itself, so no byte of ciphertext is copied by us, and a byte that came before the handshake can only be in our
 * own input buffer, where it is looked for (RFC 3207 section 6). An end of the stream without close_notify is an error,
 * never an end of data (RFC 8446 section 6.1). */
#include <openssl/err.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io_private.h"
#include "base/log.h"

/* What went wrong, from OpenSSL's queue or errno. */
static void
tls_fail(struct io *io, int ssl_error, int saved_errno)
{
	bool in_handshake = io->state == IO_ST_HANDSHAKE;
	unsigned long e = ERR_peek_error();
	const char *reason;
	char text[128];

	io->tls_failed = ssl_error == SSL_ERROR_SSL;
	if (ssl_error == SSL_ERROR_SYSCALL && saved_errno != 0) {
		io_fail(io, in_handshake ? "TLS handshake" : "", saved_errno);
		return;
	}
	if (ssl_error == SSL_ERROR_SYSCALL || ssl_error == SSL_ERROR_ZERO_RETURN ||
	    ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		io_fail(io, in_handshake ? "connection closed during the TLS handshake" : "TLS connection truncated",
		    0);
		return;
	}
	reason = ERR_reason_error_string(e);
	snprintf(text, sizeof(text), "TLS%s: %s", in_handshake ? " handshake" : "",
	    reason == NULL ? "unknown error" : reason);
	io_fail(io, text, 0);
}

void
io_handshake(struct io *io)
{
	int rc, error, saved;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(io->ssl);
	saved = errno;
	io->handshake_wants_write = false;
	if (rc == 1) {
		io->state = IO_ST_TLS;
		io_pend(io, IO_PEND_TLS_READY | (SSL_has_pending(io->ssl) == 1 ? IO_PEND_READ : 0));
		if (evbuffer_get_length(io->out) > 0 || io->lingering)
			io_dirty(io);
		return;
	}
	error = SSL_get_error(io->ssl, rc);
	if (error == SSL_ERROR_WANT_WRITE)
		io->handshake_wants_write = true;
	else if (error != SSL_ERROR_WANT_READ)
		tls_fail(io, error, saved);
}

ssize_t
io_tls_read(struct io *io, void *p, size_t len, bool *again_r)
{
	int rc, error, saved;

	ERR_clear_error();
	errno = 0;
	rc = SSL_read(io->ssl, p, (int)len);
	saved = errno;
	if (rc > 0)
		return rc;
	error = SSL_get_error(io->ssl, rc);
	*again_r = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
	io->read_wants_write = error == SSL_ERROR_WANT_WRITE;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (!*again_r)
		tls_fail(io, error, saved);
	return -1;
}

ssize_t
io_tls_write(struct io *io, const void *p, size_t len, bool *again_r)
{
	int rc, error, saved;

	ERR_clear_error();
	errno = 0;
	rc = SSL_write(io->ssl, p, (int)len);
	saved = errno;
	if (rc > 0)
		return rc;
	error = SSL_get_error(io->ssl, rc);
	*again_r = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
	io->write_wants_read = error == SSL_ERROR_WANT_READ;
	if (!*again_r && error != SSL_ERROR_SYSCALL)
		tls_fail(io, error, saved);
	errno = saved != 0 ? saved : EPIPE;
	return -1;
}

static int
tls_start(struct io *io, SSL_CTX *ctx)
{
	/* Whatever is there was sent before TLS by whoever is on the wire. */
	if (io->state != IO_ST_PLAIN || io->ssl != NULL || io->read_done || evbuffer_get_length(io->in) > 0)
		return -1;
	if ((io->ssl = SSL_new(ctx)) == NULL)
		return -1;
	if (SSL_set_fd(io->ssl, io->fd) != 1) {
		SSL_free(io->ssl);
		io->ssl = NULL;
		return -1;
	}
	SSL_set_mode(io->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	    SSL_MODE_RELEASE_BUFFERS);
	SSL_set_read_ahead(io->ssl, 1); /* one read(2) a record instead of two */
	io->pend &= ~(unsigned)IO_PEND_DATA;
	io->state = IO_ST_TLS_FLUSH;
	if ((io->plain_out = evbuffer_new()) == NULL || evbuffer_add_buffer(io->plain_out, io->out) == -1)
		fatal("out of memory");
	if (!io->blocked)
		io_dirty(io);
	return 0;
}

int
io_tls_accept(struct io *io, SSL_CTX *ctx)
{
	if (tls_start(io, ctx) == -1)
		return -1;
	SSL_set_accept_state(io->ssl);
	return 0;
}

int
io_tls_connect(struct io *io, SSL_CTX *ctx, const char *sni, SSL_SESSION *resume)
{
	SSL_SESSION *copy;

	if (tls_start(io, ctx) == -1)
		return -1;
	SSL_set_connect_state(io->ssl);
	/* Neither is worth a connection: without them the handshake is merely longer, or the certificate another. */
	if (sni != NULL)
		(void)SSL_set_tlsext_host_name(io->ssl, sni);
	if (resume != NULL && (copy = SSL_SESSION_dup(resume)) != NULL) {
		(void)SSL_set_session(io->ssl, copy);
		SSL_SESSION_free(copy);
	}
	ERR_clear_error();
	return 0;
}

void
io_tls_goodbye(struct io *io)
{
	if (io->ssl == NULL || io->state != IO_ST_TLS || io->tls_failed || io->tls_closed)
		return;
	io->tls_closed = true;
	ERR_clear_error();
	(void)SSL_shutdown(io->ssl);
	ERR_clear_error();
}

void
io_tls_free(struct io *io)
{
	if (io->ssl == NULL)
		return;
	io_tls_goodbye(io);
	SSL_free(io->ssl);
	io->ssl = NULL;
}
