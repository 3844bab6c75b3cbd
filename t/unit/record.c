/* Spool records: what is read back is what was written, or it is refused; scanning finds its way past damage and is
 * not fooled by the former life of a file or by what a sender wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/xalloc.h"
#include "mail/record.h"

#define SEGMENT 0x1122334455667788

static const char headers[] = "Subject: x\r\nFrom: a@b\r\n\r\n";

static int
new_file(void)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void
write_at(int fd, const void *p, size_t len, uint64_t offset)
{
	assert_int_equal(pwrite(fd, p, len, (off_t)offset), (ssize_t)len);
}

/* Writes a record as smtpd does; the body is `len` octets that depend on the seed. */
static struct record
put_record(int fd, uint64_t segment, uint64_t offset, size_t len, unsigned seed)
{
	struct record rec = { .segment = segment, .offset = offset, .body_len = len, .headers_len = sizeof(headers) - 1,
		.flags = MSG_8BIT, .n_rcpts = 1 };
	struct envelope *env = envelope_new();
	char *body = malloc(len + 1);
	uint8_t fixed[RECORD_HDR];
	struct wbuf w;

	assert_non_null(body);
	for (size_t i = 0; i < len; i++)
		body[i] = (char)('a' + (i * 7 + seed) % 26);
	msgid_new(&rec.id, 1785000000000 + seed);
	env->id = rec.id;
	env->received = 1785000000000;
	envelope_add_rcpt(env, "ana@example.net", NULL, 0);
	wbuf_init(&w);
	envelope_encode(env, &w);
	rec.envelope_len = (uint32_t)w.len;
	rec.crc = crc32c(crc32c(crc32c(0, body, len), headers, sizeof(headers) - 1), w.p, w.len);
	assert_true(record_plausible(&rec));
	record_encode(&rec, fixed);
	write_at(fd, body, len, offset + record_body_off(&rec));
	write_at(fd, headers, sizeof(headers) - 1, offset + record_headers_off(&rec));
	write_at(fd, w.p, w.len, offset + record_envelope_off(&rec));
	write_at(fd, fixed, sizeof(fixed), offset);
	/* The padding, so that the file has its full length. */
	if (record_envelope_off(&rec) + w.len < record_len(&rec))
		write_at(fd, "", 1, offset + record_len(&rec) - 1);
	wbuf_clear(&w);
	envelope_free(&env);
	free(body);
	return rec;
}

static bool
same_record(const struct record *a, const struct record *b)
{
	return a->segment == b->segment && a->offset == b->offset && msgid_cmp(&a->id, &b->id) == 0 &&
	    a->body_len == b->body_len && a->headers_len == b->headers_len && a->envelope_len == b->envelope_len &&
	    a->crc == b->crc && a->flags == b->flags && a->n_rcpts == b->n_rcpts;
}

static void
check_content(int fd, const struct record *rec, unsigned seed)
{
	struct envelope *env;
	const char *err;
	size_t len;
	char *content = record_read_content(fd, rec, &len, &err);

	assert_non_null(content);
	assert_int_equal(len, rec->headers_len + rec->body_len);
	assert_memory_equal(content, headers, rec->headers_len);
	for (size_t i = 0; i < rec->body_len; i++)
		assert_int_equal(content[rec->headers_len + i], 'a' + (i * 7 + seed) % 26);
	free(content);
	assert_int_equal(record_check_content(fd, rec, &err), 0);
	env = record_read_envelope(fd, rec, &err);
	assert_non_null(env);
	assert_string_equal(env->rcpts[0].address, "ana@example.net");
	envelope_free(&env);
}

static void
test_round_trip(void **state)
{
	static const size_t lengths[] = { 0, 1, 63, 64, 4000, 7900, 8064, 8065, 65536, 300000, 1 << 20 };
	int fd = new_file();
	uint64_t offset = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct record rec = put_record(fd, SEGMENT, offset, lengths[i], (unsigned)i), back;
		const char *err;

		assert_int_equal(record_len(&rec) % RECORD_ALIGN, 0);
		assert_int_equal(record_verify(fd, SEGMENT, offset, &back, &err), 1);
		assert_true(same_record(&rec, &back));
		check_content(fd, &back, (unsigned)i);
		offset += record_len(&rec);
	}
	close(fd);
}

/* No single wrong byte is ever taken for a message that was not written. */
static void
test_flip_every_byte(void **state)
{
	int fd = new_file();
	struct record rec = put_record(fd, SEGMENT, 0, 200, 3), back;
	uint64_t used = record_envelope_off(&rec) + rec.envelope_len, len = record_len(&rec);

	(void)state;
	for (uint64_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 9; bit++) {
			uint8_t byte, wrong;
			const char *err;
			int result;

			assert_int_equal(pread(fd, &byte, 1, (off_t)i), 1);
			wrong = bit < 8 ? byte ^ (uint8_t)(1u << bit) : (uint8_t)~byte;
			write_at(fd, &wrong, 1, i);
			result = record_verify(fd, SEGMENT, 0, &back, &err);
			if (i >= used) {
				assert_int_equal(result, 1);
				assert_true(same_record(&rec, &back));
				check_content(fd, &back, 3);
			} else {
				size_t content_len;

				assert_int_equal(result, i < RECORD_HDR ? 0 : -1);
				assert_non_null(err);
				assert_null(record_read_content(fd, &rec, &content_len, &err));
				assert_int_equal(record_check_content(fd, &rec, &err), -1);
			}
			if (result == -1)
				assert_true(same_record(&rec, &back));
			write_at(fd, &byte, 1, i);
		}
	}
	close(fd);
}

/* A crash at any byte of the write: no message, no error. */
static void
test_cut_everywhere(void **state)
{
	int fd = new_file();
	struct record rec = put_record(fd, SEGMENT, 0, 500, 1), back;
	uint64_t used = record_envelope_off(&rec) + rec.envelope_len;
	const char *err;

	(void)state;
	for (uint64_t len = used; len-- > 0;) {
		assert_int_equal(ftruncate(fd, (off_t)len), 0);
		assert_int_equal(record_verify(fd, SEGMENT, 0, &back, &err), 0);
		assert_non_null(err);
	}
	/* Preallocated instead: zeros. */
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(record_verify(fd, SEGMENT, 0, &back, &err), 0);
	close(fd);
}

/* Content without its fixed header, as a crash in a preallocated file leaves it, and the reverse. */
static void
test_torn(void **state)
{
	int fd = new_file();
	struct record rec = put_record(fd, SEGMENT, 0, 9000, 1), back;
	uint8_t zero[RECORD_HDR] = { 0 };
	const char *err;

	(void)state;
	write_at(fd, zero, 64, 4096);
	assert_int_equal(record_verify(fd, SEGMENT, 0, &back, &err), -1);
	assert_true(same_record(&rec, &back));
	write_at(fd, zero, sizeof(zero), 0);
	assert_int_equal(record_verify(fd, SEGMENT, 0, &back, &err), 0);
	close(fd);
}

static void
test_recycled(void **state)
{
	int fd = new_file();
	uint64_t offset = 0, end = 0, found;
	struct record rec, back;
	const char *err;

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		rec = put_record(fd, SEGMENT, end, 1000 + i * 64, i);
		end += record_len(&rec);
	}
	/* The new life is shorter and ends where old records begin. */
	for (unsigned i = 0; i < 3; i++) {
		rec = put_record(fd, SEGMENT + 1, offset, 1000 + i * 64, 100 + i);
		assert_int_equal(record_verify(fd, SEGMENT + 1, offset, &back, &err), 1);
		offset += record_len(&rec);
	}
	assert_int_equal(record_verify(fd, SEGMENT, offset, &back, &err), 1);
	assert_int_equal(record_verify(fd, SEGMENT + 1, offset, &back, &err), 0);
	assert_int_equal(record_resync(fd, SEGMENT + 1, offset, end, &found), 0);
	/* Moved bytes are not a record either: the offset is part of it. */
	rec = put_record(fd, SEGMENT + 1, 640000, 100, 1);
	{
		uint8_t copy[640];

		assert_int_equal(pread(fd, copy, record_len(&rec), 640000), record_len(&rec));
		write_at(fd, copy, record_len(&rec), offset);
	}
	assert_int_equal(record_verify(fd, SEGMENT + 1, offset, &back, &err), 0);
	close(fd);
}

/* What no sender can write: content is CRLF lines without NUL. */
static void
test_cannot_be_forged(void **state)
{
	struct record rec = { .envelope_len = 1, .n_rcpts = 1 };
	uint8_t fixed[RECORD_HDR];
	bool has_bare_lf = false, has_bare_cr = false;

	(void)state;
	record_encode(&rec, fixed);
	for (int i = 1; i < 7; i++) {
		if (fixed[i] == '\n' && fixed[i - 1] != '\r')
			has_bare_lf = true;
		if (fixed[i] == '\r' && fixed[i + 1] != '\n')
			has_bare_cr = true;
	}
	assert_true(has_bare_lf);
	assert_true(has_bare_cr);
	assert_non_null(memchr(fixed, '\0', 8));
}

static void
test_resync(void **state)
{
	int fd = new_file();
	struct record recs[12], back;
	uint64_t end = 0, found;
	uint8_t zero[4096] = { 0 };
	const char *err;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		recs[i] = put_record(fd, SEGMENT, end, i == 5 ? 200000 : 3000 + 64 * i, i);
		end += record_len(&recs[i]);
	}
	/* The header of one is lost: the next is found, also across windows, and from any place before it. */
	for (unsigned i = 0; i < 11; i++) {
		write_at(fd, zero, RECORD_HDR, recs[i].offset);
		assert_int_equal(record_verify(fd, SEGMENT, recs[i].offset, &back, &err), 0);
		for (uint64_t from = recs[i].offset; from <= recs[i + 1].offset; from += i == 5 ? 4099 : 97) {
			assert_int_equal(record_resync(fd, SEGMENT, from, end, &found), 1);
			assert_int_equal(found, recs[i + 1].offset);
		}
		record_encode(&recs[i], zero);
		write_at(fd, zero, RECORD_HDR, recs[i].offset);
		memset(zero, 0, RECORD_HDR);
	}
	/* A hole over several, and a next one whose content is damaged, too. */
	write_at(fd, zero, 4096, recs[1].offset);
	write_at(fd, zero, 4096, recs[2].offset);
	write_at(fd, zero, 64, recs[3].offset + 1024);
	assert_int_equal(record_resync(fd, SEGMENT, recs[1].offset, end, &found), 1);
	assert_int_equal(found, recs[4].offset);
	/* Behind the last, and with an end that cuts the only one left. */
	assert_int_equal(record_resync(fd, SEGMENT, recs[11].offset + 1, end, &found), 0);
	assert_int_equal(record_resync(fd, SEGMENT, recs[11].offset, end - 1, &found), 0);
	assert_int_equal(record_resync(fd, SEGMENT, recs[11].offset, end, &found), 1);
	assert_int_equal(record_resync(fd, SEGMENT, end, end, &found), 0);
	close(fd);
}

/* Every distance from a window's edge. */
static void
test_resync_edges(void **state)
{
	int fd = new_file();
	uint8_t zero[1024] = { 0 };
	uint64_t found;

	(void)state;
	for (uint64_t at = 65536 - 256; at <= 65536 + 256; at += RECORD_ALIGN) {
		struct record rec = put_record(fd, SEGMENT, at, 100, 1);

		assert_int_equal(record_resync(fd, SEGMENT, 0, at + record_len(&rec), &found), 1);
		assert_int_equal(found, at);
		write_at(fd, zero, record_len(&rec), at);
	}
	close(fd);
}

static void
test_implausible(void **state)
{
	static const struct record bad[] = {
		{ .segment = 1, .offset = 0, .envelope_len = 0, .n_rcpts = 1 },
		{ .segment = 1, .offset = 0, .envelope_len = 1, .n_rcpts = 0 },
		{ .segment = 1, .offset = 0, .envelope_len = 1, .n_rcpts = 65536 },
		{ .segment = 1, .offset = 32, .envelope_len = 1, .n_rcpts = 1 },
		{ .segment = 1, .offset = 0, .envelope_len = 0xffffffff, .n_rcpts = 1 },
		{ .segment = 1, .offset = 0, .envelope_len = 1, .n_rcpts = 1, .headers_len = 0xffffffff },
		{ .segment = 1, .offset = 0, .envelope_len = 1, .n_rcpts = 1, .body_len = UINT64_MAX },
		{ .segment = 1, .offset = 0, .envelope_len = 1, .n_rcpts = 1, .body_len = (uint64_t)1 << 41 },
		{ .segment = 1, .offset = UINT64_MAX - 63, .envelope_len = 1, .n_rcpts = 1 },
	};
	uint8_t fixed[RECORD_HDR];
	struct record out;
	const char *err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(record_plausible(&bad[i]));
		record_encode(&bad[i], fixed);
		assert_int_equal(record_decode(fixed, 1, bad[i].offset, &out, &err), -1);
	}
}

static void
test_other_record_in_place(void **state)
{
	int fd = new_file();
	struct record old = put_record(fd, SEGMENT, 0, 300, 1);
	const char *err;
	size_t len;

	(void)state;
	put_record(fd, SEGMENT, 0, 300, 2);
	assert_null(record_read_content(fd, &old, &len, &err));
	assert_int_equal(record_check_content(fd, &old, &err), -1);
	assert_null(record_read_envelope(fd, &old, &err));
	close(fd);
}

static void
test_read_error(void **state)
{
	struct record rec = { .segment = 1, .envelope_len = 10, .n_rcpts = 1 }, out;
	uint64_t found;
	const char *err = NULL;
	size_t len;

	(void)state;
	assert_int_equal(record_verify(-1, 1, 0, &out, &err), -2);
	assert_string_equal(err, "read error");
	assert_int_equal(record_resync(-1, 1, 0, 100000, &found), -2);
	assert_int_equal(record_check_content(-1, &rec, &err), -2);
	assert_null(record_read_content(-1, &rec, &len, &err));
	assert_null(record_read_envelope(-1, &rec, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_flip_every_byte),
		cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_recycled),
		cmocka_unit_test(test_cannot_be_forged),
		cmocka_unit_test(test_resync),
		cmocka_unit_test(test_resync_edges),
		cmocka_unit_test(test_implausible),
		cmocka_unit_test(test_other_record_in_place),
		cmocka_unit_test(test_read_error),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
