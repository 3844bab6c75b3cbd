/* Proofs of a complaint (fblproc/finding.h): each alone, both, none, contradicting, old. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/verp.h"

#include "fblproc/finding.h"

#define DAY ((int64_t)24 * 3600 * 1000)

static const struct ql_token_key key = { 3, "key" }, other_key = { 3, "other" };
static const int64_t sent = 1785000000000;
static struct policy *policy;

static int
setup(void **state)
{
	static const char text[] = "posthorn.source { name = 's', source_address = 'unspecified' }\n"
	    "posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
	    "posthorn.feedback_source { name = 'one', dkim_domain = 'fbl.example' }\n"
	    "posthorn.feedback_source { name = 'two', dkim_domain = { 'a.example', 'B.example' },\n"
	    "  addresses = { '192.0.2.0/24', '[2001:db8::]/32' } }\n";
	char path[] = "/tmp/finding-XXXXXX";
	int fd = mkstemp(path);
	struct conf_errors errs;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	memset(&errs, 0, sizeof(errs));
	policy = policy_load(path, &errs);
	unlink(path);
	assert_int_equal(errs.n, 0);
	assert_non_null(policy);
	conf_errors_clear(&errs);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	policy_free(&policy);
	return 0;
}

static struct envid
env_at(int64_t when, uint16_t rcpt)
{
	struct envid env = { .rcpt = rcpt };

	msgid_new(&env.msg, when);
	return env;
}

static char *
trace_of(const struct ql_token_key *k, const struct envid *env, const char *recipient)
{
	char f1[] = "recipient", f2[] = "tenant", *names[] = { f1, f2 };
	const struct conf_strs fields = { names, 2 };
	const struct trace_source s = { *env, recipient, "acme", NULL, NULL, 0 };
	struct token_signer signer = { .mac = NULL };
	struct wbuf w;
	char *value;

	token_signer_set(&signer, k);
	wbuf_init(&w);
	trace_write(&signer, &s, &fields, &w);
	token_signer_clear(&signer);
	value = xmemdup0(w.p + strlen(TOKEN_HEADER) + 2, w.len - strlen(TOKEN_HEADER) - 2);
	wbuf_clear(&w);
	return value;
}

static char *
path_of(const struct ql_token_key *k, const struct envid *env)
{
	struct token_signer signer = { .mac = NULL };
	char *out = xcalloc(1, ADDRESS_MAX);

	token_signer_set(&signer, k);
	assert_int_equal(verp_make(&signer, env, "bounce", "sender.example", out), 0);
	token_signer_clear(&signer);
	return out;
}

struct asked {
	const char *client, *domains;
	char *trace, *path, *return_path;
	char *recipient;
	int64_t age;
	const char *by; /* of the recipient; NULL: To */
};

static struct finding
find(const struct asked *a)
{
	struct dsn_wanted wanted[FINDING_WANTED] = { { finding_wanted[0], a->trace },
		{ finding_wanted[1], a->return_path } };
	struct arf_report report = { .is_report = true, .shape = "arf", .original_mail_from = a->path,
		.recipient = a->recipient, .recipient_by = a->recipient == NULL ? NULL : a->by != NULL ? a->by :
		"To", .wanted = wanted,
		.n_wanted = FINDING_WANTED };
	const struct finding_input in = { &report, policy, a->client, a->domains, &key, 1, sent + a->age, 30 * DAY };
	struct finding f;

	finding_make(&f, &in);
	assert_int_equal(f.is_trusted, f.why == NULL);
	return f;
}

static void
assert_why(const struct finding *f, const char *part)
{
	if (part == NULL)
		assert_null(f->why);
	else {
		assert_non_null(f->why);
		assert_non_null(strstr(f->why, part));
	}
}

static void
assert_text(const char *got, const char *want)
{
	if (want == NULL)
		assert_null(got);
	else {
		assert_non_null(got);
		assert_string_equal(got, want);
	}
}

static void
test_sources(void **state)
{
	static const struct {
		const char *client, *domains, *source, *by;
	} cases[] = { { NULL, NULL, NULL, NULL }, { "", "", NULL, NULL }, { "192.0.2.9", NULL, "two", "address" },
		{ "192.0.3.9", NULL, NULL, NULL }, { "2001:db8::5", NULL, "two", "address" },
		{ "::ffff:192.0.2.9", NULL, "two", "address" }, { "nonsense", NULL, NULL, NULL },
		{ NULL, "fbl.example", "one", "dkim" }, { NULL, "x.example,FBL.example", "one", "dkim" },
		{ NULL, "mail.fbl.example", "one", "dkim" }, { NULL, "notfbl.example", NULL, NULL },
		{ NULL, "fbl.example.com", NULL, NULL }, { NULL, "example", NULL, NULL }, { NULL, ",,", NULL, NULL },
		{ NULL, "b.example", "two", "dkim" }, { "192.0.2.9", "fbl.example", "one", "dkim" } };
	struct envid env = env_at(sent, 0);
	char *trace = trace_of(&key, &env, "a@b.example");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct finding f = find(&(struct asked){ .client = cases[i].client, .domains = cases[i].domains,
		    .trace = trace, .age = DAY });

		assert_text(f.source, cases[i].source);
		assert_text(f.source_by, cases[i].by);
		assert_text(f.proof, "trace");
		assert_why(&f, cases[i].source == NULL ? "feedback source" : NULL);
		finding_clear(&f);
	}
	free(trace);
}

static void
test_proofs(void **state)
{
	struct envid env = env_at(sent, 2), another = env_at(sent, 0);
	char *trace = trace_of(&key, &env, "a@b.example"), *forged = trace_of(&other_key, &env, "a@b.example");
	char *path = path_of(&key, &env), *forged_path = path_of(&other_key, &env);
	char *other_path = path_of(&key, &another);
	char garbage[] = "garbage", plain[] = "news@sender.example", *brackets = xasprintf("<%s>", path);
	const struct {
		char *trace, *path, *return_path;
		int64_t age;
		const char *proof, *why, *recipient, *by;
	} cases[] = {
		{ trace, NULL, NULL, DAY, "trace", NULL, "a@b.example", "trace" },
		{ NULL, path, NULL, DAY, "verp", NULL, "said@b.example", "To" },
		{ NULL, plain, brackets, DAY, "verp", NULL, "said@b.example", "To" },
		{ trace, path, brackets, DAY, "trace", NULL, "a@b.example", "trace" },
		{ trace, plain, NULL, DAY, "trace", NULL, "a@b.example", "trace" },
		{ trace, forged_path, NULL, DAY, "trace", NULL, "a@b.example", "trace" },
		{ trace, other_path, NULL, DAY, "trace", "contradict", "a@b.example", "trace" },
		{ NULL, NULL, NULL, DAY, NULL, "nothing proves", "said@b.example", "To" },
		{ garbage, plain, garbage, DAY, NULL, "nothing proves", "said@b.example", "To" },
		{ forged, NULL, NULL, DAY, NULL, "not signed by us", "said@b.example", "To" },
		{ NULL, forged_path, NULL, DAY, NULL, "not signed by us", "said@b.example", "To" },
		{ forged, path, NULL, DAY, "verp", NULL, "said@b.example", "To" },
		{ trace, NULL, NULL, 30 * DAY, "trace", NULL, "a@b.example", "trace" },
		{ trace, NULL, NULL, 30 * DAY + 1000, "trace", "too old", "a@b.example", "trace" },
		{ NULL, path, NULL, 31 * DAY, "verp", "too old", "said@b.example", "To" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char said[] = "said@b.example";
		struct finding f = find(&(struct asked){ .client = "192.0.2.1", .trace = cases[i].trace,
		    .path = cases[i].path, .return_path = cases[i].return_path, .recipient = said,
		    .age = cases[i].age });

		assert_text(f.proof, cases[i].proof);
		assert_why(&f, cases[i].why);
		assert_text(f.recipient, cases[i].recipient);
		assert_text(f.recipient_by, cases[i].by);
		assert_text(f.tenant, f.proof != NULL && strcmp(f.proof, "trace") == 0 ? "acme" : NULL);
		if (f.proof != NULL)
			assert_int_equal(msgid_cmp(&f.trace.env.msg, &env.msg), 0);
		finding_clear(&f);
	}
	free(trace);
	free(forged);
	free(path);
	free(forged_path);
	free(other_path);
	free(brackets);
}

/* One transaction for several: the trace names nobody, and the report may. */
static void
test_many(void **state)
{
	struct envid env = env_at(sent, TOKEN_MANY);
	char *trace = trace_of(&key, &env, "a@b.example"), said[] = "said@b.example";
	struct finding f = find(&(struct asked){ .client = "192.0.2.1", .trace = trace, .age = DAY });

	(void)state;
	assert_true(f.is_trusted);
	assert_null(f.recipient);
	finding_clear(&f);
	f = find(&(struct asked){ .client = "192.0.2.1", .trace = trace, .recipient = said, .age = DAY });
	assert_text(f.recipient, said);
	finding_clear(&f);
	free(trace);
}

/* Who complains writes the headers of what comes back: his own proof, and whoever is to be silenced as To. */
static void
test_whose(void **state)
{
	static const struct {
		const char *by;
		bool is_sure;
	} cases[] = { { "Original-Rcpt-To", true }, { "Removal-Recipient", true }, { "Original-Recipient", true },
		{ "Original-Rcpt", true }, { "To", false }, { "X-Original-To", false }, { "Delivered-To", false },
		{ "X-HmXmrOriginalRecipient", false }, { "Envelope-To", false } };
	struct envid env = env_at(sent, 0), many = env_at(sent, TOKEN_MANY);
	char *path = path_of(&key, &env), *trace = trace_of(&key, &many, "a@b.example"), said[] = "said@b.example";
	char *own = trace_of(&key, &env, "a@b.example");
	struct finding f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f = find(&(struct asked){ .client = "192.0.2.1", .path = path, .recipient = said, .age = DAY,
		    .by = cases[i].by });
		assert_true(f.is_trusted);
		assert_int_equal(f.is_recipient_sure, cases[i].is_sure);
		finding_clear(&f);
		f = find(&(struct asked){ .client = "192.0.2.1", .trace = trace, .recipient = said, .age = DAY,
		    .by = cases[i].by });
		assert_int_equal(f.is_recipient_sure, cases[i].is_sure);
		finding_clear(&f);
		f = find(&(struct asked){ .client = "192.0.2.1", .trace = own, .recipient = said, .age = DAY,
		    .by = cases[i].by });
		assert_text(f.recipient, "a@b.example");
		assert_true(f.is_recipient_sure);
		finding_clear(&f);
	}
	free(path);
	free(trace);
	free(own);
}

static void
test_policy_mistakes(void **state)
{
	static const char *const lines[] = { "{ name = 'x' }", "{ dkim_domain = 'a.example' }",
		"{ name = 'x', dkim_domain = 'no domain' }", "{ name = 'x', addresses = { '192.0.2.1/24' } }",
		"{ name = 'x', dkim_domain = { 1 } }", "{ name = 'x', dkim_domains = 'a.example' }",
		"{ name = 'x', dkim_domain = 'a.example' }\n"
		"posthorn.feedback_source { name = 'x', dkim_domain = 'b.example' }",
		"{ name = 'x', dkim_domain = 'a.example' }" };

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char path[] = "/tmp/finding-XXXXXX", *text = xasprintf(
		    "posthorn.source { name = 's', source_address = 'unspecified' }\n"
		    "posthorn.pool { name = 'p', entries = { { name = 's' } } }\n"
		    "posthorn.feedback_source %s\n", lines[i]);
		int fd = mkstemp(path);
		struct conf_errors errs;
		struct policy *p;

		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
		close(fd);
		memset(&errs, 0, sizeof(errs));
		p = policy_load(path, &errs);
		unlink(path);
		assert_int_equal(errs.n > 0, i + 1 < sizeof(lines) / sizeof(lines[0]));
		policy_free(&p);
		conf_errors_clear(&errs);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_proofs),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_whose),
		cmocka_unit_test(test_policy_mistakes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
