/* What smtpd believes whom: tenants in the header against the user's binding, the sender's domain however it is
 * written, and a proxy that does not know its client. */
#include <signal.h>

#include "base/log.h"

#include "t/unit/smtpd_talk.h"

struct tenant_case {
	const char *header;
	const char *bound_reject;   /* tenant_mismatch = reject, user bound to acme: the code */
	const char *unbound;        /* the code */
	const char *tenant;         /* of the unbound user's message; NULL: none */
};

static const struct tenant_case tenants[] = {
	{ "", "250", "250", NULL },
	{ "X-Tenant: acme\r\n", "250", "250", "acme" },
	{ "x-TENANT :\tacme \r\n", "250", "250", "acme" },
	{ "X-Tenant:\r\n acme\r\n", "250", "250", "acme" },
	/* A field without a value names nobody. */
	{ "X-Tenant:\r\n", "250", "250", NULL },
	{ "X-Tenant: \r\nX-Tenant: acme\r\n", "250", "250", "acme" },
	{ "X-Tenant: acme\r\nX-Tenant: acme\r\n", "250", "250", "acme" },
	{ "X-Tenant: other\r\n", "550", "250", "other" },
	{ "X-Tenant:\r\n\tother\r\n", "550", "250", "other" },
	/* The second one counts as much as the first. */
	{ "X-Tenant: acme\r\nX-Tenant: other\r\n", "550", "550", NULL },
	{ "X-Tenant: acme\r\nSubject: x\r\nX-Tenant:\r\n other\r\n", "550", "550", NULL },
	{ "X-Tenant: other\r\nX-Tenant: acme\r\n", "550", "550", NULL },
	{ "X-Tenant: acme@x\r\n", "550", "550", NULL },
	{ "X-Tenant: ac\r\n me\r\n", "550", "550", NULL },
	/* Behind a line that is no field everything is body. */
	{ "no field\r\nX-Tenant: other\r\n", "250", "250", NULL },
	{ " X-Tenant: other\r\n", "250", "250", NULL }
};

static void
send_as(struct world *x, const char *auth, const char *from, const char *header, const char *code)
{
	char text[512];

	auth_connect(x);
	talk(x, auth, "235");
	snprintf(text, sizeof text, "MAIL FROM:<%s>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", from);
	talk(x, text, "250 250 354");
	snprintf(text, sizeof text, "%s\r\nbody\r\n.\r\n", header);
	talk(x, text, code);
}

static char *
content(struct world *x)
{
	const char *err = NULL;
	struct record rec;
	char *text, *copy;
	size_t len;

	assert_int_equal(record_verify(x->fds[x->last.segment], x->last.segment, x->last.offset, &rec, &err), 1);
	text = record_read_content(x->fds[x->last.segment], &rec, &len, &err);
	assert_non_null(text);
	copy = xmemdup0(text, len);
	free(text);
	return copy;
}

static void
test_tenants(void **state)
{
	const struct tenant_case *c;
	struct world x;
	char *text;

	(void)state;
	auth_world(&x);
	for (c = tenants; c < tenants + N(tenants); c++) {
		x.params.tenant_mismatch = TENANT_REJECT;
		send_as(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "a@acme.example", c->header, c->bound_reject);
		x.params.tenant_mismatch = TENANT_OVERRIDE;
		send_as(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "a@acme.example", c->header, "250");
		assert_string_equal(x.env->tenant, "acme");
		/* All of them go, whatever they say; what stands in the body stays. */
		text = content(&x);
		if (strstr(c->header, "X-Tenant: other\r\n") == NULL || strchr("n ", c->header[0]) == NULL)
			assert_null(strcasestr(text, "x-tenant"));
		assert_null(strstr(text, "acme@x"));
		free(text);
		send_as(&x, "AUTH PLAIN " APP_SESAME "\r\n", "a@acme.example", c->header, c->unbound);
		if (strcmp(c->unbound, "250") != 0)
			continue;
		if (c->tenant == NULL)
			assert_true(x.env->tenant == NULL || *x.env->tenant == '\0');
		else
			assert_string_equal(x.env->tenant, c->tenant);
	}
	world_clear(&x);
}

/* The user may send as acme.example only. */
static void
test_senders(void **state)
{
	static const struct {
		const char *mail;
		const char *code;
	} cases[] = {
		{ "<>", "250" }, { "<a@acme.example>", "250" }, { "<a@ACME.Example>", "250" },
		{ "<\"x@evil.example\"@acme.example>", "250" },
		{ "<@evil.example:a@acme.example>", "250" },
		{ "<\"a@acme.example\"@evil.example>", "553" },
		{ "<\"a@acme.example>\"@evil.example>", "553" },
		{ "<a@sub.acme.example>", "553" },
		{ "<a@xacme.example>", "553" },
		{ "<a@acme.example.evil.example>", "553" },
		{ "<@acme.example:a@evil.example>", "553" },
		{ "<a@[192.0.2.1]>", "553" },
		{ "<\xc3\xa4@evil.example> SMTPUTF8", "553" },
		{ "<\xc3\xa4@acme.example> SMTPUTF8", "250" },
		{ "<a@acme.ex\xc3\xa4mple> SMTPUTF8", "553" },
		{ "<a@acme.example@evil.example>", "501" },
		{ "<a@acme.example.>", "501" },
		{ "<a@evil.example,a@acme.example>", "501" }
	};
	struct world x;
	char text[256];
	size_t i;

	(void)state;
	auth_world(&x);
	auth_connect(&x);
	talk(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "235");
	for (i = 0; i < N(cases); i++) {
		snprintf(text, sizeof text, "MAIL FROM:%s\r\n", cases[i].mail);
		talk(&x, text, cases[i].code);
		talk(&x, "RSET\r\n", "250");
	}
	world_clear(&x);
}

/* envelope_from_return_path: what the field may say, and what leaves the sender of MAIL in place. */
static void
test_return_path(void **state)
{
	static const struct {
		const char *header;
		const char *sender;
	} cases[] = {
		{ "Return-Path: <v@acme.example>\r\n", "v@acme.example" },
		{ "return-path : v@ACME.example\r\n", "v@acme.example" },
		{ "Return-Path:\r\n <v@acme.example>\r\n", "v@acme.example" },
		{ "Return-Path: <v@acme.example>\r\nReturn-Path: <w@acme.example>\r\n", "v@acme.example" },
		{ "Return-Path: <\"v w\"@acme.example>\r\n", "\"v w\"@acme.example" },
		{ "Return-Path: <>\r\n", "a@acme.example" },
		{ "Return-Path:\r\n", "a@acme.example" },
		{ "Return-Path: <v@acme.example> (x)\r\n", "a@acme.example" },
		{ "Return-Path: <\"v@acme.example\"@evil.example>\r\n", "a@acme.example" },
		{ "Return-Path: <\xc3\xa4@acme.example>\r\n", "a@acme.example" },
		{ "Return-Path: <v@acme\r\n .example>\r\n", "a@acme.example" }
	};
	struct world x;
	char *text;
	size_t i;

	(void)state;
	auth_world(&x);
	for (i = 0; i < N(cases); i++) {
		send_as(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "a@acme.example", cases[i].header, "250");
		assert_string_equal(x.env->sender, cases[i].sender);
		text = content(&x);
		assert_null(strcasestr(text, "return-path"));
		free(text);
	}
	/* The null sender stays null: a notice must not get an answer. */
	send_as(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "", "Return-Path: <v@acme.example>\r\n", "250");
	assert_string_equal(x.env->sender, "");
	world_clear(&x);
}

/* The proxy's own rights are never its unknown client's. */
static void
test_xclient_unknown(void **state)
{
	static struct cidr proxy = { .family = AF_INET, .addr = { 127, 0, 0, 1 }, .bits = 32 };
	static const char *const unknown[] = { "XCLIENT ADDR=[UNAVAILABLE]\r\n", "XCLIENT ADDR=[TEMPUNAVAIL]\r\n" };
	struct world x;
	size_t i;

	(void)state;
	world_init(&x, users());
	trust(&x);
	x.params.smtpd_authorized_xclient_hosts.v = &proxy;
	x.params.smtpd_authorized_xclient_hosts.n = 1;
	for (i = 0; i < N(unknown); i++) {
		world_connect_from(&x, LISTEN_SMTPD, INSIDE);
		expect_codes(&x, "banner", "220");
		talk(&x, unknown[i], "220");
		talk(&x, "EHLO x\r\n", "250");
		talk(&x, TX, "250 550");
		talk(&x, "RCPT TO:<c@ours.example>\r\nDATA\r\n", "250 354");
		talk(&x, "A: b\r\n\r\n.\r\n", "250");
		assert_string_equal(x.env->client, "unknown");
	}
	/* And it may say more later. */
	talk(&x, "XCLIENT ADDR=127.0.0.9\r\n", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX, "250 250");
	world_clear(&x);
}

/* Users have a password and are no servers of ours: they say nothing in our name of who was authenticated. */
static void
test_results(void **state)
{
	struct world x;
	char *text;

	(void)state;
	auth_world(&x);
	send_as(&x, "AUTH PLAIN " ACME_SECRET "\r\n", "a@acme.example",
	    "Authentication-Results: mx.test.example; spf=pass\r\n"
	    "Authentication-Results: other.example; spf=fail\r\n", "250");
	text = content(&x);
	assert_null(strstr(text, "spf=pass"));
	assert_non_null(strstr(text, "Authentication-Results: other.example; spf=fail\r\n"));
	free(text);
	/* A server of ours may have looked at it. */
	trust(&x);
	world_connect_from(&x, LISTEN_SMTPD, INSIDE);
	expect_codes(&x, "banner", "220");
	talk(&x, "EHLO x\r\n", "250");
	talk(&x, TX "DATA\r\n", "250 250 354");
	talk(&x, "Authentication-Results: mx.test.example; spf=pass\r\n\r\nbody\r\n.\r\n", "250");
	text = content(&x);
	assert_non_null(strstr(text, "spf=pass"));
	free(text);
	world_clear(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tenants),
		cmocka_unit_test(test_senders),
		cmocka_unit_test(test_return_path),
		cmocka_unit_test(test_xclient_unknown),
		cmocka_unit_test(test_results)
	};

	signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
