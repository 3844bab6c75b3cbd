/* queued's admin verbs, and its answer to peers that break the rules. */
#include "queued_driver.h"

static unsigned
rows(const char *text)
{
	unsigned n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static unsigned
list(const struct rig *r, const char *key, const char *value, const char *must_have)
{
	const char *args[] = { key, value, NULL };
	char *text;
	unsigned n;

	assert_int_equal(ask(r, "queue.list", key == NULL ? NULL : args, &text), 0);
	n = rows(text);
	if (must_have != NULL && strstr(text, must_have) == NULL) {
		print_message("%s", text);
		fail();
	}
	free(text);
	return n;
}

/* Asks for a change and returns the count it answers. */
static long
change(const struct rig *r, const char *verb, const char *key, const char *value)
{
	const char *args[] = { key, value, NULL };
	char *text, *at;
	long n = -1;

	assert_int_equal(ask(r, verb, args, &text), 0);
	/* It lets itself be heard before it is done, which may take long: the admin command gives up on silence. */
	assert_true(strncmp(text, "{\"progress\":0}", 14) == 0);
	if ((at = strstr(text, "\"count\":")) != NULL)
		n = strtol(at + 8, NULL, 10);
	free(text);
	return n;
}

static void
test_list_and_change(void **state)
{
	static const char *const a[] = { "a1@one.example", "a2@two.example" };
	static const char *const b[] = { "b@one.example" };
	struct mail ma = { .sender = "s@sender.example", .tenant = "acme", .campaign = "spring", .rcpts = a,
	    .n_rcpts = 2 };
	struct mail mb = { .sender = "t@other.example", .rcpts = b, .n_rcpts = 1 };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct msgid id;
	char hex[MSGID_HEX], *text;
	const char *show[] = { "id", hex, "headers", "yes", NULL };

	(void)state;
	rig_open(&r, "bounce_notice = no\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	id = spool_add(&s, &ma);
	(void)spool_add(&s, &mb);
	msgid_hex(&id, hex);
	assert_true(status_becomes(&r, "messages", 3));
	assert_int_equal(list(&r, NULL, NULL, "no deliverd serves pool p1"), 3);
	assert_int_equal(list(&r, "domain", "one.example", NULL), 2);
	assert_int_equal(list(&r, "tenant", "acme", "\"queue\":\"spring:acme@two.example\""), 2);
	assert_int_equal(list(&r, "campaign", "autumn", NULL), 0);
	assert_int_equal(list(&r, "recipient", "A2@two.example", NULL), 1);
	assert_int_equal(list(&r, "sender", "@other.example", "b@one.example"), 1);
	assert_int_equal(list(&r, "id", hex, NULL), 2);
	assert_int_equal(list(&r, "limit", "1", NULL), 1);
	assert_int_equal(ask(&r, "queue.show", show, &text), 0);
	assert_non_null(strstr(text, "Subject: test"));
	assert_non_null(strstr(text, "\"recipients\":2"));
	free(text);
	assert_int_equal(ask(&r, "queue.summary", NULL, &text), 0);
	assert_int_equal(rows(text), 3);
	free(text);

	assert_int_equal(change(&r, "queue.hold", "tenant", "acme"), 2);
	assert_int_equal(change(&r, "queue.hold", "tenant", "acme"), 0);
	assert_true(status_becomes(&r, "held", 2));
	consumer_open(&cons, &r, "p1", 100);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 1);
	/* Held across a restart. */
	peer_close(&cons);
	rig_stop(&r);
	rig_start(&r);
	consumer_open(&cons, &r, "p1", 100);
	assert_int_equal(take_all(&cons, 0, 0, 500), 0);
	assert_int_equal(list(&r, NULL, NULL, "held by the operator"), 2);
	assert_int_equal(change(&r, "queue.release", "recipient", "a1@one.example"), 1);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 1);
	assert_int_equal(change(&r, "queue.delete", "all", "yes"), 1);
	assert_true(status_becomes(&r, "messages", 0));
	assert_int_equal(events_count(&r, "\"type\":\"AdminBounce\""), 1);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* What is with a consumer is called back, and the order is carried out when it returns, or too late. */
static void
test_orders_in_flight(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	struct msgid ids[3];
	struct frame f;
	unsigned i;

	(void)state;
	rig_open(&r, "bounce_notice = no\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p1", 100);
	for (i = 0; i < 3; i++) {
		(void)spool_one(&s, "s@sender.example",
		    i == 0 ? "x@a.example" : i == 1 ? "x@b.example" : "x@c.example");
		assert_true(next_job(&cons, &job, 2000));
		ids[i] = job.rec.id;
		ql_job_clear(&job);
	}
	assert_int_equal(change(&r, "queue.hold", "domain", "a.example"), 1);
	assert_int_equal(change(&r, "queue.bounce", "domain", "b.example"), 1);
	assert_int_equal(change(&r, "queue.delete", "domain", "c.example"), 1);
	for (i = 0; i < 3; i++) {
		assert_true(peer_expect(&cons, QL_CANCEL, &f, 2000));
		frame_clear(&f);
	}
	send_result(&cons, &ids[0], 0, QL_RETURNED, 0, "");
	send_result(&cons, &ids[1], 0, QL_RETURNED, 0, "");
	send_result(&cons, &ids[2], 0, QL_DELIVERED, 250, "too late to delete");
	assert_true(status_becomes(&r, "held", 1));
	assert_true(status_becomes(&r, "messages", 1));
	assert_int_equal(events_count(&r, "\"type\":\"AdminBounce\""), 1);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
test_retry_now(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p1", 100);
	(void)spool_one(&s, "s@sender.example", "x@a.example");
	assert_true(next_job(&cons, &job, 2000));
	send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "not now");
	ql_job_clear(&job);
	assert_false(next_job(&cons, &job, 500));
	assert_int_equal(list(&r, NULL, NULL, "\"last_failure\":\"451 4.1.1 not now\""), 1);
	assert_int_equal(change(&r, "queue.retry", "all", "yes"), 1);
	assert_true(next_job(&cons, &job, 2000));
	assert_int_equal(job.rcpts[0].attempts, 1);
	ql_job_clear(&job);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
test_refusals(void **state)
{
	static const char *const bad_id[] = { "id", "../../etc/passwd", NULL };
	static const char *const bad_key[] = { "colour", "red", NULL };
	struct rig r;
	char *text;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	assert_int_equal(ask(&r, "queue.eat", NULL, &text), 1);
	free(text);
	assert_int_equal(ask(&r, "queue.delete", NULL, &text), 1);
	free(text);
	assert_int_equal(ask(&r, "queue.list", bad_id, &text), 1);
	free(text);
	assert_int_equal(ask(&r, "queue.list", bad_key, &text), 1);
	free(text);
	assert_int_equal(ask(&r, "ping", NULL, &text), 0);
	free(text);
	rig_clear(&r);
}

/* Whether the other end has gone. */
static bool
is_dropped(struct peer *p)
{
	struct frame f;

	while (peer_next(p, &f, 3000))
		frame_clear(&f);
	return recv(p->fd, &f, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

enum misdeed { GARBAGE, WRONG_ROLE, HUGE, FOREIGN_SEGMENT, TRUNCATED, TOO_MANY_SEGMENTS, BAD_PROTO, MISDEEDS };

static void
misbehave(const struct rig *r, struct peer *p, enum misdeed what)
{
	struct wbuf w;
	unsigned i;

	wbuf_init(&w);
	peer_open(p, r, what == WRONG_ROLE ? QL_ROLE_CONSUMER : QL_ROLE_PRODUCER, "evil");
	switch (what) {
	case GARBAGE:
		(void)send(p->fd, "EHLO you have been mistaken for a mail server\r\n", 47, MSG_NOSIGNAL);
		break;
	case WRONG_ROLE:
		send_seg(p, QL_SEG_WANT, 0, QL_SEG_NORMAL, 0);
		break;
	case HUGE:
		wbuf_u32(&w, 0xfffffff0);
		wbuf_u16(&w, QL_RECEIVED);
		wbuf_u16(&w, 0);
		wbuf_u32(&w, 0);
		(void)send(p->fd, w.p, w.len, MSG_NOSIGNAL);
		break;
	case FOREIGN_SEGMENT:
		send_seg(p, QL_SEG_DONE, 1, 0, 4096);
		break;
	case TRUNCATED:
		wbuf_u32(&w, 1);
		peer_send(p, QL_RECEIVED, &w);
		break;
	case TOO_MANY_SEGMENTS:
		for (i = 0; i < 100; i++)
			send_seg(p, QL_SEG_WANT, 0, QL_SEG_NORMAL, 0);
		break;
	default:
		peer_send(p, QL_HELLO, NULL);
		break;
	}
	wbuf_clear(&w);
}

/* Each is dropped; a good producer goes on all the while, and its segment stays its own. */
static void
test_bad_peers_harm_nobody(void **state)
{
	struct rig r;
	struct peer prod, bad;
	struct spooler s;
	int what;

	(void)state;
	rig_open(&r, "segment_size = 1M\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	for (what = 0; what < MISDEEDS; what++) {
		misbehave(&r, &bad, (enum misdeed)what);
		if (!is_dropped(&bad)) {
			print_message("misdeed %d went unpunished\n", what);
			fail();
		}
		peer_close(&bad);
		(void)spool_one(&s, "s@sender.example", "x@a.example");
		assert_true(status_becomes(&r, "messages", what + 1));
	}
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_and_change),
		cmocka_unit_test(test_orders_in_flight),
		cmocka_unit_test(test_retry_now),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bad_peers_harm_nobody),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
