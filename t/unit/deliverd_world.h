/* A world for deliverd's net role: a stand-in for queued on a socket of its own and one for the dns role, both in
 * the loop of the code under test, and scripted SMTP peers in threads. Included by the tests that need it. */
#ifndef T_DELIVERD_WORLD_H
#define T_DELIVERD_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cidr.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "deliverd/conn.h"
#include "mail/dns_link.h"
#include "mail/policy_errors.h"
#include "deliverd/net.h"
#include "deliverd/qlink.h"
#include "deliverd/resolve.h"

#include "config_digest.h"
#include "deliverd_peer.h"

#define UNUSED __attribute__((unused))
#ifndef RESULTS_MAX
#define RESULTS_MAX 4096
#endif
#define PEERS_MAX 8
#define SEGMENT 7

struct dns_row {
	const char *name;
	uint8_t status; /* 0: no answer at all */
	const char *text;
	/* "10 mx1.example=127.0.0.1,127.0.0.2;20 mx2.example=::1"; @ stands for the name asked for. With "!" in front:
	 * DNSSEC vouches for them. */
	const char *hosts;
};

struct world {
	char dir[64];
	struct loop *loop;
	struct net *net;
	struct ipc_server *server;
	struct ipc *consumer; /* deliverd, at queued's stand-in */
	struct ipc *dns;
	const struct dns_row *dns_rows;
	unsigned n_asked;
	uint32_t last_question;
	struct peer *peers[PEERS_MAX];
	unsigned n_peers;
	uint16_t port;
	struct ql_result results[RESULTS_MAX];
	unsigned n_results, n_want;
	struct envid held[RESULTS_MAX];
	unsigned n_held, n_hello;
	uint32_t generation; /* what deliverd said last */
	uint64_t digest;
	uint64_t credit;
	int seg_fd;
	uint64_t seg_end;
	bool is_up_to_date; /* deliverd said CREDIT */
	bool is_timeout, is_stopped;
	struct timer deadline;
};

/* Listens on 127.0.0.host at the world's port (chosen by the first). */
static struct peer *
peer_new(struct world *w, unsigned host, const script *scripts, unsigned n_scripts)
{
	struct peer *p = xcalloc(1, sizeof(*p));
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(w->port) };
	socklen_t len = sizeof(in);
	int on = 1;

	in.sin_addr.s_addr = htonl(0x7f000000 | host);
	pthread_mutex_init(&p->lock, NULL);
	p->scripts = scripts;
	p->n_scripts = n_scripts;
	p->log = xstrdup("");
	p->log_size = 1;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(p->fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(p->fd, 64), 0);
	getsockname(p->fd, (struct sockaddr *)&in, &len);
	w->port = p->port = ntohs(in.sin_port);
	w->peers[w->n_peers++] = p;
	return p;
}

static void
peer_free(struct peer *p)
{
	unsigned i, n;

	p->is_stopping = true;
	shutdown(p->fd, SHUT_RDWR);
	if (p->thread != 0)
		pthread_join(p->thread, NULL);
	n = p->n_conns < CONNS_MAX ? p->n_conns : CONNS_MAX;
	for (i = 0; i < n; i++)
		if (p->conns[i] != 0)
			pthread_join(p->conns[i], NULL);
	close(p->fd);
	free(p->log);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* What a peer was told so far; how often it heard this. */
static unsigned UNUSED
peer_count(struct peer *p, const char *text)
{
	unsigned n = 0;
	const char *at, *end;

	pthread_mutex_lock(&p->lock);
	end = p->log + p->log_len;
	for (at = p->log; (at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL; at += strlen(text))
		n++;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* queued's side */

static void
q_hello(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;
	struct ql_hello h;

	assert_int_equal(ql_hello_decode(&m->body, &h), 0);
	assert_int_equal(h.role, QL_ROLE_CONSUMER);
	assert_string_equal(h.name, "pool-a");
	ql_hello_clear(&h);
	w->n_hello++;
}

static void
q_held(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;

	assert_true(w->n_held < RESULTS_MAX);
	assert_int_equal(ql_envid_decode(&m->body, &w->held[w->n_held++]), 0);
}

static void
q_credit(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;
	uint32_t n;

	assert_int_equal(ql_u32_decode(&m->body, &n), 0);
	w->credit += n;
	w->is_up_to_date = true;
	if (w->n_want == 0)
		loop_stop(w->loop);
}

static void
q_result(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;

	assert_true(w->n_results < RESULTS_MAX);
	assert_int_equal(ql_result_decode(&m->body, &w->results[w->n_results++]), 0);
	if (w->n_results == w->n_want)
		loop_stop(w->loop);
}

static void
q_pool(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg UNUSED)
{
	bool is_usable;
	char *reason;

	assert_int_equal(ql_pool_decode(&m->body, &is_usable, &reason), 0);
	free(reason);
}

static void
q_generation(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;

	assert_int_equal(ql_generation_decode(&m->body, &w->generation, &w->digest), 0);
}

static void
q_policy_errors(struct ipc *ipc UNUSED, struct ipc_msg *m, void *arg UNUSED)
{
	struct policy_errors errors;

	assert_int_equal(policy_errors_decode(&m->body, &errors), 0);
}

static const struct ipc_rule q_rules[] = {
	{ QL_HELLO, false, QL_MAX_SMALL, "HELLO", q_hello },
	{ QL_HELD, false, QL_MAX_SMALL, "HELD", q_held },
	{ QL_CREDIT, false, QL_MAX_SMALL, "CREDIT", q_credit },
	{ QL_RESULT, false, QL_MAX_RESULT, "RESULT", q_result },
	{ QL_POOL, false, QL_MAX_SMALL, "POOL", q_pool },
	{ QL_GENERATION, false, QL_MAX_SMALL, "GENERATION", q_generation },
	{ QL_POLICY_ERRORS, false, QL_MAX_SMALL, "POLICY_ERRORS", q_policy_errors },
};

static void
q_gone(struct ipc *ipc UNUSED, const char *why UNUSED, void *arg)
{
	struct world *w = arg;

	w->consumer = NULL;
}

static const struct ipc_ops q_ops = { q_rules, 6, q_gone };

static void
q_accept(struct loop *loop, int fd, void *arg)
{
	struct world *w = arg;
	struct ql_welcome hello = { .proto = QL_PROTO, .nodeid = "00000000-0000-4000-8000-000000000000", .token = { 1,
	    "key" } };
	struct wbuf b;
	char path[128];
	int log;

	w->consumer = ipc_new(loop, fd, &q_ops, w);
	wbuf_init(&b);
	ql_welcome_encode(&hello, &b);
	ipc_send(w->consumer, QL_WELCOME, 0, &b, -1);
	wbuf_reset(&b);
	ql_str_encode("20260101T00", &b);
	snprintf(path, sizeof(path), "%s/events", w->dir);
	log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	ipc_send(w->consumer, QL_LOGFD, 0, &b, log);
	close(log);
	wbuf_reset(&b);
	ql_seg_encode(SEGMENT, QL_SEG_NORMAL, 0, &b);
	ipc_send(w->consumer, QL_SEG_OPEN, 0, &b, w->seg_fd);
	wbuf_clear(&b);
}

/* the dns role's side */

static void
add_host(struct mx_list *mx, char *text)
{
	char *name = strchr(text, ' '), *addrs, *a, *save = NULL;
	struct sockaddr_storage ss;
	socklen_t len;
	int at;

	*name++ = '\0';
	addrs = strchr(name, '=');
	*addrs++ = '\0';
	at = mx_list_add(mx, name, (uint16_t)atoi(text));
	for (a = strtok_r(addrs, ",", &save); a != NULL; a = strtok_r(NULL, ",", &save)) {
		assert_int_equal(sockaddr_parse(a, 0, &ss, &len), 0);
		mx_host_add(&mx->hosts[at], ss.ss_family, ss.ss_family == AF_INET ?
		    (uint8_t *)&((struct sockaddr_in *)&ss)->sin_addr :
		    (uint8_t *)&((struct sockaddr_in6 *)&ss)->sin6_addr);
	}
}

static struct mx_list *
make_hosts(enum mx_kind kind, const char *hosts)
{
	struct mx_list *mx = mx_list_new(kind);
	char *copy = xstrdup(hosts + (*hosts == '!')), *h, *save = NULL;

	mx->is_secure = *hosts == '!';
	for (h = strtok_r(copy, ";", &save); h != NULL; h = strtok_r(NULL, ";", &save))
		add_host(mx, h);
	free(copy);
	mx_list_sort(mx);
	return mx;
}

static const char *
hosts_of(const struct dns_row *row, const char *name, char *out, size_t size)
{
	const char *at = strchr(row->hosts, '@');

	if (at == NULL)
		return row->hosts;
	snprintf(out, size, "%.*s%s%s", (int)(at - row->hosts), row->hosts, name, at + 1);
	return out;
}

static void
d_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct world *w = arg;
	const struct dns_row *row;
	struct dns_reply reply;
	char text[128] = "", hosts[512];
	struct dns_ask ask;
	struct wbuf b;

	assert_int_equal(dns_ask_decode(&m->body, &ask), 0);
	w->n_asked++;
	w->last_question = m->id;
	assert_true(ask.families != 0);
	for (row = w->dns_rows; row != NULL && row->name != NULL && strcmp(row->name, "*") != 0 &&
	    strcmp(row->name, ask.name) != 0; row++)
		;
	if (row == NULL || row->name == NULL)
		fail_msg("nobody said what %s is", ask.name);
	else if (row->status != 0) {
		memset(&reply, 0, sizeof(reply));
		reply.status = row->status;
		reply.ttl = 60;
		snprintf(text, sizeof(text), "%s", row->text != NULL ? row->text : "");
		reply.text = text;
		if (row->hosts != NULL)
			reply.mx = make_hosts(MX_RECORDS, hosts_of(row, ask.name, hosts, sizeof(hosts)));
		wbuf_init(&b);
		dns_reply_encode(&reply, &b);
		ipc_send(ipc, DNS_ANSWER, m->id, &b, -1);
		wbuf_clear(&b);
		mx_list_unref(&reply.mx);
	}
}

static const struct ipc_rule d_rules[] = { { DNS_ASK, false, DNS_ASK_MAX, "ASK", d_ask } };

static void
d_gone(struct ipc *ipc UNUSED, const char *why UNUSED, void *arg)
{
	struct world *w = arg;

	w->dns = NULL;
}

static const struct ipc_ops d_ops = { d_rules, 1, d_gone };

static void UNUSED
world_new_dns(struct world *w)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	w->dns = ipc_new(w->loop, pair[0], &d_ops, w);
	resolver_set_peer(w->net->resolver, pair[1]);
}

/* the world */

static void
on_deadline(void *arg)
{
	struct world *w = arg;

	w->is_timeout = true;
	loop_stop(w->loop);
}

#define DEFAULT_POLICY \
	"posthorn.source { name='ip-1', source_address='127.0.0.1', ehlo_domain='ip1.example' }\n" \
	"posthorn.pool { name='pool-a', entries={ {name='ip-1'} } }\n"

static void
write_config(struct world *w, const char *main_cf, const char *policy)
{
	char text[4096];

	snprintf(text, sizeof(text),
	    "myhostname = mail.example\nrun_directory = %s\nqueue_directory = %s/q\nlog_directory = %s/l\n"
	    "data_directory = %s/data\n%s"
	    "smtp_port = %u\npolicy_file = %s/policy.lua\nlog_level = error\n%s%s",
	    w->dir, w->dir, w->dir, w->dir,
	    main_cf == NULL || strstr(main_cf, "mta_sts") == NULL ? "mta_sts = no\n" : "",
	    w->port != 0 ? w->port : 2525u, w->dir,
	    main_cf == NULL || strstr(main_cf, "prohibited_hosts") == NULL ? "prohibited_hosts =\n" : "",
	    main_cf != NULL ? main_cf : "");
	write_file(w->dir, "main.cf", text);
	write_file(w->dir, "policy.lua", policy != NULL ? policy : DEFAULT_POLICY);
}

static void
world_listen(struct world *w)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", w->dir, QL_SOCKET);
	fd = ipc_listen(path, 0600);
	assert_true(fd != -1);
	w->server = ipc_server_new(w->loop, fd, q_accept, w);
}

/* Lets the loop run until n results have come in all (0: until the next credit). */
static void
world_run(struct world *w, unsigned n)
{
	w->n_want = n;
	w->is_timeout = false;
	if (n > 0 && w->n_results >= n)
		return;
	timer_set(&w->deadline, 20000);
	assert_int_equal(loop_run(w->loop), 0);
	timer_cancel(&w->deadline);
	if (w->is_timeout)
		fail_msg("waited in vain: %u results of %u", w->n_results, n);
}

/* For ms, whatever comes. */
static void UNUSED
world_wait(struct world *w, int64_t ms)
{
	w->n_want = RESULTS_MAX;
	timer_set(&w->deadline, ms);
	assert_int_equal(loop_run(w->loop), 0);
	w->is_timeout = false;
}

/* main_cf and policy: additions to the first, replacement of the second; NULL: the defaults. Peers must exist
 * already. */
static void
world_start(struct world *w, const char *main_cf, const char *policy, const struct dns_row *rows)
{
	struct conf_errors errs = { NULL, 0 };
	struct conf *conf = NULL;
	struct params *params;
	struct policy *p;
	char path[256], *err = NULL;
	unsigned i;

	write_config(w, main_cf, policy);
	w->dns_rows = rows;
	w->loop = loop_new();
	timer_init(&w->deadline, w->loop, on_deadline, w);
	params = params_load(w->dir, &conf, &errs);
	p = params != NULL ? policy_load(params->policy_file, &errs) : NULL;
	for (i = 0; i < errs.n; i++)
		print_error("%s:%u: %s\n", errs.v[i].file, errs.v[i].line, errs.v[i].text);
	assert_non_null(p);
	conf_free(&conf);
	log_set_level(getenv("DELIVERD_DEBUG") != NULL ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	snprintf(path, sizeof(path), "%s/segment", w->dir);
	w->seg_fd = open(path, O_RDWR | O_CREAT, 0600);
	world_listen(w);
	w->net = net_new(w->loop, w->dir, "pool-a", params, p, tls_client_ctx(&err));
	w->net->config_digest = config_digest(w->dir);
	world_new_dns(w);
	for (i = 0; i < w->n_peers; i++)
		pthread_create(&w->peers[i]->thread, NULL, peer_main, w->peers[i]);
	world_run(w, 0);
}

static struct world *
world_new(void)
{
	struct world *w = xcalloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/deliverd-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	return w;
}

static void
world_free(struct world *w)
{
	char cmd[128];
	unsigned i;

	net_free(&w->net);
	ipc_close(&w->consumer);
	ipc_close(&w->dns);
	ipc_server_free(&w->server);
	timer_cancel(&w->deadline);
	loop_free(&w->loop);
	for (i = 0; i < w->n_peers; i++)
		peer_free(w->peers[i]);
	for (i = 0; i < w->n_results; i++)
		ql_result_clear(&w->results[i]);
	close(w->seg_fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w);
}

struct mail {
	const char *domain;
	const char *sender;
	const char *rcpts[8]; /* NULL-terminated */
	const char *headers, *body;
	uint32_t flags;
	uint8_t ret, notify;
	const char *envid, *orcpt;
	size_t big_body; /* instead of body: so many octets of lines that begin with a dot */
};

static struct record
write_record(struct world *w, const struct mail *m, unsigned n_rcpts)
{
	const char *headers = m->headers != NULL ? m->headers : "Subject: x\r\n\r\n", *body =
	    m->body != NULL ? m->body : "hello\r\n";
	struct envelope *e = envelope_new();
	struct record r = { .segment = SEGMENT, .offset = w->seg_end, .flags = m->flags, .n_rcpts = n_rcpts };
	uint8_t hdr[RECORD_HDR];
	char *big = NULL;
	struct wbuf env;
	size_t i;

	if (m->big_body > 0) {
		big = xmalloc(m->big_body);
		for (i = 0; i < m->big_body; i++)
			big[i] = i % 64 == 0 ? '.' : i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'a';
		body = big;
	}
	msgid_new(&r.id, wall_ms());
	e->id = r.id;
	e->received = wall_ms();
	free(e->sender);
	e->sender = xstrdup(m->sender != NULL ? m->sender : "s@sender.example");
	for (i = 0; i < n_rcpts; i++)
		envelope_add_rcpt(e, m->rcpts[i], NULL, 0);
	wbuf_init(&env);
	envelope_encode(e, &env);
	r.body_len = big != NULL ? m->big_body : strlen(body);
	r.headers_len = (uint32_t)strlen(headers);
	r.envelope_len = (uint32_t)env.len;
	r.crc = crc32c(crc32c(crc32c(0, body, (size_t)r.body_len), headers, r.headers_len), env.p, env.len);
	record_encode(&r, hdr);
	assert_int_equal(pwrite(w->seg_fd, hdr, RECORD_HDR, (off_t)r.offset), RECORD_HDR);
	assert_int_equal(pwrite(w->seg_fd, body, r.body_len, (off_t)(r.offset + record_body_off(&r))), r.body_len);
	assert_int_equal(pwrite(w->seg_fd, headers, r.headers_len, (off_t)(r.offset + record_headers_off(&r))),
	    r.headers_len);
	assert_int_equal(pwrite(w->seg_fd, env.p, env.len, (off_t)(r.offset + record_envelope_off(&r))), env.len);
	w->seg_end += record_len(&r);
	wbuf_clear(&env);
	envelope_free(&e);
	free(big);
	return r;
}

static char *
copy_or_null(const char *s)
{
	return s != NULL ? xstrdup(s) : NULL;
}

/* As a job of recipients first.. of the record. */
static void
world_job(struct world *w, const struct mail *m, const struct record *r, unsigned first, unsigned n)
{
	struct ql_job j = { .rec = *r, .received = wall_ms() - 1500, .expires = wall_ms() + 3600000, .ret = m->ret,
		.digest = w->net->config_digest };
	struct wbuf b;
	unsigned i;

	j.sender = xstrdup(m->sender != NULL ? m->sender : "s@sender.example");
	j.envid = copy_or_null(m->envid);
	j.queue = xasprintf("tenant@%s", m->domain);
	j.domain = xstrdup(m->domain);
	j.tenant = xstrdup("tenant");
	j.n_rcpts = (uint16_t)n;
	j.rcpts = xcalloc(n, sizeof(*j.rcpts));
	for (i = 0; i < n; i++) {
		j.rcpts[i].index = (uint16_t)(first + i);
		j.rcpts[i].address = xstrdup(m->rcpts[first + i]);
		j.rcpts[i].orcpt = copy_or_null(m->orcpt);
		j.rcpts[i].notify = m->notify;
	}
	wbuf_init(&b);
	ql_job_encode(&j, &b);
	assert_non_null(w->consumer);
	ipc_send(w->consumer, QL_JOB, 0, &b, -1);
	wbuf_clear(&b);
	ql_job_clear(&j);
}

static struct msgid UNUSED
world_mail(struct world *w, const struct mail *m)
{
	unsigned n = 0;
	struct record r;

	while (n < 8 && m->rcpts[n] != NULL)
		n++;
	r = write_record(w, m, n);
	world_job(w, m, &r, 0, n);
	return r.id;
}

/* The one result of a recipient. */
static const struct ql_result * UNUSED
world_result(struct world *w, const struct msgid *id, unsigned rcpt)
{
	const struct ql_result *found = NULL;
	unsigned i;

	for (i = 0; i < w->n_results; i++)
		if (msgid_cmp(&w->results[i].env.msg, id) == 0 && w->results[i].env.rcpt == rcpt) {
			if (found != NULL)
				fail_msg("recipient %u has two results", rcpt);
			found = &w->results[i];
		}
	if (found == NULL)
		fail_msg("recipient %u has no result", rcpt);
	return found;
}

#endif
