/* What overrides do to paths of deliverd, from the frame to the wire: what is under way ends as it began, what waits
 * takes another source or goes back, and connections of paths that are not concerned stay. */
#include "deliverd_world.h"

#include "deliverd/overrides.h"
#include "deliverd/path.h"

#define HELLO "S:220 peer ESMTP\r\n", "C:EHLO", "S:250-peer\r\n250 PIPELINING\r\n"
#define TX1 "C:MAIL FROM:<", "C:RCPT TO:<", "C:DATA", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 2.0.0 taken\r\n"
#define TX5 TX1, TX1, TX1, TX1, TX1
#define SLOW_TX "C:MAIL", "C:RCPT", "C:DATA", "W:400", "S:250 ok\r\n250 ok\r\n354 go\r\n", "D", "S:250 ok\r\n"
#define S(s) (char *)(uintptr_t)(s)

static const script good[] = { { HELLO, TX5, TX5 } };
static const script slow[] = { { HELLO, SLOW_TX, TX5, TX5 } };
static const struct mail to_example = { .domain = "dest.example", .rcpts = { "a@dest.example" } };
static const struct mail to_other = { .domain = "other.example", .rcpts = { "a@other.example" } };
static const struct dns_row dns[] = { { "dest.example", DNS_OK, NULL, "10 a.example=127.0.0.1" },
	{ "other.example", DNS_OK, NULL, "10 b.example=127.0.0.1" }, { NULL, 0, NULL, NULL } };
#define ONE "posthorn.source { name='x', source_address='127.0.0.41' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='x'} } }\n"
#define TWO "posthorn.source { name='x', source_address='127.0.0.41' }\n" \
	"posthorn.source { name='y', source_address='127.0.0.42' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='x'}, {name='y'} } }\n"

static void
impose(struct world *w, uint64_t id, struct override o)
{
	struct wbuf b;

	o.id = id;
	o.reason = S("too much");
	o.made_by = S("admin root");
	wbuf_init(&b);
	override_encode(&o, &b);
	ipc_send(w->consumer, QL_OVERRIDE, 0, &b, -1);
	wbuf_clear(&b);
}

static void
lift(struct world *w, uint64_t id)
{
	struct wbuf b;

	wbuf_init(&b);
	ql_u64_encode(id, &b);
	ipc_send(w->consumer, QL_OVERRIDE_END, 0, &b, -1);
	wbuf_clear(&b);
}

static const struct path *
path_of(const struct world *w, const char *name)
{
	struct path *p;

	RB_FOREACH(p, path_tree, &w->net->paths)
		if (strcmp(p->name, name) == 0)
			return p;
	fail_msg("no path %s", name);
	return NULL;
}

static void
test_waiting_moves(void **state UNUSED)
{
	struct world *w = world_new();
	struct msgid id[8];
	unsigned i, n_x = 0;

	peer_new(w, 1, slow, 1);
	world_start(w, "smtp_connection_limit = 1\n", TWO, dns);
	for (i = 0; i < 8; i++)
		id[i] = world_mail(w, &to_example);
	world_wait(w, 200);
	assert_int_equal(w->n_results, 0);
	assert_true(path_of(w, "x->a.example")->n_ready > 0);
	impose(w, 1, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .source = S("x"), .site = S("a.example") } });
	world_run(w, 8);
	for (i = 0; i < 8; i++) {
		assert_int_equal(world_result(w, &id[i], 0)->outcome, QL_DELIVERED);
		n_x += strcmp(world_result(w, &id[i], 0)->source, "x") == 0;
	}
	assert_int_equal(n_x, 1); /* which was in the middle of its transaction */
	assert_int_equal(path_of(w, "x->a.example")->n_conns, path_of(w, "x->a.example")->n_quitting);
	world_free(w);
}

static void
test_nothing_left(void **state UNUSED)
{
	struct world *w = world_new();
	const struct ql_result *r;
	unsigned i;

	peer_new(w, 1, good, 1);
	world_start(w, NULL, ONE, dns);
	world_mail(w, &to_example);
	world_mail(w, &to_other);
	world_run(w, 2);
	assert_int_equal(path_of(w, "x->a.example")->n_idle, 1);
	/* In one turn: the override is known when the job is. */
	impose(w, 1, (struct override){ .kind = OVERRIDE_SUSPEND, .scope = { .site = S("A.example") },
	    .expires = wall_ms() + 600000 });
	impose(w, 2, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .source = S("x"), .tenant = S("other") } });
	world_mail(w, &to_example);
	world_run(w, 3);
	r = &w->results[2];
	assert_int_equal(r->outcome, QL_RETURNED);
	assert_true(ql_result_is_imposed(r));
	assert_string_equal(r->text, "suspended by override 1 (admin root): too much");
	assert_in_range(r->retry_after, 500, 601);
	for (i = 0; i < 100 && path_of(w, "x->a.example")->n_conns > 0; i++)
		world_wait(w, 20);
	assert_int_equal(path_of(w, "x->a.example")->n_conns, 0);
	assert_int_equal(path_of(w, "x->b.example")->n_idle, 1); /* not its affair */
	lift(w, 1);
	world_mail(w, &to_example);
	world_run(w, 4);
	assert_int_equal(w->results[3].outcome, QL_DELIVERED);
	assert_int_equal(peer_count(w->peers[0], "EHLO"), 3);
	impose(w, 3, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .site = S("a.example"), .tenant = S("tenant") } });
	world_mail(w, &to_example);
	world_run(w, 5);
	assert_true(ql_result_is_imposed(&w->results[4]));
	assert_int_equal(w->results[4].retry_after, 3600); /* without end: queued says when */
	world_free(w);
}

static int64_t
max_deliveries(const struct world *w, const char *path)
{
	return path_of(w, path)->config.max_deliveries_per_connection;
}

static void
test_limits(void **state UNUSED)
{
	size_t field = (size_t)policy_path_find("max_deliveries_per_connection");
	struct world *w = world_new();

	peer_new(w, 1, good, 1);
	world_start(w, "smtp_connection_limit = 1\nsmtp_deliveries_per_connection = 4\n", ONE, dns);
	world_mail(w, &to_example);
	world_mail(w, &to_other);
	world_run(w, 2);
	assert_int_equal(max_deliveries(w, "x->a.example"), 4);
	impose(w, 7, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .site = S("a.example") },
	    .setting = S("max_deliveries_per_connection"), .value = S("1") });
	impose(w, 8, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .source = S("x") },
	    .setting = S("max_deliveries_per_connection"), .value = S("3") });
	impose(w, 9, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .source = S("x") },
	    .setting = S("connection_limit"), .value = S("50") });
	world_mail(w, &to_example);
	world_mail(w, &to_example);
	world_mail(w, &to_other);
	world_run(w, 5);
	assert_int_equal(max_deliveries(w, "x->a.example"), 1);
	assert_int_equal(path_of(w, "x->a.example")->imposed[field], 7);
	assert_int_equal(path_of(w, "x->a.example")->layers[field], PATH_LAYER_OVERRIDE);
	assert_int_equal(max_deliveries(w, "x->b.example"), 3);
	assert_int_equal(path_of(w, "x->b.example")->imposed[field], 8);
	assert_int_equal(path_of(w, "x->b.example")->config.connection_limit, 1); /* never looser */
	lift(w, 7);
	lift(w, 8);
	world_mail(w, &to_example);
	world_run(w, 6);
	assert_int_equal(max_deliveries(w, "x->a.example"), 4);
	assert_int_equal(path_of(w, "x->a.example")->imposed[field], 0);
	world_free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waiting_moves),
		cmocka_unit_test(test_nothing_left),
		cmocka_unit_test(test_limits),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
