/* What counts as an MTA-STS record and as a policy (RFC 8461), which hosts it names, and what the sts role may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "base/xalloc.h"
#include "mail/sts_link.h"
#include "mail/sts_policy.h"

#define UNUSED __attribute__((unused))

static const struct {
	const char *txt;
	bool is_ours;
	const char *id; /* NULL: malformed */
} txts[] = {
	{ "v=STSv1; id=20160831085700Z;", true, "20160831085700Z" },
	{ "v=STSv1;id=a", true, "a" },
	{ "v=STSv1 \t;\tid=a ; ", true, "a" },
	{ "v=STSv1; x-y.z=!~; id=a", true, "a" },
	{ "v=STSv1; id=12345678901234567890123456789012", true, "12345678901234567890123456789012" },
	{ "v=STSv1; id=123456789012345678901234567890123", true, NULL },
	{ "v=STSv1; id=a-b", true, NULL },
	{ "v=STSv1; id=", true, NULL },
	{ "v=STSv1; id=a; id=b", true, NULL },
	{ "v=STSv1;; id=a", true, NULL },
	{ "v=STSv1; ID=a", true, NULL },
	{ "v=STSv1;", true, NULL },
	{ "v=STSv1; =a; id=a", true, NULL },
	{ "v=STSv1; x=a=b; id=a", true, NULL },
	{ "v=STSv1", false, NULL },
	{ "v=STSv10; id=a", false, NULL },
	{ "V=STSv1; id=a", false, NULL },
	{ "v=spf1 -all", false, NULL },
	{ "", false, NULL },
};

static void
test_txt(void **state UNUSED)
{
	char id[STS_ID_MAX + 1];
	size_t i, len;
	char *copy;

	for (i = 0; i < sizeof(txts) / sizeof(txts[0]); i++) {
		len = strlen(txts[i].txt);
		copy = malloc(len + 1); /* of just that size: for the sanitizer */
		assert_non_null(copy);
		memcpy(copy, txts[i].txt, len + 1);
		if (sts_txt_is_ours(copy, len) != txts[i].is_ours)
			fail_msg("'%s' is ours?", txts[i].txt);
		if (sts_txt_parse(copy, len, id) != (txts[i].id != NULL))
			fail_msg("'%s' is %s", txts[i].txt, txts[i].id != NULL ? "good" : "malformed");
		if (txts[i].id != NULL)
			assert_string_equal(id, txts[i].id);
		free(copy);
	}
	assert_false(sts_txt_parse("v=STSv1; id=a\0b", 15, id));
}

#define V "version: STSv1\r\n"
#define A "max_age: 86400\r\n"

static const struct {
	const char *text, *err; /* NULL: good */
	enum sts_mode mode;
	uint32_t max_age;
	size_t n_mx;
} policies[] = {
	{ V "mode: enforce\r\nmx: a.example\r\nmx: *.b.example\r\n" A, NULL, STS_MODE_ENFORCE, 86400, 2 },
	{ "max_age:1\nmx:a.example\nmode:testing\nversion:STSv1", NULL, STS_MODE_TESTING, 1, 1 },
	{ V "mode: none\n" A, NULL, STS_MODE_NONE, 86400, 0 },
	{ V "mode: enforce\nmode: none\nmx: a.example\n" A "max_age: 7\n", NULL, STS_MODE_ENFORCE, 86400, 1 },
	{ V "\n\nmode: enforce  \t\nmx: a.example \nx-more: \xc3\xa4 and so on\n" A "\n",
	    NULL, STS_MODE_ENFORCE, 86400, 1 },
	{ V "mode: enforce\nmx: a.example\nmax_age: 9999999999\n", NULL, STS_MODE_ENFORCE, STS_MAX_AGE_MAX, 1 },
	{ V "mode: enforce\n" A, "it names no mx", 0, 0, 0 },
	{ V "mode: enforce\nmx: a.example\n", "it says no max_age", 0, 0, 0 },
	{ V "mx: a.example\n" A, "it says no mode", 0, 0, 0 },
	{ "mode: enforce\nmx: a.example\n" A, "it says no version", 0, 0, 0 },
	{ "version: STSv2\nmode: enforce\nmx: a.example\n" A, "its version is not STSv1", 0, 0, 0 },
	{ V "mode: Enforce\nmx: a.example\n" A, "its mode is none of enforce, testing and none", 0, 0, 0 },
	{ V "mode: enforce\nmx: a.*.example\n" A, "an mx of it is no host name", 0, 0, 0 },
	{ V "mode: enforce\nmx: *\n" A, "an mx of it is no host name", 0, 0, 0 },
	{ V "mode: enforce\nmx:\n" A, "an mx of it is no host name", 0, 0, 0 },
	{ V "mode: enforce\nmx: a.example\nmax_age: -1\n", "its max_age is no number of seconds", 0, 0, 0 },
	{ V "mode: enforce\nmx: a.example\nmax_age: 12345678901\n", "its max_age is no number of seconds", 0, 0, 0 },
	{ V "mode: enforce\nmx: a.example\nnonsense\n" A, "a line of it is not 'name: value'", 0, 0, 0 },
	{ V "mode : enforce\nmx: a.example\n" A, "a line of it is not 'name: value'", 0, 0, 0 },
	{ "<html>", "a line of it is not 'name: value'", 0, 0, 0 },
	{ "", "it says no version", 0, 0, 0 },
};

static void
test_policy(void **state UNUSED)
{
	struct sts_policy p;
	const char *err;
	size_t i;
	int r;

	for (i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		err = NULL;
		r = sts_policy_parse(policies[i].text, strlen(policies[i].text), &p, &err);
		if (policies[i].err != NULL) {
			assert_int_equal(r, -1);
			assert_string_equal(err, policies[i].err);
			continue;
		}
		if (r != 0)
			fail_msg("%zu: %s", i, err);
		assert_int_equal(p.mode, policies[i].mode);
		assert_int_equal(p.max_age, policies[i].max_age);
		assert_int_equal(p.n_mx, policies[i].n_mx);
		sts_policy_clear(&p);
	}
}

static void
test_mx(void **state UNUSED)
{
	static const char text[] = V "mode: enforce\nmx: A.example\nmx: *.B.example\n" A;
	struct sts_policy p;
	const char *err;

	assert_int_equal(sts_policy_parse(text, sizeof(text) - 1, &p, &err), 0);
	assert_true(sts_policy_has_mx(&p, "a.example"));
	assert_true(sts_policy_has_mx(&p, "mx1.b.EXAMPLE"));
	assert_false(sts_policy_has_mx(&p, "b.example"));
	assert_false(sts_policy_has_mx(&p, ".b.example"));
	assert_false(sts_policy_has_mx(&p, "c.mx1.b.example"));
	assert_false(sts_policy_has_mx(&p, "x.a.example"));
	assert_false(sts_policy_has_mx(&p, "example"));
	sts_policy_clear(&p);
}

/* Both frames, whole and cut anywhere. */
static void
test_link(void **state UNUSED)
{
	char text[] = V "mode: enforce\nmx: a.example\n" A, why[] = "timeout";
	struct sts_ask ask = { .domain = "a-b.example", .id = "x1", .is_refresh = 1,
		.host = mx_list_new(MX_IMPLICIT) }, ask2;
	struct sts_answer a = { STS_FOUND_POLICY, STS_PROBLEM_FETCH, why, "x1", 1000, 2000, text, sizeof(text) - 1 };
	struct sts_answer a2;
	struct wbuf w;
	struct rbuf r;
	size_t n;

	assert_int_equal(mx_list_add(ask.host, "mta-sts.a-b.example", 0), 0);
	mx_host_add(&ask.host->hosts[0], AF_INET, (const uint8_t *)"\x7f\0\0\1");
	wbuf_init(&w);
	sts_ask_encode(&ask, &w);
	assert_true(w.len <= STS_ASK_MAX);
	for (n = 0; n < w.len; n++) {
		rbuf_init(&r, w.p, n);
		assert_int_equal(sts_ask_decode(&r, &ask2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(sts_ask_decode(&r, &ask2), 0);
	assert_string_equal(ask2.domain, "a-b.example");
	assert_string_equal(ask2.id, "x1");
	assert_int_equal(ask2.host->hosts[0].n_addrs, 1);
	sts_ask_clear(&ask2);
	w.p[6] = 'A'; /* no upper case: it becomes a file's name */
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(sts_ask_decode(&r, &ask2), -1);
	wbuf_reset(&w);
	sts_answer_encode(&a, &w);
	for (n = 0; n < w.len; n++) {
		rbuf_init(&r, w.p, n);
		assert_int_equal(sts_answer_decode(&r, &a2), -1);
	}
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(sts_answer_decode(&r, &a2), 0);
	assert_string_equal(a2.text, text);
	assert_string_equal(a2.why, why);
	assert_int_equal(a2.expires, 2000);
	sts_answer_clear(&a2);
	text[0] = 'x'; /* no policy */
	wbuf_reset(&w);
	sts_answer_encode(&a, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(sts_answer_decode(&r, &a2), -1);
	wbuf_clear(&w);
	sts_ask_clear(&ask);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_txt), cmocka_unit_test(test_policy),
		cmocka_unit_test(test_mx), cmocka_unit_test(test_link) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
