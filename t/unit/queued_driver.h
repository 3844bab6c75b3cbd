/* Drives a real queued core over its socket: the daemon runs in a child process without its jail, the test plays
 * smtpd and deliverd with blocking sockets, and may kill the child at any moment. Used by the queued_*.c tests. */
#ifndef T_UNIT_QUEUED_DRIVER_H
#define T_UNIT_QUEUED_DRIVER_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/xalloc.h"
#include "mail/bounce_rules.h"
#include "mail/queue_link.h"
#include "mail/shaping.h"
#include "queued/queued.h"

#include "config_digest.h"

struct rig {
	char dir[64];
	char extra[2048];  /* of main.cf */
	char policy[1024];
	pid_t pid;
};

struct peer {
	int fd;
	uint8_t *buf;
	size_t len, cap;
	int fds[16]; /* received, in order */
	unsigned n_fds;
};

struct frame {
	uint16_t type;
	uint32_t id;
	uint8_t *body;
	size_t len;
	int fd;
};

#define ONE_POOL "posthorn.source { name='s1', source_address='127.0.0.1' }\n" \
	"posthorn.pool { name='p1', entries={ {name='s1'} } }\n"
#define TWO_POOLS ONE_POOL "posthorn.source { name='s2', source_address='127.0.0.2' }\n" \
	"posthorn.pool { name='p2', entries={ {name='s2'} } }\n"

static inline void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline void
rig_write_config(struct rig *r)
{
	char path[128], text[8192];

	(void)snprintf(text, sizeof(text), "myhostname = mx.test.example\nqueue_directory = %s/spool\n"
	    "log_directory = %s/log\nrun_directory = %s/run\npolicy_file = %s/policy.lua\n"
	    "%s%s%s\n",
	    r->dir, r->dir, r->dir, r->dir,
	    strstr(r->extra, "index_size_limit") == NULL ? "index_size_limit = 256M\n" : "",
	    strstr(r->extra, "index_commit_interval") == NULL ? "index_commit_interval = 50ms\n" : "", r->extra);
	(void)snprintf(path, sizeof(path), "%s/main.cf", r->dir);
	write_file(path, text);
	(void)snprintf(path, sizeof(path), "%s/policy.lua", r->dir);
	write_file(path, r->policy);
}

static inline void
rig_init(struct rig *r, const char *extra, const char *policy)
{
	static const char *const subs[] = { "spool", "spool/segments", "spool/damaged", "log", "log/events", "run" };
	char path[128];
	size_t i;

	memset(r, 0, sizeof(*r));
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/queued-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	for (i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", r->dir, subs[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	(void)snprintf(r->extra, sizeof(r->extra), "%s", extra);
	(void)snprintf(r->policy, sizeof(r->policy), "%s", policy);
	rig_write_config(r);
}

static inline int
rm_one(const char *path, const struct stat *sb, int flag, struct FTW *ftw)
{
	(void)sb;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static struct queued *child_queued;

static inline void
child_on_term(void *arg)
{
	child_queued->is_stopping = true;
	loop_stop(arg);
}

static inline void
child_on_hup(void *arg)
{
	(void)arg;
	(void)queued_reload(child_queued);
}

static inline void
child_main(const struct rig *r)
{
	struct conf_errors errs = { NULL, 0 };
	struct loop *loop = loop_new();
	struct params *p;
	struct policy *policy = NULL;
	struct conf *conf = NULL;
	char path[128], *err = NULL;
	int fd;

	log_init("queued", getenv("QUEUED_TEST_LOG") != NULL ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	p = params_load(r->dir, &conf, &errs);
	conf_errors_log(&errs);
	if (p == NULL)
		fatal("main.cf");
	conf_free(&conf);
	policy = policy_load(p->policy_file, &errs);
	conf_errors_log(&errs);
	if (policy == NULL)
		fatal("policy.lua");
	if (getenv("QUEUED_TEST_LOG") == NULL)
		log_set_level(LOG_LVL_ERROR);
	(void)snprintf(path, sizeof(path), "%s/run/queued.sock", r->dir);
	child_queued = queued_new(loop, p, policy, shaping_load(&p->shaping_files, &errs), r->dir, &err);
	if (child_queued == NULL)
		fatal("%s", err);
	child_queued->bounce_rules = bounce_rules_load(&p->bounce_rules_files, &errs);
	if ((fd = ipc_listen(path, 0600)) == -1)
		fatal("listen");
	loop_signal(loop, SIGTERM, child_on_term, loop);
	loop_signal(loop, SIGHUP, child_on_hup, loop);
	queued_serve(child_queued, fd);
	(void)loop_run(loop);
	queued_free(&child_queued);
	loop_free(&loop);
}

static inline void
rig_start(struct rig *r)
{
	char path[128];
	int i;

	(void)snprintf(path, sizeof(path), "%s/run/queued.sock", r->dir);
	(void)unlink(path);
	(void)fflush(NULL);
	r->pid = fork();
	assert_int_not_equal(r->pid, -1);
	if (r->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		closefrom(3); /* the locks of our segments must not live on in it */
		child_main(r);
		exit(0);
	}
	for (i = 0; i < 1000 && access(path, F_OK) == -1; i++)
		usleep(10000);
	assert_int_equal(access(path, F_OK), 0);
}

static inline void
rig_open(struct rig *r, const char *extra, const char *policy)
{
	rig_init(r, extra, policy);
	rig_start(r);
}

static inline void
rig_signal_end(struct rig *r, int signo)
{
	int status;

	assert_int_equal(kill(r->pid, signo), 0);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	r->pid = 0;
	if (signo == SIGTERM)
		assert_int_equal(status, 0);
}

static inline void
rig_stop(struct rig *r)
{
	rig_signal_end(r, SIGTERM);
}

static inline void
rig_kill(struct rig *r)
{
	rig_signal_end(r, SIGKILL);
}

static inline void
rig_clear(struct rig *r)
{
	if (r->pid != 0)
		rig_stop(r);
	assert_int_equal(nftw(r->dir, rm_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void
peer_send(struct peer *p, uint16_t type, const struct wbuf *body)
{
	struct wbuf w;
	size_t off = 0;
	ssize_t n;

	wbuf_init(&w);
	wbuf_u32(&w, body == NULL ? 0 : (uint32_t)body->len);
	wbuf_u16(&w, type);
	wbuf_u16(&w, 0);
	wbuf_u32(&w, 7);
	if (body != NULL)
		wbuf_raw(&w, body->p, body->len);
	while (off < w.len) {
		n = send(p->fd, w.p + off, w.len - off, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		off += (size_t)n;
	}
	wbuf_clear(&w);
}

/* Reads more; false on end or timeout. */
static inline bool
peer_fill(struct peer *p, int ms)
{
	union {
		struct cmsghdr hdr;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} ctl;
	struct pollfd pfd = { p->fd, POLLIN, 0 };
	struct msghdr msg;
	struct iovec iov;
	struct cmsghdr *c;
	ssize_t n;
	size_t i, k;

	if (poll(&pfd, 1, ms) <= 0)
		return false;
	if (p->cap - p->len < 65536) {
		p->cap = p->cap * 2 + 131072;
		p->buf = realloc(p->buf, p->cap);
	}
	memset(&msg, 0, sizeof(msg));
	iov.iov_base = p->buf + p->len;
	iov.iov_len = p->cap - p->len;
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	msg.msg_control = &ctl;
	msg.msg_controllen = sizeof(ctl);
	n = recvmsg(p->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return false;
	for (c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
		k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < k; i++) {
			assert_true(p->n_fds < 16);
			memcpy(&p->fds[p->n_fds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		}
	}
	p->len += (size_t)n;
	return true;
}

/* The next frame; false on end or timeout. */
static inline bool
peer_next(struct peer *p, struct frame *f, int ms)
{
	uint32_t len;
	uint16_t type;

	for (;;) {
		if (p->len >= 12) {
			memcpy(&len, p->buf, 4);
			memcpy(&type, p->buf + 4, 2);
			len = be32toh(len);
			if (p->len >= 12 + (size_t)len)
				break;
		}
		if (!peer_fill(p, ms))
			return false;
	}
	f->type = be16toh(type);
	f->len = len;
	f->body = xmalloc(len + 1);
	memcpy(f->body, p->buf + 12, len);
	memmove(p->buf, p->buf + 12 + len, p->len - 12 - len);
	p->len -= 12 + (size_t)len;
	f->fd = -1;
	if (f->type == QL_LOGFD || f->type == QL_SEG_GRANT || f->type == QL_SEG_OPEN ||
	    f->type == QL_LIMITS) {
		assert_true(p->n_fds > 0);
		f->fd = p->fds[0];
		memmove(p->fds, p->fds + 1, --p->n_fds * sizeof(int));
	}
	return true;
}

static inline void
frame_clear(struct frame *f)
{
	free(f->body);
	if (f->fd != -1)
		close(f->fd);
	memset(f, 0, sizeof(*f));
	f->fd = -1;
}

/* Skips frames of other types. */
static inline bool
peer_expect(struct peer *p, uint16_t type, struct frame *f, int ms)
{
	while (peer_next(p, f, ms)) {
		if (f->type == type)
			return true;
		frame_clear(f);
	}
	return false;
}

/* False: it was not let in. */
static inline bool
peer_try(struct peer *p, const struct rig *r, uint8_t role, const char *name)
{
	struct ql_hello h = { QL_PROTO, role, NULL, 1, 1, 0 };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct frame f;
	struct wbuf w;
	char buf[64];
	int i, rc;

	memset(p, 0, sizeof(*p));
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/run/queued.sock", r->dir);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The name is there a moment before anybody listens. */
	for (i = 0; (rc = connect(p->fd, (struct sockaddr *)&sun, sizeof(sun))) == -1 && i < 500; i++)
		usleep(10000);
	assert_int_equal(rc, 0);
	(void)snprintf(buf, sizeof(buf), "%s", name);
	h.name = buf;
	wbuf_init(&w);
	ql_hello_encode(&h, &w);
	peer_send(p, QL_HELLO, &w);
	wbuf_clear(&w);
	if (role == QL_ROLE_ADMIN)
		return true;
	if (!peer_expect(p, QL_LOGFD, &f, 5000))
		return false;
	frame_clear(&f);
	return true;
}

static inline void
peer_open(struct peer *p, const struct rig *r, uint8_t role, const char *name)
{
	assert_true(peer_try(p, r, role, name));
}

static inline void
peer_close(struct peer *p)
{
	while (p->n_fds > 0)
		close(p->fds[--p->n_fds]);
	close(p->fd);
	free(p->buf);
	memset(p, 0, sizeof(*p));
}

/* --- producer --- */

struct spooler {
	struct peer *peer;
	uint64_t number, limit, pos;
	int fd;
};

static inline void
send_seg(struct peer *p, uint16_t type, uint64_t number, uint8_t kind, uint64_t off)
{
	struct wbuf w;

	wbuf_init(&w);
	ql_seg_encode(number, kind, off, &w);
	peer_send(p, type, &w);
	wbuf_clear(&w);
}

static inline void
spool_open_kind(struct spooler *s, struct peer *p, uint8_t kind)
{
	struct frame f;
	struct rbuf r;
	uint8_t got;

	send_seg(p, QL_SEG_WANT, 0, kind, 0);
	assert_true(peer_expect(p, QL_SEG_GRANT, &f, 5000));
	rbuf_init(&r, f.body, f.len);
	assert_int_equal(ql_seg_decode(&r, &s->number, &got, &s->limit), 0);
	assert_int_equal(got, kind);
	s->peer = p;
	s->pos = 0;
	s->fd = f.fd;
	f.fd = -1;
	frame_clear(&f);
}

static inline void
spool_open(struct spooler *s, struct peer *p)
{
	spool_open_kind(s, p, QL_SEG_NORMAL);
}

struct mail {
	const char *sender, *tenant, *campaign;
	const char *const *rcpts;
	unsigned n_rcpts;
	uint8_t notify;
	size_t body_len; /* 0: small */
	bool no_notice;  /* QL_RECEIVED is lost */
	const struct msgid *id; /* NULL: a new one */
	const char *queue;
};

/* Appends a message and tells of it; returns its id. */
static inline struct msgid
spool_add(struct spooler *s, const struct mail *m)
{
	static const char headers[] = "From: a@b.example\r\nSubject: test\r\nMessage-ID: <1@b.example>\r\n\r\n";
	struct envelope *env = envelope_new();
	struct record rec;
	struct wbuf enc, w;
	size_t blen = m->body_len > 0 ? m->body_len : 6, i;
	char *body = xmalloc(blen);
	uint8_t *buf;
	uint64_t len;
	struct msgid id;

	memset(body, 'x', blen);
	memcpy(body + blen - 2, "\r\n", 2);
	msgid_new(&env->id, wall_ms());
	if (m->id != NULL)
		env->id = *m->id;
	id = env->id;
	env->received = wall_ms();
	free(env->sender);
	env->sender = xstrdup(m->sender);
	if (m->tenant != NULL)
		env->tenant = xstrdup(m->tenant);
	if (m->campaign != NULL)
		env->campaign = xstrdup(m->campaign);
	if (m->queue != NULL)
		env->queue = xstrdup(m->queue);
	for (i = 0; i < m->n_rcpts; i++)
		envelope_add_rcpt(env, m->rcpts[i], NULL, m->notify);
	wbuf_init(&enc);
	envelope_encode(env, &enc);
	memset(&rec, 0, sizeof(rec));
	rec.segment = s->number;
	rec.offset = s->pos;
	rec.id = id;
	rec.body_len = blen;
	rec.headers_len = sizeof(headers) - 1;
	rec.envelope_len = (uint32_t)enc.len;
	rec.n_rcpts = m->n_rcpts;
	rec.crc = crc32c(crc32c(crc32c(0, body, blen), headers, sizeof(headers) - 1), enc.p, enc.len);
	len = record_len(&rec);
	buf = xcalloc(1, len);
	record_encode(&rec, buf);
	memcpy(buf + record_body_off(&rec), body, blen);
	memcpy(buf + record_headers_off(&rec), headers, sizeof(headers) - 1);
	memcpy(buf + record_envelope_off(&rec), enc.p, enc.len);
	assert_int_equal(pwrite(s->fd, buf, len, (off_t)s->pos), (ssize_t)len);
	s->pos += len;
	wbuf_init(&w);
	ql_received_encode(&rec, &enc, &w);
	if (!m->no_notice)
		peer_send(s->peer, QL_RECEIVED, &w);
	wbuf_clear(&w);
	wbuf_clear(&enc);
	free(buf);
	free(body);
	envelope_free(&env);
	return id;
}

static inline struct msgid
spool_one(struct spooler *s, const char *sender, const char *rcpt)
{
	const char *v[1] = { rcpt };
	struct mail m = { .sender = sender, .rcpts = v, .n_rcpts = 1 };

	return spool_add(s, &m);
}

/* --- consumer --- */

static inline void
send_u32(struct peer *p, uint16_t type, uint32_t n)
{
	struct wbuf w;

	wbuf_init(&w);
	ql_u32_encode(n, &w);
	peer_send(p, type, &w);
	wbuf_clear(&w);
}

/* A producer with a segment, and a consumer with credit. */
static inline void
producer_open(struct peer *p, struct spooler *s, const struct rig *r, const char *name)
{
	peer_open(p, r, QL_ROLE_PRODUCER, name);
	spool_open(s, p);
}

static inline void
consumer_open(struct peer *p, const struct rig *r, const char *pool, uint32_t credit)
{
	peer_open(p, r, QL_ROLE_CONSUMER, pool);
	send_u32(p, QL_CREDIT, credit);
}

/* As deliverd does after a reload: it has what the directory holds now. */
static inline void
consumer_reload(struct peer *p, const struct rig *r)
{
	struct wbuf w;

	wbuf_init(&w);
	ql_generation_encode(2, config_digest(r->dir), &w);
	peer_send(p, QL_GENERATION, &w);
	wbuf_clear(&w);
}

static inline void
send_held(struct peer *p, const struct msgid *id, uint16_t rcpt)
{
	struct envid e = { *id, rcpt };
	struct wbuf w;

	wbuf_init(&w);
	ql_envid_encode(&e, &w);
	peer_send(p, QL_HELD, &w);
	wbuf_clear(&w);
}

static inline bool
next_job(struct peer *p, struct ql_job *job, int ms)
{
	struct frame f;
	struct rbuf r;

	if (!peer_expect(p, QL_JOB, &f, ms))
		return false;
	rbuf_init(&r, f.body, f.len);
	assert_int_equal(ql_job_decode(&r, job), 0);
	frame_clear(&f);
	return true;
}

static inline void
send_result(struct peer *p, const struct msgid *id, uint16_t rcpt, uint8_t outcome, uint16_t code, const char *text)
{
	struct ql_result res;
	struct wbuf w;
	char buf[256];

	memset(&res, 0, sizeof(res));
	res.env.msg = *id;
	res.env.rcpt = rcpt;
	res.outcome = outcome;
	res.phase = PHASE_RCPT;
	res.code = code;
	if (code >= 400)
		res.enhanced = (struct enhanced_code){ (uint8_t)(code / 100), 1, 1 };
	(void)snprintf(buf, sizeof(buf), "%s", text);
	res.text = buf;
	wbuf_init(&w);
	ql_result_encode(&res, &w);
	peer_send(p, QL_RESULT, &w);
	wbuf_clear(&w);
}

/* Takes jobs until none comes for `ms`; answers each recipient that way (outcome 0: not at all). Returns the
 * recipients. */
static inline unsigned
take_all(struct peer *p, uint8_t outcome, uint16_t code, int ms)
{
	struct ql_job job;
	unsigned n = 0, i;

	while (next_job(p, &job, ms)) {
		for (i = 0; i < job.n_rcpts; i++, n++)
			if (outcome != 0)
				send_result(p, &job.rec.id, job.rcpts[i].index, outcome, code, "said the peer");
		if (outcome != 0)
			send_u32(p, QL_CREDIT, job.n_rcpts);
		ql_job_clear(&job);
	}
	return n;
}

/* --- admin --- */

/* Asks; the rows are joined with newlines in *text_r (malloced). Returns the status. */
static inline int
ask(const struct rig *r, const char *verb, const char *const *args, char **text_r)
{
	struct ql_admin a = { NULL, NULL, 0 };
	struct meta metas[8];
	struct peer p;
	struct frame f;
	struct wbuf w, text;
	struct rbuf rb;
	uint8_t status = 255;
	char *s;

	peer_open(&p, r, QL_ROLE_ADMIN, "test");
	wbuf_init(&w);
	wbuf_init(&text);
	a.verb = xstrdup(verb);
	a.args = metas;
	for (; args != NULL && args[0] != NULL; args += 2) {
		metas[a.n_args].key = xstrdup(args[0]);
		metas[a.n_args++].value = xstrdup(args[1]);
	}
	ql_admin_encode(&a, &w);
	peer_send(&p, QL_ADMIN, &w);
	while (peer_next(&p, &f, 5000)) {
		rbuf_init(&rb, f.body, f.len);
		if (f.type == QL_ADMIN_END) {
			assert_int_equal(ql_end_decode(&rb, &status, &s), 0);
			free(s);
			frame_clear(&f);
			break;
		}
		assert_int_equal(f.type, QL_ADMIN_DATA);
		assert_int_equal(ql_str_decode(&rb, QL_MAX_ADMIN, &s), 0);
		wbuf_raw(&text, s, strlen(s));
		wbuf_raw(&text, "\n", 1);
		free(s);
		frame_clear(&f);
	}
	wbuf_u8(&text, 0);
	*text_r = xstrdup((char *)text.p);
	wbuf_clear(&text);
	wbuf_clear(&w);
	while (a.n_args > 0) {
		free(metas[--a.n_args].key);
		free(metas[a.n_args].value);
	}
	free(a.verb);
	peer_close(&p);
	return status;
}

/* A number of the status object. */
static inline long
status_of(const struct rig *r, const char *key)
{
	char *text, want[64], *at;
	long n;

	assert_int_equal(ask(r, "status", NULL, &text), 0);
	(void)snprintf(want, sizeof(want), "\"%s\":", key);
	at = strstr(text, want);
	assert_non_null(at);
	n = strtol(at + strlen(want), NULL, 10);
	free(text);
	return n;
}

/* Waits until a number of the status object is n; false after 10 s. */
static inline bool
status_becomes(const struct rig *r, const char *key, long n)
{
	int i;

	for (i = 0; i < 200; i++) {
		if (status_of(r, key) == n)
			return true;
		usleep(50000);
	}
	print_message("%s is %ld, not %ld\n", key, status_of(r, key), n);
	return false;
}

/* How often a string stands in the event log. */
static inline unsigned
events_count(const struct rig *r, const char *what)
{
	char cmd[256], line[32];
	unsigned n = 0;
	FILE *f;

	(void)snprintf(cmd, sizeof(cmd), "cat %s/log/events/*.jsonl 2>/dev/null | grep -c '%s'", r->dir, what);
	f = popen(cmd, "r");
	assert_non_null(f);
	if (fgets(line, sizeof(line), f) != NULL)
		n = (unsigned)strtoul(line, NULL, 10);
	(void)pclose(f);
	return n;
}

#endif
