/* deliverd's SMTP client against peers whose replies are out of count: one too many, one too few, before their time,
 * half a line. Whatever they do, nothing is credited that was not said about that envelope, and a message that nobody
 * took is not delivered. */
#include "deliverd_world.h"

#define GREETING "S:220 peer ESMTP\r\n", "C:EHLO"
#define HELLO GREETING, "S:250-peer\r\n250-PIPELINING\r\n250 DSN\r\n"
#define HELLO_PLAIN GREETING, "S:250 peer\r\n"
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define GROUP3 "C:MAIL", "C:RCPT TO:<a@", "C:RCPT TO:<b@", "C:RCPT TO:<c@", "C:DATA"
#define TO_LOCAL .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]" }
#define TO_THREE .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]", "b@[127.0.0.1]", "c@[127.0.0.1]" }
#define AGAIN(phase) { QL_FAILED, 451, phase, true, NULL }

static const struct mail simple = { TO_LOCAL };

struct expect {
	int outcome, code, phase;
	bool is_local;
	const char *command; /* NULL: any */
};

struct row {
	const char *name;
	script script;
	struct mail mail;
	struct expect expect[3];
	const char *unheard;
};

static const struct row rows[] = {
	{ "taken before it was sent", { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n" }, { TO_LOCAL }, { AGAIN(PHASE_DOT) }, NULL },
	{ "taken before it was sent, one by one", { HELLO_PLAIN, "C:MAIL", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n",
	    "C:DATA", "S:354 go\r\n250 taken\r\n" }, { TO_LOCAL }, { AGAIN(PHASE_DOT) }, NULL },
	{ "half an answer before it was sent", { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n250 2.0", "D", "S:.0 taken\r\n" }, { TO_LOCAL }, { AGAIN(PHASE_DOT) },
	    NULL },
	{ "first line of the answer before it was sent", { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n250-2.0.0 a\r\n", "D", "S:250 2.0.0 taken\r\n" }, { TO_LOCAL },
	    { AGAIN(PHASE_DOT) }, NULL },
	{ "taken in the middle", { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "W:100",
	    "S:250 taken\r\n", "W:300", "X" }, { TO_LOCAL, .big_body = 30 << 20, .flags = MSG_LARGE },
	    { AGAIN(PHASE_DATA) }, NULL },
	{ "one reply too many after MAIL", { HELLO_PLAIN, "C:MAIL", "S:250 ok\r\n550 extra\r\n", "C:RCPT",
	    "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n", "C:DATA", "S:354 go\r\n", "D",
	    "S:250 taken\r\n" }, { TO_THREE }, { AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT) },
	    "Subject" },
	{ "one reply too many to RCPT", { HELLO_PLAIN, "C:MAIL", "S:250 ok\r\n", "C:RCPT TO:<a@",
	    "S:250 ok\r\n550 5.1.1 extra\r\n", "C:RCPT TO:<b@", "S:250 ok\r\n", "C:RCPT", "S:250 ok\r\n" },
	    { TO_THREE }, { AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT) }, "Subject" },
	{ "one reply too many to EHLO", { GREETING, "S:250-peer\r\n250 STARTTLS\r\n220 go\r\n" }, { TO_LOCAL },
	    { AGAIN(PHASE_STARTTLS) }, NULL },
	{ "one reply too few to RCPT", { HELLO, GROUP3, "S:250 ok\r\n250 a\r\n250 b\r\n354 go\r\n", "D",
	    "S:250 taken\r\n" }, { TO_THREE }, { AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT), AGAIN(PHASE_RCPT) },
	    "Subject" },
	{ "farewell with the reply to RCPT", { HELLO_PLAIN, "C:MAIL", "S:250 ok\r\n421 4.3.2 down\r\n", "X" },
	    { TO_LOCAL }, { { QL_FAILED, 421, PHASE_RCPT, false, NULL } }, NULL },
	{ "farewell among recipients", { HELLO, GROUP3, "S:250 ok\r\n250 a\r\n421 4.7.0 enough\r\n" }, { TO_THREE },
	    { { QL_FAILED, 421, PHASE_RCPT, false, "" }, { QL_FAILED, 421, PHASE_RCPT, false,
	    "RCPT TO:<b@[127.0.0.1]>" }, { QL_FAILED, 421, PHASE_RCPT, false, "" } }, NULL },
	{ "552 for too many recipients", { HELLO, GROUP3,
	    "S:250 ok\r\n250 a\r\n552 too many\r\n552 5.2.2 full\r\n354 go\r\n", "D", "S:250 ok\r\n" }, { TO_THREE },
	    { { QL_DELIVERED, 250, PHASE_DOT, false, "." }, { QL_FAILED, 452, PHASE_RCPT, false, NULL },
	    { QL_FAILED, 552, PHASE_RCPT, false, NULL } }, NULL },
	{ "preliminary reply", { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:150 wait\r\n250 ok\r\n250 ok\r\n354 go\r\n" },
	    { TO_LOCAL }, { AGAIN(PHASE_MAIL) }, "Subject" },
};

static void
check(const char *name, const struct expect *e, const struct ql_result *r)
{
	if (r->outcome != e->outcome || r->code != e->code || r->phase != e->phase || r->is_local != e->is_local ||
	    (e->command != NULL && strcmp(r->command != NULL ? r->command : "", e->command) != 0))
		fail_msg("%s: outcome %d code %d phase %s local %d command '%s' text '%s'", name, r->outcome, r->code,
		    phase_names[r->phase], r->is_local, r->command != NULL ? r->command : "", r->text);
}

static void
run_row(const struct row *row)
{
	struct world *w = world_new();
	const script scripts[] = { { NULL } };
	struct peer *p = peer_new(w, 1, scripts, 1);
	unsigned n = 0, i;
	struct msgid id;

	p->scripts = (const script *)&row->script;
	world_start(w, NULL, NULL, NULL);
	while (row->mail.rcpts[n] != NULL)
		n++;
	id = world_mail(w, &row->mail);
	world_run(w, n);
	for (i = 0; i < n; i++)
		check(row->name, &row->expect[i], world_result(w, &id, i));
	assert_int_equal(w->net->n_items, 0);
	if (row->unheard != NULL && peer_count(p, row->unheard) > 0)
		fail_msg("%s: heard: %s in\n%.2000s", row->name, row->unheard, p->log);
	world_free(w);
}

static void
test_rows(void **state UNUSED)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("# %s\n", rows[i].name);
		run_row(&rows[i]);
	}
}

/* What comes on an idle connection, a part of a line even, is never taken for the answer to the next message. */
static void
test_idle_bytes(void **state UNUSED)
{
	static const char *const bytes[] = { "S:2", "S:250-half a reply\r\n", "S:250 one more\r\n", "S:421-bye\r\n",
	    "S:550 5.1.1 no such user\r\n" };
	struct world *w;
	struct msgid id;
	unsigned i;

	for (i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		const script scripts[] = { { HELLO, TX1, "W:50", bytes[i], "C:MAIL", "C:RCPT", "C:DATA",
		    "S:50 x\r\n550 no\r\n550 no\r\n550 no\r\n" }, { HELLO, TX1 } };

		w = world_new();
		peer_new(w, 1, scripts, 2);
		world_start(w, NULL, NULL, NULL);
		world_mail(w, &simple);
		world_run(w, 1);
		world_wait(w, 150);
		id = world_mail(w, &simple);
		world_run(w, 2);
		assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
		assert_int_equal(w->peers[0]->n_conns, 2);
		world_free(w);
	}
}

/* The reply that is reported, and the host that is said to have given it, belong together. */
static void
test_whose_reply(void **state UNUSED)
{
	static const script busy[] = { { "S:421 4.3.2 busy\r\n", "X" } };
	static const struct dns_row dns[] = { { "dest.example", DNS_OK, NULL,
	    "10 a.example=127.0.0.2;20 b.example=127.0.0.9" }, { NULL, 0, NULL, NULL } };
	static const struct mail m = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
	struct world *w = world_new();

	peer_new(w, 2, busy, 1);
	world_start(w, NULL, NULL, dns);
	world_mail(w, &m);
	world_run(w, 1);
	assert_int_equal(w->results[0].code, 421);
	assert_string_equal(w->results[0].peer_addr, "127.0.0.2");
	assert_string_equal(w->results[0].peer_name, "a.example");
	assert_int_equal(strncmp(w->results[0].source_address, "127.0.0.1:", 10), 0);
	world_free(w);
}

/* RFC 3461 section 5.2.2: who was given NOTIFY will say so; who offers no DSN, or was given none, will not. */
static void
test_dsn_passed(void **state UNUSED)
{
	static const script dsn[] = { { HELLO, TX1, TX1 } }, plain[] = { { GREETING, "S:250-peer\r\n250 PIPELINING\r\n",
	    TX1 } };
	struct mail m = simple;
	struct world *w = world_new();
	struct msgid id;

	m.notify = NOTIFY_SUCCESS;
	peer_new(w, 1, dsn, 1);
	world_start(w, NULL, NULL, NULL);
	id = world_mail(w, &m);
	world_run(w, 1);
	assert_true(world_result(w, &id, 0)->dsn_passed);
	id = world_mail(w, &simple);
	world_run(w, 2);
	assert_false(world_result(w, &id, 0)->dsn_passed);
	world_free(w);

	w = world_new();
	peer_new(w, 1, plain, 1);
	world_start(w, NULL, NULL, NULL);
	id = world_mail(w, &m);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_false(world_result(w, &id, 0)->dsn_passed);
	world_free(w);
}

static SSL_CTX *
peer_tls_ctx(const char *dir)
{
	char cmd[512], cert[128], key[128], *err = NULL;
	SSL_CTX *ctx;

	snprintf(cmd, sizeof(cmd),
	    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=peer "
	    "-keyout %s/key.pem -out %s/cert.pem >/dev/null 2>&1", dir, dir);
	assert_int_equal(system(cmd), 0);
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	ctx = tls_server_ctx(cert, key, "test", &err);
	assert_non_null(ctx);
	return ctx;
}

/* The server's name goes along in TLS, an address does not (RFC 6066 section 3), whichever way it came. */
static void
test_server_name(void **state UNUSED)
{
	static const script tls[] = { { GREETING, "S:250-peer\r\n250 STARTTLS\r\n", "C:STARTTLS", "S:220 go\r\n", "T",
	    "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n", TX1 } };
	static const struct dns_row dns[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" },
	    { NULL, 0, NULL, NULL } };
	static const struct mail m = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
	static const struct {
		const char *main_cf;
		unsigned n_sni;
	} cases[] = { { NULL, 1 }, { "relayhost = [127.0.0.1]\n", 0 } };
	struct world *w;
	unsigned i;

	for (i = 0; i < 2; i++) {
		w = world_new();
		peer_new(w, 1, tls, 1)->tls = peer_tls_ctx(w->dir);
		world_start(w, cases[i].main_cf, NULL, dns);
		world_mail(w, &m);
		world_run(w, 1);
		assert_int_equal(w->results[0].outcome, QL_DELIVERED);
		assert_non_null(w->results[0].tls_version);
		assert_int_equal(peer_count(w->peers[0], "SNI a.example\n"), cases[i].n_sni);
		assert_int_equal(peer_count(w->peers[0], "SNI "), cases[i].n_sni);
		SSL_CTX_free(w->peers[0]->tls);
		world_free(w);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_idle_bytes),
		cmocka_unit_test(test_whose_reply),
		cmocka_unit_test(test_dsn_passed),
		cmocka_unit_test(test_server_name),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
