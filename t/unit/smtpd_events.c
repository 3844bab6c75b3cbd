/* Events of policy in sessions: what waits for a name server keeps the order of pipelined commands, whatever ends a
 * session meanwhile ends it cleanly, and what policy does to a message is what the spool gets. */
#include <signal.h>

#include "base/ipc.h"
#include "base/log.h"
#include "mail/dns_client.h"

#include "t/unit/smtpd_talk.h"

#define ONE_POOL \
	"posthorn.source { name = 's', source_address = '192.0.2.1' }\n" \
	"posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
#define ON(event, args, body) "kumo.on('" event "', function(" args ") " body " end)\n"
#define ASKS "kumo.dns.lookup_txt('x.example') "

static struct world x;
static struct policy *policy;
static struct ipc *peer;
static unsigned n_asked;
static bool is_silent; /* the name server does not answer */

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	char text[] = "";
	struct dns_reply r = { .status = DNS_OK, .ttl = 60, .text = text };
	struct wbuf w;

	(void)arg;
	n_asked++;
	if (is_silent)
		return;
	wbuf_init(&w);
	dns_reply_encode(&r, &w);
	ipc_send(ipc, DNS_ANSWER, m->id, &w, -1);
	wbuf_clear(&w);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	(void)ipc, (void)why, (void)arg;
	peer = NULL;
}

static const struct ipc_rule rules[] = { { DNS_ASK, false, DNS_ASK_MAX, "ask", on_ask } };
static const struct ipc_ops ops = { rules, 1, on_gone };

static void
begin(const char *text, bool has_users)
{
	char file[] = "/tmp/posthorn-smtpd-events-XXXXXX";
	struct conf_errors errs = { NULL, 0 };
	int fd = mkstemp(file), pair[2];
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fputs(ONE_POOL, f);
	fputs(text, f);
	fclose(f);
	policy = policy_load(file, &errs);
	unlink(file);
	if (policy == NULL)
		fail_msg("%s", errs.v[0].text);
	world_init(&x, has_users ? users() : NULL);
	x.params.smtpd_tls_auth_only = false;
	trust(&x);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	x.w.policy = policy;
	x.w.dns = dns_client_new(x.loop);
	dns_client_set_peer(x.w.dns, pair[0]);
	peer = ipc_new(x.loop, pair[1], &ops, NULL);
	policy_set_host(policy, x.loop, x.w.dns, 20000);
	n_asked = 0;
	is_silent = false;
}

static void
end(void)
{
	struct dns_client *dns = x.w.dns;

	session_free_all(&x.w);
	policy_free(&policy);
	dns_client_free(&dns);
	ipc_close(&peer);
	world_clear(&x);
}

static void
test_order(void **state)
{
	(void)state;
	begin(ON("smtp_server_connection_accepted", "conn", ASKS) ON("smtp_server_ehlo", "d, conn", ASKS)
	    ON("smtp_server_mail_from", "a, conn", ASKS "if a.user == 'bad' then kumo.reject(550, 'x') end")
	    ON("smtp_server_rcpt_to", "a, conn", ASKS "if a.user == 'bad' then kumo.reject(553, 'x') end")
	    ON("smtp_server_message_received", "msg, conn", ASKS "if msg:sender().user == 'worse' then "
	    "kumo.reject(554, 'x') end"),
	    false);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, "MAIL FROM:<bad@b.example>\r\nRCPT TO:<c@d.example>\r\nMAIL FROM:<a@b.example>\r\nRCPT "
	    "TO:<bad@d.example>\r\n"
	    "RCPT TO:<c@d.example>\r\nDATA\r\n", "550 503 250 553 250 354");
	talk(&x, "Subject: x\r\n\r\n.\r\nMAIL FROM:<worse@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
	    "250 250 250 354");
	talk(&x, "x\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 3 LAST\r\nx\r\nQUIT\r\n",
	    "554 250 250 250 221|");
	assert_int_equal(x.n_received, 2);
	assert_true(n_asked >= 13);
	end();
}

static const char *const waits[] = { "", "EHLO x\r\n", "MAIL FROM:<a@b.example>\r\n", "RCPT TO:<c@d.example>\r\n",
    "DATA\r\n", "x\r\n.\r\n" };
#define AT_DATA 4 /* no event */

/* Until the event waits. */
static void
wait_in(size_t step)
{
	size_t i;

	is_silent = step == 0;
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	for (i = 1; i <= step; i++) {
		UNTIL(x.loop, (world_read(&x), x.out_len > 0));
		x.out_len = 0;
		is_silent = i == step;
		n_asked = 0;
		client_send(&x, waits[i], strlen(waits[i]));
	}
	UNTIL(x.loop, n_asked > 0 && is_silent);
	run_ms(x.loop, 2);
}

static void
test_ends(void **state)
{
	size_t i;

	(void)state;
	begin(ON("smtp_server_connection_accepted", "", ASKS) ON("smtp_server_ehlo", "", ASKS)
	    ON("smtp_server_mail_from", "", ASKS) ON("smtp_server_rcpt_to", "", ASKS)
	    ON("smtp_server_message_received", "msg, conn", "local b = msg:get_data() " ASKS "msg:set_meta('x', "
	    "#b)"), false);
	for (i = 0; i < N(waits); i++) {
		if (i == AT_DATA)
			continue;
		/* The client goes. */
		wait_in(i);
		close(x.fd);
		x.fd = -1;
		run_ms(x.loop, 5);
		/* The server goes. */
		wait_in(i);
		session_stop_all(&x.w);
		UNTIL(x.loop, world_read(&x));
		assert_non_null(strstr(x.out, "421 4.3.2"));
	}
	assert_int_equal(x.n_received, 0);
	wait_in(N(waits) - 1); /* and end() ends it */
	end();
}

static void
test_auth(void **state)
{
	(void)state;
	begin(ON("smtp_server_auth_plain", "authz, authc, password, conn", ASKS "if authc == 'app' then return nil end"
	    " if password == 'no' then return false end if authc == 'odd' then conn:set_meta('tenant', 'a b') end"
	    " if authc == 'err' then error('x') end if authc == 'rej' then kumo.reject(535, '5.7.8 never') end"
	    " if authc == 'acme' then conn:set_meta('tenant', 'acme') end return true")
	    ON("smtp_server_message_received", "msg, conn", "msg:set_meta('who', conn:get_meta('authz_id'))"), true);
	auth_connect(&x);
	talk(&x, "AUTH PLAIN AHgAbm8=\r\n", "535");     /* x, no */
	talk(&x, "AUTH PLAIN " APP_WRONG "\r\n", "535");
	talk(&x, "AUTH PLAIN " APP_SESAME "\r\n", "235");
	auth_connect(&x);
	talk(&x, "AUTH PLAIN AG9kZAB5\r\n", "451");     /* odd, y */
	talk(&x, "AUTH PLAIN AGVycgB5\r\n", "451");     /* err, y */
	talk(&x, "AUTH PLAIN AHJlagB5\r\n", "535");     /* rej, y */
	talk(&x, "AUTH PLAIN Ym9zcwBhY21lAHk=\r\n", "235"); /* boss acme y */
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "X-Tenant: other\r\n\r\nx\r\n.\r\n", "250");
	assert_string_equal(x.env->tenant, "acme");
	assert_string_equal(x.env->auth_user, "acme");
	assert_string_equal(x.env->meta[0].value, "boss");
	end();
}

static char *
content(void)
{
	const char *err = NULL;
	struct record rec;
	char *text, *copy;
	size_t len;

	assert_int_equal(record_verify(x.fds[x.last.segment], x.last.segment, x.last.offset, &rec, &err), 1);
	text = record_read_content(x.fds[x.last.segment], &rec, &len, &err);
	assert_non_null(text);
	copy = xmemdup0(text, len);
	free(text);
	return copy;
}

static void
test_message(void **state)
{
	size_t n = 2 << 20, i;
	char *big, *text;

	(void)state;
	begin(ON("smtp_server_message_received", "msg, conn",
	    "local s = msg:get_first_named_header_value('Subject') if s == 'data' then"
	    " msg:set_data('Subject: new\\r\\n.Dot: 1\\r\\n\\r\\n.body') assert(not pcall(msg.set_data, msg, "
	    "'x\\0')) end"
	    " if s == 'queue' then msg:set_meta('queue', 'c:t@q.example') end"
	    " if s == 'big' then assert(not pcall(msg.get_data, msg)) msg:append_header('X-Big', 'yes') end"
	    " if s == 'dot' then msg:append_header('.Dot', 'yes') end"), false);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "Subject: data\r\nMessage-ID: <old@x>\r\n\r\nx\r\n.\r\n", "250");
	text = content();
	assert_non_null(strstr(text, "\r\nSubject: new\r\n.Dot: 1\r\n"));
	assert_non_null(strstr(text, "\r\n\r\n.body\r\n"));
	assert_null(strstr(text, "old@x"));
	assert_int_equal(strncmp(text, "Received: from x", 16), 0);
	assert_true(x.env->flags & MSG_HAS_DOTS);
	assert_null(strstr(x.env->message_id, "old@x"));
	free(text);
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "Subject: dot\r\n\r\nx\r\n.\r\n", "250");
	assert_true(x.env->flags & MSG_HAS_DOTS);
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "Subject: queue\r\n\r\nx\r\n.\r\n", "250");
	assert_string_equal(x.env->queue, "c:t@q.example");
	assert_false(x.env->flags & MSG_HAS_DOTS);
	/* What is on disk already keeps its body. */
	big = xmalloc(n + 1);
	for (i = 0; i < n; i++)
		big[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
	talk(&x, TX "DATA\r\n", "250 250 354");
	client_send(&x, S("Subject: big\r\n\r\n"));
	client_send(&x, big, n);
	talk(&x, ".\r\n", "250");
	free(big);
	text = content();
	assert_non_null(strstr(text, "\r\nSubject: big\r\nX-Big: yes\r\n"));
	assert_true(strlen(text) > n);
	free(text);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_message),
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("smtpd_events", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
