/* The account of a sink: what -j writes. */
#include <err.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "t/bench/clock.h"
#include "t/bench/sink.h"

static const char *const refusal_names[REFUSALS] = {
	[REF_UNKNOWN] = "unknown",
	[REF_FULL] = "full",
	[REF_DEFERRED] = "deferred",
	[REF_DEFERRED_DOT] = "deferred_dot",
	[REF_REJECTED] = "rejected",
	[REF_REJECTED_DOT] = "rejected_dot",
	[REF_CLOSED] = "closed",
	[REF_DROPPED] = "dropped",
	[REF_RULE] = "rule",
	[REF_CONNECTION_LIMIT] = "connection_limit",
	[REF_RATE_LIMIT] = "rate_limit",
	[REF_MESSAGE_LIMIT] = "message_limit",
	[REF_SYNTAX] = "syntax",
};

void
stats_taken(struct peer *p)
{
	struct stats *t = &p->sink->stats;
	int64_t us = wall_us(), now = us / 1000;

	t->messages++;
	t->recipients += p->n_rcpts;
	t->bytes += p->size;
	t->last = now;
	if (t->first == 0)
		t->first = now;
	if (p->has_crc_told && p->crc_told != p->crc)
		t->corrupt++;
	if (p->sent_at != 0)
		hist_add(&t->in_queue, us - p->sent_at);
}

/* Under another name first: whoever reads it finds all of it. */
void
stats_write(struct sink *s)
{
	const struct stats *t = &s->stats;
	char *tmp;
	FILE *f;

	if (s->json_file == NULL)
		return;
	tmp = xasprintf("%s.new", s->json_file);
	if ((f = fopen(tmp, "we")) == NULL)
		err(1, "sink: %s", tmp);
	fprintf(f, "{\"messages\":%lu,\"recipients\":%lu,\"bytes\":%llu,\"connections\":%lu,\"connections_now\":%lu,"
	    "\"connections_peak\":%lu,\"tls\":%lu,\"tls_resumed\":%lu,", t->messages, t->recipients, t->bytes,
	    t->connections, t->now, t->peak, t->handshakes, t->resumed);
	fprintf(f, "\"corrupt\":%lu,\"noop\":%lu,\"first_message\":%.3f,\"last_message\":%.3f,\"cpu_ms\":%.1f,"
	    "\"refused\":{", t->corrupt, t->noops, (double)t->first / 1000, (double)t->last / 1000, cpu_ms());
	for (unsigned i = 0; i < REFUSALS; i++)
		fprintf(f, "%s\"%s\":%lu", i == 0 ? "" : ",", refusal_names[i], t->refused[i]);
	fprintf(f, "},\"time_in_queue\":");
	hist_json(&t->in_queue, f);
	limits_json(s, f);
	fprintf(f, "}\n");
	if (fclose(f) == EOF || rename(tmp, s->json_file) == -1)
		err(1, "sink: %s", s->json_file);
	free(tmp);
}
