/* What follows from failures: requests to suppress on their way to bouncerd, over kills; what never makes one;
 * overrides and alerts; the event bounce_classified. */
#include "queued_driver.h"

#include "mail/suppress_request.h"

#define RULES "rcpt_unknown /user unknown/\n\t550 user unknown\nmailbox_full /full/\n\t452 mailbox full\n" \
	"block_dnsbl /blocked/\n\t550 blocked\nthrottle_volume /too fast/\n\t421 too fast\nveto /spam/\n\t550 spam\n" \
	"on rcpt_unknown by-code suppress for=365d\non mailbox_full by-code suppress after=3/14d for=30d\n" \
	"on block_dnsbl by-code suspend after=2/10m for=2h alert after=2/10m for=1h\n" \
	"on throttle_volume retry slow connection_limit=1 for=30m\n" \
	"rcpt_refused /not for you/\n\t550 not for you\non rcpt_refused hold\n"

struct world {
	struct rig r;
	struct peer prod, cons, bouncerd;
	struct spooler s;
	bool has_bouncerd;
};

static void
open_world(struct world *w, const char *policy)
{
	char extra[256];

	memset(w, 0, sizeof(*w));
	rig_init(&w->r, "", policy);
	(void)snprintf(extra, sizeof(extra), "bounce_notice = no\nretry_interval = 1h\nbounce_rules_files = %s/rules\n",
	    w->r.dir);
	(void)snprintf(w->r.extra, sizeof(w->r.extra), "%s", extra);
	(void)snprintf(extra, sizeof(extra), "%s/rules", w->r.dir);
	write_file(extra, RULES);
	rig_write_config(&w->r);
	rig_start(&w->r);
	producer_open(&w->prod, &w->s, &w->r, "smtpd-1");
	consumer_open(&w->cons, &w->r, "p1", 1000);
}

static void
bouncerd_comes(struct world *w)
{
	consumer_open(&w->bouncerd, &w->r, QL_BOUNCERD, 100);
	w->has_bouncerd = true;
}

static void
bouncerd_goes(struct world *w)
{
	if (w->has_bouncerd)
		peer_close(&w->bouncerd);
	w->has_bouncerd = false;
}

static void
close_world(struct world *w)
{
	bouncerd_goes(w);
	peer_close(&w->cons);
	peer_close(&w->prod);
	close(w->s.fd);
	rig_clear(&w->r);
}

static void
kill_world(struct world *w)
{
	bouncerd_goes(w);
	peer_close(&w->cons);
	peer_close(&w->prod);
	close(w->s.fd);
	rig_kill(&w->r);
	rig_start(&w->r);
	producer_open(&w->prod, &w->s, &w->r, "smtpd-1");
	consumer_open(&w->cons, &w->r, "p1", 1000);
}

/* One message, its attempt, and the answer to it. */
static void
fail_with(struct world *w, const char *rcpt, uint16_t code, const char *text)
{
	struct msgid id = spool_one(&w->s, "s@sender.example", rcpt);
	struct ql_job job;

	assert_true(next_job(&w->cons, &job, 10000));
	assert_memory_equal(&job.rec.id, &id, sizeof(id));
	send_result(&w->cons, &id, 0, QL_FAILED, code, text);
	send_u32(&w->cons, QL_CREDIT, 1);
	ql_job_clear(&job);
}

/* The next that bouncerd is asked for; false: none comes. */
static bool
next_request(struct world *w, uint64_t *number, struct suppress_request *q, int ms)
{
	struct frame f;
	struct rbuf r;

	if (!peer_expect(&w->bouncerd, QL_SUPPRESS, &f, ms))
		return false;
	rbuf_init(&r, f.body, f.len);
	assert_int_equal(ql_suppress_decode(&r, number, q), 0);
	frame_clear(&f);
	return true;
}

static void
answer(struct world *w, uint64_t number)
{
	struct wbuf b;

	wbuf_init(&b);
	ql_u64_encode(number, &b);
	peer_send(&w->bouncerd, QL_SUPPRESSED, &b);
	wbuf_clear(&b);
}

static void
test_unknown_user(void **state)
{
	struct suppress_request q;
	struct world w;
	uint64_t number, first;

	(void)state;
	open_world(&w, ONE_POOL);
	fail_with(&w, "gone@there.example", 550, "user unknown");
	assert_true(status_becomes(&w.r, "bounced", 1));
	assert_true(status_becomes(&w.r, "suppressions", 1));
	/* It waits on disk. */
	kill_world(&w);
	assert_int_equal(status_of(&w.r, "suppressions"), 1);
	bouncerd_comes(&w);
	assert_true(next_request(&w, &first, &q, 10000));
	assert_string_equal(q.address, "gone@there.example");
	assert_int_equal(q.scope, SUPPRESS_GLOBAL);
	assert_int_equal(q.reason, SUPPRESS_HARD_BOUNCE);
	assert_int_equal(q.origin, SUPPRESS_BY_REPLY);
	assert_string_equal(q.class, "InvalidRecipient");
	assert_string_equal(q.cause, "rcpt_unknown");
	assert_string_equal(q.note, "550 5.1.1 user unknown");
	assert_true(q.expires - q.when == 365ll * 86400000);
	suppress_request_clear(&q);
	/* Not answered: it is said again, the same. */
	bouncerd_goes(&w);
	bouncerd_comes(&w);
	assert_true(next_request(&w, &number, &q, 10000));
	assert_true(number == first);
	suppress_request_clear(&q);
	kill_world(&w);
	bouncerd_comes(&w);
	assert_true(next_request(&w, &number, &q, 10000));
	assert_true(number == first);
	suppress_request_clear(&q);
	/* Both times that it was said are answered, the first on this connection: after a reconnection. */
	answer(&w, number);
	answer(&w, number);
	assert_true(status_becomes(&w.r, "suppressions", 0));
	fail_with(&w, "gone3@there.example", 550, "user unknown");
	assert_true(next_request(&w, &number, &q, 10000));
	suppress_request_clear(&q);
	answer(&w, number);
	assert_true(status_becomes(&w.r, "suppressions", 0));
	/* Done with: for good. */
	kill_world(&w);
	assert_int_equal(status_of(&w.r, "suppressions"), 0);
	/* Numbers are not used again. */
	bouncerd_comes(&w);
	fail_with(&w, "gone2@there.example", 550, "user unknown");
	assert_true(next_request(&w, &number, &q, 10000));
	assert_true(number > first);
	suppress_request_clear(&q);
	close_world(&w);
}

/* More than the window: all of them, each once. */
static void
test_many(void **state)
{
	unsigned i, n = 600;
	struct suppress_request q;
	struct world w;
	uint64_t number, last = 0;
	char rcpt[64];

	(void)state;
	open_world(&w, ONE_POOL);
	for (i = 0; i < n; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "gone%u@there.example", i);
		fail_with(&w, rcpt, 550, "user unknown");
	}
	assert_true(status_becomes(&w.r, "suppressions", n));
	bouncerd_comes(&w);
	for (i = 0; i < n; i++) {
		assert_true(next_request(&w, &number, &q, 10000));
		assert_true(number > last);
		last = number;
		suppress_request_clear(&q);
		answer(&w, number);
	}
	assert_true(status_becomes(&w.r, "suppressions", 0));
	close_world(&w);
}

static void
test_what_does_not_suppress(void **state)
{
	struct suppress_request q;
	struct ql_result res;
	struct ql_job job;
	struct msgid id;
	struct world w;
	struct wbuf b;
	uint64_t number;

	(void)state;
	open_world(&w, ONE_POOL);
	fail_with(&w, "a@there.example", 550, "user unknown, this looks like spam"); /* a veto */
	fail_with(&w, "b@there.example", 550, "blocked");
	fail_with(&w, "c@there.example", 450, "user unknown"); /* not for good */
	fail_with(&w, "d@there.example", 550, "something else");
	/* What we said ourselves, in the words of a peer. */
	id = spool_one(&w.s, "s@sender.example", "e@there.example");
	assert_true(next_job(&w.cons, &job, 10000));
	ql_job_clear(&job);
	memset(&res, 0, sizeof(res));
	res.env.msg = id;
	res.outcome = QL_FAILED;
	res.phase = PHASE_RCPT;
	res.is_local = true;
	res.code = 550;
	res.enhanced = (struct enhanced_code){ 5, 1, 1 };
	res.text = (char[]){ "550 5.1.1 user unknown" };
	wbuf_init(&b);
	ql_result_encode(&res, &b);
	peer_send(&w.cons, QL_RESULT, &b);
	wbuf_clear(&b);
	assert_true(status_becomes(&w.r, "bounced", 4));
	assert_int_equal(status_of(&w.r, "suppressions"), 0);
	/* One that has to come more often is bouncerd's to count. */
	bouncerd_comes(&w);
	fail_with(&w, "f@there.example", 552, "mailbox full");
	assert_true(next_request(&w, &number, &q, 10000));
	assert_string_equal(q.address, "f@there.example");
	assert_int_equal(q.threshold, 3);
	assert_true(q.within == 14ll * 86400000);
	suppress_request_clear(&q);
	close_world(&w);
}

/* Its last reply counts, if the peer said it; not that it took too long. */
static void
test_expired(void **state)
{
	struct suppress_request q;
	struct world w;
	uint64_t number;

	(void)state;
	open_world(&w, ONE_POOL "kumo.on('get_queue_config', function()\n"
	    "return { max_age = '1s', retry_interval = '1h' } end)\n");
	bouncerd_comes(&w);
	fail_with(&w, "full@there.example", 452, "mailbox full");
	assert_true(status_becomes(&w.r, "expired", 1));
	assert_true(next_request(&w, &number, &q, 10000));
	assert_string_equal(q.address, "full@there.example");
	assert_string_equal(q.cause, "mailbox_full");
	suppress_request_clear(&q);
	close_world(&w);
}

static void
request_send(struct peer *p, uint64_t number, const char *address)
{
	struct suppress_request q = { .scope = SUPPRESS_TENANT, .reason = SUPPRESS_COMPLAINT,
		.origin = SUPPRESS_BY_REPORT, .when = 1000 };
	struct wbuf b;

	q.address = xstrdup(address);
	q.scope_value = xstrdup("acme");
	wbuf_init(&b);
	ql_suppress_encode(number, &q, &b);
	peer_send(p, QL_SUPPRESS, &b);
	wbuf_clear(&b);
	suppress_request_clear(&q);
}

/* fblproc hands over what it found, and hears when it is safe. */
static void
test_complaint(void **state)
{
	struct suppress_request q;
	struct peer fblproc;
	struct world w;
	struct frame f;
	struct rbuf r;
	uint64_t number;

	(void)state;
	open_world(&w, ONE_POOL);
	consumer_open(&fblproc, &w.r, QL_FBLPROC, 10);
	request_send(&fblproc, 77, "angry@there.example");
	assert_true(peer_expect(&fblproc, QL_SUPPRESSED, &f, 10000));
	rbuf_init(&r, f.body, f.len);
	assert_int_equal(ql_u64_decode(&r, &number), 0);
	assert_true(number == 77);
	frame_clear(&f);
	peer_close(&fblproc);
	kill_world(&w);
	bouncerd_comes(&w);
	assert_true(next_request(&w, &number, &q, 10000));
	assert_string_equal(q.address, "angry@there.example");
	assert_int_equal(q.reason, SUPPRESS_COMPLAINT);
	assert_string_equal(q.scope_value, "acme");
	suppress_request_clear(&q);
	close_world(&w);
}

/* The other end closes: what it said was wrong. */
static bool
is_dropped(struct peer *p)
{
	struct frame f;
	bool yes = true;

	while (peer_next(p, &f, 10000))
		frame_clear(&f);
	yes = p->fd == -1 || recv(p->fd, &(char){ 0 }, 1, MSG_DONTWAIT) == 0;
	return yes;
}

static void
test_hostile(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, ONE_POOL);
	/* A deliverd has no say in this. */
	request_send(&w.cons, 1, "victim@there.example");
	assert_true(is_dropped(&w.cons));
	peer_close(&w.cons);
	bouncerd_comes(&w);
	answer(&w, 0);
	assert_true(is_dropped(&w.bouncerd));
	assert_int_equal(status_of(&w.r, "suppressions"), 0);
	consumer_open(&w.cons, &w.r, "p1", 10);
	close_world(&w);
}

static void
test_paths(void **state)
{
	struct world w;
	char *text;
	int i;

	(void)state;
	open_world(&w, ONE_POOL);
	for (i = 0; i < 2; i++) {
		struct ql_result res;
		struct ql_job job;
		struct msgid id = spool_one(&w.s, "s@sender.example", "x@there.example");
		struct wbuf b;

		assert_true(next_job(&w.cons, &job, 10000));
		ql_job_clear(&job);
		memset(&res, 0, sizeof(res));
		res.env.msg = id;
		res.outcome = QL_FAILED;
		res.phase = PHASE_DOT;
		res.code = 550;
		res.text = (char[]){ "blocked" };
		res.source = (char[]){ "s1" };
		res.site = (char[]){ "s1->mx.there.example" };
		wbuf_init(&b);
		ql_result_encode(&res, &b);
		peer_send(&w.cons, QL_RESULT, &b);
		wbuf_clear(&b);
		send_u32(&w.cons, QL_CREDIT, 1);
	}
	assert_true(status_becomes(&w.r, "overrides", 1));
	assert_int_equal(ask(&w.r, "override.list", NULL, &text), 0);
	assert_non_null(strstr(text, "\"made_by\":\"verdict block_dnsbl/suspend\""));
	assert_non_null(strstr(text, "source s1, site mx.there.example"));
	free(text);
	assert_int_equal(events_count(&w.r, "\"type\":\"Alert\""), 1);
	assert_int_equal(events_count(&w.r, "\"made_by\":\"verdict block_dnsbl/alert\""), 1);
	close_world(&w);
}

/* Requests are no more than their part of the index, however long each is: mail goes on. */
static void
test_room(void **state)
{
	struct suppress_request q = { .scope = SUPPRESS_TENANT, .reason = SUPPRESS_COMPLAINT,
		.origin = SUPPRESS_BY_REPORT, .when = 1000 };
	char value[500], note[SUPPRESS_NOTE_MAX + 1], address[64];
	uint64_t n = 64u << 20 >> 11, i;
	uint64_t number;
	struct peer fbl;
	struct world w;
	struct frame f;
	struct wbuf b;
	struct rbuf r;

	(void)state;
	memset(&w, 0, sizeof(w));
	rig_open(&w.r, "bounce_notice = no\nindex_size_limit = 64M\n", ONE_POOL);
	producer_open(&w.prod, &w.s, &w.r, "smtpd-1");
	consumer_open(&w.cons, &w.r, "p1", 1000);
	consumer_open(&fbl, &w.r, QL_FBLPROC, 1);
	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	memset(note, 'n', sizeof(note));
	note[sizeof(note) - 1] = '\0';
	q.scope_value = value;
	q.note = note;
	q.address = address;
	wbuf_init(&b);
	for (i = 1; i <= n; i++) {
		(void)snprintf(address, sizeof(address), "u%" PRIu64 "@there.example", i);
		wbuf_reset(&b);
		ql_suppress_encode(i, &q, &b);
		peer_send(&fbl, QL_SUPPRESS, &b);
		for (number = 0; (i % 500 == 0 || i == n) && number != i;) {
			assert_true(peer_expect(&fbl, QL_SUPPRESSED, &f, 10000));
			rbuf_init(&r, f.body, f.len);
			assert_int_equal(ql_u64_decode(&r, &number), 0);
			frame_clear(&f);
		}
	}
	wbuf_clear(&b);
	assert_int_equal(status_of(&w.r, "commit_failures"), 0);
	assert_true(status_of(&w.r, "dropped") > 0);
	assert_true(status_of(&w.r, "suppressions") > 1000);
	fail_with(&w, "u@there.example", 550, "no");
	assert_true(status_becomes(&w.r, "messages", 0));
	peer_close(&fbl);
	close_world(&w);
}

/* A verdict that holds a message is no reason to forget that it is to be ended. */
static void
test_hold(void **state)
{
	struct ql_job job;
	struct world w;
	struct frame f;
	char *text;
	pid_t asker;

	(void)state;
	open_world(&w, ONE_POOL);
	fail_with(&w, "h@there.example", 550, "not for you");
	assert_true(status_becomes(&w.r, "held", 1));
	(void)spool_one(&w.s, "s@sender.example", "b@there.example");
	assert_true(next_job(&w.cons, &job, 10000));
	(void)fflush(NULL);
	if ((asker = fork()) == 0) {
		(void)ask(&w.r, "queue.bounce", (const char *const[]){ "recipient", "b@there.example", NULL }, &text);
		_exit(0);
	}
	assert_true(peer_expect(&w.cons, QL_CANCEL, &f, 10000));
	frame_clear(&f);
	send_result(&w.cons, &job.rec.id, 0, QL_FAILED, 550, "not for you");
	ql_job_clear(&job);
	assert_int_equal(waitpid(asker, NULL, 0), asker);
	assert_true(status_becomes(&w.r, "removed", 1));
	assert_int_equal(status_of(&w.r, "held"), 1);
	close_world(&w);
}

#define ON ONE_POOL "kumo.on('bounce_classified', function(r) "

static void
test_policy(void **state)
{
	struct suppress_request q;
	struct world w;
	uint64_t number;

	(void)state;
	open_world(&w, ON "if r.recipient == 'keep@there.example' then return 'retry in=2h' end\n"
	    "if r.recipient == 'mine@there.example' then return 'give-up suppress scope=sender-domain for=1d' end\n"
	    "if r.recipient == 'bad@there.example' then return 'supress' end\n"
	    "if r.recipient == 'err@there.example' then error('no') end\n"
	    "if r.cause == 'block_dnsbl' then return 'give-up suppress' end\n"
	    "assert(r.class and r.kind and r.scope and r.action and r.code and r.domain and r.attempts == 1) end)\n");
	fail_with(&w, "keep@there.example", 550, "user unknown");
	assert_true(status_becomes(&w.r, "failed_attempts", 1));
	assert_int_equal(status_of(&w.r, "bounced"), 0);
	bouncerd_comes(&w);
	fail_with(&w, "mine@there.example", 550, "user unknown");
	assert_true(next_request(&w, &number, &q, 10000));
	assert_int_equal(q.scope, SUPPRESS_SENDER_DOMAIN);
	assert_string_equal(q.scope_value, "sender.example");
	suppress_request_clear(&q);
	assert_int_equal(events_count(&w.r, "\"policy\":true"), 2);
	/* A mistake: as the rules say, and counted. */
	fail_with(&w, "bad@there.example", 550, "user unknown");
	fail_with(&w, "err@there.example", 550, "user unknown");
	fail_with(&w, "block@there.example", 550, "blocked");
	assert_true(next_request(&w, &number, &q, 10000));
	assert_string_equal(q.address, "bad@there.example");
	suppress_request_clear(&q);
	assert_true(next_request(&w, &number, &q, 10000));
	assert_string_equal(q.address, "err@there.example");
	suppress_request_clear(&q);
	assert_true(status_becomes(&w.r, "bounced", 4));
	assert_int_equal(status_of(&w.r, "errors"), 3);
	assert_int_equal(status_of(&w.r, "suppressions"), 3);
	close_world(&w);
}

/* What policy said of a failure holds also when that turns out to have been the last one. */
static void
test_policy_expired(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, ON "if r.recipient == 'keep@there.example' then return 'retry in=1h' end end)\n"
	    "kumo.on('get_queue_config', function() return { max_age = '1s', retry_interval = '1h' } end)\n");
	fail_with(&w, "keep@there.example", 452, "mailbox full");
	fail_with(&w, "gone@there.example", 452, "mailbox full");
	assert_true(status_becomes(&w.r, "expired", 2));
	assert_true(status_becomes(&w.r, "suppressions", 1));
	close_world(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_user),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_what_does_not_suppress),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_complaint),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_policy_expired),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
