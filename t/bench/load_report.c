/* What load tells at its end: one line of JSON. */
#include <stdio.h>

#include "t/bench/clock.h"
#include "t/bench/load.h"

void
load_report(struct load *g)
{
	double s = (double)(mono_ms() - g->started) / 1000, sending = (double)(g->last_ack - g->arrivals.start) / 1e6;

	printf("{\"messages\":%lu,\"acked\":%lu,\"seconds\":%.3f,\"rate\":%.1f,\"lost_connections\":%lu,"
	    "\"refused\":%lu,\"in_doubt\":%lu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,",
	    g->arrivals.messages, g->acked, s, s > 0 ? (double)g->acked / s : 0, g->lost, g->refused, g->in_doubt,
	    hist_percentile(&g->from_dot, .5) / 1000, hist_percentile(&g->from_dot, .99) / 1000,
	    hist_percentile(&g->from_dot, .999) / 1000);
	printf("\"bytes\":%llu,\"cpu_ms\":%.1f,\"connections\":%lu,\"tls\":%lu,\"tls_resumed\":%lu,\"seed\":%llu,",
	    g->bytes, cpu_ms(), g->opened, g->handshakes, g->resumed, (unsigned long long)g->arrivals.seed);
	printf("\"send_rate\":%.1f,", sending > 0 ? (double)g->acked / sending : 0);
	if (g->hold != 0)
		printf("\"all_open_ms\":%lld,\"open\":%u,", (long long)g->all_open, g->ready);
	printf("\"latency_dot\":");
	hist_json(&g->from_dot, stdout);
	printf(",\"latency_arrival\":");
	hist_json(&g->from_due, stdout);
	printf("}\n");
}
