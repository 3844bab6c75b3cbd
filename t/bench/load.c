/* Sends messages over many connections and keeps account of what was acknowledged: for tests (crash, restart), the
 * demonstration and the bench.
 *
 *   load [options] address:port
 *
 * Connections and rate
 *   -c N            connections (10)                 -k N         messages for each connection, then a new one
 *   -m N            messages (100)                   -d seconds   give up after so long
 *   -r rate         messages a second are due; without it all are due at once
 *   -o              open loop: with -r, the schedule goes by the clock, whatever the replies; latency and X-Test-Time
 *                   count from the scheduled arrival. A free connection takes the oldest. Without -o they count from
 *                   when a connection took the message
 *   -O              as -o, the intervals exponentially distributed (Poisson)
 *   -i seconds      sending begins when all connections are open, and they stay open for so long at least
 *   -N seconds      a connection without mail says NOOP so often
 *   -b a,b,...      local addresses to connect from in turn (one has about 28,000 ports)
 *   -P              MAIL, RCPT and DATA in one write
 *   -T              STARTTLS, the last session resumed; -R: every handshake a full one
 *   -A user:pass    AUTH PLAIN
 * Messages
 *   -f sender       %u as in recipients              -p prefix  of the ids (m)
 *   -t a,b,...      recipients in turn; %u is the message's number
 *   -D file         instead of -t: u<number>@domain, lines "domain weight", chosen by the seed
 *   -s size         of the body (4000)               -S min-max   sizes log-uniform; implies -B
 *   -B              random bodies (base64 digits), each its own, with X-Test-Crc; otherwise the alphabet over and over
 *   -h "Name: a|b"  a header field, its values in turn (of several fields all combinations); a value may hold a
 *                   random number: "X-Tenant: t%{1-500}". May be repeated
 *   -z seed         of what is random (1)
 * Account
 *   -a file         ids that were acknowledged       -x file      ids in doubt: the connection broke, or time was
 *   -q              does not print refusals                       over, between the dot and its reply
 *
 * Each message carries X-Test-Id: prefix-number, X-Test-Time: microseconds since the epoch (see -o) and with -B
 * X-Test-Crc: CRC-32C of the body with the empty line before it. A message that failed is sent again, on a new
 * connection if need be, until it was acknowledged or the time (-d) is over (or SIGTERM). Exit: 0 if all were
 * acknowledged, 1 if not, 2 for wrong usage. The last line on standard output is a JSON object: counts, CPU time of
 * load itself, and the latencies from the dot (latency_dot, p50_ms...) and from arrival (latency_arrival) to the 250.
 * send_rate is from the first arrival to the last 250, rate from the start to the end of the program. */

#include <sys/resource.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/tls.h"
#include "base/xalloc.h"
#include "t/bench/clock.h"
#include "t/bench/load.h"

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
sources(struct load *g, char *list)
{
	for (char *w; (w = strsep(&list, ",")) != NULL;) {
		g->sources = xreallocarray(g->sources, g->n_sources + 1, sizeof(*g->sources));
		if (sockaddr_parse(w, 0, &g->sources[g->n_sources].addr, &g->sources[g->n_sources].len) == -1)
			errx(2, "load: bad address %s", w);
		g->n_sources++;
	}
}

static void
sizes(struct load *g, const char *spec)
{
	char *end;
	size_t min = strtoul(spec, &end, 10), max;

	if (*end != '-' || min == 0 || (max = strtoul(end + 1, NULL, 10)) < min)
		errx(2, "load: -S min-max");
	mix_sizes(g->mix, min, max);
	mix_random_bodies(g->mix);
}

__attribute__((noreturn)) static void
usage(void)
{
	errx(2, "usage: load [options] address:port (they are explained at the head of t/bench/load.c)");
}

static bool
message_option(struct load *g, int opt)
{
	switch (opt) {
	case 'f': g->sender = optarg; break;
	case 'p': g->prefix = optarg; break;
	case 's': mix_sizes(g->mix, strtoul(optarg, NULL, 10), strtoul(optarg, NULL, 10)); break;
	case 'S': sizes(g, optarg); break;
	case 'B': mix_random_bodies(g->mix); break;
	case 't': mix_recipients(g->mix, optarg); break;
	case 'D': mix_domains(g->mix, optarg); break;
	case 'h': mix_header(g->mix, optarg); break;
	case 'z': g->arrivals.seed = strtoull(optarg, NULL, 10); break;
	case 'a': g->acked_file = line_file_open(g->loop, optarg); break;
	case 'x': g->doubt_file = line_file_open(g->loop, optarg); break;
	case 'q': g->quiet = true; break;
	default: return false;
	}
	return true;
}

static void
options(struct load *g, int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "c:m:k:s:S:Br:oOi:N:b:d:TRA:f:t:D:h:z:p:a:x:Pq")) != -1)
		switch (opt) {
		case 'c': g->connections = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'm': g->arrivals.messages = strtoul(optarg, NULL, 10); break;
		case 'k': g->per_connection = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': g->arrivals.rate = strtod(optarg, NULL); break;
		case 'o': g->arrivals.open_loop = true; break;
		case 'O': g->arrivals.open_loop = g->arrivals.poisson = true; break;
		case 'i': g->hold = (int64_t)(strtod(optarg, NULL) * 1000); break;
		case 'N': g->noop = (int64_t)(strtod(optarg, NULL) * 1000); break;
		case 'b': sources(g, optarg); break;
		case 'd': g->deadline = (int64_t)(strtod(optarg, NULL) * 1000); break;
		case 'T': g->starttls = true; break;
		case 'R': g->no_resume = true; break;
		case 'A': g->auth_b64 = auth_plain(optarg); break;
		case 'P': g->pipeline = true; break;
		default:
			if (!message_option(g, opt))
				usage();
		}
	if (optind + 1 != argc || (g->arrivals.open_loop && g->arrivals.rate <= 0))
		usage();
}

static void
destination(struct load *g, char *spec)
{
	char *colon = strrchr(spec, ':');

	if (colon == NULL)
		errx(2, "load: want address:port");
	*colon = '\0';
	if (sockaddr_parse(spec, (uint16_t)strtoul(colon + 1, NULL, 10), &g->dst, &g->dstlen) == -1)
		errx(2, "load: bad address");
}

static void
raise_file_limit(const struct load *g)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == -1)
		err(1, "load: getrlimit");
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < g->connections + 20)
		errx(1, "load: %u connections need more descriptors than this process may open (%lu)", g->connections,
		    (unsigned long)rl.rlim_cur);
}

int
main(int argc, char **argv)
{
	static struct load g;
	char *why;

	log_init("load", LOG_LVL_WARN);
	g.connections = 10;
	g.arrivals.messages = 100;
	g.arrivals.seed = 1;
	g.sender = "sender@example.org";
	g.prefix = "m";
	g.loop = loop_new();
	g.mix = mix_new();
	options(&g, argc, argv);
	destination(&g, argv[optind]);
	raise_file_limit(&g);
	if (g.starttls && (g.tls = tls_client_ctx(&why)) == NULL)
		errx(1, "load: %s", why);
	mix_ready(g.mix, g.arrivals.seed, g.sender, g.prefix);
	g.epoch = wall_us() - mono_us();
	g.conns = xcalloc(g.connections, sizeof(*g.conns));
	load_run(&g);
	if (g.acked_file != NULL)
		line_file_flush(g.acked_file);
	if (g.doubt_file != NULL)
		line_file_flush(g.doubt_file);
	load_report(&g);
	return g.acked >= g.arrivals.messages ? 0 : 1;
}
