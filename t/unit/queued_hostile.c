/* queued against peers that lie: a taken-over smtpd or deliverd that names segments, offsets, message ids and
 * envelopes that are not its own, hoards credit or ignores what it is told. Nobody else's mail is lost, sent twice,
 * or kept waiting for it, and memory stays bounded. */
#include <fcntl.h>

#include "queued_driver.h"

static void
start_all(struct rig *r, struct peer *prod, struct spooler *s, const char *extra)
{
	rig_open(r, extra, ONE_POOL);
	producer_open(prod, s, r, "smtpd-1");
}

static void
add_many(struct spooler *s, unsigned n, const char *domain, bool no_notice)
{
	const char *rcpts[1];
	struct mail m = { .sender = "s@sender.example", .rcpts = rcpts, .n_rcpts = 1, .no_notice = no_notice };
	char rcpt[64];
	unsigned i;

	rcpts[0] = rcpt;
	for (i = 0; i < n; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%u@%s", i, domain);
		(void)spool_add(s, &m);
	}
}

/* True if queued has closed the connection. */
static bool
is_dropped(struct peer *p, int ms)
{
	struct frame f;
	char c;

	while (peer_next(p, &f, ms))
		frame_clear(&f);
	return recv(p->fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

enum theft { STEAL_DONE, STEAL_FAR_END, STEAL_RECEIVED };

/* queued has restarted. Before the owner of a segment is back, another producer says that it holds it. The owner has
 * mail in it that was answered with 250, and appends more: all of it is found when the owner lets go. */
static void
steal_segment(enum theft how)
{
	struct rig r;
	struct peer prod, thief;
	struct spooler s, forged;
	static const char *const rcpt[] = { "victim@x.example" };
	struct mail lie = { .sender = "s@sender.example", .rcpts = rcpt, .n_rcpts = 1, .body_len = 100000 };

	start_all(&r, &prod, &s, "");
	add_many(&s, 5, "d.example", false);
	assert_true(status_becomes(&r, "messages", 5));
	usleep(200000); /* committed */
	rig_kill(&r);
	peer_close(&prod);
	rig_start(&r);
	peer_open(&thief, &r, QL_ROLE_PRODUCER, "smtpd-9");
	send_seg(&thief, QL_SEG_HELD, s.number, QL_SEG_NORMAL, how == STEAL_FAR_END ? s.pos + (1u << 20) : 0);
	if (how == STEAL_DONE)
		send_seg(&thief, QL_SEG_DONE, s.number, 0, 0);
	if (how == STEAL_RECEIVED) {
		forged = s;
		forged.peer = &thief;
		forged.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		(void)spool_add(&forged, &lie);
		close(forged.fd);
	}
	usleep(300000);
	add_many(&s, 3, "e.example", true);
	usleep(1500000); /* whatever was believed is committed, and a finished segment would be gone */
	close(s.fd);
	peer_close(&thief);
	assert_true(status_becomes(&r, "messages", 8));
	rig_clear(&r);
}

static void
test_stolen_segment_is_called_done(void **state)
{
	(void)state;
	steal_segment(STEAL_DONE);
}

static void
test_stolen_segment_ends_far_away(void **state)
{
	(void)state;
	steal_segment(STEAL_FAR_END);
}

static void
test_stolen_segment_with_forged_notice(void **state)
{
	(void)state;
	steal_segment(STEAL_RECEIVED);
}

/* A notice with the id of a message that only the index knows would write over that message's rows. */
static void
test_id_of_a_stored_message(void **state)
{
	static const char *const rcpt[] = { "other@x.example" };
	struct rig r;
	struct peer prod, cons, liar;
	struct spooler s, t;
	struct ql_job job;
	struct msgid id;
	struct mail lie = { .sender = "l@liar.example", .rcpts = rcpt, .n_rcpts = 1, .id = &id };

	(void)state;
	start_all(&r, &prod, &s, "retry_interval = 1s\nmax_retry_interval = 2s\n");
	id = spool_one(&s, "s@sender.example", "u@d.example");
	consumer_open(&cons, &r, "p1", 10);
	assert_true(next_job(&cons, &job, 2000));
	send_result(&cons, &id, 0, QL_FAILED, 451, "later");
	ql_job_clear(&job);
	assert_true(status_becomes(&r, "in_memory", 0));
	producer_open(&liar, &t, &r, "smtpd-9");
	(void)spool_add(&t, &lie);
	assert_true(is_dropped(&liar, 500));
	assert_true(next_job(&cons, &job, 4000));
	assert_string_equal(job.rcpts[0].address, "u@d.example");
	assert_int_equal(job.rec.segment, s.number);
	send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
	ql_job_clear(&job);
	assert_false(next_job(&cons, &job, 1500));
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&liar);
	close(t.fd);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

#define POOL_BY_DOMAIN TWO_POOLS "posthorn.on('get_egress_pool', function(domain)\n" \
	"  return domain == 'two.example' and 'p2' or 'p1'\nend)\n"

/* A deliverd names an envelope that belongs to another pool, as it does in good faith when policy changed while
 * queued was down: it is told at once to give it back, and the right pool sends it. */
static void
test_held_of_another_pool(void **state)
{
	struct rig r;
	struct peer prod, one, two;
	struct spooler s;
	struct ql_job job;
	struct frame f;
	struct msgid id;

	(void)state;
	rig_open(&r, "", POOL_BY_DOMAIN);
	producer_open(&prod, &s, &r, "smtpd-1");
	id = spool_one(&s, "s@sender.example", "u@one.example");
	assert_true(status_becomes(&r, "messages", 1));
	peer_open(&two, &r, QL_ROLE_CONSUMER, "p2");
	send_held(&two, &id, 0);
	assert_true(peer_expect(&two, QL_CANCEL, &f, 1000));
	frame_clear(&f);
	send_u32(&two, QL_CREDIT, 10);
	send_result(&two, &id, 0, QL_RETURNED, 0, "");
	assert_false(next_job(&two, &job, 500));
	consumer_open(&one, &r, "p1", 10);
	assert_true(next_job(&one, &job, 1000));
	assert_int_equal(job.rcpts[0].attempts, 0);
	send_result(&one, &id, 0, QL_DELIVERED, 250, "ok");
	ql_job_clear(&job);
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&one);
	peer_close(&two);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* HELD is for the moment after a reconnect. */
static void
test_held_after_credit(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	struct msgid id;

	(void)state;
	start_all(&r, &prod, &s, "");
	consumer_open(&cons, &r, "p1", 10);
	id = spool_one(&s, "s@sender.example", "u@d.example");
	assert_true(next_job(&cons, &job, 1000));
	ql_job_clear(&job);
	send_held(&cons, &id, 0);
	assert_true(is_dropped(&cons, 500));
	peer_close(&cons);
	assert_true(status_becomes(&r, "outstanding", 0));
	assert_int_equal(status_of(&r, "messages"), 1);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Results for what was given to another consumer, or to nobody, change nothing. */
static void
test_results_of_others(void **state)
{
	struct rig r;
	struct peer prod, one, two;
	struct spooler s;
	struct ql_job job;
	struct msgid id, waiting;

	(void)state;
	rig_open(&r, "", POOL_BY_DOMAIN);
	producer_open(&prod, &s, &r, "smtpd-1");
	id = spool_one(&s, "s@sender.example", "u@one.example");
	consumer_open(&one, &r, "p1", 1);
	assert_true(next_job(&one, &job, 1000));
	ql_job_clear(&job);
	waiting = spool_one(&s, "s@sender.example", "v@one.example");
	consumer_open(&two, &r, "p2", 10);
	send_result(&two, &id, 0, QL_DELIVERED, 250, "ok");
	send_result(&two, &waiting, 0, QL_DELIVERED, 250, "ok");
	send_result(&two, &id, 1, QL_FAILED, 550, "no such recipient in it");
	assert_true(status_becomes(&r, "unknown_results", 3));
	assert_int_equal(status_of(&r, "messages"), 2);
	peer_close(&two);
	peer_close(&one);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Whoever says HELLO with ever new names does not grow us; a pool that is known is welcome all the same. */
static void
test_consumers_of_unknown_pools(void **state)
{
	struct rig r;
	struct peer p;
	char name[32];
	unsigned i, dropped = 0;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	for (i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "nobody-%u", i);
		dropped += !peer_try(&p, &r, QL_ROLE_CONSUMER, name);
		peer_close(&p);
	}
	assert_in_range(dropped, 100, 199);
	assert_true(peer_try(&p, &r, QL_ROLE_CONSUMER, "p1"));
	peer_close(&p);
	rig_clear(&r);
}

/* A producer that goes on although it was told to hold: what is too much stays on disk until there is room. */
static void
test_producer_ignores_flow(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	char domain[32];
	long most = 0, n;
	unsigned i;

	(void)state;
	start_all(&r, &prod, &s, "queue_backlog_limit = 100\nindex_commit_interval = 1s\n");
	for (i = 0; i < 400; i++) {
		(void)snprintf(domain, sizeof(domain), "d%u.example", i);
		add_many(&s, 10, domain, false);
		if (i % 40 == 39 && (n = status_of(&r, "in_memory")) > most)
			most = n;
	}
	assert_in_range(most, 100, 400);
	consumer_open(&cons, &r, "p1", 5000);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 4000), 4000);
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Destinations that take nothing get what their windows allow, but never all of the pool's credit: one that takes
 * mail is served at once, and goes on being served. */
static void
test_slow_destinations_leave_credit(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	char domain[32];
	unsigned i, slow = 0, fast = 0;

	(void)state;
	start_all(&r, &prod, &s, "");
	consumer_open(&cons, &r, "p1", 300);
	for (i = 0; i < 10; i++) {
		(void)snprintf(domain, sizeof(domain), "slow%u.example", i);
		add_many(&s, 150, domain, false);
	}
	while (next_job(&cons, &job, 700)) {
		slow++;
		ql_job_clear(&job);
	}
	assert_in_range(slow, 100, 299);
	for (i = 0; i < 20; i++) {
		add_many(&s, 1, "fast.example", false);
		assert_true(next_job(&cons, &job, 1000));
		assert_string_equal(job.domain, "fast.example");
		send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
		send_u32(&cons, QL_CREDIT, 1);
		ql_job_clear(&job);
		fast++;
	}
	assert_int_equal(fast, 20);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Held and released while it is with deliverd: the hold that had not happened yet does not happen. */
static void
test_release_takes_back_a_hold(void **state)
{
	static const char *const all[] = { "all", "yes", NULL };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	struct msgid id;
	char *text;

	(void)state;
	start_all(&r, &prod, &s, "");
	consumer_open(&cons, &r, "p1", 10);
	id = spool_one(&s, "s@sender.example", "u@d.example");
	assert_true(next_job(&cons, &job, 1000));
	ql_job_clear(&job);
	assert_int_equal(ask(&r, "queue.hold", all, &text), 0);
	free(text);
	assert_int_equal(ask(&r, "queue.release", all, &text), 0);
	free(text);
	send_result(&cons, &id, 0, QL_RETURNED, 0, "");
	assert_true(next_job(&cons, &job, 2000));
	assert_int_equal(job.rcpts[0].attempts, 0);
	ql_job_clear(&job);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stolen_segment_is_called_done),
		cmocka_unit_test(test_stolen_segment_ends_far_away),
		cmocka_unit_test(test_stolen_segment_with_forged_notice),
		cmocka_unit_test(test_id_of_a_stored_message),
		cmocka_unit_test(test_held_of_another_pool),
		cmocka_unit_test(test_held_after_credit),
		cmocka_unit_test(test_results_of_others),
		cmocka_unit_test(test_consumers_of_unknown_pools),
		cmocka_unit_test(test_producer_ignores_flow),
		cmocka_unit_test(test_slow_destinations_leave_credit),
		cmocka_unit_test(test_release_takes_back_a_hold),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
