/* Mail that an operator or policy puts into another queue: where it goes from there, what its records say, what a kill
 * at any moment leaves, and what becomes of it when the event that decides fails. */
#include "queued_driver.h"

struct world {
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	bool has_consumer;
};

static void
open_world(struct world *w, const char *policy)
{
	memset(w, 0, sizeof(*w));
	rig_open(&w->r, "bounce_notice = no\nretry_interval = 1h\n", policy);
	producer_open(&w->prod, &w->s, &w->r, "smtpd-1");
}

static void
consume(struct world *w, const char *pool)
{
	consumer_open(&w->cons, &w->r, pool, 1000);
	w->has_consumer = true;
}

static void
unconsume(struct world *w)
{
	if (w->has_consumer)
		peer_close(&w->cons);
	w->has_consumer = false;
}

static void
close_world(struct world *w)
{
	unconsume(w);
	peer_close(&w->prod);
	close(w->s.fd);
	rig_clear(&w->r);
}

/* Killed, and started again with the same producer gone. */
static void
restart_world(struct world *w)
{
	unconsume(w);
	peer_close(&w->prod);
	close(w->s.fd);
	rig_kill(&w->r);
	rig_start(&w->r);
	producer_open(&w->prod, &w->s, &w->r, "smtpd-1");
}

static long
number_in(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at == NULL ? -1 : strtol(at + strlen(key), NULL, 10);
}

/* The count, after a check of how many could not be. */
static long
rebind(const struct world *w, const char *const *args, long failed)
{
	char *text;
	long n;

	assert_int_equal(ask(&w->r, "queue.rebind", args, &text), 0);
	n = number_in(text, "\"count\":");
	assert_int_equal(number_in(text, "\"failed\":"), failed);
	free(text);
	return n;
}

#define REBIND(w, ...) rebind(w, (const char *const[]){ __VA_ARGS__, NULL }, 0)

static unsigned
listed(const struct world *w, const char *key, const char *value, const char *must_have)
{
	const char *args[] = { key, value, NULL };
	unsigned n = 0;
	char *text, *p;

	assert_int_equal(ask(&w->r, "queue.list", key != NULL ? args : NULL, &text), 0);
	for (p = text; *p != '\0'; p++)
		n += *p == '\n';
	if (must_have != NULL && strstr(text, must_have) == NULL) {
		print_message("%s", text);
		fail();
	}
	free(text);
	return n;
}

static struct msgid
add(struct world *w, const char *tenant, const char *campaign, const char *rcpt)
{
	const char *const v[] = { rcpt };
	struct mail m = { .sender = "s@sender.example", .tenant = tenant, .campaign = campaign, .rcpts = v,
		.n_rcpts = 1 };

	return spool_add(&w->s, &m);
}

static void
expect_job(struct world *w, const char *queue, const char *domain, const char *tenant, const char *campaign,
    uint8_t outcome, uint16_t code)
{
	struct ql_job job;

	assert_true(next_job(&w->cons, &job, 3000));
	assert_string_equal(job.queue, queue);
	assert_string_equal(job.domain, domain);
	assert_string_equal(job.tenant == NULL ? "" : job.tenant, tenant);
	assert_string_equal(job.campaign == NULL ? "" : job.campaign, campaign);
	assert_string_equal(job.rcpts[0].address, "a@one.example");
	send_result(&w->cons, &job.rec.id, job.rcpts[0].index, outcome, code, "said the peer");
	ql_job_clear(&job);
}

/* Each part of the name, the whole of it, and what stays. */
static void
test_targets(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, ONE_POOL);
	(void)add(&w, "acme", "spring", "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	assert_int_equal(REBIND(&w, "tenant", "other", "set.tenant", "x"), 0);
	assert_int_equal(REBIND(&w, "tenant", "acme", "set.tenant", "acme"), 0);
	assert_int_equal(events_count(&w.r, "AdminRebind"), 0);
	assert_int_equal(REBIND(&w, "tenant", "acme", "set.routing_domain", "Gateway.Example:2525"), 1);
	assert_int_equal(listed(&w, "domain", "gateway.example:2525", "\"spring:acme@gateway.example:2525\""), 1);
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "globex", "reason", "moved house"), 1);
	assert_int_equal(listed(&w, "tenant", "globex", "\"spring:globex@gateway.example:2525\""), 1);
	assert_int_equal(REBIND(&w, "all", "yes", "set.queue", "late@[192.0.2.1]:25", "set.campaign", "c"), 1);
	assert_int_equal(listed(&w, "campaign", "c", "\"c:late@[192.0.2.1]:25\""), 1);
	assert_int_equal(REBIND(&w, "recipient", "a@one.example", "set.campaign", "", "quiet", "yes"), 1);
	assert_int_equal(listed(&w, NULL, NULL, "\"queue\":\"late@[192.0.2.1]:25\""), 1);
	assert_int_equal(events_count(&w.r, "\"type\":\"AdminRebind\""), 3);
	assert_int_equal(events_count(&w.r, "rebound from spring:acme@gateway.example:2525 to "
	    "spring:globex@gateway.example:2525: moved house"), 1);
	consume(&w, "p1");
	expect_job(&w, "late@[192.0.2.1]:25", "[192.0.2.1]:25", "late", "", QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "messages", 0));
	close_world(&w);
}

/* The answer means that it is on disk: killed at once, it is there afterwards, with its attempts and its new names. */
static void
test_kill(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, ONE_POOL);
	consume(&w, "p1");
	(void)add(&w, "acme", NULL, "a@one.example");
	expect_job(&w, "acme@one.example", "one.example", "acme", "", QL_FAILED, 451);
	assert_true(status_becomes(&w.r, "failed_attempts", 1));
	unconsume(&w);
	assert_int_equal(REBIND(&w, "domain", "one.example", "set.tenant", "globex", "set.campaign", "c1"), 1);
	restart_world(&w);
	assert_int_equal(listed(&w, "tenant", "globex", "\"attempts\":1"), 1);
	assert_int_equal(listed(&w, "tenant", "acme", NULL), 0);
	consume(&w, "p1");
	expect_job(&w, "c1:globex@one.example", "one.example", "globex", "c1", QL_FAILED, 451);
	assert_true(status_becomes(&w.r, "failed_attempts", 1));
	assert_int_equal(events_count(&w.r, "\"tenant\":\"globex\",\"campaign\":\"c1\""), 2);
	/* There and back again. */
	unconsume(&w);
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "x"), 1);
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "acme", "set.campaign", ""), 1);
	restart_world(&w);
	consume(&w, "p1");
	expect_job(&w, "acme@one.example", "one.example", "acme", "", QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "messages", 0));
	restart_world(&w);
	assert_int_equal(listed(&w, NULL, NULL, NULL), 0);
	close_world(&w);
}

/* Held mail stays held where it comes to; what stays in its queue keeps its time unless it is to be flushed. */
static void
test_held_and_flush(void **state)
{
	const char *hold[] = { "all", "yes", NULL };
	struct world w;
	char *text;

	(void)state;
	open_world(&w, ONE_POOL);
	consume(&w, "p1");
	(void)add(&w, NULL, NULL, "a@one.example");
	expect_job(&w, "one.example", "one.example", "", "", QL_FAILED, 451);
	assert_true(status_becomes(&w.r, "failed_attempts", 1));
	assert_int_equal(REBIND(&w, "all", "yes", "set.routing_domain", "one.example"), 0);
	assert_int_equal(take_all(&w.cons, 0, 0, 300), 0);
	assert_int_equal(REBIND(&w, "all", "yes", "always_flush", "yes"), 1);
	expect_job(&w, "one.example", "one.example", "", "", QL_FAILED, 451);
	assert_true(status_becomes(&w.r, "failed_attempts", 2));
	assert_int_equal(events_count(&w.r, "AdminRebind"), 0);
	assert_int_equal(ask(&w.r, "queue.hold", hold, &text), 0);
	free(text);
	assert_int_equal(REBIND(&w, "all", "yes", "set.routing_domain", "two.example"), 1);
	assert_int_equal(take_all(&w.cons, 0, 0, 300), 0);
	unconsume(&w);
	restart_world(&w);
	assert_int_equal(listed(&w, "domain", "two.example", "held by the operator"), 1);
	assert_int_equal(ask(&w.r, "queue.release", hold, &text), 0);
	free(text);
	consume(&w, "p1");
	expect_job(&w, "two.example", "two.example", "", "", QL_DELIVERED, 250);
	assert_true(status_becomes(&w.r, "messages", 0));
	close_world(&w);
}

/* With a consumer: called back; it follows when it returns, whatever became of it there, unless it has ended. */
static void
test_in_flight(void **state)
{
	static const uint8_t outcome[] = { QL_RETURNED, QL_FAILED, QL_DELIVERED, QL_FAILED };
	static const uint16_t code[] = { 0, 451, 250, 550 };
	struct ql_job job;
	struct world w;
	struct msgid id;
	struct frame f;
	unsigned i;

	(void)state;
	open_world(&w, ONE_POOL);
	consume(&w, "p1");
	for (i = 0; i < 4; i++) {
		id = add(&w, NULL, NULL, "a@one.example");
		assert_true(next_job(&w.cons, &job, 2000));
		ql_job_clear(&job);
		assert_int_equal(REBIND(&w, "all", "yes", "set.routing_domain", "one.example"), 0);
		assert_int_equal(REBIND(&w, "domain", "one.example", "set.tenant", "first"), 1);
		assert_int_equal(REBIND(&w, "domain", "one.example", "set.tenant", "t"), 1);
		assert_true(peer_expect(&w.cons, QL_CANCEL, &f, 2000));
		frame_clear(&f);
		send_result(&w.cons, &id, 0, outcome[i], code[i], "that is all");
		if (i < 2)
			expect_job(&w, "t@one.example", "one.example", "t", "", QL_DELIVERED, 250);
		assert_true(status_becomes(&w.r, "messages", 0));
	}
	assert_int_equal(events_count(&w.r, "\"type\":\"AdminRebind\""), 2);
	assert_int_equal(events_count(&w.r, "\"type\":\"TransientFailure\""), 1);
	assert_int_equal(events_count(&w.r, "\"type\":\"Bounce\""), 1);
	/* A consumer that goes away gives back, too. */
	(void)add(&w, NULL, NULL, "a@one.example");
	assert_true(next_job(&w.cons, &job, 2000));
	ql_job_clear(&job);
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "t"), 1);
	unconsume(&w);
	consume(&w, "p1");
	expect_job(&w, "t@one.example", "one.example", "t", "", QL_DELIVERED, 250);
	close_world(&w);
}

/* To be held and to be rebound: both. */
static void
test_in_flight_held(void **state)
{
	const char *all[] = { "all", "yes", NULL };
	struct ql_job job;
	struct msgid id;
	struct world w;
	unsigned i;
	char *text;

	(void)state;
	open_world(&w, ONE_POOL);
	consume(&w, "p1");
	for (i = 0; i < 2; i++) {
		id = add(&w, NULL, NULL, "a@one.example");
		assert_true(next_job(&w.cons, &job, 2000));
		ql_job_clear(&job);
		if (i == 0)
			assert_int_equal(ask(&w.r, "queue.hold", all, &text), 0);
		if (i == 0)
			free(text);
		assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "t"), 1);
		if (i == 1) {
			assert_int_equal(ask(&w.r, "queue.hold", all, &text), 0);
			free(text);
		}
		send_result(&w.cons, &id, 0, QL_RETURNED, 0, "");
		assert_true(status_becomes(&w.r, "held", 1));
		assert_int_equal(listed(&w, "tenant", "t", "held by the operator"), 1);
		assert_int_equal(ask(&w.r, "queue.release", all, &text), 0);
		free(text);
		expect_job(&w, "t@one.example", "one.example", "t", "", QL_DELIVERED, 250);
		assert_true(status_becomes(&w.r, "messages", 0));
	}
	close_world(&w);
}

static void
refused(const struct world *w, const char *const *args, const char *sentence)
{
	struct ql_admin a = { .verb = xstrdup("queue.rebind") };
	struct meta metas[8];
	struct peer p;
	struct frame f;
	struct rbuf rb;
	struct wbuf out;
	uint8_t status;
	char *text;

	peer_open(&p, &w->r, QL_ROLE_ADMIN, "test");
	wbuf_init(&out);
	a.args = metas;
	for (; *args != NULL; args += 2)
		metas[a.n_args++] = (struct meta){ (char *)(uintptr_t)args[0], (char *)(uintptr_t)args[1] };
	ql_admin_encode(&a, &out);
	peer_send(&p, QL_ADMIN, &out);
	assert_true(peer_expect(&p, QL_ADMIN_END, &f, 5000));
	rbuf_init(&rb, f.body, f.len);
	assert_int_equal(ql_end_decode(&rb, &status, &text), 0);
	assert_int_equal(status, 1);
	if (strstr(text, sentence) == NULL) {
		print_message("%s\n", text);
		fail();
	}
	free(text);
	frame_clear(&f);
	wbuf_clear(&out);
	free(a.verb);
	peer_close(&p);
}

#define REFUSED(w, sentence, ...) refused(w, (const char *const[]){ __VA_ARGS__, NULL }, sentence)

static void
test_garbage(void **state)
{
	struct world w;
	char longer[600];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	open_world(&w, ONE_POOL);
	(void)add(&w, NULL, NULL, "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	REFUSED(&w, "say where", "all", "yes");
	REFUSED(&w, "name a filter", "set.tenant", "t");
	REFUSED(&w, "not a tenant", "all", "yes", "set.tenant", "a b");
	REFUSED(&w, "not a tenant", "all", "yes", "set.tenant", longer);
	REFUSED(&w, "not a campaign", "all", "yes", "set.campaign", "a:b");
	REFUSED(&w, "not a campaign", "all", "yes", "set.campaign", longer);
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "a b");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "x.example:0");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "x.example:65536");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "x.example:");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "192.0.2.1");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", "[192.0.2.1");
	REFUSED(&w, "not a destination", "all", "yes", "set.routing_domain", longer);
	REFUSED(&w, "not a queue", "all", "yes", "set.queue", "a:b:c@x.example");
	REFUSED(&w, "not a queue", "all", "yes", "set.queue", "@");
	REFUSED(&w, "not a queue", "all", "yes", "set.queue", "x.example!y.example");
	REFUSED(&w, "control", "all", "yes", "set.note", "a\nb");
	REFUSED(&w, "control", "all", "yes", "set.", "v");
	REFUSED(&w, "unknown argument \"to\"", "all", "yes", "to", "v");
	REFUSED(&w, "no event rebind_message", "all", "yes", "trigger_rebind_event", "yes");
	assert_int_equal(listed(&w, "domain", "one.example", NULL), 1);
	close_world(&w);
}

#define ON_REBIND(body) ONE_POOL "posthorn.on('rebind_message', function(msg, data) " body " end)\n"
#define ON_REQUEUE(body) ONE_POOL "posthorn.on('requeue_message', function(msg, response, ctx, inc, delay) " body \
	" end)\n"

static void
test_rebind_event(void **state)
{
	struct ql_job job;
	struct world w;

	(void)state;
	open_world(&w, ON_REBIND("assert(msg:recipient().domain == 'one.example') assert(data.extra == 'yes')"
	    " assert(not pcall(msg.set_recipient, msg, 'x@y.example')) assert(not pcall(msg.set_sender, msg, ''))"
	    " assert(not pcall(msg.set_scheduling, msg, nil)) assert(not pcall(posthorn.dns.lookup_mx, 'x.example'))"
	    " assert(msg:queue_name() == 'c1:acme@one.example' and msg:get_meta('campaign') == 'c1')"
	    " assert(msg:get_first_named_header_value('Subject') == 'test')"
	    " msg:set_meta('tenant', data.tenant) msg:set_meta('note', 'n') msg:prepend_header('X-R', data.extra)"));
	(void)add(&w, "acme", "c1", "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	/* It decides, and it alone. */
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "t", "set.campaign", "ignored", "set.extra", "yes",
	    "trigger_rebind_event", "yes"), 1);
	restart_world(&w);
	consume(&w, "p1");
	assert_true(next_job(&w.cons, &job, 3000));
	assert_string_equal(job.queue, "c1:t@one.example");
	assert_string_equal(job.tenant, "t");
	assert_int_equal(job.n_meta, 1);
	assert_string_equal(job.meta[0].key, "note");
	assert_string_equal(job.head, "X-R: yes\r\nFrom: a@b.example\r\nSubject: test\r\n"
	    "Message-ID: <1@b.example>\r\n\r\n");
	ql_job_clear(&job);
	close_world(&w);
}

/* A failing event costs nothing but its effect; a rejection is a bounce. */
static void
test_rebind_event_fails(void **state)
{
	const char *const args[] = { "all", "yes", "trigger_rebind_event", "yes", NULL };
	static const char *const bodies[] = { "error('no')", "while true do end", "kumo.reject(451, 'not now')",
		"local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", "kumo.reject(550, 'gone')" };
	char policy[1000];
	struct world w;
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		(void)snprintf(policy, sizeof(policy), ON_REBIND("msg:set_meta('tenant', 'x') %s"), bodies[i]);
		open_world(&w, policy);
		(void)add(&w, NULL, NULL, "a@one.example");
		assert_true(status_becomes(&w.r, "messages", 1));
		assert_int_equal(rebind(&w, args, i < 4), i == 4);
		assert_int_equal(events_count(&w.r, "\"type\":\"TransientFailure\""), i < 4);
		assert_int_equal(events_count(&w.r, "\"type\":\"Bounce\".*gone"), i == 4);
		assert_true(status_becomes(&w.r, "messages", i < 4));
		consume(&w, "p1");
		if (i < 4)
			expect_job(&w, "one.example", "one.example", "", "", QL_DELIVERED, 250);
		close_world(&w);
	}
}

static void
test_requeue(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, ON_REQUEUE("assert(response == '451 4.1.1 said the peer') assert(inc == true)"
	    " assert(ctx[1] == 'LoggedTransientFailure' and #ctx == 1) assert(delay >= 3600 and delay < 4000)"
	    " assert(msg:num_attempts() >= 1) if msg:num_attempts() == 1 then"
	    " msg:set_meta('routing_domain', '[192.0.2.9]:25') else msg:set_meta('queue', 'c:slow@one.example') end")
	    "posthorn.on('get_queue_config', function(domain, tenant) return { retry_interval = '200ms' } end)\n");
	/* The schedule is that of the queue; here the assertion on delay fails and the message keeps its queue. */
	consume(&w, "p1");
	(void)add(&w, "acme", NULL, "a@one.example");
	expect_job(&w, "acme@one.example", "one.example", "acme", "", QL_FAILED, 451);
	expect_job(&w, "acme@one.example", "one.example", "acme", "", QL_DELIVERED, 250);
	close_world(&w);

	open_world(&w, ON_REQUEUE("if msg:num_attempts() == 1 then msg:set_meta('routing_domain', '[192.0.2.9]:25')"
	    " elseif msg:num_attempts() == 2 then assert(msg:get_meta('routing_domain') == '[192.0.2.9]:25')"
	    " msg:set_meta('routing_domain', nil) msg:set_meta('tenant', 'slow') msg:set_meta('n', 2)"
	    " elseif msg:num_attempts() == 3 then assert(msg:get_meta('n') == '2')"
	    " msg:set_meta('queue', 'c:last@z.example') else kumo.reject(550, '5.4.7 enough') end")
	    "posthorn.on('get_queue_config', function(domain, tenant) return { retry_interval = '200ms' } end)\n");
	consume(&w, "p1");
	(void)add(&w, "acme", NULL, "a@one.example");
	expect_job(&w, "acme@one.example", "one.example", "acme", "", QL_FAILED, 451);
	expect_job(&w, "acme@[192.0.2.9]:25", "[192.0.2.9]:25", "acme", "", QL_FAILED, 451);
	expect_job(&w, "slow@one.example", "one.example", "slow", "", QL_FAILED, 451);
	expect_job(&w, "c:last@z.example", "z.example", "last", "c", QL_FAILED, 451);
	assert_true(status_becomes(&w.r, "messages", 0));
	/* Each attempt is on record in the queue that it was made from. */
	assert_int_equal(events_count(&w.r, "TransientFailure.*\"queue\":\"acme@one.example\""), 1);
	assert_int_equal(events_count(&w.r,
	    "TransientFailure.*\"queue\":\"slow@one.example\".*\"tenant\":\"slow\""), 1);
	assert_int_equal(events_count(&w.r, "TransientFailure.*\"queue\":\"c:last@z.example\""), 1);
	assert_int_equal(events_count(&w.r, "\"type\":\"Bounce\".*5.4.7\\|\"type\":\"Bounce\".*enough"), 1);
	close_world(&w);
}

/* It fails for each message, or works until its time is up: mail goes on. */
static void
test_requeue_fails(void **state)
{
	static const char *const bodies[] = { "error({})", "while true do end", "msg:set_meta('queue', 'a b')",
		"kumo.reject(451, 'later')", "return 7" };
	char policy[1000];
	struct world w;
	unsigned i, j;

	(void)state;
	for (i = 0; i < 5; i++) {
		(void)snprintf(policy, sizeof(policy), ON_REQUEUE("msg:set_meta('tenant', 'x') %s"), bodies[i]);
		open_world(&w, policy);
		consume(&w, "p1");
		for (j = 0; j < 50; j++)
			(void)add(&w, NULL, NULL, "a@one.example");
		assert_int_equal(take_all(&w.cons, QL_FAILED, 451, 1000), 50);
		assert_true(status_becomes(&w.r, "failed_attempts", 50));
		assert_int_equal(listed(&w, "domain", "one.example", "\"attempts\":1"), 50);
		assert_int_equal(listed(&w, "tenant", "x", NULL), i < 4 ? 0 : 50);
		assert_int_equal(events_count(&w.r, "\"type\":\"TransientFailure\""), 50);
		close_world(&w);
	}
}

/* Two recipients of one message go apart, and are offered apart where they meet again with different values. */
static void
test_recipients(void **state)
{
	static const char *const v[] = { "a@one.example", "b@one.example", "c@one.example" };
	struct mail m = { .sender = "s@sender.example", .rcpts = v, .n_rcpts = 3 };
	struct ql_job job;
	unsigned rcpts = 0, jobs = 0;
	struct world w;

	(void)state;
	open_world(&w, ONE_POOL);
	(void)spool_add(&w.s, &m);
	assert_true(status_becomes(&w.r, "messages", 3));
	assert_int_equal(REBIND(&w, "recipient", "b@one.example", "set.note", "1"), 1);
	assert_int_equal(listed(&w, "domain", "one.example", NULL), 3);
	consume(&w, "p1");
	while (rcpts < 3 && next_job(&w.cons, &job, 3000)) {
		assert_int_equal(job.n_meta, strcmp(job.rcpts[0].address, "b@one.example") == 0);
		jobs++;
		rcpts += job.n_rcpts;
		ql_job_clear(&job);
	}
	assert_int_equal(rcpts, 3);
	assert_true(jobs >= 2);
	close_world(&w);
}

/* An event that never ends is not asked about thousands of messages. */
static void
test_given_up(void **state)
{
	struct world w;
	unsigned i;

	(void)state;
	open_world(&w, ON_REBIND("while true do end"));
	for (i = 0; i < 100; i++)
		(void)add(&w, NULL, NULL, "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 100));
	REFUSED(&w, "given up: rebind_message uses up its time", "all", "yes", "trigger_rebind_event", "yes");
	assert_int_equal(events_count(&w.r, "\"type\":\"TransientFailure\""), 10);
	assert_int_equal(listed(&w, "domain", "one.example", NULL), 100);
	close_world(&w);
}

#define MANY 5000

static void
test_many(void **state)
{
	struct world w;
	unsigned i;

	(void)state;
	open_world(&w, TWO_POOLS "posthorn.on('get_egress_pool', function(domain, tenant)"
	    " return tenant == 't' and 'p2' or 'p1' end)\n");
	for (i = 0; i < MANY; i++)
		(void)add(&w, NULL, NULL, i % 2 ? "a@one.example" : "a@two.example");
	assert_true(status_becomes(&w.r, "messages", MANY));
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "t"), MANY);
	assert_int_equal(events_count(&w.r, "\"type\":\"AdminRebind\""), MANY);
	restart_world(&w);
	assert_int_equal(REBIND(&w, "domain", "two.example", "set.tenant", "t"), 0);
	/* The filter names the new queue, too: each counts once, spilled from memory or not. */
	assert_int_equal(REBIND(&w, "tenant", "t", "set.campaign", "c", "always_flush", "yes"), MANY);
	assert_int_equal(REBIND(&w, "domain", "two.example", "set.routing_domain", "one.example"), MANY / 2);
	restart_world(&w);
	assert_int_equal(listed(&w, "domain", "one.example", NULL), MANY);
	consumer_open(&w.cons, &w.r, "p2", MANY);
	w.has_consumer = true;
	assert_int_equal(take_all(&w.cons, QL_DELIVERED, 250, 2000), MANY);
	assert_true(status_becomes(&w.r, "messages", 0));
	close_world(&w);
}

/* Into a queue that is suspended it waits there, into one that bounces it ends. */
static void
test_overrides(void **state)
{
	const char *suspend[] = { "kind", "suspend", "tenant", "s", "duration", "1h", "reason", "r", NULL };
	struct world w;
	char *text;

	(void)state;
	open_world(&w, ONE_POOL);
	assert_int_equal(ask(&w.r, "override.put", suspend, &text), 0);
	free(text);
	(void)add(&w, NULL, NULL, "a@one.example");
	assert_true(status_becomes(&w.r, "messages", 1));
	assert_int_equal(REBIND(&w, "all", "yes", "set.tenant", "s"), 1);
	consume(&w, "p1");
	assert_int_equal(take_all(&w.cons, 0, 0, 300), 0);
	/* Scenario of a suspended queue that is rebound to another. */
	assert_int_equal(REBIND(&w, "tenant", "s", "set.tenant", "free"), 1);
	expect_job(&w, "free@one.example", "one.example", "free", "", QL_DELIVERED, 250);
	close_world(&w);
}

/* Its time is over while it is under way: that it was to be rebound then does not bring it back, however it comes. */
static void
test_overdue(void **state)
{
	struct frame f;
	struct world w;

	(void)state;
	open_world(&w, ONE_POOL "posthorn.on('get_queue_config', function(domain) "
	    "return { max_age = domain == 'long.example' and '1h' or '1s' } end)\n");
	consume(&w, "p1");
	(void)add(&w, NULL, NULL, "a@one.example");
	assert_int_equal(take_all(&w.cons, 0, 0, 500), 1);
	assert_true(peer_expect(&w.cons, QL_CANCEL, &f, 5000));
	frame_clear(&f);
	assert_int_equal(REBIND(&w, "all", "yes", "set.routing_domain", "long.example"), 1);
	unconsume(&w);
	assert_true(status_becomes(&w.r, "messages", 0));
	assert_int_equal(events_count(&w.r, "\"type\":\"Expiration\""), 1);
	close_world(&w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets), cmocka_unit_test(test_kill), cmocka_unit_test(test_held_and_flush),
		cmocka_unit_test(test_in_flight), cmocka_unit_test(test_in_flight_held), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_rebind_event), cmocka_unit_test(test_rebind_event_fails),
		cmocka_unit_test(test_requeue), cmocka_unit_test(test_requeue_fails), cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_given_up), cmocka_unit_test(test_many),
		cmocka_unit_test(test_overrides), cmocka_unit_test(test_overdue),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
