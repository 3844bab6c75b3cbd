/* Fair shares of a pool: weights of tenants, classes of priority, queues that wait outside memory, credit that is kept
 * back, and what a reload changes. */
#include "queued_driver.h"

#define CONFIG "posthorn.on('get_queue_config', function(domain, tenant, campaign)\n" \
	"  local p = { %s }\n  local w = { %s }\n" \
	"  return { priority = p[tenant], tenant_share = w[tenant] }\nend)\n"

#define SPARE_POOL "posthorn.source { name='s1', source_address='127.0.0.1' }\n" \
	"posthorn.source { name='s2', source_address='127.0.0.2' }\n" \
	"posthorn.pool { name='p1', entries={ {name='s1'} }, fallback='p2' }\n" \
	"posthorn.pool { name='p2', entries={ {name='s2'} } }\n" \
	"posthorn.on('get_egress_pool', function() return 'p1' end)\n"

static const char *
policy_of(const char *priorities, const char *weights)
{
	static char text[1024];
	int n = snprintf(text, sizeof(text), ONE_POOL CONFIG, priorities, weights);

	assert_in_range(n, 1, sizeof(text) - 1);
	return text;
}

/* n messages to each of the tenant's domains 1 to n_domains. */
static void
add_mail(struct spooler *s, const char *tenant, unsigned n_domains, unsigned n)
{
	char rcpt[64];
	const char *v[1] = { rcpt };
	struct mail m = { .sender = "a@b.example", .tenant = tenant, .rcpts = v, .n_rcpts = 1 };
	unsigned d, i;

	for (d = 1; d <= n_domains; d++)
		for (i = 0; i < n; i++) {
			(void)snprintf(rcpt, sizeof(rcpt), "u%u@d%u.example", i, d);
			(void)spool_add(s, &m);
		}
}

/* Of the next n jobs, how many are of each tenant named by one letter a to d; without an answer. */
static void
count_jobs(struct peer *c, unsigned n, unsigned count[4])
{
	struct ql_job job;

	memset(count, 0, 4 * sizeof(*count));
	while (n-- > 0) {
		assert_true(next_job(c, &job, 10000));
		assert_non_null(job.tenant);
		assert_in_range(job.tenant[0], 'a', 'd');
		count[job.tenant[0] - 'a']++;
		ql_job_clear(&job);
	}
}

static void
test_weights(void **state)
{
	struct peer p, c;
	struct spooler s;
	unsigned n[4];
	struct rig r;

	(void)state;
	rig_open(&r, "", policy_of("", "a = 3"));
	producer_open(&p, &s, &r, "smtpd");
	/* It counts for nothing that one has many queues, and that its mail came first. */
	add_mail(&s, "b", 50, 2);
	add_mail(&s, "a", 1, 100);
	add_mail(&s, "c", 1, 100);
	assert_true(status_becomes(&r, "messages", 300));
	consumer_open(&c, &r, "p1", 200);
	count_jobs(&c, 100, n);
	assert_in_range(n[0], 58, 62);
	assert_in_range(n[1], 19, 21);
	assert_in_range(n[2], 19, 21);
	peer_close(&c);
	peer_close(&p);
	rig_clear(&r);
}

static void
test_priorities(void **state)
{
	struct peer p, c;
	struct spooler s;
	unsigned n[4];
	struct rig r;

	(void)state;
	rig_open(&r, "", policy_of("a = 'low', c = 'high', d = 'high'", ""));
	producer_open(&p, &s, &r, "smtpd");
	add_mail(&s, "a", 1, 200);
	add_mail(&s, "b", 1, 200);
	add_mail(&s, "c", 1, 100);
	add_mail(&s, "d", 1, 100);
	assert_true(status_becomes(&r, "messages", 600));
	consumer_open(&c, &r, "p1", 400);
	count_jobs(&c, 160, n);
	/* Each lower class has a sixteenth, the rest is shared by the tenants of the highest. */
	assert_in_range(n[0], 8, 11);
	assert_in_range(n[1], 8, 11);
	assert_in_range(n[2], 68, 72);
	assert_in_range(n[3], 68, 72);
	peer_close(&c);
	peer_close(&p);
	rig_clear(&r);
}

static void
test_parked(void **state)
{
	struct peer p, c;
	struct spooler s;
	unsigned n[4];
	struct rig r;

	(void)state;
	rig_open(&r, "", policy_of("", ""));
	producer_open(&p, &s, &r, "smtpd");
	add_mail(&s, "a", 900, 1);
	add_mail(&s, "b", 1, 1);
	add_mail(&s, "c", 1, 1);
	assert_true(status_becomes(&r, "messages", 902));
	peer_close(&p);
	rig_stop(&r);
	rig_start(&r);
	consumer_open(&c, &r, "p1", 0);
	assert_true(status_becomes(&r, "queues_waiting", 902));
	send_u32(&c, QL_CREDIT, 40);
	count_jobs(&c, 6, n);
	assert_int_equal(n[1], 1);
	assert_int_equal(n[2], 1);
	/* And all the others have their turn. */
	send_u32(&c, QL_CREDIT, 2000);
	count_jobs(&c, 896, n);
	assert_int_equal(n[0], 896);
	assert_true(status_becomes(&r, "queues_waiting", 0));
	peer_close(&c);
	rig_clear(&r);
}

/* One tenant's destinations take nothing: there is credit left for others, tenants and classes. */
static void
test_reserve(void **state)
{
	struct peer p, c;
	struct spooler s;
	unsigned n[4], took;
	struct rig r;

	(void)state;
	rig_open(&r, "", policy_of("c = 'high', d = 'low'", ""));
	producer_open(&p, &s, &r, "smtpd");
	add_mail(&s, "a", 400, 2);
	assert_true(status_becomes(&r, "messages", 800));
	consumer_open(&c, &r, "p1", 160);
	took = take_all(&c, 0, 0, 500);
	assert_in_range(took, 120, 152);
	add_mail(&s, "b", 1, 1);
	count_jobs(&c, 1, n);
	assert_int_equal(n[1], 1);
	add_mail(&s, "b", 4, 5);
	took += 1 + take_all(&c, 0, 0, 500);
	assert_in_range(took, 122, 158);
	add_mail(&s, "c", 1, 1);
	count_jobs(&c, 1, n);
	assert_int_equal(n[2], 1);
	add_mail(&s, "d", 1, 1);
	count_jobs(&c, 1, n);
	assert_int_equal(n[3], 1);
	peer_close(&c);
	peer_close(&p);
	rig_clear(&r);
}

/* What its consumer has is not what it has itself any more. */
static bool
reload_done(const struct rig *r)
{
	bool is_done = false;
	char *text;
	int i;

	for (i = 0; i < 200 && !is_done; i++) {
		usleep(20000);
		assert_int_equal(ask(r, "status", NULL, &text), 0);
		is_done = strstr(text, "\"is_current\":false") != NULL;
		free(text);
	}
	return is_done;
}

static void
test_reload(void **state)
{
	struct peer p, c;
	struct spooler s;
	unsigned n[4];
	struct rig r;

	(void)state;
	rig_open(&r, "", policy_of("a = 'high', b = 'low'", ""));
	producer_open(&p, &s, &r, "smtpd");
	add_mail(&s, "a", 20, 5);
	add_mail(&s, "b", 20, 5);
	assert_true(status_becomes(&r, "messages", 200));
	peer_close(&p);
	rig_stop(&r);
	rig_start(&r);
	consumer_open(&c, &r, "p1", 0);
	assert_true(status_becomes(&r, "queues_waiting", 40));
	(void)snprintf(r.policy, sizeof(r.policy), "%s", policy_of("a = 'low', b = 'high'", ""));
	rig_write_config(&r);
	assert_int_equal(kill(r.pid, SIGHUP), 0);
	assert_true(reload_done(&r));
	consumer_reload(&c, &r);
	/* They are parked again, in other lanes. */
	assert_true(status_becomes(&r, "queues_waiting", 40));
	send_u32(&c, QL_CREDIT, 160);
	count_jobs(&c, 64, n);
	assert_in_range(n[0], 2, 5);
	assert_in_range(n[1], 59, 62);
	peer_close(&c);
	rig_clear(&r);
}

static void
say_pool(struct peer *c, bool is_usable)
{
	struct wbuf w;

	wbuf_init(&w);
	ql_pool_encode(is_usable, "for a test", &w);
	peer_send(c, QL_POOL, &w);
	wbuf_clear(&w);
}

/* What waits outside memory, in whatever pool, finds its place when a pool goes out or comes back. */
static void
test_fallback(void **state)
{
	struct peer p, one, two;
	struct spooler s;
	unsigned n[4];
	struct rig r;

	(void)state;
	rig_open(&r, "", SPARE_POOL);
	producer_open(&p, &s, &r, "smtpd");
	add_mail(&s, "a", 20, 1);
	assert_true(status_becomes(&r, "messages", 20));
	peer_close(&p);
	rig_stop(&r);
	rig_start(&r);
	consumer_open(&one, &r, "p1", 0);
	assert_true(status_becomes(&r, "queues_waiting", 20));
	/* Neither can be used: then the other alone. */
	consumer_open(&two, &r, "p2", 0);
	say_pool(&two, false);
	usleep(100000);
	say_pool(&one, false);
	usleep(100000);
	say_pool(&two, true);
	send_u32(&two, QL_CREDIT, 5);
	count_jobs(&two, 5, n);
	/* They are with the other, which takes no more. */
	say_pool(&one, true);
	send_u32(&one, QL_CREDIT, 100);
	count_jobs(&one, 10, n);
	peer_close(&one);
	peer_close(&two);
	rig_clear(&r);
}

/* Beyond so many tenants lanes are shared; a queue that gets a lane of its own later has its turns there. */
static void
test_many_tenants(void **state)
{
	struct peer p, one, two;
	struct spooler s;
	struct ql_job job;
	char tenant[32];
	struct rig r;
	unsigned i;

	(void)state;
	rig_open(&r, "", SPARE_POOL);
	producer_open(&p, &s, &r, "smtpd");
	for (i = 0; i < 8300; i++) {
		(void)snprintf(tenant, sizeof(tenant), "t%u", i);
		add_mail(&s, tenant, 1, 1);
	}
	assert_true(status_becomes(&r, "messages", 8300));
	consumer_open(&two, &r, "p2", 0);
	consumer_open(&one, &r, "p1", 2000);
	for (i = 0; i < 1900; i++) {
		assert_true(next_job(&one, &job, 5000));
		send_result(&one, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
		ql_job_clear(&job);
	}
	(void)status_of(&r, "messages");
	say_pool(&two, false); /* every queue is looked at */
	usleep(200000);
	send_u32(&one, QL_CREDIT, 10000);
	assert_int_equal(i + take_all(&one, 0, 0, 1000), 8300);
	peer_close(&one);
	peer_close(&two);
	peer_close(&p);
	close(s.fd);
	rig_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_parked),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_many_tenants),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
