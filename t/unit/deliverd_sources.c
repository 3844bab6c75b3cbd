/* What deliverd knows about its sources, and what it takes from shared limits: a source that is being tried again, and
 * tokens of rates that were taken for nothing. */
#include "deliverd_world.h"
#include "deliverd/path.h"

#define HELLO "S:220 peer ESMTP\r\n", "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n"
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define SOURCE_33 "posthorn.source { name='ip-1', source_address='127.0.0.33' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n"

static const struct mail to_example = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
static const struct dns_row dest_1[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" }, { NULL, 0, NULL,
    NULL } };

/* As after SOURCE_OUT_MS: it is out, and one connection may try. */
static void
begin_probe(struct world *w)
{
	struct source *s = TAILQ_FIRST(&w->net->sources);

	s->n_failures = 5;
	s->out_until = loop_now(w->loop) + 600000;
	s->is_probing = true;
	s->is_trying = false;
}

/* A try that ends before the connection is open, by no fault of the source, is not the last one. */
static void
probe_again(const script *scripts, const char *main_cf)
{
	struct world *w = world_new();
	struct msgid id;

	peer_new(w, 1, scripts, 2);
	world_start(w, main_cf, SOURCE_33, dest_1);
	begin_probe(w);
	id = world_mail(w, &to_example);
	world_run(w, 1);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_FAILED);
	id = world_mail(w, &to_example);
	world_run(w, 2);
	assert_int_equal(world_result(w, &id, 0)->outcome, QL_DELIVERED);
	assert_int_equal(TAILQ_FIRST(&w->net->sources)->out_until, 0);
	world_free(w);
}

static void
test_probe_refused(void **state UNUSED)
{
	static const script refuses[] = { { "S:554 not you\r\n", "X" }, { HELLO, TX1 } };
	static const script hangs_up[] = { { "X" }, { HELLO, TX1 } };
	static const script is_silent[] = { { "C:never" }, { HELLO, TX1 } };

	probe_again(refuses, NULL);
	probe_again(hangs_up, NULL);
	probe_again(is_silent, "smtp_banner_timeout = 1s\n");
}

static const char two_an_hour[] = SOURCE_33
    "kumo.on('get_egress_path_config', function() return { max_message_rate = '2/h,max_burst=2' } end)\n";

static unsigned
count_outcome(const struct world *w, int outcome)
{
	unsigned i, n = 0;

	for (i = 0; i < w->n_results; i++)
		n += w->results[i].outcome == outcome;
	return n;
}

/* One after the other, so that each has a connection of its own. */
static void
send_each(struct world *w, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		world_mail(w, &to_example);
		world_run(w, w->n_results + 1);
	}
}

/* The peer has heard of it: it counts, whatever came of it. */
static void
test_written_counts(void **state UNUSED)
{
	static const script at_mail[] = { { HELLO, "C:MAIL", "X" } };
	static const script at_data[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n250 ok\r\n354 go\r\n", "C:", "X" } };
	static const script after_rset[] = { { HELLO, TX1, "C:MAIL", "X" } };
	static const script *const all[] = { at_mail, at_data, after_rset };
	struct world *w;
	unsigned i;

	for (i = 0; i < 3; i++) {
		w = world_new();
		peer_new(w, 1, all[i], 1);
		world_start(w, NULL, two_an_hour, dest_1);
		send_each(w, 5);
		assert_int_equal(peer_count(w->peers[0], "MAIL FROM"), 2);
		assert_true(count_outcome(w, QL_RETURNED) >= 3);
		world_free(w);
	}
}

/* Nothing of it was said: it does not count. */
static void
test_unwritten_does_not_count(void **state UNUSED)
{
	static const script scripts[] = { { "S:421 busy\r\n", "X" }, { "X" }, { "S:421 busy\r\n", "X" },
		{ "S:421 busy\r\n", "X" }, { HELLO, TX1, TX1 } };
	struct world *w = world_new();

	peer_new(w, 1, scripts, 5);
	world_start(w, NULL, two_an_hour, dest_1);
	send_each(w, 7);
	assert_int_equal(count_outcome(w, QL_FAILED), 4);
	assert_int_equal(count_outcome(w, QL_DELIVERED), 2);
	assert_int_equal(count_outcome(w, QL_RETURNED), 1);
	world_free(w);
}

/* An attempt to connect that never left the host. */
static void
test_undialled_does_not_count(void **state UNUSED)
{
	static const script one[] = { { HELLO, TX1, "C:QUIT", "S:221 bye\r\n", "X" } };
	struct world *w = world_new();
	struct sockaddr_storage sa;
	struct source *s;

	peer_new(w, 1, one, 1);
	world_start(w, NULL, SOURCE_33 "kumo.on('get_egress_path_config', function()\n"
	    "  return { max_connection_rate = '2/h,max_burst=2', max_deliveries_per_connection = 1 } end)\n", dest_1);
	s = TAILQ_FIRST(&w->net->sources);
	sa = s->sa;
	assert_int_equal(sockaddr_parse("192.0.2.41", 0, &s->sa, &s->salen), 0);
	send_each(w, 1);
	assert_int_equal(count_outcome(w, QL_RETURNED), 1);
	s->sa = sa;
	s->out_until = 0;
	send_each(w, 3);
	assert_int_equal(count_outcome(w, QL_DELIVERED), 2);
	assert_int_equal(count_outcome(w, QL_RETURNED), 2);
	world_free(w);
}

/* What was chosen for a source and handed back by a reload may be chosen again. */
static void
test_unselected_by_reload(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, TX1, "C:QUIT", "S:221 bye\r\n", "X" } };
	static const char policy[] = SOURCE_33 "kumo.on('get_egress_path_config', function()\n"
	    "  return { source_selection_rate = '2/h', max_deliveries_per_connection = 1 } end)\n";
	struct world *w = world_new();
	struct limit *l;
	struct path *p;

	peer_new(w, 1, scripts, 1);
	world_start(w, NULL, policy, dest_1);
	send_each(w, 1);
	p = RB_MIN(path_tree, &w->net->paths);
	assert_true(limit_set_wait(&p->sets[LIMIT_SELECT], &l) == 0);
	p->open_after = loop_now(w->loop) + 60000; /* the next one waits */
	p->window = 0;
	world_mail(w, &to_example);
	world_wait(w, 100);
	assert_true(limit_set_wait(&p->sets[LIMIT_SELECT], &l) > 0);
	write_config(w, "# another\n", policy);
	net_reload(w->net);
	world_run(w, 2);
	assert_int_equal(count_outcome(w, QL_RETURNED), 1);
	assert_true(limit_set_wait(&p->sets[LIMIT_SELECT], &l) == 0);
	world_free(w);
}

/* In a transaction when the configuration changes, then the connection breaks: it is not for the new one to send. */
static void
test_broken_at_reload(void **state UNUSED)
{
	static const script scripts[] = { { HELLO, TX1, "C:MAIL", "W:400", "X" }, { HELLO, TX1 } };
	struct world *w = world_new();

	peer_new(w, 1, scripts, 2);
	world_start(w, "smtp_connection_limit = 1\n", SOURCE_33, dest_1);
	send_each(w, 1);
	world_mail(w, &to_example);
	world_wait(w, 100);
	assert_int_equal(w->n_results, 1);
	write_config(w, "# another\n", SOURCE_33);
	net_reload(w->net);
	world_run(w, 2);
	assert_int_equal(w->results[1].outcome, QL_RETURNED);
	assert_int_equal(w->peers[0]->n_conns, 1);
	world_free(w);
}

static struct path *
path_to(struct world *w, const char *hosts)
{
	struct mx_list *mx = make_hosts(MX_RECORDS, hosts);
	struct site *site = site_get(w->net, mx, NULL);
	struct path *p = path_get(site, TAILQ_FIRST(&w->net->sources), "dest.example");

	mx_list_unref(&mx);
	site_unref(&site);
	return p;
}

/* Half of the connections that are in use, at a time-out of whatever reply and at 421; then no more for a while. */
static void
test_shrink(void **state UNUSED)
{
	static const script slow[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA", "S:250 ok\r\n", "W:3000" } };
	static const script busy[] = { { HELLO, "C:MAIL", "C:RCPT", "C:DATA",
	    "S:250 ok\r\n421 too much\r\n", "W:300", "X" } };
	static const script *const all[] = { slow, busy };
	struct world *w;
	struct path *p;
	unsigned i, k;

	for (i = 0; i < 2; i++) {
		w = world_new();
		peer_new(w, 1, all[i], 1);
		world_start(w, "smtp_rcpt_timeout = 1s\n", SOURCE_33
		    "kumo.on('get_egress_path_config', function() return { connection_limit = 8 } end)\n", dest_1);
		p = path_to(w, "10 a.example=127.0.0.1");
		p->window = 8;
		for (k = 0; k < 80; k++)
			world_mail(w, &to_example);
		world_run(w, 1);
		assert_int_equal(w->results[0].outcome, QL_FAILED);
		assert_int_equal(p->window, 4);
		for (k = 0; k < 20; k++)
			path_grow(p);
		assert_int_equal(p->window, 4);
		p->resized -= 60000;
		path_grow(p);
		assert_int_equal(p->window, 5);
		world_free(w);
	}
}

static struct path *
provider_path(struct world *w, const char *hosts)
{
	struct path *p = path_to(w, hosts);

	p->config.provider_name = xstrdup("x");
	p->config.provider_connection_limit = 1;
	path_share_limits(p);
	return p;
}

/* A path with connections that leaves a provider makes room for those who wait there. */
static void
test_leaves_provider(void **state UNUSED)
{
	struct world *w = world_new();
	struct path *p, *waits;
	struct limit *l;

	world_start(w, NULL, SOURCE_33, NULL);
	p = provider_path(w, "10 a.example=127.0.0.1");
	waits = provider_path(w, "10 b.example=127.0.0.1");
	assert_true(limit_set_conn_take(&p->sets[LIMIT_CONNS], &p->waits[LIMIT_CONNS], &l));
	p->n_conns = 1;
	assert_false(limit_set_conn_take(&waits->sets[LIMIT_CONNS], &waits->waits[LIMIT_CONNS], &l));
	assert_false(waits->waits[LIMIT_CONNS].is_turn);
	p->config.provider_connection_limit = 0;
	path_share_limits(p);
	assert_true(waits->waits[LIMIT_CONNS].is_turn);
	assert_true(limit_set_conn_take(&waits->sets[LIMIT_CONNS], &waits->waits[LIMIT_CONNS], &l));
	limit_set_conn_drop(&waits->sets[LIMIT_CONNS]);
	p->n_conns = 0;
	world_free(w);
}

/* Mails that a rate holds back; for how long the last of them. */
static uint32_t
longest_wait(struct world *w, unsigned n)
{
	unsigned first = w->n_results, i;
	uint32_t longest = 0;

	for (i = 0; i < n; i++)
		world_mail(w, &to_example);
	world_wait(w, 300);
	for (i = first; i < w->n_results; i++)
		if (w->results[i].outcome == QL_RETURNED && w->results[i].retry_after > longest)
			longest = w->results[i].retry_after;
	return longest;
}

/* When an administrator wants mail tried now all of it comes again, and after a reload the rate may be another one:
 * each gets a new time, from now on, not behind the times of before. */
static void
test_times_begin_anew(void **state UNUSED)
{
	static const script good[] = { { HELLO, TX1 } };
	const char *policy = SOURCE_33
	    "kumo.on('get_egress_path_config', function() return { max_message_rate = '1/s' } end)\n";
	struct world *w = world_new();

	peer_new(w, 1, good, 1);
	world_start(w, NULL, policy, dest_1);
	assert_in_range(longest_wait(w, 60), 50, 70);
	assert_true(longest_wait(w, 60) > 100);
	paths_retry(w->net);
	assert_in_range(longest_wait(w, 60), 50, 70);
	write_config(w, "smtp_helo_timeout = 7s\n", policy);
	net_reload(w->net);
	world_wait(w, 100);
	assert_in_range(longest_wait(w, 60), 50, 70);
	world_free(w);
}

/* What was on its way when a source was taken out, or is asked for in the same turn, says nothing that is not known:
 * only a try of its own leaves it alone for longer. */
static void
test_out_once(void **state UNUSED)
{
	struct world *w = world_new();
	struct path *paths[8];
	struct source *s;
	char hosts[64];
	unsigned i;

	world_start(w, NULL, SOURCE_33, NULL);
	s = TAILQ_FIRST(&w->net->sources);
	for (i = 0; i < 8; i++) {
		snprintf(hosts, sizeof(hosts), "10 h%u.example=127.0.0.1", i);
		paths[i] = provider_path(w, hosts);
	}
	for (i = 0; i < 8; i++)
		assert_int_equal(source_connect_failed(paths[i], ENETUNREACH), i >= 4);
	assert_int_equal(s->out_ms, SOURCE_OUT_MS);
	source_out(w->net, s);
	assert_int_equal(s->out_ms, SOURCE_OUT_MS);
	s->is_probing = true;
	assert_true(source_connect_failed(paths[0], ENETUNREACH));
	assert_int_equal(s->out_ms, 2 * SOURCE_OUT_MS);
	s->is_probing = true;
	source_out(w->net, s);
	assert_int_equal(s->out_ms, 4 * SOURCE_OUT_MS);
	world_free(w);
}

/* Policy that fails, perhaps after using all the time that it may, is not asked for each envelope. */
static void
test_failing_policy_rests(void **state UNUSED)
{
	struct world *w = world_new();
	unsigned i, calls, most = 0;
	const char *at;

	world_start(w, NULL, SOURCE_33
	    "local n = 0\nkumo.on('get_egress_path_config', function() n = n + 1 error('call ' .. n) end)\n", dest_1);
	for (i = 0; i < 50; i++)
		world_mail(w, &to_example);
	world_run(w, 50);
	for (i = 0; i < 50; i++) {
		assert_int_equal(w->results[i].outcome, QL_FAILED);
		assert_non_null(at = strstr(w->results[i].text, "call "));
		calls = (unsigned)atoi(at + strlen("call "));
		most = calls > most ? calls : most;
	}
	assert_in_range(most, 1, 5);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe_refused),
		cmocka_unit_test(test_written_counts),
		cmocka_unit_test(test_unwritten_does_not_count),
		cmocka_unit_test(test_undialled_does_not_count),
		cmocka_unit_test(test_unselected_by_reload),
		cmocka_unit_test(test_broken_at_reload),
		cmocka_unit_test(test_shrink),
		cmocka_unit_test(test_leaves_provider),
		cmocka_unit_test(test_times_begin_anew),
		cmocka_unit_test(test_out_once),
		cmocka_unit_test(test_failing_policy_rests),
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
