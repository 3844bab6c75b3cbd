/* mail/policy.h: definitions and their mistakes, events and their wrong answers, and a jail that holds: scripts that
 * are known to escape an instruction hook must end in time. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "mail/params.h"
#include "mail/policy.h"
#include "mail/policy_path.h"
#include "mail/policy_queue.h"

#include "mistakes.h"

#define SOURCES \
	"posthorn.source { name = 'ip-1', source_address = '192.0.2.1', ehlo_domain = 'a.example.com' }\n" \
	"posthorn.source { name = 'ip-2', source_address = '2001:db8::2', remote_port = 2525 }\n" \
	"kumo.source { name = 'ip-3', source_address = 'unspecified' }\n" \
	"posthorn.pool { name = 'pool-promo', entries = { { name = 'ip-1', weight = 3 }, { name = 'ip-2' } } }\n" \
	"posthorn.pool { name = 'pool-transactional', entries = { { name = 'ip-3' } } }\n"

#define SNIPPET \
	"kumo.on('get_egress_pool', function(domain, tenant)\n" \
	"  if tenant == 'promotional' then\n" \
	"    return 'pool-promo'\n" \
	"  end\n" \
	"  return 'pool-transactional'\n" \
	"end)\n"

#define ONE_POOL \
	"posthorn.source { name = 's', source_address = '192.0.2.1' }\n" \
	"posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"

struct fixture {
	char file[64];
	struct policy *p;
	struct conf_errors errs;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	strcpy(f->file, "/tmp/posthorn-policy-XXXXXX");
	assert_true((fd = mkstemp(f->file)) >= 0);
	close(fd);
	*state = f;
	return 0;
}

static void
clear(struct fixture *f)
{
	policy_free(&f->p);
	conf_errors_clear(&f->errs);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	clear(f);
	unlink(f->file);
	free(f);
	return 0;
}

static void
load(struct fixture *f, const char *text)
{
	clear(f);
	text_put(f->file, text);
	f->p = policy_load(f->file, &f->errs);
}

static void
load_ok(struct fixture *f, const char *text)
{
	load(f, text);
	if (f->p == NULL)
		fail_msg("<%s>: line %u: %s", text, f->errs.v[0].line, f->errs.v[0].text);
	assert_int_equal(f->errs.n, 0);
}

/* One handler of get_egress_pool with this body. */
static void
load_handler(struct fixture *f, const char *body)
{
	char *text;

	assert_true(asprintf(&text,
	    ONE_POOL "posthorn.on('get_egress_pool', function(domain, tenant, campaign)\n%s\nend)\n", body) > 0);
	load_ok(f, text);
	free(text);
}

static double
cpu_seconds(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Asks and expects an error that says so. */
static void
expect_event_error(struct fixture *f, const char *says)
{
	char *pool = NULL, *err = NULL;

	assert_int_equal(policy_get_egress_pool(f->p, "example.com", "t", "c", &pool, &err), -1);
	assert_null(pool);
	assert_non_null(err);
	if (strstr(err, says) == NULL)
		fail_msg("<%s> does not say <%s>", err, says);
	free(err);
}

static void
expect_pool(struct fixture *f, const char *tenant, const char *expected)
{
	char *pool = NULL, *err = NULL;

	assert_int_equal(policy_get_egress_pool(f->p, "example.com", tenant, NULL, &pool, &err), 1);
	assert_null(err);
	assert_string_equal(pool, expected);
	free(pool);
}

static void
test_definitions(void **state)
{
	struct fixture *f = *state;
	const struct policy_pool *pool;
	const struct policy_listener_domain *d;

	load_ok(f, SOURCES SNIPPET
	    "posthorn.listener_domain { name = 'Inbound.Example.com', relay_to = true, log_oob = false }\n"
	    "posthorn.listener_domain { name = 'relay.example.com', relay_to = true }\n");
	assert_int_equal(policy_pool_count(f->p), 2);
	assert_string_equal(policy_pool_at(f->p, 0)->name, "pool-promo");
	assert_null(policy_pool_find(f->p, "pool"));
	pool = policy_pool_find(f->p, "pool-promo");
	assert_ptr_equal(pool, policy_pool_at(f->p, 0));
	assert_int_equal(pool->n_entries, 2);
	assert_string_equal(pool->entries[0].source->name, "ip-1");
	assert_string_equal(pool->entries[0].source->source_address, "192.0.2.1");
	assert_string_equal(pool->entries[0].source->ehlo_domain, "a.example.com");
	assert_int_equal(pool->entries[0].source->remote_port, 0);
	assert_int_equal(pool->entries[0].weight, 3);
	assert_int_equal(pool->entries[1].weight, 1);
	assert_int_equal(pool->entries[1].source->remote_port, 2525);
	assert_null(policy_pool_find(f->p, "pool-transactional")->entries[0].source->source_address);
	assert_null(policy_only_pool(f->p));
	assert_true(policy_has(f->p, "get_egress_pool"));
	assert_false(policy_has(f->p, "get_queue_config"));
	assert_false(policy_has(f->p, "no_such_event"));

	assert_non_null(d = policy_listener_domain(f->p, "INBOUND.example.COM"));
	assert_string_equal(d->name, "inbound.example.com");
	assert_true(d->relay_to && !d->log_oob && !d->log_arf);
	assert_non_null(policy_listener_domain(f->p, "relay.example.com"));
	assert_null(policy_listener_domain(f->p, "example.com"));
	load_ok(f, ONE_POOL "posthorn.listener_domain { name = '*', relay_to = true }\n");
	assert_true(policy_listener_domain(f->p, "any.example")->relay_to);
	assert_ptr_equal(policy_only_pool(f->p), policy_pool_at(f->p, 0));
}

/* The promise of DESIGN.md section 6: this policy, unchanged, works. Alone it defines no pool, so its answer is
 * refused. */
static void
test_snippet(void **state)
{
	struct fixture *f = *state;

	load_ok(f, SOURCES SNIPPET);
	expect_pool(f, "promotional", "pool-promo");
	expect_pool(f, "transactional", "pool-transactional");
	expect_pool(f, NULL, "pool-transactional");
	load_ok(f, SNIPPET);
	assert_int_equal(policy_pool_count(f->p), 0);
	expect_event_error(f, ":1: get_egress_pool returned a pool that is not defined: pool-transactional");
}

static void
test_module_names(void **state)
{
	struct fixture *f = *state;

	load_ok(f,
	    "local k = require 'kumo'\nlocal p = require('posthorn')\nassert(k == p and kumo == posthorn and k == "
	    "kumo)\n" ONE_POOL
	    "k.on('get_egress_pool', function() return 'p' end)\n");
	expect_pool(f, NULL, "p");
}

static const struct mistake mistakes[] = {
	{ ONE_POOL "\nif then\n", 4, "unexpected symbol near 'then'" },
	{ ONE_POOL "local x = nil\nx.y = 1\n", 4, "attempt to index a nil value (local 'x')" },
	{ "error('my own words')\n", 1, "my own words" },
	{ "error({})\n", 0, "an error that is not a string" },
	{ ONE_POOL "posthorn.source { nam = 'x', source_address = '192.0.2.9' }\n", 3,
	    "posthorn.source: unknown key 'nam'; did you mean 'name'?" },
	{ ONE_POOL "posthorn.source { source_address = '192.0.2.9' }\n", 3, "posthorn.source: name is missing" },
	{ ONE_POOL "posthorn.source { name = 'x' }\nposthorn.pool { name = 'q', entries = { { name = 'x' } } "
	    "}\n" SNIPPET, 3,
	    "source_address is missing" },
	{ ONE_POOL "posthorn.source { name = 'x y', source_address = '192.0.2.9' }\n", 3, "'x y' is not a name" },
	{ ONE_POOL "posthorn.source { name = '../x', source_address = '192.0.2.9' }\n", 3, "'../x' is not a name" },
	{ "posthorn.source { name = 's', source_address = 'localhost' }\nposthorn.pool { name = 'p', entries = { { "
	    "name = 's' } } }", 1,
	    "source_address 'localhost' is not an IP address" },
	{ "posthorn.source { name = 's', source_address = '::1', remote_port = 0 }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }", 1,
	    "remote_port must be from 1 to 65535, not 0" },
	{ "posthorn.source { name = 's', source_address = '::1', ttl = '60s' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }", 1, "ttl is not supported by this version" },
	{ "posthorn.source { name = 's', source_address = '1.2.3.4',\n"
	    "suspend_when_unplumbed = { trigger = { Threshold = '3/5m' } } }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }", 1, "only trigger 'Immediate' is supported" },
	{ "posthorn.source { name = 's', source_address = '1.2.3.4', suspend_when_unplumbed = true }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }", 1, "must be a table" },
	{ "posthorn.source { name = 's', source_address = '::1', ehlo_domain = 'a b' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }", 1, "ehlo_domain 'a b' is not a host name" },
	{ ONE_POOL "posthorn.source { name = 's', source_address = '192.0.2.2' }\n", 3,
	    "the source 's' is defined twice: here and in line 1" },
	{ ONE_POOL "\nposthorn.source {\n  name = 'lonely',\n  source_address = '192.0.2.2' }\n", 4,
	    "the source 'lonely' is in no pool" },
	{ ONE_POOL "posthorn.pool { name = 'q', entries = { { name = 's' } } }\n" SNIPPET, 3,
	    "the source 's' is in two pools, 'p' and 'q'; a source belongs to exactly one" },
	{ ONE_POOL "posthorn.pool { name = 'q', entries = { { name = 'sx' } } }\n" SNIPPET, 3,
	    "the pool 'q' names the unknown source 'sx'; did you mean 's'?" },
	{ "posthorn.source { name = 's', source_address = '::1' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' }, { name = 's' } } }\n", 2,
	    "the pool 'p' names the source 's' twice" },
	{ ONE_POOL "posthorn.pool { name = 'q' }\n" SNIPPET, 3, "the pool 'q' has no entries" },
	{ ONE_POOL "posthorn.pool { name = 'q', entries = {} }\n" SNIPPET, 3, "the pool 'q' has no entries" },
	{ "posthorn.source { name = 's', source_address = '::1' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's', weight = 0 } } }\n", 2,
	    "weight must be from 1 to 1000000, not 0" },
	{ "posthorn.source { name = 's', source_address = '::1' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's', weight = 1.5 } } }\n", 2,
	    "weight must be a whole number" },
	{ "posthorn.source { name = 's', source_address = '::1' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's', wieght = 2 } } }\n", 2,
	    "unknown key 'wieght'; did you mean 'weight'?" },
	{ ONE_POOL "posthorn.source { name = 'z', source_address = '::1' }\n"
	    "posthorn.pool { name = 'q', entries = { { name = 'z' }, first = 1 } }\n" SNIPPET, 4,
	    "must be a plain list" },
	{ "posthorn.source { name = 's', source_address = '::1' }\nposthorn.pool { name = 'p', entries = { { name = "
	    "'s' } } }\n"
	    "posthorn.source { name = 't', source_address = '::1' }\nposthorn.pool { name = 'q', entries = { { name = "
	    "'t' } } }\n", 0,
	    "there are 2 pools, but neither get_egress_pool nor get_queue_config" },
	{ ONE_POOL "posthorn.listener_domain { name = 'x.example' }\n", 3, "accepts nothing" },
	{ ONE_POOL "posthorn.sender_domain { name = 'x.example', verp_domain = 'b.x.example' }\n", 3,
	    "no listener domain with log_oob" },
	{ ONE_POOL "posthorn.sender_domain { name = 'x.example' }\n", 3, "verp_domain must be the domain" },
	{ ONE_POOL "posthorn.sender_domain { verp_domain = 'b.x.example' }\n", 3, "name is missing" },
	{ ONE_POOL "posthorn.sender_domain { name = 'x.example', verp_domain = 'b.x.example', verp_prefix = 'a+b' }\n",
	    3, "verp_prefix must be" },
	{ ONE_POOL "posthorn.listener_domain { name = 'x', relay_to = true, log_arf = 'yes' }\n", 3,
	    "log_arf must be true, false, 'LogThenRelay', 'LogThenDrop' or 'Ignore'" },
	{ ONE_POOL "posthorn.listener_domain { name = 'x y', relay_to = true }\n", 3, "'x y' is not a domain" },
	{ ONE_POOL "posthorn.listener_domain { name = 'x', relay_to = 'yes' }\n", 3,
	    "relay_to must be true or false, not a string" },
	{ ONE_POOL "posthorn.listener_domain { name = 'x', relay_to = true }\nposthorn.listener_domain { name = 'X', "
	    "relay_to = true }\n",
	    4, "the listener domain 'x' is defined twice: here and in line 3" },
	{ ONE_POOL "posthorn.on('get_egres_pool', function() end)\n", 3,
	    "unknown event 'get_egres_pool'; did you mean 'get_egress_pool'?" },
	{ ONE_POOL "kumo.on('smtp_server_data', function() end)\n", 3,
	    "the event 'smtp_server_data' is not supported by this version" },
	{ SOURCES SNIPPET "kumo.on('get_egress_pool', function() end)\n", 12,
	    "get_egress_pool has a function already, in line 6" },
	{ ONE_POOL "posthorn.on('get_egress_pool', 'p')\n", 3, "function expected" },
	{ ONE_POOL "posthorn.souce { }\n", 3, "posthorn.souce does not exist; did you mean posthorn.source?" },
	{ ONE_POOL "kumo.define_spool { }\n", 3, "posthorn.define_spool does not exist in this version" },
	{ ONE_POOL "kumo.on = nil\n", 3, "the posthorn module cannot be changed" },
	{ ONE_POOL "local x = posthron\n", 3, "undefined variable 'posthron'; did you mean 'posthorn'?" },
	{ ONE_POOL "require 'socket'\n", 3, "there is no module 'socket'" },
	{ "while true do end\n", 1, "used more than 2000 ms of CPU time" },
};

static void
test_unplumbed(void **state)
{
	struct fixture *f = *state;

	load(f, "posthorn.source { name = 's', source_address = '1.2.3.4',\n"
	    "suspend_when_unplumbed = { trigger = 'Immediate', duration = '5m' } }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }");
	assert_non_null(f->p);
}

static void
test_mistakes(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		load(f, mistakes[i].text);
		assert_null(f->p);
		mistake_check(&mistakes[i], &f->errs, f->file);
	}
}

static void
test_all_mistakes_at_once(void **state)
{
	struct fixture *f = *state;

	load(f,
	    "posthorn.source { name = 'a', source_address = '::1', tll = 1 }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 'b' } } }\n"
	    "posthorn.on('nothing_known', function() end)\n");
	assert_null(f->p);
	assert_int_equal(f->errs.n, 3);
	assert_int_equal(f->errs.v[0].line, 1);
	assert_int_equal(f->errs.v[1].line, 3);
	assert_non_null(strstr(f->errs.v[2].text, "unknown source 'b'"));
}

static void
test_files(void **state)
{
	struct fixture *f = *state;

	f->p = policy_load("/nonexistent/policy.lua", &f->errs);
	assert_null(f->p);
	assert_int_equal(f->errs.n, 1);
	assert_string_equal(f->errs.v[0].text, "cannot be read: No such file or directory");
	/* Precompiled code, recognised by its first byte, can corrupt memory. */
	load(f, "\033Lua");
	assert_null(f->p);
	assert_non_null(strstr(f->errs.v[0].text, "binary chunk"));
}

static void
test_pool_answers(void **state)
{
	struct fixture *f = *state;
	char *pool = NULL, *err = NULL;

	load_ok(f, ONE_POOL);
	assert_int_equal(policy_get_egress_pool(f->p, "d", NULL, NULL, &pool, &err), 0);
	load_handler(f, "return nil");
	assert_int_equal(policy_get_egress_pool(f->p, "d", NULL, NULL, &pool, &err), 0);
	load_handler(f, "if domain == 'example.com' and tenant == 't' and campaign == nil then return 'p' end");
	expect_pool(f, "t", "p");
	load_handler(f, "return 42");
	expect_event_error(f, ":3: get_egress_pool must return the name of a pool or nil, not a number");
	load_handler(f, "return { 'p' }");
	expect_event_error(f, "not a table");
	load_handler(f, "return 'pp'");
	expect_event_error(f, ":3: get_egress_pool returned a pool that is not defined: pp");
	load_handler(f, "return 'p\\0x'");
	expect_event_error(f, "not defined");
	load_handler(f, "local x = nil\nreturn x.y");
	expect_event_error(f, ":5: attempt to index a nil value");
	load_handler(f, "if tenat == 'x' then return 'p' end return 'p'");
	expect_event_error(f, ":4: undefined variable 'tenat'");
	load_handler(f, "error({})");
	expect_event_error(f, "an error that is not a string");
	load_handler(f, "posthorn.source { name = 'late', source_address = '::1' }");
	expect_event_error(f, "may only be called while the policy loads");
	load_handler(f, "kumo.on('get_egress_pool', print)");
	expect_event_error(f, "may only be called while the policy loads");
	/* An error leaves nothing behind. */
	load_handler(f, "if campaign then error('no') end return 'p'");
	expect_event_error(f, "no");
	expect_pool(f, NULL, "p");
}

static int
queue_config(struct fixture *f, const char *table, struct policy_queue_config *out, char **err)
{
	char *text;

	assert_true(asprintf(&text,
	    ONE_POOL "posthorn.on('get_queue_config', function(domain, tenant, campaign)\n  return %s\nend)\n",
	    table) > 0);
	load_ok(f, text);
	free(text);
	return policy_get_queue_config(f->p, "example.com", "t", "c", out, err);
}

static void
test_schedules(struct policy_queue_config *c)
{
	struct policy_schedule s;

	assert_int_equal(c->max_message_rate.quantity, 10);
	assert_int_equal(c->tenant_max_message_rate.burst, 10);
	assert_int_equal(c->campaign_max_message_rate.period, 1000);
	assert_int_equal(c->priority, PRIORITY_HIGH);
	assert_int_equal(c->tenant_share, 4);
	c->schedule.max_retry_interval = 100000; /* as queued fills it in from main.cf */
	policy_queue_schedule(c, "Uncategorized", &s);
	assert_int_equal(policy_schedule_delay(&s, 1), 60000);
	assert_int_equal(policy_schedule_delay(&s, 2), 90000);
	assert_int_equal(policy_schedule_delay(&s, 3), 100000);
	assert_int_equal(policy_schedule_delay(&s, 65535), 100000);
	policy_queue_schedule(c, "QuotaIssues", &s);
	assert_int_equal(policy_schedule_delay(&s, 1), 86400000);
	assert_int_equal(policy_schedule_delay(&s, 2), 7200000);
	assert_int_equal(policy_schedule_delay(&s, 9), 7200000);
	policy_queue_schedule(c, "SpamBlock", &s);
	assert_int_equal(policy_schedule_delay(&s, 1), 1800000);
	assert_int_equal(policy_schedule_delay(&s, 50), 1800000);
	policy_queue_schedule(c, NULL, &s);
	assert_int_equal(policy_schedule_delay(&s, 1), 60000);
}

static void
test_queue_config(void **state)
{
	static const struct {
		const char *table, *says;
	} wrong[] = {
		{ "{ retry_intervall = 5 }",
		    ":3: get_queue_config: unknown key 'retry_intervall'; did you mean 'retry_interval'?" },
		{ "{ retry_interval = 'soon' }", "retry_interval 'soon' is not a time" },
		{ "{ retry_interval = -1 }", "retry_interval must be from 0.1 to" },
		{ "{ retry_interval = 0/0 }", "retry_interval must be from 0.1 to" },
		{ "{ retry_interval = 1e300 }", "retry_interval must be from 0.1 to" },
		{ "{ retry_interval = true }", "must be a number of seconds or a string" },
		{ "{ retry_interval = '2h', max_retry_interval = '1h' }", "longer than its max_retry_interval" },
		{ "{ egress_pool = 'none' }", "returned a pool that is not defined: none" },
		{ "{ egress_pool = 1 }", "egress_pool must be a string, not a number" },
		{ "{ max_message_rate = '100' }", "max_message_rate: '100' is not a rate" },
		{ "{ retry_factor = 0.5 }", "retry_factor must be a number from 1 to 100" },
		{ "{ retry_intervals = {} }", "retry_intervals is empty" },
		{ "{ retry_intervals = { '5m', 'soon' } }", "each of retry_intervals must be a time" },
		{ "{ retry_intervals = '5m' }", "retry_intervals must be a list" },
		{ "{ retry_by_class = { QuotaIssues = '1d' } }", "retry_by_class wants up to 100 members" },
		{ "{ retry_by_class = { X = { max_age = 5 } } }",
		    "a schedule of retry_by_class: unknown key 'max_age'" },
		{ "{ priority = 'urgent' }", "priority does not know 'urgent'" },
		{ "{ tenant_share = 0 }", "tenant_share must be from 1 to 1000" },
		{ "{ reap_interval = 5 }", "reap_interval is not supported by this version" },
		{ "{ 5 }", "every value needs a name" },
		{ "'p'", "must return a table or nil, not a string" },
	};
	struct fixture *f = *state;
	struct policy_queue_config c;
	char *err = NULL;
	size_t i;

	assert_int_equal(queue_config(f, "nil", &c, &err), 0);
	assert_int_equal(c.schedule.retry_interval, -1);
	assert_int_equal(queue_config(f, "{}", &c, &err), 1);
	assert_int_equal(c.max_age, -1);
	assert_int_equal(queue_config(f,
	    "kumo.make_queue_config { retry_interval = '20 min', max_retry_interval = 7200, "
	    "max_age = '5d', egress_pool = 'p' }", &c, &err), 1);
	assert_int_equal(c.schedule.retry_interval, 1200000);
	assert_int_equal(c.schedule.max_retry_interval, 7200000);
	assert_int_equal(c.max_age, 5ll * 86400000);
	assert_string_equal(c.egress_pool, "p");
	policy_queue_config_clear(&c);
	assert_null(c.egress_pool);
	assert_int_equal(queue_config(f,
	    "{ retry_interval = 60, retry_factor = 1.5, max_message_rate = '10/s', "
	    "tenant_max_message_rate = '600/min', "
	    "campaign_max_message_rate = '1/s', priority = 'high', tenant_share = 4, retry_by_class = { "
	    "QuotaIssues = { retry_intervals = { '1d', 7200 } }, "
	    "SpamBlock = { retry_interval = '30m', retry_factor = 1 } } }",
	    &c, &err), 1);
	test_schedules(&c);
	policy_queue_config_clear(&c);
	assert_int_equal(queue_config(f, "{ retry_interval = 1.5 }", &c, &err), 1);
	assert_int_equal(c.schedule.retry_interval, 1500);

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(queue_config(f, wrong[i].table, &c, &err), -1);
		if (strstr(err, wrong[i].says) == NULL)
			fail_msg("<%s> gave <%s>", wrong[i].table, err);
		free(err);
		policy_queue_config_clear(&c);
	}
}

static int
path_config(struct fixture *f, const char *table, struct policy_path_config *out, char **err)
{
	char *text;

	assert_true(asprintf(&text, ONE_POOL "posthorn.on('get_egress_path_config', function(domain, source, site)\n"
	    "  assert(domain == 'example.com' and source == 's' and site == 'mx.example.com')\n  return %s\nend)\n",
	    table) > 0);
	load_ok(f, text);
	free(text);
	return policy_get_path_config(f->p, "example.com", "s", "mx.example.com", out, err);
}

static void
test_path_config(void **state)
{
	static const struct {
		const char *table, *says;
	} wrong[] = {
		{ "{ connection_limt = 5 }",
		    ":3: get_egress_path_config: unknown key 'connection_limt'; did you mean 'connection_limit'?" },
		{ "{ connection_limit = 0 }", "connection_limit must be from 1 to 100000, not 0" },
		{ "{ connection_limit = '5' }", "connection_limit must be a whole number" },
		{ "{ smtp_port = 65536 }", "smtp_port must be from 1 to 65535" },
		{ "{ enable_tls = 'opportunistic' }", "did you mean 'Opportunistic'?" },
		{ "{ max_connection_rate = '10' }", "max_connection_rate: '10' is not a rate" },
		{ "{ max_connection_rate = 10 }", "max_connection_rate must be a string" },
		{ "{ additional_connection_limits = { 5 } }", "'' is not a name" },
		{ "{ additional_connection_limits = { a = '5' } }", "must be a whole number" },
		{ "{ ip_lookup_strategy = 'Ipv5' }", "ip_lookup_strategy does not know 'Ipv5'" },
		{ "{ use_lmtp = true }", "not supported by this version" },
		{ "{ prohibited_hosts = '127.0.0.0/8' }", "prohibited_hosts must be a list" },
		{ "{ prohibited_hosts = { '127.0.0.1/8' } }", "'127.0.0.1/8' has a prefix length" },
		{ "{ prohibited_hosts = { 7 } }", "prohibited_hosts must be a string" },
		{ "{ connect_timeout = 0 }", "connect_timeout must be from 1 to 3600 seconds" },
	};
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001) };
	struct fixture *f = *state;
	struct policy_path_config c;
	char *err = NULL;
	size_t i;

	assert_int_equal(path_config(f, "{}", &c, &err), 1);
	assert_int_equal(c.connection_limit, -1);
	assert_int_equal(c.smtp_port, -1);
	assert_int_equal(c.enable_tls, -1);
	assert_false(c.has_prohibited_hosts);
	assert_int_equal(path_config(f,
	    "kumo.make_egress_path { connection_limit = 5, max_deliveries_per_connection = 0, "
	    "max_recipients_per_batch = 10, connect_timeout = '10s', data_dot_timeout = 600, idle_timeout = 0, "
	    "smtp_port = 2525, "
	    "enable_tls = 'Disabled', prohibited_hosts = { '10.0.0.0/8', '[::1]/128' } }", &c, &err), 1);
	assert_int_equal(c.connection_limit, 5);
	assert_int_equal(c.max_deliveries_per_connection, 0);
	assert_int_equal(c.recipient_limit, 10);
	assert_int_equal(c.connect_timeout, 10000);
	assert_int_equal(c.data_dot_timeout, 600000);
	assert_int_equal(c.idle_timeout, 0);
	assert_int_equal(c.banner_timeout, -1);
	assert_int_equal(c.smtp_port, 2525);
	assert_int_equal(c.enable_tls, TLS_LEVEL_NONE);
	assert_true(c.has_prohibited_hosts);
	assert_int_equal(c.prohibited_hosts.n, 2);
	assert_true(cidr_list_match(&c.prohibited_hosts, (struct sockaddr *)&sin));
	policy_path_config_clear(&c);
	assert_int_equal(path_config(f, "{ prohibited_hosts = {}, enable_tls = 'OpportunisticInsecure' }", &c, &err),
	    1);
	assert_true(c.has_prohibited_hosts);
	assert_int_equal(c.prohibited_hosts.n, 0);
	assert_int_equal(c.enable_tls, TLS_LEVEL_MAY);

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(path_config(f, wrong[i].table, &c, &err), -1);
		if (strstr(err, wrong[i].says) == NULL)
			fail_msg("<%s> gave <%s>", wrong[i].table, err);
		free(err);
		policy_path_config_clear(&c);
	}
}

/* What reaches files, processes, raw memory or code without a source text is not there. */
static void
test_nothing_dangerous(void **state)
{
	static const char *const names[] = {
		"io", "debug", "package", "coroutine", "load", "loadfile", "dofile", "loadstring", "collectgarbage",
		    "xpcall", "warn",
		"os.execute", "os.getenv", "os.remove", "os.rename", "os.exit", "os.tmpname", "os.setlocale",
		    "string.dump",
	};
	struct fixture *f = *state;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text),
		    ONE_POOL "assert(not pcall(function() if %s == nil then error() end end))\n", names[i]);
		load_ok(f, text);
	}
	load_ok(f, ONE_POOL "assert(not getmetatable(_G) and not getmetatable(posthorn))\n"
	    "assert(not pcall(setmetatable, {}, { __gc = function() end }))\n"
	    "assert(setmetatable({}, { __index = { a = 1 } }).a == 1)\n"
	    "assert(os.time() > 0 and os.date('!%Y') and os.clock())\n"
	    "assert(('a-b'):match('^(%a)%-(%a)$') == 'a' and ('a,b'):gsub(',', ';') == 'a;b')\n"
	    "local n = 0\nfor w in ('one two'):gmatch('%a+') do n = n + 1 end\nassert(n == 2)\n"
	    "local t = { 3, 1, 2 }\ntable.sort(t)\ntable.insert(t, 4)\nassert(table.concat(t, ',') == '1,2,3,4' and "
	    "#table.pack(1, 2) == 2)\n"
	    "print('a', 1, nil, {})\n");
}

/* Each of these runs for ever, or far too long, under a plain instruction hook. */
static void
test_endless(void **state)
{
	static const char *const bodies[] = {
		"while true do end",
		"while true do pcall(function() while true do end end) end",
		"local function r() pcall(r) r() end r()",
		"local s = '' while true do s = s .. tostring(s) end",
		"local t = {} while true do t[#t + 1] = {} end",
		"local f = function(a, b) while true do end end table.sort({ 3, 2, 1 }, f)",
		"('x'):rep(3000):find(('.-'):rep(12) .. 'y')",
		"('x'):rep(3000):match('(.-)(.-)(.-)(.-)y')",
		"('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(41))",
		"('x'):rep(3000):gsub('.-.-.-.-y', '')",
		"for w in ('x'):rep(3000):gmatch('.-.-.-.-y') do end",
		"(''):rep(1 << 62)",
		"('x'):rep(1 << 40)",
		"local s = ('x'):rep(1000000):rep(1000000)",
		"table.move({}, 1, 1 << 40, 2)",
		"table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 'x')",
		"table.remove(setmetatable({}, { __len = function() return 1 << 60 end }), 1)",
		"table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1 << 60)",
		"local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k + 1] end local x = "
		    "t[1]",
		"local a <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
		"string.format(('%s'):rep(99), table.unpack({}, 1, 1000000))",
		"for i = 1, 1 << 60 do end",
		"('x'):rep(1000000):find(('x'):rep(500000) .. 'y', 1, true)",
		"::top:: goto top",
		"error(setmetatable({}, { __tostring = function() while true do end end }))",
		"print(setmetatable({}, { __tostring = function() while true do end end }))",
		"return setmetatable({}, { __index = function() while true do end end })",
	};
	struct fixture *f = *state;
	char *pool, *err;
	double before;
	size_t i;

	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		load_handler(f, bodies[i]);
		before = cpu_seconds();
		pool = err = NULL;
		assert_int_equal(policy_get_egress_pool(f->p, "example.com", NULL, NULL, &pool, &err), -1);
		assert_non_null(err);
		free(err);
		if (cpu_seconds() - before > 4)
			fail_msg("<%s> took %.1f s", bodies[i], cpu_seconds() - before);
	}
}

/* After an event that ran out of time or memory the next one works, with limits in force. */
static void
test_recovery(void **state)
{
	struct fixture *f = *state;
	char *pool, *err;
	int i, rc;

	load_handler(f, "if campaign then while true do pcall(function() while true do end end) end end return 'p'");
	for (i = 0; i < 3; i++) {
		expect_event_error(f, ":4: used more than 100 ms of CPU time");
		expect_pool(f, NULL, "p");
	}
	load_handler(f, "if campaign then local s = 'x' while true do s = s .. s end end return 'p'");
	for (i = 0; i < 3; i++) {
		expect_event_error(f, "used more than 32 MiB of memory");
		expect_pool(f, NULL, "p");
	}
	/* What an event keeps from call to call ends at the cap as well. */
	load_handler(f, "keep = rawget(_G, 'keep') or {}\nfor i = 1, 20000 do keep[#keep + 1] = {} end\nreturn 'p'");
	for (i = 0, rc = 1; i < 200 && rc == 1; i++) {
		rc = policy_get_egress_pool(f->p, "d", NULL, NULL, &pool, &err);
		free(pool);
	}
	assert_int_equal(rc, -1);
	assert_non_null(strstr(err, "used more than 32 MiB of memory"));
	free(err);
}

/* The traceback of an event that fails for every message goes to the program log, and does not flood it. */
static void
test_log(void **state)
{
	struct fixture *f = *state;
	char out[64] = "/tmp/posthorn-policy-log-XXXXXX", text[4096] = "", *p;
	int fd = mkstemp(out), saved, i, lines = 0;
	ssize_t n;

	assert_true(fd >= 0);
	load_handler(f, "local function helper(x) return x.y.z end\nreturn helper({}) .. 'x'");
	assert_true((saved = dup(2)) >= 0);
	assert_int_equal(dup2(fd, 2), 2);
	log_set_level(LOG_LVL_WARN);
	for (i = 0; i < 100; i++)
		expect_event_error(f, ":4: attempt to index a nil value");
	log_set_level(LOG_LVL_ERROR);
	dup2(saved, 2);
	close(saved);
	assert_true((n = pread(fd, text, sizeof(text) - 1, 0)) > 0);
	close(fd);
	unlink(out);
	text[n] = '\0';
	for (p = text; *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 1);
	assert_non_null(strstr(text, ":4: attempt to index a nil value (field 'y') stack traceback: <"));
	assert_non_null(strstr(text, "in local 'helper'"));
}

/* The budget of DESIGN.md section 11 gives policy a microsecond; ten are allowed here for sanitizers and busy
 * machines. */
static void
test_cost(void **state)
{
	struct fixture *f = *state;
	char *pool, *err;
	double before;
	int i;

	load_ok(f, SOURCES SNIPPET);
	before = cpu_seconds();
	for (i = 0; i < 100000; i++) {
		assert_int_equal(policy_get_egress_pool(f->p, "example.com", i % 2 == 0 ? "promotional" : "x", NULL,
		    &pool, &err), 1);
		free(pool);
	}
	print_message("# %.2f us an event\n", (cpu_seconds() - before) * 1e6 / 100000);
	assert_true(cpu_seconds() - before < 1.0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_definitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snippet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_module_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unplumbed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_mistakes_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_path_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_dangerous, setup, teardown),
		cmocka_unit_test_setup_teardown(test_endless, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
	};

	log_init("policy-test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
