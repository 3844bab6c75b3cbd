/* SMTP sessions of smtpd over a socket pair: what is answered to what, and what reaches the spool. Most cases are the
 * attacks of which published bugs are made: state that was not reset, plaintext behind STARTTLS, chunks after a
 * failure, smuggled ends of data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>

#include "base/log.h"

#include "t/unit/smtpd_talk.h"

struct talk_case {
	enum listener_kind kind;
	const char *from;
	const char *in;
	size_t len;
	const char *codes;
	unsigned messages;
};

#define IN LISTEN_SMTPD, INSIDE
#define OUT LISTEN_SMTPD, OUTSIDE
#define SUB LISTEN_SUBMISSION, INSIDE

static const struct talk_case talks[] = {
	{ IN, S("QUIT\r\n"), "220 221|", 0 },
	{ IN, S("HELO x\r\nNOOP\r\n"), "220 554|", 0 },
	{ IN, S("MAIL FROM:<a@b>\r\n"), "220 503", 0 },
	{ IN, S("EHLO\r\n"), "220 501", 0 },
	{ IN, S("FOO\r\n"), "220 500", 0 },
	{ IN, S("\r\n"), "220 500", 0 },
	/* Other protocols and broken lines end at once. */
	{ IN, S("GET / HTTP/1.1\r\nHost: x\r\n"), "220 421|", 0 },
	{ IN, S("Host: x\r\n"), "220 421|", 0 },
	{ IN, S("{\"a\":1}\r\n"), "220 421|", 0 },
	{ IN, S("\x16\x03\x01\x02"), "220 554|", 0 },
	{ IN, S("EHLO x\nMAIL FROM:<a@b>\r\n"), "220 500|", 0 },
	{ IN, S("EHLO\rx\r\n"), "220 500|", 0 },
	{ IN, S("NO\0OP\r\n"), "220 501", 0 },
	{ OUT, S("XCLIENT ADDR=127.0.0.1 LOGIN=admin\r\n"), "220 550", 0 },
	{ OUT, S("PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n"), "220 500", 0 },
	/* Who may relay. */
	{ OUT, S("HELO x\r\n"), "220 250", 0 },
	{ SUB, S("HELO x\r\nMAIL FROM:<a@b.example>\r\n"), "220 250 530", 0 },
	/* Chunk sizes that cannot be read leave nothing to go on with. */
	{ IN, S("BDAT 99999999999999999999 LAST\r\n"), "220 521|", 0 },
	{ IN, S("BDAT -1\r\n"), "220 521|", 0 },
	{ IN, S("BDAT 0x10\r\n"), "220 521|", 0 },
	{ IN, S("BDAT 5 last x\r\n"), "220 521|", 0 },
	{ IN, S("BDAT\r\n"), "220 521|", 0 },
	{ IN, S("BDAT 9999999999 LAST\r\n"), "220 503|", 0 },
	{ IN, S("BDAT 6\r\nQUIT\r\nNOOP\r\n"), "220 503 250", 0 },
	{ IN, S("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), "220 503 250", 0 },
	/* STARTTLS: not offered, and what follows it at once is an attack on any port. */
	{ IN, S("STARTTLS\r\nEHLO x\r\n"), "220 554|", 0 },
	{ SUB, S("STARTTLS\r\nEHLO x\r\n"), "220 554|", 0 },
	{ IN, S("STARTTLS\r\n"), "220 502", 0 },
	{ IN, S("STARTTLS x\r\n"), "220 501", 0 },
	/* On submission sloppy pipelining is let be. */
	{ SUB, S("EHLO x\r\nNOOP\r\nVRFY x\r\nEXPN x\r\nHELP\r\nQUIT\r\n"), "220 250 250 252 502 214 221|", 0 }
};

/* The same after "EHLO x" was answered. */
static const struct talk_case mails[] = {
	{ IN, S(TX "DATA\r\n"), "250 250 354", 0 },
	{ IN, S("MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"), "250 250 354", 0 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nDATA\r\n"), "250 503", 0 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nRCPT TO:<>\r\nDATA\r\n"), "250 501 554", 0 },
	{ IN, S("RCPT TO:<c@d.example>\r\n"), "503", 0 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>\r\n"), "250 503", 0 },
	{ IN, S("MAIL TO:<a@b.example>\r\n"), "501", 0 },
	{ IN, S("MAIL FROM:a b\r\n"), "501", 0 },
	{ IN, S("MAIL FROM:<a@b.example> SIZE=1000000000000\r\n"), "552", 0 },
	{ IN, S("MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n"), "501", 0 },
	{ IN, S("MAIL FROM:<\xc3\xa4@b.example>\r\n"), "553", 0 },
	{ IN, S("MAIL FROM:<\xc3\xa4@b.example> SMTPUTF8\r\n"), "250", 0 },
	{ IN, S("MAIL FROM:<\xc3@b.example> SMTPUTF8\r\n"), "501", 0 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nRCPT TO:<\xc3\xa4@d.example>\r\n"), "250 553", 0 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example> ORCPT=rfc822;c+0D+0Ax@d\r\n"), "250 501", 0 },
	{ OUT,
	    S(TX "RCPT TO:<c@ours.example>\r\nRCPT TO:<c@OURS.example>\r\n"),
	    "250 550 250 250", 0 },
	{ OUT,
	    S("MAIL FROM:<a@b.example>\r\nRCPT TO:<a%d.example@ours.example>\r\nRCPT TO:<@ours.example:a@d.example>\r\n"
	    "RCPT TO:<\"a@d.example\"@ours.example>\r\nRCPT TO:<a@d.example@ours.example>\r\nRCPT TO:<postmaster>\r\n"),
	    "250 250 550 250 501 250", 0 },
	{ IN, S("DATA\r\n"), "503", 0 },
	{ IN, S(TX "DATA\r\nx"), "250 250 554|", 0 },
	{ IN, S(TX "DATA x\r\n"), "250 250 501", 0 },
	/* Nothing but RSET, HELO and EHLO touch a transaction. */
	{ IN, S(TX "VRFY \xc3\r\n"), "250 250 252", 0 },
	{ IN, S(TX "RSET\r\nDATA\r\n"), "250 250 250 503", 0 },
	{ IN, S(TX "AUTH PLAIN\r\n"), "250 250 503", 0 },
	/* BDAT */
	{ IN,
	    S(TX "BDAT 8\r\nA: b\r\n\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n"),
	    "250 250 250 250 221|", 1 },
	{ IN, S(TX "BDAT 0 LAST\r\n"), "250 250 250", 1 },
	{ IN, S("MAIL FROM:<a@b.example>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), "250 503 250", 0 },
	{ IN, S(TX "BDAT 1\r\nxDATA\r\n"), "250 250 250 503", 0 },
	{ IN, S(TX "BDAT 1\r\nxRCPT TO:<e@d.example>\r\n"),
	    "250 250 250 503", 0 },
	{ IN, S(TX "BDAT 1\r\nxMAIL FROM:<e@d.example>\r\n"),
	    "250 250 250 503", 0 },
	/* A refused chunk: its octets are read, and all is refused until RSET or LAST. */
	{ IN,
	    S(TX "BDAT 2\r\n\0xBDAT 2\r\nabRCPT TO:<e@d.example>\r\nDATA\r\n"),
	    "250 250 550 503 503 503", 0 },
	{ IN, S(TX "BDAT 2\r\n\0xBDAT 2 LAST\r\nabDATA\r\n"),
	    "250 250 550 503 503", 0 },
	{ IN, S(TX "BDAT 2\r\n\0xRSET\r\nBDAT 2 LAST\r\nabNOOP\r\n"),
	    "250 250 550 250 503 250", 0 },
	{ IN, S(TX "BDAT 2 LAST\r\n\0xDATA\r\n"), "250 250 550 503",
	    0 },
	{ IN, S(TX "BDAT 5000000 LAST\r\nx"), "250 250", 0 },
	{ IN, S(TX "BDAT 50000000 LAST\r\nx"), "250 250 552|", 0 }
};

/* After "354". */
static const struct talk_case bodies[] = {
	{ IN, S("A: b\r\n\r\nx\r\n.\r\n"), "250", 1 },
	{ IN, S("A: b\r\n\r\nx\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nQUIT\r\n"),
	    "250 250 250 221|", 1 },
	{ IN, S("A: b\r\n\r\nx\n.\nMAIL FROM:<e@f.example>\r\n.\r\n"), "550", 0 },
	{ IN, S("A: b\r\n\r\nx\n.\r\nMAIL FROM:<e@f.example>\r\n.\r\nMAIL FROM:<e@f.example>\r\n"), "550 421|", 0 },
	{ IN, S("A: b\r\n\r\nx\r\n.\rMAIL FROM:<e@f.example>\r\n.\r\n"), "550", 0 },
	{ IN, S("A: b\r\n\r\n\0\r\n.\r\n"), "550", 0 },
	/* A refused end of data ends the transaction. */
	{ IN, S("A: b\r\n\r\n\0\r\n.\r\nRCPT TO:<g@h.example>\r\nDATA\r\n"), "550 503 503", 0 }
};

static void
run_case(struct world *x, const struct talk_case *c, const char *first, const char *first_codes)
{
	unsigned before = x->n_received;
	char name[80];
	size_t split;

	world_connect_from(x, c->kind, c->from);
	if (first != NULL) {
		expect_codes(x, "banner", "220");
		talk(x, "EHLO x\r\n", "250");
		if (*first != '\0')
			talk(x, first, first_codes);
		x->out_len = 0;
	}
	snprintf(name, sizeof name, "%.60s", c->in);
	/* The banner first, or the client is an early talker. */
	if (first == NULL)
		expect_codes(x, "banner", "220");
	client_send(x, c->in, c->len);
	expect_codes(x, name, c->codes);
	assert_int_equal(x->n_received - before, c->messages);
	/* Once more, a byte at a time: but where a group's last command must be last, that is another client. */
	if (strstr(c->codes, "554|") != NULL || strstr(c->codes, "550 421|") != NULL)
		return;
	before = x->n_received;
	world_connect_from(x, c->kind, c->from);
	expect_codes(x, "banner", "220");
	if (first != NULL) {
		talk(x, "EHLO x\r\n", "250");
		if (*first != '\0')
			talk(x, first, first_codes);
		x->out_len = 0;
	}
	for (split = 0; split < c->len; split++) {
		client_send(x, c->in + split, 1);
		run_ms(x->loop, 0);
		run_ms(x->loop, 0);
	}
	expect_codes(x, name, c->codes);
	assert_int_equal(x->n_received - before, c->messages);
}

static void
run_cases(const struct talk_case *c, size_t n, const char *first, const char *first_codes)
{
	struct world x;
	size_t i;

	for (i = 0; i < n; i++) {
		world_init(&x, NULL);
		trust(&x);
		run_case(&x, &c[i], first, first_codes);
		world_clear(&x);
	}
}

static void
test_commands(void **state)
{
	(void)state;
	run_cases(talks, N(talks), NULL, NULL);
}

static void
test_transactions(void **state)
{
	(void)state;
	run_cases(mails, N(mails), "", "");
}

static void
test_contents(void **state)
{
	(void)state;
	run_cases(bodies, N(bodies), TX "DATA\r\n", "250 250 354");
}

/* The record in the segment, verified, as it goes on the wire. */
static char *
content_of(struct world *x, size_t *len_r)
{
	int fd = x->fds[x->last.segment];
	const char *err = NULL;
	struct record rec;
	char *text;

	assert_int_equal(record_verify(fd, x->last.segment, x->last.offset, &rec, &err), 1);
	text = record_read_content(fd, &rec, len_r, &err);
	assert_non_null(text);
	return text;
}

static void
test_headers(void **state)
{
	struct world x;
	size_t len;
	char *text;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x,
	    TX_DSN "DATA\r\n",
	    "250 250 250 354");
	talk(&x, "Return-Path: <x@y.example>\r\nSubject: s\r\nX-Tenant: acme\r\n folded\r\n\r\nx\r\n.\r\n", "550");
	talk(&x,
	    TX_DSN "DATA\r\n",
	    "250 250 250 354");
	talk(&x,
	    "Return-Path: <x@y.example>\r\nSubject: s\r\nX-Tenant: acme\r\nx-campaign: my list\r\n\r\n..x\r\n.\r\n",
	    "250");
	assert_int_equal(x.env->n_rcpts, 1);
	assert_int_equal(x.env->rcpts[0].notify, NOTIFY_NEVER);
	assert_string_equal(x.env->sender, "a@b.example");
	assert_string_equal(x.env->envid, "q");
	assert_int_equal(x.env->ret, RET_HDRS);
	assert_string_equal(x.env->tenant, "acme");
	assert_string_equal(x.env->campaign, "my_list");
	assert_int_equal(x.env->flags, MSG_HAS_DOTS);
	assert_non_null(x.env->message_id);
	text = content_of(&x, &len);
	assert_ptr_equal(strstr(text,
	    "Received: from x ([127.0.0.1])\r\n\tby mx.test.example (Posthorn) with ESMTP\r\n\tid "),
	    text);
	assert_non_null(strstr(text, "\r\n\tfor <c@d.example>;\r\n\t"));
	assert_non_null(strstr(text, "+0000\r\nSubject: s\r\nDate: "));
	assert_non_null(strstr(text, "\r\nMessage-ID: <"));
	assert_memory_equal(text + len - 5, "\r\n.x\r\n" + 1, 5);
	assert_null(strstr(text, "Return-Path"));
	assert_null(strstr(text, "acme"));
	assert_null(strstr(text, "my list"));
	free(text);
	world_clear(&x);
}

/* A stranger's headers bind nobody. */
static void
test_stranger(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	world_connect_from(&x, LISTEN_SMTPD, OUTSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@ours.example>\r\nDATA\r\n", "250 250 354");
	talk(&x, "X-Tenant: acme\r\nX-Campaign: c\r\n\r\n.\r\n", "250");
	assert_null(x.env->tenant);
	assert_null(x.env->campaign);
	assert_null(x.env->message_id);
	world_clear(&x);
}

static void
test_loop(void **state)
{
	struct world x;
	char text[4096] = "";
	int i;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.params.hopcount_limit = 3;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	for (i = 2; i <= 3; i++) {
		talk(&x, TX "DATA\r\n", "250 250 354");
		snprintf(text, sizeof text, "Received: a\r\nReceived: b\r\n%s\r\n.\r\n", i == 3 ? "Received: c\r\n" :
		    "");
		talk(&x, text, i == 3 ? "554" : "250");
	}
	world_clear(&x);
}

/* A large body goes to a segment of its own, waits for one if need be, and nothing of it stays if it is refused. */
static void
test_large(void **state)
{
	size_t size = 3 << 20, len, i;
	char *body = malloc(size + 3), *text;
	struct world x;

	(void)state;
	for (i = 0; i + 64 <= size; i += 64)
		memcpy(body + i, "012345678901234567890123456789012345678901234567890123456789ab\r\n", 64);
	memcpy(body + size, ".\r\n", 3);
	world_init(&x, NULL);
	trust(&x);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX "DATA\r\n", "250 250 354");
	client_send(&x, "A: b\r\n\r\n", 8);
	x.grants = false;
	x.out_len = 0;
	client_send(&x, body, size + 3);
	expect_codes(&x, "large", "250");
	assert_int_equal(x.last.segment, 4);
	assert_int_equal(x.last.offset, 0);
	assert_int_equal(x.last.body_len, size);
	assert_int_equal(x.n_done, 1);
	text = content_of(&x, &len);
	assert_memory_equal(text + len - size, body, size);
	free(text);
	/* No segment at hand: reading stops, and goes on when one comes. */
	talk(&x, TX "DATA\r\n", "250 250 354");
	client_send(&x, body, (1 << 20) + 100000);
	run_ms(x.loop, 20);
	assert_int_equal(x.w.n_waiting_large, 1);
	world_grant(&x, QL_SEG_LARGE);
	session_wake_all(&x.w);
	x.out_len = 0;
	client_send(&x, body + (1 << 20) + 100000, size + 3 - (1 << 20) - 100000);
	expect_codes(&x, "large that waited", "250");
	assert_int_equal(x.w.n_waiting_large, 0);
	/* Too big. */
	world_grant(&x, QL_SEG_LARGE);
	talk(&x, TX "DATA\r\n", "250 250 354");
	client_send(&x, body, size);
	x.out_len = 0;
	client_send(&x, body, size + 3);
	expect_codes(&x, "too big", "552");
	assert_int_equal(x.n_received, 2);
	assert_int_equal(x.n_done, 3);
	free(body);
	world_clear(&x);
}

/* Without a segment: no banner, then no answer to the end of data; both come with a segment. */
static void
test_no_segment(void **state)
{
	struct world x;
	int i;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.grants = false;
	for (i = 1; i <= 4; i++)
		spool_stop(x.w.spool, (uint64_t)i);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "no banner", "");
	world_grant(&x, QL_SEG_NORMAL);
	session_wake_all(&x.w);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX "DATA\r\n", "250 250 354");
	spool_stop(x.w.spool, 5);
	talk(&x, "A: b\r\n\r\n.\r\n", "");
	world_grant(&x, QL_SEG_NORMAL);
	session_wake_all(&x.w);
	expect_codes(&x, "held end of data", "250");
	/* A client that leaves while it waits takes its message with it. */
	talk(&x, TX "DATA\r\n", "250 250 354");
	spool_stop(x.w.spool, 6);
	talk(&x, "A: b\r\n\r\n.\r\n", "");
	session_free_all(&x.w);
	assert_int_equal(x.n_received, 1);
	world_clear(&x);
}

static void
test_flow(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	x.w.is_held = true;
	talk(&x, "MAIL FROM:<a@b.example>\r\nNOOP\r\n", "");
	x.w.is_held = false;
	session_wake_all(&x.w);
	expect_codes(&x, "after the hold", "250 250");
	world_clear(&x);
}

static void
test_early_talker(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	x.grants = false;
	spool_stop(x.w.spool, 1);
	spool_stop(x.w.spool, 2);
	spool_stop(x.w.spool, 3);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	talk(&x, "EHLO x\r\n", "554|");
	world_connect_from(&x, LISTEN_SUBMISSION, INSIDE);
	talk(&x, "EHLO x\r\n", "");
	world_grant(&x, QL_SEG_NORMAL);
	session_wake_all(&x.w);
	expect_codes(&x, "submission waits", "220 250");
	world_clear(&x);
}

static void
test_limits(void **state)
{
	struct world x;
	char line[64];
	int i;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.params.smtpd_error_limit = 4;
	x.params.smtpd_recipient_limit = 2;
	x.params.smtpd_message_limit = 1;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "FOO\r\n", "500");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "250");
	for (i = 0; i < 4; i++) {
		snprintf(line, sizeof line, "RCPT TO:<c%d@d.example>\r\n", i);
		talk(&x, line, i < 2 ? "250" : "452");
	}
	talk(&x, "DATA\r\n", "354");
	talk(&x, "A: b\r\n\r\n.\r\n", "250");
	assert_int_equal(x.env->n_rcpts, 2);
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "421|");
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "FOO\r\nFOO\r\nFOO\r\nFOO\r\nNOOP\r\n", "500 500 500 500 421|");
	x.params.smtpd_junk_command_limit = 2;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "RSET\r\nRSET\r\nRSET\r\n", "250 250 421|");
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	x.params.line_length_limit = 1000;
	for (i = 0; i < 20; i++)
		client_send(&x, "0123456789012345678901234567890123456789012345678901234567890123456789", 70);
	x.out_len = 0;
	expect_codes(&x, "long line", "500|");
	world_clear(&x);
}

static void
test_auth(void **state)
{
	struct world x;

	(void)state;
	auth_world(&x);
	auth_connect(&x);
	assert_non_null(strstr(x.out, "250-AUTH PLAIN LOGIN\r\n"));
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "530");
	talk(&x, "AUTH CRAM-MD5\r\n", "504");
	talk(&x, "AUTH\r\n", "501");
	talk(&x, "AUTH PLAIN !!!\r\n", "501");
	talk(&x, "AUTH PLAIN YWJj\r\n", "501");
	talk(&x, "AUTH PLAIN\r\n", "334");
	talk(&x, "*\r\n", "501");
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "235");
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "503");
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "A: b\r\n\r\nx\n.\r\n.\r\n", "250");
	assert_string_equal(x.env->auth_user, "app");
	auth_connect(&x);
	talk(&x, "AUTH LOGIN\r\n", "334");
	talk(&x, "YXBw\r\n", "334");
	talk(&x, "c2VzYW1l\r\n", "235");
	auth_connect(&x);
	talk(&x, "AUTH PLAIN\r\n", "334");
	talk(&x, ACME_SECRET "\r\n", "235");
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "553");
	talk(&x, "MAIL FROM:<a@acme.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "250 250 354");
	talk(&x, "X-Tenant: other\r\nReturn-Path: <verp@acme.example>\r\n\r\n.\r\n", "250");
	assert_string_equal(x.env->tenant, "acme");
	assert_string_equal(x.env->sender, "verp@acme.example");
	talk(&x, "MAIL FROM:<a@acme.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "250 250 354");
	talk(&x, "Return-Path: <verp@evil.example>\r\n\r\n.\r\n", "250");
	assert_string_equal(x.env->sender, "a@acme.example");
	x.params.tenant_mismatch = TENANT_REJECT;
	talk(&x, "MAIL FROM:<a@acme.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "250 250 354");
	talk(&x, "X-Tenant: other\r\n\r\n.\r\n", "550");
	world_clear(&x);
}

/* Each wrong password counts once per session, whatever mechanism carries it. */
static void
test_auth_failures(void **state)
{
	struct world x;
	int pair[2];

	(void)state;
	auth_world(&x);
	auth_connect(&x);
	talk(&x, "AUTH LOGIN\r\n", "334");
	talk(&x, "YXBw\r\n", "334");
	talk(&x, "d3Jvbmc=\r\n", "535");
	talk(&x, "AUTH PLAIN " APP_WRONG "\r\n", "535");
	talk(&x, "AUTH PLAIN " APP_WRONG2 "\r\n", "535");
	talk(&x, "AUTH PLAIN " APP_WRONG3 "\r\n", "535");
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "421|");
	/* The helper dies: those who wait hear it, new ones too, and a new helper serves. */
	auth_connect(&x);
	client_send(&x, S("AUTH PLAIN " APP_SESAME "\r\n"));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == -1)
		abort();
	authd_set_worker(x.authd, pair[0]);
	x.out_len = 0;
	expect_codes(&x, "helper died", "454");
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "454");
	auth_set_partner(x.w.auth, pair[1]);
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "235");
	world_clear(&x);
}

static void
test_auth_needs_tls(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, users());
	auth_connect(&x);
	assert_null(strstr(x.out, "AUTH"));
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "538");
	world_clear(&x);
}

static void
test_xclient(void **state)
{
	static struct cidr proxy = { .family = AF_INET, .addr = { 192, 0, 2, 1 }, .bits = 32 };
	struct world x;

	(void)state;
	world_init(&x, users());
	trust(&x);
	x.params.smtpd_authorized_xclient_hosts.v = &proxy;
	x.params.smtpd_authorized_xclient_hosts.n = 1;
	world_connect_from(&x, LISTEN_SMTPD, OUTSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "XCLIENT FOO=1\r\n", "501");
	talk(&x, "XCLIENT ADDR=x\r\n", "501");
	talk(&x, "XCLIENT ADDR=127.0.0.1 HELO=a+0Ab\r\n", "501");
	talk(&x, "XCLIENT ADDR=127.0.0.1 PORT=1 PROTO=ESMTP NAME=[UNAVAILABLE]\r\n", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX, "250 250");
	talk(&x, "XCLIENT ADDR=192.0.2.9\r\n", "503");
	talk(&x, "RSET\r\n", "250");
	talk(&x, "XCLIENT ADDR=192.0.2.9 LOGIN=acme\r\n", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<a@b.example>\r\n", "553");
	talk(&x, "MAIL FROM:<a@acme.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", "250 250 354");
	talk(&x, "A: b\r\n\r\n.\r\n", "250");
	assert_string_equal(x.env->client, "192.0.2.9");
	assert_string_equal(x.env->tenant, "acme");
	world_clear(&x);
}

/* A client that does not read its replies is not read either, and goes on where it was when it reads again. */
static void
test_slow_reader(void **state)
{
	unsigned n_sent = 0, n_got = 0;
	struct world x;
	ssize_t n;
	int i;

	(void)state;
	world_init(&x, NULL);
	x.params.smtpd_junk_command_limit = 1000000;
	world_connect_from(&x, LISTEN_SUBMISSION, INSIDE);
	expect_codes(&x, "banner", "220");
	for (i = 0; i < 300; i++) {
		while ((n = write(x.fd, S("NOOP\r\n"))) == 6)
			n_sent++;
		assert_int_equal(n, -1);
		run_ms(x.loop, 0);
	}
	/* What is on its way is bounded: two socket buffers, our input and our output. */
	assert_true(n_sent > 1000 && n_sent < 300000);
	for (i = 0; i < 100000 && n_got < n_sent; i++) {
		x.out_len = 0;
		world_read(&x);
		for (n = 0; n < (ssize_t)x.out_len; n++)
			n_got += x.out[n] == '\n';
		run_ms(x.loop, 0);
	}
	assert_int_equal(n_got, n_sent);
	assert_false(x.is_closed);
	world_clear(&x);
}

/* The client vanishes with our banner unread: a reset, in each state. */
static void
test_reset(void **state)
{
	static const char *const before[] = { "", "EHLO x\r\n",
	    "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 9\r\nx" };
	struct world x;
	size_t i;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	for (i = 0; i < N(before); i++) {
		world_connect_from(&x, LISTEN_SUBMISSION, INSIDE);
		client_send(&x, before[i], strlen(before[i]));
		run_ms(x.loop, 2);
		close(x.fd);
		x.fd = -1;
		UNTIL(x.loop, x.w.n_sessions == 0);
	}
	world_clear(&x);
}

static void
test_timeouts(void **state)
{
	struct world x;

	(void)state;
	world_init(&x, NULL);
	trust(&x);
	x.params.smtpd_timeout = 60;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	/* A piece of a command does not win time. */
	client_send(&x, S("NO"));
	expect_codes(&x, "idle", "220 421|");
	x.params.smtpd_timeout = 300000;
	x.params.smtpd_data_time_limit = 60;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX "DATA\r\n", "250 250 354");
	x.out_len = 0;
	client_send(&x, S("A: b\r\n"));
	expect_codes(&x, "slow data", "421|");
	assert_int_equal(x.n_received, 0);
	world_clear(&x);
}

static void
test_rejection_events(void **state)
{
	struct world x;
	char text[8192];
	ssize_t n;

	(void)state;
	world_init(&x, NULL);
	world_connect_from(&x, LISTEN_SMTPD, OUTSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX, "250 550");
	run_ms(x.loop, 5);
	n = pread(x.event_fd, text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "\"type\":\"Rejection\""));
	assert_non_null(strstr(text, "\"recipient\":\"c@d.example\""));
	assert_non_null(strstr(text, "\"sender\":\"a@b.example\""));
	assert_non_null(strstr(text, "\"code\":550"));
	assert_non_null(strstr(text, "\"content\":\"Relay access denied\""));
	assert_non_null(strstr(text, "\"phase\":\"rcpt\""));
	world_clear(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_transactions),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_stranger),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_no_segment),
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_early_talker),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_auth_failures),
		cmocka_unit_test(test_auth_needs_tls),
		cmocka_unit_test(test_xclient),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_rejection_events)
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
