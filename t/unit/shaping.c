/* mail/shaping.h: layers, providers, what a later file takes away, and rules against replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/shaping.h"

static char dir[] = "/tmp/shaping.XXXXXX";

static char *
file_put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	return path;
}

/* Loads one or two texts; errors go to errs. */
static struct shaping *
load(const char *first, const char *second, struct conf_errors *errs)
{
	char *paths[2] = { file_put("a.lua", first), second != NULL ? file_put("b.lua", second) : NULL };
	struct conf_strs files = { paths, second != NULL ? 2 : 1 };
	struct shaping *s = shaping_load(&files, errs);

	(void)unlink(paths[0]);
	if (paths[1] != NULL)
		(void)unlink(paths[1]);
	free(paths[0]);
	free(paths[1]);
	return s;
}

static struct shaping *
load_good(const char *first, const char *second)
{
	struct conf_errors errs = { NULL, 0 };
	struct shaping *s = load(first, second, &errs);

	if (s == NULL)
		fail_msg("line %u: %s", errs.v[0].line, errs.v[0].text);
	return s;
}

static void
check_setting(const struct shaping_settings *set, const char *name, const char *value, const char *layer)
{
	int field = policy_path_find(name);
	char *text;

	assert_true(field >= 0);
	text = policy_path_text(&set->config, (size_t)field);
	if (value == NULL) {
		assert_null(text);
		assert_null(set->origins[field]);
		return;
	}
	assert_non_null(text);
	assert_string_equal(text, value);
	free(text);
	assert_string_equal(set->origins[field]->layer, layer);
	assert_true(set->origins[field]->line > 0);
}

static const char base_text[] =
    "posthorn.shaping.default { connection_limit = 10, max_message_rate = '100/s', idle_timeout = '60s',\n"
    "  additional_connection_limits = { all = 50 },\n"
    "  automation = { { name = 'slow', regex = 'too (fast|many)', trigger = 'Immediate', duration = '1h',\n"
    "    action = { { SetConfig = { name = 'connection_limit', value = 1 } }, 'SuspendTenant' } } },\n"
    "  sources = { ['ip-1'] = { connection_limit = 3 } } }\n"
    "posthorn.shaping.provider { name = 'google', match = { { mx_suffix = '.Google.com' }, { MXSuffix = "
    "'googlemail.com.' } },\n  max_deliveries_per_connection = 50, provider_connection_limit = 5,\n"
    "  automation = { { name = 'unusual', regex = { 'unusual rate', '\\\\[X1\\\\]' }, duration = 600,\n"
    "    trigger = { Threshold = '2/hr' }, action = 'Suspend', scope = 'provider' } },\n"
    "  sources = { ['ip-2'] = { provider_connection_limit = 2 } } }\n"
    "posthorn.shaping.provider { name = 'corp', match = { { DomainSuffix = '.corp.example' } } }\n"
    "posthorn.shaping.site { name = 'gw', match = { { mx_host = 'gw.example.net' } }, connection_limit = 7 }\n"
    "posthorn.shaping.domain { name = 'Example.COM', mx_rollup = false, connection_limit = 2, unset = "
    "'max_message_rate',\n  sources = { ['ip-1'] = { connection_limit = 1 } } }\n";

static const char *const google_mx[] = { "aspmx.l.google.com", "alt1.gmail-smtp-in.l.GOOGLE.com", "x.googlemail.com" };
static const char *const mixed_mx[] = { "aspmx.l.google.com", "mx.example.net" };
static const char *const false_mx[] = { "mx.notgoogle.com" };
static const char *const gw_mx[] = { "gw.example.net" };

static void
test_provider(void **state)
{
	struct shaping *s = load_good(base_text, NULL);

	(void)state;
	assert_string_equal(shaping_provider(s, &(struct shaping_path){ .mx = google_mx, .n_mx = 3 }), "google");
	assert_null(shaping_provider(s, &(struct shaping_path){ .mx = mixed_mx, .n_mx = 2 }));
	assert_null(shaping_provider(s, &(struct shaping_path){ .mx = false_mx, .n_mx = 1 }));
	assert_null(shaping_provider(s, &(struct shaping_path){ NULL }));
	assert_string_equal(shaping_provider(s, &(struct shaping_path){ .domain = "a.CORP.example" }), "corp");
	assert_string_equal(shaping_provider(s, &(struct shaping_path){ .domain = "corp.example", .mx = google_mx,
	    .n_mx = 3 }), "corp");
	assert_null(shaping_provider(s, &(struct shaping_path){ .domain = "acorp.example" }));
	shaping_free(&s);
	assert_null(s);
}

static void
test_layers(void **state)
{
	struct shaping *s = load_good(base_text, NULL);
	struct shaping_settings set;

	(void)state;
	shaping_settings(s, &(struct shaping_path){ .source = "ip-1", .mx = google_mx, .n_mx = 3 }, &set);
	check_setting(&set, "connection_limit", "3", "default, source ip-1");
	check_setting(&set, "max_message_rate", "100/s", "default");
	check_setting(&set, "provider_name", "google", "provider google");
	check_setting(&set, "provider_connection_limit", "5", "provider google");
	policy_path_config_clear(&set.config);
	shaping_settings(s, &(struct shaping_path){ .source = "ip-2", .mx = google_mx, .n_mx = 3 }, &set);
	check_setting(&set, "provider_connection_limit", "2", "provider google, source ip-2");
	policy_path_config_clear(&set.config);
	shaping_settings(s, &(struct shaping_path){ .domain = "example.com", .mx = gw_mx, .n_mx = 1 }, &set);
	check_setting(&set, "connection_limit", "2", "domain example.com");
	check_setting(&set, "max_message_rate", NULL, NULL);
	check_setting(&set, "idle_timeout", "1m", "default");
	policy_path_config_clear(&set.config);
	shaping_settings(s, &(struct shaping_path){ .domain = "example.com", .source = "ip-1" }, &set);
	check_setting(&set, "connection_limit", "1", "domain example.com, source ip-1");
	policy_path_config_clear(&set.config);
	shaping_settings(s, &(struct shaping_path){ .site = "gw" }, &set);
	check_setting(&set, "connection_limit", "7", "site gw");
	policy_path_config_clear(&set.config);
	shaping_free(&s);
}

static void
test_files(void **state)
{
	struct shaping *s = load_good(base_text,
	    "posthorn.shaping.default { unset = { 'idle_timeout' }, connection_limit = 20,\n"
	    "  remove_rules = { 'slow' } }\n"
	    "posthorn.shaping.provider { name = 'google', provider_max_message_rate = '5/s',\n"
	    "  automation = { { name = 'unusual', regex = 'strange', action = 'Suspend', duration = '1h' } } }\n"
	    "posthorn.shaping.domain { name = 'example.com', replace_base = true, max_ready = 5 }\n");
	struct shaping_path google = { .mx = google_mx, .n_mx = 3 };
	const struct shaping_rule *hits[4];
	struct shaping_settings set;

	(void)state;
	shaping_settings(s, &google, &set);
	check_setting(&set, "connection_limit", "20", "default");
	check_setting(&set, "idle_timeout", NULL, NULL);
	check_setting(&set, "provider_max_message_rate", "5/s", "provider google");
	check_setting(&set, "max_deliveries_per_connection", "50", "provider google");
	policy_path_config_clear(&set.config);
	shaping_settings(s, &(struct shaping_path){ .domain = "example.com" }, &set);
	check_setting(&set, "connection_limit", "20", "default");
	check_setting(&set, "max_ready", "5", "domain example.com");
	check_setting(&set, "max_message_rate", "100/s", "default");
	policy_path_config_clear(&set.config);
	assert_int_equal(shaping_match(s, &google, "421 too many", false, hits, 4), 0);
	assert_int_equal(shaping_match(s, &google, "421 unusual rate", false, hits, 4), 0);
	assert_int_equal(shaping_match(s, &google, "421 strange", false, hits, 4), 1);
	assert_string_equal(hits[0]->id, "google/unusual");
	assert_null(shaping_rule_find(s, "default/slow"));
	shaping_free(&s);
}

static void
test_match(void **state)
{
	struct shaping *s = load_good(base_text, NULL);
	struct shaping_path google = { .mx = google_mx, .n_mx = 3 };
	const struct shaping_rule *hits[4];

	(void)state;
	assert_int_equal(shaping_match(s, &google, "421 4.7.28 an unusual rate, too many [X1]", false, hits, 4), 2);
	assert_string_equal(hits[0]->id, "default/slow");
	assert_int_equal(hits[0]->n_actions, 2);
	assert_int_equal(hits[0]->actions[0].type, ACTION_SET_CONFIG);
	assert_string_equal(hits[0]->actions[0].value, "1");
	assert_int_equal(hits[0]->trigger_count, 1);
	assert_string_equal(hits[1]->id, "google/unusual");
	assert_int_equal(hits[1]->trigger_count, 2);
	assert_int_equal(hits[1]->trigger_period, 3600000);
	assert_int_equal(hits[1]->duration, 600000);
	assert_int_equal(hits[1]->scope, SCOPE_PROVIDER);
	assert_true(hits[1]->is_gradual);
	assert_int_equal(shaping_match(s, &google, "421 [X1]", false, hits, 4), 1);
	assert_int_equal(shaping_match(s, &google, "421 [X1]", true, hits, 4), 0);
	assert_int_equal(shaping_match(s, &google, "421 too\nmany [X1]", false, hits, 1), 1);
	assert_int_equal(shaping_match(s, &(struct shaping_path){ NULL }, "421 [X1]", false, hits, 4), 0);
	assert_non_null(shaping_rule_find(s, "google/unusual"));
	shaping_free(&s);
}

/* A rule made by posthorn.shaping.rule knows its own line, also if a function made it; others have their block's. */
static void
test_lines(void **state)
{
	struct shaping *s = load_good("local function rule(name)\n"
	    "  return posthorn.shaping.rule { name = name, regex = name, action = 'Suspend', duration = '1h' }\nend\n"
	    "posthorn.shaping.default { automation = {\n"
	    "  rule('one'),\n  { name = 'two', regex = 'two', action = 'Suspend', duration = '1h' },\n"
	    "  posthorn.shaping.rule { name = 'three', regex = 'three', action = 'Suspend', duration = '1h' } } }",
	    NULL);

	(void)state;
	assert_int_equal(shaping_rule_find(s, "default/one")->origin.line, 5);
	assert_int_equal(shaping_rule_find(s, "default/two")->origin.line, 4);
	assert_int_equal(shaping_rule_find(s, "default/three")->origin.line, 7);
	shaping_free(&s);
}

/* A reply made to keep a bad pattern busy. */
static void
test_bounded(void **state)
{
	struct shaping *s = load_good("posthorn.shaping.default { automation = { { regex = '(a+)+$', "
	    "action = 'Suspend', "
	    "duration = '1h' } } }", NULL);
	const struct shaping_rule *hits[1];
	char *reply = xmalloc(200001);

	(void)state;
	memset(reply, 'a', 200000);
	reply[4000] = '!';
	reply[200000] = '\0';
	assert_true(shaping_match(s, &(struct shaping_path){ NULL }, reply, false, hits, 1) <= 1);
	free(reply);
	shaping_free(&s);
}

static const struct {
	const char *text, *says;
	unsigned line;
} wrong[] = {
	{ "posthorn.shaping.default { conection_limit = 1 }", "did you mean 'connection_limit'", 1 },
	{ "\nposthorn.shaping.defaults {}", "did you mean posthorn.shaping.default", 2 },
	{ "posthorn.source {}", "has only posthorn.shaping", 1 },
	{ "posthorn.shaping.provider { match = {} }", "name is missing", 1 },
	{ "posthorn.shaping.provider { name = 'x', match = { { mx_sufix = 'a.b' } } }", "did you mean 'mx_suffix'", 1 },
	{ "posthorn.shaping.provider { name = 'x', match = { { mx_suffix = '*.b' } } }", "no wildcards", 1 },
	{ "posthorn.shaping.domain { name = 'example' }", "has no dot", 1 },
	{ "posthorn.shaping.domain { name = 'a.b', mx_rollup = true }", "posthorn.shaping.site", 1 },
	{ "posthorn.shaping.default {}\nposthorn.shaping.default {}", "said twice", 2 },
	{ "posthorn.shaping.default { unset = 'idle_timout' }", "did you mean 'idle_timeout'", 1 },
	{ "posthorn.shaping.default { automation = { { regex = '(', action = 'Suspend', duration = 1 } } }",
	    "is wrong at character", 1 },
	{ "posthorn.shaping.default { automation = { { regex = 'x', action = 'Suspnd', duration = 1 } } }",
	    "did you mean 'Suspend'", 1 },
	{ "posthorn.shaping.default { automation = { { regex = 'x', action = 'Suspend' } } }", "has no duration", 1 },
	{ "posthorn.shaping.default { automation = { { regex = 'x', duration = '1h' } } }", "has no action", 1 },
	{ "posthorn.shaping.default { automation = { { action = 'Suspend', duration = '1h' } } }", "has no regex", 1 },
	{ "posthorn.shaping.default { automation = { { regex = 'x', action = { SetConfig = { "
	    "name = 'max_message_rate', "
	    "value = 'fast' } }, duration = '1h' } } }", "is not a rate", 1 },
	{ "posthorn.shaping.default { automation = { { regex = 'x', action = 'Suspend', duration = '1h', trigger = "
	    "{ Treshold = '1/h' } } } }", "must be 'Immediate'", 1 },
	{ "local r = posthorn.shaping.rule\nlocal function rule(t)\nreturn r(t)\nend\nposthorn.shaping.default {\n"
	    "automation = {\nrule { regex = 'x', action = 'Suspnd', duration = 1 } } }", "did you mean 'Suspend'", 7 },
	{ "posthorn.shaping.default { automation = {\n{ regex = 'y', action = 'Suspend', duration = 1 },\n"
	    "posthorn.shaping.rule { regex = '(', action = 'Suspend', duration = 1 } } }", "wrong at character", 3 },
	{ "posthorn.shaping.rule(1)", "table expected", 1 },
	{ "posthorn.shaping.default { automation = { { name = 'a', regex = 'x', action = 'Suspend', duration = 1 },\n"
	    "{ name = 'a', regex = 'y', action = 'Suspend', duration = 1 } } }", "two rules 'a'", 1 },
};

static void
test_errors(void **state)
{
	struct conf_errors errs = { NULL, 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_null(load(wrong[i].text, NULL, &errs));
		assert_true(errs.n >= 1);
		if (strstr(errs.v[0].text, wrong[i].says) == NULL)
			fail_msg("'%s' does not say '%s'", errs.v[0].text, wrong[i].says);
		assert_int_equal(errs.v[0].line, wrong[i].line);
		conf_errors_clear(&errs);
	}
	assert_null(load("posthorn.shaping.default { a = 1, b = 2 }", "posthorn.shaping.default { c = 3 }", &errs));
	assert_int_equal(errs.n, 3);
	conf_errors_clear(&errs);
}

static void
test_nothing(void **state)
{
	struct conf_errors errs = { NULL, 0 };
	struct shaping *s = shaping_load(&(struct conf_strs){ NULL, 0 }, &errs);
	struct shaping_settings set;

	(void)state;
	assert_non_null(s);
	shaping_settings(s, &(struct shaping_path){ .domain = "example.com" }, &set);
	check_setting(&set, "connection_limit", NULL, NULL);
	policy_path_config_clear(&set.config);
	shaping_free(&s);
	assert_null(shaping_load(&(struct conf_strs){ (char *[]){ (char[]){ "/nonexistent/x.lua" } }, 1 }, &errs));
	assert_int_equal(errs.n, 1);
	conf_errors_clear(&errs);
}

/* Replies and the rules of what is shipped that they hit, by provider; "": none. */
static const struct {
	const char *mx, *reply, *ids;
} shipped[] = {
#define UNUSUAL "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail "
	{ "smtp.google.com", UNUSUAL "originating from your IP address. To protect", "google/unusual-rate-ip" },
	{ "smtp.google.com", UNUSUAL "originating from your IP Netblock.", "google/unusual-rate-netblock" },
	{ "smtp.google.com", UNUSUAL "originating from your DKIM domain [example.com 35].",
	    "google/unusual-rate-domain google/unusual-rate-domain-all" },
	{ "smtp.google.com", UNUSUAL "originating from your SPF domain [example.com 35].",
	    "google/unusual-rate-domain google/unusual-rate-domain-all" },
	{ "smtp.google.com", UNUSUAL "containing one of your URL domains.", "google/unusual-rate-url" },
	{ "smtp.google.com", "421 4.7.28 Gmail has detected this message exceeded its quota for sending messages "
	    "with the same Message-ID.", "" },
	{ "smtp.google.com", "421 4.7.26 This mail has been rate limited because it is unauthenticated.", "" },
	{ "smtp.google.com", "450 4.2.1 The user you are trying to contact is receiving mail too quickly.", "" },
	{ "mta5.am0.yahoodns.net", "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", "yahoo/TSS04" },
	{ "mta5.am0.yahoodns.net", "421 4.7.0 [IPTS04] Messages from 192.0.2.1 temporarily deferred", "yahoo/TSS04" },
	{ "mta5.am0.yahoodns.net", "554 5.7.9 Message not accepted for policy reasons.", "" },
#define OLC "x.olc.protection.outlook.com"
	{ OLC, "550 5.7.1 part of their network is on our block list (S3150).", "outlook/block-list" },
	{ OLC, "550 SC-001 (COL004) Unfortunately, messages", "outlook/SC-001" },
	{ OLC, "550 SC-003 (COL004) Unfortunately, messages", "outlook/SC-003" },
	{ OLC, "550 OU-001 (COL004) Unfortunately, messages", "outlook/OU-001" },
	{ OLC, "421 RP-003 (COL004) Unfortunately, messages", "outlook/RP-002" },
	{ OLC, "451 4.7.650 temporarily rate limited due to IP reputation. (S775)", "outlook/rate-limited" },
	{ OLC, "451 4.7.500 Server busy. (S77714)", "outlook/server-busy" },
	{ OLC, "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "" },
#define EXO "x.mail.protection.outlook.com"
	{ EXO, "451 4.7.501 Access denied, please try again later", "office365/access-denied" },
	{ EXO, "451 4.7.649 Access denied, please try again later", "office365/access-denied" },
	{ EXO, "451 4.7.652 exceeded the maximum number of connections", "office365/connections" },
	{ EXO, "451 4.7.653 Access denied, please try again later", "office365/access-denied" },
	{ EXO, "451 4.7.899 Access denied, please try again later", "office365/access-denied" },
	{ EXO, "451 4.7.900 x", "" },
	{ EXO, "451 4.7.700 Server busy", "office365/busy" },
	{ EXO, "550 5.7.649 Access denied, banned sending IP [192.0.2.1].", "office365/banned-ip" },
	{ EXO, "550 5.7.605 x", "" },
	{ EXO, "550 5.4.1 Recipient address rejected: Access denied.", "" },
	{ "smtp-in.orange.fr", "550 5.2.0 Mail rejected. Mail rejete. OFR_506 [506]", "" },
	{ "smtp-in.orange.fr", "421 Service refused, please try later. OFR_1040", "" },
};

static void
test_shipped_replies(void **state)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf_strs files = { (char *[]){ (char[]){ "conf/shaping.lua" } }, 1 };
	struct shaping *s = shaping_load(&files, &errs);
	const struct shaping_rule *hits[4];
	char ids[400];
	size_t i, k, n, len;

	(void)state;
	assert_non_null(s);
	for (i = 0; i < sizeof(shipped) / sizeof(shipped[0]); i++) {
		n = shaping_match(s, &(struct shaping_path){ .mx = &shipped[i].mx, .n_mx = 1 }, shipped[i].reply, false,
		    hits, 4);
		ids[0] = '\0';
		for (k = 0, len = 0; k < n; k++)
			len += (size_t)snprintf(ids + len, sizeof(ids) - len, "%s%s", k > 0 ? " " : "", hits[k]->id);
		if (strcmp(ids, shipped[i].ids) != 0)
			fail_msg("'%s' hits '%s', not '%s'", shipped[i].reply, ids, shipped[i].ids);
	}
	shaping_free(&s);
}

/* What is shipped has neither errors nor findings. */
static void
test_shipped(void **state)
{
	static const char *const mx[] = { "mta5.am0.yahoodns.net" };
	struct conf_errors errs = { NULL, 0 };
	struct conf_strs files = { (char *[]){ (char[]){ "conf/shaping.lua" } }, 1 };
	struct shaping *s = shaping_load(&files, &errs);
	const struct shaping_rule *hits[4];

	(void)state;
	if (s != NULL)
		shaping_lint(s, &errs);
	for (size_t i = 0; i < errs.n; i++)
		print_error("%s:%u: %s\n", errs.v[i].file, errs.v[i].line, errs.v[i].text);
	assert_int_equal(errs.n, 0);
	assert_int_equal(shaping_match(s, &(struct shaping_path){ .mx = mx, .n_mx = 1 },
	    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", false, hits, 4), 1);
	assert_string_equal(hits[0]->id, "yahoo/TSS04");
	shaping_free(&s);
}

/* Each of them, and no other. */
static void
check_findings(const struct conf_errors *found, const char *const *says, size_t n)
{
	size_t i, j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < found->n && strstr(found->v[j].text, says[i]) == NULL; j++)
			;
		if (j == found->n)
			fail_msg("nothing says '%s'", says[i]);
	}
	for (j = 0; found->n != n && j < found->n; j++)
		print_error("%s\n", found->v[j].text);
	assert_int_equal(found->n, n);
}

/* Each defect that was once shipped by somebody is found. */
static void
test_lint(void **state)
{
	static const char text[] =
	    "posthorn.shaping.provider { name = 'gmail', automation = { { name = 'r', regex = 'unusual', "
	    "action = 'Suspend',"
	    "\n duration = '1h', samples = 'an unusual rate' } } }\n"
	    "posthorn.shaping.provider { name = 'kpn', match = { { MXSuffix = '.kpnmail.nl.' } },\n"
	    "  known = { ['kpn.example'] = { 'mx.kpnmail.nl' }, ['other.example'] = { 'mx.example.org' } } }\n"
	    "posthorn.shaping.provider { name = 'apple', match = { { mx_suffix = '.icloud.com' } },\n"
	    "  known = { ['icloud.com'] = { 'mx01.mail.icloud.com' } }, remove_rules = { 'nonesuch' }, automation = {\n"
	    "  { name = 'double', regex = [=[\\\\[HCM1\\\\]]=], action = 'Suspend', duration = '1h',\n"
	    "    samples = '421 [HCM1] x' },\n"
	    "  { name = 'wide', regex = 'policy', action = 'Suspend', duration = '1h', samples = '550 policy' },\n"
	    "  { name = 'narrow', regex = '554 policy', action = 'Suspend', duration = '1h',\n"
	    "    samples = '554 policy' },\n"
	    "  { name = 'bare', regex = 'zzz', action = { SetConfig = {\n"
	    "    name = 'provider_connection_limit', value = 1 } },\n"
	    "    duration = '1h', not_samples = 'zzzz' } } }\n";
	static const char *const says[] = { "provider gmail has no match", "has a dot at its end",
		"its known domain other.example", "doubled once too often", "the rule 'wide' also hits '554 policy'",
		"there is no rule 'nonesuch'", "'bare' has no samples", "which it must not", "in a narrower scope" };
	struct conf_errors found = { NULL, 0 };
	struct shaping *s;

	(void)state;
	s = load_good(text, NULL);
	shaping_lint(s, &found);
	check_findings(&found, says, sizeof(says) / sizeof(says[0]));
	conf_errors_clear(&found);
	shaping_free(&s);
}

#define RULE(n, more) "{ name = '" n "', regex = '" n "', duration = '1h', samples = '" n "', " more " },\n"

/* What can never come about, or hardly as it is meant. */
static void
test_lint_dead(void **state)
{
	static const char text[] =
	    "posthorn.shaping.provider { name = 'wide', match = { { mx_suffix = '.wide.test' }, { mx_suffix = "
	    "'.in.wide.test' } },\n  known = { ['w.test'] = { 'mx.wide.test' } }, max_ready = 5, connection_limit = 3 "
	    "}\n"
	    "posthorn.shaping.provider { name = 'dead', match = { { mx_suffix = '.twice.test' } },\n"
	    "  known = { 'd.test' } }\n"
	    "posthorn.shaping.provider { name = 'taker', match = { { mx_suffix = '.twice.test' } },\n"
	    "  known = { ['t.test'] = { 'mx.twice.test' } } }\n"
	    "posthorn.shaping.site { name = 'mx.wide.test', match = { { mx_suffix = '.wide.test' } }, max_ready = 6 }\n"
	    "posthorn.shaping.site { name = 'narrow', match = { { mx_suffix = '.in.wide.test' } }, "
	    "connection_limit = 1 }\n"
	    "posthorn.shaping.default { automation = {\n"
	    RULE("both", "action = { 'Bounce', 'Suspend' }")
	    RULE("mixed", "trigger = { Threshold = '2/h' }, action = { 'SuspendTenant', 'Suspend' }")
	    RULE("campaign", "action = { 'SuspendTenant', 'SuspendCampaign' }")
	    RULE("nowhere", "scope = 'provider', action = { "
	    "SetConfig = { name = 'provider_connection_limit', value = 1 } }")
	    /* A pair is good: one for the tenant, one for all. */
	    RULE("tenant", "action = 'SuspendTenant'")
	    "{ name = 'all', regex = 'tenant', action = 'Suspend', duration = '1h', samples = 'tenant' } } }\n";
	static const char *const says[] = { "match 'in.wide.test' adds nothing to 'wide.test'",
		"provider dead is dead: provider taker takes all", "both match 'twice.test'",
		"no known domain with MX",
		"provider wide: max_ready is overwritten for every path by site mx.wide.test",
		"'both': Bounce leaves nothing for Suspend", "'mixed' acts on tenants",
		"leaves nothing for SuspendCampaign",
		"'nowhere' sets provider_connection_limit, which does nothing" };
	struct conf_errors found = { NULL, 0 };
	struct shaping *s = load_good(text, NULL);

	(void)state;
	shaping_lint(s, &found);
	check_findings(&found, says, sizeof(says) / sizeof(says[0]));
	conf_errors_clear(&found);
	shaping_free(&s);
}

static double
cpu_seconds(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Many providers and sites, of which each path has few. */
static struct shaping *
load_names(size_t n_names)
{
	size_t cap = n_names * 300 + 1, n = 0, i;
	char *text = xmalloc(cap);
	struct shaping *s;

	for (i = 0; i < n_names; i++)
		n += (size_t)snprintf(text + n, cap - n, "posthorn.shaping.provider { name = 'p%zu', match = { { "
		    "mx_suffix = '.p%zu.example.org' } } }\nposthorn.shaping.site { name = 's%zu', match = { { "
		    "mx_suffix = '.p%zu.example.org' } }, max_ready = %zu }\n", i, i, i, i, i + 1);
	s = load_good(text, NULL);
	free(text);
	return s;
}

/* Found among thousands, whatever their order, case and final dot. */
static void
test_index(void **state)
{
	struct shaping *s = load_names(2000);
	const char *mx[2] = { "mx1.P77.example.org", "mx2.p77.example.org." };
	struct shaping_path path = { .site = "S1999", .mx = mx, .n_mx = 2 };
	struct shaping_settings set;
	double before;
	int i;

	(void)state;
	assert_string_equal(shaping_provider(s, &path), "p77");
	shaping_settings(s, &path, &set);
	check_setting(&set, "max_ready", "2000", "site s1999");
	policy_path_config_clear(&set.config);
	path.site = NULL;
	shaping_settings(s, &path, &set);
	check_setting(&set, "max_ready", "78", "site s77");
	policy_path_config_clear(&set.config);
	mx[1] = "mx1.p78.example.org";
	assert_null(shaping_provider(s, &path));
	path.n_mx = 0;
	assert_null(shaping_provider(s, &path));
	path.n_mx = 1;
	before = cpu_seconds();
	for (i = 0; i < 20000; i++) {
		shaping_settings(s, &path, &set);
		policy_path_config_clear(&set.config);
	}
	print_message("# %.2f us a path, 2000 providers and sites\n", (cpu_seconds() - before) * 1e6 / 20000);
	shaping_free(&s);
}

static struct shaping *
load_many(size_t n_rules)
{
	size_t cap = n_rules * 200 + 200, n = 0, i;
	char *text = xmalloc(cap);
	struct shaping *s;

	n = (size_t)snprintf(text, cap, "posthorn.shaping.default { automation = {\n");
	for (i = 0; i < n_rules; i++)
		n += (size_t)snprintf(text + n, cap - n, "{ name = 'r%zu', "
		    "regex = '(?i)^4.*reason number %zu(\\\\.|$)', action = 'Suspend', duration = '1h' },\n", i, i);
	(void)snprintf(text + n, cap - n, "} }\n");
	s = load_good(text, NULL);
	free(text);
	return s;
}

/* What a path and a failure cost, for those who change the look-ups. */
static void
test_cost(void **state)
{
	static const char *const names[] = { "aspmx.l.google.com", "mta5.am0.yahoodns.net", "mx.example.org",
		"example-com.mail.protection.outlook.com" };
	struct conf_errors errs = { NULL, 0 };
	struct conf_strs files = { (char *[]){ (char[]){ "conf/shaping.lua" } }, 1 };
	struct shaping *s = shaping_load(&files, &errs);
	struct shaping_settings set;
	const struct shaping_rule *hits[4];
	double before = cpu_seconds();
	size_t i;

	(void)state;
	assert_non_null(s);
	for (i = 0; i < 20000; i++) {
		const char *mx[2] = { names[i % 4], names[i % 4] };

		shaping_settings(s, &(struct shaping_path){ .domain = "a.example.com", .source = "ip-1", .mx = mx,
		    .n_mx = 2 }, &set);
		policy_path_config_clear(&set.config);
	}
	print_message("# %.2f us a path\n", (cpu_seconds() - before) * 1e6 / 20000);
	shaping_free(&s);
	s = load_many(200);
	before = cpu_seconds();
	for (i = 0; i < 1000; i++)
		assert_int_equal(shaping_match(s, &(struct shaping_path){ NULL }, "421 4.7.0 mx.example.org was not "
		    "able to take the message from 192.0.2.1 now, for the reason number 77", false, hits, 4), 1);
	print_message("# %.2f us a reply, 200 rules\n", (cpu_seconds() - before) * 1e6 / 1000);
	assert_true(cpu_seconds() - before < 1.0);
	shaping_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_provider), cmocka_unit_test(test_layers), cmocka_unit_test(test_files),
		cmocka_unit_test(test_match), cmocka_unit_test(test_bounded), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_shipped), cmocka_unit_test(test_lint),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_lines), cmocka_unit_test(test_lint_dead),
		cmocka_unit_test(test_index), cmocka_unit_test(test_shipped_replies),
	};
	int rc;

	if (mkdtemp(dir) == NULL)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	rc = cmocka_run_group_tests_name("shaping", tests, NULL, NULL);
	(void)rmdir(dir);
	return rc;
}
