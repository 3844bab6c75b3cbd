/* mail/params.h: the table itself, and the rules that join several parameters. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox.h"
#include "mail/params.h"
#include "mail/policy.h"

#include "mistakes.h"

struct fixture {
	char dir[64];
	char file[96];
	struct params *p;
	struct conf *conf;
	struct conf_errors errs;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/posthorn-params-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->file, sizeof(f->file), "%s/main.cf", f->dir);
	*state = f;
	return 0;
}

static void
clear(struct fixture *f)
{
	params_free(&f->p);
	conf_free(&f->conf);
	conf_errors_clear(&f->errs);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	clear(f);
	unlink(f->file);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void
load(struct fixture *f, const char *text)
{
	clear(f);
	text_put(f->file, text);
	f->p = params_load(f->dir, &f->conf, &f->errs);
}

/* An empty file is a configuration: every default passes its own bounds and all checks. */
static void
test_defaults(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in private = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0a80101) };
	struct sockaddr_in public = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808) };
	char path[128];

	load(f, "");
	if (f->errs.n > 0)
		fail_msg("%s", f->errs.v[0].text);
	assert_non_null(f->p);
	assert_non_null(strchr(f->p->myhostname, '.'));
	snprintf(path, sizeof(path), "%s/policy.lua", f->dir);
	assert_string_equal(f->p->policy_file, path);
	assert_int_equal(f->p->message_size_limit, 50 << 20);
	assert_int_equal(f->p->retry_interval, 20 * 60 * 1000);
	assert_int_equal(f->p->maximal_queue_lifetime, 5ll * 86400 * 1000);
	assert_int_equal(f->p->index_commit_interval, 200);
	assert_int_equal(f->p->sandbox, SANDBOX_ON);
	assert_int_equal(f->p->log_level, LOG_LVL_INFO);
	assert_int_equal(f->p->smtpd_bare_newline, BARE_NEWLINE_REJECT);
	assert_int_equal(f->p->submission_bare_newline, BARE_NEWLINE_NORMALIZE);
	assert_int_equal(f->p->tenant_mismatch, TENANT_OVERRIDE);
	assert_int_equal(f->p->smtp_tls_security_level, TLS_LEVEL_MAY);
	assert_int_equal(f->p->smtpd_listen.n, 1);
	assert_int_equal(f->p->submission_listen.n, 0);
	assert_true(f->p->smtpd_tls_auth_only);
	assert_true(cidr_list_match(&f->p->prohibited_hosts, (struct sockaddr *)&private));
	assert_false(cidr_list_match(&f->p->prohibited_hosts, (struct sockaddr *)&public));
	assert_false(cidr_list_match(&f->p->mynetworks, (struct sockaddr *)&private));
}

/* The words of each enum parameter in the order of its enum. */
static void
test_words(void **state)
{
	struct fixture *f = *state;

	load(f, "sandbox = required\nlog_level = debug\nsmtpd_bare_newline = normalize\nsubmission_bare_newline = "
	    "reject\n"
	    "tenant_mismatch = reject\nsmtp_tls_security_level = none\n");
	assert_non_null(f->p);
	assert_int_equal(f->p->sandbox, SANDBOX_REQUIRED);
	assert_int_equal(f->p->log_level, LOG_LVL_DEBUG);
	assert_int_equal(f->p->smtpd_bare_newline, BARE_NEWLINE_NORMALIZE);
	assert_int_equal(f->p->submission_bare_newline, BARE_NEWLINE_REJECT);
	assert_int_equal(f->p->tenant_mismatch, TENANT_REJECT);
	assert_int_equal(f->p->smtp_tls_security_level, TLS_LEVEL_NONE);
	load(f, "sandbox = off\nlog_level = warn\n");
	assert_non_null(f->p);
	assert_int_equal(f->p->sandbox, SANDBOX_OFF);
	assert_int_equal(f->p->log_level, LOG_LVL_WARN);
}

/* No two entries share a name or a field, and bounds are ordered. */
static void
test_table(void **state)
{
	size_t i, j;

	(void)state;
	assert_true(params_count > 80);
	for (i = 0; i < params_count; i++) {
		const struct conf_param *a = &params_table[i];

		for (j = i + 1; j < params_count; j++) {
			assert_string_not_equal(a->name, params_table[j].name);
			assert_int_not_equal(a->offset, params_table[j].offset);
		}
		assert_true(a->min <= a->max);
		assert_true((a->type == CONF_ENUM) == (a->words != NULL));
		if (a->type == CONF_INT || a->type == CONF_SIZE || a->type == CONF_TIME)
			assert_true(a->min < a->max);
	}
}

#define CERT "smtpd_tls_cert_file = /c.pem\nsmtpd_tls_key_file = /k.pem\n"

/* Right ones, which a check that is too strict would refuse. */
static void
test_accepted(void **state)
{
	static const char *const texts[] = {
		CERT "submission_listen = 0.0.0.0:587 [::]:587\nsubmissions_listen = 0.0.0.0:465\n",
		"smtpd_listen =\n",
		"smtpd_listen = 127.0.0.1:2525\nmin_free_space = 0\n",
		"message_size_limit = 64k\nmin_free_space = 1M\n",
		"dns_servers = 127.0.0.1@5353, 2001:db8::1@53 192.0.2.1\ndns_trust_anchor_file =\n",
		"relayhost = [smtp.example.com]:587\n", "relayhost = example.com\n", "relayhost = example.com:2525\n",
		"relayhost = [192.0.2.1]:25\n", "relayhost = [2001:db8::1]\n", "relayhost = 192.0.2.1:26\n",
		"tenant_header =\ncampaign_header =\n",
		"retry_interval = 1s\nmax_retry_interval = 1s\nmaximal_queue_lifetime = 3s\n",
		"myhostname = mail.example.com\nrelay_domains = example.com, example.org\nadmin_group = adm\n",
	};
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		load(f, texts[i]);
		if (f->p == NULL)
			fail_msg("<%s>: %s", texts[i], f->errs.v[0].text);
	}
}

static const struct mistake mistakes[] = {
	{ "smptd_listen = 127.0.0.1:25\n", 1, "unknown parameter 'smptd_listen'; did you mean 'smtpd_listen'?" },
	{ "\nsubmission_listen = 127.0.0.1:587\n", 2, "submission_listen needs STARTTLS: set smtpd_tls_cert_file" },
	{ "submissions_listen = 127.0.0.1:465\n", 1, "submissions_listen needs TLS" },
	{ "smtpd_tls_cert_file = /c.pem\n", 1, "smtpd_tls_cert_file is set, but not smtpd_tls_key_file" },
	{ "smtpd_tls_key_file = /c.pem\n", 1, "smtpd_tls_key_file is set, but not smtpd_tls_cert_file" },
	{ CERT "submission_listen = 127.0.0.1:25\n", 3, "smtpd_listen and submission_listen both claim 127.0.0.1:25" },
	{ "retry_interval = 5h\n", 1, "retry_interval (5h) is longer than max_retry_interval (4h)" },
	{ "max_retry_interval = 1m\n", 1, "retry_interval (20m) is longer than max_retry_interval (1m)" },
	{ "delay_notice_after = 5d\n", 1, "delay_notice_after (5d) is not shorter than maximal_queue_lifetime (5d)" },
	{ "message_size_limit = 3G\n", 1, "message_size_limit: 3G is too large; the most is 2G" },
	{ "queue_directory = spool\n", 1, "queue_directory: 'spool' is not a path that starts with /" },
	{ "policy_file =\n", 1, "policy_file: '' is not a path that starts with /" },
	{ "run_directory = /run/01234567890123456789012345678901234567890123456789012345678901234567890123456789\n", 1,
	    "run_directory: the path is longer than" },
	{ "myhostname = not a name\n", 1, "myhostname: 'not a name' is not a host name" },
	{ "tenant_header = X Tenant\n", 1, "tenant_header: 'X Tenant' is not the name of a header" },
	{ "tenant_header = X-Tenant:\n", 1, "tenant_header: 'X-Tenant:' is not the name of a header" },
	{ "scheduling_header = X Y\n", 1, "scheduling_header: 'X Y' is not the name of a header" },
	{ "campaign_header = x-tenant\n", 1, "tenant_header and campaign_header are both 'X-Tenant'" },
	{ "dns_servers = ns.example.com\n", 1, "dns_servers: 'ns.example.com' is not an address" },
	{ "dns_servers = 127.0.0.1@70000\n", 1, "dns_servers: '127.0.0.1@70000' is not an address" },
	{ "dns_servers = 127.0.0.1:53\n", 1, "dns_servers: '127.0.0.1:53' is not an address" },
	{ "relayhost = [smtp.example.com\n", 1, "relayhost: '[smtp.example.com' is not a host" },
	{ "relayhost = smtp.example.com:0\n", 1, "is not a host" },
	{ "relayhost = smtp example com\n", 1, "is not a host" },
	{ "relay_domains = exa$$mple\n", 1, "relay_domains: 'exa$mple' is not a domain" },
	{ "admin_group = a b\n", 1, "admin_group: 'a b' is not the name of a group" },
};

static void
test_mistakes(void **state)
{
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		load(f, mistakes[i].text);
		assert_null(f->p);
		assert_null(f->conf);
		mistake_check(&mistakes[i], &f->errs, f->file);
	}
}

static void
test_warnings(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *says; /* NULL: nothing */
	} cases[] = {
		{ "", 0, NULL },
		{ "\nmynetworks = 0.0.0.0/0\n", 3, "open relay" },
		{ "mynetworks = [::]/0\n", 2, "open relay" },
		{ "min_free_space = 10M\n", 2,
		    "min_free_space (10M) is less than one and a half times message_size_limit (50M)" },
		{ "message_size_limit = 1G\n", 2,
		    "min_free_space (256M) is less than one and a half times message_size_limit (1G)" },
		{ "prohibited_hosts =\n", 2, "prohibited_hosts is empty" },
		{ "prohibited_hosts =\nrelayhost = [127.0.0.1]\n", 2, NULL },
		{ "smtpd_tls_auth_only = no\n", 2, "in the clear" },
		{ "retry_interval = 1s\n", 2, "retry_interval (1s)" },
		{ "#\n", 0, NULL },
	};
	struct conf_errors warnings = { NULL, 0 };
	struct fixture *f = *state;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "myhostname = mail.example.com\n%s", cases[i].text);
		load(f, text);
		assert_non_null(f->p);
		params_warn(f->p, f->conf, &warnings);
		if (warnings.n != (cases[i].says != NULL))
			fail_msg("<%s>: %zu warnings", cases[i].text, warnings.n);
		if (cases[i].says != NULL) {
			assert_non_null(strstr(warnings.v[0].text, cases[i].says));
			assert_int_equal(warnings.v[0].line, cases[i].line);
		}
		conf_errors_clear(&warnings);
	}
	load(f, "myhostname = box.localdomain\n");
	params_warn(f->p, f->conf, &warnings);
	assert_int_equal(warnings.n, 1);
	conf_errors_clear(&warnings);
}

/* What is installed for a new user. Run from the top of the tree, as prove does. */
static void
test_installed(void **state)
{
	struct fixture *f = *state;
	struct policy *policy;

	f->p = params_load("conf", &f->conf, &f->errs);
	if (f->p == NULL)
		fail_msg("conf/main.cf:%u: %s", f->errs.v[0].line, f->errs.v[0].text);
	policy = policy_load(f->p->policy_file, &f->errs);
	if (policy == NULL)
		fail_msg("conf/policy.lua:%u: %s", f->errs.v[0].line, f->errs.v[0].text);
	assert_non_null(policy_only_pool(policy));
	policy_free(&policy);
}

static void
test_relayhost(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
		bool use_mx;
	} cases[] = {
		{ "example.com", "example.com", 0, true },
		{ "example.com:26", "example.com", 26, true },
		{ "[mx.example.com]", "mx.example.com", 0, false },
		{ "[mx.example.com]:587", "mx.example.com", 587, false },
		{ "[192.0.2.1]:25", "192.0.2.1", 25, false },
		{ "192.0.2.1", "192.0.2.1", 0, false },
		{ "[2001:db8::1]:465", "2001:db8::1", 465, false },
	};
	uint16_t port;
	bool use_mx;
	char *host;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(params_relayhost_parse(cases[i].text, &host, &port, &use_mx), 0);
		assert_string_equal(host, cases[i].host);
		assert_int_equal(port, cases[i].port);
		assert_int_equal(use_mx, cases[i].use_mx);
		free(host);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		cmocka_unit_test(test_table),
		cmocka_unit_test_setup_teardown(test_accepted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_warnings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_installed, setup, teardown),
		cmocka_unit_test(test_relayhost),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
