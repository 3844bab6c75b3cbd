/* VERP return paths: ours come back in any case; forged, altered, cut and expired ones change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mail/verp.h"

#define NOW 1785000123456
#define DAY ((int64_t)86400 * 1000)

static const struct ql_token_key keys[3] = { { 1, { 1, 2, 3 } }, { 2, { 4, 5, 6 } }, { 1, { 7 } } };

static void
make(const char *prefix, const char *domain, unsigned rcpt, char out[ADDRESS_MAX], struct envid *env)
{
	struct token_signer s = { .mac = NULL };

	msgid_new(&env->msg, NOW);
	env->rcpt = (uint16_t)rcpt;
	token_signer_set(&s, &keys[0]);
	assert_int_equal(verp_make(&s, env, prefix, domain, out), 0);
	token_signer_clear(&s);
}

static enum verp_verdict
check(const char *address, struct envid *env)
{
	return verp_check(address, "bounce", keys, 2, NOW + DAY, 30 * DAY, env);
}

static void
test_round_trip(void **state)
{
	char address[ADDRESS_MAX], canonical[ADDRESS_MAX];
	struct envid env, back;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		make("bounce", "b.example.com", i * 7, address, &env);
		assert_int_equal(address_local_len(address), 6 + 1 + VERP_TOKEN);
		assert_int_equal(address_parse(address, false, canonical), 0);
		assert_string_equal(address, canonical);
		assert_int_equal(check(address, &back), VERP_VALID);
		assert_int_equal(envid_cmp(&env, &back), 0);
		for (char *p = address; *p != '\0'; p++)
			if (*p >= 'a' && *p <= 'z' && i % 2 == (size_t)(p - address) % 2)
				*p = (char)(*p - 'a' + 'A');
		assert_int_equal(check(address, &back), VERP_VALID);
		assert_int_equal(envid_cmp(&env, &back), 0);
	}
}

static void
test_prefixes(void **state)
{
	static const char *const wrong[] = { "", "sixteen-letters-", "a b", "a+b", "\u00e4", "-a", "a@b", "a.b" };
	struct token_signer s = { .mac = NULL };
	char out[ADDRESS_MAX];
	struct envid env;

	(void)state;
	make("fifteen-letters", "b.example", 1, out, &env);
	assert_int_equal(address_local_len(out), 64);
	token_signer_set(&s, &keys[0]);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(verp_make(&s, &env, wrong[i], "b.example", out), -1);
	assert_int_equal(verp_make(&s, &env, "b", "no domain", out), -1);
	token_signer_clear(&s);
}

/* Every character changed, cut or added. */
static void
test_forged(void **state)
{
	char address[ADDRESS_MAX], wrong[ADDRESS_MAX];
	struct envid env, back;

	(void)state;
	make("bounce", "b.example", 3, address, &env);
	for (size_t i = 7; i < 7 + VERP_TOKEN; i++) {
		strcpy(wrong, address);
		wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
		assert_int_equal(check(wrong, &back), VERP_FORGED);
		wrong[i] = '1';
		assert_int_equal(check(wrong, &back), VERP_NONE);
		memmove(wrong + i, address + i + 1, strlen(address + i));
		assert_int_equal(check(wrong, &back), VERP_NONE);
	}
	assert_int_equal(verp_check(address, "bounce", keys + 1, 2, NOW, DAY, &back), VERP_FORGED);
	assert_int_equal(verp_check(address, "bounce", keys, 0, NOW, DAY, &back), VERP_FORGED);
	assert_int_equal(verp_check(address, "other", keys, 2, NOW, DAY, &back), VERP_NONE);
	assert_int_equal(check("", &back), VERP_NONE);
	assert_int_equal(check("bounce+", &back), VERP_NONE);
	assert_int_equal(check("bounce@b.example", &back), VERP_NONE);
	address[6] = '-';
	assert_int_equal(check(address, &back), VERP_NONE);
}

static void
test_expired(void **state)
{
	char address[ADDRESS_MAX];
	struct envid env, back;

	(void)state;
	make("bounce", "b.example", 3, address, &env);
	assert_int_equal(verp_check(address, "bounce", keys, 2, NOW + 30 * DAY, 30 * DAY, &back), VERP_VALID);
	assert_int_equal(verp_check(address, "bounce", keys, 2, NOW + 31 * DAY, 30 * DAY, &back), VERP_EXPIRED);
	assert_int_equal(envid_cmp(&env, &back), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_expired),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
