/* A provider-like SMTP server for tests, the demonstration and the bench: accepts mail on one or more loopback
 * addresses, answers as the local part of a recipient asks, and writes a ledger line for each recipient of each
 * message that it acknowledged.
 *
 *   sink [-t cert:key] [-D percent] [-U percent] [-w ms] [-l ledger] [-b dir] [-n] addr:port ...
 *
 * Local parts that script an answer (N: how often, counted per address, default 1; then the address is accepted):
 *   unknown...          550 5.1.1 at RCPT, always
 *   defer-N-...         451 4.7.1 at RCPT        reject-dot-...    554 5.7.1 at end of data, always
 *   deferdot-N-...      451 4.3.0 at end of data  full-...         452 4.2.2 at RCPT, always
 *   421mail-N- 421rcpt-N- 421data-N- 421dot-N-    421 and close at that command (421mail by sender's local part)
 *   dropmail-N- droprcpt-N- dropdata-N- dropdot-N- dropafter-N-   close without an answer;
 *                       dropafter: after taking the message
 *   slow-MS-...         that many milliseconds before the answer to end of data
 * -D and -U defer or refuse that percentage of other addresses (deferral: the first attempt only), chosen by hash.
 * Ledger line: seconds client listener sender recipient id size crc32c tls(0|1) */

#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uthash.h>

#include "base/cidr.h"
#include "base/crc32c.h"
#include "base/io.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/tls.h"
#include "base/xalloc.h"

#define LINE_MAX_LEN 4096
#define RCPTS_MAX 2000

struct seen {
	char *key;
	unsigned count;
	UT_hash_handle hh;
};

struct sink {
	struct loop *loop;
	SSL_CTX *tls;
	FILE *ledger;
	const char *body_dir;
	unsigned defer_percent, unknown_percent, delay_ms;
	bool plain_ehlo; /* -n: offer nothing */
	struct seen *seen;
	unsigned long messages;
};

struct listener {
	struct sink *sink;
	struct event *ev;
	char text[56];
};

struct peer {
	struct sink *sink;
	struct io *io;
	const char *listener;
	char client[46];
	char sender[512];
	char *rcpt[RCPTS_MAX];
	unsigned n_rcpts;
	bool in_data;
	bool at_line_start;
	char id[128];
	uint32_t crc;
	size_t size;
	bool in_headers;
	FILE *body;
	struct timer delay;
	char delayed_reply[256];
};

static void peer_on_io(struct io *, enum io_event, void *);

static unsigned
times_seen(struct sink *s, const char *what, const char *addr)
{
	char key[700];
	struct seen *e;

	snprintf(key, sizeof(key), "%s %s", what, addr);
	HASH_FIND_STR(s->seen, key, e);
	if (e == NULL) {
		e = xcalloc(1, sizeof(*e));
		e->key = xstrdup(key);
		HASH_ADD_KEYPTR(hh, s->seen, e->key, strlen(e->key), e);
	}
	return e->count++;
}

/* Whether `addr` begins with word-N- (or word-) and has been answered so fewer than N times. */
static bool
scripted(struct sink *s, const char *addr, const char *word)
{
	size_t n = strlen(word);
	unsigned times = 1;

	if (strncmp(addr, word, n) != 0 || addr[n] != '-')
		return false;
	if (isdigit((unsigned char)addr[n + 1]))
		times = (unsigned)strtoul(addr + n + 1, NULL, 10);
	return times_seen(s, word, addr) < times;
}

static void
peer_free(struct peer *p)
{
	timer_cancel(&p->delay);
	for (unsigned i = 0; i < p->n_rcpts; i++)
		free(p->rcpt[i]);
	if (p->body != NULL)
		fclose(p->body);
	io_finish(&p->io, 1000);
	free(p);
}

static void
tx_reset(struct peer *p)
{
	for (unsigned i = 0; i < p->n_rcpts; i++)
		free(p->rcpt[i]);
	p->n_rcpts = 0;
	p->sender[0] = '\0';
	p->id[0] = '\0';
	p->crc = 0;
	p->size = 0;
}

static bool
extract_path(const char *s, char *out, size_t outsize)
{
	const char *lt = strchr(s, '<'), *gt = lt == NULL ? NULL : strrchr(lt, '>');

	if (gt == NULL || (size_t)(gt - lt) > outsize)
		return false;
	memcpy(out, lt + 1, (size_t)(gt - lt) - 1);
	out[gt - lt - 1] = '\0';
	return true;
}

/* Returns -1 when the connection was ended. */
static int
cmd_mail(struct peer *p, const char *arg)
{
	tx_reset(p);
	if (!extract_path(arg, p->sender, sizeof(p->sender))) {
		io_printf(p->io, "501 5.1.7 bad sender\r\n");
		return 0;
	}
	if (scripted(p->sink, p->sender, "421mail")) {
		io_printf(p->io, "421 4.3.2 closing at MAIL\r\n");
		return -1;
	}
	if (scripted(p->sink, p->sender, "dropmail"))
		return -1;
	io_printf(p->io, "250 2.1.0 ok\r\n");
	return 0;
}

static int
cmd_rcpt(struct peer *p, const char *arg)
{
	struct sink *s = p->sink;
	char a[512];
	uint32_t h;

	if (!extract_path(arg, a, sizeof(a)) || p->n_rcpts == RCPTS_MAX) {
		io_printf(p->io, "501 5.1.3 bad recipient\r\n");
		return 0;
	}
	h = crc32c(0, a, strlen(a)) % 100;
	if (scripted(s, a, "421rcpt")) {
		io_printf(p->io, "421 4.7.0 closing at RCPT\r\n");
		return -1;
	} else if (scripted(s, a, "droprcpt"))
		return -1;
	else if (strncmp(a, "unknown", 7) == 0 || h >= 100 - s->unknown_percent)
		io_printf(p->io, "550 5.1.1 <%s>: Recipient address rejected: User unknown\r\n", a);
	else if (strncmp(a, "full-", 5) == 0)
		io_printf(p->io, "452 4.2.2 <%s>: mailbox full\r\n", a);
	else if (scripted(s, a, "defer") || (h < s->defer_percent && times_seen(s, "percent", a) == 0))
		io_printf(p->io, "451 4.7.1 <%s>: greylisted, try again later\r\n", a);
	else {
		p->rcpt[p->n_rcpts++] = xstrdup(a);
		io_printf(p->io, "250 2.1.5 ok\r\n");
	}
	return 0;
}

static int
cmd_data(struct peer *p)
{
	if (p->n_rcpts == 0) {
		io_printf(p->io, "554 5.5.1 no valid recipients\r\n");
		return 0;
	}
	if (scripted(p->sink, p->rcpt[0], "421data")) {
		io_printf(p->io, "421 4.3.2 closing at DATA\r\n");
		return -1;
	}
	if (scripted(p->sink, p->rcpt[0], "dropdata"))
		return -1;
	p->in_data = p->in_headers = true;
	if (p->sink->body_dir != NULL) {
		char *path = xasprintf("%s/%lu", p->sink->body_dir, p->sink->messages++);

		p->body = fopen(path, "w");
		free(path);
	}
	io_printf(p->io, "354 go ahead\r\n");
	return 0;
}

static void
ledger_write(struct peer *p)
{
	struct sink *s = p->sink;

	if (s->ledger == NULL)
		return;
	for (unsigned i = 0; i < p->n_rcpts; i++)
		fprintf(s->ledger, "%.3f %s %s <%s> <%s> %s %zu %08x %d\n", (double)wall_ms() / 1000, p->client,
		    p->listener, p->sender, p->rcpt[i], p->id[0] != '\0' ? p->id : "-", p->size, p->crc,
		    io_is_tls(p->io));
	fflush(s->ledger);
}

static void
delay_over(void *arg)
{
	struct peer *p = arg;

	io_printf(p->io, "%s", p->delayed_reply);
	io_resume(p->io);
}

static int
end_of_data(struct peer *p)
{
	struct sink *s = p->sink;
	const char *first = p->rcpt[0];
	unsigned ms = s->delay_ms;

	p->in_data = false;
	if (p->body != NULL)
		fclose(p->body);
	p->body = NULL;
	if (scripted(s, first, "dropdot"))
		return -1;
	if (scripted(s, first, "421dot")) {
		io_printf(p->io, "421 4.3.2 closing at end of data\r\n");
		return -1;
	}
	if (strncmp(first, "reject-dot", 10) == 0)
		snprintf(p->delayed_reply, sizeof(p->delayed_reply), "554 5.7.1 content refused\r\n");
	else if (scripted(s, first, "deferdot"))
		snprintf(p->delayed_reply, sizeof(p->delayed_reply), "451 4.3.0 try again\r\n");
	else {
		ledger_write(p);
		if (scripted(s, first, "dropafter"))
			return -1;
		snprintf(p->delayed_reply, sizeof(p->delayed_reply), "250 2.0.0 ok: taken <%.200s>\r\n", first);
	}
	if (strncmp(first, "slow-", 5) == 0)
		ms = (unsigned)strtoul(first + 5, NULL, 10);
	tx_reset(p);
	if (ms == 0) {
		io_printf(p->io, "%s", p->delayed_reply);
		return 0;
	}
	io_pause(p->io);
	timer_set(&p->delay, ms);
	return 1;
}

static int
cmd_ehlo(struct peer *p)
{
	if (p->sink->plain_ehlo)
		io_printf(p->io, "250 sink.example\r\n");
	else
		io_printf(p->io, "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n%s250-8BITMIME\r\n"
		    "250-DSN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n",
		    p->sink->tls != NULL && !io_is_tls(p->io) ? "250-STARTTLS\r\n" : "");
	return 0;
}

static int
command(struct peer *p, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		return cmd_ehlo(p);
	if (strncasecmp(line, "MAIL FROM:", 10) == 0)
		return cmd_mail(p, line + 10);
	if (strncasecmp(line, "RCPT TO:", 8) == 0)
		return cmd_rcpt(p, line + 8);
	if (strcasecmp(line, "DATA") == 0)
		return cmd_data(p);
	if (strcasecmp(line, "STARTTLS") == 0 && p->sink->tls != NULL) {
		io_printf(p->io, "220 2.0.0 go ahead\r\n");
		return io_tls_accept(p->io, p->sink->tls) == -1 ? -1 : 1;
	}
	if (strcasecmp(line, "RSET") == 0)
		tx_reset(p);
	if (strcasecmp(line, "QUIT") == 0) {
		io_printf(p->io, "221 2.0.0 bye\r\n");
		return -1;
	}
	io_printf(p->io, "250 2.0.0 ok\r\n");
	return 0;
}

static void
content_line(struct peer *p, const char *line, size_t len)
{
	if (p->in_headers && len == 0)
		p->in_headers = false;
	if (p->in_headers && p->id[0] == '\0' && len > 11 && strncasecmp(line, "X-Test-Id: ", 11) == 0)
		snprintf(p->id, sizeof(p->id), "%.*s", (int)(len - 11), line + 11);
	/* The trace header differs for each transaction; the checksum is of what the sender wrote. */
	if (!p->in_headers) {
		p->crc = crc32c(p->crc, line, len);
		p->crc = crc32c(p->crc, "\r\n", 2);
	}
	p->size += len + 2;
	if (p->body != NULL) {
		fwrite(line, 1, len, p->body);
		fwrite("\r\n", 1, 2, p->body);
	}
}

static void
peer_on_data(struct peer *p)
{
	struct evbuffer *in = io_input(p->io);
	size_t len;
	char *line;
	int r = 0;

	while (r == 0 && (line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF_STRICT)) != NULL) {
		if (!p->in_data)
			r = command(p, line);
		else if (len == 1 && line[0] == '.')
			r = end_of_data(p);
		else
			content_line(p, line + (line[0] == '.'), len - (line[0] == '.'));
		free(line);
	}
	if (r == -1 || (evbuffer_get_length(in) > 32u << 20 && r == 0))
		peer_free(p);
}

static void
peer_on_io(struct io *io, enum io_event ev, void *arg)
{
	struct peer *p = arg;

	(void)io;
	switch (ev) {
	case IO_DATA:
		peer_on_data(p);
		break;
	case IO_EOF:
	case IO_ERROR:
	case IO_TIMEOUT:
		peer_free(p);
		break;
	default:
		break;
	}
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct peer *p;
	int c;

	(void)what;
	for (int i = 0; i < 64; i++) {
		len = sizeof(ss);
		if ((c = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC)) == -1)
			return;
		p = xcalloc(1, sizeof(*p));
		p->sink = l->sink;
		p->listener = l->text;
		sockaddr_text((struct sockaddr *)&ss, p->client);
		p->io = io_new(l->sink->loop, c, peer_on_io, p);
		io_input_limit(p->io, 64u << 20);
		timer_init(&p->delay, l->sink->loop, delay_over, p);
		io_printf(p->io, "220 sink.example ESMTP\r\n");
	}
}

static void
listen_on(struct sink *s, const char *spec)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	char *host = xstrdup(spec), *colon = strrchr(host, ':');
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (colon == NULL)
		errx(2, "sink: %s: want address:port", spec);
	*colon = '\0';
	if (sockaddr_parse(host, (uint16_t)strtoul(colon + 1, NULL, 10), &ss, &len) == -1)
		errx(2, "sink: %s: bad address", spec);
	if ((fd = listen_socket((struct sockaddr *)&ss, len, 4096)) == -1)
		err(1, "sink: %s", spec);
	free(host);
	snprintf(l->text, sizeof(l->text), "%s", spec);
	l->sink = s;
	l->ev = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_accept, l);
	event_add(l->ev, NULL);
}

static void
stop(void *arg)
{
	loop_stop(arg);
}

static SSL_CTX *
load_tls(char *spec)
{
	char *colon = strchr(spec, ':'), *why = NULL;
	SSL_CTX *ctx;

	if (colon == NULL)
		errx(2, "sink: -t cert:key");
	*colon = '\0';
	if ((ctx = tls_server_ctx(spec, colon + 1, "sink", &why)) == NULL)
		errx(1, "sink: %s", why);
	return ctx;
}

int
main(int argc, char **argv)
{
	struct sink s = { .loop = NULL };
	struct rlimit rl;
	int opt;

	log_init("sink", LOG_LVL_WARN);
	s.loop = loop_new();
	while ((opt = getopt(argc, argv, "t:D:U:w:l:b:n")) != -1)
		switch (opt) {
		case 't': s.tls = load_tls(optarg); break;
		case 'D': s.defer_percent = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'U': s.unknown_percent = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'w': s.delay_ms = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'l':
			if ((s.ledger = fopen(optarg, "ae")) == NULL)
				err(1, "sink: %s", optarg);
			break;
		case 'b': s.body_dir = optarg; break;
		case 'n': s.plain_ehlo = true; break;
		default:
			fprintf(stderr, "usage: sink [-n] [-t cert:key] [-D percent] [-U percent] [-w ms] [-l ledger] "
			    "[-b dir] address:port ...\n");
			return 2;
		}
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	for (int i = optind; i < argc; i++)
		listen_on(&s, argv[i]);
	loop_signal(s.loop, SIGTERM, stop, s.loop);
	loop_signal(s.loop, SIGINT, stop, s.loop);
	puts("ready");
	fflush(stdout);
	loop_run(s.loop);
	return 0;
}
