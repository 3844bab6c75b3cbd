/* mail/policy_path.h: every setting can be said as text, read back, laid over another and taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/policy_path.h"

static const struct {
	const char *name, *text, *shown;
} settings[] = {
	{ "connection_limit", "5", "5" },
	{ "max_deliveries_per_connection", "0", "0" },
	{ "max_recipients_per_batch", "10", "10" },
	{ "max_message_rate", "100/sec", "100/s" },
	{ "max_connection_rate", "6/min,max_burst=6", "6/min,max_burst=6" },
	{ "source_selection_rate", "2/day", "2/d" },
	{ "provider_total_max_message_rate", "90000/h", "90000/h" },
	{ "idle_timeout", "0", "0" },
	{ "connect_timeout", "90", "90s" },
	{ "smtp_port", "2525", "2525" },
	{ "enable_tls", "RequiredInsecure", "RequiredInsecure" },
	{ "enable_dane", "false", "false" },
	{ "enable_mta_sts", "false", "false" },
	{ "enable_rset", "false", "false" },
	{ "ip_lookup_strategy", "Ipv4Only", "Ipv4Only" },
	{ "ehlo_domain", "mx.example.com", "mx.example.com" },
};

static size_t
field_of(const char *name)
{
	int field = policy_path_find(name);

	if (field < 0)
		fail_msg("%s is no setting", name);
	return (size_t)field;
}

static void
test_texts(void **state)
{
	struct policy_path_config c;
	char *text, *err;
	size_t i, field;

	(void)state;
	policy_path_config_init(&c);
	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		field = field_of(settings[i].name);
		assert_false(policy_path_is_set(&c, field));
		assert_null(policy_path_text(&c, field));
		err = policy_path_set(&c, field, settings[i].text);
		if (err != NULL)
			fail_msg("%s", err);
		assert_true(policy_path_is_set(&c, field));
		text = policy_path_text(&c, field);
		assert_string_equal(text, settings[i].shown);
		free(text);
	}
	for (i = 0; i < policy_path_count(); i++) {
		policy_path_unset(&c, i);
		assert_false(policy_path_is_set(&c, i));
	}
	policy_path_config_clear(&c);
}

static void
test_wrong_texts(void **state)
{
	static const struct {
		const char *name, *text, *says;
	} wrong[] = {
		{ "connection_limit", "", "not a whole number" },
		{ "connection_limit", "5x", "not a whole number" },
		{ "connection_limit", "0", "from 1 to 100000" },
		{ "max_message_rate", "5", "is not a rate" },
		{ "connect_timeout", "soon", "is not a time" },
		{ "enable_tls", "Verified", "does not know" },
		{ "enable_rset", "no", "does not know" },
		{ "ehlo_domain", "a b", "is not a host name" },
		{ "prohibited_hosts", "10.0.0.0/8", "cannot be set in this way" },
		{ "use_lmtp", "true", "cannot be set in this way" },
	};
	struct policy_path_config c;
	size_t i, field;
	char *err;

	(void)state;
	policy_path_config_init(&c);
	assert_int_equal(policy_path_find("connection_limt"), -1);
	assert_int_equal(policy_path_find("use_lmtp"), -1);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		for (field = 0; strcmp(policy_path_name(field), wrong[i].name) != 0; field++)
			;
		err = policy_path_set(&c, field, wrong[i].text);
		if (err == NULL || strstr(err, wrong[i].says) == NULL)
			fail_msg("%s = <%s> gave <%s>", wrong[i].name, wrong[i].text, err != NULL ? err : "no error");
		free(err);
		assert_false(policy_path_is_set(&c, field));
	}
	policy_path_config_clear(&c);
}

static void
test_merge(void **state)
{
	struct policy_path_config a, b;
	size_t i, maps = field_of("additional_connection_limits");
	char *text;

	(void)state;
	policy_path_config_init(&a);
	policy_path_config_init(&b);
	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		assert_null(policy_path_set(&b, field_of(settings[i].name), settings[i].text));
	assert_null(policy_path_set(&a, field_of("max_ready"), "7"));
	for (i = 0; i < policy_path_count(); i++)
		policy_path_merge(&a, &b, i);
	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		text = policy_path_text(&a, field_of(settings[i].name));
		assert_string_equal(text, settings[i].shown);
		free(text);
	}
	assert_int_equal(a.max_ready, 7); /* absent in b: not touched */

	/* Maps of names grow together, the later value of a name wins. */
	a.additional_connection_limits.v = xcalloc(1, sizeof(struct policy_limit));
	a.additional_connection_limits.v[0] = (struct policy_limit){ .name = xstrdup("x"), .value = 1 };
	a.additional_connection_limits.n = 1;
	b.additional_connection_limits.v = xcalloc(2, sizeof(struct policy_limit));
	b.additional_connection_limits.v[0] = (struct policy_limit){ .name = xstrdup("y"), .value = 2 };
	b.additional_connection_limits.v[1] = (struct policy_limit){ .name = xstrdup("x"), .value = 3 };
	b.additional_connection_limits.n = 2;
	policy_path_merge(&a, &b, maps);
	text = policy_path_text(&a, maps);
	assert_string_equal(text, "x=3 y=2");
	free(text);
	policy_path_config_clear(&a);
	policy_path_config_clear(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_wrong_texts),
		cmocka_unit_test(test_merge),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
