/* Every message of queued's socket: round trip, every truncation, one byte too many, flipped bits, garbage, forged
 * meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/xalloc.h"
#include "mail/policy_errors.h"
#include "mail/queue_link.h"
#include "t/unit/decoder.h"

static char text_pool[] = "pool-promo", text_queue[] = "autumn24:acme@example.net", text_sender[] = "a@b.example";
static char text_reply[] = "no such user\nsecond line", text_site[] = "ip-1->mx.example.net", text_empty[] = "";
static char text_key[] = "key", text_value[] = "value", text_rcpt[] = "ana@example.net";

static struct record
sample_record(void)
{
	struct record rec = { .segment = 7, .offset = 6400, .body_len = 4000, .headers_len = 300, .envelope_len = 120,
	    .crc = 0xdeadbeef,
		.flags = MSG_8BIT, .n_rcpts = 3 };

	msgid_new(&rec.id, 1785000123456);
	return rec;
}

static int
decode_hello(const uint8_t *p, size_t len)
{
	struct ql_hello out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_hello_decode(&r, &out);
	if (result == 0)
		ql_hello_clear(&out);
	return result;
}

static void
test_hello(void **state)
{
	struct ql_hello hello = { QL_PROTO, QL_ROLE_CONSUMER, text_pool, 4711, 3, 0x1122334455667788 }, back;
	struct wbuf w;
	struct rbuf r;

	(void)state;
	wbuf_init(&w);
	ql_hello_encode(&hello, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_hello_decode(&r, &back), 0);
	assert_int_equal(back.proto, QL_PROTO);
	assert_int_equal(back.role, QL_ROLE_CONSUMER);
	assert_string_equal(back.name, "pool-promo");
	assert_int_equal(back.pid, 4711);
	assert_int_equal(back.generation, 3);
	ql_hello_clear(&back);
	decoder_check(decode_hello, w.p, w.len);
	w.p[2] = 0;
	assert_int_equal(decode_hello(w.p, w.len), -1);
	w.p[2] = 4;
	assert_int_equal(decode_hello(w.p, w.len), -1);
	wbuf_clear(&w);
}

static int
decode_welcome(const uint8_t *p, size_t len)
{
	struct ql_welcome out;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return ql_welcome_decode(&r, &out);
}

static void
test_welcome(void **state)
{
	struct ql_welcome welcome = { .proto = QL_PROTO, .token = { .id = 9, .key = { 1, 2, 3 } } }, back;
	struct wbuf w;
	struct rbuf r;

	(void)state;
	uuid_new(welcome.nodeid);
	wbuf_init(&w);
	ql_welcome_encode(&welcome, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_welcome_decode(&r, &back), 0);
	assert_string_equal(back.nodeid, welcome.nodeid);
	assert_int_equal(back.token.id, 9);
	assert_memory_equal(back.token.key, welcome.token.key, TOKEN_KEY_LEN);
	decoder_check(decode_welcome, w.p, w.len);
	w.p[5] = '"';
	assert_int_equal(decode_welcome(w.p, w.len), -1);
	w.p[5] = '\0';
	assert_int_equal(decode_welcome(w.p, w.len), -1);
	wbuf_clear(&w);
}

static int
decode_seg(const uint8_t *p, size_t len)
{
	uint64_t segment, offset;
	uint8_t kind;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return ql_seg_decode(&r, &segment, &kind, &offset);
}

static int
decode_envid(const uint8_t *p, size_t len)
{
	struct envid out;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return ql_envid_decode(&r, &out);
}

static int
decode_u32(const uint8_t *p, size_t len)
{
	uint32_t out;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return ql_u32_decode(&r, &out);
}

static int
decode_str(const uint8_t *p, size_t len)
{
	char *out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_str_decode(&r, 100, &out);
	if (result == 0)
		free(out);
	return result;
}

static int
decode_pool(const uint8_t *p, size_t len)
{
	struct rbuf r;
	bool is_usable;
	char *text;
	int result;

	rbuf_init(&r, p, len);
	result = ql_pool_decode(&r, &is_usable, &text);
	if (result == 0)
		free(text);
	return result;
}

static int
decode_end(const uint8_t *p, size_t len)
{
	uint8_t status;
	char *out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_end_decode(&r, &status, &out);
	if (result == 0)
		free(out);
	return result;
}

static void
test_small(void **state)
{
	struct envid env = { .rcpt = 513 }, env_back;
	uint64_t segment, offset;
	uint32_t number;
	uint8_t kind, status;
	struct wbuf w;
	struct rbuf r;
	bool is_usable;
	char *text;

	(void)state;
	wbuf_init(&w);
	ql_seg_encode(0x1122334455667788, QL_SEG_LARGE, 0x99aabbccdd, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_seg_decode(&r, &segment, &kind, &offset), 0);
	assert_true(segment == 0x1122334455667788 && kind == QL_SEG_LARGE && offset == 0x99aabbccdd);
	decoder_check(decode_seg, w.p, w.len);
	w.p[8] = 3;
	assert_int_equal(decode_seg(w.p, w.len), -1);
	wbuf_reset(&w);
	ql_seg_encode(1, 0, UINT64_MAX, &w);
	assert_int_equal(decode_seg(w.p, w.len), -1);

	wbuf_reset(&w);
	msgid_new(&env.msg, 1785000123456);
	ql_envid_encode(&env, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_envid_decode(&r, &env_back), 0);
	assert_int_equal(envid_cmp(&env, &env_back), 0);
	decoder_check(decode_envid, w.p, w.len);
	env_back.rcpt++;
	assert_true(envid_cmp(&env, &env_back) < 0);
	assert_true(envid_cmp(&env_back, &env) > 0);
	env_back.msg.b[0]--;
	assert_true(envid_cmp(&env, &env_back) > 0);

	wbuf_reset(&w);
	ql_u32_encode(0xfedcba98, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_u32_decode(&r, &number), 0);
	assert_int_equal(number, 0xfedcba98);
	decoder_check(decode_u32, w.p, w.len);

	wbuf_reset(&w);
	ql_str_encode("20260725T17", &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_str_decode(&r, 100, &text), 0);
	assert_string_equal(text, "20260725T17");
	free(text);
	decoder_check(decode_str, w.p, w.len);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_str_decode(&r, 10, &text), -1);
	assert_null(text);

	wbuf_reset(&w);
	ql_end_encode(1, "no such queue", &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_end_decode(&r, &status, &text), 0);
	assert_int_equal(status, 1);
	assert_string_equal(text, "no such queue");
	free(text);
	decoder_check(decode_end, w.p, w.len);

	wbuf_reset(&w);
	ql_pool_encode(false, "no source has its address", &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_pool_decode(&r, &is_usable, &text), 0);
	assert_false(is_usable);
	assert_string_equal(text, "no source has its address");
	free(text);
	decoder_check(decode_pool, w.p, w.len);
	w.p[0] = 2;
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_pool_decode(&r, &is_usable, &text), -1);
	assert_null(text);
	wbuf_clear(&w);
}

static int
decode_policy_errors(const uint8_t *p, size_t len)
{
	struct policy_errors errors;
	struct rbuf r;

	rbuf_init(&r, p, len);
	return policy_errors_decode(&r, &errors);
}

/* Events by name; one that is not known, of another version, is no mistake. */
static void
test_policy_errors(void **state)
{
	struct policy_errors errors = { .n = { 3, 0, 1ull << 40 } }, out;
	struct rbuf r;
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	policy_errors_encode(&errors, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(policy_errors_decode(&r, &out), 0);
	assert_memory_equal(&out, &errors, sizeof(out));
	decoder_check(decode_policy_errors, w.p, w.len);
	wbuf_reset(&w);
	wbuf_u32(&w, 2);
	wbuf_str(&w, "an_event_to_come");
	wbuf_u64(&w, 7);
	wbuf_str(&w, policy_errors_event(1));
	wbuf_u64(&w, UINT64_MAX);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(policy_errors_decode(&r, &out), 0);
	assert_true(out.n[0] == 0 && out.n[1] == INT64_MAX);
	wbuf_reset(&w);
	wbuf_u32(&w, POLICY_ERRORS_MAX + 1);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(policy_errors_decode(&r, &out), -1);
	wbuf_clear(&w);
}

static int
decode_received(const uint8_t *p, size_t len)
{
	struct ql_received out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_received_decode(&r, &out);
	if (result == 0)
		ql_received_clear(&out);
	return result;
}

static void
test_received(void **state)
{
	struct record rec = sample_record();
	struct envelope *env = envelope_new();
	struct ql_received back;
	struct wbuf encoded, w;
	struct rbuf r;

	(void)state;
	env->id = rec.id;
	envelope_add_rcpt(env, "ana@example.net", NULL, 0);
	envelope_add_rcpt(env, "bob@example.net", NULL, 0);
	rec.n_rcpts = 2;
	wbuf_init(&encoded);
	wbuf_init(&w);
	envelope_encode(env, &encoded);
	rec.envelope_len = (uint32_t)encoded.len;
	ql_received_encode(&rec, &encoded, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_received_decode(&r, &back), 0);
	assert_true(back.rec.segment == 7 && back.rec.offset == 6400 && back.rec.body_len == 4000 &&
	    back.rec.headers_len == 300);
	assert_true(back.rec.crc == 0xdeadbeef && back.rec.flags == MSG_8BIT && back.rec.n_rcpts == 2);
	assert_int_equal(msgid_cmp(&back.rec.id, &rec.id), 0);
	assert_string_equal(back.env->rcpts[1].address, "bob@example.net");
	ql_received_clear(&back);
	assert_null(back.env);
	decoder_check(decode_received, w.p, w.len);

	/* The record must be about this envelope. */
	for (int i = 0; i < 4; i++) {
		struct record other = rec;

		if (i == 0)
			other.n_rcpts = 3;
		else if (i == 1)
			other.id.b[15] ^= 1;
		else if (i == 2)
			other.envelope_len++;
		else
			other.offset = 6401;
		wbuf_reset(&w);
		ql_received_encode(&other, &encoded, &w);
		assert_int_equal(decode_received(w.p, w.len), -1);
	}
	wbuf_clear(&w);
	wbuf_clear(&encoded);
	envelope_free(&env);
}

static int
decode_job(const uint8_t *p, size_t len)
{
	struct ql_job out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_job_decode(&r, &out);
	if (result == 0)
		ql_job_clear(&out);
	return result;
}

static void
test_job(void **state)
{
	struct ql_job_rcpt rcpts[2] = {
		{ .index = 0, .address = text_rcpt, .orcpt = text_value, .notify = NOTIFY_SUCCESS, .attempts = 3 },
		{ .index = 2, .address = text_sender },
	};
	struct meta meta = { text_key, text_value };
	struct ql_job job = { .rec = sample_record(), .received = 1785000123456, .expires = 1785432123456,
	    .sender = text_sender,
		.envid = text_key, .ret = RET_FULL, .queue = text_queue, .domain = text_site, .tenant = text_empty,
		.session = text_key, .auth_user = text_key,
		.meta = &meta, .n_meta = 1, .rcpts = rcpts, .n_rcpts = 2 };
	struct ql_job back;
	struct wbuf w;
	struct rbuf r;

	(void)state;
	wbuf_init(&w);
	ql_job_encode(&job, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_job_decode(&r, &back), 0);
	assert_true(back.rec.segment == 7 && back.rec.n_rcpts == 3 && back.received == job.received &&
	    back.expires == job.expires);
	assert_string_equal(back.sender, text_sender);
	assert_string_equal(back.envid, "key");
	assert_int_equal(back.ret, RET_FULL);
	assert_string_equal(back.queue, text_queue);
	assert_string_equal(back.domain, text_site);
	assert_string_equal(back.tenant, "");
	assert_null(back.campaign);
	assert_null(back.message_id);
	assert_string_equal(back.session, "key");
	assert_string_equal(back.auth_user, "key");
	assert_int_equal(back.n_meta, 1);
	assert_string_equal(back.meta[0].value, "value");
	assert_int_equal(back.n_rcpts, 2);
	assert_int_equal(back.rcpts[0].notify, NOTIFY_SUCCESS);
	assert_int_equal(back.rcpts[0].attempts, 3);
	assert_string_equal(back.rcpts[0].orcpt, "value");
	assert_int_equal(back.rcpts[1].index, 2);
	assert_null(back.rcpts[1].orcpt);
	ql_job_clear(&back);
	assert_null(back.rcpts);
	decoder_check(decode_job, w.p, w.len);

	for (int i = 0; i < 5; i++) {
		struct ql_job other = job;

		rcpts[1].index = i == 0 ? 3 : 2;
		rcpts[1].address = i == 1 ? text_empty : text_sender;
		if (i == 2)
			other.n_rcpts = 0;
		else if (i == 3)
			other.expires = -1;
		else if (i == 4)
			other.ret = 3;
		wbuf_reset(&w);
		ql_job_encode(&other, &w);
		assert_int_equal(decode_job(w.p, w.len), -1);
	}
	/* Another header block; without one the frame is as it was before there were any. */
	rcpts[1] = rcpts[0];
	for (uint32_t len = 0; len <= QL_HEAD_MAX + 1; len += len == 0 ? QL_HEAD_MAX : 1) {
		job.head = xcalloc(1, QL_HEAD_MAX + 1);
		memset(job.head, 'x', len);
		job.head_len = len;
		wbuf_reset(&w);
		ql_job_encode(&job, &w);
		rbuf_init(&r, w.p, w.len);
		assert_int_equal(ql_job_decode(&r, &back), len <= QL_HEAD_MAX ? 0 : -1);
		if (len <= QL_HEAD_MAX) {
			assert_int_equal(back.head_len, len);
			assert_memory_equal(back.head, job.head, len);
			assert_int_equal(decode_job(w.p, w.len - 1), -1);
		}
		ql_job_clear(&back);
		free(job.head);
	}
	wbuf_clear(&w);
}

static int
decode_result(const uint8_t *p, size_t len)
{
	struct ql_result out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_result_decode(&r, &out);
	if (result == 0)
		ql_result_clear(&out);
	return result;
}

static struct ql_result
sample_result(void)
{
	struct ql_result result = { .outcome = QL_FAILED, .phase = PHASE_RCPT, .is_local = true, .code = 550,
	    .enhanced = { 5, 1, 1 },
		.text = text_reply, .command = text_value, .site = text_site, .source = text_pool,
		.peer_name = text_key,
		.tls_version = text_empty, .session = text_queue, .dsn_passed = true, .retry_after = 60,
		.timing = { 1, 2, 3, 4, 5 } };

	msgid_new(&result.env.msg, 1785000123456);
	result.env.rcpt = 17;
	return result;
}

static void
test_result(void **state)
{
	struct ql_result result = sample_result(), back;
	struct wbuf w;
	struct rbuf r;

	(void)state;
	wbuf_init(&w);
	ql_result_encode(&result, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_result_decode(&r, &back), 0);
	assert_int_equal(envid_cmp(&back.env, &result.env), 0);
	assert_true(back.outcome == QL_FAILED && back.phase == PHASE_RCPT && back.is_local && back.code == 550);
	assert_true(back.enhanced.class == 5 && back.enhanced.subject == 1 && back.enhanced.detail == 1);
	assert_string_equal(back.text, text_reply);
	assert_string_equal(back.command, "value");
	assert_string_equal(back.site, text_site);
	assert_string_equal(back.source, text_pool);
	assert_null(back.source_address);
	assert_string_equal(back.peer_name, "key");
	assert_null(back.peer_addr);
	assert_null(back.provider);
	assert_string_equal(back.tls_version, "");
	assert_null(back.tls_cipher);
	assert_string_equal(back.session, text_queue);
	assert_true(back.dsn_passed);
	assert_int_equal(back.retry_after, 60);
	assert_true(back.timing.queue == 1 && back.timing.dns == 2 && back.timing.connect == 3 &&
	    back.timing.tls == 4 &&
	    back.timing.transfer == 5);
	ql_result_clear(&back);
	assert_null(back.text);
	decoder_check(decode_result, w.p, w.len);
	wbuf_clear(&w);
}

static void
test_result_meaning(void **state)
{
	struct wbuf w;

	(void)state;
	wbuf_init(&w);
	for (int i = 0; i < 10; i++) {
		struct ql_result result = sample_result();

		switch (i) {
		case 0: result.outcome = 0; break;
		case 1: result.outcome = QL_PASSED + 1; break;
		case 2: result.phase = PHASES; break;
		case 3: result.code = 199; break;
		case 4: result.code = 600; break;
		case 5: result.enhanced.class = 3; break;
		case 6: result.enhanced.class = 6; break;
		case 7: result.enhanced.subject = 1000; break;
		case 8: result.enhanced.detail = 1000; break;
		default: break;
		}
		wbuf_reset(&w);
		ql_result_encode(&result, &w);
		if (i == 9)
			w.p[20] = 2; /* is_local */
		if (decode_result(w.p, w.len) != -1)
			fail_msg("case %d was accepted", i);
	}
	wbuf_clear(&w);
}

static void
test_phase_names(void **state)
{
	(void)state;
	for (int i = 0; i < PHASES; i++)
		assert_non_null(phase_names[i]);
	assert_string_equal(phase_names[PHASE_DOT], "dot");
}

static int
decode_admin(const uint8_t *p, size_t len)
{
	struct ql_admin out;
	struct rbuf r;
	int result;

	rbuf_init(&r, p, len);
	result = ql_admin_decode(&r, &out);
	if (result == 0)
		ql_admin_clear(&out);
	return result;
}

static void
test_admin(void **state)
{
	struct meta args[2] = { { text_key, text_value }, { text_pool, text_empty } };
	struct ql_admin admin = { text_value, args, 2 }, back;
	struct wbuf w;
	struct rbuf r;

	(void)state;
	wbuf_init(&w);
	ql_admin_encode(&admin, &w);
	rbuf_init(&r, w.p, w.len);
	assert_int_equal(ql_admin_decode(&r, &back), 0);
	assert_string_equal(back.verb, "value");
	assert_int_equal(back.n_args, 2);
	assert_string_equal(back.args[0].key, "key");
	assert_string_equal(back.args[1].value, "");
	ql_admin_clear(&back);
	decoder_check(decode_admin, w.p, w.len);
	admin.verb = text_empty;
	wbuf_reset(&w);
	ql_admin_encode(&admin, &w);
	assert_int_equal(decode_admin(w.p, w.len), -1);
	wbuf_clear(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_welcome),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_policy_errors),
		cmocka_unit_test(test_received),
		cmocka_unit_test(test_job),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_result_meaning),
		cmocka_unit_test(test_phase_names),
		cmocka_unit_test(test_admin),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
