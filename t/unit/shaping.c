/* mail/shaping.h: layers, providers, what a later file takes away, and rules against replies. */
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
	size_t i, j;

	(void)state;
	s = load_good(text, NULL);
	shaping_lint(s, &found);
	for (i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		for (j = 0; j < found.n && strstr(found.v[j].text, says[i]) == NULL; j++)
			;
		if (j == found.n)
			fail_msg("nothing says '%s'", says[i]);
	}
	assert_int_equal(found.n, sizeof(says) / sizeof(says[0]));
	conf_errors_clear(&found);
	shaping_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_provider), cmocka_unit_test(test_layers), cmocka_unit_test(test_files),
		cmocka_unit_test(test_match), cmocka_unit_test(test_bounded), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_shipped), cmocka_unit_test(test_lint),
	};
	int rc;

	if (mkdtemp(dir) == NULL)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	rc = cmocka_run_group_tests_name("shaping", tests, NULL, NULL);
	(void)rmdir(dir);
	return rc;
}
