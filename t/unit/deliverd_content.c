/* From spool to wire: byte-exact for every way to cut the content into pieces, lone CR and LF never pass. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/wire.h"
#include "base/xalloc.h"
#include "deliverd/content.h"

#define UNUSED __attribute__((unused))
#define BARE NULL

/* Longer than what the encoder looks at in one step. */
#define HEX_16 "0123456789abcdef"
#define HEX_32 HEX_16 HEX_16
#define HEX_48 HEX_32 HEX_16
#define HEX_64 HEX_32 HEX_32

static const struct {
	const char *in, *out; /* BARE: refused */
} rows[] = {
	{ "", ".\r\n" }, { "a", "a\r\n.\r\n" }, { "a\r\n", "a\r\n.\r\n" }, { ".", "..\r\n.\r\n" }, { ".\r\n",
	    "..\r\n.\r\n" },
	{ "..\r\n", "...\r\n.\r\n" }, { "\r\n.\r\n", "\r\n..\r\n.\r\n" }, { "a.b\r\n.c", "a.b\r\n..c\r\n.\r\n" },
	{ "a\r\n\r\n.\r\n.\r\nb\r\n", "a\r\n\r\n..\r\n..\r\nb\r\n.\r\n" },
	{ HEX_64 "\r\n." HEX_48 HEX_32 "\r\n.x", HEX_64 "\r\n.." HEX_48 HEX_32 "\r\n..x\r\n.\r\n" },
	{ "\n", BARE }, { "\r", BARE }, { "a\nb\r\n", BARE }, { "a\rb\r\n", BARE }, { "a\r\n.\n", BARE }, { "a\n.\r\n",
	    BARE }, { "a\r", BARE },
	{ "a\r\r\n.\r\n", BARE }, { "\r\n.\r\r\n", BARE }, { "a\n\r\n", BARE },
	{ HEX_48 "0123456789abcde\n" HEX_48, BARE },
};

static int
encode(const char *in, size_t cut, struct evbuffer *out)
{
	struct content_state s = { .last = '\n' };

	if (content_encode(&s, in, cut, out) == -1 || content_encode(&s, in + cut, strlen(in + cut), out) == -1)
		return -1;
	return content_encode_end(&s, out);
}

static void
test_encode(void **state UNUSED)
{
	struct evbuffer *out;
	size_t i, cut;
	int r;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (cut = 0; cut <= strlen(rows[i].in); cut++) {
			out = evbuffer_new();
			r = encode(rows[i].in, cut, out);
			assert_int_equal(r, rows[i].out == BARE ? -1 : 0);
			if (r == 0) {
				evbuffer_add(out, "", 1);
				assert_string_equal(evbuffer_pullup(out, -1), rows[i].out);
			}
			evbuffer_free(out);
		}
}

/* Against the plainest implementation there is. */
static void
test_random(void **state UNUSED)
{
	static const char *const bits[] = { "a", ".", "\r\n", "\n", "\r", "bcdefghij", "\r\n.",
	    "0123456789012345678901234567890123456789" };
	struct content_state s;
	struct evbuffer *out;
	char in[4096], want[9000], last;
	unsigned round, i, n, w;
	bool is_bare;

	for (round = 0; round < 20000; round++) {
		in[0] = '\0';
		n = (unsigned)random() % 60;
		for (i = 0; i < n; i++) /* lone ones are rare, so that many rounds have none */
			strcat(in, bits[(unsigned)random() % (round % 4 == 0 ? 8 : 3) ]);
		n = (unsigned)strlen(in);
		is_bare = n > 0 && in[n - 1] == '\r';
		for (i = w = 0, last = '\n'; i < n; last = in[i++]) {
			is_bare |= (in[i] == '\n') != (i > 0 && in[i - 1] == '\r');
			if (in[i] == '.' && last == '\n')
				want[w++] = '.';
			want[w++] = in[i];
		}
		out = evbuffer_new();
		s.last = '\n';
		if (is_bare) {
			assert_true(content_encode(&s, in, n, out) == -1 || content_encode_end(&s, out) == -1);
		} else {
			assert_int_equal(content_encode(&s, in, n, out), 0);
			assert_int_equal(evbuffer_get_length(out), w);
			assert_memory_equal(evbuffer_pullup(out, -1), want, w);
		}
		evbuffer_free(out);
	}
}

static struct record
write_record(int fd, const char *headers, const char *body, size_t body_len)
{
	struct record r = { .segment = 1, .offset = 128, .n_rcpts = 1, .headers_len = (uint32_t)strlen(headers),
	    .body_len = body_len };
	struct envelope *e = envelope_new();
	uint8_t hdr[RECORD_HDR];
	struct wbuf env;

	msgid_new(&r.id, 1000);
	e->id = r.id;
	envelope_add_rcpt(e, "a@b", NULL, 0);
	wbuf_init(&env);
	envelope_encode(e, &env);
	r.envelope_len = (uint32_t)env.len;
	r.crc = crc32c(crc32c(crc32c(0, body, body_len), headers, r.headers_len), env.p, env.len);
	record_encode(&r, hdr);
	assert_int_equal(pwrite(fd, hdr, RECORD_HDR, 128), RECORD_HDR);
	assert_int_equal(pwrite(fd, body, body_len, (off_t)(128 + record_body_off(&r))), body_len);
	assert_int_equal(pwrite(fd, headers, r.headers_len, (off_t)(128 + record_headers_off(&r))), r.headers_len);
	assert_int_equal(pwrite(fd, env.p, env.len, (off_t)(128 + record_envelope_off(&r))), env.len);
	wbuf_clear(&env);
	envelope_free(&e);
	return r;
}

/* All of a record, as a connection would drain it. */
static int
send_record_as(int fd, const struct record *r, const struct content_head *head, struct evbuffer *wire)
{
	struct evbuffer *out = evbuffer_new();
	struct content *c = NULL;
	bool is_verified = false;
	const char *err;
	int result = content_begin(&c, fd, r, "X-Trace: t\r\n", head, out, &is_verified, &err);

	while (result == 0) {
		assert_true(is_verified);
		assert_in_range(evbuffer_get_length(out), 1, 600000); /* bounded, whatever the size of the message */
		evbuffer_add_buffer(wire, out);
		result = content_more(c, out, &err);
	}
	evbuffer_add_buffer(wire, out);
	content_free(&c);
	evbuffer_free(out);
	return result;
}

static int
send_record(int fd, const struct record *r, struct evbuffer *wire)
{
	return send_record_as(fd, r, &(struct content_head){ NULL, 0 }, wire);
}

/* With a header block of policy's in place of its own. */
static void
check_head(int fd, const struct record *r, const char *body, size_t n)
{
	static const char head[] = "Subject: another\r\n.X: y\r\n\r\n";
	static const char sent[] = "X-Trace: t\r\nSubject: another\r\n..X: y\r\n\r\n";
	struct evbuffer *wire = evbuffer_new();

	assert_int_equal(send_record_as(fd, r, &(struct content_head){ head, sizeof(head) - 1 }, wire), 1);
	assert_int_equal(evbuffer_get_length(wire), sizeof(sent) - 1 + n);
	assert_memory_equal(evbuffer_pullup(wire, -1), sent, sizeof(sent) - 1);
	assert_memory_equal(evbuffer_pullup(wire, -1) + sizeof(sent) - 1, body, n);
	evbuffer_drain(wire, evbuffer_get_length(wire));
	assert_int_equal(send_record_as(fd, r, &(struct content_head){ "X: y\n\r\n", 7 }, wire), -2);
	evbuffer_free(wire);
}

static void
check_size(size_t body_len)
{
	static const char headers[] = "Subject: x\r\n\r\n";
	size_t head_len = strlen("X-Trace: t\r\n") + strlen(headers);
	char name[] = "/tmp/deliverd-content-XXXXXX", *body = xmalloc(body_len), *want = xmalloc(body_len * 2 + 100);
	struct evbuffer *wire = evbuffer_new();
	int fd = mkstemp(name);
	struct record r;
	size_t i, n;

	unlink(name);
	for (i = 0; i < body_len; i++)
		body[i] = i % 77 == 75 ? '\r' : i % 77 == 76 ? '\n' : i % 77 == 0 && i % 3 == 0 ? '.' :
		    (char)(i * 7 % 200 + 33 == '.' ? 'x' :
		    i * 7 % 200 + 33);
	if (body_len > 0 && body[body_len - 1] == '\r')
		body[body_len - 1] = 'r';
	r = write_record(fd, headers, body, body_len);
	n = (size_t)sprintf(want, "X-Trace: t\r\n%s", headers);
	for (i = 0; i < body_len; i++) {
		if (body[i] == '.' && want[n - 1] == '\n')
			want[n++] = '.';
		want[n++] = body[i];
	}
	n += (size_t)sprintf(want + n, want[n - 1] == '\n' ? ".\r\n" : "\r\n.\r\n");
	assert_int_equal(send_record(fd, &r, wire), 1);
	assert_int_equal(evbuffer_get_length(wire), n);
	assert_memory_equal(evbuffer_pullup(wire, -1), want, n);
	check_head(fd, &r, want + head_len, n - head_len);
	/* one bit */
	if (body_len > 0) {
		body[body_len / 2] ^= 1;
		assert_int_equal(pwrite(fd, body + body_len / 2, 1, (off_t)(128 + record_body_off(&r) + body_len / 2)),
		    1);
		evbuffer_drain(wire, n);
		assert_int_equal(send_record(fd, &r, wire), -1);
		assert_int_equal(evbuffer_get_length(wire), 0);
	}
	evbuffer_free(wire);
	close(fd);
	free(body);
	free(want);
}

static void
test_records(void **state UNUSED)
{
	static const size_t sizes[] = { 0, 1, 77, 4096, 65536, 70000, (1 << 20) - 14, (1 << 20) - 13, 3 << 20,
	    5000001 };
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_size(sizes[i]);
}

static void
test_size(void **state UNUSED)
{
	struct record r = { .headers_len = 100, .body_len = 1000 };

	assert_int_equal(content_size(&r, &(struct content_head){ NULL, 0 }, 60), 1160);
	assert_int_equal(content_size(&r, &(struct content_head){ "x", 1 }, 60), 1061);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_size),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
