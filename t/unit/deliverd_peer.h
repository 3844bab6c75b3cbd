/* A scripted SMTP server in threads of its own, for the tests of deliverd's client. */
#ifndef T_DELIVERD_PEER_H
#define T_DELIVERD_PEER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/xalloc.h"

#define CONNS_MAX 64

/* A script is a list of steps for one connection:
 *   "S:text"  send text;       "C:EHLO"  read a line, which must begin with EHLO
 *   "D"       read up to CRLF.CRLF (or .CRLF at once);  "W:50" wait so many ms
 *   "T"       server side of a TLS handshake, everything after it is under TLS
 *   "X"       close;           "R"  reset
 * A connection beyond the last script gets the last one. Scripts end with NULL; then the connection is closed once the
 * client has closed its side, unless the last step was X or R. */
typedef const char *const script[128];

struct peer {
	int fd;
	uint16_t port;
	const script *scripts;
	unsigned n_scripts;
	SSL_CTX *tls;
	pthread_t thread;
	pthread_t conns[CONNS_MAX];
	unsigned n_conns;
	unsigned n_resumed; /* TLS sessions */
	unsigned n_open, max_open; /* connections at a time */
	bool is_stopping;
	pthread_mutex_t lock;
	char *log; /* what clients said, line by line,
	    content included; a line of a script that did not match is marked */
	size_t log_len, log_size;
};

struct peer_conn {
	struct peer *p;
	int fd;
	SSL *ssl;
	const char *const *script;
	bool is_uncounted;
	char buf[1 << 16];
	size_t len;
};

static void
peer_note(struct peer *p, const char *s, size_t n)
{
	pthread_mutex_lock(&p->lock);
	if (p->log_len + n + 1 > p->log_size) {
		p->log_size = (p->log_len + n + 1) * 2;
		p->log = xreallocarray(p->log, p->log_size, 1);
	}
	memcpy(p->log + p->log_len, s, n);
	p->log_len += n;
	p->log[p->log_len] = '\0';
	pthread_mutex_unlock(&p->lock);
}

static ssize_t
peer_read(struct peer_conn *c)
{
	ssize_t n;

	if (c->ssl != NULL)
		n = SSL_read(c->ssl, c->buf + c->len, (int)(sizeof(c->buf) - c->len));
	else
		n = read(c->fd, c->buf + c->len, sizeof(c->buf) - c->len);
	if (n > 0)
		c->len += (size_t)n;
	return n;
}

static bool
peer_write(struct peer_conn *c, const char *s, size_t n)
{
	ssize_t w;

	while (n > 0) {
		w = c->ssl != NULL ? SSL_write(c->ssl, s, (int)n) : send(c->fd, s, n, MSG_NOSIGNAL);
		if (w <= 0)
			return false;
		s += w;
		n -= (size_t)w;
	}
	return true;
}

static bool
peer_line(struct peer_conn *c, const char *want)
{
	char *lf;
	size_t n;

	while ((lf = memchr(c->buf, '\n', c->len)) == NULL)
		if (c->len == sizeof(c->buf) || peer_read(c) <= 0)
			return false;
	n = (size_t)(lf - c->buf) + 1;
	if (strncmp(c->buf, want, strlen(want)) != 0)
		peer_note(c->p, "MISMATCH ", 9);
	peer_note(c->p, c->buf, n);
	c->len -= n;
	memmove(c->buf, c->buf + n, c->len);
	return true;
}

static bool
peer_data(struct peer_conn *c)
{
	size_t at, tail;
	char *end;

	for (;;) {
		if (c->len >= 3 && memcmp(c->buf, ".\r\n", 3) == 0) {
			at = 3;
			break;
		}
		end = memmem(c->buf, c->len, "\r\n.\r\n", 5);
		if (end != NULL) {
			at = (size_t)(end - c->buf) + 5;
			break;
		}
		if (c->len > 60000) { /* keeps what an end may begin with */
			tail = 4;
			peer_note(c->p, c->buf, c->len - tail);
			memmove(c->buf, c->buf + c->len - tail, tail);
			c->len = tail;
		}
		if (peer_read(c) <= 0)
			return false;
	}
	peer_note(c->p, c->buf, at);
	c->len -= at;
	memmove(c->buf, c->buf + at, c->len);
	return true;
}

static bool
peer_tls(struct peer_conn *c)
{
	char sni[300];

	c->ssl = SSL_new(c->p->tls);
	SSL_set_fd(c->ssl, c->fd);
	if (SSL_accept(c->ssl) != 1)
		return false;
	if (SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name) != NULL) {
		snprintf(sni, sizeof(sni), "SNI %s\n", SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name));
		peer_note(c->p, sni, strlen(sni));
	}
	if (SSL_session_reused(c->ssl)) {
		pthread_mutex_lock(&c->p->lock);
		c->p->n_resumed++;
		pthread_mutex_unlock(&c->p->lock);
	}
	return true;
}

static bool
peer_step(struct peer_conn *c, const char *step)
{
	static const struct linger lg = { 1, 0 };

	switch (step[0]) {
	case 'S':
		return peer_write(c, step + 2, strlen(step + 2));
	case 'C':
		return peer_line(c, step + 2);
	case 'D':
		return peer_data(c);
	case 'T':
		return peer_tls(c);
	case 'W':
		usleep((useconds_t)atoi(step + 2) * 1000);
		return true;
	case 'L': /* a line of a megabyte */
		for (unsigned i = 0; i < 1024; i++)
			if (!peer_write(c, "220-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 64))
				return false;
		return true;
	case 'R':
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
		return false;
	default: /* X */
		return false;
	}
}

/* Before the client can know: else its next connection might be counted first. */
static void
peer_uncount(struct peer_conn *c)
{
	if (c->is_uncounted)
		return;
	c->is_uncounted = true;
	pthread_mutex_lock(&c->p->lock);
	c->p->n_open--;
	pthread_mutex_unlock(&c->p->lock);
}

static void *
peer_conn_main(void *arg)
{
	struct peer_conn *c = arg;
	bool is_open = true;

	for (; is_open && *c->script != NULL; c->script++) {
		if (c->script[0][0] == 'S' && c->script[1] != NULL && c->script[1][0] == 'X')
			peer_uncount(c);
		is_open = peer_step(c, *c->script);
	}
	while (is_open && peer_line(c, ""))
		;
	if (c->ssl != NULL)
		SSL_free(c->ssl);
	peer_uncount(c);
	close(c->fd);
	free(c);
	return NULL;
}

static void *
peer_main(void *arg)
{
	struct peer *p = arg;
	struct peer_conn *c;
	unsigned n;
	int fd;

	while ((fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC)) != -1) {
		pthread_mutex_lock(&p->lock);
		n = p->n_conns++;
		if (++p->n_open > p->max_open)
			p->max_open = p->n_open;
		pthread_mutex_unlock(&p->lock);
		if (p->is_stopping || n >= CONNS_MAX) {
			close(fd);
			break;
		}
		c = xcalloc(1, sizeof(*c));
		c->p = p;
		c->fd = fd;
		c->script = p->scripts[n < p->n_scripts ? n : p->n_scripts - 1];
		pthread_create(&p->conns[n], NULL, peer_conn_main, c);
	}
	return NULL;
}

#endif
