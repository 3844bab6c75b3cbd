/* Group commit: one fdatasync a turn, nothing answered before it, and what happens when the disk is full or lies.
 * pwritev(2) and fdatasync(2) are replaced here, to count and to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/log.h"
#include "t/unit/smtpd_world.h"
#include "t/unit/until.h"

static struct {
	unsigned n_sync, n_write;
	int sync_errno, write_errno;
	size_t short_write;     /* write so much of the next call only */
	unsigned fail_write_at; /* the call that fails, 1 is the next; 0: none */
} io;

int
fdatasync(int fd)
{
	io.n_sync++;
	if (io.sync_errno != 0) {
		errno = io.sync_errno;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	io.n_write++;
	if (io.fail_write_at > 0 && --io.fail_write_at == 0) {
		errno = io.write_errno;
		return -1;
	}
	if (io.short_write > 0 && iov->iov_len > io.short_write) {
		size_t len = io.short_write;

		io.short_write = 0;
		return pwrite(fd, iov->iov_base, len, offset);
	}
	return syscall(SYS_pwritev, fd, iov, n, (long)offset, 0L);
}

struct outcome {
	unsigned n[MESSAGE_WAITED + 1];
	unsigned syncs_before_first;
};

static void
on_done(struct message *m, enum message_result result, void *arg)
{
	struct outcome *o = arg;

	if (o->n[result]++ == 0)
		o->syncs_before_first = io.n_sync;
	message_free(&m);
}

static void
submit(struct world *x, struct outcome *o, size_t body)
{
	struct message *m = xcalloc(1, sizeof *m);

	m->envelope = envelope_new();
	msgid_new(&m->envelope->id, 1795473158172);
	free(m->envelope->sender);
	m->envelope->sender = xstrdup("a@b.example");
	envelope_add_rcpt(m->envelope, "c@d.example", NULL, 0);
	wbuf_init(&m->body);
	wbuf_init(&m->head);
	wbuf_init(&m->env);
	wbuf_raw(&m->head, "A: b\r\n\r\n", 8);
	while (m->body.len < body)
		wbuf_raw(&m->body, "01234567890123\r\n", 16);
	envelope_encode(m->envelope, &m->env);
	m->rec.id = m->envelope->id;
	m->rec.n_rcpts = 1;
	m->rec.body_len = m->body.len;
	m->rec.headers_len = (uint32_t)m->head.len;
	m->rec.envelope_len = (uint32_t)m->env.len;
	m->done = on_done;
	m->arg = o;
	spool_submit(x->w.spool, m);
}

/* Good records from the start of a segment. */
static unsigned
count_records(struct world *x, uint64_t segment)
{
	struct record rec;
	const char *err;
	uint64_t at = 0;
	unsigned n = 0;

	for (; record_verify(x->fds[segment], segment, at, &rec, &err) == 1; at += record_len(&rec))
		n++;
	return n;
}

static void
reset(struct world *x, struct outcome *o)
{
	memset(&io, 0, sizeof io);
	memset(o, 0, sizeof *o);
	world_init(x, NULL);
}

static void
test_group(void **state)
{
	struct outcome o;
	struct world x;
	int i;

	(void)state;
	reset(&x, &o);
	for (i = 0; i < 500; i++)
		submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 500);
	assert_int_equal(x.n_received, 500);
	assert_int_equal(io.n_sync, 1);
	assert_int_equal(o.syncs_before_first, 1);
	assert_true(io.n_write <= 3);
	assert_int_equal(count_records(&x, 1), 500);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(io.n_sync, 2);
	assert_int_equal(count_records(&x, 1), 501);
	world_clear(&x);
}

/* A full segment is left for the next; each is made durable before its messages are answered. */
static void
test_rotation(void **state)
{
	struct outcome o;
	struct world x;
	int i;

	(void)state;
	reset(&x, &o);
	for (i = 0; i < 30; i++)
		submit(&x, &o, 100000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 30);
	assert_int_equal(count_records(&x, 1), 10);
	assert_int_equal(count_records(&x, 2), 10);
	assert_int_equal(count_records(&x, 3), 10);
	assert_int_equal(io.n_sync, 3);
	assert_int_equal(x.n_done, 2);
	/* A message that no segment of the normal kind can hold goes to one of its own. */
	submit(&x, &o, (1 << 20) - 100);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 31);
	assert_int_equal(x.last.segment, 4);
	assert_int_equal(x.last.flags, MSG_LARGE);
	assert_int_equal(count_records(&x, 4), 1);
	world_clear(&x);
}

static void
test_short_write(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	reset(&x, &o);
	io.short_write = 100;
	submit(&x, &o, 1000);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 2);
	assert_int_equal(count_records(&x, 1), 2);
	world_clear(&x);
}

/* ENOSPC: refused, what came before stays, the offset stays, and the next message fits behind it. */
static void
test_no_space(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	reset(&x, &o);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	io.fail_write_at = 1;
	io.write_errno = ENOSPC;
	submit(&x, &o, 1000);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 1);
	assert_int_equal(o.n[MESSAGE_NO_SPACE], 2);
	assert_int_equal(x.n_broken, 0);
	assert_int_equal(count_records(&x, 1), 1);
	assert_false(spool_has_space(x.w.spool, 1));
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 2);
	assert_int_equal(count_records(&x, 1), 2);
	world_clear(&x);
}

/* Records that were written whole before the disk was full, and answered 452, are not found later. */
static void
test_withdrawn(void **state)
{
	struct outcome o;
	struct world x;
	int i;

	(void)state;
	reset(&x, &o);
	io.sync_errno = ENOSPC;
	for (i = 0; i < 5; i++)
		submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_NO_SPACE], 5);
	assert_int_equal(x.n_received, 0);
	assert_int_equal(count_records(&x, 1), 0);
	/* That file is not trusted with more. */
	assert_int_equal(x.n_done, 1);
	io.sync_errno = 0;
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 1);
	assert_int_equal(x.last.segment, 2);
	world_clear(&x);
}

static void
test_broken(void **state)
{
	static const struct {
		int sync_errno, write_errno;
	} cases[] = { { EIO, 0 }, { 0, EIO } };
	struct outcome o;
	struct world x;
	size_t i;
	int k;

	(void)state;
	for (i = 0; i < 2; i++) {
		reset(&x, &o);
		io.sync_errno = cases[i].sync_errno;
		io.write_errno = cases[i].write_errno;
		io.fail_write_at = cases[i].write_errno != 0 ? 1 : 0;
		for (k = 0; k < 3; k++)
			submit(&x, &o, 1000);
		submit(&x, &o, (1 << 20) - 100);
		run_ms(x.loop, 1);
		assert_int_equal(o.n[MESSAGE_BROKEN], 4);
		assert_int_equal(o.n[MESSAGE_DURABLE], 0);
		assert_int_equal(x.n_received, 0);
		assert_int_equal(x.n_broken, 1);
		io.sync_errno = 0;
		submit(&x, &o, 1000);
		run_ms(x.loop, 1);
		assert_int_equal(o.n[MESSAGE_BROKEN], 5);
		world_clear(&x);
	}
}

/* Without segments messages wait; in the order of their coming they go first when one comes. */
static void
test_waiting(void **state)
{
	struct outcome o;
	struct world x;
	uint64_t i;

	(void)state;
	reset(&x, &o);
	x.grants = false;
	for (i = 1; i <= 4; i++)
		spool_stop(x.w.spool, i);
	submit(&x, &o, 1000);
	submit(&x, &o, 1000);
	run_ms(x.loop, 5);
	assert_int_equal(o.n[MESSAGE_DURABLE], 0);
	assert_int_equal(io.n_sync, 0);
	world_grant(&x, QL_SEG_NORMAL);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 3);
	assert_int_equal(count_records(&x, 5), 3);
	assert_int_equal(io.n_sync, 1);
	world_clear(&x);
}

/* queued has no space for more segments: what fits is taken, the rest is refused, without waiting. */
static void
test_no_segments(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	reset(&x, &o);
	x.grants = false;
	spool_stop(x.w.spool, 2);
	spool_stop(x.w.spool, 3);
	spool_set_room(x.w.spool, SPOOL_NO_SEGMENTS);
	assert_true(spool_has_space(x.w.spool, 900000));
	submit(&x, &o, 900000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 1);
	assert_false(spool_has_space(x.w.spool, 900000));
	assert_true(spool_has_space(x.w.spool, 1000));
	/* Segment 4 is the one that large messages may have. */
	assert_true(spool_has_space(x.w.spool, 2 << 20));
	submit(&x, &o, 900000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_NO_SPACE], 1);
	/* The full one is given up; who speaks to us now is greeted all the same. */
	assert_true(spool_is_ready(x.w.spool));
	assert_false(spool_has_space(x.w.spool, 1000));
	spool_set_room(x.w.spool, SPOOL_ROOM);
	assert_false(spool_is_ready(x.w.spool));
	/* Who waits hears it, too. */
	submit(&x, &o, 1000);
	run_ms(x.loop, 5);
	assert_int_equal(o.n[MESSAGE_NO_SPACE], 1);
	spool_set_room(x.w.spool, SPOOL_NO_SEGMENTS);
	run_ms(x.loop, 5);
	assert_int_equal(o.n[MESSAGE_NO_SPACE], 2);
	/* A segment that comes before the notice is used. */
	world_grant(&x, QL_SEG_NORMAL);
	spool_set_room(x.w.spool, SPOOL_REFUSE);
	assert_false(spool_has_space(x.w.spool, 1000));
	spool_set_room(x.w.spool, SPOOL_ROOM);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(o.n[MESSAGE_DURABLE], 2);
	world_clear(&x);
}

/* A grant that makes no sense is not taken. */
static void
test_grants(void **state)
{
	struct outcome o;
	struct world x;

	(void)state;
	reset(&x, &o);
	spool_grant(x.w.spool, 1, QL_SEG_NORMAL, 1 << 20, dup(x.event_fd));
	spool_grant(x.w.spool, 4, QL_SEG_NORMAL, 1 << 20, dup(x.event_fd));
	spool_grant(x.w.spool, 9, 7, 1 << 20, dup(x.event_fd));
	spool_grant(x.w.spool, 9, QL_SEG_NORMAL, 1 << 20, -1);
	submit(&x, &o, 1000);
	run_ms(x.loop, 1);
	assert_int_equal(x.last.segment, 1);
	assert_int_equal(count_records(&x, 1), 1);
	world_clear(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_short_write),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_no_segments),
		cmocka_unit_test(test_grants)
	};

	log_init("test", LOG_LVL_ERROR);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
