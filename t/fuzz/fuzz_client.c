/* deliverd's SMTP client against a hostile server: policy, path, connection, TLS, transactions, results. Stood in for
 * are the network (io_connect: a socket pair) and queued (deliverd/qlink.c). The first byte says whether there is
 * TLS; the rest is what the server sends: 0xff waits until the client has said something, 0xfe ends the connection
 * and is followed by what the next one gets. Two messages for two recipients each, the second perhaps on the
 * connection of the first. Whatever comes: each envelope has one result, what is delivered was named to the server,
 * sent in whole and taken afterwards; commands and content have CRLF and nothing else for a line end. */
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>

#include <jansson.h>

#include "base/crc32c.h"
#include "base/io_private.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "deliverd/net.h"
#include "deliverd/overrides.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"
#include "t/fuzz/dir.h"
#include "t/fuzz/frames.h"
#include "t/fuzz/turn.h"

#define MAILS 2
#define RCPTS 2
#define CONNS_MAX 64
#define TURNS_MAX 5000
#define HEARD_MAX (64u << 10)
#define SEGMENT 7
#define PATIENCE 8 /* turns until the server speaks although the client has not */
#define WAIT 0xff
#define END 0xfe
#define HEADERS "Subject: x\r\n\r\n"
#define BODY ".\r\n..dots\r\nlast\r\n"
#define STUFFED "\r\n..\r\n...dots\r\nlast\r\n.\r\n"

struct server {
	int fd;
	char heard[HEARD_MAX];
	size_t len, asked; /* asked: of it when the last WAIT was over */
	unsigned waited;   /* turns */
	bool is_over;
	char said[HEARD_MAX]; /* after the content of the last message */
	size_t said_len, n_contents;
};

struct qlink {
	struct net *net;
};

static struct {
	struct loop *loop;
	struct net *net;
	struct qlink queue;
	struct imposed *imposed; /* none */
	struct seg *seg;
	struct record rec;
	struct server *servers[CONNS_MAX];
	unsigned n_servers, n_results, seen[MAILS * RCPTS];
	struct fuzz_in in;
	int events;
} x;

struct qlink *
qlink_new(struct net *net, const char *socket_path)
{
	FUZZ_ASSERT(*socket_path != '\0');
	x.queue.net = net;
	x.imposed = imposed_new();
	return &x.queue;
}

void
qlink_free(struct qlink **qp)
{
	*qp = NULL;
	imposed_free(&x.imposed);
}

void
qlink_step(struct qlink *q)
{
	FUZZ_ASSERT(q == &x.queue);
}

void
qlink_stop(struct qlink *q)
{
	FUZZ_ASSERT(q == &x.queue);
}

void
qlink_generation(struct qlink *q)
{
	FUZZ_ASSERT(q == &x.queue);
}

void
qlink_pool(struct qlink *q, bool is_usable, const char *reason)
{
	FUZZ_ASSERT(q == &x.queue && (is_usable || *reason != '\0'));
}

/* Nobody asks, and nothing is imposed. */
void
qlink_answer(struct qlink *q, uint32_t id, struct json *json)
{
	FUZZ_ASSERT(q == NULL && id == 0 && json == NULL);
}

void
qlink_answer_end(struct qlink *q, uint32_t id, uint8_t status, const char *sentence)
{
	FUZZ_ASSERT(q == NULL && id == 0 && status == 0 && sentence == NULL);
}

struct imposed *
qlink_imposed(const struct qlink *q)
{
	FUZZ_ASSERT(q == &x.queue);
	return x.imposed;
}

bool
qlink_is_flushed(const struct qlink *q)
{
	return q == &x.queue;
}

/* An index that is given once: net_new() takes one for each context, and there is one context in a process. */
int
CRYPTO_get_ex_new_index(int class_index, long argl, void *argp, CRYPTO_EX_new *new_func, CRYPTO_EX_dup *dup_func,
    CRYPTO_EX_free *free_func)
{
	static int ours = -1;
	int (*real)(int, long, void *, CRYPTO_EX_new *, CRYPTO_EX_dup *, CRYPTO_EX_free *);
	void *symbol = dlsym(RTLD_NEXT, "CRYPTO_get_ex_new_index");

	memcpy(&real, &symbol, sizeof(real));
	if (class_index != CRYPTO_EX_INDEX_SSL || x.net == NULL)
		return real(class_index, argl, argp, new_func, dup_func, free_func);
	if (ours == -1)
		ours = real(class_index, argl, argp, new_func, dup_func, free_func);
	return ours;
}

struct io *
io_connect(struct loop *l, const struct sockaddr *dst, socklen_t dstlen, const struct sockaddr *source,
    socklen_t sourcelen, io_fn *fn, void *arg, const char **err_r)
{
	struct server *s;
	int pair[2];

	(void)dst, (void)dstlen, (void)source, (void)sourcelen;
	if (x.n_servers == CONNS_MAX) {
		*err_r = "cannot connect";
		return NULL;
	}
	fuzz_socketpair(pair);
	s = x.servers[x.n_servers++] = xcalloc(1, sizeof(*s));
	s->fd = pair[1];
	return io_alloc(l, pair[0], fn, arg, IO_ST_CONNECTING);
}

/* How many whole contents it was sent, dot-stuffed and ended. */
static size_t
count_contents(const struct server *s)
{
	const char *p = s->heard, *end = s->heard + s->len;
	size_t n = 0;

	for (; (p = memmem(p, (size_t)(end - p), STUFFED, sizeof(STUFFED) - 1)) != NULL; p += sizeof(STUFFED) - 1)
		n++;
	return n;
}

/* Whether a server that knew this recipient was sent the content, and said something that begins with 2 after it. */
static bool
was_taken(unsigned which)
{
	char rcpt[64];
	unsigned i;

	(void)snprintf(rcpt, sizeof(rcpt), "RCPT TO:<r%u@[192.0.2.1]>", which);
	for (i = 0; i < x.n_servers; i++) {
		const struct server *s = x.servers[i];

		if (memmem(s->heard, s->len, rcpt, strlen(rcpt)) != NULL && s->n_contents > 0 && s->said_len > 0 &&
		    (s->said[0] == '2' || memmem(s->said, s->said_len, "\n2", 2) != NULL))
			return true;
	}
	return false;
}

/* It goes into events, notices and a terminal; several lines are one reply. */
static bool
is_clean_reply(const char *text)
{
	char *copy = xstrdup(text), *p;
	bool is_clean;

	for (p = copy; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	is_clean = fuzz_is_clean(copy);
	free(copy);
	return is_clean;
}

void
qlink_result(struct qlink *q, const struct ql_result *r)
{
	struct ql_result again;
	struct wbuf w;
	struct rbuf rb;

	FUZZ_ASSERT(q == &x.queue && r->env.rcpt < MAILS * RCPTS && x.seen[r->env.rcpt]++ == 0);
	x.n_results++;
	/* queued must be able to read it. */
	wbuf_init(&w);
	ql_result_encode(r, &w);
	FUZZ_ASSERT(w.len <= QL_MAX_RESULT);
	rbuf_init(&rb, w.p, w.len);
	FUZZ_ASSERT(ql_result_decode(&rb, &again) == 0);
	ql_result_clear(&again);
	wbuf_clear(&w);
	FUZZ_ASSERT(is_clean_reply(r->text) && (r->command == NULL || fuzz_is_clean(r->command)));
	FUZZ_ASSERT(r->outcome >= QL_DELIVERED && r->outcome <= QL_RETURNED);
	FUZZ_ASSERT(r->outcome != QL_FAILED || (r->code >= 400 && r->code <= 599));
	if (r->outcome == QL_DELIVERED)
		FUZZ_ASSERT(r->code >= 200 && r->code <= 299 && was_taken(r->env.rcpt));
}

static void
server_read(struct server *s)
{
	ssize_t n;

	while ((n = read(s->fd, s->heard + s->len, sizeof(s->heard) - s->len)) > 0)
		s->len += (size_t)n;
	if (n == 0 && s->len < sizeof(s->heard))
		s->is_over = true;
	if (count_contents(s) > s->n_contents) {
		s->n_contents = count_contents(s);
		s->said_len = 0;
	}
}

static void
server_say(struct server *s, const uint8_t *p, size_t len)
{
	len = fuzz_send(s->fd, p, len, NULL, 0);
	if (s->n_contents > 0 && s->said_len + len <= sizeof(s->said)) {
		memcpy(s->said + s->said_len, p, len);
		s->said_len += len;
	}
}

/* The server that the input is about: the last. */
static void
server_step(struct server *s)
{
	size_t n = 0;

	server_read(s);
	if (s->is_over)
		return;
	if (x.in.left > 0 && *x.in.p == WAIT) {
		if (s->len == s->asked && s->waited++ < PATIENCE)
			return;
		s->asked = s->len;
		s->waited = 0;
		(void)fuzz_u8(&x.in);
	}
	while (n < x.in.left && x.in.p[n] != WAIT && x.in.p[n] != END)
		n++;
	if (n > 0)
		server_say(s, fuzz_take(&x.in, &n), n);
	else if (x.in.left == 0 || *x.in.p == END) {
		(void)fuzz_u8(&x.in);
		shutdown(s->fd, SHUT_WR);
		s->is_over = true;
	}
}

static void
write_record(int fd)
{
	struct envelope *e = envelope_new();
	struct record *r = &x.rec;
	uint8_t fixed[RECORD_HDR];
	struct wbuf env;
	unsigned i;

	*r = (struct record){ .segment = SEGMENT, .n_rcpts = MAILS * RCPTS, .body_len = sizeof(BODY) - 1,
		.headers_len = sizeof(HEADERS) - 1 };
	memset(r->id.b, 'm', sizeof(r->id.b));
	e->id = r->id;
	free(e->sender);
	e->sender = xstrdup("s@sender.example");
	for (i = 0; i < MAILS * RCPTS; i++)
		envelope_add_rcpt(e, "r@x.example", NULL, 0);
	wbuf_init(&env);
	envelope_encode(e, &env);
	r->envelope_len = (uint32_t)env.len;
	r->crc = crc32c(crc32c(crc32c(0, BODY, r->body_len), HEADERS, r->headers_len), env.p, env.len);
	record_encode(r, fixed);
	FUZZ_ASSERT(pwrite(fd, fixed, sizeof(fixed), 0) == sizeof(fixed));
	FUZZ_ASSERT(pwrite(fd, BODY, r->body_len, (off_t)record_body_off(r)) == (ssize_t)r->body_len);
	FUZZ_ASSERT(pwrite(fd, HEADERS, r->headers_len, (off_t)record_headers_off(r)) == (ssize_t)r->headers_len);
	FUZZ_ASSERT(pwrite(fd, env.p, env.len, (off_t)record_envelope_off(r)) == (ssize_t)env.len);
	wbuf_clear(&env);
	envelope_free(&e);
}

/* What outlives an input: files, the record, the TLS context. */
static SSL_CTX *
once(void)
{
	static const char policy[] =
	    "posthorn.source { name='ip-1', source_address='unspecified', ehlo_domain='ip1.example' }\n"
	    "posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n";
	static SSL_CTX *tls;
	char text[600], *err = NULL;
	int fd;

	if (tls != NULL)
		return tls;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(text, sizeof(text), "myhostname = mail.example\npolicy_file = %s/policy.lua\nlog_level = error\n"
	    "prohibited_hosts =\n", fuzz_dir());
	fuzz_dir_write("main.cf", text, strlen(text));
	fuzz_dir_write("policy.lua", policy, sizeof(policy) - 1);
	FUZZ_ASSERT((fd = memfd_create("segment", MFD_CLOEXEC)) != -1);
	write_record(fd);
	x.seg = seg_new(SEGMENT, fd);
	FUZZ_ASSERT((x.events = memfd_create("events", MFD_CLOEXEC)) != -1);
	FUZZ_ASSERT((tls = tls_client_ctx(&err)) != NULL);
	return tls;
}

static void
world_open(bool has_tls)
{
	SSL_CTX *tls = once();
	struct conf_errors errs = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params;
	struct policy *policy;

	x.n_servers = x.n_results = 0;
	memset(x.seen, 0, sizeof(x.seen));
	x.loop = loop_new();
	FUZZ_ASSERT((params = params_load(fuzz_dir(), &conf, &errs)) != NULL);
	conf_free(&conf);
	FUZZ_ASSERT((policy = policy_load(params->policy_file, &errs)) != NULL);
	if (has_tls)
		SSL_CTX_up_ref(tls);
	x.net = net_new(x.loop, fuzz_dir(), "pool-a", params, policy, has_tls ? tls : NULL);
	token_signer_set(&x.net->token, &(struct ql_token_key){ 1, "key" });
	FUZZ_ASSERT(ftruncate(x.events, 0) == 0 && lseek(x.events, 0, SEEK_SET) == 0);
	eventlog_set_fd(x.net->events, dup(x.events));
}

/* One message for two recipients, as a job of queued's. */
static void
give_job(unsigned mail)
{
	struct ql_job j = { .rec = x.rec, .received = wall_ms() - 1500, .expires = wall_ms() + 3600000 };
	struct job *job;
	unsigned i;

	j.sender = xstrdup("s@sender.example");
	j.queue = xstrdup("tenant@[192.0.2.1]");
	j.domain = xstrdup("[192.0.2.1]");
	j.tenant = xstrdup("tenant");
	j.session = xstrdup("session");
	j.campaign = xstrdup("");
	j.n_rcpts = RCPTS;
	j.rcpts = xcalloc(RCPTS, sizeof(*j.rcpts));
	for (i = 0; i < RCPTS; i++) {
		j.rcpts[i].index = (uint16_t)(mail * RCPTS + i);
		j.rcpts[i].address = xasprintf("r%u@[192.0.2.1]", mail * RCPTS + i);
	}
	x.seg->refs++;
	FUZZ_ASSERT((job = job_new(x.net, &j, x.seg)) != NULL);
	resolver_route(x.net->resolver, job);
}

static void
run_until(unsigned n_results)
{
	unsigned i, k;

	for (i = 0; x.n_results < n_results && i < TURNS_MAX; i++) {
		fuzz_turn(x.loop);
		for (k = 0; k + 1 < x.n_servers; k++)
			server_read(x.servers[k]);
		if (x.n_servers > 0)
			server_step(x.servers[x.n_servers - 1]);
	}
	FUZZ_ASSERT(x.n_results == n_results);
}

/* In the clear, that is: up to a handshake. */
static void
check_heard(const struct server *s)
{
	static const char starttls[] = "\r\nSTARTTLS\r\n";
	const char *clear = memmem(s->heard, s->len, starttls, sizeof(starttls) - 1);
	size_t len = clear != NULL ? (size_t)(clear - s->heard) + sizeof(starttls) - 1 : s->len;

	FUZZ_ASSERT(fuzz_is_crlf_only(s->heard, len) && memchr(s->heard, '\0', len) == NULL);
	FUZZ_ASSERT(len == 0 || memcmp(s->heard, "EHLO ip1.example\r\n", len < 18 ? len : 18) == 0);
}

/* Each line of the event log is a JSON object. */
static void
check_events(void)
{
	static char text[256u << 10];
	ssize_t n = pread(x.events, text, sizeof(text) - 1, 0);
	char *line, *save = NULL;
	json_t *row;

	text[n > 0 ? n : 0] = '\0';
	for (line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		FUZZ_ASSERT((row = json_loads(line, 0, NULL)) != NULL && json_is_object(row));
		json_decref(row);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned i;

	log_init("fuzz", LOG_LVL_ERROR);
	x.in = (struct fuzz_in){ data, size };
	world_open((fuzz_u8(&x.in) & 1) != 0);
	for (i = 0; i < MAILS; i++) {
		give_job(i);
		run_until((i + 1) * RCPTS);
	}
	FUZZ_ASSERT(x.net->n_items == 0);
	eventlog_flush(x.net->events);
	check_events();
	net_free(&x.net);
	loop_free(&x.loop);
	FUZZ_ASSERT(x.seg->refs == 1);
	for (i = 0; i < x.n_servers; i++) {
		check_heard(x.servers[i]);
		close(x.servers[i]->fd);
		free(x.servers[i]);
	}
	return 0;
}
