/* What queued itself has to say in an explanation. */
#ifndef QUEUED_EXPLAIN_ROWS_H
#define QUEUED_EXPLAIN_ROWS_H

#include "base/json.h"

struct queued;
struct squeue;

/* The row of kind "queue". address: as the operator gave it; sender_domain: for whom it may be suppressed, NULL. */
void explain_queue_row(struct queued *, struct squeue *, const char *address, const char *sender_domain,
    struct json *);

#endif
