/* Fetching a policy (sts_fetch.h), in the sts role. Hostile: the web server, entirely, and whoever stands between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "mail/http_reply.h"
#include "deliverd/sts_fetch.h"

#define PORT 443
#define CONNECT_MS 10000 /* of an address, while there is another */

struct sts_fetch {
	struct loop *loop;
	SSL_CTX *tls;
	char *host; /* mta-sts.DOMAIN */
	struct mx_list *addrs;
	unsigned at; /* the next address */
	struct io *io;
	struct timer timer; /* all of it; and the first turn */
	int64_t deadline;
	bool is_started;
	enum sts_problem problem; /* of the last address */
	char why[STS_WHY_MAX];
	sts_fetch_fn *fn;
	void *arg;
};

static void
fetch_free(struct sts_fetch *f)
{
	timer_cancel(&f->timer);
	io_free(&f->io);
	mx_list_unref(&f->addrs);
	free(f->host);
	free(f);
}

static void
finish(struct sts_fetch *f, const char *text, size_t len)
{
	struct sts_fetched r = { f->problem, f->why, text, len };

	if (text != NULL)
		r = (struct sts_fetched){ STS_PROBLEM_NONE, NULL, text, len };
	f->fn(&r, f->arg);
	fetch_free(f);
}

static void
fail(struct sts_fetch *f, enum sts_problem problem, const char *why)
{
	f->problem = problem;
	(void)snprintf(f->why, sizeof(f->why), "https://%.160s/.well-known/mta-sts.txt: %.100s", f->host, why);
	finish(f, NULL, 0);
}

static void try_next(struct sts_fetch *);

/* This address is no use. */
static void
next_address(struct sts_fetch *f, enum sts_problem problem, const char *why)
{
	f->problem = problem;
	(void)snprintf(f->why, sizeof(f->why), "https://%.160s/.well-known/mta-sts.txt: %.100s", f->host, why);
	io_free(&f->io);
	try_next(f);
}

static void
on_connected(struct sts_fetch *f)
{
	static const unsigned char alpn[] = "\x08http/1.1";

	io_timeout(f->io, 0); /* the fetch as a whole has one */
	if (io_tls_connect(f->io, f->tls, f->host, NULL) == -1)
		next_address(f, STS_PROBLEM_FETCH, "the server spoke before TLS began");
	else if (tls_expect_name(io_ssl(f->io), f->host) == -1 ||
	    SSL_set_alpn_protos(io_ssl(f->io), alpn, sizeof(alpn) - 1) != 0)
		next_address(f, STS_PROBLEM_FETCH, "TLS cannot be set up");
}

static void
on_tls_ready(struct sts_fetch *f)
{
	io_printf(f->io, "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: %s\r\nUser-Agent: Posthorn/%s\r\n"
	    "Accept: text/plain\r\nConnection: close\r\n\r\n", f->host, POSTHORN_VERSION);
}

static void
take_policy(struct sts_fetch *f, const struct http_reply *r)
{
	struct sts_policy policy;
	const char *err;
	char text[96];

	if (r->status != 200) {
		(void)snprintf(text, sizeof(text), r->status >= 300 && r->status < 400 ?
		    "the answer is a redirect (%d), which is not followed" : "the answer is %d", r->status);
		fail(f, STS_PROBLEM_FETCH, text);
	} else if (strcmp(r->type, "text/plain") != 0) {
		fail(f, STS_PROBLEM_FETCH, "the answer is not text/plain");
	} else if (sts_policy_parse(r->body, r->len, &policy, &err) == -1) {
		(void)snprintf(text, sizeof(text), "the policy is invalid: %s", err);
		fail(f, STS_PROBLEM_INVALID, text);
	} else {
		sts_policy_clear(&policy);
		finish(f, r->body, r->len);
	}
}

static void
on_data(struct sts_fetch *f, bool is_end)
{
	struct evbuffer *in = io_input(f->io);
	size_t len = evbuffer_get_length(in);
	struct http_reply r;

	if (!io_is_tls(f->io)) {
		next_address(f, STS_PROBLEM_FETCH, is_end ? "the server closed the connection" :
		    "the server spoke before TLS began");
		return;
	}
	switch (http_reply_parse((const char *)evbuffer_pullup(in, -1), len, is_end, STS_POLICY_MAX, &r)) {
	case HTTP_DONE:
		take_policy(f, &r);
		http_reply_clear(&r);
		break;
	case HTTP_BAD:
		fail(f, STS_PROBLEM_FETCH, r.err);
		break;
	default:
		break;
	}
}

static void
on_error(struct sts_fetch *f)
{
	const char *unexpected = io_ssl(f->io) != NULL ? tls_unexpected(io_ssl(f->io)) : NULL;
	char text[128];

	if (unexpected == NULL) {
		(void)snprintf(text, sizeof(text), "%s", io_error(f->io));
		next_address(f, STS_PROBLEM_FETCH, text);
		return;
	}
	(void)snprintf(text, sizeof(text), "the certificate cannot be verified: %s", unexpected);
	next_address(f, STS_PROBLEM_WEBPKI, text);
}

static void
on_io(struct io *io, enum io_event ev, void *arg)
{
	struct sts_fetch *f = arg;

	(void)io;
	switch (ev) {
	case IO_CONNECTED:
		on_connected(f);
		break;
	case IO_TLS_READY:
		on_tls_ready(f);
		break;
	case IO_DATA:
		on_data(f, false);
		break;
	case IO_EOF:
		on_data(f, true);
		break;
	case IO_TIMEOUT:
		next_address(f, STS_PROBLEM_FETCH, "timeout while connecting");
		break;
	case IO_ERROR:
		on_error(f);
		break;
	case IO_DRAINED:
		break;
	}
}

static void
try_next(struct sts_fetch *f)
{
	const struct mx_host *h = &f->addrs->hosts[0];
	struct sockaddr_storage ss;
	const char *err;
	socklen_t len;

	while (f->at < h->n_addrs) {
		mx_addr_sockaddr(&h->addrs[f->at++], PORT, &ss, &len);
		f->io = io_connect(f->loop, (const struct sockaddr *)&ss, len, NULL, 0, on_io, f, &err);
		if (f->io != NULL) {
			io_input_limit(f->io, HTTP_WIRE_MAX(STS_POLICY_MAX) + 1);
			if (f->at < h->n_addrs)
				io_timeout(f->io, CONNECT_MS);
			return;
		}
		(void)snprintf(f->why, sizeof(f->why), "https://%.160s/.well-known/mta-sts.txt: %.100s", f->host, err);
	}
	finish(f, NULL, 0);
}

static void
on_timer(void *arg)
{
	struct sts_fetch *f = arg;

	if (f->is_started) {
		fail(f, STS_PROBLEM_FETCH, "timeout");
		return;
	}
	f->is_started = true;
	timer_set(&f->timer, f->deadline - loop_now(f->loop) > 1 ? f->deadline - loop_now(f->loop) : 1);
	if (f->addrs->hosts[0].n_addrs == 0)
		fail(f, STS_PROBLEM_FETCH, "the host has no address, or none outside prohibited_hosts");
	else
		try_next(f);
}

struct sts_fetch *
sts_fetch_start(struct loop *loop, SSL_CTX *tls, const char *domain, struct mx_list *host, int64_t ms,
    sts_fetch_fn *fn, void *arg)
{
	struct sts_fetch *f = xcalloc(1, sizeof(*f));

	f->loop = loop;
	f->tls = tls;
	f->host = xasprintf("mta-sts.%s", domain);
	f->addrs = mx_list_ref(host);
	f->problem = STS_PROBLEM_FETCH;
	f->deadline = loop_now(loop) + ms;
	f->fn = fn;
	f->arg = arg;
	timer_init(&f->timer, loop, on_timer, f);
	timer_set(&f->timer, 1);
	return f;
}

void
sts_fetch_cancel(struct sts_fetch **fp)
{
	if (*fp != NULL)
		fetch_free(*fp);
	*fp = NULL;
}
