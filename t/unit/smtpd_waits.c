/* Sessions of smtpd that wait, and how each wait ends: new mail that is held back, a user's rate, a segment for a large
 * body, a worker that is to be replaced. The limits are set short; what is asserted is the answer. */
#include <signal.h>

#include "base/log.h"

#include "t/unit/smtpd_talk.h"

#define MESSAGE "A: b\r\n\r\n.\r\n"

static void
hello(struct world *x, enum listener_kind kind)
{
	world_connect_from(x, kind, INSIDE);
	expect_codes(x, "banner", "220");
	talk(x, "EHLO x\r\n", "250");
}

/* queued holds back for too long: 451, with nothing changed. */
static void
test_hold_ends(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.params.smtpd_hold_limit = 40;
	x.w.is_held = true;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	/* What is wrong in any case is told at once. */
	x.params.smtpd_hold_limit = 50000;
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "503");
	talk(&x, "EHLO x\r\n", "250");
	x.params.smtpd_hold_limit = 40;
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "451");
	assert_non_null(strstr(x.out, "451 4.3.2 "));
	x.w.is_held = false;
	talk(&x, TX, "250 250");
	x.w.is_held = true;
	talk(&x, "DATA\r\n", "451");
	/* Each command has the whole limit. */
	talk(&x, "DATA\r\n", "451");
	x.w.is_held = false;
	talk(&x, "DATA\r\n", "354");
	talk(&x, MESSAGE, "250");
	assert_int_equal(x.n_received, 1);
	world_clear(&x);
}

/* A client that goes while it is held is not kept; one that has said all and closed is served. */
static void
test_held_client_goes(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.w.is_held = true;
	hello(&x, LISTEN_SMTPD);
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "");
	shutdown(x.fd, SHUT_WR);
	run_ms(x.loop, 5);
	assert_int_equal(x.w.n_sessions, 1);
	x.w.is_held = false;
	session_wake_all(&x.w);
	expect_codes(&x, "half closed", "250|");
	UNTIL(x.loop, x.w.n_sessions == 0);
	world_clear(&x);
}

static void
rate_world(struct world *x, uint64_t rate)
{
	struct passwd_file *f = users();

	f->v[1].user.rate = rate;
	f->v[1].user.rate_per = 3600000;
	world_init(x, f);
	x->params.smtpd_tls_auth_only = false;
	x->params.smtpd_hold_limit = 40;
}

static void
login(struct world *x)
{
	auth_connect(x);
	talk(x, "AUTH PLAIN " APP_SESAME "\r\n", "235");
}

static void
test_rate(void **state)
{
	struct world x;
	int i;

	(void)state;
	rate_world(&x, 3);
	login(&x);
	/* Only what is accepted counts. */
	for (i = 0; i < 5; i++) {
		talk(&x, "MAIL FROM:<a@b.example>\r\nRSET\r\n", "250 250");
		talk(&x, "MAIL FROM:<a@b@c>\r\n", "501");
		talk(&x, TX "DATA\r\n", "250 250 354");
		x.out_len = 0;
		client_send(&x, S("A: \0b\r\n.\r\n"));
		expect_codes(&x, "refused", "550");
	}
	for (i = 0; i < 3; i++) {
		talk(&x, TX "DATA\r\n", "250 250 354");
		talk(&x, MESSAGE, "250");
	}
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "450");
	assert_non_null(strstr(x.out, "450 4.7.1 "));
	/* Nor does a new connection help. */
	login(&x);
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "450");
	assert_int_equal(x.n_received, 3);
	world_clear(&x);
}

/* What an open transaction holds is nobody else's, until it ends without a message. */
static void
test_rate_is_taken_at_mail(void **state)
{
	struct world x;
	int first;

	(void)state;
	rate_world(&x, 1);
	login(&x);
	talk(&x, TX, "250 250");
	first = x.fd;
	x.fd = -1;
	login(&x);
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "450");
	close(first);
	UNTIL(x.loop, x.w.n_sessions == 1);
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "250");
	world_clear(&x);
}

/* The chunk was complete when the wait for a segment began: the answer must not need more input. */
static void
test_chunk_waits_for_segment(void **state)
{
	size_t len = (1 << 20) + (64 << 10), i;
	struct world x;
	char *text;
	int last;

	(void)state;
	for (last = 0; last < 2; last++) {
		world_init(&x, NULL);
		trust(&x);
		x.grants = false;
		spool_stop(x.w.spool, 4);
		hello(&x, LISTEN_SMTPD);
		talk(&x, TX, "250 250");
		text = xmalloc(len);
		memset(text, 'x', len);
		memcpy(text, "A: b\r\n\r\n", 8);
		for (i = 78; i < len; i += 70)
			memcpy(text + i - 2, "\r\n", 2);
		x.out_len = 0;
		client_send(&x, "BDAT 1114112", 12);
		client_send(&x, last ? " LAST\r\n" : "\r\n", last ? 7 : 2);
		client_send(&x, text, len);
		expect_codes(&x, "no segment", "");
		assert_int_equal(x.w.n_waiting_large, 1);
		x.grants = true;
		world_grant(&x, QL_SEG_LARGE);
		session_wake_all(&x.w);
		expect_codes(&x, "a segment", "250");
		assert_int_equal(x.n_received, (unsigned)last);
		free(text);
		world_clear(&x);
	}
}

/* Clients that leave messages half sent cannot fill the memory: who goes on is refused, small messages pass, and all of
 * it is free again afterwards. */
static void
test_memory(void **state)
{
	size_t len = 300 << 10, i;
	int first, round;
	struct world x;
	char *text;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.w.content_limit = 768 << 10;
	text = xmalloc(len);
	memset(text, 'x', len);
	memcpy(text, "A: b\r\n\r\n", 8);
	for (i = 78; i <= len; i += 70)
		memcpy(text + i - 2, "\r\n", 2);
	memcpy(text + len - 2, "\r\n", 2);
	for (round = 0; round < 2; round++) {
		hello(&x, LISTEN_SMTPD);
		talk(&x, TX "DATA\r\n", "250 250 354");
		client_send(&x, text, len);
		first = x.fd;
		x.fd = -1;
		hello(&x, LISTEN_SMTPD);
		talk(&x, TX "DATA\r\n", "250 250 354");
		client_send(&x, text, len);
		talk(&x, ".\r\n", "452");
		talk(&x, TX, "250 250");
		x.out_len = 0;
		client_send(&x, S("BDAT 307200 LAST\r\n"));
		client_send(&x, text, len);
		expect_codes(&x, "chunk", "452");
		talk(&x, TX "DATA\r\n", "250 250 354");
		talk(&x, MESSAGE, "250");
		close(first);
		UNTIL(x.loop, x.w.n_sessions == 1);
		talk(&x, TX "DATA\r\n", "250 250 354");
		client_send(&x, text, len);
		talk(&x, ".\r\n", "250");
		assert_int_equal(x.w.content_bytes, 0);
	}
	free(text);
	world_clear(&x);
}

/* The longest line that can be configured ends the connection like any other, instead of filling the input for ever. */
static void
test_longest_line(void **state)
{
	static char line[(64 << 10) + 100];
	struct world x;

	(void)state;
	world_init(&x, NULL);
	x.params.line_length_limit = 64 << 10;
	hello(&x, LISTEN_SMTPD);
	memset(line, 'x', sizeof line);
	memcpy(line, "NOOP ", 5);
	memcpy(line + (64 << 10), "\r\n", 3);
	talk(&x, line, "250");
	line[64 << 10] = line[(64 << 10) + 1] = 'x';
	line[(64 << 10) + 2] = '\0';
	talk(&x, line, "500|");
	assert_non_null(strstr(x.out, "500 5.5.2 "));
	x.params.line_length_limit = 2048;
	hello(&x, LISTEN_SMTPD);
	memcpy(line, "AUTH ", 5);
	talk(&x, line, "500|");
	assert_non_null(strstr(x.out, "500 5.5.6 "));
	world_clear(&x);
}

/* Other servers are told to come again as soon as nothing of theirs is under way. */
static void
test_drain_servers(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.w.is_draining = true;
	hello(&x, LISTEN_SMTPD);
	talk(&x, TX, "250 250");
	x.w.is_drain_due = true;
	session_drain_idle(&x.w);
	talk(&x, "DATA\r\n", "354");
	session_drain_idle(&x.w);
	talk(&x, MESSAGE, "250");
	assert_int_equal(x.n_received, 1);
	x.out_len = 0;
	session_drain_idle(&x.w);
	expect_codes(&x, "idle", "421|");
	x.w.is_drain_due = false;
	hello(&x, LISTEN_SMTPD);
	x.w.is_drain_due = true;
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "421|");
	assert_int_equal(x.w.n_sessions, 0);
	world_clear(&x);
}

/* An application would lose the message of a MAIL that is answered 421: it is told at its NOOP, or after the silence
 * after which it sends one. */
static void
test_drain_applications(void **state)
{
	struct world x;

	(void)state;
	auth_world(&x);
	x.w.drain_quiet = 60000;
	login(&x);
	x.w.is_draining = x.w.is_drain_due = true;
	session_drain_idle(&x.w);
	talk(&x, TX "DATA\r\n", "250 250 354");
	session_drain_idle(&x.w);
	talk(&x, MESSAGE, "250");
	session_drain_idle(&x.w);
	talk(&x, TX "NOOP\r\nDATA\r\n", "250 250 250 354");
	talk(&x, MESSAGE, "250");
	assert_int_equal(x.n_received, 2);
	talk(&x, "NOOP\r\n", "421|");
	x.w.is_drain_due = false;
	login(&x);
	x.w.is_drain_due = true;
	x.w.drain_quiet = 0;
	x.out_len = 0;
	session_drain_idle(&x.w);
	expect_codes(&x, "silent", "421|");
	world_clear(&x);
}

/* A worker that must stop ends all but what is being made durable, and that one hears 250 first. */
static void
test_stop_in_commit(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.grants = false;
	spool_stop(x.w.spool, 1);
	spool_stop(x.w.spool, 2);
	spool_stop(x.w.spool, 3);
	x.grants = true;
	world_grant(&x, QL_SEG_NORMAL);
	hello(&x, LISTEN_SMTPD);
	x.grants = false;
	spool_stop(x.w.spool, 5);
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, MESSAGE, "");
	x.w.is_stopping = true;
	session_stop_all(&x.w);
	run_ms(x.loop, 5);
	assert_int_equal(x.w.n_sessions, 1);
	world_grant(&x, QL_SEG_NORMAL);
	expect_codes(&x, "stop", "250 421|");
	assert_int_equal(x.n_received, 1);
	world_clear(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_ends),
		cmocka_unit_test(test_held_client_goes),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_is_taken_at_mail),
		cmocka_unit_test(test_chunk_waits_for_segment),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_longest_line),
		cmocka_unit_test(test_drain_servers),
		cmocka_unit_test(test_drain_applications),
		cmocka_unit_test(test_stop_in_commit)
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
