/* What load tells at its end: one line of JSON. */
#include <sys/resource.h>

#include <stdio.h>

#include "t/bench/load.h"

static double
cpu_ms(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000 +
	    (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1000;
}

void
load_report(struct load *g)
{
	double s = (double)(mono_ms() - g->started) / 1000;

	printf("{\"messages\":%lu,\"acked\":%lu,\"seconds\":%.3f,\"rate\":%.1f,\"lost_connections\":%lu,"
	    "\"refused\":%lu,\"in_doubt\":%lu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,",
	    g->arrivals.messages, g->acked, s, s > 0 ? (double)g->acked / s : 0, g->lost, g->refused, g->in_doubt,
	    hist_percentile(&g->from_dot, .5) / 1000, hist_percentile(&g->from_dot, .99) / 1000,
	    hist_percentile(&g->from_dot, .999) / 1000);
	printf("\"bytes\":%llu,\"cpu_ms\":%.1f,\"connections\":%lu,\"tls\":%lu,\"tls_resumed\":%lu,\"seed\":%llu,",
	    g->bytes, cpu_ms(), g->opened, g->handshakes, g->resumed, (unsigned long long)g->arrivals.seed);
	if (g->hold != 0)
		printf("\"all_open_ms\":%lld,\"open\":%u,", (long long)g->all_open, g->ready);
	printf("\"latency_dot\":");
	hist_json(&g->from_dot, stdout);
	printf(",\"latency_arrival\":");
	hist_json(&g->from_due, stdout);
	printf("}\n");
}
