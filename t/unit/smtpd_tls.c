/* smtpd under TLS: what STARTTLS forgets, TLS from the start, and a TLS end in the middle of a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>

#include "base/log.h"
#include "t/unit/selfcert.h"
#include "t/unit/smtpd_world.h"
#include "t/unit/until.h"

struct tls_world {
	struct world x;
	struct selfcert cert;
	SSL_CTX *ctx;
	SSL *ssl;
};

static void
setup(struct tls_world *t)
{
	char *err = NULL;
	int i;

	memset(t, 0, sizeof *t);
	world_init(&t->x, NULL);
	selfcert_make(&t->cert, false, NULL);
	for (i = 0; i < LISTEN_KINDS; i++) {
		t->x.w.tls[i] = tls_server_ctx(t->cert.cert, t->cert.key, listener_names[i], &err);
		assert_non_null(t->x.w.tls[i]);
	}
	t->ctx = tls_client_ctx(&err);
	assert_non_null(t->ctx);
}

static void
teardown(struct tls_world *t)
{
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	world_clear(&t->x);
	selfcert_remove(&t->cert);
}

static void
handshake(struct tls_world *t)
{
	SSL_free(t->ssl);
	t->ssl = SSL_new(t->ctx);
	SSL_set_fd(t->ssl, t->x.fd);
	UNTIL(t->x.loop, SSL_connect(t->ssl) == 1);
}

static bool
tls_got(struct tls_world *t, const char *want)
{
	struct world *x = &t->x;
	int n;

	while ((n = SSL_read(t->ssl, x->out + x->out_len, (int)(sizeof x->out - 1 - x->out_len))) > 0)
		x->out_len += (size_t)n;
	x->out[x->out_len] = '\0';
	return strstr(x->out, want) != NULL;
}

static void
tls_talk(struct tls_world *t, const char *send, const char *want)
{
	t->x.out_len = 0;
	if (*send != '\0')
		assert_int_equal(SSL_write(t->ssl, send, (int)strlen(send)), (int)strlen(send));
	UNTIL(t->x.loop, tls_got(t, want));
}

static bool
plain_got(struct tls_world *t, const char *want)
{
	world_read(&t->x);
	return strstr(t->x.out, want) != NULL;
}

static void
plain_talk(struct tls_world *t, const char *send, const char *want)
{
	t->x.out_len = 0;
	assert_int_equal(write(t->x.fd, send, strlen(send)), (ssize_t)strlen(send));
	UNTIL(t->x.loop, plain_got(t, want));
}

/* As far as our word that the handshake may begin. */
static void
starttls(struct tls_world *t)
{
	world_connect_from(&t->x, LISTEN_SMTPD, "192.0.2.1");
	UNTIL(t->x.loop, plain_got(t, "220 "));
	plain_talk(t, "EHLO x\r\n", "250 CHUNKING");
	plain_talk(t, "STARTTLS\r\n", "220 2.0.0");
}

static void
begin_mail(struct tls_world *t)
{
	handshake(t);
	tls_talk(t, "EHLO x\r\n", "250 CHUNKING\r\n");
	tls_talk(t, "MAIL FROM:<a@b.example>\r\n", "250 2.1.0");
	tls_talk(t, "RCPT TO:<c@ours.example>\r\n", "250 2.1.5");
}

static void
test_starttls(void **state)
{
	struct tls_world t;

	(void)state;
	setup(&t);
	world_connect_from(&t.x, LISTEN_SMTPD, "192.0.2.1");
	UNTIL(t.x.loop, plain_got(&t, "220 "));
	plain_talk(&t, "EHLO x\r\n", "250-STARTTLS\r\n");
	/* Not in a transaction. */
	plain_talk(&t, "MAIL FROM:<a@b.example>\r\n", "250 2.1.0");
	plain_talk(&t, "STARTTLS\r\n", "503 5.5.1");
	plain_talk(&t, "RSET\r\n", "250");
	plain_talk(&t, "STARTTLS\r\n", "220 2.0.0");
	handshake(&t);
	/* All that was said in the clear is forgotten. */
	tls_talk(&t, "MAIL FROM:<a@b.example>\r\n", "503 5.5.1");
	tls_talk(&t, "EHLO x\r\n", "250 CHUNKING\r\n");
	assert_null(strstr(t.x.out, "STARTTLS"));
	tls_talk(&t, "STARTTLS\r\n", "554 5.5.1");
	tls_talk(&t, "MAIL FROM:<a@b.example>\r\n", "250 2.1.0");
	tls_talk(&t, "RCPT TO:<c@ours.example>\r\n", "250 2.1.5");
	tls_talk(&t, "DATA\r\n", "354");
	tls_talk(&t, "A: b\r\n\r\nx\r\n.\r\n", "250 2.0.0 Ok: queued as ");
	assert_int_equal(t.x.n_received, 1);
	teardown(&t);
}

static void
test_implicit(void **state)
{
	struct tls_world t;

	(void)state;
	setup(&t);
	world_connect_from(&t.x, LISTEN_SUBMISSIONS, "192.0.2.1");
	handshake(&t);
	tls_talk(&t, "", "220 ");
	tls_talk(&t, "EHLO x\r\n", "250 CHUNKING\r\n");
	tls_talk(&t, "MAIL FROM:<a@b.example>\r\n", "530 5.7.0 Authentication required");
	teardown(&t);
}

/* CVE-2026-45185: after the TLS end nothing is ever read as plaintext, and the chunk is no message. */
static void
test_end_in_chunk(void **state)
{
	struct tls_world t;

	(void)state;
	setup(&t);
	starttls(&t);
	begin_mail(&t);
	assert_int_equal(SSL_write(t.ssl, "BDAT 20 LAST\r\n0123456789", 24), 24);
	run_ms(t.x.loop, 5);
	SSL_shutdown(t.ssl);
	assert_int_equal(write(t.x.fd, "0123456789", 10), 10);
	UNTIL(t.x.loop, t.x.w.n_sessions == 0);
	assert_int_equal(t.x.n_received, 0);
	teardown(&t);
}

/* The same without close_notify, in DATA. */
static void
test_cut_in_data(void **state)
{
	struct tls_world t;

	(void)state;
	setup(&t);
	starttls(&t);
	begin_mail(&t);
	tls_talk(&t, "DATA\r\n", "354");
	assert_int_equal(SSL_write(t.ssl, "A: b\r\n\r\nx\r\n.", 12), 12);
	run_ms(t.x.loop, 5);
	close(t.x.fd);
	t.x.fd = -1;
	UNTIL(t.x.loop, t.x.w.n_sessions == 0);
	assert_int_equal(t.x.n_received, 0);
	teardown(&t);
}

/* Plaintext instead of a handshake ends the connection. */
static void
test_no_handshake(void **state)
{
	struct tls_world t;

	(void)state;
	setup(&t);
	starttls(&t);
	assert_int_equal(write(t.x.fd, "EHLO x\r\nMAIL FROM:<a@b>\r\n", 25), 25);
	UNTIL(t.x.loop, t.x.w.n_sessions == 0);
	assert_int_equal(t.x.n_received, 0);
	teardown(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_implicit),
		cmocka_unit_test(test_end_in_chunk),
		cmocka_unit_test(test_cut_in_data),
		cmocka_unit_test(test_no_handshake)
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
