/* The trace header: written, folded by ourselves and others, read again; altered, cut, signed with other keys. That it
 * is what others read is shown in t/50-feedback.t, with a decoder of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/xalloc.h"
#include "mail/trace.h"

static const struct ql_token_key keys[] = { { 1, "first" }, { 200, "second" } };
static char f_recipient[] = "recipient", f_tenant[] = "tenant", f_campaign[] = "campaign", f_list[] = "x_list";
static char *names[] = { f_recipient, f_tenant, f_campaign, f_list };
static struct conf_strs fields = { names, 4 };

static char *
write_with(const struct ql_token_key *key, const struct trace_source *s)
{
	struct token_signer signer = { .mac = NULL };
	struct wbuf w;

	token_signer_set(&signer, key);
	wbuf_init(&w);
	trace_write(&signer, s, &fields, &w);
	wbuf_u8(&w, 0);
	token_signer_clear(&signer);
	return (char *)w.p;
}

static struct trace_source
source(void)
{
	struct trace_source s = { .recipient = "ana@example.net", .tenant = "acme", .campaign = "autumn \"24\"" };

	msgid_new(&s.env.msg, 1785000000000);
	s.env.rcpt = 3;
	return s;
}

static char *
value_of(char *header)
{
	assert_memory_equal(header, TOKEN_HEADER ": ", strlen(TOKEN_HEADER) + 2);
	return header + strlen(TOKEN_HEADER) + 2;
}

static void
test_round_trip(void **state)
{
	struct meta meta[] = { { f_list, f_tenant }, { f_tenant, f_list } };

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct trace_source s = source();
		struct trace t;
		char *header;

		if (i & 1)
			s.env.rcpt = TOKEN_MANY;
		if (i & 2)
			s.tenant = s.campaign = NULL;
		if (i & 4) {
			s.meta = meta;
			s.n_meta = 2;
		}
		header = write_with(&keys[i % 2], &s);
		assert_in_range(trace_size(&s, &fields), strlen(header) - 10, strlen(header) + 90);
		assert_int_equal(trace_read(value_of(header), keys, 2, &t), TRACE_VALID);
		assert_int_equal(envid_cmp(&t.env, &s.env), 0);
		if (i & 1)
			assert_null(t.recipient);
		else
			assert_string_equal(t.recipient, s.recipient);
		if (i & 2)
			assert_null(t.tenant);
		else {
			assert_string_equal(t.tenant, "acme");
			assert_string_equal(t.campaign, s.campaign);
		}
		assert_int_equal(t.n_meta, (i & 1 ? 0 : 1) + (i & 2 ? 0 : 2) + (i & 4 ? 1 : 0));
		if (i & 4)
			assert_string_equal(t.meta[t.n_meta - 1].key, "x_list");
		trace_clear(&t);
		assert_int_equal(trace_read(value_of(header), &keys[1 - i % 2], 1, &t), TRACE_FORGED);
		assert_int_equal(trace_read(value_of(header), NULL, 0, &t), TRACE_FORGED);
		free(header);
	}
}

/* Lines, and how long they are, whatever is in it. */
static void
test_folded(void **state)
{
	char value[3000];
	struct meta meta = { f_list, value };

	(void)state;
	for (size_t n = 0; n < sizeof(value); n += 7) {
		struct trace_source s = source();
		struct trace t;
		char *header, *line;

		memset(value, 'v', n);
		value[n] = '\0';
		s.meta = &meta;
		s.n_meta = 1;
		header = write_with(&keys[0], &s);
		assert_int_equal(trace_read(value_of(header), keys, 2, &t), TRACE_VALID);
		assert_string_equal(t.recipient, s.recipient);
		/* Too long is left out whole. */
		if (n > 0 && n < 2000)
			assert_string_equal(t.meta[3].value, value);
		if (n > TRACE_FIELDS_MAX)
			assert_int_equal(t.n_meta, 3);
		trace_clear(&t);
		assert_true(strlen(header) < TRACE_VALUE_MAX);
		for (line = header; *line != '\0'; line += 2) {
			size_t len = strcspn(line, "\r");

			assert_true(len > 1 && len <= 78 && line[len + 1] == '\n');
			assert_true(line == header || (*line == ' ' && line[1] != ' '));
			line += len;
		}
		free(header);
	}
}

/* Folded anew, or unfolded, on its way. */
static void
test_refolded(void **state)
{
	struct trace_source s = source();
	char *header = write_with(&keys[0], &s), *value = value_of(header), out[2000], *to = out;
	struct trace t;

	(void)state;
	for (const char *p = value; *p != '\0'; p++) {
		if (strchr("\r\n ", *p) != NULL)
			continue;
		*to++ = *p;
		if ((p - value) % 11 == 0)
			to = stpcpy(to, "\n\t ");
	}
	*to = '\0';
	assert_int_equal(trace_read(out, keys, 2, &t), TRACE_VALID);
	assert_string_equal(t.recipient, s.recipient);
	trace_clear(&t);
	free(header);
}

static void
test_altered(void **state)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
	struct trace_source s = source();
	char *header = write_with(&keys[0], &s), *value = value_of(header);
	size_t len = strlen(value);
	struct trace t;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		char was = value[i];

		if (strchr("\r\n ", was) != NULL)
			continue;
		for (const char *c = alphabet; *c != '\0'; c++) {
			value[i] = *c;
			/* The last letters may have bits that mean nothing. */
			if (*c != was && trace_read(value, keys, 2, &t) == TRACE_VALID) {
				assert_true(i > len - 8);
				assert_string_equal(t.recipient, s.recipient);
				assert_int_equal(envid_cmp(&t.env, &s.env), 0);
				trace_clear(&t);
			}
		}
		value[i] = was;
	}
	for (size_t n = 0; n < len - 2; n++) {
		char *cut = xmemdup0(value, n);

		assert_int_not_equal(trace_read(cut, keys, 2, &t), TRACE_VALID);
		free(cut);
	}
	free(header);
}

/* An attacker chooses the fields of his own mail through us: a recipient cannot end the object early. */
static void
test_injected(void **state)
{
	static const char *const recipients[] = { "\"a\\\",\\\"id\\\":\\\"0\"@b.example",
		"a\",\"mac\":\"AAAAAAAAAAAAAAAAAAAAAA\"}", "\\", "\"", "\xff\x80", "\n\r\t" };

	(void)state;
	for (size_t i = 0; i < sizeof(recipients) / sizeof(recipients[0]); i++) {
		struct trace_source s = source();
		struct trace t;
		char *header;

		s.recipient = recipients[i];
		header = write_with(&keys[0], &s);
		assert_int_equal(trace_read(value_of(header), keys, 2, &t), TRACE_VALID);
		assert_int_equal(envid_cmp(&t.env, &s.env), 0);
		if (i != 4) /* no UTF-8 */
			assert_string_equal(t.recipient, s.recipient);
		assert_string_equal(t.tenant, "acme");
		trace_clear(&t);
		free(header);
	}
}

static void
test_others(void **state)
{
	struct trace_source s = source();
	struct token_signer signer = { .mac = NULL };
	char token[TOKEN_TEXT], *long_text = xcalloc(1, TRACE_VALUE_MAX + 2);
	struct trace t;

	(void)state;
	/* What older versions wrote. */
	token_signer_set(&signer, &keys[1]);
	token_make(&signer, &s.env, token);
	token_signer_clear(&signer);
	assert_int_equal(trace_read(token, keys, 2, &t), TRACE_VALID);
	assert_int_equal(envid_cmp(&t.env, &s.env), 0);
	assert_null(t.recipient);
	trace_clear(&t);
	token[5] ^= 1;
	assert_int_equal(trace_read(token, keys, 2, &t), TRACE_NONE);
	/* KumoMTA's, which is not signed; and no such thing. */
	assert_int_equal(trace_read("eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50IjoidGVzdEBleGFtcGxlLmNvbSJ9", keys, 2, &t),
	    TRACE_FORGED);
	assert_int_equal(trace_read("", keys, 2, &t), TRACE_NONE);
	assert_int_equal(trace_read("====", keys, 2, &t), TRACE_NONE);
	assert_int_equal(trace_read("=", keys, 2, &t), TRACE_NONE);
	assert_int_equal(trace_read("T-1", keys, 2, &t), TRACE_NONE);
	memset(long_text, 'A', TRACE_VALUE_MAX + 1);
	assert_int_equal(trace_read(long_text, keys, 2, &t), TRACE_NONE);
	long_text[TRACE_VALUE_MAX] = '\0';
	assert_int_equal(trace_read(long_text, keys, 2, &t), TRACE_NONE);
	free(long_text);
	assert_true(trace_field_valid("x_list"));
	assert_false(trace_field_valid("mac") || trace_field_valid("") || trace_field_valid("id"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_folded),
		cmocka_unit_test(test_refolded),
		cmocka_unit_test(test_altered),
		cmocka_unit_test(test_injected),
		cmocka_unit_test(test_others),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
