/* What deliverd keeps, and for how long: credit, paths, sites and answers of many domains, questions to the name
 * service, results while queued is away, connections after a reload. Nothing of it may grow, leak or be forgotten. */
#define RESULTS_MAX 12000
#include "deliverd_world.h"
#include "deliverd/path.h"

#define HELLO "S:220 peer ESMTP\r\n", "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n"
#define TX1 \
	"C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define REFUSED \
	"C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n550 5.1.1 no\r\n503 no\r\n", "C:RSET", "S:250 ok\r\n"
#define BYE "C:QUIT", "S:221 bye\r\n", "X"
#define TX5 TX1, TX1, TX1, TX1, TX1
#define SOURCE_33 "posthorn.source { name='ip-1', source_address='127.0.0.33' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n"
#define NO_POOL "posthorn.source { name='z', source_address='127.0.0.43' }\n" \
	"posthorn.pool { name='pool-z', entries={ {name='z'} } }\n"

static const script good[] = { { HELLO, TX5, TX5 } };
static const struct mail to_example = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
static const struct mail to_literal = { .domain = "[127.0.0.1]", .rcpts = { "a@[127.0.0.1]" } };
static const struct dns_row dest_1[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" },
	{ "other.example", DNS_OK, NULL, "10 a.example=127.0.0.1" }, { NULL, 0, NULL, NULL } };

static void
forget_results(struct world *w)
{
	unsigned i;

	for (i = 0; i < w->n_results; i++)
		ql_result_clear(&w->results[i]);
	w->n_results = 0;
}

static void
mail_to(struct world *w, unsigned i)
{
	char domain[64], rcpt[80];
	struct mail m = { .domain = domain, .rcpts = { rcpt } };

	snprintf(domain, sizeof(domain), "d%u.example", i);
	snprintf(rcpt, sizeof(rcpt), "a@%s", domain);
	world_mail(w, &m);
}

static unsigned
count_paths(struct world *w)
{
	struct path *p;
	unsigned n = 0;

	RB_FOREACH(p, path_tree, &w->net->paths)
		n++;
	return n;
}

/* Ten thousand places that do not answer: each message gets its result, the credit comes back, and what was made for
 * them goes when it has not been used for a while. */
static void
test_many_domains(void **state UNUSED)
{
	static const struct dns_row dns[] = { { "*", DNS_OK, NULL, "10 mx.@=127.0.0.9" }, { NULL, 0, NULL, NULL } };
	struct world *w = world_new();
	struct path *p;
	unsigned i;

	peer_new(w, 1, good, 1);
	world_start(w, "deliverd_credit = 10000\n", SOURCE_33, dns);
	assert_int_equal(w->credit, 10000);
	for (i = 0; i < 10000; i++)
		mail_to(w, i);
	world_run(w, 10000);
	world_wait(w, 50);
	for (i = 0; i < 10000; i++)
		assert_int_equal(w->results[i].code, 451);
	assert_int_equal(w->net->n_items, 0);
	assert_int_equal(w->net->n_conns, 0);
	assert_in_range(w->credit, 10000 + 9600, 20000);
	assert_int_equal(count_paths(w), 10000);
	paths_sweep(w->net, false);
	RB_FOREACH(p, path_tree, &w->net->paths)
		p->idle_since -= 120000;
	paths_sweep(w->net, false);
	assert_int_equal(count_paths(w), 0);
	resolver_forget(w->net->resolver);
	resolver_sweep(w->net->resolver);
	assert_true(RB_EMPTY(&w->net->sites));
	world_free(w);
}

/* The name service is asked so many questions at a time; others wait for their turn and are not lost. */
static void
test_questions_in_turn(void **state UNUSED)
{
	static const struct dns_row silent[] = { { "*", 0, NULL, NULL }, { NULL, 0, NULL, NULL } };
	static const struct dns_row dead[] = { { "*", DNS_NXDOMAIN, "no such domain", NULL }, { NULL, 0, NULL, NULL } };
	struct world *w = world_new();
	unsigned i;

	world_start(w, "deliverd_credit = 10000\ndns_timeout = 1s\n", SOURCE_33, silent);
	for (i = 0; i < 10000; i++)
		mail_to(w, i);
	world_wait(w, 1000);
	assert_in_range(w->n_asked, 100, 2000);
	assert_int_equal(w->n_results, 0);
	assert_non_null(w->dns);
	w->dns_rows = dead;
	world_run(w, 10000); /* the silent ones time out, which lets the others in */
	for (i = 0; i < 10000; i++)
		assert_true(w->results[i].code == 550 || w->results[i].code == 451);
	assert_int_equal(w->net->n_items, 0);
	world_free(w);
}

/* Successes and failures of every kind: as much credit comes back as was used. */
static void
test_credit_returns(void **state UNUSED)
{
	static const script mixed[] = { { HELLO, TX1, REFUSED, TX1, BYE },
	    { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n", "X" }, { "S:421 busy\r\n", "X" },
	    { HELLO, REFUSED, TX1, "C:MAIL", "X" }, { HELLO, TX1, TX1, TX1, BYE } };
	struct world *w = world_new();
	unsigned i, sent = 0;
	uint64_t credit;

	peer_new(w, 1, mixed, 5);
	world_start(w, "deliverd_credit = 64\nsmtp_connection_limit = 2\nsmtp_deliveries_per_connection = 3\n",
	    SOURCE_33, dest_1);
	while (sent < 100) {
		for (; sent < 100 && sent < w->credit; sent++)
			world_mail(w, &to_example);
		world_wait(w, 20);
		if (w->peers[0]->n_conns >= CONNS_MAX - 8)
			break;
	}
	world_run(w, sent);
	credit = w->credit;
	world_wait(w, 100);
	assert_int_equal(w->net->n_items, 0);
	assert_in_range(w->credit - sent, 60, 64);
	assert_in_range(credit, sent, sent + 64);
	assert_in_range(w->peers[0]->max_open, 1, 2);
	for (i = 0; i < sent; i++) /* the 421 costs two seconds, in which most of the credit is held */
		assert_true(w->results[i].outcome != QL_RETURNED || strstr(w->results[i].text, "is slow") != NULL);
	world_free(w);
}

/* A pool that a reload took away has no family to ask addresses for: its mail waits, it does not bounce. */
static void
test_pool_gone(void **state UNUSED)
{
	struct world *w = world_new();

	peer_new(w, 1, good, 1);
	world_start(w, NULL, SOURCE_33, dest_1);
	write_config(w, NULL, NO_POOL);
	net_reload(w->net);
	world_mail(w, &to_example);
	world_run(w, 1);
	assert_int_equal(w->results[0].outcome, QL_RETURNED);
	assert_true(w->results[0].retry_after > 0);
	assert_int_equal(w->n_asked, 0);
	write_config(w, NULL, SOURCE_33);
	net_reload(w->net);
	world_mail(w, &to_example);
	world_run(w, 2);
	assert_int_equal(w->results[1].outcome, QL_DELIVERED);
	world_free(w);
}

/* What was asked before a reload is asked again: the pool had another address family then. */
static void
test_answer_from_before(void **state UNUSED)
{
	static const struct dns_row silent[] = { { "*", 0, NULL, NULL }, { NULL, 0, NULL, NULL } };
	char text[] = "neither mail exchanger nor address";
	struct dns_reply none = { .status = DNS_NO_ADDRESS, .ttl = 60, .text = text };
	struct world *w = world_new();
	struct wbuf b;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, SOURCE_33, silent);
	world_mail(w, &to_example);
	world_wait(w, 50);
	assert_int_equal(w->n_asked, 1);
	write_config(w, NULL, SOURCE_33);
	net_reload(w->net);
	w->dns_rows = dest_1;
	wbuf_init(&b);
	dns_reply_encode(&none, &b);
	ipc_send(w->dns, DNS_ANSWER, w->last_question, &b, -1);
	wbuf_clear(&b);
	world_run(w, 1);
	assert_int_equal(w->results[0].outcome, QL_DELIVERED);
	assert_int_equal(w->n_asked, 2);
	world_free(w);
}

static void
queued_goes(struct world *w)
{
	ipc_close(&w->consumer);
	ipc_server_free(&w->server);
}

/* However long queued was away, what it may not have committed is said again; and again if it dies again. */
static void
test_said_again_later(void **state UNUSED)
{
	static const script slow[] = { { HELLO, TX1, "C:MAIL", "C:RCPT", "C:DATA", "W:300",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n" } };
	struct world *w = world_new();
	struct msgid id[2];
	unsigned i;

	peer_new(w, 1, slow, 1);
	world_start(w, "smtp_connection_limit = 1\n", SOURCE_33, dest_1);
	id[0] = world_mail(w, &to_example);
	world_run(w, 1);
	id[1] = world_mail(w, &to_example);
	world_wait(w, 100);
	queued_goes(w);
	world_wait(w, 6000); /* meanwhile the second one is delivered, and kept */
	for (i = 0; i < 2; i++) {
		forget_results(w);
		w->n_held = 0;
		world_listen(w);
		world_run(w, 2);
		assert_int_equal(world_result(w, &id[0], 0)->outcome, QL_DELIVERED);
		assert_int_equal(world_result(w, &id[1], 0)->outcome, QL_DELIVERED);
		assert_int_equal(w->n_held, 2);
		queued_goes(w);
		world_wait(w, 50);
	}
	assert_int_equal(peer_count(w->peers[0], "MAIL FROM"), 2);
	world_listen(w);
	world_wait(w, 10);
	world_free(w);
}

/* queued may hang for as long as its watchdog lets it, with what it was told unread or not committed. */
static void
test_said_again_after_hang(void **state UNUSED)
{
	struct world *w = world_new();
	struct msgid id;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, SOURCE_33, dest_1);
	id = world_mail(w, &to_example);
	world_run(w, 1);
	forget_results(w);
	world_wait(w, 7000); /* the socket takes all that is said */
	queued_goes(w);
	w->n_held = 0;
	world_wait(w, 50);
	world_listen(w);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_int_equal(w->n_held, 1);
	world_free(w);
}

/* Connections made under an old configuration carry nothing under the new one. */
static void
test_reload_connections(void **state UNUSED)
{
	static const script each[] = { { HELLO, TX5, BYE } };
	struct world *w = world_new();

	peer_new(w, 1, each, 1);
	world_start(w, NULL, SOURCE_33, NULL);
	world_mail(w, &to_literal);
	world_run(w, 1);
	write_config(w, "smtp_tls_security_level = none\n", SOURCE_33);
	net_reload(w->net);
	world_mail(w, &to_literal);
	world_run(w, 2);
	assert_int_equal(w->peers[0]->n_conns, 2);
	assert_int_equal(w->results[1].outcome, QL_DELIVERED);
	world_free(w);
}

/* What was learnt of a server's TLS under a policy that verifies nothing is no excuse to speak in the clear to one that
 * is to be verified. */
static void
test_broken_tls(void **state UNUSED)
{
	static const script tls[] = {
		{ "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "C:STARTTLS",
		    "S:220 go\r\n", "W:50", "S:no handshake, this\r\n", "X" },
		{ "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", TX1, BYE },
		{ "S:220 hi\r\n", "C:EHLO", "S:250-peer\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "C:STARTTLS",
		    "S:220 go\r\n", "W:50", "S:no handshake, this\r\n", "X" } };
	struct world *w = world_new();

	peer_new(w, 1, tls, 3);
	world_start(w, NULL, SOURCE_33
	    "kumo.on('get_egress_path_config', function() return { enable_tls = 'OpportunisticInsecure' } end)\n",
	    NULL);
	world_mail(w, &to_literal);
	world_run(w, 1);
	assert_int_equal(w->results[0].outcome, QL_DELIVERED);
	assert_int_equal(peer_count(w->peers[0], "STARTTLS"), 1);
	write_config(w, NULL, SOURCE_33
	    "kumo.on('get_egress_path_config', function() return { enable_tls = 'Opportunistic' } end)\n");
	net_reload(w->net);
	world_mail(w, &to_literal);
	world_run(w, 2);
	assert_int_equal(w->results[1].outcome, QL_FAILED);
	assert_int_equal(peer_count(w->peers[0], "STARTTLS"), 2);
	assert_int_equal(peer_count(w->peers[0], "MAIL FROM"), 1);
	world_free(w);
}

/* As documented: 0 is no limit to deliveries, and no time for idle connections. */
static void
test_zeros(void **state UNUSED)
{
	static const script each[] = { { HELLO, TX5, TX5, BYE } };
	struct world *w = world_new();
	unsigned i;

	peer_new(w, 1, each, 1);
	world_start(w, "smtp_deliveries_per_connection = 0\nsmtp_connection_limit = 1\n", SOURCE_33, NULL);
	for (i = 0; i < 6; i++)
		world_mail(w, &to_literal);
	world_run(w, 6);
	assert_int_equal(w->peers[0]->n_conns, 1);
	world_free(w);

	w = world_new();
	peer_new(w, 1, each, 1);
	world_start(w, NULL, SOURCE_33
	    "kumo.on('get_egress_path_config', function() return { max_deliveries_per_connection = 0, "
	    "connection_limit = 1 } end)\n", NULL);
	for (i = 0; i < 6; i++)
		world_mail(w, &to_literal);
	world_run(w, 6);
	assert_int_equal(w->peers[0]->n_conns, 1);
	world_free(w);

	w = world_new();
	peer_new(w, 1, good, 1);
	world_start(w, "smtp_idle_timeout = 0\n", SOURCE_33, NULL);
	world_mail(w, &to_literal);
	world_run(w, 1);
	world_wait(w, 200);
	assert_int_equal(peer_count(w->peers[0], "QUIT"), 1);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_domains),
		cmocka_unit_test(test_questions_in_turn),
		cmocka_unit_test(test_credit_returns),
		cmocka_unit_test(test_pool_gone),
		cmocka_unit_test(test_answer_from_before),
		cmocka_unit_test(test_said_again_later),
		cmocka_unit_test(test_said_again_after_hang),
		cmocka_unit_test(test_reload_connections),
		cmocka_unit_test(test_broken_tls),
		cmocka_unit_test(test_zeros),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
