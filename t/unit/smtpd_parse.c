/* smtpd's small parsers and counters: lines, base64, parameters of MAIL and RCPT, passwd lines, sender rights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "mail/envelope.h"
#include "smtpd/auth_link.h"
#include "smtpd/base64.h"
#include "smtpd/headers.h"
#include "smtpd/limits.h"
#include "smtpd/line.h"
#include "smtpd/mailargs.h"
#include "smtpd/passwd.h"

#define S(s) s, sizeof(s) - 1
#define N(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *in;
	size_t len;
	enum line_status status;
	size_t taken;
	const char *out;
} lines[] = {
	{ S("NOOP\r\n"), LINE_OK, 6, "NOOP" },
	{ S("NOOP\r\nQUIT\r\n"), LINE_OK, 6, "NOOP" },
	{ S("\r\n"), LINE_OK, 2, "" },
	{ S("NOOP"), LINE_MORE, 0, "" },
	{ S("NOOP\r"), LINE_MORE, 0, "" },
	{ S(""), LINE_MORE, 0, "" },
	{ S("NOOP\nQUIT\r\n"), LINE_BARE_LF, 5, "" },
	{ S("\n"), LINE_BARE_LF, 1, "" },
	{ S("NO\rOP\r\n"), LINE_BARE_CR, 7, "" },
	{ S("NO\0OP\r\n"), LINE_NUL, 7, "NO" },
	{ S("0123456789\r\n"), LINE_OK, 12, "0123456789" },
	{ S("0123456789a\r\n"), LINE_TOO_LONG, 0, "" },
	{ S("0123456789abc"), LINE_TOO_LONG, 0, "" }
};

/* Also when the bytes lie in a chain each. */
static void
test_lines(void **state)
{
	struct evbuffer *b;
	char out[11];
	size_t i, k, taken;
	int split;

	(void)state;
	for (i = 0; i < N(lines); i++) {
		for (split = 0; split < 2; split++) {
			b = evbuffer_new();
			for (k = 0; split && k < lines[i].len; k++)
				evbuffer_add_reference(b, lines[i].in + k, 1, NULL, NULL);
			if (!split)
				evbuffer_add(b, lines[i].in, lines[i].len);
			assert_int_equal(line_peek(b, 10, out, &taken), lines[i].status);
			assert_int_equal(taken, lines[i].taken);
			assert_string_equal(out, lines[i].out);
			assert_int_equal(evbuffer_get_length(b), lines[i].len);
			evbuffer_free(b);
		}
	}
}

static const struct {
	const char *in;
	long len;
	const char *out;
} codes[] = {
	{ "", 0, "" }, { "YQ==", 1, "a" }, { "YWI=", 2, "ab" }, { "YWJj", 3, "abc" }, { "YWJjZA==", 4, "abcd" },
	{ "AGEAYg==", 4, "\0a\0b" }, { "/+8=", 2, "\xff\xef" },
	{ "YQ=", -1, NULL }, { "YQ", -1, NULL }, { "Y", -1, NULL }, { "YQ==YQ==", -1, NULL }, { "=", -1, NULL },
	    { "====", -1, NULL },
	{ "YW I=", -1, NULL }, { "YR==", -1, NULL }, { "YWJ=", -1, NULL }, { "YWJjZGVmZ2hp", -1, NULL }
};

static void
test_base64(void **state)
{
	unsigned char out[8];
	size_t i;

	(void)state;
	for (i = 0; i < N(codes); i++) {
		assert_int_equal(base64_decode(codes[i].in, out, sizeof out), codes[i].len);
		if (codes[i].len > 0)
			assert_memory_equal(out, codes[i].out, (size_t)codes[i].len);
	}
}

static const struct {
	const char *in;
	int rc;
	const char *err;
	struct mail_args want;
} mails[] = {
	{ "", 0, NULL, { 0 } },
	{ "SIZE=1000", 0, NULL, { .has_size = true, .size = 1000 } },
	{ "size=1 body=8bitmime SMTPUTF8", 0, NULL, { .has_size = true, .size = 1, .is_8bit = true, .is_utf8 = true } },
	{ "SIZE=99999999999999999999", 0, NULL, { .has_size = true, .size = UINT64_MAX / 2 } },
	{ "RET=HDRS ENVID=a+2Bb", 0, NULL, { .ret = RET_HDRS, .has_envid = true, .envid = "a+b" } },
	{ "AUTH=<>", 0, NULL, { 0 } },
	{ "BODY=7BIT", 0, NULL, { 0 } },
	{ "BODY=BINARYMIME", -1, "501 5.5.4", { 0 } },
	{ "SIZE=", -1, "501 5.5.4", { 0 } },
	{ "SIZE=-1", -1, "501 5.5.4", { 0 } },
	{ "SIZE=0x10", -1, "501 5.5.4", { 0 } },
	{ "SIZE=1 SIZE=1", -1, "501 5.5.4", { 0 } },
	{ "SIZE=999999999999999999999", -1, "501 5.5.4", { 0 } },
	{ "ENVID=a+0D+0Ab", -1, "501 5.5.4", { 0 } },
	{ "ENVID=+00", -1, "501 5.5.4", { 0 } },
	{ "ENVID=a+2", -1, "501 5.5.4", { 0 } },
	{ "RET=BOTH", -1, "501 5.5.4", { 0 } },
	{ "SMTPUTF8=1", -1, "555 5.5.4", { 0 } },
	{ "FOO", -1, "555 5.5.4", { 0 } },
	{ "=1", -1, "501 5.5.4", { 0 } },
	{ "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ=1", -1, "501 5.5.4", { 0 } }
};

static void
test_mail_args(void **state)
{
	struct mail_args a;
	const char *err;
	size_t i;

	(void)state;
	for (i = 0; i < N(mails); i++) {
		err = NULL;
		assert_int_equal(mail_args_parse(mails[i].in, &a, &err), mails[i].rc);
		if (mails[i].rc == -1) {
			assert_memory_equal(err, mails[i].err, strlen(mails[i].err));
			continue;
		}
		assert_int_equal(a.has_size, mails[i].want.has_size);
		assert_int_equal(a.size, mails[i].want.size);
		assert_int_equal(a.is_8bit, mails[i].want.is_8bit);
		assert_int_equal(a.is_utf8, mails[i].want.is_utf8);
		assert_int_equal(a.ret, mails[i].want.ret);
		assert_string_equal(a.envid, mails[i].want.envid);
	}
}

static const struct {
	const char *in;
	bool utf8;
	int rc;
	uint8_t notify;
	const char *orcpt;
} rcpts[] = {
	{ "", false, 0, NOTIFY_DEFAULT, "" },
	{ "NOTIFY=NEVER", false, 0, NOTIFY_NEVER, "" },
	{ "NOTIFY=success,FAILURE,delay", false, 0, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, "" },
	{ "ORCPT=rfc822;a+2Bb@x", false, 0, 0, "rfc822;a+b@x" },
	{ "ORCPT=utf-8;\xc3\xa4@x", true, 0, 0, "utf-8;\xc3\xa4@x" },
	{ "NOTIFY=NEVER,DELAY", false, -1, 0, NULL },
	{ "NOTIFY=", false, -1, 0, NULL },
	{ "NOTIFY=DELAY,", false, -1, 0, NULL },
	{ "NOTIFY=DELAY,DELAY", false, -1, 0, NULL },
	{ "NOTIFY=DELAY NOTIFY=DELAY", false, -1, 0, NULL },
	{ "ORCPT=a@b", false, -1, 0, NULL },
	{ "ORCPT=;a", false, -1, 0, NULL },
	{ "ORCPT=rfc822;", false, -1, 0, NULL },
	{ "ORCPT=rfc822;a+0Ab", false, -1, 0, NULL },
	{ "ORCPT=utf-8;\xc3\xa4@x", false, -1, 0, NULL },
	{ "ORCPT=utf-8;\xc3@x", true, -1, 0, NULL },
	{ "SIZE=1", false, -1, 0, NULL }
};

static void
test_rcpt_args(void **state)
{
	struct rcpt_args a;
	const char *err;
	size_t i;

	(void)state;
	for (i = 0; i < N(rcpts); i++) {
		assert_int_equal(rcpt_args_parse(rcpts[i].in, rcpts[i].utf8, &a, &err), rcpts[i].rc);
		if (rcpts[i].rc == 0) {
			assert_int_equal(a.notify, rcpts[i].notify);
			assert_string_equal(a.orcpt, rcpts[i].orcpt);
		}
	}
}

static const struct {
	const char *in;
	int rc;
	const char *name, *tenant, *domains;
	uint64_t rate, per;
	uint8_t return_path;
} users[] = {
	{ "", 0, NULL, NULL, NULL, 0, 0, 0 },
	{ "  # comment", 0, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y", 1, "app", NULL, NULL, 0, 0, 0 },
	{ "app@x.example:$y$j9T$x$y:", 1, "app@x.example", NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant=acme domains=a.example,.b.example rate=2000/h envelope_from_return_path=yes", 1, "app",
	    "acme",
	    "a.example,.b.example", 2000, 3600000, RETURN_PATH_YES },
	{ "app:$6$x$y:envelope_from_return_path=no", 1, "app", NULL, NULL, 0, 0, RETURN_PATH_NO },
	{ "app", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ ":$6$x$y", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:plain", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "a b:$6$x$y", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant=a@b", -1, NULL, NULL, NULL, 0, 0, 0 },
	/* What no tenant header could name, and what would be another word in a queue's name. */
	{ "app:$6$x$y:tenant=a/b", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant=\xc3\xa4", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant=a12345678901234567890123456789012345678901234567890123456789012345", -1, NULL, NULL, NULL,
	    0, 0, 0 },
	/* Said twice, one of them is not what was meant. */
	{ "app:$6$x$y:rate=1/h rate=2/h", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:envelope_from_return_path=yes envelope_from_return_path=no", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tenant=a tenant=b", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:tennant=a", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:rate=0/h", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:rate=5", -1, NULL, NULL, NULL, 0, 0, 0 },
	{ "app:$6$x$y:rate=5/w", -1, NULL, NULL, NULL, 0, 0, 0 }
};

static void
assert_text(const char *got, const char *want)
{
	if (want == NULL)
		assert_null(got);
	else
		assert_string_equal(got, want);
}

static void
test_passwd(void **state)
{
	struct passwd_entry e;
	const char *err;
	size_t i;

	(void)state;
	for (i = 0; i < N(users); i++) {
		assert_int_equal(passwd_parse_line(users[i].in, &e, &err), users[i].rc);
		if (users[i].rc != 1)
			continue;
		assert_string_equal(e.user.name, users[i].name);
		assert_text(e.user.tenant, users[i].tenant);
		assert_text(e.user.domains, users[i].domains);
		assert_int_equal(e.user.rate, users[i].rate);
		assert_int_equal(e.user.rate_per, users[i].per);
		assert_int_equal(e.user.return_path, users[i].return_path);
		passwd_entry_clear(&e);
	}
}

static void
test_may_send_as(void **state)
{
	char domains[] = "a.example,.b.example";
	struct user any = { 0 }, some = { .domains = domains };

	(void)state;
	assert_true(user_may_send_as(&any, "x@y.example"));
	assert_true(user_may_send_as(&some, ""));
	assert_true(user_may_send_as(&some, "x@a.example"));
	assert_true(user_may_send_as(&some, "x@A.Example"));
	assert_true(user_may_send_as(&some, "x@q.b.example"));
	assert_false(user_may_send_as(&some, "x@b.example"));
	assert_false(user_may_send_as(&some, "x@q.a.example"));
	assert_false(user_may_send_as(&some, "x@example"));
	assert_false(user_may_send_as(&some, "x@evila.example"));
	assert_false(user_may_send_as(&some, "postmaster"));
}

static void
test_clients(void **state)
{
	static const char *const same[] = { "192.0.2.1", "::ffff:192.0.2.1" };
	static const char *const net[] = { "2001:db8::1", "2001:db8::2" };
	struct clients *c = clients_new(2);
	struct sockaddr_storage sa[4], other;
	socklen_t len;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(sockaddr_parse(same[i], 0, &sa[i], &len), 0);
		assert_int_equal(sockaddr_parse(net[i], 0, &sa[2 + i], &len), 0);
	}
	assert_int_equal(sockaddr_parse("192.0.2.2", 0, &other, &len), 0);
	for (i = 0; i < 4; i++)
		assert_true(clients_add(c, (struct sockaddr *)&sa[i]));
	assert_false(clients_add(c, (struct sockaddr *)&sa[0]));
	assert_false(clients_add(c, (struct sockaddr *)&sa[3]));
	assert_true(clients_add(c, (struct sockaddr *)&other));
	clients_remove(c, (struct sockaddr *)&sa[1]);
	assert_true(clients_add(c, (struct sockaddr *)&sa[0]));
	clients_free(&c);
}

static void
test_names(void **state)
{
	char campaign[] = "Summer 26: \"a@b\"";
	char date[40];

	(void)state;
	assert_true(tenant_valid("acme-1.eu_x"));
	assert_false(tenant_valid(""));
	assert_false(tenant_valid("a b"));
	assert_false(tenant_valid("a@b"));
	assert_false(tenant_valid("a:b"));
	campaign_clean(campaign);
	assert_string_equal(campaign, "Summer_26___a_b_");
	headers_date(1795473158172, date);
	assert_string_equal(date, "Mon, 23 Nov 2026 22:32:38 +0000");
}

/* Round trip, every truncation, one byte too many. */
static void
test_auth_link(void **state)
{
	char name[] = "app", password[] = "secret", tenant[] = "acme";
	struct auth_ask ask = { AUTH_CHECK, name, password }, ask2;
	struct auth_answer ans = { AUTH_OK, { .name = name, .tenant = tenant, .rate = 5, .rate_per = 1000 } }, ans2;
	struct wbuf w;
	struct rbuf r;
	size_t i;

	(void)state;
	wbuf_init(&w);
	auth_ask_encode(&ask, &w);
	for (i = 0; i < w.len; i++) {
		rbuf_init(&r, w.p, i);
		assert_int_equal(auth_ask_decode(&r, &ask2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(auth_ask_decode(&r, &ask2), 0);
	assert_string_equal(ask2.name, name);
	assert_string_equal(ask2.password, password);
	auth_ask_clear(&ask2);
	wbuf_u8(&w, 0);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(auth_ask_decode(&r, &ask2), -1);
	wbuf_reset(&w);
	auth_answer_encode(&ans, &w);
	for (i = 0; i < w.len; i++) {
		rbuf_init(&r, w.p, i);
		assert_int_equal(auth_answer_decode(&r, &ans2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(auth_answer_decode(&r, &ans2), 0);
	assert_string_equal(ans2.user.tenant, tenant);
	assert_null(ans2.user.domains);
	assert_int_equal(ans2.user.rate, 5);
	auth_answer_clear(&ans2);
	wbuf_clear(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_mail_args),
		cmocka_unit_test(test_rcpt_args),
		cmocka_unit_test(test_passwd),
		cmocka_unit_test(test_may_send_as),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_auth_link)
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
