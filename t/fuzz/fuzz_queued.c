/* queued's core against an smtpd, a deliverd and an operator's command that send whatever they like. The first byte:
 * with or without a greeting (HELLO); then frames, the lowest bits of whose id say who sends them: 0 producer, 1
 * consumer, 2 admin. Type 0x7e is a record that the producer writes properly, and its notice; 0x7d lets queued work a
 * while. Whatever comes: queued goes on, greets whoever comes next, and counts no more deliveries than it took mail. */
#include <sys/stat.h>
#include <sys/un.h>

#include <jansson.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "mail/queue_link.h"
#include "mail/shaping.h"
#include "mail/suppress_request.h"
#include "queued/queued.h"
#include "t/fuzz/dir.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define STEP_RECORD 0x7e
#define STEP_WORK 0x7d
#define PEERS 3
#define HEADERS "Subject: x\r\n\r\n"
#define BODY "body\r\n"

struct peer {
	struct ipc *ipc;
	int sock; /* the same socket, for bytes that no ipc would send */
};

static struct {
	struct loop *loop;
	struct queued *q;
	struct peer peers[PEERS];
	uint64_t segment, limit, pos; /* of the producer */
	int segment_fd;
	unsigned n_records;
} x;

static void
on_grant(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	uint8_t kind;

	(void)ipc, (void)arg;
	if (x.segment_fd != -1)
		return;
	FUZZ_ASSERT(ql_seg_decode(&m->body, &x.segment, &kind, &x.limit) == 0);
	x.segment_fd = m->fd;
	m->fd = -1;
}

static void
on_welcome(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct ql_welcome w;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_welcome_decode(&m->body, &w) == 0);
}

static void
on_job(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct ql_job j;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_job_decode(&m->body, &j) == 0);
	FUZZ_ASSERT(j.n_rcpts > 0);
	ql_job_clear(&j);
}

static void
on_row(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	json_t *row;
	char *text;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_str_decode(&m->body, QL_MAX_ADMIN, &text) == 0);
	FUZZ_ASSERT((row = json_loads(text, 0, NULL)) != NULL && json_is_object(row));
	json_decref(row);
	free(text);
}

static void
on_end(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	uint8_t status;
	char *text;

	(void)ipc, (void)arg;
	FUZZ_ASSERT(ql_end_decode(&m->body, &status, &text) == 0 && status <= 1);
	free(text);
}

static void
on_any(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	(void)ipc, (void)m, (void)arg;
}

static const struct ipc_rule rules[] = {
	{ QL_WELCOME, false, QL_MAX_SMALL, "WELCOME", on_welcome }, { QL_LOGFD, true, QL_MAX_SMALL, "LOGFD", on_any },
	{ QL_SEG_GRANT, true, QL_MAX_SMALL, "SEG_GRANT", on_grant },
	{ QL_SEG_STOP, false, QL_MAX_SMALL, "SEG_STOP", on_any }, { QL_FLOW, false, QL_MAX_SMALL, "FLOW", on_any },
	{ QL_SEG_OPEN, true, QL_MAX_SMALL, "SEG_OPEN", on_any },
	{ QL_SEG_CLOSE, false, QL_MAX_SMALL, "SEG_CLOSE", on_any }, { QL_JOB, false, QL_MAX_JOB, "JOB", on_job },
	{ QL_LIMITS, true, QL_MAX_SMALL, "LIMITS", on_any },
	{ QL_OVERRIDE, false, QL_MAX_OVERRIDE, "OVERRIDE", on_any },
	{ QL_OVERRIDE_END, false, QL_MAX_SMALL, "OVERRIDE_END", on_any },
	{ QL_ASK, false, QL_MAX_ADMIN, "ASK", on_any }, { QL_RETRY, false, QL_MAX_SMALL, "RETRY", on_any },
	{ QL_SUPPRESS, false, QL_MAX_SUPPRESS, "SUPPRESS", on_any },
	{ QL_SUPPRESSED, false, QL_MAX_SMALL, "SUPPRESSED", on_any },
	{ QL_CANCEL, false, QL_MAX_SMALL, "CANCEL", on_any }, { QL_ADMIN_DATA, false, QL_MAX_ADMIN, "DATA", on_row },
	{ QL_ADMIN_END, false, QL_MAX_SMALL, "END", on_end },
};

static void
on_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct peer *p = arg;

	(void)ipc;
	/* queued itself says nothing that is not in the table. */
	FUZZ_ASSERT(strstr(why, "not allowed") == NULL && strstr(why, "too long") == NULL);
	p->ipc = NULL;
}

static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_gone };

static void
peer_open(struct peer *p)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	FUZZ_ASSERT(fd != -1 && snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/run/" QL_SOCKET, fuzz_dir()) <
	    (int)sizeof(sun.sun_path));
	FUZZ_ASSERT(connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	FUZZ_ASSERT((p->sock = dup(fd)) != -1);
	p->ipc = ipc_new(x.loop, fd, &ops, p);
}

static void
peer_close(struct peer *p)
{
	ipc_close(&p->ipc);
	close(p->sock);
}

static void
greet(struct peer *p, uint8_t role, char *name)
{
	struct ql_hello h = { .proto = QL_PROTO, .role = role, .name = name, .pid = 1, .generation = 1 };
	struct wbuf w;

	wbuf_init(&w);
	ql_hello_encode(&h, &w);
	ipc_send(p->ipc, QL_HELLO, 0, &w, -1);
	if (role == QL_ROLE_PRODUCER) {
		wbuf_reset(&w);
		ql_seg_encode(0, QL_SEG_NORMAL, 0, &w);
		ipc_send(p->ipc, QL_SEG_WANT, 0, &w, -1);
	}
	wbuf_clear(&w);
}

/* One message to u@dN.example, N = which, in the producer's segment; its id is sixteen times N. */
static void
put_record(struct peer *p, uint8_t which)
{
	struct record r = { .segment = x.segment, .offset = x.pos, .n_rcpts = 1, .body_len = sizeof(BODY) - 1,
		.headers_len = sizeof(HEADERS) - 1 };
	struct envelope *e;
	uint8_t fixed[RECORD_HDR];
	struct wbuf env, w;
	char rcpt[32];

	if (x.segment_fd == -1 || p->ipc == NULL || x.pos + 4096 > x.limit)
		return;
	e = envelope_new();
	memset(r.id.b, which, sizeof(r.id.b));
	e->id = r.id;
	e->received = wall_ms();
	free(e->sender);
	e->sender = xstrdup("s@sender.example");
	(void)snprintf(rcpt, sizeof(rcpt), "u@d%u.example", which);
	envelope_add_rcpt(e, rcpt, NULL, 0);
	wbuf_init(&env);
	envelope_encode(e, &env);
	envelope_free(&e);
	r.envelope_len = (uint32_t)env.len;
	r.crc = crc32c(crc32c(crc32c(0, BODY, r.body_len), HEADERS, r.headers_len), env.p, env.len);
	record_encode(&r, fixed);
	(void)pwrite(x.segment_fd, fixed, sizeof(fixed), (off_t)r.offset);
	(void)pwrite(x.segment_fd, BODY, r.body_len, (off_t)(r.offset + record_body_off(&r)));
	(void)pwrite(x.segment_fd, HEADERS, r.headers_len, (off_t)(r.offset + record_headers_off(&r)));
	(void)pwrite(x.segment_fd, env.p, env.len, (off_t)(r.offset + record_envelope_off(&r)));
	x.pos += record_len(&r);
	wbuf_init(&w);
	ql_received_encode(&r, &env, &w);
	ipc_send(p->ipc, QL_RECEIVED, 0, &w, -1);
	wbuf_clear(&w);
	wbuf_clear(&env);
	x.n_records++;
}

static void
make_dirs(void)
{
	static const char *const subs[] = { "spool", "spool/segments", "spool/damaged", "log", "log/events", "run" };
	char path[300];

	for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", fuzz_dir(), subs[i]);
		if (i == 0 || i == 3)
			(void)nftw(path, fuzz_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
		FUZZ_ASSERT(mkdir(path, 0700) == 0 || i == 5);
	}
}

static void
write_config(void)
{
	static const char policy[] = "posthorn.source { name='s1', source_address='127.0.0.1' }\n"
	    "posthorn.pool { name='p1', entries={ {name='s1'} } }\n"
	    "kumo.on('get_egress_pool', function() return 'p1' end)\n";
	char text[2048];

	(void)snprintf(text, sizeof(text), "myhostname = mx.test.example\nqueue_directory = %s/spool\n"
	    "log_directory = %s/log\nrun_directory = %s/run\npolicy_file = %s/policy.lua\nlog_level = error\n"
	    "message_size_limit = 64k\nmin_free_space = 1M\nsegment_size = 1M\nindex_size_limit = 64M\n"
	    "index_commit_interval = 10ms\n",
	    fuzz_dir(), fuzz_dir(), fuzz_dir(), fuzz_dir());
	fuzz_dir_write("main.cf", text, strlen(text));
	fuzz_dir_write("policy.lua", policy, sizeof(policy) - 1);
}

static void
world_open(void)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params;
	struct policy *policy;
	char path[300], *err = NULL;
	int fd;

	make_dirs();
	write_config();
	x.loop = loop_new();
	FUZZ_ASSERT((params = params_load(fuzz_dir(), &conf, &errs)) != NULL);
	conf_free(&conf);
	FUZZ_ASSERT((policy = policy_load(params->policy_file, &errs)) != NULL);
	x.q = queued_new(x.loop, params, policy, shaping_load(&params->shaping_files, &errs), fuzz_dir(), &err);
	FUZZ_ASSERT(x.q != NULL);
	x.q->allowed.self = geteuid();
	(void)snprintf(path, sizeof(path), "%s/run/" QL_SOCKET, fuzz_dir());
	FUZZ_ASSERT((fd = ipc_listen(path, 0600)) != -1);
	queued_serve(x.q, fd);
	x.segment_fd = -1;
	x.pos = 0;
	x.n_records = 0;
	for (int i = 0; i < PEERS; i++)
		peer_open(&x.peers[i]);
}

static void
work(unsigned turns)
{
	while (turns-- > 0)
		fuzz_turn(x.loop);
}

static void
run(struct fuzz_in *in, int fd)
{
	struct fuzz_frame f;
	struct peer *p;

	while (fuzz_frame_next(in, &f)) {
		p = &x.peers[f.id % PEERS];
		if (f.type == STEP_RECORD)
			put_record(&x.peers[0], f.id);
		else if (f.type == STEP_WORK)
			work(f.id % 16);
		else
			fuzz_frame_send(p->sock, &f, fd);
		work(1);
	}
	work(4);
}

/* It still serves. */
static void
check_alive(void)
{
	static char name[] = "last";
	struct peer p;

	peer_open(&p);
	greet(&p, QL_ROLE_ADMIN, name);
	work(4);
	FUZZ_ASSERT(p.ipc != NULL);
	peer_close(&p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char producer[] = "smtpd-1", consumer[] = "p1", admin[] = "posthorn";
	struct fuzz_in in = { data, size };
	struct fuzz_fd fd = fuzz_fd_new();

	log_init("fuzz", LOG_LVL_ERROR);
	world_open();
	if ((fuzz_u8(&in) & 1) != 0) {
		greet(&x.peers[0], QL_ROLE_PRODUCER, producer);
		greet(&x.peers[1], QL_ROLE_CONSUMER, consumer);
		greet(&x.peers[2], QL_ROLE_ADMIN, admin);
		work(4);
	}
	run(&in, fd.writer);
	check_alive();
	FUZZ_ASSERT(x.q->count.delivered <= x.q->count.received);
	for (int i = 0; i < PEERS; i++)
		peer_close(&x.peers[i]);
	work(2);
	queued_free(&x.q);
	loop_free(&x.loop);
	if (x.segment_fd != -1)
		close(x.segment_fd);
	fuzz_fd_end(&fd);
	return 0;
}
