/* Connections: order of events, limits, pausing, freeing at every moment, TLS from the first byte to a truncated
 * end. */
#include <sys/socket.h>
#include <sys/wait.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "selfcert.h"
#include "until.h"

struct end {
	struct io *io;
	char events[256];    /* one letter each, DATA only once in a row */
	size_t got;          /* bytes taken from the input */
	uint32_t sum;        /* of them */
	size_t most;         /* ever seen in the input */
	char text[256];      /* their beginning */
	bool keep;           /* leave the input alone */
	size_t per_call;     /* take at most that many, then kick */
	unsigned calls;      /* IO_DATA */
	char free_on, finish_on, pause_on;
	char error[128];
};

static struct loop *l;
static struct selfcert cert;
static SSL_CTX *server_ctx, *client_ctx;
static SSL_SESSION *kept;

static int
setup(void **state)
{
	(void)state;
	l = loop_new();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	loop_free(&l);
	return 0;
}

static uint32_t
checksum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = sum * 16777619 + p[i];
	return sum;
}

static void
take(struct end *e)
{
	struct evbuffer *in = io_input(e->io);
	size_t len = evbuffer_get_length(in);
	uint8_t buf[4096];
	int n;

	e->most = len > e->most ? len : e->most;
	if (e->keep)
		return;
	if (e->per_call != 0 && len > e->per_call) {
		len = e->per_call;
		io_kick(e->io);
	}
	for (; len > 0; len -= (size_t)n) {
		n = evbuffer_remove(in, buf, len < sizeof(buf) ? len : sizeof(buf));
		assert_true(n > 0);
		if (e->got < sizeof(e->text) - 1)
			memcpy(e->text + e->got, buf, (size_t)n < sizeof(e->text) - 1 - e->got ? (size_t)n :
			    sizeof(e->text) - 1 - e->got);
		e->sum = checksum(e->sum, buf, (size_t)n);
		e->got += (size_t)n;
	}
}

static void
on_event(struct io *io, enum io_event ev, void *arg)
{
	static const char letters[] = { [IO_CONNECTED] = 'C', [IO_TLS_READY] = 'S', [IO_DATA] = 'D', [IO_DRAINED] = 'W',
		[IO_EOF] = 'E', [IO_TIMEOUT] = 'T', [IO_ERROR] = 'X' };
	struct end *e = arg;
	size_t n = strlen(e->events);
	char c = letters[ev];

	assert_ptr_equal(io, e->io);
	if ((n == 0 || c != 'D' || e->events[n - 1] != 'D') && n < sizeof(e->events) - 1)
		e->events[n] = c;
	if (ev == IO_DATA) {
		e->calls++;
		take(e);
	}
	if (ev == IO_ERROR)
		snprintf(e->error, sizeof(e->error), "%s", io_error(io));
	if (c == e->pause_on)
		io_pause(io);
	if (c == e->free_on)
		io_free(&e->io);
	else if (c == e->finish_on)
		io_finish(&e->io, 1000);
}

static bool
saw(const struct end *e, char c)
{
	return strchr(e->events, c) != NULL;
}

/* A connected pair over TCP; the second end may stay a bare descriptor. */
static int
tcp_pair(struct end *a)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(a, 0, sizeof(*a));
	assert_int_equal(bind(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(s, 1), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&sin, &len), 0);
	assert_int_equal(connect(c, (struct sockaddr *)&sin, sizeof(sin)), 0);
	fd = accept4(s, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd != -1);
	close(s);
	a->io = io_new(l, fd, on_event, a);
	return c;
}

static void
io_pair(struct end *a, struct end *b)
{
	int fd = tcp_pair(a);

	memset(b, 0, sizeof(*b));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	b->io = io_new(l, fd, on_event, b);
}

/* a is the server. */
static void
tls_pair(struct end *a, struct end *b)
{
	io_pair(a, b);
	assert_int_equal(io_tls_accept(a->io, server_ctx), 0);
	assert_int_equal(io_tls_connect(b->io, client_ctx, "mx.example", NULL), 0);
	UNTIL(l, saw(a, 'S') && saw(b, 'S'));
	a->events[0] = a->events[1] = b->events[0] = b->events[1] = '\0';
}

static void
free_pair(struct end *a, struct end *b)
{
	io_free(&a->io);
	io_free(&b->io);
}

static uint8_t *
pattern(size_t len, uint32_t *sum_r)
{
	uint8_t *p = xmalloc(len);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 131 + i / 251);
	*sum_r = checksum(0, p, len);
	return p;
}

static void
events_in_order(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);

	(void)state;
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	assert_string_equal(a.events, ""); /* never from inside a call */
	UNTIL(l, saw(&a, 'E'));
	assert_string_equal(a.events, "DE");
	assert_string_equal(a.text, "hello");
	run_ms(l, 5);
	assert_string_equal(a.events, "DE"); /* once */
	io_free(&a.io);
	assert_null(a.io);
	io_free(&a.io);
}

static void
half_closed_peer_still_reads(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);
	char buf[16];

	(void)state;
	shutdown(fd, SHUT_WR);
	UNTIL(l, saw(&a, 'E'));
	io_printf(a.io, "%s %d", "answer", 42);
	assert_int_equal(io_pending(a.io), 9);
	run_ms(l, 2);
	assert_int_equal(io_pending(a.io), 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "answer 42", 9);
	io_free(&a.io);
	assert_int_equal(read(fd, buf, sizeof(buf)), 0);
	close(fd);
}

/* Both ways at once, much more than any buffer. */
static void
bulk(void **state)
{
	size_t len = 5000000;
	uint32_t sum;
	uint8_t *p = pattern(len, &sum);
	struct end a, b;

	for (int tls = 0; tls < 2; tls++) {
		if (tls)
			tls_pair(&a, &b);
		else
			io_pair(&a, &b);
		assert_int_equal(io_is_tls(a.io), tls);
		io_want_drained(a.io, true);
		io_want_drained(a.io, false);
		io_write(a.io, p, len);
		io_want_drained(a.io, true);
		for (size_t at = 0; at < len; at += 777) /* small pieces, some by reference */
			if (at % 2 == 0)
				io_write(b.io, p + at, len - at < 777 ? len - at : 777);
			else {
				evbuffer_add_reference(io_output(b.io), p + at, len - at < 777 ? len - at : 777, NULL,
				    NULL);
				io_dirty(b.io);
			}
		UNTIL(l, a.got == len && b.got == len);
		assert_int_equal(a.sum, sum);
		assert_int_equal(b.sum, sum);
		assert_in_range(a.most, 1, 64 * 1024);
		assert_in_range(b.most, 1, 64 * 1024);
		UNTIL(l, saw(&a, 'W'));
		assert_int_equal(io_pending(a.io), 0);
		assert_false(saw(&b, 'W'));
		free_pair(&a, &b);
	}
	free(p);
	(void)state;
}

static void
input_limit(void **state)
{
	size_t len = 3000000;
	uint32_t sum;
	uint8_t *p = pattern(len, &sum);
	struct end a, b;
	unsigned calls;

	for (int tls = 0; tls < 2; tls++) {
		if (tls)
			tls_pair(&a, &b);
		else
			io_pair(&a, &b);
		a.keep = true;
		io_input_limit(a.io, 10000);
		io_write(b.io, p, len);
		run_ms(l, 30);
		assert_int_equal(evbuffer_get_length(io_input(a.io)), 10000);
		calls = a.calls;
		run_ms(l, 10);
		assert_int_equal(a.calls, calls);
		/* Taken out elsewhere than in the callback: goes on by itself. */
		a.sum = checksum(a.sum, evbuffer_pullup(io_input(a.io), 6000), 6000);
		a.got += 6000;
		evbuffer_drain(io_input(a.io), 6000);
		run_ms(l, 20);
		assert_int_equal(evbuffer_get_length(io_input(a.io)), 10000);
		a.keep = false;
		io_kick(a.io);
		UNTIL(l, a.got == len);
		assert_int_equal(a.sum, sum);
		assert_in_range(a.most, 1, 10000);
		free_pair(&a, &b);
	}
	free(p);
	(void)state;
}

static void
pause_and_resume(void **state)
{
	struct end a, b;

	for (int tls = 0; tls < 2; tls++) {
		if (tls)
			tls_pair(&a, &b);
		else
			io_pair(&a, &b);
		a.pause_on = 'D';
		a.keep = true;
		io_write(b.io, "one", 3);
		UNTIL(l, saw(&a, 'D'));
		io_write(b.io, "two", 3);
		io_finish(&b.io, 1000);
		run_ms(l, 20);
		assert_int_equal(evbuffer_get_length(io_input(a.io)), 3);
		assert_string_equal(a.events, "D");
		assert_int_equal(a.calls, 1);
		a.keep = false;
		a.pause_on = 0;
		io_kick(a.io); /* while paused: waits */
		run_ms(l, 2);
		assert_int_equal(a.calls, 1);
		io_resume(a.io);
		assert_int_equal(a.calls, 1);
		UNTIL(l, saw(&a, 'E'));
		assert_string_equal(a.events, "DE");
		assert_string_equal(a.text, "onetwo");
		io_free(&a.io);
	}
	(void)state;
}

static void
kicking(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);

	(void)state;
	a.per_call = 1;
	assert_int_equal(write(fd, "0123456789", 10), 10);
	shutdown(fd, SHUT_WR);
	UNTIL(l, saw(&a, 'E'));
	assert_string_equal(a.events, "DE"); /* the end only after all of it */
	assert_int_equal(a.calls, 10);
	assert_string_equal(a.text, "0123456789");
	io_free(&a.io);
	close(fd);
}

static void
freeing_inside_callbacks(void **state)
{
	static const char when[] = "DESTX";
	struct end a, b;

	(void)state;
	for (int how = 0; how < 2; how++)
		for (size_t i = 0; i < sizeof(when) - 1; i++) {
			io_pair(&a, &b);
			*(how == 0 ? &a.free_on : &a.finish_on) = when[i];
			switch (when[i]) {
			case 'D':
			case 'E':
				io_write(b.io, "x", 1);
				io_finish(&b.io, 100);
				break;
			case 'S':
				assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
				assert_int_equal(io_tls_connect(b.io, client_ctx, NULL, NULL), 0);
				break;
			case 'T':
				io_timeout(a.io, 1);
				break;
			case 'X':
				assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
				io_write(b.io, "HELO not.tls\r\n\r\n\r\n", 18);
				break;
			}
			UNTIL(l, a.io == NULL);
			assert_int_equal(strchr(a.events, when[i])[1], '\0'); /* nothing after it */
			run_ms(l, 2);
			io_free(&b.io);
			run_ms(l, 2);
		}
}

/* One connection's callback frees another one that has an event in the same turn. */
static struct end mutual[2];

static void
on_mutual(struct io *io, enum io_event ev, void *arg)
{
	struct end *e = arg, *other = e == &mutual[0] ? &mutual[1] : &mutual[0];

	(void)io;
	(void)ev;
	e->calls++;
	io_free(&other->io);
}

static void
freeing_each_other(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		int s[2][2];

		memset(mutual, 0, sizeof(mutual));
		for (int i = 0; i < 2; i++) {
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s[i]), 0);
			mutual[i].io = io_new(l, s[i][0], on_mutual, &mutual[i]);
			if (round == 0)
				assert_int_equal(write(s[i][1], "x", 1), 1);
			else
				io_kick(mutual[i].io);
		}
		run_ms(l, 5);
		assert_int_equal(mutual[0].calls + mutual[1].calls, 1);
		for (int i = 0; i < 2; i++) {
			io_free(&mutual[i].io);
			close(s[i][1]);
		}
	}
}

static void
timeouts(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);
	int64_t start = mono_ms();

	(void)state;
	io_timeout(a.io, 20);
	UNTIL(l, saw(&a, 'T'));
	assert_in_range(mono_ms() - start, 19, 2000);
	run_ms(l, 30);
	assert_string_equal(a.events, "T");
	io_timeout(a.io, 10);
	io_timeout(a.io, 0);
	run_ms(l, 20);
	assert_string_equal(a.events, "T");
	assert_int_equal(write(fd, "alive", 5), 5); /* still usable */
	UNTIL(l, a.got == 5);
	io_free(&a.io);
	close(fd);
}

static void
connecting(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, src = sin, peer;
	socklen_t len = sizeof(sin);
	int fd, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct end a = { 0 };
	const char *err;
	char buf[8];

	(void)state;
	assert_int_equal(bind(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(s, 1), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&sin, &len), 0);
	src.sin_addr.s_addr = htonl(0x7f000002);
	a.io = io_connect(l, (struct sockaddr *)&sin, sizeof(sin), (struct sockaddr *)&src, sizeof(src), on_event, &a,
	    &err);
	assert_non_null(a.io);
	io_write(a.io, "early", 5); /* leaves once connected */
	assert_string_equal(a.events, "");
	UNTIL(l, saw(&a, 'C'));
	len = sizeof(peer);
	fd = accept4(s, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	assert_int_equal(peer.sin_addr.s_addr, src.sin_addr.s_addr);
	run_ms(l, 2);
	assert_int_equal(read(fd, buf, 5), 5);
	assert_int_equal(write(fd, "hi", 2), 2);
	UNTIL(l, a.got == 2);
	io_free(&a.io);
	close(fd);
	close(s);

	/* Nobody listens there any more: at once or by event. */
	memset(&a, 0, sizeof(a));
	a.io = io_connect(l, (struct sockaddr *)&sin, sizeof(sin), NULL, 0, on_event, &a, &err);
	if (a.io == NULL) {
		assert_int_equal(errno, ECONNREFUSED);
		assert_string_equal(err, "cannot connect");
	} else {
		UNTIL(l, saw(&a, 'X'));
		assert_string_equal(a.events, "X");
		assert_string_equal(a.error, "connection refused");
		assert_int_equal(io_errno(a.io), ECONNREFUSED);
		io_free(&a.io);
	}

	src.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 is not ours */
	assert_null(io_connect(l, (struct sockaddr *)&sin, sizeof(sin), (struct sockaddr *)&src, sizeof(src), on_event,
	    &a, &err));
	assert_int_equal(errno, EADDRNOTAVAIL);
	assert_string_equal(err, "cannot use the source address");
}

/* "421 ..." and a reset: the words must not be lost behind the failure of our own write. */
static void
last_words_before_an_error(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);
	struct linger hard = { 1, 0 };

	(void)state;
	assert_int_equal(write(fd, "421 go away", 11), 11);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	io_write(a.io, "MAIL", 4);
	UNTIL(l, saw(&a, 'X'));
	assert_string_equal(a.events, "DX");
	assert_string_equal(a.text, "421 go away");
	assert_true(io_errno(a.io) == EPIPE || io_errno(a.io) == ECONNRESET);
	io_write(a.io, "more", 4); /* harmless */
	assert_int_equal(io_pending(a.io), 0);
	io_free(&a.io);
}

/* All output leaves although the peer keeps sending, and the end is orderly. */
static void
finishing(void **state)
{
	size_t len = 2000000;
	uint32_t sum;
	uint8_t *p = pattern(len, &sum);
	struct end a, b;

	for (int tls = 0; tls < 2; tls++) {
		if (tls)
			tls_pair(&a, &b);
		else
			io_pair(&a, &b);
		io_write(b.io, p, 100000); /* nobody reads it any more */
		io_write(a.io, p, len);
		io_finish(&a.io, 5000);
		assert_null(a.io);
		UNTIL(l, saw(&b, 'E'));
		assert_int_equal(b.got, len);
		assert_int_equal(b.sum, sum);
		assert_false(saw(&b, 'X'));
		io_free(&b.io);
		run_ms(l, 2);
	}
	free(p);
	(void)state;
}

static void
finishing_in_time(void **state)
{
	uint8_t *p = xcalloc(1, 20000000);
	struct end a;
	int fd = tcp_pair(&a);
	char buf[65536];
	ssize_t n;
	size_t got = 0;

	(void)state;
	io_write(a.io, p, 20000000);
	io_finish(&a.io, 50); /* the peer does not read */
	run_ms(l, 100);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		got += (size_t)n;
	assert_true(got < 20000000);
	close(fd);
	free(p);
	/* And what is still lingering goes with the loop. */
	fd = tcp_pair(&a);
	io_write(a.io, "bye", 3);
	io_finish(&a.io, 50000);
	run_ms(l, 2);
	assert_int_equal(read(fd, buf, sizeof(buf)), 3);
	assert_int_equal(read(fd, buf, sizeof(buf)), 0);
	close(fd);
}

/* The reply to STARTTLS leaves in the clear, what is written after io_tls_accept() does not. */
static void
starttls(void **state)
{
	struct end a, b;

	(void)state;
	io_pair(&a, &b);
	io_write(b.io, "STARTTLS\r\n", 10);
	UNTIL(l, a.got == 10);
	io_write(a.io, "220 go\r\n", 8);
	assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
	assert_int_equal(io_tls_accept(a.io, server_ctx), -1); /* once is enough */
	io_write(a.io, "secret", 6);
	UNTIL(l, b.got == 8);
	assert_string_equal(b.text, "220 go\r\n");
	run_ms(l, 2);
	assert_int_equal(b.got, 8);
	assert_int_equal(io_tls_connect(b.io, client_ctx, "mx.example", NULL), 0);
	io_write(b.io, "EHLO", 4);
	UNTIL(l, b.got == 14 && a.got == 14);
	assert_string_equal(b.text, "220 go\r\nsecret");
	assert_string_equal(a.text, "STARTTLS\r\nEHLO");
	assert_string_equal(a.events, "DSD");
	assert_string_equal(b.events, "DSD");
	assert_string_equal(SSL_get_servername(io_ssl(a.io), TLSEXT_NAMETYPE_host_name), "mx.example");
	free_pair(&a, &b);
}

static void
plaintext_behind_starttls(void **state)
{
	struct end a;
	int fd = tcp_pair(&a);

	(void)state;
	a.keep = true;
	assert_int_equal(write(fd, "STARTTLS\r\nMAIL FROM:<a@b>\r\n", 27), 27);
	UNTIL(l, saw(&a, 'D'));
	evbuffer_drain(io_input(a.io), 10);
	assert_int_equal(io_tls_accept(a.io, server_ctx), -1);
	assert_int_equal(io_tls_connect(a.io, client_ctx, NULL, NULL), -1);
	assert_false(io_is_tls(a.io));
	io_free(&a.io);
	close(fd);
}

/* A blocking client of OpenSSL's own in another process, so that both halves of an attack are under control. */
static void
attack(struct end *a, void (*client)(SSL *, int))
{
	int fd = tcp_pair(a), status;
	pid_t pid;

	SSL_CTX_set_num_tickets(server_ctx, 0); /* unread, one would make the kernel reset what the client closes */
	assert_int_equal(io_tls_accept(a->io, server_ctx), 0);
	SSL_CTX_set_num_tickets(server_ctx, 1);
	if ((pid = fork()) == 0) {
		SSL *ssl = SSL_new(client_ctx);

		SSL_set_fd(ssl, fd);
		if (SSL_connect(ssl) != 1)
			_exit(1);
		client(ssl, fd);
		_exit(0);
	}
	close(fd);
	UNTIL(l, saw(a, 'E') || saw(a, 'X'));
	run_ms(l, 10);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
notify_then_plaintext(SSL *ssl, int fd)
{
	SSL_write(ssl, "BDAT 100", 8);
	SSL_shutdown(ssl);
	if (write(fd, "X", 1) != 1)
		_exit(1);
	usleep(5000);
}

static void
no_plaintext_after_tls(void **state)
{
	struct end a;

	(void)state;
	attack(&a, notify_then_plaintext);
	assert_string_equal(a.events, "SDE");
	assert_string_equal(a.text, "BDAT 100");
	assert_int_equal(io_tls_accept(a.io, server_ctx), -1);
	assert_true(io_is_tls(a.io));
	io_free(&a.io);
}

static void
plaintext_record(SSL *ssl, int fd)
{
	SSL_write(ssl, "MAIL", 4);
	if (write(fd, "RSET\r\nRSET\r\n", 12) != 12)
		_exit(1);
	usleep(5000);
}

static void
no_plaintext_amid_tls(void **state)
{
	struct end a;

	(void)state;
	attack(&a, plaintext_record);
	assert_string_equal(a.events, "SDX");
	assert_string_equal(a.text, "MAIL");
	assert_non_null(strstr(a.error, "TLS: "));
	assert_int_equal(io_errno(a.io), 0);
	io_free(&a.io);
}

static void
truncate_early(SSL *ssl, int fd)
{
	SSL_write(ssl, "DATA", 4);
	close(fd);
}

static void
truncated_tls(void **state)
{
	struct end a;

	(void)state;
	attack(&a, truncate_early);
	assert_string_equal(a.events, "SDX");
	assert_string_equal(a.text, "DATA");
	assert_string_equal(a.error, "TLS connection truncated");
	io_free(&a.io);
}

/* Every TLS error ends in one IO_ERROR, wherever the handshake breaks. */
static void
bad_handshakes(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *error;
	} cases[] = {
		{ "", 0, "connection closed during the TLS handshake" },
		{ "\x16\x03\x01", 3, "connection closed during the TLS handshake" },
		{ "EHLO example.org\r\n", 18, "TLS handshake: " },
		{ "GET / HTTP/1.1\r\n\r\n", 18, "TLS handshake: http request" },
		{ "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, "TLS handshake: " },
		{ "\x15\x03\x01\x00\x02\x02\x28", 7, "TLS handshake: " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int client = 0; client < 2; client++) {
			struct end a;
			int fd = tcp_pair(&a);

			if (client)
				assert_int_equal(io_tls_connect(a.io, client_ctx, NULL, NULL), 0);
			else
				assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
			assert_int_equal(write(fd, cases[i].bytes, cases[i].len), (ssize_t)cases[i].len);
			shutdown(fd, SHUT_WR);
			UNTIL(l, saw(&a, 'X'));
			assert_string_equal(a.events, "X");
			if (!client && strncmp(a.error, cases[i].error, strlen(cases[i].error)) != 0)
				fail_msg("case %zu: %s", i, a.error);
			io_free(&a.io);
			close(fd);
		}
}

static int
keep_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = SSL_SESSION_dup(s);
	return 0;
}

/* Also after a connection that ended without ceremony, as many mail servers' do. */
static void
sessions_are_resumed(void **state)
{
	struct end a, b;

	(void)state;
	SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
	tls_pair(&a, &b);
	io_write(a.io, "x", 1);
	UNTIL(l, b.got == 1 && kept != NULL);
	assert_false(SSL_session_reused(io_ssl(b.io)));
	shutdown(io_fd(a.io), SHUT_RDWR);
	UNTIL(l, saw(&b, 'X'));
	free_pair(&a, &b);
	for (int i = 0; i < 2; i++) {
		SSL_SESSION *s = kept;

		SSL_SESSION_up_ref(s);
		io_pair(&a, &b);
		assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
		assert_int_equal(io_tls_connect(b.io, client_ctx, NULL, s), 0);
		UNTIL(l, saw(&a, 'S') && saw(&b, 'S'));
		assert_true(SSL_session_reused(io_ssl(b.io)));
		io_write(a.io, "y", 1);
		UNTIL(l, b.got == 1);
		free_pair(&a, &b);
		SSL_SESSION_free(s);
	}
	SSL_SESSION_free(kept);
	kept = NULL;
	SSL_CTX_sess_set_new_cb(client_ctx, NULL);
}

/* A client that sends its first command with its last handshake message: those bytes are inside OpenSSL when we are
 * ready. */
static void
data_with_the_handshake(void **state)
{
	struct end a, b;

	(void)state;
	for (int i = 0; i < 20; i++) {
		io_pair(&a, &b);
		io_pause(a.io);
		assert_int_equal(io_tls_accept(a.io, server_ctx), 0);
		assert_int_equal(io_tls_connect(b.io, client_ctx, NULL, NULL), 0);
		io_write(b.io, "EHLO\r\n", 6);
		UNTIL(l, saw(&a, 'S'));
		run_ms(l, 2);
		assert_int_equal(a.got, 0);
		io_resume(a.io);
		UNTIL(l, a.got == 6);
		free_pair(&a, &b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(events_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(half_closed_peer_still_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(bulk, setup, teardown),
		cmocka_unit_test_setup_teardown(input_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(pause_and_resume, setup, teardown),
		cmocka_unit_test_setup_teardown(kicking, setup, teardown),
		cmocka_unit_test_setup_teardown(freeing_inside_callbacks, setup, teardown),
		cmocka_unit_test_setup_teardown(freeing_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(timeouts, setup, teardown),
		cmocka_unit_test_setup_teardown(connecting, setup, teardown),
		cmocka_unit_test_setup_teardown(last_words_before_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(finishing, setup, teardown),
		cmocka_unit_test_setup_teardown(finishing_in_time, setup, teardown),
		cmocka_unit_test_setup_teardown(starttls, setup, teardown),
		cmocka_unit_test_setup_teardown(plaintext_behind_starttls, setup, teardown),
		cmocka_unit_test_setup_teardown(no_plaintext_after_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(no_plaintext_amid_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(truncated_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(sessions_are_resumed, setup, teardown),
		cmocka_unit_test_setup_teardown(data_with_the_handshake, setup, teardown),
	};
	char *err;
	int failed;

	log_init("io-test", LOG_LVL_WARN);
	selfcert_make(&cert, false, NULL);
	server_ctx = tls_server_ctx(cert.cert, cert.key, "test", &err);
	client_ctx = tls_client_ctx(&err);
	if (server_ctx == NULL || client_ctx == NULL)
		fatal("%s", err);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	selfcert_remove(&cert);
	return failed;
}
