/* What another policy would do with mail that was received (posthorn simulate): counts of recipients by queue from
 * event records, then one question a queue to the new policy and, where no record tells, to the old. Bounded by the
 * number of queues, whatever the length of the input. */
#ifndef POSTHORN_SIMULATE_H
#define POSTHORN_SIMULATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SIM_MAX_QUEUES 1000000

struct policy;
struct sim_queue;
struct sim_row;

/* Pools are told apart by number; these are none. Their texts cannot be names of pools. */
enum { SIM_UNKNOWN, SIM_NONE, SIM_OTHER, SIM_FIRST_POOL };

struct sim_names {
	char **v;
	uint32_t n, max;
};

struct simulate {
	struct sim_queue *queues;
	size_t n_queues, max_queues;
	struct sim_names pools, reasons;
	struct policy *old, *new; /* old: NULL if it is not known */
	bool is_tty;              /* progress is shown on standard error */
	/* what was read */
	uint64_t files, lines, records, messages, recipients, bad;
	uint64_t other;           /* recipients of queues beyond max_queues */
	char *first_bad;          /* file, line and what is wrong */
	/* what came out */
	uint64_t queues_asked, moved, moved_queues, waiting, waiting_queues;
	struct sim_row *by_pool, *by_tenant, *by_domain, *by_reason;
};

/* A row of the report; which of label, old, new say anything depends on the table. */
struct sim_view {
	const char *label, *old, *new;
	uint64_t recipients, queues;
};
typedef void sim_row_fn(const struct sim_view *, void *arg);

void sim_init(struct simulate *, size_t max_queues);
void sim_clear(struct simulate *);

/* simulate_read.c: one file; 0, or -1 and errno if reading failed. */
int sim_read(struct simulate *, FILE *, const char *name) __attribute__((warn_unused_result));
/* One record; NULL, or what is wrong with it (static). */
const char *sim_record(struct simulate *, const json_t *);

/* simulate.c */
/* That many more recipients in the queue. */
void sim_count(struct simulate *, const char *queue, uint64_t recipients);
/* A record says by which pool mail of the queue was sent, at that time; the newest counts. */
void sim_seen(struct simulate *, const char *queue, const char *pool, int64_t timestamp);
/* Asks the policies about every queue and makes the tables, the largest rows first. */
void sim_ask(struct simulate *);
/* How many rows a table has; calls fn with the first max of them. */
size_t sim_rows(const struct simulate *, const struct sim_row *table, size_t max, sim_row_fn *fn, void *arg);
void sim_progress(const struct simulate *, const char *what, uint64_t n, bool is_last);

/* simulate_report.c: all of it or the largest rows. */
void sim_print(const struct simulate *, bool is_all);
void sim_print_json(const struct simulate *, bool is_all);

#endif
