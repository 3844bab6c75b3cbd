/* Overrides: which apply where, the one encoding, what a limit does to a configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/override.h"
#include "t/unit/decoder.h"

static struct override
limit(const char *setting, const char *value)
{
	struct override o = { .id = 7, .kind = OVERRIDE_LIMIT };

	o.setting = xstrdup(setting);
	o.value = xstrdup(value);
	o.reason = xstrdup("too much");
	o.made_by = xstrdup("admin");
	return o;
}

static int
decode(const uint8_t *p, size_t len)
{
	struct override o;
	struct rbuf r;

	rbuf_init(&r, p, len);
	if (override_decode(&r, &o) == -1)
		return -1;
	override_clear(&o);
	return 0;
}

static void
test_round_trip(void **state)
{
	struct override o = limit("max_message_rate", "10/min"), back;
	struct rbuf r;
	struct wbuf w, again;
	char *text;

	(void)state;
	o.scope.source = xstrdup("ip-1");
	o.scope.site = xstrdup("(mx1|mx2).example.net");
	o.first_value = xstrdup("5/min");
	o.evidence = xstrdup("421 4.7.0 slow down");
	o.sample.domain = xstrdup("example.net");
	o.is_gradual = true;
	o.step = 2;
	o.created = 1785000000000;
	o.expires = 1785000900000;
	o.step_every = 60000;
	o.hits = 3;
	wbuf_init(&w);
	wbuf_init(&again);
	override_encode(&o, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(override_decode(&r, &back), 0);
	override_encode(&back, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.p, again.p, w.len);
	assert_true(back.is_gradual);
	assert_false(back.is_dry_run);
	assert_true(override_scope_equals(&o.scope, &back.scope));
	text = override_scope_text(&back.scope);
	assert_string_equal(text, "source ip-1, site (mx1|mx2).example.net");
	free(text);
	decoder_check(decode, w.p, w.len);
	wbuf_clear(&w);
	wbuf_clear(&again);
	override_clear(&o);
	override_clear(&back);
}

static void
test_scopes(void **state)
{
	struct override_scope none = { NULL }, s = { .provider = (char *)(uintptr_t)"google",
		.tenant = (char *)(uintptr_t)"acme" };
	struct override_target t = { .source = "ip-1", .site = "mx.example", .provider = "google", .tenant = "acme",
		.domain = "Example.NET" };
	struct override_scope d = { .domain = (char *)(uintptr_t)"example.net" };
	char *text;

	(void)state;
	assert_true(override_matches(&none, &t));
	assert_true(override_matches(&s, &t));
	assert_true(override_matches(&d, &t));
	t.tenant = NULL;
	assert_false(override_matches(&s, &t));
	t.tenant = "other";
	assert_false(override_matches(&s, &t));
	assert_true(override_is_of_queue(&none));
	assert_true(override_is_of_queue(&d));
	assert_false(override_is_of_queue(&s));
	assert_true(override_scope_is_empty(&none));
	assert_false(override_scope_equals(&s, &d));
	text = override_scope_text(&none);
	assert_string_equal(text, "everything");
	free(text);
}

static void
apply(const char *setting, const char *before, const char *value, const char *after)
{
	struct override o = limit(setting, value);
	struct policy_path_config c;
	int field = policy_path_find(setting);
	char *text;

	assert_true(field >= 0);
	policy_path_config_init(&c);
	if (before != NULL)
		assert_null(policy_path_set(&c, (size_t)field, before));
	assert_int_equal(override_is_stricter(&o, &c), before == NULL || strcmp(before, after) != 0);
	(void)override_apply(&o, &c);
	text = policy_path_text(&c, (size_t)field);
	assert_string_equal(text, after);
	free(text);
	policy_path_config_clear(&c);
	override_clear(&o);
}

static void
test_strictest_wins(void **state)
{
	(void)state;
	apply("connection_limit", NULL, "5", "5");
	apply("connection_limit", "3", "5", "3");
	apply("connection_limit", "10", "5", "5");
	apply("max_message_rate", "100/s", "10/min", "10/min");
	apply("max_message_rate", "1/min", "10/min", "1/min");
	/* 0: as many as there are. */
	apply("max_deliveries_per_connection", "0", "5", "5");
	apply("max_deliveries_per_connection", "5", "0", "5");
	/* No order: the override says how it is to be. */
	apply("enable_tls", "Opportunistic", "RequiredInsecure", "RequiredInsecure");
}

static void
test_raising(void **state)
{
	struct override o = limit("max_message_rate", "10/min"), tls = limit("enable_tls", "Disabled"),
	    most = limit("connection_limit", "90000");

	(void)state;
	assert_true(override_raise(&o));
	assert_string_equal(o.value, "20/min");
	assert_string_equal(o.first_value, "10/min");
	assert_true(override_raise(&o));
	assert_string_equal(o.value, "40/min");
	assert_string_equal(o.first_value, "10/min");
	assert_int_equal(o.step, 2);
	assert_false(override_raise(&tls));
	assert_false(override_raise(&most));
	assert_string_equal(most.value, "90000");
	override_clear(&o);
	override_clear(&tls);
	override_clear(&most);
}

static void
refused(struct override *o, const char *why)
{
	char *err = override_check(o);

	assert_non_null(err);
	if (strstr(err, why) == NULL)
		fail_msg("%s", err);
	free(err);
}

static void
test_nonsense_is_refused(void **state)
{
	struct override none = limit("conection_limit", "1"), bad = limit("connection_limit", "many"),
	    shared = limit("connection_limit", "1"), both = limit("max_message_rate", "1/s"),
	    bounce = { .id = 1, .kind = OVERRIDE_BOUNCE };

	(void)state;
	refused(&none, "no setting conection_limit");
	refused(&bad, "'many' is not a whole number");
	shared.scope.tenant = xstrdup("acme");
	refused(&shared, "only max_message_rate");
	both.scope.tenant = xstrdup("acme");
	assert_null(override_check(&both));
	assert_true(override_is_queue_rate(&both));
	both.scope.provider = xstrdup("google");
	refused(&both, "not for both");
	assert_null(override_check(&bounce));
	bounce.scope.site = xstrdup("mx.example");
	refused(&bounce, "known only when it is sent");
	override_clear(&none);
	override_clear(&bad);
	override_clear(&shared);
	override_clear(&both);
	override_clear(&bounce);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_strictest_wins),
		cmocka_unit_test(test_raising),
		cmocka_unit_test(test_nonsense_is_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
