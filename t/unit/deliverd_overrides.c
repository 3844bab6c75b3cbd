/* What deliverd makes of the overrides that it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deliverd/overrides.h"

static void
say(struct imposed *set, uint64_t id, struct override o)
{
	struct rbuf r;
	struct wbuf w;

	o.id = id;
	o.reason = (char *)(uintptr_t)"too much";
	o.made_by = (char *)(uintptr_t)"admin root";
	wbuf_init(&w);
	override_encode(&o, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(imposed_said(set, &r), 0);
	wbuf_clear(&w);
}

#define S(s) (char *)(uintptr_t)(s)

static void
test_suspensions(void **state)
{
	struct override_target path = { .source = "ip-1", .site = "mx.example", .provider = "google" }, item = path;
	struct imposed *set = imposed_new();
	uint64_t was;
	char *text;

	(void)state;
	item.tenant = "acme";
	assert_null(imposed_suspends(set, &path));
	say(set, 1, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .source = S("ip-1"), .site = S("mx.example") }, .expires = 1000 });
	say(set, 2, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .provider = S("google") }, .expires = 2000 });
	say(set, 3, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .provider = S("google"), .tenant = S("acme") } });
	say(set, 4, (struct override){ .kind = OVERRIDE_SUSPEND,
	    .scope = { .site = S("mx.example") }, .is_dry_run = true });
	assert_int_equal(imposed_suspends(set, &path)->id, 2);
	assert_int_equal(imposed_suspends(set, &item)->id, 3);
	text = imposed_text(imposed_suspends(set, &item));
	assert_string_equal(text, "suspended by override 3 (admin root): too much");
	free(text);
	path.source = "ip-2";
	path.provider = NULL;
	assert_null(imposed_suspends(set, &path));
	/* After a new greeting only what is named again stays. */
	was = imposed_generation(set);
	imposed_welcome(set);
	assert_int_equal(imposed_suspends(set, &item)->id, 3);
	say(set, 1, (struct override){ .kind = OVERRIDE_SUSPEND, .scope = { .source = S("ip-1") }, .expires = 1000 });
	imposed_ended(set, 0);
	assert_int_equal(imposed_suspends(set, &item)->id, 1);
	assert_true(imposed_generation(set) > was);
	imposed_ended(set, 1);
	assert_null(imposed_suspends(set, &item));
	imposed_free(&set);
}

static void
test_limits(void **state)
{
	struct override_target path = { .source = "ip-1", .site = "mx.example", .provider = "google" };
	struct imposed *set = imposed_new();
	struct policy_path_config config;
	uint64_t ids[POLICY_PATH_FIELDS_MAX];
	size_t conns = (size_t)policy_path_find("connection_limit"),
	    rate = (size_t)policy_path_find("max_message_rate");

	(void)state;
	policy_path_config_init(&config);
	config.connection_limit = 10;
	say(set, 1, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .provider = S("google") },
	    .setting = S("connection_limit"), .value = S("2") });
	say(set, 2, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .source = S("ip-1") },
	    .setting = S("connection_limit"), .value = S("3") });
	say(set, 3, (struct override){ .kind = OVERRIDE_LIMIT, .scope = { .tenant = S("acme") },
	    .setting = S("max_message_rate"), .value = S("1/h") });
	imposed_apply(set, &path, &config, ids);
	assert_int_equal(config.connection_limit, 2);
	assert_int_equal(ids[conns], 1);
	assert_int_equal(ids[rate], 0); /* queued's */
	assert_false(policy_path_is_set(&config, rate));
	policy_path_config_clear(&config);
	imposed_free(&set);
}

/* Paths are told of what concerns them, and only then. */
static void
test_changes(void **state)
{
	struct override_target a = { .source = "ip-1", .site = "a.example", .provider = "google" };
	struct override_target b = { .source = "ip-1", .site = "b.example" };
	struct override hold = { .kind = OVERRIDE_SUSPEND, .scope = { .site = S("a.example"), .tenant = S("acme") } };
	struct override limit = { .kind = OVERRIDE_LIMIT, .scope = { .provider = S("google") },
		.setting = S("connection_limit"), .value = S("2") };
	struct imposed *set = imposed_new();
	uint64_t *ids;
	uint64_t i;

	(void)state;
	say(set, 1, hold);
	assert_int_equal(imposed_touches(set, &a), IMPOSED_HOLDS);
	assert_int_equal(imposed_touches(set, &b), 0);
	assert_int_equal(imposed_holds(set, &a, &ids), 1);
	assert_null(imposed_longest(set, ids, 1, &a)); /* the path is open to others */
	a.tenant = "acme";
	assert_int_equal(imposed_longest(set, ids, 1, &a)->id, 1);
	free(ids);
	a.tenant = NULL;
	imposed_seen(set);
	hold.expires = 1000; /* lasts longer: nothing new for a path */
	say(set, 1, hold);
	assert_false(imposed_has_changed(set));
	say(set, 2, limit);
	limit.value = S("1");
	say(set, 2, limit);
	assert_int_equal(imposed_touches(set, &a), IMPOSED_LIMITS);
	imposed_seen(set);
	imposed_ended(set, 2);
	assert_int_equal(imposed_touches(set, &a), IMPOSED_LIMITS);
	assert_int_equal(imposed_touches(set, &b), 0);
	limit.is_dry_run = true;
	imposed_seen(set);
	say(set, 3, limit);
	assert_false(imposed_has_changed(set));
	for (i = 10; i < 200; i++)
		say(set, i, hold);
	assert_int_equal(imposed_touches(set, &b), IMPOSED_LIMITS | IMPOSED_HOLDS); /* too many to tell */
	imposed_free(&set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suspensions),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_changes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
