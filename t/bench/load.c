/* Sends many small messages over many connections and keeps account of what was acknowledged: for tests (crash,
 * restart), the demonstration and the bench.
 *
 *   load [-c connections] [-m messages] [-k per-connection] [-s size] [-r rate] [-d seconds] [-T] [-A user:password]
 *        [-f sender] [-t recipient[,recipient...]] [-h "Name: a|b|c"] [-p prefix] [-a acked] [-x in-doubt]
 *        [-P] [-q] address:port
 *
 * %u in a recipient or the sender is the message's number; recipients and the values of -h are taken in turn. Each
 * message carries X-Test-Id: prefix-number. An id is written to `acked` once the 250 after end of data was read, to
 * `in-doubt` if the connection broke between sending the dot and its reply. A message that failed otherwise is
 * sent again, on a new connection if need be, until it was acknowledged or the time (-d) is over; SIGTERM ends
 * that time. Exit: 0 if all were acknowledged. The last line on standard output is a JSON object with counts and
 * latencies. */

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/tls.h"
#include "base/xalloc.h"

#define LATENCIES_MAX (1u << 22)
#define VALUES_MAX 64

enum step {
	ST_WAIT, ST_CONNECT, ST_BANNER, ST_EHLO, ST_STARTTLS, ST_TLS, ST_EHLO2, ST_AUTH,
	ST_IDLE, ST_MAIL, ST_RCPT, ST_DATA, ST_DOT
};

struct gen {
	struct loop *loop;
	SSL_CTX *tls;
	struct sockaddr_storage dst;
	socklen_t dstlen;
	unsigned connections, per_connection;
	unsigned long messages, next, acked, failed, in_doubt, refused;
	size_t size;
	double rate;
	int64_t started, deadline;
	const char *auth;
	char *auth_b64;
	const char *sender, *prefix;
	char *rcpts[VALUES_MAX];
	unsigned n_rcpts;
	const char *header;
	char *values[VALUES_MAX];
	unsigned n_values;
	FILE *acked_file, *doubt_file;
	bool starttls, pipeline, quiet;
	char *filler;
	unsigned active;
	uint32_t *latency; /* microseconds from the dot to the 250 */
	size_t n_latency;
	unsigned long *again; /* numbers to be sent again */
	size_t n_again, cap_again;
};

struct conn {
	struct gen *g;
	struct io *io;
	enum step step;
	unsigned long number;
	bool has_message;
	unsigned sent, replies_due;
	int64_t dot_at;
	bool spoiled;
	struct timer retry;
};

static void conn_open(void *);
static void conn_next(struct conn *);

static void
give_back(struct conn *c)
{
	struct gen *g = c->g;

	if (!c->has_message)
		return;
	c->has_message = false;
	if (g->n_again == g->cap_again) {
		g->cap_again = g->cap_again == 0 ? 64 : g->cap_again * 2;
		g->again = xreallocarray(g->again, g->cap_again, sizeof(*g->again));
	}
	g->again[g->n_again++] = c->number;
}

static void
conn_lost(struct conn *c)
{
	struct gen *g = c->g;

	if (c->step == ST_DOT && c->has_message) {
		g->in_doubt++;
		if (g->doubt_file != NULL)
			fprintf(g->doubt_file, "%s-%lu\n", g->prefix, c->number);
	}
	g->failed++;
	give_back(c);
	io_free(&c->io);
	c->step = ST_WAIT;
	c->sent = 0;
	timer_set(&c->retry, 50);
}

static void
acked(struct conn *c)
{
	struct gen *g = c->g;

	g->acked++;
	c->has_message = false;
	if (g->n_latency < LATENCIES_MAX)
		g->latency[g->n_latency++] = (uint32_t)(mono_us() - c->dot_at);
	if (g->acked_file != NULL)
		fprintf(g->acked_file, "%s-%lu\n", g->prefix, c->number);
}

static bool
take_message(struct gen *g, unsigned long *number)
{
	if (g->n_again > 0) {
		*number = g->again[--g->n_again];
		return true;
	}
	if (g->next >= g->messages)
		return false;
	if (g->rate > 0 && (double)g->next >= g->rate * (double)(mono_ms() - g->started) / 1000 + 1)
		return false;
	*number = g->next++;
	return true;
}

static bool
all_done(const struct gen *g)
{
	return g->acked >= g->messages || (g->deadline != 0 && mono_ms() >= g->deadline);
}

/* A line with an address in it. */
static void
say_address(struct conn *c, const char *before, const char *address, const char *after)
{
	const char *u = strstr(address, "%u");

	if (u != NULL)
		io_printf(c->io, "%s<%.*s%lu%s>\r\n%s", before, (int)(u - address), address, c->number, u + 2, after);
	else
		io_printf(c->io, "%s<%s>\r\n%s", before, address, after);
}

static void
send_content(struct conn *c)
{
	struct gen *g = c->g;

	say_address(c, "From: ", g->sender, "");
	io_printf(c->io, "Subject: test %lu\r\nX-Test-Id: %s-%lu\r\n", c->number, g->prefix, c->number);
	if (g->header != NULL)
		io_printf(c->io, "%s: %s\r\n", g->header, g->values[c->number % g->n_values]);
	io_printf(c->io, "\r\n");
	io_write(c->io, g->filler, g->size);
	io_write(c->io, "\r\n.\r\n", 5);
	c->dot_at = mono_us();
	c->step = ST_DOT;
}

static void
send_rcpt(struct conn *c, const char *after)
{
	struct gen *g = c->g;

	say_address(c, "RCPT TO:", g->rcpts[c->number % g->n_rcpts], after);
}

static void
send_envelope(struct conn *c)
{
	struct gen *g = c->g;

	c->spoiled = false;
	say_address(c, "MAIL FROM:", g->sender, "");
	c->step = ST_MAIL;
	if (g->pipeline)
		send_rcpt(c, "DATA\r\n");
}

static void
conn_next(struct conn *c)
{
	struct gen *g = c->g;

	c->step = ST_IDLE;
	if (all_done(g)) {
		loop_stop(g->loop);
		return;
	}
	if (g->per_connection != 0 && c->sent >= g->per_connection) {
		io_printf(c->io, "QUIT\r\n");
		io_finish(&c->io, 2000);
		c->sent = 0;
		conn_open(c);
		return;
	}
	if (!take_message(g, &c->number)) {
		timer_set(&c->retry, 5);
		return;
	}
	c->has_message = true;
	c->sent++;
	send_envelope(c);
}

static void
refused(struct conn *c, const char *line)
{
	struct gen *g = c->g;

	g->refused++;
	if (!g->quiet)
		fprintf(stderr, "load: %s\n", line);
	give_back(c);
	if (strncmp(line, "421", 3) == 0 || c->step < ST_IDLE) {
		conn_lost(c);
		return;
	}
	io_printf(c->io, "RSET\r\n");
	c->spoiled = true;
	c->step = ST_IDLE;
}

static void
on_reply(struct conn *c, const char *line)
{
	struct gen *g = c->g;
	bool ok = line[0] == '2' || line[0] == '3';

	if (c->spoiled && c->step == ST_IDLE) {
		c->spoiled = false;
		timer_set(&c->retry, 20);
		return;
	}
	if (!ok) {
		refused(c, line);
		return;
	}
	switch (c->step) {
	case ST_BANNER:
		io_printf(c->io, "EHLO load.example\r\n");
		c->step = ST_EHLO;
		break;
	case ST_EHLO:
		if (g->starttls) {
			io_printf(c->io, "STARTTLS\r\n");
			c->step = ST_STARTTLS;
			break;
		}
		__attribute__((fallthrough));
	case ST_EHLO2:
		if (g->auth_b64 != NULL) {
			io_printf(c->io, "AUTH PLAIN %s\r\n", g->auth_b64);
			c->step = ST_AUTH;
		} else
			conn_next(c);
		break;
	case ST_STARTTLS:
		c->step = ST_TLS;
		if (io_tls_connect(c->io, g->tls, NULL, NULL) == -1)
			conn_lost(c);
		break;
	case ST_AUTH:
		conn_next(c);
		break;
	case ST_MAIL:
		c->step = ST_RCPT;
		if (!g->pipeline)
			send_rcpt(c, "");
		break;
	case ST_RCPT:
		c->step = ST_DATA;
		if (!g->pipeline)
			io_printf(c->io, "DATA\r\n");
		break;
	case ST_DATA:
		send_content(c);
		break;
	case ST_DOT:
		acked(c);
		conn_next(c);
		break;
	default:
		break;
	}
}

static void
on_io(struct io *io, enum io_event ev, void *arg)
{
	struct conn *c = arg;
	char *line;

	switch (ev) {
	case IO_CONNECTED:
		c->step = ST_BANNER;
		break;
	case IO_TLS_READY:
		io_printf(io, "EHLO load.example\r\n");
		c->step = ST_EHLO2;
		break;
	case IO_DATA:
		while (c->io == io && (line = evbuffer_readln(io_input(io), NULL, EVBUFFER_EOL_CRLF)) != NULL) {
			if (strlen(line) < 4 || line[3] != '-')
				on_reply(c, line);
			free(line);
		}
		break;
	case IO_EOF:
	case IO_ERROR:
	case IO_TIMEOUT:
		conn_lost(c);
		break;
	default:
		break;
	}
}

static void
conn_open(void *arg)
{
	struct conn *c = arg;
	struct gen *g = c->g;
	const char *why;

	if (all_done(g)) {
		loop_stop(g->loop);
		return;
	}
	if (c->io != NULL && c->step == ST_IDLE) {
		conn_next(c);
		return;
	}
	c->step = ST_CONNECT;
	if ((c->io = io_connect(g->loop, (struct sockaddr *)&g->dst, g->dstlen, NULL, 0, on_io, c, &why)) == NULL) {
		c->step = ST_WAIT;
		timer_set(&c->retry, 50);
	}
}

static int
cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double
percentile(const struct gen *g, double p)
{
	return g->n_latency == 0 ? 0 : g->latency[(size_t)(p * (double)(g->n_latency - 1))] / 1000.0;
}

static void
report(struct gen *g)
{
	double s = (double)(mono_ms() - g->started) / 1000;

	qsort(g->latency, g->n_latency, sizeof(*g->latency), cmp_u32);
	printf("{\"messages\":%lu,\"acked\":%lu,\"seconds\":%.3f,\"rate\":%.1f,\"lost_connections\":%lu,"
	    "\"refused\":%lu,\"in_doubt\":%lu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f}\n",
	    g->messages, g->acked, s, s > 0 ? (double)g->acked / s : 0, g->failed, g->refused, g->in_doubt,
	    percentile(g, .5), percentile(g, .99), percentile(g, .999));
}

static void
deadline_over(void *arg)
{
	loop_stop(arg);
}

static unsigned
split(char *s, const char *sep, char **out)
{
	unsigned n = 0;

	for (char *w; n < VALUES_MAX && (w = strsep(&s, sep)) != NULL; n++)
		out[n] = w;
	return n;
}

static char *
auth_plain(const char *userpass)
{
	const char *colon = strchr(userpass, ':');
	unsigned char raw[512], *out;
	size_t ulen, n = 0;

	if (colon == NULL || strlen(userpass) > 400)
		errx(2, "load: -A user:password");
	ulen = (size_t)(colon - userpass);
	raw[n++] = 0;
	memcpy(raw + n, userpass, ulen);
	n += ulen;
	raw[n++] = 0;
	memcpy(raw + n, colon + 1, strlen(colon + 1));
	n += strlen(colon + 1);
	out = xmalloc(4 * n / 3 + 8);
	EVP_EncodeBlock(out, raw, (int)n);
	return (char *)out;
}

static void
parse_header(struct gen *g, char *spec)
{
	char *colon = strstr(spec, ": ");

	if (colon == NULL)
		errx(2, "load: -h \"Name: a|b\"");
	*colon = '\0';
	g->header = spec;
	g->n_values = split(colon + 2, "|", g->values);
}

static FILE *
open_list(const char *path)
{
	FILE *f = fopen(path, "ae");

	if (f == NULL)
		err(1, "load: %s", path);
	setvbuf(f, NULL, _IOLBF, 0);
	return f;
}

static void
options(struct gen *g, int argc, char **argv, double *seconds)
{
	int opt;

	while ((opt = getopt(argc, argv, "c:m:k:s:r:d:TA:f:t:h:p:a:x:Pq")) != -1)
		switch (opt) {
		case 'c': g->connections = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'm': g->messages = strtoul(optarg, NULL, 10); break;
		case 'k': g->per_connection = (unsigned)strtoul(optarg, NULL, 10); break;
		case 's': g->size = strtoul(optarg, NULL, 10); break;
		case 'r': g->rate = strtod(optarg, NULL); break;
		case 'd': *seconds = strtod(optarg, NULL); break;
		case 'T': g->starttls = true; break;
		case 'A': g->auth_b64 = auth_plain(optarg); break;
		case 'f': g->sender = optarg; break;
		case 't': g->n_rcpts = split(optarg, ",", g->rcpts); break;
		case 'h': parse_header(g, optarg); break;
		case 'p': g->prefix = optarg; break;
		case 'a': g->acked_file = open_list(optarg); break;
		case 'x': g->doubt_file = open_list(optarg); break;
		case 'P': g->pipeline = true; break;
		case 'q': g->quiet = true; break;
		default: errx(2, "usage: load [options] address:port (see the head of load.c)");
		}
	if (optind + 1 != argc)
		errx(2, "usage: load [options] address:port (see the head of load.c)");
}

static void
destination(struct gen *g, char *spec)
{
	char *colon = strrchr(spec, ':');

	if (colon == NULL)
		errx(2, "load: want address:port");
	*colon = '\0';
	if (sockaddr_parse(spec, (uint16_t)strtoul(colon + 1, NULL, 10), &g->dst, &g->dstlen) == -1)
		errx(2, "load: bad address");
}

int
main(int argc, char **argv)
{
	static char default_rcpt[] = "user%u@example.com";
	struct gen g = { .connections = 10, .messages = 100, .size = 4000, .sender = "sender@example.org",
		.prefix = "m", .rcpts = { default_rcpt }, .n_rcpts = 1 };
	struct timer deadline;
	struct conn *conns;
	double seconds = 0;
	char *why;

	log_init("load", LOG_LVL_WARN);
	options(&g, argc, argv, &seconds);
	destination(&g, argv[optind]);
	g.loop = loop_new();
	if (g.starttls && (g.tls = tls_client_ctx(&why)) == NULL)
		errx(1, "load: %s", why);
	g.latency = xcalloc(LATENCIES_MAX, sizeof(*g.latency));
	g.filler = xmalloc(g.size + 1);
	for (size_t i = 0; i < g.size; i++)
		g.filler[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('a' + i % 26);
	if (g.size > 0 && g.filler[g.size - 1] == '\r')
		g.filler[g.size - 1] = 'x';
	g.started = mono_ms();
	if (seconds > 0)
		g.deadline = g.started + (int64_t)(seconds * 1000);
	timer_init(&deadline, g.loop, deadline_over, g.loop);
	if (seconds > 0)
		timer_set(&deadline, (int64_t)(seconds * 1000));
	loop_signal(g.loop, SIGTERM, deadline_over, g.loop);
	conns = xcalloc(g.connections, sizeof(*conns));
	for (unsigned i = 0; i < g.connections; i++) {
		conns[i].g = &g;
		timer_init(&conns[i].retry, g.loop, conn_open, &conns[i]);
		conn_open(&conns[i]);
	}
	loop_run(g.loop);
	for (unsigned i = 0; i < g.connections; i++)
		if (conns[i].io != NULL && conns[i].step == ST_DOT && g.doubt_file != NULL)
			fprintf(g.doubt_file, "%s-%lu\n", g.prefix, conns[i].number);
	report(&g);
	return g.acked >= g.messages ? 0 : 1;
}
