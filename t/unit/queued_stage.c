/* Mail in the stages of reports: what a daemon of a stage may say, and of what; what operators do to such mail; what a
 * kill between a stage and the next queue leaves; who is told of its end. */
#include "queued_driver.h"

#define DOMAINS "posthorn.listener_domain { name='both.example', relay_to=true, log_oob=true, log_arf=true }\n" \
	"posthorn.listener_domain { name='arf.example', relay_to=false, log_arf='LogThenDrop' }\n"

struct world {
	struct rig r;
	struct peer prod;
	struct spooler s;
};

static void
open_world(struct world *w, const char *extra)
{
	memset(w, 0, sizeof(*w));
	rig_open(&w->r, extra, ONE_POOL DOMAINS);
	producer_open(&w->prod, &w->s, &w->r, "smtpd-1");
}

static void
producer_goes(struct world *w)
{
	peer_close(&w->prod);
	close(w->s.fd);
}

static void
close_world(struct world *w)
{
	producer_goes(w);
	rig_clear(&w->r);
}

/* The next job, which must be of that queue. */
static struct msgid
job_of(struct peer *p, const char *queue, const char *tenant)
{
	struct ql_job job;
	struct msgid id;

	assert_true(next_job(p, &job, 10000));
	assert_string_equal(job.queue, queue);
	assert_string_equal(job.tenant == NULL ? "" : job.tenant, tenant);
	id = job.rec.id;
	ql_job_clear(&job);
	return id;
}

static void
says(struct peer *p, const struct msgid *id, uint8_t outcome, uint16_t code)
{
	send_result(p, id, 0, outcome, code, "said the daemon");
	send_u32(p, QL_CREDIT, 1);
}

static void
order(const struct world *w, const char *verb, const char *const *args)
{
	char *text;

	if (ask(&w->r, verb, args, &text) != 0) {
		print_message("%s: %s", verb, text);
		fail();
	}
	free(text);
}
#define ORDER(w, verb, ...) order(w, verb, (const char *const[]){ __VA_ARGS__, NULL })

/* One that was taken over names mail that it was never given (bouncerd may read the event log), to make it vanish. */
static void
test_not_its_own(void **state)
{
	struct peer fbl, cons;
	struct msgid id, got;
	struct world w;

	(void)state;
	open_world(&w, "");
	id = spool_one(&w.s, "s@sender.example", "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	peer_open(&fbl, &w.r, QL_ROLE_CONSUMER, QL_FBLPROC);
	send_held(&fbl, &id, 0);
	says(&fbl, &id, QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "unknown_results", 1));
	consumer_open(&cons, &w.r, "p1", 10);
	got = job_of(&cons, "one.example", "");
	assert_memory_equal(&got, &id, sizeof(id));
	says(&cons, &id, QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "delivered", 1));
	peer_close(&fbl);
	peer_close(&cons);
	close_world(&w);
}

/* The same for mail that queued has not come across yet. */
static void
test_not_its_own_claimed(void **state)
{
	struct peer fbl, cons;
	struct msgid id, got;
	struct world w;

	(void)state;
	open_world(&w, "");
	msgid_new(&id, wall_ms());
	peer_open(&fbl, &w.r, QL_ROLE_CONSUMER, QL_FBLPROC);
	send_held(&fbl, &id, 0);
	says(&fbl, &id, QL_DELIVERED, 250);
	peer_close(&fbl);
	spool_add(&w.s, &(struct mail){ .sender = "s@sender.example", .rcpts = (const char *const[]){ "a@one.example" },
	    .n_rcpts = 1, .id = &id });
	consumer_open(&cons, &w.r, "p1", 10);
	got = job_of(&cons, "one.example", "");
	assert_memory_equal(&got, &id, sizeof(id));
	peer_close(&cons);
	close_world(&w);
}

/* Killed when deliverd already has what came out of its stage: it is not sent again. */
static void
test_kill_after_stage(void **state)
{
	struct peer fbl, cons;
	struct msgid id;
	struct world w;

	(void)state;
	open_world(&w, "index_commit_interval = 1s\n");
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	consumer_open(&cons, &w.r, "p1", 10);
	(void)spool_one(&w.s, "", "r@both.example");
	id = job_of(&fbl, QL_FBLPROC, "");
	says(&fbl, &id, QL_DELIVERED, 250);
	(void)job_of(&cons, "both.example", "");
	peer_close(&fbl);
	peer_close(&cons);
	producer_goes(&w);
	rig_kill(&w.r);
	rig_start(&w.r);
	peer_open(&cons, &w.r, QL_ROLE_CONSUMER, "p1");
	send_held(&cons, &id, 0);
	send_u32(&cons, QL_CREDIT, 10);
	says(&cons, &id, QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "delivered", 1));
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	assert_int_equal(take_all(&fbl, QL_PASSED, 250, 500), 0);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 0);
	assert_true(status_becomes(&w.r, "messages", 0));
	assert_int_equal(events_count(&w.r, "\"ARF\""), 0);
	peer_close(&fbl);
	peer_close(&cons);
	rig_clear(&w.r);
}

/* A tenant is where it goes after the stage, not another domain. */
static void
test_rebind(void **state)
{
	struct peer fbl, cons;
	struct msgid id;
	struct world w;

	(void)state;
	open_world(&w, "");
	(void)spool_one(&w.s, "s@sender.example", "r@both.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	ORDER(&w, "queue.rebind", "all", "yes", "set.tenant", "acme");
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	id = job_of(&fbl, QL_FBLPROC, "acme");
	says(&fbl, &id, QL_DELIVERED, 250);
	consumer_open(&cons, &w.r, "p1", 10);
	(void)job_of(&cons, "acme@both.example", "acme");
	says(&cons, &id, QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "delivered", 1));
	peer_close(&fbl);
	peer_close(&cons);
	close_world(&w);
}

/* What was dealt with is not dealt with again because somebody held it meanwhile. */
static void
test_orders(void **state)
{
	struct msgid drop, relayed;
	struct peer fbl, cons;
	struct world w;
	char *text;

	(void)state;
	open_world(&w, "bounce_notice = no\n");
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	(void)spool_one(&w.s, "s@sender.example", "r@arf.example");
	drop = job_of(&fbl, QL_FBLPROC, "");
	(void)spool_one(&w.s, "s@sender.example", "r@both.example");
	relayed = job_of(&fbl, QL_FBLPROC, "");
	assert_true(status_becomes(&w.r, "messages", 2));
	/* The answer to the hold comes when both have come back. */
	assert_int_equal(fflush(NULL), 0);
	if (fork() == 0) {
		ORDER(&w, "queue.hold", "all", "yes");
		_exit(0);
	}
	{
		struct frame f;

		assert_true(peer_expect(&fbl, QL_CANCEL, &f, 10000));
		frame_clear(&f);
		assert_true(peer_expect(&fbl, QL_CANCEL, &f, 10000));
		frame_clear(&f);
	}
	says(&fbl, &drop, QL_DELIVERED, 250);
	says(&fbl, &relayed, QL_DELIVERED, 250);
	while (waitpid(-1, NULL, WNOHANG) == 0)
		usleep(10000);
	assert_true(status_becomes(&w.r, "delivered", 1));
	assert_true(status_becomes(&w.r, "held", 1));
	assert_int_equal(ask(&w.r, "queue.list", NULL, &text), 0);
	assert_non_null(strstr(text, "\"queue\":\"both.example\""));
	free(text);
	ORDER(&w, "queue.release", "all", "yes");
	assert_int_equal(take_all(&fbl, QL_PASSED, 250, 300), 0);
	consumer_open(&cons, &w.r, "p1", 10);
	(void)job_of(&cons, "both.example", "");
	peer_close(&fbl);
	peer_close(&cons);
	close_world(&w);
}

/* Its word that a report is refused for ever would bounce it, to a sender who may be anybody. */
static void
test_refusal(void **state)
{
	struct peer fbl;
	struct msgid id;
	struct world w;

	(void)state;
	open_world(&w, "");
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	(void)spool_one(&w.s, "s@sender.example", "r@arf.example");
	id = job_of(&fbl, QL_FBLPROC, "");
	says(&fbl, &id, QL_FAILED, 550);
	assert_true(status_becomes(&w.r, "failed_attempts", 1));
	assert_int_equal(status_of(&w.r, "bounced"), 0);
	assert_int_equal(status_of(&w.r, "messages"), 1);
	peer_close(&fbl);
	close_world(&w);
}

/* Nobody is told that a report was never read; who wrote to a person is. */
static void
test_expiry(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, "maximal_queue_lifetime = 1s\ndelay_notice_after = 0\n");
	(void)spool_one(&w.s, "s@sender.example", "r@arf.example");
	assert_true(status_becomes(&w.r, "expired", 1));
	assert_true(status_becomes(&w.r, "messages", 0));
	assert_int_equal(status_of(&w.r, "notices"), 0);
	(void)spool_one(&w.s, "s@sender.example", "r@both.example");
	assert_true(status_becomes(&w.r, "notices", 1));
	close_world(&w);
}

/* No message says by itself that it is in a stage: it would never leave it. */
static void
test_named_queue(void **state)
{
	struct peer fbl, cons;
	struct world w;

	(void)state;
	open_world(&w, "");
	(void)spool_add(&w.s, &(struct mail){ .sender = "s@sender.example",
	    .rcpts = (const char *const[]){ "a@one.example" }, .n_rcpts = 1, .queue = QL_FBLPROC });
	consumer_open(&fbl, &w.r, QL_FBLPROC, 10);
	consumer_open(&cons, &w.r, "p1", 10);
	(void)job_of(&cons, "one.example", "");
	assert_int_equal(take_all(&fbl, QL_PASSED, 250, 200), 0);
	peer_close(&fbl);
	peer_close(&cons);
	close_world(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_its_own), cmocka_unit_test(test_not_its_own_claimed),
		cmocka_unit_test(test_kill_after_stage), cmocka_unit_test(test_rebind), cmocka_unit_test(test_orders),
		cmocka_unit_test(test_refusal), cmocka_unit_test(test_expiry), cmocka_unit_test(test_named_queue),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
