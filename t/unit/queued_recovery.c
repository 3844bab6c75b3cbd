/* queued after a crash: what was accepted is neither lost nor, beyond the last commit, repeated. kill -9 at chosen
 * moments, lost notices, torn tails, flipped bits, a damaged index, jobs that a consumer still holds, compaction. */
#include "queued_driver.h"

#include "queued/changes.h"
#include "queued/recover.h"
#include "queued/segment.h"

static void
start_all(struct rig *r, struct peer *prod, struct spooler *s, const char *extra)
{
	rig_open(r, extra, ONE_POOL);
	producer_open(prod, s, r, "smtpd-1");
}

static void
add_many(struct spooler *s, unsigned n, const char *domain)
{
	char rcpt[64];
	unsigned i;

	for (i = 0; i < n; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u%u@%s", i, domain);
		(void)spool_one(s, "from@sender.example", rcpt);
	}
}

static unsigned
deliver_rest(struct rig *r, int ms)
{
	struct peer cons;
	unsigned n;

	peer_open(&cons, r, QL_ROLE_CONSUMER, "p1");
	send_u32(&cons, QL_CREDIT, 100000);
	n = take_all(&cons, QL_DELIVERED, 250, ms);
	peer_close(&cons);
	return n;
}

static void
test_kill_before_and_after_commit(void **state)
{
	struct rig r;
	struct peer prod;
	struct spooler s;

	(void)state;
	start_all(&r, &prod, &s, "index_commit_interval = 1s\n");
	add_many(&s, 50, "d.example");
	usleep(100000); /* received, not committed */
	rig_kill(&r);
	peer_close(&prod);
	close(s.fd);
	rig_start(&r);
	assert_true(status_becomes(&r, "messages", 50));
	usleep(1200000); /* committed */
	rig_kill(&r);
	rig_start(&r);
	assert_int_equal(status_of(&r, "messages"), 50);
	assert_int_equal(deliver_rest(&r, 500), 50);
	assert_true(status_becomes(&r, "messages", 0));
	rig_clear(&r);
}

/* The producer lives on, appends while queued is away, and its notices go nowhere. */
static void
test_producer_survives_queued(void **state)
{
	struct rig r;
	struct peer prod;
	struct spooler s;

	(void)state;
	start_all(&r, &prod, &s, "");
	add_many(&s, 10, "d.example");
	assert_true(status_becomes(&r, "messages", 10));
	usleep(200000); /* committed */
	rig_kill(&r);
	add_many(&s, 10, "e.example");
	rig_start(&r);
	/* Not read before the producer says how far it is durable: it still holds the lock. */
	usleep(300000);
	assert_int_equal(status_of(&r, "messages"), 10);
	peer_close(&prod);
	peer_open(&prod, &r, QL_ROLE_PRODUCER, "smtpd-1");
	send_seg(&prod, QL_SEG_HELD, s.number, QL_SEG_NORMAL, s.pos);
	add_many(&s, 10, "f.example");
	assert_true(status_becomes(&r, "messages", 30));
	assert_int_equal(deliver_rest(&r, 500), 30);
	/* And when it is gone, the rest is found without being told. */
	(void)spool_add(&s, &(struct mail){ .sender = "s@sender.example",
	    .rcpts = (const char *const[]){ "x@g.example" }, .n_rcpts = 1,
		.no_notice = true });
	peer_close(&prod);
	close(s.fd);
	assert_true(status_becomes(&r, "messages", 1));
	assert_int_equal(deliver_rest(&r, 500), 1);
	rig_clear(&r);
}

/* A notice out of order: what lies before it is read from the segment. */
static void
test_lost_notice(void **state)
{
	static const char *const rcpt[] = { "x@g.example" };
	struct rig r;
	struct peer prod;
	struct spooler s;

	(void)state;
	start_all(&r, &prod, &s, "");
	(void)spool_add(&s, &(struct mail){ .sender = "s@sender.example", .rcpts = rcpt, .n_rcpts = 1,
	    .no_notice = true });
	(void)spool_add(&s, &(struct mail){ .sender = "s@sender.example", .rcpts = rcpt, .n_rcpts = 1 });
	assert_true(status_becomes(&r, "messages", 2));
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* A consumer keeps its jobs while queued is killed: whether committed or not, nothing is given out twice. */
static void
test_held_jobs_are_not_repeated(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	struct msgid ids[40];
	unsigned i, n = 0, round;

	(void)state;
	for (round = 0; round < 2; round++) {
		start_all(&r, &prod, &s, round == 0 ? "index_commit_interval = 1s\n"
		    : "index_commit_interval = 10ms\n");
		consumer_open(&cons, &r, "p1", 100);
		add_many(&s, 40, "d.example");
		for (n = 0; n < 40 && next_job(&cons, &job, 2000); n++) {
			ids[n] = job.rec.id;
			ql_job_clear(&job);
		}
		assert_int_equal(n, 40);
		if (round == 1)
			usleep(200000);
		rig_kill(&r);
		peer_close(&cons);
		peer_close(&prod);
		close(s.fd);
		rig_start(&r);
		peer_open(&cons, &r, QL_ROLE_CONSUMER, "p1");
		for (i = 0; i < 40; i++)
			send_held(&cons, &ids[i], 0);
		for (i = 0; i < 10; i++) /* results that queued missed */
			send_result(&cons, &ids[i], 0, QL_DELIVERED, 250, "ok");
		send_u32(&cons, QL_CREDIT, 100);
		assert_int_equal(take_all(&cons, 0, 0, 1500), 0);
		assert_true(status_becomes(&r, "messages", 30));
		for (i = 10; i < 40; i++)
			send_result(&cons, &ids[i], 0, QL_DELIVERED, 250, "ok");
		assert_true(status_becomes(&r, "messages", 0));
		peer_close(&cons);
		rig_clear(&r);
	}
}

static void
flip(const struct rig *r, uint64_t number, uint64_t at)
{
	char path[160], c;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/spool/segments/%016" PRIx64 ".seg", r->dir, number);
	fd = open(path, O_RDWR);
	assert_int_not_equal(fd, -1);
	assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
	c ^= 0x40;
	assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
	close(fd);
}

/* Bits flipped in body and header of two of five, and a torn tail: three survive, two are reported and set aside. */
static void
test_damaged_segment(void **state)
{
	struct rig r;
	struct peer prod;
	struct spooler s;
	uint64_t at[6];
	unsigned i;

	(void)state;
	start_all(&r, &prod, &s, "");
	rig_kill(&r);
	for (i = 0; i < 6; i++) {
		at[i] = s.pos;
		add_many(&s, 1, "d.example");
	}
	flip(&r, s.number, at[1] + RECORD_HDR + 2);
	flip(&r, s.number, at[3] + 9);
	flip(&r, s.number, at[5] + RECORD_HDR + 2); /* the last: never acknowledged, for all we know */
	peer_close(&prod);
	close(s.fd);
	rig_start(&r);
	assert_true(status_becomes(&r, "messages", 3));
	assert_int_equal(status_of(&r, "damaged"), 2);
	assert_int_equal(deliver_rest(&r, 500), 3);
	rig_clear(&r);
}

/* A record that decays after it was indexed: held, said so, and removable. */
static void
test_record_decays_in_the_queue(void **state)
{
	static const char *const del[] = { "all", "yes", NULL };
	struct rig r;
	struct peer prod;
	struct spooler s;
	char *text;

	(void)state;
	start_all(&r, &prod, &s, "");
	add_many(&s, 2, "d.example");
	assert_true(status_becomes(&r, "messages", 2));
	usleep(200000);
	rig_kill(&r);
	peer_close(&prod);
	close(s.fd);
	flip(&r, s.number, 9);
	rig_start(&r);
	assert_int_equal(deliver_rest(&r, 500), 1);
	assert_true(status_becomes(&r, "held", 1));
	assert_int_equal(ask(&r, "queue.list", NULL, &text), 0);
	assert_non_null(strstr(text, "\"state\":\"held\""));
	free(text);
	assert_int_equal(ask(&r, "queue.delete", del, &text), 0);
	free(text);
	assert_true(status_becomes(&r, "messages", 0));
	rig_clear(&r);
}

/* The index is rubbish: it is set aside and rebuilt from the segments. */
static void
test_damaged_index(void **state)
{
	char path[128], zeros[8192];
	struct rig r;
	struct peer prod;
	struct spooler s;
	int fd;

	(void)state;
	start_all(&r, &prod, &s, "");
	add_many(&s, 20, "d.example");
	assert_true(status_becomes(&r, "messages", 20));
	rig_kill(&r);
	peer_close(&prod);
	close(s.fd);
	(void)snprintf(path, sizeof(path), "%s/spool/index/data.mdb", r.dir);
	fd = open(path, O_WRONLY);
	memset(zeros, 0x55, sizeof(zeros));
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
	close(fd);
	rig_start(&r);
	assert_true(status_becomes(&r, "messages", 20));
	assert_int_equal(deliver_rest(&r, 500), 20);
	rig_clear(&r);
}

/* Few of many remain: they move, the big file goes, and they are still delivered once, also after a crash. */
static void
test_compaction(void **state)
{
	static const char *const rcpt[] = { "u@d.example" };
	struct mail m = { .sender = "s@sender.example", .rcpts = rcpt, .n_rcpts = 1, .body_len = 20000 };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	char path[160];
	unsigned i;
	int tries;

	(void)state;
	start_all(&r, &prod, &s, "segment_size = 4M\nretry_interval = 6s\nmax_retry_interval = 6s\n");
	consumer_open(&cons, &r, "p1", 1000);
	for (i = 0; i < 60; i++)
		(void)spool_add(&s, &m);
	for (i = 0; i < 60; i++) {
		assert_true(next_job(&cons, &job, 2000));
		if (i % 20 == 7)
			send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "later");
		else
			send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
		ql_job_clear(&job);
	}
	send_seg(&prod, QL_SEG_DONE, s.number, 0, s.pos);
	close(s.fd);
	(void)snprintf(path, sizeof(path), "%s/spool/segments/%016" PRIx64 ".seg", r.dir, s.number);
	for (tries = 0; tries < 300 && access(path, F_OK) == 0; tries++)
		usleep(50000);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(status_of(&r, "compacted"), 1);
	assert_int_equal(status_of(&r, "messages"), 3);
	rig_kill(&r);
	peer_close(&cons);
	peer_close(&prod);
	rig_start(&r);
	assert_int_equal(status_of(&r, "messages"), 3);
	assert_int_equal(deliver_rest(&r, 8000), 3);
	assert_true(status_becomes(&r, "messages", 0));
	rig_clear(&r);
}

/* Random kills under load: every message is delivered, and at most those in flight or of the last commit twice. */
static void
test_random_kills(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	unsigned round, given = 0, taken = 0;

	(void)state;
	start_all(&r, &prod, &s, "index_commit_interval = 20ms\n");
	for (round = 0; round < 10; round++) {
		consumer_open(&cons, &r, "p1", 20);
		add_many(&s, 100, "d.example");
		given += 100;
		taken += take_all(&cons, QL_DELIVERED, 250, (int)(round * 3 % 20));
		usleep(round * 7 % 40 * 1000);
		rig_kill(&r);
		peer_close(&cons);
		peer_close(&prod);
		if (round % 2 == 0)
			close(s.fd);
		rig_start(&r);
		peer_open(&prod, &r, QL_ROLE_PRODUCER, "smtpd-1");
		if (round % 2 == 0)
			spool_open(&s, &prod);
		else
			send_seg(&prod, QL_SEG_HELD, s.number, QL_SEG_NORMAL, s.pos);
	}
	usleep(500000);
	taken += deliver_rest(&r, 1500);
	assert_in_range(taken, given, given + 10 * 120);
	assert_true(status_becomes(&r, "messages", 0));
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* A segment that cannot be opened just now (out of descriptors, say) is not taken for read: it is tried again, and
 * above all not removed. In this process, to have a hand in it. */
static void
test_segment_that_cannot_be_opened(void **state)
{
	char path[160], aside[160], *err = NULL;
	struct conf_errors errs = { NULL, 0 };
	struct loop *loop = loop_new();
	struct conf *conf = NULL;
	struct segment *seg;
	struct params *params;
	struct policy *policy;
	struct queued *q;
	struct rig r;
	struct peer prod;
	struct spooler s;

	(void)state;
	start_all(&r, &prod, &s, "");
	rig_kill(&r);
	add_many(&s, 3, "d.example");
	peer_close(&prod);
	close(s.fd);
	params = params_load(r.dir, &conf, &errs);
	assert_non_null(params);
	conf_free(&conf);
	policy = policy_load(params->policy_file, &errs);
	assert_non_null(policy);
	q = queued_new(loop, params, policy, shaping_load(&params->shaping_files, &errs), r.dir, &err);
	assert_non_null(q);
	seg = segment_find(q->segs, s.number);
	assert_non_null(seg);
	assert_true(seg->is_scanning);
	/* As if other segments had pushed its descriptor out. */
	TAILQ_REMOVE(&q->segs->lru, seg, lru);
	q->segs->n_open--;
	close(seg->fd);
	seg->fd = -1;
	(void)snprintf(path, sizeof(path), "%s/%016" PRIx64 ".seg", q->segments_dir, s.number);
	(void)snprintf(aside, sizeof(aside), "%s/aside", r.dir);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(aside, path), 0); /* ELOOP */
	recover_turn(q);
	assert_int_equal(changes_commit(q->changes), 0);
	assert_int_equal(changes_commit(q->changes), 0);
	segments_reap(q->segs);
	assert_ptr_equal(segment_find(q->segs, s.number), seg);
	assert_int_equal(seg->state, SEG_CLOSED);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(aside, path), 0);
	recover_retry(q);
	while (recover_is_busy(q))
		recover_turn(q);
	assert_int_equal(seg->state, SEG_SEALED);
	assert_int_equal(queued_backlog(q), 3);
	queued_free(&q);
	loop_free(&loop);
	rig_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_before_and_after_commit),
		cmocka_unit_test(test_producer_survives_queued),
		cmocka_unit_test(test_lost_notice),
		cmocka_unit_test(test_segment_that_cannot_be_opened),
		cmocka_unit_test(test_held_jobs_are_not_repeated),
		cmocka_unit_test(test_damaged_segment),
		cmocka_unit_test(test_record_decays_in_the_queue),
		cmocka_unit_test(test_damaged_index),
		cmocka_unit_test(test_compaction),
		cmocka_unit_test(test_random_kills),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
