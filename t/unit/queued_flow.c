/* queued from end to end over its socket: mail in, jobs out, results, retries, bounces, expiry, windows, pools. */
#include "queued_driver.h"

static void
test_mail_in_and_out(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	char rcpt[64];
	int i;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p1", 1000);
	for (i = 0; i < 200; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%d@d%d.example", i, i % 7);
		(void)spool_one(&s, "from@sender.example", rcpt);
	}
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 200);
	assert_true(status_becomes(&r, "messages", 0));
	assert_int_equal(status_of(&r, "delivered"), 200);
	/* Nothing comes again after a restart, clean or not. */
	rig_kill(&r);
	peer_close(&prod);
	peer_close(&cons);
	close(s.fd);
	rig_start(&r);
	consumer_open(&cons, &r, "p1", 1000);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 1500), 0);
	/* The finished segment is recycled. */
	assert_true(status_becomes(&r, "free_segments", 1));
	peer_close(&cons);
	rig_clear(&r);
}

static void
test_recipients_are_grouped(void **state)
{
	static const char *const rcpts[] = { "a@one.example", "b@one.example", "c@two.example", "d@one.example" };
	struct mail m = { .sender = "s@sender.example", .tenant = "acme", .campaign = "spring", .rcpts = rcpts,
	    .n_rcpts = 4 };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	unsigned n = 0;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_add(&s, &m);
	consumer_open(&cons, &r, "p1", 100);
	while (next_job(&cons, &job, 500)) {
		n++;
		if (strcmp(job.domain, "one.example") == 0) {
			assert_int_equal(job.n_rcpts, 3);
			assert_string_equal(job.queue, "spring:acme@one.example");
			assert_string_equal(job.rcpts[2].address, "d@one.example");
			assert_int_equal(job.rcpts[2].index, 3);
		} else {
			assert_int_equal(job.n_rcpts, 1);
			assert_string_equal(job.queue, "spring:acme@two.example");
		}
		assert_string_equal(job.sender, "s@sender.example");
		assert_string_equal(job.tenant, "acme");
		ql_job_clear(&job);
	}
	assert_int_equal(n, 2);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
test_transient_failure_is_retried(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	int64_t start;

	(void)state;
	rig_open(&r, "retry_interval = 1s\nmax_retry_interval = 2s\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_one(&s, "from@sender.example", "u@d.example");
	consumer_open(&cons, &r, "p1", 10);
	assert_true(next_job(&cons, &job, 2000));
	assert_int_equal(job.rcpts[0].attempts, 0);
	start = mono_ms();
	send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "greylisted");
	ql_job_clear(&job);
	assert_true(next_job(&cons, &job, 3000));
	assert_in_range(mono_ms() - start, 850, 1600);
	assert_int_equal(job.rcpts[0].attempts, 1);
	assert_string_equal(job.sender, "from@sender.example");
	/* Given back without an attempt: does not count. */
	send_result(&cons, &job.rec.id, 0, QL_RETURNED, 0, "");
	ql_job_clear(&job);
	assert_true(next_job(&cons, &job, 3000));
	assert_int_equal(job.rcpts[0].attempts, 1);
	start = mono_ms();
	send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "greylisted");
	ql_job_clear(&job);
	assert_true(next_job(&cons, &job, 4000));
	assert_in_range(mono_ms() - start, 1700, 2700);
	send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
	ql_job_clear(&job);
	assert_true(status_becomes(&r, "messages", 0));
	assert_int_equal(events_count(&r, "\"type\":\"TransientFailure\""), 2);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* A 5xx bounces: one Bounce event, one notice with null sender to the sender, and none about the notice. */
static void
test_permanent_failure_bounces(void **state)
{
	static const char *const rcpts[] = { "a@one.example", "b@one.example" };
	static const char *const silent[] = { "c@one.example" };
	struct mail m = { .sender = "s@sender.example", .tenant = "acme", .rcpts = rcpts, .n_rcpts = 2 };
	struct mail never = { .sender = "s@sender.example", .rcpts = silent, .n_rcpts = 1, .notify = NOTIFY_NEVER };
	struct mail null = { .sender = "", .rcpts = silent, .n_rcpts = 1 };
	struct mail off = { .sender = "s@quiet.example", .rcpts = silent, .n_rcpts = 1 };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	unsigned i, n = 0, notices = 0;

	(void)state;
	rig_open(&r, "bounce_notice_disabled_domains = quiet.example\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_add(&s, &m);
	(void)spool_add(&s, &never);
	(void)spool_add(&s, &null);
	(void)spool_add(&s, &off);
	consumer_open(&cons, &r, "p1", 100);
	while (next_job(&cons, &job, 1000)) {
		for (i = 0; i < job.n_rcpts; i++, n++)
			send_result(&cons, &job.rec.id, job.rcpts[i].index, QL_FAILED, 550, "no such user");
		if (strcmp(job.domain, "sender.example") == 0) {
			notices++;
			assert_string_equal(job.sender, "");
			assert_string_equal(job.rcpts[0].address, "s@sender.example");
			assert_string_equal(job.queue, "acme@sender.example");
			assert_true(job.rec.flags & MSG_GENERATED);
		}
		ql_job_clear(&job);
	}
	assert_int_equal(notices, 1);
	assert_int_equal(events_count(&r,
	    "^{\"type\":\"Reception\".*\"sender\":\"\",\"recipient\":\"s@sender.example\""), 1);
	assert_int_equal(n, 6);
	assert_int_equal(events_count(&r, "\"type\":\"Bounce\""), 6);
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
test_success_and_delay_notices(void **state)
{
	static const char *const ok[] = { "ok@one.example" };
	static const char *const slow[] = { "slow@two.example" };
	struct mail wants = { .sender = "s@sender.example", .rcpts = ok, .n_rcpts = 1, .notify = NOTIFY_SUCCESS };
	struct mail delayed = { .sender = "t@sender.example", .rcpts = slow, .n_rcpts = 1, .notify = NOTIFY_DELAY };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	unsigned relayed = 0, delays = 0;
	int64_t until = mono_ms() + 4000;

	(void)state;
	rig_open(&r, "delay_notice_after = 1s\nretry_interval = 600ms\nmax_retry_interval = 600ms\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_add(&s, &wants);
	(void)spool_add(&s, &delayed);
	consumer_open(&cons, &r, "p1", 100);
	while (mono_ms() < until) {
		if (!next_job(&cons, &job, 300))
			continue;
		if (strcmp(job.domain, "two.example") == 0) {
			send_result(&cons, &job.rec.id, 0, QL_FAILED, 450, "later");
		} else {
			relayed += strcmp(job.rcpts[0].address, "s@sender.example") == 0;
			delays += strcmp(job.rcpts[0].address, "t@sender.example") == 0;
			send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
		}
		ql_job_clear(&job);
	}
	assert_int_equal(relayed, 1);
	assert_int_equal(delays, 1);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Expiry has its own timer: without a consumer, and on the return of what was in flight. */
static void
test_expiry(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;

	(void)state;
	rig_open(&r, "maximal_queue_lifetime = 1s\nbounce_notice = no\nretry_interval = 500ms\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_one(&s, "from@sender.example", "u@d.example");
	assert_true(status_becomes(&r, "expired", 1));
	assert_int_equal(events_count(&r, "\"type\":\"Expiration\""), 1);
	consumer_open(&cons, &r, "p1", 10);
	(void)spool_one(&s, "from@sender.example", "v@d.example");
	assert_true(next_job(&cons, &job, 2000));
	usleep(1500000);
	assert_int_equal(status_of(&r, "expired"), 1);
	send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "too late");
	ql_job_clear(&job);
	assert_true(status_becomes(&r, "expired", 2));
	assert_true(status_becomes(&r, "messages", 0));
	assert_int_equal(events_count(&r, "\"type\":\"Expiration\""), 2);
	assert_int_equal(events_count(&r, "\"type\":\"TransientFailure\""), 1);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* One slow destination holds no more than its window, and others pass it. */
static void
test_window(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	struct msgid slow[100];
	char rcpt[64];
	unsigned i, n_slow = 0, n_fast = 0, again = 0;

	(void)state;
	rig_open(&r, "retry_interval = 1h\nmax_retry_interval = 1h\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	for (i = 0; i < 300; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%u@slow.example", i);
		(void)spool_one(&s, "from@sender.example", rcpt);
	}
	(void)spool_one(&s, "from@sender.example", "u@fast.example");
	consumer_open(&cons, &r, "p1", 1000);
	while (next_job(&cons, &job, 500)) {
		if (strcmp(job.domain, "fast.example") == 0)
			n_fast++;
		else if (n_slow < 100)
			slow[n_slow++] = job.rec.id;
		else
			fail();
		ql_job_clear(&job);
	}
	assert_int_equal(n_slow, 100);
	assert_int_equal(n_fast, 1);
	/* Deferrals shrink it: when all hundred are back, fifty go out. */
	for (i = 0; i < 100; i++)
		send_result(&cons, &slow[i], 0, QL_FAILED, 421, "slow down");
	while (next_job(&cons, &job, 500)) {
		again++;
		ql_job_clear(&job);
	}
	assert_in_range(again, 25, 60);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* More than memory may hold, with nobody to take it: all of it is delivered in the end, and memory stays bounded. */
static void
test_backlog_leaves_memory(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	char rcpt[64];
	unsigned i;

	(void)state;
	rig_open(&r, "queue_backlog_limit = 500\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	for (i = 0; i < 3000; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%u@d%u.example", i, i % 2 == 0 ? 1 : i);
		(void)spool_one(&s, "from@sender.example", rcpt);
	}
	assert_true(status_becomes(&r, "messages", 3000));
	usleep(300000);
	assert_in_range(status_of(&r, "in_memory"), 0, 500);
	consumer_open(&cons, &r, "p1", 200);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 1000), 3000);
	assert_true(status_becomes(&r, "messages", 0));
	assert_int_equal(status_of(&r, "unknown_results"), 0);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Promise 4: without a pool nothing leaves; a reload that names one sets it free. */
static void
test_unresolved_pool_waits(void **state)
{
	struct rig r;
	struct peer prod, p1, p2;
	struct spooler s;

	(void)state;
	rig_open(&r, "", TWO_POOLS
	    "posthorn.on('get_egress_pool', function(d,t,c) if t == 'acme' then return 'p1' end end)\n");
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&p1, &r, "p1", 10);
	consumer_open(&p2, &r, "p2", 10);
	(void)spool_one(&s, "from@sender.example", "u@d.example");
	assert_int_equal(take_all(&p1, 0, 0, 500) + take_all(&p2, 0, 0, 500), 0);
	assert_int_equal(events_count(&r, "\"type\":\"Delayed\""), 1);
	assert_int_equal(status_of(&r, "queues_without_pool"), 1);
	(void)snprintf(r.policy, sizeof(r.policy),
	    TWO_POOLS "posthorn.on('get_egress_pool', function(d,t,c) return 'p2' end)\n");
	rig_write_config(&r);
	assert_int_equal(kill(r.pid, SIGHUP), 0);
	consumer_reload(&p1, &r);
	assert_int_equal(take_all(&p2, QL_DELIVERED, 250, 500), 0); /* it has not read the new one yet */
	consumer_reload(&p2, &r);
	assert_int_equal(take_all(&p2, QL_DELIVERED, 250, 2000), 1);
	assert_int_equal(take_all(&p1, 0, 0, 100), 0);
	peer_close(&p1);
	peer_close(&p2);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* The jobs of a consumer that goes return at once. */
static void
test_consumer_goes(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	char rcpt[64];
	int i;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p1", 100);
	for (i = 0; i < 20; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%d@d.example", i);
		(void)spool_one(&s, "from@sender.example", rcpt);
	}
	assert_int_equal(take_all(&cons, 0, 0, 300), 20);
	peer_close(&cons);
	consumer_open(&cons, &r, "p1", 100);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 20);
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mail_in_and_out),
		cmocka_unit_test(test_recipients_are_grouped),
		cmocka_unit_test(test_transient_failure_is_retried),
		cmocka_unit_test(test_permanent_failure_bounces),
		cmocka_unit_test(test_success_and_delay_notices),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_backlog_leaves_memory),
		cmocka_unit_test(test_unresolved_pool_waits),
		cmocka_unit_test(test_consumer_goes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
