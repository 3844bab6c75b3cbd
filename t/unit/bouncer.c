/* bouncerd: what follows from a bounce (bouncerd/bounce.c), with the list, queued and the log played by the test: what
 * the list cannot take now is not lost, whom one bounce may suppress, and where. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/ipc.h"
#include "base/roles.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/eventlog.h"
#include "mail/job_link.h"
#include "mail/parse_client.h"
#include "mail/report_role.h"
#include "mail/suppress_request.h"

#include "bouncerd/bouncerd.h"
#include "bouncerd/list.h"

#define NOW_KEY { .id = 7, .key = "current" }

static struct ql_keys keys = { .n = 1, .v = { NOW_KEY } };
static bool is_disk_full;
static unsigned n_asked, n_events, n_results;
static struct suppress_request last;
static char last_address[256], last_scope[256], last_note[256], suppressed[64], last_content[256];
static bool was_duplicate;
static enum ql_outcome last_outcome;

static int
fake_request(struct list *l, const struct suppress_request *r, int64_t now, const char **why_r)
{
	(void)l;
	(void)now;
	n_asked++;
	*why_r = "the disk is full";
	last = *r;
	snprintf(last_address, sizeof(last_address), "%s", r->address);
	snprintf(last_scope, sizeof(last_scope), "%s", r->scope_value == NULL ? "" : r->scope_value);
	snprintf(last_note, sizeof(last_note), "%s", r->note == NULL ? "" : r->note);
	return is_disk_full ? -1 : 0;
}

static void
fake_event(struct eventlog *e, struct event_record *rec)
{
	(void)e;
	n_events++;
	snprintf(last_content, sizeof(last_content), "%s", rec->content);
	was_duplicate = rec->oob->is_duplicate;
	snprintf(suppressed, sizeof(suppressed), "%s", rec->oob->suppressed == NULL ? "" : rec->oob->suppressed);
}

static void
fake_result(struct report_role *r, struct report_item *it, enum ql_outcome o, uint16_t code, struct enhanced_code e,
    const char *text)
{
	(void)r;
	(void)code;
	(void)e;
	(void)text;
	n_results++;
	last_outcome = o;
	it->is_open = false;
	it->job->n_open--;
}

static const struct ql_keys *
fake_keys(const struct job_link *l)
{
	(void)l;
	return &keys;
}

static struct ipc *
fake_conn(struct job_link *l)
{
	(void)l;
	return NULL;
}

#define list_request fake_request
#define eventlog_write fake_event
#define report_result fake_result
#define job_link_keys fake_keys
#define job_link_conn fake_conn
#include "../../bouncerd/bounce.c" /* NOLINT(bugprone-suspicious-include): its calls are the test's */

static struct loop *loop;
static struct report_role role;
static struct params params;
static struct bouncerd own;

static int
set_up(void **state)
{
	char path[] = "/tmp/bouncer-XXXXXX", *name = path;
	const struct conf_strs files = { &name, 1 };
	static const char rules[] = "on rcpt_unknown by-code suppress\n"
	    "on domain_unknown by-code suppress what=domain\n"
	    "on rcpt_refused by-code suppress scope=sender-domain after=2/1d\n"
	    "rcpt_unknown /user unknown/\n\t550 5.1.1 User unknown\n"
	    "domain_unknown /no such domain/\n\t550 5.1.2 No such domain\n"
	    "rcpt_refused /not you/\n\t550 5.7.1 not you\n";
	struct conf_errors errs;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd != -1);
	assert_int_equal(write(fd, rules, sizeof(rules) - 1), sizeof(rules) - 1);
	close(fd);
	memset(&errs, 0, sizeof(errs));
	role.bounce_rules = bounce_rules_load(&files, &errs);
	unlink(path);
	for (size_t i = 0; i < errs.n; i++)
		print_message("# %s\n", errs.v[i].text);
	assert_int_equal(errs.n, 0);
	conf_errors_clear(&errs);
	loop = loop_new();
	params.verp_lifetime = INT64_C(30) * 86400000;
	role.loop = loop;
	role.params = &params;
	role.own = &own;
	own.bouncer = bouncer_new(&role);
	is_disk_full = false;
	n_asked = n_events = n_results = 0;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	bouncer_free(&own.bouncer);
	bounce_rules_free(&role.bounce_rules);
	loop_free(&loop);
	return 0;
}

/* The trace header of a message that went out just now. */
static char *
trace_text(const struct envid *env, const char *recipient)
{
	char field[] = "recipient", *names[] = { field };
	const struct conf_strs fields = { names, 1 };
	const struct trace_source src = { .env = *env, .recipient = recipient };
	struct token_signer s = { .mac = NULL };
	struct wbuf w;
	char *text;

	wbuf_init(&w);
	token_signer_set(&s, &keys.v[0]);
	trace_write(&s, &src, &fields, &w);
	token_signer_clear(&s);
	text = xmemdup0(w.p + strlen(TOKEN_HEADER) + 2, w.len - strlen(TOKEN_HEADER) - 2);
	wbuf_clear(&w);
	return text;
}

static struct report_job *the_job; /* the last one */

/* As the parse role answers: one recipient failed so. */
static void
say(const char *trace, const char *address, const char *diagnostic)
{
	static struct ql_job_rcpt rcpt;
	static char to[] = "any@bounces.example", sender[] = "";
	struct report_job *job = xcalloc(1, sizeof(*job) + sizeof(job->items[0]));
	struct parse_answer a = { .kinds = PARSE_DSN };

	rcpt.address = to;
	job->q.sender = sender;
	job->n_items = job->n_open = 1;
	job->items[0] = (struct report_item){ .job = job, .rcpt = &rcpt, .is_open = true };
	own.bouncer->job = the_job = job;
	a.dsn.kind = DSN_KIND_FAILED;
	a.dsn.shape = "rfc3464";
	a.dsn.n_rcpts = 1;
	a.dsn.rcpts = xcalloc(1, sizeof(*a.dsn.rcpts));
	a.dsn.rcpts[0].address = xstrdup(address);
	a.dsn.rcpts[0].diagnostic = xstrdup(diagnostic);
	a.dsn.rcpts[0].action = DSN_KIND_FAILED;
	a.dsn.n_wanted = 1;
	a.dsn.wanted = xcalloc(2, sizeof(*a.dsn.wanted));
	a.dsn.wanted[0] = (struct dsn_wanted){ TOKEN_HEADER, xstrdup(trace) };
	on_parsed(PARSE_READ, &a, NULL, own.bouncer);
	parse_answer_clear(&a);
}

/* Our own log answers. */
static void
log_says(const char *recipient, const char *sender, const char *tenant)
{
	struct bouncer *b = own.bouncer;

	assert_true(b->is_asking);
	b->known = (struct history){ .recipient = xstrdup(recipient), .sender = xstrdup(sender),
		.tenant = tenant == NULL ? NULL : xstrdup(tenant) };
	go_on(b);
}

static struct envid
new_env(void)
{
	struct envid env = { .rcpt = 0 };

	msgid_new(&env.msg, loop_wall(loop));
	return env;
}

static void
test_disk_full(void **state)
{
	struct envid env = new_env();
	char *trace = trace_text(&env, "a@b.example");
	struct report_job *job;

	(void)state;
	is_disk_full = true;
	say(trace, "a@b.example", "smtp; 550 5.1.1 User unknown");
	log_says("a@b.example", "s@shop.example", NULL);
	job = own.bouncer->job;
	assert_non_null(job);
	assert_int_equal(n_asked, 1);
	assert_int_equal(n_results, 0); /* it stays, and uses up no attempt */
	assert_int_equal(n_events, 0);
	assert_true(timer_is_set(&own.bouncer->again));
	/* Again, and again in vain. */
	begin(own.bouncer);
	log_says("a@b.example", "s@shop.example", NULL);
	assert_int_equal(n_asked, 2);
	is_disk_full = false;
	begin(own.bouncer);
	log_says("a@b.example", "s@shop.example", NULL);
	assert_int_equal(n_asked, 3);
	assert_string_equal(last_address, "a@b.example");
	assert_int_equal(n_events, 1);
	assert_false(was_duplicate);
	assert_string_equal(suppressed, "global");
	assert_string_equal(last_note, "User unknown");
	assert_string_equal(last_content, "User unknown");
	assert_int_equal(last_outcome, QL_DELIVERED);
	free(job);
	/* Only now it has been there before. */
	say(trace, "a@b.example", "smtp; 550 5.1.1 User unknown");
	job = own.bouncer->job;
	log_says("a@b.example", "s@shop.example", NULL);
	assert_true(was_duplicate);
	assert_int_equal(n_asked, 3);
	free(job);
	free(trace);
}

static void
test_whom(void **state)
{
	struct envid env = new_env();
	char *trace = trace_text(&env, "one@provider.example");
	struct report_job *job;

	(void)state;
	/* The rule is for domains; who answers for himself does not answer for all of the provider. */
	say(trace, "one@provider.example", "smtp; 550 5.1.2 No such domain");
	job = own.bouncer->job;
	log_says("one@provider.example", "s@shop.example", NULL);
	assert_int_equal(n_asked, 1);
	assert_string_equal(last_address, "one@provider.example");
	free(job);
	free(trace);
	/* A scope that the proof does not name: the log does. */
	env = new_env();
	trace = trace_text(&env, "two@provider.example");
	say(trace, "two@provider.example", "smtp; 550 5.7.1 not you");
	job = own.bouncer->job;
	log_says("someone-else@provider.example", "s@shop.example", "acme");
	assert_int_equal(n_asked, 2);
	assert_string_equal(last_address, "two@provider.example");
	assert_int_equal(last.scope, SUPPRESS_SENDER_DOMAIN);
	assert_string_equal(last_scope, "shop.example");
	assert_string_equal(suppressed, "sender-domain");
	free(job);
	free(trace);
}

/* Two of a transaction bounce, each by itself: neither is the other again, and for neither there is a proof. */
static void
test_transaction(void **state)
{
	struct envid env = new_env();
	struct report_job *job;
	char *trace;

	(void)state;
	env.rcpt = TOKEN_MANY;
	trace = trace_text(&env, NULL);
	for (unsigned i = 0; i < 2; i++) {
		say(trace, i == 0 ? "a@b.example" : "b@b.example", "smtp; 550 5.1.1 User unknown");
		job = the_job;
		assert_null(own.bouncer->job);
		assert_int_equal(n_events, i + 1);
		assert_false(was_duplicate);
		assert_int_equal(n_asked, 0);
		free(job);
	}
	free(trace);
}

/* While queued is away nobody can be asked: the bounce waits, and is not taken for one that nobody knows. */
static void
test_queued_away(void **state)
{
	struct envid env = new_env();
	char *trace = trace_text(&env, NULL);
	struct report_job *job;
	unsigned i;

	(void)state;
	say(trace, "a@b.example", "smtp; 550 5.1.1 User unknown");
	job = own.bouncer->job;
	for (i = 0; i < 20; i++)
		on_patience(own.bouncer);
	assert_int_equal(n_results, 0);
	assert_int_equal(n_events, 0);
	log_says("a@b.example", "s@shop.example", NULL);
	assert_int_equal(n_results, 1);
	assert_string_equal(last_address, "a@b.example");
	assert_string_equal(suppressed, "global");
	free(job);
	free(trace);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disk_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_whom, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_transaction, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_queued_away, set_up, tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
