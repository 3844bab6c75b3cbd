/* Frame links: many frames, large frames, descriptors, rule breakers, slow readers, reconnecting, and freeing at every
 * moment. */
#include <sys/socket.h>
#include <sys/stat.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "until.h"

enum { T_NUM = 1, T_BIG, T_FD, T_CLOSE, T_REJECT, T_PAUSE, T_SWAP };
#define BIG_MAX (1024 * 1024)

struct end {
	struct ipc *ipc;
	unsigned n, n_fd, n_gone, ups;
	uint32_t last;
	bool out_of_order;
	bool bad;
	size_t big;
	char read_from_fd[64];
	char why[128];
	bool close_in_gone;
	struct end *other;
	unsigned other_n; /* how far the other one was at our first frame */
};

static struct loop *l;

static int
setup(void **state)
{
	(void)state;
	l = loop_new();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	loop_free(&l);
	return 0;
}

static void
on_num(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct end *e = arg;
	uint32_t v = rbuf_u32(&m->body);

	assert_ptr_equal(ipc, e->ipc);
	e->bad = e->bad || !rbuf_done(&m->body) || m->fd != -1 || m->id != v + 7;
	e->out_of_order = e->out_of_order || (e->n > 0 && v != e->last + 1);
	e->last = v;
	if (e->n++ == 0 && e->other != NULL)
		e->other_n = e->other->n;
}

static void
on_big(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct end *e = arg;

	(void)ipc;
	e->big = m->body.len;
	for (size_t i = 0; i < m->body.len; i++)
		e->bad = e->bad || m->body.p[i] != (uint8_t)(i * 31);
	e->n++;
}

static void
on_fd(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct end *e = arg;
	ssize_t n;

	(void)ipc;
	e->bad = e->bad || m->fd == -1 || (fcntl(m->fd, F_GETFD) & FD_CLOEXEC) == 0;
	n = pread(m->fd, e->read_from_fd, sizeof(e->read_from_fd) - 1, 0);
	e->bad = e->bad || n <= 0 || (size_t)n != rbuf_left(&m->body) ||
	    memcmp(e->read_from_fd, m->body.p, (size_t)n) != 0;
	e->n_fd++; /* and does not take it: the layer closes it */
}

static void
on_close(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct end *e = arg;

	(void)ipc;
	ipc_close(&e->ipc);
	e->bad = rbuf_u32(&m->body) != 42; /* the body is still there */
	e->n++;
}

static void
on_reject(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct end *e = arg;

	(void)m;
	ipc_reject(ipc, "not today");
	assert_int_equal(e->n_gone, 0);
}

static void
on_pause(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)m;
	(void)arg;
	ipc_pause(ipc);
}

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct end *e = arg;

	assert_ptr_equal(ipc, e->ipc);
	e->n_gone++;
	snprintf(e->why, sizeof(e->why), "%s", why);
	ipc_send(ipc, T_NUM, 0, NULL, -1); /* harmless */
	if (e->close_in_gone)
		ipc_close(&e->ipc);
	e->ipc = NULL;
}

static void on_swap(struct ipc *, struct ipc_msg *, void *);

static const struct ipc_rule rules[] = {
	{ T_NUM, false, 4, "num", on_num },
	{ T_BIG, false, BIG_MAX, "big", on_big },
	{ T_FD, true, 100, "fd", on_fd },
	{ T_CLOSE, false, 4, "close", on_close },
	{ T_REJECT, false, 4, "reject", on_reject },
	{ T_PAUSE, false, 4, "pause", on_pause },
	{ T_SWAP, false, 4, "swap", on_swap },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };
static const struct ipc_ops ops_num_only = { rules, 1, on_gone };

static void
on_swap(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)m;
	ipc_set_rules(ipc, &ops_num_only, arg);
}

static void
make_pair(struct end *a, struct end *b)
{
	int s[2];

	memset(a, 0, sizeof(*a));
	memset(b, 0, sizeof(*b));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
	a->ipc = ipc_new(l, s[0], &ops, a);
	b->ipc = ipc_new(l, s[1], &ops, b);
}

/* Our end is a bare socket. */
static int
make_raw(struct end *b)
{
	int s[2];

	memset(b, 0, sizeof(*b));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
	b->ipc = ipc_new(l, s[1], &ops, b);
	return s[0];
}

static void
send_num(struct ipc *ipc, uint16_t type, uint32_t v)
{
	struct wbuf w;

	wbuf_init(&w);
	wbuf_u32(&w, v);
	ipc_send(ipc, type, v + 7, &w, -1);
	wbuf_clear(&w);
}

static int
text_file(const char *text)
{
	char path[] = "/tmp/ipc-test-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd != -1);
	unlink(path);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static unsigned
open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static void
many_frames(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	for (uint32_t i = 0; i < 100000; i++)
		send_num(a.ipc, T_NUM, i);
	assert_int_equal(ipc_pending(a.ipc), 1600000);
	UNTIL(l, b.n == 100000);
	assert_false(b.out_of_order || b.bad);
	assert_int_equal(ipc_pending(a.ipc), 0);
	ipc_close(&a.ipc);
	assert_null(a.ipc);
	UNTIL(l, b.n_gone == 1);
	assert_string_equal(b.why, "closed by the peer");
	assert_int_equal(a.n_gone, 0);
}

static void
frames_before_the_end_arrive(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	for (uint32_t i = 0; i < 3000; i++)
		send_num(a.ipc, T_NUM, i);
	ipc_close(&a.ipc); /* flushes what fits */
	UNTIL(l, b.n_gone == 1);
	assert_int_equal(b.n, 3000);
	assert_false(b.out_of_order || b.bad);
}

static void
answers_survive_a_failed_write(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	ipc_pause(a.ipc);
	for (uint32_t i = 0; i < 500; i++)
		send_num(b.ipc, T_NUM, i);
	ipc_close(&b.ipc);
	send_num(a.ipc, T_NUM, 1); /* EPIPE */
	run_ms(l, 5);
	send_num(a.ipc, T_NUM, 2);
	assert_int_equal(a.n_gone, 0);
	ipc_resume(a.ipc);
	UNTIL(l, a.n_gone == 1);
	assert_int_equal(a.n, 500);
}

static void
big_frames(void **state)
{
	static const size_t sizes[] = { 0, 1, 65523, 65524, 65525, 65536, 300000, BIG_MAX };
	struct end a, b;
	struct wbuf w;

	(void)state;
	make_pair(&a, &b);
	wbuf_init(&w);
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		wbuf_reset(&w);
		for (size_t i = 0; i < sizes[k]; i++)
			wbuf_u8(&w, (uint8_t)(i * 31));
		send_num(a.ipc, T_NUM, b.last + 1);
		ipc_send(a.ipc, T_BIG, 0, &w, -1);
		send_num(a.ipc, T_NUM, b.last + 2);
		UNTIL(l, b.n == (k + 1) * 3);
		assert_int_equal(b.big, sizes[k]);
		assert_false(b.bad);
	}
	wbuf_reset(&w);
	wbuf_reserve(&w, BIG_MAX + 1);
	memset(w.p, 0, BIG_MAX + 1);
	w.len = BIG_MAX + 1;
	ipc_send(a.ipc, T_BIG, 0, &w, -1);
	UNTIL(l, b.n_gone == 1);
	assert_non_null(strstr(b.why, "too long"));
	wbuf_clear(&w);
	ipc_close(&a.ipc);
}

static void
byte_by_byte(void **state)
{
	struct end b;
	int fd = make_raw(&b);
	uint8_t frame[16] = { 0, 0, 0, 4, 0, T_NUM, 0, 0, 0, 0, 0, 12, 0, 0, 0, 5 };

	(void)state;
	for (size_t i = 0; i < sizeof(frame); i++) {
		assert_int_equal(b.n, 0);
		assert_int_equal(write(fd, frame + i, 1), 1);
		run_ms(l, 0);
		run_ms(l, 0);
	}
	UNTIL(l, b.n == 1);
	assert_false(b.bad);
	assert_int_equal(write(fd, frame, 13), 13);
	close(fd);
	UNTIL(l, b.n_gone == 1);
	assert_string_equal(b.why, "closed in the middle of a message");
}

static void
hostile_frames(void **state)
{
	static const struct {
		const char *name;
		uint8_t frame[16];
		const char *why;
	} cases[] = {
		{ "unknown type", { 0, 0, 0, 4, 0, 99, 0, 0, 0, 0, 0, 0 }, "not allowed" },
		{ "type zero", { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, "not allowed" },
		{ "high type", { 0, 0, 0, 4, 1, T_NUM, 0, 0, 0, 0, 0, 0 }, "not allowed" },
		{ "one too long", { 0, 0, 0, 5, 0, T_NUM, 0, 0, 0, 0, 0, 0 }, "too long" },
		{ "huge", { 255, 255, 255, 255, 0, T_NUM, 0, 0, 0, 0, 0, 0 }, "too long" },
		{ "reserved bits", { 0, 0, 0, 4, 0, T_NUM, 0, 1, 0, 0, 0, 0 }, "not a frame" },
		{ "no descriptor", { 0, 0, 0, 1, 0, T_FD, 0, 0, 0, 0, 0, 0, 'x' }, "without its descriptor" },
		{ "text", "EHLO localhost\r\n", "not a frame" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct end b;
		int fd = make_raw(&b);

		assert_int_equal(write(fd, cases[i].frame, 16), 16);
		UNTIL(l, b.n_gone == 1);
		if (strstr(b.why, cases[i].why) == NULL)
			fail_msg("%s: %s", cases[i].name, b.why);
		assert_int_equal(b.n, 0);
		assert_int_equal(read(fd, &(char){ 0 }, 1), 0); /* it has hung up */
		close(fd);
	}
}

static void
descriptors(void **state)
{
	static const char *const texts[] = { "first", "second one", "the third" };
	unsigned before = open_fds();
	struct end a, b;
	struct wbuf w;

	(void)state;
	make_pair(&a, &b);
	wbuf_init(&w);
	for (unsigned round = 0; round < 50; round++)
		for (unsigned i = 0; i < 3; i++) {
			int fd = text_file(texts[i]);

			send_num(a.ipc, T_NUM, round * 3 + i);
			wbuf_reset(&w);
			wbuf_raw(&w, texts[i], strlen(texts[i]));
			ipc_send(a.ipc, T_FD, 0, &w, fd);
			close(fd);
		}
	UNTIL(l, b.n_fd == 150 && b.n == 150);
	assert_false(b.bad || b.out_of_order);
	wbuf_clear(&w);
	ipc_close(&a.ipc);
	UNTIL(l, b.n_gone == 1);
	assert_int_equal(open_fds(), before);
}

/* Descriptors that wait behind a full socket keep their place in the stream. */
static void
descriptors_behind_a_queue(void **state)
{
	struct end a, b;
	struct wbuf w;
	unsigned before;

	(void)state;
	make_pair(&a, &b);
	before = open_fds();
	ipc_pause(b.ipc);
	for (uint32_t i = 0; i < 60000; i++)
		send_num(a.ipc, T_NUM, i);
	run_ms(l, 5);
	assert_true(ipc_pending(a.ipc) > 0);
	wbuf_init(&w);
	wbuf_raw(&w, "late", 4);
	for (unsigned i = 0; i < 10; i++) {
		int fd = text_file("late");

		ipc_send(a.ipc, T_FD, 0, &w, fd);
		close(fd);
		send_num(a.ipc, T_NUM, 60000 + i);
	}
	wbuf_clear(&w);
	assert_int_equal(open_fds(), before + 10);
	assert_int_equal(b.n, 0);
	ipc_resume(b.ipc);
	UNTIL(l, b.n == 60010 && b.n_fd == 10);
	assert_false(b.bad || b.out_of_order);
	assert_int_equal(open_fds(), before);
	ipc_close(&a.ipc);
	ipc_close(&b.ipc);
}

static void
send_raw_fds(int sock, const void *p, size_t len, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} u;
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n) };

	memset(&u, 0, sizeof(u));
	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, sizeof(int) * n);
	assert_int_equal(sendmsg(sock, &m, 0), len);
}

static void
unwanted_descriptors(void **state)
{
	static const uint8_t num[16] = { 0, 0, 0, 4, 0, T_NUM, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0 };
	unsigned before = open_fds();
	int fds[16];

	(void)state;
	for (size_t i = 0; i < 16; i++)
		fds[i] = 1;
	for (size_t n = 1; n <= 16; n += 5) {
		for (size_t len = 1; len <= 16; len += 5) {
			struct end b;
			int fd = make_raw(&b);

			send_raw_fds(fd, num, len, fds, n);
			if (len < 12 && n <= 4) /* an incomplete head may still turn out to want it */
				assert_int_equal(write(fd, num + len, 16 - len), 16 - (ssize_t)len);
			UNTIL(l, b.n_gone == 1);
			assert_non_null(strstr(b.why, "descriptor"));
			close(fd);
			run_ms(l, 0);
			assert_int_equal(open_fds(), before);
		}
	}
}

static void
slow_reader_costs_memory_only(void **state)
{
	struct end a, b;
	int64_t start;

	(void)state;
	make_pair(&a, &b);
	ipc_pause(b.ipc);
	start = mono_ms();
	for (uint32_t i = 0; i < 500000; i++)
		send_num(a.ipc, T_NUM, i);
	run_ms(l, 10);
	assert_true(mono_ms() - start < 3000);
	assert_true(ipc_pending(a.ipc) > 7000000);
	assert_int_equal(a.n_gone, 0);
	ipc_resume(b.ipc);
	UNTIL(l, b.n == 500000);
	assert_false(b.out_of_order || b.bad);
	ipc_close(&b.ipc);
	UNTIL(l, a.n_gone == 1);
}

struct low {
	struct end *e;
	unsigned n;
	size_t pending;
};

static void
on_low(void *arg)
{
	struct low *low = arg;

	low->n++;
	low->pending = ipc_pending(low->e->ipc);
}

static void
low_water(void **state)
{
	struct end a, b;
	struct low low = { &a, 0, 0 };

	(void)state;
	make_pair(&a, &b);
	ipc_on_low(a.ipc, 100, on_low, &low); /* already: once, and not from inside */
	assert_int_equal(low.n, 0);
	UNTIL(l, low.n == 1);
	ipc_pause(b.ipc);
	for (uint32_t i = 0; i < 100000; i++)
		send_num(a.ipc, T_NUM, i);
	run_ms(l, 5);
	ipc_on_low(a.ipc, 100000, on_low, &low);
	run_ms(l, 5);
	assert_int_equal(low.n, 1);
	ipc_resume(b.ipc);
	UNTIL(l, low.n == 2);
	assert_true(low.pending < 100000);
	UNTIL(l, b.n == 100000);
	assert_int_equal(low.n, 2);
	ipc_close(&a.ipc);
	ipc_close(&b.ipc);
}

static void
closing_inside_callbacks(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	send_num(a.ipc, T_CLOSE, 42);
	send_num(a.ipc, T_NUM, 1);
	UNTIL(l, b.n == 1 && a.n_gone == 1);
	assert_null(b.ipc);
	assert_false(b.bad);
	assert_int_equal(b.n_gone, 0);

	make_pair(&a, &b);
	b.close_in_gone = true;
	send_num(a.ipc, T_REJECT, 1);
	send_num(a.ipc, T_NUM, 1);
	UNTIL(l, b.n_gone == 1 && a.n_gone == 1);
	assert_string_equal(b.why, "not today");
	assert_int_equal(b.n, 0);
}

static void
pausing_and_new_rules(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	send_num(a.ipc, T_NUM, 0);
	send_num(a.ipc, T_PAUSE, 0);
	send_num(a.ipc, T_NUM, 1);
	UNTIL(l, b.n == 1);
	ipc_close(&a.ipc);
	run_ms(l, 5);
	assert_int_equal(b.n, 1);
	assert_int_equal(b.n_gone, 0);
	ipc_resume(b.ipc);
	UNTIL(l, b.n_gone == 1);
	assert_int_equal(b.n, 2);

	make_pair(&a, &b);
	send_num(a.ipc, T_SWAP, 0);
	send_num(a.ipc, T_NUM, 0);
	send_num(a.ipc, T_PAUSE, 0);
	UNTIL(l, b.n_gone == 1);
	assert_int_equal(b.n, 1);
	assert_non_null(strstr(b.why, "not allowed"));
	ipc_close(&a.ipc);
}

/* One busy link does not keep another from its turn. */
static void
work_per_turn_is_bounded(void **state)
{
	struct end a, b, c, d;

	(void)state;
	make_pair(&a, &b);
	make_pair(&c, &d);
	for (uint32_t i = 0; i < 4000; i++)
		send_num(a.ipc, T_NUM, i);
	send_num(c.ipc, T_NUM, 0);
	d.other = &b;
	UNTIL(l, d.n == 1);
	assert_in_range(d.other_n, 0, 1000);
	UNTIL(l, b.n == 4000);
	ipc_close(&a.ipc);
	ipc_close(&b.ipc);
	ipc_close(&c.ipc);
	ipc_close(&d.ipc);
}

struct server {
	struct end e;
	unsigned accepted;
};
static struct server srv;

static void
on_accept(struct loop *loop, int fd, void *arg)
{
	struct server *s = arg;

	s->accepted++;
	s->e.ipc = ipc_new(loop, fd, &ops, &s->e);
}

static void
on_up(struct ipc *ipc, void *arg)
{
	struct end *e = arg;

	e->ipc = ipc;
	e->ups++;
}

static void
client_comes_back(void **state)
{
	char dir[] = "/tmp/ipc-test-XXXXXX", path[64];
	struct end c = { 0 };
	struct ipc_server *server;
	struct ipc_client *client;
	struct ipc_cred cred;
	struct stat st;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	memset(&srv, 0, sizeof(srv));
	client = ipc_client_new(l, path, &ops, on_up, &c);
	run_ms(l, 80); /* nobody there */
	assert_null(ipc_client_conn(client));
	for (unsigned round = 1; round <= 3; round++) {
		fd = ipc_listen(path, 0660); /* also over the socket that the last round left */
		assert_true(fd != -1);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0660);
		server = ipc_server_new(l, fd, on_accept, &srv);
		UNTIL(l, c.ups == round && srv.accepted == round);
		assert_ptr_equal(ipc_client_conn(client), c.ipc);
		assert_int_equal(ipc_cred(srv.e.ipc, &cred), 0);
		assert_int_equal(cred.pid, getpid());
		assert_int_equal(cred.uid, geteuid());
		assert_true(ipc_peer_in_group(srv.e.ipc, getegid()));
		assert_false(ipc_peer_in_group(srv.e.ipc, 54321));
		send_num(c.ipc, T_NUM, round);
		UNTIL(l, srv.e.last == round);
		if (round == 2) { /* closed by the owner: comes back as well, without gone() */
			ipc_close(&c.ipc);
			assert_null(ipc_client_conn(client));
			UNTIL(l, srv.e.n_gone == 1);
			c.n_gone++;
		} else
			ipc_close(&srv.e.ipc);
		ipc_server_free(&server);
		assert_null(server);
		UNTIL(l, c.n_gone == round);
		assert_null(ipc_client_conn(client));
	}
	ipc_client_free(&client);
	unlink(path);
	assert_int_equal((fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) != -1, 1);
	close(fd);
	assert_int_equal(ipc_listen(path, 0600), -1); /* a file is not removed */
	assert_int_equal(errno, EEXIST);
	unlink(path);
	rmdir(dir);
}

/* Random bytes, random lengths: never more than an end of this link. */
static void
random_bytes(void **state)
{
	unsigned before = open_fds();

	(void)state;
	srandom(4711);
	log_set_level(LOG_LVL_ERROR);
	for (int i = 0; i < 300; i++) {
		struct end b;
		int fd = make_raw(&b);
		uint8_t buf[200];
		size_t len = (size_t)random() % sizeof(buf);

		for (size_t k = 0; k < len; k++)
			buf[k] = random() % 3 == 0 ? (uint8_t)random() : (uint8_t)(random() % 8);
		if (len > 8)
			memset(buf, 0, 3), buf[6] = buf[7] = 0;
		assert_int_equal(write(fd, buf, len), (ssize_t)len);
		run_ms(l, 0);
		close(fd);
		if (b.ipc != NULL)
			ipc_resume(b.ipc); /* the bytes may have said so */
		UNTIL(l, b.n_gone == 1 || b.ipc == NULL);
	}
	log_set_level(LOG_LVL_WARN);
	assert_int_equal(open_fds(), before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_before_the_end_arrive, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_survive_a_failed_write, setup, teardown),
		cmocka_unit_test_setup_teardown(big_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors_behind_a_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(unwanted_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_reader_costs_memory_only, setup, teardown),
		cmocka_unit_test_setup_teardown(low_water, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_inside_callbacks, setup, teardown),
		cmocka_unit_test_setup_teardown(pausing_and_new_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(work_per_turn_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(client_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(random_bytes, setup, teardown),
	};

	log_init("ipc-test", LOG_LVL_WARN);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
