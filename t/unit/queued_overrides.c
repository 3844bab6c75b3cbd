/* Overrides in queued: what a suspension, a bounce and a path's override do, what a restart keeps; and automation:
 * windows, scopes, refresh, recovery. */
#include "queued_driver.h"

#include "mail/shaping.h"
#include "queued/automation.h"
#include "queued/changes.h"
#include "queued/overrides.h"
#include "queued/store.h"
#include "queued/wake.h"

static int
put(const struct rig *r, const char *const *args, char **text_r)
{
	return ask(r, "override.put", args, text_r);
}

static uint64_t
put_id(const struct rig *r, const char *kind, const char *key, const char *value)
{
	const char *args[] = { "kind", kind, "duration", "1h", "reason", "for a test", key, value, NULL };
	char *text, *at;
	uint64_t id;

	assert_int_equal(put(r, args, &text), 0);
	at = strstr(text, "\"id\":");
	assert_non_null(at);
	id = strtoull(at + 5, NULL, 10);
	free(text);
	return id;
}

static void
cancel(const struct rig *r, uint64_t id)
{
	char number[24], *text;
	const char *args[] = { "id", number, NULL };

	(void)snprintf(number, sizeof(number), "%" PRIu64, id);
	assert_int_equal(ask(r, "override.cancel", args, &text), 0);
	assert_non_null(strstr(text, "\"cancelled\":1"));
	free(text);
}

/* Present and arriving mail waits, over a restart too, and goes on with the attempts that it had. */
static void
test_suspended_queue(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	struct ql_job job;
	uint64_t id;

	(void)state;
	rig_open(&r, "retry_interval = 100ms\nmax_retry_interval = 100ms\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	consumer_open(&cons, &r, "p1", 100);
	assert_true(next_job(&cons, &job, 5000));
	send_result(&cons, &job.rec.id, 0, QL_FAILED, 451, "later");
	send_u32(&cons, QL_CREDIT, 1);
	ql_job_clear(&job);
	assert_true(next_job(&cons, &job, 5000)); /* the second attempt is under way */
	assert_int_equal(job.rcpts[0].attempts, 1);
	id = put_id(&r, "suspend", "domain", "one.example");
	{
		struct frame f;

		assert_true(peer_expect(&cons, QL_CANCEL, &f, 5000));
		frame_clear(&f);
	}
	send_result(&cons, &job.rec.id, 0, QL_RETURNED, 0, "called back");
	send_u32(&cons, QL_CREDIT, 1);
	ql_job_clear(&job);
	(void)spool_one(&s, "s@sender.example", "b@one.example");
	(void)spool_one(&s, "s@sender.example", "c@two.example");
	assert_true(next_job(&cons, &job, 5000));
	assert_string_equal(job.domain, "two.example");
	send_result(&cons, &job.rec.id, 0, QL_DELIVERED, 250, "ok");
	ql_job_clear(&job);
	assert_int_equal(take_all(&cons, 0, 0, 500), 0);
	assert_int_equal(events_count(&r, "\"type\":\"Delayed\""), 2);
	assert_int_equal(events_count(&r, "\"type\":\"TransientFailure\""), 1);
	assert_int_equal(events_count(&r, "\"type\":\"Override\".*\"action\":\"begun\""), 1);
	assert_int_equal(status_of(&r, "overrides"), 1);
	peer_close(&cons);
	rig_kill(&r);
	rig_start(&r);
	consumer_open(&cons, &r, "p1", 100);
	assert_int_equal(take_all(&cons, 0, 0, 500), 0);
	cancel(&r, id);
	assert_true(next_job(&cons, &job, 5000));
	assert_int_equal(job.rcpts[0].attempts, job.rcpts[0].address[0] == 'a' ? 1 : 0);
	ql_job_clear(&job);
	assert_true(next_job(&cons, &job, 5000));
	ql_job_clear(&job);
	/* Numbers are not used again. */
	assert_true(put_id(&r, "suspend", "domain", "one.example") > id);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
test_bounce(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;

	(void)state;
	rig_open(&r, "bounce_notice = no\n", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	(void)spool_one(&s, "s@sender.example", "a@two.example");
	assert_true(status_becomes(&r, "messages", 2));
	(void)put_id(&r, "bounce", "domain", "one.example");
	assert_true(status_becomes(&r, "messages", 1));
	(void)spool_one(&s, "s@sender.example", "b@one.example");
	assert_true(status_becomes(&r, "removed", 2));
	assert_int_equal(events_count(&r, "\"type\":\"AdminBounce\".*for a test"), 2);
	consumer_open(&cons, &r, "p1", 100);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 500), 1);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
reload(struct rig *r, const char *policy, struct peer *cons)
{
	(void)snprintf(r->policy, sizeof(r->policy), "%s", policy);
	rig_write_config(r);
	assert_int_equal(kill(r->pid, SIGHUP), 0);
	usleep(300000);
	consumer_reload(cons, r);
}

/* What sleeps because its pool is suspended goes when policy gives it to another pool. */
static void
test_suspended_pool(void **state)
{
	struct rig r;
	struct peer prod, cons;
	struct spooler s;

	(void)state;
	rig_open(&r, "", TWO_POOLS "posthorn.on('get_egress_pool', function() return 'p1' end)\n");
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p2", 100);
	(void)put_id(&r, "suspend", "pool", "p1");
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	assert_true(status_becomes(&r, "queues_suspended", 1));
	reload(&r, TWO_POOLS "posthorn.on('get_egress_pool', function() return 'p2' end)\n", &cons);
	assert_int_equal(take_all(&cons, QL_DELIVERED, 250, 1000), 1);
	assert_int_equal(status_of(&r, "queues_suspended"), 0);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* Of many queues that a limit makes wait most sleep; they wake when it ends. */
static void
test_limit_ends(void **state)
{
	const char *args[] = { "kind", "limit", "tenant", "t", "set.max_message_rate", "1/h", NULL };
	char rcpt[64], *text;
	const char *v[1] = { rcpt };
	struct mail m = { .sender = "s@sender.example", .tenant = "t", .rcpts = v, .n_rcpts = 1 };
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	unsigned i, n;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	assert_int_equal(put(&r, args, &text), 0);
	free(text);
	for (i = 0; i < 2600; i++) {
		(void)snprintf(rcpt, sizeof(rcpt), "u@d%u.example", i);
		(void)spool_add(&s, &m);
	}
	assert_true(status_becomes(&r, "messages", 2600));
	peer_close(&prod);
	rig_stop(&r);
	rig_start(&r);
	consumer_open(&cons, &r, "p1", 5000);
	n = take_all(&cons, QL_DELIVERED, 250, 2000);
	assert_int_equal(n, 1);
	cancel(&r, 1);
	n += take_all(&cons, QL_DELIVERED, 250, 2000);
	assert_int_equal(n, 2600);
	peer_close(&cons);
	close(s.fd);
	rig_clear(&r);
}

static void
next_override(struct peer *cons, struct override *o)
{
	struct frame f;
	struct rbuf rb;

	assert_true(peer_expect(cons, QL_OVERRIDE, &f, 5000));
	rbuf_init(&rb, f.body, f.len);
	assert_int_equal(override_decode(&rb, o), 0);
	frame_clear(&f);
}

static uint64_t
next_end(struct peer *cons)
{
	struct frame f;
	struct rbuf rb;
	uint64_t id = UINT64_MAX;

	assert_true(peer_expect(cons, QL_OVERRIDE_END, &f, 5000));
	rbuf_init(&rb, f.body, f.len);
	assert_int_equal(ql_u64_decode(&rb, &id), 0);
	frame_clear(&f);
	return id;
}

/* For an hour, because of a suspension or a rate. The job is cleared. */
static void
give_back(struct peer *cons, struct ql_job *job, bool is_suspended)
{
	struct ql_result res;
	struct wbuf w;

	memset(&res, 0, sizeof(res));
	res.env.msg = job->rec.id;
	res.outcome = QL_RETURNED;
	res.text = job->domain;
	res.retry_after = 3600;
	if (is_suspended)
		res.enhanced = QL_IMPOSED;
	wbuf_init(&w);
	ql_result_encode(&res, &w);
	peer_send(cons, QL_RESULT, &w);
	wbuf_clear(&w);
	ql_job_clear(job);
}

/* What paths are concerned with is told to consumers; mail that came back because of it is due again when it ends. */
static void
test_paths(void **state)
{
	struct override o;
	struct ql_job job;
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	uint64_t id;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	peer_open(&cons, &r, QL_ROLE_CONSUMER, "p1");
	assert_int_equal(next_end(&cons), 0); /* none */
	send_u32(&cons, QL_CREDIT, 100);
	id = put_id(&r, "suspend", "provider", "google");
	next_override(&cons, &o);
	assert_int_equal(o.id, id);
	assert_string_equal(o.scope.provider, "google");
	override_clear(&o);
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	assert_true(next_job(&cons, &job, 5000));
	give_back(&cons, &job, true);
	assert_int_equal(take_all(&cons, 0, 0, 300), 0);
	cancel(&r, id);
	assert_int_equal(next_end(&cons), id);
	assert_true(next_job(&cons, &job, 5000));
	assert_int_equal(job.rcpts[0].attempts, 0);
	ql_job_clear(&job);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* The end of an override looks at what an operator holds, and leaves it where it is: in the index. */
static void
test_held_meanwhile(void **state)
{
	const char *args[] = { "all", "yes", NULL };
	struct ql_job job;
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	uint64_t id;
	char *text;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	consumer_open(&cons, &r, "p1", 100);
	id = put_id(&r, "suspend", "provider", "google");
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	assert_true(next_job(&cons, &job, 5000));
	give_back(&cons, &job, true);
	assert_true(status_becomes(&r, "in_memory", 0));
	assert_int_equal(ask(&r, "queue.hold", args, &text), 0);
	free(text);
	assert_true(status_becomes(&r, "held", 1));
	cancel(&r, id);
	assert_int_equal(take_all(&cons, 0, 0, 500), 0);
	assert_int_equal(status_of(&r, "held"), 1);
	assert_int_equal(status_of(&r, "in_memory"), 0);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

/* What a configured rate holds is not offered again because an override has ended: it has its time. What comes back
 * from before the end of an override is. */
static void
test_ends_of_others(void **state)
{
	struct override o;
	struct ql_job job;
	struct rig r;
	struct peer prod, cons;
	struct spooler s;
	uint64_t id;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	producer_open(&prod, &s, &r, "smtpd-1");
	peer_open(&cons, &r, QL_ROLE_CONSUMER, "p1");
	assert_int_equal(next_end(&cons), 0);
	send_u32(&cons, QL_CREDIT, 100);
	id = put_id(&r, "suspend", "provider", "google");
	next_override(&cons, &o);
	override_clear(&o);
	(void)spool_one(&s, "s@sender.example", "a@one.example");
	assert_true(next_job(&cons, &job, 5000));
	give_back(&cons, &job, false);
	(void)spool_one(&s, "s@sender.example", "a@two.example");
	assert_true(next_job(&cons, &job, 5000));
	cancel(&r, id);
	assert_int_equal(next_end(&cons), id);
	give_back(&cons, &job, true);
	assert_true(next_job(&cons, &job, 5000));
	assert_string_equal(job.domain, "two.example");
	ql_job_clear(&job);
	assert_int_equal(take_all(&cons, 0, 0, 300), 0);
	peer_close(&cons);
	peer_close(&prod);
	close(s.fd);
	rig_clear(&r);
}

static void
refused(const struct rig *r, const char *const *args)
{
	char *text;

	assert_int_equal(put(r, args, &text), 1);
	free(text);
}

static void
test_requests(void **state)
{
	static const char *const none[] = { "kind", "suspend", NULL };
	static const char *const both[] = { "kind", "suspend", "all", "yes", "domain", "a.example", NULL };
	static const char *const no_setting[] = { "kind", "limit", "provider", "google", NULL };
	static const char *const bad_setting[] = { "kind", "limit", "provider", "google", "set.conection_limit", "1",
		NULL };
	static const char *const bad_time[] = { "kind", "suspend", "domain", "a.example", "duration", "soon", NULL };
	static const char *const good[] = { "kind", "limit", "provider", "google", "set.connection_limit", "1", NULL };
	static const char *const resume[] = { "provider", "google", NULL };
	struct rig r;
	char *text;

	(void)state;
	rig_open(&r, "", ONE_POOL);
	refused(&r, none);
	refused(&r, both);
	refused(&r, no_setting);
	refused(&r, bad_setting);
	refused(&r, bad_time);
	assert_int_equal(put(&r, good, &text), 0);
	free(text);
	/* Again: the same one, not a second. */
	assert_int_equal(put(&r, good, &text), 0);
	free(text);
	assert_int_equal(status_of(&r, "overrides"), 1);
	assert_int_equal(ask(&r, "override.list", NULL, &text), 0);
	assert_non_null(strstr(text, "\"setting\":\"connection_limit\",\"value\":\"1\""));
	free(text);
	assert_int_equal(ask(&r, "override.resume", resume, &text), 1); /* a limit is no suspension */
	free(text);
	rig_clear(&r);
}

/* --- automation, in this process: the queue's clock is moved --- */

struct core {
	struct rig r;
	struct loop *loop;
	struct queued *q;
};

static void
core_open(struct core *c)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params = params_load(c->r.dir, &conf, &errs);
	struct policy *policy;
	char *err = NULL;

	assert_non_null(params);
	conf_free(&conf);
	policy = policy_load(params->policy_file, &errs);
	assert_non_null(policy);
	log_init("test", LOG_LVL_ERROR);
	log_set_level(LOG_LVL_ERROR);
	c->loop = loop_new();
	c->q = queued_new(c->loop, params, policy, shaping_load(&params->shaping_files, &errs), c->r.dir, &err);
	assert_non_null(c->q);
}

static void
core_close(struct core *c)
{
	queued_free(&c->q);
	loop_free(&c->loop);
}

static void
later(struct core *c, int64_t ms)
{
	c->q->clock.ahead -= ms;
}

static const struct shaping_action suspend = { .type = ACTION_SUSPEND };
static const struct shaping_action tenant = { .type = ACTION_SUSPEND_TENANT };
static struct automation_hit hit = { .source = "ip-1", .site = "mx.example", .provider = "google",
	.domain = "one.example", .tenant = "acme", .reply = "421 4.7.0 slow down" };

static unsigned
n_of(const struct core *c)
{
	return HASH_COUNT(c->q->overrides->by_id);
}

/* Two an hour are two within an hour, whatever the duration. */
static void
test_window(void **state)
{
	struct shaping_rule rule = { .name = "r", .id = "google/r", .trigger_count = 2, .trigger_period = 3600000,
		.scope = SCOPE_PATH, .duration = 15 * 60000, .actions = &suspend, .n_actions = 1 };
	struct core c;
	struct effect *ef;
	int64_t was;

	(void)state;
	rig_init(&c.r, "", ONE_POOL);
	core_open(&c);
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 0);
	later(&c, 3600001);
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 0);
	later(&c, 3599000); /* longer than the duration, still within the hour */
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 1);
	ef = c.q->overrides->by_id;
	assert_int_equal(ef->o.kind, OVERRIDE_SUSPEND);
	assert_string_equal(ef->o.scope.site, "mx.example");
	assert_string_equal(ef->o.made_by, "rule google/r");
	assert_string_equal(ef->o.evidence, hit.reply);
	/* Again: refreshed, not doubled; never shortened. */
	was = ef->o.expires;
	later(&c, 60000);
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 1);
	assert_true(ef->o.expires > was);
	was = ef->o.expires;
	rule.duration = 1000;
	automation_hit(c.q, &rule, &hit);
	assert_true(ef->o.expires == was);
	assert_int_equal(ef->o.hits, 3);
	core_close(&c);
	/* In the index. */
	core_open(&c);
	assert_int_equal(n_of(&c), 1);
	assert_int_equal(c.q->overrides->by_id->o.hits, 3);
	assert_int_equal(c.q->overrides->n_paths, 1);
	core_close(&c);
	rig_clear(&c.r);
}

static void
test_scopes(void **state)
{
	struct shaping_rule rule = { .name = "r", .id = "google/r", .trigger_count = 2, .trigger_period = 3600000,
		.scope = SCOPE_PROVIDER_TOTAL, .duration = 60000, .actions = &suspend, .n_actions = 1 };
	struct automation_hit other = hit;
	struct msgid id;
	struct core c;

	(void)state;
	rig_init(&c.r, "", ONE_POOL);
	core_open(&c);
	/* Over all sources and sites of the provider. */
	other.source = "ip-2";
	other.site = "other.example";
	automation_hit(c.q, &rule, &hit);
	automation_hit(c.q, &rule, &other);
	assert_int_equal(n_of(&c), 1);
	assert_string_equal(c.q->overrides->by_id->o.scope.provider, "google");
	assert_null(c.q->overrides->by_id->o.scope.source);
	/* For each path: two of different ones are not two. */
	rule.id = "google/path";
	rule.scope = SCOPE_PATH;
	automation_hit(c.q, &rule, &hit);
	automation_hit(c.q, &rule, &other);
	assert_int_equal(n_of(&c), 1);
	/* One reply to all recipients of a message. */
	rule.id = "google/message";
	msgid_new(&id, 1785000000000);
	other = hit;
	other.id = &id;
	automation_hit(c.q, &rule, &other);
	automation_hit(c.q, &rule, &other);
	assert_int_equal(n_of(&c), 1);
	/* A tenant at a domain; without a tenant nothing. */
	rule.id = "google/tenant";
	rule.trigger_count = 1;
	rule.actions = &tenant;
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 2);
	other.tenant = NULL;
	automation_hit(c.q, &rule, &other);
	assert_int_equal(n_of(&c), 2);
	/* A name that is empty names nothing: no consumer could read such an override. */
	rule.id = "google/empty";
	rule.actions = &suspend;
	other = hit;
	other.site = "";
	automation_hit(c.q, &rule, &other);
	assert_int_equal(n_of(&c), 2);
	rule.actions = &tenant;
	/* Only recorded. */
	rule.id = "google/dry";
	rule.is_dry_run = true;
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 3);
	assert_int_equal(overrides_count(c.q->overrides, true), 1);
	core_close(&c);
	rig_clear(&c.r);
}

/* Many suspensions that end together cost one look at the queues, not one each. */
static void
test_many_end(void **state)
{
	struct shaping_rule rule = { .name = "r", .id = "google/r", .trigger_count = 1, .trigger_period = 3600000,
		.scope = SCOPE_DOMAIN, .duration = 60000, .actions = &tenant, .n_actions = 1 };
	struct automation_hit other = hit;
	struct effect *ef, *next;
	clock_t start; /* of processor time: other work on the machine does not count */
	char name[32];
	struct core c;
	uint32_t i;

	(void)state;
	rig_init(&c.r, "", ONE_POOL);
	core_open(&c);
	for (i = 1; i <= 300000; i++)
		wake_set(c.q->wake, i, INT64_MAX, WAKE_SUSPENDED);
	other.tenant = name;
	for (i = 0; i < 2000; i++) {
		(void)snprintf(name, sizeof(name), "t%u", i);
		automation_hit(c.q, &rule, &other);
	}
	assert_int_equal(n_of(&c), 2000);
	start = clock();
	HASH_ITER(hh, c.q->overrides->by_id, ef, next)
		overrides_end(c.q, &ef, "expired");
	overrides_turn(c.q);
	assert_in_range(clock() - start, 0, 2 * CLOCKS_PER_SEC);
	assert_true(wake_get(c.q->wake, 1) < INT64_MAX);
	for (i = 1; i <= 300000; i++)
		wake_remove(c.q->wake, i);
	core_close(&c);
	rig_clear(&c.r);
}

static void
test_recovery(void **state)
{
	struct shaping_action limit = { .type = ACTION_SET_CONFIG, .field = policy_path_find("max_message_rate"),
		.value = "10/min" };
	struct shaping_rule rule = { .name = "r", .id = "google/slow", .trigger_count = 1, .scope = SCOPE_PATH,
		.duration = 3600000, .is_gradual = true, .actions = &limit, .n_actions = 1 };
	struct effect *ef;
	struct core c;
	int i;

	(void)state;
	rig_init(&c.r, "", ONE_POOL);
	core_open(&c);
	automation_hit(c.q, &rule, &hit);
	assert_int_equal(n_of(&c), 1);
	ef = c.q->overrides->by_id;
	assert_int_equal(ef->o.step_every, 15 * 60000);
	assert_non_null(ef->watch);
	later(&c, 3600001);
	/* Nothing went through: it stays. */
	assert_true(automation_raise(c.q, ef));
	assert_string_equal(ef->o.value, "10/min");
	ef->watch->last_success = queue_now(c.q);
	assert_true(automation_raise(c.q, ef));
	assert_string_equal(ef->o.value, "20/min");
	/* A hit puts it back. */
	automation_hit(c.q, &rule, &hit);
	assert_string_equal(ef->o.value, "10/min");
	assert_int_equal(ef->o.step, 0);
	for (i = 0; i < 6; i++) {
		ef->watch->last_success = queue_now(c.q);
		assert_true(automation_raise(c.q, ef));
	}
	assert_string_equal(ef->o.value, "640/min");
	assert_false(automation_raise(c.q, ef));
	core_close(&c);
	rig_clear(&c.r);
}

/* An index of the release before: it has no overrides, and gets the database. */
static void
test_older_index(void **state)
{
	struct core c;
	char *text;

	(void)state;
	rig_init(&c.r, "", ONE_POOL);
	core_open(&c);
	assert_int_equal(store_begin(c.q->store), 0);
	assert_int_equal(store_put(c.q->store, DB_META, "schema", 6, "\0\0\0\1", 4), 0);
	assert_int_equal(store_commit(c.q->store), 0);
	core_close(&c);
	rig_start(&c.r);
	(void)put_id(&c.r, "suspend", "domain", "one.example");
	assert_int_equal(ask(&c.r, "status", NULL, &text), 0);
	free(text);
	rig_stop(&c.r);
	rig_start(&c.r);
	assert_int_equal(status_of(&c.r, "overrides"), 1);
	rig_clear(&c.r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suspended_queue),
		cmocka_unit_test(test_bounce),
		cmocka_unit_test(test_suspended_pool),
		cmocka_unit_test(test_limit_ends),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_held_meanwhile),
		cmocka_unit_test(test_ends_of_others),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_many_end),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_older_index),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
