/* The envelope: round trip, every truncation, garbage, and that what is written can always be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/envelope.h"
#include "t/unit/decoder.h"

static struct envelope *
sample(void)
{
	struct envelope *env = envelope_new();

	msgid_new(&env->id, 1785000123456);
	env->received = 1785000123456;
	free(env->sender);
	env->sender = xstrdup("bounce+c42@mail.shop.example");
	env->envid = xstrdup("QQ314159");
	env->ret = RET_HDRS;
	env->flags = MSG_8BIT | MSG_HAS_DOTS;
	env->tenant = xstrdup("acme");
	env->client = xstrdup("192.0.2.7");
	env->helo = xstrdup("");
	env->session = xstrdup("4a6f8c10-8d52-4b3e-a3e1-90d5b2c7f001");
	env->message_id = xstrdup("<a@b>");
	envelope_add_rcpt(env, "ana@example.net", "rfc822;ana@example.net", NOTIFY_FAILURE | NOTIFY_DELAY);
	envelope_add_rcpt(env, "\"a b\"@example.net", NULL, NOTIFY_DEFAULT);
	envelope_add_rcpt(env, "j\xc3\xbcrgen@example.net", NULL, NOTIFY_NEVER);
	envelope_set_meta(env, "list", "lapsed");
	envelope_set_meta(env, "note", "");
	env->first_attempt = 1785000000000;
	env->expires = 1785003600000;
	return env;
}

static int
decode(const uint8_t *p, size_t len)
{
	const char *err = NULL;
	struct envelope *env = envelope_decode(p, len, &err);

	if (env == NULL) {
		assert_non_null(err);
		return -1;
	}
	envelope_free(&env);
	assert_null(env);
	return 0;
}

/* A record of an earlier release: the same but for the schedule at the end. */
static void
test_version_1(void **state)
{
	struct envelope *env = sample(), *back;
	const char *err = NULL;
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	envelope_encode(env, &w);
	w.p[0] = 1;
	assert_int_equal(decode(w.p, w.len), -1);
	back = envelope_decode(w.p, w.len - 16, &err);
	assert_non_null(back);
	assert_int_equal(back->n_meta, 2);
	assert_int_equal(back->first_attempt, 0);
	assert_int_equal(back->expires, 0);
	envelope_free(&back);
	wbuf_clear(&w);
	envelope_free(&env);
}

static void
test_round_trip(void **state)
{
	struct envelope *env = sample(), *back;
	struct wbuf w, again;
	const char *err;

	(void)state;
	wbuf_init(&w);
	wbuf_init(&again);
	envelope_encode(env, &w);
	back = envelope_decode(w.p, w.len, &err);
	assert_non_null(back);
	assert_int_equal(msgid_cmp(&env->id, &back->id), 0);
	assert_int_equal(back->received, env->received);
	assert_string_equal(back->sender, env->sender);
	assert_string_equal(back->envid, "QQ314159");
	assert_int_equal(back->ret, RET_HDRS);
	assert_int_equal(back->flags, env->flags);
	assert_string_equal(back->tenant, "acme");
	assert_null(back->campaign);
	assert_null(back->queue);
	assert_null(back->auth_user);
	assert_string_equal(back->client, "192.0.2.7");
	assert_string_equal(back->helo, "");
	assert_string_equal(back->session, env->session);
	assert_string_equal(back->message_id, "<a@b>");
	assert_int_equal(back->n_rcpts, 3);
	assert_string_equal(back->rcpts[0].orcpt, "rfc822;ana@example.net");
	assert_int_equal(back->rcpts[0].notify, NOTIFY_FAILURE | NOTIFY_DELAY);
	assert_string_equal(back->rcpts[1].address, "\"a b\"@example.net");
	assert_null(back->rcpts[1].orcpt);
	assert_string_equal(back->rcpts[2].address, "j\xc3\xbcrgen@example.net");
	assert_int_equal(back->n_meta, 2);
	assert_string_equal(back->meta[0].key, "list");
	assert_string_equal(back->meta[1].value, "");
	assert_int_equal(back->first_attempt, 1785000000000);
	assert_int_equal(back->expires, 1785003600000);
	envelope_encode(back, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.p, again.p, w.len);
	wbuf_clear(&w);
	wbuf_clear(&again);
	envelope_free(&env);
	envelope_free(&back);
}

static void
test_hostile(void **state)
{
	struct envelope *env = sample();
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	envelope_encode(env, &w);
	decoder_check(decode, w.p, w.len);
	wbuf_clear(&w);
	envelope_free(&env);
}

/* A forged string: the decoder must not believe the encoder's good manners. */
static void
test_forged_text(void **state)
{
	static const struct {
		const char *find;
		char bad;
	} cases[] = {
		{ "bounce+c42@", '\n' }, { "bounce+c42@", '\r' }, { "bounce+c42@", '\0' }, { "bounce+c42@", '\x7f' },
		{ "bounce+c42@", '\t' }, { "ana@example", '\n' }, { "rfc822;ana", '\x01' }, { "QQ314159", '\n' },
		{ "acme", '\n' }, { "acme", '\0' }, { "<a@b>", '\r' }, { "list", '\n' }, { "lapsed", '\0' },
	};
	struct envelope *env = sample();
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *at;

		wbuf_reset(&w);
		envelope_encode(env, &w);
		at = memmem(w.p, w.len, cases[i].find, strlen(cases[i].find));
		assert_non_null(at);
		at[1] = (uint8_t)cases[i].bad;
		if (decode(w.p, w.len) != -1)
			fail_msg("case %zu was accepted", i);
	}
	wbuf_clear(&w);
	envelope_free(&env);
}

static void
test_bad_meaning(void **state)
{
	struct envelope *env = sample();
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	env->ret = 3;
	envelope_encode(env, &w);
	assert_int_equal(decode(w.p, w.len), -1);
	env->ret = RET_FULL;
	env->rcpts[1].notify = 16;
	wbuf_reset(&w);
	envelope_encode(env, &w);
	assert_int_equal(decode(w.p, w.len), -1);
	env->rcpts[1].notify = 0;
	wbuf_reset(&w);
	envelope_encode(env, &w);
	assert_int_equal(decode(w.p, w.len), 0);
	envelope_free(&env);
	/* Nobody to deliver to. */
	env = envelope_new();
	wbuf_reset(&w);
	envelope_encode(env, &w);
	assert_int_equal(decode(w.p, w.len), -1);
	envelope_free(&env);
	wbuf_clear(&w);
}

/* Whatever a header or policy put in, the message must come back. */
static void
test_absurd_text_survives(void **state)
{
	struct envelope *env = sample(), *back;
	char *huge = malloc(100001);
	const char *err;
	struct wbuf w;

	(void)state;
	assert_non_null(huge);
	for (size_t i = 0; i < 100000; i += 2)
		memcpy(huge + i, "\xc3\xa4", 2);
	huge[100000] = '\0';
	free(env->message_id);
	env->message_id = xstrdup(huge);
	free(env->tenant);
	env->tenant = xstrdup("x\r\ny");
	envelope_set_meta(env, "huge", huge);
	wbuf_init(&w);
	envelope_encode(env, &w);
	back = envelope_decode(w.p, w.len, &err);
	assert_non_null(back);
	assert_int_equal(strlen(back->message_id), 1024);
	assert_string_equal(back->tenant, "x??y");
	assert_int_equal(strlen(back->meta[2].value), 4096);
	/* Cut between characters. */
	free(env->message_id);
	env->message_id = xasprintf("x%s", huge);
	wbuf_reset(&w);
	envelope_encode(env, &w);
	envelope_free(&back);
	back = envelope_decode(w.p, w.len, &err);
	assert_non_null(back);
	assert_int_equal(strlen(back->message_id), 1023);
	envelope_free(&back);
	envelope_free(&env);
	wbuf_clear(&w);
	free(huge);
}

static void
test_many(void **state)
{
	struct envelope *env = sample(), *back;
	char text[64];
	const char *err;
	struct wbuf w;

	(void)state;
	for (unsigned i = env->n_rcpts; i < ENVELOPE_MAX_RCPTS; i++) {
		snprintf(text, sizeof(text), "user%u@example.net", i);
		envelope_add_rcpt(env, text, NULL, 0);
	}
	for (unsigned i = 0; i < 2 * META_MAX; i++) {
		snprintf(text, sizeof(text), "key%u", i);
		envelope_set_meta(env, text, "first");
		envelope_set_meta(env, text, "second");
	}
	wbuf_init(&w);
	envelope_encode(env, &w);
	back = envelope_decode(w.p, w.len, &err);
	assert_non_null(back);
	assert_int_equal(back->n_rcpts, ENVELOPE_MAX_RCPTS);
	assert_string_equal(back->rcpts[65534].address, "user65534@example.net");
	assert_int_equal(back->n_meta, META_MAX);
	assert_string_equal(back->meta[META_MAX - 1].value, "second");
	envelope_free(&back);
	/* One too many. */
	envelope_add_rcpt(env, "last@example.net", NULL, 0);
	wbuf_reset(&w);
	envelope_encode(env, &w);
	assert_int_equal(decode(w.p, w.len), -1);
	envelope_free(&env);
	wbuf_clear(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_forged_text),
		cmocka_unit_test(test_bad_meaning),
		cmocka_unit_test(test_absurd_text_survives),
		cmocka_unit_test(test_many),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
