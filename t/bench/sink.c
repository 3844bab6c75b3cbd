/* A provider-like SMTP server for tests, the demonstration and the bench: accepts mail on one or more loopback
 * addresses, answers as the local part of a recipient asks, and writes a ledger line for each recipient of each
 * message that it acknowledged.
 *
 *   sink [options] address:port[=domain] ...
 *
 *   -t cert:key     offers STARTTLS                  -n           offers nothing
 *   -l file         the ledger                       -b dir       each content into a file of that directory
 *   -j file         the account in JSON, at the end (SIGTERM, SIGINT) and at SIGUSR1
 *   -w ms           before each answer to end of data
 * Answers by chance, all by hash, so the same in each run
 *   -D percent      of the addresses: 451 at their first attempt
 *   -F percent      of the addresses: 451 at every attempt (for ever)
 *   -U percent      of the addresses: 550 unknown
 *   -R p:q          at RCPT, of the attempts (address and number of the attempt): p % 451, q % 550
 *   -E p:q          the same at end of data (X-Test-Id, or else the first recipient, and number of the attempt)
 * Answers by local part (N: how often, counted per address, default 1; then the address is accepted). At MAIL it is
 * the sender's, at DATA and end of data the first recipient's. None of the percentages apply to them
 *   unknown...          550 5.1.1 at RCPT, always    full-...         452 4.2.2 at RCPT, always
 *   rejectmail-... rejectdata-... reject-dot-...     550, 554, 554 there, always
 *   defermail-N-... defer-N-... deferdata-N-... deferdot-N-...   451 at MAIL, RCPT, DATA, end of data
 *   421mail-N- 421rcpt-N- 421data-N- 421dot-N-       421 and close at that command
 *   dropmail-N- droprcpt-N- dropdata-N- dropdot-N- dropafter-N-  close without an answer;
 *                       dropafter: after taking the message
 *   slowmail-MS-... slowrcpt-MS-... slowdata-MS-... slow-MS-...   so many milliseconds before the answer
 * Answers by rule: -s 'stage[*times][@address:port]=action', as often as needed; stages: banner, ehlo, mail, rcpt,
 * data, dot; actions: drop, "slow MS", a reply ("451 4.3.0 later"; 421, and any at the banner, closes):
 *   -s 'banner*3=421 4.3.2 busy' -s 'ehlo=slow 500' -s 'dot@127.0.0.5:2526=drop'
 * Limits: -L file, lines "domain connections rate [messages]", "-": no limit, "*": all other domains. Connections at
 * a time (over it 421 4.7.0: at the banner of a listener that is a domain's, else at RCPT, for a connection belongs to
 * the domain of its latest recipient), messages a second (a bucket of one second; over it 451 4.7.1 at RCPT, or with -C
 * 421 and close), messages a connection (over it 421 4.7.0 at MAIL). The account says for each domain how often a limit
 * was met and the peaks that were seen.
 *
 * Ledger line: seconds client listener sender recipient id size crc32c tls(0|1). It is in the file before the 250
 * leaves. In the account: time_in_queue is from X-Test-Time to end of data, corrupt counts bodies that are not what
 * X-Test-Crc says (both by load); refused: answers other than success by kind (rule: by -s). */

#include <sys/resource.h>

#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "t/bench/sink.h"

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct sockaddr_storage ss;
	socklen_t len;
	int c;

	(void)what;
	for (int i = 0; i < 64; i++) {
		len = sizeof(ss);
		if ((c = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC)) == -1)
			return;
		peer_new(l, c, (struct sockaddr *)&ss);
	}
}

static void
listen_on(struct sink *s, const char *spec)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	char *host = xstrdup(spec), *domain = strchr(host, '='), *colon;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (domain != NULL) {
		*domain = '\0';
		l->domain = limits_domain(s, domain + 1);
	}
	snprintf(l->text, sizeof(l->text), "%s", host);
	if ((colon = strrchr(host, ':')) == NULL)
		errx(2, "sink: %s: want address:port", spec);
	*colon = '\0';
	if (sockaddr_parse(host, (uint16_t)strtoul(colon + 1, NULL, 10), &ss, &len) == -1)
		errx(2, "sink: %s: bad address", spec);
	if ((fd = listen_socket((struct sockaddr *)&ss, len, 4096)) == -1)
		err(1, "sink: %s", spec);
	free(host);
	l->sink = s;
	l->ev = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_accept, l);
	event_add(l->ev, NULL);
}

static void
stop(void *arg)
{
	loop_stop(arg);
}

static void
write_account(void *arg)
{
	stats_write(arg);
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

static struct percents
percents(const char *text)
{
	struct percents p;
	char *end;

	p.defer = strtod(text, &end);
	p.refuse = *end == ':' ? strtod(end + 1, &end) : 0;
	if (*end != '\0' || p.defer < 0 || p.refuse < 0 || p.defer + p.refuse > 100)
		errx(2, "sink: %s: want two percentages, p:q", text);
	return p;
}

static unsigned
number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

static void
options(struct sink *s, int argc, char **argv)
{
	const char *limits = NULL;
	bool rate_closes = false;
	int opt;

	while ((opt = getopt(argc, argv, "t:D:F:U:R:E:w:l:b:j:s:L:Cn")) != -1)
		switch (opt) {
		case 't': s->tls = load_tls(optarg); break;
		case 'D': s->defer_percent = number(optarg); break;
		case 'F': s->forever_percent = number(optarg); break;
		case 'U': s->unknown_percent = number(optarg); break;
		case 'R': s->at_rcpt = percents(optarg); break;
		case 'E': s->at_dot = percents(optarg); break;
		case 'w': s->delay_ms = number(optarg); break;
		case 'l': s->ledger = line_file_open(s->loop, optarg); break;
		case 'b': s->body_dir = optarg; break;
		case 'j': s->json_file = optarg; break;
		case 's': rule_add(s, optarg); break;
		case 'L': limits = optarg; break;
		case 'C': rate_closes = true; break;
		case 'n': s->plain_ehlo = true; break;
		default: errx(2, "usage: sink [options] address:port ... (see the head of t/bench/sink.c)");
		}
	if (limits != NULL)
		limits_load(s, limits, rate_closes);
}

int
main(int argc, char **argv)
{
	static struct sink s;
	struct rlimit rl;

	log_init("sink", LOG_LVL_WARN);
	s.loop = loop_new();
	options(&s, argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	for (int i = optind; i < argc; i++)
		listen_on(&s, argv[i]);
	loop_signal(s.loop, SIGTERM, stop, s.loop);
	loop_signal(s.loop, SIGINT, stop, s.loop);
	loop_signal(s.loop, SIGUSR1, write_account, &s);
	puts("ready");
	fflush(stdout);
	loop_run(s.loop);
	stats_write(&s);
	return 0;
}
